"""What can be asked for in a virtual machine."""

from typing import Any

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.vm_size import VmSize
from opennebula_tenancy.vm_spec import Allowed, VmSpec
from unit.test_ssh_key import KEYS


def test_ids_of_0_are_ids() -> None:
    spec = VmSpec(name="web", vdc=0, template=0, network=0, networks=(0,), images=[0], clusters=iter([0]))
    assert (spec.images, spec.clusters) == ((0,), (0,))


def test_a_key_is_made_up_and_stays() -> None:
    first, second = (VmSpec(name="web", vdc=1, template=1) for _ in range(2))
    assert first.key != second.key
    assert len(first.key) == 32


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ont.SettingsError) as caught:
        VmSpec(
            name="a:b",
            key="",
            vdc=-1,
            template=True,
            network=2**31,
            networks=(1, 1),
            images=("x",),  # type: ignore[arg-type]
            clusters=(),
            sched_requirements=" x",
            ssh_keys=("nonsense", KEYS["rsa"]),
            context={"lower": "x", "SSH_PUBLIC_KEY": "x", "MOTD": "$NAME"},
        )
    paths = [problem.partition(":")[0] for problem in caught.value.problems]
    assert paths[2:] == [
        "vdc",
        "template",
        "network",
        "networks",
        "images",
        "clusters",
        "sched_requirements",
        "ssh_keys[0]",
        "context",
        "context.SSH_PUBLIC_KEY",
        "context.MOTD",
    ]
    assert caught.value.problems[0].startswith("the virtual machine name 'a:b'")


def test_keys_stand_one_a_line_and_each_once() -> None:
    spec = VmSpec(name="web", vdc=1, template=1, ssh_keys=(KEYS["rsa"], KEYS["ed25519"] + " a", KEYS["rsa"] + "\n"))
    assert spec.keys_text == f"{KEYS['rsa']}\n{KEYS['ed25519']} a"
    assert VmSpec(name="web", vdc=1, template=1, ssh_keys=KEYS["rsa"]).ssh_keys == (KEYS["rsa"],)
    assert VmSpec(name="web", vdc=1, template=1).keys_text == ""


def test_what_a_machine_is_told_is_not_shown() -> None:
    assert "hush" not in repr(VmSpec(name="web", vdc=1, template=1, context={"PASSWORD": "hush"}))


def test_lists_of_what_is_allowed_may_be_anything_that_has_ids() -> None:
    assert Allowed(templates=[1, 1], images=()).templates == {1}
    assert Allowed(images=()).images == frozenset()
    assert Allowed().networks is None


def test_values_of_other_types_are_problems_and_all_are_named() -> None:
    wrong: dict[str, Any] = {
        "name": 5,
        "key": None,
        "vdc": "0",
        "template": 2**31,
        "network": "x",
        "networks": 5,
        "images": [[]],
        "clusters": 7,
        "sched_requirements": 5,
        "size": {"vcpu": 1},
        "keep_template_nics": "yes",
        "ssh_keys": (None, b"ssh-rsa", KEYS["rsa"]),
        "context": {"A": 1, 2: "b"},
    }
    with pytest.raises(ont.SettingsError) as caught:
        VmSpec(**wrong)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        *(name for name in wrong if name not in {"ssh_keys", "context"}),
        "ssh_keys[0]",
        "ssh_keys[1]",
        "context.A",
        "context",
    ]


@pytest.mark.parametrize("wrong", [{"ssh_keys": None}, {"ssh_keys": 5}, {"context": None}, {"context": "A=1"}])
def test_what_is_no_list_or_mapping_is_a_problem(wrong: dict[str, Any]) -> None:
    with pytest.raises(ont.SettingsError, match=next(iter(wrong))):
        VmSpec(name="web", vdc=1, template=1, **wrong)


@pytest.mark.parametrize("wrong", [{"vcpu": []}, {"memory_mb": object()}, {"cpu_per_vcpu": None}, {"cpu": b"1"}])
def test_a_size_that_is_no_number_is_a_problem(wrong: dict[str, Any]) -> None:
    with pytest.raises(ont.SettingsError, match=f"size.{next(iter(wrong))}"):
        VmSize(**wrong)
