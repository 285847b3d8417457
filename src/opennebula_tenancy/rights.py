"""What the members of a tenant may do and see, as OpenNebula's access control lists say it.

A group that is made over the API may create nothing (only the command line tool adds such a rule), and adding a
cluster to its VDC lets it use every network of that cluster, other tenants' included (`NET/%<cluster> USE`, unless
oned.conf has `DEFAULT_VDC_CLUSTER_NET_ACL = "-"`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opennebula_tenancy._wire.acl import AclRule, Resource


if TYPE_CHECKING:
    from collections.abc import Iterable


CREATABLE = (
    Resource.VM,
    Resource.IMAGE,
    Resource.TEMPLATE,
    Resource.DOCUMENT,
    Resource.SECGROUP,
    Resource.VROUTER,
    Resource.VMGROUP,
    Resource.BACKUPJOB,
)
"""What members may create: what `onegroup create` lets them (`GROUP_DEFAULT_ACLS`). Networks are not among it."""


def of_group(rules: Iterable[AclRule], gid: int) -> tuple[AclRule, ...]:
    """The rules that speak of this group."""
    return tuple(rule for rule in rules if rule.is_for_group(gid))


def excess(rules: Iterable[AclRule]) -> tuple[AclRule, ...]:
    """Of a group's rules, those that open networks which are not the tenant's."""
    return tuple(rule for rule in rules if rule.opens_networks)


def suspicious(rules: Iterable[AclRule]) -> tuple[AclRule, ...]:
    """Of a group's rules, those that open networks among other things: not ours to remove."""
    return tuple(rule for rule in rules if rule.covers_networks and not rule.opens_networks)


def grant(gid: int) -> AclRule:
    """The rule that lets members create."""
    return AclRule.group_may_create(gid, CREATABLE)


def is_granted(rules: Iterable[AclRule], gid: int) -> bool:
    """Whether members may create all that they should."""
    wanted = grant(gid)
    return any(rule.covers(wanted) for rule in rules)
