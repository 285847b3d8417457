"""`OrderQueue`: which order is next, so that no resource is worked on twice at once and no offering starves others."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar
from uuid import UUID

import attrs

from onetenant_waldur.records import OrderRecord


T = TypeVar("T")


@attrs.define(eq=False)
class Lane(Generic[T]):
    """The orders of one offering.

    Attributes:
        owner: Whose orders they are.
        waiting: The orders, oldest first. None before it is known what there is.
        at_work: The resources that are being worked on.
        opening: Whether somebody is finding out what orders there are.
        served: When its latest order was taken, by the number of orders taken.
    """

    owner: T
    waiting: deque[OrderRecord] | None = None
    at_work: set[UUID] = attrs.field(factory=set, init=False)
    opening: bool = attrs.field(default=False, init=False)
    served: int = attrs.field(default=0, init=False)

    @property
    def busy(self) -> int:
        """How many workers are at it."""
        return len(self.at_work) + self.opening

    def next(self) -> OrderRecord | None:
        """The oldest order of a resource that nobody is working on; those of one resource keep their order."""
        passed: set[UUID] = set()
        for order in self.waiting or ():
            if order.resource not in self.at_work | passed:
                return order
            passed.add(order.resource)
        return None


@attrs.frozen
class Turn(Generic[T]):
    """What a worker is to do: an order, or without one, to find out what orders a lane has."""

    lane: Lane[T]
    order: OrderRecord | None


class OrderQueue(Generic[T]):
    """The orders of all offerings, for several workers. Thread safe.

    The next order is one of the offering that the fewest workers are at; among those, of the one that has waited
    longest. So an offering whose servers hang holds up a part of the workers, and not all of them.

    Args:
        owners: The offerings.
        stopping: Asked before each turn whether there is to be none any more.
    """

    def __init__(self, owners: Iterable[T], stopping: Callable[[], bool]) -> None:
        self._lanes = [Lane(owner) for owner in owners]
        self._stopping = stopping
        self._changed = threading.Condition()
        self._turns = 0

    @contextmanager
    def turn(self) -> Iterator[Turn[T] | None]:
        """Take a turn, once there is one. None when there will be none any more."""
        with self._changed:
            while (turn := self._take()) is None and self._may_come():
                self._changed.wait()
        try:
            yield turn
        finally:
            if turn is not None:
                self._end(turn)

    def fill(self, lane: Lane[T], orders: Iterable[OrderRecord]) -> None:
        """Say what orders a lane has, oldest first."""
        with self._changed:
            lane.waiting = deque(orders)
            self._changed.notify_all()

    def clear(self, lane: Lane[T]) -> int:
        """Take all waiting orders out of a lane.

        Returns:
            How many there were.
        """
        with self._changed:
            left = len(lane.waiting or ())
            lane.waiting = deque()
            self._changed.notify_all()
            return left

    def _take(self) -> Turn[T] | None:
        if self._stopping():
            return None
        for lane in sorted(self._lanes, key=lambda lane: (lane.busy, lane.served)):
            if lane.waiting is None and not lane.opening:
                lane.opening = True
            elif (order := lane.next()) is not None and lane.waiting is not None:
                lane.waiting.remove(order)
                lane.at_work.add(order.resource)
                return self._count(Turn(lane, order))
            else:
                continue
            return self._count(Turn(lane, None))
        return None

    def _count(self, turn: Turn[T]) -> Turn[T]:
        self._turns += 1
        turn.lane.served = self._turns
        return turn

    def _may_come(self) -> bool:
        """Whether somebody at work may make room for an order that waits, or find some."""
        return not self._stopping() and any(lane.opening or (lane.at_work and lane.waiting) for lane in self._lanes)

    def _end(self, turn: Turn[T]) -> None:
        with self._changed:
            if turn.order is None:
                turn.lane.opening = False
                turn.lane.waiting = turn.lane.waiting or deque()
            else:
                turn.lane.at_work.discard(turn.order.resource)
            self._changed.notify_all()
