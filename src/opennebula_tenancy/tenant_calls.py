"""`TenantCalls`: the single calls that tenants are made and unmade with. Each ends with its effect there once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from opennebula_tenancy import rights, tenant_mark
from opennebula_tenancy._wire.acl import AclRule
from opennebula_tenancy._wire.records import VdcRecord
from opennebula_tenancy._wire.template import render
from opennebula_tenancy.converging import MERGE, Converging
from opennebula_tenancy.errors import AlreadyExists, Conflict, NotFound
from opennebula_tenancy.tenant_search import group_of, read_group, read_groups, read_vdcs, vdc_of


if TYPE_CHECKING:
    from collections.abc import Mapping

    from opennebula_tenancy.group_quota import GroupQuota
    from opennebula_tenancy.quota import Quota


_TWIN_S = 5.0
"""How long another run for the same tenant may take to bind the VDC to the group that it made, in seconds."""


class TenantCalls(Converging):
    """The calls, each with the look that settles it."""

    def create_vdc(self, key: str, anchor: Mapping[str, str]) -> tuple[int, bool]:
        """Make the VDC of a tenant, with its key in it.

        Args:
            key: The tenant's key.
            anchor: The attributes to make it with.

        Returns:
            The id of the VDC that carries the key, and whether it was made here: not by another run meanwhile.

        Raises:
            Conflict: The name has just been taken by a VDC that does not carry the key.
        """

        def look() -> int | None:
            vdc = vdc_of(read_vdcs(self._rpc), key)
            return None if vdc is None else vdc.id

        return self._allocate("one.vdc.allocate", render(anchor), look=look, what=f"VDC {anchor['NAME']}")

    def create_group(self, key: str, name: str, vdc_id: int, last_group: int) -> tuple[int, bool]:
        """Make the group of a tenant.

        Args:
            key: The tenant's key.
            name: The name.
            vdc_id: The tenant's VDC.
            last_group: The highest id of a group before.

        Returns:
            The id of the group, and whether it was made here: not by another run meanwhile.

        Raises:
            Conflict: The name has just been taken by a group that is not the tenant's.
        """

        def look() -> int | None:
            group = group_of(read_groups(self._rpc), read_vdcs(self._rpc), key)
            return None if group is None else group.id

        try:
            return self._rpc.mutate("one.group.allocate", name, look=look), True
        except AlreadyExists as error:
            # Not by its name: whoever made it a moment ago says whose it is by binding the VDC to it, or not.
            if (found := self._twin_group(vdc_id, last_group)) is not None:
                return found, False
            raise Conflict(f"the name {name} was just taken by a group that is not this tenant's") from error

    def _twin_group(self, vdc_id: int, last_group: int) -> int | None:
        """The group that another run for the same tenant has just made, once it has bound the VDC to it.

        The VDC may still be bound to an older one, which is gone.
        """
        deadline_s = time.monotonic() + _TWIN_S
        pause_s = 0.05
        while True:
            try:
                bound = tenant_mark.bound_group(self.vdc(vdc_id))
            except NotFound:
                return None
            if bound is not None and bound > last_group:
                return bound
            if time.monotonic() > deadline_s:
                return None
            time.sleep(pause_s)
            pause_s *= 2

    def mark_vdc(self, vdc_id: int, marks: Mapping[str, str]) -> None:
        """Write attributes into the template of a VDC, keeping all others."""

        def look() -> int | None:
            return vdc_id if marks.items() <= self.vdc(vdc_id).template.items() else None

        self._rpc.mutate("one.vdc.update", vdc_id, render(marks), MERGE, look=look)

    def rename_vdc(self, vdc_id: int, name: str) -> None:
        """Give a VDC a name."""

        def look() -> int | None:
            return vdc_id if self.vdc(vdc_id).name == name else None

        self._converge("one.vdc.rename", vdc_id, name, look=look)

    def set_member(self, vdc_id: int, group_id: int, *, present: bool) -> None:
        """Put a group into a VDC, or take it out."""

        def look() -> int | None:
            return vdc_id if (group_id in self.vdc(vdc_id).groups) is present else None

        self._converge("one.vdc.addgroup" if present else "one.vdc.delgroup", vdc_id, group_id, look=look)

    def set_cluster(self, vdc_id: int, zone: int, cluster: int, *, present: bool) -> None:
        """Put a cluster into a VDC, or take it out."""

        def look() -> int | None:
            return vdc_id if ((zone, cluster) in self.vdc(vdc_id).clusters) is present else None

        self._converge("one.vdc.addcluster" if present else "one.vdc.delcluster", vdc_id, zone, cluster, look=look)

    def withhold_networks(self, group_id: int) -> None:
        """Take away the rules that let a group use networks that are not its own."""
        for rule in rights.excess(self.rules(group_id)):
            self._remove_rule(group_id, rule)

    def grant(self, group_id: int, wanted: AclRule) -> None:
        """Add a rule that gives a group a right."""

        def look() -> int | None:
            return next((rule.id for rule in self.rules(group_id) if rule.covers(wanted)), None)

        self._converge("one.acl.addrule", *wanted.params, look=look)

    def withdraw(self, group_id: int, unwanted: AclRule) -> None:
        """Take a right from a group: the rule that gives this, and no other."""
        for rule in self.rules(group_id):
            if rule.params == unwanted.params:
                self._remove_rule(group_id, rule)

    def set_limits(self, group_id: int, quota: GroupQuota, wanted: Quota, known: GroupQuota | None = None) -> None:
        """Set limits in one call, keeping all that are not named as they are at that moment.

        Args:
            group_id: The group.
            quota: Where the limits hold.
            wanted: The limits to set.
            known: What the group is known to have at this moment; it is read when None.
        """
        at_first = known

        def held() -> GroupQuota:
            return quota.with_rows(read_group(self._rpc, group_id).quotas)

        def look() -> int | None:
            return None if held().changes(wanted) else group_id

        def block() -> str:
            nonlocal at_first
            now, at_first = at_first or held(), None
            return now.template(wanted)

        self._rpc.mutate("one.group.quota", group_id, block, look=look)

    def mark_group(self, group_id: int, marks: Mapping[str, str]) -> None:
        """Write attributes into the template of a group, keeping all others."""

        def look() -> int | None:
            return group_id if marks.items() <= read_group(self._rpc, group_id).template.items() else None

        self._rpc.mutate("one.group.update", group_id, render(marks), MERGE, look=look)

    def remove_vdc(self, vdc_id: int) -> None:
        """Remove a VDC, and the rules that it gave its groups."""
        self._remove("one.vdc.delete", "one.vdc.info", vdc_id)

    def remove_group(self, group_id: int) -> None:
        """Remove a group, and what rules remain: OpenNebula removes them, but a lost write of its would leave some."""
        self._remove("one.group.delete", "one.group.info", group_id)
        self.remove_rules(group_id)

    def remove_rules(self, group_id: int) -> None:
        """Remove all rules that speak of a group."""
        for rule in self.rules(group_id):
            self._remove_rule(group_id, rule)

    def _remove_rule(self, group_id: int, rule: AclRule) -> None:
        ident = -1 if rule.id is None else rule.id

        def look() -> int | None:
            return None if any(held.id == ident for held in self.rules(group_id)) else ident

        self._converge("one.acl.delrule", ident, look=look)

    def vdc(self, vdc_id: int) -> VdcRecord:
        """One VDC."""
        return VdcRecord.parse(self._rpc.read("one.vdc.info", vdc_id))

    def rules(self, group_id: int) -> tuple[AclRule, ...]:
        """The rules that speak of a group."""
        return rights.of_group(AclRule.list_of(self._rpc.read("one.acl.info")), group_id)
