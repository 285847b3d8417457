"""Address ranges without a server."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opennebula_tenancy.emulator.addresses import (
    AddressError,
    AddressRange,
    Holder,
    ip_number,
    ip_text,
    mac_number,
    mac_text,
)
from opennebula_tenancy.emulator.kinds import Kind
from opennebula_tenancy.emulator.template import Vector


def ip4(size: int = 4, ip: str = "10.0.0.254") -> AddressRange:
    return AddressRange.read(Vector(TYPE="ip4", IP=ip, SIZE=str(size)), 0)


@given(st.integers(0, 2**32 - 1))
def test_an_ip_address_is_written_as_it_is_read(number):
    assert ip_number(ip_text(number)) == number
    assert ip_text(number) == str(ipaddress.IPv4Address(number))


@given(st.integers(0, 2**48 - 2))
def test_a_hardware_address_is_written_as_it_is_read(number):
    assert mac_number(mac_text(number)) == number


@pytest.mark.parametrize("text", ["", "1.2.3", "1.2.3.256", "1.2.3.x", "1.2.3.4.5", "::1"])
def test_what_is_no_ip_address(text):
    assert ip_number(text) is None


def test_the_hardware_address_follows_the_ip_address_over_the_byte():
    found = ip4()
    assert [found.address(index)["IP"] for index in range(3)] == ["10.0.0.254", "10.0.0.255", "10.0.1.0"]
    assert found.address(2)["MAC"] == "02:00:0a:00:01:00"


@given(st.lists(st.sampled_from(("take", "give")), max_size=30))
def test_no_address_has_two_holders_and_none_is_lost(acts):
    found = ip4()
    held: list[tuple[int, Holder]] = []
    for number, act in enumerate(acts):
        if act == "give" and held:
            assert found.release(*held.pop(0))
            continue
        index = found.free_index()
        assert (index is None) == (len(held) == found.size)
        if index is not None:
            holder = Holder(Kind.VM, number)
            found.hold(index, holder)
            held.append((index, holder))
    assert found.used == len(held)
    assert len({index for index, _ in held}) == len(held)


def test_the_search_starts_behind_the_last_one_given():
    found = ip4()
    taken = [found.free_index() for _ in range(2)]
    assert (taken, found.next) == ([0, 1], 2)


@pytest.mark.parametrize(
    ("vector", "text"),
    [
        (Vector(IP="10.0.0.1", SIZE="1"), "Unknown or missing address range TYPE."),
        (Vector(TYPE="IP4", SIZE="1"), "Wrong or empty IP attribute"),
        (Vector(TYPE="IP4", IP="x", SIZE="1"), "Wrong or empty IP attribute"),
        (Vector(TYPE="IP4", IP="10.0.0.1"), "Wrong SIZE for address range"),
        (Vector(TYPE="IP4", IP="10.0.0.1", SIZE="-1"), "Wrong SIZE for address range"),
        (Vector(TYPE="IP4", IP="10.0.0.1", SIZE="1", MAC="x"), "Wrong format for MAC attribute: x"),
        (Vector(TYPE="IP6", GLOBAL_PREFIX="x", SIZE="1"), "Wrong format for IP6 global address prefix"),
        (Vector(TYPE="IP6_STATIC", IP6="2001:db8::1", SIZE="1"), "Wrong or empty PREFIX_LENGTH"),
        (Vector(TYPE="ETHER", SIZE="1", SHARED="YES"), "Shared ARs can be only of type IP4 or IP6_STATIC."),
    ],
)
def test_what_is_no_range_is_named(vector, text):
    with pytest.raises(AddressError) as refused:
        AddressRange.read(vector, 0)
    assert str(refused.value) == text


def test_a_static_range_without_a_size_reaches_to_the_end_of_its_prefix():
    found = AddressRange.read(Vector(TYPE="IP6_STATIC", IP6="2001:db8::10", PREFIX_LENGTH="120"), 0)
    assert found.size == 256 - 16


def test_an_address_from_a_prefix_is_made_of_the_hardware_address():
    vector = Vector(TYPE="IP6", GLOBAL_PREFIX="2001:db8::", MAC="02:00:00:00:00:01", SIZE="2")
    address = AddressRange.read(vector, 0).address(1)
    assert (address["IP6_GLOBAL"], address["IP6_LINK"]) == ("2001:db8::ff:fe00:2", "fe80::ff:fe00:2")
