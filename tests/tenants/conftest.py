"""A cloud to work on, and ways to look at it that do not go through the library."""

from collections.abc import Callable, Iterator

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.emulator import Emulator
from tenants.pace import QUICK
from tenants.raw import Raw


@pytest.fixture(name="server")
def _server() -> Iterator[Emulator]:
    with Emulator(populated=True) as server:
        yield server


@pytest.fixture(name="sent")
def _sent() -> list[ont.CallRecord]:
    """Every call that `cloud` sends."""
    return []


@pytest.fixture(name="cloud")
def _cloud(server: Emulator, sent: list[ont.CallRecord]) -> Iterator[ont.Cloud]:
    with ont.connect(server.endpoint, server.auth, retry=QUICK, on_call=sent.append) as cloud:
        yield cloud


@pytest.fixture(name="admin")
def _admin(server: Emulator) -> Raw:
    return Raw(server.endpoint, server.auth)


@pytest.fixture(name="login")
def _login(server: Emulator, admin: Raw) -> Callable[[int, str], Raw]:
    """Make a user in a group, and log in as that user."""

    def login(group_id: int, name: str) -> Raw:
        admin("one.user.allocate", name, "secret", "core", [group_id])
        return Raw(server.endpoint, f"{name}:secret")

    return login
