"""Waldur's API as the agent uses it: few calls, few errors, and nothing of the generated client in their types.

WaldurError
 +- WaldurUnavailable    no answer that can be trusted: try again in the next cycle
 +- WaldurRefused        Waldur said no: status, detail
     +- WaldurDenied     ... to the agent as such: 401, 403

Every call here may be sent again: what it asks for a second time is there already. So all of them are.
"""

import contextlib
import datetime as dt
import json
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

import attrs
import httpx
from waldur_api_client import AuthenticatedClient, errors
from waldur_api_client.api.marketplace_component_usages import (
    marketplace_component_usages_list,
    marketplace_component_usages_set_usage,
)
from waldur_api_client.api.marketplace_orders import (
    marketplace_orders_approve_by_provider,
    marketplace_orders_list,
    marketplace_orders_retrieve,
    marketplace_orders_set_state_done,
    marketplace_orders_set_state_erred,
)
from waldur_api_client.api.marketplace_provider_offerings import marketplace_provider_offerings_retrieve
from waldur_api_client.api.marketplace_provider_resources import (
    marketplace_provider_resources_list,
    marketplace_provider_resources_retrieve,
    marketplace_provider_resources_set_backend_id,
    marketplace_provider_resources_set_backend_metadata,
    marketplace_provider_resources_set_limits,
)
from waldur_api_client.models import (
    ComponentUsageCreateRequest,
    ComponentUsageFieldEnum,
    ComponentUsageItemRequest,
    OrderApproveByProviderRequest,
    OrderDetailsFieldEnum,
    OrderErrorDetailsRequest,
    OrderState,
    ProviderOfferingDetailsFieldEnum,
    ResourceBackendIDRequest,
    ResourceBackendMetadataRequest,
    ResourceBackendMetadataRequestBackendMetadata,
    ResourceFieldEnum,
    ResourceSetLimitsRequest,
    ResourceSetLimitsRequestLimits,
    ResourceState,
)

from onetenant_waldur.records import (
    ComponentTerms,
    OfferingTerms,
    OrderRecord,
    ResourceRecord,
    UsageRecord,
)


T = TypeVar("T")

_BUSY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_DENIED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_DETAIL_CHARACTERS = 300

_OFFERING_FIELDS = ("components", "plans", "plugin_options")
_ORDER_FIELDS = ("uuid", "state", "type", "limits", "marketplace_resource_uuid", "plan_uuid", "resource_name")
_RESOURCE_FIELDS = ("uuid", "name", "slug", "state", "backend_id", "backend_metadata", "limits", "project_slug")
_LISTED_RESOURCE_FIELDS = ("uuid", "name", "state", "backend_id")
_USAGE_FIELDS = ("resource_uuid", "type", "usage", "date")
_REPORTABLE = (ResourceState.OK, ResourceState.ERRED, ResourceState.UPDATING)


class WaldurError(Exception):
    """Base of the errors of this module."""


class WaldurUnavailable(WaldurError):
    """No answer that can be trusted: an outage, a gateway, a server too busy, an answer that is not Waldur's."""


class WaldurRefused(WaldurError):
    """Waldur said no.

    Attributes:
        status: The HTTP status.
        detail: Waldur's own words.
    """

    def __init__(self, action: str, status: int, detail: str) -> None:
        self.status = status
        self.detail = detail
        super().__init__(f"Waldur refused to {action} (HTTP {status}): {detail}")


class WaldurDenied(WaldurRefused):
    """Waldur does not let this agent do this: a wrong token, or a user without the rights."""


@attrs.frozen(kw_only=True)
class Patience:
    """How long to wait for Waldur.

    Attributes:
        connect_s: Seconds for a connection.
        read_s: Seconds for an answer.
        attempts: How often a call is sent at most, the first time included.
        wait_s: Seconds before the second attempt; doubled before each further one.
        wait_max_s: The longest wait in seconds, also where Waldur names one (`Retry-After`): a longer one is for the
            next cycle.
    """

    connect_s: float = 5.0
    read_s: float = 30.0
    attempts: int = 4
    wait_s: float = 0.5
    wait_max_s: float = 10.0


