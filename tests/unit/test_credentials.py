"""Where the endpoint and the credentials come from."""

import errno
import io
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opennebula_tenancy import SettingsError, connect
from opennebula_tenancy.credentials import Credentials, find_credentials


SECRET = "canary-0bde1c"


class Places:
    """A home, a system directory, and an environment."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.system = root / "system"
        (self.home / ".one").mkdir(parents=True)
        self.system.mkdir()
        self.environment = {"HOME": str(self.home)}

    def write(self, path: Path, text: str | bytes, mode: int = 0o600) -> Path:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return path

    def find(self, endpoint: str | None = None, auth: str | None = None) -> Credentials:
        return find_credentials(endpoint, auth, environment=self.environment, system_directory=self.system)

    def problems(self, endpoint: str | None = None, auth: str | None = None) -> tuple[str, ...]:
        with pytest.raises(SettingsError) as caught:
            self.find(endpoint, auth)
        assert SECRET not in str(caught.value)
        return caught.value.problems


@pytest.fixture(name="places")
def _places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def test_the_endpoint_is_looked_for_in_five_places_in_order(places: Places) -> None:
    auth = "a:b"
    assert places.find(None, auth).endpoint == "http://localhost:2633/RPC2"
    places.write(places.system / "one_endpoint", "https://system:1/RPC2\n")
    assert places.find(None, auth).endpoint == "https://system:1/RPC2"
    places.write(places.home / ".one" / "one_endpoint", "\n  https://home:2/RPC2  \nhttps://second.line/\n")
    assert places.find(None, auth).endpoint == "https://home:2/RPC2"
    places.environment["ONE_XMLRPC"] = "https://environment:3/RPC2"
    assert places.find(None, auth).endpoint == "https://environment:3/RPC2"
    assert places.find("https://argument:4/RPC2", auth).endpoint == "https://argument:4/RPC2"


def test_the_credentials_are_looked_for_in_four_places_in_order(places: Places, tmp_path: Path) -> None:
    places.write(places.system / "one_auth", "system:1\n")
    assert places.find().auth == "system:1"
    places.write(places.home / ".one" / "one_auth", "home:2")
    assert places.find().auth == "home:2"
    places.environment["ONE_AUTH"] = str(places.write(tmp_path / "elsewhere", "named:3\n"))
    assert places.find().auth == "named:3"
    assert places.find(auth="argument:4").auth == "argument:4"


def test_a_password_may_have_colons_and_blanks_in_it(places: Places) -> None:
    places.write(places.home / ".one" / "one_auth", "oneadmin:a:b c:d\n")
    assert places.find().auth == "oneadmin:a:b c:d"


def test_one_auth_is_the_path_of_a_file_and_not_the_credentials(places: Places) -> None:
    places.write(places.home / ".one" / "one_auth", "home:2")
    places.environment["ONE_AUTH"] = "/nowhere/one_auth"
    assert places.problems() == (
        (
            "auth: no credentials in /nowhere/one_auth (ONE_AUTH is the path of a file); "
            "name a file with user:password in ONE_AUTH, or give auth"
        ),
    )


def test_without_credentials_all_places_are_named(places: Places) -> None:
    assert places.problems() == (
        (
            f"auth: no credentials in {places.home}/.one/one_auth or {places.system}/one_auth; "
            "name a file with user:password in ONE_AUTH, or give auth"
        ),
    )


@pytest.mark.parametrize("text", ["", "  \n\n", "\n"])
def test_an_empty_file_holds_no_credentials(places: Places, text: str) -> None:
    places.write(places.home / ".one" / "one_auth", text)
    places.write(places.system / "one_auth", "system:1")
    assert places.find().auth == "system:1"


def test_a_directory_in_the_place_of_the_file_holds_no_credentials(places: Places) -> None:
    (places.home / ".one" / "one_auth").mkdir()
    assert len(places.problems()) == 1


@pytest.mark.parametrize("pair", [SECRET, f":{SECRET}", f"{SECRET}:", ":", ""])
def test_what_is_no_pair_is_refused_and_not_repeated(places: Places, pair: str) -> None:
    assert places.problems(auth=pair) == ("auth: credentials are user:password or user:token",)


@pytest.fixture(name="forbid")
def _forbid(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Let nobody read a file, or look into a directory: tests may run as one who may do all."""

    def forbid(path: Path) -> None:
        def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
            def guard(name: Any, *args: Any, **kwargs: Any) -> Any:
                if isinstance(name, str | Path) and (path in Path(name).parents or (Path(name) == path.absolute())):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(name))
                return call(name, *args, **kwargs)

            return guard

        if path.is_dir():
            monkeypatch.setattr(os, "stat", guarded(os.stat))
        monkeypatch.setattr(io, "open", guarded(io.open))

    return forbid


def test_a_system_directory_that_one_may_not_look_into_is_as_none(
    places: Places, forbid: Callable[[Path], None]
) -> None:
    places.write(places.system / "one_endpoint", "https://system:1/RPC2")
    places.write(places.system / "one_auth", "system:1")
    forbid(places.system)
    (problem,) = places.problems()
    assert problem.startswith("auth: no credentials in ")
    places.write(places.home / ".one" / "one_auth", "home:2")
    assert (places.find().endpoint, places.find().auth) == ("http://localhost:2633/RPC2", "home:2")


