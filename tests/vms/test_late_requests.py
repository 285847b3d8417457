"""Requests that take effect when nobody expects them any more, and changes that there is nothing to do for."""

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from opennebula_tenancy.vms import Vms
from vms.world import LARGER, World, connect


def test_a_machine_that_a_late_request_powers_off_for_its_resizing_runs_again(
    server: Emulator, world: World, vms: Vms
) -> None:
    vm = vms.ensure(world.spec())
    looks: list[str] = []
    lost: list[str] = []

    def land_late(record: ont.CallRecord) -> None:
        if record.method == "one.vm.action" and record.outcome == "OutcomeUnknown":
            lost.append(record.call_id)
        elif lost and record.method == "one.vm.info":
            looks.append(record.call_id)
            if len(looks) == 2:  # the last one before the request is sent again
                world.admin("one.vm.action", "poweroff", vm.id)

    server.cloud.driver_actions["shutdown"] = 0.3  # long enough that the request meets it when it is sent again
    server.faults.add(Fault(kind=FaultKind.DROP, method="one.vm.action"))
    with connect(server, on_call=land_late) as cloud:
        cloud.vms.resize(vm.id, LARGER, key=vm.key, timeout_s=30)
    assert len(lost) == 1
    assert len(looks) > 1
    assert vm.status().is_running
    assert vm.usage().vcpu == LARGER.vcpu


@pytest.mark.parametrize("action", ["poweroff-hard", "suspend", "hold"])
def test_a_floating_ip_that_is_gone_is_released_at_once_whatever_its_machine_is_at(
    server: Emulator, world: World, vms: Vms, sent: list[ont.CallRecord], action: str
) -> None:
    vm = vms.ensure(world.spec())
    if action == "hold":
        server.cloud.driver_actions.hang("shutdown")
        world.admin("one.vm.action", "poweroff", vm.id)
    else:
        world.admin("one.vm.action", action, vm.id)
    sent.clear()
    vm.release_floating_ip("203.0.113.99", timeout_s=60)
    assert len(sent) <= 3
    assert not any(record.mutates for record in sent)
