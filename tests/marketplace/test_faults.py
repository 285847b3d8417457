"""Every fault happens on the socket, and what was applied and what was not is as the kind of the fault says."""

import contextlib
import socket
import threading
import time
from urllib.parse import urlsplit

import httpx
import pytest

from marketplace.pace import PATIENCE_S
from onetenant_waldur.marketplace import Marketplace
from opennebula_tenancy.emulator.faults import APPLIED, Fault, FaultKind


APPROVE = "POST /api/marketplace-orders/{uuid}/approve_by_provider/"


@pytest.fixture
def order(waldur):
    return waldur.consumer().place_order(waldur.vdc, "vdc-one", {"cpu": 4}).order


def approve(waldur, order, timeout_s=PATIENCE_S):
    url = f"{waldur.api_url}marketplace-orders/{order}/approve_by_provider/"
    headers = {"Authorization": f"Token {waldur.tokens['provider']}"}
    return httpx.post(url, json={}, headers=headers, timeout=httpx.Timeout(PATIENCE_S, read=timeout_s), trust_env=False)


def approve_raw(waldur, order):
    """The bytes of the answer, as they come before the connection ends."""
    request = (
        f"POST /api/marketplace-orders/{order}/approve_by_provider/ HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Token {waldur.tokens['provider']}\r\nContent-Length: 2\r\n\r\n{{}}"
    )
    with socket.create_connection(("127.0.0.1", urlsplit(waldur.api_url).port), timeout=PATIENCE_S) as connection:
        connection.sendall(request.encode())
        received = b""
        while more := connection.recv(65536):
            received += more
        return received


@pytest.mark.parametrize("kind", FaultKind)
def test_what_is_applied_is_as_the_kind_says(kind, waldur, order):
    waldur.faults.arm(Fault(kind=kind, method=APPROVE, delay_s=0.01, code=503))
    with contextlib.suppress(httpx.TransportError):
        approve(waldur, order)
    assert waldur.order(order).state == ("executing" if kind in APPLIED else "pending-provider")
    assert waldur.faults.calls == (APPROVE,)


def test_a_dropped_request_is_a_reset_connection(waldur, order):
    waldur.faults.arm(Fault(kind=FaultKind.DROP, method=APPROVE))
    with pytest.raises(ConnectionResetError):
        approve_raw(waldur, order)


def test_a_lost_reply_has_not_one_byte(waldur, order):
    waldur.faults.arm(Fault(kind=FaultKind.LOSE_REPLY, method=APPROVE))
    assert approve_raw(waldur, order) == b""


def test_a_truncated_reply_ends_in_the_middle_of_its_body(waldur, order):
    waldur.faults.arm(Fault(kind=FaultKind.TRUNCATE, method=APPROVE))
    head, _, body = approve_raw(waldur, order).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b'{"detail":"Order has been approved and is being processed."}'.startswith(body)
    assert 0 < len(body) < 60


def test_a_truncated_reply_without_a_body_ends_in_its_headers(waldur, order):
    waldur.state.behaviour.empty_approval = True
    waldur.faults.arm(Fault(kind=FaultKind.TRUNCATE, method=APPROVE))
    reply = approve_raw(waldur, order)
    assert reply.startswith(b"HTTP/1.1 200")
    assert b"\r\n\r\n" not in reply


def test_a_delayed_reply_comes_when_the_client_has_given_up(waldur, order):
    waldur.faults.arm(Fault(kind=FaultKind.DELAY, method=APPROVE, delay_s=30))
    with pytest.raises(httpx.ReadTimeout):
        approve(waldur, order, timeout_s=0.1)
    deadline_s = time.monotonic() + PATIENCE_S
    while waldur.order(order).state != "executing":  # a busy server may come to it later
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_stopping_does_not_wait_for_a_delayed_reply():
    with Marketplace() as waldur:
        waldur.faults.arm(Fault(kind=FaultKind.DELAY, delay_s=10 * PATIENCE_S))
        url, headers = f"{waldur.api_url}users/me/", {"Authorization": f"Token {waldur.tokens['provider']}"}
        arrived = threading.Event()
        waldur.before_call = lambda _method: arrived.set()
        options = {"headers": headers, "trust_env": False, "timeout": 2 * PATIENCE_S}
        caller = threading.Thread(target=httpx.get, args=(url,), kwargs=options, daemon=True)
        caller.start()
        assert arrived.wait(PATIENCE_S)
    caller.join(PATIENCE_S)
    assert not caller.is_alive()


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault(kind=FaultKind.BAD_GATEWAY), 502),
        (Fault(kind=FaultKind.BAD_GATEWAY_APPLIED), 502),
        (Fault(kind=FaultKind.ELECTION), 503),
        (Fault(kind=FaultKind.REFUSE, code=429, message="Request was throttled."), 429),
        (Fault(kind=FaultKind.REFUSE, code=0x2000), 500),
    ],
    ids=str,
)
def test_a_refusal_has_its_status(fault, status, waldur, order):
    waldur.faults.arm(fault)
    assert approve(waldur, order).status_code == status


def test_a_refusal_says_what_it_was_told_to(waldur, order):
    waldur.faults.arm(Fault(kind=FaultKind.REFUSE, code=429, message="Request was throttled."))
    assert approve(waldur, order).json() == {"detail": "Request was throttled."}


def test_a_fault_hits_the_call_of_its_index_and_is_spent(waldur, order):
    waldur.faults.arm(Fault(kind=FaultKind.BAD_GATEWAY, call=1))
    assert [approve(waldur, order).status_code for _ in range(3)] == [200, 502, 409]


def test_calls_of_others_are_not_counted_when_only_the_agent_counts(waldur):
    waldur.count_only("provider")
    waldur.faults.arm(Fault(kind=FaultKind.BAD_GATEWAY, call=0))
    order = waldur.consumer().place_order(waldur.vdc, "vdc-one", {"cpu": 4}).order
    assert approve(waldur, order).status_code == 502
    assert waldur.faults.calls == (APPROVE,)
    waldur.count_only()
    waldur.consumer().order(order)
    assert waldur.faults.calls == (APPROVE, "GET /api/marketplace-orders/{uuid}/")
