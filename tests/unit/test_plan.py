"""Plans, changes and steps, and how they are shown."""

import pytest

from opennebula_tenancy import Change, Plan, Step
from opennebula_tenancy.display import Table


CREATE = Change("create", "group acme")
RAISE = Change("set", "limit VM/CPU", "default", "4")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (CREATE, "create group acme"),
        (RAISE, "set limit VM/CPU: default -> 4"),
        (Change("set", "mark of group 100", after="k"), "set mark of group 100: k"),
        (Change("remove", "cluster 0", before="all"), "remove cluster 0: all"),
    ],
)
def test_a_change_reads_as_a_sentence(change: Change, text: str) -> None:
    assert str(change) == text


def test_a_plan_is_true_when_something_would_change() -> None:
    assert Plan("acme", (CREATE, RAISE))
    assert not Plan("acme")
    assert not Plan("acme", notes=("a note changes nothing",))


def test_a_plan_is_walked_change_by_change() -> None:
    plan = Plan("acme", (CREATE, RAISE))
    assert list(plan) == [CREATE, RAISE]
    assert len(plan) == 2
    assert plan == Plan("acme", (CREATE, RAISE))
    assert hash(plan) == hash(Plan("acme", (CREATE, RAISE)))


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        (Plan("acme"), "acme: nothing to do"),
        (Plan("acme", (CREATE,)), "acme: 1 change\n  create group acme"),
        (
            Plan("acme", (CREATE, RAISE), ("beware",)),
            "acme: 2 changes\n  create group acme\n  set limit VM/CPU: default -> 4\n  note: beware",
        ),
        (Plan("acme", notes=("beware",)), "acme: nothing to do\n  note: beware"),
    ],
)
def test_a_plan_reads_line_by_line(plan: Plan, text: str) -> None:
    assert str(plan) == text


def test_a_plan_is_a_table_in_a_notebook_and_nothing_in_it_is_markup() -> None:
    html = Plan("acme", (Change("create", "group <b>&", "\"'", "<script>"),))._repr_html_()
    assert html == (
        "<table><thead><tr><th>action</th><th>subject</th><th>before</th><th>after</th></tr></thead><tbody>"
        "<tr><td>create</td><td>group &lt;b&gt;&amp;</td><td>&quot;&#x27;</td><td>&lt;script&gt;</td></tr>"
        "</tbody></table>"
    )


def test_a_step_says_how_far_the_work_is() -> None:
    assert str(Step("acme", RAISE, 3, 9)) == "acme: 3/9 set limit VM/CPU: default -> 4"


def test_a_table_has_its_columns_aligned() -> None:
    table = Table(("id", "name"), [("1", "a"), ("100", "longer")])
    assert table.text() == "id   name\n---  ------\n1    a\n100  longer"
    assert Table(("id", "name"), []).text() == "id  name\n--  ----"
    assert Table(("<", ">"), [("&", '"')]).html() == (
        "<table><thead><tr><th>&lt;</th><th>&gt;</th></tr></thead><tbody><tr><td>&amp;</td><td>&quot;</td></tr></tbody>"
        "</table>"
    )
