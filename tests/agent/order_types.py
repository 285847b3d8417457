"""Each type of order, for each kind of offering: how it is placed, with which settings, and what comes of it.

Nothing is run when this is imported.
"""

import functools
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from agent import accounts
from agent.offers import Offers, is_running, size
from onetenant_waldur.admin_accounts import USERNAME
from onetenant_waldur.agent import Mode
from onetenant_waldur.notes import PASSWORD


CHANGING = re.compile(r"POST .*|one\.(?!system\.)\w+\.(?!info)\w+")
"""The calls that may change something, on either side."""
Ids = tuple[str, str]
"""The uuids of an order and of its resource."""
Document = dict[str, Any]


@attrs.frozen
class OrderType:
    """One type of order.

    Attributes:
        sell: Prepares the offering; the agent's settings. It is given a directory for its own.
        place: Makes what the order is about, and places it.
        look: What both sides hold of a resource, free of what differs between two runs to the same end.
        modes: What an agent does that is started after another one's death.
    """

    sell: Callable[[Offers, Path], Document]
    place: Callable[[Offers, Document], Ids]
    look: Callable[[Offers, str, str], dict[str, Any]]
    modes: tuple[Mode, ...] = (Mode.ORDER_PROCESS,)


# Machines


def sell_machines(offers: Offers, _: Path) -> Document:
    offers.sell_machines(offers.tenant())
    return offers.document()


def ordered_machine(offers: Offers, _: Document) -> Ids:
    placed = offers.order()
    return placed.order, placed.resource


def larger_machine(offers: Offers, _: Document) -> Ids:
    placed = offers.made()
    return offers.switch(placed.resource, "Medium"), placed.resource


def ending_machine(offers: Offers, _: Document) -> Ids:
    placed = offers.made()
    return offers.world.waldur.consumer().terminate(placed.resource), placed.resource


def machine_state(offers: Offers, order: str, resource: str) -> dict[str, Any]:
    found, machines = offers.world.waldur.resource(resource), offers.machines(resource)
    metadata = dict(found.backend_metadata)
    number, address = metadata.pop("vm_id", None), metadata.pop("ip_address", None)
    addresses = [vm.findtext("TEMPLATE/NIC/IP") for vm in machines]
    parent = str(offers.world.waldur.vm.plugin_options["parent_vdc_backend_id"])
    group = offers.xml("one.group.info", int(parent))
    network = max(offers.xml("one.vnpool.info", -2, -1, -1), key=lambda net: int(net.findtext("ID") or ""))
    return {
        "order": offers.world.waldur.order(order).state,
        "resource": found.state,
        "limits": dict(found.limits),
        "metadata": metadata,
        "shows its address": metadata.pop("ip_addresses", []) == [address] == addresses,
        "points at it": [str(number), found.backend_id] == 2 * [vm.findtext("ID") for vm in machines],
        "machines": [(vm.findtext("NAME"), size(vm), is_running(vm), vm.findtext("GID")) for vm in machines],
        "phases": [vm.findtext("USER_TEMPLATE/TENANCY_PHASE") for vm in machines],
        "counted": [group.findtext(f"VM_QUOTA/VM/{name}") for name in ("CPU_USED", "MEMORY_USED", "VMS_USED")],
        "addresses in use": network.findtext("USED_LEASES"),
    }


def machine_and_all_else(offers: Offers, order: str, resource: str) -> dict[str, Any]:
    """What there is of a machine, and everything that OpenNebula holds."""
    return machine_state(offers, order, resource) | {"opennebula": offers.world.in_opennebula()}


# Tenants


def sell_tenants(offers: Offers, folder: Path, *, network: bool, account: str | None) -> Document:
    """Sell tenants with a network or without, whose administrators have derived passwords, random ones, or none."""
    if network:
        offers.sell_networks()
    if account is None:
        return offers.world.document()
    return accounts.document(offers.world, accounts.secret_file(folder) if account == "derived" else None)


def ordered_tenant(offers: Offers, _: Document) -> Ids:
    placed = offers.world.order("acme", _limits(offers, cpu=1))
    return placed.order, placed.resource


