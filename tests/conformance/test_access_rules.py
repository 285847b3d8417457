"""Access rules: what can be written, and what is refused."""

import re

import pytest

from conformance.access import rules_of
from conformance.workshop import rule


pytestmark = pytest.mark.live

MALFORMED = [
    (
        rule("#1 VM/%0 USE"),
        "#1 VM/%0 USE #0",
        "[resource] CLUSTER(%) selector can be applied only to DATASTORE, HOST and NET types",
    ),
    (
        rule("#1 HOST/@0 USE"),
        "#1 HOST/@0 USE #0",
        "[resource] GROUP(@) selector cannot be applied to HOST, GROUP, CLUSTER, ZONE or VDC types",
    ),
    (
        ("100000001", "0", "1"),
        "#1 /?? USE #0",
        "[resource] is missing one of the INDIVIDUAL, GROUP, CLUSTER or ALL bits; [resource] type is missing",
    ),
    (
        ("100000001", "1000000000", "1"),
        "#1 VM/?? USE #0",
        "[resource] is missing one of the INDIVIDUAL, GROUP, CLUSTER or ALL bits",
    ),
    (("100000001", "1400000000", "0"), "#1 VM/*  #0", "wrong [rights], it cannot be 0"),
    (("100000001", "1400000000", "10"), "#1 VM/*  #0", "wrong [rights], it cannot be bigger than 0xF"),
    (
        ("0", "1400000000", "1"),
        "?? VM/* USE #0",
        "[user] is missing one of the INDIVIDUAL, GROUP or ALL bits",
    ),
    (
        ("zz", "1400000000", "1"),
        "?? VM/* USE #0",
        "[user] is missing one of the INDIVIDUAL, GROUP or ALL bits",
    ),
    (
        ("100000001", "1400000000", "1", "200000005"),
        "#1 VM/* USE ??",
        "[zone] GROUP (@) bit is not supported",
    ),
]


def written(one, oid):
    return next(item for item in one.xml("one.acl.info") if item.findtext("ID") == str(oid))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("#88881 VM/* USE", "#88881 VM/* USE #0"),
        ("@88882 NET+VM/@99999 USE+MANAGE+ADMIN+CREATE", "@88882 VM+NET/@99999 USE+MANAGE+ADMIN+CREATE #0"),
        ("@88883 NET/%88884 USE", "@88883 NET/%88884 USE #0"),
        ("* VM/#88885 USE", "* VM/#88885 USE #0"),
    ],
)
def test_a_rule_about_users_and_objects_that_do_not_exist(one, make, given, text):
    assert written(one, make.acl(given)).findtext("STRING") == text


def test_a_rule_is_shown_in_numbers_too(one, make):
    found = written(one, make.acl("@88886 HOST/%5 MANAGE"))
    assert {item.tag: item.text for item in found} == {
        "ID": found.findtext("ID"),
        "USER": f"{0x2_0000_0000 + 88886:x}",
        "RESOURCE": "2800000005",
        "RIGHTS": "2",
        "ZONE": "100000000",
        "STRING": "@88886 HOST/%5 MANAGE #0",
    }


def test_numbers_may_start_with_0x(one, make):
    user, resource, rights = (f"0x{number}" for number in rule("#88887 VM/* USE"))
    oid = make.kept("acl", one.ok("one.acl.addrule", user, resource, rights))
    assert written(one, oid).findtext("STRING") == "#88887 VM/* USE #0"


@pytest.mark.parametrize(("zone", "text"), [("100000000", "#0"), ("400000000", "*"), ("100000005", "#5")])
def test_a_rule_may_name_a_zone(one, make, zone, text):
    oid = make.kept("acl", one.ok("one.acl.addrule", *rule("#88888 VM/* USE"), zone))
    assert written(one, oid).findtext("STRING") == f"#88888 VM/* USE {text}"


def test_a_duplicate_is_refused(one, make):
    make.acl("#88889 VM/* USE")
    one.fails(8192, "Rule #88889 VM/* USE #0 already exists", "one.acl.addrule", *rule("#88889 VM/* USE"))


def test_the_same_rule_with_other_rights_is_another_rule(one, make):
    make.acl("#88890 VM/* USE")
    make.acl("#88890 VM/* USE+MANAGE")
    assert rules_of(one, "#88890") == ["VM/* USE", "VM/* USE+MANAGE"]


@pytest.mark.parametrize(("arguments", "written", "text"), MALFORMED)
def test_a_malformed_rule(one, arguments, written, text):
    one.fails(8192, f"Rule {written} is malformed: {text}", "one.acl.addrule", *arguments)


def test_a_rule_is_deleted_once(one, make):
    oid = make.acl("#88891 VM/* USE")
    assert one.ok("one.acl.delrule", oid) == oid
    one.fails(8192, f"Rule {oid} does not exist", "one.acl.delrule", oid)


@pytest.mark.parametrize(("method", "arguments"), [("info", ()), ("addrule", rule("#1 VM/* USE")), ("delrule", (0,))])
def test_a_tenant_sees_and_changes_no_rules(make, method, arguments):
    uid, user = make.login()
    user.fails(512, f"User [{uid}] : Not authorized to perform MANAGE ACL.", f"one.acl.{method}", *arguments)


def test_a_group_administrator_has_four_rules(one, make):
    gid = make.group()
    uid = make.user(gid)
    one.ok("one.group.addadmin", gid, uid)
    kinds = "VM+NET+IMAGE+TEMPLATE+DOCUMENT+SECGROUP+VROUTER+VMGROUP+BACKUPJOB"
    assert rules_of(one, f"#{uid}") == [
        f"USER/@{gid} USE+MANAGE+ADMIN+CREATE",
        f"{kinds}/@{gid} USE+MANAGE",
        "VROUTER/* CREATE",
        f"GROUP/#{gid} MANAGE",
    ]
    one.ok("one.group.deladmin", gid, uid)
    assert rules_of(one, f"#{uid}") == []


def test_the_stock_rules_are_there(one):
    stock = [item.findtext("STRING") for item in one.xml("one.acl.info")]
    assert "@1 VM+IMAGE+TEMPLATE+DOCUMENT+SECGROUP+VMGROUP+BACKUPJOB/* CREATE *" in stock
    assert "* ZONE/* USE *" in stock
    assert "* MARKETPLACE+MARKETPLACEAPP/* USE *" in stock


def test_deleting_a_user_takes_its_rules(one, make):
    uid = make.user()
    make.acl(f"#{uid} VM/* USE")
    one.ok("one.user.delete", uid)
    assert rules_of(one, f"#{uid}") == []


def test_deleting_a_group_takes_the_rules_about_it(one, make):
    gid, other = make.group(), make.group()
    make.acl(f"@{gid} VM/* CREATE")
    make.acl(f"@{other} VM/@{gid} USE")
    one.ok("one.group.delete", gid)
    assert rules_of(one, f"@{gid}") == []
    assert not [text for text in rules_of(one, f"@{other}") if re.search(rf"@{gid}\b", text)]
