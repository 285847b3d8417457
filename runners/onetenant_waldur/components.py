"""Components of an offering, in Waldur's units, to limits of a tenant and back."""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from uuid import UUID

import attrs

from onetenant_waldur.records import OfferingTerms
from onetenant_waldur.settings import ComponentOverride
from opennebula_tenancy import Component, Limit, Metric, Quota, QuotaMapper, SettingsError, Usage
from opennebula_tenancy.quota_mapper import WELL_KNOWN


CENT = Decimal("0.01")
"""Waldur takes amounts with two decimals."""
LIMITED = "limit"
INCLUDED = "fixed"
"""How Waldur calls what a plan includes."""
REPORTED = frozenset({"limit", "usage"})
"""How components are billed whose usage Waldur takes."""


@attrs.frozen
class Components:
    """What an offering sells, and how OpenNebula counts it.

    Attributes:
        mapper: Converts amounts, the same way in all directions.
        billing: How each component that Waldur has is billed.
        plans: For each plan the amounts that it includes, by component.
        remarks: What the operator should know.
    """

    mapper: QuotaMapper
    billing: Mapping[str, str]
    plans: Mapping[UUID, Mapping[str, float]]
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(cls, terms: OfferingTerms, overrides: Mapping[str, ComponentOverride]) -> "Components":
        """Put together what Waldur says and what the settings say, the settings counting more.

        Args:
            terms: The offering, as Waldur has it.
            overrides: `backend_components` of the settings.

        Returns:
            The components. Those that OpenNebula does not count are remarked on, and in no quota.

        Raises:
            SettingsError: A factor is not positive, or two components count the same thing; all problems at once.
        """
        known: dict[str, Component] = {}
        billing: dict[str, str] = {}
        problems: list[str] = []
        remarks: list[str] = []
        for one in terms.components:
            said = overrides.get(one.type, ComponentOverride())
            billing[one.type] = said.accounting_type or one.billing_type
            metric = said.metric or WELL_KNOWN.get(one.type)
            if metric is None:
                if billing[one.type] in REPORTED | {INCLUDED}:
                    remarks.append(_uncounted(one.type))
                continue
            factor = said.unit_factor if said.unit_factor is not None else one.unit_factor
            try:
                known[one.type] = Component(metric, 1 if factor is None else factor)
            except ValueError as error:
                problems.append(f"component {one.type}: {error}")
        remarks.extend(
            f"component {name}: in backend_components, and not in the offering in Waldur"
            for name in overrides
            if name not in billing
        )
        mapper = _mapper(known, problems)
        return cls(mapper, billing, terms.plans, tuple(remarks))

    def amounts(self, limits: Mapping[str, float], plan: UUID | None) -> dict[str, float]:
        """The amounts that an order is about: its limits, and what its plan includes.

        Args:
            limits: The limits ordered.
            plan: The plan ordered.

        Returns:
            For each component the amount, in Waldur's units.

        Raises:
            SettingsError: The plan is not one of the offering, or OpenNebula does not count a component.
        """
        included = [name for name, kind in self.billing.items() if kind == INCLUDED and name in self.mapper.components]
        amounts: dict[str, float] = {}
        if included and plan is not None:
            if plan not in self.plans:
                raise SettingsError(f"the plan {plan} is not among those of the offering")
            amounts = {name: self.plans[plan][name] for name in included if name in self.plans[plan]}
        amounts.update(limits)
        if problems := [_uncounted(name) for name in amounts if name not in self.mapper.components]:
            raise SettingsError(*problems)
        return amounts

    def require_limits(self, limits: Mapping[str, float], *, floating_ips: bool) -> None:
        """Refuse an order for something new that leaves a limit out: OpenNebula would have none there.

        Args:
            limits: The limits ordered.
            floating_ips: Whether there is a network whose leases are floating IPs.

        Raises:
            SettingsError: Components that are billed by limit have none; all problems at once.
        """
        needed = [
            name
            for name, component in self.mapper.components.items()
            if self.billing[name] == LIMITED and (floating_ips or component.metric is not Metric.FLOATING_IPS)
        ]
        if missing := [name for name in needed if name not in limits]:
            raise SettingsError(*(f"component {name}: the order has no limit for it, not even 0" for name in missing))

    def quota(self, amounts: Mapping[str, float], *, floating_ips: bool) -> Quota:
        """Convert amounts to limits of a tenant.

        Args:
            amounts: For each component the amount, in Waldur's units.
            floating_ips: Whether there is a network whose leases are floating IPs. Without one, no floating IPs at
                all is what every tenant has, and is not set as a limit.

        Returns:
            The limits.

        Raises:
            SettingsError: An amount is not a limit that OpenNebula can keep; all problems at once.
        """
        counts = {name: component.metric for name, component in self.mapper.components.items()}
        return self.mapper.quota(
            {
                name: amount
                for name, amount in amounts.items()
                if floating_ips or amount != 0 or counts.get(name) is not Metric.FLOATING_IPS
            }
        )

    @property
    def names(self) -> frozenset[str]:
        """The components that OpenNebula counts."""
        return frozenset(self.mapper.components)

    def limits(self, quota: Quota) -> dict[str, int | float]:
        """Convert the limits of a tenant to those of its resource: of the components that are billed by limit."""
        return {
            name: number(amount)
            for name, amount in self.mapper.amounts(quota).items()
            if self.billing[name] == LIMITED and not isinstance(amount, Limit)
        }

    def usage(self, usage: Usage) -> dict[str, Decimal]:
        """Convert the usage of a tenant to amounts that Waldur takes: no components that a plan includes."""
        return {
            name: rounded(amount)
            for name, amount in self.mapper.amounts(usage).items()
            if self.billing[name] in REPORTED and not isinstance(amount, Limit)
        }


def _uncounted(name: str) -> str:
    return f"component {name}: OpenNebula counts nothing of that name, so it cannot be limited or reported"


def _mapper(known: Mapping[str, Component], problems: list[str]) -> QuotaMapper:
    mapper = QuotaMapper({})
    try:
        mapper = QuotaMapper(known)
    except SettingsError as error:
        problems.extend(error.problems)
    if problems:
        raise SettingsError(*problems)
    return mapper


def number(amount: Fraction) -> int | float:
    """An amount as JSON has it: whole where it is."""
    return int(amount) if amount.denominator == 1 else float(amount)


def rounded(amount: Fraction) -> Decimal:
    """An amount as Waldur takes it, halves of a hundredth rounded up."""
    return (Decimal(amount.numerator) / Decimal(amount.denominator)).quantize(CENT, rounding=ROUND_HALF_UP)
