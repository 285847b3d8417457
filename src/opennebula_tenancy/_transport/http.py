"""One HTTP POST, with timeouts that apply and failures that say whether the server may have acted."""

from __future__ import annotations

import contextlib
import io
import os
import threading
import time
from typing import TYPE_CHECKING

import attrs
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
)

from opennebula_tenancy.errors import NotSent, OutcomeUnknown


if TYPE_CHECKING:
    from collections.abc import Mapping


_CHUNK_BYTES = 64 * 1024


_SECONDS = attrs.validators.and_(attrs.validators.gt(0.0), attrs.validators.le(86400.0))


@attrs.frozen(kw_only=True)
class Timeout:
    """How long to wait for a server, in seconds.

    Attributes:
        connect_s: For the connection, TLS handshake included.
        read_s: For the answer: the longest silence before it and within its head, and the longest time that its body
            may take to arrive.
    """

    connect_s: float = attrs.field(default=5.0, validator=_SECONDS)
    read_s: float = attrs.field(default=30.0, validator=_SECONDS)


class _Body(io.BytesIO):
    """The body of a request, which knows whether sending it has begun.

    Before that moment the server cannot have acted, whatever it is that fails: the name, the connection, TLS, a proxy.
    After it the server may have acted, a broken TLS record included.
    """

    begun = False

    def read(self, size: int | None = -1, /) -> bytes:
        self.begun = True
        return super().read(size)


class HttpChannel:
    """Posts bodies to one endpoint over a bounded number of connections. Thread safe.

    Reads share connections that are kept alive where the server, or a proxy in front of it, keeps them. A mutation
    always gets a connection of its own: on a kept one that the server has just closed, a reset would leave open
    whether the call was applied.

    Args:
        endpoint: The URL to post to.
        timeout: How long to wait.
        verify: Whether to verify the server's certificate, or the path of a bundle of CA certificates to trust.
        max_connections: How many calls may be under way at once; further ones wait for their turn.
    """

    def __init__(self, endpoint: str, *, timeout: Timeout, verify: bool | str, max_connections: int) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        self._slots = threading.BoundedSemaphore(max_connections)
        # What the environment names, as requests reads it. Once: to ask takes as long as a call.
        self._proxies = requests.utils.get_environ_proxies(endpoint)
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        self._verify = bundle if bundle and verify is True else verify
        self._kept = _connections(max_connections)

    def post(self, method: str, body: bytes, headers: Mapping[str, str], *, fresh: bool, call_id: str) -> bytes:
        """Send a request and take the whole answer.

        Args:
            method: The method called, for the error.
            body: The request.
            headers: Headers to send.
            fresh: Use a connection of its own, and close it.
            call_id: The identifier of the call, for the error.

        Returns:
            The body of the answer.

        Raises:
            NotSent: The request cannot have reached the server.
            OutcomeUnknown: The request was sent, and no whole answer came back.
        """
        with self._slots:
            if not fresh:
                return self._post(self._kept, method, body, headers, call_id)
            with contextlib.closing(_connections(1)) as connection:
                return self._post(connection, method, body, {**headers, "Connection": "close"}, call_id)

    def _post(
        self, connections: HTTPAdapter, method: str, body: bytes, headers: Mapping[str, str], call_id: str
    ) -> bytes:
        content = _Body(body)
        timeout = (self._timeout.connect_s, self._timeout.read_s)
        try:
            # No session's: it would follow redirects, keep cookies, and log in with what ~/.netrc says.
            request = requests.Request("POST", self._endpoint, data=content, headers=dict(headers)).prepare()
            with connections.send(
                request, stream=True, timeout=timeout, verify=self._verify, proxies=self._proxies
            ) as answer:
                if answer.status_code != requests.codes.ok:
                    raise _http_refusal(method, answer, call_id)
                return self._whole(method, answer, call_id)
        except (OSError, HTTPError) as error:  # a RequestException is an OSError; a bad bundle of CAs is a bare one
            raise _transport_error(method, error, call_id, sent=content.begun) from error

    def _whole(self, method: str, answer: requests.Response, call_id: str) -> bytes:
        deadline_s = time.monotonic() + self._timeout.read_s
        chunks = []
        # read1 returns what is there; read and iter_content wait for a full chunk, however slowly it drips in.
        while chunk := answer.raw.read1(_CHUNK_BYTES):
            chunks.append(chunk)
            if time.monotonic() > deadline_s:
                raise OutcomeUnknown(method, f"no whole answer within {self._timeout.read_s:g} s", call_id=call_id)
        return b"".join(chunks)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._kept.close()


def _connections(most: int) -> HTTPAdapter:
    """Connections to one server, which never send anything twice."""
    return HTTPAdapter(pool_connections=1, pool_maxsize=most, max_retries=0)


def _http_refusal(method: str, answer: requests.Response, call_id: str) -> NotSent | OutcomeUnknown:
    """A status that is not oned's: a proxy in front of it, or another server altogether."""
    said = f"HTTP {answer.status_code} {answer.reason or ''}".strip()
    if answer.status_code >= requests.codes.server_error:
        return OutcomeUnknown(method, f"{said} from a proxy in front of OpenNebula", call_id=call_id)
    lasting = answer.status_code not in {requests.codes.request_timeout, requests.codes.too_many_requests}
    hint = ": is the endpoint right? OpenNebula's ends in /RPC2" if lasting else ""
    return NotSent(method, f"{said}{hint}", call_id=call_id, lasting=lasting)


def _transport_error(method: str, error: OSError | HTTPError, call_id: str, *, sent: bool) -> NotSent | OutcomeUnknown:
    """Say whether a failed request can have been applied, by how far it came."""
    cause = error.args[0] if error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) else cause
    if sent:
        if isinstance(error, requests.ReadTimeout | ReadTimeoutError):
            return OutcomeUnknown(method, "no answer in time", call_id=call_id)
        broken = reason if isinstance(reason, Exception) else error
        return OutcomeUnknown(method, f"the connection broke: {_plain(broken)}", call_id=call_id)
    if isinstance(error, requests.exceptions.SSLError):
        return NotSent(method, f"TLS failed: {reason}", call_id=call_id, lasting=True)
    if isinstance(reason, NameResolutionError):
        return NotSent(method, "the host name is not known", call_id=call_id)
    # Before the timeouts: it is a ConnectTimeoutError by descent.
    if isinstance(reason, NewConnectionError):
        return NotSent(method, f"no connection: {_plain(reason)}", call_id=call_id)
    if isinstance(error, requests.Timeout) or isinstance(reason, ConnectTimeoutError):
        return NotSent(method, "no connection in time", call_id=call_id)
    lasting = isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema)
    return NotSent(method, f"the request could not be sent: {error}", call_id=call_id, lasting=lasting)


def _plain(error: BaseException) -> str:
    """What the innermost of a chain of errors says: `Connection refused`, not the addresses of objects."""
    while inner := next((part for part in error.args if isinstance(part, BaseException)), None):
        error = inner
    if isinstance(error.__cause__, OSError):
        error = error.__cause__
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
