"""Every way in which a call can fail: the class of its error, and whether it can have been applied."""

import socket
from collections.abc import Callable

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy._transport.rpc import Rpc
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from transport.wild_server import Behaviour, Exchange, WildServer, full_listener, http, success, xml


Serve = Callable[..., WildServer]
MakeRpc = Callable[..., Rpc]
GOOD = success()


def sends(data: bytes) -> Behaviour:
    return lambda exchange: exchange.send(data)


def _sent_then_reset(exchange: Exchange) -> None:
    exchange.send(GOOD[: len(GOOD) // 2])
    exchange.reset()


UNKNOWN = {
    "reset before the answer": (Exchange.reset, "connection broke: Connection reset by peer"),
    "closed before the answer": (lambda _: None, "connection broke: Remote end closed connection without response"),
    "reset within the answer": (_sent_then_reset, "connection broke"),
    "closed within the answer": (sends(GOOD[:-20]), "connection broke: IncompleteRead"),
    "closed within the head": (sends(GOOD[:40]), "connection broke|not XML-RPC"),
    "no HTTP": (sends(b"220 mail.example.org ESMTP\r\n"), "connection broke"),
    "HTTP 500": (sends(http(b"", status="500 Internal Server Error")), "HTTP 500 Internal Server Error from a proxy"),
    "HTTP 502": (sends(http(b"<html/>", status="502 Bad Gateway")), "HTTP 502 Bad Gateway from a proxy"),
    "HTTP 503": (sends(http(b"", status="503 Service Unavailable")), "HTTP 503 Service Unavailable from a proxy"),
    "HTTP 504": (sends(http(b"", status="504 Gateway Timeout")), "HTTP 504 Gateway Timeout from a proxy"),
    "an empty answer": (sends(http(b"")), "not XML-RPC"),
    "an answer without end": (sends(b"HTTP/1.1 200 OK\r\n\r\n" + xml([True, "7.4.0", 0])[:-30]), "not XML-RPC"),
    "text": (sends(http(b"Service temporarily unavailable")), "not XML-RPC"),
    "a web page": (sends(http(b"<html><body>Welcome to nginx!</body></html>")), "not XML-RPC"),
    "control characters": (sends(http(xml([True, "a\x01b", 0]))), "not XML-RPC"),
    "bytes that are no UTF-8": (sends(http(xml([True, "@", 0]).replace(b"@", b"\xff"))), "not XML-RPC"),
    "a number that is none": (sends(http(xml([True, 12345, 0]).replace(b"12345", b"many"))), "not XML-RPC"),
    "a truth that is none": (sends(http(xml([True, 12345, 0]).replace(b">1<", b">maybe<"))), "not XML-RPC"),
    "a fault without fields": (
        sends(http(b"<methodResponse><fault><value><struct></struct></value></fault></methodResponse>")),
        "not XML-RPC",
    ),
    "a member without value": (
        sends(http(xml([True, {"a": 1}, 0]).replace(b"<value><int>1</int></value>\n</member>", b"</member>"))),
        "not XML-RPC",
    ),
}


def _call(caller: Rpc, *, mutates: bool) -> object:
    if mutates:
        return caller.mutate("one.vdc.delete", 100, look=lambda: None)
    return caller.read("one.system.version")


@pytest.mark.parametrize(("behave", "reason"), UNKNOWN.values(), ids=UNKNOWN)
@pytest.mark.parametrize("mutates", [False, True], ids=["read", "mutation"])
def test_without_a_whole_answer_the_outcome_is_unknown(
    serve: Serve, rpc: MakeRpc, behave: Behaviour, reason: str, mutates: bool
) -> None:
    server = serve(behave)
    caller = rpc(server.endpoint)
    with pytest.raises(ont.OutcomeUnknown, match=reason) as caught:
        _call(caller, mutates=mutates)
    assert caught.value.applied == "maybe"
    assert caught.value.method == ("one.vdc.delete" if mutates else "one.system.version")
    assert f"[call {caught.value.call_id}]" in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "status", ["301 Moved Permanently", "302 Found", "401 Unauthorized", "404 Not Found", "405 Method Not Allowed"]
)
def test_a_status_of_another_server_means_that_nothing_was_applied(serve: Serve, rpc: MakeRpc, status: str) -> None:
    elsewhere = serve(sends(GOOD))
    head = f"HTTP/1.1 {status}\r\nLocation: {elsewhere.endpoint}\r\nContent-Length: 0\r\n\r\n".encode()
    server = serve(sends(head))
    with pytest.raises(ont.NotSent, match=f"HTTP {status}: is the endpoint right") as caught:
        rpc(server.endpoint).read("one.system.version")
    assert caught.value.applied == "no"
    assert elsewhere.accepted == 0


def test_a_port_that_nobody_listens_on_refuses(rpc: MakeRpc) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ont.NotSent, match=r"one\.vdc\.delete: no connection: Connection refused") as caught:
        rpc(f"http://127.0.0.1:{port}/RPC2").mutate("one.vdc.delete", 1, look=lambda: pytest.fail("nothing was sent"))
    assert caught.value.applied == "no"


