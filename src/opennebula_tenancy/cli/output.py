"""Answers on stdout, in the format asked for."""

from __future__ import annotations

import csv
import enum
import io
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

import attrs
import yaml

from opennebula_tenancy.display import Table
from opennebula_tenancy.quota import Limit


if TYPE_CHECKING:
    from collections.abc import Iterator


Value: TypeAlias = "str | int | float | Decimal | Limit | Mapping[str, Value] | Sequence[Value] | None"
"""What an answer is made of; `plain` makes JSON of it."""


class Format(enum.StrEnum):
    """The formats of an answer."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"


@attrs.frozen
class Answer:
    """What a command has to say.

    Attributes:
        data: The whole of it, for JSON and YAML.
        header: The titles of the columns, for tables and CSV.
        rows: As many cells each as the header has.
    """

    data: Value
    header: Sequence[str]
    rows: Sequence[Sequence[Value]]

    @classmethod
    def record(cls, data: Mapping[str, Value]) -> Answer:
        """One thing: a row for each of its fields, those of parts of it by their path, such as `limits.cpu`."""
        return cls(data, ("field", "value"), list(_leaves(data)))

    @classmethod
    def listing(cls, header: Sequence[str], rows: Sequence[Sequence[Value]]) -> Answer:
        """Many things: a row for each."""
        return cls([dict(zip(header, row, strict=True)) for row in rows], header, rows)

    def text(self, form: Format, *, header: bool = True) -> str:
        """Render the answer.

        Args:
            form: The format.
            header: Whether tables and CSV begin with the titles of the columns.

        Returns:
            Lines, each with its end.
        """
        if form is Format.JSON:
            return json.dumps(plain(self.data), indent=2) + "\n"
        if form is Format.YAML:
            return str(yaml.safe_dump(plain(self.data), sort_keys=False, allow_unicode=True))
        if form is Format.CSV:
            stream = io.StringIO()
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerows([self.header] if header else [])
            writer.writerows([_cell(value, "") for value in row] for row in self.rows)
            return stream.getvalue()
        lines = Table(self.header, [[printable(_cell(value, "-")) for value in row] for row in self.rows]).text()
        return "".join(f"{line}\n" for line in lines.split("\n")[0 if header else 2 :])


def _leaves(data: Mapping[str, Value], path: str = "") -> Iterator[tuple[str, Value]]:
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _cell(value: Value, missing: str) -> str:
    if value is None:
        return missing
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def plain(value: Value) -> object:
    """Make a value one that JSON and YAML have, without losing any of it: numbers that neither has become texts."""
    if isinstance(value, Decimal):
        if value == value.to_integral_value():
            return int(value)
        return float(value) if Decimal(repr(float(value))) == value else f"{value:f}"
    if isinstance(value, Limit):
        return str(value)
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(part) for part in value]
    return value


def printable(text: str) -> str:
    """Show what a terminal would obey, such as an escape sequence in a name, in place of sending it there."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
