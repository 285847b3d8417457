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
        budget_s: Seconds after which no further attempt begins, counted from the beginning of the first one.
        wait_s: Seconds before the second attempt; doubled before each further one, with full jitter.
        wait_max_s: The longest wait between two attempts, in seconds.
        settle_s: Seconds to wait before looking a second time whether a call with an unknown outcome was applied: a
            request may still stand in the server's queue when its connection is gone.
    """

    attempts: int = attrs.field(default=20, validator=attrs.validators.ge(1))
    budget_s: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))
    wait_s: float = attrs.field(default=0.1, validator=attrs.validators.ge(0))
    wait_max_s: float = attrs.field(default=5.0, validator=attrs.validators.ge(0))
    settle_s: float = attrs.field(default=0.5, validator=attrs.validators.ge(0))


@attrs.frozen
class Attempt:
    """One attempt of a call.

    Attributes:
        wait_s: Seconds to wait before the next one; None when this is the last one allowed.
        deadline_s: When the budget ends, on the monotonic clock.
    """

    wait_s: float | None
    deadline_s: float

    @property
    def last(self) -> bool:
        """Whether there is no other after it. Ask when it has failed: the time that it took counts."""
        return self.wait_s is None or time.monotonic() + self.wait_s > self.deadline_s


def attempts(policy: RetryPolicy, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[Attempt]:
    """Pace the attempts of one call.

    Args:
        policy: How often, and for how long.
        sleep: Waits the seconds it is given.

    Yields:
        The attempts, each after having waited for its turn.
    """
    deadline_s = time.monotonic() + policy.budget_s
    for number in range(1, policy.attempts):
        # Full jitter keeps many clients from coming back in step after an outage.
        wait_s = random.uniform(0, min(policy.wait_max_s, policy.wait_s * 2 ** (number - 1)))  # noqa: S311
        yield Attempt(wait_s, deadline_s)
        sleep(wait_s)
    yield Attempt(None, deadline_s)
