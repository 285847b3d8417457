"""Drivers of VMs that fail, hang or take long: for one VM or all, once or for ever, in every stage of a VM's life."""

import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from xmlrpc.client import ServerProxy

import pytest

from opennebula_tenancy.emulator import Config, Emulator, monitoring


FAIL, SUCCEED, RETRY, DELETE, RECREATE, DELETE_DB = range(6)
RUNNING, DONE, POWEROFF = (3, 3), (6, 0), (8, 0)


class Cloud:
    """A populated server, its drivers, and a group whose VMs are counted. Time passes only in `settle`."""

    def __init__(self, server: Emulator) -> None:
        self.server = server
        self.drivers = server.cloud.driver_actions
        self.proxy = ServerProxy(server.endpoint)
        self.gid = self.ok("one.group.allocate", "g")

    def call(self, name: str, *arguments):
        method = self.proxy
        for part in name.split("."):
            method = getattr(method, part)
        return method(self.server.auth, *arguments)

    def ok(self, name: str, *arguments):
        success, value, *_ = self.call(name, *arguments)
        assert success, value
        return value

    def settle(self) -> None:
        self.server.settle()

    def started(self, extra: str = "") -> int:
        vm = self.ok("one.template.instantiate", 0, "vm", False, f"AS_GID={self.gid}\n{extra}", False)
        self.settle()
        return vm

    def act(self, action: str, vm: int) -> tuple[int, int]:
        self.ok("one.vm.action", action, vm)
        return self.reached(vm)

    def recover(self, vm: int, operation: int) -> tuple[int, int]:
        self.ok("one.vm.recover", vm, operation)
        return self.reached(vm)

    def reached(self, vm: int) -> tuple[int, int]:
        """Where a VM is once nothing moves any more."""
        self.settle()
        info = self.info(vm)
        return int(info.findtext("STATE")), int(info.findtext("LCM_STATE"))

    def info(self, vm: int) -> ET.Element:
        return ET.fromstring(self.ok("one.vm.info", vm))

    def error(self, vm: int) -> str | None:
        return self.info(vm).findtext("USER_TEMPLATE/ERROR")

    def used(self) -> dict[str, str]:
        row = ET.fromstring(self.ok("one.group.info", self.gid)).find("VM_QUOTA/VM")
        counted = {item.tag: item.text for item in (row if row is not None else ()) if item.tag.endswith("_USED")}
        return {name.removesuffix("_USED"): text for name, text in counted.items() if text != "0"}

    def host(self, vm: int) -> tuple[str, str, str]:
        """What the VM's host has given away: VMs, CPU, memory."""
        hid = int(self.info(vm).findtext("HISTORY_RECORDS/HISTORY[last()]/HID"))
        share = ET.fromstring(self.ok("one.host.info", hid)).find("HOST_SHARE")
        return tuple(share.findtext(name) for name in ("RUNNING_VMS", "CPU_USAGE", "MEM_USAGE"))


def opened(**settings) -> Iterator[Cloud]:
    with Emulator(populated=True, config=Config(step_s=1000.0, **settings)) as server:
        yield Cloud(server)


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    yield from opened()


@pytest.fixture
def live() -> Iterator[Cloud]:
    """A cloud whose driver resizes running VMs."""
    yield from opened(live_resize=True)


FIRST = {"CPU": "1", "MEMORY": "512", "SYSTEM_DISK_SIZE": "2048", "VMS": "1"}
COUNTED_RUNNING = {"RUNNING_CPU": "1", "RUNNING_MEMORY": "512", "RUNNING_VMS": "1"}


# How often, and for whom


def test_an_action_fails_as_often_as_it_was_told_to(cloud):
    cloud.drivers.fail("deploy", times=2)
    assert [cloud.reached(cloud.started()) for _ in range(3)] == [(3, 36), (3, 36), RUNNING]


def test_an_action_fails_for_one_vm_only(cloud):
    first, second = cloud.started(), cloud.started()
    cloud.drivers.fail("cancel", oid=first)
    assert [cloud.act("poweroff-hard", vm) for vm in (first, second)] == [RUNNING, POWEROFF]
    cloud.drivers.mend()
    assert cloud.act("poweroff-hard", first) == POWEROFF


