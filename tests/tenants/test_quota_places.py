"""Limits of storage while datastores come and go: as rows of OpenNebula, as `quota()`, and as usage."""

from collections.abc import Callable

import attrs
import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from tenants.pace import QUICK
from tenants.raw import Raw
from tenants.snapshot import snapshot


OF_CLUSTER_0, OF_CLUSTER_100 = 1, 100
"""Image datastores of the populated server."""
SPEC = ont.VdcSpec(name="acme", key="acme", clusters=(0, 100), quota=ont.Quota(cpu=4, storage_mb=1000))
CPU_ALONE = ont.Quota(cpu=8)
Login = Callable[[int, str], Raw]


def new_datastore(admin: Raw, name: str = "more", cluster: int = 0) -> int:
    ident: int = admin("one.datastore.allocate", f"NAME={name}\nTYPE=IMAGE_DS\nDS_MAD=dummy\nTM_MAD=dummy", cluster)
    return ident


def new_image(member: Raw, datastore: int, size_mb: int = 100) -> None:
    member("one.image.allocate", f"NAME=i{datastore}\nTYPE=DATABLOCK\nSIZE={size_mb}", datastore)


def rows(admin: Raw, vdc: ont.Vdc) -> dict[int, str]:
    """The limit of storage in each row that OpenNebula has for a tenant, by datastore."""
    held = admin.xml("one.group.info", vdc.id).iterfind("DATASTORE_QUOTA/DATASTORE")
    return {int(row.findtext("ID") or ""): row.findtext("SIZE") or "" for row in held}


def by_set_quota(cloud: ont.Cloud, spec: ont.VdcSpec) -> ont.Quota:
    vdc = cloud.vdcs.find_key(spec.key)
    assert vdc is not None
    return vdc.set_quota(spec.quota)


def by_ensure(cloud: ont.Cloud, spec: ont.VdcSpec) -> ont.Quota:
    quota = cloud.vdcs.ensure(spec).quota()
    assert not cloud.vdcs.plan(spec)
    return quota


Change = Callable[[ont.Cloud, ont.VdcSpec], ont.Quota]
either_way = pytest.mark.parametrize("change", [by_set_quota, by_ensure])


def assert_limit(cloud: ont.Cloud, vdc: ont.Vdc, storage_mb: object) -> None:
    assert vdc.quota().storage_mb == storage_mb
    assert cloud.vdcs.figures()[vdc.id].quota.storage_mb == storage_mb


class TestADatastoreThatIsGone:
    @either_way
    @pytest.mark.parametrize("leave", ["one.cluster.deldatastore", "one.datastore.delete"])
    def test_has_no_say_in_what_the_limit_is(self, cloud: ont.Cloud, admin: Raw, leave: str, change: Change) -> None:
        gone = new_datastore(admin)
        vdc = cloud.vdcs.ensure(SPEC)
        assert rows(admin, vdc) == dict.fromkeys((OF_CLUSTER_0, OF_CLUSTER_100, gone), "1000")
        admin(leave, *((gone,) if "delete" in leave else (0, gone)))
        assert_limit(cloud, vdc, 1000)
        smaller = attrs.evolve(SPEC, quota=ont.Quota(cpu=4, storage_mb=500))
        assert change(cloud, smaller).storage_mb == 500
        assert rows(admin, vdc) == dict.fromkeys((OF_CLUSTER_0, OF_CLUSTER_100), "500")
        assert_limit(cloud, vdc, 500)

    @either_way
    def test_still_counts_while_images_are_in_it(
        self, cloud: ont.Cloud, admin: Raw, login: Login, change: Change
    ) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        new_image(login(vdc.id, "alice"), OF_CLUSTER_100)
        admin("one.cluster.deldatastore", 100, OF_CLUSTER_100)
        assert change(cloud, attrs.evolve(SPEC, quota=ont.Quota(storage_mb=500))).storage_mb == 500
        assert rows(admin, vdc) == {OF_CLUSTER_0: "500", OF_CLUSTER_100: "-1"}
        assert_limit(cloud, vdc, 500)
        assert vdc.usage().storage_mb == cloud.vdcs.usage()[vdc.id].storage_mb == 100
        assert cloud.vdcs.figures()[vdc.id].unlimited_datastores == (OF_CLUSTER_100,)

    @either_way
    def test_gives_the_limit_to_the_one_in_its_place(self, cloud: ont.Cloud, admin: Raw, change: Change) -> None:
        first = new_datastore(admin, "first")
        admin("one.cluster.deldatastore", 0, OF_CLUSTER_0)
        spec = attrs.evolve(SPEC, clusters=(0,))
        vdc = cloud.vdcs.ensure(spec)
        second = new_datastore(admin, "second")
        admin("one.datastore.delete", first)
        change(cloud, spec)
        assert rows(admin, vdc) == {second: "1000"}
        assert_limit(cloud, vdc, 1000)

    def test_leaves_the_limit_where_it_was_when_there_is_no_other(self, cloud: ont.Cloud, admin: Raw) -> None:
        vdc = cloud.vdcs.ensure(attrs.evolve(SPEC, clusters=(0,)))
        admin("one.cluster.deldatastore", 0, OF_CLUSTER_0)
        cloud.vdcs.ensure(attrs.evolve(SPEC, clusters=(0,), quota=CPU_ALONE))
        assert rows(admin, vdc) == {OF_CLUSTER_0: "1000"}
        added = new_datastore(admin)
        cloud.vdcs.ensure(attrs.evolve(SPEC, clusters=(0,), quota=CPU_ALONE))
        assert rows(admin, vdc) == {added: "1000"}
        assert_limit(cloud, vdc, 1000)


