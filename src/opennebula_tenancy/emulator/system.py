"""The system: `one.system.version`, `one.system.config` (SystemAPI.cc)."""

from opennebula_tenancy.emulator.calls import ONEADMIN_ID, Call, method
from opennebula_tenancy.emulator.datastores import LOCATION
from opennebula_tenancy.emulator.drivers import DATASTORE_DRIVERS, NETWORK_DRIVERS, TRANSFER_DRIVERS
from opennebula_tenancy.emulator.kinds import Kind
from opennebula_tenancy.emulator.template import Restricted, Template, Vector


@method("one.system.version")
def version(call: Call) -> str:
    """Returns the version of OpenNebula."""
    return call.cloud.config.version


def _paths(restricted: Restricted) -> list[str]:
    return [f"{name}/{key}" if key else name for name, keys in restricted.items() for key in sorted(keys) or [""]]


@method("one.system.config")
def configuration(call: Call) -> str:
    """Returns the configuration, of which this server has the part that clients can see the effects of."""
    config = call.cloud.config
    template = Template(
        [
            ("API_LIST_ORDER", "DESC" if config.descending else "ASC"),
            ("DATASTORE_CAPACITY_CHECK", "yes"),
            ("DATASTORE_LOCATION", LOCATION),
            ("DEFAULT_UMASK", f"{config.default_umask:o}"),
            ("DEFAULT_VDC_CLUSTER_DATASTORE_ACL", config.default_vdc_cluster_datastore_acl),
            ("DEFAULT_VDC_CLUSTER_HOST_ACL", config.default_vdc_cluster_host_acl),
            ("DEFAULT_VDC_CLUSTER_NET_ACL", config.default_vdc_cluster_net_acl),
            ("DEFAULT_VDC_DATASTORE_ACL", config.default_vdc_datastore_acl),
            ("DEFAULT_VDC_HOST_ACL", config.default_vdc_host_acl),
            ("DEFAULT_VDC_VNET_ACL", config.default_vdc_vnet_acl),
            ("ENABLE_OTHER_PERMISSIONS", "YES" if config.enable_other_permissions else "NO"),
            ("IM_MAD", Vector(ARGUMENTS="-c monitord.conf", EXECUTABLE="onemonitord", NAME="monitord", THREADS="8")),
            ("VM_MAD", Vector(EXECUTABLE="one_vmm_dummy", NAME="dummy", SUNSTONE_NAME="Testing", TYPE="xml")),
        ]
    )
    template.add("DB", Vector(BACKEND="sqlite" if call.gid == ONEADMIN_ID else "***", TIMEOUT="2500"))
    for name, driver in DATASTORE_DRIVERS.items():
        template.add("DS_MAD_CONF", Vector(driver, NAME=name))
    for name, driver in TRANSFER_DRIVERS.items():
        template.add("TM_MAD_CONF", Vector(driver, NAME=name))
    for name, bridge in NETWORK_DRIVERS.items():
        template.add("VN_MAD_CONF", Vector(BRIDGE_TYPE=bridge, NAME=name))
    names = {Kind.USER: "USER", Kind.GROUP: "GROUP", Kind.IMAGE: "IMAGE", Kind.VM: "VM", Kind.NET: "VNET"}
    for kind, prefix in names.items():
        for path in _paths(config.restricted.get(kind, {})):
            template.add(f"{prefix}_RESTRICTED_ATTR", path)
    return template.xml("OPENNEBULA_CONFIGURATION")
