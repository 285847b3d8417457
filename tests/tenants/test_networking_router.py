"""A tenant's router that changes, or that something is wrong with: what runs is left alone, and nothing is silent."""

from collections.abc import Iterator
from typing import Any

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy import waiting
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from opennebula_tenancy.emulator.vms import VirtualMachine
from opennebula_tenancy.emulator.vmstates import LcmState
from tenants.networks import connect, gate, mutations, network, new_server, router_machines, tenant
from tenants.pace import wait_without_time
from tenants.raw import Raw
from tenants.snapshot import snapshot


@pytest.fixture(name="server")
def _server() -> Iterator[Emulator]:
    with new_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often: asynchronous work is done at the next call."""
    monkeypatch.setattr(waiting, "_SHORTEST_S", 0.001)


def spec(name: str = "acme", **changes: Any) -> ont.VdcSpec:
    return tenant(name, network=network(**changes))


def fail(server: Emulator, admin: Raw, vm_id: int) -> None:
    """Let a machine fail for good, which the drivers do not do any more afterwards."""
    server.cloud.driver_actions.fail("deploy", times=1)
    for action in ("undeploy-hard", "resume"):
        admin("one.vm.action", action, vm_id)
        server.settle()


def lose(server: Emulator, vm_id: int) -> None:
    """Let the host of a machine lose it."""
    with server.cloud.lock:
        server.cloud.pool(VirtualMachine).get(vm_id).lcm = LcmState.UNKNOWN


def outside(admin: Raw, server: Emulator, size: int, name: str = "outside") -> int:
    """An external network with some addresses."""
    made = admin(
        "one.vn.allocate", f'NAME={name}\nVN_MAD=dummy\nBRIDGE=br9\nAR=[TYPE=IP4,IP="198.51.100.10",SIZE={size}]', 0
    )
    server.settle()
    return int(made)


class TestFailedMachine:
    def test_of_two_is_replaced_while_the_other_runs_on(
        self, cloud: ont.Cloud, server: Emulator, admin: Raw, sent: list[ont.CallRecord]
    ) -> None:
        vdc = cloud.vdcs.ensure(spec(instances=2))
        whole, before = snapshot(server), gate(vdc)
        broken, healthy = sorted(before.vm_ids)
        fail(server, admin, broken)
        state = "ACTIVE/BOOT_UNDEPLOY_FAILURE"
        what = f"VM {broken} of router {before.id} (acme_router)"
        assert [str(change) for change in cloud.vdcs.plan(spec(instances=2))] == [f"replace {what}: {state}"]
        sent.clear()
        cloud.vdcs.ensure(spec(instances=2))
        after = gate(vdc)
        assert (after.id, after.external_addresses, after.is_running) == (before.id, before.external_addresses, True)
        assert healthy in after.vm_ids
        assert broken not in after.vm_ids
        assert mutations(sent) == ["one.vm.action", "one.vrouter.instantiate"]
        assert snapshot(server) == whole

    def test_of_two_that_cannot_be_replaced_leaves_the_other_and_says_so(
        self, cloud: ont.Cloud, server: Emulator, admin: Raw
    ) -> None:
        vdc = cloud.vdcs.ensure(spec(instances=2))
        router, (broken, healthy) = gate(vdc), sorted(gate(vdc).vm_ids)
        fail(server, admin, broken)
        server.cloud.driver_actions.fail("deploy", message="no space left")
        said = rf"no space left.*VM 2 was removed again; router {router.id} .* has VM {healthy} ACTIVE/RUNNING"
        with pytest.raises(ont.EnteredFailureState, match=said):
            cloud.vdcs.ensure(spec(instances=2))
        assert (gate(vdc).id, gate(vdc).vm_ids, gate(vdc).is_running) == (router.id, (healthy,), True)
        server.cloud.driver_actions.mend()
        cloud.vdcs.ensure(spec(instances=2))
        assert (gate(vdc).id, gate(vdc).is_running, len(gate(vdc).vm_ids)) == (router.id, True, 2)

    def test_of_two_that_are_to_be_one_less_is_removed_alone(
        self, cloud: ont.Cloud, server: Emulator, admin: Raw
    ) -> None:
        vdc = cloud.vdcs.ensure(spec(instances=3))
        oldest, *others = sorted(gate(vdc).vm_ids)
        fail(server, admin, oldest)
        (change,) = cloud.vdcs.plan(spec(instances=2))
        assert (change.action, change.subject.split(" of ")[0]) == ("delete", f"VM {oldest}")
        cloud.vdcs.ensure(spec(instances=2))
        assert (gate(vdc).vm_ids, gate(vdc).is_running) == (tuple(others), True)

    def test_that_is_the_only_one_is_replaced_in_the_same_router(
        self, cloud: ont.Cloud, server: Emulator, admin: Raw
    ) -> None:
        vdc = cloud.vdcs.ensure(spec())
        before = gate(vdc)
        fail(server, admin, before.vm_ids[0])
        cloud.vdcs.ensure(spec())
        assert (gate(vdc).id, gate(vdc).is_running) == (before.id, True)
        assert gate(vdc).vm_ids != before.vm_ids


class TestLostMachine:
    """One that its host has lost (UNKNOWN) is started; where it does not come back it is replaced."""

    @pytest.mark.parametrize("instances", [1, 2])
    def test_is_started(self, cloud: ont.Cloud, server: Emulator, sent: list[ont.CallRecord], instances: int) -> None:
        vdc = cloud.vdcs.ensure(spec(instances=instances))
        whole = gate(vdc)
        lose(server, whole.vm_ids[0])
        (change,) = cloud.vdcs.plan(spec(instances=instances))
        assert (change.action, change.before) == ("start", "ACTIVE/UNKNOWN")
        sent.clear()
        cloud.vdcs.ensure(spec(instances=instances))
        assert gate(vdc) == whole
        assert mutations(sent) == ["one.vm.action"]

    @pytest.mark.parametrize("instances", [1, 2])
    def test_that_cannot_be_started_is_replaced(self, cloud: ont.Cloud, server: Emulator, instances: int) -> None:
        vdc = cloud.vdcs.ensure(spec(instances=instances))
        before = gate(vdc)
        lose(server, before.vm_ids[0])
        server.cloud.driver_actions.fail("deploy", times=1, message="no route to host")
        server.cloud.driver_actions.fail("cancel")
        cloud.vdcs.ensure(spec(instances=instances))
        assert (gate(vdc).id, gate(vdc).is_running) == (before.id, True)
        assert len(gate(vdc).vm_ids) == instances
        assert before.vm_ids[0] not in gate(vdc).vm_ids
        assert set(before.vm_ids[1:]) <= set(gate(vdc).vm_ids)

    def test_whose_host_does_not_answer_is_replaced_when_the_time_is_over(
        self, cloud: ont.Cloud, server: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wait_without_time(monkeypatch)
        vdc = cloud.vdcs.ensure(spec(timeout_s=0.3))
        before = gate(vdc)
        lose(server, before.vm_ids[0])

        def mend(record: ont.CallRecord) -> None:
            if record.method == "one.vm.recover":
                server.cloud.driver_actions.mend()

        server.cloud.driver_actions.hang("deploy")
        with connect(server, on_call=mend) as patient:
            patient.vdcs.ensure(spec(timeout_s=0.3))
        assert (gate(vdc).id, gate(vdc).is_running) == (before.id, True)
        assert gate(vdc).vm_ids != before.vm_ids


class TestRoomOutside:
    """A router is not taken away, and nothing is made, while the networks have no addresses for the new one."""

    @pytest.mark.parametrize("instances", [1, 2])
    def test_is_looked_for_before_anything_is_made(
        self, cloud: ont.Cloud, server: Emulator, admin: Raw, sent: list[ont.CallRecord], instances: int
    ) -> None:
        full = outside(admin, server, instances + 1)
        admin("one.vn.hold", full, 'LEASES=[IP="198.51.100.10"]')
        if instances == 1:
            admin("one.vn.hold", full, 'LEASES=[IP="198.51.100.11"]')
        for work in (cloud.vdcs.plan, cloud.vdcs.ensure):
            with pytest.raises(ont.PoolExhausted, match=rf"network {full} \(outside\)"):
                work(spec(external_network=full, instances=instances))
        assert mutations(sent) == []

    @pytest.mark.parametrize("instances", [1, 2])
    def test_is_looked_for_before_a_router_leads_elsewhere(
        self, cloud: ont.Cloud, server: Emulator, admin: Raw, sent: list[ont.CallRecord], instances: int
    ) -> None:
        vdc = cloud.vdcs.ensure(spec(instances=instances))
        whole, full = gate(vdc), outside(admin, server, 1)
        admin("one.vn.hold", full, 'LEASES=[IP="198.51.100.10"]')
        sent.clear()
        with pytest.raises(ont.PoolExhausted, match=r"\(outside\).* nothing was changed"):
            cloud.vdcs.ensure(spec(instances=instances, external_network=full))
        assert mutations(sent) == []
        assert gate(vdc) == whole

    @pytest.mark.parametrize(("size", "enough"), [(2, False), (3, True)])
    def test_of_a_router_of_two_counts_what_that_of_one_gives_back(
        self, cloud: ont.Cloud, server: Emulator, admin: Raw, size: int, *, enough: bool
    ) -> None:
        narrow = outside(admin, server, size)
        vdc = cloud.vdcs.ensure(spec(external_network=narrow))
        before = gate(vdc)
        if enough:
            cloud.vdcs.ensure(spec(external_network=narrow, instances=2))
            assert (len(gate(vdc).vm_ids), gate(vdc).is_running) == (2, True)
        else:
            with pytest.raises(ont.PoolExhausted, match="3 free addresses needed, 2 there"):
                cloud.vdcs.ensure(spec(external_network=narrow, instances=2))
            assert gate(vdc) == before

    def test_counts_what_a_failed_machine_gives_back(self, cloud: ont.Cloud, server: Emulator, admin: Raw) -> None:
        narrow = outside(admin, server, 3)
        vdc = cloud.vdcs.ensure(spec(external_network=narrow, instances=2))
        fail(server, admin, gate(vdc).vm_ids[0])
        cloud.vdcs.ensure(spec(external_network=narrow, instances=2))
        assert gate(vdc).is_running

    def test_is_looked_for_in_the_tenants_own_network_too(self, cloud: ont.Cloud, server: Emulator, admin: Raw) -> None:
        narrow = {"pool": ont.SubnetPool("10.9.0.0/16", prefix=29)}
        vdc = cloud.vdcs.ensure(spec(**narrow))
        before, own = gate(vdc), vdc.network
        assert own is not None
        for number in range(2, 6):
            admin("one.vn.hold", own.id, f'LEASES=[IP="{own.subnet.network_address + number}"]')
        with pytest.raises(
            ont.PoolExhausted, match=r"\(acme_internal\) is too full .* 3 free addresses needed, 2 there"
        ):
            cloud.vdcs.ensure(spec(**narrow, instances=2))
        assert gate(vdc) == before

    def test_counts_what_machines_of_a_router_that_is_gone_give_back(
        self, cloud: ont.Cloud, server: Emulator, admin: Raw
    ) -> None:
        narrow = outside(admin, server, 1)
        vdc = cloud.vdcs.ensure(spec(external_network=narrow))
        server.cloud.driver_actions["cancel"] = 0.3
        admin("one.vrouter.delete", gate(vdc).id)
        cloud.vdcs.ensure(spec(external_network=narrow))
        assert gate(vdc).is_running


class TestReplacement:
    """Where the new router does not come after all, the tenant has one as before."""

    @pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
    @pytest.mark.parametrize("method", ["one.vrouter.allocate", "one.vrouter.instantiate"])
    def test_that_is_refused_puts_the_former_router_back(
        self, cloud: ont.Cloud, server: Emulator, admin: Raw, method: str, before: int, after: int
    ) -> None:
        vdc = cloud.vdcs.ensure(spec(instances=before))
        whole = snapshot(server)
        server.faults.arm(Fault(kind=FaultKind.REFUSE, method=method))
        with pytest.raises(ont.ApiError) as caught:
            cloud.vdcs.ensure(spec(instances=after))
        assert not isinstance(caught.value, ont.RollbackIncomplete)
        assert gate(vdc).is_running
        assert not [change for change in cloud.vdcs.plan(spec(instances=before)) if "mark" not in str(change)]
        cloud.vdcs.ensure(spec(instances=before))
        assert snapshot(server) == whole
        assert {vm.findtext("TEMPLATE/NIC/NETWORK_ID") for vm in router_machines(admin)} == {"1"}

    def test_that_others_took_the_addresses_of_puts_the_former_router_back(
        self, cloud: ont.Cloud, server: Emulator, admin: Raw
    ) -> None:
        vdc = cloud.vdcs.ensure(spec())
        full = outside(admin, server, 1)

        taken: list[object] = []

        def take(record: ont.CallRecord) -> None:
            if record.method == "one.vrouter.delete" and not taken:
                taken.append(admin("one.vn.hold", full, 'LEASES=[IP="198.51.100.10"]'))

        with connect(server, on_call=take) as unlucky, pytest.raises(ont.ApiError):
            unlucky.vdcs.ensure(spec(external_network=full))
        assert gate(vdc).is_running
        assert gate(vdc).external_addresses[0].startswith("203.0.113.")

    def test_that_runs_stays_when_something_else_fails_afterwards(
        self, cloud: ont.Cloud, server: Emulator, sent: list[ont.CallRecord]
    ) -> None:
        vdc = cloud.vdcs.ensure(spec())
        server.faults.arm(Fault(kind=FaultKind.REFUSE, method="one.group.update"))
        with pytest.raises(ont.ApiError):
            cloud.vdcs.ensure(spec(instances=2))
        whole = gate(vdc)
        assert (len(whole.vm_ids), whole.is_running) == (2, True)
        sent.clear()
        cloud.vdcs.ensure(spec(instances=2))
        assert gate(vdc) == whole
        assert mutations(sent) == ["one.group.update"]

    def test_that_does_not_run_and_former_router_that_does_not_come_back_are_said(
        self, cloud: ont.Cloud, server: Emulator
    ) -> None:
        vdc = cloud.vdcs.ensure(spec())
        before = gate(vdc)
        server.cloud.driver_actions.fail("deploy", message="no space left")
        with pytest.raises(ont.RollbackIncomplete) as caught:
            cloud.vdcs.ensure(spec(instances=2))
        assert isinstance(caught.value.cause, ont.EnteredFailureState)
        place = f"router {before.id} (acme_router) is gone, and router {gate(vdc).id} in its place does not run"
        assert place in caught.value.leftovers
        server.cloud.driver_actions.mend()
        cloud.vdcs.ensure(spec(instances=2))
        assert (len(gate(vdc).vm_ids), gate(vdc).is_running) == (2, True)


def numbers(admin: Raw, vdc: ont.Vdc) -> set[str | None]:
    """The VRRP ids that the machines of a tenant's router have."""
    machines = router_machines(admin, vdc.key)
    return {vm.findtext("TEMPLATE/CONTEXT/VROUTER_KEEPALIVED_ID") for vm in machines}


