"""Every call on an administrator's account, hit by every kind of fault: the next run ends as it would have."""

import contextlib
import re
from collections.abc import Callable
from typing import Any

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.admin_credentials import Credentials, CredentialSource
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from tenants.accounts import Accounts, is_refused
from tenants.pace import DELAY_S, QUICK, patience
from tenants.raw import Raw


SPEC = ont.VdcSpec(name="acme", key="key-of-acme", quota=ont.Quota(cpu=4), clusters=(0,))
NAME = "acme_admin"
DERIVED = CredentialSource(secret=b"a secret of 32 bytes, or more ...", legacy_attribute="OTHER_TOOL_PASSWORD")
RANDOM = CredentialSource()
TOKEN = "token-of-before"


def connect(server: Emulator, *kinds: FaultKind, **options: Any) -> ont.Cloud:
    return ont.connect(server.endpoint, server.auth, timeout=patience(*kinds), retry=QUICK, **options)


def tenant(accounts: Accounts) -> ont.Vdc:
    vdc = accounts.cloud.vdcs.find_key(SPEC.key)
    assert vdc is not None
    return vdc


def without(accounts: Accounts) -> None:
    """A tenant without an account."""
    accounts.cloud.vdcs.ensure(SPEC)


def having(accounts: Accounts) -> None:
    """A tenant whose account was used by another tool before."""
    without(accounts)
    account = accounts.account(tenant(accounts))
    accounts.rpc.mutate("one.user.update", account.id, "OTHER_TOOL_PASSWORD=old\nNOTE=kept", 1, look=lambda: None)


def displaced(accounts: Accounts) -> None:
    """A tenant whose account was moved out of its group."""
    having(accounts)
    account = accounts.account(tenant(accounts))
    accounts.rpc.mutate("one.user.chgrp", account.id, 1, look=lambda: None)


def create(accounts: Accounts) -> None:
    accounts.ensure(tenant(accounts))


def reset(accounts: Accounts) -> None:
    account = accounts.admins.of(accounts.group(tenant(accounts)))
    assert account is not None
    account.reset_password()


def remove(accounts: Accounts) -> None:
    accounts.ensure(tenant(accounts), wanted=False)


Operation = Callable[[Accounts], None]
OPERATIONS: dict[str, tuple[Operation, Operation, CredentialSource]] = {
    "create": (without, create, DERIVED),
    "create, random": (without, create, RANDOM),
    "put back": (displaced, create, DERIVED),
    "reset": (having, reset, DERIVED),
    "reset, random": (having, reset, RANDOM),
    "remove": (having, remove, DERIVED),
}


def shot(server: Emulator) -> dict[str, Any]:
    """Users, groups and rules, with names in the place of ids, and without what counts attempts."""
    admin = Raw(server.endpoint, server.auth)
    pools = {noun: admin.xml(f"one.{noun}pool.info") for noun in ("user", "group")}
    users = {item.findtext("ID"): item.findtext("NAME") for item in pools["user"].iter("USER")}
    groups = {item.findtext("ID"): item.findtext("NAME") for item in pools["group"].iter("GROUP")}

    def names(item: Any, path: str, of: dict[str | None, str | None]) -> list[str | None]:
        return sorted((of.get(part.text, part.text) for part in item.iterfind(path)), key=str)

    def template(item: Any) -> dict[str, str | None]:
        found = {part.tag: part.text for part in item.iterfind("TEMPLATE/*")}
        for name in ("TOKEN_PASSWORD", "TENANCY_ADMIN_AFTER", "TENANCY_ADMIN_GENERATION", "TENANCY_VDC_ID"):
            found.pop(name, None)
        gone = found.pop("TENANCY_ADMIN_GONE", None)
        for name in ("TENANCY_ADMIN_ID", "TENANCY_ADMIN_READY"):
            value = found.get(name, "none")
            found[name] = "none" if value == gone else users.get(value, value)
        return {name: value for name, value in found.items() if value != "none"}

    def rule(text: str) -> str:
        text = re.sub(r"#(\d+)", lambda found: f"#{users.get(found[1]) or groups.get(found[1])}", text)
        return re.sub(r"@(\d+)", lambda found: f"@{groups.get(found[1])}", text)

    return {
        "users": {
            item.findtext("NAME"): (
                groups.get(item.findtext("GID")),
                names(item, "GROUPS/ID", groups),
                item.findtext("AUTH_DRIVER"),
                item.findtext("ENABLED"),
                len(item.findall("LOGIN_TOKEN")),
                template(item),
            )
            for item in pools["user"].iter("USER")
        },
        "groups": {
            item.findtext("NAME"): (names(item, "USERS/ID", users), names(item, "ADMINS/ID", users), template(item))
            for item in pools["group"].iter("GROUP")
        },
        "rules": sorted(rule(item.findtext("STRING") or "") for item in admin.xml("one.acl.info")),
    }


