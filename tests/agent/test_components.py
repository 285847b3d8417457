"""Components: amounts in Waldur's units to limits of OpenNebula and back, exactly."""

import uuid
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from onetenant_waldur.components import Components
from onetenant_waldur.records import ComponentTerms, OfferingTerms
from onetenant_waldur.settings import ComponentOverride
from opennebula_tenancy import Limit, Metric, Quota, SettingsError, Usage


SMALL, GONE = uuid.uuid4(), uuid.uuid4()


def components(*terms: ComponentTerms, plan: dict[str, float] | None = None, **overrides: Any) -> Components:
    found = OfferingTerms(terms, {SMALL: plan or {}}, {})
    return Components.of(found, {name: ComponentOverride(**said) for name, said in overrides.items()})


CPU = ComponentTerms("cpu", "limit")
RAM_GB = ComponentTerms("ram", "limit", 1024)
STORAGE_HALF = ComponentTerms("storage", "limit", 0.5)
IPS = ComponentTerms("floating_ip", "limit", 1)


@pytest.mark.parametrize(
    ("amounts", "quota"),
    [
        ({"cpu": 1.5}, Quota(cpu="1.5")),
        ({"cpu": 0}, Quota(cpu=0)),
        ({"ram": 16}, Quota(memory_mb=16384)),
        ({"ram": 0.5}, Quota(memory_mb=512)),
        ({"storage": 3}, Quota(storage_mb="1.5")),
        (
            {"cpu": 1, "ram": 2, "storage": 4, "floating_ip": 0},
            Quota(cpu=1, memory_mb=2048, storage_mb=2, floating_ips=0),
        ),
        ({}, Quota()),
    ],
)
def test_amounts_become_limits_exactly_and_come_back(amounts: dict[str, float], quota: Quota) -> None:
    sold = components(CPU, RAM_GB, STORAGE_HALF, IPS)
    assert sold.quota(amounts, floating_ips=True) == quota
    assert sold.limits(quota) == amounts


def test_limits_that_are_whole_numbers_are_given_back_as_such() -> None:
    limits = components(CPU, RAM_GB).limits(Quota(cpu="1.5", memory_mb=2048))
    assert [(name, type(amount)) for name, amount in limits.items()] == [("cpu", float), ("ram", int)]


def test_limits_that_are_not_numbers_are_not_given_back() -> None:
    assert components(CPU, RAM_GB).limits(Quota(cpu=Limit.DEFAULT, memory_mb=1024)) == {"ram": 1}


def test_the_same_factor_applies_to_usage_which_has_two_decimals_and_zeros() -> None:
    sold = components(CPU, RAM_GB, STORAGE_HALF, ComponentTerms("vms", "usage", 3))
    usage = sold.usage(Usage(cpu="0.5", memory_mb=1536, vms=1))
    assert {name: f"{amount}" for name, amount in usage.items()} == {
        "cpu": "0.50",
        "ram": "1.50",
        "storage": "0.00",
        "vms": "0.33",
    }


@pytest.mark.parametrize(("megabytes", "gigabytes"), [("5.12", "0.01"), ("5.11", "0.00"), ("1029.12", "1.01")])
def test_halves_of_a_hundredth_are_rounded_up(megabytes: str, gigabytes: str) -> None:
    assert components(RAM_GB).usage(Usage(memory_mb=megabytes)) == {"ram": Decimal(gigabytes)}


def test_what_the_settings_say_counts_more_than_what_waldur_says() -> None:
    sold = components(
        RAM_GB,
        ComponentTerms("gold", "limit", 2),
        ram={"unit_factor": Fraction(1)},
        gold={"metric": Metric.STORAGE, "accounting_type": "usage"},
    )
    assert sold.quota({"ram": 512, "gold": 3}, floating_ips=False) == Quota(memory_mb=512, storage_mb=6)
    assert sold.billing == {"ram": "limit", "gold": "usage"}
    assert sold.limits(Quota(memory_mb=512, storage_mb=6)) == {"ram": 512}


def test_components_that_a_plan_includes_are_limits_and_no_usage() -> None:
    sold = components(CPU, ComponentTerms("ram", "fixed", 1024), plan={"cpu": 0, "ram": 4})
    assert sold.amounts({"cpu": 2}, SMALL) == {"ram": 4, "cpu": 2}
    assert sold.usage(Usage()).keys() == {"cpu"}
    assert sold.limits(Quota(cpu=2, memory_mb=4096)) == {"cpu": 2}
    with pytest.raises(SettingsError, match="is not among those of the offering"):
        sold.amounts({}, GONE)


def test_plans_that_include_nothing_need_not_be_known() -> None:
    assert components(CPU).amounts({"cpu": 2}, GONE) == {"cpu": 2}


def test_components_that_opennebula_does_not_count_are_remarked_on_once_and_refused_in_orders() -> None:
    sold = components(CPU, ComponentTerms("gpu", "limit"), ComponentTerms("setup", "one"), ram={})
    assert [remark.split(": ")[0] for remark in sold.remarks] == ["component gpu", "component ram"]
    with pytest.raises(SettingsError) as caught:
        sold.amounts({"cpu": 1, "gpu": 2, "nosuch": 3}, None)
    assert [problem.split(": ")[0] for problem in caught.value.problems] == ["component gpu", "component nosuch"]


def test_no_floating_ips_without_an_external_network_is_what_every_tenant_has() -> None:
    sold = components(CPU, IPS)
    assert sold.quota({"cpu": 1, "floating_ip": 0}, floating_ips=False) == Quota(cpu=1)
    assert sold.quota({"floating_ip": 1}, floating_ips=False) == Quota(floating_ips=1)


def test_an_offering_that_cannot_be_is_refused_with_all_its_problems() -> None:
    with pytest.raises(SettingsError) as caught:
        components(
            ComponentTerms("cpu", "limit", 0),
            ComponentTerms("ram", "limit"),
            ComponentTerms("mem", "limit"),
            mem={"metric": Metric.MEMORY},
        )
    assert [problem.split(": ")[0] for problem in caught.value.problems] == ["component cpu", "component mem"]


def test_an_amount_that_opennebula_cannot_keep_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(SettingsError, match="OpenNebula cannot keep"):
        components(CPU).quota({"cpu": 0.125}, floating_ips=False)
