"""The only place where spans start and end.

`Spans` starts them. A `SpanRecorder` is our side of one span: it records what is worth it, never
raises, and ends the span once. A `SpanProxy` is the side that resolvers and generators see.
"""

import contextvars
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    INVALID_SPAN_CONTEXT,
    INVALID_SPAN_ID,
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
from strawberry_ws_otel._fuse import FailureLog, Fuse
from strawberry_ws_otel._limits import MESSAGE, class_name, present
from strawberry_ws_otel._protocol import MessageType

_SUPPRESSED_PLAIN: Final = "suppress_instrumentation"
"""The key by which older instrumentations suppress others."""

_SUPPRESSED: Final[str] = getattr(context_api, "_SUPPRESS_INSTRUMENTATION_KEY", _SUPPRESSED_PLAIN)
"""The key of `suppress_instrumentation()`, for which the API has no public name."""


def span_id(context: Context) -> int:
    """Return the id of the span in `context`, 0 where there is none."""
    return trace.get_current_span(context).get_span_context().span_id


def is_kept(ordinal: int, first: int) -> bool:
    """Whether the event of this ordinal is kept: one of the `first`, or a power of two.

    So a span stays bounded for ever: of a million events it keeps `first` and at most 20 more.
    """
    return ordinal <= first or ordinal & (ordinal - 1) == 0


def next_kept(ordinal: int, first: int) -> int:
    """Return the ordinal of the event that is kept next after this one."""
    return ordinal + 1 if ordinal < first else 1 << ordinal.bit_length()


_IDENTITY: Final = frozenset({_semconv.CONNECTION_ID, _semconv.OPERATION_ID})
"""The attributes by which a span is found."""

_READABLE: Final = (
    "name",
    "context",
    "parent",
    "kind",
    "resource",
    "status",
    "start_time",
    "end_time",
    "instrumentation_scope",
)
"""What can be read of an SDK's span, beside its attributes, links and events."""


class _EndedSpan(NonRecordingSpan):
    """What can still be read of a span that has ended: all but its links and events, bounded."""

    events = links = ()

    def __init__(self, context: SpanContext, span: Span) -> None:
        super().__init__(context)
        known = {name: getattr(span, name) for name in _READABLE if hasattr(span, name)}
        self.__dict__.update(known)
        attributes: Mapping[str, Any] = getattr(span, "attributes", None) or {}
        if _semconv.DOCUMENT in attributes:
            # As long as the client wrote it.
            document = attributes[_semconv.DOCUMENT][:MESSAGE]
            attributes = {**attributes, _semconv.DOCUMENT: document}
        self.attributes = attributes
        self.stands_for: type[Span] = type(span) if len(known) == len(_READABLE) else type(self)


