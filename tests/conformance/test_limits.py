"""Limits as a tenant meets them."""

import pytest


pytestmark = pytest.mark.live

REACHED = "User [{uid}] : group [{gid}] limit of {limit} reached for {what} quota in VM."
LEASES = "User [{uid}] : group [{gid}] limit of {limit} reached for LEASES quota in NETWORK with ID: {network}."


@pytest.fixture
def template(one, make, image):
    """Half a core, 64 MB and a disk of 2048 MB, for everyone."""
    template = make.template(f'DISK=[IMAGE_ID="{image}"]', size='CPU="0.5"\nMEMORY="64"')
    one.ok("one.template.chmod", template, -1, -1, -1, -1, -1, -1, 1, -1, -1)
    return template


@pytest.fixture
def limit(one, tenant):
    """Sets a block of the tenant's quotas."""
    return lambda block: one.ok("one.group.quota", tenant.gid, block)


@pytest.fixture
def off(one, make, tenant, template):
    """A VM of the tenant, powered off."""
    vm = make.vm(template, one=tenant.one)
    one.ok("one.vm.action", "poweroff-hard", vm)
    make.reached(vm, 8)
    return vm


@pytest.mark.parametrize(
    ("block", "what", "number"),
    [
        ('CPU="0.4"', "CPU", "0.4"),
        ('CPU="0"', "CPU", "0"),
        ('MEMORY="63"', "MEMORY", "63"),
        ('VMS="0"', "VMS", "0"),
        ('SYSTEM_DISK_SIZE="2047"', "SYSTEM_DISK_SIZE", "2047"),
        ('RUNNING_CPU="0.4"', "RUNNING_CPU", "0.4"),
        ('RUNNING_MEMORY="63"', "RUNNING_MEMORY", "63"),
        ('RUNNING_VMS="0"', "RUNNING_VMS", "0"),
        ('VMS="0",CPU="0",MEMORY="0"', "VMS", "0"),
        ('CPU="0",MEMORY="0",SYSTEM_DISK_SIZE="0"', "CPU", "0"),
        ('MEMORY="0",SYSTEM_DISK_SIZE="0"', "MEMORY", "0"),
        ('RUNNING_VMS="0",CPU="0"', "RUNNING_VMS", "0"),
    ],
)
def test_a_vm_beyond_a_limit_is_refused_to_tenant_and_administrator(
    one, make, tenant, template, limit, block, what, number
):
    limit(f"VM=[{block}]")
    arguments = template, make.name("vm"), True
    text = REACHED.format(uid=tenant.uid, gid=tenant.gid, limit=number, what=what)
    tenant.one.fails(512, text, "one.template.instantiate", *arguments, "", False)
    text = REACHED.format(uid=0, gid=tenant.gid, limit=number, what=what)
    one.fails(512, text, "one.template.instantiate", *arguments, f'AS_GID="{tenant.gid}"', False)
    assert one.xml("one.group.info", tenant.gid).findtext("VM_QUOTA/VM/VMS_USED") == "0"


def test_exactly_at_the_limit_is_allowed(make, tenant, template, limit):
    limit('VM=[CPU="1",MEMORY="128",VMS="2",SYSTEM_DISK_SIZE="4096"]')
    for _ in range(2):
        make.vm(template, one=tenant.one, hold=True)
    text = REACHED.format(uid=tenant.uid, gid=tenant.gid, limit=2, what="VMS")
    tenant.one.fails(512, text, "one.template.instantiate", template, make.name("vm"), True, "", False)


def test_a_terminated_vm_makes_room(make, tenant, template, limit):
    limit('VM=[VMS="1"]')
    vm = make.vm(template, one=tenant.one, hold=True)
    tenant.one.ok("one.vm.action", "terminate-hard", vm)
    make.reached(vm, 6)
    make.one.until(lambda x: x.findtext("VM_QUOTA/VM/VMS_USED") == "0", "one.group.info", tenant.gid)
    assert make.vm(template, one=tenant.one, hold=True) != vm


def test_leases(make, tenant, template, limit):
    network = make.network()
    limit(f'NETWORK=[ID="{network}",LEASES="1"]')
    nic = f'NIC=[NETWORK_ID="{network}"]'
    make.vm(template, nic, one=tenant.one, hold=True)
    text = LEASES.format(uid=tenant.uid, gid=tenant.gid, limit=1, network=network)
    tenant.one.fails(512, text, "one.template.instantiate", template, make.name("vm"), True, nic, False)
    found = make.one.xml("one.group.info", tenant.gid)
    assert found.findtext("VM_QUOTA/VM/VMS_USED") == "1"


def test_vms_of_an_image(make, tenant, template, limit, image):
    limit(f'IMAGE=[ID="{image}",RVMS="0"]')
    text = f"User [{tenant.uid}] : group [{tenant.gid}] limit of 0 reached for RVMS quota in IMAGE with ID: {image}."
    tenant.one.fails(512, text, "one.template.instantiate", template, make.name("vm"), True, "", False)


