"""Datastores: `one.datastore.*`, `one.datastorepool.info` (Datastore.cc, DatastorePool.cc, DatastoreAPI.cc)."""

import enum
from typing import ClassVar, Protocol, runtime_checkable

import attrs

from opennebula_tenancy.emulator import verbs
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.clusters import DEFAULT_CLUSTER_ID, Cluster, join, leave
from opennebula_tenancy.emulator.drivers import (
    DATASTORE_DRIVERS,
    IMAGE_DATASTORE_MB,
    SYSTEM_DATASTORE_MB,
    TRANSFER_DRIVERS,
)
from opennebula_tenancy.emulator.errors import action, internal
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.markup import cdata, ids
from opennebula_tenancy.emulator.rules import Permissions
from opennebula_tenancy.emulator.state import Cloud, PoolObject, name_problem
from opennebula_tenancy.emulator.syntax import parsed
from opennebula_tenancy.emulator.template import Template
from opennebula_tenancy.emulator.vdcs import forget_resource


LOCATION = "/var/lib/one//datastores"
"""Where datastores are, on an oned installed by packages."""

_READ_ONLY = ("LVM_THIN_ENABLE", "NFS_AUTO_ENABLE", "NFS_AUTO_HOST", "NFS_AUTO_PATH", "NFS_AUTO_OPTS")


class DatastoreType(enum.IntEnum):
    """What a datastore holds."""

    IMAGE_DS = 0
    SYSTEM_DS = 1
    FILE_DS = 2
    BACKUP_DS = 3


class DiskType(enum.IntEnum):
    """How the disks of a datastore look to a hypervisor."""

    FILE = 0
    CDROM = 1
    BLOCK = 2
    RBD = 3
    RBD_CDROM = 4
    GLUSTER = 5
    GLUSTER_CDROM = 6
    SHEEPDOG = 7
    SHEEPDOG_CDROM = 8
    ISCSI = 9
    FILESYSTEM = 10


_DISK_TYPES = {
    DatastoreType.IMAGE_DS: frozenset(t for t in DiskType if not t.name.endswith("CDROM")),
    DatastoreType.SYSTEM_DS: frozenset({DiskType.FILE, DiskType.RBD, DiskType.BLOCK, DiskType.FILESYSTEM}),
}
_TYPE_LABELS = {DatastoreType.IMAGE_DS: "an Image", DatastoreType.SYSTEM_DS: "a System"}


@runtime_checkable
class Stored(Protocol):
    """An image, as far as the name of its datastore is concerned."""

    datastore_name: str


