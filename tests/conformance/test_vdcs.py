"""VDCs: names, groups, resources, and the access rules that come and go with them."""

import pytest

from conformance.access import rules_of


pytestmark = pytest.mark.live

EVERYTHING = ["HOST/* MANAGE", "NET/* USE", "DATASTORE/* USE"]
BAD_NAMES = [
    ("", "Invalid NAME, it cannot be empty"),
    ("x" * 129, "Invalid NAME, max length is 128 chars"),
    *((f"a{char}b", f"Invalid NAME, char '{char}' is not allowed") for char in "&:/'<|"),
]


def cluster_rules(cluster):
    return [f"HOST/%{cluster} MANAGE", f"NET/%{cluster} USE", f"DATASTORE/%{cluster} USE"]


def ids(one, vdc, element):
    """The ids in one element of a VDC; resources as pairs of zone and id."""
    found = one.xml("one.vdc.info", vdc).find(element)
    return [tuple(int(v.text) for v in item) if len(item) else int(item.text) for item in found]


@pytest.fixture
def gid(one, make):
    """A group outside the default VDC."""
    gid = make.group()
    one.ok("one.vdc.delgroup", 0, gid)
    return gid


@pytest.fixture
def vdc(one, make, gid):
    """A VDC with the group in it."""
    vdc = make.vdc()
    one.ok("one.vdc.addgroup", vdc, gid)
    return vdc


@pytest.mark.parametrize(("name", "text"), BAD_NAMES)
def test_a_name_that_is_not_allowed(one, make, name, text):
    one.fails(8192, text, "one.vdc.allocate", f'NAME="{name}"')
    one.fails(2048, text, "one.vdc.rename", make.vdc(), name)


def test_a_name_is_needed(one):
    one.fails(8192, "Invalid NAME, it cannot be empty", "one.vdc.allocate", 'A="1"')


def test_a_name_may_have_spaces_and_commas(one, make):
    name = make.name("vdc") + " b, é"
    assert one.xml("one.vdc.info", make.vdc(name)).findtext("NAME") == name


def test_a_taken_name(one, make):
    name = make.name("vdc")
    vdc = make.vdc(name)
    one.fails(8192, f"NAME is already taken by Vdc {vdc}.", "one.vdc.allocate", f'NAME="{name}"', -1)


def test_attributes_stay_beside_the_name(one, make):
    name = make.name("vdc")
    vdc = make.kept("vdc", one.ok("one.vdc.allocate", f'NAME="{name}"\nA="1"\nB=[X="2"]', -1))
    found = one.xml("one.vdc.info", vdc).find("TEMPLATE")
    assert [item.tag for item in found] == ["A", "B"]
    assert (found.findtext("A"), found.findtext("B/X")) == ("1", "2")


def test_a_second_argument_is_ignored(one, make):
    vdc = make.kept("vdc", one.ok("one.vdc.allocate", f'NAME="{make.name("vdc")}"', 100))
    assert ids(one, vdc, "CLUSTERS") == []


def test_renaming(one, make):
    name, vdc = make.name("vdc"), make.vdc()
    assert one.ok("one.vdc.rename", vdc, name) == vdc
    assert one.ok("one.vdc.rename", vdc, name) == vdc
    assert one.xml("one.vdc.info", vdc).findtext("NAME") == name
    other = make.vdc()
    text = f"VDC cannot be renamed to {name} because it collides with VDC {vdc}"
    one.fails(2048, text, "one.vdc.rename", other, name)


def test_updating(one, make):
    vdc = make.vdc()
    one.ok("one.vdc.update", vdc, 'A="1"', 0)
    assert one.ok("one.vdc.update", vdc, 'B="2"', 1) == vdc
    assert [item.tag for item in one.xml("one.vdc.info", vdc).find("TEMPLATE")] == ["A", "B"]
    one.ok("one.vdc.update", vdc, 'C="3"', 0)
    assert [item.tag for item in one.xml("one.vdc.info", vdc).find("TEMPLATE")] == ["C"]


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("rename", ("x",)),
        ("update", ("", 0)),
        ("addgroup", (1,)),
        ("addcluster", (0, 0)),
        ("adddatastore", (0, 1)),
        ("delete", ()),
    ],
)
def test_a_missing_vdc(one, verb, arguments):
    assert one.fails(1024, "Error getting VDC [99999].", f"one.vdc.{verb}", 99999, *arguments) == 99999


def test_the_default_vdc_cannot_be_deleted(one):
    one.fails(2048, "Cannot delete VDC. System VDCs (ID < 100) cannot be deleted.", "one.vdc.delete", 0)


def test_a_new_group_is_in_the_default_vdc(one, make):
    gid = make.group()
    assert gid in ids(one, 0, "GROUPS")
    assert rules_of(one, f"@{gid}") == EVERYTHING


