"""How large a virtual machine is: `VmSize` as it is asked for, and `VmUsage` as it is."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import attrs

from opennebula_tenancy.display import Table
from opennebula_tenancy.errors import SettingsError
from opennebula_tenancy.quota import exactly


if TYPE_CHECKING:
    from collections.abc import Iterator

    from opennebula_tenancy.quota import Number


_MOST = 2**31 - 1
_HUNDREDTHS = 100
"""Hosts count cores in hundredths (`HostShareCapacity`)."""


@attrs.frozen
class _Refused:
    """A value that is no size, held until all of them can be named at once."""

    reason: str


def _whole(value: Number | None) -> int | None:
    if value is None:
        return None
    try:
        number = exactly(value)
    except ValueError as error:
        return cast("int", _Refused(str(error)))
    if number.denominator != 1 or not 1 <= number <= _MOST:
        return cast("int", _Refused(f"{value} is not a whole number from 1 to {_MOST}"))
    return int(number)


def _share(value: Number | None) -> Decimal | None:
    if value is None:
        return None
    try:
        number = exactly(value)
    except ValueError as error:
        return cast("Decimal", _Refused(str(error)))
    if not 0 < number <= _MOST:
        return cast("Decimal", _Refused(f"{value} is not a number above 0"))
    return Decimal(number.numerator) / Decimal(number.denominator)


def _ratio(value: Number) -> Decimal:
    return cast("Decimal", _Refused("it is missing") if value is None else _share(value))


@attrs.frozen(kw_only=True)
class VmSize:
    """The size that a virtual machine is to have. What is not named (None) stays as it is, or as its template says.

    Attributes:
        vcpu: The cores that it sees.
        memory_mb: Its memory, in MB (2**20 bytes).
        disk_mb: The size of its first disk that is not a CD, in MB. Disks grow, and never shrink.
        cpu: The share of physical cores that it is given; 1 is one core, and it may have two decimals. When omitted,
            it goes with the cores that it sees.
        cpu_per_vcpu: The share of a physical core that each of these is given where `cpu` is not named.

    Raises:
        SettingsError: A value cannot be; all problems at once.
    """

    vcpu: int | None = attrs.field(default=None, converter=_whole)
    memory_mb: int | None = attrs.field(default=None, converter=_whole)
    disk_mb: int | None = attrs.field(default=None, converter=_whole)
    cpu: Decimal | None = attrs.field(default=None, converter=_share)
    cpu_per_vcpu: Decimal = attrs.field(default=Decimal(1), converter=_ratio)

    def __attrs_post_init__(self) -> None:
        if problems := tuple(self._problems()):
            raise SettingsError(*problems)

    def _problems(self) -> Iterator[str]:
        values: dict[str, Any] = attrs.asdict(self, recurse=False)
        refused = {name: value.reason for name, value in values.items() if isinstance(value, _Refused)}
        yield from (f"size.{name}: {reason}" for name, reason in refused.items())
        if not refused and (share := self.share) is not None and (share * _HUNDREDTHS) % 1:
            source = "cpu" if self.cpu is not None else "cpu_per_vcpu"
            yield f"size.{source}: {share} cores are not a whole number of hundredths, which OpenNebula counts in"

    @property
    def share(self) -> Decimal | None:
        """The share of physical cores: the one named, or what goes with the cores that it sees; None for neither."""
        if self.cpu is not None:
            return self.cpu
        return None if self.vcpu is None else self.vcpu * self.cpu_per_vcpu


@attrs.frozen(kw_only=True)
class VmUsage:
    """What is allocated to a virtual machine, whether it runs or not.

    Attributes:
        vcpu: The cores that it sees.
        cpu: The share of physical cores that it is given; 1 is one core.
        memory_mb: Its memory, in MB.
        disk_mb: All its disks together, in MB. CDs are shared, and nobody's.
        first_disk_mb: The disk that `VmSize.disk_mb` is about, in MB: its first that is not a CD; 0 where it has none.
            The same as `disk_mb` when omitted.
    """

    vcpu: int
    cpu: Decimal
    memory_mb: int
    disk_mb: int
    first_disk_mb: int = attrs.field(default=attrs.Factory(lambda self: self.disk_mb, takes_self=True))

    def _repr_html_(self) -> str:
        return Table(("allocated", "value"), [(name, str(value)) for name, value in attrs.asdict(self).items()]).html()
