"""Several orders at the same time: bounded, one resource at a time, and no agent in another's way."""

import threading
import uuid
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

import opennebula_tenancy as ont
from agent import accounts
from agent.offers import MEDIUM, SMALL, Offers, is_running, new_offers
from agent.world import PLUGIN_OPTIONS, World
from onetenant_waldur.agent import Mode
from onetenant_waldur.agent_process import AgentProcess
from onetenant_waldur.marketplace import Component, Placed, Plan
from onetenant_waldur.offering import Offering as OfferingAtWork
from opennebula_tenancy import waiting
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from opennebula_tenancy.emulator.driver_actions import DriverActions, Outcome
from opennebula_tenancy.emulator.driving import ask
from opennebula_tenancy.emulator.vms import VirtualMachine


APPROVE = "POST /api/marketplace-orders/{uuid}/approve_by_provider/"
OFFERING = "GET /api/marketplace-provider-offerings/{uuid}/"
SET_DONE = "POST /api/marketplace-orders/{uuid}/set_state_done/"
SET_BACKEND_ID = "POST /api/marketplace-provider-resources/{uuid}/set_backend_id/"
ORDERS = 20
SET_METADATA = "POST /api/marketplace-provider-resources/{uuid}/set_backend_metadata/"
IMPATIENT_S = 60


_BEGINNING = {"prolog", "deploy"}
"""What hosts do for a machine before it runs."""


class SlowHosts(DriverActions):
    """Hosts that bring a machine up only while so many are asked for at once, the one that has waited longest first.

    Once all that are to come have come, they bring up all of them; and once one was waited for in vain, each at once.

    Args:
        server: Whose hosts they are.
        at_once: How many have to wait.
        all_of_them: How many machines there will be.

    Attributes:
        started: How many were asked for.
        waiting: The machines that wait.
        seen: Who waited whenever one was brought up.
    """

    def __init__(self, server: Emulator, at_once: int, all_of_them: int) -> None:
        super().__init__()
        self._cloud, self._at_once, self._all = server.cloud, at_once, all_of_them
        self._brought_up: set[int] = set()
        self.started = 0
        self.waiting: deque[VirtualMachine] = deque()
        self.seen: list[list[str]] = []
        server.cloud.driver_actions = self

    def take(self, action: str, oid: int) -> Outcome:
        """Begin an action; the server holds its lock meanwhile."""
        if action not in _BEGINNING:
            self._at_once = 1  # one was given up: those to come are not to wait for as many
            self.waiting.clear()
        if action != "deploy" or oid in self._brought_up:
            return super().take(action, oid)
        self.started += 1
        self.waiting.append(self._cloud.pool(VirtualMachine).get(oid))
        if len(self.waiting) >= self._at_once or self.started == self._all:
            self.seen.append([vm.name for vm in self.waiting])
            for _ in range(len(self.waiting) if self.started == self._all else 1):
                self._bring_up(self.waiting.popleft(), oid)
        return super().take(action, oid) if oid in self._brought_up else Outcome(hangs=True)

    def _bring_up(self, vm: VirtualMachine, asked_for: int) -> None:
        self._brought_up.add(vm.id)
        if vm.id != asked_for and vm.doing is not None:
            ask(self._cloud, vm, vm.doing)


def at_hand(world: World) -> Callable[[], dict[str, int]]:
    """How many orders are accepted and not done, and how many were at most."""
    lock = threading.Lock()
    state = {"open": 0, "most": 0}

    def watch(call: str) -> None:
        with lock:
            state["open"] += (call == APPROVE) - (call == SET_DONE)
            state["most"] = max(state["most"], state["open"])

    world.waldur.before_call = watch
    return lambda: state


@pytest.fixture(name="parent", scope="module")
def _parent() -> Offers:
    """A tenant with room for all machines."""
    with new_offers() as offers:
        parent = offers.tenant()
        offers.sell_machines(parent, vm_timeout_s=IMPATIENT_S)
        with offers.world.cloud() as cloud:
            cloud.vdcs.get(parent).set_quota(ont.Quota(cpu=ORDERS, memory_mb=ORDERS * SMALL["vm_ram"]))
        offers.world.offering.plugin_options.clear()
        offers.world.offering.plugin_options.update(PLUGIN_OPTIONS)
    return offers


