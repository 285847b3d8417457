"""What OpenNebula's XML says of networks, security groups and virtual routers, as values."""

from __future__ import annotations

import re
from enum import IntEnum
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Self

import attrs

from opennebula_tenancy._wire.records import number_in, parse
from opennebula_tenancy._wire.vm_records import id_in, scalars, vectors


if TYPE_CHECKING:
    import xml.etree.ElementTree as ET
    from collections.abc import Iterator, Mapping


_ADDRESS = re.compile(r"0*(\d{1,3})\.0*(\d{1,3})\.0*(\d{1,3})\.0*(\d{1,3})", re.ASCII)
_NET, _VM, _VROUTER = 0x40 << 32, 0x10 << 32, 0x40000 << 32
"""Kinds of objects as PoolObjectSQL.h numbers them; the low 32 bits of a number in ALLOCATED are the id."""
_ID_BITS = 0xFFFFFFFF
_HELD = _ID_BITS
"""The id -1, which the server gives to an address that one.vn.hold took."""


class NetworkState(IntEnum):
    """The states of a network, as VirtualNetwork.h numbers them."""

    INIT = 0
    READY = 1
    LOCK_CREATE = 2
    LOCK_DELETE = 3
    DONE = 4
    ERROR = 5
    UPDATE_FAILURE = 6


_STATES = frozenset(NetworkState)
_UNMADE = frozenset({NetworkState.INIT, NetworkState.LOCK_CREATE})
"""The states in which a network's ranges are still to be made."""


def _address(text: str) -> IPv4Address | None:
    """An address as `AddressRange::ip_to_i` reads it: decimal, leading zeros or not. None for anything else."""
    match = _ADDRESS.fullmatch(text.strip())
    if match is None:
        return None
    octets = [int(octet) for octet in match.groups()]
    return None if max(octets) > 255 else IPv4Address(bytes(octets))


def _ids(element: ET.Element, path: str) -> frozenset[int]:
    return frozenset(number_in(item, ".") for item in element.iterfind(f"{path}/ID"))


def _id_list(text: str) -> tuple[int, ...]:
    """Ids as in SECURITY_GROUPS: `0,100`. What is no id, which a user may have written there, is left out."""
    return tuple(int(part) for part in text.split(",") if part.strip().isdecimal())


