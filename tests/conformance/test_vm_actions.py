"""VMs: actions, the states they lead to, and what is refused in which state."""

import pytest


pytestmark = pytest.mark.live

RUNNING, DONE, POWEROFF = (3, 3), (6, 0), (8, 0)
UNAVAILABLE = 'Error performing action "{}": This action is not available for state {}'


@pytest.fixture
def vm(make):
    """A VM that runs."""
    return make.vm(make.template())


@pytest.fixture
def held(make):
    """A VM on hold."""
    return make.vm(make.template(), hold=True)


@pytest.fixture
def done(make, held):
    """A VM that is DONE."""
    make.one.ok("one.vm.action", "terminate-hard", held)
    make.reached(held, *DONE)
    return held


def states(one, vm):
    info = one.xml("one.vm.info", vm)
    return int(info.findtext("STATE")), int(info.findtext("LCM_STATE"))


def test_a_vm_without_hold_starts_pending_and_runs(one, make):
    vm = make.kept("vm", one.ok("one.template.instantiate", make.template(), make.name("vm"), False, "", False))
    make.running(vm)
    history = one.xml("one.vm.info", vm).findall("HISTORY_RECORDS/HISTORY")
    assert [record.findtext("SEQ") for record in history] == ["0"]
    host = one.xml("one.host.info", int(history[0].findtext("HID")))
    assert host.findtext("NAME") == history[0].findtext("HOSTNAME")
    assert str(vm) in [item.text for item in host.find("VMS")]


def test_a_held_vm_runs_once_released(one, make, held):
    assert states(one, held) == (2, 0)
    assert one.ok("one.vm.action", "release", held) == held
    make.running(held)


def test_a_pending_vm_is_held(one, make):
    big = make.template(size='CPU="9000"\nMEMORY="64"')
    vm = make.kept("vm", one.ok("one.template.instantiate", big, make.name("vm"), False, "", False))
    make.reached(vm, 1)
    assert one.ok("one.vm.action", "hold", vm) == vm
    make.reached(vm, 2)


@pytest.mark.parametrize(
    ("action", "state"),
    [
        ("poweroff", POWEROFF),
        ("poweroff-hard", POWEROFF),
        ("suspend", (5, 0)),
        ("stop", (4, 0)),
        ("undeploy", (9, 0)),
        ("undeploy-hard", (9, 0)),
    ],
)
def test_a_vm_is_put_down_and_resumes(one, make, vm, action, state):
    assert one.ok("one.vm.action", action, vm) == vm
    make.reached(vm, *state)
    assert one.ok("one.vm.action", "resume", vm) == vm
    make.running(vm)


@pytest.mark.parametrize("action", ["reboot", "reboot-hard", "resched", "unresched"])
def test_an_action_that_leaves_a_vm_running(one, vm, action):
    assert one.ok("one.vm.action", action, vm) == vm
    assert states(one, vm) == RUNNING


@pytest.mark.parametrize("action", ["terminate", "terminate-hard"])
@pytest.mark.parametrize("before", [None, "poweroff-hard", "suspend", "undeploy-hard"])
def test_a_vm_is_terminated(one, make, vm, action, before):
    if before:
        one.ok("one.vm.action", before, vm)
        make.one.until(lambda x: x.findtext("LCM_STATE") == "0", "one.vm.info", vm)
    assert one.ok("one.vm.action", action, vm) == vm
    make.reached(vm, *DONE)
    info = one.xml("one.vm.info", vm)
    assert int(info.findtext("ETIME")) > 0


@pytest.mark.parametrize("action", ["fly", "delete", "shutdown-hard", "boot", ""])
def test_an_action_that_does_not_exist(one, held, action):
    one.fails(2048, f'Action "{action}" is not supported', "one.vm.action", action, held)


@pytest.mark.parametrize("action", ["resume", "hold", "release"])
def test_an_action_that_running_does_not_allow(one, vm, action):
    one.fails(2048, UNAVAILABLE.format(action, "RUNNING"), "one.vm.action", action, vm)


