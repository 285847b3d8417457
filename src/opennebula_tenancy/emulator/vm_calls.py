"""VMs: `one.vm.*`, `one.vmpool.*` (VirtualMachineAPI.cc, VirtualMachinePoolAPI.cc)."""

import re
from collections.abc import Callable

import attrs

from opennebula_tenancy.emulator import lifecycle, limits, sharing, verbs, vmbuild
from opennebula_tenancy.emulator.calls import MY_PRIMARY_GROUP, Call, method
from opennebula_tenancy.emulator.errors import Code, Refusal, action, bad_call, internal, unauthorized
from opennebula_tenancy.emulator.hosts import Host
from opennebula_tenancy.emulator.images import Image
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.quotas import Charge, StorageCharge
from opennebula_tenancy.emulator.state import Cloud
from opennebula_tenancy.emulator.syntax import TemplateError, parse, parsed
from opennebula_tenancy.emulator.template import Vector, integer, restricted_in
from opennebula_tenancy.emulator.vms import VirtualMachine, charge_of, disk_mb, disk_target, image_storage, is_volatile
from opennebula_tenancy.emulator.vmstates import BOOT_FAILURES, HistoryAction, LcmState, VmState


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
    vmbuild.describe_disks(call.cloud, described, call.uid)
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
    lifecycle.look_again(call.cloud)
    return verbs.info(call, VirtualMachine, oid)


# Pools


def _listed(call: Call, flag: int, start: int, end: int, state: int) -> list[VirtualMachine]:
    lifecycle.look_again(call.cloud)
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


# Actions


def _wrong_state(vm: VirtualMachine) -> Refusal:
    return action(f"This action is not available for state {vm.state_text}")


def _terminate(call: Call, vm: VirtualMachine, *, hard: bool) -> None:
    cloud = call.cloud
    if vm.state in {VmState.INIT, VmState.PENDING, VmState.HOLD, VmState.CLONING, VmState.CLONING_FAILURE}:
        lifecycle.finish(cloud, vm)
    elif vm.state is VmState.ACTIVE and vm.lcm in BOOT_FAILURES:
        lifecycle.soon(cloud, lambda: lifecycle.discard(cloud, vm))
    elif vm.state is VmState.ACTIVE and vm.lcm not in {LcmState.RUNNING, LcmState.UNKNOWN}:
        if not (hard and vm.lcm is LcmState.SHUTDOWN):
            raise action(f"Could not terminate VM {vm.id}, wrong state {vm.state_text}.")
        lifecycle.soon(cloud, lambda: lifecycle.terminate(cloud, vm, hard=True))
    elif vm.state is not VmState.DONE:
        lifecycle.soon(cloud, lambda: lifecycle.terminate(cloud, vm, hard=hard))


def _undeploy(call: Call, vm: VirtualMachine, *, hard: bool) -> None:
    again = hard and vm.is_at(LcmState.SHUTDOWN_UNDEPLOY)
    if not (vm.state is VmState.POWEROFF or vm.is_at(LcmState.RUNNING) or again):
        raise _wrong_state(vm)
    lifecycle.soon(call.cloud, lambda: lifecycle.undeploy(call.cloud, vm, call.uid, call.gid, hard=hard))


def _power_off(call: Call, vm: VirtualMachine, *, hard: bool) -> None:
    if not (vm.is_at(LcmState.RUNNING) or (hard and vm.is_at(LcmState.SHUTDOWN_POWEROFF))):
        raise _wrong_state(vm)
    lifecycle.soon(call.cloud, lambda: lifecycle.power_off(call.cloud, vm, call.uid, call.gid, hard=hard))


def _suspend(call: Call, vm: VirtualMachine) -> None:
    if not vm.is_at(LcmState.RUNNING):
        raise _wrong_state(vm)
    lifecycle.soon(call.cloud, lambda: lifecycle.suspend(call.cloud, vm, call.uid, call.gid))


