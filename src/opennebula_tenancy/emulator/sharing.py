"""The methods that owned nouns have in the same form: update, rename, chown, chmod, lock, unlock."""

from collections.abc import Callable
from typing import Any

from opennebula_tenancy.emulator import verbs
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.kinds import LOCKABLE, Right
from opennebula_tenancy.emulator.rules import Permissions
from opennebula_tenancy.emulator.state import Cloud, PoolObject


def declare(
    noun: str,
    kind: type[PoolObject],
    *,
    chown: Callable[[Call, type[Any], int, int, int], Any],
    with_chmod: bool = True,
    unique_names: bool = True,
    updated: Callable[[Cloud, Any], None] | None = None,
) -> None:
    """Declare `one.<noun>.update`, `rename`, `chown`, `chmod`, and `lock`, `unlock` where the kind can be locked.

    Args:
        noun: The noun in the methods' names.
        kind: The class of its objects.
        chown: What changes the owner and group, given the call, the class, the id, the owner and the group.
        with_chmod: Whether to declare `chmod` too; a noun may have one of its own.
        unique_names: Whether `rename` refuses a name that the owner has for another.
        updated: What follows an update.
    """

    @method(f"one.{noun}.update", kind.kind, Right.MANAGE)
    def update(call: Call, oid: int, text: str, mode: int = 0) -> int:
        """Updates the template."""
        item = verbs.update(call, kind, oid, text, mode)
        if updated is not None:
            updated(call.cloud, item)
        return item.id

    @method(f"one.{noun}.rename", kind.kind, Right.MANAGE)
    def rename(call: Call, oid: int, name: str) -> int:
        """Changes the name."""
        verbs.rename(call, kind, oid, name, per_owner=True, unique=unique_names)
        return oid

    @method(f"one.{noun}.chown", kind.kind, Right.MANAGE)
    def change_owner(call: Call, oid: int, uid: int, gid: int) -> int:
        """Changes the owner and the group; -1 keeps one."""
        chown(call, kind, oid, uid, gid)
        return oid

    if with_chmod:
        declare_chmod(noun, kind)
    if kind.kind in LOCKABLE:
        declare_lock(noun, kind)


def declare_chmod(noun: str, kind: type[PoolObject]) -> None:
    """Declare `one.<noun>.chmod`."""

    @method(f"one.{noun}.chmod", kind.kind, Right.MANAGE)
    def chmod(  # noqa: PLR0917 - the protocol's signature
        call: Call,
        oid: int,
        owner_u: int,
        owner_m: int,
        owner_a: int,
        group_u: int,
        group_m: int,
        group_a: int,
        other_u: int,
        other_m: int,
        other_a: int,
    ) -> int:
        """Changes permissions; -1 keeps one."""
        bits = Permissions(owner_u, owner_m, owner_a, group_u, group_m, group_a, other_u, other_m, other_a)
        return verbs.chmod(call, kind, oid, bits).id


def declare_lock(noun: str, kind: type[PoolObject]) -> None:
    """Declare `one.<noun>.lock` and `unlock`."""

    @method(f"one.{noun}.lock", kind.kind, Right.MANAGE, ignores_lock=True)
    def lock(call: Call, oid: int, level: int, test: bool = False) -> int:
        """Locks the object."""
        verbs.lock(call, kind, oid, level, test=test)
        return oid

    @method(f"one.{noun}.unlock", kind.kind, Right.MANAGE, ignores_lock=True)
    def unlock(call: Call, oid: int) -> int:
        """Unlocks the object."""
        verbs.unlock(call, kind, oid)
        return oid
