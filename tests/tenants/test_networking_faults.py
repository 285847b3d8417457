"""Every call of every operation on a tenant's network, hit by faults: the next run ends as an undisturbed one does."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

import opennebula_tenancy as ont
from opennebula_tenancy import vm_waiting, waiting
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from opennebula_tenancy.emulator.networks import NetworkState, VirtualNetwork
from tenants.networks import KEY, PROVIDER, SSH, connect, network, new_server, tenant
from tenants.pace import DELAY_S, THOROUGH, patience, wait_without_time
from tenants.raw import Raw
from tenants.snapshot import marked, snapshot


SPEC = tenant()
BARE = attrs.evolve(SPEC, network=None, external_networks=(PROVIDER,))
TWO = attrs.evolve(SPEC, network=network(instances=2))
UNSET = attrs.evolve(SPEC, network=network(dns=None))
CHANGED = attrs.evolve(SPEC, network=network(rules=(SSH,), dns="1.1.1.1", instances=2))
Operation = Callable[[ont.Cloud], None]


def _nothing(cloud: ont.Cloud) -> None:
    del cloud


def _ensure(spec: ont.VdcSpec) -> Operation:
    def ensure(cloud: ont.Cloud) -> None:
        cloud.vdcs.ensure(spec)

    return ensure


def _delete(cloud: ont.Cloud) -> None:
    cloud.vdcs.delete(key=KEY, timeout_s=60)


@attrs.frozen
class Case:
    """An operation, and what is done before it, by the library and by chance."""

    prepare: Operation
    operate: Operation
    spoil: Callable[[Emulator], None] = Emulator.settle


def _fail_machine(server: Emulator) -> None:
    """Let the oldest machine fail for good."""
    admin = Raw(server.endpoint, server.auth)
    server.cloud.driver_actions.fail("deploy", times=1)
    for action in ("undeploy-hard", "resume"):
        admin("one.vm.action", action, 0)
        server.settle()


CASES = {
    "create": Case(_nothing, _ensure(SPEC)),
    "add": Case(_ensure(BARE), _ensure(SPEC)),
    "change": Case(_ensure(SPEC), _ensure(CHANGED)),
    "unset": Case(_ensure(SPEC), _ensure(UNSET)),
    "mend": Case(_ensure(TWO), _ensure(TWO), _fail_machine),
    "remove": Case(_ensure(SPEC), _ensure(BARE)),
    "delete": Case(_ensure(SPEC), _delete),
}
UNDONE = {"create", "add"}
"""Operations whose failure leaves everything as it was."""


@attrs.frozen
class Course:
    """An undisturbed run: the states before and after it, and its calls."""

    before: dict[str, Any]
    after: dict[str, Any]
    calls: tuple[str, ...]


def _prepared(case: Case) -> Emulator:
    """A server with what is done before an operation: each test has a copy of it."""
    with new_server() as server, connect(server) as cloud:
        case.prepare(cloud)
        case.spoil(server)
    return server


def _course(name: str) -> Course:
    with PREPARED[name].copy() as server, connect(server) as cloud:
        before = snapshot(server)
        server.faults.arm()
        CASES[name].operate(cloud)
        calls = server.calls
        return Course(before, snapshot(server), calls)


def _mutates(method: str) -> bool:
    return re.search(r"\.(info\w*|version)$", method) is None


PREPARED = {name: _prepared(case) for name, case in CASES.items()}
COURSES = {name: _course(name) for name in CASES}
MUTATING = [
    pytest.param(name, index, id=f"{name}-{index}-{method}")
    for name, course in COURSES.items()
    for index, method in enumerate(course.calls)
    if _mutates(method)
]
EVERY = [(name, index) for name, course in COURSES.items() for index in range(len(course.calls))]
READING = [
    pytest.param(name, index, id=f"{name}-{index}-{method}")
    for name, course in COURSES.items()
    for index, method in enumerate(course.calls)
    if not _mutates(method) and any(map(_mutates, course.calls[:index]))
]
"""Calls that read when something has been changed already."""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often: asynchronous work is done at the next call."""
    monkeypatch.setattr(waiting, "_SHORTEST_S", 0.001)


