"""What a driver is asked to do for a VM."""

from collections.abc import Callable

import attrs

from opennebula_tenancy.emulator.vmstates import LcmState


Then = Callable[[], None]


@attrs.frozen(eq=False)
class Transition:
    """What a driver does for a VM, or failed to do.

    Attributes:
        action: Name of the driver's action, as the dummy drivers name it.
        at: What the VM is at meanwhile.
        then: What to do when the driver succeeded.
        failed: What to do when it failed; None for actions that cannot fail.
    """

    action: str
    at: LcmState
    then: Then
    failed: Then | None = None
