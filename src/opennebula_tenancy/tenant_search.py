"""Finding a tenant's VDC and group, by proof and not by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy import ownership, tenant_mark
from opennebula_tenancy._wire.records import GroupRecord, VdcRecord
from opennebula_tenancy.errors import Conflict, DuplicateObject, NotAuthorized, NotFound
from opennebula_tenancy.ids import require_id
from opennebula_tenancy.tenant_mark import GROUP_ROLE, VDC_ROLE


if TYPE_CHECKING:
    from collections.abc import Iterable

    from opennebula_tenancy._transport.rpc import Reader


DEFAULT_VDC = 0
"""The VDC that every new group is in; it opens all clusters and all networks."""
_ADMINISTRATORS = 0
"""The group oneadmin, which is always there."""


def read_vdcs(reader: Reader) -> tuple[VdcRecord, ...]:
    """Read all VDCs.

    Raises:
        NotAuthorized: The account does not see all of them, so that what it does not see may be there.
    """
    vdcs = VdcRecord.pool(reader.read("one.vdcpool.info"))
    if all(vdc.id != DEFAULT_VDC for vdc in vdcs):
        raise _blind("one.vdcpool.info", "VDCs")
    return vdcs


def read_groups(reader: Reader) -> tuple[GroupRecord, ...]:
    """Read all groups, with their quotas.

    Raises:
        NotAuthorized: The account does not see all of them, so that what it does not see may be there.
    """
    groups = GroupRecord.pool(reader.read("one.grouppool.info"))
    if all(group.id != _ADMINISTRATORS for group in groups):
        raise _blind("one.grouppool.info", "groups")
    return groups


def _blind(method: str, what: str) -> NotAuthorized:
    return NotAuthorized(
        method,
        0x0200,
        f"this account does not see all {what}: tenants are administered by members of the group oneadmin",
    )


def read_group(reader: Reader, group_id: int) -> GroupRecord:
    """Read one group, with its quotas.

    Raises:
        NotFound: There is none.
    """
    require_id("one.group.info", group_id)
    return GroupRecord.parse(reader.read("one.group.info", group_id))


def vdc_of(vdcs: Iterable[VdcRecord], key: str) -> VdcRecord | None:
    """The VDC that carries a key.

    Raises:
        DuplicateObject: More than one does.
        Conflict: It is in the format of another version of this library.
    """
    found = [vdc for vdc in vdcs if ownership.carries(vdc.template, key, VDC_ROLE)]
    if len(found) > 1:
        ids = ", ".join(str(ident) for ident in sorted(vdc.id for vdc in found))
        raise DuplicateObject(
            f"the VDCs {ids} all carry the key {key}: keep one, and remove {ownership.KEY} from others"
        )
    return found[0] if found else None


def group_of(groups: Iterable[GroupRecord], vdcs: Iterable[VdcRecord], key: str) -> GroupRecord | None:
    """The group of the tenant with this key.

    It carries the key itself; or the tenant's VDC is bound to its id; or it was made for that VDC by a run that did not
    come to bind it: then it has the tenant's name, is younger than the VDC, and nobody has touched it.

    Args:
        groups: All groups.
        vdcs: All VDCs.
        key: The tenant's key.

    Returns:
        The group, or None.

    Raises:
        DuplicateObject: More than one group carries the key.
        Conflict: It is in the format of another version of this library.
    """
    candidates, all_vdcs = list(groups), list(vdcs)
    marked = [group for group in candidates if ownership.carries(group.template, key, GROUP_ROLE)]
    if len(marked) > 1:
        raise DuplicateObject(f"the groups {', '.join(str(group.id) for group in marked)} all carry the key {key}")
    vdc = vdc_of(all_vdcs, key)
    if marked or vdc is None:
        return marked[0] if marked else None
    named = [group for group in candidates if group.name == vdc.name]
    bound = tenant_mark.bound_group(vdc)
    if found := next((group for group in named if group.id == bound), None):
        return found
    elsewhere = {group for other in all_vdcs if other.id != DEFAULT_VDC for group in other.groups}
    return next((group for group in named if group.id not in elsewhere and _is_unclaimed(group, vdc)), None)


def _is_unclaimed(group: GroupRecord, vdc: VdcRecord) -> bool:
    after = tenant_mark.claimed_after(vdc)
    touched = group.users or group.admins or group.template or group.quotas
    return after is not None and group.id > after and not touched


def is_finished(group: GroupRecord, key: str) -> bool:
    """Whether a group's tenant was once finished: the mark is the last thing that is made."""
    return ownership.carries(group.template, key, GROUP_ROLE)


@attrs.frozen
class Found:
    """What there is of a tenant.

    Attributes:
        vdcs: All VDCs.
        vdc: The tenant's, if there is one.
        group: The tenant's group, if there is one.
        last_group: The highest id of a group that is there, or that the VDC was bound to; -1 when not all were read.
    """

    vdcs: tuple[VdcRecord, ...]
    vdc: VdcRecord | None
    group: GroupRecord | None
    last_group: int


def find_tenant(reader: Reader, key: str, name: str | None = None) -> Found:
    """Find a tenant by its key.

    Args:
        reader: Reads from OpenNebula.
        key: The key.
        name: The name that it is to have. A group of that name that is not the tenant's is a conflict.

    Returns:
        What there is of it.

    Raises:
        Conflict: The name is taken by a group that is not the tenant's.
        NotAuthorized: The account does not see everything.
    """
    vdcs = read_vdcs(reader)
    vdc = vdc_of(vdcs, key)
    bound = None if vdc is None else tenant_mark.bound_group(vdc)
    if bound is not None:
        try:
            group = group_of([read_group(reader, bound)], vdcs, key)
        except NotFound:
            group = None
        if group is not None:
            return Found(vdcs, vdc, group, -1)
    groups = read_groups(reader)
    group = group_of(groups, vdcs, key)
    if group is not None and vdc is None:
        # Another run may have made both since the VDCs were read. It makes the VDC first.
        vdcs = read_vdcs(reader)
        vdc = vdc_of(vdcs, key)
    namesake = next((other for other in groups if other.name == name), None)
    if group is None and namesake is not None:
        raise Conflict(
            f"the name {name} is taken by group {namesake.id}, which is not this tenant's: choose another name"
        )
    # A group that has been deleted since may have had the highest id.
    last_group = max(-1 if bound is None else bound, *(other.id for other in groups))
    return Found(vdcs, vdc, group, last_group)
