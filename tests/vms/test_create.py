"""Virtual machines as the library makes them, looked at from outside the library."""

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from opennebula_tenancy.vm_size import VmSize
from opennebula_tenancy.vm_spec import Allowed
from opennebula_tenancy.vms import Vms
from tenants.raw import Raw
from vms.world import IMAGE_MB, KEY, TENANT, World, connect, ed25519


def mutations(sent: list[ont.CallRecord]) -> list[str]:
    return [record.method for record in sent if record.mutates]


def only(world: World) -> Any:
    machines = world.machines()
    assert len(machines) == 1
    return machines[0]


class TestEnsure:
    def test_makes_a_machine_of_the_size_asked_for_that_runs_in_the_tenant_s_network(
        self, world: World, vms: Vms
    ) -> None:
        vm = vms.ensure(world.spec())
        held = only(world)
        assert held.findtext("ID") == str(vm.id)
        assert held.findtext("GID") == str(world.vdc)
        assert (held.findtext("STATE"), held.findtext("LCM_STATE")) == ("3", "3")
        assert [held.findtext(f"TEMPLATE/{name}") for name in ("VCPU", "CPU", "MEMORY")] == ["2", "2", "1024"]
        assert [disk.findtext("SIZE") for disk in held.iterfind("TEMPLATE/DISK")] == ["4096"]
        assert [nic.findtext("NETWORK_ID") for nic in held.iterfind("TEMPLATE/NIC")] == [str(world.network)]
        assert vm.addresses() == (held.findtext("TEMPLATE/NIC/IP"),)
        assert vm.status().is_running

    def test_the_template_s_context_is_kept_and_the_keys_are_put_into_it(self, world: World, vms: Vms) -> None:
        keys = (ed25519("alice"), ed25519("bob"))
        vms.ensure(world.spec(ssh_keys=keys, context={"HOSTNAME": "web-1"}))
        context = only(world).find("TEMPLATE/CONTEXT")
        assert context.findtext("START_SCRIPT") == 'echo "web" > /etc/motd'
        assert context.findtext("SSH_PUBLIC_KEY") == "\n".join(keys)
        assert context.findtext("HOSTNAME") == "web-1"
        assert context.findtext("ETH0_IP")

    def test_without_anything_of_its_own_the_template_s_context_stays_as_it_is(self, world: World, vms: Vms) -> None:
        vms.ensure(world.spec(ssh_keys=()))
        assert only(world).findtext("TEMPLATE/CONTEXT/START_SCRIPT") == 'echo "web" > /etc/motd'

    def test_nothing_of_the_provider_s_account_gets_into_the_machine(self, world: World, vms: Vms, admin: Raw) -> None:
        admin("one.user.update", 0, 'SSH_PUBLIC_KEY="ssh-ed25519 PROVIDER"\nSECRET="hush"', 1)
        context = (
            'CONTEXT=[SSH_PUBLIC_KEY="$USER[SSH_PUBLIC_KEY]",WHOLE="$user[ TEMPLATE ]",NETWORK=YES,'
            'START_SCRIPT="echo $USER[SECRET] $NAME \\$USER[0] \\\\$USER[SECRET]",PLAIN="$UNAME"]'
        )
        admin("one.template.update", world.template, context, 1)
        vms.ensure(world.spec(ssh_keys=()))
        told = {item.tag: item.text for item in only(world).find("TEMPLATE/CONTEXT")}
        assert {"SSH_PUBLIC_KEY", "WHOLE"}.isdisjoint(told)
        assert not any("PROVIDER" in (text or "") for text in told.values())
        assert told["PLAIN"] == "oneadmin"
        assert told["START_SCRIPT"] == r"echo  web \$USER[0] \\"

    def test_the_tenant_s_rules_hold_on_its_interface(self, world: World, vms: Vms, admin: Raw) -> None:
        rules = admin("one.secgroup.allocate", "NAME=acme\nRULE=[PROTOCOL=TCP,RULE_TYPE=INBOUND,RANGE=22]")
        admin("one.vn.update", world.network, f'SECURITY_GROUPS="{rules}"', 1)
        vms.ensure(world.spec())
        (nic,) = only(world).findall("TEMPLATE/NIC")
        assert str(rules) in (nic.findtext("SECURITY_GROUPS") or "").split(",")

    def test_a_second_run_sends_nothing_that_changes_anything(
        self, world: World, vms: Vms, sent: list[ont.CallRecord]
    ) -> None:
        first = vms.ensure(world.spec())
        sent.clear()
        assert vms.ensure(world.spec()) == first
        assert [record.method for record in sent] == ["one.vmpool.info", "one.vmpool.infoset"]

    def test_costs_few_calls(self, world: World, vms: Vms, sent: list[ont.CallRecord]) -> None:
        vms.ensure(world.spec())
        methods = [record.method for record in sent if record.method != "one.vm.info"]
        assert len(methods) == 10
        assert mutations(sent) == ["one.template.instantiate", "one.vm.update"]

    def test_a_plan_changes_nothing_and_says_what_ensure_would(
        self, world: World, vms: Vms, sent: list[ont.CallRecord]
    ) -> None:
        before = world.shot()
        plan = vms.plan(world.spec())
        assert [str(change) for change in plan] == [f"create VM web: of VM template {world.template}"]
        assert mutations(sent) == []
        assert world.shot() == before
        vm = vms.ensure(world.spec())
        assert not vms.plan(world.spec())
        larger = world.spec(name="www", size=VmSize(vcpu=4, memory_mb=512, disk_mb=8192))
        assert [str(change) for change in vms.plan(larger)] == [
            f"set cores of VM {vm.id} (web): 2 -> 4",
            f"set share of cores of VM {vm.id} (web): 2 -> 4",
            f"set memory of VM {vm.id} (web): 1024 MB -> 512 MB",
            f"grow disk 0 of VM {vm.id} (web): 4096 MB -> 8192 MB",
            f"rename VM {vm.id}: web -> www",
        ]
        assert vms.ensure(larger).name == "www"
        assert not vms.plan(larger)

    def test_progress_and_states_are_told(self, world: World, vms: Vms) -> None:
        steps: list[ont.Step] = []
        states: list[str] = []
        vms.ensure(world.spec(), progress=steps.append, on_status=lambda status: states.append(str(status)))
        assert [str(step) for step in steps] == [f"web: 1/1 create VM web: of VM template {world.template}"]
        assert states[-1] == "ACTIVE/RUNNING"
        assert len(set(states)) == len(states)

    def test_the_share_of_cores_goes_with_the_cores_by_a_ratio(self, world: World, vms: Vms) -> None:
        vms.ensure(world.spec(size=VmSize(vcpu=3, cpu_per_vcpu="0.25")))
        assert only(world).findtext("TEMPLATE/CPU") == "0.75"
        assert only(world).findtext("TEMPLATE/VCPU") == "3"

    def test_what_no_size_names_is_as_the_template_says(self, world: World, vms: Vms) -> None:
        vms.ensure(world.spec(size=VmSize()))
        held = only(world)
        assert [held.findtext(f"TEMPLATE/{name}") for name in ("VCPU", "CPU", "MEMORY")] == ["1", "0.5", "256"]
        assert held.findtext("TEMPLATE/DISK/SIZE") == str(IMAGE_MB)

    def test_further_images_become_further_disks(self, world: World, vms: Vms, admin: Raw, server: Emulator) -> None:
        data = admin("one.image.allocate", 'NAME=data\nTYPE=DATABLOCK\nSIZE=512\nPATH=""', 1)
        server.settle()
        vm = vms.ensure(world.spec(images=(data,)))
        disks = only(world).findall("TEMPLATE/DISK")
        assert [disk.findtext("IMAGE_ID") for disk in disks] == [str(world.image), str(data)]
        assert disks[0].findtext("SIZE") == "4096"
        assert vm.usage().disk_mb == sum(int(disk.findtext("SIZE") or "") for disk in disks)

    def test_a_template_with_the_id_0_is_a_template(self, world: World, vms: Vms, admin: Raw) -> None:
        assert admin.xml("one.template.info", 0).findtext("ID") == "0"
        vms.ensure(world.spec(template=0))
        assert only(world).findtext("TEMPLATE/TEMPLATE_ID") == "0"

    def test_it_may_run_in_the_tenant_s_clusters_alone_and_where_the_template_says(
        self, world: World, vms: Vms, admin: Raw
    ) -> None:
        admin("one.template.update", world.template, 'SCHED_REQUIREMENTS="MAX_CPU > 0"', 1)
        vms.ensure(world.spec(sched_requirements="NAME != nowhere"))
        text = only(world).findtext("USER_TEMPLATE/SCHED_REQUIREMENTS")
        assert text == "(MAX_CPU > 0) & (NAME != nowhere) & (CLUSTER_ID = 0)"

    def test_the_interfaces_of_the_template_come_behind_the_tenant_s_on_request(
        self, world: World, vms: Vms, admin: Raw
    ) -> None:
        provider = next(
            item for item in admin.xml("one.vnpool.info", -2, -1, -1) if item.findtext("NAME") == "provider"
        )
        admin("one.template.update", world.template, f"NIC=[NETWORK_ID={provider.findtext('ID')},MODEL=virtio]", 1)
        vms.ensure(world.spec(keep_template_nics=True))
        nics = only(world).findall("TEMPLATE/NIC")
        assert [nic.findtext("NETWORK") for nic in nics] == ["acme_internal", "provider"]
        assert nics[1].findtext("MODEL") == "virtio"


