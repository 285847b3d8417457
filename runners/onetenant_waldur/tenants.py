"""The tenants of all offerings: what OpenNebula says of them, in one call."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import attrs

from onetenant_waldur.offering import Offering
from opennebula_tenancy import Cloud, Conflict, Credentials, NotFound, Quota, Usage
from opennebula_tenancy.vdc_figures import ACCOUNT


@attrs.frozen
class TenantFigures:
    """One tenant.

    Attributes:
        key: Its key: the uuid of its resource.
        used: What it uses at the moment.
        quota: Its limits.
        credentials: Those of its administrator, as they follow from the secret; None where they do not.
        missing: The parts that it has lost, sold or not; `lost_parts` says which of them are.
        unlimited_datastores: Those where it has images and no limit of storage, though it has one elsewhere.
    """

    key: str
    used: Usage
    quota: Quota
    credentials: Credentials | None = None
    missing: tuple[str, ...] = ()
    unlimited_datastores: tuple[int, ...] = ()

    def usage(self, terms: Any) -> Mapping[str, Decimal]:
        """What it uses, of the components whose usage Waldur takes."""
        found: Mapping[str, Decimal] = terms.components.usage(self.used)
        return found

    def included(self, _terms: Any) -> Mapping[str, Decimal]:
        """Nothing: what a plan includes is a limit of a tenant, and no usage."""
        return {}

    def limits(self, terms: Any) -> Mapping[str, int | float]:
        """Its limits, of the components that are billed by limit."""
        found: Mapping[str, int | float] = terms.components.limits(self.quota)
        return found


def read_tenants(cloud: Cloud) -> dict[int, TenantFigures]:
    """All tenants, by the ids of their groups."""
    return {
        ident: TenantFigures(one.key, one.usage, one.quota, one.credentials, one.missing, one.unlimited_datastores)
        for ident, one in cloud.vdcs.figures().items()
    }


def missing_parts(offering: Offering, group_id: int) -> tuple[str, ...]:
    """The parts that an offering's tenant has lost, by the id of its group; see `VdcFigures.missing`."""
    tenant = read_tenants(offering.cloud).get(group_id)
    return () if tenant is None else lost_parts(offering, tenant.missing)


def lost_parts(offering: Offering, missing: Iterable[str]) -> tuple[str, ...]:
    """Of the parts that a tenant has lost, those that its offering gives: an account may be none of its business."""
    has_accounts = offering.settings.backend_settings.create_opennebula_user
    return tuple(part for part in missing if part != ACCOUNT or has_accounts)


def why_no_tenant(cloud: Cloud, group_id: int, key: str) -> str | None:
    """Why there is no tenant with this id and key, in a sentence; None where there is."""
    try:
        if cloud.vdcs.get(group_id).key == key:
            return None
    except NotFound:
        return f"The tenant (group {group_id}) does not exist in OpenNebula any more."
    except Conflict:
        return f"Group {group_id} in OpenNebula is not the tenant of this resource."
    return f"Group {group_id} in OpenNebula is the tenant of another resource."
