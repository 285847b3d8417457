"""Making VMs of templates: what they take, what becomes of a template, and their disks and NICs (VirtualMachine.cc).

Everything a VM uses is taken here at once; when something is missing, what was taken is given back.
"""

import uuid

from opennebula_tenancy.emulator import context, lifecycle, nics, starting, vmdisks
from opennebula_tenancy.emulator.addresses import id_set
from opennebula_tenancy.emulator.calls import Call
from opennebula_tenancy.emulator.errors import Refusal, not_allocated
from opennebula_tenancy.emulator.kinds import Right
from opennebula_tenancy.emulator.nics import network_of
from opennebula_tenancy.emulator.placement import reachable_clusters
from opennebula_tenancy.emulator.rules import Subject
from opennebula_tenancy.emulator.secgroups import SecurityGroup
from opennebula_tenancy.emulator.state import Cloud, name_problem
from opennebula_tenancy.emulator.template import Template, Vector
from opennebula_tenancy.emulator.vm_boot import set_boot_order, tidy_features
from opennebula_tenancy.emulator.vmdisks import image_to_authorize
from opennebula_tenancy.emulator.vms import ROUTER_ATTRIBUTES, VirtualMachine
from opennebula_tenancy.emulator.vmstates import VmState


_KNOWN = (
    *("INPUT", "RAW", "CLONING_TEMPLATE_ID", "TOPOLOGY", "NUMA_NODE", "HYPERV_OPTIONS", "SPICE_OPTIONS", "EMULATOR"),
    *("TPM", "MEMORY_ENCRYPTION", "CPU_MODEL", "PCI", "NIC_DEFAULT", "NIC", "NIC_ALIAS", "CONTEXT", "GRAPHICS"),
    *("VIDEO", "IOMMU", "FEATURES", "OS"),
)
"""Attributes that leave the user's template as they are."""
_POSITIVE_INTEGERS = ("MEMORY_MAX", "MEMORY_SLOTS", "VCPU_MAX")
_COSTS = ("CPU_COST", "MEMORY_COST", "DISK_COST")


# What a template names


def name_networks(cloud: Cloud, template: Template, uid: int) -> None:
    """Write to the NICs of a template the ids of networks that they name, to know what they take."""
    for name in ("NIC", "NIC_ALIAS"):
        for nic in template.vectors(name):
            network = network_of(cloud, nic, uid)
            if network is not None and not nic.get("NETWORK_ID"):
                nic["NETWORK_ID"] = str(network.id)


def uses(cloud: Cloud, template: Template, uid: int) -> list[tuple[Right, Subject]]:
    """What a VM of a template needs USE on: images, networks, security groups. What is not there is passed over."""
    asked: list[tuple[Right, Subject]] = []
    for disk in template.vectors("DISK"):
        image = image_to_authorize(cloud, disk, uid)
        if image is not None:
            asked.append((Right.USE, image.subject))
    for name in ("NIC", "NIC_ALIAS"):
        for nic in template.vectors(name):
            groups = id_set(nic.get("SECURITY_GROUPS", ""))
            network = network_of(cloud, nic, uid)
            if network is not None:
                asked.append((Right.USE, network.subject))
                groups |= network.security_groups
            found = (cloud.pool(SecurityGroup).find(oid) for oid in sorted(groups))
            asked += [(Right.USE, group.subject) for group in found if group is not None]
    return asked


# Making


def build(call: Call, template: Template, *, hold: bool) -> VirtualMachine:
    """Make a VM of the caller's, quotas being charged already.

    Args:
        call: The call.
        template: The template. It becomes the VM's.
        hold: Whether the VM waits to be released.

    Raises:
        Refusal: The template lacks something, or what it names cannot be had (ALLOCATE). Nothing is taken then.
    """
    cloud = call.cloud
    pool = cloud.pool(VirtualMachine)
    vm = VirtualMachine(
        id=pool.next_id,
        uid=call.uid,
        gid=call.gid,
        uname=call.uname,
        gname=call.gname,
        permissions=call.new_permissions(),
        template=template,
        stime=cloud.now_s(),
        on_hold=hold,
    )
    try:
        _fill(cloud, vm)
    except Refusal:
        nics.disconnect(cloud, vm)
        lifecycle.release_images(cloud, vm)
        raise
    pool.add(vm)
    if any(disk.get("CLONING") == "YES" for disk in vm.body.vectors("DISK")):
        vm.move_to(VmState.CLONING)
        starting.await_disks(cloud, vm)
    else:
        vm.move_to(VmState.HOLD if hold else VmState.PENDING)
        starting.await_place(cloud, vm)
    return vm


def _fill(cloud: Cloud, vm: VirtualMachine) -> None:
    _name(vm)
    _move_known(vm)
    _size(vm)
    _system(vm)
    try:
        nics.connect(cloud, vm)
    except nics.NicError as problem:
        raise not_allocated(str(problem)) from problem
    vmdisks.take_all(cloud, vm)
    misordered = set_boot_order(vm.body)
    if misordered is not None:
        raise not_allocated(misordered)
    if vm.on_hold:
        vm.body.set("SUBMIT_ON_HOLD", "YES")
    found = vm.body.vector("CONTEXT")
    if found is not None:
        if not context.add_token(cloud, vm, found):
            raise not_allocated(context.NO_ONEGATE)
        context.complete(cloud, vm, found)
    _requirements(vm)
    if not (vm.template.storable and vm.body.storable):
        raise not_allocated("Error transforming the VM to XML.")


