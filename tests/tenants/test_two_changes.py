"""Two runs for a tenant that is there, or comes, or goes, that meet between any two of their calls."""

import functools
import re
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

import opennebula_tenancy as ont
from opennebula_tenancy._wire.network_records import RouterRecord
from opennebula_tenancy.vrrp import number_of
from tenants.claims import overlap, subnets
from tenants.meetings import Met, Run, Scene
from tenants.networks import KEY, PROVIDER, SSH, network, tenant
from tenants.pace import THOROUGH
from tenants.raw import Raw


pytestmark = pytest.mark.timeout(20000 if THOROUGH else 300)

WITH = tenant()
BARE = attrs.evolve(WITH, network=None, external_networks=(PROVIDER,))
ADMIN = attrs.evolve(WITH, admin=True)
NO_ADMIN = attrs.evolve(WITH, admin=False)
PAIR = attrs.evolve(WITH, network=network(instances=2))
TRIO = attrs.evolve(WITH, network=network(instances=3))
FIXED = attrs.evolve(WITH, network=network(subnet="10.44.0.0/24"))
LARGER = attrs.evolve(WITH, quota=ont.Quota(cpu=6, storage_mb=999), network=network(rules=(SSH,)))
WIDER = attrs.evolve(LARGER, clusters=(0, 100))
LARGER_ADMIN = attrs.evolve(LARGER, admin=True)


def ensure(spec: ont.VdcSpec) -> Run:
    return lambda cloud: cloud.vdcs.ensure(spec)


def delete(cloud: ont.Cloud) -> None:
    cloud.vdcs.delete(key=KEY)


def found(cloud: ont.Cloud) -> ont.Vdc:
    """The tenant, for those who only change one that is there."""
    if (vdc := cloud.vdcs.find_key(KEY)) is None:
        raise ont.WentAway("there is no such tenant")
    return vdc


def reset(cloud: ont.Cloud) -> ont.Credentials:
    if (admin := found(cloud).admin) is None:
        raise ont.WentAway("the tenant has no account")
    return admin.reset_password()


def ensure_admin(cloud: ont.Cloud) -> ont.Vdc:
    return cloud.vdcs.ensure_admin(found(cloud).id)


def set_cpu(cloud: ont.Cloud) -> ont.Quota:
    return found(cloud).set_quota(ont.Quota(cpu=9))


@functools.cache
def scene_of(spec: ont.VdcSpec | None) -> Scene:
    """A server with a tenant, or without one."""
    return Scene.of(*(() if spec is None else (ensure(spec),)))


def are_taken(given: list[ont.Credentials], cloud: ont.Cloud) -> bool:
    """Whether any of the credentials that were given let the tenant's administrator in, where it has one."""
    vdc = cloud.vdcs.find_key(KEY)
    admin = None if vdc is None else vdc.admin
    return admin is None or any(admin.takes(own.password) for own in given)


def comparable(shot: dict[str, Any]) -> str:
    """What there is, without the count of passwords that were ever set."""
    return re.sub(r"\('TENANCY_ADMIN_GENERATION', '\d+', \[\]\), ", "", repr(shot))


class Histories:
    """What runs one after the other come to, for several orders; each is tried when it is asked for."""

    def __init__(self, scene: Scene, *histories: tuple[Run, ...]) -> None:
        self._scene = scene
        self._untried = list(histories)
        self._known: set[str] = set()

    def __contains__(self, shot: str) -> bool:
        while shot not in self._known and self._untried:
            try:
                self._known.add(comparable(self._scene.alone(*self._untried.pop(0))))
            except ont.WentAway:  # the one changes only what the other has removed
                continue
        return shot in self._known


