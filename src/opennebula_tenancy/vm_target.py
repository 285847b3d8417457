"""`Target`: the size that a virtual machine is to come to, and how that differs from what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import attrs

from opennebula_tenancy.errors import SettingsError
from opennebula_tenancy.plan import Change


if TYPE_CHECKING:
    from decimal import Decimal

    from opennebula_tenancy._wire.vm_records import DiskRecord, VmRecord
    from opennebula_tenancy.vm_size import VmSize


def sized_disk(vm: VmRecord) -> DiskRecord | None:
    """The disk of a machine that its size is about: the first that is not a CD; None where it has none."""
    return next((disk for disk in vm.disks if not disk.is_cd), None)


@attrs.frozen(kw_only=True)
class Target:
    """A complete size.

    Attributes:
        vcpu: The cores that the machine sees.
        cpu: The share of physical cores that it is given.
        memory_mb: Its memory, in MB.
        disk_id: Its first disk; None where it has none.
        disk_mb: The size of that, in MB.
    """

    vcpu: int
    cpu: Decimal
    memory_mb: int
    disk_id: int | None
    disk_mb: int

    @classmethod
    def of(cls, vm: VmRecord, size: VmSize | None = None) -> Self:
        """The size of a machine with what is asked for put in its place.

        A share of cores that is not named goes with the cores that it sees where these change, and stays where they
        do not.

        Args:
            vm: The machine.
            size: What is asked for; nothing when None.

        Raises:
            SettingsError: A disk would shrink, or there is none.
        """
        disk = sized_disk(vm)
        cpu, vcpu, memory_mb, disk_mb = vm.cpu, vm.vcpu, vm.memory_mb, disk.size_mb if disk else 0
        if size is not None:
            _refuse_disk(vm, disk, size)
            share = size.share if size.cpu is not None or size.vcpu not in {None, vm.vcpu} else None
            cpu = vm.cpu if share is None else share
            vcpu, memory_mb = size.vcpu or vm.vcpu, size.memory_mb or vm.memory_mb
            disk_mb = size.disk_mb or disk_mb
        return cls(cpu=cpu, vcpu=vcpu, memory_mb=memory_mb, disk_id=disk.disk_id if disk else None, disk_mb=disk_mb)

    def has_capacity(self, vm: VmRecord) -> bool:
        """Whether a machine has these cores and this memory."""
        return (vm.vcpu, vm.cpu, vm.memory_mb) == (self.vcpu, self.cpu, self.memory_mb)

    def has_disk(self, vm: VmRecord) -> bool:
        """Whether the first disk of a machine has this size."""
        return self.disk_id is None or any(
            disk.disk_id == self.disk_id and disk.size_mb == self.disk_mb for disk in vm.disks
        )

    def is_met(self, vm: VmRecord) -> bool:
        """Whether a machine has this size."""
        return self.has_capacity(vm) and self.has_disk(vm)

    def changes(self, vm: VmRecord) -> tuple[Change, ...]:
        """What would be changed for a machine to have this size."""
        what = f"VM {vm.id} ({vm.name})"
        rows = [
            ("set", f"cores of {what}", str(vm.vcpu), str(self.vcpu)),
            ("set", f"share of cores of {what}", f"{vm.cpu:f}", f"{self.cpu:f}"),
            ("set", f"memory of {what}", f"{vm.memory_mb} MB", f"{self.memory_mb} MB"),
        ]
        if (disk := sized_disk(vm)) is not None:
            rows.append(("grow", f"disk {disk.disk_id} of {what}", f"{disk.size_mb} MB", f"{self.disk_mb} MB"))
        same = (vm.vcpu == self.vcpu, vm.cpu == self.cpu, vm.memory_mb == self.memory_mb, self.has_disk(vm))
        return tuple(Change(*row) for row, unchanged in zip(rows, same, strict=False) if not unchanged)


def is_changed(now: VmRecord, seen: VmRecord) -> bool:
    """Whether a machine is in another state, of another size, or has other interfaces than when it was seen."""
    return (now.status, Target.of(now), now.nics) != (seen.status, Target.of(seen), seen.nics)


def _refuse_disk(vm: VmRecord, disk: DiskRecord | None, size: VmSize) -> None:
    if size.disk_mb is None:
        return
    if disk is None:
        raise SettingsError(f"size.disk_mb: VM {vm.id} ({vm.name}) has no disk")
    if size.disk_mb < disk.size_mb:
        raise SettingsError(
            f"size.disk_mb: disk {disk.disk_id} of VM {vm.id} ({vm.name}) has {disk.size_mb} MB, and cannot shrink to "
            f"{size.disk_mb} MB; nothing was changed"
        )
