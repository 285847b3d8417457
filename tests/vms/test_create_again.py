"""What becomes of a machine that is begun and not finished, and of one that was finished and is asked for otherwise."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind, vmtemplates
from opennebula_tenancy.vm_size import VmSize
from opennebula_tenancy.vms import Vms
from tenants.raw import Raw
from vms.world import KEY, LARGER, World, connect, ed25519


class Killed(BaseException):
    """The end of a process, from where it stands."""


def begun(server: Emulator, world: World, **asked: Any) -> int:
    """A machine whose run was killed just after it was made."""

    def kill(record: ont.CallRecord) -> None:
        if killed or record.method == "one.template.instantiate":
            killed.append(record.method)
            raise Killed

    killed: list[str] = []
    with contextlib.suppress(Killed), connect(server, on_call=kill) as cloud:
        cloud.vms.ensure(world.spec(**asked))
    server.settle()
    (machine,) = world.machines()
    return int(machine.findtext("ID"))


@contextlib.contextmanager
def meddled_with(server: Emulator, world: World, meddle: Callable[[int], None]) -> Iterator[ont.Cloud]:
    """A cloud where somebody does something to a machine in the moment that it is there."""

    def hear(record: ont.CallRecord) -> None:
        if record.method == "one.template.instantiate":
            (machine,) = world.machines()
            meddle(int(machine.findtext("ID")))

    with connect(server, on_call=hear) as cloud:
        yield cloud


def everywhere(admin: Raw) -> list[str | None]:
    """The ids of all machines that are not terminated, whatever group they are in."""
    return [vm.findtext("ID") for vm in admin.xml("one.vmpool.info", -2, -1, -1, -1)]


def mutations(sent: list[ont.CallRecord]) -> list[str]:
    return [record.method for record in sent if record.mutates]


class TestTakenUp:
    def test_a_machine_that_is_as_asked_for_is_finished(self, server: Emulator, world: World, vms: Vms) -> None:
        vm_id = begun(server, world)
        plan = vms.plan(world.spec())
        assert [str(change) for change in plan] == [f"start VM {vm_id} (web): ACTIVE/RUNNING -> RUNNING"]
        assert vms.ensure(world.spec()).id == vm_id

    def test_another_name_is_given_to_it(self, server: Emulator, world: World, vms: Vms) -> None:
        vm_id = begun(server, world)
        assert [change.action for change in vms.plan(world.spec(name="www"))] == ["start", "rename"]
        vm = vms.ensure(world.spec(name="www"))
        assert (vm.id, vm.name) == (vm_id, "www")
        assert [machine.findtext("NAME") for machine in world.machines()] == ["www"]

    @pytest.mark.parametrize(
        ("asked", "reason"),
        [
            (
                {"size": LARGER},
                "its vcpu is 2, not 4; its share is 2, not 4; its memory_mb is 1024, not 2048; its disk_mb",
            ),
            ({"size": VmSize(vcpu=2, cpu_per_vcpu="0.5")}, "its share is 2, not 1.0"),
            ({"template": 0}, "it was made of VM template"),
            ({"ssh_keys": (ed25519("bob"),)}, "it was made with other ssh_keys"),
            ({"context": {"MOTD": "hello"}}, "it was made with another context: MOTD"),
            ({"sched_requirements": "MAX_CPU > 0"}, "it was not made to run where MAX_CPU > 0"),
        ],
    )
    def test_one_that_is_not_as_asked_for_is_removed_and_made_anew_in_the_same_run(
        self, server: Emulator, world: World, vms: Vms, asked: dict[str, Any], reason: str
    ) -> None:
        vm_id = begun(server, world)
        spec = world.spec(**asked)
        removed, made = vms.plan(spec)
        assert (removed.action, removed.subject) == ("delete", f"VM {vm_id} (web)")
        assert removed.before.startswith(reason)
        assert made.action == "create"
        vm = vms.ensure(spec)
        assert vm.id > vm_id
        assert not vms.plan(spec)
        assert vms.plan(spec).notes == ()
        assert [machine.findtext("ID") for machine in world.machines()] == [str(vm.id)]

    def test_the_room_that_it_takes_is_not_missed(self, server: Emulator, world: World, vms: Vms, admin: Raw) -> None:
        admin("one.group.quota", world.vdc, 'VM=[VMS="1",CPU="4"]')
        begun(server, world)
        assert vms.plan(world.spec(size=LARGER))
        assert vms.ensure(world.spec(size=LARGER)).usage().vcpu == 4


class TestRemovedAgain:
    """`removed` is said of a machine only when it is gone."""

    def test_one_that_went_to_another_group_while_it_was_made(self, server: Emulator, world: World, admin: Raw) -> None:
        def move(vm_id: int) -> None:
            admin("one.vm.chown", vm_id, -1, 1)

        with (
            meddled_with(server, world, move) as cloud,
            pytest.raises(ont.VerificationFailed, match=r"is in group 1, not \d+; it is removed again"),
        ):
            cloud.vms.ensure(world.spec())
        assert everywhere(admin) == []

    def test_one_whose_key_was_changed_is_named_and_not_touched(
        self, server: Emulator, world: World, admin: Raw
    ) -> None:
        def change(vm_id: int) -> None:
            admin("one.vm.update", vm_id, "TENANCY_KEY=other", 1)
            admin("one.vm.chown", vm_id, -1, 1)

        with meddled_with(server, world, change) as cloud, pytest.raises(ont.RollbackIncomplete) as caught:
            cloud.vms.ensure(world.spec())
        (left,) = everywhere(admin)
        assert "removed again" not in str(caught.value)
        assert f"VM {left} (web)" in str(caught.value)

    @pytest.mark.parametrize("resumed", [False, True])
    def test_one_that_cannot_be_removed_is_named_behind_the_first_error(
        self, server: Emulator, world: World, vms: Vms, admin: Raw, resumed: bool
    ) -> None:
        server.cloud.driver_actions.hang("deploy")
        if resumed:
            begun(server, world)
        server.faults.arm(
            Fault(kind=FaultKind.REFUSE, method="one.vm.action", times=None),
            Fault(kind=FaultKind.REFUSE, method="one.vm.recover", times=None),
        )
        with pytest.raises(ont.RollbackIncomplete, match=r"is not running, but ACTIVE/BOOT.*left behind: VM") as caught:
            vms.ensure(world.spec(), timeout_s=0.1)
        assert "removed again" not in str(caught.value)
        assert len(everywhere(admin)) == 1
        server.faults.arm()
        server.cloud.driver_actions.mend()

    def test_a_resumed_one_that_fails(self, server: Emulator, world: World, vms: Vms, admin: Raw) -> None:
        server.cloud.driver_actions.hang("deploy")
        begun(server, world)
        with pytest.raises(ont.WaitTimeout, match="it is removed again"):
            vms.ensure(world.spec(), timeout_s=0.1)
        assert everywhere(admin) == []

    @pytest.mark.parametrize(
        ("name", "value", "reason"),
        [
            ("AS_GID", None, "it is in group 0, not"),
            ("VCPU", "1", "its vcpu is 1, not 2"),
            ("MEMORY", "512", "its memory_mb is 512, not 1024"),
            ("NIC", None, "it is not in network"),
            ("DISK", None, "its disk_mb is None, not 4096"),
        ],
    )
    def test_what_a_server_makes_otherwise_than_asked_for(
        self,
        world: World,
        vms: Vms,
        admin: Raw,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        value: str | None,
        reason: str,
    ) -> None:
        whole = vmtemplates._merge

        def merge(call: Any, template: Any, text: str) -> None:
            whole(call, template, text)
            template.erase(name)
            if value is not None:
                template.set(name, value)

        monkeypatch.setattr(vmtemplates, "_merge", merge)
        with pytest.raises(ont.VerificationFailed, match=f"{reason}.*; it is removed again"):
            vms.ensure(world.spec())
        assert everywhere(admin) == []


class TestFinished:
    @pytest.mark.parametrize(
        ("size", "error"), [(VmSize(disk_mb=4095), ont.SettingsError), (VmSize(vcpu=9), ont.QuotaExceeded)]
    )
    def test_a_refusal_changes_nothing_not_even_the_name(
        self, world: World, vms: Vms, admin: Raw, sent: list[ont.CallRecord], size: VmSize, error: type[Exception]
    ) -> None:
        vms.ensure(world.spec())
        twin = vms.ensure(world.spec(key="other"))
        admin("one.vm.update", twin.id, f'TENANCY_KEY="{KEY}"\nTENANCY_PHASE="creating"', 1)
        before = world.shot()
        sent.clear()
        with pytest.raises(error):
            vms.ensure(world.spec(name="renamed", size=size))
        assert mutations(sent) == []
        assert world.shot() == before

    def test_what_holds_from_its_creation_on_is_said_in_the_plan_and_left(
        self, world: World, vms: Vms, admin: Raw, server: Emulator, sent: list[ont.CallRecord]
    ) -> None:
        vm = vms.ensure(world.spec())
        data = admin("one.image.allocate", 'NAME=data\nTYPE=DATABLOCK\nSIZE=512\nPATH=""', 1)
        server.settle()
        spec = world.spec(
            template=0,
            ssh_keys=(ed25519("bob"),),
            context={"MOTD": "hello"},
            networks=(0,),
            images=(data,),
            clusters=(100,),
        )
        before = world.shot()
        plan = vms.plan(spec)
        assert not plan
        (note,) = plan.notes
        assert note == (
            f"VM {vm.id} (web) stays as it was made: it was made of VM template {world.template}, not 0; it was made "
            f"with other ssh_keys; it was made with another context: MOTD; it is not in network 0; it has no disk of "
            f"image {data}; it was not made to run where CLUSTER_ID = 100. This holds only at its creation"
        )
        assert "bob" not in str(plan)
        sent.clear()
        assert vms.ensure(spec) == vm
        assert mutations(sent) == []
        assert world.shot() == before


class TestRoom:
    def test_limits_on_machines_cores_and_memory_are_looked_up_before(
        self, world: World, vms: Vms, admin: Raw, sent: list[ont.CallRecord]
    ) -> None:
        admin("one.group.quota", world.vdc, 'VM=[VMS="1",CPU="3",MEMORY="1024",RUNNING_CPU="1"]')
        spec = world.spec(size=VmSize(vcpu=4, memory_mb=2048))
        for run in (vms.plan, vms.ensure):
            sent.clear()
            with pytest.raises(ont.QuotaExceeded) as caught:
                run(spec)
            assert mutations(sent) == []
            for name in ("CPU", "MEMORY", "RUNNING_CPU"):
                assert f"reached for {name} quota in VM" in str(caught.value)
        admin("one.group.quota", world.vdc, 'VM=[VMS="1"]')
        vms.ensure(spec)
        with pytest.raises(ont.QuotaExceeded, match="limit of 1 reached for VMS quota in VM: 1 are used"):
            vms.plan(world.spec(key="second"))

    def test_what_the_template_says_counts_where_the_size_does_not_say_it(
        self, world: World, vms: Vms, admin: Raw
    ) -> None:
        admin("one.group.quota", world.vdc, 'VM=[CPU="0.49",MEMORY="255"]')
        with pytest.raises(ont.QuotaExceeded, match=r"CPU quota .* 0.5 more needed.*MEMORY quota .* 256 more needed"):
            vms.plan(world.spec(size=VmSize()))

    def test_it_costs_no_call(self, world: World, vms: Vms, sent: list[ont.CallRecord]) -> None:
        vms.plan(world.spec())
        assert [record.method for record in sent].count("one.group.info") == 1

    def test_limits_on_disks_are_opennebula_s_to_say_and_nothing_is_left(
        self, world: World, vms: Vms, admin: Raw
    ) -> None:
        admin("one.group.quota", world.vdc, 'VM=[SYSTEM_DISK_SIZE="4095"]')
        assert vms.plan(world.spec())
        with pytest.raises(ont.QuotaExceeded, match="SYSTEM_DISK_SIZE"):
            vms.ensure(world.spec())
        assert everywhere(admin) == []
