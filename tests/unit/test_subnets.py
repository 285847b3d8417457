"""Which subnet of a pool is free."""

import random
import time
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opennebula_tenancy import PoolExhausted, SettingsError
from opennebula_tenancy.subnets import AddressSpan, SubnetPool, Utilisation, overlapping, parse_subnet


def span(text: str) -> AddressSpan:
    """`10.0.0.1-10.0.0.9`, or a network with all its addresses."""
    if "/" in text:
        return AddressSpan.of_network(IPv4Network(text))
    first, last = text.split("-")
    return AddressSpan(IPv4Address(first), IPv4Address(last))


def tenant(network: IPv4Network) -> AddressSpan:
    """What a tenant's network has of its subnet: all but the first and the last address."""
    return AddressSpan(network.network_address + 1, network.broadcast_address - 1)


def problems(make, *args, **kwargs) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        make(*args, **kwargs)
    return caught.value.problems


# --- spans


def test_a_span_is_made_of_a_first_address_and_a_size() -> None:
    assert AddressSpan.of(IPv4Address("10.0.0.1"), 254) == span("10.0.0.1-10.0.0.254")
    assert AddressSpan.of(IPv4Address("10.0.0.1"), 1) == span("10.0.0.1-10.0.0.1")


def test_a_range_that_the_server_lets_run_over_the_end_ends_there() -> None:
    assert str(AddressSpan.of(IPv4Address("255.255.255.0"), 2000)) == "255.255.255.0-255.255.255.255"


def test_a_span_does_not_run_backwards() -> None:
    assert problems(span, "10.0.0.2-10.0.0.1") == ("the addresses 10.0.0.2-10.0.0.1 end before they begin",)


@pytest.mark.parametrize(
    ("text", "overlaps"),
    [
        ("10.0.1.0/24", True),
        ("10.0.0.0/8", True),
        ("10.0.1.77-10.0.1.77", True),
        ("10.0.0.9-10.0.1.0", True),
        ("10.0.1.255-10.0.2.9", True),
        ("10.0.0.0-10.0.0.255", False),
        ("10.0.2.0-10.0.2.0", False),
    ],
)
def test_spans_overlap_when_they_share_an_address(text: str, overlaps: bool) -> None:
    far = span("192.168.0.0/16")
    assert overlapping(IPv4Network("10.0.1.0/24"), [far, span(text), far]) == ((span(text),) if overlaps else ())


# --- a subnet that a user asks for


@pytest.mark.parametrize("text", ["192.168.50.0/24", " 10.0.0.0/16\n", "10.0.0.4/30", "203.0.113.0/28"])
def test_a_subnet_is_read(text: str) -> None:
    assert parse_subnet(text) == IPv4Network(text.strip())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.168.50.7/24", "'192.168.50.7/24' has host bits set: the network of that address is 192.168.50.0/24"),
        ("fd00:1::/64", "'fd00:1::/64' is IPv6, which tenants' networks do not have: only IPv4 is supported"),
        ("::1", "'::1' is IPv6, which tenants' networks do not have: only IPv4 is supported"),
        ("10.0.0.0", "'10.0.0.0' has no prefix length; a network such as 10.0.0.0/24 was due"),
        ("10.0.0.0/255.255.255.0", "'10.0.0.0/255.255.255.0' has a mask in place of a prefix length such as /24"),
        ("", "'' is no IPv4 network; one such as 10.0.0.0/24 was due"),
        ("10.0.0.0/24/24", "'10.0.0.0/24/24' is no IPv4 network; one such as 10.0.0.0/24 was due"),
        ("10.0.0/24", "'10.0.0/24' is no IPv4 network; one such as 10.0.0.0/24 was due"),
        ("\u0661.0.0.0/24", "'\u0661.0.0.0/24' is no IPv4 network; one such as 10.0.0.0/24 was due"),
        ("10.0.0.0/15", "10.0.0.0/15 is too large: /16 is the largest subnet"),
        ("10.0.0.0/31", "10.0.0.0/31 is too small: /30 is the smallest with a gateway and a VM"),
        ("127.0.1.0/24", "127.0.1.0/24 cannot be a tenant's: 127.0.0.0/8 is loopback"),
        ("169.254.9.0/24", "169.254.9.0/24 cannot be a tenant's: 169.254.0.0/16 is link-local"),
        ("224.1.0.0/24", "224.1.0.0/24 cannot be a tenant's: 224.0.0.0/4 is multicast"),
        ("0.1.0.0/24", "0.1.0.0/24 cannot be a tenant's: 0.0.0.0/8 is this network (RFC 791)"),
        ("255.255.255.0/24", "255.255.255.0/24 cannot be a tenant's: 240.0.0.0/4 is reserved"),
        (7, "7 is no text; a network such as 10.0.0.0/24 was due"),
    ],
)
def test_what_no_tenant_can_have_is_refused_with_the_reason(text: str, expected: str) -> None:
    assert problems(parse_subnet, text) == (expected,)


