"""Security groups: rules, names, and the VMs that use them."""

import pytest


pytestmark = pytest.mark.live

PROTOCOLS = "Wrong PROTOCOL in rule. Valid options: TCP, UDP, ICMP, ICMPV6, IPSEC, ALL."
TYPES = "Wrong RULE_TYPE in rule. Valid options: INBOUND, OUTBOUND."
BOUNDS = "RANGE out of bounds 0-65536."
ONLY_PORTS = "RANGE is supported only for TCP and UDP protocols."
SIZE = "Wrong or empty SIZE."


def rules(one, secgroup):
    found = one.xml("one.secgroup.info", secgroup).find("TEMPLATE").findall("RULE")
    return [{item.tag: item.text for item in rule} for rule in found]


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ('PROTOCOL="FOO",RULE_TYPE="INBOUND"', PROTOCOLS),
        ('RULE_TYPE="INBOUND"', PROTOCOLS),
        ('PROTOCOL="TCP",RULE_TYPE="FOO"', TYPES),
        ('PROTOCOL="TCP"', TYPES),
        ('PROTOCOL="TCP",RULE_TYPE="INBOUND",RANGE="99999"', BOUNDS),
        ('PROTOCOL="TCP",RULE_TYPE="INBOUND",RANGE="0:65536"', BOUNDS),
        ('PROTOCOL="TCP",RULE_TYPE="INBOUND",RANGE="abc"', "Invalid RANGE specification."),
        (
            'PROTOCOL="TCP",RULE_TYPE="INBOUND",RANGE="90:80"',
            "RANGE BEGIN value is greater than RANGE END value",
        ),
        ('PROTOCOL="ICMP",RULE_TYPE="INBOUND",RANGE="22"', ONLY_PORTS),
        ('PROTOCOL="ALL",RULE_TYPE="OUTBOUND",RANGE="1:5"', ONLY_PORTS),
        ('PROTOCOL="TCP",RULE_TYPE="INBOUND",IP="abc",SIZE="5"', "Wrong format for IP value."),
        ('PROTOCOL="TCP",RULE_TYPE="INBOUND",IP="10.0.0.1"', SIZE),
        ('PROTOCOL="TCP",RULE_TYPE="INBOUND",IP="10.0.0.1",SIZE="x"', SIZE),
        ('PROTOCOL="TCP",RULE_TYPE="INBOUND",ICMP_TYPE="8"', "ICMP_TYPE is supported only for ICMP protocol."),
        ('PROTOCOL="ICMP",RULE_TYPE="INBOUND",ICMP_TYPE="x"', "Wrong ICMP_TYPE, it must be integer"),
    ],
)
def test_a_rule_that_is_refused(one, make, rule, text):
    one.fails(8192, text, "one.secgroup.allocate", f'NAME="{make.name("sg")}"\nRULE=[{rule}]')
    secgroup = make.secgroup()
    one.fails(8192, f"Cannot update template. {text}", "one.secgroup.update", secgroup, f"RULE=[{rule}]", 0)
    assert rules(one, secgroup) == []


@pytest.mark.parametrize(
    "rule",
    [
        {"PROTOCOL": "TCP", "RANGE": "22,80:90", "RULE_TYPE": "INBOUND"},
        {"PROTOCOL": "UDP", "RULE_TYPE": "OUTBOUND"},
        {"PROTOCOL": "TCP", "RANGE": None, "RULE_TYPE": "INBOUND"},
        {"IP": "10.0.0.0", "PROTOCOL": "ALL", "RULE_TYPE": "INBOUND", "SIZE": "256"},
        {"IP": "10.0.0.0", "PROTOCOL": "TCP", "RULE_TYPE": "INBOUND", "SIZE": "0"},
        {"ICMP_TYPE": "8", "PROTOCOL": "ICMP", "RULE_TYPE": "INBOUND"},
        {"PROTOCOL": "IPSEC", "RULE_TYPE": "INBOUND"},
        {"NETWORK_ID": "99999", "PROTOCOL": "TCP", "RULE_TYPE": "INBOUND"},
    ],
)
def test_a_rule_that_is_kept_as_given(one, make, rule):
    text = ",".join(f'{name}="{value or ""}"' for name, value in rule.items())
    assert rules(one, make.secgroup(f"RULE=[{text}]")) == [rule]


