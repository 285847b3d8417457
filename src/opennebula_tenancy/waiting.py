"""`wait_for`: waits until something is as it should be. Often at first, ever more seldom later, and never for good."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from opennebula_tenancy.errors import WaitTimeout


if TYPE_CHECKING:
    from collections.abc import Callable


T = TypeVar("T")

_SHORTEST_S = 0.1
_LONGEST_S = 5.0
_SHARE = 0.01
"""The pause between two looks, as a share of the time that has passed: what is noticed late is late by a hundredth."""


def wait_for(
    look: Callable[[], T | None],
    what: str | Callable[[], str],
    *,
    timeout_s: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Look again and again until there is something to see.

    The first look comes at once, the second after 0.1 s, each further one after a hundredth of the time that has
    passed since the beginning: at least 0.1 s, at most 5 s. The last one comes when the time is over.

    Args:
        look: Returns what was waited for, or None while it is not there. It raises where waiting is in vain.
        what: Says what is not as it should be, as the beginning of a sentence: `VM 12 is not running`.
        timeout_s: How many seconds to wait at most.
        sleep: Waits the seconds it is given.
        clock: The time in seconds, from any beginning.

    Returns:
        What `look` returned.

    Raises:
        WaitTimeout: The time is over.
    """
    began_s = clock()
    while True:
        if (found := look()) is not None:
            return found
        passed_s = clock() - began_s
        if passed_s >= timeout_s:
            raise WaitTimeout(f"{what() if callable(what) else what} after {timeout_s:g} s")
        sleep(min(_LONGEST_S, max(_SHORTEST_S, passed_s * _SHARE), timeout_s - passed_s))
