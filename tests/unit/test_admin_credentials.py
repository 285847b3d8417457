"""Passwords of administrators: derived the same for ever, different for every account, shown nowhere."""

import copy
import pickle
import re
import traceback
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opennebula_tenancy._wire.user_records import UserRecord, template_without
from opennebula_tenancy.admin_credentials import Credentials, CredentialSource, random_password
from opennebula_tenancy.errors import ProtocolViolation, SettingsError


SECRET = b"a secret of 32 bytes, or more ..."
SOURCE = CredentialSource(secret=SECRET)
CANARY = "canary-7a31"
USER = (
    "<USER><ID>12</ID><GID>100</GID><GROUPS><ID>100</ID><ID>103</ID></GROUPS><GNAME>acme</GNAME><NAME>acme_admin</NAME>"
    "<PASSWORD>2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b</PASSWORD>"
    "<AUTH_DRIVER>{driver}</AUTH_DRIVER><ENABLED>1</ENABLED>"
    "<LOGIN_TOKEN><TOKEN>canary-7a31</TOKEN><EXPIRATION_TIME>-1</EXPIRATION_TIME><EGID>-1</EGID></LOGIN_TOKEN>"
    "<TEMPLATE><A>1</A><OLD>canary-7a31</OLD><V><X>1</X></V><OLD>again</OLD></TEMPLATE></USER>"
)


def test_a_derived_password_never_changes() -> None:
    """Every password that was ever shown would become another one."""
    assert SOURCE.derived("key-of-acme", 12, "acme_admin", 1) == "e2c5ojfnxlpfxdx5x5d2k5sjhsothnie"
    assert SOURCE.new("key-of-acme", 12, "acme_admin", 1) == SOURCE.derived("key-of-acme", 12, "acme_admin", 1)


@pytest.mark.parametrize(
    "other",
    [
        SOURCE.derived("key-of-other", 12, "acme_admin", 1),
        SOURCE.derived("key-of-acme", 13, "acme_admin", 1),
        SOURCE.derived("key-of-acme", 12, "acme_admi", 1),
        SOURCE.derived("key-of-acme", 12, "acme_admin", 2),
        SOURCE.derived("key-of-acme", 1, "2acme_admin", 1),
        CredentialSource(secret=SECRET + b".").derived("key-of-acme", 12, "acme_admin", 1),
    ],
)
def test_a_derived_password_depends_on_everything(other: str) -> None:
    assert other != SOURCE.derived("key-of-acme", 12, "acme_admin", 1)


@given(st.binary(min_size=16), st.text(), st.integers(min_value=0), st.text(), st.integers(min_value=1))
def test_a_password_is_one_that_oned_takes_and_nobody_guesses(
    secret: bytes, key: str, user_id: int, name: str, generation: int
) -> None:
    source = CredentialSource(secret=secret)
    try:
        password = source.derived(key, user_id, name, generation)
    except UnicodeEncodeError:  # lone surrogates, which no key and no name has
        return
    assert password is not None
    assert re.fullmatch("[a-z2-7]{32}", password)


def test_without_a_secret_passwords_are_random() -> None:
    source = CredentialSource()
    assert source.derived("key-of-acme", 12, "acme_admin", 1) is None
    made = {source.new("key-of-acme", 12, "acme_admin", 1) for _ in range(50)} | {random_password() for _ in range(50)}
    assert len(made) == 100
    assert all(re.fullmatch("[a-z2-7]{32}", password) for password in made)


@pytest.mark.parametrize("secret", [b"", b"fifteen bytes..", "a text of more than sixteen", 17])
def test_a_secret_that_is_none_is_refused_without_being_shown(secret: bytes) -> None:
    with pytest.raises(SettingsError, match="secret") as caught:
        CredentialSource(secret=secret)
    assert str(secret) not in str(caught.value) or not secret


@pytest.mark.parametrize("name", ["", "lower", "A B", "TENANCY_KEY", "TOKEN_PASSWORD", "1A", 'A="'])
def test_an_attribute_that_no_other_tool_writes_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="legacy_attribute"):
        CredentialSource(legacy_attribute=name)


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        CredentialSource(secret=b"short", legacy_attribute="lower")
    assert len(caught.value.problems) == 2


def test_credentials_are_in_the_form_that_opennebula_takes() -> None:
    assert Credentials("acme_admin", CANARY).auth == f"acme_admin:{CANARY}"


def test_nothing_secret_is_shown() -> None:
    credentials = Credentials("acme_admin", CANARY)
    source = CredentialSource(secret=CANARY.encode() * 2)
    record = UserRecord.parse(USER.format(driver="core"))
    shown = repr(credentials) + str(credentials) + f"{credentials}" + repr(source) + str(source) + repr(record)
    try:
        raise ValueError(credentials, source, record)
    except ValueError as error:
        shown += "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format()) + repr(
            error
        )
    assert CANARY not in shown
    assert record.digest not in shown
    assert "acme_admin" in shown
    assert copy.copy(credentials) == pickle.loads(pickle.dumps(credentials)) == credentials


class TestUserRecord:
    def test_it_reads_a_user_and_counts_the_login_tokens(self) -> None:
        record = UserRecord.parse(USER.format(driver="core"))
        assert (record.id, record.name, record.gid, record.groups) == (12, "acme_admin", 100, {100, 103})
        assert (record.driver, record.enabled, record.tokens) == ("core", True, 1)
        assert record.template["A"] == "1"
        assert "V" not in record.template

    def test_a_pool_is_read(self) -> None:
        pool = f"<USER_POOL>{USER.format(driver='core')}<QUOTAS><ID>12</ID></QUOTAS></USER_POOL>"
        assert [user.id for user in UserRecord.pool(pool)] == [12]

    @pytest.mark.parametrize(
        ("driver", "password", "is_it"), [("core", "secret", True), ("core", "Secret", False), ("ssh", "secret", False)]
    )
    def test_it_knows_its_password_by_the_digest(self, driver: str, password: str, is_it: bool) -> None:
        assert UserRecord.parse(USER.format(driver=driver)).has_password(password) is is_it

    def test_a_password_kept_as_it_is_by_another_driver_is_no_digest(self) -> None:
        text = USER.format(driver="ssh").replace("2bb80d537b1da3e3", "")
        assert not UserRecord.parse(text).has_password("8bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b")

    def test_a_template_is_written_back_without_one_attribute(self) -> None:
        rest = ET.fromstring(template_without(USER.format(driver="core"), "OLD"))
        assert (rest.tag, [item.tag for item in rest], rest.findtext("V/X")) == ("TEMPLATE", ["A", "V"], "1")
        assert len(ET.fromstring(template_without("<USER/>", "OLD"))) == 0

    def test_an_answer_that_is_no_user_is_refused(self) -> None:
        with pytest.raises(ProtocolViolation):
            UserRecord.parse("<GROUP/>")
