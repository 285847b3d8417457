"""What is written about accounts that were removed: nobody else is taken for one, and none is missed."""

from collections.abc import Iterator

import attrs
import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.emulator import Emulator
from tenants.networks import connect, new_server, tenant
from tenants.raw import Raw


BARE = tenant(quota=ont.Quota(cpu=4), network=None)
WITHOUT = attrs.evolve(BARE, admin=False)


@pytest.fixture(name="server")
def _server() -> Iterator[Emulator]:
    with new_server() as server:
        yield server


def test_a_later_user_of_that_name_is_not_taken_for_an_account_that_was_never_finished(
    cloud: ont.Cloud, admin: Raw
) -> None:
    group = cloud.vdcs.ensure(BARE).id
    admin("one.group.update", group, 'TENANCY_ADMIN_AFTER="1"', 1)
    admin("one.user.allocate", "acme_admin", "x", "core", [group])
    cloud.vdcs.ensure(WITHOUT)
    assert "acme_admin" not in names(admin)
    admin("one.user.allocate", "acme_admin", "x", "core", [group])
    assert not cloud.vdcs.plan(WITHOUT)
    cloud.vdcs.ensure(WITHOUT)
    assert "acme_admin" in names(admin)


def test_no_account_is_missed_when_the_one_after_it_was_removed_unfinished(
    server: Emulator, cloud: ont.Cloud, admin: Raw
) -> None:
    group = cloud.vdcs.ensure(attrs.evolve(BARE, admin=True)).id
    cloud.vdcs.ensure(WITHOUT)
    user = admin("one.user.allocate", "acme_admin", "x", "core", [group])
    admin("one.group.update", group, f'TENANCY_ADMIN_ID="{user}"\nTENANCY_ADMIN_AFTER="bound"', 1)
    with connect(server) as later:
        later.vdcs.ensure(WITHOUT)
        assert "acme_admin" not in names(admin)
        assert [figures.missing for figures in later.vdcs.figures().values()] == [()]
        assert not later.vdcs.plan(WITHOUT)


def names(admin: Raw) -> set[str | None]:
    return {user.findtext("NAME") for user in admin.xml("one.userpool.info").iterfind("USER")}