@pytest.fixture(name="offers")
def _offers(parent: Offers, monkeypatch: pytest.MonkeyPatch) -> Any:
    """That tenant, a copy for each test."""
    monkeypatch.setattr(waiting, "_SHORTEST_S", 0.03)
    with parent.world.copy() as world:
        yield Offers(world, parent.external, parent.template)


def not_done(world: World, placed: list[Placed]) -> list[tuple[str, str]]:
    """The orders that are in another state, and what is said of them."""
    orders = [world.waldur.order(one.order) for one in placed]
    return [(str(order.state), order.error_message) for order in orders if order.state != "done"]


def test_twenty_machines_are_made_in_the_time_of_the_slowest(offers: Offers) -> None:
    # None is brought up before all are being brought up: nothing but all at the same time ends.
    hosts = SlowHosts(offers.world.server, ORDERS, ORDERS)
    placed = [offers.order(f"web-{number}") for number in range(ORDERS)]
    assert offers.cycle(document=offers.document(max_workers=ORDERS, max_connections=4))
    assert not_done(offers.world, placed) == []
    assert [sorted(names) for names in hosts.seen] == [sorted(f"web-{number}" for number in range(ORDERS))]
    assert sorted(is_running(vm) for vm in offers.machines()) == [True] * ORDERS


