"""The configuration of VMs: boot order, CONTEXT, GRAPHICS, FEATURES, and where they can be changed."""

import re

import pytest


pytestmark = pytest.mark.live


@pytest.fixture
def network(make):
    return make.network()


@pytest.fixture
def held(make, network):
    """A VM on hold with a context."""
    template = f"""
        NIC=[NETWORK_ID="{network}"]
        CONTEXT=[NETWORK="YES",SSH_PUBLIC_KEY="a",X="1"]
        GRAPHICS=[TYPE="VNC",LISTEN="0.0.0.0"]
    """
    return make.vm(make.template(template), hold=True)


def vector(one, vm, name):
    found = one.xml("one.vm.info", vm).find(f"TEMPLATE/{name}")
    return None if found is None else {item.tag: item.text or "" for item in found}


def context(one, vm):
    """The context without what the server adds."""
    found = vector(one, vm, "CONTEXT")
    return {key: value for key, value in found.items() if key not in {"DISK_ID", "TARGET"} and key[:3] != "ETH"}


def test_a_context_is_merged(one, held):
    assert one.ok("one.vm.updateconf", held, 'CONTEXT=[SSH_PUBLIC_KEY="b",Y="$NAME"]', 1) == held
    name = one.xml("one.vm.info", held).findtext("NAME")
    assert context(one, held) == {"NETWORK": "YES", "SSH_PUBLIC_KEY": "b", "X": "1", "Y": name}
    found = vector(one, held, "CONTEXT")
    assert (found["ETH0_IP"], found["TARGET"]) == ("10.7.0.1", "hda")
    assert vector(one, held, "GRAPHICS") == {"LISTEN": "0.0.0.0", "TYPE": "VNC"}


def test_a_context_is_replaced_and_its_addresses_stay_only_with_network(one, held):
    one.ok("one.vm.updateconf", held, 'CONTEXT=[NETWORK="YES",SSH_PUBLIC_KEY="c"]', 0)
    assert context(one, held) == {"NETWORK": "YES", "SSH_PUBLIC_KEY": "c"}
    assert vector(one, held, "CONTEXT")["ETH0_IP"] == "10.7.0.1"
    assert vector(one, held, "GRAPHICS") is None
    one.ok("one.vm.updateconf", held, 'CONTEXT=[A="1"]')
    assert vector(one, held, "CONTEXT").keys() == {"A", "DISK_ID", "TARGET"}


def test_what_is_not_named_stays_when_merging_and_goes_when_replacing_but_for_the_context(one, held):
    one.ok("one.vm.updateconf", held, "", 1)
    assert vector(one, held, "GRAPHICS") == {"LISTEN": "0.0.0.0", "TYPE": "VNC"}
    one.ok("one.vm.updateconf", held, "", 0)
    assert (vector(one, held, "GRAPHICS"), vector(one, held, "OS")) == (None, None)
    assert context(one, held) == {"NETWORK": "YES", "SSH_PUBLIC_KEY": "a", "X": "1"}


def test_other_vectors_are_updated_key_by_key(one, held):
    one.ok("one.vm.updateconf", held, 'FEATURES=[ACPI="yes",PAE="no"]\nINPUT=[TYPE="tablet",BUS="usb",FOO="1"]', 1)
    one.ok("one.vm.updateconf", held, 'FEATURES=[PAE="yes"]\nGRAPHICS=[PORT="5999",LISTEN="::1"]\nCPU="9"\nA="1"', 1)
    assert vector(one, held, "FEATURES") == {"ACPI": "YES", "PAE": "YES"}
    assert vector(one, held, "INPUT") == {"BUS": "usb", "TYPE": "tablet"}
    assert vector(one, held, "GRAPHICS") == {"LISTEN": "::1", "TYPE": "VNC"}
    info = one.xml("one.vm.info", held)
    assert (info.findtext("TEMPLATE/CPU"), info.find("USER_TEMPLATE/A")) == ("0.1", None)


@pytest.mark.parametrize(
    ("template", "code", "text"),
    [
        ('CONTEXT=[ETH0_IP="1.2.3.4"]', 8192, "Unable to update ETH0_IP, update NIC to update network context"),
        ('CONTEXT=[ETH9_IP="1.2.3.4"]', 8192, "Unable to add ETH9_IP, update NIC to update network context"),
        ('CONTEXT=[TOKEN="YES"]', 8192, "TOKEN set, but onegate endpoint was not defined in oned.conf."),
        ('OS=[BOOT="disk7"]', 8192, "Wrong OS/BOOT value. Device with DISK_ID 7 not found"),
        ("A=", 8192, re.compile("Parse error: syntax error, unexpected .*")),
    ],
)
def test_a_configuration_that_cannot_be(one, held, template, code, text):
    one.fails(code, text, "one.vm.updateconf", held, template, 1)
    assert context(one, held) == {"NETWORK": "YES", "SSH_PUBLIC_KEY": "a", "X": "1"}


