"""The demonstration: tenants and machines from order to end, on an embedded OpenNebula and an embedded Waldur."""

import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

import attrs
import click
import yaml

import opennebula_tenancy as ont
from onetenant_waldur import log, settings
from onetenant_waldur.agent import Agent
from onetenant_waldur.marketplace import Marketplace, OrderRefused, Placed, Plan
from opennebula_tenancy.diagram import Diagram, Machine
from opennebula_tenancy.display import Table
from opennebula_tenancy.emulator import Emulator


NAME, PARENT, VM_NAME = "e2e-vdc", "e2e-parent", "e2e-test-vm"
LIMITS = {"cpu": 4, "ram": 4096, "storage": 4096, "floating_ip": 2}
DOUBLED = {name: 2 * amount for name, amount in LIMITS.items()}
SIZES = {"Small": {"vcpu": 1, "vm_ram": 512, "vm_disk": 2048}, "Medium": {"vcpu": 1, "vm_ram": 1024, "vm_disk": 5120}}
NETWORKING = {
    "virtual_router_template_id": 8,
    "security_group_defaults": [
        {"direction": "INBOUND", "protocol": "TCP", "range": "22:22"},
        {"direction": "INBOUND", "protocol": "ICMP", "type": "8"},
    ],
}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f somebody@example.org"
_NOT_AUTHORIZED = 0x0200


class DemoFailed(Exception):
    """Something is not as it should be: the demonstration ends."""


@attrs.frozen
class Row:
    """A line of the table: what was done, and how it ended."""

    operation: str
    resource: str
    result: str
    seconds: float
    calls: int

    def cells(self, number: int) -> tuple[str, ...]:
        """The line as text."""
        took = f"{self.seconds:.2f}s"
        return str(number), self.operation, self.resource, self.result, took, str(self.calls)


@attrs.define
class Demo:
    """Both servers, the agent between them, and what came of it so far."""

    server: Emulator
    waldur: Marketplace
    agent: Agent
    rows: list[Row] = attrs.field(factory=list)

    @contextmanager
    def row(self, operation: str, resource: str) -> Iterator[None]:
        """Do one thing, and note how it ends.

        Raises:
            DemoFailed: It did not end well.
        """
        click.echo(f"  {operation:<10} {resource} ... ", nl=False)
        self.server.faults.arm()
        started = time.monotonic()
        result = "FAIL"
        try:
            yield
            result = "PASS"
        except (ont.TenancyError, OrderRefused) as error:
            raise DemoFailed(str(error)) from error
        finally:
            seconds = time.monotonic() - started
            self.rows.append(Row(operation, resource, result, seconds, len(self.server.calls)))
            click.echo(f"{result} ({seconds:.2f}s)")

    def carry_out(self, order: str, *, state: str = "done") -> None:
        """Let the agent look for orders once, over HTTP, and see how this one ended."""
        self.agent.process_orders()
        found = self.waldur.order(order)
        expect("the order", found.state, state, because=found.error_message)

    def raw(self, method: str, *params: Any, session: str | None = None) -> tuple[bool, Any, int]:
        """Call OpenNebula with nothing but the standard library: whether it went well, value or text, and code."""
        with ServerProxy(self.server.endpoint) as proxy:
            ok, value, code, *_ = getattr(proxy, method)(session or self.server.auth, *params)
        return bool(ok), value, int(code)

    def must(self, method: str, *params: Any, session: str | None = None) -> Any:
        """Call OpenNebula for something that has to go well."""
        ok, value, _ = self.raw(method, *params, session=session)
        expect(method, ok, True, because=str(value))
        return value


def expect(what: str, found: object, wanted: object, *, because: str = "") -> None:
    """Stop unless something is as it should be."""
    if found != wanted:
        raise DemoFailed(f"{what} is {found}, not {wanted}" + (f": {because}" if because else ""))


def show(demo: Demo) -> str:
    """Take tenants and a machine through their lives.

    Returns:
        What they looked like before their ends, as text.

    Raises:
        DemoFailed: Something was not as it should be.
    """
    return f"{show_tenant(demo)}\n\n{show_machine(demo)}"


