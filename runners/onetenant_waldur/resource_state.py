"""How resources are, told to Waldur with each report: well or not, with which limits, and when they were looked after.

Limits in Waldur follow what OpenNebula enforces: where somebody has changed a tenant's limits by hand, Waldur is told,
and the log says so. Nothing is changed in OpenNebula: that is what orders are for.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from uuid import UUID

import attrs

from onetenant_waldur.admin_accounts import AccountNotes
from onetenant_waldur.notes import NOT_THERE, write_notes
from onetenant_waldur.offering import Offering, Terms
from onetenant_waldur.outage import WORK_ERRORS, is_outage
from onetenant_waldur.records import ResourceRecord
from onetenant_waldur.stock import Figures, why_missing
from onetenant_waldur.tenants import lost_parts
from onetenant_waldur.waldur_calls import WaldurDenied, WaldurRefused
from opennebula_tenancy.vdc_figures import ACCOUNT, NETWORK


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
        lost = lost_parts(self.offering, figures.missing)
        if ACCOUNT in lost:
            # No reason to mark it: its administrator can remove itself, and Waldur takes no usage of what is erred.
            self._say_once(resource, f"it has lost its {ACCOUNT}; an update of it, or reset-password, makes it again")
        if NETWORK in lost:
            self._not_whole(resource)
        elif resource.state == ERRED and not lost and self._is_still(resource):
            self._tell("set_as_ok", resource, lambda: waldur.set_resource_ok(resource.uuid))
            self.offering.log.info("resource_well_again", resource=resource.uuid.hex)
        self._keep_credentials(resource, figures)
        self._tell("refresh_last_sync", resource, lambda: waldur.set_synchronised(resource.uuid))

    def _missing(self, resource: ResourceRecord) -> None:
        """Mark a resource that is gone. One that another tool has made is that tool's business."""
        if resource.state != OK or not resource.backend_id.isdecimal():
            return
        reason = why_missing(self.offering, int(resource.backend_id), resource.key)
        if reason is not None:  # else it has come since all of them were read
            self._err(resource, reason)

    def _not_whole(self, resource: ResourceRecord) -> None:
        """Mark a resource of which a removal was begun, and not ended."""
        if resource.state == OK:
            self._err(resource, f"The tenant (group {resource.backend_id}) is there, and has lost its {NETWORK}.")

    def _err(self, resource: ResourceRecord, reason: str) -> None:
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
        if figures.unlimited_datastores:
            where = ", ".join(map(str, figures.unlimited_datastores))
            self._say_once(
                resource,
                f"datastore {where}: the tenant has images there and no limit of storage: the datastore came to its "
                "clusters, or left them, since its limits were set; the next order that sets its storage mends that",
            )
        differing = {name: limit for name, limit in held.items() if resource.limits.get(name) != limit}
        if not differing or resource.state not in {OK, ERRED} or not self._is_still(resource, resource.limits):
            return
        self.offering.log.warning(
            "limits_differ",
            resource=resource.uuid.hex,
            waldur={name: resource.limits.get(name) for name in differing},
            opennebula=differing,
        )
        self._tell("set_limits", resource, lambda: write_notes(self.offering, resource.uuid, limits=differing))

    def _keep_credentials(self, resource: ResourceRecord, figures: Figures) -> None:
        """Show the credentials of an administrator again: they were reset elsewhere, or are not shown any more."""
        if resource.state not in {OK, ERRED}:
            return  # an order is at work on it
        try:
            AccountNotes(self.offering, resource).keep_shown(figures.credentials)
        except WORK_ERRORS as error:
            of_this_call = isinstance(error, WaldurDenied) and error.status != HTTPStatus.UNAUTHORIZED
            if is_outage(error) and not of_this_call:
                raise
            self._say_once(resource, str(error))

    def _is_still(self, resource: ResourceRecord, limits: Mapping[str, float] | None = None) -> bool:
        """Whether Waldur still has what it has listed: meanwhile an order may have begun, or ended."""
        now = self.offering.waldur.resource(resource.uuid)
        same = (now.state, now.backend_id) == (resource.state, resource.backend_id)
        return same and (limits is None or now.limits == limits)

    def _tell(self, call: str, resource: ResourceRecord, tell: Callable[[], object]) -> None:
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
