"""VM templates, and the VMs made of them."""

import re

import pytest


pytestmark = pytest.mark.live

REFUSED = "Error allocating a new virtual machine template. {}"
CPU = "CPU attribute must be a positive float or integer value."
MEMORY = "MEMORY attribute must be a positive integer value."
VCPU = "VCPU attribute must be a positive integer value."


@pytest.fixture
def template(make):
    return make.template('FOO="b"\nVEC=[A="1",B="2"]')


@pytest.fixture
def instance(one, make, template):
    """Makes a held VM of the template, and answers its XML."""
    return lambda extra="", **more: one.xml("one.vm.info", make.vm(template, extra, hold=True, **more))


def pairs(element):
    return {item.tag: item.text or "" for item in element}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("", "Invalid NAME, it cannot be empty"),
        ('NAME=""', "Invalid NAME, it cannot be empty"),
        ('NAME="a&b"', "Invalid NAME, char '&' is not allowed"),
    ],
)
def test_a_template_name_that_is_not_allowed(one, given, text):
    one.fails(8192, text, "one.template.allocate", given)


def test_template_names_are_taken_per_owner(one, make, tenant):
    name = make.name("tpl")
    template = make.template(name=name)
    one.fails(8192, f"NAME is already taken by TEMPLATE {template}.", "one.template.allocate", f'NAME="{name}"')
    assert make.kept("template", tenant.one.ok("one.template.allocate", f'NAME="{name}"')) != template
    other = make.template()
    text = (
        f"virtual machine template cannot be renamed to {name} "
        f"because it collides with virtual machine template {template}"
    )
    one.fails(2048, text, "one.template.rename", other, name)
    one.fails(8192, f"NAME is already taken by TEMPLATE {template}.", "one.template.clone", other, name, False)


def test_a_template_is_kept_without_its_name(one, make):
    found = one.xml("one.template.info", make.template('FOO="1"')).find("TEMPLATE")
    assert pairs(found) == {"CPU": "0.1", "FOO": "1", "MEMORY": "64"}


def test_a_clone_and_an_update(one, make, template):
    clone = make.kept("template", one.ok("one.template.clone", template, make.name("clone"), False))
    assert one.ok("one.template.update", clone, 'FOO="c"', 1) == clone
    assert one.xml("one.template.info", clone).findtext("TEMPLATE/FOO") == "c"
    assert one.xml("one.template.info", template).findtext("TEMPLATE/FOO") == "b"


def test_attributes_that_are_not_known_land_in_the_user_template(instance):
    info = instance()
    assert [item.tag for item in info.find("USER_TEMPLATE")] == ["FOO", "VEC"]
    assert pairs(info.find("USER_TEMPLATE/VEC")) == {"A": "1", "B": "2"}
    found = info.find("TEMPLATE")
    assert (found.findtext("CPU"), found.findtext("MEMORY"), found.find("VCPU")) == ("0.1", "64", None)


def test_the_vm_knows_its_template(instance, template):
    info = instance()
    assert info.findtext("TEMPLATE/TEMPLATE_ID") == str(template)
    assert info.findtext("TEMPLATE/VMID") == info.findtext("ID")


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ('FOO="x"', {"FOO": "x"}),
        ("<TEMPLATE><FOO>x</FOO></TEMPLATE>", {"FOO": "x"}),
        ('NEW="x"', {"FOO": "b", "NEW": "x"}),
        ('NAME="other"', {"FOO": "b"}),
    ],
)
def test_an_extra_template_adds_and_replaces(instance, extra, expected):
    found = pairs(instance(extra).find("USER_TEMPLATE"))
    found.pop("VEC")
    assert found == expected


def test_an_extra_vector_replaces_the_whole_vector(instance):
    assert pairs(instance('VEC=[C="3"]').find("USER_TEMPLATE/VEC")) == {"C": "3"}


