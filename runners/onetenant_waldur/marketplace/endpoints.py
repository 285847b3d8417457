"""What every endpoint is made of: a call by a user, a reply, and the table of what is served where."""

import datetime as dt
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import attrs
from werkzeug.datastructures import MultiDict

from onetenant_waldur.marketplace import paging, refusals
from onetenant_waldur.marketplace.records import User
from onetenant_waldur.marketplace.state import State


T = TypeVar("T")

DETAIL = "GET, PUT, PATCH, DELETE, HEAD, OPTIONS"
"""Methods that Waldur allows on a record, by the header Allow."""
COLLECTION = "GET, POST, HEAD, OPTIONS"
"""Methods that Waldur allows on a list."""
READ_ONLY = "GET, HEAD, OPTIONS"
"""Methods that Waldur allows on what can only be read."""
ACTION = "POST, OPTIONS"
"""Methods that Waldur allows on an action."""


@attrs.frozen
class Call:
    """One request of an authenticated user.

    Attributes:
        state: The marketplace's memory.
        user: Who asks.
        root: Address that the API's paths are appended to, with a slash at its end.
        url: Address of the request, query included.
        query: Parameters of the query string.
        content: Body of the request.
    """

    state: State
    user: User
    root: str
    url: str
    query: MultiDict[str, str]
    content: bytes

    def body(self) -> dict[str, Any]:
        """The JSON object that was sent; an empty one if nothing was.

        Raises:
            Refusal: 400 if it is no JSON, or no object.
        """
        if not self.content:
            return {}
        try:
            body = json.loads(self.content)
        except ValueError as error:
            raise refusals.invalid({"detail": f"JSON parse error - {error}"}) from error
        if not isinstance(body, dict):
            text = f"Invalid data. Expected a dictionary, but got {type(body).__name__}."
            raise refusals.invalid({"non_field_errors": [text]})
        return body


@attrs.frozen
class Reply:
    """An answer: a JSON value, or no body at all."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = attrs.field(factory=dict)


View = Callable[..., Reply]
"""Takes a `Call` and the variable parts of the path."""


@attrs.frozen
class Route:
    """One path and what is served there.

    Attributes:
        path: Path below the root, with Flask's variable parts.
        allow: What the header Allow says, which in Waldur is not always what is possible.
        views: View by method.
        disabled: A method that the header Allow promises although Waldur has switched it off there.
    """

    path: str
    allow: str
    views: Mapping[str, View]
    disabled: str | None = None

    def view(self, method: str) -> View:
        """The view for a method.

        Raises:
            Refusal: 405 for a method that Waldur does not have there, 501 for one that only Waldur has.
        """
        method = "GET" if method == "HEAD" else method
        if method in self.views:
            return self.views[method]
        if method in self.allow.split(", ") and method != self.disabled:
            raise refusals.not_embedded(f"{method} on {self.path}")
        raise refusals.not_allowed(method)


def route(path: str, allow: str, *, disabled: str | None = None, **views: View) -> Route:
    """A route: `route("version/", READ_ONLY, GET=version)`."""
    return Route(path, allow, views, disabled)


def listing(call: Call, records: Sequence[T], show: Callable[[T], dict[str, Any]]) -> Reply:
    """One page of records, with the fields that were asked for."""
    chosen, headers = paging.page(records, call.query, call.url)
    return Reply([paging.select(show(record), call.query) for record in chosen], headers=headers)


def find(noun: str, records: Iterable[T], identity: str, uuid_of: Callable[[T], str]) -> T:
    """The record with an identity, with or without dashes.

    Raises:
        Refusal: 404 if there is none among these records, or if that is no UUID.
    """
    wanted = paging.hex_uuid(identity)
    for record in records:
        if uuid_of(record) == wanted:
            return record
    raise refusals.not_found(noun)


def reference(field: str, url: Any, records: Iterable[T], uuid_of: Callable[[T], str]) -> T:
    """The record that a URL in a request's body names by its last part.

    Raises:
        Refusal: 400 if there is none among these records.
    """
    if not isinstance(url, str):
        text = f"Incorrect type. Expected URL string, received {type(url).__name__}."
        raise refusals.invalid({field: [text]})
    wanted = paging.hex_uuid(url.rstrip("/").rpartition("/")[2])
    for record in records:
        if uuid_of(record) == wanted:
            return record
    raise refusals.invalid({field: ["Invalid hyperlink - Object does not exist."]})


def required(body: Mapping[str, Any], *fields: str) -> None:
    """Refuse with 400 a body that lacks fields, all of them at once."""
    missing = {field: ["This field is required."] for field in fields if field not in body}
    if missing:
        raise refusals.invalid(missing)


def limits_of(body: Mapping[str, Any], minimum: int | None = 0) -> dict[str, int]:
    """The limits in a body: whole numbers by component type.

    Args:
        body: What was sent.
        minimum: The least that passes. An order for a new resource has none, which lets negative limits through.

    Raises:
        Refusal: 400 with one text for each that is none.
    """
    given = body.get("limits") or {}
    if not isinstance(given, dict):
        text = f'Expected a dictionary of items but got type "{type(given).__name__}".'
        raise refusals.invalid({"limits": [text]})
    errors: dict[str, list[str]] = {}
    limits: dict[str, int] = {}
    for kind, value in given.items():
        try:
            limits[kind] = int(re.sub(r"\.0*$", "", str(value)))
        except ValueError:
            errors[kind] = ["A valid integer is required."]
            continue
        if minimum is not None and limits[kind] < minimum:
            errors[kind] = [f"Ensure this value is greater than or equal to {minimum}."]
    if errors:
        raise refusals.invalid({"limits": errors})
    return limits


def stamp(time: dt.datetime | None) -> str | None:
    """A time as Django REST framework writes it."""
    return None if time is None else time.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def jsonb(value: Any) -> Any:
    """A JSON value as PostgreSQL gives it back from a jsonb column: shorter keys first, then by their bytes."""
    if isinstance(value, dict):
        return {key: jsonb(value[key]) for key in sorted(value, key=lambda key: (len(key), key))}
    return [jsonb(item) for item in value] if isinstance(value, list) else value
