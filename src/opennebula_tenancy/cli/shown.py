"""What answers say of a tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opennebula_tenancy.quota import Metric, Quota, Usage


if TYPE_CHECKING:
    from opennebula_tenancy.admin_credentials import Credentials
    from opennebula_tenancy.cli.output import Value
    from opennebula_tenancy.network import Network
    from opennebula_tenancy.router import Router
    from opennebula_tenancy.vdc import Vdc


def identity(vdc: Vdc) -> dict[str, Value]:
    """Which tenant it is."""
    return {"id": vdc.id, "vdc_id": vdc.vdc_id, "name": vdc.name, "key": vdc.key}


def figures(counted: Quota | Usage) -> dict[str, Value]:
    """Each metric."""
    return {metric.field: counted[metric] for metric in Metric}


def parts(vdc: Vdc) -> dict[str, Value]:
    """Its administrator account, its network and its router, each None where there is none."""
    admin, network, router = vdc.admin, vdc.network, vdc.router
    return {
        "admin": {"id": admin.id, "name": admin.name} if admin else None,
        "network": _network(network) if network else None,
        "router": _router(router) if router else None,
    }


def _network(network: Network) -> dict[str, Value]:
    return {
        "id": network.id,
        "name": network.name,
        "subnet": str(network.subnet),
        "gateway": str(network.gateway),
        "used": network.used,
        "state": network.state,
    }


def _router(router: Router) -> dict[str, Value]:
    return {
        "id": router.id,
        "internal_address": router.internal_address,
        "external_addresses": ",".join(router.external_addresses),
        "machines": {str(ident): str(status) for ident, status in router.states.items()},
    }


def login(credentials: Credentials) -> dict[str, Value]:
    """What to log in with. It is shown this once."""
    return {"username": credentials.username, "password": credentials.password}
