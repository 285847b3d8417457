"""Calls: how a method is declared, what it learns about its caller, and how it asks for permission."""

import inspect
import types
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, get_args

import attrs

from opennebula_tenancy.emulator.errors import ProtocolFault, bad_call, unauthorized
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.rules import Permissions, Subject
from opennebula_tenancy.emulator.state import Cloud, Pool, PoolObject


ONEADMIN_ID = 0
"""The id of the first user, and of the administrators' group."""

MINE, ALL_VISIBLE, MINE_AND_MY_GROUPS, MY_PRIMARY_GROUP = -3, -2, -1, -4
"""Filter flags of pool calls; 0 and above is the id of an owner."""

Value = str | int | bool | list[Any] | dict[str, Any] | None
"""What travels in an XML-RPC call or reply."""

Function = Callable[..., Value]
F = TypeVar("F", bound=Function)
T = TypeVar("T", bound=PoolObject)


@attrs.define(kw_only=True)
class Call:
    """One call in execution.

    Attributes:
        cloud: The state. The caller holds its lock.
        method: The method called.
        uid: The caller.
        gid: The caller's primary group, or the one that the login token is for.
        gids: All groups the caller acts with.
        uname: The caller's name.
        gname: Name of the group `gid`.
        umask: Permissions that objects created by the caller lack.
    """

    cloud: Cloud
    method: "Method"
    uid: int
    gid: int
    gids: frozenset[int]
    uname: str
    gname: str
    umask: int

    @property
    def is_admin(self) -> bool:
        """Whether the caller is oneadmin or acts with the group oneadmin: such callers need no permission."""
        return self.uid == ONEADMIN_ID or ONEADMIN_ID in self.gids

    @property
    def right(self) -> Right:
        """The right that the method needs on its object."""
        return self.method.right

    def authorize(self, *asked: tuple[Right, Subject | PoolObject]) -> None:
        """Check that the caller has all the rights asked for.

        Raises:
            Refusal: Some are missing, or an object is locked (AUTHORIZATION, naming each).
        """
        missing = []
        for right, target in asked:
            subject = target.subject if isinstance(target, PoolObject) else target
            text = subject.kind.text if subject.kind else ""
            where = "" if subject.oid == -1 else f" [{subject.oid}]"
            locked = 0 < subject.locked <= right and not self.method.ignores_lock
            if self.is_admin:
                if locked:
                    missing.append(f"{text} is locked.{where}")
            elif locked or not self.cloud.acls.allows(self.uid, self.gids, subject, right):
                missing.append(f"Not authorized to perform {right.text} {text}{where}")
        if missing:
            raise unauthorized("; ".join(missing))

    def get(self, kind: type[T], oid: int) -> T:
        """The object that the call is about, once the caller is authorized for it (basic_authorization).

        Raises:
            Refusal: There is none, or the caller may not.
        """
        pool = self.cloud.pool(kind)
        if oid < 0:
            self.authorize((self.right, Subject(kind=kind.kind)))
        found = pool.get(oid)
        self.authorize((self.right, found))
        return found

    def may_create(self, kind: Kind) -> Subject:
        """The subject to authorize CREATE on, for a new object of the caller."""
        return Subject(kind=kind, uid=self.uid, gid=self.gid)

    def new_permissions(self) -> Permissions:
        """The permissions of an object that the caller creates (PoolObjectSQL::set_umask)."""
        mode = 0o666 if self.cloud.config.enable_other_permissions else 0o660
        if ONEADMIN_ID in {self.uid, self.gid}:
            mode = 0o777
        return Permissions.from_mode(mode & ~self.umask)

    def visible(self, kind: type[T], flag: int = ALL_VISIBLE, start: int = -1, end: int = -1) -> list[T]:
        """The objects of a pool that the caller may see, filtered and paged as pool calls do.

        Args:
            kind: The class of objects.
            flag: A filter flag, or an owner's id.
            start: First id, or the offset of a page.
            end: Last id, -1 for no end, or minus the size of a page.

        Raises:
            Refusal: A flag that does not exist (API).
        """
        if flag < MY_PRIMARY_GROUP:
            raise bad_call("Incorrect filter_flag")
        pool: Pool[T] = self.cloud.pool(kind)
        chosen = [item for item in pool if self._sees(item, flag)]
        if end >= -1 and start != -1:
            chosen = [item for item in chosen if start <= item.id and (end == -1 or item.id <= end)]
        if self.cloud.config.descending:
            chosen.reverse()
        if end < -1:
            chosen = chosen[max(start, 0) : max(start, 0) - end]
        return chosen

    def _sees(self, item: PoolObject, flag: int) -> bool:
        if flag == MINE:
            return item.uid == self.uid
        if flag == MY_PRIMARY_GROUP:
            return item.gid == self.gid and self._reaches(item, frozenset({self.gid}))
        if flag == MINE_AND_MY_GROUPS:
            return item.uid == self.uid or (item.gid in self.gids and self._reaches(item, self.gids, own=False))
        if flag == ALL_VISIBLE:
            return self._reaches(item, self.gids)
        return item.uid == flag and (flag == self.uid or self._reaches(item, self.gids, own=False))

    def _reaches(self, item: PoolObject, gids: frozenset[int], *, own: bool = True) -> bool:
        if self.is_admin or item.permissions.other_u or (own and item.uid == self.uid):
            return True
        if item.gid in gids and item.permissions.group_u:
            return True
        reach = self._reach.get(item.kind)
        if reach is None:
            reach = self._reach[item.kind] = self.cloud.acls.reach(self.uid, self.gids, item.kind)
        clustered = item.kind in {Kind.HOST, Kind.DATASTORE, Kind.NET}
        return (
            (reach.everything and not item.is_apart)
            or item.id in reach.oids
            or item.gid in reach.gids
            or (clustered and not item.is_apart and not reach.cluster_ids.isdisjoint(item.cluster_ids))
        )

    _reach: dict[Kind, Any] = attrs.field(factory=dict, init=False)


