"""How much longer the agent needs for twenty orders of machines than for one."""

import time

import opennebula_tenancy as ont
from bench.ground import AUTH, server, timed_ms
from bench.usage import PLAIN
from onetenant_waldur import log, settings
from onetenant_waldur.agent import Agent
from onetenant_waldur.marketplace import Marketplace
from opennebula_tenancy.display import Table


ORDERS = 20
_STEP_S = 0.3
"""How long the server takes for each step of a machine: some seconds until it runs."""


def orders_ms(orders: int, workers: int) -> float:
    """The time of one cycle with so many orders, all of them carried out.

    Args:
        orders: How many orders wait.
        workers: How many are carried out at the same time.
    """
    with server(_STEP_S) as endpoint, Marketplace() as waldur:
        with ont.connect(endpoint, AUTH) as cloud:
            vdc = cloud.vdcs.ensure(PLAIN)
            vdc.set_quota(ont.Quota(cpu=ont.Limit.UNLIMITED, memory_mb=ont.Limit.UNLIMITED))
        waldur.vm.plugin_options.clear()
        waldur.vm.plugin_options.update(parent_vdc_backend_id=str(vdc.id), template_id=0)
        document = {
            "max_workers": workers,
            "max_connections": min(workers, 14),
            "offerings": [
                {
                    "name": "machines",
                    "waldur_api_url": waldur.api_url,
                    "waldur_api_token": waldur.tokens["provider"],
                    "waldur_offering_uuid": waldur.vm.uuid,
                    "backend_type": "opennebula",
                    "backend_settings": {"api_url": endpoint, "credentials": AUTH, "resource_type": "vm"},
                }
            ],
        }
        consumer = waldur.consumer()
        placed = [consumer.place_order(waldur.vm, f"vm-{number}", plan="Small") for number in range(orders)]
        with Agent(settings.parse(document)) as agent:
            ms = timed_ms(agent.process_orders)
        states = {str(waldur.order(one.order).state) for one in placed}
        if states != {"done"}:
            raise SystemExit(f"orders ended as {', '.join(states)}: {waldur.order(placed[0].order).error_message}")
    return ms


def orders() -> None:
    """Print what one order takes, and twenty."""
    log.configure("CRITICAL")
    started = time.monotonic()
    one_ms = orders_ms(1, 1)
    rows = [("1", "1", f"{one_ms:.0f}", "1.0")]
    for workers in (4, ORDERS):
        ms = orders_ms(ORDERS, workers)
        rows.append((str(ORDERS), str(workers), f"{ms:.0f}", f"{ms / one_ms:.1f}"))
    print(f"\norders of machines in one cycle of the agent ({time.monotonic() - started:.0f} s)\n")
    print(Table(("orders", "max_workers", "ms", "time / one order"), rows).text())
