"""All that a server holds, free of the numbers that differ between two runs to the same end."""

import re
import xml.etree.ElementTree as ET
import xmlrpc.client
from typing import Any

from opennebula_tenancy.emulator import Emulator


POOLS = {
    "one.vdcpool.info": (),
    "one.grouppool.info": (),
    "one.userpool.info": (),
    "one.acl.info": (),
    "one.clusterpool.info": (),
    "one.datastorepool.info": (),
    "one.vnpool.info": (-2, -1, -1),
    "one.imagepool.info": (-2, -1, -1),
    "one.vmpool.info": (-2, -1, -1, -1),
}
_EPOCH = re.compile(r"\A1[0-9]{9}\Z")
_VOLATILE = {"SOURCE", "TOKEN_PASSWORD", "PASSWORD", "TENANCY_VDC_ID", "TENANCY_GROUP_AFTER", "REGTIME", "STRING"}


def snapshot(server: Emulator) -> dict[str, Any]:
    """Everything in the pools, with the ids of groups and VDCs replaced by their names."""
    proxy = xmlrpc.client.ServerProxy(server.endpoint)
    pools = {}
    for method, params in POOLS.items():
        ok, value, *_ = getattr(proxy, method)(server.auth, *params)
        assert ok, value
        pools[method] = ET.fromstring(value)
    groups = {item.findtext("ID"): item.findtext("NAME") for item in pools["one.grouppool.info"].iter("GROUP")}
    return {
        "rules": sorted(_rule(item, groups) for item in pools.pop("one.acl.info")),
        **{method: [_plain(item, groups) for item in root] for method, root in pools.items()},
    }


def _rule(item: ET.Element, groups: dict[str | None, str | None]) -> str:
    who, _, what = (item.findtext("STRING") or "").partition(" ")
    return f"@{groups.get(who[1:], who)} {what}" if who.startswith("@") else f"{who} {what}"


def _plain(item: ET.Element, groups: dict[str | None, str | None], *, top: bool = True) -> Any:
    if item.tag in _VOLATILE:
        return None
    if item.tag in {"GROUPS", "GIDS"}:
        return item.tag, sorted(str(groups.get(child.text, child.text)) for child in item)
    if item.tag in {"GID", "TENANCY_GROUP_ID"}:
        return item.tag, groups.get(item.text, item.text)
    renumbered = item.tag == "VLAN_RULES" or (top and item.tag in {"GROUP", "QUOTAS", "VDC"})
    children = [_plain(child, groups, top=False) for child in item if not (renumbered and child.tag == "ID")]
    return item.tag, _EPOCH.sub("a time", item.text or "") if not len(item) else "", children


def trace_of(shot: dict[str, Any], name: str) -> bool:
    """Whether a name occurs anywhere in a snapshot."""
    return name in repr(shot)
