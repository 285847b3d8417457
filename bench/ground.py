"""What the benchmarks stand on: a server in a process of its own, raw requests, and tables."""

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


AUTH = "oneadmin:opennebula"
_POLLS = frozenset({"one.vm.info", "one.vn.info", "one.vrouter.info"})
"""What is read again and again until something is ready."""

_SERVE = """
import sys, time
from opennebula_tenancy.emulator import Config, Emulator
with Emulator(populated=True, config=Config(step_s=float(sys.argv[1]))) as server:
    print(server.endpoint, flush=True)
    sys.stdin.read()
"""


@contextmanager
def server(step_s: float = 0.01) -> Iterator[str]:
    """An embedded OpenNebula in another process, so that neither side waits for the other's interpreter.

    Args:
        step_s: How long each step of what takes time there takes, in seconds.

    Yields:
        Its endpoint.
    """
    command = [sys.executable, "-c", _SERVE, str(step_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield (process.stdout or sys.stdin).readline().strip()
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


def median_ms(work: Callable[[], object], repeat: int) -> float:
    """The median time of some work, in milliseconds."""
    taken = []
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken)


def timed_ms(work: Callable[[], object]) -> float:
    """The time of some work that is done once, in milliseconds."""
    return median_ms(work, 1)


def polls(records: list[ont.CallRecord]) -> int:
    """How many calls only waited for something."""
    return sum(record.method in _POLLS for record in records)
