"""What the marketplace keeps: organisations, people, offerings, resources, orders, usage.

The names and the states are Waldur's own. Records are live objects: a test may change one between two calls of an
agent (under `State.lock`), and the next answer shows it.
"""

import base64
import datetime as dt
import decimal
import enum
import hashlib
import uuid
from collections.abc import Mapping
from typing import Any

import attrs


SITE_AGENT = "Marketplace.Slurm"
"""Type of the offerings that a site agent serves. The name is older than the agents for anything but Slurm."""

Limits = dict[str, int]
"""Component type to the amount ordered, in the measured unit of the component."""


def new_uuid() -> str:
    """A fresh identity: 32 hexadecimal digits without dashes, as Waldur writes them."""
    return uuid.uuid4().hex


class OrderState(enum.StrEnum):
    """Where an order is."""

    PENDING_CONSUMER = "pending-consumer"
    PENDING_PROVIDER = "pending-provider"
    EXECUTING = "executing"
    DONE = "done"
    ERRED = "erred"
    CANCELED = "canceled"
    REJECTED = "rejected"


ACTIVE_ORDER = frozenset({OrderState.PENDING_CONSUMER, OrderState.PENDING_PROVIDER, OrderState.EXECUTING})
"""A resource has at most one order in these states."""


class OrderType(enum.StrEnum):
    """What an order asks for."""

    CREATE = "Create"
    UPDATE = "Update"
    TERMINATE = "Terminate"


class ResourceState(enum.StrEnum):
    """Where a resource is."""

    CREATING = "Creating"
    OK = "OK"
    ERRED = "Erred"
    UPDATING = "Updating"
    TERMINATING = "Terminating"
    TERMINATED = "Terminated"


class BillingType(enum.StrEnum):
    """How a component is paid for: by report, by limit, or as part of the plan."""

    USAGE = "usage"
    LIMIT = "limit"
    FIXED = "fixed"
    ONE_TIME = "one"
    ON_PLAN_SWITCH = "few"


class Permission(enum.Enum):
    """What a role allows on the thing it was granted on."""

    APPROVE_ORDER = enum.auto()
    SET_USAGE = enum.auto()
    SET_BACKEND_ID = enum.auto()
    SET_BACKEND_METADATA = enum.auto()
    CHANGE_RESOURCE = enum.auto()


class Role(enum.Enum):
    """A role: its name, its description, its identity and what it allows, as Waldur's permissions.yaml has them."""

    OWNER = (
        "CUSTOMER.OWNER",
        "Organization owner",
        frozenset(Permission),
    )
    ORGANISATION_MANAGER = (
        "CUSTOMER.MANAGER",
        "Organization manager",
        frozenset({Permission.SET_BACKEND_ID, Permission.SET_BACKEND_METADATA}),
    )
    OFFERING_MANAGER = (
        "OFFERING.MANAGER",
        "Offering manager",
        frozenset({Permission.SET_USAGE, Permission.SET_BACKEND_ID, Permission.SET_BACKEND_METADATA}),
    )
    PROJECT_ADMIN = (
        "PROJECT.ADMIN",
        "Project administrator",
        frozenset({Permission.APPROVE_ORDER, Permission.CHANGE_RESOURCE}),
    )

    def __init__(self, label: str, description: str, permissions: frozenset[Permission]) -> None:
        self.label = label
        self.description = description
        self.permissions = permissions
        self.uuid = new_uuid()


@attrs.frozen
class SshKey:
    """A public key that a user left in Waldur."""

    name: str
    public_key: str
    uuid: str = attrs.field(factory=new_uuid)

    def digest(self, algorithm: str) -> bytes:
        """Hash of the key itself, without its type and comment."""
        return hashlib.new(algorithm, base64.b64decode(self.public_key.split()[1]), usedforsecurity=False).digest()

    def fingerprint(self, algorithm: str) -> str:
        """The fingerprint that ssh-keygen prints: `SHA256:` and base64 without padding."""
        return f"{algorithm.upper()}:{base64.b64encode(self.digest(algorithm)).decode().rstrip('=')}"


@attrs.define(eq=False)
class Organisation:
    """A customer in Waldur's terms: it provides offerings, or has projects that consume them."""

    name: str
    slug: str
    abbreviation: str
    created: dt.datetime
    uuid: str = attrs.field(factory=new_uuid)
    provider_uuid: str = attrs.field(factory=new_uuid)


@attrs.define(eq=False)
class Project:
    """What resources are ordered into."""

    name: str
    slug: str
    description: str
    customer: Organisation
    uuid: str = attrs.field(factory=new_uuid)


@attrs.define(eq=False)
class Grant:
    """A role that a user has on an organisation, a project or an offering."""

    role: Role
    scope: "Organisation | Project | Offering"
    created: dt.datetime


@attrs.define(eq=False)
class User:
    """Somebody with a token. `number` is the row number that Waldur shows as `modified_by`."""

    username: str
    slug: str
    first_name: str
    last_name: str
    token: str = attrs.field(repr=False)
    number: int
    joined: dt.datetime
    is_staff: bool = False
    grants: list[Grant] = attrs.field(factory=list)
    keys: list[SshKey] = attrs.field(factory=list)
    uuid: str = attrs.field(factory=new_uuid)

    @property
    def full_name(self) -> str:
        """First and last name."""
        return f"{self.first_name} {self.last_name}"

    @property
    def email(self) -> str:
        """An address that reaches nobody."""
        return f"{self.username}@example.com"


