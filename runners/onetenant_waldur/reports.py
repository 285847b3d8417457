"""Usage reports: one OpenNebula call for all resources of a kind, and to Waldur only what has changed."""

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from http import HTTPStatus
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs

from onetenant_waldur.backoff import Backoff, Paces
from onetenant_waldur.offering import Offering, Terms
from onetenant_waldur.outage import WORK_ERRORS, is_denial, is_outage
from onetenant_waldur.records import ResourceRecord
from onetenant_waldur.resource_state import StateRefresh
from onetenant_waldur.stock import Figures, Stock
from onetenant_waldur.stop import Stopping
from onetenant_waldur.waldur_calls import WaldurRefused, WaldurUnavailable


_NOT_TAKEN = "components are invalid"
"""How a Waldur that takes no usage of what a plan includes says so."""
_CLOCKS_AGREE = dt.timedelta(minutes=5)
"""How far the clocks of Waldur and this machine may be apart without a word about it."""


@attrs.define
class ReportTally:
    """What became of the resources of a report.

    Attributes:
        sent: Something new was reported.
        unchanged: Waldur knew everything.
        missing: The backend ids for which there is no tenant to measure.
        failed: Waldur did not take the report.
    """

    sent: int = 0
    unchanged: int = 0
    missing: list[str] = attrs.field(factory=list)
    failed: int = 0


class UsageReport:
    """The reports of one offering.

    Args:
        offering: The offering.
        timezone: Whose months it is that usage is reported for.
        paces: How long an offering is left alone that cannot be reported for.
    """

    def __init__(self, offering: Offering, timezone: ZoneInfo, paces: Paces) -> None:
        self._offering = offering
        self._timezone = timezone
        self._paces = paces
        self._backoff = Backoff()
        self._state = StateRefresh(offering)
        self._clocks_said = False
        self._takes_included = True

    def send(self, stock: Stock, stop: Stopping) -> bool:
        """Report how the resources are, and what they use at the moment, zeros included.

        Args:
            stock: What there is.
            stop: Asked before each resource whether to stop.

        Returns:
            Whether Waldur knows all of it now.
        """
        log = self._offering.log
        if (left_s := self._backoff.left_s) > 0:
            log.warning("usage_waits", reason=self._backoff.reason, seconds=round(left_s))
            return False
        try:
            tally = self._report(stock, stop)
        except WORK_ERRORS as error:
            pace = self._paces.denial if is_denial(error) else self._paces.outage
            asked_s = error.retry_after_s if isinstance(error, WaldurUnavailable) else 0.0
            self._backoff.failed(pace, str(error), at_least_s=asked_s)
            log.warning("usage_not_reported", reason=str(error), again_in_s=round(self._backoff.left_s))
            return False
        except Exception:  # a mistake in this program is to stop this offering alone
            log.exception("usage_not_reported")
            return False
        self._backoff.succeeded()
        return not tally.failed

    def _report(self, stock: Stock, stop: Stopping) -> ReportTally:
        offering, tally = self._offering, ReportTally()
        found = offering.waldur.reportable_resources(offering.settings.waldur_offering_uuid)
        resources = [one for one in found if one.backend_id]
        if not resources:
            return tally
        terms = offering.terms()
        measured = stock.of(offering)
        known = self._known()
        for resource in resources:
            if stop.requested:
                return tally
            figures = _figures(measured, resource)
            # First, since Waldur takes no usage of a resource that is erred.
            self._state.refresh(resource, figures, terms)
            if figures is None:
                tally.missing.append(resource.backend_id)
            else:
                self._send(resource, figures, terms, known.get(resource.uuid, {}), tally)
        if tally.missing:
            # Their usage is not known, which is something else than 0.
            offering.log.warning("resources_missing", backend_ids=tally.missing)
        offering.log.info(
            "usage_reported",
            sent=tally.sent,
            unchanged=tally.unchanged,
            missing=len(tally.missing),
            failed=tally.failed,
        )
        return tally

    def _send(
        self,
        resource: ResourceRecord,
        figures: Figures,
        terms: Terms,
        before: Mapping[str, Decimal],
        tally: ReportTally,
    ) -> None:
        included = _changed(figures.included(terms), before) if self._takes_included else {}
        changed = _changed(figures.usage(terms), before)
        refused = False
        for send, amounts in ((self._offering.waldur.set_usage, changed), (self._send_included, included)):
            try:
                if amounts:
                    send(resource.uuid, amounts)
            except WaldurRefused as error:
                if is_outage(error):
                    raise
                refused = True
                self._offering.log.warning("usage_refused", resource=resource.uuid.hex, reason=str(error))
        tally.failed += refused
        tally.sent += bool(changed) and not refused
        tally.unchanged += not changed and not refused

    def _send_included(self, resource: UUID, amounts: Mapping[str, Decimal]) -> None:
        """Report what a plan includes, to a Waldur that takes it. One that says that it does not is not asked again."""
        try:
            self._offering.waldur.set_usage(resource, amounts)
        except WaldurRefused as error:
            if error.status != HTTPStatus.BAD_REQUEST or _NOT_TAKEN not in error.detail:
                raise
            self._takes_included = False
            self._offering.log.info("included_usage_not_taken", reason=str(error))

    def _known(self) -> dict[UUID, dict[str, Decimal]]:
        """What Waldur knows of this month: the one that it is there, since it books what it gets by its own clock."""
        waldur = self._offering.waldur
        apart = waldur.ahead
        if abs(apart) > _CLOCKS_AGREE and not self._clocks_said:
            self._clocks_said = True
            self._offering.log.warning("clocks_disagree", waldur_is_ahead_by_s=round(apart.total_seconds()))
        today = waldur.now.astimezone(self._timezone).date()
        known: dict[UUID, dict[str, Decimal]] = {}
        for one in waldur.usages(self._offering.settings.waldur_offering_uuid, today.replace(day=1)):
            known.setdefault(one.resource, {})[one.component] = one.amount
        return known


def _changed(amounts: Mapping[str, Decimal], before: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {name: amount for name, amount in amounts.items() if before.get(name) != amount}


def _figures(stock: Mapping[int, Figures], resource: ResourceRecord) -> Figures | None:
    """What there is of a resource. A group, or a machine, with its id and another key is not."""
    figures = stock.get(int(resource.backend_id)) if resource.backend_id.isdecimal() else None
    return figures if figures is not None and figures.key == resource.key else None
