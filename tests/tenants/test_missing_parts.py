"""What one look at all tenants says of those that have lost something, and that `ensure` makes it again."""

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.emulator import Config, Emulator, Fault, FaultKind
from tenants.networks import tenant


SECRET = b"a secret of 32 bytes, or more ..."


@pytest.mark.parametrize(
    ("refused", "missing"),
    [
        ("one.user.delete", ()),
        ("one.vrouter.delete", ("network", "administrator account")),
        ("one.vn.delete", ("network", "administrator account")),
        ("one.secgroup.delete", ("network", "administrator account")),
        ("one.group.delete", ("network", "administrator account")),
    ],
)
def test_a_removal_that_stops_is_seen_in_the_figures_until_the_tenant_is_whole_again(
    refused: str, missing: tuple[str, ...]
) -> None:
    source = ont.CredentialSource(secret=SECRET)
    with (
        Emulator(populated=True, config=Config(step_s=0)) as server,
        ont.connect(server.endpoint, server.auth, admin_credentials=source) as cloud,
    ):
        spec = tenant(admin=True)
        vdc = cloud.vdcs.ensure(spec)
        assert cloud.vdcs.figures()[vdc.id].missing == ()
        server.faults.arm(Fault(kind=FaultKind.REFUSE, method=refused))
        with pytest.raises(ont.ApiError):
            vdc.delete()
        server.faults.arm()
        assert cloud.vdcs.figures()[vdc.id].missing == missing
        assert server.faults.calls == ("one.grouppool.info",)
        assert bool(cloud.vdcs.plan(spec)) is bool(missing)
        again = cloud.vdcs.ensure(spec)
        assert cloud.vdcs.figures()[vdc.id].missing == ()
        assert again.admin is not None
        known = again.admin.credentials()
        assert known is not None
        with ont.connect(server.endpoint, known.auth) as inside:
            inside.ping()
        vdc.delete()
        assert cloud.vdcs.list() == ()


def test_the_removal_of_a_tenant_without_a_network_marks_nothing() -> None:
    with (
        Emulator(populated=True, config=Config(step_s=0)) as server,
        ont.connect(server.endpoint, server.auth) as cloud,
    ):
        vdc = cloud.vdcs.ensure(ont.VdcSpec(name="acme", clusters=(0,)))
        server.faults.arm()
        vdc.delete()
        assert "one.group.update" not in server.faults.calls
