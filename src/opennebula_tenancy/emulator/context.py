"""The CONTEXT of a VM: variables replaced, and what its NICs add (VirtualMachineContext.cc, vm_var_syntax.y)."""

import re

from opennebula_tenancy.emulator.images import Image
from opennebula_tenancy.emulator.networks import VirtualNetwork
from opennebula_tenancy.emulator.state import Cloud
from opennebula_tenancy.emulator.template import Template, Vector
from opennebula_tenancy.emulator.users import User
from opennebula_tenancy.emulator.vms import ROUTER_ATTRIBUTES, VirtualMachine


NO_ONEGATE = "TOKEN set, but onegate endpoint was not defined in oned.conf."
"""Why a CONTEXT with TOKEN=YES is refused."""

_VARIABLE = re.compile(
    r"\\.|\$(?P<name>[A-Za-z_]\w*)(?:\[\s*(?P<key>\w+)\s*(?:,\s*(?P<by>\w+)\s*=\s*(?P<value>\"[^\"]*\"|\w+)\s*)?\])?",
    re.DOTALL,
)
"""Also what a backslash protects: both stay as they are (vm_var_parser.l)."""

# The variable of a NIC, the attribute of the NIC, another to look at, and whether the network is asked too.
_OF_NIC = (
    ("IP", "IP", "", False),
    ("MAC", "MAC", "", False),
    ("MASK", "NETWORK_MASK", "", True),
    ("NETWORK", "NETWORK_ADDRESS", "", True),
    ("GATEWAY", "GATEWAY", "", True),
    ("DNS", "DNS", "", True),
    ("SEARCH_DOMAIN", "SEARCH_DOMAIN", "", True),
    ("MTU", "GUEST_MTU", "", True),
    ("METRIC", "METRIC", "", True),
    ("METHOD", "METHOD", "", True),
    ("VLAN_ID", "VLAN_ID", "", True),
    ("VROUTER_IP", "VROUTER_IP", "", False),
    ("VROUTER_MANAGEMENT", "VROUTER_MANAGEMENT", "", False),
    ("EXTERNAL", "EXTERNAL", "", False),
    ("ROUTES", "ROUTES", "", True),
    ("IP6", "IP6_GLOBAL", "IP6", False),
    ("IP6_ULA", "IP6_ULA", "", False),
    ("IP6_GATEWAY", "GATEWAY6", "", True),
    ("IP6_METRIC", "IP6_METRIC", "", True),
    ("IP6_METHOD", "IP6_METHOD", "", True),
    ("IP6_PREFIX_LENGTH", "PREFIX_LENGTH", "", True),
    ("VROUTER_IP6", "VROUTER_IP6_GLOBAL", "VROUTER_IP6", False),
)


def complete(cloud: Cloud, vm: VirtualMachine, context: Vector) -> None:
    """Replace the variables of a context, and add what its NICs are, when it has NETWORK=YES."""
    context.pop("FILES_DS", None)
    for key, value in context.items():
        context[key] = replaced(cloud, vm, value)
    _add_nics(cloud, vm, context)
    for name in ROUTER_ATTRIBUTES:
        known = vm.body.text(name)
        if known:
            context[name] = known


def add_token(cloud: Cloud, vm: VirtualMachine, context: Vector) -> bool:
    """Say in a context with TOKEN=YES where OneGate is; False where there is none."""
    if context.get("TOKEN", "").upper() != "YES":
        return True
    if not cloud.config.onegate_endpoint:
        return False
    context["ONEGATE_ENDPOINT"], context["VMID"] = cloud.config.onegate_endpoint, str(vm.id)
    vm.body.set("CREATED_BY", str(vm.uid))
    return True


def refresh(cloud: Cloud, vm: VirtualMachine) -> None:
    """Write to the context of a VM what its NICs are now, as oned does before each start and hot-plug."""
    found = vm.body.vector("CONTEXT")
    if found is not None:
        _add_nics(cloud, vm, found)


def forget(vm: VirtualMachine, prefix: str) -> None:
    """Take a NIC out of the context of a VM.

    Args:
        vm: The VM.
        prefix: `ETH0`, or for an alias `ETH0_ALIAS0`.
    """
    found = vm.body.vector("CONTEXT") or Vector()
    for variable, _, _, _ in _OF_NIC:
        found.pop(f"{prefix}_{variable}", None)


def _add_nics(cloud: Cloud, vm: VirtualMachine, context: Vector) -> None:
    if context.get("NETWORK", "").upper() != "YES":
        return
    for nic in vm.body.vectors("NIC"):
        if nic.get("NETWORK_MODE", "").upper() != "AUTO":
            context.update(_of_nic(cloud, nic, f"ETH{nic['NIC_ID']}"))
    for alias in vm.body.vectors("NIC_ALIAS"):
        context.update(_of_nic(cloud, alias, f"ETH{alias['PARENT_ID']}_ALIAS{alias['ALIAS_ID']}"))


def _of_nic(cloud: Cloud, nic: Vector, prefix: str) -> dict[str, str]:
    values = {}
    for variable, name, other, asks in _OF_NIC:
        value = nic.get(name) or nic.get(other, "")
        values[f"{prefix}_{variable}"] = value or (_of_network(cloud, nic, name) if asks else "")
    return values


def _of_network(cloud: Cloud, nic: Vector, name: str) -> str:
    """An attribute of the network of a NIC: of the address range, else of the network."""
    network = cloud.pool(VirtualNetwork).find(int(nic["NETWORK_ID"])) if nic.get("NETWORK_ID") else None
    if network is None or not nic.get("AR_ID"):
        return ""
    found = network.ranges.get(int(nic["AR_ID"]))
    return (found.attributes.get(name) if found else None) or network.template.text(name) or ""


def replaced(cloud: Cloud, vm: VirtualMachine, text: str) -> str:
    """A text with its variables `$NAME`, `$USER[KEY]`, `$NETWORK[KEY, NETWORK_ID="1"]`, `$DISK[KEY]` replaced."""
    return _VARIABLE.sub(lambda match: _value(cloud, vm, match) if match["name"] else match[0], text)


def _value(cloud: Cloud, vm: VirtualMachine, match: re.Match[str]) -> str:
    name, key = match["name"].upper(), (match["key"] or "").upper()
    if not key:
        own = {"UID": str(vm.uid), "UNAME": vm.uname, "GID": str(vm.gid), "GNAME": vm.gname, "NAME": vm.name}
        return own[name] if name in own else vm.body.text(name) or vm.template.text(name) or ""
    by, value = (match["by"] or "").upper(), (match["value"] or "").strip('"')
    if name == "USER":
        user = cloud.pool(User).find(vm.uid)
        return _text(user.template, key) if user else ""
    if name == "NETWORK":
        return _of_network(cloud, _found(vm.nics, by, value), key) if by else ""
    if name == "IMAGE":
        return _of_image(cloud, _found(vm.body.vectors("DISK"), by, value), key) if by else ""
    vectors = vm.body.vectors(name)
    chosen = _found(vectors, by, value) if by else next(iter(vectors), Vector())
    return chosen.get(key, "")


def _found(vectors: list[Vector], by: str, value: str) -> Vector:
    return next((vector for vector in vectors if vector.get(by) == value), Vector())


def _of_image(cloud: Cloud, disk: Vector, key: str) -> str:
    image = cloud.pool(Image).find(int(disk["IMAGE_ID"])) if disk.get("IMAGE_ID") else None
    return _text(image.template, key) if image else ""


def _text(template: Template, name: str) -> str:
    return template.text(name) or ""
