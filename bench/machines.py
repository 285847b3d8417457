"""What the library adds to the time that the server needs until a machine runs."""

import time
import xml.etree.ElementTree as ET

import opennebula_tenancy as ont
from bench.ground import AUTH, call, polls, server, timed_ms
from bench.usage import PLAIN
from opennebula_tenancy.display import Table


SIZE = ont.VmSize(vcpu=1, memory_mb=512, disk_mb=4096)
LARGER = ont.VmSize(vcpu=2, memory_mb=1024, disk_mb=8192)
_RUNNING = ("3", "3")


def raw(endpoint: str) -> None:
    """Make a machine with as little as it takes, and look every 5 ms whether it runs."""
    vm_id, _ = call(endpoint, "one.template.instantiate", 0, "raw", False, "", False)
    while True:
        vm = ET.fromstring(call(endpoint, "one.vm.info", vm_id)[0])
        if (vm.findtext("STATE"), vm.findtext("LCM_STATE")) == _RUNNING:
            return
        time.sleep(0.005)


def creation(step_s: float) -> tuple[str, ...]:
    """Compare on a server whose steps take some time, so that a machine takes some seconds."""
    records: list[ont.CallRecord] = []
    with server(step_s) as endpoint, ont.connect(endpoint, AUTH, on_call=records.append) as cloud:
        vdc = cloud.vdcs.ensure(PLAIN)
        raw_ms = timed_ms(lambda: raw(endpoint))
        records.clear()
        spec = ont.VmSpec(name="web", key="web", vdc=vdc.id, template=0, size=SIZE, network=None)
        ms = timed_ms(lambda: cloud.vms.ensure(spec))
    count = len(records) - polls(records)
    return f"{step_s:.2f}", f"{raw_ms:.0f}", f"{ms:.0f}", f"{ms - raw_ms:.0f}", str(count), str(polls(records))


def machines() -> None:
    """Print what the library adds, and what operations on a machine cost."""
    rows = [creation(step_s) for step_s in (0.01, 0.1, 0.3)]
    print("\na machine, from the request until it runs; raw instantiates and looks every 5 ms\n")
    print(Table(("server's step s", "raw ms", "vms.ensure() ms", "more by ms", "calls", "polls"), rows).text())
