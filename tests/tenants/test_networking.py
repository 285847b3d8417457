"""A tenant's network, router and rules as the library makes, changes and removes them, looked at from outside."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import attrs
import pytest

import opennebula_tenancy as ont
from opennebula_tenancy import waiting
from opennebula_tenancy.emulator import Emulator
from opennebula_tenancy.emulator.secgroups import SecurityGroup
from tenants.networks import (
    KEY,
    PING,
    POLLS,
    PROVIDER,
    SSH,
    connect,
    mutations,
    network,
    new_server,
    router_machines,
    tenant,
)
from tenants.raw import Raw
from tenants.snapshot import snapshot


SPEC = tenant()
BARE = attrs.evolve(SPEC, network=None, external_networks=(PROVIDER,))
NO_NETWORK = "TENANCY_NETWORK_ID=none\nTENANCY_SECURITY_GROUP_ID=none\nTENANCY_ROUTER_ID=none"
Login = Callable[[int, str], Raw]


@pytest.fixture(name="server")
def _server() -> Iterator[Emulator]:
    with new_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often: asynchronous work is done at the next call."""
    monkeypatch.setattr(waiting, "_SHORTEST_S", 0.001)


def with_network(**changes: Any) -> ont.VdcSpec:
    return attrs.evolve(SPEC, network=network(**changes))


def own(vdc: ont.Vdc) -> ont.Network:
    found = vdc.network
    assert found is not None
    return found


def gate(vdc: ont.Vdc) -> ont.Router:
    found = vdc.router
    assert found is not None
    return found


def texts(root: Any, path: str) -> list[str | None]:
    return [item.text for item in root.iterfind(path)]


def machine(member: Raw, network_id: int, name: str = "web") -> int:
    """A VM that a member of a tenant makes in a network."""
    template = member("one.template.allocate", f"NAME={name}\nCPU=0.1\nMEMORY=64")
    return int(member("one.template.instantiate", template, name, False, f'NIC=[NETWORK_ID="{network_id}"]', False))


class TestPlan:
    @pytest.mark.parametrize(
        ("changes", "note"),
        [
            ({"vn_mad": "bridge", "bridge": "br0", "phydev": None}, "on the bridge br0 reach each other"),
            ({"vlan_id": 77}, "with the VLAN id 77 over eth0 reach each other"),
        ],
    )
    def test_says_what_tenants_would_not_be_isolated_on(
        self, cloud: ont.Cloud, changes: dict[str, Any], note: str
    ) -> None:
        assert any(note in said for said in cloud.vdcs.plan(with_network(**changes)).notes)
        assert not any("reach each other" in said for said in cloud.vdcs.plan(SPEC).notes)

    def test_names_every_change_and_makes_none(
        self, cloud: ont.Cloud, server: Emulator, sent: list[ont.CallRecord]
    ) -> None:
        before = snapshot(server)
        plan = cloud.vdcs.plan(SPEC)
        assert mutations(sent) == []
        assert snapshot(server) == before
        networking = [str(change) for change in plan if "acme_" in str(change)]
        assert sorted(networking) == sorted(
            [
                "create security group acme_default: inbound tcp 22, inbound icmp type 8, outbound all",
                "create network acme_internal: 10.0.1.0/24",
                "set security group of network acme_internal",
                "add network acme_internal to VDC acme",
                "add right of group acme to use security group acme_default",
                "create router acme_router: to network 0",
                "start 1 VM of router acme_router",
            ]
        )
        assert str(plan.changes[-1]) == "set mark of group acme: key-of-acme"

    def test_a_second_run_finds_nothing_to_do(self, cloud: ont.Cloud, sent: list[ont.CallRecord]) -> None:
        first = cloud.vdcs.ensure(SPEC)
        sent.clear()
        assert cloud.vdcs.ensure(SPEC) == first
        assert mutations(sent) == []
        assert "one.vnpool.info" not in [record.method for record in sent]
        assert not cloud.vdcs.plan(SPEC)

    def test_of_a_change_says_what_is_and_what_will_be(self, cloud: ont.Cloud) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        plan = cloud.vdcs.plan(with_network(rules=(SSH,), dns="1.1.1.1", mtu=1400))
        network_id, group = own(vdc).id, own(vdc).security_groups[0]
        router, (vm,) = gate(vdc).id, gate(vdc).vm_ids
        before = "inbound tcp 22, inbound icmp type 8, outbound all"
        assert [str(change) for change in plan] == [
            f"set rules of security group {group} (acme_default): {before} -> inbound tcp 22, outbound all",
            f"set DNS of network {network_id} (acme_internal): 8.8.8.8 -> 1.1.1.1",
            f"set MTU of network {network_id} (acme_internal): 1400",
            f"set GUEST_MTU of network {network_id} (acme_internal): 1400",
            f"set name servers of VM {vm} of router {router} (acme_router): 8.8.8.8 -> 1.1.1.1",
        ]

    def test_notes_that_a_common_bridge_isolates_nobody(self, cloud: ont.Cloud) -> None:
        notes = cloud.vdcs.plan(with_network(vn_mad="bridge", phydev=None, bridge="br0")).notes
        assert any("tenants are not isolated on it" in note for note in notes)

    def test_notes_that_a_network_keeps_its_driver(self, cloud: ont.Cloud) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        plan = cloud.vdcs.plan(with_network(vn_mad="802.1Q"))
        assert not plan
        assert any(f"network {own(vdc).id} was made with the driver vxlan" in note for note in plan.notes)

    def test_a_tenant_tells_each_step_of_its_network(self, cloud: ont.Cloud) -> None:
        steps: list[ont.Step] = []
        cloud.vdcs.ensure(SPEC, progress=steps.append)
        assert [step.change for step in steps] == list(steps_of(cloud, steps))
        assert {"security group", "network", "router"} <= {step.change.subject.rsplit(" ", 1)[0] for step in steps}