@attrs.define(eq=False, kw_only=True)
class Datastore(PoolObject):
    """A datastore.

    Attributes:
        ds_mad: Driver that handles images, `-` for a system datastore.
        tm_mad: Driver that transfers them.
        type: What it holds.
        disk_type: What its disks are.
        enabled: Whether a system datastore may be used.
        clusters: Its clusters.
        images: Ids of its images.
        total_mb: Size, 0 until it is monitored.
        free_mb: Free, 0 until it is monitored.
        used_mb: Used, 0 until it is monitored.
    """

    kind: ClassVar[Kind] = Kind.DATASTORE

    ds_mad: str = ""
    tm_mad: str = ""
    type: DatastoreType = DatastoreType.IMAGE_DS
    disk_type: DiskType = DiskType.FILE
    enabled: bool = True
    clusters: set[int] = attrs.field(factory=set)
    images: set[int] = attrs.field(factory=set)
    total_mb: int = 0
    free_mb: int = 0
    used_mb: int = 0

    @property
    def cluster_ids(self) -> frozenset[int]:
        """Its clusters."""
        return frozenset(self.clusters)

    @property
    def base_path(self) -> str:
        """Its folder."""
        return f"{LOCATION}/{self.id}"

    @property
    def available_mb(self) -> int:
        """Room for images: what is free, or what LIMIT_MB leaves."""
        limit = self.template.integer("LIMIT_MB")
        return max(0, self.free_mb if limit is None else limit - self.used_mb)

    @property
    def checks_capacity(self) -> bool:
        """Whether an image that does not fit is refused."""
        return self.template.text("DATASTORE_CAPACITY_CHECK") is None or self.template.yes("DATASTORE_CAPACITY_CHECK")

    def monitored(self) -> None:
        """What a report of the dummy drivers changes."""
        system = self.type is DatastoreType.SYSTEM_DS
        self.total_mb, self.free_mb, self.used_mb = SYSTEM_DATASTORE_MB if system else IMAGE_DATASTORE_MB

    def xml(self, cloud: Cloud) -> str:  # noqa: ARG002 - every object reads so
        """The body."""
        return (
            f"<DATASTORE><ID>{self.id}</ID><UID>{self.uid}</UID><GID>{self.gid}</GID><UNAME>{self.uname}</UNAME>"
            f"<GNAME>{self.gname}</GNAME><NAME>{self.name}</NAME>{self.permissions.xml()}"
            f"<DS_MAD>{cdata(self.ds_mad)}</DS_MAD><TM_MAD>{cdata(self.tm_mad)}</TM_MAD>"
            f"<BASE_PATH>{cdata(self.base_path)}</BASE_PATH><TYPE>{self.type.value}</TYPE>"
            f"<DISK_TYPE>{self.disk_type.value}</DISK_TYPE><STATE>{int(not self.enabled)}</STATE>"
            f"{ids('CLUSTERS', self.clusters)}<TOTAL_MB>{self.total_mb}</TOTAL_MB><FREE_MB>{self.free_mb}</FREE_MB>"
            f"<USED_MB>{self.used_mb}</USED_MB>{ids('IMAGES', self.images)}{self.template.xml()}</DATASTORE>"
        )

    def begin(self) -> None:
        """Complete a new datastore from its template.

        Raises:
            Refusal: Drivers are missing or unknown, or the disk type is none (INTERNAL).
        """
        template = self.template
        self.type = _type(template.text("TYPE"), DatastoreType.IMAGE_DS)
        self.ds_mad = template.text("DS_MAD") or ""
        if self.type is DatastoreType.SYSTEM_DS:
            if self.ds_mad:
                raise internal("SYSTEM datastores cannot have DS_MAD defined.")
            self.ds_mad = "-"
        elif not self.ds_mad:
            raise internal("No DS_MAD in template.")
        self._use_datastore_driver()
        self.tm_mad = template.text("TM_MAD") or ""
        if self.type is DatastoreType.BACKUP_DS:
            self.tm_mad = "-"
        else:
            self._use_transfer_driver(self.tm_mad)
        template.erase("BASE_PATH")
        self._use_disk_type(template.take("DISK_TYPE") or "FILE")
        if not template.text("SAFE_DIRS") and not template.text("RESTRICTED_DIRS"):
            template.set("SAFE_DIRS", "/var/tmp")  # noqa: S108 - what oned writes
            template.set("RESTRICTED_DIRS", "/")

    def template_updated(self, cloud: Cloud, old: Template) -> None:
        """Follow a changed type, disk type or driver."""
        before = (self.type, self.disk_type, self.tm_mad, self.ds_mad)
        try:
            self._follow(cloud, old)
        except Exception:
            self.type, self.disk_type, self.tm_mad, self.ds_mad = before
            raise

    def _follow(self, cloud: Cloud, old: Template) -> None:
        template = self.template
        for name in _READ_ONLY if self.images else ():
            if (template.text(name) or "") != (old.text(name) or ""):
                raise internal(f"Cannot update option {name} in a datastore with existing images")
        if self.id == 0:
            self.type = DatastoreType.SYSTEM_DS
        elif self.type is not DatastoreType.BACKUP_DS:
            self.type = _type(template.text("TYPE"), self.type)
        template.set("TYPE", self.type.name)
        disk_type = template.take("DISK_TYPE")
        if disk_type:
            self._use_disk_type(disk_type)
        transfer = template.text("TM_MAD")
        if transfer and self.type is not DatastoreType.BACKUP_DS:
            if self.type is DatastoreType.SYSTEM_DS and transfer != self.tm_mad:
                self._measure_again(cloud)
            self._use_transfer_driver(transfer)
            self.tm_mad = transfer
        else:
            template.set("TM_MAD", self.tm_mad)
        driver = template.text("DS_MAD")
        if self.type is DatastoreType.SYSTEM_DS:
            self.ds_mad = "-"
            template.erase("DS_MAD")
        elif not driver:
            template.set("DS_MAD", self.ds_mad)
        elif driver != self.ds_mad:
            self.ds_mad = driver
            self._measure_again(cloud)
        self._use_datastore_driver()

    def _measure_again(self, cloud: Cloud) -> None:
        self.total_mb = self.free_mb = self.used_mb = 0
        cloud.later(cloud.config.step_s, self.monitored)

    def _use_datastore_driver(self) -> None:
        if self.type is DatastoreType.SYSTEM_DS:
            return
        driver = DATASTORE_DRIVERS.get(self.ds_mad)
        if driver is None:
            raise internal(f'DS_MAD named "{self.ds_mad}" is not defined in oned.conf')
        for name in filter(None, driver["REQUIRED_ATTRS"].split(",")):
            if not self.template.text(name):
                raise internal(f'Datastore template is missing the "{name}" attribute or it\'s empty.')

    def _use_transfer_driver(self, name: str) -> None:
        if not name:
            raise internal("No TM_MAD in template.")
        driver = TRANSFER_DRIVERS.get(name)
        if driver is None:
            raise internal(f'TM_MAD named "{name}" is not defined in oned.conf')
        if self.type is DatastoreType.SYSTEM_DS:
            wanted = ["SHARED", "DS_MIGRATE", "DS_LIVE_MIGRATE", "DS_MIGRATE_SNAP"]
            unwanted = ["LN_TARGET", "CLONE_TARGET"]
        else:
            wanted = [key for key in driver if key not in {"SHARED", "ALLOW_ORPHANS"} and not key.startswith("DS_")]
            unwanted = ["SHARED"]
        for key in wanted:
            self.template.set(key, driver[key])
        for key in unwanted:
            self.template.erase(key)
        self.template.set("ALLOW_ORPHANS", driver.get("ALLOW_ORPHANS", "NO"))
        self.template.set("PERSISTENT_SNAPSHOTS", "YES")

    def _use_disk_type(self, name: str) -> None:
        allowed = _DISK_TYPES.get(self.type)
        if allowed is None:
            self.disk_type = DiskType.FILE
            return
        found = DiskType.__members__.get(name.upper())
        if found is None:
            raise internal("Unknown DISK_TYPE in template.")
        if found not in allowed:
            raise internal(f"Invalid DISK_TYPE for {_TYPE_LABELS[self.type]} Datastore.")
        self.disk_type = found
        self.template.set("DISK_TYPE", found.name)


