"""`Vdcs`: the tenants of a cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy import ownership
from opennebula_tenancy.admins import Admins
from opennebula_tenancy.errors import Conflict, SettingsError, VerificationFailed
from opennebula_tenancy.floating_ip import FloatingIp, FloatingIps
from opennebula_tenancy.group_quota import GroupQuota
from opennebula_tenancy.network import Network
from opennebula_tenancy.network_calls import read_networks, rules_of
from opennebula_tenancy.networking_removal import GONE_S
from opennebula_tenancy.networking_search import find_networking, taken
from opennebula_tenancy.router import Router
from opennebula_tenancy.tenant_calls import TenantCalls
from opennebula_tenancy.tenant_mark import VDC_ID, goes_by_clusters, is_tenant, of_datastores, scope_of
from opennebula_tenancy.tenant_places import counts_images, datastores_of
from opennebula_tenancy.tenant_removal import remove_tenant
from opennebula_tenancy.tenant_search import read_group, read_groups
from opennebula_tenancy.tenant_state import observe
from opennebula_tenancy.tenant_work import TenantWork
from opennebula_tenancy.turns import Turns
from opennebula_tenancy.vdc import Vdc
from opennebula_tenancy.vdc_figures import VdcFigures, missing_parts
from opennebula_tenancy.vdc_spec import scope_problems


if TYPE_CHECKING:
    from opennebula_tenancy._transport.rpc import Rpc
    from opennebula_tenancy._wire.records import GroupRecord
    from opennebula_tenancy.admin_credentials import CredentialSource
    from opennebula_tenancy.networking import Networking
    from opennebula_tenancy.plan import Plan, Progress
    from opennebula_tenancy.quota import Quota, Usage
    from opennebula_tenancy.security_rule import SecurityRule
    from opennebula_tenancy.subnets import SubnetPool, Utilisation
    from opennebula_tenancy.vdc_spec import VdcSpec


class Vdcs:
    """The tenants of a cloud, as `Cloud.vdcs`. Thread safe: one tenant is worked on by one thread at a time."""

    def __init__(self, rpc: Rpc, source: CredentialSource) -> None:
        self._rpc = rpc
        self._source = source
        self._turns = Turns()
        self._admins = Admins(rpc, source, self._turns.take)

    def plan(self, spec: VdcSpec) -> Plan:
        """Say what `ensure` would change. Reads only.

        Args:
            spec: The tenant asked for.

        Returns:
            The changes; falsy when there are none.

        Raises:
            Conflict: Objects that are not ours stand where the tenant's would.
            SettingsError: The spec names clusters, datastores or networks that do not exist.
        """
        return observe(self._rpc, spec).plan()

    def ensure(self, spec: VdcSpec, *, progress: Progress | None = None) -> Vdc:
        """Make a tenant what a spec asks for, from whatever state it is in, and verify it.

        What is as asked already is not touched: a second run changes nothing. A run that was interrupted is taken up
        where it stopped. When it fails, a tenant that was never finished is removed again.

        Args:
            spec: The tenant asked for; `VdcSpec.key` says which one it is.
            progress: Told of each step as it begins.

        Returns:
            The tenant.

        Raises:
            Conflict: Objects that are not ours stand where the tenant's would; nothing was changed.
            SettingsError: The spec names what does not exist; nothing was changed.
            ApiError: OpenNebula refused a call; what this run made is gone again.
            TransportError: OpenNebula could not be reached for as long as calls are retried.
            VerificationFailed: All calls were accepted, and the tenant is not what was asked for.
            RollbackIncomplete: One of these, and something is left behind: it says what.
        """
        work = TenantWork(self._rpc, spec, self._source, progress)
        with self._turns.take(spec.key):
            state = work.ensure()
        if state.group is None or state.vdc is None:  # pragma: no cover  # a state without differences has both
            raise VerificationFailed(f"{spec.name} is not there")
        admin = self._admins.of(state.group, work.credentials)
        return Vdc(state.group.id, state.vdc.id, spec.name, spec.key, self, admin)

    def ensure_admin(self, group_id: int) -> Vdc:
        """Make the administrator account of a tenant that has none, or not the whole of one, and touch nothing else.

        Args:
            group_id: The id of the tenant's group.

        Returns:
            The tenant, with its account.

        Raises:
            NotFound: There is no such group.
            Conflict: The group is not a tenant of this library, or the account's name is taken; nothing was changed.
            ApiError: OpenNebula refused a call; what this run made is gone again.
            TransportError: OpenNebula could not be reached for as long as calls are retried.
            VerificationFailed: All calls were accepted, and the account is not what it is to be.
            RollbackIncomplete: One of these, and something is left behind: it says what.
        """
        group = self._tenant(group_id)
        return attrs.evolve(self._vdc(group), admin=self._admins.ensure(group))

    def get(self, group_id: int) -> Vdc:
        """Get a tenant by the id of its group.

        Args:
            group_id: The id.

        Returns:
            The tenant.

        Raises:
            NotFound: There is no such group.
            Conflict: The group is not a tenant of this library.
        """
        return self._vdc(self._tenant(group_id))

    def find(self, name: str) -> Vdc | None:
        """Find a tenant by its name; None when there is none. A group of that name without a key is none."""
        return next((vdc for vdc in self.list() if vdc.name == name), None)

    def find_key(self, key: str) -> Vdc | None:
        """Find a tenant by its key; None when there is none, or none that was finished."""
        return next((vdc for vdc in self.list() if vdc.key == key), None)

    def list(self) -> tuple[Vdc, ...]:
        """All tenants, by the id of their groups. One call."""
        return tuple(self._vdc(group) for group in self._tenants())

    def usage(self) -> dict[int, Usage]:
        """What every tenant uses at this moment, by the id of its group; zeros included. One call."""
        return {group.id: GroupQuota(group.quotas, scope_of(group)).usage() for group in self._tenants()}

    def figures(self) -> dict[int, VdcFigures]:
        """What every tenant uses and may use at this moment, by the id of its group. One call."""
        found = {}
        for group in self._tenants():
            quota = GroupQuota(group.quotas, scope_of(group))
            found[group.id] = VdcFigures(
                group.template[ownership.KEY],
                quota.usage(),
                quota.quota(),
                self._admins.derived(group),
                quota.unlimited_datastores(),
                missing_parts(group),
            )
        return found

    def usage_of(self, group_id: int) -> Usage:
        """What one tenant uses at this moment.

        Raises:
            NotFound: There is no such group.
            Conflict: The group is not a tenant of this library.
        """
        group = self._tenant(group_id)
        return GroupQuota(group.quotas, scope_of(group)).usage()

    def quota(self, group_id: int) -> Quota:
        """The limits that OpenNebula has for one tenant: every one that has a place where it holds.

        Raises:
            NotFound: There is no such group.
            Conflict: The group is not a tenant of this library.
        """
        group = self._tenant(group_id)
        return GroupQuota(group.quotas, scope_of(group)).quota()

    def set_quota(self, group_id: int, quota: Quota) -> Quota:
        """Change limits of one tenant; see `Vdc.set_quota`."""
        with self._turns.take(self._tenant(group_id).template[ownership.KEY]):
            # Read again now that it is our turn: blocks are written whole, and none may go back to an older state.
            return self._set_quota(self._tenant(group_id), quota)

    def _set_quota(self, group: GroupRecord, quota: Quota) -> Quota:
        scope = former = scope_of(group)
        if problems := tuple(scope_problems(quota, scope.storage, scope.networks)):
            raise SettingsError(*problems)
        calls, mark = TenantCalls(self._rpc), {}
        if counts_images(quota, scope.storage) and goes_by_clusters(group):
            vdc = calls.vdc(self._vdc(group).vdc_id)
            scope = attrs.evolve(scope, datastores=datastores_of(self._rpc, vdc))
            mark = {**of_datastores(scope.datastores, by_clusters=True)}
        before = GroupQuota(group.quotas, scope, former)
        wanted = before.completed(quota)
        if before.changes(wanted):
            calls.set_limits(group.id, before, wanted)
        elif mark.items() <= group.template.items():
            return before.quota()
        # Only then: who reads the limits meanwhile reads them where they were.
        if not mark.items() <= group.template.items():
            calls.mark_group(group.id, mark)
        group = self._tenant(group.id)
        left = [str(change) for change in before.with_rows(group.quotas).changes(wanted)]
        left += [f"set {name} of the group" for name, value in mark.items() if group.template.get(name) != value]
        if wrong := "; ".join(left):
            raise VerificationFailed(f"OpenNebula accepted the limits of {group.name}, yet would still: {wrong}")
        return GroupQuota(group.quotas, scope_of(group)).quota()

    def delete(
        self,
        group_id: int | None = None,
        *,
        key: str,
        progress: Progress | None = None,
        terminate_vms: bool = False,
        timeout_s: float = GONE_S,
    ) -> None:
        """Remove a tenant, finished or not, and make sure that it is gone. It being gone already is a success.

        Args:
            group_id: The id that its group is known by, if it is.
            key: The tenant's key.
            progress: Told of each step as it begins.
            terminate_vms: Whether to terminate the tenant's machines, which loses their disks. The removal is refused
                while there are any if not.
            timeout_s: How many seconds each machine and network may take to go away.

        Raises:
            Conflict: That group does not carry the key; nothing was removed.
            NotEmpty: The tenant still has members or objects of theirs; nothing was removed.
            WaitTimeout: Something is still there after its time; a later call goes on from there.
        """
        with self._turns.take(key):
            remove_tenant(self._rpc, key, group_id, progress, terminate_vms=terminate_vms, timeout_s=timeout_s)

    def network(self, vdc: Vdc) -> Network | None:
        """Read the network of a tenant; None when it has none. See `Vdc.network`."""
        held = self._networking(vdc)
        return None if held.network is None else Network.of(held.network)

    def router(self, vdc: Vdc) -> Router | None:
        """Read the virtual router of a tenant; None when it has none. See `Vdc.router`."""
        held = self._networking(vdc)
        if held.network is None or not held.routers:
            return None
        return Router.of(held.routers[0], held.machines, held.network.id)

    def security_rules(self, vdc: Vdc) -> tuple[SecurityRule, ...]:
        """Read the security rules of a tenant's network; none when it has no network."""
        group = self._networking(vdc).security_group
        return () if group is None else tuple(sorted(rules_of(group), key=str))

    def floating_ips(self, vdc: Vdc) -> tuple[FloatingIp, ...]:
        """Read the floating IPs of a tenant's machines."""
        return FloatingIps(self._rpc).of_tenant(self._tenant(vdc.id))

    def utilisation(self, pool: SubnetPool) -> Utilisation:
        """Say how much of a pool of subnets the networks of the cloud leave. One call.

        Args:
            pool: The pool.
        """
        return pool.utilisation(taken(read_networks(self._rpc)))

    def _networking(self, vdc: Vdc) -> Networking:
        return find_networking(self._rpc, vdc.name, vdc.key, self._tenant(vdc.id), is_new=False).held

    def _tenants(self) -> tuple[GroupRecord, ...]:
        return tuple(sorted(filter(is_tenant, read_groups(self._rpc)), key=lambda group: group.id))

    def _tenant(self, group_id: int) -> GroupRecord:
        group = read_group(self._rpc, group_id)
        if not is_tenant(group):
            raise Conflict(f"group {group_id} ({group.name}) carries no key: it is not a tenant of this library")
        return group

    def _vdc(self, group: GroupRecord) -> Vdc:
        key, vdc_id = group.template[ownership.KEY], int(group.template[VDC_ID])
        return Vdc(group.id, vdc_id, group.name, key, self, self._admins.of(group))
