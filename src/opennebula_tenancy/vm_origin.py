"""What a virtual machine was made as, beside what is asked for: some of it can be changed later, some cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opennebula_tenancy.scheduling import in_clusters
from opennebula_tenancy.vm_target import sized_disk


if TYPE_CHECKING:
    from collections.abc import Iterator

    from opennebula_tenancy._wire.vm_records import VmRecord
    from opennebula_tenancy.vm_size import VmSize
    from opennebula_tenancy.vm_spec import VmSpec


def other_size(vm: VmRecord, size: VmSize) -> Iterator[str]:
    """Say what of the size of a machine is not as asked for; what is not named is."""
    disk = sized_disk(vm)
    held = {"vcpu": vm.vcpu, "share": vm.cpu, "memory_mb": vm.memory_mb, "disk_mb": disk.size_mb if disk else None}
    for name, value in held.items():
        if (wanted := getattr(size, name)) is not None and wanted != value:
            yield f"its {name} is {value}, not {wanted}"


def other_origin(vm: VmRecord, spec: VmSpec) -> Iterator[str]:
    """Say what of a machine is not as asked for, of what holds from its creation on, as far as it shows."""
    if vm.template_id not in {None, spec.template}:
        yield f"it was made of VM template {vm.template_id}, not {spec.template}"
    if spec.ssh_keys and vm.context.get("SSH_PUBLIC_KEY", "").strip() != spec.keys_text:
        yield "it was made with other ssh_keys"
    if others := [name for name, value in spec.context.items() if vm.context.get(name) != value]:
        yield f"it was made with another context: {', '.join(others)}"
    first = () if spec.network is None else (spec.network,)
    held_networks = {nic.network_id for nic in vm.nics}
    yield from (f"it is not in network {own}" for own in (*first, *spec.networks) if own not in held_networks)
    held_images = {disk.image_id for disk in vm.disks}
    yield from (f"it has no disk of image {image}" for image in spec.images if image not in held_images)
    places = vm.user_template.get("SCHED_REQUIREMENTS", "")
    wanted = (spec.sched_requirements, None if spec.clusters is None else in_clusters(spec.clusters))
    yield from (
        f"it was not made to run where {place}" for place in wanted if place is not None and place not in places
    )
