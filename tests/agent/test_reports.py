"""Usage reports: zeros included, one OpenNebula call, and nothing sent twice."""

import copy
import uuid
from typing import Any

import pytest

from agent.world import DELAY_S, LIMITS, PLUGIN_OPTIONS, World, at, read_s
from onetenant_waldur.agent import Mode
from onetenant_waldur.marketplace import BillingType, Component, lifecycle
from opennebula_tenancy.emulator import Fault, FaultKind
from opennebula_tenancy.emulator.groups import Group


SET_USAGE = "POST /api/marketplace-component-usages/set_usage/"
ZEROS = {"cpu": "0.00", "ram": "0.00", "storage": "0.00", "floating_ip": "0.00"}


def report(world: World, **options: Any) -> bool:
    world.waldur.faults.arm()
    world.server.faults.arm()
    return world.cycle(Mode.REPORT, **options)


def sent(world: World) -> int:
    return world.waldur.faults.calls.count(SET_USAGE)


def test_what_a_tenant_uses_is_reported_zeros_included(world: World) -> None:
    made = world.made()
    assert report(world)
    assert world.waldur.consumer().usages(made.resource) == ZEROS
    assert world.server.calls == ("one.grouppool.info",)


def test_what_waldur_knows_already_is_not_sent_again(world: World) -> None:
    world.made()
    assert report(world)
    assert sent(world) == 1
    assert report(world)
    assert sent(world) == 0


def test_only_what_has_changed_is_sent(world: World) -> None:
    made = world.made()
    assert report(world)
    for usage in world.waldur.state.usages:
        if usage.component.type == "cpu":
            usage.amount = usage.amount + 3
    seen: list[dict[str, Any]] = []
    with world.agent() as agent:
        (offering,) = agent.offerings
        set_usage = offering.waldur.set_usage

        def watch(resource: uuid.UUID, amounts: Any) -> None:
            seen.append(dict(amounts))
            set_usage(resource, amounts)

        offering.waldur.set_usage = watch  # type: ignore[method-assign]
        assert agent.report_usage()
    assert seen == [{"cpu": 0}]
    assert world.waldur.consumer().usages(made.resource) == ZEROS


def test_a_new_month_is_reported_anew(world: World) -> None:
    world.made()
    world.waldur.state.clock = at(2027, 1, 31)
    for day, expected in ((at(2027, 1, 31), 1), (at(2027, 1, 31), 0), (at(2027, 2, 1), 1), (at(2027, 2, 1), 0)):
        world.waldur.state.clock = day
        world.waldur.faults.arm()
        with world.agent(clock=day) as agent:
            assert agent.report_usage()
        assert sent(world) == expected


def test_the_month_is_that_of_the_time_zone_in_the_settings(world: World) -> None:
    world.made()
    asked: list[str] = []
    world.waldur.state.clock = at(2027, 1, 31)
    document = world.document(timezone="Pacific/Kiritimati")  # 14 hours ahead
    with world.agent(document, clock=at(2027, 1, 31)) as agent:
        (offering,) = agent.offerings
        usages = offering.waldur.usages

        def watch(which: uuid.UUID, month: Any) -> Any:
            asked.append(str(month))
            return usages(which, month)

        offering.waldur.usages = watch  # type: ignore[method-assign]
        assert agent.report_usage()
    assert asked == ["2027-02-01"]


def test_components_that_a_plan_includes_are_not_reported(world: World) -> None:
    world.sell(
        Component("cpu", "CPU", "cores", BillingType.FIXED),
        Component("ram", "RAM", "GB", BillingType.USAGE, unit_factor=1024),
        Component("storage", "Storage", "MB"),
    )
    made = world.made(limits={"storage": 100})
    assert report(world)
    assert world.waldur.consumer().usages(made.resource) == {"ram": "0.00", "storage": "0.00"}


def test_a_tenant_that_is_missing_is_a_warning_and_no_zero(world: World, logged: Any) -> None:
    made, other = world.made("one"), world.made("two")
    world.waldur.resource(made.resource).backend_id = "4711"
    third = world.made("three")
    world.waldur.resource(third.resource).backend_id = "old-name"
    assert report(world)
    assert sent(world) == 1
    assert world.waldur.consumer().usages(made.resource) == {}
    assert world.waldur.consumer().usages(other.resource) == ZEROS
    (warning,) = [event for event in logged() if event["event"] == "resources_missing"]
    assert (warning["level"], warning["backend_ids"]) == ("warning", ["4711", "old-name"])


def test_a_report_that_waldur_refuses_does_not_stop_the_others(world: World, logged: Any) -> None:
    first, second = world.made("one"), world.made("two")
    world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, method=SET_USAGE, code=400, message="Not so"))
    assert not world.cycle(Mode.REPORT)
    known = [bool(world.waldur.consumer().usages(one.resource)) for one in (first, second)]
    assert sorted(known) == [False, True]
    assert any("Not so" in event.get("reason", "") for event in logged())
    assert report(world)
    assert sent(world) == 1


