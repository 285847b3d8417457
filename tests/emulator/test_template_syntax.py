"""Templates: what oned's scanner and grammar make of them. The examples were compared with a real 7.4.0."""

import string
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opennebula_tenancy.emulator.syntax import TemplateError, parse
from opennebula_tenancy.emulator.template import Template, Vector, integer, number, restricted, restricted_change


NAMES = st.text(string.ascii_uppercase + "_", min_size=1, max_size=12).filter(lambda name: not name.startswith("XML"))
PRINTABLE = st.characters(min_codepoint=32, max_codepoint=0xFFFD, exclude_categories=["Cs", "Cn"])
TEXTS = st.text(PRINTABLE | st.sampled_from('\n\t"\\[]=,#'), max_size=40).filter(
    lambda text: "]]>" not in text and text == text.strip(" \t\n\v\f\r")
)
VECTORS = st.dictionaries(NAMES, TEXTS, min_size=1, max_size=4).map(Vector)
TEMPLATES = st.lists(st.tuples(NAMES, TEXTS | VECTORS), max_size=6)


def quoted(text):
    return '"' + text.replace('"', '\\"') + '"'


def as_text(attributes):
    lines = []
    for name, value in attributes:
        if isinstance(value, Vector):
            inner = ", ".join(f"{key} = {quoted(item)}" for key, item in value.items())
            lines.append(f"{name} = [ {inner} ]")
        else:
            lines.append(f"{name}={quoted(value)}")
    return "\n".join(lines)


def as_xml(attributes):
    parts = []
    for name, value in attributes:
        if isinstance(value, Vector):
            inner = "".join(f"<{key}>{escape(item)}</{key}>" for key, item in value.items())
            parts.append(f"<{name}>{inner}</{name}>")
        else:
            parts.append(f"<{name}>{escape(value)}</{name}>")
    return f"<TEMPLATE>{''.join(parts)}</TEMPLATE>"


def ends_in_backslash(attributes):
    values = [v for _, value in attributes for v in (value.values() if isinstance(value, Vector) else [value])]
    return any(value.endswith("\\") for value in values)


def has_empty(attributes):
    return any(not v for _, value in attributes for v in (value.values() if isinstance(value, Vector) else [value]))


@given(TEMPLATES.filter(lambda attributes: not ends_in_backslash(attributes)))
def test_quoted_text_comes_back_as_it_went_in(attributes):
    assert list(parse(as_text(attributes))) == list(Template(attributes))


@given(TEMPLATES.filter(lambda attributes: not has_empty(attributes)))
def test_xml_comes_back_as_it_went_in(attributes):
    assert list(parse(as_xml(attributes))) == list(Template(attributes))


@given(TEMPLATES)
def test_a_rendered_template_reads_as_itself(attributes):
    template = Template(attributes)
    assert parse(template.xml()).xml() == template.xml()


@given(st.text(max_size=60) | st.text('A=1"[],#\\\n <>/]& ', max_size=40))
def test_any_text_is_a_template_or_a_parse_error(text):
    try:
        template = parse(text)
    except TemplateError as error:
        problem = str(error)
    else:
        problem = "Parse error: none" if template.xml().startswith("<TEMPLATE>") else "no XML"
    assert problem.startswith("Parse error")


@given(TEMPLATES, TEMPLATES)
def test_merging_replaces_whole_attributes(old, new):
    merged = Template(old)
    merged.merge(Template(new))
    named = {name for name, _ in new}
    kept = [(name, value) for name, value in Template(old) if name not in named]
    assert sorted(map(repr, merged)) == sorted(map(repr, [*kept, *Template(new)]))


