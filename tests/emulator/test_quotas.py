"""Arithmetic of limits and usage, without a server."""

import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opennebula_tenancy.emulator.quotas import (
    VM_METRICS,
    Charge,
    QuotaError,
    Quotas,
    StorageCharge,
    float_text,
    parse_float,
    parse_int,
)


DEFAULTS = Quotas(default=True)
"""Default quotas that nobody set. Tests that set some make their own."""


def plain(quotas: Quotas) -> str:
    """The XML without its CDATA marks: numbers need none."""
    return re.sub(r"<!\[CDATA\[(.*?)\]\]>", r"\1", quotas.to_xml())


def values(quotas: Quotas, section: str = "VM") -> dict[str, str]:
    """Elements of the only row of a section, as its XML has them. No row: none."""
    body = re.search(rf"<{section}_QUOTA>(.*)</{section}_QUOTA>", plain(quotas))
    assert body is not None
    assert body[1].count(f"<{section}>") <= 1
    return dict(re.findall(r"<(\w+)>([^<]*)</\1>", body[1].removeprefix(f"<{section}>")))


def limited(**limits: str) -> Quotas:
    quotas = Quotas()
    quotas.set({"VM": [limits]})
    return quotas


def test_nothing_set_is_four_empty_elements_in_order() -> None:
    assert Quotas().to_xml() == (
        "<DATASTORE_QUOTA></DATASTORE_QUOTA><NETWORK_QUOTA></NETWORK_QUOTA>"
        "<VM_QUOTA></VM_QUOTA><IMAGE_QUOTA></IMAGE_QUOTA>"
    )


def test_a_row_names_every_metric_and_its_use_sorted_by_name() -> None:
    xml = plain(limited(CPU="4"))
    names = re.findall(r"<(\w+)>[^<]*</\1>", xml.partition("<VM>")[2])
    assert names[: 2 * len(VM_METRICS)] == sorted(names[: 2 * len(VM_METRICS)])
    assert set(names) >= {*VM_METRICS, *(f"{metric}_USED" for metric in VM_METRICS)}
    assert values(limited(CPU="4"))["MEMORY"] == "-1"


def test_setting_a_section_again_unsets_what_it_leaves_out() -> None:
    quotas = limited(CPU="4", MEMORY="1024")
    quotas.set({"VM": [{"VMS": "5"}]})
    assert (values(quotas)["VMS"], values(quotas)["CPU"], values(quotas)["MEMORY"]) == ("5", "-1", "-1")


def test_sections_and_ids_that_are_not_named_stay() -> None:
    quotas = limited(CPU="4")
    quotas.set({"DATASTORE": [{"ID": "1", "SIZE": "10"}], "NETWORK": [{"ID": "7", "LEASES": "2"}]})
    quotas.set({"DATASTORE": [{"ID": "2", "SIZE": "20"}], "NOTHING": [{"ID": "2"}]})
    assert values(quotas)["CPU"] == "4"
    assert values(quotas, "NETWORK")["LEASES"] == "2"
    assert "<ID>1</ID><IMAGES>-1</IMAGES><IMAGES_USED>0</IMAGES_USED><SIZE>10</SIZE>" in plain(quotas)
    assert "<ID>2</ID><IMAGES>-1</IMAGES><IMAGES_USED>0</IMAGES_USED><SIZE>20</SIZE>" in plain(quotas)


def test_the_last_of_two_vm_blocks_wins() -> None:
    quotas = Quotas()
    quotas.set({"VM": [{"CPU": "4"}, {"VMS": "2"}]})
    assert (values(quotas)["CPU"], values(quotas)["VMS"]) == ("-1", "2")


def test_a_row_without_limits_and_use_disappears() -> None:
    quotas = limited(CPU="4")
    quotas.set({"VM": [{"CPU": "-1"}]})
    assert values(quotas) == {}


def test_use_given_by_the_caller_is_ignored() -> None:
    assert values(limited(CPU="4", CPU_USED="3"))["CPU_USED"] == "0"


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("2.5", "2.50"),
        ("512.50", "512.50"),
        ("1e3", "1000"),
        ("0.001", "0.00"),
        (" 7", "7"),
        ("16777217", "16777216"),
        ("-2", "-2"),
        ("5x", "-1"),
        ("", "-1"),
        ("abc", "-1"),
        ("5 ", "-1"),
        ("0x10", "-1"),
        ("inf", "-1"),
        ("1e39", "-1"),
        ("5e", "-1"),
    ],
)
def test_limits_are_read_as_a_stream_reads_a_float(text: str, stored: str) -> None:
    assert values(limited(VMS="1", CPU=text))["CPU"] == stored


