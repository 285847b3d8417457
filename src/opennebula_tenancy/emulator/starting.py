"""How VMs come to run: the scheduler, the deployment on a host, and the ways back from a state of rest."""

from opennebula_tenancy.emulator import context, limits, placement, vmdisks
from opennebula_tenancy.emulator.driving import drive, ended, new_record, off, runs, soon
from opennebula_tenancy.emulator.errors import Refusal
from opennebula_tenancy.emulator.hosts import Host
from opennebula_tenancy.emulator.images import Image, ImageState
from opennebula_tenancy.emulator.quotas import Charge
from opennebula_tenancy.emulator.state import Cloud
from opennebula_tenancy.emulator.vms import HistoryRecord, VirtualMachine
from opennebula_tenancy.emulator.vmstates import HistoryAction, LcmState, VmState


SCHEDULING_STEPS = 3
"""Steps between a VM becoming PENDING and the scheduler looking at it."""

_FIRST_PORT, _PORTS = 5900, 65536


# Images that are being made


def await_disks(cloud: Cloud, vm: VirtualMachine) -> None:
    """Let a VM in CLONING wait until its images are made."""

    def look() -> None:
        if vm.state is VmState.CLONING and not look_at_disks(cloud, vm):
            soon(cloud, look)

    soon(cloud, look)


def look_at_disks(cloud: Cloud, vm: VirtualMachine) -> bool:
    """Let a VM that waits for its images go on when they are there, or fail when one of them has failed.

    Returns:
        Whether the waiting is over.
    """
    images = [
        (disk, cloud.pool(Image).find(int(disk["IMAGE_ID"])))
        for disk in vm.body.vectors("DISK")
        if disk.get("CLONING") == "YES"
    ]
    for disk, image in images:
        if image is not None and image.state in {ImageState.USED, ImageState.USED_PERS}:
            disk.pop("CLONING")
            disk["SOURCE"], disk["IMAGE_STATE"] = image.source, str(image.state.value)
    waiting = [image for disk, image in images if "CLONING" in disk]
    if any(image is not None and image.state is ImageState.ERROR for image in waiting):
        vm.move_to(VmState.CLONING_FAILURE)
        return True
    if waiting:
        vm.move_to(VmState.CLONING)
        return False
    vm.move_to(VmState.HOLD if vm.on_hold else VmState.PENDING)
    await_place(cloud, vm)
    return True


# The scheduler


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


# Deployment

_Stages = tuple[LcmState, LcmState, str, LcmState, LcmState]
_FRESH: _Stages = (LcmState.PROLOG, LcmState.BOOT, "deploy", LcmState.PROLOG_FAILURE, LcmState.BOOT_FAILURE)
_UNDEPLOYED: _Stages = (
    LcmState.PROLOG_UNDEPLOY,
    LcmState.BOOT_UNDEPLOY,
    "deploy",
    LcmState.PROLOG_UNDEPLOY_FAILURE,
    LcmState.BOOT_UNDEPLOY_FAILURE,
)
_STOPPED: _Stages = (
    LcmState.PROLOG_RESUME,
    LcmState.BOOT_STOPPED,
    "restore",
    LcmState.PROLOG_RESUME_FAILURE,
    LcmState.BOOT_STOPPED_FAILURE,
)
_AFTER = {
    HistoryAction.STOP: _STOPPED,
    HistoryAction.UNDEPLOY: _UNDEPLOYED,
    HistoryAction.UNDEPLOY_HARD: _UNDEPLOYED,
}


def _deploy(cloud: Cloud, vm: VirtualMachine, place: placement.Place) -> None:
    """Put a VM on a host, where what its last record tells decides how it starts."""
    last = vm.place
    prolog, boot, action, prolog_failure, boot_failure = _AFTER.get(last.action, _FRESH) if last else _FRESH
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
    vmdisks.describe_volatile_disks(vm, datastore)
    give_port(vm)
    vm.move_to(VmState.ACTIVE)

    def prepare() -> None:
        if vm.is_at(LcmState.LCM_INIT):
            drive(cloud, vm, "prolog", prolog, start, lambda: vm.move_to(VmState.ACTIVE, prolog_failure))

    def start() -> None:
        record.petime = record.rstime = cloud.now_s()
        context.refresh(cloud, vm)
        drive(cloud, vm, action, boot, booted, failed)

    def booted() -> None:
        record.etime = record.retime = 0
        runs(vm)

    def failed() -> None:
        record.retime = cloud.now_s()
        if boot_failure is not LcmState.BOOT_FAILURE:
            record.etime = cloud.now_s()
        vm.move_to(VmState.ACTIVE, boot_failure)

    soon(cloud, prepare)


def give_port(vm: VirtualMachine) -> None:
    """Give the console of a VM a port, unless it has one."""
    graphics = vm.body.vector("GRAPHICS")
    if graphics is not None and not graphics.get("PORT"):
        graphics["PORT"] = str(_FIRST_PORT + vm.id % (_PORTS - _FIRST_PORT))


