"""`onetenant doctor`: what it finds, and what it calls a failure."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from tenants.raw import Raw


Run = Callable[..., Result]


def checks(result: Result) -> dict[str, tuple[str, str]]:
    return {row["check"]: (row["result"], row["detail"]) for row in json.loads(result.stdout)}


def failed(result: Result) -> list[str]:
    assert result.exit_code == 1
    return [name for name, (verdict, _) in checks(result).items() if verdict == "failed"]


def test_all_is_well_and_nothing_was_changed(server: Emulator, run: Run, environment: dict[str, str]) -> None:
    server.faults.arm()
    result = run("doctor", "-o", "json")
    assert result.exit_code == 0
    found = checks(result)
    assert {verdict for verdict, _ in found.values()} == {"ok"}
    assert found["endpoint"][1] == f"{server.endpoint} (ONE_XMLRPC)"
    assert found["credentials"][1] == f"those of keeper (ONE_AUTH {environment['ONE_AUTH']})"
    assert found["server"][1].startswith("OpenNebula 7.4.0")
    assert found["clusters"][1] == "0 (default), 100 (c100)"
    assert all(call.endswith(("info", "version")) for call in server.calls)


def test_every_check_is_one_line(run: Run) -> None:
    assert len(run("doctor", "--no-header").stdout.splitlines()) == len(checks(run("doctor", "-o", "json")))


def test_no_credentials(run: Run) -> None:
    assert failed(run("doctor", "-o", "json", env={"ONE_AUTH": "/nowhere"})) == ["credentials"]


def test_an_endpoint_that_is_none_and_no_credentials_either(run: Run) -> None:
    result = run("doctor", "-o", "json", "--endpoint", "ftp://x", env={"ONE_AUTH": "/nowhere"})
    assert failed(result) == ["endpoint", "credentials"]


def test_a_password_that_is_wrong(run: Run, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("keeper:wrong-8123", encoding="utf-8")
    wrong.chmod(0o600)
    result = run("doctor", "-o", "json", "--auth-file", wrong)
    assert failed(result) == ["login"]
    assert checks(result)["server"][0] == "ok"
    assert "wrong-8123" not in result.output


@pytest.mark.usefixtures("hasty")
def test_a_server_that_is_not_there(run: Run, server: Emulator) -> None:
    environment = {"ONE_XMLRPC": server.endpoint}
    server.stop()
    assert failed(run("doctor", "-o", "json", env=environment)) == ["server"]


def test_only_the_user_oneadmin_can_make_everything(run: Run, server: Emulator, tmp_path: Path) -> None:
    second = "keeper is in the group oneadmin: only the user oneadmin may make machines for tenants"
    assert checks(run("doctor", "-o", "json"))["account"] == ("ok", second)
    auth = tmp_path / "first"
    auth.write_text(server.auth, encoding="utf-8")
    auth.chmod(0o600)
    shown = checks(run("doctor", "-o", "json", "--auth-file", auth))["account"]
    assert shown == ("ok", "oneadmin may make tenants, and machines for them")


def test_an_account_that_is_no_administrator(run: Run, admin: Raw, tmp_path: Path) -> None:
    admin("one.user.allocate", "guest", "g-secret", "core", [1])
    auth = tmp_path / "guest"
    auth.write_text("guest:g-secret", encoding="utf-8")
    auth.chmod(0o600)
    result = run("doctor", "-o", "json", "--auth-file", auth)
    assert {"account", "rules"} <= set(failed(result))
    assert checks(result)["account"][1].startswith("guest is not in the group oneadmin")


@pytest.mark.parametrize(
    ("method", "check"),
    [
        ("one.acl.info", "rules"),
        ("one.vdcpool.info", "VDCs"),
        ("one.userpool.info", "users"),
        ("one.clusterpool.info", "clusters"),
        ("one.datastorepool.info", "datastores"),
    ],
)
def test_whatever_cannot_be_read_is_named(server: Emulator, run: Run, method: str, check: str) -> None:
    server.faults.arm(Fault(kind=FaultKind.REFUSE, method=method, code=0x0200, message="Not authorized"))
    result = run("doctor", "-o", "json")
    assert failed(result) == [check]
    assert "Not authorized" in checks(result)[check][1]


def test_a_cloud_that_has_no_datastore_for_images(server: Emulator, run: Run, admin: Raw) -> None:
    for store in admin.xml("one.datastorepool.info"):
        if store.findtext("TYPE") == "0":
            for image in store.iterfind("IMAGES/ID"):
                admin("one.image.delete", int(image.text or ""), True)
            server.settle()
            admin("one.datastore.delete", int(store.findtext("ID") or ""))
    assert failed(run("doctor", "-o", "json")) == ["datastores"]
