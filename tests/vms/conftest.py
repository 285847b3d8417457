"""A cloud with one tenant in it, and the machines that the library makes there."""

from collections.abc import Iterator

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy import waiting
from opennebula_tenancy.emulator import Config, Emulator
from opennebula_tenancy.vms import Vms
from tenants.raw import Raw
from vms.world import STEP_S, World, connect


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often: the embedded server takes a thousandth of a second for what takes seconds elsewhere."""
    monkeypatch.setattr(waiting, "_SHORTEST_S", STEP_S)


@pytest.fixture(name="server")
def _server() -> Iterator[Emulator]:
    with Emulator(populated=True, config=Config(step_s=STEP_S)) as server:
        yield server


@pytest.fixture(name="sent")
def _sent() -> list[ont.CallRecord]:
    """Every call that `cloud` sends."""
    return []


@pytest.fixture(name="cloud")
def _cloud(server: Emulator, sent: list[ont.CallRecord]) -> Iterator[ont.Cloud]:
    with connect(server, on_call=sent.append) as cloud:
        yield cloud


@pytest.fixture(name="world")
def _world(server: Emulator, cloud: ont.Cloud, sent: list[ont.CallRecord]) -> World:
    """The tenant, and what its machines are made of."""
    world = World.build(server, cloud)
    sent.clear()
    return world


@pytest.fixture(name="vms")
def _vms(cloud: ont.Cloud) -> Vms:
    return Vms(cloud._rpc)


@pytest.fixture(name="admin")
def _admin(server: Emulator) -> Raw:
    return Raw(server.endpoint, server.auth)