def undisturbed(name: str) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
    """The state before an operation, the state after it, and the calls that it sends."""
    prepare, operate, source = OPERATIONS[name]
    with Emulator(populated=True) as server, connect(server) as cloud:
        accounts = Accounts(cloud, source)
        prepare(accounts)
        before = shot(server)
        server.faults.arm()
        operate(accounts)
        calls = server.calls
        return before, shot(server), calls


UNDISTURBED = {name: undisturbed(name) for name in OPERATIONS}
WHOLE = {"create", "remove"}
"""Operations whose every call is disturbed with all of a tenant around them, in test_admin_tenants.py."""


def _mutates(method: str) -> bool:
    return not method.endswith("info")


def _calls(names: list[str], *, mutating: bool) -> list[Any]:
    return [
        pytest.param(name, index, id=f"{name}-{index}-{method}")
        for name in names
        for index, method in enumerate(UNDISTURBED[name][2])
        if index > 0 and _mutates(method) is mutating  # the first only finds the tenant
    ]


MUTATING = _calls([name for name in OPERATIONS if name not in WHOLE], mutating=True)
READING = _calls(["put back", "reset"], mutating=False)


def _moments(name: str) -> list[int]:
    """The calls before and after which something changes: it is no matter where between two looks another comes."""
    calls = UNDISTURBED[name][2]
    return [index for index in range(len(calls) - 1) if _mutates(calls[index]) or _mutates(calls[index + 1])]


def known(accounts: Accounts) -> Credentials | None:
    """The credentials that the library gives at this moment."""
    vdc = tenant(accounts)
    account = accounts.admins.of(accounts.group(vdc))
    return account.credentials() if account is not None else None


def holds(server: Emulator, accounts: Accounts, name: str, past: list[Credentials]) -> None:
    """After an operation has ended well: its state is the undisturbed one, and just one password holds."""
    assert shot(server) == UNDISTURBED[name][1]
    if name == "remove":
        return
    now = known(accounts)
    if accounts.source is not RANDOM:
        assert now is not None
        Raw(server.endpoint, now.auth)("one.user.info", -1)
    if name.startswith("reset"):
        assert past
        for old in past:
            assert is_refused(server.endpoint, old.auth)
        assert is_refused(server.endpoint, f"{NAME}:{TOKEN}")


def valid(server: Emulator, accounts: Accounts, name: str) -> list[Credentials]:
    """Before a reset: what is valid and must not be any more."""
    if not name.startswith("reset"):
        return []
    account = accounts.account(tenant(accounts))
    first = account.reset_password()
    Raw(server.endpoint, first.auth)("one.user.login", NAME, TOKEN, -1, -1)
    Raw(server.endpoint, f"{NAME}:{TOKEN}")("one.user.info", -1)
    # What that reset has removed and ended is there again, as before.
    accounts.rpc.mutate("one.user.update", account.id, "OTHER_TOOL_PASSWORD=old", 1, look=lambda: None)
    return [first]


def one_fault(server: Emulator, name: str, index: int, kind: FaultKind) -> None:
    """Run an operation with a fault at one call, and once more."""
    prepare, operate, source = OPERATIONS[name]
    with connect(server, kind) as cloud:
        accounts = Accounts(cloud, source)
        prepare(accounts)
        past = valid(server, accounts, name)
        before = shot(server)
        server.faults.arm(Fault(kind=kind, call=index, delay_s=DELAY_S))
        error: ont.TenancyError | None = None
        try:
            operate(accounts)
        except ont.TenancyError as caught:
            error = caught
        assert len(server.calls) > index
        server.faults.arm()
        if error is None:
            holds(server, accounts, name, past)
        elif name.startswith("create"):
            # Only the very last look comes when the account is finished, and stays.
            finished = "one.group.update" not in UNDISTURBED[name][2][index:]
            assert shot(server) == (UNDISTURBED[name][1] if finished else before), error
        operate(accounts)
        holds(server, accounts, name, past)


@pytest.mark.parametrize("kind", [FaultKind.REFUSE, FaultKind.LOSE_REPLY])
@pytest.mark.parametrize(("name", "index"), MUTATING)
def test_one_fault_at_a_call_that_changes_something_and_one_more_run_end_as_an_undisturbed_run(
    server: Emulator, name: str, index: int, kind: FaultKind
) -> None:
    one_fault(server, name, index, kind)


