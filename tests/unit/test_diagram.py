"""A tenant as a picture."""

from ipaddress import IPv4Address, IPv4Network
from typing import Any

from opennebula_tenancy import FloatingIp, Network, Router
from opennebula_tenancy.diagram import Diagram, Machine
from opennebula_tenancy.vm_status import VmStatus


NETWORK = Network(
    id=7,
    name="acme_internal",
    subnet=IPv4Network("10.0.1.0/24"),
    gateway=IPv4Address("10.0.1.1"),
    clusters=frozenset({0}),
    security_groups=(100,),
    vn_mad="vxlan",
    vlan_id="2",
    dns="8.8.8.8",
    mtu=None,
    used=3,
    state="READY",
)
ROUTER = Router(
    id=3,
    name="acme_router",
    vm_ids=(12,),
    states={12: VmStatus(3, 3)},
    internal_address="10.0.1.1",
    external_addresses=("203.0.113.10",),
)
WEB, DATABASE = Machine(13, "web", ("10.0.1.2", "203.0.113.11")), Machine(9, "database", ("10.0.1.3",))
FLOATING = FloatingIp(address="203.0.113.11", internal_address="10.0.1.2", vm_id=13, nic_id=1, network_id=0)


def diagram(**changes: Any) -> Diagram:
    whole = {"network": NETWORK, "router": ROUTER, "machines": [WEB, DATABASE], "floating_ips": [FLOATING]}
    return Diagram(tenant="acme", **whole | changes)


def test_a_tenant_is_drawn_from_outside_to_inside_with_all_addresses() -> None:
    assert diagram(external="provider").text().splitlines() == [
        "provider",
        "      |  203.0.113.10",
        "router 3 (acme_router): VM 12 ACTIVE/RUNNING",
        "      |  10.0.1.1",
        "network 7 (acme_internal): 10.0.1.0/24",
        "      |",
        "      +-- VM 9 (database)  10.0.1.3",
        "      +-- VM 13 (web)      10.0.1.2  203.0.113.11 -> 10.0.1.2",
    ]


def test_the_same_is_a_flowchart() -> None:
    assert diagram().mermaid().splitlines() == [
        "flowchart TB",
        '    external("external network")',
        '    router["acme_router<br/>VM 12 ACTIVE/RUNNING"]',
        '    external ---|"203.0.113.10"| router',
        '    network["acme_internal<br/>10.0.1.0/24"]',
        '    router ---|"10.0.1.1"| network',
        '    vm9["VM 9 (database)<br/>10.0.1.3"]',
        "    network --- vm9",
        '    vm13["VM 13 (web)<br/>10.0.1.2<br/>203.0.113.11 -#62; 10.0.1.2"]',
        "    network --- vm13",
    ]


def test_a_tenant_without_a_network_and_one_without_anything_are_drawn_too() -> None:
    bare = diagram(network=None, router=None, floating_ips=())
    assert bare.text().splitlines()[0] == "tenant acme, without a network"
    assert "    tenant --- vm9" in bare.mermaid().splitlines()
    nothing = Diagram(tenant="acme")
    assert nothing.text() == "tenant acme, without a network"
    assert nothing.mermaid().splitlines() == ["flowchart TB", '    tenant["acme"]']


def test_a_router_without_machines_says_so() -> None:
    assert (
        "router 3 (acme_router): no machine"
        in diagram(
            router=Router(id=3, name="acme_router", vm_ids=(), states={}, internal_address="", external_addresses=())
        ).text()
    )


def test_names_are_never_syntax() -> None:
    hostile = Machine(1, 'a"]; click vm1 call <script>#x|y', ())
    (line,) = [line for line in Diagram(tenant="t", machines=[hostile]).mermaid().splitlines() if "vm1[" in line]
    label = line.strip().removeprefix('vm1["').removesuffix('"]')
    assert not set(label.replace("#", "").replace(";", "")) & set('"<>|[]')


def test_a_notebook_shows_the_flowchart() -> None:
    assert not hasattr(diagram(), "_repr_html_"), "a notebook would prefer that"
    assert diagram()._repr_markdown_().startswith("```mermaid\nflowchart TB\n")
