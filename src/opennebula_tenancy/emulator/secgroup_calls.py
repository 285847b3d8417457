"""Security groups: `one.secgroup.*`, `one.secgrouppool.info` (SecurityGroupAPI.cc)."""

from opennebula_tenancy.emulator import sharing, verbs
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.errors import internal
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.propagation import commit_group
from opennebula_tenancy.emulator.secgroups import DEFAULT_ID, SecurityGroup, check_rules
from opennebula_tenancy.emulator.state import Cloud, name_problem
from opennebula_tenancy.emulator.syntax import parsed
from opennebula_tenancy.emulator.template import Template


@method("one.secgroup.allocate", Kind.SECGROUP, Right.CREATE)
def allocate(call: Call, text: str) -> int:
    """Allocates a new security group."""
    template = parsed(text)
    call.authorize((Right.CREATE, call.may_create(Kind.SECGROUP)))
    return _keep(call, template.take("NAME") or "", template)


def _keep(call: Call, name: str, template: Template) -> int:
    """Make a group of a template without its NAME."""
    problem = name_problem(name)
    if problem is not None:
        raise internal(problem)
    pool = call.cloud.pool(SecurityGroup)
    taken = pool.named(name, call.uid)
    if taken is not None:
        raise internal(f"NAME is already taken by SecurityGroup {taken.id}.")
    check_rules(template)
    if not template.storable:
        raise internal("Error transforming the Security Group to XML.")
    made = SecurityGroup(
        name=name,
        uid=call.uid,
        gid=call.gid,
        uname=call.uname,
        gname=call.gname,
        permissions=call.new_permissions(),
        template=template,
    )
    return pool.add(made).id


@method("one.secgroup.clone", Kind.SECGROUP, Right.CREATE)
def clone(call: Call, oid: int, name: str) -> int:
    """Clones a security group."""
    source = call.cloud.pool(SecurityGroup).get(oid)
    call.authorize((Right.CREATE, source), (Right.CREATE, call.may_create(Kind.SECGROUP)))
    return _keep(call, name, source.template.copy())


@method("one.secgroup.info", Kind.SECGROUP, Right.USE, ignores_lock=True)
def info(call: Call, oid: int, decrypt: bool = False) -> str:  # noqa: ARG001 - nothing is encrypted here
    """Returns security group information."""
    return verbs.info(call, SecurityGroup, oid)


@method("one.secgrouppool.info", Kind.SECGROUP)
def pool_info(call: Call, flag: int, start: int, end: int) -> str:
    """Returns the security group pool."""
    bodies = (group.xml(call.cloud) for group in call.visible(SecurityGroup, flag, start, end))
    return verbs.pool_xml("SECURITY_GROUP_POOL", bodies)


def _updated(cloud: Cloud, group: SecurityGroup) -> None:
    commit_group(cloud, group, recover=False)


sharing.declare("secgroup", SecurityGroup, chown=verbs.chown, updated=_updated)


@method("one.secgroup.commit", Kind.SECGROUP, Right.MANAGE)
def commit(call: Call, oid: int, recover: bool) -> int:
    """Brings the rules to the VMs again: to all of them, or to those that could not be changed."""
    commit_group(call.cloud, call.get(SecurityGroup, oid), recover=recover)
    return oid


@method("one.secgroup.delete", Kind.SECGROUP, Right.MANAGE)
def delete(call: Call, oid: int) -> int:
    """Deletes a security group."""

    def drop(group: SecurityGroup) -> None:
        if group.id == DEFAULT_ID:
            raise internal("The default security group (ID 0) cannot be deleted.")
        if group.vms:
            raise internal("The security group has VMs using it")
        call.cloud.pool(SecurityGroup).remove(group)

    return verbs.delete(call, SecurityGroup, oid, drop)
