"""Clusters: `one.cluster.*`, `one.clusterpool.info` (Cluster.cc, ClusterPool.cc, ClusterAPI.cc)."""

import re
from typing import ClassVar, Protocol, runtime_checkable

import attrs

from opennebula_tenancy.emulator import verbs
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.errors import action, internal, not_allocated
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.markup import ids
from opennebula_tenancy.emulator.rules import Permissions
from opennebula_tenancy.emulator.state import Cloud, PoolObject, name_problem
from opennebula_tenancy.emulator.template import Template
from opennebula_tenancy.emulator.vdcs import forget_resource


DEFAULT_CLUSTER_ID = 0
"""The cluster of what is put in no other."""

_THRESHOLD = r"|-1|\d+(\.\d+)?"
_WEIGHT = r"|\d+(\.\d+)?"
_ONE_DRS = {
    "POLICY": "pack|balance",
    "AUTOMATION": "manual|partial|full",
    "MIGRATION_THRESHOLD": _THRESHOLD,
    "HOST_MIGRATION_THRESHOLD": _THRESHOLD,
    "DS_MIGRATION_THRESHOLD": _THRESHOLD,
    "CPU_USAGE_WEIGHT": _WEIGHT,
    "CPU_WEIGHT": _WEIGHT,
    "MEMORY_WEIGHT": _WEIGHT,
    "NET_WEIGHT": _WEIGHT,
    "DISK_WEIGHT": _WEIGHT,
    "PREDICTIVE": _WEIGHT,
}


@runtime_checkable
class Clustered(Protocol):
    """A datastore or a network: it can be in several clusters, or in none."""

    clusters: set[int]


@runtime_checkable
class Housed(Protocol):
    """A host: it is in one cluster."""

    cluster_id: int

    def moved(self, cloud: Cloud) -> None:
        """Take over what the cluster prescribes."""


@attrs.define(eq=False, kw_only=True)
class Cluster(PoolObject):
    """A cluster.

    Attributes:
        hosts: Ids of its hosts. So for datastores and vnets.
    """

    kind: ClassVar[Kind] = Kind.CLUSTER

    permissions: Permissions = attrs.field(factory=Permissions)
    hosts: set[int] = attrs.field(factory=set)
    datastores: set[int] = attrs.field(factory=set)
    vnets: set[int] = attrs.field(factory=set)

    def members(self, kind: Kind) -> set[int]:
        """Its hosts, datastores or networks."""
        return {Kind.HOST: self.hosts, Kind.DATASTORE: self.datastores, Kind.NET: self.vnets}[kind]

    def xml(self, cloud: Cloud) -> str:  # noqa: ARG002 - every object reads so
        """The body."""
        return (
            f"<CLUSTER><ID>{self.id}</ID><NAME>{self.name}</NAME>{ids('HOSTS', self.hosts)}"
            f"{ids('DATASTORES', self.datastores)}{ids('VNETS', self.vnets)}{self.template.xml()}</CLUSTER>"
        )

    def template_updated(self, cloud: Cloud, old: Template) -> None:  # noqa: ARG002 - checked as it is now
        """Check the settings of the scheduler, and hand reserved capacity to the hosts."""
        settings = self.template.vector("ONE_DRS")
        if settings is not None:
            for name, pattern in _ONE_DRS.items():
                value = settings.get(name, "").strip().lower()
                if re.fullmatch(pattern, value) is None:
                    raise internal(f"Error cluster template contains invalid {name}")
                if value:
                    settings[name] = value
        for host in self.hosts:
            _moved(cloud, host)


def _moved(cloud: Cloud, host_id: int) -> None:
    host = cloud.pool_of(Kind.HOST).find(host_id)
    if host is not None and isinstance(host, Housed):
        host.moved(cloud)


def create(cloud: Cloud, name: str) -> Cluster:
    """Make a cluster.

    Raises:
        Refusal: The name is taken or invalid (ALLOCATE).
    """
    problem = name_problem(name)
    if problem is not None:
        raise not_allocated(problem)
    taken = cloud.pool(Cluster).named(name)
    if taken is not None:
        raise not_allocated(f"NAME is already taken by CLUSTER {taken.id}.")
    template = Template([("RESERVED_CPU", ""), ("RESERVED_MEM", "")])
    cluster = cloud.pool(Cluster).add(Cluster(name=name, gname="oneadmin", template=template))
    cluster.gid = 0
    return cluster


def join(cloud: Cloud, cluster_id: int, kind: Kind, oid: int) -> None:
    """Put a datastore or network into a cluster, on both sides."""
    member = cloud.pool_of(kind).get(oid)
    if isinstance(member, Clustered):
        member.clusters.add(cluster_id)
    cloud.pool(Cluster).get(cluster_id).members(kind).add(oid)


def leave(cloud: Cloud, kind: Kind, oid: int) -> None:
    """Take a deleted host, datastore or network out of all clusters."""
    for cluster in cloud.pool(Cluster):
        cluster.members(kind).discard(oid)