def test_an_extra_disk_replaces_the_disks(one, make, image):
    template = make.template(f'DISK=[IMAGE_ID="{image}"]\nDISK=[TYPE="fs",SIZE="5"]')
    vm = make.vm(template, f'DISK=[IMAGE_ID="{image}",SIZE="4096"]', hold=True)
    disks = one.xml("one.vm.info", vm).find("TEMPLATE").findall("DISK")
    assert [(d.findtext("DISK_ID"), d.findtext("SIZE"), d.findtext("ORIGINAL_SIZE")) for d in disks] == [
        ("0", "4096", "2048")
    ]


def test_an_extra_nic_replaces_the_nics(one, make):
    first, second = make.network(), make.network()
    template = make.template(f'NIC=[NETWORK_ID="{first}"]')
    vm = make.vm(template, f'NIC=[NETWORK_ID="{second}"]', hold=True)
    nics = one.xml("one.vm.info", vm).find("TEMPLATE").findall("NIC")
    assert [nic.findtext("NETWORK_ID") for nic in nics] == [str(second)]
    assert one.xml("one.vn.info", first).findtext("USED_LEASES") == "0"


def test_a_context_knows_the_addresses_only_when_it_asks_for_them(one, make):
    network = make.network()
    template = make.template(f'NIC=[NETWORK_ID="{network}"]\nCONTEXT=[NETWORK="YES",SSH_PUBLIC_KEY="k"]')
    context = one.xml("one.vm.info", make.vm(template, hold=True)).find("TEMPLATE/CONTEXT")
    assert (context.findtext("ETH0_IP"), context.findtext("SSH_PUBLIC_KEY")) == ("10.7.0.1", "k")
    replaced = one.xml("one.vm.info", make.vm(template, 'CONTEXT=[A="1"]', hold=True)).find("TEMPLATE/CONTEXT")
    assert replaced.findtext("A") == "1"
    assert [item.tag for item in replaced if item.tag.startswith("ETH")] == []


def test_a_context_is_a_disk_behind_the_others(one, make, image):
    template = make.template(f'DISK=[IMAGE_ID="{image}"]\nCONTEXT=[A="1"]')
    found = one.xml("one.vm.info", make.vm(template, hold=True)).find("TEMPLATE")
    assert (found.findtext("DISK/DISK_ID"), found.findtext("CONTEXT/DISK_ID")) == ("0", "1")


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ('CPU="abc"', CPU),
        ('CPU="-1"', CPU),
        ('CPU="0"', CPU),
        ('MEMORY="abc"', MEMORY),
        ('MEMORY="0"', MEMORY),
        ('MEMORY="-5"', MEMORY),
        ('MEMORY="64.5"', MEMORY),
        ('VCPU="abc"', VCPU),
        ('VCPU="0"', VCPU),
        ('DISK=[IMAGE_ID="99999"]', "DISK 0: Image with ID: 99999 does not exist"),
        ('DISK=[TYPE="swap"]', "DISK 0: SIZE attribute must be a positive integer value."),
        ('DISK=[FOO="x"]', "DISK 0: Unknown disk type "),
        ('NIC=[NETWORK_ID="99999"]', "Virtual network with ID: 99999 does not exist"),
        (
            'NIC=[NETWORK="nope"]',
            "User 0 does not own a network with name: nope . Set NETWORK_UNAME or NETWORK_UID of owner in NIC.",
        ),
        (
            'DISK=[IMAGE="nope"]',
            "DISK 0: User 0 does not own an image with name: nope . Set IMAGE_UNAME or IMAGE_UID of owner in DISK.",
        ),
    ],
)
def test_a_vm_that_cannot_be(one, make, template, extra, text):
    arguments = template, make.name("vm"), True, extra, False
    assert one.fails(16384, REFUSED.format(text), "one.template.instantiate", *arguments) == -1


def test_a_disk_is_not_smaller_than_its_image(one, make, image, template):
    extra = f'DISK=[IMAGE_ID="{image}",SIZE="1024"]'
    text = REFUSED.format(f"DISK 0: SIZE of 1024MB is less than the image [{image}] size of 2048MB.")
    one.fails(16384, text, "one.template.instantiate", template, make.name("vm"), True, extra, False)