def _name(vm: VirtualMachine) -> None:
    user = vm.template
    user.erase("VMID")
    vm.body.add("VMID", str(vm.id))
    template_id = user.take("TEMPLATE_ID")
    if template_id:
        vm.body.add("TEMPLATE_ID", template_id)
    name, prefix = user.take("NAME"), user.take("TEMPLATE_NAME")
    vm.name = name or f"{prefix or 'one'}-{vm.id}"
    problem = name_problem(vm.name)
    if problem is not None:
        raise not_allocated(problem)


def _move_known(vm: VirtualMachine) -> None:
    for name in _KNOWN:
        values: list[str | Vector] = [*vm.template.texts(name), *vm.template.vectors(name)]
        for value in values:
            vm.body.add(name, value)
        vm.template.erase(name)
    for name in ROUTER_ATTRIBUTES:
        text = vm.template.take(name)
        if text:
            vm.body.set(name, text)


def _size(vm: VirtualMachine) -> None:
    """Move and check CPU, MEMORY and VCPU, and what is about them."""
    user, body = vm.template, vm.body
    memory = user.integer("MEMORY")
    if memory is None or memory <= 0:
        raise not_allocated("MEMORY attribute must be a positive integer value.")
    user.erase("MEMORY")
    body.add("MEMORY", str(memory))
    for name in ("MEMORY_MAX", "MEMORY_SLOTS"):
        _move_positive(vm, name)
    cpu = user.number("CPU")
    if cpu is None or cpu <= 0:
        raise not_allocated("CPU attribute must be a positive float or integer value.")
    user.erase("CPU")
    body.add("CPU", f"{cpu:g}")
    if user.text("VCPU"):
        vcpu = user.integer("VCPU")
        if vcpu is None or vcpu <= 0:
            raise not_allocated("VCPU attribute must be a positive integer value.")
        user.erase("VCPU")
        body.add("VCPU", str(vcpu))
    _move_positive(vm, "VCPU_MAX")
    for name in _COSTS:
        cost = user.number(name)
        if cost is not None:
            if cost < 0:
                raise not_allocated(f"{name} attribute must be a positive float or integer value.")
            user.erase(name)
            body.add(name, f"{cost:g}")


def _move_positive(vm: VirtualMachine, name: str) -> None:
    value = vm.template.integer(name)
    if value is not None and value > 0:
        vm.template.erase(name)
        vm.body.add(name, str(value))


def _system(vm: VirtualMachine) -> None:
    """Complete OS and FEATURES."""
    systems = vm.body.vectors("OS")
    if len(systems) > 1:
        raise not_allocated("Only one OS attribute can be defined.")
    if not systems:
        systems = [Vector()]
        vm.body.add("OS", systems[0])
    if not systems[0].get("UUID"):
        systems[0]["UUID"] = str(uuid.uuid4())
    tidy_features(vm.body.vector("FEATURES"))
    topology = vm.body.vector("TOPOLOGY")
    if topology is not None:
        topology.setdefault("PIN_POLICY", "NONE")


# Where it can run


def _requirements(vm: VirtualMachine) -> None:
    """Write where the VM can run, by the clusters of what it uses."""
    body = vm.body
    found: set[int] | None = None
    vectors = [("DISK", disk) for disk in body.vectors("DISK")] + [("NIC", nic) for nic in vm.nics]
    for number, (what, vector) in enumerate(vectors):
        if "CLUSTER_ID" not in vector:
            continue
        clusters = id_set(vector["CLUSTER_ID"])
        index = number if what == "DISK" else number - len(body.vectors("DISK"))
        source = "Datastore" if what == "DISK" else "Network"
        if not clusters:
            raise not_allocated(f"Missing clusters. {source} for {what} {index} is not in any cluster")
        if found is not None and not found & clusters:
            used = ",".join(map(str, sorted(found)))
            raise not_allocated(
                f"Incompatible clusters in {what}. {source} for {what} {index} is not in the same cluster as the one "
                f"used by other VM elements (cluster {used})"
            )
        found = clusters if found is None else found & clusters
    hosts = "!(PIN_POLICY = PINNED)"
    reached = reachable_clusters(vm)
    if reached:
        ids = sorted(reached)
        hosts = f"({' | '.join(f'CLUSTER_ID = {oid}' for oid in ids)}) & {hosts}"
        stores = "(" + " | ".join(f'"CLUSTERS/ID" @> {oid}' for oid in ids) + ")"
        body.set("AUTOMATIC_DS_REQUIREMENTS", stores)
        body.set("AUTOMATIC_NIC_REQUIREMENTS", stores)
    body.set("AUTOMATIC_REQUIREMENTS", hosts)
