"""The embedded server as a program: started, called with nothing but the standard library, stopped by a signal."""

import re
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator
from typing import Any

import attrs
import pytest


MISSING = 999_999
"""An id that nothing has."""

CODES = {0x100, 0x200, 0x400, 0x800, 0x1000, 0x2000, 0x4000}

STORY = [
    ("one.system.version", (), str),
    ("one.system.config", (), "OPENNEBULA_CONFIGURATION"),
    ("one.group.allocate", ("g",), "group="),
    ("one.user.allocate", ("u", "secret", "core", ["group"]), "user="),
    ("one.vdc.allocate", ('NAME="v"',), "vdc="),
    ("one.vdc.addgroup", ("vdc", "group"), int),
    ("one.vdc.delgroup", (0, "group"), int),
    ("one.vdc.addcluster", ("vdc", 0, 0), int),
    ("one.acl.addrule", ("100000001", "1400000000", "1"), "rule="),
    ("one.acl.info", (), "ACL_POOL"),
    ("one.group.update", ("group", 'A="1"', 1), int),
    ("one.group.quota", ("group", 'VM=[VMS="5"]'), int),
    ("one.group.addadmin", ("group", "user"), int),
    ("one.group.info", ("group",), "GROUP"),
    ("one.grouppool.info", (), "GROUP_POOL"),
    ("one.user.quota", ("user", 'VM=[VMS="5"]'), int),
    ("one.user.update", ("user", 'A="1"', 1), int),
    ("one.user.passwd", ("user", "other"), int),
    ("one.user.enable", ("user", True), int),
    ("one.user.addgroup", ("user", 1), int),
    ("one.user.delgroup", ("user", 1), int),
    ("one.user.login", ("u", "", 60, "group"), str),
    ("one.user.info", ("user",), "USER"),
    ("one.userpool.info", (), "USER_POOL"),
    ("one.groupquota.info", (), "DEFAULT_GROUP_QUOTAS"),
    ("one.userquota.info", (), "DEFAULT_USER_QUOTAS"),
    ("one.cluster.allocate", ("c",), "cluster="),
    ("one.host.allocate", ("h1", "dummy", "dummy", "cluster"), "host="),
    ("one.host.info", ("host",), "HOST"),
    ("one.hostpool.info", (), "HOST_POOL"),
    ("one.datastore.allocate", ('NAME="d"\nTM_MAD="dummy"\nDS_MAD="dummy"', 0), "datastore="),
    ("one.datastore.info", ("datastore",), "DATASTORE"),
    ("one.datastorepool.info", (), "DATASTORE_POOL"),
    ("one.vdc.addhost", ("vdc", 0, "host"), int),
    ("one.vdc.adddatastore", ("vdc", 0, "datastore"), int),
    ("one.vdc.info", ("vdc",), "VDC"),
    ("one.vdcpool.info", (), "VDC_POOL"),
    ("one.cluster.info", ("cluster",), "CLUSTER"),
    ("one.clusterpool.info", (), "CLUSTER_POOL"),
    ("one.zone.info", (0,), "ZONE"),
    ("one.zonepool.info", (), "ZONE_POOL"),
    ("one.secgroup.allocate", ('NAME="s"',), "secgroup="),
    ("one.secgroup.info", ("secgroup",), "SECURITY_GROUP"),
    ("one.secgrouppool.info", (-2, -1, -1), "SECURITY_GROUP_POOL"),
    ("one.image.allocate", ('NAME="i"\nTYPE="DATABLOCK"\nSIZE="16"', 1), "image="),
    ("one.image.info", ("image",), "IMAGE"),
    ("one.imagepool.info", (-2, -1, -1), "IMAGE_POOL"),
    (
        "one.vn.allocate",
        ('NAME="n"\nVN_MAD="dummy"\nBRIDGE="b"\nAR=[TYPE="IP4",IP="10.0.0.1",SIZE="9"]', 0),
        "network=",
    ),
    ("one.vn.info", ("network",), "VNET"),
    ("one.vnpool.info", (-2, -1, -1), "VNET_POOL"),
    ("one.vdc.addvnet", ("vdc", 0, "network"), int),
    ("one.template.allocate", ('NAME="t"\nCPU="0.1"\nMEMORY="64"',), "template="),
    ("one.template.info", ("template",), "VMTEMPLATE"),
    ("one.templatepool.info", (-2, -1, -1), "VMTEMPLATE_POOL"),
    ("one.template.instantiate", ("template", "vm", True, "", False), "vm="),
    ("one.vm.info", ("vm",), "VM"),
    ("one.vm.update", ("vm", 'A="1"', 1), int),
    ("one.vm.chown", ("vm", -1, "group"), int),
    ("one.vm.resize", ("vm", 'CPU="0.2"', False), int),
    ("one.vm.rename", ("vm", "other"), int),
    ("one.vmpool.info", (-2, -1, -1, -1), "VM_POOL"),
    ("one.vmpool.infoextended", (-2, -1, -1, -1), "VM_POOL"),
    ("one.vmpool.infoset", ("0", True), "VM_POOL"),
    ("one.vm.action", ("terminate-hard", "vm"), int),
    ("one.template.delete", ("template", False), int),
    ("one.image.delete", ("image",), int),
    ("one.vn.delete", ("network",), int),
    ("one.secgroup.delete", ("secgroup",), int),
    ("one.datastore.delete", ("datastore",), int),
    ("one.host.delete", ("host",), int),
    ("one.cluster.delete", ("cluster",), int),
    ("one.group.deladmin", ("group", "user"), int),
    ("one.user.delete", ("user",), int),
    ("one.vdc.delete", ("vdc",), int),
    ("one.group.delete", ("group",), int),
    ("one.acl.delrule", ("rule",), int),
]
"""Calls that succeed one after the other: the method; its arguments, where a word given earlier stands for the id; and
the answer: `word=` keeps an id under that word, another text is the root of an XML answer."""

