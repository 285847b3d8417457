"""`AdminState`: what OpenNebula has of a tenant's administrator account, and how it differs from what is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy._wire.user_records import CORE, UserRecord
from opennebula_tenancy.admin_mark import admin_name, bound_user, claimed_after, ready_user
from opennebula_tenancy.difference import Difference, Kind
from opennebula_tenancy.errors import Conflict, NotAuthorized, NotFound
from opennebula_tenancy.plan import Change
from opennebula_tenancy.tenant_search import read_group


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opennebula_tenancy._transport.rpc import Reader
    from opennebula_tenancy._wire.records import GroupRecord


_ONEADMIN = 0
"""The user who is always there."""
_NEW_USER = frozenset({"TOKEN_PASSWORD"})
"""The template of a user whom nobody has touched."""


def read_user(reader: Reader, user_id: int) -> UserRecord | None:
    """Read one user; None when there is none."""
    try:
        return UserRecord.parse(reader.read("one.user.info", user_id))
    except NotFound:
        return None


def read_users(reader: Reader) -> tuple[UserRecord, ...]:
    """Read all users.

    Raises:
        NotAuthorized: The account does not see all of them, so that what it does not see may be there.
    """
    users = UserRecord.pool(reader.read("one.userpool.info"))
    if all(user.id != _ONEADMIN for user in users):
        raise NotAuthorized(
            "one.userpool.info",
            0x0200,
            "this account does not see all users: tenants are administered by members of the group oneadmin",
        )
    return users


def account_of(users: Iterable[UserRecord], name: str, group: GroupRecord) -> UserRecord | None:
    """The administrator account of a tenant.

    It is the user that the tenant's group names by its id. Or it was made for that group by a run that did not come to
    write its id there: then it has the name, is younger than the group's claim, was made in the group, which only
    oneadmin and administrators of that group can do, and nobody has touched it.

    Args:
        users: All users.
        name: The name that an account of this tenant is made with.
        group: The tenant's group, which was found by proof.

    Returns:
        The account, or None.
    """
    candidates = list(users)
    bound, after = bound_user(group), claimed_after(group)
    if named := next((user for user in candidates if user.id == bound), None):
        return named
    if after is None:
        return None
    for user in candidates:
        ours = user.name == name and user.id > after and user.gid == group.id and user.groups <= {group.id}
        if ours and user.driver == CORE and user.enabled and not user.tokens and user.template.keys() <= _NEW_USER:
            return user
    return None


@attrs.frozen(kw_only=True)
class AdminState:
    """What OpenNebula has of a tenant's administrator account.

    Attributes:
        name: The name that it has, or would have.
        wanted: Whether the tenant is to have one.
        group: The tenant's group, if there is one.
        user: The account, if there is one: by proof the tenant's, whatever it is called and whatever it says.
        last_user: The highest id of a user that was seen; -1 when not all were read.
    """

    name: str
    wanted: bool
    group: GroupRecord | None
    user: UserRecord | None
    last_user: int = -1

    @property
    def bound(self) -> bool:
        """Whether the group names the account as its own."""
        return self.group is not None and self.user is not None and bound_user(self.group) == self.user.id

    @property
    def settled(self) -> bool:
        """Whether the account was once finished, with a password that its owner can know."""
        return self.bound and self.group is not None and ready_user(self.group) is not None

    def differences(self) -> Iterator[Difference]:
        """What is to be mended, in order."""
        user, group = self.user, self.group
        if not self.wanted:
            bound = None if group is None else bound_user(group)
            if (user_id := bound if user is None else user.id) is not None:
                yield Difference(Kind.ADMIN_GONE, Change("delete", f"user {user_id} ({self.name})"), user_id)
            return
        if user is None or group is None:
            yield Difference(Kind.ADMIN, Change("create", f"user {self.name}"))
            return
        its_name = f"user {user.id} ({user.name})"
        if not self.settled:
            yield Difference(Kind.ADMIN, Change("set", f"{its_name} as administrator of group {group.id}"), user.id)
            return
        if user.gid != group.id:
            change = Change("set", f"primary group of {its_name}", str(user.gid), str(group.id))
            yield Difference(Kind.ADMIN_GROUP, change, user.id)
        if user.id not in group.admins:
            yield Difference(
                Kind.ADMIN_RIGHTS, Change("add", f"{its_name} to administrators of group {group.id}"), user.id
            )


def observe_admin(reader: Reader, tenant: str, group: GroupRecord | None, *, wanted: bool) -> AdminState:
    """Look for a tenant's administrator account; see `account_of`. Whatever else has its name is not touched.

    Args:
        reader: Reads from OpenNebula.
        tenant: The tenant's name.
        group: The tenant's group, which was found by proof; None while there is none.
        wanted: Whether the tenant is to have an account.

    Returns:
        What is there.

    Raises:
        Conflict: The name is taken by a user who is not the tenant's account.
        NotAuthorized: The account that calls does not see all users.
    """
    name = admin_name(tenant)
    if group is not None and (bound := bound_user(group)) is not None:
        user = read_user(reader, bound)
        if user is not None:
            return AdminState(name=name, wanted=wanted, group=group, user=user)
    if not wanted and (group is None or claimed_after(group) is None):
        return AdminState(name=name, wanted=False, group=group, user=None)
    users = read_users(reader)
    user = None if group is None else account_of(users, name, group)
    namesake = next((other for other in users if other.name == name), None)
    if user is None and wanted and namesake is not None:
        # Another run for this tenant may have claimed or bound it since the group was read: the group of now tells.
        group = None if group is None else read_group(reader, group.id)
        user = None if group is None else account_of(users, name, group)
        if user is None:
            raise Conflict(
                f"the name {name} is taken by user {namesake.id}, which is not the administrator account of the tenant "
                f"{tenant}: choose another name, or remove that user"
            )
    last_user = max(user.id for user in users)
    return AdminState(name=name, wanted=wanted, group=group, user=user, last_user=last_user)
