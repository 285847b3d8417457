"""What moves VMs: the scheduler, the drivers and the actions of users, each a step of asynchronous work."""

from collections.abc import Callable

import attrs

from opennebula_tenancy.emulator import limits, placement
from opennebula_tenancy.emulator.addresses import Holder
from opennebula_tenancy.emulator.errors import Refusal
from opennebula_tenancy.emulator.hosts import Host
from opennebula_tenancy.emulator.images import Image
from opennebula_tenancy.emulator.kinds import Kind
from opennebula_tenancy.emulator.networks import VirtualNetwork, error_message
from opennebula_tenancy.emulator.quotas import Charge
from opennebula_tenancy.emulator.secgroups import SecurityGroup
from opennebula_tenancy.emulator.state import Cloud
from opennebula_tenancy.emulator.vms import HistoryRecord, VirtualMachine, image_storage
from opennebula_tenancy.emulator.vmstates import HistoryAction, LcmState, VmState


SCHEDULING_STEPS = 3
"""Steps between a VM becoming PENDING and the scheduler looking at it."""

_FIRST_PORT, _PORTS = 5900, 65536

Then = Callable[[], None]


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
    takes_s = cloud.driver_actions.get(action, cloud.config.step_s)
    vm.move_to(VmState.ACTIVE, at)

    def done() -> None:
        if vm.is_at(at):
            if takes_s is None and failed is not None:
                failed()
            else:
                then()

    cloud.later(cloud.config.step_s if takes_s is None else takes_s, done)


def soon(cloud: Cloud, action: Then, steps: int = 1) -> None:
    """Do something some steps later: actions of users take effect after their call returned."""
    cloud.later(cloud.config.step_s * steps, action)


def _off(cloud: Cloud, vm: VirtualMachine, state: VmState) -> None:
    """Enter a state in which the VM does not run, and count it so."""
    limits.discharge(cloud, vm.charge(basic=False, running=vm.is_counted_running), vm.uid, vm.gid)
    vm.move_to(state)
    place = vm.place
    if place is not None and not place.retime and place.rstime:
        place.retime = cloud.now_s()


def _on(cloud: Cloud, vm: VirtualMachine) -> None:
    """Count a VM as running although it is off: what leads it elsewhere counts it out again."""
    limits.recharge(cloud, vm.charge(basic=False, running=True), vm.uid, vm.gid)


def _ended(vm: VirtualMachine, action: HistoryAction, uid: int, gid: int) -> None:
    """Note in the history who asked for what."""
    place = vm.place
    if place is not None:
        place.action, place.uid, place.gid = action, uid, gid


def _new_record(cloud: Cloud, vm: VirtualMachine) -> HistoryRecord | None:
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
    made = _new_record(cloud, vm)
    if made is not None:
        made.rstime, made.retime, made.action = last.rstime, last.retime, before.action
        if vm.state is VmState.ACTIVE:
            last.retime = made.rstime = cloud.now_s()
    last.action, last.uid, last.gid = action, uid, gid


# Starting


def await_disks(cloud: Cloud, vm: VirtualMachine) -> None:
    """Let a VM in CLONING wait until its images are made."""

    def look() -> None:
        if vm.state is not VmState.CLONING:
            return
        images = [
            (disk, cloud.pool(Image).find(int(disk["IMAGE_ID"])))
            for disk in vm.body.vectors("DISK")
            if disk.get("CLONING") == "YES"
        ]
        for disk, image in images:
            if image is not None and image.source:
                disk.pop("CLONING")
                disk["SOURCE"], disk["IMAGE_STATE"] = image.source, str(image.state.value)
        if any(image is not None and not image.source for _, image in images):
            soon(cloud, look)
            return
        vm.move_to(VmState.HOLD if vm.on_hold else VmState.PENDING)
        await_place(cloud, vm)

    soon(cloud, look)


def await_place(cloud: Cloud, vm: VirtualMachine) -> None:
    """Let the scheduler look at a VM some steps later."""
    soon(cloud, lambda: schedule(cloud, vm), SCHEDULING_STEPS)


def schedule(cloud: Cloud, vm: VirtualMachine) -> None:
    """Bring a PENDING VM to a host, or say in SCHED_MESSAGE why there is none."""
    if vm.state is not VmState.PENDING:
        return
    try:
        place = placement.find(cloud, vm)
        _count_in_cluster(cloud, vm, place.host.cluster_id)
    except placement.NoPlace as problem:
        vm.template.set("SCHED_MESSAGE", placement.dated(cloud, str(problem)))
        return
    except Refusal as refusal:
        vm.template.set("SCHED_MESSAGE", placement.dated(cloud, f"Cannot dispatch VM: {refusal.text}"))
        return
    vm.template.erase("SCHED_MESSAGE")
    _deploy(cloud, vm, place)


