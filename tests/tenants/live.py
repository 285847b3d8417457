"""A live server in the place of the embedded one, left as it was found."""

import os
import secrets
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import attrs

import opennebula_tenancy as ont
from tenants.raw import Raw


RUN = f"lt-{secrets.token_hex(3)}-"
"""Starts the name of everything that this run makes."""
_SETTLED_S = 10.0
_MADE = (
    ("one.vmpool.info", (-2, -1, -1, -1), "VM", "one.vm.action"),
    ("one.imagepool.info", (-2, -1, -1), "IMAGE", "one.image.delete"),
    ("one.templatepool.info", (-2, -1, -1), "VMTEMPLATE", "one.template.delete"),
    ("one.userpool.info", (), "USER", "one.user.delete"),
    ("one.vnpool.info", (-2, -1, -1), "VNET", "one.vn.delete"),
)
_PENDING, _ACTIVE, _RUNNING = "1", "3", "3"
_LOCKED = {"VNET": {"0", "2", "3"}, "IMAGE": {"0", "4", "7"}}


@attrs.define
class Live:
    """The server that ONE_XMLRPC and ONE_AUTH name, with the part of `Emulator` that tests use."""

    endpoint: str = attrs.field(factory=lambda: os.environ["ONE_XMLRPC"])
    auth: str = attrs.field(factory=lambda: Path(os.environ["ONE_AUTH"]).read_text(encoding="utf-8").strip())

    def settle(self) -> None:
        """Wait until nothing of this run is on its way to another state."""
        deadline = time.monotonic() + _SETTLED_S
        while time.monotonic() < deadline and any(self._moves(kind, item) for kind, _, item in self._made()):
            time.sleep(0.05)

    @staticmethod
    def _moves(kind: str, item: ET.Element) -> bool:
        state = item.findtext("STATE") or ""
        if kind == "VM":
            return state == _PENDING or (state == _ACTIVE and item.findtext("LCM_STATE") != _RUNNING)
        return state in _LOCKED.get(kind, ())

    def _made(self) -> list[tuple[str, str, ET.Element]]:
        admin = Raw(self.endpoint, self.auth)
        groups = {
            item.findtext("ID")
            for item in admin.xml("one.grouppool.info")
            if (item.findtext("NAME") or "").startswith(RUN)
        }
        return [
            (kind, remove, item)
            for method, params, kind, remove in _MADE
            for item in admin.xml(method, *params)
            if item.findtext("GID") in groups or (item.findtext("NAME") or "").startswith(RUN)
        ]

    def clear(self) -> None:
        """Remove what this run made."""
        admin = Raw(self.endpoint, self.auth)
        for kind, remove, item in self._made():
            self.settle()
            own = int(item.findtext("ID") or "")
            admin(remove, *(("terminate-hard", own) if kind == "VM" else (own,)))
        self.settle()
        with ont.connect(self.endpoint, self.auth) as cloud:
            for vdc in cloud.vdcs.list():
                if vdc.name.startswith(RUN):
                    vdc.delete()
