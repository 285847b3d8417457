"""Images: `one.image.*`, `one.imagepool.info` (ImageAPI.cc)."""

import attrs

from opennebula_tenancy.emulator import limits, sharing, verbs
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.datastores import Datastore, DatastoreType
from opennebula_tenancy.emulator.errors import Refusal, action, internal, not_allocated, unauthorized
from opennebula_tenancy.emulator.images import (
    REGISTERED_MB,
    Image,
    ImageState,
    ImageType,
    begin_removal,
    check_clonable,
    create,
)
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.syntax import parsed
from opennebula_tenancy.emulator.template import Template, restricted_in


_MAX_SIZE_MB = 2**63 - 1
_BUSY = frozenset(
    {
        ImageState.USED,
        ImageState.CLONE,
        ImageState.USED_PERS,
        ImageState.LOCKED_USED,
        ImageState.LOCKED_USED_PERS,
    }
)


def _size_mb(template: Template) -> int:
    """The size that an image will have, as the driver reports it.

    Raises:
        Refusal: It cannot be known (INTERNAL).
    """
    kind = (template.text("TYPE") or "OS").upper()
    empty_disk = kind in {"OS", "DATABLOCK"}
    if not template.text("SOURCE") and template.text("PATH"):
        return REGISTERED_MB
    if kind == "FILESYSTEM":
        raise internal("Cannot parse image SIZE: Missing PATH attribute.")
    if not template.text("SOURCE") and not empty_disk and kind in ImageType.__members__:
        raise internal(f"Cannot parse image SIZE: Either PATH or SOURCE are required for {template.text('TYPE')}")
    text = (template.text("SIZE") or "").strip()
    digits = text.removeprefix("-").removeprefix("+")
    if not (digits.isascii() and digits.isdigit()) or int(digits) > _MAX_SIZE_MB:
        raise internal("Cannot parse image SIZE: Wrong number or missing SIZE attribute.")
    return int(text)


def default_persistent(
    call: Call, template: Template, setting: str = "DEFAULT_IMAGE_PERSISTENT", *, honour: bool = False
) -> bool:
    """Whether a new image is persistent: as the user's or group's setting says, else as the template does.

    Args:
        call: The call.
        template: The image's template.
        setting: The attribute of users and groups that decides.
        honour: Whether a template that names PERSISTENT decides first.
    """
    asked = template.yes("PERSISTENT")
    if honour and template.text("PERSISTENT") is not None:
        return asked
    for kind, oid in ((Kind.USER, call.uid), (Kind.GROUP, call.gid)):
        owner = call.cloud.pool_of(kind).find(oid)
        value = owner.template.text(setting) if owner is not None else None
        if value:
            return value.upper() == "YES"
    return asked


def owned(call: Call, template: Template, size_mb: int) -> Image:
    """A new image of the caller's, which no pool holds yet."""
    return Image(
        uid=call.uid,
        gid=call.gid,
        uname=call.uname,
        gname=call.gname,
        permissions=call.new_permissions(),
        template=template,
        size_mb=size_mb,
    )


def charged(call: Call, image: Image, datastore: Datastore, *, saving: bool = False) -> Image:
    """Make an image and charge its owner, or do neither; `saving` is as for `images.create`."""
    image.datastore_id = datastore.id
    limits.charge(call.cloud, image.charge, call.uid, call.gid)
    try:
        return create(call.cloud, image, datastore, saving=saving)
    except Refusal:
        limits.discharge(call.cloud, image.charge, call.uid, call.gid)
        raise


@method("one.image.allocate", Kind.IMAGE, Right.CREATE)
def allocate(call: Call, text: str, datastore_id: int, skip_check: bool = False) -> int:
    """Allocates a new image."""
    template = parsed(text)
    datastore = call.cloud.pool(Datastore).get(datastore_id)
    if datastore.type in {DatastoreType.SYSTEM_DS, DatastoreType.BACKUP_DS}:
        raise not_allocated("New images can only be allocated in a files or image datastore.")
    if template.integer("FROM_APP") is not None:
        # There are no marketplaces here.
        raise internal("Cannot determine image SIZE.")
    size_mb = _size_mb(template)
    skip = skip_check and call.is_admin
    if datastore.checks_capacity and not skip and size_mb > datastore.available_mb:
        raise action("Not enough space in datastore")
    if not call.is_admin:
        name = restricted_in(template, call.cloud.config.restricted.get(Kind.IMAGE, {}))
        if name is not None:
            raise unauthorized(f"Template includes a restricted attribute {name}")
    call.authorize((Right.CREATE, call.may_create(Kind.IMAGE)), (Right.USE, datastore))
    persistent = default_persistent(call, template, "DEFAULT_IMAGE_PERSISTENT_NEW", honour=True)
    template.set("PERSISTENT", "YES" if persistent else "NO")
    return charged(call, owned(call, template, size_mb), datastore).id


