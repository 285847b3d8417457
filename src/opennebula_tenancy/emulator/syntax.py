"""Reading templates: oned's text syntax, token by token, and its XML form.

The grammar is that of oned's template_parser.l and template_syntax.y: a flex scanner takes the longest match among its
rules, the earlier rule on a tie, and passes over characters that no rule wants; columns count bytes from 1 and are not
reset at the end of a line.
"""

import re
from collections.abc import Iterator
from xml.parsers import expat

import attrs

from opennebula_tenancy.emulator.errors import internal
from opennebula_tenancy.emulator.template import Template, Vector


class TemplateError(ValueError):
    """A template that does not parse. Its text is what oned's message says."""


def parse(text: str) -> Template:
    """Read a template, XML when its first character is `<`, text otherwise.

    Raises:
        TemplateError: It does not parse.
    """
    template = _from_xml(text) if text.startswith("<") else _from_text(text)
    return Template((name, _trimmed(value)) for name, value in template)


def parsed(text: str) -> Template:
    """Read a template of a call that refuses a bad one with INTERNAL, as most do.

    Raises:
        Refusal: It does not parse.
    """
    try:
        return parse(text)
    except TemplateError as error:
        raise internal(str(error)) from error


def _trimmed(value: str | Vector) -> str | Vector:
    blanks = " \t\n\v\f\r"
    if isinstance(value, Vector):
        return Vector((key, item.strip(blanks)) for key, item in value.items())
    return value.strip(blanks)


# Text

BLANK = r"[ \t]"
_Rules = tuple[tuple[str | None, re.Pattern[str]], ...]
_INITIAL: _Rules = (
    (None, re.compile(rf"{BLANK}*#.*\n")),
    (None, re.compile(r"[ \t\n]+")),
    ("VARIABLE", re.compile(r"[A-Za-z0-9_]+")),
    ("EQUAL", re.compile(rf"{BLANK}*={BLANK}*")),
    ("EQUAL_EMPTY", re.compile(rf"{BLANK}*={BLANK}*\n")),
    ("COMMA", re.compile(r"[ \t\n]*,[ \t\n]*")),
    ("CBRACKET", re.compile(r"[ \t\n]*\][ \t\n]*")),
)
_VALUE: _Rules = (
    ("OBRACKET", re.compile(rf"{BLANK}*\[[ \t\n]*")),
    ("CCDATA", re.compile(r".*\]\]>.*")),
    # The longest quoted string: a backslash before a quote carries it on wherever a later quote can still close it.
    ("QUOTED", re.compile(r'"(?:\\"|[^"])*"')),
    ("STRING", re.compile(r"[^=# \t\n,\[\]]+")),
)


@attrs.define
class _Position:
    """Where the scanner is: the line from 0, and the bytes of the last token, from 1."""

    line: int = 0
    first: int = 1
    last: int = 1

    def over(self, token: str) -> None:
        self.line += token.count("\n")
        self.first = self.last
        self.last += len(token.encode())


def _tokens(text: str, position: _Position) -> Iterator[tuple[str, str]]:
    at, rules = 0, _INITIAL
    while at < len(text):
        name: str | None = None
        length = 0
        for rule, pattern in rules:
            found = pattern.match(text, at)
            if found and found.end() - at > length:
                name, length = rule, found.end() - at
        token = text[at : at + max(length, 1)]
        position.over(token)
        at += len(token)
        if name is None:
            continue
        if name == "EQUAL":
            rules = _VALUE
        elif rules is _VALUE:
            rules = _INITIAL
        if name == "QUOTED":
            name, token = "STRING", token[1:-1]
        yield name, token
    while True:
        yield "$end", ""