class TestOtherClusters:
    def test_fewer(self, cloud: ont.Cloud, admin: Raw) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        for quota, held in ((ont.Quota(storage_mb=300), 300), (CPU_ALONE, 300)):
            by_ensure(cloud, attrs.evolve(SPEC, clusters=(0,), quota=quota))
            assert rows(admin, vdc) == {OF_CLUSTER_0: str(held)}
            assert_limit(cloud, vdc, held)

    def test_fewer_without_a_word_of_storage_and_back(self, cloud: ont.Cloud, admin: Raw) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        by_ensure(cloud, attrs.evolve(SPEC, clusters=(0,), quota=CPU_ALONE))
        assert_limit(cloud, vdc, 1000)
        assert vdc.set_quota(ont.Quota(storage_mb=300)).storage_mb == 300
        assert_limit(cloud, vdc, 300)
        by_ensure(cloud, attrs.evolve(SPEC, quota=CPU_ALONE))
        assert rows(admin, vdc) == dict.fromkeys((OF_CLUSTER_0, OF_CLUSTER_100), "300")
        assert_limit(cloud, vdc, 300)

    @pytest.mark.parametrize("quota", [SPEC.quota, CPU_ALONE, ont.Quota()])
    def test_more(self, cloud: ont.Cloud, admin: Raw, login: Login, quota: ont.Quota) -> None:
        vdc = cloud.vdcs.ensure(attrs.evolve(SPEC, clusters=(0,)))
        wider = attrs.evolve(SPEC, quota=quota)
        assert f"set limit DATASTORE {OF_CLUSTER_100}/SIZE: default -> 1000" in map(str, cloud.vdcs.plan(wider))
        by_ensure(cloud, wider)
        assert rows(admin, vdc) == dict.fromkeys((OF_CLUSTER_0, OF_CLUSTER_100), "1000")
        assert_limit(cloud, vdc, 1000)
        _, text = login(vdc.id, "alice").refused(
            "one.image.allocate", "NAME=big\nTYPE=DATABLOCK\nSIZE=5000", OF_CLUSTER_100
        )
        assert "limit of 1000 reached" in text


class TestADatastoreThatIsNew:
    @pytest.mark.parametrize("quota", [SPEC.quota, CPU_ALONE])
    def test_gets_every_limit_from_the_next_ensure(self, cloud: ont.Cloud, admin: Raw, quota: ont.Quota) -> None:
        vdc = cloud.vdcs.ensure(attrs.evolve(SPEC, clusters=(0,)))
        vdc.set_quota(ont.Quota(images=7))
        added = new_datastore(admin)
        spec = attrs.evolve(SPEC, clusters=(0,), quota=quota)
        shown = [str(change) for change in cloud.vdcs.plan(spec)]
        assert f"set limit DATASTORE {added}/SIZE: default -> 1000" in shown
        assert f"set limit DATASTORE {added}/IMAGES: default -> 7" in shown
        by_ensure(cloud, spec)
        assert rows(admin, vdc) == dict.fromkeys((OF_CLUSTER_0, added), "1000")
        assert_limit(cloud, vdc, 1000)
        assert vdc.quota().images == 7

    def test_gets_those_too_that_set_quota_does_not_name(self, cloud: ont.Cloud, admin: Raw) -> None:
        vdc = cloud.vdcs.ensure(attrs.evolve(SPEC, clusters=(0,), quota=ont.Quota(storage_mb=1000, images=7)))
        added = new_datastore(admin)
        quota = vdc.set_quota(ont.Quota(storage_mb=2000))
        assert quota.storage_mb == 2000
        assert quota.images == 7
        assert rows(admin, vdc) == dict.fromkeys((OF_CLUSTER_0, added), "2000")
        held = admin.xml("one.group.info", vdc.id).iterfind("DATASTORE_QUOTA/DATASTORE/IMAGES")
        assert [item.text for item in held] == ["7", "7"]

    def test_is_shown_by_the_figures_once_something_is_in_it(
        self, cloud: ont.Cloud, admin: Raw, login: Login, sent: list[ont.CallRecord]
    ) -> None:
        vdc = cloud.vdcs.ensure(attrs.evolve(SPEC, clusters=(0,)))
        other = cloud.vdcs.ensure(attrs.evolve(SPEC, name="other", key="other", quota=CPU_ALONE))
        admin("one.cluster.adddatastore", 0, OF_CLUSTER_100)
        new_image(login(vdc.id, "alice"), OF_CLUSTER_100, 5000)
        new_image(login(other.id, "bob"), OF_CLUSTER_100, 5000)
        sent.clear()
        figures = cloud.vdcs.figures()
        assert [record.method for record in sent] == ["one.grouppool.info"]
        assert figures[vdc.id].unlimited_datastores == (OF_CLUSTER_100,)
        assert figures[vdc.id].usage.storage_mb == 5000
        assert figures[other.id].unlimited_datastores == ()
        vdc.set_quota(ont.Quota(storage_mb=1000))
        assert cloud.vdcs.figures()[vdc.id].unlimited_datastores == ()

    def test_stays_without_a_limit_where_the_tenant_has_none(
        self, cloud: ont.Cloud, admin: Raw, sent: list[ont.CallRecord]
    ) -> None:
        spec = attrs.evolve(SPEC, clusters=(0,), quota=CPU_ALONE)
        vdc = cloud.vdcs.ensure(spec)
        admin("one.group.quota", vdc.id, f'DATASTORE=[ID="{OF_CLUSTER_0}", SIZE="10"]')
        new_datastore(admin)
        assert not cloud.vdcs.plan(spec)
        sent.clear()
        cloud.vdcs.ensure(spec)
        assert "one.datastorepool.info" not in [record.method for record in sent]
        assert rows(admin, vdc) == {OF_CLUSTER_0: "10"}
        assert_limit(cloud, vdc, 10)