def test_an_action_that_fails_by_its_seconds_fails_for_all(cloud):
    cloud.drivers["save"] = None
    assert cloud.act("suspend", cloud.started()) == RUNNING


def test_what_a_driver_says_is_the_error_of_the_vm(cloud):
    cloud.drivers.fail("shutdown", message="guest does not react")
    vm = cloud.started()
    assert cloud.act("poweroff", vm) == RUNNING
    assert re.fullmatch(r".* \d{4}: SHUTDOWN: guest does not react", cloud.error(vm))


def test_a_long_error_is_cut(cloud):
    cloud.drivers.fail("deploy", message="x" * 200)
    vm = cloud.started()
    assert cloud.error(vm).partition(": ")[2] == f"DEPLOY: {'x' * 92}... see more details in VM log"


# Transfers


@pytest.mark.parametrize(
    ("down", "failure"), [(None, (3, 39)), ("stop", (3, 49)), ("undeploy", (3, 50)), ("undeploy-hard", (3, 50))]
)
def test_a_vm_whose_disks_do_not_reach_its_host(cloud, down, failure):
    if down:
        vm = cloud.started()
        cloud.act(down, vm)
        cloud.drivers.fail("prolog", message="no space left on device")
        assert cloud.act("resume", vm) == failure
    else:
        cloud.drivers.fail("prolog", message="no space left on device")
        vm = cloud.started()
        assert cloud.reached(vm) == failure
    assert cloud.error(vm).endswith(": Error executing image transfer script: no space left on device")
    assert cloud.used() == FIRST | COUNTED_RUNNING
    assert cloud.recover(vm, FAIL) == failure
    assert cloud.recover(vm, RETRY) == failure
    cloud.drivers.mend()
    assert cloud.recover(vm, RETRY) == RUNNING
    assert cloud.act("terminate", vm) == DONE
    assert cloud.used() == {}


@pytest.mark.parametrize(
    ("action", "failure", "rest"),
    [("stop", (3, 41), (4, 0)), ("undeploy", (3, 42), (9, 0)), ("terminate-hard", (3, 40), DONE)],
)
def test_a_vm_whose_disks_do_not_leave_its_host(cloud, action, failure, rest):
    vm = cloud.started()
    cloud.drivers.fail("epilog")
    assert cloud.act(action, vm) == failure
    assert cloud.used() == FIRST | COUNTED_RUNNING
    assert cloud.host(vm) == ("1", "100", "524288")
    assert cloud.recover(vm, SUCCEED) == rest
    assert cloud.host(vm) == ("0", "0", "0")
    assert cloud.used() == ({} if rest == DONE else FIRST)


@pytest.mark.parametrize("driver", ["prolog", "deploy"])
def test_a_vm_that_failed_is_terminated_and_frees_its_host(cloud, driver):
    cloud.drivers.fail(driver)
    vm = cloud.started()
    assert cloud.act("terminate-hard", vm) == DONE
    assert (cloud.used(), cloud.host(vm)) == ({}, ("0", "0", "0"))


def test_a_vm_that_could_not_be_moved_runs_where_it_was(cloud):
    vm = cloud.started()
    hid = cloud.info(vm).findtext("HISTORY_RECORDS/HISTORY/HID")
    cloud.drivers.fail("migrate")
    assert cloud.act("resched", vm) == RUNNING
    records = [item.text for item in cloud.info(vm).findall("HISTORY_RECORDS/HISTORY/HID")]
    assert (records[0], records[1] == hid, records[2]) == (hid, False, hid)
    assert cloud.host(vm) == ("1", "100", "524288")
    assert cloud.used() == FIRST | COUNTED_RUNNING


