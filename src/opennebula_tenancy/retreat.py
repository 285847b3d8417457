"""`Retreat`: a run that takes back what it made says so first, and a run that finishes the tenant waits for that."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self

from opennebula_tenancy import tenant_mark
from opennebula_tenancy.errors import NotFound, TenancyError, WaitTimeout
from opennebula_tenancy.tenant_calls import TenantCalls
from opennebula_tenancy.waiting import wait_for


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from opennebula_tenancy._transport.rpc import Rpc


log = logging.getLogger("opennebula_tenancy")

_PATIENCE_S = 10.0
"""How long another run may be at taking back, in seconds: longer than one call of it may take."""


class Retreat:
    """The retreat of one run from a tenant that another run may be finishing.

    OpenNebula has no conditional write: between seeing that nobody wants a thing and removing it, another run may
    finish the tenant with it. So the run that retreats writes that on the tenant's VDC before it looks for the mark of
    a finished tenant, and the run that finishes writes the mark before it looks for a retreat. Whatever the order, one
    of them sees the other.

    As a context it ends the retreat when it is left.

    Args:
        rpc: Calls OpenNebula.
        vdc: Gives the id of the tenant's VDC.
    """

    def __init__(self, rpc: Rpc, vdc: Callable[[], int]) -> None:
        self._calls = TenantCalls(rpc)
        self._vdc = vdc
        self._begun = False

    def begin(self) -> None:
        """Say that this run retreats, before it looks whether what it would remove is wanted."""
        if not self._begun and self._vdc() >= 0:
            self._write(tenant_mark.RETREATING)
            self._begun = True

    def forget(self) -> None:
        """The VDC is gone, and all that was said there."""
        self._begun = False

    def await_others(self) -> None:
        """Wait until no other run retreats from the tenant, or one that does cannot be alive any more."""
        try:
            wait_for(self._nobody_retreats, "another run retreats", timeout_s=_PATIENCE_S)
        except WaitTimeout:
            self._write(tenant_mark.RETREATED)

    def _nobody_retreats(self) -> bool | None:
        try:
            template = self._calls.vdc(self._vdc()).template
        except NotFound:
            return True
        return None if tenant_mark.RETREATING.items() <= template.items() else True

    def _write(self, marks: Mapping[str, str]) -> None:
        try:
            self._calls.mark_vdc(self._vdc(), marks)
        except NotFound:
            log.debug("there is no VDC to retreat from")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._begun:
            try:
                self._write(tenant_mark.RETREATED)
            except TenancyError as failed:
                # Whoever waits for it goes on without in a while.
                log.warning("VDC %i still says that a run takes things back: %s", self._vdc(), failed)
