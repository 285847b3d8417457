"""The administrator account of a tenant, made and unmade with the pieces that `Vdcs` uses for it."""

import contextlib
from collections.abc import Iterator
from typing import Any

import attrs

import opennebula_tenancy as ont
from opennebula_tenancy._transport.rpc import Rpc
from opennebula_tenancy._wire.records import GroupRecord
from opennebula_tenancy.admin_credentials import CredentialSource
from opennebula_tenancy.admin_state import AdminState, observe_admin
from opennebula_tenancy.admin_user import AdminUser
from opennebula_tenancy.admin_work import AdminWork
from opennebula_tenancy.admins import Admins
from opennebula_tenancy.compensation import Compensations
from opennebula_tenancy.retreat import Retreat
from opennebula_tenancy.tenant_search import read_group
from tenants.raw import Raw


@contextlib.contextmanager
def _turn(_: str) -> Iterator[None]:
    yield


@attrs.frozen
class Accounts:
    """The accounts of a cloud, with passwords from a source."""

    cloud: ont.Cloud
    source: CredentialSource

    @property
    def rpc(self) -> Rpc:
        return self.cloud._rpc

    @property
    def admins(self) -> Admins:
        return Admins(self.rpc, self.source, _turn)

    def group(self, vdc: ont.Vdc) -> GroupRecord:
        return read_group(self.rpc, vdc.id)

    def observe(self, vdc: ont.Vdc, *, wanted: bool = True) -> AdminState:
        return observe_admin(self.rpc, vdc.name, self.group(vdc), wanted=wanted)

    def ensure(self, vdc: ont.Vdc, *, wanted: bool = True) -> AdminUser | None:
        if wanted:
            return self.admins.ensure(self.group(vdc))
        undo, retreat = Compensations(), Retreat(self.rpc, lambda: vdc.vdc_id)
        work = AdminWork(self.rpc, vdc.name, vdc.key, self.source, undo=undo, retreat=retreat, group=lambda: vdc.id)
        with retreat, undo:
            for difference in self.observe(vdc, wanted=wanted).differences():
                work.mending()[difference.kind](difference.ident)
            state = self.observe(vdc, wanted=wanted)
        left = list(state.differences())
        assert not left, left
        assert state.group is not None
        return self.admins.of(state.group, work.credentials)

    def account(self, vdc: ont.Vdc) -> AdminUser:
        admin = self.ensure(vdc)
        assert admin is not None
        return admin


def login(endpoint: str, admin: AdminUser) -> Raw:
    """Calls as the administrator, with the credentials that the library gives."""
    credentials = admin.credentials()
    assert credentials is not None
    return Raw(endpoint, credentials.auth)


def is_refused(endpoint: str, auth: str) -> bool:
    """Whether OpenNebula refuses to let this in."""
    code, _ = Raw(endpoint, auth).refused("one.user.info", -1)
    return code == 0x0100


def attributes(admin: Raw, user_id: int) -> dict[str, Any]:
    """The template of a user."""
    found = admin.xml("one.user.info", user_id).find("TEMPLATE")
    assert found is not None
    return {item.tag: {part.tag: part.text for part in item} or item.text for item in found}
