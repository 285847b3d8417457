"""Where a tenant is to be, and where its limits are to hold: clusters, datastores and networks that exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opennebula_tenancy._wire.records import ClusterRecord, DatastoreRecord, number_in, parse
from opennebula_tenancy.errors import NotFound, SettingsError
from opennebula_tenancy.group_quota import QuotaScope
from opennebula_tenancy.vdc_spec import StorageScope


if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from opennebula_tenancy._transport.rpc import Reader
    from opennebula_tenancy._wire.records import VdcRecord
    from opennebula_tenancy.quota import Quota
    from opennebula_tenancy.vdc_spec import VdcSpec


_FIRST_ZONE = 0
"""The zone that there always is: an OpenNebula without a federation has no other."""
EVERY_CLUSTER = -10
"""The id that stands for all clusters in a VDC."""


def find_places(
    reader: Reader, spec: VdcSpec, networks: Collection[int] | None = None, limited: tuple[int, ...] = ()
) -> tuple[tuple[int, ...], QuotaScope, tuple[str, ...]]:
    """Find the clusters to use, and the datastores and networks that the limits hold on.

    Args:
        reader: Reads from OpenNebula.
        spec: The tenant.
        networks: The ids of all networks, where they are known already.
        limited: The ids of the image datastores that the tenant's limits hold on until now.

    Returns:
        The ids of the clusters, where the limits hold, and what in the spec does not exist, a sentence each.
    """
    problems: list[str] = []
    if spec.zone != _FIRST_ZONE and not _is_zone(reader, spec.zone):
        problems.append(f"zone: there is no zone {spec.zone}")
    counts = counts_images(spec.quota, spec.storage_scope)
    # Those that hold already are to hold on what datastores there are now, whether or not the quota names them.
    limits_images = counts or bool(limited) or spec.storage_datastores is not None
    stores = DatastoreRecord.pool(reader.read("one.datastorepool.info")) if limits_images else ()
    # Where the datastores show that there are all the clusters asked for, these need not be read.
    known = frozenset(cluster for store in stores for cluster in store.clusters)
    if spec.clusters is None or not known.issuperset(spec.clusters):
        known = frozenset(cluster.id for cluster in ClusterRecord.pool(reader.read("one.clusterpool.info")))
    clusters = tuple(sorted(known)) if spec.clusters is None else spec.clusters
    problems.extend(f"clusters: there is no cluster {cluster}" for cluster in clusters if cluster not in known)
    datastores: tuple[int, ...] = ()
    if spec.storage_datastores is not None:
        datastores = spec.storage_datastores
        images = {store.id for store in stores if store.holds_images}
        problems.extend(f"storage_datastores: {own} is no image datastore" for own in datastores if own not in images)
    elif limits_images:
        datastores = _within(stores, clusters)
        if counts and not datastores:
            problems.append(_NO_DATASTORE)
        datastores = datastores or limited
    problems.extend(
        f"external_networks: there is no network {network}"
        for network in spec.external_networks
        if not _is_network(reader, network, networks)
    )
    return clusters, QuotaScope(spec.storage_scope, datastores, spec.floating_ip_networks), tuple(problems)


def _is_zone(reader: Reader, ident: int) -> bool:
    zones = parse(reader.read("one.zonepool.info"), "ZONE_POOL").iterfind("ZONE")
    return any(number_in(zone, "ID") == ident for zone in zones)


def _is_network(reader: Reader, ident: int, known: Collection[int] | None) -> bool:
    if known is not None:
        return ident in known
    try:
        reader.read("one.vn.info", ident, False)
    except NotFound:
        return False
    return True


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
    stores = DatastoreRecord.pool(reader.read("one.datastorepool.info"))
    within = {cluster for store in stores for cluster in store.clusters} if EVERY_CLUSTER in held else held
    if not (datastores := _within(stores, within)):
        raise SettingsError(_NO_DATASTORE)
    return datastores


def _within(stores: Iterable[DatastoreRecord], clusters: Collection[int]) -> tuple[int, ...]:
    """The image datastores of some clusters."""
    return tuple(sorted(store.id for store in stores if store.holds_images and store.clusters & set(clusters)))
