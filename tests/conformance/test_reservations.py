"""Reservations: networks made of the addresses of another one."""

import re

import pytest


pytestmark = pytest.mark.live

NO_ROOM = "Not enough free addresses in an address range"


def used(one, network):
    return one.xml("one.vn.info", network).findtext("USED_LEASES")


def ranges(one, network):
    """First address, size and the range of the parent, of each range."""
    keys = ("IP", "SIZE", "PARENT_NETWORK_AR_ID")
    found = one.xml("one.vn.info", network).iter("AR")
    return [tuple(item.findtext(key) for key in keys) for item in found]


@pytest.fixture
def reserve(one, make):
    """Makes reservations, READY."""

    def reserved(network, size, extra="", *, caller=one, name=None):
        template = f'SIZE="{size}"\nNAME="{name or make.name("reserved")}"\n{extra}'
        made = make.kept("vn", caller.ok("one.vn.reserve", network, template))
        one.until(lambda x: x.findtext("STATE") == "1", "one.vn.info", made)
        return made

    return reserved


@pytest.fixture
def parent(one, make):
    """A network of ten addresses from 10.7.0.1 that everyone may use."""
    network = make.network('VLAN_ID="7"\nFOO="bar"')
    one.ok("one.vn.chmod", network, -1, -1, -1, -1, -1, -1, 1, -1, -1)
    return network


def test_a_reservation_is_like_its_parent_and_in_its_clusters(one, parent, reserve):
    info = one.xml("one.vn.info", reserve(parent, 3))
    assert info.findtext("PARENT_NETWORK_ID") == str(parent)
    assert [info.findtext(key) for key in ("VN_MAD", "BRIDGE", "VLAN_ID", "TEMPLATE/FOO")] == [
        "dummy",
        "br0",
        "7",
        "bar",
    ]
    assert [item.text for item in info.find("CLUSTERS")] == ["0"]


def test_reservations_take_consecutive_addresses_one_after_the_other(one, parent, reserve):
    first, second = reserve(parent, 3), reserve(parent, 2)
    assert ranges(one, first) == [("10.7.0.1", "3", "0")]
    assert ranges(one, second) == [("10.7.0.4", "2", "0")]
    assert used(one, parent) == "5"
    owners = [item.findtext("VNET") for item in one.xml("one.vn.info", parent).iter("LEASE")]
    assert owners == [str(first)] * 3 + [str(second)] * 2


@pytest.mark.parametrize("first", ['IP="10.7.0.5"', 'MAC="02:00:0a:07:00:05"'])
def test_the_first_address_may_be_asked_for(one, parent, reserve, first):
    assert ranges(one, reserve(parent, 2, f'AR_ID="0"\n{first}')) == [("10.7.0.5", "2", "0")]


def test_addresses_in_use_leave_too_little_room(one, make, parent):
    make.vm(make.template(), f'NIC=[NETWORK_ID="{parent}",IP="10.7.0.5"]', hold=True)
    one.fails(2048, NO_ROOM, "one.vn.reserve", parent, 'SIZE="6"\nNAME="x"')
    assert used(one, parent) == "1"


def test_a_reservation_grows_by_another_range(one, parent, reserve):
    network = reserve(parent, 2)
    assert one.ok("one.vn.reserve", parent, f'SIZE="3"\nNETWORK_ID="{network}"') == network
    assert ranges(one, network) == [("10.7.0.1", "2", "0"), ("10.7.0.3", "3", "0")]
    assert one.ok("one.vn.free_ar", network, 0) == network
    assert used(one, parent) == "3"


def test_a_vm_takes_an_address_of_the_reservation(one, make, parent, reserve):
    network = reserve(parent, 2)
    vm = make.vm(make.template(), f'NIC=[NETWORK_ID="{network}"]', hold=True)
    nic = one.xml("one.vm.info", vm).find("TEMPLATE/NIC")
    assert (nic.findtext("IP"), nic.findtext("PARENT_NETWORK_ID")) == ("10.7.0.1", str(parent))
    assert (used(one, network), used(one, parent)) == ("1", "2")
    one.fails(8192, "Address Range has leases in use", "one.vn.free_ar", network, 0)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("", "Reservation SIZE must be a greater than 0"),
        ('SIZE="-1"\nNAME="x"', "Reservation SIZE must be a greater than 0"),
        ('SIZE="2"', "NAME for reservation has to be set"),
        ('SIZE="2"\nNETWORK_ID="-1"', "NETWORK_ID must be equal or greater than 0"),
        ('SIZE="2"\nNETWORK_ID="{self}"', "Cannot add a reservation from the same network"),
        ('SIZE="2"\nNETWORK_ID="{other}"', "Cannot add reservations to a non-reservation VNET"),
        ('SIZE="2"\nNAME="x"\nAR_ID="-1"', "AR_ID must be equal or greater than 0"),
        ('SIZE="2"\nNAME="x"\nIP="10.7.0.3"', "AR_ID must be specified for IP/MAC based reservations"),
        ('SIZE="2"\nNAME="x"\nAR_ID="9"', "Not enough free addresses in address range 9, or it does not exist"),
        ('SIZE="11"\nNAME="x"', NO_ROOM),
        ("SIZE=[", re.compile("Parse error: syntax error, .*")),
    ],
)
def test_a_reservation_that_cannot_be(one, make, parent, template, text):
    given = template.replace("{self}", str(parent)).replace("{other}", str(make.network()))
    one.fails(2048, text, "one.vn.reserve", parent, given)
    assert used(one, parent) == "0"


