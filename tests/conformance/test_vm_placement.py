"""Why a VM stays PENDING, in SCHED_MESSAGE; and where requirements send it."""

import re

import pytest


pytestmark = pytest.mark.live


@pytest.fixture
def message(one, make):
    """Starts a VM that finds no host, and answers SCHED_MESSAGE without its time."""

    def message(extra, template=None):
        arguments = template or make.template(), make.name("vm"), False, extra, False
        vm = make.kept("vm", one.ok("one.template.instantiate", *arguments))
        info = one.until(lambda x: x.findtext("USER_TEMPLATE/SCHED_MESSAGE") is not None, "one.vm.info", vm)
        assert (info.findtext("STATE"), info.find("HISTORY_RECORDS/HISTORY")) == ("1", None)
        return re.sub(r"^\w{3} \w{3} +\d+ \d\d:\d\d:\d\d \d{4}: ", "", info.findtext("USER_TEMPLATE/SCHED_MESSAGE"))

    return message


@pytest.mark.parametrize(
    ("extra", "pattern"),
    [
        ('CPU="9000"', r"\[HOST\] Not enough CPU on hosts: 0,1,2.*"),
        ('MEMORY="99999999"', r"\[HOST\] Not enough MEMORY on hosts: 0,1,2.*"),
        ('CPU="9000"\nSCHED_REQUIREMENTS="ID=0 | ID=1"', r"\[HOST\] Not enough CPU on hosts: 0,1"),
        ('SCHED_REQUIREMENTS="ID=99999"', "Cannot dispatch VM: No host meets SCHED_REQUIREMENTS"),
        ('SCHED_DS_REQUIREMENTS="ID=99999"', "Cannot dispatch VM: No system datastore meets SCHED_DS_REQUIREMENTS"),
        (
            'SCHED_REQUIREMENTS="FOO="',
            r"Cannot dispatch VM: Error in SCHED_REQUIREMENTS: '!\(PIN_POLICY = PINNED\) & \( FOO= \)', error: .*",
        ),
        ('DISK=[TYPE="fs",SIZE="99999999"]', r"\[DS\] Not enough capacity on datastores: 0.*"),
    ],
)
def test_a_vm_that_finds_no_place_says_why(message, extra, pattern):
    assert re.fullmatch(pattern, message(extra), re.DOTALL)


def test_a_vm_runs_where_its_requirements_say(one, make):
    vm = make.vm(make.template('SCHED_REQUIREMENTS="ID=1"\nSCHED_DS_REQUIREMENTS="ID=0"'))
    record = one.xml("one.vm.info", vm).find("HISTORY_RECORDS/HISTORY")
    assert (record.findtext("HID"), record.findtext("DS_ID")) == ("1", "0")


def test_the_hosts_and_datastores_of_the_owners_vdcs_are_all_there_is(one, make, message):
    gid, vdc, template = make.group(), make.vdc(), make.template()
    uid = make.user(gid)
    one.ok("one.vdc.addgroup", vdc, gid)
    one.ok("one.vdc.delgroup", 0, gid)
    make.acl(f"@{gid} VM+TEMPLATE/* CREATE")
    one.ok("one.template.chmod", template, -1, -1, -1, -1, -1, -1, 1, -1, -1)
    owner = f'AS_GID="{gid}"\nAS_UID="{uid}"'
    assert message(owner, template) == "Cannot dispatch VM: User is not authorized to use any host"
    one.ok("one.vdc.addhost", vdc, 0, 0)
    assert message(owner, template) == "Cannot dispatch VM: User is not authorized to use any system datastore"
    one.ok("one.vdc.adddatastore", vdc, 0, 0)
    make.vm(template, owner)


def test_a_vm_that_was_too_big_runs_once_it_is_resized(one, make):
    vm = make.kept("vm", one.ok("one.template.instantiate", make.template(), make.name("vm"), False, 'CPU="9000"'))
    one.until(lambda x: x.findtext("USER_TEMPLATE/SCHED_MESSAGE") is not None, "one.vm.info", vm)
    one.ok("one.vm.resize", vm, 'CPU="0.1"', False)
    make.running(vm)
    assert one.xml("one.vm.info", vm).find("USER_TEMPLATE/SCHED_MESSAGE") is None
