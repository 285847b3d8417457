"""OpenNebula's XML of networks, security groups and routers, as values. The literal XML is that of a 7.4.0."""

from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opennebula_tenancy import ProtocolViolation
from opennebula_tenancy._wire.network_records import (
    LeaseRecord,
    NetworkRecord,
    NetworkState,
    RouterNicRecord,
    RouterRecord,
    SecurityGroupRecord,
)
from opennebula_tenancy.emulator import Config, Emulator
from tenants.raw import Raw


def ip(text: str) -> IPv4Address:
    return IPv4Address(text)


def network(*, state: int = 1, template: str = "", ranges: str = "", parent: str = "<PARENT_NETWORK_ID/>") -> str:
    """A network as one.vn.info answers it."""
    return (
        "<VNET><ID>428</ID><UID>0</UID><GID>0</GID><UNAME>oneadmin</UNAME><GNAME>oneadmin</GNAME><NAME>inner</NAME>"
        "<PERMISSIONS><OWNER_U>1</OWNER_U><OWNER_M>1</OWNER_M><OWNER_A>0</OWNER_A></PERMISSIONS>"
        "<CLUSTERS><ID>0</ID><ID>100</ID></CLUSTERS><BRIDGE><![CDATA[onebr428]]></BRIDGE>"
        f"<BRIDGE_TYPE><![CDATA[linux]]></BRIDGE_TYPE><STATE><![CDATA[{state}]]></STATE>"
        f"<PREV_STATE><![CDATA[{state}]]></PREV_STATE>{parent}<TEMPLATE_ID/>"
        "<VN_MAD><![CDATA[vxlan]]></VN_MAD><PHYDEV><![CDATA[eth0]]></PHYDEV><VLAN_ID><![CDATA[430]]></VLAN_ID>"
        "<OUTER_VLAN_ID/><VLAN_ID_AUTOMATIC>1</VLAN_ID_AUTOMATIC><OUTER_VLAN_ID_AUTOMATIC>0</OUTER_VLAN_ID_AUTOMATIC>"
        "<USED_LEASES>3</USED_LEASES><VROUTERS><ID>66</ID></VROUTERS><UPDATED_VMS></UPDATED_VMS>"
        "<OUTDATED_VMS></OUTDATED_VMS><UPDATING_VMS></UPDATING_VMS><ERROR_VMS></ERROR_VMS>"
        f"<TEMPLATE>{template}<SECURITY_GROUPS><![CDATA[0,277]]></SECURITY_GROUPS>"
        f"<TENANCY_KEY><![CDATA[k]]></TENANCY_KEY></TEMPLATE><AR_POOL>{ranges}</AR_POOL></VNET>"
    )


