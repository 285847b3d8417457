"""Every command, in every format, on an embedded server: what it prints, and what it makes true."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from click.testing import Result

import opennebula_tenancy as ont
from opennebula_tenancy.cli.program import program
from opennebula_tenancy.emulator import Emulator
from tenants.raw import Raw


Run = Callable[..., Result]
ACME = ("--name", "acme", "--key", "k-acme", "--cluster", 0)


def data(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(name="acme")
def _acme(run: Run) -> dict[str, Any]:
    """A tenant that the program made, as it said."""
    limits = ("--cpu", "4", "--memory", "8g", "--storage", "0.5t", "--external-network", "0", "--admin")
    made: dict[str, Any] = data(run("create", *ACME, *limits, "-o", "json"))
    return made


@pytest.fixture(name="cloud")
def _cloud(server: Emulator) -> ont.Cloud:
    return ont.connect(server.endpoint, server.auth)


COMMANDS: dict[str, tuple[object, ...]] = {
    "list": ("list",),
    "show": ("show", "acme"),
    "plan": ("plan", *ACME, "--vms", "3"),
    "create --dry-run": ("create", *ACME, "--vms", "3", "--dry-run"),
    "create": ("create", *ACME, "--vms", "3"),
    "quota": ("quota", "acme"),
    "quota, set": ("quota", "acme", "--vms", "3"),
    "usage": ("usage",),
    "usage of one": ("usage", "acme"),
    "reset-password": ("reset-password", "acme"),
    "delete": ("delete", "acme", "--yes"),
    "doctor": ("doctor",),
}


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("form", ["table", "json", "yaml", "csv"])
def test_every_command_answers_in_every_format(run: Run, command: tuple[object, ...], form: str) -> None:
    result = run(*command, "--output", form)
    assert result.exit_code == 0, result.output
    assert all(line.startswith("onetenant: ") for line in result.stderr.splitlines())
    if form == "csv":
        rows = list(csv.reader(io.StringIO(result.stdout)))
        assert len(rows) > 1
        assert {len(row) for row in rows} == {len(rows[0])}
    elif form == "table":
        lines = result.stdout.splitlines()
        assert len(lines) > 2
        assert set(lines[1]) == {"-", " "}
    else:
        assert json.loads(result.stdout) if form == "json" else yaml.safe_load(result.stdout)


def test_every_command_is_among_those_tried() -> None:
    assert set(program.commands) == {str(command[0]) for command in COMMANDS.values()}


def test_the_options_of_the_program_stand_before_a_command_or_after_it(run: Run) -> None:
    assert run("-o", "csv", "--no-header", "list").stdout == run("list", "-o", "csv", "--no-header").stdout == ""
    assert run("-o", "json", "list", "-o", "csv").stdout == "id,vdc_id,name,key\n"


def test_formats_say_the_same(run: Run, acme: dict[str, Any]) -> None:
    shown = data(run("-o", "json", "show", "acme"))
    assert yaml.safe_load(run("-o", "yaml", "show", "acme").stdout) == shown
    fields = dict(csv.reader(io.StringIO(run("--no-header", "-o", "csv", "show", "acme").stdout)))
    assert fields["id"] == str(acme["id"])
    assert fields["limits.memory_mb"] == "8192"
    table = dict(line.split() for line in run("--no-header", "show", "acme").stdout.splitlines())
    assert table == {name: value or "-" for name, value in fields.items()}


def test_create_makes_what_it_says_and_says_what_it_made(cloud: ont.Cloud, acme: dict[str, Any]) -> None:
    vdc = cloud.vdcs.get(acme["id"])
    login = acme.pop("admin")
    assert acme == {"id": vdc.id, "vdc_id": vdc.vdc_id, "name": "acme", "key": "k-acme"}
    assert vdc.admin is not None
    assert login["username"] == vdc.admin.name == "acme_admin"
    assert vdc.admin.takes(login["password"])
    held = vdc.quota()
    assert (held.cpu, held.memory_mb, held.storage_mb, held.vms) == (4, 8192, 524288, ont.Limit.DEFAULT)


def test_create_shows_the_plan_and_the_key_before_it_begins(run: Run) -> None:
    said = run("create", "--name", "new", "--cluster", 0).stderr.splitlines()
    assert said[0] == "onetenant: new: 9 changes"
    assert "onetenant:   create VDC new" in said
    key = said[-2].partition("the key is ")[2].partition(";")[0]
    assert said[-2].endswith(f"to repeat this run, add --key {key}")
    assert data(run("-o", "json", "show", "new"))["key"] == key
    again = run("create", "--name", "new", "--cluster", 0, "--key", key)
    assert again.exit_code == 0
    assert "onetenant: new: nothing to do" in again.stderr


def test_plan_and_dry_run_send_nothing_that_changes_anything(server: Emulator, run: Run) -> None:
    server.faults.arm()
    plan = data(run("plan", *ACME, "--cpu", "1.5", "-o", "json"))
    assert plan == data(run("create", *ACME, "--cpu", "1.5", "--dry-run", "-o", "json"))
    assert {"action": "set", "subject": "limit VM/CPU", "before": "default", "after": "1.5"} in plan["changes"]
    assert plan["key"] == "k-acme"
    assert server.calls
    assert all(call.endswith("info") for call in server.calls)


def test_notes_of_a_plan_are_in_the_data_and_on_stderr(run: Run) -> None:
    result = run("plan", "--name", "wide", "--storage", "1g", "-o", "json")
    (note,) = data(result)["notes"]
    assert f"onetenant: note: {note}" in result.stderr.splitlines()


def test_all_that_a_tenant_is_asked_for_with_gets_there(run: Run, cloud: ont.Cloud) -> None:
    options = (
        "--cluster 0 --cluster 100 --external-network 0 --storage-scope both --storage-datastore 1 --cpu 1.5 "
        "--memory 1g --storage 2g --floating-ips 0 --vms 1 --running-cpu 1 --running-memory 512m "
        "--running-vms unlimited --images 5"
    )
    assert run("create", "--name", "full", "--key", "k", *options.split()).exit_code == 0
    spec = ont.VdcSpec(
        name="full",
        key="k",
        clusters=(0, 100),
        external_networks=(0,),
        storage_scope=ont.StorageScope.BOTH,
        storage_datastores=(1,),
        quota=ont.Quota(
            cpu="1.5",
            memory_mb=1024,
            storage_mb=2048,
            floating_ips=0,
            vms=1,
            running_cpu=1,
            running_memory_mb=512,
            running_vms=ont.Limit.UNLIMITED,
            images=5,
        ),
    )
    assert not cloud.vdcs.plan(spec)


def test_quota_sets_what_is_named_and_keeps_the_others(run: Run, cloud: ont.Cloud, acme: dict[str, Any]) -> None:
    said = data(run("quota", "acme", "--cpu", "0", "--floating-ips", "unlimited", "--memory", "default", "-o", "json"))
    assert (said["limits"]["cpu"], said["limits"]["floating_ips"], said["limits"]["memory_mb"]) == (
        0,
        "unlimited",
        "default",
    )
    held = cloud.vdcs.get(acme["id"]).quota()
    assert (held.cpu, held.memory_mb, held.storage_mb) == (0, ont.Limit.DEFAULT, 524288)
    assert data(run("quota", acme["id"], "-o", "json")) == said


def test_usage_is_what_opennebula_counts(run: Run, server: Emulator, admin: Raw, acme: dict[str, Any]) -> None:
    admin("one.user.allocate", "member", "m", "core", [acme["id"]])
    member = Raw(server.endpoint, "member:m")
    member("one.vm.allocate", 'NAME="web" CPU="0.5" VCPU="1" MEMORY="256"', False)
    (row,) = data(run("usage", "-o", "json"))
    assert row == data(run("usage", "acme", "-o", "json"))
    assert (row["id"], row["name"]) == (acme["id"], "acme")
    assert (row["usage"]["cpu"], row["usage"]["memory_mb"], row["usage"]["vms"]) == (0.5, 256, 1)
    assert row["usage"]["images"] == 0
    assert data(run("show", "acme", "-o", "json"))["usage"] == row["usage"]


def test_delete_asks_and_removes_nothing_without_a_yes(run: Run, cloud: ont.Cloud, acme: dict[str, Any]) -> None:
    for typed in ("n\n", "", "\n"):
        refused = run("delete", "acme", typed=typed)
        assert refused.exit_code == 1
        assert f"Remove the tenant acme (group {acme['id']}, VDC {acme['vdc_id']})" in refused.stderr
        assert refused.stdout == ""
    assert cloud.vdcs.find("acme") is not None
    assert run("delete", "acme", typed="y\n").exit_code == 0
    assert cloud.vdcs.find("acme") is None


def test_delete_says_what_was_removed(run: Run, acme: dict[str, Any]) -> None:
    removed = data(run("delete", acme["id"], "--yes", "-o", "json"))
    assert [row["subject"] for row in removed] == ["user 3", f"group {acme['id']}", f"VDC {acme['vdc_id']}"]


def test_delete_by_key_takes_what_is_there_and_may_be_repeated(run: Run, acme: dict[str, Any]) -> None:
    assert len(data(run("delete", "--key", acme["key"], "--yes", "-o", "json"))) == 3
    again = run("delete", "--key", acme["key"], "--yes", "-o", "json")
    assert data(again) == []
    assert "nothing of it was there any more" in again.stderr


def test_a_number_is_an_id_and_anything_else_a_name(run: Run, acme: dict[str, Any]) -> None:
    assert data(run("show", acme["id"], "-o", "json")) == data(run("show", "acme", "-o", "json"))
    other = data(run("create", "--name", acme["id"], "--cluster", 0, "-o", "json"))
    assert data(run("show", acme["id"], "-o", "json"))["name"] == "acme"
    assert data(run("show", other["id"], "-o", "json"))["name"] == str(acme["id"])


def test_credentials_come_from_the_file_that_is_named(run: Run, environment: dict[str, str]) -> None:
    named = run("--auth-file", environment["ONE_AUTH"], "list", env={"ONE_AUTH": "/nowhere"})
    assert named.exit_code == 0, named.output


def test_each_warning_is_given_once_on_stderr(run: Run, environment: dict[str, str], tmp_path: Any) -> None:
    (tmp_path / "auth").chmod(0o644)
    auth = environment["ONE_AUTH"]
    warning = f"onetenant: warning: {auth} holds credentials and can be read by others: chmod 600 {auth}"
    assert run("list").stderr.splitlines() == [warning]


def test_verbose_logs_every_call_and_no_other_run_does(run: Run) -> None:
    assert "debug: one.grouppool.info" in run("-v", "list").stderr
    assert "debug: one.grouppool.info" in run("list", "-v").stderr
    assert run("list").stderr == ""
