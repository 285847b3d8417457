"""NICs of VMs and their aliases: made with the VM, added to it, and taken away (VirtualMachineNic.cc).

How an addition or removal goes through the states of a VM is in `opennebula_tenancy.emulator.nic_calls`.
"""

import re

from opennebula_tenancy.emulator import context
from opennebula_tenancy.emulator.addresses import Holder, id_set, random_mac
from opennebula_tenancy.emulator.kinds import Kind
from opennebula_tenancy.emulator.networks import VirtualNetwork
from opennebula_tenancy.emulator.secgroups import SecurityGroup
from opennebula_tenancy.emulator.state import Cloud
from opennebula_tenancy.emulator.template import Template, Vector, integer
from opennebula_tenancy.emulator.users import User
from opennebula_tenancy.emulator.vms import VirtualMachine


_RESERVED_NAME = re.compile(r"NIC\d+(_ALIAS\d+)?", re.ASCII)


class NicError(Exception):
    """A NIC that cannot be. Its text is oned's."""


def owner_named(cloud: Cloud, vector: Vector, what: str, uid: int) -> int | None:
    """The owner among whose objects a DISK or NIC looks for a name.

    Args:
        cloud: The state.
        vector: The vector, which may have `<what>_UID` or `<what>_UNAME`.
        what: IMAGE or NETWORK.
        uid: The owner when it has neither.

    Returns:
        The owner, None when there is no such user.
    """
    if vector.get(f"{what}_UID"):
        return integer(vector[f"{what}_UID"])
    if vector.get(f"{what}_UNAME"):
        user = cloud.pool(User).named(vector[f"{what}_UNAME"])
        return user.id if user else None
    return uid


def network_of(cloud: Cloud, nic: Vector, uid: int) -> VirtualNetwork | None:
    """The network of a NIC: by NETWORK_ID, or by the name NETWORK among those of its owner."""
    if nic.get("NETWORK_ID"):
        oid = integer(nic["NETWORK_ID"])
        return None if oid is None else cloud.pool(VirtualNetwork).find(oid)
    owner = owner_named(cloud, nic, "NETWORK", uid)
    return cloud.pool(VirtualNetwork).named(nic["NETWORK"], owner) if nic.get("NETWORK") and owner is not None else None


def named_network(cloud: Cloud, nic: Vector, uid: int) -> VirtualNetwork | None:
    """The network of a NIC, None when it names none.

    Raises:
        NicError: It names one that does not exist.
    """
    named = nic.get("NETWORK_ID")
    if not named and not nic.get("NETWORK"):
        return None
    network = network_of(cloud, nic, uid)
    if network is not None:
        return network
    if named:
        raise NicError(f"Virtual network with ID: {named} does not exist")
    owner = owner_named(cloud, nic, "NETWORK", uid)
    if owner is None:
        by_id = bool(nic.get("NETWORK_UID"))
        raise NicError("Cannot get user in NETWORK_UID" if by_id else "User set in NETWORK_UNAME does not exist")
    raise NicError(
        f"User {owner} does not own a network with name: {nic['NETWORK']} "
        ". Set NETWORK_UNAME or NETWORK_UID of owner in NIC."
    )


def _join(cloud: Cloud, vm: VirtualMachine, nic: Vector) -> None:
    network = named_network(cloud, nic, vm.uid)
    if network is not None and not network.join_nic(nic, vm.id):
        raise NicError(f"Cannot get IP/MAC lease from virtual network {network.id}.")


def _give_name(nic: Vector, default: str) -> str:
    """Name a NIC; a name that looks like a default one gets an underscore in front."""
    name = nic.get("NAME") or default
    if nic.get("NAME") and _RESERVED_NAME.fullmatch(name):
        name = f"_{name}"
    nic["NAME"] = name
    return name


def _add_groups(cloud: Cloud, vm: VirtualMachine, group_ids: set[int]) -> None:
    """Give a VM the rules of security groups."""
    for oid in sorted(group_ids):
        group = cloud.pool(SecurityGroup).find(oid)
        if group is not None:
            group.vms.updated.add(vm.id)
            add_rules(cloud, vm, group)


def add_rules(cloud: Cloud, vm: VirtualMachine, group: SecurityGroup) -> None:
    """Add the rules of a security group; one about a network becomes one for each of its address ranges."""
    for rule in group.rules():
        oid = integer(rule.get("NETWORK_ID"))
        if oid is None:
            vm.body.add("SECURITY_GROUP_RULE", rule)
            continue
        network = cloud.pool(VirtualNetwork).find(oid)
        for found in network.ranges.values() if network else ():
            vm.body.add("SECURITY_GROUP_RULE", Vector(rule | found.of_rule()))


