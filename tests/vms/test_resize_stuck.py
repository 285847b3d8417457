"""Resizings that do not get on: drivers that never answer, guests that do not go off, hosts that are lost.

Each ends in its time, and its error says what is left as it is, and no more.
"""

import threading
import time
from collections.abc import Iterator

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy import vm_removal, vm_waiting
from opennebula_tenancy.emulator import Config, Emulator, Fault, FaultKind, monitoring
from opennebula_tenancy.vm_size import VmSize
from opennebula_tenancy.vms import Vms
from vms.world import LARGER, SIZE, STEP_S, World, connect


SHORT_S = 0.5
SPARE_S = 1.5
"""What a busy machine may add to times, in seconds."""
FAILURE, SUCCESS, DELETE = 0, 1, 3
"""The operations of one.vm.recover."""


@pytest.fixture(autouse=True)
def _impatient_with_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vm_waiting, "_BEGIN_S", 1.0)
    monkeypatch.setattr(vm_waiting, "_NOTED_S", 0.2)


def phase(world: World) -> str | None:
    found: str | None = world.machines()[0].findtext("USER_TEMPLATE/TENANCY_PHASE")
    return found


def lose(server: Emulator, vm: ont.Vm) -> None:
    """Let the host of a machine not find it any more: it is UNKNOWN."""
    with server.cloud.lock:
        monitoring.lost(server.cloud, vm.id)


OFF, GROWS, STARTS = "ACTIVE/SHUTDOWN_POWEROFF", "ACTIVE/DISK_RESIZE_POWEROFF", "ACTIVE/BOOT_POWEROFF"
STUCK = {
    "cancel": (OFF, (f"VM 0 {OFF}, it was running",)),
    "resize_disk": (
        GROWS,
        (
            f"disk 0 of VM 0 with 8192 MB ({GROWS}), it had 4096 MB",
            f"VM 0 with 4 cores and 2048 MB ({GROWS}), it had 2 and 1024 MB",
            f"VM 0 {GROWS}, it was running",
        ),
    ),
    "deploy": (
        STARTS,
        (
            f"disk 0 of VM 0 with 8192 MB ({STARTS}), it had 4096 MB",
            f"VM 0 with 4 cores and 2048 MB ({STARTS}), it had 2 and 1024 MB",
            f"VM 0 {STARTS}, it was running",
        ),
    ),
}
"""For an action whose driver never answers: the state that the machine is stuck in, and what is left."""


