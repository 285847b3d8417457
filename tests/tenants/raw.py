"""Calls with nothing but the standard library."""

import xml.etree.ElementTree as ET
import xmlrpc.client
from typing import Any


class Raw:
    """Calls with nothing but the standard library, as any user of the server."""

    def __init__(self, endpoint: str, session: str) -> None:
        self._proxy = xmlrpc.client.ServerProxy(endpoint)
        self._session = session

    def __call__(self, method: str, *params: Any) -> Any:
        ok, value, *_ = getattr(self._proxy, method)(self._session, *params)
        assert ok, f"{method}: {value}"
        return value

    def refused(self, method: str, *params: Any) -> tuple[int, str]:
        ok, value, code, *_ = getattr(self._proxy, method)(self._session, *params)
        assert not ok, f"{method} was not refused: {value}"
        return code, value

    def xml(self, method: str, *params: Any) -> ET.Element:
        return ET.fromstring(self(method, *params))
