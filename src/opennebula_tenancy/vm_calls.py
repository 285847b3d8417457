"""`VmCalls`: the single calls that virtual machines are made, changed and unmade with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opennebula_tenancy._wire.template import render
from opennebula_tenancy.converging import MERGE, Converging
from opennebula_tenancy.errors import ApiError, NotFound, OutcomeUnknown, WrongState
from opennebula_tenancy.vm_mark import of_phase
from opennebula_tenancy.vm_search import one_of, vms_of_key
from opennebula_tenancy.vm_status import LcmState, VmState, VmStatus
from opennebula_tenancy.vm_waiting import read_vm


if TYPE_CHECKING:
    from collections.abc import Callable

    from opennebula_tenancy._transport.rpc import CallRecord
    from opennebula_tenancy._wire.template import Template
    from opennebula_tenancy._wire.vm_records import VmRecord
    from opennebula_tenancy.vm_mark import Phase
    from opennebula_tenancy.vm_spec import VmSpec
    from opennebula_tenancy.vm_target import Target


_RECOVER_DELETE = 3
"""The operation of one.vm.recover that removes a machine whatever its state."""
_POWEROFF_HARD = 20
"""The number of that action in a machine's history (VMActions.h)."""
_ENDING = frozenset({LcmState.SHUTDOWN, LcmState.EPILOG, LcmState.CLEANUP_DELETE})
_NO_OVERCOMMIT_CHECK = False
"""The `enforce` argument of one.vm.resize. With it, a refusal for want of capacity still takes what was asked for off
the tenant's usage, for good: the capacity is looked up before instead."""


def is_ending(status: VmStatus) -> bool:
    """Whether a machine is terminated, or about to be."""
    return status.is_done or (status.is_active and status.lcm_state in _ENDING)


def _is_deleted(status: VmStatus) -> bool:
    return status.is_done or (status.is_active and status.lcm_state == LcmState.CLEANUP_DELETE)


class VmCalls(Converging):
    """The calls, each with the look that settles it."""

    def instantiate(self, spec: VmSpec, text: str) -> int:
        """Make a machine of a VM template.

        Args:
            spec: The machine.
            text: What the template does not say; its key among it.

        Returns:
            The id of the machine that carries the key.
        """

        def look() -> int | None:
            vm = one_of(vms_of_key(self._rpc, spec.vdc, spec.key), spec.key)
            return None if vm is None else vm.id

        made: int = self._rpc.mutate(
            "one.template.instantiate", spec.template, spec.name, False, text, False, look=look
        )
        return made

    def set_phase(self, vm_id: int, phase: Phase, run: str = "") -> None:
        """Write what this library is at with a machine, and which run is."""
        wanted = of_phase(phase, run)
        look = self._when(vm_id, lambda vm: wanted.items() <= vm.user_template.items())
        self._rpc.mutate("one.vm.update", vm_id, render(wanted), MERGE, look=look)

    def rename(self, vm_id: int, name: str) -> None:
        """Give a machine another name."""
        self._rpc.mutate("one.vm.rename", vm_id, name, look=self._when(vm_id, lambda vm: vm.name == name))

    def resize(self, vm_id: int, target: Target, before: Target) -> None:
        """Change the cores and the memory of a machine. Where it runs, that has only begun.

        Args:
            vm_id: The machine.
            target: The size that it is to have.
            before: The size that it has. What stays is not sent: another run may be changing that.
        """
        sizes: Template = {
            **({"VCPU": target.vcpu} if target.vcpu != before.vcpu else {}),
            **({"CPU": f"{target.cpu:f}"} if target.cpu != before.cpu else {}),
            **({"MEMORY": target.memory_mb} if target.memory_mb != before.memory_mb else {}),
        }
        text = render(sizes)
        look = self._when(vm_id, target.has_capacity)
        self._rpc.mutate("one.vm.resize", vm_id, text, _NO_OVERCOMMIT_CHECK, look=look)

    def grow_disk(self, vm_id: int, target: Target) -> None:
        """Begin to grow the first disk of a machine."""
        disk_id = -1 if target.disk_id is None else target.disk_id
        look = self._when(vm_id, target.has_disk)
        self._converge("one.vm.diskresize", vm_id, disk_id, str(target.disk_mb), look=look)

    def power_off(self, vm_id: int, *, hard: bool) -> bool:
        """Begin to power off a machine; by its plug also one whose system is about to shut down.

        Returns:
            Whether it was done here, or may have been; False where it was off, or about to be, before.
        """

        def goes_off(vm: VmRecord) -> bool:
            if vm.status != VmStatus(VmState.ACTIVE, LcmState.SHUTDOWN_POWEROFF):
                return vm.status.is_off
            return not hard or (vm.history is not None and vm.history[1] == _POWEROFF_HARD)

        look, perhaps = self._when(vm_id, goes_off), False

        def hear(record: CallRecord) -> None:
            nonlocal perhaps
            perhaps |= record.mutates and record.outcome == OutcomeUnknown.__name__

        try:
            self._rpc.overheard(hear).mutate("one.vm.action", "poweroff-hard" if hard else "poweroff", vm_id, look=look)
        except ApiError:
            if look() is None:
                raise
            return perhaps
        return True

    def power_on(self, vm_id: int) -> None:
        """Begin to start a machine that is off, suspended, stopped, undeployed, or lost by its host."""
        look = self._when(vm_id, lambda vm: vm.status.is_running or not (vm.status.stays or vm.status.is_lost))
        self._converge("one.vm.action", "resume", vm_id, look=look)

    def reboot(self, vm_id: int, *, hard: bool) -> None:
        """Reboot a machine. Nothing shows that it was: a lost reply sends it again."""
        self._rpc.mutate("one.vm.action", "reboot-hard" if hard else "reboot", vm_id, look=lambda: None)

    def ask_to_end(self, vm_id: int) -> None:
        """Begin to terminate a machine. It being gone is a success.

        Raises:
            WrongState: It is on its way from one state to another (`DispatchManager::terminate`).
        """
        self._converge("one.vm.action", "terminate-hard", vm_id, look=self._when_gone(vm_id, is_ending))

    def terminate(self, vm_id: int) -> None:
        """Begin to terminate a machine, whatever its state. It being gone is a success.

        A machine that refuses that on its way from one state to another is recovered by deleting it, as OpenNebula's
        documentation has it for machines that are stuck.
        """
        try:
            self.ask_to_end(vm_id)
        except WrongState:
            self.delete(vm_id)

    def delete(self, vm_id: int) -> None:
        """Begin to remove a machine without asking it, or its host, to shut it down."""
        self._converge("one.vm.recover", vm_id, _RECOVER_DELETE, look=self._when_gone(vm_id, _is_deleted))

    def _when_gone(self, vm_id: int, is_there: Callable[[VmStatus], bool]) -> Callable[[], int | None]:
        def look() -> int | None:
            try:
                return vm_id if is_there(read_vm(self._rpc, vm_id).status) else None
            except NotFound:
                return vm_id

        return look

    def _when(self, vm_id: int, is_there: Callable[[VmRecord], bool]) -> Callable[[], int | None]:
        def look() -> int | None:
            return vm_id if is_there(read_vm(self._rpc, vm_id)) else None

        return look
