"""Orders of VDCs: a resource is a tenant."""

import contextlib
import re
import time
from collections.abc import Container, Mapping
from typing import Any
from uuid import UUID

import attrs

from onetenant_waldur.admin_accounts import AccountNotes, with_account
from onetenant_waldur.network_options import in_settings
from onetenant_waldur.notes import write_notes
from onetenant_waldur.offering import VdcTerms, is_of_operator
from onetenant_waldur.outage import WORK_ERRORS, OfferingUnfit
from onetenant_waldur.records import ResourceRecord
from onetenant_waldur.resource_orders import OrderProblem, Task
from onetenant_waldur.tenants import missing_parts
from opennebula_tenancy import Conflict, Network, NotFound, Quota, SettingsError, Step, Vdc, WentAway
from opennebula_tenancy.vdc_figures import ACCOUNT, NETWORK


_TWIN_PAUSE_S = 1.0
"""Seconds that another agent at the same order is given to finish a tenant that stands in the way."""
_SUBNET = "subnet_cidr"
_NETWORK = re.compile(r"(the addresses of )?network [0-9]+ \(.*\)$", re.DOTALL)
"""How the library names a network at the end of a problem."""


class VdcOrders:
    """The orders of a tenant.

    Args:
        task: The order.
    """

    def __init__(self, task: Task[VdcTerms]) -> None:
        self._task = task
        self._order = task.order
        self._terms = task.terms
        self._resource = task.resource
        self._waldur = task.offering.waldur
        self._vdcs = task.offering.cloud.vdcs

    def create(self) -> None:
        """Make the tenant, and tell Waldur what it really has."""
        tenant = self._ensure()
        sent = self._note(tenant, self._terms.components.limits(tenant.quota()))
        self._account.hand_over(tenant, self._order.uuid, sent)

    def update(self) -> None:
        """Set the limits that the order names; the others stay."""
        wanted = self._quota(self._order.limits, self._order.plan)
        tenant = self._tenant()
        self._set_quota(tenant, wanted)
        try:
            self._keep_account(tenant)
        except (OrderProblem, *WORK_ERRORS) as error:
            # The limits are what was ordered, and hold. What is beside them the next report sees to, or the next order.
            self._task.log.warning("account_not_shown", reason=str(error))

    def acknowledged(self) -> None:
        """Nothing: the limits that Waldur has now are those of the order."""

    def terminate(self) -> None:
        """Remove the tenant. Its machines are terminated where the operator wants that, else they stand in the way."""
        group_id = _group_id(self._resource) if self._resource.backend_id else None
        terminate_vms = self._task.offering.settings.backend_settings.terminate_vms
        self._vdcs.delete(group_id, key=self._resource.key, terminate_vms=terminate_vms)

    def undo_create(self) -> bool:
        """Remove what there is of the tenant, which nobody will have."""
        steps: list[Step] = []
        self._vdcs.delete(key=self._resource.key, progress=steps.append)
        return bool(steps)

    def undo_update(self) -> bool:
        """Give the tenant back the limits that Waldur has for it, where it has those of the order.

        What somebody else has changed meanwhile stays.
        """
        resource = self._waldur.resource(self._resource.uuid)
        try:
            ordered = self._quota(self._order.limits, self._order.plan)
            tenant = self._tenant()
        except (OrderProblem, SettingsError):
            return False  # with these nothing was changed
        try:
            former = self._quota(resource.limits, resource.plan)
        except SettingsError as error:
            raise OrderProblem(f"What it had before is not known: {'; '.join(error.problems)}.") from error
        held = tenant.quota()
        back = {
            metric.field: limit
            for metric, limit in former.named()
            if held[metric] == ordered[metric] and held[metric] != limit
        }
        self._set_quota(tenant, Quota(**back))
        return bool(back)

    def undo_terminate(self) -> bool:
        """Make again what a removal has taken of the tenant, and nothing else: no other setting reaches it."""
        tenant = self._tenant()
        missing = missing_parts(self._task.offering, tenant.id)
        if missing:
            self._task.log.warning("tenant_not_whole", missing=list(missing))
            tenant = self._made_whole(tenant, missing)
        # An earlier run may have ended between the two.
        self._note(tenant)
        self._account.show_new(tenant)
        return bool(missing)

    @property
    def _account(self) -> AccountNotes:
        return AccountNotes(self._task.offering, self._resource)

    def _keep_account(self, tenant: Vdc) -> None:
        """Show the account of a tenant, and make it where there is none: it was removed, or is sold only since."""
        if not self._task.offering.settings.backend_settings.create_opennebula_user:
            return
        try:
            if tenant.admin is not None:
                self._account.show_again(tenant)
                self._account.show_new(tenant)
                return
        except WentAway as error:
            self._task.log.warning("tenant_not_whole", missing=[ACCOUNT], reason=str(error))
        self._account.show_new(self._made_whole(tenant, {ACCOUNT}))

    def _made_whole(self, tenant: Vdc, missing: Container[str]) -> Vdc:
        if NETWORK not in missing:
            self._account.show_none()
            return self._vdcs.ensure_admin(tenant.id)
        network = tenant.network
        if not self._terms.options.has_network:
            raise OrderProblem(
                f"The tenant (group {tenant.id}) has lost its {NETWORK}, and tenants of this offering have none now."
            )
        spec = self._terms.spec(self._resource, tenant.name, {}, self._former_subnet(network))
        # As they are: should another agent remove the tenant at this moment, the one that is made has them too.
        spec = attrs.evolve(spec, quota=tenant.quota())
        if ACCOUNT in missing:
            # What is shown of it does not log in any more, and what will be is not known yet.
            self._account.show_none()
        spec = with_account(self._task.offering, spec)
        try:
            return self._vdcs.ensure(spec)
        except SettingsError:
            if network is not None or spec.network is None or spec.network.subnet is None:
                raise
        # Somebody else has its former addresses by now.
        return self._vdcs.ensure(attrs.evolve(spec, network=attrs.evolve(spec.network, subnet=None)))

    def _former_subnet(self, network: Network | None) -> str | None:
        """The subnet that a tenant without a network had, as Waldur shows it."""
        shown = self._resource.backend_metadata.get(_SUBNET)
        return shown if network is None and isinstance(shown, str) else None

    def _note(self, tenant: Vdc, limits: Mapping[str, int | float] | None = None) -> Mapping[str, Any] | None:
        """Tell Waldur what the tenant is; see `write_notes` for what is returned."""
        if self._resource.backend_id != str(tenant.id):
            self._waldur.set_backend_id(self._resource.uuid, str(tenant.id))
        return write_notes(
            self._task.offering,
            self._resource.uuid,
            limits=limits,
            metadata={"opennebula_name": tenant.name, "opennebula_vdc_id": tenant.vdc_id, **_networking(tenant)},
        )

    def _quota(self, limits: Mapping[str, float], plan: UUID | None) -> Quota:
        components = self._terms.components
        return components.quota(components.amounts(limits, plan), floating_ips=self._terms.floating_ips)

    @staticmethod
    def _set_quota(tenant: Vdc, quota: Quota) -> None:
        if quota:
            tenant.set_quota(quota)

    def _tenant(self) -> Vdc:
        if not self._resource.backend_id:
            raise OrderProblem("The resource has no tenant: its creation was never finished.")
        group_id = _group_id(self._resource)
        try:
            tenant = self._vdcs.get(group_id)
        except NotFound:
            raise OrderProblem(f"The tenant (group {group_id}) does not exist any more.") from None
        except Conflict:
            raise OrderProblem(_not_ours(group_id)) from None
        if tenant.key != self._resource.key:
            raise OrderProblem(_not_ours(group_id))
        return tenant

    def _ensure(self) -> Vdc:
        try:
            return self._ensured()
        except SettingsError as error:
            problems = tuple(map(in_settings, error.problems))
            if of_operator := tuple(filter(is_of_operator, problems)):
                raise OfferingUnfit(*of_operator) from error
            self._task.log.info("order_refused", problems=list(problems))
            # Without the error that it was: that goes into the details that the customer can read.
            raise SettingsError(*map(_for_customer, problems)) from None

    def _ensured(self) -> Vdc:
        amounts = self._terms.components.amounts(self._order.limits, self._order.plan)
        self._terms.components.require_limits(self._order.limits, floating_ips=self._terms.floating_ips)
        subnet = self._subnet()
        conflict: Conflict | None = None
        for name in self._task.offering.names(self._resource, self._terms):
            spec = with_account(self._task.offering, self._terms.spec(self._resource, name, amounts, subnet))
            try:
                return self._vdcs.ensure(spec)
            except Conflict:
                # Another agent may be at work on the same order, and half through: see what it has come to.
                time.sleep(_TWIN_PAUSE_S)
            try:
                return self._vdcs.ensure(spec)
            except Conflict as error:
                conflict = error
        raise conflict or OrderProblem("There is no name for the tenant.")

    def _subnet(self) -> str | None:
        """The subnet that the order asks for; None for any."""
        said = self._order.attributes.get(_SUBNET)
        if said is None or (isinstance(said, str) and not said.strip()):
            return None
        if not isinstance(said, str):
            raise OrderProblem(f"{_SUBNET}: a network such as 192.168.50.0/24 was due, or nothing.")
        if not self._terms.options.has_network:
            raise OrderProblem(f"{_SUBNET}: the tenants of this offering have no network.")
        return said.strip()


