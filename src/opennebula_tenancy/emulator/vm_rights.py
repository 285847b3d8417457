"""Which right an operation on a VM needs: as the user, the user's group or oned.conf says (VMActions.cc)."""

from opennebula_tenancy.emulator.calls import Call
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.template import Template
from opennebula_tenancy.emulator.vms import VirtualMachine


_ADMIN = frozenset({"migrate", "delete", "recover", "retry", "deploy", "resched", "backup", "restore"})
"""The operations that need ADMIN in a stock oned.conf; the others need MANAGE."""
_SETTINGS = (
    ("VM_ADMIN_OPERATIONS", Right.ADMIN),
    ("VM_MANAGE_OPERATIONS", Right.MANAGE),
    ("VM_USE_OPERATIONS", Right.USE),
)


def operate(call: Call, oid: int, operation: str) -> VirtualMachine:
    """The VM that an operation is about, once the caller may do that to it.

    Args:
        call: The call.
        oid: The VM's id.
        operation: Name of the operation, as VM_MANAGE_OPERATIONS lists it.

    Raises:
        Refusal: There is none (NO_EXISTS), or the caller may not (AUTHORIZATION).
    """
    vm = call.cloud.pool(VirtualMachine).get(oid)
    call.authorize((right(call, operation), vm))
    return vm


def right(call: Call, operation: str) -> Right:
    """The right that an operation needs of this caller."""
    for kind, oid in ((Kind.USER, call.uid), (Kind.GROUP, call.gid)):
        owner = call.cloud.pool_of(kind).find(oid)
        found = _set_in(owner.template, operation) if owner is not None else None
        if found is not None:
            return found
    return Right.ADMIN if operation in _ADMIN else Right.MANAGE


def _set_in(template: Template, operation: str) -> Right | None:
    for name, needed in _SETTINGS:
        if operation in {part.strip().lower() for part in (template.text(name) or "").split(",")}:
            return needed
    return None