def restart(cloud: Cloud, vm: VirtualMachine, uid: int, gid: int) -> None:
    """Start a SUSPENDED or POWEROFF VM again on its host.

    When the driver fails the VM is where it was, yet it stays counted as running, as oned forgets to count it out.
    """
    state = vm.state
    suspended = state is VmState.SUSPENDED
    if state not in {VmState.SUSPENDED, VmState.POWEROFF}:
        return
    record = new_record(cloud, vm)
    if record is None:
        return
    record.rstime = cloud.now_s()
    ended(vm, HistoryAction.RESUME, uid, gid)

    def running() -> None:
        record.etime = record.retime = 0
        runs(vm)

    def failed() -> None:
        record.retime = cloud.now_s()
        vm.move_to(state)

    context.refresh(cloud, vm)
    boot = LcmState.BOOT_SUSPENDED if suspended else LcmState.BOOT_POWEROFF
    drive(cloud, vm, "restore" if suspended else "deploy", boot, running, failed)


def reboot(cloud: Cloud, vm: VirtualMachine) -> None:
    """Start a VM again that its host has lost."""
    if vm.is_at(LcmState.UNKNOWN):
        lost = lambda: vm.move_to(VmState.ACTIVE, LcmState.UNKNOWN)  # noqa: E731 - one of two continuations
        drive(cloud, vm, "deploy", LcmState.BOOT_UNKNOWN, lambda: runs(vm), lost)


# Moving


def await_move(cloud: Cloud, vm: VirtualMachine) -> None:
    """Let the scheduler move a VM to another host some steps later, unless that is called off meanwhile."""
    vm.resched = True

    def move() -> None:
        if not (vm.resched and (vm.is_at(LcmState.RUNNING) or vm.state is VmState.POWEROFF)):
            return
        try:
            place = placement.find(cloud, vm)
            _count_in_cluster(cloud, vm, place.host.cluster_id)
        except (placement.NoPlace, Refusal) as problem:
            vm.template.set("SCHED_MESSAGE", placement.dated(cloud, str(problem)))
            return
        vm.resched = False
        if vm.state is VmState.POWEROFF:
            _carry(cloud, vm, place)
        else:
            _migrate(cloud, vm, place)

    soon(cloud, move, SCHEDULING_STEPS)


def _migrate(cloud: Cloud, vm: VirtualMachine, place: placement.Place) -> None:
    """Move a running VM. When the driver fails, it runs where it was, and its history has both records."""
    source = vm.place
    record = new_record(cloud, vm)
    if source is None or record is None:
        return
    place.host.add_vm(vm.id, cpu=vm.cpu, mem_kb=vm.memory_kb)
    source.action, source.etime = HistoryAction.LIVE_MIGRATE, 0
    record.hostname, record.hid, record.cid = place.host.name, place.host.id, place.host.cluster_id

    def moved() -> None:
        source.etime = source.retime = record.rstime = cloud.now_s()
        _leave(cloud, vm, source.hid)
        runs(vm)

    def failed() -> None:
        source.etime = source.retime = record.etime = cloud.now_s()
        _leave(cloud, vm, record.hid)
        _count_in_cluster(cloud, vm, source.cid)
        back = new_record(cloud, vm)
        if back is not None:
            back.hostname, back.hid, back.cid = source.hostname, source.hid, source.cid
            back.rstime = cloud.now_s()
        vm.move_to(VmState.ACTIVE, LcmState.RUNNING)

    drive(cloud, vm, "migrate", LcmState.MIGRATE, moved, failed)


def _carry(cloud: Cloud, vm: VirtualMachine, place: placement.Place) -> None:
    """Move a VM that is off. It is counted out as running afterwards although it did not, as oned does."""
    source = vm.place
    record = new_record(cloud, vm)
    if source is None or record is None:
        return
    _leave(cloud, vm, source.hid)
    place.host.add_vm(vm.id, cpu=vm.cpu, mem_kb=vm.memory_kb)
    record.hostname, record.hid, record.cid = place.host.name, place.host.id, place.host.cluster_id
    record.pstime = cloud.now_s()
    ended(vm, HistoryAction.MIGRATE, vm.uid, vm.gid)

    def carried() -> None:
        record.petime = record.retime = cloud.now_s()
        vm.move_to(VmState.ACTIVE, LcmState.PROLOG_MIGRATE_POWEROFF)
        off(cloud, vm, VmState.POWEROFF)

    failed = lambda: vm.move_to(VmState.ACTIVE, LcmState.PROLOG_MIGRATE_POWEROFF_FAILURE)  # noqa: E731 - one of two
    drive(cloud, vm, "prolog", LcmState.PROLOG_MIGRATE_POWEROFF, carried, failed)


def _leave(cloud: Cloud, vm: VirtualMachine, hid: int) -> None:
    host = cloud.pool(Host).find(hid)
    if host is not None:
        host.remove_vm(vm.id, cpu=vm.cpu, mem_kb=vm.memory_kb)
