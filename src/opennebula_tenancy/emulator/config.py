"""What oned.conf decides."""

from collections.abc import Mapping

import attrs

from opennebula_tenancy.emulator.kinds import Kind
from opennebula_tenancy.emulator.template import Restricted, restricted


_DISK_SPEEDS = tuple(
    f"{what}_{unit}_SEC{suffix}"
    for what in ("TOTAL", "READ", "WRITE")
    for unit in ("BYTES", "IOPS")
    for suffix in ("", "_MAX_LENGTH", "_MAX")
)
_NIC_SPEEDS = tuple(f"{way}_{what}" for way in ("INBOUND", "OUTBOUND") for what in ("AVG_BW", "PEAK_BW", "PEAK_KB"))
_VM = restricted(
    (
        "CONTEXT/FILES",
        *(f"NIC/{key}" for key in ("MAC", "VLAN_ID", "BRIDGE", "FILTER", "FILTER_IP_SPOOFING", "FILTER_MAC_SPOOFING")),
        *(f"NIC/{key}" for key in (*_NIC_SPEEDS, "OPENNEBULA_MANAGED", "EXTERNAL", "VLAN_TAGGED_ID")),
        *(f"NIC_ALIAS/{key}" for key in ("MAC", "VLAN_ID", "BRIDGE", *_NIC_SPEEDS, "OPENNEBULA_MANAGED")),
        *(f"NIC_DEFAULT/{key}" for key in ("MAC", "VLAN_ID", "BRIDGE", "FILTER", "EXTERNAL")),
        *(
            f"DISK/{key}"
            for key in (*_DISK_SPEEDS, "SIZE_IOPS_SEC", "OPENNEBULA_MANAGED", "ORIGINAL_SIZE", "SIZE_PREV")
        ),
        *("DEPLOY_ID", "CPU_COST", "MEMORY_COST", "DISK_COST", "PCI", "EMULATOR", "RAW/DATA", "USER_PRIORITY"),
        *("USER_INPUTS/CPU", "USER_INPUTS/MEMORY", "USER_INPUTS/VCPU"),
        *("TOPOLOGY/PIN_POLICY", "TOPOLOGY/HUGEPAGE_SIZE"),
    )
)

_RESTRICTED: Mapping[Kind, Restricted] = {
    Kind.USER: restricted(("VM_USE_OPERATIONS", "VM_MANAGE_OPERATIONS", "VM_ADMIN_OPERATIONS")),
    Kind.GROUP: restricted(("VM_USE_OPERATIONS", "VM_MANAGE_OPERATIONS", "VM_ADMIN_OPERATIONS")),
    Kind.VM: _VM,
    Kind.TEMPLATE: _VM,
    Kind.IMAGE: restricted(("SOURCE",)),
    Kind.NET: restricted(
        (
            *("VN_MAD", "PHYDEV", "QINQ_TYPE", "BRIDGE", "CONF", "BRIDGE_CONF", "OVS_BRIDGE_CONF", "IP_LINK_CONF"),
            *("FILTER", "FILTER_IP_SPOOFING", "FILTER_MAC_SPOOFING", "CLUSTER_IDS", "EXTERNAL"),
            *(f"AR/{key}" for key in ("VN_MAD", "PHYDEV", "BRIDGE", "FILTER")),
            *("AR/FILTER_IP_SPOOFING", "AR/FILTER_MAC_SPOOFING"),
        )
    ),
}
"""The restricted attributes of a stock oned.conf."""


@attrs.frozen(kw_only=True)
class Config:
    """The settings of oned.conf that change what clients see. The defaults are those of a stock 7.4.0.

    Attributes:
        version: What `one.system.version` answers.
        default_vdc_host_acl: Rights on a host added to a VDC, `-` for none. So for the next five.
        default_vdc_vnet_acl: Rights on a network added to a VDC.
        default_vdc_datastore_acl: Rights on a datastore added to a VDC.
        default_vdc_cluster_host_acl: Rights on the hosts of a cluster added to a VDC.
        default_vdc_cluster_net_acl: Rights on the networks of a cluster added to a VDC. The stock value opens every
            network of the cluster to the tenant.
        default_vdc_cluster_datastore_acl: Rights on the datastores of a cluster added to a VDC.
        default_umask: Octal permissions that new objects lack.
        enable_other_permissions: Whether users may open objects to everyone.
        descending: Whether pools list the highest id first (API_LIST_ORDER).
        max_token_s: The longest life of a login token, in seconds; -1 has no bound, 0 disables tokens.
        restricted: Attributes that only administrators may set, by kind.
        host_cpu: Cores of a dummy host, in hundredths.
        host_memory_kb: Memory of a dummy host, in KB.
        live_resize: Whether the virtualization driver resizes running VMs, as kvm does (LIVE_RESIZE).
        onegate_endpoint: Where VMs with TOKEN=YES in their CONTEXT find OneGate (ONEGATE_ENDPOINT); empty: such VMs are
            refused. When None it is empty, but a populated cloud has one.
        step_s: Seconds that one step of asynchronous work takes, e.g. a network becoming ready.
    """

    version: str = "7.4.0"
    default_vdc_host_acl: str = "MANAGE"
    default_vdc_vnet_acl: str = "USE"
    default_vdc_datastore_acl: str = "USE"
    default_vdc_cluster_host_acl: str = "MANAGE"
    default_vdc_cluster_net_acl: str = "USE"
    default_vdc_cluster_datastore_acl: str = "USE"
    default_umask: int = 0o177
    enable_other_permissions: bool = True
    descending: bool = True
    max_token_s: int = -1
    restricted: Mapping[Kind, Restricted] = attrs.field(factory=lambda: dict(_RESTRICTED))
    host_cpu: int = 800
    host_memory_kb: int = 16777216
    live_resize: bool = False
    onegate_endpoint: str | None = None
    step_s: float = 0.01
