"""`TenantState`: what OpenNebula has of a tenant, and how that differs from what is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy import rights, tenant_mark
from opennebula_tenancy._wire.acl import AclRule
from opennebula_tenancy.admin_state import observe_admin
from opennebula_tenancy.difference import Difference, Kind
from opennebula_tenancy.errors import Conflict, NotEmpty, PoolExhausted, SettingsError
from opennebula_tenancy.group_quota import GroupQuota
from opennebula_tenancy.network_calls import read_networks
from opennebula_tenancy.networking_search import find_networking, plan_networking
from opennebula_tenancy.plan import Change, Plan
from opennebula_tenancy.tenant_places import EVERY_CLUSTER, find_places
from opennebula_tenancy.tenant_search import DEFAULT_VDC, find_tenant, is_finished


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opennebula_tenancy._transport.rpc import Reader
    from opennebula_tenancy._wire.records import GroupRecord, VdcRecord
    from opennebula_tenancy.admin_state import AdminState
    from opennebula_tenancy.group_quota import QuotaScope
    from opennebula_tenancy.networking import Networking
    from opennebula_tenancy.tenant_search import Found
    from opennebula_tenancy.vdc_spec import VdcSpec


_LOOKS = 3
"""How often a tenant is looked at before it is refused for what is there; twice where that is the same."""
_REFUSALS = (Conflict, SettingsError, NotEmpty, PoolExhausted)


@attrs.frozen(kw_only=True)
class TenantState:
    """What OpenNebula has of the tenant that a spec asks for.

    Attributes:
        spec: What is asked for, with the limits that are to be carried to places where they did not hold before.
        vdc: Its VDC, if there is one.
        group: Its group, if there is one.
        in_default_vdc: Whether the group is in VDC 0.
        rules: The rules that speak of the group.
        clusters: The ids of the clusters it is to have.
        scope: Where its limits are to hold.
        networking: Its network, router and rules.
        admin: Its administrator account; None where it is left as it is.
        last_group: The highest id of a group that is there, or that its VDC was bound to; -1 when not all were read.
    """

    spec: VdcSpec
    vdc: VdcRecord | None
    group: GroupRecord | None
    in_default_vdc: bool
    rules: tuple[AclRule, ...]
    clusters: tuple[int, ...]
    scope: QuotaScope
    networking: Networking
    admin: AdminState | None
    last_group: int

    @property
    def complete(self) -> bool:
        """Whether the tenant was once finished: the mark is the last thing that is made."""
        return self.group is not None and is_finished(self.group, self.spec.key)

    @property
    def is_begun(self) -> bool:
        """Whether a run has begun something that was never finished: the tenant, or a network for it."""
        if self.group is not None and self.complete:
            return tenant_mark.networking_of(self.group) is None
        return self.vdc is not None

    @property
    def quota(self) -> GroupQuota:
        """The group's quotas; those of a new group when there is none."""
        if self.group is None:
            return GroupQuota((), self.scope)
        return _quota(self.group, self.scope, self.spec)

    def differences(self) -> list[Difference]:
        """What is to be mended, in order."""
        found = [
            *self._differences(),
            *self.networking.differences(),
            *(self.admin.differences() if self.admin else ()),
        ]
        if not self._is_marked():
            its_group = f"group {self.group.id if self.group else self.spec.name}"
            found.append(Difference(Kind.MARK, Change("set", f"mark of {its_group}", "", self.spec.key)))
        return sorted(found, key=lambda difference: difference.kind.value)

    def _differences(self) -> Iterator[Difference]:
        name = self.spec.name
        vdc, group = self.vdc, self.group
        its_group = f"group {group.id}" if group else f"group {name}"
        its_vdc = f"VDC {vdc.id}" if vdc else f"VDC {name}"
        if vdc is None:
            yield Difference(Kind.VDC, Change("create", its_vdc))
        elif vdc.name != name:
            yield Difference(Kind.VDC_NAME, Change("set", f"name of {its_vdc}", vdc.name, name))
        if group is None:
            yield Difference(Kind.GROUP, Change("create", its_group))
        if vdc is None or group is None or not tenant_mark.is_bound_to(vdc, group.id):
            yield Difference(Kind.BINDING, Change("set", f"group of {its_vdc}", "", its_group))
        if vdc is None or group is None or group.id not in vdc.groups:
            yield Difference(Kind.MEMBERSHIP, Change("add", f"{its_group} to {its_vdc}"))
        if group is None or self.in_default_vdc:
            yield Difference(Kind.DEFAULT_VDC, Change("remove", f"{its_group} from VDC {DEFAULT_VDC} (default)"))
        yield from self._cluster_differences(its_vdc)
        if group is None or rights.excess(self.rules):
            seen = "; ".join(map(str, rights.excess(self.rules)))
            yield Difference(Kind.NETWORK_RULES, Change("remove", f"use of networks of others by {its_group}", seen))
        if group is None or not rights.is_covered(self.rules, rights.grant(group.id)):
            yield Difference(Kind.CREATE_RULE, Change("add", f"right of {its_group} to create"))
        if self.spec.network is not None and not self._may_use_security_group():
            what = f"right of {its_group} to use security group {name}_default"
            yield Difference(Kind.SECURITY_GROUP_RIGHT, Change("add", what))
        for change in self.quota.changes(self.spec.quota):
            yield Difference(Kind.LIMITS, change)

    def _may_use_security_group(self) -> bool:
        group, held = self.group, self.networking.security_group
        if group is None or held is None:
            return False
        return rights.is_covered(self.rules, rights.use_of_security_group(group.id, held.id, self.spec.zone))

    @property
    def mark(self) -> Mapping[str, str]:
        """What the group is marked with when the tenant is finished."""
        networking = self.networking
        ids = tenant_mark.NetworkingIds()
        if self.spec.network is not None:
            held = (networking.network, networking.security_group, networking.router)
            ids = tenant_mark.NetworkingIds(*(None if item is None else item.id for item in held))
        return tenant_mark.of_group(self.spec, self.vdc.id if self.vdc else -1, self.scope, ids)

    def _is_marked(self) -> bool:
        if self.vdc is None or self.group is None:
            return False
        return self.mark.items() <= self.group.template.items()

    def _cluster_differences(self, its_vdc: str) -> Iterator[Difference]:
        wanted = {(self.spec.zone, cluster) for cluster in self.clusters}
        held = self.vdc.clusters if self.vdc else frozenset()
        for _, cluster in sorted(wanted - held):
            yield Difference(Kind.CLUSTER, Change("add", f"cluster {cluster} to {its_vdc}"), cluster)
        for zone, cluster in sorted(held - wanted):
            if zone == self.spec.zone:
                what = "all clusters" if cluster == EVERY_CLUSTER else f"cluster {cluster}"
                yield Difference(Kind.CLUSTER_TOO_MANY, Change("remove", f"{what} from {its_vdc}"), cluster)

    def plan(self) -> Plan:
        """The differences as a plan, with what an operator should know besides."""
        changes = tuple(difference.change for difference in self.differences())
        return Plan(self.spec.name, changes, (*self._notes(), *self.networking.notes()))

    def _notes(self) -> Iterator[str]:
        stores = self.scope.datastores
        if self.spec.quota.storage_mb is not None and len(stores) > 1 and self.spec.storage_datastores is None:
            yield (
                f"the storage limit holds on each of the datastores {', '.join(map(str, stores))} for itself: "
                "OpenNebula has no common one; name one in storage_datastores"
            )
        if self.vdc and self.group and (others := self.vdc.groups - {self.group.id}):
            yield f"VDC {self.vdc.id} gives what it has to the groups {', '.join(map(str, sorted(others)))} too"
        for rule in rights.suspicious(self.rules):
            yield f"rule {rule.id} ({rule}) opens networks among other things, and is not ours to remove"


