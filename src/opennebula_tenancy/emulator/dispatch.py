"""From a request body to a reply body: faults, authentication, the call under the lock, and what it answers."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from opennebula_tenancy.emulator.calls import METHODS, NO_SESSION, Call, Int64, Method, Value
from opennebula_tenancy.emulator.errors import Code, ProtocolFault, Refusal
from opennebula_tenancy.emulator.sessions import Identity, authenticate
from opennebula_tenancy.emulator.state import Cloud
from opennebula_tenancy.emulator.wire import write_fault, write_reply


_LOGGER = logging.getLogger(__name__)


class Dispatcher:
    """Executes calls on a cloud, one at a time."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._introspection: dict[str, Callable[[Sequence[Any]], Value]] = {
            "system.listMethods": lambda _: [*self._introspection, *METHODS],
            "system.methodExist": lambda values: values[0] in METHODS or values[0] in self._introspection,
            "system.methodHelp": lambda values: (_named(values[0]).function.__doc__ or "").split(".")[0],
            "system.methodSignature": lambda values: [_named(values[0]).signature],
            "system.multicall": lambda values: [self._one_of_many(item) for item in values[0]],
        }

    def reply(self, name: str, values: Sequence[Value]) -> bytes:
        """Execute a call.

        Args:
            name: The method called.
            values: Everything that was sent with it, the session string first.

        Returns:
            The reply's body.
        """
        try:
            return write_reply(self._execute(name, values))
        except ProtocolFault as fault:
            return write_fault(fault)
        except Exception as error:
            _LOGGER.exception("%s failed in a way that it should not", name)
            return write_fault(ProtocolFault(-500, f"Defect of the embedded OpenNebula: {error!r}"))

    def refuse(self, name: str, code: int, text: str) -> bytes:
        """The reply of a server that refuses a call without looking at it.

        Args:
            name: The method called.
            code: The error code.
            text: What it says behind the method's name.
        """
        return write_reply([False, f"[{name}] {text}", code, -1, Int64(-1)])

    def _execute(self, name: str, values: Sequence[Value]) -> Value:
        method = METHODS.get(name)
        if method is None:
            introspect = self._introspection.get(name)
            if introspect is None:
                raise ProtocolFault(-506, f"Method '{name}' not defined")
            try:
                return introspect(values)
            except (IndexError, KeyError, TypeError) as error:
                raise ProtocolFault(-501, "Not enough parameters") from error
        if not values:
            raise ProtocolFault(-500, NO_SESSION)
        with self._cloud.lock:
            self._cloud.advance()
            return self._call(method, values)

    def _call(self, method: Method, values: Sequence[Value]) -> list[Value]:
        session = values[0]
        identity = authenticate(self._cloud, session if isinstance(session, str) else "")
        if identity is None:
            return _failure(Refusal(Code.AUTHENTICATION), method, -1)
        arguments = method.arguments(values[1:])
        try:
            value = method.function(self._of(method, identity), *arguments)
        except Refusal as refusal:
            return _failure(refusal, method, identity.uid)
        return [True, value, int(Code.SUCCESS)]

    def _of(self, method: Method, identity: Identity) -> Call:
        return Call(
            cloud=self._cloud,
            method=method,
            uid=identity.uid,
            gid=identity.gid,
            gids=identity.gids,
            uname=identity.uname,
            gname=identity.gname,
            umask=identity.umask,
        )

    def _one_of_many(self, item: dict[str, Any]) -> Value:
        """One call of system.multicall: its value in an array, or a fault's struct."""
        try:
            return [self._execute(item["methodName"], item["params"])]
        except ProtocolFault as fault:
            return {"faultCode": fault.code, "faultString": fault.text}


def _failure(refusal: Refusal, method: Method, uid: int) -> list[Value]:
    text = refusal.message(method.name, method.kind, uid)
    return [False, text, int(refusal.code), refusal.object_id, Int64(-1)]


def _named(name: Value) -> Method:
    if not isinstance(name, str) or name not in METHODS:
        raise ProtocolFault(-506, f"Method '{name}' not defined")
    return METHODS[name]
