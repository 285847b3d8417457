"""The soak: many orders, random faults on both sides, agents killed at random; in the end both sides agree.

`python -m onetenant_waldur.soak --orders 100 --seed 1` runs it on an embedded OpenNebula and an embedded Waldur, with
real agents in processes of their own that are killed (-9) at random calls, and prints its figures. The seed decides
what is ordered, what fails and at which call an agent dies; which of two threads is first, nobody decides.
"""

import functools
import random
import signal
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import attrs
import click

from onetenant_waldur import log
from onetenant_waldur.agent import Mode
from onetenant_waldur.agent_process import AgentProcess, hasty_agent
from onetenant_waldur.marketplace import Marketplace, OrderRefused, OrderState, ResourceState
from onetenant_waldur.marketplace.records import ACTIVE_ORDER, OrderType
from onetenant_waldur.marketplace.refusals import Refusal
from onetenant_waldur.mischief import NOT_ANSWERING, Mischief, Trap
from onetenant_waldur.soak_accounts import AccountKind
from onetenant_waldur.soak_kinds import KINDS, SoakKind, Truth
from opennebula_tenancy.display import Table
from opennebula_tenancy.emulator import Config, Emulator
from opennebula_tenancy.emulator.faults import Fault, FaultKind


PERIODS_S = {str(Mode.ORDER_PROCESS): 0.02, str(Mode.REPORT): 0.3}
OPENNEBULA_FAULTS = (*NOT_ANSWERING, Fault(kind=FaultKind.REFUSE, message="Refused on purpose"))
WALDUR_FAULTS = (*NOT_ANSWERING, *(Fault(kind=FaultKind.REFUSE, code=code) for code in (429, 500, 503)))
ROOMY = Config(step_s=0.001, host_cpu=100_000, host_memory_kb=2**31)
"""Hosts with room for all machines that any run makes, and drivers that are quick."""
_TERMINATE, _CHANGE, _CANCEL = 0.2, 0.4, 0.5
"""Below which chance, of 1, a step is an order of which type; a new resource otherwise."""
_OUTAGE, _OUTAGE_S = 0.02, 0.1
_PACE_S, _SETTLE_S = 0.01, 0.1
_MOST_OPEN = 8
"""Orders that are open at the same time, at most: without the resources of earlier ones there is nothing to change."""
_CALLS_TO_DEATH = 60
"""Calls that an agent makes at most before one is killed."""


@attrs.define
class Plan:
    """What to do.

    Attributes:
        orders: How many orders to place.
        seed: What chance begins with.
        rate: How often a call fails, of 1.
        kills: How many agents to kill.
        agents: How many agents are at work at the same time.
        workers: How many orders each carries out at the same time.
        deadline_s: Seconds within which all orders have to be ended once the faults have stopped.
    """

    orders: int = 100
    seed: int = 1
    rate: float = 0.03
    kills: int = 40
    agents: int = 1
    workers: int = 4
    deadline_s: float = 60.0


@attrs.define
class Figures:
    """What came of it.

    Attributes:
        placed: Orders by type.
        ended: Orders by state.
        resources: Resources by state.
        cancelled: How often an order was cancelled.
        kills: How many agents were killed.
        outages: How often a server answered nothing for a while.
        faults: Faults by server and kind.
        calls: Calls by server.
        seconds: How long it took.
        calm_s: How long it took from the end of the faults to the end of the last order.
        problems: Where the two sides disagree; empty when all is well.
    """

    placed: Counter[str] = attrs.field(factory=Counter)
    ended: Counter[str] = attrs.field(factory=Counter)
    resources: Counter[str] = attrs.field(factory=Counter)
    cancelled: int = 0
    kills: int = 0
    outages: int = 0
    faults: Counter[str] = attrs.field(factory=Counter)
    calls: dict[str, int] = attrs.field(factory=dict)
    seconds: float = 0.0
    calm_s: float = 0.0
    problems: list[str] = attrs.field(factory=list)

    def text(self) -> str:
        """The figures, as a table."""
        rows = [
            ("orders placed", _counted(self.placed)),
            ("orders ended", _counted(self.ended)),
            ("orders cancelled", str(self.cancelled)),
            ("resources", _counted(self.resources)),
            ("agents killed (-9)", str(self.kills)),
            ("outages", str(self.outages)),
            ("faults", _counted(self.faults)),
            ("calls", ", ".join(f"{name} {count}" for name, count in self.calls.items())),
            ("duration", f"{self.seconds:.1f} s, of which {self.calm_s:.1f} s after the faults"),
            ("disagreements", str(len(self.problems))),
        ]
        return "\n".join([Table(("", "figures"), rows).text(), *(f"  {problem}" for problem in self.problems)])


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items())) or "none"


