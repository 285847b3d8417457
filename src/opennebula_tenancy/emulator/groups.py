"""Groups: `one.group.*`, `one.grouppool.info`, `one.groupquota.*` (Group.cc, GroupPool.cc, GroupAPI.cc)."""

from typing import ClassVar

import attrs

from opennebula_tenancy.emulator import limits, operations, verbs
from opennebula_tenancy.emulator.calls import ONEADMIN_ID, Call, method
from opennebula_tenancy.emulator.errors import Code, Refusal, action, internal
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.markup import cdata, ids
from opennebula_tenancy.emulator.quotas import Quotas
from opennebula_tenancy.emulator.rules import ALL, GROUP, INDIVIDUAL, Permissions
from opennebula_tenancy.emulator.state import Cloud, PoolObject, name_problem
from opennebula_tenancy.emulator.template import Template, Vector
from opennebula_tenancy.emulator.vdcs import DEFAULT_VDC_ID, Vdc


USERS_ID = 1
"""The group of users for whom no other is named."""

_ADMIN_OBJECTS = (
    *(Kind.VM, Kind.NET, Kind.IMAGE, Kind.TEMPLATE, Kind.DOCUMENT),
    *(Kind.SECGROUP, Kind.VROUTER, Kind.VMGROUP, Kind.BACKUPJOB),
)


@attrs.define(eq=False, kw_only=True)
class Group(PoolObject):
    """A group. It is its own group, and its members may see it.

    Attributes:
        users: Users with it as primary or secondary group.
        admins: Users who administer it.
        quotas: Its limits and usage.
    """

    kind: ClassVar[Kind] = Kind.GROUP

    permissions: Permissions = attrs.field(factory=lambda: Permissions(group_u=1))
    users: set[int] = attrs.field(factory=set)
    admins: set[int] = attrs.field(factory=set)
    quotas: Quotas = attrs.field(factory=Quotas)

    def template_updated(self, cloud: Cloud, old: Template) -> None:  # noqa: ARG002 - checked as it is now
        """Check the operations it redefines."""
        operations.check(self.template)

    def _core(self) -> str:
        return (
            f"<ID>{self.id}</ID><NAME>{self.name}</NAME>{self.template.xml()}"
            f"{ids('USERS', self.users)}{ids('ADMINS', self.admins)}"
        )

    def _vlans(self) -> str:
        return f"<VLAN_RULES><ID>{cdata(self.id)}</ID></VLAN_RULES>"

    def xml(self, cloud: Cloud) -> str:  # noqa: ARG002 - every object reads so
        """The body, and behind it the quotas, as the pool lists them."""
        quotas = f"<QUOTAS><ID>{self.id}</ID>{self.quotas.to_xml()}</QUOTAS>"
        return f"<GROUP>{self._core()}</GROUP>{quotas}{self._vlans()}"

    def extended_xml(self, cloud: Cloud) -> str:
        """The body with its quotas and the default ones."""
        defaults = limits.defaults_xml(cloud, Kind.GROUP)
        return f"<GROUP>{self._core()}{self.quotas.to_xml()}{self._vlans()}{defaults}</GROUP>"

    def _admin_rules(self, uid: int) -> list[tuple[int, int, int, int]]:
        user, every = INDIVIDUAL | uid, Right.USE | Right.MANAGE | Right.ADMIN | Right.CREATE
        objects = sum(kind.bit for kind in _ADMIN_OBJECTS)
        return [
            (user, Kind.USER.bit | GROUP | self.id, every, ALL),
            (user, objects | GROUP | self.id, Right.USE | Right.MANAGE, ALL),
            (user, Kind.VROUTER.bit | ALL, Right.CREATE, ALL),
            (user, Kind.GROUP.bit | INDIVIDUAL | self.id, Right.MANAGE, ALL),
        ]

    def add_admin(self, cloud: Cloud, uid: int) -> None:
        """Make a member an administrator of the group, with the rules that come with it."""
        self.admins.add(uid)
        for rule in self._admin_rules(uid):
            cloud.acls.grant(*rule)

    def remove_admin(self, cloud: Cloud, uid: int) -> None:
        """Take the administration of the group from a user, if it has it."""
        if uid in self.admins:
            self.admins.discard(uid)
            for rule in self._admin_rules(uid):
                cloud.acls.revoke(*rule)


def create(cloud: Cloud, name: str) -> Group:
    """Make a group.

    Raises:
        Refusal: The name is taken or invalid (INTERNAL).
    """
    problem = name_problem(name, " ")
    if problem is not None:
        raise internal(problem)
    taken = cloud.pool(Group).named(name)
    if taken is not None:
        raise internal(f"NAME is already taken by GROUP {taken.id}.")
    group = cloud.pool(Group).add(Group(name=name))
    group.gid, group.gname = group.id, name
    return group


