"""Where a VM can run, as SchedulerManagerDriver.cc and the rank scheduler behind it decide.

It needs a host and a system datastore that its owner may use, that its networks and images reach, and that have room.
"""

import time
from typing import TypeVar

import attrs

from opennebula_tenancy.emulator.addresses import id_set
from opennebula_tenancy.emulator.calls import ONEADMIN_ID
from opennebula_tenancy.emulator.datastores import Datastore, DatastoreType
from opennebula_tenancy.emulator.hosts import Host, HostState
from opennebula_tenancy.emulator.kinds import Right
from opennebula_tenancy.emulator.requirements import matches
from opennebula_tenancy.emulator.state import Cloud, PoolObject
from opennebula_tenancy.emulator.users import User
from opennebula_tenancy.emulator.vms import VirtualMachine, system_disk_mb


_P = TypeVar("_P", Host, Datastore)
_MESSAGE_LENGTH = 100
"""Characters that SCHED_MESSAGE and ERROR have room for (MAX_ERROR_MSG_LENGTH)."""


@attrs.frozen
class Place:
    """A host and a system datastore for a VM."""

    host: Host
    datastore: Datastore


class NoPlace(Exception):
    """There is no place for a VM now. The text says why, as SCHED_MESSAGE does."""


def reachable_clusters(vm: VirtualMachine) -> set[int] | None:
    """Clusters in which all its networks and images are, None when it has neither."""
    found: set[int] | None = None
    for vector in (*vm.body.vectors("DISK"), *vm.nics):
        if "CLUSTER_ID" in vector:
            clusters = id_set(vector["CLUSTER_ID"])
            found = clusters if found is None else found & clusters
    return found


def find(cloud: Cloud, vm: VirtualMachine) -> Place:
    """The place where a VM is to run: the host with the fewest VMs, another than its own when it waits to be moved.

    Raises:
        NoPlace: There is none.
    """
    hosts = [host for host in cloud.pool(Host) if host.state is HostState.MONITORED]
    if not hosts:
        raise NoPlace("Cannot dispatch VM: No hosts enabled to run VMs")
    systems = [found for found in cloud.pool(Datastore) if found.type is DatastoreType.SYSTEM_DS and found.enabled]
    if not systems:
        raise NoPlace("Cannot dispatch VM: No system datastores found to run VMs")
    if vm.resched and vm.place is not None:
        hosts = [host for host in hosts if vm.place.hid != host.id]
    hosts = [host for host in hosts if _may(cloud, vm, Right.MANAGE, host)]
    if not hosts:
        raise NoPlace("Cannot dispatch VM: User is not authorized to use any host")
    clusters = reachable_clusters(vm)
    hosts = [host for host in hosts if clusters is None or host.cluster_id in clusters]
    hosts = _meeting(cloud, vm, "REQUIREMENTS", hosts)
    if not hosts:
        raise NoPlace("Cannot dispatch VM: No host meets SCHED_REQUIREMENTS")
    systems = [found for found in systems if _may(cloud, vm, Right.USE, found)]
    if not systems:
        raise NoPlace("Cannot dispatch VM: User is not authorized to use any system datastore")
    systems = _meeting(cloud, vm, "DS_REQUIREMENTS", systems)
    if not systems:
        raise NoPlace("Cannot dispatch VM: No system datastore meets SCHED_DS_REQUIREMENTS")
    return _with_room(vm, hosts, systems)


def _meeting(cloud: Cloud, vm: VirtualMachine, what: str, places: list[_P]) -> list[_P]:
    """The hosts or datastores that meet the VM's own requirements.

    Args:
        cloud: The state.
        vm: The VM.
        what: REQUIREMENTS of hosts, or DS_REQUIREMENTS.
        places: What there is to choose from.

    Raises:
        NoPlace: The requirements do not parse.
    """
    wanted = vm.template.text(f"SCHED_{what}") or ""
    try:
        return [place for place in places if matches(wanted, place.xml(cloud))]
    except ValueError as error:
        automatic = vm.body.text(f"AUTOMATIC_{what}")
        whole = f"{automatic} & ( {wanted} )" if automatic else wanted
        raise NoPlace(f"Cannot dispatch VM: Error in SCHED_{what}: '{whole}', error: {error}") from error


def _with_room(vm: VirtualMachine, hosts: list[Host], systems: list[Datastore]) -> Place:
    short: dict[str, list[int]] = {}
    places = []
    for host in sorted(hosts, key=lambda found: found.id):
        shortage = host.shortage(cpu=vm.cpu, mem_kb=vm.memory_kb)
        reached = [found for found in systems if host.cluster_id in found.clusters]
        if shortage is not None:
            what = "CPU" if shortage.startswith("Not enough CPU") else "MEMORY"
            short.setdefault(what, []).append(host.id)
        else:
            places += [Place(host, found) for found in reached if found.free_mb >= system_disk_mb(vm.body)][:1]
    if places:
        return min(places, key=lambda place: (place.host.running_vms, -place.host.id))
    if not short:
        ids = sorted(found.id for found in systems)
        raise NoPlace(f"[DS] Not enough capacity on datastores: {','.join(map(str, ids))}")
    lines = [f"[HOST] Not enough {what} on hosts: {','.join(map(str, ids))}" for what, ids in sorted(short.items())]
    raise NoPlace("\n".join(lines))


def _may(cloud: Cloud, vm: VirtualMachine, right: Right, target: PoolObject) -> bool:
    """Whether the owner of a VM has a right; VMs of oneadmin and of its group may run anywhere."""
    user = cloud.pool(User).find(vm.uid)
    if ONEADMIN_ID in {vm.uid, vm.gid}:
        return True
    return user is not None and cloud.acls.allows(vm.uid, frozenset(user.gids), target.subject, right)


def dated(cloud: Cloud, text: str) -> str:
    """A text as SCHED_MESSAGE and ERROR show it: behind the time, and cut as oned cuts it."""
    tail = "... see more details in VM log" if len(text) >= _MESSAGE_LENGTH else ""
    return f"{time.ctime(cloud.now_s())}: {text[:_MESSAGE_LENGTH]}{tail}"
