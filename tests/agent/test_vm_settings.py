"""What is said about virtual machines, and what their components stand for."""

import uuid
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from agent.test_network_settings import merged
from agent.test_settings import minimal, problems
from onetenant_waldur.records import ComponentTerms, OfferingTerms
from onetenant_waldur.settings import ComponentOverride
from onetenant_waldur.vm_components import VmComponents
from onetenant_waldur.vm_terms import VmTerms
from opennebula_tenancy import SettingsError, VmSize, VmUsage


SMALL, EMPTY, GONE = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
VCPU, RAM_GB, DISK_GB = (
    ComponentTerms("vcpu", "fixed"),
    ComponentTerms("vm_ram", "fixed", 1024),
    ComponentTerms("vm_disk", "fixed", 1024),
)
PLAN = {"vcpu": 2, "vm_ram": 0.5, "vm_disk": 10}


def components(*terms: ComponentTerms, plan: dict[str, float] | None = None, **overrides: Any) -> VmComponents:
    found = OfferingTerms(terms or (VCPU, RAM_GB, DISK_GB), {SMALL: PLAN if plan is None else plan, EMPTY: {}}, {})
    return VmComponents.of(found, {name: ComponentOverride(**said) for name, said in overrides.items()})


def terms(**options: Any) -> VmTerms:
    return VmTerms(components(), merged({"template_id": 0, "parent_vdc_backend_id": "acme", **options}), None)


def test_a_plan_is_a_size_by_its_factors_and_what_a_machine_has_comes_back() -> None:
    sold = components()
    assert sold.size({}, SMALL) == VmSize(vcpu=2, memory_mb=512, disk_mb=10240)
    held = VmUsage(vcpu=2, cpu=Decimal(1), memory_mb=512, disk_mb=10240)
    assert sold.limits(held) == PLAN
    assert sold.included(held) == {"vcpu": Decimal(2), "vm_ram": Decimal("0.50"), "vm_disk": Decimal(10)}
    assert sold.usage(held) == {}
    assert sold.remarks == ()


def test_what_a_plan_does_not_say_or_has_as_0_is_not_in_the_size() -> None:
    assert components(plan={"vcpu": 2, "vm_ram": 0}).size({}, SMALL) == VmSize(vcpu=2)
    assert components().size({}, EMPTY) == VmSize()


def test_a_plan_counts_more_than_limits_that_waldur_repeats_from_an_older_plan() -> None:
    assert components().size({"vcpu": 1, "vm_ram": 0.25, "vm_disk": 5}, SMALL).vcpu == 2


def test_components_that_are_billed_by_limit_come_from_the_order_and_are_reported() -> None:
    sold = components(ComponentTerms("vcpu", "limit"), ComponentTerms("vm_ram", "usage", 1), plan={})
    assert sold.size({"vcpu": 3}, SMALL) == VmSize(vcpu=3)
    held = VmUsage(vcpu=3, cpu=Decimal(3), memory_mb=100, disk_mb=7)
    assert sold.usage(held) == {"vcpu": Decimal(3), "vm_ram": Decimal(100)}
    assert sold.remarks == ("component vm_disk: not sold; machines have there what their template says",)


def test_a_plan_counts_also_where_the_settings_call_its_components_limits() -> None:
    sold = components(vcpu={"accounting_type": "limit"}, vm_ram={"unit_factor": Fraction(2)})
    assert sold.size({}, SMALL, cpu_per_vcpu=Fraction(1, 4)).vcpu == 2
    assert sold.size({}, SMALL).memory_mb == 1


def test_components_that_no_machine_has_are_remarked_on_and_left_out() -> None:
    sold = components(VCPU, RAM_GB, DISK_GB, ComponentTerms("gpu", "fixed"), ComponentTerms("setup", "one"), ram={})
    assert [remark.partition(":")[0] for remark in sold.remarks] == ["component gpu", "component ram"]


def test_a_plan_that_is_not_one_of_the_offering_and_a_factor_of_0_are_refused() -> None:
    with pytest.raises(SettingsError, match="is not among those of the offering"):
        components().size({}, GONE)
    with pytest.raises(SettingsError, match="component vcpu: the factor 0 is not above 0"):
        components(ComponentTerms("vcpu", "fixed", 0))


def test_amounts_that_are_no_size_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"size.vcpu: 5/2 is not a whole number"):
        components(plan={"vcpu": 2.5}).size({}, SMALL)


@pytest.mark.parametrize(("ratio", "share"), [(None, 2), ("0.5", 1), (0.25, Decimal("0.5"))])
def test_the_share_of_physical_cores_follows_the_ratio_of_the_settings(ratio: Any, share: Any) -> None:
    assert terms(cpu_per_vcpu=ratio).size({}, SMALL).share == share


@pytest.mark.parametrize("parent", [104, "104", "acme"])
def test_a_parent_is_an_id_or_a_name(parent: object) -> None:
    assert terms(parent_vdc_backend_id=parent).parents == {str(parent)}


def test_a_template_of_0_is_one_and_what_is_allowed_besides_counts_too() -> None:
    found = terms(allowed_template_ids=[3, "4"], allowed_parent_vdcs=["beta", 7])
    assert found.templates == {0, 3, 4}
    assert found.allowed.templates == {0, 3, 4}
    assert found.parents == {"acme", "beta", "7"}


def test_an_offering_without_anything_to_make_machines_of_or_in_is_refused_with_all_that_is_missing() -> None:
    with pytest.raises(SettingsError) as caught:
        terms(template_id=None, parent_vdc_backend_id="", sched_requirements="A\x00B")
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "template_id",
        "parent_vdc_backend_id",
        "sched_requirements",
    ]
    assert terms(template_id=None, allowed_template_ids=[1]).templates == {1}


def test_values_that_cannot_be_are_refused_at_the_start_all_at_once_and_with_their_paths() -> None:
    bad = {
        "parent_vdc_backend_id": True,
        "template_id": "first",
        "allowed_template_ids": 3,
        "allowed_parent_vdcs": ["acme", -1],
        "cpu_per_vcpu": 0,
        "keep_template_nics": "yes",
        "vm_timeout_s": "soon",
        "vm_poweroff_timeout_s": 0,
        "terminate_vms": 1,
    }
    found = {problem.partition(": ")[0] for problem in problems(minimal(resource_type="VM", **bad))}
    places = {"allowed_parent_vdcs[1]", *bad} - {"allowed_parent_vdcs"}
    assert found == {f"offerings[0].backend_settings.{name}" for name in places}