@pytest.mark.parametrize("name", ["one_endpoint", "one_auth"])
def test_a_file_of_the_system_that_one_may_not_read_is_as_none(
    places: Places, forbid: Callable[[Path], None], name: str
) -> None:
    places.write(places.home / ".one" / "one_auth", "home:2")
    forbid(places.write(places.system / name, "system:1"))
    assert places.find().endpoint == "http://localhost:2633/RPC2"
    (places.home / ".one" / "one_auth").unlink()
    (problem,) = places.problems()
    assert problem.startswith("auth: no credentials in ")


def test_a_file_of_ones_own_that_cannot_be_read_is_named_among_all_problems(
    places: Places, forbid: Callable[[Path], None]
) -> None:
    endpoint = places.write(places.home / ".one" / "one_endpoint", b"\xe4")
    auth = places.write(places.home / ".one" / "one_auth", "home:2")
    forbid(auth)
    assert places.problems() == (
        f"endpoint: {endpoint} is not UTF-8 text",
        f"auth: {auth}: Permission denied",
    )


def test_a_file_that_is_no_text_is_named_and_not_quoted(places: Places) -> None:
    path = places.write(places.home / ".one" / "one_auth", f"oneadmin:{SECRET}\xe4".encode("latin-1"))
    assert places.problems() == (f"auth: {path} is not UTF-8 text",)


@pytest.mark.parametrize(
    "endpoint",
    [
        "localhost:2633",
        "ftp://localhost/RPC2",
        "http://",
        "http:///RPC2",
        "http://[::1/RPC2",
        "http://localhost:port/RPC2",
        "http://localhost:99999/RPC2",
        "/RPC2",
        "nonsense",
    ],
)
def test_an_endpoint_that_is_no_url_is_refused(places: Places, endpoint: str) -> None:
    assert places.problems(endpoint, "a:b") == (f"endpoint: {endpoint!r} is no http or https URL",)


def test_credentials_in_the_url_are_refused_and_not_repeated(places: Places) -> None:
    (problem,) = places.problems(f"http://oneadmin:{SECRET}@localhost:2633/RPC2", "a:b")
    assert problem.startswith("endpoint: a URL with credentials")


def test_all_problems_come_at_once(places: Places) -> None:
    first, second = places.problems("nonsense")
    assert first.startswith("endpoint: ")
    assert second.startswith("auth: ")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_that_others_can_read_is_warned_of_without_its_content(
    places: Places, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    path = places.write(places.home / ".one" / "one_auth", f"oneadmin:{SECRET}", mode)
    assert places.find().auth == f"oneadmin:{SECRET}"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == f"{path} holds credentials and can be read by others: chmod 600 {path}"


def test_a_file_of_ones_own_is_not_warned_of(places: Places, caplog: pytest.LogCaptureFixture) -> None:
    places.write(places.home / ".one" / "one_auth", "a:b", 0o600)
    places.find("https://cloud/RPC2")
    assert not caplog.records


@pytest.mark.parametrize(
    ("endpoint", "warned"),
    [
        ("http://cloud:2633/RPC2", True),
        ("https://cloud/RPC2", False),
        ("http://localhost:2633/RPC2", False),
        ("http://127.0.0.1:2633/RPC2", False),
        ("http://[::1]:2633/RPC2", False),
    ],
)
def test_an_unencrypted_endpoint_on_the_network_is_warned_of(
    places: Places, caplog: pytest.LogCaptureFixture, endpoint: str, warned: bool
) -> None:
    places.find(endpoint, "a:b")
    assert bool(caplog.records) is warned
    assert all("is not encrypted" in record.getMessage() for record in caplog.records)


def test_no_secret_is_in_a_repr() -> None:
    found = find_credentials("https://cloud/RPC2", f"oneadmin:{SECRET}", environment={})
    assert repr(found) == "Credentials(endpoint='https://cloud/RPC2')"
    with connect("https://cloud/RPC2", f"oneadmin:{SECRET}") as cloud:
        assert repr(cloud) == "Cloud('https://cloud/RPC2')"
        assert SECRET not in repr(vars(cloud))
        assert SECRET not in repr(cloud.vdcs)


def test_connect_names_all_problems_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ONE_XMLRPC_TIMEOUT", "soon")
    with pytest.raises(SettingsError) as caught:
        connect("nonsense", SECRET, max_connections=0, verify=str(tmp_path / "ca.pem"))
    fields = [problem.partition(":")[0] for problem in caught.value.problems]
    assert fields == ["timeout", "max_connections", "verify", "endpoint", "auth"]
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_that_cannot_be_is_refused(timeout: float) -> None:
    with pytest.raises(SettingsError, match="timeout: "):
        connect("http://localhost/RPC2", "a:b", timeout=timeout)


def test_connect_reads_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "auth"
    path.write_text("oneadmin:opennebula", encoding="utf-8")
    path.chmod(0o600)
    monkeypatch.setenv("ONE_AUTH", str(path))
    monkeypatch.setenv("ONE_XMLRPC", "http://127.0.0.1:9/RPC2")
    monkeypatch.setenv("ONE_XMLRPC_TIMEOUT", "2.5")
    with connect() as cloud:
        assert cloud.endpoint == "http://127.0.0.1:9/RPC2"
