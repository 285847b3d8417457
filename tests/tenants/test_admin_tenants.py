"""Tenants with an administrator account: made, changed and removed as a whole, whatever comes in between."""

from __future__ import annotations

import logging
import re
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

import opennebula_tenancy as ont
from opennebula_tenancy import admin_calls, admin_credentials, retreat, waiting
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from tenants.accounts import is_refused
from tenants.networks import KEY, connect, mutations, network, new_server, tenant
from tenants.pace import DELAY_S, patience
from tenants.raw import Raw
from tenants.snapshot import POOLS, marked, snapshot


SECRET = b"a secret of 32 bytes, or more ..."
SOURCE = ont.CredentialSource(secret=SECRET)
NAME = "acme_admin"
DEADLINE_S = 60
BARE = tenant(network=None, quota=ont.Quota(cpu=2, memory_mb=1024, storage_mb=4096))
SPEC = attrs.evolve(BARE, admin=True)
WHOLE = attrs.evolve(SPEC, network=network())
Operation = Callable[[ont.Cloud], None]


def _nothing(cloud: ont.Cloud) -> None:
    del cloud


def _ensure(spec: ont.VdcSpec) -> Operation:
    def ensure(cloud: ont.Cloud) -> None:
        cloud.vdcs.ensure(spec)

    return ensure


def _delete(cloud: ont.Cloud) -> None:
    cloud.vdcs.delete(key=KEY, timeout_s=60)


CASES: dict[str, tuple[Operation, Operation]] = {
    "create": (_nothing, _ensure(SPEC)),
    "create with a network": (_nothing, _ensure(WHOLE)),
    "add": (_ensure(BARE), _ensure(SPEC)),
    "remove": (_ensure(SPEC), _ensure(attrs.evolve(BARE, admin=False))),
    "delete": (_ensure(SPEC), _delete),
}
"""What is done before an operation, and the operation."""
UNDONE = {"create", "create with a network", "add"}
"""Operations whose failure leaves everything as it was."""


def cloud_of(server: Emulator, *kinds: FaultKind, **options: Any) -> ont.Cloud:
    return connect(server, admin_credentials=SOURCE, timeout=patience(*kinds), **options)


@attrs.frozen
class Course:
    """An undisturbed run: the states before and after it, and its calls."""

    before: dict[str, Any]
    after: dict[str, Any]
    calls: tuple[str, ...]


def _course(prepare: Operation, operate: Operation) -> Course:
    with new_server() as server, cloud_of(server) as cloud:
        prepare(cloud)
        before = snapshot(server)
        server.faults.arm()
        operate(cloud)
        calls = server.calls
        return Course(before, snapshot(server), calls)


def _mutates(method: str) -> bool:
    return re.search(r"\.(info\w*|version)$", method) is None


COURSES = {name: _course(*case) for name, case in CASES.items()}


def _of_the_account(name: str, *, mutating: bool) -> list[Any]:
    """The calls of an operation from the first on that touches the account: those before it know of none."""
    calls = COURSES[name].calls
    first = next(index for index, method in enumerate(calls) if method.startswith("one.user.") and _mutates(method))
    return [
        pytest.param(name, index, id=f"{name}-{index}-{method}")
        for index, method in enumerate(calls)
        if index >= first - 1 and _mutates(method) is mutating
    ]


MUTATING = [where for name in CASES if name != "create" for where in _of_the_account(name, mutating=True)]
SMALL = [where for name in ("create", "remove", "delete") for where in _of_the_account(name, mutating=True)]
"""Where a network, and what was there before, make no difference."""
READING = [where for name in ("add", "delete") for where in _of_the_account(name, mutating=False)]


