"""The renderer of templates, and which texts OpenNebula keeps."""

import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opennebula_tenancy import SettingsError
from opennebula_tenancy._wire.template import render, text_problem


@pytest.mark.parametrize(
    ("template", "xml"),
    [
        ({}, "<TEMPLATE></TEMPLATE>"),
        ({"NAME": "acme"}, "<TEMPLATE><NAME>acme</NAME></TEMPLATE>"),
        ({"A": 1, "B": 2.5, "C": True, "D": False}, "<TEMPLATE><A>1</A><B>2.5</B><C>YES</C><D>NO</D></TEMPLATE>"),
        ({"A": "<&>\"'"}, "<TEMPLATE><A>&lt;&amp;&gt;\"'</A></TEMPLATE>"),
        ({"A": "\\"}, "<TEMPLATE><A>\\</A></TEMPLATE>"),
        ({"A": ["x", "y"]}, "<TEMPLATE><A>x</A><A>y</A></TEMPLATE>"),
        ({"A": []}, "<TEMPLATE></TEMPLATE>"),
        ({"V": {"A": 1, "B": "x"}}, "<TEMPLATE><V><A>1</A><B>x</B></V></TEMPLATE>"),
        (
            {"V": [{"ID": 1}, {"ID": 2}], "X_1": "y"},
            "<TEMPLATE><V><ID>1</ID></V><V><ID>2</ID></V><X_1>y</X_1></TEMPLATE>",
        ),
    ],
)
def test_a_template_is_rendered_as_xml(template: Any, xml: str) -> None:
    assert render(template) == xml


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        (" a", "begins or ends with a blank"),
        ("a\n", "begins or ends with a blank"),
        ("\ta", "begins or ends with a blank"),
        (" ", "begins or ends with a blank"),
        ("a\x00b", "control character"),
        ("a\rb", "control character"),
        ("a\x0bb", "control character"),
        ("a\x1fb", "control character"),
        ("a]]>b", "ends the section"),
        ("😀", "outside the Basic Multilingual Plane"),
        ("\ud800", "outside the Basic Multilingual Plane"),
        ("\ufffe", "is no character"),
        ("\uffff", "is no character"),
    ],
)
def test_texts_that_opennebula_would_not_keep_are_known(text: str, reason: str) -> None:
    problem = text_problem(text)
    assert problem is not None
    assert reason in problem


@pytest.mark.parametrize(
    "text", ["a", "a b", "a\nb", "a\tb", "é", "漢字", "\x7f", "\x80", "\xa0", "\u2028", "\ufeff", "]]", "]>", '"', "\\"]
)
def test_texts_that_opennebula_keeps_are_taken(text: str) -> None:
    assert text_problem(text) is None


@given(st.text())
@example("]]>")
@example("a\r\nb")
def test_a_text_is_refused_or_survives_xml(text: str) -> None:
    if text_problem(text) is not None:
        with pytest.raises(SettingsError, match="A: the value "):
            render({"A": text})
        return
    assert ET.fromstring(render({"A": text})).findtext("A") == text


@pytest.mark.parametrize("name", ["", "a", "A-B", "A.B", "1A", "_A", "A B", "A:B", "A><B", "É", "A\n"])
def test_what_is_no_attribute_name_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="an attribute's name is upper case"):
        render({name: "x"})


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ({"V": {}}, "V: a vector without attributes, which OpenNebula drops"),
        ({"V": [{}]}, "V[0]: a vector without attributes, which OpenNebula drops"),
        ({"V": {"W": {"A": 1}}}, "V.W: a vector in a vector, which OpenNebula drops"),
        ({"V": {"W": ["a", "b"]}}, "V.W: a vector in a vector, which OpenNebula drops"),
    ],
)
def test_what_opennebula_would_drop_is_refused(template: Any, problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        render(template)
    assert caught.value.problems == (problem,)


def test_all_problems_of_a_template_come_at_once_with_their_paths() -> None:
    with pytest.raises(SettingsError) as caught:
        render({"bad": "x", "A": "", "B": ["ok", "\x00"], "V": {"A": " x", "c": 1}})
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["bad", "A", "B[1]", "V.A", "V.c"]
