"""`GroupQuota`: rows of quotas, read and written."""

import xml.etree.ElementTree as ET
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opennebula_tenancy import Change, Limit, Metric, Quota, SettingsError, StorageScope, Usage
from opennebula_tenancy._wire.records import QuotaRow
from opennebula_tenancy.group_quota import GroupQuota, QuotaScope


def row(section: str, own: int | None = None, clusters: str = "", **values: float | str) -> QuotaRow:
    return QuotaRow(section, own, clusters, {name: Decimal(str(value)) for name, value in values.items()})


VM = row("VM", CPU=4, CPU_USED="1.50", MEMORY=-1, MEMORY_USED=512, VMS=-2, VMS_USED=3, SYSTEM_DISK_SIZE_USED=2048)
IMAGES = StorageScope.IMAGES
DISKS = StorageScope.DISKS
BOTH = StorageScope.BOTH


def blocks(text: str) -> list[tuple[str, dict[str, str]]]:
    return [(block.tag, {item.tag: item.text or "" for item in block}) for block in ET.fromstring(text)]


def test_limits_are_read_with_the_default_where_there_is_no_row() -> None:
    quota = GroupQuota([VM], QuotaScope()).quota()
    assert quota == Quota(
        cpu=4,
        memory_mb=Limit.DEFAULT,
        vms=Limit.UNLIMITED,
        running_cpu=Limit.DEFAULT,
        running_memory_mb=Limit.DEFAULT,
        running_vms=Limit.DEFAULT,
        system_disk_mb=Limit.DEFAULT,
    )


@pytest.mark.parametrize(
    ("sizes", "widest"),
    [
        ([10, 20], Decimal(20)),
        ([10, -1], Limit.DEFAULT),
        ([10, -2], Limit.UNLIMITED),
        ([-1, -2], Limit.UNLIMITED),
        ([0, 0], Decimal(0)),
    ],
)
def test_where_datastores_differ_the_widest_limit_is_told(sizes: list[int], widest: Any) -> None:
    rows = [row("DATASTORE", number, SIZE=size) for number, size in enumerate(sizes)]
    assert GroupQuota(rows, QuotaScope(datastores=(0, 1))).quota().storage_mb == widest


def test_what_the_server_has_is_read_whatever_it_is() -> None:
    huge = Decimal(339999995214436424907732413799364296704)
    quota = GroupQuota([row("VM", CPU=huge, MEMORY="-0", VMS="0.50")], QuotaScope()).quota()
    assert (quota.cpu, quota.memory_mb, quota.vms) == (huge, 0, 0)
    assert str(quota.memory_mb) == "0"
    assert str(GroupQuota([row("VM", CPU="1.50", MEMORY="100")], QuotaScope()).quota()).startswith(
        "Quota(cpu=1.5, memory_mb=100,"
    )
    changed = quota | Quota(vms=3)
    assert (changed.cpu, changed.vms) == (huge, 3)
    assert str(huge) in GroupQuota([], QuotaScope()).template(quota)
    with pytest.raises(SettingsError):
        Quota(cpu=huge)


def test_a_limit_of_half_a_machine_that_somebody_else_wrote_is_read_as_what_it_allows() -> None:
    assert GroupQuota([row("VM", VMS="2.50", CPU="2.50")], QuotaScope()).quota() | Quota() == Quota(
        cpu="2.5",
        vms=2,
        memory_mb=Limit.DEFAULT,
        running_cpu=Limit.DEFAULT,
        running_memory_mb=Limit.DEFAULT,
        running_vms=Limit.DEFAULT,
        system_disk_mb=Limit.DEFAULT,
    )


