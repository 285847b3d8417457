"""Networks: making, changing and removing them, and their address ranges."""

import pytest


pytestmark = pytest.mark.live

WRONG_STATE = "Could not execute one.vn.{verb}Virtual Network is in wrong state: {state}"


def template(name, more="", ranges='AR=[TYPE="IP4",IP="10.7.0.1",SIZE="10"]'):
    return f'NAME="{name}"\nVN_MAD="dummy"\nBRIDGE="br0"\n{ranges}\n{more}'


def ranges(one, network):
    found = one.xml("one.vn.info", network).find("AR_POOL")
    return [tuple(ar.findtext(key) for key in ("AR_ID", "TYPE", "IP", "SIZE")) for ar in found]


def settled(one, network):
    return one.until(lambda x: x.findtext("STATE") != "2", "one.vn.info", network)


def locked(one, make, verb, *arguments):
    """The refusal of a call sent while a network is still LOCK_CREATE, which lasts some milliseconds."""
    for _ in range(20):
        network = make.kept("vn", one.ok("one.vn.allocate", template(make.name("net")), 0))
        reply = one(f"one.vn.{verb}", network, *arguments)
        if not reply[0]:
            assert settled(one, network).findtext("STATE") == "1"
            return reply
    raise AssertionError(f"no network was ever seen LOCK_CREATE by {verb}")


def test_a_network_that_is_not_ready_is_not_deleted(one, make):
    text = "[one.vn.delete] Cannot delete virtual network. Can not remove a Virtual Network, wrong state LOCK_CREATE"
    assert locked(one, make, "delete") == [False, text, 2048, -1, -1]


def test_a_network_that_is_not_ready_takes_no_address_range(one, make):
    text = f"[one.vn.add_ar] {WRONG_STATE.format(verb='add_ar', state='LOCK_CREATE')}"
    more = 'AR=[TYPE="IP4",IP="10.8.0.1",SIZE="10"]'
    assert locked(one, make, "add_ar", more) == [False, text, 2048, -1, -1]


def test_a_network_that_is_not_ready_has_no_addresses_yet(one, make):
    network = make.kept("vn", one.ok("one.vn.allocate", template(make.name("net")), 0))
    info = one.xml("one.vn.info", network)
    assert len(info.find("AR_POOL")) == (0 if info.findtext("STATE") == "2" else 1)
    assert len(settled(one, network).find("AR_POOL")) == 1


def test_while_locked_it_can_be_opened_and_updated(one, make):
    network = make.kept("vn", one.ok("one.vn.allocate", template(make.name("net")), 0))
    assert one.ok("one.vn.chmod", network, -1, -1, -1, 1, -1, -1, -1, -1, -1) == network
    assert one.ok("one.vn.update", network, 'A="1"', 1) == network
    info = settled(one, network)
    assert (info.findtext("PERMISSIONS/GROUP_U"), info.findtext("TEMPLATE/A")) == ("1", "1")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ('AR=[TYPE="IP4",IP="abc",SIZE="5"]', "Wrong or empty IP attribute"),
        ('AR=[TYPE="IP4",IP="10.0.0.1"]', "Wrong SIZE for address range"),
    ],
)
def test_a_bad_address_range_shows_only_later(one, make, given, text):
    network = make.kept("vn", one.ok("one.vn.allocate", template(make.name("net"), ranges=given), 0))
    info = settled(one, network)
    assert info.findtext("STATE") == "5"
    assert info.findtext("TEMPLATE/ERROR").endswith(f" : {text}")
    assert list(info.find("AR_POOL")) == []
    assert one.ok("one.vn.update", network, 'A="1"', 1) == network
    more = 'AR=[TYPE="IP4",IP="10.7.0.1",SIZE="1"]'
    one.fails(2048, WRONG_STATE.format(verb="add_ar", state="ERROR"), "one.vn.add_ar", network, more)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("", "No NAME in template for Virtual Network."),
        ('VN_MAD="dummy"\nBRIDGE="b"', "No NAME in template for Virtual Network."),
        ('NAME="x"', "No VN_MAD in template for Virtual Network."),
        ('NAME="x"\nVN_MAD="foo"', 'VN_MAD named "foo" is not defined in oned.conf'),
        ('NAME="x"\nVN_MAD="dummy"', "BRIDGE is mandatory for driver dummy"),
        ('NAME="x"\nVN_MAD="vxlan"', "PHYDEV is mandatory for driver vxlan"),
        (
            'NAME="x"\nVN_MAD="vxlan"\nPHYDEV="eth0"',
            "VLAN_ID (or AUTOMATIC_VLAN_ID) is mandatory for driver vxlan",
        ),
        (
            'NAME="x"\nVN_MAD="802.1Q"\nPHYDEV="eth0"',
            "VLAN_ID (or AUTOMATIC_VLAN_ID) is mandatory for driver 802.1Q",
        ),
        ('NAME="a&b"\nVN_MAD="dummy"\nBRIDGE="b"', "Invalid NAME, char '&' is not allowed"),
    ],
)
def test_a_network_that_cannot_be(one, given, text):
    one.fails(8192, text, "one.vn.allocate", given, 0)


