"""The only place where spans start and end.

`Spans` starts them. A `SpanRecorder` is our side of one span: it records what is worth it, never
raises, and ends the span once. A `DelegatingSpan` is the side that resolvers and generators see.
"""

from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
)
from opentelemetry.util.types import Attributes, AttributeValue

from strawberry_ws_otel import _semconv
from strawberry_ws_otel._bounds import present
from strawberry_ws_otel._config import OTelConfig
from strawberry_ws_otel._failsafe import Fuse
from strawberry_ws_otel._protocol import MessageType
from strawberry_ws_otel._version import __version__


def is_kept(ordinal: int, first: int) -> bool:
    """Whether the event of this ordinal is kept: one of the `first`, or a power of two.

    So a span stays bounded for ever: of a million events it keeps `first` and at most 20 more.
    """
    return ordinal <= first or ordinal & (ordinal - 1) == 0


def next_kept(ordinal: int, first: int) -> int:
    """Return the ordinal of the event that is kept next after this one."""
    return ordinal + 1 if ordinal < first else 1 << ordinal.bit_length()


class DeferredAttributes(Mapping[str, AttributeValue]):
    """The attributes of a span as it starts, which are made when a sampler or a span looks at them.

    Most samplers look at none, and most spans are not sampled.
    """

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], Mapping[str, AttributeValue | None]]) -> None:
        self._make = make
        self._made: dict[str, AttributeValue] | None = None

    @property
    def _attributes(self) -> dict[str, AttributeValue]:
        if self._made is None:
            self._made = present(self._make())
        return self._made

    def __getitem__(self, key: str) -> AttributeValue:
        return self._attributes[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._attributes)

    def __len__(self) -> int:
        return len(self._attributes)

    def items(self) -> ItemsView[str, AttributeValue]:
        """Return what a dict returns; a mapping's own way is slow."""
        return self._attributes.items()

    def copy(self) -> dict[str, AttributeValue]:
        """Return a dict of them, which older versions of the SDK ask for."""
        return dict(self._attributes)


class DelegatingSpan(Span):
    """The span that is in the context of resolvers, generators and `connection_span()`.

    It stands for the real one, which may be another by the time it is used. Ending it ends the
    real one, once.
    """

    def __init__(self, span: Span) -> None:
        self._span = span
        self._ended = False

    def end(self, end_time: int | None = None) -> None:
        """End the span; only the first call counts."""
        if not self._ended:
            self._ended = True
            self._span.end(end_time)

    def forget(self, context: SpanContext) -> None:
        """Let go of the real span, which has ended and is large: contexts outlive it."""
        self._span = NonRecordingSpan(context)

    def get_span_context(self) -> SpanContext:
        """Return the context of the real span."""
        return self._span.get_span_context()

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Set attributes on the real span."""
        self._span.set_attributes(attributes)

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Set an attribute on the real span."""
        self._span.set_attribute(key, value)

    def add_event(
        self, name: str, attributes: Attributes = None, timestamp: int | None = None
    ) -> None:
        """Add an event to the real span."""
        self._span.add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Add a link to the real span."""
        self._span.add_link(context, attributes)

    def update_name(self, name: str) -> None:
        """Rename the real span."""
        self._span.update_name(name)

    def is_recording(self) -> bool:
        """Whether the real span is recording."""
        return self._span.is_recording()

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status of the real span."""
        self._span.set_status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: FBT001, FBT002  # the signature of the API
    ) -> None:
        """Record an exception on the real span."""
        self._span.record_exception(exception, attributes, timestamp, escaped)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever the SDK's span offers
        """Look up what only the SDK's span has, such as `attributes` or `name`."""
        if name.startswith("__") or name == "_span":
            raise AttributeError(name)
        return getattr(self._span, name)


