"""Disks of VMs: made with the VM, added to it, and taken away (VirtualMachineDisk.cc, ImagePool.cc).

How an addition or removal goes through the states of a VM is in `opennebula_tenancy.emulator.vm_disk_calls`.
"""

from opennebula_tenancy.emulator.datastores import Datastore
from opennebula_tenancy.emulator.errors import Refusal, not_allocated
from opennebula_tenancy.emulator.images import DEFAULT_PREFIX, Image, ImageType, describe_datastore
from opennebula_tenancy.emulator.nics import owner_named
from opennebula_tenancy.emulator.state import Cloud
from opennebula_tenancy.emulator.template import Template, Vector, integer
from opennebula_tenancy.emulator.vms import VirtualMachine, disk_mb, is_volatile


def image_of(cloud: Cloud, disk: Vector, uid: int) -> Image | None:
    """The image of a disk: by IMAGE_ID, or by the name IMAGE among those of its owner."""
    oid = integer(disk.get("IMAGE_ID"))
    if oid is not None:
        return cloud.pool(Image).find(oid)
    owner = owner_named(cloud, disk, "IMAGE", uid)
    return cloud.pool(Image).named(disk["IMAGE"], owner) if "IMAGE" in disk and owner is not None else None


def image_to_authorize(cloud: Cloud, disk: Vector, uid: int) -> Image | None:
    """The image that a user needs USE on for a disk: by the name IMAGE when there is one, else by IMAGE_ID.

    In a template whose disks are described all have names, so that oned looks for them among the user's own images,
    finds none there, and lets everyone use any image by its id (VirtualMachineDisk::authorize).
    """
    if "IMAGE" in disk:
        owner = owner_named(cloud, disk, "IMAGE", uid)
        return cloud.pool(Image).named(disk["IMAGE"], owner) if owner is not None else None
    oid = integer(disk.get("IMAGE_ID"))
    return cloud.pool(Image).find(oid) if oid is not None else None


def describe_disks(cloud: Cloud, template: Template, uid: int) -> None:
    """Write to the disks of a template what their images and datastores are, to know what they take."""
    for number, disk in enumerate(template.vectors("DISK")):
        image = image_of(cloud, disk, uid)
        if image is not None:
            image.describe(disk, cloud.pool(Datastore).find(image.datastore_id))
        disk["DISK_ID"] = str(number)


def describe_volatile_disks(vm: VirtualMachine, datastore: Datastore) -> None:
    """Write to the disks that are made on the host in which datastore that is."""
    for disk in vm.body.vectors("DISK"):
        if is_volatile(disk):
            describe_datastore(disk, datastore)


# Making


def take_all(cloud: Cloud, vm: VirtualMachine) -> None:
    """Take the images of the disks of a new VM, and name the devices.

    Raises:
        Refusal: A disk cannot be (ALLOCATE). What was taken is in the VM's body.
    """
    disks = vm.template.vectors("DISK")
    vm.template.erase("DISK")
    kinds: list[tuple[Vector, ImageType]] = []
    for number, disk in enumerate(disks):
        disk.pop("TM_MAD_SYSTEM", None)
        try:
            kind = _take(cloud, vm, disk)
        except Refusal as refusal:
            raise not_allocated(f"DISK {number}: {refusal.text}") from refusal
        disk["DISK_ID"] = str(number)
        vm.body.add("DISK", disk)
        kinds.append((disk, kind))
    _name_devices(vm, kinds)


def add(cloud: Cloud, vm: VirtualMachine, disk: Vector) -> None:
    """Take the image of one more disk, name its device, and add it to the VM.

    Raises:
        Refusal: It cannot be. Nothing is taken then.
    """
    context = vm.body.vector("CONTEXT")
    others = [*vm.body.vectors("DISK"), *([context] if context is not None else [])]
    used = {other["TARGET"] for other in others if other.get("TARGET")}
    kind = _take(cloud, vm, disk)
    if disk.get("TARGET") in used:
        drop(cloud, vm, disk)
        raise not_allocated(f"Target {disk['TARGET']} is already in use.")
    if not disk.get("TARGET"):
        prefix = disk.get("DEV_PREFIX") or ("hd" if kind is ImageType.CDROM else DEFAULT_PREFIX)
        disk["TARGET"] = next(name for name in _devices(prefix) if name not in used)
    disk["DISK_ID"] = str(max((int(other["DISK_ID"]) for other in others), default=-1) + 1)
    disk["TM_MAD_SYSTEM"] = vm.body.text("TM_MAD_SYSTEM") or ""
    disk["ATTACH"] = "YES"
    datastore = cloud.pool(Datastore).find(vm.place.ds_id) if vm.place else None
    if is_volatile(disk) and datastore is not None:
        describe_datastore(disk, datastore)
    vm.body.add("DISK", disk)


