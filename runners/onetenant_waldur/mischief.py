"""`Mischief`: random faults of a server, and processes that die at a call."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import attrs

from opennebula_tenancy.emulator.faults import Fault, FaultKind, FaultPlan


DELAY_S = 0.05
"""Seconds that an answer is late that is late on purpose."""
NOT_ANSWERING = (
    Fault(kind=FaultKind.DROP),
    Fault(kind=FaultKind.LOSE_REPLY),
    Fault(kind=FaultKind.TRUNCATE),
    Fault(kind=FaultKind.DELAY, delay_s=DELAY_S),
    Fault(kind=FaultKind.BAD_GATEWAY),
    Fault(kind=FaultKind.BAD_GATEWAY_APPLIED),
    Fault(kind=FaultKind.ELECTION),
)
"""Faults after which nobody knows more than before."""


@attrs.define
class Trap:
    """Something that happens at a call, the calls of both servers being counted. Thread safe."""

    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _left: int = attrs.field(default=0, init=False)
    _spring: Callable[[], None] | None = attrs.field(default=None, init=False)

    def set(self, calls: int, spring: Callable[[], None]) -> None:
        """Do something at the call after so many others."""
        with self._lock:
            self._left, self._spring = calls, spring

    def step(self) -> bool:
        """Count a call.

        Returns:
            Whether it is the one.
        """
        with self._lock:
            if self._spring is None:
                return False
            self._left -= 1
            if self._left >= 0:
                return False
            spring, self._spring = self._spring, None
        spring()
        return True


class Mischief(FaultPlan):
    """A fault plan that adds random faults to those in store. Thread safe.

    Args:
        rng: Where the chance comes from.
        faults: The faults to choose from.
        rate: How often, of 1.
        trap: What happens at a call beside.

    Attributes:
        done: How many faults of each kind there were.
        seen: How many calls there were.
    """

    def __init__(self, rng: random.Random, faults: Sequence[Fault], rate: float, trap: Trap) -> None:
        super().__init__()
        self._rng = rng
        self._choice = tuple(faults)
        self._rate = rate
        self._raging = False
        self._trap = trap
        self._guard = threading.Lock()
        self._down = False
        self.done: Counter[str] = Counter()
        self.seen = 0

    @contextmanager
    def rage(self) -> Iterator[None]:
        """Have random faults, for a while."""
        with self._guard:
            self._raging = True
        try:
            yield
        finally:
            with self._guard:
                self._raging = False

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Answer nothing, as if the server were gone behind its proxy."""
        with self._guard:
            self._down = True
        try:
            yield
        finally:
            with self._guard:
                self._down = False

    def take(self, method: str) -> Fault | None:
        """Count a call, and say what is to happen to it."""
        trapped = self._trap.step()
        with self._guard:
            self.seen += 1
            if self._down:
                fault: Fault | None = Fault(kind=FaultKind.BAD_GATEWAY)
            elif trapped:
                # Its process is gone: half of the time before the call was applied, half of the time after it.
                fault = Fault(kind=self._rng.choice((FaultKind.DROP, FaultKind.LOSE_REPLY)))
            elif self._raging and self._rng.random() < self._rate:
                fault = self._rng.choice(self._choice)
                self.done[fault.kind if fault.kind is not FaultKind.REFUSE else f"{fault.kind} {fault.code}"] += 1
            else:
                fault = None
        return fault or super().take(method)
