"""The virtual machines of all offerings: what OpenNebula says of them, in one call."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import attrs

from opennebula_tenancy import Cloud, Conflict, Vm, VmUsage, WentAway


@attrs.frozen
class MachineFigures:
    """One machine.

    Attributes:
        key: Its key: the uuid of its resource.
        vdc: The id of its tenant.
        allocated: What is allocated to it, whether it runs or not.
    """

    key: str
    vdc: int
    allocated: VmUsage

    @property
    def credentials(self) -> None:
        """None: machines have no administrator's account."""

    @property
    def missing(self) -> tuple[str, ...]:
        """None: a machine is there or not."""
        return ()

    @property
    def unlimited_datastores(self) -> tuple[int, ...]:
        """None: machines have no limits of storage."""
        return ()

    def usage(self, terms: Any) -> Mapping[str, Decimal]:
        """What it has, of the components whose usage Waldur takes."""
        found: Mapping[str, Decimal] = terms.components.usage(self.allocated)
        return found

    def included(self, terms: Any) -> Mapping[str, Decimal]:
        """What it has of the components that its plan includes."""
        found: Mapping[str, Decimal] = terms.components.included(self.allocated)
        return found

    def limits(self, terms: Any) -> Mapping[str, int | float]:
        """What it has, as limits."""
        found: Mapping[str, int | float] = terms.components.limits(self.allocated)
        return found


def read_machines(cloud: Cloud) -> dict[int, MachineFigures]:
    """All machines that are not terminated, finished or not, by their ids."""
    return {ident: MachineFigures(one.key, one.vdc, one.usage) for ident, one in cloud.vms.figures().items()}


class NoMachine(Exception):
    """There is no machine with an id and a key: why, in a sentence."""


def own_machine(cloud: Cloud, vm_id: int, key: str) -> Vm:
    """The machine with an id and a key.

    Raises:
        NoMachine: It is gone, or has another key.
    """
    try:
        machine = cloud.vms.get(vm_id)
    except WentAway:
        raise NoMachine(f"The virtual machine (VM {vm_id}) does not exist in OpenNebula any more.") from None
    except Conflict:
        raise NoMachine(not_ours(vm_id)) from None
    if machine.key != key:
        raise NoMachine(not_ours(vm_id))
    return machine


def not_ours(vm_id: int) -> str:
    """The sentence for a machine that has another key, or none."""
    return f"VM {vm_id} in OpenNebula is not the virtual machine of this resource."


def why_no_machine(cloud: Cloud, vm_id: int, key: str) -> str | None:
    """Why there is no machine with this id and key, in a sentence; None where there is."""
    try:
        own_machine(cloud, vm_id, key)
    except NoMachine as error:
        return str(error)
    return None
