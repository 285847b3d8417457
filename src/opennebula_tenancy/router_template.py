"""What a tenant's virtual router is made of, for the Service Virtual Router of OpenNebula's marketplace.

Its functions are told what to do by attributes of the machine's CONTEXT, as the documentation of the appliance names
them (one-apps, `vr_nat4`, `vr_sdnat4`, `vr_dhcp4v2`, `vr_dns`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opennebula_tenancy import ownership
from opennebula_tenancy.network_calls import ROUTER_VM_ROLE
from opennebula_tenancy.networking import NAME_SERVERS
from opennebula_tenancy.scheduling import both, in_clusters


if TYPE_CHECKING:
    from opennebula_tenancy._wire.template import Template
    from opennebula_tenancy._wire.vm_template_records import VmTemplateRecord
    from opennebula_tenancy.network_spec import NetworkSpec
    from opennebula_tenancy.subnet import Subnet
    from opennebula_tenancy.vdc_spec import VdcSpec


INTERNAL, EXTERNAL = "eth0", "eth1"
"""The router's interfaces, in the order of its NICs."""
_ALLOW_ALL = "0"
"""The security group that lets everything pass: what a tenant's rules drop is dropped at its machines, and not at the
router, which other traffic goes through."""


def router_nics(spec: NetworkSpec, network_id: int, subnet: Subnet) -> list[dict[str, str]]:
    """The NICs of the router: the gateway of the tenant's network, and one in the external network.

    Args:
        spec: What is asked for.
        network_id: The tenant's network.
        subnet: Its subnet.

    Returns:
        The vectors, in the order of `INTERNAL` and `EXTERNAL`.
    """
    floating = {"FLOATING_IP": "YES"} if spec.is_shared else {}
    internal = {"NETWORK_ID": str(network_id), "IP": str(subnet.gateway), "SECURITY_GROUPS": _ALLOW_ALL, **floating}
    return [internal, {"NETWORK_ID": str(spec.external_network), **floating}]


def router_extra(tenant: VdcSpec, spec: NetworkSpec, template: VmTemplateRecord) -> Template:
    """What a machine of the router has besides what its template says.

    A CONTEXT given here replaces the template's as a whole: what the template says there is repeated.

    Args:
        tenant: The tenant.
        spec: What is asked for as its network.
        template: The template.

    Returns:
        The attributes.
    """
    own = {name: value.strip() for name, value in template.context.items() if value.strip()}
    requirements = placement(tenant, spec, template)
    return {
        **ownership.mark(tenant.key, ROUTER_VM_ROLE),
        "CONTEXT": {"NETWORK": "YES", **own, **_functions(spec)},
        **({"SCHED_REQUIREMENTS": requirements} if requirements else {}),
    }


def placement(tenant: VdcSpec, spec: NetworkSpec, template: VmTemplateRecord) -> str:
    """Where a machine of the router may run, as an expression of the scheduler; empty where it may anywhere.

    Args:
        tenant: The tenant.
        spec: What is asked for as its network.
        template: The template.
    """
    clusters = in_clusters(tenant.clusters) if tenant.clusters is not None else ""
    return spec.sched_requirements or both(template.attributes.get("SCHED_REQUIREMENTS", ""), clusters)


def name_servers(spec: NetworkSpec) -> dict[str, str]:
    """What the machines of the router are told of name servers; nothing where none are asked for."""
    return {NAME_SERVERS: spec.dns, "ONEAPP_VNF_DNS_USE_ROOTSERVERS": "NO"} if spec.dns else {}


def _functions(spec: NetworkSpec) -> dict[str, str]:
    """The functions of the appliance: routing, NAT, floating IPs, DHCP and DNS."""
    return {
        "ONEAPP_VNF_ROUTER4_ENABLED": "YES",
        "ONEAPP_VNF_ROUTER4_INTERFACES": f"{INTERNAL} {EXTERNAL}",
        "ONEAPP_VNF_NAT4_ENABLED": "YES",
        "ONEAPP_VNF_NAT4_INTERFACES_OUT": EXTERNAL,
        "ONEAPP_VNF_SDNAT4_ENABLED": "YES",
        "ONEAPP_VNF_SDNAT4_INTERFACES": f"{EXTERNAL} {INTERNAL}",
        "ONEAPP_VNF_DHCP4_ENABLED": "YES",
        "ONEAPP_VNF_DHCP4_INTERFACES": INTERNAL,
        "ONEAPP_VNF_DNS_ENABLED": "YES",
        "ONEAPP_VNF_DNS_INTERFACES": INTERNAL,
        **name_servers(spec),
        **({"ONEAPP_VNF_KEEPALIVED_ENABLED": "YES"} if spec.is_shared else {}),
    }
