"""Each transition of a machine failing: what is left is said, and the next run ends as an undisturbed one."""

from typing import Any

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy import vm_waiting
from opennebula_tenancy.emulator import Config, Emulator
from opennebula_tenancy.vm_size import VmSize
from opennebula_tenancy.vms import Vms
from vms.world import LARGER, STEP_S, World


SHORT_S = 1.0


@pytest.fixture(autouse=True)
def _impatient_with_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vm_waiting, "_BEGIN_S", SHORT_S)
    monkeypatch.setattr(vm_waiting, "_NOTED_S", SHORT_S / 5)


def user_template(world: World) -> dict[str, str]:
    return {item.tag: item.text or "" for item in world.machines()[0].find("USER_TEMPLATE")}


def not_running_usage(shot: Any) -> Any:
    """What was seen, but for RUNNING_* usage: oned counts a machine as running when it is to resume, and does not take
    that back when it fails to (LifeCycleManager::trigger_deploy_failure)."""
    machines, used, leases = shot
    return machines, {name: value for name, value in used.items() if not name.startswith("RUNNING")}, leases


class TestCreate:
    @pytest.mark.parametrize("action", ["prolog", "deploy"])
    def test_a_machine_whose_driver_fails_is_removed_and_the_error_says_why(
        self, server: Emulator, world: World, vms: Vms, action: str
    ) -> None:
        server.cloud.driver_actions.fail(action, message="no space left on device")
        before = world.shot()
        with pytest.raises(ont.EnteredFailureState, match=r"no space left on device.*removed again") as caught:
            vms.ensure(world.spec())
        assert "_FAILURE" in str(caught.value)
        assert world.shot() == before
        server.cloud.driver_actions.mend()
        assert vms.ensure(world.spec()).status().is_running
        assert len(world.machines()) == 1

    def test_a_machine_that_fails_is_kept_on_request_until_the_key_is_used_again(
        self, server: Emulator, world: World, vms: Vms
    ) -> None:
        server.cloud.driver_actions.fail("deploy", message="no space left on device")
        with pytest.raises(ont.EnteredFailureState, match=r"no space left on device.*is kept"):
            vms.ensure(world.spec(), keep_failed=True)
        kept = world.machines()
        assert [vm.findtext("LCM_STATE") for vm in kept] == ["36"]
        assert [str(change) for change in vms.plan(world.spec())] == [
            f"delete VM {kept[0].findtext('ID')} (web): ACTIVE/BOOT_FAILURE",
            f"create VM web: of VM template {world.template}",
        ]
        server.cloud.driver_actions.mend()
        vm = vms.ensure(world.spec())
        assert [machine.findtext("ID") for machine in world.machines()] == [str(vm.id)]
        assert str(vm.id) != kept[0].findtext("ID")

    @pytest.mark.parametrize("action", ["prolog", "deploy"])
    def test_a_machine_whose_driver_never_answers_is_removed_when_its_time_is_over(
        self, server: Emulator, world: World, vms: Vms, action: str
    ) -> None:
        server.cloud.driver_actions.hang(action)
        before = world.shot()
        with pytest.raises(ont.WaitTimeout, match=r"is not running, but ACTIVE/(PROLOG|BOOT), after 0.2 s"):
            vms.ensure(world.spec(), timeout_s=0.2)
        assert world.shot() == before
        server.cloud.driver_actions.mend()
        assert vms.ensure(world.spec()).status().is_running

    def test_a_machine_that_no_host_takes_is_removed_and_the_error_has_the_scheduler_s_reason(
        self, world: World, vms: Vms
    ) -> None:
        before = world.shot()
        with pytest.raises(ont.WaitTimeout, match=r"PENDING .*(host|HOST)"):
            vms.ensure(world.spec(sched_requirements='NAME = "nowhere"'), timeout_s=0.3)
        assert world.shot() == before

    def test_a_machine_that_is_terminated_while_it_is_waited_for_went_away(
        self, server: Emulator, world: World, vms: Vms
    ) -> None:
        server.cloud.driver_actions["deploy"] = 5.0

        def terminate(status: Any) -> None:
            if str(status) == "ACTIVE/BOOT":
                world.admin("one.vm.recover", int(world.machines()[0].findtext("ID")), 3)

        with pytest.raises(ont.WentAway, match="terminated before it was running"):
            vms.ensure(world.spec(), on_status=terminate)
        assert world.machines() == []

    def test_a_machine_that_was_handed_out_is_never_removed_when_it_fails_later(
        self, server: Emulator, world: World, vms: Vms
    ) -> None:
        vm = vms.ensure(world.spec())
        world.admin("one.vm.action", "undeploy-hard", vm.id)
        server.settle()
        server.cloud.driver_actions.fail("deploy")
        world.admin("one.vm.action", "resume", vm.id)
        server.settle()
        with pytest.raises(ont.EnteredFailureState, match=r"BOOT_UNDEPLOY_FAILURE.*stays"):
            vms.ensure(world.spec())
        assert [machine.findtext("ID") for machine in world.machines()] == [str(vm.id)]


