"""Counts the clients behind a search in Jaeger: `python -m examples.operations.clients LINK`.

The link is that of an alert, or the address of any search. A client is what its spans say of it:
user agent and address.
"""

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Final

from aiohttp import ClientError

from examples.operations.jaeger import Jaeger, Span

WHO: Final = ("user_agent.original", "client.address")
MOST: Final = 10


def counted(spans: Iterable[Span]) -> Counter[tuple[str, ...]]:
    """Count the spans of each client. Spans that name none, such as inits, are left out."""
    clients = (tuple(str(span.attributes.get(name, "-")) for name in WHO) for span in spans)
    return Counter(client for client in clients if set(client) != {"-"})


async def found(link: str) -> list[Span]:
    """Return the spans that a search finds."""
    base, search, query = link.partition("/search?")
    traces = await Jaeger(base).search(search + query)
    return [span for spans in traces.values() for span in spans]


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.operations.clients",
        description="Count the clients behind a search in Jaeger, the most frequent first.",
    )
    parser.add_argument("link", help="the search, for example from an alert")
    try:
        clients = counted(asyncio.run(found(parser.parse_args().link)))
    except ClientError as error:
        print(f"Jaeger does not answer: {error}", file=sys.stderr)
        return 1
    for client, count in clients.most_common(MOST):
        print(f"{count:6}  {'  '.join(client)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
