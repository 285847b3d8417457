"""Ids of objects as callers give them, judged before a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opennebula_tenancy.errors import NotFound


if TYPE_CHECKING:
    from collections.abc import Iterator


_MAX_ID = 2**31 - 1
"""XML-RPC's integers have 32 bits."""
_NO_EXISTS = 0x0400


def is_id(value: object) -> bool:
    """Whether a value can be the id of an object; 0 can."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_ID


def id_problems(name: str, ids: Any) -> Iterator[str]:
    """Say what is wrong with ids.

    Args:
        name: What they are called.
        ids: The ids; 0 is one.

    Yields:
        A sentence for each value that is no id, and one where an id is named twice; or one that these are no ids.
    """
    try:
        found = list(ids)
    except TypeError:
        yield f"{name}: {ids!r} is no list of ids"
        return
    good = [value for value in found if is_id(value)]
    yield from (f"{name}: {value!r} is not an id" for value in found if not is_id(value))
    if len(set(good)) != len(good):
        yield f"{name}: an id is named twice"


def require_id(method: str, value: object) -> None:
    """Refuse to ask OpenNebula for an object by what cannot be the id of one.

    Args:
        method: The method that would ask for it.
        value: What is said to be its id.

    Raises:
        NotFound: There can be no such object.
    """
    if not is_id(value):
        raise NotFound(method, _NO_EXISTS, f"there is no object with the id {value!r}")