@pytest.mark.parametrize("text", ["300.0.0.0/24", "010.0.0.0/24", "10.0.0.0/33"])
def test_numbers_out_of_bounds_are_refused(text: str) -> None:
    assert problems(parse_subnet, text)[0].startswith(f"'{text}' is no IPv4 network: ")


def test_all_that_is_wrong_with_a_subnet_is_said_at_once() -> None:
    never, size = problems(parse_subnet, "0.0.0.0/0")
    assert never == (
        "0.0.0.0/0 cannot be a tenant's: 0.0.0.0/8 is this network (RFC 791), 127.0.0.0/8 is loopback, "
        "169.254.0.0/16 is link-local, 224.0.0.0/4 is multicast, 240.0.0.0/4 is reserved"
    )
    assert size == "0.0.0.0/0 is too large: /16 is the largest subnet"


# --- the pool


def test_the_first_subnet_given_out_is_the_one_after_the_base() -> None:
    assert SubnetPool("10.0.0.0/8").choose(()) == IPv4Network("10.0.1.0/24")
    assert SubnetPool("10.0.0.0/8", prefix=20).choose(()) == IPv4Network("10.0.16.0/20")
    assert SubnetPool("10.0.0.0/8", skip_base=False).choose(()) == IPv4Network("10.0.0.0/24")


def test_a_subnet_may_be_as_large_as_the_pool() -> None:
    pool = SubnetPool("10.9.0.0/24", prefix=24, skip_base=False)
    assert pool.choose(()) == IPv4Network("10.9.0.0/24")


def test_a_single_address_takes_the_subnet_that_it_is_in() -> None:
    pool = SubnetPool("10.0.0.0/22")
    assert pool.choose([span("10.0.1.255-10.0.1.255")]) == IPv4Network("10.0.2.0/24")
    assert pool.choose([span("10.0.1.255-10.0.2.0")]) == IPv4Network("10.0.3.0/24")


def test_what_is_taken_around_the_pool_counts_where_it_reaches_into_it() -> None:
    pool = SubnetPool("10.0.0.0/22")
    assert pool.choose([span("9.0.0.0-10.0.1.0"), span("10.0.3.0-11.0.0.0")]) == IPv4Network("10.0.2.0/24")
    assert pool.choose([span("9.0.0.0/8"), span("11.0.0.0/8")]) == IPv4Network("10.0.1.0/24")


def test_the_smallest_gap_that_suffices_is_filled_first() -> None:
    taken = [span("10.0.1.0/24"), span("10.0.5.0/24"), span("10.0.7.0/24")]  # gaps: 2 to 4, 6, and the rest
    assert SubnetPool("10.0.0.0/16").choose(taken) == IPv4Network("10.0.6.0/24")


def test_of_equal_gaps_the_lowest_is_filled_first_whatever_odd_addresses_lie_around_them() -> None:
    taken = [tenant(IPv4Network(f"10.0.{third}.0/24")) for third in (1, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)]
    pool = SubnetPool("10.0.0.0/20", exclude=("10.0.4.0/24",))
    assert pool.choose(taken) == IPv4Network("10.0.2.0/24")  # between odd addresses; 5 has none below it
    assert pool.choose([*taken, span("10.0.2.0/24")]) == IPv4Network("10.0.5.0/24")


def test_gaps_are_used_as_far_as_subnets_align_in_them() -> None:
    pool = SubnetPool("10.0.0.0/22", prefix=25)
    taken = [span("10.0.0.0-10.0.1.0"), span("10.0.2.0-10.0.3.255")]
    assert pool.choose(taken) == IPv4Network("10.0.1.128/25")


def test_exclusions_are_never_given_out() -> None:
    pool = SubnetPool("10.0.0.0/22", exclude=("10.0.1.128/25", "10.0.2.0/24", "172.16.0.0/12"))
    assert pool.choose(()) == IPv4Network("10.0.3.0/24")
    assert pool.excluded == (span("10.0.1.128/25"), span("10.0.2.0/24"), span("172.16.0.0/12"))
    with pytest.raises(PoolExhausted):
        pool.choose([span("10.0.3.4-10.0.3.4")])


