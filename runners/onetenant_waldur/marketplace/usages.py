"""Usage reports: how much of each component a resource used in a month."""

import datetime as dt
import decimal
import operator
from typing import Any

import attrs

from onetenant_waldur.marketplace import paging, permissions, refusals
from onetenant_waldur.marketplace.endpoints import (
    ACTION,
    COLLECTION,
    READ_ONLY,
    Call,
    Reply,
    Route,
    find,
    listing,
    required,
    route,
    stamp,
)
from onetenant_waldur.marketplace.records import (
    BillingType,
    Component,
    Permission,
    PlanPeriod,
    Resource,
    ResourceState,
    Usage,
)


REPORTABLE = frozenset({ResourceState.OK, ResourceState.UPDATING, ResourceState.TERMINATING})
"""States in which a resource takes a report."""


def show_amount(usage: Usage) -> dict[str, Any]:
    """What was used, without of what."""
    return {
        "uuid": usage.uuid,
        "created": stamp(usage.created),
        "description": usage.description,
        "type": usage.component.type,
        "name": usage.component.name,
        "measured_unit": usage.component.measured_unit,
        "usage": f"{usage.amount:.2f}",
        "date": stamp(usage.date),
        "recurring": usage.recurring,
    }


def show_usage(usage: Usage) -> dict[str, Any]:
    """What was used, and of what."""
    resource = usage.resource
    return show_amount(usage) | {
        "resource_name": resource.name,
        "resource_uuid": resource.uuid,
        "offering_name": resource.offering.name,
        "offering_uuid": resource.offering.uuid,
        "project_name": resource.project.name,
        "project_uuid": resource.project.uuid,
        "customer_name": resource.project.customer.name,
        "customer_uuid": resource.project.customer.uuid,
        "billing_period": usage.billing_period.isoformat(),
        "modified_by": usage.modified_by.number,
    }


FILTERS: dict[str, paging.Filter] = {
    "resource_uuid": paging.by_uuid(lambda usage: usage.resource.uuid),
    "offering_uuid": paging.by_uuid(lambda usage: usage.resource.offering.uuid),
    "project_uuid": paging.by_uuid(lambda usage: usage.resource.project.uuid),
    "customer_uuid": paging.by_uuid(lambda usage: usage.resource.project.customer.uuid),
    "billing_period": paging.by_day(lambda usage: usage.billing_period, operator.eq),
    "date_after": paging.by_day(lambda usage: usage.date.date(), operator.ge),
    "date_before": paging.by_day(lambda usage: usage.date.date(), operator.le),
    "type": paging.by_text(lambda usage: usage.component.type),
}


def _visible(call: Call) -> list[Usage]:
    return [
        usage
        for usage in call.state.usages
        if permissions.manages_resource(call.user, usage.resource)
        or permissions.consumes_resource(call.user, usage.resource)
    ]


def list_usages(call: Call) -> Reply:
    """Usage of all visible resources, the latest report first."""
    usages = paging.choose(_visible(call), call.query, FILTERS)
    usages.sort(key=lambda usage: usage.component.type)
    usages.sort(key=lambda usage: usage.date, reverse=True)
    return listing(call, usages, show_usage)


def retrieve_usage(call: Call, uuid: str) -> Reply:
    """One usage."""
    usage = find("ComponentUsage", _visible(call), uuid, lambda usage: usage.uuid)
    return Reply(paging.select(show_usage(usage), call.query))


@attrs.frozen
class Report:
    """One line of a report."""

    type: str
    amount: decimal.Decimal
    description: str
    recurring: bool


def _decimal(text: Any) -> decimal.Decimal:
    """An amount as Django REST framework's DecimalField takes it.

    Raises:
        ValueError: With the text of the refusal.
    """
    try:
        amount = decimal.Decimal(str(text).strip())
    except decimal.InvalidOperation:
        raise ValueError("A valid number is required.") from None
    if not amount.is_finite():
        raise ValueError("A valid number is required.")
    exponent = amount.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -2:
        raise ValueError("Ensure that there are no more than 2 decimal places.")
    if amount.adjusted() >= 18:
        raise ValueError("Ensure that there are no more than 18 digits before the decimal point.")
    return amount


def _reports(body: dict[str, Any]) -> list[Report]:
    required(body, "usages")
    lines = body["usages"]
    if not isinstance(lines, list):
        text = f'Expected a list of items but got type "{type(lines).__name__}".'
        raise refusals.invalid({"usages": {"non_field_errors": [text]}})
    reports: list[Report] = []
    errors: list[dict[str, list[str]]] = []
    for line in lines:
        error = {field: ["This field is required."] for field in ("type", "amount") if field not in line}
        if not error:
            try:
                amount = _decimal(line["amount"])
            except ValueError as refusal:
                error["amount"] = [str(refusal)]
            else:
                description = str(line.get("description", ""))
                reports.append(Report(str(line["type"]), amount, description, bool(line.get("recurring", False))))
        errors.append(error)
    if any(errors):
        raise refusals.invalid({"usages": errors})
    return reports


