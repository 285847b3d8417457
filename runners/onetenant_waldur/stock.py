"""`Stock`: what OpenNebula has of all resources, asked for once in a cycle, however many offerings a cloud serves."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Protocol

import attrs

from onetenant_waldur.machines import read_machines, why_no_machine
from onetenant_waldur.offering import Offering
from onetenant_waldur.settings_values import VDC, VM
from onetenant_waldur.tenants import read_tenants, why_no_tenant
from opennebula_tenancy import Cloud, Credentials, TenancyError


class Figures(Protocol):
    """What there is of one resource. The terms are those of its offering, of its kind."""

    @property
    def key(self) -> str:
        """Its key: the uuid of the resource."""

    @property
    def credentials(self) -> Credentials | None:
        """Those of its administrator, as they follow from the secret; None where they do not."""

    @property
    def missing(self) -> tuple[str, ...]:
        """The parts that it has lost, whether its offering gives them or not."""

    @property
    def unlimited_datastores(self) -> tuple[int, ...]:
        """The ids of datastores where it has images and no limit of storage, though it has one elsewhere."""

    def usage(self, terms: Any, /) -> Mapping[str, Decimal]:
        """The amounts of the components whose usage Waldur takes."""

    def included(self, terms: Any, /) -> Mapping[str, Decimal]:
        """The amounts of the components that a plan includes, of which Waldur may take no usage."""

    def limits(self, terms: Any, /) -> Mapping[str, int | float]:
        """The limits of the resource, as they really are."""


READERS: Mapping[str, Callable[[Cloud], Mapping[int, Figures]]] = {VDC: read_tenants, VM: read_machines}
MISSING: Mapping[str, Callable[[Cloud, int, str], str | None]] = {VDC: why_no_tenant, VM: why_no_machine}


@attrs.define
class Stock:
    """What there was of each kind in each cloud when it was first asked for."""

    _answers: dict[tuple[int, str], Mapping[int, Figures] | TenancyError] = attrs.field(factory=dict, init=False)

    def of(self, offering: Offering) -> Mapping[int, Figures]:
        """All there is of an offering's kind in its cloud, by id.

        Raises:
            TenancyError: The cloud did not say; not when asked for other offerings either.
        """
        kind = offering.settings.backend_settings.resource_type
        which = id(offering.cloud), str(kind)
        if which not in self._answers:
            try:
                self._answers[which] = READERS[kind](offering.cloud)
            except TenancyError as error:
                self._answers[which] = error
        answer = self._answers[which]
        if isinstance(answer, TenancyError):
            raise answer
        return answer


def why_missing(offering: Offering, ident: int, key: str) -> str | None:
    """Why an offering's cloud does not have what has this id and key, in a sentence; None where it has."""
    return MISSING[offering.settings.backend_settings.resource_type](offering.cloud, ident, key)
