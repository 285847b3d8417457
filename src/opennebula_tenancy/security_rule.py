"""`SecurityRule`: what traffic a security group lets through."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any, Self

import attrs

from opennebula_tenancy.errors import SettingsError
from opennebula_tenancy.subnets import parse_network


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


_DIRECTIONS = ("inbound", "outbound")
_PROTOCOLS = ("tcp", "udp", "icmp", "icmpv6", "ipsec", "all")
_WITH_PORTS = frozenset({"tcp", "udp"})
_ICMP_TYPES = {
    "icmp": frozenset({*range(7), *range(8, 19), *range(30, 44), 253, 254}) - {1, 2},
    "icmpv6": frozenset({*range(1, 5), *range(100, 102), *range(128, 162), 200, 201}),
}
"""The types that IANA has assigned (icmp-parameters, icmpv6-parameters), deprecated ones included."""
_PORTS = re.compile(r"(\d{1,9})(?::(\d{1,9}))?", re.ASCII)
_LAST_PORT = 65535
_MOST_PORTS = 15
"""How many ports a rule may list, a range counting as two (SecurityGroup::is_valid; iptables' multiport)."""
_LAST_ID = 2**31 - 1
_ANYWHERE = IPv4Network("0.0.0.0/0")
_SETTINGS = {
    "direction": "direction",
    "protocol": "protocol",
    "range": "ports",
    "type": "icmp_type",
    "network_id": "network",
    "cidr": "cidr",
}
"""The attribute that each key of a rule in settings stands for."""


_NUMBERS = frozenset({"icmp_type", "network"})


def _lower(given: Any) -> Any:
    return given.strip().lower() if isinstance(given, str) else given


@attrs.frozen
class SecurityRule:
    """Traffic that is let through; what no rule of a security group lets through is dropped.

    Two rules are equal when they let the same traffic through, however they were written: `443,22:22` is `22,443`.

    Attributes:
        direction: `inbound` or `outbound`, as the VM sees it, in any case.
        protocol: `tcp`, `udp`, `icmp`, `icmpv6`, `ipsec` (ESP) or `all`, in any case.
        ports: For tcp and udp, the destination ports: `22`, `8000:8080`, or a list of such with commas. All when None.
        icmp_type: For icmp and icmpv6, the type: 8 is an echo request of icmp. All when None.
        network: The id of the network at the other end: its addresses are looked up when the rule is applied to a VM.
        cidr: The IPv4 network at the other end. Anywhere when neither is given, which is also what 0.0.0.0/0 means.

    Raises:
        SettingsError: The server or its hosts would refuse it; all problems at once.
    """

    direction: str = attrs.field(converter=_lower)
    protocol: str = attrs.field(converter=_lower)
    ports: str | None = None
    icmp_type: int | None = None
    network: int | None = None
    cidr: str | None = None

    def __attrs_post_init__(self) -> None:
        problems = [
            f"{name}: {value!r} is none of {', '.join(known)}"
            for name, value, known in (
                ("direction", self.direction, _DIRECTIONS),
                ("protocol", self.protocol, _PROTOCOLS),
            )
            if value not in known
        ]
        ports = self._checked_ports(problems)
        problems += self._icmp_problems()
        cidr = self._checked_cidr(problems)
        if self.network is not None and not _is_number(self.network, _LAST_ID):
            problems.append(f"network: {self.network!r} is not an id")
        if self.network is not None and self.cidr is not None:
            problems.append("network: there is a cidr too, and a rule has one other end")
        if problems:
            raise SettingsError(*problems)
        object.__setattr__(self, "ports", ports)
        object.__setattr__(self, "cidr", cidr)

    def _checked_ports(self, problems: list[str]) -> str | None:
        if self.ports is None:
            return None
        if self.protocol not in _WITH_PORTS and self.protocol in _PROTOCOLS:
            problems.append(f"ports: {self.protocol} has none, only tcp and udp have")
        try:
            return _ports(self.ports)
        except SettingsError as error:
            problems += [f"ports: {problem}" for problem in error.problems]
            return None

    def _icmp_problems(self) -> Iterator[str]:
        if self.icmp_type is None:
            return
        known = _ICMP_TYPES.get(self.protocol)
        if known is None:
            if self.protocol in _PROTOCOLS:
                yield f"icmp_type: {self.protocol} has none, only icmp and icmpv6 have"
        elif not _is_number(self.icmp_type, 255) or self.icmp_type not in known:
            yield f"icmp_type: {self.icmp_type!r} is no type of {self.protocol}"

    def _checked_cidr(self, problems: list[str]) -> str | None:
        if self.cidr is None:
            return None
        if self.protocol == "icmpv6":
            problems.append("cidr: icmpv6 has no IPv4 network at its other end")
        try:
            network = parse_network(self.cidr)
        except SettingsError as error:
            problems += [f"cidr: {problem}" for problem in error.problems]
            return None
        return None if network == _ANYWHERE else str(network)

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Make a rule of a mapping in settings.

        Args:
            settings: `direction`, `protocol`, and where they apply `range` (ports), `type` (of icmp and icmpv6),
                `network_id` and `cidr`. Numbers may be texts; an empty value is as good as none. Ports are a text:
                without quotes, YAML takes 22:22 for the number 1342.

        Raises:
            SettingsError: A key is unknown or missing, or a value cannot be; all problems at once.
        """
        if not isinstance(settings, Mapping):
            raise SettingsError(f"{settings!r} is no rule; keys such as direction and protocol were due")
        known = ", ".join(_SETTINGS)
        problems = [f"{key!r} is no key of a rule: {known} are" for key in settings if key not in _SETTINGS]
        given: dict[str, Any] = {"direction": None, "protocol": None}
        for key, name in _SETTINGS.items():
            if settings.get(key) not in (None, ""):
                given[name] = _number(settings[key]) if name in _NUMBERS else settings[key]
        try:
            rule = cls(**given)
        except SettingsError as error:
            problems += [_in_settings(problem) for problem in error.problems]
        if problems:
            raise SettingsError(*problems)
        return rule

    @classmethod
    def of_vector(cls, vector: Mapping[str, str]) -> Self:
        """Read a RULE of a security group, whoever wrote it.

        Args:
            vector: Its attributes. Those that mean nothing to the server are passed over.

        Raises:
            SettingsError: It is not a rule that this library writes: its other end is an IPv6 network, or a range of
                addresses that is no network.
        """
        kind = vector.get("ICMP_TYPE") or vector.get("ICMPV6_TYPE")
        network = vector.get("NETWORK_ID")
        first, size = vector.get("IP", ""), vector.get("SIZE", "")
        return cls(
            direction=vector.get("RULE_TYPE", ""),
            protocol=vector.get("PROTOCOL", ""),
            ports=vector.get("RANGE") or None,
            icmp_type=_number(kind) if kind else None,
            network=_number(network) if network else None,
            cidr=_cidr(first, size) if first or size else None,
        )

    def vector(self) -> Mapping[str, str]:
        """The rule as the attributes of a RULE in a security group's template."""
        attributes = {"PROTOCOL": self.protocol.upper(), "RULE_TYPE": self.direction.upper()}
        if self.ports is not None:
            attributes["RANGE"] = self.ports
        if self.icmp_type is not None:
            attributes[f"{self.protocol.upper()}_TYPE"] = str(self.icmp_type)
        if self.network is not None:
            attributes["NETWORK_ID"] = str(self.network)
        if self.cidr is not None:
            target = IPv4Network(self.cidr)
            attributes |= {"IP": str(target.network_address), "SIZE": str(target.num_addresses)}
        return attributes

    def __str__(self) -> str:
        words = [self.direction, self.protocol]
        if self.ports is not None:
            words.append(self.ports)
        if self.icmp_type is not None:
            words.append(f"type {self.icmp_type}")
        end = self.cidr if self.network is None else f"network {self.network}"
        if end is not None:
            words.append(f"{'from' if self.direction == 'inbound' else 'to'} {end}")
        return " ".join(words)


def same_rules(rules: Iterable[SecurityRule], stored: Iterable[Mapping[str, str]]) -> bool:
    """Say whether a security group has the rules that it ought to have.

    Args:
        rules: The rules as they ought to be, in any order.
        stored: The RULEs that the server has. The server keeps one of those that are written alike.

    Returns:
        Whether the same traffic is let through, rule by rule. A rule that this library would not write is another one.
    """
    try:
        return set(rules) == {SecurityRule.of_vector(vector) for vector in stored}
    except SettingsError:
        return False


def _is_number(value: Any, last: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= last


def _in_settings(problem: str) -> str:
    """A problem of a rule under the key that its attribute has in settings."""
    attribute, colon, rest = problem.partition(": ")
    key = next((key for key, name in _SETTINGS.items() if name == attribute), attribute)
    return f"{key}{colon}{rest}"


def _number(value: Any) -> Any:
    """The number that a text is; anything else as it is, for the rule to name it with its other problems."""
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


def _ports(text: Any) -> str:
    """The ports of a list in their shortest form: sorted, no port twice, neighbours as ranges.

    Raises:
        SettingsError: It is no such list; all problems at once.
    """
    if not isinstance(text, str):
        raise SettingsError(f"{text!r} is no text such as '22' or '80,443' or '8000:8080'")
    problems: list[str] = []
    spans: list[tuple[int, int]] = []
    for part in text.split(","):
        match = _PORTS.fullmatch(part.strip())
        if match is None:
            problems.append(f"{part!r} is neither a port such as 22 nor a range such as 8000:8080")
            continue
        first, last = int(match[1]), int(match[2] or match[1])
        if max(first, last) > _LAST_PORT:
            problems.append(f"{part!r} is out of bounds, {_LAST_PORT} is the last port")
        elif last < first:
            problems.append(f"{part!r} ends before it begins")
        else:
            spans.append((first, last))
    if problems:
        raise SettingsError(*problems)
    merged = _merged(spans)
    count = sum(1 if first == last else 2 for first, last in merged)
    if count > _MOST_PORTS:
        raise SettingsError(f"{count} ports, a range counting as two, are more than the {_MOST_PORTS} of a rule")
    return ",".join(str(first) if first == last else f"{first}:{last}" for first, last in merged)


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def _cidr(first: str, size: str) -> str:
    """The network that a first address and a number of addresses make, or what they are where they make none."""
    try:
        address, count = IPv4Address(first), int(size)
        if count.bit_count() == 1:
            return str(IPv4Network((address, 33 - count.bit_length())))
    except ValueError:
        pass
    return f"{first}+{size}"