def test_a_listener_that_takes_no_connection_is_given_up(rpc: MakeRpc) -> None:
    with full_listener() as port, pytest.raises(ont.NotSent, match="no connection in time"):
        rpc(f"http://127.0.0.1:{port}/RPC2", timeout=ont.Timeout(connect_s=0.2)).read("one.system.version")


def test_a_host_that_has_no_address_is_not_reached(rpc: MakeRpc, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ont.NotSent, match="the host name is not known"):
        rpc("http://cloud.example.org:2633/RPC2").read("one.system.version")


def test_a_proxy_that_is_not_there_is_not_passed(rpc: MakeRpc, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{listener.getsockname()[1]}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(ont.NotSent) as caught:
        rpc("http://cloud.example.org:2633/RPC2").read("one.system.version")
    assert caught.value.applied == "no"


@pytest.mark.parametrize("param", [None, object(), 2**31, -(2**31) - 1], ids=["None", "an object", "2**31", "-2**31-1"])
def test_arguments_that_xml_rpc_cannot_carry_are_not_sent(serve: Serve, rpc: MakeRpc, param: object) -> None:
    server = serve(sends(GOOD))
    with pytest.raises(ont.NotSent, match="the arguments do not fit XML-RPC"):
        rpc(server.endpoint).read("one.vdc.info", param)
    assert server.accepted == 0


@pytest.mark.parametrize(
    "reply",
    [
        [],
        [True],
        [False],
        [False, "text"],
        [False, "text", "0x2000"],
        [False, 1, 2],
        ["true", "value", 0],
        [1, "value", 0],
        "text",
        7,
        {"a": 1},
        None,
    ],
    ids=repr,
)
def test_a_reply_of_another_form_is_a_protocol_violation(serve: Serve, rpc: MakeRpc, reply: object) -> None:
    server = serve(sends(http(xml(reply))))
    with pytest.raises(ont.ProtocolViolation, match=r"one\.system\.version: the reply is \w+ of an unknown form"):
        rpc(server.endpoint).read("one.system.version")


def test_two_values_where_one_is_due_are_a_protocol_violation(serve: Serve, rpc: MakeRpc) -> None:
    value = b"<param><value><int>1</int></value></param>"
    server = serve(sends(http(b"<methodResponse><params>" + value * 2 + b"</params></methodResponse>")))
    with pytest.raises(ont.ProtocolViolation):
        rpc(server.endpoint).read("one.system.version")


@pytest.mark.parametrize(
    ("reply", "object_id", "index"),
    [
        ([False, "[one.group.info] Error getting group [9].", 0x400], None, None),
        ([False, "[one.group.info] Error getting group [9].", 0x400, 9], 9, None),
        ([False, "[one.group.info] Error getting group [9].", 0x400, 9, -1], 9, None),
        ([False, "[one.group.info] Error getting group [0].", 0x400, 0, -1], 0, None),
        ([False, "[one.group.info] Error getting group [9].", 0x400, -1, -1], None, None),
        ([False, "[one.group.info] Error getting group [9].", 0x400, 9, 42], 9, 42),
        ([False, "[one.group.info] Error getting group [9].", 0x400, -1, 0], None, 0),
    ],
    ids=repr,
)
def test_a_refusal_keeps_its_fields(
    serve: Serve, rpc: MakeRpc, reply: list[object], object_id: int | None, index: int | None
) -> None:
    server = serve(sends(http(xml(reply))))
    with pytest.raises(ont.NotFound) as caught:
        rpc(server.endpoint).read("one.group.info", 9)
    assert (caught.value.method, caught.value.code, caught.value.message) == ("one.group.info", 0x400, reply[1])
    assert (caught.value.object_id, caught.value.replication_index) == (object_id, index)
    assert caught.value.call_id


@pytest.mark.parametrize(
    "value", ["", "7.4.0", "é <&> ]]>", 0, 7, -1, False, True], ids=repr
)  # an empty text is what one.user.login with a lifetime of 0 answers
def test_any_value_of_a_success_is_given_back(serve: Serve, rpc: MakeRpc, value: object) -> None:
    server = serve(sends(success(value)))
    answer = rpc(server.endpoint).read("one.system.version")
    assert answer == value
    assert type(answer) is type(value)


def test_a_server_that_speaks_chunks_is_understood(serve: Serve, rpc: MakeRpc) -> None:
    body = xml([True, "7.4.0" * 50_000, 0])
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:10], body[10:])) + b"0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server = serve(sends(head + chunks))
    assert rpc(server.endpoint).read("one.system.version") == "7.4.0" * 50_000
    broken = serve(sends(head + chunks[:-12]))
    with pytest.raises(ont.OutcomeUnknown, match="connection broke: IncompleteRead"):
        rpc(broken.endpoint).read("one.system.version")


