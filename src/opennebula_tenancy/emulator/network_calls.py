"""Virtual networks: `one.vn.*`, `one.vnpool.info` (VirtualNetworkAPI.cc).

Calls about their addresses are in `opennebula_tenancy.emulator.address_calls`.
"""

from collections.abc import Callable

from opennebula_tenancy.emulator import clusters, limits, sharing, verbs
from opennebula_tenancy.emulator.addresses import Holder
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.clusters import Cluster
from opennebula_tenancy.emulator.errors import Refusal, action, internal, unauthorized
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.networks import NetworkState, VirtualNetwork, create, error_message, leases
from opennebula_tenancy.emulator.propagation import commit_network, retry_network
from opennebula_tenancy.emulator.state import Cloud
from opennebula_tenancy.emulator.syntax import parsed
from opennebula_tenancy.emulator.template import restricted_in
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

    def drop(network: VirtualNetwork) -> None:
        if network.used:
            raise action("Can not remove a virtual network with leases in use")
        if network.state in {NetworkState.LOCK_CREATE, NetworkState.LOCK_DELETE, NetworkState.DONE}:
            raise action(f"Can not remove a Virtual Network, wrong state {network.state.name}")
        network.ranges.clear()
        network.move_to(NetworkState.LOCK_DELETE)
        cloud.later(cloud.config.step_s, lambda: _gone(cloud, network))

    return verbs.delete(call, VirtualNetwork, oid, drop)


def _gone(cloud: Cloud, network: VirtualNetwork) -> None:
    """Forget a network; what it reserved of another is free again."""
    if network.id not in cloud.pool(VirtualNetwork):
        return
    cloud.pool(VirtualNetwork).remove(network)
    clusters.leave(cloud, Kind.NET, network.id)
    forget_resource(cloud, Kind.NET, network.id)
    parent = cloud.pool(VirtualNetwork).find(network.parent)
    if parent is not None:
        holder = Holder(Kind.NET, network.id)
        freed = sum(found.release_all(holder) for found in parent.ranges.values())
        limits.discharge(cloud, leases(parent, freed), network.uid, network.gid)


@method("one.vn.info", Kind.NET, Right.USE, ignores_lock=True)
def info(call: Call, oid: int, decrypt: bool = False) -> str:  # noqa: ARG001 - nothing is encrypted here
    """Returns virtual network information, with the leases of what the caller may see."""
    network = call.get(VirtualNetwork, oid)
    try:
        call.authorize((Right.MANAGE, network))
    except Refusal:
        seen = {kind: _seen(call, kind) for kind in (Kind.VM, Kind.VROUTER)}
        return network.body({**seen, Kind.NET: _reserved(call)})
    return network.body(dict.fromkeys((Kind.VM, Kind.VROUTER, Kind.NET)))


def _reserved(call: Call) -> frozenset[int]:
    """Ids of the reservations that the caller may see."""
    return frozenset(network.id for network in call.visible(VirtualNetwork) if network.parent != -1)


def _seen(call: Call, kind: Kind) -> frozenset[int]:
    """Ids of the objects of a kind that the caller may see."""
    first = next(iter(call.cloud.pool_of(kind)), None)
    return frozenset() if first is None else frozenset(item.id for item in call.visible(type(first)))


@method("one.vnpool.info", Kind.NET)
def pool_info(call: Call, flag: int, start: int, end: int) -> str:
    """Returns the virtual network pool."""
    bodies = (network.xml(call.cloud) for network in call.visible(VirtualNetwork, flag, start, end))
    return verbs.pool_xml("VNET_POOL", bodies)


def _updated(cloud: Cloud, network: VirtualNetwork) -> None:
    if network.template.vector("VNET_UPDATE") is not None:
        commit_network(cloud, network)


def _chown(call: Call, kind: type[VirtualNetwork], oid: int, uid: int, gid: int) -> None:
    """Give a network to others; a reservation counts in their quotas then."""
    network, uid, gid = verbs.check_owners(call, kind, oid, uid, gid)
    parent = call.cloud.pool(VirtualNetwork).find(network.parent)
    if parent is not None:
        taken = leases(parent, sum(found.size for found in network.ranges.values()))
        limits.charge(call.cloud, taken, uid, gid)
        limits.discharge(call.cloud, taken, network.uid if uid != -1 else -1, network.gid if gid != -1 else -1)
    verbs.set_owners(call, network, uid, gid)


sharing.declare("vn", VirtualNetwork, chown=_chown, updated=_updated)


# Recovery


def _fail(cloud: Cloud, network: VirtualNetwork) -> None:
    network.template.set("ERROR", error_message(cloud, "Failure forced by user"))
    network.move_to(NetworkState.ERROR)


def _succeed(cloud: Cloud, network: VirtualNetwork) -> None:
    network.template.erase("ERROR")
    if network.state is NetworkState.LOCK_DELETE:
        _gone(cloud, network)
        return
    if network.state is NetworkState.UPDATE_FAILURE:
        network.vms.updated |= network.vms.outdated
        network.vms.outdated.clear()
    network.move_to(NetworkState.READY)


_MAKING = frozenset({NetworkState.INIT, NetworkState.LOCK_CREATE, NetworkState.LOCK_DELETE})
_RECOVERIES: tuple[tuple[str, frozenset[NetworkState], Callable[[Cloud, VirtualNetwork], None]], ...] = (
    ("failure", _MAKING, _fail),
    ("success", _MAKING | {NetworkState.ERROR, NetworkState.UPDATE_FAILURE}, _succeed),
    ("delete", _MAKING | {NetworkState.ERROR}, _gone),
    ("retry", frozenset({NetworkState.UPDATE_FAILURE}), retry_network),
)


@method("one.vn.recover", Kind.NET, Right.MANAGE)
def recover(call: Call, oid: int, operation: int) -> int:
    """Recovers a virtual network: failure (0), success (1), delete (2), retry (3)."""
    if not 0 <= operation < len(_RECOVERIES):
        raise action("Wrong recovery operation code")
    network = call.get(VirtualNetwork, oid)
    name, states, recovered = _RECOVERIES[operation]
    if name == "success":
        network.template.erase("ERROR")
    if network.state not in states:
        raise internal(f"Could not perform 'recover {name}' on VN {oid}, wrong state {network.state.name}.")
    recovered(call.cloud, network)
    return oid