def _stop(call: Call, vm: VirtualMachine) -> None:
    if not (vm.state is VmState.SUSPENDED or vm.is_at(LcmState.RUNNING)):
        raise _wrong_state(vm)
    lifecycle.soon(call.cloud, lambda: lifecycle.stop(call.cloud, vm, call.uid, call.gid))


def _hold(_call: Call, vm: VirtualMachine) -> None:
    if vm.state is not VmState.PENDING:
        raise _wrong_state(vm)
    vm.move_to(VmState.HOLD)


def _release(call: Call, vm: VirtualMachine) -> None:
    if vm.state is not VmState.HOLD:
        raise _wrong_state(vm)
    vm.move_to(VmState.PENDING)
    lifecycle.await_place(call.cloud, vm)


def _reboot(_call: Call, vm: VirtualMachine) -> None:
    if not vm.is_at(LcmState.RUNNING):
        raise _wrong_state(vm)


def _resched(call: Call, vm: VirtualMachine) -> None:
    call.authorize((Right.ADMIN, vm))
    if not vm.is_at(LcmState.RUNNING):
        raise _wrong_state(vm)
    lifecycle.await_move(call.cloud, vm)


def _unresched(call: Call, vm: VirtualMachine) -> None:
    call.authorize((Right.ADMIN, vm))
    if not vm.is_at(LcmState.RUNNING):
        raise _wrong_state(vm)
    vm.resched = False


def _resume(call: Call, vm: VirtualMachine) -> None:
    """Resume a VM once the quotas allow it to run; they are asked first, whatever its state is."""
    taken = vm.charge(basic=False, running=True)
    try:
        limits.charge(call.cloud, taken, vm.uid, vm.gid)
    except Refusal as refusal:
        raise _OverQuota(refusal.text) from refusal
    if vm.state in {VmState.STOPPED, VmState.UNDEPLOYED}:
        vm.move_to(VmState.PENDING)
        lifecycle.await_place(call.cloud, vm)
    elif vm.state in {VmState.SUSPENDED, VmState.POWEROFF}:
        lifecycle.soon(call.cloud, lambda: lifecycle.restart(call.cloud, vm))
    else:
        limits.discharge(call.cloud, taken, vm.uid, vm.gid)
        raise _wrong_state(vm)


class _OverQuota(Exception):
    """A quota does not let a VM run."""


_ACTIONS: dict[str, Callable[[Call, VirtualMachine], None]] = {
    "terminate": lambda call, vm: _terminate(call, vm, hard=False),
    "terminate-hard": lambda call, vm: _terminate(call, vm, hard=True),
    "undeploy": lambda call, vm: _undeploy(call, vm, hard=False),
    "undeploy-hard": lambda call, vm: _undeploy(call, vm, hard=True),
    "poweroff": lambda call, vm: _power_off(call, vm, hard=False),
    "poweroff-hard": lambda call, vm: _power_off(call, vm, hard=True),
    "suspend": _suspend,
    "stop": _stop,
    "hold": _hold,
    "release": _release,
    "resume": _resume,
    "reboot": _reboot,
    "reboot-hard": _reboot,
    "resched": _resched,
    "unresched": _unresched,
}


@method("one.vm.action", Kind.VM, Right.MANAGE)
def act(call: Call, name: str, oid: int) -> int:
    """Submits an action to a VM; what it starts shows one step later."""
    vm = call.get(VirtualMachine, oid)
    start = _ACTIONS.get(name)
    if start is None:
        raise action(f'Action "{name}" is not supported')
    try:
        start(call, vm)
    except _OverQuota as over:
        raise action(str(over)) from over
    except Refusal as refusal:
        if refusal.code is not Code.ACTION:
            raise
        raise action(f'Error performing action "{name}": {refusal.text}') from refusal
    return oid


# Sizes


def _wanted(text: str | None) -> float:
    """A size that a caller asks for, 0 for none."""
    match = re.fullmatch(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)", text or "")
    return float(match[1]) if match else 0.0


