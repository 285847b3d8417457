"""Subnets never overlap, whoever takes one at the same moment, and whatever was there before."""

import multiprocessing
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import opennebula_tenancy as ont
from opennebula_tenancy import waiting
from opennebula_tenancy.emulator import Emulator
from tenants.claims import make, overlap, spans, subnets
from tenants.networks import PROVIDER, ROUTER_TEMPLATE, connect, network, new_server, tenant
from tenants.raw import Raw
from tenants.snapshot import marked


PROCESSES, EACH = 4, 8
FOREIGN = 'NAME="{}"\nVN_MAD=dummy\nBRIDGE=br9\nAR=[TYPE=IP4,IP="{}",SIZE={}]'


@pytest.fixture(name="server")
def _server() -> Iterator[Emulator]:
    with new_server() as server:
        yield server


def make_at_once(server: Emulator, pools: list[ont.SubnetPool]) -> None:
    """Make a tenant for each pool, by several processes at once."""
    spawn = multiprocessing.get_context("spawn")
    share = len(pools) // PROCESSES
    workers = [
        spawn.Process(
            target=make,
            args=(
                server.endpoint,
                server.auth,
                [f"t{number}" for number in range(start, start + share)],
                pools[start : start + share],
                PROVIDER,
                ROUTER_TEMPLATE,
            ),
        )
        for start in range(0, len(pools), share)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(100)
    assert [worker.exitcode for worker in workers] == [0] * PROCESSES


class TestThirtyTwoTenantsOfFourProcesses:
    @pytest.fixture(autouse=True)
    def _room(self, admin: Raw, server: Emulator) -> None:
        """The external network has an address for the router of each."""
        admin("one.vn.add_ar", PROVIDER, 'AR=[TYPE=IP4,IP="203.0.113.100",SIZE=50]')
        with server.cloud.lock:
            server.cloud.config = attrs.evolve(server.cloud.config, host_cpu=10000)

    def test_have_subnets_of_one_pool_that_do_not_overlap(self, server: Emulator, admin: Raw) -> None:
        make_at_once(server, [ont.SubnetPool("10.0.0.0/8")] * PROCESSES * EACH)
        assert sorted(map(str, subnets(admin).values())) == sorted(f"10.0.{n}.0/24" for n in range(1, 33))
        assert overlap(admin) == []

    def test_have_subnets_of_many_sizes_beside_a_network_of_others(self, server: Emulator, admin: Raw) -> None:
        admin("one.vn.allocate", FOREIGN.format("foreign", "10.0.2.77", 900), 0)
        prefixes = (24, 26, 23, 27)
        make_at_once(server, [ont.SubnetPool("10.0.0.0/16", prefix=prefixes[n % 4]) for n in range(PROCESSES * EACH)])
        taken = subnets(admin)
        assert [taken[f"t{n}_internal"].prefixlen for n in range(32)] == [prefixes[n % 4] for n in range(32)]
        assert overlap(admin) == []


POOL = IPv4Network("10.20.0.0/24")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("tenant"), st.integers(25, 29)),
        st.tuples(st.just("foreign"), st.tuples(st.integers(0, 255), st.integers(1, 90))),
        st.tuples(st.just("remove"), st.integers(0, 9)),
    ),
    min_size=4,
    max_size=9,
)


def is_free(admin: Raw, prefix: int) -> bool:
    """Whether the pool has a subnet of that size, its first one aside, that nobody has an address of."""
    held = spans(admin)
    return any(
        all(last < int(net[0]) or int(net[-1]) < first for first, last in held)
        for net in list(POOL.subnets(new_prefix=prefix))[1:]
    )


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_no_history_makes_subnets_overlap_or_leak(steps: list[tuple[str, object]]) -> None:
    with pytest.MonkeyPatch.context() as patch, new_server() as server, connect(server) as cloud:
        patch.setattr(waiting, "_SHORTEST_S", 0.001)
        admin = Raw(server.endpoint, server.auth)
        made: dict[str, ont.Vdc] = {}
        foreign = 0
        for number, (what, detail) in enumerate(steps):
            name = f"t{number}"
            if what == "tenant":
                free = is_free(admin, int(str(detail)))
                pool = ont.SubnetPool(str(POOL), prefix=int(str(detail)))
                spec = tenant(name, quota=ont.Quota(), network=network(pool=pool))
                if free:
                    made[name] = cloud.vdcs.ensure(spec)
                else:
                    with pytest.raises(ont.PoolExhausted):
                        cloud.vdcs.ensure(spec)
                    assert marked(server, spec.key) == {}
            elif what == "foreign":
                assert isinstance(detail, tuple)
                first = IPv4Address(int(POOL[0]) + detail[0])
                overlapping = any(int(first) <= last and at < int(first) + detail[1] for at, last in spans(admin))
                if not overlapping:
                    admin("one.vn.allocate", FOREIGN.format(f"f{number}", first, detail[1]), 0)
                    foreign += 1
            elif made:
                made.pop(sorted(made)[int(str(detail)) % len(made)]).delete()
            server.settle()
            assert overlap(admin) == []
            assert set(subnets(admin)) == {f"{name}_internal" for name in made}
            assert all(net.subnet_of(POOL) and net[0] != POOL[0] for net in subnets(admin).values())
            assert len(admin.xml("one.vnpool.info", -2, -1, -1)) == len(made) + foreign + 1
        assert len(made) == len(cloud.vdcs.list())


