"""Orders: what each kind does, and what becomes of one that cannot be carried out."""

import re
from typing import Any

import pytest

from agent.world import LIMITS, PLUGIN_OPTIONS, World
from onetenant_waldur.marketplace import Behaviour, BillingType, Component, Marketplace, Plan
from opennebula_tenancy import Limit, Quota
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind


MUTATING = re.compile(r"one\.\w+\.(?!info)\w+")


def changes(world: World) -> list[str]:
    """The calls since the faults were last armed that change something in OpenNebula."""
    return [call for call in world.server.calls if MUTATING.fullmatch(call) and call != "one.system.version"]


def test_a_new_resource_becomes_a_tenant_and_waldur_is_told_which_and_with_what(world: World) -> None:
    made = world.made(limits={"cpu": 4, "ram": 8192, "storage": 0})
    tenant, resource = world.tenant(made.resource), world.waldur.resource(made.resource)
    assert tenant is not None
    assert tenant.name == resource.slug
    assert (resource.state, resource.backend_id) == ("OK", str(tenant.id))
    assert resource.limits == {"cpu": 4, "ram": 8192, "storage": 0}
    assert resource.backend_metadata == {"opennebula_name": tenant.name, "opennebula_vdc_id": tenant.vdc_id}
    quota = world.quota(made.resource)
    assert (quota.cpu, quota.memory_mb, quota.storage_mb) == (4, 8192, 0)


def test_limits_are_set_in_waldur_as_the_tenant_really_has_them(world: World) -> None:
    made = world.order()
    world.waldur.resource(made.resource).limits.clear()
    assert world.cycle()
    assert world.waldur.resource(made.resource).limits == LIMITS


def test_metadata_that_somebody_else_wrote_stays(world: World) -> None:
    made = world.order()
    world.waldur.resource(made.resource).backend_metadata["rack"] = 7
    assert world.cycle()
    assert world.waldur.resource(made.resource).backend_metadata["rack"] == 7
    assert "opennebula_vdc_id" in world.waldur.resource(made.resource).backend_metadata


def test_orders_are_carried_out_in_the_first_cycle_with_components_from_waldur(world: World) -> None:
    world.sell(Component("ram", "RAM", "GB", unit_factor=1024), Component("cpu", "CPU", "cores"))
    made = world.made(limits={"cpu": 2, "ram": 16})
    assert world.quota(made.resource).memory_mb == 16384
    order = world.waldur.consumer().update_limits(made.resource, {"cpu": 2, "ram": 32})
    assert world.cycle()
    assert world.waldur.order(order).state == "done"
    assert world.quota(made.resource).memory_mb == 32768
    assert world.waldur.resource(made.resource).limits == {"cpu": 2, "ram": 32}


def test_factors_and_fractions_of_the_settings_are_exact(world: World) -> None:
    made = world.order(limits={"cpu": 3, "ram": 16, "storage": 1})
    factors = {"cpu": 0.5, "ram": "0.25", "storage": 1024}
    components = {name: {"unit_factor": factor} for name, factor in factors.items()}
    assert world.cycle(document=world.document(offering_backend_components=components))
    quota = world.quota(made.resource)
    assert (str(quota.cpu), quota.memory_mb, quota.storage_mb) == ("1.5", 4, 1024)
    assert world.waldur.resource(made.resource).limits == {"cpu": 3, "ram": 16, "storage": 1}


def test_a_limit_that_is_updated_leaves_the_others_and_zero_is_zero(world: World) -> None:
    made = world.made()
    with world.cloud() as cloud:
        (tenant,) = cloud.vdcs.list()
        tenant.set_quota(Quota(vms=7, memory_mb=4096))
    order = world.waldur.consumer().update_limits(made.resource, {"cpu": 0})
    assert world.cycle()
    assert world.waldur.order(order).state == "done"
    quota = world.quota(made.resource)
    assert (quota.cpu, quota.memory_mb, quota.storage_mb, quota.vms) == (0, 4096, 51200, 7)
    assert quota.running_vms is Limit.DEFAULT