def test_an_exhausted_pool_says_what_is_left() -> None:
    pool = SubnetPool("10.0.0.0/22")
    taken = [tenant(IPv4Network("10.0.1.0/24")), span("10.0.2.0/25"), span("10.0.3.0/24")]
    with pytest.raises(PoolExhausted) as caught:
        pool.choose(taken)
    assert str(caught.value) == (
        "no /24 is free in the subnet pool 10.0.0.0/22, which has 3 of them: a /25 at most is left"
    )
    with pytest.raises(PoolExhausted, match=r"no address is left\Z"):
        pool.choose([span("0.0.0.0-255.255.255.255")])


def test_a_pool_is_equal_however_it_is_written() -> None:
    first, second = SubnetPool(" 10.0.0.0/8", exclude=["10.1.0.0/16 "]), SubnetPool("10.0.0.0/8", 24, ("10.1.0.0/16",))
    assert first == second
    assert hash(first) == hash(second)
    assert SubnetPool("10.0.0.0/8", exclude="10.1.0.0/16") == first
    assert attrs.evolve(first, prefix=26).choose(()) == IPv4Network("10.0.0.64/26")


def test_all_problems_of_a_pool_are_named_at_once() -> None:
    assert problems(SubnetPool, "10.0.0.1/8", prefix=31, exclude=("fd::/8", "10.1.0.0/16", None)) == (
        "cidr: '10.0.0.1/8' has host bits set: the network of that address is 10.0.0.0/8",
        "exclude[0]: 'fd::/8' is IPv6, which tenants' networks do not have: only IPv4 is supported",
        "exclude[2]: None is no text; a network such as 10.0.0.0/24 was due",
        "prefix: /31 is too small, /30 is the smallest with a gateway and a VM",
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"cidr": "10.0.0.0/16", "prefix": 15}, "prefix: a /15 does not fit into 10.0.0.0/16"),
        ({"cidr": "x", "prefix": 0}, "prefix: a /0 does not fit into any pool"),
        ({"cidr": "10.0.0.0/16", "prefix": "24"}, "prefix: '24' is no prefix length; one such as 24 was due"),
        ({"cidr": "10.0.0.0/16", "prefix": True}, "prefix: True is no prefix length; one such as 24 was due"),
        (
            {"cidr": "10.0.0.0/16", "exclude": None},
            "exclude[0]: None is no text; a network such as 10.0.0.0/24 was due",
        ),
        ({"cidr": "fd00::/8"}, "cidr: 'fd00::/8' is IPv6, which tenants' networks do not have: only IPv4 is supported"),
        ({"cidr": "168.0.0.0/7"}, "cidr: 168.0.0.0/7 cannot be a tenant's: 169.254.0.0/16 is link-local"),
        ({"cidr": "10.0.0.0/24"}, "10.0.0.0/24: the exclusions and the base subnet leave no /24 to give out"),
        (
            {"cidr": "10.0.0.0/16", "exclude": ("10.0.0.0/15",)},
            "10.0.0.0/16: the exclusions and the base subnet leave no /24 to give out",
        ),
    ],
)
def test_a_pool_that_cannot_be_is_refused(settings: dict[str, object], expected: str) -> None:
    assert problems(SubnetPool, **settings)[-1] == expected


def test_utilisation_counts_subnets_and_addresses() -> None:
    pool = SubnetPool("10.0.0.0/20", exclude=("10.0.4.0/24",))
    taken = [
        span("10.0.1.1-10.0.1.254"),
        span("10.0.1.200-10.0.2.0"),
        span("10.0.4.0/24"),
        span("10.0.15.255-11.0.0.0"),
    ]
    use = pool.utilisation(taken)
    assert use == Utilisation(
        pool="10.0.0.0/20",
        prefix=24,
        subnets=14,
        free=11,
        addresses=4096,
        addresses_taken=256 + 256 + 1,
        largest_free_prefix=22,
    )
    assert "free                11" in str(use)
    assert "<td>/22</td>" in use._repr_html_()


def test_a_full_pool_has_no_free_block() -> None:
    use = SubnetPool("10.0.0.0/20").utilisation([span("10.0.0.0/8")])
    assert (use.free, use.addresses_taken, use.largest_free_prefix) == (0, 4096, None)
    assert "<td>none</td>" in use._repr_html_()


def test_ten_thousand_networks_in_a_large_pool_are_no_trouble() -> None:
    pool = SubnetPool("10.0.0.0/8")
    taken = [tenant(IPv4Network((0x0A000000 + 512 * index, 24))) for index in range(10_000)]
    random.Random(7).shuffle(taken)
    started = time.process_time()
    assert pool.choose(taken) == IPv4Network("10.0.1.0/24")
    assert pool.utilisation(taken).free == 65_536 - 10_000
    assert time.process_time() - started < 2.0


# --- properties, against a table of all addresses of a small pool

