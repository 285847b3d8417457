"""`VmResize`: brings a virtual machine to another size, or back to where it was."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

from opennebula_tenancy.compensation import Compensations
from opennebula_tenancy.errors import (
    ApiError,
    EnteredFailureState,
    NotAuthorized,
    SettingsError,
    VerificationFailed,
    WaitTimeout,
    WrongState,
)
from opennebula_tenancy.plan import Progress, Step
from opennebula_tenancy.vm_calls import VmCalls
from opennebula_tenancy.vm_headroom import require_capacity, require_quota
from opennebula_tenancy.vm_mark import Phase, is_resized_by, phase_of
from opennebula_tenancy.vm_restoration import VmRestoration, is_being_resized
from opennebula_tenancy.vm_search import read_own
from opennebula_tenancy.vm_status import VmState
from opennebula_tenancy.vm_target import Target, is_changed
from opennebula_tenancy.vm_waiting import wait_until, wait_until_running, wait_until_settled


if TYPE_CHECKING:
    from opennebula_tenancy._transport.rpc import Rpc
    from opennebula_tenancy._wire.vm_records import VmRecord
    from opennebula_tenancy.vm_size import VmSize


log = logging.getLogger("opennebula_tenancy")

POWEROFF_S = 60.0
"""How long a machine's system may take to shut down before its plug is pulled, in seconds, unless the caller says."""
_ROUNDS = 4
"""How often a run begins, the first time included, where somebody changes the machine meanwhile."""
_RESIZABLE = frozenset({VmState.POWEROFF, VmState.UNDEPLOYED})
"""The states, besides RUNNING, in which both capacity and disks can be changed."""


