"""The administrator accounts of tenants, and what Waldur shows of them.

Credentials go to Waldur and nowhere else: not into a log, an error or OpenNebula's templates.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import attrs

from onetenant_waldur.notes import PASSWORD, write_notes
from onetenant_waldur.offering import Offering
from onetenant_waldur.records import ResourceRecord
from onetenant_waldur.resource_orders import OrderProblem
from opennebula_tenancy import Credentials, Vdc, VdcSpec, VerificationFailed


USERNAME = "opennebula_username"
EXECUTING = "executing"
_ROUNDS = 5
"""How often other agents at the same order may change the password in the middle of a hand-over."""


def with_account(offering: Offering, spec: VdcSpec) -> VdcSpec:
    """What is asked for, with an account where the offering has them. Where it has none, one that is there stays."""
    return attrs.evolve(spec, admin=True) if offering.settings.backend_settings.create_opennebula_user else spec


@attrs.frozen
class AccountNotes:
    """What Waldur shows of the account of one resource.

    Attributes:
        offering: The resource's offering.
        resource: The resource.
    """

    offering: Offering
    resource: ResourceRecord

    def hand_over(self, tenant: Vdc, order: UUID | None = None, sent: Mapping[str, Any] | None = None) -> None:
        """Show the credentials of a new account, and make sure that they are what OpenNebula takes.

        A password that was random, and set by a run that was killed before it could show it, is known to nobody: it is
        reset. As long as the order is not done, nobody relies on one.

        Args:
            tenant: The tenant, which has an account where the offering has them.
            order: The order that it is done for. Once another agent has ended it, what that one shows is not reset any
                more.
            sent: All of the metadata as this run has replaced it, if it has: maybe that of another agent.

        Raises:
            OrderProblem: Waldur does not show them, or they are changed again and again.
            TenancyError: OpenNebula refused, or is not there.
            WaldurError: Waldur refused, or is not there.
        """
        if not self._are_shown:
            return
        if (admin := tenant.admin) is None:  # pragma: no cover  # what was made has one, or else is no success
            raise OrderProblem("The tenant has no administrator account.")
        written = _in_metadata(sent or {})
        for _ in range(_ROUNDS):
            if (known := admin.credentials()) is None:
                if (shown := self._shown()) is not None and admin.takes(shown.password):
                    return
                # As late as can be: another agent that has ended the order has handed over what logs in, and if that
                # is shown no more, because this run wrote over it, nobody can read it.
                if order is not None and self._is_ended(order) and self._shown() not in {None, written}:
                    return
                try:
                    known = admin.reset_password()
                except VerificationFailed:  # that of another agent at the same order came after it
                    continue
            # Another agent at the same order may have found the password unknown, and reset it.
            written = known
            if self.show(known) and admin.takes(known.password):
                return
        raise OrderProblem(f"The credentials of {admin.name} could not be shown in Waldur.")

    def _is_ended(self, order: UUID) -> bool:
        return self.offering.waldur.order_state(order) != EXECUTING

    def show_again(self, tenant: Vdc) -> None:
        """Show the credentials that OpenNebula takes, where they are known. What is shown of others is left alone.

        Args:
            tenant: The tenant.

        Raises:
            TenancyError: OpenNebula refused, or is not there.
            WaldurError: Waldur refused, or is not there.
        """
        if self._are_shown and tenant.admin is not None and (known := tenant.admin.credentials()) is not None:
            self.show(known)

    def keep_shown(self, derived: Credentials | None) -> None:
        """Show the credentials again that follow from the secret, where Waldur has others or none by now.

        Args:
            derived: Those that follow from the secret; None where they do not.

        Raises:
            TenancyError: OpenNebula refused, or is not there.
            WaldurError: Waldur refused, or is not there.
        """
        if not self._are_shown or derived is None or _in_metadata(self.resource.backend_metadata) == derived:
            return
        tenant = self.offering.cloud.vdcs.get(int(self.resource.backend_id))
        if tenant.key == self.resource.key:
            self.show_again(tenant)

    def show_none(self) -> None:
        """Show an empty password: the account is gone, or was never there, and another one comes."""
        if self._are_shown:
            write_notes(self.offering, self.resource.uuid, metadata={PASSWORD: ""})

    def show_new(self, tenant: Vdc) -> None:
        """Show the credentials of an account that has come, if that is still to be done; see `show_none`.

        Args:
            tenant: The tenant.

        Raises:
            OrderProblem: Waldur does not show them.
            TenancyError: OpenNebula refused, or is not there.
            WaldurError: Waldur refused, or is not there.
        """
        if not self._are_shown or tenant.admin is None:
            return
        if self.offering.waldur.resource(self.resource.uuid).backend_metadata.get(PASSWORD) == "":
            self.hand_over(tenant)

    def show(self, known: Credentials) -> bool:
        """Show credentials, beside all else that is shown.

        Args:
            known: The credentials.

        Returns:
            Whether Waldur shows them now.

        Raises:
            WaldurError: Waldur refused, or is not there.
        """
        self.offering.redaction.learn(known.password)
        metadata = {USERNAME: known.username, PASSWORD: known.password}
        write_notes(self.offering, self.resource.uuid, metadata=metadata)
        return self._shown() == known

    @property
    def _are_shown(self) -> bool:
        return self.offering.settings.backend_settings.create_opennebula_user

    def _shown(self) -> Credentials | None:
        found = _in_metadata(self.offering.waldur.resource(self.resource.uuid).backend_metadata)
        if found is not None:
            self.offering.redaction.learn(found.password)
        return found


def _in_metadata(metadata: Mapping[str, Any]) -> Credentials | None:
    """The credentials that stand beside a resource."""
    username, password = metadata.get(USERNAME), metadata.get(PASSWORD)
    if not (isinstance(username, str) and isinstance(password, str) and password):
        return None
    return Credentials(username, password)
