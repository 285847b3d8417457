"""What the drivers of VMs and images do when asked: how long an action takes, and whether it fails or never ends.

The names are those of the dummy drivers (one_vmm_dummy.rb): `deploy`, `shutdown`, `cancel`, `save`, `restore`,
`migrate`, `reboot`, `reset`, `attach_disk`, `detach_disk`, `attach_nic`, `detach_nic`, `resize`, `resize_disk`,
`update_conf`, `update_nic`, `update_sg`, `cleanup`; `prolog`, `epilog`, `saveas` are what the transfer drivers do, and
`mkfs`, `cp`, `clone` what those of datastores do to make an image.
"""

import attrs


@attrs.frozen(kw_only=True)
class Outcome:
    """How one action of a driver ends.

    Attributes:
        takes_s: Seconds that it takes, None for the usual step.
        fails: Whether it fails.
        hangs: Whether the driver never answers.
        message: What the driver says about its failure. It becomes the VM's ERROR.
    """

    takes_s: float | None = None
    fails: bool = False
    hangs: bool = False
    message: str = ""


@attrs.define
class _Plan:
    outcome: Outcome
    oid: int | None
    left: int | None


class DriverActions(dict[str, float | None]):
    """Seconds by name of action, None for an action that always fails; what is not there takes one step.

    ```python
    cloud.driver_actions["shutdown"] = 30.0
    cloud.driver_actions.fail("deploy", times=1, message="no space left on device")
    cloud.driver_actions.hang("resize_disk", oid=7)
    ```
    """

    def __init__(self) -> None:
        super().__init__()
        self._plans: dict[str, list[_Plan]] = {}

    def fail(
        self, action: str, *, times: int | None = None, oid: int | None = None, message: str = "", after_s: float = 0
    ) -> None:
        """Let an action fail.

        Args:
            action: Name of the action.
            times: How often, None for ever.
            oid: For which VM or image, by its id; None for all.
            message: What the driver says; empty for what the dummy driver says, which is nothing for most actions.
            after_s: Seconds until it fails, 0 for the usual step.
        """
        self._plan(action, Outcome(fails=True, message=message, takes_s=after_s or None), oid, times)

    def hang(self, action: str, *, times: int | None = None, oid: int | None = None) -> None:
        """Let an action never end: the VM stays where it is until someone recovers it. Arguments as for `fail`."""
        self._plan(action, Outcome(hangs=True), oid, times)

    def mend(self) -> None:
        """Let all actions succeed in their usual time from now on. What hangs goes on hanging."""
        self.clear()
        self._plans.clear()

    def take(self, action: str, oid: int) -> Outcome:
        """Begin an action for a VM or image, and say how it will end."""
        for plan in self._plans.get(action, ()):
            if plan.oid in {None, oid} and plan.left != 0:
                if plan.left is not None:
                    plan.left -= 1
                return plan.outcome
        if action in self:
            seconds = self[action]
            return Outcome(fails=True) if seconds is None else Outcome(takes_s=seconds)
        return Outcome()

    def _plan(self, action: str, outcome: Outcome, oid: int | None, times: int | None) -> None:
        self._plans.setdefault(action, []).append(_Plan(outcome, oid, times))
