"""Orders of virtual machines: a resource is a machine in a tenant."""

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from onetenant_waldur.machines import NoMachine, not_ours, own_machine
from onetenant_waldur.notes import write_notes
from onetenant_waldur.resource_orders import OrderProblem, Task
from onetenant_waldur.ssh_keys import ATTRIBUTE, public_keys
from onetenant_waldur.vm_terms import VmTerms
from onetenant_waldur.waldur_calls import WaldurDenied, WaldurRefused
from opennebula_tenancy import Conflict, SettingsError, Vm, VmSize


_ID = re.compile(r"[0-9]{1,10}")
_TEMPLATE = "template_id"
_PARENTS = ("parent_vdc_backend_id", "parent_backend_id")
_SHOWN_CHARACTERS = 60
_PENDING = "pending-provider"


class VmOrders:
    """The orders of a virtual machine.

    Args:
        task: The order.
    """

    def __init__(self, task: Task[VmTerms]) -> None:
        self._task = task
        self._order = task.order
        self._terms = task.terms
        self._resource = task.resource
        self._waldur = task.offering.waldur
        self._cloud = task.offering.cloud
        self._vms = task.offering.cloud.vms

    def create(self) -> None:
        """Make the machine, wait until it runs, and tell Waldur which it is and what it really has."""
        said, terms = self._order.attributes, self._terms
        template, parent = self._template(said), self._parent(said)
        keys = public_keys(self._waldur, terms.provider, said.get(ATTRIBUTE))
        terms.components.require_known(self._order.limits)
        size = terms.size(self._order.limits, self._order.plan)
        prefix = self._task.offering.settings.backend_settings.allocation_prefix
        spec = terms.spec(
            name=f"{prefix}{self._resource.name or self._resource.slug or self._resource.key}",
            key=self._resource.key,
            vdc=self._tenant(parent),
            template=template,
            size=size,
            ssh_keys=keys,
        )
        machine = self._vms.ensure(spec, allowed=terms.allowed, timeout_s=terms.timeout_s)
        if self._resource.backend_id != str(machine.id):
            self._waldur.set_backend_id(self._resource.uuid, str(machine.id))
        addresses = machine.addresses()
        metadata = {
            "vm_id": machine.id,
            "ip_address": next(iter(addresses), ""),
            "ip_addresses": list(addresses),
            "template_id": template,
            "parent_vdc_backend_id": str(machine.vdc),
        }
        write_notes(self._task.offering, self._resource.uuid, metadata=metadata)
        self._note_limits(machine)

    def update(self) -> None:
        """Bring the machine to the size of the plan, or the limits, that the order names."""
        machine = self._machine()
        self._resize(machine, self._size(self._order.limits, self._order.plan))

    def acknowledged(self) -> None:
        """Tell Waldur what the machine really has.

        The end of an order for another plan sets the limits that the resource had when it was placed.
        """
        if self._order.type == "Update":
            self._note_limits(self._machine())

    def terminate(self) -> None:
        """Remove the machine, and wait until nothing is left of it."""
        if not self._resource.backend_id:
            self.undo_create()
            return
        vm_id = self._vm_id()
        try:
            self._vms.delete(vm_id, key=self._resource.key, timeout_s=self._terms.timeout_s)
        except Conflict:
            raise OrderProblem(f"{not_ours(vm_id)} Nothing was changed.") from None

    def undo_create(self) -> bool:
        """Remove what there is of the machine, which nobody will have, whichever tenant it is in."""
        found = self._made()
        for machine in found:
            machine.delete(timeout_s=self._terms.timeout_s)
        return bool(found)

    def undo_update(self) -> bool:
        """Give the machine back the cores and the memory that Waldur has for it, where it has those of the order.

        A machine that was powered off on the way runs again. A disk that has grown stays as it is.
        """
        resource = self._waldur.resource(self._resource.uuid)
        try:
            ordered = self._size(self._order.limits, self._order.plan)
            machine = self._machine()
        except (OrderProblem, SettingsError):
            return False  # with these nothing was changed
        try:
            former = self._size(resource.limits, resource.plan)
        except SettingsError as error:
            raise OrderProblem(f"What it had before is not known: {'; '.join(error.problems)}.") from error
        before, held = machine.status(), machine.usage()
        back = {
            name: getattr(former, name)
            for name in ("vcpu", "memory_mb")
            if getattr(held, name) == getattr(ordered, name) != getattr(former, name)
        }
        # Also where no size differs: this ends a change of size that was interrupted while the machine was off.
        self._resize(machine, VmSize(**back, cpu_per_vcpu=former.cpu_per_vcpu))
        if former.disk_mb is not None and former.disk_mb < held.first_disk_mb == ordered.disk_mb:
            raise OrderProblem(
                f"The disk of VM {machine.id} has grown to {held.first_disk_mb} MB, and cannot shrink back."
            )
        return bool(back) or machine.status() != before

    def undo_terminate(self) -> bool:
        """Nothing: what is terminated cannot be had back, and what is not has all that it had."""
        machine = self._machine()
        status = machine.status()
        if not (status.stays or status.has_failed):
            raise OrderProblem(f"VM {machine.id} is {status}: what is terminated already cannot be had back.")
        return False

    def _resize(self, machine: Vm, size: VmSize) -> None:
        machine.resize(size, timeout_s=self._terms.timeout_s, poweroff_timeout_s=self._terms.poweroff_timeout_s)

    def _size(self, limits: Mapping[str, float], plan: UUID | None) -> VmSize:
        return self._terms.size(limits, plan)

    def _note_limits(self, machine: Vm) -> None:
        limits = self._terms.components.limits(machine.usage())
        try:
            write_notes(self._task.offering, self._resource.uuid, limits=limits)
        except WaldurDenied:
            raise
        except WaldurRefused as error:
            # Not every Waldur takes limits of what a plan includes.
            self._task.log.info("limits_not_taken", reason=str(error))

    def _machine(self) -> Vm:
        if not self._resource.backend_id:
            raise OrderProblem("The resource has no virtual machine: its creation was never finished.")
        try:
            return own_machine(self._cloud, self._vm_id(), self._resource.key)
        except NoMachine as error:
            raise OrderProblem(str(error)) from None

    def _vm_id(self) -> int:
        if _ID.fullmatch(self._resource.backend_id):
            return int(self._resource.backend_id)
        raise OrderProblem(f"{_shown(self._resource.backend_id)} is not the id of a virtual machine.")

    # What an order may choose

    def _template(self, said: Mapping[str, Any]) -> int:
        """The VM template of an order: that of the offering, or another one that is allowed."""
        chosen = said.get(_TEMPLATE)
        if chosen in (None, ""):
            if self._terms.options.template_id is None:
                raise OrderProblem(f"{_TEMPLATE}: the order has to name a VM template.")
            return self._terms.options.template_id
        found = _text(chosen)
        if not _ID.fullmatch(found) or int(found) not in self._terms.templates:
            raise OrderProblem(f"{_TEMPLATE}: the VM template {_shown(chosen)} may not be chosen in this offering.")
        return int(found)

    def _parent(self, said: Mapping[str, Any]) -> str:
        """The tenant of an order, by its id or name: that of the offering, or another one that is allowed."""
        chosen = {name: said[name] for name in _PARENTS if said.get(name) not in (None, "")}
        for name, value in chosen.items():
            if _text(value) not in self._terms.parents:
                raise OrderProblem(f"{name}: the tenant {_shown(value)} may not be chosen in this offering.")
        if len(named := set(map(_text, chosen.values()))) > 1:
            raise OrderProblem(f"{' and '.join(chosen)}: the order names two tenants.")
        parent = next(iter(named), self._terms.options.parent_vdc_backend_id)
        if parent is None:
            raise OrderProblem(f"{_PARENTS[0]}: the order has to name a tenant.")
        return parent

    def _tenant(self, parent: str) -> int:
        """The id of the tenant that the machine is to be in: where it is already, if an earlier run has made it."""
        if self._order.state != _PENDING:
            for machine in self._made():
                return machine.vdc
        if _ID.fullmatch(parent):
            return int(parent)
        if (tenant := self._cloud.vdcs.find(parent)) is None:
            raise OrderProblem(f"{_PARENTS[0]}: there is no tenant {_shown(parent)}.")
        return tenant.id

    def _made(self) -> list[Vm]:
        """What there is of the machine: one, or what interrupted runs have left of it.

        None that is not the provider's: a member of a tenant may write any key on one of its own.
        """
        return [machine for machine in self._vms.list() if machine.key == self._resource.key]


def _text(value: object) -> str:
    """A value of an order form, which may be a number as well; other kinds are nothing that can be chosen."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return str(value).strip()


def _shown(value: object) -> str:
    """What somebody has written, fit for a sentence: in quotes, and not all of it."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