@pytest.mark.parametrize("operation", [DELETE, DELETE_DB, RECREATE])
@pytest.mark.parametrize("driver", ["prolog", "deploy", "cancel", "epilog", "resize_disk"])
def test_a_vm_that_hangs_anywhere_is_rid_of_and_leaves_its_host(cloud, driver, operation):
    cloud.drivers.hang(driver, times=1)
    vm = cloud.started()
    if driver == "resize_disk":
        cloud.ok("one.vm.diskresize", vm, 0, "4096")
    elif driver in {"cancel", "epilog"}:
        cloud.act("terminate-hard", vm)
    before = cloud.reached(vm)
    assert before not in {RUNNING, DONE}
    assert cloud.recover(vm, operation) == (RUNNING if operation == RECREATE else DONE)
    grown = {"SYSTEM_DISK_SIZE": "2048"} if driver == "resize_disk" else {}
    if operation == RECREATE:
        assert cloud.host(vm) == ("1", "100", "524288")
        assert cloud.used() == FIRST | COUNTED_RUNNING | ({"SYSTEM_DISK_SIZE": "4096"} if grown else {})
    else:
        assert (cloud.used(), cloud.host(vm)) == ({} if operation == DELETE_DB else grown, ("0", "0", "0"))


def test_a_driver_that_answers_after_its_vm_was_recovered_changes_nothing(cloud):
    vm = cloud.started()
    cloud.drivers["cancel"] = 5000.0
    cloud.ok("one.vm.action", "poweroff-hard", vm)
    with cloud.server.cloud.lock:
        cloud.server.cloud.advance(time.monotonic() + 1500)
    assert cloud.info(vm).findtext("LCM_STATE") == "18"
    cloud.ok("one.vm.recover", vm, FAIL)
    assert cloud.reached(vm) == RUNNING


# Sizes


def test_a_running_vm_is_resized(live):
    vm = live.started()
    live.ok("one.vm.resize", vm, "CPU=2\nVCPU=4\nMEMORY=1024", True)
    info = live.info(vm)
    assert (info.findtext("LCM_STATE"), info.findtext("TEMPLATE/RESIZE/CPU")) == ("66", "1")
    text = live.call("one.vm.resize", vm, "CPU=3", True)[1]
    assert text == "[one.vm.resize] Cannot resize a VM in state HOTPLUG_RESIZE"
    assert live.reached(vm) == RUNNING
    found = live.info(vm).find("TEMPLATE")
    assert [found.findtext(name) for name in ("CPU", "VCPU", "MEMORY", "RESIZE")] == ["2", "4", "1024", None]
    sizes = {"CPU": "2", "MEMORY": "1024", "RUNNING_CPU": "2", "RUNNING_MEMORY": "1024"}
    assert live.used() == FIRST | COUNTED_RUNNING | sizes
    assert live.host(vm) == ("1", "200", "1048576")


@pytest.mark.parametrize("how", ["fail", "hang"])
def test_a_running_vm_that_cannot_be_resized_has_its_old_size(live, how):
    vm = live.started("VCPU=2")
    getattr(live.drivers, how)("resize")
    live.ok("one.vm.resize", vm, "CPU=2\nVCPU=4\nMEMORY=1024", True)
    if how == "hang":
        assert live.reached(vm) == (3, 66)
        live.ok("one.vm.recover", vm, FAIL)
    assert live.reached(vm) == RUNNING
    found = live.info(vm).find("TEMPLATE")
    assert [found.findtext(name) for name in ("CPU", "VCPU", "MEMORY", "RESIZE")] == ["1", "2", "512", None]
    assert live.used() == FIRST | COUNTED_RUNNING
    assert live.host(vm) == ("1", "100", "524288")


def test_a_running_vm_that_has_the_size_already_is_left_alone(live):
    vm = live.started()
    live.drivers.fail("resize")
    live.ok("one.vm.resize", vm, "CPU=1\nMEMORY=512", True)
    assert live.reached(vm) == RUNNING


def test_a_running_vm_fits_its_host(live):
    vm = live.started()
    code, text = live.call("one.vm.resize", vm, "CPU=9000", True)[2:0:-1]
    assert (code, text[:16]) == (2048, "[one.vm.resize] ")
    assert "Not enough CPU: 900000/" in text
    assert (live.reached(vm), live.used()) == (RUNNING, FIRST | COUNTED_RUNNING)


# Images


def image_state(cloud: Cloud, image: int) -> tuple[str, str]:
    info = ET.fromstring(cloud.ok("one.image.info", image))
    return info.findtext("STATE"), info.findtext("TEMPLATE/ERROR", "").partition(" : ")[2]


