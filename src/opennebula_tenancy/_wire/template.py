r"""The one renderer of templates, and what may go into one.

Templates are rendered as XML. In oned's own text form a backslash cannot be escaped, and a value that ends in one
swallows the quote after it (`template_parser.l` unescapes only `\"`), so no correct renderer for it exists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias
from xml.sax.saxutils import escape

from opennebula_tenancy.errors import SettingsError


Scalar: TypeAlias = str | int | float | bool
Vector: TypeAlias = Mapping[str, Scalar]
Value: TypeAlias = Scalar | Vector | Sequence[Scalar | Vector]
Template: TypeAlias = Mapping[str, Value]
"""Attributes by name: a scalar, a vector of attributes, or a sequence of either for an attribute that repeats."""

_ATTRIBUTE = re.compile(r"[A-Z][A-Z0-9_]*\Z")
_LOST = re.compile(r"[\x00-\x08\x0b-\x1f]")


def text_problem(text: str) -> str | None:
    """Say why OpenNebula would not keep a text as it is.

    Args:
        text: The text.

    Returns:
        The reason as the end of a sentence about the text, or None when it comes back unchanged.
    """
    if lost := _LOST.search(text):
        return f"has the control character {lost.group()!r}, which XML cannot carry"
    if "]]>" in text:
        return "has ']]>', which ends the section that OpenNebula keeps values in"
    if wide := next((char for char in text if ord(char) > 0xFFFF or 0xD800 <= ord(char) <= 0xDFFF), None):
        return f"has {wide!r}, a character outside the Basic Multilingual Plane, which its XML-RPC refuses"
    if any(char in "￾￿" for char in text):
        return "has a code point that is no character"
    if text != text.strip(" \t\n"):
        return "begins or ends with a blank, which OpenNebula trims"
    if not text:
        return "is empty, and OpenNebula drops empty values"
    return None


def render(template: Template) -> str:
    """Render a template.

    Args:
        template: Its attributes. Names are upper case letters, digits and underscores.

    Returns:
        The XML that every template argument of OpenNebula's API takes.

    Raises:
        SettingsError: A name or a value is one that the server would not keep; all of them are named at once.
    """
    problems: list[str] = []
    body = "".join(_element(name, value, name, problems) for name, value in template.items())
    if problems:
        raise SettingsError(*problems)
    return f"<TEMPLATE>{body}</TEMPLATE>"


def _element(name: str, value: Value, path: str, problems: list[str]) -> str:
    if not _ATTRIBUTE.match(name):
        problems.append(f"{path}: an attribute's name is upper case letters, digits and underscores")
        return ""
    if isinstance(value, Mapping):
        return f"<{name}>{_members(value, path, problems)}</{name}>"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "".join(_element(name, item, f"{path}[{index}]", problems) for index, item in enumerate(value))
    text = _scalar(value)
    if problem := text_problem(text):
        problems.append(f"{path}: the value {problem}")
        return ""
    return f"<{name}>{escape(text)}</{name}>"


def _members(vector: Vector, path: str, problems: list[str]) -> str:
    """The attributes of a vector, of which oned keeps texts only (`Template::vector_xml_att`)."""
    if not vector:
        problems.append(f"{path}: a vector without attributes, which OpenNebula drops")
    body = ""
    for name, value in vector.items():
        if isinstance(value, Mapping) or (isinstance(value, Sequence) and not isinstance(value, str)):
            problems.append(f"{path}.{name}: a vector in a vector, which OpenNebula drops")
        else:
            body += _element(name, value, f"{path}.{name}", problems)
    return body


def _scalar(value: Scalar) -> str:
    if isinstance(value, bool):
        return "YES" if value else "NO"
    return str(value)
