"""Asks Jaeger for the connections that a search is about, and for others of the same time.

* A connection has several spans if it has segments. The last one has the verdict.
* An init or an operation names its connection by `websocket.connection.id`. A connection that has
  been open for less than five minutes has no span yet: then its operations say what they know.
* Jaeger returns whole traces. What counts is the spans in them that the search is about.
* The others are those that closed normally. If the connections of the search did so themselves, as
  in a reconnect storm, they are all that the search does not find. If there are too few of either,
  they are what the same search found before.
* The sampling of `collector.yaml` keeps more of those that live long. Then only those are compared
  with that it chose by their random ids.
"""

import asyncio
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Self, TypeVar
from urllib.parse import parse_qsl, urlsplit

from examples.demo.names import (
    CLIENT_ADDRESS,
    CLOSE_OUTCOME,
    CONNECTION_ID,
    DURATION,
    ERROR_TYPE,
    OPERATION_NAME,
    SEGMENT_NUMBER,
    SPAN_CONNECTION,
    USER_AGENT,
)
from examples.operations.comparing import Values
from examples.operations.jaeger import Jaeger, Span
from examples.operations.live import MICROSECONDS, fixed

NORMAL: Final = "normal"
HOUR: Final = MICROSECONDS["h"]
DAY: Final = MICROSECONDS["d"]

LIMIT: Final = 100
"""How many traces Jaeger's API returns, unless the search says so."""

OTHERS: Final = 200
"""How many connections are compared with, if there are more."""

CANDIDATES: Final = 1000
"""Among how many traces these are chosen: of those that live long, one connection in eight is."""

EARLIER: Final = 50
"""How many earlier ones are compared with: with more, the trouble could be among them."""

ENOUGH: Final = 5
"""Fewer connections are too few to tell what they share, or to compare with."""

MANY: Final = 20
"""With fewer of the same time, all of the time that is searched is compared with."""

MARGIN: Final = MICROSECONDS["m"]
"""What is of the same time began up to so long before or after what was found."""

KEPT: Final = re.compile("^[01]")
"""The ids of the conversations that `collector.yaml` keeps as a whole, by its default."""

SHORTEST: Final = MICROSECONDS["s"]
"""The shortest part of the time that is searched."""

OPERATIONS: Final = 20
"""How many traces of each connection are read to learn its operations."""

AT_ONCE: Final = 8
"""Requests to Jaeger at once."""

DURATION_OF_GO: Final = re.compile(r"([\d.]+)(ns|us|µs|ms|s|m|h)")
GO_UNITS: Final = {"ns": 0.001, "us": 1, "µs": 1, "ms": 1000, **MICROSECONDS}

DOCUMENTS: Final = (OPERATION_NAME, "graphql.document.hash")
"""What names an operation; the second one, if it has no name.

A tail sampler may have kept the spans of few operations, so these are not known of all connections.
"""

NONE: Final = "(none)"
"""The user agent of a client that sent none."""

OF_CLIENT: Final = (USER_AGENT, CLIENT_ADDRESS)
OF_REQUEST: Final = (
    "http.route",
    "server.address",
    "websocket.subprotocol",
    *DOCUMENTS,
)
OF_PROCESS: Final = (
    "service.instance.id",
    "service.version",
    "service.namespace",
    "deployment.environment.name",
    "host.name",
    "k8s.pod.name",
    "k8s.node.name",
    "cloud.availability_zone",
    "cloud.region",
)
OF_CLOSE: Final = (
    CLOSE_OUTCOME,
    ERROR_TYPE,
    "websocket.close.reason",
    "websocket.close.code",
    "http.response.status_code",
    "graphql.ws.acknowledged",
)

OTHER_NAMES: Final = re.compile(
    r"(websocket|graphql\.(ws|error|operation|document|subscription)|otel|internal|span)\..+"
    r"|error|sampler\..+|w3c\..+|network\.protocol\.name|url\.path|server\.port"
)
"""The names of the library and of Jaeger. All others are the application's."""

Kind = Literal["normal", "other", "normal of the search", "other of the search", "earlier"]
"""Which connections are compared with; `of the search`: also from before or after the trouble."""

Item = TypeVar("Item")
Result = TypeVar("Result")

