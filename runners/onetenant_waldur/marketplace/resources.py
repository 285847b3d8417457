"""Resources: the provider's side of them, and the consumer's."""

import operator
from typing import Any

import attrs

from onetenant_waldur.marketplace import lifecycle, paging, permissions, refusals
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
    limits_of,
    listing,
    reference,
    required,
    route,
    stamp,
)
from onetenant_waldur.marketplace.items import show_item, show_project
from onetenant_waldur.marketplace.orders import show_order
from onetenant_waldur.marketplace.records import BillingType, Order, OrderType, Permission, Resource, ResourceState
from onetenant_waldur.marketplace.usages import show_amount


OPERABLE = (ResourceState.OK, ResourceState.ERRED)


def _show_head(call: Call, resource: Resource) -> dict[str, Any]:
    offering = resource.offering
    return (
        show_item(call, resource)
        | {
            "url": f"{call.root}marketplace-resources/{resource.uuid}/",
            "scope": None,
            "description": "",
            "state": resource.state,
            "resource_uuid": None,
            "backend_id": resource.backend_id,
            "effective_id": "",
            "resource_type": None,
        }
        | show_project(call, resource)
        | {
            "project_end_date": None,
            "project_end_date_requested_by": None,
            "customer_uuid": resource.project.customer.uuid,
            "customer_name": resource.project.customer.name,
            "backend_metadata": jsonb(resource.backend_metadata),
            "is_usage_based": bool(offering.billed(BillingType.USAGE)),
            "is_limit_based": bool(offering.billed(BillingType.LIMIT)),
            "name": resource.name,
            "slug": resource.slug,
            "current_usages": jsonb(resource.current_usages),
            "can_terminate": resource.state in OPERABLE,
            "report": None,
            "end_date": None,
            "end_date_requested_by": None,
            "username": None,
            "limit_usage": {
                component.type: resource.current_usages.get(component.type)
                for component in offering.billed(BillingType.LIMIT)
            },
            "downscaled": False,
            "restrict_member_access": False,
            "paused": False,
            "endpoints": [],
            "error_message": resource.error_message,
            "error_traceback": resource.error_traceback,
            "offering_customer_uuid": offering.customer.uuid,
            "options": None,
            "available_actions": [],
        }
    )


def _show_tail(resource: Resource) -> dict[str, Any]:
    return {
        "project_slug": resource.project.slug,
        "customer_slug": resource.project.customer.slug,
        "offering_slug": resource.offering.slug,
        "offering_backend_id": "",
        "provider_slug": resource.offering.customer.slug,
        "offering_components": [
            {
                "type": component.type,
                "name": component.name,
                "measured_unit": component.measured_unit,
                "billing_type": component.billing_type,
                "unit_factor": component.unit_factor,
            }
            for component in resource.offering.by_name()
        ],
    }


def show_resource(call: Call, resource: Resource) -> dict[str, Any]:
    """A resource in a list."""
    return _show_head(call, resource) | _show_tail(resource)


def _show_details(call: Call, resource: Resource) -> dict[str, Any]:
    active = lifecycle.active_order(call.state, resource)
    created = _creation_order(call, resource)
    orders = {
        "order_in_progress": active and show_order(call, active),
        "creation_order": created and show_order(call, created),
    }
    return _show_head(call, resource) | orders | _show_tail(resource)


def _creation_order(call: Call, resource: Resource) -> Order | None:
    state = call.state
    fields = call.query.getlist("field")
    if fields and "creation_order" not in fields:
        return None
    live = next((one for one in state.orders if one.resource is resource and one.type is OrderType.CREATE), None)
    if live is None or not state.behaviour.stale_creation_order:
        return live
    if state.creation_order is None or state.creation_order.uuid != live.uuid:
        state.creation_order = attrs.evolve(live)
    return state.creation_order


FILTERS: dict[str, paging.Filter] = {
    "offering_uuid": paging.by_uuid(lambda resource: resource.offering.uuid),
    "project_uuid": paging.by_uuid(lambda resource: resource.project.uuid),
    "customer_uuid": paging.by_uuid(lambda resource: resource.project.customer.uuid),
    "provider_uuid": paging.by_uuid(lambda resource: resource.offering.customer.uuid),
    "backend_id": paging.by_text(lambda resource: resource.backend_id),
    "name": paging.by_part(lambda resource: resource.name),
    "name_exact": paging.by_text(lambda resource: resource.name),
    "state": paging.by_choice(lambda resource: resource.state, ResourceState),
    "created": paging.by_time(lambda resource: resource.created, operator.ge),
    "modified": paging.by_time(lambda resource: resource.modified, operator.ge),
}
SORT_KEYS = {"created": operator.attrgetter("created"), "name": operator.attrgetter("name")}


