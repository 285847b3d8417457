"""`AdminUser`: the account that administers a tenant from inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy.display import Table


if TYPE_CHECKING:
    from opennebula_tenancy.admin_credentials import Credentials
    from opennebula_tenancy.admins import Admins


@attrs.define(frozen=True, eq=False)
class AdminUser:
    """The account that administers a tenant: an OpenNebula user who is an administrator of the tenant's group.

    Who logs in with it creates virtual machines, images and users of the tenant, within the tenant's limits, and sees
    no other tenant.

    Attributes:
        id: The id of the user.
        name: The name of the user.
        group_id: The id of the tenant's group.
        key: The tenant's key.
    """

    id: int
    name: str
    group_id: int
    key: str
    _admins: Admins = attrs.field(repr=False)
    _given: Credentials | None = attrs.field(default=None, repr=False)

    def credentials(self) -> Credentials | None:
        """The credentials that OpenNebula takes at this moment.

        With a secret they are derived again, and are the same at every start. Without one they are known only to what
        the run that made the account has returned. Each is compared with what OpenNebula has before it is given.

        Returns:
            The credentials; None when they are not known, because they were random, or the user has changed them.

        Raises:
            WentAway: The account is not there any more.
            Conflict: The group is not this tenant's any more.
        """
        return self._admins.credentials(self, self._given)

    def takes(self, password: str) -> bool:
        """Whether this is the password that OpenNebula takes at this moment. It is compared, and not sent.

        Args:
            password: The password.

        Raises:
            WentAway: The account is not there any more.
            Conflict: The group is not this tenant's any more.
        """
        return self._admins.takes(self, password)

    def reset_password(self) -> Credentials:
        """Give the account a new password. All that was valid before is refused: passwords, login tokens, sessions.

        An account that its user has switched to another way of logging in logs in by password again. One that is
        disabled stays so.

        Returns:
            The new credentials. Without a secret nobody can ask for them again.

        Raises:
            WentAway: The account is not there any more.
            Conflict: The group is not this tenant's any more.
            VerificationFailed: OpenNebula accepted the password and has another.
            ResetIncomplete: The password is the new one, which the error carries; something is left to be done.
        """
        return self._admins.reset_password(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AdminUser) and (self.id, self.key) == (other.id, other.key)

    def __hash__(self) -> int:
        return hash((self.id, self.key))

    def _repr_html_(self) -> str:
        return Table(("administrator", self.name), [("user", str(self.id)), ("group", str(self.group_id))]).html()
