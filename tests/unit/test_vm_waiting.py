"""Waiting for virtual machines, told what a server says of them."""

from typing import Any

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy import vm_waiting, waiting
from opennebula_tenancy.vm_waiting import read_vm, wait_until_done, wait_until_running
from unit.test_vm_records import INFO


RESUMED = "another entry in its history"
GONE = ont.NotFound("one.vm.info", 0x0400, "Error getting virtual machine [668].")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_SHORTEST_S", 0.0001)
    monkeypatch.setattr(vm_waiting, "_BEGIN_S", 0.05)
    monkeypatch.setattr(vm_waiting, "_NOTED_S", 0.01)


class Server:
    """Says one thing after another of the machine, and the last one for ever."""

    def __init__(self, *states: tuple[int, int] | tuple[int, int, str] | Exception) -> None:
        self._states = iter(states)
        self._last: Any = None

    def read(self, method: str, *params: Any) -> str:
        assert (method, params) == ("one.vm.info", (668, False))
        self._last = next(self._states, self._last)
        if isinstance(self._last, Exception):
            raise self._last
        state, lcm, *error = self._last
        text = INFO.replace("<SEQ>1<", "<SEQ>2<") if error == [RESUMED] else INFO
        text = text.replace("<STATE>3<", f"<STATE>{state}<").replace("<LCM_STATE>3<", f"<LCM_STATE>{lcm}<")
        if error in ([], [RESUMED]):
            return text
        return text.replace("<LABELS>", f"<ERROR>{error[0]}</ERROR><LABELS>")


def test_the_machine_that_runs_is_returned_and_each_state_told_once() -> None:
    seen: list[str] = []
    server = Server((1, 0), (1, 0), (3, 1), (3, 2), (3, 25), (3, 3))
    vm = wait_until_running(server, 668, timeout_s=5, on_status=lambda status: seen.append(str(status)))
    assert vm.status.is_running
    assert seen == ["PENDING", "ACTIVE/PROLOG", "ACTIVE/BOOT", "ACTIVE/HOTPLUG_NIC", "ACTIVE/RUNNING"]


@pytest.mark.parametrize("lcm", [36, 37, 38, 39, 40, 41, 42, 44, 46, 47, 48, 49, 50, 61])
def test_every_failure_ends_it_with_opennebula_s_reason(lcm: int) -> None:
    with pytest.raises(ont.EnteredFailureState, match=r"ACTIVE/\w+_FAILURE \(no space\)"):
        wait_until_running(Server((1, 0), (3, lcm, "no space")), 668, timeout_s=60)


@pytest.mark.parametrize("end", [GONE, (6, 0)])
def test_a_machine_that_is_gone_went_away(end: Any) -> None:
    with pytest.raises(ont.WentAway):
        wait_until_running(Server((3, 2), end), 668, timeout_s=60)
    wait_until_done(Server((3, 12), (3, 11), end), 668, timeout_s=60)


def test_a_state_that_nobody_knows_is_still_on_its_way() -> None:
    assert wait_until_running(Server((77, 0), (3, 99), (3, 16), (3, 3)), 668, timeout_s=5).id == 668


def test_the_state_before_the_action_is_waited_out() -> None:
    assert wait_until_running(Server((8, 0), (8, 0), (3, 20), (3, 3)), 668, timeout_s=5).id == 668
    wait_until_done(Server((3, 3), (3, 3), (3, 12), (6, 0)), 668, timeout_s=5)


def test_a_machine_that_moved_and_stays_elsewhere_has_ended_there() -> None:
    with pytest.raises(ont.EnteredFailureState, match="ended in the state POWEROFF, not running"):
        wait_until_running(Server((8, 0), (3, 20), (8, 0)), 668, timeout_s=60)
    with pytest.raises(ont.EnteredFailureState, match="ended in the state ACTIVE/RUNNING, not terminated"):
        wait_until_done(Server((3, 12), (3, 3)), 668, timeout_s=60)


def test_a_machine_that_never_moves_has_refused() -> None:
    with pytest.raises(ont.EnteredFailureState, match="ended in the state HOLD"):
        wait_until_running(Server((2, 0)), 668, timeout_s=60)


def test_a_new_error_says_at_once_that_it_did_not_move() -> None:
    before = read_vm(Server((8, 0, "old")), 668)
    with pytest.raises(ont.EnteredFailureState, match=r"not running \(new\)"):
        wait_until_running(Server((8, 0, "old"), (8, 0, "new")), 668, timeout_s=60, before=before)


def test_a_history_that_went_on_says_soon_that_it_came_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vm_waiting, "_BEGIN_S", 60)
    before = read_vm(Server((8, 0)), 668)
    with pytest.raises(ont.EnteredFailureState, match="POWEROFF, not running"):
        wait_until_running(Server((8, 0), (8, 0, RESUMED)), 668, timeout_s=60, before=before)
    assert wait_until_running(Server((8, 0, RESUMED), (3, 20), (3, 3)), 668, timeout_s=60, before=before).id == 668


def test_a_failure_that_was_there_before_the_action_is_waited_out() -> None:
    before = read_vm(Server((3, 36, "old")), 668)
    wait_until_done(Server((3, 36, "old"), (3, 23), (6, 0)), 668, timeout_s=5, before=before)
    with pytest.raises(ont.EnteredFailureState):
        wait_until_done(Server((3, 36, "old")), 668, timeout_s=5, before=before)


def test_the_error_at_the_end_of_the_time_has_the_state_and_the_reason() -> None:
    with pytest.raises(
        ont.WaitTimeout, match=r"^VM 668 \(web\) is not running, but PENDING \(no host\), after 0.01 s$"
    ):
        wait_until_running(Server((1, 0, "no host")), 668, timeout_s=0.01)
