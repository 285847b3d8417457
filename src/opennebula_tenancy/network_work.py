"""`NetworkWork`: makes a tenant's network, router and rules what was asked for."""

from __future__ import annotations

import contextlib
import random
import time
from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy import ownership
from opennebula_tenancy._wire.network_records import RouterNicRecord, RouterRecord, SecurityGroupRecord
from opennebula_tenancy.difference import Kind
from opennebula_tenancy.errors import AllocationFailed, ApiError, Conflict, NotFound, PoolExhausted, SettingsError
from opennebula_tenancy.network_calls import (
    SECURITY_GROUP_ROLE,
    NetworkCalls,
    network_of,
    read_networks,
    read_router,
    read_routers,
    read_security_group,
    read_security_groups,
    routers_of,
    security_group_of,
)
from opennebula_tenancy.networking_removal import NetworkRemoval
from opennebula_tenancy.networking_search import read_machines, rivals, taken
from opennebula_tenancy.router_template import router_extra, router_nics
from opennebula_tenancy.security_rule import same_rules
from opennebula_tenancy.subnet import Subnet
from opennebula_tenancy.subnets import AddressSpan
from opennebula_tenancy.tenant_mark import NetworkingIds, networking_of
from opennebula_tenancy.tenant_search import find_tenant, is_finished
from opennebula_tenancy.vm_calls import VmCalls
from opennebula_tenancy.vm_waiting import wait_until_running


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
        self._made_router: int | None = None
        self.held = held

    def mending(self) -> Mapping[Kind, Callable[[int], object]]:
        """How each kind of difference is mended."""
        return {
            Kind.ROUTER_GONE: self._remove_router,
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
        template = {**self._driver(), **subnet.template, **settings}
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
        if (group := self.held.security_group) is not None:
            self._calls.set_network(self._network_id, self.held.settings(group.id))

    def _set_cluster(self, cluster: int) -> None:
        self._calls.set_cluster(self._network_id, cluster, present=cluster in self.held.clusters)

    def _add_to_vdc(self) -> None:
        self._calls.set_in_vdc(self._vdc(), self._tenant.zone, self._network_id)
        self.held = attrs.evolve(self.held, in_vdc=True)

    # The router

    def _remove_router(self, router_id: int) -> None:
        self._removal.router(router_id)
        routers = tuple(router for router in self.held.routers if router.id != router_id)
        self.held = attrs.evolve(self.held, routers=routers)

    def _create_router(self) -> None:
        network = self._await_network()
        self._removal.strays(network)
        subnet = self.held.subnet or Subnet.of(network.template)
        spec, name = self._spec, f"{self._tenant.name}_router"
        nics = router_nics(spec, network.id, subnet)
        template: dict[str, Value] = {"NIC": nics}
        if spec.keepalived_id is not None:
            template["KEEPALIVED_ID"] = spec.keepalived_id
        with self._undo.making(lambda: self._router_left(name), self._undo_router) as making:
            try:
                router_id = self._calls.create_router(self._tenant.key, name, template)
            except ApiError:
                # Where the gateway's address floats, the router of another run for this tenant may have it already.
                if (other := self._other_router(None)) is None:
                    raise
                router_id, making.ours = other.id, False
            self._made_router = router_id
        # One that was just made has no machines yet; instantiating them reads it.
        router = _new_router(router_id, name, nics) if making.ours else read_router(self._rpc, router_id)
        self.held = attrs.evolve(self.held, routers=(router,))

    def _router_left(self, name: str) -> str:
        if leaving := self._removal.leaving.values():
            return ", ".join(f"VM {vm.id} ({vm.name})" for vm in leaving)
        return _left("router", name, self._made_router)

    def _undo_router(self) -> bool:
        kept = self._kept().router
        routers = routers_of(read_routers(self._rpc), self._tenant.key)
        made = [router.id for router in routers if self._made_router in {None, router.id}]
        for router_id in made:
            if router_id != kept:
                self._removal.router(router_id)
        return kept not in made

    def _other_router(self, own: int | None) -> RouterRecord | None:
        """The router that another run for this tenant has made, if there is one."""
        found = routers_of(read_routers(self._rpc), self._tenant.key)
        return next((router for router in found if router.id != own), None)

    def _run_router(self) -> None:
        router = self.held.router
        if router is None:
            raise Conflict(f"the router of {self._tenant.name} has been changed meanwhile: run again")
        wanted = self._spec.instances
        for vm_id in sorted(router.vms)[:wanted]:
            held = self.held.machines.get(vm_id)
            if held is not None and held.status.stays and not held.status.is_running:
                VmCalls(self._rpc).power_on(vm_id)
        if len(router.vms) < wanted:
            router = self._instantiate(router, wanted - len(router.vms))
        # The router had more, or another run for this tenant has made some at the same time: the oldest stay.
        for surplus in read_machines(self._rpc, sorted(router.vms)[wanted:]).values():
            self._removal.machine(surplus)
        timeout_s = self._spec.timeout_s
        ids = sorted(router.vms)[:wanted]
        machines = {vm_id: wait_until_running(self._rpc, vm_id, timeout_s=timeout_s) for vm_id in ids}
        router = attrs.evolve(router, vms=frozenset(ids))
        self.held = attrs.evolve(self.held, routers=(router,), machines=machines)

    def _instantiate(self, router: RouterRecord, count: int) -> RouterRecord:
        if (template := self.held.template) is None:
            raise AssertionError("the template is read before anything is changed")
        name = f"{self._tenant.name}_router_vm" + ("_%i" if self._spec.is_shared else "")
        extra = router_extra(self._tenant, self._spec, template)
        try:
            return self._calls.instantiate(router, count, template.id, name, extra)
        except (AllocationFailed, NotFound):
            # Only one machine can have the gateway's address: is it that of another run for this tenant?
            other = self._other_router(router.id)
            if other is None or not other.vms:
                raise
            self._removal.router(router.id)
            self._made_router = -1
            return other


def _new_router(router_id: int, name: str, nics: list[dict[str, str]]) -> RouterRecord:
    """A router as the server has just made it."""
    return RouterRecord(
        id=router_id,
        name=name,
        uid=0,
        gid=0,
        template={},
        vms=frozenset(),
        nics=tuple(RouterNicRecord.of(nic, number) for number, nic in enumerate(nics)),
    )


def _left(noun: str, name: str, ident: int | None) -> str:
    return f"{noun} {name}" if ident is None else f"{noun} {ident} ({name})"


def _one(networks: tuple[NetworkRecord, ...], ident: int) -> NetworkRecord:
    return next(network for network in networks if network.id == ident)