def ordered_tenant_that_shows_another_password(offers: Offers, document: Document) -> Ids:
    """An order whose resource shows credentials that are not those of the account it will have."""
    order, resource = ordered_tenant(offers, document)
    there = offers.world.waldur.resource(resource)
    there.backend_metadata = {USERNAME: f"{there.slug}_admin", PASSWORD: "of-another-account"}
    return order, resource


def larger_tenant(offers: Offers, document: Document) -> Ids:
    resource = _made(offers, document)
    return offers.world.waldur.consumer().update_limits(resource, _limits(offers, cpu=8)), resource


def ending_tenant(offers: Offers, document: Document) -> Ids:
    resource = _made(offers, document)
    return offers.world.waldur.consumer().terminate(resource), resource


def _made(offers: Offers, document: Document) -> str:
    order, resource = ordered_tenant(offers, document)
    assert offers.world.cycle(document=document), offers.world.waldur.order(order).error_message
    return resource


def _limits(offers: Offers, *, cpu: int) -> dict[str, int]:
    network = "external_network_id" in offers.world.offering.plugin_options
    return {"cpu": cpu, "ram": 2048 * cpu, "storage": 20480, **({"floating_ip": 1} if network else {})}


def tenant_state(offers: Offers, order: str, resource: str) -> dict[str, Any]:
    found, tenant = offers.world.waldur.resource(resource), offers.world.tenant(resource)
    metadata = dict(found.backend_metadata)
    network = tenant.network if tenant else None
    router = tenant.router if tenant else None
    ids = {
        "opennebula_vdc_id": tenant.vdc_id if tenant else None,
        "vnet_id": network.id if network else None,
        "sg_ids": list(network.security_groups) if network else None,
        "vr_id": router.id if router else None,
        "vr_vm_id": router.vm_ids[0] if router else None,
        "vr_vm_ids": list(router.vm_ids) if router else None,
        "vr_addresses": list(router.external_addresses) if router else None,
    }
    named = {name: metadata.pop(name, None) for name in ids}
    password = metadata.pop(PASSWORD, None)
    return {
        "order": offers.world.waldur.order(order).state,
        "resource": found.state,
        "limits": dict(found.limits),
        "metadata": {name: str(value).replace(found.slug, "its name") for name, value in metadata.items()},
        "points at it": tenant is None or (found.backend_id, named) == (str(tenant.id), ids),
        "logs in": bool(tenant and password and accounts.login(offers.world, resource)),
        "router runs": router is not None and router.is_running,
        "rules": [str(rule) for rule in tenant.security_rules()] if tenant and network else [],
    }


def tenant_and_all_else(offers: Offers, order: str, resource: str) -> dict[str, Any]:
    """What there is of a tenant, and everything that OpenNebula holds."""
    held = accounts.settled(offers.world.in_opennebula())
    return tenant_state(offers, order, resource) | {"opennebula": held}


def _order_types() -> Iterator[tuple[str, OrderType]]:
    for account, network in itertools.product((None, "derived", "random"), (False, True)):
        sell = functools.partial(sell_tenants, network=network, account=account)
        what = "tenant" + " with network" * network + (f" with {account} password" if account else "")
        for action, place in (("create", ordered_tenant), ("update", larger_tenant), ("terminate", ending_tenant)):
            yield f"{action} {what}", OrderType(sell, place, tenant_and_all_else)
        if account:
            place = ordered_tenant_that_shows_another_password
            yield f"create {what} while another one is shown", OrderType(sell, place, tenant_and_all_else)
    yield "create machine", OrderType(sell_machines, ordered_machine, machine_and_all_else)
    # The end of the order makes Waldur note the limits of before it. Killed there, the agent has it mended by a report.
    orders_and_reports = (Mode.ORDER_PROCESS, Mode.REPORT)
    yield "switch machine", OrderType(sell_machines, larger_machine, machine_and_all_else, orders_and_reports)
    yield "terminate machine", OrderType(sell_machines, ending_machine, machine_and_all_else)


ORDER_TYPES = dict(_order_types())