@pytest.mark.parametrize("side", ["waldur", "opennebula"])
def test_an_outage_is_said_once_and_made_up_for(world: World, logged: Any, side: str) -> None:
    made = world.made()
    plan = world.waldur.faults if side == "waldur" else world.server.faults
    plan.arm(Fault(kind=FaultKind.BAD_GATEWAY, times=None))
    assert not world.cycle(Mode.REPORT)
    assert len([event for event in logged() if event["event"] == "usage_not_reported"]) == 1
    assert report(world)
    assert world.waldur.consumer().usages(made.resource) == ZEROS


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_fault_at_any_call_and_one_more_cycle_end_as_an_undisturbed_cycle(
    world: World, kind: FaultKind, index: int
) -> None:
    made = world.made()
    world.waldur.faults.arm(Fault(kind=kind, call=index, code=400, delay_s=DELAY_S))
    world.cycle(Mode.REPORT, read_s=read_s(kind))
    if kind is not FaultKind.DELAY:  # where an answer before that one may have been late as well
        assert len(world.waldur.faults.calls) > index
    assert report(world)
    assert world.waldur.consumer().usages(made.resource) == ZEROS


def test_offerings_on_one_cloud_share_one_call(world: World) -> None:
    more = world.waldur.add_offering("Second", [Component("cpu", "CPU")], plugin_options=PLUGIN_OPTIONS)
    document = world.document()
    document["offerings"].append({**document["offerings"][0], "name": "Second", "waldur_offering_uuid": more.uuid})
    made = world.order()
    second = world.waldur.consumer().place_order(more, "other", {"cpu": 1})
    assert world.cycle(document=document)
    assert report(world, document=document)
    assert world.server.calls == ("one.grouppool.info",)
    assert world.waldur.consumer().usages(made.resource) == ZEROS
    assert world.waldur.consumer().usages(second.resource) == {"cpu": "0.00"}
    world.server.faults.arm(Fault(kind=FaultKind.BAD_GATEWAY, times=None))
    assert not world.cycle(Mode.REPORT, document=document)
    assert len(world.server.calls) == 3  # the attempts of one call


def test_an_offering_whose_usage_another_agent_reports_is_left_alone(world: World) -> None:
    world.made()
    assert report(world, document=world.document(offering_reporting_backend="other"))
    assert world.waldur.faults.calls == ()


def test_hundreds_of_tenants_are_one_call_of_opennebula(world: World) -> None:
    made = world.made()
    tenant = world.tenant(made.resource)
    assert tenant is not None
    state = world.waldur.state
    consumer = next(user for user in state.users if user.username == "consumer")
    with world.server.cloud.lock, state.lock:
        groups = world.server.cloud.pool(Group)
        pattern = groups.find(tenant.id)
        for number in range(299):
            order = lifecycle.place_order(
                state,
                consumer,
                world.waldur.project,
                world.offering,
                plan=world.offering.plans[0],
                attributes={"name": f"t{number}"},
                limits=LIMITS,
            )
            lifecycle.approve(state, order, consumer)
            group = copy.deepcopy(pattern)
            group.name = f"t{number}"
            group.template.set("TENANCY_KEY", order.resource.uuid)
            order.resource.backend_id = str(groups.add(group).id)
            lifecycle.complete(state, order)
    assert report(world)
    assert world.server.calls == ("one.grouppool.info",)
    assert sent(world) == 300
    assert report(world)
    assert world.server.calls == ("one.grouppool.info",)
    assert sent(world) == 0


def test_what_virtual_machines_take_is_reported_and_floating_ips_only_of_the_external_network(world: World) -> None:
    nets = [
        world.raw(
            "one.vn.allocate", f'NAME="{name}"\nVN_MAD="dummy"\nBRIDGE="b"\nAR=[TYPE="IP4",IP="{ip}",SIZE="9"]', 0
        )
        for name, ip in (("external", "192.0.2.1"), ("internal", "10.0.0.1"))
    ]
    world.server.settle()
    world.offering.plugin_options["external_network_id"] = nets[0]
    made = world.made(limits={"cpu": 4, "ram": 4096, "floating_ip": 2})
    assert world.quota(made.resource).floating_ips == 2
    nics = "\n".join(f'NIC=[NETWORK_ID="{number}"]' for number in (nets[0], nets[1], nets[1]))
    machine = world.raw("one.vm.allocate", f'NAME="web"\nCPU="0.5"\nMEMORY="512"\n{nics}', False)
    world.server.settle()  # while it is being built it cannot be ended
    tenant = world.tenant(made.resource)
    assert tenant is not None
    world.raw("one.vm.chown", machine, -1, tenant.id)
    assert report(world)
    assert world.waldur.consumer().usages(made.resource) == {
        "cpu": "0.50",
        "ram": "512.00",
        "storage": "0.00",
        "floating_ip": "1.00",
    }
    world.raw("one.vm.action", "terminate-hard", machine)
    world.server.settle()
    assert report(world)
    assert world.waldur.consumer().usages(made.resource) == ZEROS
