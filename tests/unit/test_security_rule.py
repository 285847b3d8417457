"""Rules of security groups."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opennebula_tenancy import SettingsError
from opennebula_tenancy._wire.network_records import SecurityGroupRecord
from opennebula_tenancy._wire.template import render
from opennebula_tenancy.emulator import Emulator
from opennebula_tenancy.security_rule import SecurityRule, same_rules
from tenants.raw import Raw


def problems(make, *args, **kwargs) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        make(*args, **kwargs)
    return caught.value.problems


@pytest.mark.parametrize(
    ("rule", "vector", "text"),
    [
        (
            SecurityRule("inbound", "tcp", ports="22:22"),
            {"PROTOCOL": "TCP", "RULE_TYPE": "INBOUND", "RANGE": "22"},
            "inbound tcp 22",
        ),
        (
            SecurityRule("Outbound", "UDP", ports="8000:8080", network=7),
            {"PROTOCOL": "UDP", "RULE_TYPE": "OUTBOUND", "RANGE": "8000:8080", "NETWORK_ID": "7"},
            "outbound udp 8000:8080 to network 7",
        ),
        (
            SecurityRule("inbound", "icmp", icmp_type=8),
            {"PROTOCOL": "ICMP", "RULE_TYPE": "INBOUND", "ICMP_TYPE": "8"},
            "inbound icmp type 8",
        ),
        (
            SecurityRule("inbound", "icmpv6", icmp_type=128),
            {"PROTOCOL": "ICMPV6", "RULE_TYPE": "INBOUND", "ICMPV6_TYPE": "128"},
            "inbound icmpv6 type 128",
        ),
        (
            SecurityRule("inbound", "ipsec", cidr="10.0.0.0/9"),
            {"PROTOCOL": "IPSEC", "RULE_TYPE": "INBOUND", "IP": "10.0.0.0", "SIZE": "8388608"},
            "inbound ipsec from 10.0.0.0/9",
        ),
        (
            SecurityRule("inbound", "icmp", icmp_type=0, network=0),
            {"PROTOCOL": "ICMP", "RULE_TYPE": "INBOUND", "ICMP_TYPE": "0", "NETWORK_ID": "0"},
            "inbound icmp type 0 from network 0",
        ),
        (SecurityRule("outbound", "all"), {"PROTOCOL": "ALL", "RULE_TYPE": "OUTBOUND"}, "outbound all"),
    ],
)
def test_a_rule_is_written_as_the_server_takes_it_and_read_back(
    rule: SecurityRule, vector: dict[str, str], text: str
) -> None:
    assert rule.vector() == vector
    assert SecurityRule.of_vector(vector) == rule
    assert str(rule) == text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"ports": "22"}, {"ports": "22:22"}),
        ({"ports": "443,80"}, {"ports": " 80 ,443"}),
        ({"ports": "80,80,80:80"}, {"ports": "080"}),
        ({"ports": "1,2,3"}, {"ports": "1:3"}),
        ({"ports": "1:5,3:9"}, {"ports": "1:9"}),
        ({"cidr": "0.0.0.0/0"}, {}),
        ({"cidr": " 10.0.0.0/8 "}, {"cidr": "10.0.0.0/8"}),
    ],
)
def test_rules_that_mean_the_same_are_equal(one: dict[str, str], other: dict[str, str]) -> None:
    first, second = SecurityRule("inbound", "tcp", **one), SecurityRule(" INBOUND", "Tcp ", **other)
    assert first == second
    assert hash(first) == hash(second)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"ports": "22"}, {}),
        ({"ports": "0:65535"}, {}),
        ({"network": 0}, {}),
        ({"cidr": "10.0.0.0/8"}, {"network": 10}),
    ],
)
def test_rules_that_mean_something_else_differ(one: dict[str, object], other: dict[str, object]) -> None:
    assert SecurityRule("inbound", "tcp", **one) != SecurityRule("inbound", "tcp", **other)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"direction": "in"}, "direction: 'in' is none of inbound, outbound"),
        ({"direction": None}, "direction: None is none of inbound, outbound"),
        ({"protocol": "gre"}, "protocol: 'gre' is none of tcp, udp, icmp, icmpv6, ipsec, all"),
        ({"protocol": "icmp", "ports": "22"}, "ports: icmp has none, only tcp and udp have"),
        ({"ports": ""}, "ports: '' is neither a port such as 22 nor a range such as 8000:8080"),
        ({"ports": "22:"}, "ports: '22:' is neither a port such as 22 nor a range such as 8000:8080"),
        ({"ports": "22-23"}, "ports: '22-23' is neither a port such as 22 nor a range such as 8000:8080"),
        ({"ports": "65536"}, "ports: '65536' is out of bounds, 65535 is the last port"),
        ({"ports": "9:8"}, "ports: '9:8' ends before it begins"),
        ({"ports": 1342}, "ports: 1342 is no text such as '22' or '80,443' or '8000:8080'"),
        (
            {"ports": ",".join(str(2 * port) for port in range(16))},
            "ports: 16 ports, a range counting as two, are more than the 15 of a rule",
        ),
        (
            {"ports": ",".join(f"{4 * port}:{4 * port + 1}" for port in range(8))},
            "ports: 16 ports, a range counting as two, are more than the 15 of a rule",
        ),
        ({"icmp_type": 8}, "icmp_type: tcp has none, only icmp and icmpv6 have"),
        ({"protocol": "icmp", "icmp_type": 7}, "icmp_type: 7 is no type of icmp"),
        ({"protocol": "icmp", "icmp_type": 128}, "icmp_type: 128 is no type of icmp"),
        ({"protocol": "icmpv6", "icmp_type": 8}, "icmp_type: 8 is no type of icmpv6"),
        ({"protocol": "icmp", "icmp_type": "8"}, "icmp_type: '8' is no type of icmp"),
        ({"protocol": "icmp", "icmp_type": True}, "icmp_type: True is no type of icmp"),
        ({"protocol": "icmpv6", "cidr": "10.0.0.0/8"}, "cidr: icmpv6 has no IPv4 network at its other end"),
        ({"cidr": "10.0.0.1/8"}, "cidr: '10.0.0.1/8' has host bits set: the network of that address is 10.0.0.0/8"),
        (
            {"cidr": "fd00::/8"},
            "cidr: 'fd00::/8' is IPv6, which tenants' networks do not have: only IPv4 is supported",
        ),
        ({"network": -1}, "network: -1 is not an id"),
        ({"network": "3"}, "network: '3' is not an id"),
        ({"network": 3, "cidr": "10.0.0.0/8"}, "network: there is a cidr too, and a rule has one other end"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(settings: dict[str, object], expected: str) -> None:
    assert problems(SecurityRule, **{"direction": "inbound", "protocol": "tcp"} | settings) == (expected,)


def test_all_problems_of_a_rule_are_named_at_once() -> None:
    assert problems(SecurityRule, "up", "icmp", ports="x,70000", icmp_type=999, network=-1, cidr="10.0.0.0") == (
        "direction: 'up' is none of inbound, outbound",
        "ports: icmp has none, only tcp and udp have",
        "ports: 'x' is neither a port such as 22 nor a range such as 8000:8080",
        "ports: '70000' is out of bounds, 65535 is the last port",
        "icmp_type: 999 is no type of icmp",
        "cidr: '10.0.0.0' has no prefix length; a network such as 10.0.0.0/24 was due",
        "network: -1 is not an id",
        "network: there is a cidr too, and a rule has one other end",
    )


# --- settings


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"direction": "INBOUND", "protocol": "TCP", "range": "22:22"}, SecurityRule("inbound", "tcp", "22")),
        ({"direction": "INBOUND", "protocol": "ICMP", "type": "8"}, SecurityRule("inbound", "icmp", icmp_type=8)),
        ({"direction": "inbound", "protocol": "icmp", "type": 0}, SecurityRule("inbound", "icmp", icmp_type=0)),
        ({"direction": "OUTBOUND", "protocol": "ALL", "range": "", "type": None}, SecurityRule("outbound", "all")),
        ({"direction": "OUTBOUND", "protocol": "ALL", "network_id": "0"}, SecurityRule("outbound", "all", network=0)),
        (
            {"direction": "INBOUND", "protocol": "UDP", "range": "53", "cidr": "10.0.0.0/8"},
            SecurityRule("inbound", "udp", "53", cidr="10.0.0.0/8"),
        ),
    ],
)
def test_a_rule_is_made_of_settings(settings: dict[str, object], rule: SecurityRule) -> None:
    assert SecurityRule.of_settings(settings) == rule


def test_problems_in_settings_are_named_by_their_keys_all_at_once() -> None:
    settings = {"protcol": "TCP", "protocol": "TCP", "range": 1342, "type": ["8"], "network_id": "x"}
    assert problems(SecurityRule.of_settings, settings) == (
        "'protcol' is no key of a rule: direction, protocol, range, type, network_id, cidr are",
        "direction: None is none of inbound, outbound",
        "range: 1342 is no text such as '22' or '80,443' or '8000:8080'",
        "type: tcp has none, only icmp and icmpv6 have",
        "network_id: 'x' is not an id",
    )


def test_settings_that_are_no_mapping_are_refused() -> None:
    expected = "'tcp/22' is no rule; keys such as direction and protocol were due"
    assert problems(SecurityRule.of_settings, "tcp/22") == (expected,)


# --- what a server has


@pytest.mark.parametrize(
    "vector",
    [
        {"IP": "10.0.0.5", "SIZE": "10"},
        {"IP": "10.0.0.0", "SIZE": "4294967295"},
        {"IP": "fd00::", "SIZE": "16"},
        {"IP": "10.0.0.0", "SIZE": "0"},
        {"SIZE": "256"},  # the server takes it; on a host it matches nothing
        {"IP": "10.0.0.0", "SIZE": "256", "NETWORK_ID": "7"},
        {"PROTOCOL": "ICMP", "ICMP_TYPE": "300"},
    ],
)
def test_a_rule_that_only_someone_else_writes_is_none_of_ours(vector: dict[str, str]) -> None:
    stored = {"PROTOCOL": "ALL", "RULE_TYPE": "INBOUND"} | vector
    with pytest.raises(SettingsError):
        SecurityRule.of_vector(stored)
    assert not same_rules([SecurityRule("inbound", "all")], [stored])


def test_rules_are_compared_as_sets_by_their_meaning() -> None:
    ssh, ping = SecurityRule("inbound", "tcp", "22"), SecurityRule("inbound", "icmp", icmp_type=8)
    stored = [
        {"ICMP_TYPE": "8", "PROTOCOL": "icmp", "RULE_TYPE": "inbound", "COMMENT": "ping"},
        {"PROTOCOL": "tcp", "RANGE": "22:22", "RULE_TYPE": "InBound"},
        {"PROTOCOL": "TCP", "RANGE": "022", "RULE_TYPE": "INBOUND", "IP": "", "NETWORK_ID": ""},
    ]
    assert same_rules([ssh, ping, ssh], stored)
    assert not same_rules([ssh], stored)
    assert not same_rules([ssh, ping, SecurityRule("outbound", "all")], stored)
    assert same_rules([], [])


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[Emulator]:
    with Emulator() as server:
        yield server


PORTS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 5)).map(lambda span: (span[0], span[0] + span[1])),
    min_size=1,
    max_size=7,
)


@given(PORTS, st.randoms())
def test_ports_mean_the_same_however_they_are_listed(spans: list[tuple[int, int]], order) -> None:
    listed = [f"{first}:{last}" if first < last else f"{first}" for first, last in spans]
    canonical = SecurityRule("inbound", "tcp", ",".join(listed)).ports
    order.shuffle(listed)
    assert SecurityRule("inbound", "tcp", ",".join(listed)).ports == canonical
    bounds = [[int(port) for port in part.split(":")] for part in canonical.split(",")]
    found = [port for first, *last in bounds for port in range(first, (last or [first])[0] + 1)]
    assert found == sorted({port for first, last in spans for port in range(first, last + 1)})


PROTOCOLS = st.one_of(
    st.fixed_dictionaries(
        {"protocol": st.sampled_from(["tcp", "udp"])},
        optional={"ports": PORTS.map(lambda spans: ",".join(f"{first}:{last}" for first, last in spans))},
    ),
    st.fixed_dictionaries({"protocol": st.just("icmp")}, optional={"icmp_type": st.sampled_from([0, 3, 8, 11, 30])}),
    st.fixed_dictionaries({"protocol": st.sampled_from(["all", "ipsec"])}),
)
ENDS = st.one_of(
    st.just({}),
    st.integers(0, 9).map(lambda network: {"network": network}),
    st.integers(1, 32).map(lambda prefix: {"cidr": f"128.0.0.0/{prefix}"}),
)


@given(st.lists(st.tuples(st.sampled_from(["inbound", "outbound"]), PROTOCOLS, ENDS), max_size=6))
def test_a_server_takes_and_keeps_every_rule_that_can_be_made(
    server: Emulator, made: list[tuple[str, dict[str, object], dict[str, object]]]
) -> None:
    rules = [SecurityRule(direction, **protocol, **end) for direction, protocol, end in made]
    admin = Raw(server.endpoint, server.auth)
    group = admin("one.secgroup.allocate", render({"NAME": "rules", "RULE": [rule.vector() for rule in rules]}))
    try:
        assert same_rules(rules, SecurityGroupRecord.parse(admin("one.secgroup.info", group)).rules)
    finally:
        admin("one.secgroup.delete", group)