@pytest.mark.parametrize("action", ["resume", "poweroff", "suspend", "reboot"])
def test_an_action_that_hold_does_not_allow(one, held, action):
    one.fails(2048, UNAVAILABLE.format(action, "HOLD"), "one.vm.action", action, held)


@pytest.mark.parametrize("action", ["poweroff", "suspend", "reboot", "hold"])
def test_an_action_that_poweroff_does_not_allow(one, make, vm, action):
    one.ok("one.vm.action", "poweroff-hard", vm)
    make.reached(vm, *POWEROFF)
    one.fails(2048, UNAVAILABLE.format(action, "POWEROFF"), "one.vm.action", action, vm)


@pytest.mark.parametrize("action", ["resume", "poweroff", "hold", "release"])
def test_an_action_that_done_does_not_allow(one, done, action):
    one.fails(2048, UNAVAILABLE.format(action, "DONE"), "one.vm.action", action, done)


def test_a_vm_that_is_done_is_terminated_renamed_updated_and_opened_again(one, make, done):
    assert one.ok("one.vm.action", "terminate", done) == done
    assert one.ok("one.vm.action", "terminate-hard", done) == done
    name = make.name("vm")
    assert one.ok("one.vm.rename", done, name) == done
    assert one.ok("one.vm.update", done, 'A="1"', 1) == done
    assert one.ok("one.vm.chmod", done, -1, -1, -1, 1, -1, -1, -1, -1, -1) == done
    info = one.xml("one.vm.info", done)
    assert (info.findtext("NAME"), info.findtext("USER_TEMPLATE/A")) == (name, "1")


def test_a_vm_that_is_done_changes_neither_owner_nor_size(one, done):
    one.fails(2048, "Could not change VM ownership, wrong state", "one.vm.chown", done, -1, 1)
    one.fails(2048, "Cannot resize a VM in state DONE", "one.vm.resize", done, 'CPU="0.2"', False)


def test_a_missing_vm(one):
    text = "Error getting virtual machine [99999999]."
    assert one.fails(1024, text, "one.vm.action", "poweroff", 99999999) == 99999999
    one.fails(1024, text, "one.vm.resize", 99999999, 'CPU="1"', False)
    one.fails(1024, text, "one.vm.diskresize", 99999999, 0, "4096")


def test_names(one, make, held):
    name = make.name("vm") + " a"
    assert one.ok("one.vm.rename", held, name) == held
    other = make.vm(make.template(), hold=True)
    assert one.ok("one.vm.rename", other, name) == other
    one.fails(2048, "Invalid NAME, it cannot be empty", "one.vm.rename", held, "")
    one.fails(2048, "Invalid NAME, char '&' is not allowed", "one.vm.rename", held, "a&b")


def test_the_user_template_is_replaced_or_merged(one, held):
    one.ok("one.vm.update", held, 'A="1"\nB="2"', 0)
    one.ok("one.vm.update", held, 'B="3"', 1)
    assert {i.tag: i.text for i in one.xml("one.vm.info", held).find("USER_TEMPLATE")} == {"A": "1", "B": "3"}
    one.ok("one.vm.update", held, 'C="4"', 0)
    assert {i.tag: i.text for i in one.xml("one.vm.info", held).find("USER_TEMPLATE")} == {"C": "4"}


def test_a_locked_vm_does_nothing(one, held):
    one.ok("one.vm.lock", held, 4)
    one.fails(512, f"User [0] : VM is locked. [{held}].", "one.vm.action", "release", held)
    one.ok("one.vm.unlock", held)
    assert one.ok("one.vm.action", "release", held) == held


def test_a_tenant_acts_on_its_own_vms_only(tenant, make, held):
    template = make.kept("template", tenant.one.ok("one.template.allocate", 'NAME="t"\nCPU="0.1"\nMEMORY="64"'))
    own = make.vm(template, one=tenant.one)
    assert tenant.one.ok("one.vm.action", "poweroff-hard", own) == own
    make.reached(own, *POWEROFF)
    text = f"User [{tenant.uid}] : Not authorized to perform MANAGE VM [{held}]."
    tenant.one.fails(512, text, "one.vm.action", "release", held)


def test_the_driver_of_a_running_vm_is_the_hosts(one, make, vm):
    assert one.xml("one.vm.info", vm).findtext("HISTORY_RECORDS/HISTORY/VM_MAD") == "dummy"


