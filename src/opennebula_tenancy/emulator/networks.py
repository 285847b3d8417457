"""Virtual networks as objects (src/vnm); the calls about them are in `opennebula_tenancy.emulator.network_calls`.

A network is made and deleted asynchronously: its address ranges exist from the step on in which it becomes READY.
"""

import enum
import time
from collections.abc import Collection
from typing import ClassVar

import attrs

from opennebula_tenancy.emulator import clusters
from opennebula_tenancy.emulator.addresses import (
    AddressError,
    AddressRange,
    Holder,
    Visible,
    id_set,
    random_mac,
)
from opennebula_tenancy.emulator.drivers import NETWORK_DRIVERS
from opennebula_tenancy.emulator.errors import internal
from opennebula_tenancy.emulator.kinds import Kind
from opennebula_tenancy.emulator.markup import cdata, ids
from opennebula_tenancy.emulator.quotas import Charge
from opennebula_tenancy.emulator.state import Cloud, PoolObject, name_problem
from opennebula_tenancy.emulator.template import Template, Vector
from opennebula_tenancy.emulator.vm_updates import VmUpdates


INHERITED = (
    *("VLAN_TAGGED_ID", "FILTER", "FILTER_IP_SPOOFING", "FILTER_MAC_SPOOFING", "MTU", "METRIC", "IP6_METRIC", "METHOD"),
    *("IP6_METHOD", "INBOUND_AVG_BW", "INBOUND_PEAK_BW", "INBOUND_PEAK_KB", "OUTBOUND_AVG_BW", "OUTBOUND_PEAK_BW"),
    *("OUTBOUND_PEAK_KB", "CONF", "BRIDGE_CONF", "OVS_BRIDGE_CONF", "IP_LINK_CONF", "EXTERNAL_IP"),
    *("AWS_ALLOCATION_ID", "VULTR_IP_ID", "GATEWAY", "DNS", "VXLAN_MODE", "VXLAN_TEP", "VXLAN_MC", "CVLANS"),
    *("QINQ_TYPE", "TRUST", "SPOOFCHK"),
)
"""Attributes that a NIC takes from its network (INHERIT_VNET_ATTR of a stock oned.conf)."""

_FOR_NICS = (
    *("PHYDEV", "MTU", "VLAN_ID", "QINQ_TYPE", "CVLANS", "VLAN_TAGGED_ID", "OUTER_VLAN_ID", "INBOUND_AVG_BW"),
    *("INBOUND_PEAK_BW", "INBOUND_PEAK_KB", "OUTBOUND_AVG_BW", "OUTBOUND_PEAK_BW", "OUTBOUND_PEAK_KB", "SPOOFCHK"),
    "TRUST",
)
"""Attributes of a network whose changes come to the NICs of running VMs."""

_FIRST_VLAN = 2
_WITH_PHYDEV = frozenset({"vxlan", "802.1Q"})
_VLAN_8021Q = frozenset({"802.1Q", "ovswitch", "ovswitch_vxlan"})
_LAST_VLAN = 4094


class NetworkState(enum.IntEnum):
    """States of a network."""

    INIT = 0
    READY = 1
    LOCK_CREATE = 2
    LOCK_DELETE = 3
    DONE = 4
    ERROR = 5
    UPDATE_FAILURE = 6


def error_message(cloud: Cloud, text: str) -> str:
    """A text as the ERROR attribute of an object shows it, behind the time."""
    return f"{time.ctime(cloud.now_s())} : {text}"


