"""Taking a virtual machine away."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from opennebula_tenancy import vm_mark
from opennebula_tenancy.errors import Conflict, EnteredFailureState, NotFound, WaitTimeout, WentAway, WrongState
from opennebula_tenancy.vm_calls import VmCalls, is_ending
from opennebula_tenancy.vm_restoration import is_being_resized
from opennebula_tenancy.vm_status import LcmState
from opennebula_tenancy.vm_waiting import read_vm, wait_until_done, wait_until_settled


if TYPE_CHECKING:
    from opennebula_tenancy._transport.rpc import Rpc
    from opennebula_tenancy._wire.vm_records import VmRecord


_SETTLING_S = 10.0
"""How many seconds a machine that is being resized may take to come to rest, at most, before it is deleted."""
_PATIENCE = 0.75
"""The share of the time in which a machine may end by itself, before it is deleted from under its drivers."""
_ROUNDS = 3
"""How often a machine is deleted so, where it is moved meanwhile."""
_PATIENCE_ONCE_MORE = 0.25
"""The same for one that was ending already: nobody knows for how long."""


def remove_vm(rpc: Rpc, vm_id: int, key: str, *, timeout_s: float | None, unfinished: bool = False) -> None:
    """Terminate a machine, from whatever state it is in. It being gone already is a success.

    Args:
        rpc: Calls OpenNebula.
        vm_id: The machine.
        key: The key that it has to carry.
        timeout_s: How many seconds to wait until nothing is left of it: its addresses and its share of the tenant's
            limits are free then. None does not wait.
        unfinished: Whether it is only to go where no run has finished it.

    Raises:
        Conflict: It does not carry the key, or was finished; it was not touched.
        EnteredFailureState: OpenNebula could not remove it, again and again.
        WaitTimeout: It is not gone after that time.
    """
    try:
        vm = read_vm(rpc, vm_id)
    except NotFound:
        return
    if vm.status.is_done:
        return
    if not vm_mark.carries(vm, key):
        raise Conflict(f"VM {vm_id} ({vm.name}) does not carry the key {key}: it is not touched")
    if unfinished and vm_mark.phase_of(vm) is not vm_mark.Phase.CREATING:
        raise Conflict(f"VM {vm_id} ({vm.name}) was just finished by another run for the key {key}: it is not touched")
    calls = VmCalls(rpc)
    try:
        calls.ask_to_end(vm_id)
    except WrongState:
        # One that is deleted while it is being resized is never counted right again: it is given some time.
        if timeout_s is not None and _is_being_resized(rpc, vm_id):
            began_s = time.monotonic()
            with contextlib.suppress(WaitTimeout, WentAway):
                wait_until_settled(rpc, vm_id, timeout_s=min(_SETTLING_S, timeout_s * _PATIENCE_ONCE_MORE))
            timeout_s = max(0.0, timeout_s - (time.monotonic() - began_s))
            calls.terminate(vm_id)
        else:
            calls.delete(vm_id)
    if timeout_s is not None:
        await_end(rpc, vm, timeout_s=timeout_s)


def _is_being_resized(rpc: Rpc, vm_id: int) -> bool:
    try:
        return is_being_resized(read_vm(rpc, vm_id).status)
    except WentAway:
        return False


def await_end(rpc: Rpc, before: VmRecord, *, timeout_s: float) -> None:
    """Wait until nothing is left of a machine that was terminated, and see to that where it does not get on.

    One whose host does not shut it down, or whose drivers do not answer, is recovered by deleting it, as OpenNebula's
    documentation has it for machines that are stuck: nobody is asked any more. Only where its disks are being saved to
    images that stay, that would spoil these: it is left at it.

    Args:
        rpc: Calls OpenNebula.
        before: The machine as it was before it was terminated.
        timeout_s: How many seconds to wait.

    Raises:
        EnteredFailureState: OpenNebula could not remove it, again and again.
        WaitTimeout: It is not gone after that time.
    """
    ends_s = time.monotonic() + timeout_s
    share = _PATIENCE_ONCE_MORE if is_ending(before.status) else _PATIENCE
    try:
        wait_until_done(rpc, before.id, timeout_s=share * timeout_s, before=before)
    except (EnteredFailureState, WaitTimeout):
        _delete(rpc, before.id, ends_s)


def _delete(rpc: Rpc, vm_id: int, ends_s: float) -> None:
    """Remove a machine from under its drivers; once more where another run has moved it just before that began."""
    for rounds_left in reversed(range(_ROUNDS)):
        before = read_vm(rpc, vm_id)
        saves = _saves(before)
        if not saves:
            VmCalls(rpc).delete(vm_id)
        try:
            wait_until_done(rpc, vm_id, timeout_s=max(0.0, ends_s - time.monotonic()), before=before)
        except EnteredFailureState:
            if not rounds_left:
                raise
        except WaitTimeout as error:
            if not saves:
                raise
            raise WaitTimeout(
                f"{error}: its disks are being saved to images that stay, and it is left at that; "
                "where that will never end, onevm recover --delete ends it, and spoils these images"
            ) from error
        else:
            return


def _saves(vm: VmRecord) -> bool:
    """Whether a machine's disks are being saved to images that stay when it is gone."""
    return (
        vm.status.is_active and vm.status.lcm_state == LcmState.EPILOG and any(disk.is_persistent for disk in vm.disks)
    )
