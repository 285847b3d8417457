"""`Vm`: a virtual machine that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy.display import Table


if TYPE_CHECKING:
    from opennebula_tenancy.floating_ip import FloatingIp
    from opennebula_tenancy.plan import Progress
    from opennebula_tenancy.vm_size import VmSize, VmUsage
    from opennebula_tenancy.vm_status import VmStatus
    from opennebula_tenancy.vms import Vms


@attrs.define(frozen=True, eq=False)
class Vm:
    """A virtual machine of a tenant.

    What is an attribute was read when the value was made, and reading it again calls nothing; what is a method asks
    OpenNebula. Two values are equal when they stand for the same machine of the same `Cloud`.

    Attributes:
        id: Its id.
        name: Its name.
        key: The key that it carries.
        vdc: The id of its tenant: `Vdc.id`.
    """

    id: int
    name: str
    key: str
    vdc: int
    _vms: Vms = attrs.field(repr=False)

    def status(self) -> VmStatus:
        """Where it is in its life."""
        return self._vms.read(self.id, self.key).status

    def addresses(self) -> tuple[str, ...]:
        """Its IPv4 addresses, by the numbers of its interfaces; those of aliases come behind."""
        nics = [nic for nic in self._vms.read(self.id, self.key).nics if nic.ip]
        return tuple(nic.ip for nic in sorted(nics, key=lambda nic: nic.is_alias))

    def usage(self) -> VmUsage:
        """What is allocated to it, whether it runs or not."""
        return self._vms.usage_of(self.id, key=self.key)

    def resize(
        self,
        size: VmSize,
        *,
        live: bool = True,
        hard: bool = False,
        poweroff_timeout_s: float = 60.0,
        overcommit: bool = False,
        timeout_s: float = 300.0,
        progress: Progress | None = None,
    ) -> VmUsage:
        """Bring it to another size, and back to where it was powered. See `Vms.resize`."""
        return self._vms.resize(
            self.id,
            size,
            key=self.key,
            live=live,
            hard=hard,
            poweroff_timeout_s=poweroff_timeout_s,
            overcommit=overcommit,
            timeout_s=timeout_s,
            progress=progress,
        )

    def power_off(self, *, hard: bool = False, timeout_s: float = 300.0) -> None:
        """Power it off, and wait until it is. It being off already is a success.

        Args:
            hard: Whether to pull the plug, as against asking its system to shut down.
            timeout_s: How many seconds to wait.
        """
        self._vms.power_off(self.id, key=self.key, hard=hard, timeout_s=timeout_s)

    def power_on(self, *, timeout_s: float = 300.0) -> None:
        """Start it from off, suspended, stopped or undeployed, and wait until it runs.

        Args:
            timeout_s: How many seconds to wait.
        """
        self._vms.power_on(self.id, key=self.key, timeout_s=timeout_s)

    def reboot(self, *, hard: bool = False) -> None:
        """Reboot it.

        Args:
            hard: Whether to do as its reset button does, as against asking its system.
        """
        self._vms.reboot(self.id, key=self.key, hard=hard)

    def floating_ips(self) -> tuple[FloatingIp, ...]:
        """Its floating IPs."""
        return self._vms.floating_ips(self.id, key=self.key)

    def assign_floating_ip(self, *, timeout_s: float = 60.0) -> FloatingIp:
        """Give it a floating IP: an address of the external network that its tenant's router passes on to it.

        It counts against the tenant's limit of floating IPs, and goes with the machine.

        Args:
            timeout_s: How many seconds it may take.

        Returns:
            The floating IP.

        Raises:
            SettingsError: Its tenant has no router, or it is not in its tenant's network; nothing was changed.
            QuotaExceeded: The tenant has as many floating IPs as it may have.
            PoolExhausted: The external network has no address left.
            WrongState: It neither runs nor is powered off.
            VerificationFailed: The driver could not attach it; the machine is as it was.
            WaitTimeout: It is not attached after that time.
        """
        return self._vms.assign_floating_ip(self.id, key=self.key, timeout_s=timeout_s)

    def release_floating_ip(self, address: str, *, timeout_s: float = 60.0) -> None:
        """Give one of its floating IPs back. It being gone already is a success.

        Args:
            address: The floating IP.
            timeout_s: How many seconds it may take.

        Raises:
            WrongState: It neither runs nor is powered off.
            VerificationFailed: The driver could not detach it: the machine still has it.
            WaitTimeout: It is not detached after that time.
        """
        self._vms.release_floating_ip(self.id, address, key=self.key, timeout_s=timeout_s)

    def delete(self, *, wait: bool = True, timeout_s: float = 300.0) -> None:
        """Terminate it, from whatever state it is in. It being gone already is a success.

        Args:
            wait: Whether to wait until nothing is left of it: its addresses and its share of the tenant's limits are
                free then.
            timeout_s: How many seconds to wait.
        """
        self._vms.delete(self.id, key=self.key, wait=wait, timeout_s=timeout_s)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vm) and (self.id, self.key, self._vms) == (other.id, other.key, other._vms)

    def __hash__(self) -> int:
        return hash((self.id, self.key))

    def _repr_html_(self) -> str:
        rows = [("VM", str(self.id)), ("name", self.name), ("tenant", str(self.vdc)), ("key", self.key)]
        return Table(("virtual machine", self.name), rows).html()
