"""Two runs for one machine, or for two of one tenant, that meet between any two of their calls."""

import contextlib
import functools
import itertools
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

import opennebula_tenancy as ont
from opennebula_tenancy import vm_removal, vm_restoration, vm_waiting, waiting
from opennebula_tenancy.emulator import Config, Emulator, state
from opennebula_tenancy.vms import Vms
from tenants.pace import THOROUGH
from tenants.raw import Raw
from tenants.turns import Hear, Turns
from vms.world import STEP_S, connect


CALL_S = 0.125
"""How many seconds every call takes, by the clock that both runs and the server go by."""
PACES_S = (0.0, 3 * CALL_S)
"""How many seconds the server takes for each of its steps: none, so that a run never waits, or three calls."""
TRIED = 3
"""At how many of the points where they can meet two runs do, unless all are asked for.

That is for each order of the two, and for each thing that may be there before.
"""
Run = Callable[[Vms, Any], Any]


class Clock:
    """Time that passes with calls and with waits alone."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waited: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.now_s

    def time(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.waited()

    @classmethod
    @contextlib.contextmanager
    def installed(cls) -> Iterator["Clock"]:
        """What the server and all that waits for machines goes by."""
        clock = cls()
        with pytest.MonkeyPatch.context() as patch:
            for module in (state, vm_removal, vm_restoration, vm_waiting):
                patch.setattr(module, "time", clock)
            patch.setattr(waiting, "_SHORTEST_S", STEP_S)
            patch.setattr(waiting.wait_for, "__kwdefaults__", {"clock": clock.monotonic, "sleep": clock.sleep})
            yield clock


@attrs.frozen
class Point:
    """Where two runs meet.

    Attributes:
        calls: After how many calls of its own each run passes its turn.
        pace_s: How many seconds the server takes for each of its steps.
        shares_waits: Whether a run also passes its turn whenever it waits.
    """

    calls: tuple[int, int]
    pace_s: float
    shares_waits: bool


class TimedTurns(Turns):
    """Turns by a clock of their own."""

    def __init__(self, point: Point, clock: Clock) -> None:
        super().__init__(*point.calls)
        self._clock = clock
        if point.shares_waits:
            clock.waited = self._pass

    def _hear(self, record: ont.CallRecord) -> None:
        self._clock.now_s += CALL_S
        super()._hear(record)


@attrs.frozen
class Met:
    """What came of two runs that met.

    Attributes:
        point: Where they met.
        ends: What each gave: a value, or its error.
        server: The server, at rest.
        world: What there is on it.
    """

    point: Point
    ends: tuple[Any, Any]
    server: Emulator
    world: Any

    @property
    def errors(self) -> tuple[ont.TenancyError | None, ...]:
        """The error of each run; None where it has succeeded."""
        return tuple(end if isinstance(end, ont.TenancyError) else None for end in self.ends)

    def once_more(self, run: Run) -> list[str]:
        """The calls of a later run that change something."""
        sent: list[ont.CallRecord] = []
        with connect(self.server, on_call=sent.append) as cloud:
            run(Vms(cloud._rpc), self.world)
        self.server.settle()
        return [record.method for record in sent if record.mutates]


@attrs.frozen(eq=False)
class Scene:
    """What there is before two runs: a server that does not run, to be copied."""

    server: Emulator
    world: Any
    _known: dict[tuple[tuple[Run, ...], float], tuple[Any, int]] = attrs.field(factory=dict)

    @classmethod
    def of(cls, build: Callable[[Emulator, ont.Cloud], Any], *before: Run, **options: Any) -> "Scene":
        with Emulator(populated=True, config=Config(step_s=0, **options)) as server, connect(server) as cloud:
            world = build(server, cloud)
            for run in before:
                run(Vms(cloud._rpc), world)
        return cls(server, world)

    @contextlib.contextmanager
    def copy(self, pace_s: float) -> Iterator[tuple[Emulator, Any]]:
        """The same on a server that runs, at a pace."""
        with self.server.copy() as server:
            server.cloud.config = attrs.evolve(server.cloud.config, step_s=pace_s)
            yield server, attrs.evolve(self.world, admin=Raw(server.endpoint, server.auth))

    def after(self, *runs: Run) -> Any:
        """What there is after one run behind the other."""
        return self._alone(runs, 0)[0]

    def meetings(self, first: Run, second: Run) -> Iterator[Met]:
        """Two runs that meet, at every point or at some."""
        points = list(self._points(first, second))
        for point in points if THOROUGH else random.Random(len(points)).sample(points, TRIED):
            with self._meet(point, first, second) as met:
                yield met

    def _points(self, first: Run, second: Run) -> Iterator[Point]:
        for pace_s in PACES_S:
            most = self._calls(first, second, pace_s), self._calls(second, first, pace_s)
            for one, other in itertools.product(*(range(1, count + 1) for count in most)):
                for shares_waits in (False, True) if pace_s else (False,):
                    yield Point((one, other), pace_s, shares_waits)

    def _calls(self, run: Run, other: Run, pace_s: float) -> int:
        """How many calls a run sends, by itself or behind the other one."""
        before = self._alone((other,), pace_s)[1]
        return max(self._alone((run,), pace_s)[1], self._alone((other, run), pace_s)[1] - before)

    def _alone(self, runs: tuple[Run, ...], pace_s: float) -> tuple[Any, int]:
        if (runs, pace_s) not in self._known:
            self._known[runs, pace_s] = self._one_by_one(runs, pace_s)
        return self._known[runs, pace_s]

    def _one_by_one(self, runs: tuple[Run, ...], pace_s: float) -> tuple[Any, int]:
        sent: list[ont.CallRecord] = []
        with Clock.installed() as clock, self.copy(pace_s) as (server, world):

            def hear(record: ont.CallRecord) -> None:
                clock.now_s += CALL_S
                sent.append(record)

            with connect(server, on_call=hear) as cloud:
                for run in runs:
                    with contextlib.suppress(ont.TenancyError):
                        run(Vms(cloud._rpc), world)
            server.settle()
            return world.shot(), len(sent)

    @contextlib.contextmanager
    def _meet(self, point: Point, *runs: Run) -> Iterator[Met]:
        """Two runs that meet at one point."""
        ends: dict[int, Any] = {}

        def work(number: int, server: Emulator, world: Any, hear: Hear) -> None:
            with connect(server, on_call=hear) as cloud:
                try:
                    ends[number] = runs[number](Vms(cloud._rpc), world)
                except ont.TenancyError as error:
                    ends[number] = error

        with self.copy(point.pace_s) as (server, world):
            with Clock.installed() as clock:
                turns = TimedTurns(point, clock)
                works = [functools.partial(work, number, server, world) for number in range(len(runs))]
                assert turns.run(*works) == [], point
            server.cloud.config = attrs.evolve(server.cloud.config, step_s=0)
            server.settle()
            yield Met(point, (ends[0], ends[1]), server, world)
