"""What people type for a limit: a number, a size with a unit, `default` or `unlimited`. Nothing is rounded."""

from __future__ import annotations

import re
from decimal import Context, Decimal, Inexact, localcontext
from typing import TYPE_CHECKING

import click

from opennebula_tenancy.quota import Limit, LimitValue


if TYPE_CHECKING:
    from collections.abc import Mapping


SIZE_UNITS: Mapping[str, int] = {"": 1, "m": 1, "g": 1024, "t": 1024**2}
"""How many MB, as OpenNebula counts them (2**20 bytes), one of each unit is."""
_COUNT_UNITS: Mapping[str, int] = {"": 1}
_NUMBER = re.compile(r"([0-9]{1,40}(?:\.[0-9]{1,40})?)([a-z]?)")
_DIGITS = 100
"""More than the longest number has that is taken, times the largest unit."""


class Amount(click.ParamType):  # type: ignore[type-arg]  # click before 8.5 has no parameter there
    """A limit on the command line.

    Args:
        size: Whether it is an amount of memory or storage: it may then have a unit, and is in MB without one.
    """

    def __init__(self, *, size: bool) -> None:
        self.name = "size" if size else "number"
        self._units = SIZE_UNITS if size else _COUNT_UNITS

    def convert(self, value: str | LimitValue, param: click.Parameter | None, ctx: click.Context | None) -> LimitValue:
        """Read a limit; what has been read already is returned as it is."""
        if isinstance(value, Decimal | Limit):
            return value
        text = value.strip().lower()
        if text in {str(limit) for limit in Limit}:
            return Limit[text.upper()]
        found = _NUMBER.fullmatch(text)
        if found is None or found[2] not in self._units:
            known = "512, 512m, 8g, 1.5t" if self._units is SIZE_UNITS else "4, 1.5"
            self.fail(f"{value!r} is no limit: say {known}, default or unlimited", param, ctx)
        with localcontext(Context(prec=_DIGITS, traps=[Inexact])):
            return Decimal(found[1]) * self._units[found[2]]