@pytest.mark.parametrize(("scope", "storage"), [(IMAGES, Decimal(700)), (DISKS, Decimal(2048)), (BOTH, Decimal(2748))])
def test_storage_is_counted_as_the_scope_says(scope: StorageScope, storage: Decimal) -> None:
    rows = [VM, row("DATASTORE", 1, SIZE_USED=500, IMAGES_USED=2), row("DATASTORE", 7, SIZE_USED=200, IMAGES_USED=1)]
    assert GroupQuota(rows, QuotaScope(scope, datastores=(1,))).usage() == Usage(
        cpu="1.5", memory_mb=512, vms=3, storage_mb=storage, images=3, system_disk_mb=2048
    )


def test_floating_ips_are_counted_on_the_external_networks_only() -> None:
    rows = [row("NETWORK", own, LEASES_USED=2**own) for own in range(5)]
    assert GroupQuota(rows, QuotaScope(networks=(0, 3))).usage() == Usage(floating_ips=9)
    assert GroupQuota(rows, QuotaScope()).usage() == Usage()


def test_rows_of_single_clusters_are_left_alone() -> None:
    only = row("VM", clusters="0,100", CPU=1, CPU_USED=1)
    alone = GroupQuota([only], QuotaScope())
    assert alone.usage() == Usage()
    assert alone.quota().cpu is Limit.DEFAULT
    mixed = GroupQuota([VM, only], QuotaScope())
    assert mixed.quota().cpu == 4
    assert blocks(mixed.template(Quota(cpu=8)))[0][1]["CPU"] == "8"
    assert "CLUSTER_IDS" not in mixed.template(Quota(cpu=8))


@pytest.mark.parametrize(
    ("scope", "written"),
    [
        (IMAGES, [("DATASTORE", {"ID": "1", "SIZE": "10"}), ("DATASTORE", {"ID": "100", "SIZE": "10"})]),
        (DISKS, [("VM", {"SYSTEM_DISK_SIZE": "10"})]),
        (
            BOTH,
            [
                ("VM", {"SYSTEM_DISK_SIZE": "10"}),
                ("DATASTORE", {"ID": "1", "SIZE": "10"}),
                ("DATASTORE", {"ID": "100", "SIZE": "10"}),
            ],
        ),
    ],
)
def test_a_storage_limit_is_written_where_the_scope_says(scope: StorageScope, written: list[Any]) -> None:
    group = GroupQuota([], QuotaScope(scope, datastores=(1, 100)))
    assert blocks(group.template(Quota(storage_mb=10))) == written


def test_a_block_is_written_whole_so_that_nothing_in_it_is_reset() -> None:
    rows = [
        row("VM", CPU=4, CPU_USED="1.50", MEMORY="512.50", VMS=-2, VMS_USED=3, RUNNING_VMS=-1, PCI_DEV=2),
        row("DATASTORE", 1, SIZE=100, SIZE_USED=7, IMAGES=5),
        row("NETWORK", 3, LEASES=9),
    ]
    group = GroupQuota(rows, QuotaScope(datastores=(1,), networks=(0, 3)))
    assert blocks(group.template(Quota(cpu=0, storage_mb=Limit.UNLIMITED, floating_ips=9))) == [
        ("VM", {"CPU": "0", "MEMORY": "512.50", "VMS": "-2", "RUNNING_VMS": "-1", "PCI_DEV": "2"}),
        ("DATASTORE", {"ID": "1", "SIZE": "-2", "IMAGES": "5"}),
        ("NETWORK", {"ID": "0", "LEASES": "9"}),
    ]


def test_only_rows_that_differ_are_written() -> None:
    group = GroupQuota([VM, row("DATASTORE", 1, SIZE=10), row("DATASTORE", 2, SIZE=11)], QuotaScope(datastores=(1, 2)))
    wanted = Quota(cpu=4, memory_mb=Limit.DEFAULT, vms=Limit.UNLIMITED, storage_mb=10)
    assert blocks(group.template(wanted)) == [("DATASTORE", {"ID": "2", "SIZE": "10"})]
    assert group.changes(wanted) == (Change("set", "limit DATASTORE 2/SIZE", "11", "10"),)
    assert group.changes(Quota(cpu=4)) == ()
    assert blocks(group.template(Quota(cpu=4))) == []


