"""The errors of this library, as a tree.

Each class says what a caller can do about it::

    TenancyError
     +- SettingsError                 input refused before anything was changed: all problems at once
     +- TransportError                no answer that can be trusted: `applied` says whether the call may count
     |   +- NotSent                   the request never reached the server (applied: no)
     |   +- OutcomeUnknown            sent, but no whole reply came back (applied: maybe)
     |   +- ServerUnready             refused before execution: election, no leader, zone disabled (applied: no)
     +- ApiError                      OpenNebula said no: code, message, object id, method
     |   +- AuthenticationFailed      0x0100
     |   +- NotAuthorized             0x0200
     |   |   +- QuotaExceeded         ... because a limit was reached
     |   +- NotFound                  0x0400
     |   +- WrongState                0x0800, and 0x8000 (locked)
     |   +- BadRequest                0x1000, and XML-RPC faults (wrong arguments, unknown method)
     |   +- InternalError             0x2000
     |   |   +- AlreadyExists         ... because the name is taken
     |   |   +- AlreadyAssigned       ... because the member is there
     |   +- AllocationFailed          0x4000
     +- ProtocolViolation             an answer that is not OpenNebula's
     +- Conflict                      an object that is not ours stands where ours would
     +- DuplicateObject               more than one object carries the same key
     +- NotEmpty                      a tenant that still holds what a deletion would lose
     +- VerificationFailed            OpenNebula said yes, and a second look says otherwise
     +- ResetIncomplete               a password was reset, and what should have followed failed: it has the new one
     +- PoolExhausted                 no subnet, or no address, is free
     +- WaitTimeout                   something took longer than it may
     +- EnteredFailureState           something that was waited for has failed
     +- WentAway                      something that was waited for does not exist any more
     +- RollbackIncomplete            an error, and what could not be undone after it (an ExceptionGroup)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self


if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class TenancyError(Exception):
    """Base of all errors of this library."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[TenancyError], args: tuple[Any, ...], state: dict[str, Any]) -> TenancyError:
    """Build an error from its pickle, which knows nothing of the arguments that it was first built with."""
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class SettingsError(TenancyError, ValueError):
    """Input that was refused before anything was changed.

    Attributes:
        problems: One sentence for each problem, all of them at once; where the input has a structure, each begins
            with the path of the value (`offerings[0].backend_settings.api_url: ...`).
    """

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


class TransportError(TenancyError):
    """A call without an answer that can be trusted.

    Attributes:
        method: The OpenNebula method, such as `one.vdc.allocate`.
        call_id: The identifier of this call in the log.
        applied: `no` when the server cannot have executed it, `maybe` when it may have.
    """

    applied: ClassVar[Literal["no", "maybe"]] = "maybe"

    def __init__(self, method: str, reason: str, *, call_id: str = "") -> None:
        self.method = method
        self.reason = reason
        self.call_id = call_id
        super().__init__(f"{method}: {reason}" + (f" [call {call_id}]" if call_id else ""))


class NotSent(TransportError):
    """The request never reached the server: connection refused, no route, no name, TLS or connect timeout.

    Attributes:
        lasting: Whether trying again cannot help: a certificate that is not trusted, an endpoint that is not one.
    """

    applied = "no"

    def __init__(self, method: str, reason: str, *, call_id: str = "", lasting: bool = False) -> None:
        super().__init__(method, reason, call_id=call_id)
        self.lasting = lasting


class OutcomeUnknown(TransportError):
    """The request was sent and no whole reply came back: timeout, reset, truncated body, HTTP 5xx of a proxy."""

    applied = "maybe"


class ServerUnready(TransportError):
    """The server refused before executing anything: election, no leader, replicating its log, zone disabled."""

    applied = "no"


class ApiError(TenancyError):
    """OpenNebula executed the call and refused it.

    Attributes:
        method: The OpenNebula method.
        code: The error code of the reply (0x0200 is AUTHORIZATION ...), or the negative code of an XML-RPC fault.
        message: OpenNebula's own text.
        object_id: The id of the object at fault where the reply names one, else None.
        replication_index: The index of the log entry at fault where the reply names one, else None. Only the replies
            that the servers of a zone give each other do (`ZoneAPI.cc`).
        call_id: The identifier of this call in the log.
    """

    def __init__(
        self,
        method: str,
        code: int,
        message: str,
        *,
        object_id: int | None = None,
        replication_index: int | None = None,
        call_id: str = "",
    ) -> None:
        self.method = method
        self.code = code
        self.message = message
        self.object_id = object_id
        self.replication_index = replication_index
        self.call_id = call_id
        name = f"0x{code:04x}" if code >= 0 else f"fault {code}"
        super().__init__(f"{method} was refused ({name}): {message}")

    @classmethod
    def of(
        cls,
        method: str,
        code: int,
        message: str,
        *,
        object_id: int | None = None,
        replication_index: int | None = None,
        call_id: str = "",
    ) -> ApiError:
        """Build the error class that a code and a message stand for.

        Args:
            method: The OpenNebula method.
            code: The error code of the reply.
            message: OpenNebula's text.
            object_id: The id in the fourth field of the reply, None for -1.
            replication_index: The index in the fifth field, None for -1.
            call_id: The identifier of the call.

        Returns:
            An instance of the most specific class of the tree above.
        """
        kind: type[ApiError] = _BY_CODE.get(code, BadRequest if code < 0 else ApiError)
        for pattern, specific in _BY_TEXT:
            if issubclass(specific, kind) and pattern.search(message):
                kind = specific
        if code == 0x4000 and _TAKEN.search(message):
            kind = AlreadyExists
        return kind(method, code, message, object_id=object_id, replication_index=replication_index, call_id=call_id)


