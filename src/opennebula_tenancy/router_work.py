"""`RouterWork`: makes a tenant's router what was asked for, and mends its machines one by one."""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy import vrrp
from opennebula_tenancy._wire.network_records import RouterNicRecord, RouterRecord
from opennebula_tenancy._wire.vm_template_records import VmTemplateRecord
from opennebula_tenancy.errors import (
    AllocationFailed,
    ApiError,
    Conflict,
    EnteredFailureState,
    NotFound,
    SettingsError,
    TenancyError,
    WaitTimeout,
    WentAway,
)
from opennebula_tenancy.network_calls import NetworkCalls, read_network, read_routers, read_security_groups, routers_of
from opennebula_tenancy.networking import NAME_SERVERS
from opennebula_tenancy.networking_search import read_machines
from opennebula_tenancy.router_template import name_servers, router_extra, router_nics
from opennebula_tenancy.subnet import Subnet
from opennebula_tenancy.vm_calls import VmCalls, is_ending
from opennebula_tenancy.vm_waiting import wait_until, wait_until_running


if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from opennebula_tenancy._transport.rpc import Rpc
    from opennebula_tenancy._wire.network_records import NetworkRecord
    from opennebula_tenancy._wire.template import Template, Value
    from opennebula_tenancy._wire.vm_records import VmRecord
    from opennebula_tenancy.compensation import Compensations
    from opennebula_tenancy.network_spec import NetworkSpec
    from opennebula_tenancy.networking import Networking
    from opennebula_tenancy.networking_removal import NetworkRemoval
    from opennebula_tenancy.vdc_spec import VdcSpec


log = logging.getLogger("opennebula_tenancy")

_PAUSE_S = 0.05
"""The longest pause after another VRRP id was taken, in seconds."""
_DOES_NOT_RUN = (EnteredFailureState, WaitTimeout, WentAway)


