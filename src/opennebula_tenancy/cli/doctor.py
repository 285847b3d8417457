"""What `onetenant doctor` looks at. It only reads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy._wire.acl import AclRule
from opennebula_tenancy._wire.records import (
    ClusterRecord,
    DatastoreRecord,
    GroupRecord,
    OwnedRecord,
    VdcRecord,
    number_in,
    parse,
)
from opennebula_tenancy.errors import AuthenticationFailed, SettingsError, TenancyError, TransportError


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opennebula_tenancy._transport.rpc import Reader
    from opennebula_tenancy.cli.session import Session
    from opennebula_tenancy.cloud import Cloud


_ONEADMIN = 0
"""The id of the user and of the group that need no permission."""


@attrs.frozen
class Check:
    """One thing that was looked at.

    Attributes:
        name: What.
        well: Whether it is as it should be.
        detail: What was found.
    """

    name: str
    well: bool
    detail: str

    @property
    def result(self) -> str:
        """`ok` or `failed`."""
        return "ok" if self.well else "failed"


def examine(session: Session) -> Iterator[Check]:
    """Look at all that the program needs, as far as one thing does not need another that failed.

    Args:
        session: The options.

    Yields:
        One check after the other, as they are made.
    """
    try:
        found = session.credentials()
        cloud = session.cloud()
    except SettingsError as error:
        for problem in error.problems:
            name, _, detail = problem.partition(": ")
            yield Check({"auth": "credentials"}.get(name, name), well=False, detail=detail or name)
        return
    with cloud:
        yield Check("endpoint", well=True, detail=f"{found.endpoint} ({_endpoint_from(session)})")
        user = found.auth.partition(":")[0]
        yield Check("credentials", well=True, detail=f"those of {user} ({_credentials_from(session)})")
        answers = list(_answers(cloud))
        yield from answers
        if all(check.well for check in answers):
            yield from _rights(cloud)


def _endpoint_from(session: Session) -> str:
    if session.endpoint:
        return "--endpoint"
    return "ONE_XMLRPC" if os.environ.get("ONE_XMLRPC") else "a file one_endpoint, or the default"


def _credentials_from(session: Session) -> str:
    if session.auth_file:
        return f"--auth-file {session.auth_file}"
    named = os.environ.get("ONE_AUTH")
    return f"ONE_AUTH {named}" if named else "a file one_auth"


def _answers(cloud: Cloud) -> Iterator[Check]:
    try:
        ping = cloud.ping()
    except AuthenticationFailed as error:
        yield Check("server", well=True, detail="it answers")
        yield Check("login", well=False, detail=str(error))
    except TenancyError as error:
        yield Check("server", well=False, detail=str(error))
    else:
        yield Check("server", well=True, detail=f"OpenNebula {ping.version}, in {ping.seconds * 1000:.0f} ms")
        yield Check("login", well=True, detail="the credentials are known")


def _rights(cloud: Cloud) -> Iterator[Check]:
    reader: Reader = cloud._rpc  # noqa: SLF001  # the library offers no calls that only an examination needs
    looks: tuple[tuple[str, Callable[[Reader], Check]], ...] = (
        ("account", _account),
        ("rules", lambda reader: _found("rules", len(AclRule.list_of(reader.read("one.acl.info"))), "access rules")),
        ("groups", lambda reader: _found("groups", len(GroupRecord.pool(reader.read("one.grouppool.info"))), "groups")),
        ("VDCs", lambda reader: _found("VDCs", len(VdcRecord.pool(reader.read("one.vdcpool.info"))), "VDCs")),
        (
            "users",
            lambda reader: _found("users", len(OwnedRecord.pool(reader.read("one.userpool.info"), "USER")), "users"),
        ),
        ("clusters", _clusters),
        ("datastores", _datastores),
        ("tenants", lambda _: Check("tenants", well=True, detail=f"{len(cloud.vdcs.list())} tenants")),
    )
    for name, look in looks:
        try:
            yield look(reader)
        except TransportError as error:
            yield Check(name, well=False, detail=f"{error}; nothing further was looked at")
            return
        except TenancyError as error:
            yield Check(name, well=False, detail=str(error))


def _found(name: str, count: int, what: str) -> Check:
    return Check(name, well=count > 0, detail=f"{count} {what} can be read")


def _account(reader: Reader) -> Check:
    """Whether the account is an administrator: to others OpenNebula shows pools in part, and says nothing about it."""
    element = parse(reader.read("one.user.info", -1), "USER")
    groups = {number_in(element, "GID"), *(number_in(item, ".") for item in element.iterfind("GROUPS/ID"))}
    name = element.findtext("NAME") or ""
    if number_in(element, "ID") == _ONEADMIN:
        return Check("account", well=True, detail=f"{name} may make tenants, and machines for them")
    if _ONEADMIN in groups:
        detail = f"{name} is in the group oneadmin: only the user oneadmin may make machines for tenants"
        return Check("account", well=True, detail=detail)
    detail = f"{name} is not in the group oneadmin: it may not make tenants, and is shown only a part of them"
    return Check("account", well=False, detail=detail)


def _clusters(reader: Reader) -> Check:
    found = ClusterRecord.pool(reader.read("one.clusterpool.info"))
    return Check("clusters", well=bool(found), detail=_names((each.id, each.name) for each in found))


def _datastores(reader: Reader) -> Check:
    found = [each for each in DatastoreRecord.pool(reader.read("one.datastorepool.info")) if each.holds_images]
    return Check("datastores", well=bool(found), detail=f"for images: {_names((each.id, each.name) for each in found)}")


def _names(found: Iterator[tuple[int, str]]) -> str:
    return ", ".join(f"{ident} ({name})" for ident, name in sorted(found)) or "there are none"
