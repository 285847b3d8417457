"""The administrator account of a tenant: what it can do, what it cannot, and who knows its password."""

import hashlib
import logging
import os
import traceback
from collections.abc import Callable, Iterator

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.admin_credentials import Credentials, CredentialSource
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from tenants.accounts import Accounts, attributes, is_refused, login
from tenants.live import RUN, Live
from tenants.pace import QUICK
from tenants.raw import Raw


NOT_AUTHORIZED = 0x0200
SECRET = b"a secret of 32 bytes, or more ..."
LEGACY = "OTHER_TOOL_PASSWORD"
NAME = RUN + "acme"


@pytest.fixture(name="server")
def _server() -> Iterator[Emulator | Live]:
    """The embedded server, or a live one that is left as it was."""
    if "ONE_XMLRPC" not in os.environ:
        with Emulator(populated=True) as server:
            yield server
        return
    live = Live()
    try:
        yield live
    finally:
        live.clear()


@pytest.fixture(name="vdc")
def _vdc(cloud: ont.Cloud) -> ont.Vdc:
    return cloud.vdcs.ensure(
        ont.VdcSpec(name=NAME, key=NAME, clusters=(0,), quota=ont.Quota(cpu=2, memory_mb=1024, storage_mb=4096))
    )


@pytest.fixture(name="accounts")
def _accounts(cloud: ont.Cloud) -> Accounts:
    return Accounts(cloud, CredentialSource(secret=SECRET, legacy_attribute=LEGACY))


@pytest.fixture(name="nobody")
def _nobody(cloud: ont.Cloud) -> Accounts:
    """Accounts whose passwords are random."""
    return Accounts(cloud, CredentialSource())


def mutations(sent: list[ont.CallRecord]) -> list[str]:
    return [record.method for record in sent if record.mutates]


@pytest.mark.live
class TestWhatItCanDo:
    def test_it_makes_a_vm_within_the_limits_and_none_beyond(
        self, server: Emulator | Live, vdc: ont.Vdc, accounts: Accounts
    ) -> None:
        member = login(server.endpoint, accounts.account(vdc))
        template = member("one.template.allocate", "NAME=small\nCPU=1.5\nMEMORY=128")
        vm = member("one.template.instantiate", template, "fits", False, "", False)
        assert member.xml("one.vm.info", vm).findtext("GID") == str(vdc.id)
        code, said = member.refused("one.template.instantiate", template, "exceeds", False, "", False)
        assert (code, "limit of 2 reached for CPU quota in VM" in said) == (NOT_AUTHORIZED, True)
        assert vdc.usage().vms == 1

    def test_it_makes_users_who_are_held_to_the_same_limits(
        self, server: Emulator | Live, vdc: ont.Vdc, accounts: Accounts, admin: Raw
    ) -> None:
        boss = login(server.endpoint, accounts.account(vdc))
        made = boss("one.user.allocate", RUN + "alice", "secret", "core", [])
        assert admin.xml("one.user.info", made).findtext("GID") == str(vdc.id)
        alice = Raw(server.endpoint, f"{RUN}alice:secret")
        template = alice("one.template.allocate", "NAME=big\nCPU=2.5\nMEMORY=128")
        assert "CPU quota" in alice.refused("one.template.instantiate", template, "exceeds", False, "", False)[1]

    def test_it_sees_nothing_of_another_tenant(
        self, server: Emulator | Live, cloud: ont.Cloud, vdc: ont.Vdc, accounts: Accounts, admin: Raw
    ) -> None:
        other = cloud.vdcs.ensure(ont.VdcSpec(name=RUN + "other", key=RUN + "other", clusters=(0,)))
        one, two = (login(server.endpoint, accounts.account(tenant)) for tenant in (vdc, other))
        template = two("one.template.allocate", "NAME=small\nCPU=1\nMEMORY=128")
        vm = two("one.template.instantiate", template, "web", False, "", False)
        image = two("one.image.allocate", "NAME=data\nSIZE=100\nTYPE=DATABLOCK", 1)
        network = f'NAME="{RUN}net"\nVN_MAD="dummy"\nBRIDGE="br0"\nAR=[TYPE="IP4", IP="10.0.1.1", SIZE="8"]'
        net = admin("one.vn.allocate", network, 0)
        admin("one.vn.chown", net, -1, other.id)
        server.settle()
        for method, ident in (
            ("one.vm.info", vm),
            ("one.image.info", image),
            ("one.template.info", template),
            ("one.vn.info", net),
            ("one.group.info", other.id),
            ("one.user.info", accounts.account(other).id),
            ("one.vdc.info", other.vdc_id),
        ):
            assert one.refused(method, ident, False)[0] == NOT_AUTHORIZED, method
        for method, params, hidden in (
            ("one.vmpool.info", (-2, -1, -1, -1), vm),
            ("one.imagepool.info", (-2, -1, -1), image),
            ("one.templatepool.info", (-2, -1, -1), template),
            ("one.vnpool.info", (-2, -1, -1), net),
        ):
            assert hidden not in [int(item.findtext("ID") or "") for item in one.xml(method, *params)], method
        assert [user.findtext("NAME") for user in one.xml("one.userpool.info").findall("USER")] == [f"{NAME}_admin"]

    def test_it_cannot_loosen_the_limits_or_say_whose_it_is(
        self, server: Emulator | Live, vdc: ont.Vdc, accounts: Accounts
    ) -> None:
        account = accounts.account(vdc)
        boss = login(server.endpoint, account)
        for method, params in (
            ("one.group.quota", (vdc.id, 'VM=[CPU="-2"]')),
            ("one.group.update", (vdc.id, "TENANCY_ADMIN_ID=0", 1)),
            ("one.group.update", (vdc.id, "TENANCY_ADMIN_GENERATION=1", 1)),
            ("one.vdc.update", (vdc.vdc_id, "TENANCY_KEY=mine", 1)),
            ("one.vdc.addgroup", (0, vdc.id)),
            ("one.group.addadmin", (vdc.id, account.id)),
            ("one.user.addgroup", (account.id, 0)),
            ("one.user.chgrp", (account.id, 1)),
            ("one.acl.addrule", (f"{0x100000000 | account.id:x}", "4400000000", "1")),
        ):
            assert boss.refused(method, *params)[0] == NOT_AUTHORIZED, method


