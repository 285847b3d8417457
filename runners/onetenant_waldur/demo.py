"""The demonstration: a tenant from order to end, on an embedded OpenNebula and an embedded Waldur."""

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
from onetenant_waldur.marketplace import Marketplace, OrderRefused, Placed
from opennebula_tenancy.display import Table
from opennebula_tenancy.emulator import Emulator


NAME = "e2e-vdc"
LIMITS = {"cpu": 4, "ram": 4096, "storage": 4096, "floating_ip": 2}
DOUBLED = {name: 2 * amount for name, amount in LIMITS.items()}
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
    """Take one tenant through its life.

    Returns:
        What it looked like before its end, as text.

    Raises:
        DemoFailed: Something was not as it should be.
    """
    consumer = demo.waldur.consumer()
    with demo.row("CREATE", f"VDC {NAME}"):
        placed = consumer.place_order(demo.waldur.vdc, NAME, LIMITS)
        demo.carry_out(placed.order)
        verify_limits(demo, placed, LIMITS)
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
    clear_out(demo, group)
    with demo.row("TERMINATE", f"VDC {NAME}"):
        demo.carry_out(consumer.terminate(placed.resource))
        expect("the resource", demo.waldur.resource(placed.resource).state, "Terminated")
        expect("the group", demo.raw("one.group.info", group)[0], False)
    return f"{objects}\n\n{usage}"


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
    return {
        "offerings": [
            {
                "name": "OpenNebula VDC",
                "waldur_api_url": waldur.api_url,
                "waldur_api_token": waldur.tokens["provider"],
                "waldur_offering_uuid": waldur.vdc.uuid,
                "backend_type": "opennebula",
                "order_processing_backend": "opennebula",
                "reporting_backend": "opennebula",
                "backend_settings": {"api_url": server.endpoint, "credentials": server.auth},
                "backend_components": {},
            }
        ]
    }


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
        options = waldur.vdc.plugin_options
        options.clear()
        options.update({"cluster_ids": [0, 100], "external_network_id": network_of(server)})
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
    say(f"\nFailed: {problem}" if problem else f"\nThe tenant before its end\n\n{picture}\n\nAll of it passed.")
    return 1 if problem else 0
