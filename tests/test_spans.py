"""Spans are started, guarded, thinned and ended here, and nowhere else."""

from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
)

from strawberry_ws_otel import OTelConfig
from strawberry_ws_otel._failsafe import Fuse
from strawberry_ws_otel._protocol import GRAPHQL_TRANSPORT_WS, vocabulary
from strawberry_ws_otel._spans import (
    DeferredAttributes,
    DelegatingSpan,
    SpanRecorder,
    Spans,
    is_kept,
    next_kept,
)
from tests.conftest import LogKeeper
from tests.doubles import PIPES, PipeError
from tests.telemetry import CountingIds, Curious, Telemetry, snapshot

CONTEXT = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))
OTHER_CONTEXT = SpanContext(0x123, 0x456, is_remote=False, trace_flags=TraceFlags(1))
ERROR = ValueError("bad")

TYPES = vocabulary(GRAPHQL_TRANSPORT_WS)
NEXT, PING, PONG = TYPES.sent["next"], TYPES.sent["ping"], TYPES.received["ping"]


class FakeSpan(Span):
    """A span that keeps its calls, has an attribute of its own, and may be told to raise."""

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


# --- The delegating span ---------------------------------------------------------------------

CALLS: dict[str, tuple[tuple[Any, ...], Any]] = {
    # arguments, and what comes back
    "end": ((5,), None),
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
    "end": ((), (None,)),
    "add_event": (("name",), ("name", None, None)),
    "add_link": ((OTHER_CONTEXT,), (OTHER_CONTEXT, None)),
    "set_status": ((StatusCode.OK,), (StatusCode.OK, None)),
    "record_exception": ((ERROR,), (ERROR, None, None, False)),
}


@pytest.mark.parametrize("method", CALLS)
def test_each_method_is_handed_to_the_real_span(method: str) -> None:
    real = FakeSpan()
    arguments, returned = CALLS[method]
    assert getattr(DelegatingSpan(real), method)(*arguments) == returned
    assert real.calls == [(method, *arguments)]


@pytest.mark.parametrize("method", DEFAULTS)
def test_what_is_left_out_is_what_the_api_says(method: str) -> None:
    real = FakeSpan()
    arguments, handed_on = DEFAULTS[method]
    getattr(DelegatingSpan(real), method)(*arguments)
    assert real.calls == [(method, *handed_on)]


def test_no_method_of_the_api_is_left_to_its_default() -> None:
    methods = {name for name in vars(Span) if not name.startswith("_")}
    assert methods == set(CALLS)
    assert methods <= set(vars(DelegatingSpan))


def test_it_is_a_span_of_the_api_for_whoever_asks() -> None:
    span = DelegatingSpan(FakeSpan())
    assert isinstance(span, Span)
    assert trace.get_current_span(trace.set_span_in_context(span)) is span


def test_it_ends_the_real_span_once() -> None:
    real = FakeSpan()
    span = DelegatingSpan(real)
    span.end(1)
    span.end(2)
    assert real.calls == [("end", 1)]


def test_as_a_context_manager_it_ends_the_real_span_once() -> None:
    real = FakeSpan()
    with DelegatingSpan(real) as span:
        span.end()
    assert real.named("end") == [("end", None)]


def test_what_only_the_sdk_offers_is_looked_up_on_the_real_span() -> None:
    assert DelegatingSpan(FakeSpan()).sdk_only == "only the SDK has it"


