"""Connections: which are kept, how many there are, and calls from many threads."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy._transport.rpc import Rpc
from opennebula_tenancy.emulator import Emulator
from transport.pace import QUICK
from transport.wild_server import Exchange, WildServer, success


Serve = Callable[..., WildServer]
MakeRpc = Callable[..., Rpc]


def echo(exchange: Exchange) -> None:
    """Answer with the last parameter, on a connection that is kept."""
    exchange.send(success(exchange.params[-1], keep=True))


def test_reads_share_a_connection_that_the_server_keeps(serve: Serve, rpc: MakeRpc) -> None:
    server = serve(echo, keep_alive=True)
    caller = rpc(server.endpoint)
    assert [caller.read("one.vdc.info", number) for number in range(10)] == list(range(10))
    assert server.accepted == 1


def test_a_mutation_has_a_connection_of_its_own(serve: Serve, rpc: MakeRpc) -> None:
    server = serve(echo, keep_alive=True)
    caller = rpc(server.endpoint)
    caller.read("one.vdc.info", 0)
    for number in range(5):
        assert caller.mutate("one.vdc.delete", number, look=lambda: None) == number
    caller.read("one.vdc.info", 0)
    assert server.accepted == 1 + 5


def test_where_the_server_closes_each_read_has_a_connection_of_its_own(serve: Serve, rpc: MakeRpc) -> None:
    server = serve(lambda exchange: exchange.send(success(exchange.params[-1])))
    caller = rpc(server.endpoint)
    assert [caller.read("one.vdc.info", number) for number in range(5)] == list(range(5))
    assert server.accepted == 5


def test_a_kept_connection_that_the_server_closed_costs_a_read_at_most_one_attempt(serve: Serve, rpc: MakeRpc) -> None:
    def last_words(exchange: Exchange) -> None:
        echo(exchange)
        exchange.reset()

    server = serve(last_words, keep_alive=True)
    caller = rpc(server.endpoint, retry=QUICK)
    assert [caller.read("one.vdc.info", number) for number in range(5)] == list(range(5))


class Crowd:
    """Answers when two requests are there, and remembers how many there were at once."""

    def __init__(self) -> None:
        self._both = threading.Barrier(2, timeout=10)
        self._lock = threading.Lock()
        self._here = 0
        self.most = 0

    def __call__(self, exchange: Exchange) -> None:
        with self._lock:
            self._here += 1
            self.most = max(self.most, self._here)
        self._both.wait()
        with self._lock:
            self._here -= 1
        exchange.send(success(exchange.params[-1]))


def test_there_are_never_more_calls_under_way_than_allowed(serve: Serve, rpc: MakeRpc) -> None:
    crowd = Crowd()
    caller = rpc(serve(crowd).endpoint, max_connections=2)

    def call(number: int) -> int:
        if number % 2:
            return int(caller.mutate("one.vdc.delete", number, look=lambda: None))
        return int(caller.read("one.vdc.info", number))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(call, range(16))) == list(range(16))
    assert crowd.most == 2


def test_kept_connections_are_as_many_as_allowed_and_used_again(serve: Serve, rpc: MakeRpc) -> None:
    server = serve(echo, keep_alive=True)
    caller = rpc(server.endpoint, max_connections=2)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda number: caller.read("one.vdc.info", number), range(80))) == list(range(80))
    assert server.accepted <= 2
    assert len(server.requests) == 80


def test_a_call_that_fails_gives_its_turn_to_the_next(serve: Serve, rpc: MakeRpc) -> None:
    caller = rpc(serve(Exchange.reset).endpoint, max_connections=1)
    for _ in range(5):
        with pytest.raises(ont.OutcomeUnknown):
            caller.read("one.system.version")


def test_every_thread_gets_its_own_answers(rpc: MakeRpc) -> None:
    with Emulator() as one:
        caller = rpc(one.endpoint, one.auth, retry=QUICK, max_connections=4)
        records: list[ont.CallRecord] = []
        named = rpc(one.endpoint, one.auth, on_call=records.append)

        def make(worker: int) -> list[tuple[int, str]]:
            made: list[tuple[int, str]] = []
            for number in range(10):
                name = f"g-{worker}-{number}"
                made.append((caller.mutate("one.group.allocate", name, look=lambda: None), name))
                named.read("one.group.info", made[-1][0])
            return made

        with ThreadPoolExecutor(8) as pool:
            made = [pair for worker in pool.map(make, range(8)) for pair in worker]
        assert len({gid for gid, _ in made}) == 80
        for gid, name in made[::7]:
            assert f"<ID>{gid}</ID><NAME>{name}</NAME>" in caller.read("one.group.info", gid)
    assert len({record.call_id for record in records}) == 80


def test_the_records_of_threads_are_not_mixed_up(serve: Serve, rpc: MakeRpc) -> None:
    records: list[tuple[int, ont.CallRecord]] = []
    server = serve(echo, keep_alive=True)
    caller = rpc(server.endpoint, on_call=lambda record: records.append((threading.get_ident(), record)))

    def call(worker: int) -> int:
        for number in range(20):
            text = "x" * (100 * worker + number)
            assert caller.read(f"one.k{chr(97 + worker)}.info", text) == text
        return threading.get_ident()

    barrier = threading.Barrier(8, timeout=10)
    with ThreadPoolExecutor(8, initializer=barrier.wait) as pool:
        idents = list(pool.map(call, range(8)))
    sizes = sorted(record.sent_bytes for _, record in records)
    assert sizes == sorted(map(len, server.requests))
    for worker, ident in enumerate(idents):
        method = f"one.k{chr(97 + worker)}.info"
        assert {thread for thread, record in records if record.method == method} == {ident}


def test_an_environment_that_asks_for_grpc_does_not_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEAPI_PROTOCOL", "grpc")
    with Emulator() as one, ont.connect(one.endpoint, one.auth) as cloud:
        ping = cloud.ping()
        assert ping.version == "7.4.0"
        assert ping.seconds > 0
        assert one.calls == ("one.system.version",)


def test_a_version_that_is_no_text_is_a_protocol_violation(serve: Serve) -> None:
    server = serve(lambda exchange: exchange.send(success(7)))
    with ont.connect(server.endpoint, "a:b") as cloud, pytest.raises(ont.ProtocolViolation, match="a text was due"):
        cloud.ping()


def test_a_login_in_netrc_is_not_sent(
    serve: Serve, rpc: MakeRpc, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("machine localhost login somebody password canary\n", encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    heads: list[bytes] = []
    server = serve(lambda exchange: exchange.send(success()), heads=heads)
    rpc(server.endpoint).read("one.system.version")
    assert b"user-agent: opennebula-tenancy" in heads[0].lower()
    assert b"authorization" not in heads[0].lower()
