"""What can be done to objects of any kind: read, update, rename, give away, open, lock, delete (SharedAPI.cc).

Each noun declares its methods and calls these with its class.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

import attrs

from opennebula_tenancy.emulator.calls import Call
from opennebula_tenancy.emulator.errors import Code, Refusal, action, bad_call, internal, no_exists, unauthorized
from opennebula_tenancy.emulator.kinds import LOCKABLE, Kind, Right
from opennebula_tenancy.emulator.rules import Permissions
from opennebula_tenancy.emulator.state import PoolObject, name_problem
from opennebula_tenancy.emulator.syntax import TemplateError, parse
from opennebula_tenancy.emulator.template import restricted_change


T = TypeVar("T", bound=PoolObject)


def info(call: Call, kind: type[T], oid: int) -> str:
    """The full body of an object."""
    return call.get(kind, oid).extended_xml(call.cloud)


def pool_xml(root: str, bodies: Iterable[str], tail: str = "") -> str:
    """The reply of a pool call."""
    return f"<{root}>{''.join(bodies)}{tail}</{root}>"


def update(call: Call, kind: type[T], oid: int, text: str, mode: int) -> T:
    """Replace (mode 0) or merge (mode 1) the template of an object.

    Returns:
        The object.

    Raises:
        Refusal: A wrong mode, a template that does not parse, or one that changes a restricted attribute.
    """
    item = call.get(kind, oid)
    if mode not in {0, 1}:
        raise bad_call("Wrong update type")
    try:
        new = parse(text)
    except TemplateError as error:
        raise internal(f"Cannot update template. {error}") from error
    old = item.template
    if not call.is_admin:
        names = call.cloud.config.restricted.get(kind.kind, {})
        changed = restricted_change(new, old, names, merging=mode == 1)
        if changed is not None:
            what = "User Template includes a restricted attribute" if mode else "Tried to change restricted attribute:"
            raise internal(f"Cannot update template. {what} {changed}")
    if mode == 1:
        merged = old.copy()
        merged.merge(new)
        new = merged
    item.template = new
    try:
        item.template_updated(call.cloud, old)
    except Refusal as refusal:
        item.template = old
        raise internal(f"Cannot update template. {refusal.text}") from refusal
    # oned overlooks that its database refuses a body that is no XML: the call succeeds, and nothing changes.
    item.template = item.template.stored() if item.template.storable else old
    return item


def rename(call: Call, kind: type[T], oid: int, name: str, *, per_owner: bool = False, unique: bool = True) -> T | None:
    """Give an object another name.

    Args:
        call: The call.
        kind: The class of object.
        oid: Its id.
        name: The new name.
        per_owner: Whether names are unique for one owner only.
        unique: Whether they are unique at all.

    Returns:
        The object, or None when it had the name already.

    Raises:
        Refusal: It is not there, the caller may not, or the name is taken or invalid.
    """
    pool = call.cloud.pool(kind)
    item = pool.get(oid)
    if item.name == name:
        return None
    call.authorize((call.right, item))
    taken = pool.named(name, item.uid if per_owner else None) if unique else None
    if taken is not None:
        label = kind.kind.label
        raise action(f"{label} cannot be renamed to {name} because it collides with {label} {taken.id}")
    problem = name_problem(name)
    if problem is not None:
        raise action(problem)
    item.name = name
    return item


def chmod(call: Call, kind: type[T], oid: int, bits: Permissions) -> T:
    """Change the permissions of an object; -1 leaves a bit as it is.

    Args:
        call: The call.
        kind: The class of object.
        oid: Its id.
        bits: Nine values.

    Raises:
        Refusal: It is not there, the caller may not, or a value is none of -1, 0, 1.
    """
    item = call.cloud.pool(kind).get(oid)
    now = item.permissions
    changed = {name for name, value in attrs.asdict(bits).items() if value not in {-1, getattr(now, name)}}
    # A bit for use or manage of owner and group counts as changed only for the right it needs, which MANAGE covers.
    admin = changed & {"owner_a", "group_a", "other_a"}
    if changed & {"other_u", "other_m", "other_a"} and not (
        call.cloud.config.enable_other_permissions or call.is_admin
    ):
        raise unauthorized("'other' permissions is disabled in oned.conf")
    call.authorize((Right.ADMIN if admin else Right.MANAGE, item))
    if any(value not in {-1, 0, 1} for value in attrs.asdict(bits).values()):
        raise internal("New permission values must be -1, 0 or 1")
    item.permissions = attrs.evolve(now, **{name: getattr(bits, name) for name in changed})
    return item


def check_owners(call: Call, kind: type[T], oid: int, uid: int, gid: int, *, unique: bool = True) -> tuple[T, int, int]:
    """Check a change of owner and group, up to the quotas that come with it.

    Args:
        call: The call.
        kind: The class of object.
        oid: Its id.
        uid: The new owner, -1 to keep it.
        gid: The new group, -1 to keep it.
        unique: Whether an owner has no two such objects of one name.

    Returns:
        The object, and the owner and group to set; -1 where nothing changes.
    """
    cloud = call.cloud
    user = cloud.pool_of(Kind.USER).get(uid) if uid > -1 else None
    group = cloud.pool_of(Kind.GROUP).get(gid) if gid > -1 else None
    item = cloud.pool(kind).get(oid)
    uid = -1 if user is None or uid == item.uid else uid
    gid = -1 if group is None or gid == item.gid else gid
    asked = [(call.right, item.subject)]
    if user is not None and uid > -1:
        asked.append((Right.MANAGE, user.subject))
    if group is not None and gid > -1:
        asked.append((Right.USE, group.subject))
    call.authorize(*asked)
    if uid > -1 and unique:
        taken = cloud.pool(kind).named(item.name, uid)
        if taken is not None:
            label = kind.kind.label
            raise internal(f"user [{uid}] already owns {label} [{taken.id}] with NAME {item.name}")
    return item, uid, gid


def set_owners(call: Call, item: PoolObject, uid: int, gid: int) -> None:
    """Set the owner and group of an object; -1 keeps the one there is."""
    if uid > -1:
        item.uid, item.uname = uid, call.cloud.pool_of(Kind.USER).get(uid).name
    if gid > -1:
        item.gid, item.gname = gid, call.cloud.pool_of(Kind.GROUP).get(gid).name


def chown(call: Call, kind: type[T], oid: int, uid: int, gid: int) -> T:
    """Change the owner and group of an object that no quota counts."""
    item, uid, gid = check_owners(call, kind, oid, uid, gid)
    set_owners(call, item, uid, gid)
    return item


def lock(call: Call, kind: type[T], oid: int, level: int, *, test: bool) -> None:
    """Lock an object against use (levels 1 and 4), management (2) or administration (3)."""
    item = call.get(kind, oid)
    if level not in {1, 2, 3, 4}:
        raise action("Wrong lock level specified")
    if kind.kind not in LOCKABLE:
        raise unauthorized("Object cannot be locked.")
    if test and item.locked:
        # oned answers the time of that lock in place of words.
        raise action(str(item.lock_time_s))
    if item.locked and item.lock_owner != call.uid and not call.is_admin:
        raise action("Error trying to lock the resource.")
    item.locked = 1 if level == 4 else level
    item.lock_owner, item.lock_time_s = call.uid, call.cloud.now_s()


def unlock(call: Call, kind: type[T], oid: int) -> None:
    """Unlock an object; only its locker and administrators can."""
    item = call.get(kind, oid)
    if not call.is_admin and item.lock_owner != call.uid:
        raise action("Cannot unlock: Lock is owned by another user")
    item.locked, item.lock_owner, item.lock_time_s = 0, -1, call.cloud.now_s()


def delete(call: Call, kind: type[T], oid: int, drop: Callable[[T], None]) -> int:
    """Delete an object, and the access rules that name it.

    Args:
        call: The call.
        kind: The class of object.
        oid: Its id.
        drop: What the noun does to delete it, `pool.remove` included; it raises a `Refusal` to say why it cannot.

    Returns:
        The id.
    """
    item = call.cloud.pool(kind).find(oid)
    if item is None:
        raise no_exists(kind.kind, oid)
    call.authorize((call.right, item))
    try:
        drop(item)
    except Refusal as refusal:
        raise Refusal(Code.ACTION, f"Cannot delete {kind.kind.label}. {refusal.text}") from refusal
    call.cloud.acls.forget_object(kind.kind, oid)
    return oid