@pytest.mark.parametrize(("name", "index"), READING)
def test_a_refusal_of_a_call_that_reads_and_one_more_run_end_as_an_undisturbed_run(
    server: Emulator, name: str, index: int
) -> None:
    one_fault(server, name, index, FaultKind.REFUSE)


@pytest.mark.parametrize("kind", sorted(set(FaultKind) - {FaultKind.REFUSE, FaultKind.DELAY}))
@pytest.mark.parametrize("name", ["put back", "reset"])
def test_a_fault_of_any_other_kind_at_every_method_in_turn_is_got_over(
    server: Emulator, name: str, kind: FaultKind
) -> None:
    prepare, operate, source = OPERATIONS[name]
    with connect(server) as cloud:
        accounts = Accounts(cloud, source)
        prepare(accounts)
        past = valid(server, accounts, name)
        server.faults.arm(*(Fault(kind=kind, method=method) for method in set(UNDISTURBED[name][2])))
        operate(accounts)
        server.faults.arm()
        holds(server, accounts, name, past)


@pytest.mark.parametrize(("name", "index"), _calls(["put back", "reset"], mutating=True))
def test_a_server_that_is_lost_at_any_change_and_comes_back_ends_as_an_undisturbed_run(
    server: Emulator, name: str, index: int
) -> None:
    prepare, operate, source = OPERATIONS[name]
    with connect(server) as cloud:
        accounts = Accounts(cloud, source)
        prepare(accounts)
        past = valid(server, accounts, name)
        server.faults.arm(Fault(kind=FaultKind.LOSE_REPLY, call=index, onwards=True, times=None))
        with pytest.raises(ont.TenancyError):
            operate(accounts)
        server.faults.arm()
        operate(accounts)
        holds(server, accounts, name, past)


class Killed(BaseException):
    """The process is gone: no line of it runs any more."""


@pytest.mark.parametrize(("name", "index"), MUTATING)
def test_a_process_killed_after_any_change_and_one_more_run_end_as_an_undisturbed_run(
    server: Emulator, name: str, index: int
) -> None:
    prepare, operate, source = OPERATIONS[name]
    with connect(server) as cloud:
        accounts = Accounts(cloud, source)
        prepare(accounts)
        past = valid(server, accounts, name)
    seen: list[ont.CallRecord] = []

    def kill(record: ont.CallRecord) -> None:
        seen.append(record)
        if len(seen) > index:
            raise Killed

    with connect(server, on_call=kill) as doomed, pytest.raises(Killed):
        operate(Accounts(doomed, source))
    with connect(server) as cloud:
        accounts = Accounts(cloud, source)
        if NAME in shot(server)["users"] and source is DERIVED:
            now = known(accounts)  # at every moment: what is shown is what holds
            assert now is not None
            Raw(server.endpoint, now.auth)("one.user.info", -1)
        operate(accounts)
        holds(server, accounts, name, past)
        if not name.startswith("reset"):
            server.faults.arm()
            operate(accounts)
            assert [method for method in server.calls if not method.endswith("info")] == []


class Between:
    """Does something right after one call: the first of a method, or the one of that number."""

    def __init__(self, moment: str | int, work: Callable[[], Any]) -> None:
        self._moment = moment
        self._work: Callable[[], Any] | None = work
        self._calls = 0

    def __call__(self, record: ont.CallRecord) -> None:
        due = self._moment in {record.method, self._calls}
        self._calls += 1
        if due and self._work is not None:
            work, self._work = self._work, None
            work()


@pytest.mark.parametrize("moment", _moments("create"))
def test_two_runs_that_meet_make_one_account(server: Emulator, cloud: ont.Cloud, moment: int) -> None:
    accounts = Accounts(cloud, DERIVED)
    without(accounts)
    others: list[ont.Vdc] = []

    def run() -> None:
        create(accounts)
        others.append(tenant(accounts))

    with connect(server, on_call=Between(moment, run)) as other:
        create(Accounts(other, DERIVED))
    assert others
    assert shot(server) == UNDISTURBED["create"][1]
    holds(server, accounts, "create", [])


@pytest.mark.parametrize("moment", _moments("reset"))
def test_two_resets_that_meet_leave_one_password_that_is_known(server: Emulator, cloud: ont.Cloud, moment: int) -> None:
    accounts = Accounts(cloud, DERIVED)
    having(accounts)
    past = valid(server, accounts, "reset")
    # One that another reset came after says so, and gives nothing out.
    with (
        connect(server, on_call=Between(moment, lambda: reset(accounts))) as other,
        contextlib.suppress(ont.VerificationFailed),
    ):
        given = Accounts(other, DERIVED).account(tenant(Accounts(other, DERIVED))).reset_password()
        assert given == known(accounts)
    holds(server, accounts, "reset", past)


