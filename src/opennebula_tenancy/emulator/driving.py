"""How drivers move VMs from state to state, and how the history of a VM tells of it.

What a driver does for a VM is a `Transition` that the VM keeps while it lasts, and afterwards if it failed: so that
someone may recover it (`opennebula_tenancy.emulator.recovery`).
"""

import attrs

from opennebula_tenancy.emulator import limits
from opennebula_tenancy.emulator.placement import dated
from opennebula_tenancy.emulator.state import Cloud
from opennebula_tenancy.emulator.transitions import Then, Transition
from opennebula_tenancy.emulator.vms import HistoryRecord, VirtualMachine
from opennebula_tenancy.emulator.vmstates import HistoryAction, LcmState, VmState


_TRANSFERS = frozenset({"prolog", "epilog", "saveas"})
"""Actions of the transfer drivers; the others are those of the virtualization driver."""


def drive(  # noqa: PLR0917 - what happens when reads as a list
    cloud: Cloud, vm: VirtualMachine, action: str, at: LcmState, then: Then, failed: Then | None = None
) -> None:
    """Let a driver do something for a VM that stays where it is meanwhile.

    Args:
        cloud: The state; its `driver_actions` say how long the action takes, and whether it fails.
        vm: The VM.
        action: Name of the driver's action, as the dummy drivers name it.
        at: What the VM is at while the driver works.
        then: What to do when the driver succeeded.
        failed: What to do when it failed; None for actions that cannot fail.
    """
    vm.move_to(VmState.ACTIVE, at)
    vm.doing = Transition(action, at, then, failed)
    ask(cloud, vm, vm.doing)


def ask(cloud: Cloud, vm: VirtualMachine, doing: Transition) -> None:
    """Ask the driver for what a VM is at, for the first time or again."""
    outcome = cloud.driver_actions.take(doing.action, vm.id)
    if outcome.hangs:
        return

    def done() -> None:
        if vm.doing is not doing or not vm.is_at(doing.at):
            return
        if outcome.fails and doing.failed is not None:
            _complain(cloud, vm, doing.action, outcome.message)
            doing.failed()
            return
        if doing.action == "deploy" and vm.place is not None:
            vm.deploy_id = f"{vm.place.hostname}:{vm.name}:dummy"
        succeed(vm, doing)

    cloud.later(cloud.config.step_s if outcome.takes_s is None else outcome.takes_s, done)


def succeed(vm: VirtualMachine, doing: Transition) -> None:
    """End what a driver did for a VM."""
    vm.doing = None
    doing.then()


def soon(cloud: Cloud, action: Then, steps: int = 1) -> None:
    """Do something some steps later: actions of users take effect after their call returned."""
    cloud.later(cloud.config.step_s * steps, action)


def _complain(cloud: Cloud, vm: VirtualMachine, action: str, message: str) -> None:
    """Write what a driver says about its failure to ERROR; without words, what was there stays."""
    if action == "deploy" and vm.place is not None:
        message = message or f"{vm.place.hostname}:{vm.name}:dummy"
    if not message:
        return
    kind = "Error executing image transfer script" if action in _TRANSFERS else _kind(action)
    set_error(cloud, vm, f"{kind}: {message}")


def _kind(action: str) -> str:
    """The name of a driver's message: ATTACHDISK, but RESIZEDISK."""
    return action.replace("_", "").upper()


def set_error(cloud: Cloud, vm: VirtualMachine, text: str) -> None:
    """Write an error to the VM's ERROR attribute."""
    vm.template.set("ERROR", dated(cloud, text))


# Quotas of what runs


def off(cloud: Cloud, vm: VirtualMachine, state: VmState) -> None:
    """Enter a state in which the VM does not run, and count it so."""
    limits.discharge(cloud, vm.charge(basic=False, running=vm.is_counted_running), vm.uid, vm.gid)
    vm.move_to(state)
    place = vm.place
    if place is not None and not place.retime and place.rstime:
        place.retime = cloud.now_s()


def on(cloud: Cloud, vm: VirtualMachine) -> None:
    """Count a VM as running although it is off: what leads it elsewhere counts it out again."""
    limits.recharge(cloud, vm.charge(basic=False, running=True), vm.uid, vm.gid)


# History


def ended(vm: VirtualMachine, action: HistoryAction, uid: int, gid: int) -> None:
    """Note in the history who asked for what."""
    place = vm.place
    if place is not None:
        place.action, place.uid, place.gid = action, uid, gid


def runs(vm: VirtualMachine) -> None:
    """Bring a VM to RUNNING. What was asked for, and may have failed, is forgotten."""
    ended(vm, HistoryAction.NONE, -1, -1)
    vm.move_to(VmState.ACTIVE, LcmState.RUNNING)


def new_record(cloud: Cloud, vm: VirtualMachine) -> HistoryRecord | None:
    """Continue the history of a VM on its host with another record."""
    last = vm.place
    if last is None:
        return None
    last.etime = cloud.now_s()
    made = HistoryRecord(
        seq=last.seq + 1,
        hostname=last.hostname,
        hid=last.hid,
        cid=last.cid,
        ds_id=last.ds_id,
        vm_mad=last.vm_mad,
        tm_mad=last.tm_mad,
        stime=cloud.now_s(),
    )
    vm.history.append(made)
    return made


def note_change(cloud: Cloud, vm: VirtualMachine, action: HistoryAction, uid: int, gid: int) -> None:
    """Note in the history that the VM was changed on its host: the record ends, and another like it begins."""
    last = vm.place
    if last is None:
        return
    before = attrs.evolve(last)
    made = new_record(cloud, vm)
    if made is not None:
        now_s = cloud.now_s()
        made.rstime, made.action = now_s, before.action
        made.retime = now_s if last.retime else 0
        last.retime = last.retime or now_s
    last.action, last.uid, last.gid = action, uid, gid
