"""What is written on a tenant's group and VDC besides its key, and read from there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy import ownership
from opennebula_tenancy.group_quota import QuotaScope
from opennebula_tenancy.vdc_spec import StorageScope


if TYPE_CHECKING:
    from collections.abc import Mapping

    from opennebula_tenancy._wire.records import GroupRecord, VdcRecord
    from opennebula_tenancy.vdc_spec import VdcSpec


VDC_ROLE = "vdc"
GROUP_ROLE = "group"
GROUP_ID = "TENANCY_GROUP_ID"
"""On the VDC: the id of the tenant's group, from the moment that it is known."""
GROUP_AFTER = "TENANCY_GROUP_AFTER"
"""On the VDC, until then: the highest id of a group when it was made. The tenant's own group has a higher one."""
_BOUND = "bound"
RETREAT = "TENANCY_RETREAT"
"""On the VDC: whether a run is taking back what it made for the tenant at this moment."""
VDC_ID = "TENANCY_VDC_ID"
STORAGE_SCOPE = "TENANCY_STORAGE_SCOPE"
DATASTORES = "TENANCY_DATASTORES"
NETWORKS = "TENANCY_EXTERNAL_NETWORKS"
NETWORK_ID = "TENANCY_NETWORK_ID"
SECURITY_GROUP_ID = "TENANCY_SECURITY_GROUP_ID"
ROUTER_ID = "TENANCY_ROUTER_ID"
_CLUSTERS_OWN = "clusters"
_NONE = "none"


def of_vdc(spec: VdcSpec, *, group_id: int | None, last_group: int) -> Mapping[str, str]:
    """What a VDC is made with.

    Args:
        spec: The tenant.
        group_id: The id of its group, if it has one.
        last_group: The highest id of a group at the moment.
    """
    group = claim(last_group) if group_id is None else bound_to(group_id)
    return {"NAME": spec.name, **ownership.mark(spec.key, VDC_ROLE), **group}


def bound_to(group_id: int) -> Mapping[str, str]:
    """What a VDC gets when the id of its group is known: from then on it claims no other."""
    return {GROUP_ID: str(group_id), GROUP_AFTER: _BOUND}


UNBOUND: Mapping[str, str] = {GROUP_ID: _NONE, GROUP_AFTER: _BOUND}
"""What a VDC gets that shall have no group, and claim none."""


RETREATING: Mapping[str, str] = {RETREAT: "yes"}
"""What a VDC gets when a run begins to take back what it made."""
RETREATED: Mapping[str, str] = {RETREAT: "no"}
"""What a VDC gets when that run has ended."""


def claim(last_group: int) -> Mapping[str, str]:
    """What a VDC gets before a new group is made for it.

    Nothing else: another run may have bound the VDC meanwhile, and that is not to be undone.
    """
    return {GROUP_AFTER: str(last_group)}


def bound_group(vdc: VdcRecord) -> int | None:
    """The id of the group that a VDC is bound to, None when it is not yet. The group may be gone."""
    return _read(vdc.template.get(GROUP_ID, ""))


def claimed_after(vdc: VdcRecord) -> int | None:
    """The highest id of a group when one was about to be made for a VDC, None when none is."""
    return _read(vdc.template.get(GROUP_AFTER, ""))


def is_bound_to(vdc: VdcRecord, group_id: int) -> bool:
    """Whether a VDC is bound to a group, and claims no other."""
    return bound_to(group_id).items() <= vdc.template.items()


@attrs.frozen
class NetworkingIds:
    """The ids of a tenant's network, security group and router; None where it has none."""

    network: int | None = None
    security_group: int | None = None
    router: int | None = None


def of_group(spec: VdcSpec, vdc_id: int, scope: QuotaScope, networking: NetworkingIds) -> Mapping[str, str]:
    """What a group is marked with when its tenant is finished."""
    return {
        **ownership.mark(spec.key, GROUP_ROLE),
        VDC_ID: str(vdc_id),
        STORAGE_SCOPE: spec.storage_scope.value,
        **of_datastores(scope.datastores, by_clusters=spec.storage_datastores is None),
        NETWORKS: _joined(spec.floating_ip_networks),
        NETWORK_ID: _shown(networking.network),
        SECURITY_GROUP_ID: _shown(networking.security_group),
        ROUTER_ID: _shown(networking.router),
    }


def of_datastores(datastores: tuple[int, ...], *, by_clusters: bool) -> Mapping[str, str]:
    """What a group is marked with where limits of storage hold: `clusters,1,100` where these are its clusters' own.

    Which these are at the moment that the limits are set is written down, since OpenNebula keeps the rows of datastores
    that leave the clusters, or are deleted.
    """
    own = [_CLUSTERS_OWN, *map(str, sorted(datastores))]
    return {DATASTORES: ",".join(own) if by_clusters else _joined(datastores)}


UNSETTLED: Mapping[str, str] = {NETWORK_ID: "unsettled"}
"""What a finished tenant's group gets before a network is made for it, or its network is removed: from then on it is
looked for, and not known to be whole."""


def networking_of(group: GroupRecord) -> NetworkingIds | None:
    """The ids of a tenant's network, security group and router, as the mark of its group says.

    Whoever goes by them has to see on the objects themselves that they are the tenant's.

    Returns:
        The ids, or None where one has to look for the objects.
    """
    if UNSETTLED.items() <= group.template.items():
        return None
    return NetworkingIds(
        *(_read(group.template.get(name, "")) for name in (NETWORK_ID, SECURITY_GROUP_ID, ROUTER_ID)),
    )


def is_tenant(group: GroupRecord) -> bool:
    """Whether a group is a finished tenant's."""
    return ownership.is_marked(group.template, GROUP_ROLE) and group.template.get(VDC_ID, "").isdecimal()


def scope_of(group: GroupRecord) -> QuotaScope:
    """Where a tenant's limits hold, as the mark of its group says.

    The datastores are those written there; where none is, and the tenant goes by its clusters, those that have a row.
    """
    template = group.template
    storage = template.get(STORAGE_SCOPE, "")
    scope = StorageScope(storage) if storage in set(StorageScope) else StorageScope.IMAGES
    datastores = limited_datastores(group)
    if goes_by_clusters(group) and not datastores:
        datastores = tuple(
            row.id for row in group.quotas if row.section == "DATASTORE" and row.id is not None and row.id >= 0
        )
    return QuotaScope(scope, datastores, _split(template.get(NETWORKS, "")))


def goes_by_clusters(group: GroupRecord) -> bool:
    """Whether a tenant's limits of storage hold on the datastores of its clusters, whichever these are."""
    return group.template.get(DATASTORES, "").partition(",")[0] == _CLUSTERS_OWN


def limited_datastores(group: GroupRecord) -> tuple[int, ...]:
    """The datastores that limits of storage were set on, as the mark of a tenant's group says."""
    return _split(group.template.get(DATASTORES, ""))


def _joined(ids: tuple[int, ...]) -> str:
    return ",".join(map(str, sorted(ids))) or _NONE


def _shown(ident: int | None) -> str:
    return _NONE if ident is None else str(ident)


def _read(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _split(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part.isdecimal())