def _type(text: str | None, otherwise: DatastoreType) -> DatastoreType:
    """The type a template names; an unknown one counts as IMAGE_DS."""
    return DatastoreType.__members__.get(text.upper(), DatastoreType.IMAGE_DS) if text else otherwise


def add(cloud: Cloud, datastore: Datastore, cluster_id: int) -> Datastore:
    """Put a datastore made of a template with its NAME into the cloud; its first report comes one step later.

    Raises:
        Refusal: The name is taken or invalid, or the template is not fit for a datastore (INTERNAL).
    """
    name = datastore.template.text("NAME") or ""
    problem = name_problem(name)
    if problem is not None:
        raise internal(problem)
    taken = cloud.pool(Datastore).named(name)
    if taken is not None:
        raise internal(f"NAME is already taken by DATASTORE {taken.id}.")
    datastore.template.erase("NAME")
    datastore.name = name
    datastore.begin()
    if not datastore.template.storable:
        raise internal("Error transforming the Datastore to XML.")
    cloud.pool(Datastore).add(datastore)
    join(cloud, cluster_id, Kind.DATASTORE, datastore.id)
    cloud.later(cloud.config.step_s, datastore.monitored)
    return datastore


def create(cloud: Cloud, name: str, kind: str, cluster_id: int, *, driver: str) -> Datastore:
    """Make a datastore of oneadmin.

    Args:
        cloud: The state.
        name: Its name.
        kind: Its TYPE.
        cluster_id: Its cluster.
        driver: Its TM_MAD, and unless it is `local` its DS_MAD.
    """
    template = Template([("NAME", name), ("TYPE", kind), ("TM_MAD", driver)])
    if kind != "SYSTEM_DS":
        template.add("DS_MAD", "fs" if driver == "local" else driver)
    mode = Permissions.from_mode(0o640)
    made = Datastore(uname="oneadmin", gname="oneadmin", permissions=mode, template=template)
    return add(cloud, made, cluster_id)


def bootstrap(cloud: Cloud) -> None:
    """The datastores of a new cloud. Ids below 100 belong to the system."""
    for name, kind in (("system", "SYSTEM_DS"), ("default", "IMAGE_DS"), ("files", "FILE_DS")):
        create(cloud, name, kind, DEFAULT_CLUSTER_ID, driver="local")
    cloud.pool(Datastore).next_id = 100


