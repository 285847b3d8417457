"""Orders of tenants with an administrator account, from the point of view of who logs in with what Waldur shows."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

import opennebula_tenancy as ont
from agent.accounts import SECRET, TENANT, document, is_held, login, root, secret_file, shown, users
from agent.world import LIMITS, World
from onetenant_waldur import log, settings
from onetenant_waldur.admin_accounts import USERNAME
from onetenant_waldur.agent import Mode
from onetenant_waldur.cli import main
from onetenant_waldur.marketplace import Placed
from onetenant_waldur.notes import PASSWORD
from opennebula_tenancy.emulator import Fault, FaultKind
from tenants.raw import Raw


DERIVED, RANDOM = "derived", "random"
NAME = f"{TENANT}_admin"
METADATA = "POST /api/marketplace-provider-resources/{uuid}/set_backend_metadata/"
Settings = dict[str, Any]


@pytest.fixture(name="derived")
def _derived(world: World, tmp_path: Path) -> Settings:
    """Settings with a secret."""
    return document(world, secret_file(tmp_path))


@pytest.fixture(name="random")
def _random(world: World) -> Settings:
    """Settings without one."""
    return document(world)


def made(world: World, config: Settings, name: str = "vdc-one", limits: dict[str, Any] | None = None) -> Placed:
    placed = world.order(name, limits)
    assert world.cycle(document=config)
    assert world.waldur.order(placed.order).state == "done"
    return placed


class TestWhatTheCustomerGets:
    def test_an_account_that_makes_vms_within_the_limits_and_sees_no_other_tenant(
        self, world: World, derived: Settings
    ) -> None:
        one = made(world, derived, limits={"cpu": 2, "ram": 1024, "storage": 1024})
        other = made(world, derived, "vdc-two")
        assert shown(world, one.resource).username == NAME
        boss, stranger = login(world, one.resource), login(world, other.resource)
        template = boss("one.template.allocate", "NAME=small\nCPU=1.5\nMEMORY=128")
        assert boss("one.template.instantiate", template, "fits", False, "", False) >= 0
        code, said = boss.refused("one.template.instantiate", template, "exceeds", False, "", False)
        assert (code, "limit of 2 reached for CPU quota" in said) == (0x0200, True)
        vm = stranger("one.vm.allocate", 'NAME="web" CPU="1" MEMORY="128"', False)
        assert boss.refused("one.vm.info", vm, False)[0] == 0x0200
        assert vm not in [int(item.findtext("ID") or "") for item in boss.xml("one.vmpool.info", -2, -1, -1, -1)]
        assert [user.findtext("NAME") for user in boss.xml("one.userpool.info").iter("USER")] == [NAME]

    def test_credentials_beside_all_else_that_waldur_shows(self, world: World, derived: Settings) -> None:
        placed = world.order()
        world.waldur.resource(placed.resource).backend_metadata["note"] = "of somebody else"
        assert world.cycle(document=derived)
        assert world.waldur.resource(placed.resource).backend_metadata.keys() == {
            "note",
            "opennebula_name",
            "opennebula_vdc_id",
            USERNAME,
            PASSWORD,
        }

    def test_no_account_where_the_offering_has_none(self, world: World) -> None:
        placed = world.made()
        assert world.waldur.resource(placed.resource).backend_metadata.keys().isdisjoint({USERNAME, PASSWORD})
        assert users(world) == {"oneadmin", "serveradmin"}

    def test_an_end_with_the_account_gone_first(self, world: World, derived: Settings) -> None:
        placed = made(world, derived)
        order = world.waldur.consumer().terminate(placed.resource)
        world.server.faults.arm()
        assert world.cycle(document=derived)
        assert world.waldur.order(order).state == "done"
        gone = [call for call in world.server.calls if call.endswith(".delete")]
        assert gone == ["one.user.delete", "one.group.delete", "one.vdc.delete"]
        assert users(world) == {"oneadmin", "serveradmin"}


class TestTheSameCredentials:
    def test_after_a_restart_with_a_secret(self, world: World, derived: Settings) -> None:
        placed = made(world, derived)
        first = shown(world, placed.resource)
        resource = world.waldur.resource(placed.resource)
        resource.backend_metadata = {"note": "all else was lost"}
        order = world.waldur.consumer().update_limits(placed.resource, LIMITS | {"cpu": 8})
        assert world.cycle(document=derived)
        assert world.waldur.order(order).state == "done"
        assert shown(world, placed.resource) == first
        assert resource.backend_metadata["note"] == "all else was lost"
        login(world, placed.resource)

    @pytest.mark.parametrize("source", [DERIVED, RANDOM])
    def test_after_orders_and_reports_of_agents_that_were_started_again(
        self, world: World, request: pytest.FixtureRequest, source: str
    ) -> None:
        config = request.getfixturevalue(source)
        placed = made(world, config)
        before = dict(world.waldur.resource(placed.resource).backend_metadata)
        world.waldur.consumer().update_limits(placed.resource, LIMITS | {"cpu": 8})
        assert world.cycle(Mode.ORDER_PROCESS, Mode.REPORT, document=config)
        assert world.waldur.resource(placed.resource).backend_metadata == before
        login(world, placed.resource)

    @pytest.mark.parametrize("source", [DERIVED, RANDOM])
    def test_that_the_administrator_has_changed_are_left_alone(
        self, world: World, request: pytest.FixtureRequest, source: str
    ) -> None:
        config = request.getfixturevalue(source)
        placed = made(world, config)
        before = shown(world, placed.resource)
        boss = login(world, placed.resource)
        boss("one.user.passwd", int(boss.xml("one.user.info", -1).findtext("ID") or ""), "my-own")
        world.waldur.consumer().update_limits(placed.resource, LIMITS | {"cpu": 8})
        assert world.cycle(document=config)
        assert shown(world, placed.resource) == before
        assert not world.raw("one.userpool.info").count("my-own")
        assert ont.connect(world.server.endpoint, f"{NAME}:my-own").ping()

    def test_that_another_tool_left_in_plain_text_are_understood(self, world: World, derived: Settings) -> None:
        placed = made(world, derived)
        user = int(login(world, placed.resource).xml("one.user.info", -1).findtext("ID") or "")
        root(world)("one.user.passwd", user, "plain-text")
        root(world)("one.user.update", user, 'WALDUR_PASSWORD="plain-text"', 1)
        world.waldur.resource(placed.resource).backend_metadata.clear()
        world.waldur.consumer().update_limits(placed.resource, LIMITS | {"cpu": 8})
        assert world.cycle(document=derived)
        assert shown(world, placed.resource) == ont.Credentials(NAME, "plain-text")


class TestAnOfferingThatHasAccountsByNow:
    """And has tenants from a time when it had none."""

    @pytest.mark.parametrize("source", [DERIVED, RANDOM])
    def test_gives_one_to_a_tenant_with_its_next_update_and_changes_nothing_else_of_it(
        self, world: World, request: pytest.FixtureRequest, source: str
    ) -> None:
        config = request.getfixturevalue(source)
        placed = world.made()
        world.offering.plugin_options["cluster_ids"] = [0]  # what holds for new ones is not for this one
        order = world.waldur.consumer().update_limits(placed.resource, LIMITS | {"cpu": 8})
        assert world.cycle(document=config)
        assert world.waldur.order(order).state == "done"
        assert shown(world, placed.resource).username == NAME
        login(world, placed.resource)
        clusters = root(world).xml("one.vdcpool.info").iter("CLUSTER_ID")
        assert "100" in {cluster.text for cluster in clusters}
        before = dict(world.waldur.resource(placed.resource).backend_metadata)
        world.waldur.consumer().update_limits(placed.resource, LIMITS | {"cpu": 9})
        assert world.cycle(Mode.ORDER_PROCESS, Mode.REPORT, document=config)
        assert world.waldur.resource(placed.resource).backend_metadata == before

    @pytest.mark.parametrize("source", [DERIVED, RANDOM])
    @pytest.mark.parametrize("moment", ["one.user.allocate", "one.group.addadmin", "one.user.chauth", METADATA])
    def test_gives_it_in_the_end_whatever_is_lost_on_the_way(
        self, world: World, request: pytest.FixtureRequest, source: str, moment: str
    ) -> None:
        config = request.getfixturevalue(source)
        placed = world.made()
        order = world.waldur.consumer().update_limits(placed.resource, LIMITS | {"cpu": 8})
        plan = world.waldur.faults if moment == METADATA else world.server.faults
        plan.arm(Fault(kind=FaultKind.BAD_GATEWAY_APPLIED, method=moment, times=None))
        world.cycle(document=config)
        plan.arm()
        if world.waldur.order(order).state == "done":
            world.waldur.consumer().update_limits(placed.resource, LIMITS | {"cpu": 9})
        assert world.cycle(document=config)
        login(world, placed.resource)
        assert users(world) == {"oneadmin", "serveradmin", NAME}

    def test_makes_one_again_that_has_removed_itself(self, world: World, random: Settings) -> None:
        placed = made(world, random)
        old = shown(world, placed.resource)
        boss = login(world, placed.resource)
        boss("one.user.delete", int(boss.xml("one.user.info", -1).findtext("ID") or ""))
        order = world.waldur.consumer().update_limits(placed.resource, LIMITS | {"cpu": 8})
        assert world.cycle(document=random)
        assert world.waldur.order(order).state == "done"
        assert shown(world, placed.resource) != old
        login(world, placed.resource)


class TestAReport:
    def test_shows_credentials_again_that_were_reset_elsewhere(self, world: World, derived: Settings) -> None:
        placed = made(world, derived)
        source = settings.parse(derived).admin_credentials
        with ont.connect(world.server.endpoint, world.server.auth, admin_credentials=source) as cloud:
            (tenant,) = cloud.vdcs.list()
            assert tenant.admin is not None
            new = tenant.admin.reset_password()
        assert shown(world, placed.resource) != new
        assert world.cycle(Mode.REPORT, document=derived)
        assert shown(world, placed.resource) == new
        login(world, placed.resource)

    def test_shows_credentials_again_that_waldur_has_lost(self, world: World, derived: Settings) -> None:
        placed = made(world, derived)
        first = shown(world, placed.resource)
        resource = world.waldur.resource(placed.resource)
        resource.backend_metadata = {"note": "all else was lost"}
        assert world.cycle(Mode.REPORT, document=derived)
        assert shown(world, placed.resource) == first
        assert resource.backend_metadata["note"] == "all else was lost"

    def test_asks_opennebula_for_nothing_more_where_they_are_shown(self, world: World, derived: Settings) -> None:
        made(world, derived)
        made(world, derived, "vdc-two")
        world.server.faults.arm()
        world.waldur.faults.arm()
        assert world.cycle(Mode.REPORT, document=derived)
        assert world.server.calls == ("one.grouppool.info",)
        assert METADATA not in world.waldur.faults.calls

    def test_shows_none_that_the_administrator_has_changed(self, world: World, derived: Settings) -> None:
        placed = made(world, derived)
        boss = login(world, placed.resource)
        boss("one.user.passwd", int(boss.xml("one.user.info", -1).findtext("ID") or ""), "my-own")
        world.waldur.resource(placed.resource).backend_metadata.clear()
        assert world.cycle(Mode.REPORT, document=derived)
        assert world.waldur.resource(placed.resource).backend_metadata == {}

    def test_shows_none_of_an_offering_without_accounts(self, world: World, derived: Settings, tmp_path: Path) -> None:
        placed = made(world, derived)
        world.waldur.resource(placed.resource).backend_metadata.clear()
        without = world.document(admin_secret_file=str(secret_file(tmp_path)))
        assert world.cycle(Mode.REPORT, document=without)
        assert world.waldur.resource(placed.resource).backend_metadata == {}

    @pytest.mark.parametrize("why", ["the account is gone", "Waldur refuses"])
    def test_that_cannot_show_them_says_why_and_reports_all_else(
        self, world: World, derived: Settings, logged: Callable[[], list[dict[str, Any]]], why: str
    ) -> None:
        placed, other = made(world, derived), made(world, derived, "vdc-two")
        world.waldur.resource(placed.resource).backend_metadata.clear()
        if why == "the account is gone":
            user = int(root(world).xml("one.userpool.info").findtext(f"USER[NAME='{NAME}']/ID") or "")
            root(world)("one.user.delete", user)
        else:
            world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, method=METADATA, code=403, times=None))
        with world.agent(derived) as agent:
            assert agent.report_usage()
            assert agent.report_usage()
        said = [event["reason"] for event in logged() if event["event"] == "resource_not_refreshed"]
        if why == "the account is gone":
            assert "it has lost its administrator account" in said[0]
            assert "was removed" in said[1]
        else:
            assert "HTTP 403" in said[0]
        assert len(said) == (2 if why == "the account is gone" else 1)
        assert world.waldur.resource(placed.resource).state == "OK"
        for one in (placed, other):
            assert world.waldur.consumer().usages(one.resource)["cpu"] == "0.00"
            assert world.waldur.resource(one.resource).last_sync is not None


class TestWhatGoesWrong:
    @pytest.mark.parametrize("method", ["one.user.allocate", "one.group.addadmin", "one.user.chauth"])
    def test_an_account_that_cannot_be_made_errs_the_order_and_leaves_nothing(
        self, world: World, derived: Settings, method: str
    ) -> None:
        before = world.in_opennebula()
        placed = world.order()
        world.server.faults.arm(Fault(kind=FaultKind.REFUSE, method=method, code=0x0800))
        assert not world.cycle(document=derived)
        order = world.waldur.order(placed.order)
        assert order.state == "erred"
        assert method in order.error_message
        assert world.in_opennebula() == before

    def test_an_account_of_that_name_that_is_not_ours_errs_the_order_with_a_sentence(
        self, world: World, derived: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("onetenant_waldur.vdc_orders._TWIN_PAUSE_S", 0)
        world.raw("one.user.allocate", NAME, "secret", "core", [])
        before = world.in_opennebula()
        placed = world.order()
        assert not world.cycle(document=derived)
        order = world.waldur.order(placed.order)
        assert order.state == "erred"
        assert f"stands in the way in OpenNebula: the name {NAME} is taken by user 2" in order.error_message
        assert world.in_opennebula() == before

    def test_credentials_that_waldur_refuses_err_the_order(self, world: World, derived: Settings) -> None:
        before = world.in_opennebula()
        placed = world.order()
        world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, method=METADATA, code=400, times=None))
        assert not world.cycle(document=derived)
        assert world.waldur.order(placed.order).state == "erred"
        assert world.in_opennebula() == before

    def test_credentials_that_waldur_has_no_place_for_err_the_order(self, world: World, random: Settings) -> None:
        placed = world.order()
        world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, method=METADATA, code=404, times=None))
        assert not world.cycle(document=random)
        assert f"The credentials of {NAME} could not be shown" in world.waldur.order(placed.order).error_message
        assert world.tenant(placed.resource) is None

    def test_a_password_that_another_agent_resets_at_that_moment_is_not_what_is_shown(
        self, world: World, random: Settings
    ) -> None:
        placed = world.order()
        take = world.waldur.faults.take
        others: list[ont.Credentials] = []

        def taking(method: str) -> Fault | None:
            # What it is told of the tenant comes first, and then the credentials.
            if method == METADATA and world.waldur.resource(placed.resource).backend_metadata and not others:
                tenant = world.tenant(placed.resource)
                assert tenant is not None
                assert tenant.admin is not None
                others.append(tenant.admin.reset_password())
            return take(method)

        world.waldur.faults.take = taking  # type: ignore[method-assign]
        assert world.cycle(document=random)
        assert others
        assert world.waldur.order(placed.order).state == "done"
        login(world, placed.resource)


@pytest.mark.parametrize("moment", ["before its notes are written", "before the password is reset"])
def test_what_another_agent_has_handed_over_when_it_ended_the_order_is_not_reset_unless_it_is_lost(
    world: World, random: Settings, moment: str
) -> None:
    placed = world.order()
    world.waldur.faults.arm(Fault(kind=FaultKind.BAD_GATEWAY, method=METADATA, times=None))
    assert not world.cycle(document=random)  # made, and its password is known to nobody
    world.waldur.faults.arm()
    world.server.faults.arm()
    with world.agent(random) as agent:
        (offering,) = agent.offerings
        show = offering.waldur.resource
        others: list[bool] = []

        def showing(resource: uuid.UUID) -> Any:
            found = show(resource)
            noted = "opennebula_name" in found.backend_metadata
            # With its notes this agent takes back what the other one shows; later, it would reset the password.
            if (
                "one.user.info" in world.server.calls
                and not others
                and noted is (moment != "before its notes are written")
            ):
                others.append(world.cycle(document=random))
            return found

        offering.waldur.resource = showing  # type: ignore[method-assign]
        agent.cycle([Mode.ORDER_PROCESS])
    assert others == [True]
    assert world.waldur.order(placed.order).state == "done"
    assert world.server.calls.count("one.user.chauth") == (2 if moment == "before its notes are written" else 1)
    login(world, placed.resource)


def test_two_agents_at_one_order_show_one_password_that_logs_in(world: World, random: Settings) -> None:
    placed = world.order()
    world.server.faults.arm(Fault(kind=FaultKind.BAD_GATEWAY, method="one.user.allocate", times=None))
    assert not world.cycle(document=random)
    world.server.faults.arm()
    take = world.server.faults.take
    begun: list[str] = []

    def taking(method: str) -> Fault | None:
        if method == "one.user.chauth" and not begun:
            begun.append(method)
            assert world.cycle(document=random)
        return take(method)

    world.server.faults.take = taking  # type: ignore[method-assign]
    world.cycle(document=random)
    assert begun
    assert world.waldur.order(placed.order).state == "done"
    login(world, placed.resource)


def once(config: Settings, folder: Path) -> Result:
    """One cycle of the agent as a program, with all that it logs."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**config, "log_level": "DEBUG"}), encoding="utf-8")
    return CliRunner().invoke(main, ["once", "-m", "order_process", "-c", str(path)])


