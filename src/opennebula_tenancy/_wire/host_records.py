"""What OpenNebula's XML says of hosts, as values."""

from __future__ import annotations

from decimal import Decimal
from typing import Self

import attrs

from opennebula_tenancy._wire.records import number_in, parse


_KB_IN_MB = 1024
_HUNDREDTHS = 100


@attrs.frozen(kw_only=True)
class HostRecord:
    """A host, and what is left of it.

    Attributes:
        id: Its id.
        name: Its name.
        free_cpu: The cores that no machine was promised; below 0 where more were promised than there are.
        free_memory_mb: The memory that no machine was promised, in MB; below 0 likewise.
    """

    id: int
    name: str
    free_cpu: Decimal
    free_memory_mb: int

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read the answer of one.host.info. It counts cores in hundredths, and memory in KB."""
        element = parse(text, "HOST")
        free_cpu = number_in(element, "HOST_SHARE/MAX_CPU") - number_in(element, "HOST_SHARE/CPU_USAGE")
        free_kb = number_in(element, "HOST_SHARE/MAX_MEM") - number_in(element, "HOST_SHARE/MEM_USAGE")
        return cls(
            id=number_in(element, "ID"),
            name=element.findtext("NAME") or "",
            free_cpu=Decimal(free_cpu) / _HUNDREDTHS,
            free_memory_mb=free_kb // _KB_IN_MB,
        )
