"""NICs and aliases that are attached to VMs and detached from them; aliases in templates."""

import re

import pytest


pytestmark = pytest.mark.live

HERE = 'SCHED_REQUIREMENTS="CLUSTER_ID = 0"\nCONTEXT=[NETWORK="YES"]'
WORDS = "Could not add a new NIC to VM {}, wrong state {}."
WORDS_OUT = "Could not detach NIC from VM {}, wrong state {}."


def nic(network, *keys, kind="NIC"):
    return f"{kind}=[" + ",".join((f'NETWORK_ID="{network}"', *keys)) + "]"


def alias(network, parent, *keys):
    return nic(network, f'PARENT="{parent}"', *keys, kind="NIC_ALIAS")


def texts(element):
    return {item.tag: item.text for item in element}


def nics(one, vm, kind="NIC"):
    """The NICs, or the aliases, by NIC_ID."""
    found = [texts(item) for item in one.xml("one.vm.info", vm).find("TEMPLATE").findall(kind)]
    return {int(item["NIC_ID"]): item for item in found}


def context(one, vm):
    return texts(one.xml("one.vm.info", vm).find("TEMPLATE/CONTEXT"))


def used(one, network):
    return one.xml("one.vn.info", network).findtext("USED_LEASES")


def actions(one, vm):
    return [item.findtext("ACTION") for item in one.xml("one.vm.info", vm).iter("HISTORY")]


@pytest.fixture
def attach(one, make):
    """Attaches to a running VM, and waits until it runs again."""

    def attached(vm, template):
        assert one.ok("one.vm.attachnic", vm, template) == vm
        make.running(vm)

    return attached


@pytest.fixture
def detach(one, make):
    """Detaches from a running VM, and waits until it runs again."""

    def detached(vm, nic_id):
        assert one.ok("one.vm.detachnic", vm, nic_id) == vm
        make.running(vm)

    return detached


# Aliases in templates


def test_an_alias_is_an_address_of_its_nic(one, make):
    network = make.network()
    aliases = alias(network, "NIC0") + "\n" + alias(network, "NIC0", 'EXTERNAL="YES"')
    vm = make.vm(make.template(HERE), f"{nic(network)}\n{aliases}", hold=True)
    assert nics(one, vm)[0]["ALIAS_IDS"] == "1,2"
    found = nics(one, vm, "NIC_ALIAS")
    wanted = ("IP", "ALIAS_ID", "PARENT", "PARENT_ID", "NAME")
    assert [found[1][key] for key in wanted] == ["10.7.0.2", "0", "NIC0", "0", "NIC0_ALIAS1"]
    assert [found[2][key] for key in wanted] == ["10.7.0.3", "1", "NIC0", "0", "NIC0_ALIAS2"]
    assert found[2]["EXTERNAL"] == "YES"
    known = context(one, vm)
    assert [known[f"ETH0_{key}"] for key in ("IP", "ALIAS0_IP", "ALIAS1_IP", "ALIAS1_EXTERNAL")] == [
        "10.7.0.1",
        "10.7.0.2",
        "10.7.0.3",
        "YES",
    ]
    assert used(one, network) == "3"


def test_an_alias_finds_its_nic_by_name(one, make):
    network = make.network()
    both = nic(network) + "\n" + nic(network, 'NAME="public"') + "\n" + alias(network, "public", 'NAME="vip"')
    vm = make.vm(make.template(), both, hold=True)
    found = nics(one, vm, "NIC_ALIAS")[2]
    assert (found["PARENT_ID"], found["NAME"]) == ("1", "vip")


def test_a_name_like_those_that_the_server_gives_gets_an_underscore(one, make):
    network = make.network()
    vm = make.vm(make.template(), nic(network, 'NAME="NIC7"'), hold=True)
    assert nics(one, vm)[0]["NAME"] == "_NIC7"


def test_an_alias_without_its_nic_cannot_be(one, make):
    network = make.network()
    text = "Error allocating a new virtual machine template. NIC named NIC7 not found for alias"
    both = nic(network) + "\n" + alias(network, "NIC7")
    one.fails(16384, text, "one.template.instantiate", make.template(), "x", True, both, False)
    assert used(one, network) == "0"


