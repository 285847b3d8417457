"""The nouns of the API: importing their modules declares their methods; here a new cloud gets what each begins with."""

import attrs

from opennebula_tenancy.emulator import (
    acls,
    address_calls,
    backupjobs,
    clusters,
    datastores,
    documents,
    groups,
    hosts,
    image_calls,
    images,
    network_calls,
    networks,
    nic_calls,
    nic_groups,
    recovery,
    reservations,
    secgroup_calls,
    secgroups,
    system,
    users,
    vdcs,
    vm_actions,
    vm_calls,
    vm_configuration,
    vm_disk_calls,
    vm_sizes,
    vmgroups,
    vmtemplates,
    vrouter_calls,
    zones,
)
from opennebula_tenancy.emulator.config import Config
from opennebula_tenancy.emulator.rules import Permissions
from opennebula_tenancy.emulator.state import Cloud
from opennebula_tenancy.emulator.template import Template, Vector


NOUNS = (
    *(groups, users, acls, zones, clusters, hosts, datastores, vdcs, system),
    *(
        secgroup_calls,
        image_calls,
        network_calls,
        address_calls,
        reservations,
        vmtemplates,
        vm_calls,
        nic_calls,
        nic_groups,
    ),
    *(vm_actions, vm_configuration, vm_disk_calls, vm_sizes, recovery),
    *(vmgroups, vrouter_calls, backupjobs, documents),
)
"""The modules that declare methods. What a noun has in a new cloud is made in this order."""

_BOOTSTRAPS = (
    groups.bootstrap,
    users.bootstrap,
    acls.bootstrap,
    zones.bootstrap,
    clusters.bootstrap,
    datastores.bootstrap,
    vdcs.bootstrap,
    secgroups.bootstrap,
)


_IMAGE_DATASTORE_ID = 1
_ONEGATE = "http://127.0.0.1:5030"
ROUTER_TEMPLATE_ID = 8
"""The template for virtual routers of a populated cloud."""


def new_cloud(config: Config) -> Cloud:
    """A cloud as a server finds it after its first start."""
    cloud = Cloud(config)
    for bootstrap in _BOOTSTRAPS:
        bootstrap(cloud)
    cloud.settle()
    return cloud


def populate(cloud: Cloud) -> None:
    """Add what a small cloud has: dummy drivers, hosts in clusters 0 and 100, and what to build VMs of.

    That is an image of 2048 MB, a VM template with it (1 core, 512 MB), a template for virtual routers (id 8, half a
    core, 256 MB), and a network of 20 addresses in both clusters from which tenants get their floating addresses. VMs
    can ask for tokens of OneGate, as virtual routers have to, unless the configuration says that there is none.
    """
    if cloud.config.onegate_endpoint is None:
        cloud.config = attrs.evolve(cloud.config, onegate_endpoint=_ONEGATE)
    for oid in (0, 1, 2):
        datastores.use_dummy_drivers(cloud, oid)
    for number in range(3):
        hosts.create(cloud, f"dummy{number}", "dummy", "dummy", clusters.DEFAULT_CLUSTER_ID)
    second = clusters.create(cloud, "c100")
    for name, kind in (("c100-images", "IMAGE_DS"), ("c100-system", "SYSTEM_DS")):
        datastores.create(cloud, name, kind, second.id, driver="dummy")
    hosts.create(cloud, "dummy3", "dummy", "dummy", second.id)
    _add_building_blocks(cloud, (clusters.DEFAULT_CLUSTER_ID, second.id))
    cloud.settle()


def _add_building_blocks(cloud: Cloud, cluster_ids: tuple[int, ...]) -> None:
    image = images.Image(
        template=Template([("NAME", "debian-12"), ("TYPE", "OS"), ("PATH", "/var/tmp/debian-12.qcow2")]),  # noqa: S108
        size_mb=images.REGISTERED_MB,
        permissions=Permissions(group_u=1, other_u=1),
        uname="oneadmin",
        gname="oneadmin",
    )
    images.create(cloud, image, cloud.pool(datastores.Datastore).get(_IMAGE_DATASTORE_ID))
    size = [("NAME", "debian-12"), ("CPU", "1"), ("MEMORY", "512")]
    disk = [("DISK", Vector(IMAGE_ID=str(image.id))), ("CONTEXT", Vector(NETWORK="YES"))]
    vmtemplates.create(
        cloud,
        vmtemplates.VmTemplate(
            uname="oneadmin",
            gname="oneadmin",
            template=Template([*size, *disk]),
            permissions=Permissions(group_u=1, other_u=1),
        ),
    )
    _add_router_template(cloud, image.id)
    network = networks.VirtualNetwork(
        template=Template(
            [
                ("NAME", "provider"),
                ("VN_MAD", "dummy"),
                ("BRIDGE", "br0"),
                ("AR", Vector(TYPE="IP4", IP="203.0.113.10", SIZE="20")),
                ("NETWORK_ADDRESS", "203.0.113.0"),
                ("NETWORK_MASK", "255.255.255.0"),
                ("GATEWAY", "203.0.113.1"),
                ("DNS", "203.0.113.1"),
            ]
        ),
        uname="oneadmin",
        gname="oneadmin",
    )
    networks.create(cloud, network, cluster_ids)


def _add_router_template(cloud: Cloud, image_id: int) -> None:
    context = Vector(NETWORK="YES", TOKEN="YES", SSH_PUBLIC_KEY="$USER[SSH_PUBLIC_KEY]")
    context["START_SCRIPT"] = "sysctl -w vm.swappiness=10"
    text = [("NAME", "router"), ("VROUTER", "YES"), ("CPU", "0.5"), ("MEMORY", "256")]
    made = vmtemplates.VmTemplate(
        uname="oneadmin",
        gname="oneadmin",
        template=Template([*text, ("DISK", Vector(IMAGE_ID=str(image_id))), ("CONTEXT", context)]),
        permissions=Permissions(group_u=1, other_u=1),
    )
    cloud.pool(vmtemplates.VmTemplate).next_id = ROUTER_TEMPLATE_ID
    vmtemplates.create(cloud, made)
