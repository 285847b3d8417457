"""Which addresses are one OpenNebula, however they are spelled."""

import pytest

from onetenant_waldur.endpoints import servers_of


FIRST = "http://127.0.0.1:2633/RPC2"


@pytest.mark.parametrize(
    "other",
    [
        "http://127.0.0.1:2633/",
        "http://127.0.0.1:2633/RPC2/",
        "https://127.0.0.1:2633/RPC2",
        "http://localhost:2633/RPC2",
        "http://LOCALHOST.:2633/RPC2",
        "http://127.0.0.2:2633/RPC2",
        "http://[::1]:2633/RPC2",
        "http://0.0.0.0:2633/RPC2",
    ],
)
def test_spellings_of_one_server_are_one(other: str) -> None:
    assert servers_of([FIRST, other]) == {FIRST: FIRST, other: FIRST}


@pytest.mark.parametrize(
    "other",
    [
        "http://127.0.0.1:2634/RPC2",
        "http://192.0.2.1:2633/RPC2",
        "http://127.0.0.1/RPC2",
        "http://127.0.0.1:2633/zone1/RPC2",
        f"http://{'x' * 70}.invalid:2633/RPC2",
    ],
)
def test_other_servers_are_others(other: str) -> None:
    assert servers_of([FIRST, other]) == {FIRST: FIRST, other: other}


def test_ports_that_are_not_written_count() -> None:
    plain, tls = "http://192.0.2.1/RPC2", "https://192.0.2.1/RPC2"
    assert servers_of([plain, tls, "http://192.0.2.1:80/", "https://192.0.2.1:443"]) == {
        plain: plain,
        tls: tls,
        "http://192.0.2.1:80/": plain,
        "https://192.0.2.1:443": tls,
    }


def test_no_name_is_looked_up_that_nothing_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*_args: object, **_options: object) -> None:
        raise AssertionError("a name was looked up")

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    addresses = ["http://one.example:2633/RPC2", "http://one.example:2633/", "http://two.example:2634/RPC2"]
    assert set(servers_of(addresses).values()) == {addresses[0], addresses[2]}
