"""What users ask of VMs: `one.vm.action`, and which state allows what (DispatchManagerActions.cc)."""

from collections.abc import Callable

from opennebula_tenancy.emulator import lifecycle, limits, starting
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.driving import soon
from opennebula_tenancy.emulator.errors import Code, Refusal, action
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.vm_rights import operate
from opennebula_tenancy.emulator.vms import VirtualMachine
from opennebula_tenancy.emulator.vmstates import FAILURES, LcmState, VmState


_UNSTARTED = frozenset({VmState.INIT, VmState.PENDING, VmState.HOLD, VmState.CLONING, VmState.CLONING_FAILURE})
_UP = (LcmState.RUNNING, LcmState.UNKNOWN)


def _wrong_state(vm: VirtualMachine) -> Refusal:
    return action(f"This action is not available for state {vm.state_text}")


def _is_at(vm: VirtualMachine, *states: LcmState) -> bool:
    return vm.state is VmState.ACTIVE and vm.lcm in states


def _terminate(call: Call, vm: VirtualMachine, *, hard: bool) -> None:
    cloud = call.cloud
    if vm.state in _UNSTARTED:
        lifecycle.finish(cloud, vm)
    elif _is_at(vm, *FAILURES):
        soon(cloud, lambda: lifecycle.discard(cloud, vm, call.uid, call.gid))
    elif _is_at(vm, *_UP) or (hard and _is_at(vm, LcmState.SHUTDOWN)):
        soon(cloud, lambda: lifecycle.terminate(cloud, vm, hard=hard))
    elif vm.state is VmState.ACTIVE:
        raise action(f"Could not terminate VM {vm.id}, wrong state {vm.state_text}.")
    elif vm.state is not VmState.DONE:
        soon(cloud, lambda: lifecycle.terminate(cloud, vm, hard=False))


def _undeploy(call: Call, vm: VirtualMachine, *, hard: bool) -> None:
    again = hard and _is_at(vm, LcmState.SHUTDOWN_UNDEPLOY)
    if not (vm.state is VmState.POWEROFF or _is_at(vm, *_UP) or again):
        raise _wrong_state(vm)
    soon(call.cloud, lambda: lifecycle.undeploy(call.cloud, vm, call.uid, call.gid, hard=hard))


def _power_off(call: Call, vm: VirtualMachine, *, hard: bool) -> None:
    if not (_is_at(vm, *_UP) or (hard and _is_at(vm, LcmState.SHUTDOWN_POWEROFF))):
        raise _wrong_state(vm)
    soon(call.cloud, lambda: lifecycle.power_off(call.cloud, vm, call.uid, call.gid, hard=hard))


def _suspend(call: Call, vm: VirtualMachine) -> None:
    if not vm.is_at(LcmState.RUNNING):
        raise _wrong_state(vm)
    soon(call.cloud, lambda: lifecycle.suspend(call.cloud, vm, call.uid, call.gid))


def _stop(call: Call, vm: VirtualMachine) -> None:
    if not (vm.state is VmState.SUSPENDED or vm.is_at(LcmState.RUNNING)):
        raise _wrong_state(vm)
    soon(call.cloud, lambda: lifecycle.stop(call.cloud, vm, call.uid, call.gid))


def _hold(_call: Call, vm: VirtualMachine) -> None:
    if vm.state is not VmState.PENDING:
        raise _wrong_state(vm)
    vm.move_to(VmState.HOLD)


def _release(call: Call, vm: VirtualMachine) -> None:
    if vm.state is not VmState.HOLD:
        raise _wrong_state(vm)
    vm.move_to(VmState.PENDING)
    starting.await_place(call.cloud, vm)


def _reboot(_call: Call, vm: VirtualMachine) -> None:
    if not vm.is_at(LcmState.RUNNING):
        raise _wrong_state(vm)
    vm.resched = False


def _check_movable(vm: VirtualMachine) -> None:
    if not (vm.state is VmState.POWEROFF or _is_at(vm, *_UP)):
        raise _wrong_state(vm)


def _resched(call: Call, vm: VirtualMachine) -> None:
    _check_movable(vm)
    starting.await_move(call.cloud, vm)


def _unresched(_call: Call, vm: VirtualMachine) -> None:
    _check_movable(vm)
    vm.resched = False


def _resume(call: Call, vm: VirtualMachine) -> None:
    """Resume a VM once the quotas allow it to run; they are asked first, whatever its state is."""
    cloud = call.cloud
    taken = vm.charge(basic=False, running=True)
    try:
        limits.charge(cloud, taken, vm.uid, vm.gid)
    except Refusal as refusal:
        raise _OverQuota(refusal.text) from refusal
    if vm.state in {VmState.STOPPED, VmState.UNDEPLOYED}:
        vm.move_to(VmState.PENDING)
        starting.await_place(cloud, vm)
    elif vm.state in {VmState.SUSPENDED, VmState.POWEROFF}:
        soon(cloud, lambda: starting.restart(cloud, vm, call.uid, call.gid))
    elif _is_at(vm, LcmState.UNKNOWN):
        soon(cloud, lambda: starting.reboot(cloud, vm))
    else:
        limits.discharge(cloud, taken, vm.uid, vm.gid)
        raise _wrong_state(vm)


class _OverQuota(Exception):
    """A quota does not let a VM run."""


_Act = Callable[[Call, VirtualMachine], None]

_ACTIONS: dict[str, tuple[str, _Act]] = {
    "terminate": ("terminate", lambda call, vm: _terminate(call, vm, hard=False)),
    "terminate-hard": ("terminate", lambda call, vm: _terminate(call, vm, hard=True)),
    "undeploy": ("undeploy", lambda call, vm: _undeploy(call, vm, hard=False)),
    "undeploy-hard": ("undeploy", lambda call, vm: _undeploy(call, vm, hard=True)),
    "poweroff": ("poweroff", lambda call, vm: _power_off(call, vm, hard=False)),
    "poweroff-hard": ("poweroff", lambda call, vm: _power_off(call, vm, hard=True)),
    "suspend": ("suspend", _suspend),
    "stop": ("stop", _stop),
    "hold": ("hold", _hold),
    "release": ("release", _release),
    "resume": ("resume", _resume),
    "reboot": ("reboot", _reboot),
    "reboot-hard": ("reboot", _reboot),
    "resched": ("resched", _resched),
    "unresched": ("resched", _unresched),
}
"""By the name of the action: the operation whose right it needs, and what it does."""


@method("one.vm.action", Kind.VM, Right.MANAGE)
def act(call: Call, name: str, oid: int) -> int:
    """Submits an action to a VM; what it starts shows one step later."""
    operation, start = _ACTIONS.get(name, ("", None))
    vm = operate(call, oid, operation)
    if start is None:
        raise action(f'Action "{name}" is not supported')
    try:
        start(call, vm)
    except _OverQuota as over:
        raise action(str(over)) from over
    except Refusal as refusal:
        if refusal.code is not Code.ACTION:
            raise
        raise action(f'Error performing action "{name}": {refusal.text}') from refusal
    return oid
