"""Virtual routers as objects (VirtualRouter.cc); the calls are in `opennebula_tenancy.emulator.vrouter_calls`.

A router holds the addresses of its floating NICs itself. Its VMs get copies of its NICs: one of a floating NIC takes an
address of its own beside the router's, one of any other NIC takes the address that the NIC asks for.
"""

from typing import ClassVar

import attrs

from opennebula_tenancy.emulator.addresses import Holder
from opennebula_tenancy.emulator.kinds import Kind
from opennebula_tenancy.emulator.markup import ids
from opennebula_tenancy.emulator.networks import VirtualNetwork
from opennebula_tenancy.emulator.quotas import Charge
from opennebula_tenancy.emulator.state import Cloud, PoolObject
from opennebula_tenancy.emulator.template import Template, Vector, integer


_OF_ROUTER = ("MAC", "IP", "IP6_LINK", "IP6_ULA", "IP6_GLOBAL", "VLAN_ID")
_KEEPALIVED_IDS = 255


def is_floating(nic: Vector) -> bool:
    """Whether the router itself holds an address for a NIC."""
    return nic.get("FLOATING_IP", "").upper() == "YES"


def charge_of(nics: list[Vector]) -> Charge:
    """The leases that a router takes for NICs; those of its VMs are counted with the VMs."""
    return Charge(leases=tuple(nic["NETWORK_ID"] for nic in nics if nic.get("NETWORK_ID") and is_floating(nic)))


@attrs.define(eq=False, kw_only=True)
class VirtualRouter(PoolObject):
    """A virtual router.

    Attributes:
        vms: Its VMs.
    """

    kind: ClassVar[Kind] = Kind.VROUTER

    vms: set[int] = attrs.field(factory=set)

    @property
    def nics(self) -> list[Vector]:
        """Its NICs."""
        return self.template.vectors("NIC")

    def nic(self, nic_id: int) -> Vector | None:
        """The NIC of that NIC_ID, or None."""
        return next((nic for nic in self.nics if nic.get("NIC_ID") == str(nic_id)), None)

    @property
    def next_nic_id(self) -> int:
        """The NIC_ID of the next NIC."""
        return max((integer(nic.get("NIC_ID")) or 0 for nic in self.nics), default=-1) + 1

    def vm_template(self, restricted: frozenset[str]) -> Template:
        """What the router adds to the template of its VMs.

        Args:
            restricted: Attributes of NICs that only administrators may set.
        """
        made = Template([("NIC", prepared(nic, restricted)) for nic in self.nics])
        made.set("VROUTER_ID", str(self.id))
        keepalived = self.template.integer("KEEPALIVED_ID")
        made.set("VROUTER_KEEPALIVED_ID", str(self.id % _KEEPALIVED_IDS + 1 if keepalived is None else keepalived))
        password = self.template.text("KEEPALIVED_PASSWORD")
        if password:
            made.set("VROUTER_KEEPALIVED_PASSWORD", password)
        return made

    def release(self, cloud: Cloud, nic: Vector) -> None:
        """Give back the address of a NIC. The network forgets the router, even if it has others there, as oned does."""
        oid = integer(nic.get("NETWORK_ID"))
        network = None if oid is None else cloud.pool(VirtualNetwork).find(oid)
        if network is not None:
            network.release(nic, Holder(Kind.VROUTER, self.id))
            network.routers.discard(self.id)

    def xml(self, cloud: Cloud) -> str:  # noqa: ARG002 - every object reads so
        """The body."""
        return (
            f"<VROUTER><ID>{self.id}</ID><UID>{self.uid}</UID><GID>{self.gid}</GID><UNAME>{self.uname}</UNAME>"
            f"<GNAME>{self.gname}</GNAME><NAME>{self.name}</NAME>{self.permissions.xml()}{self.lock_xml()}"
            f"{ids('VMS', self.vms)}{self.template.xml()}</VROUTER>"
        )

    def template_updated(self, cloud: Cloud, old: Template) -> None:  # noqa: ARG002 - every object is told so
        """Keep the NICs: an update neither adds nor removes any."""
        self.template.erase("NIC")
        for nic in old.vectors("NIC"):
            self.template.add("NIC", nic)


def prepared(nic: Vector, restricted: frozenset[str]) -> Vector:
    """A NIC as a router keeps it and its VMs get it: the address of a floating one is the router's, not the VM's.

    Args:
        nic: The NIC.
        restricted: Attributes of NICs that only administrators may set. A floating NIC loses them.
    """
    made = Vector(nic)
    if is_floating(made):
        for name in _OF_ROUTER:
            if name in made:
                made[f"VROUTER_{name}"] = made.pop(name)
        for name in restricted:
            made.pop(name, None)
    return made
