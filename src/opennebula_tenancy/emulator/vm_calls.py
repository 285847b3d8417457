"""VMs: `one.vm.*`, `one.vmpool.*` (VirtualMachineAPI.cc, VirtualMachinePoolAPI.cc)."""

import re

import attrs

from opennebula_tenancy.emulator import limits, sharing, starting, verbs, vmbuild, vmdisks
from opennebula_tenancy.emulator.calls import MY_PRIMARY_GROUP, Call, method
from opennebula_tenancy.emulator.errors import Refusal, action, bad_call, internal, unauthorized
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.syntax import TemplateError, parse, parsed
from opennebula_tenancy.emulator.template import restricted_in
from opennebula_tenancy.emulator.vms import VirtualMachine, charge_of, image_storage
from opennebula_tenancy.emulator.vmstates import VmState


ANY_STATE, NOT_DONE = -2, -1
"""State filters of pool calls; 0 and above is a state."""

_MAX_INT = 2**31 - 1


@method("one.vm.allocate", Kind.VM, Right.CREATE)
def allocate(call: Call, text: str, hold: bool = False) -> int:
    """Allocates a new VM of a template given in full."""
    template = parsed(text)
    if not call.is_admin:
        name = restricted_in(template, call.cloud.config.restricted.get(Kind.VM, {}))
        if name is not None:
            raise unauthorized(f"VM Template includes a restricted attribute {name}")
    described = template.copy()
    vmdisks.describe_disks(call.cloud, described, call.uid)
    vmbuild.name_networks(call.cloud, described, call.uid)
    asked = [(Right.CREATE, call.may_create(Kind.VM)), *vmbuild.uses(call.cloud, template, call.uid)]
    call.authorize(*asked)
    taken = charge_of(described, basic=True, running=True)
    taken = attrs.evolve(taken, storage=image_storage(described))
    limits.charge(call.cloud, taken, call.uid, call.gid)
    try:
        return vmbuild.build(call, template, hold=hold).id
    except Refusal as refusal:
        limits.discharge(call.cloud, taken, call.uid, call.gid)
        raise internal(refusal.text) from refusal


@method("one.vm.info", Kind.VM, Right.USE, ignores_lock=True)
def info(call: Call, oid: int, decrypt: bool = False) -> str:  # noqa: ARG001 - nothing is encrypted here
    """Returns VM information, of a VM that is DONE too."""
    starting.look_again(call.cloud)
    return verbs.info(call, VirtualMachine, oid)


# Pools


def _listed(call: Call, flag: int, start: int, end: int, state: int) -> list[VirtualMachine]:
    starting.look_again(call.cloud)
    if not ANY_STATE <= state <= VmState.CLONING_FAILURE:
        raise bad_call(f"Incorrect state filter {state}")
    if flag < MY_PRIMARY_GROUP:
        raise bad_call("Incorrect filter_flag")
    # Pages count what the filter leaves: the state first, then the page.
    first, last = (start, end) if end >= -1 else (-1, -1)
    chosen = [vm for vm in call.visible(VirtualMachine, flag, first, last) if _is_in(vm, state)]
    return chosen if end >= -1 else chosen[max(start, 0) : max(start, 0) - end]


def _is_in(vm: VirtualMachine, state: int) -> bool:
    if state == NOT_DONE:
        return vm.state is not VmState.DONE
    return state in {ANY_STATE, vm.state}


def _check_query(query: str) -> None:
    if query:
        raise internal("JSON query search is not supported by the SQL backend")


@method("one.vmpool.info", Kind.VM)
def pool_info(  # noqa: PLR0917 - the protocol's signature
    call: Call, flag: int, start: int, end: int, state: int, query: str = ""
) -> str:
    """Returns the VM pool in short bodies."""
    _check_query(query)
    bodies = (vm.xml(call.cloud) for vm in _listed(call, flag, start, end, state))
    return verbs.pool_xml("VM_POOL", bodies)


@method("one.vmpool.infoextended", Kind.VM)
def pool_info_extended(  # noqa: PLR0917 - the protocol's signature
    call: Call, flag: int, start: int, end: int, state: int, query: str = ""
) -> str:
    """Returns the VM pool in full bodies."""
    _check_query(query)
    bodies = (vm.listed_xml() for vm in _listed(call, flag, start, end, state))
    return verbs.pool_xml("VM_POOL", bodies)


@method("one.vmpool.infoset", Kind.VM)
def pool_info_set(call: Call, ids: str, extended: bool) -> str:
    """Returns the VMs of a list of ids, those that are not there left out."""
    found = (re.match(r"\s*\+?(\d+)", part) for part in ids.split(","))
    wanted = {int(match[1]) for match in found if match is not None}
    chosen = [vm for vm in _listed(call, -2, -1, -1, ANY_STATE) if vm.id in wanted]
    bodies = (vm.listed_xml() if extended else vm.xml(call.cloud) for vm in chosen)
    return verbs.pool_xml("VM_POOL", bodies)


# Owners, names, user template


@method("one.vm.update", Kind.VM, Right.MANAGE)
def update(call: Call, oid: int, text: str, mode: int = 0) -> int:
    """Updates the user template of a VM."""
    vm = call.get(VirtualMachine, oid)
    if mode not in {0, 1}:
        raise bad_call("Wrong update type")
    try:
        parse(text)
    except TemplateError as error:
        raise action(str(error)) from error
    return verbs.update(call, VirtualMachine, vm.id, text, mode).id


@method("one.vm.rename", Kind.VM, Right.MANAGE)
def rename(call: Call, oid: int, name: str) -> int:
    """Renames a VM. Other VMs may have the name."""
    verbs.rename(call, VirtualMachine, oid, name, unique=False)
    return oid


@method("one.vm.chown", Kind.VM, Right.MANAGE)
def chown(call: Call, oid: int, uid: int, gid: int) -> int:
    """Changes ownership of a VM, and counts it in the new owner's and group's quotas."""
    vm, uid, gid = verbs.check_owners(call, VirtualMachine, oid, uid, gid, unique=False)
    if vm.state is VmState.DONE:
        raise action("Could not change VM ownership, wrong state")
    taken = attrs.evolve(vm.charge(), storage=image_storage(vm.body))
    limits.charge(call.cloud, taken, uid, gid)
    limits.discharge(call.cloud, taken, vm.uid if uid != -1 else -1, vm.gid if gid != -1 else -1)
    verbs.set_owners(call, vm, uid, gid)
    return oid


sharing.declare_chmod("vm", VirtualMachine)
sharing.declare_lock("vm", VirtualMachine)
