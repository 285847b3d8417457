"""VMs as objects (src/vm). What makes them is in `vmbuild`, what moves them in `starting` and `lifecycle`."""

from collections.abc import Iterator
from typing import ClassVar

import attrs

from opennebula_tenancy.emulator.kinds import Kind
from opennebula_tenancy.emulator.markup import cdata
from opennebula_tenancy.emulator.quotas import Charge, StorageCharge
from opennebula_tenancy.emulator.state import Cloud, PoolObject
from opennebula_tenancy.emulator.template import Template, Vector, render
from opennebula_tenancy.emulator.transitions import Transition
from opennebula_tenancy.emulator.vmstates import HistoryAction, LcmState, VmState, counts_as_running


_SHORT_DISK = (
    *("DISK_ID", "DATASTORE", "DATASTORE_ID", "IMAGE", "IMAGE_ID", "SIZE", "TYPE", "CLONE", "CLONE_TARGET"),
    *("LN_TARGET", "DISK_SNAPSHOT_TOTAL_SIZE"),
)
_SHORT_NIC_SET = ("IP", "EXTERNAL_IP", "IP6", "IP6_ULA", "IP6_LINK", "IP6_GLOBAL", "NETWORK_MODE", "SCHED_REQUIREMENTS")
_SHORT_NIC = ("MAC", "NETWORK", "NETWORK_ID", "NIC_ID", "SECURITY_GROUPS")
_SHORT_USER_SET = ("LABELS", "ERROR", "SCHED_MESSAGE")
_SHORT_USER = ("SCHED_RANK", "SCHED_DS_RANK", "SCHED_REQUIREMENTS", "SCHED_DS_REQUIREMENTS", "USER_PRIORITY")
_NIC_NAMES = ("NIC", "NIC_ALIAS")
ROUTER_ATTRIBUTES = ("VROUTER_ID", "VROUTER_KEEPALIVED_ID", "VROUTER_KEEPALIVED_PASSWORD")
"""What a VM of a virtual router knows of it: attributes of its body and of its context."""


def is_volatile(disk: Vector) -> bool:
    """Whether a disk belongs to the VM alone and is made on the host."""
    return disk.get("TYPE", "").upper() in {"SWAP", "FS"}


def disk_target(disk: Vector) -> str:
    """Where a disk takes room: SYSTEM, SELF (the image's datastore), NONE (the image itself), empty when unknown."""
    clone = disk.get("CLONE", "").upper()
    if not clone:
        return ""
    return disk.get("CLONE_TARGET" if clone == "YES" else "LN_TARGET", "").upper()


def disk_mb(disk: Vector) -> int:
    """Size of a disk in MB, 0 when it has none."""
    text = disk.get("SIZE", "").strip()
    return int(text) if text.removeprefix("-").isascii() and text.removeprefix("-").isdigit() else 0


def system_disk_mb(template: Template) -> int:
    """MB that the disks of a template take in a system datastore."""
    return sum(disk_mb(disk) for disk in template.vectors("DISK") if is_volatile(disk) or disk_target(disk) == "SYSTEM")


def image_storage(template: Template) -> tuple[StorageCharge, ...]:
    """Room that the disks of a template take in the datastores of their images."""
    return tuple(
        StorageCharge(datastore_id=disk["DATASTORE_ID"], size_mb=disk_mb(disk), images=0)
        for disk in template.vectors("DISK")
        if disk_target(disk) == "SELF" and disk_mb(disk)
    )


