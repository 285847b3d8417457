"""Agents at one order that take turns: the calls of one, to OpenNebula or to Waldur, between those of the other."""

import copy
import difflib
import itertools
import pprint
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self, TypeVar

import attrs
import pytest

from agent.offers import Offers
from agent.order_types import Document, Ids, OrderType
from agent.overheard import Overheard, as_oneadmin, in_waldur
from agent.world import World
from onetenant_waldur import order_round
from onetenant_waldur.agent import Agent, Mode
from onetenant_waldur.waldur_calls import WaldurCalls
from opennebula_tenancy import waiting
from tenants.turns import Turns


T = TypeVar("T")
Point = tuple[int, int]
"""After how many of its calls the first agent, and the second one, lets the other go on; never when 0."""
ENDS = {"done", "erred", "canceled", "rejected"}
"""The states that an order does not leave any more."""
_LINES = 60
"""Lines of a difference that are shown."""


class _AgentTurns(Turns):
    """Turns of agents, whose waits take no time: what is waited for has come once the other one has had its turn."""

    def __init__(self, *calls: int) -> None:
        super().__init__(*calls)
        self._waited_s = 0.0
        self._clock = time.monotonic

    def hear(self) -> None:
        """Count a call of the agent whose thread this is."""
        self._hear(None)  # type: ignore[arg-type]

    def sleep(self, seconds: float) -> None:
        if threading.current_thread() in self._runs:
            self._waited_s += seconds
        super().sleep(seconds)

    def monotonic(self) -> float:
        """Stands for `time.monotonic`."""
        return self._clock() + self._waited_s

    @classmethod
    def patched(cls, monkeypatch: pytest.MonkeyPatch, *calls: int) -> Self:
        turns = super().patched(monkeypatch, *calls)
        monkeypatch.setattr(time, "monotonic", turns.monotonic)
        monkeypatch.setitem(waiting.wait_for.__kwdefaults__, "clock", turns.monotonic)
        monkeypatch.setattr(order_round, "ThreadPoolExecutor", _InThisThread)
        return turns


class _InThisThread:
    """Workers that are the thread which wants them: whose call it is, is told by the thread."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, work: Callable[[], T]) -> "Future[T]":
        future: Future[T] = Future()
        future.set_result(work())
        return future


@attrs.frozen
class Course:
    """How it went.

    Attributes:
        state: What both sides hold in the end.
        ends: The states that the order had once it had ended, one after the other.
        raised: What the agents raised.
        leaks: Where a password is that has no business there.
        calls: How many calls the agents sent while they took turns.
        accepted: After how many of these the order was accepted.
    """

    state: dict[str, Any]
    ends: tuple[str, ...]
    raised: tuple[BaseException, ...]
    leaks: tuple[str, ...]
    calls: int
    accepted: int

    def problem(self, alone: "Course") -> str:
        """How it differs from the course that it takes with one agent; nothing where it does not."""
        if (self.state, self.ends, self.raised, self.leaks) == (alone.state, ("done",), (), ()):
            return ""
        expected, found = (
            pprint.pformat(state, width=120, sort_dicts=False).replace("), (", "),\n(").splitlines()
            for state in (alone.state, self.state)
        )
        difference = difflib.unified_diff(expected, found, "one agent", "two agents", n=0, lineterm="")
        said = f"it was {self.ends}, raised {self.raised}, and passwords are in {self.leaks}"
        return "\n".join([said, *itertools.islice(difference, _LINES)])


@attrs.frozen
class Stage:
    """An order that is placed, and has both servers to itself each time that it is carried out.

    Attributes:
        order_type: The type of the order.
        offers: Both servers.
        document: The settings of agents.
        placed: The order.
        overheard: What is told in secret.
        patch: Undoes what is done so that agents take turns.
    """

    order_type: OrderType
    offers: Offers
    document: Document
    placed: Ids
    overheard: Overheard
    patch: pytest.MonkeyPatch

    @classmethod
    def of(cls, order_type: OrderType, offers: Offers, folder: Path, patch: pytest.MonkeyPatch) -> "Stage":
        """Place an order.

        Args:
            order_type: Its type.
            offers: Both servers.
            folder: Where there is room for settings.
            patch: Undoes what is done meanwhile.
        """
        overheard = Overheard.everywhere(patch)
        document = order_type.sell(offers, folder) | {"max_workers": 1}
        return cls(order_type, offers, document, order_type.place(offers, document), overheard, patch)

    def alone(self) -> Course:
        """Have the order carried out by one agent."""
        return self._play(0)

    def met(self, point: Point) -> Course:
        """Have it carried out by two agents that meet, and then have one look after it once more."""
        return self._play(*point)

    def _play(self, *point: int) -> Course:
        with self.offers.world.copy() as world, self.patch.context() as patch:
            document = copy.deepcopy(self.document)
            (offering,) = document["offerings"]
            offering["waldur_api_url"] = world.waldur.api_url
            offering["backend_settings"]["api_url"] = world.server.endpoint
            order, resource = self.placed
            turns = _AgentTurns.patched(patch, *point)
            states = [str(world.waldur.order(order).state)]

            def hear() -> None:
                states.append(str(world.waldur.order(order).state))
                turns.hear()

            def work(_: object) -> None:
                with world.agent(document) as agent:
                    agent.cycle([Mode.ORDER_PROCESS])

            with patch.context() as listening:
                for kind, name in ((Agent, "_called"), (WaldurCalls, "note")):
                    listening.setattr(kind, name, _heard(getattr(kind, name), hear))
                raised = turns.run(*[work] * len(point))
            assert world.cycle(*self.order_type.modes, document=document)
            state = self.order_type.look(attrs.evolve(self.offers, world=world), order, resource)
            states.append(str(state["order"]))
            ends = tuple(state for state, _ in itertools.groupby(states) if state in ENDS)
            state["problem"] = world.waldur.order(order).error_message
            accepted = states.index("executing")
            return Course(state, ends, tuple(raised), self._leaks(world), len(states) - 2, accepted)

    def _leaks(self, world: World) -> tuple[str, ...]:
        if not self.overheard.passwords:
            return ()
        held = as_oneadmin(world) | in_waldur(world)
        return tuple(where for where, _ in self.overheard.passwords_in(held))


def points(alone: Course, count: int) -> Iterator[Point]:
    """Some of the points where two agents can meet, always the same ones.

    At half of them, one stands still while the other does all that is left to do: what the first has read is as old
    as can be when it goes on.

    Args:
        alone: The course that the order takes with one agent.
        count: How many points.
    """
    calls = range(1, alone.calls + 1)
    first, second = [(call, 0) for call in calls], [(alone.accepted, call) for call in calls]
    every, chance = [*itertools.product(calls, repeat=2)], random.Random(alone.calls)
    for _, some in zip(range(count), itertools.cycle([first, second, every, every]), strict=False):
        if some:
            yield some.pop(chance.randrange(len(some)))


def _heard(real: Callable[[Any, Any], None], hear: Callable[[], None]) -> Callable[[Any, Any], None]:
    """A method that hears of each answer to an agent, and has it heard of elsewhere as well."""

    def heard(self: Any, said: Any) -> None:
        real(self, said)
        hear()

    return heard