GIVE: Final = "Give the address of a search, such as http://127.0.0.1:16686/search?service=..."


@dataclass(frozen=True)
class Search:
    """A search of Jaeger's UI."""

    jaeger: Jaeger
    query: tuple[tuple[str, str], ...]
    """Names and values, as the API takes them."""
    service: str
    operation: str | None
    tags: Mapping[str, str]
    durations: tuple[float, float]
    """The shortest and the longest, in microseconds."""
    start: int
    """In microseconds since 1970, like the end."""
    end: int
    limit: int
    last: float = float("inf")
    """How long before the end the last span of a connection ended, at most, in microseconds."""

    @classmethod
    def of(cls, address: str, last: str | None = None) -> Self:
        """Read the address of a search, as it is copied from the browser or from an alert.

        Args:
            address: The address.
            last: Only what ended within so long before the search's end, as a duration of the UI.

        Raises:
            ValueError: It is no such address, or no duration; the message says what to give.

        """
        within = float("inf")
        if last is not None:
            try:
                within = microseconds(last)
            except ValueError as error:
                raise ValueError(f"--last: {error}, 15m or 1h30m") from error
        parts = urlsplit(address.strip().strip("<>\"'"))
        prefix, page, rest = parts.path.rpartition("/search")
        if "/trace/" in parts.path:
            raise ValueError(f"This is the page of one trace. {GIVE}")
        if parts.scheme not in {"http", "https"} or not page or rest.strip("/"):
            raise ValueError(f"{address!r} is no search in Jaeger's UI. {GIVE}")
        if not {"service", "traceID"} & dict(parse_qsl(parts.query)).keys():
            raise ValueError(f"The search names no service. {GIVE}")
        now = time.time_ns() // 1000
        try:
            query = fixed(parse_qsl(parts.query), now)
            asked = dict(query)
            return cls(
                jaeger=Jaeger(f"{parts.scheme}://{parts.netloc}{prefix}"),
                query=tuple(query),
                service=asked.get("service", ""),
                operation=asked.get("operation"),
                tags=tags_of(query),
                durations=(
                    microseconds(asked.get("minDuration", "0s")),
                    microseconds(asked["maxDuration"]) if "maxDuration" in asked else float("inf"),
                ),
                # Jaeger's API looks back for two days by default.
                start=int(asked.get("start", now - 2 * DAY)),
                end=int(asked.get("end", now)),
                limit=int(asked.get("limit", LIMIT)),
                last=within,
            )
        except ValueError as error:
            raise ValueError(f"Jaeger's UI does not make such a search: {error}") from error

    def about(self, spans: Sequence[Span]) -> Self:
        """Return the search with service and time of the spans, if it names traces by their ids."""
        if self.service or not spans:
            return self
        return replace(
            self,
            service=Counter(span.service for span in spans).most_common(1)[0][0],
            start=min(span.start for span in spans) - HOUR,
            end=max(span.start + span.duration for span in spans) + HOUR,
        )

    def matching(self, spans: Iterable[Span]) -> list[Span]:
        """Return the spans of a conversation that the search is about, in a trace that it finds."""
        named = [
            span
            for span in spans
            if CONNECTION_ID in span.attributes
            and self.service in {"", span.service}
            and self.operation in {None, span.name}
        ]
        # A store may understand a tag in another way, for example as a regular expression.
        tagged = [span for span in named if self.has_tags(span)] or named
        return [span for span in tagged if self.has_duration(span)]

    def finds(self, spans: Iterable[Span]) -> bool:
        """Return whether the search would find one of the spans; a list of traces finds no more."""
        return not self.names_traces and any(map(self.has_tags, self.matching(spans)))

    def has_tags(self, span: Span) -> bool:
        """Return whether the span has all tags of the search, as Jaeger understands them."""
        fields = [span.attributes, span.process]
        fields += [{"event": event.name, **event.attributes} for event in span.events]
        return all(
            any(text(field[name]) == value for field in fields if name in field)
            for name, value in self.tags.items()
        )

    def has_duration(self, span: Span) -> bool:
        """Return whether it lasted for so long; for a last segment, whether all of them did."""
        shortest, longest = self.durations
        whole = span.attributes.get(DURATION)
        lasted = whole * 1e6 if isinstance(whole, int | float) else 0
        return shortest <= span.duration and max(span.duration, lasted) <= longest

    @property
    def names_traces(self) -> bool:
        """Whether it is a list of traces, such as `live.py` makes."""
        return "traceID" in dict(self.query)

    @property
    def finds_all(self) -> bool:
        """Whether it leaves nothing out: there is nothing else to compare with."""
        has_durations = {"minDuration", "maxDuration"} & dict(self.query).keys()
        return not (self.tags or has_durations or self.names_traces)

    async def newest(
        self, query: Iterable[tuple[str, str]], limit: int
    ) -> dict[str, tuple[Span, ...]]:
        """Ask for at least so many of the newest traces, as far as there are any.

        A store may return any of those that it finds, if they are more: badger orders them by their
        duration, if that is asked for. So this asks for a later and later part of the time.
        """
        asked = [pair for pair in query if pair[0] != "start"]
        start, earlier = self.start, dict[str, tuple[Span, ...]]()
        while True:
            traces = await self.jaeger.traces([*asked, ("start", str(start))])
            if len(traces) < limit or self.end - start < SHORTEST:
                return traces | earlier
            start, earlier = (start + self.end) // 2, traces

    async def oldest(self, limit: int) -> dict[str, tuple[Span, ...]]:
        """Ask for the oldest traces: at least 20 and fewer than the limit, as far as there are.

        So this looks for an end before which there are so many.
        """
        given = {"start", "end", "limit"}
        asked = [pair for pair in self.query if pair[0] not in given]
        asked += [("start", str(self.start)), ("limit", str(limit))]
        few, many = self.start, self.end
        traces = await self.jaeger.traces([*asked, ("end", str(many))])
        while len(traces) >= limit and many - few >= SHORTEST:
            middle = (few + many) // 2
            part = await self.jaeger.traces([*asked, ("end", str(middle))])
            if len(part) < MANY:
                few = middle
            else:
                many, traces = middle, part
        return traces

    async def others(self, **query: str) -> dict[str, tuple[Span, ...]]:
        """Ask for the newest traces of other connections, of the same service and time."""
        asked = {
            "service": self.service,
            "operation": SPAN_CONNECTION,
            "end": str(self.end),
            "limit": str(CANDIDATES),
            **query,
        }
        return await self.newest(asked.items(), CANDIDATES)

    async def conversation(self, connection_id: str, **query: str) -> list[Span]:
        """Ask for the spans of one connection, which may have begun long before."""
        asked = {
            "service": self.service,
            "tags": json.dumps({CONNECTION_ID: connection_id}),
            "start": str(self.start - DAY),
            "end": str(self.end + DAY),
            **query,
        }
        traces = (await self.jaeger.traces(list(asked.items()))).values()
        spans = (span for trace in traces for span in trace)
        return [span for span in spans if span.attributes.get(CONNECTION_ID) == connection_id]


