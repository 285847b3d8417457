"""Nothing foreign is touched, at whatever moment it comes: what others do between the calls of a run."""

import attrs
import pytest

import opennebula_tenancy as ont
from opennebula_tenancy import tenant_calls
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from tenants.pace import QUICK
from tenants.raw import Raw
from tenants.snapshot import snapshot


SPEC = ont.VdcSpec(name="acme", key="key-of-acme", quota=ont.Quota(cpu=4), clusters=(0,))


class Between:
    """Does something right after the first call of a method."""

    def __init__(self, method: str, work: object) -> None:
        self._method = method
        self._work = work

    def __call__(self, record: ont.CallRecord) -> None:
        if record.method == self._method and callable(self._work):
            work, self._work = self._work, None
            work()


def connect(server: Emulator, method: str, work: object) -> ont.Cloud:
    return ont.connect(server.endpoint, server.auth, retry=QUICK, on_call=Between(method, work))


def test_a_group_that_somebody_makes_just_before_ours_is_a_conflict_and_stays(
    server: Emulator, cloud: ont.Cloud, admin: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenant_calls, "_TWIN_S", 0.1)
    foreign: list[int] = []
    with connect(server, "one.vdc.allocate", lambda: foreign.append(admin("one.group.allocate", "acme"))) as disturbed:
        with pytest.raises(ont.Conflict, match="just taken"):
            disturbed.vdcs.ensure(SPEC)
        assert admin.xml("one.group.info", foreign[0]).findtext("NAME") == "acme"
        assert [item.findtext("NAME") for item in admin.xml("one.vdcpool.info")] == ["default"]
    cloud.vdcs.delete(key=SPEC.key)
    assert admin.xml("one.group.info", foreign[0]).findtext("NAME") == "acme"


def test_a_new_group_of_the_name_of_a_tenant_whose_group_is_gone_is_not_the_tenants(
    cloud: ont.Cloud, admin: Raw
) -> None:
    vdc = cloud.vdcs.ensure(SPEC)
    admin("one.group.delete", vdc.id)
    foreign = admin("one.group.allocate", "acme")
    with pytest.raises(ont.Conflict, match="not this tenant's"):
        cloud.vdcs.plan(SPEC)
    cloud.vdcs.delete(key=SPEC.key)
    assert admin.xml("one.group.info", foreign).findtext("NAME") == "acme"


def test_a_tenant_whose_group_is_gone_gets_a_new_one_also_when_the_reply_is_lost(
    server: Emulator, cloud: ont.Cloud, admin: Raw
) -> None:
    vdc = cloud.vdcs.ensure(SPEC)
    admin("one.group.delete", vdc.id)
    server.faults.arm(Fault(kind=FaultKind.LOSE_REPLY, method="one.group.allocate"))
    again = cloud.vdcs.ensure(SPEC)
    assert (again.vdc_id, again.id) == (vdc.vdc_id, vdc.id + 1)
    assert not cloud.vdcs.plan(SPEC)


def test_a_group_that_takes_the_name_while_a_tenant_is_removed_stays(
    server: Emulator, cloud: ont.Cloud, admin: Raw
) -> None:
    cloud.vdcs.ensure(SPEC)
    server.faults.arm(Fault(kind=FaultKind.REFUSE, method="one.vdc.delete", times=None))
    with pytest.raises(ont.InternalError):
        cloud.vdcs.delete(key=SPEC.key)
    foreign = admin("one.group.allocate", "acme")
    server.faults.arm()
    cloud.vdcs.delete(key=SPEC.key)
    assert admin.xml("one.group.info", foreign).findtext("NAME") == "acme"


def test_a_tenant_that_is_removed_while_it_is_made_leaves_nothing(server: Emulator, cloud: ont.Cloud) -> None:
    before = snapshot(server)
    with (
        connect(server, "one.vdc.allocate", lambda: cloud.vdcs.delete(key=SPEC.key)) as disturbed,
        pytest.raises(ont.NotFound),
    ):
        disturbed.vdcs.ensure(SPEC)
    assert snapshot(server) == before


def test_a_finished_tenant_survives_the_failure_of_another_run_for_it(server: Emulator, cloud: ont.Cloud) -> None:
    def finish_and_fail() -> None:
        cloud.vdcs.ensure(SPEC)
        server.faults.arm(Fault(kind=FaultKind.REFUSE, method="one.group.quota", code=0x0800))

    with (
        connect(server, "one.vdc.addgroup", finish_and_fail) as disturbed,
        pytest.raises((ont.WrongState, ont.VerificationFailed)),
    ):
        disturbed.vdcs.ensure(attrs.evolve(SPEC, quota=ont.Quota(cpu=8)))
    assert [vdc.name for vdc in cloud.vdcs.list()] == ["acme"]
    assert not cloud.vdcs.plan(SPEC)


def test_a_tenant_that_lost_its_mark_is_not_removed_when_mending_it_fails(
    server: Emulator, cloud: ont.Cloud, admin: Raw
) -> None:
    vdc = cloud.vdcs.ensure(SPEC)
    admin("one.group.update", vdc.id, "NOTHING=left", 0)
    server.faults.arm(Fault(kind=FaultKind.ELECTION, method="one.group.update", times=None))
    with pytest.raises(ont.ServerUnready):
        cloud.vdcs.ensure(SPEC)
    server.faults.arm()
    assert cloud.vdcs.ensure(SPEC) == vdc


