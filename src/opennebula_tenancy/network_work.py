"""`NetworkWork`: makes a tenant's network, router and rules what was asked for."""

from __future__ import annotations

import contextlib
import random
import time
from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy import ownership
from opennebula_tenancy._wire.network_records import SecurityGroupRecord
from opennebula_tenancy.difference import Kind
from opennebula_tenancy.errors import Conflict, PoolExhausted, SettingsError
from opennebula_tenancy.network_calls import (
    SECURITY_GROUP_ROLE,
    NetworkCalls,
    network_of,
    read_networks,
    read_security_group,
    read_security_groups,
    security_group_of,
)
from opennebula_tenancy.networking_removal import NetworkRemoval
from opennebula_tenancy.networking_search import rivals, taken
from opennebula_tenancy.router_work import RouterWork
from opennebula_tenancy.security_rule import same_rules
from opennebula_tenancy.subnet import Subnet
from opennebula_tenancy.subnets import AddressSpan
from opennebula_tenancy.tenant_mark import NetworkingIds, networking_of
from opennebula_tenancy.tenant_search import find_tenant, is_finished


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opennebula_tenancy._transport.rpc import Rpc
    from opennebula_tenancy._wire.network_records import NetworkRecord
    from opennebula_tenancy._wire.template import Value
    from opennebula_tenancy.compensation import Compensations
    from opennebula_tenancy.network_spec import NetworkSpec
    from opennebula_tenancy.networking import Networking
    from opennebula_tenancy.retreat import Retreat
    from opennebula_tenancy.vdc_spec import VdcSpec


_CLAIMS = 50
"""How often a subnet is chosen anew when others were faster."""
_PAUSE_S = 0.05
"""The longest pause after a lost claim, in seconds, times the number of claims that were lost."""


