"""`OrderDesk`: what is remembered of the orders of one offering from cycle to cycle, while the process lives.

All of it may be lost: whatever an order has come to stands in OpenNebula and in Waldur.
"""

import datetime as dt
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from onetenant_waldur.attempts import LEFT_BEHIND, Attempts, is_notable, note
from onetenant_waldur.backoff import Backoff, Paces
from onetenant_waldur.offering import Offering, Terms
from onetenant_waldur.orders import EXECUTING, OrderLife, Tally
from onetenant_waldur.outage import WORK_ERRORS, OfferingUnfit, is_denial, is_outage
from onetenant_waldur.records import OrderRecord
from onetenant_waldur.waldur_calls import WaldurError, WaldurUnavailable


if TYPE_CHECKING:
    from uuid import UUID


WITHDRAWN_SINCE = dt.timedelta(days=7)
"""How long ago an order may have been cancelled, or a creation have erred, that an agent looks after when it is
started: it may have been killed before it could take back what it had done."""
VAIN_ATTEMPTS = 20
"""How many times `max_attempts` an order is tried that alone does not get through, while Waldur and OpenNebula are
there: by the pace of such orders, and with the 5 attempts of the settings, for some 16 hours."""


@attrs.frozen
class Opening:
    """What a cycle begins with.

    Attributes:
        orders: The orders that are due, oldest first.
        waiting: How many are left alone for a while longer.
        there: Whether Waldur and OpenNebula are there for them; the log says why not, once.
    """

    orders: Sequence[OrderRecord] = ()
    waiting: int = 0
    there: bool = False


