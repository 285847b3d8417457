"""Two runs for one machine, the calls of one between those of the other: what each may rely on wherever they meet."""

import functools
from typing import Any

import attrs
import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.emulator import Emulator
from opennebula_tenancy.vm_size import VmSize
from opennebula_tenancy.vms import Vms
from vms.meetings import Met, Run, Scene
from vms.world import KEY, LARGER, SIZE, TENANT, World


FIRST = 0
"""The id of the first machine of a server."""
FEWER = VmSize(vcpu=1, memory_mb=512)
BETWEEN = VmSize(vcpu=3, memory_mb=1536, disk_mb=6144)
ONE_ALONE = attrs.evolve(TENANT, quota=ont.Quota(cpu=2, memory_mb=1024, vms=1, system_disk_mb=4096))


def ensure(vms: Vms, world: World) -> ont.Vm:
    return vms.ensure(world.spec())


def ensure_larger(vms: Vms, world: World) -> ont.Vm:
    return vms.ensure(world.spec(size=LARGER))


def delete(vms: Vms, world: World) -> None:
    del world
    vms.delete(FIRST, key=KEY)


def delete_all(vms: Vms, world: World) -> None:
    for vm in vms.list(vdc=world.vdc):
        vm.delete()


def resize_to(size: VmSize) -> Run:
    def resize(vms: Vms, world: World) -> ont.VmUsage:
        del world
        return vms.resize(FIRST, size, key=KEY)

    return resize


enlarge = resize_to(LARGER)
more_cores, more_memory = resize_to(VmSize(vcpu=4)), resize_to(VmSize(memory_mb=2048))
OTHERS = {size: resize_to(size) for size in (BETWEEN, FEWER)}


def power_off(vms: Vms, world: World) -> None:
    del world
    vms.power_off(FIRST, key=KEY)


def power_on(vms: Vms, world: World) -> None:
    del world
    vms.power_on(FIRST, key=KEY)


@functools.cache
def scene(name: str) -> Scene:
    """What there is before."""

    def build(server: Emulator, cloud: ont.Cloud) -> World:
        return World.build(server, cloud, ONE_ALONE if name == "room for one" else TENANT)

    before = {"running": (ensure,), "running, live": (ensure,), "off": (ensure, power_off)}
    return Scene.of(build, *before.get(name, ()), live_resize=name == "running, live")


def both_orders(first: Run, second: Run) -> list[Any]:
    """Either run begins."""
    return [pytest.param(0, (first, second), id="first"), pytest.param(1, (second, first), id="second")]


def machine(met: Met) -> Any:
    """The one machine that there is."""
    machines = met.world.shot()[0]
    assert len(machines) == 1, (met.point, met.ends)
    return machines[0]


def phase(met: Met) -> str:
    found: str = machine(met)["user"]["TENANCY_PHASE"]
    return found


def unmarked(shot: Any) -> Any:
    """What there is but for the phases."""
    machines, used, leases = shot
    return [{**vm, "user": {**vm["user"], "TENANCY_PHASE": ""}} for vm in machines], used, leases


def fairly(shot: Any) -> Any:
    """What there is but for RUNNING_* usage, which OpenNebula adds to with every request to start what is off."""
    machines, used, leases = shot
    return machines, {name: value for name, value in used.items() if not name.startswith("RUNNING")}, leases


