"""Users: names, passwords, groups, attributes."""

import hashlib
from xml.etree import ElementTree as ET

import pytest


pytestmark = pytest.mark.live

BAD_NAMES = [
    ("", "Invalid NAME, it cannot be empty."),
    ("x" * 129, "Invalid NAME, max length is 128 chars."),
    *((f"a{char}b", f"Invalid NAME, char '{char}' is not allowed.") for char in "&:\"/ ';<\\|\t\n"),
]
BAD_PASSWORDS = [
    ("", "Invalid password, it cannot be empty"),
    ("a b", "Invalid password, character ' ' is not allowed"),
    ("a\tb", "Invalid password, character '\t' is not allowed"),
    ("x" * 257, "Password is longer than max allowed length. Max allowed length for the driver core : 256 bytes"),
]


def groups(one, uid):
    return [int(gid.text) for gid in one.xml("one.user.info", uid).find("GROUPS")]


def attributes(one, uid):
    return {a.tag: a.text for a in one.xml("one.user.info", uid).find("TEMPLATE") if a.tag != "TOKEN_PASSWORD"}


@pytest.mark.parametrize(("name", "text"), BAD_NAMES)
def test_a_name_that_is_not_allowed(one, name, text):
    assert one.fails(8192, text, "one.user.allocate", name, "secret", "core") == -1


@pytest.mark.parametrize("tail", [",b", "é-_.@+~", "%()*=?"])
def test_a_name_with_other_characters_is_kept(one, make, tail):
    name = make.name("user") + tail
    uid = make.user(name=name)
    assert one.xml("one.user.info", uid).findtext("NAME") == name


def test_a_taken_name(one, make):
    name = make.name("user")
    uid = make.user(name=name)
    one.fails(8192, f"NAME is already taken by USER {uid}.", "one.user.allocate", name, "other", "core", [])


def test_names_are_case_sensitive(make):
    name = make.name("user")
    assert make.user(name=name) != make.user(name=name.upper())


@pytest.mark.parametrize(("password", "text"), BAD_PASSWORDS)
def test_a_password_that_is_not_allowed(one, make, password, text):
    one.fails(8192, f"{text}.", "one.user.allocate", make.name("user"), password, "core")
    one.fails(2048, text, "one.user.passwd", make.user(), password)


@pytest.mark.parametrize("password", ["é", "a:b", "x" * 256, "\"'&<>"])
def test_a_password_with_other_characters_logs_in(one, make, password):
    name = make.name("user")
    uid = make.user(name=name, password=password)
    assert one.as_(name, password).xml("one.user.info", -1).findtext("ID") == str(uid)


def test_without_groups_a_user_is_in_the_group_of_users(one, make):
    uid = make.kept("user", one.ok("one.user.allocate", make.name("user"), "secret", "core"))
    assert groups(one, uid) == [1]
    assert one.xml("one.user.info", uid).findtext("GNAME") == "users"


def test_the_first_group_of_the_list_is_the_primary_one(one, make):
    first, second = make.group(), make.group()
    uid = make.user(second, first)
    assert one.xml("one.user.info", uid).findtext("GID") == str(second)
    assert groups(one, uid) == [first, second]


def test_a_missing_group(one, make):
    arguments = make.name("user"), "secret", "core", [99999]
    assert one.fails(1024, "Error getting group [99999].", "one.user.allocate", *arguments) == 99999


def test_an_unknown_driver_is_accepted_and_keeps_the_password_as_given(one, make):
    uid = make.kept("user", one.ok("one.user.allocate", make.name("user"), "secret", "nodriver", []))
    info = one.xml("one.user.info", uid)
    assert (info.findtext("AUTH_DRIVER"), info.findtext("PASSWORD")) == ("nodriver", "secret")


def test_the_core_driver_keeps_a_digest(one, make):
    info = one.xml("one.user.info", make.user(password="secret"))
    assert info.findtext("PASSWORD") == hashlib.sha256(b"secret").hexdigest()


def test_a_new_password_replaces_the_old_one_at_once(one, make):
    uid, user = make.login()
    name = user.auth.partition(":")[0]
    assert one.ok("one.user.passwd", uid, "changed") == uid
    assert user("one.user.info", -1)[2] == 256
    changed = one.as_(name, "changed")
    assert changed.ok("one.user.passwd", uid, "again") == uid
    assert one.as_(name, "again").ok("one.user.info", -1)


def test_nobody_sets_the_password_of_another(make):
    uid, user = make.login()
    user.fails(512, f"User [{uid}] : Not authorized to perform MANAGE USER [0].", "one.user.passwd", 0, "x")


