"""What a client sees of each fault, and whether the call was applied."""

import time
import xmlrpc.client
from xml.parsers.expat import ExpatError

import pytest

from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from opennebula_tenancy.emulator.faults import APPLIED
from opennebula_tenancy.emulator.groups import Group


BROKEN = {
    FaultKind.DROP: ConnectionError,
    FaultKind.LOSE_REPLY: ConnectionError,
    FaultKind.TRUNCATE: ExpatError,
    FaultKind.BAD_GATEWAY: xmlrpc.client.ProtocolError,
    FaultKind.BAD_GATEWAY_APPLIED: xmlrpc.client.ProtocolError,
}


class OnceOnly(xmlrpc.client.Transport):
    """xmlrpc.client sends a call again when the connection was reset; what it would hide is what is tested here."""

    def request(self, host, handler, request_body, verbose=False):
        return self.single_request(host, handler, request_body, verbose)


@pytest.fixture
def server():
    with Emulator() as running:
        yield running


def allocate(server, name="acme"):
    with xmlrpc.client.ServerProxy(server.endpoint, transport=OnceOnly()) as proxy:
        return proxy.one.group.allocate(server.auth, name)


def exists(server, name="acme"):
    with server.cloud.lock:
        return server.cloud.pool(Group).named(name) is not None


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_exchange_was_applied_or_not_as_its_kind_says(server, kind):
    server.faults.arm(Fault(kind=kind))
    with pytest.raises(BROKEN[kind]):
        allocate(server)
    assert exists(server) is (kind in APPLIED)
    assert server.calls == ("one.group.allocate",)


def test_a_dropped_connection_is_reset_not_ended(server):
    server.faults.arm(Fault(kind="drop"))
    with pytest.raises(ConnectionResetError):
        allocate(server)


def test_a_bad_gateway_answers_502(server):
    server.faults.arm(Fault(kind="bad-gateway"))
    with pytest.raises(xmlrpc.client.ProtocolError) as caught:
        allocate(server)
    assert caught.value.errcode == 502


def test_an_election_refuses_in_the_words_of_oned_and_applies_nothing(server):
    server.faults.arm(Fault(kind="election", times=2))
    words = "[one.group.allocate] Cannot process request, no leader found"
    assert allocate(server) == [False, words, 0x2000, -1, -1]
    assert allocate(server) == [False, words, 0x2000, -1, -1]
    assert not exists(server)
    assert allocate(server) == [True, 100, 0]


def test_a_refusal_has_the_code_and_words_it_was_given(server):
    server.faults.arm(Fault(kind="refuse", code=0x800, message="Not today"))
    assert allocate(server) == [False, "[one.group.allocate] Not today", 0x800, -1, -1]
    assert not exists(server)


def test_a_delayed_call_is_applied_at_once_and_answered_late(server):
    server.faults.arm(Fault(kind="delay", delay_s=0.2))
    began = time.monotonic()
    assert allocate(server) == [True, 100, 0]
    assert time.monotonic() - began >= 0.2


def test_stopping_does_not_wait_for_a_delayed_reply(server):
    server.faults.arm(Fault(kind="delay", delay_s=60))
    with (
        pytest.raises(TimeoutError),
        xmlrpc.client.ServerProxy(server.endpoint, transport=Impatient()) as proxy,
    ):
        proxy.one.group.allocate(server.auth, "acme")
    assert exists(server)
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 5


class Impatient(OnceOnly):
    def make_connection(self, host):
        connection = super().make_connection(host)
        connection.timeout = 0.1
        return connection


def test_a_fault_hits_the_method_and_the_call_it_names(server):
    server.faults.arm(Fault(kind="refuse", method="one.group.allocate", call=1))
    assert allocate(server, "first")[0]
    assert not allocate(server, "second")[0]
    assert allocate(server, "third")[0]
    assert server.calls == ("one.group.allocate",) * 3


def test_arming_again_forgets_calls_and_faults(server):
    server.faults.arm(Fault(kind="refuse", times=None))
    assert not allocate(server)[0]
    server.faults.arm()
    assert server.calls == ()
    assert allocate(server)[0]
