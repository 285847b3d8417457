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
    "one.secgrouppool.info": (-2, -1, -1),
    "one.vrouterpool.info": (-2, -1, -1),
    "one.imagepool.info": (-2, -1, -1),
    "one.vmpool.infoextended": (-2, -1, -1, -1),
}
_EPOCH = re.compile(r"\A1[0-9]{9}\Z")
_VOLATILE = {"SOURCE", "TOKEN_PASSWORD", "PASSWORD", "TENANCY_VDC_ID", "TENANCY_GROUP_AFTER", "REGTIME", "STRING"}
_VOLATILE |= {"TENANCY_ADMIN_AFTER"}
_PASSING = {"TENANCY_RETREAT"}
"""What is said of runs, not of the tenant."""
_CHOSEN = {"BRIDGE", "VLAN_ID", "NEXT_INDEX", "MAC", "UUID", "VMID", "TARGET", "MODTIME", "AR_ID", "HISTORY_RECORDS"}
"""What the server chooses anew for every network and VM."""
_CHOSEN |= {"DEPLOY_ID", "VROUTER_KEEPALIVED_ID", "VROUTER_MAC", "PREV_STATE", "PREV_LCM_STATE"}
_ADDRESSES = {"IP", "VROUTER_IP"}
"""They differ too, but for those of a network's own range."""
_MADE = {"VNET": "network", "SECURITY_GROUP": "security group", "VROUTER": "router", "VM": "VM", "USER": "user"}
_REFERENCES = {
    **dict.fromkeys(("VNETS", "VNET_ID", "NETWORK_ID", "TENANCY_NETWORK_ID"), "network"),
    **dict.fromkeys(("SECURITY_GROUPS", "SECURITY_GROUP_ID", "TENANCY_SECURITY_GROUP_ID"), "security group"),
    **dict.fromkeys(("VROUTERS", "VROUTER_ID", "TENANCY_ROUTER_ID"), "router"),
    **dict.fromkeys(("USERS", "ADMINS", "UID", "TENANCY_ADMIN_ID", "TENANCY_ADMIN_READY"), "user"),
    **dict.fromkeys(("VMS", "UPDATED_VMS", "OUTDATED_VMS", "UPDATING_VMS", "ERROR_VMS"), "VM"),
}
"""Elements that hold ids, or whose children do, and of what."""
_HOLDERS = {0x10: "VM", 0x40: "network", 0x40000: "router"}
"""Kinds of those who have addresses, as the upper half of a number in ALLOCATED says it."""
_Names = dict[tuple[str, str], str]


def snapshot(server: Emulator) -> dict[str, Any]:
    """Everything in the pools, with the ids of what is made and unmade replaced by names."""
    pools = _pools(server)
    for template in pools["one.grouppool.info"].iterfind("GROUP/TEMPLATE"):
        _forget_gone(template)
    groups = {item.findtext("ID"): item.findtext("NAME") for item in pools["one.grouppool.info"].iter("GROUP")}
    names = {
        (_MADE[item.tag], item.findtext("ID") or ""): item.findtext("NAME") or ""
        for root in pools.values()
        for item in root
        if item.tag in _MADE
    }
    return {
        "rules": sorted(_rule(item, groups, names) for item in pools.pop("one.acl.info")),
        **{method: sorted((_plain(item, groups, names) for item in root), key=repr) for method, root in pools.items()},
    }


def marked(server: Emulator, key: str) -> dict[str, str]:
    """The names of what carries a key, by noun and id."""
    found = {}
    for pool in _pools(server).values():
        for item in pool:
            if item.findtext("TEMPLATE/TENANCY_KEY", item.findtext("USER_TEMPLATE/TENANCY_KEY")) == key:
                noun = {**_MADE, "GROUP": "group"}.get(item.tag, item.tag)
                found[f"{noun} {item.findtext('ID')}"] = item.findtext("NAME") or ""
    return found


