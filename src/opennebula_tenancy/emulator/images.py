"""Images as objects (src/image); the calls about them are in `opennebula_tenancy.emulator.image_calls`.

They behave as with the dummy datastore driver: what is registered from a PATH has 2048 MB, whatever is there.
"""

import enum
import time
from typing import ClassVar

import attrs

from opennebula_tenancy.emulator import limits
from opennebula_tenancy.emulator.datastores import Datastore, DatastoreType, DiskType
from opennebula_tenancy.emulator.errors import action, not_allocated
from opennebula_tenancy.emulator.kinds import Kind
from opennebula_tenancy.emulator.markup import cdata, ids
from opennebula_tenancy.emulator.quotas import Charge, StorageCharge
from opennebula_tenancy.emulator.state import Cloud, PoolObject, name_problem
from opennebula_tenancy.emulator.template import Template, Vector


REGISTERED_MB = 2048
"""Size in MB of an image from a PATH, as the dummy driver reports it."""
DEFAULT_PREFIX = "sd"
"""Prefix of devices unless the image names another (DEFAULT_DEVICE_PREFIX)."""

_INHERITED_OF_IMAGE = (
    *("ISCSI_USER", "ISCSI_USAGE", "ISCSI_HOST", "ISCSI_IQN", "LUKS_SECRET", "DISK_TYPE", "SERIAL", "MOUNT_POINT"),
    "MOUNT_TAG",
)
_INHERITED_OF_DATASTORE = (
    *("CEPH_HOST", "CEPH_SECRET", "CEPH_KEY", "CEPH_USER", "CEPH_CONF", "CEPH_TRASH", "POOL_NAME", "ISCSI_USER"),
    *("ISCSI_USAGE", "ISCSI_HOST", "GLUSTER_HOST", "GLUSTER_VOLUME", "DISK_TYPE", "ALLOW_ORPHANS"),
    *("QCOW2_STANDALONE", "SPARSE", "LVM_THIN_ENABLE", "PERSISTENT_SNAPSHOTS"),
)


class ImageType(enum.IntEnum):
    """What an image is for."""

    OS = 0
    CDROM = 1
    DATABLOCK = 2
    KERNEL = 3
    RAMDISK = 4
    CONTEXT = 5
    BACKUP = 6
    FILESYSTEM = 7

    @property
    def is_file(self) -> bool:
        """Whether it is kept in a file datastore and is no disk."""
        return self in {ImageType.KERNEL, ImageType.RAMDISK, ImageType.CONTEXT}

    @property
    def is_disk(self) -> bool:
        """Whether a VM can have it as a disk."""
        return self in {ImageType.OS, ImageType.CDROM, ImageType.DATABLOCK, ImageType.FILESYSTEM}


class ImageState(enum.IntEnum):
    """States of an image."""

    INIT = 0
    READY = 1
    USED = 2
    DISABLED = 3
    LOCKED = 4
    ERROR = 5
    CLONE = 6
    DELETE = 7
    USED_PERS = 8
    LOCKED_USED = 9
    LOCKED_USED_PERS = 10

    @property
    def word(self) -> str:
        """The state as refusals name it."""
        return self.name.removesuffix("_PERS")


_IN_USE = frozenset({ImageState.USED, ImageState.USED_PERS, ImageState.LOCKED_USED, ImageState.LOCKED_USED_PERS})
_BEING_MADE = frozenset({ImageState.LOCKED, ImageState.LOCKED_USED, ImageState.LOCKED_USED_PERS})
_UNUSABLE = frozenset({ImageState.INIT, ImageState.DISABLED, ImageState.ERROR, ImageState.DELETE, ImageState.CLONE})
_ONLY_ONCE = frozenset({ImageState.USED_PERS, ImageState.LOCKED_USED_PERS})


