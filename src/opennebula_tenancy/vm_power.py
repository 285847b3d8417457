"""`VmPower`: powers virtual machines off and on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opennebula_tenancy.errors import EnteredFailureState, VerificationFailed, WaitTimeout, WrongState
from opennebula_tenancy.vm_calls import VmCalls
from opennebula_tenancy.vm_mark import Phase, phase_of
from opennebula_tenancy.vm_search import read_own
from opennebula_tenancy.vm_target import is_changed
from opennebula_tenancy.vm_waiting import wait_until, wait_until_running, wait_until_settled


if TYPE_CHECKING:
    from collections.abc import Callable

    from opennebula_tenancy._transport.rpc import Rpc
    from opennebula_tenancy._wire.vm_records import VmRecord


_ROUNDS = 4
"""How often it is tried, the first time included, where somebody changes the machine meanwhile."""


class VmPower:
    """The power of machines that this library made. A run that resizes one at the same time heeds it.

    Args:
        rpc: Calls OpenNebula.
    """

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._calls = VmCalls(rpc)

    def off(self, vm_id: int, key: str, *, hard: bool, timeout_s: float) -> None:
        """Power off a machine, and wait until it is; see `Vm.power_off`."""

        def step(vm: VmRecord) -> bool:
            if not vm.status.is_off:
                self._calls.power_off(vm_id, hard=hard)
                vm = wait_until(
                    self._rpc, vm_id, lambda now: now.status.is_off, "powered off", timeout_s=timeout_s, before=vm
                )
            if phase_of(vm) is not Phase.RESIZING:
                return True
            # A run that resizes it would start it again. It may be just about to: look once more.
            self._calls.set_phase(vm_id, Phase.OFF)
            return False

        self._repeat(vm_id, key, step, timeout_s)

    def on(self, vm_id: int, key: str, *, timeout_s: float) -> None:
        """Start a machine, and wait until it runs; see `Vm.power_on`.

        OpenNebula counts a machine that is off as running with every request to start it, for good: where two come
        before the first has begun, the tenant's usage of RUNNING_* limits stays too high (`onedb fsck` mends it).
        """

        def step(vm: VmRecord) -> bool:
            if not vm.status.is_running:
                self._calls.power_on(vm_id)
                vm = wait_until_running(self._rpc, vm_id, timeout_s=timeout_s, before=vm)
            if phase_of(vm) in {Phase.RESIZING, Phase.OFF}:
                self._calls.set_phase(vm_id, Phase.READY)
            return True

        self._repeat(vm_id, key, step, timeout_s)

    def _repeat(self, vm_id: int, key: str, step: Callable[[VmRecord], bool], timeout_s: float) -> None:
        """Take a step until it says that it is over, and once more where somebody has changed the machine meanwhile."""
        for rounds_left in reversed(range(_ROUNDS)):
            vm = read_own(self._rpc, vm_id, key)
            try:
                if step(vm):
                    return
            except (EnteredFailureState, WrongState) as error:
                try:
                    now = wait_until_settled(self._rpc, vm_id, timeout_s=timeout_s)
                except WaitTimeout:
                    raise error from None
                passing = isinstance(error, WrongState) and (now.status.is_running or now.status.is_off)
                changed = is_changed(now, vm) or phase_of(now) is not phase_of(vm)
                if not rounds_left or now.status.has_failed or not (passing or changed):
                    raise
        raise VerificationFailed(f"VM {vm_id} was powered {_ROUNDS} times, and somebody undid it each time")
