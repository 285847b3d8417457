"""How VMs stop, go to rest and end, and what of theirs is free then."""

import attrs

from opennebula_tenancy.emulator import limits, nics
from opennebula_tenancy.emulator.driving import drive, ended, off, on, runs
from opennebula_tenancy.emulator.hosts import Host
from opennebula_tenancy.emulator.images import Image
from opennebula_tenancy.emulator.starting import await_place, look_again
from opennebula_tenancy.emulator.state import Cloud
from opennebula_tenancy.emulator.vms import VirtualMachine, image_storage
from opennebula_tenancy.emulator.vmstates import HistoryAction, LcmState, VmState
from opennebula_tenancy.emulator.vrouters import VirtualRouter


_RESTING = frozenset({VmState.SUSPENDED, VmState.POWEROFF, VmState.STOPPED, VmState.UNDEPLOYED})


def _is_up(vm: VirtualMachine) -> bool:
    return vm.is_at(LcmState.RUNNING) or vm.is_at(LcmState.UNKNOWN)


def _set_about(vm: VirtualMachine, action: HistoryAction, uid: int, gid: int) -> None:
    """Note what is asked of a VM; it is not moved to another host any more."""
    vm.resched = False
    ended(vm, action, uid, gid)


# Rest


def power_off(cloud: Cloud, vm: VirtualMachine, uid: int, gid: int, *, hard: bool) -> None:
    """Bring a RUNNING VM to POWEROFF."""
    if not (_is_up(vm) or (hard and vm.is_at(LcmState.SHUTDOWN_POWEROFF))):
        return
    _set_about(vm, HistoryAction.POWEROFF_HARD if hard else HistoryAction.POWEROFF, uid, gid)
    drive(
        cloud,
        vm,
        "cancel" if hard else "shutdown",
        LcmState.SHUTDOWN_POWEROFF,
        lambda: off(cloud, vm, VmState.POWEROFF),
        lambda: runs(vm),
    )


def suspend(cloud: Cloud, vm: VirtualMachine, uid: int, gid: int) -> None:
    """Bring a RUNNING VM to SUSPENDED."""
    if vm.is_at(LcmState.RUNNING):
        _set_about(vm, HistoryAction.SUSPEND, uid, gid)
        then = lambda: off(cloud, vm, VmState.SUSPENDED)  # noqa: E731 - one of two continuations
        drive(cloud, vm, "save", LcmState.SAVE_SUSPEND, then, lambda: runs(vm))


def stop(cloud: Cloud, vm: VirtualMachine, uid: int, gid: int) -> None:
    """Bring a RUNNING or SUSPENDED VM to STOPPED."""

    def store() -> None:
        _store(cloud, vm, LcmState.EPILOG_STOP, LcmState.EPILOG_STOP_FAILURE, VmState.STOPPED)

    if vm.state is VmState.SUSPENDED:
        on(cloud, vm)
        ended(vm, HistoryAction.STOP, uid, gid)
        store()
    elif vm.is_at(LcmState.RUNNING):
        _set_about(vm, HistoryAction.STOP, uid, gid)
        drive(cloud, vm, "save", LcmState.SAVE_STOP, store, lambda: runs(vm))


def undeploy(cloud: Cloud, vm: VirtualMachine, uid: int, gid: int, *, hard: bool) -> None:
    """Bring a RUNNING or POWEROFF VM to UNDEPLOYED."""

    def store() -> None:
        _store(cloud, vm, LcmState.EPILOG_UNDEPLOY, LcmState.EPILOG_UNDEPLOY_FAILURE, VmState.UNDEPLOYED)

    if vm.state is VmState.POWEROFF:
        on(cloud, vm)
        ended(vm, HistoryAction.UNDEPLOY, uid, gid)
        store()
    elif _is_up(vm) or (hard and vm.is_at(LcmState.SHUTDOWN_UNDEPLOY)):
        _set_about(vm, HistoryAction.UNDEPLOY_HARD if hard else HistoryAction.UNDEPLOY, uid, gid)
        drive(cloud, vm, "cancel" if hard else "shutdown", LcmState.SHUTDOWN_UNDEPLOY, store, lambda: runs(vm))


def _store(cloud: Cloud, vm: VirtualMachine, at: LcmState, failure: LcmState, state: VmState) -> None:
    """Bring a VM that does not run away from its host, to STOPPED or UNDEPLOYED."""
    place = vm.place
    if place is not None:
        place.estime = cloud.now_s()
        place.retime = place.retime or cloud.now_s()

    def stored() -> None:
        leave_host(cloud, vm)
        # A VM that was brought on its way by recovery is counted out at the state it was stored from.
        vm.move_to(VmState.ACTIVE, at)
        off(cloud, vm, state)
        if state is VmState.UNDEPLOYED:
            release_port(vm)
        if place is not None:
            place.eetime = place.etime = cloud.now_s()
        look_again(cloud)

    drive(cloud, vm, "epilog", at, stored, lambda: vm.move_to(VmState.ACTIVE, failure))


def release_port(vm: VirtualMachine) -> None:
    """Give back the port of the VM's console."""
    graphics = vm.body.vector("GRAPHICS")
    if graphics is not None:
        graphics.pop("PORT", None)


