"""Leases of networks: taken by VMs, held, released, reserved."""

import pytest


pytestmark = pytest.mark.live

UNAVAILABLE = "Address is not part of the address range or in use."
IN_USE = "Cannot delete virtual network. Can not remove a virtual network with leases in use"


def leases(one, network):
    """The used addresses, and who has them (-1: held)."""
    found = one.xml("one.vn.info", network).find("AR_POOL").iter("LEASE")
    return {lease.findtext("IP"): lease.findtext("VM") for lease in found}


def used(one, network):
    return one.xml("one.vn.info", network).findtext("USED_LEASES")


def test_a_vm_takes_the_next_address_and_gives_it_back(one, make):
    network = make.network()
    vm = make.vm(make.template(), f'NIC=[NETWORK_ID="{network}"]', hold=True)
    nic = one.xml("one.vm.info", vm).find("TEMPLATE/NIC")
    assert (nic.findtext("IP"), nic.findtext("MAC")) == ("10.7.0.1", "02:00:0a:07:00:01")
    assert leases(one, network) == {"10.7.0.1": str(vm)}
    one.ok("one.vm.action", "terminate-hard", vm)
    make.reached(vm, 6)
    one.until(lambda x: x.findtext("USED_LEASES") == "0", "one.vn.info", network)


def test_a_vm_may_ask_for_an_address(one, make):
    network = make.network()
    vm = make.vm(make.template(), f'NIC=[NETWORK_ID="{network}",IP="10.7.0.7"]', hold=True)
    assert leases(one, network) == {"10.7.0.7": str(vm)}


@pytest.mark.parametrize("address", ["10.7.0.1", "10.99.0.1"])
def test_an_address_that_is_taken_or_outside(one, make, address):
    network, template = make.network(), make.template()
    make.vm(template, f'NIC=[NETWORK_ID="{network}"]', hold=True)
    text = f"Error allocating a new virtual machine template. Cannot get IP/MAC lease from virtual network {network}."
    nic = f'NIC=[NETWORK_ID="{network}",IP="{address}"]'
    one.fails(16384, text, "one.template.instantiate", template, make.name("vm"), True, nic, False)
    assert used(one, network) == "1"


def test_a_network_runs_out_of_addresses(one, make):
    network, template = make.network(size=1), make.template()
    make.vm(template, f'NIC=[NETWORK_ID="{network}"]', hold=True)
    text = f"Error allocating a new virtual machine template. Cannot get IP/MAC lease from virtual network {network}."
    nic = f'NIC=[NETWORK_ID="{network}"]'
    one.fails(16384, text, "one.template.instantiate", template, make.name("vm"), True, nic, False)


def test_of_two_nics_none_stays_when_one_fails(one, make):
    first, second = make.network(), make.network(size=0)
    nics = f'NIC=[NETWORK_ID="{first}"]\nNIC=[NETWORK_ID="{second}"]'
    reply = one("one.template.instantiate", make.template(), make.name("vm"), True, nics, False)
    assert reply[2] == 16384
    assert used(one, first) == "0"


def test_addresses_are_held_and_released(one, make):
    network = make.network()
    assert one.ok("one.vn.hold", network, 'LEASES=[IP="10.7.0.3"]') == network
    assert one.ok("one.vn.hold", network, 'LEASES=[MAC="02:00:0a:07:00:05"]') == network
    assert one.ok("one.vn.hold", network, 'LEASES=[IP="10.7.0.4",AR_ID="0"]') == network
    assert leases(one, network) == {"10.7.0.3": "-1", "10.7.0.4": "-1", "10.7.0.5": "-1"}
    assert used(one, network) == "3"
    assert one.ok("one.vn.release", network, 'LEASES=[IP="10.7.0.3"]') == network
    assert "10.7.0.3" not in leases(one, network)


@pytest.mark.parametrize("lease", ['IP="10.7.0.3"', 'IP="10.99.0.3"', 'IP="abc"'])
def test_an_address_that_is_held_outside_or_none_cannot_be_held(one, make, lease):
    network = make.network()
    one.ok("one.vn.hold", network, 'LEASES=[IP="10.7.0.3"]')
    one.fails(8192, UNAVAILABLE, "one.vn.hold", network, f"LEASES=[{lease}]")


