"""Shows in Jaeger what is open now: `python -m examples.operations.live`.

It answers a saved search of `jaeger-ui.json` with the search's result in Jaeger's UI, without what
has ended since. Jaeger alone cannot: each segment but the last of a connection or subscription has
`graphql.ws.segment.continued`, and what is open is what has no last one. Jaeger finds what a span
has, not what is missing. So this program

* asks Jaeger for the continued segments that the search finds, and takes the newest of each
  connection or subscription;
* takes away those whose next segment would have ended by now: their process is gone;
* asks for the segments of each that is left, and takes away what has a last one;
* leads the browser to the others.

It listens on 127.0.0.1, and this file needs nothing but Python. Variables: LIVE_PORT, LISTEN_HOST,
JAEGER_URL (where the browser finds it also) or JAEGER_QUERY_PORT for a Jaeger on this machine.
"""

import argparse
import json
import os
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import urlopen

CONTINUED: Final = "graphql.ws.segment.continued"
IDS: Final = ("graphql.subscription.id", "websocket.connection.id")
"""What the segments of a subscription have in common, and those of a connection."""

MICROSECONDS: Final = {
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
LOOKBACK: Final = re.compile(r"(\d+)([smhdw])")
SLACK: Final = 60 * MICROSECONDS["s"]
"""How late a segment may end and arrive: a tail sampler waits before it passes it on."""

AT_ONCE: Final = 8
"""Requests to Jaeger at once."""

TIMEOUT: Final = 20.0
SHOWN: Final = 150
"""Traces that a browser is led to, in one address."""

NOTHING: Final = """\
Nothing that this search finds is open.

A connection or subscription is found as soon as its first segment has ended, which is in
`segment_duration` (5 minutes by default), and until its last one has arrived.
"""
HELP: Final = "This address answers searches of Jaeger's UI, for example /search?service=...\n"


def fixed(query: Collection[tuple[str, str]], now: int) -> list[tuple[str, str]]:
    """Replace the `lookback` of a search of Jaeger's UI, which its API does not know, by a `start`.

    A `start` that the search already has stays: the UI writes both, and means the `start`.

    Args:
        query: The names and values of the search.
        now: Microseconds since 1970.

    Raises:
        ValueError: The `lookback` is no time.

    """
    asked = [(name, value) for name, value in query if name != "lookback"]
    lookback = dict(query).get("lookback", "custom")
    if lookback == "custom" or "start" in dict(asked):
        return asked
    if not (found := LOOKBACK.fullmatch(lookback)):
        raise ValueError(f"lookback={lookback} is no time such as 2h")
    return [*asked, ("start", str(now - int(found[1]) * MICROSECONDS[found[2]]))]


@dataclass(frozen=True)
class Segment:
    """A segment, as Jaeger's API returns it."""

    trace_id: str
    name: str
    start: int
    """In microseconds since 1970."""
    duration: int
    tags: Mapping[str, object]

    @classmethod
    def of(cls, span: Mapping[str, Any]) -> Self:
        """Read a span of the API."""
        tags = {tag["key"]: tag["value"] for tag in span["tags"]}
        return cls(
            span["traceID"], span["operationName"], span["startTime"], span["duration"], tags
        )

    @property
    def id(self) -> tuple[str, str] | None:
        """The attribute by which the segments belong together, and its value."""
        return next(((key, str(self.tags[key])) for key in IDS if key in self.tags), None)

    @property
    def is_continued(self) -> bool:
        """Whether it is not the last one."""
        return self.tags.get(CONTINUED) is True

    def is_overdue(self, now: int) -> bool:
        """Whether the next one, at most twice as long, should be there by now."""
        return self.start + 3 * self.duration + SLACK < now


def newest(segments: Iterable[Segment]) -> list[Segment]:
    """Choose the newest segment of each connection or subscription, the newest of all first."""
    by_id = {each.id: each for each in sorted(segments, key=lambda each: each.start)}
    found = [each for id_, each in by_id.items() if id_ is not None]
    return sorted(found, key=lambda each: each.start, reverse=True)


@dataclass(frozen=True)
class Live:
    """Finds what is open, in the Jaeger at an address."""

    jaeger: str

    def search(self, query: Mapping[str, str]) -> list[str]:
        """Return the trace of the newest segment of what a search finds and is open, at most 150.

        Raises:
            OSError: Jaeger does not answer, or refuses the search.
            ValueError: The search is none of Jaeger's UI.
        """
        now = time.time_ns() // 1000
        asked = dict(fixed(query.items(), now))
        name = query.get("operation")
        continued = (
            each
            for each in self._segments(asked)
            # A whole trace is returned, and may have more spans.
            if each.is_continued and name in {None, each.name}
        )
        candidates = [each for each in newest(continued) if not each.is_overdue(now)]
        traces: list[str] = []
        with ThreadPoolExecutor(AT_ONCE) as pool:
            while candidates and len(traces) < SHOWN:
                part, candidates = candidates[:SHOWN], candidates[SHOWN:]
                open_ = pool.map(self._is_open, part, [asked] * len(part))
                traces += [each.trace_id for each, yes in zip(part, open_, strict=True) if yes]
        return traces[:SHOWN]

    def _is_open(self, segment: Segment, asked: Mapping[str, str]) -> bool:
        """Return whether no segment is the last one."""
        tags = json.dumps(dict([segment.id or IDS]))
        return all(
            each.is_continued
            for each in self._segments({**asked, "tags": tags})
            # A client may use the id of a subscription again: an earlier one has a last segment.
            if (each.id, each.name) == (segment.id, segment.name) and each.start > segment.start
        )

    def _segments(self, query: Mapping[str, str]) -> Iterator[Segment]:
        address = f"{self.jaeger}/api/traces?{urlencode(query)}"
        with urlopen(address, timeout=TIMEOUT) as response:  # noqa: S310 - the operator's address
            answer = json.load(response)
        return (Segment.of(span) for trace in answer["data"] for span in trace["spans"])


class Handler(BaseHTTPRequestHandler):
    """Answers a search with a redirection to Jaeger's UI."""

    live: Live

    def do_GET(self) -> None:
        """Find what is open, and lead there."""
        address = urlsplit(self.path)
        if address.path != "/search":
            self._answer(HTTPStatus.OK if address.path == "/" else HTTPStatus.NOT_FOUND, HELP)
            return
        query = {key: values[-1] for key, values in parse_qs(address.query).items()}
        try:
            traces = self.live.search(query)
        except (OSError, ValueError) as error:
            self._answer(HTTPStatus.BAD_GATEWAY, f"Jaeger at {self.live.jaeger}: {error}\n")
            return
        if not traces:
            self._answer(HTTPStatus.OK, NOTHING)
            return
        ids = urlencode([("traceID", trace) for trace in traces])
        self._answer(HTTPStatus.FOUND, "", Location=f"{self.live.jaeger}/search?{ids}")

    def _answer(self, status: HTTPStatus, text: str, **headers: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
        """Log nothing."""


def main() -> None:
    """Serve until the process is stopped."""
    argparse.ArgumentParser(
        prog="python -m examples.operations.live", description="Show in Jaeger what is open now."
    ).parse_args()
    query_port = os.environ.get("JAEGER_QUERY_PORT", "16686")
    Handler.live = Live(os.environ.get("JAEGER_URL", f"http://127.0.0.1:{query_port}").rstrip("/"))
    where = os.environ.get("LISTEN_HOST", "127.0.0.1"), int(os.environ.get("LIVE_PORT", "9096"))
    with ThreadingHTTPServer(where, Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
