"""Timeouts apply, whatever a server does with its time."""

import time
from collections.abc import Callable

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy._transport.rpc import Rpc
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from transport.wild_server import Behaviour, Exchange, WildServer, http, success, xml


Serve = Callable[..., WildServer]
MakeRpc = Callable[..., Rpc]
SHORT = ont.Timeout(connect_s=0.5, read_s=0.5)
BOUND_S = 15.0
"""How long a call with timeouts of 0.5 s may take on a busy machine, in seconds."""

LONG = success("x" * 100_000)


def _drips(exchange: Exchange) -> None:
    head, _, body = LONG.partition(b"\r\n\r\n")
    exchange.send(head + b"\r\n\r\n")
    exchange.drip(body, every_s=0.05)


def _drips_chunks(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    exchange.drip(b"1\r\nx\r\n" * 1000, every_s=0.02)


def _stalls(exchange: Exchange) -> None:
    exchange.send(LONG[: len(LONG) // 2])
    exchange.hang()


def _call(caller: Rpc, *, mutates: bool) -> object:
    if mutates:
        return caller.mutate("one.vdc.delete", 1, look=lambda: None)
    return caller.read("one.system.version")


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (Exchange.hang, "no answer in time"),
        (_stalls, "no answer in time"),
        (_drips, r"no whole answer within 0\.5 s"),
        (_drips_chunks, r"no whole answer within 0\.5 s"),
    ],
    ids=["no first byte", "a body that stops", "a body that drips", "chunks that drip"],
)
@pytest.mark.parametrize("mutates", [False, True], ids=["read", "mutation"])
def test_a_server_that_takes_its_time_is_given_up(
    serve: Serve, rpc: MakeRpc, behave: Behaviour, reason: str, mutates: bool
) -> None:
    caller = rpc(serve(behave).endpoint, timeout=SHORT)
    started = time.monotonic()
    with pytest.raises(ont.OutcomeUnknown, match=reason) as caught:
        _call(caller, mutates=mutates)
    assert time.monotonic() - started < BOUND_S
    assert caught.value.applied == "maybe"


def test_a_slow_answer_within_the_timeout_is_taken(serve: Serve, rpc: MakeRpc) -> None:
    body = xml([True, "7.4.0", 0])

    def slow(exchange: Exchange) -> None:
        exchange.send(http(b"", length=len(body)))
        exchange.drip(body, every_s=0.0005)

    assert rpc(serve(slow).endpoint, timeout=ont.Timeout(read_s=5)).read("one.system.version") == "7.4.0"


def test_a_delay_of_the_embedded_server_is_a_timeout_and_the_call_was_applied(rpc: MakeRpc) -> None:
    with Emulator() as one:
        one.faults.arm(Fault(kind=FaultKind.DELAY, method="one.group.allocate", delay_s=30))
        caller = rpc(one.endpoint, one.auth, timeout=SHORT)
        started = time.monotonic()
        with pytest.raises(ont.OutcomeUnknown, match="no answer in time"):
            caller.mutate("one.group.allocate", "acme", look=lambda: None)
        assert time.monotonic() - started < BOUND_S
        assert "<NAME>acme</NAME>" in caller.read("one.grouppool.info")


def test_the_timeouts_of_connect_apply(serve: Serve) -> None:
    server = serve(Exchange.hang)
    once = ont.RetryPolicy(attempts=1)
    started = time.monotonic()
    with (
        ont.connect(server.endpoint, "a:b", timeout=0.2, retry=once) as cloud,
        pytest.raises(ont.OutcomeUnknown, match="no answer in time"),
    ):
        cloud.ping()
    assert time.monotonic() - started < BOUND_S
