"""The numbers that tell routers of several machines apart where they share a network (VRRP ids, KEEPALIVED_ID).

Machines with the same number in one network take each other for one router, and fight for its addresses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from opennebula_tenancy._wire.network_records import RouterRecord


KEEPALIVED_ID = "KEEPALIVED_ID"
NUMBERS = range(1, 256)
"""VRRP has one byte for it."""


def number_of(router: RouterRecord) -> int:
    """The number of a router: its own, or what oned makes of its id (`VirtualRouter::get_vm_template`)."""
    own = router.template.get(KEEPALIVED_ID, "")
    return int(own) if own.isdecimal() else router.id % len(NUMBERS) + 1


def taken(routers: Iterable[RouterRecord], network: int, besides: Collection[int]) -> Mapping[int, RouterRecord]:
    """The routers that share addresses among their machines in a network, by number.

    Args:
        routers: All routers, whosoever.
        network: The id of the network.
        besides: The ids of routers that do not count.

    Returns:
        The router of each number, the oldest where several have it.
    """
    there = (
        router
        for router in routers
        if router.id not in besides and any(nic.floating_ip and nic.network_id == network for nic in router.nics)
    )
    return {number_of(router): router for router in sorted(there, key=lambda router: -router.id)}


def free(numbers: Collection[int]) -> int | None:
    """The lowest number that is not taken; None when all are."""
    return next((number for number in NUMBERS if number not in numbers), None)
