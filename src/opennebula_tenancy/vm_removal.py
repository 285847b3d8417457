"""Taking a virtual machine away."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from opennebula_tenancy import vm_mark
from opennebula_tenancy.errors import Conflict, EnteredFailureState, NotFound
from opennebula_tenancy.vm_calls import VmCalls
from opennebula_tenancy.vm_waiting import read_vm, wait_until_done


if TYPE_CHECKING:
    from opennebula_tenancy._transport.rpc import Rpc


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
    calls = VmCalls(rpc)
    calls.terminate(vm_id)
    if timeout_s is None:
        return
    deadline_s = time.monotonic() + timeout_s
    try:
        wait_until_done(rpc, vm_id, timeout_s=timeout_s, before=vm)
    except EnteredFailureState:
        # It failed on its way, or its host did not shut it down: nobody is asked any more.
        before = read_vm(rpc, vm_id)
        calls.delete(vm_id)
        wait_until_done(rpc, vm_id, timeout_s=max(0.0, deadline_s - time.monotonic()), before=before)
