"""What is said about networks: in either place, each key by its kind, and half of it loudly."""

from typing import Any

import pytest

from agent.test_settings import minimal, problems
from onetenant_waldur import settings
from onetenant_waldur.records import OfferingTerms
from opennebula_tenancy import NetworkSpec, SecurityRule, SettingsError, SubnetPool


BOTH = {"external_network_id": 10, "virtual_router_template_id": 8}
ALL = {
    **BOTH,
    "vn_mad": "802.1Q",
    "vxlan_phydev": "bond0",
    "default_dns": "1.1.1.1, 9.9.9.9",
    "internal_network_base": "192.168.0.0",
    "internal_network_prefix": 16,
    "subnet_prefix_length": "26",
    "subnet_exclude": ["192.168.7.0/24"],
    "security_group_defaults": [
        {"direction": "INBOUND", "protocol": "TCP", "range": "22:22"},
        {"direction": "OUTBOUND", "protocol": "ICMP", "type": "8"},
    ],
    "network_mtu": 1450,
    "vlan_id": 100,
    "bridge": "br7",
    "router_instances": 2,
    "router_keepalived_id": 7,
    "network_timeout_s": 60,
    "sched_requirements": "HYPERVISOR = kvm",
}
EXPECTED = NetworkSpec(
    external_network=10,
    router_template=8,
    pool=SubnetPool("192.168.0.0/16", prefix=26, exclude=("192.168.7.0/24",)),
    vn_mad="802.1Q",
    phydev="bond0",
    dns="1.1.1.1  9.9.9.9",
    rules=(SecurityRule("inbound", "tcp", ports="22"), SecurityRule("outbound", "icmp", icmp_type=8)),
    mtu=1450,
    vlan_id=100,
    bridge="br7",
    instances=2,
    keepalived_id=7,
    sched_requirements="HYPERVISOR = kvm",
    timeout_s=60,
)


def network(plugin: dict[str, Any], backend: dict[str, Any] | None = None) -> NetworkSpec | None:
    """What follows from options in Waldur and from the settings."""
    found = merged(plugin, backend)
    return found.network(sched_requirements=found.sched_requirements)


def merged(plugin: dict[str, Any], backend: dict[str, Any] | None = None) -> settings.Options:
    from onetenant_waldur.offering import _merged  # noqa: PLC0415

    (offering,) = settings.parse(minimal(**backend or {})).offerings
    return _merged(offering.backend_settings, settings.read_options(plugin, "plugin_options"))


@pytest.mark.parametrize(("plugin", "backend"), [(ALL, {}), ({}, ALL), (BOTH, ALL), (ALL, {"vn_mad": "bridge"})])
def test_every_key_counts_in_either_place(plugin: dict[str, Any], backend: dict[str, Any]) -> None:
    assert network(plugin, backend) == EXPECTED


def test_the_two_keys_alone_give_what_today_s_agents_give() -> None:
    found = network(BOTH)
    assert found == NetworkSpec(external_network=10, router_template=8, pool=SubnetPool("10.0.0.0/8", prefix=24))
    assert found is not None
    assert (found.vn_mad, found.phydev, found.dns, found.rules, found.instances) == ("vxlan", "eth0", "8.8.8.8", (), 1)


def test_ids_of_0_are_ids() -> None:
    found = network({"external_network_id": 0, "virtual_router_template_id": 0})
    assert found is not None
    assert (found.external_network, found.router_template) == (0, 0)


@pytest.mark.parametrize("name", sorted(ALL.keys() - BOTH.keys()))
def test_what_waldur_says_of_a_key_counts_more_than_the_settings(name: str) -> None:
    others = {
        "vn_mad": "vxlan",
        "vxlan_phydev": "eth9",
        "default_dns": "8.8.4.4",
        "internal_network_base": "192.168.0.0",
        "internal_network_prefix": 17,
        "subnet_prefix_length": 28,
        "subnet_exclude": [],
        "security_group_defaults": [],
        "network_mtu": 9000,
        "vlan_id": 101,
        "bridge": "br8",
        "router_instances": 1,
        "router_keepalived_id": 8,
        "network_timeout_s": 1,
        "sched_requirements": "FREE_CPU > 1",
    }
    assert network({name: others[name]}, ALL) == network({**ALL, name: others[name]})
    assert (network({name: others[name]}, ALL) == EXPECTED) is (name == "internal_network_base")


