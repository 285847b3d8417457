"""`Vdc`: a tenant that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy.display import Table


if TYPE_CHECKING:
    from opennebula_tenancy.plan import Progress
    from opennebula_tenancy.quota import Quota, Usage
    from opennebula_tenancy.vdcs import Vdcs


@attrs.define(frozen=True, eq=False)
class Vdc:
    """A tenant: an OpenNebula group with a VDC of its own.

    What is an attribute was read when the value was made, and reading it again calls nothing; what is a method asks
    OpenNebula. Two values are equal when they stand for the same tenant of the same `Cloud`.

    Attributes:
        id: The id of the group: the tenant's identity.
        vdc_id: The id of the VDC.
        name: The name of both.
        key: The key that all of the tenant's objects carry.
    """

    id: int
    vdc_id: int
    name: str
    key: str
    _vdcs: Vdcs = attrs.field(repr=False)

    def quota(self) -> Quota:
        """The limits that OpenNebula has for the tenant: every one that has a place where it holds."""
        return self._vdcs.quota(self.id)

    def set_quota(self, quota: Quota) -> Quota:
        """Change limits. Those that are not named keep what they are.

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

    def delete(self, *, progress: Progress | None = None) -> None:
        """Remove the tenant. It being gone already is a success.

        Args:
            progress: Told of each step as it begins.

        Raises:
            NotEmpty: It still has members or objects of theirs; nothing was removed.
        """
        self._vdcs.delete(self.id, key=self.key, progress=progress)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vdc) and (self.id, self.key, self._vdcs) == (other.id, other.key, other._vdcs)

    def __hash__(self) -> int:
        return hash((self.id, self.key))

    def _repr_html_(self) -> str:
        rows = [("group", str(self.id)), ("VDC", str(self.vdc_id)), ("name", self.name), ("key", self.key)]
        return Table(("tenant", self.name), rows).html()