@attrs.define
class Stage:
    """The embedded server with what an operation needs there, and ways to run the operation."""

    server: Emulator
    name: str
    sent: tuple[str, ...] = ()

    @property
    def course(self) -> Course:
        return COURSES[self.name]

    def run(self, *faults: Fault, operate: Operation | None = None, **options: Any) -> ont.TenancyError | None:
        """Run the operation once, with faults in its way. They are gone afterwards, and nothing is on its way."""
        try:
            return self.run_unsettled(*faults, operate=operate, **options)
        finally:
            self.server.settle()

    def run_unsettled(
        self, *faults: Fault, operate: Operation | None = None, **options: Any
    ) -> ont.TenancyError | None:
        """Run the operation once, with faults in its way, and leave what it began on its way."""
        self.server.faults.arm(*faults)
        try:
            with connect(self.server, timeout=patience(*(fault.kind for fault in faults)), **options) as cloud:
                (operate or CASES[self.name].operate)(cloud)
        except ont.TenancyError as error:
            return error
        finally:
            self.sent = self.server.calls
            self.server.faults.arm()
        return None

    def is_as_before(self) -> bool:
        """Whether all is as it was; but networks are looked for from now on where one was to be added."""
        return _settled(snapshot(self.server)) == _settled(self.course.before)

    def is_as_asked(self) -> bool:
        """Whether all is as after an undisturbed run."""
        return snapshot(self.server) == self.course.after

    def left(self) -> dict[str, str]:
        """The names of what carries the tenant's key, by noun and id."""
        return marked(self.server, KEY)


def _settled(shot: dict[str, Any]) -> str:
    return re.sub(r"\('TENANCY_(NETWORK|ROUTER|SECURITY_GROUP)_ID', .*?\)", "", repr(shot))


@contextlib.contextmanager
def staged(name: str) -> Iterator[Stage]:
    with PREPARED[name].copy() as server:
        yield Stage(server, name)


def check_leftovers(stage: Stage, error: ont.TenancyError, before: dict[str, str]) -> None:
    """What a failed run left is listed, and what it lists by its id is there.

    By name alone it lists what may have been made, and the VMs of a router go with the router.
    """
    listed = ", ".join(error.leftovers) if isinstance(error, ont.RollbackIncomplete) else ""
    left = {what: name for what, name in stage.left().items() if what not in before}
    for what, name in left.items():
        noun = what.rpartition(" ")[0]
        known = (f"{what} ({name})", f"{noun} {name}", *(["router"] if noun == "VM" else []))
        assert any(form in listed for form in known), (what, listed)
    for what in re.findall(r"(?:VDC|security group|network|router|VM) \d+", listed):
        assert what in left


KINDS = (FaultKind.REFUSE, FaultKind.LOSE_REPLY)
REST = tuple(kind for kind in FaultKind if kind not in KINDS)


def one_fault(name: str, index: int, kind: FaultKind) -> None:
    with staged(name) as stage:
        error = stage.run(Fault(kind=kind, call=index, delay_s=DELAY_S))
        assert len(stage.sent) > index
        if error is None:
            assert stage.is_as_asked()
        else:
            assert not isinstance(error, ont.RollbackIncomplete)
            # A tenant that is finished when something fails is not undone.
            assert name not in UNDONE or stage.is_as_before() or stage.is_as_asked(), error
            assert stage.run() is None
            assert stage.is_as_asked()


