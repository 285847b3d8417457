"""Virtual routers: `one.vrouter.*`, `one.vrouterpool.info` (VirtualRouterAPI.cc)."""

import attrs

from opennebula_tenancy.emulator import (
    driving,
    lifecycle,
    limits,
    nic_calls,
    nics,
    sharing,
    starting,
    verbs,
    vmbuild,
    vmtemplates,
    vrouters,
)
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.errors import Refusal, action, internal
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.rules import Permissions
from opennebula_tenancy.emulator.state import Cloud, name_problem
from opennebula_tenancy.emulator.syntax import parsed
from opennebula_tenancy.emulator.template import Template, Vector
from opennebula_tenancy.emulator.vms import VirtualMachine, image_storage
from opennebula_tenancy.emulator.vmstates import LcmState, VmState
from opennebula_tenancy.emulator.vrouters import VirtualRouter


def _restricted(cloud: Cloud) -> frozenset[str]:
    """Attributes of NICs that only administrators may set."""
    return cloud.config.restricted.get(Kind.VM, {}).get("NIC", frozenset())


@method("one.vrouter.allocate", Kind.VROUTER, Right.CREATE)
def allocate(call: Call, text: str) -> int:
    """Allocates a new virtual router. Other routers may have its name."""
    cloud = call.cloud
    template = parsed(text)
    vmbuild.name_networks(cloud, template, call.uid)
    call.authorize(
        (Right.CREATE, call.may_create(Kind.VROUTER)),
        *vmbuild.uses(cloud, template, call.uid),
    )
    # oned forgets to count out what it counted for a router that it then does not make.
    limits.charge(cloud, vrouters.charge_of(template.vectors("NIC")), call.uid, call.gid)
    name = template.take("NAME") or ""
    problem = name_problem(name)
    if problem is not None:
        raise internal(problem)
    pool = cloud.pool(VirtualRouter)
    router = VirtualRouter(
        id=pool.next_id,
        name=name,
        uid=call.uid,
        gid=call.gid,
        uname=call.uname,
        gname=call.gname,
        permissions=call.new_permissions(),
        template=template,
    )
    wanted = template.vectors("NIC")
    template.erase("NIC")
    try:
        for number, nic in enumerate(wanted):
            _add_nic(cloud, router, nic, number)
        if not template.storable:
            raise internal("Error transforming the VirtualRouter to XML.")
    except (nics.NicError, Refusal) as error:
        for nic in router.nics:
            router.release(cloud, nic)
        raise internal(error.text if isinstance(error, Refusal) else str(error)) from error
    return pool.add(router).id


def _add_nic(cloud: Cloud, router: VirtualRouter, nic: Vector, number: int) -> Vector:
    """Add a NIC to a router.

    Raises:
        NicError: It cannot be.
    """
    nic["NIC_ID"] = str(number)
    if nic.get("NETWORK_MODE", "").upper() == "AUTO":
        raise nics.NicError("Virtual Router is incompatible with auto mode")
    network = nics.named_network(cloud, nic, router.uid)
    if network is not None and not network.join_router_nic(nic, router.id):
        raise nics.NicError(f"Cannot get IP/MAC lease from virtual network {network.id}.")
    made = vrouters.prepared(nic, _restricted(cloud))
    router.template.add("NIC", made)
    return made


@method("one.vrouter.info", Kind.VROUTER, Right.USE, ignores_lock=True)
def info(call: Call, oid: int, decrypt: bool = False) -> str:  # noqa: ARG001 - nothing is encrypted here
    """Returns virtual router information."""
    return verbs.info(call, VirtualRouter, oid)


@method("one.vrouterpool.info", Kind.VROUTER)
def pool_info(call: Call, flag: int, start: int, end: int) -> str:
    """Returns the virtual router pool."""
    bodies = (router.xml(call.cloud) for router in call.visible(VirtualRouter, flag, start, end))
    return verbs.pool_xml("VROUTER_POOL", bodies)


# Owners and permissions


def _chown(call: Call, kind: type[VirtualRouter], oid: int, uid: int, gid: int) -> None:
    """Give a router and its VMs to others. The VMs are counted in their quotas, the router's own leases are not."""
    router, uid, gid = verbs.check_owners(call, kind, oid, uid, gid)
    verbs.set_owners(call, router, uid, gid)
    for vm_id in sorted(router.vms):
        vm = call.cloud.pool(VirtualMachine).get(vm_id)
        taken = attrs.evolve(vm.charge(), storage=image_storage(vm.body))
        limits.charge(call.cloud, taken, uid, gid)
        limits.discharge(call.cloud, taken, vm.uid if uid != -1 else -1, vm.gid if gid != -1 else -1)
        verbs.set_owners(call, vm, uid, gid)


# Names need not be unique, yet oned refuses to give a router to a user who has one of that name.
sharing.declare("vrouter", VirtualRouter, chown=_chown, with_chmod=False, unique_names=False)


@method("one.vrouter.chmod", Kind.VROUTER, Right.MANAGE)
def chmod(  # noqa: PLR0917 - the protocol's signature
    call: Call,
    oid: int,
    owner_u: int,
    owner_m: int,
    owner_a: int,
    group_u: int,
    group_m: int,
    group_a: int,
    other_u: int,
    other_m: int,
    other_a: int,
) -> int:
    """Changes permissions; -1 keeps one.

    oned means to change the VMs too, but looks for routers with their ids: where there is none, the call fails.
    """
    bits = Permissions(owner_u, owner_m, owner_a, group_u, group_m, group_a, other_u, other_m, other_a)
    router = verbs.chmod(call, VirtualRouter, oid, bits)
    last: Refusal | None = None
    for vm_id in sorted(router.vms):
        try:
            verbs.chmod(call, VirtualRouter, vm_id, bits)
        except Refusal as refusal:
            last = refusal
    if last is not None:
        raise last
    return oid


