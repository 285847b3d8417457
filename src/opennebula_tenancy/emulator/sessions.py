"""Who calls: passwords and login tokens (UserPool::authenticate, LoginToken.cc)."""

import attrs

from opennebula_tenancy.emulator.groups import Group
from opennebula_tenancy.emulator.state import Cloud
from opennebula_tenancy.emulator.users import CORE, User, digest


@attrs.frozen(kw_only=True)
class Identity:
    """An authenticated caller: the user, and the groups it acts with."""

    uid: int
    gid: int
    gids: frozenset[int]
    uname: str
    gname: str
    umask: int


def authenticate(cloud: Cloud, session: str) -> Identity | None:
    """The caller that a session string `name:password` or `name:token` proves to be, or None."""
    name, colon, secret = session.partition(":")
    user = cloud.pool(User).named(name) if colon else None
    if user is None or not user.enabled:
        return None
    token = user.valid_token(secret)
    gid, gids = user.gid, frozenset(user.gids)
    if token is not None and token.egid != -1:
        if token.egid not in user.gids:
            user.tokens.remove(token)
            return None
        gid, gids = token.egid, frozenset({token.egid})
    elif token is None and not _knows(user, secret):
        return None
    group = cloud.pool(Group).find(gid)
    return Identity(
        uid=user.id,
        gid=gid,
        gids=gids,
        uname=user.name,
        gname=user.gname if gid == user.gid else group.name if group else "",
        umask=user.umask(cloud),
    )


def _knows(user: User, secret: str) -> bool:
    # Drivers other than core ask a program, and there is none here.
    return user.driver == CORE and user.password == digest(secret)
