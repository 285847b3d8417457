"""Orders of somebody who means harm: refused with a clear sentence, and nothing in OpenNebula is changed."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from agent.offers import KEY, Offers, new_offers
from onetenant_waldur.marketplace import Placed


MUTATING = re.compile(r"one\.(?!system\.)\w+\.(?!info)\w+")
INJECTIONS = (
    '"]\nNIC=[NETWORK_ID="0"',
    "x\nNIC=[NETWORK_ID=0]",
    "</TEMPLATE><GID>0</GID>",
    "x' OR '1'='1",
    "a\x00b",
    "$USER[SSH_PUBLIC_KEY]",
    "a\rb",
)


@pytest.fixture(name="shared", scope="module")
def _shared() -> Iterator[Offers]:
    """One world for all: what is refused changes nothing."""
    with new_offers() as offers:
        own, other = offers.tenant("own"), offers.tenant("other")
        offers.sell_machines(own, allowed_template_ids=[8])
        offers.world.waldur.vdc.description = str(other)
        yield offers


@pytest.fixture(name="offers")
def _offers(shared: Offers) -> Iterator[Offers]:
    """With the same options each time."""
    sold = [(one.plugin_options, dict(one.plugin_options)) for one in shared.world.waldur.state.offerings]
    yield shared
    for options, before in sold:
        options.clear()
        options.update(before)


def refused(offers: Offers, placed: Placed, document: dict[str, Any]) -> str:
    """See that an order is refused and nothing is changed.

    Returns:
        Why, as the customer reads it.
    """
    before = offers.world.in_opennebula()
    offers.world.server.faults.arm()
    assert not offers.world.cycle(document=document)
    assert [call for call in offers.world.server.calls if MUTATING.fullmatch(call)] == []
    assert offers.world.in_opennebula() == before
    order = offers.world.waldur.order(placed.order)
    assert order.state == "erred"
    assert offers.world.waldur.resource(placed.resource).state == "Terminated"
    assert len(order.error_message) < 500
    return order.error_message


@pytest.mark.parametrize(
    ("key", "said"),
    [
        *((f"{KEY}{text}", "ssh_keys[") for text in INJECTIONS if not text.isprintable() or "$" in text),
        *((text, "ssh_keys[") for text in INJECTIONS),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----", "private key"),
        ('command="rm -rf /" ' + KEY, "does not begin with a type"),
        (KEY.replace("AAAA", "AAAB", 1), "ssh_keys[0]"),
        ("ssh-ed25519", "ssh_keys[0]"),
        ("2321d7b3a42746408e7a64f9b6507255", "is not among those that Waldur shows"),
        (f"{KEY}\n2321d7b3-a427-4640-8e7a-64f9b6507255", "is not among those that Waldur shows"),
        ([KEY], "a public SSH key, or the UUID of one"),
        ({"key": KEY}, "a public SSH key, or the UUID of one"),
        (7, "a public SSH key, or the UUID of one"),
    ],
)
def test_a_key_that_is_none_makes_no_machine_without_one(offers: Offers, key: Any, said: str) -> None:
    assert said in refused(offers, offers.order(ssh_public_key=key), offers.document())


@pytest.mark.parametrize("comment", ["</TEMPLATE><GID>0</GID>", '"]  NIC=[NETWORK_ID="0"]', "x' OR '1'='1", "]] >"])
def test_a_comment_of_a_key_that_looks_like_a_template_is_a_comment(offers: Offers, comment: str) -> None:
    placed = offers.made(ssh_public_key=f"{KEY} {comment}")
    vm = offers.machine(placed.resource)
    assert vm.findtext("TEMPLATE/CONTEXT/SSH_PUBLIC_KEY") == f"{KEY} {comment}"
    assert vm.findtext("GID") == str(offers.world.waldur.vm.plugin_options["parent_vdc_backend_id"])
    assert len(vm.findall("TEMPLATE/NIC")) == 1


@pytest.mark.parametrize("name", [*INJECTIONS, "n" * 129, "web;reboot"])
def test_a_name_that_could_be_more_than_a_name_is_refused(offers: Offers, name: str) -> None:
    assert "virtual machine name" in refused(offers, offers.order(name), offers.document())


@pytest.mark.parametrize("template", [1, "1", -1, "0 OR 1", 4294967304, "٨", 8.0, True, [8], {"id": 8}, *INJECTIONS])
def test_a_template_that_is_not_on_the_list_is_refused(offers: Offers, template: Any) -> None:
    said = refused(offers, offers.order(template_id=template), offers.document())
    assert said.startswith("template_id: the VM template ")
    assert said.endswith(" may not be chosen in this offering.")


def test_a_template_that_is_on_the_list_and_is_of_routers_is_refused(offers: Offers) -> None:
    assert "is for virtual routers" in refused(offers, offers.order(template_id="8"), offers.document())


def test_a_template_that_is_not_there_is_refused(offers: Offers) -> None:
    offers.world.waldur.vm.plugin_options["allowed_template_ids"] = [8, 99]
    assert "there is no VM template 99" in refused(offers, offers.order(template_id=99), offers.document())


@pytest.mark.parametrize("field", ["parent_vdc_backend_id", "parent_backend_id"])
@pytest.mark.parametrize("parent", ["other", "other's name", 0, "0", "oneadmin", True, ["x"], *INJECTIONS[:3]])
def test_another_tenant_cannot_be_chosen(offers: Offers, field: str, parent: Any) -> None:
    other = offers.world.waldur.vdc.description
    theirs = {"other": other, "other's name": "other-1"}
    chosen = theirs.get(parent, parent) if isinstance(parent, str) else parent
    said = refused(offers, offers.order(**{field: chosen}), offers.document())
    assert said.startswith(f"{field}: the tenant ")
    assert said.endswith(" may not be chosen in this offering.")


def test_a_tenant_that_the_operator_allows_can_be_chosen_and_only_one(offers: Offers) -> None:
    other = offers.world.waldur.vdc.description
    offers.world.waldur.vm.plugin_options["allowed_parent_vdcs"] = [int(other)]
    placed = offers.made(parent_vdc_backend_id=other, template_id="0")
    assert offers.machine(placed.resource).findtext("GID") == other
    own = offers.world.waldur.vm.plugin_options["parent_vdc_backend_id"]
    two = offers.order(parent_vdc_backend_id=other, parent_backend_id=own)
    assert "names two tenants" in refused(offers, two, offers.document())


@pytest.mark.parametrize(
    "subnet",
    [
        *INJECTIONS,
        *("10.0.9.1/24", "10.0.9.0", "10.0.9.0/255.255.255.0", "10.0.0.0/8", "10.0.9.0/31", "fd00::/64"),
        *("127.0.0.0/24", "224.0.0.0/24", "0.0.0.0/0", "10.0.1.0/24", "10.0.0.0/22", "203.0.113.0/28"),
        *(7, ["10.0.9.0/24"], True),
    ],
)
def test_a_subnet_that_cannot_be_or_overlaps_is_refused(offers: Offers, subnet: Any) -> None:
    consumer = offers.world.waldur.consumer()
    placed = consumer.place_order(
        offers.world.offering, "acme", offers.world.complete({"cpu": 1}), attributes={"subnet_cidr": subnet}
    )
    assert "subnet_cidr: " in refused(offers, placed, offers.world.document())


def test_a_subnet_where_tenants_get_no_network_is_refused(offers: Offers) -> None:
    del offers.world.offering.plugin_options["virtual_router_template_id"]
    consumer = offers.world.waldur.consumer()
    attributes = {"subnet_cidr": "192.168.7.0/24"}
    placed = consumer.place_order(
        offers.world.offering, "acme", offers.world.complete({"cpu": 1}), attributes=attributes
    )
    assert "have no network" in refused(offers, placed, offers.world.document())


@pytest.mark.parametrize("slug", ['a"b', "a b", "a\nb", "<a>", "a" * 129])
def test_a_name_of_a_tenant_that_could_be_more_than_a_name_is_refused(offers: Offers, slug: str) -> None:
    placed = offers.world.order(limits={"cpu": 1})
    offers.world.waldur.resource(placed.resource).slug = slug
    assert "group name" in refused(offers, placed, offers.world.document())


@pytest.mark.parametrize(
    ("limits", "missing"),
    [
        ({}, ("cpu", "floating_ip", "ram", "storage")),
        ({"cpu": 1, "floating_ip": 0, "storage": 5}, ("ram",)),
        ({"cpu": 1, "floating_ip": 0, "ram": None, "storage": 0}, ("ram",)),
    ],
)
def test_a_new_tenant_without_a_limit_that_is_billed_is_refused(
    offers: Offers, limits: dict[str, Any], missing: tuple[str, ...]
) -> None:
    offers.sell_networks()
    placed = offers.world.waldur.consumer().place_order(offers.world.offering, "acme", {"cpu": 1})
    offers.world.waldur.order(placed.order).limits = limits
    said = refused(offers, placed, offers.world.document())
    assert sorted(re.findall(r"component (\w+): the order has no limit for it", said)) == list(missing)