@pytest.mark.parametrize(
    ("text", "attributes"),
    [
        ("", []),
        ("# only a comment\n", []),
        ("a=1", [("A", "1")]),
        ("1A=3", [("ONE_1A", "3")]),
        ("XMLfoo=1\nxmlfoo=2", [("ONE_XMLFOO", "1"), ("ONE_XMLFOO", "2")]),
        ("A=1 #c\nB=2", [("A", "1"), ("B", "2")]),
        ('A="q\\"uote"', [("A", 'q"uote')]),
        ('A="back\\\\slash"', [("A", "back\\\\slash")]),
        ('A="end\\\\"', [("A", "end\\\\")]),
        ('A=x"y', [("A", 'x"y')]),
        ('A="x"y', [("A", '"x"y')]),
        ("A=\nB=2", [("A", ""), ("B", "2")]),
        ("A=[]", [("A", Vector())]),
        ('A=[B=1,C="2 3"]D=4', [("A", Vector(B="1", C="2 3")), ("D", "4")]),
        ("A=[B=1,B=2]", [("A", Vector(B="1"))]),
        ("A=2\nA=1", [("A", "2"), ("A", "1")]),
        ('A= "  x  "', [("A", "x")]),
        ("A=[B=,C]", [("A", Vector(B="C"))]),
        ("<T><a>1</a><B/><C> </C></T>", [("A", "1"), ("C", "")]),
        ("<T><A><b>1</b><b>2</b></A></T>", [("A", Vector(b="2"))]),
        ("<T><A>a<![CDATA[b]]></A><B><![CDATA[]]></B></T>", [("B", "")]),
        ("<T><A><!--c-->1</A>stray</T>", []),
        ('<T><n:A xmlns:n="u">1</n:A></T>', [("A", "1")]),
        ('<!DOCTYPE T [<!ENTITY e "x">]><T><A>&e;</A><B>&amp;</B></T>', [("B", "&")]),
    ],
)
def test_oned_reads_it_so(text, attributes):
    assert list(parse(text)) == attributes


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("A", "Parse error: syntax error, unexpected $end, expecting EQUAL or EQUAL_EMPTY at line 0, columns 1:2"),
        ("NAME=a=b", "Parse error: syntax error, unexpected EQUAL, expecting $end at line 0, columns 7:8"),
        (
            "A=1\nB=[\nC",
            "Parse error: syntax error, unexpected $end, expecting EQUAL at line 2, columns 9:10",
        ),
        (
            "A=[B=1 C=2]",
            "Parse error: syntax error, unexpected VARIABLE, expecting COMMA or CBRACKET at line 0, columns 8:9",
        ),
        (
            "A=",
            "Parse error: syntax error, unexpected $end, expecting OBRACKET or CCDATA or STRING at line 0, columns 2:3",
        ),
        ('A="]]>"', "Parse error."),
        ("<T>", "Parse error: XML Template malformed."),
        ("<T><A>1</A></T>tail", "Parse error: XML Template malformed."),
    ],
)
def test_oned_refuses_it_so(text, problem):
    with pytest.raises(TemplateError) as caught:
        parse(text)
    assert str(caught.value) == problem


def test_what_the_database_loses_is_lost():
    template = Template([("A", Vector()), ("B", "a\rb\r\nc"), ("C", Vector(D="\r"))])
    assert list(template.stored()) == [("B", "a\nb\nc"), ("C", Vector(D="\n"))]
    assert template.storable
    assert not Template([("A", Vector(B="x]]>"))]).storable


def test_numbers_are_read_to_the_end_or_not_at_all():
    assert [integer(text) for text in ("7", " 7", "-7", "7 ", "7x", "", "1.5", "2147483648", None)] == [
        *(7, 7, -7),
        *(None, None, None, None, None, None),
    ]
    assert [number(text) for text in ("1.5", "1e3", "-2", "5x", "nan", "1_0", "")] == [1.5, 1000.0, -2.0, *[None] * 4]


def test_restricted_attributes_are_kept_and_not_changed():
    names = restricted(["VM_USE_OPERATIONS", "NIC/MAC"])
    old = Template([("VM_USE_OPERATIONS", "x"), ("NIC", Vector(MAC="02:00", NETWORK_ID="1"))])
    new = Template([("NOTE", "1"), ("NIC", Vector(MAC="02:00"))])
    assert restricted_change(new, old, names, merging=False) is None
    assert new.text("VM_USE_OPERATIONS") == "x"
    assert restricted_change(Template([("VM_USE_OPERATIONS", "y")]), old, names, merging=True) == "VM_USE_OPERATIONS"
    assert restricted_change(Template([("NIC", Vector(MAC="03:00"))]), old, names, merging=True) == "NIC"
    assert restricted_change(Template(), old, names, merging=True) is None
    assert restricted_change(Template(), old, names, merging=False) == "NIC"