@attrs.define(eq=False, kw_only=True)
class Image(PoolObject):
    """An image.

    Attributes:
        type: What it is for.
        disk_type: How its datastore presents disks.
        persistent: Whether VMs change the image itself.
        regtime_s: Unix time of its registration.
        modtime_s: Unix time of its last change.
        source: Where the driver put it, empty until then.
        path: What it was made of.
        format: Format of its file.
        fs: File system made in it.
        size_mb: Size in MB.
        state: Its state.
        previous: The state before the last that was stored.
        datastore_id: Its datastore.
        datastore_name: Name of the datastore.
        vms: VMs that use it.
        clones: Images being made of it.
        cloning_id: The image it is being made of, -1 for none.
    """

    kind: ClassVar[Kind] = Kind.IMAGE

    type: ImageType = ImageType.OS
    disk_type: DiskType = DiskType.FILE
    persistent: bool = False
    regtime_s: int = 0
    modtime_s: int = 0
    source: str = ""
    path: str = ""
    format: str = ""
    fs: str = ""
    size_mb: int = 0
    state: ImageState = ImageState.LOCKED
    previous: ImageState = ImageState.INIT
    datastore_id: int = -1
    datastore_name: str = ""
    vms: set[int] = attrs.field(factory=set)
    clones: set[int] = attrs.field(factory=set)
    cloning_id: int = -1

    @property
    def charge(self) -> Charge:
        """What it takes of its owner's quotas."""
        return Charge(storage=(StorageCharge(datastore_id=str(self.datastore_id), size_mb=self.size_mb),))

    def move_to(self, state: ImageState) -> None:
        """Enter a state and store it."""
        self.state = self.previous = state

    def begin(self, *, saving: bool = False) -> None:
        """Complete a new image from its template, whose NAME and TYPE are taken already.

        Args:
            saving: Whether a disk of a VM is saved as it.

        Raises:
            Refusal: The template contradicts itself, or says not what the image is made of (ALLOCATE).
        """
        template = self.template
        persistent = (template.take("PERSISTENT") or "").upper() == "YES"
        if self.type in {ImageType.OS, ImageType.DATABLOCK}:
            if not template.text("DEV_PREFIX"):
                template.set("DEV_PREFIX", DEFAULT_PREFIX)
        else:
            template.erase("DEV_PREFIX")
        self.persistent = persistent and self.type in {ImageType.OS, ImageType.DATABLOCK, ImageType.FILESYSTEM}
        template.erase("SIZE")
        self.fs = template.take("FS") or ""
        template.erase("DRIVER")
        self.path, self.source = template.take("PATH") or "", template.take("SOURCE") or ""
        self.format = template.take("FORMAT") or ""
        template.erase("TM_MAD")
        if self.cloning_id != -1 or saving:
            return
        if self.source:
            if self.path:
                raise not_allocated("PATH and SOURCE cannot be both set.")
            if not self.format:
                raise not_allocated("SOURCE needs FORMAT to be set.")
        elif self.path:
            self.format = ""
        elif self.type in {ImageType.OS, ImageType.DATABLOCK}:
            self.format = self.format or "raw"
        elif self.type is ImageType.FILESYSTEM:
            self.format = "dir"
        else:
            raise not_allocated("No PATH nor SOURCE in template.")

    def made(self, cloud: Cloud) -> None:
        """Become READY: the driver is done."""
        if self.state not in _BEING_MADE or self.id not in cloud.pool(Image):
            return
        self.source = self.source or "dummy_path"
        self.format = self.format or "dummy_format"
        original = cloud.pool(Image).find(self.cloning_id)
        if original is not None:
            original.end_clone(self.id)
        self.cloning_id = -1
        self.move_to(
            {ImageState.LOCKED_USED: ImageState.USED, ImageState.LOCKED_USED_PERS: ImageState.USED_PERS}.get(
                self.state, ImageState.READY
            )
        )

    def broken(self, cloud: Cloud, problem: str) -> None:
        """Become ERROR: the driver failed. VMs that wait for it fail with it."""
        if self.state not in _BEING_MADE or self.id not in cloud.pool(Image):
            return
        original = cloud.pool(Image).find(self.cloning_id)
        if original is not None:
            original.end_clone(self.id)
        self.cloning_id = -1
        self.template.set("ERROR", f"{time.ctime(cloud.now_s())} : {problem}")
        self.move_to(ImageState.ERROR)

    def begin_clone(self, image_id: int) -> None:
        """Note that an image is being made of this one."""
        self.clones.add(image_id)
        if self.state is ImageState.READY:
            self.move_to(ImageState.CLONE)

    def end_clone(self, image_id: int) -> None:
        """Note that an image has been made of this one, or will not be."""
        self.clones.discard(image_id)
        if not self.clones and self.state is ImageState.CLONE:
            self.move_to(ImageState.READY)

    # Use by VMs

    def acquire(self, vm_id: int) -> None:
        """Let a VM use it.

        Raises:
            Refusal: It is no disk, or its state does not allow it (ALLOCATE).
        """
        if not self.type.is_disk:
            raise not_allocated(f"Image {self.id} ({self.name}) of type {self.type.name} cannot be used as DISK.")
        shareable = (self.template.text("PERSISTENT_TYPE") or "").upper() == "SHAREABLE"
        if self.state in _ONLY_ONCE and not shareable:
            raise not_allocated(f"Cannot acquire image {self.id}, it is persistent and already in use")
        if self.state in _UNUSABLE:
            raise not_allocated(f"Cannot acquire image {self.id}, it is in state: {self.state.word}")
        self.vms.add(vm_id)
        if self.state is ImageState.READY:
            self.move_to(ImageState.USED_PERS if self.persistent else ImageState.USED)
        elif self.state is ImageState.LOCKED:
            self.move_to(ImageState.LOCKED_USED_PERS if self.persistent else ImageState.LOCKED_USED)

    def release(self, cloud: Cloud, vm_id: int) -> None:
        """Note that a VM uses it no more."""
        self.vms.discard(vm_id)
        if self.vms or self.state not in _IN_USE:
            return
        if self.state in _ONLY_ONCE:
            self.modtime_s = cloud.now_s()
        idle = ImageState.CLONE if self.clones else ImageState.READY
        self.move_to(ImageState.LOCKED if self.state in _BEING_MADE else idle)

    def describe(self, disk: Vector, datastore: Datastore | None) -> None:
        """Write to a DISK vector what a VM has to know (Image::disk_attribute, Datastore::disk_attribute).

        Args:
            disk: The vector to complete.
            datastore: The image's datastore.
        """
        if self.type not in {ImageType.CDROM, ImageType.FILESYSTEM} and not disk.get("DEV_PREFIX"):
            disk["DEV_PREFIX"] = self.template.text("DEV_PREFIX") or DEFAULT_PREFIX
        disk.update(
            IMAGE=self.name,
            IMAGE_ID=str(self.id),
            SOURCE=self.source,
            ORIGINAL_SIZE=str(self.size_mb),
            DISK_SNAPSHOT_TOTAL_SIZE="0",
            IMAGE_STATE=str(self.state.value),
            TYPE="CDROM" if self.type is ImageType.CDROM else self.disk_type.name,
        )
        if not disk.get("SIZE"):
            disk["SIZE"] = str(self.size_mb)
        for name in ("DRIVER", "FORMAT"):
            disk.pop(name, None)
            if self.format:
                disk[name] = self.format.lower()
        self._describe_changes(disk)
        disk.pop("CLONING", None)
        if self.state in _BEING_MADE:
            disk["CLONING"] = "YES"
        if not disk.get("TARGET") and self.template.text("TARGET"):
            disk["TARGET"] = self.template.text("TARGET") or ""
        if self.type is ImageType.FILESYSTEM:
            disk.setdefault("MOUNT_POINT", self.template.text("MOUNT_POINT") or f"/mnt/one-fs-{self.id}")
            disk.setdefault("MOUNT_TAG", self.template.text("MOUNT_TAG") or f"one-fs-{self.id}")
        _inherit(disk, self.template, _INHERITED_OF_IMAGE)
        if datastore is not None:
            describe_datastore(disk, datastore)
            _inherit(disk, datastore.template, ("CLONE_TARGET", "LN_TARGET"))

    def _describe_changes(self, disk: Vector) -> None:
        """Whether the VM gets a copy, and whether what it changes is kept."""
        kind = (self.template.text("PERSISTENT_TYPE") or "").upper()
        if self.type is ImageType.CDROM or kind == "IMMUTABLE":
            disk.update(SAVE="NO", CLONE="NO", READONLY="YES")
            return
        if not disk.get("READONLY"):
            disk["READONLY"] = "YES" if self.template.yes("READONLY") else "NO"
        if self.persistent:
            disk.update(PERSISTENT="YES", CLONE="NO", SAVE="YES")
            if kind == "SHAREABLE" and self.format in {"raw", "dir"}:
                disk["SHAREABLE"] = "YES"
        else:
            disk.update(CLONE="YES", SAVE="NO")

    def xml(self, cloud: Cloud) -> str:  # noqa: ARG002 - every object reads so
        """The body."""
        snapshots = "".join(
            f"<{name}>{cdata(value)}</{name}>"
            for name, value in (("ALLOW_ORPHANS", "NO"), ("CURRENT_BASE", -1), ("NEXT_SNAPSHOT", 0))
        )
        return (
            f"<IMAGE><ID>{self.id}</ID><UID>{self.uid}</UID><GID>{self.gid}</GID><UNAME>{self.uname}</UNAME>"
            f"<GNAME>{self.gname}</GNAME><NAME>{self.name}</NAME>{self.lock_xml()}{self.permissions.xml()}"
            f"<TYPE>{self.type.value}</TYPE><DISK_TYPE>{self.disk_type.value}</DISK_TYPE>"
            f"<PERSISTENT>{int(self.persistent)}</PERSISTENT><REGTIME>{self.regtime_s}</REGTIME>"
            f"<MODTIME>{self.modtime_s}</MODTIME><SOURCE>{cdata(self.source)}</SOURCE><PATH>{cdata(self.path)}</PATH>"
            f"<FORMAT>{cdata(self.format)}</FORMAT><FS>{cdata(self.fs)}</FS><SIZE>{self.size_mb}</SIZE>"
            f"<STATE>{self.state.value}</STATE><PREV_STATE>{self.previous.value}</PREV_STATE>"
            f"<RUNNING_VMS>{len(self.vms)}</RUNNING_VMS><CLONING_OPS>{len(self.clones)}</CLONING_OPS>"
            f"<CLONING_ID>{self.cloning_id}</CLONING_ID><TARGET_SNAPSHOT>-1</TARGET_SNAPSHOT>"
            f"<DATASTORE_ID>{self.datastore_id}</DATASTORE_ID><DATASTORE>{self.datastore_name}</DATASTORE>"
            f"{ids('VMS', self.vms)}{ids('CLONES', self.clones)}{ids('APP_CLONES', ())}{self.template.xml()}"
            f"<SNAPSHOTS>{snapshots}</SNAPSHOTS><BACKUP_INCREMENTS></BACKUP_INCREMENTS>"
            f"<BACKUP_DISK_IDS></BACKUP_DISK_IDS></IMAGE>"
        )


