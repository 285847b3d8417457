"""Single calls against servers that misbehave."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from opennebula_tenancy import CallRecord, RetryPolicy, Timeout
from opennebula_tenancy._transport.http import HttpChannel
from opennebula_tenancy._transport.pyone_ import PyoneTransport
from opennebula_tenancy._transport.rpc import Rpc
from transport.pace import ONCE
from transport.wild_server import Behaviour, WildServer


@pytest.fixture(name="serve")
def _serve() -> Iterator[Callable[..., WildServer]]:
    """Start servers that stop with the test."""
    with ExitStack() as stack:

        def serve(behave: Behaviour, **options: Any) -> WildServer:
            return stack.enter_context(WildServer(behave, **options))

        yield serve


@pytest.fixture(name="rpc")
def _rpc() -> Iterator[Callable[..., Rpc]]:
    """Make callers that are closed with the test; one attempt a call unless told otherwise."""
    made: list[Rpc] = []

    def rpc(
        endpoint: str,
        auth: str = "oneadmin:opennebula",
        *,
        timeout: Timeout | None = None,
        verify: bool | str = True,
        max_connections: int = 4,
        retry: RetryPolicy = ONCE,
        on_call: Callable[[CallRecord], None] | None = None,
        sleep: Callable[[float], None] = lambda _: None,
    ) -> Rpc:
        channel = HttpChannel(
            endpoint,
            timeout=timeout or Timeout(connect_s=20, read_s=20),
            verify=verify,
            max_connections=max_connections,
        )
        made.append(Rpc(PyoneTransport(endpoint, auth, channel), retry=retry, on_call=on_call, sleep=sleep))
        return made[-1]

    yield rpc
    for caller in made:
        caller.close()