SMALL = IPv4Network("10.20.30.0/24")
PREFIXES = st.integers(25, 30)
SPANS = st.lists(
    st.builds(
        lambda first, size: AddressSpan.of(IPv4Address("10.20.29.0") + first, size),
        st.integers(0, 767),
        st.integers(1, 300) | st.integers(1, 8),
    ),
    max_size=8,
)
EXCLUSIONS = st.lists(
    st.builds(
        lambda number, prefix: str(IPv4Network((f"10.20.30.{number}", prefix), strict=False)),
        st.integers(0, 255),
        PREFIXES,
    ),
    max_size=3,
)


def lowest_of_the_smallest_gap(
    prefix: int, taken: list[AddressSpan], exclude: Sequence[str] = (), *, skip_base: bool = True
) -> IPv4Network | None:
    """What to choose, found by looking at each address of the pool and at each subnet."""
    subnets = list(SMALL.subnets(new_prefix=prefix))
    shut = {address for text in exclude for address in IPv4Network(text)}
    shut |= set(subnets[0]) if skip_base else set()
    free = [address not in shut and not any(item.first <= address <= item.last for item in taken) for address in SMALL]
    gap_of: list[int | None] = []  # by address
    gap = 0
    for is_free in free:
        gap += not is_free
        gap_of.append(gap if is_free else None)
    size = 2 ** (32 - prefix)
    gaps: dict[int, list[IPv4Network]] = {}
    for index, subnet in enumerate(subnets):
        inside = gap_of[index * size : (index + 1) * size]
        if inside[0] is not None and len(set(inside)) == 1:
            gaps.setdefault(inside[0], []).append(subnet)
    return min(gaps.values(), key=lambda found: (len(found), found[0]))[0] if gaps else None


@given(SPANS, PREFIXES, EXCLUSIONS, st.booleans())
def test_the_choice_is_the_lowest_subnet_of_the_smallest_gap(
    taken: list[AddressSpan], prefix: int, exclude: list[str], skip_base: bool
) -> None:
    if lowest_of_the_smallest_gap(prefix, [], exclude, skip_base=skip_base) is None:
        with pytest.raises(SettingsError, match="to give out"):
            SubnetPool(str(SMALL), prefix, tuple(exclude), skip_base)
        return
    pool = SubnetPool(str(SMALL), prefix, tuple(exclude), skip_base)
    expected = lowest_of_the_smallest_gap(prefix, taken, exclude, skip_base=skip_base)
    if expected is None:
        assert pool.utilisation(taken).free == 0
        with pytest.raises(PoolExhausted):
            pool.choose(taken)
        return
    chosen = pool.choose(taken)
    assert chosen == expected
    assert overlapping(chosen, [*taken, *pool.excluded]) == ()
    assert chosen.subnet_of(pool.network)


@given(SPANS, PREFIXES)
def test_utilisation_agrees_with_what_can_be_chosen(taken: list[AddressSpan], prefix: int) -> None:
    pool = SubnetPool(str(SMALL), prefix)
    use = pool.utilisation(taken)
    now = list(taken)
    for _ in range(use.free):
        now.append(AddressSpan.of_network(pool.choose(now)))
    with pytest.raises(PoolExhausted):
        pool.choose(now)
    assert use.subnets == 2 ** (prefix - 24) - 1
    assert use.addresses_taken == sum(any(item.first <= address <= item.last for item in taken) for address in SMALL)
    if use.largest_free_prefix is not None and 25 <= use.largest_free_prefix <= 30:
        whole = attrs.evolve(pool, prefix=use.largest_free_prefix, skip_base=False)
        assert whole.utilisation(taken).free > 0


@given(st.lists(st.tuples(PREFIXES, st.integers(0, 99), st.booleans()), max_size=60), SPANS)
def test_whatever_is_chosen_and_freed_nothing_overlaps_and_all_that_is_freed_is_used_again(
    history: list[tuple[int, int, bool]], foreign: list[AddressSpan]
) -> None:
    pools = {prefix: SubnetPool(str(SMALL), prefix) for prefix in range(25, 31)}
    tenants: list[IPv4Network] = []
    for prefix, which, frees in history:
        if frees and tenants:
            tenants.pop(which % len(tenants))
            continue
        taken = [*map(tenant, tenants), *foreign]
        expected = lowest_of_the_smallest_gap(prefix, taken)
        try:
            chosen = pools[prefix].choose(taken)
        except PoolExhausted:
            assert expected is None
            continue
        assert chosen == expected
        assert not any(chosen.overlaps(other) for other in tenants)
        assert overlapping(chosen, foreign) == ()
        tenants.append(chosen)
