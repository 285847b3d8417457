"""Waldur's API as the agent uses it: few calls, few errors, and nothing of the generated client in their types.

Every call here may be sent again: what it asks for a second time is there already. So all of them are.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from decimal import Decimal
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import attrs
from waldur_api_client.api.marketplace_component_usages import (
    marketplace_component_usages_list,
    marketplace_component_usages_set_usage,
)
from waldur_api_client.api.marketplace_orders import (
    marketplace_orders_approve_by_provider,
    marketplace_orders_list,
    marketplace_orders_retrieve,
    marketplace_orders_set_backend_id,
    marketplace_orders_set_state_done,
    marketplace_orders_set_state_erred,
)
from waldur_api_client.api.marketplace_provider_offerings import marketplace_provider_offerings_retrieve
from waldur_api_client.api.marketplace_provider_resources import (
    marketplace_provider_resources_list,
    marketplace_provider_resources_refresh_last_sync,
    marketplace_provider_resources_retrieve,
    marketplace_provider_resources_set_as_erred,
    marketplace_provider_resources_set_as_ok,
    marketplace_provider_resources_set_backend_id,
    marketplace_provider_resources_set_backend_metadata,
    marketplace_provider_resources_set_limits,
)
from waldur_api_client.api.marketplace_service_providers import (
    marketplace_service_providers_keys_list,
    marketplace_service_providers_list,
)
from waldur_api_client.models import (
    ComponentUsageCreateRequest,
    ComponentUsageFieldEnum,
    ComponentUsageItemRequest,
    OrderApproveByProviderRequest,
    OrderBackendIDRequest,
    OrderDetailsFieldEnum,
    OrderErrorDetailsRequest,
    OrderState,
    ProviderOfferingDetailsFieldEnum,
    RequestTypes,
    ResourceBackendIDRequest,
    ResourceBackendMetadataRequest,
    ResourceBackendMetadataRequestBackendMetadata,
    ResourceFieldEnum,
    ResourceSetLimitsRequest,
    ResourceSetLimitsRequestLimits,
    ResourceSetStateErredRequest,
    ResourceState,
    ServiceProviderFieldEnum,
    SshKeyFieldEnum,
)
from waldur_api_client.types import UNSET

from onetenant_waldur.records import (
    ComponentTerms,
    OfferingTerms,
    OrderRecord,
    ResourceRecord,
    UsageRecord,
)
from onetenant_waldur.waldur_calls import Patience, WaldurCalls, WaldurRefused, utc_now


_OFFERING_FIELDS = ("components", "plans", "plugin_options", "customer_uuid")
_ORDER_FIELDS = (
    "uuid",
    "state",
    "type",
    "limits",
    "marketplace_resource_uuid",
    "plan_uuid",
    "resource_name",
    "backend_id",
    "created",
    "attributes",
)
_RESOURCE_FIELDS = (
    "uuid",
    "name",
    "slug",
    "state",
    "backend_id",
    "backend_metadata",
    "limits",
    "plan_uuid",
    "project_slug",
)
_LISTED_RESOURCE_FIELDS = ("uuid", "name", "state", "backend_id", "backend_metadata", "limits")
_USAGE_FIELDS = ("resource_uuid", "type", "usage", "date")
_REPORTABLE = (ResourceState.OK, ResourceState.ERRED, ResourceState.UPDATING)


@attrs.frozen
class Acceptance:
    """What came of accepting an order.

    Attributes:
        state: The state that the order is in now.
        by_another: Whether it is certain that somebody else has accepted it.
    """

    state: str
    by_another: bool = False


def _nothing() -> None:
    """Do nothing before a call."""


class Waldur:
    """One user's access to a Waldur. Thread safe.

    Args:
        api_url: The root of the API, with or without `/api/` at its end.
        token: The user's token.
        verify: Whether to verify the server's certificate, or the file of those that vouch for it.
        proxy: The proxy on the way, if there is one.
        patience: How long to wait.
        max_connections: How many calls may be under way at once.
        before_call: Called before each request; what it raises goes through.
        clock: The clock of this machine.
    """

    def __init__(
        self,
        api_url: str,
        token: str,
        *,
        verify: bool | str = True,
        proxy: str | None = None,
        patience: Patience | None = None,
        max_connections: int = 4,
        before_call: Callable[[], None] = _nothing,
        clock: Callable[[], dt.datetime] = utc_now,
    ) -> None:
        self._calls = WaldurCalls(
            api_url,
            token,
            verify=verify,
            proxy=proxy,
            patience=patience or Patience(),
            max_connections=max_connections,
            before_call=before_call,
            clock=clock,
        )
        self._client = self._calls.client

    def close(self) -> None:
        """Close the connections that are kept."""
        self._calls.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def now(self) -> dt.datetime:
        """What time it is in Waldur, as far as it has said."""
        return self._calls.now

    @property
    def ahead(self) -> dt.timedelta:
        """By how much its clock is ahead of this machine's."""
        return self._calls.ahead

    def offering(self, offering: UUID) -> OfferingTerms:
        """What an offering sells, and the settings that its owner gave it in Waldur."""
        found = self._calls.ask(
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
            provider=UUID(found["customer_uuid"]) if found.get("customer_uuid") else None,
        )

    def ssh_keys(self, provider: UUID) -> dict[UUID, str]:
        """The SSH keys of those that an organisation serves, all pages: the public key for each uuid.

        Args:
            provider: The organisation.
        """

        def request() -> dict[UUID, str]:
            providers = marketplace_service_providers_list.sync_all(
                client=self._client, customer_uuid=provider, field=[ServiceProviderFieldEnum.UUID]
            )
            pages = [
                marketplace_service_providers_keys_list.sync_all(
                    UUID(str(one.uuid)),
                    client=self._client,
                    field=[SshKeyFieldEnum.UUID, SshKeyFieldEnum.PUBLIC_KEY],
                )
                for one in providers
            ]
            rows = [key.to_dict() for page in pages for key in page]
            return {UUID(row["uuid"]): str(row["public_key"]) for row in rows}

        return self._calls.ask("list the SSH keys", request)

    def open_orders(self, offering: UUID) -> list[OrderRecord]:
        """The orders of an offering that wait for the provider or are being carried out, all pages, oldest first."""
        return self._orders(offering, OrderState.PENDING_PROVIDER, OrderState.EXECUTING)

    def withdrawn_orders(self, offering: UUID, since: dt.datetime) -> list[OrderRecord]:
        """The orders that have been cancelled since some time, and the creations that have erred; oldest first."""
        found = self._orders(offering, OrderState.CANCELED, OrderState.ERRED, since=since)
        return [one for one in found if one.state == OrderState.CANCELED or one.type == RequestTypes.CREATE]

    def has_other_orders(self, order: OrderRecord) -> bool:
        """Whether anything else has been ordered for the resource of an order, before it or since."""

        def request() -> bool:
            found = marketplace_orders_list.sync_all(
                client=self._client, resource_uuid=order.resource, field=[OrderDetailsFieldEnum.UUID]
            )
            return any(one.to_dict()["uuid"] not in {order.uuid.hex, str(order.uuid)} for one in found)

        return self._calls.ask("list the orders of the resource", request)

    def _orders(self, offering: UUID, *states: OrderState, since: dt.datetime | None = None) -> list[OrderRecord]:
        def request() -> list[OrderRecord]:
            found = marketplace_orders_list.sync_all(
                client=self._client,
                offering_uuid=offering,
                state=list(states),
                modified=UNSET if since is None else since,
                field=[OrderDetailsFieldEnum(name) for name in _ORDER_FIELDS],
            )
            # A list that changes while it is read shows an order on two pages.
            orders = {one.uuid: one for one in (OrderRecord.of(each.to_dict()) for each in found)}
            return sorted(orders.values(), key=lambda one: one.created)

        return self._calls.ask("list the orders", request)

    def approve(self, order: UUID) -> Acceptance:
        """Accept an order, unless it was accepted, or is no longer to be."""
        sent = 0

        def request() -> HTTPStatus | None:
            nonlocal sent
            sent += 1
            try:
                return marketplace_orders_approve_by_provider.sync_detailed(
                    order, client=self._client, body=OrderApproveByProviderRequest()
                ).status_code
            except ValueError:
                # Servers of 2024 accept with an empty body, where the client reads JSON.
                return None

        try:
            status = self._calls.ask("accept the order", request)
        except WaldurRefused as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            status = HTTPStatus.CONFLICT  # clients before 8.1.3 raise, later ones return it
        if status == HTTPStatus.OK:
            return Acceptance(OrderState.EXECUTING.value)
        # A conflict says no more than that the order was not pending; that may be our own doing, if we asked twice.
        return Acceptance(self.order_state(order), by_another=status == HTTPStatus.CONFLICT and sent == 1)

    def order_state(self, order: UUID) -> str:
        """The state that an order is in now."""
        found = self._calls.ask(
            "show the order",
            lambda: marketplace_orders_retrieve.sync(
                order, client=self._client, field=[OrderDetailsFieldEnum.UUID, OrderDetailsFieldEnum.STATE]
            ),
        )
        return str(found.state)

    def set_done(self, order: UUID) -> None:
        """Say that an order has been carried out."""
        self._calls.tell(
            "end the order", lambda: marketplace_orders_set_state_done.sync_detailed(order, client=self._client)
        )

    def set_erred(self, order: UUID, message: str, details: str) -> None:
        """Say that an order has failed.

        Args:
            order: The order.
            message: Why, in a sentence for the customer.
            details: What a developer would want to see. Waldur wants both fields, empty or not.
        """
        body = OrderErrorDetailsRequest(error_message=message, error_traceback=details)
        self._calls.tell(
            "mark the order as erred",
            lambda: marketplace_orders_set_state_erred.sync_detailed(order, client=self._client, body=body),
        )

    def note_order(self, order: UUID, note: str) -> None:
        """Write a note of the agent's own beside an order, in the place of the provider's id of it."""
        body = OrderBackendIDRequest(backend_id=note)
        self._calls.tell(
            "note something of the order",
            lambda: marketplace_orders_set_backend_id.sync_detailed(order, client=self._client, body=body),
        )

    def resource(self, resource: UUID) -> ResourceRecord:
        """A resource as Waldur has it."""
        found = self._calls.ask(
            "show the resource",
            lambda: marketplace_provider_resources_retrieve.sync(
                resource, client=self._client, field=[ResourceFieldEnum(name) for name in _RESOURCE_FIELDS]
            ),
        )
        return ResourceRecord.of(found.to_dict())

    def reportable_resources(self, offering: UUID) -> list[ResourceRecord]:
        """The resources of an offering that usage can be reported for, all pages."""
        found = self._calls.ask(
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
        self._calls.tell(
            "note the tenant of the resource",
            lambda: marketplace_provider_resources_set_backend_id.sync(resource, client=self._client, body=body),
        )

    def set_limits(self, resource: UUID, limits: Mapping[str, int | float]) -> None:
        """Say which limits a resource has, in Waldur's units."""
        named = ResourceSetLimitsRequestLimits()
        named.additional_properties = dict(limits)
        self._calls.tell(
            "note the limits of the resource",
            lambda: marketplace_provider_resources_set_limits.sync(
                resource, client=self._client, body=ResourceSetLimitsRequest(limits=named)
            ),
        )

    def set_backend_metadata(self, resource: UUID, metadata: Mapping[str, Any]) -> None:
        """Replace what stands beside a resource for its users to see. Waldur merges nothing."""
        named = ResourceBackendMetadataRequestBackendMetadata()
        named.additional_properties = dict(metadata)
        self._calls.tell(
            "note the details of the resource",
            lambda: marketplace_provider_resources_set_backend_metadata.sync(
                resource, client=self._client, body=ResourceBackendMetadataRequest(backend_metadata=named)
            ),
        )

    def set_resource_ok(self, resource: UUID) -> None:
        """Say that a resource is well."""
        self._calls.tell(
            "mark the resource as well",
            lambda: marketplace_provider_resources_set_as_ok.sync_detailed(resource, client=self._client),
        )

    def set_resource_erred(self, resource: UUID, message: str) -> None:
        """Say that a resource is not well, and why."""
        body = ResourceSetStateErredRequest(error_message=message, error_traceback="")
        self._calls.tell(
            "mark the resource as erred",
            lambda: marketplace_provider_resources_set_as_erred.sync_detailed(resource, client=self._client, body=body),
        )

    def set_synchronised(self, resource: UUID) -> None:
        """Say that a resource has just been looked after."""
        self._calls.tell(
            "note when the resource was looked after",
            lambda: marketplace_provider_resources_refresh_last_sync.sync_detailed(resource, client=self._client),
        )

    def usages(self, offering: UUID, month: dt.date) -> list[UsageRecord]:
        """What was reported for the resources of an offering, all pages, the latest last.

        Args:
            offering: The offering.
            month: The first day of the month.
        """
        found = self._calls.ask(
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
        self._calls.tell(
            "take the usage",
            lambda: marketplace_component_usages_set_usage.sync_detailed(client=self._client, body=body),
        )
