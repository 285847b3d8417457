"""Hosts of the dummy driver: `one.host.*`, `one.hostpool.info` (Host.cc, HostPool.cc, HostShare.cc, HostAPI.cc)."""

import enum
from typing import ClassVar

import attrs

from opennebula_tenancy.emulator import verbs
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.clusters import DEFAULT_CLUSTER_ID, Cluster, leave
from opennebula_tenancy.emulator.errors import action, internal, not_allocated
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.markup import cdata, ids
from opennebula_tenancy.emulator.state import Cloud, PoolObject, name_problem
from opennebula_tenancy.emulator.template import Template, integer
from opennebula_tenancy.emulator.vdcs import forget_resource


_FREE_DISK_MB, _USED_DISK_MB = 20480, 9720
"""What the dummy driver reports of a host's own disks."""


class HostState(enum.IntEnum):
    """States of a host."""

    INIT = 0
    MONITORED = 2
    ERROR = 3
    DISABLED = 4
    OFFLINE = 8


@attrs.define(eq=False, kw_only=True)
class Host(PoolObject):
    """A host.

    Attributes:
        im_mad: Monitoring driver.
        vm_mad: Virtualization driver.
        cluster_id: Its cluster.
        state: Its state.
        vms: Ids of its VMs.
        running_vms: How many VMs take its capacity.
        total_cpu: Capacity in hundredths of a core, 0 until it is monitored.
        total_mem_kb: Capacity in KB, 0 until it is monitored.
        max_cpu: Capacity less what is reserved, in hundredths of a core.
        max_mem_kb: Capacity less what is reserved, in KB.
        cpu_usage: Hundredths of a core that VMs take.
        mem_usage_kb: KB that VMs take.
        disk_usage_mb: MB that VMs take.
        reported_s: Unix time of the first report, 0 before it.
    """

    kind: ClassVar[Kind] = Kind.HOST

    im_mad: str
    vm_mad: str
    cluster_id: int
    state: HostState = HostState.INIT
    vms: set[int] = attrs.field(factory=set)
    running_vms: int = 0
    total_cpu: int = 0
    total_mem_kb: int = 0
    max_cpu: int = 0
    max_mem_kb: int = 0
    cpu_usage: int = 0
    mem_usage_kb: int = 0
    disk_usage_mb: int = 0
    reported_s: int = 0

    @property
    def cluster_ids(self) -> frozenset[int]:
        """Its cluster."""
        return frozenset({self.cluster_id})

    def add_vm(self, oid: int, *, cpu: int, mem_kb: int, disk_mb: int = 0) -> None:
        """Put a VM on it: hundredths of a core, KB, MB."""
        self.vms.add(oid)
        self.running_vms += 1
        self.resize_vm(cpu=cpu, mem_kb=mem_kb, disk_mb=disk_mb)

    def remove_vm(self, oid: int, *, cpu: int, mem_kb: int, disk_mb: int = 0) -> None:
        """Take a VM off it; nothing happens when it is not there."""
        if oid in self.vms:
            self.vms.discard(oid)
            self.running_vms -= 1
            self.resize_vm(cpu=-cpu, mem_kb=-mem_kb, disk_mb=-disk_mb)

    def resize_vm(self, *, cpu: int = 0, mem_kb: int = 0, disk_mb: int = 0) -> None:
        """Add to what its VMs take."""
        self.cpu_usage += cpu
        self.mem_usage_kb += mem_kb
        self.disk_usage_mb += disk_mb

    def shortage(self, *, cpu: int, mem_kb: int) -> str | None:
        """What it lacks for a VM, as HostShare::test_compute words it, or None when the VM fits."""
        if self.max_cpu - self.cpu_usage < cpu:
            return f"Not enough CPU: {cpu}/{self.max_cpu - self.cpu_usage}"
        if self.max_mem_kb - self.mem_usage_kb < mem_kb:
            return f"Not enough memory: {mem_kb}/{self.max_mem_kb - self.mem_usage_kb}"
        return None

    def moved(self, cloud: Cloud) -> None:
        """Recompute what is reserved: the host's own setting, else that of its cluster."""
        cluster = cloud.pool(Cluster).find(self.cluster_id)
        reserved = []
        for name in ("RESERVED_CPU", "RESERVED_MEM"):
            own = self.template.text(name)
            reserved.append(own or (cluster.template.text(name) if cluster else None) or "")
        self.max_cpu = _less(self.total_cpu, reserved[0])
        self.max_mem_kb = _less(self.total_mem_kb, reserved[1])

    def template_updated(self, cloud: Cloud, old: Template) -> None:  # noqa: ARG002 - nothing of it is kept
        """Keep the drivers, and recompute what is reserved."""
        self.im_mad = self.template.text("IM_MAD") or self.im_mad
        self.vm_mad = self.template.text("VM_MAD") or self.vm_mad
        self.template.set("IM_MAD", self.im_mad)
        self.template.set("VM_MAD", self.vm_mad)
        self.moved(cloud)

    def monitored(self, cloud: Cloud) -> None:
        """What the first report of the dummy driver changes."""
        if self.state is HostState.OFFLINE or self.id not in cloud.pool(Host):
            return
        self.reported_s = cloud.now_s()
        self.total_cpu, self.total_mem_kb = cloud.config.host_cpu, cloud.config.host_memory_kb
        for name, value in (
            ("ARCH", "x86_64"),
            ("CPUSPEED", "3200"),
            ("HOSTNAME", self.name),
            ("HYPERVISOR", "dummy"),
            ("MODELNAME", "Dummy(R) Core @ 3.2GHz"),
            ("TOTALCPU", str(self.total_cpu)),
            ("TOTALMEMORY", str(self.total_mem_kb)),
        ):
            self.template.set(name, value)
        self.moved(cloud)
        if self.state is not HostState.DISABLED:
            self.state = HostState.MONITORED

    def _share(self) -> str:
        free_mb, used_mb = (_FREE_DISK_MB, _USED_DISK_MB) if self.reported_s else (0, 0)
        disks = (
            f"<DATASTORES><DISK_USAGE>{cdata(self.disk_usage_mb)}</DISK_USAGE>"
            f"<FREE_DISK>{cdata(free_mb)}</FREE_DISK><MAX_DISK>{cdata(free_mb)}</MAX_DISK>"
            f"<USED_DISK>{cdata(used_mb)}</USED_DISK></DATASTORES>"
        )
        return (
            f"<HOST_SHARE><MEM_USAGE>{self.mem_usage_kb}</MEM_USAGE><CPU_USAGE>{self.cpu_usage}</CPU_USAGE>"
            f"<TOTAL_MEM>{self.total_mem_kb}</TOTAL_MEM><TOTAL_CPU>{self.total_cpu}</TOTAL_CPU>"
            f"<MAX_MEM>{self.max_mem_kb}</MAX_MEM><MAX_CPU>{self.max_cpu}</MAX_CPU>"
            f"<RUNNING_VMS>{self.running_vms}</RUNNING_VMS><VMS_THREAD>1</VMS_THREAD>{disks}"
            "<PCI_DEVICES></PCI_DEVICES><NUMA_NODES></NUMA_NODES></HOST_SHARE>"
        )

    def xml(self, cloud: Cloud) -> str:
        """The body, without the devices that the dummy driver invents."""
        cluster = cloud.pool(Cluster).find(self.cluster_id)
        return (
            f"<HOST><ID>{self.id}</ID><NAME>{self.name}</NAME><STATE>{self.state.value}</STATE>"
            f"<PREV_STATE>{self.state.value}</PREV_STATE><IM_MAD>{cdata(self.im_mad)}</IM_MAD>"
            f"<VM_MAD>{cdata(self.vm_mad)}</VM_MAD><CLUSTER_ID>{self.cluster_id}</CLUSTER_ID>"
            f"<CLUSTER>{cluster.name if cluster else ''}</CLUSTER>{self._share()}{ids('VMS', self.vms)}"
            f"{self.template.xml()}{self._monitoring()}</HOST>"
        )

    def _monitoring(self) -> str:
        """The last report: the dummy driver's figures are random, these are what VMs take."""
        if not self.reported_s:
            return "<MONITORING/>"
        free_cpu, free_mem_kb = self.total_cpu - self.cpu_usage, self.total_mem_kb - self.mem_usage_kb
        return (
            f"<MONITORING><TIMESTAMP>{self.reported_s}</TIMESTAMP><ID>{self.id}</ID>"
            f"<CAPACITY><FREE_CPU>{cdata(free_cpu)}</FREE_CPU><FREE_MEMORY>{cdata(free_mem_kb)}</FREE_MEMORY>"
            f"<USED_CPU>{cdata(self.cpu_usage)}</USED_CPU><USED_MEMORY>{cdata(self.mem_usage_kb)}</USED_MEMORY>"
            f"</CAPACITY><SYSTEM><NETRX>{cdata(0)}</NETRX><NETTX>{cdata(0)}</NETTX></SYSTEM></MONITORING>"
        )


