"""What hosts report of VMs that changed by themselves: a guest that shut down, a VM that vanished, one that is back.

Nothing here happens by itself; tests call these, holding the cloud's lock (LifeCycleStates.cc, `trigger_monitor_*`).
"""

from opennebula_tenancy.emulator import limits
from opennebula_tenancy.emulator.driving import ended, new_record, off
from opennebula_tenancy.emulator.state import Cloud
from opennebula_tenancy.emulator.vms import VirtualMachine
from opennebula_tenancy.emulator.vmstates import HistoryAction, LcmState, VmState


def shut_down(cloud: Cloud, oid: int) -> None:
    """The guest of a running VM has shut down: the VM is POWEROFF."""
    vm = cloud.pool(VirtualMachine).get(oid)
    if vm.is_at(LcmState.RUNNING) or vm.is_at(LcmState.UNKNOWN):
        vm.resched = False
        ended(vm, HistoryAction.MONITOR, -1, -1)
        off(cloud, vm, VmState.POWEROFF)


def lost(cloud: Cloud, oid: int) -> None:
    """The host of a running VM does not find it any more: the VM is UNKNOWN, and still counted as running."""
    vm = cloud.pool(VirtualMachine).get(oid)
    if vm.is_at(LcmState.RUNNING):
        vm.resched = False
        vm.move_to(VmState.ACTIVE, LcmState.UNKNOWN)


def found(cloud: Cloud, oid: int) -> None:
    """The host reports that a VM runs which was lost, off or suspended; no quota can prevent that."""
    vm = cloud.pool(VirtualMachine).get(oid)
    if vm.is_at(LcmState.UNKNOWN):
        vm.move_to(VmState.ACTIVE, LcmState.RUNNING)
    elif vm.state in {VmState.POWEROFF, VmState.SUSPENDED}:
        record = new_record(cloud, vm)
        if record is not None:
            record.rstime = cloud.now_s()
        limits.recharge(cloud, vm.charge(basic=False, running=True), vm.uid, vm.gid)
        vm.move_to(VmState.ACTIVE, LcmState.RUNNING)
