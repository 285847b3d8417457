"""Virtual routers: their addresses, their VMs, NICs that come and go, and what is left when they are deleted."""

import re

import attrs
import pytest


pytestmark = pytest.mark.live

NO_LEASE = "Cannot get IP/MAC lease from virtual network {}."
ROUTER_VM = "Action is not supported for virtual router VMs"


@attrs.frozen
class Site:
    """A network inside with the addresses from 10.7.0.1, one outside from 10.8.0.1, and a template for routers."""

    inside: int
    outside: int
    template: int


@pytest.fixture
def site(make):
    outside = make.network('AR=[TYPE="IP4",IP="10.8.0.1",SIZE="10"]', size=0)
    template = make.template('VROUTER="YES"\nSCHED_REQUIREMENTS="CLUSTER_ID = 0"\nCONTEXT=[NETWORK="YES",FOO="bar"]')
    return Site(make.network('GATEWAY="10.7.0.1"\nDNS="9.9.9.9"'), outside, template)


@pytest.fixture
def router_of(one, make):
    """Makes routers; what they hold is free again after the test."""
    made = []

    def allocate(extra="", *, name=None, caller=one):
        made.append(caller.ok("one.vrouter.allocate", f'NAME="{name or make.name("router")}"\n{extra}'))
        return made[-1]

    yield allocate
    for router in made:
        vms = vms_of(one, router) if one("one.vrouter.info", router)[0] else []
        one("one.vrouter.delete", router)
        for vm in vms:
            make.reached(vm, 6)


def nic(network, *keys):
    return "NIC=[" + ",".join((f'NETWORK_ID="{network}"', *keys)) + "]"


FLOATING = 'FLOATING_IP="YES"'
GATEWAY = 'IP="10.7.0.1"'


def texts(element):
    return {item.tag: item.text for item in element}


def nics_of(one, kind, oid):
    return [texts(found) for found in one.xml(f"one.{kind}.info", oid).find("TEMPLATE").findall("NIC")]


def vms_of(one, router):
    return [int(item.text) for item in one.xml("one.vrouter.info", router).find("VMS")]


def leases(one, network):
    """Who has which address: `VM 5` or `VROUTER 7`."""
    found = one.xml("one.vn.info", network).find("AR_POOL").iter("LEASE")
    return {
        item.findtext("IP"): next(f"{key} {item.findtext(key)}" for key in ("VM", "VROUTER") if item.findtext(key))
        for item in found
    }


def routers_in(one, network):
    return [int(item.text) for item in one.xml("one.vn.info", network).find("VROUTERS")]


def instantiate(one, make, router, template, *, count=1, name="", hold=False, extra="", caller=None):
    """VMs of a router, running or held."""
    before = set(vms_of(one, router))
    assert (caller or one).ok("one.vrouter.instantiate", router, count, template, name, hold, extra) == router
    vms = sorted(set(vms_of(one, router)) - before)
    for vm in vms:
        make.reached(vm, *((2, 0) if hold else (3, 3)))
    return vms


# What a router is


def test_a_floating_nic_takes_an_address_for_the_router_and_another_nic_does_not(one, site, router_of):
    router = router_of(f"{nic(site.inside, GATEWAY)}\n{nic(site.outside, FLOATING)}")
    assert nics_of(one, "vrouter", router) == [
        {
            "IP": "10.7.0.1",
            "NETWORK": one.xml("one.vn.info", site.inside).findtext("NAME"),
            "NETWORK_ID": str(site.inside),
            "NIC_ID": "0",
        },
        {
            "AR_ID": "0",
            "FLOATING_IP": "YES",
            "NETWORK": one.xml("one.vn.info", site.outside).findtext("NAME"),
            "NETWORK_ID": str(site.outside),
            "NIC_ID": "1",
            "VROUTER_IP": "10.8.0.1",
            "VROUTER_MAC": "02:00:0a:08:00:01",
        },
    ]
    assert leases(one, site.inside) == {}
    assert leases(one, site.outside) == {"10.8.0.1": f"VROUTER {router}"}
    assert routers_in(one, site.inside) == routers_in(one, site.outside) == [router]