def test_a_network_in_a_missing_cluster(one):
    text = "Error getting cluster [99999]."
    assert one.fails(1024, text, "one.vn.allocate", template("x"), 99999) == 99999


def test_without_cluster_a_network_is_in_the_default_one(one, make):
    network = make.kept("vn", one.ok("one.vn.allocate", template(make.name("net")), -1))
    assert [item.text for item in settled(one, network).find("CLUSTERS")] == ["0"]


def test_a_bridge_and_a_vlan_are_made_up(one, make):
    given = f'NAME="{make.name("net")}"\nVN_MAD="vxlan"\nPHYDEV="eth0"\nAUTOMATIC_VLAN_ID="YES"'
    network = make.kept("vn", one.ok("one.vn.allocate", given, 0))
    info = settled(one, network)
    assert (info.findtext("STATE"), info.findtext("BRIDGE")) == ("1", f"onebr{network}")
    assert int(info.findtext("VLAN_ID")) >= 2
    assert (info.findtext("VLAN_ID_AUTOMATIC"), info.findtext("PHYDEV")) == ("1", "eth0")


def test_every_network_has_the_default_security_group(one, make):
    assert one.xml("one.vn.info", make.network()).findtext("TEMPLATE/SECURITY_GROUPS") == "0"


def test_names_are_taken_per_owner(one, make):
    name = make.name("net") + " with spaces"
    network = make.network(name=name)
    one.fails(8192, f"NAME is already taken by NET {network}.", "one.vn.allocate", template(name), 0)
    uid = make.user()
    one.ok("one.vn.chown", network, uid, -1)
    second = make.network(name=name)
    text = f"user [{uid}] already owns virtual network [{network}] with NAME {name}"
    one.fails(8192, text, "one.vn.chown", second, uid, -1)
    assert one.ok("one.vn.chown", second, -1, make.group()) == second


def test_renaming(one, make):
    name, network, other = make.name("net"), make.network(), make.network()
    assert one.ok("one.vn.rename", network, name) == network
    text = f"virtual network cannot be renamed to {name} because it collides with virtual network {network}"
    one.fails(2048, text, "one.vn.rename", other, name)
    one.fails(2048, "Invalid NAME, it cannot be empty", "one.vn.rename", other, "")


def test_a_replacing_update_names_the_driver_again(one, make):
    network = make.network('DNS="1.1.1.1"')
    text = "Cannot update template. No VN_MAD in template for Virtual Network."
    one.fails(8192, text, "one.vn.update", network, 'A="1"', 0)
    assert one.ok("one.vn.update", network, 'VN_MAD="dummy"\nBRIDGE="br0"\nZ="1"', 0) == network
    found = one.xml("one.vn.info", network).find("TEMPLATE")
    assert found.findtext("Z") == "1"
    assert found.find("DNS") is None