class TestSecrecy:
    def test_nothing_that_leaves_the_agent_holds_a_password_or_a_session(
        self, world: World, derived: Settings, random: Settings, logged: Callable[[], list[dict[str, Any]]]
    ) -> None:
        passwords = {SECRET}
        consumer = world.waldur.consumer()
        errors: list[str] = []
        for number, config in enumerate((derived, random)):
            placed = world.order(f"vdc-{number}")
            for fault in (FaultKind.BAD_GATEWAY_APPLIED, FaultKind.LOSE_REPLY):
                world.server.faults.arm(Fault(kind=fault, method="one.user.chauth"))
                world.waldur.faults.arm(Fault(kind=fault, method="POST /api/marketplace-orders/{uuid}/set_state_done/"))
                world.cycle(document=config)
            world.server.faults.arm()
            world.waldur.faults.arm()
            world.cycle(document=config)
            assert world.waldur.order(placed.order).state == "done"
            passwords.add(shown(world, placed.resource).password)
            login(world, placed.resource)
            failing = world.order(f"failing-{number}")
            world.server.faults.arm(Fault(kind=FaultKind.REFUSE, method="one.user.chauth", code=0x0800))
            assert not world.cycle(document=config)
            erred = world.waldur.order(failing.order)
            errors += [erred.error_message, erred.error_traceback]
            world.server.faults.arm(Fault(kind=FaultKind.REFUSE, method="one.group.quota", code=0x0800))
            consumer.update_limits(placed.resource, LIMITS | {"cpu": 9})
            world.cycle(document=config)
        texts = [json.dumps(logged()), *errors]
        assert "one.user.chauth" in texts[0]
        assert "one.user.chauth" in errors[0]
        assert len(passwords) == 3
        for secret in (*passwords, world.server.auth, world.waldur.tokens["provider"]):
            assert not any(secret in text for text in texts)
        for password in passwords:
            assert not is_held(world, password)

    def test_a_password_that_comes_up_is_kept_out_of_texts_from_then_on(self, world: World, random: Settings) -> None:
        placed = world.order()
        redaction = log.Redaction(settings.parse(random).secrets())
        with world.agent(random) as agent:
            agent.offerings[0].redaction = redaction
            assert agent.cycle([Mode.ORDER_PROCESS])
        password = shown(world, placed.resource).password
        quoted = repr(f"refused:\n{password}\n{{'opennebula_password': '{password}'}}")
        assert password not in redaction.text(quoted)
        assert redaction.text(quoted).count(log.MASK) == 2

    @pytest.mark.parametrize("status", [400, 404])
    def test_one_that_waldur_quotes_in_a_refusal_reaches_no_log_and_no_error(
        self, world: World, derived: Settings, tmp_path: Path, status: int
    ) -> None:
        placed = world.order()
        source = settings.parse(derived).admin_credentials
        resource = world.waldur.resource(placed.resource)
        # So that the credentials are the first that it is told.
        resource.backend_metadata = {"opennebula_name": TENANT, "opennebula_vdc_id": 100}
        password = source.derived(resource.uuid, 2, NAME, 1)
        assert password is not None
        quoting = Fault(
            kind=FaultKind.REFUSE, method=METADATA, code=status, times=None, message=f"not taken:\n{password}"
        )
        world.waldur.faults.arm(quoting)
        result = once(derived, tmp_path)
        order = world.waldur.order(placed.order)
        assert order.state == "erred"
        assert f"not taken:\\n{log.MASK}" in result.stderr
        for text in (result.output, order.error_message, order.error_traceback):
            assert password not in text

    def test_one_that_waldur_showed_before_and_quotes_is_kept_out_as_well(
        self, world: World, random: Settings, tmp_path: Path
    ) -> None:
        placed = made(world, random)
        world.waldur.order(placed.order).state = "executing"
        password = shown(world, placed.resource).password
        del world.waldur.resource(placed.resource).backend_metadata["opennebula_vdc_id"]
        world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, method=METADATA, code=404, times=None, message=password))
        result = once(random, tmp_path)
        assert result.exit_code == 0
        assert shown(world, placed.resource).password == password
        assert log.MASK in result.stderr
        assert password not in result.output


