"""Which texts and names OpenNebula keeps, tried on it: what our rules take comes back unchanged, the rest does not.

Runs on the embedded server, and on a live one where ONE_XMLRPC says so. HYPOTHESIS_PROFILE=thorough tries thousands.
"""

import os
import secrets
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import attrs
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from opennebula_tenancy import AlreadyExists, BadRequest, NotFound, SettingsError
from opennebula_tenancy._transport.http import HttpChannel, Timeout
from opennebula_tenancy._transport.pyone_ import PyoneTransport
from opennebula_tenancy._transport.rpc import Rpc
from opennebula_tenancy._wire.names import Kind, name_problem
from opennebula_tenancy._wire.records import GroupRecord, VdcRecord
from opennebula_tenancy._wire.template import Template, render, text_problem
from opennebula_tenancy.emulator import Emulator
from opennebula_tenancy.errors import ApiError
from transport.pace import ONCE


pytestmark = pytest.mark.live

_REPLACE = 0


@attrs.frozen
class Place:
    """An object to write templates on.

    Attributes:
        one: Calls the server.
        kind: `vdc` or `group`.
        id: The object.
    """

    one: Rpc
    kind: str
    id: int

    def write(self, text: str) -> None:
        """Put a template in the place of the one that is there."""
        self.one.mutate(f"one.{self.kind}.update", self.id, text, _REPLACE, look=lambda: None)

    def read(self) -> str:
        """The object's XML."""
        return str(self.one.read(f"one.{self.kind}.info", self.id))


@pytest.fixture(name="one", scope="module")
def _one() -> Iterator[Rpc]:
    endpoint = os.environ.get("ONE_XMLRPC")
    if endpoint:
        auth = Path(os.environ["ONE_AUTH"]).read_text(encoding="utf-8").strip()
        yield _caller(endpoint, auth)
        return
    with Emulator() as server:
        yield _caller(server.endpoint, server.auth)


def _caller(endpoint: str, auth: str) -> Rpc:
    channel = HttpChannel(endpoint, timeout=Timeout(), verify=True, max_connections=2)
    return Rpc(PyoneTransport(endpoint, auth, channel), retry=ONCE)


def _allocate(one: Rpc, kind: Kind, name: str) -> int:
    if kind is Kind.GROUP:
        return one.mutate("one.group.allocate", name, look=lambda: None)
    if kind is Kind.USER:
        return one.mutate("one.user.allocate", name, "secret", "core", [], look=lambda: None)
    template = f"<TEMPLATE><NAME>{escape(name)}</NAME></TEMPLATE>"
    return one.mutate("one.vdc.allocate", template, look=lambda: None)


def _remove(one: Rpc, kind: Kind, oid: int) -> None:
    one.mutate(f"one.{kind.lower()}.delete", oid, look=lambda: None)


@pytest.fixture(name="place", scope="module", params=[Kind.VDC, Kind.GROUP])
def _place(one: Rpc, request: pytest.FixtureRequest) -> Iterator[Place]:
    kind: Kind = request.param
    oid = _allocate(one, kind, f"kept-{secrets.token_hex(6)}")
    yield Place(one, kind.lower(), oid)
    _remove(one, kind, oid)


# What is special to XML, to CDATA, to oned's own template syntax, to names, and at the edges of what is a character.
SPECIAL = (
    "\"'\\<>&;|:/#{}$=[](),+-_.@%*?!~^` \t\n\r\v\f\x00\x01\x1f\x7f\x80\x85\x9f\xa0éß漢\u0300\u2028\u2029\u200b\u202e"
    "\u3000\ud7ff\ue000\ufdd0\ufeff\ufffd\ufffe\uffff\U0001f600"
)
pieces = st.one_of(
    st.sampled_from(SPECIAL),
    st.sampled_from(
        ["]]>", "]]", "<![CDATA[", "&amp;", "&#65;", "<!--", "-->", "<A>", "\\n", '\\"', "\r\n", "$NAME", "a"]
    ),
    st.characters(codec="utf-8"),
)
texts = st.lists(pieces, max_size=12).map("".join)
attribute_names = st.from_regex(r"[A-Z][A-Z0-9_]{0,8}", fullmatch=True)
kept = texts.filter(lambda text: text_problem(text) is None)
vectors = st.dictionaries(attribute_names, kept, min_size=1, max_size=3)
templates = st.dictionaries(
    attribute_names, st.one_of(kept, vectors, st.lists(st.one_of(kept, vectors), max_size=3)), max_size=4
)


