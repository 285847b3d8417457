"""What Waldur is told of a resource beside its state: limits and metadata, merged into what is there."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from uuid import UUID

from onetenant_waldur.offering import Offering
from onetenant_waldur.waldur_calls import WaldurRefused


PASSWORD = "opennebula_password"
"""The entry of the metadata that no text of the agent may hold."""
NOT_THERE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})
"""How servers of 2024 answer calls that came later."""


def write_notes(
    offering: Offering,
    resource: UUID,
    *,
    limits: Mapping[str, int | float] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Mapping[str, Any] | None:
    """Tell Waldur what a resource really has, and what its users are to see; what is there already is not sent.

    Waldur replaces limits and metadata as a whole. So they are read right before, and what is not named here stays. A
    server that has no such call does without.

    Args:
        offering: The resource's offering.
        resource: The resource.
        limits: Limits, in Waldur's units.
        metadata: Entries of the metadata.

    Returns:
        All of the metadata, as it was sent: what another agent has written since it was read is not in it, and gone.
        None where it was not sent.

    Raises:
        WaldurError: Waldur refused, or is not there.
    """
    waldur = offering.waldur
    found = waldur.resource(resource)
    # All of it is sent back, and a refusal may quote what was sent.
    offering.redaction.learn(str(found.backend_metadata.get(PASSWORD) or ""))
    all_limits = {**found.limits, **(limits or {})}
    if all_limits != found.limits:
        _if_there(offering, lambda: waldur.set_limits(resource, all_limits))
    all_metadata = {**found.backend_metadata, **(metadata or {})}
    if all_metadata == found.backend_metadata:
        return None
    _if_there(offering, lambda: waldur.set_backend_metadata(resource, all_metadata))
    return all_metadata


def _if_there(offering: Offering, tell: Callable[[], None]) -> None:
    try:
        tell()
    except WaldurRefused as error:
        if error.status not in NOT_THERE:
            raise
        offering.log.warning("note_not_taken", reason=str(error))
