"""What a tenant, logged in, sees and is refused."""

import pytest

from conformance.access import rules_of


pytestmark = pytest.mark.live

REFUSED = "User [{uid}] : Not authorized to perform {what}."


def seen(one, method, *arguments):
    return [int(item.findtext("ID")) for item in one.xml(method, *arguments)]


def networks(one):
    return set(seen(one, "one.vnpool.info", -2, -1, -1))


def forbid_cluster_networks(one, gid):
    """Delete the rule that opens every network of cluster 0 to the group."""
    rules = {item.findtext("STRING"): int(item.findtext("ID")) for item in one.xml("one.acl.info")}
    one.ok("one.acl.delrule", rules[f"@{gid} NET/%0 USE #0"])


def test_hosts_and_clusters_are_hidden(tenant):
    assert seen(tenant.one, "one.hostpool.info") == []
    assert seen(tenant.one, "one.clusterpool.info") == []
    for what, noun in (("HOST [0]", "host"), ("CLUSTER [0]", "cluster")):
        text = REFUSED.format(uid=tenant.uid, what=f"USE {what}")
        tenant.one.fails(512, text, f"one.{noun}.info", 0)


def test_a_missing_host_is_missed_all_the_same(tenant):
    tenant.one.fails(1024, "Error getting host [99999].", "one.host.info", 99999)


def test_zones_and_the_default_security_group_are_seen(tenant):
    assert seen(tenant.one, "one.zonepool.info") == [0]
    assert tenant.one.ok("one.zone.info", 0)
    assert 0 in seen(tenant.one, "one.secgrouppool.info", -2, -1, -1)


def test_datastores_of_the_vdc_are_seen_and_no_others(tenant, make):
    elsewhere = make.datastore(make.cluster())
    found = seen(tenant.one, "one.datastorepool.info")
    assert {0, 1, 2} <= set(found)
    assert elsewhere not in found
    text = REFUSED.format(uid=tenant.uid, what=f"USE DATASTORE [{elsewhere}]")
    tenant.one.fails(512, text, "one.datastore.info", elsewhere)


def test_images_templates_and_vms_of_others_are_hidden(tenant, make):
    image, template = make.image(), make.template()
    vm = make.vm(template, hold=True)
    for noun, what, oid in (("image", "IMAGE", image), ("template", "TEMPLATE", template), ("vm", "VM", vm)):
        text = REFUSED.format(uid=tenant.uid, what=f"USE {what} [{oid}]")
        tenant.one.fails(512, text, f"one.{noun}.info", oid)
        state = (-1,) if noun == "vm" else ()
        assert oid not in seen(tenant.one, f"one.{noun}pool.info", -2, -1, -1, *state)


def test_what_others_opened_is_seen(tenant, make, one):
    template = make.template()
    one.ok("one.template.chmod", template, -1, -1, -1, -1, -1, -1, 1, -1, -1)
    assert tenant.one.ok("one.template.info", template)
    assert template in seen(tenant.one, "one.templatepool.info", -2, -1, -1)
    text = REFUSED.format(uid=tenant.uid, what=f"MANAGE TEMPLATE [{template}]")
    tenant.one.fails(512, text, "one.template.update", template, 'A="1"', 1)


def test_a_cluster_in_the_vdc_opens_the_networks_of_everybody_in_it(tenant, make, one):
    other = make.tenant()
    mine, theirs = make.network(), make.network()
    one.ok("one.vn.chown", mine, -1, tenant.gid)
    one.ok("one.vn.chown", theirs, -1, other.gid)
    assert {mine, theirs} <= networks(tenant.one)
    assert {mine, theirs} <= networks(other.one)
    template = make.kept("template", tenant.one.ok("one.template.allocate", 'NAME="t"\nCPU="0.1"\nMEMORY="64"'))
    vm = make.vm(template, f'NIC=[NETWORK_ID="{theirs}"]', one=tenant.one, hold=True)
    assert one.xml("one.vm.info", vm).findtext("TEMPLATE/NIC/NETWORK_ID") == str(theirs)


