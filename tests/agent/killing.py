"""A real agent in a process of its own, killed (-9) at the calls of one order; after each death, one more agent.

Everything is a fork of one process, the stage, that has prepared both servers and placed the order: so each trial
begins with a copy of all that, and costs neither a start of Python nor a preparation. Agents are forks as well, made
before their trial begins to serve: they share nothing with the servers but sockets, and nothing with one another.
"""

import difflib
import enum
import gc
import io
import multiprocessing
import pprint
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import attrs

from agent.forks import KILLED, AgentFork, Fork, be_alone
from agent.offers import Offers, new_offers
from agent.order_types import CHANGING, Document, Ids, OrderType
from agent.world import World
from onetenant_waldur import log
from onetenant_waldur.agent import Mode
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from opennebula_tenancy.emulator.faults import FaultPlan


SIDES = ("waldur", "opennebula")
Calls = dict[str, tuple[str, ...]]
"""The calls that an order takes, by side."""
_PATIENCE_S = 100.0
"""Seconds after which a trial is held to hang."""
_LINES = 60
"""Lines of a difference that are shown."""


class Moment(enum.StrEnum):
    """When in a call the agent that sent it dies."""

    BEFORE = "before it is applied"
    AFTER = "when it is applied, before it is answered"


@attrs.frozen
class Kill:
    """One death.

    Attributes:
        side: Who is called.
        index: Index of the call, counted from 0.
        method: The call.
        moment: When in that call.
    """

    side: str
    index: int
    method: str
    moment: Moment

    def __str__(self) -> str:
        return f"killed at call {self.index} of {self.side}, {self.method}, {self.moment}"


def each_call(calls: Calls) -> Iterator[Kill]:
    """Every call, and at both moments where the call may change something: elsewhere they are the same."""
    for side in SIDES:
        for index, method in enumerate(calls[side]):
            if CHANGING.fullmatch(method):
                yield Kill(side, index, method, Moment.BEFORE)
            yield Kill(side, index, method, Moment.AFTER)


def each_change(calls: Calls, *, turn: int = 0, turns: int = 1) -> Iterator[Kill]:
    """Every call that may change something, when it has: any other death leaves what one of these leaves.

    Args:
        calls: The undisturbed calls.
        turn: Which of the turns it is: they share the deaths between them.
        turns: How many turns there are.
    """
    changes = [kill for kill in each_call(calls) if kill.moment is Moment.AFTER and CHANGING.fullmatch(kill.method)]
    # From the end, which is where those that share have the most in common.
    yield from changes[::-1][turn % turns :: turns]


@attrs.frozen
class Course:
    """How a trial went.

    Attributes:
        calls: The calls of the first agent.
        codes: The exit codes of both agents.
        state: What both sides hold in the end.
        log: The log of the second agent.
        mishap: What went wrong with the trial itself.
    """

    calls: Calls = attrs.field(factory=dict)
    codes: tuple[int, ...] = ()
    state: Any = None
    log: str = ""
    mishap: str = ""


@attrs.frozen
class Outcome:
    """What came of all trials with one order.

    Attributes:
        undisturbed: How it goes without a death.
        kills: The deaths.
        problems: Those after which the end was another one, and how it differs.
    """

    undisturbed: Course
    kills: tuple[Kill, ...]
    problems: tuple[str, ...]


