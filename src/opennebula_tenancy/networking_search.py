"""Finding a tenant's network, router and security group, and whether those that are asked for can be made."""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy import ownership, tenant_mark, vrrp
from opennebula_tenancy._wire.vm_records import VmRecord
from opennebula_tenancy._wire.vm_template_records import VmTemplateRecord
from opennebula_tenancy.errors import Conflict, NotEmpty, NotFound, PoolExhausted
from opennebula_tenancy.network_calls import (
    NETWORK_ROLE,
    ROUTER_ROLE,
    ROUTER_VM_ROLE,
    SECURITY_GROUP_ROLE,
    is_ours,
    network_of,
    read_network,
    read_networks,
    read_router,
    read_routers,
    read_security_group,
    read_security_groups,
    routers_of,
    security_group_of,
)
from opennebula_tenancy.networking import Networking
from opennebula_tenancy.router_drift import router_remarks
from opennebula_tenancy.router_room import lack_of_room
from opennebula_tenancy.subnet import SUBNET, Subnet
from opennebula_tenancy.subnets import AddressSpan, overlapping


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from opennebula_tenancy._transport.rpc import Reader
    from opennebula_tenancy._wire.network_records import NetworkRecord, RouterRecord, SecurityGroupRecord
    from opennebula_tenancy._wire.records import GroupRecord
    from opennebula_tenancy.network_spec import NetworkSpec
    from opennebula_tenancy.tenant_mark import NetworkingIds
    from opennebula_tenancy.vdc_spec import VdcSpec


@attrs.frozen
class Seen:
    """What was read of networks, to be read only once.

    Attributes:
        held: What the tenant has.
        networks: All networks, or None where they were not read.
        security_groups: All security groups; none where they were not read.
    """

    held: Networking
    networks: tuple[NetworkRecord, ...] | None
    security_groups: tuple[SecurityGroupRecord, ...] = ()


def find_networking(reader: Reader, name: str, key: str, group: GroupRecord | None, *, is_new: bool) -> Seen:
    """Find what a tenant has of a network.

    Args:
        reader: Reads from OpenNebula.
        name: The tenant's name.
        key: Its key.
        group: Its group, when the tenant is finished: the mark says what there is.
        is_new: Whether there is nothing of the tenant yet.

    Returns:
        What there is.
    """
    held = Networking(name=name)
    if is_new:
        return Seen(held, None)
    marks = None if group is None else tenant_mark.networking_of(group)
    if marks == tenant_mark.NetworkingIds():
        return Seen(held, None)
    if marks is not None and (marked := _by_marks(reader, held, key, marks)) is not None:
        return Seen(marked, None)
    # The last thing made comes first: what another run makes meanwhile never seems to lack what it stands on.
    routers = routers_of(read_routers(reader), key)
    networks, groups = read_networks(reader), read_security_groups(reader)
    network, rules = network_of(networks, key), security_group_of(groups, key)
    held = attrs.evolve(held, network=network, security_group=rules, routers=routers)
    return Seen(_with_machines(reader, held), networks, groups)


def _by_marks(reader: Reader, held: Networking, key: str, marks: NetworkingIds) -> Networking | None:
    """What the mark of the group names, if all of it is there and the tenant's."""
    if marks.network is None or marks.security_group is None or marks.router is None:
        return None
    try:
        network, group = read_network(reader, marks.network), read_security_group(reader, marks.security_group)
        router = read_router(reader, marks.router)
    except NotFound:
        return None
    proven = (
        network_of([network], key) is not None
        and is_ours(group, key, SECURITY_GROUP_ROLE)
        and is_ours(router, key, ROUTER_ROLE)
    )
    if not proven:
        return None
    return _with_machines(reader, attrs.evolve(held, network=network, security_group=group, routers=(router,)))


def _with_machines(reader: Reader, held: Networking) -> Networking:
    return attrs.evolve(
        held,
        subnet=Subnet.of(held.network.template) if held.network else None,
        machines=read_machines(reader, (vm for router in held.routers for vm in router.vms)),
    )


