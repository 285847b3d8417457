"""Ids of objects as callers give them, judged before a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


_MAX_ID = 2**31 - 1
"""XML-RPC's integers have 32 bits."""


def id_problems(name: str, ids: Iterable[Any]) -> Iterator[str]:
    """Say what is wrong with ids.

    Args:
        name: What they are called.
        ids: The ids; 0 is one.

    Yields:
        A sentence for each value that is no id, and one where an id is named twice.
    """
    found = list(ids)
    for value in found:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_ID:
            yield f"{name}: {value!r} is not an id"
    if len(set(found)) != len(found):
        yield f"{name}: an id is named twice"