def test_a_locked_network_is_not_updated(one, make):
    network = make.network()
    one.ok("one.vn.lock", network, 4)
    one.fails(512, f"User [0] : NET is locked. [{network}].", "one.vn.update", network, 'A="1"', 1)
    one.ok("one.vn.unlock", network)
    assert one.ok("one.vn.update", network, 'A="1"', 1) == network


def test_a_deleted_network_is_gone_a_little_later(one, make):
    network = make.network()
    assert one.ok("one.vn.delete", network) == network
    one.until_gone("one.vn.info", network)
    one.until(lambda x: str(network) not in [i.text for i in x.find("VNETS")], "one.cluster.info", 0)


def test_address_ranges_are_added_even_when_they_overlap(one, make):
    network = make.network()
    assert one.ok("one.vn.add_ar", network, 'AR=[TYPE="IP4",IP="10.7.0.5",SIZE="20"]') == network
    assert one.ok("one.vn.add_ar", network, 'AR=[TYPE="ETHER",SIZE="0"]') == network
    one.until(lambda x: len(x.find("AR_POOL")) == 3, "one.vn.info", network)
    assert ranges(one, network) == [
        ("0", "IP4", "10.7.0.1", "10"),
        ("1", "IP4", "10.7.0.5", "20"),
        ("2", "ETHER", None, "0"),
    ]


def test_an_address_range_shows_its_ends(one, make):
    ar = one.xml("one.vn.info", make.network(size=10)).find("AR_POOL/AR")
    assert [ar.findtext(key) for key in ("MAC", "MAC_END", "IP_END", "USED_LEASES")] == [
        "02:00:0a:07:00:01",
        "02:00:0a:07:00:0a",
        "10.7.0.10",
        "0",
    ]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("", "Wrong AR definition. AR vector attribute is missing."),
        ('AR=[TYPE="IP4",IP="abc",SIZE="10"]', "Wrong or empty IP attribute"),
        ('AR=[TYPE="IP4",SIZE="3"]', "Wrong or empty IP attribute"),
        ('AR=[TYPE="IP4",IP="10.8.0.1"]', "Wrong SIZE for address range"),
        ('AR=[TYPE="IP4",IP="10.8.0.1",SIZE="abc"]', "Wrong SIZE for address range"),
        ('AR=[TYPE="IP4",IP="10.8.0.1",SIZE="-1"]', "Wrong SIZE for address range"),
        ('AR=[TYPE="FOO",SIZE="5"]', "Unknown or missing address range TYPE."),
        ('AR=[IP="10.9.0.1",SIZE="5"]', "Unknown or missing address range TYPE."),
    ],
)
def test_an_address_range_that_cannot_be(one, make, given, text):
    network = make.network()
    one.fails(8192, text, "one.vn.add_ar", network, given)
    assert len(ranges(one, network)) == 1


def test_address_ranges_change_their_size(one, make):
    one.needs("one.vn.update_ar")
    network = make.network()
    assert one.ok("one.vn.update_ar", network, 'AR=[AR_ID="0",SIZE="12"]') == network
    assert ranges(one, network) == [("0", "IP4", "10.7.0.1", "12")]
    text = "Address Range with ID 99 was not found."
    one.fails(8192, text, "one.vn.update_ar", network, 'AR=[AR_ID="99",SIZE="12"]')
    one.fails(8192, "AR/AR_ID attribute is missing.", "one.vn.update_ar", network, 'AR=[SIZE="12"]')


def test_address_ranges_are_removed(one, make):
    network = make.network()
    assert one.ok("one.vn.rm_ar", network, 0) == network
    assert ranges(one, network) == []
    one.fails(8192, "Address Range does not exist", "one.vn.rm_ar", network, 99)
