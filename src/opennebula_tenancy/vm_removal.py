"""Taking a virtual machine away."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from opennebula_tenancy import vm_mark
from opennebula_tenancy.errors import Conflict, EnteredFailureState, NotFound, WaitTimeout
from opennebula_tenancy.vm_calls import VmCalls, is_ending
from opennebula_tenancy.vm_status import LcmState
from opennebula_tenancy.vm_waiting import read_vm, wait_until_done


if TYPE_CHECKING:
    from opennebula_tenancy._transport.rpc import Rpc
    from opennebula_tenancy._wire.vm_records import VmRecord


_PATIENCE = 0.75
"""The share of the time in which a machine may end by itself, before it is deleted from under its drivers."""
_PATIENCE_ONCE_MORE = 0.25
"""The same for one that was ending already: nobody knows for how long."""


def remove_vm(rpc: Rpc, vm_id: int, key: str, *, timeout_s: float | None) -> None:
    """Terminate a machine, from whatever state it is in. It being gone already is a success.

    Args:
        rpc: Calls OpenNebula.
        vm_id: The machine.
        key: The key that it has to carry.
        timeout_s: How many seconds to wait until nothing is left of it: its addresses and its share of the tenant's
            limits are free then. None does not wait.

    Raises:
        Conflict: It does not carry the key; it was not touched.
        EnteredFailureState: OpenNebula could not remove it, twice.
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
    VmCalls(rpc).terminate(vm_id)
    if timeout_s is not None:
        await_end(rpc, vm, timeout_s=timeout_s)


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
        EnteredFailureState: OpenNebula could not remove it, twice.
        WaitTimeout: It is not gone after that time.
    """
    ends_s = time.monotonic() + timeout_s
    share = _PATIENCE_ONCE_MORE if is_ending(before.status) else _PATIENCE
    try:
        wait_until_done(rpc, before.id, timeout_s=share * timeout_s, before=before)
    except (EnteredFailureState, WaitTimeout):
        before = read_vm(rpc, before.id)
        saves = _saves(before)
        if not saves:
            VmCalls(rpc).delete(before.id)
        try:
            wait_until_done(rpc, before.id, timeout_s=max(0.0, ends_s - time.monotonic()), before=before)
        except WaitTimeout as error:
            if not saves:
                raise
            raise WaitTimeout(
                f"{error}: its disks are being saved to images that stay, and it is left at that; "
                "where that will never end, onevm recover --delete ends it, and spoils these images"
            ) from error


def _saves(vm: VmRecord) -> bool:
    """Whether a machine's disks are being saved to images that stay when it is gone."""
    return (
        vm.status.is_active and vm.status.lcm_state == LcmState.EPILOG and any(disk.is_persistent for disk in vm.disks)
    )
