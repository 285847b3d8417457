"""The marketplace on a socket, and the faults that befall its replies."""

import copy
import datetime as dt
import email.utils
import io
import json
import os
import re
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, TypeVar

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from onetenant_waldur.marketplace import lifecycle, paging, records
from onetenant_waldur.marketplace.app import create_app
from onetenant_waldur.marketplace.catalogue import Catalogue, fill
from onetenant_waldur.marketplace.consumer import Consumer
from onetenant_waldur.marketplace.records import Component, Offering, Order, Plan, Project, Resource, Role
from onetenant_waldur.marketplace.state import Behaviour, State, utc_now
from opennebula_tenancy.emulator.faults import APPLIED, Fault, FaultKind, FaultPlan
from opennebula_tenancy.emulator.serving import Stoppable


R = TypeVar("R", Order, Resource)

UUID = re.compile(r"\b[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\b")
GATEWAY_PAGE = "<html><body><h1>No answer from the server behind this one</h1></body></html>"
_TOO_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class _Server(Stoppable, ThreadedWSGIServer):
    """A threaded server that knows its marketplace."""

    marketplace: "Marketplace"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell of everything but a client that went away in the middle: some tests do just that."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(WSGIRequestHandler):
    """One connection, which carries one request."""

    server: _Server

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Keep quiet: tests read `Marketplace.faults.calls`."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The time there, for the header `Date`."""
        time = (
            self.server.marketplace.state.clock() if timestamp is None else dt.datetime.fromtimestamp(timestamp, dt.UTC)
        )
        return email.utils.format_datetime(time.astimezone(dt.UTC), usegmt=True)

    def run_wsgi(self) -> None:
        """Answer, unless a fault has been armed for this call."""
        fault = self.server.marketplace.take_fault(
            f"{self.command} {UUID.sub('{uuid}', self.path.partition('?')[0])}",
            self.headers.get("Authorization", "").rpartition(" ")[2],
        )
        if fault is None:
            super().run_wsgi()
        elif fault.kind is FaultKind.DROP:
            self._reset()
        elif fault.kind in APPLIED:
            self._after_applied(fault)
        else:
            self._instead(fault)

    def _reply(self) -> bytes:
        """The whole reply of the application, kept from the socket."""
        wire, reply = self.wfile, io.BytesIO()
        self.wfile = reply
        try:
            super().run_wsgi()
        finally:
            self.wfile = wire
        return reply.getvalue()

    def _after_applied(self, fault: Fault) -> None:
        reply = self._reply()
        match fault.kind:
            case FaultKind.DELAY:
                self.server.marketplace.stopping.wait(fault.delay_s)
                self.wfile.write(reply)
            case FaultKind.TRUNCATE:
                body = reply.index(b"\r\n\r\n") + 4
                self.wfile.write(reply[: (body + len(reply)) // 2 if body < len(reply) else body // 2])
            case FaultKind.BAD_GATEWAY_APPLIED:
                self._answer(HTTPStatus.BAD_GATEWAY, GATEWAY_PAGE, "text/html")

    def _instead(self, fault: Fault) -> None:
        # What is left unread when a connection is closed takes the answer with it.
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        match fault.kind:
            case FaultKind.BAD_GATEWAY:
                self._answer(HTTPStatus.BAD_GATEWAY, GATEWAY_PAGE, "text/html")
            case FaultKind.ELECTION:
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, GATEWAY_PAGE, "text/html")
            case _:
                status = fault.code if fault.code in set(HTTPStatus) else HTTPStatus.INTERNAL_SERVER_ERROR
                self._answer(status, json.dumps({"detail": fault.message}), "application/json")

    def _answer(self, status: int, body: str, content_type: str) -> None:
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        retry_after = self.server.marketplace.state.behaviour.retry_after
        if retry_after is not None and status in _TOO_BUSY:
            self.send_header("Retry-After", retry_after)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def _reset(self) -> None:
        """Close the connection so that the client sees a reset: no lingering, and at once."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())


class Marketplace:
    """A Waldur Mastermind in this process, as far as site agents and their consumers call it.

    It listens on loopback from `start` to `stop`, or as a context manager, and begins with what `catalogue` puts into
    it. Its memory is `state`, and goes with it.

    Attributes:
        state: All records. Hold `state.lock` to change more than one thing.
        faults: Faults in store, and the calls seen. A call is named by its method and its path with `{uuid}` in place
            of each UUID: `POST /api/marketplace-orders/{uuid}/approve_by_provider/`. A refusal's code is an HTTP
            status; one that is none is answered with 500.
        before_call: Called with the name of each counted call before anything else happens to it, in the server's
            thread: the place to change something between two calls of an agent.
        stopping: Set when the server is on its way out, so that nobody waits on its behalf.
        tokens: Token by role: staff, provider, manager, consumer, stranger. An agent has the provider's.
        provider: The organisation that sells.
        vdc: The offering "OpenNebula VDC".
        vm: The offering "OpenNebula VM".
        project: The consumer's project.
    """

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        clock: Callable[[], dt.datetime] = utc_now,
        count_only: Iterable[str] = (),
    ) -> None:
        """Prepare a marketplace.

        Args:
            behaviour: Differences between servers of different age.
            clock: What time it is there.
            count_only: Roles whose calls are counted and faulted. All of them when empty.
        """
        self.faults = FaultPlan()
        self.before_call: Callable[[str], None] | None = None
        self.stopping = threading.Event()
        state = State(behaviour or Behaviour(), clock)
        self._remember(state, fill(state))
        self._counted: frozenset[str] = frozenset()
        self.count_only(*count_only)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def _remember(self, state: State, catalogue: Catalogue) -> None:
        self.state = state
        self._catalogue = catalogue
        self.provider, self.project = catalogue.provider, catalogue.project
        self.vdc, self.vm = catalogue.vdc, catalogue.vm
        self._people = catalogue.people
        self.tokens = {name: user.token for name, user in self._people.items()}

    def copy(self) -> "Marketplace":
        """A marketplace that does not listen, with a memory of its own that is what this one's is now."""
        twin = Marketplace()
        with self.state.lock:
            lock = {id(self.state.lock): threading.RLock()}
            twin._remember(*copy.deepcopy((self.state, self._catalogue), lock))
        twin._counted = self._counted
        return twin

    def start(self) -> Self:
        """Begin to listen on a free port."""
        self.stopping.clear()
        server = _Server("127.0.0.1", 0, create_app(self.state), _Handler)
        server.marketplace, server.stopping = self, self.stopping
        self._server = server
        self._thread = threading.Thread(target=server.serve, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening, and let go of delayed replies."""
        self.stopping.set()
        if self._server is not None and self._thread is not None:
            self._server.stop()
            self._thread.join()
            self._server.server_close()
            self._server = self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def api_url(self) -> str:
        """Root of the API, as an agent is configured with it."""
        if self._server is None:
            raise RuntimeError("the marketplace is not listening; call start() first")
        return f"http://127.0.0.1:{self._server.port}/api/"

    def count_only(self, *roles: str) -> None:
        """Count and fault calls of these roles alone, so that a consumer disturbs no call index. None means all."""
        self._counted = frozenset(self.tokens[role] for role in roles)

    def take_fault(self, method: str, token: str) -> Fault | None:
        """Count a call, and say what is to happen to it.

        Args:
            method: Name of the call.
            token: Whose call it is.
        """
        if self._counted and token not in self._counted:
            return None
        if self.before_call is not None:
            self.before_call(method)
        return self.faults.take(method)

    def consumer(self, role: str = "consumer", project: Project | None = None) -> Consumer:
        """The consumer's side of the API, as somebody."""
        return Consumer(self.api_url, self.tokens[role], project or self.project)

    def add_offering(
        self,
        name: str,
        components: Iterable[Component],
        plans: Iterable[Plan] = (),
        *,
        plugin_options: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        kind: str = records.SITE_AGENT,
    ) -> Offering:
        """One more offering of the provider.

        Args:
            name: Name of the offering.
            components: What it sells.
            plans: What it can be bought by. One named Default when empty.
            plugin_options: Settings for the agent.
            options: The order form.
            kind: Type of the offering.
        """
        with self.state.lock:
            return self.state.add_offering(
                name, self.provider, components, plans, plugin_options=plugin_options, options=options, kind=kind
            )

    def add_project(self, name: str) -> Project:
        """One more project of the consumer."""
        with self.state.lock:
            project = self.state.add_project(name, self.project.customer)
            self.state.grant(self._people["consumer"], Role.PROJECT_ADMIN, project)
            return project

    def remove_component(self, offering: Offering, kind: str) -> None:
        """Take a component from an offering, as an operator may at any time."""
        with self.state.lock:
            offering.components = [component for component in offering.components if component.type != kind]

    def cancel_order(self, uuid: str) -> None:
        """Cancel an order that is not over, as staff may."""
        with self.state.lock:
            lifecycle.cancel(self.state, self.order(uuid))

    def order(self, uuid: str) -> Order:
        """The live record of an order.

        Raises:
            LookupError: If there is none.
        """
        return _by_uuid(self.state.orders, uuid)

    def resource(self, uuid: str) -> Resource:
        """The live record of a resource.

        Raises:
            LookupError: If there is none.
        """
        return _by_uuid(self.state.resources, uuid)


def _by_uuid(known: Iterable[R], uuid: str) -> R:
    wanted = paging.hex_uuid(uuid)
    for record in known:
        if record.uuid == wanted:
            return record
    raise LookupError(f"there is nothing with the UUID {uuid}")
