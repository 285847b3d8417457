"""Reservations: networks made of addresses of another network, `one.vn.reserve` (VirtualNetworkAPI.cc)."""

import attrs

from opennebula_tenancy.emulator import limits, range_changes
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.errors import Refusal, action, no_exists
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.networks import VirtualNetwork, create, drop, leases
from opennebula_tenancy.emulator.syntax import TemplateError, parse
from opennebula_tenancy.emulator.template import Template, Vector


@attrs.frozen(kw_only=True)
class _Wish:
    """What a caller wants to reserve.

    Attributes:
        size: How many addresses.
        name: Name of the new network.
        network: The reservation to add them to, None for a new one.
        ar_id: The range to take them from, None for any.
        first: A vector with the first address, None for any.
    """

    size: int
    name: str
    network: VirtualNetwork | None
    ar_id: int | None
    first: Vector | None


@method("one.vn.reserve", Kind.NET, Right.USE)
def reserve(call: Call, oid: int, text: str) -> int:
    """Reserves addresses of a virtual network, for a new network or for one that was reserved of it before."""
    try:
        template = parse(text)
    except TemplateError as error:
        raise action(str(error)) from error
    cloud = call.cloud
    wish = _wish(call, oid, template)
    parent = cloud.pool(VirtualNetwork).find(oid)
    if parent is None:
        raise no_exists(Kind.NET, -1)
    if parent.parent != -1:
        raise action("Cannot reserve addresses from a reserved VNET")
    target = wish.network
    manages = [(Right.MANAGE, target.subject)] if target is not None else []
    call.authorize((Right.USE, parent.subject), *manages)
    if target is None:
        target = _new(call, parent, wish.name)
    taken = leases(parent, wish.size)
    try:
        limits.charge(cloud, taken, target.uid, target.gid)
        try:
            _take(parent, target, wish)
        except Refusal:
            limits.discharge(cloud, taken, target.uid, target.gid)
            raise
    except Refusal:
        if wish.network is None:
            drop(cloud, target)
        raise
    return target.id


def _wish(call: Call, oid: int, template: Template) -> _Wish:
    size, rid = template.integer("SIZE"), template.integer("NETWORK_ID")
    if size is None or size <= 0:
        raise action("Reservation SIZE must be a greater than 0")
    network = _existing(call, oid, rid) if rid is not None else None
    name = template.text("NAME") or ""
    if not name and network is None:
        raise action("NAME for reservation has to be set")
    ar_id = template.integer("AR_ID")
    if ar_id is not None and ar_id < 0:
        raise action("AR_ID must be equal or greater than 0")
    given = [key for key in ("IP", "IP6", "MAC") if template.text(key)]
    if ar_id is None and given:
        raise action("AR_ID must be specified for IP/MAC based reservations")
    first = Vector({given[0]: template.text(given[0]) or ""}) if given else None
    return _Wish(size=size, name=name, network=network, ar_id=ar_id, first=first)


def _existing(call: Call, oid: int, rid: int) -> VirtualNetwork:
    """The reservation that addresses are to be added to."""
    if rid < 0:
        raise action("NETWORK_ID must be equal or greater than 0")
    if rid == oid:
        raise action("Cannot add a reservation from the same network")
    found = call.cloud.pool(VirtualNetwork).get(rid)
    if found.parent == -1:
        raise action("Cannot add reservations to a non-reservation VNET")
    if found.parent != oid:
        raise action(f"New reservations for virtual network {rid} have to be from network {found.parent}")
    return found


def _new(call: Call, parent: VirtualNetwork, name: str) -> VirtualNetwork:
    template = parent.template.copy()
    template.set("NAME", name)
    made = VirtualNetwork(
        uid=call.uid,
        gid=call.gid,
        uname=call.uname,
        gname=call.gname,
        permissions=call.new_permissions(),
        template=template,
        parent=parent.id,
    )
    return create(call.cloud, made, sorted(parent.clusters))


def _take(parent: VirtualNetwork, target: VirtualNetwork, wish: _Wish) -> None:
    """Give addresses of one network to another.

    Raises:
        Refusal: There is no room for them (ACTION).
    """
    ranges = parent.ranges.values() if wish.ar_id is None else [parent.ranges.get(wish.ar_id)]
    for found in ranges:
        made = None
        if found is not None:
            made = range_changes.reserve(found, wish.size, target.id, wish.first, target.next_range)
        if made is not None:
            target.ranges[made.id] = made
            target.next_range += 1
            return
    where = "an address range" if wish.ar_id is None else f"address range {wish.ar_id}, or it does not exist"
    raise action(f"Not enough free addresses in {where}")
