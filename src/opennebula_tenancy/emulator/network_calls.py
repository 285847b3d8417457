"""Virtual networks: `one.vn.*`, `one.vnpool.info` (VirtualNetworkAPI.cc)."""

from opennebula_tenancy.emulator import clusters, sharing, verbs
from opennebula_tenancy.emulator.addresses import HOLD, AddressError, AddressRange
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.clusters import Cluster
from opennebula_tenancy.emulator.errors import Refusal, action, internal, unauthorized
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.networks import NetworkState, VirtualNetwork, create
from opennebula_tenancy.emulator.syntax import parsed
from opennebula_tenancy.emulator.template import Template, Vector, restricted_in
from opennebula_tenancy.emulator.vdcs import forget_resource


@method("one.vn.allocate", Kind.NET, Right.CREATE)
def allocate(call: Call, text: str, cluster_id: int) -> int:
    """Allocates a new virtual network."""
    template = parsed(text)
    cluster = call.cloud.pool(Cluster).get(clusters.DEFAULT_CLUSTER_ID if cluster_id == -1 else cluster_id)
    call.authorize((Right.CREATE, call.may_create(Kind.NET)), (Right.ADMIN, cluster.subject))
    if not call.is_admin:
        name = restricted_in(template, call.cloud.config.restricted.get(Kind.NET, {}))
        if name is not None:
            raise unauthorized(f"VNET Template includes a restricted attribute {name}")
    network = VirtualNetwork(
        uid=call.uid,
        gid=call.gid,
        uname=call.uname,
        gname=call.gname,
        permissions=call.new_permissions(),
        template=template,
    )
    return create(call.cloud, network, [cluster.id]).id


@method("one.vn.delete", Kind.NET, Right.MANAGE)
def delete(call: Call, oid: int) -> int:
    """Deletes a virtual network, which is gone one step later."""
    cloud = call.cloud

    def gone(network: VirtualNetwork) -> None:
        if network.id in cloud.pool(VirtualNetwork):
            cloud.pool(VirtualNetwork).remove(network)
            clusters.leave(cloud, Kind.NET, oid)
            forget_resource(cloud, Kind.NET, oid)

    def drop(network: VirtualNetwork) -> None:
        if network.used:
            raise action("Can not remove a virtual network with leases in use")
        if network.state in {NetworkState.LOCK_CREATE, NetworkState.LOCK_DELETE, NetworkState.DONE}:
            raise action(f"Can not remove a Virtual Network, wrong state {network.state.name}")
        network.ranges.clear()
        network.move_to(NetworkState.LOCK_DELETE)
        cloud.later(cloud.config.step_s, lambda: gone(network))

    return verbs.delete(call, VirtualNetwork, oid, drop)


@method("one.vn.info", Kind.NET, Right.USE, ignores_lock=True)
def info(call: Call, oid: int, decrypt: bool = False) -> str:  # noqa: ARG001 - nothing is encrypted here
    """Returns virtual network information, with the leases of what the caller may see."""
    network = call.get(VirtualNetwork, oid)
    try:
        call.authorize((Right.MANAGE, network))
    except Refusal:
        seen = {kind: _seen(call, kind) for kind in (Kind.VM, Kind.VROUTER)}
        return network.body({**seen, Kind.NET: frozenset()})
    return network.body(dict.fromkeys((Kind.VM, Kind.VROUTER, Kind.NET)))


def _seen(call: Call, kind: Kind) -> frozenset[int]:
    """Ids of the objects of a kind that the caller may see."""
    first = next(iter(call.cloud.pool_of(kind)), None)
    return frozenset() if first is None else frozenset(item.id for item in call.visible(type(first)))


@method("one.vnpool.info", Kind.NET)
def pool_info(call: Call, flag: int, start: int, end: int) -> str:
    """Returns the virtual network pool."""
    bodies = (network.xml(call.cloud) for network in call.visible(VirtualNetwork, flag, start, end))
    return verbs.pool_xml("VNET_POOL", bodies)