class TestOneMachineForAKey:
    def test_runs_at_once_in_one_process_make_one_machine(self, world: World, vms: Vms) -> None:
        with ThreadPoolExecutor(4) as pool:
            found = set(pool.map(lambda _: vms.ensure(world.spec()).id, range(4)))
        assert {int(machine.findtext("ID")) for machine in world.machines()} == found
        assert len(found) == 1

    def test_runs_at_once_in_many_processes_make_one_machine(self, server: Emulator, world: World) -> None:
        def run(_: int) -> int:
            with connect(server) as cloud:
                return Vms(cloud._rpc).ensure(world.spec()).id

        for number in range(5):
            with ThreadPoolExecutor(4) as pool:
                found = set(pool.map(run, range(4)))
            server.settle()
            assert {int(machine.findtext("ID")) for machine in world.machines()} == found, number
            assert len(found) == 1
            with connect(server) as cloud:
                Vms(cloud._rpc).delete(found.pop(), key=KEY)

    def test_a_machine_that_was_renamed_is_found_again(self, world: World, vms: Vms, admin: Raw) -> None:
        vm = vms.ensure(world.spec())
        admin("one.vm.rename", vm.id, "other")
        assert vms.ensure(world.spec()).id == vm.id
        assert only(world).findtext("NAME") == "web"

    def test_two_finished_machines_with_one_key_are_named_and_none_is_removed(
        self, world: World, vms: Vms, admin: Raw
    ) -> None:
        first = vms.ensure(world.spec())
        second = vms.ensure(world.spec(key="other"))
        admin("one.vm.update", second.id, f'TENANCY_KEY="{KEY}"', 1)
        with pytest.raises(ont.DuplicateObject, match=rf"VM {first.id} \(web\), VM {second.id} \(web\)"):
            vms.ensure(world.spec())
        assert len(world.machines()) == 2

    def test_an_unfinished_twin_is_removed(self, server: Emulator, world: World, vms: Vms, admin: Raw) -> None:
        twin = vms.ensure(world.spec(key="other"))
        admin("one.vm.update", twin.id, f'TENANCY_KEY="{KEY}"\nTENANCY_PHASE="creating"', 1)
        vm = vms.ensure(world.spec())
        assert vm.id == twin.id
        younger = vms.ensure(world.spec(key="third"))
        admin("one.vm.update", younger.id, f'TENANCY_KEY="{KEY}"\nTENANCY_PHASE="creating"', 1)
        assert [change.action for change in vms.plan(world.spec())] == ["delete"]
        assert vms.ensure(world.spec()).id == vm.id
        assert only(world).findtext("ID") == str(vm.id)

    def test_a_powered_off_machine_stays_off(self, world: World, vms: Vms) -> None:
        vm = vms.ensure(world.spec())
        vm.power_off(hard=True)
        assert vms.ensure(world.spec()) == vm
        assert vm.status().is_off


