"""Objects with names of their own, made for one test and removed after it."""

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any, Final
from xml.etree import ElementTree as ET

import attrs

from conformance.caller import One, waits


RUN: Final = f"ct-{secrets.token_hex(4)}"
"""Starts the name of everything that this run makes."""

_RESOURCES = {
    "VM": 0x10,
    "HOST": 0x20,
    "NET": 0x40,
    "IMAGE": 0x80,
    "USER": 0x100,
    "TEMPLATE": 0x200,
    "GROUP": 0x400,
    "DATASTORE": 0x1000,
    "CLUSTER": 0x2000,
    "ZONE": 0x8000,
    "SECGROUP": 0x10000,
    "VDC": 0x20000,
    "VROUTER": 0x40000,
}
_RIGHTS = {"USE": 1, "MANAGE": 2, "ADMIN": 4, "CREATE": 8}
_REFERENCES = {"#": 0x1, "@": 0x2, "*": 0x4, "%": 0x8}


def _reference(text: str) -> int:
    """`#5`, `@5`, `%5` or `*` as the number that access rules hold."""
    return _REFERENCES[text[0]] << 32 | int(text[1:] or 0)


def rule(text: str) -> tuple[str, str, str]:
    """The arguments of one.acl.addrule for a rule such as `@100 VM+NET/* USE+MANAGE`."""
    user, resource, rights = text.split()
    kinds, _, which = resource.partition("/")
    resources = sum(_RESOURCES[kind] << 32 for kind in kinds.split("+"))
    return (
        f"{_reference(user):x}",
        f"{resources + _reference(which):x}",
        f"{sum(_RIGHTS[right] for right in rights.split('+')):x}",
    )


@attrs.frozen(kw_only=True)
class Tenant:
    """A group in a VDC of its own with one user.

    Attributes:
        gid: The group.
        uid: The user.
        vdc: The VDC, with cluster 0 in it.
        one: Calls as the user.
    """

    gid: int
    uid: int
    vdc: int
    one: One