def _provided(call: Call) -> list[Resource]:
    return [resource for resource in call.state.resources if permissions.manages_resource(call.user, resource)]


def _consumed(call: Call) -> list[Resource]:
    return [resource for resource in call.state.resources if permissions.consumes_resource(call.user, resource)]


def _list(call: Call, resources: list[Resource]) -> Reply:
    resources = paging.choose(resources, call.query, FILTERS)
    resources = paging.order_by(resources, call.query, SORT_KEYS, SORT_KEYS["created"])
    return listing(call, resources, lambda resource: show_resource(call, resource))


def _find(resources: list[Resource], identity: str) -> Resource:
    return find("Resource", resources, identity, lambda resource: resource.uuid)


def _owned(call: Call, identity: str, permission: Permission = Permission.CHANGE_RESOURCE) -> Resource:
    """A resource that the user may change as its provider."""
    resource = _find(_provided(call), identity)
    if not permissions.allowed(call.user, permission, resource.offering.customer):
        raise refusals.denied()
    return resource


def list_provided(call: Call) -> Reply:
    """Resources of the user's offerings, oldest first."""
    return _list(call, _provided(call))


def retrieve_provided(call: Call, uuid: str) -> Reply:
    """One resource, as its provider sees it."""
    return Reply(paging.select(_show_details(call, _find(_provided(call), uuid)), call.query))


def list_consumed(call: Call) -> Reply:
    """Resources of the user's projects, oldest first."""
    return _list(call, _consumed(call))


def retrieve_consumed(call: Call, uuid: str) -> Reply:
    """One resource, as its project sees it."""
    return Reply(paging.select(_show_details(call, _find(_consumed(call), uuid)), call.query))


def set_backend_id(call: Call, uuid: str) -> Reply:
    """Note the provider's own identity of a resource. The server stumbles over its absence."""
    resource = _find(_provided(call), uuid)
    offering = resource.offering
    if not permissions.allowed(call.user, Permission.SET_BACKEND_ID, offering, offering.customer):
        raise refusals.denied()
    body = call.body()
    if "backend_id" not in body:
        raise refusals.ServerError
    if resource.backend_id == body["backend_id"]:
        return Reply({"status": "Resource backend_id is not changed."})
    resource.backend_id = str(body["backend_id"])
    call.state.touch(resource)
    return Reply({"status": "Resource backend_id has been changed."})


def set_backend_metadata(call: Call, uuid: str) -> Reply:
    """Replace what the provider notes of a resource."""
    resource = _owned(call, uuid, Permission.SET_BACKEND_METADATA)
    body = call.body()
    required(body, "backend_metadata")
    resource.backend_metadata = body["backend_metadata"]
    call.state.touch(resource)
    return Reply({"status": "The backend metadata is updated"})


def set_limits(call: Call, uuid: str) -> Reply:
    """Replace the limits of a resource without an order. Its cost stays."""
    resource = _owned(call, uuid)
    body = call.body()
    required(body, "limits")
    resource.limits = limits_of(body)
    call.state.touch(resource)
    return Reply({"status": "The resource limits are updated"})


def set_as_ok(call: Call, uuid: str) -> Reply:
    """Say that a resource is well again."""
    resource = _owned(call, uuid)
    resource.state = ResourceState.OK
    resource.error_message = resource.error_traceback = ""
    call.state.touch(resource)
    return Reply()


def set_as_erred(call: Call, uuid: str) -> Reply:
    """Say that a resource is not well, and why."""
    resource = _owned(call, uuid)
    body = call.body()
    resource.state = ResourceState.ERRED
    resource.error_message = str(body.get("error_message", ""))
    resource.error_traceback = str(body.get("error_traceback", ""))
    call.state.touch(resource)
    return Reply()


def refresh_last_sync(call: Call, uuid: str) -> Reply:
    """Note that an agent looked after a resource."""
    _owned(call, uuid).last_sync = call.state.now()
    return Reply()


