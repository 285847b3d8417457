"""The life of an order: accepted, carried out, acknowledged last; resumed and never restarted."""

import contextlib
import traceback
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import attrs

from onetenant_waldur.attempts import LEFT_BEHIND, is_notable, note
from onetenant_waldur.offering import Offering, Terms
from onetenant_waldur.outage import WORK_ERRORS, is_outage
from onetenant_waldur.records import OrderRecord, ResourceRecord
from onetenant_waldur.resource_orders import OrderProblem, ResourceOrders, Task
from onetenant_waldur.settings_values import VDC, VM
from onetenant_waldur.vdc_orders import VdcOrders
from onetenant_waldur.vm_orders import VmOrders
from onetenant_waldur.waldur_calls import WaldurError, WaldurRefused
from opennebula_tenancy import (
    Conflict,
    NotAuthorized,
    NotEmpty,
    QuotaExceeded,
    RollbackIncomplete,
    SettingsError,
    TenancyError,
)


PENDING, EXECUTING, DONE, CANCELLED = "pending-provider", "executing", "done", "canceled"
ERRED = "erred"
CREATE, RESTORE, UPDATE, TERMINATE = "Create", "Restore", "Update", "Terminate"
TERMINATING, TERMINATED, FAILED = "Terminating", "Terminated", "Erred"
"""States of resources."""
KINDS: Mapping[str, Callable[[Task[Any]], ResourceOrders]] = {VDC: VdcOrders, VM: VmOrders}
"""For each `resource_type` of the settings what its orders do."""
_DETAILS_CHARACTERS = 10_000
_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


