"""Offerings and their plans."""

import decimal
from collections.abc import Callable
from typing import Any

from onetenant_waldur.marketplace import paging, permissions
from onetenant_waldur.marketplace.endpoints import (
    ACTION,
    COLLECTION,
    DETAIL,
    READ_ONLY,
    Call,
    Reply,
    Route,
    find,
    jsonb,
    listing,
    required,
    route,
    stamp,
)
from onetenant_waldur.marketplace.records import BillingType, Component, Offering, Plan


PLAN_TYPES = {
    BillingType.USAGE: "usage-based",
    BillingType.FIXED: "fixed",
    BillingType.ONE_TIME: "one-time",
    BillingType.ON_PLAN_SWITCH: "on-plan-switch",
    BillingType.LIMIT: "limit",
}


def show_component(offering: Offering, component: Component) -> dict[str, Any]:
    """A component as an offering shows it."""
    limited = component.billing_type in {BillingType.LIMIT, BillingType.USAGE}
    return {
        "uuid": component.uuid,
        "billing_type": component.billing_type,
        "type": component.type,
        "name": component.name,
        "description": "",
        "measured_unit": component.measured_unit,
        "limit_period": "month" if limited else None,
        "limit_amount": None,
        "article_code": "",
        "max_value": component.max_value,
        "min_value": component.min_value,
        "max_available_limit": None,
        "is_boolean": False,
        "default_limit": None,
        "factor": None,
        "is_builtin": False,
        "unit_factor": component.unit_factor,
        "offering_uuid": offering.uuid,
        "is_prepaid": False,
    }


def show_plan(offering: Offering, plan: Plan, url: str, resources_count: int) -> dict[str, Any]:
    """A plan under one of its addresses."""
    components = offering.by_name()
    return {
        "url": url,
        "uuid": plan.uuid,
        "name": plan.name,
        "description": plan.description,
        "article_code": "",
        "max_amount": None,
        "archived": False,
        "is_active": True,
        "unit_price": "0.0000000000",
        "unit": "month",
        "init_price": 0,
        "switch_price": 0,
        "backend_id": "",
        "organization_groups": [],
        "prices": {component.type: float(plan.price(component.type)) for component in components},
        "future_prices": {component.type: None for component in components},
        "quotas": {component.type: plan.quotas.get(component.type, 0) for component in components},
        "resources_count": resources_count,
        "plan_type": _plan_type(components, plan),
        "minimal_price": float(_minimal_price(components, plan)),
        "components": [
            {
                "type": component.type,
                "name": component.name,
                "measured_unit": component.measured_unit,
                "billing_type": component.billing_type,
                "amount": plan.quotas.get(component.type, 0),
                "price": f"{plan.price(component.type):.10f}",
                "future_price": None,
            }
            for component in components
        ],
    }


def _plan_type(components: list[Component], plan: Plan) -> str | None:
    kinds = {component.billing_type for component in components if plan.price(component.type)}
    return "mixed" if len(kinds) > 1 else PLAN_TYPES[kinds.pop()] if kinds else None


def _minimal_price(components: list[Component], plan: Plan) -> decimal.Decimal:
    """As Waldur's get_minimal_price: one unit of what has a limit, and the plan's amount of what is fixed."""
    price = decimal.Decimal(0)
    for component in components:
        match component.billing_type:
            case BillingType.LIMIT | BillingType.ONE_TIME:
                price += plan.price(component.type)
            case BillingType.FIXED:
                price += plan.price(component.type) * (plan.quotas.get(component.type, 0) or 1)
    return price


def _resources_count(call: Call, plan: Plan) -> int:
    return sum(resource.plan is plan for resource in call.state.resources)


def public_plan_url(root: str, offering: Offering, plan: Plan) -> str:
    """Address of a plan for those who order."""
    return f"{root}marketplace-public-offerings/{offering.uuid}/plans/{plan.uuid}/"


def _show_public_plan(call: Call, offering: Offering, plan: Plan) -> dict[str, Any]:
    return show_plan(offering, plan, public_plan_url(call.root, offering, plan), _resources_count(call, plan))


def _show_provider_plan(call: Call, offering: Offering, plan: Plan) -> dict[str, Any]:
    url = f"{call.root}marketplace-plans/{plan.uuid}/"
    return show_plan(offering, plan, url, _resources_count(call, plan))


def show_offering(
    call: Call,
    offering: Offering,
    noun: str,
    show: Callable[[Call, Offering, Plan], dict[str, Any]],
) -> dict[str, Any]:
    """An offering under one of its addresses, with its plans under theirs."""
    return {
        "url": f"{call.root}{noun}/{offering.uuid}/",
        "uuid": offering.uuid,
        "created": stamp(offering.created),
        "name": offering.name,
        "slug": offering.slug,
        "description": offering.description,
        "full_description": "",
        "terms_of_service": "",
        "terms_of_service_link": "",
        "privacy_policy_link": "",
        "endpoints": [],
        "roles": [],
        "customer": f"{call.root}customers/{offering.customer.uuid}/",
        "customer_uuid": offering.customer.uuid,
        "customer_name": offering.customer.name,
        "project": None,
        "category": f"{call.root}marketplace-categories/{call.state.category_uuid}/",
        "category_uuid": call.state.category_uuid,
        "category_title": "Cloud",
        "rating": None,
        "attributes": {},
        "options": jsonb(offering.options),
        "resource_options": {},
        "components": [show_component(offering, component) for component in offering.by_name()],
        "plugin_options": jsonb(offering.plugin_options),
        "secret_options": {},
        "service_attributes": {},
        "state": "Active",
        "native_name": "",
        "native_description": "",
        "vendor_details": "",
        "getting_started": "",
        "integration_guide": "",
        "thumbnail": None,
        "order_count": sum(order.offering is offering for order in call.state.orders),
        "plans": [show(call, offering, plan) for plan in sorted(offering.plans, key=lambda plan: plan.name)],
        "screenshots": [],
        "type": offering.type,
        "shared": True,
        "billable": True,
        "scope": None,
        "files": [],
        "paused_reason": "",
        "datacite_doi": "",
        "citation_count": -1,
        "latitude": None,
        "longitude": None,
        "country": "",
        "backend_id": "",
        "organization_groups": [],
        "image": None,
        "total_customers": 0,
        "total_cost": 0,
        "total_cost_estimated": 0,
        "backend_metadata": {},
        "integration_status": [],
        "google_calendar_is_public": None,
        "google_calendar_link": None,
    }