def observe(reader: Reader, spec: VdcSpec) -> TenantState:
    """Look at everything that a tenant is made of.

    The calls of one look are not one moment: where another run for the tenant goes on between them, what it makes may
    seem to be somebody else's, or to be in the way. So what is to be refused is looked at again.

    Args:
        reader: Reads from OpenNebula.
        spec: The tenant asked for.

    Returns:
        What is there.

    Raises:
        Conflict: Objects that are not ours stand where the tenant's would.
        SettingsError: The spec names clusters, datastores or networks that do not exist; all at once.
        NotEmpty: The tenant is to have no network any more, and machines are attached to the one that it has.
        PoolExhausted: There is no subnet for the tenant's network.
        DuplicateObject: More than one object carries the key.
        NotAuthorized: The account does not see everything.
    """
    said = ""
    for _ in range(_LOOKS - 1):
        try:
            return _observe(reader, spec)
        except _REFUSALS as error:
            if str(error) == said:
                raise
            said = str(error)
    return _observe(reader, spec)


def _observe(reader: Reader, spec: VdcSpec) -> TenantState:
    found = find_tenant(reader, spec.key, spec.name)
    _refuse_foreign(spec, found)
    group = found.group
    is_new = found.vdc is None and group is None
    finished = group if group is not None and is_finished(group, spec.key) else None
    seen = find_networking(reader, spec.name, spec.key, finished, is_new=is_new)
    networks = seen.networks
    if networks is None and spec.network is not None and seen.held.network is None:
        networks = read_networks(reader)
    known = None if networks is None else frozenset(network.id for network in networks)
    limited = tenant_mark.limited_datastores(finished) if finished else ()
    clusters, scope, problems = find_places(reader, spec, known, limited)
    held = {network for _, network in found.vdc.networks} if found.vdc else set()
    networking, more = plan_networking(reader, spec, attrs.evolve(seen, networks=networks), clusters, held)
    if problems or more:
        raise SettingsError(*problems, *more)
    if group is not None:
        spec = attrs.evolve(spec, quota=_quota(group, scope, spec).completed(spec.quota))
    rules = AclRule.list_of(reader.read("one.acl.info")) if group else ()
    default = next(vdc for vdc in found.vdcs if vdc.id == DEFAULT_VDC)
    return TenantState(
        spec=spec,
        vdc=found.vdc,
        group=group,
        in_default_vdc=group is not None and group.id in default.groups,
        rules=rights.of_group(rules, group.id) if group else (),
        clusters=clusters,
        scope=scope,
        networking=networking,
        admin=observe_account(reader, spec, group),
        last_group=found.last_group,
    )


