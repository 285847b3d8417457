"""OpenNebula templates: a multimap of attributes that are texts or vectors of texts.

The two ways of writing one, and what of them survives, are in `opennebula_tenancy.emulator.syntax`.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping

from opennebula_tenancy.emulator.markup import cdata


class Vector(dict[str, str]):
    """A vector attribute: `NIC = [ NETWORK_ID = 1 ]`. Keys are unique; it renders sorted by key."""


Attribute = str | Vector


def attribute_name(name: str) -> str:
    """The name under which an attribute is kept: upper case, and fit to be an XML element (Attribute.h)."""
    upper = name.upper() if name.isascii() else "".join(c.upper() if c.isascii() else c for c in name)
    fit = not name or (name[0].isascii() and (name[0].isalpha() or name[0] == "_"))
    return upper if fit and not name.startswith("XML") else f"ONE_{upper}"


class Template:
    """Attributes by name, each name holding one or more values in the order in which they came."""

    def __init__(self, attributes: Iterable[tuple[str, Attribute]] = ()) -> None:
        self._values: dict[str, list[Attribute]] = {}
        for name, value in attributes:
            self.add(name, value)

    def __bool__(self) -> bool:
        return bool(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[tuple[str, Attribute]]:
        """All attributes, sorted by name as they render."""
        for name in sorted(self._values):
            for value in self._values[name]:
                yield name, value

    @property
    def storable(self) -> bool:
        """Whether it can be kept: a value with `]]>` would break the CDATA section around it."""
        return "]]>" not in "\n".join(
            text for _, value in self for text in (value.values() if isinstance(value, Vector) else (value,))
        )

    def stored(self) -> "Template":
        """What is left of it after oned wrote it to its database and read it back: no empty vectors, no CR."""
        kept = Template()
        for name, value in self:
            if isinstance(value, str):
                kept.add(name, _lines(value))
            elif value:
                kept.add(name, Vector((key, _lines(text)) for key, text in value.items()))
        return kept

    def copy(self) -> "Template":
        """An independent copy, vectors included."""
        return Template((name, Vector(value) if isinstance(value, Vector) else value) for name, value in self)

    def add(self, name: str, value: Attribute) -> None:
        """Add an attribute beside those of the same name."""
        self._values.setdefault(attribute_name(name), []).append(value)

    def set(self, name: str, value: Attribute) -> None:
        """Put an attribute in place of all those of its name."""
        self._values[attribute_name(name)] = [value]

    def erase(self, name: str) -> int:
        """Remove the attributes of a name, and say how many there were."""
        return len(self._values.pop(name, ()))

    def take(self, name: str) -> str | None:
        """Remove the attributes of a name, and return the text of the first (erase_template_attribute)."""
        value = self.text(name)
        self.erase(name)
        return value

    def text(self, name: str) -> str | None:
        """The first text of that name, or None when there is none."""
        return next((value for value in self._values.get(name, ()) if isinstance(value, str)), None)

    def vector(self, name: str) -> Vector | None:
        """The first vector of that name, or None when there is none."""
        return next(iter(self.vectors(name)), None)

    def texts(self, name: str) -> list[str]:
        """The texts of that name."""
        return [value for value in self._values.get(name, ()) if isinstance(value, str)]

    def vectors(self, name: str) -> list[Vector]:
        """The vectors of that name."""
        return [value for value in self._values.get(name, ()) if isinstance(value, Vector)]

    def integer(self, name: str) -> int | None:
        """The text of that name as a whole number, or None when it is none."""
        return integer(self.text(name))

    def number(self, name: str) -> float | None:
        """The text of that name as a number, or None when it is none."""
        return number(self.text(name))

    def yes(self, name: str) -> bool:
        """Whether the text of that name is YES, in any case."""
        return (self.text(name) or "").upper() == "YES"

    def merge(self, other: "Template") -> None:
        """Replace every attribute that the other names; an empty vector there only removes (Template::merge)."""
        for name in {name for name, _ in other}:
            self.erase(name)
        for name, value in other:
            if isinstance(value, Vector):
                if value:
                    self.add(name, Vector(value))
            else:
                self.add(name, value)

    def xml(self, root: str = "TEMPLATE", extra: str = "") -> str:
        """The template as XML.

        Args:
            root: Name of the element around it.
            extra: Ready-made XML put behind the attributes.
        """
        return f"<{root}>{''.join(render(name, value) for name, value in self)}{extra}</{root}>"


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def render(name: str, value: Attribute) -> str:
    """One attribute as XML."""
    if isinstance(value, Vector):
        parts = (f"<{key}>{cdata(value[key])}</{key}>" for key in sorted(value) if key)
        return f"<{name}>{''.join(parts)}</{name}>"
    return f"<{name}>{cdata(value)}</{name}>"


def integer(value: str | None) -> int | None:
    """A whole number within 32 bits as a C++ stream reads it to the end, or None."""
    if value is None:
        return None
    stripped = value.lstrip()
    digits = stripped[1:] if stripped[:1] in {"+", "-"} else stripped
    if not (digits.isascii() and digits.isdigit()):
        return None
    parsed = int(stripped)
    return parsed if -(2**31) <= parsed < 2**31 else None


def number(value: str | None) -> float | None:
    """A number as a C++ stream reads it to the end, or None."""
    if value is None or not value.isascii() or "_" in value or value != value.rstrip():
        return None
    with contextlib.suppress(ValueError):
        parsed = float(value)
        return parsed if math.isfinite(parsed) else None
    return None


Restricted = Mapping[str, frozenset[str]]
"""Restricted attributes: a name, and the keys of its vectors; no keys means the attribute itself."""


def restricted(paths: Iterable[str]) -> Restricted:
    """The restricted attributes of a list such as `DEPLOY_ID`, `NIC/MAC` (as oned.conf names them)."""
    found: dict[str, set[str]] = {}
    for path in paths:
        name, _, key = path.partition("/")
        found.setdefault(name, set()).update({key} if key else set())
    return {name: frozenset(found[name]) for name in sorted(found)}


def restricted_in(template: Template, names: Restricted) -> str | None:
    """The first restricted attribute that a template holds, as Template::check_restricted names it."""
    for name, keys in names.items():
        if keys:
            for vector in template.vectors(name):
                for key in sorted(keys):
                    if key in vector:
                        return key
        elif template.text(name) is not None:
            return name
    return None


def restricted_change(new: Template, old: Template, names: Restricted, *, merging: bool) -> str | None:
    """The first restricted attribute that an update would change; restricted texts left out are kept.

    Args:
        new: The template of the update. Restricted texts of the old one are added to it.
        old: The template it updates.
        names: The restricted attributes.
        merging: Whether it is merged into the old one, or replaces it.
    """
    for name, keys in names.items():
        if keys:
            before, after = _values_of(old, name, keys), _values_of(new, name, keys)
            named = bool(new.vectors(name)) or (not merging and bool(old.vectors(name)))
            if before != after and named:
                return name
            continue
        kept = old.text(name)
        value = new.text(name)
        if value is not None:
            if value != (kept or ""):
                return name
        elif kept is not None:
            new.add(name, kept)
    return None


def _values_of(template: Template, name: str, keys: frozenset[str]) -> list[str]:
    return sorted(f"{key}={vector[key]}" for vector in template.vectors(name) for key in keys if key in vector)
