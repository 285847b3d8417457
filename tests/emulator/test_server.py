"""The server itself: HTTP, threads, restarts, speed, and what other clients make of its replies."""

import socket
import time
import xmlrpc.client
from concurrent.futures import ThreadPoolExecutor

import pyone
import pytest

from opennebula_tenancy.emulator import Config, Emulator
from opennebula_tenancy.emulator.groups import Group


@pytest.fixture
def server():
    with Emulator(populated=True) as running:
        yield running


@pytest.fixture
def one(server):
    with xmlrpc.client.ServerProxy(server.endpoint) as proxy:
        yield proxy.one


def exchange(server, request):
    """Send raw bytes, and read until the server closes."""
    host, port = server.endpoint.removeprefix("http://").removesuffix("/RPC2").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received


def post(body, *, path="/RPC2", verb="POST", length=None, more=""):
    size = len(body) if length is None else length
    head = f"{verb} {path} HTTP/1.1\r\nHost: here\r\n"
    return (head + (f"Content-Length: {size}\r\n" if size != "" else "") + more + "\r\n").encode() + body


def call(method, *parameters):
    return xmlrpc.client.dumps(parameters, method).encode()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (post(b"", verb="GET"), b"405 Method Not Allowed"),
        (post(call("one.system.version"), path="/"), b"404 Not Found"),
        (post(call("one.system.version"), path="/RPC2/"), b"404 Not Found"),
        (post(b"", length=""), b"411 Length Required"),
        (post(b"", length="0"), b"400 Bad Request"),
        (post(b"", length="many"), b"400 Bad Request"),
        (post(b"", length="-5"), b"500 Internal Server Error"),
        (post(b"", length="99999999999"), b"500 Internal Server Error"),
        (post(b"hello"), b"200 OK"),
    ],
)
def test_a_request_that_is_none_is_answered_by_its_status(server, request_bytes, status):
    answer = exchange(server, request_bytes)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"\r\nConnection: close\r\n" in answer


def test_every_connection_is_closed_even_when_asked_to_be_kept(server):
    body = call("one.system.version", server.auth)
    answer = exchange(server, post(body, more="Connection: keep-alive\r\n") * 2)
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"\r\nConnection: close\r\n" in answer


def test_a_client_that_hangs_up_early_harms_nobody(server, one):
    host, port = server.endpoint.removeprefix("http://").removesuffix("/RPC2").split(":")
    for part in (b"", b"POST /RPC2 HTTP/1.1\r\n", post(call("one.system.version", server.auth))[:-20]):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(part)
    assert one.system.version(server.auth) == [True, "7.4.0", 0]


def test_a_defect_of_its_own_is_a_fault_and_leaves_a_traceback(server, one, monkeypatch, caplog):
    monkeypatch.setattr(server.cloud, "acls", None)
    with pytest.raises(xmlrpc.client.Fault, match="Defect of the embedded OpenNebula: TypeError") as caught:
        one.acl.info(server.auth)
    assert caught.value.faultCode == -500
    assert "one.acl.info failed" in caplog.text


def test_it_listens_on_loopback_only():
    with pytest.raises(ValueError, match="no loopback address"):
        Emulator(host="0.0.0.0")


def test_a_port_can_be_chosen_and_is_kept_over_a_restart(server):
    endpoint = server.endpoint
    with xmlrpc.client.ServerProxy(endpoint) as proxy:
        assert proxy.one.group.allocate(server.auth, "acme") == [True, 100, 0]
        server.stop()
        with pytest.raises(ConnectionRefusedError):
            proxy.one.system.version(server.auth)
        server.start()
        assert server.endpoint == endpoint
        assert proxy.one.group.allocate(server.auth, "acme")[2] == 8192


def test_an_endpoint_is_not_known_before_the_start():
    with pytest.raises(RuntimeError, match="not running"):
        _ = Emulator().endpoint


def test_two_servers_share_nothing(server, one):
    assert one.group.allocate(server.auth, "acme")[0]
    with Emulator() as other, xmlrpc.client.ServerProxy(other.endpoint) as proxy:
        assert proxy.one.group.allocate(other.auth, "acme") == [True, 100, 0]


def test_of_many_threads_one_gets_the_name(server):
    def allocate(_):
        with xmlrpc.client.ServerProxy(server.endpoint) as proxy:
            return proxy.one.group.allocate(server.auth, "acme")

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(allocate, range(48)))
    assert sorted(answer[0] for answer in answers) == [False] * 47 + [True]