INFO_RANGES = (
    "<AR><AR_ID><![CDATA[0]]></AR_ID><IP><![CDATA[10.77.1.1]]></IP><MAC><![CDATA[02:00:0a:4d:01:01]]></MAC>"
    "<NEXT_INDEX><![CDATA[2]]></NEXT_INDEX><SHARED><![CDATA[NO]]></SHARED><SIZE><![CDATA[254]]></SIZE>"
    "<TYPE><![CDATA[IP4]]></TYPE><MAC_END><![CDATA[02:00:0a:4d:01:fe]]></MAC_END>"
    "<IP_END><![CDATA[10.77.1.254]]></IP_END><USED_LEASES>4</USED_LEASES><LEASES>"
    "<LEASE><IP><![CDATA[10.77.1.1]]></IP><MAC><![CDATA[02:00:0a:4d:01:01]]></MAC><VROUTER><![CDATA[66]]></VROUTER>"
    "</LEASE><LEASE><IP><![CDATA[10.77.1.2]]></IP><MAC><![CDATA[02:00:0a:4d:01:02]]></MAC><VNET><![CDATA[436]]></VNET>"
    "</LEASE><LEASE><IP><![CDATA[10.77.1.3]]></IP><MAC><![CDATA[02:00:0a:4d:01:03]]></MAC><VM><![CDATA[676]]></VM>"
    "</LEASE><LEASE><IP><![CDATA[10.77.1.99]]></IP><MAC><![CDATA[02:00:0a:4d:01:63]]></MAC><VM><![CDATA[-1]]></VM>"
    "</LEASE></LEASES></AR>"
    "<AR><AR_ID><![CDATA[1]]></AR_ID><GLOBAL_PREFIX><![CDATA[2001:db8::]]></GLOBAL_PREFIX>"
    "<IP><![CDATA[10.78.0.10]]></IP><MAC><![CDATA[02:00:0a:4e:00:0a]]></MAC><SIZE><![CDATA[5]]></SIZE>"
    "<TYPE><![CDATA[IP4_6]]></TYPE><IP_END><![CDATA[10.78.0.14]]></IP_END><USED_LEASES>0</USED_LEASES><LEASES/></AR>"
    "<AR><AR_ID><![CDATA[2]]></AR_ID><IP6><![CDATA[2001:db8::7]]></IP6><MAC><![CDATA[02:00:99:79:a3:15]]></MAC>"
    "<PREFIX_LENGTH><![CDATA[64]]></PREFIX_LENGTH><SIZE><![CDATA[5]]></SIZE><TYPE><![CDATA[IP6_STATIC]]></TYPE>"
    "<LEASES/></AR>"
    "<AR><AR_ID><![CDATA[3]]></AR_ID><MAC><![CDATA[02:00:e1:70:12:c4]]></MAC><SIZE><![CDATA[10]]></SIZE>"
    "<TYPE><![CDATA[ETHER]]></TYPE><LEASES><LEASE><MAC><![CDATA[02:00:e1:70:12:c4]]></MAC><VM><![CDATA[9]]></VM>"
    "</LEASE></LEASES></AR>"
)
POOL_RANGES = (
    "<AR><ALLOCATED><![CDATA[ 0 1125899906842690 1 274877907380 2 68719477412 98 73014444031]]></ALLOCATED>"
    "<AR_ID><![CDATA[0]]></AR_ID><IP><![CDATA[10.77.1.1]]></IP><MAC><![CDATA[02:00:0a:4d:01:01]]></MAC>"
    "<NEXT_INDEX><![CDATA[6]]></NEXT_INDEX><SHARED><![CDATA[NO]]></SHARED><SIZE><![CDATA[254]]></SIZE>"
    "<TYPE><![CDATA[IP4]]></TYPE></AR>"
    "<AR><AR_ID><![CDATA[1]]></AR_ID><IP><![CDATA[10.78.0.10]]></IP><SIZE><![CDATA[5]]></SIZE>"
    "<TYPE><![CDATA[IP4_6]]></TYPE></AR>"
    "<AR><AR_ID><![CDATA[2]]></AR_ID><IP6><![CDATA[2001:db8::7]]></IP6><SIZE><![CDATA[5]]></SIZE>"
    "<TYPE><![CDATA[IP6_STATIC]]></TYPE></AR>"
    "<AR><ALLOCATED><![CDATA[ 0 68719476745]]></ALLOCATED><AR_ID><![CDATA[3]]></AR_ID>"
    "<MAC><![CDATA[02:00:e1:70:12:c4]]></MAC><SIZE><![CDATA[10]]></SIZE><TYPE><![CDATA[ETHER]]></TYPE></AR>"
)
RECORD = NetworkRecord(
    id=428,
    name="inner",
    uid=0,
    gid=0,
    state=NetworkState.READY,
    clusters=frozenset({0, 100}),
    template={"SECURITY_GROUPS": "0,277", "TENANCY_KEY": "k"},
    spans=((ip("10.77.1.1"), 254), (ip("10.78.0.10"), 5)),
    size=274,
    used_leases=3,
    leases=(
        LeaseRecord(ip("10.77.1.1"), vrouter=66),
        LeaseRecord(ip("10.77.1.2"), vnet=436),
        LeaseRecord(ip("10.77.1.3"), vm=676),
        LeaseRecord(ip("10.77.1.99")),
        LeaseRecord(None, vm=9),
    ),
    vrouters=frozenset({66}),
    parent=None,
    vlan_id="430",
    vn_mad="vxlan",
    phydev="eth0",
    bridge="onebr428",
    security_groups=(0, 277),
)