@attrs.frozen(kw_only=True)
class Tally:
    """What became of the orders of a cycle.

    Attributes:
        done: Carried out.
        erred: Refused for good.
        left: To be taken up again in a later cycle.
        skipped: No longer to be carried out, or another agent's.
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


class OrderLife:
    """One order, from the state that it is found in to its end or to an outage.

    Args:
        offering: Its offering.
        terms: The offering's terms.
        order: The order.
    """

    def __init__(self, offering: Offering, terms: Terms, order: OrderRecord) -> None:
        self._offering = offering
        self._waldur = offering.waldur
        self._terms = terms
        self._order = order
        self._log = offering.log.bind(order=order.uuid.hex, type=order.type)

    def go_on(self) -> Tally:
        """Carry the order out, or undo it if it has been cancelled, or say in Waldur why it cannot be carried out.

        Returns:
            What became of it.

        Raises:
            WaldurError: An outage of Waldur; the order is to be taken up again.
            TenancyError: An outage of OpenNebula; so too.
        """
        state = self._state()
        if state == EXECUTING:
            return self._carry_out()
        if self._order.state != PENDING and self._is_unwanted(state):
            return self._undo(self._work())
        self._log.info("order_skipped", state=state)
        return Tally(skipped=1)

    def is_gone(self, error: Exception) -> bool:
        """Whether an error is that Waldur does not have the order any more: somebody has deleted it."""
        if not isinstance(error, WaldurRefused) or error.status not in _GONE:
            return False
        try:
            self._waldur.order_state(self._order.uuid)
        except WaldurError as failure:
            if isinstance(failure, WaldurRefused) and failure.status in _GONE:
                self._log.error("order_gone", reason=str(failure), key=self._order.resource.hex)
                return True
        return False

    def give_up(self, error: Exception, failures: int) -> Tally:
        """End an order that fails again and again, while others do not.

        Args:
            error: Why it failed last: a mistake in this program, or what looks like an outage and befalls it alone.
            failures: How often it has failed.

        Returns:
            What became of the order.
        """
        because = "because of a mistake in the provider's agent; its log"
        if isinstance(error, WORK_ERRORS):
            because = "although OpenNebula and Waldur were there for others; the log of the provider's agent"
        problem = OrderProblem(
            f"The order could not be carried out in {failures} attempts, {because} has the details of "
            f"{self._order.uuid}."
        )
        problem.__cause__ = error
        try:
            return self._fail(problem)
        except WORK_ERRORS:
            raise
        except Exception as mistake:  # noqa: BLE001  the order is to end, whatever it is
            return self._err(RollbackIncomplete(problem, [mistake], [self._left()]))

    def _state(self) -> str:
        """The state that the order is in, once it has been accepted if it waits for that."""
        if self._order.state != PENDING:
            return self._waldur.order_state(self._order.uuid)  # what the list says is some orders old
        accepted = self._waldur.approve(self._order.uuid)
        if accepted.by_another and accepted.state == EXECUTING:
            # Another agent, or a person, a moment ago. Whoever it was, the next cycle sees to what is left to be done.
            return "accepted by another"
        return accepted.state

    def _work(self) -> ResourceOrders:
        return self._work_on(self._waldur.resource(self._order.resource))

    def _work_on(self, resource: ResourceRecord) -> ResourceOrders:
        kind = KINDS[self._offering.settings.backend_settings.resource_type]
        return kind(
            Task(offering=self._offering, terms=self._terms, order=self._order, resource=resource, log=self._log)
        )

    def _carry_out(self) -> Tally:
        try:
            resource = self._waldur.resource(self._order.resource)
            work = self._work_on(resource)
            self._step(work, resource)()
        except (OrderProblem, *WORK_ERRORS) as error:
            self._raise_if_nobodys(error)
            return self._fail(error)
        return self._finish(work)

    def _raise_if_nobodys(self, error: Exception) -> None:
        """Raise an error that is not the order's: an outage, or an account that may do nothing for any order."""
        if is_outage(error):
            raise error
        cause = error.cause if isinstance(error, RollbackIncomplete) else error
        if isinstance(cause, NotAuthorized) and not isinstance(cause, QuotaExceeded):
            self._offering.cloud.vdcs.list()  # refused as a denial of all there is, where the account sees too little

    def _step(self, work: ResourceOrders, resource: ResourceRecord) -> Callable[[], None]:
        """What the order asks for."""
        steps = {CREATE: work.create, RESTORE: work.create, UPDATE: work.update, TERMINATE: work.terminate}
        if self._order.type not in steps:
            raise OrderProblem(f"Orders of the type {self._order.type} are not processed here.")
        if resource.state == TERMINATED and self._order.type != TERMINATE:
            raise OrderProblem("The resource was terminated before the order could be carried out.")
        return steps[self._order.type]

    def _fail(self, error: Exception) -> Tally:
        """End an order that cannot be carried out, unless somebody has ended it meanwhile."""
        # Waldur does not ask: it would mark the resource of an order that is done, as another agent may have seen to.
        if (state := self._waldur.order_state(self._order.uuid)) == EXECUTING:
            put_back = self._put_back(error)
            is_left = put_back is not error and self._order.type == CREATE
            if is_left:
                self._note(LEFT_BEHIND)
            ended = (state := self._waldur.order_state(self._order.uuid)) == EXECUTING
            if ended:
                self._err(put_back)
                with contextlib.suppress(WaldurError):  # it has ended, whether that is seen or not
                    state = self._waldur.order_state(self._order.uuid)
            if state == DONE:
                return self._put_right(error)
            if ended or is_left:
                if not ended:
                    self._log.error("order_ended_meanwhile", state=state, reason=str(put_back))
                # What is left is looked after again, as if the creation had been cancelled.
                return Tally(erred=1, left=int(is_left))
        self._log.warning("order_ended_meanwhile", state=state, reason=str(error))
        return self._undo(self._work()) if self._is_unwanted(state) else Tally(skipped=1)

    def _put_right(self, error: Exception) -> Tally:
        """Do again what this run has taken back while another agent, which did not fail, has ended the order well.

        Nothing in Waldur keeps one from failing an order that another is about to end. Of a resource whose end was
        done at that very moment, Waldur then says that it is well, until a report finds that it is not there.
        """
        self._log.warning("order_done_meanwhile", reason=str(error))
        if self._order.type == CREATE and self._waldur.has_other_orders(self._order):
            return Tally(skipped=1)  # what it made has been changed since, or ended: these orders say how it is to be
        resource = self._waldur.resource(self._order.resource)
        work = self._work_on(resource)
        try:
            self._step(work, resource)()
        except (OrderProblem, *WORK_ERRORS) as failure:
            # Not left for later where it is an outage: nobody would take up an order that is done.
            return self._err(failure)
        if resource.state == FAILED:
            try:
                self._waldur.set_resource_ok(resource.uuid)
            except WaldurRefused as refusal:  # a call that came later, and for some was only for staff
                self._log.info("resource_not_marked", reason=str(refusal))
        return Tally(done=1)

    def _is_unwanted(self, state: str) -> bool:
        """Whether what was done for an order that is in this state is to be taken back.

        What somebody else, such as another agent, has failed with, and taken back, this one may have made once more.
        """
        return state == CANCELLED or (state == ERRED and self._order.type == CREATE)

    def _put_back(self, error: Exception) -> Exception:
        """Put back what an order, in this run or an earlier one, has changed on its way to an error.

        Returns:
            The error, and what is not put back all the same.
        """
        try:
            work = self._work()
            steps = {CREATE: work.undo_create, UPDATE: work.undo_update, TERMINATE: work.undo_terminate}
            if self._order.type in steps and steps[self._order.type]():
                self._log.info("order_taken_back")
        except OrderProblem as problem:
            self._log.warning("order_not_taken_back", reason=str(problem))
        except (WaldurRefused, TenancyError) as failure:
            self._raise_if_nobodys(failure)
            return RollbackIncomplete(error, [failure], [self._left()])
        return error

    def _note(self, text: str) -> None:
        """Tell an agent that is started later whether something is left. Not every Waldur takes such notes."""
        if is_notable(self._order):
            try:
                self._waldur.note_order(self._order.uuid, text)
            except WaldurRefused as error:
                self._log.info("note_not_taken", reason=str(error))

    def _left(self) -> str:
        what = f"what carries the key {self._order.resource.hex}"
        return what if self._order.type == CREATE else f"{what}, half changed"

    def _finish(self, work: ResourceOrders) -> Tally:
        """Acknowledge what has been done, unless the order was ended meanwhile."""
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
            self._after(work)
            return Tally(done=1)
        return self._undo(work)

    def _after(self, work: ResourceOrders) -> None:
        """Do what comes after the end of an order. That it ended well stands, whatever comes of this."""
        try:
            work.acknowledged()
        except (OrderProblem, *WORK_ERRORS) as error:
            self._log.info("resource_not_noted", reason=str(error))

    def _undo(self, work: ResourceOrders) -> Tally:
        """Take back what was done for an order that somebody has ended meanwhile.

        Raises:
            WaldurError: Waldur refused, or is not there; it is to be tried again.
            TenancyError: OpenNebula refused, or is not there; so too.
        """
        try:
            event = "order_taken_back" if self._undone(work) else "nothing_to_take_back"
        except OrderProblem as problem:
            self._log.warning("order_not_taken_back", reason=str(problem))
        except WORK_ERRORS as error:
            self._raise_if_nobodys(error)
            raise
        else:
            self._log.info(event)
        if self._order.note == LEFT_BEHIND:
            self._note(note(0))
        return Tally(skipped=1)

    def _undone(self, work: ResourceOrders) -> bool:
        state = self._waldur.resource(self._order.resource).state
        match self._order.type:
            case "Create":
                # The resource may have been kept all the same, by somebody who has ended the order by hand, or as what
                # could not be removed a while ago. It is erred, and not terminated, where it had its id already.
                unwanted = {TERMINATED, FAILED} if self._order.note == LEFT_BEHIND else {TERMINATED}
                if state == FAILED and self._waldur.has_other_orders(self._order):
                    return False  # it was kept, and has been used since: one of these has erred
                return state in unwanted and work.undo_create()
            case "Update":
                return state != TERMINATED and work.undo_update()
            case "Terminate":
                # Another order may have been placed to the same end, or have come to it.
                return state not in {TERMINATING, TERMINATED} and work.undo_terminate()
        return False

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


def _sentence(error: Exception) -> str:
    match error:
        case SettingsError():
            return f"The order cannot be carried out: {'; '.join(error.problems)}."
        case Conflict():
            return f"Something that this agent did not make stands in the way in OpenNebula: {error}."
        case _:
            return str(error)
