"""`FloatingIp`: an address of the external network that a tenant's router passes on to one machine.

It is an alias of the machine's interface, marked as external: the router (the SDNAT4 function of the appliance) finds
it through OneGate and maps it to the machine's own address. OpenNebula counts it against the tenant's limit of leases.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy import ownership, tenant_mark
from opennebula_tenancy._wire.template import render
from opennebula_tenancy._wire.vm_records import VmRecord
from opennebula_tenancy.converging import Converging
from opennebula_tenancy.errors import PoolExhausted, SettingsError, VerificationFailed, WaitTimeout, WrongState
from opennebula_tenancy.networking_search import find_networking
from opennebula_tenancy.tenant_search import read_group
from opennebula_tenancy.vm_search import read_own
from opennebula_tenancy.vm_waiting import wait_until_settled
from opennebula_tenancy.waiting import wait_for


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from opennebula_tenancy._wire.records import GroupRecord
    from opennebula_tenancy._wire.template import Vector
    from opennebula_tenancy._wire.vm_records import NicRecord


_NO_LEASE = "Cannot get IP/MAC lease"
_ROUNDS = 4
"""How often an interface is changed, the first time included, where somebody else is at the machine meanwhile."""
_NOT_DONE = (-2, -1, -1, -1)


@attrs.frozen(kw_only=True)
class FloatingIp:
    """A floating IP as it was when it was read.

    Attributes:
        address: The address in the external network.
        internal_address: The machine's own address, which it is mapped to.
        vm_id: The machine.
        nic_id: The number of the alias in the machine.
        network_id: The external network.
    """

    address: str
    internal_address: str
    vm_id: int
    nic_id: int
    network_id: int


class FloatingIps(Converging):
    """The floating IPs of tenants."""

    def of_vm(self, vm_id: int, key: str) -> tuple[FloatingIp, ...]:
        """The floating IPs of one machine."""
        vm = read_own(self._rpc, vm_id, key)
        return tuple(_of([vm], read_group(self._rpc, vm.gid)))

    def of_tenant(self, group: GroupRecord) -> tuple[FloatingIp, ...]:
        """The floating IPs of all machines of a tenant, also of those that it made itself."""
        short = VmRecord.pool(self._rpc.read("one.vmpool.info", *_NOT_DONE))
        if not (own := ",".join(str(vm.id) for vm in short if vm.gid == group.id)):
            return ()
        return tuple(_of(VmRecord.pool(self._rpc.read("one.vmpool.infoset", own, True)), group))

    def assign(self, vm_id: int, key: str, *, timeout_s: float) -> FloatingIp:
        """Give a machine a floating IP of its tenant's external network.

        Args:
            vm_id: The machine.
            key: The key that it carries.
            timeout_s: How many seconds it may take.

        Returns:
            The floating IP.

        Raises:
            SettingsError: The tenant has no router, or the machine is not in the tenant's network.
            QuotaExceeded: The tenant has as many floating IPs as it may have.
            PoolExhausted: The external network has no address left.
            WrongState: The machine neither runs nor is powered off.
            VerificationFailed: The driver could not attach it; the machine is as it was.
            WaitTimeout: It is not attached after that time.
        """
        vm = read_own(self._rpc, vm_id, key)
        network, parent = self._way(vm)
        label = uuid.uuid4().hex

        def look() -> int | None:
            return vm_id if _labelled(read_own(self._rpc, vm_id, key), label) else None

        alias: Vector = {"NETWORK_ID": network, "PARENT": parent.name, "EXTERNAL": "YES", ownership.KEY: label}

        def attach() -> None:
            try:
                self._rpc.mutate("one.vm.attachnic", vm_id, render({"NIC_ALIAS": alias}), look=look)
            except WrongState as error:
                if _NO_LEASE in error.message:
                    raise PoolExhausted(f"network {network} has no address left for VM {vm_id} ({vm.name})") from error
                raise

        self._once_at_rest(vm_id, attach, timeout_s)
        nic = self._attached(vm, key, label, timeout_s)
        return FloatingIp(
            address=nic.ip, internal_address=parent.ip, vm_id=vm_id, nic_id=nic.nic_id, network_id=network
        )

    def _attached(self, vm: VmRecord, key: str, label: str, timeout_s: float) -> NicRecord:
        def look() -> NicRecord | None:
            now = read_own(self._rpc, vm.id, key)
            if not now.status.stays:
                return None
            if (nic := _labelled(now, label)) is None:
                why = f" ({now.reason})" if now.reason else ""
                raise VerificationFailed(f"OpenNebula could not attach a floating IP to VM {vm.id} ({vm.name}){why}")
            return nic

        return wait_for(look, f"the floating IP of VM {vm.id} ({vm.name}) is not attached", timeout_s=timeout_s)

    def release(self, vm_id: int, key: str, address: str, *, timeout_s: float) -> None:
        """Take a floating IP from a machine. It being gone already is a success.

        OpenNebula detaches by number, and gives the numbers of what is gone anew: where another run releases the same
        address and assigns one in the moment between a look and this call, that one is detached.

        Args:
            vm_id: The machine.
            key: The key that it carries.
            address: The floating IP.
            timeout_s: How many seconds it may take.

        Raises:
            WrongState: The machine neither runs nor is powered off.
            VerificationFailed: The driver could not detach it: the machine still has it.
            WaitTimeout: It is not detached after that time.
        """
        group = read_group(self._rpc, read_own(self._rpc, vm_id, key).gid)

        def held() -> tuple[VmRecord, FloatingIp | None]:
            vm = read_own(self._rpc, vm_id, key)
            return vm, next((item for item in _of([vm], group) if item.address == address), None)

        def detach() -> None:
            _, item = held()
            if item is not None:
                self._converge("one.vm.detachnic", vm_id, item.nic_id, look=lambda: None if held()[1] else vm_id)

        if held()[1] is None:
            return
        self._once_at_rest(vm_id, detach, timeout_s)

        def look() -> bool | None:
            now, still = held()
            if not now.status.stays:
                return None
            if still is not None:
                why = f" ({now.reason})" if now.reason else ""
                raise VerificationFailed(f"OpenNebula could not detach {address} from VM {vm_id} ({now.name}){why}")
            return True

        wait_for(look, f"{address} is not detached from VM {vm_id}", timeout_s=timeout_s)

    def _once_at_rest(self, vm_id: int, change: Callable[[], None], timeout_s: float) -> None:
        """Change the interfaces of a machine, which refuses that while it is on its way from one state to another."""
        for rounds_left in reversed(range(_ROUNDS)):
            try:
                change()
            except WrongState as refusal:
                try:
                    now = wait_until_settled(self._rpc, vm_id, timeout_s=timeout_s)
                except WaitTimeout:
                    raise refusal from None
                if not rounds_left or not (now.status.is_running or now.status.is_off):
                    raise
            else:
                return

    def _way(self, vm: VmRecord) -> tuple[int, NicRecord]:
        """The external network, and the interface of a machine that the router reaches."""
        group = read_group(self._rpc, vm.gid)
        if not tenant_mark.is_tenant(group):
            raise SettingsError(f"group {group.id} ({group.name}) of VM {vm.id} is not a tenant of this library")
        held = find_networking(self._rpc, group.name, group.template[ownership.KEY], group, is_new=False).held
        if held.network is None or not held.routers:
            raise SettingsError(f"the tenant {group.name} has no router that could pass a floating IP on")
        own = held.network.id
        networks = tenant_mark.scope_of(group).networks
        outside = [nic.network_id for nic in held.routers[0].nics if nic.network_id in networks]
        parent = next((nic for nic in vm.nics if nic.network_id == own and not nic.is_alias), None)
        if parent is None:
            raise SettingsError(f"VM {vm.id} ({vm.name}) has no interface in network {own}, that of its tenant")
        if not outside or outside[0] is None:
            raise SettingsError(f"the router of the tenant {group.name} leads to none of its networks of floating IPs")
        return outside[0], parent


def _labelled(vm: VmRecord, label: str) -> NicRecord | None:
    return next((nic for nic in vm.nics if nic.label == label), None)


def _of(vms: Iterable[VmRecord], group: GroupRecord) -> Iterator[FloatingIp]:
    networks = tenant_mark.scope_of(group).networks
    for vm in vms:
        parents = {nic.nic_id: nic.ip for nic in vm.nics if not nic.is_alias}
        for nic in vm.nics:
            # Those that it was given here stay floating IPs, wherever the tenant's router leads by now.
            if nic.parent_id is not None and nic.network_id is not None and (nic.label or nic.network_id in networks):
                yield FloatingIp(
                    address=nic.ip,
                    internal_address=parents.get(nic.parent_id, ""),
                    vm_id=vm.id,
                    nic_id=nic.nic_id,
                    network_id=nic.network_id,
                )
