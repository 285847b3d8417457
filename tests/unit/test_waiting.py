"""How often is looked, and when it is given up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import opennebula_tenancy as ont
from opennebula_tenancy.waiting import wait_for


class Clock:
    """A time that passes when someone sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pauses_s: list[float] = []

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.pauses_s.append(seconds)
        self.now_s += seconds

    def __call__(self) -> float:
        return self.now_s


def test_what_is_there_is_returned_at_once() -> None:
    clock = Clock()
    assert wait_for(lambda: 7, "it", timeout_s=0, sleep=clock.sleep, clock=clock) == 7
    assert clock.pauses_s == []


def test_what_is_false_is_there_too() -> None:
    assert wait_for(lambda: 0, "it", timeout_s=1) == 0


def test_the_first_looks_come_fast_and_the_later_ones_after_a_tenth_of_the_time() -> None:
    clock = Clock()
    with pytest.raises(ont.WaitTimeout):
        wait_for(lambda: None, "it", timeout_s=100, sleep=clock.sleep, clock=clock)
    assert clock.pauses_s[:10] == [0.1] * 10
    assert clock.pauses_s[-2] == 5
    for number in range(11, len(clock.pauses_s) - 1):
        passed_s = sum(clock.pauses_s[:number])
        assert clock.pauses_s[number] == pytest.approx(min(5, passed_s / 10))


@given(st.floats(0.01, 1000))
def test_the_last_look_comes_when_the_time_is_over(timeout_s: float) -> None:
    clock = Clock()
    looks: list[float] = []

    def look() -> None:
        looks.append(clock.now_s)

    with pytest.raises(ont.WaitTimeout, match=r"^it is not there after "):
        wait_for(look, "it is not there", timeout_s=timeout_s, sleep=clock.sleep, clock=clock)
    assert looks[-1] - looks[0] == pytest.approx(timeout_s)
    assert looks == sorted(looks)


def test_what_is_said_is_what_was_seen_last() -> None:
    seen: list[int] = []
    clock = Clock()
    with pytest.raises(ont.WaitTimeout, match=r"looked 3 times after 0\.2 s"):
        wait_for(
            lambda: seen.append(1), lambda: f"looked {len(seen)} times", timeout_s=0.2, sleep=clock.sleep, clock=clock
        )


def test_an_error_of_the_look_ends_it() -> None:
    def look() -> None:
        raise ont.WentAway("it is gone")

    with pytest.raises(ont.WentAway):
        wait_for(look, "it", timeout_s=10)
