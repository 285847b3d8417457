"""How changes of security groups and networks come to their VMs, one after the other (LifeCycleActions.cc)."""

from opennebula_tenancy.emulator import driving, nics
from opennebula_tenancy.emulator.networks import NetworkState, VirtualNetwork
from opennebula_tenancy.emulator.secgroups import SecurityGroup
from opennebula_tenancy.emulator.state import Cloud
from opennebula_tenancy.emulator.template import Vector
from opennebula_tenancy.emulator.vm_updates import VmUpdates
from opennebula_tenancy.emulator.vms import VirtualMachine
from opennebula_tenancy.emulator.vmstates import HistoryAction, LcmState, VmState


CANNOT_CHANGE = frozenset(
    {
        *(LcmState.BOOT, LcmState.BOOT_MIGRATE, LcmState.BOOT_SUSPENDED, LcmState.BOOT_STOPPED),
        *(LcmState.BOOT_UNDEPLOY, LcmState.BOOT_POWEROFF, LcmState.BOOT_UNKNOWN, LcmState.BOOT_FAILURE),
        *(LcmState.BOOT_MIGRATE_FAILURE, LcmState.BOOT_UNDEPLOY_FAILURE, LcmState.BOOT_STOPPED_FAILURE),
        *(LcmState.MIGRATE, LcmState.HOTPLUG_NIC, LcmState.HOTPLUG_NIC_POWEROFF, LcmState.UNKNOWN),
    }
)
"""VMs at these cannot be changed."""
_LIVE = frozenset(
    {
        *(LcmState.HOTPLUG, LcmState.HOTPLUG_SNAPSHOT, LcmState.HOTPLUG_SAVEAS, LcmState.HOTPLUG_RESIZE),
        *(LcmState.DISK_SNAPSHOT, LcmState.DISK_SNAPSHOT_DELETE, LcmState.DISK_RESIZE),
    }
)
"""The host of a VM at these can change its rules, but not its NICs."""


def commit_group(cloud: Cloud, group: SecurityGroup, *, recover: bool) -> None:
    """Bring the rules of a security group to its VMs, when recovering only to those that could not be changed."""
    group.vms.commit(recover=recover)
    driving.soon(cloud, lambda: _push_group(cloud, group))


def commit_network(cloud: Cloud, network: VirtualNetwork, vm_ids: set[int] | None = None) -> None:
    """Bring a change of a network to its VMs, or to some of them."""
    if vm_ids is None:
        network.vms.commit(recover=False)
    else:
        for held in (network.vms.updated, network.vms.updating, network.vms.error):
            held.difference_update(vm_ids)
        network.vms.outdated |= vm_ids
    if network.state is NetworkState.UPDATE_FAILURE:
        network.move_to(NetworkState.READY)
    driving.soon(cloud, lambda: _push_network(cloud, network))


def retry_network(cloud: Cloud, network: VirtualNetwork) -> None:
    """Bring a change of a network to the VMs that could not be changed."""
    network.vms.commit(recover=True)
    network.move_to(NetworkState.READY)
    driving.soon(cloud, lambda: _push_network(cloud, network))


def _next(cloud: Cloud, updates: VmUpdates) -> VirtualMachine | None:
    """Take the next VM that is outdated, None when there is none left."""
    while updates.outdated:
        vm_id = min(updates.outdated)
        updates.outdated.remove(vm_id)
        vm = cloud.pool(VirtualMachine).find(vm_id)
        if vm is not None:
            return vm
    return None


def _push_group(cloud: Cloud, group: SecurityGroup) -> None:
    while group.id in cloud.pool(SecurityGroup):
        vm = _next(cloud, group.vms)
        if vm is None:
            return
        active = vm.state is VmState.ACTIVE
        if active and vm.lcm in CANNOT_CHANGE:
            group.vms.error.add(vm.id)
            continue
        nics.remove_rules(vm, group.id)
        nics.add_rules(cloud, vm, group)
        if rules_are_live(vm):
            await_rules(cloud, group, vm)
            return
        group.vms.updated.add(vm.id)


def rules_are_live(vm: VirtualMachine) -> bool:
    """Whether the host of a VM has its rules, and a driver changes them there."""
    return vm.state is VmState.ACTIVE and vm.lcm in _LIVE | {LcmState.RUNNING}


def await_rules(cloud: Cloud, group: SecurityGroup, vm: VirtualMachine, *, listed: bool = True) -> None:
    """Let the driver change the rules of a VM, and then go on with other VMs that are outdated.

    Args:
        cloud: The state.
        group: The security group.
        vm: The VM, whose rules are changed already as far as the server is concerned.
        listed: Whether the group knows the VM as one of its own.
    """
    if listed:
        group.vms.updating.add(vm.id)
    outcome = cloud.driver_actions.take("update_sg", vm.id)
    if outcome.hangs:
        return

    def done() -> None:
        if vm.id in group.vms.updating:
            group.vms.updating.remove(vm.id)
            (group.vms.error if outcome.fails else group.vms.updated).add(vm.id)
        _push_group(cloud, group)

    cloud.later(cloud.config.step_s if outcome.takes_s is None else outcome.takes_s, done)


def _push_network(cloud: Cloud, network: VirtualNetwork) -> None:
    while network.id in cloud.pool(VirtualNetwork):
        vm = _next(cloud, network.vms)
        if vm is None:
            network.template.erase("VNET_UPDATE")
            return
        active = vm.state is VmState.ACTIVE
        if active and vm.lcm in CANNOT_CHANGE | _LIVE:
            network.vms.error.add(vm.id)
            continue
        changed = network.change_nics(vm.body.vectors("NIC"))
        if changed:
            known = vm.body.vector("VNET_UPDATE") or Vector()
            vm.body.set("VNET_UPDATE", Vector(known | changed))
        if vm.is_at(LcmState.RUNNING) and vm.body.vector("VNET_UPDATE") is not None:
            network.vms.updating.add(vm.id)
            driving.note_change(cloud, vm, HistoryAction.NIC_UPDATE, vm.uid, vm.gid)
            _await_nics(cloud, network, vm)
            return
        network.vms.updated.add(vm.id)


def _await_nics(cloud: Cloud, network: VirtualNetwork, vm: VirtualMachine) -> None:
    def ended(into: set[int]) -> None:
        if vm.id in network.vms.updating:
            network.vms.updating.remove(vm.id)
            into.add(vm.id)
        vm.move_to(VmState.ACTIVE, LcmState.RUNNING)

    def updated() -> None:
        ended(network.vms.updated)
        vm.body.erase("VNET_UPDATE")
        _push_network(cloud, network)

    def failed() -> None:
        ended(network.vms.error)
        network.move_to(NetworkState.UPDATE_FAILURE)
        _push_network(cloud, network)

    driving.drive(cloud, vm, "update_nic", LcmState.HOTPLUG_NIC, updated, failed)
