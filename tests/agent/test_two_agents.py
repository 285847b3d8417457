"""Two agents that look for orders at the same time: wherever they meet, an order ends as with one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.meetings import Stage, points
from agent.offers import new_offers
from agent.order_types import ORDER_TYPES
from agent.world import World
from onetenant_waldur.agent import Mode
from opennebula_tenancy.emulator import Fault, FaultKind
from tenants.pace import THOROUGH


pytestmark = pytest.mark.timeout(600)
RESOURCE = "GET /api/marketplace-provider-resources/{uuid}/"
"""The first call of an agent that takes back what it has failed with, but for a look at the order."""
SET_OK = "POST /api/marketplace-provider-resources/{uuid}/set_as_ok/"
SET_ERRED = "POST /api/marketplace-orders/{uuid}/set_state_erred/"
"""Its last one."""


def count(name: str) -> int:
    """At how many points two agents meet: at fewer for tenants with accounts, of which there are many types."""
    if THOROUGH:
        return 100
    return 1 if "password" in name else 4


@pytest.mark.parametrize("name", ORDER_TYPES)
def test_two_agents_end_an_order_as_one_does_wherever_they_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], list[dict[str, Any]]], name: str
) -> None:
    with new_offers() as offers:
        stage = Stage.of(ORDER_TYPES[name], offers, tmp_path, monkeypatch)
        alone = stage.alone()
        assert (alone.ends, alone.raised, alone.leaks) == (("done",), (), ())
        for point in points(alone, count(name)):
            assert not (problem := stage.met(point).problem(alone)), f"{point}: {problem}"
    events = logged()
    assert [event for event in events if event["level"] == "error"] == []
    assert stage.overheard.passwords_in({"log": json.dumps(events)}) == []


@pytest.mark.parametrize(
    ("name", "refused", "moment"),
    [
        ("create tenant", "one.group.quota", RESOURCE),
        ("create tenant", "one.group.quota", SET_ERRED),
        ("create tenant with random password", "one.user.allocate", RESOURCE),
        ("create tenant with random password", "one.user.allocate", SET_ERRED),
        ("update tenant", "one.group.quota", RESOURCE),
        ("update tenant", "one.group.quota", SET_ERRED),
        ("terminate tenant with network", "one.vn.delete", RESOURCE),
        ("create machine", "one.template.instantiate", RESOURCE),
        ("create machine", "one.template.instantiate", SET_ERRED),
        ("switch machine", "one.vm.diskresize", RESOURCE),
        ("switch machine", "one.vm.diskresize", SET_ERRED),
        ("terminate machine", "one.vm.action", RESOURCE),
    ],
)
def test_an_order_that_another_agent_ends_well_stays_done_although_one_fails_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, refused: str, moment: str
) -> None:
    with new_offers() as offers:
        world, stage = offers.world, Stage.of(ORDER_TYPES[name], offers, tmp_path, monkeypatch)
        order, resource = stage.placed
        expected = stage.alone().state
        world.server.faults.arm(Fault(kind=FaultKind.REFUSE, method=refused, code=0x2000))
        ended: list[bool] = []

        def other(call: str) -> None:
            if call == moment and refused in world.server.calls:
                world.waldur.before_call = None
                ended.append(world.cycle(document=stage.document))

        world.waldur.before_call = other
        world.cycle(document=stage.document)
        assert ended == [True]
        assert world.waldur.resource(resource).state == expected["resource"]
        assert world.cycle(*stage.order_type.modes, document=stage.document)
        state = stage.order_type.look(offers, order, resource)
        assert state == {name: expected[name] for name in state}  # but for what was said meanwhile of a failure


def let_another_end(world: World, moment: str, refusal: Fault) -> None:
    """Have OpenNebula refuse something to all but the agent that ends all orders at that moment of another one."""

    def other(call: str) -> None:
        if call == moment and refusal.method in world.server.calls:
            world.waldur.before_call = None
            world.server.faults.arm()
            assert world.cycle()
            world.server.faults.arm(refusal)

    world.server.faults.arm(refusal)
    world.waldur.before_call = other


def test_what_was_taken_back_and_cannot_be_made_again_is_marked(world: World) -> None:
    placed = world.order()
    let_another_end(world, RESOURCE, Fault(kind=FaultKind.REFUSE, method="one.group.quota", code=0x2000, times=None))
    assert not world.cycle()
    assert world.waldur.order(placed.order).state == "done"
    assert world.waldur.resource(placed.resource).state == "Erred"
    assert world.tenant(placed.resource) is None


def test_a_resource_that_only_staff_may_mark_as_well_is_marked_once_it_is_reported_for(world: World) -> None:
    placed = world.order()
    let_another_end(world, SET_ERRED, Fault(kind=FaultKind.REFUSE, method="one.group.quota", code=0x2000, times=1))
    world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, method=SET_OK, code=403))
    assert world.cycle()
    assert world.tenant(placed.resource) is not None
    assert world.waldur.resource(placed.resource).state == "Erred"
    world.waldur.faults.arm()
    assert world.cycle(Mode.REPORT)
    assert world.waldur.resource(placed.resource).state == "OK"
