"""`Vdc`: a tenant that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy.display import Table
from opennebula_tenancy.networking_removal import GONE_S


if TYPE_CHECKING:
    from opennebula_tenancy.admin_user import AdminUser
    from opennebula_tenancy.floating_ip import FloatingIp
    from opennebula_tenancy.network import Network
    from opennebula_tenancy.plan import Progress
    from opennebula_tenancy.quota import Quota, Usage
    from opennebula_tenancy.router import Router
    from opennebula_tenancy.security_rule import SecurityRule
    from opennebula_tenancy.vdcs import Vdcs


@attrs.define(frozen=True, eq=False)
class Vdc:
    """A tenant: an OpenNebula group with a VDC of its own.

    The attributes below were read when the value was made; all else asks OpenNebula. Two values are equal when they
    stand for the same tenant of the same `Cloud`.

    Attributes:
        id: The id of the group: the tenant's identity.
        vdc_id: The id of the VDC.
        name: The name of both.
        key: The key that all of the tenant's objects carry.
        admin: The tenant's administrator account; None when it has none that is finished.
    """

    id: int
    vdc_id: int
    name: str
    key: str
    _vdcs: Vdcs = attrs.field(repr=False)
    admin: AdminUser | None = None

    def quota(self) -> Quota:
        """The limits that OpenNebula has for the tenant: every one that has a place where it holds."""
        return self._vdcs.quota(self.id)

    def set_quota(self, quota: Quota) -> Quota:
        """Change limits. Those that are not named keep what they are.

        OpenNebula writes limits in blocks, those of machines and those of each datastore and network, and has no
        conditional write: where another process sets limits of one block at the very same moment, one of both may be
        lost. What is lost before this call has verified its own is an error of it.

        Args:
            quota: The limits to change.

        Returns:
            All limits as OpenNebula has them afterwards.

        Raises:
            SettingsError: A limit could not be enforced; nothing was changed.
            VerificationFailed: OpenNebula accepted the limits and has others.
        """
        return self._vdcs.set_quota(self.id, quota)

    def usage(self) -> Usage:
        """What the tenant uses at this moment, zeros included."""
        return self._vdcs.usage_of(self.id)

    @property
    def network(self) -> Network | None:
        """The tenant's network, read at this moment; None when it has none."""
        return self._vdcs.network(self)

    @property
    def router(self) -> Router | None:
        """The tenant's virtual router, read at this moment; None when it has none."""
        return self._vdcs.router(self)

    def security_rules(self) -> tuple[SecurityRule, ...]:
        """The rules that OpenNebula has for the tenant's network; none when it has no network."""
        return self._vdcs.security_rules(self)

    def floating_ips(self) -> tuple[FloatingIp, ...]:
        """The floating IPs of the tenant's machines; see `Vm.assign_floating_ip`."""
        return self._vdcs.floating_ips(self)

    def delete(
        self, *, progress: Progress | None = None, terminate_vms: bool = False, timeout_s: float = GONE_S
    ) -> None:
        """Remove the tenant. It being gone already is a success.

        Args:
            progress: Told of each step as it begins.
            terminate_vms: Whether to terminate the tenant's machines, which loses their disks. The removal is refused
                while there are any if not.
            timeout_s: How many seconds each machine and network may take to go away.

        Raises:
            NotEmpty: It still has members or objects of theirs; nothing was removed.
            WaitTimeout: Something is still there after its time; a later call goes on from there.
        """
        self._vdcs.delete(self.id, key=self.key, progress=progress, terminate_vms=terminate_vms, timeout_s=timeout_s)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vdc) and (self.id, self.key, self._vdcs) == (other.id, other.key, other._vdcs)

    def __hash__(self) -> int:
        return hash((self.id, self.key))

    def _repr_html_(self) -> str:
        rows = [("group", str(self.id)), ("VDC", str(self.vdc_id)), ("name", self.name), ("key", self.key)]
        return Table(("tenant", self.name), rows).html()
