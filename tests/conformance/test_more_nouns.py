"""What else tenants create: VM groups, virtual routers, backup jobs and documents."""

import pytest


pytestmark = pytest.mark.live

DOCUMENT_TYPE = 100
MISSING = 99999

KINDS = {
    "vmgroup": (0x200000, "VMGROUP", "vm group", "VM_GROUP"),
    "vrouter": (0x40000, "VROUTER", "virtual router", "VROUTER"),
    "backupjob": (0x1000000, "BACKUPJOB", "backup job", "BACKUPJOB"),
    "document": (0x4000, "DOCUMENT", "document", "DOCUMENT"),
}
"""The bit of a noun in access rules, its name there, its name in messages, and its root element."""

HEAD = ["ID", "UID", "GID", "UNAME", "GNAME", "NAME"]
TAILS = {
    "vmgroup": ["PERMISSIONS", "LOCK", "ROLES", "TEMPLATE"],
    "vrouter": ["PERMISSIONS", "LOCK", "VMS", "TEMPLATE"],
    "backupjob": [
        *("LOCK", "PERMISSIONS", "PRIORITY", "LAST_BACKUP_TIME", "LAST_BACKUP_DURATION", "SCHED_ACTIONS"),
        *("UPDATED_VMS", "OUTDATED_VMS", "BACKING_UP_VMS", "ERROR_VMS", "TEMPLATE"),
    ],
    "document": ["TYPE", "PERMISSIONS", "LOCK", "TEMPLATE"],
}
DEFAULTS = {
    "BACKUP_VMS": None,
    "BACKUP_VOLATILE": "NO",
    "EXECUTION": "SEQUENTIAL",
    "FS_FREEZE": "NONE",
    "KEEP_LAST": "0",
    "MODE": "FULL",
}
"""What oned adds to the template of a backup job."""

UNIQUE = {"vmgroup": "VMGroup", "backupjob": "BACKUP JOB"}
NOUNS = pytest.mark.parametrize("noun", KINDS)


def arguments(noun, template):
    return (template, DOCUMENT_TYPE) if noun == "document" else (template,)


def allocate(make, noun, template="", *, name=None, one=None):
    text = f'NAME="{name or make.name(noun)}"\n{template}'
    return make.kept(noun, (one or make.one).ok(f"one.{noun}.allocate", *arguments(noun, text)))


def pool(one, noun, flag=-2, start=-1, end=-1, kind=DOCUMENT_TYPE):
    more = (kind,) if noun == "document" else ()
    return one.xml(f"one.{noun}pool.info", flag, start, end, *more)


def listed(one, noun, *arguments):
    return [int(item.findtext("ID")) for item in pool(one, noun, *arguments)]


def template_of(one, noun, oid):
    return {item.tag: item.text for item in one.xml(f"one.{noun}.info", oid).find("TEMPLATE")}


def may_create(make, gid, noun):
    bit = KINDS[noun][0]
    return make.kept(
        "acl", make.one.ok("one.acl.addrule", f"{0x200000000 | gid:x}", f"{bit << 32 | 0x400000000:x}", "8")
    )


@NOUNS
def test_a_body_has_its_elements_in_order(one, make, noun):
    name = make.name(noun)
    oid = allocate(make, noun, 'FOO="1"', name=name)
    body = one.xml(f"one.{noun}.info", oid)
    assert body.tag == KINDS[noun][3]
    assert [item.tag for item in body] == HEAD + [tag for tag in TAILS[noun] if tag != "LOCK"]
    assert [body.findtext(tag) for tag in HEAD] == [str(oid), "0", "0", "oneadmin", "oneadmin", name]
    assert template_of(one, noun, oid) == {"FOO": "1"} | (DEFAULTS if noun == "backupjob" else {})
    assert one.ok(f"one.{noun}.lock", oid, 2) == oid
    assert [item.tag for item in one.xml(f"one.{noun}.info", oid)] == HEAD + TAILS[noun]
    one.ok(f"one.{noun}.unlock", oid)


@NOUNS
def test_a_pool_lists_the_bodies_the_highest_id_first(one, make, noun):
    first, second = allocate(make, noun), allocate(make, noun)
    found = pool(one, noun)
    assert found.tag == f"{KINDS[noun][3]}_POOL"
    assert [item.tag for item in found] == [KINDS[noun][3]] * len(found)
    assert [oid for oid in listed(one, noun) if oid in {first, second}] == [second, first]
    assert listed(one, noun, -2, first, first) == [first]
    assert listed(one, noun, -2, 0, -1) == listed(one, noun)
    assert listed(one, noun, -2, 0, -2) == listed(one, noun)[:2]
    assert listed(one, noun, -2, 1, -2) == listed(one, noun)[1:3]
    more = (DOCUMENT_TYPE,) if noun == "document" else ()
    one.fails(4096, "Incorrect filter_flag", f"one.{noun}pool.info", -5, -1, -1, *more)