def test_a_missing_user_has_no_password(one):
    one.fails(1024, "Error getting user [99999].", "one.user.passwd", 99999, "x")


def test_minus_one_is_oneself(make):
    uid, user = make.login()
    assert user.xml("one.user.info", -1).findtext("ID") == str(uid)


def test_another_user_cannot_be_read(make):
    uid, user = make.login()
    user.fails(512, f"User [{uid}] : Not authorized to perform USE USER [0].", "one.user.info", 0)


def test_a_disabled_user_is_enabled_again(one, make):
    uid, user = make.login()
    assert one.ok("one.user.enable", uid, False) == uid
    assert one.xml("one.user.info", uid).findtext("ENABLED") == "0"
    assert one.ok("one.user.enable", uid, True) == uid
    assert user.ok("one.user.info", -1)


def test_oneadmin_cannot_be_disabled(one):
    one.fails(2048, "Cannot enable/disable oneadmin user", "one.user.enable", 0, False)


def test_nobody_disables_oneself(make):
    uid, user = make.login()
    user.fails(512, f"User [{uid}] : Not authorized to perform ADMIN USER [{uid}].", "one.user.enable", uid, False)


def test_a_user_joins_and_leaves_a_second_group(one, make):
    first, second = make.group(), make.group()
    uid = make.user(first)
    assert one.ok("one.user.addgroup", uid, second) == uid
    assert groups(one, uid) == [first, second]
    assert one.ok("one.user.delgroup", uid, second) == uid
    assert groups(one, uid) == [first]
    one.fails(2048, "User is not part of this group", "one.user.delgroup", uid, second)


def test_a_user_cannot_join_a_group_twice(one, make):
    gid = make.group()
    uid = make.user(gid)
    one.fails(2048, "User is already in this group", "one.user.addgroup", uid, gid)


def test_a_user_cannot_leave_the_primary_group(one, make):
    gid = make.group()
    uid = make.user(gid)
    one.fails(2048, "Cannot remove user from the primary group", "one.user.delgroup", uid, gid)


@pytest.mark.parametrize("verb", ["addgroup", "delgroup", "chgrp"])
def test_missing_users_and_groups(one, make, verb):
    uid = make.user()
    one.fails(1024, "Error getting group [99999].", f"one.user.{verb}", uid, 99999)
    one.fails(1024, "Error getting user [99999].", f"one.user.{verb}", 99999, 1)


def test_a_new_primary_group_replaces_the_old_one(one, make):
    first, second = make.group(), make.group()
    uid = make.user(first)
    assert one.ok("one.user.chgrp", uid, second) == uid
    assert groups(one, uid) == [second]
    assert str(uid) not in [item.text for item in one.xml("one.group.info", first).find("USERS")]


def test_a_secondary_group_that_becomes_the_primary_one_leaves_the_old_one_in_place(one, make):
    first, second = make.group(), make.group()
    uid = make.user(first)
    one.ok("one.user.addgroup", uid, second)
    one.ok("one.user.chgrp", uid, second)
    assert groups(one, uid) == [first, second]


def test_oneadmin_stays_in_its_group(one):
    text = "user [0] oneadmin cannot be moved outside of the group [0] oneadmin"
    one.fails(8192, text, "one.user.chgrp", 0, 1)


def test_a_replacing_update_keeps_nothing(one, make):
    uid = make.user()
    one.ok("one.user.update", uid, 'A="1"\nB="2"', 0)
    one.ok("one.user.update", uid, 'C="3"', 0)
    assert attributes(one, uid) == {"C": "3"}


def test_a_merging_update_keeps_what_it_does_not_name(one, make):
    uid = make.user()
    one.ok("one.user.update", uid, 'A="1"\nB="2"', 0)
    assert one.ok("one.user.update", uid, 'B="3"', 1) == uid
    assert attributes(one, uid) == {"A": "1", "B": "3"}


def test_an_update_is_one_of_two_kinds(one, make):
    one.fails(4096, "Wrong update type", "one.user.update", make.user(), 'A="1"', 2)


def test_users_update_themselves_only(make):
    uid, user = make.login()
    assert user.ok("one.user.update", uid, 'A="1"', 1) == uid
    user.fails(512, f"User [{uid}] : Not authorized to perform MANAGE USER [0].", "one.user.update", 0, 'A="1"', 1)


def test_oneadmin_cannot_be_deleted(one):
    one.fails(2048, "Cannot delete user. oneadmin cannot be deleted.", "one.user.delete", 0)