def test_a_group_leaves_the_default_vdc_with_its_rules(one, make):
    gid = make.group()
    assert one.ok("one.vdc.delgroup", 0, gid) == 0
    assert gid not in ids(one, 0, "GROUPS")
    assert rules_of(one, f"@{gid}") == []
    one.fails(8192, f"Group {gid} is not assigned to the VDC 0", "one.vdc.delgroup", 0, gid)


def test_a_group_cannot_join_twice(one, vdc, gid):
    assert ids(one, vdc, "GROUPS") == [gid]
    one.fails(8192, f"Group {gid} is already assigned to the VDC {vdc}", "one.vdc.addgroup", vdc, gid)


def test_missing_groups(one, vdc):
    assert one.fails(1024, "Error getting group [99999].", "one.vdc.addgroup", vdc, 99999) == 99999
    one.fails(8192, f"Group 99999 is not assigned to the VDC {vdc}", "one.vdc.delgroup", vdc, 99999)


def test_an_empty_vdc_gives_no_rules(one, vdc, gid):
    assert rules_of(one, f"@{gid}") == []


def test_a_cluster_opens_its_hosts_networks_and_datastores(one, make, vdc, gid):
    assert one.ok("one.vdc.addcluster", vdc, 0, 0) == vdc
    assert ids(one, vdc, "CLUSTERS") == [(0, 0)]
    assert rules_of(one, f"@{gid}") == cluster_rules(0)
    other = make.cluster()
    one.ok("one.vdc.addcluster", vdc, 0, other)
    assert rules_of(one, f"@{gid}") == cluster_rules(0) + cluster_rules(other)


def test_a_network_opens_itself(one, make, vdc, gid):
    network = make.network()
    one.ok("one.vdc.addcluster", vdc, 0, 0)
    assert one.ok("one.vdc.addvnet", vdc, 0, network) == vdc
    assert rules_of(one, f"@{gid}") == [*cluster_rules(0), f"NET/#{network} USE"]


def test_a_deleted_rule_does_not_come_back_with_another_cluster(one, make, vdc, gid):
    one.ok("one.vdc.addcluster", vdc, 0, 0)
    found = {item.findtext("STRING"): int(item.findtext("ID")) for item in one.xml("one.acl.info")}
    one.ok("one.acl.delrule", found[f"@{gid} NET/%0 USE #0"])
    other = make.cluster()
    one.ok("one.vdc.addcluster", vdc, 0, other)
    assert rules_of(one, f"@{gid}") == ["HOST/%0 MANAGE", "DATASTORE/%0 USE", *cluster_rules(other)]


def test_a_group_that_joins_gets_the_rules_of_what_is_there(one, make, vdc):
    one.ok("one.vdc.addcluster", vdc, 0, 0)
    one.ok("one.vdc.addhost", vdc, 0, make.host(0))
    late = make.group()
    one.ok("one.vdc.delgroup", 0, late)
    one.ok("one.vdc.addgroup", vdc, late)
    assert [r for r in rules_of(one, f"@{late}") if "#" not in r] == cluster_rules(0)
    one.ok("one.vdc.delgroup", vdc, late)
    assert rules_of(one, f"@{late}") == []


def test_a_rule_that_two_vdcs_give_goes_with_the_first_of_them(one, make, vdc, gid):
    other = make.vdc()
    one.ok("one.vdc.addgroup", other, gid)
    one.ok("one.vdc.addcluster", vdc, 0, 0)
    one.ok("one.vdc.addcluster", other, 0, 0)
    assert rules_of(one, f"@{gid}") == cluster_rules(0)
    one.ok("one.vdc.delcluster", vdc, 0, 0)
    assert rules_of(one, f"@{gid}") == []
    assert one.ok("one.vdc.delcluster", other, 0, 0) == other


RESOURCES = [
    ("cluster", "CLUSTER", "CLUSTERS", None),
    ("host", "HOST", "HOSTS", "HOST/{} MANAGE"),
    ("datastore", "DATASTORE", "DATASTORES", "DATASTORE/{} USE"),
    ("vnet", "NET", "VNETS", "NET/{} USE"),
]


@pytest.fixture
def resource(make):
    """Makes a resource of a kind."""
    makers = {"cluster": make.cluster, "host": lambda: make.host(0), "datastore": make.datastore, "vnet": make.network}
    return lambda kind: makers[kind]()


def rules_for(kind, rule, which):
    if kind == "cluster":
        return EVERYTHING if which == "*" else cluster_rules(which[1:])
    return [rule.format(which)]


