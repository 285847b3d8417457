"""`VdcSpec`: a tenant as it is asked for."""

from __future__ import annotations

import enum
import uuid
from typing import TYPE_CHECKING, cast

import attrs

from opennebula_tenancy._wire.names import Kind, name_problem
from opennebula_tenancy.admin_mark import admin_name
from opennebula_tenancy.errors import SettingsError
from opennebula_tenancy.ids import id_problems
from opennebula_tenancy.ownership import key_problem
from opennebula_tenancy.quota import Quota


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opennebula_tenancy.network_spec import NetworkSpec


class StorageScope(enum.StrEnum):
    """What counts as storage."""

    IMAGES = "images"
    """The images that the tenant owns (DATASTORE/SIZE). The disks of its virtual machines are not counted."""
    DISKS = "disks"
    """The disks of its virtual machines on system datastores (VM/SYSTEM_DISK_SIZE). Its images are not counted."""
    BOTH = "both"
    """Both: each is limited to the same figure, and usage is their sum."""


def _ids(values: Iterable[int] | None) -> tuple[int, ...] | None:
    return None if values is None else tuple(values)


def _some_ids(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(values)


def _scope(value: StorageScope | str) -> StorageScope:
    """The scope of that name; what names none is held until all problems can be named at once."""
    return StorageScope(value) if value in set(StorageScope) else cast("StorageScope", value)


@attrs.frozen(kw_only=True)
class VdcSpec:
    """A tenant as it is asked for: a group in a VDC of its own, with limits.

    Attributes:
        name: The name of the group and of the VDC: up to 128 bytes, no spaces.
        key: The idempotency key: `ensure` with the same key works on the same tenant, whatever happened before. Made
            up when omitted, so that the same `VdcSpec` value can be used again.
        quota: The limits. What is not named stays as it is: on the cloud's default, for a new tenant.
        clusters: The ids of the clusters that the tenant may use; all that the cloud has when None.
        zone: The id of the zone that the clusters are in.
        external_networks: The ids of the networks whose leases count as floating IPs; that of `network` when empty. A
            limit of `floating_ips` holds on each of them.
        storage_scope: What counts as storage.
        storage_datastores: The ids of the image datastores that limits of storage and images hold on; those of the
            clusters when None. OpenNebula has no common limit: it holds on each of them.
        network: The network and the router that the tenant is to have; none when None: one that it has is removed.
        admin: Whether the tenant is to have an administrator account, `NAME_admin`. When None, one that it has stays.

    Raises:
        SettingsError: A value cannot be; all problems at once.
    """

    name: str
    key: str = attrs.field(factory=lambda: uuid.uuid4().hex)
    quota: Quota = attrs.field(factory=Quota)
    clusters: tuple[int, ...] | None = attrs.field(default=None, converter=_ids)
    zone: int = 0
    external_networks: tuple[int, ...] = attrs.field(default=(), converter=_some_ids)
    storage_scope: StorageScope = attrs.field(default=StorageScope.IMAGES, converter=_scope)
    storage_datastores: tuple[int, ...] | None = attrs.field(default=None, converter=_ids)
    network: NetworkSpec | None = None
    admin: bool | None = None

    def __attrs_post_init__(self) -> None:
        problems = [problem for problem in (name_problem(Kind.GROUP, self.name), key_problem(self.key)) if problem]
        if not problems and self.network is not None:
            names = ((Kind.NETWORK, self.network_name), (Kind.VM, self.network.machine_names(self.name)[-1]))
            problems.extend(problem for kind, name in names if (problem := name_problem(kind, name)))
        if self.admin and not problems and (problem := name_problem(Kind.USER, admin_name(self.name))):
            problems.append(problem)
        if self.clusters == ():
            problems.append("clusters: a tenant without a cluster can run nothing; None means all of them")
        problems.extend(id_problems("clusters", self.clusters or ()))
        problems.extend(id_problems("zone", (self.zone,)))
        problems.extend(id_problems("external_networks", self.external_networks))
        problems.extend(id_problems("storage_datastores", self.storage_datastores or ()))
        if self.storage_scope not in set(StorageScope):
            problems.append(f"storage_scope: {self.storage_scope!r} is not one of {', '.join(StorageScope)}")
        problems.extend(scope_problems(self.quota, self.storage_scope, self.floating_ip_networks))
        if problems:
            raise SettingsError(*problems)

    @property
    def network_name(self) -> str:
        """What its network is called."""
        return f"{self.name}_internal"

    @property
    def floating_ip_networks(self) -> tuple[int, ...]:
        """The ids of the networks whose leases count as floating IPs."""
        if self.external_networks or self.network is None:
            return self.external_networks
        return (self.network.external_network,)


def scope_problems(quota: Quota, scope: StorageScope, external_networks: tuple[int, ...]) -> Iterator[str]:
    """Say which limits of a quota could not be enforced on a tenant.

    Args:
        quota: The limits.
        scope: What counts as the tenant's storage.
        external_networks: The networks whose leases count as the tenant's floating IPs.

    Yields:
        One sentence for each such limit.
    """
    if quota.floating_ips is not None and not external_networks:
        yield "quota.floating_ips: no external network is named, and a limit on no network limits nothing"
    if scope is not StorageScope.IMAGES and quota.storage_mb is not None and quota.system_disk_mb is not None:
        yield f"quota.system_disk_mb: with the storage scope {scope} storage_mb sets the same limit"
