"""What the soak orders: for each kind of resource, how a customer orders it, and how it is to be in the end."""

import random
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol
from xmlrpc.client import ServerProxy

import attrs

import opennebula_tenancy as ont
from onetenant_waldur.marketplace import (
    Consumer,
    Marketplace,
    Offering,
    OrderState,
    Placed,
    Plan,
    Resource,
    ResourceState,
)
from opennebula_tenancy.emulator import Emulator
from opennebula_tenancy.ownership import KEY


@attrs.frozen
class Truth:
    """What OpenNebula holds in the end, read with nothing but the standard library.

    Attributes:
        pools: For each method that lists, its objects.
        quotas: The quotas of each group, by its id.
    """

    pools: Mapping[str, list[ET.Element]]
    quotas: Mapping[str | None, ET.Element]

    METHODS = {  # noqa: RUF012  never changed
        "one.grouppool.info": (),
        "one.vdcpool.info": (),
        "one.acl.info": (),
        "one.vmpool.infoextended": (-2, -1, -1, -1),
        "one.vnpool.info": (-2, -1, -1),
        "one.secgrouppool.info": (-2, -1, -1),
        "one.vrouterpool.info": (-2, -1, -1),
        "one.userpool.info": (),
    }

    @classmethod
    def of(cls, server: Emulator) -> "Truth":
        """Read everything."""
        pools: dict[str, list[ET.Element]] = {}
        quotas: dict[str | None, ET.Element] = {}
        with ServerProxy(server.endpoint) as proxy:
            for method, params in cls.METHODS.items():
                reply: Any = getattr(proxy, method)(server.auth, *params)
                if not reply[0]:
                    raise RuntimeError(f"{method}: {reply[1]}")
                root = ET.fromstring(reply[1])
                pools[method] = [one for one in root if one.tag not in _NO_OBJECTS]
                quotas |= {one.findtext("ID"): one for one in root if one.tag == "QUOTAS"}
        return cls(pools, quotas)

    def carrying(self, method: str, key: str) -> list[ET.Element]:
        """The objects of a pool that carry a key."""
        return [one for one in self.pools[method] if key in {one.findtext(path) for path in _KEY_PATHS}]

    def keys(self) -> set[str]:
        """All keys that any object carries."""
        found = {one.findtext(path) or "" for pool in self.pools.values() for one in pool for path in _KEY_PATHS}
        return found - {""}


_NO_OBJECTS = frozenset({"QUOTAS", "DEFAULT_GROUP_QUOTAS", "DEFAULT_USER_QUOTAS", "VLAN_RULES"})
_KEY_PATHS = (f"TEMPLATE/{KEY}", f"USER_TEMPLATE/{KEY}")


class SoakKind(Protocol):
    """A kind of resource. A further one is a class like this, and a place in `KINDS`."""

    name: str

    def prepare(self, server: Emulator, waldur: Marketplace) -> Mapping[str, Any]:
        """Get both servers ready for it.

        Returns:
            The entry of its offering in the settings file.
        """

    def create(self, waldur: Marketplace, consumer: Consumer, rng: random.Random, name: str) -> Placed:
        """Order a new one."""

    def change(self, consumer: Consumer, rng: random.Random, resource: Resource) -> str:
        """Order a change; the order's uuid."""

    def is_mine(self, waldur: Marketplace, resource: Resource) -> bool:
        """Whether a resource is of this kind."""

    def disagreements(self, truth: Truth, resource: Resource) -> Iterator[str]:
        """What OpenNebula holds otherwise than Waldur has it, of one resource."""


