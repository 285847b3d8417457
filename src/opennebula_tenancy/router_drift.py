"""What of a tenant's router is not as asked for, and stays so until its machines, or the router, are made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opennebula_tenancy.networking import NAME_SERVERS
from opennebula_tenancy.router_template import placement
from opennebula_tenancy.vrrp import number_of


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opennebula_tenancy._wire.network_records import RouterRecord
    from opennebula_tenancy._wire.vm_records import VmRecord
    from opennebula_tenancy._wire.vm_template_records import VmTemplateRecord
    from opennebula_tenancy.network_spec import NetworkSpec
    from opennebula_tenancy.networking import Networking
    from opennebula_tenancy.vdc_spec import VdcSpec


_TEMPLATE_ID = "TEMPLATE_ID"
"""On a router: the VM template that its last machine was made of."""


def router_remarks(
    tenant: VdcSpec, spec: NetworkSpec, held: Networking, neighbours: Mapping[int, RouterRecord]
) -> Iterator[str]:
    """Say what of the router stays as it is, and how it is changed.

    Args:
        tenant: The tenant.
        spec: What is asked for as its network.
        held: What there is.
        neighbours: The other routers in the external network by their VRRP ids, where they were looked for.

    Yields:
        A sentence each.
    """
    template, router = held.template, held.router
    if template is None:
        return
    if not has_token(template.context):
        yield (
            f"VM template {template.id} ({template.name}) has no TOKEN=YES in its CONTEXT: a router that is made of it "
            "does not learn of floating IPs, which lead nowhere then"
        )
    if router is None:
        return
    yield from _number_remarks(spec, router, neighbours)
    last = router.template.get(_TEMPLATE_ID, "")
    if last.isdecimal() and int(last) != spec.router_template:
        machines = " and ".join(f"VM {vm_id}" for vm_id in held.standing(router))
        yield f"{machines} of router {router.id} was made of VM template {last}, not {spec.router_template}{_ANEW}"
    for vm_id in held.standing(router):
        if (vm := held.machines.get(vm_id)) is not None:
            yield from (f"VM {vm.id} of router {router.id} {said}{_ANEW}" for said in _of(vm, tenant, spec, template))


_ANEW = "; it stays so until it is made anew: terminate it, one machine at a time, and run ensure again"


def has_token(context: Mapping[str, str]) -> bool:
    """Whether a machine with a context gets a token of OneGate, where it learns of floating IPs."""
    return context.get("TOKEN", "").strip().upper() == "YES"


def _of(vm: VmRecord, tenant: VdcSpec, spec: NetworkSpec, template: VmTemplateRecord) -> Iterator[str]:
    if has_token(template.context) and not has_token(vm.context):
        yield "was made without TOKEN=YES in its CONTEXT, and does not learn of floating IPs"
    if not spec.dns and (servers := vm.context.get(NAME_SERVERS)):
        yield f"asks the name servers {servers}"
    placed, wanted = vm.user_template.get("SCHED_REQUIREMENTS", ""), placement(tenant, spec, template)
    if placed != wanted:
        yield f"may run where {placed or 'there is room'}, not where {wanted or 'there is room'}"


def _number_remarks(spec: NetworkSpec, router: RouterRecord, neighbours: Mapping[int, RouterRecord]) -> Iterator[str]:
    if not spec.is_shared:
        if spec.keepalived_id is not None:
            yield "keepalived_id: a router of one machine has no use for it"
        return
    number = number_of(router)
    if (other := neighbours.get(number)) is not None:
        yield (
            f"router {router.id} has the keepalived id {number} like router {other.id} in network "
            f"{spec.external_network}, and they take each other's addresses: remove it and run ensure again"
        )
    elif spec.keepalived_id not in {None, number}:
        yield (
            f"router {router.id} has the keepalived id {number}, not {spec.keepalived_id}, and keeps it: remove the "
            "router and run ensure again to change that"
        )