class TestDriversThatNeverAnswer:
    @pytest.mark.parametrize("operation", [FAILURE, SUCCESS])
    @pytest.mark.parametrize("action", STUCK)
    def test_what_is_left_is_said_in_time_and_the_next_run_ends_it_once_the_machine_is_recovered(
        self, server: Emulator, world: World, vms: Vms, action: str, operation: int
    ) -> None:
        vm = vms.ensure(world.spec())
        state, left = STUCK[action]
        server.cloud.driver_actions.hang(action)
        if action == "cancel":
            server.cloud.driver_actions.hang("shutdown")
        began_s = time.monotonic()
        with pytest.raises(ont.RollbackIncomplete) as caught:
            vm.resize(LARGER, timeout_s=SHORT_S)
        # An orderly and a hard try to power off at most, or one other step; and one way back.
        assert time.monotonic() - began_s < 3 * SHORT_S + SPARE_S
        assert caught.value.leftovers == left
        assert isinstance(caught.value.cause, ont.WaitTimeout)
        assert str(vm.status()) == state
        server.cloud.driver_actions.mend()
        with pytest.raises(ont.WaitTimeout, match=rf"^VM 0 \(web\) is not at rest, but {state}, after 0.1 s$"):
            vm.resize(LARGER, timeout_s=0.1)
        world.admin("one.vm.recover", vm.id, operation)
        server.settle()
        vm.resize(LARGER)
        assert vm.status().is_running
        assert (vm.usage().vcpu, vm.usage().disk_mb, phase(world)) == (4, 8192, "ready")

    @pytest.mark.parametrize("action", ["cancel", "resize_disk", "deploy"])
    def test_a_machine_that_is_stuck_so_can_be_deleted(
        self, server: Emulator, world: World, vms: Vms, action: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(vm_removal, "_SETTLING_S", 0.1)
        before = world.shot()
        vm = vms.ensure(world.spec())
        for name in {action, "shutdown"}:
            server.cloud.driver_actions.hang(name)
        with pytest.raises(ont.RollbackIncomplete):
            vm.resize(LARGER, timeout_s=SHORT_S, hard=action != "cancel")
        vm.delete(timeout_s=60)
        machines, used, leases = world.shot()
        assert (machines, leases) == (before[0], before[2])
        # OpenNebula's own count of running machines and of disks that were growing does not survive that.
        for name in ("VMS_USED", "CPU_USED", "MEMORY_USED"):
            assert used[name] == before[1][name]

    def test_a_disk_that_hangs_while_the_machine_runs_is_the_one_thing_that_is_left(
        self, server: Emulator, world: World, vms: Vms
    ) -> None:
        vm = vms.ensure(world.spec())
        server.cloud.driver_actions.hang("resize_disk")
        with pytest.raises(ont.RollbackIncomplete) as caught:
            vm.resize(VmSize(disk_mb=8192), timeout_s=SHORT_S)
        assert caught.value.leftovers == ("disk 0 of VM 0 with 8192 MB (ACTIVE/DISK_RESIZE), it had 4096 MB",)

    def test_a_machine_that_is_terminated_meanwhile_leaves_nothing(
        self, server: Emulator, world: World, vms: Vms
    ) -> None:
        before = world.shot()
        vm = vms.ensure(world.spec())
        server.cloud.driver_actions.hang("deploy")

        def end_it() -> None:
            deadline_s = time.monotonic() + 30
            while str(vm.status()) != STARTS and time.monotonic() < deadline_s:
                time.sleep(0.005)
            world.admin("one.vm.recover", vm.id, DELETE)

        ending = threading.Thread(target=end_it)
        ending.start()
        with pytest.raises(ont.WentAway, match=r"VM 0 \(web\) was terminated before it was running"):
            vm.resize(LARGER, timeout_s=60)
        ending.join()
        assert world.shot() == before


class TestLiveDriversThatNeverAnswer:
    @pytest.fixture(name="server")
    def _server(self) -> Iterator[Emulator]:
        with Emulator(populated=True, config=Config(step_s=STEP_S, live_resize=True)) as server:
            yield server

    def test_cores_and_memory_are_said_once(self, server: Emulator, world: World, vms: Vms) -> None:
        vm = vms.ensure(world.spec())
        server.cloud.driver_actions.hang("resize")
        with pytest.raises(ont.RollbackIncomplete) as caught:
            vm.resize(LARGER, timeout_s=SHORT_S)
        assert caught.value.leftovers == (
            "VM 0 with 4 cores and 2048 MB (ACTIVE/HOTPLUG_RESIZE), it had 2 and 1024 MB",
        )

    def test_a_driver_that_failed_live_leaves_no_line_when_the_rest_fails_too(
        self, server: Emulator, world: World, vms: Vms
    ) -> None:
        vm = vms.ensure(world.spec())
        server.cloud.driver_actions.fail("resize")
        server.cloud.driver_actions.fail("deploy")
        with pytest.raises(ont.RollbackIncomplete) as caught:
            vm.resize(VmSize(vcpu=4), timeout_s=SHORT_S * 20)
        assert caught.value.leftovers == ("VM 0 powered off, it was running",)
        assert vm.usage().vcpu == 2


class TestPoweringOff:
    def test_the_system_is_asked_to_shut_down_before_its_plug_is_pulled(
        self, server: Emulator, world: World, vms: Vms
    ) -> None:
        vm = vms.ensure(world.spec())
        server.cloud.driver_actions.fail("cancel")
        assert vm.resize(LARGER).vcpu == 4
        assert vms.ensure(world.spec(size=VmSize(vcpu=3))).usage().vcpu == 3
        assert vm.status().is_running

    def test_the_plug_of_a_system_that_does_not_shut_down_is_pulled_after_its_time(
        self, server: Emulator, world: World, vms: Vms
    ) -> None:
        vm = vms.ensure(world.spec())
        server.cloud.driver_actions.hang("shutdown")
        began_s = time.monotonic()
        assert vm.resize(LARGER, poweroff_timeout_s=SHORT_S).vcpu == 4
        assert SHORT_S <= time.monotonic() - began_s < SHORT_S + SPARE_S
        assert vm.status().is_running

    def test_a_system_that_refuses_to_shut_down_is_not_waited_for(
        self, server: Emulator, world: World, vms: Vms
    ) -> None:
        vm = vms.ensure(world.spec())
        server.cloud.driver_actions.fail("shutdown")
        began_s = time.monotonic()
        assert vm.resize(LARGER, poweroff_timeout_s=60).vcpu == 4
        assert time.monotonic() - began_s < 30
        assert vm.status().is_running

    def test_the_plug_is_pulled_at_once_where_that_is_asked_for(self, server: Emulator, world: World, vms: Vms) -> None:
        vm = vms.ensure(world.spec())
        server.cloud.driver_actions.hang("shutdown")
        began_s = time.monotonic()
        assert vm.resize(LARGER, hard=True).vcpu == 4
        assert time.monotonic() - began_s < 30

    def test_a_request_to_pull_the_plug_that_was_lost_is_not_taken_for_the_one_to_shut_down(
        self, server: Emulator, world: World, vms: Vms
    ) -> None:
        vm = vms.ensure(world.spec())
        server.cloud.driver_actions.hang("shutdown")

        def lose_the_next(record: ont.CallRecord) -> None:
            if record.method == "one.vm.action" and record.outcome == "ok" and not lost:
                lost.append(record)
                server.faults.add(Fault(kind=FaultKind.DROP, method="one.vm.action"))

        lost: list[ont.CallRecord] = []
        with connect(server, on_call=lose_the_next) as cloud:
            usage = cloud.vms.resize(vm.id, LARGER, key=vm.key, poweroff_timeout_s=SHORT_S, timeout_s=30)
        assert (len(lost), usage.vcpu) == (1, 4)


class TestMachinesOnTheirWay:
    def test_a_machine_that_its_host_has_lost_needs_no_change_where_it_has_its_size(
        self, server: Emulator, world: World, vms: Vms, sent: list[ont.CallRecord]
    ) -> None:
        vm = vms.ensure(world.spec())
        lose(server, vm)
        sent.clear()
        assert vms.ensure(world.spec(), timeout_s=60) == vm
        assert vm.resize(SIZE, timeout_s=60).vcpu == 2
        assert [record.method for record in sent if record.mutates] == []
        assert str(vm.status()) == "ACTIVE/UNKNOWN"

    def test_a_machine_that_its_host_has_lost_is_waited_for_and_named_with_its_state(
        self, server: Emulator, world: World, vms: Vms, sent: list[ont.CallRecord]
    ) -> None:
        vm = vms.ensure(world.spec())
        world.admin("one.vm.update", vm.id, 'ERROR="the host does not answer"', 1)
        lose(server, vm)
        sent.clear()
        said = r"^VM 0 \(web\) is not at rest, but ACTIVE/UNKNOWN \(the host does not answer\), after 0.1 s$"
        with pytest.raises(ont.WaitTimeout, match=said):
            vm.resize(LARGER, timeout_s=0.1)
        with pytest.raises(ont.WaitTimeout, match=said):
            vms.ensure(world.spec(size=LARGER), timeout_s=0.1)
        assert [record.method for record in sent if record.mutates] == []

    def test_a_machine_that_gets_an_interface_needs_no_wait_where_it_has_its_size(
        self, server: Emulator, world: World, vms: Vms
    ) -> None:
        vm = vms.ensure(world.spec())
        server.cloud.driver_actions.hang("attach_nic")
        world.admin("one.vm.attachnic", vm.id, f"NIC=[NETWORK_ID={world.network}]")
        assert str(vm.status()) == "ACTIVE/HOTPLUG_NIC"
        assert vms.ensure(world.spec(), timeout_s=60) == vm
        assert vm.resize(SIZE, timeout_s=60).vcpu == 2
        with pytest.raises(ont.WaitTimeout, match=r"VM 0 \(web\) is not at rest, but ACTIVE/HOTPLUG_NIC, after"):
            vm.resize(LARGER, timeout_s=0.1)

    def test_one_that_is_being_resized_is_waited_for_although_it_shows_its_new_size(
        self, server: Emulator, world: World, vms: Vms
    ) -> None:
        vm = vms.ensure(world.spec())
        server.cloud.driver_actions.fail("resize_disk", times=1, after_s=0.2)
        world.admin("one.vm.diskresize", vm.id, 0, "8192")
        assert vm.usage().disk_mb == 8192
        assert vm.resize(VmSize(disk_mb=8192)).disk_mb == 8192
        assert vm.status().is_running
