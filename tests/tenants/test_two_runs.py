"""Two runs for one tenant, the calls of one between those of the other: however they meet, they make one tenant."""

import itertools
import random
from collections.abc import Callable

import attrs
import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.emulator import Emulator
from tenants.networks import PROVIDER, connect, network, new_server, tenant
from tenants.pace import THOROUGH
from tenants.raw import Raw
from tenants.snapshot import snapshot
from tenants.turns import Hear, Turns


FULL = tenant(admin=True)
BARE = attrs.evolve(FULL, network=None, admin=None, external_networks=(PROVIDER,))
FIXED = attrs.evolve(FULL, network=network(subnet="10.44.0.0/24"))
PAIR = attrs.evolve(FULL, network=network(instances=2))
MEETINGS = 15
"""At how many of the points where they can meet two runs do, unless all are asked for."""


def nothing(server: Emulator, spec: ont.VdcSpec) -> None:
    """No tenant was there before."""


def vdc_alone(server: Emulator, spec: ont.VdcSpec) -> None:
    """A run was killed when it had made no more than the VDC."""
    Raw(server.endpoint, server.auth)(
        "one.vdc.allocate",
        f"NAME={spec.name} TENANCY_KEY={spec.key} TENANCY_ROLE=vdc TENANCY_VERSION=1 TENANCY_GROUP_AFTER=1",
        -1,
    )


def group_gone(server: Emulator, spec: ont.VdcSpec) -> None:
    """Somebody removed the group of a tenant by hand."""
    with connect(server) as cloud:
        vdc = cloud.vdcs.ensure(attrs.evolve(spec, network=None, admin=None, external_networks=(PROVIDER,)))
    Raw(server.endpoint, server.auth)("one.group.delete", vdc.id)


def removed(server: Emulator, spec: ont.VdcSpec) -> None:
    """A removal was killed before it came to the VDC."""
    group_gone(server, spec)
    Raw(server.endpoint, server.auth)("one.vdc.update", 100, "TENANCY_GROUP_ID=none TENANCY_GROUP_AFTER=bound", 1)


Before = Callable[[Emulator, ont.VdcSpec], None]


def calls_of(before: Before, spec: ont.VdcSpec) -> int:
    """How many calls a run of its own sends."""
    sent: list[ont.CallRecord] = []
    with new_server() as server:
        before(server, spec)
        with connect(server, on_call=sent.append) as cloud:
            cloud.vdcs.ensure(spec)
    return len(sent)


@pytest.mark.timeout(3600 if THOROUGH else 120)
@pytest.mark.parametrize("spec", [BARE, FULL, FIXED, PAIR], ids=["bare", "full", "fixed subnet", "two routers"])
@pytest.mark.parametrize("before", [nothing, vdc_alone, group_gone, removed])
def test_two_runs_make_one_tenant_wherever_they_meet(
    before: Before, spec: ont.VdcSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_server() as alone:
        before(alone, spec)
        with connect(alone) as cloud:
            cloud.vdcs.ensure(spec)
        wanted = snapshot(alone)
    calls = calls_of(before, spec)
    assert calls > 10
    wrong: dict[tuple[int, ...], object] = {}
    points = list(itertools.product(range(1, calls + 1), repeat=2))
    for point in points if THOROUGH else random.Random(calls).sample(points, MEETINGS):
        with new_server() as server, monkeypatch.context() as patch:
            before(server, spec)
            turns = Turns.patched(patch, *point)

            def ensure(hear: Hear, server: Emulator = server) -> None:
                with connect(server, on_call=hear) as cloud:
                    cloud.vdcs.ensure(spec)

            if failed := turns.run(ensure, ensure):
                wrong[point] = failed
            elif (made := snapshot(server)) != wanted:
                wrong[point] = made
    assert wrong == {}
