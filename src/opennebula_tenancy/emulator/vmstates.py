"""States of VMs (VirtualMachine.h), and the numbers of the actions that their history shows (VMActions.h)."""

import enum


class VmState(enum.IntEnum):
    """The state of a VM."""

    INIT = 0
    PENDING = 1
    HOLD = 2
    ACTIVE = 3
    STOPPED = 4
    SUSPENDED = 5
    DONE = 6
    POWEROFF = 8
    UNDEPLOYED = 9
    CLONING = 10
    CLONING_FAILURE = 11


class LcmState(enum.IntEnum):
    """What an ACTIVE VM is at: the life cycle manager's state."""

    LCM_INIT = 0
    PROLOG = 1
    BOOT = 2
    RUNNING = 3
    MIGRATE = 4
    SAVE_STOP = 5
    SAVE_SUSPEND = 6
    SAVE_MIGRATE = 7
    PROLOG_MIGRATE = 8
    PROLOG_RESUME = 9
    EPILOG_STOP = 10
    EPILOG = 11
    SHUTDOWN = 12
    CLEANUP_RESUBMIT = 15
    UNKNOWN = 16
    HOTPLUG = 17
    SHUTDOWN_POWEROFF = 18
    BOOT_UNKNOWN = 19
    BOOT_POWEROFF = 20
    BOOT_SUSPENDED = 21
    BOOT_STOPPED = 22
    CLEANUP_DELETE = 23
    HOTPLUG_SNAPSHOT = 24
    HOTPLUG_NIC = 25
    HOTPLUG_SAVEAS = 26
    HOTPLUG_SAVEAS_POWEROFF = 27
    HOTPLUG_SAVEAS_SUSPENDED = 28
    SHUTDOWN_UNDEPLOY = 29
    EPILOG_UNDEPLOY = 30
    PROLOG_UNDEPLOY = 31
    BOOT_UNDEPLOY = 32
    HOTPLUG_PROLOG_POWEROFF = 33
    HOTPLUG_EPILOG_POWEROFF = 34
    BOOT_MIGRATE = 35
    BOOT_FAILURE = 36
    BOOT_MIGRATE_FAILURE = 37
    PROLOG_MIGRATE_FAILURE = 38
    PROLOG_FAILURE = 39
    EPILOG_FAILURE = 40
    EPILOG_STOP_FAILURE = 41
    EPILOG_UNDEPLOY_FAILURE = 42
    PROLOG_MIGRATE_POWEROFF = 43
    PROLOG_MIGRATE_POWEROFF_FAILURE = 44
    PROLOG_MIGRATE_SUSPEND = 45
    PROLOG_MIGRATE_SUSPEND_FAILURE = 46
    BOOT_UNDEPLOY_FAILURE = 47
    BOOT_STOPPED_FAILURE = 48
    PROLOG_RESUME_FAILURE = 49
    PROLOG_UNDEPLOY_FAILURE = 50
    DISK_SNAPSHOT_POWEROFF = 51
    DISK_SNAPSHOT_REVERT_POWEROFF = 52
    DISK_SNAPSHOT_DELETE_POWEROFF = 53
    DISK_SNAPSHOT_SUSPENDED = 54
    DISK_SNAPSHOT_DELETE_SUSPENDED = 56
    DISK_SNAPSHOT = 57
    DISK_SNAPSHOT_DELETE = 59
    PROLOG_MIGRATE_UNKNOWN = 60
    PROLOG_MIGRATE_UNKNOWN_FAILURE = 61
    DISK_RESIZE = 62
    DISK_RESIZE_POWEROFF = 63
    DISK_RESIZE_UNDEPLOYED = 64
    HOTPLUG_NIC_POWEROFF = 65
    HOTPLUG_RESIZE = 66
    HOTPLUG_SAVEAS_UNDEPLOYED = 67
    HOTPLUG_SAVEAS_STOPPED = 68
    BACKUP = 69
    BACKUP_POWEROFF = 70
    RESTORE = 71


class HistoryAction(enum.IntEnum):
    """Why a history record ended, by the numbers of VMActions.h."""

    NONE = 0
    MIGRATE = 1
    LIVE_MIGRATE = 2
    UNDEPLOY = 5
    UNDEPLOY_HARD = 6
    STOP = 9
    SUSPEND = 10
    RESUME = 11
    DELETE = 13
    DELETE_RECREATE = 14
    POWEROFF = 19
    POWEROFF_HARD = 20
    DISK_ATTACH = 21
    DISK_DETACH = 22
    NIC_ATTACH = 23
    NIC_DETACH = 24
    TERMINATE = 27
    TERMINATE_HARD = 28
    DISK_RESIZE = 29
    RESIZE = 35
    MONITOR = 44
    ALIAS_ATTACH = 46
    ALIAS_DETACH = 47
    NIC_UPDATE = 51


FAILURES = frozenset(lcm for lcm in LcmState if lcm.name.endswith("_FAILURE"))
"""States in which a VM waits for someone after its driver failed."""

_NOT_STARTED = frozenset({VmState.PENDING, VmState.HOLD, VmState.CLONING, VmState.CLONING_FAILURE})
_ACTIVE_BUT_OFF = frozenset(
    {
        LcmState.HOTPLUG_SAVEAS_POWEROFF,
        LcmState.HOTPLUG_SAVEAS_SUSPENDED,
        LcmState.HOTPLUG_SAVEAS_UNDEPLOYED,
        LcmState.HOTPLUG_SAVEAS_STOPPED,
        LcmState.DISK_SNAPSHOT_POWEROFF,
        LcmState.DISK_SNAPSHOT_REVERT_POWEROFF,
        LcmState.DISK_SNAPSHOT_DELETE_POWEROFF,
        LcmState.DISK_SNAPSHOT_SUSPENDED,
        LcmState.DISK_SNAPSHOT_DELETE_SUSPENDED,
        LcmState.DISK_RESIZE_POWEROFF,
        LcmState.DISK_RESIZE_UNDEPLOYED,
        LcmState.HOTPLUG_NIC_POWEROFF,
        LcmState.HOTPLUG_PROLOG_POWEROFF,
        LcmState.HOTPLUG_EPILOG_POWEROFF,
    }
)


def counts_as_running(state: VmState, lcm: LcmState) -> bool:
    """Whether quotas count a VM as running: from its birth on, until it is off (VirtualMachine::is_running_quota)."""
    return state in _NOT_STARTED or (state is VmState.ACTIVE and lcm not in _ACTIVE_BUT_OFF)