@attrs.frozen
class LeaseRecord:
    """An address of a network that is in use: by a VM, a virtual router, or a network that reserved it.

    Attributes:
        ip: The address; None in a range without IPv4.
        vm: The VM's id.
        vrouter: The router's id: this is a floating address of it.
        vnet: The id of the network that it is reserved for.
    """

    ip: IPv4Address | None
    vm: int | None = None
    vrouter: int | None = None
    vnet: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether no object uses it: an administrator took it out of use with one.vn.hold."""
        return self.vm is None and self.vrouter is None and self.vnet is None

    @classmethod
    def of(cls, lease: Mapping[str, str]) -> Self:
        """Read a LEASE of one.vn.info. The VM -1 stands for a held address."""
        ip = _address(lease.get("IP", ""))
        return cls(ip, vm=id_in(lease, "VM"), vrouter=id_in(lease, "VROUTER"), vnet=id_in(lease, "VNET"))

    @classmethod
    def allocated(cls, address_range: Mapping[str, str]) -> Iterator[Self]:
        """Read ALLOCATED, which a pool has in place of leases (`AddressRange::allocated_to_attr`).

        It is a list of pairs: the index of the address in the range, and the kind and id of its user in one number.
        """
        first = _address(address_range.get("IP", ""))
        numbers = [int(word) for word in address_range.get("ALLOCATED", "").split() if word.isdecimal()]
        for index, user in zip(numbers[::2], numbers[1::2], strict=False):
            ip = None if first is None else IPv4Address((int(first) + index) & _ID_BITS)
            kind, own = user & ~_ID_BITS, user & _ID_BITS
            yield cls(
                ip,
                vm=own if kind == _VM and own != _HELD else None,
                vrouter=own if kind == _VROUTER else None,
                vnet=own if kind == _NET else None,
            )


@attrs.frozen(kw_only=True)
class NetworkRecord:
    """A virtual network.

    Attributes:
        id: Its id.
        name: Its name, which another user's network may have too.
        uid: The owner's id.
        gid: The group's id.
        state: A `NetworkState`; a plain number when it is one that this library does not know.
        clusters: The ids of its clusters.
        template: The scalar attributes of its template. ERROR says why it is in the state ERROR.
        spans: The first address and the number of addresses of each IPv4 range, those included that the server has
            not made yet: until the network leaves LOCK_CREATE they stand in the template.
        size: The number of addresses of all its ranges, those without IPv4 included.
        used_leases: The number of addresses in use.
        leases: Those that the reader may see.
        vrouters: The ids of the routers that are attached to it.
        parent: The id of the network that it is a reservation of, if it is one.
        vlan_id: The VLAN id or the VXLAN's; empty where it has none.
        vn_mad: The driver, such as `vxlan`.
        phydev: The hosts' interface that it rides on; empty where it needs none.
        bridge: The hosts' bridge.
        security_groups: The ids of the security groups that its users get.
    """

    id: int
    name: str
    uid: int
    gid: int
    state: NetworkState | int
    clusters: frozenset[int]
    template: Mapping[str, str]
    spans: tuple[tuple[IPv4Address, int], ...]
    size: int
    used_leases: int
    leases: tuple[LeaseRecord, ...]
    vrouters: frozenset[int]
    parent: int | None
    vlan_id: str
    vn_mad: str
    phydev: str
    bridge: str
    security_groups: tuple[int, ...]

    @property
    def state_name(self) -> str:
        """The name of the state, or its number."""
        return self.state.name if isinstance(self.state, NetworkState) else str(self.state)

    @classmethod
    def of(cls, element: ET.Element) -> Self:
        """Read a VNET element."""
        template = scalars(element, "TEMPLATE")
        return cls(
            id=number_in(element, "ID"),
            name=element.findtext("NAME") or "",
            uid=number_in(element, "UID"),
            gid=number_in(element, "GID"),
            state=_state(element),
            clusters=_ids(element, "CLUSTERS"),
            template=template,
            spans=tuple(_spans(element)),
            size=sum(id_in(item, "SIZE") or 0 for item in vectors(element, "AR_POOL/AR")),
            used_leases=number_in(element, "USED_LEASES"),
            leases=tuple(_leases(element)),
            vrouters=_ids(element, "VROUTERS"),
            parent=id_in(scalars(element, "."), "PARENT_NETWORK_ID"),
            vlan_id=element.findtext("VLAN_ID") or "",
            vn_mad=element.findtext("VN_MAD") or "",
            phydev=element.findtext("PHYDEV") or "",
            bridge=element.findtext("BRIDGE") or "",
            security_groups=_id_list(template.get("SECURITY_GROUPS", "")),
        )

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read the answer of one.vn.info."""
        return cls.of(parse(text, "VNET"))

    @classmethod
    def pool(cls, text: object) -> tuple[Self, ...]:
        """Read the answer of one.vnpool.info."""
        return tuple(cls.of(item) for item in parse(text, "VNET_POOL").iterfind("VNET"))


def _state(element: ET.Element) -> NetworkState | int:
    number = number_in(element, "STATE")
    return NetworkState(number) if number in _STATES else number


def _spans(element: ET.Element) -> Iterator[tuple[IPv4Address, int]]:
    """The IPv4 ranges: those of the pool of ranges, and those that are about to be made.

    A range that oned would refuse has no addresses: it ends in the state ERROR and is dropped.
    """
    made = vectors(element, "AR_POOL/AR")
    due = vectors(element, "TEMPLATE/AR") if _state(element) in _UNMADE else ()
    for address_range in (*made, *due):
        first, size = _address(address_range.get("IP", "")), id_in(address_range, "SIZE")
        if first is not None and size:
            yield first, size


def _leases(element: ET.Element) -> Iterator[LeaseRecord]:
    for address_range in element.iterfind("AR_POOL/AR"):
        yield from (LeaseRecord.of(lease) for lease in vectors(address_range, "LEASES/LEASE"))
        yield from LeaseRecord.allocated(scalars(address_range, "."))


