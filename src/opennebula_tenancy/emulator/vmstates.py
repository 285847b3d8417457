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
    PROLOG_RESUME = 9
    EPILOG_STOP = 10
    EPILOG = 11
    SHUTDOWN = 12
    UNKNOWN = 16
    SHUTDOWN_POWEROFF = 18
    BOOT_POWEROFF = 20
    BOOT_SUSPENDED = 21
    BOOT_STOPPED = 22
    CLEANUP_DELETE = 23
    SHUTDOWN_UNDEPLOY = 29
    EPILOG_UNDEPLOY = 30
    PROLOG_UNDEPLOY = 31
    BOOT_UNDEPLOY = 32
    BOOT_FAILURE = 36
    BOOT_UNDEPLOY_FAILURE = 47
    BOOT_STOPPED_FAILURE = 48
    DISK_RESIZE = 62
    DISK_RESIZE_POWEROFF = 63
    DISK_RESIZE_UNDEPLOYED = 64
    HOTPLUG_RESIZE = 66


class HistoryAction(enum.IntEnum):
    """Why a history record ended, by the numbers of VMActions.h."""

    NONE = 0
    LIVE_MIGRATE = 2
    UNDEPLOY = 5
    UNDEPLOY_HARD = 6
    STOP = 9
    SUSPEND = 10
    POWEROFF = 19
    POWEROFF_HARD = 20
    TERMINATE = 27
    TERMINATE_HARD = 28
    DISK_RESIZE = 29
    RESIZE = 35


BOOT_FAILURES = frozenset({LcmState.BOOT_FAILURE, LcmState.BOOT_UNDEPLOY_FAILURE, LcmState.BOOT_STOPPED_FAILURE})
"""States in which a VM waits for someone after its driver failed."""

_NOT_STARTED = frozenset({VmState.PENDING, VmState.HOLD, VmState.CLONING, VmState.CLONING_FAILURE})
_ACTIVE_BUT_OFF = frozenset({LcmState.DISK_RESIZE_POWEROFF, LcmState.DISK_RESIZE_UNDEPLOYED})


def counts_as_running(state: VmState, lcm: LcmState) -> bool:
    """Whether quotas count a VM as running: from its birth on, until it is off (VirtualMachine::is_running_quota)."""
    return state in _NOT_STARTED or (state is VmState.ACTIVE and lcm not in _ACTIVE_BUT_OFF)
