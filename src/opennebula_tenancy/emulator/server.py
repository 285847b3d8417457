"""The server: HTTP on loopback as xmlrpc-c's Abyss speaks it, and the faults put in its way."""

import contextlib
import socket
import socketserver
import struct
import threading
import time
from types import TracebackType
from typing import Final, Self

from opennebula_tenancy.emulator.config import Config
from opennebula_tenancy.emulator.dispatch import Dispatcher
from opennebula_tenancy.emulator.errors import Code, ProtocolFault
from opennebula_tenancy.emulator.faults import Fault, FaultKind, FaultPlan
from opennebula_tenancy.emulator.nouns import new_cloud, populate
from opennebula_tenancy.emulator.serving import Stoppable
from opennebula_tenancy.emulator.state import Cloud
from opennebula_tenancy.emulator.wire import read_call, write_fault


MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""The longest request that oned takes (MESSAGE_SIZE)."""
MAX_HEAD_BYTES: Final = 64 * 1024

_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    411: "Length Required",
    500: "Internal Server Error",
}
_ELECTION = "Cannot process request, no leader found"


class _HttpError(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def _response(status: int, content_type: str, body: bytes, *, length: bool = True) -> bytes:
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-type: {content_type}\r\n"
    if length:
        head += f"Content-length: {len(body)}\r\n"
    date = time.strftime("%a, %d %b %Y %H:%M:%S UTC", time.gmtime())
    head += f"Connection: close\r\nDate: {date}\r\nServer: Xmlrpc-c_Abyss/1.33.14\r\n\r\n"
    return head.encode() + body


def _error(status: int, text: str) -> bytes:
    page = (
        f"<HTML><HEAD><TITLE>Error {status}</TITLE></HEAD>"
        f"<BODY><H1>Error {status}</H1><P>{text}</P><p><HR><b><i>"
        '<a href="http://xmlrpc-c.sourceforge.net">ABYSS Web Server for XML-RPC For C/C++</a></i></b> '
        "version 1.33.14<br></p></BODY></HTML>"
    )
    return _response(status, "text/html", page.encode(), length=False)


_BAD_GATEWAY = (
    b"HTTP/1.1 502 Bad Gateway\r\nServer: nginx\r\nContent-Type: text/html\r\nContent-Length: 56\r\n"
    b"Connection: close\r\n\r\n<html><head><title>502 Bad Gateway</title></head></html>"
)
"""What a proxy answers that got no reply from the server behind it."""


class _Connection(socketserver.StreamRequestHandler):
    """One connection: one request, one reply, closed."""

    server: "_Listener"
    disable_nagle_algorithm = True
    timeout = 30

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            try:
                body = self._request()
            except _HttpError as error:
                self._send(_error(error.status, error.text))
                return
            if body is not None:
                self._answer(body)

    def _request(self) -> bytes | None:
        """The body of the request, or None when the client went away before it was complete."""
        line = self.rfile.readline(MAX_HEAD_BYTES).decode("latin-1")
        if not line.strip():
            return None
        verb, _, rest = line.strip().partition(" ")
        path = rest.split(" ")[0]
        headers: dict[str, str] = {}
        while raw := self.rfile.readline(MAX_HEAD_BYTES).decode("latin-1").rstrip("\r\n"):
            name, _, value = raw.partition(":")
            headers[name.strip().lower()] = value.strip()
        if path != "/RPC2":
            raise _HttpError(
                404,
                "This XML-RPC For C/C++ Abyss XML-RPC server responds to only one URI path.  I don't know what URI "
                f"path that is, but it's not the one you requested: '{path}'.  (Typically, it's '/RPC2')",
            )
        if verb != "POST":
            raise _HttpError(405, "POST is the only HTTP method this server understands")
        length = _content_length(headers.get("content-length"))
        if headers.get("expect", "").lower() == "100-continue":
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self.rfile.read(length)
        return body if len(body) == length else None

    def _answer(self, body: bytes) -> None:
        try:
            name, values = read_call(body)
        except ProtocolFault as problem:
            self._send_xml(write_fault(problem))
            return
        fault = self.server.faults.take(name)
        if fault is None:
            self._send_xml(self.server.dispatcher.reply(name, values))
            return
        if fault.kind is FaultKind.REFUSE:
            self._send_xml(self.server.dispatcher.refuse(name, fault.code, fault.message))
        elif fault.kind is FaultKind.ELECTION:
            self._send_xml(self.server.dispatcher.refuse(name, Code.INTERNAL, _ELECTION))
        elif fault.kind is FaultKind.DROP:
            self._reset()
        elif fault.kind is FaultKind.BAD_GATEWAY:
            self._send(_BAD_GATEWAY)
        else:
            self._applied(fault, self.server.dispatcher.reply(name, values))

    def _applied(self, fault: Fault, reply: bytes) -> None:
        """What the client sees of a call that was applied."""
        if fault.kind is FaultKind.LOSE_REPLY:
            self._reset()
        elif fault.kind is FaultKind.TRUNCATE:
            whole = _response(200, "text/xml; charset=utf-8", reply)
            self._send(whole[: len(whole) - len(reply) // 2])
        elif fault.kind is FaultKind.BAD_GATEWAY_APPLIED:
            self._send(_BAD_GATEWAY)
        else:
            self.server.stopping.wait(fault.delay_s)
            self._send_xml(reply)

    def _send_xml(self, reply: bytes) -> None:
        self._send(_response(200, "text/xml; charset=utf-8", reply))

    def _send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def _reset(self) -> None:
        """Close the connection so that the client sees a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()


