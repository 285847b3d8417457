"""What every call has in common: sessions, replies, refusals, faults."""

import re
import xmlrpc.client

import pytest


pytestmark = pytest.mark.live

UNAUTHENTICATED = "User couldn't be authenticated, aborting call."


def test_the_version_is_three_numbers(one):
    assert re.fullmatch(r"\d+\.\d+\.\d+", one.ok("one.system.version"))


def test_an_extra_argument_is_ignored(one):
    assert one.ok("one.system.version", "extra", 5) == one.ok("one.system.version")


def test_the_configuration_names_the_rights_that_a_vdc_gives(one):
    config = one.xml("one.system.config")
    assert config.tag == "OPENNEBULA_CONFIGURATION"
    assert config.findtext("DEFAULT_VDC_HOST_ACL") == "MANAGE"
    assert config.findtext("DEFAULT_VDC_CLUSTER_NET_ACL") is not None


def test_a_tenant_may_read_the_configuration(make):
    _, user = make.login()
    assert user.xml("one.system.config").tag == "OPENNEBULA_CONFIGURATION"


@pytest.mark.parametrize("session", ["oneadmin:wrong", "nobody-of-that-name:x", "oneadmin", "", ":", "oneadmin:"])
@pytest.mark.parametrize("method", ["one.system.version", "one.user.info", "one.vmpool.info"])
def test_whatever_is_wrong_with_a_session_the_text_is_the_same(one, method, session):
    arguments = {"one.user.info": (-1,), "one.vmpool.info": (-2, -1, -1, -1)}.get(method, ())
    reply = one.raw(method, session, *arguments)
    assert reply == [False, f"[{method}] {UNAUTHENTICATED}", 256, -1, -1]


def test_a_disabled_user_gets_the_same_text(one, make):
    uid, user = make.login()
    one.ok("one.user.enable", uid, False)
    assert user.fails(256, UNAUTHENTICATED, "one.user.info", -1) == -1


def test_a_refusal_names_the_object_it_did_not_find(one):
    assert one("one.group.info", 99999) == [
        False,
        "[one.group.info] Error getting group [99999].",
        1024,
        99999,
        -1,
    ]


@pytest.mark.parametrize(
    ("noun", "words"),
    [
        ("group", "group"),
        ("user", "user"),
        ("vdc", "VDC"),
        ("cluster", "cluster"),
        ("host", "host"),
        ("datastore", "datastore"),
        ("image", "image"),
        ("vn", "virtual network"),
        ("secgroup", "security group"),
        ("vm", "virtual machine"),
        ("template", "virtual machine template"),
        ("zone", "zone"),
    ],
)
def test_a_missing_object_is_named_in_words(one, noun, words):
    assert one.fails(1024, f"Error getting {words} [99999].", f"one.{noun}.info", 99999) == 99999


@pytest.mark.parametrize(
    ("noun", "words"),
    [
        ("group", "group"),
        ("user", "user"),
        ("vdc", "VDC"),
        ("cluster", "cluster"),
        ("host", "host"),
        ("datastore", "datastore"),
        ("image", "image"),
        ("vn", "virtual network"),
        ("secgroup", "security group"),
        ("template", "virtual machine template"),
    ],
)
def test_a_missing_object_cannot_be_deleted(one, noun, words):
    assert one.fails(1024, f"Error getting {words} [99999].", f"one.{noun}.delete", 99999) == 99999


def test_the_right_on_a_missing_object_is_refused_before_it_is_missed(one):
    assert one.fails(512, "User [0] not authorized to perform action on group.", "one.group.quota", 99999, "") == 99999


def test_an_unknown_method_is_a_fault(one):
    assert one.faults(-506, "one.foo.bar") == "Method 'one.foo.bar' not defined"


def test_a_group_cannot_be_renamed(one):
    assert one.faults(-506, "one.group.rename", 0, "other") == "Method 'one.group.rename' not defined"


@pytest.mark.parametrize(
    ("method", "arguments", "text"),
    [
        ("one.group.info", (), "Not enough parameters"),
        ("one.group.info", ("0",), "Parameter that is supposed to be integer is not"),
        ("one.group.allocate", (5,), "Parameter that is supposed to be a string is not"),
        ("one.vdc.addgroup", ("1", 2), "Parameter that is supposed to be integer is not"),
        ("one.vdc.addgroup", (1,), "Not enough parameters"),
        ("one.user.enable", (0, 1), "Parameter that is supposed to be boolean is not"),
        ("one.vn.allocate", ("NAME=x",), "Not enough parameters"),
        ("one.vm.diskresize", (0, 0, 4096), "Parameter that is supposed to be a string is not"),
    ],
)
def test_arguments_of_the_wrong_type_or_number_are_a_fault(one, method, arguments, text):
    assert one.faults(-501, method, *arguments) == text


def test_arguments_are_read_only_for_an_authenticated_caller(one):
    stranger = one.as_("nobody", "x")
    assert stranger("one.group.info")[2] == 256


def test_a_call_without_a_session_does_not_complete(one):
    with pytest.raises(xmlrpc.client.Fault) as caught:
        one.raw("one.system.version")
    assert caught.value.faultCode == -500


def test_a_character_outside_the_basic_plane_is_a_fault(one):
    assert "not in the Basic Multilingual Plane" in one.faults(-503, "one.group.allocate", "rocket \U0001f680")


def test_methods_can_be_listed(one):
    methods = one.raw("system.listMethods")
    assert {"one.system.version", "one.group.allocate", "one.vmpool.infoset", "system.listMethods"} <= set(methods)
    assert "one.group.rename" not in methods


def test_calls_can_be_sent_together(one):
    calls = [
        {"methodName": "one.system.version", "params": [one.auth]},
        {"methodName": "one.group.info", "params": [one.auth, 99999]},
        {"methodName": "one.foo.bar", "params": [one.auth]},
    ]
    first, second, third = one.raw("system.multicall", calls)
    assert first == [[True, one.ok("one.system.version"), 0]]
    assert second == [[False, "[one.group.info] Error getting group [99999].", 1024, 99999, -1]]
    assert third["faultCode"] == -506