def steps_of(cloud: ont.Cloud, steps: list[ont.Step]) -> Iterator[ont.Change]:
    """What a plan for a tenant like the one that was made would say."""
    cloud.vdcs.delete(key=KEY)
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    yield from cloud.vdcs.plan(SPEC).changes


class TestEnsure:
    def test_costs_twenty_six_calls_and_no_pool_besides_the_scan_and_its_verification(
        self, cloud: ont.Cloud, sent: list[ont.CallRecord]
    ) -> None:
        cloud.vdcs.ensure(SPEC)
        methods = [record.method for record in sent]
        assert len([method for method in methods if method not in POLLS]) == 26
        assert methods.count("one.vnpool.info") == 2
        assert len([method for method in methods if method in POLLS]) == 3

    def test_makes_a_network_that_only_the_tenant_has(self, cloud: ont.Cloud, admin: Raw) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        made = admin.xml("one.vn.info", own(vdc).id, False)
        group = made.findtext("TEMPLATE/SECURITY_GROUPS") or ""
        assert own(vdc) == ont.Network(
            id=int(made.findtext("ID") or ""),
            name="acme_internal",
            subnet=IPv4Network("10.0.1.0/24"),
            gateway=IPv4Address("10.0.1.1"),
            clusters=frozenset({0}),
            security_groups=(int(group),),
            vn_mad="vxlan",
            vlan_id=made.findtext("VLAN_ID") or "",
            dns="8.8.8.8",
            mtu=None,
            used=1,
            state="READY",
        )
        assert own(vdc).security_groups != (0,)
        assert own(vdc).vlan_id
        assert (made.findtext("PHYDEV"), made.findtext("GID")) == ("eth0", "0")
        assert [made.findtext(f"AR_POOL/AR/{name}") for name in ("IP", "SIZE", "TYPE")] == ["10.0.1.1", "254", "IP4"]
        assert made.findtext("TEMPLATE/NETWORK_MASK") == "255.255.255.0"
        held = admin.xml("one.vdc.info", vdc.vdc_id)
        assert texts(held, "VNETS/VNET/VNET_ID") == [made.findtext("ID")]

    def test_makes_a_router_on_the_gateways_address_with_a_leg_outside(self, cloud: ont.Cloud, admin: Raw) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        (vm,) = router_machines(admin)
        router = gate(vdc)
        assert (router.name, router.vm_ids, router.is_running) == ("acme_router", (int(vm.findtext("ID")),), True)
        assert (router.internal_address, router.external_addresses) == ("10.0.1.1", ("203.0.113.10",))
        assert texts(vm, "TEMPLATE/NIC/IP") == ["10.0.1.1", "203.0.113.10"]
        assert texts(vm, "TEMPLATE/NIC/NETWORK_ID") == [str(own(vdc).id), str(PROVIDER)]
        assert all("0" in (groups or "").split(",") for groups in texts(vm, "TEMPLATE/NIC/SECURITY_GROUPS"))
        assert vm.findtext("GID") == "0"
        assert vdc.usage().floating_ips == 0

    def test_tells_the_router_what_to_do_and_keeps_what_its_template_says(self, cloud: ont.Cloud, admin: Raw) -> None:
        cloud.vdcs.ensure(with_network(dns="9.9.9.9 1.1.1.1"))
        (vm,) = router_machines(admin)
        context = {item.tag: item.text for item in vm.find("TEMPLATE/CONTEXT")}
        assert context["START_SCRIPT"] == "sysctl -w vm.swappiness=10"
        assert context["NETWORK"] == "YES"
        functions = {name[11:]: value for name, value in context.items() if name.startswith("ONEAPP_VNF_")}
        assert functions == {
            "ROUTER4_ENABLED": "YES",
            "ROUTER4_INTERFACES": "eth0 eth1",
            "NAT4_ENABLED": "YES",
            "NAT4_INTERFACES_OUT": "eth1",
            "SDNAT4_ENABLED": "YES",
            "SDNAT4_INTERFACES": "eth1 eth0",
            "DHCP4_ENABLED": "YES",
            "DHCP4_INTERFACES": "eth0",
            "DNS_ENABLED": "YES",
            "DNS_INTERFACES": "eth0",
            "DNS_NAMESERVERS": "9.9.9.9 1.1.1.1",
            "DNS_USE_ROOTSERVERS": "NO",
        }
        assert vm.findtext("USER_TEMPLATE/SCHED_REQUIREMENTS") == "CLUSTER_ID = 0"
        assert (context["ETH0_IP"], context["ETH1_GATEWAY"]) == ("10.0.1.1", "203.0.113.1")

    def test_runs_the_router_where_it_is_told_to(self, cloud: ont.Cloud, admin: Raw) -> None:
        cloud.vdcs.ensure(with_network(sched_requirements="ID = 2"))
        (vm,) = router_machines(admin)
        assert texts(vm, "HISTORY_RECORDS/HISTORY/HID") == ["2"]

    @pytest.mark.parametrize(
        ("asked", "held"),
        [
            ({"vlan_id": 4711}, {"VN_MAD": "vxlan", "PHYDEV": "eth0", "VLAN_ID": "4711"}),
            ({"vn_mad": "802.1Q", "phydev": "bond0", "vlan_id": 50}, {"PHYDEV": "bond0", "VLAN_ID": "50"}),
            ({"vn_mad": "bridge", "bridge": "br7"}, {"VN_MAD": "bridge", "BRIDGE": "br7", "PHYDEV": ""}),
            ({"mtu": 1450}, {"TEMPLATE/MTU": "1450", "TEMPLATE/GUEST_MTU": "1450"}),
            ({"dns": None}, {"TEMPLATE/DNS": None}),
        ],
    )
    def test_makes_the_network_that_is_asked_for(
        self, cloud: ont.Cloud, admin: Raw, asked: dict[str, Any], held: dict[str, str | None]
    ) -> None:
        vdc = cloud.vdcs.ensure(with_network(**asked))
        made = admin.xml("one.vn.info", own(vdc).id, False)
        assert {name: made.findtext(name) for name in held} == held
        assert not cloud.vdcs.plan(with_network(**asked))

    def test_takes_the_lowest_free_subnet_also_of_other_sizes(self, cloud: ont.Cloud) -> None:
        specs = [
            tenant(name, network=network(pool=ont.SubnetPool("10.9.0.0/16", prefix=prefix)))
            for name, prefix in (("a", 24), ("b", 26), ("c", 23), ("d", 26))
        ]
        subnets = [str(own(cloud.vdcs.ensure(spec)).subnet) for spec in specs]
        assert subnets == ["10.9.1.0/24", "10.9.0.64/26", "10.9.2.0/23", "10.9.0.128/26"]

    def test_a_subnet_that_is_asked_for_may_lie_outside_of_the_pool(self, cloud: ont.Cloud) -> None:
        vdc = cloud.vdcs.ensure(with_network(subnet="192.168.50.0/28"))
        assert (str(own(vdc).subnet), gate(vdc).internal_address) == ("192.168.50.0/28", "192.168.50.1")

    def test_adds_a_network_to_a_tenant_that_had_none(
        self, cloud: ont.Cloud, server: Emulator, sent: list[ont.CallRecord]
    ) -> None:
        vdc = cloud.vdcs.ensure(BARE)
        assert (vdc.network, vdc.router, vdc.security_rules()) == (None, None, ())
        assert cloud.vdcs.ensure(SPEC) == vdc
        added = snapshot(server)
        assert gate(vdc).is_running
        assert sorted(map(str, vdc.security_rules())) == ["inbound icmp type 8", "inbound tcp 22", "outbound all"]
        sent.clear()
        assert not cloud.vdcs.plan(SPEC)
        vdc.delete()
        cloud.vdcs.ensure(SPEC)
        assert snapshot(server) == added

    def test_takes_the_network_away_from_a_tenant_that_is_to_have_none(
        self, cloud: ont.Cloud, server: Emulator
    ) -> None:
        cloud.vdcs.ensure(BARE)
        bare = snapshot(server)
        vdc = cloud.vdcs.ensure(SPEC)
        assert [change.subject for change in cloud.vdcs.plan(BARE)] == [
            f"router {gate(vdc).id} (acme_router)",
            f"network {own(vdc).id} (acme_internal)",
            f"security group {own(vdc).security_groups[0]} (acme_default)",
            f"mark of group {vdc.id}",
        ]
        cloud.vdcs.ensure(BARE)
        assert snapshot(server) == bare
        assert not cloud.vdcs.plan(BARE)

    def test_the_network_follows_the_clusters_of_the_tenant(self, cloud: ont.Cloud) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        for clusters in ((0, 100), (100,), (0,)):
            spec = attrs.evolve(SPEC, clusters=clusters)
            cloud.vdcs.ensure(spec)
            assert own(vdc).clusters == frozenset(clusters)
            assert gate(vdc).is_running
            assert not cloud.vdcs.plan(spec)