@pytest.mark.parametrize("moment", _moments("create"))
def test_an_account_that_is_taken_away_while_it_is_made_is_made_by_the_next_run(
    server: Emulator, cloud: ont.Cloud, moment: int
) -> None:
    accounts = Accounts(cloud, DERIVED)
    without(accounts)
    with (
        connect(server, on_call=Between(moment, lambda: remove(accounts))) as other,
        contextlib.suppress(ont.TenancyError, AssertionError),
    ):
        create(Accounts(other, DERIVED))
    create(accounts)
    holds(server, accounts, "create", [])


def test_a_user_that_takes_the_name_at_the_last_moment_is_a_conflict_and_stays(
    server: Emulator, cloud: ont.Cloud, admin: Raw
) -> None:
    without(Accounts(cloud, DERIVED))
    foreign: list[int] = []
    take = Between("one.group.update", lambda: foreign.append(admin("one.user.allocate", NAME, "secret", "core", [])))
    with connect(server, on_call=take) as disturbed, pytest.raises(ont.Conflict, match="just taken"):
        create(Accounts(disturbed, DERIVED))
    assert Raw(server.endpoint, f"{NAME}:secret").xml("one.user.info", -1).findtext("ID") == str(foreign[0])
    with pytest.raises(ont.Conflict):
        create(Accounts(cloud, DERIVED))
    remove(Accounts(cloud, DERIVED))
    assert Raw(server.endpoint, f"{NAME}:secret")("one.user.info", -1)


def test_an_account_that_is_removed_while_it_is_made_is_an_error(
    server: Emulator, cloud: ont.Cloud, admin: Raw
) -> None:
    without(Accounts(cloud, DERIVED))

    def take_away() -> None:
        users = {item.findtext("NAME"): item.findtext("ID") for item in admin.xml("one.userpool.info").iter("USER")}
        admin("one.user.delete", int(users[NAME] or ""))

    with (
        connect(server, on_call=Between("one.user.allocate", take_away)) as disturbed,
        pytest.raises(ont.WentAway, match="removed while it was made"),
    ):
        create(Accounts(disturbed, DERIVED))
    create(Accounts(cloud, DERIVED))
    assert shot(server) == UNDISTURBED["create"][1]


def test_a_password_that_another_changes_at_that_moment_is_not_given_out(
    server: Emulator, cloud: ont.Cloud, admin: Raw
) -> None:
    accounts = Accounts(cloud, DERIVED)
    having(accounts)
    account = accounts.account(tenant(accounts))
    change = Between("one.user.chauth", lambda: admin("one.user.passwd", account.id, "mine"))
    with connect(server, on_call=change) as disturbed, pytest.raises(ont.VerificationFailed) as caught:
        reset(Accounts(disturbed, DERIVED))
    assert "mine" not in str(caught.value)
    assert known(accounts) is None


def test_a_first_password_that_another_changes_at_that_moment_is_not_given_out(
    server: Emulator, cloud: ont.Cloud, admin: Raw
) -> None:
    accounts = Accounts(cloud, DERIVED)
    without(accounts)
    before = shot(server)

    def change() -> None:
        user = accounts.observe(tenant(accounts)).user
        assert user is not None
        admin("one.user.passwd", user.id, "mine")

    with (
        connect(server, on_call=Between("one.user.chauth", change)) as disturbed,
        pytest.raises(ont.VerificationFailed, match="has another"),
    ):
        create(Accounts(disturbed, DERIVED))
    assert shot(server) == before


def test_a_finished_account_survives_the_failure_of_another_run_for_it(server: Emulator, cloud: ont.Cloud) -> None:
    accounts = Accounts(cloud, DERIVED)
    without(accounts)
    given: list[Credentials | None] = []

    def finish_and_fail() -> None:
        create(accounts)
        given.append(known(accounts))
        server.faults.arm(Fault(kind=FaultKind.REFUSE, method="one.user.info", code=0x0800))

    with (
        connect(server, on_call=Between("one.user.allocate", finish_and_fail)) as disturbed,
        pytest.raises(ont.WrongState),
    ):
        create(Accounts(disturbed, DERIVED))
    assert shot(server) == UNDISTURBED["create"][1]
    assert given == [known(accounts)] != [None]