def drop(cloud: Cloud, vm: VirtualMachine, disk: Vector) -> None:
    """Take a disk from a VM. Its image is free unless another disk of the VM is made of it."""
    left = [other for other in vm.body.vectors("DISK") if other is not disk]
    vm.body.erase("DISK")
    for other in left:
        vm.body.add("DISK", other)
    image_id = disk.get("IMAGE_ID")
    image = cloud.pool(Image).find(int(image_id)) if image_id else None
    if image is not None and all(other.get("IMAGE_ID") != image_id for other in left):
        image.release(cloud, vm.id)


def _take(cloud: Cloud, vm: VirtualMachine, disk: Vector) -> ImageType:
    oid = integer(disk.get("IMAGE_ID"))
    if oid is None and "IMAGE" not in disk:
        return _make_volatile(disk)
    image = image_of(cloud, disk, vm.uid)
    if image is None and oid is not None:
        raise not_allocated(f"Image with ID: {oid} does not exist")
    if image is None:
        owner = owner_named(cloud, disk, "IMAGE", vm.uid)
        raise not_allocated(
            f"User {vm.uid if owner is None else owner} does not own an image with name: {disk['IMAGE']} "
            ". Set IMAGE_UNAME or IMAGE_UID of owner in DISK."
        )
    _check_size(disk, image)
    image.acquire(vm.id)
    # lifecycle.release_images finds what was taken by the disk's IMAGE_ID, in the body.
    image.describe(disk, cloud.pool(Datastore).find(image.datastore_id))
    return image.type


def _check_size(disk: Vector, image: Image) -> None:
    size = disk_mb(disk)
    if not disk.get("SIZE") or integer(disk["SIZE"]) is None or size == image.size_mb:
        return
    for special, what in ((image.persistent, "persistent"), (image.type is ImageType.CDROM, "CDROM")):
        if special:
            raise not_allocated(f"SIZE attribute is not supported for {what} image [{image.id}].")
    if size < image.size_mb:
        raise not_allocated(f"SIZE of {size}MB is less than the image [{image.id}] size of {image.size_mb}MB.")


def _make_volatile(disk: Vector) -> ImageType:
    if not is_volatile(disk):
        raise not_allocated(f"Unknown disk type {disk.get('TYPE', '').upper()}")
    if disk_mb(disk) <= 0:
        raise not_allocated("SIZE attribute must be a positive integer value.")
    disk["DEV_PREFIX"] = disk.get("DEV_PREFIX") or DEFAULT_PREFIX
    return ImageType.DATABLOCK


# Devices


def _name_devices(vm: VirtualMachine, disks: list[tuple[Vector, ImageType]]) -> None:
    """Name the devices: the first system disk, then CDs with the context among them, then the others."""
    used: set[str] = set()
    for disk, _ in disks:
        target = disk.get("TARGET")
        if target and target in used:
            raise not_allocated(f"Two disks have defined the same target {target}")
        used.add(target or "")
    free = [(disk.get("DEV_PREFIX", ""), disk, kind) for disk, kind in disks if not disk.get("TARGET")]
    systems = [(prefix, disk) for prefix, disk, kind in free if kind is ImageType.OS]
    drives = [(prefix or "hd", disk) for prefix, disk, kind in free if kind is ImageType.CDROM]
    first = systems[:1]
    later = {ImageType.OS, ImageType.DATABLOCK}
    others = [(prefix, disk) for prefix, disk, kind in free if kind in later and (prefix, disk) not in first]
    found = vm.body.vector("CONTEXT")
    if found is not None:
        found["DISK_ID"] = str(len(disks))
        if found.get("TARGET") in used - {""}:
            raise not_allocated(f"Two disks have defined the same target {found['TARGET']}")
        if not found.get("TARGET"):
            drives.append((found.get("DEV_PREFIX") or "hd", found))
    for prefix, disk in (*first, *drives, *others):
        disk["TARGET"] = next(name for name in _devices(prefix) if name not in used)
        used.add(disk["TARGET"])


def _devices(prefix: str) -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [prefix + letter for letter in letters] + [prefix + a + b for a in letters for b in letters]
