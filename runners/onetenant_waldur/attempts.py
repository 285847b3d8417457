"""`Attempts`: how often each order has failed, so that one that always does is ended, and no other waits for it.

What is counted are errors that this program did not expect: mistakes in it, and answers that it makes no sense of. An
outage is not counted, however long it lasts: it is nobody's order that is at fault. Nor is the end of the process, so
that an order survives any number of kills. What looks like an outage and befalls one order alone is counted apart, by
how often in a row that order is left alone.

The count is kept in this process, and beside the order in Waldur (its `backend_id`, which orders of a site agent have
no other use for), so that an agent that is started again goes on counting. A Waldur that does not take the note, or
where somebody else has written something there, leaves the count to the process.
"""

import re
import threading
from uuid import UUID

import attrs

from onetenant_waldur.backoff import Backoff, Pace
from onetenant_waldur.records import OrderRecord


_NOTE = re.compile(r"agent failures: (\d+)")
LEFT_BEHIND = "agent: something is left behind"
"""What is written beside a creation that has erred, and of which something could not be removed so far."""


def note(failures: int) -> str:
    """What is written beside an order."""
    return f"agent failures: {failures}"


def is_notable(order: OrderRecord) -> bool:
    """Whether the place for a note beside an order is free, or has one of ours."""
    return order.note in {"", LEFT_BEHIND} or _NOTE.fullmatch(order.note) is not None


@attrs.define
class Attempts:
    """The attempts at the orders of an offering. Thread safe.

    Attributes:
        pace: How long an order is left alone that could not be carried out while all others could.
    """

    pace: Pace
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _failures: dict[UUID, int] = attrs.field(factory=dict, init=False)
    _backoffs: dict[UUID, Backoff] = attrs.field(factory=dict, init=False)

    def is_due(self, order: OrderRecord) -> bool:
        """Whether an order is not to be left alone at the moment."""
        with self._lock:
            backoff = self._backoffs.get(order.uuid)
            return backoff is None or backoff.left_s <= 0

    def put_off(self, order: OrderRecord) -> int:
        """Leave an order alone for a while.

        Returns:
            How often in a row that has been done.
        """
        with self._lock:
            backoff = self._backoffs.setdefault(order.uuid, Backoff())
            backoff.failed(self.pace)
            return backoff.failures

    def failed(self, order: OrderRecord) -> int:
        """Count an unexpected error.

        Returns:
            How many there have been.
        """
        noted = _NOTE.fullmatch(order.note)
        before = int(noted[1]) if noted else 0
        with self._lock:
            failures = max(self._failures.get(order.uuid, 0), before) + 1
            self._failures[order.uuid] = failures
            return failures

    def ended(self, order: OrderRecord) -> None:
        """Forget an order."""
        with self._lock:
            self._failures.pop(order.uuid, None)
            self._backoffs.pop(order.uuid, None)
