"""Orders of virtual machines."""

import base64
import threading
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from agent.offers import KEY, MEDIUM, SMALL, VM_LIMITS, Offers, is_running, new_offers, size
from onetenant_waldur.agent import Mode
from onetenant_waldur.marketplace import BillingType, Component, Plan
from onetenant_waldur.marketplace.records import SshKey
from opennebula_tenancy.emulator import Fault, FaultKind


SET_USAGE = "POST /api/marketplace-component-usages/set_usage/"
SET_LIMITS = "POST /api/marketplace-provider-resources/{uuid}/set_limits/"
CHANGING = ("resize", "diskresize", "action", "update", "rename")


@pytest.fixture(name="prepared", scope="module")
def _prepared() -> Offers:
    with new_offers() as offers:
        offers.sell_machines(offers.tenant())
    return offers


@pytest.fixture(name="offers")
def _offers(prepared: Offers) -> Iterator[Offers]:
    """A tenant that machines are sold in, a copy for each test."""
    with prepared.world.copy() as world:
        yield attrs.evolve(prepared, world=world)


def changes(offers: Offers) -> list[str]:
    return [call for call in offers.world.server.calls if call.rpartition(".")[2] in {*CHANGING, "instantiate"}]


def another_key(number: int) -> str:
    """One more public key that OpenSSH takes."""
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes([number]) * 32
    return f"ssh-ed25519 {base64.b64encode(blob).decode()} key{number}"


def test_a_machine_is_made_in_its_tenant_and_waldur_is_told_which_and_with_what(offers: Offers) -> None:
    world = offers.world
    placed = offers.order("web", ssh_public_key=KEY)
    world.waldur.resource(placed.resource).backend_metadata["rack"] = 7
    assert offers.cycle()
    vm, resource = offers.machine(placed.resource), world.waldur.resource(placed.resource)
    parent = world.waldur.vm.plugin_options["parent_vdc_backend_id"]
    assert (world.waldur.order(placed.order).state, resource.state) == ("done", "OK")
    assert resource.backend_id == vm.findtext("ID")
    assert resource.backend_metadata == {
        "rack": 7,
        "vm_id": int(resource.backend_id),
        "ip_address": "10.0.1.2",
        "ip_addresses": ["10.0.1.2"],
        "template_id": offers.template,
        "parent_vdc_backend_id": str(parent),
    }
    assert resource.limits == SMALL == size(vm)
    assert (vm.findtext("NAME"), vm.findtext("GID"), is_running(vm)) == ("web", str(parent), True)
    assert vm.findtext("TEMPLATE/CONTEXT/SSH_PUBLIC_KEY") == KEY


def test_a_parent_may_be_given_by_its_name_and_a_template_by_the_settings(offers: Offers) -> None:
    options = offers.world.waldur.vm.plugin_options
    parent = str(options["parent_vdc_backend_id"])
    options.clear()
    document = offers.document(backend_parent_vdc_backend_id="parent-1", backend_template_id=offers.template)
    placed = offers.order()
    assert offers.cycle(document=document)
    assert offers.machine(placed.resource).findtext("GID") == parent


def test_an_offering_that_does_not_say_what_machines_are_made_of_leaves_its_orders(offers: Offers, logged: Any) -> None:
    offers.world.waldur.vm.plugin_options.clear()
    placed = offers.order()
    assert not offers.cycle()
    assert offers.world.waldur.order(placed.order).state == "pending-provider"
    (event,) = [event for event in logged() if event["event"] == "orders_left"]
    assert "backend_settings.template_id: missing" in event["reason"]
    assert "backend_settings.parent_vdc_backend_id: missing" in event["reason"]


def test_a_parent_that_is_not_there_errs_the_order(offers: Offers) -> None:
    for parent, said in ((4711, "there is no tenant 4711"), ("nobody", "there is no tenant 'nobody'"), (0, "group 0")):
        offers.sell_machines(parent)
        placed = offers.order()
        assert not offers.cycle()
        assert said in offers.world.waldur.order(placed.order).error_message
        assert offers.world.waldur.resource(placed.resource).state == "Terminated"