class TestMaking:
    @pytest.mark.parametrize("before", ["nothing", "room for one"])
    def test_two_runs_make_one_machine_and_both_hand_it_out(self, before: str) -> None:
        wanted = scene(before).after(ensure)
        for met in scene(before).meetings(ensure, ensure):
            assert met.errors == (None, None), met.point
            assert met.ends[0].id == met.ends[1].id, met.point
            assert met.world.shot() == wanted, met.point
            assert met.once_more(ensure) == [], met.point

    @pytest.mark.parametrize(("maker", "runs"), both_orders(ensure, delete_all))
    def test_a_machine_that_is_deleted_while_it_is_made_is_there_whole_or_not_at_all(
        self, maker: int, runs: tuple[Run, Run]
    ) -> None:
        nothing, wanted = scene("nothing").after(), scene("nothing").after(ensure)
        for met in scene("nothing").meetings(*runs):
            failed, deleting = met.errors[maker], met.errors[1 - maker]
            assert deleting is None, met.point
            assert failed is None or isinstance(failed, ont.WentAway), met.point
            assert met.world.shot() in ((nothing,) if failed else (nothing, wanted)), met.point
            met.once_more(ensure)
            assert met.world.shot() == wanted, met.point
            assert met.once_more(ensure) == [], met.point

    @pytest.mark.parametrize("before", ["running", "off"])
    @pytest.mark.parametrize(("_maker", "runs"), both_orders(ensure, delete))
    def test_a_machine_that_is_deleted_while_it_is_asked_for_again_is_made_anew_or_gone(
        self, before: str, _maker: int, runs: tuple[Run, Run]
    ) -> None:
        nothing, wanted = scene("nothing").after(), scene("nothing").after(ensure)
        for met in scene(before).meetings(*runs):
            assert met.errors == (None, None), met.point
            assert met.world.shot() in (nothing, wanted), met.point
            met.once_more(ensure)
            assert met.world.shot() == wanted, met.point
            assert met.once_more(ensure) == [], met.point

    @pytest.mark.parametrize(("_maker", "runs"), both_orders(ensure, ensure_larger))
    def test_of_two_that_ask_for_one_key_otherwise_one_has_a_machine_as_it_asked_for(
        self, _maker: int, runs: tuple[Run, Run]
    ) -> None:
        sizes = [scene("nothing").after(run) for run in runs]
        for met in scene("nothing").meetings(*runs):
            assert None in met.errors, met.point
            failed = [error for error in met.errors if error]
            said = (ont.WentAway, ont.VerificationFailed, ont.Conflict, ont.SettingsError)
            assert all(isinstance(error, said) for error in failed), met.point
            assert not any("removed again" in str(error) for error in failed), met.point
            shot = met.world.shot()
            assert shot in sizes, met.point
            if failed:
                assert shot == sizes[met.errors.index(None)], met.point
            met.once_more(ensure_larger)
            assert met.world.shot() == scene("nothing").after(ensure_larger), met.point


class TestDeleting:
    @pytest.mark.parametrize("before", ["running", "off"])
    def test_two_runs_delete_a_machine_and_nothing_is_left(self, before: str) -> None:
        for met in scene(before).meetings(delete, delete):
            assert met.errors == (None, None), met.point
            assert met.world.shot() == scene("nothing").after(), met.point
            assert met.once_more(delete) == [], met.point

    @pytest.mark.parametrize("before", ["running", "running, live", "off"])
    @pytest.mark.parametrize(("resizer", "runs"), both_orders(enlarge, delete))
    def test_a_machine_that_is_deleted_while_it_is_resized_is_gone_and_the_other_run_says_so(
        self, before: str, resizer: int, runs: tuple[Run, Run]
    ) -> None:
        for met in scene(before).meetings(*runs):
            failed, deleting = met.errors[resizer], met.errors[1 - resizer]
            assert deleting is None, met.point
            assert failed is None or isinstance(failed, ont.WentAway), met.point
            assert fairly(met.world.shot()) == fairly(scene("nothing").after()), met.point


