"""VMs whose drivers fail or never answer: where that leaves them, what is allowed then, and how they are recovered."""

import re

import pytest

from conformance.vms import actions, disks, server_with_drivers, state, used


pytestmark = pytest.mark.live

RUNNING, DONE, POWEROFF, SUSPENDED, STOPPED, UNDEPLOYED = (3, 3), (6, 0), (8, 0), (5, 0), (4, 0), (9, 0)
BOOT_FAILURE, BOOT_UNDEPLOY_FAILURE, BOOT_STOPPED_FAILURE = (3, 36), (3, 47), (3, 48)
FAIL, SUCCEED, RETRY, DELETE, RECREATE, DELETE_DB = range(6)
ALLOCATED = {"CPU": "0.10", "MEMORY": "64", "SYSTEM_DISK_SIZE": "100", "VMS": "1"}
COUNTED_RUNNING = {"RUNNING_CPU": "0.10", "RUNNING_MEMORY": "64", "RUNNING_VMS": "1"}


@pytest.fixture(scope="module")
def server():
    with server_with_drivers() as found:
        yield found


@pytest.fixture
def one(server):
    return server[0]


@pytest.fixture
def drivers(server):
    return server[1]


@pytest.fixture
def gid(make):
    return make.group()


@pytest.fixture
def template(one, make):
    image = make.kept(
        "image", one.ok("one.image.allocate", f'NAME="{make.name("i")}"\nTYPE="DATABLOCK"\nSIZE="100"', 1)
    )
    one.until(lambda x: x.findtext("STATE") == "1", "one.image.info", image)
    return make.template(f'DISK=[IMAGE_ID="{image}"]')


@pytest.fixture
def begun(one, make, template, gid):
    """Makes a VM of the group that nobody waited for."""

    def begin():
        name = make.name("vm")
        return make.kept("vm", one.ok("one.template.instantiate", template, name, False, f'AS_GID="{gid}"', False))

    return begin


@pytest.fixture
def vm(make, begun):
    """A VM of the group that runs."""
    vm = begun()
    make.running(vm)
    return vm


@pytest.fixture
def act(one, make):
    """Lets a VM do something, and waits until it is somewhere."""

    def act(action, vm, *reached):
        one.ok("one.vm.action", action, vm)
        make.reached(vm, *reached)

    return act


@pytest.fixture
def failed(make, begun, drivers):
    """A VM that failed to boot."""
    with drivers.failing("deploy"):
        vm = begun()
        make.reached(vm, *BOOT_FAILURE)
    return vm


def test_a_vm_that_fails_to_boot_says_why_and_stays_counted(one, gid, failed):
    info = one.xml("one.vm.info", failed)
    host = info.findtext("HISTORY_RECORDS/HISTORY/HOSTNAME")
    words = f"DEPLOY: {host}:{info.findtext('NAME')}:dummy"
    assert info.findtext("USER_TEMPLATE/ERROR").partition(": ")[2][: len(words)] == words[:100]
    assert used(one, gid) == ALLOCATED | COUNTED_RUNNING


OTHERS = ["poweroff", "poweroff-hard", "resume", "suspend", "stop", "undeploy", "undeploy-hard", "hold", "release"]


@pytest.mark.parametrize("action", [*OTHERS, "reboot", "reboot-hard", "resched", "unresched"])
def test_a_vm_that_failed_to_boot_can_only_be_terminated(one, failed, action):
    text = f'Error performing action "{action}": This action is not available for state BOOT_FAILURE'
    one.fails(2048, text, "one.vm.action", action, failed)


def test_a_vm_that_failed_to_boot_has_the_size_it_has(one, failed):
    text = "Cannot resize a VM in state BOOT_FAILURE"
    one.fails(2048, text, "one.vm.resize", failed, 'CPU="0.2"', False)
    text = f"Could not resize disk for VM {failed}, wrong state BOOT_FAILURE."
    one.fails(2048, text, "one.vm.diskresize", failed, 0, "200")


@pytest.mark.parametrize("action", ["terminate", "terminate-hard"])
def test_a_vm_that_failed_to_boot_is_terminated(one, act, gid, failed, action):
    act(action, failed, *DONE)
    one.until(lambda x: len(x.find("VM_QUOTA")) == 0, "one.group.info", gid)


def test_a_failure_is_confirmed_tried_again_and_declared_a_success(one, make, drivers, failed):
    assert one.ok("one.vm.recover", failed, FAIL) == failed
    assert state(one, failed) == BOOT_FAILURE
    with drivers.failing("deploy"):
        assert one.ok("one.vm.recover", failed, RETRY) == failed
        make.reached(failed, *BOOT_FAILURE)
    assert one.ok("one.vm.recover", failed, SUCCEED) == failed
    make.running(failed)


def test_a_boot_that_is_tried_again_may_succeed_and_the_error_stays(one, make, failed):
    one.ok("one.vm.recover", failed, RETRY)
    make.running(failed)
    assert "DEPLOY: " in one.xml("one.vm.info", failed).findtext("USER_TEMPLATE/ERROR")


