"""Quotas as calls see them: setting them from templates, the default ones, and charging a user and a group."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from opennebula_tenancy.emulator.calls import ONEADMIN_ID, Call
from opennebula_tenancy.emulator.errors import action, unauthorized
from opennebula_tenancy.emulator.kinds import Kind
from opennebula_tenancy.emulator.quotas import Charge, QuotaError, Quotas
from opennebula_tenancy.emulator.state import Cloud
from opennebula_tenancy.emulator.syntax import TemplateError, parse
from opennebula_tenancy.emulator.template import Template


_SECTIONS = ("DATASTORE", "NETWORK", "IMAGE", "VM")
_ROOTS = {Kind.USER: "DEFAULT_USER_QUOTAS", Kind.GROUP: "DEFAULT_GROUP_QUOTAS"}


@runtime_checkable
class Accounted(Protocol):
    """A user or a group: something whose use of resources is counted."""

    quotas: Quotas


@runtime_checkable
class Consumer(Protocol):
    """A VM, as far as quotas of clusters are concerned."""

    uid: int
    gid: int

    def charge_in(self, clusters: frozenset[int]) -> Charge | None:
        """What it takes when it is in one of these clusters, else None."""


def defaults_xml(cloud: Cloud, kind: Kind) -> str:
    """The default quotas of users or groups."""
    root = _ROOTS[kind]
    return f"<{root}>{cloud.default_quotas[kind].to_xml()}</{root}>"


def _blocks(template: Template) -> Mapping[str, Sequence[Mapping[str, str]]]:
    return {name: template.vectors(name) for name in _SECTIONS}


def _parse(text: str) -> Template:
    try:
        return parse(text)
    except TemplateError as error:
        raise action(str(error)) from error


def put(cloud: Cloud, quotas: Quotas, text: str, *, owner: tuple[str, int]) -> None:
    """Set the limits of a user or group.

    Args:
        cloud: The state.
        quotas: Its quotas.
        text: A template with the blocks to set.
        owner: What the server adds to each VM block: UID or GID, and the id.

    Raises:
        Refusal: The template does not parse, or a limit is negative (ACTION).
    """
    template = _parse(text)
    for vector in template.vectors("VM"):
        vector[owner[0]] = str(owner[1])
    clusters = [cluster.id for cluster in cloud.pool_of(Kind.CLUSTER)]

    def in_clusters(wanted: frozenset[int]) -> Iterable[Charge]:
        for vm in cloud.pool_of(Kind.VM):
            if isinstance(vm, Consumer) and owner in {("UID", vm.uid), ("GID", vm.gid)}:
                amount = vm.charge_in(wanted)
                if amount is not None:
                    yield amount

    try:
        quotas.set(_blocks(template), clusters=clusters, in_clusters=in_clusters)
    except QuotaError as error:
        raise action(str(error)) from error


def charge(cloud: Cloud, amount: Charge, uid: int, gid: int) -> None:
    """Count what a user and its group take, unless a limit of one of them is exceeded.

    Args:
        cloud: The state.
        amount: What is taken.
        uid: The user; -1 leaves users alone, and oneadmin is never counted.
        gid: The group; -1 leaves groups alone, and oneadmin is never counted.

    Raises:
        Refusal: A limit is exceeded (AUTHORIZATION, naming whose). Nothing was counted.
    """
    charged: list[Quotas] = []
    for kind, owner, quotas in _owners(cloud, uid, gid):
        try:
            quotas.check(amount, cloud.default_quotas[kind])
        except QuotaError as error:
            for other in charged:
                other.remove(amount)
            raise unauthorized(f"{kind.label} [{owner}] {error}") from error
        charged.append(quotas)


def discharge(cloud: Cloud, amount: Charge, uid: int, gid: int) -> None:
    """Count out what a user and its group no longer take; arguments as for `charge`."""
    for _, _, quotas in _owners(cloud, uid, gid):
        quotas.remove(amount)


def recharge(cloud: Cloud, amount: Charge, uid: int, gid: int) -> None:
    """Count the VM part of a charge whatever the limits are; arguments as for `charge`."""
    for _, _, quotas in _owners(cloud, uid, gid):
        quotas.add(amount)


def _owners(cloud: Cloud, uid: int, gid: int) -> Iterator[tuple[Kind, int, Quotas]]:
    """The user and the group to count for; those that are gone are passed over."""
    for kind, owner in ((Kind.USER, uid), (Kind.GROUP, gid)):
        found = cloud.pool_of(kind).find(owner) if owner > ONEADMIN_ID else None
        if found is not None and isinstance(found, Accounted):
            yield kind, owner, found.quotas


def update_defaults(call: Call, kind: Kind, text: str) -> str:
    """Set the default limits of users or groups.

    Returns:
        The default quotas as they are then.

    Raises:
        Refusal: The caller acts with another group than oneadmin, or the template is refused.
    """
    if call.gid != ONEADMIN_ID:
        raise unauthorized("The default quotas can only be updated by users in the oneadmin group")
    template = _parse(text)
    blocks = template.vectors("VM")
    if len(blocks) > 1:
        raise action("Only one default VM quota can be defined")
    if blocks and blocks[0].get("CLUSTER_IDS"):
        raise action("CLUSTER_IDS attribute is not allowed for default VM quota")
    try:
        call.cloud.default_quotas[kind].set(_blocks(template))
    except QuotaError as error:
        raise action(str(error)) from error
    return defaults_xml(call.cloud, kind)
