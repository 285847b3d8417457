"""Virtual machines as they are brought to another size, powered, and removed."""

from decimal import Decimal
from typing import Any

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.emulator import Emulator
from opennebula_tenancy.vm_size import VmSize, VmUsage
from opennebula_tenancy.vms import Vms
from tenants.raw import Raw
from vms.world import KEY, LARGER, World


def mutations(sent: list[ont.CallRecord]) -> list[str]:
    return [record.method for record in sent if record.mutates]


def held(world: World) -> list[str | None]:
    machine = world.machines()[0]
    return [machine.findtext(f"TEMPLATE/{name}") for name in ("VCPU", "CPU", "MEMORY", "DISK/SIZE")]


class TestResize:
    def test_a_machine_that_runs_is_changed_and_runs_again(self, world: World, vms: Vms) -> None:
        vm = vms.ensure(world.spec())
        assert vm.resize(LARGER) == VmUsage(vcpu=4, cpu=Decimal(4), memory_mb=2048, disk_mb=8192)
        assert held(world) == ["4", "4", "2048", "8192"]
        assert vm.status().is_running

    def test_a_machine_that_is_off_is_changed_and_stays_off(
        self, world: World, vms: Vms, sent: list[ont.CallRecord]
    ) -> None:
        vm = vms.ensure(world.spec())
        vm.power_off(hard=True)
        sent.clear()
        vm.resize(LARGER)
        assert held(world) == ["4", "4", "2048", "8192"]
        assert mutations(sent) == ["one.vm.resize", "one.vm.diskresize"]
        assert vm.status().is_off

    def test_an_undeployed_machine_is_changed_and_stays_so(
        self, server: Emulator, world: World, vms: Vms, admin: Raw
    ) -> None:
        vm = vms.ensure(world.spec())
        admin("one.vm.action", "undeploy-hard", vm.id)
        server.settle()
        vm.resize(LARGER)
        assert held(world) == ["4", "4", "2048", "8192"]
        assert str(vm.status()) == "UNDEPLOYED"

    def test_the_size_that_it_has_sends_nothing(self, world: World, vms: Vms, sent: list[ont.CallRecord]) -> None:
        vm = vms.ensure(world.spec())
        sent.clear()
        vm.resize(world.spec().size)
        vm.resize(VmSize())
        assert mutations(sent) == []

    @pytest.mark.parametrize(
        ("size", "expected"),
        [
            (VmSize(vcpu=4), ["4", "4", "1024", "4096"]),
            (VmSize(memory_mb=512), ["2", "2", "512", "4096"]),
            (VmSize(disk_mb=4097), ["2", "2", "1024", "4097"]),
            (VmSize(cpu="0.5"), ["2", "0.5", "1024", "4096"]),
            (VmSize(vcpu=1, cpu_per_vcpu="0.1"), ["1", "0.1", "1024", "4096"]),
        ],
    )
    def test_what_is_not_named_stays(self, world: World, vms: Vms, size: VmSize, expected: list[str]) -> None:
        vm = vms.ensure(world.spec())
        vm.resize(size)
        assert held(world) == expected
        assert vm.status().is_running

    def test_a_disk_alone_grows_while_the_machine_runs(
        self, world: World, vms: Vms, sent: list[ont.CallRecord]
    ) -> None:
        vm = vms.ensure(world.spec())
        sent.clear()
        vm.resize(VmSize(disk_mb=8192))
        assert mutations(sent) == ["one.vm.diskresize"]

    def test_a_shrinking_disk_is_refused_while_the_machine_runs(
        self, world: World, vms: Vms, sent: list[ont.CallRecord]
    ) -> None:
        vm = vms.ensure(world.spec())
        sent.clear()
        with pytest.raises(ont.SettingsError, match="has 4096 MB, and cannot shrink to 4095 MB; nothing was changed"):
            vm.resize(VmSize(vcpu=4, disk_mb=4095))
        with pytest.raises(ont.SettingsError, match="cannot shrink"):
            vms.plan(world.spec(size=VmSize(disk_mb=4095)))
        assert mutations(sent) == []
        assert vm.status().is_running

    @pytest.mark.parametrize(
        ("size", "metric"),
        [
            (VmSize(vcpu=9), "limit of 8 reached for CPU quota"),
            (VmSize(memory_mb=8193), "limit of 8192 reached for MEMORY quota"),
            (VmSize(disk_mb=40961), "limit of 40960 reached for SYSTEM_DISK_SIZE quota"),
        ],
    )
    def test_a_limit_of_the_tenant_is_looked_up_before_anything_is_powered_off(
        self, world: World, vms: Vms, sent: list[ont.CallRecord], size: VmSize, metric: str
    ) -> None:
        vm = vms.ensure(world.spec())
        sent.clear()
        with pytest.raises(ont.QuotaExceeded, match=metric):
            vm.resize(size)
        assert mutations(sent) == []

    def test_a_limit_that_the_cloud_gives_every_group_costs_no_downtime(
        self, world: World, vms: Vms, admin: Raw, sent: list[ont.CallRecord]
    ) -> None:
        vm = vms.ensure(world.spec())
        admin("one.group.quota", world.vdc, 'VM=[CPU="-1"]')
        admin("one.groupquota.update", 'VM=[CPU="3"]')
        before = world.shot()
        sent.clear()
        with pytest.raises(ont.QuotaExceeded, match="limit of 3 reached for CPU"):
            vm.resize(VmSize(vcpu=4))
        assert mutations(sent) == ["one.vm.resize"]
        assert world.shot() == before
        admin("one.groupquota.update", 'VM=[CPU="-2"]')

    def test_a_host_without_room_is_found_out_before_and_may_be_overcommitted(
        self, world: World, vms: Vms, admin: Raw, sent: list[ont.CallRecord]
    ) -> None:
        vm = vms.ensure(world.spec())
        admin("one.group.quota", world.vdc, 'VM=[CPU="-2",MEMORY="-2"]')
        sent.clear()
        size = VmSize(vcpu=9, memory_mb=20480)
        with pytest.raises(ont.SettingsError) as caught:
            vm.resize(size)
        assert [problem.partition(":")[0] for problem in caught.value.problems] == ["size.cpu", "size.memory_mb"]
        assert "has 6 cores left, and 7 more are needed" in str(caught.value)
        assert mutations(sent) == []
        assert vm.resize(size, overcommit=True).vcpu == 9
        usage = {item.tag: item.text for item in admin.xml("one.group.info", world.vdc).iterfind("VM_QUOTA/VM/*")}
        assert usage["CPU_USED"] == "9"

    @pytest.mark.parametrize("action", ["suspend", "stop"])
    def test_a_state_that_does_not_allow_it_is_said(
        self, server: Emulator, world: World, vms: Vms, admin: Raw, sent: list[ont.CallRecord], action: str
    ) -> None:
        vm = vms.ensure(world.spec())
        admin("one.vm.action", action, vm.id)
        server.settle()
        sent.clear()
        with pytest.raises(ont.SettingsError, match=r"is (SUSPENDED|STOPPED): it can be resized while it runs"):
            vm.resize(LARGER)
        assert mutations(sent) == []

    def test_progress_names_what_changes(self, world: World, vms: Vms) -> None:
        vm = vms.ensure(world.spec())
        steps: list[ont.Step] = []
        vm.resize(VmSize(memory_mb=2048), progress=steps.append)
        assert [str(step) for step in steps] == [f"web: 1/1 set memory of VM {vm.id} (web): 1024 MB -> 2048 MB"]