def test_factors_of_components_apply_to_plans_and_to_what_is_told_of_a_machine(offers: Offers) -> None:
    vm = offers.world.waldur.vm
    vm.components[:] = [
        Component("vcpu", "vCPU", "cores", BillingType.FIXED),
        Component("vm_ram", "RAM", "GB", BillingType.FIXED, unit_factor=1024),
        Component("vm_disk", "Disk", "GB", BillingType.FIXED, unit_factor=1024),
    ]
    vm.plans[:] = [Plan("Small", {"vcpu": 1, "vm_ram": 1, "vm_disk": 3}), Plan("Large", {"vcpu": 2, "vm_ram": 2})]
    placed = offers.made()
    assert size(offers.machine(placed.resource)) == {"vcpu": 1, "vm_ram": 1024, "vm_disk": 3072}
    assert offers.world.waldur.resource(placed.resource).limits == {"vcpu": 1, "vm_ram": 1, "vm_disk": 3}
    order = offers.switch(placed.resource, "Large")
    assert offers.cycle()
    assert offers.world.waldur.order(order).state == "done"
    assert size(offers.machine(placed.resource)) == {"vcpu": 2, "vm_ram": 2048, "vm_disk": 3072}
    assert offers.world.waldur.resource(placed.resource).limits == {"vcpu": 2, "vm_ram": 2, "vm_disk": 3}


def test_the_share_of_physical_cores_is_that_of_the_settings(offers: Offers) -> None:
    offers.world.waldur.vm.plugin_options["cpu_per_vcpu"] = 0.25
    placed = offers.made(plan="Medium")
    assert offers.machine(placed.resource).findtext("TEMPLATE/CPU") == "0.5"


def test_a_switch_of_plans_is_a_resize_after_which_the_machine_runs(offers: Offers) -> None:
    placed = offers.made()
    order = offers.switch(placed.resource, "Medium")
    assert offers.cycle()
    vm, resource = offers.machine(placed.resource), offers.world.waldur.resource(placed.resource)
    assert offers.world.waldur.order(order).state == "done"
    assert (size(vm), is_running(vm)) == (MEDIUM, True)
    assert resource.plan is not None
    assert (resource.limits, resource.plan.name) == (MEDIUM, "Medium")
    assert resource.backend_metadata["vm_id"] == int(vm.findtext("ID") or "")


def test_a_switch_to_the_same_size_sends_nothing(offers: Offers) -> None:
    offers.world.waldur.vm.plans.append(Plan("Small again", SMALL))
    placed = offers.made()
    order = offers.switch(placed.resource, "Small again")
    offers.world.server.faults.arm()
    offers.world.waldur.faults.arm()
    assert offers.cycle()
    assert offers.world.waldur.order(order).state == "done"
    assert changes(offers) == []
    assert SET_LIMITS not in offers.world.waldur.faults.calls


def test_a_smaller_disk_errs_the_order_while_the_machine_runs(offers: Offers) -> None:
    placed = offers.made(plan="Medium")
    order = offers.switch(placed.resource, "Small")
    offers.world.server.faults.arm()
    assert not offers.cycle()
    found = offers.world.waldur.order(order)
    assert found.state == "erred"
    assert "has 10240 MB, and cannot shrink to 5120 MB; nothing was changed" in found.error_message
    assert changes(offers) == []
    vm = offers.machine(placed.resource)
    assert (size(vm), is_running(vm)) == (MEDIUM, True)


def test_a_plan_that_the_tenants_limits_leave_no_room_for_errs_the_order_and_changes_nothing(offers: Offers) -> None:
    offers.world.waldur.vm.plans.append(Plan("Huge", {"vcpu": VM_LIMITS["cpu"] + 1, "vm_ram": 512, "vm_disk": 5120}))
    placed = offers.made()
    order = offers.switch(placed.resource, "Huge")
    assert not offers.cycle()
    assert "limit of 16 reached for CPU quota" in offers.world.waldur.order(order).error_message
    vm = offers.machine(placed.resource)
    assert (size(vm), is_running(vm)) == (SMALL, True)
    new = offers.order("huge", "Huge")
    assert not offers.cycle()
    assert "quota" in offers.world.waldur.order(new.order).error_message
    assert len(offers.machines()) == 1


def test_a_machine_that_is_off_is_resized_and_stays_off(offers: Offers) -> None:
    placed = offers.made()
    offers.world.raw("one.vm.action", "poweroff-hard", int(offers.machine(placed.resource).findtext("ID") or ""))
    order = offers.switch(placed.resource, "Medium")
    assert offers.cycle()
    assert offers.world.waldur.order(order).state == "done"
    vm = offers.machine(placed.resource)
    assert (size(vm), vm.findtext("STATE")) == (MEDIUM, "8")


