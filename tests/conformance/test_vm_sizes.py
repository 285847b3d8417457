"""Resizing VMs and their disks."""

import re

import pytest


pytestmark = pytest.mark.live


@pytest.fixture
def off(one, make, image):
    """A VM with one disk that is powered off."""
    vm = make.vm(make.template(f'DISK=[IMAGE_ID="{image}"]'))
    one.ok("one.vm.action", "poweroff-hard", vm)
    make.reached(vm, 8)
    return vm


def size(one, vm):
    found = one.xml("one.vm.info", vm).find("TEMPLATE")
    return tuple(found.findtext(key) for key in ("CPU", "VCPU", "MEMORY"))


def disk(one, vm):
    found = one.xml("one.vm.info", vm).find("TEMPLATE/DISK")
    return found.findtext("SIZE"), found.findtext("ORIGINAL_SIZE")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ('CPU="0.2"', ("0.2", None, "64")),
        ('MEMORY="128"', ("0.1", None, "128")),
        ('VCPU="2"', ("0.1", "2", "64")),
        ('CPU="2"\nVCPU="4"\nMEMORY="256"', ("2", "4", "256")),
        ("<TEMPLATE><CPU>0.3</CPU></TEMPLATE>", ("0.3", None, "64")),
        ('CPU="0.3x"', ("0.3", None, "64")),
        ('CPU="1e1"', ("10", None, "64")),
        ('VCPU="2.5"', ("0.1", "2", "64")),
        ('MEMORY="65.5"', ("0.1", None, "65")),
    ],
)
def test_what_is_not_named_stays(one, off, template, expected):
    assert one.ok("one.vm.resize", off, template, False) == off
    assert size(one, off) == expected


@pytest.mark.parametrize("template", ['CPU="0"', 'CPU="abc"', 'MEMORY="0"', 'MEMORY="abc"', 'FOO="1"', ""])
def test_what_is_no_size_is_accepted_and_changes_nothing(one, off, template):
    assert one.ok("one.vm.resize", off, template, False) == off
    assert size(one, off) == ("0.1", None, "64")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ('CPU="-1"', "CPU must be a positive float or integer value."),
        ('MEMORY="-1"', "MEMORY must be a positive integer value."),
        ("CPU=", re.compile("Parse error: syntax error, unexpected .*")),
    ],
)
def test_a_size_that_cannot_be(one, off, template, text):
    one.fails(8192, text, "one.vm.resize", off, template, False)
    assert size(one, off) == ("0.1", None, "64")


def test_without_enforcement_a_vm_may_outgrow_its_host(one, off):
    assert one.ok("one.vm.resize", off, 'CPU="9000"', False) == off
    assert size(one, off)[0] == "9000"


def test_with_enforcement_a_vm_fits_its_host(one, off):
    text = re.compile(r"Not enough CPU: .*")
    one.fails(2048, text, "one.vm.resize", off, 'CPU="9000"', True)
    assert size(one, off)[0] == "0.1"


def test_the_dummy_driver_does_not_resize_a_running_vm(one, make):
    vm = make.vm(make.template())
    text = "Hotplug resize not supported by driver dummy"
    one.fails(2048, text, "one.vm.resize", vm, 'CPU="0.2"', False)


@pytest.mark.parametrize(
    ("action", "state", "name"),
    [("suspend", 5, "SUSPENDED"), ("stop", 4, "STOPPED")],
)
def test_a_vm_with_a_memory_image_cannot_be_resized(one, make, action, state, name):
    vm = make.vm(make.template())
    one.ok("one.vm.action", action, vm)
    make.reached(vm, state)
    one.fails(2048, f"Cannot resize a VM in state {name}", "one.vm.resize", vm, 'CPU="0.2"', False)


def test_a_vm_that_is_undeployed_or_held_can_be_resized(one, make):
    vm, held = make.vm(make.template()), make.vm(make.template(), hold=True)
    one.ok("one.vm.action", "undeploy-hard", vm)
    make.reached(vm, 9)
    for resized in (vm, held):
        one.ok("one.vm.resize", resized, 'CPU="0.2"', False)
        assert size(one, resized)[0] == "0.2"


