"""How fast tests give up."""

import os

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy import waiting
from opennebula_tenancy.emulator import FaultKind


QUICK = ont.RetryPolicy(attempts=3, budget_s=60, wait_s=0.001, wait_max_s=0.005, settle_s=0.001)
"""Retries whose waits cost a test no time."""

DELAY_S = 0.4
"""Seconds that an answer takes that is late on purpose."""


def patience(*kinds: FaultKind) -> ont.Timeout:
    """How long to wait for an answer that such faults may befall: for one that is late on purpose, not long enough.

    For all others as good as for ever, on however busy a machine.
    """
    return ont.Timeout(connect_s=20, read_s=0.15 if FaultKind.DELAY in kinds else 20)


THOROUGH = "THOROUGH" in os.environ
"""Whether every kind of fault hits every call: what otherwise takes turns."""


def wait_without_time(patch: pytest.MonkeyPatch) -> None:
    """Let time pass where the library waits, and there alone: no wait ends sooner on a busy machine."""
    passed_s = [0.0]

    def sleep(seconds: float) -> None:
        passed_s[0] += seconds

    patch.setitem(waiting.wait_for.__kwdefaults__, "sleep", sleep)
    patch.setitem(waiting.wait_for.__kwdefaults__, "clock", lambda: passed_s[0])


def ways_to_lose_a_server(index: int) -> tuple[FaultKind, ...]:
    """What every call gets from the one of that index on: no reply though it was applied, and by turn another."""
    others = (FaultKind.DROP, FaultKind.REFUSE, FaultKind.ELECTION)
    return FaultKind.LOSE_REPLY, *(others if THOROUGH else (others[index % len(others)],))