@dataclass(frozen=True)
class Found:
    """What a search is about."""

    search: Search
    connections: Mapping[str, Values]
    """What is known of each connection, by its id."""
    spans: Counter[str]
    """How many spans of each connection were found."""
    are_operations: bool
    """Whether some of those are spans of operations or inits."""
    traces: int
    """How many traces were found, also those of no WebSocket."""
    is_limited: bool
    """Whether there may be more."""
    began: int
    """When the first span of these began, in microseconds since 1970."""
    ended: tuple[int, int]
    """When the first and the last of these connections, or of their operations, ended."""

    @property
    def are_normal(self) -> bool:
        """Whether most of the connections closed normally, and the search is for connections."""
        normal = sum(
            NORMAL in values.get(CLOSE_OUTCOME, ()) for values in self.connections.values()
        )
        return not self.are_operations and 2 * normal >= len(self.connections)


@dataclass(frozen=True)
class Others:
    """Connections to compare with."""

    kind: Kind
    connections: Sequence[Values]


async def find(search: Search) -> Found:
    """Do the search, and learn about the connections behind what it finds.

    Raises:
        aiohttp.ClientError: Jaeger does not answer, or refuses the search.

    """
    if search.names_traces:
        traces = await search.jaeger.traces(search.query)
    else:
        traces = await search.newest(search.query, search.limit)
    by_id = {
        id_: spans
        for id_, spans in by_connection(
            span for trace in traces.values() for span in search.matching(trace)
        ).items()
        if end_of(spans) >= search.end - search.last
    }
    spans = [span for each in by_id.values() for span in each]
    search = search.about(spans)
    ends = [end_of(each) for each in by_id.values()] or [search.end]
    return Found(
        search=search,
        connections=await learned(search, by_id),
        spans=Counter({id_: len(found) for id_, found in by_id.items()}),
        are_operations=any(span.name != SPAN_CONNECTION for span in spans),
        traces=len(traces),
        is_limited=len(traces) >= search.limit and not search.names_traces,
        began=min((span.start for span in spans), default=search.start),
        ended=(min(ends), max(ends)),
    )


