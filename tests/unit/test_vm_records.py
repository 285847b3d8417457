"""What a real OpenNebula says of virtual machines, read."""

from decimal import Decimal

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy._wire.host_records import HostRecord
from opennebula_tenancy._wire.vm_records import VmRecord
from opennebula_tenancy._wire.vm_template_records import ImageRecord, VmTemplateRecord
from opennebula_tenancy.vm_status import VmStatus


INFO = """<VM><ID>668</ID><UID>0</UID><GID>104</GID><UNAME>oneadmin</UNAME><GNAME>acme</GNAME><NAME>web</NAME>
<LAST_POLL>0</LAST_POLL><STATE>3</STATE><LCM_STATE>3</LCM_STATE><PREV_STATE>3</PREV_STATE><STIME>1795326653</STIME>
<ETIME>0</ETIME><TEMPLATE><CONTEXT><DISK_ID><![CDATA[2]]></DISK_ID><NETWORK><![CDATA[YES]]></NETWORK>
<SSH_PUBLIC_KEY><![CDATA[]]></SSH_PUBLIC_KEY><START_SCRIPT><![CDATA[echo "hi"]]></START_SCRIPT></CONTEXT>
<CPU><![CDATA[0.1]]></CPU><DISK><CLONE><![CDATA[YES]]></CLONE><DATASTORE_ID><![CDATA[1]]></DATASTORE_ID>
<DISK_ID><![CDATA[0]]></DISK_ID><IMAGE><![CDATA[img]]></IMAGE><IMAGE_ID><![CDATA[0]]></IMAGE_ID>
<ORIGINAL_SIZE><![CDATA[2048]]></ORIGINAL_SIZE><SIZE><![CDATA[4096]]></SIZE><TYPE><![CDATA[FILE]]></TYPE></DISK>
<DISK><DATASTORE_ID><![CDATA[0]]></DATASTORE_ID><DISK_ID><![CDATA[1]]></DISK_ID><FORMAT><![CDATA[raw]]></FORMAT>
<SIZE><![CDATA[100]]></SIZE><TYPE><![CDATA[fs]]></TYPE></DISK><MEMORY><![CDATA[64]]></MEMORY>
<NIC><ALIAS_IDS><![CDATA[1]]></ALIAS_IDS><IP><![CDATA[10.99.0.2]]></IP><MAC><![CDATA[02:00:0a:63:00:02]]></MAC>
<NAME><![CDATA[NIC0]]></NAME><NETWORK><![CDATA[net]]></NETWORK><NETWORK_ID><![CDATA[427]]></NETWORK_ID>
<NIC_ID><![CDATA[0]]></NIC_ID><SECURITY_GROUPS><![CDATA[0,100]]></SECURITY_GROUPS></NIC>
<NIC_ALIAS><ALIAS_ID><![CDATA[0]]></ALIAS_ID><EXTERNAL><![CDATA[YES]]></EXTERNAL><IP><![CDATA[10.99.0.3]]></IP>
<MAC><![CDATA[02:00:0a:63:00:03]]></MAC><NAME><![CDATA[NIC0_ALIAS1]]></NAME><NETWORK><![CDATA[net]]></NETWORK>
<NETWORK_ID><![CDATA[427]]></NETWORK_ID><NIC_ID><![CDATA[1]]></NIC_ID><PARENT><![CDATA[NIC0]]></PARENT>
<PARENT_ID><![CDATA[0]]></PARENT_ID><SECURITY_GROUPS><![CDATA[0]]></SECURITY_GROUPS></NIC_ALIAS>
<TEMPLATE_ID><![CDATA[1062]]></TEMPLATE_ID><VMID><![CDATA[668]]></VMID></TEMPLATE><USER_TEMPLATE>
<LABELS><![CDATA[bar]]></LABELS><TENANCY_KEY><![CDATA[k1]]></TENANCY_KEY></USER_TEMPLATE><HISTORY_RECORDS>
<HISTORY><OID>668</OID><SEQ>0</SEQ><HOSTNAME>dummy1</HOSTNAME><HID>1</HID><ACTION>20</ACTION></HISTORY>
<HISTORY><OID>668</OID><SEQ>1</SEQ><HOSTNAME>dummy2</HOSTNAME><HID>2</HID><ACTION>0</ACTION></HISTORY></HISTORY_RECORDS></VM>"""
SHORT = """<VM_POOL><VM><ID>668</ID><UID>0</UID><GID>104</GID><NAME>web</NAME><STATE>3</STATE><LCM_STATE>3</LCM_STATE>
<STIME>1795326653</STIME><TEMPLATE><CPU>0.1</CPU><MEMORY>64</MEMORY><VCPU></VCPU><DISK><DISK_ID><![CDATA[1]]></DISK_ID>
<IMAGE><![CDATA[]]></IMAGE><IMAGE_ID><![CDATA[]]></IMAGE_ID><SIZE><![CDATA[100]]></SIZE><TYPE><![CDATA[fs]]></TYPE></DISK>
<NIC><IP><![CDATA[10.99.0.3]]></IP><NETWORK_ID><![CDATA[427]]></NETWORK_ID><NIC_ID><![CDATA[1]]></NIC_ID></NIC>
</TEMPLATE><MONITORING/><USER_TEMPLATE></USER_TEMPLATE></VM></VM_POOL>"""


