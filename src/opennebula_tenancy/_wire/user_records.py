"""What OpenNebula's XML says of users. Secrets that stand in it are in no repr, and login tokens are only counted."""

from __future__ import annotations

import hashlib
import hmac
import xml.etree.ElementTree as ET  # oned's own answers; expat refuses entity bombs
from typing import TYPE_CHECKING, Self

import attrs

from opennebula_tenancy._wire.records import number_in, parse


if TYPE_CHECKING:
    from collections.abc import Mapping


CORE = "core"
"""The authentication driver that compares digests of passwords; oned does that itself (`UserPool.cc`)."""


@attrs.frozen
class UserRecord:
    """A user.

    Attributes:
        id: The id.
        name: The name, which OpenNebula never changes.
        gid: The id of the primary group.
        groups: The ids of all groups.
        driver: The authentication driver.
        enabled: Whether the user can log in.
        tokens: How many login tokens there are.
        template: The scalar attributes of the template, which the user can write.
        digest: The password as oned keeps it: with the core driver its SHA-256 in hexadecimal.
    """

    id: int
    name: str
    gid: int
    groups: frozenset[int]
    driver: str
    enabled: bool
    tokens: int
    template: Mapping[str, str] = attrs.field(repr=False)
    digest: str = attrs.field(repr=False)

    @classmethod
    def of(cls, element: ET.Element) -> Self:
        """Read a USER element."""
        return cls(
            number_in(element, "ID"),
            element.findtext("NAME") or "",
            number_in(element, "GID"),
            frozenset(number_in(item, ".") for item in element.iterfind("GROUPS/ID")),
            element.findtext("AUTH_DRIVER") or "",
            element.findtext("ENABLED") == "1",
            len(element.findall("LOGIN_TOKEN")),
            {item.tag: item.text or "" for item in element.iterfind("TEMPLATE/*") if not len(item)},
            element.findtext("PASSWORD") or "",
        )

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read the answer of one.user.info."""
        return cls.of(parse(text, "USER"))

    @classmethod
    def pool(cls, text: object) -> tuple[Self, ...]:
        """Read the answer of one.userpool.info."""
        return tuple(cls.of(item) for item in parse(text, "USER_POOL").iterfind("USER"))

    def has_password(self, password: str) -> bool:
        """Whether oned takes a password for this user's: it is what `AuthRequest::core_authenticate` compares."""
        digest = hashlib.sha256(password.encode()).hexdigest()
        return self.driver == CORE and hmac.compare_digest(self.digest.encode(), digest.encode())


def template_without(text: object, name: str) -> str:
    """A user's template as oned wrote it, ready to be written back, without one attribute.

    Attributes that oned keeps encrypted stay so: it takes its own cipher text for what it is.

    Args:
        text: The answer of one.user.info.
        name: The attribute to leave out.

    Returns:
        The template as XML.
    """
    found = parse(text, "USER").find("TEMPLATE")
    template = ET.Element("TEMPLATE") if found is None else found
    for item in template.findall(name):
        template.remove(item)
    template.tail = None
    return ET.tostring(template, encoding="unicode")