def test_without_that_rule_each_tenant_is_left_with_its_own_network(tenant, make, one):
    other = make.tenant()
    mine, theirs = make.network(), make.network()
    for who, network in ((tenant, mine), (other, theirs)):
        one.ok("one.vdc.addvnet", who.vdc, 0, network)
        forbid_cluster_networks(one, who.gid)
    assert mine in networks(tenant.one)
    assert theirs not in networks(tenant.one)
    assert theirs in networks(other.one)
    assert mine not in networks(other.one)
    text = REFUSED.format(uid=tenant.uid, what=f"USE NET [{theirs}]")
    tenant.one.fails(512, text, "one.vn.info", theirs)


def test_a_network_without_a_right_is_no_nic(tenant, make, one):
    theirs = make.network()
    forbid_cluster_networks(one, tenant.gid)
    template = make.kept("template", tenant.one.ok("one.template.allocate", 'NAME="t"\nCPU="0.1"\nMEMORY="64"'))
    arguments = template, make.name("vm"), True, f'NIC=[NETWORK_ID="{theirs}"]', False
    text = REFUSED.format(uid=tenant.uid, what=f"USE NET [{theirs}]")
    tenant.one.fails(512, text, "one.template.instantiate", *arguments)
    assert one.xml("one.vn.info", theirs).findtext("USED_LEASES") == "0"


def test_another_cluster_brings_back_only_its_own_network_rule(tenant, make, one):
    forbid_cluster_networks(one, tenant.gid)
    cluster = make.cluster()
    one.ok("one.vdc.addcluster", tenant.vdc, 0, cluster)
    assert [r for r in rules_of(one, f"@{tenant.gid}") if r.startswith("NET")] == [f"NET/%{cluster} USE"]


def test_networks_of_a_cluster_outside_the_vdc_are_hidden(tenant, make):
    network = make.network(cluster=make.cluster())
    assert network not in networks(tenant.one)


def test_in_the_default_vdc_every_network_is_open(make):
    network = make.network(cluster=make.cluster())
    _, user = make.login(make.group())
    assert network in networks(user)


@pytest.fixture
def plain(make, one):
    """A user of a group that is in no VDC and has no rules: the id and calls as the user."""
    gid = make.group()
    one.ok("one.vdc.delgroup", 0, gid)
    return make.login(gid)


@pytest.mark.parametrize(
    ("method", "arguments", "what"),
    [
        ("one.template.allocate", ('NAME="x"\nCPU="1"\nMEMORY="64"',), "CREATE TEMPLATE"),
        ("one.vm.allocate", ('CPU="1"\nMEMORY="64"', True), "CREATE VM"),
        ("one.secgroup.allocate", ('NAME="x"',), "CREATE SECGROUP"),
        ("one.user.allocate", ("x", "secret", "core"), "CREATE USER"),
        ("one.group.allocate", ("x",), "CREATE GROUP"),
        ("one.cluster.allocate", ("x",), "CREATE CLUSTER"),
        (
            "one.image.allocate",
            ('NAME="x"\nTYPE="DATABLOCK"\nSIZE="10"', 1),
            "CREATE IMAGE; Not authorized to perform USE DATASTORE [1]",
        ),
        (
            "one.vn.allocate",
            ('NAME="x"\nVN_MAD="dummy"\nBRIDGE="b"', 0),
            "CREATE NET; Not authorized to perform ADMIN CLUSTER [0]",
        ),
        (
            "one.host.allocate",
            ("x", "dummy", "dummy", 0),
            "CREATE HOST; Not authorized to perform ADMIN CLUSTER [0]",
        ),
        (
            "one.datastore.allocate",
            ('NAME="x"\nDS_MAD="dummy"\nTM_MAD="dummy"', 0),
            "CREATE DATASTORE; Not authorized to perform ADMIN CLUSTER [0]",
        ),
    ],
)
def test_no_membership_gives_the_right_to_create(plain, method, arguments, what):
    uid, user = plain
    user.fails(512, REFUSED.format(uid=uid, what=what), method, *arguments)


