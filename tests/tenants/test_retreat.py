"""Two runs for one tenant: one fails and takes back what it made while the other finishes the tenant with it."""

import threading
from collections.abc import Iterator

import attrs
import pytest

import opennebula_tenancy as ont
from opennebula_tenancy import retreat, waiting
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from tenants.networks import PROVIDER, connect, new_server, tenant
from tenants.pace import QUICK
from tenants.raw import Raw
from tenants.snapshot import snapshot


DEADLINE_S = 60.0
SPEC = tenant()
BARE = attrs.evolve(SPEC, network=None, external_networks=(PROVIDER,))


@pytest.fixture(name="server")
def _server() -> Iterator[Emulator]:
    with new_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_SHORTEST_S", 0.001)


class Meeting:
    """One run fails at a call, and is held up at another one until a second run has finished the tenant.

    Args:
        server: The server.
        fails_at: The method that is refused to the first run, once.
        held_at: The method of its way back that is held up.
        after: After how many looks of the second run at its VDC, once it has marked the tenant, the first goes on.
    """

    def __init__(self, server: Emulator, *, fails_at: str, held_at: str, after: int = 3) -> None:
        self._server = server
        self._held_at, self._after = held_at, after
        self._take = server.faults.take
        self._held, self._let_go = threading.Event(), threading.Event()
        self._looks = 0
        server.faults.add(Fault(kind=FaultKind.REFUSE, method=fails_at))
        server.faults.take = self._taking  # type: ignore[method-assign]

    def _taking(self, method: str) -> Fault | None:
        fault = self._take(method)
        if method == self._held_at and not self._held.is_set():
            self._held.set()
            assert self._let_go.wait(DEADLINE_S)
        if self._held.is_set() and method == "one.vdc.info" and "one.group.update" in self._server.faults.calls:
            self._looks += 1
            if self._looks == self._after:
                self._let_go.set()
        return fault

    def hold(self) -> tuple[list[BaseException], ont.Vdc]:
        """Let the two meet.

        Returns:
            What the first run failed with, and what the second one made.
        """
        failed: list[BaseException] = []

        def fail() -> None:
            with connect(self._server) as cloud:
                try:
                    cloud.vdcs.ensure(SPEC)
                except ont.TenancyError as error:
                    failed.append(error)

        first = threading.Thread(target=fail)
        first.start()
        try:
            assert self._held.wait(DEADLINE_S)
            with connect(self._server) as cloud:
                made = cloud.vdcs.ensure(SPEC)
        finally:
            self._let_go.set()
            first.join(DEADLINE_S)
        return failed, made


def undisturbed() -> dict[str, object]:
    with new_server() as server, connect(server) as cloud:
        cloud.vdcs.ensure(SPEC)
        return snapshot(server)


@pytest.mark.parametrize(
    ("fails_at", "held_at"),
    [
        ("one.vrouter.instantiate", "one.vrouter.delete"),
        ("one.vrouter.allocate", "one.vn.delete"),
        ("one.group.quota", "one.group.delete"),
    ],
)
def test_what_one_run_takes_back_while_another_finishes_the_tenant_is_made_again(
    server: Emulator, fails_at: str, held_at: str
) -> None:
    failed, _ = Meeting(server, fails_at=fails_at, held_at=held_at).hold()
    assert len(failed) == 1
    assert isinstance(failed[0], ont.InternalError)
    with connect(server) as cloud:
        assert not cloud.vdcs.plan(SPEC)
    assert snapshot(server) == undisturbed()


def test_a_run_that_was_killed_on_its_way_back_is_not_waited_for_for_ever(
    server: Emulator, cloud: ont.Cloud, admin: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retreat, "_PATIENCE_S", 0.01)
    made = cloud.vdcs.ensure(BARE)
    admin("one.group.update", made.id, "TENANCY_NETWORK_ID=unsettled", 1)
    admin("one.vdc.update", made.vdc_id, "TENANCY_RETREAT=yes", 1)
    assert cloud.vdcs.ensure(SPEC).router is not None
    assert admin.xml("one.vdc.info", made.vdc_id).findtext("TEMPLATE/TENANCY_RETREAT") == "no"


def test_a_run_that_fails_alone_says_nothing_that_lasts(server: Emulator, cloud: ont.Cloud, admin: Raw) -> None:
    made = cloud.vdcs.ensure(BARE)
    server.faults.arm(Fault(kind=FaultKind.REFUSE, method="one.vrouter.allocate"))
    with pytest.raises(ont.ApiError):
        cloud.vdcs.ensure(SPEC)
    assert admin.xml("one.vdc.info", made.vdc_id).findtext("TEMPLATE/TENANCY_RETREAT") == "no"
    assert made.network is None


def test_a_machine_that_the_provider_makes_meanwhile_keeps_the_tenant(server: Emulator, cloud: ont.Cloud) -> None:
    vdc = cloud.vdcs.ensure(BARE)
    made: list[ont.Vm] = []

    def make(step: ont.Step) -> None:
        if step.change.subject == f"group {vdc.id}" and not made:
            size = ont.VmSize(vcpu=1, memory_mb=128)
            with connect(server) as other:
                made.append(other.vms.ensure(ont.VmSpec(name="late", key="late", vdc=vdc.id, template=0, size=size)))

    with pytest.raises(ont.NotEmpty, match=r"VM \d+ \(late\) came to the tenant while it was removed"):
        vdc.delete(progress=make, terminate_vms=True)
    assert cloud.vdcs.list() == (vdc,)
    vdc.delete(terminate_vms=True)
    assert cloud.vdcs.list() == ()
    assert cloud.vms.list() == ()


def test_two_accounts_make_one_network_although_names_are_unique_for_each_owner_alone(
    server: Emulator, admin: Raw
) -> None:
    admin("one.user.allocate", "other", "secret", "core", [0])
    take = server.faults.take
    made: list[ont.Vdc] = []

    def taking(method: str) -> Fault | None:
        if method == "one.vn.allocate" and not made:
            server.faults.take = take  # type: ignore[method-assign]
            with ont.connect(server.endpoint, "other:secret", retry=QUICK) as other:
                made.append(other.vdcs.ensure(SPEC))
        return take(method)

    server.faults.take = taking  # type: ignore[method-assign]
    with connect(server) as cloud:
        vdc = cloud.vdcs.ensure(SPEC)
        assert [twin.id for twin in made] == [vdc.id]
        assert len(marked_networks(admin)) == 1
        assert not cloud.vdcs.plan(SPEC)
        before = marked_networks(admin)
        twin = "NAME=twin VN_MAD=bridge TENANCY_KEY=key-of-acme TENANCY_ROLE=network TENANCY_VERSION=1"
        admin("one.vn.allocate", twin, 0)
        assert marked_networks(admin) > before
        vdc.delete()
    assert marked_networks(admin) == set()


def marked_networks(admin: Raw) -> set[str | None]:
    """The ids of networks that carry the tenant's key."""
    pool = admin.xml("one.vnpool.info", -2, -1, -1)
    return {item.findtext("ID") for item in pool if item.findtext("TEMPLATE/TENANCY_KEY") == SPEC.key}
