"""Calling OpenNebula with nothing but the standard library's XML-RPC client."""

import re
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree import ElementTree as ET

import attrs
import pytest


DEADLINE_S = 30.0
"""How long asynchronous work may take before a test fails, in seconds."""


def waits() -> Iterator[None]:
    """Sleep between attempts, first 2 ms and then ever longer, up to 50 ms; ends with the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    pause_s = 0.002
    while time.monotonic() < deadline:
        yield
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 0.05)


@attrs.frozen
class One:
    """Calls as one user.

    Attributes:
        endpoint: URL of the server's XML-RPC endpoint.
        auth: `user:password` or `user:token`, sent with every call.
    """

    endpoint: str
    auth: str

    def __call__(self, method: str, *arguments: Any) -> list[Any]:
        """The reply as it came: `[True, value, 0]` or `[False, text, code, object id, -1]`."""
        return self.raw(method, self.auth, *arguments)

    def raw(self, method: str, *arguments: Any) -> Any:
        """A call without the session string in front."""
        with xmlrpc.client.ServerProxy(self.endpoint, allow_none=True) as proxy:
            return getattr(proxy, method)(*arguments)

    def ok(self, method: str, *arguments: Any) -> Any:
        """The value of a call that succeeds."""
        reply = self(method, *arguments)
        assert reply[0] is True, f"{method}{arguments} answered {reply[1:]}"
        assert reply[2:] == [0], f"{method}{arguments} answered {reply}"
        return reply[1]

    def fails(self, code: int, text: str | re.Pattern[str], method: str, *arguments: Any) -> int:
        """Check a refusal, word by word or by a pattern; the object id that it names."""
        reply = self(method, *arguments)
        assert reply[0] is False, f"{method}{arguments} succeeded with {reply[1]!r}"
        prefix = f"[{method}] "
        words = reply[1].removeprefix(prefix)
        as_expected = words == text if isinstance(text, str) else bool(text.fullmatch(words))
        assert as_expected, f"{method}{arguments}\n answered {words!r}\nexpected {text!r}"
        assert reply[1].startswith(prefix), f"{method}{arguments} answered {reply[1]!r}"
        assert reply[2] == code, f"{method}{arguments} answered {reply[2]}, expected {code}: {reply[1]}"
        assert reply[4:] == [-1], f"{method}{arguments} answered {reply}"
        return int(reply[3])

    def faults(self, code: int, method: str, *arguments: Any) -> str:
        """Check a fault's code; its text."""
        with pytest.raises(xmlrpc.client.Fault) as caught:
            self(method, *arguments)
        assert caught.value.faultCode == code, f"{method}{arguments} answered {caught.value}"
        return caught.value.faultString

    def xml(self, method: str, *arguments: Any) -> ET.Element:
        """The XML that a call answers."""
        return ET.fromstring(self.ok(method, *arguments))

    def needs(self, *methods: str) -> None:
        """Skip the test on a server that has not all of these methods."""
        missing = set(methods) - set(self.raw("system.listMethods"))
        if missing:
            pytest.skip(f"this server has no {', '.join(sorted(missing))}")

    def as_(self, name: str, secret: str) -> "One":
        """The same server, called by another user."""
        return One(self.endpoint, f"{name}:{secret}")

    def until(self, reached: Callable[[ET.Element], bool], method: str, *arguments: Any) -> ET.Element:
        """Ask again and again until the answer is as wanted, and return it."""
        for _ in waits():
            answer = self.xml(method, *arguments)
            if reached(answer):
                return answer
        raise AssertionError(f"{method}{arguments} stayed {ET.tostring(answer, 'unicode')}")

    def until_gone(self, method: str, *arguments: Any) -> None:
        """Ask again and again until the object is gone."""
        for _ in waits():
            if self(method, *arguments)[2] == 0x400:
                return
        raise AssertionError(f"{method}{arguments} still finds it")
