"""Orders: what both sides see of them, and what either can do to them."""

import operator
from typing import Any

from onetenant_waldur.marketplace import lifecycle, paging, permissions, refusals
from onetenant_waldur.marketplace.endpoints import (
    ACTION,
    COLLECTION,
    DETAIL,
    Call,
    Reply,
    Route,
    find,
    limits_of,
    listing,
    reference,
    required,
    route,
    stamp,
)
from onetenant_waldur.marketplace.items import show_item, show_project
from onetenant_waldur.marketplace.records import (
    BillingType,
    Offering,
    Order,
    OrderState,
    OrderType,
    Permission,
    Plan,
    Project,
)


def _show_core(call: Call, order: Order) -> dict[str, Any]:
    shown = show_item(call, order) | {
        "type": order.type,
        "resource_uuid": None,
        "resource_type": None,
        "resource_name": order.resource.name,
        "cost": None if order.cost is None else f"{order.cost:.10f}",
        "state": order.state,
        "output": "",
        "marketplace_resource_uuid": order.resource.uuid,
        "error_message": order.error_message,
    }
    if call.user.is_staff:
        shown["error_traceback"] = order.error_traceback
    return shown | {"callback_url": None}


def show_order(call: Call, order: Order) -> dict[str, Any]:
    """An order in lists and by itself. Fields of what it has not, a reviewer or a plan, are missing."""
    shown = _show_core(call, order)
    if order.consumer_reviewed_by:
        shown["consumer_reviewed_by"] = order.consumer_reviewed_by.username
        shown["consumer_reviewed_by_full_name"] = order.consumer_reviewed_by.full_name
    shown["consumer_reviewed_at"] = stamp(order.consumer_reviewed_at)
    if order.provider_reviewed_by:
        shown["provider_reviewed_by"] = order.provider_reviewed_by.username
        shown["provider_reviewed_by_full_name"] = order.provider_reviewed_by.full_name
    shown |= {
        "provider_reviewed_at": stamp(order.provider_reviewed_at),
        "created_by_full_name": order.created_by.full_name,
        "created_by_civil_number": None,
        "customer_name": order.project.customer.name,
        "customer_uuid": order.project.customer.uuid,
        "customer_slug": order.project.customer.slug,
        "project_name": order.project.name,
        "project_uuid": order.project.uuid,
        "project_description": order.project.description,
        "project_slug": order.project.slug,
    }
    plans = {"old": order.old_plan, "new": order.plan}
    shown |= {f"{age}_plan_name": plan.name for age, plan in plans.items() if plan}
    shown |= {f"{age}_plan_uuid": plan.uuid for age, plan in plans.items() if plan}
    return shown | {
        "old_cost_estimate": None if order.resource.cost is None else float(order.resource.cost),
        "new_cost_estimate": None if order.cost is None else float(order.cost),
        "can_terminate": False,
        "fixed_price": _fixed_price(order),
        "activation_price": 0,
        "termination_comment": None,
        "backend_id": order.backend_id,
        "issue": None,
        "provider_slug": order.offering.customer.slug,
    }


def _fixed_price(order: Order) -> float:
    # The sum of the prices, not of prices times amounts, as Waldur's sum_components has it.
    if order.type is not OrderType.CREATE or order.plan is None:
        return 0
    return sum(float(order.plan.price(component.type)) for component in order.offering.billed(BillingType.FIXED))


def _show_created(call: Call, order: Order) -> dict[str, Any]:
    """The answer to whoever made an order, which has fewer fields and others."""
    user = order.created_by
    return (
        _show_core(call, order)
        | {
            "url": f"{call.root}marketplace-orders/{order.uuid}/",
            "created_by": f"{call.root}users/{user.uuid}/",
            "created_by_username": user.username,
            "created_by_full_name": user.full_name,
            "consumer_reviewed_by": f"{call.root}users/{user.uuid}/",
            "consumer_reviewed_at": stamp(order.consumer_reviewed_at),
            "consumer_reviewed_by_username": user.username,
            "consumer_reviewed_by_full_name": user.full_name,
        }
        | show_project(call, order)
        | {"customer_name": order.project.customer.name, "customer_uuid": order.project.customer.uuid}
    )


FILTERS: dict[str, paging.Filter] = {
    "offering_uuid": paging.by_uuid(lambda order: order.offering.uuid),
    "project_uuid": paging.by_uuid(lambda order: order.project.uuid),
    "customer_uuid": paging.by_uuid(lambda order: order.project.customer.uuid),
    "provider_uuid": paging.by_uuid(lambda order: order.offering.customer.uuid),
    "resource_uuid": paging.by_uuid(lambda order: order.resource.uuid),
    "state": paging.by_choice(lambda order: order.state, OrderState),
    "type": paging.by_choice(lambda order: order.type, OrderType),
    "created": paging.by_time(lambda order: order.created, operator.ge),
    "modified": paging.by_time(lambda order: order.modified, operator.ge),
    "modified_before": paging.by_time(lambda order: order.modified, operator.le),
}
SORT_KEYS = {
    "created": operator.attrgetter("created"),
    "consumer_reviewed_at": operator.attrgetter("consumer_reviewed_at"),
    "state": operator.attrgetter("state"),
}