class Outcomes:
    """What two runs may come to.

    Args:
        before: The tenant that was there before them.
        runs: The two.
        spec: The tenant that a later run asks for.
    """

    def __init__(self, before: ont.VdcSpec | None, runs: tuple[Run, Run], spec: ont.VdcSpec) -> None:
        first, second = runs
        self._scene = scene_of(before)
        self._runs = runs
        self._spec = spec
        later = ensure(spec)
        self._one_by_one = Histories(self._scene, (first, second), (second, first))
        self._later = Histories(
            self._scene, (later,), *((*history, later) for history in ((first,), (second,), runs, runs[::-1]))
        )
        self._nothing = Histories(scene_of(None), ())

    def wrong(self, *, one_has_to_succeed: bool) -> dict[Any, list[str]]:
        """What is not as it should be, by the points where the runs met."""
        found: dict[Any, list[str]] = {}
        for met in self._scene.meetings(*self._runs):
            if problems := list(self._problems(met, one_has_to_succeed=one_has_to_succeed)):
                found[met.point] = problems
        return found

    def wrong_at(self, first: tuple[str, int], second: tuple[str, int]) -> list[str]:
        """What is not as it should be when each run passes its turn after so many calls of a method."""
        found: list[str] = []
        for met in self._scene.meet((first[1], second[1]), *self._runs, methods=(first[0], second[0])):
            found += [*map(repr, met.errors), *self._problems(met, one_has_to_succeed=True)]
        return found

    def _problems(self, met: Met, *, one_has_to_succeed: bool) -> Iterator[str]:
        if len(met.errors) == len(self._runs) and one_has_to_succeed:
            yield f"both failed: {met.errors}"
        if not met.errors and comparable(met.shot()) not in self._one_by_one:
            yield "both succeeded, and there is what neither order leads to"
        yield from (f"{count} {noun}" for noun, count in met.kinds(KEY).items() if count > 1 and noun != "VM")
        given = [end for end in met.ends if isinstance(end, ont.Credentials)]
        if not met.errors and given and not met.later(functools.partial(are_taken, given)):
            yield "nobody knows the password"
        try:
            met.later(ensure(self._spec))
        except ont.TenancyError as error:
            yield f"no later run succeeds: {error!r}"
            return
        if plan := met.later(lambda cloud: cloud.vdcs.plan(self._spec)):
            yield f"a later run leaves {plan}"
        if comparable(met.shot()) not in self._later:
            yield "a later run makes another tenant"
        met.later(delete)
        if comparable(met.shot()) not in self._nothing:
            yield "a later removal leaves something"


ALIKE = {
    "add_a_network": (BARE, WITH),
    "add_a_network_of_a_fixed_subnet": (BARE, FIXED),
    "add_a_network_with_two_routers": (BARE, PAIR),
    "change_limits_rules_and_clusters": (WITH, WIDER),
    "pair_the_router": (WITH, PAIR),
    "add_a_machine_to_the_router": (PAIR, TRIO),
    "take_a_machine_from_the_router": (PAIR, WITH),
    "add_an_account": (WITH, ADMIN),
    "remove_the_account": (ADMIN, NO_ADMIN),
    "remove_the_network": (WITH, BARE),
}


@pytest.mark.parametrize("name", ALIKE)
def test_two_runs_that_want_the_same_of_a_tenant_both_succeed(name: str) -> None:
    before, after = ALIKE[name]
    run = ensure(after)
    assert Outcomes(before, (run, run), after).wrong(one_has_to_succeed=True) == {}


@pytest.mark.parametrize("spec", [ADMIN, PAIR], ids=["with an account", "with two routers"])
def test_two_runs_that_remove_a_tenant_both_succeed(spec: ont.VdcSpec) -> None:
    assert Outcomes(spec, (delete, delete), spec).wrong(one_has_to_succeed=True) == {}


