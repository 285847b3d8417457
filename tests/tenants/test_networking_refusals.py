"""What a tenant's network cannot be is said before anything changes, and what is attached to it is not lost."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

import opennebula_tenancy as ont
from opennebula_tenancy import waiting
from opennebula_tenancy.emulator import Emulator
from tenants.networks import (
    PROVIDER,
    gate,
    machine,
    mutations,
    network,
    new_server,
    own,
    router_machines,
    tenant,
    with_network,
)
from tenants.raw import Raw
from tenants.snapshot import snapshot


SPEC = tenant()
BARE = attrs.evolve(SPEC, network=None, external_networks=(PROVIDER,))
NO_NETWORK = "TENANCY_NETWORK_ID=none\nTENANCY_SECURITY_GROUP_ID=none\nTENANCY_ROUTER_ID=none"
FOREIGN = 'NAME="{}"\nVN_MAD=dummy\nBRIDGE=br9\nAR=[TYPE=IP4,IP="{}",SIZE={}]'
Login = Callable[[int, str], Raw]


@pytest.fixture(name="server")
def _server() -> Iterator[Emulator]:
    with new_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often: asynchronous work is done at the next call."""
    monkeypatch.setattr(waiting, "_SHORTEST_S", 0.001)


class TestProblems:
    """What cannot be is said, all at once, before anything is changed."""

    @pytest.fixture(autouse=True)
    def _others(self, admin: Raw, server: Emulator) -> None:
        admin("one.vn.allocate", FOREIGN.format("foreign", "10.7.1.100", 10), 0)
        admin("one.vn.allocate", FOREIGN.format("elsewhere", "192.0.2.1", 10), 100)
        server.settle()

    @pytest.mark.parametrize(
        ("asked", "problems"),
        [
            ({"external_network": 99}, ["network.external_network: there is no network 99"]),
            ({"external_network": 2}, ["network.external_network: network 2 is in none of the clusters 0, so that .*"]),
            ({"router_template": 99}, ["network.router_template: there is no VM template 99"]),
            (
                {"router_template": 0},
                [r"network.router_template: VM template 0 \(debian-12\) is not for virtual routers.*"],
            ),
            ({"subnet": "10.7.1.0/24"}, [r"network.subnet: 10.7.1.0/24 overlaps .* network 1 \(foreign\)"]),
            ({"subnet": "10.7.0.0/16"}, [r"network.subnet: 10.7.0.0/16 overlaps .* network 1 \(foreign\)"]),
            ({"subnet": "203.0.113.0/28"}, [r"network.subnet: .* overlaps .* network 0 \(provider\)"]),
            (
                {"subnet": "10.5.5.0/24", "pool": ont.SubnetPool("10.0.0.0/8", exclude=("10.5.0.0/16",))},
                ["network.subnet: 10.5.5.0/24 overlaps with 10.5.0.0/16, which is excluded"],
            ),
            ({"rules": (ont.SecurityRule("inbound", "tcp", network=77),)}, ["network.rules: there is no network 77"]),
            (
                {
                    "external_network": 99,
                    "router_template": 0,
                    "subnet": "10.7.1.0/24",
                    "rules": (ont.SecurityRule("inbound", "tcp", network=77),),
                },
                [
                    *("network.external_network: .*", "network.rules: .*", "network.router_template: .*"),
                    "network.subnet: .*",
                ],
            ),
        ],
    )
    def test_of_the_spec(
        self, cloud: ont.Cloud, sent: list[ont.CallRecord], asked: dict[str, Any], problems: list[str]
    ) -> None:
        spec = attrs.evolve(with_network(**asked), quota=ont.Quota(cpu=4))
        for work in (cloud.vdcs.plan, cloud.vdcs.ensure):
            with pytest.raises(ont.SettingsError) as caught:
                work(spec)
            assert len(caught.value.problems) == len(problems), caught.value.problems
            assert all(re.fullmatch(*pair) for pair in zip(problems, caught.value.problems, strict=True))
        assert mutations(sent) == []

    def test_of_clusters_and_of_the_network_come_together(self, cloud: ont.Cloud) -> None:
        with pytest.raises(ont.SettingsError) as caught:
            cloud.vdcs.plan(attrs.evolve(SPEC, clusters=(0, 55), network=network(router_template=99)))
        assert [problem.partition(":")[0] for problem in caught.value.problems] == [
            "clusters",
            "network.router_template",
        ]

    def test_a_subnet_of_another_tenant(self, cloud: ont.Cloud, sent: list[ont.CallRecord]) -> None:
        other = cloud.vdcs.ensure(tenant("other"))
        sent.clear()
        with pytest.raises(ont.SettingsError, match=rf"network {own(other).id} \(other_internal\)"):
            cloud.vdcs.ensure(with_network(subnet="10.0.0.0/16"))
        assert mutations(sent) == []

    def test_a_subnet_that_changes(self, cloud: ont.Cloud, sent: list[ont.CallRecord]) -> None:
        cloud.vdcs.ensure(SPEC)
        sent.clear()
        with pytest.raises(ont.SettingsError, match=r"has the subnet 10\.0\.1\.0/24, and keeps it"):
            cloud.vdcs.ensure(with_network(subnet="10.0.2.0/24"))
        assert not cloud.vdcs.plan(with_network(subnet="10.0.1.0/24"))
        assert mutations(sent) == []

    def test_no_subnet_is_left(self, cloud: ont.Cloud, sent: list[ont.CallRecord]) -> None:
        pool = ont.SubnetPool("10.7.1.0/24", prefix=24, skip_base=False)
        with pytest.raises(ont.PoolExhausted, match=r"no /24 is free in the subnet pool 10\.7\.1\.0/24"):
            cloud.vdcs.ensure(with_network(pool=pool))
        assert mutations(sent) == []

    def test_a_name_that_is_taken(self, cloud: ont.Cloud, admin: Raw, sent: list[ont.CallRecord]) -> None:
        admin("one.vn.allocate", FOREIGN.format("acme_internal", "172.16.0.1", 5), 0)
        with pytest.raises(ont.Conflict, match="the name acme_internal is taken by network 3"):
            cloud.vdcs.ensure(SPEC)
        assert mutations(sent) == []

    def test_the_name_of_its_security_group_that_is_taken(self, cloud: ont.Cloud, admin: Raw, server: Emulator) -> None:
        admin("one.secgroup.allocate", "NAME=acme_default")
        before = snapshot(server)
        with pytest.raises(ont.Conflict, match="security group acme_default"):
            cloud.vdcs.ensure(SPEC)
        assert snapshot(server) == before


