"""Making VMs of templates: what they take, what becomes of a template, and their disks and NICs (VirtualMachine.cc).

Everything a VM uses is taken here at once; when something is missing, what was taken is given back.
"""

import uuid

from opennebula_tenancy.emulator import context, lifecycle
from opennebula_tenancy.emulator.addresses import id_set, random_mac
from opennebula_tenancy.emulator.calls import Call
from opennebula_tenancy.emulator.datastores import Datastore
from opennebula_tenancy.emulator.errors import Refusal, not_allocated
from opennebula_tenancy.emulator.images import DEFAULT_PREFIX, Image, ImageType
from opennebula_tenancy.emulator.kinds import Right
from opennebula_tenancy.emulator.networks import VirtualNetwork
from opennebula_tenancy.emulator.placement import reachable_clusters
from opennebula_tenancy.emulator.rules import Subject
from opennebula_tenancy.emulator.secgroups import SecurityGroup
from opennebula_tenancy.emulator.state import Cloud, name_problem
from opennebula_tenancy.emulator.template import Template, Vector, integer
from opennebula_tenancy.emulator.users import User
from opennebula_tenancy.emulator.vms import VirtualMachine, disk_mb, is_volatile
from opennebula_tenancy.emulator.vmstates import VmState


_KNOWN = (
    *("INPUT", "RAW", "CLONING_TEMPLATE_ID", "TOPOLOGY", "NUMA_NODE", "HYPERV_OPTIONS", "SPICE_OPTIONS", "EMULATOR"),
    *("TPM", "MEMORY_ENCRYPTION", "CPU_MODEL", "PCI", "NIC_DEFAULT", "NIC", "NIC_ALIAS", "CONTEXT", "GRAPHICS"),
    *("VIDEO", "VROUTER", "IOMMU", "FEATURES", "OS"),
)
"""Attributes that leave the user's template as they are."""
_POSITIVE_INTEGERS = ("MEMORY_MAX", "MEMORY_SLOTS", "VCPU_MAX")
_COSTS = ("CPU_COST", "MEMORY_COST", "DISK_COST")
_YES_OR_NO = ("PAE", "ACPI", "APIC", "HYPERV", "LOCALTIME", "GUEST_AGENT", "RAS", "MIGRATE_COMPRESSED")


# What a template names


def image_of(cloud: Cloud, disk: Vector, uid: int) -> Image | None:
    """The image of a disk: by IMAGE_ID, or by the name IMAGE among those of its owner."""
    oid = integer(disk.get("IMAGE_ID"))
    if oid is not None:
        return cloud.pool(Image).find(oid)
    owner = _owner(cloud, disk, "IMAGE", uid)
    return cloud.pool(Image).named(disk["IMAGE"], owner) if "IMAGE" in disk and owner is not None else None


def network_of(cloud: Cloud, nic: Vector, uid: int) -> VirtualNetwork | None:
    """The network of a NIC: by NETWORK_ID, or by the name NETWORK among those of its owner."""
    if nic.get("NETWORK_ID"):
        oid = integer(nic["NETWORK_ID"])
        return None if oid is None else cloud.pool(VirtualNetwork).find(oid)
    owner = _owner(cloud, nic, "NETWORK", uid)
    return cloud.pool(VirtualNetwork).named(nic["NETWORK"], owner) if nic.get("NETWORK") and owner is not None else None


def _owner(cloud: Cloud, vector: Vector, what: str, uid: int) -> int | None:
    if vector.get(f"{what}_UID"):
        return integer(vector[f"{what}_UID"])
    if vector.get(f"{what}_UNAME"):
        user = cloud.pool(User).named(vector[f"{what}_UNAME"])
        return user.id if user else None
    return uid


def describe_disks(cloud: Cloud, template: Template, uid: int) -> None:
    """Write to the disks of a template what their images and datastores are, to know what they take."""
    for number, disk in enumerate(template.vectors("DISK")):
        image = image_of(cloud, disk, uid)
        if image is not None:
            image.describe(disk, cloud.pool(Datastore).find(image.datastore_id))
        disk["DISK_ID"] = str(number)


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
        image = image_of(cloud, disk, uid)
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
        lifecycle.release_networks(cloud, vm)
        lifecycle.release_images(cloud, vm)
        raise
    pool.add(vm)
    if any(disk.get("CLONING") == "YES" for disk in vm.body.vectors("DISK")):
        vm.move_to(VmState.CLONING)
        lifecycle.await_disks(cloud, vm)
    else:
        vm.move_to(VmState.HOLD if hold else VmState.PENDING)
        lifecycle.await_place(cloud, vm)
    return vm


