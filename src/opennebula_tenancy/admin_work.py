"""`AdminWork`: makes the administrator account of a tenant, and takes it away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opennebula_tenancy import admin_mark, ownership
from opennebula_tenancy.admin_calls import AdminCalls
from opennebula_tenancy.admin_credentials import Credentials
from opennebula_tenancy.admin_state import observe_admin, read_user
from opennebula_tenancy.difference import Kind
from opennebula_tenancy.errors import NotFound, VerificationFailed, WentAway
from opennebula_tenancy.tenant_mark import GROUP_ROLE
from opennebula_tenancy.tenant_search import read_group


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opennebula_tenancy._transport.rpc import Rpc
    from opennebula_tenancy._wire.records import GroupRecord
    from opennebula_tenancy._wire.user_records import UserRecord
    from opennebula_tenancy.admin_credentials import CredentialSource
    from opennebula_tenancy.admin_state import AdminState
    from opennebula_tenancy.compensation import Compensations
    from opennebula_tenancy.retreat import Retreat


_MEETINGS = 5
"""How often other runs for the tenant may set a password of their own at the same moment."""


class _FinishedError(Exception):
    """The tenant is finished, so that nothing of it is taken back."""


class AdminWork:
    """The work on the account of one tenant.

    An account is made in an order that any run can take up: the group claims it, it is made, the group is bound to its
    id, it is given its rights and its password, and then the group says that this is done.

    Args:
        rpc: Calls OpenNebula.
        tenant: The tenant's name.
        key: The tenant's key.
        source: Where its password comes from.
        undo: Where it is said how what is made is unmade.
        retreat: Where it is said that it is being unmade.
        group: Gives the id of the tenant's group, once it is there.
    """

    def __init__(
        self,
        rpc: Rpc,
        tenant: str,
        key: str,
        source: CredentialSource,
        *,
        undo: Compensations,
        retreat: Retreat,
        group: Callable[[], int],
    ) -> None:
        self._rpc = rpc
        self._calls = AdminCalls(rpc)
        self._tenant = tenant
        self._key = key
        self._source = source
        self._undo = undo
        self._retreat = retreat
        self._group = group
        self._made: int | None = None
        self._given: Credentials | None = None

    @property
    def credentials(self) -> Credentials | None:
        """The credentials that this run has set, None when it has set none."""
        return self._given

    def mending(self) -> Mapping[Kind, Callable[[int], object]]:
        """How each kind of difference is mended."""
        return {
            Kind.ADMIN_GONE: self._remove,
            Kind.ADMIN: lambda _: self._create(),
            Kind.ADMIN_GROUP: lambda user_id: self._calls.set_primary_group(user_id, self._group()),
            Kind.ADMIN_RIGHTS: lambda user_id: self._calls.grant_administration(self._group(), user_id),
        }

    def _create(self) -> None:
        state = self._state()
        if state.user is None:
            # It has no rights yet, and a password that nobody knows.
            with self._undo.making(self._left, self._unmake) as making:
                self._calls.mark_group(self._group(), admin_mark.claim(state.last_user))
                user_id, making.ours = self._calls.create_user(state.name, self._group())
                if making.ours:
                    self._made = user_id
            state = self._state()
        if state.user is None or state.group is None:
            raise self._removed(state)
        self._finish(state, state.user, state.group)

    def _finish(self, state: AdminState, user: UserRecord, group: GroupRecord) -> None:
        """Give an account that is there what it lacks."""
        calls = self._calls
        if not state.bound or admin_mark.claimed_after(group) is not None:
            calls.mark_group(group.id, admin_mark.bound_to(user.id))
        if not ownership.carries(user.template, self._key, admin_mark.ADMIN_ROLE):
            calls.mark_user(user.id, self._key)
        if user.gid != group.id:
            calls.set_primary_group(user.id, group.id)
        if user.id not in group.admins:
            calls.grant_administration(group.id, user.id)
        if not state.settled:
            self._set_password(user.id)

    def _set_password(self, user_id: int) -> None:
        """Give the account its first password, unless another run has, just now."""
        for _ in range(_MEETINGS):
            state = self._state()
            user, group = state.user, state.group
            if user is None or group is None or user.id != user_id:
                raise self._removed(state)
            if state.settled:
                return
            generation = admin_mark.generation_of(group) + 1
            password = self._source.new(self._key, user.id, user.name, generation)
            if user.has_password(password) or self._sets(user.id, password):
                self._calls.mark_group(group.id, admin_mark.ready(user.id, generation))
                self._given = Credentials(user.name, password)
                return
            # Another run for this tenant sets the same one where there is a secret, and one of its own where not.
            if self._source.secret is not None:
                break
        raise VerificationFailed(f"OpenNebula accepted a password for {state.name}, and has another")

    def _sets(self, user_id: int, password: str) -> bool:
        """Set a password, and see whether it is the one that holds."""
        self._calls.set_password(user_id, password)
        after = read_user(self._rpc, user_id)
        return after is not None and after.has_password(password)

    @staticmethod
    def _removed(state: AdminState) -> WentAway:
        return WentAway(f"the account {state.name} was removed while it was made")

    def _remove(self, user_id: int) -> None:
        if admin_mark.claimed_after(read_group(self._rpc, self._group())) is not None:
            # From now on nobody else is taken for the account that was claimed.
            self._calls.mark_group(self._group(), admin_mark.bound_to(user_id))
        self._calls.remove_user(user_id)
        self._calls.mark_group(self._group(), admin_mark.gone(user_id))

    def _left(self) -> str:
        """Names what a failed run would leave behind."""
        name = admin_mark.admin_name(self._tenant)
        return f"user {name}" if self._made is None else f"user {self._made} ({name})"

    def _unmake(self) -> bool:
        """Remove the account that this run made; False when it is finished, by another run for the tenant."""
        self._retreat.begin()
        try:
            return self._take_back()
        except NotFound:  # the group has gone, and could not have with a user in it
            return True

    def _take_back(self) -> bool:
        group = read_group(self._rpc, self._group())
        state = observe_admin(self._rpc, self._tenant, group, wanted=False)
        if (user := state.user) is None or self._made not in {None, user.id}:
            return True
        try:
            self._calls.remove_user(user.id, before=self._refuse_finished)
        except _FinishedError:
            return False
        # A group that is new goes as well, or another run has taken it up, and binds it to another account.
        group = read_group(self._rpc, group.id)
        if ownership.carries(group.template, self._key, GROUP_ROLE) and admin_mark.bound_user(group) in {None, user.id}:
            self._calls.mark_group(group.id, admin_mark.UNBOUND)
        return True

    def _refuse_finished(self) -> None:
        """Keep the account of a tenant that another run has finished. It may do so between any two attempts."""
        group = read_group(self._rpc, self._group())
        if admin_mark.ready_user(group) is not None and ownership.carries(group.template, self._key, GROUP_ROLE):
            raise _FinishedError

    def _state(self) -> AdminState:
        return observe_admin(self._rpc, self._tenant, read_group(self._rpc, self._group()), wanted=True)