def list_team(call: Call, uuid: str) -> Reply:
    """Everybody in the project of a resource, on one page."""
    project = _find(_provided(call), uuid).project
    rows = [
        {
            "url": f"{call.root}users/{user.uuid}/",
            "uuid": user.uuid,
            "username": user.username,
            "full_name": user.full_name,
            "email": user.email,
            "role": role.label.partition(".")[2].lower(),
            "expiration_time": None,
            "offering_user_username": None,
            "offering_user_state": None,
        }
        for user, role in permissions.members(call.state.users, project)
    ]
    return Reply([paging.select(row, call.query) for row in rows])


def list_plan_periods(call: Call, uuid: str) -> Reply:
    """The plans that a resource has had this month, and what was used under each, on one page."""
    resource = _find(_provided(call), uuid)
    month = call.state.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    rows = [
        {
            "uuid": period.uuid,
            "plan_name": period.plan.name,
            "plan_uuid": period.plan.uuid,
            "start": stamp(period.start),
            "end": stamp(period.end),
            "components": [
                show_amount(usage)
                for usage in call.state.usages
                if usage.plan_period is period and usage.billing_period == month.date()
            ],
        }
        for period in resource.plan_periods
        if period.end is None or period.end >= month
    ]
    return Reply([paging.select(row, call.query) for row in rows])


def _changeable(call: Call, identity: str, *states: ResourceState) -> Resource:
    """A resource whose change the user may order, and that is in a state for it."""
    resource = _find(_consumed(call), identity)
    if not permissions.may_change(call.user, resource):
        raise refusals.denied()
    lifecycle.check_state(resource, *states)
    return resource


def update_limits(call: Call, uuid: str) -> Reply:
    """Order other limits."""
    resource = _changeable(call, uuid, ResourceState.OK)
    body = call.body()
    required(body, "limits")
    return Reply({"order_uuid": lifecycle.order_limits(call.state, call.user, resource, limits_of(body)).uuid})


def switch_plan(call: Call, uuid: str) -> Reply:
    """Order another plan."""
    resource = _changeable(call, uuid, ResourceState.OK)
    body = call.body()
    required(body, "plan")
    plans = [plan for offering in call.state.offerings for plan in offering.plans]
    plan = reference("plan", body["plan"], plans, lambda plan: plan.uuid)
    if plan not in resource.offering.plans:
        raise refusals.invalid({"plan": ["Plan is not available for this offering."]})
    return Reply({"order_uuid": lifecycle.order_plan(call.state, call.user, resource, plan).uuid})


def terminate(call: Call, uuid: str) -> Reply:
    """Order the end of a resource."""
    resource = _changeable(call, uuid, *OPERABLE)
    attributes = call.body().get("attributes") or {}
    return Reply({"order_uuid": lifecycle.order_end(call.state, call.user, resource, attributes).uuid})


ROUTES: tuple[Route, ...] = (
    route("marketplace-provider-resources/", COLLECTION, disabled="POST", GET=list_provided),
    route("marketplace-provider-resources/<uuid>/", DETAIL, disabled="DELETE", GET=retrieve_provided),
    route("marketplace-provider-resources/<uuid>/set_backend_id/", ACTION, POST=set_backend_id),
    route("marketplace-provider-resources/<uuid>/set_backend_metadata/", ACTION, POST=set_backend_metadata),
    route("marketplace-provider-resources/<uuid>/set_limits/", ACTION, POST=set_limits),
    route("marketplace-provider-resources/<uuid>/set_as_ok/", ACTION, POST=set_as_ok),
    route("marketplace-provider-resources/<uuid>/set_as_erred/", ACTION, POST=set_as_erred),
    route("marketplace-provider-resources/<uuid>/refresh_last_sync/", ACTION, POST=refresh_last_sync),
    route("marketplace-provider-resources/<uuid>/team/", READ_ONLY, GET=list_team),
    route("marketplace-provider-resources/<uuid>/plan_periods/", READ_ONLY, GET=list_plan_periods),
    route("marketplace-resources/", COLLECTION, disabled="POST", GET=list_consumed),
    route("marketplace-resources/<uuid>/", DETAIL, disabled="DELETE", GET=retrieve_consumed),
    route("marketplace-resources/<uuid>/update_limits/", ACTION, POST=update_limits),
    route("marketplace-resources/<uuid>/switch_plan/", ACTION, POST=switch_plan),
    route("marketplace-resources/<uuid>/terminate/", ACTION, POST=terminate),
)
