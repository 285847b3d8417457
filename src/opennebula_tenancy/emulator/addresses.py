"""Address ranges of virtual networks: consecutive addresses, and who holds which (src/vnm/AddressRange.cc)."""

import random
import re
import socket
import struct
from collections.abc import Collection, Iterator, Mapping

import attrs

from opennebula_tenancy.emulator.kinds import Kind
from opennebula_tenancy.emulator.markup import cdata
from opennebula_tenancy.emulator.template import Vector, render


MAC_PREFIX = 0x0200
"""The first two bytes of the hardware addresses that oned makes (MAC_PREFIX of oned.conf)."""

_TYPES = frozenset({"ETHER", "IP4", "IP6", "IP6_STATIC", "IP4_6", "IP4_6_STATIC"})
_IPV4 = frozenset({"IP4", "IP4_6", "IP4_6_STATIC"})
_IPV6 = frozenset({"IP6", "IP4_6"})
_IPV6_STATIC = frozenset({"IP6_STATIC", "IP4_6_STATIC"})
_MAC = re.compile(r"(?:[0-9a-fA-F]{1,2}:){5}[0-9a-fA-F]{1,2}")
_UNSIGNED = re.compile(r"\s*\+?(\d+)")
_LINK_LOCAL = 0xFE80 << 48
_32_BITS = 0xFFFFFFFF
_64_BITS = 0xFFFFFFFFFFFFFFFF
_INTERNAL = ("ALLOCATED", "USED_LEASES", "LEASES", "PARENT_NETWORK_AR_ID", "PARENT_NETWORK")
_FROM_RANGE = ("VN_MAD", "BRIDGE", "PHYDEV", "VLAN_ID")


class AddressError(Exception):
    """An address range that cannot be. Its text is oned's."""


@attrs.frozen
class Holder:
    """Who holds an address: a VM, a virtual router, or a network that reserved it. VM -1 is a hold."""

    kind: Kind
    id: int

    @property
    def element(self) -> str:
        """The element of a lease that names it."""
        return "VNET" if self.kind is Kind.NET else self.kind.text

    @property
    def packed(self) -> int:
        """The number that stands for it in the body of a pool (`ALLOCATED`)."""
        return self.kind.bit | self.id & _32_BITS


HOLD = Holder(Kind.VM, -1)
"""The holder of an address that `one.vn.hold` took."""

Visible = Mapping[Kind, Collection[int] | None]
"""The holders whose leases a reader may see: ids by kind, None for all of that kind."""


def ip_number(text: str) -> int | None:
    """An IPv4 address as a number, read as oned does: four numbers up to 255, leading zeros allowed."""
    parts = text.split(".")
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() and int(part) <= 255 for part in parts):
        return None
    number = 0
    for part in parts:
        number = (number << 8) + int(part)
    return number


def ip_text(number: int) -> str:
    """A number, of which 32 bits count, as an IPv4 address."""
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def ip6_number(text: str) -> int | None:
    """An IPv6 address as a number, or None."""
    try:
        high, low = struct.unpack("!QQ", socket.inet_pton(socket.AF_INET6, text))
    except OSError:
        return None
    return int(high << 64 | low)


def ip6_text(number: int) -> str:
    """A number of 128 bits as an IPv6 address."""
    return socket.inet_ntop(socket.AF_INET6, struct.pack("!QQ", number >> 64 & _64_BITS, number & _64_BITS))


def mac_number(text: str) -> int | None:
    """A hardware address as a number, or None; the broadcast address is none."""
    if not _MAC.fullmatch(text):
        return None
    number = 0
    for part in text.split(":"):
        number = (number << 8) + int(part, 16)
    return None if number == 0xFFFFFFFFFFFF else number


def mac_text(number: int) -> str:
    """A number of 48 bits as a hardware address."""
    return ":".join(f"{number >> shift & 255:02x}" for shift in range(40, -8, -8))


def random_mac() -> str:
    """A hardware address for a NIC whose address comes from no range."""
    return mac_text(MAC_PREFIX << 32 | random.getrandbits(32))