def _provided(call: Call) -> list[Offering]:
    offerings = [offering for offering in call.state.offerings if permissions.provides(call.user, offering)]
    return sorted(offerings, key=lambda offering: offering.name)


def _provided_offering(call: Call, identity: str) -> Offering:
    return find("Offering", _provided(call), identity, lambda offering: offering.uuid)


def list_offerings(call: Call) -> Reply:
    """Offerings of the user's organisations."""
    filters = {
        "customer_uuid": paging.by_uuid(lambda offering: offering.customer.uuid),
        "name": paging.by_part(lambda offering: offering.name),
        "name_exact": paging.by_text(lambda offering: offering.name),
        "type": paging.by_text(lambda offering: offering.type),
    }
    offerings = paging.choose(_provided(call), call.query, filters)
    return listing(
        call,
        offerings,
        lambda offering: show_offering(call, offering, "marketplace-provider-offerings", _show_provider_plan),
    )


def retrieve_offering(call: Call, uuid: str) -> Reply:
    """An offering, as its provider sees it."""
    offering = _provided_offering(call, uuid)
    shown = show_offering(call, offering, "marketplace-provider-offerings", _show_provider_plan)
    return Reply(paging.select(shown, call.query))


def check_unique_backend_id(call: Call, uuid: str) -> Reply:
    """Whether no resource of the offering, Terminated ones included, has a backend id.

    `check_all_offerings` extends the question to all offerings of the provider.
    """
    offering = _provided_offering(call, uuid)
    body = call.body()
    required(body, "backend_id")
    everywhere = bool(body.get("check_all_offerings"))
    taken = any(
        resource.backend_id == body["backend_id"]
        for resource in call.state.resources
        if resource.offering is offering or (everywhere and resource.offering.customer is offering.customer)
    )
    return Reply({"is_unique": not taken})


def retrieve_plan(call: Call, uuid: str) -> Reply:
    """A plan, as its provider sees it."""
    plans = [(offering, plan) for offering in _provided(call) for plan in offering.plans]
    offering, plan = find("Plan", plans, uuid, lambda pair: pair[1].uuid)
    shown = {}
    for name, value in _show_provider_plan(call, offering, plan).items():
        shown[name] = value
        if name == "organization_groups":
            shown["offering"] = f"{call.root}marketplace-provider-offerings/{offering.uuid}/"
    return Reply(paging.select(shown, call.query))


def _public_offering(call: Call, identity: str) -> Offering:
    return find("Offering", call.state.offerings, identity, lambda offering: offering.uuid)


def retrieve_public_offering(call: Call, uuid: str) -> Reply:
    """An offering, as anybody sees it."""
    shown = show_offering(call, _public_offering(call, uuid), "marketplace-public-offerings", _show_public_plan)
    del shown["secret_options"], shown["service_attributes"]
    return Reply(paging.select(shown, call.query))


def list_public_plans(call: Call, uuid: str) -> Reply:
    """Plans of an offering, as anybody sees them, on one page."""
    offering = _public_offering(call, uuid)
    plans = sorted(offering.plans, key=lambda plan: plan.name)
    return Reply([paging.select(_show_public_plan(call, offering, plan), call.query) for plan in plans])


def retrieve_public_plan(call: Call, uuid: str, plan_uuid: str) -> Reply:
    """A plan, as anybody sees it."""
    offering = _public_offering(call, uuid)
    plan = find("Plan", offering.plans, plan_uuid, lambda plan: plan.uuid)
    return Reply(paging.select(_show_public_plan(call, offering, plan), call.query))


ROUTES: tuple[Route, ...] = (
    route("marketplace-provider-offerings/", COLLECTION, GET=list_offerings),
    route("marketplace-provider-offerings/<uuid>/", DETAIL, GET=retrieve_offering),
    route("marketplace-provider-offerings/<uuid>/check_unique_backend_id/", ACTION, POST=check_unique_backend_id),
    route("marketplace-plans/<uuid>/", DETAIL, GET=retrieve_plan),
    route("marketplace-public-offerings/<uuid>/", READ_ONLY, GET=retrieve_public_offering),
    route("marketplace-public-offerings/<uuid>/plans/", READ_ONLY, GET=list_public_plans),
    route("marketplace-public-offerings/<uuid>/plans/<plan_uuid>/", READ_ONLY, GET=retrieve_public_plan),
)
