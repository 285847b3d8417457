"""The sizes of VMs and of their disks: `one.vm.resize`, `one.vm.diskresize`."""

import re
from collections.abc import Callable

import attrs

from opennebula_tenancy.emulator import limits
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.driving import drive, note_change
from opennebula_tenancy.emulator.errors import Refusal, action, internal, unauthorized
from opennebula_tenancy.emulator.hosts import Host
from opennebula_tenancy.emulator.images import Image
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.quotas import Charge, StorageCharge
from opennebula_tenancy.emulator.state import Cloud
from opennebula_tenancy.emulator.syntax import parsed
from opennebula_tenancy.emulator.template import Vector, restricted_in
from opennebula_tenancy.emulator.vm_rights import operate
from opennebula_tenancy.emulator.vms import VirtualMachine, disk_mb, disk_target, is_volatile
from opennebula_tenancy.emulator.vmstates import HistoryAction, LcmState, VmState


_Size = dict[str, float]
"""CPU in cores, VCPU, MEMORY in MB; 0 for what is not said."""
_NUMBERS = (("CPU", "float or integer"), ("MEMORY", "integer"), ("VCPU", "integer"))


_LARGEST_MB = 2**63 - 1


def _wanted(text: str | None, number: str = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?") -> float:
    """A size that a caller asks for: the number that the text begins with, 0 for none."""
    match = re.match(rf"\s*([+-]?{number})", text or "", re.ASCII)
    return float(match[1]) if match else 0.0


@method("one.vm.resize", Kind.VM, Right.MANAGE)
def resize(call: Call, oid: int, text: str, enforce: bool = True) -> int:
    """Changes CPU, VCPU and MEMORY of a VM; what is not given, or is none, stays."""
    template = parsed(text)
    vm = operate(call, oid, "resize")
    if not call.is_admin:
        name = restricted_in(template, call.cloud.config.restricted.get(Kind.VM, {}))
        if name is not None:
            raise unauthorized(f"Template includes a restricted attribute {name}")
    asked = {
        "CPU": _wanted(template.text("CPU")),
        "MEMORY": _wanted(template.text("MEMORY"), r"\d+"),
        "VCPU": _wanted(template.text("VCPU"), r"\d+"),
    }
    for name, number in _NUMBERS:
        if asked[name] < 0:
            raise internal(f"{name} must be a positive {number} value.")
    old = {name: vm.body.number(name) or 0.0 for name in asked}
    new = {name: asked[name] or old[name] for name in asked}
    counts_as_running = vm.state in {VmState.PENDING, VmState.HOLD} or vm.is_at(LcmState.RUNNING)
    change = _difference(vm, old, new, running=counts_as_running)
    limits.charge(call.cloud, change, vm.uid, vm.gid)
    problem = _resize(call, vm, old, new, enforce=enforce or not call.is_admin)
    if problem is not None:
        limits.discharge(call.cloud, change, vm.uid, vm.gid)
        raise action(problem)
    return oid


def _difference(vm: VirtualMachine, old: _Size, new: _Size, *, running: bool) -> Charge:
    """What another size takes more of quotas, or less."""
    amounts = {name: new[name] - old[name] for name in ("CPU", "MEMORY")}
    if running:
        amounts |= {f"RUNNING_{name}": amount for name, amount in amounts.items()}
    return Charge(vm=amounts, cluster_id=vm.place.cid if vm.place else None)


_RESIZABLE = frozenset(
    {
        *(VmState.INIT, VmState.PENDING, VmState.HOLD, VmState.UNDEPLOYED, VmState.CLONING, VmState.CLONING_FAILURE),
        VmState.POWEROFF,
    }
)


def _resize(call: Call, vm: VirtualMachine, old: _Size, new: _Size, *, enforce: bool) -> str | None:
    """Give a VM another size, or say why not."""
    cloud = call.cloud
    running = vm.is_at(LcmState.RUNNING)
    if not running and vm.state not in _RESIZABLE:
        return f"Cannot resize a VM in state {vm.state_text}"
    if running and not cloud.config.live_resize:
        return f"Hotplug resize not supported by driver {vm.place.vm_mad if vm.place else ''}"
    changes = old != new
    if changes or not running:
        shortage = _change_size(cloud, vm, new, enforce=enforce)
        if shortage is not None:
            return shortage
    if running and changes:
        _resize_live(cloud, vm, old, new)
    if running or vm.state is VmState.POWEROFF:
        note_change(cloud, vm, HistoryAction.RESIZE, call.uid, call.gid)
    return None


def _resize_live(cloud: Cloud, vm: VirtualMachine, old: _Size, new: _Size) -> None:
    """Let the driver resize a running VM; when it fails, size and quotas are what they were."""
    vm.resched = False
    vm.body.set("RESIZE", Vector({name: f"{value:g}" for name, value in old.items()}))

    def done() -> None:
        vm.body.erase("RESIZE")
        vm.move_to(VmState.ACTIVE, LcmState.RUNNING)

    def failed() -> None:
        done()
        # A VCPU that was not there before stays: oned puts back only what is above 0.
        _change_size(cloud, vm, old, enforce=False)
        limits.discharge(cloud, _difference(vm, old, new, running=True), vm.uid, vm.gid)

    drive(cloud, vm, "resize", LcmState.HOTPLUG_RESIZE, done, failed)


def _change_size(cloud: Cloud, vm: VirtualMachine, new: _Size, *, enforce: bool) -> str | None:
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


# Disks


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
    wanted = re.fullmatch(r"\s*([+-]?\d+)", size, re.ASCII)
    if wanted is None or abs(int(wanted[1])) > _LARGEST_MB:
        raise action("Disk SIZE is not a valid integer")
    size_mb = int(wanted[1])
    vm = operate(call, oid, "disk-resize")
    disk = vm.disk(disk_id)
    if disk is None:
        raise action("VM disk does not exist")
    if size_mb <= disk_mb(disk):
        raise action("New disk size has to be greater than current one")
    growth = _growth(vm, disk, size_mb - disk_mb(disk))
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
    problem = _begin_disk_resize(call, vm, disk, size_mb, lambda: _refund(call.cloud, growth, vm, image))
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

    def grown() -> None:
        back()
        image = call.cloud.pool(Image).find(int(disk["IMAGE_ID"])) if disk.get("IMAGE_ID") else None
        if image is not None and image.persistent and disk_target(disk) == "NONE":
            image.size_mb = size_mb

    def failed() -> None:
        disk["SIZE"] = old
        back()
        refund()

    if state is not VmState.UNDEPLOYED:
        note_change(call.cloud, vm, HistoryAction.DISK_RESIZE, call.uid, call.gid)
    drive(call.cloud, vm, "resize_disk", _RESIZING[state], grown, failed)
    return None
