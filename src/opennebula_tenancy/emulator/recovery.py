"""What someone can do about VMs whose drivers failed or never answered: `one.vm.recover` (LifeCycleActions.cc)."""

from collections.abc import Callable

from opennebula_tenancy.emulator import lifecycle, limits, starting
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.driving import ask, ended, soon, succeed
from opennebula_tenancy.emulator.errors import Refusal, action
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.vm_rights import operate
from opennebula_tenancy.emulator.vms import VirtualMachine
from opennebula_tenancy.emulator.vmstates import FAILURES, HistoryAction, LcmState, VmState


_ASKED_AGAIN = ("BOOT", "PROLOG", "EPILOG", "SHUTDOWN", "SAVE", "MIGRATE")
"""How the names of the states begin in which a retry asks the driver again; in others it does nothing."""


def _end(call: Call, vm: VirtualMachine, *, success: bool) -> None:
    """Take it that the driver has succeeded, or failed."""
    cloud = call.cloud
    if vm.state is VmState.CLONING_FAILURE:
        soon(cloud, lambda: _look_at_disks_again(call, vm))
        return
    if vm.state is not VmState.ACTIVE:
        raise action(f"Could not perform a recover operation on VM {vm.id}, wrong state {vm.state_text}.")
    if vm.is_at(LcmState.UNKNOWN):
        vm.move_to(VmState.ACTIVE, LcmState.RUNNING)
        return
    doing = vm.doing

    def end() -> None:
        if doing is None or vm.doing is not doing or not (vm.is_at(doing.at) or vm.lcm in FAILURES):
            return
        if success or doing.failed is None:
            succeed(vm, doing)
        elif vm.is_at(doing.at):
            doing.failed()

    soon(cloud, end)


def _look_at_disks_again(call: Call, vm: VirtualMachine) -> None:
    if vm.state is VmState.CLONING_FAILURE and not starting.look_at_disks(call.cloud, vm):
        starting.await_disks(call.cloud, vm)


def _retry(call: Call, vm: VirtualMachine) -> None:
    """Ask the driver again."""
    if vm.state is not VmState.ACTIVE:
        raise action(f"Could not perform a retry on VM {vm.id}, wrong state {vm.state_text}.")
    doing = vm.doing
    if doing is not None and vm.lcm.name.startswith(_ASKED_AGAIN):
        vm.move_to(VmState.ACTIVE, doing.at)
        ask(call.cloud, vm, doing)


def _delete(call: Call, vm: VirtualMachine) -> None:
    if vm.state is VmState.ACTIVE:
        soon(call.cloud, lambda: lifecycle.discard(call.cloud, vm, call.uid, call.gid))
    else:
        lifecycle.finish(call.cloud, vm)


def _recreate(call: Call, vm: VirtualMachine) -> None:
    """Deploy a VM anew, with disks as they were at first."""
    cloud = call.cloud
    if vm.state is VmState.DONE:
        raise action("Cannot delete-recreate a VM already in DONE state")
    if vm.state in {VmState.STOPPED, VmState.UNDEPLOYED, VmState.HOLD}:
        if vm.state is not VmState.HOLD:
            _charge_running(call, vm)
        ended(vm, HistoryAction.DELETE_RECREATE, call.uid, call.gid)
        vm.move_to(VmState.PENDING)
        starting.await_place(cloud, vm)
    elif vm.state in {VmState.POWEROFF, VmState.SUSPENDED, VmState.ACTIVE}:
        soon(cloud, lambda: lifecycle.resubmit(cloud, vm, call.uid, call.gid))


def _charge_running(call: Call, vm: VirtualMachine) -> None:
    try:
        limits.charge(call.cloud, vm.charge(basic=False, running=True), vm.uid, vm.gid)
    except Refusal as refusal:
        raise action(refusal.text[:1].upper() + refusal.text[1:]) from refusal


_OPERATIONS: dict[int, tuple[str, Callable[[Call, VirtualMachine], None]]] = {
    0: ("recover", lambda call, vm: _end(call, vm, success=False)),
    1: ("recover", lambda call, vm: _end(call, vm, success=True)),
    2: ("retry", _retry),
    3: ("delete", _delete),
    4: ("delete", _recreate),
    5: ("delete", lambda call, vm: lifecycle.finish(call.cloud, vm)),
}
"""By the operation's code: the operation whose right it needs, and what it does."""


@method("one.vm.recover", Kind.VM, Right.ADMIN)
def recover(call: Call, oid: int, operation: int) -> int:
    """Recovers a VM: the driver failed (0), succeeded (1), is asked again (2); delete (3, 5) or recreate the VM (4)."""
    if operation not in _OPERATIONS:
        raise action("Wrong recovery operation code")
    name, do = _OPERATIONS[operation]
    do(call, operate(call, oid, name))
    return oid
