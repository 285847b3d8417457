"""What a router is made of."""

from ipaddress import IPv4Network
from typing import Any

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy._wire.vm_template_records import VmTemplateRecord
from opennebula_tenancy.router_template import router_extra, router_nics
from opennebula_tenancy.subnet import Subnet


SUBNET = Subnet(IPv4Network("10.1.2.0/24"))


def tenant(clusters: tuple[int, ...] | None = (0, 100), **network: Any) -> ont.VdcSpec:
    asked = ont.NetworkSpec(**{"external_network": 10, "router_template": 8} | network)
    return ont.VdcSpec(name="acme", key="k", clusters=clusters, network=asked)


def template(text: str) -> VmTemplateRecord:
    return VmTemplateRecord.parse(
        f"<VMTEMPLATE><ID>8</ID><UID>0</UID><GID>0</GID><NAME>router</NAME><TEMPLATE>{text}</TEMPLATE></VMTEMPLATE>"
    )


def extra(spec: ont.VdcSpec, text: str = "<VROUTER>YES</VROUTER>") -> Any:
    assert spec.network is not None
    return router_extra(spec, spec.network, template(text))


def nics(spec: ont.VdcSpec) -> list[dict[str, str]]:
    assert spec.network is not None
    return router_nics(spec.network, 7, SUBNET)


def test_one_machine_has_the_gateways_address_itself() -> None:
    assert nics(tenant()) == [
        {"NETWORK_ID": "7", "IP": "10.1.2.1", "SECURITY_GROUPS": "0"},
        {"NETWORK_ID": "10"},
    ]


def test_several_machines_share_an_address_on_both_sides() -> None:
    assert nics(tenant(instances=2)) == [
        {"NETWORK_ID": "7", "IP": "10.1.2.1", "SECURITY_GROUPS": "0", "FLOATING_IP": "YES"},
        {"NETWORK_ID": "10", "FLOATING_IP": "YES"},
    ]


def test_machines_carry_the_key_of_the_tenant() -> None:
    made = extra(tenant())
    assert {name: made[name] for name in made if name.startswith("TENANCY")} == {
        "TENANCY_KEY": "k",
        "TENANCY_ROLE": "router-vm",
        "TENANCY_VERSION": "1",
    }


def test_what_the_template_says_in_its_context_is_repeated_and_the_functions_are_ours() -> None:
    own = (
        '<CONTEXT><START_SCRIPT><![CDATA[echo "a" && b]]></START_SCRIPT><NETWORK>NO</NETWORK><EMPTY/>'
        "<ONEAPP_VNF_DNS_ENABLED>NO</ONEAPP_VNF_DNS_ENABLED><SSH_PUBLIC_KEY>$USER[SSH_PUBLIC_KEY]</SSH_PUBLIC_KEY></CONTEXT>"
    )
    context = extra(tenant(dns="9.9.9.9"), own)["CONTEXT"]
    assert context["START_SCRIPT"] == 'echo "a" && b'
    assert context["SSH_PUBLIC_KEY"] == "$USER[SSH_PUBLIC_KEY]"
    assert (context["NETWORK"], context["ONEAPP_VNF_DNS_ENABLED"]) == ("NO", "YES")
    assert "EMPTY" not in context
    assert context["ONEAPP_VNF_DNS_NAMESERVERS"] == "9.9.9.9"


def test_without_name_servers_the_router_asks_the_root_servers() -> None:
    assert not [name for name in extra(tenant(dns=None))["CONTEXT"] if name.startswith("ONEAPP_VNF_DNS_NAME")]


@pytest.mark.parametrize(("instances", "held"), [(1, None), (2, "YES")])
def test_keepalived_is_for_several_machines(instances: int, held: str | None) -> None:
    assert extra(tenant(instances=instances))["CONTEXT"].get("ONEAPP_VNF_KEEPALIVED_ENABLED") == held


@pytest.mark.parametrize(
    ("clusters", "asked", "own", "held"),
    [
        ((0, 100), None, "", "CLUSTER_ID = 0 | CLUSTER_ID = 100"),
        (None, None, "", None),
        ((0,), None, "ARCH = x86", "(ARCH = x86) & (CLUSTER_ID = 0)"),
        (None, None, "ARCH = x86", "ARCH = x86"),
        ((0,), "ID = 3", "ARCH = x86", "ID = 3"),
    ],
)
def test_it_runs_in_the_tenants_clusters_unless_it_is_told_where(
    clusters: tuple[int, ...] | None, asked: str | None, own: str, held: str | None
) -> None:
    text = f"<VROUTER>YES</VROUTER><SCHED_REQUIREMENTS>{own}</SCHED_REQUIREMENTS>"
    assert extra(tenant(clusters, sched_requirements=asked), text).get("SCHED_REQUIREMENTS") == held
