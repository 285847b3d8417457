"""How resources are, as Waldur is told with each report: well or not, with which limits, and looked after when."""

from typing import Any

import pytest

from agent.world import LIMITS, World
from onetenant_waldur.agent import Mode
from onetenant_waldur.marketplace import BillingType, Component
from opennebula_tenancy import Limit, Quota
from opennebula_tenancy.emulator import Fault, FaultKind


RESOURCE = "POST /api/marketplace-provider-resources/{uuid}/"
SET_LIMITS, SET_OK, SET_ERRED, SYNC = (
    f"{RESOURCE}{name}/" for name in ("set_limits", "set_as_ok", "set_as_erred", "refresh_last_sync")
)


def report(world: World, **options: Any) -> bool:
    world.waldur.faults.arm()
    world.server.faults.arm()
    return world.cycle(Mode.REPORT, **options)


def change_quota(world: World, **limits: Any) -> None:
    with world.cloud() as cloud:
        for tenant in cloud.vdcs.list():
            tenant.set_quota(Quota(**limits))


def events(logged: Any, name: str) -> list[dict[str, Any]]:
    return [event for event in logged() if event["event"] == name]


def test_a_resource_that_is_well_is_noted_as_looked_after_and_nothing_else(world: World) -> None:
    made = world.made()
    assert world.waldur.resource(made.resource).last_sync is None
    assert report(world)
    assert report(world)
    assert world.waldur.resource(made.resource).last_sync is not None
    calls = world.waldur.faults.calls
    assert calls[-1] == SYNC
    assert not {SET_LIMITS, SET_OK, SET_ERRED, "GET /api/marketplace-provider-resources/{uuid}/"} & set(calls)
    assert world.server.calls == ("one.grouppool.info",)


def test_a_tenant_that_is_gone_makes_its_resource_erred_and_one_that_is_back_makes_it_well(
    world: World, logged: Any
) -> None:
    made = world.made()
    group = world.waldur.resource(made.resource).backend_id
    world.waldur.resource(made.resource).backend_id = "4711"
    assert report(world)
    resource = world.waldur.resource(made.resource)
    assert (resource.state, resource.error_message) == (
        "Erred",
        "The tenant (group 4711) does not exist in OpenNebula any more.",
    )
    assert resource.last_sync is None
    assert report(world)
    assert SET_ERRED not in world.waldur.faults.calls
    assert len(events(logged, "resource_erred")) == 1
    resource.backend_id = group
    assert report(world)
    assert (resource.state, resource.error_message) == ("OK", "")


@pytest.mark.parametrize("whose", ["foreign", "another tenant"])
def test_a_group_that_is_not_the_resources_tenant_makes_it_erred_and_is_not_measured_for_it(
    world: World, whose: str
) -> None:
    made, other = world.made("one"), world.made("two")
    group = world.waldur.resource(other.resource).backend_id
    if whose == "foreign":
        group = str(world.raw("one.group.allocate", "foreign"))
    world.waldur.resource(made.resource).backend_id = group
    assert report(world)
    assert world.waldur.resource(made.resource).state == "Erred"
    assert f"Group {group} in OpenNebula" in world.waldur.resource(made.resource).error_message
    assert world.waldur.consumer().usages(made.resource) == {}
    assert world.waldur.resource(other.resource).state == "OK"


def test_resources_of_another_tool_are_not_judged(world: World) -> None:
    made = world.made()
    world.waldur.resource(made.resource).backend_id = "old-name"
    assert report(world)
    assert world.waldur.resource(made.resource).state == "OK"


def test_a_resource_that_an_update_has_left_erred_is_well_again_when_its_tenant_is_there(world: World) -> None:
    made = world.made()
    order = world.waldur.consumer().update_limits(made.resource, {**LIMITS, "cpu": 1})
    world.server.faults.arm(Fault(kind=FaultKind.REFUSE, method="one.group.quota", times=None))
    assert not world.cycle()
    assert world.waldur.order(order).state == "erred"
    assert world.waldur.resource(made.resource).state == "Erred"
    assert report(world)
    assert world.waldur.resource(made.resource).state == "OK"
    assert world.quota(made.resource).cpu == world.waldur.resource(made.resource).limits["cpu"]


