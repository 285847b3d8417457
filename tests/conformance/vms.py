"""What tests read of VMs, and how they let the drivers of VMs fail."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import pytest

from conformance.caller import One
from opennebula_tenancy.emulator import Emulator


def state(one: One, vm: int) -> tuple[int, int]:
    """STATE and LCM_STATE."""
    info = one.xml("one.vm.info", vm)
    return int(info.findtext("STATE", "")), int(info.findtext("LCM_STATE", ""))


def used(one: One, gid: int) -> dict[str, str]:
    """What VMs take of a group's quotas, by metric, without those that are zero."""
    row = one.xml("one.group.info", gid).find("VM_QUOTA/VM")
    return {
        item.tag.removesuffix("_USED"): item.text or ""
        for item in (row if row is not None else ())
        if item.tag.endswith("_USED") and item.text != "0"
    }


def disks(one: One, vm: int) -> list[dict[str, str]]:
    """The DISK vectors."""
    found = one.xml("one.vm.info", vm).findall("TEMPLATE/DISK")
    return [{item.tag: item.text or "" for item in disk} for disk in found]


def actions(one: One, vm: int) -> list[int]:
    """Why each record of the history ended."""
    return [int(item.text or "") for item in one.xml("one.vm.info", vm).findall("HISTORY_RECORDS/HISTORY/ACTION")]


@attrs.frozen
class Drivers:
    """The drivers of VMs, which a test lets fail.

    Attributes:
        server: The embedded server, None for a live one with dummy drivers.
        folder: Where the dummy drivers of a live server look for what they are to do.
    """

    server: Emulator | None
    folder: Path

    @contextlib.contextmanager
    def failing(self, *actions: str) -> Iterator[None]:
        """Let actions fail."""
        with self._set(actions, "failure"):
            yield

    @contextlib.contextmanager
    def hanging(self, *actions: str) -> Iterator[None]:
        """Let actions never end."""
        with self._set(actions, "-"):
            yield

    @contextlib.contextmanager
    def _set(self, actions: tuple[str, ...], what: str) -> Iterator[None]:
        try:
            for action in actions:
                if self.server is None:
                    (self.folder / action).write_text(f"{what}\n", encoding="utf-8")
                elif what == "failure":
                    self.server.cloud.driver_actions.fail(action)
                else:
                    self.server.cloud.driver_actions.hang(action)
            yield
        finally:
            for action in actions:
                (self.folder / action).unlink(missing_ok=True)
            if self.server is not None:
                self.server.cloud.driver_actions.mend()


@contextlib.contextmanager
def server_with_drivers() -> Iterator[tuple[One, Drivers]]:
    """A server whose drivers can be let fail: an embedded one, or with ONE_XMLRPC set a live one on this machine."""
    folder = Path(os.environ.get("ONE_DUMMY_ACTIONS", "/tmp/opennebula_dummy_actions"))
    endpoint = os.environ.get("ONE_XMLRPC")
    if endpoint:
        if urlsplit(endpoint).hostname not in {"127.0.0.1", "localhost"} or not folder.is_dir():
            pytest.skip("the drivers of this server cannot be let fail from here")
        yield One(endpoint, Path(os.environ["ONE_AUTH"]).read_text(encoding="utf-8").strip()), Drivers(None, folder)
        return
    with Emulator(populated=True) as server:
        yield One(server.endpoint, server.auth), Drivers(server, folder)
