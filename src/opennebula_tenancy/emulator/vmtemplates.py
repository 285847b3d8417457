"""VM templates: `one.template.*`, `one.templatepool.info` (VMTemplate.cc, TemplateAPI.cc)."""

from typing import ClassVar

import attrs

from opennebula_tenancy.emulator import limits, sharing, verbs, vmbuild, vmdisks
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.errors import Code, Refusal, action, internal, unauthorized
from opennebula_tenancy.emulator.groups import Group
from opennebula_tenancy.emulator.image_calls import clone_image
from opennebula_tenancy.emulator.images import Image, begin_removal
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.rules import Permissions, Subject
from opennebula_tenancy.emulator.state import Cloud, PoolObject, name_problem
from opennebula_tenancy.emulator.syntax import parsed
from opennebula_tenancy.emulator.template import Template, integer, restricted_change, restricted_in
from opennebula_tenancy.emulator.users import User
from opennebula_tenancy.emulator.vms import charge_of, image_storage


@attrs.define(eq=False, kw_only=True)
class VmTemplate(PoolObject):
    """A VM template.

    Attributes:
        regtime_s: Unix time of its registration, in seconds.
    """

    kind: ClassVar[Kind] = Kind.TEMPLATE

    regtime_s: int = 0

    @property
    def is_for_routers(self) -> bool:
        """Whether only virtual routers can be made of it."""
        return self.template.yes("VROUTER")

    def xml(self, cloud: Cloud) -> str:  # noqa: ARG002 - every object reads so
        """The body."""
        return self.xml_with(self.template)

    def xml_with(self, template: Template) -> str:
        """The body with a template in place of its own."""
        return (
            f"<VMTEMPLATE><ID>{self.id}</ID><UID>{self.uid}</UID><GID>{self.gid}</GID><UNAME>{self.uname}</UNAME>"
            f"<GNAME>{self.gname}</GNAME><NAME>{self.name}</NAME>{self.lock_xml()}{self.permissions.xml()}"
            f"<REGTIME>{self.regtime_s}</REGTIME>{template.xml()}</VMTEMPLATE>"
        )


def create(cloud: Cloud, made: VmTemplate) -> VmTemplate:
    """Make a VM template of one that has an owner and a template.

    Raises:
        Refusal: The name is taken or invalid (INTERNAL).
    """
    made.name = made.template.take("NAME") or ""
    problem = name_problem(made.name)
    if problem is not None:
        raise internal(problem)
    taken = cloud.pool(VmTemplate).named(made.name, made.uid)
    if taken is not None:
        raise internal(f"NAME is already taken by TEMPLATE {taken.id}.")
    if not made.template.storable:
        raise internal("Error transforming the Template to XML.")
    made.regtime_s = cloud.now_s()
    return cloud.pool(VmTemplate).add(made)


def _owned(call: Call, template: Template) -> VmTemplate:
    return VmTemplate(
        uid=call.uid,
        gid=call.gid,
        uname=call.uname,
        gname=call.gname,
        permissions=call.new_permissions(),
        template=template,
    )


@method("one.template.allocate", Kind.TEMPLATE, Right.CREATE)
def allocate(call: Call, text: str) -> int:
    """Allocates a new VM template."""
    template = parsed(text)
    call.authorize((Right.CREATE, call.may_create(Kind.TEMPLATE)))
    if not call.is_admin:
        name = restricted_in(template, call.cloud.config.restricted.get(Kind.TEMPLATE, {}))
        if name is not None:
            raise unauthorized(f"VM Template includes a restricted attribute {name}")
    return create(call.cloud, _owned(call, template)).id


@method("one.template.info", Kind.TEMPLATE, Right.USE, ignores_lock=True)
def info(call: Call, oid: int, extended: bool = False, decrypt: bool = False) -> str:  # noqa: ARG001 - none encrypted
    """Returns VM template information."""
    found = call.get(VmTemplate, oid)
    template = found.template.copy()
    if extended:
        call.authorize(*vmbuild.uses(call.cloud, template, call.uid))
        vmdisks.describe_disks(call.cloud, template, call.uid)
    return found.xml_with(template)


