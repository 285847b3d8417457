"""Taking a tenant away: refused while anybody would lose something, and verified."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from opennebula_tenancy import tenant_mark
from opennebula_tenancy._wire.records import GroupRecord, OwnedRecord
from opennebula_tenancy._wire.vm_records import VmRecord
from opennebula_tenancy.admin_calls import AdminCalls
from opennebula_tenancy.admin_state import observe_admin
from opennebula_tenancy.errors import BadRequest, Conflict, NotEmpty, NotFound, VerificationFailed
from opennebula_tenancy.network_calls import networks_of, security_groups_of
from opennebula_tenancy.networking_removal import GONE_S, NetworkRemoval
from opennebula_tenancy.networking_search import attached_to, find_networking
from opennebula_tenancy.plan import Change, Progress, Step
from opennebula_tenancy.tenant_search import find_tenant, read_group


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from opennebula_tenancy._transport.rpc import Reader, Rpc
    from opennebula_tenancy._wire.records import VdcRecord
    from opennebula_tenancy._wire.user_records import UserRecord
    from opennebula_tenancy.networking import Networking
    from opennebula_tenancy.networking_search import Seen
    from opennebula_tenancy.tenant_search import Found


_T = TypeVar("_T")


class _Part(Protocol):
    @property
    def id(self) -> int: ...


_LOOKS = 3
"""How often a tenant is looked at that another run makes while it is removed."""
_UNKNOWN_METHOD = -506
_NOT_DONE = (-2, -1, -1, -1)
"""The filter, the range of ids and the states of all machines that are there."""
_HELD = (
    ("one.vmpool.info", _NOT_DONE, "VM", "VM"),
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


def remove_tenant(
    rpc: Rpc,
    key: str,
    group_id: int | None = None,
    progress: Progress | None = None,
    *,
    terminate_vms: bool = False,
    timeout_s: float = GONE_S,
) -> None:
    """Remove a tenant, finished or not, and make sure that it is gone.

    Another run may be making it meanwhile. What that has made where it was looked for already is removed as well, as
    long as it has no VDC any more: with a VDC, it is a tenant that has been made anew.

    Args:
        rpc: Calls OpenNebula.
        key: The tenant's key.
        group_id: The id that its group is known by, if it is.
        progress: Told of each step as it begins.
        terminate_vms: Whether to terminate the tenant's machines. The removal is refused while there are any if not.
        timeout_s: How many seconds each thing may take to go away.

    Raises:
        Conflict: That group does not carry the key.
        NotEmpty: The tenant still has members, or objects of theirs. Nothing was removed, or the account of its
            administrator alone, where that has made something at the very last moment.
        WaitTimeout: Something is still there after its time; what was before it is gone, and a later run goes on.
        VerificationFailed: Another run makes things for the tenant again and again.
    """
    for _ in range(_LOOKS):
        if not _remove_found(rpc, key, group_id, progress, terminate_vms=terminate_vms, timeout_s=timeout_s):
            return
        if not (left := _left_behind(rpc, key)):
            return
        group_id = None
    raise VerificationFailed(f"another run goes on making the tenant {key}, and has made {left}: run again")


def _look(reader: Reader, key: str) -> tuple[Found, Seen]:
    found = find_tenant(reader, key)
    # Not by the mark of the group, which an operator may have changed: what it does not name would be left behind.
    seen = find_networking(reader, _name(found.vdc, found.group, key), key, None, is_new=False)
    if found.vdc is None and (seen.held.routers or seen.held.network or seen.held.security_group):
        # Another run may have made the tenant since: its network does not go alone.
        found = find_tenant(reader, key)
    return found, seen


def _left_behind(reader: Reader, key: str) -> str:
    """What there is of a tenant that has no VDC. The VDC is made first, and looked for last."""
    networking = find_networking(reader, key, key, None, is_new=False).held
    found = find_tenant(reader, key)
    if found.vdc is not None:
        return ""
    parts: list[tuple[str, Iterable[_Part]]] = [
        ("router", networking.routers),
        ("network", _some(networking.network)),
        ("security group", _some(networking.security_group)),
        ("group", _some(found.group)),
    ]
    return ", ".join(f"{noun} {item.id}" for noun, items in parts for item in items)


def _remove_found(
    rpc: Rpc, key: str, group_id: int | None, progress: Progress | None, *, terminate_vms: bool, timeout_s: float
) -> bool:
    """Remove what is seen of a tenant at this moment; False when there is nothing."""
    calls, removal = AdminCalls(rpc), NetworkRemoval(rpc, timeout_s)
    found, seen = _look(rpc, key)
    vdc, group = found.vdc, found.group
    if group_id is not None and (group is None or group.id != group_id):
        _refuse_other(rpc, group_id, group, key)
    if group is not None and vdc is None:
        _refuse_stripped(found.vdcs, group)
    networking = seen.held
    machines = _machines(rpc, group) if group is not None and terminate_vms else ()
    account = observe_admin(rpc, group.name, group, wanted=False).user if group is not None else None
    _refuse_in_use(rpc, group, networking, machines, account)
    if group is None and vdc is not None and tenant_mark.claimed_after(vdc) is not None:
        # No group is to be taken for the tenant's any more, whoever makes one of that name from now on.
        calls.mark_vdc(vdc.id, tenant_mark.UNBOUND)
    elif group is not None and vdc is not None and not tenant_mark.is_bound_to(vdc, group.id):
        calls.mark_vdc(vdc.id, tenant_mark.bound_to(group.id))
    steps: deque[tuple[str, Callable[[], object]]] = deque()

    def take_machines(known: Iterable[VmRecord], found: Iterable[VmRecord]) -> None:
        before = {vm.id for vm in known}
        new = [vm for vm in found if vm.id not in before]
        steps.extendleft((f"VM {vm.id} ({vm.name})", partial(removal.machine, vm)) for vm in reversed(new))

    def unsettle() -> None:
        # An interrupted removal is seen from now on by whoever reads the group alone.
        if group is not None and tenant_mark.is_tenant(group) and (networking.routers or networking.network):
            calls.mark_group(group.id, tenant_mark.UNSETTLED)

    def remove_account(user_id: int) -> None:
        calls.remove_user(user_id)
        # From now on nobody makes anything for the tenant. What was made a moment ago is seen now.
        found = _machines(rpc, group) if group is not None and terminate_vms else ()
        _refuse_in_use(rpc, group, networking, found, None, deleted=f"only user {user_id} was deleted")
        unsettle()
        take_machines(machines, found)

    # The group goes before the VDC: OpenNebula refuses that while it has members, also those that came this very
    # moment. The VDC is what a later run finds the rest by.
    parts: list[tuple[str, Sequence[_Part], Callable[[int], object]]] = [
        ("router", networking.routers, removal.router),
        ("network", networks_of(seen.networks or (), key), removal.network),
        ("security group", security_groups_of(seen.security_groups, key), removal.security_group),
        ("group", _some(group), partial(_remove_group, calls, rpc)),
        ("VDC", _some(vdc), calls.remove_vdc),
    ]
    steps.extend((f"{noun} {item.id}", partial(remove, item.id)) for noun, items, remove in parts for item in items)
    take_machines((), machines)
    if account is not None:
        steps.appendleft((f"user {account.id}", partial(remove_account, account.id)))
    else:
        unsettle()
    number = 0
    while steps:
        subject, remove = steps.popleft()
        number += 1
        if progress is not None:
            progress(Step(networking.name, Change("delete", subject), number, number + len(steps)))
        remove()
    return number > 0


def _remove_group(calls: AdminCalls, reader: Reader, group_id: int) -> None:
    """Remove a tenant's group. OpenNebula does so with machines in it, and the provider may have made one meanwhile."""
    machines = VmRecord.pool(reader.read("one.vmpool.info", *_NOT_DONE))
    if late := [f"VM {vm.id} ({vm.name})" for vm in machines if vm.gid == group_id]:
        raise NotEmpty(f"{', '.join(late)} came to the tenant while it was removed: remove these, and run again", late)
    calls.remove_group(group_id)


