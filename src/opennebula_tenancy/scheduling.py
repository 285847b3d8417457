"""Expressions of OpenNebula's scheduler, of ids alone: no text of anybody becomes part of one."""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterable


def in_clusters(clusters: Iterable[int]) -> str:
    """Say that a host has to be in one of some clusters.

    Args:
        clusters: Their ids, at least one.

    Returns:
        The expression, such as `CLUSTER_ID = 0 | CLUSTER_ID = 100`.
    """
    return " | ".join(f"CLUSTER_ID = {cluster}" for cluster in sorted(set(clusters)))


def both(first: str, second: str) -> str:
    """Say that two expressions have to hold; an empty one says nothing."""
    return f"({first}) & ({second})" if first and second else first or second
