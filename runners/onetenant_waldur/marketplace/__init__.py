"""A Waldur marketplace in this process: what a site agent calls, and what its consumers do.

```python
with Marketplace() as waldur:
    consumer = waldur.consumer()
    placed = consumer.place_order(waldur.vdc, "vdc-one", {"cpu": 4, "ram": 8192})
    consumer.order(placed.order)["state"]  # "pending-provider", until an agent approves it
    waldur.api_url, waldur.tokens["provider"]  # what such an agent is configured with
```

Its answers are those of a Waldur Mastermind 7.0.7+2.g1ea6cb820 with the behaviour of 2026, field by field as recorded
in `cassettes/waldur`. A method or a filter that Waldur has and this has not is answered with 501, a path that it does
not know with 404; nothing is silently accepted.
"""

from onetenant_waldur.marketplace.consumer import Consumer, OrderRefused, Placed
from onetenant_waldur.marketplace.records import (
    BillingType,
    Component,
    Offering,
    Order,
    OrderState,
    OrderType,
    Plan,
    Project,
    Resource,
    ResourceState,
    Usage,
)
from onetenant_waldur.marketplace.server import Marketplace
from onetenant_waldur.marketplace.state import Behaviour


__all__ = [
    "Behaviour",
    "BillingType",
    "Component",
    "Consumer",
    "Marketplace",
    "Offering",
    "Order",
    "OrderRefused",
    "OrderState",
    "OrderType",
    "Placed",
    "Plan",
    "Project",
    "Resource",
    "ResourceState",
    "Usage",
]
