"""Orders of tenants with networks."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from agent.offers import RULES, Offers, new_offers
from onetenant_waldur.marketplace import Placed
from opennebula_tenancy.emulator import Fault


MUTATING = re.compile(r"one\.(?!system\.)\w+\.(?!info)\w+")


@pytest.fixture(name="offers")
def _offers() -> Iterator[Offers]:
    with new_offers() as offers:
        yield offers


def order(offers: Offers, name: str = "acme", **attributes: Any) -> Placed:
    consumer = offers.world.waldur.consumer()
    limits = offers.world.complete({"cpu": 4, "floating_ip": 2})
    return consumer.place_order(offers.world.offering, name, limits, attributes=attributes)


def networks(offers: Offers) -> list[str]:
    """The first addresses of the tenants' networks."""
    pool = offers.xml("one.vnpool.info", -2, -1, -1)
    return sorted(net.findtext("AR_POOL/AR/IP") or "" for net in pool if net.findtext("NAME") != "provider")


def test_a_tenant_gets_a_network_and_waldur_is_told_what_it_is(offers: Offers) -> None:
    offers.sell_networks(sched_requirements="FREE_CPU > 1", default_dns="9.9.9.9")
    placed = order(offers)
    offers.world.waldur.resource(placed.resource).backend_metadata["rack"] = 7
    assert offers.world.cycle()
    tenant, resource = offers.world.tenant(placed.resource), offers.world.waldur.resource(placed.resource)
    assert tenant is not None
    assert tenant.network is not None
    assert tenant.router is not None
    assert resource.backend_metadata == {
        "rack": 7,
        "opennebula_name": tenant.name,
        "opennebula_vdc_id": tenant.vdc_id,
        "vnet_id": tenant.network.id,
        "vnet_name": f"{tenant.name}_internal",
        "subnet_cidr": "10.0.1.0/24",
        "gateway_ip": "10.0.1.1",
        "sg_ids": list(tenant.network.security_groups),
        "vr_id": tenant.router.id,
        "vr_name": tenant.router.name,
        "vr_vm_id": tenant.router.vm_ids[0],
        "vr_vm_ids": list(tenant.router.vm_ids),
        "vr_addresses": ["203.0.113.10"],
    }
    assert resource.limits == {"cpu": 4, "floating_ip": 2, "ram": 0, "storage": 0}
    assert tenant.network.dns == "9.9.9.9"
    assert {str(rule) for rule in tenant.security_rules()} == {"inbound tcp 22", "inbound icmp type 8", "outbound all"}
    router = offers.xml("one.vm.info", tenant.router.vm_ids[0])
    assert router.findtext("USER_TEMPLATE/SCHED_REQUIREMENTS") == "FREE_CPU > 1"


def test_settings_of_the_file_serve_where_waldur_drops_what_it_does_not_know(offers: Offers) -> None:
    placed = order(offers, subnet_cidr="")
    document = offers.world.document(**{f"backend_{name}": value for name, value in offers.networking.items()})
    assert offers.world.cycle(document=document)
    assert offers.world.waldur.resource(placed.resource).backend_metadata["subnet_cidr"] == "10.0.1.0/24"


def test_a_subnet_that_the_customer_asks_for_is_the_tenants(offers: Offers) -> None:
    offers.sell_networks()
    placed = order(offers, subnet_cidr=" 192.168.50.0/25 ")
    assert offers.world.cycle()
    assert offers.world.waldur.resource(placed.resource).backend_metadata["subnet_cidr"] == "192.168.50.0/25"
    assert networks(offers) == ["192.168.50.1"]


def test_a_subnet_that_overlaps_one_that_is_there_errs_the_order_and_changes_nothing(offers: Offers) -> None:
    offers.sell_networks()
    order(offers)
    assert offers.world.cycle()
    placed = order(offers, "beta", subnet_cidr="10.0.0.0/16")
    offers.world.server.faults.arm()
    assert not offers.world.cycle()
    found = offers.world.waldur.order(placed.order)
    assert found.state == "erred"
    assert "subnet_cidr: 10.0.0.0/16 overlaps with a network that is there" in found.error_message
    assert "acme" not in found.error_message + found.error_traceback, "whose network it is"
    assert not [call for call in offers.world.server.calls if MUTATING.fullmatch(call)]


def test_a_subnet_that_is_taken_at_that_moment_errs_the_order_and_does_not_say_by_whom(
    offers: Offers, logged: Any
) -> None:
    offers.sell_networks()
    placed = order(offers, subnet_cidr="192.168.50.0/24")
    before = offers.world.in_opennebula()
    take, rivals = offers.world.server.faults.take, []

    def taking(method: str) -> Fault | None:
        if method == "one.vn.allocate" and not rivals:
            rivals.append(None)
            template = 'NAME="rival_internal"\nVN_MAD="dummy"\nBRIDGE="b"\nAR=[TYPE="IP4",IP="192.168.50.9",SIZE="9"]'
            rivals[0] = offers.world.raw("one.vn.allocate", template, 0)
        return take(method)

    offers.world.server.faults.take = taking  # type: ignore[method-assign]
    assert not offers.world.cycle()
    found = offers.world.waldur.order(placed.order)
    assert found.state == "erred"
    sentence = "subnet_cidr: 192.168.50.0/24 was just taken by a network that is there: choose another one, or none"
    assert sentence in found.error_message
    assert "rival" not in found.error_message + found.error_traceback
    assert any("rival_internal" in str(event.get("problems")) for event in logged())
    offers.world.server.settle()
    offers.world.raw("one.vn.delete", rivals[0])
    offers.world.server.settle()
    assert offers.world.in_opennebula() == before


