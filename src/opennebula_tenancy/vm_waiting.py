"""Waiting for virtual machines: until one runs, is off, or is gone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from opennebula_tenancy._wire.vm_records import VmRecord
from opennebula_tenancy.errors import EnteredFailureState, NotFound, WentAway
from opennebula_tenancy.ids import require_id
from opennebula_tenancy.waiting import wait_for


if TYPE_CHECKING:
    from opennebula_tenancy._transport.rpc import Reader
    from opennebula_tenancy.vm_status import VmStatus


OnStatus: TypeAlias = Callable[["VmStatus"], None]
"""Told of each state that is seen, once."""
_BEGIN_S = 15.0
"""How long an action may take to begin, in seconds, before a machine that has not moved is held to have refused it."""
_NOTED_S = 2.0
"""The same from when the machine's history has it: oned notes an action there a moment before the state changes."""


def read_vm(reader: Reader, vm_id: int) -> VmRecord:
    """Read one virtual machine; one that was terminated can still be read.

    Raises:
        NotFound: There has never been such a machine.
    """
    require_id("one.vm.info", vm_id)
    return VmRecord.parse(reader.read("one.vm.info", vm_id, False))


def wait_until(
    reader: Reader,
    vm_id: int,
    is_there: Callable[[VmRecord], bool],
    goal: str,
    *,
    timeout_s: float,
    on_status: OnStatus | None = None,
    before: VmRecord | None = None,
) -> VmRecord:
    """Wait until a virtual machine is as it should be.

    The actions of OpenNebula answer before they begin: a machine that stays where it was is waited for some seconds.
    One that has been seen to move, or that OpenNebula has a new error or a new entry in its history of, and then stays
    somewhere or fails, has ended where it should not.

    Args:
        reader: Reads from OpenNebula.
        vm_id: The machine.
        is_there: Whether it is as it should be.
        goal: What that is, as in `VM 12 is not {goal}`.
        timeout_s: How many seconds to wait at most.
        on_status: Told of each state on the way.
        before: The machine as it was when its action was sent, where it was there already.

    Returns:
        The machine as it should be.

    Raises:
        EnteredFailureState: It failed, or stays in another state; the message has OpenNebula's reason.
        WentAway: It was terminated, or there is no such machine.
        WaitTimeout: The time is over; the message has the state, and OpenNebula's reason where there is one.
    """
    began_s = time.monotonic()
    vm: VmRecord | None = None
    moved = False
    noted_s: float | None = None

    def look() -> VmRecord | None:
        nonlocal vm, moved, noted_s
        last = None if vm is None else vm.status
        try:
            vm = read_vm(reader, vm_id)
        except NotFound as error:
            raise WentAway(f"VM {vm_id} is not there any more") from error
        status = vm.status
        if on_status is not None and status != last:
            on_status(status)
        if is_there(vm):
            return vm
        if status.is_done:
            raise WentAway(f"VM {vm_id} ({vm.name}) was terminated before it was {goal}{_because(vm)}")
        now_s = time.monotonic()
        if noted_s is None and before is not None and vm.history != before.history:
            noted_s = now_s
        over = moved or _has_new_error(vm, before) or now_s - began_s > _BEGIN_S
        over = over or (noted_s is not None and now_s - noted_s > _NOTED_S)
        if status.has_failed and (over or before is None or status != before.status):
            raise EnteredFailureState(f"VM {vm_id} ({vm.name}) is in the state {status}{_because(vm)}")
        if status.stays and over:
            raise EnteredFailureState(f"VM {vm_id} ({vm.name}) ended in the state {status}, not {goal}{_because(vm)}")
        moved = moved or not (status.stays or status.has_failed)
        return None

    def what() -> str:
        if vm is None:
            return f"VM {vm_id} is not {goal}"
        return f"VM {vm_id} ({vm.name}) is not {goal}, but {vm.status}{_because(vm)},"

    return wait_for(look, what, timeout_s=timeout_s)


def wait_until_running(
    reader: Reader,
    vm_id: int,
    *,
    timeout_s: float,
    on_status: OnStatus | None = None,
    before: VmRecord | None = None,
) -> VmRecord:
    """Wait until a virtual machine runs.

    Args:
        reader: Reads from OpenNebula.
        vm_id: The machine.
        timeout_s: How many seconds to wait at most.
        on_status: Told of each state on the way.
        before: The machine as it was when its action was sent, where it was there already.

    Returns:
        The machine as it runs.

    Raises:
        EnteredFailureState: It failed, or rests in another state; the message has OpenNebula's reason.
        WentAway: It was terminated, or there is no such machine.
        WaitTimeout: The time is over; the message has the state, and why no host takes it.
    """
    return wait_until(
        reader,
        vm_id,
        lambda vm: vm.status.is_running,
        "running",
        timeout_s=timeout_s,
        on_status=on_status,
        before=before,
    )


def wait_until_settled(reader: Reader, vm_id: int, *, timeout_s: float) -> VmRecord:
    """Wait until a virtual machine is on its way nowhere: it stays as it is, or has failed.

    Args:
        reader: Reads from OpenNebula.
        vm_id: The machine.
        timeout_s: How many seconds to wait at most.

    Returns:
        The machine as it is then.

    Raises:
        WentAway: It was terminated, or there is no such machine.
        WaitTimeout: The time is over; the message has the state, and OpenNebula's reason where there is one.
    """
    return wait_until(reader, vm_id, lambda vm: vm.status.stays or vm.status.has_failed, "at rest", timeout_s=timeout_s)


def wait_until_done(reader: Reader, vm_id: int, *, timeout_s: float, before: VmRecord | None = None) -> None:
    """Wait until nothing is left of a virtual machine but its record, if that.

    Args:
        reader: Reads from OpenNebula.
        vm_id: The machine.
        timeout_s: How many seconds to wait at most.
        before: The machine as it was when its action was sent, where it was there already.

    Raises:
        EnteredFailureState: It failed on its way, or runs on; the message has OpenNebula's reason.
        WaitTimeout: The time is over.
    """
    try:
        wait_until(reader, vm_id, lambda vm: vm.status.is_done, "terminated", timeout_s=timeout_s, before=before)
    except WentAway:
        return


def _has_new_error(vm: VmRecord, before: VmRecord | None) -> bool:
    return before is not None and bool(vm.reason) and vm.reason != before.reason


def _because(vm: VmRecord) -> str:
    return f" ({vm.reason})" if vm.reason else ""