@pytest.mark.live
class TestAnAccountThatComesLater:
    def test_is_made_and_nothing_else_of_the_tenant_is_touched(
        self, server: Emulator | Live, cloud: ont.Cloud, vdc: ont.Vdc, admin: Raw
    ) -> None:
        before = admin("one.vdc.info", vdc.vdc_id)
        made = cloud.vdcs.ensure_admin(vdc.id)
        assert made.admin is not None
        credentials = made.admin.credentials()
        assert credentials is not None
        Raw(server.endpoint, credentials.auth)("one.user.info", -1)
        assert (made.id, made.vdc_id, made.name, made.key) == (vdc.id, vdc.vdc_id, vdc.name, vdc.key)
        assert made.quota() == vdc.quota()
        assert admin("one.vdc.info", vdc.vdc_id) == before
        users = admin("one.userpool.info")
        assert cloud.vdcs.ensure_admin(vdc.id).admin is not None
        assert admin("one.userpool.info") == users

    def test_is_made_again_when_it_was_removed(
        self, server: Emulator | Live, cloud: ont.Cloud, vdc: ont.Vdc, admin: Raw
    ) -> None:
        first = cloud.vdcs.ensure_admin(vdc.id).admin
        assert first is not None
        admin("one.user.delete", first.id)
        second = cloud.vdcs.ensure_admin(vdc.id).admin
        assert second is not None
        assert second.id != first.id
        credentials = second.credentials()
        assert credentials is not None
        Raw(server.endpoint, credentials.auth)("one.user.info", -1)

    def test_is_refused_for_what_is_no_tenant_or_has_a_namesake(
        self, cloud: ont.Cloud, vdc: ont.Vdc, admin: Raw
    ) -> None:
        with pytest.raises(ont.Conflict, match="carries no key"):
            cloud.vdcs.ensure_admin(1)
        with pytest.raises(ont.NotFound):
            cloud.vdcs.ensure_admin(99999)
        stranger = admin("one.user.allocate", f"{vdc.name}_admin", "secret", "core", [])
        with pytest.raises(ont.Conflict, match="is not the administrator account of the tenant"):
            cloud.vdcs.ensure_admin(vdc.id)
        admin("one.user.delete", stranger)


