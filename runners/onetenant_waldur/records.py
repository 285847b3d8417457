"""What Waldur says, as the agent needs it: frozen values, without the generated client."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs


@attrs.frozen
class ComponentTerms:
    """A component of an offering.

    Attributes:
        type: Its name in limits and usages.
        billing_type: limit, usage, fixed, one or few.
        unit_factor: How many of OpenNebula's units one of its own is. None where the server does not say.
    """

    type: str
    billing_type: str
    unit_factor: float | None = None


@attrs.frozen
class OfferingTerms:
    """An offering.

    Attributes:
        components: What it sells.
        plans: For each plan the amounts that it includes, by component.
        plugin_options: The settings that its owner gave it in Waldur.
        provider: The organisation that sells it; None where the server does not say.
    """

    components: tuple[ComponentTerms, ...]
    plans: Mapping[UUID, Mapping[str, float]]
    plugin_options: Mapping[str, Any]
    provider: UUID | None = None


@attrs.frozen
class OrderRecord:
    """An order.

    Attributes:
        uuid: Which one it is.
        state: pending-provider, executing, done, erred, canceled ...
        type: Create, Restore, Update or Terminate.
        resource: The resource that it is about.
        limits: The limits ordered, in Waldur's units.
        plan: The plan ordered.
        resource_name: What the customer calls the resource.
        attributes: What else the customer, or Waldur, says about it.
        note: What its provider has written in the place of an id of its own.
        created: When it was placed, as Waldur writes it: such texts sort as their times do.
    """

    uuid: UUID
    state: str
    type: str
    resource: UUID
    limits: Mapping[str, float]
    plan: UUID | None
    resource_name: str = ""
    attributes: Mapping[str, Any] = attrs.field(factory=dict)
    note: str = ""
    created: str = ""

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "OrderRecord":
        """Read an order from its fields in the API."""
        return cls(
            uuid=UUID(said["uuid"]),
            state=str(said["state"]),
            type=str(said["type"]),
            resource=UUID(said["marketplace_resource_uuid"]),
            limits=_named(said.get("limits")),
            plan=UUID(said["plan_uuid"]) if said.get("plan_uuid") else None,
            resource_name=said.get("resource_name") or "",
            attributes=dict(said.get("attributes") or {}),
            note=said.get("backend_id") or "",
            created=str(said.get("created") or ""),
        )


@attrs.frozen
class ResourceRecord:
    """A resource.

    Attributes:
        uuid: Which one it is.
        name: What the customer calls it.
        slug: A unique short name made by Waldur.
        state: Creating, OK, Erred, Updating, Terminating or Terminated.
        backend_id: The id of the tenant's group, or what another tool wrote there.
        backend_metadata: What stands beside it for its users to see.
        limits: Its limits, in Waldur's units.
        plan: Its plan.
        project_slug: A unique short name of the project that it is in.
    """

    uuid: UUID
    name: str
    slug: str
    state: str
    backend_id: str
    backend_metadata: Mapping[str, Any] = attrs.field(repr=False)  # it may have a password in it
    limits: Mapping[str, float]
    plan: UUID | None
    project_slug: str

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "ResourceRecord":
        """Read a resource from its fields in the API, of which there may be few."""
        return cls(
            uuid=UUID(said["uuid"]),
            name=said.get("name") or "",
            slug=said.get("slug") or "",
            state=str(said.get("state") or ""),
            backend_id=said.get("backend_id") or "",
            backend_metadata=dict(said.get("backend_metadata") or {}),
            limits=_named(said.get("limits")),
            plan=UUID(said["plan_uuid"]) if said.get("plan_uuid") else None,
            project_slug=said.get("project_slug") or "",
        )

    @property
    def key(self) -> str:
        """The key of its tenant."""
        return self.uuid.hex


@attrs.frozen
class UsageRecord:
    """What was reported for a component of a resource.

    Attributes:
        resource: The resource.
        component: The component.
        amount: The amount, in Waldur's units.
    """

    resource: UUID
    component: str
    amount: Decimal


def _named(limits: Mapping[str, Any] | None) -> dict[str, float]:
    return {name: value for name, value in (limits or {}).items() if value is not None}
