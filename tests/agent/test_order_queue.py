"""The queue: one resource is worked on once at a time, in the order of its orders, and no offering starves another."""

import threading
import uuid
from contextlib import ExitStack
from typing import Any

import pytest

from onetenant_waldur.order_queue import OrderQueue
from onetenant_waldur.records import OrderRecord


def order(number: int, resource: int | None = None) -> OrderRecord:
    return OrderRecord(
        uuid=uuid.UUID(int=number),
        state="executing",
        type="Update",
        resource=uuid.UUID(int=1000 + (number if resource is None else resource)),
        limits={},
        plan=None,
    )


def filled(orders: dict[str, list[OrderRecord]]) -> OrderQueue[str]:
    queue = OrderQueue(list(orders), lambda: False)
    for _ in orders:
        with queue.turn() as turn:
            assert turn is not None
            assert turn.order is None
            queue.fill(turn.lane, orders[turn.lane.owner])
    return queue


def taken(queue: OrderQueue[str], stack: ExitStack) -> tuple[str, int] | None:
    turn = stack.enter_context(queue.turn())
    return turn and (turn.lane.owner, turn.order.uuid.int if turn.order else -1)


def test_orders_of_one_resource_keep_their_order_and_wait_for_each_other() -> None:
    queue = filled({"a": [order(1, 7), order(2, 7), order(3)]})
    with ExitStack() as first, ExitStack() as second:
        assert taken(queue, first) == ("a", 1)
        assert taken(queue, second) == ("a", 3)
        first.close()
        assert taken(queue, second) == ("a", 2)
    with queue.turn() as turn:
        assert turn is None


def test_a_worker_waits_for_the_resource_that_another_works_on() -> None:
    queue = filled({"a": [order(1, 7), order(2, 7)]})
    seen: list[Any] = []

    def work() -> None:
        with ExitStack() as stack:
            seen.append(taken(queue, stack))

    with ExitStack() as stack:
        assert taken(queue, stack) == ("a", 1)
        worker = threading.Thread(target=work)
        worker.start()
        worker.join(0.05)
        assert worker.is_alive()
    worker.join(100)
    assert seen == [("a", 2)]


def test_offerings_take_turns_however_many_orders_one_has() -> None:
    queue = filled({"a": [order(number) for number in range(10)], "b": [order(20), order(21)]})
    with ExitStack() as stack:
        owners = [(taken(queue, stack) or ("",))[0] for _ in range(6)]
    assert owners == ["a", "b", "a", "b", "a", "a"]


def test_an_offering_that_hangs_takes_no_more_workers_than_the_others_leave() -> None:
    queue = filled(
        {"hanging": [order(number) for number in range(9)], "b": [order(20 + number) for number in range(8)]}
    )
    owners = []
    with ExitStack() as hung:
        for _ in range(9):
            with ExitStack() as stack:
                owners.append((taken(queue, stack) or ("",))[0])
                if owners[-1] == "hanging":
                    hung.push(stack.pop_all())
    assert owners == ["hanging"] + 8 * ["b"]


def test_an_offering_whose_list_is_not_there_yet_holds_up_no_other() -> None:
    queue: OrderQueue[str] = OrderQueue(["slow", "b"], lambda: False)
    with ExitStack() as slow, ExitStack() as stack:
        assert taken(queue, slow) == ("slow", -1)
        with queue.turn() as turn:
            assert turn is not None
            queue.fill(turn.lane, [order(1)])
        assert taken(queue, stack) == ("b", 1)


def test_what_is_cleared_is_counted_and_not_taken() -> None:
    queue = filled({"a": [order(1), order(2), order(3)]})
    with queue.turn() as turn:
        assert turn is not None
        assert queue.clear(turn.lane) == 2
    with queue.turn() as turn:
        assert turn is None


@pytest.mark.parametrize("stopping", [True, False])
def test_nothing_is_taken_any_more_when_somebody_asks_to_stop(stopping: bool) -> None:
    queue = OrderQueue(["a"], lambda: stopping)
    with queue.turn() as turn:
        assert (turn is None) is stopping