def bootstrap(cloud: Cloud) -> None:
    """The groups of a new cloud. Ids below 100 belong to the system."""
    create(cloud, "oneadmin")
    views = {
        "DEFAULT_VIEW": "cloud",
        "VIEWS": "cloud",
        "GROUP_ADMIN_DEFAULT_VIEW": "groupadmin",
        "GROUP_ADMIN_VIEWS": "groupadmin,cloud",
    }
    create(cloud, "users").template.add("SUNSTONE", Vector(views))
    cloud.pool(Group).next_id = 100


@method("one.group.allocate", Kind.GROUP, Right.CREATE)
def allocate(call: Call, name: str) -> int:
    """Allocates a new group, which is in the default VDC at once."""
    call.authorize((Right.CREATE, call.may_create(Kind.GROUP)))
    group = create(call.cloud, name)
    default = call.cloud.pool(Vdc).find(DEFAULT_VDC_ID)
    if default is not None:
        default.add_group(call.cloud, group.id)
    return group.id


@method("one.group.delete", Kind.GROUP, Right.ADMIN)
def delete(call: Call, oid: int) -> int:
    """Deletes a group."""

    def drop(group: Group) -> None:
        if group.id < 100:
            raise action("System Groups (ID < 100) cannot be deleted.")
        if group.users:
            raise action(f"Group {group.id} is not empty.")
        call.cloud.pool(Group).remove(group)
        call.cloud.acls.forget_group(oid)
        for vdc in call.cloud.pool(Vdc):
            if oid in vdc.groups:
                vdc.remove_group(call.cloud, oid)

    return verbs.delete(call, Group, oid, drop)


@method("one.group.info", Kind.GROUP, Right.USE, ignores_lock=True)
def info(call: Call, oid: int, decrypt: bool = False) -> str:  # noqa: ARG001 - nothing is encrypted here
    """Returns group information."""
    return verbs.info(call, Group, call.gid if oid == -1 else oid)


@method("one.grouppool.info", Kind.GROUP)
def pool_info(call: Call) -> str:
    """Returns the group pool."""
    bodies = (group.xml(call.cloud) for group in call.visible(Group))
    return verbs.pool_xml("GROUP_POOL", bodies, limits.defaults_xml(call.cloud, Kind.GROUP))


@method("one.group.update", Kind.GROUP, Right.ADMIN)
def update(call: Call, oid: int, text: str, mode: int = 0) -> int:
    """Updates a group template."""
    return verbs.update(call, Group, oid, text, mode).id


@method("one.group.quota", Kind.GROUP, Right.ADMIN)
def quota(call: Call, oid: int, text: str) -> int:
    """Sets group quota limits."""
    if oid == ONEADMIN_ID:
        raise action("Cannot set quotas for oneadmin group")
    try:
        group = call.get(Group, oid)
    except Refusal as refusal:
        # A group that is not there is refused as one that the caller may not touch.
        raise Refusal(Code.AUTHORIZATION, refusal.text, object_id=refusal.object_id) from refusal
    limits.put(call.cloud, group.quotas, text, owner=("GID", oid))
    return oid


def _edited(call: Call, oid: int, uid: int) -> Group:
    group = call.cloud.pool(Group).get(oid)
    user = call.cloud.pool_of(Kind.USER).get(uid)
    call.authorize((Right.ADMIN, group), (Right.ADMIN, user))
    return group


@method("one.group.addadmin", Kind.GROUP, Right.ADMIN)
def addadmin(call: Call, oid: int, uid: int) -> int:
    """Adds a user to the group admin set."""
    group = _edited(call, oid, uid)
    if uid not in group.users:
        raise internal(f"Cannot edit group. User {uid} is not part of Group {oid}.")
    if uid in group.admins:
        raise internal(f"Cannot edit group. User {uid} is already an administrator of Group {oid}.")
    group.add_admin(call.cloud, uid)
    return oid


@method("one.group.deladmin", Kind.GROUP, Right.ADMIN)
def deladmin(call: Call, oid: int, uid: int) -> int:
    """Removes a user from the group admin set."""
    group = _edited(call, oid, uid)
    if uid not in group.admins:
        raise internal(f"Cannot edit group. User {uid} is not an administrator of Group {oid}.")
    group.remove_admin(call.cloud, uid)
    return oid


@method("one.groupquota.info", Kind.GROUP)
def quota_info(call: Call) -> str:
    """Returns the default group quota limits."""
    return limits.defaults_xml(call.cloud, Kind.GROUP)


@method("one.groupquota.update", Kind.GROUP)
def quota_update(call: Call, text: str) -> str:
    """Updates the default group quota limits."""
    return limits.update_defaults(call, Kind.GROUP, text)
