"""`QuotaMapper`: exact both ways."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opennebula_tenancy import Component, Limit, Metric, Quota, QuotaMapper, SettingsError, Usage
from opennebula_tenancy.quota_mapper import WELL_KNOWN


FACTORS = [1, 1024, 0.5, "0.1", 0.1, Decimal("0.1"), Fraction(1, 3), "1024", 1000, Fraction(7, 11)]


@pytest.mark.parametrize(
    ("components", "amounts", "quota"),
    [
        (None, {"cpu": 1.5}, Quota(cpu=1.5)),
        (None, {"cpu": 4, "ram": 4096, "storage": 20480}, Quota(cpu=4, memory_mb=4096, storage_mb=20480)),
        (None, {}, Quota()),
        (None, {"cpu": 0}, Quota(cpu=0)),
        ({"ram": 1024}, {"ram": 16}, Quota(memory_mb=16384)),
        ({"ram": 1024}, {"ram": "0.5"}, Quota(memory_mb=512)),
        ({"ram": 1024}, {"ram": Decimal("0.25")}, Quota(memory_mb=256)),
        ({"cpu": 0.5}, {"cpu": 3}, Quota(cpu="1.5")),
        ({"cpu": 0.1}, {"cpu": 3}, Quota(cpu="0.3")),
        ({"cpu": "0.1"}, {"cpu": 11}, Quota(cpu="1.1")),
        ({"cpu": Fraction(1, 3)}, {"cpu": 9}, Quota(cpu=3)),
        ({"ram": 3}, {"ram": Fraction(1, 3)}, Quota(memory_mb=1)),
        ({"cpu": 1, "floating_ip": 1}, {"floating_ip": 2}, Quota(floating_ips=2)),
        (None, {"cpu": Limit.UNLIMITED, "ram": Limit.DEFAULT}, Quota(cpu=Limit.UNLIMITED, memory_mb=Limit.DEFAULT)),
        ({"slots": Component(Metric.RUNNING_VMS, 10)}, {"slots": 0.5}, Quota(running_vms=5)),
        ({"gpu_ram": Component("VM/MEMORY", "1024")}, {"gpu_ram": 2}, Quota(memory_mb=2048)),
    ],
)
def test_amounts_become_limits(components: Any, amounts: Any, quota: Quota) -> None:
    assert QuotaMapper(components).quota(amounts) == quota


@pytest.mark.parametrize("factor", FACTORS, ids=str)
@given(counted=st.integers(0, 2**24))
def test_what_is_counted_comes_back_as_the_same_amount(factor: Any, counted: int) -> None:
    mapper = QuotaMapper({"ram": factor})
    amount = mapper.amounts(Quota(memory_mb=counted))["ram"]
    assert isinstance(amount, Fraction)
    assert mapper.quota({"ram": amount}) == Quota(memory_mb=counted)
    assert mapper.amounts(Usage(memory_mb=counted)) == {"ram": amount}


@given(
    factor=st.fractions(min_value=Fraction(1, 10**6), max_value=10**6),
    hundredths=st.integers(0, 10**6 - 1),
)
def test_any_positive_factor_is_undone_exactly(factor: Fraction, hundredths: int) -> None:
    limit = Decimal(hundredths) / 100
    mapper = QuotaMapper({"cpu": factor})
    assert mapper.amounts(Quota(cpu=limit)) == {"cpu": Fraction(limit) / factor}
    assert mapper.quota({"cpu": Fraction(limit) / factor}) == Quota(cpu=limit)


def test_all_components_of_a_usage_are_answered_zeros_included() -> None:
    mapper = QuotaMapper({"cpu": 1, "ram": 1024, "floating_ip": 1})
    assert mapper.amounts(Usage(memory_mb=512)) == {"cpu": 0, "ram": Fraction(1, 2), "floating_ip": 0}


def test_only_what_a_quota_names_is_answered() -> None:
    mapper = QuotaMapper({"cpu": 1, "ram": 1024, "storage": 1024})
    assert mapper.amounts(Quota(cpu=0, memory_mb=Limit.UNLIMITED)) == {"cpu": 0, "ram": Limit.UNLIMITED}


def test_unless_told_otherwise_it_maps_four_components_one_to_one() -> None:
    assert QuotaMapper().components == {
        "cpu": Component(Metric.CPU),
        "ram": Component(Metric.MEMORY),
        "storage": Component(Metric.STORAGE),
        "floating_ip": Component(Metric.FLOATING_IPS),
    }
    assert QuotaMapper({}).components == {}


def test_every_metric_has_a_well_known_name() -> None:
    assert set(WELL_KNOWN.values()) == set(Metric)
    mapper = QuotaMapper(dict.fromkeys(WELL_KNOWN, 2))
    quota = mapper.quota(dict.fromkeys(WELL_KNOWN, 3))
    assert quota == Quota(**{metric.field: 6 for metric in Metric})
    assert mapper.amounts(quota) == dict.fromkeys(WELL_KNOWN, Fraction(3))


def test_all_problems_of_the_components_come_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        QuotaMapper({"cpu": 0, "gpu": 1, "ram": "x", "storage": -1, "vms": 1, "machines": Component(Metric.VMS)})
    assert caught.value.problems == (
        "component cpu: a unit factor is more than 0, not 0",
        f"component gpu: not one of {', '.join(WELL_KNOWN)}; say what it counts with Component(metric)",
        "component ram: 'x' is not a number",
        "component storage: a unit factor is more than 0, not -1",
        "component machines: vms counts VM/VMS already",
    )


def test_a_component_of_an_unknown_metric_cannot_be() -> None:
    with pytest.raises(ValueError, match="VM/GPU"):
        Component("VM/GPU")


def test_all_problems_of_the_amounts_come_at_once_each_by_its_component() -> None:
    mapper = QuotaMapper({"cpu": 1, "ram": 1024, "storage": "0.001", "vms": 1})
    with pytest.raises(SettingsError) as caught:
        mapper.quota({"cpu": -1, "gpu": 1, "ram": "lots", "storage": 1, "vms": 0.5})
    assert caught.value.problems == (
        "component cpu: quota.cpu: -1 is negative: say Limit.DEFAULT or Limit.UNLIMITED",
        "component gpu: unknown, this mapper has cpu, ram, storage, vms",
        "component ram: 'lots' is not a number",
        "component storage: quota.storage_mb: OpenNebula cannot keep 1/1000 exactly (it would become 0)",
        "component vms: quota.vms: 0.5 is not a whole number",
    )


def test_a_mapper_without_components_knows_none() -> None:
    with pytest.raises(SettingsError, match="component cpu: unknown, this mapper has none"):
        QuotaMapper({}).quota({"cpu": 1})
    assert QuotaMapper({}).amounts(Usage(cpu=1)) == {}


def test_components_that_were_handed_out_cannot_change_the_mapper() -> None:
    mapper = QuotaMapper({"cpu": 1})
    mapper.components.pop("cpu")  # type: ignore[attr-defined]
    assert mapper.amounts(Usage(cpu=1)) == {"cpu": 1}