class TestThePassword:
    def test_it_is_the_same_after_a_restart(
        self, server: Emulator | Live, vdc: ont.Vdc, accounts: Accounts, sent: list[ont.CallRecord]
    ) -> None:
        first = accounts.account(vdc).credentials()
        sent.clear()
        with ont.connect(server.endpoint, server.auth, retry=QUICK, on_call=sent.append) as later:
            restarted = Accounts(later, accounts.source)
            account = restarted.account(vdc)
            assert account.credentials() == first
        assert first is not None
        assert first.username == account.name == f"{NAME}_admin"
        assert mutations(sent) == []

    def test_after_a_reset_only_the_new_one_logs_in(
        self, server: Emulator | Live, vdc: ont.Vdc, accounts: Accounts
    ) -> None:
        account = accounts.account(vdc)
        old = account.credentials()
        assert old is not None
        boss = Raw(server.endpoint, old.auth)
        for token in ("for-ever", "for-a-minute"):
            boss("one.user.login", old.username, token, -1 if token == "for-ever" else 60, -1)
            Raw(server.endpoint, f"{old.username}:{token}")("one.user.info", -1)
        new = account.reset_password()
        assert new != old
        assert Raw(server.endpoint, new.auth).xml("one.user.info", -1).findtext("ID") == str(account.id)
        for past in (old.password, "for-ever", "for-a-minute"):
            assert is_refused(server.endpoint, f"{old.username}:{past}")
        assert account.credentials() == accounts.account(vdc).credentials() == new

    def test_a_random_one_is_handed_over_once(self, server: Emulator | Live, vdc: ont.Vdc, nobody: Accounts) -> None:
        account = nobody.account(vdc)
        assert login(server.endpoint, account).xml("one.user.info", -1).findtext("ID") == str(account.id)
        old = account.credentials()
        assert nobody.account(vdc).credentials() is None
        new = nobody.account(vdc).reset_password()
        Raw(server.endpoint, new.auth)("one.user.info", -1)
        assert old is not None
        assert is_refused(server.endpoint, old.auth)
        assert account.credentials() is None

    def test_one_that_the_administrator_chose_is_not_known_and_is_left_alone(
        self, server: Emulator | Live, vdc: ont.Vdc, accounts: Accounts, sent: list[ont.CallRecord]
    ) -> None:
        account = accounts.account(vdc)
        login(server.endpoint, account)("one.user.passwd", account.id, "my-own")
        sent.clear()
        assert accounts.account(vdc).credentials() is None
        assert mutations(sent) == []
        new = account.reset_password()
        assert is_refused(server.endpoint, f"{account.name}:my-own")
        assert account.credentials() == new

    def test_a_reset_brings_back_an_account_that_was_switched_to_another_way_of_logging_in(
        self, server: Emulator | Live, vdc: ont.Vdc, accounts: Accounts, admin: Raw
    ) -> None:
        account = accounts.account(vdc)
        login(server.endpoint, account)("one.user.chauth", account.id, "ssh", "key-of-mine")
        assert account.credentials() is None
        new = account.reset_password()
        assert login(server.endpoint, account)("one.user.info", -1)
        held = admin.xml("one.user.info", account.id)
        assert held.findtext("AUTH_DRIVER") == "core"
        assert held.findtext("PASSWORD") == hashlib.sha256(new.password.encode()).hexdigest()

    def test_a_disabled_account_stays_disabled(
        self, server: Emulator | Live, vdc: ont.Vdc, accounts: Accounts, admin: Raw
    ) -> None:
        account = accounts.account(vdc)
        admin("one.user.enable", account.id, False)
        new = account.reset_password()
        assert account.credentials() == new
        assert is_refused(server.endpoint, new.auth)
        admin("one.user.enable", account.id, True)
        assert login(server.endpoint, account)("one.user.info", -1)

    def test_what_the_administrator_writes_into_its_template_changes_nothing(
        self, server: Emulator | Live, vdc: ont.Vdc, accounts: Accounts
    ) -> None:
        account = accounts.account(vdc)
        first = account.credentials()
        second = account.reset_password()
        boss = Raw(server.endpoint, second.auth)
        lies = 'TENANCY_ADMIN_GENERATION="0"\nTENANCY_ADMIN_ID="0"\nTENANCY_KEY="mine"\nTENANCY_ROLE="vdc"'
        boss("one.user.update", account.id, f'{lies}\n{LEGACY}="nonsense"', 0)
        assert account.credentials() == accounts.account(vdc).credentials() == second
        third = account.reset_password()
        assert len({first, second, third}) == 3
        assert [difference.kind.name for difference in accounts.observe(vdc).differences()] == []

    def test_one_that_another_tool_left_in_plain_text_is_understood_and_removed_by_a_reset(
        self, server: Emulator | Live, vdc: ont.Vdc, accounts: Accounts, admin: Raw
    ) -> None:
        account = accounts.account(vdc)
        admin("one.user.passwd", account.id, "plain-text")
        others = 'NOTE="a & b <c>"\nSUNSTONE=[LANG="en_US",THEME="\\"dark\\""]\nSSH_PRIVATE_KEY="a key"'
        admin("one.user.update", account.id, f'{LEGACY}="plain-text"\n{others}', 1)
        before = attributes(admin, account.id)
        assert account.credentials() == Credentials(account.name, "plain-text")
        new = account.reset_password()
        after = attributes(admin, account.id)
        assert before.pop(LEGACY) == "plain-text"
        assert after == before
        assert after["SUNSTONE"] == {"LANG": "en_US", "THEME": '"dark"'}
        assert admin.xml("one.user.info", account.id, True).findtext("TEMPLATE/SSH_PRIVATE_KEY") == "a key"
        assert is_refused(server.endpoint, f"{account.name}:plain-text")
        assert account.credentials() == new

    @pytest.mark.parametrize("method", ["one.user.update", "one.user.info"])
    def test_one_that_was_reset_is_known_whatever_fails_afterwards(
        self, server: Emulator | Live, vdc: ont.Vdc, nobody: Accounts, admin: Raw, method: str
    ) -> None:
        if isinstance(server, Live):
            pytest.skip("a live server has no faults to order")
        accounts = Accounts(nobody.cloud, CredentialSource(legacy_attribute=LEGACY))
        account = accounts.account(vdc)
        admin("one.user.update", account.id, f'{LEGACY}="plain-text"', 1)
        server.faults.arm()
        take = server.faults.take

        def taking(called: str) -> Fault | None:
            if "one.user.chauth" in server.faults.calls and called == method:
                return Fault(kind=FaultKind.REFUSE, method=method, code=0x0800)
            return take(called)

        server.faults.take = taking  # type: ignore[method-assign]
        with pytest.raises(ont.ResetIncomplete) as caught:
            account.reset_password()
        server.faults.take = take  # type: ignore[method-assign]
        new = caught.value.credentials
        assert ont.connect(server.endpoint, new.auth).ping()
        for text in (str(caught.value), repr(caught.value), "".join(traceback.format_exception(caught.value))):
            assert new.password not in text

    def test_one_in_plain_text_that_does_not_hold_is_not_believed(
        self, vdc: ont.Vdc, nobody: Accounts, admin: Raw
    ) -> None:
        legacy = Accounts(nobody.cloud, CredentialSource(legacy_attribute=LEGACY))
        account = legacy.account(vdc)
        admin("one.user.update", account.id, f'{LEGACY}="nonsense"', 1)
        assert legacy.account(vdc).credentials() is None

    def test_two_clouds_have_different_ones(self, vdc: ont.Vdc, accounts: Accounts) -> None:
        account = accounts.account(vdc)
        there = accounts.source.derived("key-elsewhere", account.id, account.name, 1)
        here = account.credentials()
        assert here is not None
        assert here.password != there


