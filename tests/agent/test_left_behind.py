"""What a failed creation leaves behind is looked after, and what others have ended well meanwhile stays."""

from collections.abc import Callable, Iterator

import pytest

from agent.world import Placed, World, new_world
from onetenant_waldur.agent import Mode
from onetenant_waldur.marketplace import lifecycle
from opennebula_tenancy.emulator import Config, Fault, FaultKind


RESOURCE = "GET /api/marketplace-provider-resources/{uuid}/"
SET_METADATA = "POST /api/marketplace-provider-resources/{uuid}/set_backend_metadata/"
SET_ERRED = "POST /api/marketplace-orders/{uuid}/set_state_erred/"


@pytest.fixture(name="world")
def _world() -> Iterator[World]:
    with new_world(Config(step_s=0)) as world:
        yield world


def fails_and_leaves_something(world: World) -> Placed:
    """A creation that fails when the tenant is there, and that cannot be taken back at first."""
    placed = world.order()
    world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, method=SET_METADATA, code=400, times=1))
    world.server.faults.arm(Fault(kind=FaultKind.REFUSE, method="one.group.delete", code=0x2000, times=1))
    return placed


def errs_by_hand(world: World, placed: Placed) -> Callable[[str], None]:
    """Somebody errs the order while what it made is taken back."""

    def before(call: str) -> None:
        if call == RESOURCE and SET_METADATA in world.waldur.faults.calls:
            world.waldur.before_call = None
            lifecycle.fail(world.waldur.state, world.waldur.order(placed.order), "by hand", "")

    return before


def drops_the_call_after(world: World, last: str) -> Callable[[str], None]:
    """Waldur is not there for the call behind another one."""
    seen: list[str] = []

    def before(call: str) -> None:
        if seen and seen[-1] == last:
            world.waldur.before_call = None
            world.waldur.faults.add(Fault(kind=FaultKind.DROP, method=call, times=1))
        seen.append(call)

    return before


def test_what_is_left_of_a_creation_that_somebody_else_ends_is_removed(world: World) -> None:
    placed = fails_and_leaves_something(world)
    world.waldur.before_call = errs_by_hand(world, placed)
    with world.agent() as agent:
        assert agent.cycle([Mode.ORDER_PROCESS]) is False
        assert world.tenant(placed.resource) is not None
        for _ in range(3):
            agent.cycle([Mode.ORDER_PROCESS])
    assert world.waldur.order(placed.order).state == "erred"
    assert world.tenant(placed.resource) is None


def test_what_is_left_of_a_creation_is_removed_where_waldur_was_away_when_it_had_erred(world: World) -> None:
    placed = fails_and_leaves_something(world)
    world.waldur.before_call = drops_the_call_after(world, SET_ERRED)
    with world.agent() as agent:
        for _ in range(4):
            agent.cycle([Mode.ORDER_PROCESS])
    assert world.waldur.order(placed.order).state == "erred"
    assert world.tenant(placed.resource) is None


def test_an_agent_that_fails_long_after_another_has_ended_the_order_undoes_no_later_one(world: World) -> None:
    placed = world.order()
    world.server.faults.arm(Fault(kind=FaultKind.REFUSE, method="one.group.quota", code=0x2000))

    def others_go_on(call: str) -> None:
        if call == SET_ERRED:
            world.waldur.before_call = None
            assert world.cycle()
            world.waldur.consumer().update_limits(placed.resource, {"cpu": 9, "ram": 8192, "storage": 51200})
            assert world.cycle()

    world.waldur.before_call = others_go_on
    world.cycle()
    assert world.quota(placed.resource).cpu == 9
    assert world.waldur.resource(placed.resource).limits["cpu"] == 9