class Waldur:
    """One user's access to a Waldur.

    Args:
        api_url: The root of the API, with or without `/api/` at its end.
        token: The user's token.
        verify: Whether to verify the server's certificate.
        proxy: The proxy on the way, if there is one.
        patience: How long to wait.
    """

    def __init__(
        self,
        api_url: str,
        token: str,
        *,
        verify: bool = True,
        proxy: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._patience = patience or Patience()
        self._retry_after_s: float | None = None
        self._client = AuthenticatedClient(
            base_url=api_url.rstrip("/").removesuffix("/api"),
            token=token,
            verify_ssl=verify,
            timeout=httpx.Timeout(self._patience.read_s, connect=self._patience.connect_s),
            httpx_args={"proxy": proxy, "event_hooks": {"response": [self._note_retry_after]}},
        )

    def close(self) -> None:
        """Close the connections that are kept."""
        self._client.get_httpx_client().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def offering(self, offering: UUID) -> OfferingTerms:
        """What an offering sells, and the settings that its owner gave it in Waldur."""
        found = self._call(
            "show the offering",
            lambda: marketplace_provider_offerings_retrieve.sync(
                offering,
                client=self._client,
                field=[ProviderOfferingDetailsFieldEnum(name) for name in _OFFERING_FIELDS],
            ),
        ).to_dict()
        return OfferingTerms(
            components=tuple(
                ComponentTerms(one["type"], one.get("billing_type") or "limit", one.get("unit_factor"))
                for one in found.get("components") or ()
            ),
            plans={UUID(plan["uuid"]): dict(plan.get("quotas") or {}) for plan in found.get("plans") or ()},
            plugin_options=dict(found.get("plugin_options") or {}),
        )

    def open_orders(self, offering: UUID) -> list[OrderRecord]:
        """The orders of an offering that wait for the provider or are being carried out, all pages, oldest first."""

        def call() -> list[OrderRecord]:
            found = marketplace_orders_list.sync_all(
                client=self._client,
                offering_uuid=offering,
                state=[OrderState.PENDING_PROVIDER, OrderState.EXECUTING],
                field=[OrderDetailsFieldEnum(name) for name in (*_ORDER_FIELDS, "created")],
            )
            return [OrderRecord.of(one.to_dict()) for one in sorted(found, key=lambda one: str(one.created))]

        return self._call("list the orders", call)

    def approve(self, order: UUID) -> str:
        """Accept an order, unless it was accepted, or is no longer to be.

        Returns:
            The state that the order is in now.
        """

        def call() -> int:
            with contextlib.suppress(ValueError):
                return marketplace_orders_approve_by_provider.sync_detailed(
                    order, client=self._client, body=OrderApproveByProviderRequest()
                ).status_code
            # Servers of 2024 accept with an empty body, where the client reads JSON.
            return HTTPStatus.CONFLICT

        # For 409 the client raises nothing: it says no more than that the order was not pending.
        if self._call("accept the order", call) == HTTPStatus.OK:
            return str(OrderState.EXECUTING)
        return self.order_state(order)

    def order_state(self, order: UUID) -> str:
        """The state that an order is in now."""
        found = self._call(
            "show the order",
            lambda: marketplace_orders_retrieve.sync(
                order, client=self._client, field=[OrderDetailsFieldEnum.UUID, OrderDetailsFieldEnum.STATE]
            ),
        )
        return str(found.state)

    def set_done(self, order: UUID) -> None:
        """Say that an order has been carried out."""
        self._call("end the order", lambda: marketplace_orders_set_state_done.sync_detailed(order, client=self._client))

    def set_erred(self, order: UUID, message: str, details: str) -> None:
        """Say that an order has failed.

        Args:
            order: The order.
            message: Why, in a sentence for the customer.
            details: What a developer would want to see. Waldur wants both fields, empty or not.
        """
        body = OrderErrorDetailsRequest(error_message=message, error_traceback=details)
        self._call(
            "mark the order as erred",
            lambda: marketplace_orders_set_state_erred.sync_detailed(order, client=self._client, body=body),
        )

    def resource(self, resource: UUID) -> ResourceRecord:
        """A resource as Waldur has it."""
        found = self._call(
            "show the resource",
            lambda: marketplace_provider_resources_retrieve.sync(
                resource, client=self._client, field=[ResourceFieldEnum(name) for name in _RESOURCE_FIELDS]
            ),
        )
        return ResourceRecord.of(found.to_dict())

    def reportable_resources(self, offering: UUID) -> list[ResourceRecord]:
        """The resources of an offering that usage can be reported for, all pages."""
        found = self._call(
            "list the resources",
            lambda: marketplace_provider_resources_list.sync_all(
                client=self._client,
                offering_uuid=[offering],
                state=list(_REPORTABLE),
                field=[ResourceFieldEnum(name) for name in _LISTED_RESOURCE_FIELDS],
            ),
        )
        return [ResourceRecord.of(one.to_dict()) for one in found]

    def set_backend_id(self, resource: UUID, backend_id: str) -> None:
        """Say which tenant a resource is."""
        body = ResourceBackendIDRequest(backend_id=backend_id)
        self._call(
            "note the tenant of the resource",
            lambda: marketplace_provider_resources_set_backend_id.sync(resource, client=self._client, body=body),
        )

    def set_limits(self, resource: UUID, limits: Mapping[str, int | float]) -> None:
        """Say which limits a resource has, in Waldur's units."""
        named = ResourceSetLimitsRequestLimits()
        named.additional_properties = dict(limits)
        self._call(
            "note the limits of the resource",
            lambda: marketplace_provider_resources_set_limits.sync(
                resource, client=self._client, body=ResourceSetLimitsRequest(limits=named)
            ),
        )

    def set_backend_metadata(self, resource: UUID, metadata: Mapping[str, Any]) -> None:
        """Replace what stands beside a resource for its users to see. Waldur merges nothing."""
        named = ResourceBackendMetadataRequestBackendMetadata()
        named.additional_properties = dict(metadata)
        self._call(
            "note the details of the resource",
            lambda: marketplace_provider_resources_set_backend_metadata.sync(
                resource, client=self._client, body=ResourceBackendMetadataRequest(backend_metadata=named)
            ),
        )

    def usages(self, offering: UUID, month: dt.date) -> list[UsageRecord]:
        """What was reported for the resources of an offering, all pages, the latest last.

        Args:
            offering: The offering.
            month: The first day of the month.
        """
        found = self._call(
            "list the usages",
            lambda: marketplace_component_usages_list.sync_all(
                client=self._client,
                offering_uuid=offering,
                billing_period=month,
                field=[ComponentUsageFieldEnum(name) for name in _USAGE_FIELDS],
            ),
        )
        return [
            UsageRecord(UUID(one["resource_uuid"]), one["type"], Decimal(str(one["usage"])))
            for one in sorted((one.to_dict() for one in found), key=lambda one: str(one.get("date")))
        ]

    def set_usage(self, resource: UUID, amounts: Mapping[str, Decimal]) -> None:
        """Report what a resource uses in this month, for some components or all, in Waldur's units."""
        usages = [ComponentUsageItemRequest(type_=name, amount=f"{amount:.2f}") for name, amount in amounts.items()]
        body = ComponentUsageCreateRequest(usages=usages, resource=resource)
        self._call(
            "take the usage",
            lambda: marketplace_component_usages_set_usage.sync_detailed(client=self._client, body=body),
        )

    def _note_retry_after(self, response: httpx.Response) -> None:
        seconds = response.headers.get("Retry-After", "")
        self._retry_after_s = float(seconds) if seconds.isdecimal() else None

    def _call(self, action: str, call: Callable[[], T]) -> T:
        """Call until there is an answer or patience is at its end, and put failures into our words."""
        wait_s = self._patience.wait_s
        for attempt in range(1, self._patience.attempts + 1):
            self._retry_after_s = None
            try:
                return call()
            except errors.UnexpectedStatus as error:
                if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR and error.status_code not in _BUSY:
                    kind = WaldurDenied if error.status_code in _DENIED else WaldurRefused
                    raise kind(action, error.status_code, _detail(error.content)) from None
                failure = WaldurUnavailable(f"Waldur could not {action}: HTTP {error.status_code}")
            except httpx.RequestError as error:
                failure = WaldurUnavailable(f"Waldur could not {action}: {str(error) or type(error).__name__}")
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                # The client's own way of saying that an answer is not what it expects.
                failure = WaldurUnavailable(
                    f"asked to {action}, Waldur gave no answer that can be read: {type(error).__name__} {error}"
                )
            pause_s = wait_s if self._retry_after_s is None else self._retry_after_s
            if attempt == self._patience.attempts or pause_s > self._patience.wait_max_s:
                break
            time.sleep(pause_s)
            wait_s = min(wait_s * 2, self._patience.wait_max_s)
        raise failure


def _detail(content: bytes) -> str:
    """What Waldur says is wrong: `{"detail": ...}`, or messages by field, or a page for people."""
    text = content.decode(errors="replace").strip()
    try:
        said = json.loads(text)
    except ValueError:
        said = "a page of HTML" if text.startswith("<") else text
    if isinstance(said, dict) and set(said) == {"detail"}:
        said = said["detail"]
    shown = said if isinstance(said, str) else json.dumps(said)
    return shown[:_DETAIL_CHARACTERS] or "no reason given"