class TestOneFault:
    """One more run ends as an undisturbed run does; what was new is gone until then."""

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(("name", "index"), MUTATING)
    def test_at_a_call_that_changes_something(self, name: str, index: int, kind: FaultKind) -> None:
        one_fault(name, index, kind)

    @pytest.mark.parametrize(("name", "index"), MUTATING)
    def test_of_another_kind_at_a_call_that_changes_something(self, name: str, index: int) -> None:
        one_fault(name, index, REST[index % len(REST)])

    @pytest.mark.parametrize(("name", "index"), READING)
    def test_a_refusal_of_a_call_that_reads(self, name: str, index: int) -> None:
        one_fault(name, index, FaultKind.REFUSE)

    if THOROUGH:

        @pytest.mark.parametrize("kind", FaultKind)
        @pytest.mark.parametrize(("name", "index"), EVERY)
        def test_of_every_kind_at_every_call(self, name: str, index: int, kind: FaultKind) -> None:
            one_fault(name, index, kind)

    @pytest.mark.parametrize("kind", sorted(set(FaultKind) - {FaultKind.REFUSE, FaultKind.DELAY}))
    @pytest.mark.parametrize("name", CASES)
    def test_at_every_call_in_turn_is_got_over(self, name: str, kind: FaultKind) -> None:
        methods = set(COURSES[name].calls)
        with staged(name) as stage:
            assert stage.run(*(Fault(kind=kind, method=method) for method in methods)) is None
            assert stage.is_as_asked()


class TestLostServer:
    """What is left is listed, and one more run ends as an undisturbed run does."""

    @pytest.mark.parametrize(("name", "index"), MUTATING)
    def test_from_any_call_on(self, name: str, index: int) -> None:
        kind = (FaultKind.LOSE_REPLY, FaultKind.DROP)[index % 2]
        with staged(name) as stage:
            before = stage.left()
            error = stage.run(Fault(kind=kind, call=index, onwards=True, times=None))
            assert error is not None
            if name in UNDONE:
                check_leftovers(stage, error, before)
            assert stage.run() is None
            assert stage.is_as_asked()


class Killed(BaseException):
    """The process is gone: no line of it runs any more."""


class TestKilledProcess:
    @pytest.mark.parametrize(("name", "index"), MUTATING)
    def test_after_any_change_is_taken_up_and_then_nothing_is_left_to_do(self, name: str, index: int) -> None:
        seen: list[ont.CallRecord] = []

        def kill(record: ont.CallRecord) -> None:
            seen.append(record)
            if len(seen) > index:
                raise Killed

        with staged(name) as stage:
            with pytest.raises(Killed):
                stage.run(on_call=kill)
            assert stage.run() is None
            assert stage.is_as_asked()
            assert stage.run() is None
            assert [method for method in stage.sent if _mutates(method)] == []


Trouble = Callable[[Emulator], None]


def _fails_to_boot(server: Emulator) -> None:
    server.cloud.driver_actions.fail("deploy", message="no space left on device")


def _boots_for_ever(server: Emulator) -> None:
    server.cloud.driver_actions.hang("deploy")


def _has_no_host(server: Emulator) -> None:
    admin = Raw(server.endpoint, server.auth)
    for host in admin.xml("one.hostpool.info"):
        admin("one.host.status", int(host.findtext("ID") or ""), 1)


def _mend(server: Emulator) -> None:
    server.cloud.driver_actions.mend()
    admin = Raw(server.endpoint, server.auth)
    for host in admin.xml("one.hostpool.info"):
        admin("one.host.status", int(host.findtext("ID") or ""), 0)
    server.settle()


TROUBLES: dict[str, tuple[Trouble, type[ont.TenancyError], str]] = {
    "fails to boot": (_fails_to_boot, ont.EnteredFailureState, "BOOT_FAILURE"),
    "boots for ever": (_boots_for_ever, ont.WaitTimeout, "ACTIVE/BOOT"),
    "has no host": (_has_no_host, ont.WaitTimeout, "No hosts enabled"),
}


def _hurried(spec: ont.VdcSpec, trouble: str = "") -> Operation:
    """Make a tenant, with little time to wait for anything, but for a failure that ends the waiting."""
    assert spec.network is not None
    timeout_s = 60 if trouble == "fails to boot" else 0.3
    return _ensure(attrs.evolve(spec, network=attrs.evolve(spec.network, timeout_s=timeout_s)))


