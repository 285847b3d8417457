"""Every exit code, and the sentence that goes with it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from opennebula_tenancy import errors
from opennebula_tenancy.cli.failures import MEANINGS, Failure
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from tenants.raw import Raw


Run = Callable[..., Result]
ACME = ("--name", "acme", "--key", "k-acme", "--cluster", "0")
REFUSE = FaultKind.REFUSE
PAGE = Path(__file__).parents[2] / "docs" / "onetenant.md"


@pytest.fixture(name="fails")
def _fails(run: Run) -> Callable[..., str]:
    """Runs the program, which fails with that code in one sentence on stderr and nothing on stdout."""

    def fails(code: int, *args: object, **more: object) -> str:
        result = run(*args, **more)
        assert result.exit_code == code, result.output
        assert result.stdout == ""
        sentence = result.stderr.splitlines()[-1]
        assert sentence.startswith("onetenant: ")
        return sentence

    return fails


@pytest.fixture(name="acme")
def _acme(run: Run) -> None:
    assert run("create", *ACME).exit_code == 0


def test_a_refusal_of_opennebula(server: Emulator, fails: Callable[..., str]) -> None:
    server.faults.arm(Fault(kind=REFUSE, method="one.vdc.allocate", message="No more"))
    said = fails(1, "create", *ACME)
    tried = f"onetenant: cannot make the tenant acme at {server.endpoint}: "
    assert said == f"{tried}one.vdc.allocate was refused (0x2000): [one.vdc.allocate] No more"


@pytest.mark.parametrize(
    ("args", "problems"),
    [
        (("--cpu", "0.001", "--vms", "1.5"), ("quota.cpu: OpenNebula cannot keep 0.001", "quota.vms: 1.5 is not")),
        (("--cluster", "7", "--external-network", "9"), ("there is no cluster 7", "there is no network 9")),
        (("--floating-ips", "1"), ("no external network is named",)),
        (("--name", "a b"), ("has ' '",)),
        (("--key", ""), ("the key ''",)),
    ],
)
def test_values_that_cannot_be_all_at_once(
    server: Emulator, fails: Callable[..., str], args: tuple[str, ...], problems: tuple[str, ...]
) -> None:
    server.faults.arm()
    said = fails(2, "create", *ACME, *args)
    assert all(problem in said for problem in problems)
    assert all(call.endswith("info") for call in server.calls)


def test_no_credentials(fails: Callable[..., str]) -> None:
    said = fails(2, "list", env={"ONE_AUTH": "/nowhere/auth"})
    assert "no credentials in /nowhere/auth" in said
    assert said.endswith("name another file with --auth-file or ONE_AUTH")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("quota", "acme", "--memory", "8k"), "'8k' is no limit"),
        (("delete",), "name the tenant, or give its --key"),
        (("delete", "acme", "--key", "k"), "name the tenant, or give its --key"),
        (("create",), "Missing option '--name'"),
        (("vm", "list"), "No such command 'vm'"),
        (("-o", "xml", "list"), "'xml' is not one of"),
        (("--timeout", "0", "list"), "0.0 is not in the range"),
        (("--auth-file", "/nowhere", "list"), "does not exist"),
        (("--no-verify", "--ca-bundle", __file__, "list"), "give one of them"),
    ],
)
def test_wrong_usage(run: Run, args: tuple[str, ...], said: str) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""


@pytest.mark.usefixtures("hasty")
def test_a_server_that_is_not_there(server: Emulator, fails: Callable[..., str], environment: dict[str, str]) -> None:
    endpoint = environment["ONE_XMLRPC"]
    server.stop()
    said = fails(3, "list")
    assert f"cannot list the tenants at {endpoint}: one.grouppool.info: no connection: Connection refused" in said
    assert "check the endpoint with onetenant doctor" in said


def test_credentials_that_are_not_known(fails: Callable[..., str], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("keeper:wrong-8123", encoding="utf-8")
    wrong.chmod(0o600)
    said = fails(4, "--auth-file", wrong, "list")
    assert "(0x0100)" in said
    assert "wrong-8123" not in said


def test_an_account_that_may_not(server: Emulator, fails: Callable[..., str]) -> None:
    server.faults.arm(Fault(kind=REFUSE, method="one.vdc.allocate", code=0x0200, message="Not authorized"))
    assert fails(4, "create", *ACME).endswith("use an account of the group oneadmin")


@pytest.mark.parametrize("command", ["show", "quota", "usage", "delete"])
@pytest.mark.parametrize("tenant", ["nobody", "4711"])
def test_a_tenant_that_is_not_there(fails: Callable[..., str], command: str, tenant: str) -> None:
    said = fails(5, command, tenant)
    assert tenant in said
    assert "onetenant list shows" in said


def test_a_name_that_is_taken(admin: Raw, fails: Callable[..., str]) -> None:
    admin("one.group.allocate", "acme")
    assert "the name acme is taken by group" in fails(6, "create", *ACME)


@pytest.mark.usefixtures("acme")
def test_a_name_that_another_tenant_has_and_the_key_to_change_that_one(fails: Callable[..., str]) -> None:
    assert fails(6, "create", "--name", "acme").endswith(
        "the tenant acme is there with the key k-acme: to change it, say --key"
    )


def test_a_group_that_is_no_tenant(fails: Callable[..., str]) -> None:
    assert "it is not a tenant" in fails(6, "delete", "1", "--yes")


@pytest.mark.usefixtures("acme")
def test_a_tenant_with_members(run: Run, admin: Raw, fails: Callable[..., str]) -> None:
    group = run("list", "-o", "csv", "--no-header").stdout.split(",")[0]
    admin("one.user.allocate", "member", "m", "core", [int(group)])
    assert "(member): remove these first; nothing was deleted" in fails(7, "delete", "acme", "--yes")
    assert run("show", "acme").exit_code == 0


def test_a_limit_that_would_be_exceeded(server: Emulator, fails: Callable[..., str]) -> None:
    text = "limit of 1 reached for VMS quota in VM"
    server.faults.arm(Fault(kind=REFUSE, method="one.vdc.allocate", code=0x0200, message=text))
    assert "raise the limit" in fails(8, "create", *ACME)


def test_a_removal_by_key_that_fails_says_the_key(server: Emulator, fails: Callable[..., str], acme: None) -> None:
    server.faults.arm(Fault(kind=REFUSE, method="one.vdc.delete", times=None))
    assert "cannot remove the tenant with the key k-acme at" in fails(1, "delete", "--key", "k-acme", "--yes")


def test_what_is_left_behind_is_named_with_the_way_on(
    server: Emulator, admin: Raw, run: Run, fails: Callable[..., str]
) -> None:
    server.faults.arm(
        Fault(kind=REFUSE, method="one.acl.addrule"), Fault(kind=REFUSE, method="one.vdc.delete", times=None)
    )
    said = fails(9, "create", *ACME)
    (vdc,) = [item.findtext("ID") for item in admin.xml("one.vdcpool.info") if item.findtext("NAME") == "acme"]
    assert f"left behind: VDC {vdc} (acme)" in said
    assert said.endswith("again with --key k-acme to finish it, or remove it with onetenant delete --key k-acme")
    server.faults.arm()
    assert run("delete", "--key", "k-acme", "--yes").exit_code == 0
    assert "acme" not in [item.findtext("NAME") for item in admin.xml("one.vdcpool.info")]


def test_nothing_is_said_to_be_done_that_is_not(server: Emulator, run: Run) -> None:
    server.faults.arm(Fault(kind=REFUSE, method="one.group.quota"))
    result = run("create", *ACME, "--cpu", "1")
    assert result.exit_code == 1
    assert "verified" not in result.output
    assert run("list", "-o", "json").stdout == "[]\n"


def _all(kind: type[errors.TenancyError]) -> set[type[errors.TenancyError]]:
    return {kind}.union(*(_all(other) for other in kind.__subclasses__()))


def test_every_error_of_the_library_has_an_exit_code_that_is_documented() -> None:
    codes = {
        kind: Failure.of(kind.__new__(kind, Exception(), [Exception()], ["x"]), "try").exit_code
        for kind in _all(errors.TenancyError)
    }
    assert set(codes.values()) == set(MEANINGS) - {0, 130}
    assert codes[errors.QuotaExceeded] == 8
    page = PAGE.read_text(encoding="utf-8")
    for code, meaning in MEANINGS.items():
        assert f"| {code} | {meaning} |" in page


def test_the_help_says_what_the_exit_codes_mean(run: Run) -> None:
    said = " ".join(run("--help").stdout.split())
    for code, meaning in MEANINGS.items():
        assert f"{code} {meaning}" in said
