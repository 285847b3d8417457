"""`TenantState`: what OpenNebula has of a tenant, and how that differs from what is asked for."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy import ownership, rights
from opennebula_tenancy._wire.acl import AclRule
from opennebula_tenancy._wire.records import ClusterRecord, DatastoreRecord, GroupRecord, OwnedRecord, VdcRecord
from opennebula_tenancy.errors import Conflict, DuplicateObject, NotFound, SettingsError
from opennebula_tenancy.group_quota import GroupQuota, QuotaScope
from opennebula_tenancy.plan import Change, Plan
from opennebula_tenancy.vdc_spec import StorageScope


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from opennebula_tenancy._transport.rpc import Reader
    from opennebula_tenancy.quota import Quota
    from opennebula_tenancy.vdc_spec import VdcSpec


DEFAULT_VDC = 0
"""The VDC that every new group is in; it opens all clusters and all networks."""
GROUP_AFTER = "TENANCY_GROUP_AFTER"
"""On the VDC: the highest id of a group at the time. The tenant's own group has a higher one."""
VDC_ID = "TENANCY_VDC_ID"
STORAGE_SCOPE = "TENANCY_STORAGE_SCOPE"
DATASTORES = "TENANCY_DATASTORES"
NETWORKS = "TENANCY_EXTERNAL_NETWORKS"
_CLUSTERS_OWN = "clusters"
_NONE = "none"
_EVERY_CLUSTER = -10
VDC_ROLE = "vdc"
GROUP_ROLE = "group"


class Kind(enum.Enum):
    """The kinds of differences, in the order in which they are mended."""

    VDC = enum.auto()
    GROUP = enum.auto()
    MEMBERSHIP = enum.auto()
    DEFAULT_VDC = enum.auto()
    CLUSTER = enum.auto()
    CLUSTER_TOO_MANY = enum.auto()
    NETWORK_RULES = enum.auto()
    CREATE_RULE = enum.auto()
    LIMITS = enum.auto()
    MARK = enum.auto()


@attrs.frozen
class Difference:
    """One thing to mend: its kind, how it is shown, and the id of a cluster where it is about one."""

    kind: Kind
    change: Change
    ident: int = -1


def vdc_of(vdcs: Iterable[VdcRecord], key: str) -> VdcRecord | None:
    """The VDC that carries a key.

    Raises:
        DuplicateObject: More than one does.
    """
    found = [vdc for vdc in vdcs if ownership.carries(vdc.template, key, VDC_ROLE)]
    if len(found) > 1:
        ids = ", ".join(str(ident) for ident in sorted(vdc.id for vdc in found))
        raise DuplicateObject(
            f"the VDCs {ids} all carry the key {key}: keep one, and remove {ownership.KEY} from others"
        )
    return found[0] if found else None


def group_of(groups: Iterable[GroupRecord], key: str, vdc: VdcRecord | None) -> GroupRecord | None:
    """The group of the tenant with this key.

    It carries the key itself, or is in the tenant's VDC under the tenant's name, or was made for that VDC by a run
    that did not come to put it there: then it has that name, is younger than the VDC, and nobody has touched it.

    Args:
        groups: The groups to look through.
        key: The tenant's key.
        vdc: The VDC that carries the key, if there is one.

    Returns:
        The group, or None.

    Raises:
        DuplicateObject: More than one group carries the key.
    """
    candidates = list(groups)
    marked = [group for group in candidates if ownership.carries(group.template, key, GROUP_ROLE)]
    if len(marked) > 1:
        raise DuplicateObject(f"the groups {', '.join(str(group.id) for group in marked)} all carry the key {key}")
    if marked or vdc is None:
        return marked[0] if marked else None
    named = [group for group in candidates if group.name == vdc.name]
    return next((group for group in named if group.id in vdc.groups or _is_unclaimed(group, vdc)), None)


def _is_unclaimed(group: GroupRecord, vdc: VdcRecord) -> bool:
    after = vdc.template.get(GROUP_AFTER, "")
    return (
        after.isdecimal()
        and group.id > int(after)
        and not (group.users or group.admins or group.template or group.quotas)
    )