@pytest.mark.parametrize("address", ['IP="10.8.0.7"', 'MAC="02:00:0a:08:00:07"'])
def test_a_floating_nic_may_ask_for_an_address(one, site, router_of, address):
    router = router_of(nic(site.outside, FLOATING, address))
    assert leases(one, site.outside) == {"10.8.0.7": f"VROUTER {router}"}


def test_a_network_may_be_named(one, site, router_of):
    name = one.xml("one.vn.info", site.outside).findtext("NAME")
    router = router_of(f'NIC=[NETWORK="{name}",{FLOATING}]')
    assert nics_of(one, "vrouter", router)[0]["NETWORK_ID"] == str(site.outside)


def test_two_routers_may_have_one_name(one, make, router_of):
    name = make.name("router")
    assert router_of(name=name) != router_of(name=name)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("", "Invalid NAME, it cannot be empty"),
        ('NAME="a&b"', "Invalid NAME, char '&' is not allowed"),
        ('NAME="x"\nNIC=[NETWORK_ID="99999"]', "Virtual network with ID: 99999 does not exist"),
        ('NAME="x"\nNIC=[NETWORK_MODE="auto"]', "Virtual Router is incompatible with auto mode"),
        (
            'NAME="x"\nNIC=[NETWORK="no-such",NETWORK_UNAME="no-such"]',
            "User set in NETWORK_UNAME does not exist",
        ),
    ],
)
def test_a_router_that_cannot_be(one, template, text):
    one.fails(8192, text, "one.vrouter.allocate", template)


def test_of_two_nics_none_keeps_its_address_when_one_fails(one, site):
    nics = nic(site.outside, FLOATING) + "\n" + nic(site.inside, FLOATING, 'IP="10.99.0.1"')
    one.fails(8192, NO_LEASE.format(site.inside), "one.vrouter.allocate", f'NAME="x"\n{nics}')
    assert leases(one, site.outside) == {}
    assert routers_in(one, site.outside) == []


@pytest.mark.parametrize("merge", [0, 1])
def test_an_update_changes_no_nic(one, site, router_of, merge):
    router = router_of(f'OLD="x"\n{nic(site.outside, FLOATING)}')
    before = nics_of(one, "vrouter", router)
    assert one.ok("one.vrouter.update", router, f'NEW="y"\n{nic(site.inside)}', merge) == router
    assert nics_of(one, "vrouter", router) == before
    assert one.xml("one.vrouter.info", router).findtext("TEMPLATE/OLD") == ("x" if merge else None)


# Its VMs


def test_a_vm_of_a_router_has_its_nics_with_addresses_of_its_own(one, make, site, router_of):
    router = router_of(f"{nic(site.inside, GATEWAY)}\n{nic(site.outside, FLOATING)}")
    (vm,) = instantiate(one, make, router, site.template)
    inside, outside = nics_of(one, "vm", vm)
    assert inside["IP"] == "10.7.0.1"
    assert (outside["IP"], outside["VROUTER_IP"], outside["FLOATING_IP"]) == ("10.8.0.2", "10.8.0.1", "YES")
    assert leases(one, site.inside) == {"10.7.0.1": f"VM {vm}"}
    assert leases(one, site.outside) == {"10.8.0.1": f"VROUTER {router}", "10.8.0.2": f"VM {vm}"}


def test_a_vm_that_shares_the_address_of_its_router_takes_none(one, make, site, router_of):
    router = router_of(nic(site.outside, FLOATING, 'FLOATING_ONLY="YES"'))
    (vm,) = instantiate(one, make, router, site.template)
    assert "IP" not in nics_of(one, "vm", vm)[0]
    assert leases(one, site.outside) == {"10.8.0.1": f"VROUTER {router}"}


