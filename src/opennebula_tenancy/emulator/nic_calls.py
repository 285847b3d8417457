"""Attaching and detaching NICs: `one.vm.attachnic`, `one.vm.detachnic` (VirtualMachineAPI.cc, DispatchManager)."""

from opennebula_tenancy.emulator import context, driving, limits, nics, vm_rights, vmbuild
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.errors import Refusal, action, unauthorized
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.quotas import Charge
from opennebula_tenancy.emulator.state import Cloud
from opennebula_tenancy.emulator.syntax import parsed
from opennebula_tenancy.emulator.template import Template, Vector, restricted_in
from opennebula_tenancy.emulator.vms import VirtualMachine
from opennebula_tenancy.emulator.vmstates import HistoryAction, LcmState, VmState


def _ordinary(call: Call, oid: int) -> VirtualMachine:
    """A VM that is no part of a virtual router."""
    vm = call.cloud.pool(VirtualMachine).get(oid)
    if vm.router_id is not None:
        raise action("Action is not supported for virtual router VMs")
    return vm


@method("one.vm.attachnic", Kind.VM, Right.MANAGE)
def attach_nic(call: Call, oid: int, text: str) -> int:
    """Attaches a new network interface to the virtual machine."""
    attach(call, _ordinary(call, oid), parsed(text))
    return oid


@method("one.vm.detachnic", Kind.VM, Right.MANAGE)
def detach_nic(call: Call, oid: int, nic_id: int) -> int:
    """Detaches a network interface from a virtual machine."""
    detach(call, _ordinary(call, oid), nic_id)
    return oid


def _charge(vectors: list[Vector]) -> Charge:
    return Charge(leases=tuple(nic["NETWORK_ID"] for nic in vectors if nic.get("NETWORK_ID")))


def _can_change(vm: VirtualMachine) -> bool:
    return vm.is_at(LcmState.RUNNING) or vm.state is VmState.POWEROFF


def attach(call: Call, vm: VirtualMachine, template: Template) -> None:
    """Attach the NIC or alias of a template to a VM.

    Raises:
        Refusal: The caller may not (AUTHORIZATION), or it cannot be (ACTION). Nothing changed then.
    """
    cloud = call.cloud
    vmbuild.name_networks(cloud, template, call.uid)
    call.authorize((vm_rights.right(call, "nic-attach"), vm), *vmbuild.uses(cloud, template, call.uid))
    if not call.is_admin:
        name = restricted_in(template, cloud.config.restricted.get(Kind.VM, {}))
        if name is not None:
            raise unauthorized(f"NIC includes a restricted attribute {name}")
    taken = _charge(template.vectors("NIC") + template.vectors("NIC_ALIAS"))
    limits.charge(cloud, taken, vm.uid, vm.gid)
    try:
        nic = _add(cloud, vm, template)
    except Refusal:
        limits.discharge(cloud, taken, vm.uid, vm.gid)
        raise
    alias = nics.is_alias(nic)
    ended = HistoryAction.ALIAS_ATTACH if alias else HistoryAction.NIC_ATTACH
    driving.note_change(cloud, vm, ended, call.uid, call.gid)
    if vm.state is VmState.POWEROFF:
        nic.pop("ATTACH")
        return

    def attached() -> None:
        context.refresh(cloud, vm)
        nic.pop("ATTACH")
        vm.move_to(VmState.ACTIVE, LcmState.RUNNING)

    def failed() -> None:
        vm.move_to(VmState.ACTIVE, LcmState.RUNNING)
        _take_away(cloud, vm, nic)

    driving.drive(cloud, vm, "attach_nic", LcmState.HOTPLUG_NIC, attached, failed)


def _add(cloud: Cloud, vm: VirtualMachine, template: Template) -> Vector:
    if not _can_change(vm):
        raise action(f"Could not add a new NIC to VM {vm.id}, wrong state {vm.state_text}.")
    vm.resched = False
    asked = next(((name, vector) for name in ("NIC", "NIC_ALIAS") for vector in template.vectors(name)[:1]), None)
    if asked is None:
        raise action("Wrong format or missing NIC/NIC_ALIAS/PCI attribute")
    try:
        return nics.add(cloud, vm, *asked)
    except nics.NicError as problem:
        raise action(str(problem)) from problem


def detach(call: Call, vm: VirtualMachine, nic_id: int) -> None:
    """Detach a NIC with its aliases, or an alias, from a VM.

    Raises:
        Refusal: The caller may not (AUTHORIZATION), or it cannot be (ACTION). Nothing changed then.
    """
    cloud = call.cloud
    call.authorize((vm_rights.right(call, "nic-attach"), vm))
    if not _can_change(vm):
        raise action(f"Could not detach NIC from VM {vm.id}, wrong state {vm.state_text}.")
    nic = nics.mark_leaving(vm, nic_id)
    if nic is None:
        raise action(f"Could not detach NIC with NIC_ID {nic_id}, it does not exist.")
    alias = nics.is_alias(nic)
    ended = HistoryAction.ALIAS_DETACH if alias else HistoryAction.NIC_DETACH
    driving.note_change(cloud, vm, ended, call.uid, call.gid)
    if vm.state is VmState.POWEROFF:
        _take_away(cloud, vm, nic)
        return
    vm.resched = False

    def detached() -> None:
        vm.move_to(VmState.ACTIVE, LcmState.RUNNING)
        _take_away(cloud, vm, nic)

    def failed() -> None:
        nic.pop("ATTACH")
        vm.move_to(VmState.ACTIVE, LcmState.RUNNING)

    driving.drive(cloud, vm, "detach_nic", LcmState.HOTPLUG_NIC, detached, failed)


def _take_away(cloud: Cloud, vm: VirtualMachine, nic: Vector) -> None:
    """Remove a NIC from a VM, and count its leases out."""
    limits.discharge(cloud, _charge(nics.remove(cloud, vm, nic)), vm.uid, vm.gid)
