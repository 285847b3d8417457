"""Access control: permissions of objects, access rules, and who may do what (AclManager.cc, AclRule.cc)."""

from collections.abc import Iterable, Iterator

import attrs

from opennebula_tenancy.emulator.kinds import Kind, Right


INDIVIDUAL = 0x100000000
GROUP = 0x200000000
ALL = 0x400000000
CLUSTER = 0x800000000
_ID_MASK = 0xFFFFFFFF
_SELECTORS = INDIVIDUAL | GROUP | ALL | CLUSTER
_TYPE_MASK = 0xFFFFFFF000000000

_NO_CLUSTER = sum(
    kind.bit for kind in Kind if kind not in {Kind.HOST, Kind.NET, Kind.DATASTORE, Kind.HOOK, Kind.BACKUPJOB}
)
_NO_GROUP = sum(kind.bit for kind in (Kind.HOST, Kind.GROUP, Kind.CLUSTER, Kind.ZONE, Kind.VDC))
_FEDERATED = sum(kind.bit for kind in (Kind.USER, Kind.GROUP, Kind.ZONE, Kind.ACL, Kind.VDC))


@attrs.define
class Permissions:
    """Nine bits: use, manage and admin for the owner, the group and everyone. 1 grants, 0 does not."""

    owner_u: int = 1
    owner_m: int = 1
    owner_a: int = 0
    group_u: int = 0
    group_m: int = 0
    group_a: int = 0
    other_u: int = 0
    other_m: int = 0
    other_a: int = 0

    @classmethod
    def from_mode(cls, mode: int) -> "Permissions":
        """The permissions of an octal mode such as 0o640."""
        return cls(*((mode >> shift) & 1 for shift in range(8, -1, -1)))

    def xml(self) -> str:
        """The PERMISSIONS element."""
        fields = attrs.fields(Permissions)
        bits = "".join(f"<{f.name.upper()}>{getattr(self, f.name)}</{f.name.upper()}>" for f in fields)
        return f"<PERMISSIONS>{bits}</PERMISSIONS>"

    def owner(self) -> Right:
        """Rights of the owner."""
        return _rights(self.owner_u, self.owner_m, self.owner_a)

    def group(self) -> Right:
        """Rights of the group."""
        return _rights(self.group_u, self.group_m, self.group_a)

    def other(self) -> Right:
        """Rights of everyone."""
        return _rights(self.other_u, self.other_m, self.other_a)


def _rights(use: int, manage: int, admin: int) -> Right:
    return Right(use * Right.USE | manage * Right.MANAGE | admin * Right.ADMIN)


@attrs.frozen(kw_only=True)
class Subject:
    """What is to be accessed: an object, or (`oid` -1) a new one of its kind.

    Attributes:
        kind: The kind of object.
        oid: Its id, -1 for one that is to be created and for the kind as such.
        uid: Its owner.
        gid: Its group.
        cluster_ids: The clusters it is in.
        permissions: Its permissions.
        locked: The right from which on it is locked, 0 when it is not.
        is_apart: Whether rules on all of its kind and on clusters are not about it.
    """

    kind: Kind | None
    oid: int = -1
    uid: int = -1
    gid: int = -1
    cluster_ids: frozenset[int] = frozenset()
    permissions: Permissions = attrs.field(factory=Permissions)
    locked: int = 0
    is_apart: bool = False

    @property
    def bit(self) -> int:
        """The kind's bit in access rules."""
        return self.kind.bit if self.kind else 0


