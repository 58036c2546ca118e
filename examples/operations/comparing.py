"""Compares connections with others: finds the values that they share and the others do not.

A value is telling if

* at least a quarter of the connections have it, and at least three of them,
* its odds are three times those among the others, as for the alerts,
* chance would do that less than once in a thousand times (Fisher's exact test).

A value that each connection has for itself, such as an id, is never telling. One that most of the
others have says nothing of who it is: it is reported after those that do. A part of a value, such
as a network or a product in a user agent, is reported only if it says clearly more than the whole
value.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from math import comb
from typing import Final

from examples.demo.names import CLIENT_ADDRESS, USER_AGENT

Values = Mapping[str, frozenset[str]]
"""What is known of one connection: the values of each attribute."""

SHARE: Final = 0.25
AT_LEAST: Final = 3
ODDS: Final = 3
CHANCE: Final = 0.001
CLEARLY: Final = 0.9
"""The difference of a value weighs so much in comparison with that of a part of it."""

PRODUCT: Final = re.compile(r"([^\s()/;,]+)/[^\s();,]+")
COMMENT: Final = re.compile(r"\(([^()]*)\)")
NETWORKS: Final = {4: 24, 6: 64}


@dataclass(frozen=True)
class Shared:
    """A value, and how many of the connections have it."""

    attribute: str
    value: str
    part: int
    """0 for a whole value, otherwise how general a part of it is."""
    found: frozenset[int]
    """The numbers of the connections that have it."""
    found_of: int
    compared: int
    compared_of: int

    @property
    def difference(self) -> float:
        """The difference of the shares, from -1 to 1."""
        return len(self.found) / self.found_of - self.compared / max(self.compared_of, 1)

    @property
    def is_frequent(self) -> bool:
        """Whether many of the connections have it."""
        return len(self.found) >= max(AT_LEAST, SHARE * self.found_of)

    @property
    def is_common(self) -> bool:
        """Whether most of the others have it, too."""
        return 2 * self.compared > self.compared_of

    @property
    def is_telling(self) -> bool:
        """Whether the connections share it and the others do not."""
        counts = len(self.found), self.found_of, self.compared, self.compared_of
        return (
            self.is_frequent
            and odds(*counts[:2]) >= ODDS * odds(*counts[2:])
            and chance(*counts) < CHANCE
        )


def odds(count: int, of: int) -> float:
    """Return the odds of a value, with half a connection more on either side: none is 0."""
    return (count + 0.5) / (of - count + 0.5)


def chance(found: int, found_of: int, compared: int, compared_of: int) -> float:
    """Return the probability that so many of those with a value, or more, are found by chance."""
    having, everything = found + compared, found_of + compared_of
    ways = sum(
        comb(having, count) * comb(everything - having, found_of - count)
        for count in range(found, min(having, found_of) + 1)
    )
    return ways / comb(everything, found_of)


def products(user_agent: str) -> Iterator[tuple[int, str]]:
    """Name the products of a user agent with their versions, their names, and the comments."""
    for product in PRODUCT.finditer(user_agent):
        yield 1, product[0]
        yield 2, product[1]
    for comment in COMMENT.findall(user_agent):
        yield from ((2, said) for part in comment.split(";") if (said := part.strip()))


def network(address: str) -> Iterator[tuple[int, str]]:
    """Name the network of an address: its /24, or its /64 if it is an IPv6 address."""
    try:
        known = ip_address(address)
    except ValueError:
        return
    if isinstance(known, IPv6Address) and known.ipv4_mapped:
        known = known.ipv4_mapped
    yield 1, str(ip_network(f"{known}/{NETWORKS[known.version]}", strict=False))


PARTS: Final[Mapping[str, Callable[[str], Iterable[tuple[int, str]]]]] = {
    USER_AGENT: products,
    CLIENT_ADDRESS: network,
}
"""The parts of the values of an attribute, each with how general it is."""


def holders(connections: Sequence[Values], attribute: str) -> dict[tuple[int, str], frozenset[int]]:
    """Return which connections have each value of an attribute, and each part of one."""
    parts = PARTS.get(attribute)
    found: dict[tuple[int, str], set[int]] = {}
    for number, values in enumerate(connections):
        for value in values.get(attribute, ()):
            for part in ((0, value), *(parts(value) if parts else ())):
                found.setdefault(part, set()).add(number)
    return {part: frozenset(numbers) for part, numbers in found.items()}


def counted(
    found: Sequence[Values],
    compared: Sequence[Values],
    attribute: str,
    only_known: Collection[str] = (),
) -> Iterator[Shared]:
    """Count the values of an attribute, in both groups.

    For an attribute in `only_known`, only those are compared of which one of these is known.
    """
    others = holders(compared, attribute)
    known = sum(any(name in each for name in only_known) for each in compared)
    for (part, value), numbers in holders(found, attribute).items():
        yield Shared(
            attribute,
            value,
            part,
            numbers,
            len(found),
            len(others.get((part, value), ())),
            known if attribute in only_known else len(compared),
        )


def without_overlaps(values: Iterable[Shared]) -> list[Shared]:
    """Choose among values and parts of values: no connection stands for two of them."""
    chosen: list[Shared] = []

    def rank(one: Shared) -> tuple[bool, float, str]:
        return one.is_common, -one.difference * CLEARLY**one.part, one.value

    for value in sorted(values, key=rank):
        if all(value.found.isdisjoint(other.found) for other in chosen):
            chosen.append(value)
    return chosen


def telling(
    found: Sequence[Values],
    compared: Sequence[Values],
    attributes: Sequence[str],
    only_known: Collection[str] = (),
) -> list[Shared]:
    """Return what the connections found share and those compared do not, most telling first.

    What most of those compared have, too, is last. Without any to compare with, return what many
    of them share.
    """
    chosen: list[Shared] = []
    for attribute in attributes:
        values = [
            value
            for value in counted(found, compared, attribute, only_known)
            if (value.is_telling if compared else value.is_frequent)
        ]
        chosen += without_overlaps(values) if attribute in PARTS else values
    return sorted(chosen, key=lambda one: (one.is_common, -one.difference, sorted(one.found)))
