"""Taking a tenant away: refused while anybody would lose something, and verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opennebula_tenancy import ownership
from opennebula_tenancy._wire.records import GroupRecord, OwnedRecord
from opennebula_tenancy.errors import Conflict, NotEmpty, NotFound
from opennebula_tenancy.plan import Change, Progress, Step
from opennebula_tenancy.tenant_calls import TenantCalls
from opennebula_tenancy.tenant_state import GROUP_ROLE, read_group, vdc_of


if TYPE_CHECKING:
    from collections.abc import Iterator

    from opennebula_tenancy._transport.rpc import Reader, Rpc


_HELD = (
    ("one.vmpool.info", (-2, -1, -1, -1), "VM", "VM"),
    ("one.imagepool.info", (-2, -1, -1), "IMAGE", "image"),
    ("one.vnpool.info", (-2, -1, -1), "VNET", "network"),
    ("one.templatepool.info", (-2, -1, -1), "VMTEMPLATE", "VM template"),
    ("one.secgrouppool.info", (-2, -1, -1), "SECURITY_GROUP", "security group"),
)
"""What OpenNebula would leave behind under the id of a group that is gone: method, parameters, element, noun."""


def remove_tenant(rpc: Rpc, key: str, group_id: int | None = None, progress: Progress | None = None) -> None:
    """Remove a tenant, finished or not, and make sure that it is gone.

    Args:
        rpc: Calls OpenNebula.
        key: The tenant's key.
        group_id: The id that its group is known by, if it is.
        progress: Told of each step as it begins.

    Raises:
        Conflict: That group does not carry the key.
        NotEmpty: The tenant still has members, or objects of theirs; nothing was removed.
    """
    calls = TenantCalls(rpc)
    vdc = vdc_of(calls.vdcs(), key)
    group = calls.find_group(key, vdc)
    if group_id is not None and (group is None or group.id != group_id):
        _refuse_other(rpc, group_id, key)
    if group is not None:
        _refuse_held(rpc, group)
    # The group goes first: OpenNebula refuses that while it has members, also those that came this very moment, and
    # then all is as it was. The VDC is what a later run finds the rest by.
    steps = [("group", group, calls.remove_group), ("VDC", vdc, calls.remove_vdc)]
    due = [(noun, found, remove) for noun, found, remove in steps if found is not None]
    for number, (noun, found, remove) in enumerate(due, start=1):
        if progress is not None:
            progress(Step(found.name, Change("delete", f"{noun} {found.id}"), number, len(due)))
        remove(found.id)


def remove_unfinished_vdc(calls: TenantCalls, key: str) -> None:
    """Remove the VDC that carries a key, if there is one."""
    if (vdc := vdc_of(calls.vdcs(), key)) is not None:
        calls.remove_vdc(vdc.id)


def remove_unfinished_group(rpc: Rpc, key: str) -> None:
    """Remove the group of a tenant that was being made, if there is one.

    Raises:
        Conflict: The tenant is finished meanwhile, by another run for it or by the last call of this one.
        NotEmpty: Somebody has put something into it meanwhile.
    """
    calls = TenantCalls(rpc)
    if (group := calls.find_group(key)) is not None:
        if ownership.carries(group.template, key, GROUP_ROLE):
            raise Conflict(f"the tenant {group.name} (group {group.id}) is finished meanwhile, and stays")
        _refuse_held(rpc, group)
        calls.remove_group(group.id)


def _refuse_other(reader: Reader, group_id: int, key: str) -> None:
    try:
        other = read_group(reader, group_id)
    except NotFound:
        return
    raise Conflict(f"group {group_id} ({other.name}) does not carry the key {key}: it is not this tenant's, and stays")


def _refuse_held(reader: Reader, group: GroupRecord) -> None:
    if held := list(_held(reader, group)):
        raise NotEmpty(
            f"the tenant {group.name} (group {group.id}) still has {', '.join(held)}: remove these first; nothing was "
            "deleted",
            held,
        )


def _held(reader: Reader, group: GroupRecord) -> Iterator[str]:
    if group.users:
        users = OwnedRecord.pool(reader.read("one.userpool.info"), "USER")
        yield from (f"user {user.id} ({user.name})" for user in users if user.id in group.users)
    for method, params, kind, noun in _HELD:
        for item in OwnedRecord.pool(reader.read(method, *params), kind):
            if item.gid == group.id:
                yield f"{noun} {item.id} ({item.name})"