def show_tenant(demo: Demo) -> str:
    """Take one tenant through its life; what it looked like before its end, as text."""
    consumer = demo.waldur.consumer()
    with demo.row("CREATE", f"VDC {NAME}"):
        placed = consumer.place_order(demo.waldur.vdc, NAME, LIMITS)
        demo.carry_out(placed.order)
        verify_limits(demo, placed, LIMITS)
        verify_network(demo, placed)
    group = int(demo.waldur.resource(placed.resource).backend_id or -1)
    with demo.row("UPDATE", f"VDC {NAME} (limits x2)"):
        demo.carry_out(consumer.update_limits(placed.resource, DOUBLED))
        verify_limits(demo, placed, DOUBLED)
    member = f"{NAME}-member:secret"
    with demo.row("ENFORCE", "cpu, ram, storage, floating_ip"):
        enforce(demo, group, member)
    with demo.row("REPORT", f"usage of {NAME}"):
        demo.agent.report_usage()
        wanted = {"cpu": "1.00", "ram": "512.00", "storage": "1000.00", "floating_ip": "1.00"}
        expect("usage", {name: f"{float(used):.2f}" for name, used in consumer.usages(placed.resource).items()}, wanted)
    objects, usage = tenant_tables(demo, group)
    with demo.row("REFUSE", f"end of {NAME} while a VM runs"):
        demo.carry_out(consumer.terminate(placed.resource), state="erred")
        expect("the resource", demo.waldur.resource(placed.resource).state, "OK")
        expect("the group", demo.raw("one.group.info", group)[0], True)
        expect("the router", demo.raw("one.vrouter.info", metadata(demo, placed)["vr_id"])[0], True)
    clear_out(demo, group)
    gone = metadata(demo, placed)
    with demo.row("TERMINATE", f"VDC {NAME}"):
        demo.carry_out(consumer.terminate(placed.resource))
        expect("the resource", demo.waldur.resource(placed.resource).state, "Terminated")
        expect("the group", demo.raw("one.group.info", group)[0], False)
        expect("the network", demo.raw("one.vn.info", gone["vnet_id"])[0], False)
        expect("the router", demo.raw("one.vrouter.info", gone["vr_id"])[0], False)
    return f"{objects}\n\n{usage}"


def show_machine(demo: Demo) -> str:
    """Take a machine through its life, in a tenant of its own; what that looked like before their ends, as text."""
    consumer, vm = demo.waldur.consumer(), demo.waldur.vm
    parent = consumer.place_order(demo.waldur.vdc, PARENT, LIMITS)
    demo.carry_out(parent.order)
    group = demo.waldur.resource(parent.resource).backend_id
    vm.plugin_options["parent_vdc_backend_id"] = group
    with demo.row("CREATE", f"VM {VM_NAME} (Small)"):
        placed = consumer.place_order(vm, VM_NAME, plan="Small", attributes={"ssh_public_key": KEY})
        demo.carry_out(placed.order)
        verify_machine(demo, placed, "Small")
    with demo.row("UPDATE", f"VM {VM_NAME} (Small -> Medium)"):
        demo.carry_out(consumer.switch_plan(placed.resource, vm, "Medium"))
        verify_machine(demo, placed, "Medium")
    picture = draw(demo, int(group))
    with demo.row("TERMINATE", f"VM {VM_NAME}"):
        demo.carry_out(consumer.terminate(placed.resource))
        expect("the resource", demo.waldur.resource(placed.resource).state, "Terminated")
        found = ET.fromstring(demo.must("one.vm.info", metadata(demo, placed)["vm_id"], False))
        expect("the state of the VM (6 is DONE)", found.findtext("STATE"), "6")
    demo.carry_out(consumer.terminate(parent.resource))
    return picture


def metadata(demo: Demo, placed: Placed) -> dict[str, Any]:
    """What Waldur shows of a resource."""
    return dict(demo.waldur.resource(placed.resource).backend_metadata)


def verify_network(demo: Demo, placed: Placed) -> None:
    """See in OpenNebula that the tenant has its network, with a router that runs at its gateway."""
    shown = metadata(demo, placed)
    network = ET.fromstring(demo.must("one.vn.info", shown["vnet_id"], False))
    expect("the gateway", network.findtext("TEMPLATE/GATEWAY"), shown["gateway_ip"])
    router = ET.fromstring(demo.must("one.vm.info", shown["vr_vm_id"], False))
    expect("the router's state", (router.findtext("STATE"), router.findtext("LCM_STATE")), ("3", "3"))
    nics = {nic.findtext("NETWORK_ID"): nic.findtext("IP") for nic in router.iterfind("TEMPLATE/NIC")}
    expect("the router's address inside", nics.get(str(shown["vnet_id"])), shown["gateway_ip"])
    expect(
        "its address outside", [ip for net, ip in nics.items() if net != str(shown["vnet_id"])], shown["vr_addresses"]
    )


