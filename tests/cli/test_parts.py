"""What a tenant has besides its limits, at the terminal: its administrator account, its network, its machines."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

import opennebula_tenancy as ont
from opennebula_tenancy.emulator import Emulator
from tenants.accounts import is_refused
from tenants.networks import connect, tenant
from tenants.raw import Raw


Run = Callable[..., Result]
ACME = ("--name", "acme", "--key", "key-of-acme", "--cluster", 0)


def data(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def auth(login: dict[str, str]) -> str:
    return f"{login['username']}:{login['password']}"


class TestAdministrator:
    def test_is_planned_and_made_and_logs_in_with_what_is_shown_once(self, server: Emulator, run: Run) -> None:
        assert {"action": "create", "subject": "user acme_admin", "before": "", "after": ""} in data(
            run("plan", *ACME, "--admin", "-o", "json")
        )["changes"]
        login = data(run("create", *ACME, "--admin", "-o", "json"))["admin"]
        assert Raw(server.endpoint, auth(login)).xml("one.user.info", -1).findtext("NAME") == "acme_admin"
        assert data(run("show", "acme", "-o", "json"))["admin"] == {"id": 3, "name": "acme_admin"}
        assert "admin" not in data(run("create", *ACME, "--admin", "-o", "json"))

    def test_stays_unless_it_is_said_that_there_is_to_be_none(self, server: Emulator, run: Run) -> None:
        login = data(run("create", *ACME, "--admin", "-o", "json"))["admin"]
        assert "nothing to do" in run("create", *ACME).stderr
        assert Raw(server.endpoint, auth(login))("one.user.info", -1)
        run("create", *ACME, "--no-admin")
        assert is_refused(server.endpoint, auth(login))
        assert data(run("show", "acme", "-o", "json"))["admin"] is None

    def test_gets_a_new_password_and_the_old_one_is_refused(self, server: Emulator, run: Run) -> None:
        old = data(run("create", *ACME, "--admin", "-o", "json"))["admin"]
        result = run("-v", "reset-password", "acme", "-o", "json")
        new = data(result)
        assert (new["name"], new["username"]) == ("acme", "acme_admin")
        assert new["password"] not in result.stderr
        assert "one.user.chauth" in result.stderr
        assert Raw(server.endpoint, auth(new))("one.user.info", -1)
        assert is_refused(server.endpoint, auth(old))

    def test_that_is_not_there_gets_no_password(self, server: Emulator, run: Run) -> None:
        run("create", *ACME)
        server.faults.arm()
        result = run("reset-password", "acme")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.endswith(
            "the tenant acme has no administrator account; onetenant create --key key-of-acme --admin makes one\n"
        )
        assert all(call.endswith("info") for call in server.calls)

    def test_whose_name_is_taken_is_a_conflict(self, admin: Raw, run: Run) -> None:
        admin("one.user.allocate", "acme_admin", "secret", "core", [])
        result = run("create", *ACME, "--admin")
        assert result.exit_code == 6
        assert "the name acme_admin is taken by user" in result.stderr


class TestNetwork:
    @pytest.fixture(name="vdc")
    def _vdc(self, server: Emulator) -> ont.Vdc:
        cloud = connect(server)
        return cloud.vdcs.ensure(tenant())

    def test_is_shown_with_its_router(self, run: Run, vdc: ont.Vdc) -> None:
        shown = data(run("show", "acme", "-o", "json"))
        network, router = vdc.network, vdc.router
        assert network is not None
        assert router is not None
        assert shown["network"]["subnet"] == str(network.subnet)
        assert shown["network"]["gateway"] == shown["router"]["internal_address"]
        assert shown["router"]["external_addresses"] == ",".join(router.external_addresses)
        assert shown["router"]["machines"] == {str(vm): "ACTIVE/RUNNING" for vm in router.vm_ids}
        table = run("--no-header", "show", "acme").stdout
        assert f"network.subnet {network.subnet}" in " ".join(table.split())

    @pytest.mark.usefixtures("vdc")
    def test_is_not_lost_by_a_command_that_cannot_ask_for_one(self, server: Emulator, run: Run) -> None:
        server.faults.arm()
        result = run("create", *ACME, "--cpu", 8)
        assert result.exit_code == 2
        assert "this would delete router" in result.stderr
        assert result.stderr.endswith("to change limits, use onetenant quota\n")
        assert [call for call in server.calls if ".info" not in call] == []


class TestMachines:
    def test_go_with_their_tenant_when_that_is_said(self, server: Emulator, run: Run) -> None:
        login = data(run("create", *ACME, "--admin", "-o", "json"))["admin"]
        vm = Raw(server.endpoint, auth(login))("one.vm.allocate", 'NAME="web" CPU="1" MEMORY="128"', False)
        assert run("delete", "acme", "--yes").exit_code == 7
        assert "and all its VMs" in run("delete", "acme", "--terminate-vms", typed="n\n").stderr
        removed = data(run("delete", "acme", "--terminate-vms", "--yes", "-o", "json"))
        assert [step["subject"].partition(" ")[0] for step in removed[:2]] == ["user", "VM"]
        assert removed[1]["subject"] == f"VM {vm} (web)"
        assert "there is no tenant acme" in run("show", "acme").stderr
