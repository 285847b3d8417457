"""Calls of Waldur: sent until there is an answer or patience is at its end, and failures put into our words.

WaldurError
 +- WaldurUnavailable    no answer that can be trusted: try again in the next cycle
 +- WaldurRefused        Waldur said no: status, detail
     +- WaldurDenied     ... to the agent as such: 401, 403
"""

import datetime as dt
import email.utils
import json
import ssl
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from time import monotonic
from typing import TypeVar

import attrs
import httpx
from waldur_api_client import AuthenticatedClient, errors


T = TypeVar("T")

RETRY_AFTER_MAX_S = 3600.0
"""Seconds for which a server is left alone at most, whatever it asks for."""

_BUSY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_DENIED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_DETAIL_CHARACTERS = 300


class WaldurError(Exception):
    """Base of the errors of this module."""


class WaldurUnavailable(WaldurError):
    """No answer that can be trusted: an outage, a gateway, a server too busy, an answer that is not Waldur's.

    Attributes:
        retry_after_s: For how many seconds Waldur asks to be left alone; 0 when it does not say.
    """

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class WaldurRefused(WaldurError):
    """Waldur said no.

    Attributes:
        status: The HTTP status.
        detail: Waldur's own words.
    """

    def __init__(self, action: str, status: int, detail: str) -> None:
        self.status = status
        self.detail = detail
        super().__init__(f"Waldur refused to {action} (HTTP {status}): {detail}")


class WaldurDenied(WaldurRefused):
    """Waldur does not let this agent do this: a wrong token, or a user without the rights."""


@attrs.frozen(kw_only=True)
class Patience:
    """How long to wait for Waldur.

    Attributes:
        connect_s: Seconds for a connection.
        read_s: Seconds for an answer.
        attempts: How often a call is sent at most, the first time included.
        wait_s: Seconds before the second attempt; doubled before each further one.
        wait_max_s: The longest wait in seconds, also where Waldur names one (`Retry-After`): a longer one is for the
            next cycle.
    """

    connect_s: float = 5.0
    read_s: float = 30.0
    attempts: int = 4
    wait_s: float = 0.5
    wait_max_s: float = 10.0


def utc_now() -> dt.datetime:
    """The clock of this machine."""
    return dt.datetime.now(dt.UTC)


class _Answer(threading.local):
    """What is to be known of the latest answer to a thread, beside what the generated client makes of it."""

    status: int = 0
    empty: bool = False
    retry_after_s: float | None = None


