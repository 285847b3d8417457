"""Security groups as objects (SecurityGroup.cc); the calls are in `opennebula_tenancy.emulator.secgroup_calls`."""

import re
import socket
from collections.abc import Iterator
from typing import ClassVar

import attrs

from opennebula_tenancy.emulator.addresses import unsigned
from opennebula_tenancy.emulator.errors import internal
from opennebula_tenancy.emulator.kinds import Kind
from opennebula_tenancy.emulator.rules import Permissions
from opennebula_tenancy.emulator.state import Cloud, PoolObject
from opennebula_tenancy.emulator.template import Template, Vector, integer
from opennebula_tenancy.emulator.vm_updates import VmUpdates


DEFAULT_ID = 0
"""The group that every network has."""

_PROTOCOLS = frozenset({"TCP", "UDP", "ICMP", "ICMPV6", "IPSEC", "ALL"})
_PORTS = re.compile(r"(?:\d+(?::\d+)?,)*\d+(?::\d+)?", re.ASCII)
_MAX_PORTS = 15
_MAX_PORT = 65535


def rule_problem(rule: Vector) -> str | None:
    """What is wrong with a rule, as SecurityGroup::is_valid words it, or None."""
    return next(_problems(rule), None)


def _problems(rule: Vector) -> Iterator[str]:
    protocol = rule.get("PROTOCOL", "").upper()
    if protocol not in _PROTOCOLS:
        yield "Wrong PROTOCOL in rule. Valid options: TCP, UDP, ICMP, ICMPV6, IPSEC, ALL."
    ports = rule.get("RANGE", "")
    if ports:
        if protocol not in {"TCP", "UDP"}:
            yield "RANGE is supported only for TCP and UDP protocols."
        yield from _port_problems(ports)
    for name in ("ICMP", "ICMPV6"):
        kind = rule.get(f"{name}_TYPE", "")
        if kind and protocol != name:
            yield f"{name}_TYPE is supported only for {name} protocol."
        if kind and unsigned(kind) is None:
            yield f"Wrong {name}_TYPE, it must be integer"
    if rule.get("RULE_TYPE", "").upper() not in {"INBOUND", "OUTBOUND"}:
        yield "Wrong RULE_TYPE in rule. Valid options: INBOUND, OUTBOUND."
    if rule.get("IP"):
        if unsigned(rule.get("SIZE", "")) is None:
            yield "Wrong or empty SIZE."
        if not _is_address(rule["IP"]):
            yield "Wrong format for IP value."
    elif "NETWORK_ID" in rule and integer(rule["NETWORK_ID"]) is None:
        yield "Wrong NETWORK_ID."


def _port_problems(ports: str) -> Iterator[str]:
    if not _PORTS.fullmatch(ports):
        yield "Invalid RANGE specification."
    count = 0
    for part in ports.split(","):
        first, colon, last = part.partition(":")
        if int(last or first) > _MAX_PORT:
            yield "RANGE out of bounds 0-65536."
        if colon and int(last) < int(first):
            yield "RANGE BEGIN value is greater than RANGE END value"
        count += 2 if colon else 1
        if count > _MAX_PORTS:
            yield "Not more than 15 ports can be specified in a RULE"


def _is_address(text: str) -> bool:
    for family in (socket.AF_INET6, socket.AF_INET):
        try:
            socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False


def check_rules(template: Template) -> None:
    """Check the rules of a template, and drop those that say the same as another.

    Raises:
        Refusal: A rule is not valid.
    """
    rules = template.vectors("RULE")
    for rule in rules:
        problem = rule_problem(rule)
        if problem is not None:
            raise internal(problem)
    kept: list[Vector] = []
    for rule in rules:
        if rule not in kept:
            kept.append(rule)
    if len(kept) < len(rules):
        template.erase("RULE")
        for rule in kept:
            template.add("RULE", rule)


@attrs.define(eq=False, kw_only=True)
class SecurityGroup(PoolObject):
    """A security group.

    Attributes:
        vms: The VMs that have its rules, by whether they have the present ones.
    """

    kind: ClassVar[Kind] = Kind.SECGROUP

    vms: VmUpdates = attrs.field(factory=VmUpdates)

    def xml(self, cloud: Cloud) -> str:  # noqa: ARG002 - every object reads so
        """The body."""
        return (
            f"<SECURITY_GROUP><ID>{self.id}</ID><UID>{self.uid}</UID><GID>{self.gid}</GID><UNAME>{self.uname}</UNAME>"
            f"<GNAME>{self.gname}</GNAME><NAME>{self.name}</NAME>{self.permissions.xml()}"
            f"{self.vms.xml()}"
            f"{self.template.xml()}</SECURITY_GROUP>"
        )

    def template_updated(self, cloud: Cloud, old: Template) -> None:  # noqa: ARG002 - every object is told so
        """Check the new rules."""
        check_rules(self.template)

    def rules(self) -> list[Vector]:
        """The rules as they stand in a VM's template."""
        marks = {"SECURITY_GROUP_ID": str(self.id), "SECURITY_GROUP_NAME": self.name}
        return [Vector(rule, **marks) for rule in self.template.vectors("RULE")]


def bootstrap(cloud: Cloud) -> None:
    """The default security group. Ids below 100 belong to the system."""
    default = SecurityGroup(
        name="default",
        uname="oneadmin",
        gname="oneadmin",
        permissions=Permissions(owner_u=1, owner_m=1, owner_a=1, group_u=1, other_u=1),
    )
    default.template.add(
        "DESCRIPTION",
        "The default security group is added to every network. Use it to add default filter rules for your networks. "
        "You may remove this security group from any network by updating its properties.",
    )
    for direction in ("OUTBOUND", "INBOUND"):
        default.template.add("RULE", Vector(PROTOCOL="ALL", RULE_TYPE=direction))
    pool = cloud.pool(SecurityGroup)
    pool.add(default)
    pool.next_id = 100