class TestKeepalivedId:
    def test_is_one_that_is_free_in_the_external_network(self, cloud: ont.Cloud, admin: Raw) -> None:
        first = cloud.vdcs.ensure(spec("first", instances=2))
        admin("one.vrouter.allocate", "NAME=foreign\nNIC=[NETWORK_ID=0,FLOATING_IP=YES]\nKEEPALIVED_ID=2")
        admin("one.vrouter.allocate", "NAME=alone\nNIC=[NETWORK_ID=0]\nKEEPALIVED_ID=3")
        second = cloud.vdcs.ensure(spec("second", instances=2))
        assert (numbers(admin, first), numbers(admin, second)) == ({"1"}, {"3"})

    def test_of_routers_whose_ids_differ_by_255_is_not_the_same(self, cloud: ont.Cloud, admin: Raw) -> None:
        first = cloud.vdcs.ensure(spec("first", instances=2, keepalived_id=1))
        for _ in range(254):
            admin("one.vrouter.delete", admin("one.vrouter.allocate", "NAME=x"))
        second = cloud.vdcs.ensure(spec("second", instances=2))
        assert gate(second).id - gate(first).id == 255
        assert numbers(admin, first) == {"1"} != numbers(admin, second)

    def test_that_is_anothers_is_refused(self, cloud: ont.Cloud, sent: list[ont.CallRecord]) -> None:
        first = cloud.vdcs.ensure(spec("first", instances=2, keepalived_id=7))
        assert not cloud.vdcs.plan(spec("first", instances=2, keepalived_id=7))
        sent.clear()
        with pytest.raises(ont.SettingsError, match=rf"network.keepalived_id: 7 is that of router {gate(first).id} in"):
            cloud.vdcs.ensure(spec("second", instances=2, keepalived_id=7))
        assert mutations(sent) == []

    def test_that_another_run_took_at_the_same_time_gives_way(
        self, cloud: ont.Cloud, server: Emulator, admin: Raw
    ) -> None:
        others: list[ont.Vdc] = []

        def meddle(record: ont.CallRecord) -> None:
            if record.method == "one.vrouterpool.info" and not others:
                others.append(cloud.vdcs.ensure(spec("other", instances=2)))

        with connect(server, on_call=meddle) as late:
            vdc = late.vdcs.ensure(spec(instances=2))
        assert (numbers(admin, others[0]), numbers(admin, vdc)) == ({"1"}, {"2"})

    def test_that_two_routers_have_is_noted(self, cloud: ont.Cloud, admin: Raw) -> None:
        cloud.vdcs.ensure(spec(instances=2))
        admin("one.vrouter.allocate", "NAME=foreign\nNIC=[NETWORK_ID=0,FLOATING_IP=YES]\nKEEPALIVED_ID=1")
        (note,) = cloud.vdcs.plan(spec(instances=2)).notes
        assert "router 0 has the keepalived id 1 like router 1 in network 0" in note


