"""`TenantWork`: makes a tenant what was asked for, and verifies it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy import ownership, rights, tenant_mark
from opennebula_tenancy._wire.records import VdcRecord
from opennebula_tenancy.admin_work import AdminWork
from opennebula_tenancy.compensation import Compensations
from opennebula_tenancy.difference import Kind
from opennebula_tenancy.errors import NotFound, OutcomeUnknown, TenancyError, VerificationFailed
from opennebula_tenancy.network_work import NetworkWork
from opennebula_tenancy.networking_search import find_networking
from opennebula_tenancy.plan import Progress, Step
from opennebula_tenancy.retreat import Retreat
from opennebula_tenancy.tenant_calls import TenantCalls
from opennebula_tenancy.tenant_mark import GROUP_ROLE
from opennebula_tenancy.tenant_removal import refuse_held
from opennebula_tenancy.tenant_search import DEFAULT_VDC, group_of, read_group, read_groups, read_vdcs, vdc_of
from opennebula_tenancy.tenant_state import TenantState, observe, observe_account


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opennebula_tenancy._transport.rpc import CallRecord, Rpc
    from opennebula_tenancy._wire.acl import AclRule
    from opennebula_tenancy.admin_credentials import Credentials, CredentialSource
    from opennebula_tenancy.difference import Difference
    from opennebula_tenancy.vdc_spec import VdcSpec


_TWIN_PAUSE_S = 0.5
"""How long another run for the same tenant is given to come to an end, in seconds."""
_NETWORK_LEAVES = frozenset({Kind.ROUTER_GONE, Kind.NETWORK_GONE, Kind.SECURITY_GROUP_GONE})
_AT_ONCE = frozenset({Kind.LIMITS, Kind.NETWORK_SETTINGS, Kind.ROUTER_VMS})
"""Kinds of which one call, or one series of them, mends all there are."""


class TenantWork:
    """The work on one tenant.

    Args:
        rpc: Calls OpenNebula.
        spec: The tenant asked for.
        source: Where the password of its administrator comes from.
        progress: Told of each step as it begins.

    Attributes:
        credentials: Those of its administrator, where this run has set them.
    """

    def __init__(self, rpc: Rpc, spec: VdcSpec, source: CredentialSource, progress: Progress | None = None) -> None:
        self._changed = False
        self._rpc = rpc.overheard(self._hear)
        self._calls = TenantCalls(self._rpc)
        self._spec = spec
        self._source = source
        self._progress = progress
        self.credentials: Credentials | None = None
        self._undo = Compensations()
        self._vdc_id = -1
        self._retreat = Retreat(self._rpc, lambda: self._vdc_id)
        self._made_vdc: int | None = None
        self._made_group: int | None = None
        self._group_is_ours = False
        self._opened: int | None = None

    def ensure(self) -> TenantState:
        """Make the tenant what the spec asks for, from whatever state it is in.

        Returns:
            The state that OpenNebula shows afterwards, without differences.

        Raises:
            TenancyError: What stopped it. What this run has made is removed again, unless the tenant is finished.
        """
        state = observe(self._rpc, self._spec)
        self._spec = state.spec
        if not (differences := state.differences()):
            return state
        with self._retreat, self._undo:
            try:
                return self._make(state, differences)
            except TenancyError as error:
                if self._changed and (state.vdc is not None or state.group is not None):
                    error.add_note(
                        f"The tenant {self._spec.name} was there before, and stands half changed: run again."
                    )
                raise

    def _hear(self, record: CallRecord) -> None:
        self._changed |= record.mutates and record.outcome in {"ok", OutcomeUnknown.__name__}

    def _make(self, state: TenantState, differences: list[Difference]) -> TenantState:
        after = self._apply(state, differences)
        if any(rest.kind is not Kind.MARK for rest in after.differences()):
            after = self._once_more()
        finished = self._finish(after)
        if self._takes_network_away(differences) and self._has_network_again(finished):
            return self._finish(self._once_more())
        if finished is after or not (state.is_begun or self._undo.shared):
            return finished
        # Another run has had a hand in it, and may have been taking something away until it saw the mark.
        self._retreat.await_others()
        after = observe(self._rpc, self._spec)
        return self._finish(self._once_more()) if after.differences() else after

    def _takes_network_away(self, differences: Iterable[Difference]) -> bool:
        return self._spec.network is None and any(difference.kind in _NETWORK_LEAVES for difference in differences)

    def _has_network_again(self, state: TenantState) -> bool:
        """Whether another run has made a network for the tenant until this one wrote that there is none.

        Who reads that mark would not look for it. So it says now that one is to look.
        """
        seen = find_networking(self._rpc, self._spec.name, self._spec.key, None, is_new=False).held
        if state.group is None or not (seen.routers or seen.network or seen.security_group):
            return False
        self._calls.mark_group(state.group.id, tenant_mark.UNSETTLED)
        return True

    def _once_more(self) -> TenantState:
        """Mend what another run for the tenant, which was at work beside this one, has left or taken away."""
        time.sleep(_TWIN_PAUSE_S)
        state = observe(self._rpc, self._spec)
        return self._apply(state, state.differences())

    def _finish(self, state: TenantState) -> TenantState:
        """Verify all but the mark, and then set it: a tenant that has it is finished, and is never rolled back."""
        differences = state.differences()
        self._verify(difference for difference in differences if difference.kind is not Kind.MARK)
        if not differences or state.group is None:
            return state
        mark = state.mark
        self._calls.mark_group(state.group.id, mark)
        group = attrs.evolve(state.group, template={**state.group.template, **mark})
        return attrs.evolve(state, group=group)

    def _verify(self, differences: Iterable[Difference]) -> None:
        if left := "; ".join(str(difference.change) for difference in differences):
            raise VerificationFailed(f"OpenNebula accepted every call for {self._spec.name}, yet would still: {left}")

    def _apply(self, state: TenantState, differences: list[Difference]) -> TenantState:
        """Mend the differences, but for the mark.

        Returns:
            The state that OpenNebula shows afterwards.
        """
        self._vdc_id = state.vdc.id if state.vdc else -1
        group_id = state.group.id if state.group else -1
        calls, spec, undo, retreat = self._calls, self._spec, self._undo, self._retreat
        network = NetworkWork(self._rpc, spec, state.networking, undo=undo, retreat=retreat, vdc=lambda: self._vdc_id)
        admin = AdminWork(
            self._rpc, spec.name, spec.key, self._source, undo=undo, retreat=retreat, group=lambda: group_id
        )

        def create_vdc(_: int) -> None:
            own_group = state.group.id if state.group else None
            anchor = tenant_mark.of_vdc(spec, group_id=own_group, last_group=state.last_group)
            with self._undo.making(self._vdc_left, self._undo_vdc, anchor=True) as making:
                self._vdc_id, making.ours = calls.create_vdc(spec.key, anchor)
                self._made_vdc = self._vdc_id

        def create_group(_: int) -> None:
            nonlocal group_id
            if state.vdc is not None:
                calls.mark_vdc(self._vdc_id, tenant_mark.claim(state.last_group))
            with self._undo.making(self._group_left, self._undo_group) as making:
                group_id, making.ours = calls.create_group(spec.key, spec.name, self._vdc_id, state.last_group)
                self._made_group, self._group_is_ours = group_id, making.ours

        def add_cluster(cluster: int) -> None:
            calls.set_cluster(self._vdc_id, spec.zone, cluster, present=True)
            if state.group is not None:
                # It opened its networks to a group that is there already; no plan could have shown the rule.
                calls.withhold_networks(group_id)

        def grant_use() -> None:
            if (held := network.held.security_group) is not None:
                if self._opened is not None and self._opened != held.id:  # another run has taken that one away
                    calls.withdraw(group_id, rights.use_of_security_group(group_id, self._opened, spec.zone))
                self._opened = held.id
                self._grant(group_id, rights.use_of_security_group(group_id, held.id, spec.zone))

        def set_limits(_: int) -> None:
            known = state.quota if state.group is None else None
            calls.set_limits(group_id, state.quota, spec.quota, known)

        mend: Mapping[Kind, Callable[[int], object]] = {
            Kind.VDC: create_vdc,
            Kind.VDC_NAME: lambda _: calls.rename_vdc(self._vdc_id, spec.name),
            Kind.GROUP: create_group,
            Kind.BINDING: lambda _: calls.mark_vdc(self._vdc_id, tenant_mark.bound_to(group_id)),
            Kind.MEMBERSHIP: lambda _: calls.set_member(self._vdc_id, group_id, present=True),
            Kind.DEFAULT_VDC: lambda _: calls.set_member(DEFAULT_VDC, group_id, present=False),
            Kind.CLUSTER: add_cluster,
            Kind.CLUSTER_TOO_MANY: lambda cluster: calls.set_cluster(self._vdc_id, spec.zone, cluster, present=False),
            Kind.NETWORK_RULES: lambda _: calls.withhold_networks(group_id),
            Kind.CREATE_RULE: lambda _: self._grant(group_id, rights.grant(group_id)),
            Kind.SECURITY_GROUP_RIGHT: lambda _: grant_use(),
            Kind.LIMITS: set_limits,
            **network.mending(),
            **admin.mending(),
        }
        if state.group is not None and state.complete and any(item.kind is Kind.NETWORK for item in differences):
            calls.mark_group(group_id, tenant_mark.UNSETTLED)
        self._mend(differences, mend)
        self.credentials = admin.credentials or self.credentials
        if state.vdc is None and state.group is None and not self._undo.shared:
            return self._look_at_new(state, network, group_id)
        return observe(self._rpc, spec)

    def _grant(self, group_id: int, rule: AclRule) -> None:
        if not self._group_is_ours:
            # Another run may have taken it back, or do so now, and OpenNebula takes rules for groups that are gone.
            read_group(self._rpc, group_id)
            self._undo.before(lambda: f"rules of group {group_id}", lambda: self._undo_rules(group_id))
        self._calls.grant(group_id, rule)

    def _mend(self, differences: list[Difference], mend: Mapping[Kind, Callable[[int], object]]) -> None:
        done: set[Kind] = set()
        for number, difference in enumerate(differences, start=1):
            if self._progress is not None:
                self._progress(Step(self._spec.name, difference.change, number, len(differences)))
            if difference.kind in done and difference.kind in _AT_ONCE:
                continue
            if difference.kind is not Kind.MARK:  # that comes when all else is verified
                mend[difference.kind](difference.ident)
            done.add(difference.kind)

    def _look_at_new(self, state: TenantState, network: NetworkWork, group_id: int) -> TenantState:
        """The state of a tenant that was made by this run alone, seen with as few calls as there can be.

        That it is in its VDC, with what the VDC holds, is seen by the rules that follow from it.
        """
        rules = self._calls.rules(group_id)
        held = network.held
        networks = frozenset() if held.network is None else frozenset({held.network.id})
        if not rights.show_membership(rules, group_id, state.clusters, networks):
            return observe(self._rpc, self._spec)
        spec = self._spec
        vdc = VdcRecord(
            self._vdc_id,
            spec.name,
            frozenset({group_id}),
            frozenset((spec.zone, cluster) for cluster in state.clusters),
            frozenset((spec.zone, ident) for ident in networks),
            tenant_mark.of_vdc(spec, group_id=group_id, last_group=state.last_group),
        )
        group = read_group(self._rpc, group_id)
        account = observe_account(self._rpc, spec, group)
        return attrs.evolve(state, vdc=vdc, group=group, rules=rules, networking=held, admin=account)

    def _vdc_left(self) -> str:
        return f"VDC {self._spec.name}" if self._made_vdc is None else f"VDC {self._made_vdc} ({self._spec.name})"

    def _group_left(self) -> str:
        return (
            f"group {self._spec.name}" if self._made_group is None else f"group {self._made_group} ({self._spec.name})"
        )

    def _undo_vdc(self) -> None:
        """Remove the VDC, unless another run for the tenant is at work with it."""
        vdc = vdc_of(read_vdcs(self._rpc), self._spec.key)
        if vdc is not None and self._made_vdc in {None, vdc.id}:
            bound = tenant_mark.bound_group(vdc)
            if bound is None or bound == self._made_group:
                self._calls.remove_vdc(vdc.id)
                self._retreat.forget()

    def _undo_rules(self, group_id: int) -> None:
        """Remove the rules of a group that is gone; one that is there takes its own along when it goes."""
        try:
            read_group(self._rpc, group_id)
        except NotFound:
            self._calls.remove_rules(group_id)

    def _undo_group(self) -> bool:
        """Remove the group; False when the tenant is finished, by another run for it or the last call of this one."""
        self._retreat.begin()
        groups, vdcs = read_groups(self._rpc), read_vdcs(self._rpc)
        if self._made_group is None:  # its making had no reply: the claim that the VDC has on it is what there is
            group = group_of(groups, vdcs, self._spec.key)
        else:
            group = next((group for group in groups if group.id == self._made_group), None)
        if group is None:
            if self._made_group is not None:  # somebody has removed it: OpenNebula takes rules for groups that are gone
                self._calls.remove_rules(self._made_group)
            return True
        if ownership.carries(group.template, self._spec.key, GROUP_ROLE):
            return False
        refuse_held(self._rpc, group)
        self._calls.remove_group(group.id)
        return True
