"""Images: registration, names, types, persistence, deletion."""

import pytest


pytestmark = pytest.mark.live

ALLOCATING = "Error allocating a new image. {}"
NO_SIZE = "Cannot parse image SIZE: Wrong number or missing SIZE attribute."


def registered(one, make, template, datastore=1):
    image = make.kept("image", one.ok("one.image.allocate", f'NAME="{make.name("image")}"\n{template}', datastore))
    return one.until(lambda x: x.findtext("STATE") == "1", "one.image.info", image)


def state(one, image):
    return one.xml("one.image.info", image).findtext("STATE")


def test_an_image_is_locked_until_it_is_registered(one, make):
    template = f'NAME="{make.name("image")}"\nTYPE="DATABLOCK"\nSIZE="16"'
    image = make.kept("image", one.ok("one.image.allocate", template, 1))
    one.until(lambda x: x.findtext("STATE") in {"4", "1"}, "one.image.info", image)
    info = one.until(lambda x: x.findtext("STATE") == "1", "one.image.info", image)
    assert (info.findtext("SIZE"), info.findtext("RUNNING_VMS"), info.findtext("DATASTORE")) == ("16", "0", "default")


@pytest.mark.parametrize(
    ("template", "kind", "persistent"),
    [
        ('TYPE="DATABLOCK"\nSIZE="16"', "2", "0"),
        ('TYPE="DATABLOCK"\nSIZE="16"\nPERSISTENT="YES"', "2", "1"),
        ('TYPE="OS"\nPATH="/dev/null"', "0", "0"),
        ('TYPE="CDROM"\nPATH="/dev/null"', "1", "0"),
    ],
)
def test_types(one, make, template, kind, persistent):
    info = registered(one, make, template)
    assert (info.findtext("TYPE"), info.findtext("PERSISTENT")) == (kind, persistent)


@pytest.mark.parametrize("template", ["", 'TYPE="DATABLOCK"', 'TYPE="OS"', 'TYPE="DATABLOCK"\nSIZE="abc"', 'TYPE="X"'])
def test_without_a_path_a_size_is_needed(one, make, template):
    one.fails(8192, NO_SIZE, "one.image.allocate", f'NAME="{make.name("image")}"\n{template}', 1)


@pytest.mark.parametrize(
    ("template", "datastore", "text"),
    [
        ('NAME="a&b"\nTYPE="DATABLOCK"\nSIZE="5"', 1, "Invalid NAME, char '&' is not allowed"),
        (
            'NAME="x"\nTYPE="DATABLOCK"\nSIZE="5"',
            0,
            "New images can only be allocated in a files or image datastore.",
        ),
        (
            'NAME="x"\nTYPE="DATABLOCK"\nSIZE="5"',
            2,
            "Only IMAGES of type KERNEL, RAMDISK and CONTEXT can be registered in a FILE_DS datastore",
        ),
        (
            'NAME="x"\nTYPE="KERNEL"\nPATH="/dev/null"',
            1,
            "IMAGES of type KERNEL, RAMDISK and CONTEXT cannot be registered in an IMAGE_DS datastore",
        ),
    ],
)
def test_an_image_that_cannot_be(one, template, datastore, text):
    one.fails(16384, ALLOCATING.format(text), "one.image.allocate", template, datastore)


def test_a_datastore_that_is_too_small(one, make):
    template = f'NAME="{make.name("image")}"\nTYPE="DATABLOCK"\nSIZE="99999999"'
    one.fails(2048, "Not enough space in datastore", "one.image.allocate", template, 1)


def test_a_missing_datastore(one):
    template = 'NAME="x"\nTYPE="DATABLOCK"\nSIZE="5"'
    assert one.fails(1024, "Error getting datastore [99999].", "one.image.allocate", template, 99999) == 99999


def test_names_are_taken_per_owner(one, make, tenant):
    name = make.name("image")
    image = make.image(name=name)
    template = f'NAME="{name}"\nTYPE="DATABLOCK"\nSIZE="5"'
    text = ALLOCATING.format(f"NAME is already taken by IMAGE {image}.")
    one.fails(16384, text, "one.image.allocate", template, 1)
    assert make.kept("image", tenant.one.ok("one.image.allocate", template, 1)) != image


def test_renaming(one, make):
    name, image, other = make.name("image"), make.image(), make.image()
    assert one.ok("one.image.rename", image, name) == image
    assert one.xml("one.image.info", image).findtext("NAME") == name
    text = f"image cannot be renamed to {name} because it collides with image {image}"
    one.fails(2048, text, "one.image.rename", other, name)
    one.fails(2048, "Invalid NAME, it cannot be empty", "one.image.rename", other, "")


