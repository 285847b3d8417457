"""What OpenNebula's XML says of virtual machines, as values."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Self

import attrs

from opennebula_tenancy._wire.records import number_in, parse
from opennebula_tenancy.errors import ProtocolViolation
from opennebula_tenancy.vm_status import VmStatus


if TYPE_CHECKING:
    import xml.etree.ElementTree as ET
    from collections.abc import Iterator, Mapping


def scalars(element: ET.Element, path: str) -> Mapping[str, str]:
    """The scalar attributes of a vector or of a template.

    Args:
        element: Where it is.
        path: Its name, such as `USER_TEMPLATE` or `TEMPLATE/CONTEXT`.

    Returns:
        The attributes by name; the last one counts where a name repeats. Empty where there is no such vector.
    """
    found = element.find(path)
    return {} if found is None else {item.tag: item.text or "" for item in found if not len(item)}


def vectors(element: ET.Element, path: str) -> tuple[Mapping[str, str], ...]:
    """The attributes of each vector of a name, in their order.

    Args:
        element: Where they are.
        path: Their name, such as `TEMPLATE/DISK`.
    """
    return tuple({part.tag: part.text or "" for part in item} for item in element.iterfind(path) if len(item))


def id_in(vector: Mapping[str, str], name: str) -> int | None:
    """An id in a vector; None where there is none, or where an administrator wrote something else."""
    text = vector.get(name, "").strip()
    return int(text) if text.isdecimal() else None


def _whole(vector: Mapping[str, str], name: str) -> int:
    """A size in a vector; 0 where it has none, as a disk has that was never given one."""
    number = id_in(vector, name)
    return 0 if number is None else number


@attrs.frozen(kw_only=True)
class NicRecord:
    """A network interface of a virtual machine, or an alias of one.

    Attributes:
        nic_id: Its number in the machine, that aliases share the numbering of.
        network_id: The network; None where it is in none.
        network: The network's name.
        ip: Its IPv4 address; empty where it has none.
        mac: Its MAC address.
        name: Its name, such as `NIC0` or `NIC0_ALIAS1`; empty in the short body of a pool.
        parent_id: The number of the interface that it is an alias of; None for an interface, and in the short body
            of a pool, which does not tell them apart.
        external: Whether it is an alias that is not configured inside the machine.
        security_groups: The ids of its security groups.
        label: The key that this library gave it; empty where it gave none, and in the short body of a pool.
    """

    nic_id: int
    network_id: int | None
    network: str
    ip: str
    mac: str
    name: str
    parent_id: int | None
    external: bool
    security_groups: tuple[int, ...]
    label: str = ""

    @property
    def is_alias(self) -> bool:
        """Whether it is an alias of another interface."""
        return self.parent_id is not None

    @classmethod
    def of(cls, vector: Mapping[str, str]) -> Self:
        """Read a NIC or a NIC_ALIAS."""
        groups = vector.get("SECURITY_GROUPS", "").split(",")
        return cls(
            nic_id=_whole(vector, "NIC_ID"),
            network_id=id_in(vector, "NETWORK_ID"),
            network=vector.get("NETWORK", ""),
            ip=vector.get("IP", ""),
            mac=vector.get("MAC", ""),
            name=vector.get("NAME", ""),
            parent_id=id_in(vector, "PARENT_ID"),
            external=vector.get("EXTERNAL", "").upper() == "YES",
            security_groups=tuple(int(group) for group in groups if group.strip().isdecimal()),
            label=vector.get("TENANCY_KEY", ""),
        )


@attrs.frozen(kw_only=True)
class DiskRecord:
    """A disk of a virtual machine. The disk of its CONTEXT is none of these.

    Attributes:
        disk_id: Its number in the machine.
        image_id: The image that it was made of; None for a volatile one.
        size_mb: Its size, in MB.
        original_size_mb: The size of the image when the machine was made, in MB; None where it is not told.
        datastore_id: The datastore of the image; None where it is not told.
        is_cd: Whether it is a CD, that never has another size.
        is_persistent: Whether what is written to it stays in its image when the machine is gone.
    """

    disk_id: int
    image_id: int | None
    size_mb: int
    original_size_mb: int | None
    datastore_id: int | None
    is_cd: bool = False
    is_persistent: bool = False

    @classmethod
    def of(cls, vector: Mapping[str, str]) -> Self:
        """Read a DISK."""
        return cls(
            disk_id=_whole(vector, "DISK_ID"),
            image_id=id_in(vector, "IMAGE_ID"),
            size_mb=_whole(vector, "SIZE"),
            original_size_mb=id_in(vector, "ORIGINAL_SIZE"),
            datastore_id=id_in(vector, "DATASTORE_ID"),
            is_cd=vector.get("TYPE", "").upper().endswith("CDROM"),
            is_persistent=vector.get("PERSISTENT", "").upper() == "YES",
        )


@attrs.frozen(kw_only=True)
class VmRecord:
    """A virtual machine as one.vm.info, or a pool of them, tells of it.

    Attributes:
        id: Its id.
        name: Its name.
        uid: The id of its owner.
        gid: The id of its group.
        status: Where it is in its life.
        nics: Its interfaces and their aliases, by number.
        disks: Its disks, by number.
        cpu: The share of physical cores that it is given; 1 is one core.
        vcpu: The cores that it sees: 1 where its template says nothing, as the drivers then give it.
        memory_mb: Its memory, in MB.
        user_template: The scalar attributes that it was given and that OpenNebula does not use; the short body of a
            pool has only a few of them.
        context: What it is told at its boot; empty in the short body of a pool.
        host_id: The host that it is on, or was on last; None before it was on any.
        history: The number of its last history record, and of the action that is to end it; None where it has none.
        created_s: When it was made, in seconds since 1970.
        template_id: The VM template that it was made of; None where it was made of none, and in the short body of a
            pool.
    """

    id: int
    name: str
    uid: int
    gid: int
    status: VmStatus
    nics: tuple[NicRecord, ...]
    disks: tuple[DiskRecord, ...]
    cpu: Decimal
    vcpu: int
    memory_mb: int
    user_template: Mapping[str, str] = attrs.field(repr=False)
    context: Mapping[str, str] = attrs.field(repr=False)
    host_id: int | None
    history: tuple[int, int] | None
    created_s: int
    template_id: int | None

    @property
    def reason(self) -> str:
        """What OpenNebula says is wrong with it: a driver's error, or why no host takes it; empty where nothing is."""
        return self.user_template.get("ERROR") or self.user_template.get("SCHED_MESSAGE", "")

    @property
    def disk_mb(self) -> int:
        """The size of all its disks together, in MB; CDs are shared, and nobody's."""
        return sum(disk.size_mb for disk in self.disks if not disk.is_cd)

    @classmethod
    def of(cls, element: ET.Element) -> Self:
        """Read a VM element."""
        nics = [*vectors(element, "TEMPLATE/NIC"), *vectors(element, "TEMPLATE/NIC_ALIAS")]
        history = [
            (number_in(item, "HID"), number_in(item, "SEQ"), number_in(item, "ACTION"))
            for item in element.iterfind("HISTORY_RECORDS/HISTORY")
        ]
        return cls(
            id=number_in(element, "ID"),
            name=element.findtext("NAME") or "",
            uid=number_in(element, "UID"),
            gid=number_in(element, "GID"),
            status=VmStatus(number_in(element, "STATE"), number_in(element, "LCM_STATE")),
            nics=tuple(sorted(map(NicRecord.of, nics), key=lambda nic: nic.nic_id)),
            disks=tuple(sorted(_disks(element), key=lambda disk: disk.disk_id)),
            cpu=_cpu(element),
            vcpu=number_in(element, "TEMPLATE/VCPU") if element.findtext("TEMPLATE/VCPU") else 1,
            memory_mb=number_in(element, "TEMPLATE/MEMORY") if element.findtext("TEMPLATE/MEMORY") else 0,
            user_template=scalars(element, "USER_TEMPLATE"),
            context=scalars(element, "TEMPLATE/CONTEXT"),
            host_id=history[-1][0] if history else None,
            history=history[-1][1:] if history else None,
            created_s=number_in(element, "STIME"),
            template_id=id_in(scalars(element, "TEMPLATE"), "TEMPLATE_ID"),
        )

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read the answer of one.vm.info."""
        return cls.of(parse(text, "VM"))

    @classmethod
    def pool(cls, text: object) -> tuple[Self, ...]:
        """Read the answer of one.vmpool.info, one.vmpool.infoextended or one.vmpool.infoset."""
        return tuple(cls.of(item) for item in parse(text, "VM_POOL").iterfind("VM"))


def _disks(element: ET.Element) -> Iterator[DiskRecord]:
    return map(DiskRecord.of, vectors(element, "TEMPLATE/DISK"))


def _cpu(element: ET.Element) -> Decimal:
    text = element.findtext("TEMPLATE/CPU") or "0"
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ProtocolViolation(f"<VM> has CPU {text!r}, a number was due") from None