def test_security_groups_of_an_alias_in_a_template_are_overlooked(one, make):
    network, secgroup = make.network(), make.secgroup('RULE=[PROTOCOL="TCP",RULE_TYPE="INBOUND"]')
    both = nic(network) + "\n" + alias(network, "NIC0", f'SECURITY_GROUPS="{secgroup}"')
    vm = make.vm(make.template(), both, hold=True)
    assert nics(one, vm, "NIC_ALIAS")[1]["SECURITY_GROUPS"] == f"0,{secgroup}"
    assert not list(one.xml("one.secgroup.info", secgroup).find("UPDATED_VMS"))


# Attaching


def test_a_running_vm_gets_a_nic_with_an_address_rules_and_context(one, make, attach):
    secgroup = make.secgroup('RULE=[PROTOCOL="TCP",RULE_TYPE="INBOUND"]')
    network = make.network(f'SECURITY_GROUPS="{secgroup}"\nGATEWAY="10.7.0.254"')
    vm = make.vm(make.template(HERE))
    attach(vm, nic(network))
    found = nics(one, vm)[0]
    assert [found[key] for key in ("IP", "NAME", "NETWORK_ID")] == ["10.7.0.1", "NIC0", str(network)]
    assert "ATTACH" not in found
    assert (context(one, vm)["ETH0_IP"], context(one, vm)["ETH0_GATEWAY"]) == ("10.7.0.1", "10.7.0.254")
    rules = one.xml("one.vm.info", vm).iter("SECURITY_GROUP_RULE")
    assert str(secgroup) in {item.findtext("SECURITY_GROUP_ID") for item in rules}
    assert one.xml("one.secgroup.info", secgroup).findtext("UPDATED_VMS/ID") == str(vm)
    assert one.xml("one.vn.info", network).findtext("UPDATED_VMS/ID") == str(vm)


def test_while_the_driver_works_the_nic_is_there_and_marked(one, make):
    network, vm = make.network(), make.vm(make.template(HERE))
    one.ok("one.vm.attachnic", vm, nic(network))
    info = one.xml("one.vm.info", vm)
    seen = info.findtext("LCM_STATE"), info.findtext("TEMPLATE/NIC/ATTACH")
    assert seen in {("25", "YES"), ("3", None)}
    make.running(vm)


def test_an_alias_comes_to_a_nic_that_is_there(one, make, attach):
    network = make.network()
    vm = make.vm(make.template(HERE), nic(network))
    attach(vm, alias(network, "NIC0", 'EXTERNAL="YES"'))
    attach(vm, alias(network, "NIC0"))
    assert nics(one, vm)[0]["ALIAS_IDS"] == "1,2"
    found = nics(one, vm, "NIC_ALIAS")
    assert [found[1][key] for key in ("IP", "NAME", "EXTERNAL")] == ["10.7.0.2", "NIC0_ALIAS1", "YES"]
    assert (context(one, vm)["ETH0_ALIAS0_IP"], context(one, vm)["ETH0_ALIAS1_IP"]) == ("10.7.0.2", "10.7.0.3")


def test_a_vm_that_is_off_gets_a_nic_at_once_and_its_context_when_it_starts(one, make):
    network = make.network()
    vm = make.vm(make.template(HERE))
    one.ok("one.vm.action", "poweroff-hard", vm)
    make.reached(vm, 8)
    assert one.ok("one.vm.attachnic", vm, nic(network)) == vm
    info = one.xml("one.vm.info", vm)
    assert (info.findtext("STATE"), info.findtext("TEMPLATE/NIC/IP")) == ("8", "10.7.0.1")
    assert "ETH0_IP" not in context(one, vm)
    one.ok("one.vm.action", "resume", vm)
    make.running(vm)
    assert context(one, vm)["ETH0_IP"] == "10.7.0.1"
    one.ok("one.vm.action", "poweroff-hard", vm)
    make.reached(vm, 8)
    assert one.ok("one.vm.detachnic", vm, 0) == vm
    assert nics(one, vm) == {}
    assert used(one, network) == "0"


def test_what_was_done_is_in_the_history(one, make, attach, detach):
    network = make.network()
    vm = make.vm(make.template(HERE))
    attach(vm, nic(network))
    attach(vm, alias(network, "NIC0"))
    detach(vm, 1)
    detach(vm, 0)
    assert actions(one, vm) == ["23", "46", "47", "24", "0"]


def test_a_nic_needs_no_network(one, make, attach):
    vm = make.vm(make.template(HERE))
    attach(vm, 'NIC=[NAME="lonely"]')
    assert nics(one, vm) == {0: {"NAME": "lonely", "NIC_ID": "0"}}


