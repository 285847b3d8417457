"""One tenant with a network of its own, on the embedded server or on a live one."""

import time
from typing import Any

import attrs

import opennebula_tenancy as ont
from opennebula_tenancy.vm_size import VmSize
from opennebula_tenancy.vm_spec import VmSpec
from tenants.pace import QUICK
from tenants.raw import Raw


STEP_S = 0.002
IMAGE_MB = 2048
IMAGES = ("debian-12", "img")
"""The image of 2048 MB, as the embedded server and as a live one for tests call it."""
KEY = "key-of-web"
SIZE = VmSize(vcpu=2, memory_mb=1024, disk_mb=4096)
LARGER = VmSize(vcpu=4, memory_mb=2048, disk_mb=8192)
TENANT = ont.VdcSpec(
    name="acme",
    key="key-of-acme",
    quota=ont.Quota(cpu=8, memory_mb=8192, vms=4, system_disk_mb=40960),
    clusters=(0,),
)


def ed25519(comment: str = "alice@example.org") -> str:
    """A public key that OpenSSH takes."""
    return f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f {comment}"


def connect(server: Any, **options: Any) -> ont.Cloud:
    return ont.connect(server.endpoint, server.auth, retry=QUICK, **options)


@attrs.frozen(kw_only=True)
class World:
    """The tenant, and what its machines are made of.

    Attributes:
        vdc: The id of the tenant.
        network: The id of its network.
        template: The id of a template with one disk of 2048 MB and a CONTEXT of its own.
    """

    vdc: int
    network: int
    template: int
    image: int
    admin: Raw

    @classmethod
    def build(cls, server: Any, cloud: ont.Cloud, tenant: ont.VdcSpec = TENANT) -> "World":
        """Make the tenant, its network, and a template."""
        vdc = cloud.vdcs.ensure(tenant)
        admin = Raw(server.endpoint, server.auth)
        text = (
            f'NAME="{tenant.name}_internal"\nVN_MAD=dummy\nBRIDGE=br1\nAR=[TYPE=IP4,IP="10.0.1.2",SIZE=50]\n'
            f'GATEWAY="10.0.1.1"\nTENANCY_KEY="{tenant.key}"\nTENANCY_ROLE=network\nTENANCY_VERSION=1'
        )
        network = admin("one.vn.allocate", text, 0)
        images = {item.findtext("NAME"): item.findtext("ID") for item in admin.xml("one.imagepool.info", -2, -1, -1)}
        image = int(next(images[name] for name in IMAGES if name in images) or "")
        template = admin(
            "one.template.allocate",
            f'NAME="{tenant.name} web"\nCPU=0.5\nVCPU=1\nMEMORY=256\nDISK=[IMAGE_ID={image}]\n'
            'NIC=[NETWORK="elsewhere"]\nGRAPHICS=[TYPE=vnc]\n'
            'CONTEXT=[NETWORK=YES,START_SCRIPT="echo \\"$NAME\\" > /etc/motd",SSH_PUBLIC_KEY="$USER[SSH_PUBLIC_KEY]"]',
        )
        admin("one.group.update", vdc.id, f'TENANCY_NETWORK_ID="{network}"', 1)
        _until_ready(admin, network)
        return cls(vdc=vdc.id, network=network, template=template, image=image, admin=admin)

    def spec(self, **changes: Any) -> VmSpec:
        """A machine of the tenant."""
        asked = {
            "name": "web",
            "vdc": self.vdc,
            "template": self.template,
            "key": KEY,
            "size": SIZE,
            "ssh_keys": (ed25519(),),
        }
        return VmSpec(**asked | changes)

    def machines(self) -> list[Any]:
        """The XML of the tenant's machines that are not terminated, the oldest first."""
        pool = self.admin.xml("one.vmpool.infoextended", -2, -1, -1, -1)
        return sorted(
            (vm for vm in pool if vm.findtext("GID") == str(self.vdc)), key=lambda vm: int(vm.findtext("ID") or "")
        )

    def shot(self) -> Any:
        """All that there is of the tenant's machines, and what they are counted for, free of ids and times."""
        group = self.admin.xml("one.group.info", self.vdc)
        used = {item.tag: item.text for item in group.iterfind("VM_QUOTA/VM/*") if item.tag.endswith("_USED")}
        leases = self.admin.xml("one.vn.info", self.network).findtext("USED_LEASES")
        return [_plain(vm) for vm in self.machines()], used, leases

    def is_settled(self) -> bool:
        """Whether no machine of the tenant is on its way to another state."""
        return all((vm.findtext("STATE"), vm.findtext("LCM_STATE")) in _AT_REST for vm in self.machines())


_AT_REST = {("3", "3"), ("8", "0"), ("9", "0")}


def _plain(vm: Any) -> dict[str, Any]:
    template = vm.find("TEMPLATE")
    return {
        "name": vm.findtext("NAME"),
        "state": (vm.findtext("STATE"), vm.findtext("LCM_STATE")),
        "size": [template.findtext(name) for name in ("CPU", "VCPU", "MEMORY")],
        "disks": [disk.findtext("SIZE") for disk in template.iterfind("DISK")],
        "networks": [nic.findtext("NETWORK_ID") for nic in template.iterfind("NIC")],
        "user": {item.tag: item.text for item in vm.find("USER_TEMPLATE") if item.tag.startswith("TENANCY")},
    }


def _until_ready(admin: Raw, network: int) -> None:
    deadline_s = time.monotonic() + 10
    while admin.xml("one.vn.info", network).findtext("STATE") != "1":
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