LATE = {"one.image.delete", "one.vn.delete", "one.datastore.delete", "one.host.delete", "one.cluster.delete"}
"""Calls refused for as long as asynchronous work goes on."""


@attrs.frozen
class Server:
    """A running server."""

    process: subprocess.Popen[str]
    endpoint: str
    session: str

    def call(self, method: str, *arguments: Any) -> Any:
        """Call with exactly these arguments."""
        with xmlrpc.client.ServerProxy(self.endpoint) as proxy:
            return getattr(proxy, method)(*arguments)

    def one(self, method: str, *arguments: Any) -> list[Any]:
        """Call with the session in front."""
        return self.call(method, self.session, *arguments)

    def stop(self) -> int:
        """End it with SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def started(port: int) -> Server:
    command = [sys.executable, "-m", "opennebula_tenancy.emulator", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    words = [process.stdout.readline().split() for _ in range(2)]
    return Server(process, endpoint=words[0][-1], session=words[1][-1])


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that is stopped at the end, properly."""
    port = free_port()
    running = started(port)
    try:
        assert running.endpoint == f"http://127.0.0.1:{port}/RPC2"
        assert running.session == "oneadmin:opennebula"
        yield running
    finally:
        status = running.stop()
        running.process.stdout.close()
    assert status == 0


def methods(server: Server) -> list[str]:
    return [name for name in server.call("system.listMethods") if name.startswith("one.")]


def arguments(server: Server, method: str) -> list[Any]:
    """Arguments of the right types that lead to nothing that exists."""
    values = {"string": "", "int": MISSING, "boolean": False, "array": []}
    _, session, *others = server.call("system.methodSignature", method)[0]
    assert session == "string"
    return [values[kind] for kind in others]


def check_refusal(method: str, reply: list[Any]) -> None:
    succeeded, text, code, object_id, last = reply
    assert succeeded is False
    assert text.startswith(f"[{method}] ")
    assert code in CODES
    assert isinstance(object_id, int)
    assert last == -1


def test_every_method_answers_a_value_or_a_refusal(server):
    listed = methods(server)
    assert {method for method, _, _ in STORY} <= set(listed)
    for method in listed:
        reply = server.one(method, *arguments(server, method))
        if reply[0]:
            assert reply == [True, reply[1], 0], method
        else:
            check_refusal(method, reply)


def test_every_method_refuses_a_stranger(server):
    for method in methods(server):
        reply = server.call(method, "nobody:x", *arguments(server, method))
        assert reply == [False, f"[{method}] User couldn't be authenticated, aborting call.", 256, -1, -1]


def test_every_method_that_needs_an_argument_says_so(server):
    for method in methods(server):
        takes_none = not server.call("system.methodSignature", method)[0][2:]
        reply = server.call("system.multicall", [{"methodName": method, "params": [server.session]}])[0]
        if takes_none:
            assert reply[0][0] is True, method
        else:
            assert reply == {"faultCode": -501, "faultString": "Not enough parameters"}, method


def test_a_tenant_comes_and_goes(server):
    ids: dict[Any, Any] = {}
    for method, given, outcome in STORY:
        values = [[ids[v] for v in value] if isinstance(value, list) else ids.get(value, value) for value in given]
        reply = server.one(method, *values)
        deadline = time.monotonic() + 10
        while not reply[0] and method in LATE and time.monotonic() < deadline:
            time.sleep(0.02)
            reply = server.one(method, *values)
        assert reply == [True, reply[1], 0], (method, values, reply)
        if isinstance(outcome, type):
            assert type(reply[1]) is outcome, (method, reply)
        elif outcome.endswith("="):
            assert reply[1] >= 0
            ids[outcome[:-1]] = reply[1]
        else:
            assert re.match(r"<(\w+)>", reply[1])[1] == outcome, (method, reply)


def test_a_stopped_server_ends_well_and_frees_its_port():
    port = free_port()
    for _ in range(2):
        server = started(port)
        try:
            assert server.one("one.system.version")[0] is True
        finally:
            status = server.stop()
            server.process.stdout.close()
        assert status == 0