class Soak:
    """One run.

    Args:
        plan: What to do.
        directory: Where the agents log.
        kinds: What to order.
    """

    def __init__(
        self, plan: Plan, directory: Path, kinds: Sequence[Callable[[], SoakKind]] = (*KINDS, AccountKind)
    ) -> None:
        self._plan = plan
        self._rng = random.Random(plan.seed)  # noqa: S311  the same again with the same seed
        self.figures = Figures()
        self._trap = Trap()
        self._server, self._waldur = Emulator(populated=True, config=ROOMY), Marketplace(count_only=("provider",))
        self._sides = {
            "OpenNebula": self._mischief(OPENNEBULA_FAULTS),
            "Waldur": self._mischief(WALDUR_FAULTS),
        }
        self._server.faults, self._waldur.faults = self._sides.values()
        self._logs = [directory / f"agent-{number}.log" for number in range(plan.agents)]
        self._agents: list[AgentProcess] = []
        self._kinds = tuple(kind() for kind in kinds)
        self._document: dict[str, Any] = {}
        self._before = Truth({}, {})
        # One agent has random passwords. Several need a secret: one of them may be killed between giving an account
        # another password and showing that, while another one ends the order.
        self._secret = directory / "secret" if plan.agents > 1 else None

    def _mischief(self, faults: tuple[Fault, ...]) -> Mischief:
        return Mischief(random.Random(self._rng.random()), faults, self._plan.rate, self._trap)  # noqa: S311

    def run(self) -> Figures:
        """Place the orders, let everything go wrong, then let it be, and compare.

        Returns:
            The figures.
        """
        started = time.monotonic()
        with self._server, self._waldur, ExitStack() as stack:
            self._document = {
                "offerings": [dict(kind.prepare(self._server, self._waldur)) for kind in self._kinds],
                "max_workers": self._plan.workers,
            }
            if self._secret is not None:
                self._secret.write_text("a secret of the soak, of many bytes", encoding="utf-8")
                self._secret.chmod(0o600)
                self._document["admin_secret_file"] = str(self._secret)
            self._before = Truth.of(self._server)
            stack.callback(self._kill_all)
            self._agents = [AgentProcess(self._document, path, PERIODS_S) for path in self._logs]
            with self._sides["OpenNebula"].rage(), self._sides["Waldur"].rage():
                self._rage()
            calm = time.monotonic()
            self._settle()
            self.figures.calm_s = time.monotonic() - calm
            self._compare()
        for name, side in self._sides.items():
            self.figures.calls[name] = side.seen
            self.figures.faults.update({f"{name} {kind}": count for kind, count in side.done.items()})
        self.figures.seconds = time.monotonic() - started
        return self.figures

    def _kill_all(self) -> None:
        for agent in self._agents:
            agent.kill()

    def _rage(self) -> None:
        """Place all orders, and kill all agents that are to be killed."""
        while self.figures.placed.total() < self._plan.orders or self.figures.kills < self._plan.kills:
            self._keep_alive()
            open_orders = len(self._open())
            if self.figures.placed.total() >= self._plan.orders:
                if not open_orders:
                    break  # there is nothing left to be killed at
            elif open_orders < _MOST_OPEN:
                self._step()
            if self._rng.random() < _OUTAGE:
                self.figures.outages += 1
                with self._rng.choice(list(self._sides.values())).outage():
                    time.sleep(_OUTAGE_S)
            time.sleep(_PACE_S)
        self._trap.set(0, lambda: None)

    def _keep_alive(self) -> None:
        """Start the agents that are not there, each with a call at which it, or another, will die."""
        for agent in self._agents:
            if not agent.is_alive:
                agent.start()
                if self.figures.kills < self._plan.kills:
                    calls = self._rng.randint(1, _CALLS_TO_DEATH * self._plan.agents)
                    self._trap.set(calls, functools.partial(self._murder, self._rng.choice(self._agents)))

    def _murder(self, victim: AgentProcess) -> None:
        victim.kill()
        self.figures.kills += 1

    def _step(self) -> None:
        """Do what a customer does."""
        chance, rng = self._rng.random(), self._rng
        kind, consumer = rng.choice(self._kinds), self._waldur.consumer()
        with self._waldur.state.lock:
            mine = [one for one in self._waldur.state.resources if kind.is_mine(self._waldur, one)]
            usable = [one for one in mine if one.state is ResourceState.OK]
            open_orders = [order for order in self._waldur.state.orders if order.state in ACTIVE_ORDER]
        if _CHANGE <= chance < _CANCEL and open_orders:
            with suppress(Refusal):  # it has ended since
                self._waldur.cancel_order(rng.choice(open_orders).uuid)
                self.figures.cancelled += 1
        elif chance < _CHANGE:
            if not usable:
                return
            resource = rng.choice(usable)
            with suppress(OrderRefused):  # another order is under way
                if chance < _TERMINATE:
                    consumer.terminate(resource.uuid)
                    self.figures.placed[f"terminate {kind.name}"] += 1
                else:
                    kind.change(consumer, rng, resource)
                    self.figures.placed[f"update {kind.name}"] += 1
        else:
            kind.create(self._waldur, consumer, rng, f"{kind.name.lower()}{len(mine)}")
            self.figures.placed[f"create {kind.name}"] += 1

    def _open(self) -> list[str]:
        with self._waldur.state.lock:
            return [order.uuid for order in self._waldur.state.orders if order.state in ACTIVE_ORDER]

    def _settle(self) -> None:
        """Let the agents end all orders and bring both sides to agree, stop them, and let one more look at everything.

        What they do not come to agree on by themselves is a problem, whether or not one that is started anew mends it.
        """
        deadline = time.monotonic() + self._plan.deadline_s
        while not self._is_settled() and time.monotonic() < deadline:
            for agent in self._agents:
                if not agent.is_alive:
                    agent.start()
            time.sleep(_SETTLE_S)
        self.figures.problems.extend(self._disagreements())
        for agent in self._agents:
            # One that has only just begun has not come to say how it wants to be stopped.
            if agent.is_alive and (code := agent.stop()) not in {0, -signal.SIGTERM}:
                self.figures.problems.append(f"an agent that was told to stop ended with {code}")
        with hasty_agent(self._document) as last:
            for mode in (Mode.ORDER_PROCESS, Mode.REPORT):
                if not last.cycle([mode]):
                    self.figures.problems.append(f"the last cycle of {mode} did not go well")

    def _is_settled(self) -> bool:
        return not self._open() and next(self._disagreements(), None) is None

    def _compare(self) -> None:
        known = set(self.figures.problems)
        self.figures.problems.extend(problem for problem in self._disagreements() if problem not in known)
        for order in self._waldur.state.orders:
            self.figures.ended[order.state] += 1
        for resource in self._waldur.state.resources:
            self.figures.resources[resource.state] += 1

    def _disagreements(self) -> Iterator[str]:
        before, truth = self._before, Truth.of(self._server)
        over = {OrderState.DONE, OrderState.ERRED, OrderState.CANCELED, OrderState.REJECTED}
        for order in self._waldur.state.orders:
            if order.state not in over:
                yield f"order {order.uuid} ({order.type}): stuck in {order.state}"
        left = {
            order.resource.uuid
            for order in self._waldur.state.orders
            if order.type is not OrderType.CREATE and _LEFT in order.error_message
        }
        for resource in self._waldur.state.resources:
            if resource.uuid in left:
                continue  # a refusal of a change, and another one when it was taken back: the order says so
            kind = next(kind for kind in self._kinds if kind.is_mine(self._waldur, resource))
            for problem in kind.disagreements(truth, resource):
                yield f"{kind.name} {resource.uuid} ({resource.state}): {problem}"
        for key in sorted(truth.keys() - before.keys() - {one.uuid for one in self._waldur.state.resources}):
            yield f"key {key}: of no resource"
        groups = {one.findtext("ID") for one in truth.pools["one.grouppool.info"]}
        for rule in truth.pools["one.acl.info"]:
            who = (rule.findtext("STRING") or "").partition(" ")[0]
            if who.startswith("@") and who[1:] not in groups:
                yield f"rule {rule.findtext('ID')}: of the group {who}, which does not exist"
        for method, pool in truth.pools.items():
            foreign, known = _foreign(pool), _foreign(before.pools[method])
            if method != "one.acl.info" and not known <= foreign <= known + len(left):
                yield f"{method}: {foreign} objects without a key, {known} before"