def bootstrap(cloud: Cloud) -> None:
    """The cluster of a new cloud. Ids below 100 belong to the system."""
    create(cloud, "default")
    cloud.pool(Cluster).next_id = 100


@method("one.cluster.allocate", Kind.CLUSTER, Right.CREATE)
def allocate(call: Call, name: str) -> int:
    """Allocates a new cluster."""
    call.authorize((Right.CREATE, call.may_create(Kind.CLUSTER)))
    return create(call.cloud, name).id


@method("one.cluster.delete", Kind.CLUSTER, Right.ADMIN)
def delete(call: Call, oid: int) -> int:
    """Deletes a cluster."""

    def drop(cluster: Cluster) -> None:
        if cluster.id < 100:
            raise action("System Clusters (ID < 100) cannot be deleted.")
        for members, what in ((cluster.hosts, "hosts"), (cluster.datastores, "datastores"), (cluster.vnets, "vnets")):
            if members:
                raise action(f"Cluster {cluster.id} is not empty, it contains {len(members)} {what}.")
        call.cloud.pool(Cluster).remove(cluster)
        call.cloud.acls.forget_cluster(oid)
        forget_resource(call.cloud, Kind.CLUSTER, oid)

    return verbs.delete(call, Cluster, oid, drop)


@method("one.cluster.info", Kind.CLUSTER, Right.USE, ignores_lock=True)
def info(call: Call, oid: int, decrypt: bool = False) -> str:  # noqa: ARG001 - nothing is encrypted here
    """Returns cluster information."""
    return verbs.info(call, Cluster, oid)


@method("one.clusterpool.info", Kind.CLUSTER)
def pool_info(call: Call) -> str:
    """Returns the cluster pool."""
    return verbs.pool_xml("CLUSTER_POOL", (cluster.xml(call.cloud) for cluster in call.visible(Cluster)))


@method("one.cluster.update", Kind.CLUSTER, Right.MANAGE)
def update(call: Call, oid: int, text: str, mode: int = 0) -> int:
    """Updates a cluster's template."""
    return verbs.update(call, Cluster, oid, text, mode).id


@method("one.cluster.rename", Kind.CLUSTER, Right.MANAGE)
def rename(call: Call, oid: int, name: str) -> int:
    """Renames a cluster."""
    verbs.rename(call, Cluster, oid, name)
    return oid


def _edited(call: Call, oid: int, kind: Kind, member: int) -> tuple[Cluster, PoolObject]:
    cluster = call.cloud.pool(Cluster).get(oid)
    found = call.cloud.pool_of(kind).get(member)
    call.authorize((Right.ADMIN, cluster), (Right.ADMIN, found))
    return cluster, found


def _add(call: Call, oid: int, kind: Kind, member: int) -> int:
    _edited(call, oid, kind, member)
    join(call.cloud, oid, kind, member)
    return oid


def _remove(call: Call, oid: int, kind: Kind, member: int) -> int:
    cluster, found = _edited(call, oid, kind, member)
    if isinstance(found, Clustered):
        found.clusters.discard(oid)
    cluster.members(kind).discard(member)
    return oid


@method("one.cluster.addhost", Kind.CLUSTER, Right.ADMIN)
def addhost(call: Call, oid: int, host: int) -> int:
    """Adds a host to the cluster, which takes it out of its own."""
    cluster, found = _edited(call, oid, Kind.HOST, host)
    if isinstance(found, Housed) and found.cluster_id != oid:
        leave(call.cloud, Kind.HOST, host)
        found.cluster_id = oid
        cluster.hosts.add(host)
        found.moved(call.cloud)
    return oid


@method("one.cluster.delhost", Kind.CLUSTER, Right.ADMIN)
def delhost(call: Call, oid: int, host: int) -> int:
    """Moves a host to the default cluster, whichever cluster is named."""
    addhost(call, DEFAULT_CLUSTER_ID, host)
    return oid


@method("one.cluster.adddatastore", Kind.CLUSTER, Right.ADMIN)
def adddatastore(call: Call, oid: int, datastore: int) -> int:
    """Adds a datastore to the cluster."""
    return _add(call, oid, Kind.DATASTORE, datastore)


@method("one.cluster.deldatastore", Kind.CLUSTER, Right.ADMIN)
def deldatastore(call: Call, oid: int, datastore: int) -> int:
    """Removes a datastore from the cluster."""
    return _remove(call, oid, Kind.DATASTORE, datastore)


@method("one.cluster.addvnet", Kind.CLUSTER, Right.ADMIN)
def addvnet(call: Call, oid: int, network: int) -> int:
    """Adds a virtual network to the cluster."""
    return _add(call, oid, Kind.NET, network)


@method("one.cluster.delvnet", Kind.CLUSTER, Right.ADMIN)
def delvnet(call: Call, oid: int, network: int) -> int:
    """Removes a virtual network from the cluster."""
    return _remove(call, oid, Kind.NET, network)