def _less(total: int, reserved: str) -> int:
    """A capacity less what is reserved of it: an amount, or a percentage."""
    text = reserved.strip()
    amount = integer(text.removesuffix("%"))
    if amount is None:
        return total
    return int(total * (1 - amount / 100)) if text.endswith("%") else total - amount


def _hostname_problem(name: str) -> str | None:
    if not 1 < len(name.encode()) < 64:
        return "Invalid HOSTNAME, HOSTNAME length should be greater than 1, but smaller than 64 characters"
    if name[0] in "-._":
        return f"Invalid HOSTNAME, first character can't be '{name[0]}'"
    wrong = next((char for char in name if not (char.isascii() and char.isalnum()) and char not in "-._"), None)
    if wrong is not None:
        return f"Invalid HOSTNAME, '{wrong}' is invalid character for a HOSTNAME"
    return f"Invalid HOSTNAME, last character can't be '{name[-1]}'" if name[-1] in "-._" else None


def create(cloud: Cloud, name: str, im_mad: str, vm_mad: str, cluster_id: int) -> Host:
    """Make a host; its first monitoring report comes one step later.

    Raises:
        Refusal: The name is taken or no host name, or a driver is missing (ALLOCATE).
    """
    problem = _hostname_problem(name) or name_problem(name)
    if problem is None and not im_mad:
        problem = "IM_MAD_NAME cannot be empty."
    if problem is None and not vm_mad:
        problem = "VMM_MAD_NAME cannot be empty."
    if problem is not None:
        raise not_allocated(problem)
    taken = cloud.pool(Host).named(name)
    if taken is not None:
        raise not_allocated(f"NAME is already taken by HOST {taken.id}.")
    template = Template([("RESERVED_CPU", ""), ("RESERVED_MEM", ""), ("IM_MAD", im_mad), ("VM_MAD", vm_mad)])
    host = Host(name=name, gname="oneadmin", im_mad=im_mad, vm_mad=vm_mad, cluster_id=cluster_id, template=template)
    cloud.pool(Host).add(host)
    cloud.pool(Cluster).get(cluster_id).hosts.add(host.id)
    cloud.later(cloud.config.step_s, lambda: host.monitored(cloud))
    return host