def test_components_that_are_billed_by_limit_are_resized_by_orders_of_limits(offers: Offers) -> None:
    vm = offers.world.waldur.vm
    for component in vm.components:
        component.billing_type = BillingType.LIMIT
    vm.plans[:] = [Plan("Default")]
    consumer = offers.world.waldur.consumer()
    placed = consumer.place_order(vm, "web", SMALL)
    assert offers.cycle()
    order = consumer.update_limits(placed.resource, MEDIUM)
    assert offers.cycle()
    assert offers.world.waldur.order(order).state == "done"
    assert size(offers.machine(placed.resource)) == MEDIUM
    assert offers.world.cycle(Mode.REPORT, document=offers.document())
    assert consumer.usages(placed.resource) == {name: f"{amount}.00" for name, amount in MEDIUM.items()}


def test_a_terminated_machine_is_gone_and_its_end_once_more_succeeds(offers: Offers) -> None:
    before = offers.world.in_opennebula()
    placed = offers.made()
    order = offers.world.waldur.consumer().terminate(placed.resource)
    offers.world.raw("one.vm.action", "terminate-hard", int(offers.machine(placed.resource).findtext("ID") or ""))
    assert offers.cycle()
    assert offers.world.waldur.order(order).state == "done"
    assert offers.world.waldur.resource(placed.resource).state == "Terminated"
    other = offers.made("db")
    order = offers.world.waldur.consumer().terminate(other.resource)
    assert offers.cycle()
    assert offers.world.waldur.order(order).state == "done"
    assert offers.machines() == []
    assert offers.world.in_opennebula() == before


def test_a_machine_whose_id_was_lost_is_found_by_its_key(offers: Offers) -> None:
    placed = offers.made()
    offers.world.waldur.resource(placed.resource).backend_id = ""
    offers.world.waldur.consumer().terminate(placed.resource)
    assert offers.cycle()
    assert offers.machines() == []


@pytest.mark.parametrize("kind", ["switch", "terminate"])
@pytest.mark.parametrize("whose", ["foreign", "another's", "a name", "none"])
def test_a_machine_that_is_not_the_resources_is_not_touched(offers: Offers, kind: str, whose: str) -> None:
    placed, other = offers.made("web"), offers.made("db")
    foreign = str(offers.world.raw("one.vm.allocate", 'NAME="theirs"\nCPU="1"\nMEMORY="64"', False))
    theirs = {"foreign": foreign, "another's": offers.world.waldur.resource(other.resource).backend_id, "a name": "web"}
    offers.world.waldur.resource(placed.resource).backend_id = theirs.get(whose, "4711")
    order = (
        offers.switch(placed.resource, "Medium")
        if kind == "switch"
        else offers.world.waldur.consumer().terminate(placed.resource)
    )
    before = offers.world.in_opennebula()
    offers.world.server.faults.arm()
    offers.cycle()
    found = offers.world.waldur.order(order)
    assert found.state == ("done" if (kind, whose) == ("terminate", "none") else "erred")
    assert changes(offers) == []
    assert offers.world.in_opennebula() == before
    said = {"a name": "'web' is not the id of a virtual machine", "none": "does not exist in OpenNebula any more"}
    assert (
        found.state == "done" or said.get(whose, "is not the virtual machine of this resource") in found.error_message
    )


def test_keys_come_as_text_or_from_waldur_whichever_page_they_are_on(offers: Offers) -> None:
    people = {user.username: user for user in offers.world.waldur.state.users}
    keys = [SshKey(f"key{number}", another_key(number)) for number in range(120)]
    people["consumer"].keys.extend(keys)
    placed = offers.made(ssh_public_key=f"{KEY}\r\n\n  {keys[117].uuid}\n{keys[3].uuid.upper()}\n")
    said = offers.machine(placed.resource).findtext("TEMPLATE/CONTEXT/SSH_PUBLIC_KEY")
    assert said == f"{KEY}\n{another_key(117)}\n{another_key(3)}"
    assert sum("/keys/" in call for call in offers.world.waldur.faults.calls) > 1


def test_keys_in_waldur_are_asked_for_only_where_an_order_names_one(offers: Offers) -> None:
    offers.made(ssh_public_key=KEY)
    offers.made()
    assert not [call for call in offers.world.waldur.faults.calls if "/keys/" in call]


def test_an_agent_that_may_not_read_keys_errs_the_order_that_needs_one_and_does_all_others(offers: Offers) -> None:
    asking = offers.order("asking", ssh_public_key=SshKey("mine", KEY).uuid)
    other = offers.order("other")
    offers.world.waldur.faults.arm(
        Fault(kind=FaultKind.REFUSE, method="GET /api/marketplace-service-providers/{uuid}/keys/", code=403)
    )
    assert not offers.cycle()
    assert "may not look up keys in Waldur" in offers.world.waldur.order(asking.order).error_message
    assert offers.world.waldur.order(other.order).state == "done"
    assert len(offers.machines()) == 1


