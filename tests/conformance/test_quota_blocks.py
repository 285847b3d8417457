"""What a quota block does to the limits that it names, and to those it does not."""

import re

import pytest


pytestmark = pytest.mark.live

KEYS = [
    "CPU",
    "MEMORY",
    "PCI_DEV",
    "PCI_NIC",
    "RUNNING_CPU",
    "RUNNING_MEMORY",
    "RUNNING_PCI_DEV",
    "RUNNING_PCI_NIC",
    "RUNNING_VMS",
    "SYSTEM_DISK_SIZE",
    "VMS",
]


@pytest.fixture
def gid(make):
    return make.group()


@pytest.fixture
def quota(one, gid):
    """Sets a block."""

    def set_block(block):
        assert one.ok("one.group.quota", gid, block) == gid

    return set_block


def entries(one, gid, section):
    """The entries of one section, each a dictionary."""
    found = one.xml("one.group.info", gid).find(f"{section}_QUOTA")
    return [{value.tag: value.text for value in entry} for entry in found]


def limits(one, gid):
    """The limits on VMs that are set."""
    found = entries(one, gid, "VM")
    assert len(found) <= 1
    return {k: v for entry in found for k, v in entry.items() if not k.endswith("_USED") and v != "-1"}


def test_one_limit_shows_every_key(one, gid, quota):
    quota('VM=[VMS="5"]')
    (entry,) = entries(one, gid, "VM")
    assert list(entry) == [name for key in KEYS for name in (key, f"{key}_USED")]
    assert {v for k, v in entry.items() if k.endswith("_USED")} == {"0"}
    assert limits(one, gid) == {"VMS": "5"}


def test_a_block_resets_the_limits_that_it_omits(one, gid, quota):
    quota('VM=[CPU="4",MEMORY="1024",VMS="2",SYSTEM_DISK_SIZE="4096"]')
    assert limits(one, gid) == {"CPU": "4", "MEMORY": "1024", "VMS": "2", "SYSTEM_DISK_SIZE": "4096"}
    quota("VM=[VMS=5]")
    assert limits(one, gid) == {"VMS": "5"}


def test_a_block_leaves_other_sections_alone(one, gid, quota):
    quota('VM=[VMS="5"]')
    quota('DATASTORE=[ID="1",SIZE="100",IMAGES="2"]')
    quota('NETWORK=[ID="77",LEASES="3"]')
    quota('IMAGE=[ID="66",RVMS="3"]')
    assert limits(one, gid) == {"VMS": "5"}
    size = {"SIZE": "100", "SIZE_USED": "0"}
    assert entries(one, gid, "DATASTORE") == [{"ID": "1", "IMAGES": "2", "IMAGES_USED": "0", **size}]
    assert entries(one, gid, "NETWORK") == [{"ID": "77", "LEASES": "3", "LEASES_USED": "0"}]
    assert entries(one, gid, "IMAGE") == [{"ID": "66", "RVMS": "3", "RVMS_USED": "0"}]


def test_a_datastore_block_resets_the_limits_of_that_datastore_only(one, gid, quota):
    quota('DATASTORE=[ID="1",SIZE="100",IMAGES="2"]')
    quota('DATASTORE=[ID="100",SIZE="7"]')
    quota('DATASTORE=[ID="1",IMAGES="3"]')
    found = [(e["ID"], e["SIZE"], e["IMAGES"]) for e in entries(one, gid, "DATASTORE")]
    assert found == [("1", "-1", "3"), ("100", "7", "-1")]


def test_several_blocks_of_one_section_in_one_call(one, gid, quota):
    quota('NETWORK=[ID="1",LEASES="2"]\nNETWORK=[ID="2",LEASES="0"]')
    assert [(e["ID"], e["LEASES"]) for e in entries(one, gid, "NETWORK")] == [("1", "2"), ("2", "0")]


def test_of_two_vm_blocks_the_last_one_wins(one, gid, quota):
    quota('VM=[VMS="1"]\nVM=[CPU="1"]')
    assert limits(one, gid) == {"CPU": "1"}


def test_zero_is_a_limit(one, gid, quota):
    quota('VM=[VMS="0"]')
    assert limits(one, gid) == {"VMS": "0"}


