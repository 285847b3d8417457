"""Every call of every operation on a machine, hit by every kind of fault: the next run ends as an undisturbed one."""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs
import pytest

import opennebula_tenancy as ont
from opennebula_tenancy import waiting
from opennebula_tenancy.emulator import Config, Emulator, Fault, FaultKind
from opennebula_tenancy.vms import Vms
from tenants.pace import DELAY_S, THOROUGH, patience, ways_to_lose_a_server
from tenants.raw import Raw
from vms.world import KEY, LARGER, STEP_S, World, connect


FIRST = 0
"""The id of the first machine of a server."""


@attrs.frozen
class Stage:
    """The embedded server with the tenant, and a way to run operations on its machine."""

    server: Emulator
    world: World

    def run(self, operate: "Operation", *kinds: FaultKind, **options: Any) -> None:
        with connect(self.server, timeout=patience(*kinds), **options) as cloud:
            operate(Vms(cloud._rpc), self.world)

    def shot(self) -> Any:
        self.server.settle()
        return self.world.shot()


Operation = Callable[[Vms, World], None]


def nothing(vms: Vms, world: World) -> None:
    del vms, world


def create(vms: Vms, world: World) -> None:
    vms.ensure(world.spec(), timeout_s=60)


def create_off(vms: Vms, world: World) -> None:
    vms.ensure(world.spec(), timeout_s=60).power_off(hard=True, timeout_s=60)


def resize(vms: Vms, world: World) -> None:
    del world
    vms.resize(FIRST, LARGER, key=KEY, timeout_s=60)


def delete(vms: Vms, world: World) -> None:
    del world
    vms.delete(FIRST, key=KEY, timeout_s=60)


@attrs.frozen
class Case:
    prepare: Operation
    operate: Operation
    live: bool = False


CASES = {
    "create": Case(nothing, create),
    "resize": Case(create, resize),
    "resize live": Case(create, resize, live=True),
    "resize off": Case(create_off, resize),
    "delete": Case(create, delete),
}


@functools.cache
def prepared(case: Case) -> Stage:
    """What there is before an operation, on a server that does not run any more."""
    with Emulator(populated=True, config=Config(step_s=STEP_S, live_resize=case.live)) as server:
        with connect(server) as cloud:
            world = World.build(server, cloud)
        stage = Stage(server, world)
        stage.run(case.prepare)
    return stage


def stage_of(case: Case) -> Iterator[Stage]:
    """A copy of what there is before an operation."""
    before = prepared(case)
    with before.server.copy() as server:
        yield Stage(server, attrs.evolve(before.world, admin=Raw(server.endpoint, server.auth)))


def undisturbed(name: str) -> tuple[Any, Any, tuple[str, ...]]:
    """The state before an operation, the one it ends in, and the calls that it sends when every wait looks twice."""
    case = CASES[name]
    for stage in stage_of(case):
        before = stage.shot()
        stage.server.faults.arm()
        stage.run(case.operate)
        calls = stage.server.calls
        return before, stage.shot(), calls
    raise AssertionError


MOST = {"create": 16, "resize": 26, "resize live": 14, "resize off": 14, "delete": 8}
"""How many calls an operation sends, at most: how often it looks while it waits depends on the time that passes."""
EACH_CALL = [pytest.param(name, index, id=f"{name}-{index}") for name, most in MOST.items() for index in range(most)]
WAYS = {"resize live", "resize off"}
"""Cases that differ from another one in a few calls: fewer kinds of faults tell as much."""
TELLING = (FaultKind.REFUSE, FaultKind.LOSE_REPLY)


def kinds_at(name: str, index: int) -> list[FaultKind]:
    """Those that tell most at every call; of the others two at each, by turn."""
    others = [kind for kind in FaultKind if kind not in TELLING]
    if THOROUGH:
        return [*TELLING, *others]
    turn = 2 * index % len(others)
    return [*TELLING, *(others[turn : turn + 2] if name not in WAYS else ())]