@attrs.frozen
class AclRule:
    """An access rule: who may do what with which objects in which zone, each as the number it has on the wire."""

    oid: int = attrs.field(eq=False)
    user: int
    resource: int
    rights: int
    zone: int

    @property
    def text(self) -> str:
        """The rule as people write it: `@100 HOST/%0 MANAGE #0`."""
        kinds = "+".join(k.text for k in Kind if self.resource & k.bit and k not in {Kind.ACL, Kind.HOOK})
        rights = Right(self.rights & 0xF).text
        zone = "*" if self.zone & ALL else "??"
        if self.zone & INDIVIDUAL:
            zone = f"#{_id(self.zone)}"
        return f"{_who(self.user)} {kinds}/{_which(self.resource)} {rights} {zone}"

    @property
    def id_of_resource(self) -> int:
        """The id that the resource names."""
        return _id(self.resource)

    def xml(self) -> str:
        """The rule's body."""
        return (
            f"<ACL><ID>{self.oid}</ID><USER>{_hex(self.user)}</USER><RESOURCE>{_hex(self.resource)}</RESOURCE>"
            f"<RIGHTS>{_hex(self.rights)}</RIGHTS><ZONE>{_hex(self.zone)}</ZONE><STRING>{self.text}</STRING></ACL>"
        )

    def problems(self) -> Iterator[str]:
        """What is malformed about it, in oned's words and order."""
        yield from self._user_problems()
        yield from self._resource_problems()
        if self.rights == 0:
            yield "wrong [rights], it cannot be 0"
        if self.rights > 0xF:
            yield "wrong [rights], it cannot be bigger than 0xF"
        yield from self._zone_problems()

    def problem(self) -> str:
        """All that is malformed about it, empty when it is well formed."""
        # oned forgets to separate what is wrong with a zone's group from what came before.
        return "; ".join(self.problems()).replace("; [zone] GROUP", "[zone] GROUP")

    def _user_problems(self) -> Iterator[str]:
        user = self.user
        if user & INDIVIDUAL and user & GROUP:
            yield "[user] INDIVIDUAL (#) and GROUP (@) bits are exclusive"
        if user & INDIVIDUAL and user & ALL:
            yield "[user] INDIVIDUAL (#) and ALL (*) bits are exclusive"
        if user & GROUP and user & ALL:
            yield "[user] GROUP (@) and ALL (*) bits are exclusive"
        if not user & (INDIVIDUAL | GROUP | ALL):
            yield "[user] is missing one of the INDIVIDUAL, GROUP or ALL bits"
        if _id(user) < 0:
            yield "[user] ID cannot be negative"
        if user & ALL and _id(user) != 0:
            yield "when using the ALL bit, [user] ID must be 0"

    def _resource_problems(self) -> Iterator[str]:
        resource = self.resource
        selector, types = resource & _SELECTORS, resource & _TYPE_MASK
        if selector.bit_count() > 1:
            yield "[resource] INDIVIDUAL (#), GROUP (@), CLUSTER (%) and ALL (*) bits are exclusive"
        if resource & CLUSTER and types & _NO_CLUSTER:
            yield "[resource] CLUSTER(%) selector can be applied only to DATASTORE, HOST and NET types"
        if resource & GROUP and types & _NO_GROUP:
            yield "[resource] GROUP(@) selector cannot be applied to HOST, GROUP, CLUSTER, ZONE or VDC types"
        if not selector:
            yield "[resource] is missing one of the INDIVIDUAL, GROUP, CLUSTER or ALL bits"
        if _id(resource) < 0:
            yield "[resource] ID cannot be negative"
        if resource & ALL and _id(resource) != 0:
            yield "when using the ALL bit, [resource] ID must be 0"
        if not types:
            yield "[resource] type is missing"
        if resource & 0xFE80000000000000:
            yield "wrong [resource] type"

    def _zone_problems(self) -> Iterator[str]:
        zone, types = self.zone, self.resource & _TYPE_MASK
        if zone & GROUP:
            yield "[zone] GROUP (@) bit is not supported"
        if zone & INDIVIDUAL and zone & ALL:
            yield "[zone] INDIVIDUAL (#) and ALL (*) bits are exclusive"
        if not zone & (INDIVIDUAL | GROUP | ALL):
            yield "[zone] is missing one of the INDIVIDUAL or ALL bits"
        if _id(zone) < 0:
            yield "[zone] ID cannot be negative"
        if zone & ALL and _id(zone) != 0:
            yield "when using the ALL bit, [zone] ID must be 0"
        if zone & ALL and self.resource & INDIVIDUAL and types & _FEDERATED != types:
            yield (
                "[resource] INDIVIDUAL(#) selector cannot be applied "
                "to ALL zones, except for USER, GROUP and ZONE types"
            )


def _id(code: int) -> int:
    """The id in the low half of a code, as a C int."""
    low = code & _ID_MASK
    return low - 2**32 if low >= 2**31 else low


def _hex(code: int) -> str:
    return f"{code & 0xFFFFFFFFFFFFFFFF:x}"


def _who(user: int) -> str:
    if user & GROUP:
        return f"@{_id(user)}"
    if user & INDIVIDUAL:
        return f"#{_id(user)}"
    return "*" if user & ALL else "??"


def _which(resource: int) -> str:
    for selector, sign in ((GROUP, "@"), (INDIVIDUAL, "#"), (CLUSTER, "%")):
        if resource & selector:
            return f"{sign}{_id(resource)}"
    return "*" if resource & ALL else "??"


@attrs.frozen
class Reach:
    """The objects of a kind that rules let somebody use: all of them, or these ids, groups and clusters."""

    everything: bool = False
    oids: frozenset[int] = frozenset()
    gids: frozenset[int] = frozenset()
    cluster_ids: frozenset[int] = frozenset()