@pytest.mark.parametrize("half", ["external_network_id", "virtual_router_template_id"])
def test_half_of_a_network_is_said_once_and_loudly_and_tenants_get_none(offers: Offers, logged: Any, half: str) -> None:
    offers.world.offering.plugin_options[half] = offers.networking[half]
    placed = offers.world.order(limits={"cpu": 1})
    with offers.world.agent() as agent:
        agent.introduce()
        assert agent.process_orders()
    assert offers.world.waldur.order(placed.order).state == "done"
    assert networks(offers) == []
    (remark,) = [event for event in logged() if event["event"] == "offering_remark"]
    assert remark["level"] == "warning"
    assert remark["remark"].startswith(f"{half} without ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"external_network_id": 77}, "external_network_id: there is no network 77"),
        ({"virtual_router_template_id": 77}, "virtual_router_template_id: there is no VM template 77"),
        ({"virtual_router_template_id": 0}, "virtual_router_template_id: VM template 0"),
        ({"security_group_defaults": [{**RULES[0], "network_id": 77}]}, "there is no network 77"),
        ({"internal_network_base": "203.0.113.0", "internal_network_prefix": 27, "subnet_prefix_length": 28}, "no /28"),
    ],
)
def test_a_network_that_cannot_be_made_changes_nothing_and_what_the_operator_is_to_mend_errs_no_order(
    offers: Offers, logged: Any, options: dict[str, Any], said: str
) -> None:
    offers.sell_networks(**options)
    placed = order(offers)
    before = offers.world.in_opennebula()
    offers.world.server.faults.arm()
    assert not offers.world.cycle()
    found = offers.world.waldur.order(placed.order)
    if said == "no /28":  # there may be one again, and the customer need not wait for it
        assert (found.state, said in found.error_message) == ("erred", True)
    else:
        assert (found.state, found.error_message) == ("executing", "")
        assert [said in event["reason"] for event in logged() if event["event"] == "order_left"] == [True]
    assert offers.world.in_opennebula() == before
    assert not [call for call in offers.world.server.calls if MUTATING.fullmatch(call)]


def test_plugin_options_that_cannot_be_together_leave_the_orders_until_they_are_mended(
    offers: Offers, logged: Any
) -> None:
    offers.sell_networks(subnet_prefix_length=31)
    placed = order(offers)
    assert not offers.world.cycle()
    assert offers.world.waldur.order(placed.order).state == "pending-provider"
    assert any("plugin_options.subnet_prefix_length: /31 is too small" in event.get("reason", "") for event in logged())
    offers.sell_networks(subnet_prefix_length=30)
    assert offers.world.cycle()
    assert offers.world.waldur.resource(placed.resource).backend_metadata["subnet_cidr"] == "10.0.0.4/30"


def test_new_limits_leave_the_network_as_it_is(offers: Offers) -> None:
    offers.sell_networks()
    placed = order(offers)
    assert offers.world.cycle()
    offers.sell_networks(default_dns="1.1.1.1", security_group_defaults=[], router_instances=2)
    metadata = dict(offers.world.waldur.resource(placed.resource).backend_metadata)
    update = offers.world.waldur.consumer().update_limits(placed.resource, {"cpu": 8, "floating_ip": 3})
    offers.world.server.faults.arm()
    assert offers.world.cycle()
    assert offers.world.waldur.order(update).state == "done"
    assert {call for call in offers.world.server.calls if MUTATING.fullmatch(call)} == {"one.group.quota"}
    assert offers.world.waldur.resource(placed.resource).backend_metadata == metadata


def test_the_end_of_a_tenant_is_that_of_its_network(offers: Offers) -> None:
    before = offers.world.in_opennebula()
    offers.sell_networks(router_instances=2)
    placed = order(offers)
    assert offers.world.cycle()
    assert len(offers.world.waldur.resource(placed.resource).backend_metadata["vr_vm_ids"]) == 2
    end = offers.world.waldur.consumer().terminate(placed.resource)
    assert offers.world.cycle()
    assert offers.world.waldur.order(end).state == "done"
    assert offers.world.in_opennebula() == before


def test_a_tenant_with_machines_stays_and_the_sentence_names_them_unless_the_settings_end_these_too(
    offers: Offers,
) -> None:
    world, before = offers.world, offers.world.in_opennebula()
    parent = offers.tenant()
    (resource,) = world.waldur.state.resources
    offers.sell_machines(parent)
    machine = offers.made("web")
    there = world.in_opennebula()
    world.server.faults.arm()
    end = world.waldur.consumer().terminate(resource.uuid)
    assert not world.cycle()
    found = world.waldur.order(end)
    number = offers.machine(machine.resource).findtext("ID")
    assert found.state == "erred"
    assert f"still has VM {number} (web)" in found.error_message
    assert world.in_opennebula() == there
    assert not [call for call in world.server.calls if MUTATING.fullmatch(call)]
    end = world.waldur.consumer().terminate(resource.uuid)
    assert world.cycle(document=world.document(backend_terminate_vms=True))
    assert world.waldur.order(end).state == "done"
    assert world.in_opennebula() == before


def test_tenants_that_are_made_at_the_same_time_get_different_subnets(offers: Offers) -> None:
    offers.sell_networks()
    placed = [order(offers, f"vdc-{number}") for number in range(6)]
    assert offers.world.cycle(document=offers.world.document(max_workers=6, max_connections=6))
    subnets = [offers.world.waldur.resource(one.resource).backend_metadata["subnet_cidr"] for one in placed]
    assert sorted(subnets) == [f"10.0.{number}.0/24" for number in range(1, 7)]
