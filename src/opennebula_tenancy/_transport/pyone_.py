"""The one module that imports pyone: its XML-RPC proxy, with our connections under it and our decoding over it.

pyone's own transport opens a connection for each call, applies no timeout, and drops the last two of the five fields
of a failure. Its proxy is kept for what it is: the client whose requests OpenNebula is tested with.
"""

from __future__ import annotations

import threading
import xml.parsers.expat
import xmlrpc.client
from typing import TYPE_CHECKING, Any

import attrs
import pyone

from opennebula_tenancy.errors import ApiError, BadRequest, NotSent, OutcomeUnknown, ProtocolViolation, ServerUnready


if TYPE_CHECKING:
    from opennebula_tenancy._transport.http import HttpChannel


_UNREADY = (
    "no leader found",
    "election mode",
    "replicating log",
    "zone disabled",
    "zone is disabled",
)
"""What oned says before it executes anything (`RequestXRPC.cc`): safe to send again."""
_INTERNAL = 0x2000
"""The code that it says this with."""

_UNREADABLE = (
    xml.parsers.expat.ExpatError,
    xmlrpc.client.ResponseError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
)
"""What xmlrpc.client raises over an answer that is no XML, or XML of another kind."""


@attrs.define(slots=False)
class _Exchange(threading.local):
    """What the call under way on this thread adds to its request, and what came back."""

    fresh: bool = True
    call_id: str = ""
    method: str = ""
    sent_bytes: int = 0
    received_bytes: int = 0


class _Transport(xmlrpc.client.Transport):
    """An xmlrpc.client transport that posts through an `HttpChannel`."""

    def __init__(self, channel: HttpChannel) -> None:
        super().__init__()
        self._channel = channel
        self.exchange = _Exchange()

    def request(self, host: Any, handler: str, request_body: Any, verbose: bool = False) -> Any:
        """Post one request and parse its answer, as xmlrpc.client asks a transport to."""
        del host, handler, verbose  # the channel knows its endpoint
        exchange = self.exchange
        exchange.sent_bytes = len(request_body)
        exchange.received_bytes = 0
        answer = self._channel.post(
            exchange.method,
            request_body,
            {"Content-Type": "text/xml", "Accept-Encoding": "identity", "User-Agent": "opennebula-tenancy"},
            fresh=exchange.fresh,
            call_id=exchange.call_id,
        )
        exchange.received_bytes = len(answer)
        parser, unmarshaller = self.getparser()
        # Else expat hands over a pool, which is one long text, in a piece for each entity in it.
        parser._parser.buffer_text = True  # type: ignore[attr-defined] # noqa: SLF001
        try:
            parser.feed(answer)
            parser.close()
            return unmarshaller.close()
        except _UNREADABLE as error:
            raise OutcomeUnknown(
                exchange.method, f"the answer is not XML-RPC: {error}", call_id=exchange.call_id
            ) from error

    def close(self) -> None:
        """Close what the channel keeps."""
        self._channel.close()


@attrs.frozen
class Answer:
    """What one call brought.

    Attributes:
        value: The value of a success.
        sent_bytes: Size of the request's body.
        received_bytes: Size of the answer's body.
    """

    value: Any
    sent_bytes: int
    received_bytes: int


class PyoneTransport:
    """Calls of one session against one endpoint. Thread safe.

    Args:
        endpoint: OpenNebula's XML-RPC URL.
        session: `user:password` or `user:token`.
        channel: The connections to that endpoint.
    """

    def __init__(self, endpoint: str, session: str, channel: HttpChannel) -> None:
        self._session = session
        self._transport = _Transport(channel)
        # By name: without it ONEAPI_PROTOCOL=grpc in the environment would switch pyone to gRPC.
        self._server = pyone.OneServer(endpoint, session=session, protocol="xmlrpc")
        # ServerProxy has no other seam: pyone's constructor refuses transport=.
        self._server._ServerProxy__transport = self._transport  # noqa: SLF001

    def call(self, method: str, params: tuple[Any, ...], *, fresh: bool, call_id: str) -> Answer:
        """Send one call and decode its reply.

        Args:
            method: The method, with its `one.` prefix.
            params: Its parameters, without the session: integers, booleans, strings, or lists of integers.
            fresh: Use a connection of its own.
            call_id: The identifier of the call.

        Returns:
            The reply's value and the sizes of the exchange.

        Raises:
            ApiError: OpenNebula refused; the subclass says why.
            TransportError: There is no answer that can be trusted.
            ProtocolViolation: The answer is whole, and not OpenNebula's.
        """
        exchange = self._transport.exchange
        exchange.fresh, exchange.call_id, exchange.method, exchange.sent_bytes = fresh, call_id, method, 0
        # Not pyone's _do_request: it turns a fault into text. Not its attribute access: it drops fields of a failure.
        send = xmlrpc.client.ServerProxy._ServerProxy__request  # type: ignore[attr-defined] # noqa: SLF001
        try:
            reply = send(self._server, method, (self._session, *params))
        except xmlrpc.client.Fault as fault:
            raise BadRequest(method, fault.faultCode, fault.faultString, call_id=call_id) from None
        except (TypeError, OverflowError, UnicodeError) as error:
            if exchange.sent_bytes:
                raise  # not the arguments' fault: they were rendered
            reason = f"the arguments do not fit XML-RPC: {error}"
            raise NotSent(method, reason, call_id=call_id, lasting=True) from error
        value = _value(method, reply, call_id)
        return Answer(value, exchange.sent_bytes, exchange.received_bytes)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._transport.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _value(method: str, reply: Any, call_id: str) -> Any:
    """The value of a success; a failure, with all its five fields, as an error."""
    match reply:
        case [True, value, *_]:
            return value
        case [False, str(message), int(code), *rest]:
            if code == _INTERNAL and any(sign in message for sign in _UNREADY):
                raise ServerUnready(method, message, call_id=call_id)
            object_id, index = (_named(rest, field) for field in range(2))
            raise ApiError.of(method, code, message, object_id=object_id, replication_index=index, call_id=call_id)
    raise ProtocolViolation(f"{method}: the reply is {type(reply).__name__} of an unknown form [call {call_id}]")


def _named(fields: list[Any], number: int) -> int | None:
    """What one of the last fields of a failure names: -1 is nothing."""
    value = fields[number] if number < len(fields) else None
    return value if isinstance(value, int) and value >= 0 else None