@pytest.mark.parametrize("name", ["missing", "__missing__", "__deepcopy__"])
def test_what_the_real_span_has_not_is_missing(name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        getattr(DelegatingSpan(FakeSpan()), name)


def test_a_span_that_is_not_initialised_is_asked_for_nothing() -> None:
    span = DelegatingSpan.__new__(DelegatingSpan)
    with pytest.raises(AttributeError, match="_span"):
        span.anything  # noqa: B018  # to ask is the test


def _serve(span: DelegatingSpan) -> None:
    span.update_name("after")
    span.set_attribute("a", 1)
    span.add_link(CONTEXT)
    assert (span.name, dict(span.attributes)) == ("after", {"a": 1})
    raise ERROR


def test_what_is_done_to_it_is_seen_on_a_span_of_the_sdk(telemetry: Telemetry) -> None:
    real = telemetry.tracer_provider.get_tracer("test").start_span("before")
    span = DelegatingSpan(real)
    with pytest.raises(ValueError, match="bad"), trace.use_span(span, end_on_exit=True):
        _serve(span)
    (finished,) = telemetry.spans()
    assert (finished.name, finished.status.status_code) == ("after", StatusCode.ERROR)
    assert [event.name for event in finished.events] == ["exception"]
    assert [link.context for link in finished.links] == [CONTEXT]


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
    return SpanRecorder(span or FakeSpan(), fuse or Fuse(), recording=recording, first=first)


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
    real, target = FakeSpan(), recorder()
    recorded = recorder(real)
    made: list[int] = []
    for n in range(1, 1001):
        recorded.link(target)
        if len(real.calls) > len(made):
            made.append(n)
    assert made == sorted(n for n in kept(8) if n <= 1000)
    assert real.calls == [("add_link", CONTEXT, None)] * len(made)


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
    "a link": (lambda recorded: recorded.link(recorder()), [("add_link", CONTEXT, None)]),
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
    assert real.calls == [("set_attribute", "error.type", "ValueError")]
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


def test_a_span_that_is_let_go_is_still_identified() -> None:
    recorded = recorder(FakeSpan())
    recorded.end()
    assert recorded.span.calls == [("end", None)]
    recorded.forget()
    assert recorded.span.get_span_context() == CONTEXT
    assert not recorded.span.is_recording()
    assert not hasattr(recorded.span, "calls")


def test_an_ended_span_is_told_nothing_more() -> None:
    real = FakeSpan()
    recorded = recorder(real)
    recorded.end()
    for record, _ in RECORDINGS.values():
        record(recorded)
    recorded.fail("ValueError")
    assert real.calls == [("end", None)]


def test_the_context_is_that_of_the_span() -> None:
    assert recorder().context == CONTEXT


# --- Broken pieces ---------------------------------------------------------------------------


@pytest.mark.internal_error
@pytest.mark.parametrize("what", [*RECORDINGS, "a failure"])
def test_a_span_that_raises_is_let_alone_and_still_ended(what: str, library_log: LogKeeper) -> None:
    real = FakeSpan("add_event", "set_attributes", "update_name", "add_link", "set_attribute")
    recorded = recorder(real)
    record = RECORDINGS[what][0] if what in RECORDINGS else lambda r: r.fail("ValueError")
    record(recorded)
    assert len(real.calls) == 1
    for again, _ in RECORDINGS.values():
        again(recorded)
    recorded.fail("ValueError")
    recorded.end()
    assert real.calls[1:] == [("end", None)]
    assert len(library_log.records) == 1


@pytest.mark.internal_error
def test_a_span_whose_end_raises_is_not_ended_again(library_log: LogKeeper) -> None:
    real = FakeSpan("end")
    recorded = recorder(real)
    recorded.end()
    recorded.end()
    assert real.calls == [("end", None)]
    assert len(library_log.records) == 1


@pytest.mark.internal_error
def test_a_span_without_a_context_has_the_invalid_one(library_log: LogKeeper) -> None:
    recorded = recorder(FakeSpan("get_span_context"))
    assert recorded.context == INVALID_SPAN.get_span_context()
    assert len(library_log.records) == 1


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
    spans = Spans(OTelConfig(tracer_provider=provider))
    arguments: dict[str, Any] = {"context": Context()}
    return spans.start("name", fuse or Fuse(), **{**arguments, **others})


@pytest.mark.internal_error
def test_a_span_that_cannot_say_whether_it_records_is_still_ended(library_log: LogKeeper) -> None:
    real = FakeSpan("is_recording")
    recorded = start(FakeProvider(real))
    assert not recorded.recording
    recorded.end()
    assert real.named("end") == [("end", None)]
    assert len(library_log.records) == 1


@pytest.mark.internal_error
@pytest.mark.parametrize("name", PIPES)
def test_a_broken_pipe_never_raises_and_each_recorder_logs_once(
    name: str, library_log: LogKeeper
) -> None:
    spans = Spans(OTelConfig(tracer_provider=PIPES[name]().tracer_provider))
    before, fuse = len(library_log.records), Fuse()
    recorded = spans.start("name", fuse, context=Context())
    for record, _ in RECORDINGS.values():
        record(recorded)
    recorded.fail("ValueError")
    assert isinstance(recorded.context, SpanContext)
    recorded.end()
    assert len(library_log.records) - before == fuse.blown


# --- Starting --------------------------------------------------------------------------------


def test_samplers_see_kind_attributes_and_links() -> None:
    sampler = Curious()
    telemetry = Telemetry(sampler=sampler)
    recorded = start(
        telemetry.tracer_provider, attributes=lambda: {"a": 1, "b": None}, links=[OTHER_CONTEXT]
    )
    assert sampler.shown == [("name", SpanKind.SERVER, {"a": 1}, [OTHER_CONTEXT])]
    assert not recorded.recording
    telemetry.shutdown()


def test_attributes_that_nobody_looks_at_are_not_made(telemetry: Telemetry) -> None:
    made: list[None] = []

    def make() -> dict[str, int]:
        made.append(None)
        return {"a": 1}

    unsampled = Telemetry(sampler=ALWAYS_OFF)
    start(unsampled.tracer_provider, attributes=make)
    start(trace.NoOpTracerProvider(), attributes=make)
    assert not made
    start(telemetry.tracer_provider, attributes=make)
    assert len(made) == 1
    unsampled.shutdown()


def test_attributes_to_be_made_are_like_any_others() -> None:
    deferred = DeferredAttributes(lambda: {"a": 1, "b": None, "c": "x"})
    expected = {"a": 1, "c": "x"}
    assert deferred == expected
    assert (len(deferred), list(deferred), deferred["c"]) == (2, ["a", "c"], "x")
    assert deferred.items() == expected.items()
    copy = deferred.copy()
    copy["a"] = 2
    assert (type(copy), dict(deferred)) == (dict, expected)


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
        links=[OTHER_CONTEXT],
        kind=SpanKind.INTERNAL,
    ).end()
    (span,) = numbered_telemetry.spans()
    assert snapshot(span) == {
        "name": "name",
        "kind": "INTERNAL",
        "id": (0xABC, 1),
        "parent": (0xABC, 0xDEF),
        "links": [((0x123, 0x456), {})],
        "attributes": {"a": 1},
        "events": [],
        "status": "UNSET",
        "description": None,
    }


def test_the_scope_is_the_library(telemetry: Telemetry) -> None:
    start(telemetry.tracer_provider).end()
    scope = telemetry.spans()[0].instrumentation_scope
    assert scope is not None
    assert (scope.name, scope.version) == ("strawberry_ws_otel", "0.1.0")


def test_a_sampled_parent_decides_whether_anything_is_recorded() -> None:
    telemetry = Telemetry(ids=CountingIds(), sampler=ParentBased(ALWAYS_OFF))
    sampled = trace.set_span_in_context(NonRecordingSpan(CONTEXT), Context())
    assert start(telemetry.tracer_provider, context=sampled).recording
    assert not start(telemetry.tracer_provider).recording
    telemetry.shutdown()


def test_without_a_provider_nothing_is_recorded_and_the_context_is_what_the_api_makes_it() -> None:
    parent = trace.set_span_in_context(NonRecordingSpan(CONTEXT), Context())
    recorded = start(trace.NoOpTracerProvider(), context=parent)
    assert not recorded.recording
    # Older versions of the API pass no parent through.
    api = trace.NoOpTracer().start_span("", context=parent).get_span_context()
    assert recorded.context == api
