"""Virtual data centers: groups, the resources they may use, and the access rules that follow (Vdc.cc, VdcAPI.cc)."""

from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar

import attrs

from opennebula_tenancy.emulator import verbs
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.config import Config
from opennebula_tenancy.emulator.errors import action, internal
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.markup import ids
from opennebula_tenancy.emulator.rules import ALL, CLUSTER, GROUP, INDIVIDUAL, Subject
from opennebula_tenancy.emulator.state import ZONE_ID, Cloud, PoolObject, name_problem
from opennebula_tenancy.emulator.syntax import parsed
from opennebula_tenancy.emulator.template import Template


ALL_RESOURCES = -10
"""The id that stands for every resource of a kind in a zone."""
DEFAULT_VDC_ID = 0
"""The VDC that every new group is put in."""


def _granted(text: str) -> Right:
    """The rights that a DEFAULT_VDC_*_ACL setting names."""
    rights = Right.NONE
    for name in text.split("+"):
        rights |= Right.__members__.get(name, Right.NONE)
    return rights


@attrs.define(eq=False)
class Resources:
    """The resources of one kind in a VDC, and the access rules they stand for.

    Attributes:
        kind: HOST, NET, DATASTORE or CLUSTER.
        tag: Its name in the body.
        members: Pairs of zone and resource id.
    """

    kind: Kind
    tag: str
    members: set[tuple[int, int]] = attrs.field(factory=set)

    def xml(self) -> str:
        """The elements of the collection."""
        parts = (
            f"<{self.tag}><ZONE_ID>{zone}</ZONE_ID><{self.tag}_ID>{oid}</{self.tag}_ID></{self.tag}>"
            for zone, oid in sorted(self.members)
        )
        return f"<{self.tag}S>{''.join(parts)}</{self.tag}S>"

    def _rules(self, config: Config, gid: int, zone: int, oid: int) -> Iterator[tuple[int, int, int, int]]:
        if self.kind is Kind.CLUSTER:
            granted = {
                Kind.HOST: config.default_vdc_cluster_host_acl,
                Kind.NET: config.default_vdc_cluster_net_acl,
                Kind.DATASTORE: config.default_vdc_cluster_datastore_acl,
            }
            selector = CLUSTER
        else:
            texts = {
                Kind.HOST: config.default_vdc_host_acl,
                Kind.NET: config.default_vdc_vnet_acl,
                Kind.DATASTORE: config.default_vdc_datastore_acl,
            }
            granted, selector = {self.kind: texts[self.kind]}, INDIVIDUAL
        which = ALL if oid == ALL_RESOURCES else selector | oid
        for kind, text in granted.items():
            rights = _granted(text)
            if rights:
                yield GROUP | gid, kind.bit | which, rights, INDIVIDUAL | zone

    def add(self, cloud: Cloud, groups: Iterable[int], zone: int, oid: int) -> None:
        """Add a resource; all resources of a zone take the place of the single ones.

        Raises:
            Refusal: It is there already (INTERNAL).
        """
        if (zone, oid) in self.members:
            raise internal(f"{self.kind.text} {oid} from Zone {zone} is already assigned to the VDC")
        self.members.add((zone, oid))
        for gid in groups:
            self.grant(cloud, gid, [(zone, oid)])
        if oid == ALL_RESOURCES:
            for other in [m for m in self.members if m[0] == zone and m[1] != ALL_RESOURCES]:
                self.remove(cloud, groups, *other)

    def remove(self, cloud: Cloud, groups: Iterable[int], zone: int, oid: int) -> None:
        """Remove a resource.

        Raises:
            Refusal: It is not there (INTERNAL).
        """
        if (zone, oid) not in self.members:
            raise internal(f"{self.kind.text} {oid} from Zone {zone} is not assigned to the VDC ")
        self.members.discard((zone, oid))
        for gid in groups:
            self.revoke(cloud, gid, [(zone, oid)])

    def grant(self, cloud: Cloud, gid: int, members: Iterable[tuple[int, int]] | None = None) -> None:
        """Add a group's rules for resources, all of them unless some are named."""
        self._each(cloud.acls.grant, cloud, gid, members)

    def revoke(self, cloud: Cloud, gid: int, members: Iterable[tuple[int, int]] | None = None) -> None:
        """Remove a group's rules for resources, all of them unless some are named."""
        self._each(cloud.acls.revoke, cloud, gid, members)

    def _each(
        self,
        change: Callable[[int, int, int, int], None],
        cloud: Cloud,
        gid: int,
        members: Iterable[tuple[int, int]] | None,
    ) -> None:
        for zone, oid in sorted(self.members) if members is None else members:
            for rule in self._rules(cloud.config, gid, zone, oid):
                change(*rule)