@attrs.frozen(kw_only=True)
class SecurityGroupRecord:
    """A security group.

    Attributes:
        id: Its id.
        name: Its name.
        uid: The owner's id.
        gid: The group's id.
        template: The scalar attributes of its template.
        rules: The attributes of each rule, as whoever wrote it spelled them.
        updated: The ids of the VMs that have its rules as they are now.
        outdated: Those that still have its rules as they were before.
        updating: Those that are being given its rules.
        error: Those that could not be given its rules.
    """

    id: int
    name: str
    uid: int
    gid: int
    template: Mapping[str, str]
    rules: tuple[Mapping[str, str], ...]
    updated: frozenset[int]
    outdated: frozenset[int]
    updating: frozenset[int]
    error: frozenset[int]

    @classmethod
    def of(cls, element: ET.Element) -> Self:
        """Read a SECURITY_GROUP element."""
        return cls(
            id=number_in(element, "ID"),
            name=element.findtext("NAME") or "",
            uid=number_in(element, "UID"),
            gid=number_in(element, "GID"),
            template=scalars(element, "TEMPLATE"),
            rules=vectors(element, "TEMPLATE/RULE"),
            updated=_ids(element, "UPDATED_VMS"),
            outdated=_ids(element, "OUTDATED_VMS"),
            updating=_ids(element, "UPDATING_VMS"),
            error=_ids(element, "ERROR_VMS"),
        )

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read the answer of one.secgroup.info."""
        return cls.of(parse(text, "SECURITY_GROUP"))

    @classmethod
    def pool(cls, text: object) -> tuple[Self, ...]:
        """Read the answer of one.secgrouppool.info."""
        return tuple(cls.of(item) for item in parse(text, "SECURITY_GROUP_POOL").iterfind("SECURITY_GROUP"))


@attrs.frozen
class RouterNicRecord:
    """A network interface of a virtual router.

    Attributes:
        nic_id: Its number.
        network_id: The network's id; None where the router names its network otherwise.
        ip: The address that was asked for, which each of its VMs would get; None where the network chooses.
        vrouter_ip: The floating address, which moves between the VMs; None where there is none.
        floating_ip: Whether a floating address was asked for.
    """

    nic_id: int
    network_id: int | None
    ip: IPv4Address | None
    vrouter_ip: IPv4Address | None
    floating_ip: bool

    @classmethod
    def of(cls, nic: Mapping[str, str], position: int) -> Self:
        """Read a NIC of a router's template.

        Args:
            nic: Its attributes.
            position: Where it stands, which is its number unless it says otherwise.
        """
        number = id_in(nic, "NIC_ID")
        return cls(
            position if number is None else number,
            id_in(nic, "NETWORK_ID"),
            _address(nic.get("IP", "")),
            _address(nic.get("VROUTER_IP", "")),
            nic.get("FLOATING_IP", "").upper() == "YES",
        )


@attrs.frozen(kw_only=True)
class RouterRecord:
    """A virtual router.

    Attributes:
        id: Its id.
        name: Its name, which another router may have too.
        uid: The owner's id.
        gid: The group's id.
        template: The scalar attributes of its template.
        vms: The ids of its VMs.
        nics: Its interfaces, in the order that its VMs have them.
    """

    id: int
    name: str
    uid: int
    gid: int
    template: Mapping[str, str]
    vms: frozenset[int]
    nics: tuple[RouterNicRecord, ...]

    @classmethod
    def of(cls, element: ET.Element) -> Self:
        """Read a VROUTER element."""
        return cls(
            id=number_in(element, "ID"),
            name=element.findtext("NAME") or "",
            uid=number_in(element, "UID"),
            gid=number_in(element, "GID"),
            template=scalars(element, "TEMPLATE"),
            vms=_ids(element, "VMS"),
            nics=tuple(RouterNicRecord.of(nic, index) for index, nic in enumerate(vectors(element, "TEMPLATE/NIC"))),
        )

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read the answer of one.vrouter.info."""
        return cls.of(parse(text, "VROUTER"))

    @classmethod
    def pool(cls, text: object) -> tuple[Self, ...]:
        """Read the answer of one.vrouterpool.info."""
        return tuple(cls.of(item) for item in parse(text, "VROUTER_POOL").iterfind("VROUTER"))
