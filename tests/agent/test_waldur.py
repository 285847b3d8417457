"""The access to Waldur: which failures pass, which are refusals, and how long it is patient."""

import datetime as dt
import time
import uuid
from collections.abc import Iterator

import attrs
import pytest

from agent.world import DELAY_S, IMPATIENT, PATIENT, read_s
from onetenant_waldur.marketplace import Behaviour, Marketplace
from onetenant_waldur.waldur import Acceptance, Waldur
from onetenant_waldur.waldur_calls import Patience, WaldurDenied, WaldurRefused, WaldurUnavailable
from opennebula_tenancy.emulator import Fault, FaultKind


@pytest.fixture(name="waldur")
def _waldur() -> Iterator[Marketplace]:
    with Marketplace(count_only=("provider",)) as waldur:
        yield waldur


def connect(waldur: Marketplace, patience: Patience = IMPATIENT, token: str | None = None) -> Waldur:
    return Waldur(waldur.api_url, token or waldur.tokens["provider"], verify=False, patience=patience)


def offering(waldur: Marketplace) -> uuid.UUID:
    return uuid.UUID(waldur.vdc.uuid)


@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.DROP,
        FaultKind.LOSE_REPLY,
        FaultKind.TRUNCATE,
        FaultKind.DELAY,
        FaultKind.BAD_GATEWAY,
        FaultKind.ELECTION,
    ],
)
def test_an_outage_is_waited_out_and_then_said(waldur: Marketplace, kind: FaultKind) -> None:
    with connect(waldur, attrs.evolve(PATIENT, attempts=20, read_s=read_s(kind))) as access:
        waldur.faults.arm(Fault(kind=kind, times=2, delay_s=DELAY_S))
        assert access.offering(offering(waldur)).components
        calls = len(waldur.faults.calls)
        assert calls == 3 or (kind is FaultKind.DELAY and calls > 3)  # on a busy machine others are late as well
    with connect(waldur, attrs.evolve(IMPATIENT, read_s=read_s(kind))) as access:
        waldur.faults.arm(Fault(kind=kind, delay_s=DELAY_S))
        with pytest.raises(WaldurUnavailable, match="Waldur could not show the offering"):
            access.offering(offering(waldur))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_server_is_an_outage(waldur: Marketplace, status: int) -> None:
    waldur.faults.arm(Fault(kind=FaultKind.REFUSE, code=status, times=None))
    with connect(waldur, PATIENT) as access, pytest.raises(WaldurUnavailable, match=f"HTTP {status}"):
        access.open_orders(offering(waldur))
    assert len(waldur.faults.calls) == PATIENT.attempts


@pytest.mark.parametrize("status", [400, 404, 405, 409, 410])
def test_a_refusal_is_not_repeated_and_says_what_waldur_said(waldur: Marketplace, status: int) -> None:
    waldur.faults.arm(Fault(kind=FaultKind.REFUSE, code=status, message="Not today", times=None))
    with connect(waldur, PATIENT) as access, pytest.raises(WaldurRefused) as caught:
        access.open_orders(offering(waldur))
    assert (caught.value.status, caught.value.detail) == (status, "Not today")
    assert str(caught.value) == f"Waldur refused to list the orders (HTTP {status}): Not today"
    assert len(waldur.faults.calls) == 1


def test_a_wrong_token_is_a_denial(waldur: Marketplace) -> None:
    with connect(waldur, token="0" * 40) as access, pytest.raises(WaldurDenied, match="Invalid token"):
        access.open_orders(offering(waldur))


def test_an_offering_of_somebody_else_is_refused_by_name(waldur: Marketplace) -> None:
    with connect(waldur) as access, pytest.raises(WaldurRefused, match="No Offering matches the given query"):
        access.offering(uuid.uuid4())


def test_a_server_that_is_not_there_is_an_outage(waldur: Marketplace) -> None:
    access = connect(waldur, attrs.evolve(PATIENT, attempts=2))
    waldur.stop()
    with access, pytest.raises(WaldurUnavailable, match="Connection refused"):
        access.order_state(uuid.uuid4())


