"""`reset-password` of the agent, and where its settings say that passwords come from."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

import opennebula_tenancy as ont
from agent.accounts import SECRET, TENANT, document, is_held, login, root, secret_file, shown
from agent.world import LIMITS, World
from onetenant_waldur import settings
from onetenant_waldur.cli import main
from onetenant_waldur.marketplace import Placed
from opennebula_tenancy import CredentialSource
from opennebula_tenancy.emulator import Fault, FaultKind
from tenants.accounts import is_refused


NAME = f"{TENANT}_admin"
METADATA = "POST /api/marketplace-provider-resources/{uuid}/set_backend_metadata/"


@pytest.fixture(name="secret")
def _secret(tmp_path: Path) -> Path:
    return secret_file(tmp_path)


@pytest.fixture(name="config")
def _config(world: World, tmp_path: Path, secret: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(document(world, secret)), encoding="utf-8")
    return path


@pytest.fixture(name="placed")
def _placed(world: World, secret: Path) -> Placed:
    placed = world.order()
    assert world.cycle(document=document(world, secret))
    return placed


def reset(config: Path, *args: object) -> Result:
    return CliRunner().invoke(main, ["reset-password", "-c", str(config), *map(str, args)])


class TestReset:
    @pytest.mark.parametrize("named", ["uuid", "uuid with dashes", "name", "id"])
    def test_only_the_new_password_logs_in_and_waldur_shows_it(
        self, world: World, config: Path, placed: Placed, named: str
    ) -> None:
        old = shown(world, placed.resource)
        token = "token-of-before"
        login(world, placed.resource)("one.user.login", old.username, token, -1, -1)
        resource = world.waldur.resource(placed.resource)
        resource.backend_metadata["note"] = "of somebody else"
        names = {
            "uuid": placed.resource,
            "uuid with dashes": "-".join(
                placed.resource[i:j] for i, j in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
            ),
            "name": TENANT,
            "id": resource.backend_id,
        }
        result = reset(config, names[named])
        assert (result.exit_code, result.stdout) == (
            0,
            f"the password of {NAME} was reset, and Waldur shows the new one\n",
        )
        new = shown(world, placed.resource)
        login(world, placed.resource)
        assert new.password not in result.output
        assert resource.backend_metadata["note"] == "of somebody else"
        for past in (old.password, token):
            assert is_refused(world.server.endpoint, f"{NAME}:{past}")

    def test_the_new_one_is_the_same_after_a_restart(
        self, world: World, config: Path, placed: Placed, secret: Path
    ) -> None:
        assert reset(config, placed.resource).exit_code == 0
        new = shown(world, placed.resource)
        world.waldur.resource(placed.resource).backend_metadata.clear()
        world.waldur.consumer().update_limits(placed.resource, LIMITS | {"cpu": 8})
        assert world.cycle(document=document(world, secret))
        assert shown(world, placed.resource) == new

    @pytest.mark.parametrize("removed", [True, False])
    def test_an_account_that_is_not_there_is_made(self, world: World, config: Path, removed: bool) -> None:
        if removed:
            placed = world.order()
            assert world.cycle(document=yaml.safe_load(config.read_text(encoding="utf-8")))
            user = root(world).xml("one.userpool.info").findtext(f"USER[NAME='{NAME}']/ID")
            root(world)("one.user.delete", int(user or ""))
        else:
            placed = world.made()
        assert reset(config, placed.resource).exit_code == 0
        login(world, placed.resource)

    def test_the_password_is_printed_when_asked_for(self, world: World, config: Path, placed: Placed) -> None:
        result = reset(config, "--show-password", placed.resource)
        assert result.exit_code == 0
        new = shown(world, placed.resource)
        assert result.stdout.splitlines()[1:] == [f"username: {NAME}", f"password: {new.password}"]

    def test_one_that_another_tool_left_in_plain_text_goes(self, world: World, config: Path, placed: Placed) -> None:
        user = int(login(world, placed.resource).xml("one.user.info", -1).findtext("ID") or "")
        root(world)("one.user.passwd", user, "plain-text")
        root(world)("one.user.update", user, 'WALDUR_PASSWORD="plain-text"\nNOTE="kept"', 1)
        assert reset(config, placed.resource).exit_code == 0
        login(world, placed.resource)
        template = root(world).xml("one.user.info", user).find("TEMPLATE")
        assert template is not None
        assert template.findtext("NOTE") == "kept"
        assert not is_held(world, "plain-text")
        assert is_refused(world.server.endpoint, f"{NAME}:plain-text")

    def test_without_a_secret_the_password_is_random_and_handed_over_once(self, world: World, tmp_path: Path) -> None:
        placed = world.order()
        assert world.cycle(document=document(world))
        config = tmp_path / "random.yaml"
        config.write_text(yaml.safe_dump(document(world)), encoding="utf-8")
        old = shown(world, placed.resource)
        assert reset(config, placed.resource).exit_code == 0
        assert shown(world, placed.resource) != old
        login(world, placed.resource)

    def test_nothing_that_is_logged_or_stored_holds_a_password(
        self, world: World, config: Path, placed: Placed
    ) -> None:
        config.write_text(config.read_text(encoding="utf-8") + "log_level: DEBUG\n", encoding="utf-8")
        passwords = {SECRET, shown(world, placed.resource).password}
        said = ""
        for fault in (FaultKind.LOSE_REPLY, FaultKind.REFUSE):
            world.server.faults.arm(Fault(kind=fault, method="one.user.chauth"))
            said += reset(config, placed.resource).output
            passwords.add(shown(world, placed.resource).password)
        assert "one.user.chauth" in said
        assert len(passwords) == 3
        for password in (*passwords, world.server.auth):
            assert password not in said
        assert not any(is_held(world, password) for password in passwords)


class TestWhatGoesWrong:
    @pytest.mark.parametrize("wanted", ["vdc-none", "4711", "0", "9c1f0f3e-0000-4000-8000-000000000000"])
    def test_a_tenant_that_is_not_there_is_said_so(self, config: Path, placed: Placed, wanted: str) -> None:
        del placed
        result = reset(config, wanted)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == f"there is no tenant {wanted} among the resources of these offerings\n"

    def test_a_tenant_that_waldur_does_not_sell_is_left_alone(self, world: World, config: Path) -> None:
        with world.cloud() as cloud:
            vdc = cloud.vdcs.ensure(ont.VdcSpec(name="foreign", key="foreign", clusters=(0,), admin=True))
        before = root(world)("one.userpool.info")
        assert reset(config, "foreign").exit_code == 1
        assert reset(config, vdc.id).exit_code == 1
        assert root(world)("one.userpool.info") == before

    def test_a_tenant_whose_offering_gives_no_account_is_said_so(self, world: World, config: Path) -> None:
        placed = world.made()
        config.write_text(yaml.safe_dump(world.document()), encoding="utf-8")
        result = reset(config, placed.resource)
        assert result.exit_code == 1
        assert result.stderr == f"the tenant {TENANT} has no administrator account, and its offering gives none\n"

    def test_an_account_that_cannot_be_made_is_said_so(self, world: World, config: Path) -> None:
        placed = world.made()
        world.raw("one.user.allocate", NAME, "secret", "core", [])
        result = reset(config, placed.resource)
        assert result.exit_code == 1
        assert result.stderr.startswith(
            f"cannot make the administrator account of {TENANT}: the name {NAME} is taken by"
        )

    def test_a_name_that_two_tenants_have_is_not_guessed_at(self, world: World, config: Path, placed: Placed) -> None:
        other = world.order("vdc-two")
        assert world.cycle(document=yaml.safe_load(config.read_text(encoding="utf-8")))
        name = world.waldur.resource(placed.resource).backend_id
        with world.cloud() as cloud:
            cloud.vdcs.delete(key=other.resource)
            cloud.vdcs.ensure(ont.VdcSpec(name=name, key=other.resource, clusters=(0,), admin=True))
        result = reset(config, name)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"{name} is said of more than one tenant: give the uuid of the resource")

    def test_a_refusal_of_opennebula_leaves_the_old_password(self, world: World, config: Path, placed: Placed) -> None:
        world.server.faults.arm(Fault(kind=FaultKind.REFUSE, method="one.user.chauth", code=0x0800))
        result = reset(config, placed.resource)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"cannot reset the password of {NAME}: ")
        login(world, placed.resource)

    @pytest.mark.parametrize("waldur_takes_it", [True, False])
    def test_a_refusal_after_the_reset_hides_neither_the_reset_nor_the_new_password(
        self, world: World, config: Path, placed: Placed, waldur_takes_it: bool
    ) -> None:
        user = int(login(world, placed.resource).xml("one.user.info", -1).findtext("ID") or "")
        root(world)("one.user.update", user, 'WALDUR_PASSWORD="plain-text"', 1)
        old = shown(world, placed.resource)
        world.server.faults.arm(Fault(kind=FaultKind.REFUSE, method="one.user.update", code=0x0800, times=None))
        if not waldur_takes_it:
            world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, method=METADATA, code=400, times=None))
        result = reset(config, placed.resource, "--show-password")
        assert result.exit_code == 1
        begun = f"the password of {NAME} was reset, and OpenNebula was not done: one.user.update was refused"
        assert result.stderr.startswith(begun)
        assert ("and Waldur was not told: " in result.stderr) is not waldur_takes_it
        password = result.stdout.splitlines()[-1].removeprefix("password: ")
        assert ont.connect(world.server.endpoint, f"{NAME}:{password}").ping()
        assert (shown(world, placed.resource).password == password) is waldur_takes_it
        assert is_refused(world.server.endpoint, f"{NAME}:{old.password}")
        world.server.faults.arm()
        world.waldur.faults.arm()
        assert reset(config, placed.resource).exit_code == 0
        login(world, placed.resource)
        assert not is_held(world, "plain-text")

    def test_a_waldur_that_does_not_take_it_is_told_by_the_next_run(
        self, world: World, config: Path, placed: Placed
    ) -> None:
        world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, method=METADATA, code=400))
        result = reset(config, placed.resource, "--show-password")
        assert result.exit_code == 1
        assert f"the password of {NAME} was reset, and Waldur was not told" in result.stderr
        password = result.stdout.splitlines()[-1].removeprefix("password: ")
        assert ont.connect(world.server.endpoint, f"{NAME}:{password}").ping()
        assert reset(config, placed.resource).exit_code == 0
        login(world, placed.resource)

    def test_a_waldur_that_is_not_there_changes_nothing(self, world: World, config: Path, placed: Placed) -> None:
        world.waldur.faults.arm(
            Fault(kind=FaultKind.REFUSE, method="GET /api/marketplace-provider-resources/", code=401, times=None)
        )
        result = reset(config, placed.resource)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"cannot look for {placed.resource}: ")
        world.waldur.faults.arm()
        login(world, placed.resource)

    def test_wrong_settings_are_all_said_and_end_with_two(self, tmp_path: Path) -> None:
        path = tmp_path / "wrong.yaml"
        path.write_text("{offerings: [], admin_secret_env: ONE_NOT_SET}", encoding="utf-8")
        assert reset(path, "any").exit_code == 2


class TestTheSecret:
    def problems(self, world: World, **keys: Any) -> list[str]:
        with pytest.raises(ont.SettingsError) as caught:
            settings.parse(world.document(backend_create_opennebula_user=True, **keys))
        return list(caught.value.problems)

    @pytest.mark.parametrize("text", [SECRET, f"{SECRET}\n", f"{SECRET}\r\n"])
    def test_is_what_a_file_holds_without_its_line_end(self, world: World, tmp_path: Path, text: str) -> None:
        path = tmp_path / "secret"
        path.write_bytes(text.encode())
        path.chmod(0o600)
        found = settings.parse(document(world, path))
        assert found.admin_credentials == CredentialSource(secret=SECRET.encode(), legacy_attribute="WALDUR_PASSWORD")
        assert found.remarks == ()

    def test_is_what_an_environment_variable_holds(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("THE_SECRET", SECRET)
        found = settings.parse(world.document(admin_secret_env="THE_SECRET"))
        assert found.admin_credentials.secret == SECRET.encode()

    def test_is_in_no_repr_and_among_what_is_kept_out_of_texts(self, world: World, secret: Path) -> None:
        found = settings.parse(document(world, secret))
        assert SECRET not in repr(found)
        assert SECRET in found.secrets()

    def test_that_is_not_there_or_too_short_is_said_with_all_other_problems(
        self, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("THE_SECRET", "short")
        short = tmp_path / "short"
        short.write_text("short\n", encoding="utf-8")
        too_long = tmp_path / "long"
        too_long.write_bytes(b"x" * 70000)
        few = "secret: it has 5 bytes, and fewer than 16 can be guessed"
        for keys, problem in (
            ({"admin_secret_env": "THE_SECRET"}, f"admin_secret_env: {few}"),
            ({"admin_secret_env": SECRET}, "admin_secret_env: there is no environment variable of that name"),
            ({"admin_secret_file": str(short)}, f"admin_secret_file: {few}"),
            ({"admin_secret_file": str(tmp_path)}, "admin_secret_file: there is no such file"),
            ({"admin_secret_file": SECRET}, "admin_secret_file: there is no such file"),
            ({"admin_secret_file": "~no-such-user/secret"}, "admin_secret_file: not the path of a file"),
            ({"admin_secret_file": "x" * 5000}, "admin_secret_file: File name too long"),
            ({"admin_secret_file": 7}, "admin_secret_file: expected a text, not int"),
            (
                {"admin_secret_file": str(too_long)},
                "admin_secret_file: more than 65536 bytes; is that the file that is meant?",
            ),
            (
                {"admin_secret_file": str(short), "admin_secret_env": "THE_SECRET"},
                "admin_secret_file, admin_secret_env: both are set; say one place where the secret is",
            ),
        ):
            found = self.problems(world, timezone="Mars/Olympus", offering_waldur_offering_uuid="x", **keys)
            assert problem in found
            assert len(found) == 3
            assert not any(SECRET in text for text in found)

    def test_that_others_can_read_is_remarked_on(self, world: World, secret: Path) -> None:
        secret.chmod(0o644)
        assert settings.parse(document(world, secret)).remarks == (
            "admin_secret_file: others can read the file; chmod 600 keeps it to its owner",
        )

    def test_that_is_not_named_where_accounts_are_made_is_remarked_on(self, world: World) -> None:
        (remark,) = settings.parse(document(world)).remarks
        assert remark.startswith("create_opennebula_user without admin_secret_file or admin_secret_env: passwords are")
        assert settings.parse(world.document()).remarks == ()

    @pytest.mark.parametrize("value", ["yes", 1, "true"])
    def test_asking_for_accounts_is_true_or_false(self, world: World, value: Any) -> None:
        with pytest.raises(ont.SettingsError, match=r"create_opennebula_user: expected true or false"):
            settings.parse(world.document(backend_create_opennebula_user=value))
