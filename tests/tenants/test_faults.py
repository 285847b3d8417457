"""Every call of every operation, hit by every kind of fault: the next run ends as an undisturbed one does."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from tenants.pace import QUICK
from tenants.snapshot import snapshot, trace_of


NAME = "acme"
SPEC = ont.VdcSpec(
    name=NAME, key="key-of-acme", quota=ont.Quota(cpu=4, memory_mb=4096, storage_mb=20480), clusters=(0, 100)
)
WIDER = ont.Quota(cpu=8, storage_mb=40960)
PATIENCE = ont.Timeout(connect_s=5, read_s=0.15)
DELAY_S = 0.4


def nothing(cloud: ont.Cloud) -> None:
    del cloud


def make(cloud: ont.Cloud) -> None:
    cloud.vdcs.ensure(SPEC)


def widen(cloud: ont.Cloud) -> None:
    cloud.vdcs.ensure(attrs.evolve(SPEC, quota=SPEC.quota | WIDER, clusters=(100,)))


def set_quota(cloud: ont.Cloud) -> None:
    vdc = cloud.vdcs.find_key(SPEC.key)
    assert vdc is not None
    vdc.set_quota(WIDER)


def delete(cloud: ont.Cloud) -> None:
    cloud.vdcs.delete(key=SPEC.key)


Operation = Callable[[ont.Cloud], None]
OPERATIONS: dict[str, tuple[Operation, Operation]] = {
    "ensure": (nothing, make),
    "ensure again": (make, widen),
    "set_quota": (make, set_quota),
    "delete": (make, delete),
}


def connect(server: Emulator, **options: Any) -> ont.Cloud:
    return ont.connect(server.endpoint, server.auth, timeout=PATIENCE, retry=QUICK, **options)


def undisturbed(name: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The state that an operation ends in, and the calls that it sends."""
    prepare, operate = OPERATIONS[name]
    with Emulator(populated=True) as server, connect(server) as cloud:
        prepare(cloud)
        server.faults.arm()
        operate(cloud)
        calls = server.calls
        return snapshot(server), calls


EACH_CALL = [
    pytest.param(name, index, id=f"{name}-{index}-{method}")
    for name in OPERATIONS
    for index, method in enumerate(undisturbed(name)[1])
]


@pytest.fixture(name="expected", scope="module")
def _expected() -> dict[str, dict[str, Any]]:
    return {name: undisturbed(name)[0] for name in OPERATIONS}


@pytest.fixture(name="before", scope="module")
def _before() -> dict[str, dict[str, Any]]:
    shots = {}
    for name, (prepare, _) in OPERATIONS.items():
        with Emulator(populated=True) as server, connect(server) as cloud:
            prepare(cloud)
            shots[name] = snapshot(server)
    return shots


@pytest.mark.parametrize("kind", list(FaultKind))
@pytest.mark.parametrize(("name", "index"), EACH_CALL)
def test_one_fault_at_any_call_and_one_more_run_end_as_an_undisturbed_run(
    server: Emulator, expected: dict[str, Any], before: dict[str, Any], name: str, index: int, kind: FaultKind
) -> None:
    prepare, operate = OPERATIONS[name]
    with connect(server) as cloud:
        prepare(cloud)
        server.faults.arm(Fault(kind=kind, call=index, delay_s=DELAY_S))
        error: ont.TenancyError | None = None
        try:
            operate(cloud)
        except ont.TenancyError as caught:
            error = caught
        after = snapshot(server)
        if error is None:
            assert after == expected[name]
        elif name == "ensure":
            assert after == before[name], error
        assert len(server.calls) > index
        server.faults.arm()
        operate(cloud)
        assert snapshot(server) == expected[name]


@pytest.mark.parametrize("kind", [FaultKind.DROP, FaultKind.LOSE_REPLY, FaultKind.REFUSE, FaultKind.ELECTION])
@pytest.mark.parametrize(("name", "index"), EACH_CALL)
def test_a_server_that_is_lost_at_any_call_and_comes_back_ends_as_an_undisturbed_run(
    server: Emulator, expected: dict[str, Any], before: dict[str, Any], name: str, index: int, kind: FaultKind
) -> None:
    prepare, operate = OPERATIONS[name]
    with connect(server) as cloud:
        prepare(cloud)
        server.faults.arm(Fault(kind=kind, call=index, onwards=True, times=None))
        with pytest.raises(ont.TenancyError) as caught:
            operate(cloud)
        server.faults.arm()
        after = snapshot(server)
        if name == "ensure" and after != before[name]:
            assert isinstance(caught.value, ont.RollbackIncomplete)
            left = " ".join(caught.value.leftovers)
            assert "VDC" in left or "group" in left
            for what, pool in (("VDC", "one.vdcpool.info"), ("group", "one.grouppool.info")):
                if trace_of({pool: after[pool]}, NAME):
                    assert what in left
        operate(cloud)
        assert snapshot(server) == expected[name]


class Killed(BaseException):
    """The process is gone: no line of it runs any more."""


@pytest.mark.parametrize(("name", "index"), EACH_CALL)
def test_a_process_killed_after_any_call_and_one_more_run_end_as_an_undisturbed_run(
    server: Emulator, expected: dict[str, Any], name: str, index: int
) -> None:
    prepare, operate = OPERATIONS[name]
    with connect(server) as cloud:
        prepare(cloud)
    seen: list[ont.CallRecord] = []

    def kill(record: ont.CallRecord) -> None:
        seen.append(record)
        if len(seen) > index:
            raise Killed

    with connect(server, on_call=kill) as doomed, pytest.raises(Killed):
        operate(doomed)
    with connect(server) as cloud:
        operate(cloud)
        assert snapshot(server) == expected[name]
        server.faults.arm()
        operate(cloud)
        assert [method for method in server.calls if not method.endswith("info")] == []
