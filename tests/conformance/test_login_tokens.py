"""Login tokens: who may make them, how long they last, which group they are for."""

import time

import pytest


pytestmark = pytest.mark.live


def tokens(one, uid):
    found = one.xml("one.user.info", uid).findall("LOGIN_TOKEN")
    return {t.findtext("TOKEN"): (int(t.findtext("EXPIRATION_TIME")), int(t.findtext("EGID"))) for t in found}


@pytest.fixture
def login(make):
    """A user in two groups: its id, name, the groups, calls as the user."""
    first, second = make.group(), make.group()
    uid, user = make.login(first, second)
    return uid, user.auth.partition(":")[0], (first, second), user


def test_a_token_logs_in(one, login):
    uid, name, _, user = login
    token = user.ok("one.user.login", name, "", 60, -1)
    assert len(token) >= 60
    assert one.as_(name, token).xml("one.user.info", -1).findtext("ID") == str(uid)
    expires_s, egid = tokens(one, uid)[token]
    assert egid == -1
    assert 50 < expires_s - time.time() < 70


def test_a_token_may_be_chosen(one, login):
    uid, name, _, user = login
    assert user.ok("one.user.login", name, "chosen", 60, -1) == "chosen"
    assert "chosen" in tokens(one, uid)
    assert one.as_(name, "chosen").ok("one.user.info", -1)


def test_a_token_without_end_never_expires(one, login):
    uid, name, _, user = login
    user.ok("one.user.login", name, "forever", -1, -1)
    assert tokens(one, uid)["forever"] == (-1, -1)


def test_a_token_expires(one, login):
    _, name, _, user = login
    user.ok("one.user.login", name, "brief", 1, -1)
    deadline = time.monotonic() + 30
    while one.as_(name, "brief")("one.user.info", -1)[0]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert one.as_(name, "brief")("one.user.info", -1)[2] == 256


def test_a_token_for_a_group_acts_with_that_group_only(one, login):
    uid, name, (first, second), user = login
    user.ok("one.user.login", name, "scoped", 60, second)
    scoped = one.as_(name, "scoped")
    assert scoped.ok("one.group.info", second)
    scoped.fails(512, f"User [{uid}] : Not authorized to perform USE GROUP [{first}].", "one.group.info", first)


def test_a_token_is_for_a_group_of_the_user(login):
    _, name, _, user = login
    user.fails(4096, "EGID is not in user group list", "one.user.login", name, "", 60, 99999)


def test_an_administrator_makes_tokens_for_a_group_only(one, login):
    uid, name, (first, _), _ = login
    text = "Cannot create a full token with a specific group token"
    one.fails(4096, text, "one.user.login", name, "", 60, -1)
    token = one.ok("one.user.login", name, "", 60, first)
    assert tokens(one, uid)[token][1] == first
    assert one.as_(name, token).ok("one.user.info", -1)


def test_a_token_is_taken_back(one, login):
    uid, name, _, user = login
    user.ok("one.user.login", name, "chosen", 60, -1)
    assert user.ok("one.user.login", name, "chosen", 0, -1) == "chosen"
    assert one.as_(name, "chosen")("one.user.info", -1)[2] == 256
    assert tokens(one, uid) == {}


def test_all_tokens_are_taken_back_with_an_empty_answer(one, login):
    uid, name, _, user = login
    user.ok("one.user.login", name, "first", 60, -1)
    user.ok("one.user.login", name, "second", 60, -1)
    assert user.ok("one.user.login", name, "", 0, -1) == ""
    assert tokens(one, uid) == {}


def test_an_unknown_token_is_not_taken_back(login):
    _, name, _, user = login
    user.fails(4096, "Could not find token: nope", "one.user.login", name, "nope", 0, -1)


def test_a_life_is_not_negative(login):
    _, name, _, user = login
    user.fails(4096, "Wrong valid period for token", "one.user.login", name, "", -5, -1)


def test_a_missing_user_gets_no_token(one):
    one.fails(1024, "Error getting user Pool.", "one.user.login", "nobody-of-that-name", "", 60, -1)


def test_nobody_makes_a_token_for_another(login):
    uid, _, _, user = login
    text = f"User [{uid}] : Not authorized to perform MANAGE USER [0]."
    user.fails(512, text, "one.user.login", "oneadmin", "", 60, -1)


def test_the_password_still_works_beside_tokens(login):
    _, name, _, user = login
    user.ok("one.user.login", name, "", 60, -1)
    assert user.ok("one.user.info", -1)


@pytest.mark.parametrize(("method", "arguments"), [("passwd", ("changed",)), ("chauth", ("core", "changed"))])
def test_a_new_password_ends_every_token(one, login, method, arguments):
    uid, name, _, user = login
    for token, valid_s in (("brief", 60), ("forever", -1)):
        user.ok("one.user.login", name, token, valid_s, -1)
    one.ok(f"one.user.{method}", uid, *arguments)
    assert tokens(one, uid) == {}
    for secret in ("brief", "forever", "secret"):
        assert one.as_(name, secret)("one.user.info", -1)[2] == 256
    assert one.as_(name, "changed").ok("one.user.info", -1)


def test_a_user_has_ten_tokens_at_most(one, login):
    uid, name, _, user = login
    for number in range(10):
        user.ok("one.user.login", name, f"token-{number}", 60, -1)
    user.fails(4096, "Max number of tokens limit reached.", "one.user.login", name, "", 60, -1)
    assert len(tokens(one, uid)) == 10


def test_an_administrator_of_the_group_makes_and_takes_back_tokens_of_a_member(one, make):
    gid = make.group()
    admin_id, admin = make.login(gid)
    uid, member = make.login(gid)
    one.ok("one.group.addadmin", gid, admin_id)
    name = member.auth.partition(":")[0]
    assert admin.ok("one.user.login", name, "lent", 60, -1) == "lent"
    assert one.as_(name, "lent").xml("one.user.info", -1).findtext("ID") == str(uid)
    assert admin.ok("one.user.login", name, "", 0, -1) == ""
    assert one.as_(name, "lent")("one.user.info", -1)[2] == 256


def test_a_token_for_a_group_that_the_user_leaves_is_of_no_use(one, login):
    uid, name, (_, second), user = login
    user.ok("one.user.login", name, "scoped", 60, second)
    one.ok("one.user.delgroup", uid, second)
    assert one.as_(name, "scoped")("one.user.info", -1)[2] == 256
    assert tokens(one, uid) == {}
