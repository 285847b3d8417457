"""What OpenNebula's XML says, as values. Unknown elements are ignored, missing ones are empty."""

from __future__ import annotations

import xml.etree.ElementTree as ET  # oned's own answers; expat refuses entity bombs
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Self

import attrs

from opennebula_tenancy.errors import ProtocolViolation


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def parse(text: object, root: str) -> ET.Element:
    """Parse an answer.

    Args:
        text: The value of the reply.
        root: The name of the root element that it must have.

    Returns:
        The root element.

    Raises:
        ProtocolViolation: It is no text, no XML, or has another root.
    """
    if not isinstance(text, str):
        raise ProtocolViolation(f"OpenNebula answered {type(text).__name__} where XML with the root {root} was due")
    try:
        element = ET.fromstring(text)
    except ET.ParseError as error:
        raise ProtocolViolation(f"OpenNebula answered XML that cannot be read, root {root} was due: {error}") from error
    if element.tag != root:
        raise ProtocolViolation(f"OpenNebula answered the root element {element.tag}, {root} was due")
    return element


def _text(element: ET.Element, path: str) -> str:
    return element.findtext(path) or ""


def number_in(element: ET.Element, path: str, base: int = 10) -> int:
    """Read an integer.

    Args:
        element: Where to read it.
        path: The element that holds it; `.` is the element itself.
        base: 16 where it is written in hexadecimal.

    Returns:
        The number.

    Raises:
        ProtocolViolation: There is none.
    """
    text = _text(element, path)
    try:
        return int(text, base)
    except ValueError:
        raise ProtocolViolation(f"<{element.tag}> has {path} {text!r}, a number was due") from None


def _decimal(element: ET.Element) -> Decimal:
    """A limit or a usage."""
    try:
        number = Decimal(element.text or "0")
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise ProtocolViolation(f"<{element.tag}> is {element.text!r}, a number was due")
    return number


def _ids(element: ET.Element, path: str) -> frozenset[int]:
    return frozenset(number_in(item, ".") for item in element.iterfind(f"{path}/ID"))


def _template(element: ET.Element) -> Mapping[str, str]:
    """The scalar attributes of an object's template; the last one counts where a name repeats."""
    found = element.find("TEMPLATE")
    return {} if found is None else {item.tag: item.text or "" for item in found if not len(item)}


@attrs.frozen
class QuotaRow:
    """One row of a section of quotas.

    Attributes:
        section: VM, DATASTORE, NETWORK or IMAGE.
        id: What the row is for: the id of a datastore, network or image; None for the section VM.
        clusters: The clusters it is restricted to, as OpenNebula writes them; empty for the row that holds everywhere.
        values: Limits and `..._USED` figures by attribute.
    """

    section: str
    id: int | None
    clusters: str
    values: Mapping[str, Decimal]

    @classmethod
    def all_of(cls, element: ET.Element) -> Iterator[Self]:
        """The rows of all sections of a user's or a group's quotas."""
        for section in ("DATASTORE", "NETWORK", "VM", "IMAGE"):
            for row in element.iterfind(f"{section}_QUOTA/{section}"):
                own = None if row.find("ID") is None else number_in(row, "ID")
                values = {item.tag: _decimal(item) for item in row if item.tag not in {"ID", "CLUSTER_IDS"}}
                yield cls(section, own, _text(row, "CLUSTER_IDS"), values)


@attrs.frozen
class GroupRecord:
    """A group: id, name, members, scalar attributes of its template, and its quotas."""

    id: int
    name: str
    users: frozenset[int]
    admins: frozenset[int]
    template: Mapping[str, str]
    quotas: tuple[QuotaRow, ...]

    @classmethod
    def of(cls, element: ET.Element) -> Self:
        """Read a GROUP element."""
        return cls(
            number_in(element, "ID"),
            _text(element, "NAME"),
            _ids(element, "USERS"),
            _ids(element, "ADMINS"),
            _template(element),
            tuple(QuotaRow.all_of(element)),
        )

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read the answer of one.group.info."""
        return cls.of(parse(text, "GROUP"))

    @classmethod
    def pool(cls, text: object) -> tuple[Self, ...]:
        """Read the answer of one.grouppool.info, where the quotas stand beside the groups."""
        root = parse(text, "GROUP_POOL")
        quotas = {number_in(item, "ID"): tuple(QuotaRow.all_of(item)) for item in root.iterfind("QUOTAS")}
        groups = (cls.of(item) for item in root.iterfind("GROUP"))
        return tuple(attrs.evolve(group, quotas=quotas.get(group.id, group.quotas)) for group in groups)


@attrs.frozen
class VdcRecord:
    """A VDC: id, name, groups, resources of every zone, and scalar attributes of its template.

    `clusters` and `networks` hold `(zone id, id)` pairs; the id -10 stands for all.
    """

    id: int
    name: str
    groups: frozenset[int]
    clusters: frozenset[tuple[int, int]]
    networks: frozenset[tuple[int, int]]
    template: Mapping[str, str]

    @classmethod
    def of(cls, element: ET.Element) -> Self:
        """Read a VDC element."""

        def held(noun: str) -> frozenset[tuple[int, int]]:
            items = element.iterfind(f"{noun}S/{noun}")
            return frozenset((number_in(item, "ZONE_ID"), number_in(item, f"{noun}_ID")) for item in items)

        return cls(
            number_in(element, "ID"),
            _text(element, "NAME"),
            _ids(element, "GROUPS"),
            held("CLUSTER"),
            held("VNET"),
            _template(element),
        )

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read the answer of one.vdc.info."""
        return cls.of(parse(text, "VDC"))

    @classmethod
    def pool(cls, text: object) -> tuple[Self, ...]:
        """Read the answer of one.vdcpool.info."""
        return tuple(cls.of(item) for item in parse(text, "VDC_POOL").iterfind("VDC"))


@attrs.frozen
class ClusterRecord:
    """A cluster: id, name, and the ids of its datastores."""

    id: int
    name: str
    datastores: frozenset[int]

    @classmethod
    def pool(cls, text: object) -> tuple[Self, ...]:
        """Read the answer of one.clusterpool.info."""
        return tuple(
            cls(number_in(item, "ID"), _text(item, "NAME"), _ids(item, "DATASTORES"))
            for item in parse(text, "CLUSTER_POOL").iterfind("CLUSTER")
        )


@attrs.frozen
class DatastoreRecord:
    """A datastore: id, name, and whether it holds images (TYPE 0; 1 is system, 2 is files, 3 is backups)."""

    id: int
    name: str
    holds_images: bool
    clusters: frozenset[int]

    @classmethod
    def pool(cls, text: object) -> tuple[Self, ...]:
        """Read the answer of one.datastorepool.info."""
        return tuple(
            cls(number_in(item, "ID"), _text(item, "NAME"), number_in(item, "TYPE") == 0, _ids(item, "CLUSTERS"))
            for item in parse(text, "DATASTORE_POOL").iterfind("DATASTORE")
        )


@attrs.frozen
class OwnedRecord:
    """An object that belongs to a group: id, name, group id."""

    id: int
    name: str
    gid: int

    @classmethod
    def pool(cls, text: object, kind: str) -> tuple[Self, ...]:
        """Read a pool of objects of one kind, such as VM, IMAGE or VNET."""
        return tuple(
            cls(number_in(item, "ID"), _text(item, "NAME"), number_in(item, "GID"))
            for item in parse(text, f"{kind}_POOL").iterfind(kind)
        )