class TestResize:
    def test_a_machine_that_cannot_be_powered_off_keeps_running_as_it_was(
        self, server: Emulator, world: World, vms: Vms
    ) -> None:
        vm = vms.ensure(world.spec())
        before = world.shot()
        server.cloud.driver_actions.fail("shutdown")
        server.cloud.driver_actions.fail("cancel")
        with pytest.raises(ont.EnteredFailureState, match="not powered off"):
            vm.resize(LARGER)
        assert world.shot() == before
        server.cloud.driver_actions.mend()
        assert vm.resize(LARGER).vcpu == 4
        assert vm.status().is_running

    def test_a_disk_that_does_not_grow_is_an_error_and_size_and_power_are_restored(
        self, server: Emulator, world: World, vms: Vms
    ) -> None:
        vm = vms.ensure(world.spec())
        before = world.shot()
        server.cloud.driver_actions.fail("resize_disk", message="storage is full")
        with pytest.raises(ont.VerificationFailed, match="has 4096 MB still, not 8192 MB"):
            vm.resize(LARGER)
        server.settle()
        assert world.shot() == before
        server.cloud.driver_actions.mend()
        vm.resize(LARGER)
        assert (vm.usage().vcpu, vm.usage().disk_mb) == (4, 8192)

    def test_a_disk_alone_that_does_not_grow_while_the_machine_runs_costs_no_downtime(
        self, server: Emulator, world: World, vms: Vms, sent: list[ont.CallRecord]
    ) -> None:
        vm = vms.ensure(world.spec())
        before = world.shot()
        server.cloud.driver_actions.fail("resize_disk")
        sent.clear()
        with pytest.raises(ont.VerificationFailed, match="has 4096 MB still"):
            vm.resize(VmSize(disk_mb=8192))
        assert "one.vm.action" not in [record.method for record in sent]
        assert world.shot() == before

    def test_a_machine_that_does_not_start_again_gets_its_old_size_back_and_is_tried_once_more(
        self, server: Emulator, world: World, vms: Vms
    ) -> None:
        vm = vms.ensure(world.spec())
        before = world.shot()
        server.cloud.driver_actions.fail("deploy", times=1)
        with pytest.raises(ont.EnteredFailureState, match="POWEROFF, not running"):
            vm.resize(VmSize(vcpu=4, memory_mb=2048))
        assert not_running_usage(world.shot()) == not_running_usage(before)
        vm.resize(VmSize(vcpu=4, memory_mb=2048))
        assert vm.usage().vcpu == 4
        assert vm.status().is_running

    def test_what_could_not_be_restored_is_said_and_the_next_run_starts_the_machine(
        self, server: Emulator, world: World, vms: Vms
    ) -> None:
        vm = vms.ensure(world.spec())
        server.cloud.driver_actions.fail("deploy")
        with pytest.raises(ont.RollbackIncomplete) as caught:
            vm.resize(LARGER)
        assert caught.value.leftovers == (
            f"disk 0 of VM {vm.id} with 8192 MB, it had 4096 MB",
            f"VM {vm.id} powered off, it was running",
        )
        assert isinstance(caught.value.cause, ont.EnteredFailureState)
        assert vm.usage().vcpu == 2
        assert vm.status().is_off
        server.cloud.driver_actions.mend()
        vm.resize(LARGER)
        assert vm.status().is_running
        assert (vm.usage().vcpu, vm.usage().disk_mb) == (4, 8192)
        assert user_template(world)["TENANCY_PHASE"] == "ready"

    def test_ensure_too_starts_a_machine_whose_resizing_was_interrupted(
        self, server: Emulator, world: World, vms: Vms
    ) -> None:
        vm = vms.ensure(world.spec())
        server.cloud.driver_actions.fail("deploy")
        with pytest.raises(ont.RollbackIncomplete):
            vm.resize(LARGER)
        server.cloud.driver_actions.mend()
        assert [change.action for change in vms.plan(world.spec(size=LARGER))] == ["set", "set", "set", "start"]
        assert vms.ensure(world.spec(size=LARGER)) == vm
        assert vm.status().is_running
        assert not vms.plan(world.spec(size=LARGER))


