"""Tenants that are made by many at once, and the subnets that they have."""

from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise

import opennebula_tenancy as ont
from tenants.networks import network, tenant
from tenants.pace import QUICK
from tenants.raw import Raw


THREADS = 8


def make(
    endpoint: str, auth: str, names: list[str], pools: list[ont.SubnetPool], network_id: int, template: int
) -> None:
    """Make tenants, eight at a time: the work of one process.

    Args:
        endpoint: The server.
        auth: Its administrator.
        names: What the tenants are called.
        pools: Where the subnet of each is from.
        network_id: The external network of all.
        template: The template of their routers.
    """
    specs = [
        tenant(
            name,
            quota=ont.Quota(vms=5),
            network=network(pool=pool, external_network=network_id, router_template=template, timeout_s=60),
        )
        for name, pool in zip(names, pools, strict=True)
    ]
    with ont.connect(endpoint, auth, retry=QUICK) as cloud, ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(cloud.vdcs.ensure, specs))


def subnets(admin: Raw) -> dict[str, IPv4Network]:
    """The subnets that networks claim, by the names of the networks."""
    return {
        item.findtext("NAME") or "": IPv4Network(item.findtext("TEMPLATE/TENANCY_SUBNET") or "")
        for item in admin.xml("one.vnpool.info", -2, -1, -1)
        if item.findtext("TEMPLATE/TENANCY_SUBNET")
    }


def spans(admin: Raw) -> list[tuple[int, int]]:
    """The first and the last address of all ranges that networks have, the lowest first."""
    ranges = [item for network in admin.xml("one.vnpool.info", -2, -1, -1) for item in network.iterfind("AR_POOL/AR")]
    firsts = [int(IPv4Address(item.findtext("IP") or "")) for item in ranges]
    return sorted(
        (first, first + int(item.findtext("SIZE") or "") - 1) for first, item in zip(firsts, ranges, strict=True)
    )


def overlap(admin: Raw) -> list[tuple[int, int]]:
    """The address ranges that begin before another has ended."""
    return [after for before, after in pairwise(spans(admin)) if after[0] <= before[1]]
