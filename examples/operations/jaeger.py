"""Reads traces from Jaeger through its JSON API, with the searches of its UI."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode

from aiohttp import ClientSession
from yarl import URL

from examples.operations.live import fixed


@dataclass(frozen=True)
class Event:
    """An event of a span; Jaeger calls it a log, and its name the field `event`."""

    name: str
    attributes: Mapping[str, object]


@dataclass(frozen=True)
class Span:
    """A span as Jaeger's API returns it."""

    trace_id: str
    span_id: str
    name: str
    start: int
    """In microseconds since 1970."""
    duration: int
    """In microseconds."""
    service: str
    process: Mapping[str, object]
    """The attributes of its resource."""
    attributes: Mapping[str, object]
    events: tuple[Event, ...]
    parent: str | None
    """The id of its parent, if that is in the same trace."""
    links: frozenset[str]
    """The traces that it links to."""

    @classmethod
    def of(cls, span: Mapping[str, Any], processes: Mapping[str, Any]) -> Self:
        """Read a span of the API; `processes` are those of its trace."""
        process = processes[span["processID"]]
        references = span["references"]
        return cls(
            trace_id=span["traceID"],
            span_id=span["spanID"],
            name=span["operationName"],
            start=span["startTime"],
            duration=span["duration"],
            service=process["serviceName"],
            process=by_key(process["tags"]),
            attributes=by_key(span["tags"]),
            events=tuple(event_of(by_key(log["fields"])) for log in span["logs"]),
            parent=next(
                (one["spanID"] for one in references if one["refType"] == "CHILD_OF"), None
            ),
            links=frozenset(
                one["traceID"] for one in references if one["refType"] == "FOLLOWS_FROM"
            ),
        )


def by_key(pairs: list[Mapping[str, Any]]) -> dict[str, object]:
    """Read what the API writes as a list of keys and values."""
    return {pair["key"]: pair["value"] for pair in pairs}


def event_of(fields: dict[str, object]) -> Event:
    """Separate the name of an event from its attributes; other tracers' logs may have none."""
    return Event(str(fields.pop("event", "")), fields)


@dataclass(frozen=True)
class Jaeger:
    """A Jaeger at `url`, such as `http://127.0.0.1:16686` or `https://tracing.example/jaeger`."""

    url: str

    async def search(self, search: str) -> dict[str, tuple[Span, ...]]:
        """Do a search of the UI, such as `/search?service=...`; return the traces by their id.

        Raises:
            aiohttp.ClientError: Jaeger does not answer, or refuses the search.
            ValueError: The search has a `lookback` that is no time.

        """
        query = parse_qsl(search.partition("?")[2])
        return await self.traces(fixed(query, time.time_ns() // 1000))

    async def traces(self, query: Sequence[tuple[str, str]]) -> dict[str, tuple[Span, ...]]:
        """Do a search with the names and values that the API knows; return the traces by their id.

        Raises:
            aiohttp.ClientError: Jaeger does not answer, or refuses the search.

        """
        return await self._traces(f"/api/traces?{urlencode(query)}")

    async def trace(self, trace_id: str) -> tuple[Span, ...]:
        """Return one trace."""
        return (await self._traces(f"/api/traces/{trace_id}"))[trace_id]

    async def _traces(self, path: str) -> dict[str, tuple[Span, ...]]:
        async with (
            ClientSession(raise_for_status=True) as session,
            session.get(URL(self.url + path, encoded=True)) as response,
        ):
            answer = await response.json()
        return {
            trace["traceID"]: tuple(Span.of(span, trace["processes"]) for span in trace["spans"])
            for trace in answer["data"] or ()
        }