@pytest.mark.parametrize(("kind", "words", "element", "rule"), RESOURCES)
def test_a_resource_comes_and_goes_with_its_rules(one, vdc, gid, resource, kind, words, element, rule):
    oid = resource(kind)
    assert one.ok(f"one.vdc.add{kind}", vdc, 0, oid) == vdc
    assert ids(one, vdc, element) == [(0, oid)]
    assert rules_of(one, f"@{gid}") == rules_for(kind, rule, f"#{oid}")
    text = f"{words} {oid} from Zone 0 is already assigned to the VDC"
    one.fails(8192, text, f"one.vdc.add{kind}", vdc, 0, oid)
    assert one.ok(f"one.vdc.del{kind}", vdc, 0, oid) == vdc
    assert ids(one, vdc, element) == []
    assert rules_of(one, f"@{gid}") == []
    text = f"{words} {oid} from Zone 0 is not assigned to the VDC "
    one.fails(8192, text, f"one.vdc.del{kind}", vdc, 0, oid)


@pytest.mark.parametrize(("kind", "words", "element", "rule"), RESOURCES)
def test_minus_ten_is_everything_and_replaces_what_was_listed(one, vdc, gid, resource, kind, words, element, rule):
    oid = resource(kind)
    one.ok(f"one.vdc.add{kind}", vdc, 0, oid)
    assert one.ok(f"one.vdc.add{kind}", vdc, 0, -10) == vdc
    assert ids(one, vdc, element) == [(0, -10)]
    assert rules_of(one, f"@{gid}") == rules_for(kind, rule, "*")
    text = f"{words} -10 from Zone 0 is already assigned to the VDC"
    one.fails(8192, text, f"one.vdc.add{kind}", vdc, 0, -10)
    one.ok(f"one.vdc.del{kind}", vdc, 0, -10)
    assert rules_of(one, f"@{gid}") == []


@pytest.mark.parametrize(("kind", "words", "element", "rule"), RESOURCES)
def test_one_more_beside_everything_is_kept_too(one, vdc, gid, resource, kind, words, element, rule):
    oid = resource(kind)
    one.ok(f"one.vdc.add{kind}", vdc, 0, -10)
    one.ok(f"one.vdc.add{kind}", vdc, 0, oid)
    assert ids(one, vdc, element) == [(0, -10), (0, oid)]
    assert rules_of(one, f"@{gid}") == rules_for(kind, rule, "*") + rules_for(kind, rule, f"#{oid}")


@pytest.mark.parametrize(
    ("kind", "words"),
    [("cluster", "cluster"), ("host", "host"), ("datastore", "datastore"), ("vnet", "virtual network")],
)
def test_missing_resources_and_zones(one, vdc, kind, words):
    assert one.fails(1024, f"Error getting {words} [99999].", f"one.vdc.add{kind}", vdc, 0, 99999) == 99999
    assert one.fails(1024, "Error getting zone [5].", f"one.vdc.add{kind}", vdc, 5, 0) == 5


def test_deleting_a_vdc_takes_its_rules_and_leaves_its_groups(one, vdc, gid):
    one.ok("one.vdc.addcluster", vdc, 0, 0)
    assert one.ok("one.vdc.delete", vdc) == vdc
    assert rules_of(one, f"@{gid}") == []
    assert one.xml("one.group.info", gid).findtext("ID") == str(gid)


def test_deleting_a_group_takes_it_from_its_vdcs_with_its_rules(one, vdc, gid):
    one.ok("one.vdc.addcluster", vdc, 0, 0)
    one.ok("one.group.delete", gid)
    assert ids(one, vdc, "GROUPS") == []
    assert rules_of(one, f"@{gid}") == []


def test_deleting_a_network_takes_it_from_its_vdcs(one, make, vdc):
    network = make.network()
    one.ok("one.vdc.addvnet", vdc, 0, network)
    one.ok("one.vn.delete", network)
    one.until(lambda x: len(x.find("VNETS")) == 0, "one.vdc.info", vdc)


def test_the_pool_lists_vdcs_for_administrators_only(one, make, vdc):
    assert str(vdc) in [item.findtext("ID") for item in one.xml("one.vdcpool.info")]
    _, user = make.login()
    assert list(user.xml("one.vdcpool.info")) == []


def test_a_tenant_touches_no_vdc(make):
    uid, user = make.login()
    who = f"User [{uid}] : Not authorized to perform"
    user.fails(512, f"{who} USE VDC [0].", "one.vdc.info", 0)
    user.fails(512, f"{who} CREATE VDC.", "one.vdc.allocate", 'NAME="x"')
    user.fails(512, f"{who} ADMIN VDC [0].", "one.vdc.delete", 0)
    both = f"{who} ADMIN VDC [0]; Not authorized to perform ADMIN GROUP [1]."
    user.fails(512, both, "one.vdc.addgroup", 0, 1)
