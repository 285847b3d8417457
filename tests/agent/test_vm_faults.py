"""Faults and kills at calls of orders for machines, and for tenants with networks: the next cycle ends as it should.

What the library does about a fault at each of its calls is enumerated with the library. Here each call that changes
something is hit, and each call of Waldur's: between any two of them an agent may have to begin anew.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

import opennebula_tenancy as ont
from agent.offers import Offers, is_running, new_offers, size
from onetenant_waldur.agent import Agent, Mode
from onetenant_waldur.marketplace import ResourceState
from opennebula_tenancy.emulator import Fault, FaultKind
from tenants.pace import QUICK, THOROUGH


CHANGING = re.compile(r"one\.(?!system\.)\w+\.(?!info)\w+")
SIDES = ("waldur", "opennebula")
KINDS = {"opennebula": ("lose_reply", "refuse", "kill"), "waldur": ("lose_reply", "kill")}


@attrs.frozen
class Scenario:
    """One kind of order.

    Attributes:
        prepare: Makes what the order is about; the order's uuid and that of its resource.
        again: Places it once more, after it was refused on purpose.
        document: The settings of the agent.
        look: What both sides hold of the resource.
    """

    prepare: Callable[[Offers], tuple[str, str]]
    again: Callable[[Offers, str], tuple[str, str]]
    document: Callable[[Offers], dict[str, Any]]
    look: Callable[[Offers, str, str], dict[str, Any]]


def machine_state(offers: Offers, order: str, resource: str) -> dict[str, Any]:
    found, machines = offers.world.waldur.resource(resource), offers.machines(resource)
    metadata = dict(found.backend_metadata)
    number, address = metadata.pop("vm_id", None), metadata.pop("ip_address", None)
    addresses = [vm.findtext("TEMPLATE/NIC/IP") for vm in machines]
    parent = str(offers.world.waldur.vm.plugin_options["parent_vdc_backend_id"])
    group = offers.xml("one.group.info", int(parent))
    network = max(offers.xml("one.vnpool.info", -2, -1, -1), key=lambda net: int(net.findtext("ID") or ""))
    return {
        "order": offers.world.waldur.order(order).state,
        "resource": found.state,
        "limits": dict(found.limits),
        "metadata": metadata,
        "shows its address": metadata.pop("ip_addresses", []) == [address] == addresses,
        "points at it": [str(number), found.backend_id] == 2 * [vm.findtext("ID") for vm in machines],
        "machines": [(vm.findtext("NAME"), size(vm), is_running(vm), vm.findtext("GID")) for vm in machines],
        "phases": [vm.findtext("USER_TEMPLATE/TENANCY_PHASE") for vm in machines],
        "counted": [group.findtext(f"VM_QUOTA/VM/{name}") for name in ("CPU_USED", "MEMORY_USED", "VMS_USED")],
        "addresses in use": network.findtext("USED_LEASES"),
    }


def tenant_state(offers: Offers, order: str, resource: str) -> dict[str, Any]:
    found, tenant = offers.world.waldur.resource(resource), offers.world.tenant(resource)
    metadata = dict(found.backend_metadata)
    network = tenant.network if tenant else None
    router = tenant.router if tenant else None
    ids = {
        "opennebula_vdc_id": tenant.vdc_id if tenant else None,
        "vnet_id": network.id if network else None,
        "sg_ids": list(network.security_groups) if network else None,
        "vr_id": router.id if router else None,
        "vr_vm_id": router.vm_ids[0] if router else None,
        "vr_vm_ids": list(router.vm_ids) if router else None,
        "vr_addresses": list(router.external_addresses) if router else None,
    }
    named = {name: metadata.pop(name, None) for name in ids}
    return {
        "order": offers.world.waldur.order(order).state,
        "resource": found.state,
        "limits": dict(found.limits),
        "metadata": {name: str(value).replace(found.slug, "its name") for name, value in metadata.items()},
        "points at it": tenant is None or (found.backend_id, named) == (str(tenant.id), ids),
        "router runs": router is not None and router.is_running,
        "rules": [str(rule) for rule in tenant.security_rules()] if tenant else [],
        "held": {
            method: len(offers.xml(method, *params))
            for method, params in (
                *(("one.grouppool.info", ()), ("one.vdcpool.info", ()), ("one.acl.info", ())),
                *(("one.vnpool.info", (-2, -1, -1)), ("one.secgrouppool.info", (-2, -1, -1))),
                *(("one.vrouterpool.info", (-2, -1, -1)), ("one.vmpool.info", (-2, -1, -1, -1))),
            )
        },
    }


def ordered_machine(offers: Offers) -> tuple[str, str]:
    placed = offers.order()
    return placed.order, placed.resource


def larger_machine(offers: Offers) -> tuple[str, str]:
    placed = offers.made()
    return offers.switch(placed.resource, "Medium"), placed.resource


def ending_machine(offers: Offers) -> tuple[str, str]:
    placed = offers.made()
    return offers.world.waldur.consumer().terminate(placed.resource), placed.resource


def ordered_tenant(offers: Offers) -> tuple[str, str]:
    placed = offers.world.order("acme", {"cpu": 1, "floating_ip": 1})
    return placed.order, placed.resource


def ending_tenant(offers: Offers) -> tuple[str, str]:
    placed = offers.world.made("acme", {"cpu": 1, "floating_ip": 1})
    return offers.world.waldur.consumer().terminate(placed.resource), placed.resource


SCENARIOS = {
    "create": Scenario(ordered_machine, lambda offers, _: ordered_machine(offers), Offers.document, machine_state),
    "switch": Scenario(
        larger_machine,
        lambda offers, resource: (offers.switch(resource, "Medium"), resource),
        Offers.document,
        machine_state,
    ),
    "terminate": Scenario(
        ending_machine,
        lambda offers, resource: (offers.world.waldur.consumer().terminate(resource), resource),
        Offers.document,
        machine_state,
    ),
    "create tenant": Scenario(
        ordered_tenant, lambda offers, _: ordered_tenant(offers), lambda offers: offers.world.document(), tenant_state
    ),
    "terminate tenant": Scenario(
        ending_tenant,
        lambda offers, resource: (offers.world.waldur.consumer().terminate(resource), resource),
        lambda offers: offers.world.document(),
        tenant_state,
    ),
}
OF_NETWORKS = ("one.secgroup", "one.vn.", "one.cluster", "one.vrouter", "one.vdc.addvnet", "one.group.update")
"""What tenants with networks are hit at; without networks they are elsewhere."""
OF_TENANTS = {"create tenant": ("refuse", "kill"), "terminate tenant": ("kill",)}
"""And by what: a reply that is lost is the library's business."""


