"""`Quota`, `Usage` and the numbers in them."""

import struct
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opennebula_tenancy import Limit, Metric, Quota, SettingsError, Usage
from opennebula_tenancy.quota import as_kept, exactly


KEPT = [
    # What one.group.info of a 7.4.0 shows after one.group.quota was given the left side.
    ("0", "0"),
    ("1.1", "1.10"),
    ("2.5", "2.50"),
    ("0.01", "0.01"),
    ("0.001", "0.00"),
    ("0.005", "0.00"),
    ("0.006", "0.01"),
    ("0.125", "0.12"),
    ("0.375", "0.38"),
    ("0.995", "1.00"),
    ("1.005", "1.00"),
    ("3.999", "4.00"),
    ("127.996", "128.00"),
    ("131072.01", "131072.02"),
    ("131072.02", "131072.02"),
    ("1234567.12", "1234567.12"),
    ("15739345", "15739345"),
    ("16777216", "16777216"),
    ("16777217", "16777216"),
    ("20971521", "20971520"),
    ("51062465", "51062464"),
    ("99999999", "100000000"),
    (str(2**99), str(2**99)),
    (str(2**90 + 2**60), "1237940039285380274899124224"),
]

amounts = st.fractions(min_value=0, max_value=2**40)


@pytest.mark.parametrize(("given_", "shown"), KEPT)
def test_what_opennebula_makes_of_a_limit_is_known(given_: str, shown: str) -> None:
    assert as_kept(Fraction(given_)) == Decimal(shown)


@pytest.mark.parametrize(("given_", "shown"), KEPT)
def test_a_limit_is_taken_exactly_when_opennebula_keeps_it(given_: str, shown: str) -> None:
    if Decimal(given_) == Decimal(shown):
        assert Quota(cpu=given_)[Metric.CPU] == Decimal(given_)
        return
    with pytest.raises(SettingsError, match=rf"quota\.cpu: OpenNebula cannot keep {given_} exactly") as caught:
        Quota(cpu=given_)
    became = str(caught.value).partition("it would become ")[2].rstrip(")")
    assert Decimal(became) == Decimal(shown)


@given(amounts)
def test_what_opennebula_shows_it_also_keeps(number: Fraction) -> None:
    shown = as_kept(number)
    assert as_kept(Fraction(shown)) == shown
    assert Quota(memory_mb=shown).memory_mb == shown


@given(amounts)
@example(Fraction(1, 3))
@example(Fraction(20971521))
def test_a_limit_is_never_changed_silently(number: Fraction) -> None:
    try:
        taken = Quota(cpu=number).cpu
    except SettingsError:
        return
    assert isinstance(taken, Decimal)
    assert Fraction(taken) == number


@given(st.integers(0, 2**24))
def test_every_whole_number_of_24_bits_is_kept(number: int) -> None:
    assert Quota(storage_mb=number).storage_mb == number


@given(st.integers(0, 10**6 - 1).map(lambda hundredths: Decimal(hundredths) / 100))
def test_two_decimals_are_kept_up_to_ten_thousand(number: Decimal) -> None:
    assert Quota(cpu=number).cpu == number


@given(st.floats(min_value=0, max_value=2**127, exclude_max=True, width=32).filter(float.is_integer))
def test_every_whole_32_bit_float_is_kept(number: float) -> None:
    assert struct.unpack("f", struct.pack("f", number))[0] == number
    assert Quota(memory_mb=int(number)).memory_mb == int(number)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, Fraction(1)),
        (0, Fraction(0)),
        (-0.0, Fraction(0)),
        (1.1, Fraction(11, 10)),
        (0.1, Fraction(1, 10)),
        (1e22, Fraction(10**22)),
        ("1.5", Fraction(3, 2)),
        (" 7 ", Fraction(7)),
        ("1e3", Fraction(1000)),
        ("-2", Fraction(-2)),
        (Decimal("0.30"), Fraction(3, 10)),
        (Fraction(1, 3), Fraction(1, 3)),
        (10**40, Fraction(10**40)),
        (Decimal("0." + "1" * 60), Fraction(int("1" * 60), 10**60)),
    ],
)
def test_a_number_is_taken_whole_in_whatever_form_it_comes(value: object, number: Fraction) -> None:
    assert exactly(value) == number  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "many",
        "1,5",
        "1/3",
        "0x10",
        "nan",
        "inf",
        "-inf",
        float("nan"),
        float("inf"),
        True,
        False,
        None,
        [],
        b"1",
    ],
)
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="is not a number"):
        exactly(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["1e999999999", "1e-999999999", Decimal("-1e401")])
def test_an_exponent_that_would_fill_the_memory_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="beyond all amounts"):
        exactly(value)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"quota\.cpu: .* is beyond all amounts"):
        Quota(cpu=value)  # type: ignore[arg-type]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_stands_for_the_digits_that_it_prints_as(number: float) -> None:
    assert exactly(number) == Fraction(repr(number))


def test_zero_is_a_limit_of_nothing_at_all() -> None:
    quota = Quota(cpu=0, vms=0)
    assert quota
    assert dict(quota.named()) == {Metric.CPU: Decimal(0), Metric.VMS: Decimal(0)}
    assert quota.memory_mb is None