class TestPower:
    def test_off_and_on_and_again(self, world: World, vms: Vms, sent: list[ont.CallRecord]) -> None:
        vm = vms.ensure(world.spec())
        vm.power_off()
        assert vm.status().is_off
        sent.clear()
        vm.power_off()
        assert mutations(sent) == []
        vm.power_on()
        assert vm.status().is_running
        sent.clear()
        vm.power_on()
        assert mutations(sent) == []
        vm.reboot()
        vm.reboot(hard=True)
        assert vm.status().is_running

    @pytest.mark.parametrize("action", ["suspend", "stop", "undeploy-hard"])
    def test_a_machine_at_rest_is_started(
        self, server: Emulator, world: World, vms: Vms, admin: Raw, action: str
    ) -> None:
        vm = vms.ensure(world.spec())
        admin("one.vm.action", action, vm.id)
        server.settle()
        vm.power_on()
        assert vm.status().is_running

    def test_a_machine_powered_off_by_hand_after_an_interrupted_resizing_stays_off(
        self, server: Emulator, world: World, vms: Vms
    ) -> None:
        vm = vms.ensure(world.spec())
        server.cloud.driver_actions.fail("deploy")
        with pytest.raises(ont.RollbackIncomplete):
            vm.resize(LARGER)
        server.cloud.driver_actions.mend()
        vm.power_off()
        vm.resize(LARGER)
        assert vm.status().is_off


