"""What is left for a virtual machine, new or to grow: of its tenant's limits, and of its host."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from opennebula_tenancy._wire.host_records import HostRecord
from opennebula_tenancy.errors import NotFound, QuotaExceeded, SettingsError
from opennebula_tenancy.tenant_search import read_group
from opennebula_tenancy.vm_status import VmState


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opennebula_tenancy._transport.rpc import Reader
    from opennebula_tenancy._wire.records import GroupRecord, QuotaRow
    from opennebula_tenancy._wire.vm_records import VmRecord
    from opennebula_tenancy.vm_target import Target


_AUTHORIZATION = 0x0200
_ON_HOST = frozenset({VmState.ACTIVE, VmState.POWEROFF})
"""The states in which a machine has its share of a host, which one.vm.resize changes at once."""


def require_quota(reader: Reader, vm: VmRecord, target: Target) -> None:
    """Refuse a size that the tenant's limits do not leave room for. Nothing is changed.

    OpenNebula checks the whole again with every change, also one that takes less: a tenant that is over its limits can
    change nothing. Limits that the cloud gives every group, and those of clusters, are left to OpenNebula.

    Args:
        reader: Reads from OpenNebula.
        vm: The machine as it is.
        target: The size that it is to come to.

    Raises:
        QuotaExceeded: A limit would be exceeded, in the words of OpenNebula.
    """
    try:
        group = read_group(reader, vm.gid)
    except NotFound:
        return
    _refuse_breaches("one.vm.resize", group, _needs(vm, target), object_id=vm.id)


def require_room(group: GroupRecord, needs: Mapping[str, Decimal]) -> None:
    """Refuse a new machine that the tenant's limits do not leave room for. Nothing is changed, and nothing read.

    Its disks and addresses are left to OpenNebula, which knows what of them counts.

    Args:
        group: The tenant's group, as it was read a moment ago.
        needs: What the machine takes, by the names of limits: CPU, MEMORY.

    Raises:
        QuotaExceeded: A limit would be exceeded, in the words of OpenNebula.
    """
    all_needs = {**needs, "VMS": Decimal(1)}
    all_needs |= {f"RUNNING_{name}": amount for name, amount in all_needs.items()}
    _refuse_breaches("one.template.instantiate", group, all_needs)


def _needs(vm: VmRecord, target: Target) -> Mapping[str, Decimal]:
    """What a machine takes more at another size, by the names of limits."""
    more: dict[str, Decimal] = {}
    if not target.has_capacity(vm):
        more |= {"CPU": target.cpu - vm.cpu, "MEMORY": Decimal(target.memory_mb - vm.memory_mb)}
        if vm.status.is_running:
            more |= {f"RUNNING_{name}": amount for name, amount in more.items()}
    if not target.has_disk(vm):
        held = sum(disk.size_mb for disk in vm.disks if disk.disk_id == target.disk_id)
        more["SYSTEM_DISK_SIZE"] = Decimal(target.disk_mb - held)
    return more


def _refuse_breaches(
    method: str, group: GroupRecord, needs: Mapping[str, Decimal], *, object_id: int | None = None
) -> None:
    rows = [row for row in group.quotas if row.section == "VM" and not row.clusters]
    if breaches := [text for row in rows for text in _breaches(row, needs)]:
        message = f"group [{group.id}] {'; '.join(breaches)} (looked up before anything was changed)"
        raise QuotaExceeded(method, _AUTHORIZATION, message, object_id=object_id)


def _breaches(row: QuotaRow, needs: Mapping[str, Decimal]) -> Iterator[str]:
    for name, amount in needs.items():
        limit, used = row.values.get(name), row.values.get(f"{name}_USED")
        if limit is not None and used is not None and limit >= 0 and used + amount > limit:
            yield f"limit of {limit:f} reached for {name} quota in VM: {used:f} are used, and {amount:f} more needed"


def require_capacity(reader: Reader, vm: VmRecord, target: Target) -> None:
    """Refuse a size that the machine's host has no room for. Nothing is changed.

    Raises:
        SettingsError: Its host has less to give than it would need more.
    """
    if vm.host_id is None or vm.status.state not in _ON_HOST or target.has_capacity(vm):
        return
    try:
        host = HostRecord.parse(reader.read("one.host.info", vm.host_id, False))
    except NotFound:
        return
    problems = []
    what = f"host {host.id} ({host.name}), which VM {vm.id} ({vm.name}) is on, has"
    cpu, memory_mb = target.cpu - vm.cpu, target.memory_mb - vm.memory_mb
    if cpu > 0 and cpu > host.free_cpu:
        problems.append(f"size.cpu: {what} {host.free_cpu:f} cores left, and {cpu:f} more are needed")
    if memory_mb > 0 and memory_mb > host.free_memory_mb:
        problems.append(f"size.memory_mb: {what} {host.free_memory_mb} MB left, and {memory_mb} MB more are needed")
    if problems:
        raise SettingsError(*problems)
