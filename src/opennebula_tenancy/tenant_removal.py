"""Taking a tenant away: refused while anybody would lose something, and verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opennebula_tenancy import tenant_mark
from opennebula_tenancy._wire.records import GroupRecord, OwnedRecord
from opennebula_tenancy.errors import BadRequest, Conflict, NotEmpty, NotFound
from opennebula_tenancy.plan import Change, Progress, Step
from opennebula_tenancy.tenant_calls import TenantCalls
from opennebula_tenancy.tenant_search import find_tenant, read_group


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opennebula_tenancy._transport.rpc import Reader, Rpc
    from opennebula_tenancy._wire.records import VdcRecord


_UNKNOWN_METHOD = -506
_HELD = (
    ("one.vmpool.info", (-2, -1, -1, -1), "VM", "VM"),
    ("one.imagepool.info", (-2, -1, -1), "IMAGE", "image"),
    ("one.vnpool.info", (-2, -1, -1), "VNET", "network"),
    ("one.templatepool.info", (-2, -1, -1), "VMTEMPLATE", "VM template"),
    ("one.secgrouppool.info", (-2, -1, -1), "SECURITY_GROUP", "security group"),
    ("one.vrouterpool.info", (-2, -1, -1), "VROUTER", "virtual router"),
    ("one.vmgrouppool.info", (-2, -1, -1), "VM_GROUP", "VM group"),
    ("one.backupjobpool.info", (-2, -1, -1), "BACKUPJOB", "backup job"),
    ("one.documentpool.info", (-2, -1, -1, 100), "DOCUMENT", "service"),
    ("one.documentpool.info", (-2, -1, -1, 101), "DOCUMENT", "service template"),
)
"""What OpenNebula would leave behind under the id of a group that is gone: method, parameters, element, noun.

It is what members may create (`rights.CREATABLE`), and networks. The numbers of documents are OneFlow's."""


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
    found = find_tenant(rpc, key)
    vdc, group = found.vdc, found.group
    if group_id is not None and (group is None or group.id != group_id):
        _refuse_other(rpc, group_id, group, key)
    if group is not None:
        refuse_held(rpc, group)
        if vdc is None:
            _refuse_stripped(found.vdcs, group)
    if group is None and vdc is not None and tenant_mark.bound_group(vdc) is None:
        # No group is to be taken for the tenant's any more, whoever makes one of that name from now on.
        calls.mark_vdc(vdc.id, tenant_mark.UNBOUND)
    elif group is not None and vdc is not None and tenant_mark.bound_group(vdc) != group.id:
        calls.mark_vdc(vdc.id, tenant_mark.bound_to(group.id))
    # The group goes first: OpenNebula refuses that while it has members, also those that came this very moment, and
    # then all is as it was. The VDC is what a later run finds the rest by.
    steps = [("group", group, calls.remove_group), ("VDC", vdc, calls.remove_vdc)]
    due = [(noun, item, remove) for noun, item, remove in steps if item is not None]
    for number, (noun, item, remove) in enumerate(due, start=1):
        if progress is not None:
            progress(Step(item.name, Change("delete", f"{noun} {item.id}"), number, len(due)))
        remove(item.id)


def _refuse_other(reader: Reader, group_id: int, ours: GroupRecord | None, key: str) -> None:
    if ours is not None:
        raise Conflict(
            f"group {group_id} is not this tenant's: the one with the key {key} is group {ours.id} now; nothing was "
            "removed"
        )
    try:
        other = read_group(reader, group_id)
    except NotFound:
        return
    raise Conflict(f"group {group_id} ({other.name}) does not carry the key {key}: it is not this tenant's, and stays")


def _refuse_stripped(vdcs: Iterable[VdcRecord], group: GroupRecord) -> None:
    """Refuse where the tenant's VDC is there and has lost its key: it would be left behind."""
    for vdc in vdcs:
        if group.template.get(tenant_mark.VDC_ID) == str(vdc.id):
            raise Conflict(
                f"VDC {vdc.id} ({vdc.name}) of the tenant {group.name} does not carry its key any more: remove it by "
                "hand; nothing was deleted"
            )


def refuse_held(reader: Reader, group: GroupRecord) -> None:
    """Refuse to remove a group that something would be lost with.

    Raises:
        NotEmpty: It has members, or objects belong to it.
    """
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
        try:
            pool = reader.read(method, *params)
        except BadRequest as error:
            if error.code != _UNKNOWN_METHOD:
                raise
            continue  # a server that is too old to have such objects
        for item in OwnedRecord.pool(pool, kind):
            if item.gid == group.id:
                yield f"{noun} {item.id} ({item.name})"
