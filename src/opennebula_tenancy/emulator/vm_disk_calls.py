"""Attaching, detaching and saving disks: `one.vm.attach`, `detach`, `disksaveas` (VirtualMachineAPI.cc)."""

import attrs

from opennebula_tenancy.emulator import limits, vmdisks
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.datastores import Datastore
from opennebula_tenancy.emulator.driving import drive, note_change
from opennebula_tenancy.emulator.errors import Code, Refusal, action, internal, unauthorized
from opennebula_tenancy.emulator.image_calls import charged, default_persistent, owned
from opennebula_tenancy.emulator.images import Image, ImageState, ImageType
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.quotas import Charge
from opennebula_tenancy.emulator.state import Cloud
from opennebula_tenancy.emulator.syntax import parsed
from opennebula_tenancy.emulator.template import Template, Vector, restricted_in
from opennebula_tenancy.emulator.vm_rights import operate, right
from opennebula_tenancy.emulator.vms import VirtualMachine, disk_mb, image_storage, is_volatile, system_disk_mb
from opennebula_tenancy.emulator.vmstates import HistoryAction, LcmState, VmState


def _charge(vm: VirtualMachine, disk: Vector) -> Charge:
    """What one disk takes of quotas."""
    alone = Template([("DISK", disk)])
    return Charge(
        vm={"SYSTEM_DISK_SIZE": system_disk_mb(alone)},
        cluster_id=vm.place.cid if vm.place else None,
        images=(disk["IMAGE_ID"],) if disk.get("IMAGE_ID") and not is_volatile(disk) else (),
        storage=image_storage(alone),
    )


def _charge_owner(cloud: Cloud, vm: VirtualMachine, taken: Charge) -> None:
    """Count a disk. When a VM quota is exceeded, oned forgets which; of others it tells."""
    of_vm = attrs.evolve(taken, images=(), storage=())
    try:
        limits.charge(cloud, of_vm, vm.uid, vm.gid)
    except Refusal as refusal:
        raise unauthorized() from refusal
    try:
        limits.charge(cloud, attrs.evolve(taken, vm={}), vm.uid, vm.gid)
    except Refusal:
        limits.discharge(cloud, of_vm, vm.uid, vm.gid)
        raise


def _back(vm: VirtualMachine, state: VmState) -> None:
    """Bring a VM back to where it was before a disk came or went."""
    vm.move_to(state, LcmState.RUNNING if state is VmState.ACTIVE else LcmState.LCM_INIT)


@method("one.vm.attach", Kind.VM, Right.MANAGE)
def attach(call: Call, oid: int, text: str) -> int:
    """Attaches a new disk to the virtual machine."""
    cloud = call.cloud
    vm = cloud.pool(VirtualMachine).get(oid)
    if vm.place is None:
        raise action("VM is not running in any host")
    if vm.router_id is not None:
        raise action("Action is not supported for virtual router VMs")
    template = parsed(text)
    image_ids = [vmdisks.image_of(cloud, disk, call.uid) for disk in template.vectors("DISK")]
    uses = [(Right.USE, image.subject) for image in image_ids if image is not None]
    call.authorize((right(call, "disk-attach"), vm.subject), *uses)
    if not call.is_admin:
        name = restricted_in(template, cloud.config.restricted.get(Kind.VM, {}))
        if name is not None:
            raise unauthorized(f"DISK includes a restricted attribute {name}")
    described = template.copy()
    vmdisks.describe_disks(cloud, described, call.uid)
    wanted = described.vector("DISK")
    taken = _charge(vm, wanted) if wanted is not None else Charge()
    _charge_owner(cloud, vm, taken)
    try:
        _attach(call, vm, template, taken)
    except Refusal as refusal:
        limits.discharge(cloud, taken, vm.uid, vm.gid)
        raise action(refusal.text) from refusal
    return oid


def _attach(call: Call, vm: VirtualMachine, template: Template, taken: Charge) -> None:
    cloud, state = call.cloud, vm.state
    if not (vm.is_at(LcmState.RUNNING) or state is VmState.POWEROFF):
        raise action(f"Could not attach a new disk to VM {vm.id}, wrong state {vm.state_text}.")
    vm.resched = False
    disk = template.vector("DISK")
    if disk is None:
        raise action("Internal error parsing DISK attribute")
    vmdisks.add(cloud, vm, disk)

    def attached() -> None:
        disk.pop("ATTACH", None)
        _back(vm, state)

    def failed() -> None:
        vmdisks.drop(cloud, vm, disk)
        limits.discharge(cloud, taken, vm.uid, vm.gid)
        _back(vm, state)

    note_change(cloud, vm, HistoryAction.DISK_ATTACH, call.uid, call.gid)
    at = LcmState.HOTPLUG if state is VmState.ACTIVE else LcmState.HOTPLUG_PROLOG_POWEROFF
    drive(cloud, vm, "attach_disk", at, attached, failed)