async def learned(search: Search, by_id: Mapping[str, Sequence[Span]]) -> dict[str, Values]:
    """Learn about the connections of spans that a search has found."""

    async def learn(connection_id: str) -> Values:
        found = by_id[connection_id]
        if any(span.name == SPAN_CONNECTION for span in found):
            conversation = await search.conversation(connection_id, limit=str(OPERATIONS))
            return values_of([*conversation, *found])
        segments = await search.conversation(connection_id, operation=SPAN_CONNECTION)
        errors = {
            text(span.attributes[ERROR_TYPE]) for span in found if ERROR_TYPE in span.attributes
        }
        return values_of([*segments, *found], errors)

    return dict(zip(by_id, await each(learn, by_id), strict=True))


async def others(found: Found) -> Others:
    """Return the connections to compare with, as far as there are any.

    Raises:
        aiohttp.ClientError: Jaeger does not answer.

    """
    search = found.search
    if search.finds_all:
        return Others("normal", ())
    near: Kind = "other" if found.are_normal else "normal"
    wide: Kind = "other of the search" if found.are_normal else "normal of the search"
    at_the_time = replace(
        search, start=max(search.start, found.began - MARGIN), end=found.ended[1] + MARGIN
    )
    if len(same := await of_same_time(found, at_the_time)) >= MANY:
        return Others(near, same)
    all_ = await of_same_time(found, search)
    if len(all_) > len(same) and len(all_) >= ENOUGH:
        return Others(wide, all_)
    if len(same) < ENOUGH and len(before := await earlier(found)) >= ENOUGH:
        return Others("earlier", before)
    return Others(near, same)


async def of_same_time(found: Found, time_: Search) -> list[Values]:
    """Return the connections of a time that the search is not about."""
    search = found.search
    query: dict[str, str] = {}
    if not found.are_normal:
        query["tags"] = json.dumps({CLOSE_OUTCOME: NORMAL})
    elif longest := dict(search.query).get("maxDuration"):
        query["minDuration"] = longest
    elif shortest := dict(search.query).get("minDuration"):
        query["maxDuration"] = shortest
    traces = await time_.others(**query)
    by_id = by_connection(
        span for trace in traces.values() for span in trace if span.name == SPAN_CONNECTION
    )

    async def learn(connection_id: str) -> Values | None:
        conversation = await search.conversation(connection_id, limit=str(OPERATIONS))
        spans = [*conversation, *by_id[connection_id]]
        return None if search.finds(spans) else values_of(spans)

    ids = unbiased({id_: by_id[id_] for id_ in by_id if id_ not in found.connections})
    return [values for values in await each(learn, ids[:OTHERS]) if values is not None]


async def earlier(found: Found) -> list[Values]:
    """Return what the same search finds before: the oldest, because the trouble has lasted.

    What the sampling keeps is kept of both, so it makes no difference here.
    """
    search = found.search
    if search.names_traces:
        return []
    start, connections = 2 * search.start - search.end, list[Values]()
    for end in (search.start, found.began):
        before = replace(search, start=start, end=end)
        traces = (await before.oldest(OTHERS)).values()
        by_id = by_connection(span for trace in traces for span in search.matching(trace))
        oldest = sorted(by_id.keys() - found.connections.keys(), key=lambda id_: end_of(by_id[id_]))
        connections = [
            *(await learned(before, {id_: by_id[id_] for id_ in oldest[:EARLIER]})).values()
        ]
        if len(connections) >= ENOUGH:
            break
    return connections


