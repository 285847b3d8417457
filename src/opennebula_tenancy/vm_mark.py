"""What is written on a virtual machine besides its key, and read from there."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from opennebula_tenancy import ownership


if TYPE_CHECKING:
    from collections.abc import Mapping

    from opennebula_tenancy._wire.vm_records import VmRecord


VM_ROLE = "vm"
PHASE = "TENANCY_PHASE"


class Phase(enum.StrEnum):
    """What this library is at with a machine, for the run that comes after one that was interrupted."""

    CREATING = "creating"
    """It was never handed out: nobody has anything on it, and it may be removed if it fails."""
    READY = "ready"
    """Nothing."""
    RESIZING = "resizing"
    """It ran, and is powered off to be resized: it is to run again."""
    OFF = "off"
    """Someone wanted it off while it was being resized: it stays off."""


def of_new(key: str) -> Mapping[str, str]:
    """What a machine is made with."""
    return {**ownership.mark(key, VM_ROLE), **of_phase(Phase.CREATING)}


def of_phase(phase: Phase, run: str = "") -> Mapping[str, str]:
    """What a machine gets when another phase begins.

    Args:
        phase: The phase.
        run: Names the run that begins it, where two may be at it.
    """
    return {PHASE: f"{phase.value} {run}".rstrip()}


def phase_of(vm: VmRecord) -> Phase:
    """The phase of a machine. One that says nothing, or nothing known, is ready: the phase that risks nothing."""
    text = _words(vm)[0]
    return Phase(text) if text in set(Phase) else Phase.READY


def is_resized_by(vm: VmRecord, run: str) -> bool:
    """Whether a run was the last one to begin a resizing of a machine, and nobody has ended that since."""
    return phase_of(vm) is Phase.RESIZING and _words(vm)[2] == run


def _words(vm: VmRecord) -> tuple[str, str, str]:
    return vm.user_template.get(PHASE, "").partition(" ")


def is_marked(vm: VmRecord) -> bool:
    """Whether a machine was made by this library."""
    return ownership.is_marked(vm.user_template, VM_ROLE)


def carries(vm: VmRecord, key: str) -> bool:
    """Whether a machine is the one with this key."""
    return ownership.carries(vm.user_template, key, VM_ROLE)
