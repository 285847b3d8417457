"""What a member of one tenant can see and use of the network of another, found out by logging in as one."""

import os
import time
from collections.abc import Callable, Iterator

import attrs
import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.emulator import Emulator
from tenants.live import RUN, Live
from tenants.networks import PING, SSH, connect
from tenants.outside import Outside
from tenants.raw import Raw


pytestmark = pytest.mark.live

NOT_AUTHORIZED = 0x0200
Login = Callable[[int, str], Raw]


@pytest.fixture(name="server")
def _server() -> Iterator[Emulator | Live]:
    """The embedded server, or a live one that is left as it was."""
    if "ONE_XMLRPC" not in os.environ:
        with Emulator(populated=True) as server:
            yield server
        return
    live = Live()
    try:
        yield live
    finally:
        with connect(live) as cloud:
            for vdc in cloud.vdcs.list():
                if vdc.name.startswith(RUN):
                    forget_what_members_have(live, vdc)
                    vdc.delete(terminate_vms=True)
        live.clear()


def forget_what_members_have(live: Live, vdc: ont.Vdc) -> None:
    admin = Raw(live.endpoint, live.auth)
    for noun in ("vrouter", "secgroup", "template", "user"):
        pool = admin.xml(f"one.{noun}pool.info", *(() if noun == "user" else (-2, -1, -1)))
        for item in pool:
            if item.findtext("GID") == str(vdc.id):
                admin(f"one.{noun}.delete", int(item.findtext("ID") or ""))


@pytest.fixture(name="outside")
def _outside(server: Emulator | Live, admin: Raw) -> Outside:
    return Outside.of(server, admin)


@attrs.frozen
class Tenant:
    """A tenant, the ids of what its network is made of, and calls as a member of it."""

    vdc: ont.Vdc
    spec: ont.VdcSpec
    network: int
    security_group: int
    router: int
    router_vm: int
    member: Raw

    def machine(self, network: int, **nic: str) -> int:
        """Make a VM in a network."""
        return int(
            self.member("one.template.instantiate", self.template(), "web", False, nic_of(network, **nic), False)
        )

    def refused_machine(self, network: int, **nic: str) -> int:
        """Be refused a VM in a network, with this code."""
        text = nic_of(network, **nic)
        return self.member.refused("one.template.instantiate", self.template(), "spy", False, text, False)[0]

    def template(self) -> int:
        count = len(self.member.xml("one.templatepool.info", -3, -1, -1))
        return int(self.member("one.template.allocate", f"NAME={RUN}small-{count}\nCPU=0.1\nMEMORY=64"))


def nic_of(network: int, **more: str) -> str:
    details = "".join(f',{name}="{value}"' for name, value in more.items())
    return f'NIC=[NETWORK_ID="{network}"{details}]'


@pytest.fixture(name="tenants")
def _tenants(cloud: ont.Cloud, outside: Outside, login: Login) -> tuple[Tenant, Tenant]:
    one, two = (build(cloud, outside, login, name) for name in ("one", "two"))
    return one, two


def build(cloud: ont.Cloud, outside: Outside, login: Login, name: str) -> Tenant:
    network = ont.NetworkSpec(
        external_network=outside.network,
        router_template=outside.template,
        pool=ont.SubnetPool("10.97.0.0/16"),
        rules=(SSH, PING),
        timeout_s=30,
    )
    spec = ont.VdcSpec(name=RUN + name, key=RUN + name, clusters=(0,), network=network)
    vdc = cloud.vdcs.ensure(spec)
    made, router = vdc.network, vdc.router
    assert made is not None
    assert router is not None
    (vm,) = router.vm_ids
    (group,) = made.security_groups
    return Tenant(vdc, spec, made.id, group, router.id, vm, login(vdc.id, f"{RUN}{name}-member"))


def ids(member: Raw, noun: str) -> list[int]:
    states = (-1,) if noun == "vm" else ()
    return [int(item.findtext("ID") or "") for item in member.xml(f"one.{noun}pool.info", -2, -1, -1, *states)]


def wait_for_running(server: Emulator | Live, member: Raw, vm: int) -> None:
    deadline = time.monotonic() + 20
    while member.xml("one.vm.info", vm, False).findtext("LCM_STATE") != "3":
        assert time.monotonic() < deadline
        server.settle()


class TestSight:
    def test_a_member_sees_its_own_network_and_security_group_and_none_of_another(
        self, tenants: tuple[Tenant, Tenant]
    ) -> None:
        for tenant, other in (tenants, tenants[::-1]):
            member = tenant.member
            assert ids(member, "vn") == [tenant.network]
            assert set(ids(member, "secgroup")) - {0} == {tenant.security_group}
            assert ids(member, "vrouter") == []
            assert ids(member, "vm") == []
            for method, ident in (
                ("one.vn.info", other.network),
                ("one.secgroup.info", other.security_group),
                ("one.vrouter.info", other.router),
                ("one.vm.info", other.router_vm),
                ("one.vrouter.info", tenant.router),
                ("one.vm.info", tenant.router_vm),
            ):
                assert member.refused(method, ident, False)[0] == NOT_AUTHORIZED, method