@attrs.define(eq=False, kw_only=True)
class Vdc(PoolObject):
    """A virtual data center.

    Attributes:
        groups: Groups in it.
        clusters: Its clusters. So for hosts, datastores and vnets.
    """

    kind: ClassVar[Kind] = Kind.VDC

    groups: set[int] = attrs.field(factory=set)
    clusters: Resources = attrs.field(factory=lambda: Resources(Kind.CLUSTER, "CLUSTER"))
    hosts: Resources = attrs.field(factory=lambda: Resources(Kind.HOST, "HOST"))
    datastores: Resources = attrs.field(factory=lambda: Resources(Kind.DATASTORE, "DATASTORE"))
    vnets: Resources = attrs.field(factory=lambda: Resources(Kind.NET, "VNET"))

    @property
    def resources(self) -> tuple[Resources, ...]:
        """Its resources, in the order of the body."""
        return (self.clusters, self.hosts, self.datastores, self.vnets)

    def of(self, kind: Kind) -> Resources:
        """Its resources of a kind."""
        return next(resources for resources in self.resources if resources.kind is kind)

    def xml(self, cloud: Cloud) -> str:  # noqa: ARG002 - every object reads so
        """The body."""
        return (
            f"<VDC><ID>{self.id}</ID><NAME>{self.name}</NAME>{ids('GROUPS', self.groups)}"
            f"{''.join(resources.xml() for resources in self.resources)}{self.template.xml()}</VDC>"
        )

    def add_group(self, cloud: Cloud, gid: int) -> None:
        """Put a group in.

        Raises:
            Refusal: It is there already (INTERNAL).
        """
        if gid in self.groups:
            raise internal(f"Group {gid} is already assigned to the VDC {self.id}")
        self.groups.add(gid)
        for resources in self.resources:
            resources.grant(cloud, gid)

    def remove_group(self, cloud: Cloud, gid: int) -> None:
        """Take a group out.

        Raises:
            Refusal: It is not there (INTERNAL).
        """
        if gid not in self.groups:
            raise internal(f"Group {gid} is not assigned to the VDC {self.id}")
        self.groups.discard(gid)
        for resources in self.resources:
            resources.revoke(cloud, gid)


def create(cloud: Cloud, template: Template) -> Vdc:
    """Make a VDC of a template with its NAME.

    Raises:
        Refusal: The name is taken or invalid (INTERNAL).
    """
    name = template.take("NAME") or ""
    problem = name_problem(name)
    if problem is not None:
        raise internal(problem)
    taken = cloud.pool(Vdc).named(name)
    if taken is not None:
        raise internal(f"NAME is already taken by Vdc {taken.id}.")
    if not template.storable:
        raise internal("Error transforming the VDC to XML.")
    return cloud.pool(Vdc).add(Vdc(name=name, template=template))


def forget_resource(cloud: Cloud, kind: Kind, oid: int) -> None:
    """Take a deleted resource out of all VDCs."""
    for vdc in cloud.pool(Vdc):
        resources = vdc.of(kind)
        if (ZONE_ID, oid) in resources.members:
            resources.remove(cloud, vdc.groups, ZONE_ID, oid)


def bootstrap(cloud: Cloud) -> None:
    """The VDC of a new cloud: every new group is in it, with all clusters."""
    description = (
        "Every new group is added to this VDC. Use it to store default access rules for your groups. "
        "NOTE: You may need to remove a group from the default VDC before assigning it to other VDC."
    )
    default = create(cloud, Template([("NAME", "default"), ("DESCRIPTION", description)]))
    default.add_group(cloud, 1)
    default.clusters.add(cloud, default.groups, ZONE_ID, ALL_RESOURCES)
    cloud.pool(Vdc).next_id = 100


@method("one.vdc.allocate", Kind.VDC, Right.CREATE)
def allocate(call: Call, text: str) -> int:
    """Allocates a new VDC."""
    template = parsed(text)
    call.authorize((Right.CREATE, call.may_create(Kind.VDC)))
    return create(call.cloud, template).id


@method("one.vdc.delete", Kind.VDC, Right.ADMIN)
def delete(call: Call, oid: int) -> int:
    """Deletes a VDC."""

    def drop(vdc: Vdc) -> None:
        if vdc.id < 100:
            raise action("System VDCs (ID < 100) cannot be deleted.")
        call.cloud.pool(Vdc).remove(vdc)
        for gid in sorted(vdc.groups):
            for resources in vdc.resources:
                resources.revoke(call.cloud, gid)

    return verbs.delete(call, Vdc, oid, drop)


@method("one.vdc.info", Kind.VDC, Right.USE, ignores_lock=True)
def info(call: Call, oid: int, decrypt: bool = False) -> str:  # noqa: ARG001 - nothing is encrypted here
    """Returns VDC information."""
    return verbs.info(call, Vdc, oid)