@attrs.define
class Workshop:
    """Makes objects as oneadmin.

    Attributes:
        one: Calls as oneadmin.
    """

    one: One
    _made: list[tuple[str, int]] = attrs.field(factory=list)
    _count: int = 0

    def name(self, what: str = "x") -> str:
        """A name that nothing else has."""
        self._count += 1
        return f"{RUN}-{what}{self._count}-{secrets.token_hex(3)}"

    def kept(self, kind: str, oid: Any) -> int:
        """Remember to remove an object that the test itself made."""
        self._made.append((kind, int(oid)))
        return int(oid)

    def group(self, name: str | None = None) -> int:
        return self.kept("group", self.one.ok("one.group.allocate", name or self.name("group")))

    def user(self, *gids: int, name: str | None = None, password: str = "secret") -> int:
        name = name or self.name("user")
        return self.kept("user", self.one.ok("one.user.allocate", name, password, "core", list(gids)))

    def login(self, *gids: int) -> tuple[int, One]:
        """A user, and calls as that user."""
        name = self.name("login")
        return self.user(*gids, name=name), self.one.as_(name, "secret")

    def vdc(self, name: str | None = None) -> int:
        return self.kept("vdc", self.one.ok("one.vdc.allocate", f'NAME="{name or self.name("vdc")}"'))

    def cluster(self, name: str | None = None) -> int:
        return self.kept("cluster", self.one.ok("one.cluster.allocate", name or self.name("cluster")))

    def host(self, cluster: int, name: str | None = None, driver: str = "none") -> int:
        """A host. With a driver that exists, wait until it is monitored: its agent outlives a host deleted before."""
        name = name or self.name("host")
        return self.kept("host", self.one.ok("one.host.allocate", name, driver, driver, cluster))

    def datastore(self, cluster: int = 0, kind: str = "IMAGE_DS", name: str | None = None) -> int:
        """A datastore of the dummy drivers."""
        template = f'NAME="{name or self.name("ds")}"\nTM_MAD="dummy"\nTYPE="{kind}"'
        if kind != "SYSTEM_DS":
            template += '\nDS_MAD="dummy"'
        return self.kept("datastore", self.one.ok("one.datastore.allocate", template, cluster))

    def image(self, extra: str = "", *, name: str | None = None, datastore: int = 1) -> int:
        """An image, READY."""
        template = f'NAME="{name or self.name("image")}"\nTYPE="DATABLOCK"\nSIZE="2048"\n{extra}'
        image = self.kept("image", self.one.ok("one.image.allocate", template, datastore))
        self.one.until(lambda x: x.findtext("STATE") == "1", "one.image.info", image)
        return image

    def network(self, extra: str = "", *, name: str | None = None, size: int = 10, cluster: int = 0) -> int:
        """A network of the dummy driver, READY, with leases from 10.7.0.1."""
        ranges = f'AR=[TYPE="IP4",IP="10.7.0.1",SIZE="{size}"]' if size else ""
        template = f'NAME="{name or self.name("net")}"\nVN_MAD="dummy"\nBRIDGE="br0"\n{ranges}\n{extra}'
        network = self.kept("vn", self.one.ok("one.vn.allocate", template, cluster))
        self.one.until(lambda x: x.findtext("STATE") == "1", "one.vn.info", network)
        return network

    def secgroup(self, extra: str = "", *, name: str | None = None) -> int:
        template = f'NAME="{name or self.name("sg")}"\n{extra}'
        return self.kept("secgroup", self.one.ok("one.secgroup.allocate", template))

    def template(self, extra: str = "", *, name: str | None = None, size: str = 'CPU="0.1"\nMEMORY="64"') -> int:
        """A VM template without disks, unless `extra` names some."""
        template = f'NAME="{name or self.name("tpl")}"\n{size}\n{extra}'
        return self.kept("template", self.one.ok("one.template.allocate", template))

    def vm(self, template: int, extra: str = "", *, one: One | None = None, hold: bool = False) -> int:
        """A VM of a template, running or held."""
        one = one or self.one
        vm = self.kept("vm", one.ok("one.template.instantiate", template, self.name("vm"), hold, extra, False))
        if not hold:
            self.running(vm)
        return vm

    def running(self, vm: int) -> None:
        """Wait until a VM runs."""
        self.reached(vm, 3, 3)

    def reached(self, vm: int, state: int, lcm_state: int = 0) -> None:
        """Wait until a VM is in a state."""
        wanted = str(state), str(lcm_state)
        self.one.until(lambda x: (x.findtext("STATE"), x.findtext("LCM_STATE")) == wanted, "one.vm.info", vm)

    def acl(self, text: str) -> int:
        """An access rule such as `@100 VM+NET/* CREATE`."""
        return self.kept("acl", self.one.ok("one.acl.addrule", *rule(text)))

    def tenant(self) -> Tenant:
        """A group in its own VDC on cluster 0, out of the default one, that may create things; one user in it."""
        gid, vdc = self.group(), self.vdc()
        uid, one = self.login(gid)
        self.one.ok("one.vdc.addgroup", vdc, gid)
        self.one.ok("one.vdc.delgroup", 0, gid)
        self.one.ok("one.vdc.addcluster", vdc, 0, 0)
        self.acl(f"@{gid} VM+NET+IMAGE+TEMPLATE+SECGROUP/* CREATE")
        return Tenant(gid=gid, uid=uid, vdc=vdc, one=one)

    def clear(self) -> None:
        """Remove everything made, the youngest first, and then say what could not be removed."""
        left = [item for item in reversed(self._made) if not self._removed(*item)]
        self._made.clear()
        assert not left, f"could not remove {left}"

    def _removed(self, kind: str, oid: int) -> bool:
        for _ in waits():
            reply = self.one(*_removal(kind, oid))
            gone = reply[2] == 0x400 or (kind == "acl" and not reply[0]) or (kind == "vm" and self._is_done(oid))
            if gone or (reply[0] and kind not in {"vm", "vn", "image"}):
                return True
            if kind == "vn":
                self._release_held(oid)
        return False

    def _release_held(self, network: int) -> None:
        reply = self.one("one.vn.info", network)
        for lease in ET.fromstring(reply[1]).iter("LEASE") if reply[0] else ():
            if lease.findtext("VM") == "-1":
                self.one("one.vn.release", network, f'LEASES=[MAC="{lease.findtext("MAC")}"]')

    def _is_done(self, vm: int) -> bool:
        reply = self.one("one.vm.info", vm)
        return not reply[0] or "<STATE>6</STATE>" in reply[1]


def _removal(kind: str, oid: int) -> tuple[Any, ...]:
    if kind == "vm":
        return "one.vm.action", "terminate-hard", oid
    if kind == "acl":
        return "one.acl.delrule", oid
    return f"one.{kind}.delete", oid


@contextlib.contextmanager
def workshop(one: One) -> Iterator[Workshop]:
    """A workshop that clears up."""
    made = Workshop(one)
    try:
        yield made
    finally:
        made.clear()