def test_a_disk_grows_while_powered_off(one, make, off):
    assert one.ok("one.vm.diskresize", off, 0, "3072") == off
    make.reached(off, 8)
    assert disk(one, off) == ("3072", "2048")


def test_a_disk_grows_while_running(one, make, image):
    vm = make.vm(make.template(f'DISK=[IMAGE_ID="{image}"]'))
    assert one.ok("one.vm.diskresize", vm, 0, "4096") == vm
    make.running(vm)
    assert disk(one, vm) == ("4096", "2048")


@pytest.mark.parametrize(
    ("number", "wanted", "text"),
    [
        (0, "2048", "New disk size has to be greater than current one"),
        (0, "1024", "New disk size has to be greater than current one"),
        (0, "-5", "New disk size has to be greater than current one"),
        (0, "abc", "Disk SIZE is not a valid integer"),
        (0, "4096 ", "Disk SIZE is not a valid integer"),
        (0, "4096.5", "Disk SIZE is not a valid integer"),
        (0, "99999999999999999999", "Disk SIZE is not a valid integer"),
        (0, "", "Disk SIZE is not a valid integer"),
        (9, "4096", "VM disk does not exist"),
    ],
)
def test_a_disk_size_that_cannot_be(one, off, number, wanted, text):
    one.fails(2048, text, "one.vm.diskresize", off, number, wanted)
    assert disk(one, off) == ("2048", "2048")


@pytest.mark.parametrize(
    ("action", "state", "name"),
    [("suspend", 5, "SUSPENDED"), (None, 2, "HOLD"), ("terminate", 6, "DONE")],
)
def test_a_state_in_which_no_disk_grows(one, make, image, action, state, name):
    template = make.template(f'DISK=[IMAGE_ID="{image}"]')
    vm = make.vm(template, hold=action is None)
    if action:
        one.ok("one.vm.action", action, vm)
    make.reached(vm, state)
    text = f"Could not resize disk for VM {vm}, wrong state {name}."
    one.fails(2048, text, "one.vm.diskresize", vm, 0, "9000")


def test_a_resize_that_its_host_refuses_leaves_the_usage_as_it_was(one, make):
    gid = make.group()
    vm = make.vm(make.template(size='CPU="0.3"\nMEMORY="64"'), f'AS_GID="{gid}"')
    one.ok("one.vm.action", "poweroff-hard", vm)
    make.reached(vm, 8)
    one.fails(2048, re.compile("Not enough CPU: .*"), "one.vm.resize", vm, 'CPU="9000"', True)
    assert one.xml("one.group.info", gid).findtext("VM_QUOTA/VM/CPU_USED") == "0.30"


# Quotas


@pytest.fixture
def gid(make):
    return make.group()


def used(one, gid):
    row = one.xml("one.group.info", gid).find("VM_QUOTA/VM")
    names = ("CPU", "MEMORY", "SYSTEM_DISK_SIZE", "RUNNING_CPU", "RUNNING_MEMORY")
    return tuple(row.findtext(f"{name}_USED") for name in names)


@pytest.fixture
def placed(one, make, image, gid):
    """Makes a VM of the group with one disk, in a state."""

    def placed(action, state):
        vm = make.vm(make.template(f'DISK=[IMAGE_ID="{image}"]'), f'AS_GID="{gid}"', hold=state == 2)
        if action:
            one.ok("one.vm.action", action, vm)
        make.reached(vm, state, 3 if state == 3 else 0)
        return vm

    return placed


WAYS = [(None, 2), ("poweroff-hard", 8), ("undeploy-hard", 9)]


