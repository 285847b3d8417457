"""The expressions of SCHED_REQUIREMENTS, evaluated on the body of a host (src/parsers/expr_bool.y)."""

import fnmatch
import re
from xml.etree import ElementTree as ET

import attrs


_TOKEN = re.compile(
    r"\s*(?:(?P<quoted>\"[^\"]*\")|(?P<number>-?\d+(?:\.\d+)?)(?![\w\-.])|(?P<name>[A-Za-z0-9_][\w\-./]*)"
    r"|(?P<sign>@>|!=|[=<>!&|()]))"
)
_PATHS = (
    "./TEMPLATE/",
    "./HOST_SHARE/",
    "./HOST_SHARE/DATASTORES/",
    "./MONITORING/CAPACITY/",
    "./MONITORING/SYSTEM/",
    "./",
)
"""Where an attribute is looked for (Host.cc); the first place that has it counts."""


def matches(expression: str, body: str) -> bool:
    """Whether a body meets an expression; an empty one is met by all.

    Args:
        expression: Comparisons with `=`, `!=`, `<`, `>` and `@>` (contains), joined by `&` and `|`, which bind alike
            and from the left, `!` and parentheses. Texts are compared as file name patterns.
        body: XML.

    Raises:
        ValueError: The expression does not parse.
    """
    if not expression.strip():
        return True
    reader = _Reader(_tokens(expression), ET.fromstring(body))
    met = reader.expression()
    if reader.tokens:
        raise ValueError(f"syntax error, unexpected {reader.tokens[0].text}")
    return met


@attrs.frozen
class _Token:
    kind: str
    text: str


def _tokens(expression: str) -> list[_Token]:
    found, position = [], 0
    while expression[position:].strip():
        match = _TOKEN.match(expression, position)
        if match is None or match.lastgroup is None:
            raise ValueError(f"syntax error, unexpected {expression[position:].strip()[0]}")
        found.append(_Token(match.lastgroup, match[match.lastgroup].strip('"')))
        position = match.end()
    return found


@attrs.define
class _Reader:
    tokens: list[_Token]
    root: ET.Element

    def _take(self, *signs: str) -> _Token:
        if not self.tokens:
            raise ValueError("syntax error, unexpected $end")
        token = self.tokens.pop(0)
        if signs and (token.kind != "sign" or token.text not in signs):
            raise ValueError(f"syntax error, unexpected {token.text}")
        return token

    def expression(self) -> bool:
        met = self._term()
        while self.tokens and self.tokens[0].kind == "sign" and self.tokens[0].text in {"&", "|"}:
            sign, other = self._take().text, self._term()
            met = (met and other) if sign == "&" else (met or other)
        return met

    def _term(self) -> bool:
        token = self._take()
        if token.kind == "sign":
            if token.text == "!":
                return not self._term()
            if token.text != "(":
                raise ValueError(f"syntax error, unexpected {token.text}")
            met = self.expression()
            self._take(")")
            return met
        return self._compare(token.text, self._take("=", "!=", "<", ">", "@>").text, self._take())

    def _compare(self, name: str, sign: str, wanted: _Token) -> bool:
        values = next((found for path in _PATHS if (found := self.root.findall(path + name))), [])
        texts = [value.text or "" for value in values]
        if wanted.kind == "number":
            return _compare_numbers(texts, sign, float(wanted.text))
        if wanted.kind == "sign" or sign in {"<", ">"}:
            raise ValueError(f"syntax error, unexpected {wanted.text}")
        if not wanted.text:
            return False
        if sign == "@>":
            return any(fnmatch.fnmatchcase(text, wanted.text) for text in texts)
        return bool(texts) and fnmatch.fnmatchcase(texts[0], wanted.text) is (sign == "=")


def _compare_numbers(texts: list[str], sign: str, wanted: float) -> bool:
    numbers = [float(text) for text in texts if re.fullmatch(r"\s*-?\d+(\.\d+)?", text)]
    if sign == "@>":
        return wanted in numbers
    if not numbers:
        return False
    return {"=": numbers[0] == wanted, "!=": numbers[0] != wanted, "<": numbers[0] < wanted, ">": numbers[0] > wanted}[
        sign
    ]
