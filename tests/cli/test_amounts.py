"""What people type for limits, and what is made of it."""

import re
from decimal import Decimal
from fractions import Fraction

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opennebula_tenancy.cli.amounts import SIZE_UNITS, Amount
from opennebula_tenancy.quota import Limit


SIZE, COUNT = Amount(size=True), Amount(size=False)
digits = st.text("0123456789", min_size=1, max_size=40)
numbers = digits | st.builds("{}.{}".format, digits, digits)


@given(number=numbers, unit=st.sampled_from(sorted(SIZE_UNITS)), upper=st.booleans())
def test_a_size_is_the_number_times_its_unit_to_the_last_digit(number: str, unit: str, upper: bool) -> None:
    text = f"{number}{unit.upper() if upper else unit}"
    read = SIZE.convert(text, None, None)
    assert isinstance(read, Decimal)
    assert Fraction(read) == Fraction(number) * SIZE_UNITS[unit]


@given(number=numbers)
def test_a_count_is_the_number_to_the_last_digit(number: str) -> None:
    read = COUNT.convert(number, None, None)
    assert isinstance(read, Decimal)
    assert Fraction(read) == Fraction(number)


@given(text=st.text())
def test_any_other_text_is_refused_and_nothing_is_guessed(text: str) -> None:
    bare = text.strip().lower()
    taken = re.fullmatch(r"[0-9]{1,40}([.][0-9]{1,40})?[mgt]?", bare) or bare in {"default", "unlimited"}
    if taken:
        SIZE.convert(text, None, None)
    else:
        with pytest.raises(click.BadParameter, match="is no limit"):
            SIZE.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "megabytes"), [("512", 512), ("512m", 512), ("8g", 8192), ("1t", 1048576), ("1.5G", 1536), (" 0 ", 0)]
)
def test_sizes_are_in_megabytes_as_opennebula_counts_them(text: str, megabytes: int) -> None:
    assert SIZE.convert(text, None, None) == megabytes


@pytest.mark.parametrize("kind", [SIZE, COUNT])
def test_limits_that_are_no_numbers_are_said_by_name(kind: Amount) -> None:
    assert kind.convert("default", None, None) is Limit.DEFAULT
    assert kind.convert("Unlimited", None, None) is Limit.UNLIMITED


@pytest.mark.parametrize("kind", [SIZE, COUNT])
@pytest.mark.parametrize("text", ["", "-1", "-2", "g", "8gb", "8k", "1e3", "1,5", ".5", "5.", "nan", "inf", "٤", "1_0"])
def test_what_could_be_misread_is_refused(kind: Amount, text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no limit"):
        kind.convert(text, None, None)


def test_a_count_has_no_unit() -> None:
    with pytest.raises(click.BadParameter, match=r"say 4, 1\.5, default or unlimited"):
        COUNT.convert("4g", None, None)
