"""`Compensations`: undoing what was begun."""
# ruff: noqa: PT012 - the block that raises is what is undone

from collections.abc import Callable

import pytest

from opennebula_tenancy import ApiError, NotSent, OutcomeUnknown, RollbackIncomplete, ServerUnready, TenancyError
from opennebula_tenancy.compensation import Compensations


class Work:
    """Steps that note how they are undone."""

    def __init__(self) -> None:
        self.undone: list[str] = []

    def undo(self, name: str, *, failing: BaseException | None = None) -> tuple[Callable[[], str], Callable[[], None]]:
        def run() -> None:
            self.undone.append(name)
            if failing is not None:
                raise failing

        return (lambda: name), run


@pytest.fixture(name="work")
def _work() -> Work:
    return Work()


REFUSED = ApiError("one.vdc.delete", 0x2000, "database is locked")
UNREACHABLE = NotSent("one.vdc.delete", "Connection refused")


def test_work_that_succeeds_is_not_undone(work: Work) -> None:
    with Compensations() as compensations:
        compensations.before(*work.undo("VDC"))
    assert work.undone == []


def test_work_that_fails_before_its_first_step_has_nothing_to_undo() -> None:
    with pytest.raises(ValueError, match="early"), Compensations():
        raise ValueError("early")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a bug"),
        OutcomeUnknown("one.x.y", "reset"),
        KeyboardInterrupt(),
        SystemExit(3),
        GeneratorExit(),
        AssertionError(),
    ],
    ids=repr,
)
def test_whatever_stops_the_work_it_is_undone_in_reverse_and_raised_again(work: Work, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, Compensations() as compensations:
        for name in ("VDC", "group", "rule"):
            compensations.before(*work.undo(name))
        raise error
    assert caught.value is error
    assert work.undone == ["rule", "group", "VDC"]
    assert not hasattr(error, "__notes__")


@pytest.mark.parametrize(
    "failing", [REFUSED, ValueError("a bug"), KeyError("x"), RecursionError()], ids=lambda error: type(error).__name__
)
def test_what_cannot_be_undone_is_named_and_hides_neither_the_cause_nor_the_rest(
    work: Work, failing: Exception
) -> None:
    cause = TenancyError("the cause")
    with pytest.raises(RollbackIncomplete) as caught, Compensations() as compensations:
        compensations.before(*work.undo("VDC 101"))
        compensations.before(*work.undo("group 100", failing=failing))
        compensations.before(*work.undo("rule 7"))
        raise cause
    assert work.undone == ["rule 7", "group 100", "VDC 101"]
    assert caught.value.cause is cause
    assert caught.value.exceptions == (cause, failing)
    assert caught.value.leftovers == ("group 100",)
    assert caught.value.__cause__ is cause


def test_every_failure_and_every_leftover_is_listed(work: Work) -> None:
    cause = RuntimeError("the cause")
    other = ApiError("one.group.delete", 0x800, "not empty")
    with pytest.raises(RollbackIncomplete) as caught, Compensations() as compensations:
        compensations.before(*work.undo("VDC 101", failing=REFUSED))
        compensations.before(*work.undo("group 100", failing=other))
        raise cause
    assert caught.value.exceptions == (cause, other, REFUSED)
    assert caught.value.leftovers == ("group 100", "VDC 101")


@pytest.mark.parametrize(
    "failing",
    [UNREACHABLE, OutcomeUnknown("one.x.y", "no answer in time"), ServerUnready("one.x.y", "election mode")],
    ids=lambda error: type(error).__name__,
)
def test_a_server_that_does_not_answer_is_not_asked_again_for_each_step(work: Work, failing: Exception) -> None:
    with pytest.raises(RollbackIncomplete) as caught, Compensations() as compensations:
        for name in ("VDC 101", "group 100"):
            compensations.before(*work.undo(name))
        compensations.before(*work.undo("rule 7", failing=failing))
        compensations.before(*work.undo("mark"))
        raise ValueError("the cause")
    assert work.undone == ["mark", "rule 7"]
    assert caught.value.leftovers == ("rule 7", "group 100", "VDC 101")
    assert len(caught.value.exceptions) == 2


def test_an_interruption_stays_one_and_says_what_is_left(work: Work) -> None:
    with pytest.raises(KeyboardInterrupt) as caught, Compensations() as compensations:
        compensations.before(*work.undo("VDC 101", failing=REFUSED))
        compensations.before(*work.undo("group 100"))
        raise KeyboardInterrupt
    assert work.undone == ["group 100", "VDC 101"]
    assert caught.value.__notes__ == ["Left behind: VDC 101"]


def test_a_leftover_is_named_when_it_is_left_and_not_before(work: Work) -> None:
    known = ["VDC acme"]
    with pytest.raises(RollbackIncomplete) as caught, Compensations() as compensations:
        compensations.before(lambda: known[-1], work.undo("x", failing=REFUSED)[1])
        known.append("VDC 101 (acme)")
        raise ValueError("the cause")
    assert caught.value.leftovers == ("VDC 101 (acme)",)
