"""A server on loopback that does to each request what a test tells it to."""

import contextlib
import socket
import ssl
import struct
import threading
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from typing import Any, Self

import attrs


def http(body: bytes, *, status: str = "200 OK", keep: bool = False, length: int | None = None) -> bytes:
    """A whole HTTP answer."""
    connection = "keep-alive" if keep else "close"
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/xml\r\nConnection: {connection}\r\n"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def xml(value: Any) -> bytes:
    """The XML of a reply whose one parameter is this value."""
    return xmlrpc.client.dumps((value,), methodresponse=True, allow_none=True).encode()


def success(value: Any = "7.4.0", *, keep: bool = False) -> bytes:
    """A whole HTTP answer with the reply of a call that succeeded."""
    return http(xml([True, value, 0]), keep=keep)


@attrs.define
class Exchange:
    """One request, and the connection to answer it on.

    Attributes:
        method: The XML-RPC method called.
        params: Its parameters.
        number: Which request of the server this is, from 0.
    """

    method: str
    params: tuple[Any, ...]
    number: int
    _connection: socket.socket
    _stopping: threading.Event

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._connection.sendall(data)

    def drip(self, data: bytes, *, every_s: float) -> None:
        """Send bytes one by one until the client has enough of it."""
        for number in range(len(data)):
            self._connection.sendall(data[number : number + 1])
            if self._stopping.wait(every_s):
                return

    def reset(self) -> None:
        """Close the connection with a reset."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()

    def hang(self) -> None:
        """Say nothing until the test is over."""
        self._stopping.wait(30)

    def send_without_tls(self, data: bytes) -> None:
        """Send bytes that are no TLS record on a connection that speaks TLS."""
        socket.socket.sendall(self._connection, data)


Behaviour = Callable[[Exchange], None]


class WildServer:
    """Listens on a free port of 127.0.0.1 while the context is open.

    Args:
        behave: Answers a request; when it returns without having kept the connection, the connection is closed.
        keep_alive: Whether to wait for another request on the same connection.
        tls: What to speak TLS with.
        heads: Where to note the heads of all requests.

    Attributes:
        requests: The bodies of all requests, in order of arrival.
        accepted: How many connections there have been.
    """

    def __init__(
        self,
        behave: Behaviour,
        *,
        keep_alive: bool = False,
        tls: ssl.SSLContext | None = None,
        heads: list[bytes] | None = None,
    ) -> None:
        self._behave = behave
        self._keep_alive = keep_alive
        self._tls = tls
        self._heads = [] if heads is None else heads
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.requests: list[bytes] = []
        self.accepted = 0

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def endpoint(self) -> str:
        return f"{'https' if self._tls else 'http'}://localhost:{self.port}/RPC2"

    @property
    def methods(self) -> list[str]:
        """The methods called, in order of arrival."""
        return [str(xmlrpc.client.loads(body)[1]) for body in self.requests]

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with self._lock:
                    self.accepted += 1
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(10)
            with contextlib.suppress(OSError), contextlib.closing(self._secured(connection)) as secured:
                for body in self._requests(secured):
                    params, method = xmlrpc.client.loads(body)
                    with self._lock:
                        number = len(self.requests)
                        self.requests.append(body)
                    self._behave(Exchange(str(method), params, number, secured, self._stopping))
                    if not self._keep_alive:
                        break
        finally:
            connection.close()

    def _secured(self, connection: socket.socket) -> socket.socket:
        return self._tls.wrap_socket(connection, server_side=True) if self._tls else connection

    def _requests(self, connection: socket.socket) -> Iterator[bytes]:
        held = b""
        while True:
            while b"\r\n\r\n" not in held:
                held += (got := _receive(connection, self._stopping))
                if not got:
                    return
            head, _, held = held.partition(b"\r\n\r\n")
            self._heads.append(head)
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            while len(held) < length:
                held += (got := _receive(connection, self._stopping))
                if not got:
                    return
            yield held[:length]
            held = held[length:]


def _receive(connection: socket.socket, stopping: threading.Event) -> bytes:
    """The next bytes, or none when the peer is gone or the server stops."""
    connection.settimeout(0.05)
    try:
        while not stopping.is_set():
            with contextlib.suppress(TimeoutError):
                return connection.recv(65536)
    finally:
        connection.settimeout(10)
    return b""


@contextlib.contextmanager
def full_listener() -> Iterator[int]:
    """The port of a listener whose queue is full, so that no connection to it is ever made."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = int(listener.getsockname()[1])
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0.1)
            try:
                filler.connect(("127.0.0.1", port))
            except TimeoutError:
                break
        yield port
