"""How templates are written: as text and as XML."""

import re

import pytest


pytestmark = pytest.mark.live


@pytest.fixture
def gid(make):
    return make.group()


def stored(one, gid):
    """What the server made of a template: pairs of a name, and a text or such pairs."""
    found = one.xml("one.group.info", gid).find("TEMPLATE")
    return [(item.tag, [(v.tag, v.text or "") for v in item] if len(item) else item.text or "") for item in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('A="1"', [("A", "1")]),
        ("A=xy", [("A", "xy")]),
        ('  A  =  "x"', [("A", "x")]),
        ("A==1", [("A", "1")]),
        ('A="1" B="2"', [("A", "1"), ("B", "2")]),
        ('B="2"\nA="1"', [("A", "1"), ("B", "2")]),
        ('\n\nA="1"\n\n\n', [("A", "1")]),
        ("A='x'", [("A", "'x'")]),
        ('A="<&>"', [("A", "<&>")]),
        ('A="é€ü"', [("A", "é€ü")]),
        ('A="x\ny"', [("A", "x\ny")]),
        ('A=" x  y "', [("A", "x  y")]),
        ('A=""', [("A", "")]),
        ('A="\t"', [("A", "")]),
        ('a="x"', [("A", "x")]),
        ('_A="1"', [("_A", "1")]),
        ('A1="1"', [("A1", "1")]),
        ('NAME="other"', [("NAME", "other")]),
    ],
)
def test_single_values(one, gid, text, expected):
    assert one.ok("one.group.update", gid, text, 0) == gid
    assert stored(one, gid) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r'A="x\"y"', r'x"y'),
        (r'A="x\\y"', r"x\\y"),
        (r'A="x\ny"', r"x\ny"),
        (r'A="C:\dir"', r"C:\dir"),
        (r'A="\"x\""', r'"x"'),
    ],
)
def test_only_an_escaped_quote_is_unescaped(one, gid, text, expected):
    one.ok("one.group.update", gid, text, 0)
    assert stored(one, gid) == [("A", expected)]


def test_a_value_may_end_in_two_backslashes_when_nothing_follows(one, gid):
    one.ok("one.group.update", gid, 'A="x\\\\"', 0)
    assert stored(one, gid) == [("A", "x\\\\")]


@pytest.mark.parametrize("text", ['A="x\\\\"\nB="y"', 'A="x\\\\" B="y"', 'A=[X="x\\\\",Y="1"]'])
def test_two_backslashes_at_the_end_of_a_value_swallow_what_follows(one, gid, text):
    parse_error = re.compile("Cannot update template. Parse error: syntax error, unexpected .*")
    one.fails(8192, parse_error, "one.group.update", gid, text, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('A=[X="1",Y="2"]', [("A", [("X", "1"), ("Y", "2")])]),
        ('A = [ X = "1" , Y = "2" ]', [("A", [("X", "1"), ("Y", "2")])]),
        ('A=[\nX="1",\nY="2"\n]', [("A", [("X", "1"), ("Y", "2")])]),
        ("A=[Y=1,X=2]", [("A", [("X", "2"), ("Y", "1")])]),
        ('A=[X=""]', [("A", [("X", "")])]),
        ('A=[X="a,b]"]', [("A", [("X", "a,b]")])]),
        ('A=[X="1",X="2"]', [("A", [("X", "1")])]),
        ('a=[x="1"]', [("A", [("X", "1")])]),
    ],
)
def test_vectors(one, gid, text, expected):
    one.ok("one.group.update", gid, text, 0)
    assert stored(one, gid) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('A="1"\nA="2"', [("A", "1"), ("A", "2")]),
        ('A=[X="1"]\nA=[X="2"]', [("A", [("X", "1")]), ("A", [("X", "2")])]),
        ('A="1"\nA=[X="2"]', [("A", "1"), ("A", [("X", "2")])]),
        ("<TEMPLATE><A>1</A><A>2</A></TEMPLATE>", [("A", "1"), ("A", "2")]),
    ],
)
def test_a_repeated_name_is_a_list(one, gid, text, expected):
    one.ok("one.group.update", gid, text, 0)
    assert stored(one, gid) == expected


