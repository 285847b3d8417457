"""Orders: each is turned into calls of the library, is resumed and never restarted, and is acknowledged last."""

import contextlib
import time
import traceback
from collections.abc import Callable, Mapping

import attrs

from onetenant_waldur.offering import Offering, Terms
from onetenant_waldur.outage import WORK_ERRORS, is_outage
from onetenant_waldur.records import OrderRecord, ResourceRecord
from onetenant_waldur.waldur import WaldurDenied, WaldurError, WaldurRefused
from opennebula_tenancy import Conflict, NotEmpty, NotFound, RollbackIncomplete, SettingsError, TenancyError, Vdc


PENDING, EXECUTING, DONE = "pending-provider", "executing", "done"
CREATE = "Create"
TERMINATED = "Terminated"
_DETAILS_CHARACTERS = 10_000
_TWIN_PAUSE_S = 1.0


class OrderProblem(Exception):
    """Why an order cannot be carried out, in a sentence for the customer."""


@attrs.frozen(kw_only=True)
class Tally:
    """What became of the orders of a cycle.

    Attributes:
        done: Carried out.
        erred: Refused for good.
        left: To be taken up again in the next cycle.
        skipped: No longer to be carried out.
    """

    done: int = 0
    erred: int = 0
    left: int = 0
    skipped: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            done=self.done + other.done,
            erred=self.erred + other.erred,
            left=self.left + other.left,
            skipped=self.skipped + other.skipped,
        )


def process_orders(offering: Offering, stopping: Callable[[], bool] = lambda: False) -> Tally:
    """Carry out the orders of an offering, oldest first.

    Args:
        offering: The offering.
        stopping: Asked before each order whether to stop.

    Returns:
        What became of the orders.
    """
    try:
        orders = offering.waldur.open_orders(offering.settings.waldur_offering_uuid)
    except WaldurError as error:
        offering.log.warning("orders_not_read", reason=str(error))
        return Tally(left=1)
    total = Tally()
    terms = _ready(offering, len(orders)) if orders else None
    for number, order in enumerate(orders):
        left = Tally(left=len(orders) - number)
        if terms is None:
            return total + left
        if stopping():
            return total
        try:
            total += OrderWork(offering, terms, order).carry_out()
        except WaldurDenied as error:
            offering.log.warning("orders_left", reason=str(error), orders=left.left)
            return total + left
        except WORK_ERRORS as error:
            offering.log.warning("order_left", order=order.uuid.hex, type=order.type, reason=str(error))
            total += Tally(left=1)
            if is_outage(error):
                # One order must not stand in the way of the others, unless what is down is down for all.
                terms = _ready(offering, left.left - 1)
        except Exception:  # nor must a mistake in this program, which the log shows in full
            offering.log.exception("order_left", order=order.uuid.hex, type=order.type)
            total += Tally(left=1)
    return total


def _ready(offering: Offering, orders: int) -> Terms | None:
    """The terms of the offering, when Waldur and OpenNebula are there. None when orders have to wait.

    An order that nothing has been done for is better left pending, where its customer can take it back.
    """
    try:
        terms = offering.terms()
        offering.cloud.ping()
    except WORK_ERRORS as error:
        offering.log.warning("orders_left", reason=str(error), orders=orders)
        return None
    return terms


