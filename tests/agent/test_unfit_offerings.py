"""Offerings that name what OpenNebula does not have: said at the start, and no order pays for it."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from agent.offers import new_offers
from agent.world import LIMITS, World
from onetenant_waldur.agent import Mode
from opennebula_tenancy.emulator import Fault, FaultKind


PLACES = [
    ({"backend_cluster_ids": [999]}, "cluster_ids: there is no cluster 999"),
    ({"backend_zone_id": 7}, "zone_id: there is no zone 7"),
    ({"backend_storage_datastores": [777]}, "storage_datastores: 777 is no image datastore"),
    ({"backend_external_network_id": 555}, "external_network_id: there is no network 555"),
]


def reasons(logged: Callable[[], list[dict[str, Any]]], event: str) -> list[str]:
    return [one["reason"] for one in logged() if one["event"] == event]


@pytest.mark.parametrize(("places", "problem"), PLACES)
def test_what_is_not_there_is_said_at_the_start_and_changes_nothing(
    world: World, logged: Any, places: dict[str, Any], problem: str
) -> None:
    world.offering.plugin_options.clear()
    before = world.in_opennebula()
    with world.agent(world.document(**places)) as agent:
        assert not agent.introduce()
    assert reasons(logged, "offering_unfit")[0] == problem
    assert world.in_opennebula() == before


@pytest.mark.parametrize(("places", "problem"), PLACES)
def test_orders_wait_until_the_operator_has_mended_it_and_others_go_on(
    world: World, logged: Any, places: dict[str, Any], problem: str
) -> None:
    other = world.made("other")
    world.offering.plugin_options.clear()
    placed = world.order(limits={**LIMITS, "floating_ip": 0})
    end = world.waldur.consumer().terminate(other.resource)
    with world.agent(world.document(**places)) as agent:
        assert not agent.cycle([Mode.ORDER_PROCESS])
        assert not agent.cycle([Mode.ORDER_PROCESS])
    assert world.waldur.order(placed.order).state == "executing"
    assert world.tenant(placed.resource) is None
    assert world.waldur.order(end).state == "done"
    assert [reason.startswith(problem) for reason in reasons(logged, "order_left")] == [True, True]
    assert world.cycle()
    assert world.waldur.order(placed.order).state == "done"


def test_an_offering_whose_networks_cannot_be_is_told_of_at_the_start(logged: Any) -> None:
    with new_offers() as offers:
        offers.sell_networks()
        with offers.world.agent() as agent:
            assert agent.introduce()
        offers.world.offering.plugin_options["virtual_router_template_id"] = 4711
        with offers.world.agent() as agent:
            assert not agent.introduce()
        placed = offers.world.order("acme", {"cpu": 1, "ram": 1, "storage": 0, "floating_ip": 1})
        assert not offers.world.cycle()
        assert offers.world.waldur.order(placed.order).state == "executing"
    assert reasons(logged, "offering_unfit") == ["virtual_router_template_id: there is no VM template 4711"]


def test_an_opennebula_that_is_not_there_is_said_at_the_start(world: World, logged: Any) -> None:
    world.server.faults.arm(Fault(kind=FaultKind.BAD_GATEWAY, times=None))
    with world.agent() as agent:
        assert not agent.introduce()
    assert len(reasons(logged, "offering_not_looked_at")) == 1


def test_an_agent_that_processes_no_orders_looks_for_no_places(world: World) -> None:
    document = world.document(offering_order_processing_backend="another")
    world.server.faults.arm()
    with world.agent(document) as agent:
        assert agent.introduce()
    assert world.server.calls == ()


def test_two_agents_at_the_start_do_not_get_into_each_others_way(world: World) -> None:
    with world.agent() as agent:
        (offering,) = agent.offerings
        names = {offering.terms().probe().name for _ in range(5)}  # type: ignore[union-attr]
    assert len(names) == 5
    assert all(uuid.UUID(name.removeprefix("probe-")) for name in names)
