"""Finding virtual machines by their keys, and the tenants that they are in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy import ownership, tenant_mark, vm_mark
from opennebula_tenancy._wire.records import VdcRecord
from opennebula_tenancy._wire.vm_records import VmRecord
from opennebula_tenancy.errors import Conflict, DuplicateObject, NotFound, SettingsError, WentAway
from opennebula_tenancy.tenant_search import read_group
from opennebula_tenancy.vm_mark import Phase, phase_of
from opennebula_tenancy.vm_waiting import read_vm


if TYPE_CHECKING:
    from collections.abc import Iterable

    from opennebula_tenancy._transport.rpc import Reader
    from opennebula_tenancy._wire.records import GroupRecord


_ONEADMIN = 0
"""The user that is always there, and always in the group oneadmin."""
_ADMINISTRATORS = 0
"""The group oneadmin."""
_NOT_DONE = (-2, -1, -1, -1)
"""The filter, the range of ids, and the states of all machines that are not terminated."""


@attrs.frozen
class Home:
    """The tenant that a machine is in: its group and its VDC."""

    group: GroupRecord
    vdc: VdcRecord

    @property
    def key(self) -> str:
        """The tenant's key."""
        return self.group.template[ownership.KEY]


def find_home(reader: Reader, group_id: int) -> Home:
    """Read the tenant that a machine is to be in.

    Raises:
        SettingsError: There is no such group, or it is not a tenant of this library.
    """
    try:
        group = read_group(reader, group_id)
    except NotFound as error:
        raise SettingsError(f"vdc: there is no tenant {group_id}") from error
    if not tenant_mark.is_tenant(group):
        raise SettingsError(f"vdc: group {group_id} ({group.name}) is not a tenant of this library")
    vdc_id = int(group.template[tenant_mark.VDC_ID])
    # The id is what a run wrote on the group at its end: the VDC itself says whose it is by now.
    try:
        vdc = VdcRecord.parse(reader.read("one.vdc.info", vdc_id))
    except NotFound:
        vdc = None
    if vdc is None or group.id not in vdc.groups or vdc.template.get(ownership.KEY) != group.template[ownership.KEY]:
        raise SettingsError(f"vdc: VDC {vdc_id} is not that of the tenant {group.name} any more: mend the tenant first")
    return Home(group, vdc)


def read_vms(reader: Reader) -> tuple[VmRecord, ...]:
    """Read all machines that are marked as made by this library and not terminated, by their ids. One call."""
    vms = VmRecord.pool(reader.read("one.vmpool.infoextended", *_NOT_DONE))
    return tuple(sorted(filter(vm_mark.is_marked, vms), key=lambda vm: vm.id))


def of_administrators(reader: Reader, vms: Iterable[VmRecord]) -> tuple[VmRecord, ...]:
    """Those of some machines that belong to the provider: to a member of the group oneadmin.

    What is written on a machine proves nothing where one looks for machines: its owner may write there, and so may the
    administrators of its group. Its owner cannot be forged: nobody gives a machine to a user whom he may not manage
    (`SharedAPI::chown`). No call is needed where all of them belong to the user oneadmin.
    """
    found = tuple(vms)
    if all(vm.uid == _ONEADMIN for vm in found):
        return found
    administrators = read_group(reader, _ADMINISTRATORS).users | {_ONEADMIN}
    return tuple(vm for vm in found if vm.uid in administrators)


def vms_of_key(reader: Reader, group_id: int, key: str) -> tuple[VmRecord, ...]:
    """Find the machines of a tenant that were made for a key, by their ids."""
    return of_administrators(reader, bearers_of_key(reader, group_id, key))


def bearers_of_key(reader: Reader, group_id: int, key: str) -> tuple[VmRecord, ...]:
    """Find the machines of a tenant that carry a key, whoever wrote it there, by their ids.

    The short bodies of the pool say whose a machine is, and not its key: those of the tenant are read in full. It does
    not go by names, which change.
    """
    short = VmRecord.pool(reader.read("one.vmpool.info", *_NOT_DONE))
    candidates = sorted(vm.id for vm in short if vm.gid == group_id)
    if not candidates:
        return ()
    full = VmRecord.pool(reader.read("one.vmpool.infoset", ",".join(map(str, candidates)), True))
    found = (vm for vm in full if vm.gid == group_id and not vm.status.is_done and vm_mark.carries(vm, key))
    return tuple(sorted(found, key=lambda vm: vm.id))


def one_of(vms: Iterable[VmRecord], key: str) -> VmRecord | None:
    """The one machine among those with the same key: the one that is finished, else the oldest.

    Raises:
        DuplicateObject: More than one of them is finished: none is removed.
    """
    found = list(vms)
    finished = [vm for vm in found if phase_of(vm) is not Phase.CREATING]
    if len(finished) > 1:
        names = ", ".join(f"VM {vm.id} ({vm.name})" for vm in finished)
        raise DuplicateObject(f"the key {key} is on {names}: remove all but one of them, or their keys, by hand")
    return next(iter(finished or found), None)


def read_own(reader: Reader, vm_id: int, key: str | None = None) -> VmRecord:
    """Read a machine that this library made, by its id.

    It may belong to somebody else by now: the administrators of a tenant may take over what is in its group. Whoever
    knows the id has it from when the machine was made.

    Args:
        reader: Reads from OpenNebula.
        vm_id: Its id.
        key: The key that it has to carry; any when None.

    Raises:
        WentAway: There is none, or it was terminated.
        Conflict: It does not carry the key.
    """
    try:
        vm = read_vm(reader, vm_id)
    except NotFound as error:
        raise WentAway(f"there is no VM {vm_id}") from error
    if not (vm_mark.is_marked(vm) if key is None else vm_mark.carries(vm, key)):
        whose = "any key of this library" if key is None else f"the key {key}"
        raise Conflict(f"VM {vm_id} ({vm.name}) does not carry {whose}: it is not touched")
    if vm.status.is_done:
        raise WentAway(f"VM {vm_id} ({vm.name}) was terminated")
    return vm