@attrs.define(eq=False, kw_only=True)
class VirtualNetwork(PoolObject):
    """A virtual network.

    Attributes:
        state: Its state.
        previous: The state before the last that was stored.
        clusters: Its clusters.
        vn_mad: Driver. It and the next four mirror the template's attributes.
        bridge: Name of the bridge.
        bridge_type: Kind of bridge.
        phydev: Physical device.
        vlan_id: VLAN, as text; automatic when `automatic` has its name. So for the outer one.
        automatic: Which of VLAN_ID and OUTER_VLAN_ID were chosen by the server.
        ranges: Address ranges by AR_ID.
        next_range: AR_ID of the next range.
        vms: VMs with a NIC in it, by whether they have its last change.
        routers: Virtual routers with a NIC in it.
        parent: The network that its addresses were reserved of, -1 for none.
    """

    kind: ClassVar[Kind] = Kind.NET

    state: NetworkState = NetworkState.LOCK_CREATE
    previous: NetworkState = NetworkState.INIT
    clusters: set[int] = attrs.field(factory=set)
    vn_mad: str = ""
    bridge: str = ""
    bridge_type: str = ""
    phydev: str = ""
    vlan_id: str = ""
    outer_vlan_id: str = ""
    automatic: set[str] = attrs.field(factory=set)
    ranges: dict[int, AddressRange] = attrs.field(factory=dict)
    next_range: int = 0
    vms: VmUpdates = attrs.field(factory=VmUpdates)
    routers: set[int] = attrs.field(factory=set)
    parent: int = -1

    @property
    def cluster_ids(self) -> frozenset[int]:
        """Its clusters."""
        return frozenset(self.clusters)

    @property
    def is_apart(self) -> bool:
        """Rules on all networks and on those of a cluster say nothing about reservations."""
        return self.parent != -1

    @property
    def used(self) -> int:
        """How many leases there are."""
        return sum(found.used for found in self.ranges.values())

    @property
    def security_groups(self) -> set[int]:
        """Security groups of every NIC in it."""
        return id_set(self.template.text("SECURITY_GROUPS") or "")

    def move_to(self, state: NetworkState) -> None:
        """Enter a state and store it."""
        self.state = self.previous = state

    # Making

    def begin(self) -> None:
        """Complete a new network, which has its id already, from its template.

        Raises:
            Refusal: The template lacks what its driver needs (INTERNAL).
        """
        template = self.template
        self.vn_mad = template.take("VN_MAD") or ""
        if not self.vn_mad:
            raise internal("No VN_MAD in template for Virtual Network.")
        template.set("VN_MAD", self.vn_mad)
        self.phydev = template.take("PHYDEV") or ""
        template.set("PHYDEV", self.phydev)
        self.bridge = template.take("BRIDGE") or ""
        self.vlan_id = self._vlan("VLAN_ID")
        self.outer_vlan_id = self._vlan("OUTER_VLAN_ID")
        self._check_driver()
        self.bridge_type = self._bridge_type(self.vn_mad, template.take("BRIDGE_TYPE") or "")
        template.set("BRIDGE_TYPE", self.bridge_type)
        if not self.bridge:
            self.bridge = f"onebr.{self.vlan_id}" if self.vlan_id else f"onebr{self.id}"
        template.set("BRIDGE", self.bridge)
        groups = template.take("SECURITY_GROUPS") or ""
        template.set("SECURITY_GROUPS", ",".join(map(str, sorted(id_set(groups) | {0}))))

    def _vlan(self, name: str) -> str:
        """The VLAN that the template asks for, empty for none; asking for an automatic one is noted."""
        given = self.template.integer(name)
        if given is not None:
            self.template.set(name, str(given))
            self.template.erase(f"AUTOMATIC_{name}")
            return str(given)
        if (self.template.take(f"AUTOMATIC_{name}") or "").upper() == "YES":
            self.automatic.add(name)
        return ""

    def _check_driver(self) -> None:
        driver = self.vn_mad
        if driver in _WITH_PHYDEV and not self.phydev:
            raise internal(f"PHYDEV is mandatory for driver {driver}")
        if driver == "dummy" and not self.bridge:
            raise internal(f"BRIDGE is mandatory for driver {driver}")
        if driver in _WITH_PHYDEV and not self.vlan_id and "VLAN_ID" not in self.automatic:
            raise internal(f"VLAN_ID (or AUTOMATIC_VLAN_ID) is mandatory for driver {driver}")
        if driver == "ovswitch_vxlan" and not self.outer_vlan_id and "OUTER_VLAN_ID" not in self.automatic:
            raise internal(f"OUTER_VLAN_ID (or AUTOMATIC) is mandatory for driver {driver}")

    @staticmethod
    def _bridge_type(driver: str, wanted: str) -> str:
        known = NETWORK_DRIVERS.get(driver)
        if known is None:
            raise internal(f'VN_MAD named "{driver}" is not defined in oned.conf')
        types = known.split(",")
        if wanted.strip() and wanted.strip() not in types:
            raise internal(
                f'Attribute BRIDGE_TYPE has wrong value "{wanted.strip()}" for VN_MAD_CONF {driver} in oned.conf'
            )
        return wanted.strip() or types[0]

    def choose_vlans(self, used: Collection[str]) -> None:
        """Choose the VLANs that were asked for as automatic.

        Args:
            used: VLANs of other networks that drivers with VLANs of 12 bits chose.
        """
        vxlan = str(_FIRST_VLAN + self.id)
        hint = _FIRST_VLAN + self.id % (_LAST_VLAN + 1 - _FIRST_VLAN)
        order = (*range(hint, _LAST_VLAN + 1), *range(_FIRST_VLAN, hint))
        dot1q = next((str(vlan) for vlan in order if str(vlan) not in used), "")
        if "VLAN_ID" in self.automatic and self.vn_mad in _VLAN_8021Q | {"vxlan"}:
            self.vlan_id = vxlan if self.vn_mad == "vxlan" else dot1q
        if "OUTER_VLAN_ID" in self.automatic and self.vn_mad == "ovswitch_vxlan":
            self.outer_vlan_id = vxlan
        if self.vlan_id or self.outer_vlan_id:
            self.previous = self.state

    def made(self, cloud: Cloud) -> None:
        """Become READY with the address ranges of the template, or ERROR when one of them is none."""
        if self.state is not NetworkState.LOCK_CREATE or self.id not in cloud.pool(VirtualNetwork):
            return
        vectors = self.template.vectors("AR")
        self.template.erase("AR")
        self.template_updated(cloud, self.template.copy())
        problem = None
        for vector in vectors:
            try:
                self.add_range(vector)
            except AddressError as error:
                problem = str(error)
        if problem is None:
            self.move_to(NetworkState.READY)
        else:
            self.template.set("ERROR", error_message(cloud, problem))
            self.move_to(NetworkState.ERROR)

    def add_range(self, vector: Vector) -> None:
        """Add an address range.

        Raises:
            AddressError: The vector describes none.
        """
        made = AddressRange.read(vector, self.next_range)
        self.ranges[made.id] = made
        self.next_range += 1

    def template_updated(self, cloud: Cloud, old: Template) -> None:  # noqa: ARG002 - every object is told so
        """Mirror the template's attributes, write back those that an update cannot change, and note what VMs get.

        VNET_UPDATE holds the old values of what changed for NICs until their VMs have the new ones.
        """
        template = self.template
        template.erase("VNET_UPDATE")
        changed = Vector()
        for name in _FOR_NICS:
            before, now = old.text(name), template.text(name)
            if (now is not None and now != before) or (now is None and before):
                changed[name] = before or ""
        if changed:
            template.set("VNET_UPDATE", changed)
        template.erase("TEMPLATE_ID")
        driver = template.text("VN_MAD") or ""
        if not driver:
            raise internal("No VN_MAD in template for Virtual Network.")
        wanted = template.text("BRIDGE_TYPE") or ""
        if driver != self.vn_mad and wanted == self.bridge_type:
            wanted = ""
        self.bridge_type = self._bridge_type(driver, wanted)
        self.vn_mad = driver
        self.phydev = template.text("PHYDEV") or ""
        self.bridge = template.text("BRIDGE") or self.bridge
        for name in ("VLAN_ID", "OUTER_VLAN_ID"):
            template.erase(f"AUTOMATIC_{name}")
            if name in self.automatic:
                template.erase(name)
        if "VLAN_ID" not in self.automatic:
            self.vlan_id = template.text("VLAN_ID") or ""
            template.set("VLAN_ID", self.vlan_id)
        if "OUTER_VLAN_ID" not in self.automatic:
            self.outer_vlan_id = template.text("OUTER_VLAN_ID") or ""
            template.set("OUTER_VLAN_ID", self.outer_vlan_id)
        template.set("BRIDGE_TYPE", self.bridge_type)
        template.set("PHYDEV", self.phydev)
        template.set("BRIDGE", self.bridge)

    def change_nics(self, nics: list[Vector]) -> Vector:
        """Write to NICs what changed (VNET_UPDATE), but to none that has a value of its own.

        Args:
            nics: The NICs of a VM, of which those in other networks are passed over.

        Returns:
            The old values, empty when none of the NICs is in this network.
        """
        old = self.template.vector("VNET_UPDATE") or Vector()
        mine = [nic for nic in nics if nic.get("NETWORK_ID") == str(self.id)]
        for nic in mine:
            found = self.ranges.get(int(nic.get("AR_ID", "-1")))
            for name in [name for name in old if name not in nic or nic[name] == old[name]]:
                value = found.attributes.get(name) if found is not None else None
                value = self.template.text(name) if value is None else value
                nic.pop(name, None)
                if value is not None:
                    nic[name] = value
        return old if mine else Vector()

    # Leases

    def lease(self, nic: Vector, holder: Holder) -> bool:
        """Give an address to a NIC: the one it asks for with IP, IP6 or MAC, else the next free one.

        Returns:
            Whether it got one. It gets none while the network has no ranges yet.
        """
        asked = [name for name in ("IP", "IP6", "MAC") if nic.get(name)]
        if len(asked) > 1:
            return False
        for found in self.ranges.values():
            index = found.index_of(nic) if asked else found.free_index()
            if index is not None:
                found.lease(index, holder, nic, INHERITED)
                return True
        return False

    def join_nic(self, nic: Vector, vm_id: int) -> bool:
        """Put the NIC of a VM into the network: an address, and what NICs take from their network.

        Args:
            nic: The NIC vector, with its NIC_ID.
            vm_id: The VM.

        Returns:
            Whether there was an address for it.
        """
        nic.update(NETWORK=self.name, NETWORK_ID=str(self.id), BRIDGE=self.bridge)
        mirrored = (("VN_MAD", self.vn_mad), ("PHYDEV", self.phydev), ("VLAN_ID", self.vlan_id))
        for name, value in (*mirrored, ("OUTER_VLAN_ID", self.outer_vlan_id)):
            if value:
                nic[name] = value
        if not nic.get("TARGET"):
            nic["TARGET"] = f"one-{vm_id}-{nic['NIC_ID']}"
        if self.parent != -1:
            nic["PARENT_NETWORK_ID"] = str(self.parent)
        nic["CLUSTER_ID"] = ",".join(map(str, sorted(self.clusters)))
        if self.bridge_type:
            nic["BRIDGE_TYPE"] = self.bridge_type
        floating = all(nic.get(name, "").upper() == "YES" for name in ("FLOATING_IP", "FLOATING_ONLY"))
        if floating:
            nic["MAC"] = random_mac()
            for name in ("IP", "IP6_LINK", "IP6_ULA", "IP6_GLOBAL"):
                nic.pop(name, None)
        elif not self.lease(nic, Holder(Kind.VM, vm_id)):
            return False
        for name in INHERITED:
            inherited = self.template.text(name)
            if inherited and not nic.get(name):
                nic[name] = inherited
        groups = id_set(nic.get("SECURITY_GROUPS", "")) | self.security_groups
        found = self.ranges.get(int(nic.get("AR_ID", "-1")))
        if found is not None:
            groups |= found.security_groups
        nic["SECURITY_GROUPS"] = ",".join(map(str, sorted(groups)))
        self.vms.updated.add(vm_id)
        return True

    def join_router_nic(self, nic: Vector, router_id: int) -> bool:
        """Put the NIC of a virtual router into the network: a floating one gets an address, others when VMs are made.

        Args:
            nic: The NIC vector.
            router_id: The virtual router.

        Returns:
            Whether there was an address for it.
        """
        nic.update(NETWORK=self.name, NETWORK_ID=str(self.id))
        if nic.get("FLOATING_IP", "").upper() == "YES" and not self.lease(nic, Holder(Kind.VROUTER, router_id)):
            return False
        self.routers.add(router_id)
        return True

    def forget_vm(self, vm_id: int) -> None:
        """Forget a VM of which a NIC left, even if it has others, as oned does."""
        if self.vms.drop(vm_id) is self.vms.error and not self.vms.error and self.state is NetworkState.UPDATE_FAILURE:
            self.move_to(NetworkState.READY)

    def release(self, nic: Vector, holder: Holder) -> None:
        """Take back the address that a NIC holds."""
        found = self.ranges.get(int(nic.get("AR_ID", "-1")))
        mac = "VROUTER_MAC" if holder.kind is Kind.VROUTER else "MAC"
        name, held = ("IP", nic.get("IP")) if nic.get("SHARED") == "YES" else ("MAC", nic.get(mac))
        address = Vector({name: held}) if held else Vector()
        index = found.index_of(address, free=False) if found is not None and address else None
        if found is not None and index is not None:
            found.release(index, holder)

    # XML

    def xml(self, cloud: Cloud) -> str:  # noqa: ARG002 - every object reads so
        """The body, its address ranges as stored."""
        return self._xml("".join(found.pool_xml() for found in self.ranges.values()))

    def body(self, visible: Visible) -> str:
        """The body with the leases that the reader may see."""
        return self._xml("".join(found.xml(visible) for found in self.ranges.values()))

    def _xml(self, ranges: str) -> str:
        def text(name: str, value: str) -> str:
            return f"<{name}>{cdata(value)}</{name}>" if value else f"<{name}/>"

        parent = (
            "<PARENT_NETWORK_ID/>" if self.parent == -1 else f"<PARENT_NETWORK_ID>{self.parent}</PARENT_NETWORK_ID>"
        )
        return (
            f"<VNET><ID>{self.id}</ID><UID>{self.uid}</UID><GID>{self.gid}</GID><UNAME>{self.uname}</UNAME>"
            f"<GNAME>{self.gname}</GNAME><NAME>{self.name}</NAME>{self.lock_xml()}{self.permissions.xml()}"
            f"{ids('CLUSTERS', self.clusters)}<BRIDGE>{cdata(self.bridge)}</BRIDGE>"
            f"<BRIDGE_TYPE>{cdata(self.bridge_type)}</BRIDGE_TYPE><STATE>{cdata(self.state.value)}</STATE>"
            f"<PREV_STATE>{cdata(self.previous.value)}</PREV_STATE>{parent}<TEMPLATE_ID/>"
            f"{text('VN_MAD', self.vn_mad)}{text('PHYDEV', self.phydev)}{text('VLAN_ID', self.vlan_id)}"
            f"{text('OUTER_VLAN_ID', self.outer_vlan_id)}"
            f"<VLAN_ID_AUTOMATIC>{int('VLAN_ID' in self.automatic)}</VLAN_ID_AUTOMATIC>"
            f"<OUTER_VLAN_ID_AUTOMATIC>{int('OUTER_VLAN_ID' in self.automatic)}</OUTER_VLAN_ID_AUTOMATIC>"
            f"<USED_LEASES>{self.used}</USED_LEASES>{ids('VROUTERS', self.routers)}{self.vms.xml()}"
            f"{self.template.xml()}"
            f"<AR_POOL>{ranges}</AR_POOL></VNET>"
        )