@pytest.mark.live
class TestWhoseItIs:
    def test_an_account_of_that_name_is_a_conflict_and_stays(
        self, vdc: ont.Vdc, accounts: Accounts, admin: Raw, sent: list[ont.CallRecord]
    ) -> None:
        foreign = admin("one.user.allocate", f"{NAME}_admin", "secret", "core", [])
        sent.clear()
        with pytest.raises(ont.Conflict, match=f"user {foreign}"):
            accounts.ensure(vdc)
        assert mutations(sent) == []
        assert accounts.ensure(vdc, wanted=False) is None
        assert admin.xml("one.user.info", foreign).findtext("ENABLED") == "1"

    def test_a_member_of_that_name_is_a_conflict_too(self, vdc: ont.Vdc, accounts: Accounts, admin: Raw) -> None:
        marks = f'TENANCY_KEY="{vdc.key}"\nTENANCY_ROLE="admin"\nTENANCY_VERSION="1"'
        foreign = admin("one.user.allocate", f"{NAME}_admin", "secret", "core", [vdc.id])
        admin("one.user.update", foreign, marks, 1)
        with pytest.raises(ont.Conflict, match=f"user {foreign}"):
            accounts.ensure(vdc)

    def test_one_that_is_gone_is_made_anew_with_another_password(
        self, server: Emulator | Live, vdc: ont.Vdc, accounts: Accounts
    ) -> None:
        old = accounts.account(vdc)
        before = old.credentials()
        login(server.endpoint, old)("one.user.delete", old.id)
        new = accounts.account(vdc)
        assert new.id > old.id
        assert accounts.group(vdc).template["TENANCY_ADMIN_GENERATION"] == "2"
        assert login(server.endpoint, new)("one.user.info", -1)
        assert new.credentials() != before
        for call in (old.credentials, old.reset_password):
            with pytest.raises(ont.WentAway, match=f"user {new.id}"):
                call()

    def test_one_that_was_taken_away_is_put_back(
        self, server: Emulator | Live, vdc: ont.Vdc, accounts: Accounts, admin: Raw
    ) -> None:
        account = accounts.account(vdc)
        known = account.credentials()
        admin("one.user.chgrp", account.id, 1)
        assert [difference.kind.name for difference in accounts.observe(vdc).differences()] == [
            "ADMIN_GROUP",
            "ADMIN_RIGHTS",
        ]
        assert accounts.account(vdc) == account
        assert account.credentials() == known
        boss = login(server.endpoint, account)
        boss("one.user.delete", boss("one.user.allocate", RUN + "alice", "secret", "core", []))

    def test_one_that_is_not_asked_for_goes(
        self, vdc: ont.Vdc, accounts: Accounts, admin: Raw, sent: list[ont.CallRecord]
    ) -> None:
        account = accounts.account(vdc)
        assert accounts.ensure(vdc, wanted=False) is None
        assert admin.refused("one.user.info", account.id)[0] == 0x0400
        assert not [rule for rule in admin.xml("one.acl.info") if f"#{account.id} " in (rule.findtext("STRING") or "")]
        sent.clear()
        assert accounts.ensure(vdc, wanted=False) is None
        assert mutations(sent) == []
        foreign = admin("one.user.allocate", account.name, "secret", "core", [vdc.id])
        with pytest.raises(ont.Conflict, match=f"user {foreign}"):
            accounts.ensure(vdc)
        assert accounts.ensure(vdc, wanted=False) is None
        admin("one.user.delete", foreign)
        vdc.delete()

    def test_a_handle_of_a_tenant_that_is_gone_says_so(self, vdc: ont.Vdc, accounts: Accounts, admin: Raw) -> None:
        account = accounts.account(vdc)
        admin("one.user.delete", account.id)
        with pytest.raises(ont.WentAway, match="was removed"):
            account.credentials()
        admin("one.group.update", vdc.id, "TENANCY_KEY=other", 1)
        with pytest.raises(ont.Conflict, match="not the tenant"):
            account.reset_password()
        admin("one.group.update", vdc.id, f"TENANCY_KEY={vdc.key}", 1)
        vdc.delete()
        with pytest.raises(ont.NotFound):
            account.credentials()

    def test_it_says_in_its_template_whose_it_is(self, vdc: ont.Vdc, accounts: Accounts, admin: Raw) -> None:
        written = attributes(admin, accounts.account(vdc).id)
        assert written.pop("TOKEN_PASSWORD")
        assert written == {"TENANCY_KEY": vdc.key, "TENANCY_ROLE": "admin", "TENANCY_VERSION": "1"}


