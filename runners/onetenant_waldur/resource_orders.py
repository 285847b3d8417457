"""What orders do to one kind of resource: the seam between the life of an order and what it makes.

A further kind of resource is a class like `ResourceOrders`, and a line in `orders.KINDS`.
"""

from typing import Generic, Protocol, TypeVar

import attrs
from structlog.typing import FilteringBoundLogger

from onetenant_waldur.offering import Offering, Terms
from onetenant_waldur.records import OrderRecord, ResourceRecord


T = TypeVar("T", bound=Terms)


class OrderProblem(Exception):
    """Why an order cannot be carried out, in a sentence for the customer."""


@attrs.frozen(kw_only=True)
class Task(Generic[T]):
    """An order, and what it is to be carried out with.

    Attributes:
        offering: Its offering.
        terms: The offering's terms.
        order: The order.
        resource: Its resource, as it was when the order was taken up.
        log: The log, with the order in every event.
    """

    offering: Offering
    terms: T
    order: OrderRecord
    resource: ResourceRecord
    log: FilteringBoundLogger


class ResourceOrders(Protocol):
    """The orders of one kind of resource, for one task, whose terms are of its kind.

    Each method may have been called before, and interrupted anywhere; it takes up what it finds, and what is as it
    should be already is left alone. What is made carries the key of the resource. Nothing here ends the order.

    Raises:
        OrderProblem: It cannot be done, for a reason that the customer understands.
        TenancyError: OpenNebula refused, or is not there.
        WaldurError: Waldur refused, or is not there.
    """

    def create(self) -> None:
        """Make what was ordered, and tell Waldur what it is."""

    def update(self) -> None:
        """Change it to what was ordered: limits, a plan."""

    def acknowledged(self) -> None:
        """Tell Waldur what the end of the order would have overwritten. A report mends what this misses."""

    def terminate(self) -> None:
        """Remove it; it being gone is a success."""

    def undo_create(self) -> bool:
        """Remove whatever there is of it, finished or not; nothing being there is a success.

        Returns:
            Whether there was anything.
        """

    def undo_update(self) -> bool:
        """Give it back what Waldur has for it, as far as this order has changed it.

        Returns:
            Whether it has changed anything.
        """

    def undo_terminate(self) -> bool:
        """Make it whole again, as far as its removal, which is not to be any more, has come.

        Returns:
            Whether anything was missing.

        Raises:
            OrderProblem: It is gone, or what is missing cannot be made any more.
        """
