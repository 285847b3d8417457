"""`AdminCalls`: the single calls that an administrator's account is made and unmade with."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from opennebula_tenancy import ownership
from opennebula_tenancy._wire.template import render
from opennebula_tenancy._wire.user_records import CORE, template_without
from opennebula_tenancy.admin_credentials import random_password
from opennebula_tenancy.admin_mark import ADMIN_ROLE
from opennebula_tenancy.admin_state import account_of, read_user, read_users
from opennebula_tenancy.converging import MERGE
from opennebula_tenancy.errors import AlreadyExists, Conflict
from opennebula_tenancy.tenant_calls import TenantCalls
from opennebula_tenancy.tenant_search import read_group


if TYPE_CHECKING:
    from collections.abc import Callable

    from opennebula_tenancy._wire.user_records import UserRecord


_REPLACE = 0
"""The argument of one.user.update that drops the attributes that are not named."""


class AdminCalls(TenantCalls):
    """The calls on the account, beside those on its tenant; each with the look that settles it."""

    def create_user(self, name: str, group_id: int) -> tuple[int, bool]:
        """Make the account in a group that claims it, with a password that nobody knows.

        Args:
            name: Its name.
            group_id: The tenant's group.

        Returns:
            The id of the user, and whether it was made here: not by another run for the tenant meanwhile.

        Raises:
            Conflict: The name has just been taken by another user.
        """

        def look() -> int | None:
            # Users first: one that another run has made since is bound in the group by the time that it is touched.
            users = read_users(self._rpc)
            user = account_of(users, name, read_group(self._rpc, group_id))
            return None if user is None else user.id

        try:
            return self._rpc.mutate("one.user.allocate", name, random_password(), CORE, [group_id], look=look), True
        except AlreadyExists as error:
            if (found := look()) is not None:
                return found, False
            raise Conflict(f"the name {name} was just taken by a user who is not this tenant's") from error

    def mark_user(self, user_id: int, key: str) -> None:
        """Write whose it is into the template of an account, keeping all other attributes."""
        marks = ownership.mark(key, ADMIN_ROLE)
        look = self._settles(user_id, lambda user: marks.items() <= user.template.items())
        self._rpc.mutate("one.user.update", user_id, render(marks), MERGE, look=look)

    def set_primary_group(self, user_id: int, group_id: int) -> None:
        """Make a group the primary one of a user."""
        look = self._settles(user_id, lambda user: user.gid == group_id)
        self._converge("one.user.chgrp", user_id, group_id, look=look)

    def grant_administration(self, group_id: int, user_id: int) -> None:
        """Make a member an administrator of a group, with the rules that oned adds for one."""

        def look() -> int | None:
            return group_id if user_id in read_group(self._rpc, group_id).admins else None

        self._converge("one.group.addadmin", group_id, user_id, look=look)

    def set_password(self, user_id: int, password: str) -> None:
        """Give a user a password, which ends what was valid before it: passwords, login tokens, sessions.

        Not with one.user.passwd: that keeps the password as it is, in plain text, for a user who logs in by another
        driver, and administrators can choose theirs.
        """
        look = self._settles(user_id, lambda user: user.has_password(password) and not user.tokens)
        self._rpc.mutate("one.user.chauth", user_id, CORE, password, look=look)

    def remove_attribute(self, user_id: int, name: str) -> None:
        """Remove an attribute from the template of a user: all others are written back as they are."""

        def rest() -> str:
            return template_without(self._rpc.read("one.user.info", user_id), name)

        look = self._settles(user_id, lambda user: name not in user.template)
        self._rpc.mutate("one.user.update", user_id, rest, _REPLACE, look=look)

    def remove_user(self, user_id: int, *, before: Callable[[], None] | None = None) -> None:
        """Remove a user; what belongs to it stays with its group.

        Args:
            user_id: The user.
            before: Called before each attempt; what it raises keeps the user.
        """
        self._remove("one.user.delete", "one.user.info", user_id, before=before)

    def _settles(self, user_id: int, is_so: Callable[[UserRecord], bool]) -> Callable[[], int | None]:
        return functools.partial(self._look_at, user_id, is_so)

    def _look_at(self, user_id: int, is_so: Callable[[UserRecord], bool]) -> int | None:
        user = read_user(self._rpc, user_id)
        return user_id if user is not None and is_so(user) else None
