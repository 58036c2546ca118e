"""What is kept of a span: bounded, printable, and nothing that is not drawn.

A span of the SDK may hold a document as long as its client wrote it. It also holds text of
untrusted clients, in which a terminal would obey some characters: they move its cursor, change its
colours or reorder its text. All text is truncated and made printable here, so that the modules that
draw can use it as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanKind, StatusCode

from strawberry_ws_otel import _semconv

TEXT: Final = 256
"""Characters of a text."""

ATTRIBUTES: Final = 32
"""Attributes of a span or event, beside the library's."""

OWN_NAMES: Final = _semconv.names()
"""The library's: an attribute of another name is the application's."""

EVENTS: Final = 16
"""Events at each end of a span; those between them are counted."""

Value: TypeAlias = str | bool | int | float


@dataclass(frozen=True, slots=True)
class EventSnapshot:
    """What is kept of an event."""

    name: str
    time: int
    """When it happened, in nanoseconds since the epoch."""
    attributes: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class SpanSnapshot:
    """What is kept of a span; of one that is not the library's, its name and its place only."""

    id: int
    parent: int | None
    """The id of the span above it; None if there is none, or if it is in another process."""
    trace_id: int
    name: str
    start: int
    """In nanoseconds since the epoch."""
    end: int
    is_ours: bool
    """Whether the library recorded it."""
    is_request: bool
    """Whether it covers a connection or an operation, and not a part of one."""
    is_error: bool
    attributes: Mapping[str, Value]
    first_events: Sequence[EventSnapshot] = ()
    last_events: Sequence[EventSnapshot] = ()
    events_left_out: int = 0
    """How many there were between the first and the last."""
    earlier: int | None = None
    """The id of the segment before it."""

    @property
    def is_continued(self) -> bool:
        """Whether it is a segment, and not the last one."""
        return self.attributes.get(_semconv.SEGMENT_CONTINUED) is True

    def after(self, earlier: "SpanSnapshot") -> "SpanSnapshot":
        """Return one span of this segment and all before it: where they began, as it is now."""
        parts = (earlier, self)
        events = [each for part in parts for each in (*part.first_events, *part.last_events)]
        first, last = events[:EVENTS], events[EVENTS:][-EVENTS:]
        count = len(events) + sum(part.events_left_out for part in parts)
        return replace(
            self,
            start=earlier.start,
            first_events=first,
            last_events=last,
            events_left_out=count - len(first) - len(last),
        )

    @property
    def connection_id(self) -> str | None:
        """The id of the connection that it belongs to, None for what came over HTTP."""
        value = self.attributes.get(_semconv.CONNECTION_ID)
        return None if value is None else str(value)

    @property
    def is_connection(self) -> bool:
        """Whether it covers a whole connection. The application may have renamed it."""
        named = self.name == _semconv.SPAN_CONNECTION
        return self.is_request and (named or _semconv.PROTOCOL_NAME in self.attributes)

    @property
    def is_of_client(self) -> bool:
        """Whether the client of a connection asked for it: an operation, or the init.

        An operation that the application runs for itself, such as a look-up of permissions, has a
        document but no id of the client's.
        """
        has_id = _semconv.OPERATION_ID in self.attributes
        return self.is_request and (has_id or _semconv.DOCUMENT_HASH not in self.attributes)


def printable(text: str) -> str:
    """Return `text` truncated, with spaces for other white space and `?` for what is not printable.

    Lone surrogates are not printable either: no encoding of a terminal has them.
    """
    text = text[:TEXT]
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else " " if each.isspace() else "?" for each in text)


def snapshot_of(span: ReadableSpan) -> SpanSnapshot:
    """Keep of `span` what is drawn."""
    scope, context, start = span.instrumentation_scope, span.context, span.start_time or 0
    is_ours = scope is not None and scope.name == _semconv.SCOPE
    events = span.events if is_ours else ()
    return SpanSnapshot(
        id=context.span_id if context else 0,
        parent=span.parent.span_id if span.parent and not span.parent.is_remote else None,
        trace_id=context.trace_id if context else 0,
        name=printable(span.name),
        start=start,
        end=span.end_time or start,
        is_ours=is_ours,
        is_request=is_ours and span.kind is SpanKind.SERVER,
        is_error=span.status.status_code is StatusCode.ERROR,
        attributes=_kept(span.attributes) if is_ours else {},
        first_events=[_event(each) for each in events[:EVENTS]],
        last_events=[_event(each) for each in events[EVENTS:][-EVENTS:]],
        events_left_out=max(len(events) - 2 * EVENTS, 0),
        earlier=_earlier(span.links) if is_ours else None,
    )


def _earlier(links: Sequence[Link]) -> int | None:
    """Find the segment before, to which a later one links."""
    kinds = ((link.context.span_id, (link.attributes or {}).get(_semconv.LINK)) for link in links)
    return next((id_ for id_, kind in kinds if kind == "segment"), None)


def _event(event: Event) -> EventSnapshot:
    return EventSnapshot(printable(event.name), event.timestamp, _kept(event.attributes))


def _kept(attributes: Mapping[str, object] | None) -> dict[str, Value]:
    """Return the library's attributes and the first of others.

    The document is left out: it is long, and is not drawn.
    """
    items = (attributes or {}).items()
    own = [(key, value) for key, value in items if key in OWN_NAMES and key != _semconv.DOCUMENT]
    others = [(key, value) for key, value in items if key not in OWN_NAMES]
    return {printable(key): _value(value) for key, value in (*own, *others[:ATTRIBUTES])}


def _value(value: object) -> Value:
    return value if isinstance(value, bool | int | float) else printable(str(value))
