"""Sizes of virtual machines: what can be asked for, and what it comes to."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import opennebula_tenancy as ont
from opennebula_tenancy._wire.vm_records import VmRecord
from opennebula_tenancy.vm_size import VmSize, VmUsage
from opennebula_tenancy.vm_target import Target
from unit.test_vm_records import INFO


VM = VmRecord.parse(INFO)


def test_the_share_of_cores_goes_with_the_cores_unless_it_is_named() -> None:
    assert VmSize(vcpu=4).share == 4
    assert VmSize(vcpu=4, cpu_per_vcpu="0.25").share == 1
    assert VmSize(vcpu=4, cpu="0.5").share == Decimal("0.5")
    assert VmSize(memory_mb=1).share is None


@pytest.mark.parametrize("value", [2, 2.0, "2", Decimal("2.0"), Fraction(4, 2)])
def test_numbers_may_be_of_any_kind(value: Any) -> None:
    assert VmSize(vcpu=value, memory_mb=value, disk_mb=value).vcpu == 2


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ont.SettingsError) as caught:
        VmSize(vcpu=0, memory_mb=1.5, disk_mb=2**31, cpu=-1, cpu_per_vcpu="x")
    paths = [problem.partition(":")[0] for problem in caught.value.problems]
    assert paths == ["size.vcpu", "size.memory_mb", "size.disk_mb", "size.cpu", "size.cpu_per_vcpu"]


@pytest.mark.parametrize("values", [{"cpu": "0.125"}, {"vcpu": 1, "cpu_per_vcpu": "0.333"}, {"vcpu": True}])
def test_what_opennebula_does_not_count_in_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ont.SettingsError):
        VmSize(**values)


@given(st.integers(1, 10**6), st.integers(1, 200))
def test_a_ratio_of_hundredths_is_exact(vcpu: int, hundredths: int) -> None:
    size = VmSize(vcpu=vcpu, cpu_per_vcpu=Decimal(hundredths) / 100)
    assert size.share is not None
    assert size.share * 100 == vcpu * hundredths


class TestTarget:
    def test_what_is_not_named_stays(self) -> None:
        target = Target.of(VM, VmSize())
        assert (target.vcpu, target.cpu, target.memory_mb, target.disk_id, target.disk_mb) == (
            1,
            Decimal("0.1"),
            64,
            0,
            4096,
        )
        assert target.is_met(VM)
        assert target.changes(VM) == ()

    def test_the_same_number_of_cores_keeps_their_share(self) -> None:
        assert Target.of(VM, VmSize(vcpu=1)).cpu == Decimal("0.1")
        assert Target.of(VM, VmSize(vcpu=2)).cpu == 2
        assert Target.of(VM, VmSize(vcpu=1, cpu=1)).cpu == 1

    def test_a_disk_grows_and_never_shrinks(self) -> None:
        target = Target.of(VM, VmSize(disk_mb=4097))
        assert not target.has_disk(VM)
        assert target.has_capacity(VM)
        assert [str(change) for change in target.changes(VM)] == ["grow disk 0 of VM 668 (web): 4096 MB -> 4097 MB"]
        with pytest.raises(ont.SettingsError, match="has 4096 MB, and cannot shrink to 4095 MB"):
            Target.of(VM, VmSize(disk_mb=4095))

    def test_the_disk_to_size_is_the_first_that_is_no_cd(self) -> None:
        vm = VmRecord.parse(INFO.replace("[FILE]", "[CDROM]"))
        assert Target.of(vm, VmSize(disk_mb=200)).disk_id == 1

    def test_a_machine_without_disks_has_none_to_size(self) -> None:
        bare = VmRecord.parse(INFO.replace("<DISK>", "<NONE>").replace("</DISK>", "</NONE>"))
        assert Target.of(bare, VmSize(vcpu=1)).is_met(bare)
        with pytest.raises(ont.SettingsError, match="has no disk"):
            Target.of(bare, VmSize(disk_mb=1))


def test_what_is_allocated_is_shown_as_a_table() -> None:
    assert "<td>disk_mb</td><td>4</td>" in VmUsage(vcpu=1, cpu=Decimal(2), memory_mb=3, disk_mb=4)._repr_html_()
