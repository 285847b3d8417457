"""Groups: names, members, administrators, attributes, deletion."""

import re

import pytest

from conformance.access import rules_of


pytestmark = pytest.mark.live

BAD_NAMES = [
    ("", "Invalid NAME, it cannot be empty"),
    ("x" * 129, "Invalid NAME, max length is 128 chars"),
    *((f"a{char}b", f"Invalid NAME, char '{char}' is not allowed") for char in "&:\"/ ';<\\|\t\n"),
]


def ids(one, gid, element):
    return [int(item.text) for item in one.xml("one.group.info", gid).find(element)]


def attributes(one, gid):
    found = one.xml("one.group.info", gid).find("TEMPLATE")
    return {a.tag: {v.tag: v.text for v in a} or a.text for a in found}


@pytest.mark.parametrize(("name", "text"), BAD_NAMES)
def test_a_name_that_is_not_allowed(one, name, text):
    assert one.fails(8192, text, "one.group.allocate", name) == -1


@pytest.mark.parametrize("tail", [",b", "é-_.@", ""])
def test_a_name_with_other_characters_is_kept(one, make, tail):
    name = make.name("group") + tail
    assert one.xml("one.group.info", make.group(name)).findtext("NAME") == name


def test_a_name_of_128_characters_is_long_enough(one, make):
    name = make.name("group").ljust(128, "x")
    assert one.xml("one.group.info", make.group(name)).findtext("NAME") == name


def test_a_taken_name(one, make):
    name = make.name("group")
    gid = make.group(name)
    one.fails(8192, f"NAME is already taken by GROUP {gid}.", "one.group.allocate", name)


def test_names_are_case_sensitive(make):
    name = make.name("group")
    assert make.group(name) != make.group(name.upper())


def test_ids_are_not_given_again(one, make):
    first = make.group()
    one.ok("one.group.delete", first)
    assert make.group() > first


def test_a_new_group_is_empty(one, make):
    info = one.xml("one.group.info", make.group())
    for element in ("TEMPLATE", "USERS", "ADMINS", "DATASTORE_QUOTA", "NETWORK_QUOTA", "VM_QUOTA", "IMAGE_QUOTA"):
        assert len(info.find(element)) == 0, element


def test_its_own_vlan_rule_is_its_id(one, make):
    gid = make.group()
    assert ids(one, gid, "VLAN_RULES") == [gid]


def test_members_are_listed_primary_and_secondary(one, make):
    first, second = make.group(), make.group()
    uid = make.user(first, second)
    assert ids(one, first, "USERS") == ids(one, second, "USERS") == [uid]


@pytest.mark.parametrize("primary", [True, False])
def test_a_group_with_a_member_cannot_be_deleted(one, make, primary):
    first, second = make.group(), make.group()
    make.user(first, second)
    gid = first if primary else second
    one.fails(2048, f"Cannot delete group. Group {gid} is not empty.", "one.group.delete", gid)


@pytest.mark.parametrize("gid", [0, 1])
def test_a_system_group_cannot_be_deleted(one, gid):
    text = "Cannot delete group. System Groups (ID < 100) cannot be deleted."
    one.fails(2048, text, "one.group.delete", gid)


def test_a_group_with_quotas_and_networks_can_be_deleted_and_its_objects_keep_it(one, make):
    name = make.name("group")
    gid = make.group(name)
    network = make.network()
    one.ok("one.vn.chown", network, -1, gid)
    one.ok("one.group.quota", gid, 'VM=[VMS="3"]')
    assert one.ok("one.group.delete", gid) == gid
    one.fails(1024, f"Error getting group [{gid}].", "one.group.info", gid)
    info = one.xml("one.vn.info", network)
    assert (info.findtext("GID"), info.findtext("GNAME")) == (str(gid), name)


def test_a_replacing_update_keeps_nothing(one, make):
    gid = make.group()
    one.ok("one.group.update", gid, 'A="1"\nB="2"', 0)
    assert one.ok("one.group.update", gid, 'C="3"', 0) == gid
    assert attributes(one, gid) == {"C": "3"}
    one.ok("one.group.update", gid, "", 0)
    assert attributes(one, gid) == {}


def test_a_merging_update_replaces_whole_vectors(one, make):
    gid = make.group()
    one.ok("one.group.update", gid, 'A="1"\nB=[X="1",Y="2"]', 0)
    one.ok("one.group.update", gid, 'B=[X="3"]\nC="c"', 1)
    assert attributes(one, gid) == {"A": "1", "B": {"X": "3"}, "C": "c"}
    one.ok("one.group.update", gid, "", 1)
    assert attributes(one, gid) == {"A": "1", "B": {"X": "3"}, "C": "c"}