class TestChange:
    """A change of the spec is made, or the plan says that it is not, and how it is made."""

    def test_of_settings_to_none_takes_them_out_of_the_network_and_nothing_else(
        self, cloud: ont.Cloud, admin: Raw
    ) -> None:
        vdc = cloud.vdcs.ensure(spec(mtu=1400))
        assert vdc.network is not None
        admin("one.vn.update", vdc.network.id, 'OWN=[A="1",B="x"]\nTEXT="a <b>"', 1)
        before = admin.xml("one.vn.info", vdc.network.id, False)
        plan = cloud.vdcs.plan(spec(dns=None))
        what = f"of network {vdc.network.id} (acme_internal)"
        assert [str(change) for change in plan] == [
            f"remove DNS {what}: 8.8.8.8",
            f"remove MTU {what}: 1400",
            f"remove GUEST_MTU {what}: 1400",
        ]
        cloud.vdcs.ensure(spec(dns=None))
        after = admin.xml("one.vn.info", vdc.network.id, False)
        gone = {"DNS", "MTU", "GUEST_MTU", "VNET_UPDATE"}
        assert {item.tag for item in before.find("TEMPLATE")} - {item.tag for item in after.find("TEMPLATE")} <= gone
        assert [after.findtext(f"TEMPLATE/{name}") for name in ("DNS", "MTU", "GUEST_MTU")] == [None] * 3
        kept = ("VN_MAD", "PHYDEV", "BRIDGE", "SECURITY_GROUPS", "TENANCY_KEY", "GATEWAY", "OWN/A", "OWN/B", "TEXT")
        assert [after.findtext(f"TEMPLATE/{name}") for name in kept] == [
            before.findtext(f"TEMPLATE/{name}") for name in kept
        ]
        assert (vdc.network.dns, vdc.network.mtu, vdc.network.state) == ("", None, "READY")
        assert not cloud.vdcs.plan(spec(dns=None))

    @pytest.mark.parametrize("instances", [1, 2])
    def test_of_name_servers_reaches_the_router(self, cloud: ont.Cloud, admin: Raw, instances: int) -> None:
        vdc = cloud.vdcs.ensure(spec(instances=instances))
        whole = gate(vdc)
        changed = spec(instances=instances, dns="9.9.9.9")
        cloud.vdcs.ensure(changed)
        assert gate(vdc) == whole
        for vm in router_machines(admin):
            assert vm.findtext("TEMPLATE/CONTEXT/ONEAPP_VNF_DNS_NAMESERVERS") == "9.9.9.9"
            assert vm.findtext("TEMPLATE/CONTEXT/ONEAPP_VNF_NAT4_ENABLED") == "YES"
        assert not cloud.vdcs.plan(changed)

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            ({"vlan_id": 77}, "network 1 has the VLAN 3, not 77, and keeps it: only a new network changes that"),
            ({"bridge": "br7"}, "network 1 has the bridge onebr1, not br7, and keeps it"),
            ({"vn_mad": "802.1Q"}, "network 1 was made with the driver vxlan over eth0, and stays so: only a new"),
            ({"dns": None}, "VM 0 of router 0 asks the name servers 8.8.8.8; it stays so until it is made anew"),
            ({"sched_requirements": "ID = 1"}, "VM 0 of router 0 may run where CLUSTER_ID = 0, not where ID = 1; it"),
            ({"router_template": 9}, "VM 0 of router 0 was made of VM template 8, not 9; it stays so"),
            ({"keepalived_id": 9}, "keepalived_id: a router of one machine has no use for it"),
        ],
    )
    def test_of_what_stays_is_noted(self, cloud: ont.Cloud, admin: Raw, asked: dict[str, Any], said: str) -> None:
        cloud.vdcs.ensure(spec())
        assert cloud.vdcs.plan(spec()).notes == ()
        admin("one.template.clone", 8, "another router", False)
        plan = cloud.vdcs.plan(spec(**asked))
        assert any(note.startswith(said) for note in plan.notes), plan.notes
        assert not [change for change in plan if "router" in str(change)]

    @pytest.mark.parametrize("made", [{"vlan_id": 77}, {"vn_mad": "bridge", "bridge": "br7"}])
    def test_back_to_what_opennebula_chooses_is_noted(self, cloud: ont.Cloud, made: dict[str, Any]) -> None:
        cloud.vdcs.ensure(spec(**made))
        plan = cloud.vdcs.plan(spec(vn_mad=made.get("vn_mad", "vxlan")))
        assert not plan
        (note,) = plan.notes
        assert "and keeps it" in note

    def test_of_the_keepalived_id_is_noted(self, cloud: ont.Cloud) -> None:
        cloud.vdcs.ensure(spec(instances=2))
        plan = cloud.vdcs.plan(spec(instances=2, keepalived_id=9))
        assert not plan
        assert plan.notes[0].startswith("router 0 has the keepalived id 1, not 9, and keeps it")