def _some(item: _T | None) -> Sequence[_T]:
    return () if item is None else (item,)


def _name(vdc: VdcRecord | None, group: GroupRecord | None, key: str) -> str:
    known = group or vdc
    return key if known is None else known.name


def _machines(reader: Reader, group: GroupRecord) -> tuple[VmRecord, ...]:
    machines = VmRecord.pool(reader.read("one.vmpool.info", *_NOT_DONE))
    return tuple(sorted((vm for vm in machines if vm.gid == group.id), key=lambda vm: vm.id))


def _refuse_in_use(
    reader: Reader,
    group: GroupRecord | None,
    networking: Networking,
    machines: Iterable[VmRecord],
    account: UserRecord | None,
    *,
    deleted: str = "nothing was deleted",
) -> None:
    """Refuse to remove a tenant that something would be lost with, what is to go with it aside."""
    going = {f"VM {vm.id} ({vm.name})" for vm in machines}
    if account is not None:
        going.add(f"user {account.id} ({account.name})")
    held = [*(_held(reader, group) if group else ()), *attached_to(reader, networking)]
    if left := [what for what in dict.fromkeys(held) if what not in going]:
        raise NotEmpty(
            f"the tenant {networking.name} ({f'group {group.id}' if group else 'without a group'}) still has "
            f"{', '.join(left)}: remove these first; {deleted}",
            left,
        )


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
