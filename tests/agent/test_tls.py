"""Whose certificates the agent trusts, of Waldur and of OpenNebula."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from agent.world import World
from onetenant_waldur import settings
from opennebula_tenancy import SettingsError


CERTIFICATE = Path(__file__).parents[1] / "transport" / "localhost.pem"
"""A self-signed certificate for localhost."""


@contextlib.contextmanager
def over_tls(address: str) -> Iterator[str]:
    """The same server at an address of its own that speaks TLS."""
    parts = urlsplit(address)
    assert parts.hostname is not None
    assert parts.port is not None
    behind = (parts.hostname, parts.port)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    sockets: list[socket.socket] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listener.accept()
                try:
                    front = context.wrap_socket(plain, server_side=True)
                except OSError:  # who does not trust the certificate hangs up
                    plain.close()
                    continue
                back = socket.create_connection(behind)
                sockets.extend((front, back))
                for pair in ((front, back), (back, front)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        try:
            yield address.replace(f"{parts.scheme}://{parts.netloc}", f"https://localhost:{listener.getsockname()[1]}")
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for one in sockets:
                one.close()


@pytest.fixture(name="document")
def _document(world: World) -> Iterator[dict[str, Any]]:
    """Settings of servers that are reached over TLS."""
    with over_tls(world.server.endpoint) as endpoint, over_tls(world.waldur.api_url) as api_url:
        document = world.document(
            backend_api_url=endpoint, offering_waldur_api_url=api_url, offering_ca_bundle=str(CERTIFICATE)
        )
        document["offerings"][0]["verify_ssl"] = True
        document["offerings"][0]["backend_settings"]["ca_bundle"] = str(CERTIFICATE)
        yield document


def test_an_order_is_carried_out_over_certificates_that_a_file_vouches_for(
    world: World, document: dict[str, Any]
) -> None:
    placed = world.order()
    assert world.cycle(document=document)
    assert world.waldur.order(placed.order).state == "done"


@pytest.mark.parametrize("side", ["waldur", "opennebula"])
def test_without_the_file_nothing_is_done(world: World, document: dict[str, Any], logged: Any, side: str) -> None:
    placed = world.order()
    offering = document["offerings"][0]
    del (offering if side == "waldur" else offering["backend_settings"])["ca_bundle"]
    assert not world.cycle(document=document)
    assert world.waldur.order(placed.order).state == "pending-provider"
    assert any("CERTIFICATE_VERIFY_FAILED" in str(event.get("reason")) for event in logged())


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_no_certificate_is_looked_at_where_that_is_said(world: World, document: dict[str, Any]) -> None:
    placed = world.order()
    for section in (document["offerings"][0], document["offerings"][0]["backend_settings"]):
        del section["ca_bundle"]
        section["verify_ssl"] = False
    assert world.cycle(document=document)
    assert world.waldur.order(placed.order).state == "done"


def test_a_file_that_is_none_and_one_that_says_nothing_are_problems(world: World, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing", encoding="utf-8")
    missing = tmp_path / "missing.pem"
    document = world.document(offering_ca_bundle=str(empty), backend_ca_bundle=str(missing))
    with pytest.raises(SettingsError) as caught:
        settings.parse(document)
    assert set(caught.value.problems) == {
        "offerings[0].ca_bundle: no certificates in PEM in this file",
        f"offerings[0].backend_settings.ca_bundle: No such file or directory: {missing}",
    }
    document = world.document(offering_ca_bundle=str(CERTIFICATE))
    with pytest.raises(SettingsError, match=r"offerings\[0\].ca_bundle: verify_ssl is false"):
        settings.parse(document)
