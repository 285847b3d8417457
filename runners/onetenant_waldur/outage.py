"""Which errors say that something is down, and which that something is refused."""

from onetenant_waldur.waldur_calls import WaldurDenied, WaldurError, WaldurUnavailable
from opennebula_tenancy import (
    AuthenticationFailed,
    NotAuthorized,
    ProtocolViolation,
    RollbackIncomplete,
    SettingsError,
    TenancyError,
    TransportError,
)


WORK_ERRORS = (WaldurError, TenancyError)
"""The errors that work on orders and reports may end in."""


class OfferingUnfit(SettingsError):
    """What an offering names is not there in OpenNebula: the operator's mistake, which no order is to pay for."""


_OUTAGES = (TransportError, ProtocolViolation, WaldurUnavailable, OfferingUnfit)
_POOL = "pool.info"


def is_outage(error: BaseException) -> bool:
    """Whether an error is nobody's fault but the connection's or the operator's, so that it may pass.

    Args:
        error: The error.

    Returns:
        True for outages of OpenNebula and Waldur, for credentials that are no longer accepted or may do too little, for
        an offering that names what is not there, and for a compensation that an outage interrupted: the next run takes
        it up.
    """
    if isinstance(error, RollbackIncomplete):
        return any(is_outage(one) for one in error.exceptions)
    return isinstance(error, _OUTAGES) or is_denial(error)


def is_denial(error: BaseException) -> bool:
    """Whether an error is that a server does not let this agent do anything: only a person can change that."""
    if isinstance(error, RollbackIncomplete):
        return any(is_denial(one) for one in error.exceptions)
    if isinstance(error, NotAuthorized):
        # A refusal of one object may be of that one alone. That of a pool is of an account that does not see it all.
        return error.method.endswith(_POOL)
    return isinstance(error, WaldurDenied | AuthenticationFailed)
