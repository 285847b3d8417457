"""Orders that fail again and again: ended when it is this program's mistake, left alone for longer when it is not."""

import uuid
from typing import Any

import pytest

from agent.offers import new_offers
from agent.world import AT_ONCE, NO_PAUSE, World
from onetenant_waldur.attempts import Attempts
from onetenant_waldur.backoff import Backoff, Pace, Paces
from onetenant_waldur.records import OrderRecord
from onetenant_waldur.vdc_orders import VdcOrders
from opennebula_tenancy.emulator import Fault, FaultKind


NOTE = "POST /api/marketplace-orders/{uuid}/set_backend_id/"
NEVER = Pace(first_s=3600, most_s=3600)


def mistaken(monkeypatch: pytest.MonkeyPatch, method: str = "update") -> None:
    """Make this program make a mistake with every order of a type, after half of its work."""
    real = getattr(VdcOrders, method)

    def fail(self: VdcOrders) -> None:
        real(self)
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(VdcOrders, method, fail)


def test_an_order_that_is_always_a_mistake_is_ended_after_a_number_of_attempts_with_one_sentence(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    mistaken(monkeypatch, "create")
    before = world.in_opennebula()
    made = world.order("poison")
    with world.agent(world.document(max_attempts=3)) as agent:
        for _ in range(2):
            assert not agent.process_orders()
            assert world.waldur.order(made.order).state == "executing"
        assert not agent.process_orders()
        order = world.waldur.order(made.order)
        assert order.state == "erred"
        assert order.error_message == (
            "The order could not be carried out in 3 attempts, because of a mistake in the provider's agent; "
            f"its log has the details of {uuid.UUID(order.uuid)}."
        )
        assert "ZeroDivisionError" in order.error_traceback
        assert world.in_opennebula() == before
        assert agent.process_orders()


def test_agents_that_are_started_again_go_on_counting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    mistaken(monkeypatch, "create")
    made = world.order()
    for failures in range(1, 5):
        assert not world.cycle()
        assert world.waldur.order(made.order).backend_id == f"agent failures: {failures}"
    assert not world.cycle()
    assert world.waldur.order(made.order).state == "erred"


def test_what_somebody_else_has_written_beside_an_order_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    mistaken(monkeypatch, "create")
    made = world.order()
    world.waldur.order(made.order).backend_id = "4711"
    with world.agent(world.document(max_attempts=2)) as agent:
        assert not agent.process_orders()
        assert not agent.process_orders()
    assert world.waldur.order(made.order).backend_id == "4711"
    assert world.waldur.order(made.order).state == "erred"


def test_a_waldur_that_takes_no_note_is_done_without(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    mistaken(monkeypatch, "create")
    made = world.order()
    world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, method=NOTE, code=404, times=None))
    with world.agent(world.document(max_attempts=2)) as agent:
        assert not agent.process_orders()
        assert not agent.process_orders()
    assert world.waldur.order(made.order).state == "erred"


def test_a_mistake_that_was_mended_is_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = world.order()
    with monkeypatch.context() as patch:
        mistaken(patch, "create")
        assert not world.cycle()
    assert world.cycle()
    assert world.waldur.order(made.order).state == "done"


def test_a_mistake_while_a_poison_order_is_cleaned_up_does_not_keep_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    mistaken(monkeypatch, "create")
    mistaken(monkeypatch, "undo_create")
    made = world.order()
    assert not world.cycle(document=world.document(max_attempts=1))
    order = world.waldur.order(made.order)
    assert order.state == "erred"
    assert f"left behind: what carries the key {made.resource}" in order.error_message


def test_an_order_that_cannot_even_be_ended_does_not_stop_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch, logged: Any
) -> None:
    mistaken(monkeypatch, "create")
    poison = world.order("poison")

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with world.agent(world.document(max_attempts=1, max_workers=1)) as agent, monkeypatch.context() as patch:
        patch.setattr(agent.offerings[0].waldur, "set_erred", fail)
        assert not agent.process_orders()
        monkeypatch.undo()
        other = world.order("other")
        assert not agent.process_orders() or world.waldur.order(poison.order).state == "done"
    assert world.waldur.order(other.order).state == "done"
    assert any(event["event"] == "order_not_ended" for event in logged())


@pytest.mark.parametrize("kind", [FaultKind.BAD_GATEWAY, FaultKind.ELECTION, FaultKind.DROP])
def test_an_outage_never_ends_an_order_however_often_it_strikes(world: World, logged: Any, kind: FaultKind) -> None:
    made = world.order()
    world.server.faults.arm(Fault(kind=kind, method="one.group.allocate", times=None))
    with world.agent(world.document(max_attempts=2)) as agent:
        for _ in range(4):
            assert not agent.process_orders()
            assert world.waldur.order(made.order).state == "executing"
        left = [event for event in logged() if event["event"] == "order_left"]
        assert [(event["times"], event["level"]) for event in left] == [
            (1, "warning"),
            (2, "error"),
            (3, "error"),
            (4, "error"),
        ]
        world.server.faults.arm()
        assert agent.process_orders()
    assert world.waldur.order(made.order).state == "done"