def test_a_machine_that_does_not_come_to_run_errs_the_order_and_is_gone(offers: Offers) -> None:
    offers.world.server.cloud.driver_actions["deploy"] = None
    placed = offers.order()
    assert not offers.cycle()
    found = offers.world.waldur.order(placed.order)
    assert found.state == "erred"
    assert "BOOT_FAILURE" in found.error_message
    assert offers.machines() == []
    assert offers.world.waldur.resource(placed.resource).state == "Terminated"


def test_a_machine_is_resumed_in_the_tenant_that_it_is_in_wherever_the_next_ones_go(offers: Offers) -> None:
    placed = offers.order()
    offers.world.waldur.faults.arm(
        Fault(kind=FaultKind.DROP, method="POST /api/marketplace-provider-resources/{uuid}/set_backend_id/")
    )
    assert not offers.cycle()
    first = offers.machine(placed.resource)
    offers.sell_machines(offers.tenant("elsewhere"))
    assert offers.cycle()
    assert offers.world.waldur.order(placed.order).state == "done"
    assert offers.machine(placed.resource).findtext("ID") == first.findtext("ID")


@pytest.mark.parametrize("call", ["set_backend_id/", "set_backend_metadata/", "set_limits/", "set_state_done/"])
def test_a_creation_that_is_cancelled_while_it_is_carried_out_leaves_nothing(offers: Offers, call: str) -> None:
    placed = offers.order()

    def cancel(name: str) -> None:
        if name.endswith(call):
            offers.world.waldur.before_call = None
            offers.world.waldur.cancel_order(placed.order)

    offers.world.waldur.before_call = cancel
    offers.cycle()
    assert offers.world.waldur.order(placed.order).state == "canceled"
    assert offers.machines() == []


def test_a_switch_that_is_cancelled_while_it_is_carried_out_gives_back_all_but_the_disk(
    offers: Offers, logged: Any
) -> None:
    placed = offers.made()
    order = offers.switch(placed.resource, "Medium")

    def cancel(name: str) -> None:
        if name.endswith("set_state_done/"):
            offers.world.waldur.before_call = None
            offers.world.waldur.cancel_order(order)

    offers.world.waldur.before_call = cancel
    offers.cycle()
    vm = offers.machine(placed.resource)
    assert (size(vm), is_running(vm)) == ({**SMALL, "vm_disk": MEDIUM["vm_disk"]}, True)
    (event,) = [event for event in logged() if event["event"] == "order_not_taken_back"]
    assert "cannot shrink back" in event["reason"]


def test_twenty_orders_are_done_in_one_cycle_by_as_many_workers_as_are_allowed(offers: Offers) -> None:
    with offers.world.cloud() as cloud:
        (tenant,) = cloud.vdcs.list()
        tenant.set_quota(attrs_quota())
    lock, state = threading.Lock(), {"open": 0, "most": 0}

    def watch(call: str) -> None:
        step = 1 if call.endswith("approve_by_provider/") else -1 if call.endswith("set_state_done/") else 0
        with lock:
            state["open"] += step
            state["most"] = max(state["most"], state["open"])

    offers.world.waldur.before_call = watch
    placed = [offers.order(f"web-{number}") for number in range(20)]
    assert offers.cycle(document=offers.document(max_workers=5, max_connections=5))
    assert {offers.world.waldur.order(one.order).state for one in placed} == {"done"}
    assert sorted(vm.findtext("NAME") or "" for vm in offers.machines()) == sorted(f"web-{n}" for n in range(20))
    assert len({vm.findtext("TEMPLATE/NIC/IP") for vm in offers.machines()}) == 20
    assert (state["open"], state["most"]) == (0, 5)


def attrs_quota() -> Any:
    import opennebula_tenancy as ont  # noqa: PLC0415

    return ont.Quota(cpu=20)


# Reports


def report(offers: Offers) -> bool:
    offers.world.waldur.faults.arm()
    offers.world.server.faults.arm()
    return offers.world.cycle(Mode.REPORT, document=offers.document())