def unbiased(by_id: Mapping[str, Sequence[Span]]) -> list[str]:
    """Choose the ids of connections that sampling did not prefer because they lived long.

    If most of the short ones that closed normally have ids that `collector.yaml` keeps, a sampler
    has chosen them. Ids are random, so those who have such ids are like all others. In the order of
    the ids, the first of them are of any time.
    """
    short = [
        id_
        for id_, spans in by_id.items()
        if not any(span.attributes.get(SEGMENT_NUMBER) for span in spans)
        and any(span.attributes.get(CLOSE_OUTCOME) == NORMAL for span in spans)
    ]
    kept = sorted(id_ for id_ in by_id if KEPT.match(id_))
    is_sampled = 2 * sum(KEPT.match(id_) is not None for id_ in short) >= len(short)
    return kept if is_sampled and len(kept) >= ENOUGH else sorted(by_id)


def end_of(spans: Iterable[Span]) -> int:
    """Return when the last one ended, in microseconds since 1970."""
    return max(span.start + span.duration for span in spans)


def values_of(spans: Iterable[Span], errors: Collection[str] = ()) -> Values:
    """Collect what the spans of a connection say of it, and the errors of its operations."""
    values: dict[str, set[str]] = defaultdict(set)
    ordered = sorted(spans, key=lambda span: span.start)
    segments = [span for span in ordered if span.name == SPAN_CONNECTION]
    for span in ordered:
        for name, value in span.attributes.items():
            if is_of_connection(name):
                values[name].add(text(value))
        for name in OF_PROCESS:
            if name in span.process:
                values[name].add(text(span.process[name]))
    if segments:
        values[USER_AGENT] = values[USER_AGENT] or {NONE}
        last = segments[-1].attributes
        values |= {name: {text(last[name])} for name in OF_CLOSE if name in last}
    # An abnormal close without an exception has its outcome as its error.
    values[ERROR_TYPE] = (values[ERROR_TYPE] | {*errors}) - values[CLOSE_OUTCOME]
    for span in ordered:
        for name in [name for name in DOCUMENTS if name in span.attributes][:1]:
            values[name].add(text(span.attributes[name]))
    return {name: frozenset(several) for name, several in values.items() if several}


def is_of_connection(name: str) -> bool:
    """Return whether an attribute says who a connection is of; it may be the application's."""
    if name in OF_CLOSE or name in DOCUMENTS:
        return False
    return name in {*OF_CLIENT, *OF_REQUEST} or not OTHER_NAMES.fullmatch(name)


def by_connection(spans: Iterable[Span]) -> dict[str, list[Span]]:
    """Sort spans by their connection."""
    found = defaultdict(list)
    for span in spans:
        if CONNECTION_ID in span.attributes:
            found[str(span.attributes[CONNECTION_ID])].append(span)
    return dict(found)


async def each(
    function: Callable[[Item], Awaitable[Result]], items: Iterable[Item]
) -> list[Result]:
    """Call a function for each item, for some at once."""
    at_once = asyncio.Semaphore(AT_ONCE)

    async def one(item: Item) -> Result:
        async with at_once:
            return await function(item)

    return await asyncio.gather(*map(one, items))


def tags_of(query: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Read the tags of a search: JSON in `tags`, or `name:value` in each `tag` of older links.

    Raises:
        ValueError: `tags` is no JSON object.

    """
    tags: dict[str, str] = {}
    for name, value in query:
        if name == "tags":
            pairs = json.loads(value)
            if not isinstance(pairs, dict):
                raise ValueError(f"tags={value} is no JSON object")
            tags |= {key: text(one) for key, one in pairs.items()}
        elif name == "tag":
            key, _, one = value.partition(":")
            tags[key] = one
    return tags


def text(value: object) -> str:
    """Write a value of an attribute as Jaeger's searches do."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def microseconds(duration: str) -> float:
    """Read a duration of Jaeger's UI, such as `1m30s`.

    Raises:
        ValueError: It is none.

    """
    parts = DURATION_OF_GO.findall(duration)
    if not parts or "".join(map("".join, parts)) != duration:
        raise ValueError(f"{duration} is no duration such as 1.5s")
    return sum(float(number) * GO_UNITS[unit] for number, unit in parts)
