"""Security groups of single NICs: `one.vm.attachsg`, `one.vm.detachsg` (DispatchManagerActions.cc)."""

from opennebula_tenancy.emulator import nics, vm_rights, vmbuild
from opennebula_tenancy.emulator.addresses import id_set
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.errors import action, internal
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.propagation import CANNOT_CHANGE, await_rules, rules_are_live
from opennebula_tenancy.emulator.secgroups import SecurityGroup
from opennebula_tenancy.emulator.state import Cloud
from opennebula_tenancy.emulator.template import Template, Vector
from opennebula_tenancy.emulator.vms import VirtualMachine


def _joined(group_ids: set[int]) -> str:
    return ",".join(map(str, sorted(group_ids)))


def _check_state(vm: VirtualMachine) -> None:
    if vm.lcm in CANNOT_CHANGE:
        raise action(f"VM {vm.id} is in wrong state {vm.state_text}")


@method("one.vm.attachsg", Kind.VM, Right.MANAGE)
def attach_group(call: Call, oid: int, nic_id: int, group_id: int) -> int:
    """Attaches a security group to a network interface of a virtual machine."""
    cloud = call.cloud
    vm = cloud.pool(VirtualMachine).get(oid)
    nic = nics.nic_by_id(vm, nic_id)
    if nic is None:
        raise internal(f"VM {oid} doesn't have NIC id {nic_id}")
    groups = id_set(nic.get("SECURITY_GROUPS", ""))
    wanted = Template([("NIC", Vector(nic, SECURITY_GROUPS=_joined(groups | {group_id})))])
    call.authorize((vm_rights.right(call, "sg-attach"), vm), *vmbuild.uses(cloud, wanted, call.uid))
    group = cloud.pool(SecurityGroup).find(group_id)
    if group is None:
        raise action(f"Could not attach SG {group_id} to VM, SG does not exist")
    _check_state(vm)
    if group_id in groups:
        raise action(f"VM {oid} SG {group_id} already in NIC {nic_id}")
    nic["SECURITY_GROUPS"] = _joined(groups | {group_id})
    nics.remove_rules(vm, group_id)
    nics.add_rules(cloud, vm, group)
    group.vms.drop(oid)
    _tell(cloud, group, vm)
    return oid


@method("one.vm.detachsg", Kind.VM, Right.MANAGE)
def detach_group(call: Call, oid: int, nic_id: int, group_id: int) -> int:
    """Detaches a security group from a network interface of a virtual machine."""
    cloud = call.cloud
    vm = vm_rights.operate(call, oid, "sg-attach")
    _check_state(vm)
    nic = nics.nic_by_id(vm, nic_id)
    if nic is None:
        raise action(f"VM {oid} doesn't have NIC id {nic_id}")
    groups = id_set(nic.get("SECURITY_GROUPS", ""))
    if group_id not in groups:
        raise action(f"VM {oid} NIC {nic_id} doesn't contain SG {group_id}")
    nic["SECURITY_GROUPS"] = _joined(groups - {group_id})
    nics.remove_rules(vm, group_id)
    group = cloud.pool(SecurityGroup).find(group_id)
    if group is None:
        return oid
    group.vms.drop(oid)
    if group_id in nics.groups_of(vm):
        nics.add_rules(cloud, vm, group)
    # oned takes a group without rules for one that no other NIC has.
    if any(rule.get("SECURITY_GROUP_ID") == str(group_id) for rule in vm.body.vectors("SECURITY_GROUP_RULE")):
        _tell(cloud, group, vm)
    elif rules_are_live(vm):
        await_rules(cloud, group, vm, listed=False)
    return oid


def _tell(cloud: Cloud, group: SecurityGroup, vm: VirtualMachine) -> None:
    """Let the host of a VM have the rules, and the group know the VM."""
    if rules_are_live(vm):
        await_rules(cloud, group, vm)
    else:
        group.vms.updated.add(vm.id)