def each_call(kinds: Callable[[str, int], Iterable[FaultKind]]) -> list[Any]:
    """Every call of every case with the kinds of faults that it is hit by."""
    return [
        pytest.param(name, index, kind, id=f"{name}-{index}-{kind}")
        for name, most in MOST.items()
        for index in range(most)
        for kind in kinds(name, index)
    ]


@pytest.fixture(autouse=True, scope="module")
def _impatient() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "_SHORTEST_S", STEP_S)
        yield


@pytest.fixture(name="states", scope="module")
def _states(_impatient: None) -> dict[str, tuple[Any, Any, tuple[str, ...]]]:
    return {name: undisturbed(name) for name in CASES}


def test_no_operation_sends_more_calls_than_are_hit(states: dict[str, Any]) -> None:
    for name, (_, _, calls) in states.items():
        assert len(calls) <= MOST[name], calls


@pytest.mark.parametrize(("name", "index", "kind"), each_call(kinds_at))
def test_one_fault_at_any_call_and_one_more_run_end_as_an_undisturbed_run(
    states: dict[str, Any], name: str, index: int, kind: FaultKind
) -> None:
    before, after, _ = states[name]
    case = CASES[name]
    for stage in stage_of(case):
        stage.server.faults.arm(Fault(kind=kind, call=index, delay_s=DELAY_S))
        error: ont.TenancyError | None = None
        try:
            stage.run(case.operate, kind)
        except ont.TenancyError as caught:
            error = caught
        stage.server.faults.arm()
        found = stage.shot()
        if error is None:
            assert found == after
        elif not isinstance(error, ont.RollbackIncomplete) and name != "delete":
            # Whatever is left is what was there, or an end that only its mark or the last look is missing of.
            assert unmarked(found) in (unmarked(before), unmarked(after)), error
        stage.run(case.operate)
        assert stage.shot() == after
        again(stage, case)


def again(stage: Stage, case: Case) -> None:
    """One more run changes nothing."""
    stage.server.faults.arm()
    stage.run(case.operate)
    assert [call for call in stage.server.calls if not call.endswith(("info", "infoset", "infoextended"))] == []


def unmarked(shot: Any) -> Any:
    machines, used, leases = shot
    return [{**vm, "user": {**vm["user"], "TENANCY_PHASE": ""}} for vm in machines], used, leases


@pytest.mark.parametrize(("name", "index", "kind"), each_call(lambda _, index: ways_to_lose_a_server(index)))
def test_a_server_that_is_lost_at_any_call_and_comes_back_ends_as_an_undisturbed_run(
    states: dict[str, Any], name: str, index: int, kind: FaultKind
) -> None:
    before, after, _ = states[name]
    case = CASES[name]
    for stage in stage_of(case):
        stage.server.faults.arm(Fault(kind=kind, call=index, onwards=True, times=None))
        error: ont.TenancyError | None = None
        try:
            stage.run(case.operate)
        except ont.TenancyError as caught:
            error = caught
        sent = len(stage.server.calls)
        stage.server.faults.arm()
        found = stage.shot()
        if error is None:
            # How often it looks while it waits depends on the time that passes: the fault may come too late.
            assert sent <= index
        elif name != "delete" and unmarked(found) not in (unmarked(before), unmarked(after)):
            assert isinstance(error, ont.RollbackIncomplete), error
            assert all("VM" in left for left in error.leftovers)
        stage.run(case.operate)
        assert stage.shot() == after
        again(stage, case)


class Killed(BaseException):
    """The process is gone: no line of it runs any more."""


@pytest.mark.parametrize(("name", "index"), EACH_CALL)
def test_a_process_killed_after_any_call_and_one_more_run_end_as_an_undisturbed_run(
    states: dict[str, Any], name: str, index: int
) -> None:
    _, after, _ = states[name]
    case = CASES[name]
    for stage in stage_of(case):
        seen: list[ont.CallRecord] = []

        def kill(record: ont.CallRecord, seen: list[ont.CallRecord] = seen) -> None:
            seen.append(record)
            if len(seen) > index:
                raise Killed

        with contextlib.suppress(Killed):
            stage.run(case.operate, on_call=kill)
        stage.run(case.operate)
        assert stage.shot() == after
        again(stage, case)