def faults_of(offers: Offers, side: str) -> Any:
    return offers.world.waldur.faults if side == "waldur" else offers.world.server.faults


def arm(offers: Offers) -> None:
    offers.world.waldur.faults.arm()
    offers.world.server.faults.arm()


def cycle(offers: Offers, scenario: Scenario) -> None:
    """One cycle of orders and one of reports, by a new agent."""
    with offers.world.agent(scenario.document(offers)) as agent:
        agent.cycle([Mode.ORDER_PROCESS])
        agent.cycle([Mode.REPORT])


def undisturbed(name: str) -> tuple[dict[str, tuple[str, ...]], dict[str, Any], dict[str, Any]]:
    """The calls that an order takes, by side; what is held after it, and after its failure."""
    scenario = SCENARIOS[name]
    with new_offers() as offers:
        _prepare(offers, name)
        order, resource = scenario.prepare(offers)
        before = scenario.look(offers, order, resource)
        arm(offers)
        with offers.world.agent(scenario.document(offers)) as agent:
            assert agent.cycle([Mode.ORDER_PROCESS])
        calls = {side: faults_of(offers, side).calls for side in SIDES}
        cycle(offers, scenario)
        return calls, scenario.look(offers, order, resource), before


def _prepare(offers: Offers, name: str) -> None:
    if name.endswith("tenant"):
        offers.sell_networks()
    else:
        offers.sell_machines(offers.tenant())