def test_the_context_of_a_vm_tells_it_about_its_router(one, make, site, router_of):
    password = 'KEEPALIVED_PASSWORD="pw"'
    router = router_of(f"{nic(site.inside, GATEWAY)}\n{nic(site.outside, FLOATING)}\n{password}")
    (vm,) = instantiate(one, make, router, site.template)
    info = one.xml("one.vm.info", vm)
    context = texts(info.find("TEMPLATE/CONTEXT"))
    shared = {
        "VROUTER_ID": str(router),
        "VROUTER_KEEPALIVED_ID": str(router % 255 + 1),
        "VROUTER_KEEPALIVED_PASSWORD": "pw",
    }
    wanted = {
        "FOO": "bar",
        "ETH0_IP": "10.7.0.1",
        "ETH0_GATEWAY": "10.7.0.1",
        "ETH0_DNS": "9.9.9.9",
        "ETH0_VROUTER_IP": None,
        "ETH1_IP": "10.8.0.2",
        "ETH1_VROUTER_IP": "10.8.0.1",
        **shared,
    }
    assert {key: context[key] for key in wanted} == wanted
    assert {key: info.findtext(f"TEMPLATE/{key}") for key in shared} == shared


def test_the_keepalived_id_may_be_given(one, make, site, router_of):
    router = router_of('KEEPALIVED_ID="7"')
    (vm,) = instantiate(one, make, router, site.template, hold=True)
    assert one.xml("one.vm.info", vm).findtext("TEMPLATE/VROUTER_KEEPALIVED_ID") == "7"


def test_several_vms_are_numbered_and_share_what_floats(one, make, site, router_of):
    name = make.name("router")
    router = router_of(nic(site.outside, FLOATING), name=name)
    vms = instantiate(one, make, router, site.template, count=2)
    assert [one.xml("one.vm.info", vm).findtext("NAME") for vm in vms] == [f"vr-{name}-0", f"vr-{name}-1"]
    assert leases(one, site.outside) == {
        "10.8.0.1": f"VROUTER {router}",
        "10.8.0.2": f"VM {vms[0]}",
        "10.8.0.3": f"VM {vms[1]}",
    }


def test_of_several_vms_none_stays_when_one_cannot_be(one, make, site, router_of):
    router = router_of(nic(site.inside, GATEWAY))
    text = f"Error allocating a new virtual router. {NO_LEASE.format(site.inside)}"
    one.fails(16384, text, "one.vrouter.instantiate", router, 2, site.template, "", False, "")
    assert vms_of(one, router) == []
    one.until(lambda x: x.findtext("USED_LEASES") == "0", "one.vn.info", site.inside)


def test_a_name_may_have_the_number_anywhere(one, make, site, router_of):
    name = make.name("x")
    (vm,) = instantiate(one, make, router_of(), site.template, name=f"{name}-%i-%i", hold=True)
    assert one.xml("one.vm.info", vm).findtext("NAME") == f"{name}-0-0"


def test_the_nics_of_the_router_replace_those_of_the_template_and_of_the_call(one, make, site, router_of):
    router = router_of(nic(site.outside))
    (vm,) = instantiate(one, make, router, site.template, hold=True, extra=f'CPU="0.2"\n{nic(site.inside)}')
    assert [found["NETWORK_ID"] for found in nics_of(one, "vm", vm)] == [str(site.outside)]
    assert one.xml("one.vm.info", vm).findtext("TEMPLATE/CPU") == "0.2"


def test_vms_are_held_first_and_released_unless_they_are_to_be_held(one, make, site, router_of):
    (vm,) = instantiate(one, make, router_of(), site.template)
    assert one.xml("one.vm.info", vm).findtext("TEMPLATE/SUBMIT_ON_HOLD") == "YES"


def test_the_template_of_the_last_vms_is_known(one, make, site, router_of):
    router = router_of()
    text = "A template ID was not provided, and the virtual router does not have a default one"
    one.fails(2048, text, "one.vrouter.instantiate", router, 1, -1, "", True, "")
    instantiate(one, make, router, site.template, hold=True)
    assert one.xml("one.vrouter.info", router).findtext("TEMPLATE/TEMPLATE_ID") == str(site.template)
    assert len(instantiate(one, make, router, -1, hold=True)) == 1