@NOUNS
def test_a_tenant_sees_its_own_only(one, make, tenant, noun):
    may_create(make, tenant.gid, noun)
    other = allocate(make, noun)
    own = allocate(make, noun, one=tenant.one)
    assert listed(tenant.one, noun) == [own]
    assert listed(one, noun, tenant.uid) == [own]
    assert other not in listed(one, noun, tenant.uid)
    text = f"User [{tenant.uid}] : Not authorized to perform USE {KINDS[noun][1]} [{other}]."
    tenant.one.fails(512, text, f"one.{noun}.info", other)
    text = f"User [{tenant.uid}] : Not authorized to perform MANAGE {KINDS[noun][1]} [{other}]."
    tenant.one.fails(512, text, f"one.{noun}.delete", other)
    assert tenant.one.ok(f"one.{noun}.delete", own) == own
    assert listed(tenant.one, noun) == []


@NOUNS
def test_one_cannot_be_made_without_a_rule_for_it(make, noun):
    uid, user = make.login(make.group())
    text = f"User [{uid}] : Not authorized to perform CREATE {KINDS[noun][1]}."
    user.fails(512, text, f"one.{noun}.allocate", *arguments(noun, f'NAME="{make.name(noun)}"'))


@pytest.mark.parametrize("noun", sorted(KINDS.keys() - {"vrouter"}))
def test_the_group_of_all_users_may_make_one(make, noun):
    _, user = make.login()
    assert allocate(make, noun, one=user) in listed(user, noun)


@NOUNS
def test_one_that_is_deleted_is_gone(one, make, noun):
    oid = allocate(make, noun)
    assert one.ok(f"one.{noun}.delete", oid) == oid
    assert oid not in listed(one, noun)
    for verb in ("info", "delete"):
        assert one.fails(1024, f"Error getting {KINDS[noun][2]} [{oid}].", f"one.{noun}.{verb}", oid) == oid


@NOUNS
@pytest.mark.parametrize(
    ("verb", "values"),
    [
        ("info", ()),
        ("delete", ()),
        ("update", ('A="1"', 0)),
        ("rename", ("x",)),
        ("chown", (0, 0)),
        ("chmod", (1,) * 9),
        ("lock", (1,)),
        ("unlock", ()),
    ],
)
def test_one_that_does_not_exist(one, noun, verb, values):
    text = f"Error getting {KINDS[noun][2]} [{MISSING}]."
    assert one.fails(1024, text, f"one.{noun}.{verb}", MISSING, *values) == MISSING


@NOUNS
def test_an_update_replaces_or_merges(one, make, noun):
    added = DEFAULTS if noun == "backupjob" else {}
    oid = allocate(make, noun, 'FOO="1"')
    assert one.ok(f"one.{noun}.update", oid, 'BAR="2"', 1) == oid
    assert template_of(one, noun, oid) == {"FOO": "1", "BAR": "2"} | added
    assert one.ok(f"one.{noun}.update", oid, 'BAR="3"') == oid
    assert template_of(one, noun, oid) == {"BAR": "3"} | added


@pytest.mark.parametrize("noun", UNIQUE)
def test_a_name_taken_by_another_of_the_owner(one, make, noun):
    name = make.name(noun)
    oid = allocate(make, noun, name=name)
    one.fails(8192, f"NAME is already taken by {UNIQUE[noun]} {oid}.", f"one.{noun}.allocate", f'NAME="{name}"')
    label = KINDS[noun][2]
    text = f"{label} cannot be renamed to {name} because it collides with {label} {oid}"
    one.fails(2048, text, f"one.{noun}.rename", allocate(make, noun), name)


@pytest.mark.parametrize("noun", sorted(KINDS.keys() - UNIQUE.keys()))
def test_two_of_one_name(one, make, noun):
    name = make.name(noun)
    first, second = allocate(make, noun, name=name), allocate(make, noun, name=name)
    third = allocate(make, noun)
    assert len({first, second, third}) == 3
    assert one.ok(f"one.{noun}.rename", third, name) == third
    assert one.xml(f"one.{noun}.info", third).findtext("NAME") == name