class TestUpdates:
    """The limits are what an order is about; the account beside them is seen to, and stands in no order's way."""

    def updated(self, world: World, resource: str, settings: Settings) -> None:
        order = world.waldur.consumer().update_limits(resource, {**LIMITS, "cpu": 8})
        assert world.cycle(document=settings)
        assert world.waldur.order(order).state == "done"
        assert world.waldur.resource(resource).limits["cpu"] == world.quota(resource).cpu == 8

    def test_credentials_that_waldur_does_not_take_do_not_err_it(self, world: World, derived: Settings) -> None:
        placed = world.order()
        assert world.cycle(document=derived)
        world.waldur.resource(placed.resource).backend_metadata.pop(PASSWORD)
        world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, method=METADATA, code=400, times=None))
        self.updated(world, placed.resource, derived)
        world.waldur.faults.arm()
        assert world.cycle(Mode.REPORT, document=derived)
        login(world, placed.resource)

    @pytest.mark.parametrize("kind", ["derived", "random"])
    def test_an_account_that_was_removed_is_made_again(
        self, world: World, request: pytest.FixtureRequest, kind: str
    ) -> None:
        settings = request.getfixturevalue(kind)
        placed = world.order()
        assert world.cycle(document=settings)
        boss = login(world, placed.resource)
        boss("one.user.delete", int(boss.xml("one.user.info", -1).findtext("ID") or ""))
        self.updated(world, placed.resource, settings)
        login(world, placed.resource)

    @pytest.mark.parametrize("kind", ["derived", "random"])
    def test_a_tenant_that_was_made_before_accounts_were_sold_gets_one(
        self, world: World, request: pytest.FixtureRequest, kind: str
    ) -> None:
        placed = world.made()
        self.updated(world, placed.resource, request.getfixturevalue(kind))
        login(world, placed.resource)

    def test_a_password_that_its_user_has_changed_stays(self, world: World, random: Settings) -> None:
        placed = world.order()
        assert world.cycle(document=random)
        boss = login(world, placed.resource)
        boss("one.user.passwd", int(boss.xml("one.user.info", -1).findtext("ID") or ""), "changed-by-hand")
        self.updated(world, placed.resource, random)
        Raw(world.server.endpoint, f"{NAME}:changed-by-hand")("one.user.info", -1)
