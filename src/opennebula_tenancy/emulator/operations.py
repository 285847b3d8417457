"""The operations on VMs whose rights users and groups may redefine: `VM_USE_OPERATIONS` and so on (VMActions.cc)."""

from opennebula_tenancy.emulator.errors import internal
from opennebula_tenancy.emulator.template import Template


SETTINGS = ("VM_ADMIN_OPERATIONS", "VM_MANAGE_OPERATIONS", "VM_USE_OPERATIONS")
"""The attributes that say which right an operation needs."""

OPERATIONS = frozenset(
    {
        *("migrate", "delete", "recover", "retry", "deploy", "resched", "undeploy", "hold", "release", "stop"),
        *("suspend", "resume", "reboot", "poweroff", "disk-attach", "nic-attach", "disk-snapshot", "terminate"),
        *("disk-resize", "snapshot", "updateconf", "rename", "resize", "update", "disk-saveas", "backup"),
        *("sched-action", "sg-attach", "restore", "pci-attach", "exec", "vmgroup"),
    }
)
"""The names that these attributes list, separated by commas."""


def check(template: Template) -> None:
    """Check the settings of a user or group.

    Raises:
        Refusal: One names an operation that does not exist (INTERNAL).
    """
    for name in SETTINGS:
        for part in sorted(set((template.text(name) or "").split(","))):
            operation = part.strip().lower()
            if part and operation not in OPERATIONS:
                raise internal(f"Unknown vm operation: {operation}")