sharing.declare("vn", VirtualNetwork, chown=verbs.chown)


# Address ranges and leases


def _edited(call: Call, oid: int, text: str) -> tuple[VirtualNetwork, Template]:
    """A network that is ready to be changed, and the template that says how."""
    network = call.get(VirtualNetwork, oid)
    template = parsed(text)
    if network.state not in {NetworkState.READY, NetworkState.UPDATE_FAILURE}:
        raise action(f"Could not execute {call.method.name}Virtual Network is in wrong state: {network.state.name}")
    return network, template


@method("one.vn.add_ar", Kind.NET, Right.ADMIN)
def add_ar(call: Call, oid: int, text: str) -> int:
    """Adds an address range to a virtual network."""
    network, template = _edited(call, oid, text)
    if not call.is_admin:
        names = call.cloud.config.restricted.get(Kind.NET, {})
        name = restricted_in(template, {"AR": names.get("AR", frozenset())})
        if name is not None:
            raise unauthorized(f"AR includes a restricted attribute {name}")
    vector = template.vector("AR")
    if vector is None:
        raise internal("Wrong AR definition. AR vector attribute is missing.")
    try:
        network.add_range(vector)
    except AddressError as error:
        raise internal(str(error)) from error
    return oid


@method("one.vn.rm_ar", Kind.NET, Right.ADMIN)
def rm_ar(call: Call, oid: int, ar_id: int, force: bool = False) -> int:
    """Removes an address range from a virtual network."""
    network = call.get(VirtualNetwork, oid)
    if network.state not in {NetworkState.READY, NetworkState.UPDATE_FAILURE}:
        raise action(
            f"Could not remove Adress Range, Virtual Network is in wrong state: {network.state.name}",
        )
    found = network.ranges.get(ar_id)
    if found is None:
        raise internal("Address Range does not exist")
    if found.used and not force:
        raise internal("Address Range has leases in use")
    del network.ranges[ar_id]
    # The next range gets the id behind the last one there is, as after oned reads the network back.
    network.next_range = max(network.ranges, default=-1) + 1
    return oid


def _lease(template: Template) -> Vector:
    """The only address that a LEASES vector names, with its AR_ID if it has one."""
    lease = template.vector("LEASES")
    if lease is None:
        raise internal("Empty lease description.")
    named = [name for name in ("IP", "IP6", "MAC") if lease.get(name)]
    if not named:
        raise internal("Missing MAC, IP or IP6.")
    if len(named) > 1:
        raise internal("Only one attribute MAC, IP or IP6 can be set.")
    return lease


def _ranges(network: VirtualNetwork, lease: Vector) -> list[AddressRange]:
    ar_id = lease.get("AR_ID", "").strip()
    chosen = int(ar_id) if ar_id.isascii() and ar_id.isdigit() else None
    return [found for found in network.ranges.values() if chosen in {None, found.id}]


@method("one.vn.hold", Kind.NET, Right.MANAGE)
def hold(call: Call, oid: int, text: str) -> int:
    """Holds a virtual network lease as used, in every range that has the address."""
    network, template = _edited(call, oid, text)
    lease = _lease(template)
    held = False
    for found in _ranges(network, lease):
        index = found.index_of(lease, free=True)
        if index is not None and index not in found.holders:
            found.hold(index, HOLD)
            held = True
    if not held:
        raise internal("Address is not part of the address range or in use.")
    return oid


@method("one.vn.release", Kind.NET, Right.MANAGE)
def release(call: Call, oid: int, text: str) -> int:
    """Releases a virtual network lease on hold; one that is not held is no error."""
    network, template = _edited(call, oid, text)
    lease = _lease(template)
    for found in _ranges(network, lease):
        index = found.index_of(lease, free=False)
        if index is not None:
            found.release(index, HOLD)
    return oid
