"""Which errors say that something is down, and which that something is refused."""

from onetenant_waldur.waldur_calls import WaldurDenied, WaldurError, WaldurUnavailable
from opennebula_tenancy import AuthenticationFailed, ProtocolViolation, RollbackIncomplete, TenancyError, TransportError


WORK_ERRORS = (WaldurError, TenancyError)
"""The errors that work on orders and reports may end in."""

_OUTAGES = (TransportError, ProtocolViolation, AuthenticationFailed, WaldurUnavailable, WaldurDenied)


def is_outage(error: BaseException) -> bool:
    """Whether an error is nobody's fault but the connection's or the operator's, so that it may pass.

    Args:
        error: The error.

    Returns:
        True for outages of OpenNebula and Waldur, for credentials that are no longer accepted, and for a compensation
        that an outage interrupted: the next run takes it up.
    """
    if isinstance(error, RollbackIncomplete):
        return any(is_outage(one) for one in error.exceptions)
    return isinstance(error, _OUTAGES)


def is_denial(error: BaseException) -> bool:
    """Whether an error is that a server does not let this agent do anything: only a person can change that."""
    if isinstance(error, RollbackIncomplete):
        return any(is_denial(one) for one in error.exceptions)
    return isinstance(error, WaldurDenied | AuthenticationFailed)
