"""`QuotaMapper`: components of a marketplace, in their own units, to limits and back. Pure arithmetic."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy.errors import SettingsError
from opennebula_tenancy.quota import Limit, Metric, Number, Quota, Usage, exactly


if TYPE_CHECKING:
    from collections.abc import Mapping


WELL_KNOWN: Mapping[str, Metric] = {
    "cpu": Metric.CPU,
    "ram": Metric.MEMORY,
    "storage": Metric.STORAGE,
    "floating_ip": Metric.FLOATING_IPS,
    "vms": Metric.VMS,
    "running_cpu": Metric.RUNNING_CPU,
    "running_ram": Metric.RUNNING_MEMORY,
    "running_vms": Metric.RUNNING_VMS,
    "images": Metric.IMAGES,
    "system_disk": Metric.SYSTEM_DISK,
}
"""The names of components that need no `Component.metric` to be understood."""


@attrs.frozen
class Component:
    """One thing that is sold: what OpenNebula counts for it, and in which unit.

    Attributes:
        metric: What OpenNebula counts, such as `Metric.MEMORY` or its value `"VM/MEMORY"`.
        factor: How many of OpenNebula's units (cores, MB, pieces) one of the component's units is: 1024 where the
            component is in GB. Any positive number, fractions included; it is kept exactly.
    """

    metric: Metric = attrs.field(converter=Metric)
    factor: Fraction = attrs.field(default=Fraction(1), converter=exactly)

    def __attrs_post_init__(self) -> None:
        if self.factor <= 0:
            raise ValueError(f"a unit factor is more than 0, not {self.factor}")


DEFAULT_COMPONENTS = ("cpu", "ram", "storage", "floating_ip")


class QuotaMapper:
    """Converts amounts of components to a `Quota`, and a `Usage` or a `Quota` back, exactly.

    `amount * factor` is what OpenNebula counts, and `counted / factor` is the amount; nothing is rounded on the way,
    in either direction.

    Args:
        components: For each component by name a `Component`, or only its unit factor where the name is one of
            `WELL_KNOWN`. When omitted: cpu, ram, storage and floating_ip with a factor of 1.

    Raises:
        SettingsError: A component is unknown, a factor is not positive, or two components count the same thing; all
            problems at once.
    """

    def __init__(self, components: Mapping[str, Component | Number] | None = None) -> None:
        given = dict.fromkeys(DEFAULT_COMPONENTS, 1) if components is None else components
        problems: list[str] = []
        self._components: dict[str, Component] = {}
        taken: dict[Metric, str] = {}
        for name, value in given.items():
            try:
                component = value if isinstance(value, Component) else Component(WELL_KNOWN[name], value)
            except KeyError:
                known = ", ".join(WELL_KNOWN)
                problems.append(f"component {name}: not one of {known}; say what it counts with Component(metric)")
                continue
            except ValueError as error:
                problems.append(f"component {name}: {error}")
                continue
            if component.metric in taken:
                problems.append(f"component {name}: {taken[component.metric]} counts {component.metric} already")
            taken[component.metric] = name
            self._components[name] = component
        if problems:
            raise SettingsError(*problems)

    @property
    def components(self) -> Mapping[str, Component]:
        """The components by name."""
        return dict(self._components)

    def quota(self, amounts: Mapping[str, Number | Limit]) -> Quota:
        """Convert amounts of components to limits.

        Args:
            amounts: For each component the amount in its own unit, or a `Limit`. What is left out is not named in
                the quota, and so keeps its limit.

        Returns:
            The limits.

        Raises:
            SettingsError: A component is not one of this mapper's, or an amount is not a limit that OpenNebula can
                keep; all problems at once.
        """
        problems: list[str] = []
        limits: dict[str, Fraction | Limit] = {}
        for name, amount in amounts.items():
            component = self._components.get(name)
            if component is None:
                problems.append(f"component {name}: unknown, this mapper has {', '.join(self._components) or 'none'}")
                continue
            try:
                limit = amount if isinstance(amount, Limit) else exactly(amount) * component.factor
                Quota(**{component.metric.field: limit})
            except SettingsError as error:
                problems.extend(f"component {name}: {problem}" for problem in error.problems)
            except ValueError as error:
                problems.append(f"component {name}: {error}")
            else:
                limits[component.metric.field] = limit
        if problems:
            raise SettingsError(*problems)
        return Quota(**limits)

    def amounts(self, counted: Usage | Quota) -> dict[str, Fraction | Limit]:
        """Convert what OpenNebula counts to amounts of components.

        Args:
            counted: A usage: every component of this mapper is answered, with 0 where nothing is used. Or a quota:
                the components whose limits it names are answered.

        Returns:
            For each component the amount in its own unit, exactly. Limits that are not numbers stay what they are.
        """
        result: dict[str, Fraction | Limit] = {}
        for name, component in self._components.items():
            value = counted[component.metric]
            if isinstance(value, Limit):
                result[name] = value
            elif value is not None:
                result[name] = Fraction(value) / component.factor
        return result
