"""The values of a settings file: what each kind may be, and how it is converted."""

import logging
import math
import ssl
import uuid
from collections.abc import Callable, Mapping
from fractions import Fraction
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NewType, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import cattrs
import cattrs.v

from opennebula_tenancy import Metric, SecurityRule, SettingsError, StorageScope
from opennebula_tenancy.quota import exactly
from opennebula_tenancy.subnets import parse_network


T = TypeVar("T")

WebUrl = NewType("WebUrl", str)
Secret = NewType("Secret", str)
Proxy = NewType("Proxy", str)
Credentials = NewType("Credentials", str)
ResourceType = NewType("ResourceType", str)
NotYet = NewType("NotYet", bool)
Id = NewType("Id", int)
Factor = NewType("Factor", Fraction)
LogLevel = NewType("LogLevel", str)
Billing = NewType("Billing", str)
Cidr = NewType("Cidr", str)
TenantRef = NewType("TenantRef", str)
Seconds = NewType("Seconds", float)
CaBundle = NewType("CaBundle", str)

VDC = ResourceType("vdc")
VM = ResourceType("vm")
NO = NotYet(False)
INFO = LogLevel("INFO")

BILLING_TYPES = ("usage", "limit", "one", "few", "fixed")
"""What Waldur calls the ways in which a component is billed."""


def structure(value: Any, kind: type[T], path: str, problems: list[str]) -> T | None:
    """Convert a mapping of a settings file.

    Args:
        value: The mapping.
        kind: The class to make of it. Keys that it does not have are ignored.
        path: Where the mapping stands in the file.
        problems: Where to add one sentence for each value that cannot be, beginning with its path.

    Returns:
        The value, or None when there were problems.
    """
    if not isinstance(value, Mapping):
        problems.append(f"{path}: expected a mapping")
        return None
    try:
        return _CONVERTER.structure(_said(value), kind)
    except cattrs.BaseValidationError as error:
        for line in cattrs.v.transform_error(error, path="", format_exception=_sentence):
            reason, _, place = line.rpartition(" @ ")
            place = place.lstrip(".").replace("['", ".").replace("']", "")
            problems.append(f"{'.'.join(part for part in (path, place) if part)}: {reason}")
        return None


def _said(value: Any) -> Any:
    """A key without a value, which YAML reads as null, is as good as none."""
    if isinstance(value, Mapping):
        return {key: _said(item) for key, item in value.items() if item is not None}
    return value


def said_text(text: str | None) -> str | None:
    """A text as it counts: an empty one says nothing."""
    return None if text is None else text.strip() or None


def _sentence(error: BaseException, _kind: type[Any] | None) -> str:
    return "missing" if isinstance(error, KeyError) else str(error)


