"""When to try again, and for how long: bounded in attempts and in seconds."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import attrs


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often a call that did not get through is sent again.

    Attributes:
        attempts: How often a call is sent at most, the first time included.
        budget_s: Seconds that all attempts of a call, and the waits between them, may take.
        wait_s: Seconds before the second attempt; doubled before each further one, with full jitter.
        wait_max_s: The longest wait between two attempts, in seconds.
        settle_s: Seconds to wait before looking a second time whether a call with an unknown outcome was applied: a
            request may still stand in the server's queue when its connection is gone.
    """

    attempts: int = attrs.field(default=6, validator=attrs.validators.ge(1))
    budget_s: float = attrs.field(default=45.0, validator=attrs.validators.gt(0))
    wait_s: float = attrs.field(default=0.1, validator=attrs.validators.ge(0))
    wait_max_s: float = attrs.field(default=5.0, validator=attrs.validators.ge(0))
    settle_s: float = attrs.field(default=0.5, validator=attrs.validators.ge(0))


def attempts(policy: RetryPolicy, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[bool]:
    """Pace the attempts of one call.

    Args:
        policy: How often, and for how long.
        sleep: Waits the seconds it is given.

    Yields:
        For each attempt whether it is the last one, after having waited for its turn.
    """
    deadline = time.monotonic() + policy.budget_s
    for attempt in range(1, policy.attempts + 1):
        # Full jitter keeps many clients from coming back in step after an outage.
        following = random.uniform(0, min(policy.wait_max_s, policy.wait_s * 2 ** (attempt - 1)))  # noqa: S311
        last = attempt == policy.attempts or time.monotonic() + following > deadline
        yield last
        if last:
            return
        sleep(following)
