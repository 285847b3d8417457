"""Which names OpenNebula takes, and keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opennebula_tenancy._wire.names import Kind, name_problem
from opennebula_tenancy.ownership import carries, is_marked, key_problem, mark


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("name", ["a", "acme-1_x.y@z", "é漢", "a" * 128, "é" * 64, "-", ".", "%*?!()[]=,~^+`", "\x7f"])
def test_good_names_are_good_for_every_kind(kind: Kind, name: str) -> None:
    assert name_problem(kind, name) is None


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is empty"),
        ("a" * 129, "longer than 128 bytes"),
        ("é" * 65, "longer than 128 bytes"),
        (" a", "begins or ends with a blank"),
        ("a\x00", "control character"),
        ("😀", "Basic Multilingual Plane"),
        *((f"a{char}b", "does not take") for char in "&|:\\\";/'#{}$<>\t\n"),
        *((f"a{char}b", "control character") for char in "\v\f\r"),
    ],
)
def test_bad_names_are_bad_for_every_kind(kind: Kind, name: str, reason: str) -> None:
    problem = name_problem(kind, name)
    assert problem is not None
    assert reason in problem
    assert str(kind) in problem


@pytest.mark.parametrize("kind", Kind)
def test_only_groups_and_users_take_no_spaces(kind: Kind) -> None:
    assert (name_problem(kind, "a b") is None) is (kind not in {Kind.GROUP, Kind.USER})


@pytest.mark.parametrize("key", ["a", "a" * 128, "9c1f0f3e-1c9b-4d7a-9d0e-7f1c0f3e9c1f", "a b", "é" * 128, "'\"\\<&>"])
def test_a_key_is_any_text_that_opennebula_keeps(key: str) -> None:
    assert key_problem(key) is None


@pytest.mark.parametrize(
    ("key", "reason"), [("", "is empty"), ("a" * 129, "longer than 128 characters"), (" a", "blank"), ("]]>", "ends")]
)
def test_other_texts_are_no_keys(key: str, reason: str) -> None:
    assert reason in (key_problem(key) or "")


@given(st.text(), st.text(), st.sampled_from(["vdc", "group"]), st.sampled_from(["vdc", "group"]))
def test_a_mark_is_carried_by_its_own_key_and_role_only(key: str, other: str, role: str, other_role: str) -> None:
    template = mark(key, role)
    assert carries(template, key, role)
    assert carries(template, other, other_role) is ((key, role) == (other, other_role))
    assert is_marked(template, other_role) is (bool(key) and role == other_role)


def test_a_mark_of_another_format_is_none_of_ours() -> None:
    template = {**mark("k", "vdc"), "TENANCY_VERSION": "2"}
    assert not is_marked(template, "vdc")
    assert not is_marked({}, "vdc")
    assert not carries({}, "", "vdc")
