"""`TenantWork`: makes a tenant what was asked for, and verifies it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy.compensation import Compensations
from opennebula_tenancy.errors import TenancyError, VerificationFailed
from opennebula_tenancy.plan import Progress, Step
from opennebula_tenancy.tenant_calls import TenantCalls
from opennebula_tenancy.tenant_removal import remove_unfinished_group, remove_unfinished_vdc
from opennebula_tenancy.tenant_state import DEFAULT_VDC, VDC_ID, Difference, Kind, TenantState, observe, read_group


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opennebula_tenancy._transport.rpc import Rpc
    from opennebula_tenancy.vdc_spec import VdcSpec


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
        self._vdc_id = self._group_id = -1

    def ensure(self) -> TenantState:
        """Make the tenant what the spec asks for, from whatever state it is in.

        Returns:
            The state that OpenNebula shows afterwards, without differences.

        Raises:
            TenancyError: What stopped it. A tenant that was never finished is removed again; one that was stays.
        """
        state = observe(self._rpc, self._spec)
        if not (differences := list(state.differences())):
            return state
        with Compensations() as undo:
            if not state.complete:
                self._plan_undoing(undo)
            try:
                self._apply(state, differences)
                return self._finish(observe(self._rpc, self._spec))
            except TenancyError as error:
                if state.complete:
                    error.add_note(f"The tenant {self._spec.name} stands half changed: run it again to finish it.")
                raise

    def _finish(self, state: TenantState) -> TenantState:
        """Verify all but the mark, and then set it: a tenant that has it is finished, and is never rolled back."""
        differences = list(state.differences())
        self._verify(difference for difference in differences if difference.kind is not Kind.MARK)
        if not differences or state.vdc is None or state.group is None:
            return state
        self._calls.mark(state.group.id, {**state.marks, VDC_ID: str(state.vdc.id)})
        state = attrs.evolve(state, group=read_group(self._rpc, state.group.id))
        self._verify(state.differences())
        return state

    def _plan_undoing(self, undo: Compensations) -> None:
        key, name = self._spec.key, self._spec.name
        undo.before(
            lambda: f"VDC {name}" if self._vdc_id < 0 else f"VDC {self._vdc_id} ({name})",
            lambda: remove_unfinished_vdc(self._calls, key),
            anchor=True,
        )
        undo.before(
            lambda: f"group {name}" if self._group_id < 0 else f"group {self._group_id} ({name})",
            lambda: remove_unfinished_group(self._rpc, key),
        )

    def _verify(self, differences: Iterable[Difference]) -> None:
        if left := "; ".join(str(difference.change) for difference in differences):
            raise VerificationFailed(f"OpenNebula accepted every call for {self._spec.name}, yet would still: {left}")

    def _apply(self, state: TenantState, differences: list[Difference]) -> None:
        self._vdc_id = state.vdc.id if state.vdc else -1
        self._group_id = state.group.id if state.group else -1
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
        if Kind.CLUSTER in done and Kind.NETWORK_RULES not in done:
            # A new cluster opened its networks only now: no plan could have shown the rule that does it.
            self._calls.withhold_networks(self._group_id)

    def _mending(self, state: TenantState) -> Mapping[Kind, Callable[[int], None]]:
        """How each kind of difference is mended; the ids of what is made on the way are known by then."""
        spec, calls = self._spec, self._calls

        def create_vdc(_: int) -> None:
            self._vdc_id = calls.create_vdc(spec.key, state.anchor)

        def create_group(_: int) -> None:
            self._group_id = calls.create_group(spec.key, spec.name, self._vdc_id)

        return {
            Kind.VDC: create_vdc,
            Kind.GROUP: create_group,
            Kind.MEMBERSHIP: lambda _: calls.set_member(self._vdc_id, self._group_id, present=True),
            Kind.DEFAULT_VDC: lambda _: calls.set_member(DEFAULT_VDC, self._group_id, present=False),
            Kind.CLUSTER: lambda cluster: calls.set_cluster(self._vdc_id, spec.zone, cluster, present=True),
            Kind.CLUSTER_TOO_MANY: lambda cluster: calls.set_cluster(self._vdc_id, spec.zone, cluster, present=False),
            Kind.NETWORK_RULES: lambda _: calls.withhold_networks(self._group_id),
            Kind.CREATE_RULE: lambda _: calls.grant_create(self._group_id),
            Kind.LIMITS: lambda _: calls.set_limits(self._group_id, state.quota, spec.quota),
        }
