"""Which VMs have what a security group or a network says now (SecurityGroup.h, VirtualNetwork.h)."""

import attrs

from opennebula_tenancy.emulator.markup import ids


@attrs.define
class VmUpdates:
    """The VMs that use an object, by how far a change of it has come to them.

    Attributes:
        updated: VMs that are as the object says.
        outdated: VMs that wait for the change.
        updating: VMs whose driver works on it.
        error: VMs that could not be changed.
    """

    updated: set[int] = attrs.field(factory=set)
    outdated: set[int] = attrs.field(factory=set)
    updating: set[int] = attrs.field(factory=set)
    error: set[int] = attrs.field(factory=set)

    def __bool__(self) -> bool:
        return bool(self.updated or self.outdated or self.updating or self.error)

    def drop(self, vm_id: int) -> set[int] | None:
        """Forget a VM, which is looked for in the order of oned; the set that it was in."""
        for held in (self.updated, self.updating, self.error, self.outdated):
            if vm_id in held:
                held.remove(vm_id)
                return held
        return None

    def commit(self, *, recover: bool) -> None:
        """Make VMs outdated: all of them, or when recovering those that are in error or being updated."""
        if not recover:
            self.outdated |= self.updated
            self.updated.clear()
        self.outdated |= self.updating | self.error
        self.updating.clear()
        self.error.clear()

    def xml(self) -> str:
        """The four elements."""
        return (
            f"{ids('UPDATED_VMS', self.updated)}{ids('OUTDATED_VMS', self.outdated)}"
            f"{ids('UPDATING_VMS', self.updating)}{ids('ERROR_VMS', self.error)}"
        )
