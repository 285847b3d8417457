"""`Networking`: what OpenNebula has of a tenant's network, router and rules, and how that differs from the spec."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy._wire.network_records import NetworkState
from opennebula_tenancy.difference import Difference, Kind
from opennebula_tenancy.errors import SettingsError
from opennebula_tenancy.plan import Change
from opennebula_tenancy.security_rule import SecurityRule, same_rules


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opennebula_tenancy._wire.network_records import NetworkRecord, RouterRecord, SecurityGroupRecord
    from opennebula_tenancy._wire.vm_records import NicRecord, VmRecord
    from opennebula_tenancy._wire.vm_template_records import VmTemplateRecord
    from opennebula_tenancy.network_spec import NetworkSpec
    from opennebula_tenancy.subnet import Subnet


NAME_SERVERS = "ONEAPP_VNF_DNS_NAMESERVERS"
"""What the machines of a router are told of name servers, in their CONTEXT."""
OPEN = (SecurityRule("inbound", "all"), SecurityRule("outbound", "all"))
"""The rules of a tenant that asks for none: everything passes."""


@attrs.frozen(kw_only=True)
class Networking:
    """What OpenNebula has of a tenant's network, and what it is to have.

    Attributes:
        name: The tenant's name.
        spec: What is asked for; None when the tenant is to have no network.
        clusters: The clusters that the network is to be in.
        subnet: The subnet of the network, the one that it would get where there is none yet.
        network: The network, if there is one.
        lost: A network with addresses that others had before it: the run that made it did not come to take it back.
        in_vdc: Whether the network is in the tenant's VDC.
        security_group: The security group, if there is one.
        routers: The routers: more than one where runs for the same tenant have met.
        machines: The machines of the routers, by id.
        template: The template of the router, where one is asked for.
        vrrp_id: The number that a new router is to have, where its machines share addresses.
        remarks: What differs from what is asked for, and stays as it is.
    """

    name: str
    spec: NetworkSpec | None = None
    clusters: tuple[int, ...] = ()
    subnet: Subnet | None = None
    network: NetworkRecord | None = None
    lost: NetworkRecord | None = None
    in_vdc: bool = False
    security_group: SecurityGroupRecord | None = None
    routers: tuple[RouterRecord, ...] = ()
    machines: Mapping[int, VmRecord] = attrs.field(factory=dict)
    template: VmTemplateRecord | None = None
    vrrp_id: int | None = None
    remarks: tuple[str, ...] = ()

    @property
    def router(self) -> RouterRecord | None:
        """The router that is as asked for: one that has machines before one that has none; None when none is."""
        fitting = [router for router in self.routers if self._fits(router)]
        return min(fitting, key=lambda router: (not self.standing(router), router.id), default=None)

    def failed(self, router: RouterRecord) -> tuple[VmRecord, ...]:
        """The machines of a router that failed."""
        return tuple(vm for vm in self.machines.values() if vm.id in router.vms and vm.status.has_failed)

    def standing(self, router: RouterRecord) -> tuple[int, ...]:
        """The ids of the machines of a router that have not failed, the oldest first."""
        return tuple(sorted(router.vms - {vm.id for vm in self.failed(router)}))

    def unguarded(self, machine: VmRecord) -> tuple[NicRecord, ...]:
        """The interfaces of a machine in the network that do not have the security group.

        That of the moment when the machine was made may have been taken away by another run.
        """
        network, group = self.network, self.security_group
        inside = (nic for nic in machine.nics if network is not None and nic.network_id == network.id)
        return tuple(nic for nic in inside if group is None or group.id not in nic.security_groups)

    @property
    def rules(self) -> tuple[SecurityRule, ...]:
        """The rules that are asked for."""
        return (self.spec.all_rules if self.spec else ()) or OPEN

    def settings(self, security_group: int) -> dict[str, str]:
        """The attributes of the network that can be changed while it is in use; empty ones are to be absent.

        OpenNebula puts its own security group 0, which lets everything pass, into every new network: it has to be
        written over.

        Args:
            security_group: The id of the tenant's security group.
        """
        settings = {"SECURITY_GROUPS": str(security_group)}
        if self.spec is not None and self.subnet is not None:
            mtu = "" if self.spec.mtu is None else str(self.spec.mtu)
            settings["GATEWAY"] = str(self.subnet.gateway)
            settings |= {"DNS": self.spec.dns or "", "MTU": mtu, "GUEST_MTU": mtu}
        return settings

    def differences(self) -> Iterator[Difference]:
        """What is to be mended; `Kind` says in which order."""
        if self.spec is None:
            yield from self._leftovers()
            return
        yield from self._rule_differences()
        yield from self._network_differences()
        yield from self._router_differences(self.spec)

    def _leftovers(self) -> Iterator[Difference]:
        for router in self.routers:
            yield Difference(Kind.ROUTER_GONE, Change("delete", _named("router", router)), router.id)
        if self.network is not None:
            yield Difference(Kind.NETWORK_GONE, Change("delete", _named("network", self.network)), self.network.id)
        if (group := self.security_group) is not None:
            yield Difference(Kind.SECURITY_GROUP_GONE, Change("delete", _named("security group", group)), group.id)

    def _rule_differences(self) -> Iterator[Difference]:
        shown = ", ".join(map(str, self.rules))
        group = self.security_group
        if group is None:
            yield Difference(Kind.SECURITY_GROUP, Change("create", f"security group {self.name}_default", "", shown))
        elif not same_rules(self.rules, group.rules):
            held = ", ".join(_shown(rule) for rule in group.rules)
            what = f"rules of {_named('security group', group)}"
            yield Difference(Kind.SECURITY_RULES, Change("set", what, held, shown), group.id)
        elif late := sorted(group.outdated | group.error):
            machines = ", ".join(f"VM {vm}" for vm in late)
            what = f"rules of {_named('security group', group)} on {machines}"
            yield Difference(Kind.SECURITY_RULES, Change("apply", what), group.id)

    def _network_differences(self) -> Iterator[Difference]:
        network = self.network
        if (lost := self.lost) is not None:
            yield Difference(Kind.NETWORK_GONE, Change("delete", _named("network", lost)), lost.id)
        if network is None:
            what = f"network {self.name}_internal"
            yield Difference(Kind.NETWORK, Change("create", what, "", str(self.subnet or "")))
            yield Difference(Kind.NETWORK_SETTINGS, Change("set", f"security group of {what}"))
            yield Difference(Kind.NETWORK_IN_VDC, Change("add", f"{what} to VDC {self.name}"))
            for cluster in self.clusters[1:]:
                yield Difference(Kind.NETWORK_CLUSTER, Change("add", f"{what} to cluster {cluster}"), cluster)
            return
        what = _named("network", network)
        if network.state is not NetworkState.READY:
            yield Difference(Kind.NETWORK, Change("wait", f"for {what}", network.state_name))
        group = self.security_group
        settings = self.settings(group.id if group else -1)
        held = {name: network.template.get(name, "") for name in settings}
        for name, value in settings.items():
            if group is not None and held[name] != value:
                action = "set" if value else "remove"
                yield Difference(Kind.NETWORK_SETTINGS, Change(action, f"{name} of {what}", held[name], value))
        if group is None:
            yield Difference(Kind.NETWORK_SETTINGS, Change("set", f"security group of {what}"))
        if not self.in_vdc:
            yield Difference(Kind.NETWORK_IN_VDC, Change("add", f"{what} to VDC {self.name}"))
        for cluster in sorted(set(self.clusters) - network.clusters):
            yield Difference(Kind.NETWORK_CLUSTER, Change("add", f"{what} to cluster {cluster}"), cluster)
        for cluster in sorted(network.clusters - set(self.clusters)):
            yield Difference(Kind.NETWORK_CLUSTER, Change("remove", f"{what} from cluster {cluster}"), cluster)

    def _router_differences(self, spec: NetworkSpec) -> Iterator[Difference]:
        router = self.router
        gone = Kind.ROUTER_GONE if router is not None or self.network is None else Kind.ROUTER_REPLACED
        for other in self.routers:
            if other is not router:
                yield Difference(gone, Change("delete", _named("router", other)), other.id)
        if router is None:
            what = f"router {self.name}_router"
            yield Difference(Kind.ROUTER, Change("create", what, "", f"to network {spec.external_network}"))
            yield Difference(Kind.ROUTER_VMS, Change("start", f"{spec.instances} VM of {what}"))
            return
        yield from (Difference(Kind.ROUTER_VMS, change) for change in self._machine_changes(router, spec))

    def _machine_changes(self, router: RouterRecord, spec: NetworkSpec) -> Iterator[Change]:
        what, standing = _named("router", router), self.standing(router)
        for vm_id in standing[: spec.instances]:
            machine = self.machines.get(vm_id)
            if machine is None or not machine.status.is_running:
                yield Change("start", f"VM {vm_id} of {what}", str(machine.status) if machine else "")
            elif spec.dns and (servers := machine.context.get(NAME_SERVERS, "")) != spec.dns:
                yield Change("set", f"name servers of VM {vm_id} of {what}", servers, spec.dns)
            elif self.unguarded(machine):
                yield Change("add", f"security group {self.name}_default to VM {vm_id} of {what}")
        short = spec.instances - len(standing)
        for number, machine in enumerate(self.failed(router)):
            yield Change("replace" if number < short else "delete", f"VM {machine.id} of {what}", str(machine.status))
        if (missing := short - len(self.failed(router))) > 0:
            yield Change("start", f"{missing} VM of {what}")
        for vm_id in standing[spec.instances :]:
            yield Change("delete", f"VM {vm_id} of {what}")

    def _fits(self, router: RouterRecord) -> bool:
        """Whether a router leads from the tenant's gateway to the external network."""
        if self.spec is None or self.network is None or self.subnet is None:
            return False
        nics = {nic.network_id: nic for nic in router.nics}
        internal, external = nics.get(self.network.id), nics.get(self.spec.external_network)
        return (
            internal is not None
            and external is not None
            and internal.floating_ip is self.spec.is_shared
            and (internal.vrouter_ip or internal.ip) == self.subnet.gateway
        )

    def notes(self) -> Iterator[str]:
        """What the operator should know, although nothing would change it."""
        spec, network = self.spec, self.network
        if spec is None:
            return
        if spec.vn_mad == "bridge" and spec.bridge:
            yield f"all networks on the bridge {spec.bridge} reach each other: tenants are not isolated on it"
        if spec.vlan_id is not None and spec.vn_mad != "bridge":
            yield (
                f"all networks with the VLAN id {spec.vlan_id} over {spec.phydev} reach each other: tenants that share "
                "it are not isolated; without vlan_id each gets its own"
            )
        if network is not None:
            driver = (network.vn_mad, network.phydev or None)
            wanted = (spec.vn_mad, spec.phydev if spec.vn_mad != "bridge" else None)
            if driver != wanted:
                yield (
                    f"network {network.id} was made with the driver {network.vn_mad} over {network.phydev or 'none'}, "
                    f"and stays so{_ANEW}"
                )
            yield from _kept(network, spec)
        yield from self.remarks