def test_a_claim_that_is_lost_is_taken_back_and_another_subnet_is_taken(server: Emulator, admin: Raw) -> None:
    """Somebody makes a network in the same place between the scan and the claim."""
    foreign: list[int] = []

    def meddle(record: ont.CallRecord) -> None:
        if record.method == "one.secgroup.allocate" and not foreign:
            foreign.append(admin("one.vn.allocate", FOREIGN.format("foreign", "10.0.1.200", 5), 0))

    with connect(server, on_call=meddle) as cloud:
        vdc = cloud.vdcs.ensure(tenant())
        assert vdc.network is not None
        assert (str(vdc.network.subnet), foreign) == ("10.0.2.0/24", [1])
        assert not cloud.vdcs.plan(tenant())
    assert set(subnets(admin)) == {"acme_internal"}
    assert overlap(admin) == []


def test_a_claim_that_came_first_stays(server: Emulator, admin: Raw) -> None:
    """Somebody makes a network in the same place between the claim and its verification."""
    foreign: list[int] = []

    def meddle(record: ont.CallRecord) -> None:
        if record.method == "one.vn.allocate" and not foreign:
            foreign.append(admin("one.vn.allocate", FOREIGN.format("foreign", "10.0.1.200", 5), 0))

    with connect(server, on_call=meddle) as cloud:
        network_now = cloud.vdcs.ensure(tenant()).network
    assert network_now is not None
    assert (network_now.id, str(network_now.subnet), foreign) == (1, "10.0.1.0/24", [2])


def test_a_subnet_that_was_asked_for_and_is_taken_at_that_moment_is_refused_and_leaves_nothing(
    server: Emulator, admin: Raw
) -> None:
    def meddle(record: ont.CallRecord) -> None:
        if record.method == "one.secgroup.allocate" and record.outcome == "ok":
            admin("one.vn.allocate", FOREIGN.format("foreign", "10.44.1.200", 5), 0)

    spec = tenant(network=network(subnet="10.44.0.0/16"))
    with connect(server, on_call=meddle) as cloud:
        with pytest.raises(ont.SettingsError, match=r"network 1 \(foreign\)"):
            cloud.vdcs.ensure(spec)
        assert marked(server, spec.key) == {}
        assert cloud.vdcs.list() == ()


class Killed(BaseException):
    """The process is gone: no line of it runs any more."""


def test_a_claim_that_was_lost_and_not_taken_back_is_taken_back_by_the_next_run(server: Emulator, admin: Raw) -> None:
    seen: list[str] = []

    def meddle(record: ont.CallRecord) -> None:
        seen.append(record.method)
        if record.method == "one.secgroup.allocate":
            admin("one.vn.allocate", FOREIGN.format("foreign", "10.0.1.200", 5), 0)
        if "one.vn.allocate" in seen:
            raise Killed

    with connect(server, on_call=meddle) as cloud, pytest.raises(Killed):
        cloud.vdcs.ensure(tenant())
    server.settle()
    assert overlap(admin) != []
    with connect(server) as cloud:
        subjects = [str(change) for change in cloud.vdcs.plan(tenant())]
        assert "delete network 2 (acme_internal)" in subjects
        assert "create network acme_internal: 10.0.2.0/24" in subjects
        cloud.vdcs.ensure(tenant())
        assert not cloud.vdcs.plan(tenant())
    assert str(subnets(admin)["acme_internal"]) == "10.0.2.0/24"
    assert overlap(admin) == []


def test_a_network_that_is_in_use_is_not_given_up_for_one_that_was_put_over_it(server: Emulator, admin: Raw) -> None:
    """A range that an administrator adds to an older network may lie anywhere."""
    with connect(server) as cloud:
        vdc = cloud.vdcs.ensure(tenant())
        admin("one.vn.add_ar", PROVIDER, 'AR=[TYPE=IP4,IP="10.0.1.200",SIZE=5]')
        admin("one.group.update", vdc.id, "TENANCY_NETWORK_ID=unsettled", 1)
        cloud.vdcs.ensure(tenant())
        assert str(subnets(admin)["acme_internal"]) == "10.0.1.0/24"


class TestTheSubnetOfTheExternalNetwork:
    """A router with both legs in one subnet routes nothing, and the provider's own gateway is nobody else's."""

    @pytest.fixture(name="external")
    def _external(self, admin: Raw) -> int:
        whole = 'NETWORK_ADDRESS="10.0.0.0"\nNETWORK_MASK="255.255.252.0"\nGATEWAY="10.0.1.1"'
        named = 'NAME="wide"\nVN_MAD=bridge\nBRIDGE=br0\nAR=[TYPE=IP4,IP="10.0.3.100",SIZE=20]'
        made: int = admin("one.vn.allocate", f"{named}\n{whole}", 0)
        return made

    def test_is_not_chosen_for_a_tenant(self, cloud: ont.Cloud, external: int) -> None:
        vdc = cloud.vdcs.ensure(tenant(network=network(external_network=external)))
        assert vdc.network is not None
        assert vdc.network.subnet == IPv4Network("10.0.4.0/24")

    @pytest.mark.parametrize("subnet", ["10.0.1.0/24", "10.0.2.0/24", "10.0.0.0/16"])
    def test_is_refused_to_a_tenant(self, cloud: ont.Cloud, external: int, subnet: str) -> None:
        with pytest.raises(ont.SettingsError, match=rf"{subnet} overlaps with the addresses of network {external} "):
            cloud.vdcs.plan(tenant(network=network(external_network=external, subnet=subnet)))

    def test_is_free_for_those_that_lead_elsewhere_but_for_its_gateway(self, cloud: ont.Cloud, external: int) -> None:
        assert cloud.vdcs.plan(tenant(network=network(subnet="10.0.2.0/24")))
        with pytest.raises(ont.SettingsError, match=f"overlaps with the addresses of network {external} "):
            cloud.vdcs.plan(tenant(network=network(subnet="10.0.1.0/24")))
