"""`Blueprint`: what a virtual machine is made with, once everything that it is made of is known to be there."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy import ownership, tenant_mark, vm_mark
from opennebula_tenancy._wire.network_records import NetworkState
from opennebula_tenancy._wire.template import render
from opennebula_tenancy._wire.vm_records import id_in
from opennebula_tenancy._wire.vm_template_records import ImageRecord, ImageState, VmTemplateRecord, image_of
from opennebula_tenancy.errors import NotFound, SettingsError
from opennebula_tenancy.network_calls import NETWORK_ROLE, read_network
from opennebula_tenancy.scheduling import all_of, expression_problem, in_clusters
from opennebula_tenancy.tenant_places import EVERY_CLUSTER


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opennebula_tenancy._transport.rpc import Reader
    from opennebula_tenancy._wire.network_records import NetworkRecord
    from opennebula_tenancy._wire.template import Template, Value
    from opennebula_tenancy.vm_search import Home
    from opennebula_tenancy.vm_spec import Allowed, VmSpec


_PROVIDER = 0
"""The group of the provider: oneadmin's."""
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?\Z")
_OWNERS = re.compile(r"(\\.)|\$USER\[[^\]]*\]", re.IGNORECASE | re.DOTALL)
"""What stands for an attribute of a machine's owner (vm_var_parser.l); a dollar sign behind a backslash does not."""


def _without_owner(text: str) -> str:
    """A text of a CONTEXT without what its owner's attributes would be put for, such as `$USER[SSH_PUBLIC_KEY]`.

    The owner is the provider's account, whose keys and secrets are not the tenant's. OpenNebula makes the same of it
    for an owner who has no such attribute.
    """
    return _OWNERS.sub(lambda found: found[1] or "", text).strip()


@attrs.frozen
class Blueprint:
    """What a machine is made with.

    Attributes:
        networks: The ids of the networks that it is to be in.
        disk_mb: The size of its first disk; None where its template has none.
        needs: What it takes of the tenant's limits besides disks and addresses, by their names: CPU in cores, MEMORY
            in MB.
        extra: What its template does not say.
    """

    networks: tuple[int, ...]
    disk_mb: int | None
    needs: Mapping[str, Decimal]
    extra: Template = attrs.field(repr=False)

    def text(self) -> str:
        """The template to instantiate with."""
        return render(self.extra)


