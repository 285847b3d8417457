"""What a member of a tenant can see, use and exceed, found out by logging in as one."""

import os
from collections.abc import Callable, Iterator

import attrs
import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.emulator import Emulator
from tenants.live import RUN, Live
from tenants.raw import Raw


pytestmark = pytest.mark.live

NOT_AUTHORIZED = 0x0200
VXLAN = f'NAME="{RUN}{{name}}"\nVN_MAD="dummy"\nBRIDGE="br0"\nAR=[TYPE="IP4", IP="10.0.{{net}}.1", SIZE="8"]'


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
        live.clear()


@pytest.fixture(name="tenants")
def _tenants(cloud: ont.Cloud) -> tuple[ont.Vdc, ont.Vdc]:
    one, two = (
        cloud.vdcs.ensure(
            ont.VdcSpec(
                name=RUN + name,
                key=RUN + name,
                clusters=(0, 100),
                quota=ont.Quota(cpu=2, memory_mb=1024, storage_mb=4096),
            )
        )
        for name in ("one", "two")
    )
    return one, two


@pytest.fixture(name="networks")
def _networks(admin: Raw, server: Emulator | Live, tenants: tuple[ont.Vdc, ont.Vdc]) -> tuple[int, int]:
    """A network of each tenant in the cluster that both share, opened to it through its VDC."""
    made = []
    for number, vdc in enumerate(tenants):
        network = admin("one.vn.allocate", VXLAN.format(name=vdc.name, net=number), 0)
        admin("one.vdc.addvnet", vdc.vdc_id, 0, network)
        made.append(network)
    server.settle()
    return made[0], made[1]


class TestIsolation:
    def test_a_member_sees_the_networks_of_no_other_tenant(
        self, tenants: tuple[ont.Vdc, ont.Vdc], networks: tuple[int, int], login: Callable[[int, str], Raw]
    ) -> None:
        for vdc, own, other in zip(tenants, networks, reversed(networks), strict=True):
            member = login(vdc.id, f"{vdc.name}-member")
            seen = [int(item.findtext("ID") or "") for item in member.xml("one.vnpool.info", -2, -1, -1)]
            assert seen == [own]
            assert member.refused("one.vn.info", other, False)[0] == NOT_AUTHORIZED

    def test_a_member_cannot_attach_to_the_network_of_another_tenant(
        self, tenants: tuple[ont.Vdc, ont.Vdc], networks: tuple[int, int], login: Callable[[int, str], Raw]
    ) -> None:
        member = login(tenants[0].id, RUN + "alice")
        template = member("one.template.allocate", "NAME=small\nCPU=1\nMEMORY=128")
        code, _ = member.refused(
            "one.template.instantiate", template, "spy", False, f'NIC=[NETWORK_ID="{networks[1]}"]', False
        )
        assert code == NOT_AUTHORIZED
        member("one.template.instantiate", template, "web", False, f'NIC=[NETWORK_ID="{networks[0]}"]', False)

    def test_a_cluster_added_later_opens_no_network_either(
        self, cloud: ont.Cloud, admin: Raw, server: Emulator | Live, login: Callable[[int, str], Raw]
    ) -> None:
        spec = ont.VdcSpec(name=RUN + "late", key=RUN + "late", clusters=(0,))
        vdc = cloud.vdcs.ensure(spec)
        admin("one.vn.allocate", VXLAN.format(name="others", net=9), 100)
        server.settle()
        cloud.vdcs.ensure(attrs.evolve(spec, clusters=(0, 100)))
        assert not list(login(vdc.id, RUN + "alice").xml("one.vnpool.info", -2, -1, -1))

    def test_a_member_sees_no_image_and_no_vm_of_another_tenant(
        self, tenants: tuple[ont.Vdc, ont.Vdc], server: Emulator | Live, login: Callable[[int, str], Raw]
    ) -> None:
        alice, bob = (login(vdc.id, f"{vdc.name}-member") for vdc in tenants)
        image = alice("one.image.allocate", "NAME=data\nSIZE=100\nTYPE=DATABLOCK", 1)
        template = alice("one.template.allocate", "NAME=small\nCPU=1\nMEMORY=128")
        vm = alice("one.template.instantiate", template, "web", False, "", False)
        server.settle()
        assert not list(bob.xml("one.vmpool.info", -2, -1, -1, -1))
        assert image not in [int(item.findtext("ID") or "") for item in bob.xml("one.imagepool.info", -2, -1, -1)]
        for method, ident in (("one.vm.info", vm), ("one.image.info", image), ("one.template.info", template)):
            assert bob.refused(method, ident, False)[0] == NOT_AUTHORIZED

    def test_a_member_cannot_loosen_the_limits_or_the_walls(
        self, tenants: tuple[ont.Vdc, ont.Vdc], login: Callable[[int, str], Raw]
    ) -> None:
        vdc, _ = tenants
        member = login(vdc.id, RUN + "alice")
        for method, params in (
            ("one.group.quota", (vdc.id, 'VM=[CPU="-2"]')),
            ("one.group.update", (vdc.id, "TENANCY_KEY=mine", 1)),
            ("one.vdc.update", (vdc.vdc_id, "TENANCY_KEY=mine", 1)),
            ("one.vdc.addgroup", (0, vdc.id)),
            ("one.vdc.addcluster", (vdc.vdc_id, 0, 100)),
            ("one.acl.addrule", (f"{0x200000000 | vdc.id:x}", "4400000000", "1")),
        ):
            assert member.refused(method, *params)[0] == NOT_AUTHORIZED, method


