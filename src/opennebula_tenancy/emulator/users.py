"""Users: `one.user.*`, `one.userpool.info`, `one.userquota.*` (User.cc, UserPool.cc, UserAPI.cc)."""

import hashlib
import secrets
import time
from typing import ClassVar

import attrs

from opennebula_tenancy.emulator import limits, operations, verbs
from opennebula_tenancy.emulator.calls import ONEADMIN_ID, Call, method
from opennebula_tenancy.emulator.errors import Code, Refusal, action, bad_call, internal
from opennebula_tenancy.emulator.groups import USERS_ID, Group
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.markup import cdata, ids
from opennebula_tenancy.emulator.quotas import Quotas
from opennebula_tenancy.emulator.state import Cloud, PoolObject, name_problem
from opennebula_tenancy.emulator.template import Template


CORE = "core"
"""The authentication driver that compares digests of passwords."""
MAX_TOKENS = 10
"""Login tokens that a user may have at a time."""

_INVALID_NAME_CHARS = " :\t\n\v\f\r"
_INVALID_PASSWORD_CHARS = " \t\n\v\f\r"
_MAX_PASSWORD_BYTES = {
    "ssh": 16 * 1024,
    "x509": 64 * 1024,
    "ldap": 256,
    "saml": 12 * 1024,
    "server_cipher": 4096,
    "server_x509": 64 * 1024,
    CORE: 256,
    "sunstone": 256,
}


def digest(password: str) -> str:
    """A password as it is stored: SHA-256 in hexadecimal."""
    return hashlib.sha256(password.encode()).hexdigest()


@attrs.frozen
class Token:
    """A login token.

    Attributes:
        text: What the user sends in place of a password.
        expires_s: Unix time at which it ends, -1 for never.
        egid: The only group it acts with, -1 for all.
    """

    text: str
    expires_s: int
    egid: int

    def expired(self, now_s: float) -> bool:
        """Whether it is of no use any more."""
        return self.expires_s != -1 and now_s >= self.expires_s

    def xml(self) -> str:
        """The LOGIN_TOKEN element."""
        return (
            f"<LOGIN_TOKEN><TOKEN>{self.text}</TOKEN><EXPIRATION_TIME>{self.expires_s}</EXPIRATION_TIME>"
            f"<EGID>{self.egid}</EGID></LOGIN_TOKEN>"
        )


@attrs.define(eq=False, kw_only=True)
class User(PoolObject):
    """A user. It owns itself; its group is its primary group.

    Attributes:
        password: As stored: a digest for the core driver.
        driver: The authentication driver.
        enabled: Whether it can log in.
        gids: All its groups.
        tokens: Its login tokens.
        quotas: Its limits and usage.
    """

    kind: ClassVar[Kind] = Kind.USER

    password: str
    driver: str
    gids: set[int]
    enabled: bool = True
    tokens: list[Token] = attrs.field(factory=list)
    quotas: Quotas = attrs.field(factory=Quotas)

    def valid_token(self, text: str) -> Token | None:
        """The token of that text; one that has expired is removed."""
        token = next((token for token in self.tokens if token.text == text), None)
        if token is not None and token.expired(time.time()):
            self.tokens.remove(token)
            return None
        return token

    def umask(self, cloud: Cloud) -> int:
        """Permissions that objects it creates lack."""
        text = self.template.text("UMASK")
        try:
            return int(text, 8) & 0o777 if text else cloud.config.default_umask
        except ValueError:
            return 0

    def set_password(self, password: str) -> None:
        """Store a password, which ends all login tokens.

        Raises:
            Refusal: It is not valid.
        """
        problem = password_problem(password, self.driver)
        if problem is not None:
            raise action(problem)
        self.password = digest(password) if self.driver == CORE else password
        self.tokens.clear()

    def xml(self, cloud: Cloud) -> str:  # noqa: ARG002 - every object reads so
        """The body, and behind it the quotas, as the pool lists them."""
        return f"<USER>{self._core()}</USER><QUOTAS><ID>{self.id}</ID>{self.quotas.to_xml()}</QUOTAS>"

    def template_updated(self, cloud: Cloud, old: Template) -> None:  # noqa: ARG002 - checked as it is now
        """Check the operations it redefines."""
        operations.check(self.template)

    def _core(self) -> str:
        tokens = "".join(token.xml() for token in sorted(self.tokens, key=lambda token: token.text))
        return (
            f"<ID>{self.id}</ID><GID>{self.gid}</GID>{ids('GROUPS', self.gids)}<GNAME>{self.gname}</GNAME>"
            f"<NAME>{self.name}</NAME><PASSWORD>{cdata(self.password)}</PASSWORD>"
            f"<AUTH_DRIVER>{cdata(self.driver)}</AUTH_DRIVER><ENABLED>{int(self.enabled)}</ENABLED>"
            f"{tokens}{self.template.xml()}"
        )

    def extended_xml(self, cloud: Cloud) -> str:
        """The body, its quotas and the default ones."""
        return f"<USER>{self._core()}{self.quotas.to_xml()}{limits.defaults_xml(cloud, Kind.USER)}</USER>"


