"""What is sent again, how often, and what is looked at before."""

import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy._transport.retry import attempts
from opennebula_tenancy._transport.rpc import Rpc
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from transport.pace import QUICK
from transport.wild_server import Exchange, WildServer, http, success, xml


Serve = Callable[..., WildServer]
MakeRpc = Callable[..., Rpc]
ALLOCATE = "one.group.allocate"


@pytest.fixture(name="one")
def _one() -> Iterator[Emulator]:
    with Emulator() as server:
        yield server


class Groups:
    """Makes one group, and looks for it."""

    def __init__(self, rpc: Rpc, one: Emulator) -> None:
        self._rpc = rpc
        self._one = one
        self.looks = 0

    def make(self) -> int:
        return self._rpc.mutate(ALLOCATE, "acme", look=self.look)

    def look(self) -> int | None:
        self.looks += 1
        pool = ET.fromstring(self._rpc.read("one.grouppool.info"))
        return next((int(g.findtext("ID") or "") for g in pool.iter("GROUP") if g.findtext("NAME") == "acme"), None)

    @property
    def sent(self) -> int:
        """How often the group was asked for."""
        return self._one.calls.count(ALLOCATE)


@pytest.fixture(name="groups")
def _groups(one: Emulator, rpc: MakeRpc) -> Groups:
    return Groups(rpc(one.endpoint, one.auth, retry=QUICK), one)


def fault(kind: FaultKind, *, times: int | None = 1, method: str | None = ALLOCATE, message: str = "") -> Fault:
    return Fault(kind=kind, method=method, times=times, message=message or "Refused on purpose")


READ_FAULTS = [FaultKind.DROP, FaultKind.LOSE_REPLY, FaultKind.TRUNCATE, FaultKind.BAD_GATEWAY, FaultKind.ELECTION]


@pytest.mark.parametrize("kind", READ_FAULTS)
def test_a_read_that_does_not_get_through_is_repeated(one: Emulator, rpc: MakeRpc, kind: FaultKind) -> None:
    one.faults.arm(fault(kind, times=3, method=None))
    assert rpc(one.endpoint, one.auth, retry=QUICK).read("one.system.version") == "7.4.0"
    assert len(one.calls) == 4


@pytest.mark.parametrize("kind", READ_FAULTS)
def test_a_read_is_given_up_after_all_its_attempts(one: Emulator, rpc: MakeRpc, kind: FaultKind) -> None:
    one.faults.arm(fault(kind, times=None, method=None))
    with pytest.raises(ont.TransportError):
        rpc(one.endpoint, one.auth, retry=QUICK).read("one.system.version")
    assert len(one.calls) == QUICK.attempts


def test_a_refusal_of_a_read_is_final(one: Emulator, rpc: MakeRpc) -> None:
    one.faults.arm()
    with pytest.raises(ont.NotFound):
        rpc(one.endpoint, one.auth, retry=QUICK).read("one.group.info", 4711)
    assert len(one.calls) == 1


def test_a_server_that_is_not_there_is_tried_again(rpc: MakeRpc) -> None:
    with Emulator() as server:
        endpoint = server.endpoint
    waits: list[float] = []
    server = Emulator(port=int(endpoint.split(":")[2].partition("/")[0]))

    def start(wait_s: float) -> None:
        waits.append(wait_s)
        if len(waits) == 2:
            server.start()

    try:
        assert rpc(endpoint, server.auth, retry=QUICK, sleep=start).read("one.system.version") == "7.4.0"
    finally:
        server.stop()
    assert len(waits) == 2


def test_the_waits_grow_are_capped_and_are_not_the_same_for_all() -> None:
    policy = ont.RetryPolicy(attempts=8, wait_s=1, wait_max_s=5, budget_s=1000)
    runs: list[list[float]] = []
    for _ in range(200):
        runs.append([])
        list(attempts(policy, sleep=runs[-1].append))
    most = [max(run[number] for run in runs) for number in range(7)]
    for bound, seen in zip([1, 2, 4, 5, 5, 5, 5], most, strict=True):
        assert bound / 2 < seen <= bound
    assert len({tuple(run) for run in runs}) == 200


def test_no_attempt_begins_after_the_budget(serve: Serve, rpc: MakeRpc) -> None:
    server = serve(Exchange.hang)
    policy = ont.RetryPolicy(attempts=100, budget_s=0.3, wait_s=0)
    with pytest.raises(ont.OutcomeUnknown):
        rpc(server.endpoint, timeout=ont.Timeout(read_s=0.2), retry=policy).read("one.system.version")
    assert len(server.requests) <= 2  # the first alone may take longer than the budget on a busy machine


def test_a_wait_that_would_pass_the_budget_is_not_begun() -> None:
    policy = ont.RetryPolicy(attempts=100, budget_s=0.001, wait_s=1e6, wait_max_s=1e6)
    first = next(iter(attempts(policy)))
    assert first.last


