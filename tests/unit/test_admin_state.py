"""Which user is a tenant's administrator account, and which is not although it looks like one."""

from collections.abc import Mapping

import attrs
import pytest

from opennebula_tenancy import admin_mark
from opennebula_tenancy._wire.records import GroupRecord
from opennebula_tenancy._wire.user_records import UserRecord
from opennebula_tenancy.admin_state import AdminState, account_of
from opennebula_tenancy.difference import Kind


NAME = "acme_admin"
AFTER = 11
NEW = UserRecord(12, NAME, 100, frozenset({100}), "core", True, 0, {"TOKEN_PASSWORD": "noise"}, "digest")
BOUND = admin_mark.bound_to(12)


def group(*marks: Mapping[str, str], admins: frozenset[int] = frozenset()) -> GroupRecord:
    template: dict[str, str] = {}
    for mark in marks:
        template |= mark
    return GroupRecord(100, "acme", frozenset({12}), admins, template, ())


CLAIMING = group(admin_mark.claim(AFTER))


def test_a_new_user_in_the_group_that_claims_it_is_the_account() -> None:
    others = [attrs.evolve(NEW, id=0, name="oneadmin", gid=0), attrs.evolve(NEW, id=13, name="alice")]
    assert account_of([*others, NEW], NAME, CLAIMING) == NEW


@pytest.mark.parametrize(
    "other",
    [
        attrs.evolve(NEW, id=AFTER),
        attrs.evolve(NEW, name="alice"),
        attrs.evolve(NEW, gid=1),
        attrs.evolve(NEW, groups=frozenset({100, 103})),
        attrs.evolve(NEW, driver="ssh"),
        attrs.evolve(NEW, enabled=False),
        attrs.evolve(NEW, tokens=1),
        attrs.evolve(NEW, template={"TOKEN_PASSWORD": "noise", "NOTE": "mine"}),
        attrs.evolve(NEW, template={"TENANCY_KEY": "key-of-acme", "TENANCY_ROLE": "admin", "TENANCY_VERSION": "1"}),
    ],
)
def test_a_user_that_is_older_or_elsewhere_or_was_touched_is_not(other: UserRecord) -> None:
    assert account_of([other], NAME, CLAIMING) is None


@pytest.mark.parametrize(
    "marks",
    [
        {},
        admin_mark.UNBOUND,
        admin_mark.bound_to(7),
        {"TENANCY_ADMIN_AFTER": "-1"},
        {"TENANCY_ADMIN_AFTER": ""},
        {"TENANCY_ADMIN_ID": "all"},
    ],
)
def test_a_group_that_claims_none_has_none(marks: Mapping[str, str]) -> None:
    assert account_of([NEW], NAME, group(marks)) is None


def test_the_user_that_the_group_names_is_the_account_whatever_it_says_of_itself() -> None:
    changed = attrs.evolve(NEW, name="other", gid=1, driver="ldap", enabled=False, template={"TENANCY_KEY": "mine"})
    namesake = attrs.evolve(NEW, id=13)
    assert account_of([namesake, changed], NAME, group(admin_mark.claim(AFTER), BOUND)) == changed


def test_a_claim_beside_a_binding_to_a_user_who_is_gone_finds_the_new_one() -> None:
    assert account_of([NEW], NAME, group(admin_mark.bound_to(7), admin_mark.claim(AFTER))) == NEW


def test_a_claim_that_comes_late_leaves_the_binding() -> None:
    assert admin_mark.bound_user(group(BOUND, admin_mark.claim(AFTER))) == 12


def test_what_is_taken_away_is_neither_named_nor_claimed_and_the_count_goes_on() -> None:
    after = group(admin_mark.claim(AFTER), BOUND, admin_mark.ready(12, 3), admin_mark.UNBOUND)
    assert (admin_mark.bound_user(after), admin_mark.claimed_after(after)) == (None, None)
    assert (admin_mark.ready_user(after), admin_mark.generation_of(after)) == (None, 3)


def state(user: UserRecord | None, *marks: Mapping[str, str], wanted: bool = True, admin: bool = True) -> AdminState:
    held = group(*marks, admins=frozenset({12} if admin else ()))
    return AdminState(name=NAME, wanted=wanted, group=held, user=user)


READY = (BOUND, admin_mark.ready(12, 1))


@pytest.mark.parametrize(
    ("seen", "kinds"),
    [
        (state(NEW, *READY), []),
        (state(NEW, *READY, admin=False), [Kind.ADMIN_RIGHTS]),
        (state(attrs.evolve(NEW, gid=1), *READY), [Kind.ADMIN_GROUP]),
        (state(attrs.evolve(NEW, gid=1), *READY, admin=False), [Kind.ADMIN_GROUP, Kind.ADMIN_RIGHTS]),
        (state(NEW, BOUND), [Kind.ADMIN]),
        (state(NEW, BOUND, admin_mark.ready(7, 4)), [Kind.ADMIN]),
        (state(NEW, admin_mark.claim(AFTER)), [Kind.ADMIN]),
        (state(None), [Kind.ADMIN]),
        (state(None, wanted=False), []),
        (state(NEW, *READY, wanted=False), [Kind.ADMIN_GONE]),
        (state(None, *READY, wanted=False), [Kind.ADMIN_GONE]),
        (state(None, admin_mark.UNBOUND, wanted=False), []),
        (AdminState(name=NAME, wanted=True, group=None, user=None), [Kind.ADMIN]),
        (AdminState(name=NAME, wanted=False, group=None, user=None), []),
    ],
)
def test_what_is_to_be_mended(seen: AdminState, kinds: list[Kind]) -> None:
    assert [difference.kind for difference in seen.differences()] == kinds


def test_differences_are_told_in_words() -> None:
    told = [str(item.change) for item in state(attrs.evolve(NEW, gid=1), *READY, admin=False).differences()]
    assert told == [
        "set primary group of user 12 (acme_admin): 1 -> 100",
        "add user 12 (acme_admin) to administrators of group 100",
    ]
    assert [str(item.change) for item in state(None).differences()] == ["create user acme_admin"]
