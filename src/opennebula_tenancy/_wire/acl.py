"""Rules of OpenNebula's access control lists, in the hexadecimal form that its API takes and gives.

A rule is four numbers: who, on what, which rights, in which zone. In the first, second and fourth the upper 32 bits
say how the lower 32 are meant; bits 40 and up of the second name the kinds of resources (`AclRule.h`).
"""

from __future__ import annotations

import enum
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Self

import attrs

from opennebula_tenancy._wire.records import number_in, parse


if TYPE_CHECKING:
    from collections.abc import Iterable


_INDIVIDUAL = 0x1_0000_0000
_GROUP = 0x2_0000_0000
_ALL = 0x4_0000_0000
_CLUSTER = 0x8_0000_0000
_KINDS = ~0xF_FFFF_FFFF
_IDS = 0xFFFF_FFFF
_SCOPE = 0xF_FFFF_FFFF


class Resource(enum.IntFlag):
    """Kinds of resources (`PoolObjectSQL::ObjectType`, as bits)."""

    VM = 0x10_0000_0000
    HOST = 0x20_0000_0000
    NET = 0x40_0000_0000
    IMAGE = 0x80_0000_0000
    USER = 0x100_0000_0000
    TEMPLATE = 0x200_0000_0000
    GROUP = 0x400_0000_0000
    DATASTORE = 0x1000_0000_0000
    CLUSTER = 0x2000_0000_0000
    DOCUMENT = 0x4000_0000_0000
    ZONE = 0x8000_0000_0000
    SECGROUP = 0x1_0000_0000_0000
    VDC = 0x2_0000_0000_0000
    VROUTER = 0x4_0000_0000_0000
    MARKETPLACE = 0x8_0000_0000_0000
    MARKETPLACEAPP = 0x10_0000_0000_0000
    VMGROUP = 0x20_0000_0000_0000
    VNTEMPLATE = 0x40_0000_0000_0000
    BACKUPJOB = 0x100_0000_0000_0000


class Right(enum.IntFlag):
    """Rights (`AuthRequest::Operation`)."""

    USE = 1
    MANAGE = 2
    ADMIN = 4
    CREATE = 8


@attrs.frozen(order=True)
class AclRule:
    """One rule. `id` is None for one that OpenNebula does not have yet."""

    user: int
    resource: int
    rights: int
    zone: int
    id: int | None = attrs.field(default=None, eq=False)

    @classmethod
    def group_may_create(cls, gid: int, kinds: Iterable[Resource]) -> Self:
        """The rule that lets members of a group create objects: `@gid KINDS/* CREATE *`."""
        return cls(_GROUP | gid, reduce(or_, kinds, 0) | _ALL, Right.CREATE, _ALL)

    @classmethod
    def group_may_use(cls, gid: int, kind: Resource, ident: int, zone: int) -> Self:
        """The rule that lets members of a group use one object of a zone: `@gid KIND/#ident USE #zone`."""
        return cls(_GROUP | gid, kind | _INDIVIDUAL | ident, Right.USE, _INDIVIDUAL | zone)

    @classmethod
    def list_of(cls, text: object) -> tuple[Self, ...]:
        """Read the answer of one.acl.info."""
        return tuple(
            cls(
                number_in(item, "USER", 16),
                number_in(item, "RESOURCE", 16),
                number_in(item, "RIGHTS", 16),
                _ALL if item.find("ZONE") is None else number_in(item, "ZONE", 16),
                number_in(item, "ID"),
            )
            for item in parse(text, "ACL_POOL").iterfind("ACL")
        )

    @property
    def params(self) -> tuple[str, str, str, str]:
        """The four arguments of one.acl.addrule."""
        return f"{self.user:x}", f"{self.resource:x}", f"{self.rights:x}", f"{self.zone:x}"

    def is_for_group(self, gid: int) -> bool:
        """Whether it gives rights to this group."""
        return self.user == _GROUP | gid

    def is_for_cluster(self, cluster: int) -> bool:
        """Whether it gives rights to the hosts or the datastores of this cluster."""
        kinds = Resource.HOST | Resource.DATASTORE
        return bool(self.resource & kinds) and self.resource & _SCOPE == _CLUSTER | cluster

    def is_for_network(self, network: int) -> bool:
        """Whether it gives rights to this network."""
        return bool(self.resource & Resource.NET) and self.resource & _SCOPE == _INDIVIDUAL | network

    @property
    def is_everywhere(self) -> bool:
        """Whether it speaks of all resources of its kinds."""
        return bool(self.resource & _ALL)

    @property
    def opens_networks(self) -> bool:
        """Whether it lets its user use every network, of the cloud or of a cluster, and says nothing else."""
        return self.covers_networks and self.resource & _KINDS == Resource.NET

    @property
    def covers_networks(self) -> bool:
        """Whether networks are among what it opens as a whole."""
        everywhere = bool(self.resource & (_ALL | _CLUSTER))
        return bool(self.resource & Resource.NET) and everywhere and bool(self.rights & ~Right.CREATE)

    def covers(self, other: AclRule) -> bool:
        """Whether this rule gives at least what the other gives, to the same user and on the same scope."""
        return (
            self.user == other.user
            and self.resource & _SCOPE == other.resource & _SCOPE
            and self.resource & other.resource & _KINDS == other.resource & _KINDS
            and self.rights & other.rights == other.rights
            and self.zone in {other.zone, _ALL}
        )

    def __str__(self) -> str:
        kinds = "+".join(kind.name or "" for kind in Resource if self.resource & kind)
        return f"{_scope(self.user, '@')} {kinds}/{_scope(self.resource, '@')} {_rights(self.rights)}"


def _scope(number: int, group: str) -> str:
    if number & _ALL:
        return "*"
    sign = group if number & _GROUP else "%" if number & _CLUSTER else "#"
    return f"{sign}{number & _IDS}"


def _rights(number: int) -> str:
    return "+".join(right.name or "" for right in Right if number & right)