def test_limits_go_along_to_new_places() -> None:
    rows = [row("DATASTORE", 1, SIZE=10, IMAGES=-1), row("NETWORK", 3, LEASES=2), VM]
    former = QuotaScope(datastores=(1,), networks=(3,))

    def completed(wanted: Quota, scope: QuotaScope) -> Quota:
        return GroupQuota(rows, scope, former).completed(wanted)

    wider = QuotaScope(datastores=(1, 2), networks=(3, 4))
    assert completed(Quota(), former) == Quota()
    assert completed(Quota(), QuotaScope()) == Quota()
    assert completed(Quota(cpu=1), wider) == Quota(cpu=1, storage_mb=10, floating_ips=2)
    assert completed(Quota(storage_mb=5, floating_ips=0), wider) == Quota(storage_mb=5, floating_ips=0)
    assert completed(Quota(), QuotaScope(DISKS, (1,), (3,))) == Quota(storage_mb=10)
    assert completed(Quota(system_disk_mb=7), QuotaScope(BOTH, (1, 2), (3,))) == Quota(system_disk_mb=7)


def test_changes_name_the_limits_that_are_no_numbers() -> None:
    group = GroupQuota([VM], QuotaScope(networks=(3,)))
    assert [str(change) for change in group.changes(Quota(cpu=Limit.UNLIMITED, memory_mb=0, floating_ips=2))] == [
        "set limit VM/CPU: 4 -> unlimited",
        "set limit VM/MEMORY: default -> 0",
        "set limit NETWORK 3/LEASES: default -> 2",
    ]


limits = st.one_of(st.none(), st.sampled_from(Limit), st.integers(0, 2**20), st.just("0.25"), st.just("1.10"))
whole = st.one_of(st.none(), st.sampled_from(Limit), st.integers(0, 2**20))
quotas = st.fixed_dictionaries({}, optional={metric.field: whole if metric.whole else limits for metric in Metric}).map(
    lambda fields: Quota(**fields)
)


def applied(rows: dict[tuple[str, int | None], QuotaRow], text: str) -> dict[tuple[str, int | None], QuotaRow]:
    """The rows as OpenNebula has them after one.group.quota: a block resets what it leaves out."""
    result = dict(rows)
    for section, block in blocks(text):
        own = int(block.pop("ID")) if "ID" in block else None
        used = {name: value for name, value in result.get((section, own), row("")).values.items() if "_USED" in name}
        result[section, own] = QuotaRow(section, own, "", {name: Decimal(v) for name, v in block.items()} | used)
    return result


@given(first=quotas, second=quotas, storage=st.sampled_from(StorageScope))
def test_what_is_written_is_what_is_read_and_nothing_else_changes(
    first: Quota, second: Quota, storage: StorageScope
) -> None:
    scope = QuotaScope(storage, datastores=(1, 100), networks=(0, 3))
    if storage is not IMAGES:
        # The two set the same limit there; a spec that names both is refused before.
        first, second = (
            Quota(**{m.field: v for m, v in q.named() if m is not Metric.SYSTEM_DISK}) for q in (first, second)
        )
    rows: dict[tuple[str, int | None], QuotaRow] = {("VM", None): row("VM", CPU_USED=1)}
    for wanted in (first, second):
        group = GroupQuota(rows.values(), scope)
        before = group.quota()
        rows = applied(rows, group.template(wanted))
        after = GroupQuota(rows.values(), scope)
        assert after.changes(wanted) == ()
        expected = before | wanted
        if storage is not IMAGES and wanted.storage_mb is not None:
            expected |= Quota(system_disk_mb=wanted.storage_mb)
        assert after.quota() == expected
        assert after.usage() == Usage(cpu=1)
        assert blocks(after.template(wanted)) == []