def charge_of(template: Template, *, basic: bool, running: bool, cluster_id: int | None = None) -> Charge:
    """What a VM of a template takes of quotas.

    Args:
        template: The template, its disks described.
        basic: Whether to count it at all, with its leases and images.
        running: Whether to count it as running.
        cluster_id: The cluster it is in, None while it has no host.
    """
    cpu, memory = template.number("CPU") or 0.0, template.number("MEMORY") or 0.0
    nics = [pci for pci in template.vectors("PCI") if pci.get("TYPE") == "NIC"]
    devices = {"PCI_DEV": len(template.vectors("PCI")) - len(nics), "PCI_NIC": len(nics)}
    amounts: dict[str, float] = {"VMS": 1, "CPU": cpu, "MEMORY": memory, **devices}
    taken = dict(amounts) if basic else {}
    if running:
        taken |= {f"RUNNING_{name}": amount for name, amount in amounts.items()}
    if not basic:
        return Charge(vm=taken | {"SYSTEM_DISK_SIZE": 0}, cluster_id=cluster_id)
    interfaces = [nic for name in _NIC_NAMES for nic in template.vectors(name)] + nics
    return Charge(
        vm=taken | {"SYSTEM_DISK_SIZE": system_disk_mb(template)},
        cluster_id=cluster_id,
        leases=tuple(nic["NETWORK_ID"] for nic in interfaces if nic.get("NETWORK_ID")),
        images=tuple(disk["IMAGE_ID"] for disk in template.vectors("DISK") if disk.get("IMAGE_ID")),
    )


@attrs.define(kw_only=True)
class HistoryRecord:
    """A time that a VM spent on a host. Times are Unix times in seconds, 0 when they have not come.

    Attributes:
        seq: Its number.
        hostname: The host.
        hid: Id of the host.
        cid: Id of the host's cluster.
        ds_id: The system datastore.
        vm_mad: Virtualization driver of the host.
        tm_mad: Transfer driver of the datastore.
        stime: Start of the record. etime: its end.
        pstime: Start of PROLOG. petime: its end.
        rstime: Start of RUNNING. retime: its end.
        estime: Start of EPILOG. eetime: its end.
        action: Why it ended.
        uid: Who asked for that, -1 for nobody.
        gid: The group of who asked.
    """

    seq: int
    hostname: str
    hid: int
    cid: int
    ds_id: int
    vm_mad: str = "dummy"
    tm_mad: str = "dummy"
    stime: int = 0
    etime: int = 0
    pstime: int = 0
    petime: int = 0
    rstime: int = 0
    retime: int = 0
    estime: int = 0
    eetime: int = 0
    action: HistoryAction = HistoryAction.NONE
    uid: int = -1
    gid: int = -1

    def xml(self, oid: int) -> str:
        """The HISTORY element of the VM with that id."""
        times = "".join(
            f"<{name.upper()}>{getattr(self, name)}</{name.upper()}>"
            for name in ("pstime", "petime", "rstime", "retime", "estime", "eetime")
        )
        return (
            f"<HISTORY><OID>{oid}</OID><SEQ>{self.seq}</SEQ><HOSTNAME>{self.hostname}</HOSTNAME><HID>{self.hid}</HID>"
            f"<CID>{self.cid}</CID><STIME>{self.stime}</STIME><ETIME>{self.etime}</ETIME>"
            f"<VM_MAD>{cdata(self.vm_mad)}</VM_MAD><TM_MAD>{cdata(self.tm_mad)}</TM_MAD><DS_ID>{self.ds_id}</DS_ID>"
            f"<PLAN_ID>-1</PLAN_ID><ACTION_ID>0</ACTION_ID>{times}<ACTION>{self.action.value}</ACTION>"
            f"<UID>{self.uid}</UID><GID>{self.gid}</GID><REQUEST_ID>-1</REQUEST_ID></HISTORY>"
        )

    def short_xml(self, oid: int) -> str:
        """The HISTORY element in the short body of a pool."""
        return (
            f"<HISTORY><OID>{oid}</OID><SEQ>{self.seq}</SEQ><HOSTNAME>{cdata(self.hostname)}</HOSTNAME>"
            f"<HID>{self.hid}</HID><CID>{self.cid}</CID><DS_ID>{self.ds_id}</DS_ID>"
            f"<VM_MAD>{cdata(self.vm_mad)}</VM_MAD><TM_MAD>{cdata(self.tm_mad)}</TM_MAD>"
            f"<ACTION>{cdata(self.action.value)}</ACTION></HISTORY>"
        )


