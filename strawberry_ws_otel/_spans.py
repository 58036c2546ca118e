"""The only place where spans start and end.

`Spans` starts them. A `SpanRecorder` is the library's side of one span: it never raises, thins
events, and ends the span once. A `SpanProxy` is the side that the application sees.
"""

import contextvars
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

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

_OWN_NAMES: Final = _semconv.names()

_SUPPRESSED_PLAIN: Final = "suppress_instrumentation"
"""The key by which older instrumentations suppress others."""

_SUPPRESSED: Final[str] = getattr(context_api, "_SUPPRESS_INSTRUMENTATION_KEY", _SUPPRESSED_PLAIN)
"""The key of `suppress_instrumentation()`, for which the API has no public name."""


def is_suppressed(context: Context) -> bool:
    """Whether `suppress_instrumentation()` of OpenTelemetry is in force in `context`."""
    return bool(context.get(_SUPPRESSED) or context.get(_SUPPRESSED_PLAIN))


def span_id(context: Context) -> int:
    """Return the id of the span in `context`, 0 where there is none."""
    return trace.get_current_span(context).get_span_context().span_id


class LinkTo(NamedTuple):
    """A link to another span, and what that is."""

    context: SpanContext
    kind: Literal["connection", "init", "operation", "segment", "remote"]
    operation_name: str | None = None

    @property
    def attributes(self) -> Mapping[str, str]:
        """Its attributes."""
        return present({_semconv.LINK: self.kind, _semconv.OPERATION_NAME: self.operation_name})


def is_kept(ordinal: int, first: int) -> bool:
    """Whether the event of this ordinal is kept: one of the `first`, or a power of two.

    So a span stays bounded: of a million events it keeps `first` and at most 20 more.
    """
    return ordinal <= first or ordinal & (ordinal - 1) == 0


def next_kept(ordinal: int, first: int) -> int:
    """Return the ordinal of the event that is kept next after this one."""
    return ordinal + 1 if ordinal < first else 1 << ordinal.bit_length()


MAX_ATTRIBUTES: Final = 128
"""Attributes of the application's that a span keeps for its next segment: the limit of a span in
the SDK, by default."""

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
    """What can still be read of a span that has ended: not its links, events and whole document."""

    events = links = ()

    def __init__(self, context: SpanContext, span: Span) -> None:
        super().__init__(context)
        known = {name: getattr(span, name) for name in _READABLE if hasattr(span, name)}
        self.__dict__.update(known)
        attributes: Mapping[str, Any] = getattr(span, "attributes", None) or {}
        if _semconv.DOCUMENT in attributes:
            # The client decides how long its document is.
            document = attributes[_semconv.DOCUMENT][:MESSAGE]
            attributes = {**attributes, _semconv.DOCUMENT: document}
        self.attributes = attributes
        self.stands_for: type[Span] = type(span) if len(known) == len(_READABLE) else type(self)