def test_an_update_that_does_not_parse(one, make):
    gid = make.group()
    one.ok("one.group.update", gid, 'A="1"', 0)
    text = re.compile(r"Cannot update template. Parse error: syntax error, unexpected \$end, .*")
    one.fails(8192, text, "one.group.update", gid, 'A="x" B', 0)
    assert attributes(one, gid) == {"A": "1"}


def test_a_member_reads_the_group_but_does_not_change_it(make):
    gid = make.group()
    uid, user = make.login(gid)
    assert user.xml("one.group.info", -1).findtext("ID") == str(gid)
    text = f"User [{uid}] : Not authorized to perform ADMIN GROUP [{gid}]."
    user.fails(512, text, "one.group.update", gid, 'A="1"', 1)
    user.fails(512, text, "one.group.quota", gid, 'VM=[VMS="1"]')
    user.fails(512, text, "one.group.delete", gid)


def test_a_member_makes_no_group(make):
    uid, user = make.login()
    text = f"User [{uid}] : Not authorized to perform CREATE GROUP."
    user.fails(512, text, "one.group.allocate", make.name("group"))


def test_another_group_cannot_be_read(make):
    other = make.group()
    uid, user = make.login(make.group())
    user.fails(512, f"User [{uid}] : Not authorized to perform USE GROUP [{other}].", "one.group.info", other)


def test_the_pool_shows_a_member_its_own_groups(make):
    gid = make.group()
    make.group()
    _, user = make.login(gid)
    pool = user.xml("one.grouppool.info")
    assert [item.findtext("ID") for item in pool.findall("GROUP")] == [str(gid)]


def test_the_pool_lists_each_group_with_its_quotas_behind_it(one, make):
    gid = make.group()
    one.ok("one.group.quota", gid, 'VM=[VMS="3"]')
    pool = one.xml("one.grouppool.info")
    groups = [item.findtext("ID") for item in pool.findall("GROUP")]
    assert groups == [item.findtext("ID") for item in pool.findall("QUOTAS")]
    assert groups == sorted(groups, key=int, reverse=True)
    quotas = next(item for item in pool.findall("QUOTAS") if item.findtext("ID") == str(gid))
    assert quotas.findtext("VM_QUOTA/VM/VMS") == "3"


def test_an_administrator_is_a_member(one, make):
    gid = make.group()
    uid = make.user(gid)
    assert one.ok("one.group.addadmin", gid, uid) == gid
    assert ids(one, gid, "ADMINS") == [uid]
    text = f"Cannot edit group. User {uid} is already an administrator of Group {gid}."
    one.fails(8192, text, "one.group.addadmin", gid, uid)
    stranger = make.user()
    text = f"Cannot edit group. User {stranger} is not part of Group {gid}."
    one.fails(8192, text, "one.group.addadmin", gid, stranger)


def test_an_administrator_steps_back(one, make):
    gid = make.group()
    uid = make.user(gid)
    one.ok("one.group.addadmin", gid, uid)
    assert one.ok("one.group.deladmin", gid, uid) == gid
    assert ids(one, gid, "ADMINS") == []
    text = f"Cannot edit group. User {uid} is not an administrator of Group {gid}."
    one.fails(8192, text, "one.group.deladmin", gid, uid)


@pytest.mark.parametrize("verb", ["addadmin", "deladmin"])
def test_administrators_of_missing_groups_and_missing_administrators(one, make, verb):
    gid = make.group()
    uid = make.user(gid)
    one.fails(1024, "Error getting user [99999].", f"one.group.{verb}", gid, 99999)
    one.fails(1024, "Error getting group [99999].", f"one.group.{verb}", 99999, uid)


def test_an_administrator_makes_users_who_land_in_the_group(one, make):
    gid = make.group()
    uid, admin = make.login(gid)
    one.ok("one.group.addadmin", gid, uid)
    made = make.kept("user", admin.ok("one.user.allocate", make.name("user"), "secret", "core"))
    assert one.xml("one.user.info", made).findtext("GID") == str(gid)
    assert admin.ok("one.user.passwd", made, "changed") == made
    assert admin.ok("one.user.quota", made, 'VM=[VMS="1"]') == made
    assert admin.ok("one.user.delete", made) == made


def test_an_administrator_reaches_no_further_than_the_group(one, make):
    gid = make.group()
    uid, admin = make.login(gid)
    member = make.user(gid)
    one.ok("one.group.addadmin", gid, uid)
    who = f"User [{uid}] : Not authorized to perform"
    assert admin.ok("one.user.info", member)
    admin.fails(512, f"{who} ADMIN GROUP [{gid}].", "one.group.quota", gid, 'VM=[VMS="1"]')
    admin.fails(512, f"{who} ADMIN GROUP [{gid}].", "one.group.update", gid, 'A="1"', 1)
    admin.fails(512, f"{who} MANAGE GROUP [1].", "one.user.allocate", make.name("user"), "secret", "core", [1])
    admin.fails(512, f"{who} USE GROUP [1].", "one.user.chgrp", member, 1)
    admin.fails(512, f"{who} MANAGE GROUP [1].", "one.user.addgroup", member, 1)