class TestLimits:
    def test_the_tenant_s_limits_hold_from_the_first_moment(
        self, server: Emulator, world: World, vms: Vms, admin: Raw
    ) -> None:
        before = world.shot()
        with pytest.raises(ont.QuotaExceeded, match="CPU quota"):
            vms.ensure(world.spec(size=VmSize(vcpu=9)))
        assert world.shot() == before
        server.cloud.driver_actions["prolog"] = 1.0
        seen: list[str | None] = []
        path = "VM_QUOTA/VM/CPU_USED"
        server.cloud.driver_actions.clear()
        vms.ensure(world.spec(), on_status=lambda _: seen.append(admin.xml("one.group.info", world.vdc).findtext(path)))
        assert set(seen) == {"2"}

    def test_a_twin_that_took_the_last_of_the_limits_is_the_machine(
        self, server: Emulator, world: World, vms: Vms, admin: Raw
    ) -> None:
        """Its instantiation is applied late: the look for it comes too early, and the second attempt is refused."""
        admin("one.group.quota", world.vdc, 'VM=[VMS="1"]')
        server.faults.arm(Fault(kind=FaultKind.LOSE_REPLY, method="one.template.instantiate"))
        vm = vms.ensure(world.spec())
        assert only(world).findtext("ID") == str(vm.id)


