"""Spans in words that compare: names in the place of ids, and attributes as text."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from tests.vendors.arrivals import Span
from tests.vendors.stack import SPAN, Stack

CONNECTION: Final = "GraphQL WebSocket Connection"
INIT: Final = "GraphQL WebSocket Connection Init"
PARSING: Final = "GraphQL Document Parsing"
VALIDATION: Final = "GraphQL Document Validation"
EXECUTION: Final = "GraphQL Operation Execution"
PHASES: Final = frozenset({PARSING, VALIDATION, EXECUTION})
OPERATIONS: Final = frozenset({"query", "subscription"})
CHILDREN: Final = frozenset({"db", "poll"})
"""The spans of the application: of its resolver, and of its source."""
KNOWN: Final = frozenset({CONNECTION, INIT, *PHASES, *OPERATIONS, *CHILDREN})

CONNECTION_ID: Final = "websocket.connection.id"
CONVERSATION: Final = "application.conversation"
RESOLVER: Final = "application.resolver"
OUTCOME: Final = "websocket.close.outcome"
CODE: Final = "websocket.close.code"
INITIATOR: Final = "websocket.close.initiator"
FAULT: Final = "websocket.close.fault"
TYPE: Final = "graphql.operation.type"
NAME: Final = "graphql.operation.name"
CLIENT_ID: Final = "graphql.ws.operation.id"
SUBSCRIPTION_ID: Final = "graphql.subscription.id"
END_REASON: Final = "graphql.ws.operation.end_reason"
RESULTS: Final = "graphql.ws.results"
SHOWN: Final = (
    CONVERSATION,
    RESOLVER,
    OUTCOME,
    CODE,
    INITIATOR,
    FAULT,
    TYPE,
    NAME,
    CLIENT_ID,
    SUBSCRIPTION_ID,
    END_REASON,
    RESULTS,
)
"""The attributes that are compared: as text, since some vendors store nothing else."""

TICKING: Final = "ka"
"""A message that the host sends by the clock, so that nobody knows how many there are."""

THE_CLIENT: Final = "a span of the client"
ELSEWHERE: Final = "a span that never arrived"


@dataclass(frozen=True, order=True)
class Recorded:
    """What one span says, in words that compare."""

    conversation: str
    name: str
    below: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    failed: bool = False
    events: tuple[str, ...] = ()
    links: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """One line for each of its members."""
        yield f"{self.conversation}: {self.name} below {self.below or 'nothing'}"
        yield from (f"    {key} = {value}" for key, value in self.attributes)
        yield f"    {'failed' if self.failed else 'not failed'}"
        yield from (f"    event {event}" for event in self.events)
        yield from (f"    link to {link}" for link in self.links)


class Reading:
    """Makes words of spans, by way of their ids."""

    def __init__(self, stack: Stack, spans: list[Span], run: tuple[float, float]) -> None:
        """Read the spans of a run, of which is known when it began and ended."""
        self._stack = stack
        self._spans = spans
        self._run = run
        self._by_id = {span.id: span for span in spans}

    def surprises(self) -> Iterator[str]:
        """Say what nobody expects: spans of other names, and ids that come twice."""
        unknown = {span.name for span in self._spans} - KNOWN - self._stack.foreign
        if unknown:
            yield f"spans that nobody knows: {sorted(unknown)}"
        if len(self._by_id) < len(self._spans):
            yield f"{len(self._spans)} spans have {len(self._by_id)} ids"
        began, ended = self._run
        for span in self._spans:
            if min(span.times) < began or max(span.times) > ended:
                yield f"{span.name} has times outside of the run: {span.times}"
        if "parents" not in self._stack.lacks:
            yield from self._wrong_traces()

    def _wrong_traces(self) -> Iterator[str]:
        """Say which spans are in another trace than their parent, and which roots share one."""
        for span in self._spans:
            parent = self._by_id.get(span.parent)
            if parent is not None and parent.trace != span.trace:
                yield f"{span.name} is in another trace than its parent {parent.name}"
        roots = Counter(span.trace for span in self._spans if not span.parent)
        yield from (f"{n} roots share a trace" for n in roots.values() if n > 1)

    def recorded(self) -> Iterator[Recorded]:
        return (self._recorded(span) for span in self._spans if span.name in KNOWN)

    def _recorded(self, span: Span) -> Recorded:
        owner = self._owner(span)
        below = self._below(span)
        child = span.name in CHILDREN | PHASES
        return Recorded(
            self._conversation(owner),
            span.name,
            below=below,
            attributes=() if child else tuple(self._shown(span)),
            failed=span.failed,
            events=tuple(event for event in span.events if not event.endswith(TICKING)),
            links=tuple(self._name(link) for link in span.links),
        )

    def _shown(self, span: Span) -> Iterator[tuple[str, str]]:
        connection = str(span.attributes.get(CONNECTION_ID, ""))
        for key in sorted(SHOWN):
            if key in span.attributes:
                value = str(span.attributes[key])
                known = key == SUBSCRIPTION_ID and connection
                yield key, value.replace(connection, "<connection>") if known else value

    def _ancestors(self, span: Span) -> Iterator[Span]:
        seen = {span.id}
        while (parent := self._by_id.get(span.parent)) is not None and parent.id not in seen:
            seen.add(parent.id)
            yield parent
            span = parent
        if span.parent:
            name = THE_CLIENT if span.parent == SPAN else ELSEWHERE
            yield replace(span, name=name, parent="", attributes={})

    def _below(self, span: Span) -> str:
        """The nearest span above that is no foreign one."""
        for ancestor in self._ancestors(span):
            if ancestor.name not in self._stack.foreign:
                return ancestor.name
        return ""

    def _owner(self, span: Span) -> Span:
        """The span itself, or the operation that it is below."""
        if span.name in CHILDREN | PHASES:
            for ancestor in self._ancestors(span):
                if ancestor.name in OPERATIONS:
                    return ancestor
        return span

    def _conversation(self, span: Span) -> str:
        connection = span.attributes.get(CONNECTION_ID)
        for other in self._spans:
            if connection and other.attributes.get(CONNECTION_ID) == connection:
                name = other.attributes.get(CONVERSATION)
                if name:
                    return str(name)
        if span.attributes.get(NAME) == "OverHTTP":
            return "over HTTP"
        return "no conversation"

    def _name(self, span_id: str) -> str:
        span = self._by_id.get(span_id)
        if span is None:
            return THE_CLIENT if span_id == SPAN else ELSEWHERE
        return span.name