def test_the_rules_of_an_administrator_come_and_go(one, make):
    gid, other = make.group(), make.group()
    uid = make.user(gid)
    rules = [
        f"USER/@{gid} USE+MANAGE+ADMIN+CREATE",
        f"VM+NET+IMAGE+TEMPLATE+DOCUMENT+SECGROUP+VROUTER+VMGROUP+BACKUPJOB/@{gid} USE+MANAGE",
        "VROUTER/* CREATE",
        f"GROUP/#{gid} MANAGE",
    ]
    one.ok("one.group.addadmin", gid, uid)
    assert rules_of(one, f"#{uid}") == rules
    one.ok("one.user.chgrp", uid, other)
    assert rules_of(one, f"#{uid}") == ids(one, gid, "ADMINS") == ids(one, gid, "USERS") == []
    one.ok("one.user.chgrp", uid, gid)
    one.ok("one.group.addadmin", gid, uid)
    assert rules_of(one, f"#{uid}") == rules
    one.ok("one.user.delete", uid)
    assert rules_of(one, f"#{uid}") == ids(one, gid, "ADMINS") == []


def test_an_administrator_of_the_group_does_not_name_others(one, make):
    gid = make.group()
    uid, admin = make.login(gid)
    member = make.user(gid)
    one.ok("one.group.addadmin", gid, uid)
    who = f"User [{uid}] : Not authorized to perform ADMIN GROUP [{gid}]."
    admin.fails(512, who, "one.group.addadmin", gid, member)
    admin.fails(512, who, "one.group.deladmin", gid, uid)
    admin.fails(512, who, "one.group.delete", gid)


def test_an_administrator_does_as_it_likes_with_its_own_account(one, make):
    gid = make.group()
    uid, admin = make.login(gid)
    one.ok("one.group.addadmin", gid, uid)
    assert admin.ok("one.user.update", uid, 'A="1"', 0) == uid
    assert admin.ok("one.user.quota", uid, 'VM=[VMS="1"]') == uid
    assert admin.ok("one.user.chauth", uid, "core", "changed") == uid
    admin = one.as_(admin.auth.partition(":")[0], "changed")
    assert admin.ok("one.user.enable", uid, False) == uid
    one.ok("one.user.enable", uid, True)
    assert admin.ok("one.user.delete", uid) == uid
    assert ids(one, gid, "USERS") == []


def test_the_limits_that_an_administrator_sets_hold_inside_those_of_the_group(one, make):
    tenant = make.tenant()
    one.ok("one.group.addadmin", tenant.gid, tenant.uid)
    one.ok("one.group.quota", tenant.gid, 'VM=[VMS="2"]')
    uid, member = make.login(tenant.gid)
    template = make.template()
    one.ok("one.template.chmod", template, -1, -1, -1, -1, -1, -1, 1, -1, -1)
    assert tenant.one.ok("one.user.quota", uid, 'VM=[VMS="1"]') == uid
    make.vm(template, one=member, hold=True)
    text = f"User [{uid}] : user [{uid}] limit of 1 reached for VMS quota in VM."
    member.fails(512, text, "one.template.instantiate", template, make.name("vm"), True, "", False)
    assert tenant.one.ok("one.user.quota", uid, 'VM=[VMS="-2"]') == uid
    make.vm(template, one=member, hold=True)
    text = f"User [{uid}] : group [{tenant.gid}] limit of 2 reached for VMS quota in VM."
    member.fails(512, text, "one.template.instantiate", template, make.name("vm"), True, "", False)


def test_the_objects_of_the_group_are_the_administrators_to_manage(one, make):
    tenant = make.tenant()
    one.ok("one.group.addadmin", tenant.gid, tenant.uid)
    _, member = make.login(tenant.gid)
    template = make.kept(
        "template", member.ok("one.template.allocate", f'NAME="{make.name("t")}"\nCPU="1"\nMEMORY="64"')
    )
    vm = make.vm(template, one=member, hold=True)
    assert tenant.one.ok("one.template.update", template, 'A="1"', 1) == template
    assert tenant.one.ok("one.vm.action", "terminate-hard", vm) == vm
    foreign = make.template()
    text = f"User [{tenant.uid}] : Not authorized to perform MANAGE TEMPLATE [{foreign}]."
    tenant.one.fails(512, text, "one.template.update", foreign, 'A="1"', 1)
