"""`VmResize`: brings a virtual machine to another size, or back to where it was."""

from __future__ import annotations

import logging
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
from opennebula_tenancy.vm_mark import Phase, phase_of
from opennebula_tenancy.vm_restoration import VmRestoration, is_being_resized
from opennebula_tenancy.vm_search import read_own
from opennebula_tenancy.vm_status import VmState
from opennebula_tenancy.vm_target import Target
from opennebula_tenancy.vm_waiting import read_vm, wait_until, wait_until_running, wait_until_settled


if TYPE_CHECKING:
    from opennebula_tenancy._transport.rpc import Rpc
    from opennebula_tenancy._wire.vm_records import VmRecord
    from opennebula_tenancy.vm_size import VmSize


log = logging.getLogger("opennebula_tenancy")

POWEROFF_S = 60.0
"""How long a machine's system may take to shut down before its plug is pulled, in seconds, unless the caller says."""
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
        self._way_back = VmRestoration(rpc, vm_id, key, timeout_s=timeout_s)

    def run(self, vm: VmRecord | None = None) -> VmRecord:
        """Bring the machine to the size, and to where it was powered.

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
        interrupted = phase_of(vm) is Phase.RESIZING
        if target.is_met(vm) and not interrupted:
            return vm
        self._check(vm, target)
        self._tell(vm, target)
        if vm.status.is_running and self._live:
            vm = self._while_running(vm, target)
        with Compensations() as undo:
            if vm.status.is_running and not target.is_met(vm):
                interrupted = True
                vm = self._turn_off(vm, undo)
            vm = self._change(vm, target, undo)
            if interrupted and not vm.status.is_running:
                vm = self._turn_on(vm)
            if not target.is_met(vm):
                left = "; ".join(map(str, target.changes(vm)))
                raise VerificationFailed(
                    f"OpenNebula accepted every call for VM {vm.id} ({vm.name}), yet would: {left}"
                )
        if interrupted:
            self._calls.set_phase(self._id, Phase.READY)
        return vm

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

    def _while_running(self, vm: VmRecord, target: Target) -> VmRecord:
        """Change what can be changed while the machine runs.

        Whether it can is the server's to say: it knows its driver, and asks the tenant's limits first.
        """
        try:
            with Compensations() as undo:
                return self._change(vm, target, undo)
        except WrongState:
            return read_vm(self._rpc, self._id)

    def _change(self, vm: VmRecord, target: Target, undo: Compensations) -> VmRecord:
        """Change what differs. The disk comes last: it cannot shrink back."""
        if not target.has_capacity(vm):
            vm = self._change_capacity(vm, target, undo)
        if not target.has_disk(vm) and target.has_capacity(vm):
            vm = self._grow(vm, target, undo)
        return vm

    def _change_capacity(self, vm: VmRecord, target: Target, undo: Compensations) -> VmRecord:
        """Change cores and memory; a driver that fails to do so while the machine runs leaves them as they are."""
        before, back = Target.of(vm), self._way_back
        with undo.making(lambda: back.capacity_left(before, target), lambda: back.capacity(before)):
            self._calls.resize(self._id, target)
        return self._at_rest(vm)

    def _grow(self, vm: VmRecord, target: Target, undo: Compensations) -> VmRecord:
        before, back = Target.of(vm), self._way_back
        try:
            with undo.making(lambda: back.disk_left(before, target), lambda: back.disk(before)):
                self._calls.grow_disk(self._id, target)
        except NotAuthorized as error:
            # The refusal for want of quota does not speak of it (VirtualMachineAPI::disk_resize).
            error.add_note("OpenNebula refuses so also where a limit on disks leaves no room.")
            raise
        vm = self._at_rest(vm)
        if not target.has_disk(vm):
            because = f": {vm.reason}" if vm.reason else ""
            raise VerificationFailed(
                f"disk {target.disk_id} of VM {vm.id} ({vm.name}) has {before.disk_mb} MB still, "
                f"not {target.disk_mb} MB{because}"
            )
        return vm

    def _at_rest(self, vm: VmRecord) -> VmRecord:
        """The machine when it is back in the state that its change began in."""
        running = vm.status.is_running
        return wait_until(
            self._rpc,
            self._id,
            lambda now: now.status.is_running if running else now.status.state == vm.status.state,
            f"{vm.status} again",
            timeout_s=self._timeout_s,
        )

    def _turn_off(self, vm: VmRecord, undo: Compensations) -> VmRecord:
        """Power the machine off: by its own system, and by its plug where that does not do so in its time."""
        undo.before(self._way_back.power_left, lambda: self._way_back.power(vm))
        # The next run reads here that it was running, should this one end before it runs again.
        self._calls.set_phase(self._id, Phase.RESIZING)
        if not self._hard:
            try:
                return self._power_off(vm, hard=False, timeout_s=self._poweroff_timeout_s)
            except (EnteredFailureState, WaitTimeout) as error:
                log.info("its plug is pulled: %s", error)
                vm = read_vm(self._rpc, self._id)
        return self._power_off(vm, hard=True, timeout_s=self._timeout_s)

    def _power_off(self, vm: VmRecord, *, hard: bool, timeout_s: float) -> VmRecord:
        asked, self._way_back.goes_off = self._way_back.goes_off, True
        try:
            self._calls.power_off(self._id, hard=hard)
        except ApiError:
            self._way_back.goes_off = asked
            raise
        return wait_until(
            self._rpc, self._id, lambda now: now.status.is_off, "powered off", timeout_s=timeout_s, before=vm
        )

    def _turn_on(self, vm: VmRecord) -> VmRecord:
        self._calls.power_on(self._id)
        return wait_until_running(self._rpc, self._id, timeout_s=self._timeout_s, before=vm)
