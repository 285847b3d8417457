"""What a marketplace holds from the start: one provider with two offerings, one project, five people."""

from typing import Any

import attrs

from onetenant_waldur.marketplace.records import (
    BillingType,
    Component,
    Offering,
    Organisation,
    Plan,
    Project,
    Role,
    SshKey,
    User,
)
from onetenant_waldur.marketplace.state import State


VDC = "OpenNebula VDC"
VM = "OpenNebula VM"

VDC_OPTIONS: dict[str, Any] = {
    "zone_id": 0,
    "cluster_ids": [0, 100],
    "default_dns": "8.8.8.8",
    "vxlan_phydev": "eth0",
    "external_network_id": 10,
    "subnet_prefix_length": 24,
    "internal_network_base": "10.0.0.0",
    "internal_network_prefix": 8,
    "security_group_defaults": [
        {"range": "22:22", "protocol": "TCP", "direction": "INBOUND"},
        {"type": "8", "protocol": "ICMP", "direction": "INBOUND"},
    ],
    "virtual_router_template_id": 8,
}
VM_OPTIONS: dict[str, Any] = {
    "cluster_ids": [0],
    "template_id": 0,
    "sched_requirements": "",
    "parent_vdc_backend_id": "my-vdc-1",
}
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3Fv7YqjvQ3tGyJ8bq2mHk3v0G0rO9z3b0wG8s2pJ4d consumer@host"


@attrs.frozen
class Catalogue:
    """The records that a marketplace begins with."""

    provider: Organisation
    project: Project
    vdc: Offering
    vm: Offering
    people: dict[str, User]


def text_options(**labels: str) -> dict[str, Any]:
    """An order form with optional text fields: a label by the name of each."""
    fields = {name: {"type": "string", "label": label, "required": False} for name, label in labels.items()}
    return {"order": list(labels), "options": fields}


def fill(state: State) -> Catalogue:
    """Put the first records into an empty state."""
    people = {name: state.add_user(name, is_staff=name == "staff") for name in PEOPLE}
    provider = state.add_organisation("ON Provider", "ONP")
    state.grant(people["provider"], Role.OWNER, provider)
    vdc = state.add_offering(
        VDC,
        provider,
        [
            Component("cpu", "CPU", "cores"),
            Component("ram", "RAM", "MB"),
            Component("storage", "Storage", "MB"),
            Component("floating_ip", "Floating IP", "IPs"),
        ],
        plugin_options=VDC_OPTIONS,
        options=text_options(subnet_cidr="Internal Subnet CIDR"),
        description="OpenNebula VDC via site agent",
    )
    state.add_manager(people["manager"], vdc)
    vm = state.add_offering(
        VM,
        provider,
        [
            Component("vcpu", "vCPU", "cores", BillingType.FIXED),
            Component("vm_ram", "RAM", "MB", BillingType.FIXED),
            Component("vm_disk", "Disk", "MB", BillingType.FIXED),
        ],
        [
            Plan("Small", {"vcpu": 1, "vm_ram": 512, "vm_disk": 5120}),
            Plan("Medium", {"vcpu": 2, "vm_ram": 2048, "vm_disk": 10240}),
        ],
        plugin_options=VM_OPTIONS,
        options=text_options(
            ssh_public_key="SSH Public Key", template_id="Template ID", parent_vdc_backend_id="Parent VDC"
        ),
        description="OpenNebula VM via site agent",
    )
    state.add_manager(people["manager"], vm)
    project = state.add_project("Project One", state.add_organisation("Research Org"), "First project")
    state.grant(people["consumer"], Role.PROJECT_ADMIN, project)
    people["consumer"].keys.append(SshKey("laptop", PUBLIC_KEY))
    return Catalogue(provider, project, vdc, vm, people)


PEOPLE = ("staff", "provider", "manager", "consumer", "stranger")
"""Usernames, which are also the names of the roles: the operator of Waldur, the owner of the provider (what an agent
needs to be), a manager of its offerings, an administrator of the project, and somebody with no role at all."""
