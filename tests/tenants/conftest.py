"""A cloud to work on, and ways to look at it that do not go through the library."""

import xml.etree.ElementTree as ET
import xmlrpc.client
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.emulator import Emulator
from tenants.pace import QUICK


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


class Raw:
    """Calls with nothing but the standard library, as any user of the server."""

    def __init__(self, endpoint: str, session: str) -> None:
        self._proxy = xmlrpc.client.ServerProxy(endpoint)
        self._session = session

    def __call__(self, method: str, *params: Any) -> Any:
        ok, value, *_ = getattr(self._proxy, method)(self._session, *params)
        assert ok, f"{method}: {value}"
        return value

    def refused(self, method: str, *params: Any) -> tuple[int, str]:
        ok, value, code, *_ = getattr(self._proxy, method)(self._session, *params)
        assert not ok, f"{method} was not refused: {value}"
        return code, value

    def xml(self, method: str, *params: Any) -> ET.Element:
        return ET.fromstring(self(method, *params))


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