def verify_machine(demo: Demo, placed: Placed, plan: str) -> None:
    """See in OpenNebula that the machine runs in its tenant, as large as its plan says, and in Waldur that it is so."""
    resource = demo.waldur.resource(placed.resource)
    expect("the resource", resource.state, "OK")
    expect("its limits in Waldur", dict(resource.limits), SIZES[plan])
    vm = ET.fromstring(demo.must("one.vm.info", int(resource.backend_id), False))
    expect("the state of the VM", (vm.findtext("STATE"), vm.findtext("LCM_STATE")), ("3", "3"))
    expect("its group", vm.findtext("GID"), demo.waldur.vm.plugin_options["parent_vdc_backend_id"])
    expect("its SSH key", vm.findtext("TEMPLATE/CONTEXT/SSH_PUBLIC_KEY"), KEY)
    for component, path in {"vcpu": "VCPU", "vm_ram": "MEMORY", "vm_disk": "DISK/SIZE"}.items():
        expect(f"{path} of the VM", vm.findtext(f"TEMPLATE/{path}"), str(SIZES[plan][component]))


def draw(demo: Demo, group: int) -> str:
    """A picture of a tenant whose machine has a floating IP, as text."""
    with ont.connect(demo.server.endpoint, demo.server.auth) as cloud:
        vdc = cloud.vdcs.get(group)
        machines = cloud.vms.list(vdc=group)
        for machine in machines:
            machine.assign_floating_ip()
        return Diagram(
            tenant=vdc.name,
            network=vdc.network,
            router=vdc.router,
            machines=[Machine(one.id, one.name, one.addresses()) for one in machines],
            floating_ips=vdc.floating_ips(),
            external="external network (provider)",
        ).text()


def verify_limits(demo: Demo, placed: Placed, limits: dict[str, int]) -> None:
    """See in OpenNebula, and in Waldur, that the limits are there."""
    resource = demo.waldur.resource(placed.resource)
    expect("the resource", resource.state, "OK")
    expect("its limits in Waldur", dict(resource.limits), limits)
    root = ET.fromstring(demo.must("one.group.info", int(resource.backend_id)))
    for component, path in {
        "cpu": "VM_QUOTA/VM/CPU",
        "ram": "VM_QUOTA/VM/MEMORY",
        "storage": "DATASTORE_QUOTA/DATASTORE/SIZE",
        "floating_ip": "NETWORK_QUOTA/NETWORK/LEASES",
    }.items():
        held = {element.text for element in root.iterfind(path)}
        expect(f"{path} in OpenNebula", held, {str(limits[component])})


def enforce(demo: Demo, group: int, member: str) -> None:
    """As a member of the tenant, use a little, and be refused what is beyond the limits."""
    name, _, password = member.partition(":")
    demo.must("one.user.allocate", name, password, "core", [group])
    provider = demo.waldur.vdc.plugin_options["external_network_id"]
    demo.must("one.vn.chmod", provider, -1, -1, -1, -1, -1, -1, 1, -1, -1)
    small = f'NAME="small"\nCPU="1"\nMEMORY="512"\nNIC=[NETWORK_ID="{provider}"]'
    template = demo.must("one.template.allocate", small, session=member)
    demo.must("one.template.instantiate", template, "web", False, "", False, session=member)
    demo.must("one.image.allocate", 'NAME="data"\nTYPE="DATABLOCK"\nSIZE="1000"', 1, session=member)
    demo.server.settle()
    many = "\n".join([f'NIC=[NETWORK_ID="{provider}"]'] * 4)
    for limit, method, params in (
        ("CPU", "one.template.instantiate", (template, "big", False, 'CPU="7.5"', False)),
        ("MEMORY", "one.template.instantiate", (template, "big", False, 'MEMORY="8000"', False)),
        ("LEASES", "one.template.instantiate", (template, "big", False, many, False)),
        ("SIZE", "one.image.allocate", ('NAME="big"\nTYPE="DATABLOCK"\nSIZE="8000"', 1)),
    ):
        ok, said, code = demo.raw(method, *params, session=member)
        refused = not ok and code == _NOT_AUTHORIZED and f"reached for {limit} quota" in str(said)
        expect(f"beyond the limit of {limit}", refused, True, because=str(said))


