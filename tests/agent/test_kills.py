"""A real agent, killed (-9) at each call of each kind of order, before and after it is applied; then one more run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.test_faults import ORDERS, SIDES, UNDISTURBED, faults_of, state
from agent.world import World
from onetenant_waldur.agent_process import AgentProcess
from opennebula_tenancy.emulator import Fault, FaultKind


EACH_CALL = [
    pytest.param(name, side, index, id=f"{name}-{side}-{index}-{method}")
    for name, (calls, _, _) in UNDISTURBED.items()
    for side in SIDES
    for index, method in enumerate(calls[side])
]


def doomed(world: World, side: str, index: int, kill: Callable[[], None]) -> Any:
    """Kill an agent when one of its calls arrives, and then do with the call what the fault in store says."""
    plan = faults_of(world, side)
    take = plan.take

    def taking(method: str) -> Fault | None:
        if len(plan.calls) == index:
            kill()
        return take(method)

    plan.take = taking
    return plan


@pytest.mark.parametrize("fate", [FaultKind.DROP, FaultKind.LOSE_REPLY])
@pytest.mark.parametrize(("name", "side", "index"), EACH_CALL)
def test_an_agent_killed_at_any_call_is_followed_by_one_that_ends_its_work(
    world: World, tmp_path: Path, name: str, side: str, index: int, fate: FaultKind
) -> None:
    order, resource = ORDERS[name](world)
    agent = AgentProcess(world.document(), tmp_path / "agent.log")
    faults_of(world, side).arm(Fault(kind=fate, call=index))
    plan = doomed(world, side, index, agent.kill)
    agent.start()
    assert agent.wait() == -9, (tmp_path / "agent.log").read_text(encoding="utf-8")
    del plan.take
    plan.arm()
    assert world.cycle()
    assert state(world, order, resource) == UNDISTURBED[name][2]
