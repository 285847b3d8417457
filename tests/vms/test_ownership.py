"""Whose a machine is: what a tenant writes on its own machines, or takes over, does not make it the provider's."""

from typing import Any

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.emulator import Config, Emulator
from opennebula_tenancy.emulator.kinds import Kind
from opennebula_tenancy.emulator.template import restricted
from opennebula_tenancy.vm_size import VmSize
from opennebula_tenancy.vms import Vms
from tenants.raw import Raw
from vms.world import KEY, SIZE, STEP_S, World, connect


FORGED = f'NAME=evil\nCPU=1\nVCPU=1\nMEMORY=512\nTENANCY_KEY="{KEY}"\nTENANCY_ROLE=vm\nTENANCY_VERSION=1'


@pytest.fixture(name="member")
def _member(server: Emulator, world: World, admin: Raw) -> Raw:
    """An administrator of the tenant's group."""
    user = admin("one.user.allocate", "mallory", "secret", "core", [world.vdc])
    admin("one.group.addadmin", world.vdc, user)
    return Raw(server.endpoint, "mallory:secret")


class TestForgedKeys:
    """A member of a tenant writes the key of another machine on one of its own."""

    def test_in_another_tenant_it_is_nobody_s_machine(
        self, cloud: ont.Cloud, server: Emulator, world: World, vms: Vms, member: Raw
    ) -> None:
        forged = member("one.vm.allocate", FORGED, False)
        other = World.build(server, cloud, ont.VdcSpec(name="umbrella", key="key-of-umbrella", clusters=(0,)))
        assert vms.find_key(KEY) is None
        assert vms.find("evil") is None
        assert vms.list() == ()
        vm = vms.ensure(other.spec())
        assert vm.id != forged
        assert vms.find_key(KEY) == vm
        assert vms.list() == (vm,)

    @pytest.mark.parametrize("phase", ["ready", "creating"])
    def test_in_the_tenant_itself_it_is_named_and_left_alone(
        self, world: World, vms: Vms, member: Raw, sent: list[ont.CallRecord], phase: str
    ) -> None:
        forged = member("one.vm.allocate", f"{FORGED}\nTENANCY_PHASE={phase}", False)
        sent.clear()
        for run in (vms.ensure, vms.plan):
            with pytest.raises(ont.Conflict, match=rf"VM {forged} \(evil\) carries the key {KEY}, and belongs to user"):
                run(world.spec())
        assert not any(record.mutates for record in sent)
        assert [machine.findtext("ID") for machine in world.machines()] == [str(forged)]

    def test_beside_the_machine_of_the_key_it_changes_nothing(self, world: World, vms: Vms, member: Raw) -> None:
        vm = vms.ensure(world.spec())
        forged = member("one.vm.allocate", FORGED, False)
        assert vms.ensure(world.spec()) == vm
        assert not vms.plan(world.spec())
        assert vms.find_key(KEY) == vm
        assert {int(machine.findtext("ID")) for machine in world.machines()} == {vm.id, forged}


class TestTakenOver:
    """The administrators of a tenant may make themselves the owners of its machines, and of nobody else's."""

    @pytest.fixture(name="taken")
    def _taken(self, world: World, vms: Vms, member: Raw) -> ont.Vm:
        vm = vms.ensure(world.spec())
        mallory = int(member.xml("one.user.info", -1).findtext("ID") or "")
        member("one.vm.chown", vm.id, mallory, -1)
        member.refused("one.vm.chown", vm.id, 0, -1)
        return vm

    def test_no_second_machine_is_made(self, world: World, vms: Vms, taken: ont.Vm) -> None:
        with pytest.raises(ont.Conflict, match=f"VM {taken.id} "):
            vms.ensure(world.spec())
        assert len(world.machines()) == 1

    def test_it_counts_on_and_obeys_whoever_knows_its_id(self, vms: Vms, taken: ont.Vm, world: World) -> None:
        assert list(vms.usage()) == list(vms.figures()) == [taken.id]
        assert vms.get(taken.id) == taken
        taken.resize(VmSize(memory_mb=2048))
        assert taken.usage().memory_mb == 2048
        taken.delete()
        assert world.machines() == []


class TestAccountsOfTheProvider:
    def test_what_belongs_to_a_member_of_the_group_oneadmin_is_the_provider_s(
        self, world: World, vms: Vms, admin: Raw, sent: list[ont.CallRecord]
    ) -> None:
        vm = vms.ensure(world.spec())
        admin("one.vm.chown", vm.id, admin("one.user.allocate", "agent", "secret", "core", [0]), -1)
        sent.clear()
        assert vms.ensure(world.spec()) == vm
        assert [record.method for record in sent] == ["one.vmpool.info", "one.vmpool.infoset", "one.group.info"]
        assert vms.list() == (vm,)

    def test_another_one_than_oneadmin_is_told_why_it_makes_none(
        self, server: Emulator, world: World, admin: Raw
    ) -> None:
        admin("one.user.allocate", "agent", "secret", "core", [0])
        with (
            ont.connect(server.endpoint, "agent:secret") as cloud,
            pytest.raises(ont.NotAuthorized, match="USE TEMPLATE") as caught,
        ):
            cloud.vms.ensure(world.spec())
        assert caught.value.__notes__ == ["OpenNebula lets the user oneadmin alone make machines in another group."]
        assert world.machines() == []

    def test_no_call_asks_who_they_are_where_all_is_oneadmin_s(
        self, world: World, vms: Vms, sent: list[ont.CallRecord]
    ) -> None:
        vms.ensure(world.spec())
        sent.clear()
        assert len(vms.list()) == 1
        assert [record.method for record in sent] == ["one.vmpool.infoextended"]


def test_attributes_that_are_restricted_cannot_be_forged_or_taken_away() -> None:
    names = ("TENANCY_KEY", "TENANCY_ROLE", "TENANCY_VERSION", "TENANCY_PHASE", "SCHED_REQUIREMENTS")
    config = Config(step_s=STEP_S, restricted={Kind.VM: restricted(names)})
    with Emulator(populated=True, config=config) as server, connect(server) as cloud:
        world = World.build(server, cloud)
        vm = cloud.vms.ensure(world.spec())
        user = world.admin("one.user.allocate", "mallory", "secret", "core", [world.vdc])
        world.admin("one.group.addadmin", world.vdc, user)
        member = Raw(server.endpoint, "mallory:secret")
        assert "restricted attribute TENANCY_KEY" in member.refused("one.vm.allocate", FORGED, False)[1]
        for name in names:
            assert "restricted attribute" in member.refused("one.vm.update", vm.id, f"{name}=x", 1)[1]
        before = world.shot()
        member("one.vm.update", vm.id, "LABEL=x", 0)  # OpenNebula puts them back
        assert world.shot() == before
        assert cloud.vms.ensure(world.spec()) == vm
        vm.delete()


@pytest.mark.parametrize("ident", [2**31, 2**40, -1, True, "0", None])
def test_what_cannot_be_an_id_is_said_to_be_nothing_s(
    cloud: ont.Cloud, world: World, sent: list[ont.CallRecord], ident: Any
) -> None:
    del world
    with pytest.raises(ont.WentAway, match=f"there is no VM {ident}"):
        cloud.vms.get(ident)
    with pytest.raises(ont.WentAway, match=f"there is no VM {ident}"):
        cloud.vms.resize(ident, SIZE, key=KEY)
    cloud.vms.delete(ident, key=KEY)
    with pytest.raises(ont.NotFound, match=f"no object with the id {ident!r}"):
        cloud.vdcs.get(ident)
    assert sent == []