def test_of_many_threads_each_gets_an_id_of_its_own(server):
    def allocate(number):
        with xmlrpc.client.ServerProxy(server.endpoint) as proxy:
            return proxy.one.group.allocate(server.auth, f"group{number}")[1]

    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(allocate, range(64)))
    assert sorted(made) == list(range(100, 164))


def test_a_thousand_groups_with_quotas_are_listed_in_a_moment(server, one):
    with server.cloud.lock:
        for number in range(1000):
            group = server.cloud.pool(Group).add(Group(name=f"group{number}"))
            block = {"CPU": "4", "MEMORY": "4096", "VMS": "10"}
            group.quotas.set({"VM": [block], "DATASTORE": [{"ID": "1", "SIZE": "1000"}]})
    times = []
    for _ in range(3):
        began = time.perf_counter()
        accepted, body, _ = one.grouppool.info(server.auth)
        times.append(time.perf_counter() - began)
    assert accepted
    assert body.count("<GROUP><ID>") == 1002
    # It takes some 0.08 s; a machine under load gets some leeway.
    assert min(times) < 0.5


def test_pyone_reads_every_body(server):
    # Its own session would outlive the test: pyone opens a connection per call and leaves it to the collector.
    client = pyone.OneServer(server.endpoint, session=server.auth)
    one, auth = xmlrpc.client.ServerProxy(server.endpoint).one, server.auth
    gid = one.group.allocate(auth, "acme")[1]
    uid = one.user.allocate(auth, "alice", "secret", "core", [gid])[1]
    one.user.login(auth, "alice", "", 100, gid)
    one.group.addadmin(auth, gid, uid)
    one.group.quota(auth, gid, "VM=[CPU=4]\nNETWORK=[ID=0,LEASES=1]\nIMAGE=[ID=0,RVMS=1]\nDATASTORE=[ID=1,SIZE=1]")
    vdc = one.vdc.allocate(auth, "NAME=acme")[1]
    one.vdc.addgroup(auth, vdc, gid)
    one.vdc.addcluster(auth, vdc, 0, 0)
    one.vdc.addhost(auth, vdc, 0, 0)
    one.vdc.adddatastore(auth, vdc, 0, 1)
    assert client.groupquota.info() is not None
    assert client.userquota.info() is not None
    group = client.group.info(gid)
    assert [*group.USERS.ID, *group.ADMINS.ID] == [uid, uid]
    assert group.VM_QUOTA.VM[0].CPU == "4"
    assert [found.ID for found in client.grouppool.info().GROUP] == [gid, 1, 0]
    assert [token.EGID for token in client.user.info(uid).LOGIN_TOKEN] == [gid]
    assert len(client.userpool.info().USER) == 3
    assert client.vdc.info(vdc).CLUSTERS.CLUSTER[0].CLUSTER_ID == 0
    assert [found.ID for found in client.vdcpool.info().VDC] == [vdc, 0]
    assert client.acl.info().ACL[0].STRING
    assert client.cluster.info(0).DATASTORES.ID == [0, 1, 2]
    assert len(client.clusterpool.info().CLUSTER) == 2
    assert client.host.info(0).HOST_SHARE.MAX_CPU == 800
    assert len(client.hostpool.info().HOST) == 4
    assert client.datastore.info(1).TYPE == 0
    assert len(client.datastorepool.info().DATASTORE) == 5
    assert client.zone.info(0).NAME == "OpenNebula"
    assert client.zonepool.info().ZONE[0].ID == 0
    assert client.system.config().DEFAULT_VDC_CLUSTER_NET_ACL == ["USE"]


def test_a_fresh_server_holds_what_a_first_installation_holds():
    with Emulator() as fresh, xmlrpc.client.ServerProxy(fresh.endpoint) as proxy:
        client = pyone.OneServer(fresh.endpoint, session=fresh.auth)
        assert {user.ID: user.NAME for user in client.userpool.info().USER} == {0: "oneadmin", 1: "serveradmin"}
        assert {group.ID: group.NAME for group in client.grouppool.info().GROUP} == {0: "oneadmin", 1: "users"}
        assert {cluster.ID: cluster.NAME for cluster in client.clusterpool.info().CLUSTER} == {0: "default"}
        stores = {store.ID: (store.NAME, store.TYPE) for store in client.datastorepool.info().DATASTORE}
        assert stores == {0: ("system", 1), 1: ("default", 0), 2: ("files", 2)}
        assert proxy.one.hostpool.info(fresh.auth) == [True, "<HOST_POOL></HOST_POOL>", 0]
        assert [rule.STRING for rule in client.acl.info().ACL] == [
            "@1 VM+IMAGE+TEMPLATE+DOCUMENT+SECGROUP+VMGROUP+BACKUPJOB/* CREATE *",
            "@1 HOST/* MANAGE #0",
            "@1 NET/* USE #0",
            "@1 DATASTORE/* USE #0",
            "* ZONE/* USE *",
            "* MARKETPLACE+MARKETPLACEAPP/* USE *",
        ]