def read_machines(reader: Reader, ids: Iterable[int]) -> Mapping[int, VmRecord]:
    """Read VMs by id; those that are gone are left out."""
    if not (wanted := ",".join(map(str, sorted(set(ids))))):
        return {}
    found = VmRecord.pool(reader.read("one.vmpool.infoset", wanted, True))
    return {vm.id: vm for vm in found if not vm.status.is_done}


def plan_networking(
    reader: Reader, spec: VdcSpec, seen: Seen, clusters: tuple[int, ...], vdc_networks: Iterable[int]
) -> tuple[Networking, tuple[str, ...]]:
    """Say what a tenant's network is to become.

    Args:
        reader: Reads from OpenNebula.
        spec: The tenant.
        seen: What was found of its network.
        clusters: The tenant's clusters.
        vdc_networks: The networks of its VDC.

    Returns:
        What there is and is to be, and what in the spec cannot be, a sentence each.

    Raises:
        Conflict: The name of the network is taken by one that is not the tenant's.
        NotEmpty: The tenant is to have no network any more, and machines are attached to it; or its router is to lead
            elsewhere, and machines have floating IPs.
        PoolExhausted: There is no subnet for it, or there are too few addresses for its router.
    """
    held = attrs.evolve(seen.held, spec=spec.network, clusters=clusters)
    network = held.network
    if spec.network is None:
        if network is not None:
            refuse_attached(reader, held)
        return held, ()
    networks = seen.networks
    if network is not None and networks is not None and _is_lost(network, networks):
        # Its addresses are still free: the router comes when it has been verified that nobody was there first.
        held = attrs.evolve(held, lost=network, network=None, subnet=None)
        networks = tuple(other for other in networks if other.id != network.id)
    refuse_floating(reader, held, spec.network)
    held = attrs.evolve(held, in_vdc=held.network is not None and held.network.id in set(vdc_networks))
    problems: list[str] = []
    external = _known(reader, spec.network.external_network, networks)
    problems.extend(_external_problems(spec.network, external, clusters))
    problems.extend(_rule_problems(reader, spec.network, networks))
    held = attrs.evolve(held, template=_template(reader, spec.network, problems))
    wanted = spec.network.wanted_subnet
    if held.subnet is not None:
        if wanted is not None and wanted != held.subnet.network:
            problems.append(
                f"network.subnet: the network of {spec.name} has the subnet {held.subnet}, and keeps it: its machines "
                "have addresses there"
            )
    elif networks is not None:
        _refuse_name(spec, networks)
        if wanted is not None:
            problems.extend(_subnet_problems(spec.network, wanted, networks))
        if not problems:
            subnet = wanted or spec.network.pool.choose(taken(networks, spec.network.external_network))
            held = attrs.evolve(held, subnet=Subnet(subnet))
    own = {router.id for router in held.routers}
    neighbours = vrrp.taken(read_routers(reader), spec.network.external_network, own) if spec.network.is_shared else {}
    if held.router is None and spec.network.is_shared:
        problems.extend(_number_problems(spec.network, neighbours))
        held = attrs.evolve(held, vrrp_id=spec.network.keepalived_id or vrrp.free(neighbours))
    lack = () if external is None or problems else tuple(lack_of_room(held, external, lambda: _strays(reader, held)))
    if lack:
        raise PoolExhausted("; ".join(lack))
    return attrs.evolve(held, remarks=tuple(router_remarks(spec, spec.network, held, neighbours))), tuple(problems)


