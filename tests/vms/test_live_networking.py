"""A tenant's router and its floating IPs, on the embedded server and, with ONE_XMLRPC set, on a live one."""

import os
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.emulator import Config, Emulator
from tenants.live import RUN, Live
from tenants.networks import connect, gate, own
from tenants.outside import Outside, leading_out, router_template
from tenants.raw import Raw
from vms.world import STEP_S


pytestmark = pytest.mark.live

KEY = f"{RUN}acme"
GATEWAY = "10.98.1.1"


@pytest.fixture(name="server")
def _server() -> Iterator[Emulator | Live]:
    """The embedded server, or a live one that is left as it was."""
    if "ONE_XMLRPC" not in os.environ:
        with Emulator(populated=True, config=Config(step_s=STEP_S)) as server:
            yield server
        return
    live = Live()
    try:
        yield live
    finally:
        with connect(live) as cloud:
            cloud.vdcs.delete(key=KEY, terminate_vms=True)
        live.clear()


@pytest.fixture(name="outside")
def _outside(server: Emulator | Live, admin: Raw) -> Outside:
    return Outside.of(server, admin)


@pytest.fixture(name="spec")
def _spec(outside: Outside) -> ont.VdcSpec:
    network = ont.NetworkSpec(
        external_network=outside.network,
        router_template=outside.template,
        pool=ont.SubnetPool("10.98.0.0/16"),
        timeout_s=30,
    )
    return ont.VdcSpec(
        name=KEY,
        key=KEY,
        clusters=(0,),
        quota=ont.Quota(cpu=4, memory_mb=4096, vms=8, floating_ips=2),
        network=network,
    )


def other(spec: ont.VdcSpec, **changes: Any) -> ont.VdcSpec:
    """The tenant with a network that is not the same."""
    assert spec.network is not None
    return attrs.evolve(spec, network=attrs.evolve(spec.network, **changes))


def leases(admin: Raw, network: int) -> set[str | None]:
    """The addresses of a network that machines and routers have."""
    found = admin.xml("one.vn.info", network, False)
    return {lease.findtext("IP") for lease in found.iterfind("AR_POOL/AR/LEASES/LEASE")}


def machine(cloud: ont.Cloud, vdc: ont.Vdc, template: int) -> ont.Vm:
    size = ont.VmSize(vcpu=1, memory_mb=64)
    return cloud.vms.ensure(ont.VmSpec(name=f"{RUN}web", key=f"{RUN}web", vdc=vdc.id, template=template, size=size))


def test_floating_ips_from_the_first_to_the_last(
    cloud: ont.Cloud, outside: Outside, spec: ont.VdcSpec, admin: Raw
) -> None:
    vdc = cloud.vdcs.ensure(spec)
    template = admin("one.template.allocate", f'NAME="{RUN}web"\nCPU=0.1\nMEMORY=64\nDISK=[IMAGE_ID=0]')
    vm = machine(cloud, vdc, template)
    before = leases(admin, outside.network)
    first, second = vm.assign_floating_ip(), vm.assign_floating_ip()
    assert leases(admin, outside.network) == before | {first.address, second.address}
    assert first.internal_address == second.internal_address
    assert set(vm.addresses()) == {first.internal_address, first.address, second.address}
    assert vdc.floating_ips() == vm.floating_ips() == (first, second)
    assert vdc.usage().floating_ips == 2
    with pytest.raises(ont.QuotaExceeded, match="limit of 2 reached for LEASES"):
        vm.assign_floating_ip()
    assert vm.status().is_running

    vm.release_floating_ip(first.address)
    vm.release_floating_ip(first.address)
    assert leases(admin, outside.network) == before | {second.address}
    assert vdc.usage().floating_ips == 1
    vm.power_off(hard=True)
    third = vm.assign_floating_ip()
    assert vm.floating_ips() == (second, third)

    vm.delete()
    assert leases(admin, outside.network) == before
    assert vdc.usage().floating_ips == 0
    machine(cloud, vdc, template).assign_floating_ip()
    vdc.delete(terminate_vms=True)
    assert leases(admin, outside.network) == set()


def test_a_router_whose_machines_others_switch_off_and_remove_is_mended(
    cloud: ont.Cloud, server: Emulator | Live, spec: ont.VdcSpec, admin: Raw
) -> None:
    vdc = cloud.vdcs.ensure(spec)
    made = gate(vdc)
    (vm,) = made.vm_ids
    admin("one.vm.action", "poweroff-hard", vm)
    server.settle()
    assert not gate(vdc).is_running
    cloud.vdcs.ensure(spec)
    assert gate(vdc) == made

    admin("one.vm.action", "terminate-hard", vm)
    server.settle()
    cloud.vdcs.ensure(spec)
    again = gate(vdc)
    assert (again.id, again.internal_address, again.is_running) == (made.id, GATEWAY, True)
    assert again.vm_ids != made.vm_ids
    assert not cloud.vdcs.plan(spec)


def test_two_machines_share_the_gateways_address_and_one_is_replaced_while_the_other_runs(
    cloud: ont.Cloud, server: Emulator | Live, outside: Outside, spec: ont.VdcSpec, admin: Raw
) -> None:
    cloud.vdcs.ensure(spec)
    two = other(spec, instances=2)
    vdc = cloud.vdcs.ensure(two)
    made = gate(vdc)
    assert (len(made.vm_ids), made.internal_address, made.is_running) == (2, GATEWAY, True)
    assert GATEWAY in leases(admin, own(vdc).id)

    admin("one.vm.action", "terminate-hard", made.vm_ids[0])
    server.settle()
    cloud.vdcs.ensure(two)
    again = gate(vdc)
    assert (again.id, len(again.vm_ids), again.is_running) == (made.id, 2, True)
    assert made.vm_ids[1] in again.vm_ids

    cloud.vdcs.ensure(spec)
    assert (len(gate(vdc).vm_ids), gate(vdc).internal_address) == (1, GATEWAY)
    assert not cloud.vdcs.plan(spec)
    vdc.delete()
    assert leases(admin, outside.network) == set()


def test_a_router_leads_elsewhere_or_stays_where_it_was(
    cloud: ont.Cloud, server: Emulator | Live, outside: Outside, spec: ont.VdcSpec, admin: Raw
) -> None:
    vdc = cloud.vdcs.ensure(spec)
    network = leading_out(admin, "elsewhere", "198.51.100.10")
    server.settle()

    # Its template is deleted when the former router has gone: OpenNebula refuses to make a machine of the new one.
    lost = router_template(admin, "lost")
    removed: list[object] = []

    def lose(record: ont.CallRecord) -> None:
        if record.method == "one.vrouter.delete" and not removed:
            removed.append(admin("one.template.delete", lost, False))

    with connect(server, on_call=lose) as unlucky, pytest.raises(ont.NotFound, match=r"one\.vrouter\.instantiate"):
        unlucky.vdcs.ensure(other(spec, external_network=network, router_template=lost))
    assert removed
    assert gate(vdc).is_running
    assert set(gate(vdc).external_addresses) == leases(admin, outside.network)
    assert leases(admin, network) == set()

    cloud.vdcs.ensure(other(spec, external_network=network))
    assert gate(vdc).is_running
    assert set(gate(vdc).external_addresses) == leases(admin, network)
    assert leases(admin, outside.network) == set()
