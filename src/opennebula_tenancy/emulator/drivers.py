"""The drivers that a stock oned.conf declares, as far as they show in what clients see."""

from collections.abc import Mapping


DATASTORE_DRIVERS: Mapping[str, Mapping[str, str]] = {
    name: {"REQUIRED_ATTRS": required, "PERSISTENT_ONLY": persistent_only} | more
    for name, required, persistent_only, more in (
        ("ceph", "DISK_TYPE,BRIDGE_LIST", "NO", {"MARKETPLACE_ACTIONS": "export"}),
        ("dev", "DISK_TYPE", "YES", {}),
        ("iscsi_libvirt", "DISK_TYPE,ISCSI_HOST", "YES", {}),
        ("dummy", "", "NO", {}),
        ("fs", "", "NO", {"MARKETPLACE_ACTIONS": "export"}),
        ("lvm", "", "NO", {}),
        ("restic", "RESTIC_PASSWORD", "YES", {}),
        ("rsync", "RSYNC_HOST,RSYNC_USER", "YES", {}),
    )
}
"""DS_MAD_CONF by name."""


def _transfer(targets: str, shared: str, **more: str) -> Mapping[str, str]:
    """A TM_MAD_CONF whose LN_TARGET and CLONE_TARGET are `targets`, that lets VMs migrate unless told otherwise."""
    link, clone = targets.split("/")
    migrate = {"DS_MIGRATE": "YES", "DS_LIVE_MIGRATE": "YES", "DS_MIGRATE_SNAP": "YES"}
    return {"LN_TARGET": link, "CLONE_TARGET": clone, "SHARED": shared} | migrate | more


_BY_SSH = {
    "TM_MAD_SYSTEM": "ssh",
    "LN_TARGET_SSH": "SYSTEM",
    "CLONE_TARGET_SSH": "SYSTEM",
    "DISK_TYPE_SSH": "FILE",
}
_STAY = {"DS_MIGRATE": "NO", "DS_LIVE_MIGRATE": "NO", "DS_MIGRATE_SNAP": "NO"}

TRANSFER_DRIVERS: Mapping[str, Mapping[str, str]] = {
    "dummy": _transfer("NONE/SYSTEM", "YES"),
    "shared": _transfer("NONE/SYSTEM", "YES", ALLOW_ORPHANS="FORMAT", **_BY_SSH),
    "qcow2": _transfer("NONE/SYSTEM", "YES", ALLOW_ORPHANS="FORMAT", DRIVER="qcow2", **_BY_SSH),
    "ssh": _transfer("SYSTEM/SYSTEM", "NO", ALLOW_ORPHANS="YES"),
    "local": _transfer("SYSTEM/SYSTEM", "NO", ALLOW_ORPHANS="FORMAT"),
    "ceph": _transfer("NONE/SELF", "YES", ALLOW_ORPHANS="mixed", DRIVER="raw", **_BY_SSH, **_STAY),
    "dev": _transfer("NONE/NONE", "YES", DRIVER="raw", **_STAY),
}
"""TM_MAD_CONF by name."""

NETWORK_DRIVERS: Mapping[str, str] = {
    "dummy": "linux",
    "802.1Q": "linux",
    "fw": "linux",
    "ovswitch": "openvswitch,openvswitch_dpdk",
    "vxlan": "linux",
    "ovswitch_vxlan": "openvswitch",
    "bridge": "linux",
    "elastic": "linux",
    "nodeport": "linux",
}
"""VN_MAD_CONF: the type of bridge by name of driver."""

IMAGE_DATASTORE_MB = (20480, 20480, 9720)
"""Total, free and used MB that the dummy datastore driver reports, whatever images there are."""
SYSTEM_DATASTORE_MB = (4796800, 3333260, 1429920)
"""Total, free and used MB that the dummy transfer driver reports."""
