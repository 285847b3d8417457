"""`VmCreation`: makes the one virtual machine of a key, and hands it out when it runs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy import ownership
from opennebula_tenancy.compensation import Compensations
from opennebula_tenancy.errors import (
    ApiError,
    Conflict,
    EnteredFailureState,
    NotAuthorized,
    NotSent,
    QuotaExceeded,
    ServerUnready,
    TenancyError,
    VerificationFailed,
    WaitTimeout,
)
from opennebula_tenancy.plan import Change, Plan, Step
from opennebula_tenancy.vm_blueprint import Draft
from opennebula_tenancy.vm_calls import VmCalls, is_ending
from opennebula_tenancy.vm_headroom import require_room
from opennebula_tenancy.vm_mark import Phase, phase_of
from opennebula_tenancy.vm_origin import other_origin, other_size
from opennebula_tenancy.vm_removal import remove_vm
from opennebula_tenancy.vm_search import bearers_of_key, find_home, of_administrators, one_of, vms_of_key
from opennebula_tenancy.vm_target import Target
from opennebula_tenancy.vm_waiting import read_vm, wait_until_done, wait_until_running


if TYPE_CHECKING:
    from collections.abc import Iterator

    from opennebula_tenancy._transport.rpc import Reader, Rpc
    from opennebula_tenancy._wire.vm_records import VmRecord
    from opennebula_tenancy.plan import Progress
    from opennebula_tenancy.vm_blueprint import Blueprint
    from opennebula_tenancy.vm_spec import Allowed, VmSpec
    from opennebula_tenancy.vm_waiting import OnStatus


_NOT_MADE = (ApiError, NotSent, ServerUnready)
"""Errors after which a call has made nothing."""
_FAILED = (EnteredFailureState, WaitTimeout, VerificationFailed)
"""What ends a machine that is being made."""
_KEPT = "kept, until this key is used again"
_REMOVAL_S = 60.0
"""How long a machine that is given up may take until nothing is left of it, in seconds."""


@attrs.frozen
class VmState:
    """What there is of a machine that is asked for.

    Attributes:
        spec: What is asked for.
        vm: The machine that carries the key, if there is one.
        twins: Others that carry it too, and that no run has finished.
        ending: Those that carry it still, and that somebody has terminated.
    """

    spec: VmSpec
    vm: VmRecord | None
    twins: tuple[VmRecord, ...]
    ending: tuple[VmRecord, ...] = ()

    @property
    def is_finished(self) -> bool:
        """Whether it was made, and handed out."""
        return self.vm is not None and phase_of(self.vm) is not Phase.CREATING

    @property
    def resumed(self) -> VmRecord | None:
        """The machine that an interrupted run has begun, where it can become what is asked for."""
        return None if self.is_finished or self.vm is None or self._why_not(self.vm) else self.vm

    @property
    def leftovers(self) -> tuple[tuple[VmRecord, str], ...]:
        """What nobody has, and nobody will have: each machine, and why."""
        left = [(twin, str(twin.status)) for twin in self.twins]
        if self.vm is not None and not self.is_finished and (reason := self._why_not(self.vm)):
            left.append((self.vm, reason))
        return tuple(left)

    def _why_not(self, vm: VmRecord) -> str:
        """Why a machine that was begun will not become what is asked for; empty where it will."""
        others = (*other_size(vm, self.spec.size), *other_origin(vm, self.spec))
        if not vm.status.is_running and (vm.status.stays or vm.status.has_failed):
            others = (str(vm.status), *others)
        return "; ".join(others)

    def plan(self) -> Plan:
        """What would be changed.

        Raises:
            SettingsError: A disk would shrink.
        """
        spec, vm = self.spec, self.vm
        removals = [Change("delete", f"VM {one.id} ({one.name})", why) for one, why in self.leftovers]
        if vm is not None and self.is_finished:
            return Plan(spec.name, (*self._changes(vm), *removals), tuple(self._notes(vm)))
        if (begun := self.resumed) is not None:
            start = Change("start", f"VM {begun.id} ({begun.name})", str(begun.status), "RUNNING")
            return Plan(spec.name, (*removals, start, *self._renaming(begun)))
        making = Change("create", f"VM {spec.name}", "", f"of VM template {spec.template}")
        return Plan(spec.name, (*removals, making))

    def _changes(self, vm: VmRecord) -> Iterator[Change]:
        yield from Target.of(vm, self.spec.size).changes(vm)
        if phase_of(vm) is Phase.RESIZING and not vm.status.is_running:
            yield Change("start", f"VM {vm.id} ({vm.name})", str(vm.status), "RUNNING")
        yield from self._renaming(vm)

    def _renaming(self, vm: VmRecord) -> Iterator[Change]:
        if vm.name != self.spec.name:
            yield Change("rename", f"VM {vm.id}", vm.name, self.spec.name)

    def _notes(self, vm: VmRecord) -> Iterator[str]:
        if others := "; ".join(other_origin(vm, self.spec)):
            yield f"VM {vm.id} ({vm.name}) stays as it was made: {others}. This holds only at its creation"


def observe_vm(reader: Reader, spec: VmSpec) -> VmState:
    """Read what there is of a machine.

    Raises:
        DuplicateObject: More than one finished machine carries the key.
        Conflict: One carries it that belongs to somebody of the tenant.
    """
    bearers = bearers_of_key(reader, spec.vdc, spec.key)
    found = of_administrators(reader, bearers)
    if bearers and not found:
        other = bearers[0]
        raise Conflict(
            f"VM {other.id} ({other.name}) carries the key {spec.key}, and belongs to user {other.uid}, who is not in "
            f"the group oneadmin: it is not touched. Give it to oneadmin, or take {ownership.KEY} from it"
        )
    ending = tuple(vm for vm in found if is_ending(vm.status))
    staying = [vm for vm in found if vm not in ending]
    vm = one_of(staying, spec.key)
    return VmState(spec, vm, tuple(twin for twin in staying if twin is not vm), ending)


def await_vm(rpc: Rpc, spec: VmSpec, *, timeout_s: float) -> VmState:
    """Read what there is of a machine, once those are gone that somebody has terminated.

    Raises:
        DuplicateObject: More than one finished machine carries the key.
        Conflict: One carries it that belongs to somebody of the tenant.
        WaitTimeout: One is not gone after that time.
    """
    state = observe_vm(rpc, spec)
    for vm in state.ending:
        # One that fails to end runs on, and is what there is.
        with contextlib.suppress(EnteredFailureState):
            wait_until_done(rpc, vm.id, timeout_s=timeout_s)
    return observe_vm(rpc, spec) if state.ending else state


def draft_vm(reader: Reader, state: VmState, allowed: Allowed) -> Blueprint:
    """Look up all that a new machine is to be made of. Nothing is changed.

    Args:
        reader: Reads from OpenNebula.
        state: What there is of it: nothing that can become what is asked for.
        allowed: What it may be made of.

    Returns:
        What it is to be made with.

    Raises:
        SettingsError: Something is not there, is not permitted, or does not fit; all problems at once.
        QuotaExceeded: The tenant's limits on machines, cores and memory leave no room for it.
    """
    home = find_home(reader, state.spec.vdc)
    blueprint = Draft(reader, state.spec, home, allowed).blueprint()
    # What is removed before makes room that nobody can tell of yet.
    if not (state.leftovers or state.ending):
        require_room(home.group, blueprint.needs)
    return blueprint


class VmCreation:
    """The making of one machine.

    Args:
        rpc: Calls OpenNebula.
        spec: The machine asked for.
        allowed: What it may be made of.
        timeout_s: How many seconds it may take until it runs.
        keep_failed: Whether one that fails is kept for someone to look at.
        progress: Told of each step as it begins.
        on_status: Told of each state on the way.
    """

    def __init__(
        self,
        rpc: Rpc,
        spec: VmSpec,
        *,
        allowed: Allowed,
        timeout_s: float,
        keep_failed: bool,
        progress: Progress | None,
        on_status: OnStatus | None,
    ) -> None:
        self._rpc = rpc
        self._calls = VmCalls(rpc)
        self._spec = spec
        self._allowed = allowed
        self._timeout_s = timeout_s
        self._keep_failed = keep_failed
        self._progress = progress
        self._on_status = on_status
        self._made: int | None = None
        self._gone: set[int] = set()
        self._fate = ""

    def run(self, state: VmState) -> VmRecord:
        """Make the machine, from whatever an interrupted run has left of it.

        Args:
            state: What there is of it: nothing that was handed out.

        Returns:
            The machine as it runs.

        Raises:
            SettingsError: Something that it is to be made of is not there, or not permitted; nothing was changed.
            ApiError: OpenNebula refused to make it.
            EnteredFailureState: It failed, and is removed again, or kept where that was asked for.
            WaitTimeout: It does not run after that time; likewise.
            VerificationFailed: It runs, and is not what was asked for; likewise.
            RollbackIncomplete: One of these, and it could not be removed again.
        """
        try:
            with Compensations() as undo:
                return self._run(state, undo)
        except _FAILED as error:
            if not self._fate:
                raise
            raise type(error)(f"{error}; it is {self._fate}") from error

    def _run(self, state: VmState, undo: Compensations) -> VmRecord:
        if state.resumed is not None:
            find_home(self._rpc, self._spec.vdc)
            self._begin(state)
            return self._finish_other(state.resumed, None, undo)
        try:
            blueprint = draft_vm(self._rpc, state, self._allowed)
        except QuotaExceeded as refusal:
            return self._finish_other(self._winner_or(refusal), None, undo)
        self._begin(state)
        try:
            self._made = self._calls.instantiate(self._spec, blueprint.text())
        except _NOT_MADE as refusal:
            if isinstance(refusal, NotAuthorized) and not isinstance(refusal, QuotaExceeded):
                # With AS_GID the caller has the rights of that group alone, except for user 0 (SharedAPI::as_uid_gid).
                refusal.add_note("OpenNebula lets the user oneadmin alone make machines in another group.")
            return self._finish_other(self._winner_or(refusal), blueprint, undo)
        except BaseException:
            undo.before(self._left, self._unmake)
            raise
        undo.before(self._left, self._unmake)
        winner = self._winner()
        if winner is None or winner.id == self._made:
            return self._finish(self._made, blueprint)
        self._remove(self._made)
        return self._finish_other(winner, blueprint, undo)

    def _begin(self, state: VmState) -> None:
        """Tell of what is to come, and remove what nobody will have."""
        if self._progress is not None:
            plan = state.plan()
            for number, change in enumerate(plan, start=1):
                self._progress(Step(plan.name, change, number, len(plan)))
        for vm, _ in state.leftovers:
            self._remove(vm.id)

    def _winner(self) -> VmRecord | None:
        """The machine of the key: ids are given in order, so that all runs for it see the same one as the oldest."""
        return one_of(vms_of_key(self._rpc, self._spec.vdc, self._spec.key), self._spec.key)

    def _winner_or(self, refusal: TenancyError) -> VmRecord:
        """The machine of the key: another run for it may have taken the last that the tenant's limits allowed."""
        if (winner := self._winner()) is None:
            raise refusal
        return winner

    def _finish_other(self, vm: VmRecord, blueprint: Blueprint | None, undo: Compensations) -> VmRecord:
        """Finish a machine that another run has begun: that run may be at it still, so that only a failure ends it."""
        try:
            return self._finish(vm.id, blueprint)
        except VerificationFailed as error:
            raise VerificationFailed(
                f"{error}: another run asked for the same key otherwise, and it is left"
            ) from error
        except _FAILED:
            undo.before(lambda: f"VM {vm.id} ({vm.name})", lambda: self._take_back(vm.id))
            raise

    def _finish(self, vm_id: int, blueprint: Blueprint | None) -> VmRecord:
        """Wait until the machine runs, verify it, and mark it as finished: from then on it is never removed."""
        try:
            vm = wait_until_running(self._rpc, vm_id, timeout_s=self._timeout_s, on_status=self._on_status)
            self._verify(vm, blueprint)
        except _FAILED:
            self._fate = _KEPT if self._keep_failed else ""
            raise
        if vm.name != self._spec.name:
            self._calls.rename(vm_id, self._spec.name)
        self._calls.set_phase(vm_id, Phase.READY)
        return attrs.evolve(vm, name=self._spec.name)

    def _verify(self, vm: VmRecord, blueprint: Blueprint | None) -> None:
        wrong = [] if vm.gid == self._spec.vdc else [f"it is in group {vm.gid}, not {self._spec.vdc}"]
        wrong.extend(other_size(vm, self._spec.size))
        networks = {nic.network_id for nic in vm.nics}
        if blueprint is not None and (missing := [net for net in blueprint.networks if net not in networks]):
            wrong.append(f"it is not in network {', '.join(map(str, missing))}")
        if wrong:
            raise VerificationFailed(f"OpenNebula made VM {vm.id} ({vm.name}), but {'; '.join(wrong)}")

    def _left(self) -> str:
        return f"VM {self._spec.name}" if self._made is None else f"VM {self._made} ({self._spec.name})"

    def _unmake(self) -> bool:
        """Remove what this run made; False where it is wanted after all.

        By its id, wherever it is by now; or by the key, where no reply has told the id.
        """
        if self._made is not None:
            return self._take_back(self._made)
        found = vms_of_key(self._rpc, self._spec.vdc, self._spec.key)
        wanted = [vm for vm in found if not self._take_back(vm.id)]
        return not wanted

    def _take_back(self, vm_id: int) -> bool:
        """Remove a machine that was never handed out; False where another run has finished it, or it is kept."""
        if self._fate == _KEPT:
            return False
        if vm_id in self._gone or (vm := read_vm(self._rpc, vm_id)).status.is_done:
            return True
        if phase_of(vm) is not Phase.CREATING:
            return False
        self._remove(vm_id)
        self._fate = "removed again"
        return True

    def _remove(self, vm_id: int) -> None:
        remove_vm(self._rpc, vm_id, self._spec.key, timeout_s=_REMOVAL_S, unfinished=True)
        self._gone.add(vm_id)