def test_a_network_is_read_with_its_ipv4_ranges_and_all_its_leases() -> None:
    assert NetworkRecord.parse(network(ranges=INFO_RANGES)) == RECORD


def test_a_pool_says_the_same_although_it_writes_leases_as_numbers() -> None:
    assert NetworkRecord.pool(f"<VNET_POOL>{network(ranges=POOL_RANGES)}</VNET_POOL>") == (RECORD,)


def test_a_held_address_has_no_user() -> None:
    assert [lease.is_held for lease in RECORD.leases] == [False, False, False, True, False]


DUE = (
    "<AR><IP><![CDATA[10.77.1.1]]></IP><SIZE><![CDATA[254]]></SIZE><TYPE><![CDATA[IP4]]></TYPE></AR>"
    "<AR><SIZE><![CDATA[10]]></SIZE><TYPE><![CDATA[ETHER]]></TYPE></AR>"
)


@pytest.mark.parametrize("state", [NetworkState.INIT, NetworkState.LOCK_CREATE])
def test_ranges_that_the_server_is_still_making_count(state: NetworkState) -> None:
    found = NetworkRecord.parse(network(state=state, template=DUE))
    assert found.spans == ((ip("10.77.1.1"), 254),)
    assert (found.state, found.state_name) == (state, state.name)
    assert "AR" not in found.template


def test_ranges_that_a_failed_network_never_got_do_not_count() -> None:
    failed = network(state=5, template=f"{DUE}<ERROR><![CDATA[vnet_create failed]]></ERROR>")
    assert NetworkRecord.parse(failed).spans == ()
    assert NetworkRecord.parse(failed).template["ERROR"] == "vnet_create failed"


@pytest.mark.parametrize(
    ("address", "size", "spans"),
    [
        ("010.077.001.001", "5", ((ip("10.77.1.1"), 5),)),  # oned reads decimals, leading zeros or not
        ("255.255.255.0", "2000", ((ip("255.255.255.0"), 2000),)),  # accepted; it wraps around
        ("10.77.1.1", "0", ()),  # accepted, and empty
        ("10.77.300.1", "5", ()),
        ("10.77.1.1.", "5", ()),
        ("10..1.1", "5", ()),
        ("10.77.1.1", "-1", ()),
        ("10.77.1.1", "5x", ()),
        ("2001:db8::1", "5", ()),
        ("", "5", ()),
    ],
)
def test_a_range_counts_as_the_server_reads_it(address: str, size: str, spans: tuple[tuple[IPv4Address, int]]) -> None:
    text = f"<AR><IP>{address}</IP><SIZE>{size}</SIZE><TYPE>IP4</TYPE></AR>"
    assert NetworkRecord.parse(network(state=2, template=text)).spans == spans


def test_what_is_written_for_a_range_may_be_no_range() -> None:
    assert NetworkRecord.parse(network(state=2, template="<AR><![CDATA[10.0.0.0/24]]></AR>")).spans == ()


def test_a_reservation_names_its_parent() -> None:
    text = network(parent="<PARENT_NETWORK_ID>427</PARENT_NETWORK_ID>")
    assert NetworkRecord.parse(text).parent == 427


def test_a_state_of_a_later_version_is_read_as_its_number() -> None:
    found = NetworkRecord.parse(network(state=42))
    assert (found.state, found.state_name) == (42, "42")


@pytest.mark.parametrize("text", ["<VNET/>", "<VNET><ID>1</ID><NAME>n</NAME></VNET>", "<VM/>", "no XML", None])
def test_what_is_no_network_is_refused(text: object) -> None:
    with pytest.raises(ProtocolViolation):
        NetworkRecord.parse(text)


