"""Expressions of OpenNebula's scheduler: those made of ids alone, those that somebody writes, and what joins them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opennebula_tenancy._wire.template import text_problem


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


def expression_problem(text: object) -> str | None:
    """Say why a text cannot be an expression that is joined to others, or None when it can.

    One that closes more than it opens would end the parentheses that it is put into, and take back what others say.

    Args:
        text: The text.

    Returns:
        The reason as the end of a sentence about the expression.
    """
    if not isinstance(text, str):
        return f"is no text, but {text!r}"
    if problem := text_problem(text):
        return problem
    # As expr_parser.l reads them, strings have no escapes: every other piece is one.
    pieces = text.split('"')
    if len(pieces) % 2 == 0:
        return "has a quote that is not closed"
    depth = 0
    for char in "".join(pieces[::2]):
        depth += {"(": 1, ")": -1}.get(char, 0)
        if depth < 0:
            return "closes a parenthesis that it does not open"
    return "has a parenthesis that is not closed" if depth else None


def all_of(*expressions: str) -> str:
    """Say that all of some expressions have to hold; an empty one says nothing."""
    said = [expression for expression in expressions if expression]
    return said[0] if len(said) == 1 else " & ".join(f"({expression})" for expression in said)


def both(first: str, second: str) -> str:
    """Say that two expressions have to hold; an empty one says nothing."""
    return all_of(first, second)
