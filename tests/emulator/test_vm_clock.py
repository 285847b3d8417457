"""VMs on a clock that the test moves: no step happens until it is asked for, and none takes time."""

import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from xmlrpc.client import ServerProxy

import pytest

from opennebula_tenancy.emulator import Config, Emulator


STEP_S = 1000.0
"""Seconds of a step, which no test waits for."""


class Clocked:
    """A populated server whose asynchronous work waits for `step` or `settle`."""

    def __init__(self, server: Emulator) -> None:
        self.server = server
        self.proxy = ServerProxy(server.endpoint)
        self.now = time.monotonic()

    def __call__(self, name: str, *arguments):
        method = self.proxy
        for part in name.split("."):
            method = getattr(method, part)
        return method(self.server.auth, *arguments)

    def ok(self, name: str, *arguments):
        success, value, *_ = self(name, *arguments)
        assert success, value
        return value

    def step(self, steps: int = 1) -> None:
        """Let that many steps of time pass."""
        self.now += steps * STEP_S + 1
        with self.server.cloud.lock:
            self.server.cloud.advance(self.now)

    def settle(self) -> None:
        self.server.settle()

    def vm(self, oid: int) -> ET.Element:
        return ET.fromstring(self.ok("one.vm.info", oid))

    def state(self, oid: int) -> tuple[str, str]:
        vm = self.vm(oid)
        return vm.findtext("STATE"), vm.findtext("LCM_STATE")

    def used(self, gid: int, metric: str) -> str | None:
        return ET.fromstring(self.ok("one.group.info", gid)).findtext(f"VM_QUOTA/VM/{metric}_USED")

    def started(self, extra: str = "") -> int:
        return self.ok("one.template.instantiate", 0, "vm", False, extra, False)


@pytest.fixture
def clocked() -> Iterator[Clocked]:
    with Emulator(populated=True, config=Config(step_s=STEP_S)) as server:
        yield Clocked(server)


def test_a_vm_stays_pending_until_time_passes(clocked):
    vm = clocked.started()
    assert [clocked.state(vm) for _ in range(3)] == [("1", "0")] * 3
    seen = []
    while clocked.state(vm) != ("3", "3"):
        clocked.step()
        seen.append(clocked.state(vm))
        assert len(seen) < 10
    assert list(dict.fromkeys(seen)) == [("1", "0"), ("3", "0"), ("3", "1"), ("3", "2"), ("3", "3")]


def test_an_action_returns_before_the_state_changes(clocked):
    vm = clocked.started()
    clocked.settle()
    clocked.ok("one.vm.action", "terminate-hard", vm)
    assert clocked.state(vm) == ("3", "3")
    seen = []
    while clocked.state(vm) != ("6", "0"):
        clocked.step()
        seen.append(clocked.state(vm))
        assert len(seen) < 10
    assert seen == [("3", "12"), ("3", "11"), ("6", "0")]


def test_a_network_is_no_network_yet(clocked):
    template = "NAME=n\nVN_MAD=bridge\nAR=[TYPE=IP4,IP=10.0.0.1,SIZE=2]"
    network = clocked.ok("one.vn.allocate", template, 0)
    nic = f"NIC=[NETWORK_ID={network}]"
    success, text, code, *_ = clocked("one.template.instantiate", 0, "vm", False, nic, False)
    assert (success, code) == (False, 16384)
    assert f"Cannot get IP/MAC lease from virtual network {network}." in text
    assert clocked("one.vn.delete", network)[2] == 2048
    clocked.step()
    clocked.started(nic)


def test_a_vm_that_fails_to_boot_says_so_and_can_be_terminated(clocked):
    gid = clocked.ok("one.group.allocate", "g")
    clocked.server.cloud.driver_actions["deploy"] = None
    vm = clocked.started(f"AS_GID={gid}")
    clocked.settle()
    assert clocked.state(vm) == ("3", "36")
    assert re.fullmatch(r".* \d{4}: DEPLOY: dummy\d:vm:dummy", clocked.vm(vm).findtext("USER_TEMPLATE/ERROR"))
    assert clocked.used(gid, "VMS") == "1"
    clocked.ok("one.vm.action", "terminate-hard", vm)
    clocked.settle()
    assert clocked.state(vm) == ("6", "0")
    assert clocked.used(gid, "VMS") is None


