"""The quotas of a group, between OpenNebula's rows and the values `Quota` and `Usage`.

OpenNebula resets to its default whatever a block leaves out, and matches the ids of datastores and networks to the
letter (`Quota::update_limits`, `Quota::get_quota`). So blocks are written whole, and only for ids that exist.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy._wire.template import Template, render
from opennebula_tenancy.plan import Change
from opennebula_tenancy.quota import Held, Limit, LimitValue, Metric, Quota, Usage
from opennebula_tenancy.vdc_spec import StorageScope


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from opennebula_tenancy._wire.records import QuotaRow


_USED = "_USED"
_SINGLE_ROW = "VM"


@attrs.frozen
class QuotaScope:
    """Where the limits of one tenant hold.

    Attributes:
        storage: What counts as storage.
        datastores: The ids of the image datastores.
        networks: The ids of the external networks.
    """

    storage: StorageScope = StorageScope.IMAGES
    datastores: tuple[int, ...] = ()
    networks: tuple[int, ...] = ()

    def places(self, metric: Metric) -> Iterator[tuple[str, int | None, str]]:
        """The section, id and attribute of every row that a limit of this metric stands in."""
        if metric is Metric.STORAGE and self.storage is not StorageScope.IMAGES:
            yield Metric.SYSTEM_DISK.section, None, Metric.SYSTEM_DISK.attribute
            if self.storage is StorageScope.DISKS:
                return
        if metric.section == _SINGLE_ROW:
            yield metric.section, None, metric.attribute
            return
        for own in self.datastores if metric.section == "DATASTORE" else self.networks:
            yield metric.section, own, metric.attribute


def _number(limit: LimitValue) -> Decimal:
    return Decimal(limit.value) if isinstance(limit, Limit) else limit


def _limit(number: Decimal) -> LimitValue:
    if number in {Limit.DEFAULT.value, Limit.UNLIMITED.value}:
        return Limit(int(number))
    text = f"{number or Decimal(0):f}"  # oned writes 1.50, and knows -0
    return Held(text.rstrip("0").rstrip(".") if "." in text else text)


class GroupQuota:
    """The rows of one group's quotas, read with the eyes of one tenant.

    Args:
        rows: The rows. Those restricted to certain clusters are left alone.
        scope: Where the tenant's limits hold.
        former: Where they held before, when that was elsewhere: limits there go back to the default.
    """

    def __init__(self, rows: Iterable[QuotaRow], scope: QuotaScope, former: QuotaScope | None = None) -> None:
        self._scope = scope
        self._former = former or scope
        self._rows: dict[tuple[str, int | None], Mapping[str, Decimal]] = {
            (row.section, row.id): row.values for row in rows if not row.clusters
        }

    def with_rows(self, rows: Iterable[QuotaRow]) -> GroupQuota:
        """The same limits' places, with other rows."""
        return GroupQuota(rows, self._scope, self._former)

    def _value(self, section: str, own: int | None, attribute: str, missing: int) -> Decimal:
        return self._rows.get((section, own), {}).get(attribute, Decimal(missing))

    def quota(self) -> Quota:
        """The limits as OpenNebula has them. Where datastores or networks differ, the widest of their limits."""
        return self._limits(self._scope)

    def _limits(self, scope: QuotaScope) -> Quota:
        limits: dict[str, LimitValue] = {}
        for metric in Metric:
            numbers = [self._value(*place, missing=Limit.DEFAULT.value) for place in scope.places(metric)]
            if numbers:
                widest = max(numbers) if min(numbers) >= 0 else min(numbers)
                # OpenNebula takes 2.5 machines for a limit, and it allows two.
                limits[metric.field] = _limit(widest.to_integral_value(ROUND_FLOOR) if metric.whole else widest)
        return Quota(**limits)

    def completed(self, wanted: Quota) -> Quota:
        """Limits that are wanted, with those that are to be carried to places where they did not hold before.

        A datastore that is added to a tenant's clusters has no limit, and would be a hole in the one that there is.

        Args:
            wanted: The limits that are to change.

        Returns:
            These, and what is not among them and has to be written in new places.
        """
        set_already = {place for metric, _ in wanted.named() for place in self._scope.places(metric)}
        carried = {}
        for metric, limit in self._limits(self._former).named():
            places = set(self._scope.places(metric))
            added = places.difference(self._former.places(metric))
            if added and limit is not Limit.DEFAULT and places.isdisjoint(set_already):
                carried[metric.field] = limit
        return Quota(**carried) | wanted

    def unlimited_datastores(self) -> tuple[int, ...]:
        """The datastores that hold images of the tenant, and no limit of storage, though the tenant has one."""
        limit = self.quota().storage_mb
        if self._scope.storage is StorageScope.DISKS or limit is None or isinstance(limit, Limit):
            return ()
        size = Metric.STORAGE.attribute
        return tuple(
            sorted(
                own
                for (section, own), values in self._rows.items()
                if section == Metric.STORAGE.section and own is not None and own not in self._scope.datastores
                if values.get(size) == Limit.DEFAULT.value and values.get(f"{size}{_USED}", 0) > 0
            )
        )

    def usage(self) -> Usage:
        """What is used: in all datastores, but on the external networks only."""
        used = {metric.field: self._used(metric) for metric in Metric}
        if self._scope.storage is StorageScope.DISKS:
            used[Metric.STORAGE.field] = used[Metric.SYSTEM_DISK.field]
        elif self._scope.storage is StorageScope.BOTH:
            used[Metric.STORAGE.field] += used[Metric.SYSTEM_DISK.field]
        return Usage(**used)

    def _used(self, metric: Metric) -> Decimal:
        counted = (
            values.get(f"{metric.attribute}{_USED}", Decimal(0))
            for (section, own), values in self._rows.items()
            if section == metric.section and (section != "NETWORK" or own in self._scope.networks)
        )
        return sum(counted, Decimal(0))

    def changes(self, wanted: Quota) -> tuple[Change, ...]:
        """The limits that differ from those wanted, one change for each row and attribute."""
        return tuple(
            Change("set", f"limit {_place(place)}", str(_limit(before)), str(_limit(after)))
            for place, before, after in self._differences(wanted)
        )

    def _differences(self, wanted: Quota) -> Iterator[tuple[tuple[str, int | None, str], Decimal, Decimal]]:
        limits = {place: _number(limit) for metric, limit in wanted.named() for place in self._scope.places(metric)}
        for metric, _ in wanted.named():
            for place in self._former.places(metric):
                limits.setdefault(place, Decimal(Limit.DEFAULT.value))
        for place, after in limits.items():
            before = self._value(*place, missing=Limit.DEFAULT.value)
            if before != after:
                yield place, before, after

    def template(self, wanted: Quota) -> str:
        """The template for one.group.quota that makes the wanted limits true and keeps all others.

        Args:
            wanted: The limits that are to change.

        Returns:
            XML with one whole block for each row that a change is in.
        """
        blocks: dict[tuple[str, int | None], dict[str, Decimal]] = {}
        for (section, own, attribute), _, after in self._differences(wanted):
            row = self._rows.get((section, own), {})
            kept = {name: value for name, value in row.items() if not name.endswith(_USED)}
            blocks.setdefault((section, own), kept)[attribute] = after
        sections: dict[str, list[dict[str, str]]] = {}
        for (section, own), limits in blocks.items():
            identity = {} if own is None else {"ID": str(own)}
            values = {name: f"{value:f}" for name, value in limits.items()}
            sections.setdefault(section, []).append(identity | values)
        template: Template = dict(sections)
        return render(template)


def _place(place: tuple[str, int | None, str]) -> str:
    section, own, attribute = place
    return f"{section}/{attribute}" if own is None else f"{section} {own}/{attribute}"
