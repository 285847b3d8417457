"""`VdcFigures`: what a tenant uses, and how much it may use, at one moment; and what it has lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy import admin_mark, tenant_mark


if TYPE_CHECKING:
    from opennebula_tenancy._wire.records import GroupRecord
    from opennebula_tenancy.admin_credentials import Credentials
    from opennebula_tenancy.quota import Quota, Usage


NETWORK, ACCOUNT = "network", "administrator account"
"""Parts of a tenant that its group may tell the want of."""


def missing_parts(group: GroupRecord) -> tuple[str, ...]:
    """What a finished tenant has lost, as far as its group alone tells; most often by a removal that has not ended.

    Args:
        group: Its group.

    Returns:
        Some of `NETWORK`, of which nothing or a part may be missing, and `ACCOUNT`.
    """
    missing = []
    if tenant_mark.UNSETTLED.items() <= group.template.items():
        missing.append(NETWORK)
    if admin_mark.was_ready(group) and admin_mark.ready_user(group) not in group.users:
        missing.append(ACCOUNT)
    return tuple(missing)


@attrs.frozen
class VdcFigures:
    """What a tenant uses, and how much it may use, read at the same moment.

    Attributes:
        key: The tenant's key.
        usage: What it uses, zeros included.
        quota: Its limits: every one that has a place where it holds.
        credentials: What its administrator logs in with, as it follows from the secret; None without a secret or an
            account. They are compared with nothing: `AdminUser.credentials` says what OpenNebula takes.
        unlimited_datastores: The ids of datastores that hold images of the tenant, and no limit of storage, though the
            tenant has one: they came to its clusters, or left them, after its limits were last set. The next `ensure`,
            or a `set_quota` that names `storage_mb`, limits those that are in its clusters.
        missing: The parts that it has lost, as far as one call tells: its `network`, of which a removal was begun and
            not ended, its `administrator account`. The next `ensure` makes them again.
    """

    key: str
    usage: Usage
    quota: Quota
    credentials: Credentials | None = None
    unlimited_datastores: tuple[int, ...] = ()
    missing: tuple[str, ...] = ()
