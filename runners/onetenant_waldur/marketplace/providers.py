"""Service providers, and the SSH keys of those they serve."""

from typing import Any

from onetenant_waldur.marketplace import paging, permissions, refusals
from onetenant_waldur.marketplace.endpoints import (
    COLLECTION,
    READ_ONLY,
    Call,
    Reply,
    Route,
    find,
    listing,
    route,
    stamp,
)
from onetenant_waldur.marketplace.records import Organisation, User


def _show_provider(call: Call, customer: Organisation) -> dict[str, Any]:
    return {
        "url": f"{call.root}marketplace-service-providers/{customer.provider_uuid}/",
        "uuid": customer.provider_uuid,
        "created": stamp(customer.created),
        "description": "",
        "enable_notifications": True,
        "customer": f"{call.root}customers/{customer.uuid}/",
        "customer_name": customer.name,
        "customer_uuid": customer.uuid,
        "customer_image": None,
        "customer_abbreviation": customer.abbreviation,
        "customer_native_name": "",
        "customer_country": "",
        "image": None,
        "organization_group": None,
        "offering_count": sum(offering.customer is customer for offering in call.state.offerings),
    }


def _providers(call: Call) -> list[Organisation]:
    providing = {offering.customer.uuid for offering in call.state.offerings}
    providers = [customer for customer in call.state.organisations if customer.uuid in providing]
    return sorted(providers, key=lambda customer: customer.name)


def list_providers(call: Call) -> Reply:
    """Organisations that have offerings. Anybody may see them."""
    filters = {"customer_uuid": paging.by_uuid(lambda customer: customer.uuid)}
    return listing(call, paging.choose(_providers(call), call.query, filters), lambda one: _show_provider(call, one))


def list_keys(call: Call, uuid: str) -> Reply:
    """SSH keys of everybody in a project that has a resource of the provider. Only its owner may see them."""
    provider = find("ServiceProvider", _providers(call), uuid, lambda customer: customer.provider_uuid)
    if not permissions.owns_organisation(call.user, provider):
        raise refusals.denied()
    projects = {
        resource.project.uuid: resource.project
        for resource in call.state.resources
        if resource.offering.customer is provider
    }
    users = {
        user.uuid: user
        for project in projects.values()
        for user, _role in permissions.members(call.state.users, project)
    }
    rows = [_show_key(call, user, index) for user in users.values() for index in range(len(user.keys))]
    return listing(call, rows, dict)


def _show_key(call: Call, user: User, index: int) -> dict[str, Any]:
    key = user.keys[index]
    return {
        "url": f"{call.root}keys/{key.uuid}/",
        "uuid": key.uuid,
        "name": key.name,
        "public_key": key.public_key,
        "fingerprint_md5": ":".join(f"{byte:02x}" for byte in key.digest("md5")),
        "fingerprint_sha256": key.fingerprint("sha256"),
        "fingerprint_sha512": key.fingerprint("sha512"),
        "user_uuid": user.uuid,
        "is_shared": False,
        "type": key.public_key.partition(" ")[0],
    }


ROUTES: tuple[Route, ...] = (
    route("marketplace-service-providers/", COLLECTION, GET=list_providers),
    route("marketplace-service-providers/<uuid>/keys/", READ_ONLY, GET=list_keys),
)
