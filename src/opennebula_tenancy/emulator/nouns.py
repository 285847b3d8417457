"""The nouns of the API: importing their modules declares their methods; here a new cloud gets what each begins with."""

from opennebula_tenancy.emulator import acls, clusters, datastores, groups, hosts, system, users, vdcs, zones
from opennebula_tenancy.emulator.config import Config
from opennebula_tenancy.emulator.state import Cloud


NOUNS = (groups, users, acls, zones, clusters, hosts, datastores, vdcs, system)
"""The modules that declare methods. What a noun has in a new cloud is made in this order."""

_BOOTSTRAPS = (
    groups.bootstrap,
    users.bootstrap,
    acls.bootstrap,
    zones.bootstrap,
    clusters.bootstrap,
    datastores.bootstrap,
    vdcs.bootstrap,
)


def new_cloud(config: Config) -> Cloud:
    """A cloud as a server finds it after its first start."""
    cloud = Cloud(config)
    for bootstrap in _BOOTSTRAPS:
        bootstrap(cloud)
    cloud.settle()
    return cloud


def populate(cloud: Cloud) -> None:
    """Add what a small cloud has: dummy drivers, three hosts in cluster 0, and a cluster 100 with a host of its own."""
    for oid in (0, 1, 2):
        datastores.use_dummy_drivers(cloud, oid)
    for number in range(3):
        hosts.create(cloud, f"dummy{number}", "dummy", "dummy", clusters.DEFAULT_CLUSTER_ID)
    second = clusters.create(cloud, "c100")
    for name, kind in (("c100-images", "IMAGE_DS"), ("c100-system", "SYSTEM_DS")):
        datastores.create(cloud, name, kind, second.id, driver="dummy")
    hosts.create(cloud, "dummy3", "dummy", "dummy", second.id)
    cloud.settle()