@method("one.vm.resize", Kind.VM, Right.MANAGE)
def resize(call: Call, oid: int, text: str, enforce: bool = True) -> int:
    """Changes CPU, VCPU and MEMORY of a VM; what is not given, or is none, stays."""
    template = parsed(text)
    vm = call.get(VirtualMachine, oid)
    if not call.is_admin:
        name = restricted_in(template, call.cloud.config.restricted.get(Kind.VM, {}))
        if name is not None:
            raise unauthorized(f"Template includes a restricted attribute {name}")
    asked = {
        "CPU": _wanted(template.text("CPU")),
        "MEMORY": float(integer(template.text("MEMORY")) or 0),
        "VCPU": float(integer(template.text("VCPU")) or 0),
    }
    for name, number in (("CPU", "float or integer"), ("MEMORY", "integer"), ("VCPU", "integer")):
        if asked[name] < 0:
            raise internal(f"{name} must be a positive {number} value.")
    old = {name: vm.body.number(name) or 0.0 for name in asked}
    new = {name: asked[name] or old[name] for name in asked}
    amounts = {name: new[name] - old[name] for name in ("CPU", "MEMORY")}
    if vm.state in {VmState.PENDING, VmState.HOLD} or vm.is_at(LcmState.RUNNING):
        amounts |= {f"RUNNING_{name}": amount for name, amount in amounts.items()}
    place = vm.place
    change = Charge(vm=amounts, cluster_id=place.cid if place else None)
    limits.charge(call.cloud, change, vm.uid, vm.gid)
    problem = _resize(call, vm, new, enforce=enforce or not call.is_admin)
    if problem is not None:
        limits.discharge(call.cloud, change, vm.uid, vm.gid)
        raise action(problem)
    return oid


def _resize(call: Call, vm: VirtualMachine, new: dict[str, float], *, enforce: bool) -> str | None:
    """Give a VM another size, or say why not."""
    cloud = call.cloud
    running = vm.is_at(LcmState.RUNNING)
    off = {VmState.PENDING, VmState.HOLD, VmState.UNDEPLOYED, VmState.CLONING, VmState.POWEROFF}
    if not running and vm.state not in off:
        return f"Cannot resize a VM in state {vm.state_text}"
    if running and not cloud.config.live_resize:
        return f"Hotplug resize not supported by driver {vm.place.vm_mad if vm.place else ''}"
    shortage = _change_size(cloud, vm, new, enforce=enforce)
    if shortage is not None:
        return shortage
    if running:
        done = lambda: vm.move_to(VmState.ACTIVE, LcmState.RUNNING)  # noqa: E731 - the only continuation
        lifecycle.drive(cloud, vm, "resize", LcmState.HOTPLUG_RESIZE, done)
    if running or vm.state is VmState.POWEROFF:
        lifecycle.note_change(cloud, vm, HistoryAction.RESIZE, call.uid, call.gid)
    return None


def _change_size(cloud: Cloud, vm: VirtualMachine, new: dict[str, float], *, enforce: bool) -> str | None:
    """Write another size to a VM and its host, or say what the host lacks."""
    before = {name: vm.body.text(name) for name in new}
    placed = vm.state in {VmState.ACTIVE, VmState.POWEROFF}
    host = cloud.pool(Host).find(vm.place.hid) if vm.place and placed else None
    if host is not None:
        host.resize_vm(cpu=-vm.cpu, mem_kb=-vm.memory_kb)
    for name, value in new.items():
        if value > 0:
            vm.body.set(name, f"{value:g}" if name == "CPU" else str(int(value)))
    if host is None:
        return None
    shortage = host.shortage(cpu=vm.cpu, mem_kb=vm.memory_kb) if enforce else None
    for name, text in before.items() if shortage else ():
        vm.body.erase(name)
        if text is not None:
            vm.body.set(name, text)
    host.resize_vm(cpu=vm.cpu, mem_kb=vm.memory_kb)
    return shortage


@attrs.frozen
class _Growth:
    """What a growing disk takes: of the quotas of the VM's owner, and of those of its image's owner."""

    of_vm: Charge
    of_image: Charge | None


