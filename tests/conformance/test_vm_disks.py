"""Attaching and detaching disks, and saving them as images."""

import re

import pytest

from conformance.vms import actions, disks, used


pytestmark = pytest.mark.live

VOLATILE = 'DISK=[TYPE="fs",SIZE="30",FORMAT="raw"]'


@pytest.fixture
def gid(make):
    return make.group()


@pytest.fixture
def small(one, make):
    """Makes an image of some MB."""

    def small(size, extra=""):
        template = f'NAME="{make.name("image")}"\nTYPE="DATABLOCK"\nSIZE="{size}"\n{extra}'
        image = make.kept("image", one.ok("one.image.allocate", template, 1))
        one.until(lambda x: x.findtext("STATE") == "1", "one.image.info", image)
        return image

    return small


@pytest.fixture
def spare(small):
    """An image of 50 MB, older than the VM, so that it is removed after it."""
    return small(50)


@pytest.fixture
def vm(make, small, gid, spare):
    """A VM of the group that runs with a disk of 100 MB."""
    return make.vm(make.template(f'DISK=[IMAGE_ID="{small(100)}"]'), f'AS_GID="{gid}"')


@pytest.fixture
def off(one, make, vm):
    one.ok("one.vm.action", "poweroff-hard", vm)
    make.reached(vm, 8)
    return vm


def sizes(one, vm):
    return {int(disk["DISK_ID"]): (disk["SIZE"], disk["TARGET"]) for disk in disks(one, vm)}


def rvms(one, gid):
    found = one.xml("one.group.info", gid).find("IMAGE_QUOTA")
    return {int(row.findtext("ID")): row.findtext("RVMS_USED") for row in found}


def settled(one, vm, state):
    return one.until(lambda x: (x.findtext("STATE"), x.findtext("LCM_STATE")) == state, "one.vm.info", vm)


def test_disks_come_and_go_while_a_vm_runs(one, make, gid, small, spare, vm):
    image, kept = spare, small(60, 'PERSISTENT="YES"')
    for template in (f'DISK=[IMAGE_ID="{image}"]', VOLATILE, f'DISK=[IMAGE_ID="{kept}"]'):
        assert one.ok("one.vm.attach", vm, template) == vm
        make.running(vm)
    assert sizes(one, vm) == {0: ("100", "sda"), 1: ("50", "sdb"), 2: ("30", "sdc"), 3: ("60", "sdd")}
    assert used(one, gid)["SYSTEM_DISK_SIZE"] == "180"
    assert rvms(one, gid).keys() > {image, kept}
    found = [one.xml("one.image.info", oid) for oid in (image, kept)]
    assert [info.findtext("STATE") for info in found] == ["2", "8"]
    assert [[item.text for item in info.find("VMS")] for info in found] == [[str(vm)]] * 2
    for disk in (1, 2, 3):
        assert one.ok("one.vm.detach", vm, disk) == vm
        make.running(vm)
    assert sizes(one, vm) == {0: ("100", "sda")}
    one.until(lambda x: x.findtext("VM_QUOTA/VM/SYSTEM_DISK_SIZE_USED") == "100", "one.group.info", gid)
    assert actions(one, vm) == [21, 21, 21, 22, 22, 22, 0]
    for oid in (image, kept):
        one.until(lambda x: x.findtext("STATE") == "1", "one.image.info", oid)


def test_disks_come_and_go_while_a_vm_is_off(one, gid, spare, off):
    assert one.ok("one.vm.attach", off, f'DISK=[IMAGE_ID="{spare}"]') == off
    settled(one, off, ("8", "0"))
    assert sizes(one, off) == {0: ("100", "sda"), 1: ("50", "sdb")}
    assert one.ok("one.vm.detach", off, 0) == off
    settled(one, off, ("8", "0"))
    assert sizes(one, off) == {1: ("50", "sdb")}
    assert one.ok("one.vm.attach", off, 'DISK=[TYPE="swap",SIZE="10"]') == off
    settled(one, off, ("8", "0"))
    assert sizes(one, off) == {1: ("50", "sdb"), 2: ("10", "sda")}
    one.until(lambda x: x.findtext("VM_QUOTA/VM/SYSTEM_DISK_SIZE_USED") == "60", "one.group.info", gid)
    assert "RUNNING_VMS" not in used(one, gid)


def test_an_image_may_be_attached_twice_and_larger_than_it_is(one, make, gid, spare, vm):
    image = spare
    for size in ("", ',SIZE="80"'):
        one.ok("one.vm.attach", vm, f'DISK=[IMAGE_ID="{image}"{size}]')
        make.running(vm)
    assert rvms(one, gid)[image] == "2"
    one.ok("one.vm.detach", vm, 1)
    make.running(vm)
    assert one.xml("one.image.info", image).findtext("STATE") == "2"
    assert used(one, gid)["SYSTEM_DISK_SIZE"] == "180"