class _TextReader:
    """The grammar, as a bison parser would follow it: `template: (VARIABLE = value)*`."""

    def __init__(self, text: str) -> None:
        self._position = _Position()
        self._tokens = _tokens(text, self._position)
        self._template = Template()

    def read(self) -> Template:
        name, token = next(self._tokens)
        while name == "VARIABLE":
            self._attribute(token)
            name, token = next(self._tokens)
        if name != "$end":
            self._wrong(name, "$end")
        return self._template

    def _attribute(self, variable: str) -> None:
        name, _ = self._expect("EQUAL", "EQUAL_EMPTY")
        if name == "EQUAL_EMPTY":
            self._template.add(variable, "")
            return
        name, token = self._expect("OBRACKET", "CCDATA", "STRING")
        if name == "CCDATA":
            raise TemplateError("Parse error.")
        if name == "STRING":
            self._template.add(variable, token.replace('\\"', '"'))
        else:
            self._template.add(variable, self._vector())

    def _vector(self) -> Vector:
        vector = Vector()
        name, token = self._expect("CBRACKET", "VARIABLE")
        while name != "CBRACKET":
            self._expect("EQUAL")
            _, value = self._expect("STRING")
            vector.setdefault(_upper(token), value.replace('\\"', '"'))
            name, _ = self._expect("COMMA", "CBRACKET")
            if name == "COMMA":
                _, token = self._expect("VARIABLE")
        return vector

    def _expect(self, *names: str) -> tuple[str, str]:
        name, token = next(self._tokens)
        if name not in names:
            self._wrong(name, *names)
        return name, token

    def _wrong(self, found: str, *expected: str) -> None:
        where = self._position
        raise TemplateError(
            f"Parse error: syntax error, unexpected {found}, expecting {' or '.join(expected)}"
            f" at line {where.line}, columns {where.first}:{where.last}"
        )


def _upper(name: str) -> str:
    return "".join(c.upper() if c.isascii() else c for c in name)


def _from_text(text: str) -> Template:
    return _TextReader(text).read()


# XML


@attrs.define
class _Element:
    """An element of a template in XML: `children` in order, texts and CDATA sections apart, as libxml2 keeps them."""

    name: str
    children: "list[_Element | _Text | None]" = attrs.field(factory=list)


@attrs.define
class _Text:
    """Text of an element, or a CDATA section in it."""

    text: str
    cdata: bool


class _TreeReader:
    """Builds the tree that oned sees; a comment or an entity of the document's own is a child that says nothing."""

    def __init__(self) -> None:
        self.root: _Element | None = None
        self._open: list[_Element] = []
        self._cdata = False
        parser = expat.ParserCreate(namespace_separator="}")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = lambda _name: self._open.pop()
        parser.CharacterDataHandler = self._characters
        parser.StartCdataSectionHandler = self._start_cdata
        parser.EndCdataSectionHandler = self._end_cdata
        parser.CommentHandler = self._other
        parser.DefaultHandler = self._other
        self._parser = parser

    def read(self, text: str) -> _Element | None:
        self._parser.Parse(text.encode(), True)
        return self.root

    def _start(self, name: str, _attributes: object) -> None:
        element = _Element(name.rpartition("}")[2])
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def _characters(self, data: str) -> None:
        children = self._open[-1].children
        last = children[-1] if children else None
        if isinstance(last, _Text) and last.cdata == self._cdata:
            last.text += data
        else:
            children.append(_Text(data, self._cdata))

    def _start_cdata(self) -> None:
        self._cdata = True
        self._open[-1].children.append(_Text("", cdata=True))

    def _end_cdata(self) -> None:
        self._cdata = False

    def _other(self, _data: str) -> None:
        if self._open:
            self._open[-1].children.append(None)


def _from_xml(text: str) -> Template:
    try:
        root = _TreeReader().read(text)
    except (expat.ExpatError, UnicodeEncodeError) as error:
        raise TemplateError("Parse error: XML Template malformed.") from error
    template = Template()
    for element in root.children if root else ():
        if not isinstance(element, _Element):
            continue
        only = element.children[0] if len(element.children) == 1 else None
        inner = [child for child in element.children if isinstance(child, _Element)]
        if isinstance(only, _Text):
            template.add(element.name, only.text)
        elif inner:
            vector = Vector()
            for child in inner:
                first = child.children[0] if child.children else None
                if isinstance(first, _Text):
                    vector[child.name] = first.text
            template.add(element.name, vector)
    return template