def test_a_server_that_is_gone_before_anything_was_made_is_just_that(server: Emulator, cloud: ont.Cloud) -> None:
    server.faults.arm(Fault(kind=FaultKind.ELECTION, method="one.vdc.allocate", times=None))
    with pytest.raises(ont.ServerUnready):
        cloud.vdcs.ensure(SPEC)


@pytest.mark.parametrize("method", ["one.vdc.update", "one.group.update"])
def test_what_a_later_version_wrote_is_not_touched(server: Emulator, cloud: ont.Cloud, admin: Raw, method: str) -> None:
    vdc = cloud.vdcs.ensure(SPEC)
    admin(method, vdc.vdc_id if method == "one.vdc.update" else vdc.id, "TENANCY_VERSION=2", 1)
    before = snapshot(server)
    for work in (lambda: cloud.vdcs.ensure(SPEC), lambda: cloud.vdcs.delete(key=SPEC.key)):
        with pytest.raises(ont.Conflict, match="format"):
            work()
    assert snapshot(server) == before


def test_a_vdc_without_its_key_is_named_before_anything_is_removed(
    server: Emulator, cloud: ont.Cloud, admin: Raw
) -> None:
    vdc = cloud.vdcs.ensure(SPEC)
    admin("one.vdc.update", vdc.vdc_id, "NOTHING=left", 0)
    before = snapshot(server)
    with pytest.raises(ont.Conflict, match=f"VDC {vdc.vdc_id}"):
        vdc.delete()
    assert snapshot(server) == before


def test_the_handle_of_a_tenant_that_was_made_anew_does_not_remove_it(cloud: ont.Cloud, admin: Raw) -> None:
    old = cloud.vdcs.ensure(SPEC)
    old.delete()
    new = cloud.vdcs.ensure(SPEC)
    with pytest.raises(ont.Conflict, match=f"group {new.id} now"):
        old.delete()
    assert cloud.vdcs.get(new.id) == new
    assert admin.xml("one.group.info", new.id) is not None


def test_an_account_that_does_not_see_everything_is_told_so(server: Emulator, cloud: ont.Cloud, admin: Raw) -> None:
    cloud.vdcs.ensure(SPEC)
    admin("one.user.allocate", "somebody", "secret", "core", [])
    with ont.connect(server.endpoint, "somebody:secret", retry=QUICK) as blind:
        for look in (
            blind.vdcs.list,
            blind.vdcs.usage,
            lambda: blind.vdcs.plan(SPEC),
            lambda: blind.vdcs.ensure(SPEC),
            lambda: blind.vdcs.delete(key=SPEC.key),
        ):
            with pytest.raises(ont.NotAuthorized, match="does not see all"):
                look()


def test_limits_move_with_the_place_that_they_hold_on(cloud: ont.Cloud, admin: Raw) -> None:
    images = attrs.evolve(SPEC, quota=ont.Quota(storage_mb=100), clusters=(0, 100))
    vdc = cloud.vdcs.ensure(images)
    for scope, rows, disks in (("disks", [], "100"), ("both", ["100", "100"], "100"), ("images", ["100", "100"], "-1")):
        cloud.vdcs.ensure(attrs.evolve(images, storage_scope=scope))
        held = admin.xml("one.group.info", vdc.id)
        assert [row.text for row in held.iterfind("DATASTORE_QUOTA/DATASTORE/SIZE")] == rows
        assert held.findtext("VM_QUOTA/VM/SYSTEM_DISK_SIZE", "-1") == disks
    cloud.vdcs.ensure(attrs.evolve(images, storage_datastores=(100,)))
    held = admin.xml("one.group.info", vdc.id)
    assert [row.text for row in held.iterfind("DATASTORE_QUOTA/DATASTORE/ID")] == ["100"]


def test_limits_that_another_process_changed_meanwhile_stay(server: Emulator, cloud: ont.Cloud) -> None:
    vdc = cloud.vdcs.ensure(SPEC)
    with connect(server, "one.vdc.addcluster", lambda: vdc.set_quota(ont.Quota(vms=3))) as other:
        other.vdcs.ensure(attrs.evolve(SPEC, quota=ont.Quota(cpu=8), clusters=(0, 100)))
    after = vdc.quota()
    assert (after.cpu, after.vms) == (8, 3)


def test_a_run_that_fails_does_not_remove_what_another_run_for_the_tenant_made(
    server: Emulator, cloud: ont.Cloud, admin: Raw
) -> None:
    """The other run has made the VDC, and stands before its next call."""

    def make_vdc() -> None:
        marks = "NAME=acme\nTENANCY_KEY=key-of-acme\nTENANCY_ROLE=vdc\nTENANCY_VERSION=1\nTENANCY_GROUP_AFTER=1"
        admin("one.vdc.allocate", marks, -1)
        server.faults.arm(Fault(kind=FaultKind.REFUSE, method="one.group.allocate", code=0x0800))

    with connect(server, "one.clusterpool.info", make_vdc) as disturbed, pytest.raises(ont.WrongState):
        disturbed.vdcs.ensure(SPEC)
    assert [item.findtext("NAME") for item in admin.xml("one.vdcpool.info")] == ["acme", "default"]
    assert cloud.vdcs.ensure(SPEC).vdc_id == 100