class WaldurCalls:
    """Calls with patience. Thread safe.

    Args:
        api_url: The root of the API, with or without `/api/` at its end.
        token: The user's token.
        verify: Whether to verify the server's certificate, or the file of those that vouch for it.
        proxy: The proxy on the way, if there is one.
        patience: How long to wait.
        max_connections: How many calls may be under way at once.
        before_call: Called before each request; what it raises goes through.
        clock: The clock of this machine.

    Attributes:
        client: What the functions of the generated client are given.
        ahead: By how much Waldur's clock is ahead of this machine's, by the header `Date` of its latest answer.
    """

    def __init__(
        self,
        api_url: str,
        token: str,
        *,
        verify: bool | str,
        proxy: str | None,
        patience: Patience,
        max_connections: int,
        before_call: Callable[[], None],
        clock: Callable[[], dt.datetime],
    ) -> None:
        self._patience = patience
        self._before_call = before_call
        self._clock = clock
        self.ahead = dt.timedelta()
        self._answer = _Answer()
        self._quiet_until_s = 0.0
        self.client = AuthenticatedClient(
            base_url=api_url.rstrip("/").removesuffix("/api"),
            token=token,
            verify_ssl=ssl.create_default_context(cafile=verify) if isinstance(verify, str) else verify,
            timeout=httpx.Timeout(patience.read_s, connect=patience.connect_s),
            httpx_args={
                "proxy": proxy,
                "limits": httpx.Limits(max_connections=max_connections),
                "event_hooks": {"response": [self.note]},
            },
        )
        # It makes its connections when it is first asked for them: two threads would make them twice.
        self.client.get_httpx_client()

    def close(self) -> None:
        """Close the connections that are kept."""
        self.client.get_httpx_client().close()

    @property
    def now(self) -> dt.datetime:
        """What time it is in Waldur, as far as it has said."""
        return self._clock() + self.ahead

    def note(self, response: httpx.Response) -> None:
        """Note what the generated client does not tell of an answer."""
        date = _http_date(response.headers.get("Date", ""))
        if date is not None:
            self.ahead = date - self._clock()
        response.read()
        self._answer.status = response.status_code
        self._answer.empty = not response.content
        self._answer.retry_after_s = _retry_after_s(response.headers.get("Retry-After", ""), date or self._clock())

    def ask(self, action: str, request: Callable[[], T]) -> T:
        """Send a request until there is an answer or patience is at its end.

        Args:
            action: What it is that Waldur is asked to do, for errors.
            request: Sends it once, through the generated client.

        Returns:
            What the generated client makes of the answer.

        Raises:
            WaldurRefused: Waldur said no.
            WaldurUnavailable: No attempt got an answer that can be trusted.
        """
        failure = WaldurUnavailable(f"Waldur could not {action}")
        wait_s = self._patience.wait_s
        for attempt in range(1, self._patience.attempts + 1):
            self._keep_quiet(action)
            self._before_call()
            self._answer.status, self._answer.retry_after_s = 0, None
            try:
                answer = request()
            except errors.UnexpectedStatus as error:
                failure = self._failure(action, error)
            except httpx.RequestError as error:
                failure = WaldurUnavailable(f"Waldur could not {action}: {str(error) or type(error).__name__}")
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                # The client's own way of saying that an answer is not what it expects.
                failure = WaldurUnavailable(
                    f"asked to {action}, Waldur gave no answer that can be read: {type(error).__name__} {error}"
                )
            else:
                return answer
            if failure.retry_after_s > self._patience.wait_max_s:
                break
            if attempt < self._patience.attempts and not failure.retry_after_s:
                time.sleep(wait_s)
                wait_s = min(wait_s * 2, self._patience.wait_max_s)
        raise failure

    def tell(self, action: str, request: Callable[[], object]) -> None:
        """Send a request whose answer says nothing, also where it has no body, as those of older servers.

        Args:
            action: What it is that Waldur is asked to do, for errors.
            request: Sends it once, through the generated client.

        Raises:
            WaldurRefused: Waldur said no.
            WaldurUnavailable: No attempt got an answer that can be trusted.
        """

        def send() -> None:
            try:
                request()
            except ValueError:  # the client reads JSON where there is none
                if not (self._answer.status in {HTTPStatus.OK, HTTPStatus.NO_CONTENT} and self._answer.empty):
                    raise

        self.ask(action, send)

    def _failure(self, action: str, error: errors.UnexpectedStatus) -> WaldurUnavailable:
        """What an answer means that is no success.

        Raises:
            WaldurRefused: No, for good.
        """
        status = error.status_code
        if status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _BUSY:
            detail = _detail(error.content)
            if status == HTTPStatus.NOT_FOUND and detail == "Invalid page.":
                return WaldurUnavailable(f"Waldur could not {action}: the list became shorter while it was read")
            kind = WaldurDenied if status in _DENIED else WaldurRefused
            raise kind(action, status, detail) from None
        retry_after_s = self._answer.retry_after_s or 0.0
        if retry_after_s:
            # It holds for all that this agent asks of this Waldur.
            self._quiet_until_s = monotonic() + retry_after_s
        return WaldurUnavailable(f"Waldur could not {action}: HTTP {status}", retry_after_s)

    def _keep_quiet(self, action: str) -> None:
        """Leave Waldur alone for as long as it has asked for, if that is not long."""
        left_s = self._quiet_until_s - monotonic()
        if left_s > self._patience.wait_max_s:
            raise WaldurUnavailable(
                f"Waldur was not asked to {action}: it wants to be left alone for {left_s:.0f} s more", left_s
            )
        if left_s > 0:
            time.sleep(left_s)


def _http_date(text: str) -> dt.datetime | None:
    try:
        return email.utils.parsedate_to_datetime(text).astimezone(dt.UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def _retry_after_s(text: str, now: dt.datetime) -> float | None:
    """Read `Retry-After`, which is a number of seconds or a date. The date is compared with the server's own."""
    if text.isdecimal():
        return min(float(text), RETRY_AFTER_MAX_S)
    date = _http_date(text)
    return None if date is None else min(max((date - now).total_seconds(), 0.0), RETRY_AFTER_MAX_S)


def _detail(content: bytes) -> str:
    """What Waldur says is wrong: `{"detail": ...}`, or messages by field, or a page for people."""
    text = content.decode(errors="replace").strip()
    try:
        said = json.loads(text)
    except ValueError:
        said = "a page of HTML" if text.startswith("<") else text
    if isinstance(said, dict) and set(said) == {"detail"}:
        said = said["detail"]
    shown = said if isinstance(said, str) else json.dumps(said)
    return shown[:_DETAIL_CHARACTERS] or "no reason given"