class VdcKind:
    """VDCs, with limits that change."""

    name = "VDC"

    def prepare(self, server: Emulator, waldur: Marketplace) -> Mapping[str, Any]:
        """Sell VDCs in all clusters."""
        waldur.vdc.plugin_options.clear()
        waldur.vdc.plugin_options.update({"cluster_ids": [0, 100]})
        return _entry(server, waldur, waldur.vdc)

    def create(self, waldur: Marketplace, consumer: Consumer, rng: random.Random, name: str) -> Placed:
        """Order a VDC."""
        return consumer.place_order(waldur.vdc, name, _limits(rng))

    def change(self, consumer: Consumer, rng: random.Random, resource: Resource) -> str:
        """Order other limits."""
        return consumer.update_limits(resource.uuid, _limits(rng))

    def is_mine(self, waldur: Marketplace, resource: Resource) -> bool:
        """Whether it is a VDC."""
        return resource.offering is waldur.vdc

    def disagreements(self, truth: Truth, resource: Resource) -> Iterator[str]:
        """One group, one VDC, the limits; or nothing."""
        groups = truth.carrying("one.grouppool.info", resource.uuid)
        vdcs = truth.carrying("one.vdcpool.info", resource.uuid)
        there = (len(groups), len(vdcs))
        match resource.state:
            case ResourceState.OK:
                if there != (1, 1):
                    yield f"{there[0]} groups and {there[1]} VDCs, one each is due"
                    return
                yield from _wrong_limits(truth.quotas[groups[0].findtext("ID")], resource)
                if resource.backend_id != groups[0].findtext("ID"):
                    yield f"backend_id {resource.backend_id}, its group is {groups[0].findtext('ID')}"
                if resource.backend_metadata.get("opennebula_vdc_id") != int(vdcs[0].findtext("ID") or -1):
                    yield f"metadata {resource.backend_metadata}, its VDC is {vdcs[0].findtext('ID')}"
            case ResourceState.TERMINATED:
                if there != (0, 0):
                    yield f"{there[0]} groups and {there[1]} VDCs of what is terminated"
            case ResourceState.ERRED:
                if there not in {(0, 0), (0, 1)}:
                    yield f"{there[0]} groups and {there[1]} VDCs of what has failed"
            case _:
                yield "neither there nor gone"


class NetworkKind(VdcKind):
    """VDCs with networks behind routers, some of them in subnets that the customer asks for."""

    name = "Net"

    def prepare(self, server: Emulator, waldur: Marketplace) -> Mapping[str, Any]:
        """Sell VDCs with networks, beside those without."""
        entry = super().prepare(server, waldur)
        options = {"cluster_ids": [0, 100], **_networking(server, "soak-external")}
        offering = waldur.add_offering(_WITH_NETWORK, waldur.vdc.components, plugin_options=options)
        return {**entry, "name": offering.name, "waldur_offering_uuid": offering.uuid}

    def create(self, waldur: Marketplace, consumer: Consumer, rng: random.Random, name: str) -> Placed:
        """Order a VDC, every third time in a subnet that may be taken."""
        subnet = f"192.168.{rng.randint(0, 9)}.0/24" if rng.random() < _CHOOSES else ""
        offering = next(one for one in waldur.state.offerings if one.name == _WITH_NETWORK)
        limits = {**_limits(rng), "floating_ip": rng.randint(0, 4)}
        return consumer.place_order(offering, name, limits, {"subnet_cidr": subnet})

    def is_mine(self, waldur: Marketplace, resource: Resource) -> bool:
        """Whether it is a VDC with a network."""
        return resource.offering is not waldur.vdc and resource.offering.name == _WITH_NETWORK

    def disagreements(self, truth: Truth, resource: Resource) -> Iterator[str]:
        """As of every VDC; and one network that overlaps no other, one security group, one router that runs."""
        yield from super().disagreements(truth, resource)
        found = {noun: truth.carrying(method, resource.uuid) for noun, method in _NETWORKING.items()}
        counts = {noun: len(objects) for noun, objects in found.items()}
        if resource.state is not ResourceState.OK:
            if any(counts.values()) and resource.state is ResourceState.TERMINATED:
                yield f"{counts} of what is terminated"
            return
        if set(counts.values()) != {1}:
            yield f"{counts}, one each is due"
            return
        (network,), (machine,) = found["networks"], found["machines"]
        if (machine.findtext("STATE"), machine.findtext("LCM_STATE")) != _RUNNING:
            yield f"its router's VM {machine.findtext('ID')} is in the state {machine.findtext('LCM_STATE')}"
        first = network.findtext("AR_POOL/AR/IP")
        if [one.findtext("AR_POOL/AR/IP") for one in truth.pools["one.vnpool.info"]].count(first) != 1:
            yield f"its network begins at {first}, and so does another one"
        if resource.backend_metadata.get("vnet_id") != int(network.findtext("ID") or -1):
            yield f"metadata {resource.backend_metadata}, its network is {network.findtext('ID')}"


