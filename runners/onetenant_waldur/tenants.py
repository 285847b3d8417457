"""The tenants of all offerings: what OpenNebula says of them, in one call."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import attrs

from opennebula_tenancy import Cloud, Conflict, NotFound, Quota, Usage


@attrs.frozen
class TenantFigures:
    """One tenant.

    Attributes:
        key: Its key: the uuid of its resource.
        used: What it uses at the moment.
        quota: Its limits.
    """

    key: str
    used: Usage
    quota: Quota

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
    return {ident: TenantFigures(one.key, one.usage, one.quota) for ident, one in cloud.vdcs.figures().items()}


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
