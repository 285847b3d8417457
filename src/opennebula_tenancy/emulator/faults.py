"""Faults on purpose: what a server does to one call, chosen by call index or by method.

The vocabulary is that of a network: a reply that is lost after the call was applied is another thing than a request
that never arrived, and a client must tell them apart. Any embedded server can ask a `FaultPlan`; the plan counts the
calls and hands out each fault as often as it was asked for.
"""

import enum
import threading

import attrs


class FaultKind(enum.StrEnum):
    """What happens to the call."""

    REFUSE = "refuse"
    """The server answers with a refusal of its own (`code`, `message`) and applies nothing."""
    DROP = "drop"
    """The connection is closed before the server looks at the request: nothing is applied."""
    LOSE_REPLY = "lose-reply"
    """The call is applied, and the connection closed before the first byte of the reply."""
    DELAY = "delay"
    """The call is applied at once, and the reply sent `delay_s` seconds later."""
    TRUNCATE = "truncate"
    """The call is applied, and the connection closed in the middle of the reply."""
    BAD_GATEWAY = "bad-gateway"
    """A proxy's HTTP 502 instead of the server's answer: nothing is applied."""
    BAD_GATEWAY_APPLIED = "bad-gateway-applied"
    """The call is applied, and a proxy answers HTTP 502 in place of the reply."""
    ELECTION = "election"
    """The refusal of a server that has no leader at the moment: nothing is applied."""


APPLIED = frozenset({FaultKind.LOSE_REPLY, FaultKind.DELAY, FaultKind.TRUNCATE, FaultKind.BAD_GATEWAY_APPLIED})
"""The kinds after which the call took effect although the client may never learn it."""


@attrs.frozen(kw_only=True)
class Fault:
    """One fault and the calls that it hits.

    Attributes:
        kind: What happens.
        call: Index of the call to hit, counted from 0 since the plan was last armed. None hits any call.
        method: Name of the method to hit (`one.vdc.allocate`, or `POST /api/marketplace-orders/` for an HTTP API:
            whatever the server counts as a method). None hits any method.
        onwards: Hit the calls after `call` as well.
        times: How many calls it hits before it is spent. None never ends.
        delay_s: Seconds, for `FaultKind.DELAY`.
        code: Error code of a refusal. An OpenNebula code (0x2000 is INTERNAL), or an HTTP status.
        message: Text of a refusal.
    """

    kind: FaultKind = attrs.field(converter=FaultKind)
    call: int | None = None
    method: str | None = None
    onwards: bool = False
    times: int | None = 1
    delay_s: float = 1.0
    code: int = 0x2000
    message: str = "Refused on purpose"

    def hits(self, index: int, method: str) -> bool:
        """Whether the call with this index and method is one to hit."""
        due = self.call in {None, index} or (self.onwards and self.call is not None and index > self.call)
        return due and self.method in {None, method}


class FaultPlan:
    """The faults a server has in store, and the record of the calls it saw. Thread safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[tuple[Fault, int]] = []
        self._calls: list[str] = []

    def add(self, fault: Fault) -> None:
        """Put a fault in store behind those that are there."""
        with self._lock:
            self._faults.append((fault, 0))

    def arm(self, *faults: Fault) -> None:
        """Forget all faults and calls, and start counting from 0 with these faults in store."""
        with self._lock:
            self._faults = [(fault, 0) for fault in faults]
            self._calls = []

    @property
    def calls(self) -> tuple[str, ...]:
        """The methods called since the plan was last armed, in order of arrival."""
        with self._lock:
            return tuple(self._calls)

    def take(self, method: str) -> Fault | None:
        """Count a call, and say what is to happen to it.

        Args:
            method: The method called, as the server names it.

        Returns:
            The first fault in store that hits this call, or None.
        """
        with self._lock:
            index = len(self._calls)
            self._calls.append(method)
            for position, (fault, hits) in enumerate(self._faults):
                if fault.hits(index, method) and (fault.times is None or hits < fault.times):
                    self._faults[position] = (fault, hits + 1)
                    return fault
            return None
