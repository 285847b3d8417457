"""How resources are, told to Waldur with each report: well or not, with which limits, and when they were looked after.

Limits in Waldur follow what OpenNebula enforces: where somebody has changed a tenant's limits by hand, Waldur is told,
and the log says so. Nothing is changed in OpenNebula: that is what orders are for.
"""

from collections.abc import Callable
from http import HTTPStatus
from uuid import UUID

import attrs

from onetenant_waldur.notes import NOT_THERE, write_notes
from onetenant_waldur.offering import Offering, Terms
from onetenant_waldur.records import ResourceRecord
from onetenant_waldur.stock import Figures, why_missing
from onetenant_waldur.waldur_calls import WaldurDenied, WaldurRefused


OK, ERRED = "OK", "Erred"


@attrs.define
class StateRefresh:
    """The states of the resources of an offering.

    Attributes:
        offering: The offering.
    """

    offering: Offering
    _said: set[tuple[UUID, str]] = attrs.field(factory=set, init=False)
    _missing_calls: set[str] = attrs.field(factory=set, init=False)

    def refresh(self, resource: ResourceRecord, figures: Figures | None, terms: Terms) -> None:
        """Tell Waldur how a resource is.

        Args:
            resource: The resource, as it was listed.
            figures: What there is of it; None when there is nothing.
            terms: The offering's terms.

        Raises:
            WaldurError: Waldur is not there, or lets this agent do nothing.
            TenancyError: OpenNebula is not there.
        """
        waldur = self.offering.waldur
        if figures is None:
            self._missing(resource)
            return
        self._keep_limits(resource, figures, terms)
        if resource.state == ERRED and self._is_still(resource):
            self._tell("set_as_ok", resource, lambda: waldur.set_resource_ok(resource.uuid))
            self.offering.log.info("resource_well_again", resource=resource.uuid.hex)
        self._tell("refresh_last_sync", resource, lambda: waldur.set_synchronised(resource.uuid))

    def _missing(self, resource: ResourceRecord) -> None:
        """Mark a resource that is gone. One that another tool has made is that tool's business."""
        if resource.state != OK or not resource.backend_id.isdecimal():
            return
        reason = why_missing(self.offering, int(resource.backend_id), resource.key)
        if reason is None:
            return  # it has come since all of them were read
        if self._is_still(resource):
            waldur = self.offering.waldur
            self._tell("set_as_erred", resource, lambda: waldur.set_resource_erred(resource.uuid, reason))
            self.offering.log.error("resource_erred", resource=resource.uuid.hex, reason=reason)

    def _keep_limits(self, resource: ResourceRecord, figures: Figures, terms: Terms) -> None:
        held = figures.limits(terms)
        for name in sorted(terms.components.names & resource.limits.keys() - held.keys()):
            if resource.limits[name]:
                # Nothing that Waldur could be told: to it a limit is a number.
                self._say_once(resource, f"OpenNebula has no limit for {name}")
        differing = {name: limit for name, limit in held.items() if resource.limits.get(name) != limit}
        if not differing or resource.state not in {OK, ERRED} or not self._is_still(resource):
            return
        self.offering.log.warning(
            "limits_differ",
            resource=resource.uuid.hex,
            waldur={name: resource.limits.get(name) for name in differing},
            opennebula=differing,
        )
        self._tell("set_limits", resource, lambda: write_notes(self.offering, resource.uuid, limits=differing))

    def _is_still(self, resource: ResourceRecord) -> bool:
        """Whether Waldur still has what it has listed: meanwhile an order may have begun, or ended."""
        now = self.offering.waldur.resource(resource.uuid)
        return (now.state, now.backend_id, now.limits) == (resource.state, resource.backend_id, resource.limits)

    def _tell(self, call: str, resource: ResourceRecord, tell: Callable[[], None]) -> None:
        """Tell Waldur something that it can do without. A call that it does not have is not sent again."""
        if call in self._missing_calls:
            return
        try:
            tell()
        except WaldurRefused as error:
            # A denial may be of this call alone: in 2024 only staff could mark resources.
            if error.status == HTTPStatus.UNAUTHORIZED:
                raise
            if error.status in NOT_THERE or isinstance(error, WaldurDenied):
                self._missing_calls.add(call)
            self._say_once(resource, str(error))

    def _say_once(self, resource: ResourceRecord, reason: str) -> None:
        if (resource.uuid, reason) not in self._said:
            self._said.add((resource.uuid, reason))
            self.offering.log.warning("resource_not_refreshed", resource=resource.uuid.hex, reason=reason)
