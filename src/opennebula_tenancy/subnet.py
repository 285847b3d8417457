"""`Subnet`: a tenant's subnet and who has which of its addresses."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Self

import attrs

from opennebula_tenancy.errors import Conflict


if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Address

    from opennebula_tenancy._wire.template import Value


SUBNET = "TENANCY_SUBNET"
"""On the network: the subnet that it claims."""


@attrs.frozen
class Subnet:
    """A subnet: its first usable address is the gateway's, all from there to the last usable one are given out.

    Attributes:
        network: The addresses.
    """

    network: IPv4Network

    @classmethod
    def of(cls, template: Mapping[str, str]) -> Self:
        """The subnet that a tenant's network claims in its template.

        Raises:
            Conflict: Somebody has written over it.
        """
        try:
            return cls(IPv4Network(template.get(SUBNET, "")))
        except ValueError:
            raise Conflict(f"{SUBNET} of a tenant's network is {template.get(SUBNET)!r}: restore it") from None

    @property
    def gateway(self) -> IPv4Address:
        """The first usable address, which the router has."""
        return self.network.network_address + 1

    @property
    def template(self) -> dict[str, Value]:
        """What a network with these addresses is made of, its driver aside."""
        return {
            SUBNET: str(self.network),
            "NETWORK_ADDRESS": str(self.network.network_address),
            "NETWORK_MASK": str(self.network.netmask),
            "GATEWAY": str(self.gateway),
            "AR": {"TYPE": "IP4", "IP": str(self.gateway), "SIZE": self.network.num_addresses - 2},
        }

    def __str__(self) -> str:
        return str(self.network)
