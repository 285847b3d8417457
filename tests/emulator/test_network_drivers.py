"""What becomes of NICs, rules and routers when drivers fail, hang or take their time."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from xmlrpc.client import ServerProxy

import pytest

from opennebula_tenancy.emulator import Config, Emulator


RUNNING, HOTPLUG_NIC, DONE = ("3", "3"), ("3", "25"), ("6", "0")
ROUTER_TEMPLATE = 8
PROVIDER = 0


class Cloud:
    """A populated server and its drivers. Time passes only in `settle`."""

    def __init__(self, server: Emulator) -> None:
        self.server = server
        self.drivers = server.cloud.driver_actions
        self.settle = server.settle
        self.proxy = ServerProxy(server.endpoint)
        self.gid = self.ok("one.group.allocate", "tenant")

    def call(self, name: str, *arguments):
        method = self.proxy
        for part in name.split("."):
            method = getattr(method, part)
        return method(self.server.auth, *arguments)

    def ok(self, name: str, *arguments):
        success, value, *_ = self.call(name, *arguments)
        assert success, value
        return value

    def xml(self, name: str, *arguments) -> ET.Element:
        return ET.fromstring(self.ok(name, *arguments))

    def network(self, extra: str = "") -> int:
        """A VXLAN of 20 addresses from 10.0.0.1 on cluster 0."""
        text = 'NAME="inside"\nVN_MAD="vxlan"\nPHYDEV="eth0"\nAUTOMATIC_VLAN_ID="YES"\nGATEWAY="10.0.0.1"\n'
        network = self.ok("one.vn.allocate", f'{text}AR=[TYPE="IP4",IP="10.0.0.1",SIZE="20"]\n{extra}', 0)
        self.settle()
        return network

    def vm(self, *networks: int) -> int:
        """A running VM of the tenant with NICs in networks."""
        nics = "\n".join(f'NIC=[NETWORK_ID="{network}"]' for network in networks)
        extra = f'AS_GID={self.gid}\nSCHED_REQUIREMENTS="CLUSTER_ID = 0"\n{nics}'
        vm = self.ok("one.template.instantiate", 0, "vm", False, extra, False)
        self.settle()
        assert self.at(vm) == RUNNING
        return vm

    def router(self, network: int) -> tuple[int, int]:
        """A router of the tenant with one VM."""
        nics = f'NIC=[NETWORK_ID="{network}",IP="10.0.0.1"]\nNIC=[NETWORK_ID="{PROVIDER}"]'
        router = self.ok("one.vrouter.allocate", f'NAME="router"\n{nics}')
        extra = f'AS_GID={self.gid}\nSCHED_REQUIREMENTS="CLUSTER_ID = 0"'
        self.ok("one.vrouter.instantiate", router, 1, ROUTER_TEMPLATE, "", False, extra)
        return router, int(self.xml("one.vrouter.info", router).findtext("VMS/ID"))

    def at(self, vm: int) -> tuple[str, str]:
        info = self.xml("one.vm.info", vm)
        return info.findtext("STATE"), info.findtext("LCM_STATE")

    def nics(self, vm: int, kind: str = "NIC") -> list[str]:
        return [item.findtext("IP") for item in self.xml("one.vm.info", vm).iter(kind)]

    def used(self, network: int) -> str:
        return self.xml("one.vn.info", network).findtext("USED_LEASES")

    def counted(self, network: int) -> str | None:
        rows = self.xml("one.group.info", self.gid).iter("NETWORK")
        return next((row.findtext("LEASES_USED") for row in rows if row.findtext("ID") == str(network)), None)

    def lists(self, noun: str, oid: int) -> dict[str, list[str]]:
        """The VMs that an object is told to be used by, of the lists that have any."""
        info = self.xml(f"one.{noun}.info", oid)
        names = ("UPDATED_VMS", "OUTDATED_VMS", "UPDATING_VMS", "ERROR_VMS")
        found = {name.removesuffix("_VMS"): [item.text for item in info.find(name)] for name in names}
        return {name: ids for name, ids in found.items() if ids}


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Emulator(populated=True, config=Config(step_s=1000.0)) as server:
        yield Cloud(server)


# NICs


def test_while_a_nic_is_attached_the_vm_waits_and_the_address_is_taken(cloud):
    network = cloud.network()
    vm = cloud.vm()
    cloud.ok("one.vm.attachnic", vm, f'NIC=[NETWORK_ID="{network}"]')
    assert (cloud.at(vm), cloud.nics(vm), cloud.used(network)) == (HOTPLUG_NIC, ["10.0.0.1"], "1")
    assert cloud.xml("one.vm.info", vm).findtext("TEMPLATE/NIC/ATTACH") == "YES"
    cloud.settle()
    assert (cloud.at(vm), cloud.nics(vm)) == (RUNNING, ["10.0.0.1"])


def test_a_nic_that_the_driver_does_not_attach_is_gone_with_its_address_and_its_cost(cloud):
    network = cloud.network()
    cloud.ok("one.group.quota", cloud.gid, f'NETWORK=[ID="{network}",LEASES="1"]')
    vm = cloud.vm()
    cloud.drivers.fail("attach_nic", times=1)
    cloud.ok("one.vm.attachnic", vm, f'NIC=[NETWORK_ID="{network}"]')
    assert cloud.counted(network) == "1"
    cloud.settle()
    assert (cloud.at(vm), cloud.nics(vm)) == (RUNNING, [])
    assert (cloud.used(network), cloud.counted(network)) == ("0", "0")
    assert "ETH0_IP" not in {item.tag for item in cloud.xml("one.vm.info", vm).find("TEMPLATE/CONTEXT")}
    cloud.ok("one.vm.attachnic", vm, f'NIC=[NETWORK_ID="{network}"]')
    cloud.settle()
    assert len(cloud.nics(vm)) == 1


def test_a_nic_that_the_driver_does_not_detach_stays(cloud):
    network = cloud.network()
    vm = cloud.vm(network)
    cloud.drivers.fail("detach_nic", times=1)
    cloud.ok("one.vm.detachnic", vm, 0)
    cloud.settle()
    assert (cloud.at(vm), cloud.nics(vm), cloud.used(network)) == (RUNNING, ["10.0.0.1"], "1")
    assert cloud.xml("one.vm.info", vm).find("TEMPLATE/NIC/ATTACH") is None


def test_an_alias_that_the_driver_does_not_detach_is_lost_to_its_nic(cloud):
    network = cloud.network()
    vm = cloud.vm(network)
    cloud.ok("one.vm.attachnic", vm, f'NIC_ALIAS=[NETWORK_ID="{network}",PARENT="NIC0",EXTERNAL="YES"]')
    cloud.settle()
    cloud.drivers.fail("detach_nic", times=1)
    cloud.ok("one.vm.detachnic", vm, 1)
    cloud.settle()
    assert cloud.nics(vm, "NIC_ALIAS") == ["10.0.0.2"]
    assert cloud.xml("one.vm.info", vm).findtext("TEMPLATE/NIC/ALIAS_IDS") == ""
    cloud.ok("one.vm.detachnic", vm, 0)
    cloud.settle()
    assert (cloud.nics(vm), cloud.nics(vm, "NIC_ALIAS")) == ([], ["10.0.0.2"])
    cloud.ok("one.vm.action", "terminate-hard", vm)
    cloud.settle()
    assert cloud.used(network) == "0"


def test_while_one_nic_comes_no_other_comes_or_goes(cloud):
    network = cloud.network()
    vm = cloud.vm(network)
    cloud.ok("one.vm.attachnic", vm, f'NIC=[NETWORK_ID="{network}"]')
    again = cloud.call("one.vm.attachnic", vm, f'NIC=[NETWORK_ID="{network}"]')
    assert again[1] == f"[one.vm.attachnic] Could not add a new NIC to VM {vm}, wrong state HOTPLUG_NIC."
    off = cloud.call("one.vm.detachnic", vm, 0)
    assert off[1] == f"[one.vm.detachnic] Could not detach NIC from VM {vm}, wrong state HOTPLUG_NIC."
    assert cloud.used(network) == "2"


# Changes of rules and networks


def test_vms_get_new_rules_one_after_the_other(cloud):
    secgroup = cloud.ok("one.secgroup.allocate", 'NAME="rules"')
    network = cloud.network(f'SECURITY_GROUPS="{secgroup}"')
    first, second = str(cloud.vm(network)), str(cloud.vm(network))
    cloud.ok("one.secgroup.update", secgroup, 'RULE=[PROTOCOL="TCP",RULE_TYPE="INBOUND"]', 0)
    assert cloud.lists("secgroup", secgroup) == {"OUTDATED": [first, second]}
    cloud.settle()
    assert cloud.lists("secgroup", secgroup) == {"UPDATED": [first, second]}


def test_vms_whose_driver_refuses_new_rules_are_in_error_until_these_are_committed_again(cloud):
    secgroup = cloud.ok("one.secgroup.allocate", 'NAME="rules"')
    network = cloud.network(f'SECURITY_GROUPS="{secgroup}"')
    first, second = cloud.vm(network), cloud.vm(network)
    cloud.drivers.fail("update_sg", times=1)
    cloud.ok("one.secgroup.update", secgroup, 'RULE=[PROTOCOL="TCP",RULE_TYPE="INBOUND"]', 0)
    cloud.settle()
    assert cloud.lists("secgroup", secgroup) == {"UPDATED": [str(second)], "ERROR": [str(first)]}
    cloud.ok("one.secgroup.commit", secgroup, True)
    cloud.settle()
    assert cloud.lists("secgroup", secgroup) == {"UPDATED": [str(first), str(second)]}


def test_a_vm_that_just_starts_cannot_get_new_rules(cloud):
    secgroup = cloud.ok("one.secgroup.allocate", 'NAME="rules"')
    network = cloud.network(f'SECURITY_GROUPS="{secgroup}"')
    cloud.drivers.fail("deploy", times=1)
    vm = cloud.ok("one.template.instantiate", 0, "vm", False, f'NIC=[NETWORK_ID="{network}"]', False)
    cloud.settle()
    cloud.ok("one.secgroup.commit", secgroup, False)
    cloud.settle()
    assert cloud.lists("secgroup", secgroup) == {"ERROR": [str(vm)]}
    assert "has VMs using it" in cloud.call("one.secgroup.delete", secgroup)[1]


def test_a_network_whose_change_a_driver_refuses_retries(cloud):
    network = cloud.network()
    vm = cloud.vm(network)
    cloud.drivers.fail("update_nic", times=1)
    cloud.ok("one.vn.update", network, 'MTU="1400"', 1)
    cloud.settle()
    assert (cloud.xml("one.vn.info", network).findtext("STATE"), cloud.at(vm)) == ("6", RUNNING)
    assert cloud.lists("vn", network) == {"ERROR": [str(vm)]}
    cloud.ok("one.vn.recover", network, 3)
    cloud.settle()
    assert cloud.xml("one.vn.info", network).findtext("STATE") == "1"
    assert cloud.lists("vn", network) == {"UPDATED": [str(vm)]}


# Routers


def test_the_populated_cloud_has_a_template_for_routers(cloud):
    network = cloud.network()
    router, vm = cloud.router(network)
    cloud.settle()
    info = cloud.xml("one.vm.info", vm)
    assert (cloud.at(vm), info.findtext("GID")) == (RUNNING, str(cloud.gid))
    assert cloud.nics(vm) == ["10.0.0.1", "203.0.113.10"]
    known = {item.tag: item.text for item in info.find("TEMPLATE/CONTEXT")}
    assert known["START_SCRIPT"] == "sysctl -w vm.swappiness=10"
    assert (known["ETH1_GATEWAY"], known["VROUTER_ID"]) == ("203.0.113.1", str(router))
    assert info.find("TEMPLATE/DISK") is not None


def test_a_router_whose_vm_does_not_boot_leaves_nothing_behind(cloud):
    network = cloud.network()
    cloud.drivers.fail("deploy")
    router, vm = cloud.router(network)
    cloud.settle()
    assert cloud.at(vm) == ("3", "36")
    cloud.ok("one.vrouter.delete", router)
    assert "leases in use" in cloud.call("one.vn.delete", network)[1]
    cloud.settle()
    assert (cloud.at(vm), cloud.used(network), cloud.used(PROVIDER)) == (DONE, "0", "0")
    cloud.ok("one.vn.delete", network)


@pytest.mark.parametrize(
    ("hanging", "at"), [("prolog", ("3", "1")), ("deploy", ("3", "2")), ("attach_nic", HOTPLUG_NIC)]
)
def test_a_router_goes_while_a_driver_works_on_its_vm(cloud, hanging, at):
    network = cloud.network()
    cloud.drivers.hang(hanging)
    router, vm = cloud.router(network)
    cloud.settle()
    if hanging == "attach_nic":
        cloud.ok("one.vrouter.attachnic", router, f'NIC=[NETWORK_ID="{network}"]')
    assert cloud.at(vm) == at
    cloud.ok("one.vrouter.delete", router)
    cloud.settle()
    assert (cloud.at(vm), cloud.used(network), cloud.used(PROVIDER)) == (DONE, "0", "0")


def test_a_router_takes_a_vm_that_waits_with_it_at_once(cloud):
    network = cloud.network()
    router, vm = cloud.router(network)
    assert cloud.at(vm) == ("1", "0")
    cloud.ok("one.vrouter.delete", router)
    assert (cloud.at(vm), cloud.used(network)) == (DONE, "0")


def test_a_driver_that_does_not_stop_the_vm_of_a_deleted_router_leaves_it_running(cloud):
    network = cloud.network()
    router, vm = cloud.router(network)
    cloud.settle()
    cloud.drivers.fail("cancel", times=1)
    cloud.ok("one.vrouter.delete", router)
    cloud.settle()
    assert (cloud.at(vm), cloud.used(network)) == (RUNNING, "1")
    cloud.ok("one.vm.action", "terminate-hard", vm)
    cloud.settle()
    assert (cloud.at(vm), cloud.used(network)) == (DONE, "0")