@method("one.vm.detach", Kind.VM, Right.MANAGE)
def detach(call: Call, oid: int, disk_id: int) -> int:
    """Detaches a disk from a virtual machine."""
    cloud = call.cloud
    vm = operate(call, oid, "disk-attach")
    if vm.router_id is not None:
        raise action("Action is not supported for virtual router VMs")
    disk, state = vm.disk(disk_id), vm.state
    if disk is None:
        raise action("VM disk does not exist")
    if not (vm.is_at(LcmState.RUNNING) or state is VmState.POWEROFF):
        raise action(f"Could not detach disk from VM {oid}, wrong state {vm.state_text}.")
    if "MOUNT_TAG" in disk:
        raise action("FILESYSTEM disks can not be detached")
    disk["ATTACH"] = "YES"
    vm.resched = False

    def detached() -> None:
        disk.pop("ATTACH", None)
        taken = _charge(vm, disk)
        vmdisks.drop(cloud, vm, disk)
        limits.discharge(cloud, taken, vm.uid, vm.gid)
        _back(vm, state)

    def failed() -> None:
        disk.pop("ATTACH", None)
        _back(vm, state)

    note_change(cloud, vm, HistoryAction.DISK_DETACH, call.uid, call.gid)
    at = LcmState.HOTPLUG if state is VmState.ACTIVE else LcmState.HOTPLUG_EPILOG_POWEROFF
    drive(cloud, vm, "detach_disk", at, detached, failed)
    return oid


# Saving


_SAVING = {
    VmState.ACTIVE: LcmState.HOTPLUG_SAVEAS,
    VmState.POWEROFF: LcmState.HOTPLUG_SAVEAS_POWEROFF,
    VmState.SUSPENDED: LcmState.HOTPLUG_SAVEAS_SUSPENDED,
    VmState.UNDEPLOYED: LcmState.HOTPLUG_SAVEAS_UNDEPLOYED,
    VmState.STOPPED: LcmState.HOTPLUG_SAVEAS_STOPPED,
}


@method("one.vm.disksaveas", Kind.VM, Right.MANAGE)
def save_as(  # noqa: PLR0917 - the protocol's signature
    call: Call, oid: int, disk_id: int, name: str, kind: str, snapshot_id: int
) -> int:
    """Saves a disk of a VM as a new image, and answers the image's id."""
    vm = call.cloud.pool(VirtualMachine).get(oid)
    try:
        return _save_as(call, vm, disk_id, name, kind, snapshot_id)
    except Refusal as refusal:
        refusal.object_id = oid
        refusal.kind = Kind.IMAGE if refusal.code is Code.ALLOCATE else refusal.kind
        raise


def _save_as(  # noqa: PLR0917 - the protocol's signature
    call: Call, vm: VirtualMachine, disk_id: int, name: str, kind: str, snapshot_id: int
) -> int:
    cloud, state = call.cloud, vm.state
    if state not in _SAVING or (state is VmState.ACTIVE and not vm.is_at(LcmState.RUNNING)):
        raise internal("VM has to be RUNNING, POWEROFF or SUSPENDED to save disks.")
    disk = vm.disk(disk_id)
    if disk is None:
        raise internal("Cannot use DISK. DISK does not exist.")
    if not disk.get("IMAGE_ID"):
        raise internal("Cannot use DISK. DISK does not have a valid IMAGE_ID.")
    if snapshot_id != -1:
        raise internal("Cannot use DISK. Snapshot does not exist.")
    source = cloud.pool(Image).get(int(disk["IMAGE_ID"]))
    if source.type not in {ImageType.OS, ImageType.DATABLOCK, ImageType.CDROM}:
        raise internal(f"Cannot save an image of type {source.type.name}")
    datastore = cloud.pool(Datastore).get(source.datastore_id)
    if datastore.checks_capacity and disk_mb(disk) > datastore.available_mb:
        raise action("Not enough space in datastore")
    template = Template([("NAME", name), ("TYPE", kind or source.type.name), ("FORMAT", disk.get("FORMAT", "raw"))])
    for attribute, value in (("IMAGE", source.id), ("DISK", disk_id), ("VM", vm.id)):
        template.set(f"SAVED_{attribute}_ID", str(value))
    for attribute in ("TARGET", "DEV_PREFIX"):
        if source.template.text(attribute):
            template.set(attribute, source.template.text(attribute) or "")
    template.set("PERSISTENT", "YES" if default_persistent(call, template) else "NO")
    create = (Right.CREATE, call.may_create(Kind.IMAGE))
    call.authorize((right(call, "disk-saveas"), vm.subject), create, (Right.USE, datastore.subject))
    image = charged(call, owned(call, template, disk_mb(disk)), datastore, saving=True)
    _begin_saving(cloud, vm, state, image)
    return image.id


def _begin_saving(cloud: Cloud, vm: VirtualMachine, state: VmState, image: Image) -> None:
    def saved() -> None:
        image.made(cloud)
        _back(vm, state)

    def failed() -> None:
        image.move_to(ImageState.ERROR)
        _back(vm, state)

    drive(cloud, vm, "saveas", _SAVING[state], saved, failed)