def test_as_many_machines_are_under_way_as_there_are_workers_as_long_as_there_are_orders(offers: Offers) -> None:
    workers = 4
    hosts = SlowHosts(offers.world.server, workers, ORDERS)
    under_way = at_hand(offers.world)
    waldur, document = offers.world.waldur, offers.document(max_workers=workers, max_connections=workers)
    plans = [Plan("Small", SMALL), Plan("Medium", MEDIUM)]
    more = waldur.add_offering("More", waldur.vm.components, plans, plugin_options=waldur.vm.plugin_options)
    document["offerings"].append({**document["offerings"][0], "name": "More", "waldur_offering_uuid": more.uuid})
    placed = [
        waldur.consumer().place_order(offering, f"{name}-{number}", plan="Small")
        for name, offering in (("one", waldur.vm), ("two", more))
        for number in range(ORDERS // 2)
    ]
    assert offers.cycle(document=document)
    assert not_done(offers.world, placed) == []
    assert under_way() == {"open": 0, "most": workers}
    assert [len(names) for names in hosts.seen] == [workers] * (ORDERS - workers + 1)
    # The orders of an offering that were placed later do not wait for those of the other one.
    shares = [Counter(name.partition("-")[0] for name in names) for names in hosts.seen]
    assert shares[2 : ORDERS - 2 * workers] == [Counter(one=2, two=2)] * (ORDERS - 2 * workers - 2)


def test_no_more_orders_are_at_hand_than_there_are_workers(world: World) -> None:
    under_way = at_hand(world)
    for number in range(6):
        world.order(f"vdc-{number}")
    assert world.cycle(document=world.document(max_workers=3))
    assert under_way() == {"open": 0, "most": 3}


def test_an_offering_whose_servers_hang_does_not_hold_up_another(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    more = world.waldur.add_offering("Second", [Component("cpu", "CPU")], plugin_options=PLUGIN_OPTIONS)
    document = world.document(max_workers=2)
    document["offerings"].append({**document["offerings"][0], "name": "Second", "waldur_offering_uuid": more.uuid})
    done_meanwhile = threading.Event()
    consumer = world.waldur.consumer()
    placed = [world.order("one"), *(consumer.place_order(more, f"two-{number}", {"cpu": 1}) for number in range(3))]
    terms = OfferingAtWork.terms

    def hanging(self: OfferingAtWork) -> Any:
        # One goes on when the other is through.
        assert self.settings.name == "Second" or done_meanwhile.wait(30)
        return terms(self)

    def look(call: str) -> None:
        if call.endswith("set_state_done/") and world.waldur.faults.calls.count(call) == 2:
            done_meanwhile.set()

    monkeypatch.setattr(OfferingAtWork, "terms", hanging)
    world.waldur.before_call = look
    assert world.cycle(document=document)
    assert {world.waldur.order(one.order).state for one in placed} == {"done"}


def test_orders_of_one_resource_are_carried_out_one_after_the_other(world: World) -> None:
    made = world.order()
    world.waldur.faults.arm(Fault(kind=FaultKind.DROP, method="POST /api/marketplace-orders/{uuid}/set_state_done/"))
    assert not world.cycle()
    # Staff ends the creation by hand, and the customer orders the next thing at once.
    world.waldur.order(made.order).state = "done"  # type: ignore[assignment]
    world.waldur.resource(made.resource).state = "OK"  # type: ignore[assignment]
    order = world.waldur.consumer().update_limits(made.resource, {"cpu": 9})
    world.waldur.faults.arm()
    assert world.cycle()
    assert world.waldur.order(order).state == "done"
    assert world.quota(made.resource).cpu == 9


def side_by_side(*works: Callable[[], object]) -> None:
    """Do several things at the same time, beginning together."""
    start = threading.Barrier(len(works))
    failed: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            start.wait(30)
            work()
        except BaseException as error:  # noqa: BLE001  the thread would end in silence
            failed.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert not failed
    assert not any(thread.is_alive() for thread in threads)


def two_agents(world: World, document: dict[str, Any]) -> None:
    """Two agents of this process that look for orders once, at the same time."""
    with world.agent(document) as one, world.agent(document) as other:
        side_by_side(*(lambda agent=agent: agent.cycle([Mode.ORDER_PROCESS]) for agent in (one, other)))


def two_processes(document: dict[str, Any], folder: Path) -> None:
    """The same, in processes of their own."""
    agents = [AgentProcess(document, folder / f"{number}.log") for number in range(2)]
    for agent in agents:
        agent.start()
    assert [agent.wait() for agent in agents] == [0, 0]


def let_both_look_first(world: World, offerings: int) -> None:
    """Have no order accepted before two agents have seen all orders of so many offerings."""
    looks, changed = [0], threading.Condition()

    def watch(call: str) -> None:
        with changed:
            looks[0] += call == OFFERING  # which is asked for once the orders have been read
            changed.notify_all()
            assert call != APPROVE or changed.wait_for(lambda: looks[0] >= 2 * offerings, 30)

    world.waldur.before_call = watch


@pytest.mark.parametrize(("workers", "count"), [(1, 5), (4, ORDERS)])
def test_two_agents_started_together_do_each_order_once(world: World, workers: int, count: int) -> None:
    orders = [world.order(f"vdc-{number}") for number in range(count)]
    let_both_look_first(world, 1)
    two_agents(world, world.document(max_workers=workers, max_connections=workers))
    assert not_done(world, orders) == []
    calls = world.waldur.faults.calls
    assert calls.count(SET_DONE) == len(orders)
    assert calls.count(SET_BACKEND_ID) == len(orders)
    with world.cloud() as cloud:
        assert sorted(vdc.key for vdc in cloud.vdcs.list()) == sorted(one.resource for one in orders)
    assert world.server.calls.count("one.vdc.allocate") == len(orders)
    assert world.server.calls.count("one.group.allocate") == len(orders)
    assert world.cycle()


@attrs.frozen
class Mixed:
    """Orders of tenants with accounts and of machines, and the settings of their agents."""

    offers: Offers
    document: dict[str, Any]
    tenants: list[Placed]
    machines: list[Placed]

    @classmethod
    def placed(cls, offers: Offers, secret: Path | None) -> "Mixed":
        document = accounts.document(offers.world, secret) | {"max_workers": 3, "max_connections": 3}
        document["offerings"] += offers.document()["offerings"]
        tenants = [offers.world.order(f"vdc-{number}") for number in range(3)]
        machines = [offers.order(f"web-{number}") for number in range(3)]
        offers.world.server.faults.arm()
        offers.world.waldur.faults.arm()
        return cls(offers, document, tenants, machines)

    @property
    def all(self) -> list[Placed]:
        return [*self.tenants, *self.machines]

    def check(self) -> None:
        """Each is there once, and whoever logs in with what Waldur shows is the tenant's administrator."""
        world = self.offers.world
        assert not_done(world, self.all) == []
        assert {world.waldur.resource(one.resource).state for one in self.all} == {"OK"}
        for tenant in self.tenants:
            boss = accounts.login(world, tenant.resource)
            group = boss.xml("one.user.info", -1).findtext("GID")
            assert group == world.waldur.resource(tenant.resource).backend_id
        made = {f"{world.waldur.resource(one.resource).slug}_admin" for one in self.tenants}
        assert accounts.users(world) == {"oneadmin", "serveradmin"} | made
        with world.cloud() as cloud:
            keys = [vdc.key for vdc in cloud.vdcs.list() if vdc.name != "parent-1"]
        assert sorted(keys) == sorted(one.resource for one in self.tenants)
        for one in self.machines:
            assert world.waldur.resource(one.resource).backend_id == self.offers.machine(one.resource).findtext("ID")
        assert len(self.offers.machines()) == len(self.machines)


@pytest.mark.parametrize("are_processes", [False, True], ids=["threads", "processes"])
@pytest.mark.parametrize("is_derived", [True, False], ids=["derived", "random"])
def test_two_agents_do_each_order_of_an_account_and_of_a_machine_once(
    offers: Offers, tmp_path: Path, is_derived: bool, are_processes: bool
) -> None:
    world, mixed = offers.world, Mixed.placed(offers, accounts.secret_file(tmp_path) if is_derived else None)
    let_both_look_first(world, 2)
    if are_processes:
        two_processes(mixed.document, tmp_path)
    else:
        two_agents(world, mixed.document)
    mixed.check()
    done, made = world.waldur.faults.calls, world.server.calls
    assert done.count(APPROVE) > len(mixed.all)
    assert (done.count(SET_DONE), done.count(SET_BACKEND_ID)) == (len(mixed.all), len(mixed.all))
    assert made.count("one.user.allocate") == made.count("one.group.allocate") == len(mixed.tenants)
    assert made.count("one.template.instantiate") == len(mixed.machines)


@pytest.mark.parametrize("is_derived", [True, False], ids=["derived", "random"])
def test_two_agents_that_both_find_orders_executing_end_them_well(
    offers: Offers, tmp_path: Path, is_derived: bool
) -> None:
    world, mixed = offers.world, Mixed.placed(offers, accounts.secret_file(tmp_path) if is_derived else None)
    with world.agent(mixed.document) as agent:
        for one in mixed.all:
            agent.offerings[0].waldur.approve(uuid.UUID(one.order))
    two_agents(world, mixed.document)
    world.cycle(document=mixed.document)
    mixed.check()


@pytest.mark.parametrize("moment", ["first password", "reset"])
def test_an_order_whose_password_another_agent_replaces_at_that_moment_ends_well(world: World, moment: str) -> None:
    document, placed = accounts.document(world), world.order()
    if moment == "reset":  # the account is made, and its password is known to nobody
        world.waldur.faults.arm(Fault(kind=FaultKind.BAD_GATEWAY, method=SET_METADATA, times=None))
        assert not world.cycle(document=document)
        world.waldur.faults.arm()
        world.server.faults.arm()
    take = world.server.faults.take
    others: list[str] = []

    def taking(method: str) -> Fault | None:
        if world.server.calls[-1:] == ("one.user.chauth",) and not others:
            others.append(moment)
            users = accounts.root(world).xml("one.userpool.info").iter("USER")
            (user,) = [one for one in users if (one.findtext("NAME") or "").endswith("_admin")]
            world.raw("one.user.chauth", int(user.findtext("ID") or ""), "core", "as-another-agent-sets-one")
        return take(method)

    world.server.faults.take = taking  # type: ignore[method-assign]
    world.cycle(document=document)
    assert others
    assert not_done(world, [placed]) == []
    assert world.waldur.resource(placed.resource).state == "OK"
    accounts.login(world, placed.resource)


@pytest.mark.parametrize("index", [0, 1], ids=["what the tenant is", "its credentials"])
def test_an_agent_that_writes_over_the_password_of_another_one_that_has_ended_the_order_sets_one_again(
    world: World, index: int
) -> None:
    document, placed = accounts.document(world), world.order()
    former = {accounts.USERNAME: "vdc-one-1_admin", accounts.PASSWORD: "of-another-account"}
    world.waldur.resource(placed.resource).backend_metadata = former
    handed_over: list[ont.Credentials] = []

    def other(call: str) -> None:
        if call == SET_METADATA and world.waldur.faults.calls.count(call) == index:
            world.waldur.before_call = None
            world.cycle(document=document)
            assert not_done(world, [placed]) == []
            handed_over.append(accounts.shown(world, placed.resource))

    world.waldur.before_call = other
    assert world.cycle(document=document)
    assert accounts.shown(world, placed.resource) not in handed_over
    accounts.login(world, placed.resource)
    assert handed_over