class SpanProxy(Span):
    """The span that is in the context of resolvers and generators, and `connection_span()`.

    It forwards to the real span. `end()` does nothing: the connection or the operation goes on.
    When that has ended, what can be read of the real span is kept here, and the span is let go.

    `__class__` is that of the real span. So `isinstance(span, ReadableSpan)` holds with the SDK,
    and ddtrace's context accepts it as a span of its own.

    The real span changes where the span is continued by a new segment. Name, status and attributes
    that the application has set are kept for that.
    """

    # What the application has set. Most applications set nothing, and a server has many spans.
    _otel_name: str | None = None
    _otel_attributes: dict[str, AttributeValue] | None = None
    _otel_status: Status | None = None
    _otel_has_ended = False

    def __init__(self, span: Span) -> None:
        self.__span = span
        self.__stands_for = type(span)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The class of the real span, which `isinstance` asks for."""
        return self.__stands_for

    def _otel_continue(self, span: Span) -> None:
        """Stand for the span of the next segment from now on."""
        self.__span = span
        self.__stands_for = type(span)

    def _otel_forget(self, context: SpanContext) -> None:
        """Let go of the real span, which has ended and is large: contexts outlive it."""
        self.__span = ended = _EndedSpan(context, self.__span)
        self.__stands_for = ended.stands_for

    def _otel_keep(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Keep attributes of the application's for the next segments, as they are now."""
        if self._otel_has_ended:
            return
        if self._otel_attributes is None:
            self._otel_attributes = {}
        kept = self._otel_attributes
        # The API's own span takes whatever it is given.
        with suppress(Exception):
            for key, value in attributes.items():
                is_scalar = isinstance(value, str | bool | int | float | bytes)
                # The SDK refuses what is neither.
                is_kept = is_scalar or isinstance(value, list | tuple)
                if is_kept and (key in kept or len(kept) < MAX_ATTRIBUTES):
                    kept[key] = value if is_scalar else tuple(value)  # type: ignore[arg-type]

    def end(self, end_time: int | None = None) -> None:
        """Do nothing: the library ends the span when what it covers is over."""

    def get_span_context(self) -> SpanContext:
        """Return the context of the real span."""
        return self.__span.get_span_context()

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Set attributes on the real span, and on its next segments."""
        # First, as the next segment may begin in another thread.
        self._otel_keep(attributes)
        self.__span.set_attributes(attributes)

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Set an attribute on the real span, and on its next segments."""
        self._otel_keep({key: value})
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
        """Rename the real span, for good: the library does not rename it any more."""
        self._otel_name = name
        self.__span.update_name(name)

    def is_recording(self) -> bool:
        """Whether the real span is recording."""
        return self.__span.is_recording()

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status of the real span, and of its next segments."""
        kept, new = self._otel_status, status
        if not isinstance(new, Status):
            new = Status(new, description if new is StatusCode.ERROR else None)
        # As in the SDK: OK is final, and UNSET changes nothing.
        if not new.is_unset and (kept is None or not kept.is_ok):
            self._otel_status = new
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


_NONE: Final = MappingProxyType[str, AttributeValue]({})

_NO_ORDINALS: Final = MappingProxyType[MessageType, int]({})


class SpanRecorder:
    """The library's side of one span: guarded, thinned, ended once."""

    __slots__ = (
        "_first",
        "_first_ordinals",
        "_fuse",
        "_is_request",
        "_links",
        "_name",
        "_ordinals",
        "_past_ids",
        "_real",
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
        recording: bool = False,
        first: int = 0,
        name: str = "",
        context: SpanContext = INVALID_SPAN_CONTEXT,
        is_request: bool = False,
    ) -> None:
        """Record into `span`, with the `first` message events of each type before they are thinned.

        `context` is invalid for a span without an id of its own. `is_request` says that the span
        covers a connection, its init, an operation or a message, not a phase of an operation.
        """
        self.span = SpanProxy(span)
        self.context = context
        self.has_own_id = context.is_valid
        """Whether it may be put into a context, where a span without an id hides another one."""
        self.recording = recording
        self._real = span
        self._is_request = is_request
        self._fuse = fuse
        self._first = first
        self._name = name
        self._ordinals: dict[MessageType, int] | None = None
        """How many messages of each type came, in all segments."""
        self._first_ordinals: Mapping[MessageType, int] = _NO_ORDINALS
        """How many of them came before this segment."""
        self._links = 0
        self._past_ids: tuple[int, ...] = ()
        """The ids of the segments before this one."""

    def has_id(self, id_: int) -> bool:
        """Whether `id_` is the id of the span, or of one of its segments that have ended.

        A runtime context may keep an ended one, as ddtrace's does.
        """
        return id_ == self.context.span_id or id_ in self._past_ids

    def _call(self, name: str, *arguments: object) -> None:
        """Call a method of the real span; the log says once if a vendor's bridge refuses it."""
        try:
            getattr(self._real, name)(*arguments)
        except Exception as error:  # noqa: BLE001  # whatever a bridge raises
            self._fuse.refuse(name, error)

    def message(self, message_type: MessageType, timestamp: int | None = None) -> None:
        """Count a message of the span, and add its event unless it is thinned out."""
        if not self._first:
            return
        if self._ordinals is None:
            self._ordinals = {}
        ordinals = self._ordinals
        # Also of a segment that is not sampled: the next one may be.
        ordinal = ordinals[message_type] = ordinals.get(message_type, 0) + 1
        before = self._first_ordinals.get(message_type, 0)
        if self.recording and is_kept(ordinal - before, self._first):
            self.numbered_message(message_type, ordinal, timestamp)

    def numbered_message(
        self,
        message_type: MessageType,
        ordinal: int,
        timestamp: int | None = None,
        *,
        before: int = 0,
    ) -> int:
        """Add the event of a message that the caller counts, `before` of them in other segments.

        Returns:
            The ordinal of the next message of this type that gets an event; 0 if none does.
        """
        if not (self.recording and self._first):
            return 0
        attributes = {
            _semconv.IO_DIRECTION: message_type.direction,
            _semconv.MESSAGE_SEQUENCE: ordinal,
        }
        self._call("add_event", message_type.event, attributes, timestamp)
        return before + next_kept(ordinal - before, self._first)

    def event(self, name: str, attributes: Mapping[str, AttributeValue | None]) -> None:
        """Add an event; attributes without a value are left out."""
        if self.recording:
            self._call("add_event", name, present(attributes), None)

    def set(self, attributes: Mapping[str, AttributeValue | None]) -> None:
        """Set attributes; those without a value are left out."""
        if self.recording:
            self._call("set_attributes", present(attributes))

    def set_for_all_segments(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Set attributes of the application's, on this segment and on all later ones."""
        self.span._otel_keep(attributes)  # noqa: SLF001  # ours
        self.set(attributes)

    def rename(self, name: str) -> None:
        """Give the span its final name, unless the application or a processor has renamed it."""
        if not self.has_own_id:
            return
        before, self._name = self._name, name
        if not self.recording or self.span._otel_name is not None:  # noqa: SLF001  # ours
            return
        try:
            # A processor may have renamed it. Not every bridge lets the name be read.
            if getattr(self._real, "name", before) == before:
                self._real.update_name(name)
        except Exception as error:  # noqa: BLE001  # whatever a bridge raises
            self._fuse.refuse("update_name", error)

    def link(self, target: LinkTo) -> None:
        """Link to another span of the library, thinned like events."""
        self._links += 1
        # The SDK records a link with attributes even if it leads nowhere.
        is_wanted = self.recording and target.context.is_valid
        if not is_wanted or not is_kept(self._links, self._first):
            return
        try:
            self._real.add_link(target.context, target.attributes)
        except Exception:  # noqa: BLE001  # a bridge may refuse the attributes alone
            self._call("add_link", target.context)

    def fail(self, error_type: str, description: str | None = None) -> None:
        """Set the status to ERROR."""
        if self.recording:
            self._call("set_attributes", {_semconv.ERROR_TYPE: error_type})
            self._call("set_status", Status(StatusCode.ERROR, description))

    @property
    def exemplar_context(self) -> Context:
        """A context whose span is this one; the current one where it has no id of its own."""
        if self.has_own_id:
            return trace.set_span_in_context(self.span, Context())
        try:
            return context_api.get_current()
        except Exception:  # noqa: BLE001  # a vendor's runtime context
            return Context()

    @property
    def name(self) -> str:
        """The name of the next segment, unless a processor gives it another one."""
        return self.span._otel_name or self._name  # noqa: SLF001  # ours

    @property
    def application_attributes(self) -> Mapping[str, AttributeValue]:
        """What the application has set on the span."""
        return self.span._otel_attributes or _NONE  # noqa: SLF001  # ours

    def continue_in(self, segment: "SpanRecorder") -> None:
        """Go on in the span that `segment` has started, and end the one of before.

        The thinning of events and links begins again.
        """
        next_span = segment._real  # noqa: SLF001  # ours
        # First, so that what the application does meanwhile goes to a span that is open.
        self.span._otel_continue(next_span)  # noqa: SLF001  # ours
        self._call("end")
        self._past_ids += (self.context.span_id,)
        self._real, self.context, self.recording = next_span, segment.context, segment.recording
        self._first_ordinals, self._links = dict(self._ordinals or {}), 0
        if (status := self.span._otel_status) is not None:  # noqa: SLF001  # ours
            self._call("set_status", status)

    def leave_open(self, totals: Callable[[], Mapping[str, AttributeValue | None]]) -> None:
        """End the span, and let go of it, though what it covers goes on."""
        try:
            if self.recording:
                self.set({**totals(), _semconv.SEGMENT_CONTINUED: True})
        finally:
            self.end()

    def end(self) -> None:
        """End the span, and let go of it; only the first call counts."""
        is_recorded_request = self.recording and self._is_request
        self.recording, self._first, self._ordinals = False, 0, None
        self.span._otel_has_ended, self.span._otel_attributes = True, None  # noqa: SLF001  # ours
        is_another_current = False
        with self._fuse:
            is_another_current = is_recorded_request and self._is_another_current()
        if is_another_current:
            contextvars.copy_context().run(self._end_alone)
        else:
            self._call("end")
        if is_recorded_request:
            try:
                self.span._otel_forget(self.context)  # noqa: SLF001  # ours
            except Exception as error:  # noqa: BLE001  # a bridge may not let itself be read
                self._fuse.refuse("read", error)
        self._real = INVALID_SPAN

    def _is_another_current(self) -> bool:
        current = span_id(context_api.get_current())
        return current not in {INVALID_SPAN_ID, self.context.span_id}

    def _end_alone(self) -> None:
        """End the span where no other is current.

        Sentry sends what ends as part of the current span, and the close of a connection ends
        operations, too.
        """
        with self._fuse:
            context_api.attach(trace.set_span_in_context(INVALID_SPAN))
        self._call("end")


NOT_STARTED: Final = SpanRecorder(INVALID_SPAN, Fuse())
"""The span of what has no span (yet)."""


class Spans:
    """Starts the spans of one configuration."""

    def __init__(
        self,
        provider: trace.TracerProvider | None,
        message_events: int,
        failures: FailureLog | None = None,
        attributes: Mapping[str, AttributeValue] = _NONE,
    ) -> None:
        """Get the tracer of `provider`, or of the global one; all spans have the `attributes`."""
        self._first = message_events
        self._attributes = dict(attributes)
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
        links: Sequence[LinkTo] = (),
        kind: SpanKind = SpanKind.SERVER,
        start_time: int | None = None,
    ) -> SpanRecorder:
        """Start a span below the one in `context`; samplers see `attributes` and `links`.

        `attributes` is not called if no span starts. `kind` is INTERNAL for a phase of an
        operation only. `start_time` is in nanoseconds since the epoch; None for now.
        """
        if fuse.blown or is_suppressed(context):
            return SpanRecorder(INVALID_SPAN, fuse)
        span: Span = INVALID_SPAN
        own, recording, is_request = INVALID_SPAN_CONTEXT, False, kind is not SpanKind.INTERNAL
        shown: dict[str, AttributeValue] = {}
        with fuse:
            shown = present({**self._attributes, **attributes()})
            valid = [link for link in links if link.context.is_valid]
            span = self._start(name, context, kind, shown, valid, start_time)
            own = span.get_span_context()
            if is_request and own.is_valid and own.span_id == span_id(context):
                # A tracer that is off hands back the parent, which is another library's span.
                span, own = INVALID_SPAN, INVALID_SPAN_CONTEXT
            recording = span.is_recording()
        started = SpanRecorder(
            span,
            fuse,
            recording=recording,
            first=self._first,
            name=name,
            context=own,
            is_request=is_request,
        )
        if recording and (dropped := _dropped(span, shown)):
            started.set(dropped)
        return started

    def _start(  # noqa: PLR0913, PLR0917  # what a span starts with
        self,
        name: str,
        context: Context,
        kind: SpanKind,
        attributes: Mapping[str, AttributeValue],
        links: Sequence[LinkTo],
        start_time: int | None,
    ) -> Span:
        def start(links: Sequence[Link]) -> Span:
            # A dict of its own: the samplers of Azure and Honeycomb write into it.
            own = dict(attributes)
            return self._tracer.start_span(
                name,
                context=context,
                kind=kind,
                attributes=own,
                links=links,
                start_time=start_time,
            )

        try:
            return start([Link(link.context, link.attributes) for link in links])
        except Exception:
            if not links:
                raise
            # A bridge may refuse the attributes of links alone.
            return start([Link(link.context) for link in links])


def _dropped(span: Span, shown: Mapping[str, AttributeValue]) -> Mapping[str, AttributeValue]:
    """Return which of the attributes that a sampler was `shown` it has not handed on.

    The SDK drops those. A sampler that hands on some has chosen them, but an id by which the span
    is found is set all the same. Not every bridge lets attributes be read.
    """
    try:
        kept: object = getattr(span, "attributes", None)
    except Exception:  # noqa: BLE001  # a bridge's property
        return {}
    if not isinstance(kept, Mapping):
        return {}
    if not any(key in kept for key in shown if key in _OWN_NAMES):
        # What others have is the application's: a processor may have set it, too.
        return {key: value for key, value in shown.items() if key not in kept}
    ids = (_semconv.CONNECTION_ID, _semconv.OPERATION_ID)
    return {key: shown[key] for key in ids if key in shown and key not in kept}