class TestRefusals:
    """All of it is refused before anything is changed, and all at once."""

    @pytest.fixture(name="other")
    def _other(self, cloud: ont.Cloud, server: Emulator, world: World) -> World:
        del world
        spec = ont.VdcSpec(name="umbrella", key="key-of-umbrella", clusters=(0,))
        return World.build(server, cloud, spec)

    def refused(self, vms: Vms, world: World, sent: list[ont.CallRecord], spec: Any, **options: Any) -> str:
        before = world.shot()
        sent.clear()
        with pytest.raises(ont.SettingsError) as caught:
            vms.ensure(spec, **options)
        assert mutations(sent) == []
        assert world.shot() == before
        with pytest.raises(ont.SettingsError) as planned:
            vms.plan(spec, **options)
        assert str(planned.value) == str(caught.value)
        return str(caught.value)

    def test_all_that_is_not_there_is_named_at_once(self, vms: Vms, world: World, sent: list[ont.CallRecord]) -> None:
        spec = world.spec(template=4711, images=(4712,), networks=(4713,))
        message = self.refused(vms, world, sent, spec)
        assert "template: there is no VM template 4711" in message
        assert "images: there is no image 4712" in message
        assert "networks: there is no network 4713" in message

    def test_a_disk_smaller_than_its_image(self, vms: Vms, world: World, sent: list[ont.CallRecord]) -> None:
        message = self.refused(vms, world, sent, world.spec(size=VmSize(disk_mb=IMAGE_MB - 1)))
        assert f"size.disk_mb: {IMAGE_MB - 1} MB are less than the {IMAGE_MB} MB of image {world.image}" in message

    def test_a_group_that_is_not_a_tenant(self, vms: Vms, world: World, sent: list[ont.CallRecord]) -> None:
        assert "group 1 (users) is not a tenant" in self.refused(vms, world, sent, world.spec(vdc=1))
        assert "there is no tenant 4711" in self.refused(vms, world, sent, world.spec(vdc=4711))

    def test_a_template_off_the_list(self, vms: Vms, world: World, sent: list[ont.CallRecord]) -> None:
        allowed = Allowed(templates=(0,))
        message = self.refused(vms, world, sent, world.spec(), allowed=allowed)
        assert message == f"template: VM template {world.template} (acme web) may not be used here"
        vms.ensure(world.spec(template=0), allowed=allowed)

    def test_a_template_that_a_tenant_could_write_to(
        self, vms: Vms, world: World, sent: list[ont.CallRecord], admin: Raw
    ) -> None:
        admin("one.template.chown", world.template, -1, world.vdc)
        assert "may not be used here" in self.refused(vms, world, sent, world.spec())
        vms.ensure(world.spec(), allowed=Allowed(templates={world.template}))

    def test_a_network_of_another_tenant(
        self, vms: Vms, world: World, other: World, sent: list[ont.CallRecord]
    ) -> None:
        for spec in (world.spec(network=other.network), world.spec(networks=(other.network,))):
            assert "(umbrella_internal) may not be used here" in self.refused(vms, world, sent, spec)
            allowed = Allowed(networks={other.network})
            assert "may not be used here" in self.refused(vms, world, sent, spec, allowed=allowed)

    def test_a_network_that_only_the_group_s_template_says_to_be_the_tenant_s(
        self, vms: Vms, world: World, other: World, sent: list[ont.CallRecord], admin: Raw
    ) -> None:
        admin("one.group.update", world.vdc, f'TENANCY_NETWORK_ID="{other.network}"', 1)
        assert "does not carry its key" in self.refused(vms, world, sent, world.spec())

    @pytest.mark.parametrize(("hint", "reason"), [("4711", "is not there any more"), ("unsettled", "is not finished")])
    def test_a_tenant_whose_network_is_not_what_it_was(
        self, vms: Vms, world: World, sent: list[ont.CallRecord], admin: Raw, hint: str, reason: str
    ) -> None:
        admin("one.group.update", world.vdc, f'TENANCY_NETWORK_ID="{hint}"', 1)
        assert reason in self.refused(vms, world, sent, world.spec())

    def test_a_tenant_that_has_lost_its_vdc(
        self, vms: Vms, world: World, sent: list[ont.CallRecord], admin: Raw
    ) -> None:
        admin("one.group.update", world.vdc, 'TENANCY_VDC_ID="0"', 1)
        assert "VDC 0 is not that of the tenant acme" in self.refused(vms, world, sent, world.spec())

    def test_an_image_of_another_tenant_or_one_that_is_no_disk(
        self, vms: Vms, world: World, other: World, sent: list[ont.CallRecord], admin: Raw, server: Emulator
    ) -> None:
        foreign = admin("one.image.allocate", 'NAME=foreign\nTYPE=DATABLOCK\nSIZE=512\nPATH=""', 1)
        kernel = admin("one.image.allocate", 'NAME=kernel\nTYPE=KERNEL\nPATH="/x"', 2)
        server.settle()
        admin("one.image.chown", foreign, -1, other.vdc)
        message = self.refused(vms, world, sent, world.spec(images=(foreign, kernel)))
        assert f"image {foreign} (foreign) may not be used here" in message
        assert f"image {kernel} (kernel) is not a disk" in message

    def test_a_cluster_that_is_not_the_tenant_s(self, vms: Vms, world: World, sent: list[ont.CallRecord]) -> None:
        message = self.refused(vms, world, sent, world.spec(clusters=(100,)))
        assert message == "clusters: cluster 100 is not one of the tenant's"

    def test_a_template_whose_image_is_gone(
        self, vms: Vms, world: World, sent: list[ont.CallRecord], admin: Raw
    ) -> None:
        admin("one.template.update", world.template, "DISK=[IMAGE_ID=4711]", 1)
        message = self.refused(vms, world, sent, world.spec(size=VmSize()))
        assert "there is no image 4711, which is its disk 0" in message

    @pytest.mark.parametrize(
        ("expression", "reason"),
        [
            ("MAX_CPU > 0) | (MAX_CPU > 0", "closes a parenthesis that it does not open"),
            ("(MAX_CPU > 0", "has a parenthesis that is not closed"),
            ('NAME = x\\"', "has a quote that is not closed"),
        ],
    )
    def test_a_template_whose_expression_would_end_the_others(
        self, vms: Vms, world: World, sent: list[ont.CallRecord], admin: Raw, expression: str, reason: str
    ) -> None:
        admin("one.template.update", world.template, f'SCHED_REQUIREMENTS="{expression}"', 1)
        message = self.refused(vms, world, sent, world.spec())
        assert message == f"template: the SCHED_REQUIREMENTS of VM template {world.template} {reason}"

    def test_a_template_for_routers(self, vms: Vms, world: World, sent: list[ont.CallRecord], admin: Raw) -> None:
        admin("one.template.update", world.template, "VROUTER=YES", 1)
        assert "is for virtual routers" in self.refused(vms, world, sent, world.spec())

    def test_a_tenant_without_network_where_the_template_has_interfaces(
        self, vms: Vms, world: World, sent: list[ont.CallRecord], admin: Raw
    ) -> None:
        admin("one.group.update", world.vdc, 'TENANCY_NETWORK_ID="none"', 1)
        assert "the tenant has no network" in self.refused(vms, world, sent, world.spec())

    @pytest.mark.parametrize("name", ['a"b', "a\nb", "a<b", "a&b", "a$b", "", "x" * 129])
    def test_a_hostile_name(self, world: World, name: str) -> None:
        with pytest.raises(ont.SettingsError, match="virtual machine name"):
            world.spec(name=name)

    @pytest.mark.parametrize(
        "key",
        [
            'ssh-ed25519 AAAA" ]\nFOO="bar',
            "]]></SSH_PUBLIC_KEY>",
            ed25519("$USER[PASSWORD]"),
            ed25519("a\nssh-rsa AAAA"),
            "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x02ab").decode(),
        ],
    )
    def test_a_hostile_key(self, world: World, key: str) -> None:
        with pytest.raises(ont.SettingsError, match=r"ssh_keys\[1\]"):
            world.spec(ssh_keys=(ed25519(), key))

    @pytest.mark.parametrize("value", ["$NAME", "a]]>b", "\x01", ""])
    def test_a_hostile_context(self, world: World, value: str) -> None:
        with pytest.raises(ont.SettingsError, match=r"context\.MOTD"):
            world.spec(context={"MOTD": value})