def test_an_update_to_what_is_there_already_changes_nothing_in_opennebula(world: World) -> None:
    made = world.made()
    with world.cloud() as cloud:
        (tenant,) = cloud.vdcs.list()
        tenant.set_quota(Quota(cpu=9))
    order = world.waldur.consumer().update_limits(made.resource, {**LIMITS, "cpu": 9})
    world.server.faults.arm()
    assert world.cycle()
    assert world.waldur.order(order).state == "done"
    assert changes(world) == []


def test_a_terminated_resource_leaves_nothing_in_opennebula(world: World) -> None:
    before = world.in_opennebula()
    made = world.made()
    order = world.waldur.consumer().terminate(made.resource)
    assert world.cycle()
    assert world.waldur.order(order).state == "done"
    assert world.waldur.resource(made.resource).state == "Terminated"
    assert world.in_opennebula() == before


def test_terminating_what_is_gone_already_succeeds(world: World) -> None:
    made = world.made()
    with world.cloud() as cloud:
        (tenant,) = cloud.vdcs.list()
        tenant.delete()
    order = world.waldur.consumer().terminate(made.resource)
    assert world.cycle()
    assert world.waldur.order(order).state == "done"


def test_a_tenant_whose_id_was_lost_is_found_by_its_key(world: World) -> None:
    before = world.in_opennebula()
    made = world.made()
    world.waldur.resource(made.resource).backend_id = ""
    world.waldur.consumer().terminate(made.resource)
    assert world.cycle()
    assert world.in_opennebula() == before


def test_a_tenant_that_is_still_used_is_not_removed_and_the_customer_is_told_by_what(world: World) -> None:
    made = world.made()
    tenant = world.tenant(made.resource)
    assert tenant is not None
    world.raw("one.user.allocate", "alice", "secret", "core", [tenant.id])
    order = world.waldur.consumer().terminate(made.resource)
    assert not world.cycle()
    found = world.waldur.order(order)
    assert found.state == "erred"
    assert "still has user" in found.error_message
    assert "(alice)" in found.error_message
    assert world.waldur.resource(made.resource).state == "OK"
    assert world.tenant(made.resource) == tenant or world.tenant(made.resource) is not None


def test_a_name_that_something_foreign_has_errs_the_order_and_changes_nothing(world: World) -> None:
    made = world.order()
    world.raw("one.group.allocate", world.waldur.resource(made.resource).slug)
    before = world.in_opennebula()
    assert not world.cycle()
    order = world.waldur.order(made.order)
    assert order.state == "erred"
    assert "Something that this agent did not make stands in the way" in order.error_message
    assert "Traceback" in order.error_traceback
    assert world.in_opennebula() == before
    assert world.waldur.resource(made.resource).state == "Terminated"


def test_names_begin_with_the_prefix_in_lower_case(world: World) -> None:
    made = world.order()
    assert world.cycle(document=world.document(backend_allocation_prefix="W_"))
    tenant = world.tenant(made.resource)
    assert tenant is not None
    assert tenant.name == f"w_{world.waldur.resource(made.resource).slug}"


def test_tenants_named_after_their_project_are_numbered_and_keep_their_names_when_resumed(world: World) -> None:
    world.offering.plugin_options["account_name_generation_policy"] = "project_slug"
    project = world.waldur.project.slug
    for name in (project, f"{project}-0"):
        made = world.order()
        world.waldur.faults.arm(
            Fault(kind=FaultKind.DROP, method="POST /api/marketplace-provider-resources/{uuid}/set_backend_id/")
        )
        assert not world.cycle()
        assert world.cycle()
        tenant = world.tenant(made.resource)
        assert tenant is not None
        assert tenant.name == name


