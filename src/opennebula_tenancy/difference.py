"""`Difference`: one thing to mend between what a tenant is and what is asked for."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import attrs


if TYPE_CHECKING:
    from opennebula_tenancy.plan import Change


class Kind(enum.Enum):
    """The kinds of differences, in the order in which they are mended."""

    VDC = enum.auto()
    VDC_NAME = enum.auto()
    GROUP = enum.auto()
    BINDING = enum.auto()
    MEMBERSHIP = enum.auto()
    DEFAULT_VDC = enum.auto()
    ADMIN_GONE = enum.auto()
    ROUTER_GONE = enum.auto()
    NETWORK_GONE = enum.auto()
    SECURITY_GROUP_GONE = enum.auto()
    CLUSTER = enum.auto()
    NETWORK_RULES = enum.auto()
    CREATE_RULE = enum.auto()
    LIMITS = enum.auto()
    SECURITY_GROUP = enum.auto()
    SECURITY_RULES = enum.auto()
    NETWORK = enum.auto()
    NETWORK_SETTINGS = enum.auto()
    NETWORK_CLUSTER = enum.auto()
    ROUTER_REPLACED = enum.auto()  # as late as can be: the tenant has no router from here on
    ROUTER = enum.auto()
    ROUTER_VMS = enum.auto()
    NETWORK_IN_VDC = enum.auto()  # behind the router, which is to have the gateway's address before any other machine
    SECURITY_GROUP_RIGHT = enum.auto()
    CLUSTER_TOO_MANY = enum.auto()
    ADMIN = enum.auto()
    ADMIN_GROUP = enum.auto()
    ADMIN_RIGHTS = enum.auto()
    MARK = enum.auto()


@attrs.frozen
class Difference:
    """One thing to mend.

    Attributes:
        kind: What is to be done.
        change: How it is shown.
        ident: The id of what it is about, where there is more than one of the kind.
    """

    kind: Kind
    change: Change
    ident: int = -1
