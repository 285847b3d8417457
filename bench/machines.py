"""What the library adds to the time that the server needs until a machine runs."""

import contextlib
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import attrs

import opennebula_tenancy as ont
from bench.ground import AUTH, call, polls, server, timed_ms
from bench.usage import CONNECTED, PLAIN
from opennebula_tenancy.display import Table


SIZE = ont.VmSize(vcpu=1, memory_mb=512, disk_mb=4096)
STEPS_S = (0.01, 0.1, 0.3, 1.85)
"""How long each step takes on the server: a machine takes six, with the longest about 11 s."""
_LOOK_S = 0.005
_RUNNING = ("3", "3")


def runs(endpoint: str, vm_id: int) -> bool:
    """Whether a machine is there, and runs."""
    with contextlib.suppress(SystemExit):
        vm = ET.fromstring(call(endpoint, "one.vm.info", vm_id)[0])
        return (vm.findtext("STATE"), vm.findtext("LCM_STATE")) == _RUNNING
    return False


def await_running(endpoint: str, vm_id: int) -> float:
    """Look every 5 ms whether a machine runs; gives the time in seconds at which it does."""
    while not runs(endpoint, vm_id):
        time.sleep(_LOOK_S)
    return time.perf_counter()


def raw(endpoint: str) -> None:
    """Make a machine with as little as it takes, and wait until it runs."""
    await_running(endpoint, call(endpoint, "one.template.instantiate", 0, "raw", False, "", False)[0])


@attrs.define
class Sightings:
    """When the library has looked at machines, and what it called.

    Attributes:
        records: All calls.
        last_s: The time in seconds of the last look at a machine.
    """

    records: list[ont.CallRecord] = attrs.field(factory=list)
    last_s: float = 0.0

    def __call__(self, record: ont.CallRecord) -> None:
        """Take a call in."""
        self.records.append(record)
        if record.method == "one.vm.info":
            self.last_s = time.perf_counter()


def late_ms(endpoint: str, vm_id: int, seen: Sightings, work: Callable[[], object]) -> tuple[float, float]:
    """How long some work takes, and how much later than it runs the library sees that a machine does; milliseconds."""
    with ThreadPoolExecutor(1) as pool:
        since = pool.submit(await_running, endpoint, vm_id)
        taken_ms = timed_ms(work)
        return taken_ms, max(0.0, seen.last_s - since.result()) * 1000


def router(step_s: float) -> float:
    """How late the library sees that the machine of a new tenant's router runs, in milliseconds."""
    seen = Sightings()
    with server(step_s) as endpoint, ont.connect(endpoint, AUTH, on_call=seen) as cloud:
        return late_ms(endpoint, 0, seen, lambda: cloud.vdcs.ensure(CONNECTED))[1]


def creation(step_s: float) -> tuple[str, ...]:
    """Compare on a server whose steps take some time, so that a machine takes some seconds."""
    seen = Sightings()
    with server(step_s) as endpoint, ont.connect(endpoint, AUTH, on_call=seen) as cloud:
        vdc = cloud.vdcs.ensure(PLAIN)
        raw_ms = timed_ms(lambda: raw(endpoint))
        seen.records.clear()
        spec = ont.VmSpec(name="web", key="web", vdc=vdc.id, template=0, size=SIZE, network=None)
        ms, late = late_ms(endpoint, 1, seen, lambda: cloud.vms.ensure(spec))
    waiting = polls(seen.records)
    counts = len(seen.records) - waiting, waiting
    return f"{step_s:.2f}", f"{raw_ms:.0f}", f"{ms:.0f}", f"{ms - raw_ms:.0f}", f"{late:.0f}", *map(str, counts)


def machines() -> None:
    """Print what the library adds, and how late it sees that machines and routers run."""
    with ThreadPoolExecutor(1) as pool:
        # The router of the slowest server is waited for beside all others, which it hardly disturbs.
        slowest = pool.submit(router, STEPS_S[-1])
        made = [creation(step_s) for step_s in STEPS_S]
        late = [*(router(step_s) for step_s in STEPS_S[:-1]), slowest.result()]
    rows = [(*row, f"{ms:.0f}") for row, ms in zip(made, late, strict=True)]
    print("\na machine, from the request until it runs; raw instantiates and looks every 5 ms\n")
    head = ("server's step s", "raw ms", "vms.ensure() ms", "more by ms", "seen late by ms", "calls", "polls")
    print(Table((*head, "router late by ms"), rows).text())