class NetworkWork:
    """The work on the network of one tenant.

    Args:
        rpc: Calls OpenNebula.
        tenant: The tenant asked for.
        held: What there is, and is to be.
        undo: Where it is said how what is made is unmade.
        retreat: Where it is said that it is being unmade.
        vdc: Gives the id of the tenant's VDC, once it is there.

    Attributes:
        held: What there is by now.
    """

    def __init__(
        self,
        rpc: Rpc,
        tenant: VdcSpec,
        held: Networking,
        *,
        undo: Compensations,
        retreat: Retreat,
        vdc: Callable[[], int],
    ) -> None:
        self._rpc = rpc
        self._calls = NetworkCalls(rpc)
        self._tenant = tenant
        self._undo = undo
        self._retreat = retreat
        self._vdc = vdc
        self._removal = NetworkRemoval(rpc, *([tenant.network.timeout_s] if tenant.network else []))
        self._made_group: int | None = None
        self._made_network: int | None = None
        self._router = RouterWork(rpc, tenant, self._removal, undo, lambda: self._kept().router)
        self.held = held

    def mending(self) -> Mapping[Kind, Callable[[int], object]]:
        """How each kind of difference is mended."""
        return {
            Kind.ROUTER_GONE: self._change_router(self._router.remove),
            Kind.ROUTER_REPLACED: self._change_router(self._router.replace),
            Kind.NETWORK_GONE: self._removal.network,
            Kind.SECURITY_GROUP_GONE: self._removal.security_group,
            Kind.SECURITY_GROUP: lambda _: self._create_group(),
            Kind.SECURITY_RULES: self._set_rules,
            Kind.NETWORK: lambda _: self._create_network(),
            Kind.NETWORK_SETTINGS: lambda _: self._set_network(),
            Kind.NETWORK_CLUSTER: self._set_cluster,
            Kind.NETWORK_IN_VDC: lambda _: self._add_to_vdc(),
            Kind.ROUTER: lambda _: self._create_router(),
            Kind.ROUTER_VMS: lambda _: self._run_router(),
        }

    @property
    def _spec(self) -> NetworkSpec:
        if (spec := self._tenant.network) is None:
            raise AssertionError("nothing is made for a tenant without a network")
        return spec

    # Rules

    def _create_group(self) -> None:
        name, key = f"{self._tenant.name}_default", self._tenant.key
        with self._undo.making(lambda: _left("security group", name, self._made_group), self._undo_group) as making:
            group_id, making.ours = self._calls.create_security_group(key, name, self.held.rules)
            self._made_group = group_id
        if making.ours:
            # As the server has just accepted it: what it would not keep it refuses.
            none: frozenset[int] = frozenset()
            group = SecurityGroupRecord(
                id=group_id,
                name=name,
                uid=0,
                gid=0,
                template=ownership.mark(key, SECURITY_GROUP_ROLE),
                rules=tuple(rule.vector() for rule in self.held.rules),
                updated=none,
                outdated=none,
                updating=none,
                error=none,
            )
        else:
            group = read_security_group(self._rpc, group_id)
        self.held = attrs.evolve(self.held, security_group=group)

    def _undo_group(self) -> bool:
        group = security_group_of(read_security_groups(self._rpc), self._tenant.key)
        if group is None or self._made_group not in {None, group.id}:
            return True
        if self._kept().security_group == group.id:
            return False
        self._removal.security_group(group.id)
        return True

    def _kept(self) -> NetworkingIds:
        """What the mark of the tenant's group names: another run for the tenant has finished, and goes by that."""
        self._retreat.begin()
        group = find_tenant(self._rpc, self._tenant.key).group
        if group is None or not is_finished(group, self._tenant.key):
            return NetworkingIds()
        return networking_of(group) or NetworkingIds()

    def _set_rules(self, group_id: int) -> None:
        held = self.held.security_group
        if held is not None and same_rules(self.held.rules, held.rules):
            self._calls.commit_rules(group_id, timeout_s=self._spec.timeout_s)
        else:
            self._calls.set_rules(group_id, self.held.rules, timeout_s=self._spec.timeout_s)

    # The network

    def _create_network(self) -> None:
        if self.held.network is None:
            self._claim()
        else:
            self._await_network()

    def _claim(self) -> None:
        """Make the network with a subnet that no network which was there before it overlaps with.

        Whoever overlaps with a network of a lower id takes his own away and chooses again. All of them see the same
        ids, so that one of them stays; and those who have to go choose one behind the other, in the same order.
        """
        subnet = self.held.subnet or self._choose(read_networks(self._rpc), 1)
        for attempt in range(1, _CLAIMS + 1):
            network_id, ours = self._make_network(subnet)
            networks = read_networks(self._rpc)
            if not ours:  # another run for this tenant has made it, and verifies it
                self._adopt(network_id)
                return
            if (oldest := network_of(networks, self._tenant.key)) is not None and oldest.id != network_id:
                # Made by another account for this tenant: OpenNebula keeps names unique for each owner alone.
                self._removal.network(network_id)
                self._adopt(oldest.id)
                return
            before = rivals(networks, network_id, subnet)
            if not before:
                self.held = attrs.evolve(self.held, subnet=subnet, network=_one(networks, network_id))
                return
            self._removal.network(network_id)
            if self._spec.subnet is not None:
                raise SettingsError(
                    f"network.subnet: {subnet} was just taken by network {before[0].id} ({before[0].name})"
                )
            subnet = self._choose((network for network in networks if network.id != network_id), len(before))
            time.sleep(random.uniform(0, _PAUSE_S * attempt))  # noqa: S311 - it only spreads the load
        raise Conflict(f"{self._tenant.name}: {_CLAIMS} subnets were taken by others at the moment of being chosen")

    def _choose(self, networks: Iterable[NetworkRecord], turn: int) -> Subnet:
        """The free subnet that would be chosen at some turn, or the last one that there is."""
        spans = list(taken(networks, self._spec.external_network))
        chosen = self._spec.pool.choose(spans)
        with contextlib.suppress(PoolExhausted):
            for _ in range(turn - 1):
                spans.append(AddressSpan.of_network(chosen))
                chosen = self._spec.pool.choose(spans)
        return Subnet(chosen)

    def _make_network(self, subnet: Subnet) -> tuple[int, bool]:
        name, key = self._tenant.network_name, self._tenant.key
        group = self.held.security_group
        settings = {} if group is None else attrs.evolve(self.held, subnet=subnet).settings(group.id)
        template = {**self._driver(), **subnet.template, **{name: text for name, text in settings.items() if text}}
        self._made_network = None
        with self._undo.making(lambda: _left("network", name, self._made_network), self._undo_network) as making:
            network_id, making.ours = self._calls.create_network(key, name, template, self.held.clusters[0])
            self._made_network = network_id
        return network_id, making.ours

    def _driver(self) -> dict[str, Value]:
        spec = self._spec
        vlan: dict[str, Value] = {}
        if spec.vn_mad != "bridge":
            vlan = {"VLAN_ID": spec.vlan_id} if spec.vlan_id is not None else {"AUTOMATIC_VLAN_ID": "YES"}
        return {
            "VN_MAD": spec.vn_mad,
            **({"PHYDEV": spec.phydev} if spec.phydev and spec.vn_mad != "bridge" else {}),
            **({"BRIDGE": spec.bridge} if spec.bridge else {}),
            **vlan,
        }

    def _adopt(self, network_id: int) -> None:
        network = self._calls.await_network(network_id, timeout_s=self._spec.timeout_s)
        self.held = attrs.evolve(self.held, network=network, subnet=Subnet.of(network.template))

    def _undo_network(self) -> bool:
        network = network_of(read_networks(self._rpc), self._tenant.key)
        if network is None or self._made_network not in {None, network.id}:
            return True
        return self._removal.network(network.id, unless=lambda: self._kept().network == network.id)

    def _await_network(self) -> NetworkRecord:
        network = self._calls.await_network(self._network_id, timeout_s=self._spec.timeout_s)
        self.held = attrs.evolve(self.held, network=network)
        return network

    @property
    def _network_id(self) -> int:
        if self.held.network is None:
            raise AssertionError("the network is made before what is about it")
        return self.held.network.id

    def _set_network(self) -> None:
        if (group := self.held.security_group) is not None and (network := self.held.network) is not None:
            wanted = self.held.settings(group.id)
            settings = {name: text for name, text in wanted.items() if text or name in network.template}
            self._calls.set_network(network.id, settings)

    def _set_cluster(self, cluster: int) -> None:
        self._calls.set_cluster(self._network_id, cluster, present=cluster in self.held.clusters)

    def _add_to_vdc(self) -> None:
        self._calls.set_in_vdc(self._vdc(), self._tenant.zone, self._network_id)
        self.held = attrs.evolve(self.held, in_vdc=True)

    # The router

    def _change_router(self, change: Callable[[Networking, int], Networking]) -> Callable[[int], None]:
        def mend(router_id: int) -> None:
            self.held = change(self.held, router_id)

        return mend

    def _create_router(self) -> None:
        network = self._await_network()
        self.held = self._router.create(self.held, network)

    def _run_router(self) -> None:
        self.held = self._router.run(self.held)


def _left(noun: str, name: str, ident: int | None) -> str:
    return f"{noun} {name}" if ident is None else f"{noun} {ident} ({name})"


def _one(networks: tuple[NetworkRecord, ...], ident: int) -> NetworkRecord:
    return next(network for network in networks if network.id == ident)
