"""The configuration of VMs: boot order, and `one.vm.updateconf` (VirtualMachine::updateconf)."""

import re
from collections.abc import Mapping

from opennebula_tenancy.emulator import context
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.driving import drive
from opennebula_tenancy.emulator.errors import bad_call, internal, unauthorized
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.starting import give_port
from opennebula_tenancy.emulator.state import Cloud
from opennebula_tenancy.emulator.syntax import parsed
from opennebula_tenancy.emulator.template import Template, Vector, restricted_change
from opennebula_tenancy.emulator.vm_boot import set_boot_order, tidy_features
from opennebula_tenancy.emulator.vm_rights import operate
from opennebula_tenancy.emulator.vms import VirtualMachine
from opennebula_tenancy.emulator.vmstates import LcmState, VmState


_KEYS: Mapping[str, tuple[str, ...]] = {
    "OS": (
        *("ARCH", "MACHINE", "KERNEL", "INITRD", "BOOTLOADER", "BOOT", "KERNEL_CMD", "ROOT", "SD_DISK_BUS", "UUID"),
        *("FIRMWARE", "FIRMWARE_FORMAT"),
    ),
    "FEATURES": (
        *("PAE", "ACPI", "APIC", "LOCALTIME", "HYPERV", "GUEST_AGENT", "VIRTIO_SCSI_QUEUES", "VIRTIO_BLK_QUEUES"),
        *("IOTHREADS", "GIC", "RAS", "MIGRATE_AUTO_CONVERGE", "MIGRATE_COMPRESSED"),
    ),
    "INPUT": ("TYPE", "BUS"),
    "GRAPHICS": ("TYPE", "LISTEN", "PASSWD", "KEYMAP", "COMMAND"),
    "VIDEO": ("IOMMU", "ATS", "TYPE", "VRAM", "RESOLUTION"),
    "RAW": ("TYPE", "DATA", "VALIDATE", "DATA_VMX"),
    "CPU_MODEL": ("MODEL", "FEATURES"),
}
"""What can be updated of which vector; a CONTEXT is updated as a whole."""

_OF_NICS = re.compile(r"ETH\d+_\w+", re.ASCII)
_AT_REST = frozenset(
    {
        *(VmState.PENDING, VmState.HOLD, VmState.POWEROFF, VmState.UNDEPLOYED, VmState.CLONING),
        VmState.CLONING_FAILURE,
    }
)
_ACTIVE = frozenset(
    {
        *(LcmState.LCM_INIT, LcmState.PROLOG, LcmState.RUNNING, LcmState.EPILOG, LcmState.SHUTDOWN),
        *(LcmState.CLEANUP_RESUBMIT, LcmState.SHUTDOWN_POWEROFF, LcmState.CLEANUP_DELETE),
        *(LcmState.HOTPLUG_SAVEAS_POWEROFF, LcmState.SHUTDOWN_UNDEPLOY, LcmState.EPILOG_UNDEPLOY),
        *(LcmState.PROLOG_UNDEPLOY, LcmState.HOTPLUG_PROLOG_POWEROFF, LcmState.HOTPLUG_EPILOG_POWEROFF),
        *(LcmState.BOOT_FAILURE, LcmState.PROLOG_FAILURE, LcmState.EPILOG_FAILURE, LcmState.EPILOG_UNDEPLOY_FAILURE),
        *(LcmState.PROLOG_MIGRATE_POWEROFF, LcmState.PROLOG_MIGRATE_POWEROFF_FAILURE),
        *(LcmState.BOOT_UNDEPLOY_FAILURE, LcmState.PROLOG_UNDEPLOY_FAILURE, LcmState.DISK_SNAPSHOT_POWEROFF),
        *(LcmState.DISK_SNAPSHOT_REVERT_POWEROFF, LcmState.DISK_SNAPSHOT_DELETE_POWEROFF),
    }
)


@method("one.vm.updateconf", Kind.VM, Right.MANAGE)
def update_configuration(call: Call, oid: int, text: str, mode: int = 0) -> int:
    """Updates OS, FEATURES, INPUT, GRAPHICS, VIDEO, RAW, CPU_MODEL and CONTEXT of a VM: replaced (0) or merged (1)."""
    if mode not in {0, 1}:
        raise bad_call("Wrong update type")
    new = _configuration(parsed(text))
    vm = operate(call, oid, "updateconf")
    if not call.is_admin:
        names = call.cloud.config.restricted.get(Kind.VM, {})
        name = restricted_change(new, vm.body, names, merging=True)
        if name is not None:
            raise unauthorized(f"Template includes a restricted attribute {name}")
    allowed = vm.lcm in _ACTIVE if vm.state is VmState.ACTIVE else vm.state in _AT_REST
    if not allowed:
        raise internal(f"configuration cannot be updated in state {vm.state_text}")
    _update(call.cloud, vm, new, merging=mode == 1)
    if vm.state in {VmState.ACTIVE, VmState.POWEROFF}:
        give_port(vm)
    if vm.is_at(LcmState.RUNNING):
        back = lambda: vm.move_to(VmState.ACTIVE, LcmState.RUNNING)  # noqa: E731 - both continuations
        vm.resched = False
        drive(call.cloud, vm, "update_conf", LcmState.HOTPLUG, back, back)
    return oid


def _configuration(template: Template) -> Template:
    """What can be updated of a template."""
    found = Template()
    for name, keys in _KEYS.items():
        vector = template.vector(name)
        kept = Vector({key: vector[key] for key in keys if vector.get(key)}) if vector is not None else Vector()
        if kept:
            found.set(name, kept)
    wanted = template.vector("CONTEXT")
    if wanted is not None:
        found.set("CONTEXT", Vector(wanted))
    return found


def _update(cloud: Cloud, vm: VirtualMachine, new: Template, *, merging: bool) -> None:
    """Change the configuration; as in oned, what comes before something that is refused is changed all the same."""
    tidy_features(new.vector("FEATURES"))
    for name, keys in _KEYS.items():
        _replace(vm.body, name, keys, new.vector(name), merging=merging)
        if name == "OS":
            problem = set_boot_order(vm.body)
            if problem is not None:
                raise internal(problem)
    wanted, old = new.vector("CONTEXT"), vm.body.vector("CONTEXT")
    if wanted is not None and old is None:
        raise internal("Virtual machine does not have context, cannot add a new one.")
    if wanted is not None and old is not None:
        _update_context(cloud, vm, old, wanted, merging=merging)


def _replace(body: Template, name: str, keys: tuple[str, ...], new: Vector | None, *, merging: bool) -> None:
    old = body.vector(name)
    if new is None:
        if not merging:
            body.erase(name)
    elif old is None:
        body.set(name, new)
    else:
        for key in keys:
            if key in new:
                old[key] = new[key]
            elif not merging:
                old.pop(key, None)


def _update_context(cloud: Cloud, vm: VirtualMachine, old: Vector, new: Vector, *, merging: bool) -> None:
    equal = {key: value for key, value in new.items() if old.get(key) == value}
    for key in sorted(new):
        if _OF_NICS.fullmatch(key) and key not in equal:
            raise internal(f"Unable to {'update' if key in old else 'add'} {key}, update NIC to update network context")
    made = Vector({key: value for key, value in new.items() if key not in equal or (key == "NETWORK" and not merging)})
    for key in ("TARGET", "DISK_ID"):
        made[key] = old.get(key, "")
    if not context.add_token(cloud, vm, made):
        raise internal(context.NO_ONEGATE)
    context.complete(cloud, vm, made)
    if merging:
        old.update(made)
    else:
        made.update(equal)
        vm.body.set("CONTEXT", made)