def test_a_name_that_is_no_element_is_prefixed(one, gid):
    one.ok("one.group.update", gid, '1A="x"', 0)
    assert stored(one, gid) == [("ONE_1A", "x")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<TEMPLATE><A>x</A></TEMPLATE>", [("A", "x")]),
        ("<ANY><A>x</A></ANY>", [("A", "x")]),
        ("<TEMPLATE><a>x</a></TEMPLATE>", [("A", "x")]),
        ('<TEMPLATE><A attr="1">x</A></TEMPLATE>', [("A", "x")]),
        ("<TEMPLATE><A> x </A></TEMPLATE>", [("A", "x")]),
        ("<TEMPLATE><A><![CDATA[x&y]]></A></TEMPLATE>", [("A", "x&y")]),
        ("<TEMPLATE><A>x&amp;&lt;y</A></TEMPLATE>", [("A", "x&<y")]),
        ("<TEMPLATE><A>x\"y'z\\</A></TEMPLATE>", [("A", "x\"y'z\\")]),
        ("<TEMPLATE><A><X>1</X><Y>2</Y></A></TEMPLATE>", [("A", [("X", "1"), ("Y", "2")])]),
        ("<TEMPLATE><B>2</B><A>1</A></TEMPLATE>", [("A", "1"), ("B", "2")]),
        ("<TEMPLATE/>", []),
    ],
)
def test_xml(one, gid, text, expected):
    one.ok("one.group.update", gid, 'OLD="1"', 0)
    assert one.ok("one.group.update", gid, text, 0) == gid
    assert stored(one, gid) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<TEMPLATE><A></A><B/><C>1</C></TEMPLATE>", [("C", "1")]),
        ("<TEMPLATE><A><X></X><Y>1</Y></A></TEMPLATE>", [("A", [("Y", "1")])]),
    ],
)
def test_empty_elements_vanish(one, gid, text, expected):
    one.ok("one.group.update", gid, text, 0)
    assert stored(one, gid) == expected


@pytest.mark.parametrize(
    "text",
    [
        "A=",
        "A",
        "=1",
        "A=x y",
        'a b="x"',
        'A-B="1"',
        'A.B="1"',
        'É="1"',
        "A=1,B=2",
        'A="1";B="2"',
        "A=x]",
        'A="x" ]',
        "A=[X=1,Y=[Z=1]]",
        "text<TEMPLATE/>",
    ],
)
def test_text_that_does_not_parse(one, gid, text):
    one.ok("one.group.update", gid, 'OLD="1"', 0)
    unexpected = re.compile(
        r"Cannot update template. Parse error: syntax error, unexpected .*, expecting .* at line \d+, columns \d+:\d+",
    )
    assert one.fails(8192, unexpected, "one.group.update", gid, text, 0) == -1
    assert stored(one, gid) == [("OLD", "1")]


@pytest.mark.parametrize("text", ["<TEMPLATE><A>x</TEMPLATE>", "<>", "<TEMPLATE><1A>x</1A></TEMPLATE>"])
def test_xml_that_does_not_parse(one, gid, text):
    malformed = "Cannot update template. Parse error: XML Template malformed."
    one.fails(8192, malformed, "one.group.update", gid, text, 0)


def test_an_end_of_cdata_is_refused_in_text(one, gid):
    one.fails(8192, "Cannot update template. Parse error.", "one.group.update", gid, 'A="x]]>y"', 0)


def test_an_end_of_cdata_in_xml_is_refused_at_allocation_and_lost_without_a_word_at_an_update(one, make, gid):
    one.ok("one.group.update", gid, 'OLD="1"', 0)
    assert one.ok("one.group.update", gid, "<TEMPLATE><A>x]]&gt;y</A></TEMPLATE>", 0) == gid
    assert stored(one, gid) == [("OLD", "1")]
    template = f"<TEMPLATE><NAME>{make.name('template')}</NAME><A>]]&gt;</A></TEMPLATE>"
    one.fails(8192, "Error transforming the Template to XML.", "one.template.allocate", template)


def test_a_merge_keeps_adds_and_replaces(one, gid):
    one.ok("one.group.update", gid, 'A="1"\nB=[X="1",Y="2"]\nRULE=[P="1"]\nRULE=[P="2"]', 0)
    one.ok("one.group.update", gid, 'B=[X="3"]\nC="4"\nRULE=[P="5"]', 1)
    assert stored(one, gid) == [("A", "1"), ("B", [("X", "3")]), ("C", "4"), ("RULE", [("P", "5")])]


def test_a_merge_can_empty_a_value_and_cannot_remove_it(one, gid):
    one.ok("one.group.update", gid, 'A="1"\nB="2"', 0)
    one.ok("one.group.update", gid, 'B=""', 1)
    assert stored(one, gid) == [("A", "1"), ("B", "")]


@pytest.mark.parametrize("method", ["one.vdc.allocate", "one.secgroup.allocate", "one.template.allocate"])
def test_what_is_allocated_is_parsed_too(one, method):
    parse_error = re.compile("Parse error: syntax error, unexpected .*")
    one.fails(8192, parse_error, method, "NAME=")