class TestLimits:
    """With limits of 2 cores, 1024 MB and 4096 MB of storage, and of 2 floating IPs."""

    def test_more_cores_than_allowed_are_refused(
        self, tenants: tuple[ont.Vdc, ont.Vdc], login: Callable[[int, str], Raw]
    ) -> None:
        member = login(tenants[0].id, RUN + "alice")
        template = member("one.template.allocate", "NAME=small\nCPU=1.5\nMEMORY=128")
        member("one.template.instantiate", template, "fits", False, "", False)
        code, said = member.refused("one.template.instantiate", template, "exceeds", False, "", False)
        assert (code, "limit of 2 reached for CPU quota in VM" in said) == (NOT_AUTHORIZED, True)

    def test_more_memory_than_allowed_is_refused(
        self, tenants: tuple[ont.Vdc, ont.Vdc], login: Callable[[int, str], Raw]
    ) -> None:
        member = login(tenants[0].id, RUN + "alice")
        template = member("one.template.allocate", "NAME=small\nCPU=0.1\nMEMORY=1024")
        member("one.template.instantiate", template, "fits exactly", False, "", False)
        code, said = member.refused("one.template.instantiate", template, "exceeds", False, "MEMORY=1", False)
        assert (code, "limit of 1024 reached for MEMORY quota in VM" in said) == (NOT_AUTHORIZED, True)

    def test_more_storage_than_allowed_is_refused_in_every_datastore(
        self, tenants: tuple[ont.Vdc, ont.Vdc], login: Callable[[int, str], Raw]
    ) -> None:
        member = login(tenants[0].id, RUN + "alice")
        for store in (1, 100):
            member("one.image.allocate", f"NAME=fits-{store}\nSIZE=4000\nTYPE=DATABLOCK", store)
            code, said = member.refused("one.image.allocate", f"NAME=exceeds-{store}\nSIZE=97\nTYPE=DATABLOCK", store)
            assert (code, f"SIZE quota in DATASTORE with ID: {store}" in said) == (NOT_AUTHORIZED, True)

    def test_more_floating_ips_than_allowed_are_refused(
        self, cloud: ont.Cloud, admin: Raw, server: Emulator | Live, login: Callable[[int, str], Raw]
    ) -> None:
        provider = admin("one.vn.allocate", VXLAN.format(name="external", net=7), 0)
        server.settle()
        spec = ont.VdcSpec(
            name=RUN + "three",
            key=RUN + "three",
            external_networks=(provider,),
            quota=ont.Quota(floating_ips=2),
            clusters=(0,),
        )
        vdc = cloud.vdcs.ensure(spec)
        admin("one.vn.chmod", provider, -1, -1, -1, -1, -1, -1, 1, -1, -1)
        member = login(vdc.id, RUN + "alice")
        template = member("one.template.allocate", f'NAME=small\nCPU=0.1\nMEMORY=1\nNIC=[NETWORK_ID="{provider}"]')
        for number in range(2):
            member("one.template.instantiate", template, f"vm-{number}", False, "", False)
        code, said = member.refused("one.template.instantiate", template, "exceeds", False, "", False)
        assert (code, f"LEASES quota in NETWORK with ID: {provider}" in said) == (NOT_AUTHORIZED, True)
        assert vdc.usage().floating_ips == 2

    def test_usage_is_what_the_members_made(
        self,
        cloud: ont.Cloud,
        tenants: tuple[ont.Vdc, ont.Vdc],
        server: Emulator | Live,
        login: Callable[[int, str], Raw],
    ) -> None:
        member = login(tenants[0].id, RUN + "alice")
        member("one.image.allocate", "NAME=data\nSIZE=100\nTYPE=DATABLOCK", 1)
        member("one.image.allocate", "NAME=more\nSIZE=50\nTYPE=DATABLOCK", 100)
        template = member("one.template.allocate", "NAME=small\nCPU=0.5\nMEMORY=128")
        member("one.template.instantiate", template, "web", False, "", False)
        server.settle()
        used = ont.Usage(
            cpu=0.5,
            memory_mb=128,
            vms=1,
            running_cpu=0.5,
            running_memory_mb=128,
            running_vms=1,
            storage_mb=150,
            images=2,
        )
        assert tenants[0].usage() == used
        of_all = cloud.vdcs.usage()
        assert [of_all[vdc.id] for vdc in tenants] == [used, ont.Usage()]

    def test_the_disks_of_vms_count_where_the_operator_says_so(
        self, cloud: ont.Cloud, server: Emulator | Live, login: Callable[[int, str], Raw]
    ) -> None:
        spec = ont.VdcSpec(
            name=RUN + "disks", key=RUN + "disks", clusters=(0,), storage_scope="both", quota=ont.Quota(storage_mb=300)
        )
        vdc = cloud.vdcs.ensure(spec)
        member = login(vdc.id, RUN + "alice")
        member("one.image.allocate", "NAME=data\nSIZE=100\nTYPE=DATABLOCK", 1)
        small = 'NAME=small\nCPU=0.1\nMEMORY=1\nDISK=[TYPE="fs", SIZE="200", FORMAT="raw"]'
        template = member("one.template.allocate", small)
        member("one.template.instantiate", template, "fits", False, "", False)
        server.settle()
        code, said = member.refused("one.template.instantiate", template, "exceeds", False, "", False)
        assert (code, "SYSTEM_DISK_SIZE" in said) == (NOT_AUTHORIZED, True)
        assert (vdc.usage().storage_mb, vdc.usage().system_disk_mb) == (300, 200)
        assert vdc.quota().storage_mb == 300
