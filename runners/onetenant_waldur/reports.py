"""Usage reports: one OpenNebula call for all tenants, and to Waldur only what has changed."""

import datetime as dt
from collections.abc import Callable, Mapping
from decimal import Decimal
from uuid import UUID

import attrs

from onetenant_waldur.offering import Offering
from onetenant_waldur.outage import WORK_ERRORS, is_outage
from onetenant_waldur.records import ResourceRecord
from onetenant_waldur.waldur import WaldurRefused
from opennebula_tenancy import Cloud, TenancyError, Usage


@attrs.frozen(kw_only=True)
class ReportTally:
    """What became of the resources of a report.

    Attributes:
        sent: Something new was reported.
        unchanged: Waldur knew everything.
        missing: There is no tenant to measure.
        failed: Waldur did not take the report, or all of it failed.
    """

    sent: int = 0
    unchanged: int = 0
    missing: int = 0
    failed: int = 0


@attrs.define
class UsageSnapshot:
    """The usage of all tenants of each cloud, asked for once in a cycle, however many offerings a cloud serves."""

    _answers: dict[int, Mapping[int, Usage] | TenancyError] = attrs.field(factory=dict, init=False)

    def of(self, cloud: Cloud) -> Mapping[int, Usage]:
        """The usage of each tenant of a cloud, by the id of its group.

        Raises:
            TenancyError: The cloud did not say; not when asked for other offerings either.
        """
        if id(cloud) not in self._answers:
            try:
                self._answers[id(cloud)] = cloud.vdcs.usage()
            except TenancyError as error:
                self._answers[id(cloud)] = error
        answer = self._answers[id(cloud)]
        if isinstance(answer, TenancyError):
            raise answer
        return answer


def report_usage(
    offering: Offering,
    snapshot: UsageSnapshot,
    today: dt.date,
    stopping: Callable[[], bool] = lambda: False,
) -> ReportTally:
    """Report what the tenants of an offering use at the moment, zeros included.

    Args:
        offering: The offering.
        snapshot: The usage of all tenants.
        today: The date, whose month it is that Waldur is asked about.
        stopping: Asked before each resource whether to stop.

    Returns:
        What became of it.
    """
    try:
        return _report(offering, snapshot, today, stopping)
    except WORK_ERRORS as error:
        offering.log.warning("usage_not_reported", reason=str(error))
        return ReportTally(failed=1)


def _report(offering: Offering, snapshot: UsageSnapshot, today: dt.date, stopping: Callable[[], bool]) -> ReportTally:
    uuid = offering.settings.waldur_offering_uuid
    resources = [one for one in offering.waldur.reportable_resources(uuid) if one.backend_id]
    if not resources:
        return ReportTally()
    components = offering.terms().components
    tenants = snapshot.of(offering.cloud)
    known = _known(offering, today)
    missing: list[str] = []
    sent = unchanged = failed = 0
    for resource in resources:
        if stopping():
            break
        usage = _usage(tenants, resource)
        if usage is None:
            missing.append(resource.backend_id)
            continue
        before = known.get(resource.uuid, {})
        changed = {name: amount for name, amount in components.usage(usage).items() if before.get(name) != amount}
        if not changed:
            unchanged += 1
            continue
        try:
            offering.waldur.set_usage(resource.uuid, changed)
            sent += 1
        except WaldurRefused as error:
            if is_outage(error):
                raise
            failed += 1
            offering.log.warning("usage_refused", resource=resource.uuid.hex, reason=str(error))
    if missing:
        # Their usage is not known, which is something else than 0.
        offering.log.warning("tenants_missing", backend_ids=missing)
    offering.log.info("usage_reported", sent=sent, unchanged=unchanged, missing=len(missing), failed=failed)
    return ReportTally(sent=sent, unchanged=unchanged, missing=len(missing), failed=failed)


def _known(offering: Offering, today: dt.date) -> dict[UUID, dict[str, Decimal]]:
    """What Waldur knows of this month."""
    known: dict[UUID, dict[str, Decimal]] = {}
    for one in offering.waldur.usages(offering.settings.waldur_offering_uuid, today.replace(day=1)):
        known.setdefault(one.resource, {})[one.component] = one.amount
    return known


def _usage(tenants: Mapping[int, Usage], resource: ResourceRecord) -> Usage | None:
    return tenants.get(int(resource.backend_id)) if resource.backend_id.isdecimal() else None