def test_a_mode_that_does_not_exist(one, held):
    one.fails(4096, "Wrong update type", "one.vm.updateconf", held, "", 2)


def test_a_vm_without_context_gets_none(one, make):
    text = "Virtual machine does not have context, cannot add a new one."
    one.fails(8192, text, "one.vm.updateconf", make.vm(make.template(), hold=True), 'CONTEXT=[A="1"]', 1)


def test_a_missing_vm(one):
    assert one.fails(1024, "Error getting virtual machine [99999].", "one.vm.updateconf", 99999, "", 1) == 99999


def test_a_vm_that_runs_is_configured_without_a_new_record_of_its_history(one, make):
    vm = make.vm(make.template('CONTEXT=[A="1"]'))
    assert one.ok("one.vm.updateconf", vm, 'CONTEXT=[A="2"]\nGRAPHICS=[TYPE="VNC"]', 1) == vm
    make.running(vm)
    assert context(one, vm) == {"A": "2"}
    assert int(vector(one, vm, "GRAPHICS")["PORT"]) > 5899
    assert len(one.xml("one.vm.info", vm).findall("HISTORY_RECORDS/HISTORY")) == 1


@pytest.mark.parametrize(
    ("action", "state", "refused"),
    [
        ("poweroff-hard", 8, None),
        ("undeploy-hard", 9, None),
        ("suspend", 5, "SUSPENDED"),
        ("stop", 4, "STOPPED"),
        ("terminate-hard", 6, "DONE"),
    ],
)
def test_where_a_configuration_can_be_changed(one, make, action, state, refused):
    vm = make.vm(make.template('CONTEXT=[A="1"]'))
    one.ok("one.vm.action", action, vm)
    make.reached(vm, state)
    if refused:
        text = f"configuration cannot be updated in state {refused}"
        one.fails(8192, text, "one.vm.updateconf", vm, 'CONTEXT=[A="2"]', 1)
    else:
        assert one.ok("one.vm.updateconf", vm, 'CONTEXT=[A="2"]', 1) == vm
        assert context(one, vm) == {"A": "2"}


def test_a_boot_order_numbers_the_devices(one, make, image, network):
    template = f'DISK=[IMAGE_ID="{image}"]\nNIC=[NETWORK_ID="{network}"]\nOS=[BOOT="nic0,disk0"]'
    vm = make.vm(make.template(template), hold=True)
    assert (vector(one, vm, "NIC")["ORDER"], vector(one, vm, "DISK")["ORDER"]) == ("1", "2")
    one.ok("one.vm.updateconf", vm, 'OS=[BOOT="disk0"]', 1)
    assert ("ORDER" in vector(one, vm, "NIC"), vector(one, vm, "DISK")["ORDER"]) == (False, "1")


def test_a_boot_order_of_devices_that_are_not_there(one, make, image):
    template = make.template(f'DISK=[IMAGE_ID="{image}"]')
    words = "Error allocating a new virtual machine template. {}"
    for order, problem in (
        ("disk3", "Wrong OS/BOOT value. Device with DISK_ID 3 not found"),
        ("hd", 'Wrong OS/BOOT value: "hd" should be a comma-separated list of disk# or nic#'),
    ):
        arguments = template, make.name("vm"), True, f'OS=[BOOT="{order}"]', False
        one.fails(16384, words.format(problem), "one.template.instantiate", *arguments)


def test_a_tenant_does_not_bring_files_into_a_context(make, tenant):
    template = make.kept(
        "template", tenant.one.ok("one.template.allocate", 'NAME="t"\nCPU="0.1"\nMEMORY="64"\nCONTEXT=[A="1"]')
    )
    vm = make.vm(template, one=tenant.one, hold=True)
    text = f"User [{tenant.uid}] : Template includes a restricted attribute CONTEXT."
    tenant.one.fails(512, text, "one.vm.updateconf", vm, 'CONTEXT=[FILES="/etc/passwd"]', 1)
    assert tenant.one.ok("one.vm.updateconf", vm, 'CONTEXT=[A="2"]', 1) == vm