def describe_datastore(disk: Vector, datastore: Datastore) -> None:
    """Write to a DISK vector which datastore it is in."""
    disk.update(
        DATASTORE=datastore.name,
        DATASTORE_ID=str(datastore.id),
        TM_MAD=datastore.tm_mad,
        CLUSTER_ID=",".join(map(str, sorted(datastore.clusters))),
    )
    _inherit(disk, datastore.template, _INHERITED_OF_DATASTORE)


def _inherit(disk: Vector, template: Template, names: tuple[str, ...]) -> None:
    for name in names:
        value = template.text(name)
        if value and not disk.get(name):
            disk[name] = value


def create(cloud: Cloud, image: Image, datastore: Datastore, *, saving: bool = False) -> Image:
    """Make an image of one that has an owner, a template and a size; it becomes READY one step later.

    Quotas are the caller's business.

    Args:
        cloud: The state.
        image: The image.
        datastore: Where it is to be.
        saving: Whether a disk of a VM is saved as it; it is READY when that is done.

    Raises:
        Refusal: The name is taken or invalid, or the datastore is not for such images (ALLOCATE).
    """
    image.name = image.template.take("NAME") or ""
    problem = name_problem(image.name)
    if problem is not None:
        raise not_allocated(problem)
    text = (image.template.take("TYPE") or "OS").upper()
    # What is no type at all counts as one of an image datastore until it is looked at closely.
    kind = ImageType.__members__.get(text, ImageType.OS)
    if kind.is_disk and datastore.type is not DatastoreType.IMAGE_DS:
        raise not_allocated("Only IMAGES of type KERNEL, RAMDISK and CONTEXT can be registered in a FILE_DS datastore")
    if kind.is_file and datastore.type is not DatastoreType.FILE_DS:
        raise not_allocated("IMAGES of type KERNEL, RAMDISK and CONTEXT cannot be registered in an IMAGE_DS datastore")
    if kind is ImageType.BACKUP:
        raise not_allocated("IMAGES of type BACKUP can only be registered in an BACKUP_DS datastore")
    pool = cloud.pool(Image)
    taken = pool.named(image.name, image.uid)
    if taken is not None:
        raise not_allocated(f"NAME is already taken by IMAGE {taken.id}.")
    if image.cloning_id != -1:
        check_clonable(pool.find(image.cloning_id))
    if text not in ImageType.__members__:
        raise not_allocated("Unknown type in template.")
    image.type, image.disk_type = kind, datastore.disk_type
    image.datastore_id, image.datastore_name = datastore.id, datastore.name
    image.begin(saving=saving)
    if not image.template.storable:
        raise not_allocated("Error transforming the Image to XML.")
    image.regtime_s = image.modtime_s = cloud.now_s()
    pool.add(image)
    datastore.images.add(image.id)
    original = pool.find(image.cloning_id)
    if original is not None:
        original.begin_clone(image.id)
    if not saving:
        _make(cloud, image)
    return image


