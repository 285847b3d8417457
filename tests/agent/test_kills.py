"""Real agents, killed (-9) at calls of every type of order, on either side; then one more agent, once."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from agent.killing import SIDES, Calls, Kill, each_call, each_change, kill_at
from agent.order_types import ORDER_TYPES
from tenants.pace import THOROUGH


pytestmark = pytest.mark.timeout(600)
TURNS = 4
"""How many orders of tenants with accounts share the deaths between them: but for a few calls, they do the same."""


def some(name: str) -> Callable[[Calls], Iterator[Kill]]:
    """The deaths that a type of order gets where there is little time."""
    if "password" not in name:
        return each_change
    action, _, _ = name.partition(" ")
    alike = [other for other in ORDER_TYPES if "password" in other and other.startswith(action)]
    return functools.partial(each_change, turn=alike.index(name), turns=TURNS)


@pytest.mark.parametrize("name", ORDER_TYPES)
def test_an_agent_killed_at_any_call_is_followed_by_one_that_ends_its_work(tmp_path: Path, name: str) -> None:
    outcome = kill_at(each_call if THOROUGH else some(name), ORDER_TYPES[name], tmp_path)
    assert not outcome.problems, "\n\n".join(outcome.problems)
    assert outcome.undisturbed.state["order"] == "done"


def test_agents_die_on_both_sides_and_an_end_that_is_another_one_is_noticed(tmp_path: Path) -> None:
    idle = attrs.evolve(ORDER_TYPES["create tenant"], modes=())
    outcome = kill_at(functools.partial(each_change, turns=4), idle, tmp_path)
    assert {kill.side for kill in outcome.kills} == set(SIDES)
    unfinished = [kill for kill in outcome.kills if not kill.method.endswith("/set_state_done/")]
    assert [problem.partition(":")[0] for problem in outcome.problems] == [str(kill) for kill in unfinished]
    assert all("+{'order': <OrderState.EXECUTING" in problem for problem in outcome.problems)