def look_again(cloud: Cloud) -> None:
    """Let the scheduler look once more at the VMs that it found no place for."""
    for vm in cloud.pool(VirtualMachine):
        if vm.state is VmState.PENDING and vm.template.text("SCHED_MESSAGE") is not None:
            schedule(cloud, vm)


def _count_in_cluster(cloud: Cloud, vm: VirtualMachine, cluster_id: int) -> None:
    """Count a VM in the quota of the cluster it comes to, and out of the one it leaves."""
    old = vm.place
    if old is not None and old.cid == cluster_id:
        return
    taken = vm.charge().vm
    limits.charge(cloud, Charge(vm=taken, cluster_id=cluster_id, skip_global=True), vm.uid, vm.gid)
    if old is not None:
        limits.discharge(cloud, Charge(vm=taken, cluster_id=old.cid, skip_global=True), vm.uid, vm.gid)


_FROM = {
    HistoryAction.STOP: (LcmState.PROLOG_RESUME, LcmState.BOOT_STOPPED, "restore", LcmState.BOOT_STOPPED_FAILURE),
    HistoryAction.UNDEPLOY: (
        LcmState.PROLOG_UNDEPLOY,
        LcmState.BOOT_UNDEPLOY,
        "deploy",
        LcmState.BOOT_UNDEPLOY_FAILURE,
    ),
}
_FROM[HistoryAction.UNDEPLOY_HARD] = _FROM[HistoryAction.UNDEPLOY]
_FRESH = (LcmState.PROLOG, LcmState.BOOT, "deploy", LcmState.BOOT_FAILURE)


def _deploy(cloud: Cloud, vm: VirtualMachine, place: placement.Place) -> None:
    last = vm.place
    prolog, boot, action, failure = _FROM.get(last.action, _FRESH) if last else _FRESH
    host, datastore = place.host, place.datastore
    host.add_vm(vm.id, cpu=vm.cpu, mem_kb=vm.memory_kb)
    now_s = cloud.now_s()
    record = HistoryRecord(
        seq=len(vm.history),
        hostname=host.name,
        hid=host.id,
        cid=host.cluster_id,
        ds_id=datastore.id,
        vm_mad=host.vm_mad,
        tm_mad=datastore.tm_mad,
        stime=now_s,
        pstime=now_s,
    )
    vm.history.append(record)
    vm.body.set("TM_MAD_SYSTEM", datastore.tm_mad)
    graphics = vm.body.vector("GRAPHICS")
    if graphics is not None and not graphics.get("PORT"):
        graphics["PORT"] = str(_FIRST_PORT + vm.id % (_PORTS - _FIRST_PORT))

    def booted() -> None:
        vm.deploy_id = f"{host.name}:{vm.name}:dummy"
        vm.move_to(VmState.ACTIVE, LcmState.RUNNING)

    def failed() -> None:
        vm.template.set("ERROR", error_message(cloud, "Error deploying virtual machine: dummy driver failed"))
        record.retime = cloud.now_s()
        vm.move_to(VmState.ACTIVE, failure)

    def start() -> None:
        record.petime = record.rstime = cloud.now_s()
        drive(cloud, vm, action, boot, booted, failed)

    drive(cloud, vm, "prolog", prolog, start)


def restart(cloud: Cloud, vm: VirtualMachine) -> None:
    """Start a SUSPENDED or POWEROFF VM again on its host."""
    state = vm.state
    suspended = state is VmState.SUSPENDED
    if state not in {VmState.SUSPENDED, VmState.POWEROFF}:
        return
    record = _new_record(cloud, vm)
    if record is not None:
        record.rstime = cloud.now_s()

    def running() -> None:
        vm.move_to(VmState.ACTIVE, LcmState.RUNNING)

    def failed() -> None:
        vm.template.set("ERROR", error_message(cloud, "Error restoring VM: dummy driver failed"))
        _off(cloud, vm, state)

    boot = LcmState.BOOT_SUSPENDED if suspended else LcmState.BOOT_POWEROFF
    drive(cloud, vm, "restore" if suspended else "deploy", boot, running, failed)