def test_what_a_plan_includes_is_reported_once_and_quietly_let_be_where_waldur_does_not_take_it(
    offers: Offers, logged: Any
) -> None:
    offers.made("web")
    offers.made("db")
    offers.world.waldur.faults.arm()
    with offers.world.agent(offers.document()) as agent:
        assert agent.report_usage()
        assert agent.report_usage()
    assert offers.world.waldur.faults.calls.count(SET_USAGE) == 1
    levels = {event["level"] for event in logged() if "invalid" in event.get("reason", "")}
    assert levels == {"info"}


def test_what_a_plan_includes_is_reported_to_a_waldur_that_takes_it(
    offers: Offers, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onetenant_waldur.marketplace import records  # noqa: PLC0415

    billed = records.Offering.billed
    monkeypatch.setattr(records.Offering, "billed", lambda self, *kinds: billed(self, *kinds, BillingType.FIXED))
    placed = offers.made()
    for expected in (1, 0):
        assert report(offers)
        assert offers.world.waldur.faults.calls.count(SET_USAGE) == expected
    assert offers.world.waldur.consumer().usages(placed.resource) == {
        "vcpu": "1.00",
        "vm_ram": "512.00",
        "vm_disk": "5120.00",
    }
    assert offers.world.server.calls == ("one.vmpool.infoextended",)


@pytest.mark.parametrize("status", [400, 404])
def test_a_refusal_of_one_report_does_not_end_those_of_what_plans_include(
    offers: Offers, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    from onetenant_waldur.marketplace import records  # noqa: PLC0415

    billed = records.Offering.billed
    monkeypatch.setattr(records.Offering, "billed", lambda self, *kinds: billed(self, *kinds, BillingType.FIXED))
    placed, other = offers.made("web"), offers.made("db")
    offers.world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, method=SET_USAGE, code=status, times=1))
    with offers.world.agent(offers.document()) as agent:
        assert not agent.report_usage()
        assert agent.report_usage()
    for one in (placed, other):
        assert offers.world.waldur.consumer().usages(one.resource)["vcpu"] == "1.00"


def test_an_order_for_what_no_machine_has_errs_with_a_sentence_and_makes_nothing(offers: Offers) -> None:
    vm = offers.world.waldur.vm
    vm.components.append(Component("gpu", "GPU"))
    for component in vm.components:
        component.billing_type = BillingType.LIMIT
    vm.plans[:] = [Plan("Default")]
    placed = offers.world.waldur.consumer().place_order(vm, "web", {**SMALL, "gpu": 4})
    assert not offers.cycle()
    order = offers.world.waldur.order(placed.order)
    assert (order.state, order.error_message) == (
        "erred",
        "The order cannot be carried out: component gpu: nothing of a virtual machine has that name.",
    )
    assert offers.machines() == []


def test_an_amount_of_what_no_machine_has_stands_in_the_way_of_no_other_plan(offers: Offers) -> None:
    placed = offers.made()
    with offers.world.waldur.state.lock:
        found = next(one for one in offers.world.waldur.state.resources if one.uuid == placed.resource)
        found.limits["backup"] = 5
    order = offers.world.waldur.consumer().switch_plan(placed.resource, offers.world.waldur.vm, "Medium")
    assert offers.cycle()
    assert offers.world.waldur.order(order).state == "done"


def test_a_machine_that_was_resized_by_hand_is_told_to_waldur(offers: Offers) -> None:
    placed = offers.made()
    with offers.world.cloud() as cloud:
        machine = cloud.vms.find("web")
        assert machine is not None
        from opennebula_tenancy import VmSize  # noqa: PLC0415

        machine.resize(VmSize(memory_mb=1024))
    assert report(offers)
    assert offers.world.waldur.resource(placed.resource).limits == {**SMALL, "vm_ram": 1024}


def test_a_machine_that_is_gone_makes_its_resource_erred(offers: Offers) -> None:
    placed = offers.made()
    with offers.world.cloud() as cloud:
        (machine,) = cloud.vms.list()
        machine.delete()
    assert report(offers)
    resource = offers.world.waldur.resource(placed.resource)
    assert resource.state == "Erred"
    assert resource.error_message == f"The virtual machine (VM {machine.id}) does not exist in OpenNebula any more."


def test_limits_that_waldur_does_not_take_for_a_plan_do_not_stand_in_the_way(offers: Offers) -> None:
    placed = offers.order()
    offers.world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, method=SET_LIMITS, code=400, times=None))
    assert offers.cycle()
    assert offers.world.waldur.order(placed.order).state == "done"
    order = offers.switch(placed.resource, "Medium")
    assert offers.cycle()
    assert offers.world.waldur.order(order).state == "done"
    assert size(offers.machine(placed.resource)) == MEDIUM
