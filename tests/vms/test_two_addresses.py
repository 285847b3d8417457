"""Two runs that give a machine floating IPs or take them, the calls of one between those of the other."""

import functools
from typing import Any

import attrs
import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.emulator import Emulator
from opennebula_tenancy.vms import Vms
from tenants.raw import Raw
from vms.meetings import Met, Run, Scene
from vms.world import LARGER, SIZE


ROUTER_TEMPLATE, EXTERNAL = 8, 0
TENANT = ont.VdcSpec(
    name="acme",
    key="key-of-acme",
    quota=ont.Quota(cpu=8, memory_mb=8192, floating_ips=2),
    clusters=(0,),
    network=ont.NetworkSpec(external_network=EXTERNAL, router_template=ROUTER_TEMPLATE),
)


@attrs.frozen(kw_only=True)
class Routed:
    """A tenant with a router, and its machines by their keys."""

    vdc: int
    machines: dict[str, int]
    admin: Raw

    @classmethod
    def build(cls, limit: int, server: Emulator, cloud: ont.Cloud) -> "Routed":
        vdc = cloud.vdcs.ensure(attrs.evolve(TENANT, quota=attrs.evolve(TENANT.quota, floating_ips=limit)))
        made = {
            key: cloud.vms.ensure(ont.VmSpec(name=key, vdc=vdc.id, template=0, key=key, size=SIZE)).id
            for key in ("web", "db")
        }
        return cls(vdc=vdc.id, machines=made, admin=Raw(server.endpoint, server.auth))

    def aliases(self, key: str = "web") -> list[str]:
        """The floating IPs of a machine, as OpenNebula tells of it."""
        vm = self.admin.xml("one.vm.info", self.machines[key], False)
        return [alias.findtext("IP") for alias in vm.iterfind("TEMPLATE/NIC_ALIAS")]

    def size(self) -> tuple[Any, ...]:
        """The state of a machine and its cores."""
        vm = self.admin.xml("one.vm.info", self.machines["web"], False)
        return vm.findtext("STATE"), vm.findtext("LCM_STATE"), vm.findtext("TEMPLATE/VCPU")

    def counted(self) -> int:
        """How many floating IPs count against the tenant's limit."""
        group = self.admin.xml("one.group.info", self.vdc)
        rows = {row.findtext("ID"): row.findtext("LEASES_USED") for row in group.iterfind("NETWORK_QUOTA/NETWORK")}
        return int(rows.get(str(EXTERNAL)) or 0)

    def leased(self) -> set[str]:
        """The addresses of the external network that machines have."""
        network = self.admin.xml("one.vn.info", EXTERNAL, False)
        return {lease.findtext("IP") or "" for lease in network.iterfind("AR_POOL/AR/LEASES/LEASE")}

    def shot(self) -> tuple[Any, ...]:
        return self.aliases(), self.aliases("db"), self.counted(), self.leased()


def assign_to(key: str) -> Run:
    def assign(vms: Vms, world: Routed) -> ont.FloatingIp:
        return vms.assign_floating_ip(world.machines[key], key=key, timeout_s=60)

    return assign


assign = assign_to("web")


def release(vms: Vms, world: Routed) -> None:
    vms.release_floating_ip(world.machines["web"], GIVEN, key="web", timeout_s=60)


def delete(vms: Vms, world: Routed) -> None:
    vms.delete(world.machines["web"], key="web")


def power_off(vms: Vms, world: Routed) -> None:
    vms.power_off(world.machines["web"], key="web")


def enlarge(vms: Vms, world: Routed) -> None:
    vms.resize(world.machines["web"], LARGER, key="web")


GIVEN = "203.0.113.11"
"""The first address that is given out: the router has the one before."""
BEFORE: dict[str, tuple[Run, ...]] = {
    "running": (),
    "off": (power_off,),
    "one given": (assign,),
    "one given, off": (assign, power_off),
}


@functools.cache
def scene(name: str, limit: int = 2) -> Scene:
    """What there is before."""
    return Scene.of(functools.partial(Routed.build, limit), *BEFORE[name])