@pytest.mark.parametrize("settings", [{"attempts": 0}, {"budget_s": 0}, {"wait_s": -1}, {"settle_s": -1}])
def test_a_policy_that_cannot_be_is_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        ont.RetryPolicy(**settings)


def test_a_mutation_that_succeeds_is_sent_once_and_nothing_is_looked_at(groups: Groups) -> None:
    gid = groups.make()
    assert (groups.sent, groups.looks) == (1, 0)
    assert groups.look() == gid


@pytest.mark.parametrize("kind", [FaultKind.LOSE_REPLY, FaultKind.TRUNCATE, FaultKind.BAD_GATEWAY_APPLIED])
def test_a_mutation_whose_reply_is_lost_is_found_and_not_sent_again(
    one: Emulator, groups: Groups, kind: FaultKind
) -> None:
    one.faults.arm(fault(kind))
    gid = groups.make()
    assert (groups.sent, groups.looks) == (1, 1)
    assert groups.look() == gid


@pytest.mark.parametrize("kind", [FaultKind.DROP, FaultKind.BAD_GATEWAY])
def test_a_mutation_that_was_dropped_is_looked_for_twice_and_sent_exactly_once_more(
    one: Emulator, groups: Groups, kind: FaultKind
) -> None:
    one.faults.arm(fault(kind))
    gid = groups.make()
    assert (groups.sent, groups.looks) == (2, 2)
    assert groups.look() == gid


def test_between_the_two_looks_a_queued_request_gets_time_to_land(one: Emulator, rpc: MakeRpc) -> None:
    waits: list[float] = []
    policy = ont.RetryPolicy(attempts=2, settle_s=7, wait_s=0)
    groups = Groups(rpc(one.endpoint, one.auth, retry=policy, sleep=waits.append), one)
    one.faults.arm(fault(FaultKind.DROP))
    groups.make()
    assert waits == [7, 0]


def test_a_request_that_lands_while_waiting_is_found(one: Emulator, rpc: MakeRpc) -> None:
    late = rpc(one.endpoint, one.auth)

    def land(wait_s: float) -> None:
        assert wait_s == 7
        late.mutate(ALLOCATE, "acme", look=lambda: None)

    groups = Groups(rpc(one.endpoint, one.auth, retry=ont.RetryPolicy(settle_s=7), sleep=land), one)
    one.faults.arm(fault(FaultKind.DROP))
    assert groups.make() >= 100
    assert (groups.sent, groups.looks) == (2, 2)


def test_an_election_is_waited_out_without_looking(one: Emulator, groups: Groups) -> None:
    one.faults.arm(fault(FaultKind.ELECTION, times=3))
    groups.make()
    assert (groups.sent, groups.looks) == (4, 0)


@pytest.mark.parametrize("kind", [FaultKind.ELECTION, FaultKind.DROP])
def test_a_mutation_is_given_up_after_all_its_attempts(one: Emulator, groups: Groups, kind: FaultKind) -> None:
    one.faults.arm(fault(kind, times=None))
    with pytest.raises(ont.TransportError):
        groups.make()
    assert groups.sent == QUICK.attempts
    assert groups.look() is None


def test_a_refusal_is_not_repeated(one: Emulator, groups: Groups) -> None:
    one.faults.arm(Fault(kind=FaultKind.REFUSE, method=ALLOCATE, code=0x200))
    with pytest.raises(ont.NotAuthorized):
        groups.make()
    assert (groups.sent, groups.looks) == (1, 0)


def test_an_internal_error_is_looked_behind_and_speaks_when_nothing_is_there(one: Emulator, groups: Groups) -> None:
    one.faults.arm(fault(FaultKind.REFUSE))
    with pytest.raises(ont.InternalError, match="Refused on purpose"):
        groups.make()
    assert (groups.sent, groups.looks) == (1, 1)


def test_an_internal_error_after_which_the_change_is_there_is_a_success(serve: Serve, rpc: MakeRpc) -> None:
    server = serve(lambda exchange: exchange.send(http(xml([False, "database is locked", 0x2000, -1, -1]))))
    assert rpc(server.endpoint).mutate(ALLOCATE, "acme", look=lambda: 104) == 104
    assert server.methods == [ALLOCATE]


def test_a_name_that_was_taken_before_is_a_refusal(one: Emulator, groups: Groups, rpc: MakeRpc) -> None:
    rpc(one.endpoint, one.auth).mutate(ALLOCATE, "acme", look=lambda: None)
    with pytest.raises(ont.AlreadyExists):
        groups.make()
    assert groups.looks == 0


class Scripted:
    """A server whose answers to a mutation come one after the other."""

    def __init__(self, *answers: Callable[[Exchange], None]) -> None:
        self._answers = list(answers)

    def __call__(self, exchange: Exchange) -> None:
        self._answers.pop(0)(exchange)


def taken(exchange: Exchange) -> None:
    exchange.send(http(xml([False, f"[{exchange.method}] NAME is already taken by GROUP 104.", 0x2000, -1, -1])))