@pytest.mark.parametrize(
    ("template", "driver", "problem"),
    [
        ("TYPE=DATABLOCK\nSIZE=5", "mkfs", "Error creating datablock"),
        ("TYPE=OS\nPATH=/x", "cp", "Error copying image in the datastore"),
    ],
)
def test_an_image_that_cannot_be_made_is_in_error_and_used_by_no_vm(cloud, template, driver, problem):
    cloud.drivers.fail(driver, message="no space", times=1)
    image = cloud.ok("one.image.allocate", f"NAME=i\n{template}", 1)
    cloud.settle()
    assert image_state(cloud, image) == ("5", f"{problem}: no space")
    disk = f"DISK=[IMAGE_ID={image}]"
    text = cloud.call("one.template.instantiate", 0, "vm", True, disk, False)[1]
    assert text.endswith(f"DISK 0: Cannot acquire image {image}, it is in state: ERROR")
    cloud.ok("one.image.delete", image)
    cloud.settle()
    assert cloud.call("one.image.info", image)[2] == 0x400


def test_a_copy_that_cannot_be_made_leaves_its_original_ready(cloud):
    cloud.drivers.fail("clone")
    copy = cloud.ok("one.image.clone", 0, "copy")
    cloud.settle()
    assert image_state(cloud, copy) == ("5", "Error cloning from Image 0")
    assert image_state(cloud, 0) == ("1", "")


def test_a_vm_whose_image_cannot_be_made_fails_with_it_and_is_recovered_or_terminated(cloud):
    cloud.drivers.fail("clone")
    vms = [cloud.ok("one.template.instantiate", 0, name, False, "", True) for name in ("a", "b")]
    assert [cloud.reached(vm) for vm in vms] == [(11, 0)] * 2
    assert cloud.recover(vms[0], SUCCEED) == (11, 0)
    text = cloud.call("one.vm.action", "poweroff", vms[0])[1]
    assert text.endswith("This action is not available for state CLONING_FAILURE")
    assert cloud.act("terminate", vms[0]) == DONE
    assert cloud.recover(vms[1], DELETE) == DONE


# What happens by itself


def test_a_guest_that_shuts_down_is_off_and_resumes(cloud):
    vm = cloud.started()
    monitoring.shut_down(cloud.server.cloud, vm)
    assert (cloud.reached(vm), cloud.used()) == (POWEROFF, FIRST)
    assert cloud.info(vm).findtext("HISTORY_RECORDS/HISTORY/ACTION") == "44"
    assert cloud.act("resume", vm) == RUNNING
    assert cloud.used() == FIRST | COUNTED_RUNNING


@pytest.mark.parametrize(
    ("action", "reached"),
    [
        ("poweroff", POWEROFF),
        ("poweroff-hard", POWEROFF),
        ("undeploy", (9, 0)),
        ("terminate", DONE),
        ("terminate-hard", DONE),
        ("resume", RUNNING),
    ],
)
def test_what_can_be_done_to_a_vm_that_its_host_has_lost(cloud, action, reached):
    vm = cloud.started()
    monitoring.lost(cloud.server.cloud, vm)
    assert (cloud.reached(vm), cloud.used()) == ((3, 16), FIRST | COUNTED_RUNNING)
    assert cloud.act(action, vm) == reached


@pytest.mark.parametrize("action", ["suspend", "stop", "reboot", "hold", "release"])
def test_what_cannot_be_done_to_a_vm_that_its_host_has_lost(cloud, action):
    vm = cloud.started()
    monitoring.lost(cloud.server.cloud, vm)
    text = f'[one.vm.action] Error performing action "{action}": This action is not available for state UNKNOWN'
    assert cloud.call("one.vm.action", action, vm)[1:3] == [text, 2048]


def test_a_vm_that_is_found_again_runs_whatever_the_quota_says(cloud):
    vm = cloud.started()
    cloud.act("poweroff-hard", vm)
    cloud.ok("one.group.quota", cloud.gid, "VM=[RUNNING_VMS=0]")
    monitoring.found(cloud.server.cloud, vm)
    assert (cloud.reached(vm), cloud.used()["RUNNING_VMS"]) == (RUNNING, "1")
    monitoring.lost(cloud.server.cloud, vm)
    monitoring.found(cloud.server.cloud, vm)
    assert cloud.reached(vm) == RUNNING
