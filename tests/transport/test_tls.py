"""TLS: whom the library trusts, and what a failure says."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy._transport.rpc import Rpc
from transport.wild_server import Exchange, WildServer, success


Serve = Callable[..., WildServer]
MakeRpc = Callable[..., Rpc]
CERTIFICATE = str(Path(__file__).with_name("localhost.pem"))
"""A self-signed certificate for localhost, valid until 2126, and its key. For these tests only."""


@pytest.fixture(name="tls")
def _tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def answers(exchange: Exchange) -> None:
    exchange.send(success())


@pytest.fixture(name="secure")
def _secure(serve: Serve, tls: ssl.SSLContext) -> WildServer:
    return serve(answers, tls=tls)


def test_a_certificate_that_nobody_vouches_for_is_refused(secure: WildServer, rpc: MakeRpc) -> None:
    with pytest.raises(ont.NotSent, match=r"TLS failed: .*CERTIFICATE_VERIFY_FAILED") as caught:
        rpc(secure.endpoint).mutate("one.vdc.delete", 1, look=lambda: pytest.fail("nothing was sent"))
    assert caught.value.applied == "no"
    assert secure.requests == []


def test_a_certificate_is_trusted_by_its_path(secure: WildServer, rpc: MakeRpc) -> None:
    assert rpc(secure.endpoint, verify=CERTIFICATE).read("one.system.version") == "7.4.0"
    with ont.connect(secure.endpoint, "a:b", verify=CERTIFICATE) as cloud:
        assert cloud.ping().version == "7.4.0"


def test_a_certificate_of_another_host_is_refused(secure: WildServer, rpc: MakeRpc) -> None:
    endpoint = secure.endpoint.replace("localhost", "127.0.0.1")
    with pytest.raises(ont.NotSent, match=r"TLS failed: .*doesn't match|TLS failed: .*mismatch"):
        rpc(endpoint, verify=CERTIFICATE).read("one.system.version")
    assert secure.requests == []


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_no_certificate_is_looked_at_when_so_told(secure: WildServer, rpc: MakeRpc) -> None:
    assert rpc(secure.endpoint, verify=False).read("one.system.version") == "7.4.0"


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_what_was_told_overrules_the_environment(
    secure: WildServer, rpc: MakeRpc, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, ssl.get_default_verify_paths().cafile or "/nowhere/ca.pem")
    assert rpc(secure.endpoint, verify=CERTIFICATE).read("one.system.version") == "7.4.0"


def test_the_environment_may_name_whom_to_trust(
    secure: WildServer, rpc: MakeRpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", CERTIFICATE)
    assert rpc(secure.endpoint).read("one.system.version") == "7.4.0"


def test_a_bundle_that_is_not_there_is_told_and_nothing_was_sent(
    secure: WildServer, rpc: MakeRpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    with pytest.raises(ont.NotSent, match=r"/nowhere/ca\.pem"):
        rpc(secure.endpoint).read("one.system.version")
    assert secure.requests == []


def test_a_bundle_that_holds_no_certificate_is_told_and_nothing_was_sent(secure: WildServer, rpc: MakeRpc) -> None:
    with pytest.raises(ont.NotSent):
        rpc(secure.endpoint, verify=__file__).read("one.system.version")
    assert secure.requests == []


def test_a_server_that_speaks_no_tls_was_sent_nothing(serve: Serve, rpc: MakeRpc) -> None:
    plain = serve(answers)
    with pytest.raises(ont.NotSent, match=r"TLS failed|could not be sent|no connection"):
        rpc(plain.endpoint.replace("http", "https"), timeout=ont.Timeout(connect_s=0.3, read_s=0.3)).read(
            "one.system.version"
        )
    assert plain.requests == []


def test_a_handshake_that_never_ends_is_given_up_and_nothing_was_sent(rpc: MakeRpc) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"https://localhost:{listener.getsockname()[1]}/RPC2"
        with pytest.raises(ont.NotSent, match="no connection in time"):
            rpc(endpoint, timeout=ont.Timeout(connect_s=0.2, read_s=0.2)).read("one.system.version")


def test_tls_that_breaks_after_the_request_leaves_the_outcome_unknown(
    serve: Serve, rpc: MakeRpc, tls: ssl.SSLContext
) -> None:
    server = serve(lambda exchange: exchange.send_without_tls(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"), tls=tls)
    with pytest.raises(ont.OutcomeUnknown, match="the connection broke") as caught:
        rpc(server.endpoint, verify=CERTIFICATE).mutate("one.vdc.delete", 1, look=lambda: None)
    assert caught.value.applied == "maybe"
    assert server.methods == ["one.vdc.delete"]
