"""Recovering VMs that are well: what each operation does in which state, and who may."""

import pytest

from conformance.vms import actions, state, used


pytestmark = pytest.mark.live

FAIL, SUCCEED, RETRY, DELETE, RECREATE, DELETE_DB = range(6)
WAYS = {
    "RUNNING": (None, (3, 3)),
    "POWEROFF": ("poweroff-hard", (8, 0)),
    "SUSPENDED": ("suspend", (5, 0)),
    "STOPPED": ("stop", (4, 0)),
    "UNDEPLOYED": ("undeploy-hard", (9, 0)),
    "HOLD": (None, (2, 0)),
    "PENDING": (None, (1, 0)),
    "DONE": ("terminate-hard", (6, 0)),
}
DOWN = ["POWEROFF", "SUSPENDED", "STOPPED", "UNDEPLOYED"]
ALLOCATED = {"CPU": "0.10", "MEMORY": "64", "VMS": "1"}
COUNTED_RUNNING = {"RUNNING_CPU": "0.10", "RUNNING_MEMORY": "64", "RUNNING_VMS": "1"}


@pytest.fixture
def gid(make):
    return make.group()


@pytest.fixture
def vm_in(one, make, gid):
    """Makes a VM of the group in a state."""

    def vm_in(name):
        action, reached = WAYS[name]
        size = 'CPU="9000"\nMEMORY="64"' if name == "PENDING" else 'CPU="0.1"\nMEMORY="64"'
        held = name in {"HOLD", "DONE"}
        template = make.template(size=size)
        arguments = template, make.name("vm"), held, f'AS_GID="{gid}"', False
        vm = make.kept("vm", one.ok("one.template.instantiate", *arguments))
        if not held and name != "PENDING":
            make.running(vm)
        if action:
            one.ok("one.vm.action", action, vm)
        make.reached(vm, *reached)
        return vm

    return vm_in


@pytest.mark.parametrize("name", [*DOWN, "HOLD", "PENDING", "DONE"])
@pytest.mark.parametrize(
    ("operation", "what"), [(FAIL, "recover operation"), (SUCCEED, "recover operation"), (RETRY, "retry")]
)
def test_a_vm_that_is_not_active_needs_no_recovery(one, vm_in, name, operation, what):
    vm = vm_in(name)
    text = f"Could not perform a {what} on VM {vm}, wrong state {name}."
    assert one.fails(2048, text, "one.vm.recover", vm, operation) == -1
    assert state(one, vm) == WAYS[name][1]


@pytest.mark.parametrize("operation", [FAIL, SUCCEED, RETRY])
def test_a_vm_that_runs_is_recovered_without_any_change(one, vm_in, operation):
    vm = vm_in("RUNNING")
    assert one.ok("one.vm.recover", vm, operation) == vm
    assert state(one, vm) == (3, 3)
    assert actions(one, vm) == [0]


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("operation", [DELETE, DELETE_DB])
def test_a_vm_is_deleted_in_any_state_and_nothing_of_it_is_counted(one, make, gid, vm_in, name, operation):
    vm = vm_in(name)
    assert one.ok("one.vm.recover", vm, operation) == vm
    make.reached(vm, 6)
    one.until(lambda x: len(x.find("VM_QUOTA")) == 0, "one.group.info", gid)


@pytest.mark.parametrize("name", ["RUNNING", *DOWN, "HOLD"])
def test_a_vm_is_made_anew_and_counted_once(one, make, gid, vm_in, name):
    vm = vm_in(name)
    records = len(actions(one, vm))
    assert one.ok("one.vm.recover", vm, RECREATE) == vm
    one.until(lambda x: len(x.findall("HISTORY_RECORDS/HISTORY")) > records, "one.vm.info", vm)
    make.running(vm)
    assert actions(one, vm) == ([14, 0] if records else [0])
    one.until(lambda x: x.findtext("VM_QUOTA/VM/RUNNING_VMS_USED") == "1", "one.group.info", gid)
    assert used(one, gid) == ALLOCATED | COUNTED_RUNNING


def test_a_vm_that_waits_for_a_host_still_waits_when_it_is_made_anew(one, vm_in):
    vm = vm_in("PENDING")
    assert one.ok("one.vm.recover", vm, RECREATE) == vm
    assert state(one, vm) == (1, 0)


def test_a_vm_that_is_done_is_not_made_anew(one, vm_in):
    text = "Cannot delete-recreate a VM already in DONE state"
    one.fails(2048, text, "one.vm.recover", vm_in("DONE"), RECREATE)


def test_a_vm_is_made_anew_only_within_the_quota(one, gid, vm_in):
    vm = vm_in("UNDEPLOYED")
    one.ok("one.group.quota", gid, 'VM=[RUNNING_VMS="0"]')
    text = f"Group [{gid}] limit of 0 reached for RUNNING_VMS quota in VM"
    one.fails(2048, text, "one.vm.recover", vm, RECREATE)
    assert state(one, vm) == (9, 0)


@pytest.mark.parametrize("operation", [-1, 6, 99])
def test_an_operation_that_does_not_exist(one, vm_in, operation):
    one.fails(2048, "Wrong recovery operation code", "one.vm.recover", vm_in("HOLD"), operation)


def test_a_missing_vm(one):
    text = "Error getting virtual machine [99999999]."
    assert one.fails(1024, text, "one.vm.recover", 99999999, DELETE) == 99999999


@pytest.mark.parametrize("operation", [FAIL, SUCCEED, RETRY, DELETE, RECREATE, DELETE_DB])
def test_a_tenant_recovers_none_of_its_vms(tenant, make, operation):
    template = make.kept("template", tenant.one.ok("one.template.allocate", 'NAME="t"\nCPU="0.1"\nMEMORY="64"'))
    vm = make.vm(template, one=tenant.one, hold=True)
    text = f"User [{tenant.uid}] : Not authorized to perform ADMIN VM [{vm}]."
    tenant.one.fails(512, text, "one.vm.recover", vm, operation)


@pytest.mark.parametrize("action", ["resched", "unresched"])
def test_a_tenant_does_not_choose_hosts(tenant, make, action):
    template = make.kept("template", tenant.one.ok("one.template.allocate", 'NAME="t"\nCPU="0.1"\nMEMORY="64"'))
    vm = make.vm(template, one=tenant.one, hold=True)
    text = f"User [{tenant.uid}] : Not authorized to perform ADMIN VM [{vm}]."
    tenant.one.fails(512, text, "one.vm.action", action, vm)


def test_a_group_decides_which_right_an_operation_needs(one, make, tenant):
    template = make.kept("template", tenant.one.ok("one.template.allocate", 'NAME="t"\nCPU="0.1"\nMEMORY="64"'))
    vm = make.vm(template, one=tenant.one, hold=True)
    one.ok("one.group.update", tenant.gid, 'VM_MANAGE_OPERATIONS="delete"\nVM_ADMIN_OPERATIONS="hold, release"', 1)
    text = f"User [{tenant.uid}] : Not authorized to perform ADMIN VM [{vm}]."
    tenant.one.fails(512, text, "one.vm.action", "release", vm)
    assert tenant.one.ok("one.vm.recover", vm, DELETE) == vm
    make.reached(vm, 6)