def test_nobody_deletes_oneself(make):
    uid, user = make.login()
    user.fails(512, f"User [{uid}] : Not authorized to perform ADMIN USER [{uid}].", "one.user.delete", uid)


def test_a_deleted_user_is_gone_from_its_group(one, make):
    gid = make.group()
    uid = make.user(gid)
    assert one.ok("one.user.delete", uid) == uid
    one.fails(1024, f"Error getting user [{uid}].", "one.user.info", uid)
    assert [item.text for item in one.xml("one.group.info", gid).find("USERS")] == []


def test_an_administrator_changes_how_a_user_logs_in(one, make):
    uid, user = make.login()
    assert one.ok("one.user.chauth", uid, "ssh", "key") == uid
    info = one.xml("one.user.info", uid)
    assert (info.findtext("AUTH_DRIVER"), info.findtext("PASSWORD")) == ("ssh", "key")
    one.ok("one.user.chauth", uid, "core", "secret")
    assert user.ok("one.user.info", -1)


def test_a_change_of_how_a_user_logs_in_ends_the_password_and_the_tokens(one, make):
    uid, user = make.login()
    name = user.auth.partition(":")[0]
    user.ok("one.user.login", name, "token", -1, -1)
    assert one.ok("one.user.chauth", uid, "core", "changed") == uid
    info = one.xml("one.user.info", uid)
    assert info.findtext("PASSWORD") == hashlib.sha256(b"changed").hexdigest()
    assert info.findall("LOGIN_TOKEN") == []
    for secret in ("secret", "token"):
        assert one.as_(name, secret)("one.user.info", -1)[2] == 256
    assert one.as_(name, "changed").ok("one.user.info", -1)


def test_a_change_without_a_password_keeps_what_was_there(one, make):
    uid, _ = make.login()
    before = one.xml("one.user.info", uid).findtext("PASSWORD")
    assert one.ok("one.user.chauth", uid, "ssh", "") == uid
    assert one.xml("one.user.info", uid).findtext("PASSWORD") == before


def test_a_password_set_for_another_driver_is_kept_as_given(one, make):
    uid, _ = make.login()
    one.ok("one.user.chauth", uid, "ssh", "key")
    assert one.ok("one.user.passwd", uid, "in-the-clear") == uid
    assert one.xml("one.user.info", uid).findtext("PASSWORD") == "in-the-clear"


def test_a_password_that_is_not_allowed_leaves_how_a_user_logs_in(one, make):
    uid, user = make.login()
    one.fails(2048, "Invalid password, character ' ' is not allowed", "one.user.chauth", uid, "ssh", "a b")
    assert one.xml("one.user.info", uid).findtext("AUTH_DRIVER") == "core"
    assert user.ok("one.user.info", -1)


def test_a_disabled_user_loses_the_tokens_and_keeps_the_password(one, make):
    uid, user = make.login()
    user.ok("one.user.login", user.auth.partition(":")[0], "token", -1, -1)
    one.ok("one.user.enable", uid, False)
    assert user("one.user.info", -1)[2] == 256
    assert one.xml("one.user.info", uid).findall("LOGIN_TOKEN") == []
    one.ok("one.user.enable", uid, True)
    assert user.ok("one.user.info", -1)


def test_a_template_is_written_back_as_it_was_read(one, make):
    uid = make.user()
    one.ok(
        "one.user.update", uid, 'A="a & b <c> \\"d\\""\nV=[X="1",Y="two words"]\nSSH_PRIVATE_KEY="a key"\nOLD="gone"', 0
    )
    template = one.xml("one.user.info", uid).find("TEMPLATE")
    before = ET.tostring(template)
    template.remove(template.find("OLD"))
    one.ok("one.user.update", uid, ET.tostring(template, "unicode"), 0)
    assert ET.tostring(one.xml("one.user.info", uid).find("TEMPLATE")) == before.replace(b"<OLD>gone</OLD>", b"")
    assert one.xml("one.user.info", uid, True).findtext("TEMPLATE/SSH_PRIVATE_KEY") == "a key"


def test_the_pool_shows_a_user_only_oneself(make):
    uid, user = make.login()
    assert [item.findtext("ID") for item in user.xml("one.userpool.info").findall("USER")] == [str(uid)]


def test_the_pool_lists_the_highest_id_first(one, make):
    older, younger = make.user(), make.user()
    ids = [int(item.findtext("ID")) for item in one.xml("one.userpool.info").findall("USER")]
    assert ids.index(younger) < ids.index(older)
    assert ids == sorted(ids, reverse=True)
