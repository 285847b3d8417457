"""`Vms`: the virtual machines of a cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opennebula_tenancy import ownership
from opennebula_tenancy.errors import EnteredFailureState
from opennebula_tenancy.floating_ip import FloatingIp, FloatingIps
from opennebula_tenancy.turns import Turns
from opennebula_tenancy.vm import Vm
from opennebula_tenancy.vm_calls import VmCalls
from opennebula_tenancy.vm_creation import VmCreation, await_vm, draft_vm, observe_vm
from opennebula_tenancy.vm_figures import VmFigures
from opennebula_tenancy.vm_mark import Phase, phase_of
from opennebula_tenancy.vm_power import VmPower
from opennebula_tenancy.vm_removal import remove_vm
from opennebula_tenancy.vm_resize import POWEROFF_S, VmResize
from opennebula_tenancy.vm_search import find_home, of_administrators, read_own, read_vms
from opennebula_tenancy.vm_size import VmUsage
from opennebula_tenancy.vm_spec import PROVIDERS
from opennebula_tenancy.vm_target import sized_disk


if TYPE_CHECKING:
    from opennebula_tenancy._transport.rpc import Rpc
    from opennebula_tenancy._wire.vm_records import VmRecord
    from opennebula_tenancy.plan import Plan, Progress
    from opennebula_tenancy.vm_size import VmSize
    from opennebula_tenancy.vm_spec import Allowed, VmSpec
    from opennebula_tenancy.vm_waiting import OnStatus


_RUNNING_S = 300.0
"""How many seconds a machine may take until it runs, unless the caller says otherwise."""


class Vms:
    """The virtual machines that this library made, as `Cloud.vms`. Thread safe: each is worked on by one at a time."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._calls = VmCalls(rpc)
        self._power = VmPower(rpc)
        self._floating_ips = FloatingIps(rpc)
        self._turns = Turns()

    def plan(self, spec: VmSpec, *, allowed: Allowed = PROVIDERS) -> Plan:
        """Say what `ensure` would change. Reads only.

        Args:
            spec: The machine asked for.
            allowed: What it may be made of.

        Returns:
            The changes; falsy when there are none. Its notes say what of a machine that was handed out is not as asked
            for, and holds from its creation on.

        Raises:
            SettingsError: Something that it is to be made of is not there, or not permitted; or a disk would shrink.
            QuotaExceeded: The tenant's limits on machines, cores and memory leave no room for a new one.
            DuplicateObject: More than one finished machine carries the key.
            Conflict: The machine with the key belongs to somebody of the tenant.
        """
        state = observe_vm(self._rpc, spec)
        if state.resumed is not None:
            find_home(self._rpc, spec.vdc)
        elif not state.is_finished:
            draft_vm(self._rpc, state, allowed)
        return state.plan()

    def ensure(
        self,
        spec: VmSpec,
        *,
        allowed: Allowed = PROVIDERS,
        timeout_s: float = _RUNNING_S,
        keep_failed: bool = False,
        progress: Progress | None = None,
        on_status: OnStatus | None = None,
    ) -> Vm:
        """Make a virtual machine, and wait until it runs; or bring the one that has the key to its size.

        There is one machine for a key, whatever is retried. One that runs as asked already is not touched: a second
        run changes nothing. A run that was interrupted is taken up where it stopped; what it made is replaced where
        something else is asked for by now. A machine that was handed out once is never removed, whatever becomes of it,
        and one that is powered off stays off.

        Args:
            spec: The machine asked for; `VmSpec.key` says which one it is.
            allowed: What it may be made of, besides what is the tenant's own.
            timeout_s: How many seconds it may take until it runs.
            keep_failed: Whether a new machine that fails is kept for someone to look at. The next run for the same key
                removes it.
            progress: Told of each step as it begins.
            on_status: Told of each state of a new machine on its way.

        Returns:
            The machine.

        Raises:
            SettingsError: Something that it is to be made of is not there, is not permitted or does not fit, all
                problems at once; or a disk would shrink. Nothing was changed.
            QuotaExceeded: The tenant's limits leave no room for it; nothing is left behind. Those on machines, cores
                and memory are looked up before, those on disks and addresses are OpenNebula's to say.
            ApiError: OpenNebula refused a call; likewise.
            EnteredFailureState: It failed: the message has OpenNebula's reason. It is removed again if it was new.
            WaitTimeout: It does not run after that time, and why no host takes it; likewise.
            VerificationFailed: It runs, and is not what was asked for; likewise.
            WentAway: Somebody terminated it while it was made; the next run makes it anew.
            DuplicateObject: More than one finished machine carries the key.
            Conflict: The machine with the key belongs to somebody of the tenant, who took it over or wrote the key on
                it; or another run has just finished it otherwise. It was not touched.
            RollbackIncomplete: One of these, and something is left behind: it says what.
        """
        with self._turns.take(spec.key):
            state = await_vm(self._rpc, spec, timeout_s=timeout_s)
            vm = state.vm
            if vm is None or not state.is_finished:
                creation = VmCreation(
                    self._rpc,
                    spec,
                    allowed=allowed,
                    timeout_s=timeout_s,
                    keep_failed=keep_failed,
                    progress=progress,
                    on_status=on_status,
                )
                return self._vm(creation.run(state))
            if vm.status.has_failed:
                raise EnteredFailureState(
                    f"VM {vm.id} ({vm.name}) is in the state {vm.status}: {vm.reason or 'it says no more'}; it was "
                    "handed out before, and stays"
                )
            # It checks everything before it changes anything: whatever else is to be changed waits for that.
            resized = VmResize(
                self._rpc,
                vm.id,
                spec.key,
                spec.size,
                timeout_s=timeout_s,
                progress=progress,
            ).run(vm)
            if vm.name != spec.name:
                self._calls.rename(vm.id, spec.name)
            for twin, _ in state.leftovers:
                remove_vm(self._rpc, twin.id, spec.key, timeout_s=timeout_s, unfinished=True)
            return Vm(resized.id, spec.name, spec.key, resized.gid, self)

    def get(self, vm_id: int) -> Vm:
        """Get a machine by its id.

        Raises:
            WentAway: There is none, or it was terminated.
            Conflict: It was not made by this library.
        """
        return self._vm(read_own(self._rpc, vm_id))

    def find(self, name: str, *, vdc: int | None = None) -> Vm | None:
        """Find a machine by its name, the oldest where there are more; None when there is none.

        Args:
            name: The name.
            vdc: The id of its tenant; any when None.
        """
        return next((vm for vm in self.list(vdc=vdc) if vm.name == name), None)

    def find_key(self, key: str, *, vdc: int | None = None) -> Vm | None:
        """Find a machine by its key; None when there is none, or none that was finished.

        Args:
            key: The key.
            vdc: The id of its tenant; any when None.
        """
        found = of_administrators(self._rpc, (vm for vm in self._marked(vdc) if vm.user_template[ownership.KEY] == key))
        return next((self._vm(vm) for vm in found if phase_of(vm) is not Phase.CREATING), None)

    def list(self, *, vdc: int | None = None) -> tuple[Vm, ...]:
        """All machines that are not terminated, by their ids.

        Those that belong to the provider, as all are made: what a tenant marked, or took over, is none of them. One
        call, and a second one where not all that is marked belongs to the user oneadmin.

        Args:
            vdc: The id of their tenant; all tenants when None.
        """
        return tuple(self._vm(vm) for vm in of_administrators(self._rpc, self._marked(vdc)))

    def usage(self, *, vdc: int | None = None) -> dict[int, VmUsage]:
        """What is allocated to every machine, by its id, powered off ones included. One call.

        A machine that a tenant took over counts on. So does what a tenant marked as one: who accounts for machines
        knows their ids.

        Args:
            vdc: The id of their tenant; all tenants when None.
        """
        return {vm.id: _usage(vm) for vm in self._marked(vdc)}

    def figures(self) -> dict[int, VmFigures]:
        """Whose every machine is and what is allocated to it, by its id; finished or not. One call; see `usage`."""
        return {vm.id: VmFigures(vm.user_template[ownership.KEY], vm.gid, _usage(vm)) for vm in self._marked(None)}

    def usage_of(self, vm_id: int, *, key: str | None = None) -> VmUsage:
        """What is allocated to one machine.

        Args:
            vm_id: The machine.
            key: The key that it has to carry; any when None.

        Raises:
            WentAway: There is none, or it was terminated.
            Conflict: It does not carry the key.
        """
        return _usage(read_own(self._rpc, vm_id, key))

    def read(self, vm_id: int, key: str | None = None) -> VmRecord:
        """All that OpenNebula tells of a machine; see `usage_of` for what is refused."""
        return read_own(self._rpc, vm_id, key)

    def resize(
        self,
        vm_id: int,
        size: VmSize,
        *,
        key: str,
        live: bool = True,
        hard: bool = False,
        poweroff_timeout_s: float = POWEROFF_S,
        overcommit: bool = False,
        timeout_s: float = _RUNNING_S,
        progress: Progress | None = None,
    ) -> VmUsage:
        """Bring a machine to another size, and back to where it was powered.

        What is as asked already is not touched. The machine is changed while it runs where its driver can do so, and
        powered off for it where it cannot. When a step fails, its size and its power are restored; a run that was
        interrupted is taken up where it stopped, and a machine that was running runs afterwards.

        Two processes may do this at once: to the same size both succeed. Of two sizes one is there in the end, and a
        run whose disk was outgrown fails. Where the other one changes cores or memory in the moment between a look and
        a call, a run that fails gives the size of that look back. Whoever powers the machine off or on meanwhile is
        heeded.

        Args:
            vm_id: The machine.
            size: The size; what is not named stays as it is.
            key: The key that it has to carry.
            live: Whether to try it while the machine runs.
            hard: Whether to pull its plug at once where it has to be off, as against asking its system to shut down.
            poweroff_timeout_s: How many seconds its system may take for that before its plug is pulled all the same.
            overcommit: Whether its host may be promised to more machines than it has room for.
            timeout_s: How many seconds each step may take, and the way back as a whole.
            progress: Told of each change as it is begun with.

        Returns:
            What is allocated to the machine afterwards.

        Raises:
            SettingsError: A disk would shrink, its host has no room, or its state does not allow it; nothing was
                changed.
            QuotaExceeded: The tenant's limits leave no room for it; it is as it was.
            EnteredFailureState: The machine failed on its way; it is as it was.
            WaitTimeout: It did not come to rest, or a step was not over in time: likewise.
            VerificationFailed: OpenNebula accepted every call, and the machine did not come to the size; or somebody
                has grown its disk beyond that meanwhile. Likewise.
            RollbackIncomplete: One of these, and it is not as it was: it says how.
            WentAway: There is no such machine, or it was terminated.
            Conflict: It does not carry the key.
        """
        with self._turns.take(key):
            resizing = VmResize(
                self._rpc,
                vm_id,
                key,
                size,
                live=live,
                hard=hard,
                poweroff_timeout_s=poweroff_timeout_s,
                overcommit=overcommit,
                timeout_s=timeout_s,
                progress=progress,
            )
            return _usage(resizing.run())

    def power_off(self, vm_id: int, *, key: str, hard: bool = False, timeout_s: float = _RUNNING_S) -> None:
        """Power off a machine; see `Vm.power_off`."""
        with self._turns.take(key):
            self._power.off(vm_id, key, hard=hard, timeout_s=timeout_s)

    def power_on(self, vm_id: int, *, key: str, timeout_s: float = _RUNNING_S) -> None:
        """Start a machine; see `Vm.power_on`."""
        with self._turns.take(key):
            self._power.on(vm_id, key, timeout_s=timeout_s)

    def reboot(self, vm_id: int, *, key: str, hard: bool = False) -> None:
        """Reboot a machine; see `Vm.reboot`."""
        with self._turns.take(key):
            read_own(self._rpc, vm_id, key)
            self._calls.reboot(vm_id, hard=hard)

    def floating_ips(self, vm_id: int, *, key: str) -> tuple[FloatingIp, ...]:
        """The floating IPs of a machine; see `Vm.floating_ips`."""
        return self._floating_ips.of_vm(vm_id, key)

    def assign_floating_ip(self, vm_id: int, *, key: str, timeout_s: float) -> FloatingIp:
        """Give a machine a floating IP; see `Vm.assign_floating_ip`."""
        with self._turns.take(key):
            return self._floating_ips.assign(vm_id, key, timeout_s=timeout_s)

    def release_floating_ip(self, vm_id: int, address: str, *, key: str, timeout_s: float) -> None:
        """Take a floating IP from a machine; see `Vm.release_floating_ip`."""
        with self._turns.take(key):
            self._floating_ips.release(vm_id, key, address, timeout_s=timeout_s)

    def delete(self, vm_id: int, *, key: str, wait: bool = True, timeout_s: float = _RUNNING_S) -> None:
        """Terminate a machine; see `Vm.delete`.

        Raises:
            Conflict: It does not carry the key; it was not touched.
            EnteredFailureState: OpenNebula could not remove it.
            WaitTimeout: It is not gone after that time.
        """
        with self._turns.take(key):
            remove_vm(self._rpc, vm_id, key, timeout_s=timeout_s if wait else None)

    def _marked(self, vdc: int | None) -> tuple[VmRecord, ...]:
        return tuple(vm for vm in read_vms(self._rpc) if vdc in {None, vm.gid})

    def _vm(self, vm: VmRecord) -> Vm:
        return Vm(vm.id, vm.name, vm.user_template[ownership.KEY], vm.gid, self)


def _usage(vm: VmRecord) -> VmUsage:
    first = sized_disk(vm)
    return VmUsage(
        vcpu=vm.vcpu,
        cpu=vm.cpu,
        memory_mb=vm.memory_mb,
        disk_mb=vm.disk_mb,
        first_disk_mb=first.size_mb if first else 0,
    )
