"""What the members of a tenant may do and see, as OpenNebula's access control lists say it.

A group that is made over the API may create nothing (only the command line tool adds such a rule), and adding a
cluster to its VDC lets it use every network of that cluster, other tenants' included (`NET/%<cluster> USE`, unless
oned.conf has `DEFAULT_VDC_CLUSTER_NET_ACL = "-"`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opennebula_tenancy._wire.acl import AclRule, Resource, Right


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


def use_of_security_group(gid: int, security_group: int, zone: int) -> AclRule:
    """The rule that lets members use the security group of their network.

    Whoever attaches a machine to a network needs the right to use its security groups too
    (`VirtualNetworkPool::authorize_nic`). OpenNebula removes the rule with the security group.
    """
    return AclRule.group_may_use(gid, Resource.SECGROUP, security_group, zone)


def is_covered(rules: Iterable[AclRule], wanted: AclRule) -> bool:
    """Whether one of some rules gives what another would give."""
    return any(rule.covers(wanted) for rule in rules)


def show_membership(rules: Iterable[AclRule], gid: int, clusters: Iterable[int], networks: Iterable[int]) -> bool:
    """Whether a group's rules show that it is in a VDC with some clusters and networks, and in no other that has all.

    Args:
        rules: The rules of the group.
        gid: The group.
        clusters: The clusters that its VDC has.
        networks: The networks that its VDC has.

    Returns:
        False also where the server is set up so that no rules follow from a cluster or a network.
    """
    held = [rule for rule in rules if rule.is_for_group(gid)]
    return (
        not any(rule.is_everywhere and rule.rights != Right.CREATE for rule in held)
        and all(any(rule.is_for_cluster(cluster) for rule in held) for cluster in clusters)
        and all(any(rule.is_for_network(network) for rule in held) for network in networks)
    )