def test_the_limits_that_are_no_numbers_stay_what_they_are() -> None:
    quota = Quota(cpu=Limit.DEFAULT, memory_mb=Limit.UNLIMITED)
    assert (quota.cpu, quota.memory_mb) == (Limit.DEFAULT, Limit.UNLIMITED)
    assert repr(quota) == "Quota(cpu=default, memory_mb=unlimited)"


def test_negative_numbers_are_no_limits_and_the_refusal_says_what_to_write() -> None:
    with pytest.raises(SettingsError) as caught:
        Quota(cpu=-1, memory_mb="-2")
    assert caught.value.problems == (
        "quota.cpu: -1 is negative: say Limit.DEFAULT or Limit.UNLIMITED",
        "quota.memory_mb: -2 is negative: say Limit.DEFAULT or Limit.UNLIMITED",
    )


def test_all_refusals_come_at_once_each_by_its_name() -> None:
    with pytest.raises(SettingsError) as caught:
        Quota(
            cpu=0.125,
            memory_mb="much",
            storage_mb=20971521,
            floating_ips=1.5,
            vms=-3,
            running_cpu=2**127,
            running_vms=True,
            images=0,
        )
    assert caught.value.problems == (
        "quota.cpu: OpenNebula cannot keep 0.125 exactly (it would become 0.12)",
        "quota.memory_mb: 'much' is not a number",
        "quota.storage_mb: OpenNebula cannot keep 20971521 exactly (it would become 20971520)",
        "quota.floating_ips: 1.5 is not a whole number",
        "quota.vms: -3 is negative: say Limit.DEFAULT or Limit.UNLIMITED",
        f"quota.running_cpu: {2**127} is more than OpenNebula can keep",
        "quota.running_vms: True is not a number",
    )
    assert isinstance(caught.value, ValueError)


def test_things_are_counted_in_whole_numbers_and_amounts_are_not() -> None:
    assert {metric for metric in Metric if metric.whole} == {
        Metric.VMS,
        Metric.RUNNING_VMS,
        Metric.IMAGES,
        Metric.FLOATING_IPS,
    }
    assert Quota(running_cpu=0.5, system_disk_mb="0.25", vms="2.0").vms == 2


def test_merging_takes_what_the_other_names_and_keeps_the_rest() -> None:
    old = Quota(cpu=4, memory_mb=1024, vms=Limit.UNLIMITED)
    new = old | Quota(cpu=0, vms=Limit.DEFAULT, images=3)
    assert new == Quota(cpu=0, memory_mb=1024, vms=Limit.DEFAULT, images=3)
    assert old == Quota(cpu=4, memory_mb=1024, vms=Limit.UNLIMITED)
    assert old | Quota() == old
    assert Quota() | old == old


limits = st.one_of(st.none(), st.sampled_from(Limit), st.integers(0, 2**24))
quotas = st.fixed_dictionaries({}, optional={metric.field: limits for metric in Metric}).map(lambda kw: Quota(**kw))


@given(quotas, quotas, quotas)
def test_merging_is_associative_and_the_last_word_counts(a: Quota, b: Quota, c: Quota) -> None:
    assert (a | b) | c == a | (b | c)
    for metric in Metric:
        assert (a | b)[metric] == (a[metric] if b[metric] is None else b[metric])


@given(quotas)
def test_a_quota_is_true_when_it_names_something(quota: Quota) -> None:
    assert bool(quota) is any(quota[metric] is not None for metric in Metric)
    assert [metric for metric, _ in quota.named()] == [metric for metric in Metric if quota[metric] is not None]
    assert hash(quota) == hash(quota | Quota())


def test_every_metric_has_a_field_of_its_own_in_quota_and_usage() -> None:
    assert len({metric.field for metric in Metric}) == len(Metric)
    quota = Quota(**{metric.field: number for number, metric in enumerate(Metric)})
    usage = Usage(**{metric.field: number for number, metric in enumerate(Metric)})
    for number, metric in enumerate(Metric):
        assert quota[metric] == usage[metric] == number
        assert f"{metric.section}/{metric.attribute}" == metric.value


def test_a_usage_says_zero_for_what_is_not_used() -> None:
    assert all(Usage()[metric] == 0 for metric in Metric)
    assert Usage(cpu="1.50", memory_mb=0.1).cpu == Decimal("1.5")
    with pytest.raises(ValueError, match="is not a number"):
        Usage(cpu="n/a")


@given(st.decimals(min_value=0, max_value=10**60, allow_nan=False, allow_infinity=False))
def test_a_usage_keeps_every_digit_in_any_decimal_context(number: Decimal) -> None:
    with localcontext() as context:
        context.prec = 3
        assert Usage(cpu=number).cpu == number
        assert Usage(cpu=str(number)).cpu == number


def test_values_show_themselves_as_text_and_as_html() -> None:
    quota = Quota(cpu=1.5, vms=Limit.UNLIMITED)
    assert repr(quota) == "Quota(cpu=1.5, vms=unlimited)"
    assert quota._repr_html_() == (
        "<table><thead><tr><th>limit</th><th>value</th></tr></thead><tbody>"
        "<tr><td>cpu</td><td>1.5</td></tr><tr><td>vms</td><td>unlimited</td></tr></tbody></table>"
    )
    assert repr(Usage(vms=2)).startswith("Usage(cpu=0, memory_mb=0, storage_mb=0, floating_ips=0, vms=2, ")
    assert "<td>vms</td><td>2</td>" in Usage(vms=2)._repr_html_()