def test_only_templates_for_routers_make_vms_of_routers(one, make, site, router_of):
    router = router_of()
    text = "Only virtual router templates are allowed"
    one.fails(2048, text, "one.vrouter.instantiate", router, 1, make.template(), "", True, "")
    text = "Virtual router templates cannot be instantiated"
    one.fails(2048, text, "one.template.instantiate", site.template, "x", True, "", False)


def test_routers_and_templates_that_do_not_exist(one, site, router_of):
    router = router_of()
    text = "Error getting virtual router [99999]."
    assert one.fails(1024, text, "one.vrouter.instantiate", 99999, 1, site.template, "", True, "") == 99999
    text = "Error getting virtual machine template [99999]."
    assert one.fails(1024, text, "one.vrouter.instantiate", router, 1, 99999, "", True, "") == 99999
    text = "Error getting group [99999]."
    one.fails(1024, text, "one.vrouter.instantiate", router, 1, site.template, "", True, "AS_GID=99999")


def test_vms_can_be_made_in_another_group_whose_quota_counts_them(one, make, site, router_of, tenant):
    one.ok("one.group.quota", tenant.gid, 'VM=[VMS="1"]')
    router = router_of(nic(site.inside))
    (vm,) = instantiate(one, make, router, site.template, hold=True, extra=f"AS_GID={tenant.gid}")
    info = one.xml("one.vm.info", vm)
    assert (info.findtext("UID"), info.findtext("GID")) == ("0", str(tenant.gid))
    text = f"User [0] : group [{tenant.gid}] limit of 1 reached for VMS quota in VM."
    one.fails(512, text, "one.vrouter.instantiate", router, 1, -1, "", True, f"AS_GID={tenant.gid}")


def test_a_vm_that_is_gone_is_forgotten(one, make, site, router_of):
    router = router_of()
    first, second = instantiate(one, make, router, site.template, count=2)
    assert one.ok("one.vm.action", "terminate-hard", first) == first
    make.reached(first, 6)
    assert vms_of(one, router) == [second]


def test_a_vm_of_a_router_keeps_its_nics(one, make, site, router_of):
    (vm,) = instantiate(one, make, router_of(nic(site.inside)), site.template)
    one.fails(2048, ROUTER_VM, "one.vm.attachnic", vm, nic(site.outside))
    one.fails(2048, ROUTER_VM, "one.vm.detachnic", vm, 0)


# NICs that come and go


def test_a_nic_comes_to_the_router_and_its_vms(one, make, site, router_of):
    router = router_of(nic(site.inside, GATEWAY))
    (vm,) = instantiate(one, make, router, site.template)
    assert one.ok("one.vrouter.attachnic", router, nic(site.outside, FLOATING)) == router
    make.running(vm)
    assert [found["NIC_ID"] for found in nics_of(one, "vrouter", router)] == ["0", "1"]
    assert nics_of(one, "vm", vm)[1]["IP"] == "10.8.0.2"
    assert one.xml("one.vm.info", vm).findtext("TEMPLATE/CONTEXT/ETH1_VROUTER_IP") == "10.8.0.1"
    assert one.ok("one.vrouter.detachnic", router, 1) == router
    make.running(vm)
    one.until(lambda x: x.findtext("USED_LEASES") == "0", "one.vn.info", site.outside)
    assert [found["NIC_ID"] for found in nics_of(one, "vm", vm)] == ["0"]
    assert one.xml("one.vm.info", vm).findtext("TEMPLATE/CONTEXT/ETH1_IP") is None


def test_a_nic_that_the_vms_cannot_have_stays_on_the_router(one, make, site, router_of):
    router = router_of()
    (vm,) = instantiate(one, make, router, site.template, hold=True)
    text = f"Could not add a new NIC to VM {vm}, wrong state HOLD."
    one.fails(2048, text, "one.vrouter.attachnic", router, nic(site.inside))
    assert len(nics_of(one, "vrouter", router)) == 1
    assert nics_of(one, "vm", vm) == []


