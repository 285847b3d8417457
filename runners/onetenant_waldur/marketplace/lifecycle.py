"""Orders and their effects on resources: the state machines, without HTTP.

As marketplace/views.py and callbacks.py of Waldur have them, with the behaviour of 2026 for offerings of site agents:
an approval only sets things going, and the agent ends them.
"""

from typing import Any

from onetenant_waldur.marketplace import records, refusals
from onetenant_waldur.marketplace.records import (
    ACTIVE_ORDER,
    BillingType,
    Limits,
    Offering,
    Order,
    OrderState,
    OrderType,
    Plan,
    PlanPeriod,
    Project,
    Resource,
    ResourceState,
    User,
)
from onetenant_waldur.marketplace.state import State


EXECUTABLE = (OrderState.PENDING_CONSUMER, OrderState.PENDING_PROVIDER, OrderState.ERRED)


def check_state(record: Order | Resource, *valid: OrderState | ResourceState) -> None:
    """Refuse with 409 what needs another state."""
    if record.state not in valid:
        raise refusals.conflict(valid)


def check_site_agent(order: Order) -> None:
    """Refuse with 405 what only orders of a site agent's offering can do."""
    if order.offering.type != records.SITE_AGENT:
        raise _wrong_offering_type(order)


def active_order(state: State, resource: Resource) -> Order | None:
    """The order that a resource waits for."""
    return next((order for order in state.orders if order.resource is resource and order.state in ACTIVE_ORDER), None)


def check_limits(limits: Limits, offering: Offering, *, by_field: bool = False) -> None:
    """Refuse limits of components that have none, and those out of bounds.

    Args:
        limits: What is ordered.
        offering: Where it is ordered.
        by_field: Shape of the refusal. Orders for new resources are checked by field, those for changes are not.
    """
    limited = {component.type: component for component in offering.billed(BillingType.LIMIT)}
    unknown = [kind for kind in limits if kind not in limited]
    if unknown:
        text = f"Invalid types: {', '.join(unknown)}"
        raise refusals.invalid({"limits": [text] if by_field else text})
    for kind, value in limits.items():
        least, most = limited[kind].min_value, limited[kind].max_value
        text = ""
        if most and value > most:
            text = f"The limit {value} value cannot be more than {most}."
        elif least and value < least:
            text = f"The limit {value} value cannot be less than {least}."
        if text:
            raise refusals.invalid({"non_field_errors": [text]} if by_field else [text])


def place_order(
    state: State,
    user: User,
    project: Project,
    offering: Offering,
    *,
    plan: Plan | None,
    attributes: dict[str, Any],
    limits: Limits,
) -> Order:
    """Order a new resource. The resource exists at once, in the state Creating."""
    name = str(attributes.get("name") or "")
    time = state.now()
    resource = Resource(
        name=name,
        slug=state.slug(name),
        offering=offering,
        project=project,
        plan=plan,
        attributes=dict(attributes),
        limits=dict(limits),
        cost=offering.cost(plan, limits) if plan else None,
        created=time,
        modified=time,
    )
    state.resources.append(resource)
    order = _add_order(state, user, OrderType.CREATE, resource, plan, attributes=attributes, limits=limits)
    state.touch(resource)
    return order


def order_limits(state: State, user: User, resource: Resource, limits: Limits) -> Order:
    """Order other limits for a resource."""
    if limits == resource.limits:
        raise refusals.invalid(["Impossible to create update orders with limits set to exactly the same."])
    _check_no_order(state, resource)
    check_limits(limits, resource.offering)
    attributes = {"old_limits": dict(resource.limits)}
    return _add_order(state, user, OrderType.UPDATE, resource, resource.plan, attributes=attributes, limits=limits)


def order_plan(state: State, user: User, resource: Resource, plan: Plan) -> Order:
    """Order another plan for a resource."""
    _check_no_order(state, resource)
    order = _add_order(state, user, OrderType.UPDATE, resource, plan, attributes={}, limits=resource.limits)
    order.old_plan = resource.plan
    return order


def order_end(state: State, user: User, resource: Resource, attributes: dict[str, Any]) -> Order:
    """Order the end of a resource."""
    _check_no_order(state, resource)
    return _add_order(state, user, OrderType.TERMINATE, resource, None, attributes=attributes, limits={})


def _check_no_order(state: State, resource: Resource) -> None:
    if active_order(state, resource):
        raise refusals.invalid(["Pending order for resource already exists."])


def _add_order(
    state: State,
    user: User,
    kind: OrderType,
    resource: Resource,
    plan: Plan | None,
    *,
    attributes: dict[str, Any],
    limits: Limits,
) -> Order:
    time = state.now()
    order = Order(
        type=kind,
        resource=resource,
        created_by=user,
        plan=plan,
        attributes=dict(attributes),
        limits=dict(limits),
        cost=resource.offering.cost(plan, limits) if plan else None,
        created=time,
        modified=time,
        consumer_reviewed_by=user,
        consumer_reviewed_at=state.now(),
    )
    state.touch(order)
    state.orders.append(order)
    return order