class TestLiveResize:
    @pytest.fixture(name="server")
    def _server(self) -> Any:
        with Emulator(populated=True, config=Config(step_s=STEP_S, live_resize=True)) as server:
            yield server

    def test_a_driver_that_can_do_so_changes_all_of_it_while_the_machine_runs(
        self, world: World, vms: Vms, sent: list[ont.CallRecord]
    ) -> None:
        vm = vms.ensure(world.spec())
        sent.clear()
        assert vm.resize(LARGER).disk_mb == 8192
        changing = [record.method for record in sent if record.mutates]
        assert changing == ["one.vm.resize", "one.vm.diskresize"]
        assert vm.status().is_running

    def test_what_fails_while_the_machine_runs_is_done_while_it_is_off(
        self, server: Emulator, world: World, vms: Vms
    ) -> None:
        vm = vms.ensure(world.spec())
        server.cloud.driver_actions.fail("resize", times=1)
        assert vm.resize(LARGER).vcpu == 4
        assert vm.status().is_running

    def test_live_resizing_can_be_declined(self, world: World, vms: Vms, sent: list[ont.CallRecord]) -> None:
        vm = vms.ensure(world.spec())
        sent.clear()
        vm.resize(LARGER, live=False)
        assert [record.method for record in sent if record.mutates].count("one.vm.action") == 2
        assert vm.status().is_running


class TestDelete:
    @pytest.mark.parametrize("action", ["cancel", "epilog"])
    def test_a_machine_whose_driver_fails_to_end_it_is_removed_all_the_same(
        self, server: Emulator, world: World, vms: Vms, action: str
    ) -> None:
        before = world.shot()
        vm = vms.ensure(world.spec())
        server.cloud.driver_actions.fail(action)
        vm.delete(timeout_s=60)
        assert world.shot() == before

    @pytest.mark.parametrize("action", ["prolog", "deploy"])
    def test_a_machine_that_refuses_to_be_terminated_on_its_way_is_removed(
        self, server: Emulator, world: World, vms: Vms, action: str
    ) -> None:
        vm = vms.ensure(world.spec())
        world.admin("one.vm.action", "undeploy-hard", vm.id)
        server.settle()
        server.cloud.driver_actions.hang(action)
        world.admin("one.vm.action", "resume", vm.id)
        server.settle()
        vm.delete(timeout_s=60)
        assert world.machines() == []

    @pytest.mark.parametrize("action", ["poweroff-hard", "suspend", "stop", "undeploy-hard"])
    def test_a_machine_at_rest_is_removed(self, server: Emulator, world: World, vms: Vms, action: str) -> None:
        vm = vms.ensure(world.spec())
        world.admin("one.vm.action", action, vm.id)
        server.settle()
        vm.delete()
        assert world.machines() == []