class TestUsage:
    def test_all_disks_count_and_a_machine_that_is_off_counts_too(
        self, world: World, vms: Vms, admin: Raw, server: Emulator, sent: list[ont.CallRecord]
    ) -> None:
        data = admin("one.image.allocate", 'NAME=data\nTYPE=DATABLOCK\nSIZE=512\nPATH=""', 1)
        server.settle()
        first = vms.ensure(world.spec(images=(data,)))
        second = vms.ensure(world.spec(key="other", size=VmSize(vcpu=1, cpu="0.5", memory_mb=256, disk_mb=2048)))
        second.power_off(hard=True)
        sent.clear()
        usage = vms.usage()
        assert [record.method for record in sent] == ["one.vmpool.infoextended"]
        assert usage[second.id] == VmUsage(vcpu=1, cpu=Decimal("0.5"), memory_mb=256, disk_mb=2048)
        assert usage[first.id] == first.usage()
        assert usage[first.id].disk_mb == 4096 + int(admin.xml("one.image.info", data).findtext("SIZE") or "")
        assert (usage[first.id].first_disk_mb, usage[second.id].first_disk_mb) == (4096, 2048)
        assert vms.usage(vdc=4711) == {}

    def test_the_size_of_the_first_disk_is_that_which_asks_for_no_change_whatever_comes_with_it(
        self, world: World, vms: Vms, admin: Raw, server: Emulator, sent: list[ont.CallRecord]
    ) -> None:
        cd = admin("one.image.allocate", 'NAME=cd\nTYPE=CDROM\nSIZE=700\nPATH="/cd.iso"', 1)
        server.settle()
        template = admin(
            "one.template.allocate",
            f'NAME="four"\nCPU=1\nMEMORY=256\nDISK=[IMAGE_ID={cd}]\nDISK=[IMAGE_ID={world.image}]\n'
            "DISK=[TYPE=swap,SIZE=100]\nDISK=[TYPE=fs,SIZE=200,FORMAT=raw]",
        )
        vm = vms.ensure(world.spec(template=template))
        usage = vm.usage()
        assert (usage.disk_mb, usage.first_disk_mb) == (4096 + 100 + 200, 4096)
        group = admin.xml("one.group.info", world.vdc)
        assert group.findtext("VM_QUOTA/VM/SYSTEM_DISK_SIZE_USED") == str(usage.disk_mb)
        sent.clear()
        vm.resize(VmSize(vcpu=usage.vcpu, memory_mb=usage.memory_mb, disk_mb=usage.first_disk_mb))
        assert mutations(sent) == []

    def test_a_machine_without_a_disk_to_size_has_none(
        self, world: World, vms: Vms, admin: Raw, server: Emulator
    ) -> None:
        cd = admin("one.image.allocate", 'NAME=cd\nTYPE=CDROM\nSIZE=700\nPATH="/cd.iso"', 1)
        server.settle()
        text = f'NAME="live"\nCPU=1\nMEMORY=256\nDISK=[IMAGE_ID={cd}]'
        usage = vms.ensure(world.spec(template=admin("one.template.allocate", text), size=VmSize(vcpu=1))).usage()
        assert (usage.disk_mb, usage.first_disk_mb) == (0, 0)

    def test_what_is_terminated_or_not_ours_is_not_in_it(self, world: World, vms: Vms, admin: Raw) -> None:
        admin("one.template.instantiate", 0, "foreign", False, f'AS_GID="{world.vdc}"', False)
        vm = vms.ensure(world.spec())
        assert list(vms.usage()) == [vm.id]
        vm.delete()
        assert vms.usage() == {}
        with pytest.raises(ont.WentAway):
            vm.usage()


class TestFinding:
    def test_by_id_name_and_key(self, world: World, vms: Vms) -> None:
        vm = vms.ensure(world.spec())
        assert vms.get(vm.id) == vms.find("web") == vms.find_key(KEY) == vms.find_key(KEY, vdc=world.vdc) == vm
        assert vms.find("other") is None
        assert vms.find("web", vdc=4711) is None
        assert vms.find_key("other") is None
        assert vms.list(vdc=world.vdc) == (vm,)
        assert hash(vms.get(vm.id)) == hash(vm)
        with pytest.raises(ont.WentAway, match="there is no VM 4711"):
            vms.get(4711)
        assert "web" in vm._repr_html_()

    def test_an_unfinished_machine_has_not_been_handed_out(self, world: World, vms: Vms, admin: Raw) -> None:
        vm = vms.ensure(world.spec())
        admin("one.vm.update", vm.id, 'TENANCY_PHASE="creating"', 1)
        assert vms.find_key(KEY) is None


class TestDelete:
    def test_all_that_it_took_is_given_back_when_it_returns(self, world: World, vms: Vms) -> None:
        before = world.shot()
        vm = vms.ensure(world.spec())
        vm.delete()
        assert world.shot() == before

    def test_a_machine_that_is_gone_is_a_success(self, world: World, vms: Vms, sent: list[ont.CallRecord]) -> None:
        vm = vms.ensure(world.spec())
        vm.delete()
        sent.clear()
        vm.delete()
        vms.delete(4711, key=KEY)
        assert mutations(sent) == []

    def test_waiting_can_be_left_to_others(self, world: World, vms: Vms, server: Emulator) -> None:
        vm = vms.ensure(world.spec())
        server.cloud.driver_actions["cancel"] = 0.5
        vm.delete(wait=False)
        assert len(world.machines()) == 1
        server.settle()
        assert world.machines() == []

    def test_the_key_is_free_again(self, world: World, vms: Vms) -> None:
        first = vms.ensure(world.spec())
        first.delete()
        second: Any = vms.ensure(world.spec())
        assert second.id != first.id