def test_a_machine_is_read_whole() -> None:
    vm = VmRecord.parse(INFO)
    assert (vm.id, vm.name, vm.uid, vm.gid, vm.host_id, vm.created_s) == (668, "web", 0, 104, 2, 1795326653)
    assert vm.history == (1, 0)
    assert vm.status == VmStatus(3, 3)
    assert (vm.cpu, vm.vcpu, vm.memory_mb, vm.disk_mb) == (Decimal("0.1"), 1, 64, 4196)
    assert vm.user_template == {"LABELS": "bar", "TENANCY_KEY": "k1"}
    assert vm.context["START_SCRIPT"] == 'echo "hi"'
    first, second = vm.disks
    assert (first.disk_id, first.image_id, first.size_mb, first.original_size_mb) == (0, 0, 4096, 2048)
    assert (second.disk_id, second.image_id, second.size_mb, second.original_size_mb) == (1, None, 100, None)
    nic, alias = vm.nics
    assert (nic.nic_id, nic.network_id, nic.ip, nic.is_alias, nic.external) == (0, 427, "10.99.0.2", False, False)
    assert nic.security_groups == (0, 100)
    assert (alias.nic_id, alias.parent_id, alias.ip, alias.is_alias, alias.external) == (1, 0, "10.99.0.3", True, True)


def test_what_a_machine_is_told_at_its_boot_is_not_shown() -> None:
    assert "echo" not in repr(VmRecord.parse(INFO))


def test_the_short_body_of_a_pool_is_read_as_far_as_it_goes() -> None:
    (vm,) = VmRecord.pool(SHORT)
    assert (vm.vcpu, vm.host_id, vm.user_template, vm.context) == (1, None, {}, {})
    assert [(disk.disk_id, disk.image_id, disk.size_mb) for disk in vm.disks] == [(1, None, 100)]
    assert [(nic.nic_id, nic.ip, nic.is_alias) for nic in vm.nics] == [(1, "10.99.0.3", False)]


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ("", ""),
        ("<ERROR>disk</ERROR><SCHED_MESSAGE>host</SCHED_MESSAGE>", "disk"),
        ("<SCHED_MESSAGE>host</SCHED_MESSAGE>", "host"),
    ],
)
def test_the_reason_is_the_driver_s_before_the_scheduler_s(attributes: str, reason: str) -> None:
    assert VmRecord.parse(INFO.replace("<LABELS>", f"{attributes}<LABELS>")).reason == reason


def test_a_cd_is_told_from_a_disk() -> None:
    vm = VmRecord.parse(INFO.replace("[fs]", "[CDROM]"))
    assert [disk.is_cd for disk in vm.disks] == [False, True]


@pytest.mark.parametrize("text", ["<VM><ID>x</ID></VM>", "<HOST/>", "", INFO.replace("[0.1]", "[many]")])
def test_what_is_no_machine_is_a_violation(text: str) -> None:
    with pytest.raises(ont.ProtocolViolation):
        VmRecord.parse(text)


TEMPLATE = """<VMTEMPLATE><ID>0</ID><UID>0</UID><GID>0</GID><NAME>tpl</NAME><TEMPLATE><CPU><![CDATA[0.1]]></CPU>
<CONTEXT><NETWORK><![CDATA[YES]]></NETWORK><PASSWORD><![CDATA[hush]]></PASSWORD></CONTEXT>
<DISK><IMAGE_ID>1</IMAGE_ID><TYPE>CDROM</TYPE></DISK><DISK><IMAGE_ID>2</IMAGE_ID></DISK>{more}</TEMPLATE></VMTEMPLATE>"""


def test_a_template_is_read() -> None:
    template = VmTemplateRecord.parse(TEMPLATE.format(more="<NIC><NETWORK_ID>3</NETWORK_ID></NIC>"))
    assert (template.id, template.gid, template.sized_disk, template.is_router) == (0, 0, 1, False)
    assert template.nics == ({"NETWORK_ID": "3"},)
    assert not template.has_more_nics
    assert "hush" not in repr(template)


@pytest.mark.parametrize(
    ("more", "has"),
    [
        ("<NIC_ALIAS><PARENT>NIC0</PARENT></NIC_ALIAS>", True),
        ("<PCI><TYPE>NIC</TYPE></PCI>", True),
        ("<PCI><VENDOR>10de</VENDOR></PCI>", False),
    ],
)
def test_aliases_and_devices_are_noticed(more: str, has: bool) -> None:
    assert VmTemplateRecord.parse(TEMPLATE.format(more=more)).has_more_nics is has


@pytest.mark.parametrize(
    ("state", "usable", "name"),
    [(1, True, "READY"), (2, True, "USED"), (8, False, "USED_PERS"), (5, False, "ERROR"), (99, False, "99")],
)
def test_an_image_is_usable_while_it_is_ready_or_shared(state: int, usable: bool, name: str) -> None:
    image = ImageRecord.parse(
        f"<IMAGE><ID>0</ID><GID>0</GID><NAME>i</NAME><TYPE>0</TYPE><SIZE>2048</SIZE><STATE>{state}</STATE></IMAGE>"
    )
    assert (image.is_usable, image.state_name, image.is_disk, image.size_mb) == (usable, name, True, 2048)


def test_a_host_has_left_what_was_not_promised() -> None:
    share = "<MAX_CPU>800</MAX_CPU><CPU_USAGE>850</CPU_USAGE><MAX_MEM>2048</MAX_MEM><MEM_USAGE>1024</MEM_USAGE>"
    host = HostRecord.parse(f"<HOST><ID>3</ID><NAME>h</NAME><HOST_SHARE>{share}</HOST_SHARE></HOST>")
    assert (host.id, host.free_cpu, host.free_memory_mb) == (3, Decimal("-0.5"), 1)