@pytest.mark.parametrize(
    ("template", "code", "text"),
    [
        ("", 2048, "The template must contain one NIC attribute"),
        ('NIC=[NETWORK_ID="0"]\nNIC=[NETWORK_ID="0"]', 2048, "The template must contain one NIC attribute"),
        ('NIC_ALIAS=[NETWORK_ID="0"]', 2048, "Alias can't be attached to virtual router."),
        ('NIC=[NETWORK_ID="99999"]', 2048, "Virtual network with ID: 99999 does not exist"),
        ("NIC=[", 8192, re.compile("Parse error: syntax error, .*")),
    ],
)
def test_a_nic_that_is_refused(one, router_of, template, code, text):
    one.fails(code, text, "one.vrouter.attachnic", router_of(), template)


def test_a_nic_or_router_that_does_not_exist(one, router_of):
    one.fails(2048, "NIC with NIC_ID 7 does not exist.", "one.vrouter.detachnic", router_of(), 7)
    for method, argument in (("attachnic", ""), ("detachnic", 0)):
        one.fails(1024, "Error getting virtual router [99999].", f"one.vrouter.{method}", 99999, argument)


# Owners


def test_the_vms_go_with_their_router_to_another_group(one, make, site, router_of):
    group = make.group()
    router = router_of(nic(site.inside))
    (vm,) = instantiate(one, make, router, site.template, hold=True)
    assert one.ok("one.vrouter.chown", router, -1, group) == router
    assert one.xml("one.vrouter.info", router).findtext("GID") == str(group)
    assert one.xml("one.vm.info", vm).findtext("GID") == str(group)
    assert one.xml("one.group.info", group).findtext("VM_QUOTA/VM/VMS_USED") == "1"


def test_permissions_of_a_router_with_vms_change_although_the_call_fails(one, make, site, router_of):
    router = router_of()
    assert one.ok("one.vrouter.chmod", router, 1, 1, 1, 1, 0, 0, 0, 0, 0) == router
    (vm,) = instantiate(one, make, router, site.template, hold=True)
    if one("one.vrouter.info", vm)[0]:
        pytest.skip("a router has the id of the VM, and would be changed")
    text = f"Error getting virtual router [{vm}]."
    one.fails(1024, text, "one.vrouter.chmod", router, 1, 1, 0, 0, 0, 0, 0, 0, 0)
    assert one.xml("one.vrouter.info", router).findtext("PERMISSIONS/GROUP_U") == "0"


def test_a_tenant_pays_for_the_addresses_of_its_routers(one, make, site, router_of, tenant):
    make.acl(f"@{tenant.gid} VROUTER/* CREATE")
    one.ok("one.vn.chmod", site.outside, -1, -1, -1, -1, -1, -1, 1, -1, -1)
    one.ok("one.group.quota", tenant.gid, f'NETWORK=[ID="{site.outside}",LEASES="1"]')
    router = router_of(f"{nic(site.outside, FLOATING)}\n{nic(site.outside)}", caller=tenant.one)
    text = f"group [{tenant.gid}] limit of 1 reached for LEASES quota in NETWORK with ID: {site.outside}"
    template = f'NAME="x"\n{nic(site.outside, FLOATING)}'
    tenant.one.fails(512, f"User [{tenant.uid}] : {text}.", "one.vrouter.allocate", template)
    assert tenant.one.ok("one.vrouter.delete", router) == router
    assert one.xml("one.group.info", tenant.gid).findtext("NETWORK_QUOTA/NETWORK/LEASES_USED") == "0"


def test_a_tenant_needs_the_right_to_make_routers_and_to_use_the_networks(one, make, router_of, tenant):
    missing = f"User [{tenant.uid}] : Not authorized to perform CREATE VROUTER."
    tenant.one.fails(512, missing, "one.vrouter.allocate", 'NAME="x"')
    make.acl(f"@{tenant.gid} VROUTER/* CREATE")
    far = make.network(cluster=make.cluster())
    missing = f"User [{tenant.uid}] : Not authorized to perform USE NET [{far}]."
    tenant.one.fails(512, missing, "one.vrouter.allocate", f'NAME="x"\n{nic(far)}')


# The end