def clone_image(call: Call, source: Image, name: str, datastore_id: int, *, persistent: bool) -> Image:
    """Copy an image for the caller.

    Args:
        call: The call.
        source: The image to copy.
        name: Name of the copy.
        datastore_id: Where the copy goes, -1 for where the source is.
        persistent: Whether the copy is persistent whatever the source is.

    Raises:
        Refusal: The image or the datastore cannot be used so, or a quota is exceeded.
    """
    if source.type not in {ImageType.OS, ImageType.DATABLOCK, ImageType.CDROM}:
        raise action(f"{source.type.name} images cannot be cloned.")
    pool = call.cloud.pool(Datastore)
    target = pool.get(source.datastore_id if datastore_id == -1 else datastore_id)
    if target.type is not DatastoreType.IMAGE_DS:
        raise action("Clone only supported for IMAGE_DS Datastores")
    asked = [(Right.CREATE, call.may_create(Kind.IMAGE)), (Right.USE, source.subject), (Right.USE, target.subject)]
    if target.id != source.datastore_id:
        original = pool.get(source.datastore_id)
        if original.ds_mad != target.ds_mad:
            raise action("Clone only supported to same DS_MAD Datastores")
        asked.append((Right.USE, original.subject))
    if target.checks_capacity and source.size_mb > target.available_mb:
        raise action("Not enough space in datastore")
    call.authorize(*asked)
    template = source.template.copy()
    template.set("NAME", name)
    template.set("TYPE", source.type.name)
    template.set("FORMAT", source.format)
    template.set("PATH", source.source)
    template.set("PERSISTENT", "YES" if source.persistent else "NO")
    kept = persistent or default_persistent(call, template)
    template.set("PERSISTENT", "YES" if kept else "NO")
    check_clonable(source)
    copy = owned(call, template, source.size_mb)
    copy.fs, copy.cloning_id = source.fs, source.id
    return charged(call, copy, target)


@method("one.image.clone", Kind.IMAGE, Right.USE)
def clone(call: Call, oid: int, name: str, datastore_id: int = -1) -> int:
    """Clones an existing image."""
    source = call.cloud.pool(Image).get(oid)
    return clone_image(call, source, name, datastore_id, persistent=False).id


@method("one.image.delete", Kind.IMAGE, Right.MANAGE)
def delete(call: Call, oid: int, force: bool = False) -> int:
    """Deletes an image, which is gone one step later."""
    image = call.cloud.pool(Image).get(oid)
    if image.state in {ImageState.LOCKED, ImageState.LOCKED_USED, ImageState.LOCKED_USED_PERS}:
        call.method = attrs.evolve(call.method, right=Right.ADMIN)
        if not force:
            refusal = internal(
                "Image locked, use --force flag to remove the image. Force delete may leave some files on Datastore"
            )
            refusal.object_id = oid
            raise refusal
    if force:
        image.template.set("FORCE_DELETE", "YES")
    return verbs.delete(call, Image, oid, lambda item: begin_removal(call.cloud, item))


@method("one.image.info", Kind.IMAGE, Right.USE, ignores_lock=True)
def info(call: Call, oid: int, decrypt: bool = False) -> str:  # noqa: ARG001 - nothing is encrypted here
    """Returns image information."""
    return verbs.info(call, Image, oid)


@method("one.imagepool.info", Kind.IMAGE)
def pool_info(call: Call, flag: int, start: int, end: int) -> str:
    """Returns the image pool."""
    bodies = (image.xml(call.cloud) for image in call.visible(Image, flag, start, end))
    return verbs.pool_xml("IMAGE_POOL", bodies)


def chown(call: Call, kind: type[Image], oid: int, uid: int, gid: int) -> None:
    """Give an image to another owner and group, and its quota with it."""
    image, uid, gid = verbs.check_owners(call, kind, oid, uid, gid)
    limits.charge(call.cloud, image.charge, uid, gid)
    limits.discharge(call.cloud, image.charge, image.uid if uid != -1 else -1, image.gid if gid != -1 else -1)
    verbs.set_owners(call, image, uid, gid)


sharing.declare("image", Image, chown=chown)


@method("one.image.enable", Kind.IMAGE, Right.MANAGE)
def enable(call: Call, oid: int, enabled: bool) -> int:
    """Enables or disables an image."""
    image = call.get(Image, oid)
    allowed = {ImageState.READY, ImageState.DISABLED, ImageState.ERROR}
    if image.state not in allowed:
        verb = "enable" if enabled else "disable"
        raise internal(f"Could not {verb} image: Image cannot be in state {image.state.word}.")
    image.move_to(ImageState.READY if enabled else ImageState.DISABLED)
    return oid


@method("one.image.persistent", Kind.IMAGE, Right.MANAGE)
def persistent(call: Call, oid: int, wanted: bool) -> int:
    """Sets the image as persistent or not."""
    image = call.get(Image, oid)
    if wanted == image.persistent:
        return oid
    if image.type.is_file:
        raise action("KERNEL, RAMDISK and CONTEXT must be non-persistent")
    datastore = call.cloud.pool(Datastore).find(image.datastore_id)
    if datastore is None:
        raise internal("Datastore no longer exists.")
    if image.state in _BUSY:
        verb = "persistent" if wanted else "non-persistent"
        raise internal(f"Could not make image {verb}: Image cannot be in state {image.state.word}.")
    image.persistent = wanted
    return oid


_IN_IMAGE_DATASTORES = frozenset({ImageType.OS, ImageType.CDROM, ImageType.DATABLOCK})


@method("one.image.chtype", Kind.IMAGE, Right.MANAGE)
def change_type(call: Call, oid: int, text: str) -> int:
    """Changes what an image is for; an empty type is OS."""
    image = call.get(Image, oid)
    if image.type in {ImageType.BACKUP, ImageType.FILESYSTEM}:
        raise action(f"Cannot change type for{image.type.name} images.")
    kind = ImageType.__members__.get(text.upper() or "OS")
    disk = image.type in _IN_IMAGE_DATASTORES
    fits = kind in _IN_IMAGE_DATASTORES if disk else kind is not None and kind.is_file
    # oned takes a word that is no type for OS until it looks closely.
    if not fits and not (disk and kind is None):
        raise action("Cannot change image type to an incompatible type for the current datastore.")
    if kind is None:
        raise internal("known type ")
    image.type = kind
    return oid