@pytest.mark.parametrize("text", ["-5", "-1.5", "-0.1", "-3"])
def test_a_negative_limit_is_refused_and_changes_nothing(text: str) -> None:
    quotas = limited(CPU="4")
    before = quotas.to_xml()
    with pytest.raises(QuotaError) as refused:
        quotas.set({"DATASTORE": [{"ID": "1", "SIZE": "5"}], "VM": [{"GID": "100", "CPU": text}]})
    assert str(refused.value) == f"Negative limits or bad format in quota VM = [ CPU={text},GID=100 ]"
    assert quotas.to_xml() == before


@pytest.mark.parametrize("row_id", ["", "abc", "1x", "1.5", "99999999999"])
def test_an_id_that_is_no_integer_is_refused(row_id: str) -> None:
    with pytest.raises(QuotaError, match="Negative limits or bad format in quota DATASTORE"):
        Quotas().set({"DATASTORE": [{"ID": row_id, "SIZE": "5"}]})


@pytest.mark.parametrize("row_id", ["-1", "4242", "007"])
def test_any_integer_is_an_id_of_its_own(row_id: str) -> None:
    quotas = Quotas()
    quotas.set({"DATASTORE": [{"ID": row_id, "SIZE": "5"}]})
    quotas.check(Charge(storage=(StorageCharge(datastore_id="1", size_mb=100),)), DEFAULTS)
    assert f"<ID>{row_id}</ID>" in plain(quotas)
    assert "<ID>1</ID><IMAGES>-1</IMAGES><IMAGES_USED>1</IMAGES_USED><SIZE>-1</SIZE><SIZE_USED>100<" in plain(quotas)


def test_defaults_refuse_minus_one_and_unset_with_minus_two() -> None:
    defaults = Quotas(default=True)
    with pytest.raises(QuotaError):
        defaults.set({"VM": [{"CPU": "-1"}]})
    defaults.set({"VM": [{"CPU": "4"}]})
    assert values(defaults)["MEMORY"] == "-2"
    defaults.set({"VM": [{"CPU": "-2"}]})
    assert values(defaults) == {}


def test_default_limits_hold_where_none_is_set() -> None:
    defaults = Quotas(default=True)
    defaults.set({"VM": [{"CPU": "2"}]})
    quotas = limited(VMS="9")
    with pytest.raises(QuotaError, match=r"^limit of 2 reached for CPU quota in VM$"):
        quotas.check(Charge(vm={"CPU": 3}), defaults)
    unlimited = limited(CPU="-2")
    unlimited.check(Charge(vm={"CPU": 3}), defaults)
    assert values(unlimited)["CPU_USED"] == "3"


def test_exactly_the_limit_is_allowed_and_one_more_is_not() -> None:
    quotas = limited(CPU="4")
    quotas.check(Charge(vm={"CPU": 4}), DEFAULTS)
    with pytest.raises(QuotaError, match=r"^limit of 4 reached for CPU quota in VM$"):
        quotas.check(Charge(vm={"CPU": 0.01}), DEFAULTS)


def test_the_first_metric_exceeded_is_named() -> None:
    quotas = limited(CPU="0", MEMORY="0", VMS="0", RUNNING_VMS="0")
    everything = {metric: 1.0 for metric in VM_METRICS}  # noqa: C420 - one amount each
    with pytest.raises(QuotaError, match="limit of 0 reached for VMS quota in VM"):
        quotas.check(Charge(vm=everything), DEFAULTS)


def test_over_the_limit_even_less_is_refused() -> None:
    quotas = limited(CPU="8")
    quotas.check(Charge(vm={"CPU": 8}), DEFAULTS)
    quotas.set({"VM": [{"CPU": "4"}]})
    with pytest.raises(QuotaError, match="limit of 4 reached"):
        quotas.check(Charge(vm={"CPU": -1}), DEFAULTS)
    quotas.check(Charge(vm={"MEMORY": 1}), DEFAULTS)


@pytest.mark.parametrize(("limit", "shown"), [("2.5", "2.5"), ("1048576", "1.04858e+06"), ("100000", "100000")])
def test_a_limit_is_shown_with_six_digits(limit: str, shown: str) -> None:
    with pytest.raises(QuotaError, match=re.escape(f"limit of {shown} reached")):
        limited(CPU=limit).check(Charge(vm={"CPU": 10_000_000}), DEFAULTS)


def test_leases_are_named_with_their_network() -> None:
    quotas = Quotas()
    quotas.set({"NETWORK": [{"ID": "0", "LEASES": "1"}]})
    with pytest.raises(QuotaError, match=r"^limit of 1 reached for LEASES quota in NETWORK with ID: 0$"):
        quotas.check(Charge(leases=("0", "0")), DEFAULTS)
    assert values(quotas, "NETWORK")["LEASES_USED"] == "0"


