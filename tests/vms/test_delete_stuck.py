"""Machines that do not end: drivers that never answer, hosts that are gone, ends that were begun long ago."""

import time

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy import vm_removal, vm_waiting
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from opennebula_tenancy.vms import Vms
from tenants.raw import Raw
from vms.world import World


LONG_S = 60.0
STATES = {"cancel": "ACTIVE/SHUTDOWN", "epilog": "ACTIVE/EPILOG"}
"""For an action whose driver never answers the state that the machine is stuck in."""
NETWORK = ont.NetworkSpec(external_network=0, router_template=8)


@pytest.fixture(autouse=True)
def _impatient_with_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vm_removal, "_PATIENCE", 0.2)
    monkeypatch.setattr(vm_removal, "_PATIENCE_ONCE_MORE", 0.05)
    monkeypatch.setattr(vm_waiting, "_BEGIN_S", 1.0)
    monkeypatch.setattr(vm_waiting, "_NOTED_S", 0.2)


def stuck(server: Emulator, vm: ont.Vm, action: str) -> None:
    """Let a machine begin to end, as another run has asked for, and never end."""
    server.cloud.driver_actions.hang(action)
    vm.delete(wait=False)
    server.settle()
    assert str(vm.status()) == STATES[action]


class TestOneMachine:
    @pytest.mark.parametrize("action", STATES)
    def test_a_driver_that_never_answers_is_not_waited_for_longer_than_a_share_of_the_time(
        self, server: Emulator, world: World, vms: Vms, sent: list[ont.CallRecord], action: str
    ) -> None:
        before = world.shot()
        vm = vms.ensure(world.spec())
        server.cloud.driver_actions.hang(action)
        sent.clear()
        began_s = time.monotonic()
        vm.delete(timeout_s=5)
        assert 1 <= time.monotonic() - began_s < 5
        assert [record.method for record in sent if record.mutates] == ["one.vm.action", "one.vm.recover"]
        assert world.shot() == before

    @pytest.mark.parametrize("action", STATES)
    def test_one_that_was_ending_already_is_given_less_time(
        self, server: Emulator, world: World, vms: Vms, action: str
    ) -> None:
        before = world.shot()
        vm = vms.ensure(world.spec())
        stuck(server, vm, action)
        began_s = time.monotonic()
        vm.delete(timeout_s=20)
        assert 1 <= time.monotonic() - began_s < 4
        assert world.shot() == before

    @pytest.mark.parametrize("lost", [True, False])
    def test_that_it_is_deleted_is_not_taken_for_done_where_the_request_was_lost(
        self, server: Emulator, world: World, vms: Vms, lost: bool
    ) -> None:
        vm = vms.ensure(world.spec())
        stuck(server, vm, "cancel")
        kind = FaultKind.TRUNCATE if lost else FaultKind.LOSE_REPLY
        server.faults.arm(Fault(kind=kind, method="one.vm.recover"))
        vm.delete(timeout_s=4)
        assert world.machines() == []

    def test_disks_that_are_being_saved_to_images_that_stay_are_left_at_that(
        self, server: Emulator, world: World, vms: Vms, admin: Raw, sent: list[ont.CallRecord]
    ) -> None:
        image = admin("one.image.allocate", 'NAME=data\nTYPE=DATABLOCK\nSIZE=512\nPERSISTENT=YES\nPATH=""', 1)
        server.settle()
        vm = vms.ensure(world.spec(images=(image,)))
        stuck(server, vm, "epilog")
        sent.clear()
        with pytest.raises(ont.WaitTimeout, match=r"ACTIVE/EPILOG, .*saved to images that stay.*recover --delete"):
            vm.delete(timeout_s=0.4)
        assert "one.vm.recover" not in [record.method for record in sent]
        admin("one.vm.recover", vm.id, 1)
        vm.delete(timeout_s=LONG_S)
        assert world.machines() == []
        assert admin.xml("one.image.info", image).findtext("STATE") == "1"

    def test_one_that_was_kept_from_ending_by_nobody_is_left_to_it(
        self, server: Emulator, world: World, vms: Vms, sent: list[ont.CallRecord]
    ) -> None:
        vm = vms.ensure(world.spec())
        server.cloud.driver_actions["epilog"] = 0.5
        sent.clear()
        vm.delete(timeout_s=LONG_S)
        assert [record.method for record in sent if record.mutates] == ["one.vm.action"]


class TestATenant:
    @pytest.mark.parametrize(("how", "action"), [("hang", "cancel"), ("hang", "epilog"), ("fail", "cancel")])
    def test_machines_and_routers_that_do_not_end_do_not_keep_a_tenant(
        self, server: Emulator, cloud: ont.Cloud, how: str, action: str
    ) -> None:
        spec = ont.VdcSpec(name="routed", key="key-of-routed", clusters=(0,), network=NETWORK)
        vdc = cloud.vdcs.ensure(spec)
        vm = cloud.vms.ensure(ont.VmSpec(name="web", key="key-of-web", vdc=vdc.id, template=0))
        actions = server.cloud.driver_actions
        (actions.hang if how == "hang" else actions.fail)(action)
        vdc.delete(terminate_vms=True, timeout_s=5)
        assert cloud.vdcs.find_key(spec.key) is None
        with pytest.raises(ont.WentAway):
            vm.status()
