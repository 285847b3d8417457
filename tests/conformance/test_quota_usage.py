"""What counts against a group's quotas, in which state of a VM."""

import pytest


pytestmark = pytest.mark.live

ALLOCATED = {"CPU": "0.50", "MEMORY": "64", "SYSTEM_DISK_SIZE": "2048", "VMS": "1"}
RUNNING = ALLOCATED | {"RUNNING_CPU": "0.50", "RUNNING_MEMORY": "64", "RUNNING_VMS": "1"}


def used(one, gid, section="VM"):
    """The usage that is not zero, by key; entries of other sections also have their ID."""
    found = one.xml("one.group.info", gid).find(f"{section}_QUOTA")
    entries = [
        {i.tag.removesuffix("_USED"): i.text for i in e if i.text != "0" and (i.tag.endswith("_USED") or i.tag == "ID")}
        for e in found
    ]
    if section != "VM":
        return entries
    assert len(entries) <= 1
    return entries[0] if entries else {}


@pytest.fixture
def template(make, image):
    return make.template(f'DISK=[IMAGE_ID="{image}"]', size='CPU="0.5"\nMEMORY="64"')


@pytest.fixture
def gid(make):
    return make.group()


@pytest.fixture
def vm(make, template, gid):
    """A running VM of the group."""
    return make.vm(template, f'AS_GID="{gid}"')


def test_a_running_vm_counts_twice_and_its_image_once(one, gid, vm, image):
    assert used(one, gid) == RUNNING
    assert used(one, gid, "IMAGE") == [{"ID": str(image), "RVMS": "1"}]


def test_disks_of_vms_count_in_no_datastore(one, gid, vm):
    assert used(one, gid, "DATASTORE") == []


def test_usage_is_shown_with_no_limits(one, gid, vm):
    found = one.xml("one.group.info", gid).find("VM_QUOTA/VM")
    assert {i.text for i in found if not i.tag.endswith("_USED")} == {"-1"}


def test_a_vm_counts_at_once_even_on_hold(one, make, gid, template):
    make.vm(template, f'AS_GID="{gid}"', hold=True)
    assert used(one, gid) == RUNNING


@pytest.mark.parametrize(
    ("action", "state"),
    [("poweroff-hard", 8), ("suspend", 5), ("stop", 4), ("undeploy-hard", 9)],
)
def test_a_vm_that_is_down_keeps_what_it_was_given(one, make, gid, vm, action, state):
    one.ok("one.vm.action", action, vm)
    make.reached(vm, state)
    one.until(lambda x: x.findtext("VM_QUOTA/VM/RUNNING_VMS_USED") == "0", "one.group.info", gid)
    assert used(one, gid) == ALLOCATED
    one.ok("one.vm.action", "resume", vm)
    make.running(vm)
    assert used(one, gid) == RUNNING


def test_a_terminated_vm_gives_everything_back(one, make, gid, vm):
    one.ok("one.vm.action", "terminate-hard", vm)
    make.reached(vm, 6)
    one.until(lambda x: len(x.find("VM_QUOTA")) == len(x.find("IMAGE_QUOTA")) == 0, "one.group.info", gid)


def test_a_new_size_counts(one, make, gid, vm):
    one.ok("one.vm.action", "poweroff-hard", vm)
    make.reached(vm, 8)
    one.ok("one.vm.resize", vm, 'CPU="0.7"\nMEMORY="128"', False)
    one.ok("one.vm.diskresize", vm, 0, "3000")
    make.reached(vm, 8)
    assert used(one, gid) == {"CPU": "0.70", "MEMORY": "128", "SYSTEM_DISK_SIZE": "3000", "VMS": "1"}


def test_the_usage_of_the_owner_is_counted_too(one, make, template, tenant):
    one.ok("one.template.chmod", template, -1, -1, -1, -1, -1, -1, 1, -1, -1)
    make.vm(template, one=tenant.one, hold=True)
    found = one.xml("one.user.info", tenant.uid).find("VM_QUOTA/VM")
    assert (found.findtext("CPU_USED"), found.findtext("VMS_USED")) == ("0.50", "1")
    assert used(one, tenant.gid) == RUNNING


def test_oneadmin_and_its_group_are_not_counted(one, make, template):
    make.vm(template, hold=True)
    assert used(one, 0) == {}
    assert list(one.xml("one.user.info", 0).find("VM_QUOTA")) == []


def test_a_vm_that_changes_its_group_takes_its_usage_along(one, make, gid, vm):
    other = make.group()
    assert one.ok("one.vm.chown", vm, -1, other) == vm
    assert (used(one, gid), used(one, other)) == ({}, RUNNING)
    one.ok("one.vm.chown", vm, -1, 0)
    assert used(one, other) == {}


def test_leases_count_on_networks_with_and_without_a_limit(one, make, gid, template):
    network = make.network()
    one.ok("one.group.quota", gid, f'NETWORK=[ID="{network}",LEASES="5"]')
    vm = make.vm(template, f'NIC=[NETWORK_ID="{network}"]\nAS_GID="{gid}"', hold=True)
    assert used(one, gid, "NETWORK") == [{"ID": str(network), "LEASES": "1"}]
    one.ok("one.group.quota", gid, f'NETWORK=[ID="{network}",LEASES="-1"]')
    assert used(one, gid, "NETWORK") == [{"ID": str(network), "LEASES": "1"}]
    one.ok("one.vm.action", "terminate-hard", vm)
    make.reached(vm, 6)
    one.until(lambda x: len(x.find("NETWORK_QUOTA")) == 0, "one.group.info", gid)


def test_a_lease_without_any_limit_counts(one, make, gid, template):
    network = make.network()
    make.vm(template, f'NIC=[NETWORK_ID="{network}"]\nAS_GID="{gid}"', hold=True)
    assert used(one, gid, "NETWORK") == [{"ID": str(network), "LEASES": "1"}]


def test_images_of_the_group_count_in_their_datastore(one, make, gid):
    image = make.image()
    one.ok("one.image.chown", image, -1, gid)
    assert used(one, gid, "DATASTORE") == [{"ID": "1", "IMAGES": "1", "SIZE": "2048"}]
    one.ok("one.image.delete", image)
    one.until(lambda x: len(x.find("DATASTORE_QUOTA")) == 0, "one.group.info", gid)
