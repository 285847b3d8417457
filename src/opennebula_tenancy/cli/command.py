"""`Command`: a click command that takes the shared options, and says in a sentence what failed."""

from __future__ import annotations

import os
import warnings
from typing import Any

import attrs
import click
from urllib3.exceptions import InsecureRequestWarning

from opennebula_tenancy.cli.failures import MEANINGS, Failure
from opennebula_tenancy.cli.session import Session, shared_options
from opennebula_tenancy.errors import TenancyError


_SHARED = tuple(field.name for field in attrs.fields(Session) if field.init)


class Command(click.Command):
    """A command of the program.

    Its callback is given a `Session` as the context's object. The shared options may stand before its name or after.

    Args:
        attempt: What the command tries, to complete `cannot ...`; with the names of its parameters in braces.
    """

    def __init__(self, *args: Any, attempt: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._attempt = attempt
        self.params.extend(shared_options(hidden=True))
        self.epilog = "Options of onetenant itself, such as -o, may stand here as well."

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors of the library become a `Failure`."""
        session: Session = ctx.find_object(Session) or Session()
        session = session.given(**{name: ctx.params.pop(name) for name in _SHARED})
        session.check()
        ctx.obj = session
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        with session.logging(), warnings.catch_warnings():
            # The warning about --no-verify has been given, once; urllib3 would give another for every call.
            warnings.simplefilter("ignore", InsecureRequestWarning)
            try:
                return super().invoke(ctx)
            except (TenancyError, KeyboardInterrupt) as error:
                tenant = ctx.params.get("tenant") or f"with the key {ctx.params.get('key')}"
                attempt = self._attempt.format_map({**ctx.params, "tenant": tenant})
                raise Failure.of(error, attempt, endpoint=session.at, key=session.key) from error


class Program(click.Group):
    """The program: its commands, the shared options, and what its exit codes say."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(shared_options())

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Say what the exit codes mean."""
        del ctx
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in MEANINGS.items()])