def _visible(call: Call) -> list[Order]:
    return [order for order in call.state.orders if permissions.sees_order(call.user, order)]


def _visible_order(call: Call, identity: str) -> Order:
    return find("Order", _visible(call), identity, lambda order: order.uuid)


def _provided_order(call: Call, identity: str) -> Order:
    order = _visible_order(call, identity)
    if not permissions.allowed(call.user, Permission.APPROVE_ORDER, order.offering.customer):
        raise refusals.denied()
    return order


def list_orders(call: Call) -> Reply:
    """Orders that the user's organisations and projects placed or received, oldest first."""
    orders = paging.choose(_visible(call), call.query, FILTERS)
    orders = paging.order_by(orders, call.query, SORT_KEYS, SORT_KEYS["created"])
    return listing(call, orders, lambda order: show_order(call, order))


def retrieve_order(call: Call, uuid: str) -> Reply:
    """One order."""
    return Reply(paging.select(show_order(call, _visible_order(call, uuid)), call.query))


def create_order(call: Call) -> Reply:
    """Order a new resource in a project of the user."""
    body = call.body()
    required(body, "offering", "project")
    state = call.state
    offering: Offering = reference("offering", body["offering"], state.offerings, lambda offering: offering.uuid)
    projects = [project for project in state.projects if permissions.consumes(call.user, project)]
    project: Project = reference("project", body["project"], projects, lambda project: project.uuid)
    plan: Plan | None = None
    if body.get("plan"):
        plans = [plan for offering in state.offerings for plan in offering.plans]
        plan = reference("plan", body["plan"], plans, lambda plan: plan.uuid)
    if plan and plan not in offering.plans:
        raise refusals.invalid({"plan": ["This plan is not available for selected offering."]})
    limits = limits_of(body, minimum=None)
    lifecycle.check_limits(limits, offering, by_field=True)
    attributes = body.get("attributes") or {}
    order = lifecycle.place_order(state, call.user, project, offering, plan=plan, attributes=attributes, limits=limits)
    return Reply(_show_created(call, order), status=201)


def approve_by_provider(call: Call, uuid: str) -> Reply:
    """Accept an order. Attributes sent along are merged into the order's."""
    order = _provided_order(call, uuid)
    lifecycle.check_state(order, OrderState.PENDING_PROVIDER)
    attributes = call.body().get("attributes") or {}
    order.attributes |= attributes
    lifecycle.approve(call.state, order, call.user)
    if call.state.behaviour.empty_approval:
        return Reply()
    return Reply({"detail": "Order has been approved and is being processed."})


def reject_by_provider(call: Call, uuid: str) -> Reply:
    """Decline an order."""
    lifecycle.reject(call.state, _provided_order(call, uuid), call.user)
    return Reply()


def set_state_executing(call: Call, uuid: str) -> Reply:
    """Start an order without an approval, or start it again."""
    lifecycle.execute(call.state, _provided_order(call, uuid))
    return Reply()


def set_state_done(call: Call, uuid: str) -> Reply:
    """End an order well."""
    lifecycle.complete(call.state, _provided_order(call, uuid))
    return Reply()


def set_state_erred(call: Call, uuid: str) -> Reply:
    """End an order badly. Both texts must be sent: the server stumbles over their absence."""
    order = _provided_order(call, uuid)
    lifecycle.check_site_agent(order)
    body = call.body()
    if not {"error_message", "error_traceback"} <= body.keys():
        raise refusals.ServerError
    lifecycle.fail(call.state, order, str(body["error_message"]), str(body["error_traceback"]))
    return Reply()


def set_backend_id(call: Call, uuid: str) -> Reply:
    """Note the provider's own identity of an order."""
    order = _provided_order(call, uuid)
    body = call.body()
    required(body, "backend_id")
    if order.backend_id == body["backend_id"]:
        return Reply({"status": "Order backend_id is not changed."})
    order.backend_id = str(body["backend_id"])
    call.state.touch(order)
    return Reply({"status": "Order backend_id has been changed."})


ROUTES: tuple[Route, ...] = (
    route("marketplace-orders/", COLLECTION, GET=list_orders, POST=create_order),
    route("marketplace-orders/<uuid>/", DETAIL, GET=retrieve_order),
    route("marketplace-orders/<uuid>/approve_by_provider/", ACTION, POST=approve_by_provider),
    route("marketplace-orders/<uuid>/reject_by_provider/", ACTION, POST=reject_by_provider),
    route("marketplace-orders/<uuid>/set_state_executing/", ACTION, POST=set_state_executing),
    route("marketplace-orders/<uuid>/set_state_done/", ACTION, POST=set_state_done),
    route("marketplace-orders/<uuid>/set_state_erred/", ACTION, POST=set_state_erred),
    route("marketplace-orders/<uuid>/set_backend_id/", ACTION, POST=set_backend_id),
)
