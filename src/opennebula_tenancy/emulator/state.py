"""The state of the cloud: objects, pools of objects, and the clock that moves asynchronous work on."""

import abc
import copy
import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import ClassVar, Generic, TypeVar, cast

import attrs

from opennebula_tenancy.emulator.config import Config
from opennebula_tenancy.emulator.driver_actions import DriverActions
from opennebula_tenancy.emulator.errors import no_exists
from opennebula_tenancy.emulator.kinds import Kind
from opennebula_tenancy.emulator.quotas import Quotas
from opennebula_tenancy.emulator.rules import AclRules, Permissions, Subject
from opennebula_tenancy.emulator.template import Template


ZONE_ID = 0
"""The only zone is the local one."""

_INVALID_NAME_CHARS = "&|:\\\";/'#{}$<>\t\n\v\f\r"


def name_problem(name: str, extra: str = "") -> str | None:
    """What is wrong with a name, as PoolObjectSQL::name_is_valid words it, or None.

    Args:
        name: The name.
        extra: Characters forbidden besides those forbidden to every object.
    """
    if not name:
        return "Invalid NAME, it cannot be empty"
    forbidden = next((char for char in name if char in _INVALID_NAME_CHARS or char in extra), None)
    if forbidden is not None:
        return f"Invalid NAME, char '{forbidden}' is not allowed"
    if len(name.encode()) > 128:
        return "Invalid NAME, max length is 128 chars"
    return None


@attrs.define(eq=False, kw_only=True)
class PoolObject(abc.ABC):
    """An object with an id, an owner, permissions and a template. Subclasses say what kind it is and how it reads.

    Attributes:
        id: The id, given by the pool.
        name: The name.
        uid: The owner.
        gid: The owner's group at the time, or the group it was given to.
        uname: Name of the owner, kept after the owner is gone.
        gname: Name of the group, kept after the group is gone.
        permissions: Rights of the owner, the group and everyone.
        template: What users wrote on it.
        locked: 0, or the right from which on it is locked (1 use, 2 manage, 3 admin).
        lock_owner: The user who locked it.
        lock_time_s: Unix time of the last lock.
    """

    kind: ClassVar[Kind]

    id: int = -1
    name: str = ""
    uid: int = 0
    gid: int = 0
    uname: str = ""
    gname: str = ""
    permissions: Permissions = attrs.field(factory=Permissions)
    template: Template = attrs.field(factory=Template)
    locked: int = 0
    lock_owner: int = -1
    lock_time_s: int = 0
    lock_request: int = -1

    @property
    def cluster_ids(self) -> frozenset[int]:
        """The clusters it is in, for access rules on clusters."""
        return frozenset()

    @property
    def is_apart(self) -> bool:
        """Whether only rules on itself or its group are about it, not those on all of its kind or on a cluster."""
        return False

    @property
    def subject(self) -> Subject:
        """What access control needs to know about it."""
        return Subject(
            kind=self.kind,
            oid=self.id,
            uid=self.uid,
            gid=self.gid,
            cluster_ids=self.cluster_ids,
            permissions=self.permissions,
            locked=self.locked,
            is_apart=self.is_apart,
        )

    @abc.abstractmethod
    def xml(self, cloud: "Cloud") -> str:
        """The body, as `one.<kind>pool.info` lists it."""

    def extended_xml(self, cloud: "Cloud") -> str:
        """The body, as `one.<kind>.info` answers it."""
        return self.xml(cloud)

    def lock_xml(self) -> str:
        """The LOCK element, nothing when it is not locked."""
        if not self.locked:
            return ""
        return (
            f"<LOCK><LOCKED>{self.locked}</LOCKED><OWNER>{self.lock_owner}</OWNER>"
            f"<TIME>{self.lock_time_s}</TIME><REQ_ID>{self.lock_request}</REQ_ID></LOCK>"
        )

    def template_updated(self, cloud: "Cloud", old: Template) -> None:  # noqa: B027 - most kinds have nothing to check
        """Check and complete the template after an update; raising a Refusal brings the old one back."""