@attrs.frozen(kw_only=True)
class TenantState:
    """What OpenNebula has of the tenant that a spec asks for.

    Attributes:
        spec: What is asked for.
        vdc: Its VDC, if there is one.
        group: Its group, if there is one.
        in_default_vdc: Whether the group is in VDC 0.
        rules: The rules that speak of the group.
        clusters: The ids of the clusters it is to have.
        scope: Where its limits are to hold.
        last_group: The highest id of a group that was seen, -1 when none was looked for.
    """

    spec: VdcSpec
    vdc: VdcRecord | None
    group: GroupRecord | None
    in_default_vdc: bool
    rules: tuple[AclRule, ...]
    clusters: tuple[int, ...]
    scope: QuotaScope
    last_group: int

    @property
    def complete(self) -> bool:
        """Whether the tenant was once finished: the mark is the last thing that is made."""
        return self.group is not None and ownership.carries(self.group.template, self.spec.key, GROUP_ROLE)

    @property
    def marks(self) -> Mapping[str, str]:
        """The attributes that the group is marked with."""
        marks = {
            **ownership.mark(self.spec.key, GROUP_ROLE),
            STORAGE_SCOPE: self.spec.storage_scope.value,
            DATASTORES: _CLUSTERS_OWN if self.spec.storage_datastores is None else _joined(self.scope.datastores),
            NETWORKS: _joined(self.scope.networks),
        }
        return marks if self.vdc is None else {**marks, VDC_ID: str(self.vdc.id)}

    @property
    def anchor(self) -> Mapping[str, str]:
        """The attributes that the VDC is made with."""
        return {
            "NAME": self.spec.name,
            **ownership.mark(self.spec.key, VDC_ROLE),
            GROUP_AFTER: str(self.last_group),
        }

    @property
    def quota(self) -> GroupQuota:
        """The group's quotas; those of a new group when there is none."""
        return GroupQuota(self.group.quotas if self.group else (), self.scope)

    def differences(self) -> Iterator[Difference]:
        """What is to be mended, in order."""
        name = self.spec.name
        vdc, group = self.vdc, self.group
        its_group = f"group {group.id}" if group else f"group {name}"
        its_vdc = f"VDC {vdc.id}" if vdc else f"VDC {name}"
        if vdc is None:
            yield Difference(Kind.VDC, Change("create", its_vdc))
        if group is None:
            yield Difference(Kind.GROUP, Change("create", its_group))
        if vdc is None or group is None or group.id not in vdc.groups:
            yield Difference(Kind.MEMBERSHIP, Change("add", f"{its_group} to {its_vdc}"))
        if group is None or self.in_default_vdc:
            yield Difference(Kind.DEFAULT_VDC, Change("remove", f"{its_group} from VDC {DEFAULT_VDC} (default)"))
        yield from self._cluster_differences(its_vdc)
        if group is None or rights.excess(self.rules):
            seen = "; ".join(map(str, rights.excess(self.rules)))
            yield Difference(Kind.NETWORK_RULES, Change("remove", f"use of networks of others by {its_group}", seen))
        if group is None or not rights.is_granted(self.rules, group.id):
            yield Difference(Kind.CREATE_RULE, Change("add", f"right of {its_group} to create"))
        for change in self.quota.changes(self.spec.quota):
            yield Difference(Kind.LIMITS, change)
        held = group.template if group else {}
        if vdc is None or any(held.get(attribute) != value for attribute, value in self.marks.items()):
            yield Difference(Kind.MARK, Change("set", f"mark of {its_group}", "", self.spec.key))

    def _cluster_differences(self, its_vdc: str) -> Iterator[Difference]:
        wanted = {(self.spec.zone, cluster) for cluster in self.clusters}
        held = self.vdc.clusters if self.vdc else frozenset()
        for _, cluster in sorted(wanted - held):
            yield Difference(Kind.CLUSTER, Change("add", f"cluster {cluster} to {its_vdc}"), cluster)
        for zone, cluster in sorted(held - wanted):
            if zone == self.spec.zone:
                what = "all clusters" if cluster == _EVERY_CLUSTER else f"cluster {cluster}"
                yield Difference(Kind.CLUSTER_TOO_MANY, Change("remove", f"{what} from {its_vdc}"), cluster)

    def plan(self) -> Plan:
        """The differences as a plan, with what an operator should know besides."""
        return Plan(self.spec.name, tuple(difference.change for difference in self.differences()), tuple(self._notes()))

    def _notes(self) -> Iterator[str]:
        stores = self.scope.datastores
        if self.spec.quota.storage_mb is not None and len(stores) > 1 and self.spec.storage_datastores is None:
            yield (
                f"the storage limit holds on each of the datastores {', '.join(map(str, stores))} for itself: "
                "OpenNebula has no common one; name one in storage_datastores"
            )
        for rule in rights.suspicious(self.rules):
            yield f"rule {rule.id} ({rule}) opens networks among other things, and is not ours to remove"


