"""`NetworkSpec`: a tenant's network, router and security rules as they are asked for."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy._wire.template import text_problem
from opennebula_tenancy.errors import SettingsError
from opennebula_tenancy.ids import id_problems
from opennebula_tenancy.scheduling import expression_problem
from opennebula_tenancy.security_rule import SecurityRule
from opennebula_tenancy.subnets import SubnetPool, parse_subnet


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from ipaddress import IPv4Network


_BITS = 32
_MAX_INSTANCES = 8
_KEEPALIVED_IDS = range(1, 256)
"""VRRP has one byte for it."""
_VXLAN_IDS = range(1, 2**24)
_VLAN_IDS = range(1, 4095)
_MTU = range(576, 65536)
_WITH_DEVICE = ("vxlan", "802.1Q")
DRIVERS = (*_WITH_DEVICE, "bridge")
"""Drivers that can be asked for, by the names that OpenNebula has for them (VN_MAD)."""


def _rules(values: Iterable[SecurityRule]) -> tuple[SecurityRule, ...]:
    return tuple(values)


@attrs.frozen(kw_only=True)
class NetworkSpec:
    """What a tenant is to have as its network: a subnet of its own behind a virtual router.

    Attributes:
        external_network: The id of the network that the router leads to, and that floating IPs come from.
        router_template: The id of the VM template that the router is made of: a virtual router template (VROUTER=YES),
            such as OpenNebula's Service Virtual Router.
        pool: Where a subnet is taken from when `subnet` is not given.
        subnet: The subnet, such as `192.168.50.0/24`.
        vn_mad: The driver of the network: `vxlan`, `802.1Q` or `bridge`.
        phydev: The device of the hosts that vxlan and 802.1Q go over.
        bridge: The name of the bridge; one for the network alone when None. Networks that share one are not isolated.
        vlan_id: The VLAN of vxlan or 802.1Q; OpenNebula chooses one when None.
        dns: Addresses of name servers, separated by blanks.
        mtu: The MTU in bytes of the network and its guests; OpenNebula's own when None.
        rules: What traffic reaches the tenant's machines. None at all: everything does. Where no rule speaks of
            outbound traffic, all of it is allowed.
        instances: How many machines the router has. Two or more share the gateway's address (keepalived).
        keepalived_id: The number of a router of two or more machines among those in the external network, 1 to 255;
            one that is free there when None. It has to be the router's own.
        sched_requirements: Where the router may run, as an expression of OpenNebula's scheduler; in the tenant's
            clusters when None.
        timeout_s: How many seconds the network and the router may take until they are ready, each.

    Raises:
        SettingsError: A value cannot be; all problems at once.
    """

    external_network: int
    router_template: int
    pool: SubnetPool = attrs.field(factory=lambda: SubnetPool("10.0.0.0/8", prefix=24))
    subnet: str | None = None
    vn_mad: str = "vxlan"
    phydev: str | None = "eth0"
    bridge: str | None = None
    vlan_id: int | None = None
    dns: str | None = "8.8.8.8"
    mtu: int | None = None
    rules: tuple[SecurityRule, ...] = attrs.field(default=(), converter=_rules)
    instances: int = 1
    keepalived_id: int | None = None
    sched_requirements: str | None = None
    timeout_s: float = 300.0

    def __attrs_post_init__(self) -> None:
        if problems := tuple(self._problems()):
            raise SettingsError(*problems)

    def _problems(self) -> Iterator[str]:
        for name in ("external_network", "router_template"):
            yield from id_problems(name, (getattr(self, name),))
        prefix = self.pool.prefix
        if self.subnet is not None:
            try:
                prefix = parse_subnet(self.subnet).prefixlen
            except SettingsError as error:
                yield from (f"subnet: {problem}" for problem in error.problems)
        yield from self._driver_problems()
        yield from self._dns_problems()
        if self.mtu is not None:
            yield from _range_problem("mtu", self.mtu, _MTU, f"a number of bytes from {_MTU[0]} to {_MTU[-1]}")
        count = range(1, _MAX_INSTANCES + 1)
        counts = tuple(_range_problem("instances", self.instances, count, f"a number from 1 to {_MAX_INSTANCES}"))
        yield from counts or self._room_problems(2 ** (_BITS - prefix) - 2)
        if self.keepalived_id is not None:
            yield from _range_problem("keepalived_id", self.keepalived_id, _KEEPALIVED_IDS, "a number from 1 to 255")
        if self.sched_requirements is not None and (problem := expression_problem(self.sched_requirements)):
            yield f"sched_requirements: the expression {problem}"
        if not self.timeout_s > 0:
            yield f"timeout_s: {self.timeout_s!r} is no time to wait"
        if not all(isinstance(rule, SecurityRule) for rule in self.rules):
            yield "rules: expected values of SecurityRule"

    def _room_problems(self, usable: int) -> Iterator[str]:
        """Machines that share the gateway's address have one of their own each besides."""
        needed = self.instances + 2 if self.is_shared else 2
        if usable < needed:
            yield (
                f"instances: {self.instances} machines of the router, the gateway that they share and one VM need "
                f"{needed} addresses, and the subnet has {usable}"
            )

    def _driver_problems(self) -> Iterator[str]:
        if self.vn_mad not in DRIVERS:
            yield f"vn_mad: {self.vn_mad!r} is not one of {', '.join(DRIVERS)}"
            return
        if self.vn_mad in _WITH_DEVICE and not self.phydev:
            yield f"phydev: the driver {self.vn_mad} needs the name of a device"
        for name in ("phydev", "bridge"):
            if (value := getattr(self, name)) is not None and (problem := text_problem(value)):
                yield f"{name}: the value {problem}"
        if self.vlan_id is not None:
            if self.vn_mad not in _WITH_DEVICE:
                yield f"vlan_id: the driver {self.vn_mad} has none"
            else:
                ids = _VXLAN_IDS if self.vn_mad == "vxlan" else _VLAN_IDS
                yield from _range_problem("vlan_id", self.vlan_id, ids, f"a number from {ids[0]} to {ids[-1]}")

    def _dns_problems(self) -> Iterator[str]:
        for server in (self.dns or "").split():
            try:
                IPv4Address(server)
            except ValueError:
                yield f"dns: {server!r} is not an IPv4 address"

    @property
    def wanted_subnet(self) -> IPv4Network | None:
        """The subnet that is asked for; None where any of the pool will do."""
        return None if self.subnet is None else parse_subnet(self.subnet)

    @property
    def all_rules(self) -> tuple[SecurityRule, ...]:
        """The rules, and that outbound traffic is allowed where none of them speaks of it.

        OpenNebula drops what no rule of a security group allows, in both directions.
        """
        if not self.rules or any(rule.direction == "outbound" for rule in self.rules):
            return self.rules
        return (*self.rules, SecurityRule("outbound", "all"))

    def machine_names(self, tenant: str) -> tuple[str, ...]:
        """What the machines of the router of a tenant are called."""
        name = f"{tenant}_router_vm"
        return tuple(f"{name}_{number}" for number in range(self.instances)) if self.is_shared else (name,)

    @property
    def is_shared(self) -> bool:
        """Whether the gateway's address belongs to several machines in turn."""
        return self.instances > 1


def _range_problem(name: str, value: object, good: range, what: str) -> Iterator[str]:
    if isinstance(value, bool) or not isinstance(value, int) or value not in good:
        yield f"{name}: {value!r} is not {what}"
