"""Offerings whose tenants have administrator accounts, and what their customers do with them."""

import re
from pathlib import Path
from typing import Any

import opennebula_tenancy as ont
from agent.world import World
from onetenant_waldur.admin_accounts import USERNAME
from onetenant_waldur.notes import PASSWORD
from tenants.raw import Raw


SECRET = "a secret of 32 bytes, or more ..."
TENANT = "vdc-one-1"


def secret_file(folder: Path) -> Path:
    path = folder / "secret"
    path.write_text(f"{SECRET}\n", encoding="utf-8")
    path.chmod(0o600)
    return path


def document(world: World, secret: Path | None = None) -> dict[str, Any]:
    """A settings file of an offering with accounts. Their passwords are random without a secret."""
    named = {} if secret is None else {"admin_secret_file": str(secret)}
    return world.document(backend_create_opennebula_user=True, **named)


def shown(world: World, resource: str) -> ont.Credentials:
    """The credentials that a customer reads in Waldur."""
    metadata = world.waldur.resource(resource).backend_metadata
    return ont.Credentials(metadata[USERNAME], metadata[PASSWORD])


def login(world: World, resource: str) -> Raw:
    """Calls as the administrator, with the credentials that Waldur shows."""
    boss = Raw(world.server.endpoint, shown(world, resource).auth)
    boss("one.user.info", -1)
    return boss


def is_held(world: World, text: str) -> bool:
    """Whether anything that the administrator of the cloud can read holds a text."""
    users = [int(item.findtext("ID") or "") for item in root(world).xml("one.userpool.info").iter("USER")]
    pools = [world.raw(f"one.{noun}pool.info") for noun in ("user", "group", "vdc")]
    return any(text in page for page in (*pools, *(world.raw("one.user.info", user, True) for user in users)))


def root(world: World) -> Raw:
    return Raw(world.server.endpoint, world.server.auth)


def users(world: World) -> set[str]:
    return {user.findtext("NAME") or "" for user in root(world).xml("one.userpool.info").iter("USER")}


def settled(held: Any) -> str:
    """What OpenNebula holds, without how often a password was set."""
    return re.sub(r"'TENANCY_ADMIN_GENERATION', '\d+'", "", repr(held))