@NOUNS
def test_one_changes_its_owner(one, make, noun):
    gid = make.group()
    uid, _ = make.login(gid)
    oid = allocate(make, noun)
    assert one.ok(f"one.{noun}.chown", oid, uid, gid) == oid
    body = one.xml(f"one.{noun}.info", oid)
    assert [body.findtext("UID"), body.findtext("GID")] == [str(uid), str(gid)]


@NOUNS
def test_a_new_owner_has_one_of_that_name(one, make, noun):
    name = make.name(noun)
    uid = make.user()
    first = allocate(make, noun, name=name)
    one.ok(f"one.{noun}.chown", first, uid, -1)
    second = allocate(make, noun, name=name)
    if noun == "document":
        assert one.ok("one.document.chown", second, uid, -1) == second
        return
    text = f"user [{uid}] already owns {KINDS[noun][2]} [{first}] with NAME {name}"
    one.fails(8192, text, f"one.{noun}.chown", second, uid, -1)


@NOUNS
def test_one_is_opened_to_everyone(one, make, noun):
    uid, user = make.login()
    oid = allocate(make, noun)
    assert oid not in listed(user, noun)
    assert one.ok(f"one.{noun}.chmod", oid, -1, -1, -1, -1, -1, -1, 1, -1, -1) == oid
    assert oid in listed(user, noun)
    assert user.xml(f"one.{noun}.info", oid).findtext("PERMISSIONS/OTHER_U") == "1"
    assert oid not in listed(one, noun, uid)


@NOUNS
def test_a_locked_one_stays(one, make, noun):
    oid = allocate(make, noun)
    one.ok(f"one.{noun}.lock", oid, 2)
    text = f"User [0] : {KINDS[noun][1]} is locked. [{oid}]."
    one.fails(512, text, f"one.{noun}.delete", oid)
    one.fails(512, text, f"one.{noun}.rename", oid, make.name())
    assert one.ok(f"one.{noun}.unlock", oid) == oid
    assert one.ok(f"one.{noun}.delete", oid) == oid


@pytest.mark.parametrize("noun", ["vmgroup", "vrouter", "backupjob"])
@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("", "Invalid NAME, it cannot be empty"),
        ('NAME="a&b"', "Invalid NAME, char '&' is not allowed"),
        (f'NAME="{"x" * 129}"', "Invalid NAME, max length is 128 chars"),
    ],
)
def test_a_name_that_is_not_allowed(one, noun, template, text):
    one.fails(8192, text, f"one.{noun}.allocate", template)


def test_a_document_is_named_after_its_id(one, make):
    oid = make.kept("document", one.ok("one.document.allocate", "", DOCUMENT_TYPE))
    assert one.xml("one.document.info", oid).findtext("NAME") == f"document-{oid}"


def test_a_document_may_have_nearly_any_name(one, make):
    name = f"{make.name('document')}/:'x"
    oid = allocate(make, "document", name=name)
    assert one.xml("one.document.info", oid).findtext("NAME") == name
    one.fails(8192, "Error transforming the Document to XML.", "one.document.allocate", 'NAME="a&b"', DOCUMENT_TYPE)
    text = "NAME is too long; max length is 128 chars."
    one.fails(8192, text, "one.document.allocate", f'NAME="{"x" * 129}"', DOCUMENT_TYPE)


def test_documents_are_listed_by_type(one, make):
    oids = {kind: make.kept("document", one.ok("one.document.allocate", "", kind)) for kind in (4711, 4712)}
    for kind, oid in oids.items():
        assert listed(one, "document", -2, -1, -1, kind) == [oid]
        assert listed(one, "document", -2, 0, -1000, kind) == [oid]
        assert one.xml("one.document.info", oid).findtext("TYPE") == str(kind)