class VmKind:
    """Machines of two plans in one tenant."""

    name = "VM"

    def prepare(self, server: Emulator, waldur: Marketplace) -> Mapping[str, Any]:
        """Make the tenant that all machines are in, and sell them."""
        with ont.connect(server.endpoint, server.auth) as cloud:
            said = _networking(server, "soak-vm-external")
            network = ont.NetworkSpec(
                external_network=said["external_network_id"], router_template=said["virtual_router_template_id"]
            )
            self._parent = cloud.vdcs.ensure(ont.VdcSpec(name="soak-parent", clusters=(0, 100), network=network)).id
        self._waldur = waldur
        waldur.vm.plans[:] = [Plan(name, size) for name, size in _SIZES.items()]
        waldur.vm.plugin_options.clear()
        waldur.vm.plugin_options.update({"parent_vdc_backend_id": self._parent, "template_id": 0, "vm_timeout_s": 20})
        entry = _entry(server, waldur, waldur.vm)
        return {**entry, "backend_settings": {**entry["backend_settings"], "resource_type": "vm"}}

    def create(self, waldur: Marketplace, consumer: Consumer, rng: random.Random, name: str) -> Placed:
        """Order a machine, with a key that is in Waldur, every third time."""
        with waldur.state.lock:
            keys = [key.uuid for user in waldur.state.users for key in user.keys]
        attributes = {"ssh_public_key": keys[0]} if rng.random() < _CHOOSES else {}
        return consumer.place_order(waldur.vm, name, attributes=attributes, plan=rng.choice(list(_SIZES)))

    def change(self, consumer: Consumer, rng: random.Random, resource: Resource) -> str:
        """Order another plan; a smaller one is refused, since its disk is."""
        return consumer.switch_plan(resource.uuid, resource.offering, rng.choice(list(_SIZES)))

    def is_mine(self, waldur: Marketplace, resource: Resource) -> bool:
        """Whether it is a machine."""
        return resource.offering is waldur.vm

    def disagreements(self, truth: Truth, resource: Resource) -> Iterator[str]:
        """One machine that runs, of the size that Waldur shows: that of its plan, but for a disk that has grown."""
        found = truth.carrying("one.vmpool.infoextended", resource.uuid)
        if resource.state in {ResourceState.TERMINATED, ResourceState.ERRED}:
            if found:
                yield f"{len(found)} machines of what is not there"
            return
        if resource.state is not ResourceState.OK:
            yield "neither there nor gone"
            return
        if len(found) != 1:
            yield f"{len(found)} machines, one is due"
            return
        (machine,) = found
        held = {name: int(machine.findtext(path) or -1) for name, path in _SIZE_PATHS.items()}
        if resource.backend_id != machine.findtext("ID") or machine.findtext("GID") != str(self._parent):
            yield f"backend_id {resource.backend_id}, its VM is {machine.findtext('ID')} in {machine.findtext('GID')}"
        if dict(resource.limits) != held:
            yield f"{held} in OpenNebula and {resource.limits} in Waldur"
        if (machine.findtext("STATE"), machine.findtext("LCM_STATE")) != _RUNNING:
            yield f"its VM is in the state {machine.findtext('STATE')}/{machine.findtext('LCM_STATE')}"
        if resource.plan is None:
            return
        wanted = dict(resource.plan.quotas)
        orders = [order for order in self._waldur.state.orders if order.resource is resource]
        if any(order.state is not OrderState.DONE for order in orders):
            # A disk that has grown for a plan that was not to be any more cannot shrink back.
            wanted["vm_disk"] = max(wanted["vm_disk"], held["vm_disk"])
        if held != wanted:
            yield f"{held}, its plan is {wanted}"


