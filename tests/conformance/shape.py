"""The shape of an answer: its elements in order, and whether they hold anything."""

from collections.abc import Collection
from xml.etree import ElementTree as ET


def shape(element: ET.Element, opaque: Collection[str] = ()) -> str:
    """Write down the structure of an element without its values.

    `NAME` holds text, `NAME()` is empty, `NAME(A B)` holds elements, `NAME[key]` has an attribute, `NAME(...)` is not
    looked into; equal neighbours are written once, with a plus sign behind.

    Args:
        element: What to write down.
        opaque: Names of elements whose content does not matter.
    """
    name = element.tag + "".join(f"[{key}]" for key in element.attrib)
    if element.tag in opaque:
        return f"{name}(...)"
    if not len(element):
        return name if element.text else f"{name}()"
    inner: list[str] = []
    for child in element:
        text = shape(child, opaque)
        if inner and inner[-1].removesuffix("+") == text:
            inner[-1] = f"{text}+"
        else:
            inner.append(text)
    return f"{name}({' '.join(inner)})"