class TestResizing:
    @pytest.mark.parametrize("before", ["running", "running, live", "off"])
    @pytest.mark.parametrize("run", [enlarge, ensure_larger], ids=["resize", "ensure"])
    def test_two_runs_to_one_size_both_succeed_and_power_stays_as_it_was(self, before: str, run: Run) -> None:
        wanted = scene(before).after(run)
        for met in scene(before).meetings(run, run):
            assert met.errors == (None, None), met.point
            assert fairly(met.world.shot()) == fairly(wanted), met.point
            assert met.once_more(run) == [], met.point

    @pytest.mark.parametrize("before", ["running", "running, live", "off"])
    @pytest.mark.parametrize("other", [BETWEEN, FEWER], ids=["between", "fewer"])
    @pytest.mark.parametrize("begins", [0, 1])
    def test_of_two_sizes_one_is_there_whole_and_a_run_that_failed_says_why(
        self, before: str, other: VmSize, begins: int
    ) -> None:
        runs = (enlarge, OTHERS[other])
        larger, others, former = [(str(size.vcpu), str(size.memory_mb)) for size in (LARGER, other, SIZE)]
        power = scene(before).after()[0][0]["state"]
        for met in scene(before).meetings(*(runs if begins == 0 else runs[::-1])):
            errors = met.errors if begins == 0 else met.errors[::-1]
            held = machine(met)
            assert errors[0] is None, met.point
            assert errors[1] is None or isinstance(errors[1], ont.SettingsError | ont.VerificationFailed), met.point
            size = (held["size"][1], held["size"][2])
            # One that fails gives back what it saw last: the former size, where the other came just behind its look.
            assert size in ((larger, others) if errors[1] is None else (larger, former)), met.point
            assert held["disks"] == ["8192"], met.point
            assert (held["state"], phase(met)) == (power, "ready"), met.point
            used = met.world.shot()[1]
            assert (used["CPU_USED"], used["MEMORY_USED"], used["SYSTEM_DISK_SIZE_USED"]) == (*size, "8192"), met.point
            met.once_more(enlarge)
            assert fairly(met.world.shot()) == fairly(scene(before).after(enlarge)), met.point
            assert met.once_more(enlarge) == [], met.point

    @pytest.mark.parametrize("before", ["running", "running, live", "off"])
    def test_what_one_run_does_not_name_stays_as_the_other_one_asks(self, before: str) -> None:
        wanted = scene(before).after(more_cores, more_memory)
        for met in scene(before).meetings(more_cores, more_memory):
            assert met.errors == (None, None), met.point
            assert fairly(met.world.shot()) == fairly(wanted), met.point


class TestPower:
    @pytest.mark.parametrize("before", ["running", "running, live"])
    @pytest.mark.parametrize(("_resizer", "runs"), both_orders(enlarge, power_off))
    def test_a_machine_that_is_powered_off_while_it_is_resized_is_off_and_has_its_size(
        self, before: str, _resizer: int, runs: tuple[Run, Run]
    ) -> None:
        wanted = scene(before).after(enlarge, power_off)
        for met in scene(before).meetings(*runs):
            assert met.errors == (None, None), met.point
            assert phase(met) in {"ready", "off"}, met.point
            assert unmarked(fairly(met.world.shot())) == unmarked(fairly(wanted)), met.point
            assert met.once_more(enlarge) == met.once_more(power_off) == [], met.point
            met.once_more(power_on)
            assert fairly(met.world.shot()) == fairly(scene(before).after(enlarge)), met.point

    @pytest.mark.parametrize(("_resizer", "runs"), both_orders(enlarge, power_on))
    def test_a_machine_that_is_started_while_it_is_resized_runs_and_has_its_size(
        self, _resizer: int, runs: tuple[Run, Run]
    ) -> None:
        wanted = scene("running").after(enlarge)
        for met in scene("off").meetings(*runs):
            assert met.errors == (None, None), met.point
            assert fairly(met.world.shot()) == fairly(wanted), met.point
            assert met.once_more(enlarge) == met.once_more(power_on) == [], met.point

    @pytest.mark.parametrize(("before", "run"), [("running", power_off), ("off", power_on)])
    def test_two_runs_of_the_same_both_succeed(self, before: str, run: Run) -> None:
        for met in scene(before).meetings(run, run):
            assert met.errors == (None, None), met.point
            assert fairly(met.world.shot()) == fairly(scene(before).after(run)), met.point
            assert met.once_more(run) == [], met.point