def test_storage(make, tenant, limit):
    def allocate(size):
        return "one.image.allocate", f'NAME="{make.name("image")}"\nTYPE="DATABLOCK"\nSIZE="{size}"', 1

    text = f"User [{tenant.uid}] : group [{tenant.gid}] limit of {{}} reached for {{}} quota in DATASTORE with ID: 1."
    limit('DATASTORE=[ID="1",SIZE="10"]')
    tenant.one.fails(512, text.format(10, "SIZE"), *allocate(11))
    make.kept("image", tenant.one.ok(*allocate(10)))
    tenant.one.fails(512, text.format(10, "SIZE"), *allocate(1))
    limit('DATASTORE=[ID="1",IMAGES="1"]')
    tenant.one.fails(512, text.format(1, "IMAGES"), *allocate(1))


def test_an_image_or_vm_given_to_a_full_group(one, make, tenant, template, limit):
    limit('DATASTORE=[ID="1",IMAGES="0"]\nVM=[CPU="0.4"]')
    image, vm = make.image(), make.vm(template, hold=True)
    text = f"User [0] : group [{tenant.gid}] limit of 0 reached for IMAGES quota in DATASTORE with ID: 1."
    one.fails(512, text, "one.image.chown", image, -1, tenant.gid)
    text = REACHED.format(uid=0, gid=tenant.gid, limit="0.4", what="CPU")
    one.fails(512, text, "one.vm.chown", vm, -1, tenant.gid)
    assert one.xml("one.vm.info", vm).findtext("GID") == "0"


def test_a_limit_of_the_user(one, make, tenant, template):
    one.ok("one.user.quota", tenant.uid, 'VM=[VMS="0"]')
    text = f"User [{tenant.uid}] : user [{tenant.uid}] limit of 0 reached for VMS quota in VM."
    tenant.one.fails(512, text, "one.template.instantiate", template, make.name("vm"), True, "", False)
    assert list(one.xml("one.group.info", tenant.gid).find("VM_QUOTA")) == []


def test_a_resize_beyond_a_limit(one, tenant, off, limit):
    limit('VM=[CPU="0.6"]')
    text = REACHED.format(uid=tenant.uid, gid=tenant.gid, limit="0.6", what="CPU")
    tenant.one.fails(512, text, "one.vm.resize", off, 'CPU="0.7"', False)
    assert tenant.one.ok("one.vm.resize", off, 'CPU="0.6"', False) == off
    assert one.xml("one.group.info", tenant.gid).findtext("VM_QUOTA/VM/CPU_USED") == "0.60"


def test_an_administrator_does_not_get_past_a_limit(one, tenant, off, limit):
    limit('VM=[CPU="0.6"]')
    text = REACHED.format(uid=0, gid=tenant.gid, limit="0.6", what="CPU")
    one.fails(512, text, "one.vm.resize", off, 'CPU="0.7"', False)
    one.fails(512, text, "one.vm.resize", off, 'CPU="0.7"', True)


def test_a_disk_that_grows_beyond_a_limit_is_refused_without_naming_it(one, make, tenant, off, limit):
    limit('VM=[SYSTEM_DISK_SIZE="3000"]')
    text = "User [{}] not authorized to perform action on virtual machine."
    for uid, caller in ((tenant.uid, tenant.one), (0, one)):
        caller.fails(512, text.format(uid), "one.vm.diskresize", off, 0, "3001")
    assert tenant.one.ok("one.vm.diskresize", off, 0, "3000") == off
    make.reached(off, 8)


def test_a_limit_below_the_usage_is_accepted_and_then_even_shrinking_is_refused(one, tenant, off, limit):
    limit('VM=[CPU="0.2"]')
    text = REACHED.format(uid=tenant.uid, gid=tenant.gid, limit="0.2", what="CPU")
    tenant.one.fails(512, text, "one.vm.resize", off, 'CPU="0.4"', False)
    assert one.xml("one.vm.info", off).findtext("TEMPLATE/CPU") == "0.5"


def test_a_vm_resumes_although_too_many_cores_are_allocated(make, tenant, off, limit):
    limit('VM=[CPU="0.2"]')
    assert tenant.one.ok("one.vm.action", "resume", off) == off
    make.running(off)


@pytest.mark.parametrize(
    ("block", "what", "number"),
    [('SYSTEM_DISK_SIZE="100"', "SYSTEM_DISK_SIZE", "100"), ('RUNNING_VMS="0"', "RUNNING_VMS", "0")],
)
def test_a_vm_does_not_resume_beyond_other_limits(tenant, off, limit, block, what, number):
    limit(f"VM=[{block}]")
    text = f"group [{tenant.gid}] limit of {number} reached for {what} quota in VM"
    tenant.one.fails(2048, text, "one.vm.action", "resume", off)


def test_a_default_limit_holds_where_the_group_sets_none(one, make, tenant, template, limit):
    network = make.network()
    try:
        one.ok("one.groupquota.update", f'NETWORK=[ID="{network}",LEASES="0"]')
        nic = f'NIC=[NETWORK_ID="{network}"]'
        arguments = template, make.name("vm"), True, nic, False
        text = LEASES.format(uid=tenant.uid, gid=tenant.gid, limit=0, network=network)
        tenant.one.fails(512, text, "one.template.instantiate", *arguments)
        limit(f'NETWORK=[ID="{network}",LEASES="-2"]')
        make.vm(template, nic, one=tenant.one, hold=True)
    finally:
        one.ok("one.groupquota.update", f'NETWORK=[ID="{network}",LEASES="-2"]')
