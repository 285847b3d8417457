"""The pieces of OpenNebula's XML bodies."""

from collections.abc import Iterable


def cdata(value: object) -> str:
    """A value as text that needs no escaping, as one_util::escape_xml writes it."""
    return f"<![CDATA[{value}]]>"


def element(name: str, value: object) -> str:
    """An element with plain content."""
    return f"<{name}>{value}</{name}>"


def ids(name: str, values: Iterable[int]) -> str:
    """A collection of ids in ascending order, as ObjectCollection::to_xml writes it."""
    return f"<{name}>{''.join(f'<ID>{value}</ID>' for value in sorted(values))}</{name}>"