def test_a_disk_that_cannot_grow_has_its_old_size_and_costs_nothing(clocked):
    gid = clocked.ok("one.group.allocate", "g")
    clocked.server.cloud.driver_actions["resize_disk"] = None
    vm = clocked.started(f"AS_GID={gid}")
    clocked.settle()
    clocked.ok("one.vm.diskresize", vm, 0, "4096")
    assert (clocked.state(vm), clocked.used(gid, "SYSTEM_DISK_SIZE")) == (("3", "62"), "4096")
    clocked.settle()
    disk = clocked.vm(vm).find("TEMPLATE/DISK")
    assert (clocked.state(vm), disk.findtext("SIZE"), disk.find("SIZE_PREV")) == (("3", "3"), "2048", None)
    assert clocked.used(gid, "SYSTEM_DISK_SIZE") == "2048"


@pytest.mark.parametrize(
    ("action", "driver"), [("poweroff", "shutdown"), ("poweroff-hard", "cancel"), ("suspend", "save")]
)
def test_a_vm_that_cannot_be_stopped_runs_on(clocked, action, driver):
    clocked.server.cloud.driver_actions.fail(driver)
    vm = clocked.started()
    clocked.settle()
    clocked.ok("one.vm.action", action, vm)
    clocked.settle()
    assert clocked.state(vm) == ("3", "3")
    assert clocked.vm(vm).find("USER_TEMPLATE/ERROR") is None


ROUNDS = {
    "poweroff-hard": ("resume", "1"),
    "suspend": ("resume", "1"),
    "stop": ("resume", "1"),
    "undeploy": ("resume", "1"),
}


@pytest.mark.parametrize("action", ROUNDS)
def test_running_is_counted_exactly_while_it_runs(clocked, action):
    gid = clocked.ok("one.group.allocate", "g")
    vm = clocked.started(f"AS_GID={gid}")
    clocked.settle()
    assert clocked.used(gid, "RUNNING_VMS") == "1"
    for _ in range(2):
        clocked.ok("one.vm.action", action, vm)
        clocked.settle()
        assert (clocked.used(gid, "RUNNING_VMS"), clocked.used(gid, "VMS")) == ("0", "1")
        clocked.ok("one.vm.action", "resume", vm)
        clocked.settle()
        assert (clocked.used(gid, "RUNNING_VMS"), clocked.state(vm)) == ("1", ("3", "3"))
    clocked.ok("one.vm.action", action, vm)
    clocked.settle()
    clocked.ok("one.vm.action", "terminate", vm)
    clocked.settle()
    assert clocked.used(gid, "VMS") is None


def test_capacity_that_comes_free_goes_to_a_vm_that_waits(clocked):
    whole = [clocked.started("CPU=8") for _ in range(3)]
    clocked.settle()
    waiting = clocked.started("CPU=8")
    clocked.settle()
    assert clocked.state(waiting) == ("1", "0")
    assert "Not enough CPU on hosts: 0,1,2" in clocked.vm(waiting).findtext("USER_TEMPLATE/SCHED_MESSAGE")
    clocked.ok("one.vm.action", "terminate-hard", whole[0])
    clocked.settle()
    assert clocked.state(waiting) == ("3", "3")
    assert clocked.vm(waiting).find("USER_TEMPLATE/SCHED_MESSAGE") is None


def test_a_persistent_vm_waits_for_its_image(clocked):
    vm = clocked.ok("one.template.instantiate", 0, "mine", False, "", True)
    assert clocked.state(vm) == ("10", "0")
    clocked.settle()
    assert clocked.state(vm) == ("3", "3")
    image = int(clocked.vm(vm).findtext("TEMPLATE/DISK/IMAGE_ID"))
    assert ET.fromstring(clocked.ok("one.image.info", image)).findtext("STATE") == "8"


def test_a_vm_that_is_to_be_moved_runs_on_another_host(clocked):
    vm = clocked.started()
    clocked.settle()
    before = clocked.vm(vm).findtext("HISTORY_RECORDS/HISTORY/HID")
    clocked.ok("one.vm.action", "resched", vm)
    assert clocked.vm(vm).findtext("RESCHED") == "1"
    clocked.settle()
    after = clocked.vm(vm)
    assert (clocked.state(vm), after.findtext("RESCHED")) == (("3", "3"), "0")
    assert after.findall("HISTORY_RECORDS/HISTORY/HID")[-1].text != before


def test_a_move_that_is_called_off_does_not_happen(clocked):
    vm = clocked.started()
    clocked.settle()
    clocked.ok("one.vm.action", "resched", vm)
    clocked.ok("one.vm.action", "unresched", vm)
    clocked.settle()
    assert len(clocked.vm(vm).findall("HISTORY_RECORDS/HISTORY")) == 1