_ANEW = ": only a new network changes that (ensure without a network, and then with one)"
_OWN_BRIDGE = "onebr"
"""How OpenNebula begins the name of a bridge that it chooses (`VirtualNetwork::insert`)."""


def _kept(network: NetworkRecord, spec: NetworkSpec) -> Iterator[str]:
    """What a network was made with other than is asked for, and keeps."""
    chosen = spec.bridge or ("" if network.bridge.startswith(_OWN_BRIDGE) else "one of its own")
    if chosen and network.bridge != chosen:
        yield f"network {network.id} has the bridge {network.bridge}, not {chosen}, and keeps it{_ANEW}"
    # OpenNebula shows a VLAN in the template where somebody chose it.
    vlan = str(spec.vlan_id) if spec.vlan_id is not None else ("a free one" if network.template.get("VLAN_ID") else "")
    if vlan and network.vlan_id != vlan:
        yield f"network {network.id} has the VLAN {network.vlan_id}, not {vlan}, and keeps it{_ANEW}"


def _named(noun: str, item: NetworkRecord | RouterRecord | SecurityGroupRecord) -> str:
    return f"{noun} {item.id} ({item.name})"


def _shown(rule: Mapping[str, str]) -> str:
    """A rule as a person reads it, also one that this library would not write."""
    try:
        return str(SecurityRule.of_vector(rule))
    except SettingsError:
        return " ".join(f"{name}={value}" for name, value in rule.items())
