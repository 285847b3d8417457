"""Networks that change while VMs use them, address ranges that change, and recovery."""

import pytest


pytestmark = pytest.mark.live

HERE = 'SCHED_REQUIREMENTS="CLUSTER_ID = 0"'


def vms(one, network):
    """The VMs in each of the four lists."""
    info = one.xml("one.vn.info", network)
    names = ("UPDATED_VMS", "OUTDATED_VMS", "UPDATING_VMS", "ERROR_VMS")
    return {name: [int(item.text) for item in info.find(name)] for name in names}


def all_updated(one, network, *wanted):
    def reached(info):
        lists = [info.find(name) for name in ("UPDATED_VMS", "OUTDATED_VMS", "UPDATING_VMS", "ERROR_VMS")]
        updated = [int(item.text) for item in lists[0]]
        waiting = info.find("TEMPLATE/VNET_UPDATE") is not None
        return updated == sorted(wanted) and not any(len(item) for item in lists[1:]) and not waiting

    one.until(reached, "one.vn.info", network)


def nic(one, vm, key):
    return one.xml("one.vm.info", vm).findtext(f"TEMPLATE/NIC/{key}")


def test_a_change_of_a_network_comes_to_the_nics_of_all_its_vms(one, make):
    network, template = make.network(), make.template(HERE)
    wish = f'NIC=[NETWORK_ID="{network}"]'
    running, held = make.vm(template, wish), make.vm(template, wish, hold=True)
    assert vms(one, network)["UPDATED_VMS"] == sorted((running, held))
    assert one.ok("one.vn.update", network, 'MTU="1400"', 1) == network
    all_updated(one, network, running, held)
    make.running(running)
    assert (nic(one, running, "MTU"), nic(one, held, "MTU")) == ("1400", "1400")
    actions = [item.findtext("ACTION") for item in one.xml("one.vm.info", running).iter("HISTORY")]
    assert actions == ["51", "0"]


def test_a_removed_attribute_leaves_the_nics(one, make):
    network = make.network('MTU="1400"\nINBOUND_AVG_BW="5"')
    vm = make.vm(make.template(HERE), f'NIC=[NETWORK_ID="{network}"]')
    assert nic(one, vm, "INBOUND_AVG_BW") == "5"
    one.ok("one.vn.update", network, 'VN_MAD="dummy"\nBRIDGE="br0"\nMTU="1500"', 0)
    all_updated(one, network, vm)
    make.running(vm)
    assert (nic(one, vm, "MTU"), nic(one, vm, "INBOUND_AVG_BW")) == ("1500", None)


def test_a_nic_with_a_value_of_its_own_keeps_it(one, make):
    network = make.network('MTU="1400"')
    vm = make.vm(make.template(), f'NIC=[NETWORK_ID="{network}",MTU="9000"]', hold=True)
    one.ok("one.vn.update", network, 'MTU="1500"', 1)
    all_updated(one, network, vm)
    assert nic(one, vm, "MTU") == "9000"


@pytest.mark.parametrize("attribute", ['GATEWAY="10.7.0.9"', 'DNS="1.1.1.1"', 'FOO="bar"'])
def test_what_nics_do_not_follow_changes_no_vm(one, make, attribute):
    network = make.network('GATEWAY="10.7.0.1"')
    vm = make.vm(make.template(HERE), f'NIC=[NETWORK_ID="{network}"]')
    one.ok("one.vn.update", network, attribute, 1)
    info = one.xml("one.vn.info", network)
    assert info.find("TEMPLATE/VNET_UPDATE") is None
    assert vms(one, network)["UPDATED_VMS"] == [vm]
    assert nic(one, vm, "GATEWAY") == "10.7.0.1"


def test_a_detached_nic_takes_the_vm_from_the_list(one, make):
    network = make.network()
    vm = make.vm(make.template(HERE), f'NIC=[NETWORK_ID="{network}"]')
    one.ok("one.vm.detachnic", vm, 0)
    make.running(vm)
    one.until(lambda x: not len(x.find("UPDATED_VMS")), "one.vn.info", network)


# Address ranges