def test_a_tenant_that_has_lost_its_network_makes_its_resource_erred_until_it_is_whole(world: World) -> None:
    made = world.made()
    group = int(world.waldur.resource(made.resource).backend_id)
    world.raw("one.group.update", group, 'TENANCY_NETWORK_ID="unsettled"', 1)
    for _ in range(2):
        report(world)
        resource = world.waldur.resource(made.resource)
        assert (resource.state, resource.error_message) == (
            "Erred",
            f"The tenant (group {group}) is there, and has lost its network.",
        )
    world.raw("one.group.update", group, 'TENANCY_NETWORK_ID="none"', 1)
    assert report(world)
    assert (resource.state, resource.error_message) == ("OK", "")


def test_a_resource_that_was_erred_is_well_again_in_the_same_report_that_tells_its_limits(world: World) -> None:
    made = world.made()
    world.waldur.resource(made.resource).state = "Erred"  # type: ignore[assignment]
    change_quota(world, cpu=40)
    assert report(world)
    resource = world.waldur.resource(made.resource)
    assert (resource.state, resource.limits["cpu"]) == ("OK", 40)


def test_limits_that_somebody_has_changed_in_opennebula_are_told_to_waldur_and_logged(
    world: World, logged: Any
) -> None:
    made = world.made()
    change_quota(world, cpu=40)
    assert report(world)
    assert world.waldur.resource(made.resource).limits == {**LIMITS, "cpu": 40}
    assert world.quota(made.resource).cpu == 40
    (event,) = events(logged, "limits_differ")
    assert (event["waldur"], event["opennebula"]) == ({"cpu": LIMITS["cpu"]}, {"cpu": 40})
    assert report(world)
    assert SET_LIMITS not in world.waldur.faults.calls


def test_limits_of_what_opennebula_does_not_count_stay_in_waldur(world: World) -> None:
    made = world.made()
    world.sell(Component("gpu", "GPU", "pieces"), *world.offering.components)
    world.waldur.resource(made.resource).limits["gpu"] = 2
    change_quota(world, cpu=40)
    assert report(world)
    assert world.waldur.resource(made.resource).limits == {**LIMITS, "cpu": 40, "gpu": 2}


def test_limits_that_a_plan_includes_are_not_told_as_limits(world: World) -> None:
    world.sell(Component("cpu", "CPU", "cores", BillingType.FIXED), Component("ram", "RAM", "MB"))
    made = world.made(limits={"ram": 1024})
    change_quota(world, cpu=40)
    assert report(world)
    assert world.waldur.resource(made.resource).limits == {"ram": 1024}


def test_a_limit_that_somebody_has_taken_away_is_said_once(world: World, logged: Any) -> None:
    made = world.made()
    change_quota(world, cpu=Limit.UNLIMITED)
    with world.agent() as agent:
        assert agent.report_usage()
        assert agent.report_usage()
    (event,) = events(logged, "resource_not_refreshed")
    assert event["reason"] == "OpenNebula has no limit for cpu"
    assert world.waldur.resource(made.resource).limits == LIMITS


def test_a_datastore_that_came_later_and_has_no_limit_is_said_once(world: World, logged: Any) -> None:
    made = world.made()
    store = world.raw(
        "one.datastore.allocate",
        'NAME="new"\nDS_MAD="dummy"\nTM_MAD="dummy"\nTYPE="IMAGE_DS"\nDATASTORE_CAPACITY_CHECK="NO"',
        0,
    )
    image = world.raw("one.image.allocate", 'NAME="i"\nSIZE="10"\nTYPE="DATABLOCK"', store, False)
    world.raw("one.image.chown", image, -1, int(world.waldur.resource(made.resource).backend_id))
    with world.agent() as agent:
        assert agent.report_usage()
        assert agent.report_usage()
    (event,) = events(logged, "resource_not_refreshed")
    assert event["reason"].startswith(f"datastore {store}: the tenant has images there and no limit of storage")
    assert world.waldur.resource(made.resource).limits == LIMITS


