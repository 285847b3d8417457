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


# Changes that come to VMs

HERE = 'SCHED_REQUIREMENTS="CLUSTER_ID = 0"'
LISTS = ("UPDATED_VMS", "OUTDATED_VMS", "UPDATING_VMS", "ERROR_VMS")


def all_updated(one, secgroup, *vms):
    """Wait until all VMs have the rules."""

    def reached(info):
        lists = [[int(item.text) for item in info.find(name)] for name in LISTS]
        return lists == [sorted(vms), [], [], []]

    one.until(reached, "one.secgroup.info", secgroup)


def rules_in(one, vm, secgroup):
    found = one.xml("one.vm.info", vm).iter("SECURITY_GROUP_RULE")
    return [item.findtext("PROTOCOL") for item in found if item.findtext("SECURITY_GROUP_ID") == str(secgroup)]


@pytest.mark.parametrize("merge", [0, 1])
def test_new_rules_come_to_running_and_waiting_vms(one, make, merge):
    secgroup = make.secgroup('RULE=[PROTOCOL="TCP",RULE_TYPE="INBOUND"]')
    network, template = make.network(f'SECURITY_GROUPS="{secgroup}"'), make.template(HERE)
    wish = f'NIC=[NETWORK_ID="{network}"]'
    vms = make.vm(template, wish), make.vm(template, wish, hold=True)
    assert [rules_in(one, vm, secgroup) for vm in vms] == [["TCP"], ["TCP"]]
    new = 'RULE=[PROTOCOL="UDP",RULE_TYPE="INBOUND"]\nRULE=[PROTOCOL="ICMP",RULE_TYPE="OUTBOUND"]'
    assert one.ok("one.secgroup.update", secgroup, new, merge) == secgroup
    all_updated(one, secgroup, *vms)
    assert [rules_in(one, vm, secgroup) for vm in vms] == [["UDP", "ICMP"], ["UDP", "ICMP"]]
    assert one.xml("one.vm.info", vms[0]).findtext("LCM_STATE") == "3"


def test_without_rules_a_vm_still_uses_the_group(one, make):
    secgroup = make.secgroup('RULE=[PROTOCOL="TCP",RULE_TYPE="INBOUND"]')
    network = make.network(f'SECURITY_GROUPS="{secgroup}"')
    vm = make.vm(make.template(), f'NIC=[NETWORK_ID="{network}"]', hold=True)
    one.ok("one.secgroup.update", secgroup, "", 0)
    all_updated(one, secgroup, vm)
    assert rules_in(one, vm, secgroup) == []
    text = "Cannot delete security group. The security group has VMs using it"
    one.fails(2048, text, "one.secgroup.delete", secgroup)


def test_refused_rules_change_no_vm(one, make):
    secgroup = make.secgroup('RULE=[PROTOCOL="TCP",RULE_TYPE="INBOUND"]')
    network = make.network(f'SECURITY_GROUPS="{secgroup}"')
    vm = make.vm(make.template(), f'NIC=[NETWORK_ID="{network}"]', hold=True)
    one.fails(8192, f"Cannot update template. {PROTOCOLS}", "one.secgroup.update", secgroup, 'RULE=[PROTOCOL="X"]', 0)
    all_updated(one, secgroup, vm)
    assert rules_in(one, vm, secgroup) == ["TCP"]


@pytest.mark.parametrize("recover", [False, True])
def test_a_commit_leaves_every_vm_updated(one, make, recover):
    secgroup = make.secgroup('RULE=[PROTOCOL="TCP",RULE_TYPE="INBOUND"]')
    network = make.network(f'SECURITY_GROUPS="{secgroup}"')
    vm = make.vm(make.template(HERE), f'NIC=[NETWORK_ID="{network}"]')
    assert one.ok("one.secgroup.commit", secgroup, recover) == secgroup
    all_updated(one, secgroup, vm)
    assert rules_in(one, vm, secgroup) == ["TCP"]


def test_a_rule_about_a_network_becomes_one_for_each_of_its_ranges(one, make):
    target = make.network('AR=[TYPE="IP4",IP="10.8.0.1",SIZE="5"]')
    secgroup = make.secgroup(f'RULE=[PROTOCOL="TCP",RULE_TYPE="INBOUND",NETWORK_ID="{target}"]')
    network = make.network(f'SECURITY_GROUPS="{secgroup}"')
    vm = make.vm(make.template(), f'NIC=[NETWORK_ID="{network}"]', hold=True)
    found = one.xml("one.vm.info", vm).iter("SECURITY_GROUP_RULE")
    mine = [item for item in found if item.findtext("SECURITY_GROUP_ID") == str(secgroup)]
    keys = ("NETWORK_ID", "AR_ID", "TYPE", "IP", "SIZE")
    assert [[item.findtext(key) for key in keys] for item in mine] == [
        [str(target), "0", "IP4", "10.7.0.1", "10"],
        [str(target), "1", "IP4", "10.8.0.1", "5"],
    ]


