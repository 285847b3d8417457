"""Orders of machines whose templates bring more disks than the one that is ordered."""

from collections.abc import Iterator

import attrs
import pytest

from agent.offers import SMALL, Offers, is_running, new_offers
from onetenant_waldur.agent import Mode
from onetenant_waldur.marketplace import BillingType, Plan


DATA_MB = 1024


@pytest.fixture(name="prepared", scope="module")
def _prepared() -> Offers:
    with new_offers() as offers:
        offers.sell_machines(offers.tenant())
        data = offers.world.raw("one.image.allocate", f'NAME=data\nTYPE=DATABLOCK\nSIZE={DATA_MB}\nPATH=""', 1)
        image = offers.xml("one.template.info", offers.template, False).findtext("TEMPLATE/DISK/IMAGE_ID")
        offers.world.server.settle()
        disks = f"DISK=[IMAGE_ID={image}]\nDISK=[IMAGE_ID={data}]\nDISK=[TYPE=swap,SIZE=100]"
        offers.world.raw("one.template.update", offers.template, disks, 1)
    return offers


@pytest.fixture(name="offers")
def _offers(prepared: Offers) -> Iterator[Offers]:
    with prepared.world.copy() as world:
        yield attrs.evolve(prepared, world=world)


def disks(offers: Offers, resource: str) -> list[str | None]:
    return [disk.findtext("SIZE") for disk in offers.machine(resource).iterfind("TEMPLATE/DISK")]


def test_orders_of_other_cores_leave_the_disks_and_what_is_billed_for_them_as_they_are(offers: Offers) -> None:
    vm = offers.world.waldur.vm
    for component in vm.components:
        component.billing_type = BillingType.LIMIT
    vm.plans[:] = [Plan("Default")]
    consumer = offers.world.waldur.consumer()
    placed = consumer.place_order(vm, "web", SMALL)
    assert offers.cycle()
    resource = offers.world.waldur.resource(placed.resource)
    assert resource.limits == SMALL
    for vcpu in (2, 3, 4):
        order = consumer.update_limits(placed.resource, {**resource.limits, "vcpu": vcpu})
        assert offers.cycle()
        assert offers.world.waldur.order(order).state == "done"
        assert offers.world.cycle(Mode.REPORT, document=offers.document())
        resource = offers.world.waldur.resource(placed.resource)
        assert resource.limits == {**SMALL, "vcpu": vcpu}
        assert disks(offers, placed.resource) == [str(SMALL["vm_disk"]), str(DATA_MB), "100"]
    usages = consumer.usages(placed.resource)
    assert usages["vm_disk"] == f"{SMALL['vm_disk'] + DATA_MB + 100}.00"


def test_plans_that_say_nothing_of_disks_leave_them_as_they_are(offers: Offers) -> None:
    vm = offers.world.waldur.vm
    vm.plans[:] = [Plan("Small", SMALL), *(Plan(f"{cores} cores", {"vcpu": cores, "vm_ram": 512}) for cores in (2, 3))]
    placed = offers.made(plan="Small")
    for cores in (2, 3):
        order = offers.switch(placed.resource, f"{cores} cores")
        assert offers.cycle()
        assert offers.world.waldur.order(order).state == "done"
        assert offers.world.waldur.resource(placed.resource).limits == {**SMALL, "vcpu": cores}
        assert disks(offers, placed.resource) == [str(SMALL["vm_disk"]), str(DATA_MB), "100"]


def test_a_system_that_does_not_shut_down_for_another_size_has_its_plug_pulled_when_the_settings_say(
    offers: Offers,
) -> None:
    offers.world.waldur.vm.plugin_options["vm_poweroff_timeout_s"] = 0.1
    placed = offers.made(plan="Small")
    actions = offers.world.server.cloud.driver_actions
    actions.hang("shutdown")
    order = offers.switch(placed.resource, "Medium")
    assert offers.cycle()
    assert offers.world.waldur.order(order).state == "done"
    assert is_running(offers.machine(placed.resource))


def test_an_order_of_a_larger_disk_grows_the_first_one(offers: Offers) -> None:
    vm = offers.world.waldur.vm
    for component in vm.components:
        component.billing_type = BillingType.LIMIT
    vm.plans[:] = [Plan("Default")]
    consumer = offers.world.waldur.consumer()
    placed = consumer.place_order(vm, "web", SMALL)
    assert offers.cycle()
    larger = {**SMALL, "vm_disk": SMALL["vm_disk"] + 1}
    consumer.update_limits(placed.resource, larger)
    assert offers.cycle()
    assert disks(offers, placed.resource) == [str(larger["vm_disk"]), str(DATA_MB), "100"]
    assert offers.world.waldur.resource(placed.resource).limits == larger
