"""`Session`: the options that every command takes, and the connection that they ask for."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import click

from opennebula_tenancy import connect
from opennebula_tenancy._transport.http import Timeout
from opennebula_tenancy.cli.failures import NO_SUCH_TENANT, Failure
from opennebula_tenancy.cli.output import Answer, Format, printable
from opennebula_tenancy.credentials import Credentials, find_credentials
from opennebula_tenancy.errors import SettingsError


if TYPE_CHECKING:
    from collections.abc import Iterator

    from opennebula_tenancy.cloud import Cloud
    from opennebula_tenancy.vdc import Vdc


_CONNECT_S = 5.0
_ADVICE_OF_THE_LIBRARY = "; name a file with user:password in ONE_AUTH"


def shared_options(*, hidden: bool = False) -> list[click.Parameter]:
    """The options that every command takes. Fresh ones: click keeps state in them.

    Args:
        hidden: Whether to leave them out of the help.
    """
    made = [
        click.Option(["--endpoint"], metavar="URL", help="OpenNebula's XML-RPC; looked up when omitted."),
        click.Option(
            ["--auth-file"],
            type=click.Path(exists=True, dir_okay=False, readable=True),
            help="The file with user:password or user:token; looked up when omitted.",
        ),
        click.Option(
            ["--timeout"],
            type=click.FloatRange(min=0, min_open=True),
            metavar="SECONDS",
            help="How long to wait for an answer (30).",
        ),
        click.Option(
            ["--ca-bundle"],
            type=click.Path(exists=True, readable=True),
            help="CA certificates to trust in place of the system's.",
        ),
        click.Option(["--no-verify"], is_flag=True, default=None, help="Trust whoever answers. Dangerous."),
        click.Option(
            ["-o", "--output"], type=click.Choice([str(form) for form in Format]), help="The format of answers (table)."
        ),
        click.Option(["--no-header"], is_flag=True, default=None, help="Leave out the titles in tables and CSV."),
        click.Option(["-v", "--verbose"], is_flag=True, default=None, help="Log every call on stderr."),
    ]
    for option in made:
        option.hidden = hidden
    return list(made)


@attrs.define(kw_only=True)
class Session:
    """What every command is given: the shared options, None where they were not given, and what it is at.

    Attributes:
        at: The endpoint that the command works on, once it is found.
        key: The key of the tenant that the command works on, where repeating it takes the key.
    """

    endpoint: str | None = None
    auth_file: str | None = None
    timeout: float | None = None
    ca_bundle: str | None = None
    no_verify: bool | None = None
    output: str | None = None
    no_header: bool | None = None
    verbose: bool | None = None
    at: str | None = attrs.field(default=None, init=False)
    key: str | None = attrs.field(default=None, init=False)

    def given(self, **options: Any) -> Session:
        """This session, with the options that were given in the place of its own."""
        return attrs.evolve(self, **{name: value for name, value in options.items() if value is not None})

    def check(self) -> None:
        """Refuse options that exclude each other, and warn of one that is dangerous."""
        if self.ca_bundle and self.no_verify:
            raise click.UsageError("--ca-bundle says whom to trust, and --no-verify to trust anybody: give one of them")
        if self.no_verify:
            say("warning: --no-verify trusts whoever answers, and sends them the credentials")

    def credentials(self) -> Credentials:
        """Find the endpoint and the credentials.

        Raises:
            SettingsError: There are none, or they cannot be; all problems at once.
        """
        environment = {**os.environ, "ONE_AUTH": self.auth_file} if self.auth_file else os.environ
        try:
            return find_credentials(self.endpoint, environment=environment)
        except SettingsError as error:
            raise SettingsError(*map(_for_the_terminal, error.problems)) from error

    def cloud(self) -> Cloud:
        """Connect. Nothing is sent yet."""
        found = self.credentials()
        self.at = found.endpoint
        waiting = self.timeout and Timeout(connect_s=min(self.timeout, _CONNECT_S), read_s=self.timeout)
        verify = self.ca_bundle or not self.no_verify
        return connect(found.endpoint, found.auth, timeout=waiting, verify=verify)

    def answer(self, answer: Answer) -> None:
        """Write an answer to stdout."""
        click.echo(answer.text(Format(self.output or Format.TABLE), header=not self.no_header), nl=False)

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Show the library's warnings on stderr, and with --verbose all it logs."""
        log, handler = logging.getLogger("opennebula_tenancy"), _Handler()
        before = log.level, log.propagate
        log.setLevel(logging.DEBUG if self.verbose else logging.WARNING)
        log.propagate = False
        log.addHandler(handler)
        try:
            yield
        finally:
            log.removeHandler(handler)
            log.setLevel(before[0])
            log.propagate = before[1]


def _for_the_terminal(problem: str) -> str:
    """The advice of the library is for programs: at a terminal, credentials come from files."""
    what, advice, _ = problem.partition(_ADVICE_OF_THE_LIBRARY)
    if not advice:
        return problem
    return f"{what}; write user:password into one, or name another file with --auth-file or ONE_AUTH"


class _Handler(logging.Handler):
    """Writes what is logged to stderr, and each warning once."""

    def __init__(self) -> None:
        super().__init__()
        self._warned: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            if text in self._warned:
                return
            self._warned.add(text)
        say(f"{record.levelname.lower()}: {text}")


def say(text: str) -> None:
    """Write a message for people to stderr."""
    for line in text.splitlines():
        click.echo(f"onetenant: {printable(line)}", err=True)


def tenant_called(cloud: Cloud, wanted: str) -> Vdc:
    """The tenant with that name, or with that id where it is a number.

    Raises:
        Failure: There is no tenant of that name.
        NotFound: There is no group with that id.
        Conflict: The group with that id is no tenant.
    """
    if wanted.isascii() and wanted.isdecimal():
        return cloud.vdcs.get(int(wanted))
    if (vdc := cloud.vdcs.find(wanted)) is None:
        raise Failure(
            f"there is no tenant {wanted} at {cloud.endpoint}; onetenant list shows those that there are",
            NO_SUCH_TENANT,
        )
    return vdc