def taken(networks: Iterable[NetworkRecord], external: int | None = None) -> Iterator[AddressSpan]:
    """The addresses of networks: those that they have, their gateways, and those that a tenant's network claims.

    Args:
        networks: The networks.
        external: The one of them that a router is to lead to: with an address of the subnet that it is in on its other
            side, the router could not tell the two apart.
    """
    for network in networks:
        yield from (AddressSpan.of(first, size) for first, size in network.spans)
        if SUBNET in network.template:
            with contextlib.suppress(Conflict):  # somebody wrote over it: the ranges say what the network has
                yield AddressSpan.of_network(Subnet.of(network.template).network)
        with contextlib.suppress(ValueError):  # OpenNebula keeps whatever is written there
            yield AddressSpan.of(IPv4Address(network.template.get("GATEWAY", "")), 1)
        if network.id == external:
            yield from _whole_subnets(network)


def _whole_subnets(network: NetworkRecord) -> Iterator[AddressSpan]:
    """The subnet that a network's ranges are parts of, as far as its template says it."""
    template = network.template
    named = template.get("NETWORK_ADDRESS") or template.get("GATEWAY")
    for address in [named] if named else [str(first) for first, _ in network.spans]:
        with contextlib.suppress(ValueError):
            mask = template.get("NETWORK_MASK", "")
            yield AddressSpan.of_network(IPv4Network(f"{address}/{mask}", strict=False))


def rivals(networks: Iterable[NetworkRecord], own: int, subnet: Subnet) -> tuple[NetworkRecord, ...]:
    """The networks that overlap with the subnet of a network, and that were there before it.

    OpenNebula gives ids in increasing order, under one lock: all runs see the same ones.
    """
    before = (network for network in networks if network.id < own)
    return tuple(network for network in before if overlapping(subnet.network, taken([network])))


def _is_lost(network: NetworkRecord, networks: Iterable[NetworkRecord]) -> bool:
    """Whether the making of a network was interrupted after others had made one with the same addresses."""
    return not network.used_leases and bool(rivals(networks, network.id, Subnet.of(network.template)))


def _number_problems(spec: NetworkSpec, neighbours: Mapping[int, RouterRecord]) -> Iterator[str]:
    wanted, network = spec.keepalived_id, spec.external_network
    if wanted is not None and (other := neighbours.get(wanted)) is not None:
        yield (
            f"network.keepalived_id: {wanted} is that of router {other.id} in network {network}, and each router there "
            "needs one of its own"
        )
    elif wanted is None and vrrp.free(neighbours) is None:
        yield f"network.external_network: the routers in network {network} have all {len(vrrp.NUMBERS)} keepalived ids"


def _strays(reader: Reader, held: Networking) -> tuple[VmRecord, ...]:
    """The machines of routers of the tenant that are gone."""
    if (network := held.network) is None:
        return ()
    ours = {vm_id for router in held.routers for vm_id in router.vms}
    machines = read_machines(reader, (lease.vm for lease in network.leases if lease.vm is not None))
    return tuple(vm for vm in machines.values() if vm.id not in ours and is_router_machine(vm, network))


def _external_problems(spec: NetworkSpec, external: NetworkRecord | None, clusters: tuple[int, ...]) -> Iterator[str]:
    ident = spec.external_network
    if external is None:
        yield f"network.external_network: there is no network {ident}"
    elif not external.clusters & set(clusters):
        yield (
            f"network.external_network: network {ident} is in none of the clusters {', '.join(map(str, clusters))}, "
            "so that no router could run there"
        )


def _rule_problems(reader: Reader, spec: NetworkSpec, networks: Iterable[NetworkRecord] | None) -> Iterator[str]:
    """OpenNebula takes a rule for a network that does not exist, and such a rule lets nothing pass."""
    for ident in sorted({rule.network for rule in spec.rules if rule.network is not None}):
        if _known(reader, ident, networks) is None:
            yield f"network.rules: there is no network {ident}"


def _known(reader: Reader, ident: int, networks: Iterable[NetworkRecord] | None) -> NetworkRecord | None:
    """One network, of those that were read or by itself."""
    if networks is not None:
        return next((network for network in networks if network.id == ident), None)
    try:
        return read_network(reader, ident)
    except NotFound:
        return None


