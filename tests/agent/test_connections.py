"""What OpenNebula sees of agents: never more connections at the same time than the settings allow."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from agent.offers import Offers, new_offers
from agent.world import PLUGIN_OPTIONS, World
from onetenant_waldur.agent import Mode
from onetenant_waldur.marketplace import Component, Placed
from opennebula_tenancy.emulator import Emulator


ESTABLISHED = 1
"""The state of a TCP connection that neither side has closed, as the kernel numbers it."""
GRACE_S = 0.15
"""Seconds for which connections that come too many could come."""
MANY = 8
MAKING = {"one.vdc.allocate", "one.template.instantiate"}
LISTING = {"one.grouppool.info", "one.vmpool.infoextended"}


class Wire:
    """The sockets that a server has accepted, and how many of them were open at the same time.

    Calls that are to be held are answered only some time after so many connections were open: so that there are as many
    as an agent ever opens.

    Args:
        server: The server.
        patch: Puts a listener in front of it.
        until: How many connections held calls wait for.
        hold: The methods of these calls.

    Attributes:
        most: How many sockets were open at most.
        accepted: How many there were.
        held: How many calls were held.
    """

    def __init__(self, server: Emulator, patch: pytest.MonkeyPatch, until: int, hold: set[str]) -> None:
        self._open: list[socket.socket] = []
        self._changed = threading.Condition()
        self._until, self._hold = until, hold
        self._over_s = 0.0
        self.most = self.accepted = self.held = 0
        listener = server._listener
        assert listener is not None
        accept, reply = listener.get_request, listener.dispatcher.reply

        def accepting() -> Any:
            connection, address = accept()
            self._note(connection)
            return connection, address

        def replying(name: str, values: Any) -> bytes:
            if name in self._hold:
                self._wait()
            return reply(name, values)

        patch.setattr(listener, "get_request", accepting)
        patch.setattr(listener.dispatcher, "reply", replying)

    def _note(self, connection: socket.socket) -> None:
        with self._changed:
            self._open = [*filter(_is_open, self._open), connection]
            self.accepted += 1
            self.most = max(self.most, len(self._open))
            self._changed.notify_all()

    def _wait(self) -> None:
        with self._changed:
            self.held += 1
            assert self._changed.wait_for(lambda: self.most >= self._until, 30)
            self._over_s = self._over_s or time.monotonic() + GRACE_S
            self._changed.wait_for(lambda: self.most > self._until, max(self._over_s - time.monotonic(), 0))


def _is_open(connection: socket.socket) -> bool:
    try:
        return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED
    except OSError:  # the server has closed it
        return False


@pytest.fixture(name="prepared", scope="module")
def _prepared() -> Offers:
    """An OpenNebula with two accounts, from which tenants are sold twice, by one each, and machines."""
    with new_offers() as offers:
        world = offers.world
        offers.sell_machines(offers.tenant())
        world.offering.plugin_options.clear()
        world.offering.plugin_options.update(PLUGIN_OPTIONS)
        world.waldur.add_offering("Second", [Component("cpu", "CPU")], plugin_options=PLUGIN_OPTIONS)
        world.raw("one.user.allocate", "second", "secret", "core", [0])
    return offers


@pytest.fixture(name="offers")
def _offers(prepared: Offers) -> Iterator[Offers]:
    with prepared.world.copy() as world:
        yield Offers(world, prepared.external, prepared.template)


def document(offers: Offers, allowed: int, second: dict[str, str]) -> dict[str, Any]:
    """A settings file with three offerings, of which the second has an account of its own, or another address."""
    found = offers.world.document(max_workers=MANY, max_connections=allowed)
    (first,) = found["offerings"]
    sold = next(one for one in offers.world.waldur.state.offerings if one.name == "Second")
    other = {**first, "name": "Second", "waldur_offering_uuid": sold.uuid}
    other["backend_settings"] = {**first["backend_settings"], **second}
    found["offerings"] = [first, other, *offers.document()["offerings"]]
    return found


def ordered(offers: Offers, count: int) -> list[Placed]:
    """Orders for each of the offerings."""
    world = offers.world
    sold = next(one for one in world.waldur.state.offerings if one.name == "Second")
    return [
        placed
        for number in range(count)
        for placed in (
            world.order(f"one-{number}", {"cpu": 1}),
            world.waldur.consumer().place_order(sold, f"two-{number}", {"cpu": 1}),
            offers.order(f"web-{number}"),
        )
    ]


def not_done(world: World, placed: list[Placed]) -> list[tuple[str, str]]:
    orders = [world.waldur.order(one.order) for one in placed]
    return [(str(order.state), order.error_message) for order in orders if order.state != "done"]


def spelled(offers: Offers, how: str) -> dict[str, str]:
    """How the second offering names the same server."""
    endpoint = offers.world.server.endpoint
    return {
        "as the others": {},
        "with another account": {"credentials": "second:secret"},
        "by another name": {"api_url": endpoint.replace("127.0.0.1", "LocalHost")},
    }[how]


WAYS = ("as the others", "with another account", "by another name")


@pytest.mark.parametrize(("allowed", "how"), [(1, WAYS[0]), (3, WAYS[0]), (4, WAYS[1]), (2, WAYS[2])])
def test_orders_of_several_offerings_share_the_connections_to_one_opennebula(
    offers: Offers, monkeypatch: pytest.MonkeyPatch, allowed: int, how: str
) -> None:
    placed = ordered(offers, 3)
    wire = Wire(offers.world.server, monkeypatch, allowed, MAKING)
    assert offers.cycle(document=document(offers, allowed, spelled(offers, how)))
    assert not_done(offers.world, placed) == []
    assert wire.held >= len(placed)
    assert wire.most == allowed
    assert wire.accepted == len(offers.world.server.calls)


@pytest.mark.parametrize("how", WAYS)
def test_reports_of_several_offerings_take_one_connection(
    offers: Offers, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    ordered(offers, 1)
    settings = document(offers, 3, spelled(offers, how))
    assert offers.cycle(document=settings)
    offers.world.server.faults.arm()
    wire = Wire(offers.world.server, monkeypatch, 1, LISTING)
    assert offers.world.cycle(Mode.REPORT, document=settings)
    assert wire.held >= 2
    assert wire.most == 1
    assert wire.accepted == len(offers.world.server.calls)


@pytest.mark.parametrize("how", WAYS[:2])
def test_orders_and_reports_at_the_same_time_share_the_connections(
    offers: Offers, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    allowed = 4
    ordered(offers, 1)
    settings = document(offers, allowed, spelled(offers, how))
    assert offers.cycle(document=settings)
    placed = ordered(offers, 2)
    wire = Wire(offers.world.server, monkeypatch, allowed, MAKING | LISTING)
    ended: list[bool] = []
    with offers.world.agent(settings) as agent:
        reports = threading.Thread(target=lambda: ended.extend(agent.cycle([Mode.REPORT]) for _ in range(3)))
        reports.start()
        assert agent.cycle([Mode.ORDER_PROCESS, Mode.REPORT])
        reports.join(60)
    assert ended == [True] * 3
    assert not_done(offers.world, placed) == []
    assert wire.most == allowed
