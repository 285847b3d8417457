"""The user who asks, and the version of what answers."""

from typing import Any

from onetenant_waldur.marketplace import paging, refusals
from onetenant_waldur.marketplace.endpoints import READ_ONLY, Call, Reply, Route, route, stamp
from onetenant_waldur.marketplace.records import Grant, Organisation, User


VERSION = "7.0.7+2.g1ea6cb820"
"""The release of Waldur Mastermind whose answers these are."""


def _show_grant(user: User, grant: Grant) -> dict[str, Any]:
    scope = grant.scope
    shown: dict[str, Any] = {
        "user_uuid": user.uuid,
        "user_name": user.full_name,
        "user_slug": user.slug,
        "created": stamp(grant.created),
        "expiration_time": None,
        "role_name": grant.role.label,
        "role_description": grant.role.description,
        "role_uuid": grant.role.uuid,
        "scope_type": "customer" if isinstance(scope, Organisation) else type(scope).__name__.lower(),
        "scope_uuid": scope.uuid,
        "scope_name": scope.name,
    }
    if not isinstance(scope, Organisation):
        shown |= {"customer_uuid": scope.customer.uuid, "customer_name": scope.customer.name}
    return shown


def retrieve_me(call: Call) -> Reply:
    """The user whose token was sent, with their roles."""
    user = call.user
    shown = {
        "url": f"{call.root}users/{user.uuid}/",
        "uuid": user.uuid,
        "username": user.username,
        "slug": user.slug,
        "full_name": user.full_name,
        "native_name": "",
        "job_title": "",
        "email": user.email,
        "phone_number": "",
        "organization": "",
        "civil_number": None,
        "token": user.token,
        "token_lifetime": 315360000,
        "registration_method": "default",
        "date_joined": stamp(user.joined),
        "agreement_date": None,
        "preferred_language": "",
        "permissions": [_show_grant(user, grant) for grant in user.grants],
        "requested_email": None,
        "affiliations": [],
        "first_name": user.first_name,
        "last_name": user.last_name,
        "identity_provider_name": "Local DB",
        "identity_provider_label": "Local DB",
        "identity_provider_management_url": "",
        "identity_provider_fields": [],
        "image": None,
        "identity_source": "",
    }
    return Reply(paging.select(shown, call.query))


def retrieve_version(call: Call) -> Reply:
    """The release, for staff only."""
    if not call.user.is_staff:
        raise refusals.denied()
    return Reply({"version": VERSION})


ROUTES: tuple[Route, ...] = (
    route("users/me/", READ_ONLY, GET=retrieve_me),
    route("version/", "OPTIONS, GET", GET=retrieve_version),
)