def use_dummy_drivers(cloud: Cloud, oid: int) -> None:
    """Give a datastore the dummy drivers, as an update of its template does."""
    datastore = cloud.pool(Datastore).get(oid)
    old = datastore.template.copy()
    datastore.template.set("TM_MAD", "dummy")
    if datastore.type is not DatastoreType.SYSTEM_DS:
        datastore.template.set("DS_MAD", "dummy")
    datastore.template_updated(cloud, old)


@method("one.datastore.allocate", Kind.DATASTORE, Right.CREATE)
def allocate(call: Call, text: str, cluster_id: int) -> int:
    """Allocates a new datastore."""
    template = parsed(text)
    cluster = call.cloud.pool(Cluster).get(DEFAULT_CLUSTER_ID if cluster_id == -1 else cluster_id)
    call.authorize((Right.CREATE, call.may_create(Kind.DATASTORE)), (Right.ADMIN, cluster.subject))
    datastore = Datastore(
        uid=call.uid,
        gid=call.gid,
        uname=call.uname,
        gname=call.gname,
        permissions=attrs.evolve(call.new_permissions(), group_u=1),
        template=template,
    )
    return add(call.cloud, datastore, cluster.id).id


@method("one.datastore.delete", Kind.DATASTORE, Right.MANAGE)
def delete(call: Call, oid: int) -> int:
    """Deletes a datastore."""

    def drop(datastore: Datastore) -> None:
        if datastore.images:
            raise action(f"Datastore {oid} is not empty.")
        call.cloud.pool(Datastore).remove(datastore)
        leave(call.cloud, Kind.DATASTORE, oid)
        forget_resource(call.cloud, Kind.DATASTORE, oid)

    return verbs.delete(call, Datastore, oid, drop)


@method("one.datastore.info", Kind.DATASTORE, Right.USE, ignores_lock=True)
def info(call: Call, oid: int, decrypt: bool = False) -> str:  # noqa: ARG001 - nothing is encrypted here
    """Returns datastore information."""
    return verbs.info(call, Datastore, oid)


@method("one.datastorepool.info", Kind.DATASTORE)
def pool_info(call: Call) -> str:
    """Returns the datastore pool."""
    bodies = (datastore.xml(call.cloud) for datastore in call.visible(Datastore))
    return verbs.pool_xml("DATASTORE_POOL", bodies)


@method("one.datastore.update", Kind.DATASTORE, Right.MANAGE)
def update(call: Call, oid: int, text: str, mode: int = 0) -> int:
    """Updates a datastore's template."""
    return verbs.update(call, Datastore, oid, text, mode).id


@method("one.datastore.rename", Kind.DATASTORE, Right.MANAGE)
def rename(call: Call, oid: int, name: str) -> int:
    """Renames a datastore."""
    datastore = verbs.rename(call, Datastore, oid, name)
    if datastore is not None:
        for image_id in datastore.images:
            image = call.cloud.pool_of(Kind.IMAGE).find(image_id)
            if image is not None and isinstance(image, Stored):
                image.datastore_name = name
    return oid


@method("one.datastore.chown", Kind.DATASTORE, Right.MANAGE)
def chown(call: Call, oid: int, uid: int, gid: int) -> int:
    """Changes the owner and group of a datastore."""
    return verbs.chown(call, Datastore, oid, uid, gid).id


@method("one.datastore.chmod", Kind.DATASTORE, Right.MANAGE)
def chmod(  # noqa: PLR0917 - the protocol's signature
    call: Call,
    oid: int,
    owner_u: int,
    owner_m: int,
    owner_a: int,
    group_u: int,
    group_m: int,
    group_a: int,
    other_u: int,
    other_m: int,
    other_a: int,
) -> int:
    """Changes the permissions of a datastore."""
    bits = Permissions(owner_u, owner_m, owner_a, group_u, group_m, group_a, other_u, other_m, other_a)
    return verbs.chmod(call, Datastore, oid, bits).id


@method("one.datastore.enable", Kind.DATASTORE, Right.MANAGE)
def enable(call: Call, oid: int, enabled: bool) -> int:
    """Enables or disables a system datastore."""
    datastore = call.get(Datastore, oid)
    if datastore.type is not DatastoreType.SYSTEM_DS:
        raise internal("Only SYSTEM_DS can be disabled or enabled")
    datastore.enabled = enabled
    return oid