class TestUse:
    def test_a_machine_gets_the_rules_of_the_tenant_and_not_those_that_let_everything_pass(
        self, tenants: tuple[Tenant, Tenant], admin: Raw
    ) -> None:
        for tenant in tenants:
            vm = admin.xml("one.vm.info", tenant.machine(tenant.network), False)
            assert vm.findtext("TEMPLATE/NIC/SECURITY_GROUPS") == str(tenant.security_group)
            rules = {item.findtext("SECURITY_GROUP_ID") for item in vm.iterfind("TEMPLATE/SECURITY_GROUP_RULE")}
            assert rules == {str(tenant.security_group)}

    def test_the_router_lets_all_traffic_through_and_has_the_gateways_address(
        self, tenants: tuple[Tenant, Tenant], admin: Raw
    ) -> None:
        for tenant, gateway in zip(tenants, ("10.97.1.1", "10.97.2.1"), strict=True):
            nics = list(admin.xml("one.vm.info", tenant.router_vm, False).iterfind("TEMPLATE/NIC"))
            assert nics[0].findtext("IP") == gateway
            assert all("0" in (nic.findtext("SECURITY_GROUPS") or "").split(",") for nic in nics)

    def test_a_member_cannot_make_a_machine_in_the_network_of_another(self, tenants: tuple[Tenant, Tenant]) -> None:
        one, two = tenants
        assert one.refused_machine(two.network) == NOT_AUTHORIZED
        assert one.refused_machine(one.network, SECURITY_GROUPS=str(two.security_group)) == NOT_AUTHORIZED

    def test_a_member_cannot_attach_a_machine_to_the_network_of_another(
        self, tenants: tuple[Tenant, Tenant], server: Emulator | Live
    ) -> None:
        one, two = tenants
        vm = one.machine(one.network)
        wait_for_running(server, one.member, vm)
        for nic in (nic_of(two.network), nic_of(one.network, SECURITY_GROUPS=str(two.security_group))):
            assert one.member.refused("one.vm.attachnic", vm, nic)[0] == NOT_AUTHORIZED
        one.member("one.vm.attachnic", vm, nic_of(one.network))

    def test_a_member_cannot_lead_a_router_of_its_own_into_the_network_of_another(
        self, tenants: tuple[Tenant, Tenant]
    ) -> None:
        one, two = tenants
        router = one.member("one.vrouter.allocate", f"NAME={RUN}mine\n{nic_of(one.network)}")
        assert one.member.refused("one.vrouter.allocate", f"NAME=spy\n{nic_of(two.network)}")[0] == NOT_AUTHORIZED
        assert one.member.refused("one.vrouter.attachnic", router, nic_of(two.network))[0] == NOT_AUTHORIZED
        assert one.member.refused("one.vrouter.attachnic", two.router, nic_of(one.network))[0] == NOT_AUTHORIZED
        one.member("one.vrouter.delete", router)

    def test_a_member_cannot_change_what_its_network_is_made_of(self, tenants: tuple[Tenant, Tenant]) -> None:
        for tenant, target in (tenants, tenants[::-1], (tenants[0], tenants[0])):
            for method, params in (
                ("one.vn.update", (target.network, "SECURITY_GROUPS=0", 1)),
                ("one.vn.delete", (target.network,)),
                ("one.vn.hold", (target.network, 'LEASES=[IP="10.97.1.77"]')),
                ("one.vn.chmod", (target.network, 1, 1, 1, 1, 1, 1, 1, 1, 1)),
                ("one.secgroup.update", (target.security_group, "RULE=[PROTOCOL=ALL,RULE_TYPE=inbound]", 0)),
                ("one.secgroup.delete", (target.security_group,)),
                ("one.vrouter.delete", (target.router,)),
                ("one.vrouter.detachnic", (target.router, 0)),
                ("one.vm.action", ("terminate-hard", target.router_vm)),
            ):
                assert tenant.member.refused(method, *params)[0] == NOT_AUTHORIZED, method


class TestMarks:
    def test_what_a_member_marks_with_the_key_of_another_is_never_taken_for_the_others(
        self, cloud: ont.Cloud, tenants: tuple[Tenant, Tenant], admin: Raw, server: Emulator | Live
    ) -> None:
        one, two = tenants
        name = two.vdc.name

        def marks(role: str) -> str:
            return f'TENANCY_KEY="{two.spec.key}"\nTENANCY_ROLE={role}\nTENANCY_VERSION=1\n'

        group = one.member("one.secgroup.allocate", f"NAME={name}_default\n{marks('security-group')}")
        router = one.member("one.vrouter.allocate", f"NAME={name}_router\n{marks('router')}{nic_of(one.network)}")
        text = f"NAME={name}_router_vm\nCPU=0.1\nMEMORY=64\n{marks('router-vm')}"
        template = one.member("one.template.allocate", text)
        vm = one.member("one.template.instantiate", template, f"{name}_router_vm", False, nic_of(one.network), False)
        wait_for_running(server, one.member, vm)
        admin("one.group.update", two.vdc.id, "TENANCY_NETWORK_ID=unsettled", 1)
        assert [str(change).split(":")[0] for change in cloud.vdcs.plan(two.spec)] == [
            f"set mark of group {two.vdc.id}"
        ]
        cloud.vdcs.ensure(two.spec)
        admin("one.user.delete", int(two.member.xml("one.user.info", -1, False).findtext("ID") or ""))
        two.vdc.delete()
        for method, ident in (
            ("one.secgroup.info", group),
            ("one.vrouter.info", router),
            ("one.template.info", template),
            ("one.vm.info", vm),
        ):
            assert one.member.xml(method, ident, False).findtext("ID") == str(ident)
        assert one.member.xml("one.vm.info", vm, False).findtext("LCM_STATE") == "3"
        made = cloud.vdcs.ensure(two.spec)
        assert made.network is not None
        assert made.network.security_groups != (group,)
        assert made.router is not None
        assert made.router.id != router
        assert not cloud.vdcs.plan(one.spec)
