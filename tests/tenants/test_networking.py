"""A tenant's network, router and rules as the library makes, changes and removes them, looked at from outside."""

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
Login = Callable[[int, str], Raw]


@pytest.fixture(name="server")
def _server() -> Iterator[Emulator]:
    with new_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often: asynchronous work is done at the next call."""
    monkeypatch.setattr(waiting, "_SHORTEST_S", 0.001)


def texts(root: Any, path: str) -> list[str | None]:
    return [item.text for item in root.iterfind(path)]


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