class SpanRecorder:
    """Our side of one span: guarded, thinned, ended once."""

    __slots__ = (
        "_context",
        "_first",
        "_fuse",
        "_links",
        "_ordinals",
        "_recorded",
        "recording",
        "span",
    )

    def __init__(self, span: Span, fuse: Fuse, *, recording: bool, first: int) -> None:
        self.span = DelegatingSpan(span)
        self._context: SpanContext | None = None
        self.recording = recording
        """Whether anybody will see what is recorded; nothing costly is made otherwise."""
        self._recorded = recording
        self._fuse = fuse
        self._first = first
        self._ordinals: dict[MessageType, int] | None = {} if recording and first else None
        """How many messages of each type came; None where their events are not recorded."""
        self._links = 0

    @property
    def context(self) -> SpanContext:
        """What identifies the span; the invalid context where a broken SDK has none."""
        if self._context is None:
            self._context = INVALID_SPAN.get_span_context()
            with self._fuse:
                self._context = self.span.get_span_context()
        return self._context

    def message(self, message_type: MessageType) -> None:
        """Count a message of the span, and add its event unless it is thinned out."""
        ordinals = self._ordinals
        if ordinals is None:
            return
        ordinal = ordinals[message_type] = ordinals.get(message_type, 0) + 1
        if is_kept(ordinal, self._first):
            self._message_event(message_type, ordinal)

    def numbered_message(self, message_type: MessageType, ordinal: int) -> int:
        """Add the event of a message that the caller counts.

        Returns:
            The ordinal of the next message of this type to be told of; 0 if none is.
        """
        if self._ordinals is None:
            return 0
        self._message_event(message_type, ordinal)
        return next_kept(ordinal, self._first)

    def _message_event(self, message_type: MessageType, ordinal: int) -> None:
        self.event(
            message_type.event,
            {
                _semconv.IO_DIRECTION: message_type.direction,
                _semconv.MESSAGE_SEQUENCE: ordinal,
            },
        )

    def event(self, name: str, attributes: Mapping[str, AttributeValue | None]) -> None:
        """Add an event; attributes without a value are left out."""
        if self._on:
            with self._fuse:
                self.span.add_event(name, present(attributes))

    def set(self, attributes: Mapping[str, AttributeValue | None]) -> None:
        """Set attributes; those without a value are left out."""
        if self._on:
            with self._fuse:
                self.span.set_attributes(present(attributes))

    def rename(self, name: str) -> None:
        """Give the span its final name."""
        if self._on:
            with self._fuse:
                self.span.update_name(name)

    def link(self, target: "SpanRecorder") -> None:
        """Link to another span of ours, thinned like events."""
        self._links += 1
        if self._on and is_kept(self._links, self._first):
            with self._fuse:
                self.span.add_link(target.context)

    def fail(self, error_type: str, description: str | None = None) -> None:
        """Set the status to ERROR."""
        if self._on:
            with self._fuse:
                self.span.set_attribute(_semconv.ERROR_TYPE, error_type)
                self.span.set_status(Status(StatusCode.ERROR, description))

    def end(self) -> None:
        """End the span; only the first call counts."""
        self.recording = False
        self._ordinals = None
        with self._fuse:
            self.span.end()

    def forget(self) -> None:
        """Let go of the span, which has ended, when nobody reads it any more."""
        if self._recorded:
            self.span.forget(self.context)

    @property
    def _on(self) -> bool:
        return self.recording and not self._fuse.blown


class Spans:
    """Starts the spans of one configuration."""

    def __init__(self, config: OTelConfig) -> None:
        self._first = config.message_events
        # Kept, since get_tracer is expensive; the API's proxy follows a provider that is set later.
        self._tracer: trace.Tracer = trace.NoOpTracer()
        with Fuse():
            self._tracer = trace.get_tracer(_semconv.SCOPE, __version__, config.tracer_provider)

    def start(  # noqa: PLR0913  # what a span starts with
        self,
        name: str,
        fuse: Fuse,
        *,
        context: Context,
        attributes: Callable[[], Mapping[str, AttributeValue | None]] = dict,
        links: Sequence[SpanContext] = (),
        kind: SpanKind = SpanKind.SERVER,
    ) -> SpanRecorder:
        """Start a span below the one in `context`; samplers see `attributes` and `links`."""
        span: Span = INVALID_SPAN
        recording = False
        with fuse:
            span = self._tracer.start_span(
                name,
                context=context,
                kind=kind,
                attributes=DeferredAttributes(attributes),
                links=[Link(link) for link in links],
            )
            recording = span.is_recording()
        return SpanRecorder(span, fuse, recording=recording, first=self._first)
