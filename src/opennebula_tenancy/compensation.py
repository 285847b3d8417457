"""`Compensations`: what undoes a piece of work that fails half way."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import attrs

from opennebula_tenancy.errors import (
    ApiError,
    Conflict,
    NotSent,
    RollbackIncomplete,
    ServerUnready,
    SettingsError,
    TransportError,
)


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType


log = logging.getLogger("opennebula_tenancy")


_NOT_MADE = (ApiError, NotSent, ServerUnready, Conflict, SettingsError)
"""Errors after which a call has made nothing."""


@attrs.define
class Making:
    """Whether what is made in a block is made by this run; it may be, until the block knows better."""

    ours: bool = True


@attrs.define
class _Undo:
    """One compensation: what it removes, as a person would name it, and how."""

    subject: Callable[[], str]
    run: Callable[[], bool | None]
    anchor: bool


class Compensations:
    """A context in which every step first says how it is undone.

    A compensation is registered for every step that may have been taken, also where its outcome is unknown. When the
    block is left by an exception, any exception, the compensations run in reverse order. The error that left the block
    is raised again; compensations that fail do not hide it but are grouped with it, with all that they leave behind.

    Attributes:
        shared: Whether something that was to be made had just been made by another run.

    Raises:
        RollbackIncomplete: Something could not be undone.
    """

    def __init__(self) -> None:
        self._undos: list[_Undo] = []
        self.shared = False

    def before(self, subject: Callable[[], str], undo: Callable[[], bool | None], *, anchor: bool = False) -> None:
        """Register the compensation of the step that comes next, or of one that may have been taken.

        Args:
            subject: Names what would be left behind, by type and id, when it is asked.
            undo: Removes it if it is there and ours; it being absent is a success. It gives False where it finds that
                what it would remove is wanted after all.
            anchor: It is what later steps are found by: it stays when one of these stays.
        """
        self._undos.append(_Undo(subject, undo, anchor))

    @contextmanager
    def making(
        self, subject: Callable[[], str], undo: Callable[[], bool | None], *, anchor: bool = False
    ) -> Iterator[Making]:
        """Register how what a block makes is unmade, unless it is certain that this run did not make it.

        Args:
            subject: See `before`.
            undo: See `before`.
            anchor: See `before`.

        Yields:
            Where the block says that something is not this run's.
        """
        making = Making()
        try:
            yield making
        except _NOT_MADE:
            making.ours = False
            raise
        finally:
            if making.ours:
                self.before(subject, undo, anchor=anchor)
            else:
                self.shared = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or not self._undos:
            return
        failures: list[Exception] = []
        leftovers: list[str] = []
        unreachable = wanted = False
        for undo in reversed(self._undos):
            if undo.anchor and wanted:
                continue
            if unreachable or (undo.anchor and failures):
                leftovers.append(undo.subject())
                continue
            try:
                wanted |= undo.run() is False
            except Exception as failed:  # noqa: BLE001 - whatever it is, the rest is undone, and the first error speaks
                failures.append(failed)
                leftovers.append(undo.subject())
                # The retries of one call have been spent on a server that does not answer: do not spend them again.
                unreachable = isinstance(failed, TransportError)
        if not failures:
            log.info("rolled back after: %s", error)
        elif isinstance(error, Exception):
            raise RollbackIncomplete(error, failures, leftovers) from error
        else:
            error.add_note(f"Left behind: {', '.join(leftovers)}")