def test_an_address_of_a_vm_cannot_be_held(one, make):
    network = make.network()
    make.vm(make.template(), f'NIC=[NETWORK_ID="{network}"]', hold=True)
    one.fails(8192, UNAVAILABLE, "one.vn.hold", network, 'LEASES=[IP="10.7.0.1"]')


def test_a_lease_must_be_described(one, make):
    one.fails(8192, "Empty lease description.", "one.vn.hold", make.network(), "")


@pytest.mark.parametrize("address", ["10.7.0.3", "10.99.0.3"])
def test_releasing_what_is_not_held_is_accepted(one, make, address):
    network = make.network()
    assert one.ok("one.vn.release", network, f'LEASES=[IP="{address}"]') == network


@pytest.mark.parametrize("how", ["held", "vm"])
def test_with_leases_in_use_neither_network_nor_range_is_removed(one, make, how):
    network = make.network()
    if how == "held":
        one.ok("one.vn.hold", network, 'LEASES=[IP="10.7.0.3"]')
    else:
        make.vm(make.template(), f'NIC=[NETWORK_ID="{network}"]', hold=True)
    one.fails(2048, IN_USE, "one.vn.delete", network)
    one.fails(8192, "Address Range has leases in use", "one.vn.rm_ar", network, 0)


def test_a_reservation_is_a_network_of_its_own(one, make):
    one.needs("one.vn.reserve")
    network, name = make.network(), make.name("reserved")
    reserved = make.kept("vn", one.ok("one.vn.reserve", network, f'SIZE="2"\nNAME="{name}"'))
    info = one.until(lambda x: x.findtext("STATE") == "1", "one.vn.info", reserved)
    assert (info.findtext("NAME"), info.findtext("PARENT_NETWORK_ID")) == (name, str(network))
    ar = info.find("AR_POOL/AR")
    assert [ar.findtext(key) for key in ("IP", "SIZE", "PARENT_NETWORK_AR_ID")] == ["10.7.0.1", "2", "0"]
    assert used(one, network) == "2"
    one.fails(2048, IN_USE, "one.vn.delete", network)
    one.ok("one.vn.delete", reserved)
    one.until_gone("one.vn.info", reserved)
    one.until(lambda x: x.findtext("USED_LEASES") == "0", "one.vn.info", network)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ('SIZE="2"', "NAME for reservation has to be set"),
        ('SIZE="200"\nNAME="x"', "Not enough free addresses in an address range"),
        ('SIZE="0"\nNAME="x"', "Reservation SIZE must be a greater than 0"),
    ],
)
def test_a_reservation_that_cannot_be(one, make, template, text):
    one.needs("one.vn.reserve")
    network = make.network()
    one.fails(2048, text, "one.vn.reserve", network, template)
    assert used(one, network) == "0"


def test_a_reservation_cannot_be_reserved_from(one, make):
    one.needs("one.vn.reserve")
    network = make.network()
    reserved = make.kept("vn", one.ok("one.vn.reserve", network, f'SIZE="2"\nNAME="{make.name("reserved")}"'))
    one.until(lambda x: x.findtext("STATE") == "1", "one.vn.info", reserved)
    text = "Cannot reserve addresses from a reserved VNET"
    one.fails(2048, text, "one.vn.reserve", reserved, f'SIZE="1"\nNAME="{make.name("again")}"')


def test_a_nic_is_attached_and_detached(one, make):
    one.needs("one.vm.attachnic", "one.vm.detachnic")
    network = make.network()
    vm = make.vm(make.template('SCHED_REQUIREMENTS="CLUSTER_ID = 0"'))
    assert one.ok("one.vm.attachnic", vm, f'NIC=[NETWORK_ID="{network}"]') == vm
    make.running(vm)
    assert leases(one, network) == {"10.7.0.1": str(vm)}
    assert one.ok("one.vm.detachnic", vm, 0) == vm
    make.running(vm)
    one.until(lambda x: x.findtext("USED_LEASES") == "0", "one.vn.info", network)
    text = "Could not detach NIC with NIC_ID 0, it does not exist."
    one.fails(2048, text, "one.vm.detachnic", vm, 0)
    text = "Virtual network with ID: 99999 does not exist"
    one.fails(2048, text, "one.vm.attachnic", vm, 'NIC=[NETWORK_ID="99999"]')