def _make(cloud: Cloud, image: Image) -> None:
    """Let the driver of the datastore make an image."""
    if image.cloning_id != -1:
        action, problem = "clone", f"Error cloning from Image {image.cloning_id}"
    elif image.path:
        action, problem = "cp", "Error copying image in the datastore"
    else:
        action, problem = "mkfs", "Error creating datablock"
    outcome = cloud.driver_actions.take(action, image.id)
    if outcome.message:
        problem = f"{problem}: {outcome.message}"
    end = (lambda: image.broken(cloud, problem)) if outcome.fails else (lambda: image.made(cloud))
    if not outcome.hangs:
        cloud.later(cloud.config.step_s if outcome.takes_s is None else outcome.takes_s, end)


def check_clonable(original: Image | None) -> None:
    """Check that an image can be copied now.

    Raises:
        Refusal: It is gone, or its state does not allow it (ALLOCATE).
    """
    if original is None:
        raise not_allocated("Cannot clone image, it does not exist")
    if original.state not in {ImageState.READY, ImageState.USED, ImageState.CLONE}:
        raise not_allocated(f"Cannot clone image in state: {original.state.word}")


def begin_removal(cloud: Cloud, image: Image) -> None:
    """Delete an image, which is gone one step later; its quota is free then.

    Raises:
        Refusal: VMs use it, or it is being copied (ACTION).
    """
    if image.state in _IN_USE or (image.vms and image.state is ImageState.READY):
        raise action(f"There are {len(image.vms)} VMs using it.")
    if image.state is ImageState.CLONE:
        raise action(f"There are {len(image.clones)} active clone operations.")
    original = cloud.pool(Image).find(image.cloning_id)
    if original is not None:
        original.end_clone(image.id)
    image.cloning_id = -1
    if not image.source:
        remove(cloud, image)
        return
    image.move_to(ImageState.DELETE)
    cloud.later(cloud.config.step_s, lambda: remove(cloud, image))


def remove(cloud: Cloud, image: Image) -> None:
    """Forget an image, and free its quota."""
    if image.id not in cloud.pool(Image):
        return
    cloud.pool(Image).remove(image)
    limits.discharge(cloud, image.charge, image.uid, image.gid)
    datastore = cloud.pool(Datastore).find(image.datastore_id)
    if datastore is not None:
        datastore.images.discard(image.id)