def test_other_external_networks_get_the_limit_that_there_is(cloud: ont.Cloud, admin: Raw) -> None:
    spec = attrs.evolve(SPEC, external_networks=(0,), quota=ont.Quota(floating_ips=2))
    vdc = cloud.vdcs.ensure(spec)
    other = admin(
        "one.vn.allocate", 'NAME=second\nVN_MAD=bridge\nBRIDGE=br1\nAR=[TYPE=IP4, IP="198.51.100.1", SIZE=9]', 0
    )
    cloud.vdcs.ensure(attrs.evolve(spec, external_networks=(other,), quota=CPU_ALONE))
    held = admin.xml("one.group.info", vdc.id).iterfind("NETWORK_QUOTA/NETWORK")
    assert {row.findtext("ID"): row.findtext("LEASES") for row in held} == {str(other): "2"}
    assert vdc.quota().floating_ips == 2


def test_a_mark_of_before_that_names_no_datastores_is_understood(cloud: ont.Cloud, admin: Raw) -> None:
    gone = new_datastore(admin)
    vdc = cloud.vdcs.ensure(SPEC)
    admin("one.group.update", vdc.id, "TENANCY_DATASTORES=clusters", 1)
    admin("one.datastore.delete", gone)
    assert_limit(cloud, vdc, 1000)
    assert vdc.set_quota(ont.Quota(storage_mb=500)).storage_mb == 500
    assert rows(admin, vdc) == dict.fromkeys((OF_CLUSTER_0, OF_CLUSTER_100), "500")
    assert_limit(cloud, vdc, 500)


def prepared() -> Emulator:
    """A server with a tenant from whose clusters a datastore has gone, and to which another has come."""
    with Emulator(populated=True) as server, ont.connect(server.endpoint, server.auth, retry=QUICK) as cloud:
        cloud.vdcs.ensure(SPEC)
        admin = Raw(server.endpoint, server.auth)
        admin("one.cluster.deldatastore", 100, OF_CLUSTER_100)
        new_datastore(admin)
    return server


@pytest.mark.parametrize("kind", [FaultKind.REFUSE, FaultKind.LOSE_REPLY])
@either_way
def test_whatever_call_is_the_last_no_limit_is_read_that_nobody_set(change: Change, kind: FaultKind) -> None:
    wanted, before = attrs.evolve(SPEC, quota=ont.Quota(cpu=4, storage_mb=500)), prepared()
    with before.copy() as server, ont.connect(server.endpoint, server.auth, retry=QUICK) as cloud:
        change(cloud, wanted)
        calls, expected = len(server.calls), snapshot(server)
    for index in range(calls):
        with before.copy() as server, ont.connect(server.endpoint, server.auth, retry=QUICK) as cloud:
            server.faults.arm(Fault(kind=kind, call=index, onwards=True, times=None))
            with pytest.raises(ont.TenancyError):
                change(cloud, wanted)
            server.faults.arm()
            (figures,) = cloud.vdcs.figures().values()
            assert figures.quota.storage_mb in {1000, 500, ont.Limit.DEFAULT}
            change(cloud, wanted)
            assert snapshot(server) == expected
