"""`Vdcs`: the tenants of a cloud."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import attrs

from opennebula_tenancy import ownership
from opennebula_tenancy.errors import Conflict, SettingsError, VerificationFailed
from opennebula_tenancy.group_quota import GroupQuota
from opennebula_tenancy.tenant_calls import TenantCalls
from opennebula_tenancy.tenant_mark import VDC_ID, goes_by_clusters, is_tenant, scope_of
from opennebula_tenancy.tenant_places import counts_images, datastores_of
from opennebula_tenancy.tenant_removal import remove_tenant
from opennebula_tenancy.tenant_search import read_group, read_groups
from opennebula_tenancy.tenant_state import observe
from opennebula_tenancy.tenant_work import TenantWork
from opennebula_tenancy.vdc import Vdc
from opennebula_tenancy.vdc_spec import scope_problems


if TYPE_CHECKING:
    from collections.abc import Iterator

    from opennebula_tenancy._transport.rpc import Rpc
    from opennebula_tenancy._wire.records import GroupRecord
    from opennebula_tenancy.plan import Plan, Progress
    from opennebula_tenancy.quota import Quota, Usage
    from opennebula_tenancy.vdc_spec import VdcSpec


class _Turn:
    """A lock that can be referred to weakly."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Vdcs:
    """The tenants of a cloud, as `Cloud.vdcs`. Thread safe: one tenant is worked on by one thread at a time."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._guard = threading.Lock()
        self._turns: WeakValueDictionary[str, _Turn] = WeakValueDictionary()

    @contextmanager
    def _turn(self, key: str) -> Iterator[None]:
        with self._guard:
            turn = self._turns.setdefault(key, _Turn())
        with turn.lock:
            yield

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
        with self._turn(spec.key):
            state = TenantWork(self._rpc, spec, progress).ensure()
        if state.group is None or state.vdc is None:  # pragma: no cover  # a state without differences has both
            raise VerificationFailed(f"{spec.name} is not there")
        return Vdc(state.group.id, state.vdc.id, spec.name, spec.key, self)

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
        group = self._tenant(group_id)
        with self._turn(group.template[ownership.KEY]):
            return self._set_quota(group, quota)

    def _set_quota(self, group: GroupRecord, wanted: Quota) -> Quota:
        scope = scope_of(group)
        if problems := tuple(scope_problems(wanted, scope.storage, scope.networks)):
            raise SettingsError(*problems)
        calls = TenantCalls(self._rpc)
        if counts_images(wanted, scope.storage) and goes_by_clusters(group):
            vdc = calls.vdc(self._vdc(group).vdc_id)
            scope = attrs.evolve(scope, datastores=datastores_of(self._rpc, vdc))
        # Read again now that it is our turn: blocks are written whole, and none may go back to an older state.
        before = GroupQuota(self._tenant(group.id).quotas, scope)
        if not before.changes(wanted):
            return before.quota()
        calls.set_limits(group.id, before, wanted)
        after = before.with_rows(self._tenant(group.id).quotas)
        if wrong := "; ".join(map(str, after.changes(wanted))):
            raise VerificationFailed(f"OpenNebula accepted the limits of {group.name}, yet would still: {wrong}")
        return after.quota()

    def delete(self, group_id: int | None = None, *, key: str, progress: Progress | None = None) -> None:
        """Remove a tenant, finished or not, and make sure that it is gone. It being gone already is a success.

        Args:
            group_id: The id that its group is known by, if it is.
            key: The tenant's key.
            progress: Told of each step as it begins.

        Raises:
            Conflict: That group does not carry the key; nothing was removed.
            NotEmpty: The tenant still has members or objects of theirs; nothing was removed.
        """
        with self._turn(key):
            remove_tenant(self._rpc, key, group_id, progress)

    def _tenants(self) -> tuple[GroupRecord, ...]:
        return tuple(sorted(filter(is_tenant, read_groups(self._rpc)), key=lambda group: group.id))

    def _tenant(self, group_id: int) -> GroupRecord:
        group = read_group(self._rpc, group_id)
        if not is_tenant(group):
            raise Conflict(f"group {group_id} ({group.name}) carries no key: it is not a tenant of this library")
        return group

    def _vdc(self, group: GroupRecord) -> Vdc:
        return Vdc(group.id, int(group.template[VDC_ID]), group.name, group.template[ownership.KEY], self)