@method("one.vdcpool.info", Kind.VDC)
def pool_info(call: Call) -> str:
    """Returns the VDC pool."""
    return verbs.pool_xml("VDC_POOL", (vdc.xml(call.cloud) for vdc in call.visible(Vdc)))


@method("one.vdc.update", Kind.VDC, Right.MANAGE)
def update(call: Call, oid: int, text: str, mode: int = 0) -> int:
    """Updates a VDC's template."""
    return verbs.update(call, Vdc, oid, text, mode).id


@method("one.vdc.rename", Kind.VDC, Right.MANAGE)
def rename(call: Call, oid: int, name: str) -> int:
    """Renames a VDC."""
    verbs.rename(call, Vdc, oid, name)
    return oid


def _group_edit(call: Call, oid: int, gid: int, *, must_exist: bool) -> Vdc:
    vdc = call.cloud.pool(Vdc).get(oid)
    groups = call.cloud.pool_of(Kind.GROUP)
    group = groups.get(gid) if must_exist else groups.find(gid)
    # oned asks for a right on a group that is gone, too: on one of no kind.
    call.authorize((Right.ADMIN, vdc), (Right.ADMIN, group or Subject(kind=None)))
    return vdc


@method("one.vdc.addgroup", Kind.VDC, Right.ADMIN)
def addgroup(call: Call, oid: int, gid: int) -> int:
    """Adds a group to a VDC."""
    _group_edit(call, oid, gid, must_exist=True).add_group(call.cloud, gid)
    return oid


@method("one.vdc.delgroup", Kind.VDC, Right.ADMIN)
def delgroup(call: Call, oid: int, gid: int) -> int:
    """Removes a group from a VDC."""
    _group_edit(call, oid, gid, must_exist=False).remove_group(call.cloud, gid)
    return oid


def _edit(call: Call, oid: int, zone: int, resource: int, kind: Kind, *, adding: bool) -> int:
    """Add a resource to a VDC, or remove it."""
    vdc = call.cloud.pool(Vdc).get(oid)
    asked = [(Right.ADMIN, vdc.subject)]
    pools = [(Kind.ZONE, zone)]
    if resource != ALL_RESOURCES and zone == ZONE_ID:
        pools.append((kind, resource))
    for pool_kind, wanted in pools:
        pool = call.cloud.pool_of(pool_kind)
        found = pool.get(wanted) if adding else pool.find(wanted)
        if found is not None:
            asked.append((Right.ADMIN, found.subject))
    call.authorize(*asked)
    resources = vdc.of(kind)
    change = resources.add if adding else resources.remove
    change(call.cloud, sorted(vdc.groups), zone, resource)
    return oid


@method("one.vdc.addcluster", Kind.VDC, Right.ADMIN)
def addcluster(call: Call, oid: int, zone: int, resource: int) -> int:
    """Adds a cluster to a VDC."""
    return _edit(call, oid, zone, resource, Kind.CLUSTER, adding=True)


@method("one.vdc.delcluster", Kind.VDC, Right.ADMIN)
def delcluster(call: Call, oid: int, zone: int, resource: int) -> int:
    """Removes a cluster from a VDC."""
    return _edit(call, oid, zone, resource, Kind.CLUSTER, adding=False)


@method("one.vdc.addhost", Kind.VDC, Right.ADMIN)
def addhost(call: Call, oid: int, zone: int, resource: int) -> int:
    """Adds a host to a VDC."""
    return _edit(call, oid, zone, resource, Kind.HOST, adding=True)


@method("one.vdc.delhost", Kind.VDC, Right.ADMIN)
def delhost(call: Call, oid: int, zone: int, resource: int) -> int:
    """Removes a host from a VDC."""
    return _edit(call, oid, zone, resource, Kind.HOST, adding=False)


@method("one.vdc.adddatastore", Kind.VDC, Right.ADMIN)
def adddatastore(call: Call, oid: int, zone: int, resource: int) -> int:
    """Adds a datastore to a VDC."""
    return _edit(call, oid, zone, resource, Kind.DATASTORE, adding=True)


@method("one.vdc.deldatastore", Kind.VDC, Right.ADMIN)
def deldatastore(call: Call, oid: int, zone: int, resource: int) -> int:
    """Removes a datastore from a VDC."""
    return _edit(call, oid, zone, resource, Kind.DATASTORE, adding=False)


@method("one.vdc.addvnet", Kind.VDC, Right.ADMIN)
def addvnet(call: Call, oid: int, zone: int, resource: int) -> int:
    """Adds a virtual network to a VDC."""
    return _edit(call, oid, zone, resource, Kind.NET, adding=True)


@method("one.vdc.delvnet", Kind.VDC, Right.ADMIN)
def delvnet(call: Call, oid: int, zone: int, resource: int) -> int:
    """Removes a virtual network from a VDC."""
    return _edit(call, oid, zone, resource, Kind.NET, adding=False)
