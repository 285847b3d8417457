"""`onetenant-waldur-agent reset-password`: a new password for the administrator account of one tenant."""

import contextlib
from collections.abc import Iterator
from uuid import UUID

import attrs

from onetenant_waldur.admin_accounts import AccountNotes
from onetenant_waldur.agent import Agent
from onetenant_waldur.offering import Offering
from onetenant_waldur.outage import WORK_ERRORS
from onetenant_waldur.records import ResourceRecord
from opennebula_tenancy import AdminUser, Credentials, ResetIncomplete, TenancyError, Vdc


class ResetFailed(Exception):
    """Why there is no new password, or Waldur does not show it, in a sentence for the operator.

    Attributes:
        known: The new credentials, where the account has them already.
    """

    def __init__(self, sentence: str, known: Credentials | None = None) -> None:
        super().__init__(sentence)
        self.known = known


@attrs.frozen
class _Found:
    offering: Offering
    resource: ResourceRecord
    tenant: Vdc


def reset_password(agent: Agent, wanted: str) -> Credentials:
    """Give the administrator account of a tenant a new password, and show it in Waldur.

    Args:
        agent: The agent, for its offerings.
        wanted: The uuid of the resource in Waldur, or the name of the tenant, or the id of its group.

    Returns:
        The new credentials.

    Raises:
        ResetFailed: There is no such tenant, or its offering gives it no account, or a server refused or is not there.
    """
    try:
        found = list(_find(agent, wanted))
    except WORK_ERRORS as error:
        raise ResetFailed(f"cannot look for {wanted}: {error}") from error
    if not found:
        raise ResetFailed(f"there is no tenant {wanted} among the resources of these offerings")
    if len(found) > 1:
        uuids = ", ".join(str(one.resource.uuid) for one in found)
        raise ResetFailed(f"{wanted} is said of more than one tenant: give the uuid of the resource, one of {uuids}")
    (one,) = found
    tenant = one.tenant
    if one.offering.settings.backend_settings.create_opennebula_user:
        try:
            tenant = one.offering.cloud.vdcs.ensure_admin(tenant.id)
        except TenancyError as error:
            raise ResetFailed(f"cannot make the administrator account of {tenant.name}: {error}") from error
    if (admin := tenant.admin) is None:
        raise ResetFailed(f"the tenant {tenant.name} has no administrator account, and its offering gives none")
    return _reset(one, admin)


def _reset(found: _Found, admin: AdminUser) -> Credentials:
    problems: list[str] = []
    try:
        known = admin.reset_password()
    except ResetIncomplete as error:
        known = error.credentials
        problems.append(f"OpenNebula was not done: {error.cause}")
    except TenancyError as error:
        raise ResetFailed(f"cannot reset the password of {admin.name}: {error}; run the same command again") from error
    try:
        if not AccountNotes(found.offering, found.resource).show(known):
            problems.append("Waldur was not told: it does not show it")
    except WORK_ERRORS as error:
        problems.append(f"Waldur was not told: {error}")
    if problems:
        said = ", and ".join(problems)
        raise ResetFailed(f"the password of {admin.name} was reset, and {said}; run the same command again", known)
    return known


def _find(agent: Agent, wanted: str) -> Iterator[_Found]:
    """The tenants of the agent's offerings that may be meant: each has a resource there with its key."""
    uuid: UUID | None = None
    with contextlib.suppress(ValueError):
        uuid = UUID(wanted)
    for offering in agent.offerings:
        tenants = {one.key: one for one in offering.cloud.vdcs.list() if _is_meant(one, wanted, uuid)}
        if not tenants:
            continue
        for resource in offering.waldur.reportable_resources(offering.settings.waldur_offering_uuid):
            if resource.key in tenants:
                yield _Found(offering, resource, tenants[resource.key])


def _is_meant(tenant: Vdc, wanted: str, uuid: UUID | None) -> bool:
    if uuid is not None and tenant.key == uuid.hex:
        return True
    return wanted in {tenant.name, str(tenant.id)}