class TestSeveralRuns:
    @pytest.mark.parametrize("instances", [1, 2])
    def test_for_one_tenant_at_once_make_one_network_and_one_router(
        self, cloud: ont.Cloud, server: Emulator, instances: int
    ) -> None:
        spec = with_network(instances=instances)

        def run(_: int) -> str:
            with connect(server) as own_cloud:
                try:
                    return str(own_cloud.vdcs.ensure(spec).id)
                except ont.TenancyError as error:
                    return str(error)

        vdc = cloud.vdcs.ensure(spec)
        whole = snapshot(server)
        for _ in range(3):
            vdc.delete()
            with ThreadPoolExecutor(3) as threads:
                results = list(threads.map(run, range(3)))
            assert not cloud.vdcs.plan(spec) or not any(map(str.isdecimal, results)), results
            vdc = cloud.vdcs.ensure(spec)
            server.settle()
            assert snapshot(server) == whole, results


class TestTwoMachines:
    TWO = with_network(instances=2, keepalived_id=77)

    def test_share_the_gateways_address(self, cloud: ont.Cloud, admin: Raw) -> None:
        vdc = cloud.vdcs.ensure(self.TWO)
        machines = router_machines(admin)
        router = gate(vdc)
        assert (len(router.vm_ids), router.is_running, router.internal_address) == (2, True, "10.0.1.1")
        assert router.external_addresses == ("203.0.113.10",)
        assert texts(admin.xml("one.vrouter.info", router.id, False), "TEMPLATE/NIC/VROUTER_IP") == [
            "10.0.1.1",
            "203.0.113.10",
        ]
        assert {vm.findtext("TEMPLATE/NIC/IP") for vm in machines} == {"10.0.1.2", "10.0.1.3"}
        assert [vm.findtext("TEMPLATE/CONTEXT/VROUTER_KEEPALIVED_ID") for vm in machines] == ["77", "77"]
        assert [vm.findtext("TEMPLATE/CONTEXT/ONEAPP_VNF_KEEPALIVED_ENABLED") for vm in machines] == ["YES", "YES"]
        assert sorted(vm.findtext("NAME") or "" for vm in machines) == ["acme_router_vm_0", "acme_router_vm_1"]
        assert not cloud.vdcs.plan(self.TWO)

    def test_become_one_and_one_becomes_two(self, cloud: ont.Cloud, admin: Raw) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        for spec, count in ((self.TWO, 2), (SPEC, 1)):
            cloud.vdcs.ensure(spec)
            assert len(router_machines(admin)) == len(gate(vdc).vm_ids) == count
            assert (gate(vdc).is_running, gate(vdc).internal_address) == (True, "10.0.1.1")
            assert not cloud.vdcs.plan(spec)

    def test_become_three_and_two_again_without_another_router(self, cloud: ont.Cloud) -> None:
        vdc = cloud.vdcs.ensure(self.TWO)
        router = gate(vdc)
        three = with_network(instances=3, keepalived_id=77)
        cloud.vdcs.ensure(three)
        assert (gate(vdc).id, gate(vdc).vm_ids[:2], len(gate(vdc).vm_ids)) == (router.id, router.vm_ids, 3)
        cloud.vdcs.ensure(self.TWO)
        assert gate(vdc) == router

    def test_one_that_is_gone_is_made_again(self, cloud: ont.Cloud, admin: Raw) -> None:
        vdc = cloud.vdcs.ensure(self.TWO)
        router = gate(vdc)
        admin("one.vm.action", "terminate-hard", router.vm_ids[0])
        assert len(gate(vdc).vm_ids) == 1
        cloud.vdcs.ensure(self.TWO)
        assert (gate(vdc).id, len(gate(vdc).vm_ids), gate(vdc).is_running) == (router.id, 2, True)
        assert router.vm_ids[1] in gate(vdc).vm_ids