KINDS: tuple[Callable[[], SoakKind], ...] = (VdcKind, NetworkKind, VmKind)

_WITH_NETWORK = "OpenNebula VDC with network"
_CHOOSES = 0.3
"""How often, of 1, a customer makes use of the order form."""
_RUNNING = ("3", "3")
_NETWORKING = {
    "networks": "one.vnpool.info",
    "security groups": "one.secgrouppool.info",
    "routers": "one.vrouterpool.info",
    "machines": "one.vmpool.infoextended",
}
_SIZES = {
    "Small": {"vcpu": 1, "vm_ram": 128, "vm_disk": 2048},
    "Medium": {"vcpu": 2, "vm_ram": 256, "vm_disk": 4096},
}
_SIZE_PATHS = {"vcpu": "TEMPLATE/VCPU", "vm_ram": "TEMPLATE/MEMORY", "vm_disk": "TEMPLATE/DISK/SIZE"}
_ROUTER_TEMPLATE_ID = 8

_LIMIT_PATHS = {
    "cpu": "VM_QUOTA/VM/CPU",
    "ram": "VM_QUOTA/VM/MEMORY",
    "storage": "DATASTORE_QUOTA/DATASTORE/SIZE",
}


def _entry(server: Emulator, waldur: Marketplace, offering: Offering) -> dict[str, Any]:
    """An offering in the settings file."""
    return {
        "name": offering.name,
        "waldur_api_url": waldur.api_url,
        "waldur_api_token": waldur.tokens["provider"],
        "waldur_offering_uuid": offering.uuid,
        "verify_ssl": False,
        "backend_type": "opennebula",
        "backend_settings": {"api_url": server.endpoint, "credentials": server.auth},
    }


def _networking(server: Emulator, name: str) -> dict[str, Any]:
    """Options of a network behind a router, on an external network of their own that has many addresses."""
    text = f'NAME="{name}"\nVN_MAD=dummy\nBRIDGE=br0\nAR=[TYPE=IP4, IP="198.18.0.1", SIZE="1000"]'
    with ServerProxy(server.endpoint) as proxy:
        made: Any = proxy.one.vn.allocate(server.auth, text, 0)
        server.settle()
        added: Any = proxy.one.cluster.addvnet(server.auth, 100, made[1])
    if not (made[0] and added[0]):
        raise RuntimeError(f"{name}: {made[1]}, {added[1]}")
    return {
        "external_network_id": made[1],
        "virtual_router_template_id": _ROUTER_TEMPLATE_ID,
        "network_timeout_s": 20,
        "security_group_defaults": [{"direction": "INBOUND", "protocol": "TCP", "range": "22:22"}],
    }


def _limits(rng: random.Random) -> dict[str, int]:
    return {
        "cpu": rng.randint(1, 64),
        "ram": 1024 * rng.randint(1, 64),
        "storage": 1024 * rng.randint(0, 9),
    }


def _wrong_limits(quotas: ET.Element, resource: Resource) -> Iterator[str]:
    for name, path in _LIMIT_PATHS.items():
        held = {float(element.text or 0) for element in quotas.iterfind(path)}
        if held != {float(resource.limits.get(name, -1))}:
            yield f"{name} is {sorted(held)} in OpenNebula and {resource.limits.get(name)} in Waldur"
