"""States of virtual machines, as VirtualMachine.h has them."""

import pytest

from opennebula_tenancy.vm_status import LcmState, VmState, VmStatus


ACTIVE = 3


def test_running_is_active_and_running_and_nothing_else() -> None:
    running = [VmStatus(state, lcm) for state in range(15) for lcm in range(80) if VmStatus(state, lcm).is_running]
    assert running == [VmStatus(3, 3)]


def test_every_failure_and_nothing_else_has_failed() -> None:
    failed = {lcm for lcm in range(80) if VmStatus(ACTIVE, lcm).has_failed}
    assert failed == {36, 37, 38, 39, 40, 41, 42, 44, 46, 47, 48, 49, 50, 61}
    assert [state for state in range(15) if VmStatus(state).has_failed] == [11]
    assert not any(VmStatus(8, lcm).has_failed for lcm in failed)


@pytest.mark.parametrize(
    ("state", "stays"), [(1, False), (2, True), (4, True), (5, True), (6, False), (8, True), (9, True)]
)
def test_what_rests_stays_until_someone_acts(state: int, stays: bool) -> None:
    assert VmStatus(state).stays is stays


def test_what_is_on_its_way_does_not_stay() -> None:
    assert [lcm for lcm in range(80) if VmStatus(ACTIVE, lcm).stays] == [3]


def test_only_unknown_is_lost() -> None:
    assert [lcm for lcm in range(80) if VmStatus(ACTIVE, lcm).is_lost] == [LcmState.UNKNOWN]
    assert not VmStatus(VmState.POWEROFF, LcmState.UNKNOWN).is_lost


def test_numbers_that_nobody_knows_are_kept_and_read_as_on_their_way() -> None:
    unknown = VmStatus(ACTIVE, 99)
    assert str(unknown) == "ACTIVE/99"
    assert (unknown.has_failed, unknown.stays, unknown.is_done, unknown.is_running) == (False, False, False, False)
    assert str(VmStatus(77)) == "77"


@pytest.mark.parametrize(
    ("status", "text"),
    [(VmStatus(3, 36), "ACTIVE/BOOT_FAILURE"), (VmStatus(1, 0), "PENDING"), (VmStatus(8, 0), "POWEROFF")],
)
def test_a_state_reads_as_opennebula_names_it(status: VmStatus, text: str) -> None:
    assert str(status) == text


def test_only_off_is_off_and_only_done_is_done() -> None:
    assert [state for state in range(15) if VmStatus(state).is_off] == [VmState.POWEROFF]
    assert [state for state in range(15) if VmStatus(state).is_done] == [VmState.DONE]
    assert LcmState.RESTORE == 71