class TestRules:
    def test_reach_the_machines_that_run(
        self, cloud: ont.Cloud, admin: Raw, login: Login, sent: list[ont.CallRecord]
    ) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        vm = machine(login(vdc.id, "alice"), own(vdc).id)
        cloud.vdcs.ensure(with_network(rules=(ont.SecurityRule("inbound", "udp", ports="53"), PING)))
        rules = admin.xml("one.vm.info", vm, False)
        assert sorted(texts(rules, "TEMPLATE/SECURITY_GROUP_RULE/PROTOCOL"), key=str) == ["ALL", "ICMP", "UDP"]
        held = admin.xml("one.secgroup.info", own(vdc).security_groups[0], False)
        assert str(vm) in texts(held, "UPDATED_VMS/ID")
        assert texts(held, "OUTDATED_VMS/ID") == texts(held, "ERROR_VMS/ID") == []

    def test_in_another_order_or_spelling_are_the_same(self, cloud: ont.Cloud, admin: Raw) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        assert not cloud.vdcs.plan(with_network(rules=(PING, SSH, ont.SecurityRule("OUTBOUND", "ALL"))))
        spelled = (
            'RULE=[PROTOCOL="tcp",RULE_TYPE="Inbound",RANGE="22:22"]\nRULE=[PROTOCOL=icmp,RULE_TYPE=inbound,'
            "ICMP_TYPE=8]\nRULE=[PROTOCOL=all,RULE_TYPE=outbound]"
        )
        admin("one.secgroup.update", own(vdc).security_groups[0], spelled, 1)
        assert not cloud.vdcs.plan(SPEC)

    def test_that_somebody_changed_are_restored(self, cloud: ont.Cloud, admin: Raw) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        admin("one.secgroup.update", own(vdc).security_groups[0], "RULE=[PROTOCOL=ALL,RULE_TYPE=inbound]", 1)
        assert "inbound all ->" in str(cloud.vdcs.plan(SPEC))
        cloud.vdcs.ensure(SPEC)
        assert {*vdc.security_rules()} == {SSH, PING, ont.SecurityRule("outbound", "all")}

    def test_that_did_not_reach_a_machine_are_applied_again(
        self, cloud: ont.Cloud, server: Emulator, login: Login, admin: Raw
    ) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        vm = machine(login(vdc.id, "alice"), own(vdc).id)
        group = own(vdc).security_groups[0]
        with server.cloud.lock:
            held = next(item for item in server.cloud.pool(SecurityGroup) if item.id == group)
            held.vms.updated.discard(vm)
            held.vms.error.add(vm)
        plan = cloud.vdcs.plan(SPEC)
        assert [str(change) for change in plan] == [f"apply rules of security group {group} (acme_default) on VM {vm}"]
        cloud.vdcs.ensure(SPEC)
        assert str(vm) in texts(admin.xml("one.secgroup.info", group, False), "UPDATED_VMS/ID")

    def test_none_at_all_let_everything_pass(self, cloud: ont.Cloud) -> None:
        vdc = cloud.vdcs.ensure(with_network(rules=()))
        assert sorted(map(str, vdc.security_rules())) == ["inbound all", "outbound all"]
        assert own(vdc).security_groups != (0,)

    def test_may_speak_of_another_network(self, cloud: ont.Cloud, admin: Raw) -> None:
        rule = ont.SecurityRule("inbound", "tcp", ports="443", network=PROVIDER)
        spec = with_network(rules=(rule,))
        vdc = cloud.vdcs.ensure(spec)
        held = admin.xml("one.secgroup.info", own(vdc).security_groups[0], False)
        assert texts(held, "TEMPLATE/RULE/NETWORK_ID") == [str(PROVIDER)]
        assert not cloud.vdcs.plan(spec)