def test_no_rules_are_fine(one, make):
    assert rules(one, make.secgroup()) == []


@pytest.mark.parametrize("merge", [0, 1])
def test_an_update_with_rules_replaces_all_of_them(one, make, merge):
    secgroup = make.secgroup('RULE=[PROTOCOL="TCP",RULE_TYPE="INBOUND"]\nRULE=[PROTOCOL="UDP",RULE_TYPE="INBOUND"]')
    assert one.ok("one.secgroup.update", secgroup, 'RULE=[PROTOCOL="ALL",RULE_TYPE="OUTBOUND"]', merge) == secgroup
    assert rules(one, secgroup) == [{"PROTOCOL": "ALL", "RULE_TYPE": "OUTBOUND"}]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("", "Invalid NAME, it cannot be empty"),
        ('NAME="a&b"', "Invalid NAME, char '&' is not allowed"),
        (f'NAME="{"x" * 129}"', "Invalid NAME, max length is 128 chars"),
    ],
)
def test_a_name_that_is_not_allowed(one, template, text):
    one.fails(8192, text, "one.secgroup.allocate", template)


def test_names_are_taken_per_owner(one, make, tenant):
    name = make.name("sg")
    secgroup = make.secgroup(name=name)
    one.fails(8192, f"NAME is already taken by SecurityGroup {secgroup}.", "one.secgroup.allocate", f'NAME="{name}"')
    assert make.kept("secgroup", tenant.one.ok("one.secgroup.allocate", f'NAME="{name}"')) != secgroup
    text = f"security group cannot be renamed to {name} because it collides with security group {secgroup}"
    one.fails(2048, text, "one.secgroup.rename", make.secgroup(), name)


def test_a_clone_has_the_same_rules(one, make):
    one.needs("one.secgroup.clone")
    secgroup = make.secgroup('RULE=[PROTOCOL="TCP",RULE_TYPE="INBOUND"]')
    clone = make.kept("secgroup", one.ok("one.secgroup.clone", secgroup, make.name("sg")))
    assert rules(one, clone) == rules(one, secgroup)


def test_the_default_one_lets_everything_pass_and_stays(one):
    assert rules(one, 0) == [
        {"PROTOCOL": "ALL", "RULE_TYPE": "OUTBOUND"},
        {"PROTOCOL": "ALL", "RULE_TYPE": "INBOUND"},
    ]
    text = "Cannot delete security group. The default security group (ID 0) cannot be deleted."
    one.fails(2048, text, "one.secgroup.delete", 0)


def test_a_nic_has_those_of_its_network_and_its_own(one, make):
    outer, inner = make.secgroup(), make.secgroup()
    network = make.network(f'SECURITY_GROUPS="{outer}"')
    vm = make.vm(make.template(), f'NIC=[NETWORK_ID="{network}",SECURITY_GROUPS="{inner}"]', hold=True)
    nic = one.xml("one.vm.info", vm).find("TEMPLATE/NIC")
    assert nic.findtext("SECURITY_GROUPS") == f"0,{outer},{inner}"
    for secgroup in (outer, inner):
        assert [item.text for item in one.xml("one.secgroup.info", secgroup).find("UPDATED_VMS")] == [str(vm)]


def test_one_in_use_cannot_be_deleted(one, make):
    secgroup = make.secgroup()
    network = make.network(f'SECURITY_GROUPS="{secgroup}"')
    make.vm(make.template(), f'NIC=[NETWORK_ID="{network}"]', hold=True)
    text = "Cannot delete security group. The security group has VMs using it"
    one.fails(2048, text, "one.secgroup.delete", secgroup)


def test_a_network_does_not_keep_one_from_deletion(one, make):
    secgroup = make.secgroup()
    make.network(f'SECURITY_GROUPS="{secgroup}"')
    assert one.ok("one.secgroup.delete", secgroup) == secgroup


def test_a_nic_may_name_one_that_does_not_exist(one, make):
    network = make.network()
    vm = make.vm(make.template(), f'NIC=[NETWORK_ID="{network}",SECURITY_GROUPS="99999"]', hold=True)
    assert one.xml("one.vm.info", vm).findtext("TEMPLATE/NIC/SECURITY_GROUPS") == "0,99999"