def test_an_extra_template_that_does_not_parse(one, make, template):
    parse_error = re.compile("Parse error: syntax error, unexpected .*")
    one.fails(8192, parse_error, "one.template.instantiate", template, make.name("vm"), True, "A=", False)


def test_a_missing_template(one):
    text = "Error getting virtual machine template [99999]."
    assert one.fails(1024, text, "one.template.instantiate", 99999, "x", True, "", False) == 99999


def test_router_templates_are_for_routers(one, make):
    arguments = make.template('VROUTER="YES"'), make.name("vm"), True, "", False
    one.fails(2048, "Virtual router templates cannot be instantiated", "one.template.instantiate", *arguments)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a:b", "Invalid NAME, char ':' is not allowed"),
        ("a&b", "Invalid NAME, char '&' is not allowed"),
        ("x" * 129, "Invalid NAME, max length is 128 chars"),
    ],
)
def test_a_vm_name_that_is_not_allowed(one, template, name, text):
    one.fails(16384, REFUSED.format(text), "one.template.instantiate", template, name, True, "", False)


def test_vm_names_are_not_unique_and_may_have_spaces(one, make, template):
    name = make.name("vm") + " a é"
    vms = [make.kept("vm", one.ok("one.template.instantiate", template, name, True, "", False)) for _ in range(2)]
    assert [one.xml("one.vm.info", vm).findtext("NAME") for vm in vms] == [name, name]


def test_without_a_name_a_vm_is_named_after_its_template(one, make):
    name = make.name("tpl")
    vm = make.kept("vm", one.ok("one.template.instantiate", make.template(name=name), "", True, "", False))
    assert one.xml("one.vm.info", vm).findtext("NAME") == f"{name}-{vm}"


def test_trailing_arguments_are_optional(one, make, template):
    vm = make.kept("vm", one.ok("one.template.instantiate", template, make.name("vm"), True))
    assert one.xml("one.vm.info", vm).findtext("STATE") == "2"


def test_as_gid_is_the_group_of_the_vm_and_leaves_no_trace(one, make, instance):
    gid = make.group()
    info = instance(f'AS_GID="{gid}"')
    assert (info.findtext("UID"), info.findtext("GID")) == ("0", str(gid))
    assert info.find("USER_TEMPLATE/AS_GID") is None
    assert info.find("TEMPLATE/AS_GID") is None


def test_as_uid_is_the_owner_and_the_group_stays_the_callers(one, make, instance, template):
    gid = make.group()
    uid = make.user(gid)
    one.ok("one.template.chmod", template, -1, -1, -1, -1, -1, -1, 1, -1, -1)
    make.acl(f"#{uid} TEMPLATE+VM/* CREATE")
    info = instance(f'AS_UID="{uid}"')
    assert (info.findtext("UID"), info.findtext("GID")) == (str(uid), "0")
    both = instance(f'AS_UID="{uid}"\nAS_GID="{gid}"')
    assert (both.findtext("UID"), both.findtext("GID")) == (str(uid), str(gid))


@pytest.mark.parametrize(("key", "words"), [("AS_GID", "group"), ("AS_UID", "user")])
def test_missing_owners(one, make, template, key, words):
    arguments = template, make.name("vm"), True, f'{key}="99999"', False
    assert one.fails(1024, f"Error getting {words} [99999].", "one.template.instantiate", *arguments) == 99999


def test_an_as_gid_that_is_no_number_is_kept_as_an_attribute(instance):
    info = instance('AS_GID="abc"')
    assert info.findtext("GID") == "0"
    assert info.findtext("USER_TEMPLATE/AS_GID") == "abc"


@pytest.mark.parametrize(("given", "text"), [("MEMORY=64", CPU), ("CPU=1\nMEMORY=x", MEMORY), ("", MEMORY)])
def test_a_vm_without_template_needs_its_size(one, given, text):
    one.fails(8192, text, "one.vm.allocate", given, True)


def test_a_vm_without_template(one, make):
    name = make.name("vm")
    vm = make.kept("vm", one.ok("one.vm.allocate", f'NAME="{name}"\nCPU="0.1"\nMEMORY="64"', True))
    info = one.xml("one.vm.info", vm)
    assert (info.findtext("NAME"), info.findtext("STATE")) == (name, "2")