def _text(value: Any, _kind: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a text, not {type(value).__name__}")  # noqa: TRY004 a problem of the file
    return value


def _nonempty(value: Any, kind: Any) -> str:
    text = _text(value, kind)
    if not text.strip():
        raise ValueError("missing")
    return text


def _secret(value: Any, kind: Any) -> str:
    """A text that goes into an HTTP header: one with a line end would be refused there, and quoted in the refusal."""
    text = _nonempty(value, kind).strip()
    if not (text.isascii() and text.isprintable()):
        raise ValueError("expected a token of printable ASCII characters")
    return text


def _proxy(value: Any, kind: Any) -> str:
    text = _text(value, kind).strip()
    try:
        parts = urlsplit(text)
        usable = not text or (parts.scheme in {"http", "https", "socks5"} and bool(parts.hostname) and parts.port != 0)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("expected an address that begins with http://, https:// or socks5://")
    return text


def _truth(value: Any, _kind: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("expected true or false")  # noqa: TRY004 a problem of the file
    return value


def _count(value: Any, _kind: Any) -> int:
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"expected a whole number from 0, not {value!r}")
    return value


def _web_url(value: Any, kind: Any) -> str:
    text = _nonempty(value, kind)
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("expected an address that begins with http:// or https://")
    if parts.username or parts.password:
        raise ValueError("no user and no password in the address, since addresses are logged")
    return text


def _ca_bundle(value: Any, kind: Any) -> str:
    file = Path(_nonempty(value, kind).strip()).expanduser()
    try:
        ssl.create_default_context(cafile=file)
    except ssl.SSLError:
        raise ValueError("no certificates in PEM in this file") from None
    except OSError as error:
        raise ValueError(f"{error.strerror}: {file}") from None
    return str(file)


def _credentials(value: Any, kind: Any) -> str:
    user, colon, password = _text(value, kind).strip().partition(":")
    if not (user and colon and password):
        raise ValueError("expected user:password")
    return f"{user}:{password}"


def _resource_type(value: Any, kind: Any) -> str:
    text = _text(value, kind).lower()
    if text not in {VDC, VM}:
        raise ValueError(f"expected vdc or vm, not {text}")
    return text


def _not_yet(value: Any, kind: Any) -> bool:
    if _truth(value, kind):
        raise ValueError("not done by this version; expected false")
    return False


def _factor(value: Any, _kind: Any) -> Fraction:
    factor = exactly(value)
    if factor <= 0:
        raise ValueError(f"expected a number above 0, not {value}")
    return factor


def _seconds(value: Any, _kind: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if isinstance(value, bool) or not 0 < seconds < math.inf:
        raise ValueError(f"expected a number of seconds above 0, not {value!r}")
    return seconds


def _address(value: Any, kind: Any) -> IPv4Address:
    try:
        return IPv4Address(_text(value, kind).strip())
    except ValueError:
        raise ValueError(f"expected an IPv4 address, not {value!r}") from None


def _cidr(value: Any, _kind: Any) -> str:
    return str(parse_network(value))


def _tenant_ref(value: Any, kind: Any) -> str:
    """A tenant by the id of its group, which YAML reads as a number, or by its name."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return str(value)
    return _text(value, kind).strip()


def _rule(value: Any, _kind: Any) -> SecurityRule:
    try:
        return SecurityRule.of_settings(value)
    except SettingsError as error:
        raise ValueError("; ".join(error.problems)) from None


def _one_of(choices: tuple[str, ...], shape: Callable[[str], str]) -> Callable[[Any, Any], str]:
    def check(value: Any, kind: Any) -> str:
        text = shape(_text(value, kind))
        if text not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return text

    return check


def _zone(value: Any, kind: Any) -> ZoneInfo:
    try:
        return ZoneInfo(_text(value, kind))
    except (ValueError, OSError, LookupError):
        raise ValueError(f"there is no time zone {value}") from None


def _uuid(value: Any, kind: Any) -> uuid.UUID:
    try:
        return uuid.UUID(_text(value, kind))
    except ValueError:
        raise ValueError("expected a UUID") from None


def _settings_converter() -> cattrs.Converter:
    items = _plain_converter()
    converter = _plain_converter()

    def list_of(value: Any, kind: Any) -> Any:
        # A text is a list of characters to Python, and "12" the clusters 1 and 2.
        if not isinstance(value, list | tuple):
            raise ValueError("expected a list")  # noqa: TRY004 a problem of the file
        return items.structure(value, kind)

    converter.register_structure_hook_func(lambda kind: getattr(kind, "__origin__", None) is tuple, list_of)
    return converter


def _plain_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True)
    hooks: dict[Any, Callable[[Any, Any], Any]] = {
        str: _text,
        bool: _truth,
        int: _count,
        Id: _count,
        WebUrl: _web_url,
        Secret: _secret,
        Proxy: _proxy,
        Credentials: _credentials,
        ResourceType: _resource_type,
        NotYet: _not_yet,
        Factor: _factor,
        Billing: _one_of(BILLING_TYPES, str.lower),
        Cidr: _cidr,
        TenantRef: _tenant_ref,
        Seconds: _seconds,
        CaBundle: _ca_bundle,
        IPv4Address: _address,
        SecurityRule: _rule,
        LogLevel: _one_of(tuple(logging.getLevelNamesMapping()), str.upper),
        Metric: lambda value, kind: Metric(_one_of(tuple(Metric), str.upper)(value, kind)),
        StorageScope: lambda value, kind: StorageScope(_one_of(tuple(StorageScope), str.lower)(value, kind)),
        ZoneInfo: _zone,
        uuid.UUID: _uuid,
    }
    for kind, hook in hooks.items():
        converter.register_structure_hook(kind, hook)
    return converter


_CONVERTER = _settings_converter()
