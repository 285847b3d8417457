"""A tenant with a network and a machine in it, against answers that a real OpenNebula gave."""

from types import SimpleNamespace

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy import vm_resize, waiting
from replay.tape import tape


CASSETTE = "opennebula-7.4.0/vm-operations.yaml"
EXTERNAL = 'NAME="recorded-external"\nVN_MAD="bridge"\nBRIDGE="br0"\nAR=[TYPE="IP4", IP="192.0.2.10", SIZE="20"]'
ROUTER = (
    'NAME="recorded-router"\nCPU="0.1"\nMEMORY="64"\nVROUTER="YES"\nDISK=[IMAGE_ID="0"]\n'
    'CONTEXT=[NETWORK="YES", START_SCRIPT="echo recorded"]'
)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f alice@example.org"


def tenant(external: int, template: int) -> ont.VdcSpec:
    return ont.VdcSpec(
        name="recorded-net",
        key="key-of-recorded-net",
        clusters=(0,),
        quota=ont.Quota(cpu=4, memory_mb=4096, floating_ips=1),
        network=ont.NetworkSpec(
            external_network=external,
            router_template=template,
            pool=ont.SubnetPool("10.77.0.0/16"),
            rules=(ont.SecurityRule("inbound", "tcp", ports="22"),),
        ),
    )


def test_a_network_and_a_machine_from_their_making_to_their_end(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = pytestconfig.getoption("--record-cassettes", default=False)
    endpoint, auth = (None, None) if record else ("http://127.0.0.1:2633/RPC2", "someone:else")
    # What names a run is another one each time.
    monkeypatch.setattr(vm_resize, "secrets", SimpleNamespace(token_hex=lambda size: "0" * 2 * size))
    if not record:
        monkeypatch.setattr(waiting, "_SHORTEST_S", 0.001)
    with tape(CASSETTE, record=record) as cassette, ont.connect(endpoint, auth) as cloud:
        assert cloud.ping().version == "7.4.0"
        rpc = cloud._rpc
        external = rpc.mutate("one.vn.allocate", EXTERNAL, 0, look=lambda: None)
        template = rpc.mutate("one.template.allocate", ROUTER, look=lambda: None)
        spec = tenant(external, template)
        vdc = cloud.vdcs.ensure(spec)
        assert not cloud.vdcs.plan(spec)
        network, router = vdc.network, vdc.router
        assert network is not None
        assert router is not None
        assert (str(network.subnet), str(network.gateway)) == ("10.77.1.0/24", router.internal_address)
        assert router.is_running
        size = ont.VmSize(vcpu=1, memory_mb=128, disk_mb=4096)
        machine = ont.VmSpec(name="web", key="key-of-web", vdc=vdc.id, template=0, size=size, ssh_keys=(KEY,))
        vm = cloud.vms.ensure(machine)
        assert cloud.vms.ensure(machine) == vm
        assert vm.addresses() == ("10.77.1.2",)
        assert vdc.usage().vms == 1
        with pytest.raises(ont.NotEmpty, match=rf"VM {vm.id} \(web\)"):
            vdc.delete()
        with pytest.raises(ont.SettingsError, match="shrink"):
            vm.resize(ont.VmSize(disk_mb=2048))
        grown = vm.resize(ont.VmSize(vcpu=2, disk_mb=8192))
        assert (grown.vcpu, grown.memory_mb, grown.disk_mb) == (2, 128, 8192)
        assert vm.status().is_running
        vdc.delete(terminate_vms=True)
        assert cloud.vdcs.find_key(spec.key) is None
        rpc.mutate("one.template.delete", template, look=lambda: None)
        rpc.mutate("one.vn.delete", external, look=lambda: None)
    assert cassette.all_played or record
