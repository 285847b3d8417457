"""Orders that are ended while they are carried out: what was done for them is taken back, and nothing else changes."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from agent.accounts import document, login, secret_file, settled, users
from agent.offers import MEDIUM, SMALL, Offers, is_running, new_offers, size
from agent.world import LIMITS, World, new_world
from onetenant_waldur.agent import Mode
from opennebula_tenancy.emulator import Config, Fault, FaultKind, FaultPlan
from tenants.pace import THOROUGH
from tenants.snapshot import snapshot


SET_BACKEND_ID = "POST /api/marketplace-provider-resources/{uuid}/set_backend_id/"
LOST = "The tenant (group {}) does not exist any more."


@pytest.fixture(name="offers")
def _offers() -> Iterator[Offers]:
    with new_offers() as offers:
        yield offers


@pytest.fixture(name="world")
def _world() -> Iterator[World]:
    with new_world(Config(step_s=0)) as world:
        yield world


class Dying(FaultPlan):
    """An OpenNebula that is not there any more from a call on, as to an agent that is killed at it.

    Args:
        at: The method of that call.
        kind: What happens to that one.
        number: Which call of the method it is, counted from 1.
    """

    def __init__(self, at: str, kind: FaultKind, number: int) -> None:
        super().__init__()
        self._at, self._kind, self._left = at, kind, number

    def take(self, method: str) -> Fault | None:
        super().take(method)
        if self._left <= 0:
            return Fault(kind=FaultKind.DROP)
        self._left -= method == self._at
        return Fault(kind=self._kind) if self._left <= 0 else None


def begin(
    world: World,
    order: str,
    at: str,
    settings: dict[str, Any] | None = None,
    *,
    kind: FaultKind = FaultKind.DROP,
    number: int = 1,
) -> None:
    """Have an agent go on with an order up to a call, where it ends."""
    with mock.patch.object(world.server.faults, "take", Dying(at, kind, number).take):
        assert not world.cycle(document=settings)


def said(logged: Any, *events: str) -> list[str]:
    return [str(one.get("reason", "")) for one in logged() if one["event"] in events]


# The end of a tenant


@pytest.mark.parametrize("at", ["one.vn.delete", "one.secgroup.delete", "one.group.delete"])
def test_a_tenant_whose_end_was_cancelled_half_way_is_made_whole_again(offers: Offers, logged: Any, at: str) -> None:
    world = offers.world
    offers.sell_networks()
    placed = world.made("acme", {"cpu": 1, "floating_ip": 1})
    before, subnet = world.in_opennebula(), world.waldur.resource(placed.resource).backend_metadata["subnet_cidr"]
    order = world.waldur.consumer().terminate(placed.resource)
    begin(world, order, at)
    world.waldur.cancel_order(order)
    assert world.cycle()
    resource, tenant = world.waldur.resource(placed.resource), world.tenant(placed.resource)
    assert tenant is not None
    assert world.in_opennebula() == before
    assert tenant.network is not None
    assert str(tenant.network.subnet) == subnet
    assert tenant.router is not None
    assert resource.backend_metadata["vr_id"] == tenant.router.id
    assert resource.backend_metadata["vnet_id"] == tenant.network.id
    assert len(said(logged, "order_taken_back")) == 1
    assert world.cycle(Mode.REPORT)
    assert world.waldur.resource(placed.resource).state == "OK"


@pytest.mark.parametrize("random", [False, True])
def test_an_account_that_went_with_the_end_of_a_tenant_comes_back_and_logs_in(
    world: World, tmp_path: Path, random: bool
) -> None:
    settings = document(world, None if random else secret_file(tmp_path))
    placed = world.order()
    assert world.cycle(document=settings)
    order = world.waldur.consumer().terminate(placed.resource)
    begin(world, order, "one.group.delete", settings)
    assert "vdc-one-1_admin" not in users(world)
    world.waldur.cancel_order(order)
    assert world.cycle(document=settings)
    login(world, placed.resource)
    assert world.cycle(Mode.REPORT, document=settings)
    assert world.waldur.resource(placed.resource).state == "OK"
    login(world, placed.resource)


@pytest.mark.parametrize("number", [2, 3])
def test_an_agent_that_ends_before_it_shows_the_new_credentials_is_followed_by_one_that_does(
    world: World, number: int
) -> None:
    settings = document(world)
    placed = world.order()
    assert world.cycle(document=settings)
    order = world.waldur.consumer().terminate(placed.resource)
    begin(world, order, "one.group.delete", settings)
    world.waldur.cancel_order(order)
    begin(world, order, "one.group.update", settings, kind=FaultKind.LOSE_REPLY, number=number)
    assert "vdc-one-1_admin" in users(world)
    assert world.cycle(document=settings)
    login(world, placed.resource)


def test_a_tenant_whose_end_was_cancelled_before_it_began_is_left_as_it_is(offers: Offers, logged: Any) -> None:
    world = offers.world
    offers.sell_networks()
    placed = world.made("acme", {"cpu": 1})
    order = world.waldur.consumer().terminate(placed.resource)
    begin(world, order, "one.vnpool.info")
    world.waldur.cancel_order(order)
    offers.sell_networks(default_dns="9.9.9.9")
    before = snapshot(world.server)
    assert world.cycle()
    assert snapshot(world.server) == before
    assert said(logged, "order_taken_back") == []
    assert len(said(logged, "nothing_to_take_back")) == 1


def test_a_tenant_that_was_gone_when_its_end_was_cancelled_is_reported_so(world: World, logged: Any) -> None:
    placed = world.made()
    group = world.waldur.resource(placed.resource).backend_id
    order = world.waldur.consumer().terminate(placed.resource)
    begin(world, order, "one.vdc.delete")
    world.waldur.cancel_order(order)
    assert world.cycle()
    assert said(logged, "order_taken_back") == []
    assert said(logged, "order_not_taken_back") == [LOST.format(group)]
    world.cycle(Mode.REPORT)
    assert world.waldur.resource(placed.resource).state == "Erred"


@pytest.mark.parametrize("kind", [FaultKind.DROP, FaultKind.LOSE_REPLY])
def test_an_agent_may_end_at_any_call_on_the_way_back(offers: Offers, tmp_path: Path, kind: FaultKind) -> None:
    world = offers.world
    offers.sell_networks()
    placed = world.order("vdc-one", {"cpu": 1})
    file = secret_file(tmp_path)
    assert world.cycle(document=document(world, file))
    whole = settled(world.in_opennebula())
    order = world.waldur.consumer().terminate(placed.resource)
    begin(world, order, "one.secgroup.delete", document(world, file))
    world.waldur.cancel_order(order)
    with world.copy() as undisturbed:
        undisturbed.server.faults.arm()
        assert undisturbed.cycle(document=document(undisturbed, file))
        calls = undisturbed.server.faults.calls
    for index in range(len(calls)) if THOROUGH else range(1, len(calls), 12):
        with world.copy() as hit:
            number = calls[: index + 1].count(calls[index])
            begin(hit, order, calls[index], document(hit, file), kind=kind, number=number)
            hit.cycle(document=document(hit, file))
            assert hit.cycle(document=document(hit, file)), (index, calls[index])
            assert settled(hit.in_opennebula()) == whole, (index, calls[index])
            login(hit, placed.resource)
            tenant, metadata = hit.tenant(placed.resource), hit.waldur.resource(placed.resource).backend_metadata
            assert tenant is not None
            assert tenant.router is not None
            assert metadata["vr_id"] == tenant.router.id, (index, calls[index])


def test_a_tenant_that_another_agent_removes_at_that_moment_is_made_anew_with_all_that_it_had(offers: Offers) -> None:
    world = offers.world
    offers.sell_networks()
    placed = world.made("acme", {"cpu": 3, "ram": 77, "floating_ip": 1})
    before = world.quota(placed.resource)
    order = world.waldur.consumer().terminate(placed.resource)
    begin(world, order, "one.vn.delete")
    world.waldur.cancel_order(order)
    take, removed = world.server.faults.take, list[str]()

    def remove(method: str) -> Fault | None:
        if method == "one.vdcpool.info" and not removed:
            removed.append(method)
            with world.cloud() as cloud:
                cloud.vdcs.delete(key=placed.resource)
        return take(method)

    with mock.patch.object(world.server.faults, "take", remove):
        assert world.cycle()
    tenant, resource = world.tenant(placed.resource), world.waldur.resource(placed.resource)
    assert removed
    assert tenant is not None
    assert resource.backend_id == str(tenant.id)
    assert resource.backend_metadata["opennebula_vdc_id"] == tenant.vdc_id
    assert world.quota(placed.resource) == before
    assert world.cycle(Mode.REPORT)
    assert resource.state == "OK"


def test_an_end_that_is_refused_half_way_leaves_the_tenant_whole(offers: Offers) -> None:
    world = offers.world
    offers.sell_networks()
    placed = world.made("acme", {"cpu": 1})
    before = world.in_opennebula()
    order = world.waldur.consumer().terminate(placed.resource)
    world.server.faults.arm(Fault(kind=FaultKind.REFUSE, method="one.vn.delete", code=0x2000, times=None))
    assert not world.cycle()
    world.server.faults.arm()
    assert world.waldur.order(order).state == "erred"
    assert world.waldur.order(order).error_message.startswith("one.vn.delete was refused")
    assert world.in_opennebula() == before
    assert world.cycle(Mode.REPORT)
    assert world.waldur.resource(placed.resource).state == "OK"


def test_a_tenant_that_cannot_be_made_whole_again_is_reported_with_what_it_has_lost(offers: Offers) -> None:
    world = offers.world
    offers.sell_networks()
    placed = world.made("acme", {"cpu": 1})
    order = world.waldur.consumer().terminate(placed.resource)
    refusals = [
        Fault(kind=FaultKind.REFUSE, method=method, code=0x2000, times=None)
        for method in ("one.vn.delete", "one.vrouter.allocate")
    ]
    world.server.faults.arm(*refusals)
    assert not world.cycle()
    world.server.faults.arm()
    assert "left behind: " in world.waldur.order(order).error_message
    world.cycle(Mode.REPORT)
    assert world.waldur.resource(placed.resource).state == "Erred"
    again = world.waldur.consumer().terminate(placed.resource)
    assert world.cycle()
    assert world.waldur.order(again).state == "done"
    assert world.tenant(placed.resource) is None


# A new tenant


def test_a_refusal_while_a_creation_is_taken_back_is_tried_again_by_the_same_agent(offers: Offers, logged: Any) -> None:
    world = offers.world
    offers.sell_networks()
    before = world.in_opennebula()
    placed = world.order("acme", {"cpu": 1})
    world.waldur.faults.arm(Fault(kind=FaultKind.BAD_GATEWAY, method=SET_BACKEND_ID))
    with world.agent() as agent:
        assert not agent.process_orders()
        world.waldur.cancel_order(placed.order)
        world.server.faults.arm(Fault(kind=FaultKind.REFUSE, method="one.vn.delete", code=0x2000))
        assert not agent.process_orders()
        assert said(logged, "order_taken_back") == []
        assert agent.process_orders()
    assert world.in_opennebula() == before
    assert len(said(logged, "order_taken_back")) == 1


def test_a_creation_that_cannot_be_taken_back_is_given_up_after_many_attempts(world: World, logged: Any) -> None:
    placed = world.order()
    world.waldur.faults.arm(Fault(kind=FaultKind.BAD_GATEWAY, method=SET_BACKEND_ID))
    with world.agent(world.document(max_attempts=1)) as agent:
        assert not agent.process_orders()
        world.waldur.cancel_order(placed.order)
        world.server.faults.arm(Fault(kind=FaultKind.REFUSE, method="one.group.delete", code=0x2000, times=None))
        for _ in range(19):
            assert not agent.process_orders()
        assert agent.process_orders()
    assert len(said(logged, "order_given_up")) == 1


def test_what_is_left_of_a_creation_that_erred_is_removed_in_a_later_cycle(world: World) -> None:
    before = world.in_opennebula()
    placed = world.order()
    world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, code=400, method=SET_BACKEND_ID, times=None))
    world.server.faults.arm(Fault(kind=FaultKind.REFUSE, method="one.group.delete", code=0x2000))
    with world.agent() as agent:
        assert not agent.process_orders()
        assert "left behind: " in world.waldur.order(placed.order).error_message
        assert agent.process_orders()
    assert world.in_opennebula() == before


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("refused", ["one.user.delete", "one.group.delete", "one.vdc.delete"])
def test_what_is_left_of_a_creation_whose_id_waldur_has_is_removed_too_unless_it_is_whole(
    world: World, tmp_path: Path, refused: str, killed: bool
) -> None:
    settings, before = document(world, secret_file(tmp_path)), world.in_opennebula()
    placed = world.order()
    metadata = "POST /api/marketplace-provider-resources/{uuid}/set_backend_metadata/"
    world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, code=400, method=metadata, times=None))
    world.server.faults.arm(Fault(kind=FaultKind.REFUSE, method=refused, code=0x2000))
    with world.agent(settings) as agent:
        assert not agent.process_orders()
        world.waldur.faults.arm()
        assert world.waldur.resource(placed.resource).state == "Erred"
        agent.report_usage()
        is_whole = refused == "one.user.delete"
        assert world.waldur.resource(placed.resource).state == ("OK" if is_whole else "Erred")
        assert killed or agent.process_orders()
    assert not killed or world.cycle(document=settings)
    assert world.waldur.order(placed.order).backend_id == "agent failures: 0"
    assert (world.in_opennebula() == before) is not is_whole
    if is_whole:
        login(world, placed.resource)


def test_a_tenant_that_was_kept_and_is_used_is_not_taken_back_when_a_later_order_errs(
    world: World, tmp_path: Path
) -> None:
    settings = document(world, secret_file(tmp_path))
    placed = world.order()
    metadata = "POST /api/marketplace-provider-resources/{uuid}/set_backend_metadata/"
    world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, code=400, method=metadata, times=None))
    world.server.faults.arm(Fault(kind=FaultKind.REFUSE, method="one.user.delete", code=0x2000))
    with world.agent(settings) as agent:
        assert not agent.process_orders()
        world.waldur.faults.arm()
        agent.report_usage()
        assert world.waldur.resource(placed.resource).state == "OK"
        update = world.waldur.consumer().update_limits(placed.resource, {"cpu": 2})
        agent.offerings[0].waldur.approve(uuid.UUID(update))
        agent.offerings[0].waldur.set_erred(uuid.UUID(update), "by staff", "")
        assert world.waldur.resource(placed.resource).state == "Erred"
        agent.process_orders()
    login(world, placed.resource)


def test_a_creation_that_somebody_ended_while_no_agent_was_there_leaves_nothing(world: World, logged: Any) -> None:
    before = world.in_opennebula()
    placed = world.order()
    begin(world, placed.order, "one.group.quota")
    assert world.in_opennebula() != before
    with world.agent() as agent:
        agent.offerings[0].waldur.set_erred(uuid.UUID(placed.order), "by staff", "")
    assert world.waldur.resource(placed.resource).state == "Terminated"
    assert world.cycle()
    assert world.in_opennebula() == before
    assert world.cycle()
    assert len(said(logged, "order_taken_back")) == 1


def test_an_order_that_was_deleted_in_waldur_is_forgotten(world: World, logged: Any) -> None:
    placed = world.order()
    world.waldur.faults.arm(Fault(kind=FaultKind.BAD_GATEWAY, method=SET_BACKEND_ID))
    with world.agent() as agent:
        assert not agent.process_orders()
        with world.waldur.state.lock:
            world.waldur.state.orders[:] = [one for one in world.waldur.state.orders if one.uuid != placed.order]
        assert agent.process_orders()
        calls = len(world.waldur.faults.calls)
        assert agent.process_orders()
        assert len(world.waldur.faults.calls) == calls + 1
    (event,) = [one for one in logged() if one["event"] == "order_gone"]
    assert event["key"] == placed.resource


# Other limits, another plan


def test_an_update_whose_end_waldur_never_takes_errs_and_the_former_limits_are_back(world: World) -> None:
    placed = world.made()
    order = world.waldur.consumer().update_limits(placed.resource, {**LIMITS, "cpu": 40})
    done = "POST /api/marketplace-orders/{uuid}/set_state_done/"
    world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, method=done, code=500, times=None))
    with world.agent(world.document(max_attempts=1)) as agent:
        for _ in range(20):
            assert world.waldur.order(order).state != "erred"
            assert not agent.process_orders()
    assert world.waldur.order(order).state == "erred"
    assert world.waldur.order(order).error_message == (
        "The order could not be carried out in 20 attempts, although OpenNebula and Waldur were there for others; "
        f"the log of the provider's agent has the details of {uuid.UUID(order)}."
    )
    assert world.quota(placed.resource).cpu == LIMITS["cpu"]


def test_a_creation_that_one_call_of_waldur_always_fails_for_errs_in_the_end_and_leaves_nothing(world: World) -> None:
    before = world.in_opennebula()
    placed = world.order()
    world.waldur.faults.arm(Fault(kind=FaultKind.REFUSE, method=SET_BACKEND_ID, code=500, times=None))
    with world.agent(world.document(max_attempts=1)) as agent:
        for _ in range(20):
            assert not agent.process_orders()
        assert agent.process_orders()
    assert world.waldur.order(placed.order).state == "erred"
    assert world.in_opennebula() == before


@pytest.mark.parametrize("at", ["one.vm.action", "one.vm.resize", "one.vm.diskresize"])
def test_a_switch_of_plans_that_was_interrupted_and_cancelled_leaves_the_machine_running(
    offers: Offers, logged: Any, at: str
) -> None:
    offers.sell_machines(offers.tenant())
    placed = offers.made()
    order = offers.switch(placed.resource, "Medium")
    begin(offers.world, order, at, offers.document(), kind=FaultKind.LOSE_REPLY)
    offers.world.waldur.cancel_order(order)
    assert offers.cycle()
    machine = offers.machine(placed.resource)
    grown = at == "one.vm.diskresize"
    assert is_running(machine)
    assert machine.findtext("USER_TEMPLATE/TENANCY_PHASE") == "ready"
    assert size(machine) == {**SMALL, "vm_disk": MEDIUM["vm_disk"] if grown else SMALL["vm_disk"]}
    assert ["cannot shrink back" in reason for reason in said(logged, "order_not_taken_back")] == [True] * grown


def test_a_machine_that_was_terminated_before_its_end_was_cancelled_is_said_to_be_gone(
    offers: Offers, logged: Any
) -> None:
    offers.sell_machines(offers.tenant())
    placed = offers.made()
    order = offers.world.waldur.consumer().terminate(placed.resource)
    done = "POST /api/marketplace-orders/{uuid}/set_state_done/"
    offers.world.waldur.faults.arm(Fault(kind=FaultKind.BAD_GATEWAY, method=done))
    assert not offers.cycle()
    offers.world.waldur.cancel_order(order)
    assert offers.cycle()
    (reason,) = said(logged, "order_not_taken_back")
    assert "does not exist in OpenNebula any more" in reason
    other = offers.made("other")
    order = offers.world.waldur.consumer().terminate(other.resource)
    begin(offers.world, order, "one.vm.action", offers.document())
    offers.world.waldur.cancel_order(order)
    assert offers.cycle()
    assert is_running(offers.machine(other.resource))
