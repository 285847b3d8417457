"""How answers are written."""

import csv
import io
import json
from decimal import Decimal

import yaml
from hypothesis import given
from hypothesis import strategies as st

from opennebula_tenancy.cli.output import Answer, Format, plain, printable
from opennebula_tenancy.quota import Limit


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30))
def test_no_number_loses_a_digit_on_its_way_into_json_and_yaml(number: Decimal) -> None:
    for read in (json.loads(json.dumps(plain(number))), yaml.safe_load(yaml.safe_dump(plain(number)))):
        assert Decimal(str(read)) == number


@given(st.text())
def test_nothing_that_a_terminal_would_obey_gets_to_it(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(text) == text or not text.isprintable()


def test_a_name_with_an_escape_sequence_breaks_no_table_and_no_json() -> None:
    answer = Answer.listing(("name",), [("a\x9b31m\nb",)])
    assert answer.text(Format.TABLE).splitlines()[-1] == r"a\x9b31m\nb"
    assert json.loads(answer.text(Format.JSON)) == [{"name": "a\x9b31m\nb"}]


def test_what_is_not_there_is_null_a_dash_or_nothing() -> None:
    answer = Answer.record({"limit": None, "parts": {"a": Decimal("1.50"), "b": Limit.UNLIMITED}})
    assert json.loads(answer.text(Format.JSON)) == {"limit": None, "parts": {"a": 1.5, "b": "unlimited"}}
    assert yaml.safe_load(answer.text(Format.YAML)) == {"limit": None, "parts": {"a": 1.5, "b": "unlimited"}}
    rows = list(csv.reader(io.StringIO(answer.text(Format.CSV, header=False))))
    assert rows == [["limit", ""], ["parts.a", "1.50"], ["parts.b", "unlimited"]]
    assert answer.text(Format.TABLE, header=False).splitlines()[0].split() == ["limit", "-"]


def test_an_empty_list_is_a_list() -> None:
    answer = Answer.listing(("id", "name"), [])
    assert [answer.text(form) for form in Format] == ["id  name\n--  ----\n", "[]\n", "[]\n", "id,name\n"]
    assert answer.text(Format.TABLE, header=False) == ""