NOT_EVEN_DELETED = Fault(kind=FaultKind.REFUSE, method="one.vm.recover", times=None)
HURRIED: dict[str, Operation] = {
    "remove": _ensure(BARE),
    "delete": lambda cloud: cloud.vdcs.delete(key=KEY, timeout_s=0.3),
}


class TestRouterThatDoesNotRun:
    """The operation fails for a reason that is said, undoes what it made, and succeeds when the trouble is over.

    A router that was to be replaced does not come back either while nothing boots.
    """

    @pytest.mark.parametrize("trouble", TROUBLES)
    @pytest.mark.parametrize(("name", "spec"), [("create", SPEC), ("add", SPEC), ("change", CHANGED)])
    def test_is_an_error_and_no_leftover(
        self, name: str, spec: ont.VdcSpec, trouble: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begin, kind, reason = TROUBLES[trouble]
        wait_without_time(monkeypatch)
        with staged(name) as stage:
            begin(stage.server)
            error = stage.run(operate=_hurried(spec, trouble))
            if name == "change":
                assert isinstance(error, ont.RollbackIncomplete)
                (left,) = error.leftovers
                assert re.fullmatch(r"router 0 \(acme_router\) is gone, and router \d in its place does not run", left)
                error = error.exceptions[0]
            assert isinstance(error, kind), error
            assert reason in str(error)
            _mend(stage.server)
            assert name not in UNDONE or stage.is_as_before()
            assert stage.run() is None
            assert stage.is_as_asked()

    @pytest.mark.parametrize("name", ["create", "add"])
    def test_and_does_not_go_away_either_is_listed(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        wait_without_time(monkeypatch)
        with staged(name) as stage:
            before = stage.left()
            stage.server.cloud.driver_actions.fail("cancel")
            refusal = Fault(kind=FaultKind.REFUSE, method="one.vdc.addvnet")
            error = stage.run(refusal, NOT_EVEN_DELETED, operate=_hurried(SPEC))
            assert isinstance(error, ont.RollbackIncomplete)
            assert any(left.startswith("VM ") for left in error.leftovers)
            check_leftovers(stage, error, before)
            _mend(stage.server)
            assert stage.run() is None
            assert stage.is_as_asked()

    @pytest.mark.parametrize("name", ["remove", "delete"])
    def test_and_is_not_to_be_terminated_is_an_error_until_it_is(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(vm_waiting, "_BEGIN_S", 0.1)
        with staged(name) as stage:
            stage.server.cloud.driver_actions.fail("cancel")
            error = stage.run(NOT_EVEN_DELETED, operate=HURRIED[name])
            assert isinstance(error, ont.ApiError)
            assert error.method == "one.vm.recover"
            _mend(stage.server)
            assert stage.run() is None
            assert stage.is_as_asked()

    def test_and_goes_slowly_is_waited_for_by_the_run_after_one_that_was_killed(self) -> None:
        """The new router needs the address that the machine of the old one still has."""

        def kill(record: ont.CallRecord) -> None:
            if record.method == "one.vrouter.delete":
                raise Killed

        with staged("change") as stage:
            stage.server.cloud.driver_actions["cancel"] = 0.3
            with pytest.raises(Killed):
                stage.run_unsettled(on_call=kill)
            assert stage.run() is None
            assert stage.is_as_asked()


class TestNetworkThatIsNotMade:
    @pytest.mark.parametrize("name", ["create", "add"])
    def test_is_an_error_with_the_reason_and_no_leftover(self, name: str) -> None:
        with staged(name) as stage:

            def spoil(record: ont.CallRecord) -> None:
                if record.method == "one.vn.allocate":
                    with stage.server.cloud.lock:
                        made = max(stage.server.cloud.pool(VirtualNetwork), key=lambda network: network.id)
                        made.template.set("ERROR", "no such device: eth0")
                        made.move_to(NetworkState.ERROR)

            error = stage.run(on_call=spoil)
            assert isinstance(error, ont.EnteredFailureState)
            assert "no such device: eth0" in str(error)
            assert stage.is_as_before()
            assert stage.run() is None
            assert stage.is_as_asked()
