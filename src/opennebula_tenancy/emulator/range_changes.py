"""Changing address ranges, and reserving parts of them for other networks (AddressRange.cc)."""

from collections.abc import Collection

from opennebula_tenancy.emulator.addresses import AddressError, AddressRange, Holder, unsigned
from opennebula_tenancy.emulator.kinds import Kind
from opennebula_tenancy.emulator.template import Vector, integer


_FIXED = ("TYPE", "SHARED", "MAC", "IP", "IP6", "AR_ID", "PARENT_NETWORK_AR_ID")
_MADE = (
    *("ALLOCATED", "USED_LEASES", "LEASES", "MAC_END", "IP_END", "IP6_END", "IP6_ULA", "IP6_ULA_END"),
    *("IP6_GLOBAL", "IP6_GLOBAL_END"),
)


def change(found: AddressRange, asked: Vector, inherited: Collection[str]) -> dict[str, str]:
    """Change the size and the other attributes of a range; its addresses stay.

    Args:
        found: The range.
        asked: Its new attributes: what is not among them is gone.
        inherited: Names of attributes that NICs take from their range.

    Returns:
        The old values of inherited attributes that changed.

    Raises:
        AddressError: It cannot be changed so. Nothing changed.
    """
    old = found.attributes
    new = Vector((name, value) for name, value in asked.items() if name not in {*_FIXED, *_MADE})
    for name in _FIXED:
        if name in old:
            new[name] = old[name]
    if "IP6" not in old:
        new.pop("PREFIX_LENGTH", None)
    elif integer(new.get("PREFIX_LENGTH")) is None:
        new["PREFIX_LENGTH"] = old["PREFIX_LENGTH"]
    prefixes = found.prefixes_of(new)
    for name in ("GLOBAL_PREFIX", "ULA_PREFIX"):
        given = new.pop(name, "")
        if found.has_prefixes:
            new[name] = given
    size = _size(found, new.get("SIZE", ""))
    found.size, found.prefixes = size, prefixes
    if found.next >= size:
        found.next = 0
    new["SIZE"] = str(size)
    for name in ("PORT_START", "PORT_SIZE"):
        if unsigned(new.get(name, "")) is None:
            new.pop(name, None)
    changed = {name: old.get(name, "") for name in new if name in inherited and new[name] != old.get(name)}
    changed |= {name: old[name] for name in old if name in inherited and name not in new}
    found.attributes = new
    return changed


def _size(found: AddressRange, text: str) -> int:
    if not text:
        return found.size
    size = unsigned(text)
    if size is None:
        raise AddressError("Unable to read the SIZE attribute, it must be number >= 0")
    if "PARENT_NETWORK_AR_ID" in found.attributes and size != found.size:
        raise AddressError("The SIZE of a reservation cannot be changed.")
    if any(index >= size for index in found.holders):
        raise AddressError(
            "New SIZE cannot be applied. There are used leases that would fall outside the range.",
        )
    return size


def reserve(found: AddressRange, size: int, network_id: int, first: Vector | None, ar_id: int) -> AddressRange | None:
    """Reserve consecutive addresses of a range for a network.

    Args:
        found: The range.
        size: How many.
        network_id: The network that gets them.
        first: A vector with the IP, IP6 or MAC that is to be the first; None for wherever there is room.
        ar_id: The id of the range in that network.

    Returns:
        The range in that network, None when there is no room.
    """
    start = None if found.shared else _start(found, size, first)
    if start is None:
        return None
    for index in range(start, start + size):
        found.hold(index, Holder(Kind.NET, network_id))
    part = Vector(found.attributes, SIZE=str(size), **found.address(start))
    for name in ("IP6_LINK", "IP6_ULA", "IP6_GLOBAL"):
        part.pop(name, None)
    made = AddressRange.read(part, ar_id)
    made.attributes["PARENT_NETWORK_AR_ID"] = str(found.id)
    return made


def _start(found: AddressRange, size: int, first: Vector | None) -> int | None:
    def is_free(start: int) -> bool:
        return start + size <= found.size and not any(index in found.holders for index in range(start, start + size))

    if first is not None:
        start = found.index_of(first, free=False)
        return start if start is not None and is_free(start) else None
    if size > found.size - len(found.holders):
        return None
    candidates = ((found.next + offset) % found.size for offset in range(found.size))
    start = next((start for start in candidates if is_free(start)), None)
    if start is not None:
        found.next = (start + size) % found.size
    return start