def test_networks_that_are_not_there(one, parent):
    text = "Error getting virtual network [99999]."
    assert one.fails(1024, text, "one.vn.reserve", parent, 'SIZE="2"\nNETWORK_ID="99999"') == 99999
    one.fails(1024, "Error getting virtual network Pool.", "one.vn.reserve", 99999, 'SIZE="2"\nNAME="x"')


def test_a_taken_name(one, make, parent):
    name = make.name("net")
    network = make.network(name=name)
    one.fails(8192, f"NAME is already taken by NET {network}.", "one.vn.reserve", parent, f'SIZE="2"\nNAME="{name}"')


def test_a_range_of_a_reservation_keeps_its_size(one, parent, reserve):
    network = reserve(parent, 3)
    text = "The SIZE of a reservation cannot be changed."
    one.fails(8192, text, "one.vn.update_ar", network, 'AR=[AR_ID="0",SIZE="2"]')
    assert one.ok("one.vn.update_ar", network, 'AR=[AR_ID="0",SIZE="3",FOO="baz"]') == network
    assert one.xml("one.vn.info", network).findtext("AR_POOL/AR/FOO") == "baz"


# Tenants


def leases_counted(one, gid):
    return one.xml("one.group.info", gid).findtext("NETWORK_QUOTA/NETWORK/LEASES_USED")


def test_a_reservation_counts_in_the_quota_for_its_parent(one, make, tenant, parent, reserve):
    one.ok("one.group.quota", tenant.gid, f'NETWORK=[ID="{parent}",LEASES="4"]')
    network = reserve(parent, 3, caller=tenant.one)
    assert leases_counted(one, tenant.gid) == "3"
    text = (
        f"User [{tenant.uid}] : group [{tenant.gid}] limit of 4 reached for LEASES quota in NETWORK with ID: {parent}."
    )
    name = make.name("net")
    tenant.one.fails(512, text, "one.vn.reserve", parent, f'SIZE="2"\nNAME="{name}"')
    assert name not in [item.findtext("NAME") for item in one.xml("one.vnpool.info", -2, -1, -1)]
    one.ok("one.vn.delete", network)
    one.until_gone("one.vn.info", network)
    one.until(lambda x: x.findtext("NETWORK_QUOTA/NETWORK/LEASES_USED") == "0", "one.group.info", tenant.gid)
    assert used(one, parent) == "0"


def test_a_reservation_that_is_given_away_counts_for_its_new_owner(one, tenant, parent, reserve):
    one.ok("one.group.quota", tenant.gid, f'NETWORK=[ID="{parent}",LEASES="4"]')
    network = reserve(parent, 3)
    assert one.ok("one.vn.chown", network, -1, tenant.gid) == network
    assert leases_counted(one, tenant.gid) == "3"


def test_rules_on_all_networks_or_those_of_a_cluster_open_no_reservation(one, make, tenant, parent, reserve):
    network = reserve(parent, 3)
    for rule in (f"@{tenant.gid} NET/* USE", f"@{tenant.gid} NET/%0 MANAGE"):
        make.acl(rule)
    text = f"User [{tenant.uid}] : Not authorized to perform USE NET [{network}]."
    tenant.one.fails(512, text, "one.vn.info", network)
    listed = [int(item.findtext("ID")) for item in tenant.one.xml("one.vnpool.info", -2, -1, -1)]
    assert (parent in listed, network in listed) == (True, False)
    make.acl(f"@{tenant.gid} NET/#{network} USE")
    assert tenant.one.xml("one.vn.info", network).findtext("ID") == str(network)


def test_a_tenant_owns_what_it_reserved_and_needs_no_right_to_create(one, make, parent, reserve):
    gid = make.group()
    uid, login = make.login(gid)
    network = reserve(parent, 3, caller=login)
    info = one.xml("one.vn.info", network)
    assert (info.findtext("UID"), info.findtext("GID")) == (str(uid), str(gid))
    assert login.ok("one.vn.hold", network, 'LEASES=[IP="10.7.0.2"]') == network
    seen = [item.findtext("VNET") for item in login.xml("one.vn.info", parent).iter("LEASE")]
    assert seen == [str(network)] * 3
