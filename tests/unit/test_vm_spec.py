"""What can be asked for in a virtual machine."""

import pytest

import opennebula_tenancy as ont
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