def _pools(server: Emulator) -> dict[str, ET.Element]:
    """All pools, by the methods that read them, in one request."""
    calls = xmlrpc.client.MultiCall(xmlrpc.client.ServerProxy(server.endpoint))
    for method, params in POOLS.items():
        getattr(calls, method)(server.auth, *params)
    pools = {}
    for method, (ok, value, *_) in zip(POOLS, calls(), strict=True):
        assert ok, value
        pools[method] = ET.fromstring(value)
    return pools


def _forget_gone(template: ET.Element) -> None:
    """As if a group had never named the account that it says is gone."""
    if (gone := template.find("TENANCY_ADMIN_GONE")) is not None:
        template.remove(gone)
        for name in ("TENANCY_ADMIN_ID", "TENANCY_ADMIN_READY"):
            if (named := template.find(name)) is not None and named.text == gone.text:
                named.text = "none"


def _rule(item: ET.Element, groups: dict[str | None, str | None], names: _Names) -> str:
    who, _, what = (item.findtext("STRING") or "").partition(" ")
    for kind, noun in (("NET", "network"), ("SECGROUP", "security group")):
        what = re.sub(
            rf"\b{kind}/#(\d+)", lambda found, n=noun, k=kind: f"{k}/{names.get((n, found[1]), found[1])}", what
        )
    if who.startswith("#"):
        what = re.sub(r"(@|GROUP/#)(\d+)", lambda match: f"{match[1]}{groups.get(match[2], match[2])}", what)
        return f"#{names.get(('user', who[1:]), who)} {what}"
    return f"@{groups.get(who[1:], who)} {what}" if who.startswith("@") else f"{who} {what}"


def _plain(
    item: ET.Element, groups: dict[str | None, str | None], names: _Names, *, top: bool = True, inside: str = ""
) -> Any:
    chosen = item.tag in _CHOSEN or (item.tag in _ADDRESSES and inside != "AR") or item.tag.startswith("ETH")
    if item.tag in _VOLATILE or chosen:
        return None
    if item.tag in {"GROUPS", "GIDS"}:
        return item.tag, sorted(str(groups.get(child.text, child.text)) for child in item)
    if item.tag in {"GID", "TENANCY_GROUP_ID"}:
        return item.tag, groups.get(item.text, item.text)
    if item.tag == "ALLOCATED":
        return item.tag, _holders(item.text or "", names)
    if item.tag in _REFERENCES and (len(item) == 0 or item.find("ID") is not None):
        ids = [child.text or "" for child in item] if len(item) else (item.text or "").split(",")
        return item.tag, sorted(_named(_REFERENCES[item.tag], ident, names) for ident in ids)
    renumbered = item.tag == "VLAN_RULES" or (top and item.tag in {"GROUP", "QUOTAS", "VDC", *_MADE})
    children = [
        _plain(child, groups, names, top=False, inside=item.tag)
        for child in item
        if not (renumbered and child.tag == "ID") and child.tag not in _PASSING
    ]
    text = _EPOCH.sub("a time", item.text or "") if not len(item) else ""
    return item.tag, _unnumbered(text) if item.tag == "NAME" and inside == "VM" else text, children


def _named(kind: str, ident: str, names: _Names) -> str:
    return _unnumbered(names.get((kind, ident), ident))


def _unnumbered(name: str) -> str:
    """The name of a VM of a router without its number among those that were made together."""
    return re.sub(r"(router_vm)_\d+", r"\1", name)


def _holders(text: str, names: _Names) -> list[str]:
    """Who has addresses of a range, whichever these are."""
    users = [(_HOLDERS[int(word) >> 32], str(int(word) & 0xFFFFFFFF)) for word in text.split()[1::2]]
    return sorted(f"{kind} {_named(kind, ident, names)}" for kind, ident in users)


def trace_of(shot: dict[str, Any], name: str) -> bool:
    """Whether a name occurs anywhere in a snapshot."""
    return name in repr(shot)
