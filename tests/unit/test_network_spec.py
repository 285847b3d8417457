"""A network as it is asked for: what can be is taken, and all that cannot be is said at once."""

from ipaddress import IPv4Network
from typing import Any

import pytest

import opennebula_tenancy as ont


IPV6 = "subnet: 'fd00::/64' is IPv6, which tenants' networks do not have: only IPv4 is supported"
ROOM = (
    "instances: {} machines of the router, the gateway that they share and one VM need {} addresses, and the subnet "
    "has {}"
)


def spec(**asked: Any) -> ont.NetworkSpec:
    return ont.NetworkSpec(**{"external_network": 10, "router_template": 8} | asked)


def problems(**asked: Any) -> tuple[str, ...]:
    with pytest.raises(ont.SettingsError) as caught:
        spec(**asked)
    return caught.value.problems


def test_what_is_not_named_is_as_the_founding_settings_have_it() -> None:
    made = spec()
    assert (made.pool.cidr, made.pool.prefix, made.vn_mad, made.phydev) == ("10.0.0.0/8", 24, "vxlan", "eth0")
    assert (made.dns, made.instances, made.is_shared, made.rules, made.wanted_subnet) == ("8.8.8.8", 1, False, (), None)


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"external_network": -1}, "external_network: -1 is not an id"),
        ({"external_network": True}, "external_network: True is not an id"),
        ({"router_template": "8"}, "router_template: '8' is not an id"),
        (
            {"subnet": "10.0.0.1/24"},
            "subnet: '10.0.0.1/24' has host bits set: the network of that address is 10.0.0.0/24",
        ),
        ({"subnet": "fd00::/64"}, IPV6),
        ({"subnet": "10.0.0.0/31"}, "subnet: 10.0.0.0/31 is too small: /30 is the smallest with a gateway and a VM"),
        ({"subnet": "10.0.0.0/8"}, "subnet: 10.0.0.0/8 is too large: /16 is the largest subnet"),
        ({"vn_mad": "gre"}, "vn_mad: 'gre' is not one of vxlan, 802.1Q, bridge"),
        ({"phydev": None}, "phydev: the driver vxlan needs the name of a device"),
        ({"vn_mad": "802.1Q", "phydev": None}, "phydev: the driver 802.1Q needs the name of a device"),
        ({"vn_mad": "802.1Q", "vlan_id": 4095}, "vlan_id: 4095 is not a number from 1 to 4094"),
        ({"vlan_id": 2**24}, "vlan_id: 16777216 is not a number from 1 to 16777215"),
        ({"vn_mad": "bridge", "vlan_id": 5}, "vlan_id: the driver bridge has none"),
        ({"dns": "8.8.8.8 dns.example.org"}, "dns: 'dns.example.org' is not an IPv4 address"),
        ({"mtu": 575}, "mtu: 575 is not a number of bytes from 576 to 65535"),
        ({"instances": 0}, "instances: 0 is not a number from 1 to 8"),
        ({"instances": 9}, "instances: 9 is not a number from 1 to 8"),
        ({"keepalived_id": 256}, "keepalived_id: 256 is not a number from 1 to 255"),
        ({"keepalived_id": 0}, "keepalived_id: 0 is not a number from 1 to 255"),
        ({"timeout_s": 0}, "timeout_s: 0 is no time to wait"),
        ({"rules": ("tcp 22",)}, "rules: expected values of SecurityRule"),
        (
            {"subnet": "10.0.0.0/30", "instances": 2},
            ROOM.format(2, 4, 2),
        ),
        (
            {"pool": ont.SubnetPool("10.0.0.0/8", prefix=29), "instances": 5},
            ROOM.format(5, 7, 6),
        ),
    ],
)
def test_a_value_that_cannot_be_is_refused(asked: dict[str, Any], problem: str) -> None:
    assert problems(**asked) == (problem,)


@pytest.mark.parametrize("name", ["phydev", "bridge", "sched_requirements"])
def test_text_that_no_template_can_hold_is_refused(name: str) -> None:
    (problem,) = problems(**{name: "a\x00b"})
    assert problem.startswith(f"{name}: ")


@pytest.mark.parametrize(
    "asked",
    [
        {"external_network": 0, "router_template": 0},
        {"subnet": "192.168.1.0/30"},
        {"subnet": "192.168.0.0/16"},
        {"subnet": "192.168.1.0/29", "instances": 4},
        {"vn_mad": "bridge", "phydev": None},
        {"vn_mad": "802.1Q", "vlan_id": 4094},
        {"dns": None},
        {"dns": "8.8.8.8 1.1.1.1"},
        {"mtu": 65535},
        {"instances": 8, "keepalived_id": 255},
    ],
)
def test_a_value_at_the_edge_of_what_can_be_is_taken(asked: dict[str, Any]) -> None:
    made = spec(**asked)
    assert {name: getattr(made, name) for name in asked} == asked


def test_all_problems_are_said_at_once() -> None:
    said = problems(external_network=-5, subnet="x", vn_mad="gre", mtu=1, instances=99)
    assert [problem.partition(":")[0] for problem in said] == [
        "external_network",
        "subnet",
        "vn_mad",
        "mtu",
        "instances",
    ]


def test_the_subnet_that_is_asked_for_is_read() -> None:
    assert spec(subnet="192.168.1.0/24").wanted_subnet == IPv4Network("192.168.1.0/24")


def test_rules_of_a_list_are_kept_and_outbound_traffic_is_allowed_where_none_speaks_of_it() -> None:
    ssh, out = ont.SecurityRule("inbound", "tcp", ports="22"), ont.SecurityRule("outbound", "udp", ports="53")
    made = spec(rules=[ssh])
    assert made.rules == (ssh,)
    assert made.all_rules == (ssh, ont.SecurityRule("outbound", "all"))
    assert spec(rules=(ssh, out)).all_rules == (ssh, out)
    assert spec().all_rules == ()


def test_two_specs_of_the_same_values_are_equal() -> None:
    assert spec(subnet="10.1.0.0/24") == spec(subnet="10.1.0.0/24")
    assert hash(spec()) == hash(spec())