class Draft:
    """Works out a blueprint, and what is wrong with it.

    Args:
        reader: Reads from OpenNebula.
        spec: The machine asked for.
        home: The tenant that it is to be in.
        allowed: What it may be made of.
    """

    def __init__(self, reader: Reader, spec: VmSpec, home: Home, allowed: Allowed) -> None:
        self._reader = reader
        self._spec = spec
        self._home = home
        self._allowed = allowed
        self._problems: list[str] = []

    def blueprint(self) -> Blueprint:
        """Read all that the machine is to be made of, and put it together. Nothing is changed.

        Raises:
            SettingsError: Something is not there, is not permitted, or does not fit; all problems at once.
        """
        networks = tuple(self._networks())
        for image in self._spec.images:
            self._check_image(image)
        template = self._template()
        extra: dict[str, Value] = {}
        disk_mb: int | None = None
        needs: dict[str, Decimal] = {}
        if template is not None:
            needs = self._needs(template)
            disk_mb, disks = self._disks(template)
            extra |= {name: value for name, value in self._capacity().items() if value}
            extra |= {"DISK": disks} if disks else {}
            if nics := self._nics(template, networks):
                extra["NIC"] = nics
            extra |= self._context(template)
            if places := self._places(template):
                extra["SCHED_REQUIREMENTS"] = places
        if self._problems:
            raise SettingsError(*self._problems)
        # Born in the tenant's group, so that its limits hold from the first moment (SharedAPI.cc, as_uid_gid).
        extra |= {"AS_GID": str(self._home.group.id), **vm_mark.of_new(self._spec.key)}
        return Blueprint(networks, disk_mb, needs, extra)

    # What it is made of

    def _template(self) -> VmTemplateRecord | None:
        own = self._spec.template
        try:
            template = VmTemplateRecord.parse(self._reader.read("one.template.info", own, False))
        except NotFound:
            self._problems.append(f"template: there is no VM template {own}")
            return None
        what = f"template: VM template {own} ({template.name})"
        listed = self._allowed.templates
        if own not in listed if listed is not None else template.gid != _PROVIDER:
            self._problems.append(f"{what} may not be used here")
            return None
        if template.is_router:
            self._problems.append(f"{what} is for virtual routers")
        return template

    def _check_image(self, own: int) -> None:
        try:
            image = ImageRecord.parse(self._reader.read("one.image.info", own, False))
        except NotFound:
            self._problems.append(f"images: there is no image {own}")
            return
        what = f"images: image {own} ({image.name})"
        if not self._is_permitted(own, image.gid, image.template, self._allowed.images):
            self._problems.append(f"{what} may not be used here")
        elif not image.is_disk:
            self._problems.append(f"{what} is not a disk")
        elif not image.is_usable:
            self._problems.append(f"{what} cannot be used while it is {image.state_name}")

    def _networks(self) -> Iterator[int]:
        own = self._own_network()
        first = self._spec.network if self._spec.network is not None else own
        wanted = ([] if first is None else [first]) + [net for net in self._spec.networks if net != first]
        for net in wanted:
            if net == own or self._check_network(net):
                yield net

    def _own_network(self) -> int | None:
        held = tenant_mark.networking_of(self._home.group)
        if held is None:
            self._problems.append("network: the tenant's network is not finished: mend the tenant first")
            return None
        if (hint := held.network) is None:
            return None
        # The id is what a run wrote on the group at its end: the network itself says whose it is by now.
        try:
            network = read_network(self._reader, hint)
        except NotFound:
            self._problems.append(f"network: the tenant's network {hint} is not there any more: mend the tenant first")
            return None
        if not ownership.carries(network.template, self._home.key, NETWORK_ROLE):
            self._problems.append(
                f"network: network {hint} ({network.name}) is said to be the tenant's, and does not carry its key"
            )
            return None
        return hint if self._is_ready(network, "network") else None

    def _check_network(self, own: int) -> bool:
        path = "network" if own == self._spec.network else "networks"
        try:
            network = read_network(self._reader, own)
        except NotFound:
            self._problems.append(f"{path}: there is no network {own}")
            return False
        if not self._is_permitted(own, network.gid, network.template, self._allowed.networks):
            self._problems.append(f"{path}: network {own} ({network.name}) may not be used here")
            return False
        return self._is_ready(network, path)

    def _is_ready(self, network: NetworkRecord, path: str) -> bool:
        if network.state is NetworkState.READY:
            return True
        self._problems.append(f"{path}: network {network.id} ({network.name}) is {network.state_name}, not READY")
        return False

    def _is_permitted(self, own: int, gid: int, template: Mapping[str, str], listed: frozenset[int] | None) -> bool:
        """Whether the tenant may use an object: it is its own, or the provider's and not another tenant's."""
        if (key := template.get(ownership.KEY)) is not None and key != self._home.key:
            return False
        if gid == self._home.group.id or key is not None:
            return True
        return own in listed if listed is not None else gid == _PROVIDER

    # What is made of it

    def _capacity(self) -> Mapping[str, str]:
        size = self._spec.size
        return {
            "VCPU": "" if size.vcpu is None else str(size.vcpu),
            "CPU": "" if size.share is None else f"{size.share:f}",
            "MEMORY": "" if size.memory_mb is None else str(size.memory_mb),
        }

    def _needs(self, template: VmTemplateRecord) -> dict[str, Decimal]:
        """What is counted of its cores and memory. A number that the template writes as none is left to OpenNebula."""
        held = {**template.attributes, **{name: text for name, text in self._capacity().items() if text}}
        texts = {name: held.get(name, "").strip() for name in ("CPU", "MEMORY")}
        return {name: Decimal(text) for name, text in texts.items() if _NUMBER.match(text)}

    def _disks(self, template: VmTemplateRecord) -> tuple[int | None, list[Mapping[str, str]]]:
        """The size of the first disk, and the disks to say; none where they are as the template says."""
        described = VmTemplateRecord.parse(self._reader.read("one.template.info", template.id, True))
        for number, disk in enumerate(described.disks):
            self._check_template_disk(number, disk)
        wanted = self._spec.size.disk_mb
        place = described.sized_disk
        if place is None:
            if wanted is not None:
                self._problems.append(f"size.disk_mb: VM template {template.id} has no disk to size")
            return None, self._plain(template.disks) + self._further() if self._spec.images else []
        disk = described.disks[place]
        held, smallest = id_in(disk, "SIZE"), id_in(disk, "ORIGINAL_SIZE")
        if wanted is not None and smallest is not None and wanted < smallest:
            self._problems.append(
                f"size.disk_mb: {wanted} MB are less than the {smallest} MB of {image_of(disk)} in the template"
            )
        size = held if wanted is None else wanted
        if size == held and not self._spec.images:
            return size, []
        disks = self._plain(template.disks)
        if size != held:
            disks[place] = {**disks[place], "SIZE": str(size)}
        return size, disks + self._further()

    def _check_template_disk(self, number: int, disk: Mapping[str, str]) -> None:
        image = image_of(disk)
        if image is None:
            return
        if not disk.get("ORIGINAL_SIZE"):
            self._problems.append(f"template: there is no {image.removeprefix('the ')}, which is its disk {number}")
        state = id_in(disk, "IMAGE_STATE")
        if state in {ImageState.DISABLED, ImageState.ERROR, ImageState.USED_PERS, ImageState.LOCKED_USED_PERS}:
            self._problems.append(f"template: {image}, its disk {number}, is {ImageState(state).name}")

    def _further(self) -> list[Mapping[str, str]]:
        return [{"IMAGE_ID": str(image)} for image in self._spec.images]

    def _nics(self, template: VmTemplateRecord, networks: tuple[int, ...]) -> list[Mapping[str, str]]:
        """The interfaces to say: what stands in the extra template replaces all those of the template."""
        ours: list[Mapping[str, str]] = [{"NETWORK_ID": str(network)} for network in networks]
        if self._spec.keep_template_nics:
            return ours + self._plain(template.nics) if ours else []
        if template.has_more_nics:
            self._problems.append(
                f"template: VM template {template.id} has aliases or devices as interfaces, which cannot be left out: "
                "keep_template_nics takes them"
            )
        if template.nics and not ours and not self._problems:
            self._problems.append(
                f"network: the tenant has no network, and the interfaces of VM template {template.id} are not taken "
                "unless keep_template_nics says so"
            )
        return ours

    def _context(self, template: VmTemplateRecord) -> Mapping[str, Value]:
        """What it is told at its boot: all that the template says, and what is asked for."""
        # A CONTEXT in the extra template replaces the whole of the template's (Template::merge).
        ours = {"NETWORK": "YES", **self._spec.context}
        if keys := self._spec.keys_text:
            ours["SSH_PUBLIC_KEY"] = keys
        said = {name: value.strip() for name, value in template.context.items() if value.strip()}
        held = {name: text for name, value in said.items() if (text := _without_owner(value))}
        if held == said and ours.items() <= held.items():
            return {}
        return {"CONTEXT": {**held, **ours}}

    def _places(self, template: VmTemplateRecord) -> str:
        """Where it may run, as an expression of the scheduler.

        The scheduler asks what the machine's owner may use, and that is not the tenant: so the clusters are said.
        """
        held = template.attributes.get("SCHED_REQUIREMENTS", "").strip()
        if held and (problem := expression_problem(held)):
            self._problems.append(f"template: the SCHED_REQUIREMENTS of VM template {template.id} {problem}")
        return all_of(held, self._spec.sched_requirements or "", in_clusters(self._clusters()))

    def _clusters(self) -> tuple[int, ...]:
        held = sorted({cluster for _, cluster in self._home.vdc.clusters})
        if self._spec.clusters is None:
            return () if EVERY_CLUSTER in held else tuple(held)
        for cluster in self._spec.clusters:
            if EVERY_CLUSTER not in held and cluster not in held:
                self._problems.append(f"clusters: cluster {cluster} is not one of the tenant's")
        return self._spec.clusters

    @staticmethod
    def _plain(items: tuple[Mapping[str, str], ...]) -> list[Mapping[str, str]]:
        """Vectors as they can be sent: OpenNebula drops empty values, and the renderer refuses them."""
        return [{name: value.strip() for name, value in item.items() if value.strip()} for item in items]