def create(cloud: Cloud, network: VirtualNetwork, cluster_ids: Collection[int]) -> VirtualNetwork:
    """Make a network of one that has an owner and a template; it becomes READY one step later.

    Raises:
        Refusal: The name is taken or invalid, or the template lacks something (INTERNAL).
    """
    pool = cloud.pool(VirtualNetwork)
    network.name = network.template.take("NAME") or ""
    taken = pool.named(network.name, network.uid)
    if taken is not None:
        raise internal(f"NAME is already taken by NET {taken.id}.")
    if not network.name:
        raise internal("No NAME in template for Virtual Network.")
    problem = name_problem(network.name)
    if problem is not None:
        raise internal(problem)
    network.id = pool.next_id
    network.begin()
    if not network.template.storable:
        raise internal("Error transforming the Virtual Network to XML.")
    network.choose_vlans({other.vlan_id for other in pool if other.vn_mad in _VLAN_8021Q})
    pool.add(network)
    for cluster_id in cluster_ids:
        clusters.join(cloud, cluster_id, Kind.NET, network.id)
    cloud.later(cloud.config.step_s, lambda: network.made(cloud))
    return network


def drop(cloud: Cloud, network: VirtualNetwork) -> None:
    """Forget a network."""
    cloud.pool(VirtualNetwork).remove(network)
    clusters.leave(cloud, Kind.NET, network.id)


def leases(network: VirtualNetwork, count: int) -> Charge:
    """What a number of addresses of a network counts in quotas."""
    return Charge(leases=(str(network.id),) * count)
