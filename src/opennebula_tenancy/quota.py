"""What a tenant may use, and what it does use: `Limit`, `Metric`, `Quota` and `Usage`."""

from __future__ import annotations

import enum
import struct
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import attrs

from opennebula_tenancy.display import Table
from opennebula_tenancy.errors import SettingsError


if TYPE_CHECKING:
    from collections.abc import Iterator


class Limit(enum.Enum):
    """The two limits that are not numbers."""

    DEFAULT = -1
    """The cloud's default for groups applies; unlimited where there is none."""
    UNLIMITED = -2
    """No limit, whatever the default says."""

    def __str__(self) -> str:
        return self.name.lower()


Number: TypeAlias = int | float | str | Decimal | Fraction
"""What is taken for a number. A float stands for the digits that it prints as: 1.1 is eleven tenths."""

LimitValue: TypeAlias = Decimal | Limit
"""A limit as `Quota` holds it."""


class Metric(enum.StrEnum):
    """What OpenNebula counts for a group: the section of its quotas, and the attribute there."""

    CPU = "VM/CPU"
    MEMORY = "VM/MEMORY"
    STORAGE = "DATASTORE/SIZE"
    FLOATING_IPS = "NETWORK/LEASES"
    VMS = "VM/VMS"
    RUNNING_CPU = "VM/RUNNING_CPU"
    RUNNING_MEMORY = "VM/RUNNING_MEMORY"
    RUNNING_VMS = "VM/RUNNING_VMS"
    IMAGES = "DATASTORE/IMAGES"
    SYSTEM_DISK = "VM/SYSTEM_DISK_SIZE"

    @property
    def section(self) -> str:
        """The section: VM, DATASTORE or NETWORK."""
        return self.value.partition("/")[0]

    @property
    def attribute(self) -> str:
        """The attribute in its section. What is used stands beside it as `<attribute>_USED`."""
        return self.value.partition("/")[2]

    @property
    def field(self) -> str:
        """The field of `Quota` and of `Usage` that holds it."""
        return _FIELDS[self]

    @property
    def whole(self) -> bool:
        """Whether it counts things, of which there are no halves."""
        return self in _WHOLE


_FIELDS = {
    Metric.CPU: "cpu",
    Metric.MEMORY: "memory_mb",
    Metric.STORAGE: "storage_mb",
    Metric.FLOATING_IPS: "floating_ips",
    Metric.VMS: "vms",
    Metric.RUNNING_CPU: "running_cpu",
    Metric.RUNNING_MEMORY: "running_memory_mb",
    Metric.RUNNING_VMS: "running_vms",
    Metric.IMAGES: "images",
    Metric.SYSTEM_DISK: "system_disk_mb",
}
_TOO_MUCH = 2**127
"""Beyond this a 32-bit float may overflow."""
_WHOLE = frozenset({Metric.VMS, Metric.RUNNING_VMS, Metric.IMAGES, Metric.FLOATING_IPS})


_MAX_EXPONENT = 400
"""Powers of ten that are taken: those of every float, and more."""


def exactly(value: Number) -> Fraction:
    """Take a number without losing any of it.

    Args:
        value: The number. A float stands for the digits that it prints as.

    Returns:
        The same number.

    Raises:
        ValueError: It is not a finite number, or has more than 400 digits before or behind the point.
    """
    if isinstance(value, Fraction):
        return value
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or isinstance(value, bool):
        raise ValueError(f"{value!r} is not a number")
    # As a fraction, 1e999999999 would fill the memory.
    if number and abs(number.adjusted()) > _MAX_EXPONENT:
        raise ValueError(f"{value!r} is beyond all amounts")
    return Fraction(number)


def as_kept(number: Fraction) -> Decimal:
    """What OpenNebula makes of a limit.

    oned holds limits as 32-bit floats and writes two decimals where they are not whole (`Quota::update_limits` and
    `one_util::float_to_str`), so that neither 0.125 nor 20971521 survives.

    Args:
        number: The limit, at most 2**127.

    Returns:
        The number that would be read back.
    """
    single = float(struct.unpack("f", struct.pack("f", float(number)))[0])
    return Decimal(f"{single:.0f}" if single.is_integer() else f"{single:.2f}".rstrip("0"))


class Held(Decimal):
    """A limit as OpenNebula has it: it is so, whatever one may think of it, and is not judged."""


@attrs.frozen
class _Refused:
    """A value that is no limit, held until all of them can be named at once."""

    reason: str


def _limit(value: Number | Limit | None) -> LimitValue | None:
    if value is None or isinstance(value, Limit | Held):
        return value
    try:
        number = exactly(value)
    except ValueError as error:
        return cast("LimitValue", _Refused(str(error)))
    if number < 0:
        return cast("LimitValue", _Refused(f"{value} is negative: say Limit.DEFAULT or Limit.UNLIMITED"))
    if number >= _TOO_MUCH:
        return cast("LimitValue", _Refused(f"{value} is more than OpenNebula can keep"))
    near = as_kept(number)
    if Fraction(near) != number:
        return cast("LimitValue", _Refused(f"OpenNebula cannot keep {value} exactly (it would become {near})"))
    return near


def _amount(value: Number) -> Decimal:
    number = exactly(value)
    if not isinstance(value, Fraction):
        return Decimal(str(value).strip())
    return Decimal(number.numerator) / Decimal(number.denominator)