class AuthenticationFailed(ApiError):
    """Wrong user, password or token, or a disabled user: OpenNebula says the same for all."""


class NotAuthorized(ApiError):
    """The user may not do this to that object."""


class QuotaExceeded(NotAuthorized):
    """A limit of a user or a group would be exceeded."""


class NotFound(ApiError):
    """There is no such object."""


class WrongState(ApiError):
    """The object is in a state, or the value of a kind, that does not allow this."""


class BadRequest(ApiError):
    """The arguments, or the method itself, are not ones that OpenNebula knows."""


class InternalError(ApiError):
    """OpenNebula's catch-all: template syntax, bad names, and more."""


class AlreadyExists(InternalError):
    """The name is taken."""


class AlreadyAssigned(InternalError):
    """The member is in the set already."""


class AllocationFailed(ApiError):
    """The object could not be made."""


_BY_CODE: dict[int, type[ApiError]] = {
    0x0100: AuthenticationFailed,
    0x0200: NotAuthorized,
    0x0400: NotFound,
    0x0800: WrongState,
    0x1000: BadRequest,
    0x2000: InternalError,
    0x4000: AllocationFailed,
    0x8000: WrongState,
}
_TAKEN = re.compile(r"NAME is already taken")
_BY_TEXT: tuple[tuple[re.Pattern[str], type[ApiError]], ...] = (
    (re.compile(r"limit of \S+ reached for"), QuotaExceeded),
    (_TAKEN, AlreadyExists),
    (re.compile(r"already assigned"), AlreadyAssigned),
)


class ProtocolViolation(TenancyError):
    """An answer that cannot be OpenNebula's: a short array, XML that is none, an unknown root element."""


class Conflict(TenancyError):
    """An object that does not carry our key stands where ours would. It stays as it is, and so does what was there."""


class DuplicateObject(TenancyError):
    """More than one object carries the same key."""


class NotEmpty(TenancyError):
    """A tenant still holds objects that a deletion would orphan: nothing was deleted.

    Attributes:
        leftovers: The objects in the way, such as `VM 12 (web)`.
    """

    def __init__(self, message: str, leftovers: Sequence[str]) -> None:
        self.leftovers = tuple(leftovers)
        super().__init__(message)


class VerificationFailed(TenancyError):
    """OpenNebula accepted every call, yet a second look shows something else than was asked for."""


class PoolExhausted(TenancyError):
    """A pool of subnets, or a network's addresses, has none left of the size asked for."""


class WaitTimeout(TenancyError):
    """Something is not as it should be after all the time that it was given."""


class EnteredFailureState(TenancyError):
    """Something that was waited for has failed, and will not go on by itself."""


class WentAway(TenancyError):
    """Something that was waited for does not exist any more."""


class RollbackIncomplete(ExceptionGroup[Exception], TenancyError):
    """The error that stopped the work, followed by those that stopped its undoing.

    Attributes:
        leftovers: What is left behind, by type and id, such as `VDC 104 (acme)`.
    """

    leftovers: tuple[str, ...]

    def __new__(cls, cause: Exception, failures: Sequence[Exception], leftovers: Iterable[str]) -> Self:
        """Group the cause with the failures of its compensation."""
        left = tuple(leftovers)
        self = super().__new__(cls, f"{cause}; left behind: {', '.join(left)}", [cause, *failures])
        self.leftovers = left
        return self

    @property
    def cause(self) -> Exception:
        """The error that stopped the work."""
        return self.exceptions[0]

    def derive(self, excs: Sequence[Exception]) -> RollbackIncomplete:  # type: ignore[override]
        """Keep the leftovers in a group that `split` or `subgroup` makes of this one."""
        return RollbackIncomplete(excs[0], excs[1:], self.leftovers)
