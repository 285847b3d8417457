"""How a call is refused: the code and the words of a five-field failure."""

import enum

from opennebula_tenancy.emulator.kinds import Kind


class Code(enum.IntEnum):
    """The error codes of OpenNebula's replies (Request.h)."""

    SUCCESS = 0x0
    AUTHENTICATION = 0x100
    AUTHORIZATION = 0x200
    NO_EXISTS = 0x400
    ACTION = 0x800
    API = 0x1000
    INTERNAL = 0x2000
    ALLOCATE = 0x4000
    LOCKED = 0x8000


class Refusal(Exception):
    """A call that OpenNebula answers with a failure; what it did before raising stays done.

    Args:
        code: The error code.
        text: What the failure says after the method's name, for codes that carry words of their own.
        object_id: The id in the failure's fourth field.
        kind: The kind of object named by the message, when it is not the one that the method is about.

    Attributes:
        uid: The user whom the message names, when that is not the caller (AS_UID).
    """

    def __init__(self, code: Code, text: str = "", *, object_id: int = -1, kind: Kind | None = None) -> None:
        super().__init__(text)
        self.uid: int | None = None
        self.code = code
        self.text = text
        self.object_id = object_id
        self.kind = kind

    def message(self, method: str, kind: Kind | None, uid: int) -> str:
        """The text of the reply, as Request::failure_message words it.

        Args:
            method: Name of the method called.
            kind: The kind of object the method is about.
            uid: The caller.
        """
        named = self.kind or kind
        label = named.label if named else "-"
        words = self.text
        if self.code is Code.AUTHENTICATION:
            words = "User couldn't be authenticated, aborting call."
        elif self.code is Code.AUTHORIZATION:
            tail = f": {self.text}." if self.text else f"not authorized to perform action on {label}."
            words = f"User [{uid if self.uid is None else self.uid}] {tail}"
        elif self.code is Code.NO_EXISTS:
            words = f"Error getting {label} " + ("Pool." if self.object_id == -1 else f"[{self.object_id}].")
        elif self.code is Code.ALLOCATE:
            words = f"Error allocating a new {label}." + (f" {self.text}" if self.text else "")
        elif self.code is Code.LOCKED:
            words = f"The resource {label} is locked." + ("" if self.object_id == -1 else f" [{self.object_id}].")
        return f"[{method}] {words}"


def no_exists(kind: Kind, object_id: int) -> Refusal:
    """Error getting <kind> [id]."""
    return Refusal(Code.NO_EXISTS, object_id=object_id, kind=kind)


def action(text: str) -> Refusal:
    """Wrong state, cannot delete, bad value."""
    return Refusal(Code.ACTION, text)


def internal(text: str) -> Refusal:
    """Name taken or invalid, template that does not parse."""
    return Refusal(Code.INTERNAL, text)


def unauthorized(text: str = "") -> Refusal:
    """No permission, or a quota exceeded."""
    return Refusal(Code.AUTHORIZATION, text)


def not_allocated(text: str) -> Refusal:
    """Error allocating a new <kind>."""
    return Refusal(Code.ALLOCATE, text)


def bad_call(text: str) -> Refusal:
    """An argument outside its range."""
    return Refusal(Code.API, text)


class ProtocolFault(Exception):
    """A call answered with an XML-RPC fault, as xmlrpc-c words it.

    Args:
        code: The fault code: -501 wrong arguments, -503 not an XML-RPC call, -506 unknown method.
        text: The fault string.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