def test_attributes(one, make):
    image = make.image('A="1"')
    assert one.ok("one.image.update", image, 'B="2"', 1) == image
    assert [item.tag for item in one.xml("one.image.info", image).find("TEMPLATE")] == ["A", "B", "DEV_PREFIX"]


def test_persistence(one, make):
    image = make.image()
    assert one.ok("one.image.persistent", image, True) == image
    assert one.xml("one.image.info", image).findtext("PERSISTENT") == "1"
    assert one.ok("one.image.persistent", image, False) == image
    assert one.xml("one.image.info", image).findtext("PERSISTENT") == "0"


def test_disabling(one, make):
    image = make.image()
    assert one.ok("one.image.enable", image, False) == image
    assert state(one, image) == "3"
    assert one.ok("one.image.enable", image, True) == image
    assert state(one, image) == "1"


def test_owners_and_permissions(one, make):
    image, gid, uid = make.image(), make.group(), make.user()
    assert one.ok("one.image.chown", image, uid, gid) == image
    info = one.xml("one.image.info", image)
    assert (info.findtext("UID"), info.findtext("GID")) == (str(uid), str(gid))
    assert one.fails(1024, "Error getting user [99999].", "one.image.chown", image, 99999, -1) == 99999
    assert one.fails(1024, "Error getting group [99999].", "one.image.chown", image, -1, 99999) == 99999
    assert one.ok("one.image.chmod", image, -1, -1, -1, 1, -1, -1, 1, -1, -1) == image
    permissions = {item.tag for item in one.xml("one.image.info", image).find("PERMISSIONS") if item.text == "1"}
    assert permissions == {"OWNER_U", "OWNER_M", "GROUP_U", "OTHER_U"}
    text = "New permission values must be -1, 0 or 1"
    one.fails(8192, text, "one.image.chmod", image, 2, -1, -1, -1, -1, -1, -1, -1, -1)


def test_a_locked_image_is_not_deleted(one, make):
    image = make.image()
    assert one.ok("one.image.lock", image, 4) == image
    one.fails(512, f"User [0] : IMAGE is locked. [{image}].", "one.image.delete", image)
    assert one.ok("one.image.unlock", image) == image
    assert one.ok("one.image.delete", image) == image


def test_an_image_in_use_is_neither_deleted_nor_made_persistent(one, make):
    image = make.image()
    vm = make.vm(make.template(f'DISK=[IMAGE_ID="{image}"]'), hold=True)
    info = one.xml("one.image.info", image)
    assert (info.findtext("STATE"), info.findtext("RUNNING_VMS")) == ("2", "1")
    assert [item.text for item in info.find("VMS")] == [str(vm)]
    one.fails(2048, "Cannot delete image. There are 1 VMs using it.", "one.image.delete", image)
    text = "Could not make image persistent: Image cannot be in state USED."
    one.fails(8192, text, "one.image.persistent", image, True)


def test_a_deleted_image_is_gone_a_little_later(one, make):
    datastore = make.datastore()
    one.until(lambda x: int(x.findtext("FREE_MB")) > 0, "one.datastore.info", datastore)
    image = make.image(datastore=datastore)
    assert [item.text for item in one.xml("one.datastore.info", datastore).find("IMAGES")] == [str(image)]
    assert one.ok("one.image.delete", image) == image
    one.until_gone("one.image.info", image)
    one.until(lambda x: len(x.find("IMAGES")) == 0, "one.datastore.info", datastore)


INCOMPATIBLE = "Cannot change image type to an incompatible type for the current datastore."


@pytest.mark.parametrize(("kind", "number"), [("OS", "0"), ("CDROM", "1"), ("DATABLOCK", "2"), ("", "0"), ("os", "0")])
def test_a_disk_image_becomes_another_kind_of_disk(one, make, kind, number):
    image = make.image()
    assert one.ok("one.image.chtype", image, kind) == image
    assert one.xml("one.image.info", image).findtext("TYPE") == number


@pytest.mark.parametrize(
    ("kind", "code", "text"),
    [
        ("KERNEL", 2048, INCOMPATIBLE),
        ("CONTEXT", 2048, INCOMPATIBLE),
        ("BACKUP", 2048, INCOMPATIBLE),
        ("FILESYSTEM", 2048, INCOMPATIBLE),
        ("FOO", 8192, "known type "),
    ],
)
def test_a_disk_image_becomes_nothing_else(one, make, kind, code, text):
    image = make.image()
    one.fails(code, text, "one.image.chtype", image, kind)
    assert one.xml("one.image.info", image).findtext("TYPE") == "2"


