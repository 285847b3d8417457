"""`VmCreation`: makes the one virtual machine of a key, and hands it out when it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy.compensation import Compensations
from opennebula_tenancy.errors import (
    ApiError,
    EnteredFailureState,
    NotSent,
    ServerUnready,
    VerificationFailed,
    WaitTimeout,
)
from opennebula_tenancy.plan import Change, Plan, Step
from opennebula_tenancy.vm_blueprint import Draft
from opennebula_tenancy.vm_calls import VmCalls
from opennebula_tenancy.vm_mark import Phase, phase_of
from opennebula_tenancy.vm_removal import remove_vm
from opennebula_tenancy.vm_search import find_home, one_of, vms_of_key
from opennebula_tenancy.vm_target import Target, sized_disk
from opennebula_tenancy.vm_waiting import wait_until_running


if TYPE_CHECKING:
    from collections.abc import Iterable

    from opennebula_tenancy._transport.rpc import Reader, Rpc
    from opennebula_tenancy._wire.vm_records import VmRecord
    from opennebula_tenancy.plan import Progress
    from opennebula_tenancy.vm_blueprint import Blueprint
    from opennebula_tenancy.vm_spec import Allowed, VmSpec
    from opennebula_tenancy.vm_waiting import OnStatus


_NOT_MADE = (ApiError, NotSent, ServerUnready)
"""Errors after which a call has made nothing."""
_REMOVAL_S = 60.0
"""How long a machine that is given up may take until nothing is left of it, in seconds."""


@attrs.frozen
class VmState:
    """What there is of a machine that is asked for.

    Attributes:
        spec: What is asked for.
        vm: The machine that carries the key, if there is one.
        twins: Others that carry it too, and that no run has finished.
    """

    spec: VmSpec
    vm: VmRecord | None
    twins: tuple[VmRecord, ...]

    @property
    def is_finished(self) -> bool:
        """Whether it was made, and handed out."""
        return self.vm is not None and phase_of(self.vm) is not Phase.CREATING

    @property
    def is_hopeless(self) -> bool:
        """Whether it was never handed out, and will not run by itself."""
        vm = self.vm
        return vm is not None and not self.is_finished and not vm.status.is_running and self._rests(vm)

    @staticmethod
    def _rests(vm: VmRecord) -> bool:
        return vm.status.stays or vm.status.has_failed

    def plan(self) -> Plan:
        """What would be changed.

        Raises:
            SettingsError: A disk would shrink.
        """
        spec, vm = self.spec, self.vm
        changes = [Change("delete", f"VM {twin.id} ({twin.name})", str(twin.status)) for twin in self.twins]
        if vm is not None and self.is_hopeless:
            changes.append(Change("delete", f"VM {vm.id} ({vm.name})", str(vm.status)))
        if vm is None or self.is_hopeless:
            changes.append(Change("create", f"VM {spec.name}", "", f"of VM template {spec.template}"))
            return Plan(spec.name, tuple(changes))
        if not self.is_finished:
            changes.append(Change("start", f"VM {vm.id} ({vm.name})", str(vm.status), "RUNNING"))
            return Plan(spec.name, tuple(changes))
        if vm.name != spec.name:
            changes.append(Change("rename", f"VM {vm.id}", vm.name, spec.name))
        changes.extend(Target.of(vm, spec.size).changes(vm))
        if phase_of(vm) is Phase.RESIZING and not vm.status.is_running:
            changes.append(Change("start", f"VM {vm.id} ({vm.name})", str(vm.status), "RUNNING"))
        return Plan(spec.name, tuple(changes))


def observe_vm(reader: Reader, spec: VmSpec) -> VmState:
    """Read what there is of a machine.

    Raises:
        DuplicateObject: More than one finished machine carries the key.
    """
    found = vms_of_key(reader, spec.vdc, spec.key)
    vm = one_of(found, spec.key)
    return VmState(spec, vm, tuple(other for other in found if other is not vm))


class VmCreation:
    """The making of one machine.

    Args:
        rpc: Calls OpenNebula.
        spec: The machine asked for.
        allowed: What it may be made of.
        timeout_s: How many seconds it may take until it runs.
        keep_failed: Whether one that fails is kept for someone to look at.
        progress: Told of each step as it begins.
        on_status: Told of each state on the way.
    """

    def __init__(
        self,
        rpc: Rpc,
        spec: VmSpec,
        *,
        allowed: Allowed,
        timeout_s: float,
        keep_failed: bool,
        progress: Progress | None,
        on_status: OnStatus | None,
    ) -> None:
        self._rpc = rpc
        self._calls = VmCalls(rpc)
        self._spec = spec
        self._allowed = allowed
        self._timeout_s = timeout_s
        self._keep_failed = keep_failed
        self._progress = progress
        self._on_status = on_status
        self._made: int | None = None
        self._unsure = False
        self._kept = False

    def run(self, state: VmState) -> VmRecord:
        """Make the machine, from whatever an interrupted run has left of it.

        Args:
            state: What there is of it: nothing that was handed out.

        Returns:
            The machine as it runs.

        Raises:
            SettingsError: Something that it is to be made of is not there, or not permitted; nothing was changed.
            ApiError: OpenNebula refused to make it.
            EnteredFailureState: It failed, and is removed again, or kept where that was asked for.
            WaitTimeout: It does not run after that time; likewise.
        """
        self._tell(state.plan())
        home = find_home(self._rpc, self._spec.vdc)
        if state.vm is not None and not state.is_hopeless:
            self._remove_all(state.twins)
            return self._finish(state.vm.id, None)
        blueprint = Draft(self._rpc, self._spec, home, self._allowed).blueprint()
        self._remove_all(state.twins if state.vm is None else (*state.twins, state.vm))
        return self._create(blueprint)

    def _create(self, blueprint: Blueprint) -> VmRecord:
        with Compensations() as undo:
            try:
                self._made = self._calls.instantiate(self._spec, blueprint.text())
            except _NOT_MADE:
                # Another run for the same key may have taken the last that the tenant's limits allowed.
                if (twin := self._winner()) is None:
                    raise
                return self._finish(twin.id, blueprint)
            except BaseException:
                self._unsure = True
                undo.before(self._left, self._unmake)
                raise
            undo.before(self._left, self._unmake)
            winner = self._winner()
            if winner is None or winner.id == self._made:
                return self._finish(self._made, blueprint)
            self._remove(self._made)
            self._made = None
            return self._finish(winner.id, blueprint)

    def _winner(self) -> VmRecord | None:
        """The machine of the key: ids are given in order, so that all runs for it see the same one as the oldest."""
        return one_of(vms_of_key(self._rpc, self._spec.vdc, self._spec.key), self._spec.key)

    def _finish(self, vm_id: int, blueprint: Blueprint | None) -> VmRecord:
        """Wait until the machine runs, verify it, and mark it as finished: from then on it is never removed."""
        try:
            vm = wait_until_running(self._rpc, vm_id, timeout_s=self._timeout_s, on_status=self._on_status)
            self._verify(vm, blueprint)
        except (EnteredFailureState, WaitTimeout, VerificationFailed) as error:
            if self._keep_failed:
                self._kept = True
                raise type(error)(f"{error}; it is kept, until this key is used again") from error
            if self._made is None:
                self._remove(vm_id)
            raise type(error)(f"{error}; it is removed again") from error
        self._calls.set_phase(vm_id, Phase.READY)
        return vm

    def _verify(self, vm: VmRecord, blueprint: Blueprint | None) -> None:
        spec = self._spec
        what = f"VM {vm.id} ({vm.name})"
        wrong = []
        if vm.gid != spec.vdc:
            wrong.append(f"it is in group {vm.gid}, not {spec.vdc}")
        size, disk = spec.size, sized_disk(vm)
        held = {"vcpu": vm.vcpu, "share": vm.cpu, "memory_mb": vm.memory_mb, "disk_mb": disk.size_mb if disk else None}
        for name, value in held.items():
            if (wanted := getattr(size, name)) is not None and wanted != value:
                wrong.append(f"its {name} is {value}, not {wanted}")
        networks = {nic.network_id for nic in vm.nics}
        if blueprint is not None and (missing := [net for net in blueprint.networks if net not in networks]):
            wrong.append(f"it is not in network {', '.join(map(str, missing))}")
        if wrong:
            raise VerificationFailed(f"OpenNebula made {what}, but {'; '.join(wrong)}")

    def _left(self) -> str:
        return f"VM {self._spec.name}" if self._made is None else f"VM {self._made} ({self._spec.name})"

    def _unmake(self) -> bool:
        """Remove what this run made; False where it is finished after all, or kept."""
        if self._kept:
            return False
        found = vms_of_key(self._rpc, self._spec.vdc, self._spec.key)
        for vm in found:
            if (self._unsure or vm.id == self._made) and phase_of(vm) is Phase.CREATING:
                self._remove(vm.id)
        return not found

    def _remove_all(self, vms: Iterable[VmRecord]) -> None:
        for vm in vms:
            self._remove(vm.id)

    def _remove(self, vm_id: int) -> None:
        remove_vm(self._rpc, vm_id, self._spec.key, timeout_s=_REMOVAL_S)

    def _tell(self, plan: Plan) -> None:
        if self._progress is not None:
            for number, change in enumerate(plan, start=1):
                self._progress(Step(plan.name, change, number, len(plan)))