def test_what_a_plan_includes_is_the_limit_and_a_switch_of_plans_changes_it(world: World) -> None:
    world.offering.plans[:] = [Plan("Small", {"cpu": 2}), Plan("Large", {"cpu": 8})]
    world.sell(Component("cpu", "CPU", "cores", BillingType.FIXED), Component("ram", "RAM", "MB"))
    made = world.made(limits={"ram": 1024})
    quota = world.quota(made.resource)
    assert (quota.cpu, quota.memory_mb) == (2, 1024)
    assert world.waldur.resource(made.resource).limits == {"ram": 1024}
    order = world.waldur.consumer().switch_plan(made.resource, world.offering, "Large")
    assert world.cycle()
    assert world.waldur.order(order).state == "done"
    quota = world.quota(made.resource)
    assert (quota.cpu, quota.memory_mb) == (8, 1024)


def test_a_component_that_opennebula_does_not_count_errs_the_orders_that_name_it(world: World, logged: Any) -> None:
    world.sell(Component("cpu", "CPU", "cores"), Component("gpu", "GPU", "pieces"))
    good = world.order("good", {"cpu": 1})
    bad = world.order("bad", {"cpu": 1, "gpu": 1})
    assert not world.cycle()
    assert world.waldur.order(good.order).state == "done"
    assert world.waldur.order(bad.order).error_message == (
        "The order cannot be carried out: component gpu: OpenNebula counts nothing of that name, "
        "so it cannot be limited or reported."
    )
    assert sum("component gpu" in event.get("remark", "") for event in logged()) == 1


def test_plugin_options_count_more_than_the_settings(world: World) -> None:
    world.offering.plugin_options["cluster_ids"] = [100]
    made = world.order()
    assert world.cycle(document=world.document(backend_cluster_ids=[0]))
    tenant = world.tenant(made.resource)
    assert tenant is not None
    xml = world.raw("one.vdc.info", tenant.vdc_id, False)
    assert re.findall(r"<CLUSTER_ID>(\d+)", xml) == ["100"]


def test_plugin_options_that_cannot_be_leave_the_orders_until_they_are_mended(world: World, logged: Any) -> None:
    made = world.order()
    world.offering.plugin_options["cluster_ids"] = ["none"]
    assert not world.cycle()
    assert world.waldur.order(made.order).state == "pending-provider"
    assert any("plugin_options.cluster_ids[0]" in event.get("reason", "") for event in logged())
    world.offering.plugin_options["cluster_ids"] = [0]
    assert world.cycle()


@pytest.mark.parametrize("backend_id", ["vdc-one", "12x", "-1"])
@pytest.mark.parametrize("kind", ["update", "terminate"])
def test_a_tenant_of_another_tool_is_not_touched(world: World, kind: str, backend_id: str) -> None:
    made = world.made()
    world.waldur.resource(made.resource).backend_id = backend_id
    consumer = world.waldur.consumer()
    order = (
        consumer.terminate(made.resource)
        if kind == "terminate"
        else consumer.update_limits(made.resource, {**LIMITS, "cpu": 1})
    )
    before = world.in_opennebula()
    assert not world.cycle()
    assert world.waldur.order(order).state == "erred"
    assert f"The tenant {backend_id} was made by another tool" in world.waldur.order(order).error_message
    assert world.in_opennebula() == before


@pytest.mark.parametrize("kind", ["update", "terminate"])
@pytest.mark.parametrize("whose", ["foreign", "other tenant"])
def test_a_group_that_is_not_the_tenant_of_the_resource_is_not_touched(world: World, kind: str, whose: str) -> None:
    made, other = world.made("one"), world.made("two")
    group = world.waldur.resource(other.resource).backend_id
    if whose == "foreign":
        group = str(world.raw("one.group.allocate", "foreign"))
    world.waldur.resource(made.resource).backend_id = group
    consumer = world.waldur.consumer()
    order = (
        consumer.terminate(made.resource)
        if kind == "terminate"
        else consumer.update_limits(made.resource, {**LIMITS, "cpu": 1})
    )
    before = world.in_opennebula()
    assert not world.cycle()
    assert world.waldur.order(order).state == "erred"
    assert f"roup {group}" in world.waldur.order(order).error_message
    assert world.in_opennebula() == before


