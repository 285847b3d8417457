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


def test_the_first_looks_come_fast_and_the_later_ones_after_a_hundredth_of_the_time() -> None:
    clock = Clock()
    with pytest.raises(ont.WaitTimeout):
        wait_for(lambda: None, "it", timeout_s=1000, sleep=clock.sleep, clock=clock)
    assert clock.pauses_s[:100] == [0.1] * 100
    assert clock.pauses_s[-2] == 5
    passed_s = 0.0
    for pause_s in clock.pauses_s[:-1]:
        assert pause_s == pytest.approx(min(5, max(0.1, passed_s / 100)))
        passed_s += pause_s


@pytest.mark.parametrize("ready_s", [0.05, 1.0, 7.9, 11.0, 18.3, 30.0])
def test_what_takes_half_a_minute_is_noticed_less_than_a_third_of_a_second_late(ready_s: float) -> None:
    clock = Clock()
    wait_for(lambda: clock.now_s >= ready_s or None, "it", timeout_s=300, sleep=clock.sleep, clock=clock)
    assert 0 <= clock.now_s - ready_s <= 0.3 + 1e-9


def test_what_takes_minutes_is_not_asked_after_all_the_time() -> None:
    clock = Clock()
    wait_for(lambda: clock.now_s >= 300 or None, "it", timeout_s=900, sleep=clock.sleep, clock=clock)
    assert clock.now_s - 300 <= 3
    assert len(clock.pauses_s) < 500


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