class TestMending:
    """What somebody broke behind the library's back is whole again after `ensure`."""

    @pytest.mark.parametrize(
        "breaking",
        [
            lambda admin, vdc: admin("one.vm.action", "poweroff-hard", gate(vdc).vm_ids[0]),
            lambda admin, vdc: admin("one.vm.action", "terminate-hard", gate(vdc).vm_ids[0]),
            lambda admin, vdc: admin("one.vrouter.delete", gate(vdc).id),
            lambda admin, vdc: admin("one.vn.update", own(vdc).id, "SECURITY_GROUPS=0", 1),
            lambda admin, vdc: admin("one.vn.update", own(vdc).id, "DNS=6.6.6.6\nGATEWAY=10.0.1.66", 1),
            lambda admin, vdc: admin("one.cluster.addvnet", 100, own(vdc).id),
            lambda admin, vdc: admin("one.vdc.delvnet", vdc.vdc_id, 0, own(vdc).id),
            lambda admin, vdc: admin("one.group.update", vdc.id, "TENANCY_NETWORK_ID=none", 1),
            lambda admin, vdc: admin("one.group.update", vdc.id, "TENANCY_NETWORK_ID=0\nTENANCY_ROUTER_ID=7", 1),
            lambda admin, vdc: admin("one.group.update", vdc.id, NO_NETWORK, 1),
            lambda admin, vdc: admin("one.acl.delrule", right_to_use(admin, own(vdc).security_groups[0])),
        ],
        ids=[
            *("router off", "router VM gone", "router gone", "open to all", "other settings", "in another cluster"),
            *("not in the VDC", "no mark", "mark of another", "mark of none", "no right to use the security group"),
        ],
    )
    def test_brings_it_back(
        self, cloud: ont.Cloud, server: Emulator, admin: Raw, breaking: Callable[[Raw, ont.Vdc], object]
    ) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        whole = snapshot(server)
        breaking(admin, vdc)
        server.settle()
        assert snapshot(server) != whole
        assert cloud.vdcs.plan(SPEC)
        assert cloud.vdcs.ensure(SPEC) == vdc
        server.settle()
        assert snapshot(server) == whole
        assert not cloud.vdcs.plan(SPEC)

    def test_replaces_a_router_whose_machine_failed(self, cloud: ont.Cloud, server: Emulator, admin: Raw) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        whole = snapshot(server)
        server.cloud.driver_actions.fail("deploy", times=1)
        (vm_id,) = gate(vdc).vm_ids
        for action in ("undeploy-hard", "resume"):
            admin("one.vm.action", action, vm_id)
            server.settle()
        assert str(gate(vdc).states[vm_id]) == "ACTIVE/BOOT_UNDEPLOY_FAILURE"
        cloud.vdcs.ensure(SPEC)
        assert gate(vdc).is_running
        assert snapshot(server) == whole

    def test_removes_a_second_router_of_the_tenant(self, cloud: ont.Cloud, server: Emulator, admin: Raw) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        whole = snapshot(server)
        marks = f'TENANCY_KEY="{KEY}"\nTENANCY_ROLE=router\nTENANCY_VERSION=1'
        admin("one.vrouter.allocate", f"NAME=twin\n{marks}")
        admin("one.group.update", vdc.id, "TENANCY_NETWORK_ID=unsettled", 1)
        cloud.vdcs.ensure(SPEC)
        assert snapshot(server) == whole