def password_problem(password: str, driver: str) -> str | None:
    """What is wrong with a password, or None."""
    if not password:
        return "Invalid password, it cannot be empty"
    longest = _MAX_PASSWORD_BYTES.get(driver)
    if longest is not None and len(password.encode()) > longest:
        return (
            f"Password is longer than max allowed length. Max allowed length for the driver {driver} : {longest} bytes"
        )
    forbidden = next((char for char in password if char in _INVALID_PASSWORD_CHARS), None)
    return None if forbidden is None else f"Invalid password, character '{forbidden}' is not allowed"


def create(cloud: Cloud, name: str, password: str, driver: str, gids: list[int]) -> User:
    """Make a user.

    Args:
        cloud: The state.
        name: Its name.
        password: Its password, in clear.
        driver: Its authentication driver.
        gids: Its groups, the primary one first.

    Raises:
        Refusal: The name or password is not valid, or the name is taken (INTERNAL).
    """
    problem = password_problem(password, driver) or name_problem(name, _INVALID_NAME_CHARS)
    if problem is not None:
        raise internal(f"{problem}.")
    taken = cloud.pool(User).named(name)
    if taken is not None:
        raise internal(f"NAME is already taken by USER {taken.id}.")
    user = User(
        name=name,
        gid=gids[0],
        gname=cloud.pool(Group).get(gids[0]).name,
        gids=set(gids),
        password=digest(password) if driver == CORE else password,
        driver=driver,
    )
    user.template.add("TOKEN_PASSWORD", secrets.token_hex(32))
    cloud.pool(User).add(user)
    user.uid, user.uname = user.id, user.name
    for gid in gids:
        cloud.pool(Group).get(gid).users.add(user.id)
    return user


def bootstrap(cloud: Cloud) -> None:
    """The users of a new cloud."""
    create(cloud, "oneadmin", "opennebula", CORE, [ONEADMIN_ID])
    create(cloud, "serveradmin", digest(secrets.token_hex(32)), "server_cipher", [ONEADMIN_ID])


@method("one.user.allocate", Kind.USER, Right.CREATE)
def allocate(call: Call, name: str, password: str, driver: str, gids: list[int] = []) -> int:  # noqa: B006 - never changed
    """Creates a new user."""
    asked = [(Right.CREATE, call.may_create(Kind.USER))]
    asked += [(Right.MANAGE, call.cloud.pool(Group).get(gid).subject) for gid in gids]
    call.authorize(*(item for item in asked if item[1].kind is Kind.USER or item[1].oid != call.gid))
    chosen = gids or [USERS_ID if call.gid == ONEADMIN_ID else call.gid]
    return create(call.cloud, name, password, driver or CORE, chosen).id


@method("one.user.delete", Kind.USER, Right.ADMIN)
def delete(call: Call, oid: int) -> int:
    """Deletes a user."""

    def drop(user: User) -> None:
        if user.id == ONEADMIN_ID:
            raise action("oneadmin cannot be deleted.")
        call.cloud.pool(User).remove(user)
        for gid in user.gids:
            group = call.cloud.pool(Group).find(gid)
            if group is not None:
                group.users.discard(oid)
                group.remove_admin(call.cloud, oid)
        call.cloud.acls.forget_user(oid)

    return verbs.delete(call, User, oid, drop)


@method("one.user.info", Kind.USER, Right.USE, ignores_lock=True)
def info(call: Call, oid: int, decrypt: bool = False) -> str:  # noqa: ARG001 - nothing is encrypted here
    """Returns user information."""
    return verbs.info(call, User, call.uid if oid == -1 else oid)


@method("one.userpool.info", Kind.USER)
def pool_info(call: Call) -> str:
    """Returns the user pool."""
    bodies = (user.xml(call.cloud) for user in call.visible(User))
    return verbs.pool_xml("USER_POOL", bodies, limits.defaults_xml(call.cloud, Kind.USER))


@method("one.user.update", Kind.USER, Right.MANAGE)
def update(call: Call, oid: int, text: str, mode: int = 0) -> int:
    """Updates a user's template."""
    return verbs.update(call, User, oid, text, mode).id


@method("one.user.passwd", Kind.USER, Right.MANAGE)
def passwd(call: Call, oid: int, password: str) -> int:
    """Changes a user's password."""
    user = call.get(User, oid)
    if user.driver != CORE and not call.is_admin:
        raise action(f"Password for driver {user.driver} cannot be changed.")
    user.set_password(password)
    return oid


@method("one.user.chauth", Kind.USER, Right.ADMIN)
def chauth(call: Call, oid: int, driver: str, password: str) -> int:
    """Changes a user's authentication driver and password."""
    user = call.get(User, oid)
    before, user.driver = user.driver, driver
    if password:
        try:
            user.set_password(password)
        except Refusal:
            user.driver = before
            raise
    return oid


