"""The operations on a tenant, against answers that a real OpenNebula gave."""

from pathlib import Path

import pytest

import opennebula_tenancy as ont
from replay.tape import CASSETTES, call_of, tape


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
        assert "PASSWORD&gt;&lt;/" in text
        assert "PASSWORD&gt;&lt;![CDATA[" not in text