class TestToken:
    """Floating IPs need a router that learns of them through OneGate."""

    def test_that_the_template_does_not_ask_for_is_noted(self, cloud: ont.Cloud, admin: Raw) -> None:
        admin("one.template.update", 8, 'CONTEXT=[NETWORK="YES"]', 1)
        (note,) = cloud.vdcs.plan(spec()).notes
        assert note.startswith("VM template 8 (router) has no TOKEN=YES in its CONTEXT")
        cloud.vdcs.ensure(spec())
        admin("one.template.update", 8, 'CONTEXT=[NETWORK="YES",TOKEN="YES"]', 1)
        (note,) = cloud.vdcs.plan(spec()).notes
        assert note.startswith("VM 0 of router 0 was made without TOKEN=YES in its CONTEXT")

    def test_of_the_embedded_servers_template_reaches_the_machine(self, cloud: ont.Cloud, admin: Raw) -> None:
        cloud.vdcs.ensure(spec())
        (vm,) = router_machines(admin)
        assert vm.findtext("TEMPLATE/CONTEXT/TOKEN") == "YES"
        assert (vm.findtext("TEMPLATE/CONTEXT/ONEGATE_ENDPOINT") or "").startswith("http")


@pytest.mark.parametrize(("instances", "longest"), [(1, 118), (2, 116)])
def test_a_name_that_leaves_no_room_for_those_of_the_routers_machines_is_refused(instances: int, longest: int) -> None:
    asked = network(instances=instances)
    assert tenant("a" * longest, key="k", network=asked)
    with pytest.raises(ont.SettingsError, match=r"_router_vm.* is longer than 128 bytes"):
        tenant("a" * (longest + 1), key="k", network=asked)
    assert ont.VdcSpec(name="a" * 128, key="k")


