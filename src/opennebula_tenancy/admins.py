"""`Admins`: the administrator accounts of a cloud's tenants, as far as their passwords go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opennebula_tenancy import admin_mark, ownership
from opennebula_tenancy.admin_calls import AdminCalls
from opennebula_tenancy.admin_credentials import Credentials, ResetIncomplete
from opennebula_tenancy.admin_state import observe_admin, read_user
from opennebula_tenancy.admin_user import AdminUser
from opennebula_tenancy.admin_work import AdminWork
from opennebula_tenancy.compensation import Compensations
from opennebula_tenancy.errors import Conflict, TenancyError, VerificationFailed, WentAway
from opennebula_tenancy.retreat import Retreat
from opennebula_tenancy.tenant_mark import VDC_ID, is_tenant
from opennebula_tenancy.tenant_search import read_group


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from opennebula_tenancy._transport.rpc import Rpc
    from opennebula_tenancy._wire.records import GroupRecord
    from opennebula_tenancy._wire.user_records import UserRecord
    from opennebula_tenancy.admin_credentials import CredentialSource
    from opennebula_tenancy.admin_state import AdminState


_INTERRUPTED = 100
"""How many resets in a row may have been interrupted before the password that holds is not known any more."""


class Admins:
    """The accounts.

    Args:
        rpc: Calls OpenNebula.
        source: Where passwords come from.
        turn: Given the key of a tenant, keeps other threads from it.
    """

    def __init__(self, rpc: Rpc, source: CredentialSource, turn: Callable[[str], AbstractContextManager[None]]) -> None:
        self._rpc = rpc
        self._source = source
        self._turn = turn

    def of(self, group: GroupRecord, given: Credentials | None = None) -> AdminUser | None:
        """The account of a tenant, None when it has none that is finished. Calls nothing.

        Args:
            group: The tenant's group.
            given: The credentials that were set a moment ago, if they were.
        """
        if (user_id := admin_mark.ready_user(group)) is None:
            return None
        name = admin_mark.admin_name(group.name)
        return AdminUser(user_id, name, group.id, group.template.get(ownership.KEY, ""), self, given)

    def ensure(self, group: GroupRecord) -> AdminUser:
        """Make a tenant's account what it is to be, from whatever state it is in, and touch nothing else of the tenant.

        Args:
            group: The tenant's group.

        Returns:
            The account, which knows the credentials that were set by this call.
        """
        key = group.template[ownership.KEY]
        with self._turn(key):
            undo, retreat = Compensations(), Retreat(self._rpc, lambda: int(group.template[VDC_ID]))
            work = AdminWork(
                self._rpc, group.name, key, self._source, undo=undo, retreat=retreat, group=lambda: group.id
            )
            mending = work.mending()
            with retreat, undo:
                for difference in self._state(group.id, key).differences():
                    mending[difference.kind](difference.ident)
                after = self._state(group.id, key)
                if left := "; ".join(str(difference.change) for difference in after.differences()):
                    raise VerificationFailed(
                        f"OpenNebula accepted every call for {after.name}, yet would still: {left}"
                    )
        if after.group is None or (admin := self.of(after.group, work.credentials)) is None:
            raise WentAway(f"the account {after.name} was removed while it was made")
        return admin

    def _state(self, group_id: int, key: str) -> AdminState:
        group = self._tenant(group_id, key)
        return observe_admin(self._rpc, group.name, group, wanted=True)

    def derived(self, group: GroupRecord) -> Credentials | None:
        """The credentials that follow from the secret for a tenant's account. Calls nothing, and compares nothing.

        Args:
            group: The tenant's group.

        Returns:
            The credentials; None without a secret, or where the tenant has no account that is finished.
        """
        if (user_id := admin_mark.ready_user(group)) is None:
            return None
        name, key = admin_mark.admin_name(group.name), group.template.get(ownership.KEY, "")
        password = self._source.derived(key, user_id, name, admin_mark.generation_of(group))
        return None if password is None else Credentials(name, password)

    def credentials(self, admin: AdminUser, given: Credentials | None) -> Credentials | None:
        """The credentials that OpenNebula takes at this moment; see `AdminUser.credentials`."""
        group, user = self._account(admin)
        for password in self._candidates(admin.key, group, user, given):
            if user.has_password(password):
                return Credentials(user.name, password)
        return None

    def takes(self, admin: AdminUser, password: str) -> bool:
        """Whether OpenNebula takes this password; see `AdminUser.takes`."""
        return self._account(admin)[1].has_password(password)

    def _candidates(self, key: str, group: GroupRecord, user: UserRecord, given: Credentials | None) -> Iterator[str]:
        """Passwords that may be the account's, likely ones first: it is the digest at oned that tells."""
        newest = admin_mark.generation_of(group)
        for generation in range(newest, max(newest - _INTERRUPTED, 0), -1):
            if (derived := self._source.derived(key, user.id, user.name, generation)) is None:
                break
            yield derived
        if given is not None:
            yield given.password
        if self._source.legacy_attribute is not None:
            yield user.template.get(self._source.legacy_attribute, "")

    def reset_password(self, admin: AdminUser) -> Credentials:
        """Give an account a new password; see `AdminUser.reset_password`."""
        calls = AdminCalls(self._rpc)
        legacy = self._source.legacy_attribute
        with self._turn(admin.key):
            group, user = self._account(admin)
            # Counted first, and never counted down: no password is given out twice, whatever interrupts this.
            generation = admin_mark.generation_of(group) + 1
            calls.mark_group(group.id, admin_mark.counted(generation))
            password = self._source.new(admin.key, user.id, user.name, generation)
            calls.set_password(user.id, password)
            credentials = Credentials(user.name, password)
            try:
                if legacy is not None and legacy in user.template:
                    calls.remove_attribute(user.id, legacy)
                after = self._account(admin)[1]
            except TenancyError as error:
                raise ResetIncomplete(credentials, error) from error
        if not after.has_password(password):
            raise VerificationFailed(f"OpenNebula accepted a new password for {user.name}, and does not have it")
        if left := list(_left_of_before(after, legacy)):
            raise ResetIncomplete(credentials, VerificationFailed(f"user {user.name} still has {' and '.join(left)}"))
        return credentials

    def _tenant(self, group_id: int, key: str) -> GroupRecord:
        """The group of a tenant, after proof that it is still that."""
        group = read_group(self._rpc, group_id)
        if not is_tenant(group) or group.template[ownership.KEY] != key:
            raise Conflict(f"group {group.id} ({group.name}) is not the tenant with the key {key} any more")
        return group

    def _account(self, admin: AdminUser) -> tuple[GroupRecord, UserRecord]:
        """The group and the user of an account, after proof that they still belong together."""
        group = self._tenant(admin.group_id, admin.key)
        if (bound := admin_mark.bound_user(group)) != admin.id:
            now = "it has none" if bound is None else f"that is user {bound}"
            raise WentAway(f"user {admin.id} is not the administrator account of {group.name} any more: {now}")
        user = read_user(self._rpc, admin.id)
        if user is None:
            raise WentAway(f"user {admin.id} ({admin.name}), the administrator account of {group.name}, was removed")
        return group, user


def _left_of_before(user: UserRecord, legacy: str | None) -> Iterator[str]:
    """What was valid before a reset, and is there all the same."""
    if user.tokens:
        yield "login tokens"
    if legacy is not None and legacy in user.template:
        yield f"the attribute {legacy}"