T = TypeVar("T", bound=PoolObject)


class Pool(Generic[T]):
    """The objects of one kind by id, in ascending order.

    Attributes:
        kind: The kind of its objects.
        next_id: The id that the next object gets.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.next_id = 0
        self._objects: dict[int, T] = {}

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._objects.values()))

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, oid: object) -> bool:
        return oid in self._objects

    def get(self, oid: int) -> T:
        """The object with that id.

        Raises:
            Refusal: There is none (NO_EXISTS, naming this pool's kind).
        """
        found = self._objects.get(oid)
        if found is None:
            raise no_exists(self.kind, oid)
        return found

    def find(self, oid: int) -> T | None:
        """The object with that id, or None."""
        return self._objects.get(oid)

    def named(self, name: str, uid: int | None = None) -> T | None:
        """The object of that name, or None.

        Args:
            name: The name, case sensitive.
            uid: Its owner, for kinds whose names are unique per owner.
        """
        return next((o for o in self._objects.values() if o.name == name and uid in {None, o.uid}), None)

    def add(self, item: T) -> T:
        """Give the object the next id and keep it."""
        item.template = item.template.stored()
        item.id = self.next_id
        self.next_id += 1
        self._objects[item.id] = item
        return item

    def remove(self, item: T) -> None:
        """Forget the object. Its id is not given again."""
        del self._objects[item.id]


class Cloud:
    """Everything a server knows. Reach it only while holding `lock`.

    Attributes:
        config: What oned.conf decides.
        lock: Held for the whole of every call.
        acls: The access rules.
        default_quotas: The default limits of users and of groups.
        driver_actions: How long the actions of the VM drivers take, and which of them fail.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.lock = threading.RLock()
        self.acls = AclRules(ZONE_ID)
        self.default_quotas = {Kind.USER: Quotas(default=True), Kind.GROUP: Quotas(default=True)}
        self._pools: dict[Kind, Pool[PoolObject]] = {kind: Pool(kind) for kind in Kind}
        self.driver_actions = DriverActions()
        self._pending: list[tuple[float, int, Callable[[], None]]] = []
        self._acting_at: float | None = None
        self._order = itertools.count()

    def copy(self) -> "Cloud":
        """An independent cloud in the same state, once all that waits here is done."""
        self.settle()
        twin = Cloud(self.config)
        twin.acls, twin.default_quotas, twin._pools, twin.driver_actions = copy.deepcopy(
            (self.acls, self.default_quotas, self._pools, self.driver_actions)
        )
        return twin

    def pool(self, kind: type[T]) -> Pool[T]:
        """The pool of a class of objects, e.g. `cloud.pool(Group)`."""
        return cast("Pool[T]", self._pools[kind.kind])

    def pool_of(self, kind: Kind) -> Pool[PoolObject]:
        """The pool of a kind, for code that handles several."""
        return self._pools[kind]

    def now_s(self) -> int:
        """Unix time in seconds."""
        return int(time.time())

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something asynchronously: before the first call that comes `delay_s` seconds from now, or later.

        Args:
            delay_s: Seconds from now; for an action that asks for more, from the time at which it was due, so that work
                of several steps is done in time however rarely anyone calls.
            action: What to do. It runs with the lock held, in order of time, and may ask for more to be done later.
        """
        start = time.monotonic() if self._acting_at is None else self._acting_at
        heapq.heappush(self._pending, (start + delay_s, next(self._order), action))

    def advance(self, until: float | None = None) -> None:
        """Do what is due.

        Args:
            until: A monotonic time in seconds; None means now.
        """
        limit = time.monotonic() if until is None else until
        while self._pending and self._pending[0][0] <= limit:
            self._act()

    def settle(self) -> None:
        """Do everything that waits, and what it leads to, at once."""
        while self._pending:
            self._act()

    def _act(self) -> None:
        """Do the next thing that waits, as if at the time it is due."""
        self._acting_at, _, action = heapq.heappop(self._pending)
        try:
            action()
        finally:
            self._acting_at = None