def right_to_use(admin: Raw, security_group: int) -> int:
    """The id of the rule by which a tenant uses its security group."""
    rules = {item.findtext("STRING"): int(item.findtext("ID") or "") for item in admin.xml("one.acl.info")}
    return next(ident for text, ident in rules.items() if f"SECGROUP/#{security_group} " in str(text))


FOREIGN = 'NAME="{}"\nVN_MAD=dummy\nBRIDGE=br9\nAR=[TYPE=IP4,IP="{}",SIZE={}]'


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


class TestWaiting:
    def test_ends_soon_after_the_router_runs(
        self, cloud: ont.Cloud, server: Emulator, sent: list[ont.CallRecord], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It looks ten times a second in the first second, and does nothing slow after the last look."""
        monkeypatch.setattr(waiting, "_SHORTEST_S", 0.1)
        server.cloud.driver_actions["deploy"] = 0.6
        cloud.vdcs.ensure(SPEC)
        methods = [record.method for record in sent]
        last = len(methods) - 1 - methods[::-1].index("one.vm.info")
        assert 3 <= methods.count("one.vm.info") <= 9
        assert len(methods) - 1 - last <= 6
        assert sum(record.seconds for record in sent[last:]) < 0.3


class TestHandles:
    def test_of_another_tenants_objects_are_not_given(self, cloud: ont.Cloud, admin: Raw) -> None:
        """The ids on the group are hints: it is the objects that say whose they are."""
        vdc, other = cloud.vdcs.ensure(SPEC), cloud.vdcs.ensure(tenant("other"))
        theirs = own(other)
        marks = f"TENANCY_NETWORK_ID={theirs.id}\nTENANCY_SECURITY_GROUP_ID={theirs.security_groups[0]}\n"
        admin("one.group.update", vdc.id, f"{marks}TENANCY_ROUTER_ID={gate(other).id}", 1)
        assert (own(vdc).name, gate(vdc).name) == ("acme_internal", "acme_router")
        vdc.delete()
        assert gate(other).is_running
        assert own(other) == theirs
        names = [item.findtext("NAME") for item in admin.xml("one.vnpool.info", -2, -1, -1)]
        assert names == ["other_internal", "provider"]

    def test_a_tenant_that_says_it_has_no_network_does_not_leave_it_behind(
        self, cloud: ont.Cloud, server: Emulator, admin: Raw
    ) -> None:
        before = snapshot(server)
        vdc = cloud.vdcs.ensure(SPEC)
        admin("one.group.update", vdc.id, NO_NETWORK, 1)
        vdc.delete()
        assert snapshot(server) == before

    def test_show_themselves(self, cloud: ont.Cloud) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        assert "10.0.1.0/24" in own(vdc)._repr_html_()
        assert "ACTIVE/RUNNING" in gate(vdc)._repr_html_()