def leave_host(cloud: Cloud, vm: VirtualMachine) -> None:
    """Give back the capacity of the host."""
    place = vm.place
    host = cloud.pool(Host).find(place.hid) if place else None
    if host is not None:
        host.remove_vm(vm.id, cpu=vm.cpu, mem_kb=vm.memory_kb)


# The end


def terminate(cloud: Cloud, vm: VirtualMachine, *, hard: bool) -> None:
    """Bring a VM that has been on a host to DONE. The history names the VM's owner as who asked, as oned does."""
    action = HistoryAction.TERMINATE

    def clean_up() -> None:
        place = vm.place
        if place is not None:
            place.estime = cloud.now_s()
            place.retime = place.retime or cloud.now_s()
        failed = lambda: vm.move_to(VmState.ACTIVE, LcmState.EPILOG_FAILURE)  # noqa: E731 - one of two continuations
        drive(cloud, vm, "epilog", LcmState.EPILOG, cleaned, failed)

    def cleaned() -> None:
        if vm.place is not None:
            vm.place.eetime = cloud.now_s()
        finish(cloud, vm)

    if vm.state in _RESTING:
        on(cloud, vm)
        ended(vm, action, vm.uid, vm.gid)
        clean_up()
    elif _is_up(vm) or (hard and vm.is_at(LcmState.SHUTDOWN)):
        _set_about(vm, HistoryAction.TERMINATE_HARD if hard else action, vm.uid, vm.gid)
        drive(cloud, vm, "cancel" if hard else "shutdown", LcmState.SHUTDOWN, clean_up, lambda: runs(vm))


def discard(cloud: Cloud, vm: VirtualMachine, uid: int = 0, gid: int = 0) -> None:
    """Bring an ACTIVE VM to DONE whatever it is at; nothing that its drivers say can stop that."""
    if vm.state is not VmState.ACTIVE:
        return
    _sweep(cloud, vm, HistoryAction.DELETE, uid, gid)
    drive(cloud, vm, "cleanup", LcmState.CLEANUP_DELETE, lambda: finish(cloud, vm))


def resubmit(cloud: Cloud, vm: VirtualMachine, uid: int, gid: int) -> None:
    """Take an ACTIVE, POWEROFF or SUSPENDED VM off its host, to be deployed anew."""
    if vm.state in {VmState.POWEROFF, VmState.SUSPENDED}:
        on(cloud, vm)
    elif vm.state is not VmState.ACTIVE:
        return
    _sweep(cloud, vm, HistoryAction.DELETE_RECREATE, uid, gid)

    def again() -> None:
        vm.deploy_id = ""
        vm.move_to(VmState.PENDING)
        await_place(cloud, vm)

    drive(cloud, vm, "cleanup", LcmState.CLEANUP_RESUBMIT, again)


def _sweep(cloud: Cloud, vm: VirtualMachine, action: HistoryAction, uid: int, gid: int) -> None:
    """Take a VM off its host at once (LifeCycleManager::clean_up_vm)."""
    _set_about(vm, action, uid, gid)
    now_s = cloud.now_s()
    place = vm.place
    if place is not None:
        place.etime = place.etime or now_s
        if place.rstime:
            place.retime = place.retime or now_s
        elif place.pstime:
            place.petime = place.petime or now_s
        if place.estime:
            place.eetime = place.eetime or now_s
    leave_host(cloud, vm)
    release_port(vm)
    for disk in vm.body.vectors("DISK"):
        disk.pop("ATTACH", None)
        if disk.pop("RESIZE", None) is not None:
            # The growth stays in the quotas: oned only puts back the size.
            disk["SIZE"] = disk.pop("SIZE_PREV", disk.get("SIZE", ""))
    vm.body.erase("RESIZE")


def finish(cloud: Cloud, vm: VirtualMachine) -> None:
    """Free all that a VM holds: it is DONE."""
    if vm.state is VmState.DONE:
        return
    taken = vm.charge()
    storage = image_storage(vm.body)
    nics.disconnect(cloud, vm)
    release_images(cloud, vm)
    leave_host(cloud, vm)
    release_port(vm)
    now_s = cloud.now_s()
    vm.move_to(VmState.DONE)
    vm.doing = None
    vm.etime = now_s
    place = vm.place
    if place is not None:
        place.etime = place.etime or now_s
        if place.rstime:
            place.retime = place.retime or now_s
    limits.discharge(cloud, attrs.evolve(taken, storage=storage), vm.uid, vm.gid)
    router = cloud.pool(VirtualRouter).find(vm.router_id) if vm.router_id is not None else None
    if router is not None:
        router.vms.discard(vm.id)
    look_again(cloud)


def release_images(cloud: Cloud, vm: VirtualMachine) -> None:
    """Stop using the images of a VM; one that the VM changed has grown as its disk did."""
    for disk in vm.body.vectors("DISK"):
        image = cloud.pool(Image).find(int(disk["IMAGE_ID"])) if disk.get("IMAGE_ID") else None
        if image is not None:
            if image.persistent and disk.get("SIZE", "").isdigit():
                image.size_mb = max(image.size_mb, int(disk["SIZE"]))
            image.release(cloud, vm.id)
