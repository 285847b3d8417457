"""The answers of a server that will not do what it was asked, in Django REST framework's words."""

from collections.abc import Iterable
from typing import Any

import attrs


@attrs.define(auto_exc=True)
class Refusal(Exception):
    """An answer other than success.

    Attributes:
        status: HTTP status.
        body: JSON value of the answer.
        headers: Headers of the answer beside the usual ones.
    """

    status: int
    body: Any
    headers: dict[str, str] = attrs.field(factory=dict)


class ServerError(Exception):
    """A defect of the real server that clients meet as an HTML page with status 500."""


def invalid(body: Any) -> Refusal:
    """400: what was sent is not right, by field or as a list."""
    return Refusal(400, body)


def unauthenticated(detail: str) -> Refusal:
    """401: no token, or one that nobody has."""
    return Refusal(401, {"detail": detail}, {"WWW-Authenticate": "Token"})


def denied() -> Refusal:
    """403: seen, but not allowed."""
    return Refusal(403, {"detail": "You do not have permission to perform this action."})


def not_found(noun: str) -> Refusal:
    """404: not there, or not to be seen by this user."""
    return Refusal(404, {"detail": f"No {noun} matches the given query."})


def not_allowed(method: str) -> Refusal:
    """405: not a thing that can be done there."""
    return Refusal(405, {"detail": f'Method "{method}" not allowed.'})


def conflict(states: Iterable[str]) -> Refusal:
    """409: not in this state."""
    return Refusal(409, {"detail": f"Valid states for operation: {', '.join(states)}."})


def not_embedded(what: str) -> Refusal:
    """501: Waldur can, this marketplace cannot, and does not pretend."""
    return Refusal(501, {"detail": f"The embedded marketplace does not implement {what}."})