def observe(reader: Reader, spec: VdcSpec) -> TenantState:
    """Look at everything that a tenant is made of.

    Args:
        reader: Reads from OpenNebula.
        spec: The tenant asked for.

    Returns:
        What is there.

    Raises:
        Conflict: Objects that are not ours stand where the tenant's would.
        SettingsError: The spec names clusters, datastores or networks that do not exist; all at once.
        DuplicateObject: More than one object carries the key.
    """
    vdcs = VdcRecord.pool(reader.read("one.vdcpool.info"))
    vdc = vdc_of(vdcs, spec.key)
    vdc, group, last_group = _observe_group(reader, spec, vdc)
    _refuse_foreign(reader, spec, vdcs, vdc, group)
    clusters, scope = _observe_places(reader, spec)
    rules = AclRule.list_of(reader.read("one.acl.info")) if group else ()
    default = next((other for other in vdcs if other.id == DEFAULT_VDC), None)
    return TenantState(
        spec=spec,
        vdc=vdc,
        group=group,
        in_default_vdc=group is not None and default is not None and group.id in default.groups,
        rules=rights.of_group(rules, group.id) if group else (),
        clusters=clusters,
        scope=scope,
        last_group=last_group,
    )


def _observe_group(
    reader: Reader, spec: VdcSpec, vdc: VdcRecord | None
) -> tuple[VdcRecord | None, GroupRecord | None, int]:
    """Find the group: by its id where the VDC has just one, else among all of them.

    Returns:
        The VDC, the group, and the highest id of a group that was seen.
    """
    if vdc is not None and len(vdc.groups) == 1:
        (gid,) = vdc.groups
        try:
            group = read_group(reader, gid)
        except NotFound:
            group = None
        if group is not None and group_of([group], spec.key, vdc) is not None:
            return vdc, group, -1
    groups = GroupRecord.pool(reader.read("one.grouppool.info"))
    group = group_of(groups, spec.key, vdc)
    namesake = next((other for other in groups if other.name == spec.name), None)
    if group is None and namesake is not None:
        # Another run for this tenant may have put its group into the VDC since the VDC was read: the VDC of now tells.
        vdc = vdc_of(VdcRecord.pool(reader.read("one.vdcpool.info")), spec.key)
        group = group_of(groups, spec.key, vdc)
        if group is None:
            raise Conflict(
                f"the name {spec.name} is taken by group {namesake.id}, which is not this tenant's: choose another name"
            )
    return vdc, group, max(other.id for other in groups)


def read_group(reader: Reader, gid: int) -> GroupRecord:
    """Read one group with its quotas."""
    return GroupRecord.parse(reader.read("one.group.info", gid))


def _refuse_foreign(
    reader: Reader, spec: VdcSpec, vdcs: Iterable[VdcRecord], vdc: VdcRecord | None, group: GroupRecord | None
) -> None:
    for what, ours in (("VDC", vdc), ("group", group)):
        if ours is not None and ours.name != spec.name:
            raise Conflict(
                f"the key {spec.key} is that of the tenant {ours.name} ({what} {ours.id}), and OpenNebula cannot "
                f"rename a group to {spec.name}"
            )
    if vdc is not None:
        return
    if taken := next((other for other in vdcs if other.name == spec.name), None):
        raise Conflict(
            f"the name {spec.name} is taken by VDC {taken.id}, which is not this tenant's: choose another name"
        )
    if group is not None:
        return
    # The name of the administrator account that a tenant can be given: better refused now than when it is needed.
    admin = f"{spec.name}_admin"
    users = OwnedRecord.pool(reader.read("one.userpool.info"), "USER")
    if user := next((user for user in users if user.name == admin), None):
        raise Conflict(
            f"the name {admin}, which the administrator of the tenant {spec.name} would have, is taken by user "
            f"{user.id}: choose another name"
        )


