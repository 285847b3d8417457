"""Rules of access control lists, in the numbers of `AclRule.h`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opennebula_tenancy import rights
from opennebula_tenancy._wire.acl import AclRule, Resource, Right


STOCK = (
    # The answer of one.acl.info on a fresh 7.4.0, with the rules of a group 100 that one.vdc.addcluster(_, 0, 0) makes.
    "<ACL_POOL>"
    "<ACL><ID>0</ID><USER>200000001</USER><RESOURCE>121429400000000</RESOURCE><RIGHTS>8</RIGHTS><ZONE>400000000</ZONE>"
    "<STRING>@1 VM+IMAGE+TEMPLATE+DOCUMENT+SECGROUP+VMGROUP+BACKUPJOB/* CREATE *</STRING></ACL>"
    "<ACL><ID>3</ID><USER>200000001</USER><RESOURCE>2400000000</RESOURCE><RIGHTS>2</RIGHTS><ZONE>100000000</ZONE>"
    "<STRING>@1 HOST/* MANAGE #0</STRING></ACL>"
    "<ACL><ID>4</ID><USER>200000001</USER><RESOURCE>4400000000</RESOURCE><RIGHTS>1</RIGHTS><ZONE>100000000</ZONE>"
    "<STRING>@1 NET/* USE #0</STRING></ACL>"
    "<ACL><ID>5</ID><USER>200000001</USER><RESOURCE>100400000000</RESOURCE><RIGHTS>1</RIGHTS><ZONE>100000000</ZONE>"
    "<STRING>@1 DATASTORE/* USE #0</STRING></ACL>"
    "<ACL><ID>1</ID><USER>400000000</USER><RESOURCE>800400000000</RESOURCE><RIGHTS>1</RIGHTS><ZONE>400000000</ZONE>"
    "<STRING>* ZONE/* USE *</STRING></ACL>"
    "<ACL><ID>2</ID><USER>400000000</USER><RESOURCE>18000400000000</RESOURCE><RIGHTS>1</RIGHTS><ZONE>400000000</ZONE>"
    "<STRING>* MARKETPLACE+MARKETPLACEAPP/* USE *</STRING></ACL>"
    "<ACL><ID>7</ID><USER>200000064</USER><RESOURCE>4800000000</RESOURCE><RIGHTS>1</RIGHTS><ZONE>100000000</ZONE>"
    "<STRING>@100 NET/%0 USE #0</STRING></ACL>"
    "<ACL><ID>8</ID><USER>200000064</USER><RESOURCE>2800000000</RESOURCE><RIGHTS>2</RIGHTS><ZONE>100000000</ZONE>"
    "<STRING>@100 HOST/%0 MANAGE #0</STRING></ACL>"
    "</ACL_POOL>"
)
TEXTS = {
    0: "@1 VM+IMAGE+TEMPLATE+DOCUMENT+SECGROUP+VMGROUP+BACKUPJOB/* CREATE",
    1: "* ZONE/* USE",
    2: "* MARKETPLACE+MARKETPLACEAPP/* USE",
    3: "@1 HOST/* MANAGE",
    4: "@1 NET/* USE",
    5: "@1 DATASTORE/* USE",
    7: "@100 NET/%0 USE",
    8: "@100 HOST/%0 MANAGE",
}


def rule(user: str, resource: str, what: int, zone: str = "400000000") -> AclRule:
    return AclRule(int(user, 16), int(resource, 16), what, int(zone, 16))


def test_the_rules_of_a_server_read_as_the_server_writes_them() -> None:
    rules = AclRule.list_of(STOCK)
    assert {found.id: str(found) for found in rules} == TEXTS


def test_what_was_read_is_written_back_in_the_same_digits() -> None:
    rules = {found.id: found for found in AclRule.list_of(STOCK)}
    assert rules[0].params == ("200000001", "121429400000000", "8", "400000000")
    assert rules[7].params == ("200000064", "4800000000", "1", "100000000")


def test_a_rule_without_a_zone_holds_in_all() -> None:
    (found,) = AclRule.list_of(
        "<ACL_POOL><ACL><ID>1</ID><USER>100000002</USER><RESOURCE>1100000007</RESOURCE><RIGHTS>f</RIGHTS></ACL>"
        "</ACL_POOL>"
    )
    assert found == rule("100000002", "1100000007", 15)
    assert str(found) == "#2 VM/#7 USE+MANAGE+ADMIN+CREATE"


def test_the_rule_that_lets_a_group_create_has_the_bits_of_the_command_line_tool() -> None:
    made = rights.grant(100)
    assert made.params == ("200000064", "125429400000000", "8", "400000000")
    assert str(made) == "@100 VM+IMAGE+TEMPLATE+DOCUMENT+SECGROUP+VROUTER+VMGROUP+BACKUPJOB/* CREATE"
    assert made.is_for_group(100)
    assert not made.is_for_group(10)
    assert made.id is None


def test_rules_are_equal_whatever_their_ids() -> None:
    assert AclRule(1, 2, 3, 4, id=5) == AclRule(1, 2, 3, 4, id=6)


@pytest.mark.parametrize(
    ("resource", "what", "opens", "suspicious"),
    [
        ("4800000000", Right.USE, True, False),  # NET/%0 USE
        ("4800000064", Right.USE | Right.MANAGE, True, False),  # NET/%100 USE+MANAGE
        ("4400000000", Right.USE, True, False),  # NET/* USE
        ("4400000000", Right.USE | Right.CREATE, True, False),
        ("4400000000", Right.CREATE, False, False),  # making networks of one's own opens nobody else's
        ("4100000002", Right.USE, False, False),  # NET/#2 USE
        ("4200000064", Right.USE, False, False),  # NET/@100 USE
        ("6800000000", Right.USE, False, True),  # HOST+NET/%0 USE
        ("10400000000", Right.MANAGE, False, False),  # USER/* is none of it
        ("5400000000", Right.CREATE, False, False),  # VM+NET/* CREATE
        ("5400000000", Right.USE | Right.CREATE, False, True),
    ],
)
def test_rules_that_open_networks_of_others_are_told_from_the_rest(
    resource: str, what: int, opens: bool, suspicious: bool
) -> None:
    found = rule("200000064", resource, what)
    assert (rights.excess([found]) == (found,)) is opens
    assert (rights.suspicious([found]) == (found,)) is suspicious


def test_the_rules_of_a_group_are_those_that_name_it() -> None:
    rules = AclRule.list_of(STOCK)
    assert [found.id for found in rights.of_group(rules, 100)] == [7, 8]
    assert rights.of_group(rules, 10) == ()


@given(st.sets(st.sampled_from(list(Resource)), min_size=1), st.sets(st.sampled_from(list(Resource)), min_size=1))
def test_a_rule_covers_another_when_it_names_all_its_kinds(these: set[Resource], those: set[Resource]) -> None:
    wide, narrow = AclRule.group_may_create(100, these), AclRule.group_may_create(100, those)
    assert wide.covers(narrow) is (those <= these)
    assert not wide.covers(AclRule.group_may_create(101, those))


def test_a_rule_covers_no_other_scope_right_or_zone() -> None:
    wide = rule("200000064", "5400000000", Right.USE | Right.CREATE)
    assert wide.covers(rule("200000064", "1400000000", Right.USE))
    assert wide.covers(rule("200000064", "1400000000", Right.USE, "100000000"))
    assert not wide.covers(rule("200000064", "1400000000", Right.USE | Right.ADMIN))
    assert not wide.covers(rule("200000064", "1800000000", Right.USE))
    assert not rule("200000064", "5400000000", Right.USE, "100000000").covers(rule("200000064", "1400000000", 1))


def test_the_right_to_create_is_there_only_when_all_of_it_is() -> None:
    assert not rights.is_covered([], rights.grant(100))
    assert not rights.is_covered([AclRule.group_may_create(100, [Resource.VM, Resource.IMAGE])], rights.grant(100))
    assert rights.is_covered([AclRule.group_may_create(100, Resource)], rights.grant(100))
    assert not rights.is_covered([rights.grant(101)], rights.grant(100))


def test_the_right_to_use_a_security_group_is_for_that_one_of_that_zone_alone() -> None:
    made = rights.use_of_security_group(100, 7, 0)
    assert made.params == ("200000064", "1000100000007", "1", "100000000")
    assert str(made) == "@100 SECGROUP/#7 USE"
    assert not made.covers_networks
    for other in ((101, 7, 0), (100, 8, 0), (100, 7, 1)):
        assert not rights.is_covered([rights.use_of_security_group(*other)], made)
