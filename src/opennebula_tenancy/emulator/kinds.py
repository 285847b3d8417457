"""The kinds of objects OpenNebula knows, and the rights it grants on them."""

import enum


class Right(enum.IntFlag):
    """What a rule or a permission bit grants, with the values that access rules carry on the wire."""

    NONE = 0
    USE = 1
    MANAGE = 2
    ADMIN = 4
    CREATE = 8

    @property
    def text(self) -> str:
        """The rights as a rule spells them, e.g. `USE+MANAGE`."""
        return "+".join(right.name or "" for right in RIGHTS if right & self)


RIGHTS = (Right.USE, Right.MANAGE, Right.ADMIN, Right.CREATE)


class Kind(enum.Enum):
    """A kind of object: its bit in access rules, its name there, and its name in messages."""

    VM = (0x1000000000, "VM", "virtual machine")
    HOST = (0x2000000000, "HOST", "host")
    NET = (0x4000000000, "NET", "virtual network")
    IMAGE = (0x8000000000, "IMAGE", "image")
    USER = (0x10000000000, "USER", "user")
    TEMPLATE = (0x20000000000, "TEMPLATE", "virtual machine template")
    GROUP = (0x40000000000, "GROUP", "group")
    ACL = (0x80000000000, "ACL", "ACL")
    DATASTORE = (0x100000000000, "DATASTORE", "datastore")
    CLUSTER = (0x200000000000, "CLUSTER", "cluster")
    DOCUMENT = (0x400000000000, "DOCUMENT", "document")
    ZONE = (0x800000000000, "ZONE", "zone")
    SECGROUP = (0x1000000000000, "SECGROUP", "security group")
    VDC = (0x2000000000000, "VDC", "VDC")
    VROUTER = (0x4000000000000, "VROUTER", "virtual router")
    MARKETPLACE = (0x8000000000000, "MARKETPLACE", "marketplace")
    MARKETPLACEAPP = (0x10000000000000, "MARKETPLACEAPP", "marketplaceapp")
    VMGROUP = (0x20000000000000, "VMGROUP", "vm group")
    VNTEMPLATE = (0x40000000000000, "VNTEMPLATE", "virtual network template")
    HOOK = (0x80000000000000, "HOOK", "hook")
    BACKUPJOB = (0x100000000000000, "BACKUPJOB", "backup job")

    def __init__(self, bit: int, text: str, label: str) -> None:
        self.bit = bit
        self.text = text
        self.label = label


LOCKABLE = frozenset(
    {
        Kind.VM,
        Kind.TEMPLATE,
        Kind.IMAGE,
        Kind.MARKETPLACEAPP,
        Kind.NET,
        Kind.VROUTER,
        Kind.VMGROUP,
        Kind.VNTEMPLATE,
        Kind.DOCUMENT,
        Kind.HOOK,
        Kind.BACKUPJOB,
    }
)
"""The kinds that `one.*.lock` accepts (PoolObjectSQL::LockableObject)."""
