"""The administrator accounts of tenants, and what Waldur shows of them.

Credentials go to Waldur and nowhere else: not into a log, an error or OpenNebula's templates.
"""

import attrs

from onetenant_waldur.notes import PASSWORD, write_notes
from onetenant_waldur.offering import Offering
from onetenant_waldur.records import ResourceRecord
from onetenant_waldur.resource_orders import OrderProblem
from opennebula_tenancy import Credentials, Vdc, VdcSpec


USERNAME = "opennebula_username"
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

    def hand_over(self, tenant: Vdc) -> None:
        """Show the credentials of a new account, and make sure that they are what OpenNebula takes.

        A password that was random, and set by a run that was killed before it could show it, is known to nobody: it is
        reset. As long as the order is not done, nobody relies on one.

        Args:
            tenant: The tenant, which has an account where the offering has them.

        Raises:
            OrderProblem: Waldur does not show them, or they are changed again and again.
            TenancyError: OpenNebula refused, or is not there.
            WaldurError: Waldur refused, or is not there.
        """
        if not self._are_shown:
            return
        if (admin := tenant.admin) is None:  # pragma: no cover  # what was made has one, or else is no success
            raise OrderProblem("The tenant has no administrator account.")
        for _ in range(_ROUNDS):
            if (known := admin.credentials()) is None:
                if (shown := self._shown()) is not None and admin.takes(shown.password):
                    return
                known = admin.reset_password()
            # Another agent at the same order may have found the password unknown, and reset it.
            if self.show(known) and admin.takes(known.password):
                return
        raise OrderProblem(f"The credentials of {admin.name} could not be shown in Waldur.")

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
        metadata = self.offering.waldur.resource(self.resource.uuid).backend_metadata
        username, password = metadata.get(USERNAME), metadata.get(PASSWORD)
        if not (isinstance(username, str) and isinstance(password, str) and password):
            return None
        self.offering.redaction.learn(password)
        return Credentials(username, password)