@attrs.frozen(kw_only=True, repr=False)
class Quota:
    """The limits of a tenant. What is not named (None) stays as it is.

    A limit is a number, `Limit.DEFAULT` or `Limit.UNLIMITED`; 0 allows nothing at all. Numbers are kept exactly: one
    that OpenNebula cannot keep (two decimals, 32-bit float) is refused, and the refusal names what it would become.

    Attributes:
        cpu: Cores of all virtual machines; 1.0 is one core, and it may be fractional.
        memory_mb: Memory of all virtual machines, in MB as OpenNebula counts them (2**20 bytes).
        storage_mb: Storage, in MB. `VdcSpec.storage_scope` says what counts as storage.
        floating_ips: Addresses on the external networks.
        vms: Virtual machines.
        running_cpu: Cores of the virtual machines that run.
        running_memory_mb: Memory of the virtual machines that run, in MB.
        running_vms: Virtual machines that run.
        images: Images in each of the datastores.
        system_disk_mb: Disks of virtual machines on system datastores, in MB.

    Raises:
        SettingsError: A value is not a limit; all such values are named at once.
    """

    cpu: LimitValue | None = attrs.field(default=None, converter=_limit)
    memory_mb: LimitValue | None = attrs.field(default=None, converter=_limit)
    storage_mb: LimitValue | None = attrs.field(default=None, converter=_limit)
    floating_ips: LimitValue | None = attrs.field(default=None, converter=_limit)
    vms: LimitValue | None = attrs.field(default=None, converter=_limit)
    running_cpu: LimitValue | None = attrs.field(default=None, converter=_limit)
    running_memory_mb: LimitValue | None = attrs.field(default=None, converter=_limit)
    running_vms: LimitValue | None = attrs.field(default=None, converter=_limit)
    images: LimitValue | None = attrs.field(default=None, converter=_limit)
    system_disk_mb: LimitValue | None = attrs.field(default=None, converter=_limit)

    def __attrs_post_init__(self) -> None:
        problems = []
        for metric in Metric:
            value: Any = getattr(self, metric.field)
            if isinstance(value, _Refused):
                problems.append(f"quota.{metric.field}: {value.reason}")
            elif metric.whole and isinstance(value, Decimal) and value != int(value):
                problems.append(f"quota.{metric.field}: {value} is not a whole number")
        if problems:
            raise SettingsError(*problems)

    def named(self) -> Iterator[tuple[Metric, LimitValue]]:
        """The limits that are named, in the order of `Metric`."""
        for metric in Metric:
            value = self[metric]
            if value is not None:
                yield metric, value

    def __getitem__(self, metric: Metric) -> LimitValue | None:
        return cast("LimitValue | None", getattr(self, metric.field))

    def __or__(self, other: Quota) -> Quota:
        """This quota, with what the other names put in the place of what this one says."""
        return attrs.evolve(self, **{metric.field: value for metric, value in other.named()})

    def __bool__(self) -> bool:
        return any(True for _ in self.named())

    def __repr__(self) -> str:
        return f"Quota({', '.join(f'{metric.field}={value}' for metric, value in self.named())})"

    def _repr_html_(self) -> str:
        return Table(("limit", "value"), [(metric.field, str(value)) for metric, value in self.named()]).html()


@attrs.frozen(kw_only=True, repr=False)
class Usage:
    """What a tenant uses at one moment. Everything is a number; what is not used is 0.

    Attributes:
        cpu: Cores allocated to its virtual machines, powered off ones included.
        memory_mb: Memory allocated to them, in MB.
        storage_mb: Storage as `VdcSpec.storage_scope` counts it, in MB.
        floating_ips: Addresses taken on the external networks, and on no other network.
        vms: Virtual machines.
        running_cpu: Cores of those that run.
        running_memory_mb: Memory of those that run, in MB.
        running_vms: Those that run.
        images: Images in the tenant's datastores.
        system_disk_mb: Disks of virtual machines on system datastores, in MB.
    """

    cpu: Decimal = attrs.field(default=Decimal(0), converter=_amount)
    memory_mb: Decimal = attrs.field(default=Decimal(0), converter=_amount)
    storage_mb: Decimal = attrs.field(default=Decimal(0), converter=_amount)
    floating_ips: Decimal = attrs.field(default=Decimal(0), converter=_amount)
    vms: Decimal = attrs.field(default=Decimal(0), converter=_amount)
    running_cpu: Decimal = attrs.field(default=Decimal(0), converter=_amount)
    running_memory_mb: Decimal = attrs.field(default=Decimal(0), converter=_amount)
    running_vms: Decimal = attrs.field(default=Decimal(0), converter=_amount)
    images: Decimal = attrs.field(default=Decimal(0), converter=_amount)
    system_disk_mb: Decimal = attrs.field(default=Decimal(0), converter=_amount)

    def __getitem__(self, metric: Metric) -> Decimal:
        return cast("Decimal", getattr(self, metric.field))

    def __repr__(self) -> str:
        return f"Usage({', '.join(f'{metric.field}={self[metric]}' for metric in Metric)})"

    def _repr_html_(self) -> str:
        return Table(("used", "value"), [(metric.field, str(self[metric])) for metric in Metric]).html()
