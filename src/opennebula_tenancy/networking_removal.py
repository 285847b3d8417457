"""Taking a tenant's network away: the routers first, then their machines are waited for, then the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opennebula_tenancy.errors import NotFound
from opennebula_tenancy.network_calls import NetworkCalls, read_network, read_router, read_routers
from opennebula_tenancy.networking_search import is_router_machine, read_machines
from opennebula_tenancy.vm_calls import VmCalls
from opennebula_tenancy.vm_removal import await_end


if TYPE_CHECKING:
    from collections.abc import Callable

    from opennebula_tenancy._transport.rpc import Rpc
    from opennebula_tenancy._wire.network_records import NetworkRecord
    from opennebula_tenancy._wire.vm_records import VmRecord


GONE_S = 300.0
"""How long machines and addresses may take to go away, in seconds."""


class NetworkRemoval:
    """Removes what a tenant's network is made of.

    Args:
        rpc: Calls OpenNebula.
        timeout_s: How many seconds each thing may take to go away.

    Attributes:
        leaving: The machines of routers that are gone already, and that have not been seen to go.
    """

    def __init__(self, rpc: Rpc, timeout_s: float = GONE_S) -> None:
        self._rpc = rpc
        self._calls = NetworkCalls(rpc)
        self._timeout_s = timeout_s
        self.leaving: dict[int, VmRecord] = {}

    def router(self, router_id: int) -> None:
        """Remove a router, and wait until its machines are gone: they hold addresses until then."""
        try:
            machines = read_router(self._rpc, router_id).vms
        except NotFound:
            return
        before = read_machines(self._rpc, machines)
        self._calls.remove_router(router_id)
        self.leaving.update(before)
        for vm in before.values():
            self._await_gone(vm)

    def machine(self, vm: VmRecord) -> None:
        """Terminate a machine, and wait until it is gone. One that its host has lost is not asked to shut down."""
        calls = VmCalls(self._rpc)
        (calls.delete if vm.status.is_lost else calls.terminate)(vm.id)
        self._await_gone(vm)

    def _await_gone(self, vm: VmRecord) -> None:
        await_end(self._rpc, vm, timeout_s=self._timeout_s)
        self.leaving.pop(vm.id, None)

    def strays(self, network: NetworkRecord) -> None:
        """Remove the machines of routers that are gone from a network, which may hold the gateway's address.

        They are on their way already, or a broken call has left them there.
        """
        machines = read_machines(self._rpc, (lease.vm for lease in network.leases if lease.vm is not None))
        if ours := [vm for vm in machines.values() if is_router_machine(vm, network)]:
            routers = {str(router.id) for router in read_routers(self._rpc)}
            for vm in ours:
                if vm.context.get("VROUTER_ID") not in routers:
                    self.machine(vm)

    def network(self, network_id: int, *, unless: Callable[[], bool] = lambda: False) -> bool:
        """Remove a network, and the machines of routers that are gone from it.

        Args:
            network_id: The network.
            unless: Whether it is to stay after all; asked before each attempt.

        Returns:
            Whether it is gone.

        Raises:
            WaitTimeout: It is still there; the message has OpenNebula's reason.
        """
        try:
            network = read_network(self._rpc, network_id)
        except NotFound:
            return True
        self.strays(network)
        return self._calls.remove_network(network_id, timeout_s=self._timeout_s, unless=unless)

    def security_group(self, group_id: int) -> None:
        """Remove a security group."""
        self._calls.remove_security_group(group_id)