def await_move(cloud: Cloud, vm: VirtualMachine) -> None:
    """Let the scheduler move a RUNNING VM to another host some steps later, unless that is called off meanwhile."""
    vm.resched = True

    def move() -> None:
        if not (vm.resched and vm.is_at(LcmState.RUNNING)):
            return
        try:
            place = placement.find(cloud, vm)
            _count_in_cluster(cloud, vm, place.host.cluster_id)
        except (placement.NoPlace, Refusal) as problem:
            vm.template.set("SCHED_MESSAGE", placement.dated(cloud, str(problem)))
            return
        _migrate(cloud, vm, place)

    soon(cloud, move, SCHEDULING_STEPS)


def _migrate(cloud: Cloud, vm: VirtualMachine, place: placement.Place) -> None:
    leave_host(cloud, vm)
    place.host.add_vm(vm.id, cpu=vm.cpu, mem_kb=vm.memory_kb)
    last, record = vm.place, _new_record(cloud, vm)
    if last is not None and record is not None:
        last.action, last.retime = HistoryAction.LIVE_MIGRATE, cloud.now_s()
        record.hostname, record.hid, record.cid = place.host.name, place.host.id, place.host.cluster_id
        record.rstime = cloud.now_s()
    vm.resched = False
    drive(cloud, vm, "migrate", LcmState.MIGRATE, lambda: vm.move_to(VmState.ACTIVE, LcmState.RUNNING))


# Stopping


def _still_running(cloud: Cloud, vm: VirtualMachine, what: str) -> None:
    """The driver failed to stop a VM: it runs on."""
    vm.template.set("ERROR", error_message(cloud, f"Error {what} VM: dummy driver failed"))
    vm.move_to(VmState.ACTIVE, LcmState.RUNNING)


def power_off(cloud: Cloud, vm: VirtualMachine, uid: int, gid: int, *, hard: bool) -> None:
    """Bring a RUNNING VM to POWEROFF."""
    if not (vm.is_at(LcmState.RUNNING) or (hard and vm.is_at(LcmState.SHUTDOWN_POWEROFF))):
        return
    _ended(vm, HistoryAction.POWEROFF_HARD if hard else HistoryAction.POWEROFF, uid, gid)
    drive(
        cloud,
        vm,
        "cancel" if hard else "shutdown",
        LcmState.SHUTDOWN_POWEROFF,
        lambda: _off(cloud, vm, VmState.POWEROFF),
        lambda: _still_running(cloud, vm, "powering off"),
    )


def suspend(cloud: Cloud, vm: VirtualMachine, uid: int, gid: int) -> None:
    """Bring a RUNNING VM to SUSPENDED."""
    if not vm.is_at(LcmState.RUNNING):
        return
    _ended(vm, HistoryAction.SUSPEND, uid, gid)
    drive(
        cloud,
        vm,
        "save",
        LcmState.SAVE_SUSPEND,
        lambda: _off(cloud, vm, VmState.SUSPENDED),
        lambda: _still_running(cloud, vm, "saving"),
    )


def _release_port(vm: VirtualMachine) -> None:
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


def _store(cloud: Cloud, vm: VirtualMachine, at: LcmState, state: VmState) -> None:
    """Bring a VM that does not run away from its host, to STOPPED or UNDEPLOYED."""
    place = vm.place
    if place is not None:
        place.estime = cloud.now_s()
        place.retime = place.retime or cloud.now_s()

    def stored() -> None:
        leave_host(cloud, vm)
        _off(cloud, vm, state)
        if state is VmState.UNDEPLOYED:
            _release_port(vm)
        if place is not None:
            place.eetime = place.etime = cloud.now_s()
        look_again(cloud)

    drive(cloud, vm, "epilog", at, stored)


def stop(cloud: Cloud, vm: VirtualMachine, uid: int, gid: int) -> None:
    """Bring a RUNNING or SUSPENDED VM to STOPPED."""

    def store() -> None:
        _store(cloud, vm, LcmState.EPILOG_STOP, VmState.STOPPED)

    if vm.state is VmState.SUSPENDED:
        _on(cloud, vm)
        _ended(vm, HistoryAction.STOP, uid, gid)
        store()
    elif vm.is_at(LcmState.RUNNING):
        _ended(vm, HistoryAction.STOP, uid, gid)
        failed = lambda: _still_running(cloud, vm, "saving")  # noqa: E731 - one of two continuations
        drive(cloud, vm, "save", LcmState.SAVE_STOP, store, failed)