@pytest.mark.parametrize(
    ("down", "rest", "driver"), [("poweroff-hard", POWEROFF, "deploy"), ("suspend", SUSPENDED, "restore")]
)
def test_a_resume_that_fails_leaves_a_vm_where_it_was_but_counted_as_running(
    one, act, make, drivers, gid, vm, down, rest, driver
):
    act(down, vm, *rest)
    one.until(lambda x: x.findtext("VM_QUOTA/VM/RUNNING_VMS_USED") == "0", "one.group.info", gid)
    records = len(actions(one, vm))
    with drivers.failing(driver):
        assert one.ok("one.vm.action", "resume", vm) == vm
        one.until(lambda x: len(x.findall("HISTORY_RECORDS/HISTORY")) > records, "one.vm.info", vm)
        make.reached(vm, *rest)
    assert used(one, gid) == ALLOCATED | COUNTED_RUNNING
    assert actions(one, vm)[-1] == 11
    act("resume", vm, *RUNNING)
    assert used(one, gid)["RUNNING_VMS"] == "2"


@pytest.mark.parametrize(
    ("down", "rest", "driver", "failure"),
    [
        ("undeploy-hard", UNDEPLOYED, "deploy", BOOT_UNDEPLOY_FAILURE),
        ("stop", STOPPED, "restore", BOOT_STOPPED_FAILURE),
    ],
)
def test_a_vm_that_fails_to_come_back(one, act, make, drivers, gid, vm, down, rest, driver, failure):
    act(down, vm, *rest)
    with drivers.failing(driver):
        act("resume", vm, *failure)
        assert used(one, gid) == ALLOCATED | COUNTED_RUNNING
        one.ok("one.vm.recover", vm, RETRY)
        make.reached(vm, *failure)
    one.ok("one.vm.recover", vm, RETRY)
    make.running(vm)
    act(down, vm, *rest)
    with drivers.failing(driver):
        act("resume", vm, *failure)
    act("terminate", vm, *DONE)
    one.until(lambda x: len(x.find("VM_QUOTA")) == 0, "one.group.info", gid)


STOPS = [
    ("poweroff", "shutdown", (3, 18), POWEROFF),
    ("poweroff-hard", "cancel", (3, 18), POWEROFF),
    ("suspend", "save", (3, 6), SUSPENDED),
    ("stop", "save", (3, 5), STOPPED),
    ("undeploy", "shutdown", (3, 29), UNDEPLOYED),
    ("undeploy-hard", "cancel", (3, 29), UNDEPLOYED),
    ("terminate", "shutdown", (3, 12), DONE),
    ("terminate-hard", "cancel", (3, 12), DONE),
]


@pytest.mark.parametrize(("action", "driver", "at", "rest"), STOPS)
def test_a_vm_that_cannot_be_stopped_runs_on(one, act, make, drivers, gid, vm, action, driver, at, rest):
    with drivers.hanging(driver):
        act(action, vm, *at)
        one.ok("one.vm.recover", vm, FAIL)
        make.running(vm)
    assert actions(one, vm) == [0]
    assert one.xml("one.vm.info", vm).find("USER_TEMPLATE/ERROR") is None
    assert used(one, gid) == ALLOCATED | COUNTED_RUNNING


@pytest.mark.parametrize(("action", "driver", "at", "rest"), STOPS)
@pytest.mark.parametrize("operation", [SUCCEED, RETRY])
def test_a_driver_that_never_answers_is_overruled_or_asked_again(
    one, act, make, drivers, vm, action, driver, at, rest, operation
):
    with drivers.hanging(driver):
        act(action, vm, *at)
    assert one.ok("one.vm.recover", vm, operation) == vm
    make.reached(vm, *rest)


@pytest.mark.parametrize(("action", "driver", "at", "rest"), STOPS)
def test_nothing_else_is_done_to_a_vm_whose_driver_is_busy(one, act, drivers, vm, action, driver, at, rest):
    with drivers.hanging(driver):
        act(action, vm, *at)
        one.fails(2048, re.compile("Cannot resize a VM in state .*"), "one.vm.resize", vm, 'CPU="0.2"', False)
        refused = re.compile('Error performing action "suspend": This action is not available for state .*')
        one.fails(2048, refused, "one.vm.action", "suspend", vm)
        if action not in {"terminate", "terminate-hard"}:
            refused = re.compile(rf'Error performing action "terminate-hard": Could not terminate VM {vm}, wrong .*')
            one.fails(2048, refused, "one.vm.action", "terminate-hard", vm)
    one.ok("one.vm.recover", vm, DELETE)


@pytest.mark.parametrize(
    ("soft", "at", "rest"),
    [("poweroff", (3, 18), POWEROFF), ("undeploy", (3, 29), UNDEPLOYED), ("terminate", (3, 12), DONE)],
)
def test_a_stop_that_takes_too_long_is_made_a_hard_one(one, act, drivers, vm, soft, at, rest):
    with drivers.hanging("shutdown"):
        act(soft, vm, *at)
        act(f"{soft}-hard", vm, *rest)


