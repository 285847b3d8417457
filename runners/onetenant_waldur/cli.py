"""The command line of the agent. Exit codes: 0 all is well, 1 something erred or was left, 2 wrong settings."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from onetenant_waldur import log, settings
from onetenant_waldur.agent import Agent, Mode
from onetenant_waldur.cli_reset import ResetFailed, reset_password
from onetenant_waldur.loop import run
from onetenant_waldur.stop import stop_on_signals
from opennebula_tenancy import Credentials, SettingsError


F = TypeVar("F", bound=Callable[..., Any])

_FAILED = 1
_WRONG_SETTINGS = 2
_SECONDS_A_MINUTE = 60.0
_DEFAULT_CONFIG = Path("waldur-site-agent-config.yaml")
_CONFIG = click.option(
    "-c",
    "--config-file",
    type=click.Path(path_type=Path),
    help=f"The settings, in YAML; {_DEFAULT_CONFIG} when omitted.",
)
_MODES = click.Choice([str(mode) for mode in Mode])
_MINUTES = click.FloatRange(min=0, min_open=True)


def _periods(command: F) -> F:
    for name, default, what in (("report", 30.0, "reports of usage"), ("order-process", 5.0, "looks for orders")):
        command = click.option(
            f"--{name}-period-minutes",
            type=_MINUTES,
            default=default,
            show_default=True,
            envvar=f"WALDUR_SITE_AGENT_{name.replace('-', '_').upper()}_PERIOD_MINUTES",
            show_envvar=True,
            help=f"Minutes between two {what}.",
        )(command)
    return command


@click.group(invoke_without_command=True)
@click.option("-m", "--mode", type=_MODES, help=f"What to do; {Mode.ORDER_PROCESS} when omitted.")
@_CONFIG
@_periods
@click.pass_context
def main(
    context: click.Context,
    mode: str | None,
    config_file: Path | None,
    order_process_period_minutes: float,
    report_period_minutes: float,
) -> None:
    """Process the orders of a Waldur marketplace, and report usage to it.

    Without a command it does what -m says, periodically, until it is told to stop.
    """
    if context.invoked_subcommand is None:
        modes = [Mode(mode or Mode.ORDER_PROCESS)]
        _run(config_file, _in_seconds(modes, order_process_period_minutes, report_period_minutes))
    elif mode is not None or config_file is not None:
        raise click.UsageError(f"name -m and -c after {context.invoked_subcommand}")


@main.command("run")
@_CONFIG
@_periods
def run_command(config_file: Path | None, order_process_period_minutes: float, report_period_minutes: float) -> None:
    """Process orders and report usage, each at its period, until told to stop.

    SIGTERM and SIGINT let it finish the orders at hand for some seconds; the next start takes up what is left.
    """
    _run(config_file, _in_seconds(list(Mode), order_process_period_minutes, report_period_minutes))


@main.command("once")
@click.option("-m", "--mode", type=_MODES, help="What to do; everything when omitted.")
@_CONFIG
def once_command(mode: str | None, config_file: Path | None) -> None:
    """Process orders and report usage once.

    Exits with 1 when an offering is not in Waldur or names what OpenNebula does not have, an order erred or was left
    for the next time, or usage could not be reported.
    """
    with _agent(config_file) as agent, stop_on_signals() as stop:
        well = agent.introduce(stop)
        well &= agent.cycle([Mode(mode)] if mode else list(Mode), stop)
    if not well:
        sys.exit(_FAILED)


@main.command("reset-password")
@click.argument("tenant", metavar="RESOURCE_UUID|TENANT")
@click.option("--show-password", is_flag=True, help="Print the new credentials as well.")
@_CONFIG
def reset_password_command(tenant: str, show_password: bool, config_file: Path | None) -> None:
    """Give the administrator of a tenant a new password, and show it in Waldur. The old one is refused from then on.

    The tenant is named by the uuid of its resource, by its name, or by the id of its group. Exits with 1 when there is
    no new password, or Waldur does not show it, or what was valid before it is not all gone.
    """
    known: Credentials | None = None
    with _agent(config_file) as agent:
        try:
            known = reset_password(agent, tenant)
            click.echo(f"the password of {known.username} was reset, and Waldur shows the new one")
        except ResetFailed as error:
            known = error.known
            click.echo(agent.redaction.text(str(error)), err=True)
            sys.exit(_FAILED)
        finally:
            if show_password and known is not None:
                click.echo(f"username: {known.username}\npassword: {known.password}")


@main.command("demo")
def demo_command() -> None:
    """Show a tenant from order to end, on an embedded OpenNebula and an embedded Waldur.

    Exits with 1 when anything is not as it should be.
    """
    from onetenant_waldur import demo  # noqa: PLC0415  # only here is there a need for two servers

    sys.exit(demo.run())


def _in_seconds(modes: list[Mode], orders_minutes: float, reports_minutes: float) -> dict[Mode, float]:
    minutes = {Mode.ORDER_PROCESS: orders_minutes, Mode.REPORT: reports_minutes}
    return {mode: minutes[mode] * _SECONDS_A_MINUTE for mode in modes}


def _run(config_file: Path | None, periods_s: dict[Mode, float]) -> None:
    with _agent(config_file) as agent, stop_on_signals() as stop:
        agent.introduce(stop)
        run(agent, periods_s, stop)


@contextmanager
def _agent(config_file: Path | None) -> Iterator[Agent]:
    try:
        found = settings.load(config_file or _DEFAULT_CONFIG)
        redaction = log.Redaction(found.secrets())
        log.configure(found.general.log_level, redaction)
        agent = Agent(found, redaction=redaction)
    except SettingsError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        sys.exit(_WRONG_SETTINGS)
    with agent:
        yield agent