def test_retry_after_is_respected_within_patience(waldur: Marketplace, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    with connect(waldur, Patience(attempts=3, wait_s=0.5, wait_max_s=8)) as access:
        waldur.state.behaviour.retry_after = "soon"
        waldur.faults.arm(Fault(kind=FaultKind.REFUSE, code=429, times=2))
        assert access.open_orders(offering(waldur)) == []
        assert slept == [0.5, 1]
        waldur.state.behaviour.retry_after = "7"
        waldur.faults.arm(Fault(kind=FaultKind.REFUSE, code=429, times=1))
        assert access.open_orders(offering(waldur)) == []
        assert slept == [0.5, 1, pytest.approx(7, abs=1)]
    with connect(waldur, Patience(attempts=3, wait_s=0.5, wait_max_s=8)) as access:
        waldur.state.behaviour.retry_after = "900"
        waldur.faults.arm(Fault(kind=FaultKind.REFUSE, code=429, times=1))
        with pytest.raises(WaldurUnavailable, match="HTTP 429") as caught:
            access.open_orders(offering(waldur))
        assert caught.value.retry_after_s == 900
        with pytest.raises(WaldurUnavailable, match="it wants to be left alone for"):
            access.order_state(uuid.uuid4())
        assert len(waldur.faults.calls) == 1
        assert len(slept) == 3


def test_a_date_to_come_back_at_is_read_by_the_clock_of_the_server(waldur: Marketplace) -> None:
    waldur.state.clock = lambda: dt.datetime(2031, 5, 1, 12, tzinfo=dt.UTC)
    waldur.state.behaviour.retry_after = "Thu, 01 May 2031 12:10:00 GMT"
    waldur.faults.arm(Fault(kind=FaultKind.REFUSE, code=503, times=1))
    with connect(waldur, PATIENT) as access:
        with pytest.raises(WaldurUnavailable) as caught:
            access.open_orders(offering(waldur))
        assert caught.value.retry_after_s == 600
        assert abs(access.now - waldur.state.clock()) < dt.timedelta(minutes=1)
        assert access.ahead > dt.timedelta(days=365)


@pytest.mark.parametrize("empty", [False, True])
def test_accepting_an_order_tells_the_state_that_it_is_in(empty: bool) -> None:
    with Marketplace(Behaviour(empty_approval=empty)) as waldur, connect(waldur) as access:
        one, two = (waldur.consumer().place_order(waldur.vdc, name, {"cpu": 1}) for name in ("one", "two"))
        assert access.approve(uuid.UUID(one.order)) == Acceptance("executing")
        assert access.approve(uuid.UUID(one.order)) == Acceptance("executing", by_another=True)
        access.set_done(uuid.UUID(one.order))
        assert access.approve(uuid.UUID(one.order)).state == "done"
        waldur.cancel_order(two.order)
        assert access.approve(uuid.UUID(two.order)).state == "canceled"


def test_an_order_that_our_own_lost_request_has_accepted_is_not_another_agents(waldur: Marketplace) -> None:
    placed = waldur.consumer().place_order(waldur.vdc, "vdc", {"cpu": 1})
    waldur.faults.arm(Fault(kind=FaultKind.LOSE_REPLY))
    with connect(waldur, PATIENT) as access:
        assert access.approve(uuid.UUID(placed.order)) == Acceptance("executing")


def test_answers_without_a_body_say_that_it_was_done() -> None:
    behaviour = Behaviour(empty_approval=True, empty_actions=True, empty_conflicts=True)
    with Marketplace(behaviour) as waldur, connect(waldur) as access:
        placed = waldur.consumer().place_order(waldur.vdc, "vdc", {"cpu": 1})
        order, resource = uuid.UUID(placed.order), uuid.UUID(placed.resource)
        assert access.approve(order) == Acceptance("executing")
        assert access.approve(order) == Acceptance("executing", by_another=True)
        access.set_backend_id(resource, "7")
        access.set_limits(resource, {"cpu": 2})
        access.set_backend_metadata(resource, {"a": 1})
        access.note_order(order, "a note")
        access.set_done(order)
        access.set_resource_erred(resource, "gone")
        access.set_resource_ok(resource)
        access.set_synchronised(resource)
        found = waldur.resource(placed.resource)
        assert (found.backend_id, found.limits, found.backend_metadata) == ("7", {"cpu": 2}, {"a": 1})
        assert (found.state, found.last_sync is None) == ("OK", False)
        assert waldur.order(placed.order).backend_id == "a note"
        with pytest.raises(WaldurRefused, match="HTTP 409"):
            access.set_done(order)


def test_a_list_that_becomes_shorter_while_it_is_read_is_read_again(waldur: Marketplace) -> None:
    placed = [waldur.consumer().place_order(waldur.vdc, f"vdc-{number}", {"cpu": 1}) for number in range(101)]

    def shorten(_call: str) -> None:
        if len(waldur.faults.calls) == 1:
            for one in placed[:50]:
                waldur.cancel_order(one.order)

    waldur.before_call = shorten
    with connect(waldur, PATIENT) as access:
        found = access.open_orders(offering(waldur))
    assert {order.uuid.hex for order in found} == {one.order for one in placed[50:]}


def test_all_pages_of_orders_are_read_oldest_first(waldur: Marketplace) -> None:
    placed = [waldur.consumer().place_order(waldur.vdc, f"vdc-{number}", {"cpu": 1}) for number in range(103)]
    with connect(waldur) as access:
        access.approve(uuid.UUID(placed[1].order))
        found = access.open_orders(offering(waldur))
    assert [order.uuid.hex for order in found] == [one.order for one in placed]
    assert [order.state for order in found[:3]] == ["pending-provider", "executing", "pending-provider"]
    assert (found[0].type, found[0].limits, found[0].resource_name) == ("Create", {"cpu": 1}, "vdc-0")


@pytest.mark.parametrize("suffix", ["api/", "api", ""])
def test_the_address_may_end_as_operators_write_it(waldur: Marketplace, suffix: str) -> None:
    address = waldur.api_url.removesuffix("api/") + suffix
    with Waldur(address, waldur.tokens["provider"], verify=False, patience=IMPATIENT) as access:
        assert access.open_orders(offering(waldur)) == []


def test_an_answer_that_is_not_waldurs_is_an_outage(waldur: Marketplace, monkeypatch: pytest.MonkeyPatch) -> None:
    placed = waldur.consumer().place_order(waldur.vdc, "vdc", {"cpu": 1})
    with connect(waldur) as access:
        client = access._client.get_httpx_client()
        request = client.request

        def portal(*args: object, **kwargs: object) -> object:
            response = request(*args, **kwargs)
            response._content = b"<html>Please log in</html>"
            return response

        monkeypatch.setattr(client, "request", portal)
        with pytest.raises(WaldurUnavailable, match="no answer that can be read"):
            access.resource(uuid.UUID(placed.resource))
