"""Whose an object is: the attributes that this library writes into the templates of what it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opennebula_tenancy._wire.template import text_problem
from opennebula_tenancy.errors import Conflict


if TYPE_CHECKING:
    from collections.abc import Mapping


KEY = "TENANCY_KEY"
ROLE = "TENANCY_ROLE"
VERSION = "TENANCY_VERSION"
FORMAT = "1"
"""The version of what is written; a later format is not touched by this one."""
_KEY_MAX = 128


def mark(key: str, role: str) -> Mapping[str, str]:
    """The attributes that say whose an object is.

    Args:
        key: The tenant's key.
        role: What the object is to the tenant: `vdc`, `group` ...

    Returns:
        The attributes, for the template that the object is made with.
    """
    return {KEY: key, ROLE: role, VERSION: FORMAT}


def carries(template: Mapping[str, str], key: str, role: str) -> bool:
    """Whether a template marks its object as this tenant's, in this role.

    Raises:
        Conflict: It does, in a format that another version of this library writes.
    """
    if template.get(KEY) != key or template.get(ROLE) != role:
        return False
    if template.get(VERSION) != FORMAT:
        raise Conflict(
            f"the {role} of the tenant with the key {key} is in the format {template.get(VERSION)!r}, and this version "
            f"of the library knows {FORMAT}: it is not touched"
        )
    return True


def is_marked(template: Mapping[str, str], role: str) -> bool:
    """Whether a template marks its object as some tenant's, in this role."""
    return bool(template.get(KEY)) and template.get(ROLE) == role and template.get(VERSION) == FORMAT


def key_problem(key: str) -> str | None:
    """Say why a text cannot be a key, or None when it can."""
    if problem := text_problem(key):
        return f"the key {key!r} {problem}"
    if len(key) > _KEY_MAX:
        return f"the key is longer than {_KEY_MAX} characters"
    return None