class OrderDesk:
    """The orders of one offering. Thread safe.

    Args:
        offering: The offering.
        max_attempts: After how many unexpected errors an order is ended.
        paces: How long what fails is left alone.
    """

    def __init__(self, offering: Offering, *, max_attempts: int, paces: Paces) -> None:
        self.offering = offering
        self._max_attempts = max_attempts
        self._paces = paces
        self._attempts = Attempts(paces.order)
        self._backoff = Backoff()
        self._lock = threading.RLock()
        self._closed = False
        self._terms: Terms | None = None
        self._withdrawn_seen = False
        self._interrupted: dict[UUID, OrderRecord] = {}

    def open(self) -> Opening:
        """Begin a cycle: see what orders there are, and whether Waldur and OpenNebula are there for them."""
        self._closed, self._terms = False, None
        if (left_s := self._backoff.left_s) > 0:
            self._closed = True
            self.offering.log.warning("orders_wait", reason=self._backoff.reason, seconds=round(left_s))
            return Opening()
        try:
            orders = self._orders()
        except WaldurError as error:
            self._close("orders_not_read", error)
            return Opening()
        due = [order for order in orders if self._attempts.is_due(order)]
        # An order that nothing has been done for is better left pending, where its customer can take it back.
        return Opening(due, len(orders) - len(due), not due or self._look())

    def carry_out(self, order: OrderRecord) -> tuple[Tally, bool]:
        """Carry out an order.

        Returns:
            What became of it, and whether others can be carried out.
        """
        terms = self._terms
        if self._closed or terms is None:  # while this one was being taken
            return Tally(left=1), False
        life = OrderLife(self.offering, terms, order)
        try:
            tally = self._try(life, order)
        except WORK_ERRORS as error:
            return self._leave(life, order, error)
        self._settle(order, tally)
        return tally, True

    def end(self) -> None:
        """End a cycle. Where nothing has stood in its way, nothing does any more."""
        if not self._closed:
            self._backoff.succeeded()

    def _try(self, life: OrderLife, order: OrderRecord) -> Tally:
        """Go on with an order, and end it when that has been tried in vain too often."""
        try:
            return life.go_on()
        except WORK_ERRORS:
            raise
        except Exception as error:  # a mistake in this program, which the log shows in full
            failures = self._attempts.failed(order)
            self.offering.log.exception("order_failed", order=order.uuid.hex, type=order.type, failures=failures)
            if failures >= self._max_attempts:
                return self._give_up(life, order, error, failures)
        self._attempts.put_off(order)
        if is_notable(order):
            try:
                self.offering.waldur.note_order(order.uuid, note(failures))
            except WaldurError as error:
                self.offering.log.info("note_not_taken", order=order.uuid.hex, reason=str(error))
        return Tally(left=1)

    def _give_up(self, life: OrderLife, order: OrderRecord, error: Exception, failures: int) -> Tally:
        try:
            return life.give_up(error, failures)
        except WORK_ERRORS:
            raise
        except Exception:  # even that is a mistake: the others are not to wait for it
            self.offering.log.exception("order_not_ended", order=order.uuid.hex, type=order.type)
            self._attempts.put_off(order)
            return Tally(left=1)

    def _leave(self, life: OrderLife, order: OrderRecord, error: Exception) -> tuple[Tally, bool]:
        """Leave an order for another cycle, unless it has been tried in vain too often, or there is none any more."""
        self._keep(order)
        if is_denial(error):
            self._close("orders_left", error)
            return Tally(left=1), False
        # One order must not stand in the way of the others, unless what is down is down for all.
        if is_outage(error) and not self._look():
            return Tally(left=1), False
        tally = Tally(skipped=1) if life.is_gone(error) else self._try_later(life, order, error)
        self._settle(order, tally)
        return tally, True

    def _try_later(self, life: OrderLife, order: OrderRecord, error: Exception) -> Tally:
        """Leave an order alone for a while, or end it when that has been done too often."""
        times = self._attempts.put_off(order)
        log = self.offering.log.error if times >= self._max_attempts else self.offering.log.warning
        log("order_left", order=order.uuid.hex, type=order.type, reason=str(error), times=times)
        if times < self._max_attempts * VAIN_ATTEMPTS or isinstance(error, OfferingUnfit):
            return Tally(left=1)
        try:
            return self._give_up(life, order, error, times)
        except WORK_ERRORS as failure:
            if is_outage(failure):
                return Tally(left=1)
            # It is ended in Waldur already, and what was done for it cannot be taken back.
            self.offering.log.exception("order_given_up", order=order.uuid.hex, type=order.type)
            return Tally(erred=1)

    def _settle(self, order: OrderRecord, tally: Tally) -> None:
        """Remember an order that is left, and forget any other."""
        if tally.left:
            self._keep(attrs.evolve(order, note=LEFT_BEHIND) if tally.erred else order)
        else:
            self._forget(order)

    def _keep(self, order: OrderRecord) -> None:
        """Remember an order that something was done for: ended meanwhile, it is in no list any more."""
        with self._lock:
            self._interrupted[order.uuid] = attrs.evolve(order, state=EXECUTING)

    def _forget(self, order: OrderRecord) -> None:
        self._attempts.ended(order)
        with self._lock:
            self._interrupted.pop(order.uuid, None)

    def _orders(self) -> list[OrderRecord]:
        waldur, uuid = self.offering.waldur, self.offering.settings.waldur_offering_uuid
        listed = {order.uuid: order for order in waldur.open_orders(uuid)}
        if not self._withdrawn_seen:
            # Once in the life of a process: what was ended while there was none to see it.
            for order in waldur.withdrawn_orders(uuid, waldur.now - WITHDRAWN_SINCE):
                self._interrupted.setdefault(order.uuid, order)
            self._withdrawn_seen = True
        return sorted({**self._interrupted, **listed}.values(), key=lambda order: order.created)

    def _look(self) -> bool:
        """See whether Waldur and OpenNebula are there; one worker at a time, until one finds that they are not."""
        with self._lock:
            if self._closed:
                return False
            try:
                terms = self.offering.terms()
                self.offering.cloud.ping()
            except WORK_ERRORS as error:
                self._close("orders_left", error)
                return False
            self._terms = terms
            return True

    def _close(self, event: str, error: Exception) -> None:
        """Leave all orders for another cycle. However many workers find a reason, it is said once."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            pace = self._paces.denial if is_denial(error) else self._paces.outage
            asked_s = error.retry_after_s if isinstance(error, WaldurUnavailable) else 0.0
            self._backoff.failed(pace, str(error), at_least_s=asked_s)
            self.offering.log.warning(event, reason=str(error), again_in_s=round(self._backoff.left_s))