@pytest.mark.parametrize(
    ("template", "code", "text"),
    [
        ("", 2048, "Wrong format or missing NIC/NIC_ALIAS/PCI attribute"),
        ('NIC="x"', 2048, "Wrong format or missing NIC/NIC_ALIAS/PCI attribute"),
        ('NIC=[NETWORK_ID="99999"]', 2048, "Virtual network with ID: 99999 does not exist"),
        (
            'NIC=[NETWORK="no-such"]',
            2048,
            "User 0 does not own a network with name: no-such . Set NETWORK_UNAME or NETWORK_UID of owner in NIC.",
        ),
        ('NIC_ALIAS=[NETWORK_ID="0"]', 2048, "Alias not found."),
        ('NIC_ALIAS=[NETWORK_ID="0",PARENT="NIC9"]', 2048, "Alias not found."),
        ("NIC=[", 8192, re.compile("Parse error: syntax error, .*")),
    ],
)
def test_what_cannot_be_attached(one, make, template, code, text):
    vm = make.vm(make.template(HERE))
    one.fails(code, text, "one.vm.attachnic", vm, template)
    info = one.xml("one.vm.info", vm)
    assert (info.findtext("LCM_STATE"), nics(one, vm)) == ("3", {})


def test_a_network_without_a_free_address_or_in_another_cluster_is_refused(one, make):
    vm = make.vm(make.template(HERE))
    empty = make.network(size=0)
    text = f"Cannot get IP/MAC lease from virtual network {empty}."
    one.fails(2048, text, "one.vm.attachnic", vm, nic(empty))
    far = make.network(cluster=make.cluster())
    one.fails(2048, "Virtual network is not part of cluster [0]", "one.vm.attachnic", vm, nic(far))
    assert used(one, far) == "0"


@pytest.mark.parametrize(("action", "state", "name"), [("undeploy-hard", 9, "UNDEPLOYED"), ("suspend", 5, "SUSPENDED")])
def test_a_vm_that_neither_runs_nor_is_off_keeps_its_nics(one, make, action, state, name):
    network = make.network()
    vm = make.vm(make.template(HERE), nic(network))
    one.ok("one.vm.action", action, vm)
    make.reached(vm, state)
    one.fails(2048, WORDS.format(vm, name), "one.vm.attachnic", vm, nic(network))
    one.fails(2048, WORDS_OUT.format(vm, name), "one.vm.detachnic", vm, 0)
    assert used(one, network) == "1"


def test_a_vm_that_waits_keeps_its_nics(one, make):
    network = make.network()
    vm = make.vm(make.template(), hold=True)
    one.fails(2048, WORDS.format(vm, "HOLD"), "one.vm.attachnic", vm, nic(network))
    one.ok("one.vm.action", "terminate-hard", vm)
    make.reached(vm, 6)
    one.fails(2048, WORDS.format(vm, "DONE"), "one.vm.attachnic", vm, nic(network))


def test_a_vm_that_does_not_exist(one):
    for method, argument in (("attachnic", ""), ("detachnic", 0)):
        text = "Error getting virtual machine [999999]."
        assert one.fails(1024, text, f"one.vm.{method}", 999999, argument) == 999999


# Detaching


def test_a_nic_leaves_with_its_aliases_rules_and_context(one, make, detach):
    secgroup = make.secgroup('RULE=[PROTOCOL="TCP",RULE_TYPE="INBOUND"]')
    network = make.network(f'SECURITY_GROUPS="{secgroup}"')
    other = make.network()
    vm = make.vm(make.template(HERE), nic(network) + "\n" + nic(other) + "\n" + alias(other, "NIC0"))
    detach(vm, 0)
    one.until(lambda x: x.findtext("USED_LEASES") == "0", "one.vn.info", network)
    assert list(nics(one, vm)) == [1]
    assert nics(one, vm, "NIC_ALIAS") == {}
    assert used(one, other) == "1"
    known = context(one, vm)
    assert [key for key in known if key.startswith("ETH0")] == []
    assert known["ETH1_IP"] == "10.7.0.1"
    rules = one.xml("one.vm.info", vm).iter("SECURITY_GROUP_RULE")
    assert {item.findtext("SECURITY_GROUP_ID") for item in rules} == {"0"}
    assert not list(one.xml("one.secgroup.info", secgroup).find("UPDATED_VMS"))


