"""`VmRestoration`: gives a virtual machine back what a resizing that failed has taken from it."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from opennebula_tenancy.errors import EnteredFailureState, VerificationFailed, WentAway
from opennebula_tenancy.vm_calls import VmCalls
from opennebula_tenancy.vm_mark import Phase, is_resized_by, phase_of
from opennebula_tenancy.vm_search import read_own
from opennebula_tenancy.vm_status import LcmState, VmStatus
from opennebula_tenancy.vm_target import Target
from opennebula_tenancy.vm_waiting import wait_until, wait_until_running, wait_until_settled


if TYPE_CHECKING:
    from opennebula_tenancy._transport.rpc import Rpc
    from opennebula_tenancy._wire.vm_records import VmRecord


_GROWING = frozenset({LcmState.DISK_RESIZE, LcmState.DISK_RESIZE_POWEROFF, LcmState.DISK_RESIZE_UNDEPLOYED})
_TURNING = frozenset({LcmState.SHUTDOWN_POWEROFF, LcmState.BOOT_POWEROFF, LcmState.HOTPLUG_RESIZE})


def is_being_resized(status: VmStatus) -> bool:
    """Whether a machine is at one of the steps of a resizing."""
    return status.is_active and status.lcm_state in _GROWING | _TURNING


class VmRestoration:
    """The way back to a former size and to running, and what is left where that does not succeed.

    All of it has one deadline, that begins with the first step. A machine that is gone meanwhile has nothing left of
    what was done to it. What another run, or somebody, has changed since is theirs, and stays.

    Args:
        rpc: Calls OpenNebula.
        vm_id: The machine.
        key: The key that it has to carry.
        run: Names the run that it is the way back of.
        timeout_s: How many seconds all of it may take.

    Attributes:
        claimed: Whether the run has marked it as one that is to run again.
        off_from: The machine as it was when it was asked to go off, as it may still be about to; None where it was not.
    """

    def __init__(self, rpc: Rpc, vm_id: int, key: str, run: str, *, timeout_s: float) -> None:
        self._rpc = rpc
        self._calls = VmCalls(rpc)
        self._id = vm_id
        self._key = key
        self._run = run
        self._timeout_s = timeout_s
        self._ends_s: float | None = None
        self._seen: VmRecord | None = None
        self.claimed = False
        self.off_from: VmRecord | None = None

    def capacity(self, before: Target, target: Target) -> None:
        """Give the machine its cores and its memory back, where it has those that this run gave it."""
        with contextlib.suppress(WentAway):
            if not target.has_capacity(vm := self._look()) or self._is_another_s(vm):
                return
            vm = self._settled()
            if target.has_capacity(vm):
                self._calls.resize(self._id, before, target)
                vm = self._settled()
                if not before.has_capacity(vm):
                    raise VerificationFailed(f"VM {self._id} ({vm.name}) did not get its former size back")

    def disk(self, before: Target, target: Target) -> None:
        """Make sure that the disk has not grown: it does not shrink."""
        with contextlib.suppress(WentAway):
            vm = self._look()
            if vm.status.is_active and vm.status.lcm_state in _GROWING:
                vm = self._settled()
            if target.has_disk(vm):
                raise VerificationFailed(f"disk {before.disk_id} of VM {vm.id} ({vm.name}) has grown already")

    def power(self) -> None:
        """Let the machine run again, unless another run sees to that by now, or someone wanted it off."""
        with contextlib.suppress(WentAway):
            vm = self._look()
            if not self.claimed or phase_of(vm) is Phase.OFF or self._is_another_s(vm):
                return
            if self.off_from is not None:
                # What was asked for may still be to come: a machine is shown to run until it has begun to go off.
                with contextlib.suppress(EnteredFailureState):
                    self._seen = wait_until(
                        self._rpc,
                        self._id,
                        lambda now: now.status.is_off,
                        "powered off",
                        timeout_s=self._left_s,
                        before=self.off_from,
                    )
            if not (vm := self._settled()).status.is_running:
                self._calls.power_on(self._id)
                self._seen = wait_until_running(self._rpc, self._id, timeout_s=self._left_s, before=vm)
            self._calls.set_phase(self._id, Phase.READY)

    # What is left

    def capacity_left(self, before: Target, target: Target) -> str:
        """What is left of other cores and memory."""
        held, perhaps = (target, "perhaps ") if self._seen is None else (Target.of(self._seen), "")
        return (
            f"VM {self._id} {perhaps}with {held.vcpu} cores and {held.memory_mb} MB{self._at}, "
            f"it had {before.vcpu} and {before.memory_mb} MB"
        )

    def disk_left(self, before: Target, target: Target) -> str:
        """What is left of another disk."""
        held, perhaps = (target, "perhaps ") if self._seen is None else (Target.of(self._seen), "")
        return (
            f"disk {before.disk_id} of VM {self._id} {perhaps}with {held.disk_mb} MB{self._at}, "
            f"it had {before.disk_mb} MB"
        )

    def power_left(self) -> str:
        """What is left of being powered off."""
        vm = self._seen
        if vm is None:
            return f"VM {self._id} perhaps powered off, it was running"
        if vm.status.is_running:
            return f"VM {self._id} marked as being resized, until it is resized once more"
        return f"VM {self._id} {'powered off' if vm.status.is_off else vm.status}, it was running"

    @property
    def _at(self) -> str:
        """The state that the machine was last seen in, where it is still at something."""
        vm = self._seen
        return "" if vm is None or vm.status.stays else f" ({vm.status})"

    # Looking

    def _is_another_s(self, vm: VmRecord) -> bool:
        return phase_of(vm) is Phase.RESIZING and not is_resized_by(vm, self._run)

    @property
    def _left_s(self) -> float:
        if self._ends_s is None:
            self._ends_s = time.monotonic() + self._timeout_s
        return max(0.0, self._ends_s - time.monotonic())

    def _look(self) -> VmRecord:
        self._seen = read_own(self._rpc, self._id, self._key)
        return self._seen

    def _settled(self) -> VmRecord:
        self._seen = wait_until_settled(self._rpc, self._id, timeout_s=self._left_s)
        return self._seen