class TestForeignMachines:
    def test_a_machine_of_the_same_name_without_the_key_is_left_alone(self, world: World, vms: Vms, admin: Raw) -> None:
        foreign = admin("one.template.instantiate", 0, "web", False, f'AS_GID="{world.vdc}"\nTENANCY_KEY="x"', False)
        vm = vms.ensure(world.spec())
        assert vm.id != foreign
        assert len(world.machines()) == 2
        assert [held.id for held in vms.list()] == [vm.id]
        with pytest.raises(ont.Conflict):
            vms.get(foreign)
        with pytest.raises(ont.Conflict):
            vms.delete(foreign, key=KEY)
        with pytest.raises(ont.Conflict):
            vms.resize(foreign, VmSize(vcpu=2), key=KEY)
        assert len(world.machines()) == 2

    def test_the_key_in_another_tenant_is_another_machine(
        self, cloud: ont.Cloud, server: Emulator, world: World, vms: Vms
    ) -> None:
        other = World.build(server, cloud, ont.VdcSpec(name="umbrella", key="key-of-umbrella", clusters=(0,)))
        first, second = vms.ensure(world.spec()), vms.ensure(other.spec())
        assert first.id != second.id
        assert (first.vdc, second.vdc) == (world.vdc, other.vdc)
        assert TENANT.key not in {first.key, second.key}
