"""`NetworkOptions`: what an offering says about the networks of its tenants, and the network that follows from it."""

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import attrs

from onetenant_waldur.settings_values import Cidr, Id, Seconds, said_text
from opennebula_tenancy import NetworkSpec, SecurityRule, SettingsError, SubnetPool


_BASE, _BASE_PREFIX, _SUBNET_PREFIX = IPv4Address("10.0.0.0"), 8, 24
_KEYS = {
    "external_network": "external_network_id",
    "router_template": "virtual_router_template_id",
    "phydev": "vxlan_phydev",
    "dns": "default_dns",
    "mtu": "network_mtu",
    "timeout_s": "network_timeout_s",
    "instances": "router_instances",
    "keepalived_id": "router_keepalived_id",
    "cidr": "internal_network_base",
    "prefix": "subnet_prefix_length",
    "exclude": "subnet_exclude",
    "rules": "security_group_defaults",
    "subnet": "subnet_cidr",
    "clusters": "cluster_ids",
    "zone": "zone_id",
    "external_networks": "external_network_id",
    "quota": "cluster_ids",  # which have no datastore for a limit to hold on
}
"""What the settings call a value of the library, where they call it otherwise."""


@attrs.frozen(kw_only=True, slots=False)  # one of the bases of `Options`
class NetworkOptions:
    """What is said about the networks of tenants. Each may stand in `backend_settings`, or in Waldur's plugin options.

    A tenant has a network and a router where the first two are there. What is None is as the library has it.

    Attributes:
        external_network_id: The network that routers lead to, and whose leases count as floating IPs.
        virtual_router_template_id: The VM template that routers are made of.
        vn_mad: The driver: `vxlan`, `802.1Q` or `bridge`; vxlan when None.
        vxlan_phydev: The device of the hosts that vxlan and 802.1Q go over; eth0 when None.
        default_dns: Addresses of name servers, separated by blanks or commas; 8.8.8.8 when None.
        internal_network_base: The first address of the pool of subnets; 10.0.0.0 when None.
        internal_network_prefix: The prefix length of the pool; 8 when None.
        subnet_prefix_length: The prefix length of a tenant's subnet; 24 when None.
        subnet_exclude: Networks that no tenant gets a subnet of.
        security_group_defaults: What reaches the machines of tenants, each with `direction`, `protocol`, and where they
            apply `range`, `type`, `network_id` and `cidr`. Everything does when there are none.
        network_mtu: The MTU of the networks, in bytes.
        vlan_id: The VLAN of all tenants of the offering; OpenNebula gives each its own when None.
        bridge: The bridge of all tenants of the offering; each has its own when None.
        router_instances: How many machines a router has; 1 when None.
        router_keepalived_id: The number of a router of two or more machines in the external network, where only one
            router can have it; each gets a free one when None.
        network_timeout_s: How many seconds a network, and a router, may take until they are ready; 300 when None.
    """

    external_network_id: Id | None = None
    virtual_router_template_id: Id | None = None
    vn_mad: str | None = attrs.field(default=None, converter=said_text)
    vxlan_phydev: str | None = attrs.field(default=None, converter=said_text)
    default_dns: str | None = attrs.field(default=None, converter=said_text)
    internal_network_base: IPv4Address | None = None
    internal_network_prefix: int | None = None
    subnet_prefix_length: int | None = None
    subnet_exclude: tuple[Cidr, ...] | None = None
    security_group_defaults: tuple[SecurityRule, ...] | None = None
    network_mtu: int | None = None
    vlan_id: int | None = None
    bridge: str | None = attrs.field(default=None, converter=said_text)
    router_instances: int | None = None
    router_keepalived_id: int | None = None
    network_timeout_s: Seconds | None = None

    @property
    def has_network(self) -> bool:
        """Whether tenants get a network."""
        return self.external_network_id is not None and self.virtual_router_template_id is not None

    def network(self, *, sched_requirements: str | None = None, subnet: str | None = None) -> NetworkSpec | None:
        """The network of a tenant; None where they get none.

        Args:
            sched_requirements: Where its router may run, as an expression of OpenNebula's scheduler.
            subnet: Its subnet; one of the pool when None.

        Raises:
            SettingsError: A value cannot be; all problems at once, each beginning with its key.
        """
        if self.external_network_id is None or self.virtual_router_template_id is None:
            return None
        problems: list[str] = []
        pool = SubnetPool("10.0.0.0/8")
        try:
            pool = self._pool()
        except SettingsError as error:
            problems.extend(map(in_settings, error.problems))
        try:
            spec = NetworkSpec(
                external_network=self.external_network_id,
                router_template=self.virtual_router_template_id,
                pool=pool,
                subnet=subnet,
                sched_requirements=sched_requirements,
                **self._further(),
            )
        except SettingsError as error:
            problems.extend(map(in_settings, error.problems))
        if problems:
            raise SettingsError(*problems)
        return spec

    def _pool(self) -> SubnetPool:
        base = self.internal_network_base or _BASE
        prefix = _BASE_PREFIX if self.internal_network_prefix is None else self.internal_network_prefix
        return SubnetPool(
            f"{base}/{prefix}",
            prefix=_SUBNET_PREFIX if self.subnet_prefix_length is None else self.subnet_prefix_length,
            exclude=self.subnet_exclude or (),
        )

    def _further(self) -> dict[str, Any]:
        """What is said beside the pool."""
        said = {
            "vn_mad": self.vn_mad,
            "phydev": self.vxlan_phydev,
            "bridge": self.bridge,
            "vlan_id": self.vlan_id,
            "dns": None if self.default_dns is None else self.default_dns.replace(",", " "),
            "mtu": self.network_mtu,
            "rules": self.security_group_defaults,
            "instances": self.router_instances,
            "keepalived_id": self.router_keepalived_id,
            "timeout_s": self.network_timeout_s,
        }
        return {name: value for name, value in said.items() if value is not None}

    def network_remarks(self) -> Iterator[str]:
        """What the operator should know, although orders are processed all the same."""
        if (self.external_network_id is None) != (self.virtual_router_template_id is None):
            there, missing = "external_network_id", "virtual_router_template_id"
            if self.external_network_id is None:
                there, missing = missing, there
            counted = "; its leases count as floating IPs" if there == "external_network_id" else ""
            yield f"{there} without {missing}: half of a network, so that tenants get none and no router{counted}"
        if not self.has_network:
            return
        if self.bridge is not None:
            yield f"bridge: all tenants share the bridge {self.bridge}, so their networks are not isolated"
        if self.vlan_id is not None:
            yield f"vlan_id: all tenants share the VLAN {self.vlan_id}, so their networks are not isolated"
        if self.router_keepalived_id is not None:
            yield (
                f"router_keepalived_id: all routers of two or more machines are to have the number "
                f"{self.router_keepalived_id} in the external network, where only one can: orders for others wait"
            )


def in_settings(problem: str) -> str:
    """A problem of the library, under the key that the settings, or the order form, have for the value."""
    path, colon, reason = problem.partition(":")
    name, bracket, place = path.removeprefix("network.").partition("[")
    return f"{_KEYS[name]}{bracket}{place}{colon}{reason}" if name in _KEYS else problem