@pytest.fixture(name="passwords", autouse=True)
def _passwords(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """All that is secret: what passwords are made of, and every one that there may have been."""
    secrets = {SECRET.decode()}
    derived = ont.CredentialSource.derived
    random_password = admin_credentials.random_password

    def note(password: str) -> str:
        secrets.add(password)
        return password

    monkeypatch.setattr(ont.CredentialSource, "derived", lambda *about: note(derived(*about) or ""))
    for module in (admin_calls, admin_credentials):
        monkeypatch.setattr(module, "random_password", lambda: note(random_password()))
    return secrets


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often: asynchronous work is done at the next call."""
    monkeypatch.setattr(waiting, "_SHORTEST_S", 0.001)


@pytest.fixture(name="server")
def _server() -> Iterator[Emulator]:
    with new_server() as server:
        yield server


@pytest.fixture(name="sent")
def _sent() -> list[ont.CallRecord]:
    return []


@pytest.fixture(name="cloud")
def _cloud(server: Emulator, sent: list[ont.CallRecord]) -> Iterator[ont.Cloud]:
    with cloud_of(server, on_call=sent.append) as cloud:
        yield cloud


@attrs.define
class Stage:
    """The embedded server with what an operation needs there, and ways to run the operation."""

    server: Emulator
    name: str
    passwords: set[str]
    caplog: pytest.LogCaptureFixture
    sent: tuple[str, ...] = ()

    def run(self, *faults: Fault, **options: Any) -> ont.TenancyError | None:
        """Run the operation once, with faults in its way. They are gone afterwards. Nothing secret comes to light."""
        error: ont.TenancyError | None = None
        self.server.faults.arm(*faults)
        try:
            with cloud_of(self.server, *(fault.kind for fault in faults), **options) as cloud:
                CASES[self.name][1](cloud)
        except ont.TenancyError as caught:
            error = caught
        finally:
            self.sent = self.server.calls
            self.server.faults.arm()
            self.server.settle()
        said = "".join(traceback.format_exception(error)) + repr(error) if error else ""
        seen = said + self.caplog.text + repr([vars(record) for record in self.caplog.records])
        for password in self.passwords:
            assert password not in seen
        return error

    def is_as_before(self) -> bool:
        return _settled(snapshot(self.server)) == _settled(COURSES[self.name].before)

    def is_as_asked(self) -> bool:
        return snapshot(self.server) == COURSES[self.name].after

    def logs_in(self) -> bool:
        """Whether the credentials that the library gives are those that OpenNebula takes."""
        with cloud_of(self.server) as cloud:
            vdc = cloud.vdcs.find_key(KEY)
            assert vdc is not None
            assert vdc.admin is not None
            known = vdc.admin.credentials()
            assert known is not None
            return Raw(self.server.endpoint, known.auth).xml("one.user.info", -1).findtext("ID") == str(vdc.admin.id)


def _settled(shot: dict[str, Any]) -> str:
    """What a tenant had that once was to get something more: a mark that it has none of it."""
    return re.sub(r"\('TENANCY_(ADMIN_ID|ADMIN_READY)', \['none'\]\)(, )?|None(, )?", "", repr(shot))


@pytest.fixture(name="stage")
def _stage(
    request: pytest.FixtureRequest, server: Emulator, passwords: set[str], caplog: pytest.LogCaptureFixture
) -> Stage:
    """What the operation needs that the test is about."""
    name = request.node.callspec.params["name"]
    with cloud_of(server) as cloud:
        CASES[name][0](cloud)
    caplog.set_level(logging.DEBUG)
    return Stage(server, name, passwords, caplog)


def one_fault(stage: Stage, index: int, kind: FaultKind) -> None:
    error = stage.run(Fault(kind=kind, call=index, delay_s=DELAY_S))
    assert len(stage.sent) > index
    if error is not None:
        assert not isinstance(error, ont.RollbackIncomplete)
        # What comes after the last change is a look at what is finished, and stays.
        is_finished = not any(map(_mutates, COURSES[stage.name].calls[index:]))
        assert stage.name not in UNDONE or (stage.is_as_asked() if is_finished else stage.is_as_before()), error
        assert stage.run() is None
    assert stage.is_as_asked()
    assert stage.name not in UNDONE or stage.logs_in()


REST = tuple(kind for kind in FaultKind if kind not in {FaultKind.REFUSE, FaultKind.LOSE_REPLY})


class TestOneFault:
    """One more run ends as an undisturbed run does; what was new is gone until then."""

    @pytest.mark.parametrize(("name", "index"), MUTATING)
    def test_a_refusal_of_a_call_that_changes_something(self, stage: Stage, name: str, index: int) -> None:
        del name
        one_fault(stage, index, FaultKind.REFUSE)

    @pytest.mark.parametrize(("name", "index"), SMALL)
    def test_a_lost_reply_to_a_call_that_changes_something(self, stage: Stage, name: str, index: int) -> None:
        del name
        one_fault(stage, index, FaultKind.LOSE_REPLY)

    @pytest.mark.parametrize(("name", "index"), READING)
    def test_a_refusal_of_a_call_that_reads(self, stage: Stage, name: str, index: int) -> None:
        del name
        one_fault(stage, index, FaultKind.REFUSE)

    @pytest.mark.parametrize("kind", sorted(set(REST) - {FaultKind.DELAY}))
    @pytest.mark.parametrize("name", ["create", "delete"])
    def test_of_any_other_kind_at_every_method_in_turn_is_got_over(
        self, stage: Stage, name: str, kind: FaultKind
    ) -> None:
        assert stage.run(*(Fault(kind=kind, method=method) for method in set(COURSES[name].calls))) is None
        assert stage.is_as_asked()


class TestLostServer:
    @pytest.mark.parametrize(("name", "index"), SMALL)
    def test_from_any_call_on_what_is_left_is_listed_and_the_next_run_ends_as_it_should(
        self, stage: Stage, name: str, index: int
    ) -> None:
        before = marked(stage.server, KEY)
        error = stage.run(Fault(kind=FaultKind.LOSE_REPLY, call=index, onwards=True, times=None))
        assert error is not None
        made = any(user == NAME for user in _users(stage.server))
        if name in UNDONE and made:
            assert isinstance(error, ont.RollbackIncomplete)
            assert NAME in " ".join(error.leftovers)
            assert not {f"{what} ({its})" for what, its in before.items()} & set(error.leftovers)
        assert stage.run() is None
        assert stage.is_as_asked()


class Killed(BaseException):
    """The process is gone: no line of it runs any more."""


class TestKilledProcess:
    @pytest.mark.parametrize(("name", "index"), MUTATING)
    def test_after_any_change_is_taken_up_and_then_nothing_is_left_to_do(
        self, stage: Stage, name: str, index: int
    ) -> None:
        seen: list[ont.CallRecord] = []

        def kill(record: ont.CallRecord) -> None:
            seen.append(record)
            if len(seen) > index:
                raise Killed

        with pytest.raises(Killed):
            stage.run(on_call=kill)
        assert stage.run() is None
        assert stage.is_as_asked()
        assert name not in UNDONE or stage.logs_in()
        assert stage.run() is None
        assert [method for method in stage.sent if _mutates(method)] == []


LAST = max(index for index, method in enumerate(COURSES["create"].calls) if _mutates(method))
"""The call that says that a new tenant is finished."""


REFUSED = Fault(kind=FaultKind.REFUSE, call=LAST, code=0x0800)
TAKING_BACK = 11
"""Calls that a run makes at least to take back all of a tenant that it was refused to finish."""


def _ends_as_asked(server: Emulator) -> bool:
    """Whether all is as after an undisturbed run, however often a password was set."""
    made, asked = (
        re.sub(r"'TENANCY_ADMIN_GENERATION', '\d+'", "", repr(shot))
        for shot in (snapshot(server), COURSES["create"].after)
    )
    return made == asked


class TestTwoRuns:
    """One run is refused its last call, and takes everything back. Another one finishes the tenant."""

    @pytest.mark.parametrize("moment", range(TAKING_BACK))
    def test_the_second_comes_between_any_two_calls_of_the_taking_back(
        self, server: Emulator, moment: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(retreat, "_PATIENCE_S", DEADLINE_S)
        seen: list[str] = []
        made: list[ont.Vdc] = []

        def finish() -> None:
            with cloud_of(server) as other:
                made.append(other.vdcs.ensure(SPEC))

        second = threading.Thread(target=finish)

        def meet(record: ont.CallRecord) -> None:
            seen.append(record.method)
            if len(seen) == LAST + 1 + moment:
                second.start()
                second.join(0.5)  # it ends, or it waits for the first to end

        server.faults.arm(REFUSED)
        with cloud_of(server, on_call=meet) as first, pytest.raises(ont.TenancyError):
            first.vdcs.ensure(SPEC)
        second.join(DEADLINE_S)
        assert len(made) == 1
        assert _ends_as_asked(server), seen[LAST:]
        with cloud_of(server) as later:
            assert not later.vdcs.plan(SPEC)
            assert known(later.vdcs.get(made[0].id))

    @pytest.mark.parametrize("moment", [1, 2, 4, 6, 7, 8, 9, 12, 16])
    def test_the_taking_back_comes_between_any_two_calls_of_the_second(self, server: Emulator, moment: int) -> None:
        refused, due, over = threading.Event(), threading.Event(), threading.Event()
        seen: list[str] = []
        errors: list[ont.TenancyError] = []

        def wait(record: ont.CallRecord) -> None:
            if record.outcome != "ok" and not refused.is_set():
                refused.set()
                assert due.wait(DEADLINE_S)

        def fail() -> None:
            with cloud_of(server, on_call=wait) as cloud:
                try:
                    cloud.vdcs.ensure(SPEC)
                except ont.TenancyError as error:
                    errors.append(error)
            over.set()

        def let_go(record: ont.CallRecord) -> None:
            seen.append(record.method)
            if len(seen) == moment:
                due.set()
                assert over.wait(DEADLINE_S)

        server.faults.arm(REFUSED)
        first = threading.Thread(target=fail)
        first.start()
        assert refused.wait(DEADLINE_S)
        ends: list[ont.Vdc | ont.TenancyError] = []
        with cloud_of(server, on_call=let_go) as cloud:
            try:
                ends.append(cloud.vdcs.ensure(SPEC))
            except ont.TenancyError as error:
                ends.append(error)
        due.set()
        first.join(DEADLINE_S)
        assert len(errors) == 1
        # Where it says that it has made the tenant, the tenant is there; where it has failed, nothing is, or all.
        if isinstance(ends[0], ont.Vdc):
            assert _ends_as_asked(server), seen
        else:
            assert _ends_as_asked(server) or marked(server, KEY) == {}, seen
        with cloud_of(server) as later:
            later.vdcs.ensure(SPEC)
        assert _ends_as_asked(server)


def _users(server: Emulator) -> list[str]:
    pool = Raw(server.endpoint, server.auth).xml("one.userpool.info")
    return [user.findtext("NAME") or "" for user in pool.iter("USER")]


@pytest.fixture(name="admin")
def _admin(server: Emulator) -> Raw:
    return Raw(server.endpoint, server.auth)


def known(vdc: ont.Vdc) -> ont.Credentials:
    """The credentials of a tenant's administrator."""
    assert vdc.admin is not None
    found = vdc.admin.credentials()
    assert found is not None
    return found


class TestAskingForIt:
    def test_a_tenant_with_a_network_has_it_too(self, server: Emulator, cloud: ont.Cloud) -> None:
        vdc = cloud.vdcs.ensure(WHOLE)
        boss = Raw(server.endpoint, known(vdc).auth)
        assert vdc.network is not None
        assert boss.xml("one.vn.info", vdc.network.id).findtext("NAME") == "acme_internal"
        assert not cloud.vdcs.plan(WHOLE)

    def test_it_is_the_same_however_the_tenant_is_found(self, server: Emulator, cloud: ont.Cloud) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        with cloud_of(server) as later:
            found = [later.vdcs.get(vdc.id), later.vdcs.find("acme"), later.vdcs.find_key(KEY), *later.vdcs.list()]
            found.append(later.vdcs.ensure(SPEC))
            assert {one.admin for one in found if one} == {vdc.admin}
            assert {known(one).auth for one in found if one} == {known(vdc).auth}

    def test_a_password_without_a_secret_is_given_by_the_run_that_has_set_it(self, server: Emulator) -> None:
        with connect(server) as cloud:
            vdc = cloud.vdcs.ensure(SPEC)
            assert Raw(server.endpoint, known(vdc).auth)("one.user.info", -1)
            for later in (cloud.vdcs.get(vdc.id), cloud.vdcs.ensure(SPEC)):
                assert later.admin is not None
                assert later.admin.credentials() is None
                assert later.admin.takes(known(vdc).password)
                assert not later.admin.takes("")

    def test_not_saying_leaves_it_alone(self, server: Emulator, cloud: ont.Cloud, sent: list[ont.CallRecord]) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        auth = known(vdc).auth
        sent.clear()
        again = cloud.vdcs.ensure(attrs.evolve(SPEC, admin=None))
        assert mutations(sent) == []
        assert again.admin == vdc.admin
        assert Raw(server.endpoint, auth)("one.user.info", -1)

    def test_not_wanting_it_removes_it_and_nothing_else(
        self, server: Emulator, cloud: ont.Cloud, sent: list[ont.CallRecord]
    ) -> None:
        before = cloud.vdcs.ensure(SPEC)
        auth = known(before).auth
        sent.clear()
        unwanted = attrs.evolve(SPEC, admin=False)
        assert str(cloud.vdcs.plan(unwanted)).splitlines()[1:] == [f"  delete user 2 ({NAME})"]
        after = cloud.vdcs.ensure(unwanted)
        assert after.admin is None
        assert mutations(sent) == ["one.user.delete", "one.group.update"]
        assert is_refused(server.endpoint, auth)
        assert before.admin is not None
        with pytest.raises(ont.WentAway):
            before.admin.reset_password()
        sent.clear()
        assert cloud.vdcs.ensure(unwanted) == after
        assert mutations(sent) == []

    def test_a_plan_says_that_it_will_be_made_and_makes_nothing(
        self, cloud: ont.Cloud, sent: list[ont.CallRecord]
    ) -> None:
        assert f"  create user {NAME}" in str(cloud.vdcs.plan(SPEC)).splitlines()
        assert mutations(sent) == []
        cloud.vdcs.ensure(SPEC)
        assert not cloud.vdcs.plan(SPEC)

    @pytest.mark.parametrize("inside", [False, True])
    def test_a_name_that_is_taken_is_a_conflict_and_the_tenant_stays_as_it_is(
        self, server: Emulator, cloud: ont.Cloud, admin: Raw, sent: list[ont.CallRecord], inside: bool
    ) -> None:
        vdc = cloud.vdcs.ensure(BARE)
        foreign = admin("one.user.allocate", NAME, "secret", "core", [vdc.id] if inside else [])
        before = snapshot(server)
        sent.clear()
        for ask in (cloud.vdcs.plan, cloud.vdcs.ensure):
            with pytest.raises(ont.Conflict, match=f"the name {NAME} is taken by user {foreign}"):
                ask(attrs.evolve(SPEC, quota=ont.Quota(cpu=9)))
        assert mutations(sent) == []
        assert snapshot(server) == before


class TestTakingTheTenantAway:
    def test_its_administrator_goes_first(self, cloud: ont.Cloud, sent: list[ont.CallRecord], server: Emulator) -> None:
        before = snapshot(server)
        vdc = cloud.vdcs.ensure(WHOLE)
        sent.clear()
        steps: list[str] = []
        vdc.delete(progress=lambda step: steps.append(step.change.subject))
        assert mutations(sent)[0] == "one.user.delete"
        assert [step.partition(" ")[0] for step in steps] == ["user", "router", "network", "security", "group", "VDC"]
        assert steps[-2:] == [f"group {vdc.id}", f"VDC {vdc.vdc_id}"]
        assert snapshot(server) == before
        assert vdc.admin is not None
        with pytest.raises(ont.NotFound):
            vdc.admin.credentials()

    @pytest.mark.parametrize("terminate", [False, True])
    def test_what_the_administrator_makes_at_the_last_moment_is_not_left_behind(
        self, server: Emulator, cloud: ont.Cloud, admin: Raw, sent: list[ont.CallRecord], terminate: bool
    ) -> None:
        vdc = cloud.vdcs.ensure(WHOLE)
        boss = Raw(server.endpoint, known(vdc).auth)
        made: list[int] = []
        take = server.faults.take

        def taking(method: str) -> Fault | None:
            if method == "one.user.delete" and not made:
                made.append(-1)
                made[0] = boss("one.vm.allocate", 'NAME="late" CPU="1" MEMORY="128"', False)
            return take(method)

        server.faults.take = taking  # type: ignore[method-assign]
        if terminate:
            vdc.delete(terminate_vms=True)
            assert cloud.vdcs.list() == ()
            assert admin.xml("one.vm.info", made[0]).findtext("STATE") == "6"
            return
        sent.clear()
        with pytest.raises(ont.NotEmpty, match=r"VM \d+ \(late\)") as caught:
            vdc.delete()
        assert str(caught.value).endswith("only user 2 was deleted")
        assert mutations(sent) == ["one.user.delete"]
        assert cloud.vdcs.list() == (vdc,)

    def test_users_that_the_administrator_made_hold_it(
        self, server: Emulator, cloud: ont.Cloud, sent: list[ont.CallRecord]
    ) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        boss = Raw(server.endpoint, known(vdc).auth)
        alice = boss("one.user.allocate", "alice", "secret", "core", [])
        before = snapshot(server)
        sent.clear()
        for terminate in (False, True):
            with pytest.raises(ont.NotEmpty) as caught:
                vdc.delete(terminate_vms=terminate)
            assert caught.value.leftovers == (f"user {alice} (alice)",)
        assert mutations(sent) == []
        assert snapshot(server) == before
        boss("one.user.delete", alice)
        vdc.delete()
        assert cloud.vdcs.list() == ()

    def test_machines_that_the_administrator_made_hold_it_unless_they_are_to_go(
        self, server: Emulator, cloud: ont.Cloud
    ) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        vm = Raw(server.endpoint, known(vdc).auth)("one.vm.allocate", 'NAME="web" CPU="1" MEMORY="128"', False)
        with pytest.raises(ont.NotEmpty, match=rf"VM {vm} \(web\)"):
            vdc.delete()
        assert NAME in _users(server)
        vdc.delete(terminate_vms=True)
        assert NAME not in _users(server)
        assert cloud.vdcs.list() == ()

    def test_a_tenant_whose_administrator_is_gone_already_is_removed(
        self, server: Emulator, cloud: ont.Cloud, admin: Raw
    ) -> None:
        vdc = cloud.vdcs.ensure(SPEC)
        assert vdc.admin is not None
        admin("one.user.delete", vdc.admin.id)
        vdc.delete()
        assert marked(server, KEY) == {}

    def test_one_that_was_moved_to_another_tenant_by_hand_goes_with_its_own(
        self, server: Emulator, cloud: ont.Cloud, admin: Raw
    ) -> None:
        other = cloud.vdcs.ensure(attrs.evolve(BARE, name="other", key="key-of-other"))
        vdc = cloud.vdcs.ensure(SPEC)
        assert vdc.admin is not None
        admin("one.user.chgrp", vdc.admin.id, other.id)
        vdc.delete()
        assert NAME not in _users(server)
        other.delete()


def test_nothing_that_opennebula_shows_holds_a_password(
    server: Emulator, cloud: ont.Cloud, admin: Raw, passwords: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    vdc = cloud.vdcs.ensure(WHOLE)
    first = known(vdc)
    assert vdc.admin is not None
    last = vdc.admin.reset_password()
    shown = [repr(vdc), vdc._repr_html_(), repr(vdc.admin), repr(last), repr(SPEC), repr(SOURCE), caplog.text]
    shown += [admin(method, *params) for method, params in POOLS.items()]
    shown += [admin("one.user.info", vdc.admin.id, True), admin("one.group.info", vdc.id, True)]
    assert {first.password, last.password, SECRET.decode()} <= passwords
    assert len(passwords) >= 4  # also the one that the account was allocated with
    assert caplog.records
    for password in passwords:
        assert not any(password in text for text in shown)