def test_limits_are_left_alone_while_an_order_is_about_to_change_them(world: World) -> None:
    made = world.made()
    change_quota(world, cpu=40)
    order = world.waldur.consumer().update_limits(made.resource, {**LIMITS, "cpu": 8})

    def begin(call: str) -> None:
        # Between the list of the resources and the second look at this one.
        if call == "GET /api/marketplace-component-usages/":
            world.waldur.before_call = None
            world.waldur.resource(made.resource).state = "Updating"  # type: ignore[assignment]

    world.waldur.before_call = begin
    assert world.cycle(Mode.REPORT)
    assert world.waldur.resource(made.resource).limits == LIMITS
    world.waldur.resource(made.resource).state = "OK"  # type: ignore[assignment]
    assert world.cycle()
    assert world.waldur.order(order).state == "done"
    assert world.waldur.resource(made.resource).limits["cpu"] == world.quota(made.resource).cpu == 8


def test_a_resource_that_is_being_terminated_meanwhile_is_not_marked(world: World) -> None:
    made = world.made()
    with world.cloud() as cloud:
        (tenant,) = cloud.vdcs.list()
        tenant.delete()

    def begin(call: str) -> None:
        if call == "GET /api/marketplace-provider-resources/{uuid}/":
            world.waldur.resource(made.resource).state = "Terminating"  # type: ignore[assignment]

    world.waldur.before_call = begin
    world.waldur.faults.arm()
    assert world.cycle(Mode.REPORT)
    assert SET_ERRED not in world.waldur.faults.calls


@pytest.mark.parametrize("status", [403, 404, 405])
def test_a_waldur_without_such_calls_is_asked_once_and_the_rest_goes_on(world: World, logged: Any, status: int) -> None:
    made, other = world.made("one"), world.made("two")
    world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, method=SYNC, code=status, times=None))
    with world.agent() as agent:
        assert agent.report_usage()
        assert agent.report_usage()
    assert world.waldur.faults.calls.count(SYNC) == 1
    assert len(events(logged, "resource_not_refreshed")) == 1
    for one in (made, other):
        assert world.waldur.consumer().usages(one.resource)["cpu"] == "0.00"


def test_an_agent_that_has_lost_its_rights_stops_also_here(world: World, logged: Any) -> None:
    world.made("one")
    world.made("two")
    world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, method=SYNC, code=401, times=None))
    assert not world.cycle(Mode.REPORT)
    assert world.waldur.faults.calls.count(SYNC) == 1
    assert len(events(logged, "usage_not_reported")) == 1


def test_metadata_that_somebody_writes_while_an_order_is_carried_out_stays(world: World) -> None:
    made = world.order()

    def write(call: str) -> None:
        if call == f"{RESOURCE}set_backend_id/":
            world.waldur.resource(made.resource).backend_metadata["rack"] = 7

    world.waldur.before_call = write
    assert world.cycle()
    assert world.waldur.resource(made.resource).backend_metadata["rack"] == 7
    assert "opennebula_vdc_id" in world.waldur.resource(made.resource).backend_metadata


def test_a_waldur_that_takes_no_limits_and_no_metadata_gets_its_tenants_all_the_same(world: World) -> None:
    made = world.order()
    world.waldur.resource(made.resource).limits.clear()
    for name in ("set_limits", "set_backend_metadata"):
        world.waldur.faults.add(Fault(kind=FaultKind.REFUSE, method=f"{RESOURCE}{name}/", code=404, times=None))
    assert world.cycle()
    assert world.waldur.order(made.order).state == "done"