@given(st.lists(st.tuples(st.integers(0, 253), st.sampled_from(["vm", "vrouter", "vnet"]), st.integers(0, 2**32 - 2))))
def test_every_lease_of_a_pool_is_told_apart(leases: list[tuple[int, str, int]]) -> None:
    kinds = {"vm": 0x1000000000, "vnet": 0x4000000000, "vrouter": 0x4000000000000}  # PoolObjectSQL.h
    packed = "".join(f" {index} {kinds[kind] | own}" for index, kind, own in leases)
    text = network(ranges=f"<AR><IP>10.0.0.1</IP><SIZE>254</SIZE><ALLOCATED>{packed}</ALLOCATED></AR>")
    expected = tuple(LeaseRecord(ip("10.0.0.1") + index, **{kind: own}) for index, kind, own in leases)
    assert NetworkRecord.parse(text).leases == expected


GROUP = (
    "<SECURITY_GROUP><ID>277</ID><UID>2</UID><GID>100</GID><UNAME>a</UNAME><GNAME>b</GNAME><NAME>rules</NAME>"
    "<PERMISSIONS><OWNER_U>1</OWNER_U></PERMISSIONS><UPDATED_VMS><ID>7</ID><ID>8</ID></UPDATED_VMS>"
    "<OUTDATED_VMS><ID>9</ID></OUTDATED_VMS><UPDATING_VMS></UPDATING_VMS><ERROR_VMS><ID>0</ID></ERROR_VMS><TEMPLATE>"
    "<RULE><PROTOCOL><![CDATA[tcp]]></PROTOCOL><RANGE><![CDATA[22]]></RANGE>"
    "<RULE_TYPE><![CDATA[inbound]]></RULE_TYPE></RULE>"
    "<RULE><ICMP_TYPE><![CDATA[8]]></ICMP_TYPE><PROTOCOL><![CDATA[ICMP]]></PROTOCOL>"
    "<RULE_TYPE><![CDATA[INBOUND]]></RULE_TYPE></RULE>"
    "<TENANCY_KEY><![CDATA[k]]></TENANCY_KEY></TEMPLATE></SECURITY_GROUP>"
)


def test_a_security_group_is_read_with_its_rules_as_they_are_spelled() -> None:
    expected = SecurityGroupRecord(
        id=277,
        name="rules",
        uid=2,
        gid=100,
        template={"TENANCY_KEY": "k"},
        rules=(
            {"PROTOCOL": "tcp", "RANGE": "22", "RULE_TYPE": "inbound"},
            {"ICMP_TYPE": "8", "PROTOCOL": "ICMP", "RULE_TYPE": "INBOUND"},
        ),
        updated=frozenset({7, 8}),
        outdated=frozenset({9}),
        updating=frozenset(),
        error=frozenset({0}),
    )
    assert SecurityGroupRecord.parse(GROUP) == expected
    assert SecurityGroupRecord.pool(f"<SECURITY_GROUP_POOL>{GROUP}</SECURITY_GROUP_POOL>") == (expected,)


ROUTER = (
    "<VROUTER><ID>65</ID><UID>0</UID><GID>0</GID><UNAME>oneadmin</UNAME><GNAME>oneadmin</GNAME><NAME>edge</NAME>"
    "<PERMISSIONS><OWNER_U>1</OWNER_U></PERMISSIONS><VMS><ID>674</ID><ID>675</ID></VMS><TEMPLATE>"
    "<NIC><AR_ID><![CDATA[0]]></AR_ID><FLOATING_IP><![CDATA[YES]]></FLOATING_IP><NETWORK><![CDATA[n]]></NETWORK>"
    "<NETWORK_ID><![CDATA[434]]></NETWORK_ID><NIC_ID><![CDATA[0]]></NIC_ID>"
    "<VROUTER_IP><![CDATA[10.77.1.1]]></VROUTER_IP><VROUTER_MAC><![CDATA[02:00:0a:4d:01:01]]></VROUTER_MAC></NIC>"
    "<NIC><NETWORK><![CDATA[n]]></NETWORK><NETWORK_ID><![CDATA[434]]></NETWORK_ID><NIC_ID><![CDATA[1]]></NIC_ID></NIC>"
    "<NIC><IP><![CDATA[10.78.0.11]]></IP><NETWORK_ID><![CDATA[434]]></NETWORK_ID><NIC_ID><![CDATA[4]]></NIC_ID></NIC>"
    "<TEMPLATE_ID><![CDATA[1066]]></TEMPLATE_ID></TEMPLATE></VROUTER>"
)


