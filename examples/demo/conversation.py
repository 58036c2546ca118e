"""Collects the spans of a conversation: a connection and, by its id, the traces linked to it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from opentelemetry.sdk.trace import Event, ReadableSpan

from examples.demo import names


def printable(value: object) -> object:
    """Make text safe for a terminal: some of it is from untrusted clients."""
    if isinstance(value, str):
        return "".join(letter if letter.isprintable() else "?" for letter in value)
    return value


def attributes_of(thing: ReadableSpan | Event) -> Mapping[str, object]:
    """Return the attributes of a span or event, none if it has none."""
    return {key: printable(value) for key, value in (thing.attributes or {}).items()}


def start_of(span: ReadableSpan) -> int:
    """Return when the span started, in ns."""
    return span.start_time or 0


def end_of(span: ReadableSpan) -> int:
    """Return when the span ended, in ns."""
    return span.end_time or start_of(span)


@dataclass(frozen=True)
class Verdict:
    """How one connection closed, and how its operations ended."""

    outcome: str
    code: int | None
    initiator: str
    endings: tuple[str, ...] = ()


@dataclass(frozen=True)
class LinkedTrace:
    """What a client asked for over the socket: its span, and the spans inside it."""

    root: ReadableSpan
    inner: tuple[tuple[int, ReadableSpan], ...]
    """The spans inside it, each with its depth, parents before children."""


@dataclass(frozen=True)
class Conversation:
    """Everything recorded about one connection."""

    connection: ReadableSpan
    traces: tuple[LinkedTrace, ...]

    def get(self, name: str) -> object:
        """Return an attribute of the connection."""
        return attributes_of(self.connection).get(name)

    @property
    def endings(self) -> tuple[str, ...]:
        """How its operations ended, in the order in which they began."""
        reasons = (attributes_of(one.root).get(names.END_REASON) for one in self.traces)
        return tuple(str(reason) for reason in reasons if reason is not None)

    @property
    def verdict(self) -> Verdict:
        """What the telemetry says about it."""
        code = self.get(names.CLOSE_CODE)
        return Verdict(
            outcome=str(self.get(names.CLOSE_OUTCOME)),
            code=code if isinstance(code, int) else None,
            initiator=str(self.get(names.CLOSE_INITIATOR)),
            endings=self.endings,
        )


def inside(
    root: ReadableSpan, spans: Sequence[ReadableSpan], depth: int = 1
) -> Iterator[tuple[int, ReadableSpan]]:
    """Yield the descendants of a span with their depth, parents before children."""
    for span in spans:
        if span.parent and root.context and span.parent.span_id == root.context.span_id:
            yield depth, span
            yield from inside(span, spans, depth + 1)


def conversation_of(connection: ReadableSpan, spans: Iterable[ReadableSpan]) -> Conversation:
    """Find what belongs to a connection, by a search as in a tracing backend."""
    ordered = sorted(spans, key=start_of)
    id_ = attributes_of(connection).get(names.CONNECTION_ID)
    roots = [
        span
        for span in ordered
        if attributes_of(span).get(names.CONNECTION_ID) == id_ and not is_connection(span)
    ]
    return Conversation(
        connection, tuple(LinkedTrace(root, tuple(inside(root, ordered))) for root in roots)
    )


def is_connection(span: ReadableSpan) -> bool:
    """Return whether a span is that of a connection."""
    return span.name == names.SPAN_CONNECTION


def by_user_agent(spans: Sequence[ReadableSpan]) -> dict[str, Conversation]:
    """Find every conversation, by the name that its client sent."""
    return {
        str(attributes_of(span).get(names.USER_AGENT)): conversation_of(span, spans)
        for span in spans
        if is_connection(span)
    }
