"""`VmResize`: brings a virtual machine to another size, or back to where it was."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from opennebula_tenancy.compensation import Compensations
from opennebula_tenancy.errors import (
    ApiError,
    EnteredFailureState,
    NotAuthorized,
    SettingsError,
    VerificationFailed,
    WrongState,
)
from opennebula_tenancy.plan import Progress, Step
from opennebula_tenancy.vm_calls import VmCalls
from opennebula_tenancy.vm_headroom import require_capacity, require_quota
from opennebula_tenancy.vm_mark import Phase, phase_of
from opennebula_tenancy.vm_search import read_own
from opennebula_tenancy.vm_status import VmState
from opennebula_tenancy.vm_target import Target
from opennebula_tenancy.vm_waiting import read_vm, wait_until, wait_until_running
from opennebula_tenancy.waiting import wait_for


if TYPE_CHECKING:
    from opennebula_tenancy._transport.rpc import Rpc
    from opennebula_tenancy._wire.vm_records import VmRecord
    from opennebula_tenancy.vm_size import VmSize


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
        hard: Whether to power it off hard where it has to be off.
        overcommit: Whether its host may be promised to more machines than it has room for.
        timeout_s: How many seconds each step may take.
        progress: Told of each step as it begins.
    """

    def __init__(
        self,
        rpc: Rpc,
        vm_id: int,
        key: str,
        size: VmSize,
        *,
        live: bool,
        hard: bool,
        overcommit: bool,
        timeout_s: float,
        progress: Progress | None = None,
    ) -> None:
        self._rpc = rpc
        self._calls = VmCalls(rpc)
        self._id = vm_id
        self._key = key
        self._size = size
        self._live = live
        self._hard = hard
        self._overcommit = overcommit
        self._timeout_s = timeout_s
        self._progress = progress
        self._undo = Compensations()
        self._goes_off = False

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
            VerificationFailed: OpenNebula accepted every call, and the machine has another size.
            RollbackIncomplete: One of these, and the machine is not as it was before: it says how.
        """
        vm = vm or read_own(self._rpc, self._id, self._key)
        # What is being resized shows its new size already, and may fail to get there.
        if not vm.status.stays and (vm.status.is_active or not Target.of(vm, self._size).is_met(vm)):
            vm = self._settled()
        target = Target.of(vm, self._size)
        interrupted = phase_of(vm) is Phase.RESIZING
        if target.is_met(vm) and not interrupted:
            return vm
        self._check(vm, target)
        self._tell(vm, target)
        with self._undo:
            if vm.status.is_running:
                vm = self._while_running(vm, target)
                if not target.is_met(vm):
                    interrupted = True
                    vm = self._turn_off(vm)
            vm = self._change(vm, target)
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

    def _settled(self) -> VmRecord:
        """The machine once it is on its way nowhere: an interrupted run may have left it on one."""

        def look() -> VmRecord | None:
            vm = read_own(self._rpc, self._id, self._key)
            return vm if vm.status.stays or vm.status.has_failed else None

        return wait_for(look, f"VM {self._id} is still on its way", timeout_s=self._timeout_s)

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
        if not self._live:
            return vm
        try:
            return self._change(vm, target)
        except WrongState:
            return read_vm(self._rpc, self._id)

    def _change(self, vm: VmRecord, target: Target) -> VmRecord:
        """Change what differs. The disk comes last: it cannot shrink back."""
        if not target.has_capacity(vm):
            vm = self._change_capacity(vm, target)
        if not target.has_disk(vm) and target.has_capacity(vm):
            vm = self._grow(vm, target)
        return vm

    def _change_capacity(self, vm: VmRecord, target: Target) -> VmRecord:
        """Change cores and memory; a driver that fails to do so while the machine runs leaves them as they are."""
        before = Target.of(vm)
        self._undo.before(
            lambda: (
                f"VM {self._id} with {target.vcpu} cores and {target.memory_mb} MB, "
                f"it had {before.vcpu} and {before.memory_mb} MB"
            ),
            lambda: self._restore_capacity(before),
        )
        self._calls.resize(self._id, target)
        return self._at_rest(vm)

    def _grow(self, vm: VmRecord, target: Target) -> VmRecord:
        held = Target.of(vm).disk_mb
        self._undo.before(
            lambda: f"disk {target.disk_id} of VM {self._id} with {target.disk_mb} MB, it had {held} MB",
            lambda: self._expect_disk(held),
        )
        try:
            self._calls.grow_disk(self._id, target)
        except NotAuthorized as error:
            # The refusal for want of quota does not speak of it (VirtualMachineAPI::disk_resize).
            error.add_note("OpenNebula refuses so also where a limit on disks leaves no room.")
            raise
        vm = self._at_rest(vm)
        if not target.has_disk(vm):
            because = f": {vm.reason}" if vm.reason else ""
            raise VerificationFailed(
                f"disk {target.disk_id} of VM {vm.id} ({vm.name}) has {held} MB still, not {target.disk_mb} MB{because}"
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

    def _turn_off(self, vm: VmRecord) -> VmRecord:
        self._undo.before(lambda: f"VM {self._id} powered off, it was running", lambda: self._restore_power(vm))
        # The next run reads here that it was running, should this one end before it runs again.
        self._calls.set_phase(self._id, Phase.RESIZING)
        try:
            self._goes_off = True
            self._calls.power_off(self._id, hard=self._hard)
        except ApiError:
            self._goes_off = False
            raise
        return self._await_off(vm)

    def _await_off(self, before: VmRecord) -> VmRecord:
        return wait_until(
            self._rpc, self._id, lambda now: now.status.is_off, "powered off", timeout_s=self._timeout_s, before=before
        )

    def _turn_on(self, vm: VmRecord) -> VmRecord:
        self._calls.power_on(self._id)
        return wait_until_running(self._rpc, self._id, timeout_s=self._timeout_s, before=vm)

    # The way back

    def _restore_capacity(self, before: Target) -> None:
        vm = self._settled()
        if before.has_capacity(vm):
            return
        self._calls.resize(self._id, before)
        if not before.has_capacity(self._at_rest(vm)):
            raise VerificationFailed(f"VM {self._id} ({vm.name}) did not get its former size back")

    def _expect_disk(self, held: int) -> None:
        vm = self._settled()
        if Target.of(vm).disk_mb != held:
            raise VerificationFailed(f"disk {Target.of(vm).disk_id} of VM {vm.id} ({vm.name}) has grown already")

    def _restore_power(self, before: VmRecord) -> None:
        if self._goes_off:
            # What was asked for may still be to come: a machine is shown to run until it has begun to go off.
            with contextlib.suppress(EnteredFailureState):
                self._await_off(before)
        if not (vm := self._settled()).status.is_running:
            self._turn_on(vm)
        self._calls.set_phase(self._id, Phase.READY)