class VmResize:
    """The change of one machine's size.

    Args:
        rpc: Calls OpenNebula.
        vm_id: The machine.
        key: The key that it has to carry.
        size: The size asked for.
        live: Whether to try it while the machine runs.
        hard: Whether to pull its plug at once where it has to be off.
        poweroff_timeout_s: How many seconds its system may take to shut down before its plug is pulled.
        overcommit: Whether its host may be promised to more machines than it has room for.
        timeout_s: How many seconds each step may take, and the way back as a whole.
        progress: Told of each step as it begins.
    """

    def __init__(
        self,
        rpc: Rpc,
        vm_id: int,
        key: str,
        size: VmSize,
        *,
        timeout_s: float,
        live: bool = True,
        hard: bool = False,
        poweroff_timeout_s: float = POWEROFF_S,
        overcommit: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self._rpc = rpc
        self._calls = VmCalls(rpc)
        self._id = vm_id
        self._key = key
        self._size = size
        self._live = live
        self._hard = hard
        self._poweroff_timeout_s = min(poweroff_timeout_s, timeout_s)
        self._overcommit = overcommit
        self._timeout_s = timeout_s
        self._progress = progress
        self._run = secrets.token_hex(8)
        self._way_back = VmRestoration(rpc, vm_id, key, self._run, timeout_s=timeout_s)

    def run(self, vm: VmRecord | None = None) -> VmRecord:
        """Bring the machine to the size, and to where it was powered.

        Another run may be at the same machine, and somebody may power it on or off: where that was in the way of a
        step, it begins anew from what there is by then. Of two runs for different sizes, one that the disk was outgrown
        for fails.

        Args:
            vm: The machine as it was read a moment ago, if it was.

        Returns:
            The machine, verified to have the size.

        Raises:
            SettingsError: It cannot be; nothing was changed.
            QuotaExceeded: The tenant's limits leave no room for it.
            EnteredFailureState: The machine failed on its way.
            WaitTimeout: It did not come to rest, or a step was not over after its time.
            VerificationFailed: OpenNebula accepted every call, and the machine has another size.
            RollbackIncomplete: One of these, and the machine is not as it was before: it says how.
        """
        vm = vm or read_own(self._rpc, self._id, self._key)
        if not vm.status.stays and (self._is_on_its_way(vm) or not Target.of(vm, self._size).is_met(vm)):
            vm = wait_until_settled(self._rpc, self._id, timeout_s=self._timeout_s)
        target = Target.of(vm, self._size)
        if target.is_met(vm) and phase_of(vm) is not Phase.RESIZING:
            return vm
        self._check(vm, target)
        self._tell(vm, target)
        # What was looked up took some calls: the way back leads to what is there now.
        self._vm = read_own(self._rpc, self._id, self._key)
        with Compensations() as undo:
            self._converge(undo)
        if phase_of(self._vm) is Phase.RESIZING and (not self._claimed or is_resized_by(self._vm, self._run)):
            self._calls.set_phase(self._id, Phase.READY)
        return self._vm

    def _converge(self, undo: Compensations) -> None:
        """Bring the machine to the size, once more wherever somebody has changed it meanwhile."""
        in_vain, said = 0, ""
        for rounds_left in reversed(range(_ROUNDS)):
            began = Target.of(self._vm)
            try:
                self._bring(undo)
            except (WrongState, EnteredFailureState) as error:
                # One that fails twice in the same way does so by itself; a refusal comes of where it is just then.
                fails_again = isinstance(error, EnteredFailureState) and str(error) == said
                if fails_again or not self._was_disturbed(error) or not rounds_left:
                    raise
                said = str(error)
            else:
                if self._is_met:
                    return
                # Once, another run may have put back in between what this one changed.
                in_vain += Target.of(self._vm) == began
                if in_vain > 1:
                    break
        left = "; ".join(map(str, self._target.changes(self._vm)))
        what = f"VM {self._vm.id} ({self._vm.name})"
        raise VerificationFailed(f"OpenNebula accepted every call for {what}, yet would: {left}")

    def _was_disturbed(self, error: WrongState | EnteredFailureState) -> bool:
        """Whether the machine is not as it was when the last step was begun, by the hand of somebody else."""
        seen = self._vm
        self._vm = now = wait_until_settled(self._rpc, self._id, timeout_s=self._timeout_s)
        if now.status.has_failed:
            return False
        if self._claimed and not is_resized_by(now, self._run):
            return True
        # A driver that fails leaves a reason.
        return is_changed(now, seen) or (isinstance(error, EnteredFailureState) and now.reason == seen.reason)

    @property
    def _target(self) -> Target:
        """The size that the machine is to come to from where it is."""
        try:
            return Target.of(self._vm, self._size)
        except SettingsError as error:
            what = f"VM {self._vm.id} ({self._vm.name})"
            raise VerificationFailed(
                f"the disk of {what} cannot come to {self._size.disk_mb} MB any more: somebody has changed it "
                "meanwhile, such as a run for another size"
            ) from error

    @property
    def _is_met(self) -> bool:
        return self._target.is_met(self._vm)

    @property
    def _claimed(self) -> bool:
        return self._way_back.claimed

    @staticmethod
    def _is_on_its_way(vm: VmRecord) -> bool:
        """Whether the machine is being resized: it shows its new size already, and may fail to get there."""
        return is_being_resized(vm.status) or phase_of(vm) is Phase.RESIZING

    def _check(self, vm: VmRecord, target: Target) -> None:
        """Refuse what cannot be done before anything is."""
        what = f"VM {vm.id} ({vm.name})"
        if vm.status.has_failed:
            raise EnteredFailureState(f"{what} is in the state {vm.status}: {vm.reason or 'it says no more'}")
        if not vm.status.is_running and vm.status.state not in _RESIZABLE:
            raise SettingsError(f"{what} is {vm.status}: it can be resized while it runs, is off or undeployed")
        if target.is_met(vm):
            return
        require_quota(self._rpc, vm, target)
        if not self._overcommit:
            require_capacity(self._rpc, vm, target)

    def _tell(self, vm: VmRecord, target: Target) -> None:
        if self._progress is not None:
            changes = target.changes(vm)
            for number, change in enumerate(changes, start=1):
                self._progress(Step(vm.name, change, number, len(changes)))

    # The way there

    def _bring(self, undo: Compensations) -> None:
        """Bring the machine to the size from where it is, and let it run again where it did."""
        if self._vm.status.is_running and self._live:
            self._while_running(undo)
        if self._vm.status.is_running and not self._is_met:
            self._turn_off(undo)
        elif phase_of(self._vm) is Phase.RESIZING and not self._vm.status.is_running:
            self._claim(undo)
        self._change(undo)
        if self._claimed and not self._vm.status.is_running and phase_of(self._vm) is not Phase.OFF:
            self._turn_on()

    def _while_running(self, undo: Compensations) -> None:
        """Change what can be changed while the machine runs.

        Whether it can is the server's to say: it knows its driver, and asks the tenant's limits first.
        """
        try:
            self._change(undo)
        except WrongState:
            self._vm = read_own(self._rpc, self._id, self._key)

    def _change(self, undo: Compensations) -> None:
        """Change what differs. The disk comes last: it cannot shrink back."""
        if not self._target.has_capacity(self._vm):
            self._change_capacity(undo)
        if not self._target.has_disk(self._vm) and self._target.has_capacity(self._vm):
            self._grow(undo)

    def _change_capacity(self, undo: Compensations) -> None:
        """Change cores and memory; a driver that fails to do so while the machine runs leaves them as they are."""
        before, target, back = Target.of(self._vm), self._target, self._way_back
        with undo.making(lambda: back.capacity_left(before, target), lambda: back.capacity(before, target)):
            self._calls.resize(self._id, target, before)
        self._vm = self._at_rest()

    def _grow(self, undo: Compensations) -> None:
        before, target, back = Target.of(self._vm), self._target, self._way_back
        try:
            with undo.making(lambda: back.disk_left(before, target), lambda: back.disk(before, target)):
                self._calls.grow_disk(self._id, target)
        except NotAuthorized as error:
            # The refusal for want of quota does not speak of it (VirtualMachineAPI::disk_resize).
            error.add_note("OpenNebula refuses so also where a limit on disks leaves no room.")
            raise
        self._vm = vm = self._at_rest()
        if before.has_disk(vm):
            because = f": {vm.reason}" if vm.reason else ""
            raise VerificationFailed(
                f"disk {target.disk_id} of VM {vm.id} ({vm.name}) has {before.disk_mb} MB still, "
                f"not {target.disk_mb} MB{because}"
            )

    def _at_rest(self) -> VmRecord:
        """The machine when its change is over: where it was powered, or where somebody has powered it meanwhile."""
        vm = wait_until_settled(self._rpc, self._id, timeout_s=self._timeout_s)
        if vm.status.has_failed:
            raise EnteredFailureState(
                f"VM {vm.id} ({vm.name}) is in the state {vm.status}: {vm.reason or 'it says no more'}"
            )
        return vm

    def _claim(self, undo: Compensations) -> None:
        """Mark the machine as one that is to run again, and this run as the one that sees to that.

        The next run reads it, should this one end before the machine runs again.
        """
        if not self._claimed:
            undo.before(self._way_back.power_left, self._way_back.power)
        self._way_back.claimed = True
        self._calls.set_phase(self._id, Phase.RESIZING, self._run)

    def _turn_off(self, undo: Compensations) -> None:
        """Power the machine off: by its own system, and by its plug where that does not do so in its time."""
        self._claim(undo)
        if not self._hard:
            try:
                self._power_off(hard=False, timeout_s=self._poweroff_timeout_s)
            except (EnteredFailureState, WaitTimeout) as error:
                now = read_own(self._rpc, self._id, self._key)
                if isinstance(error, EnteredFailureState) and is_changed(now, self._vm):
                    raise
                if now.status.stays:
                    self._vm = now
                log.info("its plug is pulled: %s", error)
            else:
                return
        self._power_off(hard=True, timeout_s=self._timeout_s)

    def _power_off(self, *, hard: bool, timeout_s: float) -> None:
        before, asked = self._vm, self._way_back.off_from
        self._way_back.off_from = before
        try:
            ours = self._calls.power_off(self._id, hard=hard)
        except ApiError:
            self._way_back.off_from = asked
            raise
        self._vm = wait_until(
            self._rpc, self._id, lambda now: now.status.is_off, "powered off", timeout_s=timeout_s, before=before
        )
        if not ours and asked is None and phase_of(before) is not Phase.RESIZING:
            # Somebody was faster, and it is not this run's to start it again.
            self._way_back.claimed = False
            self._calls.set_phase(self._id, Phase.READY)
            self._vm = read_own(self._rpc, self._id, self._key)

    def _turn_on(self) -> None:
        self._calls.power_on(self._id)
        self._vm = wait_until_running(self._rpc, self._id, timeout_s=self._timeout_s, before=self._vm)
        if phase_of(self._vm) is Phase.OFF:
            # Someone wanted it off just before it was started.
            self._power_off(hard=self._hard, timeout_s=self._timeout_s)