def test_a_name_that_an_earlier_attempt_took_is_a_success(serve: Serve, rpc: MakeRpc) -> None:
    server = serve(Scripted(Exchange.reset, taken))
    found = iter([None, None, 104])
    assert rpc(server.endpoint, retry=QUICK).mutate(ALLOCATE, "acme", look=lambda: next(found)) == 104
    assert len(server.requests) == 2


def test_a_name_that_somebody_else_took_meanwhile_is_a_refusal(serve: Serve, rpc: MakeRpc) -> None:
    server = serve(Scripted(Exchange.reset, taken))
    with pytest.raises(ont.AlreadyExists):
        rpc(server.endpoint, retry=QUICK).mutate(ALLOCATE, "acme", look=lambda: None)
    assert len(server.requests) == 2


LOOK_FAILURES = [
    ont.NotSent("one.grouppool.info", "no connection: Connection refused"),
    ont.OutcomeUnknown("one.grouppool.info", "no answer in time"),
    ont.NotAuthorized("one.grouppool.info", 0x200, "no"),
    ont.ProtocolViolation("no XML"),
]


@pytest.mark.parametrize("failed", LOOK_FAILURES, ids=lambda error: type(error).__name__)
def test_where_looking_fails_too_the_first_error_speaks(serve: Serve, rpc: MakeRpc, failed: Exception) -> None:
    def look() -> None:
        raise failed

    server = serve(Exchange.reset)
    with pytest.raises(ont.OutcomeUnknown, match=r"one\.group\.allocate: the connection broke") as caught:
        rpc(server.endpoint, retry=QUICK).mutate(ALLOCATE, "acme", look=look)
    assert caught.value.__notes__ == [f"Looking whether it was applied failed too: {failed}"]
    assert caught.value.__cause__ is failed
    assert len(server.requests) == 1


@pytest.mark.parametrize("failed", LOOK_FAILURES, ids=lambda error: type(error).__name__)
def test_where_looking_fails_after_a_taken_name_the_refusal_speaks(
    serve: Serve, rpc: MakeRpc, failed: Exception
) -> None:
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise failed

    server = serve(Scripted(Exchange.reset, taken))
    with pytest.raises(ont.AlreadyExists) as caught:
        rpc(server.endpoint, retry=QUICK).mutate(ALLOCATE, "acme", look=look)
    assert caught.value.__cause__ is failed


def test_what_looking_finds_out_is_not_hidden(serve: Serve, rpc: MakeRpc) -> None:
    def look() -> None:
        raise ont.DuplicateObject("two VDCs carry the key k")

    with pytest.raises(ont.DuplicateObject):
        rpc(serve(Exchange.reset).endpoint, retry=QUICK).mutate(ALLOCATE, "acme", look=look)


def test_every_call_is_recorded_failed_ones_included(one: Emulator, rpc: MakeRpc) -> None:
    records: list[ont.CallRecord] = []
    caller = rpc(one.endpoint, one.auth, retry=QUICK, on_call=records.append)
    one.faults.arm(fault(FaultKind.DROP), fault(FaultKind.ELECTION, method="one.system.version"))
    caller.read("one.system.version")
    caller.mutate(ALLOCATE, "acme", look=lambda: None)
    with pytest.raises(ont.NotFound):
        caller.read("one.group.info", 4711)
    assert [(record.method, record.outcome, record.mutates) for record in records] == [
        ("one.system.version", "ServerUnready", False),
        ("one.system.version", "ok", False),
        (ALLOCATE, "OutcomeUnknown", True),
        (ALLOCATE, "ok", True),
        ("one.group.info", "NotFound", False),
    ]
    assert len({record.call_id for record in records}) == 5
    assert all(record.seconds > 0 for record in records)
    for record in records:
        assert (record.sent_bytes > 0) is (record.received_bytes > 0) is (record.outcome == "ok")


def test_the_sizes_of_a_call_are_those_of_the_bodies(serve: Serve, rpc: MakeRpc) -> None:
    records: list[ont.CallRecord] = []
    server = serve(lambda exchange: exchange.send(success()))
    rpc(server.endpoint, on_call=records.append).read("one.system.version")
    (record,) = records
    assert record.sent_bytes == len(server.requests[0])
    assert record.received_bytes == len(xml([True, "7.4.0", 0]))


def test_the_reads_of_one_call_have_a_pace_of_their_own(serve: Serve, rpc: MakeRpc) -> None:
    times: list[float] = []

    def note(exchange: Exchange) -> None:
        times.append(time.monotonic())
        exchange.reset()

    with pytest.raises(ont.OutcomeUnknown):
        rpc(
            serve(note).endpoint, retry=ont.RetryPolicy(attempts=3, wait_s=0.05, wait_max_s=0.05), sleep=time.sleep
        ).read("one.system.version")
    assert len(times) == 3
    assert all(later - earlier < 2 for earlier, later in pairwise(times))