_LEFT = "left behind: "
_MARKS = ("TEMPLATE/TENANCY_KEY", "USER_TEMPLATE/TENANCY_KEY")


def _foreign(pool: Sequence[ET.Element]) -> int:
    """How many objects have no key."""
    return len(pool) - sum(any(one.findtext(path) for path in _MARKS) for one in pool)


@click.command()
@click.option("--orders", type=click.IntRange(min=1), default=100, show_default=True, help="Orders to place.")
@click.option("--seed", type=int, default=1, show_default=True, help="What chance begins with.")
@click.option("--rate", type=click.FloatRange(0, 0.5), default=0.03, show_default=True, help="Calls that fail, of 1.")
@click.option("--kills", type=click.IntRange(min=0), default=40, show_default=True, help="Agents to kill.")
@click.option("--agents", type=click.IntRange(1, 8), default=1, show_default=True, help="Agents at the same time.")
@click.option("--workers", type=click.IntRange(1, 15), default=4, show_default=True, help="Workers of each agent.")
def main(**options: Any) -> None:
    """Order, let everything go wrong, and compare both sides in the end. Exits with 1 when they disagree."""
    log.configure("CRITICAL")
    with tempfile.TemporaryDirectory() as directory:
        figures = Soak(Plan(**options), Path(directory)).run()
    click.echo(figures.text())
    sys.exit(1 if figures.problems else 0)


if __name__ == "__main__":
    main()