@attrs.define(eq=False, kw_only=True)
class VirtualMachine(PoolObject):
    """A VM. `template` is its USER_TEMPLATE, which users may change.

    Attributes:
        body: Its TEMPLATE: what the server knows of it.
        state: Its state. lcm: what it is at while ACTIVE.
        previous: The state stored last. previous_lcm: so for `lcm`.
        resched: Whether it waits to be moved to another host.
        stime: Unix time of its birth, in seconds.
        etime: Unix time of its end, 0 while it lives.
        deploy_id: Its name in the hypervisor.
        history: Its times on hosts.
        on_hold: Whether it is to be held once its disks are there.
        doing: What a driver does for it, or failed to do.
    """

    kind: ClassVar[Kind] = Kind.VM

    body: Template = attrs.field(factory=Template)
    state: VmState = VmState.PENDING
    lcm: LcmState = LcmState.LCM_INIT
    previous: VmState = VmState.PENDING
    previous_lcm: LcmState = LcmState.LCM_INIT
    resched: bool = False
    stime: int = 0
    etime: int = 0
    deploy_id: str = ""
    history: list[HistoryRecord] = attrs.field(factory=list)
    on_hold: bool = False
    doing: Transition | None = None

    def move_to(self, state: VmState, lcm: LcmState = LcmState.LCM_INIT) -> None:
        """Enter a state and store it."""
        self.state = self.previous = state
        self.lcm = self.previous_lcm = lcm

    def is_at(self, lcm: LcmState) -> bool:
        """Whether it is ACTIVE and at this."""
        return self.state is VmState.ACTIVE and self.lcm is lcm

    @property
    def state_text(self) -> str:
        """The state as refusals name it."""
        return self.lcm.name if self.state is VmState.ACTIVE else self.state.name

    @property
    def place(self) -> HistoryRecord | None:
        """Its last time on a host, None before the first."""
        return self.history[-1] if self.history else None

    @property
    def cpu(self) -> int:
        """Capacity that it takes of a host, in hundredths of a core."""
        return int((self.body.number("CPU") or 0) * 100)

    @property
    def memory_kb(self) -> int:
        """Memory that it takes of a host, in KB."""
        return (self.body.integer("MEMORY") or 0) * 1024

    @property
    def is_counted_running(self) -> bool:
        """Whether quotas count it as running."""
        return counts_as_running(self.state, self.lcm)

    def charge(self, *, basic: bool = True, running: bool | None = None) -> Charge:
        """What it takes of quotas.

        Args:
            basic: Whether to count it at all; without, only as running.
            running: Whether to count it as running; as its state says when None.
        """
        counted = self.is_counted_running if running is None else running
        place = self.place
        return charge_of(self.body, basic=basic, running=counted, cluster_id=place.cid if place else None)

    def charge_in(self, clusters: frozenset[int]) -> Charge | None:
        """What it takes of a quota of clusters, None when it is in none of them."""
        place = self.place
        if place is None or place.cid not in clusters or self.state is VmState.DONE:
            return None
        return self.charge()

    @property
    def router_id(self) -> int | None:
        """The virtual router that it is a part of, None when it is an ordinary VM."""
        return self.body.integer("VROUTER_ID")

    def disk(self, disk_id: int) -> Vector | None:
        """The disk with that id, or None."""
        return next((disk for disk in self.body.vectors("DISK") if disk.get("DISK_ID") == str(disk_id)), None)

    @property
    def nics(self) -> list[Vector]:
        """Its NICs and aliases."""
        return [nic for name in _NIC_NAMES for nic in self.body.vectors(name)]

    def xml(self, cloud: Cloud) -> str:  # noqa: ARG002 - every object reads so
        """The short body, as pools list it."""
        values = {name: self.body.text(name) or "" for name in ("CPU", "MEMORY", "VCPU")}
        template = "".join(f"<{name}>{value}</{name}>" for name, value in values.items())
        template += "".join(f"<DISK>{_named(disk, _SHORT_DISK)}</DISK>" for disk in self.body.vectors("DISK"))
        template += "".join(
            f"<NIC>{_named(nic, _SHORT_NIC_SET, only_set=True)}{_named(nic, _SHORT_NIC)}</NIC>" for nic in self.nics
        )
        graphics = self.body.vector("GRAPHICS")
        template += render("GRAPHICS", graphics) if graphics is not None else ""
        lock = f"<LOCK><LOCKED>{self.locked}</LOCKED></LOCK>" if self.locked else ""
        place = self.place
        history = f"<HISTORY_RECORDS>{place.short_xml(self.id)}</HISTORY_RECORDS>" if place else "<HISTORY_RECORDS/>"
        return (
            f"<VM>{self._head()}<LAST_POLL>0</LAST_POLL><STATE>{self.state.value}</STATE>"
            f"<LCM_STATE>{self.lcm.value}</LCM_STATE>{self._times()}{lock}<TEMPLATE>{template}</TEMPLATE><MONITORING/>"
            f"{self._short_user_template()}{history}</VM>"
        )

    def _head(self) -> str:
        return (
            f"<ID>{self.id}</ID><UID>{self.uid}</UID><GID>{self.gid}</GID><UNAME>{self.uname}</UNAME>"
            f"<GNAME>{self.gname}</GNAME><NAME>{self.name}</NAME>"
        )

    def _times(self) -> str:
        return (
            f"<RESCHED>{int(self.resched)}</RESCHED><STIME>{self.stime}</STIME><ETIME>{self.etime}</ETIME>"
            f"<DEPLOY_ID>{self.deploy_id}</DEPLOY_ID>"
        )

    def _short_user_template(self) -> str:
        def parts() -> Iterator[str]:
            for name in _SHORT_USER_SET:
                value = self.template.text(name)
                if value:
                    yield render(name, value)
            for name in _SHORT_USER:
                value = self.template.text(name)
                if value is not None:
                    yield render(name, value)

        return f"<USER_TEMPLATE>{''.join(parts())}</USER_TEMPLATE>" if self.template else "<USER_TEMPLATE/>"

    def _full(self, records: list[HistoryRecord]) -> str:
        history = "".join(record.xml(self.id) for record in records)
        history = f"<HISTORY_RECORDS>{history}</HISTORY_RECORDS>" if history else "<HISTORY_RECORDS/>"
        return (
            f"<VM>{self._head()}{self.permissions.xml()}<LAST_POLL>0</LAST_POLL><STATE>{self.state.value}</STATE>"
            f"<LCM_STATE>{self.lcm.value}</LCM_STATE><PREV_STATE>{self.previous.value}</PREV_STATE>"
            f"<PREV_LCM_STATE>{self.previous_lcm.value}</PREV_LCM_STATE>{self._times()}{self.lock_xml()}"
            f"<MONITORING></MONITORING><SCHED_ACTIONS></SCHED_ACTIONS>{self.body.xml()}"
            f"{self.template.xml('USER_TEMPLATE')}{history}"
            f"<BACKUPS><BACKUP_CONFIG/><BACKUP_IDS></BACKUP_IDS></BACKUPS></VM>"
        )

    def listed_xml(self) -> str:
        """The full body with the last history record, as `infoextended` lists it."""
        return self._full(self.history[-1:])

    def extended_xml(self, cloud: Cloud) -> str:  # noqa: ARG002 - every object reads so
        """The full body with all history records."""
        return self._full(self.history)


def _named(vector: Vector, names: tuple[str, ...], *, only_set: bool = False) -> str:
    return "".join(
        f"<{name}>{cdata(vector.get(name, ''))}</{name}>" for name in names if vector.get(name) or not only_set
    )
