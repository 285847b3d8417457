"""The usage of all tenants, and the operations on one, beside raw requests for the same data."""

from typing import TYPE_CHECKING

import opennebula_tenancy as ont
from bench.ground import AUTH, call, median_ms, polls, server, timed_ms
from opennebula_tenancy.display import Table


if TYPE_CHECKING:
    from collections.abc import Callable


def seed(endpoint: str, tenants: int) -> None:
    """Make groups that are tenants, the shortest way there is."""
    for number in range(tenants):
        gid, _ = call(endpoint, "one.group.allocate", f"tenant-{number}")
        mark = f"TENANCY_KEY=k{number}\nTENANCY_ROLE=group\nTENANCY_VERSION=1\nTENANCY_VDC_ID=0"
        call(endpoint, "one.group.update", gid, mark, 1)
        call(endpoint, "one.group.quota", gid, "VM=[CPU=4,MEMORY=4096]\nDATASTORE=[ID=1,SIZE=20480]")


def usage(tenants: int, repeat: int) -> None:
    """Print what the usage of all tenants costs."""
    records: list[ont.CallRecord] = []
    with server() as endpoint, ont.connect(endpoint, AUTH, on_call=records.append) as cloud:
        seed(endpoint, tenants)
        raw_ms = median_ms(lambda: call(endpoint, "one.grouppool.info"), repeat)
        _, size = call(endpoint, "one.grouppool.info")
        rows = [("raw one.grouppool.info", "1", f"{size:,}", f"{raw_ms:.0f}", "1.0")]
        work: Callable[[], object]
        for name, work in (("vdcs.usage()", cloud.vdcs.usage), ("vdcs.list()", cloud.vdcs.list)):
            ms = median_ms(work, repeat)
            records.clear()
            work()
            size = sum(record.received_bytes for record in records)
            rows.append((name, str(len(records)), f"{size:,}", f"{ms:.0f}", f"{ms / raw_ms:.1f}"))
        if (found := len(cloud.vdcs.usage())) != tenants:
            raise SystemExit(f"vdcs.usage() found {found} of {tenants} tenants")
    print(f"\n{tenants} tenants, median of {repeat}\n")
    print(Table(("operation", "calls", "received bytes", "ms", "time / raw"), rows).text())


QUOTA = ont.Quota(cpu=4, memory_mb=4096, storage_mb=20480)
PLAIN = ont.VdcSpec(name="acme", key="acme", quota=QUOTA, clusters=(0,))
NETWORK = ont.NetworkSpec(
    external_network=0,
    router_template=8,
    rules=(ont.SecurityRule("inbound", "tcp", ports="22:22"), ont.SecurityRule("inbound", "icmp", icmp_type=8)),
)
CONNECTED = ont.VdcSpec(name="net", key="net", quota=QUOTA | ont.Quota(floating_ips=2), clusters=(0,), network=NETWORK)


def operations() -> None:
    """Print what each operation on one tenant costs."""
    records: list[ont.CallRecord] = []
    rows = []
    with server() as endpoint, ont.connect(endpoint, AUTH, on_call=records.append) as cloud:
        ping_ms = median_ms(cloud.ping, 50)
        for spec, what in ((PLAIN, ""), (CONNECTED, " with a network")):
            vdcs = cloud.vdcs
            steps: tuple[tuple[str, Callable[[], object]], ...] = (
                (f"ensure, new{what}", lambda: vdcs.ensure(spec)),  # noqa: B023 - done before the next one
                (f"ensure{what}, nothing to do", lambda: vdcs.ensure(spec)),  # noqa: B023
                (f"plan{what}", lambda: vdcs.plan(spec)),  # noqa: B023
                (f"delete{what}", lambda: vdcs.delete(key=spec.key)),  # noqa: B023
            )
            for name, work in steps:
                records.clear()
                ms = timed_ms(work)
                size = sum(record.sent_bytes + record.received_bytes for record in records)
                changing, waiting = sum(record.mutates for record in records), polls(records)
                count = len(records)
                ratio = f"{ms / (ping_ms * count):.1f}"
                rows.append((name, str(count - waiting), str(waiting), str(changing), f"{size:,}", f"{ms:.1f}", ratio))
    print("\none tenant on an empty cloud; raw is the time of as many one.system.version calls\n")
    print(Table(("operation", "calls", "polls", "that change", "bytes", "ms", "time / raw"), rows).text())
