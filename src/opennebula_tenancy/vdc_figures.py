"""`VdcFigures`: what a tenant uses, and how much it may use, at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs


if TYPE_CHECKING:
    from opennebula_tenancy.quota import Quota, Usage


@attrs.frozen
class VdcFigures:
    """What a tenant uses, and how much it may use, read at the same moment.

    Attributes:
        key: The tenant's key.
        usage: What it uses, zeros included.
        quota: Its limits: every one that has a place where it holds.
    """

    key: str
    usage: Usage
    quota: Quota
