"""Expressions of the scheduler that are joined: none of them takes back what another says."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

import opennebula_tenancy as ont
from opennebula_tenancy.emulator.requirements import matches
from opennebula_tenancy.network_spec import NetworkSpec
from opennebula_tenancy.scheduling import all_of, both, expression_problem, in_clusters
from opennebula_tenancy.vm_spec import VmSpec


HOST = "<HOST><NAME>odd</NAME><CLUSTER_ID>5</CLUSTER_ID></HOST>"
BROKEN = [
    'NAME = "nope") | (NAME != "nope"',
    "(NAME = x",
    "NAME = x)",
    'NAME = "x',
    'NAME = "x" | NAME = ")" ) | ( NAME = "("',
    "",
    " NAME = x",
    "NAME = \x01",
]
WHOLE = ["NAME = x", '(NAME = "a)" | NAME = "((") & !(NAME = x)', 'NAME = ""', "CLUSTER_ID = 0 | CLUSTER_ID = 100"]


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_not_whole_is_refused(text: str) -> None:
    assert expression_problem(text)
    with pytest.raises(ont.SettingsError, match="sched_requirements: the expression"):
        VmSpec(name="web", vdc=1, template=1, sched_requirements=text)
    with pytest.raises(ont.SettingsError, match="sched_requirements: the expression"):
        NetworkSpec(external_network=1, router_template=1, sched_requirements=text)


@pytest.mark.parametrize("text", WHOLE)
def test_what_is_whole_is_taken(text: str) -> None:
    assert expression_problem(text) is None
    assert VmSpec(name="web", vdc=1, template=1, sched_requirements=text).sched_requirements == text


@given(st.text(alphabet='()"|&=! AN1', max_size=25))
def test_no_expression_leaves_the_clusters(text: str) -> None:
    if expression_problem(text) is not None:
        return
    for joined in (both(text, in_clusters([0])), all_of("NAME = odd", text, in_clusters([0]))):
        with contextlib.suppress(ValueError):  # what does not parse matches no host
            assert not matches(joined, HOST), joined


def test_what_says_nothing_is_left_out() -> None:
    assert all_of() == all_of("", "") == ""
    assert all_of("", "A = 1") == both("A = 1", "") == "A = 1"
    assert all_of("A = 1", "", "B = 2 | C = 3") == "(A = 1) & (B = 2 | C = 3)"
