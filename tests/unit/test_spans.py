"""Spans are started, guarded, thinned and ended here, and nowhere else."""

import gc
import logging
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import copy_context
from typing import Any, NoReturn

import opentelemetry.context
import pytest
from opentelemetry import trace
from opentelemetry.context import Context, attach, get_current
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
)
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    NoOpTracer,
    NoOpTracerProvider,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from strawberry_ws_otel import __version__, _semconv
from strawberry_ws_otel._fuse import FailureLog, Fuse
from strawberry_ws_otel._protocol import GRAPHQL_TRANSPORT_WS, vocabulary
from strawberry_ws_otel._spans import (
    NOT_STARTED,
    LinkTo,
    SpanProxy,
    SpanRecorder,
    Spans,
    is_kept,
    next_kept,
)
from tests.support.broken_api import PIPES, PipeError
from tests.support.log import LogKeeper
from tests.support.telemetry import CountingIds, Curious, Telemetry, snapshot

CONTEXT = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))
OTHER_CONTEXT = SpanContext(0x123, 0x456, is_remote=False, trace_flags=TraceFlags(1))
ERROR = ValueError("bad")

TYPES = vocabulary(GRAPHQL_TRANSPORT_WS)
NEXT, PING, PONG = TYPES.sent["next"], TYPES.sent["ping"], TYPES.received["ping"]


class FakeSpan(Span):
    """A span that keeps its calls, has an attribute of its own, and may be asked to raise."""

    def __init__(self, *raising: str, recording: bool = True) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.sdk_only = "only the SDK has it"
        self._raising = raising
        self._recording = recording

    def _called(self, name: str, *arguments: object) -> None:
        self.calls.append((name, *arguments))
        if name in self._raising:
            raise PipeError(name)

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [call for call in self.calls if call[0] == name]

    def end(self, end_time: int | None = None) -> None:
        self._called("end", end_time)

    def get_span_context(self) -> SpanContext:
        self._called("get_span_context")
        return CONTEXT

    def set_attributes(self, attributes: Any) -> None:
        self._called("set_attributes", dict(attributes))

    def set_attribute(self, key: str, value: Any) -> None:
        self._called("set_attribute", key, value)

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        self._called("add_event", name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: Any = None) -> None:
        self._called("add_link", context, attributes)

    def update_name(self, name: str) -> None:
        self._called("update_name", name)

    def is_recording(self) -> bool:
        self._called("is_recording")
        return self._recording

    def set_status(self, status: Any, description: str | None = None) -> None:
        self._called("set_status", status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Any = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: FBT001, FBT002  # the signature of the API
    ) -> None:
        self._called("record_exception", exception, attributes, timestamp, escaped)


# --- The proxy -------------------------------------------------------------------------------

CALLS: dict[str, tuple[tuple[Any, ...], Any]] = {
    # arguments, and what comes back
    "get_span_context": ((), CONTEXT),
    "set_attributes": (({"a": 1},), None),
    "set_attribute": (("a", 1), None),
    "add_event": (("name", {"a": 1}, 5), None),
    "add_link": ((OTHER_CONTEXT, {"a": 1}), None),
    "update_name": (("name",), None),
    "is_recording": ((), True),
    "set_status": ((StatusCode.ERROR, "bad"), None),
    "record_exception": ((ERROR, {"a": 1}, 5, True), None),
}
DEFAULTS: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    # arguments, and those that the real span is given
    "add_event": (("name",), ("name", None, None)),
    "add_link": ((OTHER_CONTEXT,), (OTHER_CONTEXT, None)),
    "set_status": ((StatusCode.OK,), (StatusCode.OK, None)),
    "record_exception": ((ERROR,), (ERROR, None, None, False)),
}


@pytest.mark.parametrize("method", CALLS)
def test_each_method_is_handed_to_the_real_span(method: str) -> None:
    real = FakeSpan()
    arguments, returned = CALLS[method]
    assert getattr(SpanProxy(real), method)(*arguments) == returned
    assert real.calls == [(method, *arguments)]


@pytest.mark.parametrize("method", DEFAULTS)
def test_what_is_left_out_is_what_the_api_says(method: str) -> None:
    real = FakeSpan()
    arguments, handed_on = DEFAULTS[method]
    getattr(SpanProxy(real), method)(*arguments)
    assert real.calls == [(method, *handed_on)]


def test_no_method_of_the_api_is_left_to_its_default() -> None:
    methods = {name for name in vars(Span) if not name.startswith("_")}
    assert methods == {*CALLS, "end"}
    assert methods <= set(vars(SpanProxy))


def test_it_is_a_span_of_the_api_for_whoever_asks() -> None:
    span = SpanProxy(FakeSpan())
    assert isinstance(span, Span)
    assert trace.get_current_span(trace.set_span_in_context(span)) is span


def test_it_has_the_class_of_the_real_span(telemetry: Telemetry) -> None:
    started = telemetry.tracer_provider.get_tracer("test").start_span("name")
    for real in (FakeSpan(), started):
        span = SpanProxy(real)
        assert (type(span), span.__class__) == (SpanProxy, type(real))
    assert isinstance(span, ReadableSpan)


@pytest.mark.parametrize("arguments", [(), (5,)])
def test_its_end_is_not_that_of_the_real_span(arguments: tuple[int, ...]) -> None:
    real = FakeSpan()
    SpanProxy(real).end(*arguments)
    assert real.calls == []


def test_as_a_context_manager_it_does_not_end_the_real_span() -> None:
    real = FakeSpan()
    with SpanProxy(real):
        pass
    assert real.calls == []


