"""Several orders at the same time: bounded, one resource at a time, and no agent in another's way."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from agent.world import PLUGIN_OPTIONS, World
from onetenant_waldur.agent import Mode
from onetenant_waldur.marketplace import Component
from onetenant_waldur.offering import Offering as OfferingAtWork
from opennebula_tenancy.emulator import Fault, FaultKind


class Gauge:
    """How many are inside at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0

    @contextmanager
    def inside(self) -> Iterator[None]:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            yield
        finally:
            with self._lock:
                self._now -= 1


def gauged(monkeypatch: pytest.MonkeyPatch, owner: object, method: str, gauge: Gauge, pause_s: float = 0.0) -> None:
    """Measure how many threads are in a method of a server at the same time."""
    real: Callable[..., Any] = getattr(owner, method)

    def measured(*args: Any, **kwargs: Any) -> Any:
        with gauge.inside():
            time.sleep(pause_s)
            return real(*args, **kwargs)

    monkeypatch.setattr(owner, method, measured)


def connections(world: World, monkeypatch: pytest.MonkeyPatch) -> Gauge:
    """How many calls OpenNebula serves at the same time, each on a connection of its own, and a little longer."""
    gauge = Gauge()
    listener = world.server._listener
    assert listener is not None
    gauged(monkeypatch, listener.dispatcher, "reply", gauge, 0.005)
    return gauge


def test_orders_are_carried_out_at_the_same_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gauge = connections(world, monkeypatch)
    orders = [world.order(f"vdc-{number}") for number in range(6)]
    assert world.cycle()
    assert gauge.most > 1
    assert {world.waldur.order(one.order).state for one in orders} == {"done"}
    with world.cloud() as cloud:
        assert sorted(vdc.key for vdc in cloud.vdcs.list()) == sorted(one.resource for one in orders)


