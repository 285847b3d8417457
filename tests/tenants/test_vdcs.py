"""Tenants as the library makes, changes, measures and removes them, looked at from outside the library."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import attrs
import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.emulator import Config, Emulator, Fault, FaultKind
from opennebula_tenancy.emulator.zones import Zone
from tenants.pace import QUICK
from tenants.raw import Raw
from tenants.snapshot import snapshot


SPEC = ont.VdcSpec(
    name="acme", key="key-of-acme", quota=ont.Quota(cpu=4, memory_mb=4096, storage_mb=20480), clusters=(0,)
)


def mutations(sent: list[ont.CallRecord]) -> list[str]:
    return [record.method for record in sent if record.mutates]


class TestEnsure:
    def test_makes_a_group_in_a_vdc_of_its_own_and_in_no_other(self, cloud: ont.Cloud, admin: Raw) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        assert admin.xml("one.group.info", vdc.id).findtext("NAME") == "acme"
        held = {item.findtext("NAME"): item for item in admin.xml("one.vdcpool.info")}
        assert [item.text for item in held["acme"].iterfind("GROUPS/ID")] == [str(vdc.id)]
        assert str(vdc.id) not in [item.text for item in held["default"].iterfind("GROUPS/ID")]
        assert held["acme"].findtext("ID") == str(vdc.vdc_id)
        assert held["acme"].findtext("TEMPLATE/TENANCY_KEY") == "key-of-acme"

    def test_a_second_run_sends_nothing_that_changes_anything(
        self, cloud: ont.Cloud, sent: list[ont.CallRecord]
    ) -> None:
        first = cloud.vdcs.ensure(SPEC)
        sent.clear()
        assert cloud.vdcs.ensure(SPEC) == first
        assert sent
        assert mutations(sent) == []

    def test_a_plan_names_every_change_and_makes_none(
        self, cloud: ont.Cloud, sent: list[ont.CallRecord], server: Emulator
    ) -> None:
        before = snapshot(server)
        plan = cloud.vdcs.plan(SPEC)
        assert mutations(sent) == []
        assert snapshot(server) == before
        assert [str(change) for change in plan] == [
            "create VDC acme",
            "create group acme",
            "set group of VDC acme: group acme",
            "add group acme to VDC acme",
            "remove group acme from VDC 0 (default)",
            "add cluster 0 to VDC acme",
            "remove use of networks of others by group acme",
            "add right of group acme to create",
            "set limit VM/CPU: default -> 4",
            "set limit VM/MEMORY: default -> 4096",
            "set limit DATASTORE 1/SIZE: default -> 20480",
            "set mark of group acme: key-of-acme",
        ]
        cloud.vdcs.ensure(SPEC)
        assert not cloud.vdcs.plan(SPEC)

    def test_progress_tells_of_every_change_as_it_begins(self, cloud: ont.Cloud) -> None:
        steps: list[ont.Step] = []
        changes = cloud.vdcs.plan(SPEC).changes
        cloud.vdcs.ensure(SPEC, progress=steps.append)
        assert tuple(step.change for step in steps) == changes
        assert [step.number for step in steps] == list(range(1, len(changes) + 1))

    def test_what_others_changed_is_mended(self, cloud: ont.Cloud, admin: Raw, server: Emulator) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        made = snapshot(server)
        admin("one.vdc.addgroup", 0, vdc.id)
        admin("one.vdc.addcluster", vdc.vdc_id, 0, 100)
        admin("one.group.quota", vdc.id, 'VM=[CPU="400"]')
        rule = next(
            item for item in admin.xml("one.acl.info") if (item.findtext("STRING") or "").startswith(f"@{vdc.id} VM+")
        )
        admin("one.acl.delrule", int(rule.findtext("ID") or ""))
        assert len(cloud.vdcs.plan(SPEC)) == 6
        cloud.vdcs.ensure(SPEC)
        assert snapshot(server) == made

    def test_a_vdc_that_somebody_deleted_comes_back_around_the_same_group(
        self, cloud: ont.Cloud, admin: Raw, server: Emulator
    ) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        made = snapshot(server)
        admin("one.vdc.delete", vdc.vdc_id)
        again = cloud.vdcs.ensure(SPEC)
        assert again.id == vdc.id
        assert again.vdc_id != vdc.vdc_id
        assert cloud.vdcs.get(vdc.id).vdc_id == again.vdc_id
        assert snapshot(server) == made

    def test_without_clusters_named_the_tenant_gets_all_that_there_are(self, cloud: ont.Cloud, admin: Raw) -> None:
        vdc = cloud.vdcs.ensure(attrs.evolve(SPEC, clusters=None))
        held = admin.xml("one.vdc.info", vdc.vdc_id)
        assert [item.text for item in held.iterfind("CLUSTERS/CLUSTER/CLUSTER_ID")] == ["0", "100"]

    def test_two_runs_for_one_tenant_at_once_make_one_tenant(self, server: Emulator) -> None:
        def run(_: int) -> int:
            with ont.connect(server.endpoint, server.auth, retry=QUICK) as cloud:
                return cloud.vdcs.ensure(SPEC).id

        for _ in range(5):
            with ThreadPoolExecutor(4) as pool:
                assert len(set(pool.map(run, range(4)))) == 1
            with ont.connect(server.endpoint, server.auth, retry=QUICK) as cloud:
                assert [vdc.name for vdc in cloud.vdcs.list()] == ["acme"]
                cloud.vdcs.delete(key=SPEC.key)

    def test_twenty_tenants_at_once_share_nothing(self, cloud: ont.Cloud) -> None:
        specs = [attrs.evolve(SPEC, name=f"t{number}", key=f"k{number}") for number in range(20)]
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(cloud.vdcs.ensure, specs))
        assert len({vdc.id for vdc in made}) == len({vdc.vdc_id for vdc in made}) == 20
        assert all(not cloud.vdcs.plan(spec) for spec in specs)


class TestConflicts:
    @pytest.mark.parametrize(
        ("method", "params"),
        [
            ("one.group.allocate", ("acme",)),
            ("one.vdc.allocate", ("NAME=acme", -1)),
            ("one.vdc.allocate", ("NAME=acme\nTENANCY_KEY=another\nTENANCY_ROLE=vdc\nTENANCY_VERSION=1", -1)),
            ("one.user.allocate", ("acme_admin", "secret", "core", [])),
        ],
    )
    def test_a_taken_name_changes_nothing_and_is_never_removed(
        self,
        cloud: ont.Cloud,
        admin: Raw,
        server: Emulator,
        sent: list[ont.CallRecord],
        method: str,
        params: tuple[str],
    ) -> None:
        admin(method, *params)
        before = snapshot(server)
        for _ in range(2):
            with pytest.raises(ont.Conflict, match=r"acme\S* .*(taken|is taken) by"):
                cloud.vdcs.ensure(attrs.evolve(SPEC, admin=True))
            cloud.vdcs.delete(key=SPEC.key)
        assert mutations(sent) == []
        assert snapshot(server) == before

    def test_another_tenants_name_is_a_conflict(self, cloud: ont.Cloud, server: Emulator) -> None:
        cloud.vdcs.ensure(SPEC)
        made = snapshot(server)
        with pytest.raises(ont.Conflict):
            cloud.vdcs.ensure(attrs.evolve(SPEC, key="another"))
        assert snapshot(server) == made

    def test_a_tenant_cannot_be_renamed(self, cloud: ont.Cloud, sent: list[ont.CallRecord]) -> None:
        cloud.vdcs.ensure(SPEC)
        sent.clear()
        with pytest.raises(ont.Conflict, match="rename"):
            cloud.vdcs.ensure(attrs.evolve(SPEC, name="apex"))
        assert mutations(sent) == []

    def test_a_vdc_that_somebody_renamed_gets_its_name_back(
        self, cloud: ont.Cloud, admin: Raw, server: Emulator
    ) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        made = snapshot(server)
        admin("one.vdc.rename", vdc.vdc_id, "apex")
        assert [str(change) for change in cloud.vdcs.plan(SPEC)] == [f"set name of VDC {vdc.vdc_id}: apex -> acme"]
        assert cloud.vdcs.ensure(SPEC) == vdc
        assert snapshot(server) == made

    def test_a_renamed_vdc_whose_name_is_taken_meanwhile_is_a_conflict(
        self, cloud: ont.Cloud, admin: Raw, sent: list[ont.CallRecord]
    ) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        admin("one.vdc.rename", vdc.vdc_id, "apex")
        other = admin("one.vdc.allocate", "NAME=acme", -1)
        sent.clear()
        with pytest.raises(ont.Conflict, match=f"the name acme is taken by VDC {other}"):
            cloud.vdcs.ensure(SPEC)
        assert mutations(sent) == []

    def test_a_tenant_without_a_group_is_not_said_to_have_one(self, cloud: ont.Cloud, admin: Raw) -> None:
        anchor = "NAME=apex\nTENANCY_KEY=key-of-acme\nTENANCY_ROLE=vdc\nTENANCY_VERSION=1\nTENANCY_GROUP_AFTER=1"
        ident = admin("one.vdc.allocate", anchor, -1)
        with pytest.raises(ont.Conflict, match=rf"tenant apex \(VDC {ident}\), which has no group yet"):
            cloud.vdcs.ensure(SPEC)

    def test_a_group_without_a_key_is_not_a_tenant(self, cloud: ont.Cloud, admin: Raw) -> None:
        foreign = admin("one.group.allocate", "foreign")
        for look in (cloud.vdcs.get, cloud.vdcs.usage_of, cloud.vdcs.quota):
            with pytest.raises(ont.Conflict, match="carries no key"):
                look(foreign)
        with pytest.raises(ont.Conflict):
            cloud.vdcs.set_quota(foreign, ont.Quota(cpu=1))
        with pytest.raises(ont.Conflict, match="does not carry"):
            cloud.vdcs.delete(foreign, key=SPEC.key)
        assert cloud.vdcs.find("foreign") is None
        assert cloud.vdcs.list() == ()
        assert admin.xml("one.group.info", foreign) is not None

    def test_a_half_made_tenant_does_not_adopt_a_group_that_somebody_uses(
        self, cloud: ont.Cloud, admin: Raw, server: Emulator
    ) -> None:
        anchor = "NAME=acme\nTENANCY_KEY=key-of-acme\nTENANCY_ROLE=vdc\nTENANCY_VERSION=1\nTENANCY_GROUP_AFTER=1"
        admin("one.vdc.allocate", anchor, -1)
        group = admin("one.group.allocate", "acme")
        admin("one.user.allocate", "somebody", "secret", "core", [group])
        before = snapshot(server)
        with pytest.raises(ont.Conflict):
            cloud.vdcs.ensure(SPEC)
        assert snapshot(server) == before

    def test_two_vdcs_with_one_key_are_named(self, cloud: ont.Cloud, admin: Raw) -> None:
        for name in ("one", "two"):
            admin("one.vdc.allocate", f"NAME={name}\nTENANCY_KEY=key-of-acme\nTENANCY_ROLE=vdc\nTENANCY_VERSION=1", -1)
        with pytest.raises(ont.DuplicateObject, match="100, 101"):
            cloud.vdcs.ensure(SPEC)


class TestRefusedBeforeAnything:
    def test_all_that_does_not_exist_is_named_at_once(self, cloud: ont.Cloud, sent: list[ont.CallRecord]) -> None:
        spec = attrs.evolve(SPEC, zone=7, clusters=(0, 7), external_networks=(77,), storage_datastores=(0, 55))
        with pytest.raises(ont.SettingsError) as caught:
            cloud.vdcs.ensure(spec)
        assert caught.value.problems == (
            "zone: there is no zone 7",
            "clusters: there is no cluster 7",
            "storage_datastores: 0 is no image datastore",
            "storage_datastores: 55 is no image datastore",
            "external_networks: there is no network 77",
        )
        assert mutations(sent) == []

    def test_a_tenant_that_is_there_is_not_moved_to_a_zone_that_is_not(
        self, cloud: ont.Cloud, sent: list[ont.CallRecord]
    ) -> None:
        cloud.vdcs.ensure(SPEC)
        sent.clear()
        for look in (cloud.vdcs.plan, cloud.vdcs.ensure):
            with pytest.raises(ont.SettingsError, match="there is no zone 7") as caught:
                look(attrs.evolve(SPEC, zone=7))
            assert not hasattr(caught.value, "__notes__")
        assert mutations(sent) == []

    def test_another_zone_of_a_federation_is_taken(self, cloud: ont.Cloud, server: Emulator) -> None:
        with server.cloud.lock:
            other = server.cloud.pool(Zone).add(Zone(name="elsewhere"))
        assert cloud.vdcs.plan(attrs.evolve(SPEC, zone=other.id))

    def test_a_limit_that_would_hold_nowhere_is_none(self, cloud: ont.Cloud, sent: list[ont.CallRecord]) -> None:
        with pytest.raises(ont.SettingsError, match="limits nothing"):
            attrs.evolve(SPEC, quota=ont.Quota(floating_ips=2))
        vdc = cloud.vdcs.ensure(SPEC)
        sent.clear()
        with pytest.raises(ont.SettingsError, match="limits nothing"):
            vdc.set_quota(ont.Quota(floating_ips=2))
        assert mutations(sent) == []


class TestQuota:
    def test_one_limit_changes_and_the_others_stay(self, cloud: ont.Cloud, admin: Raw) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        admin("one.group.quota", vdc.id, 'VM=[CPU="4", MEMORY="4096", RUNNING_VMS="7"]')
        after = vdc.set_quota(ont.Quota(cpu=8))
        assert (after.cpu, after.memory_mb, after.running_vms, after.storage_mb) == (8, 4096, 7, 20480)
        assert admin.xml("one.group.info", vdc.id).findtext("VM_QUOTA/VM/RUNNING_VMS") == "7"
        after = vdc.set_quota(ont.Quota(storage_mb=0))
        assert (after.cpu, after.storage_mb, after.images) == (8, 0, ont.Limit.DEFAULT)

    @pytest.mark.parametrize(
        ("limit", "stored"),
        [(0, "0"), (1.5, "1.50"), ("0.25", "0.25"), (ont.Limit.UNLIMITED, "-2"), (ont.Limit.DEFAULT, "-1")],
    )
    def test_every_kind_of_limit_is_stored_as_it_is(
        self, cloud: ont.Cloud, admin: Raw, limit: object, stored: str
    ) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        assert vdc.set_quota(ont.Quota(cpu=limit)).cpu in {limit, Decimal(stored)}  # type: ignore[arg-type]
        assert admin.xml("one.group.info", vdc.id).findtext("VM_QUOTA/VM/CPU") == stored

    def test_what_is_so_already_sends_nothing(self, cloud: ont.Cloud, sent: list[ont.CallRecord]) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        sent.clear()
        vdc.set_quota(SPEC.quota)
        assert mutations(sent) == []

    def test_limits_in_the_units_of_a_marketplace_reach_the_server_exactly(self, cloud: ont.Cloud, admin: Raw) -> None:
        mapper = ont.QuotaMapper({"cpu": "0.5", "ram": 1024, "storage": 1024})
        vdc = cloud.vdcs.ensure(attrs.evolve(SPEC, quota=mapper.quota({"cpu": 3, "ram": 16, "storage": 0.5})))
        held = admin.xml("one.group.info", vdc.id)
        assert held.findtext("VM_QUOTA/VM/CPU") == "1.50"
        assert held.findtext("VM_QUOTA/VM/MEMORY") == "16384"
        assert held.findtext("DATASTORE_QUOTA/DATASTORE/SIZE") == "512"
        assert mapper.amounts(vdc.quota()) == {"cpu": 3, "ram": 16, "storage": Decimal("0.5")}

    def test_two_threads_that_change_two_limits_lose_neither(self, cloud: ont.Cloud) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        changes = [ont.Quota(cpu=n) if n % 2 else ont.Quota(memory_mb=n) for n in range(1, 21)]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(vdc.set_quota, changes))
        after = vdc.quota()
        assert after.cpu in {change.cpu for change in changes}
        assert after.memory_mb in {change.memory_mb for change in changes}
        assert after.storage_mb == 20480

    def test_a_new_datastore_of_a_cluster_gets_the_limit_too(self, cloud: ont.Cloud, admin: Raw) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        added = admin("one.datastore.allocate", "NAME=more\nTYPE=IMAGE_DS\nDS_MAD=dummy\nTM_MAD=dummy", 0)
        assert [str(change) for change in cloud.vdcs.plan(SPEC)] == [
            f"set limit DATASTORE {added}/SIZE: default -> 20480",
            f"set mark of group {vdc.id}: {SPEC.key}",
        ]
        cloud.vdcs.ensure(SPEC)
        assert len(admin.xml("one.group.info", vdc.id).findall("DATASTORE_QUOTA/DATASTORE")) == 2

    def test_what_is_odd_about_one_tenant_hides_no_other(self, cloud: ont.Cloud, admin: Raw) -> None:
        odd, other = (cloud.vdcs.ensure(attrs.evolve(SPEC, name=name, key=name)) for name in ("odd", "other"))
        admin("one.group.quota", odd.id, 'VM=[CPU="3.4e38", MEMORY="0.001", VMS="2.5"]')
        figures = cloud.vdcs.figures()
        assert figures[other.id].quota == other.quota()
        assert figures[odd.id].quota == odd.quota()
        assert (odd.quota().cpu, odd.quota().vms) == (Decimal(339999995214436424907732413799364296704), 2)
        assert odd.set_quota(ont.Quota(storage_mb=7)).cpu == odd.quota().cpu
        assert odd.set_quota(odd.quota()) == odd.quota()

    @pytest.mark.parametrize(("calls", "noted"), [(1, False), (2, True)])
    def test_a_tenant_is_called_half_changed_only_when_something_was_changed(
        self, cloud: ont.Cloud, server: Emulator, calls: int, noted: bool
    ) -> None:
        cloud.vdcs.ensure(SPEC)
        wanted = attrs.evolve(SPEC, clusters=(0, 100), quota=ont.Quota(cpu=9))
        refused = "one.vdc.addcluster" if calls == 1 else "one.group.quota"
        server.faults.arm(Fault(kind=FaultKind.REFUSE, method=refused))
        with pytest.raises(ont.InternalError) as caught:
            cloud.vdcs.ensure(wanted)
        assert any("stands half changed" in note for note in getattr(caught.value, "__notes__", ())) is noted
        cloud.vdcs.ensure(wanted)
        assert not cloud.vdcs.plan(wanted)


class TestFinding:
    def test_by_id_by_name_and_by_key(self, cloud: ont.Cloud) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        assert cloud.vdcs.get(vdc.id) == cloud.vdcs.find("acme") == cloud.vdcs.find_key("key-of-acme") == vdc
        assert cloud.vdcs.list() == (vdc,)
        assert cloud.vdcs.find("nobody") is None
        assert cloud.vdcs.find_key("nothing") is None
        with pytest.raises(ont.NotFound):
            cloud.vdcs.get(4242)

    def test_a_repr_calls_nothing(self, cloud: ont.Cloud, sent: list[ont.CallRecord]) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        plan = cloud.vdcs.plan(SPEC)
        sent.clear()
        for value in (cloud, vdc, plan, SPEC):
            repr(value)
            getattr(value, "_repr_html_", str)()
        assert sent == []


class TestUsage:
    def test_of_all_tenants_is_one_call(self, cloud: ont.Cloud, admin: Raw, sent: list[ont.CallRecord]) -> None:
        admin("one.group.allocate", "foreign")
        vdcs = [cloud.vdcs.ensure(attrs.evolve(SPEC, name=name, key=name)) for name in ("a", "b", "c")]
        sent.clear()
        assert cloud.vdcs.usage() == {vdc.id: ont.Usage() for vdc in vdcs}
        assert [record.method for record in sent] == ["one.grouppool.info"]


class TestDelete:
    def test_leaves_the_cloud_as_it_was(self, cloud: ont.Cloud, server: Emulator) -> None:
        before = snapshot(server)
        vdc = cloud.vdcs.ensure(SPEC)
        vdc.delete()
        assert snapshot(server) == before
        vdc.delete()
        cloud.vdcs.delete(key=SPEC.key)
        assert snapshot(server) == before

    def test_what_members_have_is_named_and_nothing_is_removed(
        self, cloud: ont.Cloud, server: Emulator, admin: Raw, login: Callable[[int, str], Raw]
    ) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        member = login(vdc.id, "alice")
        image = member("one.image.allocate", "NAME=data\nSIZE=100\nTYPE=DATABLOCK", 1)
        template = member("one.template.allocate", "NAME=small\nCPU=1\nMEMORY=128")
        vm = member("one.template.instantiate", template, "web", True, "", False)
        server.settle()
        before = snapshot(server)
        with pytest.raises(ont.NotEmpty, match="remove these first") as caught:
            vdc.delete()
        assert set(caught.value.leftovers) == {
            "user 2 (alice)",
            f"image {image} (data)",
            f"VM template {template} (small)",
            f"VM {vm} (web)",
        }
        assert snapshot(server) == before

    def test_a_half_made_tenant_is_removed_by_its_key(self, cloud: ont.Cloud, admin: Raw, server: Emulator) -> None:
        before = snapshot(server)
        anchor = "NAME=acme\nTENANCY_KEY=key-of-acme\nTENANCY_ROLE=vdc\nTENANCY_VERSION=1\nTENANCY_GROUP_AFTER=1"
        admin("one.vdc.allocate", anchor, -1)
        admin("one.group.allocate", "acme")
        cloud.vdcs.delete(key=SPEC.key)
        assert snapshot(server) == before


def test_a_server_that_withholds_networks_itself_needs_no_rule_removed(sent: list[ont.CallRecord]) -> None:
    with (
        Emulator(config=Config(default_vdc_cluster_net_acl="-"), populated=True) as server,
        ont.connect(server.endpoint, server.auth, retry=QUICK, on_call=sent.append) as cloud,
    ):
        cloud.vdcs.ensure(SPEC)
        assert "one.acl.delrule" not in mutations(sent)


def test_the_library_never_says_the_name_of_a_marketplace() -> None:
    source = Path(ont.__file__).parent
    assert [path for path in source.rglob("*.py") if "waldur" in path.read_text().lower()] == []