class SpanProxy(Span):
    """The span that is in the context of resolvers, generators and `connection_span()`.

    It stands for the real one, which may be another by the time it is used: its class and what only
    the real one has are those of the real one. So `isinstance(span, ReadableSpan)` holds with the
    SDK, and ddtrace's context takes it for one of its own. `end()` does nothing: the operation or
    the connection goes on. When it has ended, what can be read of it is still there.
    """

    def __init__(self, span: Span) -> None:
        self.__span = span
        self.__stands_for = type(span)
        self.__is_renamed = False

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The class of the real span, for whoever asks with `isinstance`."""
        return self.__stands_for

    @property
    def _otel_is_renamed(self) -> bool:
        return self.__is_renamed

    def _otel_forget(self, context: SpanContext) -> None:
        """Let go of the real span, which has ended and is large: contexts outlive it."""
        self.__span = ended = _EndedSpan(context, self.__span)
        self.__stands_for = ended.stands_for

    def end(self, end_time: int | None = None) -> None:
        """Do nothing: the library ends the span when what it covers is over."""

    def get_span_context(self) -> SpanContext:
        """Return the context of the real span."""
        return self.__span.get_span_context()

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Set attributes on the real span."""
        self.__span.set_attributes(attributes)

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Set an attribute on the real span."""
        self.__span.set_attribute(key, value)

    def add_event(
        self, name: str, attributes: Attributes = None, timestamp: int | None = None
    ) -> None:
        """Add an event to the real span."""
        self.__span.add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Add a link to the real span."""
        self.__span.add_link(context, attributes)

    def update_name(self, name: str) -> None:
        """Rename the real span, for good: the library leaves it that name."""
        self.__is_renamed = True
        self.__span.update_name(name)

    def is_recording(self) -> bool:
        """Whether the real span is recording."""
        return self.__span.is_recording()

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status of the real span."""
        self.__span.set_status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: FBT001, FBT002  # the signature of the API
    ) -> None:
        """Record an exception on the real span."""
        self.__span.record_exception(exception, attributes, timestamp, escaped)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever the SDK's span offers
        """Look up what only the real span has, such as `attributes` or `name`."""
        if name.startswith(("__", "_SpanProxy__")):
            raise AttributeError(name)
        return getattr(self.__span, name)


class SpanRecorder:
    """Our side of one span: guarded, thinned, ended once.

    A call that a vendor's bridge refuses is left out, and the log says so once.
    """

    __slots__ = (
        "_first",
        "_fuse",
        "_is_ended",
        "_is_request",
        "_links",
        "_name",
        "_ordinals",
        "_real",
        "_was_recording",
        "context",
        "has_own_id",
        "recording",
        "span",
    )

    def __init__(  # noqa: PLR0913  # what a span has from its start
        self,
        span: Span,
        fuse: Fuse,
        *,
        recording: bool,
        first: int,
        name: str = "",
        context: SpanContext = INVALID_SPAN_CONTEXT,
        is_request: bool = False,
    ) -> None:
        """Record into `span`.

        Args:
            span: the tracer's.
            fuse: that of the spans.
            recording: whether the span is.
            first: how many message events of a type are kept before they are thinned.
            name: the span's so far.
            context: what identifies it; the invalid one where there is none.
            is_request: whether it covers what somebody asked for, and not a part of that.
        """
        self.span = SpanProxy(span)
        self.context = context
        self.has_own_id = context.is_valid
        """Whether it is to be in a context: a span without an id would hide the application's."""
        self.recording = recording
        """Whether anybody will see what is recorded; nothing costly is made otherwise."""
        self._real = span
        self._is_request = is_request
        self._was_recording = recording
        self._is_ended = False
        self._fuse = fuse
        self._first = first
        self._name = name
        self._ordinals: dict[MessageType, int] | None = {} if recording and first else None
        """How many messages of each type came; None where their events are not recorded."""
        self._links = 0

    def message(self, message_type: MessageType, timestamp: int | None = None) -> None:
        """Count a message of the span, and add its event unless it is thinned out."""
        ordinals = self._ordinals
        if ordinals is None:
            return
        ordinal = ordinals[message_type] = ordinals.get(message_type, 0) + 1
        if is_kept(ordinal, self._first):
            self._message_event(message_type, ordinal, timestamp)

    def numbered_message(self, message_type: MessageType, ordinal: int) -> int:
        """Add the event of a message that the caller counts.

        Returns:
            The ordinal of the next message of this type that gets an event; 0 if none does.
        """
        if self._ordinals is None:
            return 0
        self._message_event(message_type, ordinal)
        return next_kept(ordinal, self._first)

    def _message_event(
        self, message_type: MessageType, ordinal: int, timestamp: int | None = None
    ) -> None:
        self.event(
            message_type.event,
            {
                _semconv.IO_DIRECTION: message_type.direction,
                _semconv.MESSAGE_SEQUENCE: ordinal,
            },
            timestamp,
        )

    def event(
        self,
        name: str,
        attributes: Mapping[str, AttributeValue | None],
        timestamp: int | None = None,
    ) -> None:
        """Add an event; attributes without a value are left out.

        Args:
            name: of the event.
            attributes: of the event.
            timestamp: when it happened, in nanoseconds since the epoch, unless it is now.
        """
        if self.recording:
            try:
                self._real.add_event(name, present(attributes), timestamp)
            except Exception as error:  # noqa: BLE001  # a bridge may refuse it
                self._fuse.refuse("add_event", error)

    def set(self, attributes: Mapping[str, AttributeValue | None]) -> None:
        """Set attributes; those without a value are left out."""
        if self.recording:
            try:
                self._real.set_attributes(present(attributes))
            except Exception as error:  # noqa: BLE001  # a bridge may refuse it
                self._fuse.refuse("set_attributes", error)

    def rename(self, name: str) -> None:
        """Give the span its final name, unless somebody else has given it another."""
        if not self.recording or self.span._otel_is_renamed:  # noqa: SLF001  # ours
            return
        try:
            # A processor has the real span. Not every bridge lets the name be read.
            if getattr(self._real, "name", self._name) == self._name:
                self._real.update_name(name)
                self._name = name
        except Exception as error:  # noqa: BLE001  # a bridge may refuse it
            self._fuse.refuse("update_name", error)

    def link(self, target: "SpanRecorder") -> None:
        """Link to another span of ours, thinned like events."""
        self._links += 1
        if self.recording and is_kept(self._links, self._first):
            try:
                self._real.add_link(target.context)
            except Exception as error:  # noqa: BLE001  # a bridge may refuse it
                self._fuse.refuse("add_link", error)

    def fail(self, error_type: str, description: str | None = None) -> None:
        """Set the status to ERROR."""
        if self.recording:
            self.set({_semconv.ERROR_TYPE: error_type})
            try:
                self._real.set_status(Status(StatusCode.ERROR, description))
            except Exception as error:  # noqa: BLE001  # a bridge may refuse it
                self._fuse.refuse("set_status", error)

    @property
    def exemplar_context(self) -> Context:
        """A context whose span is this one; the current one where it has no id of its own."""
        if self.has_own_id:
            return trace.set_span_in_context(self.span, Context())
        try:
            return context_api.get_current()
        except Exception:  # noqa: BLE001  # a vendor's runtime context
            return Context()

    def end(self) -> None:
        """End the span, and let go of it; only the first call counts."""
        recorded, self.recording = self._was_recording, False
        self._ordinals = None
        if self._is_ended:
            return
        self._is_ended = True
        end: Callable[[], None] = self._real.end
        alone = False
        with self._fuse:
            alone = recorded and self._is_request and self._is_another_current()
        if alone:
            end = partial(contextvars.copy_context().run, self._end_alone)
        try:
            end()
        except Exception as error:  # noqa: BLE001  # a bridge may refuse it
            self._fuse.refuse("end", error)
        if recorded and self._is_request:
            try:
                self.span._otel_forget(self.context)  # noqa: SLF001  # ours
            except Exception as error:  # noqa: BLE001  # a bridge may not let itself be read
                self._fuse.refuse("read", error)
            self._real = INVALID_SPAN

    def _is_another_current(self) -> bool:
        return span_id(context_api.get_current()) not in {
            INVALID_SPAN_ID,
            self.context.span_id,
        }

    def _end_alone(self) -> None:
        """End the span where no other is current.

        Sentry sends what ends as part of the current span, and a close of the connection ends
        operations too.
        """
        with self._fuse:
            context_api.attach(trace.set_span_in_context(INVALID_SPAN))
        self._real.end()