DIFFERENT = {
    "with_and_without_a_network": (WITH, ensure(WITH), ensure(BARE), WITH),
    "without_and_with_a_network": (BARE, ensure(BARE), ensure(WITH), BARE),
    "larger_and_without_a_network": (WITH, ensure(LARGER), ensure(BARE), LARGER),
    "pair_and_single": (WITH, ensure(PAIR), ensure(WITH), WITH),
    "with_and_without_an_account": (ADMIN, ensure(ADMIN), ensure(NO_ADMIN), ADMIN),
    "account_alone_and_tenant": (WITH, ensure_admin, ensure(ADMIN), ADMIN),
    "account_alone_and_removal": (WITH, ensure_admin, delete, ADMIN),
    "reset_and_nothing": (ADMIN, reset, ensure(ADMIN), ADMIN),
    "reset_and_changes": (ADMIN, reset, ensure(LARGER_ADMIN), LARGER_ADMIN),
    "reset_and_no_account": (ADMIN, reset, ensure(NO_ADMIN), ADMIN),
    "reset_and_reset": (ADMIN, reset, reset, ADMIN),
    "reset_and_removal": (ADMIN, reset, delete, ADMIN),
    "limits_and_changes": (WITH, set_cpu, ensure(LARGER), LARGER),
    "limits_and_removal": (WITH, set_cpu, delete, WITH),
    "changes_and_removal": (WITH, ensure(LARGER), delete, LARGER),
    "pair_and_removal": (WITH, ensure(PAIR), delete, PAIR),
    "network_and_removal": (BARE, ensure(WITH), delete, WITH),
    "making_and_removal": (None, ensure(ADMIN), delete, ADMIN),
    "making_a_bare_one_and_removal": (None, ensure(BARE), delete, BARE),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_two_runs_that_want_different_things_of_a_tenant_leave_one_that_a_later_run_makes_whole(name: str) -> None:
    before, first, second, later = DIFFERENT[name]
    outcomes = Outcomes(before, (first, second), later)
    assert outcomes.wrong(one_has_to_succeed=False) == {}


NEVER = ("", 1)
MOMENTS = {
    "removal_that_has_seen_no_vdc": (None, delete, ("one.vdcpool.info", 1), ensure(BARE), NEVER, BARE),
    "removal_that_has_seen_nothing": (None, delete, ("one.grouppool.info", 1), ensure(WITH), NEVER, WITH),
    "removal_that_has_seen_no_group": (
        None,
        ensure(BARE),
        ("one.vdc.allocate", 1),
        delete,
        ("one.grouppool.info", 1),
        BARE,
    ),
    "removal_that_has_seen_no_network": (BARE, delete, ("one.secgrouppool.info", 1), ensure(WITH), NEVER, WITH),
    "look_that_has_seen_no_vdc": (None, ensure(FIXED), ("one.grouppool.info", 1), ensure(FIXED), NEVER, FIXED),
    "account_that_is_made_anew": (ADMIN, ensure(NO_ADMIN), ("one.user.delete", 1), ensure(ADMIN), NEVER, ADMIN),
    "network_that_is_made_anew": (WITH, ensure(BARE), ("one.acl.info", 2), ensure(WITH), ("one.vnpool.info", 1), BARE),
    "rules_that_are_just_removed": (WITH, ensure(BARE), NEVER, ensure(WITH), ("one.secgrouppool.info", 1), WITH),
}
"""What was there; the first run, and after how many calls of which method it passes its turn; the second; a later one.

Never is when a run has to wait all the same, as one that removes a network does until it is gone.
"""


@pytest.mark.parametrize("name", MOMENTS)
def test_two_runs_that_meet_at_an_unlucky_moment_both_succeed(name: str) -> None:
    before, first, first_passes, second, second_passes, later = MOMENTS[name]
    assert Outcomes(before, (first, second), later).wrong_at(first_passes, second_passes) == []


def globex(spec: ont.VdcSpec) -> ont.VdcSpec:
    """Another tenant that asks for the same."""
    return attrs.evolve(spec, name="globex", key="key-of-globex")


@pytest.mark.parametrize("spec", [WITH, PAIR], ids=["a router of one machine", "a router of two"])
def test_two_tenants_that_are_made_at_once_share_no_subnet_and_no_vrrp_id(spec: ont.VdcSpec) -> None:
    specs = (spec, globex(spec))
    for met in scene_of(None).meetings(*map(ensure, specs)):
        assert met.errors == [], met.point
        admin = Raw(met.server.endpoint, met.server.auth)
        assert overlap(admin) == [], met.point
        assert len(subnets(admin)) == 2
        numbers = {number_of(router) for router in RouterRecord.pool(admin("one.vrouterpool.info", -2, -1, -1))}
        assert len(numbers) == 2, met.point
        assert not any(met.later(lambda cloud: [cloud.vdcs.plan(own) for own in specs])), met.point


def test_of_two_tenants_that_ask_for_one_subnet_at_once_at_most_one_gets_it() -> None:
    specs = (FIXED, globex(FIXED))
    for met in scene_of(None).meetings(*map(ensure, specs)):
        assert all(isinstance(error, ont.SettingsError) and "10.44.0.0/24" in str(error) for error in met.errors)
        made = {end.key for end in met.ends if isinstance(end, ont.Vdc)}
        assert len(made) < 2, met.point
        assert {spec.key for spec in specs if met.kinds(spec.key)} == made, met.point