@method("one.templatepool.info", Kind.TEMPLATE)
def pool_info(call: Call, flag: int, start: int, end: int) -> str:
    """Returns the VM template pool."""
    bodies = (found.xml(call.cloud) for found in call.visible(VmTemplate, flag, start, end))
    return verbs.pool_xml("VMTEMPLATE_POOL", bodies)


@method("one.template.delete", Kind.TEMPLATE, Right.MANAGE)
def delete(call: Call, oid: int, recursive: bool = False) -> int:
    """Deletes a VM template, and its images when recursive."""
    cloud = call.cloud

    def drop(found: VmTemplate) -> None:
        cloud.pool(VmTemplate).remove(found)
        failed = []
        for disk in found.template.vectors("DISK") if recursive else ():
            image = vmdisks.image_of(cloud, disk, call.uid)
            if image is None:
                continue
            try:
                call.authorize((Right.MANAGE, image))
                begin_removal(cloud, image)
            except Refusal:
                failed.append(image.id)
        if failed:
            raise action(f"Cannot delete image: {','.join(map(str, failed))}")

    return verbs.delete(call, VmTemplate, oid, drop)


sharing.declare("template", VmTemplate, chown=verbs.chown, with_chmod=False)


@method("one.template.chmod", Kind.TEMPLATE, Right.MANAGE)
def chmod(  # noqa: PLR0917 - the protocol's signature
    call: Call,
    oid: int,
    owner_u: int,
    owner_m: int,
    owner_a: int,
    group_u: int,
    group_m: int,
    group_a: int,
    other_u: int,
    other_m: int,
    other_a: int,
    recursive: bool = False,
) -> int:
    """Changes permissions; -1 keeps one. When recursive, those of its images too."""
    bits = Permissions(owner_u, owner_m, owner_a, group_u, group_m, group_a, other_u, other_m, other_a)
    found = verbs.chmod(call, VmTemplate, oid, bits)
    failed = []
    for disk in found.template.vectors("DISK") if recursive else ():
        image = vmdisks.image_of(call.cloud, disk, call.uid)
        if image is not None:
            try:
                verbs.chmod(call, type(image), image.id, bits)
            except Refusal:
                failed.append(image.id)
    if failed:
        raise action(f"Cannot chmod image: {','.join(map(str, failed))}")
    return oid


# Copies and VMs


def _merge(call: Call, template: Template, text: str) -> None:
    """Merge what a caller adds into a template.

    Raises:
        Refusal: It does not parse (INTERNAL), or changes a restricted attribute (AUTHORIZATION).
    """
    extra = parsed(text)
    if not extra:
        return
    if not call.is_admin:
        name = restricted_change(extra, template, call.cloud.config.restricted.get(Kind.VM, {}), merging=True)
        if name is not None:
            raise unauthorized(f"User Template includes a restricted attribute {name}")
    template.merge(extra)


def _clone(call: Call, source: VmTemplate, name: str, text: str, *, recursive: bool, persistent: bool) -> VmTemplate:
    """Copy a template for the caller.

    Args:
        call: The call.
        source: The template to copy.
        name: Name of the copy.
        text: What the caller adds to it.
        recursive: Whether to copy its images too.
        persistent: Whether the copies of images are persistent.
    """
    template = source.template.copy()
    _merge(call, template, text)
    template.set("NAME", name)
    call.authorize((Right.USE, source), (Right.CREATE, call.may_create(Kind.TEMPLATE)))
    copy = create(call.cloud, _owned(call, template))
    made: list[Image] = []
    for number, disk in enumerate(copy.template.vectors("DISK") if recursive else ()):
        image = vmdisks.image_of(call.cloud, disk, call.uid)
        if image is None:
            continue
        try:
            image = clone_image(call, image, f"{name}-disk-{number}", -1, persistent=persistent)
        except Refusal as refusal:
            call.cloud.pool(VmTemplate).remove(copy)
            for other in made:
                begin_removal(call.cloud, other)
            raise action(f"Failed to clone images: {refusal.text}") from refusal
        made.append(image)
        for key in ("IMAGE", "IMAGE_UNAME", "IMAGE_UID", "OPENNEBULA_MANAGED"):
            disk.pop(key, None)
        disk["IMAGE_ID"] = str(image.id)
    return copy