def _observe_places(reader: Reader, spec: VdcSpec) -> tuple[tuple[int, ...], QuotaScope]:
    """Find the clusters to use, and the datastores and networks that the limits hold on."""
    problems: list[str] = []
    known = {cluster.id: cluster for cluster in ClusterRecord.pool(reader.read("one.clusterpool.info"))}
    clusters = tuple(sorted(known)) if spec.clusters is None else spec.clusters
    problems.extend(f"clusters: there is no cluster {cluster}" for cluster in clusters if cluster not in known)
    datastores: tuple[int, ...] = ()
    if spec.storage_datastores is not None or counts_images(spec.quota, spec.storage_scope):
        images = _image_datastores(reader)
        if spec.storage_datastores is not None:
            datastores = spec.storage_datastores
            problems.extend(
                f"storage_datastores: {own} is no image datastore" for own in datastores if own not in images
            )
        elif not (datastores := _within(images, (known[cluster] for cluster in clusters if cluster in known))):
            problems.append(_NO_DATASTORE)
    for network in spec.external_networks:
        try:
            reader.read("one.vn.info", network, False)
        except NotFound:
            problems.append(f"external_networks: there is no network {network}")
    if problems:
        raise SettingsError(*problems)
    return clusters, QuotaScope(spec.storage_scope, datastores, spec.external_networks)


_NO_DATASTORE = "quota: there is no image datastore in the tenant's clusters for a limit of storage to hold on"


def counts_images(quota: Quota, storage: StorageScope) -> bool:
    """Whether a quota has limits that hold on image datastores."""
    return quota.images is not None or (quota.storage_mb is not None and storage is not StorageScope.DISKS)


def datastores_of(reader: Reader, vdc: VdcRecord) -> tuple[int, ...]:
    """The image datastores of a VDC's clusters.

    Raises:
        SettingsError: There are none.
    """
    held = {cluster for _, cluster in vdc.clusters}
    known = ClusterRecord.pool(reader.read("one.clusterpool.info"))
    within = (cluster for cluster in known if cluster.id in held or _EVERY_CLUSTER in held)
    if not (datastores := _within(_image_datastores(reader), within)):
        raise SettingsError(_NO_DATASTORE)
    return datastores


def _image_datastores(reader: Reader) -> frozenset[int]:
    stores = DatastoreRecord.pool(reader.read("one.datastorepool.info"))
    return frozenset(store.id for store in stores if store.holds_images)


def _within(datastores: frozenset[int], clusters: Iterable[ClusterRecord]) -> tuple[int, ...]:
    return tuple(sorted(datastores & {own for cluster in clusters for own in cluster.datastores}))


def scope_of(group: GroupRecord) -> QuotaScope:
    """Where a tenant's limits hold, as the mark of its group says.

    The datastores are those named there, or those that have a row where the tenant goes by its clusters.
    """
    template = group.template
    storage = template.get(STORAGE_SCOPE, "")
    scope = StorageScope(storage) if storage in set(StorageScope) else StorageScope.IMAGES
    datastores = _split(template.get(DATASTORES, ""))
    if goes_by_clusters(group):
        datastores = tuple(
            row.id for row in group.quotas if row.section == "DATASTORE" and row.id is not None and row.id >= 0
        )
    return QuotaScope(scope, datastores, _split(template.get(NETWORKS, "")))


def goes_by_clusters(group: GroupRecord) -> bool:
    """Whether a tenant's limits of storage hold on the datastores of its clusters, whichever these are."""
    return group.template.get(DATASTORES) == _CLUSTERS_OWN


def _joined(ids: tuple[int, ...]) -> str:
    return ",".join(map(str, ids)) or _NONE


def _split(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part.isdecimal())


def is_tenant(group: GroupRecord) -> bool:
    """Whether a group is a finished tenant's: one that is half removed names no VDC any more."""
    return ownership.is_marked(group.template, GROUP_ROLE) and group.template.get(VDC_ID, "").isdecimal()
