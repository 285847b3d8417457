"""OpenNebula's XML, as values."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opennebula_tenancy import ProtocolViolation
from opennebula_tenancy._wire.acl import AclRule
from opennebula_tenancy._wire.records import (
    ClusterRecord,
    DatastoreRecord,
    GroupRecord,
    OwnedRecord,
    QuotaRow,
    VdcRecord,
)


GROUP = (
    "<GROUP><ID>100</ID><NAME>acme</NAME><TEMPLATE><A><![CDATA[1 < 2]]></A><V><B>2</B></V><A>last</A><E></E></TEMPLATE>"
    "<USERS><ID>2</ID><ID>3</ID></USERS><ADMINS><ID>3</ID></ADMINS>"
    "<DATASTORE_QUOTA><DATASTORE><ID>1</ID><IMAGES>-1</IMAGES><IMAGES_USED>2</IMAGES_USED><SIZE>512.50</SIZE>"
    "<SIZE_USED>0</SIZE_USED></DATASTORE></DATASTORE_QUOTA>"
    "<NETWORK_QUOTA><NETWORK><ID>0</ID><LEASES>3</LEASES><LEASES_USED>1</LEASES_USED></NETWORK></NETWORK_QUOTA>"
    "<VM_QUOTA><VM><CPU>2.50</CPU><CPU_USED>1</CPU_USED></VM>"
    "<VM><CLUSTER_IDS>0,100</CLUSTER_IDS><CPU>1</CPU></VM></VM_QUOTA>"
    "<IMAGE_QUOTA></IMAGE_QUOTA><UNHEARD_OF/></GROUP>"
)


def test_a_group_is_read_with_its_quotas() -> None:
    assert GroupRecord.parse(GROUP) == GroupRecord(
        id=100,
        name="acme",
        users=frozenset({2, 3}),
        admins=frozenset({3}),
        template={"A": "last", "E": ""},
        quotas=(
            QuotaRow(
                "DATASTORE",
                1,
                "",
                {
                    "IMAGES": Decimal(-1),
                    "IMAGES_USED": Decimal(2),
                    "SIZE": Decimal("512.5"),
                    "SIZE_USED": Decimal(0),
                },
            ),
            QuotaRow("NETWORK", 0, "", {"LEASES": Decimal(3), "LEASES_USED": Decimal(1)}),
            QuotaRow("VM", None, "", {"CPU": Decimal("2.5"), "CPU_USED": Decimal(1)}),
            QuotaRow("VM", None, "0,100", {"CPU": Decimal(1)}),
        ),
    )


def test_in_a_pool_the_quotas_stand_beside_the_groups() -> None:
    groups = GroupRecord.pool(
        "<GROUP_POOL><GROUP><ID>0</ID><NAME>oneadmin</NAME><TEMPLATE/></GROUP>"
        "<GROUP><ID>100</ID><NAME>acme</NAME></GROUP>"
        "<QUOTAS><ID>100</ID><VM_QUOTA><VM><VMS>4</VMS></VM></VM_QUOTA></QUOTAS>"
        "<QUOTAS><ID>0</ID></QUOTAS><DEFAULT_GROUP_QUOTAS/></GROUP_POOL>"
    )
    assert [(group.id, group.template) for group in groups] == [(0, {}), (100, {})]
    assert groups[0].quotas == ()
    assert groups[1].quotas == (QuotaRow("VM", None, "", {"VMS": Decimal(4)}),)


def test_vdcs_are_read_with_the_clusters_and_networks_of_every_zone() -> None:
    text = (
        "<VDC><ID>101</ID><NAME>acme</NAME><GROUPS><ID>100</ID></GROUPS><CLUSTERS>"
        "<CLUSTER><ZONE_ID>0</ZONE_ID><CLUSTER_ID>-10</CLUSTER_ID></CLUSTER>"
        "<CLUSTER><ZONE_ID>3</ZONE_ID><CLUSTER_ID>100</CLUSTER_ID></CLUSTER></CLUSTERS><HOSTS/><DATASTORES/>"
        "<VNETS><VNET><ZONE_ID>0</ZONE_ID><VNET_ID>7</VNET_ID></VNET></VNETS>"
        "<TEMPLATE><TENANCY_KEY><![CDATA[k]]></TENANCY_KEY></TEMPLATE></VDC>"
    )
    expected = VdcRecord(
        101, "acme", frozenset({100}), frozenset({(0, -10), (3, 100)}), frozenset({(0, 7)}), {"TENANCY_KEY": "k"}
    )
    assert VdcRecord.parse(text) == expected
    assert VdcRecord.pool(f"<VDC_POOL>{text}{text}</VDC_POOL>") == (expected, expected)


def test_clusters_and_datastores_are_read() -> None:
    assert ClusterRecord.pool(
        "<CLUSTER_POOL><CLUSTER><ID>0</ID><NAME>default</NAME><DATASTORES><ID>0</ID><ID>1</ID></DATASTORES></CLUSTER>"
        "</CLUSTER_POOL>"
    ) == (ClusterRecord(0, "default", frozenset({0, 1})),)
    assert DatastoreRecord.pool(
        "<DATASTORE_POOL><DATASTORE><ID>0</ID><NAME>system</NAME><TYPE>1</TYPE><CLUSTERS><ID>0</ID></CLUSTERS>"
        "</DATASTORE><DATASTORE><ID>1</ID><NAME>default</NAME><TYPE>0</TYPE></DATASTORE></DATASTORE_POOL>"
    ) == (DatastoreRecord(0, "system", False, frozenset({0})), DatastoreRecord(1, "default", True, frozenset()))


def test_objects_of_any_kind_are_read_with_their_groups() -> None:
    text = "<VNET_POOL><VNET><ID>4</ID><NAME>lan</NAME><GID>100</GID></VNET></VNET_POOL>"
    assert OwnedRecord.pool(text, "VNET") == (OwnedRecord(4, "lan", 100),)
    assert OwnedRecord.pool("<VM_POOL></VM_POOL>", "VM") == ()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "answered NoneType where XML with the root GROUP was due"),
        (7, "answered int"),
        (["<GROUP/>"], "answered list"),
        ("", "XML that cannot be read"),
        ("Gateway timeout", "XML that cannot be read"),
        ("<GROUP>", "XML that cannot be read"),
        ("<GROUP>\x01</GROUP>", "XML that cannot be read"),
        ("<GROUP/><GROUP/>", "XML that cannot be read"),
        ("<VDC><ID>1</ID></VDC>", "the root element VDC, GROUP was due"),
        ("<GROUP/>", "<GROUP> has ID '', a number was due"),
        ("<GROUP><ID>x</ID></GROUP>", "<GROUP> has ID 'x', a number was due"),
        ("<GROUP><ID>1</ID><USERS><ID/></USERS></GROUP>", "<ID> has . '', a number was due"),
        ("<GROUP><ID>1</ID><ADMINS><ID>1.5</ID></ADMINS></GROUP>", "<ID> has . '1.5', a number was due"),
        ("<GROUP><ID>1</ID><VM_QUOTA><VM><CPU>much</CPU></VM></VM_QUOTA></GROUP>", "<CPU> is 'much', a number was due"),
        ("<GROUP><ID>1</ID><VM_QUOTA><VM><CPU>NaN</CPU></VM></VM_QUOTA></GROUP>", "<CPU> is 'NaN', a number was due"),
        (
            "<GROUP><ID>1</ID><NETWORK_QUOTA><NETWORK><ID>x</ID></NETWORK></NETWORK_QUOTA></GROUP>",
            "<NETWORK> has ID 'x', a number was due",
        ),
    ],
)
def test_an_answer_that_is_not_opennebulas_is_a_protocol_violation(answer: object, said: str) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        GroupRecord.parse(answer)
    assert said in str(caught.value)


READERS: list[Any] = [
    (GroupRecord.parse, "GROUP"),
    (GroupRecord.pool, "GROUP_POOL"),
    (VdcRecord.parse, "VDC"),
    (VdcRecord.pool, "VDC_POOL"),
    (ClusterRecord.pool, "CLUSTER_POOL"),
    (DatastoreRecord.pool, "DATASTORE_POOL"),
    (lambda text: OwnedRecord.pool(text, "VM"), "VM_POOL"),
    (AclRule.list_of, "ACL_POOL"),
]
TAGS = [
    "ID",
    "NAME",
    "GID",
    "TYPE",
    "USERS",
    "ADMINS",
    "GROUP",
    "VDC",
    "CLUSTER",
    "CLUSTERS",
    "CLUSTER_ID",
    "ZONE_ID",
    "DATASTORE",
    "DATASTORES",
    "TEMPLATE",
    "QUOTAS",
    "VM",
    "VM_QUOTA",
    "CPU",
    "ACL",
    "USER",
    "RESOURCE",
    "RIGHTS",
    "ZONE",
]
trees = st.recursive(
    st.one_of(
        st.sampled_from(["", "0", "100", "-1", "x", "1.5", "nan", "200000064", "é", " 7 "]),
        st.sampled_from(TAGS).map(lambda tag: f"<{tag}/>"),
    ),
    lambda inner: st.builds(
        lambda tag, parts: f"<{tag}>{''.join(parts)}</{tag}>", st.sampled_from(TAGS), st.lists(inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(("read", "root"), READERS)
@given(inner=st.lists(trees, max_size=4).map("".join))
def test_no_xml_brings_anything_but_a_value_or_a_protocol_violation(read: Any, root: str, inner: str) -> None:
    try:
        value = read(f"<{root}>{inner}</{root}>")
    except ProtocolViolation:
        return
    assert value is not None
