"""Components of an offering of virtual machines, in Waldur's units, to the size of a machine and back."""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import attrs

from onetenant_waldur.components import INCLUDED, REPORTED, number, rounded
from onetenant_waldur.records import OfferingTerms
from onetenant_waldur.settings import ComponentOverride
from opennebula_tenancy import SettingsError, VmSize, VmUsage
from opennebula_tenancy.quota import exactly


MEASURES: Mapping[str, str] = {"vcpu": "vcpu", "vm_ram": "memory_mb", "vm_disk": "disk_mb"}
"""For each component the field of `VmSize` that it is ordered as, and that of `VmUsage` that its usage is."""
_ORDERED: Mapping[str, str] = {**MEASURES, "vm_disk": "first_disk_mb"}
"""For each component the field of `VmUsage` that an order can change: a template may bring more than the first disk."""


@attrs.frozen
class VmComponents:
    """What an offering of virtual machines sells.

    Attributes:
        factors: For each component how many of OpenNebula's units one of Waldur's is; one factor for all directions.
        billing: How each component that Waldur has is billed.
        plans: For each plan the amounts that it includes, by component.
        remarks: What the operator should know.
    """

    factors: Mapping[str, Fraction]
    billing: Mapping[str, str]
    plans: Mapping[UUID, Mapping[str, float]]
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(cls, terms: OfferingTerms, overrides: Mapping[str, ComponentOverride]) -> "VmComponents":
        """Put together what Waldur says and what the settings say, the settings counting more.

        Args:
            terms: The offering, as Waldur has it.
            overrides: `backend_components` of the settings.

        Raises:
            SettingsError: A factor is not positive; all problems at once.
        """
        factors: dict[str, Fraction] = {}
        billing: dict[str, str] = {}
        problems: list[str] = []
        remarks: list[str] = []
        for one in terms.components:
            said = overrides.get(one.type, ComponentOverride())
            billing[one.type] = said.accounting_type or one.billing_type
            if one.type not in MEASURES:
                if billing[one.type] in REPORTED | {INCLUDED}:
                    remarks.append(
                        f"component {one.type}: nothing of a virtual machine has that name; orders for it are refused"
                    )
                continue
            factor = exactly(said.unit_factor or (1 if one.unit_factor is None else one.unit_factor))
            if factor <= 0:
                problems.append(f"component {one.type}: the factor {factor} is not above 0")
            factors[one.type] = factor
        remarks.extend(
            f"component {name}: in backend_components, and not in the offering in Waldur"
            for name in overrides
            if name not in billing
        )
        if missing := [name for name in MEASURES if name not in factors]:
            remarks.append(f"component {', '.join(missing)}: not sold; machines have there what their template says")
        if problems:
            raise SettingsError(*problems)
        return cls(factors, billing, terms.plans, tuple(remarks))

    def require_known(self, limits: Mapping[str, float]) -> None:
        """Refuse an order for something new that names what no machine has.

        An order for another plan repeats what Waldur has, whatever that is.

        Args:
            limits: The limits ordered.

        Raises:
            SettingsError: They name what no machine has; all problems at once.
        """
        if strange := [name for name, amount in limits.items() if amount and name not in self.factors]:
            raise SettingsError(*(f"component {name}: nothing of a virtual machine has that name" for name in strange))

    def size(self, limits: Mapping[str, float], plan: UUID | None, *, cpu_per_vcpu: Fraction | None = None) -> VmSize:
        """The size that a plan, or limits where it says nothing, stand for.

        The plan counts more: Waldur repeats in an order for another plan the limits that it was told of the old one.

        Args:
            limits: The limits ordered, in Waldur's units.
            plan: The plan ordered.
            cpu_per_vcpu: The share of a physical core for each core.

        Returns:
            The size; what neither says is not in it. Waldur has a 0 for what a plan does not say.

        Raises:
            SettingsError: The plan is not one of the offering, or an amount cannot be; all problems at once.
        """
        if plan is not None and plan not in self.plans:
            raise SettingsError(f"the plan {plan} is not among those of the offering")
        amounts = dict(limits)
        if plan is not None:
            amounts |= {name: amount for name, amount in self.plans[plan].items() if amount}
        known = {
            MEASURES[name]: exactly(amounts[name]) * factor
            for name, factor in self.factors.items()
            if amounts.get(name)
        }
        return VmSize(**known, **({} if cpu_per_vcpu is None else {"cpu_per_vcpu": cpu_per_vcpu}))

    @property
    def names(self) -> frozenset[str]:
        """The components that stand for something in OpenNebula."""
        return frozenset(self.factors)

    def limits(self, usage: VmUsage) -> dict[str, int | float]:
        """What a machine has, as the limits of its resource: ordering these changes nothing."""
        return {name: number(amount) for name, amount in self._amounts(usage, _ORDERED).items()}

    def usage(self, usage: VmUsage) -> dict[str, Decimal]:
        """What a machine has, as usage that Waldur takes: no components that a plan includes."""
        return self._billed(usage, REPORTED)

    def included(self, usage: VmUsage) -> dict[str, Decimal]:
        """What a machine has of the components that a plan includes. Waldur may not take these as usage."""
        return self._billed(usage, {INCLUDED})

    def _billed(self, usage: VmUsage, kinds: frozenset[str] | set[str]) -> dict[str, Decimal]:
        amounts = self._amounts(usage, MEASURES)
        return {name: rounded(amount) for name, amount in amounts.items() if self.billing[name] in kinds}

    def _amounts(self, usage: VmUsage, fields: Mapping[str, str]) -> dict[str, Fraction]:
        return {name: Fraction(getattr(usage, fields[name])) / factor for name, factor in self.factors.items()}
