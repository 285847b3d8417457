"""Which addresses of OpenNebula are one server, however they are spelled: its connections are shared by all of them."""

import functools
import socket
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import SplitResult, urlsplit


_PORTS = {"http": 80, "https": 443}


def servers_of(addresses: Iterable[str]) -> Mapping[str, str]:
    """Say which server each address is of.

    Two addresses are of one server where their ports and paths are the same, and their hosts, or an IP address that
    these have: behind one gateway, several servers have a path each.
    Names are looked up only where there are two that could be of one server.

    Args:
        addresses: The addresses, as the settings have them.

    Returns:
        For each address one that stands for its server: the first of it.
    """
    found: dict[str, str] = {}
    ips = functools.cache(_ips)  # a name server that does not answer is asked once for each name
    for address in dict.fromkeys(addresses):
        same = (first for first in dict.fromkeys(found.values()) if _are_one(urlsplit(first), urlsplit(address), ips))
        found[address] = next(same, address)
    return found


def _are_one(one: SplitResult, other: SplitResult, ips: Callable[[str], frozenset[str]]) -> bool:
    if _port(one) != _port(other) or _path(one) != _path(other):
        return False
    hosts = (one.hostname or "").rstrip("."), (other.hostname or "").rstrip(".")
    return hosts[0] == hosts[1] or not ips(hosts[0]).isdisjoint(ips(hosts[1]))


def _path(parts: SplitResult) -> str:
    """The path; OpenNebula itself takes any, and RPC2 is the usual one."""
    return parts.path.rstrip("/") or "/RPC2"


def _port(parts: SplitResult) -> int:
    return parts.port or _PORTS[parts.scheme]


def _ips(host: str) -> frozenset[str]:
    """The IP addresses of a host; none where its name is not known. All of this machine's own count as one."""
    try:
        found = frozenset(str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return frozenset()
    own = {"::1", "0.0.0.0", "::"}  # noqa: S104  nothing is bound: so it may be written
    return frozenset("127.0.0.1" if ip in own or ip.startswith("127.") else ip for ip in found)