@method("one.template.clone", Kind.TEMPLATE, Right.USE)
def clone(call: Call, oid: int, name: str, recursive: bool = False) -> int:
    """Clones a VM template, and its images when recursive."""
    source = call.cloud.pool(VmTemplate).get(oid)
    return _clone(call, source, name, "", recursive=recursive, persistent=False).id


def acting_as(call: Call, template: Template) -> Call:
    """The call as made by the owner that AS_UID and AS_GID name, which are taken from the template.

    What is no number is left where it is, and ignored.

    Raises:
        Refusal: They do not exist, or the caller does not manage them.
    """
    uid, gid = integer(template.text("AS_UID")), integer(template.text("AS_GID"))
    user = group = None
    if uid is not None:
        template.erase("AS_UID")
        user = call.cloud.pool(User).get(uid)
    if gid is not None:
        template.erase("AS_GID")
        group = call.cloud.pool(Group).get(gid)
    if call.uid != 0:
        owners = [owner for owner in (user, group) if owner is not None and owner.id > 0]
        call.authorize(*((Right.MANAGE, owner) for owner in owners))
    if user is not None and user.id > 0:
        call = attrs.evolve(call, uid=user.id, uname=user.name)
    if group is not None and group.id > 0:
        call = attrs.evolve(call, gid=group.id, gname=group.name, gids=frozenset({group.id}))
    return call


def instantiate_as(
    call: Call, source: VmTemplate, name: str, text: str, *, hold: bool, more: Template | None = None
) -> int:
    """Make a VM of a template, all quotas checked and counted.

    Args:
        call: The call.
        source: The template.
        name: Name of the VM; empty for one made of the template's name and the VM's id.
        text: What the caller adds to the template. Only an empty one needs no right to create templates.
        hold: Whether the VM waits to be released.
        more: What the server adds to the template.

    Returns:
        The VM's id.
    """
    template = source.template.copy()
    _merge(call, template, text)
    if more is not None:
        template.merge(more)
    call = acting_as(call, template)
    template.erase("NAME")
    template.set("TEMPLATE_NAME", source.name)
    template.set("TEMPLATE_ID", str(source.id))
    if name:
        template.set("NAME", name)
    asked = [(Right.USE, source.subject)]
    if text:
        asked.append((Right.CREATE, call.may_create(Kind.TEMPLATE)))
    try:
        return _instantiate(call, template, asked, hold=hold)
    except Refusal as refusal:
        refusal.uid = call.uid
        raise


def _instantiate(call: Call, template: Template, asked: list[tuple[Right, Subject]], *, hold: bool) -> int:
    """Make a VM of a complete template once all rights and quotas allow it."""
    cloud = call.cloud
    described = template.copy()
    vmdisks.describe_disks(cloud, described, call.uid)
    vmbuild.name_networks(cloud, described, call.uid)
    call.authorize(*asked, *vmbuild.uses(cloud, described, call.uid))
    taken = charge_of(described, basic=True, running=True)
    limits.charge(cloud, taken, call.uid, call.gid)
    stored = attrs.evolve(taken, vm={}, leases=(), images=(), storage=image_storage(described))
    try:
        limits.charge(cloud, stored, call.uid, call.gid)
        try:
            return vmbuild.build(call, template, hold=hold).id
        except Refusal:
            limits.discharge(cloud, stored, call.uid, call.gid)
            raise
    except Refusal:
        limits.discharge(cloud, taken, call.uid, call.gid)
        raise


@method("one.template.instantiate", Kind.TEMPLATE, Right.USE)
def instantiate(  # noqa: PLR0917 - the protocol's signature
    call: Call, oid: int, name: str, hold: bool = False, text: str = "", persistent: bool = False
) -> int:
    """Instantiates a new VM of a template; a persistent one of private copies of the template and its images."""
    source = call.cloud.pool(VmTemplate).get(oid)
    if source.is_for_routers:
        raise Refusal(Code.ACTION, "Virtual router templates cannot be instantiated")
    if persistent:
        named = name or f"{source.name}-copy"
        source = _clone(call, source, named, text, recursive=True, persistent=True)
        text = f"CLONING_TEMPLATE_ID={oid}\n"
    return instantiate_as(call, source, name, text, hold=hold)