def remove_rules(vm: VirtualMachine, group_id: int) -> None:
    """Take the rules of a security group from a VM."""
    rules = vm.body.vectors("SECURITY_GROUP_RULE")
    _replace(vm.body, "SECURITY_GROUP_RULE", [r for r in rules if r.get("SECURITY_GROUP_ID") != str(group_id)])


def _replace(body: Template, name: str, vectors: list[Vector]) -> None:
    body.erase(name)
    for vector in vectors:
        body.add(name, vector)


def groups_of(vm: VirtualMachine) -> set[int]:
    """The security groups of all NICs and aliases of a VM."""
    return {oid for nic in vm.nics for oid in id_set(nic.get("SECURITY_GROUPS", ""))}


# With the VM


def connect(cloud: Cloud, vm: VirtualMachine) -> None:
    """Give the NICs of a new VM their addresses, and the VM the rules of their security groups.

    Raises:
        NicError: One cannot be. What the others have is theirs.
    """
    default = vm.body.vector("NIC_DEFAULT") or Vector()
    groups: set[int] = set()
    names: dict[str, Vector] = {}
    interfaces = vm.body.vectors("NIC")
    for number, nic in enumerate(interfaces):
        mode = nic.get("NETWORK_MODE", "").upper()
        nic["NIC_ID"] = str(number)
        if mode != "AUTO":
            for key, value in default.items():
                nic.setdefault(key, value)
        if mode == "DUMMY":
            nic["MAC"] = nic.get("MAC") or random_mac()
        elif mode != "AUTO":
            _join(cloud, vm, nic)
            groups |= id_set(nic.get("SECURITY_GROUPS", ""))
        name = _give_name(nic, f"NIC{number}")
        if mode not in {"AUTO", "DUMMY"}:
            names.setdefault(name, nic)
    aliases = vm.body.vectors("NIC_ALIAS")
    for alias in aliases:
        mode = alias.get("NETWORK_MODE", "").upper()
        if mode in {"AUTO", "DUMMY"}:
            raise NicError(f"Alias is incompatible with mode {mode}")
    for number, alias in enumerate(aliases, start=len(interfaces)):
        parent = names.get(alias.get("PARENT", ""))
        if parent is None:
            raise NicError(f"NIC named {alias.get('PARENT', '')} not found for alias")
        children = list(filter(None, parent.get("ALIAS_IDS", "").split(",")))
        alias.update(NIC_ID=str(number), PARENT_ID=parent["NIC_ID"], ALIAS_ID=str(len(children)))
        _join(cloud, vm, alias)
        _give_name(alias, f"NIC{parent['NIC_ID']}_ALIAS{number}")
        parent["ALIAS_IDS"] = ",".join([*children, str(number)])
    # oned overlooks the security groups of aliases.
    _add_groups(cloud, vm, groups)


def disconnect(cloud: Cloud, vm: VirtualMachine) -> None:
    """Give back the leases of a VM, and leave its security groups."""
    for oid in groups_of(vm):
        group = cloud.pool(SecurityGroup).find(oid)
        if group is not None:
            group.vms.drop(vm.id)
    for nic in vm.nics:
        _release(cloud, vm, nic)


def _release(cloud: Cloud, vm: VirtualMachine, nic: Vector) -> None:
    network = network_of(cloud, nic, vm.uid) if nic.get("NETWORK_ID") else None
    if network is not None and nic.get("NETWORK_MODE", "").upper() != "DUMMY":
        network.release(nic, Holder(Kind.VM, vm.id))
        network.forget_vm(vm.id)


# To a VM that is there


