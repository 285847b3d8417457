"""`connect` and `Cloud`: the way in."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Self

import attrs

from opennebula_tenancy._transport.http import HttpChannel, Timeout
from opennebula_tenancy._transport.pyone_ import PyoneTransport
from opennebula_tenancy._transport.retry import RetryPolicy
from opennebula_tenancy._transport.rpc import CallRecord, Rpc
from opennebula_tenancy.admin_credentials import CredentialSource
from opennebula_tenancy.credentials import find_credentials
from opennebula_tenancy.errors import ProtocolViolation, SettingsError
from opennebula_tenancy.vdcs import Vdcs
from opennebula_tenancy.vms import Vms


if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


@attrs.frozen
class Ping:
    """One complete, authenticated call.

    Attributes:
        version: The version that the server gives, such as `7.4.0`.
        seconds: How long the call took.
    """

    version: str
    seconds: float


class Cloud:
    """A connection to an OpenNebula cloud. Thread safe; a context manager that closes its connections.

    Reads that do not get through are repeated, with exponential backoff and jitter, within the budget of
    `RetryPolicy`. A call that changes something is repeated only when it cannot have been applied; when it may have
    been, the library looks whether the change is there before it sends the call again.

    Attributes:
        endpoint: The URL of OpenNebula's XML-RPC.
        vdcs: The tenants.
        vms: The virtual machines.
    """

    def __init__(self, endpoint: str, rpc: Rpc, admin_credentials: CredentialSource) -> None:
        self.endpoint = endpoint
        self._rpc = rpc
        self.vdcs = Vdcs(rpc, admin_credentials)
        self.vms = Vms(rpc)

    def ping(self) -> Ping:
        """Make one complete, authenticated call.

        Returns:
            The server's version, and how long it took.

        Raises:
            AuthenticationFailed: The server does not know the credentials.
            TransportError: The server could not be reached for as long as calls are retried.
        """
        started = time.monotonic()
        version = self._rpc.read("one.system.version")
        if not isinstance(version, str):
            raise ProtocolViolation(f"one.system.version answered {type(version).__name__}, a text was due")
        return Ping(version, time.monotonic() - started)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._rpc.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Cloud({self.endpoint!r})"


def connect(
    endpoint: str | None = None,
    auth: str | None = None,
    *,
    timeout: Timeout | float | None = None,
    verify: bool | str = True,
    max_connections: int = 4,
    retry: RetryPolicy | None = None,
    on_call: Callable[[CallRecord], None] | None = None,
    admin_credentials: CredentialSource | None = None,
) -> Cloud:
    """Connect to an OpenNebula cloud. Nothing is sent yet: `Cloud.ping` tells whether it is there.

    Args:
        endpoint: The URL of OpenNebula's XML-RPC. When omitted, it is looked up as OpenNebula's own tools do:
            `ONE_XMLRPC`, `~/.one/one_endpoint`, `/var/lib/one/.one/one_endpoint`, `http://localhost:2633/RPC2`.
        auth: `user:password` or `user:token`. When omitted: the file that `ONE_AUTH` names, `~/.one/one_auth`,
            `/var/lib/one/.one/one_auth`.
        timeout: How long to wait for an answer: a `Timeout`, or seconds. When omitted: `ONE_XMLRPC_TIMEOUT` seconds,
            or 30.
        verify: Whether to verify the server's certificate, or the path of a bundle of CA certificates to trust.
        max_connections: How many calls may be under way at once. oned serves 15 connections in all.
        retry: How often, and for how long, calls are tried.
        on_call: Called with a `CallRecord` after every call, on the thread that made it.
        admin_credentials: Where the passwords of tenants' administrators come from. They are random when omitted.

    Returns:
        The connection.

    Raises:
        SettingsError: The endpoint, the credentials or the timeout cannot be; all problems at once.
    """
    problems: list[str] = []
    waiting = Timeout()
    try:
        waiting = _timeout(timeout)
    except (ValueError, TypeError) as error:
        problems.append(f"timeout: {error.args[0]}")
    if max_connections < 1:
        problems.append(f"max_connections: {max_connections} is not at least 1")
    if isinstance(verify, str) and not os.path.exists(verify):  # noqa: PTH110
        problems.append(f"verify: there is no file {verify}")
    try:
        found = find_credentials(endpoint, auth)
    except SettingsError as error:
        problems.extend(error.problems)
    if problems:
        raise SettingsError(*problems)
    channel = HttpChannel(found.endpoint, timeout=waiting, verify=verify, max_connections=max_connections)
    transport = PyoneTransport(found.endpoint, found.auth, channel)
    rpc = Rpc(transport, retry=retry or RetryPolicy(), on_call=on_call)
    return Cloud(found.endpoint, rpc, admin_credentials or CredentialSource())


def _timeout(given: Timeout | float | None) -> Timeout:
    if isinstance(given, Timeout):
        return given
    return Timeout(read_s=float(os.environ.get("ONE_XMLRPC_TIMEOUT") or 30) if given is None else given)
