"""VM groups: `one.vmgroup.*`, `one.vmgrouppool.info` (VMGroup.cc, VMGroupRole.cc). No VM joins one here."""

from typing import ClassVar

import attrs

from opennebula_tenancy.emulator import sharing, verbs
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.errors import internal
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.state import Cloud, PoolObject, name_problem
from opennebula_tenancy.emulator.syntax import parsed
from opennebula_tenancy.emulator.template import Template, Vector, render


_MAX_ROLES = 32


@attrs.define(eq=False, kw_only=True)
class VmGroup(PoolObject):
    """A VM group.

    Attributes:
        roles: Its roles in the order of their ids, which count from 0.
    """

    kind: ClassVar[Kind] = Kind.VMGROUP

    roles: list[Vector] = attrs.field(factory=list)

    def xml(self, cloud: Cloud) -> str:  # noqa: ARG002 - every object reads so
        """The body."""
        roles = "".join(render("ROLE", role) for role in self.roles)
        return (
            f"<VM_GROUP><ID>{self.id}</ID><UID>{self.uid}</UID><GID>{self.gid}</GID><UNAME>{self.uname}</UNAME>"
            f"<GNAME>{self.gname}</GNAME><NAME>{self.name}</NAME>{self.permissions.xml()}{self.lock_xml()}"
            f"<ROLES>{roles}</ROLES>{self.template.xml()}</VM_GROUP>"
        )

    def begin(self) -> None:
        """Take the roles of a new group from its template.

        Raises:
            Refusal: Too many roles, one without a name or with that of another, or rules that contradict (INTERNAL).
        """
        given = self.template.vectors("ROLE")
        if len(given) > _MAX_ROLES:
            # What oned means to say; a 7.4.0 crashes here.
            raise internal("Maximum number of roles in a VM Group reached")
        for vector in given:
            role = Vector(vector, ID=str(len(self.roles)))
            role.pop("VMS", None)
            if not role.get("NAME"):
                raise internal("Missing NAME in VM group role")
            if role["NAME"] in self._ids():
                raise internal("Role already exists")
            self.roles.append(role)
        self.template.erase("ROLE")
        self._check_rules()

    def template_updated(self, cloud: Cloud, old: Template) -> None:  # noqa: ARG002 - every object is told so
        """Check the rules. An update does not change the roles."""
        self.template.erase("ROLE")
        self._check_rules()

    def _ids(self) -> dict[str, int]:
        return {role["NAME"]: oid for oid, role in enumerate(self.roles)}

    def _check_rules(self) -> None:
        for policy in ("AFFINED", "ANTI_AFFINED"):
            for text in self.template.texts(policy):
                if not _names(text) <= self._ids().keys():
                    raise internal(f"Some roles used in {policy} attribute ({text}) are not defined")
        affined = self._rules("AFFINED")
        for oid, role in enumerate(self.roles):
            if oid in affined and role.get("POLICY", "").upper() == "ANTI_AFFINED":
                raise internal(f"Role {role['NAME']} is in an AFFINED rule but the role policy is ANTI_AFFINED")
        both = affined & self._rules("ANTI_AFFINED")
        if both:
            names = " ".join(self.roles[oid]["NAME"] for oid in sorted(both))
            raise internal(f"Roles defined in AFFINED and ANTI_AFFINED rules: {names}")

    def _rules(self, policy: str) -> set[int]:
        """The roles in the rules of a policy."""
        known = self._ids()
        rules: list[set[int]] = []
        for text in self.template.texts(policy):
            rule = {known[name] for name in _names(text)}
            if rule in rules:
                raise internal(f"Duplicated {policy} rule ({text}) detected.")
            rules.append(rule)
        return set().union(*rules)


def _names(text: str) -> set[str]:
    """The roles that a rule names."""
    return {name.strip() for name in text.split(",") if name}


@method("one.vmgroup.allocate", Kind.VMGROUP, Right.CREATE)
def allocate(call: Call, text: str) -> int:
    """Allocates a new VM group."""
    template = parsed(text)
    call.authorize((Right.CREATE, call.may_create(Kind.VMGROUP)))
    name = template.take("NAME") or ""
    problem = name_problem(name)
    if problem is not None:
        raise internal(problem)
    pool = call.cloud.pool(VmGroup)
    taken = pool.named(name, call.uid)
    if taken is not None:
        raise internal(f"NAME is already taken by VMGroup {taken.id}.")
    made = VmGroup(
        name=name,
        uid=call.uid,
        gid=call.gid,
        uname=call.uname,
        gname=call.gname,
        permissions=call.new_permissions(),
        template=template,
    )
    storable = template.storable
    made.begin()
    if not storable:
        raise internal("Error transforming the VM group to XML.")
    return pool.add(made).id


@method("one.vmgroup.info", Kind.VMGROUP, Right.USE, ignores_lock=True)
def info(call: Call, oid: int, decrypt: bool = False) -> str:  # noqa: ARG001 - nothing is encrypted here
    """Returns VM group information."""
    return verbs.info(call, VmGroup, oid)


@method("one.vmgrouppool.info", Kind.VMGROUP)
def pool_info(call: Call, flag: int, start: int, end: int) -> str:
    """Returns the VM group pool."""
    bodies = (group.xml(call.cloud) for group in call.visible(VmGroup, flag, start, end))
    return verbs.pool_xml("VM_GROUP_POOL", bodies)


sharing.declare("vmgroup", VmGroup, chown=verbs.chown)


@method("one.vmgroup.delete", Kind.VMGROUP, Right.MANAGE)
def delete(call: Call, oid: int) -> int:
    """Deletes a VM group."""
    return verbs.delete(call, VmGroup, oid, call.cloud.pool(VmGroup).remove)
