"""Says what connections share: `python -m examples.operations.shared URL`.

The URL is the link of an alert, or the address of any search in Jaeger's UI. The connections that
it is about are compared with the normal closes of the same time: what they share with those tells
nothing. If there are none, they are compared with what the search found before.
"""

import argparse
import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from aiohttp import ClientError

from examples.demo.names import CLIENT_ADDRESS, CONNECTION_ID, USER_AGENT
from examples.operations.comparing import Shared, telling
from examples.operations.connections import (
    DOCUMENTS,
    ENOUGH,
    OF_CLIENT,
    OF_CLOSE,
    OF_PROCESS,
    OF_REQUEST,
    Found,
    Kind,
    Others,
    Search,
    find,
    others,
)

WIDTH: Final = 100
"""How much of a value is shown."""

KINDS: Final[Mapping[Kind, tuple[str, str, str]]] = {
    "normal": ("normal", "normal close", " of the same time"),
    "normal of the search": ("normal", "normal close", " of all the time that is searched"),
    "other": ("other", "other", " of the same time"),
    "other of the search": ("other", "other", " of all the time that is searched"),
    "earlier": ("earlier", "earlier one", ""),
}
"""How those compared with are called in the table and the heading, and of which time they are."""

NAMED, NOT_TOLD, FAILED = 0, 1, 2

STATUSES: Final = """\
exit status:
  0  the connections share something that the others do not
  1  nothing can be told: they share nothing, are too few, or there is nothing to compare with
  2  the URL is no search, the duration is none, or Jaeger does not answer
"""


def printable(value: str) -> str:
    """Truncate a value, and replace what could change a terminal: clients choose some of them."""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in value)
    return shown if len(shown) <= WIDTH else f"{shown[: WIDTH - 1]}…"


def number(count: int, what: str) -> str:
    """Write a number of things."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def attributes(found: Found) -> tuple[str, ...]:
    """Return the names of the attributes that say who it is, without those of the search's tags."""
    known = (*OF_CLIENT, *OF_REQUEST, *OF_PROCESS, *OF_CLOSE)
    names = {name for values in found.connections.values() for name in values}
    ordered = (*OF_CLIENT, *sorted(names - {*known}), *OF_REQUEST, *OF_PROCESS)
    return tuple(name for name in ordered if name not in found.search.tags)


def of_close(found: Found) -> tuple[str, ...]:
    """Return the names of the attributes that say how it ended."""
    return tuple(name for name in OF_CLOSE if name not in found.search.tags)


def part_of(one: Shared) -> str:
    """Return the word before a value that is a part of the attribute's."""
    return {CLIENT_ADDRESS: "in "}.get(one.attribute, "has ") if one.part else ""


