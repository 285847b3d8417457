"""What was told in secret, and the places where all of it is looked for."""

import base64
import xml.etree.ElementTree as ET
from typing import Any
from urllib.parse import quote

import attrs
import pytest

from agent.world import World
from onetenant_waldur.notes import PASSWORD
from opennebula_tenancy.emulator import server
from opennebula_tenancy.emulator.wire import read_call
from tenants.snapshot import POOLS


SETTING = {"one.user.allocate": 2, "one.user.passwd": 2, "one.user.chauth": 3}
"""Which of all parameters of a method is a password."""


@attrs.define
class Overheard:
    """What OpenNebula is told that nobody else is to know.

    Attributes:
        secrets: Every password and every session string that was ever sent, accepted or not.
        passwords: Those of them that were to be set.
    """

    secrets: set[str] = attrs.field(factory=set)
    passwords: set[str] = attrs.field(factory=set)

    @classmethod
    def everywhere(cls, patch: pytest.MonkeyPatch) -> "Overheard":
        """Listen to all that embedded servers are sent, also to what they never look at or refuse."""
        overheard = cls()

        def reading(body: bytes) -> Any:
            name, values = read_call(body)
            overheard.hear(name, values)
            return name, values

        patch.setattr(server, "read_call", reading)
        return overheard

    def hear(self, name: str, values: Any) -> None:
        if values and isinstance(values[0], str):
            self.secrets |= {values[0], values[0].partition(":")[2]}
        if name in SETTING:
            self.passwords.add(values[SETTING[name]])
            self.secrets.add(values[SETTING[name]])

    def passwords_in(self, texts: dict[str, str]) -> list[tuple[str, str]]:
        """Which password that was to be set is in which text."""
        return attrs.evolve(self, secrets=self.passwords).found_in(texts)

    def found_in(self, texts: dict[str, str]) -> list[tuple[str, str]]:
        """Which secret is in which text, as it is or written otherwise."""
        forms = [
            (secret, form)
            for secret in filter(None, self.secrets)
            for form in {secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode()}
        ]
        return [(where, secret) for where, text in texts.items() for secret, form in forms if form in text]


def as_oneadmin(world: World) -> dict[str, str]:
    """All that OpenNebula shows its administrator, pools and single objects, decrypted where it can be."""
    found = {method: str(world.raw(method, *params)) for method, params in POOLS.items()}
    found |= {f"one.{noun}pool.info": str(world.raw(f"one.{noun}pool.info")) for noun in ("host", "zone")}
    found["one.templatepool.info"] = str(world.raw("one.templatepool.info", -2, -1, -1))
    for noun in ("user", "group", "vdc"):
        for item in ET.fromstring(found[f"one.{noun}pool.info"]).iter(noun.upper()):
            if (ident := item.findtext("ID")) is not None:
                found[f"{noun} {ident}"] = str(world.raw(f"one.{noun}.info", int(ident), True))
    for item in ET.fromstring(found["one.vmpool.infoextended"]).iter("VM"):
        found[f"VM {item.findtext('ID')}"] = str(world.raw("one.vm.info", int(item.findtext("ID") or ""), True))
    return found


def in_waldur(world: World) -> dict[str, str]:
    """All that Waldur holds of orders and resources, but for the password beside each resource."""
    found, records = {}, list[Any]([*world.waldur.state.orders, *world.waldur.state.resources])
    for record in records:
        values = {name: getattr(record, name) for name in attrs.fields_dict(type(record))}
        metadata = {key: value for key, value in values.pop("backend_metadata", {}).items() if key != PASSWORD}
        plain = {name: value for name, value in values.items() if isinstance(value, str | dict | int | None)}
        found[f"{type(record).__name__} {record.uuid}"] = repr((plain, metadata))
    return found
