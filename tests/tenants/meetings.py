"""Two runs that meet after any of their calls, and what came of it."""

import contextlib
import functools
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

import opennebula_tenancy as ont
from opennebula_tenancy import tenant_calls, waiting
from opennebula_tenancy.emulator import Emulator
from tenants.networks import connect, new_server
from tenants.pace import THOROUGH
from tenants.raw import Raw
from tenants.snapshot import marked, snapshot
from tenants.turns import Hear, Turns


TRIED = 2
"""At how many of the points where they can meet two runs do, unless all are asked for."""
Run = Callable[[ont.Cloud], Any]
Point = tuple[int, int]


class TimedTurns(Turns):
    """Turns by a clock of their own: time passes where a run waits.

    Args:
        calls: After how many calls each run passes its turn.
        methods: Of which method, where not all calls count.
    """

    now_s = 0.0

    def __init__(self, *calls: int, methods: tuple[str, ...] = ()) -> None:
        super().__init__(*calls)
        self._methods = methods

    def _hear(self, record: ont.CallRecord) -> None:
        if not self._methods or self._methods[self._runs[threading.current_thread()]] == record.method:
            super()._hear(record)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        super().sleep(seconds)

    def monotonic(self) -> float:
        return self.now_s

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(time, "sleep", self.sleep)
        patch.setattr(tenant_calls, "time", self)
        for name, stand_in in (("sleep", self.sleep), ("clock", self.monotonic)):
            patch.setitem(waiting.wait_for.__kwdefaults__, name, stand_in)


@attrs.frozen
class Met:
    """What came of two runs that met.

    Attributes:
        point: After how many calls of its own each run passed its turn.
        ends: What each gave: a value, or its error.
        server: The server, at rest.
    """

    point: Point
    ends: tuple[Any, ...]
    server: Emulator

    @property
    def errors(self) -> list[ont.TenancyError]:
        return [end for end in self.ends if isinstance(end, ont.TenancyError)]

    def kinds(self, key: str) -> Counter[str]:
        """How many of each kind of object carry a key."""
        return Counter(noun.split()[0] for noun in marked(self.server, key))

    def shot(self) -> dict[str, Any]:
        self.server.settle()
        return snapshot(self.server)

    def later(self, run: Run) -> Any:
        """What a run gives that comes after both."""
        with connect(self.server) as cloud:
            return run(cloud)


@attrs.frozen
class Scene:
    """What there is before two runs: a server that does not run, to be copied."""

    server: Emulator

    @classmethod
    def of(cls, *before: Run, prepare: Callable[[Raw], object] = lambda _: None) -> "Scene":
        with new_server() as server:
            prepare(Raw(server.endpoint, server.auth))
            with connect(server) as cloud:
                for run in before:
                    run(cloud)
        return cls(server)

    def alone(self, *runs: Run) -> dict[str, Any]:
        """What one run after the other comes to."""
        with self.server.copy() as server, connect(server) as cloud:
            for run in runs:
                run(cloud)
            server.settle()
            return snapshot(server)

    def meetings(self, first: Run, second: Run) -> Iterator[Met]:
        """Two runs that meet, at every point or at some, either of them beginning."""
        orders = [(first, second)] if first is second else [(first, second), (second, first)]
        points = [
            (runs, point)
            for runs in orders
            for point in itertools.product(*(range(1, count + 1) for count in map(self._calls, runs, runs[::-1])))
        ]
        for runs, point in points if THOROUGH else random.Random(len(points)).sample(points, TRIED):
            yield from self.meet(point, *runs)

    def _calls(self, run: Run, other: Run) -> int:
        """How many calls a run may send: as the only one, or behind another."""
        return max(self._sent(run), self._sent(run, behind=other))

    def _sent(self, run: Run, behind: Run | None = None) -> int:
        sent: list[ont.CallRecord] = []
        with self.server.copy() as server, connect(server) as cloud:
            if behind is not None:
                behind(cloud)
            with connect(server, on_call=sent.append) as later, contextlib.suppress(ont.TenancyError):
                run(later)
        assert sent
        return len(sent)

    def meet(self, point: Point, *runs: Run, methods: tuple[str, ...] = ()) -> Iterator[Met]:
        """Two runs that meet at one point.

        Args:
            point: After how many calls each passes its turn.
            runs: The runs; the first one begins.
            methods: Of which method, for each, where not all calls count.
        """
        ends: dict[int, Any] = {}
        with self.server.copy() as server:
            with pytest.MonkeyPatch.context() as patch:
                turns = TimedTurns(*point, methods=methods)
                turns.install(patch)

                def work(number: int, run: Run, hear: Hear) -> None:
                    with connect(server, on_call=hear) as cloud:
                        try:
                            ends[number] = run(cloud)
                        except ont.TenancyError as error:
                            ends[number] = error

                failed = turns.run(*(functools.partial(work, *item) for item in enumerate(runs)))
                assert failed == [], point
            server.settle()
            yield Met(point, tuple(ends[number] for number in range(len(runs))), server)