class TestSecrecy:
    def test_nothing_secret_is_shown_or_stored(
        self, server: Emulator, vdc: ont.Vdc, accounts: Accounts, admin: Raw, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        shown = ""
        secrets = {SECRET.decode()}
        for method in ("one.user.allocate", "one.user.chauth", "one.user.update", "one.group.update"):
            for kind in (FaultKind.LOSE_REPLY, FaultKind.REFUSE):
                server.faults.arm(Fault(kind=kind, method=method, times=2))
                try:
                    account = accounts.account(vdc)
                    secrets.add(account.reset_password().password)
                except ont.TenancyError as error:
                    shown += "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
        server.faults.arm()
        account = accounts.account(vdc)
        for _ in range(2):
            secrets.add(account.reset_password().password)
        shown += repr(account) + account._repr_html_() + repr(account.credentials()) + repr(accounts.observe(vdc))
        shown += repr(accounts.source) + str(list(accounts.observe(vdc, wanted=False).differences()))
        stored = "".join(
            admin(method) for method in ("one.userpool.info", "one.grouppool.info", "one.vdcpool.info", "one.acl.info")
        ) + admin("one.user.info", account.id, True)
        assert len(secrets) > 3
        assert caplog.records
        assert shown.count("Refused on purpose") > 1
        for secret in secrets:
            for place in (shown, stored, caplog.text, repr([vars(record) for record in caplog.records])):
                assert secret not in place

    def test_an_account_that_does_not_see_all_users_is_told_so(
        self, server: Emulator, vdc: ont.Vdc, accounts: Accounts, login: Callable[[int, str], Raw]
    ) -> None:
        login(vdc.id, "alice")
        with (
            ont.connect(server.endpoint, "alice:secret", retry=QUICK) as blind,
            pytest.raises(ont.NotAuthorized, match="does not see all users"),
        ):
            Accounts(blind, accounts.source).observe(vdc)