def test_an_update_of_a_tenant_that_is_gone_errs(world: World) -> None:
    made = world.made()
    with world.cloud() as cloud:
        (tenant,) = cloud.vdcs.list()
        tenant.delete()
    order = world.waldur.consumer().update_limits(made.resource, {**LIMITS, "cpu": 1})
    assert not world.cycle()
    assert "does not exist any more" in world.waldur.order(order).error_message


def test_an_order_that_is_cancelled_before_it_is_accepted_is_skipped(world: World) -> None:
    made = world.order()
    before = world.in_opennebula()

    def cancel(call: str) -> None:
        if call.endswith("approve_by_provider/"):
            world.waldur.before_call = None
            world.waldur.cancel_order(made.order)

    world.waldur.before_call = cancel
    assert world.cycle()
    assert world.waldur.order(made.order).state == "canceled"
    assert world.in_opennebula() == before


@pytest.mark.parametrize("call", ["set_backend_id/", "set_limits/", "set_backend_metadata/", "set_state_done/"])
def test_a_creation_that_is_cancelled_while_it_is_carried_out_leaves_nothing(world: World, call: str) -> None:
    made = world.order()
    world.waldur.resource(made.resource).limits.clear()
    before = world.in_opennebula()

    def cancel(name: str) -> None:
        if name.endswith(call):
            world.waldur.before_call = None
            world.waldur.cancel_order(made.order)

    world.waldur.before_call = cancel
    world.cycle()
    assert world.waldur.order(made.order).state == "canceled"
    assert world.waldur.resource(made.resource).state == "Terminated"
    assert world.in_opennebula() == before


def test_an_update_that_is_cancelled_while_it_is_carried_out_gives_the_limits_back(world: World) -> None:
    made = world.made()
    order = world.waldur.consumer().update_limits(made.resource, {**LIMITS, "cpu": 1})

    def cancel(name: str) -> None:
        if name.endswith("set_state_done/"):
            world.waldur.before_call = None
            world.waldur.cancel_order(order)

    world.waldur.before_call = cancel
    world.cycle()
    assert world.waldur.order(order).state == "canceled"
    assert world.quota(made.resource).cpu == LIMITS["cpu"]


def test_an_order_that_is_being_carried_out_is_looked_at_again_before_it_goes_on(world: World) -> None:
    made = world.made()
    order = world.waldur.consumer().terminate(made.resource)
    world.waldur.faults.arm(Fault(kind=FaultKind.DROP, method="GET /api/marketplace-provider-resources/{uuid}/"))
    assert not world.cycle()
    assert world.waldur.order(order).state == "executing"

    def cancel(name: str) -> None:
        if name == "GET /api/marketplace-orders/{uuid}/":
            world.waldur.before_call = None
            world.waldur.cancel_order(order)

    world.waldur.before_call = cancel
    assert world.cycle()
    assert world.tenant(made.resource) is not None


def test_servers_that_accept_orders_with_an_empty_answer_are_understood() -> None:
    with Marketplace(Behaviour(empty_approval=True), count_only=("provider",)) as waldur:
        waldur.vdc.plugin_options.clear()
        waldur.vdc.plugin_options.update(PLUGIN_OPTIONS)
        with Emulator(populated=True) as server:
            World(server, waldur).made()


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("after", [0, 1, 2, 5])
def test_an_agent_that_waldur_denies_says_so_once_and_stops_asking(
    world: World, logged: Any, status: int, after: int
) -> None:
    orders = [world.order(name) for name in ("one", "two", "three")]
    world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, code=status, call=after, onwards=True, times=None))
    assert not world.cycle(document=world.document(max_workers=1))
    assert len(world.waldur.faults.calls) == after + 1
    said = [event for event in logged() if f"HTTP {status}" in event.get("reason", "")]
    assert len(said) == 1
    assert said[0]["offering"] == "OpenNebula VDC"
    world.waldur.faults.arm()
    assert world.cycle()
    assert {world.waldur.order(one.order).state for one in orders} == {"done"}