@pytest.mark.parametrize("name", ["vn_mad", "vxlan_phydev", "default_dns", "bridge", "sched_requirements"])
def test_an_empty_text_in_waldur_says_nothing(name: str) -> None:
    assert network({name: " "}, ALL) == EXPECTED


@pytest.mark.parametrize("there", BOTH)
def test_half_of_a_network_gives_none_and_a_remark_that_names_what_is_missing(there: str) -> None:
    (missing,) = BOTH.keys() - {there}
    found = merged({there: 7})
    assert found.network() is None
    (remark,) = found.network_remarks()
    assert remark.startswith(f"{there} without {missing}: half of a network")


@pytest.mark.parametrize(
    ("options", "said"),
    [({"bridge": "br0"}, "bridge"), ({"vlan_id": 7}, "vlan_id"), ({"router_keepalived_id": 7}, "router_keepalived_id")],
)
def test_what_all_tenants_would_share_is_remarked_on(options: dict[str, Any], said: str) -> None:
    assert list(merged(BOTH).network_remarks()) == []
    (remark,) = merged(BOTH | options).network_remarks()
    assert remark.startswith(f"{said}: all ")


def test_values_that_cannot_be_are_refused_at_the_start_all_at_once_and_with_their_paths() -> None:
    bad = {
        "external_network_id": -1,
        "virtual_router_template_id": "router",
        "vn_mad": 7,
        "internal_network_base": "10.0.0.0/8",
        "internal_network_prefix": "/8",
        "subnet_prefix_length": True,
        "subnet_exclude": ["10.0.0.1/8", "nonsense"],
        "security_group_defaults": [{"direction": "SIDEWAYS", "protocol": "TCP", "range": 1342}, "nonsense"],
        "router_instances": 1.5,
        "network_timeout_s": 0,
    }
    found = {
        problem.partition(": ")[0].removeprefix("offerings[0].backend_settings.")
        for problem in problems(minimal(**bad))
    }
    assert found == {
        *(name for name in bad if name not in {"subnet_exclude", "security_group_defaults"}),
        *("subnet_exclude[0]", "subnet_exclude[1]", "security_group_defaults[0]", "security_group_defaults[1]"),
    }
    with pytest.raises(SettingsError) as caught:
        settings.read_options(bad, "plugin_options")
    assert {problem.partition(": ")[0].removeprefix("plugin_options.") for problem in caught.value.problems} == found
    (rule,) = [problem for problem in caught.value.problems if "defaults[0]" in problem]
    assert "direction" in rule
    assert "range" in rule


@pytest.mark.parametrize("name", ["cluster_ids", "subnet_exclude", "security_group_defaults", "storage_datastores"])
def test_a_text_is_no_list_of_its_characters(name: str) -> None:
    assert problems(minimal(**{name: "12"})) == (f"offerings[0].backend_settings.{name}: expected a list",)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"vn_mad": "ovswitch"}, ["plugin_options.vn_mad"]),
        ({"internal_network_base": "10.1.0.0"}, ["plugin_options.internal_network_base"]),
        ({"subnet_prefix_length": 4}, ["plugin_options.subnet_prefix_length"]),
        ({"default_dns": "resolver"}, ["plugin_options.default_dns"]),
        (
            {"vlan_id": 5000, "vn_mad": "802.1Q", "network_mtu": 1},
            ["plugin_options.network_mtu", "plugin_options.vlan_id"],
        ),
        (
            {"router_instances": 99, "router_keepalived_id": 0},
            ["plugin_options.router_instances", "plugin_options.router_keepalived_id"],
        ),
        ({"sched_requirements": "A\x00B"}, ["plugin_options.sched_requirements"]),
        ({"vn_mad": "vxlan", "vlan_id": None}, ["backend_settings.default_dns"]),
    ],
)
def test_what_cannot_be_together_is_refused_by_the_keys_and_the_places_that_it_stands_in(
    options: dict[str, Any], expected: list[str]
) -> None:
    from onetenant_waldur.offering import Offering  # noqa: PLC0415

    backend = {"default_dns": "resolver"} if expected[0].startswith("backend") else {}
    (entry,) = settings.parse(minimal(**backend)).offerings

    class Waldur:
        def offering(self, _uuid: Any) -> OfferingTerms:
            return OfferingTerms((), {}, BOTH | options)

    offering = Offering(settings=entry, waldur=Waldur(), cloud=None, log=None)  # type: ignore[arg-type]
    with pytest.raises(SettingsError) as caught:
        offering.terms()
    assert sorted(problem.partition(": ")[0] for problem in caught.value.problems) == expected