@pytest.mark.parametrize("instances", [1, 2])
def test_a_machine_that_is_on_its_way_out_is_replaced(
    cloud: ont.Cloud, server: Emulator, admin: Raw, instances: int
) -> None:
    vdc = cloud.vdcs.ensure(spec(instances=instances))
    going = min(gate(vdc).vm_ids)
    server.cloud.driver_actions["cancel"] = 0.3
    admin("one.vm.action", "terminate-hard", going)
    assert admin.xml("one.vm.info", going, False).findtext("LCM_STATE") == "12"
    cloud.vdcs.ensure(spec(instances=instances))
    after = gate(vdc)
    assert after.is_running
    assert going not in after.vm_ids
    assert len(after.vm_ids) == instances


def test_a_vrrp_id_that_another_takes_in_the_moment_of_moving_is_left_to_it(
    server: Emulator, cloud: ont.Cloud, admin: Raw
) -> None:
    """The first other takes the id after it was chosen, the second one the id that is moved to."""
    others: list[ont.Vdc] = []
    is_allocated = False

    def meddle(record: ont.CallRecord) -> None:
        nonlocal is_allocated
        is_allocated |= record.method == "one.vrouter.allocate"
        if record.method == "one.vrouterpool.info" and len(others) == int(is_allocated):
            others.append(cloud.vdcs.ensure(spec(f"other{len(others)}", instances=2)))

    with connect(server, on_call=meddle) as late:
        own = late.vdcs.ensure(spec("late", instances=2))
    assert len(others) == 2
    held = [numbers(admin, vdc) for vdc in (*others, own)]
    assert held == [{"1"}, {"2"}, {"3"}]