def test_committing_a_group_that_does_not_exist(one):
    assert one.fails(1024, "Error getting security group [99999].", "one.secgroup.commit", 99999, False) == 99999


def test_a_group_is_free_when_its_last_vm_is_done(one, make):
    secgroup = make.secgroup()
    network = make.network(f'SECURITY_GROUPS="{secgroup}"')
    vm = make.vm(make.template(), f'NIC=[NETWORK_ID="{network}"]', hold=True)
    one.ok("one.vm.action", "terminate-hard", vm)
    make.reached(vm, 6)
    all_updated(one, secgroup)
    assert one.ok("one.secgroup.delete", secgroup) == secgroup


# Groups of single NICs


@pytest.mark.parametrize("hold", [False, True], ids=["running", "held"])
def test_a_group_comes_to_a_nic_and_leaves_it(one, make, hold):
    one.needs("one.vm.attachsg", "one.vm.detachsg")
    secgroup, network = make.secgroup('RULE=[PROTOCOL="TCP",RULE_TYPE="INBOUND"]'), make.network()
    nic = f'NIC=[NETWORK_ID="{network}"]'
    vm = make.vm(make.template(HERE), f"{nic}\n{nic}", hold=hold)
    for number in (0, 1):
        assert one.ok("one.vm.attachsg", vm, number, secgroup) == vm
        all_updated(one, secgroup, vm)
    nics = one.xml("one.vm.info", vm).iter("NIC")
    assert [item.findtext("SECURITY_GROUPS") for item in nics] == [f"0,{secgroup}", f"0,{secgroup}"]
    assert rules_in(one, vm, secgroup) == ["TCP"]
    one.fails(2048, f"VM {vm} SG {secgroup} already in NIC 0", "one.vm.attachsg", vm, 0, secgroup)
    assert one.ok("one.vm.detachsg", vm, 0, secgroup) == vm
    all_updated(one, secgroup, vm)
    assert rules_in(one, vm, secgroup) == ["TCP"]
    assert one.ok("one.vm.detachsg", vm, 1, secgroup) == vm
    all_updated(one, secgroup)
    assert rules_in(one, vm, secgroup) == []
    one.fails(2048, f"VM {vm} NIC 0 doesn't contain SG {secgroup}", "one.vm.detachsg", vm, 0, secgroup)


def test_groups_nics_and_vms_that_do_not_exist(one, make):
    one.needs("one.vm.attachsg", "one.vm.detachsg")
    vm = make.vm(make.template(), f'NIC=[NETWORK_ID="{make.network()}"]', hold=True)
    one.fails(8192, f"VM {vm} doesn't have NIC id 9", "one.vm.attachsg", vm, 9, 0)
    one.fails(2048, f"VM {vm} doesn't have NIC id 9", "one.vm.detachsg", vm, 9, 0)
    one.fails(2048, "Could not attach SG 99999 to VM, SG does not exist", "one.vm.attachsg", vm, 0, 99999)
    for method in ("one.vm.attachsg", "one.vm.detachsg"):
        assert one.fails(1024, "Error getting virtual machine [999999].", method, 999999, 0, 0) == 999999


def test_a_tenant_attaches_only_groups_that_it_may_use(one, make, tenant):
    one.needs("one.vm.attachsg")
    network, template, secgroup = make.network(), make.template(), make.secgroup()
    one.ok("one.template.chmod", template, -1, -1, -1, -1, -1, -1, 1, -1, -1, False)
    make.acl(f"@{tenant.gid} TEMPLATE/* CREATE")
    vm = make.vm(template, f'NIC=[NETWORK_ID="{network}"]', one=tenant.one, hold=True)
    text = f"User [{tenant.uid}] : Not authorized to perform USE SECGROUP [{secgroup}]."
    tenant.one.fails(512, text, "one.vm.attachsg", vm, 0, secgroup)
    one.ok("one.secgroup.chown", secgroup, tenant.uid, tenant.gid)
    assert tenant.one.ok("one.vm.attachsg", vm, 0, secgroup) == vm