class TestWhatIsAttached:
    """Machines that would lose their network are named, and nothing is destroyed."""

    def test_a_machine_of_the_tenant_keeps_the_tenant(self, cloud: ont.Cloud, server: Emulator, login: Login) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        member = login(vdc.id, "alice")
        vm = machine(member, own(vdc).id)
        server.settle()
        before = snapshot(server)
        with pytest.raises(ont.NotEmpty, match=rf"VM {vm} \(web\).* nothing was deleted") as caught:
            vdc.delete()
        assert f"VM {vm} (web)" in caught.value.leftovers
        with pytest.raises(ont.NotEmpty, match=rf"still has VM {vm} \(web\) attached"):
            cloud.vdcs.ensure(BARE)
        assert snapshot(server) == before

    def test_a_machine_of_the_tenant_goes_with_it_where_that_is_asked_for(
        self, cloud: ont.Cloud, server: Emulator, admin: Raw, login: Login
    ) -> None:
        before = snapshot(server)
        vdc = cloud.vdcs.ensure(SPEC)
        member = login(vdc.id, "alice")
        vm = machine(member, own(vdc).id)
        template = int(member.xml("one.templatepool.info", -3, -1, -1)[0].findtext("ID") or "")
        member("one.template.delete", template, False)
        admin("one.user.chgrp", int(member.xml("one.user.info", -1).findtext("ID") or ""), 1)
        vdc.delete(terminate_vms=True)
        assert admin.xml("one.vm.info", vm, False).findtext("STATE") == "6"
        admin("one.user.delete", 2)
        assert snapshot(server) == before

    @pytest.mark.parametrize("terminate_vms", [False, True])
    def test_a_machine_of_somebody_else_keeps_the_tenant_in_any_case(
        self, cloud: ont.Cloud, server: Emulator, admin: Raw, *, terminate_vms: bool
    ) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        vm = machine(admin, own(vdc).id, "spy")
        server.settle()
        before = snapshot(server)
        with pytest.raises(ont.NotEmpty, match=rf"VM {vm} \(spy\)"):
            vdc.delete(terminate_vms=terminate_vms)
        with pytest.raises(ont.NotEmpty, match=rf"VM {vm} \(spy\)"):
            cloud.vdcs.ensure(BARE)
        assert snapshot(server) == before

    def test_a_router_machine_of_another_tenant_is_somebody_elses(
        self, cloud: ont.Cloud, server: Emulator, admin: Raw
    ) -> None:
        vdc, other = cloud.vdcs.ensure(SPEC), cloud.vdcs.ensure(tenant("other"))
        admin("one.vrouter.attachnic", gate(other).id, f'NIC=[NETWORK_ID="{own(vdc).id}"]')
        server.settle()
        before = snapshot(server)
        for work in (vdc.delete, lambda: cloud.vdcs.ensure(BARE)):
            with pytest.raises(ont.NotEmpty, match=rf"VM {gate(other).vm_ids[0]} \(other_router_vm\)"):
                work()
        assert snapshot(server) == before

    @pytest.mark.parametrize(
        ("taking", "name"),
        [
            (lambda admin, ident: admin("one.vn.hold", ident, 'LEASES=[IP="10.0.1.9"]'), "the held address 10.0.1.9"),
            (lambda admin, ident: admin("one.vn.reserve", ident, "NAME=part\nSIZE=5"), "a reservation of network"),
        ],
    )
    def test_addresses_that_are_held_or_reserved_keep_the_tenant(
        self, cloud: ont.Cloud, admin: Raw, taking: Callable[[Raw, int], object], name: str
    ) -> None:
        vdc = cloud.vdcs.ensure(with_network(vlan_id=50))
        taking(admin, own(vdc).id)
        with pytest.raises(ont.NotEmpty, match=name):
            vdc.delete()
        assert gate(vdc).is_running

    def test_a_machine_that_goes_slowly_is_waited_for(self, cloud: ont.Cloud, server: Emulator, admin: Raw) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        server.cloud.driver_actions["cancel"] = 0.3
        vdc.delete()
        assert [item.findtext("NAME") for item in admin.xml("one.vnpool.info", -2, -1, -1)] == ["provider"]
        assert router_machines(admin) == []