@method("one.user.quota", Kind.USER, Right.ADMIN)
def quota(call: Call, oid: int, text: str) -> int:
    """Sets a user's quota limits."""
    user = call.get(User, oid)
    if oid == ONEADMIN_ID:
        raise action("Cannot set quotas for oneadmin user")
    limits.put(call.cloud, user.quotas, text, owner=("UID", oid))
    return oid


@method("one.user.enable", Kind.USER, Right.ADMIN)
def enable(call: Call, oid: int, enabled: bool) -> int:
    """Enables or disables a user."""
    user = call.get(User, oid)
    if oid == ONEADMIN_ID:
        raise action("Cannot enable/disable oneadmin user")
    user.enabled = enabled
    if not enabled:
        user.tokens.clear()
    return oid


@method("one.user.login", Kind.USER, Right.MANAGE)
def login(call: Call, name: str, text: str, valid_s: int, egid: int = -1) -> str:
    """Generates or resets a login token."""
    user = call.cloud.pool(User).named(name)
    if user is None:
        raise Refusal(Code.NO_EXISTS)
    call.authorize((call.right, user))
    longest = call.cloud.config.max_token_s
    if longest == 0:
        user.tokens.clear()
        raise action(f"Login tokens are disabled for driver {user.driver}")
    if longest > 0 and (valid_s > longest or valid_s == -1):
        valid_s = longest
    if valid_s == 0:
        return _reset_token(user, text)
    if valid_s < -1:
        raise bad_call("Wrong valid period for token")
    if egid != -1 and not call.is_admin and (egid not in user.gids or egid not in call.gids):
        raise bad_call("EGID is not in user group list")
    if egid == -1 and user.gids != call.gids:
        raise bad_call("Cannot create a full token with a specific group token")
    now_s = time.time()
    user.tokens = [token for token in user.tokens if not token.expired(now_s)]
    if len(user.tokens) >= MAX_TOKENS:
        raise bad_call("Max number of tokens limit reached.")
    token = Token(text or secrets.token_hex(32), -1 if valid_s == -1 else int(now_s) + valid_s, egid)
    # A token whose text is taken, or would be markup in the user's body, is accepted and changes nothing.
    if all(other.text != token.text for other in user.tokens) and not {"<", "&"} & set(token.text):
        user.tokens.append(token)
    return token.text


def _reset_token(user: User, text: str) -> str:
    if not text:
        user.tokens.clear()
        return text
    kept = [token for token in user.tokens if token.text != text]
    if len(kept) == len(user.tokens):
        raise bad_call(f"Could not find token: {text}")
    user.tokens = kept
    return text


@method("one.user.chgrp", Kind.USER, Right.MANAGE)
def chgrp(call: Call, oid: int, gid: int) -> int:
    """Changes a user's primary group."""
    if gid < 0:
        raise bad_call("Wrong group ID")
    user = call.cloud.pool(User).get(oid)
    group = call.cloud.pool(Group).get(gid)
    if oid == ONEADMIN_ID:
        raise internal("user [0] oneadmin cannot be moved outside of the group [0] oneadmin")
    call.authorize((call.right, user), (Right.USE, group))
    if user.gid == gid:
        return oid
    old = call.cloud.pool(Group).find(user.gid)
    # A group that was a secondary one becomes the primary one; otherwise it takes the place of the primary one.
    if gid not in user.gids:
        user.gids.discard(user.gid)
        if old is not None:
            old.users.discard(oid)
            old.remove_admin(call.cloud, oid)
    user.gid, user.gname = gid, group.name
    user.gids.add(gid)
    group.users.add(oid)
    return oid


def _group_edit(call: Call, oid: int, gid: int) -> tuple[User, Group]:
    user = call.cloud.pool(User).get(oid)
    group = call.cloud.pool(Group).get(gid)
    call.authorize((Right.MANAGE, user), (Right.MANAGE, group))
    return user, group


@method("one.user.addgroup", Kind.USER, Right.MANAGE)
def addgroup(call: Call, oid: int, gid: int) -> int:
    """Adds a user to a secondary group."""
    user, group = _group_edit(call, oid, gid)
    if gid in user.gids:
        raise action("User is already in this group")
    user.gids.add(gid)
    group.users.add(oid)
    return oid


@method("one.user.delgroup", Kind.USER, Right.MANAGE)
def delgroup(call: Call, oid: int, gid: int) -> int:
    """Removes a user from a secondary group."""
    user, group = _group_edit(call, oid, gid)
    if gid == user.gid:
        raise action("Cannot remove user from the primary group")
    if gid not in user.gids:
        raise action("User is not part of this group")
    user.gids.discard(gid)
    group.users.discard(oid)
    group.remove_admin(call.cloud, oid)
    return oid


@method("one.userquota.info", Kind.USER)
def quota_info(call: Call) -> str:
    """Returns the default user quota limits."""
    return limits.defaults_xml(call.cloud, Kind.USER)


@method("one.userquota.update", Kind.USER)
def quota_update(call: Call, text: str) -> str:
    """Updates the default user quota limits."""
    return limits.update_defaults(call, Kind.USER, text)