def test_a_range_changes_its_attributes_and_size_but_not_its_addresses(one, make):
    network = make.network()
    wish = 'AR=[AR_ID="0",SIZE="20",FOO="bar",TYPE="IP6",IP="10.99.0.1",MAC="02:00:00:00:00:01"]'
    assert one.ok("one.vn.update_ar", network, wish) == network
    found = one.xml("one.vn.info", network).find("AR_POOL/AR")
    values = [found.findtext(key) for key in ("TYPE", "IP", "MAC", "SIZE", "FOO", "IP_END")]
    assert values == ["IP4", "10.7.0.1", "02:00:0a:07:00:01", "20", "bar", "10.7.0.20"]
    one.ok("one.vn.update_ar", network, 'AR=[AR_ID="0"]')
    found = one.xml("one.vn.info", network).find("AR_POOL/AR")
    assert (found.findtext("SIZE"), found.findtext("FOO")) == ("20", None)


def test_a_change_of_a_range_comes_to_the_nics_in_it(one, make):
    network = make.network()
    vm = make.vm(make.template(HERE), f'NIC=[NETWORK_ID="{network}"]')
    one.ok("one.vn.update_ar", network, 'AR=[AR_ID="0",MTU="9000",GATEWAY="10.7.0.254"]')
    all_updated(one, network, vm)
    make.running(vm)
    assert (nic(one, vm, "MTU"), nic(one, vm, "GATEWAY")) == ("9000", "10.7.0.254")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("", "Wrong AR definition. AR vector attribute is missing."),
        ('AR=[SIZE="12"]', "AR/AR_ID attribute is missing."),
        ('AR=[AR_ID="9"]', "Address Range with ID 9 was not found."),
        ('AR=[AR_ID="0",SIZE="x"]', "Unable to read the SIZE attribute, it must be number >= 0"),
        (
            'AR=[AR_ID="0",SIZE="2"]',
            "New SIZE cannot be applied. There are used leases that would fall outside the range.",
        ),
    ],
)
def test_a_range_that_cannot_be_changed_so(one, make, template, text):
    network = make.network()
    one.ok("one.vn.hold", network, 'LEASES=[IP="10.7.0.3"]')
    one.fails(8192, text, "one.vn.update_ar", network, template)


def test_a_tenant_changes_no_restricted_attribute_of_a_range(one, make, tenant):
    network = make.network()
    one.ok("one.vn.chown", network, tenant.uid, tenant.gid)
    text = "AR includes a restricted attribute BRIDGE"
    tenant.one.fails(8192, text, "one.vn.update_ar", network, 'AR=[AR_ID="0",BRIDGE="br9"]')
    assert tenant.one.ok("one.vn.update_ar", network, 'AR=[AR_ID="0",SIZE="12"]') == network


# Recovery


@pytest.mark.parametrize(("operation", "name"), [(0, "failure"), (1, "success"), (2, "delete"), (3, "retry")])
def test_a_ready_network_needs_no_recovery(one, make, operation, name):
    network = make.network()
    text = f"Could not perform 'recover {name}' on VN {network}, wrong state READY."
    one.fails(8192, text, "one.vn.recover", network, operation)


@pytest.mark.parametrize("operation", [-1, 4])
def test_a_recovery_that_does_not_exist(one, make, operation):
    one.fails(2048, "Wrong recovery operation code", "one.vn.recover", make.network(), operation)


@pytest.fixture
def broken(one, make):
    """A network in ERROR."""
    template = f'NAME="{make.name("net")}"\nVN_MAD="dummy"\nBRIDGE="br0"\nAR=[TYPE="IP4",IP="x",SIZE="5"]'
    network = make.kept("vn", one.ok("one.vn.allocate", template, 0))
    one.until(lambda x: x.findtext("STATE") == "5", "one.vn.info", network)
    return network


def test_a_broken_network_becomes_ready_without_its_ranges(one, broken):
    assert one.ok("one.vn.recover", broken, 1) == broken
    info = one.xml("one.vn.info", broken)
    assert (info.findtext("STATE"), info.findtext("TEMPLATE/ERROR"), len(info.find("AR_POOL"))) == ("1", None, 0)


def test_a_broken_network_is_deleted_at_once(one, broken):
    assert one.ok("one.vn.recover", broken, 2) == broken
    one.until_gone("one.vn.info", broken)


@pytest.mark.parametrize(("operation", "name"), [(0, "failure"), (3, "retry")])
def test_a_broken_network_neither_fails_nor_retries(one, broken, operation, name):
    text = f"Could not perform 'recover {name}' on VN {broken}, wrong state ERROR."
    one.fails(8192, text, "one.vn.recover", broken, operation)
