"""The marketplace's memory: every record, one lock, one clock."""

import datetime as dt
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from onetenant_waldur.marketplace import records
from onetenant_waldur.marketplace.records import (
    Component,
    Grant,
    Offering,
    Order,
    Organisation,
    Plan,
    Project,
    Resource,
    Role,
    Usage,
    User,
)


@attrs.define
class Behaviour:
    """Where servers of different age differ.

    Attributes:
        empty_approval: Answer an approval with 200 and no body, as servers of 2024 do. Clients of 8.1 read JSON there.
        stale_creation_order: Show `creation_order` of a resource as it was when it was first asked for, as servers
            of 2024 do: they keep the last one asked for in a cache of one entry.
        empty_actions: Answer all actions of providers with 200 and no body, as some always are.
        empty_conflicts: Answer what needs another state with 409 and no body.
        retry_after: The header `Retry-After` of answers that say that the server is too busy: seconds, or a date.
    """

    empty_approval: bool = False
    stale_creation_order: bool = False
    empty_actions: bool = False
    empty_conflicts: bool = False
    retry_after: str | None = None


def utc_now() -> dt.datetime:
    """The wall clock."""
    return dt.datetime.now(dt.UTC)


@attrs.define(eq=False)
class State:
    """All records. Whoever reads or changes more than one thing holds `lock`, as every request does."""

    behaviour: Behaviour = attrs.field(factory=Behaviour)
    clock: Callable[[], dt.datetime] = utc_now
    lock: threading.RLock = attrs.field(factory=threading.RLock, init=False)
    users: list[User] = attrs.field(factory=list, init=False)
    organisations: list[Organisation] = attrs.field(factory=list, init=False)
    projects: list[Project] = attrs.field(factory=list, init=False)
    offerings: list[Offering] = attrs.field(factory=list, init=False)
    resources: list[Resource] = attrs.field(factory=list, init=False)
    orders: list[Order] = attrs.field(factory=list, init=False)
    usages: list[Usage] = attrs.field(factory=list, init=False)
    creation_order: Order | None = attrs.field(default=None, init=False)
    category_uuid: str = attrs.field(factory=records.new_uuid, init=False)
    _last: dt.datetime | None = attrs.field(default=None, init=False)

    def now(self) -> dt.datetime:
        """The time. No two answers are equal, so that records keep the order in which they were made."""
        with self.lock:
            time = self.clock()
            if self._last is not None and time <= self._last:
                time = self._last + dt.timedelta(microseconds=1)
            self._last = time
            return time

    def touch(self, record: Order | Resource) -> None:
        """Note that a record was saved."""
        record.modified = self.now()

    def slug(self, name: str) -> str:
        """A slug as Waldur makes it: eight letters of the name, and a number that makes it unique."""
        stem = "".join(letter if letter.isalnum() else "-" for letter in name.lower())[:8]
        known: list[Any] = [*self.users, *self.organisations, *self.projects, *self.offerings, *self.resources]
        taken = {record.slug for record in known}
        return next(slug for number in range(1, len(taken) + 2) if (slug := f"{stem}-{number}") not in taken)

    def add_user(self, username: str, *, is_staff: bool = False) -> User:
        """A user with a token of their own and no roles."""
        user = User(
            username=username,
            slug=self.slug(username),
            first_name=username.title(),
            last_name="Test",
            token=secrets.token_hex(20),
            number=len(self.users) + 1,
            joined=self.now(),
            is_staff=is_staff,
        )
        self.users.append(user)
        return user

    def add_organisation(self, name: str, abbreviation: str = "") -> Organisation:
        """An organisation. The one of an offering is a provider."""
        organisation = Organisation(name, self.slug(name), abbreviation, self.now())
        self.organisations.append(organisation)
        return organisation

    def add_project(self, name: str, customer: Organisation, description: str = "") -> Project:
        """A project of an organisation."""
        project = Project(name, self.slug(name), description, customer)
        self.projects.append(project)
        return project

    def add_offering(
        self,
        name: str,
        customer: Organisation,
        components: Iterable[Component],
        plans: Iterable[Plan] = (),
        *,
        plugin_options: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        description: str = "",
        kind: str = records.SITE_AGENT,
    ) -> Offering:
        """An active, shared offering. Without plans it gets one named Default, since an order needs one."""
        offering = Offering(
            name=name,
            slug=self.slug(name),
            description=description,
            customer=customer,
            created=self.now(),
            components=list(components),
            plans=list(plans) or [Plan("Default")],
            plugin_options=dict(plugin_options or {}),
            options=dict(options or {"order": [], "options": {}}),
            type=kind,
        )
        self.offerings.append(offering)
        return offering

    def grant(self, user: User, role: Role, scope: Organisation | Project | Offering) -> None:
        """Give a user a role, unless they have it there."""
        if not any(grant.role is role and grant.scope is scope for grant in user.grants):
            user.grants.append(Grant(role, scope, self.now()))

    def add_manager(self, user: User, offering: Offering) -> None:
        """Make a user manager of an offering. Waldur then makes them manager of the organisation as well."""
        self.grant(user, Role.OFFERING_MANAGER, offering)
        self.grant(user, Role.ORGANISATION_MANAGER, offering.customer)