def _prefixed(prefix: int, mac: int) -> str:
    """The IPv6 address that a 64-bit prefix and a hardware address make (EUI-64)."""
    eui = ((mac >> 24) ^ 0x020000) << 40 | 0xFFFE << 24 | mac & 0xFFFFFF
    return ip6_text(prefix << 64 | eui)


def unsigned(text: str) -> int | None:
    """A number of 64 bits without a sign as a C++ stream reads it to the end, or None."""
    match = _UNSIGNED.fullmatch(text)
    return int(match[1]) if match is not None and int(match[1]) <= _64_BITS else None


@attrs.define(kw_only=True)
class AddressRange:
    """Consecutive addresses, of which each has at most one holder unless the range is shared.

    Attributes:
        id: Its AR_ID in the network.
        type: ETHER, IP4, IP6, IP6_STATIC, IP4_6 or IP4_6_STATIC.
        attributes: The AR vector as it renders.
        size: How many addresses.
        mac: First hardware address.
        ip: First IPv4 address.
        ip6: First static IPv6 address.
        prefixes: The ULA and the global IPv6 prefix, 64 bits each, 0 for none.
        next: Index at which the search for a free address starts.
        holders: Who holds what, by index.
    """

    id: int
    type: str
    attributes: Vector
    size: int = 0
    mac: int = 0
    ip: int = 0
    ip6: int = 0
    prefixes: tuple[int, int] = (0, 0)
    next: int = 0
    shared: bool = False
    holders: dict[int, set[Holder]] = attrs.field(factory=dict)

    @classmethod
    def read(cls, vector: Vector, ar_id: int) -> "AddressRange":
        """The range that an AR vector describes.

        Args:
            vector: The vector as a user wrote it.
            ar_id: The id it gets.

        Raises:
            AddressError: It describes none.
        """
        attributes = Vector(vector)
        kind = attributes.get("TYPE", "").upper()
        if kind not in _TYPES:
            raise AddressError("Unknown or missing address range TYPE.")
        shared = attributes.get("SHARED", "").upper() == "YES"
        attributes["SHARED"] = "YES" if shared else "NO"
        if shared and kind not in {"IP4", "IP6_STATIC"}:
            raise AddressError("Shared ARs can be only of type IP4 or IP6_STATIC.")
        made = cls(id=ar_id, type=kind, attributes=attributes, shared=shared)
        made._read_addresses()
        made._read_mac()
        size = unsigned(attributes.get("SIZE", ""))
        if size is None:
            raise AddressError("Wrong SIZE for address range")
        made.size = size
        for name in _INTERNAL:
            attributes.pop(name, None)
        attributes.update(NEXT_INDEX="0", AR_ID=str(ar_id))
        return made

    def _read_addresses(self) -> None:
        given = self.attributes
        if self.type in _IPV4:
            ip = ip_number(given.get("IP", ""))
            if ip is None:
                raise AddressError("Wrong or empty IP attribute")
            self.ip = ip
        else:
            given.pop("IP", None)
        if self.type in _IPV6:
            self.prefixes = self.prefixes_of(given)
        else:
            given.pop("GLOBAL_PREFIX", None)
            given.pop("ULA_PREFIX", None)
        if self.type in _IPV6_STATIC:
            self._read_static()
        else:
            given.pop("IP6", None)

    @property
    def has_prefixes(self) -> bool:
        """Whether its addresses may have IPv6 prefixes."""
        return self.type in _IPV6

    def prefixes_of(self, vector: Vector) -> tuple[int, int]:
        """The ULA and the global IPv6 prefix that a vector gives this range, 0 for none.

        Raises:
            AddressError: One is no prefix.
        """
        if self.type not in _IPV6:
            return 0, 0
        ula, known = _prefix(vector.get("ULA_PREFIX", "")), _prefix(vector.get("GLOBAL_PREFIX", ""))
        if known is None:
            raise AddressError("Wrong format for IP6 global address prefix")
        if ula is None:
            raise AddressError("Wrong format for IP6 unique local address prefix")
        return ula, known

    def of_rule(self) -> Vector:
        """What a rule of a security group about the network says about this range."""
        names = ("AR_ID", "TYPE", "SIZE", "MAC", "IP", "IP6")
        found = Vector((name, self.attributes[name]) for name in names if self.attributes.get(name))
        for name, prefix in zip(("IP6_ULA", "IP6_GLOBAL"), self.prefixes, strict=True):
            if prefix:
                found[name] = _prefixed(prefix, self.mac)
        return found

    def _read_static(self) -> None:
        ip6 = ip6_number(self.attributes.get("IP6", ""))
        if ip6 is None:
            raise AddressError("Wrong or empty IP6 attribute")
        length = re.fullmatch(r"\s*([+-]?\d+)", self.attributes.get("PREFIX_LENGTH", ""))
        if length is None:
            raise AddressError("Wrong or empty PREFIX_LENGTH")
        self.ip6 = ip6
        if not self.attributes.get("SIZE"):
            bits = 64 if int(length[1]) <= 64 else 128 - int(length[1])
            size = _64_BITS if bits == 64 else 1 << bits
            mask = _64_BITS if bits == 64 else size - 1
            self.attributes["SIZE"] = str(size - (ip6 & mask))

    def _read_mac(self) -> None:
        given = self.attributes.get("MAC", "")
        if self.shared:
            self.mac = 0
        elif not given:
            low = self.ip if self.type in _IPV4 else random.getrandbits(32)
            self.mac = MAC_PREFIX << 32 | low
        else:
            mac = mac_number(given)
            if mac is None:
                raise AddressError(f"Wrong format for MAC attribute: {given}")
            self.mac = mac
        self.attributes["MAC"] = mac_text(self.mac)

    @property
    def used(self) -> int:
        """How many leases there are."""
        return sum(len(held) for held in self.holders.values())

    @property
    def security_groups(self) -> set[int]:
        """The security groups that its addresses add to a NIC."""
        return id_set(self.attributes.get("SECURITY_GROUPS", ""))

    # Addresses by index

    def index_of(self, address: Vector, *, free: bool = True) -> int | None:
        """Where the address that a vector asks for is in this range.

        Args:
            address: A vector with one of IP, IP6, MAC.
            free: Whether it must be free too.
        """
        index = self._index(address)
        if index is None or not 0 <= index < self.size or (free and not self.shared and index in self.holders):
            return None
        return index

    def _index(self, address: Vector) -> int | None:
        if address.get("MAC"):
            mac = mac_number(address["MAC"])
            return None if mac is None or self.shared or mac >> 32 != self.mac >> 32 else mac - self.mac
        if address.get("IP"):
            ip = ip_number(address["IP"]) if self.type in _IPV4 else None
            return None if ip is None else ip - self.ip
        ip6 = ip6_number(address.get("IP6", "")) if self.type in _IPV6_STATIC else None
        return None if ip6 is None or ip6 >> 32 != self.ip6 >> 32 else ip6 - self.ip6

    def free_index(self) -> int | None:
        """The next free address, searched from behind the last one given; it is the last one given then."""
        if self.shared or self.used >= self.size:
            return None
        for offset in range(self.size):
            index = (self.next + offset) % self.size
            if index not in self.holders:
                self.next = (index + 1) % self.size
                return index
        return None

    def address(self, index: int) -> Vector:
        """The attributes of an address as a lease and a NIC name them."""
        mac = self._mac_of(index)
        found = Vector() if self.shared else Vector(MAC=mac_text(mac))
        if self.type in _IPV4:
            found["IP"] = ip_text(self.ip + index)
        if self.type in _IPV6:
            found["IP6_LINK"] = _prefixed(_LINK_LOCAL, mac)
            for name, prefix in zip(("IP6_ULA", "IP6_GLOBAL"), self.prefixes, strict=True):
                if prefix:
                    found[name] = _prefixed(prefix, mac)
        if self.type in _IPV6_STATIC:
            found["IP6"] = ip6_text(self.ip6 & ~_32_BITS | self.ip6 + index & _32_BITS)
        start, length = (unsigned(self.attributes.get(name, "")) or 0 for name in ("PORT_START", "PORT_SIZE"))
        if start and length:
            first = start + index * length + 1
            found["EXTERNAL_PORT_RANGE"] = f"{first}:{first + length - 1}"
            found["INTERNAL_PORT_RANGE"] = f"1-{length}/{first}"
        return found

    def _mac_of(self, index: int) -> int:
        return self.mac & ~_32_BITS | self.mac + index & _32_BITS

    # Leases

    def hold(self, index: int, holder: Holder) -> None:
        """Give an address to a holder."""
        self.holders.setdefault(index, set()).add(holder)

    def lease(self, index: int, holder: Holder, nic: Vector, inherited: Collection[str]) -> None:
        """Give an address to a holder, and write it to the holder's NIC.

        Args:
            index: Which address.
            holder: Who gets it.
            nic: The NIC vector to complete.
            inherited: Names of attributes that a NIC takes from its range unless it has them.
        """
        nic.update(self.address(index))
        if self.shared:
            nic.update(MAC=random_mac(), SHARED="YES")
        nic["AR_ID"] = str(self.id)
        for name in _FROM_RANGE:
            if self.attributes.get(name):
                nic[name] = self.attributes[name]
        for name in inherited:
            if not nic.get(name) and self.attributes.get(name):
                nic[name] = self.attributes[name]
        self.hold(index, holder)

    def release(self, index: int, holder: Holder) -> bool:
        """Take an address back. Whether the holder had it."""
        held = self.holders.get(index, set())
        if holder not in held:
            return False
        held.remove(holder)
        if not held:
            del self.holders[index]
        return True

    def release_all(self, holder: Holder) -> int:
        """Take back all that a holder has, and say how many addresses that were."""
        return sum(self.release(index, holder) for index in tuple(self.holders))

    # XML

    def xml(self, visible: Visible) -> str:
        """The AR element of the network's own body, with the leases that the reader may see."""
        parts = [self._attributes()]
        last = self.size - 1
        last_mac = 0 if self.shared else self._mac_of(last)
        parts.append(f"<MAC_END>{cdata(mac_text(last_mac))}</MAC_END>")
        if self.type in _IPV4:
            parts.append(f"<IP_END>{cdata(ip_text(self.ip + last))}</IP_END>")
        for name, prefix in zip(("IP6_ULA", "IP6_GLOBAL"), self.prefixes, strict=True):
            if prefix:
                parts.append(f"<{name}>{cdata(_prefixed(prefix, self.mac))}</{name}>")
                parts.append(f"<{name}_END>{cdata(_prefixed(prefix, last_mac))}</{name}_END>")
        if self.type in _IPV6_STATIC:
            parts.append(f"<IP6_END>{cdata(ip6_text(self.ip6 + last))}</IP6_END>")
        parts.append(f"<USED_LEASES>{self.used}</USED_LEASES>")
        leases = "".join(self._leases(visible))
        parts.append(f"<LEASES>{leases}</LEASES>" if self.holders else "<LEASES/>")
        return f"<AR>{''.join(parts)}</AR>"

    def pool_xml(self) -> str:
        """The AR element in the body of a pool: as stored, the holders packed into one attribute."""
        return f"<AR>{self._attributes(ALLOCATED=self._allocated())}</AR>"

    def _attributes(self, **more: str) -> str:
        shown = Vector(self.attributes, NEXT_INDEX=str(self.next))
        shown.update((name, value) for name, value in more.items() if value)
        return "".join(f"<{key}>{cdata(shown[key])}</{key}>" for key in sorted(shown))

    def _held(self) -> Iterator[tuple[int, Holder]]:
        for index in sorted(self.holders):
            for holder in sorted(self.holders[index], key=lambda held: held.packed):
                yield index, holder

    def _allocated(self) -> str:
        return "".join(f" {index} {holder.packed}" for index, holder in self._held())

    def _leases(self, visible: Visible) -> Iterator[str]:
        for index, holder in self._held():
            seen = visible.get(holder.kind, ())
            if seen is None or holder.id in seen:
                yield render("LEASE", Vector(self.address(index), **{holder.element: str(holder.id)}))


def _prefix(text: str) -> int | None:
    """The first half of an IPv6 address as a number, 0 for an empty text, None for what is no address."""
    number = ip6_number(text) if text else 0
    return None if number is None else number >> 64


def id_set(text: str) -> set[int]:
    """The numbers in a comma separated list; what is none is left out (one_util::split_unique)."""
    matches = (re.match(r"\s*([+-]?\d+)", part) for part in text.split(","))
    return {int(match[1]) for match in matches if match is not None}
