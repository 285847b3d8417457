"""One round of orders: those of all offerings, by a bounded number of workers."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from onetenant_waldur.order_desk import OrderDesk
from onetenant_waldur.order_queue import OrderQueue, Turn
from onetenant_waldur.orders import Tally
from onetenant_waldur.stop import LetGo, Stopping


class OrderRound:
    """One round.

    A worker makes one call at a time, to Waldur or to OpenNebula: so there are never more under way than workers.

    Args:
        desks: The offerings' orders.
        stop: Whether to stop.
    """

    def __init__(self, desks: Sequence[OrderDesk], stop: Stopping) -> None:
        self._desks = desks
        self._broken = False
        self._queue = OrderQueue(desks, lambda: stop.requested or self._broken)

    def run(self, max_workers: int) -> Tally:
        """Carry out all orders that are due.

        Args:
            max_workers: How many at the same time, at most.

        Returns:
            What became of them.
        """
        with ThreadPoolExecutor(max_workers, thread_name_prefix="order") as workers:
            tallies = [workers.submit(self._work) for _ in range(max_workers)]
        for desk in self._desks:
            desk.end()
        return sum((tally.result() for tally in tallies), Tally())

    def _work(self) -> Tally:
        total = Tally()
        try:
            while True:
                with self._queue.turn() as turn:
                    if turn is None:
                        return total
                    total += self._do(turn)
        except LetGo:
            return total + Tally(left=1)

    def _do(self, turn: Turn[OrderDesk]) -> Tally:
        try:
            tally, there = self._at_desk(turn)
        except Exception:  # a mistake in this program is to stop this offering alone
            turn.lane.owner.offering.log.exception("orders_left")
            tally, there = Tally(left=1), False
        except BaseException:
            self._broken = True  # the other workers are not to go on without this one
            raise
        return tally if there else tally + Tally(left=self._queue.clear(turn.lane))

    def _at_desk(self, turn: Turn[OrderDesk]) -> tuple[Tally, bool]:
        desk = turn.lane.owner
        if turn.order is not None:
            return desk.carry_out(turn.order)
        opening = desk.open()
        self._queue.fill(turn.lane, opening.orders)
        unknown = not (opening.there or opening.orders)
        return Tally(left=opening.waiting + unknown), opening.there