def test_a_router_is_read_with_its_interfaces() -> None:
    expected = RouterRecord(
        id=65,
        name="edge",
        uid=0,
        gid=0,
        template={"TEMPLATE_ID": "1066"},
        vms=frozenset({674, 675}),
        nics=(
            RouterNicRecord(0, 434, None, ip("10.77.1.1"), floating_ip=True),
            RouterNicRecord(1, 434, None, None, floating_ip=False),
            RouterNicRecord(4, 434, ip("10.78.0.11"), None, floating_ip=False),
        ),
    )
    assert RouterRecord.parse(ROUTER) == expected
    assert RouterRecord.pool(f"<VROUTER_POOL>{ROUTER}</VROUTER_POOL>") == (expected,)


@pytest.fixture(name="server")
def _server() -> Iterator[Emulator]:
    with Emulator(config=Config(step_s=1000)) as server:
        yield server


def test_the_records_of_a_server_agree_with_what_was_asked_for(server: Emulator) -> None:
    admin = Raw(server.endpoint, server.auth)
    rules = admin("one.secgroup.allocate", 'NAME="rules"\nRULE=[PROTOCOL="TCP",RULE_TYPE="INBOUND",RANGE="22"]')
    inner = admin(
        "one.vn.allocate",
        f'NAME="inner"\nVN_MAD="vxlan"\nPHYDEV="eth0"\nAUTOMATIC_VLAN_ID="YES"\nSECURITY_GROUPS="{rules}"\n'
        'AR=[TYPE="IP4",IP="10.7.0.1",SIZE="254"]\nAR=[TYPE="ETHER",SIZE="9"]',
        0,
    )
    young = NetworkRecord.parse(admin("one.vn.info", inner))
    assert young.state_name == "LOCK_CREATE"
    assert young.spans == ((ip("10.7.0.1"), 254),)

    server.settle()
    nic = f'NIC=[NETWORK_ID="{inner}",IP="10.7.0.1"]'
    vm = admin("one.vm.allocate", f'NAME="web"\nCPU="0.1"\nMEMORY="16"\n{nic}', True)
    admin("one.vn.hold", inner, 'LEASES=[IP="10.7.0.77"]')
    found = NetworkRecord.parse(admin("one.vn.info", inner))
    assert found.state is NetworkState.READY
    assert found.spans == young.spans
    assert found.leases == (LeaseRecord(ip("10.7.0.1"), vm=vm), LeaseRecord(ip("10.7.0.77")))
    assert (found.used_leases, found.vrouters, found.security_groups) == (2, frozenset(), (0, rules))
    assert NetworkRecord.pool(admin("one.vnpool.info", -2, -1, -1)) == (found,)

    router = admin("one.vrouter.allocate", 'NAME="edge"\nTENANCY_KEY="k"')
    edge = RouterRecord.parse(admin("one.vrouter.info", router))
    assert (edge.name, edge.template, edge.nics) == ("edge", {"TENANCY_KEY": "k"}, ())
    assert RouterRecord.pool(admin("one.vrouterpool.info", -2, -1, -1)) == (edge,)
    group = SecurityGroupRecord.parse(admin("one.secgroup.info", rules))
    assert group.rules == ({"PROTOCOL": "TCP", "RANGE": "22", "RULE_TYPE": "INBOUND"},)
    assert group.updated == {vm}
    assert group in SecurityGroupRecord.pool(admin("one.secgrouppool.info", -2, -1, -1))
