"""`Diagram`: a tenant as a picture, for a terminal and for pages that render Mermaid. Nothing here asks OpenNebula."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opennebula_tenancy.floating_ip import FloatingIp
    from opennebula_tenancy.network import Network
    from opennebula_tenancy.router import Router


_SYNTAX = re.compile(r"[^\w .:/()\-]")
"""What a label of Mermaid may take for syntax."""
_STEM = "      |"
_BRANCH = "      +-- "


def _texts(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


def _items(values: Iterable[FloatingIp]) -> tuple[FloatingIp, ...]:
    return tuple(values)


@attrs.frozen
class Machine:
    """A machine as the picture shows it.

    Attributes:
        id: Its id.
        name: Its name.
        addresses: Its addresses in the tenant's networks.
    """

    id: int
    name: str
    addresses: tuple[str, ...] = attrs.field(default=(), converter=_texts)


def _in_order(machines: Iterable[Machine]) -> tuple[Machine, ...]:
    return tuple(sorted(machines, key=lambda machine: machine.id))


@attrs.frozen(kw_only=True)
class Diagram:
    """A tenant: the external network, its router, its network, and the machines there.

    Attributes:
        tenant: What the tenant is called.
        network: `Vdc.network`.
        router: `Vdc.router`.
        machines: Its machines, without those of the router.
        floating_ips: `Vdc.floating_ips`.
        external: What the external network is called.
    """

    tenant: str
    network: Network | None = None
    router: Router | None = None
    machines: tuple[Machine, ...] = attrs.field(default=(), converter=_in_order)
    floating_ips: tuple[FloatingIp, ...] = attrs.field(default=(), converter=_items)
    external: str = "external network"

    def text(self) -> str:
        """The picture as lines of text, the external network at the top."""
        return "\n".join(self._lines())

    def mermaid(self) -> str:
        """The picture as a flowchart of Mermaid."""
        return "\n".join(["flowchart TB", *(f"    {line}" for line in self._nodes())])

    def _lines(self) -> Iterator[str]:
        router, network = self.router, self.network
        if router is None and network is None:
            yield f"tenant {self.tenant}, without a network"
        if router is not None:
            yield self.external
            yield _joined(_STEM, ", ".join(router.external_addresses))
            yield f"router {router.id} ({router.name}): {_states(router)}"
            yield _joined(_STEM, router.internal_address)
        if network is not None:
            yield f"network {network.id} ({network.name}): {network.subnet}"
        if self.machines:
            yield _STEM
        width = max((len(_title(machine)) for machine in self.machines), default=0)
        for machine in self.machines:
            yield _joined(f"{_BRANCH}{_title(machine):<{width}}", *self._addresses(machine))

    def _nodes(self) -> Iterator[str]:
        router, network = self.router, self.network
        above = "network" if network is not None else "tenant"
        if router is not None:
            yield f"external({_label(self.external)})"
            yield f"router[{_label(router.name, _states(router))}]"
            yield f"external ---|{_label(', '.join(router.external_addresses))}| router"
        if network is not None:
            yield f"network[{_label(network.name, str(network.subnet))}]"
        else:
            yield f"tenant[{_label(self.tenant)}]"
        if router is not None:
            yield f"router ---|{_label(router.internal_address)}| {above}"
        for machine in self.machines:
            yield f"vm{machine.id}[{_label(_title(machine), *self._addresses(machine))}]"
            yield f"{above} --- vm{machine.id}"

    def _addresses(self, machine: Machine) -> Iterator[str]:
        """The addresses of a machine, and from outside which of them is reached how."""
        floating = [item for item in self.floating_ips if item.vm_id == machine.id]
        outside = {item.address for item in floating}
        yield from (address for address in machine.addresses if address not in outside)
        yield from (f"{item.address} -> {item.internal_address}" for item in floating)

    def _repr_markdown_(self) -> str:
        return f"```mermaid\n{self.mermaid()}\n```"


def _title(machine: Machine) -> str:
    return f"VM {machine.id} ({machine.name})"


def _states(router: Router) -> str:
    return ", ".join(f"VM {vm} {status}" for vm, status in sorted(router.states.items())) or "no machine"


def _joined(*parts: str) -> str:
    return "  ".join(part for part in parts if part)


def _label(*lines: str) -> str:
    """Lines of text as a label, whatever stands in them."""
    shown = (_SYNTAX.sub(lambda char: f"#{ord(char[0])};", line) for line in lines if line)
    return f'"{"<br/>".join(shown)}"'
