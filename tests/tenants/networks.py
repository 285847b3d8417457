"""Tenants with a network of their own, on the populated embedded server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

import opennebula_tenancy as ont
from opennebula_tenancy.emulator import Config, Emulator
from tenants.pace import QUICK


if TYPE_CHECKING:
    import xml.etree.ElementTree as ET

    from tenants.raw import Raw


PROVIDER = 0
"""The id of the network that routers lead to."""
ROUTER_TEMPLATE = 8
POLLS = frozenset({"one.vn.info", "one.vrouter.info", "one.vm.info"})
"""The calls that are sent again and again while the library waits."""
KEY = "key-of-acme"
SSH = ont.SecurityRule("inbound", "tcp", ports="22")
PING = ont.SecurityRule("inbound", "icmp", icmp_type=8)


def network(**changes: Any) -> ont.NetworkSpec:
    """The network of a tenant."""
    asked: dict[str, Any] = {
        "external_network": PROVIDER,
        "router_template": ROUTER_TEMPLATE,
        "rules": (SSH, PING),
        "timeout_s": 60,
    }
    return ont.NetworkSpec(**asked | changes)


def tenant(name: str = "acme", **changes: Any) -> ont.VdcSpec:
    """A tenant with a network, in one cluster."""
    quota = ont.Quota(cpu=4, memory_mb=4096, storage_mb=20480, floating_ips=2)
    asked: dict[str, Any] = {
        "name": name,
        "key": f"key-of-{name}",
        "clusters": (0,),
        "quota": quota,
        "network": network(),
    }
    return ont.VdcSpec(**asked | changes)


def new_server() -> Emulator:
    """A server whose asynchronous work is done at the next call."""
    return Emulator(populated=True, config=Config(step_s=0))


def connect(server: Any, **options: Any) -> ont.Cloud:
    return ont.connect(server.endpoint, server.auth, **{"retry": QUICK, **options})


def mutations(sent: list[ont.CallRecord]) -> list[str]:
    """The methods that were called and that change something."""
    return [record.method for record in sent if record.mutates]


def router_machines(admin: Raw, key: str = KEY) -> list[ET.Element]:
    """The machines of a tenant's router that are not terminated, the oldest first."""
    pool = admin.xml("one.vmpool.infoextended", -2, -1, -1, -1)
    found = (vm for vm in pool if vm.findtext("USER_TEMPLATE/TENANCY_KEY") == key)
    return sorted(found, key=lambda vm: int(vm.findtext("ID") or ""))


def with_network(**changes: Any) -> ont.VdcSpec:
    """The tenant with a network that is not the usual one."""
    return attrs.evolve(tenant(), network=network(**changes))


def own(vdc: ont.Vdc) -> ont.Network:
    """The network of a tenant, which has one."""
    found = vdc.network
    assert found is not None
    return found


def gate(vdc: ont.Vdc) -> ont.Router:
    """The router of a tenant, which has one."""
    found = vdc.router
    assert found is not None
    return found


def machine(member: Raw, network_id: int, name: str = "web") -> int:
    """A VM that a member of a tenant makes in a network."""
    template = member("one.template.allocate", f"NAME={name}\nCPU=0.1\nMEMORY=64")
    return int(member("one.template.instantiate", template, name, False, f'NIC=[NETWORK_ID="{network_id}"]', False))