def rules_of(one, auth, gid):
    texts = one.acl.info(auth)[1].split("<STRING>")[1:]
    return [text.partition("</STRING>")[0] for text in texts if text.startswith(f"@{gid} ")]


def test_the_network_rule_of_a_cluster_can_be_withheld():
    config = Config(default_vdc_cluster_net_acl="-", default_vdc_cluster_host_acl="USE+MANAGE")
    with Emulator(config=config) as server, xmlrpc.client.ServerProxy(server.endpoint) as proxy:
        gid = proxy.one.group.allocate(server.auth, "acme")[1]
        assert rules_of(proxy.one, server.auth, gid) == [f"@{gid} HOST/* USE+MANAGE #0", f"@{gid} DATASTORE/* USE #0"]


def test_the_configuration_shows_in_system_config():
    config = Config(version="6.10.0", default_vdc_cluster_net_acl="-", descending=False, default_umask=0o137)
    with Emulator(config=config) as server, xmlrpc.client.ServerProxy(server.endpoint) as proxy:
        assert proxy.one.system.version(server.auth) == [True, "6.10.0", 0]
        body = proxy.one.system.config(server.auth)[1]
        assert "<DEFAULT_VDC_CLUSTER_NET_ACL><![CDATA[-]]>" in body
        assert "<API_LIST_ORDER><![CDATA[ASC]]>" in body
        assert "<DEFAULT_UMASK><![CDATA[137]]>" in body
        pool = proxy.one.grouppool.info(server.auth)[1]
        assert pool.index("<ID>0</ID><NAME>oneadmin") < pool.index("<ID>1</ID><NAME>users")


def test_tokens_can_be_disabled_and_bounded():
    for longest, answer in ((0, [False, 2048]), (50, [True, 0])):
        with (
            Emulator(config=Config(max_token_s=longest)) as server,
            xmlrpc.client.ServerProxy(server.endpoint) as proxy,
        ):
            reply = proxy.one.user.login(server.auth, "oneadmin", "tok", 1000, -1)
            assert [reply[0], reply[2]] == answer
            body = proxy.one.user.info(server.auth, 0)[1]
            if longest:
                ends_s = int(body.split("<EXPIRATION_TIME>")[1].split("<")[0])
                assert ends_s <= time.time() + 50
            else:
                assert "LOGIN_TOKEN" not in body


def test_asynchronous_work_can_be_finished_at_once():
    with Emulator(config=Config(step_s=3600)) as server, xmlrpc.client.ServerProxy(server.endpoint) as proxy:
        host = proxy.one.host.allocate(server.auth, "node1", "dummy", "dummy", 0)[1]
        assert "<STATE>0</STATE>" in proxy.one.host.info(server.auth, host)[1]
        server.settle()
        assert "<STATE>2</STATE>" in proxy.one.host.info(server.auth, host)[1]


def test_a_copy_begins_with_the_state_of_its_original_and_goes_its_own_way(server, one):
    assert one.group.allocate(server.auth, "before")[1] == 100
    with server.copy() as twin, xmlrpc.client.ServerProxy(twin.endpoint) as proxy:
        assert twin.endpoint != server.endpoint
        assert proxy.one.grouppool.info(twin.auth) == one.grouppool.info(server.auth)
        assert proxy.one.group.allocate(twin.auth, "there")[1] == 101
        assert one.group.allocate(server.auth, "here")[1] == 101
        assert proxy.one.group.info(twin.auth, 101)[1] != one.group.info(server.auth, 101)[1]
        assert proxy.one.hostpool.info(twin.auth) == one.hostpool.info(server.auth)


def test_in_a_copy_nothing_is_under_way():
    with Emulator(config=Config(step_s=3600)) as server, xmlrpc.client.ServerProxy(server.endpoint) as proxy:
        host = proxy.one.host.allocate(server.auth, "node1", "dummy", "dummy", 0)[1]
        with server.copy() as twin, xmlrpc.client.ServerProxy(twin.endpoint) as there:
            assert "<STATE>2</STATE>" in there.one.host.info(twin.auth, host)[1]
