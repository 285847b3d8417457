"""Whether there are addresses for a tenant's router, before anything of the router that it has is taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opennebula_tenancy._wire.network_records import NetworkState


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from opennebula_tenancy._wire.network_records import NetworkRecord, RouterRecord
    from opennebula_tenancy._wire.vm_records import VmRecord
    from opennebula_tenancy.networking import Networking


def lack_of_room(held: Networking, external: NetworkRecord, strays: Callable[[], Iterable[VmRecord]]) -> Iterator[str]:
    """Say which networks have too few addresses for what the router is to have.

    Args:
        held: What there is, and is to be.
        external: The external network.
        strays: Gives the machines of routers that are gone: they are removed before a router is made.

    Yields:
        A sentence for each network that is full.
    """
    if not (wanted := _wanted(held)):
        return
    for network in (external, held.network):
        if network is None or network.state is not NetworkState.READY:
            continue
        free = _free(held, network)
        if free < wanted:
            free += _leases(strays(), network.id)
        if free < wanted:
            yield (
                f"network {network.id} ({network.name}) is too full for the router of the tenant {held.name}: "
                f"{wanted} free addresses needed, {free} there; nothing was changed"
            )


def _wanted(held: Networking) -> int:
    """How many addresses the router is still to get in each of its networks: one a machine, and one they share."""
    if (spec := held.spec) is None:
        return 0
    if (router := held.router) is None:
        return spec.instances + 1 if spec.is_shared else 1
    return max(0, spec.instances - len(held.standing(router)))


def _free(held: Networking, network: NetworkRecord) -> int:
    """The addresses of a network that are free, or will be when the routers and machines that are to go are gone."""
    router = held.router
    leaving = [other for other in held.routers if other is not router]
    machines = [vm for vm in held.machines.values() if any(vm.id in other.vms for other in leaving)]
    failed = () if router is None else held.failed(router)
    returned = _leases((*machines, *failed), network.id) + sum(_shared(other, network.id) for other in leaving)
    return network.size - network.used_leases + returned


def _leases(machines: Iterable[VmRecord], network: int) -> int:
    return sum(nic.network_id == network for vm in machines for nic in vm.nics)


def _shared(router: RouterRecord, network: int) -> int:
    return sum(nic.network_id == network and nic.vrouter_ip is not None for nic in router.nics)