def _template(reader: Reader, spec: NetworkSpec, problems: list[str]) -> VmTemplateRecord | None:
    ident = spec.router_template
    try:
        template = VmTemplateRecord.parse(reader.read("one.template.info", ident, False, False))
    except NotFound:
        problems.append(f"network.router_template: there is no VM template {ident}")
        return None
    if not template.is_router:
        problems.append(
            f"network.router_template: VM template {ident} ({template.name}) is not for virtual routers (VROUTER=YES)"
        )
    return template


def _refuse_name(spec: VdcSpec, networks: Iterable[NetworkRecord]) -> None:
    name = spec.network_name
    for network in networks:
        if network.name == name and network.gid == 0 and not is_ours(network, spec.key, NETWORK_ROLE):
            raise Conflict(
                f"the name {name} is taken by network {network.id}, which is not this tenant's: choose another name"
            )


def _subnet_problems(spec: NetworkSpec, wanted: IPv4Network, networks: Iterable[NetworkRecord]) -> Iterator[str]:
    for excluded in spec.pool.exclude:
        if wanted.overlaps(IPv4Network(excluded)):
            yield f"network.subnet: {wanted} overlaps with {excluded}, which is excluded"
    for network in networks:
        if overlapping(wanted, taken([network], spec.external_network)):
            yield f"network.subnet: {wanted} overlaps with the addresses of network {network.id} ({network.name})"


def refuse_attached(reader: Reader, held: Networking) -> None:
    """Refuse to take a network away that others than its routers have addresses of.

    Raises:
        NotEmpty: Machines are attached to it, or its addresses are reserved.
    """
    if attached := attached_to(reader, held):
        raise NotEmpty(
            f"the network of the tenant {held.name} still has {', '.join(attached)} attached: remove these first; "
            "nothing was deleted",
            attached,
        )


def refuse_floating(reader: Reader, held: Networking, spec: NetworkSpec) -> None:
    """Refuse to let a router lead to another external network while machines have floating IPs of the present one.

    Raises:
        NotEmpty: Machines have some.
    """
    outside = {nic.network_id for router in held.routers for nic in router.nics} - {held.network and held.network.id}
    if held.network is None or not outside or spec.external_network in outside:
        return
    machines = read_machines(reader, (lease.vm for lease in held.network.leases if lease.vm is not None))
    floating = [
        f"{nic.ip} of VM {vm.id} ({vm.name})"
        for vm in machines.values()
        for nic in vm.nics
        if nic.is_alias and nic.network_id in outside
    ]
    if floating:
        raise NotEmpty(
            f"network.external_network: the tenant {held.name} has the floating IPs {', '.join(floating)}, which would "
            f"lead nowhere behind network {spec.external_network}: release these first; nothing was changed",
            floating,
        )


def is_router_machine(vm: VmRecord, network: NetworkRecord) -> bool:
    """Whether a machine was made for a router of the tenant that a network is of, whatever became of the router."""
    return vm.gid == 0 and ownership.carries(vm.user_template, network.template.get(ownership.KEY, ""), ROUTER_VM_ROLE)


def attached_to(reader: Reader, held: Networking) -> tuple[str, ...]:
    """What has addresses of a tenant's network, its routers aside."""
    if (network := held.network) is None:
        return ()
    leases = network.leases
    machines = read_machines(reader, (lease.vm for lease in leases if lease.vm is not None))
    routers = {router.id for router in held.routers}
    ours = {vm_id for router in held.routers for vm_id in router.vms}
    return (
        *(
            f"VM {vm.id} ({vm.name})"
            for vm in machines.values()
            if vm.id not in ours and not is_router_machine(vm, network)
        ),
        *(f"router {lease.vrouter}" for lease in leases if lease.vrouter is not None and lease.vrouter not in routers),
        *(f"a reservation of network {lease.vnet}" for lease in leases if lease.vnet is not None),
        *(f"the held address {lease.ip}" for lease in leases if lease.is_held),
    )