def test_minus_two_is_a_limit_of_its_own(one, gid, quota):
    quota('VM=[VMS="-2"]')
    assert limits(one, gid) == {"VMS": "-2"}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("4", "4"),
        ("2.5", "2.50"),
        ("2.555", "2.56"),
        ("512.50", "512.50"),
        ("1e3", "1000"),
        ("0.1", "0.10"),
        ("5.0", "5"),
        ("100000000", "100000000"),
    ],
)
def test_fractions_are_kept_with_two_digits(one, gid, quota, given, kept):
    quota(f'VM=[CPU="{given}"]')
    assert limits(one, gid) == {"CPU": kept}


@pytest.mark.parametrize("value", ["abc", "", "5x", "-1"])
def test_what_is_no_number_means_unset(one, gid, quota, value):
    quota('VM=[CPU="4",VMS="2"]')
    quota(f'VM=[CPU="{value}",VMS="3"]')
    assert limits(one, gid) == {"VMS": "3"}


def test_usage_in_a_block_is_ignored(one, gid, quota):
    quota('VM=[CPU="4",CPU_USED="3"]')
    assert entries(one, gid, "VM")[0]["CPU_USED"] == "0"


def test_attributes_that_are_no_limits_are_dropped(one, gid, quota):
    quota('VM=[VMS="3",CLUSTER_ID="0",FOO="1"]')
    assert not {"CLUSTER_ID", "FOO"} & entries(one, gid, "VM")[0].keys()


def test_a_section_that_does_not_exist_is_ignored(one, gid, quota):
    quota('FOO=[A="1"]\nVM=[VMS="1"]')
    assert limits(one, gid) == {"VMS": "1"}


def test_a_block_without_vector_and_an_empty_template_are_ignored(one, gid, quota):
    quota('VM=[VMS="1"]')
    quota('VM="5"')
    quota("")
    assert limits(one, gid) == {"VMS": "1"}


def test_xml_is_accepted(one, gid, quota):
    quota("<TEMPLATE><VM><VMS>4</VMS></VM></TEMPLATE>")
    assert limits(one, gid) == {"VMS": "4"}


def test_names_are_upper_cased(one, gid, quota):
    quota('vm=[vms="9"]')
    assert limits(one, gid) == {"VMS": "9"}


def test_an_entry_without_limits_and_without_usage_disappears(one, gid, quota):
    quota('VM=[VMS="1"]\nDATASTORE=[ID="1",SIZE="5"]\nNETWORK=[ID="2",LEASES="1"]\nIMAGE=[ID="3",RVMS="1"]')
    quota('VM=[VMS="-1"]\nDATASTORE=[ID="1",SIZE="-1"]\nNETWORK=[ID="2",LEASES="-1"]\nIMAGE=[ID="3",RVMS="-1"]')
    assert [entries(one, gid, s) for s in ("VM", "DATASTORE", "NETWORK", "IMAGE")] == [[], [], [], []]


@pytest.mark.parametrize("section", ["DATASTORE", "NETWORK"])
def test_ids_are_taken_literally(one, gid, quota, section):
    limit = {"DATASTORE": "SIZE", "NETWORK": "LEASES"}[section]
    quota(f'{section}=[ID="-1",{limit}="5"]\n{section}=[ID="424242",{limit}="6"]')
    assert [(e["ID"], e[limit]) for e in entries(one, gid, section)] == [("-1", "5"), ("424242", "6")]


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ("VM=[CPU=-5]", "Negative limits or bad format in quota VM = [ CPU=-5,GID={gid} ]"),
        ('VM=[CPU="-1.5"]', "Negative limits or bad format in quota VM = [ CPU=-1.5,GID={gid} ]"),
        ('VM=[VMS="1",CPU="-3"]', "Negative limits or bad format in quota VM = [ CPU=-3,GID={gid},VMS=1 ]"),
        ("NETWORK=[ID=0,LEASES=-4]", "Negative limits or bad format in quota NETWORK = [ ID=0,LEASES=-4 ]"),
        ("DATASTORE=[ID=1,SIZE=-4]", "Negative limits or bad format in quota DATASTORE = [ ID=1,SIZE=-4 ]"),
    ],
)
def test_negative_limits_are_refused(one, gid, block, text):
    one.fails(2048, text.format(gid=gid), "one.group.quota", gid, block)
    assert limits(one, gid) == {}