def test_an_open_template_is_instantiated_with_an_empty_extra_template_only(plain, make, one):
    uid, user = plain
    template = make.template()
    one.ok("one.template.chmod", template, -1, -1, -1, -1, -1, -1, 1, -1, -1)
    assert make.vm(template, one=user, hold=True) >= 0
    arguments = template, make.name("vm"), True, 'FOO="x"', False
    user.fails(512, REFUSED.format(uid=uid, what="CREATE TEMPLATE"), "one.template.instantiate", *arguments)


def test_a_tenant_with_rights_makes_its_own(tenant, make, one):
    template = make.kept("template", tenant.one.ok("one.template.allocate", 'NAME="own"\nCPU="0.1"\nMEMORY="64"'))
    image = tenant.one.ok("one.image.allocate", 'NAME="own"\nTYPE="DATABLOCK"\nSIZE="10"', 1)
    make.kept("image", image)
    secgroup = make.kept("secgroup", tenant.one.ok("one.secgroup.allocate", 'NAME="own"'))
    vm = make.vm(template, one=tenant.one, hold=True)
    for noun, oid in (("template", template), ("image", image), ("secgroup", secgroup), ("vm", vm)):
        info = one.xml(f"one.{noun}.info", oid)
        assert (info.findtext("UID"), info.findtext("GID")) == (str(tenant.uid), str(tenant.gid))


def test_members_of_a_group_do_not_see_each_others_objects_until_opened(tenant, make, one):
    _, colleague = make.login(tenant.gid)
    template = make.kept("template", tenant.one.ok("one.template.allocate", 'NAME="own"\nCPU="0.1"\nMEMORY="64"'))
    assert colleague("one.template.info", template)[2] == 512
    assert tenant.one.ok("one.template.chmod", template, -1, -1, -1, 1, -1, -1, -1, -1, -1) == template
    assert colleague.ok("one.template.info", template)


def test_a_user_does_not_open_an_object_of_another(tenant, make):
    template = make.template()
    text = REFUSED.format(uid=tenant.uid, what=f"MANAGE TEMPLATE [{template}]")
    tenant.one.fails(512, text, "one.template.chmod", template, -1, -1, -1, -1, -1, -1, 1, -1, -1)
    tenant.one.fails(
        512,
        REFUSED.format(uid=tenant.uid, what=f"MANAGE TEMPLATE [{template}]"),
        "one.template.delete",
        template,
        False,
    )


def test_a_vm_of_a_group_without_vdc_finds_no_host(plain, make, one):
    _, user = plain
    template = make.template()
    one.ok("one.template.chmod", template, -1, -1, -1, -1, -1, -1, 1, -1, -1)
    vm = make.kept("vm", user.ok("one.template.instantiate", template, make.name("vm"), False, "", False))
    text = "Cannot dispatch VM: User is not authorized to use any host"
    info = one.until(lambda x: text in x.findtext("USER_TEMPLATE/SCHED_MESSAGE", ""), "one.vm.info", vm)
    assert (info.findtext("STATE"), info.findtext("LCM_STATE")) == ("1", "0")


def test_a_vm_that_is_too_big_for_every_host_waits_and_says_why(make, one):
    vm = one.ok("one.template.instantiate", make.template(size='CPU="1000"\nMEMORY="64"'), make.name("vm"), False, "")
    make.kept("vm", vm)
    text = "[HOST] Not enough CPU on hosts: "
    info = one.until(lambda x: text in x.findtext("USER_TEMPLATE/SCHED_MESSAGE", ""), "one.vm.info", vm)
    assert info.findtext("STATE") == "1"