ACTIONS = (
    *("poweroff", "poweroff-hard", "suspend", "stop", "undeploy", "undeploy-hard", "resume", "hold", "release"),
    *("reboot", "reboot-hard", "resched", "unresched", "terminate", "terminate-hard"),
)
ALWAYS = {"terminate", "terminate-hard"}
ALLOWED = {
    "RUNNING": set(ACTIONS) - {"resume", "hold", "release"},
    "POWEROFF": ALWAYS | {"resume", "undeploy", "undeploy-hard", "resched", "unresched"},
    "SUSPENDED": ALWAYS | {"resume", "stop"},
    "STOPPED": ALWAYS | {"resume"},
    "UNDEPLOYED": ALWAYS | {"resume"},
    "PENDING": ALWAYS | {"hold"},
    "HOLD": ALWAYS | {"release"},
    "DONE": ALWAYS,
}
WAYS = {
    "POWEROFF": ("poweroff", 8),
    "SUSPENDED": ("suspend", 5),
    "STOPPED": ("stop", 4),
    "UNDEPLOYED": ("undeploy", 9),
    "PENDING": (None, 1),
    "HOLD": (None, 2),
    "DONE": ("terminate-hard", 6),
}


@pytest.mark.parametrize("state", WAYS)
def test_each_state_refuses_every_other_action_and_stays(one, make, state):
    action, number = WAYS[state]
    size = 'CPU="9000"\nMEMORY="64"' if state == "PENDING" else 'CPU="0.1"\nMEMORY="64"'
    arguments = make.template(size=size), make.name("vm"), state == "HOLD", "", False
    vm = make.kept("vm", one.ok("one.template.instantiate", *arguments))
    if action:
        make.running(vm)
        one.ok("one.vm.action", action, vm)
    make.reached(vm, number)
    for refused in ACTIONS:
        if refused not in ALLOWED[state]:
            one.fails(2048, UNAVAILABLE.format(refused, state), "one.vm.action", refused, vm)
    assert states(one, vm) == (number, 0)


@pytest.mark.parametrize(
    ("before", "then", "state"),
    [
        ("suspend", "stop", (4, 0)),
        ("poweroff-hard", "undeploy", (9, 0)),
        ("poweroff-hard", "undeploy-hard", (9, 0)),
        ("poweroff-hard", "unresched", POWEROFF),
        ("stop", "terminate", DONE),
        ("stop", "terminate-hard", DONE),
    ],
)
def test_a_vm_goes_from_rest_to_deeper_rest(one, make, vm, before, then, state):
    one.ok("one.vm.action", before, vm)
    one.until(lambda x: x.findtext("LCM_STATE") == "0", "one.vm.info", vm)
    assert one.ok("one.vm.action", then, vm) == vm
    make.reached(vm, *state)


def test_a_vm_that_is_off_is_moved_and_stays_off_but_counts_as_less_than_nothing(one, make):
    gid = make.group()
    vm = make.vm(make.template(), f'AS_GID="{gid}"')
    one.ok("one.vm.action", "poweroff-hard", vm)
    make.reached(vm, *POWEROFF)
    assert one.ok("one.vm.action", "resched", vm) == vm
    info = one.until(lambda x: len(x.findall("HISTORY_RECORDS/HISTORY")) == 2, "one.vm.info", vm)
    hosts = [item.text for item in info.findall("HISTORY_RECORDS/HISTORY/HID")]
    assert hosts[0] != hosts[1]
    make.reached(vm, *POWEROFF)
    one.until(lambda x: x.findtext("VM_QUOTA/VM/RUNNING_VMS_USED") == "-1", "one.group.info", gid)


def test_a_lock_that_finds_another_answers_the_time_of_that(one, held):
    assert one.ok("one.vm.lock", held, 2, True) == held
    locked_s = one.xml("one.vm.info", held).findtext("LOCK/TIME")
    one.fails(2048, locked_s, "one.vm.lock", held, 3, True)
    assert one.ok("one.vm.lock", held, 3, False) == held
    one.ok("one.vm.unlock", held)