def _content_length(text: str | None) -> int:
    if text is None:
        raise _HttpError(411, "You must send a content-length HTTP header in an XML-RPC call.")
    try:
        length = int(text)
    except ValueError as error:
        crap = f"There's non-numeric crap in the value of your content-length HTTP header: '{text}'"
        raise _HttpError(400, crap) from error
    if length == 0:
        raise _HttpError(400, "According to your content-length HTTP header, your request is empty (zero length)")
    if not 0 < length <= MAX_BODY_BYTES:
        raise _HttpError(500, f"XML-RPC request too large ({length & 0xFFFFFFFF} bytes)")
    return length


class _Listener(socketserver.ThreadingMixIn, Stoppable):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], cloud: Cloud, faults: FaultPlan) -> None:
        super().__init__(address, _Connection)
        self.dispatcher = Dispatcher(cloud)
        self.faults = faults
        self.stopping = threading.Event()


class Emulator:
    """An OpenNebula in this process: a fresh cloud, served on loopback while the context is open.

    ```python
    with Emulator() as server:
        pyone.OneServer(server.endpoint, server.auth).system.version()
    ```

    Args:
        port: TCP port to listen on; 0 takes a free one.
        host: A loopback address.
        config: What oned.conf decides.
        populated: Whether to start with what `populate` adds.

    Attributes:
        auth: Credentials of the administrator, `name:password`.
        cloud: The state, for tests that must look behind the API. Hold `cloud.lock` while at it.
        faults: The faults in store, and the calls seen.
    """

    auth = "oneadmin:opennebula"

    def __init__(
        self, *, port: int = 0, host: str = "127.0.0.1", config: Config | None = None, populated: bool = False
    ) -> None:
        if host not in {"127.0.0.1", "localhost"} and not host.startswith("127."):
            raise ValueError(f"{host!r} is no loopback address: the emulated OpenNebula is for this machine only")
        self.cloud = new_cloud(config or Config())
        self.faults = FaultPlan()
        self._address = (host, port)
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None
        if populated:
            self.populate()

    def populate(self) -> None:
        """Add what a small cloud has: hosts, a second cluster with its datastores, and what to build VMs of."""
        with self.cloud.lock:
            populate(self.cloud)
            self.cloud.settle()

    def copy(self) -> "Emulator":
        """A server that is not running, with a state of its own that is this one's once all that waits is done.

        What takes many calls to prepare is prepared once so, for many tests.
        """
        twin = Emulator(host=self._address[0], config=self.cloud.config)
        with self.cloud.lock:
            twin.cloud = self.cloud.copy()
        return twin

    def settle(self) -> None:
        """Finish all asynchronous work at once, e.g. networks that become ready."""
        with self.cloud.lock:
            self.cloud.settle()

    @property
    def endpoint(self) -> str:
        """The URL of the API, `http://127.0.0.1:<port>/RPC2`, while the server runs."""
        if self._listener is None:
            raise RuntimeError("the server is not running")
        host, port = self._listener.server_address[:2]
        return f"http://{host!s}:{port}/RPC2"

    @property
    def calls(self) -> tuple[str, ...]:
        """The methods called since the faults were last armed."""
        return self.faults.calls

    def start(self) -> None:
        """Begin to serve."""
        self._listener = _Listener(self._address, self.cloud, self.faults)
        self._thread = threading.Thread(target=self._listener.serve, name="emulator", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving. The state stays, and `start` serves it again: a restart of the server."""
        if self._listener is not None and self._thread is not None:
            self._address = (self._address[0], int(self._listener.server_address[1]))
            self._listener.stop()
            self._thread.join()
            self._listener.server_close()
        self._listener = self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
