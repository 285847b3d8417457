"""What the library costs beside raw requests for the same data: calls, bytes and time, as ratios within one run.

    python bench/usage.py [--tenants 1000] [--repeat 5]

The embedded server runs in a process of its own, so that neither side waits for the other's interpreter.
"""

import argparse
import re
import statistics
import subprocess
import sys
import time
import urllib.request
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import opennebula_tenancy as ont
from opennebula_tenancy.display import Table


AUTH = "oneadmin:opennebula"


@contextmanager
def server() -> Iterator[str]:
    """An embedded OpenNebula in another process; gives its endpoint."""
    command = [sys.executable, "-m", "opennebula_tenancy.emulator", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            lines = iter(process.stdout or ())
            yield next(found.group() for line in lines if (found := re.search(r"http://\S+", line)))
        finally:
            process.terminate()


def call(endpoint: str, method: str, *params: Any) -> tuple[Any, int]:
    """Call with nothing but the standard library; gives the reply's value and the size of the answer in bytes."""
    body = xmlrpc.client.dumps((AUTH, *params), method).encode()
    with urllib.request.urlopen(urllib.request.Request(endpoint, body, {"Content-Type": "text/xml"})) as answer:
        data = answer.read()
    reply: Any = xmlrpc.client.loads(data)[0][0]
    ok, value = reply[:2]
    if not ok:
        raise SystemExit(f"{method}: {value}")
    return value, len(data)


def seed(endpoint: str, tenants: int) -> None:
    """Make groups that are tenants, the shortest way there is."""
    for number in range(tenants):
        gid, _ = call(endpoint, "one.group.allocate", f"tenant-{number}")
        mark = f"TENANCY_KEY=k{number}\nTENANCY_ROLE=group\nTENANCY_VERSION=1\nTENANCY_VDC_ID=0"
        call(endpoint, "one.group.update", gid, mark, 1)
        call(endpoint, "one.group.quota", gid, "VM=[CPU=4,MEMORY=4096]\nDATASTORE=[ID=1,SIZE=20480]")


def median_ms(work: Callable[[], object], repeat: int) -> float:
    """The median time of some work, in milliseconds."""
    taken = []
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken)


def main() -> None:
    """Print one table for the usage of all tenants, and one for the operations on a tenant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenants", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    records: list[ont.CallRecord] = []
    with server() as endpoint, ont.connect(endpoint, AUTH, on_call=records.append) as cloud:
        seed(endpoint, options.tenants)
        rows = []
        raw_ms = median_ms(lambda: call(endpoint, "one.grouppool.info"), options.repeat)
        _, size = call(endpoint, "one.grouppool.info")
        rows.append(("raw one.grouppool.info", "1", f"{size:,}", f"{raw_ms:.0f}", "1.0"))
        for name, work in (("vdcs.usage()", cloud.vdcs.usage), ("vdcs.list()", cloud.vdcs.list)):
            ms = median_ms(work, options.repeat)
            records.clear()
            found = work()
            if len(found) != options.tenants:
                raise SystemExit(f"{name} found {len(found)} of {options.tenants} tenants")
            size = sum(record.received_bytes for record in records)
            rows.append((name, str(len(records)), f"{size:,}", f"{ms:.0f}", f"{ms / raw_ms:.1f}"))
        print(f"\n{options.tenants} tenants, median of {options.repeat}\n")
        print(Table(("operation", "calls", "received bytes", "ms", "time / raw"), rows).text())
    with server() as endpoint, ont.connect(endpoint, AUTH, on_call=records.append) as cloud:
        print("\none tenant on an empty cloud; raw is the time of as many one.system.version calls\n")
        print(
            Table(("operation", "calls", "that change", "bytes", "ms", "time / raw"), operations(cloud, records)).text()
        )


def operations(cloud: ont.Cloud, records: list[ont.CallRecord]) -> list[tuple[str, ...]]:
    """What each operation on one tenant costs."""
    spec = ont.VdcSpec(name="acme", key="acme", quota=ont.Quota(cpu=4, memory_mb=4096, storage_mb=20480), clusters=(0,))
    ping_ms = median_ms(cloud.ping, 50)

    def set_quota() -> None:
        cloud.vdcs.get(made.id).set_quota(ont.Quota(cpu=8))

    made = cloud.vdcs.ensure(spec)
    made.delete()
    rows: list[tuple[str, ...]] = []
    for name, work in (
        ("ensure, new", lambda: cloud.vdcs.ensure(spec)),
        ("ensure, nothing to do", lambda: cloud.vdcs.ensure(spec)),
        ("plan", lambda: cloud.vdcs.plan(spec)),
        ("get and set_quota", set_quota),
        ("delete", lambda: cloud.vdcs.delete(key=spec.key)),
    ):
        records.clear()
        started = time.perf_counter()
        result = work()
        ms = (time.perf_counter() - started) * 1000
        made = result if isinstance(result, ont.Vdc) else made
        size = sum(record.sent_bytes + record.received_bytes for record in records)
        changing = sum(record.mutates for record in records)
        ratio = ms / (ping_ms * len(records))
        rows.append((name, str(len(records)), str(changing), f"{size:,}", f"{ms:.1f}", f"{ratio:.1f}"))
    return rows


if __name__ == "__main__":
    main()