@pytest.mark.parametrize(
    ("template", "code", "text"),
    [
        ('DISK=[IMAGE_ID="99999"]', 2048, "Image with ID: 99999 does not exist"),
        ('DISK=[TYPE="fs"]', 2048, "SIZE attribute must be a positive integer value."),
        ('FOO="1"', 2048, "Internal error parsing DISK attribute"),
        ("", 2048, "Internal error parsing DISK attribute"),
        ("DISK=", 8192, re.compile("Parse error: syntax error, unexpected .*")),
    ],
)
def test_a_disk_that_cannot_be(one, gid, vm, template, code, text):
    before = used(one, gid)
    one.fails(code, text, "one.vm.attach", vm, template)
    assert (used(one, gid), len(disks(one, vm))) == (before, 1)


def test_a_disk_is_not_smaller_than_its_image(one, gid, spare, vm):
    text = f"SIZE of 20MB is less than the image [{spare}] size of 50MB."
    one.fails(2048, text, "one.vm.attach", vm, f'DISK=[IMAGE_ID="{spare}",SIZE="20"]')
    assert spare not in rvms(one, gid)


def test_a_quota_bounds_the_disks_of_a_vm(one, gid, vm):
    one.ok("one.group.quota", gid, 'VM=[SYSTEM_DISK_SIZE="120"]')
    text = "User [0] not authorized to perform action on virtual machine."
    one.fails(512, text, "one.vm.attach", vm, VOLATILE)
    assert used(one, gid)["SYSTEM_DISK_SIZE"] == "100"


def test_a_vm_that_is_on_no_host_takes_no_disk(one, make, small):
    held = make.vm(make.template(f'DISK=[IMAGE_ID="{small(10)}"]'), hold=True)
    one.fails(2048, "VM is not running in any host", "one.vm.attach", held, VOLATILE)
    one.fails(2048, f"Could not detach disk from VM {held}, wrong state HOLD.", "one.vm.detach", held, 0)
    one.fails(2048, "VM disk does not exist", "one.vm.detach", held, 9)


def test_a_vm_that_is_undeployed_keeps_its_disks(one, make, off):
    one.ok("one.vm.action", "undeploy-hard", off)
    make.reached(off, 9)
    text = f"Could not attach a new disk to VM {off}, wrong state UNDEPLOYED."
    one.fails(2048, text, "one.vm.attach", off, VOLATILE)
    one.fails(2048, f"Could not detach disk from VM {off}, wrong state UNDEPLOYED.", "one.vm.detach", off, 0)


def test_a_missing_vm(one):
    text = "Error getting virtual machine [99999]."
    assert one.fails(1024, text, "one.vm.attach", 99999, VOLATILE) == 99999
    assert one.fails(1024, text, "one.vm.detach", 99999, 0) == 99999


def test_a_disk_is_saved_as_an_image(one, make, vm):
    name = make.name("saved")
    image = make.kept("image", one.ok("one.vm.disksaveas", vm, 0, name, "", -1))
    make.running(vm)
    info = one.until(lambda x: x.findtext("STATE") == "1", "one.image.info", image)
    assert [info.findtext(key) for key in ("NAME", "TYPE", "SIZE", "FORMAT", "PATH", "PERSISTENT")] == [
        name,
        "2",
        "100",
        "raw",
        "",
        "0",
    ]
    (disk,) = disks(one, vm)
    found = {item.tag: item.text for item in info.find("TEMPLATE")}
    assert found == {
        "DEV_PREFIX": "sd",
        "SAVED_DISK_ID": "0",
        "SAVED_IMAGE_ID": disk["IMAGE_ID"],
        "SAVED_VM_ID": str(vm),
    }
    text = f"Error allocating a new image. NAME is already taken by IMAGE {image}."
    assert one.fails(16384, text, "one.vm.disksaveas", vm, 0, name, "", -1) == vm
    one.fails(8192, "Cannot use DISK. DISK does not exist.", "one.vm.disksaveas", vm, 7, make.name("x"), "", -1)


def test_a_vm_that_never_ran_has_no_disk_to_save(one, make, small):
    held = make.vm(make.template(f'DISK=[IMAGE_ID="{small(10)}"]'), hold=True)
    text = "VM has to be RUNNING, POWEROFF or SUSPENDED to save disks."
    assert one.fails(8192, text, "one.vm.disksaveas", held, 0, make.name("x"), "", -1) == held