def test_a_router_goes_at_once_and_its_vms_after_it(one, make, site, router_of):
    router = router_of(f"{nic(site.inside, GATEWAY)}\n{nic(site.outside, FLOATING)}")
    vms = instantiate(one, make, router, site.template)
    assert one.ok("one.vrouter.delete", router) == router
    assert one.fails(1024, f"Error getting virtual router [{router}].", "one.vrouter.info", router) == router
    for vm in vms:
        make.reached(vm, 6)
    assert leases(one, site.inside) == leases(one, site.outside) == {}
    assert routers_in(one, site.inside) == routers_in(one, site.outside) == []


def test_a_locked_router_makes_no_vms(one, make, site, router_of, tenant):
    make.acl(f"@{tenant.gid} VROUTER/* CREATE")
    router = router_of(caller=tenant.one)
    one.ok("one.template.chmod", site.template, -1, -1, -1, -1, -1, -1, 1, -1, -1, False)
    one.ok("one.vrouter.lock", router, 2)
    text = f"User [{tenant.uid}] : Not authorized to perform MANAGE VROUTER [{router}]."
    tenant.one.fails(512, text, "one.vrouter.instantiate", router, 1, site.template, "", True, "")
    tenant.one.fails(512, text, "one.vrouter.delete", router)
    one.ok("one.vrouter.unlock", router)
    assert len(instantiate(one, make, router, site.template, hold=True, caller=tenant.one)) == 1


# Other tenants


def test_a_router_is_seen_and_touched_by_its_owner_only(one, make, router_of, tenant):
    make.acl(f"@{tenant.gid} VROUTER/* CREATE")
    router, other = router_of(caller=tenant.one), make.tenant()
    listed = [int(item.findtext("ID")) for item in tenant.one.xml("one.vrouterpool.info", -2, -1, -1)]
    assert (router in listed, list(other.one.xml("one.vrouterpool.info", -2, -1, -1))) == (True, [])
    for right, method, arguments in (
        ("USE", "info", ()),
        ("MANAGE", "update", ("A=1", 1)),
        ("MANAGE", "instantiate", (1, 0, "", True, "")),
        ("MANAGE", "attachnic", ("NIC=[]",)),
        ("MANAGE", "detachnic", (0,)),
        ("MANAGE", "delete", ()),
    ):
        text = f"User [{other.uid}] : Not authorized to perform {right} VROUTER [{router}]."
        other.one.fails(512, text, f"one.vrouter.{method}", router, *arguments)


def test_a_router_takes_no_nic_in_a_network_of_another_tenant(one, make, router_of, tenant):
    other = make.tenant()
    for who in (tenant, other):
        make.acl(f"@{who.gid} VROUTER/* CREATE")
    for rule in one.xml("one.acl.info"):
        if rule.findtext("STRING", "").startswith(f"@{other.gid} NET/%0 USE"):
            one.ok("one.acl.delrule", int(rule.findtext("ID")))
    network = make.network()
    one.ok("one.vn.chown", network, tenant.uid, tenant.gid)
    text = f"User [{other.uid}] : Not authorized to perform USE NET [{network}]."
    other.one.fails(512, text, "one.vrouter.allocate", f'NAME="x"\n{nic(network)}')
    other.one.fails(512, text, "one.vrouter.attachnic", router_of(caller=other.one), nic(network))
    assert router_of(nic(network), caller=tenant.one)


def test_flags_and_pages_of_the_pool(one, make, router_of):
    gid = make.group()
    uid, login = make.login(gid)
    make.acl(f"@{gid} VROUTER/* CREATE")
    mine = [router_of(caller=login) for _ in range(3)]
    theirs = router_of()

    def listed(*arguments, caller=login):
        return [int(item.findtext("ID")) for item in caller.xml("one.vrouterpool.info", *arguments)]

    for flag in (-4, -3, -2, -1, uid):
        assert [oid for oid in listed(flag, -1, -1) if oid in {*mine, theirs}] == mine[::-1]
    assert listed(uid, -1, -1, caller=one) == mine[::-1]
    assert listed(-3, 1, -2) == [mine[1], mine[0]]
    assert listed(-2, mine[1], mine[2]) == [mine[2], mine[1]]
    login.fails(4096, "Incorrect filter_flag", "one.vrouterpool.info", -5, -1, -1)
