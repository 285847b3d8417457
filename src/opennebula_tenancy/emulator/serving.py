"""Serving until told to stop, and stopping at once."""

import contextlib
import socket
import socketserver
import threading
from typing import Any


class Stoppable(socketserver.TCPServer):
    """A server that waits for connections alone: `serve_forever` wakes up again and again to see whether to go on.

    Attributes:
        stopping: Set when the server is on its way out, so that nobody waits on its behalf.
    """

    stopping: threading.Event

    def serve(self) -> None:
        """Serve until `stop` is called."""
        while not self.stopping.is_set():
            self.handle_request()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Take no request any more once the server is to stop."""
        del request, client_address
        return not self.stopping.is_set()

    def stop(self) -> None:
        """Make `serve` return. The socket stays open until `server_close`."""
        self.stopping.set()
        with contextlib.suppress(OSError), socket.create_connection(self.socket.getsockname(), timeout=1):
            pass  # a connection is what it waits for
