"""`Converging`: calls that end with their effect there once, whoever made it and whatever became of the reply."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opennebula_tenancy.errors import AlreadyExists, ApiError, Conflict, NotFound


if TYPE_CHECKING:
    from collections.abc import Callable

    from opennebula_tenancy._transport.rpc import Rpc


MERGE = 1
"""The `append` argument of update methods that keeps the attributes that are not named."""


class Converging:
    """The base of calls on the objects of a tenant.

    Another run may be at work on the same tenant, and any reply may be lost: a call whose effect is there already, or
    whose outcome is unknown, is settled by looking.

    Args:
        rpc: Calls OpenNebula.
    """

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    def _allocate(self, method: str, *params: int | str, look: Callable[[], int | None], what: str) -> tuple[int, bool]:
        """Make an object whose name is unique.

        Args:
            method: The method.
            params: Its parameters.
            look: Reads the id of the object that carries the key.
            what: What is made, with its name.

        Returns:
            The id of the object that carries the key, and whether it was made here: not by another run meanwhile.

        Raises:
            Conflict: The name has been taken by an object that does not carry the key.
        """
        try:
            return self._rpc.mutate(method, *params, look=look), True
        except AlreadyExists as error:
            if (found := look()) is not None:
                return found, False
            raise Conflict(f"the name of {what} was just taken by one that is not this tenant's") from error

    def _remove(self, method: str, info: str, ident: int, *, before: Callable[[], None] | None = None) -> None:
        def at_this_moment() -> int:
            if before is not None:
                before()
            return ident

        def look() -> int | None:
            try:
                self._rpc.read(info, ident)
            except NotFound:
                return ident
            return None

        self._converge(method, at_this_moment, look=look)

    def _converge(self, method: str, *params: int | str | Callable[[], int], look: Callable[[], int | None]) -> None:
        """Call a method, and let a refusal pass where the effect is there: another run for the same tenant made it."""
        try:
            self._rpc.mutate(method, *params, look=look)
        except ApiError:
            if look() is None:
                raise