def test_a_refused_charge_counts_nothing_anywhere() -> None:
    quotas = Quotas()
    quotas.set({"IMAGE": [{"ID": "3", "RVMS": "0"}]})
    before = quotas.to_xml()
    with pytest.raises(QuotaError, match="limit of 0 reached for RVMS quota in IMAGE with ID: 3"):
        quotas.check(Charge(leases=("1",), vm={"CPU": 1}, images=("2", "3")), DEFAULTS)
    assert quotas.to_xml() == before


def test_a_row_of_clusters_counts_the_vms_in_them_from_the_start() -> None:
    quotas = Quotas()
    running = Charge(vm={"CPU": 2, "VMS": 1}, cluster_id=100)
    quotas.check(attrs_without_cluster(running), DEFAULTS)
    block = {"CLUSTER_IDS": "100, 0,100", "CPU": "4"}
    quotas.set({"VM": [block]}, clusters={0, 100}, in_clusters=lambda _ids: [running])
    assert "<CLUSTER_IDS>0,100</CLUSTER_IDS><CPU>4</CPU><CPU_USED>2</CPU_USED><MEMORY>-2</MEMORY>" in plain(quotas)
    with pytest.raises(QuotaError, match="limit of 4 reached for CPU quota in VM"):
        quotas.check(Charge(vm={"CPU": 3}, cluster_id=100), DEFAULTS)
    quotas.check(Charge(vm={"CPU": 3}, cluster_id=7), DEFAULTS)
    quotas.remove(running)
    assert "<CPU>4</CPU><CPU_USED>0</CPU_USED>" in plain(quotas)
    assert "<CPU>-1</CPU><CPU_USED>3</CPU_USED>" in plain(quotas)


def attrs_without_cluster(charge: Charge) -> Charge:
    return Charge(vm=charge.vm)


def test_clusters_must_exist_and_be_in_one_row_only() -> None:
    quotas = Quotas()
    with pytest.raises(QuotaError, match=r"^Cluster 9 does not exist$"):
        quotas.set({"VM": [{"CLUSTER_IDS": "9", "CPU": "1"}]}, clusters={0})
    quotas.set({"VM": [{"CLUSTER_IDS": "0,100", "CPU": "1"}]}, clusters={0, 100})
    with pytest.raises(QuotaError, match=r"^Quota for cluster id 100 already exists$"):
        quotas.set({"VM": [{"CLUSTER_IDS": "100", "CPU": "1"}]}, clusters={0, 100})


def test_counters_drift_as_floats_of_32_bits_do() -> None:
    quotas = Quotas()
    quotas.check(Charge(vm={"MEMORY": 16_777_216}), DEFAULTS)
    quotas.check(Charge(vm={"MEMORY": 1}), DEFAULTS)
    assert values(quotas)["MEMORY_USED"] == "16777216"


amounts = st.dictionaries(st.sampled_from(VM_METRICS), st.integers(0, 400).map(lambda cents: cents / 4), min_size=1)
charges = st.builds(
    Charge,
    vm=amounts,
    leases=st.lists(st.sampled_from(("0", "1")), max_size=3).map(tuple),
    images=st.lists(st.sampled_from(("5", "6")), max_size=2).map(tuple),
    storage=st.lists(
        st.builds(StorageCharge, datastore_id=st.just("1"), size_mb=st.integers(0, 10_000)), max_size=2
    ).map(tuple),
)


@given(st.lists(charges, max_size=6), st.randoms())
def test_what_is_counted_in_and_out_again_leaves_no_row(taken: list[Charge], order) -> None:
    quotas = Quotas()
    for charge in taken:
        quotas.check(charge, DEFAULTS)
    order.shuffle(taken)
    for charge in taken:
        quotas.remove(charge)
    assert quotas.to_xml() == Quotas().to_xml()


@given(st.lists(charges, max_size=6), amounts)
def test_use_never_exceeds_a_limit_and_a_refusal_counts_nothing(taken: list[Charge], limits: dict[str, float]) -> None:
    quotas = Quotas()
    quotas.set({"VM": [{metric: str(limit) for metric, limit in limits.items()}]})
    for charge in taken:
        before = quotas.to_xml()
        try:
            quotas.check(charge, DEFAULTS)
        except QuotaError:
            assert quotas.to_xml() == before
        row = values(quotas)
        for metric, limit in limits.items():
            assert float(row[f"{metric}_USED"]) <= limit


@given(st.floats(0, 2.0**100, width=32))
def test_a_limit_is_stored_to_the_cent(number: float) -> None:
    stored = values(limited(VMS="1", CPU=repr(number)))["CPU"]
    assert stored == float_text(number)
    assert float(stored) == pytest.approx(number, rel=1e-7, abs=0.005)


@given(st.text(max_size=8))
def test_what_is_read_as_a_number_is_one(text: str) -> None:
    number = parse_float(text)
    assert number is None or struct.unpack("<f", struct.pack("<f", number))[0] == number
    whole = parse_int(text)
    assert whole is None or whole == int(text)
