"""What Waldur says twice, otherwise, or not at all: conflicts, empty answers, denials, other people, other clocks."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from agent.world import LIMITS, PLUGIN_OPTIONS, World
from onetenant_waldur.agent import Mode
from onetenant_waldur.backoff import Pace, Paces
from onetenant_waldur.marketplace import Behaviour, BillingType, Component, Marketplace, Plan, lifecycle
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind


APPROVE = "POST /api/marketplace-orders/{uuid}/approve_by_provider/"
SET_DONE = "POST /api/marketplace-orders/{uuid}/set_state_done/"
SET_BACKEND_ID = "POST /api/marketplace-provider-resources/{uuid}/set_backend_id/"


def at_call(world: World, method: str, do: Callable[[], object]) -> None:
    """Do something when a call arrives, before it is answered; once."""

    def look(call: str) -> None:
        if call == method:
            world.waldur.before_call = None
            do()

    world.waldur.before_call = look


def approve(world: World, order: str) -> None:
    staff = next(user for user in world.waldur.state.users if user.is_staff)
    with world.waldur.state.lock:
        lifecycle.approve(world.waldur.state, world.waldur.order(order), staff)


@pytest.mark.parametrize("empty", [False, True])
def test_an_order_that_another_accepts_meanwhile_is_left_to_them_until_the_next_cycle(
    world: World, empty: bool
) -> None:
    world.waldur.state.behaviour.empty_conflicts = empty
    made = world.order()
    before = world.in_opennebula()
    at_call(world, APPROVE, lambda: approve(world, made.order))
    assert world.cycle()
    assert world.waldur.order(made.order).state == "executing"
    assert world.in_opennebula() == before
    assert world.cycle()
    assert world.waldur.order(made.order).state == "done"


@pytest.mark.parametrize("empty", [False, True])
def test_an_order_that_another_ends_meanwhile_is_not_an_error(world: World, empty: bool, logged: Any) -> None:
    world.waldur.state.behaviour.empty_conflicts = empty
    made = world.order()

    def end() -> None:
        with world.waldur.state.lock:
            lifecycle.complete(world.waldur.state, world.waldur.order(made.order))

    at_call(world, SET_DONE, end)
    assert world.cycle()
    assert world.waldur.order(made.order).state == "done"
    assert world.tenant(made.resource) is not None
    assert not [event for event in logged() if event["level"] in {"warning", "error"}]


def test_a_server_that_answers_all_actions_without_a_body_is_understood() -> None:
    behaviour = Behaviour(empty_approval=True, empty_actions=True, empty_conflicts=True)
    with Emulator(populated=True) as server, Marketplace(behaviour, count_only=("provider",)) as waldur:
        waldur.vdc.plugin_options.clear()
        waldur.vdc.plugin_options.update(PLUGIN_OPTIONS)
        world = World(server, waldur)
        made = world.made()
        order = waldur.consumer().update_limits(made.resource, {**LIMITS, "cpu": 1})
        assert world.cycle(Mode.ORDER_PROCESS, Mode.REPORT)
        assert waldur.order(order).state == "done"
        waldur.consumer().terminate(made.resource)
        assert world.cycle()
        assert waldur.resource(made.resource).state == "Terminated"


@pytest.mark.parametrize("kind", [FaultKind.LOSE_REPLY, FaultKind.TRUNCATE, FaultKind.BAD_GATEWAY_APPLIED])
@pytest.mark.parametrize("method", [SET_BACKEND_ID, SET_DONE])
def test_a_lost_reply_neither_duplicates_nor_errs_anything(world: World, kind: FaultKind, method: str) -> None:
    made = world.order()
    world.waldur.faults.arm(Fault(kind=kind, method=method, times=None))
    for _ in range(3):
        world.cycle()
    world.waldur.faults.arm()
    assert world.cycle()
    assert world.waldur.order(made.order).state == "done"
    assert world.waldur.order(made.order).error_message == ""
    with world.cloud() as cloud:
        assert [vdc.key for vdc in cloud.vdcs.list()] == [made.resource]


def test_an_order_that_is_rejected_is_not_carried_out(world: World) -> None:
    made = world.order()
    before = world.in_opennebula()
    staff = next(user for user in world.waldur.state.users if user.is_staff)

    def reject() -> None:
        with world.waldur.state.lock:
            lifecycle.reject(world.waldur.state, world.waldur.order(made.order), staff)

    at_call(world, APPROVE, reject)
    assert world.cycle()
    assert world.waldur.order(made.order).state == "rejected"
    assert world.in_opennebula() == before


def interrupted(world: World, method: str) -> None:
    """Begin the orders, and lose Waldur at a call."""
    world.waldur.faults.arm(Fault(kind=FaultKind.DROP, method=method, onwards=True, times=None))
    assert not world.cycle()
    world.waldur.faults.arm()


@pytest.mark.parametrize("method", [SET_BACKEND_ID, SET_DONE])
def test_a_creation_cancelled_while_no_agent_was_there_is_taken_back_by_the_next_one(world: World, method: str) -> None:
    before = world.in_opennebula()
    made = world.order()
    interrupted(world, method)
    assert world.tenant(made.resource) is not None
    world.waldur.cancel_order(made.order)
    assert world.cycle()
    assert world.in_opennebula() == before
    assert world.waldur.resource(made.resource).state == "Terminated"


def test_a_half_made_tenant_of_a_cancelled_creation_is_taken_back_too(world: World) -> None:
    before = world.in_opennebula()
    made = world.order()
    world.server.faults.arm(Fault(kind=FaultKind.DROP, method="one.group.allocate", onwards=True, times=None))
    world.server.faults.add(Fault(kind=FaultKind.DROP, method="one.vdc.delete", times=None))
    assert not world.cycle()
    world.server.faults.arm()
    assert world.in_opennebula() != before
    world.waldur.cancel_order(made.order)
    assert world.cycle()
    assert world.in_opennebula() == before


def test_an_update_cancelled_while_no_agent_was_there_gives_the_limits_back(world: World) -> None:
    made = world.made()
    order = world.waldur.consumer().update_limits(made.resource, {**LIMITS, "cpu": 1})
    interrupted(world, SET_DONE)
    assert world.quota(made.resource).cpu == 1
    world.waldur.cancel_order(order)
    assert world.cycle()
    assert world.quota(made.resource).cpu == LIMITS["cpu"]


def test_a_cancelled_update_long_overtaken_changes_nothing(world: World) -> None:
    made = world.made()
    order = world.waldur.consumer().update_limits(made.resource, {**LIMITS, "cpu": 1})
    world.waldur.cancel_order(order)
    with world.cloud() as cloud:
        (tenant,) = cloud.vdcs.list()
        tenant.set_quota(type(tenant.quota())(cpu=17))
    assert world.cycle()
    assert world.quota(made.resource).cpu == 17


def test_a_cancelled_switch_of_plans_gives_back_what_the_old_plan_includes(world: World) -> None:
    world.offering.plans[:] = [Plan("Small", {"cpu": 2}), Plan("Large", {"cpu": 8})]
    world.sell(Component("cpu", "CPU", "cores", BillingType.FIXED), Component("ram", "RAM", "MB"))
    made = world.made(limits={"ram": 1024})
    order = world.waldur.consumer().switch_plan(made.resource, world.offering, "Large")
    at_call(world, SET_DONE, lambda: world.waldur.cancel_order(order))
    assert world.cycle()
    assert world.waldur.order(order).state == "canceled"
    assert world.quota(made.resource).cpu == 2


def test_a_cancelled_order_is_taken_back_in_a_later_cycle_when_an_outage_comes_between(world: World) -> None:
    before = world.in_opennebula()
    made = world.order()

    def cancel() -> None:
        world.waldur.cancel_order(made.order)
        world.server.faults.arm(Fault(kind=FaultKind.BAD_GATEWAY, times=None))

    with world.agent() as agent:
        at_call(world, SET_DONE, cancel)
        assert not agent.process_orders()
        assert world.waldur.order(made.order).state == "canceled"
        world.server.faults.arm()
        assert world.in_opennebula() != before
        assert agent.process_orders()
        assert world.in_opennebula() == before
        world.waldur.faults.arm()
        assert agent.process_orders()
        assert world.waldur.faults.calls == ("GET /api/marketplace-orders/",)


def test_what_was_cancelled_long_ago_is_not_looked_at(world: World) -> None:
    made = world.order()
    world.waldur.cancel_order(made.order)
    world.waldur.order(made.order).modified -= dt.timedelta(days=8)
    world.waldur.faults.arm()
    assert world.cycle()
    assert world.waldur.faults.calls == 2 * ("GET /api/marketplace-orders/",)


def test_an_order_that_another_has_done_meanwhile_is_neither_erred_nor_undone(world: World) -> None:
    made = world.order()

    def end() -> None:
        with world.waldur.state.lock:
            lifecycle.complete(world.waldur.state, world.waldur.order(made.order))

    at_call(world, SET_BACKEND_ID, end)
    world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, method=SET_BACKEND_ID, code=400))
    assert world.cycle()
    assert world.waldur.order(made.order).state == "done"
    assert world.waldur.resource(made.resource).state == "OK"
    assert world.tenant(made.resource) is not None


def test_an_order_that_fails_and_is_cancelled_meanwhile_leaves_nothing(world: World) -> None:
    before = world.in_opennebula()
    made = world.order()
    at_call(world, SET_BACKEND_ID, lambda: world.waldur.cancel_order(made.order))
    world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, method=SET_BACKEND_ID, code=400))
    assert world.cycle()
    assert world.waldur.order(made.order).state == "canceled"
    assert world.waldur.resource(made.resource).state == "Terminated"
    assert world.in_opennebula() == before


@pytest.mark.parametrize("kind", ["create", "update", "terminate"])
def test_a_resource_that_waldur_has_terminated_already_is_not_made_or_changed(world: World, kind: str) -> None:
    before = world.in_opennebula()
    if kind == "create":
        made = world.order()
        order = made.order
    else:
        made = world.made()
        consumer = world.waldur.consumer()
        order = (
            consumer.update_limits(made.resource, {**LIMITS, "cpu": 1})
            if kind == "update"
            else consumer.terminate(made.resource)
        )
    at_call(
        world,
        "GET /api/marketplace-provider-resources/{uuid}/",
        lambda: setattr(world.waldur.resource(made.resource), "state", "Terminated"),
    )
    world.cycle()
    found = world.waldur.order(order)
    if kind == "terminate":
        assert found.state == "done"
        assert world.in_opennebula() == before
        return
    assert found.state == "erred"
    assert found.error_message == "The resource was terminated before the order could be carried out."
    if kind == "create":
        assert world.in_opennebula() == before
    else:
        assert world.quota(made.resource).cpu == LIMITS["cpu"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_denial_is_said_once_a_cycle_and_offering_and_asked_about_less_and_less(
    world: World, logged: Any, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    clock = [0.0]
    monkeypatch.setattr("onetenant_waldur.backoff.monotonic", lambda: clock[0])
    more = world.waldur.add_offering("Second", [Component("cpu", "CPU")], plugin_options=PLUGIN_OPTIONS)
    document = world.document()
    document["offerings"].append({**document["offerings"][0], "name": "Second", "waldur_offering_uuid": more.uuid})
    for number in range(6):
        world.order(f"vdc-{number}")
        world.waldur.consumer().place_order(more, f"more-{number}", {"cpu": 1})
    world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, method=APPROVE, code=status, times=None))
    denial = Pace(first_s=60, most_s=3600)
    asked: list[float] = []
    with world.agent(document, paces=Paces(denial=denial)) as agent:
        for _ in range(40):
            before, said = len(world.waldur.faults.calls), len(logged())
            assert not agent.process_orders()
            events = [event for event in logged()[said:] if event["level"] in {"warning", "error"}]
            assert sorted(event["offering"] for event in events) == ["OpenNebula VDC", "Second"]
            assert all(f"HTTP {status}" in event["reason"] for event in events)
            if len(world.waldur.faults.calls) > before:
                asked.append(clock[0])
            clock[0] += 30
        world.waldur.faults.arm()
        clock[0] += 3600
        assert agent.process_orders()
    assert asked == [0, 60, 180, 420, 900]
    assert {order.state for order in world.waldur.state.orders} == {"done"}


def test_usage_is_denied_once_a_cycle_too(world: World, logged: Any) -> None:
    for name in ("one", "two"):
        world.made(name)
    world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, code=403, times=None))
    said = len(logged())
    with world.agent(paces=Paces()) as agent:
        assert not agent.report_usage()
        assert not agent.report_usage()
    assert len(world.waldur.faults.calls) == 1
    events = [event["event"] for event in logged()[said:] if event["level"] == "warning"]
    assert events == ["usage_not_reported", "usage_waits"]


def test_usage_is_reported_for_the_month_that_it_is_in_waldur(world: World, logged: Any) -> None:
    made = world.made()

    def there() -> dt.datetime:
        return dt.datetime(2031, 2, 1, 0, 30, tzinfo=dt.UTC)

    def here() -> dt.datetime:
        return dt.datetime(2031, 1, 31, 23, 30, tzinfo=dt.UTC)

    world.waldur.state.clock = lambda: dt.datetime(2031, 1, 31, 12, tzinfo=dt.UTC)
    assert world.cycle(Mode.REPORT, clock=here)
    world.waldur.state.clock = there
    world.waldur.faults.arm()
    assert world.cycle(Mode.REPORT, clock=here)
    assert "POST /api/marketplace-component-usages/set_usage/" in world.waldur.faults.calls
    months = {str(one.billing_period) for one in world.waldur.state.usages if one.resource.uuid == made.resource}
    assert months == {"2031-01-01", "2031-02-01"}
    apart = [event["waldur_is_ahead_by_s"] for event in logged() if event["event"] == "clocks_disagree"]
    assert apart[-1] == 3600