def test_a_vm_group_has_roles(one, make):
    roles = 'ROLE=[NAME="a",VMS="1",POLICY="AFFINED"]\nROLE=[NAME="b",ID="7",HOST_AFFINED="1"]'
    oid = allocate(make, "vmgroup", f'{roles}\nANTI_AFFINED="a, b"')
    found = [{item.tag: item.text for item in role} for role in one.xml("one.vmgroup.info", oid).find("ROLES")]
    assert found == [{"ID": "0", "NAME": "a", "POLICY": "AFFINED"}, {"HOST_AFFINED": "1", "ID": "1", "NAME": "b"}]
    assert template_of(one, "vmgroup", oid) == {"ANTI_AFFINED": "a, b"}
    one.ok("one.vmgroup.update", oid, 'ROLE=[NAME="z"]\nAFFINED="a,b"')
    assert len(one.xml("one.vmgroup.info", oid).find("ROLES")) == 2
    text = "Cannot update template. Some roles used in AFFINED attribute (z) are not defined"
    one.fails(8192, text, "one.vmgroup.update", oid, 'AFFINED="z"')
    assert template_of(one, "vmgroup", oid) == {"AFFINED": "a,b"}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ('ROLE=[POLICY="AFFINED"]', "Missing NAME in VM group role"),
        ('ROLE=[NAME="a"]\nROLE=[NAME="a"]', "Role already exists"),
        ('ROLE=[NAME="a"]\nAFFINED="a,c"', "Some roles used in AFFINED attribute (a,c) are not defined"),
        ('ANTI_AFFINED="c"', "Some roles used in ANTI_AFFINED attribute (c) are not defined"),
        (
            'ROLE=[NAME="a"]\nROLE=[NAME="b"]\nAFFINED="a,b"\nAFFINED="b, a"',
            "Duplicated AFFINED rule (b, a) detected.",
        ),
        (
            'ROLE=[NAME="a"]\nROLE=[NAME="b"]\nAFFINED="a,b"\nANTI_AFFINED="b,a"',
            "Roles defined in AFFINED and ANTI_AFFINED rules: a b",
        ),
        (
            'ROLE=[NAME="a",POLICY="anti_affined"]\nROLE=[NAME="b"]\nAFFINED="a,b"',
            "Role a is in an AFFINED rule but the role policy is ANTI_AFFINED",
        ),
    ],
)
def test_roles_and_rules_that_are_refused(one, make, template, text):
    one.fails(8192, text, "one.vmgroup.allocate", f'NAME="{make.name("vmgroup")}"\n{template}')


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ('KEEP_LAST="5"\nBACKUP_VOLATILE="yes"', {"KEEP_LAST": "5", "BACKUP_VOLATILE": "YES"}),
        ('KEEP_LAST="-5"\nFS_FREEZE="agent"', {"FS_FREEZE": "AGENT"}),
        ('MODE="increment"\nEXECUTION="x"', {"MODE": "INCREMENT", "INCREMENT_MODE": "CBT"}),
        ('MODE="other"\nEXECUTION="parallel"', {"EXECUTION": "PARALLEL"}),
        ('DISK_IDS="3,1,1"\nPRIORITY="7"', {"DISK_IDS": "1,3"}),
        ('BACKUP_VMS="99999,99999,x,99998,99999"', {"BACKUP_VMS": "99999,99998,99999"}),
    ],
)
def test_a_backup_job_is_completed(one, make, given, kept):
    oid = allocate(make, "backupjob", given)
    assert template_of(one, "backupjob", oid) == DEFAULTS | kept
    assert one.xml("one.backupjob.info", oid).findtext("PRIORITY") == ("7" if "PRIORITY" in given else "50")
    one.ok("one.backupjob.update", oid, 'PRIORITY="8"\nNAME="x"', 1)
    assert template_of(one, "backupjob", oid) == DEFAULTS | kept
    assert one.xml("one.backupjob.info", oid).findtext("PRIORITY") == ("7" if "PRIORITY" in given else "50")


@pytest.mark.parametrize("priority", [-1, 100])
def test_a_priority_that_is_refused(one, make, priority):
    template = f'NAME="{make.name("backupjob")}"\nPRIORITY="{priority}"'
    one.fails(8192, "Wrong priority value", "one.backupjob.allocate", template)


def test_a_high_priority_is_for_administrators(make, tenant):
    may_create(make, tenant.gid, "backupjob")
    template = f'NAME="{make.name("backupjob")}"\nPRIORITY='
    text = f"User [{tenant.uid}] not authorized to perform action on backup job."
    tenant.one.fails(512, text, "one.backupjob.allocate", f'{template}"51"')
    make.kept("backupjob", tenant.one.ok("one.backupjob.allocate", f'{template}"50"'))


def test_disk_ids_that_are_refused(one, make):
    template = f'NAME="{make.name("backupjob")}"\nDISK_IDS="1,x"'
    one.fails(8192, "Invalid DISK_IDS value: 1,x", "one.backupjob.allocate", template)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@NOUNS
def test_the_bindings_of_pyone_parse_them(one, make, noun):
    bindings = pytest.importorskip("pyone.bindings")
    oid = allocate(make, noun, 'FOO="1"')
    found = bindings.parseString(one.ok(f"one.{noun}.info", oid).encode())
    assert type(found).__name__ == f"{KINDS[noun][3]}Sub"
    assert oid == found.ID
    more = (DOCUMENT_TYPE,) if noun == "document" else ()
    bodies = bindings.parseString(one.ok(f"one.{noun}pool.info", -2, -1, -1, *more).encode())
    assert oid in [item.ID for item in getattr(bodies, KINDS[noun][3])]
