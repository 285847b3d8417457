"""Pool calls: filter flags, ranges and pages, states, sets of ids."""

import pytest


pytestmark = pytest.mark.live

POOLS = ["vnpool", "templatepool", "imagepool", "secgrouppool"]


def ids(one, method, *arguments):
    return [int(item.findtext("ID")) for item in one.xml(method, *arguments)]


@pytest.fixture
def vms(make):
    """Three held VMs, in order of their ids."""
    template = make.template()
    return [make.vm(template, hold=True) for _ in range(3)]


@pytest.fixture
def family(make, tenant):
    """Templates of a tenant, a colleague (opened to the group), a stranger (opened to all), and another's."""

    def owned(caller, *mode):
        template = f'NAME="{make.name("tpl")}"\nCPU="0.1"\nMEMORY="64"'
        oid = make.kept("template", caller.ok("one.template.allocate", template))
        if mode:
            make.one.ok("one.template.chmod", oid, *mode)
        return oid

    _, colleague = make.login(tenant.gid)
    return {
        "mine": owned(tenant.one),
        "group": owned(colleague, -1, -1, -1, 1, -1, -1, -1, -1, -1),
        "closed": owned(colleague),
        "all": owned(make.one, -1, -1, -1, -1, -1, -1, 1, -1, -1),
        "other": owned(make.one),
    }


@pytest.mark.parametrize(
    ("flag", "seen"),
    [
        (-2, {"mine", "group", "all"}),
        (-1, {"mine", "group"}),
        (-3, {"mine"}),
        (-4, {"mine", "group"}),
        (0, {"all"}),
    ],
)
def test_flags_as_a_tenant(tenant, family, flag, seen):
    found = set(ids(tenant.one, "one.templatepool.info", flag, -1, -1))
    assert {name for name, oid in family.items() if oid in found} == seen


def test_the_flag_of_an_owner(one, tenant, family):
    found = set(ids(one, "one.templatepool.info", tenant.uid, -1, -1))
    assert {name for name, oid in family.items() if oid in found} == {"mine"}


def test_an_administrator_sees_everything_with_minus_two_only(one, family):
    assert set(family.values()) <= set(ids(one, "one.templatepool.info", -2, -1, -1))
    mine = set(ids(one, "one.templatepool.info", -3, -1, -1))
    assert {name for name, oid in family.items() if oid in mine} == {"all", "other"}


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("flag", [-5, -100])
def test_a_flag_that_does_not_exist(one, pool, flag):
    one.fails(4096, "Incorrect filter_flag", f"one.{pool}.info", flag, -1, -1)


def test_a_vm_flag_that_does_not_exist(one):
    one.fails(4096, "Incorrect filter_flag", "one.vmpool.info", -5, -1, -1, -1)
    one.fails(4096, "Incorrect filter_flag", "one.vmpool.infoextended", -5, -1, -1, -1)


@pytest.mark.parametrize("state", [99, -3])
def test_a_state_that_does_not_exist(one, state):
    one.fails(4096, f"Incorrect state filter {state}", "one.vmpool.info", -2, -1, -1, state)


@pytest.mark.parametrize("pool", POOLS)
def test_the_highest_id_comes_first(one, make, pool):
    make.network()
    make.secgroup()
    make.template()
    make.image()
    found = ids(one, f"one.{pool}.info", -2, -1, -1)
    assert found == sorted(found, reverse=True)


def test_a_range_of_ids(one, vms):
    first, second, third = vms
    assert set(ids(one, "one.vmpool.info", -2, first, second, -1)) & set(vms) == {first, second}
    assert set(ids(one, "one.vmpool.info", -2, second, -1, -1)) & set(vms) == {second, third}
    assert ids(one, "one.vmpool.info", -2, second, second, -1) == [second]


def test_pages(one, make):
    _, user = make.login(make.group())
    uid = int(user.xml("one.user.info", -1).findtext("ID"))
    templates = [make.template() for _ in range(5)]
    for template in templates:
        one.ok("one.template.chown", template, uid, -1)
    pages = [ids(one, "one.templatepool.info", uid, offset, -2) for offset in (0, 2, 4, 6)]
    newest = sorted(templates, reverse=True)
    assert pages == [newest[:2], newest[2:4], newest[4:], []]


def test_states_of_vms(one, make, vms):
    one.ok("one.vm.action", "terminate-hard", vms[0])
    make.reached(vms[0], 6)
    for state, expected in ((-1, vms[1:]), (2, vms[1:]), (6, vms[:1]), (-2, vms), (3, [])):
        found = set(ids(one, "one.vmpool.info", -2, vms[0], vms[2], state))
        assert found & set(vms) == set(expected), state


def test_a_query_needs_another_database(one):
    text = "JSON query search is not supported by the SQL backend"
    one.fails(8192, text, "one.vmpool.info", -2, -1, -1, -1, "VM.NAME=x")


def test_the_short_body_leaves_out_what_the_extended_one_has(one, make):
    vm = make.vm(make.template('FOO="1"\nCONTEXT=[A="1"]\nLABELS="red"'), hold=True)
    short = one.xml("one.vmpool.info", -2, vm, vm, -1).find("VM")
    extended = one.xml("one.vmpool.infoextended", -2, vm, vm, -1).find("VM")
    assert short.find("PERMISSIONS") is None
    assert short.find("TEMPLATE/CONTEXT") is None
    assert [item.tag for item in short.find("USER_TEMPLATE")] == ["LABELS"]
    assert extended.find("PERMISSIONS") is not None
    assert extended.findtext("TEMPLATE/CONTEXT/A") == "1"
    assert extended.findtext("USER_TEMPLATE/FOO") == "1"


def test_a_set_of_vms(one, vms):
    first, second, third = vms
    wanted = f"{third}, {first},{first},99999999,abc"
    assert sorted(ids(one, "one.vmpool.infoset", wanted, False)) == [first, third]
    assert ids(one, "one.vmpool.infoset", f"{second}", True) == [second]


def test_an_empty_set_of_vms(one):
    assert ids(one, "one.vmpool.infoset", "", False) == []


def test_a_set_holds_vms_that_are_done(one, make, vms):
    one.ok("one.vm.action", "terminate-hard", vms[0])
    make.reached(vms[0], 6)
    assert ids(one, "one.vmpool.infoset", f"{vms[0]}", False) == [vms[0]]


def test_a_set_is_short_or_extended(one, vms):
    short = one.xml("one.vmpool.infoset", f"{vms[0]}", False).find("VM")
    extended = one.xml("one.vmpool.infoset", f"{vms[0]}", True).find("VM")
    assert (short.find("PERMISSIONS") is None, extended.find("PERMISSIONS") is None) == (True, False)


def test_a_tenant_gets_only_its_own_of_a_set(one, make, tenant, vms):
    template = make.kept("template", tenant.one.ok("one.template.allocate", 'NAME="t"\nCPU="0.1"\nMEMORY="64"'))
    own = make.vm(template, one=tenant.one, hold=True)
    assert ids(tenant.one, "one.vmpool.infoset", f"{vms[0]},{own}", True) == [own]


@pytest.mark.parametrize("pool", ["hostpool", "clusterpool", "datastorepool", "zonepool", "vdcpool"])
def test_pools_that_take_no_arguments_ignore_them(one, pool):
    assert one.ok(f"one.{pool}.info", -2, -1, -1).startswith("<")