def test_a_persistent_vm_has_a_template_and_an_image_of_its_own(one, make, image):
    name = make.name("persistent")
    template = make.template(f'DISK=[IMAGE_ID="{image}"]')
    vm = make.kept("vm", one.ok("one.template.instantiate", template, name, True, "", True))
    (clone,) = [t for t in one.xml("one.templatepool.info", -3, -1, -1) if t.findtext("NAME") == name]
    make.kept("template", clone.findtext("ID"))
    disk = one.xml("one.vm.info", vm).find("TEMPLATE/DISK")
    assert (disk.findtext("IMAGE"), disk.findtext("CLONE"), disk.findtext("SAVE")) == (f"{name}-disk-0", "NO", "YES")
    own = int(disk.findtext("IMAGE_ID"))
    info = one.until(lambda x: x.findtext("STATE") == "8", "one.image.info", own)
    assert info.findtext("PERSISTENT") == "1"
    one.ok("one.vm.action", "terminate-hard", vm)
    make.reached(vm, 6)
    make.kept("image", own)


# What is not one's own


@pytest.fixture
def private(one, make):
    """An image that only oneadmin may use."""
    return make.image()


def test_an_image_is_used_by_its_id_without_any_right_to_it(tenant, make, private):
    template = make.kept("template", tenant.one.ok("one.template.allocate", 'NAME="t"\nCPU="0.1"\nMEMORY="64"'))
    text = f"User [{tenant.uid}] : Not authorized to perform USE IMAGE [{private}]."
    tenant.one.fails(512, text, "one.image.info", private)
    disk = f'DISK=[IMAGE_ID="{private}"]'
    make.vm(template, disk, one=tenant.one, hold=True)
    for named in (f'IMAGE_ID="{private}"', f'IMAGE="{_name(make, private)}",IMAGE_UID="0"'):
        arguments = f'NAME="{make.name("vm")}"\nCPU="0.1"\nMEMORY="64"\nDISK=[{named}]', True
        tenant.one.fails(512, text, "one.vm.allocate", *arguments)
    disk = f'DISK=[IMAGE="{_name(make, private)}",IMAGE_UNAME="oneadmin"]'
    tenant.one.fails(512, text, "one.template.instantiate", template, make.name("vm"), True, disk, False)


def _name(make, image):
    return make.one.xml("one.image.info", image).findtext("NAME")


def test_disks_of_a_template_are_described_to_those_only_who_may_use_them(tenant, make, private):
    text = f'NAME="t"\nCPU="0.1"\nMEMORY="64"\nDISK=[IMAGE_ID="{private}"]'
    template = make.kept("template", tenant.one.ok("one.template.allocate", text))
    assert tenant.one.xml("one.template.info", template, False).findtext("TEMPLATE/DISK/IMAGE_ID") == str(private)
    text = f"User [{tenant.uid}] : Not authorized to perform USE IMAGE [{private}]."
    tenant.one.fails(512, text, "one.template.info", template, True)


def test_a_refusal_names_the_owner_that_a_vm_was_to_have(one, make):
    gid, template = make.group(), make.template()
    uid = make.user(gid)
    owner = f'AS_GID="{gid}"\nAS_UID="{uid}"'
    arguments = template, make.name("vm"), True, owner, False
    words = f"Not authorized to perform USE TEMPLATE [{template}]; Not authorized to perform CREATE TEMPLATE"
    one.fails(512, f"User [{uid}] : {words}.", "one.template.instantiate", *arguments)
    one.ok("one.template.chmod", template, -1, -1, -1, -1, -1, -1, 1, -1, -1)
    make.acl(f"@{gid} TEMPLATE+VM/* CREATE")
    one.ok("one.group.quota", gid, 'VM=[CPU="0.05"]')
    text = f"User [{uid}] : group [{gid}] limit of 0.05 reached for CPU quota in VM."
    one.fails(512, text, "one.template.instantiate", *arguments)
