"""The password goes to the server and nowhere else."""

import logging
import traceback
from collections.abc import Callable

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy._transport.rpc import Rpc
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from transport.pace import QUICK
from transport.wild_server import Behaviour, Exchange, WildServer, full_listener, http, success, xml


Serve = Callable[..., WildServer]
MakeRpc = Callable[..., Rpc]
CANARY = "canary-5f0e77"
AUTH = f"oneadmin:{CANARY}"


def _sends(data: bytes) -> Behaviour:
    return lambda exchange: exchange.send(data)


SERVERS = {
    "a good one": _sends(success()),
    "a refusal": _sends(http(xml([False, "no", 0x200, -1, -1]))),
    "a reset": Exchange.reset,
    "not XML": _sends(http(b"Bad gateway")),
    "another form": _sends(http(xml([]))),
    "HTTP 502": _sends(http(b"", status="502 Bad Gateway")),
    "HTTP 404": _sends(http(b"", status="404 Not Found")),
    "silence": Exchange.hang,
}


def _all_of(error: BaseException | None) -> str:
    """Whatever a person is shown of an error."""
    if error is None:
        return ""
    return "".join([*traceback.format_exception(error), repr(error), str(error), repr(vars(error))])


@pytest.mark.parametrize("behave", SERVERS.values(), ids=SERVERS)
def test_no_failure_shows_the_password(
    serve: Serve, rpc: MakeRpc, caplog: pytest.LogCaptureFixture, behave: Behaviour
) -> None:
    caplog.set_level(logging.DEBUG)
    records: list[ont.CallRecord] = []
    server = serve(behave)
    timeout = ont.Timeout(connect_s=0.1, read_s=0.1)
    caller = rpc(server.endpoint, AUTH, retry=QUICK, on_call=records.append, timeout=timeout)
    shown = repr(caller)
    calls: list[Callable[[], object]] = [
        lambda: caller.read("one.system.version"),
        lambda: caller.mutate("one.vdc.delete", 1, look=lambda: None),
        lambda: caller.read("one.vdc.info", None),
    ]
    for call in calls:
        try:
            call()
        except ont.TenancyError as error:
            shown += _all_of(error)
    assert CANARY in server.requests[0].decode()
    assert records
    assert caplog.records
    assert CANARY not in shown
    assert CANARY not in repr(records)
    assert CANARY not in caplog.text
    assert all(CANARY not in repr(vars(record)) for record in caplog.records)


def test_no_failure_to_connect_shows_the_password(rpc: MakeRpc, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with full_listener() as port, pytest.raises(ont.NotSent) as caught:
        rpc(f"http://127.0.0.1:{port}/RPC2", AUTH, timeout=ont.Timeout(connect_s=0.1)).read("one.system.version")
    assert CANARY not in _all_of(caught.value) + caplog.text


def test_a_tenants_life_logs_no_password(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Emulator() as one:
        with ont.connect(one.endpoint, one.auth, retry=QUICK) as cloud:
            one.faults.arm(Fault(kind=FaultKind.LOSE_REPLY, method="one.group.allocate"))
            vdc = cloud.vdcs.ensure(ont.VdcSpec(name="acme", quota=ont.Quota(cpu=1)))
            shown = repr(vdc) + repr(cloud) + vdc._repr_html_()
            vdc.delete()
        secret = one.auth.partition(":")[2]
        assert secret == "opennebula"
    assert "it was applied" in caplog.text
    assert f"oneadmin:{secret}" not in caplog.text + shown
    assert one.auth not in caplog.text


def test_wrong_credentials_are_refused_without_being_repeated(rpc: MakeRpc) -> None:
    with Emulator() as one, pytest.raises(ont.AuthenticationFailed) as caught:
        rpc(one.endpoint, AUTH).read("one.system.version")
    assert CANARY not in _all_of(caught.value)