def test_a_second_group_opens_what_is_open_to_that_group(tenant, make, one):
    template = make.template()
    gid = make.group()
    one.ok("one.template.chown", template, -1, gid)
    one.ok("one.template.chmod", template, -1, -1, -1, 1, -1, -1, -1, -1, -1)
    assert tenant.one("one.template.info", template)[2] == 512
    one.ok("one.user.addgroup", tenant.uid, gid)
    assert tenant.one.ok("one.template.info", template)
    assert template in seen(tenant.one, "one.templatepool.info", -1, -1, -1)
    assert template not in seen(tenant.one, "one.templatepool.info", -4, -1, -1)
    one.ok("one.user.delgroup", tenant.uid, gid)
    assert tenant.one("one.template.info", template)[2] == 512


def test_a_disabled_rule_of_the_past_gives_nothing(tenant, make, one):
    template = make.template()
    rule = make.acl(f"#{tenant.uid} TEMPLATE/#{template} USE")
    assert tenant.one.ok("one.template.info", template)
    one.ok("one.acl.delrule", rule)
    assert tenant.one("one.template.info", template)[2] == 512


@pytest.mark.parametrize("who", ["#{uid}", "@{gid}"])
@pytest.mark.parametrize("which", ["#{oid}", "@0", "*"])
def test_a_rule_opens_one_object_those_of_a_group_or_all(tenant, make, who, which):
    template = make.template()
    who, which = who.format(uid=tenant.uid, gid=tenant.gid), which.format(oid=template)
    make.acl(f"{who} TEMPLATE/{which} USE")
    assert tenant.one.ok("one.template.info", template)
    assert template in seen(tenant.one, "one.templatepool.info", -2, -1, -1)
    text = REFUSED.format(uid=tenant.uid, what=f"MANAGE TEMPLATE [{template}]")
    tenant.one.fails(512, text, "one.template.update", template, 'A="1"', 1)


def test_a_rule_may_give_one_right_without_the_others(tenant, make):
    template = make.template()
    make.acl(f"#{tenant.uid} TEMPLATE/#{template} MANAGE")
    assert tenant.one.ok("one.template.update", template, 'A="1"', 1) == template
    text = REFUSED.format(uid=tenant.uid, what=f"USE TEMPLATE [{template}]")
    tenant.one.fails(512, text, "one.template.info", template)


def test_a_rule_about_a_cluster_opens_the_hosts_in_it(tenant, make):
    cluster = make.cluster()
    inside, outside = make.host(cluster), make.host(0)
    make.acl(f"@{tenant.gid} HOST/%{cluster} USE")
    assert seen(tenant.one, "one.hostpool.info") == [inside]
    assert tenant.one.ok("one.host.info", inside)
    assert tenant.one("one.host.info", outside)[2] == 512


def test_what_a_deleted_user_owned_stays_and_keeps_its_name(tenant, make, one):
    name = one.xml("one.user.info", tenant.uid).findtext("NAME")
    template = make.kept("template", tenant.one.ok("one.template.allocate", 'NAME="t"\nCPU="0.1"\nMEMORY="64"'))
    vm = make.vm(template, one=tenant.one, hold=True)
    assert one.ok("one.user.delete", tenant.uid) == tenant.uid
    info = one.xml("one.vm.info", vm)
    assert (info.findtext("UID"), info.findtext("UNAME")) == (str(tenant.uid), name)
    assert info.findtext("STATE") == "2"


def test_a_running_vm_of_a_deleted_group_keeps_running(make, one):
    gid = make.group()
    name = one.xml("one.group.info", gid).findtext("NAME")
    vm = make.vm(make.template(), f'AS_GID="{gid}"')
    assert one.ok("one.group.delete", gid) == gid
    info = one.xml("one.vm.info", vm)
    assert (info.findtext("GNAME"), info.findtext("STATE"), info.findtext("LCM_STATE")) == (name, "3", "3")
