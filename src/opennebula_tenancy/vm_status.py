"""The states of virtual machines, by OpenNebula's numbers and names (`VirtualMachine.h`)."""

from __future__ import annotations

import enum

import attrs


class VmState(enum.IntEnum):
    """The state of a virtual machine."""

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
    """What an ACTIVE virtual machine is at: the state that the life cycle manager has for it."""

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


_VM_NAMES = {int(state): state.name for state in VmState}
_LCM_NAMES = {int(state): state.name for state in LcmState}
_RESTING = frozenset({VmState.HOLD, VmState.STOPPED, VmState.SUSPENDED, VmState.POWEROFF, VmState.UNDEPLOYED})


@attrs.frozen
class VmStatus:
    """Where a virtual machine is in its life. Numbers that this library does not know are kept, and read as such.

    Attributes:
        state: The state, as `VmState` numbers it.
        lcm_state: What it is at while it is ACTIVE, as `LcmState` numbers it; of no meaning in any other state.
    """

    state: int
    lcm_state: int = 0

    @property
    def is_active(self) -> bool:
        """Whether it is on a host, or on its way there or from there."""
        return self.state == VmState.ACTIVE

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return self.is_active and self.lcm_state == LcmState.RUNNING

    @property
    def is_done(self) -> bool:
        """Whether it was terminated: OpenNebula keeps such a record, and nothing of the machine."""
        return self.state == VmState.DONE

    @property
    def is_off(self) -> bool:
        """Whether it is powered off, its disks on the host."""
        return self.state == VmState.POWEROFF

    @property
    def is_lost(self) -> bool:
        """Whether its host has lost it, or OpenNebula its host: it may run or not."""
        return self.is_active and self.lcm_state == LcmState.UNKNOWN

    @property
    def stays(self) -> bool:
        """Whether it stays as it is until someone acts, and has not failed: it runs, or it rests in some way."""
        return self.is_running or self.state in _RESTING

    @property
    def has_failed(self) -> bool:
        """Whether it failed at something, and waits for someone."""
        if self.state == VmState.CLONING_FAILURE:
            return True
        return self.is_active and _LCM_NAMES.get(self.lcm_state, "").endswith("_FAILURE")

    def __str__(self) -> str:
        state = _VM_NAMES.get(self.state, str(self.state))
        return f"{state}/{_LCM_NAMES.get(self.lcm_state, str(self.lcm_state))}" if self.is_active else state
