"""Every call of every kind of order, to either server, hit by every kind of fault: the next cycle ends as it should."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent.world import DELAY_S, IMPATIENT, PATIENT, World, new_world, read_s
from onetenant_waldur.marketplace import ResourceState
from opennebula_tenancy.emulator import Fault, FaultKind


WIDER = {"cpu": 8, "ram": 8192, "storage": 0}
REFUSED_BY_WALDUR = 400


def placed(world: World) -> tuple[str, str]:
    made = world.order()
    return made.order, made.resource


def widened(world: World) -> tuple[str, str]:
    made = world.made()
    return world.waldur.consumer().update_limits(made.resource, WIDER), made.resource


def ending(world: World) -> tuple[str, str]:
    made = world.made()
    return world.waldur.consumer().terminate(made.resource), made.resource


ORDERS: dict[str, Callable[[World], tuple[str, str]]] = {"create": placed, "update": widened, "terminate": ending}
SIDES = ("waldur", "opennebula")
Ordered = tuple[World, str, str]
"""Both servers, an order that waits there, and its resource."""


def faults_of(world: World, side: str) -> Any:
    return world.waldur.faults if side == "waldur" else world.server.faults


def state(world: World, order: str, resource: str) -> dict[str, Any]:
    return {"opennebula": world.in_opennebula(), "waldur": world.in_waldur(order, resource)}


def ordered(name: str) -> Ordered:
    """Two servers on which an order waits: each test has a copy of them."""
    with new_world() as world:
        return (world, *ORDERS[name](world))


def undisturbed(name: str) -> tuple[dict[str, tuple[str, ...]], dict[str, Any], dict[str, Any]]:
    """The calls that an order takes, by side; the state before it and after it."""
    kept, order, resource = ORDERED[name]
    with kept.copy() as world:
        before = world.in_opennebula()
        world.waldur.faults.arm()
        world.server.faults.arm()
        assert world.cycle()
        calls = {side: faults_of(world, side).calls for side in SIDES}
        return calls, before, state(world, order, resource)


ORDERED = {name: ordered(name) for name in ORDERS}
UNDISTURBED = {name: undisturbed(name) for name in ORDERS}
EACH_CALL = [
    pytest.param(name, side, index, id=f"{name}-{side}-{index}-{method}")
    for name, (calls, _, _) in UNDISTURBED.items()
    for side in SIDES
    for index, method in enumerate(calls[side])
]


@pytest.fixture(name="ordered")
def _ordered(name: str) -> Iterator[Ordered]:
    kept, order, resource = ORDERED[name]
    with kept.copy() as world:
        yield world, order, resource


def again(world: World, name: str, resource: str) -> str:
    """Order once more what was refused on purpose, after the operator has looked at it."""
    consumer = world.waldur.consumer()
    world.waldur.resource(resource).state = ResourceState.OK
    return consumer.update_limits(resource, WIDER) if name == "update" else consumer.terminate(resource)


@pytest.mark.parametrize("kind", list(FaultKind))
@pytest.mark.parametrize(("name", "side", "index"), EACH_CALL)
def test_one_fault_at_any_call_and_one_more_cycle_end_as_an_undisturbed_cycle(
    ordered: Ordered, name: str, side: str, index: int, kind: FaultKind
) -> None:
    _, before, expected = UNDISTURBED[name]
    world, order, resource = ordered
    code = REFUSED_BY_WALDUR if side == "waldur" else 0x2000
    faults_of(world, side).arm(Fault(kind=kind, call=index, delay_s=DELAY_S, code=code))
    world.cycle(read_s=read_s(kind))
    if kind is not FaultKind.DELAY:  # where an answer before that one may have been late as well
        assert len(faults_of(world, side).calls) > index
    faults_of(world, side).arm()
    world.cycle()
    if kind is FaultKind.REFUSE and world.waldur.order(order).state == "erred":
        assert "Refused on purpose" in world.waldur.order(order).error_message
        if name == "create":
            assert world.in_opennebula() == before
            assert world.waldur.resource(resource).state in {"Terminated", "Erred"}
            return
        order = again(world, name, resource)
        assert world.cycle()
    assert state(world, order, resource) == expected


@pytest.mark.parametrize(("name", "side", "index"), EACH_CALL)
def test_faults_that_pass_are_not_noticed_by_an_agent_with_patience(
    ordered: Ordered, name: str, side: str, index: int
) -> None:
    world, order, resource = ordered
    faults_of(world, side).arm(Fault(kind=FaultKind.LOSE_REPLY, call=index))
    assert world.cycle(patience=PATIENT)
    assert state(world, order, resource) == UNDISTURBED[name][2]


@pytest.mark.parametrize("name", ORDERS)
def test_a_second_cycle_finds_nothing_to_do(ordered: Ordered) -> None:
    world, _, _ = ordered
    assert world.cycle()
    for one in SIDES:
        faults_of(world, one).arm()
    assert world.cycle()
    assert faults_of(world, "waldur").calls == 2 * ("GET /api/marketplace-orders/",)  # open ones, cancelled ones
    assert faults_of(world, "opennebula").calls == ()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", ORDERS)
def test_an_outage_of_either_server_leaves_the_order_as_it_is_until_it_is_over(
    ordered: Ordered, name: str, side: str
) -> None:
    world, order, resource = ordered
    before = world.in_opennebula()
    faults_of(world, side).arm(Fault(kind=FaultKind.BAD_GATEWAY, times=None))
    assert not world.cycle()
    faults_of(world, side).arm()
    assert world.waldur.order(order).state == "pending-provider"
    assert world.in_opennebula() == before
    assert world.cycle(patience=IMPATIENT)
    assert state(world, order, resource) == UNDISTURBED[name][2]


def test_two_orders_interrupted_one_after_the_other_make_two_tenants(world: World) -> None:
    made = [world.order(name) for name in ("one", "two")]
    for call in (5, 11, 17):
        world.server.faults.arm(Fault(kind=FaultKind.LOSE_REPLY, call=call, times=None, onwards=True))
        assert not world.cycle()
    world.server.faults.arm()
    assert world.cycle()
    with world.cloud() as cloud:
        assert {vdc.key for vdc in cloud.vdcs.list()} == {one.resource for one in made}