def kill_at(choice: Callable[[Calls], Iterator[Kill]], order_type: OrderType, folder: Path) -> Outcome:
    """Have an order carried out undisturbed, and then once for each death, with one more agent after it.

    Args:
        choice: At which of the undisturbed calls agents are killed.
        order_type: The type of order.
        folder: Where there is room for settings and logs.

    Returns:
        What came of it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["onetenant_waldur.soak"])
    here, there = context.Pipe(duplex=False)
    stage = context.Process(target=_stage, args=(choice, order_type, folder, there), daemon=True)
    stage.start()
    there.close()
    try:
        outcome = here.recv()
    except EOFError:
        outcome = "the stage is gone"
    finally:
        stage.kill()
        stage.join()
    assert isinstance(outcome, Outcome), outcome
    return outcome


def _stage(
    choice: Callable[[Calls], Iterator[Kill]], order_type: OrderType, folder: Path, audience: Connection
) -> None:
    try:
        audience.send(_outcome(choice, order_type, folder))
    except BaseException:
        audience.send(traceback.format_exc())
        raise


def _outcome(choice: Callable[[Calls], Iterator[Kill]], order_type: OrderType, folder: Path) -> Outcome:
    log.configure("CRITICAL", stream=io.StringIO())
    with new_offers() as offers:
        document = order_type.sell(offers, folder)
        placed = order_type.place(offers, document)
        _warm_up(offers, document)
    be_alone(_PATIENCE_S)
    gc.freeze()  # or else each fork that collects garbage copies all of it
    trial = Trial(order_type, offers, document, placed, folder)
    undisturbed = trial.run(None)
    assert undisturbed.codes == (0, 0), undisturbed
    kills = tuple(choice(undisturbed.calls))
    problems = (_problem(undisturbed, kill, trial.run(kill)) for kill in kills)
    return Outcome(undisturbed, kills, tuple(filter(None, problems)))


def _warm_up(offers: Offers, document: Document) -> None:
    """Load what is loaded, and compile what is compiled, at its first use: once for all forks."""
    with offers.world.agent(document) as agent:
        agent.introduce()
    offers.world.in_opennebula()


def _problem(undisturbed: Course, kill: Kill, course: Course) -> str:
    """How the end after a death differs from that without one; nothing where it does not."""
    if course.mishap:
        return f"{kill}: {course.mishap}"
    if (course.codes, course.state) == ((KILLED, 0), undisturbed.state):
        return ""
    expected, found = (
        pprint.pformat(state, width=120, sort_dicts=False).replace("), (", "),\n(").splitlines()
        for state in (undisturbed.state, course.state)
    )
    difference = list(difflib.unified_diff(expected, found, "without it", "after it", n=0, lineterm=""))
    return "\n".join([f"{kill}: the agents ended with {course.codes}", *difference[:_LINES], course.log])


@attrs.frozen
class Trial:
    """A trial with an order that is placed, and has all servers to itself.

    Attributes:
        order_type: The type of order.
        offers: Both servers, stopped.
        document: The settings of agents.
        placed: The order.
        folder: Where agents log.
    """

    order_type: OrderType
    offers: Offers
    document: Document
    placed: Ids
    folder: Path

    def run(self, kill: Kill | None) -> Course:
        """Have the order carried out by one agent, in a fork of all this, and then by one more.

        Args:
            kill: The death of the first.

        Returns:
            How it went.
        """
        inbox, outbox = multiprocessing.Pipe(duplex=False)
        fork = Fork(lambda: self._tell(kill, outbox))
        outbox.close()
        with inbox:
            try:
                return inbox.recv() if inbox.poll(_PATIENCE_S) else Course(mishap="the trial hangs")
            except EOFError:
                return Course(mishap="the trial is gone")
            finally:
                fork.kill()

    def _tell(self, kill: Kill | None, outbox: Connection) -> int:
        try:
            course = self._course(kill)
        except BaseException:  # noqa: BLE001  whatever it is, it is told
            course = Course(mishap=traceback.format_exc())
        outbox.send(course)
        return 0

    def _course(self, kill: Kill | None) -> Course:
        logs = [self.folder / "first.log", self.folder / "second.log"]
        first, second = (AgentFork(self.offers.world, log_file) for log_file in logs)
        server, waldur = Emulator(), self.offers.world.waldur
        server.cloud = self.offers.world.server.cloud
        plans = {side: _Deathbed(kill if kill and kill.side == side else None, first) for side in SIDES}
        server.faults, waldur.faults = plans["opennebula"], plans["waldur"]
        waldur.stopping = _LastBreath(first)
        with server, waldur:
            assert server._listener is not None
            server._listener.stopping = _LastBreath(first)
            (offering,) = self.document["offerings"]
            offering["waldur_api_url"], offering["backend_settings"]["api_url"] = waldur.api_url, server.endpoint
            first.begin(self.document, [Mode.ORDER_PROCESS])
            codes = [first.wait()]
            calls = {side: plan.calls for side, plan in plans.items()}
            second.begin(self.document, self.order_type.modes)
            codes.append(second.wait())
            offers = attrs.evolve(self.offers, world=World(server, waldur))
            state = self.order_type.look(offers, *self.placed)
        return Course(calls, tuple(codes), state, logs[1].read_text(encoding="utf-8"))


class _Deathbed(FaultPlan):
    """Calls of an agent, of which one may be its last.

    Args:
        kill: Its death.
        agent: The agent.
    """

    def __init__(self, kill: Kill | None, agent: Fork) -> None:
        super().__init__()
        self._kill, self._agent = kill, agent

    def take(self, method: str) -> Fault | None:
        """Count a call; at the last one, kill the agent now, or have the answer wait for that."""
        last = self._kill is not None and len(self.calls) == self._kill.index
        super().take(method)
        if self._kill is None or not last:
            return None
        if self._kill.moment is Moment.AFTER:
            return Fault(kind=FaultKind.DELAY)
        self._agent.kill()
        return Fault(kind=FaultKind.DROP)


class _LastBreath(threading.Event):
    """What a server waits for that has applied a call and is to answer late: it kills the agent that has called."""

    def __init__(self, agent: Fork) -> None:
        super().__init__()
        self._agent = agent

    def wait(self, timeout: float | None = None) -> bool:
        self._agent.kill()
        return True