def owned(demo: Demo, group: int) -> Iterator[tuple[str, int, str]]:
    """What belongs to a group: kind, id and name, in an order in which it can be removed."""
    for method, params, element in (
        ("one.vmpool.info", (-2, -1, -1, -1), "VM"),
        ("one.imagepool.info", (-2, -1, -1), "IMAGE"),
        ("one.templatepool.info", (-2, -1, -1), "VMTEMPLATE"),
        ("one.userpool.info", (), "USER"),
    ):
        for item in ET.fromstring(demo.must(method, *params)).iterfind(element):
            if item.findtext("GID") == str(group):
                yield element, int(item.findtext("ID") or -1), item.findtext("NAME") or ""


def clear_out(demo: Demo, group: int) -> None:
    """Remove what the member made, and the member."""
    for kind, own, _ in list(owned(demo, group)):
        if kind == "VM":
            demo.must("one.vm.action", "terminate-hard", own)
        else:
            demo.must(f"one.{'template' if kind == 'VMTEMPLATE' else kind.lower()}.delete", own)
        demo.server.settle()


def tenant_tables(demo: Demo, group: int) -> tuple[str, str]:
    """The tenant's objects, and its usage beside its limits, as text."""
    with ont.connect(demo.server.endpoint, demo.server.auth) as cloud:
        vdc = cloud.vdcs.get(group)
        used, quota = vdc.usage(), vdc.quota()
    objects = [("group", str(vdc.id), vdc.name), ("VDC", str(vdc.vdc_id), vdc.name)]
    objects += [(kind.lower(), str(own), name) for kind, own, name in owned(demo, group)]
    figures = [(metric.field, str(used[metric]), str(limit)) for metric, limit in quota.named()]
    return Table(("object", "id", "name"), objects).text(), Table(("", "used", "limit"), figures).text()


def network_of(server: Emulator) -> int:
    """The provider network that the small cloud has."""
    with ServerProxy(server.endpoint) as proxy:
        reply: Any = proxy.one.vnpool.info(server.auth, -2, -1, -1)
    return int(ET.fromstring(reply[1]).findtext("VNET/ID") or -1)


def configuration(server: Emulator, waldur: Marketplace) -> dict[str, Any]:
    """A settings file as operators have it."""
    backend = {"api_url": server.endpoint, "credentials": server.auth}
    common = {
        "waldur_api_url": waldur.api_url,
        "waldur_api_token": waldur.tokens["provider"],
        "backend_type": "opennebula",
        "order_processing_backend": "opennebula",
        "reporting_backend": "opennebula",
        "backend_components": {},
    }
    vdc = {"name": "OpenNebula VDC", "waldur_offering_uuid": waldur.vdc.uuid, "backend_settings": backend}
    vm = {
        "name": "OpenNebula VM",
        "waldur_offering_uuid": waldur.vm.uuid,
        "backend_settings": {**backend, "resource_type": "vm"},
    }
    return {"offerings": [{**common, **vdc}, {**common, **vm}]}


def sell(server: Emulator, waldur: Marketplace) -> None:
    """Set the offerings up as their owner does it in Waldur."""
    options = waldur.vdc.plugin_options
    options.clear()
    options.update({"cluster_ids": [0, 100], "external_network_id": network_of(server), **NETWORKING})
    waldur.vm.plugin_options.clear()
    waldur.vm.plugin_options.update({"parent_vdc_backend_id": PARENT, "template_id": 0})
    waldur.vm.plans[:] = [Plan(name, size) for name, size in SIZES.items()]


def run(say: Callable[[str], None] = click.echo) -> int:
    """Run the demonstration.

    Args:
        say: Prints a line.

    Returns:
        The exit code: 0 when everything passed, else 1.
    """
    log.configure("CRITICAL")
    with ExitStack() as stack:
        say("Starting an embedded OpenNebula and an embedded Waldur ...")
        server = stack.enter_context(Emulator(populated=True))
        waldur = stack.enter_context(Marketplace())
        sell(server, waldur)
        path = Path(stack.enter_context(tempfile.TemporaryDirectory()), "config.yaml")
        path.write_text(yaml.safe_dump(configuration(server, waldur)), encoding="utf-8")
        agent = stack.enter_context(Agent(settings.load(path)))
        say(f"OpenNebula at {server.endpoint}, Waldur at {waldur.api_url}\n")
        demo = Demo(server, waldur, agent)
        picture = problem = ""
        try:
            picture = show(demo)
        except DemoFailed as error:
            problem = str(error)
    lines = [row.cells(number) for number, row in enumerate(demo.rows, start=1)]
    say("\n" + Table(("#", "Operation", "Resource", "Result", "Duration", "OpenNebula calls"), lines).text())
    say(f"\nFailed: {problem}" if problem else f"\nThe tenants before their ends\n\n{picture}\n\nAll of it passed.")
    return 1 if problem else 0
