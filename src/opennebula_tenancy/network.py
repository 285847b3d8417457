"""`Network`: a tenant's network as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import attrs

from opennebula_tenancy.display import Table
from opennebula_tenancy.subnet import Subnet


if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network

    from opennebula_tenancy._wire.network_records import NetworkRecord


@attrs.frozen(kw_only=True)
class Network:
    """A tenant's network as it was when it was read.

    Attributes:
        id: Its id.
        name: Its name.
        subnet: Its subnet.
        gateway: The address of the router in it.
        clusters: The ids of the clusters that it is in.
        security_groups: The ids of the security groups that every machine in it has.
        vn_mad: Its driver.
        vlan_id: Its VLAN or VXLAN; empty where it has none.
        dns: The name servers that its machines are told of.
        mtu: Its MTU in bytes; None where OpenNebula's own holds.
        used: How many of its addresses are in use, the gateway's among them.
        state: Its state, such as READY.
    """

    id: int
    name: str
    subnet: IPv4Network
    gateway: IPv4Address
    clusters: frozenset[int]
    security_groups: tuple[int, ...]
    vn_mad: str
    vlan_id: str
    dns: str
    mtu: int | None
    used: int
    state: str

    @classmethod
    def of(cls, record: NetworkRecord) -> Self:
        """The network that a record tells of."""
        subnet = Subnet.of(record.template)
        mtu = record.template.get("MTU", "")
        return cls(
            id=record.id,
            name=record.name,
            subnet=subnet.network,
            gateway=subnet.gateway,
            clusters=record.clusters,
            security_groups=record.security_groups,
            vn_mad=record.vn_mad,
            vlan_id=record.vlan_id,
            dns=record.template.get("DNS", ""),
            mtu=int(mtu) if mtu.isdecimal() else None,
            used=record.used_leases,
            state=record.state_name,
        )

    def _repr_html_(self) -> str:
        rows = [(name, str(value)) for name, value in attrs.asdict(self).items()]
        return Table(("network", self.name), rows).html()