def _growth(vm: VirtualMachine, disk: Vector, more_mb: int) -> _Growth:
    target = disk_target(disk)
    system = is_volatile(disk) or target == "SYSTEM"
    own = not is_volatile(disk) and target == "SELF"
    image = not is_volatile(disk) and (disk.get("PERSISTENT") == "YES" or target == "NONE")
    room = (StorageCharge(datastore_id=disk.get("DATASTORE_ID", ""), size_mb=more_mb, images=0),)
    place = vm.place
    of_vm = Charge(
        vm={"SYSTEM_DISK_SIZE": more_mb} if system else {},
        cluster_id=place.cid if place else None,
        storage=room if own else (),
    )
    return _Growth(of_vm, Charge(storage=room) if image else None)


@method("one.vm.diskresize", Kind.VM, Right.MANAGE)
def diskresize(call: Call, oid: int, disk_id: int, size: str) -> int:
    """Resizes a disk of a VM to a size in MB; it can only grow."""
    text = size.strip()
    if not (text.lstrip("+-").isascii() and text.lstrip("+-").isdigit()):
        raise action("Disk SIZE is not a valid integer")
    vm = call.get(VirtualMachine, oid)
    disk = next((found for found in vm.body.vectors("DISK") if found.get("DISK_ID") == str(disk_id)), None)
    if disk is None:
        raise action("VM disk does not exist")
    if int(text) <= disk_mb(disk):
        raise action("New disk size has to be greater than current one")
    growth = _growth(vm, disk, int(text) - disk_mb(disk))
    image = call.cloud.pool(Image).find(int(disk["IMAGE_ID"])) if disk.get("IMAGE_ID") else None
    if growth.of_image is not None and image is not None:
        call.authorize((Right.MANAGE, vm), (Right.MANAGE, image))
        limits.charge(call.cloud, growth.of_image, image.uid, image.gid)
    try:
        limits.charge(call.cloud, growth.of_vm, vm.uid, vm.gid)
    except Refusal as refusal:
        _refund(call.cloud, attrs.evolve(growth, of_vm=Charge()), vm, image)
        # oned forgets which quota was exceeded.
        raise unauthorized() from refusal
    problem = _begin_disk_resize(call, vm, disk, int(text), lambda: _refund(call.cloud, growth, vm, image))
    if problem is not None:
        _refund(call.cloud, growth, vm, image)
        raise action(problem)
    return oid


def _refund(cloud: Cloud, growth: _Growth, vm: VirtualMachine, image: Image | None) -> None:
    limits.discharge(cloud, growth.of_vm, vm.uid, vm.gid)
    if growth.of_image is not None and image is not None:
        limits.discharge(cloud, growth.of_image, image.uid, image.gid)


_RESIZING = {
    VmState.POWEROFF: LcmState.DISK_RESIZE_POWEROFF,
    VmState.UNDEPLOYED: LcmState.DISK_RESIZE_UNDEPLOYED,
    VmState.ACTIVE: LcmState.DISK_RESIZE,
}


def _begin_disk_resize(
    call: Call, vm: VirtualMachine, disk: Vector, size_mb: int, refund: Callable[[], None]
) -> str | None:
    """Let the driver resize a disk, or say why not. When the driver fails, the disk has its old size again."""
    if vm.state not in _RESIZING or (vm.state is VmState.ACTIVE and not vm.is_at(LcmState.RUNNING)):
        return f"Could not resize disk for VM {vm.id}, wrong state {vm.state_text}."
    state, old = vm.state, disk.get("SIZE", "")
    disk.update(SIZE=str(size_mb), SIZE_PREV=old, RESIZE="YES")

    def back() -> None:
        disk.pop("SIZE_PREV")
        disk.pop("RESIZE")
        vm.move_to(state, LcmState.RUNNING if state is VmState.ACTIVE else LcmState.LCM_INIT)

    def failed() -> None:
        disk["SIZE"] = old
        back()
        refund()

    if state is not VmState.UNDEPLOYED:
        lifecycle.note_change(call.cloud, vm, HistoryAction.DISK_RESIZE, call.uid, call.gid)
    lifecycle.drive(call.cloud, vm, "resize_disk", _RESIZING[state], back, failed)
    return None
