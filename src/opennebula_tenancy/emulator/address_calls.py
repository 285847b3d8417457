"""Address ranges and leases of virtual networks: `one.vn.add_ar`, `hold` and so on (VirtualNetworkAPI.cc)."""

from opennebula_tenancy.emulator import limits, range_changes
from opennebula_tenancy.emulator.addresses import HOLD, AddressError, AddressRange, Holder, unsigned
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.errors import action, internal, unauthorized
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.networks import INHERITED, NetworkState, VirtualNetwork, leases
from opennebula_tenancy.emulator.propagation import commit_network
from opennebula_tenancy.emulator.syntax import parsed
from opennebula_tenancy.emulator.template import Template, Vector, integer, restricted_in


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


@method("one.vn.update_ar", Kind.NET, Right.MANAGE)
def update_ar(call: Call, oid: int, text: str) -> int:
    """Updates the attributes of an address range, its size among them; its addresses stay."""
    network, template = _edited(call, oid, text)
    vector = template.vector("AR")
    if vector is None:
        raise internal("Wrong AR definition. AR vector attribute is missing.")
    ar_id = unsigned(vector.get("AR_ID", ""))
    if ar_id is None:
        raise internal("AR/AR_ID attribute is missing.")
    found = network.ranges.get(ar_id)
    if found is None:
        raise internal(f"Address Range with ID {ar_id} was not found.")
    if not call.is_admin:
        vector = _keeping_restricted(call, found.attributes, vector)
    try:
        changed = range_changes.change(found, vector, INHERITED)
    except AddressError as error:
        raise internal(str(error)) from error
    if changed:
        network.template.set("VNET_UPDATE", Vector(changed))
        vms = {holder.id for held in found.holders.values() for holder in held if holder.kind is Kind.VM}
        commit_network(call.cloud, network, vms - {-1})
    return oid


def _keeping_restricted(call: Call, old: Vector, asked: Vector) -> Vector:
    """What a user asks for, with the restricted attributes as they are."""
    restricted = call.cloud.config.restricted.get(Kind.NET, {})
    names = restricted.get("AR", frozenset()) | (restricted.keys() - {"AR"})
    for name in sorted(asked):
        if name in names and asked[name] != old.get(name):
            raise internal(f"AR includes a restricted attribute {name}")
    kept = {name: old[name] for name in restricted.get("AR", ()) if name in old}
    return Vector(asked | kept)


@method("one.vn.rm_ar", Kind.NET, Right.ADMIN)
def rm_ar(call: Call, oid: int, ar_id: int, force: bool = False) -> int:
    """Removes an address range from a virtual network."""
    _remove_range(call, oid, ar_id, force=force)
    return oid


@method("one.vn.free_ar", Kind.NET, Right.MANAGE)
def free_ar(call: Call, oid: int, ar_id: int) -> int:
    """Frees a reserved address range."""
    _remove_range(call, oid, ar_id, force=False)
    return oid


def _remove_range(call: Call, oid: int, ar_id: int, *, force: bool) -> None:
    """Remove a range; what it was reserved of is free again."""
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
    parent = call.cloud.pool(VirtualNetwork).find(network.parent)
    source = parent.ranges.get(integer(found.attributes.get("PARENT_NETWORK_AR_ID")) or 0) if parent else None
    if parent is not None and source is not None:
        start = source.index_of(Vector(MAC=found.attributes["MAC"]), free=False)
        holder = Holder(Kind.NET, oid)
        freed = sum(source.release(start + offset, holder) for offset in range(found.size)) if start is not None else 0
        limits.discharge(call.cloud, leases(parent, freed), network.uid, network.gid)


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