class AclRules:
    """The rules of the cloud, by user code and then by age, and the decisions they lead to."""

    def __init__(self, zone: int) -> None:
        self._zone = zone
        self._by_user: dict[int, list[AclRule]] = {}
        self._by_id: dict[int, AclRule] = {}
        self._last_id = -1

    def __iter__(self) -> Iterator[AclRule]:
        for user in sorted(self._by_user):
            yield from self._by_user[user]

    def add(self, user: int, resource: int, rights: int, zone: int) -> int:
        """Add a rule.

        Returns:
            Its id.

        Raises:
            ValueError: There is one like it, or it is malformed.
        """
        rule = AclRule(self._last_id + 1, user, resource, rights, zone)
        if rule in self._by_user.get(user, ()):
            raise ValueError(f"Rule {rule.text} already exists")
        problem = rule.problem()
        if problem:
            raise ValueError(f"Rule {rule.text} is malformed: {problem}")
        self._last_id = rule.oid
        self._by_user.setdefault(user, []).append(rule)
        self._by_id[rule.oid] = rule
        return rule.oid

    def grant(self, user: int, resource: int, rights: int, zone: int) -> None:
        """Add a rule unless it is there: what oned does on its own account, where it only logs a clash."""
        if AclRule(-1, user, resource, rights, zone) not in self._by_user.get(user, ()):
            self.add(user, resource, rights, zone)

    def revoke(self, user: int, resource: int, rights: int, zone: int) -> None:
        """Remove the rule that says just this, if it is there."""
        wanted = AclRule(-1, user, resource, rights, zone)
        for rule in tuple(self._by_user.get(user, ())):
            if rule == wanted:
                self.remove(rule.oid)

    def remove(self, oid: int) -> None:
        """Remove a rule.

        Raises:
            ValueError: There is none with that id.
        """
        rule = self._by_id.pop(oid, None)
        if rule is None:
            raise ValueError(f"Rule {oid} does not exist")
        rules = self._by_user[rule.user]
        rules[:] = [other for other in rules if other.oid != oid]
        if not rules:
            del self._by_user[rule.user]

    def forget_user(self, uid: int) -> None:
        """Remove the rules of a deleted user."""
        self._remove_all(self._by_user.get(INDIVIDUAL | uid, ()))

    def forget_group(self, gid: int) -> None:
        """Remove the rules of a deleted group, and those on what belongs to it."""
        self._remove_all(self._by_user.get(GROUP | gid, ()))
        self._remove_all(r for r in self if r.resource & (GROUP | _ID_MASK) == GROUP | gid)

    def forget_cluster(self, cluster_id: int) -> None:
        """Remove the rules on what is in a deleted cluster."""
        self._remove_all(r for r in self if r.resource & (CLUSTER | _ID_MASK) == CLUSTER | cluster_id)

    def forget_object(self, kind: Kind, oid: int) -> None:
        """Remove the rules that name a deleted object and nothing besides."""
        self._remove_all(r for r in self if r.resource == kind.bit | INDIVIDUAL | oid)

    def _remove_all(self, rules: Iterable[AclRule]) -> None:
        for rule in tuple(rules):
            self.remove(rule.oid)

    def allows(self, uid: int, gids: frozenset[int], subject: Subject, right: Right) -> bool:
        """Whether permissions or rules grant a right on an object to somebody who is no administrator."""
        if self._by_permissions(uid, gids, subject, right):
            return True
        bit = subject.bit
        wanted = set()
        if subject.oid >= 0:
            wanted.add(bit | INDIVIDUAL | subject.oid)
        if subject.gid >= 0:
            wanted.add(bit | GROUP | subject.gid)
        clusters = frozenset() if subject.is_apart else subject.cluster_ids
        wanted.update(bit | CLUSTER | cluster_id for cluster_id in clusters)
        every = bit | ALL
        for rule in self._of(uid, gids, right):
            if rule.resource & every == every and not subject.is_apart:
                return True
            low = rule.resource & (bit | _ID_MASK)
            if any(rule.resource & selector and low | selector in wanted for selector in (INDIVIDUAL, GROUP, CLUSTER)):
                return True
        return False

    @staticmethod
    def _by_permissions(uid: int, gids: frozenset[int], subject: Subject, right: Right) -> bool:
        # The three rights become rules on the object's id, so they say nothing about one that has none.
        if subject.oid < 0:
            return False
        permissions = subject.permissions
        if permissions.other() & right == right:
            return True
        if uid == subject.uid and permissions.owner() & right == right:
            return True
        return subject.gid in gids and permissions.group() & right == right

    def _of(self, uid: int, gids: frozenset[int], right: Right) -> Iterator[AclRule]:
        """The rules for somebody that grant a right in this zone."""
        for user in (ALL, INDIVIDUAL | uid, *(GROUP | gid for gid in sorted(gids))):
            for rule in self._by_user.get(user, ()):
                here = rule.zone & ALL or rule.zone & (INDIVIDUAL | _ID_MASK) == INDIVIDUAL | self._zone
                if here and rule.rights & right == right:
                    yield rule

    def reach(self, uid: int, gids: frozenset[int], kind: Kind) -> Reach:
        """The objects of a kind that rules let somebody use."""
        found: dict[int, set[int]] = {GROUP: set(), CLUSTER: set(), INDIVIDUAL: set()}
        everything = False
        for rule in self._of(uid, gids, Right.USE):
            if not rule.resource & kind.bit:
                continue
            everything = everything or bool(rule.resource & ALL)
            for selector, members in found.items():
                if rule.resource & selector:
                    members.add(rule.id_of_resource)
        return Reach(
            everything=everything,
            oids=frozenset(found[INDIVIDUAL]),
            gids=frozenset(found[GROUP]),
            cluster_ids=frozenset(found[CLUSTER]),
        )
