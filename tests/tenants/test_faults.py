"""Every call of every operation, hit by every kind of fault: the next run ends as an undisturbed one does."""

from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from tenants.pace import DELAY_S, QUICK, patience, ways_to_lose_a_server
from tenants.snapshot import snapshot, trace_of


NAME = "acme"
SPEC = ont.VdcSpec(
    name=NAME, key="key-of-acme", quota=ont.Quota(cpu=4, memory_mb=4096, storage_mb=20480), clusters=(0, 100)
)
WIDER = ont.Quota(cpu=8, storage_mb=40960)


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


def connect(server: Emulator, *kinds: FaultKind, **options: Any) -> ont.Cloud:
    return ont.connect(server.endpoint, server.auth, timeout=patience(*kinds), retry=QUICK, **options)


def prepared(name: str) -> Emulator:
    """A server with what is done before an operation: each test has a copy of it."""
    with Emulator(populated=True) as server, connect(server) as cloud:
        OPERATIONS[name][0](cloud)
    return server


def undisturbed(name: str) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
    """The state before an operation, the one that it ends in, and the calls that it sends."""
    with PREPARED[name].copy() as server, connect(server) as cloud:
        before = snapshot(server)
        server.faults.arm()
        OPERATIONS[name][1](cloud)
        calls = server.calls
        return before, snapshot(server), calls


PREPARED = {name: prepared(name) for name in OPERATIONS}
UNDISTURBED = {name: undisturbed(name) for name in OPERATIONS}
EACH_CALL = [
    pytest.param(name, index, id=f"{name}-{index}-{method}")
    for name in OPERATIONS
    for index, method in enumerate(UNDISTURBED[name][2])
]
LOST = [
    pytest.param(name, index, kind, id=f"{name}-{index}-{method}-{kind}")
    for name in OPERATIONS
    for index, method in enumerate(UNDISTURBED[name][2])
    for kind in ways_to_lose_a_server(index)
]


@pytest.fixture(name="server")
def _server(name: str) -> Iterator[Emulator]:
    with PREPARED[name].copy() as server:
        yield server


@pytest.mark.parametrize("kind", list(FaultKind))
@pytest.mark.parametrize(("name", "index"), EACH_CALL)
def test_one_fault_at_any_call_and_one_more_run_end_as_an_undisturbed_run(
    server: Emulator, name: str, index: int, kind: FaultKind
) -> None:
    _, operate = OPERATIONS[name]
    before, expected, _ = UNDISTURBED[name]
    with connect(server, kind) as cloud:
        server.faults.arm(Fault(kind=kind, call=index, delay_s=DELAY_S))
        error: ont.TenancyError | None = None
        try:
            operate(cloud)
        except ont.TenancyError as caught:
            error = caught
        after = snapshot(server)
        if error is None:
            assert after == expected
        elif name == "ensure":
            assert after == before, error
        assert len(server.calls) > index
        server.faults.arm()
        operate(cloud)
        assert snapshot(server) == expected


@pytest.mark.parametrize(("name", "index", "kind"), LOST)
def test_a_server_that_is_lost_at_any_call_and_comes_back_ends_as_an_undisturbed_run(
    server: Emulator, name: str, index: int, kind: FaultKind
) -> None:
    _, operate = OPERATIONS[name]
    before, expected, _ = UNDISTURBED[name]
    with connect(server) as cloud:
        server.faults.arm(Fault(kind=kind, call=index, onwards=True, times=None))
        with pytest.raises(ont.TenancyError) as caught:
            operate(cloud)
        server.faults.arm()
        after = snapshot(server)
        if name == "ensure" and after != before:
            assert isinstance(caught.value, ont.RollbackIncomplete)
            left = " ".join(caught.value.leftovers)
            assert "VDC" in left or "group" in left
            for what, pool in (("VDC", "one.vdcpool.info"), ("group", "one.grouppool.info")):
                if trace_of({pool: after[pool]}, NAME):
                    assert what in left
        operate(cloud)
        assert snapshot(server) == expected


class Killed(BaseException):
    """The process is gone: no line of it runs any more."""


@pytest.mark.parametrize(("name", "index"), EACH_CALL)
def test_a_process_killed_after_any_call_and_one_more_run_end_as_an_undisturbed_run(
    server: Emulator, name: str, index: int
) -> None:
    _, operate = OPERATIONS[name]
    seen: list[ont.CallRecord] = []

    def kill(record: ont.CallRecord) -> None:
        seen.append(record)
        if len(seen) > index:
            raise Killed

    with connect(server, on_call=kill) as doomed, pytest.raises(Killed):
        operate(doomed)
    with connect(server) as cloud:
        operate(cloud)
        assert snapshot(server) == UNDISTURBED[name][1]
        server.faults.arm()
        operate(cloud)
        assert [method for method in server.calls if not method.endswith("info")] == []