@pytest.mark.parametrize(("operation", "rest"), [(DELETE, DONE), (DELETE_DB, DONE), (RECREATE, RUNNING)])
def test_a_vm_that_hangs_is_deleted_or_made_anew(one, act, make, drivers, gid, vm, operation, rest):
    with drivers.hanging("shutdown"):
        act("poweroff", vm, 3, 18)
    assert one.ok("one.vm.recover", vm, operation) == vm
    make.reached(vm, *rest)
    counted = ALLOCATED | COUNTED_RUNNING if rest == RUNNING else {}
    assert used(one, gid) == counted


# Disks


def test_a_running_disk_that_cannot_grow_has_its_old_size_and_costs_nothing(one, make, drivers, gid, vm):
    with drivers.failing("resize_disk"):
        assert one.ok("one.vm.diskresize", vm, 0, "300") == vm
        one.until(lambda x: len(x.findall("HISTORY_RECORDS/HISTORY")) == 2, "one.vm.info", vm)
        make.running(vm)
    (disk,) = disks(one, vm)
    assert (disk["SIZE"], "SIZE_PREV" in disk, "RESIZE" in disk) == ("100", False, False)
    one.until(lambda x: x.findtext("VM_QUOTA/VM/SYSTEM_DISK_SIZE_USED") == "100", "one.group.info", gid)


@pytest.mark.parametrize(("operation", "size"), [(FAIL, "100"), (SUCCEED, "300")])
def test_a_disk_whose_driver_never_answers_counts_as_grown_until_it_is_recovered(
    one, make, drivers, gid, vm, operation, size
):
    with drivers.hanging("resize_disk"):
        one.ok("one.vm.diskresize", vm, 0, "300")
        make.reached(vm, 3, 62)
        (disk,) = disks(one, vm)
        assert (disk["SIZE"], disk["SIZE_PREV"], disk["RESIZE"]) == ("300", "100", "YES")
        assert used(one, gid)["SYSTEM_DISK_SIZE"] == "300"
        text = f"Could not resize disk for VM {vm}, wrong state DISK_RESIZE."
        one.fails(2048, text, "one.vm.diskresize", vm, 0, "400")
        one.ok("one.vm.recover", vm, RETRY)
        assert state(one, vm) == (3, 62)
        one.ok("one.vm.recover", vm, operation)
        make.running(vm)
    assert disks(one, vm)[0]["SIZE"] == size
    one.until(lambda x: x.findtext("VM_QUOTA/VM/SYSTEM_DISK_SIZE_USED") == size, "one.group.info", gid)


def test_a_vm_deleted_while_its_disk_grows_leaves_the_growth_in_the_quota(one, make, drivers, gid, vm):
    with drivers.hanging("resize_disk"):
        one.ok("one.vm.diskresize", vm, 0, "300")
        make.reached(vm, 3, 62)
        one.ok("one.vm.recover", vm, DELETE)
        make.reached(vm, *DONE)
    one.until(lambda x: x.findtext("VM_QUOTA/VM/VMS_USED") == "0", "one.group.info", gid)
    assert used(one, gid) == {"SYSTEM_DISK_SIZE": "200"}


@pytest.mark.parametrize("how", ["failing", "hanging"])
def test_a_disk_that_cannot_be_attached_is_not_there_and_costs_nothing(one, make, drivers, gid, vm, how):
    with getattr(drivers, how)("attach_disk"):
        assert one.ok("one.vm.attach", vm, 'DISK=[TYPE="fs",SIZE="30",FORMAT="raw"]') == vm
        if how == "hanging":
            make.reached(vm, 3, 17)
            assert [disk.get("ATTACH") for disk in disks(one, vm)] == [None, "YES"]
            assert used(one, gid)["SYSTEM_DISK_SIZE"] == "130"
            one.ok("one.vm.recover", vm, FAIL)
        make.running(vm)
    assert len(disks(one, vm)) == 1
    one.until(lambda x: x.findtext("VM_QUOTA/VM/SYSTEM_DISK_SIZE_USED") == "100", "one.group.info", gid)


def test_a_disk_that_cannot_be_detached_stays(one, make, drivers, gid, vm):
    with drivers.failing("detach_disk"):
        assert one.ok("one.vm.detach", vm, 0) == vm
        make.running(vm)
    (disk,) = disks(one, vm)
    assert "ATTACH" not in disk
    assert used(one, gid) == ALLOCATED | COUNTED_RUNNING


def test_a_configuration_that_the_driver_refuses_is_kept(one, make, drivers):
    vm = make.vm(make.template('CONTEXT=[A="1"]'))
    with drivers.failing("update_conf"):
        assert one.ok("one.vm.updateconf", vm, 'CONTEXT=[A="2"]', 1) == vm
        make.running(vm)
    assert one.xml("one.vm.info", vm).findtext("TEMPLATE/CONTEXT/A") == "2"
    with drivers.hanging("update_conf"):
        one.ok("one.vm.updateconf", vm, 'CONTEXT=[A="3"]', 1)
        make.reached(vm, 3, 17)
        text = "configuration cannot be updated in state HOTPLUG"
        one.fails(8192, text, "one.vm.updateconf", vm, 'CONTEXT=[A="4"]', 1)
        one.ok("one.vm.recover", vm, SUCCEED)
        make.running(vm)
