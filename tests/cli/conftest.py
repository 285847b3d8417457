"""A cloud, an account whose password occurs nowhere else, and the program on both."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from opennebula_tenancy.cli.program import program
from opennebula_tenancy.emulator import Emulator
from tenants.pace import QUICK
from tenants.raw import Raw


PASSWORD = "Xq7-zw9-secret"

Run = Callable[..., Result]


@pytest.fixture(name="server")
def _server() -> Iterator[Emulator]:
    with Emulator(populated=True) as server:
        yield server


@pytest.fixture(name="admin")
def _admin(server: Emulator) -> Raw:
    return Raw(server.endpoint, server.auth)


@pytest.fixture(name="environment")
def _environment(server: Emulator, admin: Raw, tmp_path: Path) -> dict[str, str]:
    """What the program runs in: a home of its own, the cloud, and an account of the group oneadmin."""
    admin("one.user.allocate", "keeper", PASSWORD, "core", [0])
    auth = tmp_path / "auth"
    auth.write_text(f"keeper:{PASSWORD}\n", encoding="utf-8")
    auth.chmod(0o600)
    return {"HOME": str(tmp_path), "ONE_XMLRPC": server.endpoint, "ONE_AUTH": str(auth)}


@pytest.fixture(name="hasty")
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program gives up soon where nobody answers: else it tries for half a minute."""
    monkeypatch.setattr("opennebula_tenancy.cloud.RetryPolicy", lambda: QUICK)


@pytest.fixture(name="run")
def _run(environment: dict[str, str]) -> Run:
    """Runs the program; whatever it is asked, it shows no traceback and no password."""

    def run(*args: object, typed: str | None = None, env: dict[str, str] | None = None) -> Result:
        with_env = {**environment, **(env or {})}
        result = CliRunner().invoke(program, [str(arg) for arg in args], input=typed, env=with_env)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert "Traceback" not in result.output
        assert PASSWORD not in result.output
        return result

    return run