def test_what_only_the_sdk_offers_is_looked_up_on_the_real_span() -> None:
    assert SpanProxy(FakeSpan()).sdk_only == "only the SDK has it"


@pytest.mark.parametrize("name", ["missing", "__missing__", "__deepcopy__"])
def test_what_the_real_span_has_not_is_missing(name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        getattr(SpanProxy(FakeSpan()), name)


def test_a_proxy_that_is_not_initialised_is_asked_for_nothing() -> None:
    span = SpanProxy.__new__(SpanProxy)
    with pytest.raises(AttributeError, match="_span"):
        span.anything  # noqa: B018  # to ask is the test


def _serve(span: SpanProxy) -> None:
    span.update_name("after")
    span.set_attribute("a", 1)
    span.add_link(CONTEXT)
    assert (span.name, dict(span.attributes)) == ("after", {"a": 1})
    raise ERROR


def test_what_is_done_to_it_is_seen_on_a_span_of_the_sdk(telemetry: Telemetry) -> None:
    real = telemetry.tracer_provider.get_tracer("test").start_span("before")
    span = SpanProxy(real)
    with pytest.raises(ValueError, match="bad"), trace.use_span(span, end_on_exit=True):
        _serve(span)
    assert telemetry.spans() == []
    real.end()
    (finished,) = telemetry.spans()
    assert (finished.name, finished.status.status_code) == ("after", StatusCode.ERROR)
    assert [event.name for event in finished.events] == ["exception"]
    assert [link.context for link in finished.links] == [CONTEXT]


READABLE = ("name", "context", "parent", "kind", "resource", "status", "instrumentation_scope")


def test_what_can_be_read_of_a_span_of_the_sdk_outlives_it(telemetry: Telemetry) -> None:
    recorded = start(
        telemetry.tracer_provider,
        context=trace.set_span_in_context(NonRecordingSpan(CONTEXT), Context()),
        attributes=lambda: {"a": "a" * 1000, "graphql.document": "b" * 1000, "number": 1},
        links=[LinkTo(OTHER_CONTEXT, "remote")],
    )
    recorded.event("name", {})
    recorded.fail("ValueError", "why")
    span = recorded.span
    recorded.end()

    (finished,) = telemetry.spans()
    assert isinstance(span, ReadableSpan)
    assert [getattr(span, name) for name in READABLE] == [
        getattr(finished, name) for name in READABLE
    ]
    assert (span.start_time, span.end_time) == (finished.start_time, finished.end_time)
    # A document is as long as the client wrote it.
    assert span.attributes == {**(finished.attributes or {}), "graphql.document": "b" * 512}
    assert (span.events, span.links) == ((), ())
    assert not span.is_recording()


def test_the_span_of_the_sdk_itself_does_not_outlive_its_end() -> None:
    # The exporter in memory would keep it.
    recorded = start(TracerProvider(shutdown_on_exit=False))
    real = weakref.ref(recorded._real)
    recorded.end()
    gc.collect()
    assert real() is None
    assert recorded.span.is_recording() is False


@pytest.mark.parametrize("method", [*CALLS, "end"])
def test_an_ended_span_takes_every_call_and_does_nothing(method: str, telemetry: Telemetry) -> None:
    recorded = start(telemetry.tracer_provider)
    recorded.end()
    [before] = telemetry.snapshots()
    arguments, _ = CALLS.get(method, ((), None))
    returned = getattr(recorded.span, method)(*arguments)
    assert returned == {"get_span_context": recorded.context, "is_recording": False}.get(method)
    assert telemetry.snapshots() == [before]


def request(real: Span, fuse: Fuse | None = None) -> SpanRecorder:
    """The recorder of what somebody asked for, whose span is in a context."""
    return SpanRecorder(
        real, fuse or Fuse(), recording=True, first=8, context=CONTEXT, is_request=True
    )


def test_a_span_that_knows_less_than_that_of_the_sdk_becomes_one_that_does_not_record() -> None:
    recorded = request(FakeSpan())
    recorded.end()
    assert isinstance(recorded.span, NonRecordingSpan)
    assert not isinstance(recorded.span, FakeSpan)
    assert recorded.span.get_span_context() == CONTEXT
    assert not recorded.span.is_recording()
    assert not hasattr(recorded.span, "calls")


# --- Thinning --------------------------------------------------------------------------------

POWERS = {2**n for n in range(17)}


def kept(first: int) -> set[int]:
    """The ordinals, of 100,000, that the contract keeps."""
    return {n for n in range(1, 100_001) if n <= first} | POWERS


@pytest.mark.parametrize("first", [0, 1, 2, 8, 9, 128, 100_000])
def test_the_first_ones_are_kept_and_then_powers_of_two(first: int) -> None:
    assert {n for n in range(1, 100_001) if is_kept(n, first)} == kept(first)


@pytest.mark.parametrize("first", [1, 2, 8, 9, 128])
def test_the_next_one_that_is_kept_is_known(first: int) -> None:
    ordinals = [1]
    while ordinals[-1] <= 10_000:
        ordinals.append(next_kept(ordinals[-1], first))
    assert ordinals == [n for n in range(1, ordinals[-1] + 1) if is_kept(n, first)]


def recorder(
    span: Span | None = None, *, recording: bool = True, first: int = 8, fuse: Fuse | None = None
) -> SpanRecorder:
    return SpanRecorder(
        span or FakeSpan(), fuse or Fuse(), recording=recording, first=first, context=CONTEXT
    )


def test_a_hundred_thousand_messages_are_a_few_events() -> None:
    real = FakeSpan()
    recorded = recorder(real)
    for _ in range(100_000):
        recorded.message(NEXT)
    assert real.calls == [
        (
            "add_event",
            "graphql.ws.next",
            {"network.io.direction": "transmit", "graphql.ws.message.sequence": n},
            None,
        )
        for n in sorted(kept(8))
    ]


def sequences(real: FakeSpan) -> list[tuple[str, str, int]]:
    return [
        (name, attributes["network.io.direction"], attributes["graphql.ws.message.sequence"])
        for _, name, attributes, _ in real.calls
    ]


def test_each_type_and_direction_is_counted_for_itself() -> None:
    real = FakeSpan()
    recorded = recorder(real, first=1)
    for message_type in (PING, NEXT, PING, PONG, PING, PONG, NEXT):
        recorded.message(message_type)
    assert sequences(real) == [
        ("graphql.ws.ping", "transmit", 1),
        ("graphql.ws.next", "transmit", 1),
        ("graphql.ws.ping", "transmit", 2),
        ("graphql.ws.ping", "receive", 1),
        ("graphql.ws.ping", "receive", 2),
        ("graphql.ws.next", "transmit", 2),
    ]


def test_with_0_there_are_no_message_events() -> None:
    real = FakeSpan()
    recorded = recorder(real, first=0)
    for _ in range(100):
        recorded.message(NEXT)
    assert not real.calls


def test_with_0_other_events_are_not_thinned() -> None:
    real = FakeSpan()
    recorder(real, first=0).event("websocket.close", {})
    assert real.calls == [("add_event", "websocket.close", {}, None)]


def test_links_are_thinned_like_events() -> None:
    real, target = FakeSpan(), LinkTo(CONTEXT, "operation", "Ticks")
    recorded = recorder(real)
    made: list[int] = []
    for n in range(1, 1001):
        recorded.link(target)
        if len(real.calls) > len(made):
            made.append(n)
    assert made == sorted(n for n in kept(8) if n <= 1000)
    attributes = {"graphql.ws.link": "operation", "graphql.operation.name": "Ticks"}
    assert real.calls == [("add_link", CONTEXT, attributes)] * len(made)


def test_there_is_no_link_to_a_span_without_an_id() -> None:
    real = FakeSpan()
    recorder(real).link(LinkTo(INVALID_SPAN_CONTEXT, "operation"))
    assert not real.calls


class Bare(FakeSpan):
    """A span of a bridge that knows no attributes of links."""

    def add_link(self, context: SpanContext, attributes: Any = None) -> None:
        if attributes is not None:
            raise TypeError("attributes")
        super().add_link(context)


def test_a_span_that_refuses_attributes_of_links_gets_links_without(
    library_log: LogKeeper,
) -> None:
    real = Bare()
    recorder(real).link(LinkTo(CONTEXT, "init"))
    assert real.calls == [("add_link", CONTEXT, None)]
    assert library_log.records == []


# --- Recording -------------------------------------------------------------------------------

RECORDINGS: dict[str, tuple[Callable[[SpanRecorder], None], list[tuple[Any, ...]]]] = {
    "an event": (
        lambda recorded: recorded.event("name", {"a": 1, "b": None, "c": False, "d": ""}),
        [("add_event", "name", {"a": 1, "c": False, "d": ""}, None)],
    ),
    "attributes": (
        lambda recorded: recorded.set({"a": 0, "b": None}),
        [("set_attributes", {"a": 0})],
    ),
    "a name": (lambda recorded: recorded.rename("name"), [("update_name", "name")]),
    "a message": (
        lambda recorded: recorded.message(NEXT),
        [
            (
                "add_event",
                "graphql.ws.next",
                {"network.io.direction": "transmit", "graphql.ws.message.sequence": 1},
                None,
            )
        ],
    ),
    "a link": (
        lambda recorded: recorded.link(LinkTo(CONTEXT, "init")),
        [("add_link", CONTEXT, {"graphql.ws.link": "init"})],
    ),
}


@pytest.mark.parametrize("what", RECORDINGS)
def test_what_is_recorded_reaches_the_span_without_empty_attributes(what: str) -> None:
    real = FakeSpan()
    record, calls = RECORDINGS[what]
    record(recorder(real))
    assert real.calls == calls


def test_a_failure_is_the_class_and_the_status() -> None:
    real = FakeSpan()
    recorder(real).fail("ValueError", "why")
    (_, status, description) = real.calls.pop()
    assert real.calls == [("set_attributes", {"error.type": "ValueError"})]
    assert (status.status_code, status.description, description) == (
        StatusCode.ERROR,
        "why",
        None,
    )


def test_a_span_that_does_not_record_is_only_ended() -> None:
    real = FakeSpan(recording=False)
    recorded = recorder(real, recording=False)
    for record, _ in RECORDINGS.values():
        record(recorded)
    recorded.fail("ValueError")
    assert not real.calls
    recorded.end()
    assert real.calls == [("end", None)]


def test_a_span_is_ended_once() -> None:
    real = FakeSpan()
    recorded = recorder(real)
    recorded.end()
    recorded.span.end()
    recorded.end()
    assert real.calls == [("end", None)]


def test_nothing_more_is_recorded_on_an_ended_span() -> None:
    real = FakeSpan()
    recorded = recorder(real)
    recorded.end()
    for record, _ in RECORDINGS.values():
        record(recorded)
    recorded.fail("ValueError")
    assert real.calls == [("end", None)]


def test_a_message_may_be_counted_by_somebody_else() -> None:
    real = FakeSpan()
    recorded = recorder(real, first=2)
    assert [recorded.numbered_message(NEXT, ordinal) for ordinal in (1, 2, 4)] == [2, 4, 8]
    assert sequences(real) == [("graphql.ws.next", "transmit", ordinal) for ordinal in (1, 2, 4)]


@pytest.mark.parametrize(("recording", "first"), [(False, 8), (True, 0)])
def test_of_a_message_that_gets_no_event_there_is_no_next(
    recording: bool,  # noqa: FBT001  # a parameter of the test
    first: int,
) -> None:
    real = FakeSpan()
    assert recorder(real, recording=recording, first=first).numbered_message(NEXT, 1) == 0
    assert real.calls == []


def test_a_message_may_have_come_before() -> None:
    real = FakeSpan()
    recorded = recorder(real)
    recorded.event("name", {})
    recorded.message(NEXT, 6)
    assert [(name, timestamp) for _, name, _, timestamp in real.calls] == [
        ("name", None),
        ("graphql.ws.next", 6),
    ]


class NamedSpan(FakeSpan):
    """A span whose name can be read."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def update_name(self, name: str) -> None:
        super().update_name(name)
        self.name = name


def named(real: Span) -> SpanRecorder:
    """The recorder of a span that we have called so."""
    return SpanRecorder(real, Fuse(), recording=True, first=8, name="ours", context=CONTEXT)


def test_a_span_is_renamed_as_often_as_its_name_is_ours() -> None:
    real = NamedSpan("ours")
    recorded = named(real)
    recorded.rename("second")
    recorded.rename("third")
    assert real.calls == [("update_name", "second"), ("update_name", "third")]


def test_the_name_that_a_processor_has_given_wins() -> None:
    real = NamedSpan("theirs")
    named(real).rename("second")
    assert real.calls == []


@pytest.mark.parametrize("real", [NamedSpan("ours"), FakeSpan()], ids=["named", "nameless"])
def test_the_name_that_the_application_has_given_wins(real: FakeSpan) -> None:
    recorded = named(real)
    recorded.span.update_name("ours")
    recorded.rename("second")
    assert real.calls == [("update_name", "ours")]


def test_an_exemplar_leads_to_the_span_and_nowhere_else() -> None:
    recorded = recorder()
    assert recorded.exemplar_context == trace.set_span_in_context(recorded.span, Context())


def test_an_exemplar_of_a_span_without_an_id_leads_to_the_current_one() -> None:
    current = trace.set_span_in_context(NonRecordingSpan(CONTEXT), Context())
    context = copy_context()
    context.run(attach, current)
    assert context.run(lambda: NOT_STARTED.exemplar_context) is current


def test_what_has_no_span_takes_every_call() -> None:
    for record, _ in RECORDINGS.values():
        record(NOT_STARTED)
    NOT_STARTED.fail("ValueError")
    NOT_STARTED.end()
    assert (NOT_STARTED.context, NOT_STARTED.has_own_id) == (INVALID_SPAN_CONTEXT, False)
    assert NOT_STARTED.span.get_span_context() == INVALID_SPAN_CONTEXT


# --- Broken pieces ---------------------------------------------------------------------------

REFUSED: dict[str, str] = {
    # what is recorded, and the call of the span that it makes
    "an event": "add_event",
    "attributes": "set_attributes",
    "a name": "update_name",
    "a message": "add_event",
    "a link": "add_link",
}


def warnings(log: LogKeeper) -> list[str]:
    assert {record.levelno for record in log.records} <= {logging.WARNING}
    return [record.getMessage() for record in log.records]


def left_out(call: str, signal: str = "the spans") -> str:
    error = "tests.support.broken_api.PipeError"
    return f"Telemetry leaves out {call}() in {signal}, which raised {error}: {call}"


@pytest.mark.internal_error
@pytest.mark.parametrize("what", RECORDINGS)
def test_a_call_that_a_span_refuses_is_left_out_and_all_else_is_recorded(
    what: str, library_log: LogKeeper
) -> None:
    real = FakeSpan(REFUSED[what])
    fuse = Fuse(FailureLog(), "the spans")
    recorded = recorder(real, fuse=fuse)
    for record in (RECORDINGS[what][0], *(record for record, _ in RECORDINGS.values())):
        record(recorded)
    recorded.fail("ValueError")
    recorded.end()
    tried = [REFUSED[what], *REFUSED.values()]
    if what == "a link":
        # Each with its attributes, and without.
        tried = ["add_link", "add_link", *REFUSED.values(), "add_link"]
    assert [call for call, *_ in real.calls] == [
        *tried,
        "set_attributes",
        "set_status",
        "end",
    ]
    assert not fuse.blown
    assert warnings(library_log) == [left_out(REFUSED[what])]


@pytest.mark.internal_error
@pytest.mark.parametrize("call", ["set_attributes", "set_status"])
def test_half_a_failure_is_better_than_none(call: str, library_log: LogKeeper) -> None:
    real = FakeSpan(call)
    recorder(real, fuse=Fuse(FailureLog(), "the spans")).fail("ValueError")
    assert [name for name, *_ in real.calls] == ["set_attributes", "set_status"]
    assert warnings(library_log) == [left_out(call)]


@pytest.mark.internal_error
def test_each_call_is_warned_of_once_for_those_who_share_a_log(library_log: LogKeeper) -> None:
    failures, other = FailureLog(), FailureLog()
    for shared in (failures, failures, other):
        recorded = recorder(FakeSpan("add_event", "add_link"), fuse=Fuse(shared, "the spans"))
        for _ in range(3):
            recorded.event("name", {})
            recorded.link(LinkTo(CONTEXT, "init"))
    assert warnings(library_log) == [left_out("add_event"), left_out("add_link")] * 2


@pytest.mark.internal_error
def test_a_span_whose_end_raises_is_not_ended_again(library_log: LogKeeper) -> None:
    real = FakeSpan("end")
    recorded = recorder(real, fuse=Fuse(FailureLog(), "the spans"))
    recorded.end()
    recorded.end()
    assert real.calls == [("end", None)]
    assert warnings(library_log) == [left_out("end")]


class Unreadable(FakeSpan):
    """A span that does not let itself be read."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        self._called("attributes")
        raise PipeError("read")


@pytest.mark.internal_error
def test_a_span_that_cannot_be_read_is_ended_all_the_same(library_log: LogKeeper) -> None:
    real = Unreadable()
    recorded = request(real, Fuse(FailureLog(), "the spans"))
    recorded.end()
    recorded.set({"a": 1})
    recorded.end()
    assert real.calls == [("end", None), ("attributes",)]
    assert warnings(library_log) == [left_out("read")]


class FakeTracer(trace.NoOpTracer):
    """A tracer that has one span to give."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def start_span(self, *_arguments: Any, **_keywords: Any) -> Span:
        return self._span


class FakeProvider(trace.TracerProvider):
    def __init__(self, span: Span) -> None:
        self._tracer = FakeTracer(span)

    def get_tracer(self, *_arguments: Any, **_keywords: Any) -> trace.Tracer:
        return self._tracer


def start(provider: trace.TracerProvider, fuse: Fuse | None = None, **others: Any) -> SpanRecorder:
    spans = Spans(provider, 8)
    arguments: dict[str, Any] = {"context": Context()}
    return spans.start("name", fuse or Fuse(), **{**arguments, **others})


@pytest.mark.internal_error
@pytest.mark.parametrize("call", ["get_span_context", "is_recording"])
def test_a_span_that_cannot_say_what_it_is_is_not_recorded_and_still_ended(
    call: str, library_log: LogKeeper
) -> None:
    real, fuse = FakeSpan(call), Fuse()
    recorded = start(FakeProvider(real), fuse)
    assert (fuse.blown, recorded.recording) == (True, False)
    recorded.end()
    assert real.named("end") == [("end", None)]
    assert len(library_log.records) == 1


@pytest.mark.internal_error
def test_a_span_without_an_id_that_can_be_asked_for_stays_out_of_the_context() -> None:
    recorded = start(FakeProvider(FakeSpan("get_span_context")))
    assert (recorded.context, recorded.has_own_id) == (INVALID_SPAN_CONTEXT, False)


LEFT_OUT = {
    # a pipe, and how many calls of its span are left out
    # Its end.
    "spans that only raise": 1,
    # What is recorded, in five calls, and the end.
    "spans that take nothing": 6,
}


@pytest.mark.internal_error
@pytest.mark.parametrize("name", PIPES)
def test_a_broken_pipe_never_raises_and_each_recorder_logs_once(
    name: str, library_log: LogKeeper
) -> None:
    failures = FailureLog()
    spans = Spans(PIPES[name]().tracer_provider, 8, failures)
    before, fuse = len(library_log.records), Fuse(failures)
    recorded = spans.start("name", fuse, context=Context())
    for record, _ in RECORDINGS.values():
        record(recorded)
    recorded.fail("ValueError")
    assert isinstance(recorded.context, SpanContext)
    recorded.end()
    logged = library_log.records[before:]
    errors = [record for record in logged if record.levelno == logging.ERROR]
    assert len(errors) == fuse.blown
    assert len(logged) - len(errors) == LEFT_OUT.get(name, 0)


@pytest.mark.internal_error
def test_a_fuse_that_is_blown_starts_no_span(telemetry: Telemetry) -> None:
    fuse, made = Fuse(), list[None]()

    def make() -> dict[str, int]:
        made.append(None)
        return {}

    with fuse:
        raise ValueError
    recorded = start(telemetry.tracer_provider, fuse, attributes=make)
    recorded.end()
    assert (recorded.recording, recorded.has_own_id) == (False, False)
    assert (telemetry.spans(), made) == ([], [])


def test_the_log_names_the_provider(telemetry: Telemetry) -> None:
    spans = Spans(telemetry.tracer_provider, 8)
    assert spans.source == "the spans of opentelemetry.sdk.trace.TracerProvider"


@pytest.mark.internal_error
def test_a_global_provider_that_cannot_be_loaded_is_said_and_none(
    library_log: LogKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> NoReturn:
        raise PipeError

    monkeypatch.setattr(trace, "get_tracer_provider", fail)
    monkeypatch.setattr(trace, "get_tracer", lambda *_: fail())
    recorded = Spans(None, 8, FailureLog()).start("name", Fuse(), context=Context())
    assert (recorded.recording, recorded.has_own_id) == (False, False)
    said = [record.getMessage().partition(":")[0] for record in library_log.records]
    assert said == [
        "Telemetry failed in the global tracer provider",
        "Telemetry failed in the spans of NoneType",
    ]


# --- Starting --------------------------------------------------------------------------------


def test_samplers_see_kind_attributes_and_links() -> None:
    sampler = Curious()
    telemetry = Telemetry(sampler=sampler)
    recorded = start(
        telemetry.tracer_provider,
        attributes=lambda: {"a": 1, "b": None},
        links=[LinkTo(OTHER_CONTEXT, "remote")],
    )
    assert sampler.shown == [("name", SpanKind.SERVER, {"a": 1}, [OTHER_CONTEXT])]
    assert not recorded.recording
    telemetry.shutdown()


class BareTracer(NoOpTracer):
    """The tracer of a bridge that knows no attributes of links, or is broken."""

    def __init__(self, *, is_broken: bool = False) -> None:
        self.is_broken = is_broken
        self.started: list[list[Any]] = []

    def start_span(self, name: str, *arguments: Any, links: Any = (), **keywords: Any) -> Any:
        self.started.append([link.attributes for link in links])
        if self.is_broken or any(link.attributes for link in links):
            raise PipeError("attributes")
        return NonRecordingSpan(CONTEXT)


class BareProvider(NoOpTracerProvider):
    def __init__(self, tracer: BareTracer) -> None:
        self.tracer = tracer

    def get_tracer(self, *_arguments: Any, **_keywords: Any) -> BareTracer:
        return self.tracer


LINK = LinkTo(OTHER_CONTEXT, "remote")
SHOWN = {"graphql.ws.link": "remote"}


def test_a_tracer_that_refuses_attributes_of_links_gets_links_without(
    library_log: LogKeeper,
) -> None:
    tracer = BareTracer()
    assert start(BareProvider(tracer), links=[LINK]).context == CONTEXT
    assert tracer.started == [[SHOWN], [None]]
    assert library_log.records == []


@pytest.mark.internal_error
@pytest.mark.parametrize(("links", "tried"), [([], [[]]), ([LINK], [[SHOWN], [None]])])
def test_a_tracer_that_starts_no_span_blows_the_fuse(
    links: list[LinkTo], tried: list[Any], library_log: LogKeeper
) -> None:
    tracer = BareTracer(is_broken=True)
    assert not start(BareProvider(tracer), links=links).has_own_id
    assert tracer.started == tried
    [record] = library_log.records
    assert record.getMessage().startswith("Telemetry failed in ")


class Writing(Sampler):
    """A sampler that writes into what it is shown, as Azure's and Honeycomb's do."""

    def should_sample(self, *arguments: Any, **keywords: Any) -> SamplingResult:
        attributes = keywords.get("attributes") or arguments[4]
        attributes["rate"] = 1
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)

    def get_description(self) -> str:
        return "writing"


class Forwarding(Sampler):
    """A sampler that hands on these attributes, whatever it is shown."""

    def __init__(self, attributes: Mapping[str, Any] | None) -> None:
        self._attributes = attributes

    def should_sample(self, *_arguments: Any, **_keywords: Any) -> SamplingResult:
        return SamplingResult(Decision.RECORD_AND_SAMPLE, self._attributes)

    def get_description(self) -> str:
        return "forwarding"


PATH, ROUTE = _semconv.URL_PATH, _semconv.HTTP_ROUTE
OURS: dict[str, Any] = {PATH: 1, ROUTE: 2}

ARRIVING: dict[str, tuple[Sampler, dict[str, Any]]] = {
    # a sampler, and what arrives of a path and a route
    "writes": (Writing(), {PATH: 1, ROUTE: 2, "rate": 1}),
    "hands on none": (Forwarding(None), {PATH: 1, ROUTE: 2}),
    "hands on its own": (Forwarding({"rate": 1}), {PATH: 1, ROUTE: 2, "rate": 1}),
    "chooses": (Forwarding({PATH: 1}), {PATH: 1}),
    "writes, and hands on none of ours": (
        Forwarding({"rate": 1, "tenant": "x"}),
        {**OURS, "rate": 1, "tenant": "x"},
    ),
    "changes": (Forwarding({PATH: 3}), {PATH: 3}),
}


@pytest.mark.parametrize("kind", ARRIVING)
def test_attributes_arrive_though_a_sampler(kind: str) -> None:
    sampler, arriving = ARRIVING[kind]
    telemetry, shown = Telemetry(sampler=sampler), dict(OURS)
    if "tenant" in arriving:
        shown["tenant"] = arriving["tenant"]
    before = dict(shown)
    start(telemetry.tracer_provider, attributes=lambda: shown).end()
    [span] = telemetry.snapshots()
    assert span["attributes"] == arriving
    assert shown == before
    telemetry.shutdown()


def test_no_attributes_are_set_on_a_span_without_any() -> None:
    real = FakeSpan()
    start(FakeProvider(real))
    assert [call for call, *_ in real.calls] == ["get_span_context", "is_recording"]


@pytest.mark.parametrize("real", [Unreadable(), FakeSpan()], ids=["raises", "has none"])
def test_a_span_that_cannot_be_read_keeps_the_attributes_it_was_started_with(
    real: FakeSpan,
) -> None:
    start(FakeProvider(real), attributes=lambda: {"a": 1})
    assert real.named("set_attributes") == []


@pytest.mark.internal_error
def test_attributes_that_cannot_be_made_leave_the_span_out(telemetry: Telemetry) -> None:
    def make() -> NoReturn:
        raise ValueError

    fuse = Fuse()
    recorded = start(telemetry.tracer_provider, fuse, attributes=make)
    assert (fuse.blown, recorded.recording) == (True, False)


def test_a_span_is_started_below_the_one_in_its_context(numbered_telemetry: Telemetry) -> None:
    start(
        numbered_telemetry.tracer_provider,
        context=trace.set_span_in_context(NonRecordingSpan(CONTEXT), Context()),
        attributes=lambda: {"a": 1, "b": None},
        links=[LinkTo(OTHER_CONTEXT, "remote"), LinkTo(INVALID_SPAN_CONTEXT, "connection")],
        kind=SpanKind.INTERNAL,
    ).end()
    (span,) = numbered_telemetry.spans()
    assert snapshot(span) == {
        "name": "name",
        "kind": "INTERNAL",
        "id": (0xABC, 1),
        "parent": (0xABC, 0xDEF),
        "links": [((0x123, 0x456), {"graphql.ws.link": "remote"})],
        "attributes": {"a": 1},
        "events": [],
        "status": "UNSET",
        "description": None,
    }


def test_the_scope_is_the_library(telemetry: Telemetry) -> None:
    start(telemetry.tracer_provider).end()
    scope = telemetry.spans()[0].instrumentation_scope
    assert scope is not None
    assert (scope.name, scope.version) == ("strawberry_ws_otel", __version__)


def test_a_sampled_parent_decides_whether_anything_is_recorded() -> None:
    telemetry = Telemetry(ids=CountingIds(), sampler=ParentBased(ALWAYS_OFF))
    sampled = trace.set_span_in_context(NonRecordingSpan(CONTEXT), Context())
    assert start(telemetry.tracer_provider, context=sampled).recording
    assert not start(telemetry.tracer_provider).recording
    telemetry.shutdown()


@pytest.mark.parametrize("parent", [CONTEXT, INVALID_SPAN_CONTEXT])
def test_without_a_provider_nothing_is_recorded_and_nothing_put_into_the_context(
    parent: SpanContext,
) -> None:
    context = trace.set_span_in_context(NonRecordingSpan(parent), Context())
    recorded = start(trace.NoOpTracerProvider(), context=context)
    assert (recorded.recording, recorded.has_own_id) == (False, False)
    assert recorded.context == INVALID_SPAN_CONTEXT
    assert recorded.span.get_span_context() == INVALID_SPAN_CONTEXT


def test_an_unsampled_span_has_an_id_of_its_own() -> None:
    telemetry = Telemetry(ids=CountingIds(), sampler=ALWAYS_OFF)
    recorded = start(telemetry.tracer_provider)
    assert (recorded.recording, recorded.has_own_id) == (False, True)
    assert recorded.context.span_id == 1
    telemetry.shutdown()


def test_a_span_may_have_started_before(telemetry: Telemetry) -> None:
    start(telemetry.tracer_provider, start_time=5).end()
    assert [span.start_time for span in telemetry.spans()] == [5]


def test_no_span_begins_under_suppress_instrumentation(telemetry: Telemetry) -> None:
    with suppress_instrumentation():
        suppressed = get_current()
    recorded = start(telemetry.tracer_provider, context=suppressed)
    recorded.end()
    assert (recorded.recording, recorded.has_own_id) == (False, False)
    assert telemetry.spans() == []


# --- Ending ----------------------------------------------------------------------------------


class Looking(SpanProcessor):
    """Looks which span is current as one ends."""

    def __init__(self) -> None:
        self.current: list[int] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.current.append(trace.get_current_span().get_span_context().span_id)


ENDING: dict[str, tuple[SpanKind, bool, list[int]]] = {
    # its kind, whether it is the current one, and which is current as it ends
    "a request while it is current": (SpanKind.SERVER, True, [1]),
    "a request while another one is current": (SpanKind.SERVER, False, [0]),
    "a phase while another one is current": (SpanKind.INTERNAL, False, [CONTEXT.span_id]),
}


@pytest.mark.parametrize("case", ENDING)
def test_a_request_does_not_end_as_part_of_another(
    case: str, numbered_telemetry: Telemetry
) -> None:
    kind, is_current, seen = ENDING[case]
    looking = Looking()
    numbered_telemetry.tracer_provider.add_span_processor(looking)
    recorded = start(numbered_telemetry.tracer_provider, kind=kind)
    span = recorded.span if is_current else NonRecordingSpan(CONTEXT)
    with trace.use_span(span):
        before = get_current()
        recorded.end()
        assert get_current() is before
    assert looking.current == seen
    assert len(numbered_telemetry.spans()) == 1


class Hiding(NonRecordingSpan):
    """A current span of somebody else's that does not say what it is."""

    def get_span_context(self) -> SpanContext:
        raise PipeError("get_span_context")


@pytest.mark.internal_error
def test_a_request_ends_whatever_is_current(library_log: LogKeeper) -> None:
    real = FakeSpan()
    with trace.use_span(Hiding(CONTEXT)):
        request(real, Fuse(FailureLog(), "the spans")).end()
    assert real.calls == [("end", None)]
    assert len(library_log.records) <= 1


class Failing(ContextVarsRuntimeContext):
    """A runtime context that raises."""

    def get_current(self) -> NoReturn:
        raise PipeError("get_current")


def test_where_the_context_fails_a_measurement_leads_to_no_span(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(opentelemetry.context, "_RUNTIME_CONTEXT", Failing())
    off = SpanRecorder(trace.INVALID_SPAN, Fuse(), recording=False, first=0)
    assert off.exemplar_context == Context()


# --- Segments --------------------------------------------------------------------------------


def continued(
    before: FakeSpan, after: FakeSpan, act: Callable[[SpanRecorder], object] = bool
) -> SpanRecorder:
    """The recorder of a span that goes on in another one, after something happened to it."""
    recorded = recorder(before, first=1)
    act(recorded)
    for real in (before, after):
        real.calls.clear()
    recorded.continue_in(SpanRecorder(after, Fuse(), recording=True, context=OTHER_CONTEXT))
    return recorded


def test_a_span_goes_on_in_the_next_segment_and_ends_the_one_before() -> None:
    before, after = FakeSpan(), FakeSpan()
    recorded = continued(before, after)
    recorded.set({"count": 1})
    recorded.span.update_name("mine")
    recorded.end()
    assert before.calls == [("end", None)]
    assert after.calls == [
        ("set_attributes", {"count": 1}),
        ("update_name", "mine"),
        ("end", None),
    ]


def test_the_ids_of_earlier_segments_are_still_the_span_s() -> None:
    recorded = continued(FakeSpan(), FakeSpan())
    ids = [CONTEXT.span_id, OTHER_CONTEXT.span_id, 0x777]
    assert [recorded.has_id(id_) for id_ in ids] == [True, True, False]
    assert recorded.context == OTHER_CONTEXT


def test_thinning_begins_again_and_the_sequence_goes_on() -> None:
    after = FakeSpan()

    def talk(recorded: SpanRecorder) -> None:
        for _ in range(5):
            recorded.message(PING)
            recorded.link(LinkTo(OTHER_CONTEXT, "operation"))

    recorded = continued(FakeSpan(), after, talk)
    talk(recorded)
    recorded.message(PONG)
    sequence = [attributes["graphql.ws.message.sequence"] for _, _, attributes, _ in added(after)]
    assert sequence == [6, 7, 9, 1]
    assert len(after.named("add_link")) == 3
    assert recorded.numbered_message(NEXT, 102, before=100) == 104


def added(span: FakeSpan) -> list[tuple[Any, ...]]:
    return span.named("add_event")


def test_messages_of_a_segment_that_is_not_recorded_have_their_place_in_the_sequence() -> None:
    after = FakeSpan()
    recorded = recorder(FakeSpan(), recording=False)
    recorded.message(PING)
    recorded.continue_in(SpanRecorder(after, Fuse(), recording=True, context=OTHER_CONTEXT))
    recorded.message(PING)
    [(_, _, attributes, _)] = added(after)
    assert attributes["graphql.ws.message.sequence"] == 2


def test_a_name_that_was_found_while_nothing_was_recorded_is_that_of_the_next_segment() -> None:
    recorded = recorder(FakeSpan(), recording=False)
    recorded.rename("subscription")
    assert recorded.name == "subscription"


OK, UNSET = StatusCode.OK, StatusCode.UNSET
BAD, WORSE = Status(StatusCode.ERROR, "bad"), Status(StatusCode.ERROR, "worse")


@pytest.mark.parametrize(
    ("set_by_application", "status"),
    [
        ([], None),
        ([(UNSET, None)], None),
        ([(OK, None)], Status(OK)),
        ([(StatusCode.ERROR, "bad")], BAD),
        ([(BAD, None), (WORSE, None)], WORSE),
        ([(BAD, None), (OK, "ignored")], Status(OK)),
        ([(OK, None), (BAD, None)], Status(OK)),
        ([(BAD, None), (UNSET, None)], BAD),
    ],
)
def test_the_status_that_the_application_has_set_is_on_the_next_segment(
    set_by_application: list[tuple[Any, str | None]], status: Status | None
) -> None:
    after = FakeSpan()

    def act(recorded: SpanRecorder) -> None:
        for each in set_by_application:
            recorded.span.set_status(*each)

    continued(FakeSpan(), after, act)
    kept = [(each.status_code, each.description) for _, each, _ in after.named("set_status")]
    assert kept == ([] if status is None else [(status.status_code, status.description)])


def test_attributes_of_the_application_are_kept_for_the_next_segment_up_to_128() -> None:
    recorded = recorder(FakeSpan(recording=False), recording=False)
    recorded.span.set_attribute("first", 1)
    recorded.span.set_attributes({f"name{n}": n for n in range(200)})
    recorded.span.set_attribute("first", 2)
    kept = recorded.application_attributes
    assert (len(kept), kept["first"], kept["name126"]) == (128, 2, 126)


def test_what_a_span_takes_that_is_no_attribute_at_all_does_no_harm() -> None:
    recorded = SpanRecorder(NonRecordingSpan(CONTEXT), Fuse(), context=CONTEXT)
    recorded.span.set_attributes(None)  # type: ignore[arg-type]  # an application's mistake
    assert recorded.application_attributes == {}


def test_a_span_that_is_left_open_ends_with_its_totals_as_continued() -> None:
    real = FakeSpan()
    recorded = recorder(real)
    recorded.leave_open(lambda: {"count": 1})
    assert real.calls == [
        ("set_attributes", {"count": 1, "graphql.ws.segment.continued": True}),
        ("end", None),
    ]


def test_of_a_span_that_is_not_recorded_nobody_asks_for_the_totals() -> None:
    real = FakeSpan(recording=False)
    recorder(real, recording=False).leave_open(lambda: pytest.fail("asked"))
    assert real.calls == [("end", None)]


def test_attributes_are_kept_as_they_are_now_and_only_such_as_the_sdk_takes() -> None:
    recorded = recorder(FakeSpan())
    values = ["a"]
    recorded.span.set_attributes({"list": values, "refused": object()})  # type: ignore[dict-item]
    values.append("b")
    assert recorded.application_attributes == {"list": ("a",)}


def test_a_span_that_has_ended_keeps_no_attributes() -> None:
    recorded = recorder(FakeSpan())
    recorded.span.set_attribute("before", 1)
    recorded.end()
    recorded.span.set_attribute("after", 1)
    assert recorded.application_attributes == {}


@pytest.mark.parametrize("recording", [True, False])
def test_a_span_is_left_open_even_if_its_totals_cannot_be_made(*, recording: bool) -> None:
    real = FakeSpan()
    recorded = recorder(real, recording=recording)

    def fails() -> NoReturn:
        raise PipeError

    with suppress(PipeError):
        recorded.leave_open(fails)
    assert real.calls == [("end", None)]


def test_what_is_set_for_all_segments_is_on_the_span_and_kept() -> None:
    real = FakeSpan()
    recorded = recorder(real)
    recorded.set_for_all_segments({"tenant": "acme"})
    assert real.calls == [("set_attributes", {"tenant": "acme"})]
    assert recorded.application_attributes == {"tenant": "acme"}