# VMs


@method("one.vrouter.instantiate", Kind.VROUTER, Right.MANAGE)
def instantiate(  # noqa: PLR0917 - the protocol's signature
    call: Call, oid: int, count: int, template_id: int, name: str, hold: bool, text: str
) -> int:
    """Instantiates VMs of a virtual router from a template for such; its NICs replace those of the template."""
    cloud = call.cloud
    router = cloud.pool(VirtualRouter).get(oid)
    if template_id == -1:
        known = router.template.integer("TEMPLATE_ID")
        if known is None:
            raise action("A template ID was not provided, and the virtual router does not have a default one")
        template_id = known
    call.authorize((Right.MANAGE, router))
    source = cloud.pool(vmtemplates.VmTemplate).get(template_id)
    if not source.is_for_routers:
        raise action("Only virtual router templates are allowed")
    made: list[int] = []
    for number in range(count):
        vm_name = (name or f"vr-{router.name}-%i").replace("%i", str(number))
        more = router.vm_template(_restricted(cloud))
        try:
            made.append(vmtemplates.instantiate_as(call, source, vm_name, text, hold=True, more=more))
        except Refusal:
            for vm_id in made:
                lifecycle.finish(cloud, cloud.pool(VirtualMachine).get(vm_id))
            raise
        # The second VM is made by who the first was made as.
        asked = source.template.copy()
        asked.merge(parsed(text))
        call = vmtemplates.acting_as(call, asked)
    router.vms |= set(made)
    router.template.set("TEMPLATE_ID", str(template_id))
    for vm in map(cloud.pool(VirtualMachine).get, made if not hold else ()):
        if vm.state is VmState.HOLD:
            vm.move_to(VmState.PENDING)
            starting.await_place(cloud, vm)
    return oid


@method("one.vrouter.attachnic", Kind.VROUTER, Right.MANAGE)
def attach_nic(call: Call, oid: int, text: str) -> int:
    """Attaches a new network interface to the virtual router and its VMs."""
    cloud = call.cloud
    template = parsed(text)
    router = cloud.pool(VirtualRouter).get(oid)
    vmbuild.name_networks(cloud, template, call.uid)
    call.authorize((Right.MANAGE, router), *vmbuild.uses(cloud, template, call.uid))
    asked = template.vectors("NIC")
    taken = vrouters.charge_of(asked + template.vectors("NIC_ALIAS"))
    limits.charge(cloud, taken, router.uid, router.gid)
    try:
        if "NIC_ALIAS" in template:
            raise action("Alias can't be attached to virtual router.")
        if len(asked) != 1:
            raise action("The template must contain one NIC attribute")
        try:
            nic = _add_nic(cloud, router, asked[0], router.next_nic_id)
        except nics.NicError as problem:
            raise action(str(problem)) from problem
    except Refusal:
        limits.discharge(cloud, taken, router.uid, router.gid)
        raise
    for vm_id in sorted(router.vms):
        vm = cloud.pool(VirtualMachine).get(vm_id)
        try:
            nic_calls.attach(call, vm, Template([("NIC", Vector(nic))]))
        except Refusal as refusal:
            # The router keeps the NIC, and so do the VMs before this one.
            raise action(refusal.text) from refusal
    return oid


@method("one.vrouter.detachnic", Kind.VROUTER, Right.MANAGE)
def detach_nic(call: Call, oid: int, nic_id: int) -> int:
    """Detaches a network interface from a virtual router and its VMs."""
    cloud = call.cloud
    router = cloud.pool(VirtualRouter).get(oid)
    call.authorize((Right.MANAGE, router))
    nic = router.nic(nic_id)
    if nic is None:
        raise action(f"NIC with NIC_ID {nic_id} does not exist.")
    router.release(cloud, nic)
    kept = [found for found in router.nics if found is not nic]
    router.template.erase("NIC")
    for found in kept:
        router.template.add("NIC", found)
    limits.discharge(cloud, vrouters.charge_of([nic]), router.uid, router.gid)
    for vm_id in sorted(router.vms):
        nic_calls.detach(call, cloud.pool(VirtualMachine).get(vm_id), nic_id)
    return oid


def _shut_down(cloud: Cloud, vm: VirtualMachine) -> None:
    """Terminate a VM whatever it is at."""
    if vm.state in {VmState.PENDING, VmState.HOLD, VmState.CLONING, VmState.CLONING_FAILURE}:
        lifecycle.finish(cloud, vm)
    elif vm.state is VmState.ACTIVE and vm.lcm not in {LcmState.RUNNING, LcmState.UNKNOWN, LcmState.SHUTDOWN}:
        driving.soon(cloud, lambda: lifecycle.discard(cloud, vm))
    elif vm.state is not VmState.DONE:
        driving.soon(cloud, lambda: lifecycle.terminate(cloud, vm, hard=True))


@method("one.vrouter.delete", Kind.VROUTER, Right.MANAGE)
def delete(call: Call, oid: int) -> int:
    """Deletes a virtual router. Its VMs go after it, and keep their leases until they are DONE."""
    cloud = call.cloud

    def drop(router: VirtualRouter) -> None:
        cloud.pool(VirtualRouter).remove(router)
        for nic in router.nics:
            router.release(cloud, nic)
        limits.discharge(cloud, vrouters.charge_of(router.nics), router.uid, router.gid)
        for vm_id in sorted(router.vms):
            _shut_down(cloud, cloud.pool(VirtualMachine).get(vm_id))

    return verbs.delete(call, VirtualRouter, oid, drop)
