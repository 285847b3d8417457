"""What OpenNebula's XML says of VM templates and images, as far as machines are made of them."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Self

import attrs

from opennebula_tenancy._wire.records import number_in, parse
from opennebula_tenancy._wire.vm_records import id_in, scalars, vectors


if TYPE_CHECKING:
    from collections.abc import Mapping


class ImageState(IntEnum):
    """The states of an image, as Image.h numbers them."""

    INIT = 0
    READY = 1
    USED = 2
    DISABLED = 3
    LOCKED = 4
    ERROR = 5
    CLONE = 6
    DELETE = 7
    USED_PERS = 8
    LOCKED_USED = 9
    LOCKED_USED_PERS = 10


_USABLE = frozenset({ImageState.READY, ImageState.USED})
_DISK_TYPES = range(3)
"""The types that can be disks: OS, CDROM and DATABLOCK."""


@attrs.frozen(kw_only=True)
class ImageRecord:
    """An image.

    Attributes:
        id: Its id.
        name: Its name.
        gid: The id of its group.
        state: A number of `ImageState`.
        type: 0 OS, 1 CDROM, 2 DATABLOCK; others are no disks.
        size_mb: Its size, in MB.
        template: The scalar attributes of its template.
    """

    id: int
    name: str
    gid: int
    state: int
    type: int
    size_mb: int
    template: Mapping[str, str]

    @property
    def is_disk(self) -> bool:
        """Whether a machine can have it as a disk."""
        return self.type in _DISK_TYPES

    @property
    def is_usable(self) -> bool:
        """Whether a new machine can use it at the moment: it is ready, or used by others that leave it as it is."""
        return self.state in _USABLE

    @property
    def state_name(self) -> str:
        """The name of its state, or its number where this library does not know it."""
        return ImageState(self.state).name if self.state in set(ImageState) else str(self.state)

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read the answer of one.image.info."""
        element = parse(text, "IMAGE")
        return cls(
            id=number_in(element, "ID"),
            name=element.findtext("NAME") or "",
            gid=number_in(element, "GID"),
            state=number_in(element, "STATE"),
            type=number_in(element, "TYPE"),
            size_mb=number_in(element, "SIZE"),
            template=scalars(element, "TEMPLATE"),
        )


@attrs.frozen(kw_only=True)
class VmTemplateRecord:
    """A VM template.

    Attributes:
        id: Its id.
        name: Its name.
        gid: The id of its group.
        attributes: Its scalar attributes.
        context: What it tells its machines at their boot.
        disks: The attributes of each of its disks, in their order. The extended answer of one.template.info adds what
            the images say: ORIGINAL_SIZE is there where the image is.
        nics: The attributes of each of its interfaces.
        has_more_nics: Whether it has aliases of interfaces, or interfaces that are devices of the host.
    """

    id: int
    name: str
    gid: int
    attributes: Mapping[str, str]
    context: Mapping[str, str] = attrs.field(repr=False)
    disks: tuple[Mapping[str, str], ...]
    nics: tuple[Mapping[str, str], ...]
    has_more_nics: bool

    @property
    def is_router(self) -> bool:
        """Whether it is for virtual routers, and for these alone."""
        return self.attributes.get("VROUTER", "").upper() == "YES"

    @property
    def sized_disk(self) -> int | None:
        """Which of its disks is the one to size: the first that is not a CD; None where it has none."""
        kinds = enumerate(disk.get("TYPE", "").upper() for disk in self.disks)
        return next((number for number, kind in kinds if not kind.endswith("CDROM")), None)

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read the answer of one.template.info."""
        element = parse(text, "VMTEMPLATE")
        return cls(
            id=number_in(element, "ID"),
            name=element.findtext("NAME") or "",
            gid=number_in(element, "GID"),
            attributes=scalars(element, "TEMPLATE"),
            context=scalars(element, "TEMPLATE/CONTEXT"),
            disks=vectors(element, "TEMPLATE/DISK"),
            nics=vectors(element, "TEMPLATE/NIC"),
            has_more_nics=any(
                True
                for path in ("TEMPLATE/NIC_ALIAS", "TEMPLATE/PCI")
                for item in vectors(element, path)
                if path.endswith("ALIAS") or item.get("TYPE", "").upper() == "NIC"
            ),
        )


def image_of(disk: Mapping[str, str]) -> str | None:
    """What a disk names as its image, for a person; None where it is a volatile one."""
    if (image := id_in(disk, "IMAGE_ID")) is not None:
        return f"image {image}"
    return f"the image {disk['IMAGE']}" if disk.get("IMAGE") else None
