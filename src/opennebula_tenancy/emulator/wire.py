"""XML-RPC on the wire, as xmlrpc-c reads and writes it."""

from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET
from xml.parsers import expat
from xml.sax.saxutils import escape

from opennebula_tenancy.emulator.calls import Int64, Value
from opennebula_tenancy.emulator.errors import ProtocolFault


_NOT_A_CALL = "Call XML not a proper XML-RPC call.  "
_INT_MIN, _INT_MAX = -(2**31), 2**31 - 1
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\r\n<methodResponse>\r\n'
_BEYOND_BMP = 0x10000


def _no_call(text: str) -> ProtocolFault:
    return ProtocolFault(-503, _NOT_A_CALL + text)


def read_call(body: bytes) -> tuple[str, list[Value]]:
    """Parse a call.

    Returns:
        The method's name and the values sent.

    Raises:
        ProtocolFault: It is no XML, or no proper call.
    """
    try:
        root = ET.fromstring(body)
    except ET.ParseError as error:
        raise _no_call(f"Call is not valid XML.  {expat.ErrorString(error.code)}") from error
    except (ValueError, LookupError) as error:
        raise _no_call(f"Call is not valid XML.  {error}") from error
    if root.tag != "methodCall":
        raise _no_call(f"XML-RPC call should be a <methodCall> element.  Instead, we have a <{root.tag}> element.")
    name = root.find("methodName")
    if name is None:
        raise _no_call("Expected <methodCall> to have child <methodName>")
    parameters = root.find("params")
    values = []
    for parameter in () if parameters is None else parameters:
        if parameter.tag != "param" or len(parameter) != 1 or parameter[0].tag != "value":
            raise _no_call("Expected <param> element to have a single <value> child")
        values.append(_read(parameter[0]))
    return _text(name), values


def _text(element: ET.Element) -> str:
    text = element.text or ""
    beyond = next((char for char in text if ord(char) >= _BEYOND_BMP), None)
    if beyond is not None:
        raise _no_call(
            f"{len(text.encode())}-byte supposed UTF-8 string is not valid UTF-8.  UTF-8 string contains a character "
            f"not in the Basic Multilingual Plane (first byte 0xffffff{beyond.encode()[0]:02x})"
        )
    return text


def _read(value: ET.Element) -> Value:
    if not len(value):
        return _text(value)
    inner = value[0]
    tag, text = inner.tag, inner.text or ""
    if tag == "string":
        return _text(inner)
    if tag in {"int", "i4", "i8"}:
        return _integer(tag, text)
    if tag == "boolean":
        if text not in {"0", "1"}:
            raise _no_call(
                f"<boolean> XML element content must be either '0' or '1' according to XML-RPC.  This one has '{text}'"
            )
        return text == "1"
    compound: Value = _compound(inner)
    return compound


def _integer(tag: str, text: str) -> int:
    if not text:
        raise _no_call("<int> XML element content is empty")
    try:
        number = int(text.strip())
    except ValueError as error:
        raise _no_call(f"<int> XML element content is not a number: '{text}'") from error
    if tag == "i8":
        return Int64(number)
    if number > _INT_MAX:
        raise _no_call(f"<int> value {number} is above the range allowed by XML-RPC (maximum is {_INT_MAX})")
    if number < _INT_MIN:
        raise _no_call(f"<int> value {number} is below the range allowed by XML-RPC (minimum is {_INT_MIN})")
    return number


def _compound(inner: ET.Element) -> Any:
    if inner.tag == "array":
        data = inner.find("data")
        if data is None:
            raise _no_call("<array> XML element has no <data> child")
        return [_read(item) for item in data]
    if inner.tag == "struct":
        return {m.findtext("name", ""): _read(m.find("value") or m[-1]) for m in inner}
    if inner.tag == "double":
        try:
            return float(inner.text or "")
        except ValueError as error:
            raise _no_call(f"<double> XML element content is not a number: '{inner.text}'") from error
    if inner.tag in {"nil", "ex.nil"}:
        return None
    if inner.tag in {"dateTime.iso8601", "base64"}:
        return {inner.tag: inner.text or ""}
    raise _no_call(f"Unknown value type -- XML element is named <{inner.tag}>")


def write_value(value: Value) -> str:
    """A value as XML-RPC."""
    if isinstance(value, bool):
        return f"<value><boolean>{int(value)}</boolean></value>"
    if isinstance(value, Int64):
        return f"<value><i8>{value}</i8></value>"
    if isinstance(value, int):
        return f"<value><i4>{value}</i4></value>"
    if isinstance(value, str):
        return f"<value><string>{escape(value, {chr(13): '&#x0d;'})}</string></value>"
    if isinstance(value, dict):
        members = "".join(f"<member><name>{k}</name>\r\n{write_value(v)}</member>\r\n" for k, v in value.items())
        return f"<value><struct>\r\n{members}</struct></value>"
    items = "".join(f"{write_value(item)}\r\n" for item in value or ())
    return f"<value><array><data>\r\n{items}</data></array></value>"


def write_reply(value: Value | Sequence[Value]) -> bytes:
    """A reply that carries a value."""
    written = write_value(list(value) if isinstance(value, tuple) else value)  # type: ignore[arg-type]
    return f"{_HEAD}<params>\r\n<param>{written}</param>\r\n</params>\r\n</methodResponse>\r\n".encode()


def write_fault(fault: ProtocolFault) -> bytes:
    """A reply that carries a fault."""
    value = write_value({"faultCode": fault.code, "faultString": fault.text})
    return f"{_HEAD}<fault>\r\n{value}\r\n</fault>\r\n</methodResponse>\r\n".encode()
