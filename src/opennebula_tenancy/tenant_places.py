"""Where a tenant is to be, and where its limits are to hold: clusters, datastores and networks that exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opennebula_tenancy._wire.records import ClusterRecord, DatastoreRecord
from opennebula_tenancy.errors import NotFound, SettingsError
from opennebula_tenancy.group_quota import QuotaScope
from opennebula_tenancy.vdc_spec import StorageScope


if TYPE_CHECKING:
    from collections.abc import Iterable

    from opennebula_tenancy._transport.rpc import Reader
    from opennebula_tenancy._wire.records import VdcRecord
    from opennebula_tenancy.quota import Quota
    from opennebula_tenancy.vdc_spec import VdcSpec


EVERY_CLUSTER = -10
"""The id that stands for all clusters in a VDC."""


def find_places(reader: Reader, spec: VdcSpec) -> tuple[tuple[int, ...], QuotaScope]:
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
    within = (cluster for cluster in known if cluster.id in held or EVERY_CLUSTER in held)
    if not (datastores := _within(_image_datastores(reader), within)):
        raise SettingsError(_NO_DATASTORE)
    return datastores


def _image_datastores(reader: Reader) -> frozenset[int]:
    stores = DatastoreRecord.pool(reader.read("one.datastorepool.info"))
    return frozenset(store.id for store in stores if store.holds_images)


def _within(datastores: frozenset[int], clusters: Iterable[ClusterRecord]) -> tuple[int, ...]:
    return tuple(sorted(datastores & {own for cluster in clusters for own in cluster.datastores}))