NOT_STARTED: Final = SpanRecorder(INVALID_SPAN, Fuse(), recording=False, first=0)
"""The span of what has no span (yet)."""


class Spans:
    """Starts the spans of one configuration."""

    def __init__(
        self,
        provider: trace.TracerProvider | None,
        message_events: int,
        failures: FailureLog | None = None,
    ) -> None:
        """Get the tracer.

        Args:
            provider: whose; None for the global one.
            message_events: how many message events of a type are kept before they are thinned.
            failures: where it is logged that there is none.
        """
        self._first = message_events
        self.provider: object = provider
        """The provider at the time; the global one may be replaced later."""
        # Kept, since get_tracer is expensive; the API's proxy follows a provider that is set later.
        self._tracer: trace.Tracer = trace.NoOpTracer()
        with Fuse(failures, "the global tracer provider"):
            if self.provider is None:
                self.provider = trace.get_tracer_provider()
        self.source = f"the spans of {class_name(self.provider)}"
        """How the log names these spans."""
        with Fuse(failures, self.source):
            self._tracer = trace.get_tracer(_semconv.SCOPE, _semconv.__version__, provider)

    def start(  # noqa: PLR0913  # what a span starts with
        self,
        name: str,
        fuse: Fuse,
        *,
        context: Context,
        attributes: Callable[[], Mapping[str, AttributeValue | None]] = dict,
        links: Sequence[SpanContext] = (),
        kind: SpanKind = SpanKind.SERVER,
        start_time: int | None = None,
    ) -> SpanRecorder:
        """Start a span below the one in `context`; samplers see `attributes` and `links`.

        Args:
            name: of the span.
            fuse: that of the spans.
            context: with the parent.
            attributes: makes the attributes, unless nobody can see them.
            links: to other spans.
            kind: of the span.
            start_time: in nanoseconds since the epoch, unless it is now.
        """
        if fuse.blown or is_suppressed(context):
            return SpanRecorder(INVALID_SPAN, fuse, recording=False, first=0)
        span: Span = INVALID_SPAN
        own, recording = INVALID_SPAN_CONTEXT, False
        shown: dict[str, AttributeValue] = {}
        with fuse:
            shown = present(attributes())
            span = self._tracer.start_span(
                name,
                context=context,
                kind=kind,
                # A dict of its own: the samplers of Azure and Honeycomb write into it.
                attributes=dict(shown),
                links=[Link(link) for link in links if link.is_valid],
                start_time=start_time,
            )
            own = span.get_span_context()
            if kind is SpanKind.SERVER and own.is_valid and own.span_id == span_id(context):
                # A tracer that is off hands back the parent, which is somebody else's.
                span, own = INVALID_SPAN, INVALID_SPAN_CONTEXT
            recording = span.is_recording()
        started = SpanRecorder(
            span,
            fuse,
            recording=recording,
            first=self._first,
            name=name,
            context=own,
            is_request=kind is SpanKind.SERVER,
        )
        if recording and (dropped := _dropped(span, shown)):
            started.set(dropped)
        return started


def is_suppressed(context: Context) -> bool:
    """Whether `suppress_instrumentation()` of OpenTelemetry is in force in `context`."""
    return bool(context.get(_SUPPRESSED) or context.get(_SUPPRESSED_PLAIN))


def _dropped(span: Span, shown: Mapping[str, AttributeValue]) -> Mapping[str, AttributeValue]:
    """Return what a sampler was shown and has not handed on: the SDK drops it.

    A sampler that hands on some of it has chosen, but what identifies the span is set all the same.
    Not every bridge lets attributes be read.
    """
    if not shown:
        return shown
    try:
        kept: object = getattr(span, "attributes", None)
    except Exception:  # noqa: BLE001  # a bridge's property
        return {}
    if not isinstance(kept, Mapping):
        return {}
    if not any(key in kept for key in shown):
        return shown
    return {key: shown[key] for key in _IDENTITY if key in shown and key not in kept}
