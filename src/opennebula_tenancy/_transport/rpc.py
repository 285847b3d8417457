"""`Rpc`: reads that are repeated, and mutations whose unknown outcome is resolved by looking."""

from __future__ import annotations

import logging
import re
import secrets
import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import attrs

from opennebula_tenancy._transport.retry import RetryPolicy, attempts
from opennebula_tenancy.errors import (
    AlreadyAssigned,
    AlreadyExists,
    ApiError,
    InternalError,
    NotSent,
    OutcomeUnknown,
    ProtocolViolation,
    ServerUnready,
    TenancyError,
    TransportError,
)


if TYPE_CHECKING:
    from collections.abc import Callable

    from opennebula_tenancy._transport.pyone_ import PyoneTransport


T = TypeVar("T")

log = logging.getLogger("opennebula_tenancy")

_READS = re.compile(r"one\.(system\.(version|config)|[a-z]+\.(info|infoextended|infoset|monitoring))\Z")


@attrs.frozen(kw_only=True)
class CallRecord:
    """One call as it went over the wire.

    Attributes:
        method: The OpenNebula method.
        call_id: Its identifier in the log.
        outcome: `ok`, or the name of the error's class.
        seconds: How long it took.
        sent_bytes: Size of the request's body; 0 where none was answered.
        received_bytes: Size of the answer's body; 0 where none came.
    """

    method: str
    call_id: str
    outcome: str
    seconds: float
    sent_bytes: int
    received_bytes: int

    @property
    def mutates(self) -> bool:
        """Whether the method is one that changes something."""
        return not _READS.match(self.method)


class Reader(Protocol):
    """What planning is given: calls that cannot change anything."""

    def read(self, method: str, *params: Any) -> Any:
        """Call a method that reads."""


class Rpc:
    """Calls with a policy. Thread safe.

    Args:
        transport: Sends single calls.
        retry: How often, and for how long, a call is tried.
        on_call: Called with a `CallRecord` after every call, failed ones included, on the calling thread.
        sleep: Waits the seconds it is given.
    """

    def __init__(
        self,
        transport: PyoneTransport,
        *,
        retry: RetryPolicy,
        on_call: Callable[[CallRecord], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._transport = transport
        self._retry = retry
        self._on_call = on_call
        self._sleep = sleep

    def overheard(self, listener: Callable[[CallRecord], None]) -> Rpc:
        """The same calls, of which a listener is told too.

        Args:
            listener: Called with a `CallRecord` after every call, as `on_call` is.
        """

        def tell(record: CallRecord) -> None:
            listener(record)
            if self._on_call is not None:
                self._on_call(record)

        return Rpc(self._transport, retry=self._retry, on_call=tell, sleep=self._sleep)

    def read(self, method: str, *params: Any) -> Any:
        """Call a method that reads, again and again where it does not get through.

        Args:
            method: The method, with its `one.` prefix.
            params: Its parameters, without the session.

        Returns:
            The reply's value.

        Raises:
            ApiError: OpenNebula refused.
            TransportError: No attempt got through.
            ValueError: The method is not known to be one that only reads.
        """
        if not _READS.match(method):
            raise ValueError(f"{method} is not a method that only reads")
        for attempt in attempts(self._retry, sleep=self._sleep):
            try:
                return self._call(method, params, fresh=False)
            except TransportError as error:
                if attempt.last or _is_lasting(error):
                    raise
        raise AssertionError("attempts() yields at least once")  # pragma: no cover

    def mutate(self, method: str, *params: Any, look: Callable[[], T | None]) -> T:
        """Call a method that changes something, exactly as often as it takes for the change to be there once.

        A call that cannot have been applied is sent again. After one that may have been, `look` decides: when the
        change is there the call has succeeded; when it is not, even after a pause in which a queued request could
        still land, the call is sent again.

        Args:
            method: The method, with its `one.` prefix.
            params: Its parameters, without the session. One that can be called is asked for its value before each
                attempt, for what must be made of the state of that moment.
            look: Reads whether the change is there: what the method would have returned, or None when it is not.

        Returns:
            The reply's value, or what `look` found.

        Raises:
            ApiError: OpenNebula refused, and the change is not there.
            TransportError: No attempt got through.
        """
        unknown = False
        for attempt in attempts(self._retry, sleep=self._sleep):
            try:
                now = tuple(param() if callable(param) else param for param in params)
                value: T = self._call(method, now, fresh=True)
            except (NotSent, ServerUnready) as error:
                if attempt.last or _is_lasting(error):
                    raise _last_word(error, unknown=unknown) from error.__cause__
            except OutcomeUnknown as error:
                unknown = True
                if (found := self._settle(method, look, error)) is not None:
                    return found
                if attempt.last:
                    raise
            except (AlreadyExists, AlreadyAssigned) as error:
                # A refusal of what an earlier attempt of ours has done is a success; any other is what it says.
                if not unknown or (found := self._look(look, error)) is None:
                    raise
                return found
            except InternalError as error:
                # In a cluster of servers even a refusal may have been applied (LogDB::replicate, forwarded calls).
                if (found := self._look(look, error)) is None:
                    raise
                return found
            else:
                return value
        raise AssertionError("attempts() yields at least once")  # pragma: no cover

    def _settle(self, method: str, look: Callable[[], T | None], error: OutcomeUnknown) -> T | None:
        found = self._look(look, error)
        if found is None:
            self._sleep(self._retry.settle_s)
            found = self._look(look, error)
        log.warning("%s: %s; %s", method, error.reason, "it was applied" if found is not None else "it was not applied")
        return found

    @staticmethod
    def _look(look: Callable[[], T | None], error: TenancyError) -> T | None:
        """Look, and let the first error speak where looking fails too."""
        try:
            return look()
        except (TransportError, ApiError, ProtocolViolation) as failed:
            error.add_note(f"Looking whether it was applied failed too: {failed}")
            raise error from failed

    def _call(self, method: str, params: tuple[Any, ...], *, fresh: bool) -> Any:
        call_id = secrets.token_hex(4)
        started = time.monotonic()
        sent = received = 0
        outcome = "ok"
        try:
            answer = self._transport.call(method, params, fresh=fresh, call_id=call_id)
        except (ApiError, TransportError, ProtocolViolation) as error:
            outcome = type(error).__name__
            log.debug("%s failed: %s", method, error)
            raise
        else:
            sent, received = answer.sent_bytes, answer.received_bytes
            return answer.value
        finally:
            record = CallRecord(
                method=method,
                call_id=call_id,
                outcome=outcome,
                seconds=time.monotonic() - started,
                sent_bytes=sent,
                received_bytes=received,
            )
            log.debug("%s [call %s] %s in %.1f ms", method, call_id, outcome, record.seconds * 1000)
            if self._on_call is not None:
                self._on_call(record)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._transport.close()


def _is_lasting(error: TransportError) -> bool:
    return isinstance(error, NotSent) and error.lasting


def _last_word(error: TransportError, *, unknown: bool) -> TransportError:
    """The error to end with: where an earlier attempt may still be applied, so may the call."""
    return OutcomeUnknown(error.method, error.reason, call_id=error.call_id) if unknown else error