def _as_read(template: Template) -> dict[str, list[Any]]:
    """What a template should read as: the values of each attribute in order."""
    result: dict[str, list[Any]] = {}
    for name, value in template.items():
        values = [value] if isinstance(value, str | Mapping) else list(value)  # type: ignore[arg-type]
        if values:
            result[name] = values
    return result


def _read(xml: str) -> dict[str, list[Any]]:
    found = ET.fromstring(xml).find("TEMPLATE")
    assert found is not None
    result: dict[str, list[Any]] = {}
    for item in found:
        value = {inner.tag: inner.text for inner in item} if len(item) else item.text
        result.setdefault(item.tag, []).append(value)
    return result


@given(template=templates)
@example(template={"A": ["x", {"B": "y"}, "x"]})
@example(template={"A": "\\", "B": 'a"\\', "C": "a=[b]", "D": "$NAME", "E": "#"})
def test_a_template_that_is_taken_comes_back_unchanged(place: Place, template: Template) -> None:
    place.write(render(template))
    assert _read(place.read()) == _as_read(template)


@given(text=texts)
@example(text="a\x7fb")
@example(text="\x80")
@example(text="\u2028")
@example(text="\ufeff")
@example(text="]]>")
def test_a_text_comes_back_unchanged_or_is_refused_before_any_call(place: Place, text: str) -> None:
    if text_problem(text) is not None:
        with pytest.raises(SettingsError):
            render({"A": text})
        return
    place.write(render({"A": text}))
    record = VdcRecord.parse(place.read()) if place.kind == "vdc" else GroupRecord.parse(place.read())
    assert record.template == {"A": text}


LOST = [
    "",
    " ",
    " a",
    "a\n",
    "\ta",
    "a\rb",
    "a\r\nb",
    "a]]>b",
    "\x00",
    "\x01",
    "\x1f",
    "\ufffe",
    "\uffff",
    "\U0001f600",
    "\ud800",
]


@pytest.mark.parametrize("text", LOST, ids=ascii)
def test_a_text_that_is_refused_would_indeed_be_lost(place: Place, text: str) -> None:
    assert text_problem(text) is not None
    try:
        place.write(f"<TEMPLATE><A>{escape(text)}</A></TEMPLATE>")
        came_back = _read(place.read()).get("A")
    except (ApiError, ET.ParseError):
        came_back = None
    finally:
        place.write("<TEMPLATE><B>1</B></TEMPLATE>")
    assert came_back != [text]


@pytest.mark.parametrize(
    "inner", ["<V></V>", "<V><A><B>1</B></A></V>", "<V><A>1</A><A>2</A></V>"], ids=["empty", "nested", "repeated"]
)
def test_a_vector_that_is_refused_would_indeed_be_lost(place: Place, inner: str) -> None:
    place.write(f"<TEMPLATE>{inner}</TEMPLATE>")
    assert _read(place.read()) in ({}, {"V": [{"A": "2"}]})


names = st.one_of(
    st.lists(pieces, max_size=6).map("".join),
    st.text(alphabet="ab -_.@é漢", min_size=1, max_size=10),
    st.tuples(st.sampled_from("aé漢"), st.integers(40, 130)).map(lambda pair: pair[0] * pair[1]),
)


@pytest.mark.parametrize("kind", [Kind.GROUP, Kind.USER, Kind.VDC])
@given(name=names)
@example(name="a b")
@example(name=" a")
@example(name="a\x7fb")
@example(name="a" * 128)
@example(name="a" * 129)
@example(name="é" * 64)
@example(name="é" * 64 + "a")
@example(name="-")
@example(name="")
def test_a_name_is_good_exactly_when_the_server_takes_it_and_keeps_it(one: Rpc, kind: Kind, name: str) -> None:
    assert (name_problem(kind, name) is None) is _is_kept(one, kind, name)


def _is_kept(one: Rpc, kind: Kind, name: str) -> bool:
    try:
        oid = _allocate(one, kind, name)
    except AlreadyExists:
        assume(False)  # somebody's on a live server
    except BadRequest:
        return False  # XML-RPC does not carry it
    except ApiError as error:
        if "NAME" not in error.message:
            raise
        return False
    try:
        xml = one.read(f"one.{kind.lower()}.info", oid)
        return ET.fromstring(xml).findtext("NAME") == name
    except ET.ParseError:
        return False
    finally:
        _remove(one, kind, oid)


def test_what_these_tests_removed_is_gone(one: Rpc) -> None:
    oid = _allocate(one, Kind.GROUP, f"kept-{secrets.token_hex(6)}")
    _remove(one, Kind.GROUP, oid)
    with pytest.raises(NotFound):
        one.read("one.group.info", oid)
