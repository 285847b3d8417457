"""Virtual routers without NICs and VMs: `one.vrouter.*`, `one.vrouterpool.info` (VirtualRouter.cc)."""

from typing import ClassVar

import attrs

from opennebula_tenancy.emulator import sharing, verbs
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.errors import internal
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.markup import ids
from opennebula_tenancy.emulator.state import Cloud, PoolObject, name_problem
from opennebula_tenancy.emulator.syntax import parsed
from opennebula_tenancy.emulator.template import Template


@attrs.define(eq=False, kw_only=True)
class VirtualRouter(PoolObject):
    """A virtual router."""

    kind: ClassVar[Kind] = Kind.VROUTER

    def xml(self, cloud: Cloud) -> str:  # noqa: ARG002 - every object reads so
        """The body."""
        return (
            f"<VROUTER><ID>{self.id}</ID><UID>{self.uid}</UID><GID>{self.gid}</GID><UNAME>{self.uname}</UNAME>"
            f"<GNAME>{self.gname}</GNAME><NAME>{self.name}</NAME>{self.permissions.xml()}{self.lock_xml()}"
            f"{ids('VMS', ())}{self.template.xml()}</VROUTER>"
        )

    def template_updated(self, cloud: Cloud, old: Template) -> None:  # noqa: ARG002 - every object is told so
        """Drop NICs: an update neither adds nor removes any."""
        self.template.erase("NIC")


@method("one.vrouter.allocate", Kind.VROUTER, Right.CREATE)
def allocate(call: Call, text: str) -> int:
    """Allocates a new virtual router."""
    template = parsed(text)
    call.authorize((Right.CREATE, call.may_create(Kind.VROUTER)))
    name = template.take("NAME") or ""
    problem = name_problem(name)
    if problem is not None:
        raise internal(problem)
    if template.vectors("NIC"):
        raise internal("The embedded OpenNebula implements no NIC of virtual routers")
    if not template.storable:
        raise internal("Error transforming the VirtualRouter to XML.")
    made = VirtualRouter(
        name=name,
        uid=call.uid,
        gid=call.gid,
        uname=call.uname,
        gname=call.gname,
        permissions=call.new_permissions(),
        template=template,
    )
    return call.cloud.pool(VirtualRouter).add(made).id


@method("one.vrouter.info", Kind.VROUTER, Right.USE, ignores_lock=True)
def info(call: Call, oid: int, decrypt: bool = False) -> str:  # noqa: ARG001 - nothing is encrypted here
    """Returns virtual router information."""
    return verbs.info(call, VirtualRouter, oid)


@method("one.vrouterpool.info", Kind.VROUTER)
def pool_info(call: Call, flag: int, start: int, end: int) -> str:
    """Returns the virtual router pool."""
    bodies = (router.xml(call.cloud) for router in call.visible(VirtualRouter, flag, start, end))
    return verbs.pool_xml("VROUTER_POOL", bodies)


# Names need not be unique, yet oned refuses to give a router to a user who has one of that name.
sharing.declare("vrouter", VirtualRouter, chown=verbs.chown, unique_names=False)


@method("one.vrouter.delete", Kind.VROUTER, Right.MANAGE)
def delete(call: Call, oid: int) -> int:
    """Deletes a virtual router."""
    return verbs.delete(call, VirtualRouter, oid, call.cloud.pool(VirtualRouter).remove)