class OrderWork:
    """One order, from the state it is found in to the end or to an outage.

    Args:
        offering: Its offering.
        terms: The offering's terms.
        order: The order.
    """

    def __init__(self, offering: Offering, terms: Terms, order: OrderRecord) -> None:
        self._offering = offering
        self._waldur = offering.waldur
        self._vdcs = offering.cloud.vdcs
        self._terms = terms
        self._order = order
        self._log = offering.log.bind(order=order.uuid.hex, type=order.type)

    def carry_out(self) -> Tally:
        """Carry the order out, or say in Waldur why it cannot be.

        Returns:
            What became of it.

        Raises:
            WaldurError: An outage of Waldur; the order is to be taken up again.
            TenancyError: An outage of OpenNebula; so too.
        """
        order = self._order
        # What the list says is some orders old.
        state = self._waldur.approve(order.uuid) if order.state == PENDING else self._waldur.order_state(order.uuid)
        if state != EXECUTING:
            self._log.info("order_skipped", state=state)
            return Tally(skipped=1)
        work = {CREATE: self._create, "Restore": self._create, "Update": self._update, "Terminate": self._terminate}
        try:
            return work.get(order.type, self._refuse)(self._waldur.resource(order.resource))
        except (OrderProblem, *WORK_ERRORS) as error:
            if is_outage(error):
                raise
            return self._err(self._leave_nothing(error) if order.type == CREATE else error)

    def _refuse(self, _resource: ResourceRecord) -> Tally:
        raise OrderProblem(f"Orders of the type {self._order.type} are not processed here.")

    def _leave_nothing(self, error: Exception) -> Exception:
        """Remove what an order, in this run or an earlier one, has made of a tenant that there will not be.

        Returns:
            The error, and what is left behind all the same.
        """
        key = self._order.resource.hex
        try:
            self._vdcs.delete(key=key)
        except TenancyError as failure:
            if is_outage(failure):
                raise
            return RollbackIncomplete(error, [failure], [f"the tenant with the key {key}"])
        return error

    def _create(self, resource: ResourceRecord) -> Tally:
        tenant = self._ensure(resource)
        if resource.backend_id != str(tenant.id):
            self._waldur.set_backend_id(resource.uuid, str(tenant.id))
        self._note(resource, tenant)
        return self._finish(lambda: self._take_back(tenant))

    def _ensure(self, resource: ResourceRecord) -> Vdc:
        amounts = self._terms.components.amounts(self._order.limits, self._order.plan)
        conflict: Conflict | None = None
        for name in self._offering.names(resource, self._terms):
            spec = self._terms.spec(resource, name, amounts)
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

    def _note(self, resource: ResourceRecord, tenant: Vdc) -> None:
        """Tell Waldur what the tenant really has."""
        if limits := self._terms.components.limits(tenant.quota()):
            self._waldur.set_limits(resource.uuid, limits)
        metadata = {
            **resource.backend_metadata,
            "opennebula_name": tenant.name,
            "opennebula_vdc_id": tenant.vdc_id,
        }
        if metadata != resource.backend_metadata:
            self._waldur.set_backend_metadata(resource.uuid, metadata)

    def _take_back(self, tenant: Vdc) -> None:
        """Remove a tenant whose order was cancelled meanwhile, if that ended the resource."""
        if self._waldur.resource(self._order.resource).state == TERMINATED:
            self._vdcs.delete(tenant.id, key=tenant.key)
            self._log.info("tenant_taken_back", group=tenant.id)

    def _update(self, resource: ResourceRecord) -> Tally:
        amounts = self._terms.components.amounts(self._order.limits, self._order.plan)
        tenant = self._tenant(resource)
        self._set_amounts(tenant, amounts)
        return self._finish(lambda: self._restore(tenant))

    def _restore(self, tenant: Vdc) -> None:
        """Give a tenant back the limits that Waldur has for it, after its order was cancelled meanwhile."""
        self._set_amounts(tenant, self._waldur.resource(self._order.resource).limits)
        self._log.info("limits_restored", group=tenant.id)

    def _set_amounts(self, tenant: Vdc, amounts: Mapping[str, float]) -> None:
        if quota := self._terms.components.quota(amounts, floating_ips=self._terms.floating_ips):
            tenant.set_quota(quota)

    def _tenant(self, resource: ResourceRecord) -> Vdc:
        if not resource.backend_id:
            raise OrderProblem("The resource has no tenant: its creation was never finished.")
        group_id = _group_id(resource)
        try:
            tenant = self._vdcs.get(group_id)
        except NotFound:
            raise OrderProblem(f"The tenant (group {group_id}) does not exist any more.") from None
        except Conflict:
            raise OrderProblem(_not_ours(group_id)) from None
        if tenant.key != resource.key:
            raise OrderProblem(_not_ours(group_id))
        return tenant

    def _terminate(self, resource: ResourceRecord) -> Tally:
        group_id = _group_id(resource) if resource.backend_id else None
        self._vdcs.delete(group_id, key=resource.key)
        return self._finish(lambda: self._log.warning("cancelled_too_late", tenant=resource.backend_id))

    def _finish(self, undo: Callable[[], None]) -> Tally:
        """Acknowledge what has been done, unless the order was ended meanwhile.

        Args:
            undo: What to do when it was ended otherwise than by us.

        Returns:
            What became of the order.
        """
        state = self._waldur.order_state(self._order.uuid)
        if state == EXECUTING:
            try:
                self._waldur.set_done(self._order.uuid)
                state = DONE
            except WaldurRefused as error:
                state = self._waldur.order_state(self._order.uuid)
                if state == EXECUTING:
                    raise
                self._log.info("order_ended_meanwhile", state=state, reason=str(error))
        if state == DONE:
            self._log.info("order_done")
            return Tally(done=1)
        undo()
        self._log.warning("order_ended_meanwhile", state=state)
        return Tally(skipped=1)

    def _err(self, error: Exception) -> Tally:
        """Say in Waldur why the order cannot be carried out."""
        redaction = self._offering.redaction
        message = redaction.text(_sentence(error))
        details = redaction.text("".join(traceback.format_exception(error)))[-_DETAILS_CHARACTERS:]
        self._log.error("order_erred", reason=message, details=details)
        if not self._offering.expose_details:
            details = ""
            if not isinstance(error, OrderProblem | SettingsError | NotEmpty):
                message = f"The provider could not carry out the order; its log has the details of {self._order.uuid}."
        self._waldur.set_erred(self._order.uuid, message, details)
        return Tally(erred=1)


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


def _sentence(error: Exception) -> str:
    match error:
        case SettingsError():
            return f"The order cannot be carried out: {'; '.join(error.problems)}."
        case Conflict():
            return f"Something that this agent did not make stands in the way in OpenNebula: {error}."
        case _:
            return str(error)
