"""What is written on a tenant's group about its administrator's account, and read from there.

It stands on the group, and not on the user, because it is what an account is told to be ours by: members of a group,
its administrators too, can write the template of their own user, and cannot write that of their group (oned refuses
one.group.update, .addadmin and .deladmin to them). A group also cannot be deleted while the account is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Mapping

    from opennebula_tenancy._wire.records import GroupRecord


ADMIN_ROLE = "admin"
ADMIN_ID = "TENANCY_ADMIN_ID"
"""The id of the user, from the moment that it is known."""
ADMIN_AFTER = "TENANCY_ADMIN_AFTER"
"""Until then: the highest id of a user before it was made. The tenant's own has a higher one."""
ADMIN_READY = "TENANCY_ADMIN_READY"
"""The id of the user again, when it has been given its first password and is finished."""
ADMIN_GONE = "TENANCY_ADMIN_GONE"
"""The id of a user who was the account, and was removed."""
ADMIN_GENERATION = "TENANCY_ADMIN_GENERATION"
"""How often a password was set for the tenant; it never goes back, whatever becomes of the account."""
_NONE = "none"
_BOUND = "bound"

UNBOUND: Mapping[str, str] = {ADMIN_ID: _NONE, ADMIN_AFTER: _NONE, ADMIN_READY: _NONE}
"""What a group gets that has no account any more, and claims none."""


def admin_name(tenant: str) -> str:
    """The name of the account of the tenant with this name."""
    return f"{tenant}_admin"


def claim(last_user: int) -> Mapping[str, str]:
    """What a group gets before an account is made for it.

    Nothing else: another run may have bound the group meanwhile, and that is not to be undone.
    """
    return {ADMIN_AFTER: str(last_user)}


def bound_to(user_id: int) -> Mapping[str, str]:
    """What a group gets when the id of its account is known: from then on it claims no other."""
    return {ADMIN_ID: str(user_id), ADMIN_AFTER: _BOUND}


def gone(user_id: int) -> Mapping[str, str]:
    """What a group gets when its account was removed.

    Nothing else: another run may have bound the group to a new one meanwhile, and that is not to be undone.
    """
    return {ADMIN_GONE: str(user_id)}


def ready(user_id: int, generation: int) -> Mapping[str, str]:
    """What a group gets when its account has its first password."""
    return {ADMIN_READY: str(user_id), ADMIN_GENERATION: str(generation)}


def counted(generation: int) -> Mapping[str, str]:
    """What a group gets before its account has a new password."""
    return {ADMIN_GENERATION: str(generation)}


def bound_user(group: GroupRecord) -> int | None:
    """The id of a group's account, None when there is none or it is not known yet."""
    return _present(group, ADMIN_ID)


def claimed_after(group: GroupRecord) -> int | None:
    """The highest id of a user when an account was about to be made, None when none is."""
    return _number(group, ADMIN_AFTER)


def ready_user(group: GroupRecord) -> int | None:
    """The id of a group's account when that is finished, else None."""
    user_id = bound_user(group)
    return user_id if user_id == _number(group, ADMIN_READY) else None


def was_ready(group: GroupRecord) -> bool:
    """Whether a group has had an account that was finished; the one that takes its place may not be so yet."""
    return _present(group, ADMIN_READY) is not None


def generation_of(group: GroupRecord) -> int:
    """How often a password was set, or was about to be."""
    return _number(group, ADMIN_GENERATION) or 0


def _present(group: GroupRecord, name: str) -> int | None:
    """The id of an account, None where it was removed: OpenNebula gives no id twice."""
    user_id = _number(group, name)
    last_gone = _number(group, ADMIN_GONE)
    return None if user_id is None or (last_gone is not None and user_id <= last_gone) else user_id


def _number(group: GroupRecord, name: str) -> int | None:
    text = group.template.get(name, "")
    return int(text) if text.isdecimal() else None