@pytest.mark.parametrize("block", ['DATASTORE=[SIZE="5"]', 'DATASTORE=[ID="abc",SIZE="5"]', 'NETWORK=[LEASES="5"]'])
def test_an_id_is_needed_and_a_number(one, gid, block):
    assert one("one.group.quota", gid, block)[2] == 2048


@pytest.mark.parametrize("block", ["VM=[CPU=", 'VM=[VMS="', "VM"])
def test_a_block_that_does_not_parse(one, gid, block):
    one.fails(2048, re.compile(r"Parse error: .*", re.DOTALL), "one.group.quota", gid, block)


def test_oneadmin_has_no_quotas(one):
    one.fails(2048, "Cannot set quotas for oneadmin group", "one.group.quota", 0, "VM=[VMS=1]")
    one.fails(2048, "Cannot set quotas for oneadmin user", "one.user.quota", 0, "VM=[VMS=1]")


def test_a_user_has_quotas_as_a_group_has(one, make):
    uid = make.user()
    assert one.ok("one.user.quota", uid, 'VM=[CPU="4",VMS="1"]') == uid
    one.ok("one.user.quota", uid, 'VM=[VMS="2"]')
    vm = one.xml("one.user.info", uid).find("VM_QUOTA/VM")
    assert (vm.findtext("VMS"), vm.findtext("CPU")) == ("2", "-1")
    text = f"Negative limits or bad format in quota VM = [ UID={uid},VMS=-3 ]"
    one.fails(2048, text, "one.user.quota", uid, "VM=[VMS=-3]")
    one.fails(1024, "Error getting user [99999].", "one.user.quota", 99999, "VM=[VMS=1]")


@pytest.fixture
def defaults(one):
    """Sets default quotas of groups that are far above all usage, and takes them back."""

    def set_block(block):
        return one.ok("one.groupquota.update", block)

    yield set_block
    set_block('VM=[VMS="-2"]\nDATASTORE=[ID="424242",SIZE="-2"]')


def test_defaults_are_answered_as_xml(one, gid, defaults):
    answer = defaults('VM=[VMS="900000"]')
    assert answer.startswith("<DEFAULT_GROUP_QUOTAS><DATASTORE_QUOTA>")
    assert answer == one.ok("one.groupquota.info")
    assert one.xml("one.group.info", gid).findtext("DEFAULT_GROUP_QUOTAS/VM_QUOTA/VM/VMS") == "900000"


def test_an_unset_default_reads_minus_two(one, defaults):
    defaults('VM=[VMS="900000"]\nDATASTORE=[ID="424242",SIZE="900000"]')
    info = one.xml("one.groupquota.info")
    assert info.findtext("VM_QUOTA/VM/CPU") == "-2"
    entry = next(e for e in info.find("DATASTORE_QUOTA") if e.findtext("ID") == "424242")
    assert (entry.findtext("SIZE"), entry.findtext("IMAGES")) == ("900000", "-2")


def test_a_default_is_taken_back_with_minus_two(one, defaults):
    defaults('DATASTORE=[ID="424242",SIZE="900000"]')
    defaults('DATASTORE=[ID="424242",SIZE="-2"]')
    found = [e.findtext("ID") for e in one.xml("one.groupquota.info").find("DATASTORE_QUOTA")]
    assert "424242" not in found


def test_a_default_is_not_a_default_of_a_default(one):
    text = "Negative limits or bad format in quota VM = [ VMS=-1 ]"
    one.fails(2048, text, "one.groupquota.update", 'VM=[VMS="-1"]')


@pytest.mark.parametrize("kind", ["group", "user"])
def test_tenants_read_defaults_and_do_not_change_them(one, make, kind):
    uid, user = make.login()
    assert user.ok(f"one.{kind}quota.info") == one.ok(f"one.{kind}quota.info")
    text = f"User [{uid}] : The default quotas can only be updated by users in the oneadmin group."
    user.fails(512, text, f"one.{kind}quota.update", 'VM=[VMS="7"]')