@method("one.host.allocate", Kind.HOST, Right.CREATE)
def allocate(call: Call, name: str, im_mad: str, vm_mad: str, cluster_id: int) -> int:
    """Allocates a new host."""
    cluster = call.cloud.pool(Cluster).get(DEFAULT_CLUSTER_ID if cluster_id == -1 else cluster_id)
    call.authorize((Right.CREATE, call.may_create(Kind.HOST)), (Right.ADMIN, cluster.subject))
    return create(call.cloud, name, im_mad, vm_mad, cluster.id).id


@method("one.host.delete", Kind.HOST, Right.ADMIN)
def delete(call: Call, oid: int) -> int:
    """Deletes a host."""

    def drop(host: Host) -> None:
        if host.running_vms > 0:
            raise action("Can not remove a host with running VMs")
        call.cloud.pool(Host).remove(host)
        leave(call.cloud, Kind.HOST, oid)
        forget_resource(call.cloud, Kind.HOST, oid)

    return verbs.delete(call, Host, oid, drop)


@method("one.host.info", Kind.HOST, Right.USE, ignores_lock=True)
def info(call: Call, oid: int, decrypt: bool = False) -> str:  # noqa: ARG001 - nothing is encrypted here
    """Returns host information."""
    return verbs.info(call, Host, oid)


@method("one.hostpool.info", Kind.HOST)
def pool_info(call: Call) -> str:
    """Returns the host pool."""
    return verbs.pool_xml("HOST_POOL", (host.xml(call.cloud) for host in call.visible(Host)))


@method("one.host.update", Kind.HOST, Right.ADMIN)
def update(call: Call, oid: int, text: str, mode: int = 0) -> int:
    """Updates a host's template."""
    return verbs.update(call, Host, oid, text, mode).id


@method("one.host.rename", Kind.HOST, Right.ADMIN)
def rename(call: Call, oid: int, name: str) -> int:
    """Renames a host."""
    verbs.rename(call, Host, oid, name)
    return oid


@method("one.host.status", Kind.HOST, Right.ADMIN)
def status(call: Call, oid: int, wanted: int) -> int:
    """Sets a host to enabled (0), disabled (1) or offline (2)."""
    host = call.get(Host, oid)
    if wanted == 0:
        known = host.state is HostState.DISABLED and host.total_cpu > 0
        host.state = HostState.MONITORED if known else HostState.INIT
        if not known:
            call.cloud.later(call.cloud.config.step_s, lambda: host.monitored(call.cloud))
    elif wanted == 1:
        host.state = HostState.DISABLED
    elif wanted == 2:
        host.state = HostState.OFFLINE
        host.total_cpu = host.total_mem_kb = host.max_cpu = host.max_mem_kb = 0
        host.template.erase("TOTALCPU")
        host.template.erase("TOTALMEMORY")
    else:
        raise internal("Wrong status code")
    return oid
