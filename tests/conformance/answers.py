"""One freshly made object of each kind, and the calls that describe it."""

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

import attrs

from conformance.caller import One
from conformance.workshop import Workshop


class Objects:
    """Makes one object of each kind."""

    def __init__(self, workshop: Workshop, image: int) -> None:
        self._make = workshop
        self._image = image

    def user(self) -> int:
        return self._make.user()

    def user_with_a_token(self) -> int:
        uid, user = self._make.login()
        user.ok("one.user.login", user.auth.partition(":")[0], "token", 60, -1)
        return uid

    def group(self) -> int:
        return self._make.group()

    def group_with_everything(self) -> int:
        gid = self._make.group()
        uid = self._make.user(gid)
        one = self._make.one
        one.ok("one.group.addadmin", gid, uid)
        one.ok("one.group.update", gid, 'A="1"\nB=[X="1"]', 0)
        one.ok("one.group.quota", gid, 'VM=[VMS="1"]\nDATASTORE=[ID="1",SIZE="1"]')
        one.ok("one.group.quota", gid, 'NETWORK=[ID="1",LEASES="1"]\nIMAGE=[ID="1",RVMS="1"]')
        return gid

    def vdc(self) -> int:
        return self._make.vdc()

    def vdc_with_everything(self) -> int:
        vdc = self._make.vdc()
        one = self._make.one
        one.ok("one.vdc.addgroup", vdc, self._make.group())
        for kind, oid in (("cluster", 0), ("host", 0), ("datastore", 1), ("vnet", self._make.network())):
            one.ok(f"one.vdc.add{kind}", vdc, 0, oid)
        return vdc

    def acl(self) -> int:
        return self._make.acl("#99999 VM/* USE")

    def cluster(self) -> int:
        return self._make.cluster()

    def cluster_with_everything(self) -> int:
        cluster = self._make.cluster()
        self._make.host(cluster)
        self._make.datastore(cluster)
        self._make.network(cluster=cluster)
        return cluster

    def host(self) -> int:
        return self._make.host(0)

    def datastore(self) -> int:
        return self._make.datastore()

    def zone(self) -> int:
        return 0

    def image(self) -> int:
        return self._make.image()

    def network(self) -> int:
        return self._make.network()

    def network_in_use(self) -> int:
        network = self._make.network()
        self._make.vm(self._make.template(), f'NIC=[NETWORK_ID="{network}"]', hold=True)
        return network

    def secgroup(self) -> int:
        return self._make.secgroup('RULE=[PROTOCOL="TCP",RULE_TYPE="INBOUND",RANGE="22"]')

    def template(self) -> int:
        return self._make.template('DISK=[IMAGE_ID="0"]\nFOO="b"')

    def vm(self) -> int:
        return self._make.vm(self._make.template(), hold=True)

    def vm_with_everything(self) -> int:
        network = self._make.network()
        disk, nic = f'DISK=[IMAGE_ID="{self._image}"]', f'NIC=[NETWORK_ID="{network}"]'
        context = 'CONTEXT=[NETWORK="YES",SSH_PUBLIC_KEY="k"]\nGRAPHICS=[TYPE="VNC",LISTEN="0.0.0.0"]\nFOO="b"'
        return self._make.vm(self._make.template(f"{disk}\n{nic}\n{context}"), hold=True)

    def running_vm(self) -> int:
        return self._make.vm(self._make.template(f'DISK=[IMAGE_ID="{self._image}"]'))


@attrs.frozen
class Answer:
    """A call whose answer has a shape.

    Attributes:
        make: Makes the object and answers its id.
        method: The method to call.
        arguments: Of a pool call; others get the id.
        item: Of a pool, the name of the object's element.
        opaque: Elements whose content differs from cloud to cloud.
    """

    make: Callable[[Objects], int]
    method: str
    arguments: tuple[Any, ...] = ()
    item: str = ""
    opaque: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What is asked about what."""
        return f"{self.make.__name__} {self.method} {self.item}".strip()

    def element(self, one: One, oid: int) -> ET.Element:
        """The answer; of a pool, only the object's own element."""
        if not self.item:
            return one.xml(self.method, oid)
        pool = one.xml(self.method, *self.arguments)
        return next(i for i in pool.findall(self.item) if i.findtext("ID") == str(oid))


_MEASURED = ("PCI_DEVICES", "NUMA_NODES", "DATASTORES", "MONITORING", "VMS", "TEMPLATE")
_VMS = (-2, -1, -1, -1)
_ALL = (-2, -1, -1)

ANSWERS = (
    Answer(Objects.user, "one.user.info"),
    Answer(Objects.user_with_a_token, "one.user.info"),
    Answer(Objects.user, "one.userpool.info", item="USER"),
    Answer(Objects.user, "one.userpool.info", item="QUOTAS"),
    Answer(Objects.group, "one.group.info", opaque=("DEFAULT_GROUP_QUOTAS",)),
    Answer(Objects.group_with_everything, "one.group.info", opaque=("DEFAULT_GROUP_QUOTAS",)),
    Answer(Objects.group_with_everything, "one.grouppool.info", item="GROUP"),
    Answer(Objects.group_with_everything, "one.grouppool.info", item="QUOTAS"),
    Answer(Objects.vdc, "one.vdc.info"),
    Answer(Objects.vdc_with_everything, "one.vdc.info"),
    Answer(Objects.vdc_with_everything, "one.vdcpool.info", item="VDC"),
    Answer(Objects.acl, "one.acl.info", item="ACL"),
    Answer(Objects.cluster, "one.cluster.info"),
    Answer(Objects.cluster_with_everything, "one.cluster.info"),
    Answer(Objects.cluster_with_everything, "one.clusterpool.info", item="CLUSTER"),
    Answer(Objects.host, "one.host.info", opaque=_MEASURED),
    Answer(Objects.host, "one.hostpool.info", item="HOST", opaque=_MEASURED),
    Answer(Objects.datastore, "one.datastore.info"),
    Answer(Objects.datastore, "one.datastorepool.info", item="DATASTORE"),
    Answer(Objects.zone, "one.zone.info", opaque=("TEMPLATE",)),
    Answer(Objects.zone, "one.zonepool.info", item="ZONE", opaque=("TEMPLATE",)),
    Answer(Objects.image, "one.image.info"),
    Answer(Objects.image, "one.imagepool.info", _ALL, "IMAGE"),
    Answer(Objects.network, "one.vn.info"),
    Answer(Objects.network_in_use, "one.vn.info"),
    Answer(Objects.network_in_use, "one.vnpool.info", _ALL, "VNET"),
    Answer(Objects.secgroup, "one.secgroup.info"),
    Answer(Objects.secgroup, "one.secgrouppool.info", _ALL, "SECURITY_GROUP"),
    Answer(Objects.template, "one.template.info"),
    Answer(Objects.template, "one.templatepool.info", _ALL, "VMTEMPLATE"),
    Answer(Objects.vm, "one.vm.info"),
    Answer(Objects.vm_with_everything, "one.vm.info"),
    Answer(Objects.vm_with_everything, "one.vmpool.info", _VMS, "VM"),
    Answer(Objects.vm_with_everything, "one.vmpool.infoextended", _VMS, "VM"),
    Answer(Objects.running_vm, "one.vm.info", opaque=("MONITORING",)),
    Answer(Objects.running_vm, "one.vmpool.info", _VMS, "VM", opaque=("MONITORING",)),
)