def test_credentials_that_opennebula_does_not_know_leave_all_orders(world: World, logged: Any) -> None:
    made = world.order()
    assert not world.cycle(document=world.document(backend_credentials="oneadmin:wrong-password"))
    assert world.waldur.order(made.order).state == "pending-provider"
    assert len([event for event in logged() if event["event"] == "orders_left"]) == 1
    assert "wrong-password" not in str(logged())


def test_one_order_that_fails_does_not_stand_in_the_way_of_the_others(world: World) -> None:
    orders = [world.order(name) for name in ("one", "two", "three")]
    world.waldur.faults.arm(
        Fault(
            kind=FaultKind.DROP,
            method="POST /api/marketplace-provider-resources/{uuid}/set_backend_id/",
        )
    )
    assert not world.cycle()
    assert sorted(world.waldur.order(one.order).state for one in orders) == ["done", "done", "executing"]


def test_a_mistake_of_the_program_leaves_the_order_and_goes_on(
    world: World, logged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = [world.order(name) for name in ("one", "two")]
    with world.agent() as agent:
        (offering,) = agent.offerings
        approve = offering.waldur.approve

        def mistaken(order: Any) -> str:
            if order.hex == orders[0].order:
                raise ZeroDivisionError
            return approve(order)

        monkeypatch.setattr(offering.waldur, "approve", mistaken)
        assert not agent.process_orders()
    assert world.waldur.order(orders[1].order).state == "done"
    assert any("ZeroDivisionError" in event.get("exception", "") for event in logged())


def test_details_are_not_shown_to_customers_where_the_operator_does_not_want_it(world: World) -> None:
    made = world.order()
    world.server.faults.arm(Fault(kind=FaultKind.REFUSE, method="one.vdc.allocate", message="Disk full on db7"))
    assert not world.cycle(document=world.document(expose_backend_error_details=False))
    order = world.waldur.order(made.order)
    assert (order.state, order.error_traceback) == ("erred", "")
    assert "db7" not in order.error_message
    assert "could not carry out the order" in order.error_message


def test_no_secret_leaves_the_agent(world: World, logged: Any) -> None:
    made = world.order()
    token = world.waldur.tokens["provider"]
    said = f"bad login {world.server.auth} with password opennebula! and {token}"
    world.server.faults.arm(Fault(kind=FaultKind.REFUSE, method="one.vdc.allocate", message=said))
    assert not world.cycle()
    order = world.waldur.order(made.order)
    assert order.state == "erred"
    assert "bad login *** with password ***! and ***" in order.error_message
    for text in (order.error_message, order.error_traceback, str(logged())):
        assert world.server.auth not in text
        assert token not in text


def test_networking_that_is_asked_for_is_remarked_on_once_an_offering(world: World, logged: Any) -> None:
    world.offering.plugin_options.update(virtual_router_template_id=8)
    with world.agent() as agent:
        agent.introduce()
        agent.introduce()
        world.order()
        assert agent.process_orders()
    (remark,) = [event for event in logged() if event["event"] == "offering_remark"]
    assert (remark["level"], remark["offering"]) == ("warning", "OpenNebula VDC")
    assert "half of a network" in remark["remark"]


def test_orders_of_an_offering_whose_orders_another_agent_processes_are_left_alone(world: World) -> None:
    made = world.order()
    assert world.cycle(document=world.document(offering_order_processing_backend="other"))
    assert world.waldur.order(made.order).state == "pending-provider"
    assert world.waldur.faults.calls == ()