@attrs.define(eq=False)
class Component:
    """One thing that an offering sells.

    Attributes:
        type: The name that limits, quotas and usage use.
        name: The name for people. Waldur lists components by it.
        measured_unit: Unit of limits and usage, as text.
        billing_type: How it is paid for.
        unit_factor: Backend units in one measured unit.
        min_value: Least limit that can be ordered, None without one.
        max_value: Greatest limit that can be ordered, None without one.
    """

    type: str
    name: str
    measured_unit: str = ""
    billing_type: BillingType = attrs.field(default=BillingType.LIMIT, converter=BillingType)
    unit_factor: int = 1
    min_value: int | None = None
    max_value: int | None = None
    uuid: str = attrs.field(factory=new_uuid)


def _quotas(quotas: Mapping[str, int]) -> Limits:
    return dict(quotas)


def _prices(prices: Mapping[str, float | str]) -> dict[str, decimal.Decimal]:
    return {kind: decimal.Decimal(price) for kind, price in prices.items()}


@attrs.define(eq=False)
class Plan:
    """Prices, and for FIXED components the amounts that a resource with this plan has.

    Attributes:
        name: The name for people. Waldur lists plans by it.
        quotas: Amount by component type; 0 for a component that is not named.
        prices: Price of one measured unit a month by component type; 1 for a component that is not named.
    """

    name: str
    quotas: Limits = attrs.field(factory=dict, converter=_quotas)
    prices: dict[str, decimal.Decimal] = attrs.field(factory=dict, converter=_prices)
    description: str = ""
    uuid: str = attrs.field(factory=new_uuid)

    def price(self, kind: str) -> decimal.Decimal:
        """Price of one measured unit of a component."""
        return self.prices.get(kind, decimal.Decimal(1))


@attrs.define(eq=False)
class Offering:
    """What a provider sells."""

    name: str
    slug: str
    description: str
    customer: Organisation
    created: dt.datetime
    components: list[Component]
    plans: list[Plan]
    plugin_options: dict[str, Any]
    options: dict[str, Any]
    type: str = SITE_AGENT
    uuid: str = attrs.field(factory=new_uuid)

    def by_name(self) -> list[Component]:
        """The components in the order Waldur lists them."""
        return sorted(self.components, key=lambda component: component.name.casefold())

    def billed(self, *kinds: BillingType) -> list[Component]:
        """The components paid for in one of these ways."""
        return [component for component in self.by_name() if component.billing_type in kinds]

    def cost(self, plan: Plan, limits: Mapping[str, int]) -> decimal.Decimal:
        """Cost of limits by a plan, a month. FIXED components do not count, as in Waldur's Plan.get_estimate."""
        limited = self.billed(BillingType.LIMIT)
        amounts = (plan.price(component.type) * limits.get(component.type, 0) for component in limited)
        return sum(amounts, decimal.Decimal(0))


@attrs.define(eq=False)
class PlanPeriod:
    """The time during which a resource had a plan."""

    plan: Plan
    start: dt.datetime
    end: dt.datetime | None = None
    uuid: str = attrs.field(factory=new_uuid)


@attrs.define(eq=False)
class Resource:
    """What a project got from an offering."""

    name: str
    slug: str
    offering: Offering
    project: Project
    plan: Plan | None
    attributes: dict[str, Any]
    limits: Limits
    created: dt.datetime
    modified: dt.datetime
    state: ResourceState = ResourceState.CREATING
    cost: decimal.Decimal | None = None
    backend_id: str = ""
    backend_metadata: dict[str, Any] = attrs.field(factory=dict)
    current_usages: dict[str, str] = attrs.field(factory=dict)
    error_message: str = ""
    error_traceback: str = ""
    last_sync: dt.datetime | None = None
    plan_periods: list[PlanPeriod] = attrs.field(factory=list)
    uuid: str = attrs.field(factory=new_uuid)


@attrs.define(eq=False)
class Order:
    """What somebody asks of an offering for one resource."""

    type: OrderType
    resource: Resource
    created_by: User
    plan: Plan | None
    attributes: dict[str, Any]
    limits: Limits
    created: dt.datetime
    modified: dt.datetime
    state: OrderState = OrderState.PENDING_PROVIDER
    old_plan: Plan | None = None
    cost: decimal.Decimal | None = None
    consumer_reviewed_by: User | None = None
    consumer_reviewed_at: dt.datetime | None = None
    provider_reviewed_by: User | None = None
    provider_reviewed_at: dt.datetime | None = None
    error_message: str = ""
    error_traceback: str = ""
    backend_id: str = ""
    uuid: str = attrs.field(factory=new_uuid)

    @property
    def offering(self) -> Offering:
        """What is ordered."""
        return self.resource.offering

    @property
    def project(self) -> Project:
        """Where it is ordered."""
        return self.resource.project


@attrs.define(eq=False)
class Usage:
    """How much of a component a resource used in one month.

    Attributes:
        billing_period: First day of the month.
        date: When it was reported, or the date the report named.
        by_user: Share of a user by username, as reported.
    """

    resource: Resource
    component: Component
    plan_period: PlanPeriod | None
    billing_period: dt.date
    amount: decimal.Decimal
    date: dt.datetime
    created: dt.datetime
    modified_by: User
    description: str = ""
    recurring: bool = False
    by_user: dict[str, decimal.Decimal] = attrs.field(factory=dict)
    uuid: str = attrs.field(factory=new_uuid)
