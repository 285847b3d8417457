"""`Router`: a tenant's virtual router as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import attrs

from opennebula_tenancy.display import Table


if TYPE_CHECKING:
    from collections.abc import Mapping

    from opennebula_tenancy._wire.network_records import RouterRecord
    from opennebula_tenancy._wire.vm_records import VmRecord
    from opennebula_tenancy.vm_status import VmStatus


@attrs.frozen(kw_only=True)
class Router:
    """A tenant's virtual router as it was when it was read.

    Attributes:
        id: Its id.
        name: Its name.
        vm_ids: The ids of its machines.
        states: The state of each of its machines, by id.
        internal_address: Its address in the tenant's network: the gateway.
        external_addresses: Its addresses in the external network: one that its machines share, or one of each.
    """

    id: int
    name: str
    vm_ids: tuple[int, ...]
    states: Mapping[int, VmStatus]
    internal_address: str
    external_addresses: tuple[str, ...]

    @property
    def is_running(self) -> bool:
        """Whether it has machines, and all of them run."""
        return bool(self.states) and all(status.is_running for status in self.states.values())

    @classmethod
    def of(cls, record: RouterRecord, machines: Mapping[int, VmRecord], network_id: int) -> Self:
        """The router that records tell of.

        Args:
            record: The router.
            machines: Its machines, by id.
            network_id: The tenant's network.
        """
        internal = [nic for nic in record.nics if nic.network_id == network_id]
        shared = [nic.vrouter_ip for nic in record.nics if nic.network_id != network_id and nic.vrouter_ip]
        each = [nic.ip for vm in machines.values() for nic in vm.nics if nic.network_id != network_id and nic.ip]
        return cls(
            id=record.id,
            name=record.name,
            vm_ids=tuple(sorted(record.vms)),
            states={vm.id: vm.status for vm in machines.values()},
            internal_address=next((str(nic.vrouter_ip or nic.ip) for nic in internal), ""),
            external_addresses=tuple(map(str, shared or each)),
        )

    def _repr_html_(self) -> str:
        rows = [
            ("id", str(self.id)),
            ("machines", ", ".join(f"VM {vm} {status}" for vm, status in self.states.items())),
            ("internal", self.internal_address),
            ("external", ", ".join(self.external_addresses)),
        ]
        return Table(("router", self.name), rows).html()