def test_a_file_becomes_another_kind_of_file(one, make):
    template = f'NAME="{make.name("file")}"\nTYPE="KERNEL"\nPATH="/dev/null"'
    file = make.kept("image", one.ok("one.image.allocate", template, 2))
    one.until(lambda x: x.findtext("STATE") == "1", "one.image.info", file)
    assert one.ok("one.image.chtype", file, "CONTEXT") == file
    assert one.xml("one.image.info", file).findtext("TYPE") == "5"
    for kind in ("OS", "FOO", ""):
        one.fails(2048, INCOMPATIBLE, "one.image.chtype", file, kind)


def test_the_type_of_a_missing_image(one):
    assert one.fails(1024, "Error getting image [99999].", "one.image.chtype", 99999, "OS") == 99999


def test_a_disabled_image_is_neither_used_nor_copied(one, make):
    image, template = make.image(), make.template()
    for _ in range(2):
        assert one.ok("one.image.enable", image, False) == image
        assert state(one, image) == "3"
    words = f"DISK 0: Cannot acquire image {image}, it is in state: DISABLED"
    arguments = template, make.name("vm"), True, f'DISK=[IMAGE_ID="{image}"]', False
    text = f"Error allocating a new virtual machine template. {words}"
    one.fails(16384, text, "one.template.instantiate", *arguments)
    text = ALLOCATING.format("Cannot clone image in state: DISABLED")
    one.fails(16384, text, "one.image.clone", image, make.name("copy"))
    assert one.ok("one.image.persistent", image, True) == image
    assert one.ok("one.image.enable", image, True) == image
    assert state(one, image) == "1"


@pytest.mark.parametrize(("extra", "used"), [("", "2"), ('PERSISTENT="YES"', "8")])
def test_an_image_in_use_changes_its_type_but_nothing_that_matters_to_the_vm(one, make, extra, used):
    image = make.image(extra)
    make.vm(make.template(f'DISK=[IMAGE_ID="{image}"]'), hold=True)
    assert state(one, image) == used
    text = "Could not disable image: Image cannot be in state USED."
    one.fails(8192, text, "one.image.enable", image, False)
    verb = "non-persistent" if extra else "persistent"
    text = f"Could not make image {verb}: Image cannot be in state USED."
    one.fails(8192, text, "one.image.persistent", image, not extra)
    for force in (False, True):
        text = "Cannot delete image. There are 1 VMs using it."
        one.fails(2048, text, "one.image.delete", image, force)
    assert one.ok("one.image.chtype", image, "OS") == image


def test_a_persistent_image_is_used_by_one_vm_and_copied_by_none(one, make):
    image = make.image('PERSISTENT="YES"')
    template = make.template(f'DISK=[IMAGE_ID="{image}"]')
    make.vm(template, hold=True)
    words = f"DISK 0: Cannot acquire image {image}, it is persistent and already in use"
    text = f"Error allocating a new virtual machine template. {words}"
    one.fails(16384, text, "one.template.instantiate", template, make.name("vm"), True, "", False)
    text = ALLOCATING.format("Cannot clone image in state: USED")
    one.fails(16384, text, "one.image.clone", image, make.name("copy"))


def test_a_copy_of_an_image_in_use(one, make):
    image = make.image()
    make.vm(make.template(f'DISK=[IMAGE_ID="{image}"]'), hold=True)
    copy = make.kept("image", one.ok("one.image.clone", image, make.name("copy")))
    info = one.until(lambda x: x.findtext("STATE") == "1", "one.image.info", copy)
    assert (info.findtext("SIZE"), info.findtext("PERSISTENT"), info.findtext("CLONING_ID")) == ("2048", "0", "-1")
    assert state(one, image) == "2"


def test_a_vm_waits_for_an_image_that_is_being_made(one, make):
    template = f'NAME="{make.name("image")}"\nTYPE="DATABLOCK"\nSIZE="16"'
    image = make.kept("image", one.ok("one.image.allocate", template, 1))
    vm = make.vm(make.template(), f'DISK=[IMAGE_ID="{image}"]')
    assert one.xml("one.vm.info", vm).find("TEMPLATE/DISK/CLONING") is None
    assert state(one, image) == "2"
