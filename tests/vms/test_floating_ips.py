"""Floating IPs: given out through the tenant's router, counted against its limit, and given back."""

import attrs
import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from tenants.raw import Raw
from vms.world import SIZE, connect


ROUTER_TEMPLATE, EXTERNAL = 8, 0
LIMIT = 2
TENANT = ont.VdcSpec(
    name="acme",
    key="key-of-acme",
    quota=ont.Quota(cpu=8, memory_mb=8192, floating_ips=LIMIT),
    clusters=(0,),
    network=ont.NetworkSpec(external_network=EXTERNAL, router_template=ROUTER_TEMPLATE),
)


@pytest.fixture(name="vdc")
def _vdc(cloud: ont.Cloud) -> ont.Vdc:
    return cloud.vdcs.ensure(TENANT)


@pytest.fixture(name="vm")
def _vm(cloud: ont.Cloud, vdc: ont.Vdc) -> ont.Vm:
    return cloud.vms.ensure(ont.VmSpec(name="web", vdc=vdc.id, template=0, key="web", size=SIZE))


def leases(admin: Raw) -> set[str]:
    """The addresses of the external network that machines have."""
    found = admin.xml("one.vn.info", EXTERNAL, False)
    return {lease.findtext("IP") or "" for lease in found.iterfind("AR_POOL/AR/LEASES/LEASE")}


def test_a_floating_ip_is_an_external_alias_that_counts_against_the_limit(vdc: ont.Vdc, vm: ont.Vm, admin: Raw) -> None:
    before = leases(admin)
    given = vm.assign_floating_ip()
    assert leases(admin) == before | {given.address}
    assert given.internal_address in vm.addresses()
    (alias,) = admin.xml("one.vm.info", vm.id, False).iterfind("TEMPLATE/NIC_ALIAS")
    assert (alias.findtext("EXTERNAL"), alias.findtext("PARENT")) == ("YES", "NIC0")
    assert vdc.usage().floating_ips == 1
    assert vm.floating_ips() == vdc.floating_ips() == (given,)


def test_no_more_are_given_out_than_the_tenant_may_have(vdc: ont.Vdc, vm: ont.Vm) -> None:
    given = {vm.assign_floating_ip().address for _ in range(LIMIT)}
    with pytest.raises(ont.QuotaExceeded, match="limit of 2 reached for LEASES"):
        vm.assign_floating_ip()
    assert {item.address for item in vm.floating_ips()} == given
    assert vdc.usage().floating_ips == LIMIT


def test_none_is_given_out_when_the_external_network_has_no_address_left(vm: ont.Vm, admin: Raw) -> None:
    free = [f"203.0.113.{host}" for host in range(10, 30) if f"203.0.113.{host}" not in leases(admin)]
    for address in free:
        admin("one.vn.hold", EXTERNAL, f'LEASES=[IP="{address}"]')
    with pytest.raises(ont.PoolExhausted, match="network 0 has no address left"):
        vm.assign_floating_ip()
    assert vm.floating_ips() == ()


def test_one_that_is_released_is_free_again_and_releasing_it_twice_is_no_error(
    vdc: ont.Vdc, vm: ont.Vm, admin: Raw
) -> None:
    first, second = vm.assign_floating_ip(), vm.assign_floating_ip()
    vm.release_floating_ip(first.address)
    vm.release_floating_ip(first.address)
    assert vm.floating_ips() == (second,)
    assert first.address not in leases(admin)
    assert vdc.usage().floating_ips == 1


def test_they_go_with_the_machine_and_with_the_tenant(cloud: ont.Cloud, vdc: ont.Vdc, vm: ont.Vm, admin: Raw) -> None:
    before = leases(admin)
    vm.assign_floating_ip()
    vm.delete()
    assert leases(admin) == before
    again = cloud.vms.ensure(ont.VmSpec(name="web", vdc=vdc.id, template=0, key="web-2", size=SIZE))
    again.assign_floating_ip()
    vdc.delete(terminate_vms=True)
    assert leases(admin) == set()