def test_an_account_that_sees_too_little_leaves_all_orders_with_one_line(world: World, logged: Any) -> None:
    made = world.made("there")
    world.raw("one.user.allocate", "plain", "secret", "core", [1])
    orders = [world.order("one").order, world.order("two").order, world.waldur.consumer().terminate(made.resource)]
    before = world.in_opennebula()
    document = world.document(backend_credentials="plain:secret", max_workers=1)
    with world.agent(document, paces=Paces(outage=NO_PAUSE, denial=NEVER, order=NO_PAUSE)) as agent:
        assert not agent.process_orders()
        assert not agent.process_orders()
    assert {world.waldur.order(one).state for one in orders} == {"executing", "pending-provider"}
    (left,) = [event for event in logged() if event["event"] == "orders_left"]
    assert "does not see all" in left["reason"]
    assert world.in_opennebula() == before
    assert world.cycle()
    assert {world.waldur.order(one).state for one in orders} == {"done"}


def test_an_order_of_a_machine_that_the_account_may_not_touch_is_left_too(logged: Any) -> None:
    with new_offers() as offers:
        offers.sell_machines(offers.tenant())
        made = offers.made()
        offers.world.raw("one.user.allocate", "plain", "secret", "core", [1])
        order = offers.world.waldur.consumer().terminate(made.resource)
        assert not offers.cycle(document=offers.document(backend_credentials="plain:secret"))
        assert offers.world.waldur.order(order).state == "executing"
        assert len([event for event in logged() if event["event"] == "orders_left"]) == 1
        assert offers.cycle()
        assert offers.world.waldur.order(order).state == "done"


def test_an_order_that_is_left_alone_for_a_while_is_not_said_to_be_well(world: World) -> None:
    made = world.order()
    world.server.faults.arm(Fault(kind=FaultKind.BAD_GATEWAY, method="one.group.allocate", times=None))
    with world.agent(paces=Paces(outage=NO_PAUSE, denial=NO_PAUSE, order=NEVER)) as agent:
        assert not agent.process_orders()
        assert not agent.process_orders()
    assert world.server.faults.calls.count("one.vdc.allocate") == 1
    assert world.waldur.order(made.order).state == "executing"


def test_an_order_that_alone_fails_is_left_alone_while_the_others_go_on(world: World) -> None:
    made = world.order("one")
    world.server.faults.arm(Fault(kind=FaultKind.BAD_GATEWAY, method="one.group.allocate", times=None))
    with world.agent(paces=Paces(outage=NEVER, denial=NEVER, order=NEVER)) as agent:
        assert not agent.process_orders()
        world.server.faults.arm()
        other = world.order("two")
        agent.process_orders()
        assert world.waldur.order(other.order).state == "done"
        assert world.waldur.order(made.order).state == "executing"
    assert world.cycle()
    assert world.waldur.order(made.order).state == "done"


@pytest.mark.parametrize("side", ["waldur", "opennebula"])
def test_servers_that_are_not_there_are_left_alone_for_longer_and_longer(
    world: World, logged: Any, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    world.order()
    clock = [1000.0]
    monkeypatch.setattr("onetenant_waldur.backoff.monotonic", lambda: clock[0])
    plan = world.waldur.faults if side == "waldur" else world.server.faults
    pace = Pace(first_s=10, most_s=25)
    asked: list[float] = []
    plan.arm(Fault(kind=FaultKind.BAD_GATEWAY, times=None))
    with world.agent(paces=Paces(outage=pace, denial=pace, order=pace)) as agent:
        for _ in range(100):
            before = len(plan.calls)
            assert not agent.process_orders()
            if len(plan.calls) > before:
                asked.append(clock[0] - 1000)
            clock[0] += 1
        plan.arm()
        clock[0] += 25
        assert agent.process_orders()
        plan.arm(Fault(kind=FaultKind.BAD_GATEWAY, times=None))
        world.order("two")
        assert not agent.process_orders()
        clock[0] += 10
        plan.arm()
        assert agent.process_orders()
    assert asked == [0, 10, 30, 55, 80]
    waits = [event for event in logged() if event["event"] == "orders_wait"]
    assert len(waits) == 95
    assert "502" in waits[0]["reason"]


def test_a_waldur_that_asks_for_a_pause_gets_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.order()
    clock = [0.0]
    for module in ("backoff", "waldur_calls"):
        monkeypatch.setattr(f"onetenant_waldur.{module}.monotonic", lambda: clock[0])
    world.waldur.state.behaviour.retry_after = "900"
    world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, code=429))
    with world.agent(paces=AT_ONCE) as agent:
        assert not agent.process_orders()
        for _ in range(8):
            clock[0] += 100
            assert not agent.process_orders()
            assert len(world.waldur.faults.calls) == 1
        clock[0] += 200
        assert agent.process_orders()


def test_a_pause_doubles_up_to_its_most_and_begins_anew_after_a_success() -> None:
    pace, backoff = Pace(first_s=10, most_s=60), Backoff()
    lasted = []
    for _ in range(5):
        backoff.failed(pace, "down")
        lasted.append(round(backoff.left_s))
    assert lasted == [10, 20, 40, 60, 60]
    backoff.succeeded()
    assert (backoff.left_s, backoff.failures, backoff.reason) == (0, 0, "")
    backoff.failed(pace, at_least_s=100)
    assert round(backoff.left_s) == 100
    assert Pace(first_s=1, most_s=5).after(100_000) == 5


def test_what_has_ended_is_forgotten() -> None:
    attempts = Attempts(NEVER)
    one = OrderRecord(uuid.uuid4(), "executing", "Update", uuid.uuid4(), {}, None)
    assert attempts.failed(one) == 1
    assert attempts.put_off(one) == 1
    assert not attempts.is_due(one)
    attempts.ended(one)
    assert attempts.is_due(one)
    assert attempts.failed(one) == 1