def table(values: Sequence[Shared], compared: str) -> Iterator[str]:
    """Write a line for each value."""
    rows = [
        (
            f"{len(one.found)} of {one.found_of} found",
            *([f"{one.compared} of {one.compared_of} {compared}"] if one.compared_of else []),
            one.attribute,
            f"{part_of(one)}{printable(one.value)}",
        )
        for one in values
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for *counts, attribute, value in rows:
        columns = [f"{count:>{width}}" for count, width in zip(counts, widths, strict=False)]
        yield "  ".join([*columns, f"{attribute:{widths[-2]}}", value])


def described(found: Found, id_: str) -> str:
    """Say all that is known of one connection."""
    values = found.connections[id_]
    return "  ".join(
        [
            *([number(found.spans[id_], "operation")] if found.are_operations else []),
            f"{CONNECTION_ID}={id_}",
            *(
                f"{name}={', '.join(map(printable, sorted(values[name])))}"
                for name in (*attributes(found), *of_close(found))
                if name in values
            ),
        ]
    )


def notes(found: Found) -> Iterator[str]:
    """Say what the counts leave out, and what they hide."""
    if found.is_limited:
        yield (
            f"The search stops at limit={found.search.limit}: these are the newest, there may be"
            " more."
        )
    if unknown := sum(USER_AGENT not in values for values in found.connections.values()):
        yield (
            f"{number(unknown, 'connection')} of these have no span in Jaeger: they are open, or"
            " were not sampled. Their clients are not known."
        )
    [(id_, most)], all_ = found.spans.most_common(1), found.spans.total()
    if found.are_operations and len(found.connections) >= ENOUGH and 2 * most >= all_:
        yield f"One connection has {most} of the {all_} operations:"
        yield described(found, id_)


def period(times: tuple[int, int]) -> str:
    """Write from when to when, in UTC; both are in microseconds since 1970."""
    first, last = (
        datetime.fromtimestamp(time // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        for time in times
    )
    day = f"{first.partition(' ')[0]} "
    return f"{first} UTC" if first == last else f"{first} to {last.removeprefix(day)} UTC"


def heading(found: Found, compared: Others) -> str:
    """Say how many connections were found and when, and what they are compared with."""
    what = f"{number(len(found.connections), 'connection')} found, ended {period(found.ended)}"
    if len(found.connections) < ENOUGH:
        return f"{what}: too few to tell what they share."
    _, kind, time = KINDS[compared.kind]
    others = number(len(compared.connections), kind)
    if len(compared.connections) >= ENOUGH:
        return f"{what}, compared with {others}{time}."
    if found.search.finds_all:
        return (
            f"{what}. Nothing to compare with: the search leaves nothing out."
            " Add a tag to it, such as error=true."
        )
    return f"{what}. Nothing to compare with: {others}{time}, and no more earlier."


def nothing(found: Found) -> str:
    """Say why there is no connection."""
    if not found.traces:
        return "check its service and its time"
    if found.search.last < float("inf"):
        return "nothing that it finds ended in the time of --last"
    return f"what it finds ({number(found.traces, 'trace')}) are operations over HTTP or others"


def answer(found: Found, compared: Others) -> tuple[int, list[str]]:
    """Return the exit status and the lines that say what the connections share."""
    connections = list(found.connections.values())
    if not connections:
        return NOT_TOLD, [f"The search finds no WebSocket: {nothing(found)}."]
    head = heading(found, compared)
    if len(connections) < ENOUGH:
        return NOT_TOLD, [
            head,
            *(described(found, id_) for id_ in found.connections),
            *notes(found),
        ]
    can_compare = len(compared.connections) >= ENOUGH
    against = compared.connections if can_compare else ()
    values = telling(connections, against, attributes(found), DOCUMENTS)
    who = [one for one in values if not one.is_common]
    common = values[len(who) :]
    how = telling(connections, against, of_close(found))
    name, kind, _ = KINDS[compared.kind]
    lines = [head]
    if who:
        lines += ["What they share:" if can_compare else "What many share:", *table(who, name)]
    elif can_compare:
        lines += [f"Nothing in common that the {kind}s do not also have."]
    if how:
        lines += ["How they ended:", *table(how, name)]
    if common:
        lines += ["More frequent than among the others, most of which have it, too:"]
        lines += table(common, name)
    return NAMED if who and can_compare else NOT_TOLD, [*lines, *notes(found)]


async def ask(address: str, last: str | None = None) -> tuple[int, list[str]]:
    """Do the search, compare, and return the answer.

    Args:
        address: The address of the search.
        last: Only what ended within so long before the search's end, such as 15m.

    Raises:
        aiohttp.ClientError: Jaeger does not answer, or refuses the search.
        ValueError: The address is no search, or `last` is no duration.

    """
    found = await find(Search.of(address, last))
    enough = len(found.connections) >= ENOUGH
    return answer(found, await others(found) if enough else Others("normal", ()))


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.operations.shared",
        description="Say what the connections of a search in Jaeger share, and normal ones do not.",
        epilog=STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", help="the search: an alert's link, or copied from Jaeger's UI")
    parser.add_argument(
        "--last",
        metavar="DURATION",
        help="only what ended within so long before the end of the search, such as 15m",
    )
    given = parser.parse_args()
    try:
        status, lines = asyncio.run(ask(given.url, given.last))
    except (ClientError, TimeoutError) as error:
        print(f"Jaeger does not answer: {error}", file=sys.stderr)
        return FAILED
    except ValueError as error:
        print(error, file=sys.stderr)
        return FAILED
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