# Methods

_PROBLEM = {
    int: "Parameter that is supposed to be integer is not",
    str: "Parameter that is supposed to be a string is not",
    bool: "Parameter that is supposed to be boolean is not",
    list: "Parameter that is supposed to be an array is not",
}
_TYPE_NAMES = {int: "int", str: "string", bool: "boolean", list: "array"}


class Int64(int):
    """An `i8` of an XML-RPC call: no method takes one where it wants an integer of 32 bits."""


@attrs.frozen
class Parameter:
    """A parameter behind the session string.

    Attributes:
        name: Its name in the function.
        type: int, str, bool, or list for an array of integers.
        optional: Whether it may be left out.
    """

    name: str
    type: type
    optional: bool

    def read(self, value: Value) -> Value:
        """The argument, when it has this parameter's type.

        Raises:
            ProtocolFault: It has another.
        """
        if type(value) is not self.type:
            raise ProtocolFault(-501, _PROBLEM[self.type])
        if isinstance(value, list) and any(type(item) is not int for item in value):
            raise ProtocolFault(-500, f"{_INCOMPLETE}Not integer type.  See type() method")
        return value


_INCOMPLETE = (
    "Unexpected error executing code for particular method, detected by Xmlrpc-c method registry code.  "
    "Method did not fail; rather, it did not complete at all.  "
)
NO_SESSION = f"{_INCOMPLETE}Subscript of xmlrpc_c::paramList out of bounds"
"""The fault of a call without any parameter."""


@attrs.frozen
class Method:
    """A method of the API.

    Attributes:
        name: `one.group.info`.
        kind: The kind of object it is about; failures name it.
        right: The right it needs on its object.
        function: What it does, given a `Call` and the arguments.
        parameters: Its parameters behind the session string.
        ignores_lock: Whether a locked object is no obstacle to it.
    """

    name: str
    kind: Kind | None
    right: Right
    function: Function
    parameters: tuple[Parameter, ...]
    ignores_lock: bool = False

    def arguments(self, values: Sequence[Value]) -> list[Value]:
        """The arguments of a call, checked; those beyond the last parameter are passed over, as oned does.

        Args:
            values: What was sent behind the session string.

        Raises:
            ProtocolFault: Too few, or of a wrong type.
        """
        arguments = []
        for parameter, value in zip(self.parameters, values, strict=False):
            arguments.append(parameter.read(value))
        if any(not parameter.optional for parameter in self.parameters[len(values) :]):
            raise ProtocolFault(-501, "Not enough parameters")
        return arguments

    @property
    def signature(self) -> list[str]:
        """The types of the reply, the session string and the parameters, as system.methodSignature lists them."""
        return ["array", "string", *(_TYPE_NAMES[parameter.type] for parameter in self.parameters)]


METHODS: dict[str, Method] = {}
"""Every method of the API by name."""


def method(
    name: str, kind: Kind | None = None, right: Right = Right.NONE, *, ignores_lock: bool = False
) -> Callable[[F], F]:
    """Declare a function `(call, ...) -> value` to be a method of the API.

    Its parameters behind the first are those of the method behind the session string, typed int, str, bool or
    list[int]; those with a default may be left out. What it returns becomes the second field of the reply; a `Refusal`
    it raises becomes a failure.

    Args:
        name: The method's name.
        kind: The kind of object it is about.
        right: The right it needs on that object.
        ignores_lock: Whether a locked object is no obstacle (the `_NO_LCK` operations of oned).
    """

    def declare(function: F) -> F:
        parameters = tuple(
            Parameter(found.name, _plain(found.annotation), found.default is not inspect.Parameter.empty)
            for found in list(inspect.signature(function).parameters.values())[1:]
        )
        METHODS[name] = Method(name, kind, right, function, parameters, ignores_lock)
        return function

    return declare


def _plain(annotation: Any) -> type:
    plain = list if isinstance(annotation, types.GenericAlias) and get_args(annotation) == (int,) else annotation
    if plain not in _PROBLEM:
        raise TypeError(f"a method's parameter cannot be a {annotation!r}")
    return plain
