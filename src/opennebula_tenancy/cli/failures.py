"""Exit codes, and what is said when a command fails."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from opennebula_tenancy.cli.output import printable
from opennebula_tenancy.errors import (
    AlreadyAssigned,
    AlreadyExists,
    AuthenticationFailed,
    Conflict,
    DuplicateObject,
    NotAuthorized,
    NotEmpty,
    NotFound,
    NotSent,
    OutcomeUnknown,
    QuotaExceeded,
    RollbackIncomplete,
    ServerUnready,
    SettingsError,
    TenancyError,
    TransportError,
    VerificationFailed,
)


if TYPE_CHECKING:
    from collections.abc import Mapping


T = TypeVar("T")

MEANINGS: Mapping[int, str] = {
    0: "done, and verified where something was changed",
    1: "OpenNebula refused, a check of doctor failed, or a question was answered with no",
    2: "wrong usage or settings; nothing was sent that changes anything",
    3: "OpenNebula could not be reached, or gave no answer that can be trusted",
    4: "the credentials are not known, or may not do this",
    5: "there is no such tenant",
    6: "something else stands where the tenant would",
    7: "the tenant still has members or objects; nothing was removed",
    8: "a limit would be exceeded",
    9: "the outcome is not what was asked for, or something was left behind, which the message names",
    130: "interrupted: a tenant that was not finished was removed again, other work stands as far as it came",
}
"""What each exit code says."""
INTERRUPTED = 130
WRONG_USAGE = 2
NO_SUCH_TENANT = 5

_CODES: Mapping[type[BaseException], int] = {
    TenancyError: 1,
    SettingsError: WRONG_USAGE,
    TransportError: 3,
    AuthenticationFailed: 4,
    NotAuthorized: 4,
    NotFound: NO_SUCH_TENANT,
    Conflict: 6,
    DuplicateObject: 6,
    AlreadyExists: 6,
    AlreadyAssigned: 6,
    NotEmpty: 7,
    QuotaExceeded: 8,
    VerificationFailed: 9,
    RollbackIncomplete: 9,
    KeyboardInterrupt: INTERRUPTED,
}
_REMEDIES: Mapping[type[BaseException], str] = {
    BaseException: "",
    KeyboardInterrupt: "to finish it, run the same command again{with_key}",
    NotSent: "check the endpoint with onetenant doctor, and run the same command again{with_key}",
    OutcomeUnknown: "the call may have been applied: run the same command again{with_key}, it goes on from there",
    ServerUnready: "wait until OpenNebula has a leader, and run the same command again{with_key}",
    AuthenticationFailed: "check the user and the password or token in the credentials file",
    NotAuthorized: "use an account of the group oneadmin",
    QuotaExceeded: "raise the limit, or free some of what it counts",
    NotFound: "onetenant list shows the tenants that there are",
    VerificationFailed: "find out who else changes it, and run the same command again{with_key}",
    RollbackIncomplete: "run the same command again{with_key} to finish it, or remove it with onetenant delete{key}",
}


class Failure(click.ClickException):
    """A command that failed: one sentence on stderr, and an exit code.

    Args:
        sentence: What was tried, on what, what came of it, and what to do.
        exit_code: The exit code.
    """

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code  # type: ignore[misc]  # as click's own errors do

    @classmethod
    def of(cls, error: BaseException, attempt: str, *, endpoint: str | None = None, key: str | None = None) -> Failure:
        """Say what an error means to somebody at a terminal.

        Args:
            error: An error of the library, or an interrupt.
            attempt: What was tried: `make the tenant acme`.
            endpoint: On which server, when one was found.
            key: The key of the tenant that was worked on, where repeating the command takes it.

        Returns:
            What to raise.
        """
        where = f" at {endpoint}" if endpoint else ""
        with_key, its_key = (f" with --key {key}", f" --key {key}") if key else ("", "")
        remedy = _by_class(_REMEDIES, error).format(with_key=with_key, key=its_key)
        parts = [f"cannot {attempt}{where}: {_said(error)}", remedy, *getattr(error, "__notes__", ())]
        return cls("; ".join(part.rstrip(".") for part in parts if part), _by_class(_CODES, error))

    def format_message(self) -> str:
        """The sentence, on one line and without anything that a terminal would obey."""
        return printable(" ".join(self.message.split()))

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the sentence on stderr, or to a file."""
        click.echo(f"{click.style('onetenant:', fg='red')} {self.format_message()}", file=file, err=file is None)


def _by_class(table: Mapping[type[BaseException], T], error: BaseException) -> T:
    return next(table[kind] for kind in type(error).__mro__ if kind in table)


def _said(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return error.message if isinstance(error, RollbackIncomplete) else str(error)
