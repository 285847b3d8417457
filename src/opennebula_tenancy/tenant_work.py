"""`TenantWork`: makes a tenant what was asked for, and verifies it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy import ownership, tenant_mark
from opennebula_tenancy.compensation import Compensations
from opennebula_tenancy.errors import ApiError, Conflict, NotSent, ServerUnready, TenancyError, VerificationFailed
from opennebula_tenancy.plan import Progress, Step
from opennebula_tenancy.tenant_calls import TenantCalls
from opennebula_tenancy.tenant_mark import GROUP_ROLE
from opennebula_tenancy.tenant_removal import refuse_held
from opennebula_tenancy.tenant_search import DEFAULT_VDC, group_of, read_group, read_groups, read_vdcs, vdc_of
from opennebula_tenancy.tenant_state import Difference, Kind, TenantState, observe


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from opennebula_tenancy._transport.rpc import Rpc
    from opennebula_tenancy.vdc_spec import VdcSpec


_NOT_MADE = (ApiError, NotSent, ServerUnready, Conflict)
"""Errors after which a call has made nothing."""


@attrs.define
class _Making:
    """Whether what is made in a block is made by this run; it may be, until the block knows better."""

    ours: bool = True


class TenantWork:
    """The work on one tenant.

    Args:
        rpc: Calls OpenNebula.
        spec: The tenant asked for.
        progress: Told of each step as it begins.
    """

    def __init__(self, rpc: Rpc, spec: VdcSpec, progress: Progress | None = None) -> None:
        self._rpc = rpc
        self._calls = TenantCalls(rpc)
        self._spec = spec
        self._progress = progress
        self._undo = Compensations()
        self._made_vdc: int | None = None
        self._made_group: int | None = None

    def ensure(self) -> TenantState:
        """Make the tenant what the spec asks for, from whatever state it is in.

        Returns:
            The state that OpenNebula shows afterwards, without differences.

        Raises:
            TenancyError: What stopped it. What this run has made is removed again, unless the tenant is finished.
        """
        state = observe(self._rpc, self._spec)
        if not (differences := list(state.differences())):
            return state
        with self._undo:
            try:
                self._apply(state, differences)
                return self._finish(observe(self._rpc, self._spec))
            except TenancyError as error:
                if state.vdc is not None or state.group is not None:
                    error.add_note(
                        f"The tenant {self._spec.name} was there before, and stands half changed: run again."
                    )
                raise

    def _finish(self, state: TenantState) -> TenantState:
        """Verify all but the mark, and then set it: a tenant that has it is finished, and is never rolled back."""
        differences = list(state.differences())
        self._verify(difference for difference in differences if difference.kind is not Kind.MARK)
        if not differences or state.vdc is None or state.group is None:
            return state
        self._calls.mark_group(state.group.id, tenant_mark.of_group(self._spec, state.vdc.id))
        state = attrs.evolve(state, group=read_group(self._rpc, state.group.id))
        self._verify(state.differences())
        return state

    def _verify(self, differences: Iterable[Difference]) -> None:
        if left := "; ".join(str(difference.change) for difference in differences):
            raise VerificationFailed(f"OpenNebula accepted every call for {self._spec.name}, yet would still: {left}")

    def _apply(self, state: TenantState, differences: list[Difference]) -> None:
        mend = self._mending(state)
        done: set[Kind] = set()
        for number, difference in enumerate(differences, start=1):
            if self._progress is not None:
                self._progress(Step(self._spec.name, difference.change, number, len(differences)))
            if difference.kind in done and difference.kind is Kind.LIMITS:
                continue  # one call has set all of them
            if difference.kind is not Kind.MARK:  # that comes when all else is verified
                mend[difference.kind](difference.ident)
            done.add(difference.kind)

    def _mending(self, state: TenantState) -> Mapping[Kind, Callable[[int], None]]:
        """How each kind of difference is mended; the ids of what is made on the way are known by then."""
        spec, calls = self._spec, self._calls
        vdc_id = state.vdc.id if state.vdc else -1
        group_id = state.group.id if state.group else -1

        def create_vdc(_: int) -> None:
            nonlocal vdc_id
            own_group = state.group.id if state.group else None
            anchor = tenant_mark.of_vdc(spec, group_id=own_group, last_group=state.last_group)
            with self._making(self._vdc_left, self._undo_vdc, anchor=True) as making:
                vdc_id, making.ours = calls.create_vdc(spec.key, anchor)
                self._made_vdc = vdc_id

        def create_group(_: int) -> None:
            nonlocal group_id
            if state.vdc is not None:
                calls.mark_vdc(vdc_id, tenant_mark.claim(state.last_group))
            with self._making(self._group_left, self._undo_group) as making:
                group_id, making.ours = calls.create_group(spec.key, spec.name, vdc_id)
                self._made_group = group_id

        def add_cluster(cluster: int) -> None:
            calls.set_cluster(vdc_id, spec.zone, cluster, present=True)
            if state.group is not None:
                # It opened its networks to a group that is there already; no plan could have shown the rule.
                calls.withhold_networks(group_id)

        return {
            Kind.VDC: create_vdc,
            Kind.GROUP: create_group,
            Kind.BINDING: lambda _: calls.mark_vdc(vdc_id, tenant_mark.bound_to(group_id)),
            Kind.MEMBERSHIP: lambda _: calls.set_member(vdc_id, group_id, present=True),
            Kind.DEFAULT_VDC: lambda _: calls.set_member(DEFAULT_VDC, group_id, present=False),
            Kind.CLUSTER: add_cluster,
            Kind.CLUSTER_TOO_MANY: lambda cluster: calls.set_cluster(vdc_id, spec.zone, cluster, present=False),
            Kind.NETWORK_RULES: lambda _: calls.withhold_networks(group_id),
            Kind.CREATE_RULE: lambda _: calls.grant_create(group_id),
            Kind.LIMITS: lambda _: calls.set_limits(group_id, state.quota, spec.quota),
        }

    @contextmanager
    def _making(
        self, left: Callable[[], str], undo: Callable[[], bool | None], *, anchor: bool = False
    ) -> Iterator[_Making]:
        """Register how something is unmade, unless it is certain that this run did not make it."""
        making = _Making()
        try:
            yield making
        except _NOT_MADE:
            making.ours = False
            raise
        finally:
            if making.ours:
                self._undo.before(left, undo, anchor=anchor)

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

    def _undo_group(self) -> bool:
        """Remove the group; False when the tenant is finished, by another run for it or the last call of this one."""
        groups, vdcs = read_groups(self._rpc), read_vdcs(self._rpc)
        if self._made_group is None:  # its making had no reply: the claim that the VDC has on it is what there is
            group = group_of(groups, vdcs, self._spec.key)
        else:
            group = next((group for group in groups if group.id == self._made_group), None)
        if group is None:
            return True
        if ownership.carries(group.template, self._spec.key, GROUP_ROLE):
            return False
        refuse_held(self._rpc, group)
        self._calls.remove_group(group.id)
        return True