def _fill(cloud: Cloud, vm: VirtualMachine) -> None:
    _name(vm)
    _move_known(vm)
    _size(vm)
    _system(vm)
    _connect(cloud, vm)
    _attach_disks(cloud, vm)
    if vm.on_hold:
        vm.body.set("SUBMIT_ON_HOLD", "YES")
    found = vm.body.vector("CONTEXT")
    if found is not None:
        if found.get("TOKEN", "").upper() == "YES":
            raise not_allocated("TOKEN set, but onegate endpoint was not defined in oned.conf.")
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
    features = vm.body.vector("FEATURES")
    for name in _YES_OR_NO:
        if features is not None and features.get(name):
            features[name] = "YES" if features[name].upper() == "YES" else "NO"


# NICs


def _connect(cloud: Cloud, vm: VirtualMachine) -> None:
    """Give the NICs their addresses, and the VM the rules of their security groups."""
    default = vm.body.vector("NIC_DEFAULT") or Vector()
    groups: set[int] = set()
    names: dict[str, Vector] = {}
    interfaces = vm.body.vectors("NIC")
    for number, nic in enumerate(interfaces):
        nic["NIC_ID"] = str(number)
        mode = nic.get("NETWORK_MODE", "").upper()
        if mode != "AUTO":
            for key, value in default.items():
                nic.setdefault(key, value)
        if mode == "DUMMY":
            nic["MAC"] = nic.get("MAC") or random_mac()
        elif mode != "AUTO":
            _join(cloud, vm, nic)
            groups |= id_set(nic.get("SECURITY_GROUPS", ""))
        nic["NAME"] = nic.get("NAME") or f"NIC{number}"
        names[nic["NAME"]] = nic
    aliases: dict[str, int] = {}
    for number, alias in enumerate(vm.body.vectors("NIC_ALIAS"), start=len(interfaces)):
        parent = names.get(alias.get("PARENT", ""))
        if parent is None:
            raise not_allocated(f"NIC named {alias.get('PARENT', '')} not found for alias")
        position = aliases.setdefault(parent["NAME"], 0)
        aliases[parent["NAME"]] += 1
        alias.update(NIC_ID=str(number), PARENT_ID=parent["NIC_ID"], ALIAS_ID=str(position))
        _join(cloud, vm, alias)
        groups |= id_set(alias.get("SECURITY_GROUPS", ""))
        alias["NAME"] = alias.get("NAME") or f"{parent['NAME']}_ALIAS{position}"
        parent["ALIAS_IDS"] = ",".join(filter(None, (parent.get("ALIAS_IDS"), str(number))))
    for oid in sorted(groups):
        group = cloud.pool(SecurityGroup).find(oid)
        if group is not None:
            group.vms.add(vm.id)
            for rule in group.rules():
                _add_rule(cloud, vm, rule)


def _join(cloud: Cloud, vm: VirtualMachine, nic: Vector) -> None:
    named = nic.get("NETWORK_ID")
    if not named and not nic.get("NETWORK"):
        return
    network = network_of(cloud, nic, vm.uid)
    if network is None and named:
        raise not_allocated(f"Virtual network with ID: {named} does not exist")
    if network is None:
        owner = _owner(cloud, nic, "NETWORK", vm.uid)
        raise not_allocated(
            f"User {owner} does not own a network with name: {nic['NETWORK']} "
            ". Set NETWORK_UNAME or NETWORK_UID of owner in NIC."
        )
    if not network.join_nic(nic, vm.id):
        raise not_allocated(f"Cannot get IP/MAC lease from virtual network {network.id}.")


def _add_rule(cloud: Cloud, vm: VirtualMachine, rule: Vector) -> None:
    """Add a rule of a security group; one about a network becomes one for each of its address ranges."""
    oid = integer(rule.get("NETWORK_ID"))
    if oid is None:
        vm.body.add("SECURITY_GROUP_RULE", rule)
        return
    network = cloud.pool(VirtualNetwork).find(oid)
    for found in network.ranges.values() if network else ():
        of_range = {name: found.attributes[name] for name in ("IP", "MAC", "SIZE") if found.attributes.get(name)}
        vm.body.add("SECURITY_GROUP_RULE", Vector(rule, **of_range))


