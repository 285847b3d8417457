"""Faults at calls of orders for machines, and for tenants with networks: the next cycle ends as it should.

What the library does about a fault at each of its calls is enumerated with the library. Here each call that changes
something is hit, and each call of Waldur's.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from agent.offers import Offers, new_offers
from agent.order_types import CHANGING, ORDER_TYPES, Document, Ids, machine_state, tenant_state
from onetenant_waldur.agent import Mode
from onetenant_waldur.marketplace import ResourceState
from opennebula_tenancy.emulator import Fault, FaultKind


SIDES = ("waldur", "opennebula")
NO_FOLDER = Path()
"""Nothing here is sold with a secret."""


def tenant_and_counts(offers: Offers, order: str, resource: str) -> dict[str, Any]:
    held = {
        method: len(offers.xml(method, *params))
        for method, params in (
            *(("one.grouppool.info", ()), ("one.vdcpool.info", ()), ("one.acl.info", ())),
            *(("one.vnpool.info", (-2, -1, -1)), ("one.secgrouppool.info", (-2, -1, -1))),
            *(("one.vrouterpool.info", (-2, -1, -1)), ("one.vmpool.info", (-2, -1, -1, -1))),
        )
    }
    return tenant_state(offers, order, resource) | {"held": held}


ORDERS = {
    **{
        action: attrs.evolve(ORDER_TYPES[f"{action} machine"], look=machine_state)
        for action in ("create", "switch", "terminate")
    },
    "create tenant": attrs.evolve(ORDER_TYPES["create tenant with network"], look=tenant_and_counts),
}
OF_NETWORKS = ("one.secgroup", "one.vn.", "one.cluster", "one.vrouter", "one.vdc.addvnet", "one.group.update")
"""What tenants with networks are hit at; without networks they are elsewhere."""


def faults_of(offers: Offers, side: str) -> Any:
    return offers.world.waldur.faults if side == "waldur" else offers.world.server.faults


def arm(offers: Offers) -> None:
    offers.world.waldur.faults.arm()
    offers.world.server.faults.arm()


def again(offers: Offers, name: str, resource: str) -> Ids:
    """Order once more what was refused on purpose, after the operator has looked at it."""
    if name.startswith("create"):
        return ORDERS[name].place(offers, {})
    offers.world.waldur.resource(resource).state = ResourceState.OK
    if name == "switch":
        return offers.switch(resource, "Medium"), resource
    return offers.world.waldur.consumer().terminate(resource), resource


def cycle(offers: Offers, document: Document) -> None:
    """One cycle of orders and one of reports, by a new agent."""
    with offers.world.agent(document) as agent:
        agent.cycle([Mode.ORDER_PROCESS])
        agent.cycle([Mode.REPORT])


def undisturbed(name: str) -> tuple[dict[str, tuple[str, ...]], dict[str, Any], dict[str, Any]]:
    """The calls that an order takes, by side; what is held after it, and after its failure."""
    order_type = ORDERS[name]
    with new_offers() as offers:
        document = order_type.sell(offers, NO_FOLDER)
        placed = order_type.place(offers, document)
        before = order_type.look(offers, *placed)
        arm(offers)
        assert offers.world.cycle(document=document)
        calls = {side: faults_of(offers, side).calls for side in SIDES}
        cycle(offers, document)
        return calls, order_type.look(offers, *placed), before


UNDISTURBED = {name: undisturbed(name) for name in ORDERS}


def _kinds_at(name: str, side: str, method: str) -> tuple[FaultKind, ...]:
    """The kinds of faults at a call."""
    if name == "create tenant":  # a reply that is lost is the library's business
        return (FaultKind.REFUSE,) if CHANGING.fullmatch(method) and method.startswith(OF_NETWORKS) else ()
    if side == "waldur":
        return (FaultKind.LOSE_REPLY,)
    return (FaultKind.LOSE_REPLY, FaultKind.REFUSE) if CHANGING.fullmatch(method) else ()


EACH = [
    pytest.param(name, side, index, kind, id=f"{name}-{side}-{index}-{method}-{kind}")
    for name, (calls, _, _) in UNDISTURBED.items()
    for side in SIDES
    for index, method in enumerate(calls[side])
    for kind in _kinds_at(name, side, method)
]


@pytest.fixture(name="shared", scope="module")
def _shared() -> Iterator[Offers]:
    """One world for all orders of machines: what each makes is gone after its test."""
    with new_offers() as offers:
        ORDERS["create"].sell(offers, NO_FOLDER)
        yield offers


@pytest.fixture(name="document")
def _document(offers: Offers, name: str) -> Document:
    return offers.world.document() if name.endswith("tenant") else offers.document()


@pytest.fixture(name="offers")
def _offers(request: pytest.FixtureRequest, name: str) -> Iterator[Offers]:
    if name.endswith("tenant"):
        with new_offers() as offers:
            ORDERS[name].sell(offers, NO_FOLDER)
            yield offers
        return
    offers = request.getfixturevalue("shared")
    yield offers
    arm(offers)
    for vm in offers.machines():
        offers.world.raw("one.vm.action", "terminate-hard", int(vm.findtext("ID") or ""))
    with offers.world.waldur.state.lock:
        kept = [one for one in offers.world.waldur.state.resources if one.offering is offers.world.waldur.vdc]
        offers.world.waldur.state.resources[:] = kept
        offers.world.waldur.state.orders[:] = [one for one in offers.world.waldur.state.orders if one.resource in kept]


@pytest.mark.parametrize(("name", "side", "index", "kind"), EACH)
def test_one_fault_and_one_more_cycle_end_as_an_undisturbed_cycle(
    offers: Offers, document: Document, name: str, side: str, index: int, kind: FaultKind
) -> None:
    order_type, (_, expected, before) = ORDERS[name], UNDISTURBED[name]
    order, resource = order_type.place(offers, document)
    arm(offers)
    faults_of(offers, side).arm(Fault(kind=kind, call=index, code=0x2000))
    offers.world.cycle(document=document)
    assert len(faults_of(offers, side).calls) > index
    arm(offers)
    cycle(offers, document)
    if kind is FaultKind.REFUSE and offers.world.waldur.order(order).state == "erred":
        assert "Refused on purpose" in offers.world.waldur.order(order).error_message
        after = order_type.look(offers, order, resource)
        same = {"machines", "phases", "counted", "addresses in use", "held", "rules", "router runs"} & after.keys()
        if name == "switch":  # what could not be taken back is in the error; the machine runs all the same
            assert [running for _, _, running, _ in after["machines"]] == [True]
            assert {"vcpu", "vm_ram", "vm_disk"} <= after["limits"].keys()
            assert after["limits"] == after["machines"][0][1]
        else:
            assert {key: after[key] for key in same} == {key: before[key] for key in same}
        order, resource = again(offers, name, resource)
        cycle(offers, document)
    assert order_type.look(offers, order, resource) == expected