def _for_customer(problem: str) -> str:
    """A problem as the customer may read it: which network is in the way of a subnet is nobody else's business."""
    if not problem.startswith(f"{_SUBNET}:"):
        return problem
    return _NETWORK.sub("a network that is there: choose another one, or none at all", problem)


def _networking(tenant: Vdc) -> dict[str, Any]:
    """What Waldur shows of a tenant's network, under the keys that today's agents have for it."""
    if (network := tenant.network) is None:
        return {}
    shown: dict[str, Any] = {
        "vnet_id": network.id,
        "vnet_name": network.name,
        "subnet_cidr": str(network.subnet),
        "gateway_ip": str(network.gateway),
        "sg_ids": list(network.security_groups),
    }
    if (router := tenant.router) is not None:
        shown |= {
            "vr_id": router.id,
            "vr_name": router.name,
            "vr_vm_ids": list(router.vm_ids),
            "vr_addresses": list(router.external_addresses),
        }
        shown |= {"vr_vm_id": router.vm_ids[0]} if router.vm_ids else {}
    return shown


def _group_id(resource: ResourceRecord) -> int:
    with contextlib.suppress(ValueError):
        if (group_id := int(resource.backend_id)) >= 0:
            return group_id
    raise OrderProblem(
        f"The tenant {resource.backend_id} was made by another tool, which identifies tenants by their names; "
        "this version works on tenants that it made itself."
    )


def _not_ours(group_id: int) -> str:
    return f"Group {group_id} in OpenNebula is not the tenant of this resource; nothing was changed."
