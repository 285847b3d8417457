"""Names of objects, judged before a call as OpenNebula judges them in it."""

from __future__ import annotations

import enum

from opennebula_tenancy._wire.template import text_problem


_FORBIDDEN = "&|:\\\";/'#{}$<>\t\n\v\f\r"
"""What no object's name may have (`PoolObjectSQL::INVALID_NAME_CHARS`)."""
_MAX_BYTES = 128


class Kind(enum.StrEnum):
    """The kinds of objects that are named."""

    GROUP = "group"
    USER = "user"
    VDC = "VDC"
    NETWORK = "virtual network"
    SECURITY_GROUP = "security group"
    ROUTER = "virtual router"
    VM = "virtual machine"
    IMAGE = "image"


def name_problem(kind: Kind, name: str) -> str | None:
    """Say why OpenNebula would refuse a name, or not keep it.

    Args:
        kind: The kind of object. Groups and users take no spaces, the other kinds do.
        name: The name.

    Returns:
        A sentence, or None when the name is good.
    """
    what = f"the {kind} name {name!r}"
    if not name:
        return f"the {kind} name is empty"
    if problem := text_problem(name):
        return f"{what} {problem}"
    forbidden = _FORBIDDEN + (" " if kind in {Kind.GROUP, Kind.USER} else "")
    if found := next((char for char in name if char in forbidden), None):
        return f"{what} has {found!r}, which OpenNebula does not take in one"
    if len(name.encode()) > _MAX_BYTES:
        return f"{what} is longer than {_MAX_BYTES} bytes"
    return None