def _quota(group: GroupRecord, scope: QuotaScope, spec: VdcSpec) -> GroupQuota:
    """The quotas of a tenant's group, with an eye to where its limits held until now."""
    if not is_finished(group, spec.key):
        return GroupQuota(group.quotas, scope)
    former = tenant_mark.scope_of(group)
    if spec.storage_datastores is None and tenant_mark.goes_by_clusters(group) and not scope.datastores:
        former = attrs.evolve(former, datastores=())  # no limit of ours: those that have a row are somebody else's
    return GroupQuota(group.quotas, scope, former)


def observe_account(reader: Reader, spec: VdcSpec, group: GroupRecord | None) -> AdminState | None:
    """Look for the administrator account of a tenant, where the spec speaks of one."""
    return None if spec.admin is None else observe_admin(reader, spec.name, group, wanted=spec.admin)


def _refuse_foreign(spec: VdcSpec, found: Found) -> None:
    vdc, group = found.vdc, found.group
    if group is not None and group.name != spec.name:
        raise Conflict(
            f"the key {spec.key} is that of the tenant {group.name} (group {group.id}), and OpenNebula cannot rename a "
            f"group to {spec.name}"
        )
    if group is None and vdc is not None and vdc.name != spec.name:
        raise Conflict(
            f"the key {spec.key} is that of the tenant {vdc.name} (VDC {vdc.id}), which has no group yet: finish it "
            f"under that name, or delete it, before you ask for {spec.name}"
        )
    if vdc is not None and vdc.name == spec.name:
        return
    if taken := next((vdc for vdc in found.vdcs if vdc.name == spec.name), None):
        raise Conflict(
            f"the name {spec.name} is taken by VDC {taken.id}, which is not this tenant's: choose another name"
        )
