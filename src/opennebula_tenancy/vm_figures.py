"""`VmFigures`: whose a virtual machine is, and what is allocated to it, at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs


if TYPE_CHECKING:
    from opennebula_tenancy.vm_size import VmUsage


@attrs.frozen
class VmFigures:
    """Whose a virtual machine is, and what is allocated to it, read at the same moment.

    Attributes:
        key: The key that it carries.
        vdc: The id of its tenant.
        usage: What is allocated to it, whether it runs or not.
    """

    key: str
    vdc: int
    usage: VmUsage
