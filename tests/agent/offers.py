"""Offerings with networks, and of virtual machines, in a world whose servers take no time for what they do."""

import contextlib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import attrs

from agent.world import World, new_world
from onetenant_waldur.marketplace import Placed
from opennebula_tenancy.emulator import Config


AT_ONCE = Config(step_s=0)
"""Asynchronous work is through at the next call: waits cost nothing."""
ROUTER_TEMPLATE = 8
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f alice@example.org"
RULES = [
    {"direction": "INBOUND", "protocol": "TCP", "range": "22:22"},
    {"direction": "INBOUND", "protocol": "ICMP", "type": "8"},
]
SMALL, MEDIUM = {"vcpu": 1, "vm_ram": 512, "vm_disk": 5120}, {"vcpu": 2, "vm_ram": 2048, "vm_disk": 10240}
"""The plans that the marketplace has for virtual machines."""
VM_LIMITS = {"cpu": 16, "ram": 32768}


@attrs.define
class Offers:
    """A world, and what is sold there.

    Attributes:
        world: Both servers.
        external: The id of the provider's network.
        template: The id of a VM template with a disk of 2048 MB.
    """

    world: World
    external: int
    template: int

    @property
    def networking(self) -> dict[str, Any]:
        """The options of a network that tenants get."""
        return {
            "external_network_id": self.external,
            "virtual_router_template_id": ROUTER_TEMPLATE,
            "security_group_defaults": RULES,
        }

    def sell_networks(self, **options: Any) -> None:
        """Give the tenants of the VDC offering networks."""
        self.world.offering.plugin_options.update(self.networking | options)

    def tenant(self, name: str = "parent") -> int:
        """The id of a tenant with a network, made by an order."""
        self.sell_networks()
        placed = self.world.made(name, VM_LIMITS)
        return int(self.world.waldur.resource(placed.resource).backend_id)

    def sell_machines(self, parent: object, **options: Any) -> None:
        """Sell machines in a tenant, with these plugin options, which replace all others."""
        there = self.world.waldur.vm.plugin_options
        there.clear()
        there.update({"parent_vdc_backend_id": parent, "template_id": self.template, **options})

    def document(self, **changes: Any) -> dict[str, Any]:
        """A settings file with the offering of machines alone; see `World.document`."""
        document = self.world.document(**changes)
        (offering,) = document["offerings"]
        offering |= {"name": "OpenNebula VM", "waldur_offering_uuid": self.world.waldur.vm.uuid}
        offering["backend_settings"] = {"resource_type": "vm", **offering["backend_settings"]}
        return document

    def cycle(self, **options: Any) -> bool:
        """One cycle of a new agent for the machines."""
        return self.world.cycle(**{"document": self.document(), **options})

    def order(self, name: str = "web", plan: str = "Small", **attributes: Any) -> Placed:
        """Order a machine."""
        waldur = self.world.waldur
        return waldur.consumer().place_order(waldur.vm, name, attributes=attributes, plan=plan)

    def made(self, name: str = "web", plan: str = "Small", **attributes: Any) -> Placed:
        """Order a machine, and have it made."""
        placed = self.order(name, plan, **attributes)
        assert self.cycle(), self.world.waldur.order(placed.order).error_message
        assert self.world.waldur.order(placed.order).state == "done"
        return placed

    def switch(self, resource: str, plan: str) -> str:
        """Order another plan for a machine."""
        return self.world.waldur.consumer().switch_plan(resource, self.world.waldur.vm, plan)

    def xml(self, method: str, *params: Any) -> ET.Element:
        """What a call of the administrator answers."""
        return ET.fromstring(self.world.raw(method, *params))

    def machines(self, resource: str | None = None) -> list[ET.Element]:
        """The machines that are not terminated, those of a resource or all that any has, the oldest first."""
        pool = self.xml("one.vmpool.infoextended", -2, -1, -1, -1)
        found = [vm for vm in pool if vm.findtext("USER_TEMPLATE/TENANCY_ROLE") == "vm"]
        mine = [vm for vm in found if resource in {None, vm.findtext("USER_TEMPLATE/TENANCY_KEY")}]
        return sorted(mine, key=lambda vm: int(vm.findtext("ID") or ""))

    def machine(self, resource: str) -> ET.Element:
        """The one machine of a resource."""
        (found,) = self.machines(resource)
        return found


def size(vm: ET.Element) -> dict[str, int]:
    """The size of a machine, under the names that Waldur has for it."""
    read = {"vcpu": "TEMPLATE/VCPU", "vm_ram": "TEMPLATE/MEMORY", "vm_disk": "TEMPLATE/DISK/SIZE"}
    return {name: int(vm.findtext(path) or -1) for name, path in read.items()}


def is_running(vm: ET.Element) -> bool:
    """Whether a machine runs."""
    return (vm.findtext("STATE"), vm.findtext("LCM_STATE")) == ("3", "3")


@contextlib.contextmanager
def new_offers() -> Iterator[Offers]:
    """Two fresh servers without delays."""
    with new_world(AT_ONCE) as world:
        yield offers_of(world)


def offers_of(world: World) -> Offers:
    """What is sold in a world."""
    networks = ET.fromstring(world.raw("one.vnpool.info", -2, -1, -1))
    templates = ET.fromstring(world.raw("one.templatepool.info", -2, -1, -1))
    template = next(one.findtext("ID") for one in templates if one.findtext("NAME") == "debian-12")
    return Offers(world, int(networks.findtext("VNET/ID") or ""), int(template or ""))
