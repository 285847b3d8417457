"""`NetworkCalls`: the single calls that networks, routers and security groups are made and unmade with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opennebula_tenancy import ownership, vrrp
from opennebula_tenancy._wire.network_records import NetworkRecord, NetworkState, RouterRecord, SecurityGroupRecord
from opennebula_tenancy._wire.records import VdcRecord, parse
from opennebula_tenancy._wire.template import render
from opennebula_tenancy._wire.vm_records import VmRecord
from opennebula_tenancy.converging import MERGE, Converging
from opennebula_tenancy.errors import EnteredFailureState, NotFound, WrongState
from opennebula_tenancy.security_rule import SecurityRule, same_rules
from opennebula_tenancy.waiting import wait_for


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opennebula_tenancy._transport.rpc import Reader
    from opennebula_tenancy._wire.template import Scalar, Template, Value, Vector


NETWORK_ROLE = "network"
SECURITY_GROUP_ROLE = "security-group"
ROUTER_ROLE = "router"
ROUTER_VM_ROLE = "router-vm"
_REPLACE = 0
"""The `append` argument of update methods that drops the attributes that are not named."""
_ADMINISTRATORS = 0
"""The group oneadmin: what its members make is in it."""
_EVERY = (-2, -1, -1)
"""The filter, and the range of ids, of everything that the account may see."""
_GONE = frozenset({NetworkState.LOCK_DELETE, NetworkState.DONE})


def read_networks(reader: Reader) -> tuple[NetworkRecord, ...]:
    """Read all networks."""
    return NetworkRecord.pool(reader.read("one.vnpool.info", *_EVERY))


def read_security_groups(reader: Reader) -> tuple[SecurityGroupRecord, ...]:
    """Read all security groups."""
    return SecurityGroupRecord.pool(reader.read("one.secgrouppool.info", *_EVERY))


def read_routers(reader: Reader) -> tuple[RouterRecord, ...]:
    """Read all virtual routers."""
    return RouterRecord.pool(reader.read("one.vrouterpool.info", *_EVERY))


def read_network(reader: Reader, network_id: int) -> NetworkRecord:
    """Read one network, with its leases."""
    return NetworkRecord.parse(reader.read("one.vn.info", network_id, False))


def read_security_group(reader: Reader, group_id: int) -> SecurityGroupRecord:
    """Read one security group."""
    return SecurityGroupRecord.parse(reader.read("one.secgroup.info", group_id, False))


def read_router(reader: Reader, router_id: int) -> RouterRecord:
    """Read one virtual router."""
    return RouterRecord.parse(reader.read("one.vrouter.info", router_id, False))


def is_ours(item: NetworkRecord | SecurityGroupRecord | RouterRecord, key: str, role: str) -> bool:
    """Whether an object was made for the tenant with this key, by an administrator.

    What members of a tenant make belongs to its group, and may carry whatever they write into it.
    """
    return item.gid == _ADMINISTRATORS and ownership.carries(item.template, key, role)


def networks_of(networks: Iterable[NetworkRecord], key: str) -> tuple[NetworkRecord, ...]:
    """The networks that carry a key and are not being deleted, the oldest first.

    There is one, unless two accounts have made one each: OpenNebula keeps names unique for each owner alone.
    """
    found = (network for network in networks if is_ours(network, key, NETWORK_ROLE) and network.state not in _GONE)
    return tuple(sorted(found, key=lambda network: network.id))


def network_of(networks: Iterable[NetworkRecord], key: str) -> NetworkRecord | None:
    """The network that carries a key and is not being deleted; the oldest where there is more than one."""
    return next(iter(networks_of(networks, key)), None)


def security_groups_of(groups: Iterable[SecurityGroupRecord], key: str) -> tuple[SecurityGroupRecord, ...]:
    """The security groups that carry a key, the oldest first. There is one, as with networks."""
    found = (group for group in groups if is_ours(group, key, SECURITY_GROUP_ROLE))
    return tuple(sorted(found, key=lambda group: group.id))


def security_group_of(groups: Iterable[SecurityGroupRecord], key: str) -> SecurityGroupRecord | None:
    """The security group that carries a key; the oldest where there is more than one."""
    return next(iter(security_groups_of(groups, key)), None)


def routers_of(routers: Iterable[RouterRecord], key: str) -> tuple[RouterRecord, ...]:
    """The routers that carry a key, the oldest first."""
    found = (router for router in routers if is_ours(router, key, ROUTER_ROLE))
    return tuple(sorted(found, key=lambda router: router.id))


def rules_of(group: SecurityGroupRecord) -> tuple[SecurityRule, ...]:
    """The rules of a security group, in an order of their own.

    Raises:
        SettingsError: One of them is none that this library would write.
    """
    return tuple(sorted((SecurityRule.of_vector(rule) for rule in group.rules), key=str))


def _attributes(text: object) -> Mapping[str, Value]:
    """All attributes of a network's template as they are written: vectors, and names that repeat, among them.

    VNET_UPDATE is the server's own, and what is empty it writes itself.
    """
    found: dict[str, list[Scalar | Vector]] = {}
    for item in parse(text, "VNET").iterfind("TEMPLATE/*"):
        value = {part.tag: part.text for part in item if part.text} or item.text
        if value and item.tag != "VNET_UPDATE":
            found.setdefault(item.tag, []).append(value)
    return found


class NetworkCalls(Converging):
    """The calls, each with the look that settles it."""

    def create_security_group(self, key: str, name: str, rules: Iterable[SecurityRule]) -> tuple[int, bool]:
        """Make the security group of a tenant.

        Returns:
            Its id, and whether it was made here.

        Raises:
            Conflict: The name is taken by a security group that is not the tenant's.
        """

        def look() -> int | None:
            group = security_group_of(read_security_groups(self._rpc), key)
            return None if group is None else group.id

        template: Template = {
            "NAME": name,
            **ownership.mark(key, SECURITY_GROUP_ROLE),
            "RULE": [rule.vector() for rule in rules],
        }
        return self._allocate("one.secgroup.allocate", render(template), look=look, what=f"the security group {name}")

    def set_rules(self, group_id: int, rules: Iterable[SecurityRule], *, timeout_s: float) -> None:
        """Replace the rules of a security group, and wait until the machines that use it have them.

        Raises:
            EnteredFailureState: OpenNebula could not change the rules of a machine.
            WaitTimeout: A machine still has the old ones.
        """
        wanted = tuple(rules)

        def look() -> int | None:
            return group_id if same_rules(wanted, read_security_group(self._rpc, group_id).rules) else None

        template = render({"RULE": [rule.vector() for rule in wanted]})
        self._rpc.mutate("one.secgroup.update", group_id, template, MERGE, look=look)
        self.await_rules(group_id, timeout_s=timeout_s)

    def commit_rules(self, group_id: int, *, timeout_s: float) -> None:
        """Bring the rules of a security group to the machines that do not have them yet, and wait for it."""

        def look() -> int | None:
            group = read_security_group(self._rpc, group_id)
            return None if group.outdated or group.error else group_id

        self._converge("one.secgroup.commit", group_id, False, look=look)
        self.await_rules(group_id, timeout_s=timeout_s)

    def await_rules(self, group_id: int, *, timeout_s: float) -> None:
        """Wait until all machines that use a security group have its rules."""

        def look() -> int | None:
            group = read_security_group(self._rpc, group_id)
            if group.error and not group.updating and not group.outdated:
                failed = ", ".join(f"VM {vm}" for vm in sorted(group.error))
                raise EnteredFailureState(f"the rules of security group {group_id} could not be applied to {failed}")
            return None if group.outdated or group.updating else group_id

        wait_for(look, f"security group {group_id} is not applied to all its machines", timeout_s=timeout_s)

    def create_network(self, key: str, name: str, template: Template, cluster: int) -> tuple[int, bool]:
        """Make the network of a tenant.

        Args:
            key: The tenant's key.
            name: The name.
            template: What it is made of, besides its name and the key.
            cluster: The cluster that it is in at first.

        Returns:
            Its id, and whether it was made here.

        Raises:
            Conflict: The name is taken by a network that is not the tenant's.
        """

        def look() -> int | None:
            network = network_of(read_networks(self._rpc), key)
            return None if network is None else network.id

        text = render({"NAME": name, **ownership.mark(key, NETWORK_ROLE), **template})
        return self._allocate("one.vn.allocate", text, cluster, look=look, what=f"the network {name}")

    def set_network(self, network_id: int, settings: Mapping[str, str]) -> None:
        """Write attributes into the template of a network, keeping all others. Empty ones are taken out of it.

        An update that merges takes nothing out: where something is to go, the template is written anew as a whole.
        """

        def look() -> int | None:
            held = read_network(self._rpc, network_id).template
            return network_id if all(held.get(name, "") == value for name, value in settings.items()) else None

        wanted: Template = {name: value for name, value in settings.items() if value}
        mode = MERGE
        if len(wanted) < len(settings):
            held = _attributes(self._rpc.read("one.vn.info", network_id, False))
            wanted = {**{name: value for name, value in held.items() if name not in settings}, **wanted}
            mode = _REPLACE
        self._rpc.mutate("one.vn.update", network_id, render(wanted), mode, look=look)

    def await_network(self, network_id: int, *, timeout_s: float) -> NetworkRecord:
        """Wait until a network is ready.

        Raises:
            EnteredFailureState: OpenNebula could not make it.
            WaitTimeout: It is not ready yet.
        """
        seen = ""

        def look() -> NetworkRecord | None:
            nonlocal seen
            network = read_network(self._rpc, network_id)
            seen = network.state_name
            if network.state is NetworkState.ERROR:
                reason = network.template.get("ERROR", "OpenNebula gives no reason")
                raise EnteredFailureState(f"network {network_id} ({network.name}) is in the state ERROR: {reason}")
            return network if network.state is NetworkState.READY else None

        return wait_for(look, lambda: f"network {network_id} is not ready, but {seen},", timeout_s=timeout_s)

    def set_cluster(self, network_id: int, cluster: int, *, present: bool) -> None:
        """Put a network into a cluster, or take it out."""

        def look() -> int | None:
            return network_id if (cluster in read_network(self._rpc, network_id).clusters) is present else None

        self._converge("one.cluster.addvnet" if present else "one.cluster.delvnet", cluster, network_id, look=look)

    def set_in_vdc(self, vdc_id: int, zone: int, network_id: int) -> None:
        """Put a network into a VDC."""

        def look() -> int | None:
            vdc = VdcRecord.parse(self._rpc.read("one.vdc.info", vdc_id))
            return vdc_id if (zone, network_id) in vdc.networks else None

        self._converge("one.vdc.addvnet", vdc_id, zone, network_id, look=look)

    def create_router(self, key: str, name: str, template: Template) -> int:
        """Make the virtual router of a tenant, without machines.

        Names of routers are not unique: two runs for one tenant may make one each. Only one of them gets a machine on
        the gateway's address.

        Returns:
            Its id.
        """

        def look() -> int | None:
            found = routers_of(read_routers(self._rpc), key)
            return found[0].id if found else None

        text = render({"NAME": name, **ownership.mark(key, ROUTER_ROLE), **template})
        made: int = self._rpc.mutate("one.vrouter.allocate", text, look=look)
        return made

    def set_router_number(self, router_id: int, number: int) -> None:
        """Give a virtual router another VRRP id, which machines have that are made from now on."""

        def look() -> int | None:
            return router_id if vrrp.number_of(read_router(self._rpc, router_id)) == number else None

        self._rpc.mutate("one.vrouter.update", router_id, render({vrrp.KEEPALIVED_ID: number}), MERGE, look=look)

    def set_context(self, vm_id: int, values: Mapping[str, str]) -> None:
        """Tell a machine of a router other things in its CONTEXT, also while it runs."""

        def look() -> int | None:
            vm = VmRecord.parse(self._rpc.read("one.vm.info", vm_id, False))
            return vm_id if values.items() <= vm.context.items() else None

        self._rpc.mutate("one.vm.updateconf", vm_id, render({"CONTEXT": values}), MERGE, look=look)

    def set_security_group(self, vm_id: int, nic_id: int, group_id: int, *, present: bool) -> None:
        """Put a security group on an interface of a machine, or take it off: also one that is gone."""

        def look() -> int | None:
            vm = VmRecord.parse(self._rpc.read("one.vm.info", vm_id, False))
            has = any(nic.nic_id == nic_id and group_id in nic.security_groups for nic in vm.nics)
            return vm_id if has is present else None

        self._converge("one.vm.attachsg" if present else "one.vm.detachsg", vm_id, nic_id, group_id, look=look)

    def instantiate(
        self, router: RouterRecord, count: int, template_id: int, name: str, extra: Template
    ) -> RouterRecord:
        """Give a virtual router more machines.

        Args:
            router: The router as it is.
            count: How many.
            template_id: The VM template.
            name: What the machines are called; `%i` stands for their number.
            extra: What they have that the template does not say.

        Returns:
            The router with them.
        """

        def look() -> int | None:
            return router.id if len(read_router(self._rpc, router.id).vms) >= len(router.vms) + count else None

        self._rpc.mutate(
            "one.vrouter.instantiate", router.id, count, template_id, name, False, render(extra), look=look
        )
        return read_router(self._rpc, router.id)

    def remove_router(self, router_id: int) -> None:
        """Remove a virtual router. Its machines go after that, in their own time."""
        self._remove("one.vrouter.delete", "one.vrouter.info", router_id)

    def remove_network(self, network_id: int, *, timeout_s: float, unless: Callable[[], bool] = lambda: False) -> bool:
        """Remove a network, and wait until it is gone: also while addresses are still being given back.

        Args:
            network_id: The network.
            timeout_s: How many seconds that may take.
            unless: Whether the network is to stay after all; asked before each attempt.

        Returns:
            Whether it is gone.

        Raises:
            WaitTimeout: It is still there after all that time; the message has OpenNebula's reason.
        """
        refusal: WrongState | None = None

        def look() -> bool | None:
            nonlocal refusal
            try:
                network = read_network(self._rpc, network_id)
            except NotFound:
                return True
            if network.state not in _GONE and network.state is not NetworkState.LOCK_CREATE:
                if unless():
                    return False
                try:
                    self._delete_network(network_id)
                except WrongState as error:
                    refusal = error
                except NotFound:
                    return True
            return None

        def what() -> str:
            return f"network {network_id} is still there" + (f" ({refusal.message})" if refusal else "")

        return wait_for(look, what, timeout_s=timeout_s)

    def _delete_network(self, network_id: int) -> None:
        def look() -> int | None:
            try:
                return network_id if read_network(self._rpc, network_id).state in _GONE else None
            except NotFound:
                return network_id

        self._converge("one.vn.delete", network_id, look=look)

    def remove_security_group(self, group_id: int) -> None:
        """Remove a security group."""
        self._remove("one.secgroup.delete", "one.secgroup.info", group_id)