def _reported_resource(call: Call, body: dict[str, Any]) -> tuple[Resource, PlanPeriod | None]:
    """The resource that a report names by one of its plan periods, or by itself."""
    resources = call.state.resources
    if "plan_period" in body:
        wanted = _identity(body, "plan_period")
        for resource in resources:
            for period in resource.plan_periods:
                if period.uuid == wanted:
                    return resource, period
        raise _unknown(body, "plan_period")
    if "resource" in body:
        wanted = _identity(body, "resource")
        for resource in resources:
            if resource.uuid == wanted:
                return resource, next((period for period in resource.plan_periods if period.end is None), None)
        raise _unknown(body, "resource")
    raise refusals.invalid({"non_field_errors": ["Either plan_period or resource should be provided."]})


def _identity(body: dict[str, Any], field: str) -> str | None:
    return paging.hex_uuid(str(body[field]))


def _unknown(body: dict[str, Any], field: str) -> refusals.Refusal:
    return refusals.invalid({field: [f"Object with uuid={body[field]} does not exist."]})


def set_usage(call: Call) -> Reply:
    """Report what a resource used in the month of `date`, or in this one. Each amount replaces the one reported before.

    There is no check against the limit. What a resource shows as its current usage is the last report alone.
    """
    body = call.body()
    reports = _reports(body)
    resource, period = _reported_resource(call, body)
    if resource.state not in REPORTABLE:
        raise refusals.invalid({"resource": ["Resource is not in valid state."]})
    components = {one.type: one for one in resource.offering.billed(BillingType.USAGE, BillingType.LIMIT)}
    unknown = sorted({report.type for report in reports} - components.keys())
    if unknown:
        text = f"These components are invalid: {', '.join(unknown)}."
        raise refusals.invalid({"non_field_errors": [text]})
    if not permissions.allowed(call.user, Permission.SET_USAGE, resource.offering, resource.offering.customer):
        raise refusals.denied()
    date = _date(call, body)
    month = date.astimezone(dt.UTC).date().replace(day=1)
    for report in reports:
        usage = _usage(call, resource, period, components[report.type], month)
        usage.amount = report.amount
        usage.date = date
        usage.description = report.description
        usage.recurring = report.recurring
        usage.modified_by = call.user
    resource.current_usages = {report.type: f"{report.amount:.2f}" for report in reports}
    call.state.touch(resource)
    return Reply(status=201)


def _date(call: Call, body: dict[str, Any]) -> dt.datetime:
    if not body.get("date"):
        return call.state.now()
    try:
        date = dt.datetime.fromisoformat(str(body["date"]))
    except ValueError:
        formats = "YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]"
        text = f"Datetime has wrong format. Use one of these formats instead: {formats}."
        raise refusals.invalid({"date": [text]}) from None
    return date if date.tzinfo else date.replace(tzinfo=dt.UTC)


def _usage(call: Call, resource: Resource, period: PlanPeriod | None, component: Component, month: dt.date) -> Usage:
    """The usage of a month, a new one of 0 if nothing was reported before."""
    for usage in call.state.usages:
        if (usage.resource, usage.component, usage.plan_period) == (resource, component, period) and (
            usage.billing_period == month
        ):
            return usage
    time = call.state.now()
    usage = Usage(resource, component, period, month, decimal.Decimal(0), time, time, call.user)
    call.state.usages.append(usage)
    return usage


def set_user_usage(call: Call, uuid: str) -> Reply:
    """Report the share of one user in a usage."""
    usage = find("ComponentUsage", _visible(call), uuid, lambda usage: usage.uuid)
    offering = usage.resource.offering
    if not permissions.allowed(call.user, Permission.SET_USAGE, offering, offering.customer):
        raise refusals.denied()
    body = call.body()
    required(body, "username", "usage")
    try:
        usage.by_user[str(body["username"])] = _decimal(body["usage"])
    except ValueError as refusal:
        raise refusals.invalid({"usage": [str(refusal)]}) from None
    return Reply(status=201)


ROUTES: tuple[Route, ...] = (
    route("marketplace-component-usages/", COLLECTION, disabled="POST", GET=list_usages),
    route("marketplace-component-usages/set_usage/", ACTION, POST=set_usage),
    route("marketplace-component-usages/<uuid>/", READ_ONLY, GET=retrieve_usage),
    route("marketplace-component-usages/<uuid>/set_user_usage/", ACTION, POST=set_user_usage),
)