UNREADY = [
    "Cannot process request, no leader found",
    "Cannot process request, oned cluster in election mode",
    "Cannot process request, oned cluster is replicating log",
    "Cannot process request, zone disabled",
]


@pytest.mark.parametrize("said", UNREADY)
def test_what_oned_refuses_before_execution_was_not_applied(serve: Serve, rpc: MakeRpc, said: str) -> None:
    server = serve(sends(http(xml([False, f"[one.vdc.delete] {said}", 0x2000, -1, -1]))))
    with pytest.raises(ont.ServerUnready, match=said) as caught:
        rpc(server.endpoint).mutate("one.vdc.delete", 1, look=lambda: pytest.fail("nothing was applied"))
    assert caught.value.applied == "no"


def test_an_object_whose_name_sounds_like_an_election_is_no_election(serve: Serve, rpc: MakeRpc) -> None:
    said = "[one.vm.info] User [2] : Not authorized to perform USE VM election mode."
    server = serve(sends(http(xml([False, said, 0x200, 3, -1]))))
    with pytest.raises(ont.NotAuthorized):
        rpc(server.endpoint).read("one.vm.info", 3)


@pytest.fixture(name="one", scope="module")
def _one() -> object:
    with Emulator() as server:
        yield server


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (FaultKind.REFUSE, ont.InternalError),
        (FaultKind.DROP, ont.OutcomeUnknown),
        (FaultKind.LOSE_REPLY, ont.OutcomeUnknown),
        (FaultKind.TRUNCATE, ont.OutcomeUnknown),
        (FaultKind.BAD_GATEWAY, ont.OutcomeUnknown),
        (FaultKind.BAD_GATEWAY_APPLIED, ont.OutcomeUnknown),
        (FaultKind.ELECTION, ont.ServerUnready),
    ],
)
def test_the_faults_of_the_embedded_server_are_told_apart(
    one: Emulator, rpc: MakeRpc, kind: FaultKind, error: type[Exception]
) -> None:
    one.faults.arm(Fault(kind=kind))
    caller = rpc(one.endpoint, one.auth)
    with pytest.raises(error) as caught:
        caller.read("one.system.version")
    assert type(caught.value) is error
    assert caller.read("one.system.version") == "7.4.0"


def test_wrong_credentials_are_told(one: Emulator, rpc: MakeRpc) -> None:
    with pytest.raises(ont.AuthenticationFailed, match="couldn't be authenticated"):
        rpc(one.endpoint, "oneadmin:wrong").read("one.system.version")


def test_faults_of_xml_rpc_are_bad_requests_with_their_codes(one: Emulator, rpc: MakeRpc) -> None:
    caller = rpc(one.endpoint, one.auth)
    with pytest.raises(ont.BadRequest, match=r"one\.vdc\.delete was refused \(fault -501\)") as caught:
        caller.mutate("one.vdc.delete", look=lambda: None)
    assert (caught.value.code, caught.value.object_id) == (-501, None)
    with pytest.raises(ont.BadRequest, match=r"fault -506\): Method 'one\.foo\.info' not defined") as caught:
        caller.read("one.foo.info")
    assert caught.value.code == -506


@pytest.mark.parametrize("method", ["one.vdc.delete", "one.group.quota", "system.listMethods", "one.vdc.info\n", ""])
def test_a_method_that_may_change_something_cannot_be_called_as_a_read(
    one: Emulator, rpc: MakeRpc, method: str
) -> None:
    one.faults.arm()
    with pytest.raises(ValueError, match="not a method that only reads"):
        rpc(one.endpoint, one.auth).read(method)
    assert one.calls == ()
