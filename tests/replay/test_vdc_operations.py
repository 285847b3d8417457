"""The operations on a tenant, against answers that a real OpenNebula gave."""

import hashlib
import xmlrpc.client
from pathlib import Path

import attrs
import pytest
from vcr.request import Request

import opennebula_tenancy as ont
from opennebula_tenancy.emulator import Emulator
from replay.tape import CASSETTES, PASSWORD, call_of, same_call, tape, without_session


CASSETTE = "opennebula-7.4.0/vdc-operations.yaml"
SPEC = ont.VdcSpec(
    name="recorded",
    key="key-of-recorded",
    clusters=(0, 100),
    quota=ont.Quota(cpu=4, memory_mb=4096, storage_mb=20480, vms=10),
)


def test_a_tenant_from_its_making_to_its_end(pytestconfig: pytest.Config) -> None:
    record = pytestconfig.getoption("--record-cassettes", default=False)
    endpoint, auth = (None, None) if record else ("http://127.0.0.1:2633/RPC2", "someone:else")
    sent: list[ont.CallRecord] = []
    with tape(CASSETTE, record=record) as cassette, ont.connect(endpoint, auth, on_call=sent.append) as cloud:
        assert cloud.ping().version == "7.4.0"
        vdc = cloud.vdcs.ensure(SPEC)
        assert not cloud.vdcs.plan(SPEC)
        assert cloud.vdcs.get(vdc.id) == vdc
        with pytest.raises(ont.Conflict):
            cloud.vdcs.ensure(ont.VdcSpec(name="recorded", key="another"))
        quota = vdc.set_quota(ont.Quota(cpu=1.5, storage_mb=0))
        assert (quota.cpu, quota.memory_mb, quota.storage_mb, quota.vms) == (ont.Quota(cpu=1.5).cpu, 4096, 0, 10)
        assert vdc.usage() == cloud.vdcs.usage()[vdc.id] == ont.Usage()
        vdc.delete()
        with pytest.raises(ont.NotFound):
            cloud.vdcs.get(vdc.id)
        vdc.delete()
    assert cassette.all_played or record
    assert {call.outcome for call in sent} == {"ok", "NotFound"}


def accounts(cloud: ont.Cloud) -> tuple[str, str]:
    """Make a tenant with an account, give that another password, and remove the tenant; the passwords."""
    vdc = cloud.vdcs.ensure(attrs.evolve(SPEC, admin=True))
    assert vdc.admin is not None
    first = vdc.admin.credentials()
    assert first is not None
    second = vdc.admin.reset_password()
    assert cloud.vdcs.get(vdc.id).admin == vdc.admin
    assert vdc.admin.credentials() == second
    vdc.delete()
    return first.password, second.password


def test_an_account_is_recorded_and_replayed_without_its_passwords(tmp_path: Path) -> None:
    cassette_file = tmp_path / "accounts.yaml"
    source = ont.CredentialSource(secret=b"a secret of 32 bytes, or more ...")
    with (
        Emulator(populated=True) as server,
        tape(str(cassette_file), record=True),
        ont.connect(server.endpoint, server.auth, admin_credentials=source) as cloud,
    ):
        passwords = accounts(cloud)
    text = cassette_file.read_text()
    assert "one.user.chauth" in text
    for secret in (*passwords, server.auth, hashlib.sha256(server.auth.partition(":")[2].encode()).hexdigest()):
        assert secret not in text
    with (
        tape(str(cassette_file), record=False) as cassette,
        ont.connect("http://127.0.0.1:2633/RPC2", "someone:else", admin_credentials=source) as cloud,
    ):
        assert accounts(cloud) == passwords
    assert cassette.all_played


@pytest.mark.parametrize(
    ("method", "params", "shown"),
    [
        ("one.user.allocate", ("x", "PASS", "core", [5]), ("x", PASSWORD, "core", [5])),
        ("one.user.passwd", (7, "PASS"), (7, PASSWORD)),
        ("one.user.chauth", (7, "core", "PASS"), (7, "core", PASSWORD)),
        ("one.user.update", (7, "PASS", 1), (7, "PASS", 1)),
    ],
)
def test_calls_are_told_apart_by_all_but_their_passwords(
    method: str, params: tuple[object, ...], shown: tuple[object, ...]
) -> None:
    body = xmlrpc.client.dumps(("me:mine", *params), method).encode()
    recorded = without_session(Request("POST", "http://127.0.0.1", body, {}))
    assert call_of(recorded) == (method, shown)
    assert b"mine" not in recorded.body
    same_call(
        recorded, Request("POST", "http://127.0.0.1", body.replace(b"PASS", b"PASS" if shown == params else b"X"), {})
    )


def test_no_cassette_holds_a_session_or_a_password() -> None:
    cassettes = list(Path(CASSETTES, "opennebula-7.4.0").glob("*.yaml"))
    assert cassettes
    for path in cassettes:
        with tape(str(path.relative_to(CASSETTES)), record=False) as cassette:
            for request in cassette.requests:
                assert call_of(request)[0]
        text = path.read_text()
        assert "oneadmin:" not in text
        assert text.count("<session>") + text.count("&lt;session&gt;") == len(cassette.requests)
        assert "PASSWORD&gt;&lt;![CDATA[" not in text
