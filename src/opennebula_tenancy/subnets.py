"""Subnets of tenants: which one of a pool is free, and which ones overlap. Pure arithmetic, IPv4 only.

OpenNebula keeps no book of subnets: networks may overlap, and it lets them. So what is taken is read from the address
ranges of the networks that are there, whatever their size and alignment, and a subnet is free when none of its
addresses is in any of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Interface
from typing import TYPE_CHECKING, Any, Self

import attrs

from opennebula_tenancy.display import Table
from opennebula_tenancy.errors import PoolExhausted, SettingsError


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


SMALLEST_PREFIX = 30
"""The prefix length of the smallest subnet: two usable addresses, one for the gateway and one for a VM."""
LARGEST_PREFIX = 16
"""The prefix length of the largest subnet that a user may ask for: 65,534 usable addresses. More would be a pool."""

_BITS = 32
_LAST = 2**_BITS - 1
_CIDR = re.compile(r"(\d{1,3}(?:\.\d{1,3}){3})/(\d{1,2})", re.ASCII)
_NEVER = (
    (IPv4Network("0.0.0.0/8"), "this network (RFC 791)"),
    (IPv4Network("127.0.0.0/8"), "loopback"),
    (IPv4Network("169.254.0.0/16"), "link-local"),
    (IPv4Network("224.0.0.0/4"), "multicast"),
    (IPv4Network("240.0.0.0/4"), "reserved"),
)


@attrs.frozen(order=True)
class AddressSpan:
    """A range of addresses, both ends included: an address range of some network.

    Attributes:
        first: The lowest address.
        last: The highest address.

    Raises:
        SettingsError: The last address comes before the first one.
    """

    first: IPv4Address
    last: IPv4Address

    def __attrs_post_init__(self) -> None:
        if self.last < self.first:
            raise SettingsError(f"the addresses {self} end before they begin")

    @classmethod
    def of(cls, first: IPv4Address, size: int) -> Self:
        """A range as OpenNebula has it.

        Args:
            first: The lowest address.
            size: The number of addresses, at least 1. The server takes sizes that reach beyond 255.255.255.255: those
                end there.
        """
        return cls(first, IPv4Address(min(int(first) + size - 1, _LAST)))

    @classmethod
    def of_network(cls, network: IPv4Network) -> Self:
        """All addresses of a network, the first and the last one included."""
        return cls(network.network_address, network.broadcast_address)

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


def overlapping(network: IPv4Network, taken: Iterable[AddressSpan]) -> tuple[AddressSpan, ...]:
    """The spans that a network shares addresses with.

    Args:
        network: The network.
        taken: The spans to look at.

    Returns:
        Those that overlap, in the order given.
    """
    first, last = network.network_address, network.broadcast_address
    return tuple(span for span in taken if span.first <= last and first <= span.last)


def parse_subnet(cidr: str) -> IPv4Network:
    """Read a subnet that a user asks for. Whether it is free is another question: see `overlapping`.

    Args:
        cidr: The subnet, such as `192.168.50.0/24`: from /16 to /30.

    Returns:
        The subnet.

    Raises:
        SettingsError: It is no IPv4 network, has host bits set, is too large or too small, or is one that no tenant
            can have, such as loopback; all problems at once.
    """
    network = parse_network(cidr)
    problems = list(_never(network))
    if network.prefixlen < LARGEST_PREFIX:
        problems.append(f"{network} is too large: /{LARGEST_PREFIX} is the largest subnet")
    if network.prefixlen > SMALLEST_PREFIX:
        problems.append(f"{network} is too small: /{SMALLEST_PREFIX} is the smallest with a gateway and a VM")
    if problems:
        raise SettingsError(*problems)
    return network


def parse_network(text: Any) -> IPv4Network:
    """Read an IPv4 network of any size.

    Args:
        text: The network with its prefix length, such as `10.0.0.0/8`.

    Returns:
        The network.

    Raises:
        SettingsError: It is none, or has host bits set; one sentence says why.
    """
    if not isinstance(text, str):
        raise SettingsError(f"{text!r} is no text; a network such as 10.0.0.0/24 was due")
    match = _CIDR.fullmatch(text.strip())
    if match is None:
        raise SettingsError(f"{text!r} {_why_no_network(text.strip())}")
    try:
        network = IPv4Network(match.group(), strict=False)
    except ValueError as error:
        raise SettingsError(f"{text!r} is no IPv4 network: {error}") from None
    if str(network.network_address) != match.group(1):
        raise SettingsError(f"{text!r} has host bits set: the network of that address is {network}")
    return network


def _why_no_network(text: str) -> str:
    if _is(IPv6Interface, text):
        return "is IPv6, which tenants' networks do not have: only IPv4 is supported"
    if _is(IPv4Address, text):
        return f"has no prefix length; a network such as {text}/24 was due"
    if _is(IPv4Address, text.partition("/")[2]):
        return "has a mask in place of a prefix length such as /24"
    return "is no IPv4 network; one such as 10.0.0.0/24 was due"


def _is(kind: Callable[[str], object], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def _never(network: IPv4Network) -> Iterator[str]:
    if found := [f"{special} is {name}" for special, name in _NEVER if network.overlaps(special)]:
        yield f"{network} cannot be a tenant's: {', '.join(found)}"


@attrs.frozen(kw_only=True)
class Utilisation:
    """How full a pool is.

    Attributes:
        pool: The pool, such as `10.0.0.0/8`.
        prefix: The prefix length of its subnets.
        subnets: The number of subnets that it has to give when nothing is taken.
        free: The number of those that are free.
        addresses: The number of its addresses, excluded ones included.
        addresses_taken: The number of those that are in use by networks.
        largest_free_prefix: The prefix length of the largest free block, None when no address is free.
    """

    pool: str
    prefix: int
    subnets: int
    free: int
    addresses: int
    addresses_taken: int
    largest_free_prefix: int | None

    def _table(self) -> Table:
        largest = "none" if self.largest_free_prefix is None else f"/{self.largest_free_prefix}"
        rows = [
            (f"subnets /{self.prefix}", str(self.subnets)),
            ("free", str(self.free)),
            ("addresses", str(self.addresses)),
            ("addresses taken", str(self.addresses_taken)),
            ("largest free block", largest),
        ]
        return Table(("pool", self.pool), rows)

    def __str__(self) -> str:
        return self._table().text()

    def _repr_html_(self) -> str:
        return self._table().html()


def _texts(given: Any) -> tuple[Any, ...]:
    """A list as a tuple. One text is not a list of characters, and what is no list is looked at with the rest."""
    return tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)


@attrs.frozen
class SubnetPool:
    """A range of addresses that tenants' subnets are cut from.

    Attributes:
        cidr: The range, such as `10.0.0.0/8`.
        prefix: The prefix length of the subnets: /30 at most, and no larger than the range.
        exclude: Networks such as `10.0.16.0/20` that are never given out; they may reach beyond the range.
        skip_base: Never give out the first subnet of the range, which is the network that the range is named after.
        network: The range as a network.
        excluded: `exclude` as spans of addresses, for a look at a subnet that a user asks for.

    Raises:
        SettingsError: A value cannot be, or nothing is left to give out; all problems at once.
    """

    cidr: str
    prefix: int = 24
    exclude: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    skip_base: bool = True
    network: IPv4Network = attrs.field(init=False, eq=False, repr=False)
    excluded: tuple[AddressSpan, ...] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        problems: list[str] = []
        network = _checked("cidr", self.cidr, problems)
        excluded = [_checked(f"exclude[{index}]", text, problems) for index, text in enumerate(self.exclude)]
        if network is not None:
            problems += [f"cidr: {problem}" for problem in _never(network)]
        problems += _prefix_problems(self.prefix, network)
        if network is None or problems:
            raise SettingsError(*problems)
        object.__setattr__(self, "cidr", str(network))
        object.__setattr__(self, "network", network)
        object.__setattr__(self, "exclude", tuple(map(str, excluded)))
        object.__setattr__(
            self, "excluded", tuple(AddressSpan.of_network(item) for item in excluded if item is not None)
        )
        if not self.utilisation(()).subnets:
            raise SettingsError(f"{self.cidr}: the exclusions and the base subnet leave no /{self.prefix} to give out")

    def choose(self, taken: Iterable[AddressSpan]) -> IPv4Network:
        """Choose a free subnet.

        The free addresses form gaps, and a gap is as large as the number of subnets that it can hold. The lowest
        subnet of the smallest gap is chosen, of the lowest one among equals: so large gaps stay whole, and the same
        situation always gives the same answer.

        Args:
            taken: All address ranges that are in use, inside the pool or not.

        Returns:
            A subnet of the pool's prefix length, none of whose addresses is taken.

        Raises:
            PoolExhausted: Nothing is free that is large enough.
        """
        taken = tuple(taken)
        gaps = [(count, first) for first, count in self._fits(taken) if count]
        if not gaps:
            use = self.utilisation(taken)
            largest = "no address" if use.largest_free_prefix is None else f"a /{use.largest_free_prefix} at most"
            raise PoolExhausted(
                f"no /{self.prefix} is free in the subnet pool {self.cidr}, which has {use.subnets} of them: "
                f"{largest} is left"
            )
        return IPv4Network((min(gaps)[1], self.prefix))

    def utilisation(self, taken: Iterable[AddressSpan]) -> Utilisation:
        """Say how full the pool is.

        Args:
            taken: All address ranges that are in use, inside the pool or not.
        """
        taken = tuple(taken)
        unused = sum(last + 1 - first for first, last in self._gaps(taken))
        return Utilisation(
            pool=self.cidr,
            prefix=self.prefix,
            subnets=sum(count for _, count in self._fits(())),
            free=sum(count for _, count in self._fits(taken)),
            addresses=self.network.num_addresses,
            addresses_taken=self.network.num_addresses - unused,
            largest_free_prefix=self._largest_free_prefix(taken),
        )

    def _closed(self) -> tuple[AddressSpan, ...]:
        """What is never given out, taken or not."""
        base = AddressSpan.of_network(IPv4Network((self.network.network_address, self.prefix)))
        return (*self.excluded, base) if self.skip_base else self.excluded

    def _gaps(self, spans: tuple[AddressSpan, ...]) -> list[tuple[int, int]]:
        """What the spans leave of the pool: the first and the last address of each gap, from the lowest one up."""
        at, end = int(self.network.network_address), int(self.network.broadcast_address)
        gaps: list[tuple[int, int]] = []
        for first, last in sorted((int(span.first), int(span.last)) for span in spans):
            if first > end:
                break
            if first > at:
                gaps.append((at, first - 1))
            at = max(at, last + 1)
        if at <= end:
            gaps.append((at, end))
        return gaps

    def _fits(self, taken: tuple[AddressSpan, ...]) -> Iterator[tuple[int, int]]:
        """For each gap, the first address of the lowest subnet in it, and how many subnets it holds."""
        return (_fit(gap, self.prefix) for gap in self._gaps((*taken, *self._closed())))

    def _largest_free_prefix(self, taken: tuple[AddressSpan, ...]) -> int | None:
        gaps = self._gaps((*taken, *self._closed()))
        prefixes = range(self.network.prefixlen, _BITS + 1)
        return next((prefix for prefix in prefixes if any(_fit(gap, prefix)[1] for gap in gaps)), None)


def _fit(gap: tuple[int, int], prefix: int) -> tuple[int, int]:
    """The first aligned address of a gap, and how many aligned subnets it holds from there."""
    size = 2 ** (_BITS - prefix)
    first = -(-gap[0] // size) * size
    return first, max(0, (gap[1] + 1 - first) // size)


def _checked(path: str, text: Any, problems: list[str]) -> IPv4Network | None:
    try:
        return parse_network(text)
    except SettingsError as error:
        problems += [f"{path}: {problem}" for problem in error.problems]
        return None


def _prefix_problems(prefix: Any, network: IPv4Network | None) -> Iterator[str]:
    if isinstance(prefix, bool) or not isinstance(prefix, int):
        yield f"prefix: {prefix!r} is no prefix length; one such as 24 was due"
    elif prefix > SMALLEST_PREFIX:
        yield f"prefix: /{prefix} is too small, /{SMALLEST_PREFIX} is the smallest with a gateway and a VM"
    elif prefix < 1 or (network is not None and prefix < network.prefixlen):
        yield f"prefix: a /{prefix} does not fit into {network or 'any pool'}"