def undeploy(cloud: Cloud, vm: VirtualMachine, uid: int, gid: int, *, hard: bool) -> None:
    """Bring a RUNNING or POWEROFF VM to UNDEPLOYED."""
    again = hard and vm.is_at(LcmState.SHUTDOWN_UNDEPLOY)

    def store() -> None:
        _store(cloud, vm, LcmState.EPILOG_UNDEPLOY, VmState.UNDEPLOYED)

    if vm.state is VmState.POWEROFF:
        _on(cloud, vm)
        _ended(vm, HistoryAction.UNDEPLOY, uid, gid)
        store()
    elif vm.is_at(LcmState.RUNNING) or again:
        _ended(vm, HistoryAction.UNDEPLOY_HARD if hard else HistoryAction.UNDEPLOY, uid, gid)
        action = "cancel" if hard else "shutdown"
        failed = lambda: _still_running(cloud, vm, "undeploying")  # noqa: E731 - one of two continuations
        drive(cloud, vm, action, LcmState.SHUTDOWN_UNDEPLOY, store, failed)


def terminate(cloud: Cloud, vm: VirtualMachine, *, hard: bool) -> None:
    """Bring a VM that has been on a host to DONE. The history names the VM's owner as who asked, as oned does."""
    action = HistoryAction.TERMINATE

    def clean_up() -> None:
        place = vm.place
        if place is not None:
            place.estime = cloud.now_s()
            place.retime = place.retime or cloud.now_s()
        drive(cloud, vm, "epilog", LcmState.EPILOG, lambda: finish(cloud, vm))

    if vm.state in {VmState.SUSPENDED, VmState.POWEROFF, VmState.STOPPED, VmState.UNDEPLOYED}:
        _on(cloud, vm)
        _ended(vm, action, vm.uid, vm.gid)
        clean_up()
    elif vm.is_at(LcmState.RUNNING) or (hard and vm.is_at(LcmState.SHUTDOWN)):
        _ended(vm, HistoryAction.TERMINATE_HARD if hard else action, vm.uid, vm.gid)
        failed = lambda: _still_running(cloud, vm, "shutting down")  # noqa: E731 - one of two continuations
        drive(cloud, vm, "cancel" if hard else "shutdown", LcmState.SHUTDOWN, clean_up, failed)


def discard(cloud: Cloud, vm: VirtualMachine) -> None:
    """Bring a VM whose driver failed to DONE."""
    drive(cloud, vm, "cleanup", LcmState.CLEANUP_DELETE, lambda: finish(cloud, vm))


def finish(cloud: Cloud, vm: VirtualMachine) -> None:
    """Free all that a VM holds: it is DONE."""
    if vm.state is VmState.DONE:
        return
    taken = vm.charge()
    storage = image_storage(vm.body)
    release_networks(cloud, vm)
    release_images(cloud, vm)
    leave_host(cloud, vm)
    _release_port(vm)
    now_s = cloud.now_s()
    vm.move_to(VmState.DONE)
    vm.etime = now_s
    place = vm.place
    if place is not None:
        place.etime = place.etime or now_s
        if place.rstime:
            place.retime = place.retime or now_s
        if place.estime:
            place.eetime = place.eetime or now_s
    limits.discharge(cloud, attrs.evolve(taken, storage=storage), vm.uid, vm.gid)
    look_again(cloud)


def release_networks(cloud: Cloud, vm: VirtualMachine) -> None:
    """Give back the leases of a VM, and leave its security groups."""
    for nic in vm.nics:
        network = cloud.pool(VirtualNetwork).find(int(nic["NETWORK_ID"])) if nic.get("NETWORK_ID") else None
        if network is not None:
            network.release(nic, Holder(Kind.VM, vm.id))
            network.vms.discard(vm.id)
    for group in cloud.pool(SecurityGroup):
        group.vms.discard(vm.id)


def release_images(cloud: Cloud, vm: VirtualMachine) -> None:
    """Stop using the images of a VM; one that the VM changed has grown as its disk did."""
    for disk in vm.body.vectors("DISK"):
        image = cloud.pool(Image).find(int(disk["IMAGE_ID"])) if disk.get("IMAGE_ID") else None
        if image is not None:
            if image.persistent and disk.get("SIZE", "").isdigit():
                image.size_mb = max(image.size_mb, int(disk["SIZE"]))
            image.release(cloud, vm.id)