def test_the_router_leads_elsewhere_only_when_none_would_be_lost(
    cloud: ont.Cloud, vdc: ont.Vdc, vm: ont.Vm, admin: Raw, server: Emulator
) -> None:
    other = admin("one.vn.allocate", 'NAME=ext2\nVN_MAD=bridge\nBRIDGE=br0\nAR=[TYPE=IP4,IP="198.51.100.9",SIZE=9]', 0)
    elsewhere = attrs.evolve(TENANT.network, external_network=other)
    moved = attrs.evolve(TENANT, network=elsewhere, external_networks=(other,))
    given = vm.assign_floating_ip()
    before = server.calls
    for ask in (cloud.vdcs.plan, cloud.vdcs.ensure):
        with pytest.raises(ont.NotEmpty, match=rf"{given.address} of VM {vm.id} \(web\).* nothing was changed"):
            ask(moved)
    assert not [call for call in server.calls[len(before) :] if not call.endswith(("info", "infoset"))]
    assert vm.floating_ips() == (given,)
    vm.release_floating_ip(given.address)
    assert cloud.vdcs.ensure(moved).router is not None
    assert vm.assign_floating_ip().network_id == other


def test_one_that_was_given_out_is_found_and_released_wherever_the_limits_hold_by_now(
    vdc: ont.Vdc, vm: ont.Vm, admin: Raw
) -> None:
    given = vm.assign_floating_ip()
    admin("one.group.update", vdc.id, "TENANCY_EXTERNAL_NETWORKS=none", 1)
    assert vm.floating_ips() == vdc.floating_ips() == (given,)
    vm.release_floating_ip(given.address)
    assert given.address not in leases(admin)


def test_a_machine_that_is_off_can_have_one(vm: ont.Vm) -> None:
    vm.power_off(hard=True)
    given = vm.assign_floating_ip()
    assert vm.floating_ips() == (given,)
    vm.release_floating_ip(given.address)
    assert vm.floating_ips() == ()


def test_a_suspended_machine_is_refused(vm: ont.Vm, admin: Raw, server: Emulator) -> None:
    admin("one.vm.action", "suspend", vm.id)
    server.settle()
    with pytest.raises(ont.WrongState):
        vm.assign_floating_ip()


def test_a_tenant_without_a_router_gets_none(cloud: ont.Cloud) -> None:
    bare = attrs.evolve(TENANT, name="bare", key="bare", network=None, external_networks=(EXTERNAL,))
    vdc = cloud.vdcs.ensure(bare)
    vm = cloud.vms.ensure(ont.VmSpec(name="web", vdc=vdc.id, template=0, key="web", size=SIZE, network=None))
    with pytest.raises(ont.SettingsError, match="no router"):
        vm.assign_floating_ip()


@pytest.mark.parametrize("action", ["attach_nic", "detach_nic"])
def test_a_driver_that_fails_is_an_error_and_changes_nothing(
    server: Emulator, vm: ont.Vm, admin: Raw, action: str
) -> None:
    given = vm.assign_floating_ip() if action == "detach_nic" else None
    before = leases(admin)
    server.cloud.driver_actions[action] = None
    with pytest.raises(ont.VerificationFailed, match="could not"):
        vm.release_floating_ip(given.address) if given else vm.assign_floating_ip()
    assert vm.status().is_running
    assert leases(admin) == before


KINDS = [FaultKind.DROP, FaultKind.LOSE_REPLY, FaultKind.TRUNCATE, FaultKind.ELECTION]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("index", range(6))
def test_a_fault_at_any_call_gives_out_one_address(
    server: Emulator, vdc: ont.Vdc, vm: ont.Vm, index: int, kind: FaultKind
) -> None:
    server.faults.arm(Fault(kind=kind, call=index))
    with connect(server) as cloud:
        found = cloud.vms.get(vm.id)
        server.faults.arm(Fault(kind=kind, call=index))
        given = found.assign_floating_ip()
        server.faults.arm(Fault(kind=kind, call=index))
        found.release_floating_ip(given.address)
    server.faults.arm()
    assert vdc.floating_ips() == ()
    assert vdc.usage().floating_ips == 0
