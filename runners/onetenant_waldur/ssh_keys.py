"""The SSH keys of an order: given as text, or as keys that somebody has left in Waldur."""

from http import HTTPStatus
from uuid import UUID

from onetenant_waldur.resource_orders import OrderProblem
from onetenant_waldur.waldur import Waldur
from onetenant_waldur.waldur_calls import WaldurDenied


ATTRIBUTE = "ssh_public_key"


def public_keys(waldur: Waldur, provider: UUID | None, said: object) -> tuple[str, ...]:
    """The public keys that an order means.

    Args:
        waldur: The Waldur that it was placed in.
        provider: The organisation that the order was placed with.
        said: What the order says: keys, or the uuids of keys in Waldur, one a line. Nothing when empty or None.

    Returns:
        The keys as text. Whether each is one, whoever makes a machine with it has to see.

    Raises:
        OrderProblem: A key is not in Waldur, or the order has something else than text there.
        WaldurError: Waldur refused, or is not there.
    """
    if said is None:
        return ()
    if not isinstance(said, str):
        raise OrderProblem(f"{ATTRIBUTE}: a public SSH key, or the UUID of one in Waldur, was due, one a line.")
    lines = [line.strip() for line in said.split("\n") if line.strip()]
    uuids = {line: found for line in lines if (found := _uuid(line)) is not None}
    if not uuids:
        return tuple(lines)
    known = _known(waldur, provider)
    if missing := [str(found) for found in uuids.values() if found not in known]:
        raise OrderProblem(
            f"{ATTRIBUTE}: the key {', '.join(missing)} is not among those that Waldur shows to this provider."
        )
    return tuple(known[uuids[line]] if line in uuids else line for line in lines)


def _known(waldur: Waldur, provider: UUID | None) -> dict[UUID, str]:
    try:
        return {} if provider is None else waldur.ssh_keys(provider)
    except WaldurDenied as error:
        # Only owners of the provider's organisation may see keys: all other orders can be carried out without.
        if error.status == HTTPStatus.UNAUTHORIZED:
            raise
        raise OrderProblem(
            f"{ATTRIBUTE}: this provider's agent may not look up keys in Waldur; order with the key itself instead."
        ) from error


def _uuid(line: str) -> UUID | None:
    try:
        return UUID(line)
    except ValueError:
        return None