@pytest.mark.parametrize("allowed", [1, 2])
def test_opennebula_never_sees_more_connections_than_the_settings_allow(
    world: World, monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    gauge = connections(world, monkeypatch)
    orders = [world.order(f"vdc-{number}") for number in range(5)]
    assert world.cycle(document=world.document(max_workers=8, max_connections=allowed))
    assert gauge.most == allowed
    assert {world.waldur.order(one.order).state for one in orders} == {"done"}


@pytest.mark.parametrize("spelled", ["another account", "another host"])
def test_two_accounts_at_one_opennebula_share_what_it_allows(
    world: World, monkeypatch: pytest.MonkeyPatch, spelled: str
) -> None:
    world.raw("one.user.allocate", "second", "secret", "core", [0])
    more = world.waldur.add_offering("Second", [Component("cpu", "CPU")], plugin_options=PLUGIN_OPTIONS)
    document = world.document(max_workers=8, max_connections=2)
    other = {**document["offerings"][0], "name": "Second", "waldur_offering_uuid": more.uuid}
    backend = {"credentials": "second:secret"}
    if spelled == "another host":
        backend = {"api_url": world.server.endpoint.replace("127.0.0.1", "LocalHost")}
    other["backend_settings"] = {**other["backend_settings"], **backend}
    document["offerings"].append(other)
    for number in range(4):
        world.order(f"one-{number}")
        world.waldur.consumer().place_order(more, f"two-{number}", {"cpu": 1})
    gauge = connections(world, monkeypatch)
    assert world.cycle(document=document)
    assert gauge.most == 2


def test_no_more_orders_are_at_hand_than_there_are_workers(world: World) -> None:
    lock = threading.Lock()
    state = {"open": 0, "most": 0}

    def watch(call: str) -> None:
        step = 1 if call.endswith("approve_by_provider/") else -1 if call.endswith("set_state_done/") else 0
        with lock:
            state["open"] += step
            state["most"] = max(state["most"], state["open"])

    world.waldur.before_call = watch
    for number in range(6):
        world.order(f"vdc-{number}")
    assert world.cycle(document=world.document(max_workers=3))
    assert state == {"open": 0, "most": 3}


def test_many_slow_orders_take_little_longer_than_one(world: World) -> None:
    number, delay_s = 8, 0.8
    for index in range(number):
        world.order(f"vdc-{index}")
    world.server.faults.arm(Fault(kind=FaultKind.DELAY, method="one.vdc.allocate", delay_s=delay_s, times=None))
    started = time.monotonic()
    assert world.cycle(document=world.document(max_workers=number, max_connections=number))
    assert time.monotonic() - started < number * delay_s


def test_an_offering_whose_servers_hang_does_not_hold_up_another(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    more = world.waldur.add_offering("Second", [Component("cpu", "CPU")], plugin_options=PLUGIN_OPTIONS)
    document = world.document(max_workers=2)
    document["offerings"].append({**document["offerings"][0], "name": "Second", "waldur_offering_uuid": more.uuid})
    done_meanwhile = threading.Event()
    consumer = world.waldur.consumer()
    placed = [world.order("one"), *(consumer.place_order(more, f"two-{number}", {"cpu": 1}) for number in range(3))]
    terms = OfferingAtWork.terms

    def hanging(self: OfferingAtWork) -> Any:
        # One goes on when the other is through.
        assert self.settings.name == "Second" or done_meanwhile.wait(30)
        return terms(self)

    def look(call: str) -> None:
        if call.endswith("set_state_done/") and world.waldur.faults.calls.count(call) == 2:
            done_meanwhile.set()

    monkeypatch.setattr(OfferingAtWork, "terms", hanging)
    world.waldur.before_call = look
    assert world.cycle(document=document)
    assert {world.waldur.order(one.order).state for one in placed} == {"done"}


def test_orders_of_one_resource_are_carried_out_one_after_the_other(world: World) -> None:
    made = world.order()
    world.waldur.faults.arm(Fault(kind=FaultKind.DROP, method="POST /api/marketplace-orders/{uuid}/set_state_done/"))
    assert not world.cycle()
    # Staff ends the creation by hand, and the customer orders the next thing at once.
    world.waldur.order(made.order).state = "done"  # type: ignore[assignment]
    world.waldur.resource(made.resource).state = "OK"  # type: ignore[assignment]
    order = world.waldur.consumer().update_limits(made.resource, {"cpu": 9})
    world.waldur.faults.arm()
    assert world.cycle()
    assert world.waldur.order(order).state == "done"
    assert world.quota(made.resource).cpu == 9


@pytest.mark.parametrize("workers", [1, 4])
def test_two_agents_started_together_do_each_order_once(world: World, workers: int) -> None:
    orders = [world.order(f"vdc-{number}") for number in range(20)]
    start = threading.Barrier(2)
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with world.agent(world.document(max_workers=workers, max_connections=workers)) as agent:
                start.wait(30)
                agent.cycle([Mode.ORDER_PROCESS])
        except BaseException as error:  # noqa: BLE001  the thread would end in silence
            failed.append(error)

    agents = [threading.Thread(target=work) for _ in range(2)]
    for agent in agents:
        agent.start()
    for agent in agents:
        agent.join(100)
    assert not failed
    assert {world.waldur.order(one.order).state for one in orders} == {"done"}
    calls = world.waldur.faults.calls
    assert calls.count("POST /api/marketplace-orders/{uuid}/set_state_done/") == len(orders)
    assert calls.count("POST /api/marketplace-provider-resources/{uuid}/set_backend_id/") == len(orders)
    with world.cloud() as cloud:
        assert sorted(vdc.key for vdc in cloud.vdcs.list()) == sorted(one.resource for one in orders)
    assert world.server.calls.count("one.vdc.allocate") == len(orders)
    assert world.server.calls.count("one.group.allocate") == len(orders)
    assert world.cycle()


def test_two_agents_that_both_find_orders_executing_end_them_well(world: World) -> None:
    orders = [world.order(f"vdc-{number}") for number in range(6)]
    with world.agent() as agent:
        for one in orders:
            agent.offerings[0].waldur.approve(uuid.UUID(one.order))
    start = threading.Barrier(2)

    def work() -> None:
        with world.agent() as agent:
            start.wait(30)
            agent.cycle([Mode.ORDER_PROCESS])

    agents = [threading.Thread(target=work) for _ in range(2)]
    for agent in agents:
        agent.start()
    for agent in agents:
        agent.join(100)
    world.cycle()
    assert {world.waldur.order(one.order).state for one in orders} == {"done"}
    with world.cloud() as cloud:
        assert sorted(vdc.key for vdc in cloud.vdcs.list()) == sorted(one.resource for one in orders)