class RouterWork:
    """The work on the router of one tenant.

    Args:
        rpc: Calls OpenNebula.
        tenant: The tenant asked for.
        removal: Removes what is to go.
        undo: Where it is said how what is made is unmade.
        kept: Gives the id of the router that the mark of the tenant's group names, when another run has finished it.
    """

    def __init__(
        self,
        rpc: Rpc,
        tenant: VdcSpec,
        removal: NetworkRemoval,
        undo: Compensations,
        kept: Callable[[], int | None],
    ) -> None:
        self._rpc = rpc
        self._calls = NetworkCalls(rpc)
        self._tenant = tenant
        self._removal = removal
        self._undo = undo
        self._kept = kept
        self._made: int | None = None
        self._former: _Former | None = None
        self._has_taken_over = False

    @property
    def _spec(self) -> NetworkSpec:
        if (spec := self._tenant.network) is None:
            raise AssertionError("no router is made for a tenant without a network")
        return spec

    # Taking away

    def remove(self, held: Networking, router_id: int) -> Networking:
        """Remove a router with its machines."""
        self._removal.router(router_id)
        return attrs.evolve(held, routers=tuple(router for router in held.routers if router.id != router_id))

    def replace(self, held: Networking, router_id: int) -> Networking:
        """Remove a router that another one is to take the place of: it comes back where that one does not come."""
        router = next(router for router in held.routers if router.id == router_id)
        if any(held.machines[vm_id].status.is_running for vm_id in router.vms & held.machines.keys()):
            former = self._former = _Former(router, held)
            self._undo.before(lambda: str(former), lambda: self._put_back(former))
        after = self.remove(held, router_id)
        if self._former is not None:
            self._former.is_gone = True
        return after

    def _put_back(self, former: _Former) -> None:
        """Make a router like one that was removed, unless there is one."""
        if self._other_router(None) is not None or former.held.network is None:
            return
        spec = former.spec(self._spec)
        network = read_network(self._rpc, former.held.network.id)
        self._removal.strays(network)
        number = former.router.template.get(vrrp.KEEPALIVED_ID, "")
        made = self._allocate(spec, network, int(number) if number.isdecimal() else None)
        former.successor = made.id
        if spec.is_shared:
            self._settle_number(made.id, spec)
        template = self._template_of(former)
        extra = router_extra(self._tenant, spec, template)
        made = self._calls.instantiate(made, spec.instances, template.id, self._name(spec), extra)
        for vm_id in sorted(made.vms):
            wait_until_running(self._rpc, vm_id, timeout_s=spec.timeout_s)
        log.warning("router %i of %s is back as router %i", former.router.id, self._tenant.name, made.id)

    def _template_of(self, former: _Former) -> VmTemplateRecord:
        last = former.router.template.get("TEMPLATE_ID", "")
        if last.isdecimal():
            try:
                return VmTemplateRecord.parse(self._rpc.read("one.template.info", int(last), False, False))
            except NotFound:
                log.debug("VM template %s is gone", last)
        return _template(former.held)

    # Making

    def create(self, held: Networking, network: NetworkRecord) -> Networking:
        """Make the router, without machines.

        Args:
            held: What there is, and is to be.
            network: The tenant's network, which is ready.
        """
        self._removal.strays(network)
        with self._undo.making(self._left, self._undo_made) as making:
            # That of another run for this tenant is taken: a second one would stay where this run was killed now.
            if self._undo.shared and (other := self._other_router(None)) is not None:
                router, making.ours = other, False
            else:
                router, making.ours = self._make(network, held)
            self._made = router.id
        if making.ours and self._spec.is_shared:
            self._settle_number(router.id, self._spec)
        # One that was just made has no machines yet; instantiating them reads it.
        return attrs.evolve(held, routers=(router,))

    def _make(self, network: NetworkRecord, held: Networking) -> tuple[RouterRecord, bool]:
        try:
            return self._allocate(self._spec, network, held.vrrp_id or self._spec.keepalived_id), True
        except ApiError:
            # Where the gateway's address floats, the router of another run for this tenant may have it already.
            if (other := self._other_router(None)) is None:
                raise
            return other, False

    def _allocate(self, spec: NetworkSpec, network: NetworkRecord, number: int | None) -> RouterRecord:
        name = f"{self._tenant.name}_router"
        nics = router_nics(spec, network.id, Subnet.of(network.template))
        template: dict[str, Value] = {"NIC": nics}
        if number is not None:
            template[vrrp.KEEPALIVED_ID] = number
        made = self._calls.create_router(self._tenant.key, name, template)
        records = tuple(RouterNicRecord.of(nic, position) for position, nic in enumerate(nics))
        return RouterRecord(id=made, name=name, uid=0, gid=0, template={}, vms=frozenset(), nics=records)

    def _settle_number(self, router_id: int, spec: NetworkSpec) -> None:
        """See to it that no other router in the external network has the VRRP id of a new one.

        Two runs may have chosen the same one at once. Both see the same ids of routers: the younger one moves. One that
        has moved came to its number last, and moves again from any other: that may have looked already.
        """
        moved = False
        for _ in vrrp.NUMBERS:
            routers = read_routers(self._rpc)
            own = next((router for router in routers if router.id == router_id), None)
            taken = vrrp.taken(routers, spec.external_network, {router_id})
            other = None if own is None else taken.get(vrrp.number_of(own))
            if other is None or (other.id > router_id and not moved):
                return
            if spec.keepalived_id is not None or (number := vrrp.free(taken)) is None:
                raise SettingsError(
                    f"network.keepalived_id: {vrrp.number_of(other)} was just taken by router {other.id} in network "
                    f"{spec.external_network}, where each router needs one of its own"
                )
            self._calls.set_router_number(router_id, number)
            moved = True
            time.sleep(random.uniform(0, _PAUSE_S))  # noqa: S311 - it only keeps two from moving in step

    def _left(self) -> str:
        if leaving := self._removal.leaving.values():
            return ", ".join(f"VM {vm.id} ({vm.name})" for vm in leaving)
        name = f"{self._tenant.name}_router"
        return f"router {name}" if self._made is None else f"router {self._made} ({name})"

    def _undo_made(self) -> bool:
        if self._has_taken_over:
            return False
        kept = self._kept()
        routers = routers_of(read_routers(self._rpc), self._tenant.key)
        made = [router.id for router in routers if self._made in {None, router.id}]
        for router_id in made:
            if router_id != kept:
                self._removal.router(router_id)
        return kept not in made

    def _other_router(self, own: int | None) -> RouterRecord | None:
        """The router that another run for this tenant has made, if there is one."""
        found = routers_of(read_routers(self._rpc), self._tenant.key)
        return next((router for router in found if router.id != own), None)

    # Machines

    def run(self, held: Networking) -> Networking:
        """Have as many machines of the router running as are asked for, and those that run left alone."""
        router = held.router
        if router is None:
            raise Conflict(f"the router of {self._tenant.name} has been changed meanwhile: run again")
        wanted, timeout_s = self._spec.instances, self._spec.timeout_s
        broken = [*held.failed(router), *self._beyond_help(held, held.standing(router)[:wanted])]
        for vm in broken:  # it gives back the addresses that the machine in its place gets
            self._removal.machine(vm)
        router = attrs.evolve(router, vms=router.vms - {vm.id for vm in broken})
        before = router.vms
        if (short := wanted - len(before)) > 0:
            router = self._instantiate(held, router, short)
        # The router had more, or another run for this tenant has made some at the same time: the oldest stay.
        for surplus in read_machines(self._rpc, sorted(router.vms)[wanted:]).values():
            self._removal.machine(surplus)
        ids = sorted(router.vms)[:wanted]
        try:
            machines = {vm_id: wait_until_running(self._rpc, vm_id, timeout_s=timeout_s) for vm_id in ids}
        except _DOES_NOT_RUN as error:
            if not (before and self._spec.is_shared):
                raise
            raise type(error)(f"{error}; {self._without(router, set(ids) - before)}") from error
        machines = {vm_id: self._guarded(held, self._told(vm)) for vm_id, vm in machines.items()}
        router = attrs.evolve(router, vms=frozenset(ids))
        # From here on it is what the tenant has, whatever becomes of the rest: it had one before.
        self._has_taken_over = self._former is not None
        return attrs.evolve(held, routers=(router,), machines=machines)

    def _beyond_help(self, held: Networking, ids: Iterable[int]) -> list[VmRecord]:
        """Start those machines that do not run.

        Returns:
            Those that are on their way out, and those that their hosts have lost and that do not come back.
        """
        lost = []
        for vm in (held.machines[vm_id] for vm_id in ids if vm_id in held.machines):
            if is_ending(vm.status) or (vm.status.is_lost and not self._found_again(vm)):
                lost.append(vm)
            elif vm.status.stays and not vm.status.is_running:
                VmCalls(self._rpc).power_on(vm.id)
        return lost

    def _found_again(self, lost: VmRecord) -> bool:
        """Start a machine that its host has lost. Whether it runs then."""
        moved = False

        def is_decided(vm: VmRecord) -> bool:
            nonlocal moved
            if not vm.status.is_lost:
                moved = True
            return vm.status.is_running or (vm.status.is_lost and (moved or vm.reason != lost.reason))

        VmCalls(self._rpc).power_on(lost.id)
        try:
            vm = wait_until(self._rpc, lost.id, is_decided, "found again", timeout_s=self._spec.timeout_s)
        except _DOES_NOT_RUN as error:
            log.warning("it is replaced: %s", error)
            return False
        return vm.status.is_running

    def _without(self, router: RouterRecord, made: Collection[int]) -> str:
        """Remove new machines that do not run from a router that others run of, and say what it has then."""
        machines = read_machines(self._rpc, router.vms)
        gone, stuck = [], []
        for vm in machines.values():
            if vm.id in made and not vm.status.is_running:
                try:
                    self._removal.machine(vm)
                except TenancyError as error:
                    stuck.append(f"VM {vm.id} ({vm.name}) could not be removed again: {error}")
                else:
                    gone.append(f"VM {vm.id} was removed again")
        left = ", ".join(f"VM {vm.id} {vm.status}" for vm in machines.values() if vm.id not in made)
        return "; ".join([*gone, *stuck, f"router {router.id} ({router.name}) has {left}"])

    def _told(self, vm: VmRecord) -> VmRecord:
        """A running machine of the router, once it knows the name servers."""
        wanted = name_servers(self._spec)
        if not wanted or vm.context.get(NAME_SERVERS) == wanted[NAME_SERVERS]:
            return vm
        self._calls.set_context(vm.id, wanted)
        return wait_until_running(self._rpc, vm.id, timeout_s=self._spec.timeout_s)

    def _guarded(self, held: Networking, vm: VmRecord) -> VmRecord:
        """A running machine of the router, once the tenant's rules hold for it."""
        unguarded, group = held.unguarded(vm), held.security_group
        if group is None or not unguarded:
            return vm
        there = {other.id for other in read_security_groups(self._rpc)}
        for nic in unguarded:
            self._calls.set_security_group(vm.id, nic.nic_id, group.id, present=True)
            for gone in set(nic.security_groups) - there:
                self._calls.set_security_group(vm.id, nic.nic_id, gone, present=False)
        return wait_until_running(self._rpc, vm.id, timeout_s=self._spec.timeout_s)

    def _name(self, spec: NetworkSpec) -> str:
        """What machines are called that are made at once; OpenNebula numbers them."""
        names = spec.machine_names(self._tenant.name)
        return names[0] if len(names) == 1 else f"{names[0].removesuffix('0')}%i"

    def _instantiate(self, held: Networking, router: RouterRecord, count: int) -> RouterRecord:
        template = _template(held)
        extra = router_extra(self._tenant, self._spec, template)
        if not router.vms:
            return self._make_machines(router, count, template.id, self._name(self._spec), extra)
        taken = {held.machines[vm_id].name for vm_id in router.vms if vm_id in held.machines}
        names = [name for name in self._spec.machine_names(self._tenant.name) if name not in taken]
        for name in names[:count]:
            made = self._make_machines(router, 1, template.id, name, extra)
            if made.id != router.id:
                return made
            router = made
        return router

    def _make_machines(
        self, router: RouterRecord, count: int, template_id: int, name: str, extra: Template
    ) -> RouterRecord:
        try:
            return self._calls.instantiate(router, count, template_id, name, extra)
        except (AllocationFailed, NotFound):
            # Only one machine can have the gateway's address: is it that of another run for this tenant?
            found = routers_of(read_routers(self._rpc), self._tenant.key)
            if now := next((own for own in found if own.id == router.id and own.vms - router.vms), None):
                return now
            other = next((other for other in found if other.id != router.id and other.vms), None)
            if other is None:
                raise
            self._removal.router(router.id)
            self._made = -1
            return other


@attrs.define
class _Former:
    """A router that was removed, and what it was part of."""

    router: RouterRecord
    held: Networking
    successor: int | None = None
    is_gone: bool = False

    def spec(self, asked: NetworkSpec) -> NetworkSpec:
        """What would have to be asked for to get it."""
        own = self.held.network.id if self.held.network else None
        outside = [nic.network_id for nic in self.router.nics if nic.network_id not in {own, None}]
        shared = any(nic.floating_ip for nic in self.router.nics)
        return attrs.evolve(
            asked,
            external_network=next((ident for ident in outside if ident is not None), asked.external_network),
            instances=max(2, len(self.router.vms)) if shared else 1,
            keepalived_id=None,
        )

    def __str__(self) -> str:
        gone = f"router {self.router.id} ({self.router.name}) {'is' if self.is_gone else 'may be'} gone"
        return gone if self.successor is None else f"{gone}, and router {self.successor} in its place does not run"


def _template(held: Networking) -> VmTemplateRecord:
    if held.template is None:
        raise AssertionError("the template is read before anything is changed")
    return held.template