def approve(state: State, order: Order, user: User) -> None:
    """The provider accepts: the order executes, and the resource is on its way."""
    check_state(order, OrderState.PENDING_PROVIDER)
    order.provider_reviewed_by = user
    order.provider_reviewed_at = state.now()
    _set_order(state, order, OrderState.EXECUTING)
    underway = {OrderType.UPDATE: ResourceState.UPDATING, OrderType.TERMINATE: ResourceState.TERMINATING}
    if order.type in underway:
        _set_resource(state, order.resource, underway[order.type])


def reject(state: State, order: Order, user: User) -> None:
    """The provider declines. A resource that was only ordered is then Terminated."""
    check_state(order, OrderState.PENDING_PROVIDER)
    order.provider_reviewed_by = user
    order.provider_reviewed_at = state.now()
    _set_order(state, order, OrderState.REJECTED)
    if order.type is OrderType.CREATE:
        _set_resource(state, order.resource, ResourceState.TERMINATED)


def execute(state: State, order: Order) -> None:
    """Set an order executing without an approval, or again after an error. The resource stays as it is."""
    check_state(order, *EXECUTABLE)
    check_site_agent(order)
    _set_order(state, order, OrderState.EXECUTING)


def complete(state: State, order: Order) -> None:
    """The work is done: the order's limits and plan are now the resource's."""
    check_state(order, OrderState.EXECUTING)
    if order.offering.type not in {records.SITE_AGENT, "Marketplace.Basic", "Support.OfferingTemplate"}:
        raise _wrong_offering_type(order)
    resource = order.resource
    _set_order(state, order, OrderState.DONE)
    match order.type:
        case OrderType.CREATE:
            _set_resource(state, resource, ResourceState.OK)
            _open_plan_period(state, resource)
        case OrderType.UPDATE:
            _set_resource(state, resource, ResourceState.OK)
            _apply_update(state, order)
        case OrderType.TERMINATE:
            _set_resource(state, resource, ResourceState.TERMINATED)
            _close_plan_period(state, resource)


def fail(state: State, order: Order, message: str, traceback: str) -> None:
    """The work failed. There is no check of the order's state: an order that is done can still be told so.

    A failed creation leaves the resource Erred, or Terminated if it has no backend id; a failed update leaves it
    Erred; a failed termination leaves it OK.
    """
    check_site_agent(order)
    if order.state is OrderState.EXECUTING:
        _set_order(state, order, OrderState.ERRED)
    resource = order.resource
    match order.type:
        case OrderType.CREATE if not resource.backend_id:
            _set_resource(state, resource, ResourceState.TERMINATED)
        case OrderType.CREATE | OrderType.UPDATE:
            _set_resource(state, resource, ResourceState.ERRED)
        case OrderType.TERMINATE:
            _set_resource(state, resource, ResourceState.OK)
    order.error_message = message
    order.error_traceback = traceback
    state.touch(order)


def cancel(state: State, order: Order) -> None:
    """What a cancelled order leaves behind, as Waldur's callbacks have it. There is no endpoint for it here."""
    check_state(order, *sorted(ACTIVE_ORDER))
    _set_order(state, order, OrderState.CANCELED)
    created = order.type is OrderType.CREATE
    _set_resource(state, order.resource, ResourceState.TERMINATED if created else ResourceState.OK)


def _wrong_offering_type(order: Order) -> refusals.Refusal:
    return refusals.not_allowed(f"The order's offering with {order.offering.type} type does not support this action")


def _set_order(state: State, order: Order, new: OrderState) -> None:
    order.state = new
    state.touch(order)


def _set_resource(state: State, resource: Resource, new: ResourceState) -> None:
    if resource.state is not new:
        resource.state = new
        state.touch(resource)


def _apply_update(state: State, order: Order) -> None:
    resource = order.resource
    if order.plan is not None:
        if resource.plan is not order.plan:
            _close_plan_period(state, resource)
            resource.plan = order.plan
            _open_plan_period(state, resource)
        resource.cost = order.offering.cost(order.plan, order.limits or resource.limits)
    if order.limits:
        resource.limits = dict(order.limits)
    state.touch(resource)


def _open_plan_period(state: State, resource: Resource) -> None:
    if resource.plan is not None:
        resource.plan_periods.append(PlanPeriod(resource.plan, state.now()))


def _close_plan_period(state: State, resource: Resource) -> None:
    for period in resource.plan_periods:
        if period.end is None:
            period.end = state.now()
