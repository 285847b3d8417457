"""Access rules as calls: `one.acl.*` (AclAPI.cc). What rules mean is in `opennebula_tenancy.emulator.rules`."""

import re

from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.errors import internal
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.rules import ALL, GROUP, INDIVIDUAL, Subject
from opennebula_tenancy.emulator.state import ZONE_ID, Cloud


_HEXADECIMAL = re.compile(r"\s*([+-]?)(?:0[xX])?([0-9a-fA-F]+)")
_CREATED_BY_USERS = (
    *(Kind.VM, Kind.IMAGE, Kind.TEMPLATE, Kind.DOCUMENT),
    *(Kind.SECGROUP, Kind.VMGROUP, Kind.BACKUPJOB),
)


def bootstrap(cloud: Cloud) -> None:
    """The rules of a new cloud: users create, everyone uses zones and marketplaces."""
    created = sum(kind.bit for kind in _CREATED_BY_USERS)
    cloud.acls.grant(GROUP | 1, ALL | created, Right.CREATE, ALL)
    cloud.acls.grant(ALL, ALL | Kind.ZONE.bit, Right.USE, ALL)
    cloud.acls.grant(ALL, ALL | Kind.MARKETPLACE.bit | Kind.MARKETPLACEAPP.bit, Right.USE, ALL)


def _code(text: str) -> int:
    """A number as a C++ stream reads hexadecimal: what comes before the first other character, 0 for none."""
    found = _HEXADECIMAL.match(text)
    if found is None:
        return 0
    number = int(found[2], 16) * (-1 if found[1] == "-" else 1)
    return max(-(2**63), min(number, 2**63 - 1))


@method("one.acl.addrule", Kind.ACL, Right.MANAGE)
def addrule(call: Call, user: str, resource: str, rights: str, zone: str = "") -> int:
    """Adds a new ACL rule."""
    call.authorize((Right.MANAGE, Subject(kind=Kind.ACL)))
    where = _code(zone) if zone else INDIVIDUAL | ZONE_ID
    try:
        return call.cloud.acls.add(_code(user), _code(resource), _code(rights), where)
    except ValueError as error:
        raise internal(str(error)) from error


@method("one.acl.delrule", Kind.ACL, Right.MANAGE)
def delrule(call: Call, oid: int) -> int:
    """Deletes an existing ACL rule."""
    call.authorize((Right.MANAGE, Subject(kind=Kind.ACL)))
    try:
        call.cloud.acls.remove(oid)
    except ValueError as error:
        raise internal(str(error)) from error
    return oid


@method("one.acl.info", Kind.ACL, Right.MANAGE)
def info(call: Call) -> str:
    """Returns the ACL rule set."""
    call.authorize((Right.MANAGE, Subject(kind=Kind.ACL)))
    return f"<ACL_POOL>{''.join(rule.xml() for rule in call.cloud.acls)}</ACL_POOL>"