def test_an_alias_leaves_its_nic(one, make, detach):
    network = make.network()
    vm = make.vm(make.template(HERE), nic(network) + "\n" + alias(network, "NIC0") + "\n" + alias(network, "NIC0"))
    detach(vm, 1)
    one.until(lambda x: x.findtext("USED_LEASES") == "2", "one.vn.info", network)
    assert nics(one, vm)[0]["ALIAS_IDS"] == "2"
    assert list(nics(one, vm, "NIC_ALIAS")) == [2]
    assert "ETH0_ALIAS0_IP" not in context(one, vm)


def test_ids_of_nics_go_on_behind_the_highest(one, make, attach, detach):
    network = make.network()
    vm = make.vm(make.template(HERE), nic(network) + "\n" + nic(network))
    detach(vm, 0)
    attach(vm, nic(network))
    assert list(nics(one, vm)) == [1, 2]


# Quotas and rights


def test_addresses_of_attached_nics_and_aliases_count_in_the_quota_of_the_owner(one, make, tenant):
    network = make.network()
    one.ok("one.group.quota", tenant.gid, f'NETWORK=[ID="{network}",LEASES="2"]')
    template = make.template(HERE)
    one.ok("one.template.chmod", template, -1, -1, -1, -1, -1, -1, 1, -1, -1, False)
    vm = make.vm(template, one=tenant.one)

    def counted():
        return one.xml("one.group.info", tenant.gid).findtext("NETWORK_QUOTA/NETWORK/LEASES_USED")

    assert tenant.one.ok("one.vm.attachnic", vm, nic(network)) == vm
    make.running(vm)
    assert tenant.one.ok("one.vm.attachnic", vm, alias(network, "NIC0")) == vm
    make.running(vm)
    assert counted() == "2"
    text = f"group [{tenant.gid}] limit of 2 reached for LEASES quota in NETWORK with ID: {network}."
    tenant.one.fails(512, f"User [{tenant.uid}] : {text}", "one.vm.attachnic", vm, nic(network))
    one.fails(512, f"User [0] : {text}", "one.vm.attachnic", vm, nic(network))
    assert tenant.one.ok("one.vm.detachnic", vm, 0) == vm
    one.until(lambda x: x.findtext("NETWORK_QUOTA/NETWORK/LEASES_USED") == "0", "one.group.info", tenant.gid)


def test_a_refused_nic_costs_nothing(one, make, tenant):
    network = make.network()
    one.ok("one.group.quota", tenant.gid, f'NETWORK=[ID="{network}",LEASES="2"]')
    vm = make.vm(make.template(), f"AS_GID={tenant.gid}", hold=True)
    one.fails(2048, WORDS.format(vm, "HOLD"), "one.vm.attachnic", vm, nic(network))
    assert one.xml("one.group.info", tenant.gid).findtext("NETWORK_QUOTA/NETWORK/LEASES_USED") == "0"


@pytest.mark.parametrize(("key", "value"), [("MAC", "02:00:0a:07:00:05"), ("EXTERNAL", "YES")])
def test_a_tenant_may_not_set_what_is_restricted(one, make, tenant, key, value):
    network, template = make.network(), make.template(HERE)
    one.ok("one.template.chmod", template, -1, -1, -1, -1, -1, -1, 1, -1, -1, False)
    vm = make.vm(template, one=tenant.one)
    text = f"User [{tenant.uid}] : NIC includes a restricted attribute {key}."
    tenant.one.fails(512, text, "one.vm.attachnic", vm, nic(network, f'{key}="{value}"'))


def test_a_tenant_needs_the_network_and_the_vm(one, make, tenant):
    template = make.template(HERE)
    one.ok("one.template.chmod", template, -1, -1, -1, -1, -1, -1, 1, -1, -1, False)
    vm, other = make.vm(template, one=tenant.one), make.vm(template, hold=True)
    network, far = make.network(), make.network(cluster=make.cluster())
    text = f"User [{tenant.uid}] : Not authorized to perform USE NET [{far}]."
    tenant.one.fails(512, text, "one.vm.attachnic", vm, nic(far))
    text = f"User [{tenant.uid}] : Not authorized to perform MANAGE VM [{other}]."
    tenant.one.fails(512, text, "one.vm.attachnic", other, nic(network))
    tenant.one.fails(512, text, "one.vm.detachnic", other, 0)