def add(cloud: Cloud, vm: VirtualMachine, name: str, vector: Vector) -> Vector:
    """Add a NIC or alias to a VM, marked as being attached.

    Args:
        cloud: The state.
        vm: The VM.
        name: NIC or NIC_ALIAS.
        vector: What was asked for.

    Returns:
        The NIC as it is in the VM.

    Raises:
        NicError: It cannot be. The VM is as it was.
    """
    number = max((int(found["NIC_ID"]) for found in vm.nics), default=-1) + 1
    nic = Vector(vector)
    parent = None
    children: list[str] = []
    if name == "NIC_ALIAS":
        parent = next((found for found in vm.nics if found.get("NAME", "") == nic.get("PARENT", "")), None)
        if parent is None:
            raise NicError("Alias not found.")
        children = list(filter(None, parent.get("ALIAS_IDS", "").split(",")))
        last = max((int(found["ALIAS_ID"]) for found in vm.body.vectors("NIC_ALIAS")), default=-1)
        _give_name(nic, f"NIC{parent['NIC_ID']}_ALIAS{number}")
        nic.update(PARENT_ID=parent["NIC_ID"], ALIAS_ID=str(last + 1 if children else 0))
    else:
        _give_name(nic, f"NIC{number}")
    for key, value in (vm.body.vector("NIC_DEFAULT") or Vector()).items():
        nic.setdefault(key, value)
    nic.update(ATTACH="YES", NIC_ID=str(number))
    if nic.get("NETWORK_MODE", "").upper() == "DUMMY":
        nic["MAC"] = nic.get("MAC") or random_mac()
    else:
        _join(cloud, vm, nic)
    cluster_id = vm.place.cid if vm.place else -1
    if "CLUSTER_ID" in nic and cluster_id not in id_set(nic["CLUSTER_ID"]):
        _release(cloud, vm, nic)
        raise NicError(f"Virtual network is not part of cluster [{cluster_id}]")
    if name == "NIC":
        _add_groups(cloud, vm, id_set(nic.get("SECURITY_GROUPS", "")) - groups_of(vm))
    vm.body.add(name, nic)
    if parent is not None:
        parent["ALIAS_IDS"] = ",".join([*children, str(number)])
    return nic


def mark_leaving(vm: VirtualMachine, nic_id: int) -> Vector | None:
    """Mark a NIC or alias as being detached: an alias is no child of its NIC from now on, whatever the driver does.

    Returns:
        The NIC, None when there is none of that id.
    """
    nic = nic_by_id(vm, nic_id)
    if nic is None:
        return None
    nic["ATTACH"] = "YES"
    if is_alias(nic):
        parent = nic_by_id(vm, int(nic["PARENT_ID"]))
        if parent is not None:
            parent["ALIAS_IDS"] = _without(parent.get("ALIAS_IDS", ""), nic_id)
    return nic


def nic_by_id(vm: VirtualMachine, nic_id: int) -> Vector | None:
    """The NIC or alias of that NIC_ID, or None."""
    return next((nic for nic in vm.nics if nic.get("NIC_ID") == str(nic_id)), None)


def is_alias(nic: Vector) -> bool:
    """Whether a NIC of a VM is an alias."""
    return "ALIAS_ID" in nic


def _without(text: str, nic_id: int) -> str:
    return ",".join(map(str, sorted(id_set(text) - {nic_id})))


def remove(cloud: Cloud, vm: VirtualMachine, nic: Vector) -> list[Vector]:
    """Take a NIC from a VM, with its aliases, leases and security groups, and out of the context.

    Returns:
        What is gone: the NIC, and its aliases.
    """
    before = groups_of(vm)
    nic_id = int(nic["NIC_ID"])
    if is_alias(nic):
        context.forget(vm, f"ETH{nic['PARENT_ID']}_ALIAS{nic['ALIAS_ID']}")
        parent = nic_by_id(vm, int(nic["PARENT_ID"]))
        if parent is not None:
            parent["ALIAS_IDS"] = _without(parent.get("ALIAS_IDS", ""), nic_id)
    else:
        context.forget(vm, f"ETH{nic_id}")
    _drop(vm, nic)
    # As oned does: the groups of its aliases are still counted here, as these go after it.
    for oid in before - groups_of(vm):
        remove_rules(vm, oid)
        group = cloud.pool(SecurityGroup).find(oid)
        if group is not None:
            group.vms.drop(vm.id)
    gone = [nic]
    for alias_id in sorted(id_set(nic.get("ALIAS_IDS", ""))):
        alias = nic_by_id(vm, alias_id)
        if alias is not None:
            context.forget(vm, f"ETH{nic_id}_ALIAS{alias['ALIAS_ID']}")
            _release(cloud, vm, alias)
            _drop(vm, alias)
            gone.append(alias)
    _release(cloud, vm, nic)
    return gone


def _drop(vm: VirtualMachine, nic: Vector) -> None:
    name = "NIC_ALIAS" if is_alias(nic) else "NIC"
    _replace(vm.body, name, [found for found in vm.body.vectors(name) if found is not nic])