UNDISTURBED = {name: undisturbed(name) for name in SCENARIOS}


def _hit(name: str, side: str, method: str) -> bool:
    """Whether a call is one that faults are put at."""
    if side == "waldur":
        return not name.endswith("tenant") or "metadata" in method
    return bool(CHANGING.fullmatch(method)) and (not name.endswith("tenant") or method.startswith(OF_NETWORKS))


def _kinds_at(name: str, side: str, method: str) -> tuple[str, ...]:
    """The kinds of faults at a call. An agent can be killed at any of them, also where nothing is changed."""
    if _hit(name, side, method):
        return tuple(kind for kind in KINDS[side] if kind in OF_TENANTS.get(name, KINDS[side]))
    return ("kill",) if THOROUGH else ()


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
        _prepare(offers, "machines")
        yield offers


@pytest.fixture(name="offers")
def _offers(request: pytest.FixtureRequest, name: str) -> Iterator[Offers]:
    if name.endswith("tenant"):
        with new_offers() as offers:
            _prepare(offers, name)
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


class Killed(BaseException):
    """The process is gone: no line of it runs any more."""


def kill_after(offers: Offers, scenario: Scenario, side: str, index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cycle of an agent that is gone right after a call."""
    seen = -1

    def count(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen >= index:
            raise Killed

    watched = ont.connect(offers.world.server.endpoint, offers.world.server.auth, on_call=count, retry=QUICK)
    with offers.world.agent(scenario.document(offers)) as doomed, watched, monkeypatch.context() as patch:
        (offering,) = doomed.offerings
        if side == "opennebula":
            offering.cloud = watched
        else:
            _count_waldur(doomed, count, patch)
        with pytest.raises(Killed):
            doomed.cycle([Mode.ORDER_PROCESS])


def _count_waldur(agent: Agent, count: Callable[[], None], patch: pytest.MonkeyPatch) -> None:
    calls = agent.offerings[0].waldur._calls
    ask = calls.ask

    def counting(action: str, request: Callable[[], Any]) -> Any:
        answer = ask(action, request)
        count()
        return answer

    patch.setattr(calls, "ask", counting)


@pytest.mark.parametrize(("name", "side", "index", "kind"), EACH)
def test_one_fault_or_kill_and_one_more_cycle_end_as_an_undisturbed_cycle(
    offers: Offers, monkeypatch: pytest.MonkeyPatch, name: str, side: str, index: int, kind: str
) -> None:
    scenario, (_, expected, before) = SCENARIOS[name], UNDISTURBED[name]
    order, resource = scenario.prepare(offers)
    arm(offers)
    if kind == "kill":
        kill_after(offers, scenario, side, index, monkeypatch)
    else:
        fault = FaultKind.REFUSE if kind == "refuse" else FaultKind.LOSE_REPLY
        faults_of(offers, side).arm(Fault(kind=fault, call=index, code=0x2000))
        with offers.world.agent(scenario.document(offers)) as agent:
            agent.cycle([Mode.ORDER_PROCESS])
        assert len(faults_of(offers, side).calls) > index
    arm(offers)
    cycle(offers, scenario)
    if kind == "refuse" and offers.world.waldur.order(order).state == "erred":
        assert "Refused on purpose" in offers.world.waldur.order(order).error_message
        after = scenario.look(offers, order, resource)
        same = {"machines", "phases", "counted", "addresses in use", "held", "rules", "router runs"} & after.keys()
        if name == "switch":  # what could not be taken back is in the error; the machine runs all the same
            assert [running for _, _, running, _ in after["machines"]] == [True]
            assert {"vcpu", "vm_ram", "vm_disk"} <= after["limits"].keys()
            assert after["limits"] == after["machines"][0][1]
        elif name != "terminate tenant":  # which goes on from where it stopped
            assert {key: after[key] for key in same} == {key: before[key] for key in same}
        if not name.startswith("create"):
            offers.world.waldur.resource(resource).state = ResourceState.OK
        order, resource = scenario.again(offers, resource)
        cycle(offers, scenario)
    assert scenario.look(offers, order, resource) == expected
