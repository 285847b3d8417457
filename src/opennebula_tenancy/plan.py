"""What would change: `Change` and `Plan`, and `Step` for those who watch it happen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import attrs

from opennebula_tenancy.display import Table


if TYPE_CHECKING:
    from collections.abc import Iterator


@attrs.frozen
class Change:
    """One difference between what is and what was asked for.

    Attributes:
        action: What is done about it: create, add, remove, set or delete.
        subject: What it is done to, with its id where it has one: `group acme`, `VDC 104`, `limit VM/CPU`.
        before: What is there, as text; empty where nothing is.
        after: What is asked for, as text; empty where nothing is.
    """

    action: str
    subject: str
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        text = f"{self.action} {self.subject}"
        if self.before and self.after:
            return f"{text}: {self.before} -> {self.after}"
        return f"{text}: {self.before or self.after}" if self.before or self.after else text


@attrs.frozen
class Plan:
    """The changes that make a tenant what was asked for. Falsy when there are none.

    Attributes:
        name: The tenant's name.
        changes: The changes, in the order in which they would be made.
        notes: What the operator should know, although nothing would change it.
    """

    name: str
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    def _table(self) -> Table:
        return Table(
            ("action", "subject", "before", "after"),
            [(change.action, change.subject, change.before, change.after) for change in self.changes],
        )

    def __str__(self) -> str:
        count = "nothing to do" if not self else "1 change" if len(self) == 1 else f"{len(self)} changes"
        head = f"{self.name}: {count}"
        return "\n".join(
            [head, *(f"  {change}" for change in self.changes), *(f"  note: {note}" for note in self.notes)]
        )

    def _repr_html_(self) -> str:
        return self._table().html()


@attrs.frozen
class Step:
    """A moment in a long piece of work.

    Attributes:
        name: The tenant worked on.
        change: What is being done.
        number: Which of the changes this is, from 1.
        total: How many there are.
    """

    name: str
    change: Change
    number: int
    total: int

    def __str__(self) -> str:
        return f"{self.name}: {self.number}/{self.total} {self.change}"


Progress: TypeAlias = Callable[[Step], None]
"""Told of each step as it begins."""