def both_orders(first: Run, second: Run) -> list[Any]:
    """Either run begins."""
    return [pytest.param(0, (first, second), id="first"), pytest.param(1, (second, first), id="second")]


def check(met: Met, given: int) -> None:
    """So many addresses are given out, each is on a machine, and counted once."""
    world: Routed = met.world
    held = [*world.aliases(), *world.aliases("db")]
    assert len(set(held)) == len(held) == given, met.point
    assert world.counted() == given, met.point
    router = scene("running").after()[3]
    assert world.leased() == router | set(held), met.point


@pytest.mark.parametrize("before", ["running", "off"])
def test_two_runs_give_a_machine_two_addresses(before: str) -> None:
    for met in scene(before).meetings(assign, assign):
        assert met.errors == (None, None), met.point
        check(met, 2)
        assert {end.address for end in met.ends} == set(met.world.aliases()), met.point


@pytest.mark.parametrize("key", ["web", "db"])
def test_of_two_runs_for_the_last_address_one_gets_it_and_the_other_hears_of_the_limit(key: str) -> None:
    for met in scene("running", 1).meetings(assign, assign_to(key)):
        (refused,) = [error for error in met.errors if error]
        assert isinstance(refused, ont.QuotaExceeded), met.point
        assert "limit of 1 reached for LEASES" in str(refused)
        check(met, 1)


@pytest.mark.parametrize("before", ["one given", "one given, off"])
def test_two_runs_take_an_address_and_it_is_free_again(before: str) -> None:
    for met in scene(before).meetings(release, release):
        assert met.errors == (None, None), met.point
        check(met, 0)
        assert met.once_more(release) == [], met.point


@pytest.mark.parametrize("before", ["one given", "one given, off"])
@pytest.mark.parametrize(("giver", "runs"), both_orders(assign, release))
def test_one_address_is_given_while_another_one_is_taken(before: str, giver: int, runs: tuple[Run, Run]) -> None:
    for met in scene(before).meetings(*runs):
        assert met.errors == (None, None), met.point
        check(met, 1)
        assert met.world.aliases() == [met.ends[giver].address], met.point


@pytest.mark.parametrize("before", ["running", "off"])
@pytest.mark.parametrize(("giver", "runs"), both_orders(assign, delete))
def test_a_machine_that_is_deleted_while_it_gets_an_address_leaves_none(
    before: str, giver: int, runs: tuple[Run, Run]
) -> None:
    for met in scene(before).meetings(*runs):
        failed, deleting = met.errors[giver], met.errors[1 - giver]
        assert deleting is None, met.point
        assert failed is None or isinstance(failed, ont.WentAway), met.point
        assert met.world.size()[0] == "6", met.point
        router = scene("running").after()[3]
        assert (met.world.counted(), met.world.leased()) == (0, router), met.point


@pytest.mark.parametrize(("taker", "runs"), both_orders(release, delete))
def test_a_machine_that_is_deleted_while_its_address_is_taken_leaves_none(taker: int, runs: tuple[Run, Run]) -> None:
    for met in scene("one given").meetings(*runs):
        failed, deleting = met.errors[taker], met.errors[1 - taker]
        assert deleting is None, met.point
        assert failed is None or isinstance(failed, ont.WentAway), met.point
        router = scene("running").after()[3]
        assert (met.world.counted(), met.world.leased()) == (0, router), met.point


@pytest.mark.parametrize(("giver", "runs"), both_orders(assign, enlarge))
def test_a_machine_is_resized_while_it_gets_an_address(giver: int, runs: tuple[Run, Run]) -> None:
    for met in scene("running").meetings(*runs):
        assert met.errors == (None, None), met.point
        assert met.world.size() == ("3", "3", "4"), met.point
        check(met, 1)
        assert met.world.aliases() == [met.ends[giver].address], met.point


@pytest.mark.parametrize(("giver", "runs"), both_orders(assign, power_off))
def test_a_machine_is_powered_off_while_it_gets_an_address(giver: int, runs: tuple[Run, Run]) -> None:
    for met in scene("running").meetings(*runs):
        assert met.errors == (None, None), met.point
        assert met.world.size()[0] == "8", met.point
        check(met, 1)
        assert met.world.aliases() == [met.ends[giver].address], met.point