@pytest.mark.parametrize(("action", "state"), WAYS)
def test_a_new_size_counts_as_running_only_where_the_vm_does(one, gid, placed, action, state):
    vm = placed(action, state)
    one.ok("one.vm.resize", vm, 'CPU="0.5"\nMEMORY="128"', False)
    running = ("0.50", "128") if state == 2 else ("0", "0")
    assert used(one, gid) == ("0.50", "128", "2048", *running)
    one.ok("one.vm.resize", vm, 'CPU="0.1"\nMEMORY="64"', False)
    running = ("0.10", "64") if state == 2 else ("0", "0")
    assert used(one, gid) == ("0.10", "64", "2048", *running)


@pytest.mark.parametrize(("action", "state"), WAYS)
def test_a_quota_bounds_the_size(one, gid, placed, action, state):
    vm = placed(action, state)
    before = used(one, gid)
    one.ok("one.group.quota", gid, 'VM=[CPU="0.2",MEMORY="100"]')
    for extra, metric, limit in (('CPU="0.3"', "CPU", "0.2"), ('MEMORY="101"', "MEMORY", "100")):
        text = f"User [0] : group [{gid}] limit of {limit} reached for {metric} quota in VM."
        one.fails(512, text, "one.vm.resize", vm, extra, False)
    assert used(one, gid) == before
    assert one.ok("one.vm.resize", vm, 'CPU="0.2"\nMEMORY="100"', False) == vm


def test_a_vm_that_is_above_its_quota_is_not_even_made_smaller(one, gid, placed):
    vm = placed("poweroff-hard", 8)
    one.ok("one.group.quota", gid, 'VM=[CPU="0.05"]')
    text = f"User [0] : group [{gid}] limit of 0.05 reached for CPU quota in VM."
    one.fails(512, text, "one.vm.resize", vm, 'CPU="0.06"', False)


@pytest.mark.parametrize(("action", "state"), [("poweroff-hard", 8), ("undeploy-hard", 9), (None, 3)])
def test_a_disk_that_grew_counts_in_every_state_and_is_freed_with_the_vm(one, make, gid, placed, action, state):
    vm = placed(action, state)
    assert one.ok("one.vm.diskresize", vm, 0, "3000") == vm
    make.reached(vm, state, 3 if state == 3 else 0)
    assert (disk(one, vm), used(one, gid)[2]) == (("3000", "2048"), "3000")
    one.ok("one.vm.action", "terminate-hard", vm)
    make.reached(vm, 6)
    one.until(lambda x: len(x.find("VM_QUOTA")) == 0, "one.group.info", gid)


def test_a_quota_bounds_a_disk_without_saying_so(one, gid, placed):
    vm = placed("poweroff-hard", 8)
    one.ok("one.group.quota", gid, 'VM=[SYSTEM_DISK_SIZE="2500"]')
    text = "User [0] not authorized to perform action on virtual machine."
    one.fails(512, text, "one.vm.diskresize", vm, 0, "2501")
    assert (disk(one, vm)[0], used(one, gid)[2]) == ("2048", "2048")
    assert one.ok("one.vm.diskresize", vm, 0, "2500") == vm


def test_a_persistent_image_grows_with_its_disk(one, make, placed):
    image = make.image('PERSISTENT="YES"')
    vm = make.vm(make.template(f'DISK=[IMAGE_ID="{image}"]'))
    assert one.ok("one.vm.diskresize", vm, 0, "3000") == vm
    make.running(vm)
    one.until(lambda x: x.findtext("SIZE") == "3000", "one.image.info", image)


def test_a_tenant_does_not_outgrow_a_host(make, tenant):
    template = make.kept("template", tenant.one.ok("one.template.allocate", 'NAME="t"\nCPU="0.1"\nMEMORY="64"'))
    vm = make.vm(template, one=tenant.one)
    tenant.one.ok("one.vm.action", "poweroff-hard", vm)
    make.reached(vm, 8)
    tenant.one.fails(2048, re.compile("Not enough CPU: .*"), "one.vm.resize", vm, 'CPU="9000"', False)
    assert tenant.one.ok("one.vm.resize", vm, 'CPU="0.2"', False) == vm