# Disks


def _attach_disks(cloud: Cloud, vm: VirtualMachine) -> None:
    """Take the images of the disks, and name the devices."""
    disks = vm.template.vectors("DISK")
    vm.template.erase("DISK")
    prefixes: list[tuple[str, Vector, ImageType]] = []
    for number, disk in enumerate(disks):
        disk.pop("TM_MAD_SYSTEM", None)
        try:
            kind = _attach(cloud, vm, disk)
        except Refusal as refusal:
            raise not_allocated(f"DISK {number}: {refusal.text}") from refusal
        disk["DISK_ID"] = str(number)
        vm.body.add("DISK", disk)
        prefixes.append((disk.get("DEV_PREFIX", ""), disk, kind))
    _name_devices(vm, prefixes)


def _attach(cloud: Cloud, vm: VirtualMachine, disk: Vector) -> ImageType:
    oid = integer(disk.get("IMAGE_ID"))
    if oid is None and "IMAGE" not in disk:
        return _make_volatile(disk)
    image = image_of(cloud, disk, vm.uid)
    if image is None and oid is not None:
        raise not_allocated(f"Image with ID: {oid} does not exist")
    if image is None:
        owner = _owner(cloud, disk, "IMAGE", vm.uid)
        raise not_allocated(
            f"User {vm.uid if owner is None else owner} does not own an image with name: {disk['IMAGE']} "
            ". Set IMAGE_UNAME or IMAGE_UID of owner in DISK."
        )
    _check_size(disk, image)
    image.acquire(vm.id)
    # release_images finds what was taken by the disk's IMAGE_ID, in the body.
    image.describe(disk, cloud.pool(Datastore).find(image.datastore_id))
    return image.type


def _check_size(disk: Vector, image: Image) -> None:
    size = disk_mb(disk)
    if not disk.get("SIZE") or integer(disk["SIZE"]) is None or size == image.size_mb:
        return
    for special, what in ((image.persistent, "persistent"), (image.type is ImageType.CDROM, "CDROM")):
        if special:
            raise not_allocated(f"SIZE attribute is not supported for {what} image [{image.id}].")
    if size < image.size_mb:
        raise not_allocated(f"SIZE of {size}MB is less than the image [{image.id}] size of {image.size_mb}MB.")


def _make_volatile(disk: Vector) -> ImageType:
    if not is_volatile(disk):
        raise not_allocated(f"Unknown disk type {disk.get('TYPE', '').upper()}")
    if disk_mb(disk) <= 0:
        raise not_allocated("SIZE attribute must be a positive integer value.")
    disk["DEV_PREFIX"] = disk.get("DEV_PREFIX") or DEFAULT_PREFIX
    return ImageType.DATABLOCK


def _name_devices(vm: VirtualMachine, disks: list[tuple[str, Vector, ImageType]]) -> None:
    """Name the devices: the first system disk, then CDs with the context among them, then the others."""
    used: set[str] = set()
    for _, disk, _ in disks:
        target = disk.get("TARGET")
        if target and target in used:
            raise not_allocated(f"Two disks have defined the same target {target}")
        used.add(target or "")
    free = [(prefix, disk, kind) for prefix, disk, kind in disks if not disk.get("TARGET")]
    systems = [(prefix, disk) for prefix, disk, kind in free if kind is ImageType.OS]
    drives = [(prefix or "hd", disk) for prefix, disk, kind in free if kind is ImageType.CDROM]
    first = systems[:1]
    later = {ImageType.OS, ImageType.DATABLOCK}
    others = [(prefix, disk) for prefix, disk, kind in free if kind in later and (prefix, disk) not in first]
    found = vm.body.vector("CONTEXT")
    if found is not None:
        found["DISK_ID"] = str(len(disks))
        if found.get("TARGET") in used - {""}:
            raise not_allocated(f"Two disks have defined the same target {found['TARGET']}")
        if not found.get("TARGET"):
            drives.append((found.get("DEV_PREFIX") or "hd", found))
    for prefix, disk in (*first, *drives, *others):
        disk["TARGET"] = next(name for name in _devices(prefix) if name not in used)
        used.add(disk["TARGET"])


def _devices(prefix: str) -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [prefix + letter for letter in letters] + [prefix + a + b for a in letters for b in letters]


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
