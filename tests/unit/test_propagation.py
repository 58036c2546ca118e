"""Trace context from untrusted clients: read in any case of its keys, and used as configured."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context, get_value, set_value
from opentelemetry.propagators.textmap import Getter, TextMapPropagator, default_getter
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from strawberry_ws_otel import OTelConfig
from strawberry_ws_otel._current import joined
from strawberry_ws_otel._fuse import Fuse
from strawberry_ws_otel._propagation import (
    ConnectionTrace,
    Parentage,
    of_request,
    remote_context,
    span_context,
)
from strawberry_ws_otel._spans import LinkTo, SpanRecorder, Spans
from tests.support.broken_api import CallLog, broken, broken_propagator
from tests.support.log import LogKeeper
from tests.support.strategies import PROPERTY, any_json, any_text
from tests.support.telemetry import Telemetry

TRACE, SPAN = 0xABC, 0xDEF
TRACEPARENT: Final = f"00-{TRACE:032x}-{SPAN:016x}-01"
CARRIER: Final = {"traceparent": TRACEPARENT, "baggage": "tenant=acme"}
HEADERS: Final = CIMultiDict(CARRIER)
NOTHING: Final = (0, 0)
REMOTE: Final = (TRACE, SPAN)
LOCAL: Final = (1, 2)
INIT: Final = (3, 4)
LEFT: Final = (5, 6)
HANDSHAKE: Final = (7, 8)
APPLICATION: Final = "application"


def span_of(trace_id: int, span_id: int) -> NonRecordingSpan:
    return NonRecordingSpan(SpanContext(trace_id, span_id, is_remote=False))


def carrying(trace_id: int, span_id: int, entries: str = "") -> dict[str, str]:
    """A carrier of that span, and of entries of baggage."""
    return {"traceparent": f"00-{trace_id:032x}-{span_id:016x}-01", "baggage": entries}


def holding(trace_id: int, span_id: int) -> Context:
    """A context with that span, some baggage, and something of the application's."""
    span = span_of(trace_id, span_id)
    context = baggage.set_baggage("own", "1", trace.set_span_in_context(span, Context()))
    return set_value(APPLICATION, "kept", context)


def ids(context: Context) -> tuple[int, int]:
    found = span_context(context, Fuse())
    return found.trace_id, found.span_id


def spans(parentage: Parentage) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """The parent, and the links."""
    links = {(link.context.trace_id, link.context.span_id): link for link in parentage.links}
    for target, link in links.items():
        kind = "connection" if target == LOCAL else "remote"
        assert link.attributes == {"graphql.ws.link": kind}
    return ids(parentage.context), list(links)


def remote(carrier: Mapping[Any, Any]) -> Context | None:
    return remote_context(carrier, Fuse())


# --- Carriers --------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["traceparent", "Traceparent", "TRACEPARENT", "TraceParent"])
def test_a_carrier_is_read_whatever_the_case_of_its_keys(key: str) -> None:
    context = remote({key: TRACEPARENT})
    assert context is not None
    assert ids(context) == REMOTE
    found = span_context(context, Fuse())
    assert (found.is_remote, found.trace_flags) == (True, TraceFlags.SAMPLED)


def test_a_carrier_brings_its_baggage_beside_that_of_the_application_which_stays() -> None:
    carried = remote({**CARRIER, "baggage": "tenant=acme,own=theirs"})
    assert carried is not None
    context = joined(holding(*LOCAL), carried)
    assert ids(context) == REMOTE
    assert dict(baggage.get_all(context)) == {"tenant": "acme", "own": "1"}
    assert get_value(APPLICATION, context) == "kept"


@pytest.mark.parametrize(
    "carrier",
    [
        {},
        {"baggage": "tenant=acme"},
        {"traceparent": ""},
        {"traceparent": "garbage"},
        {"traceparent": f"00-{0:032x}-{SPAN:016x}-01"},
        {"traceparent": f"00-{TRACE:032x}-{0:016x}-01"},
        {"traceparent": f"ff-{TRACE:032x}-{SPAN:016x}-01"},
        {"traceparent": TRACEPARENT * 10_000},
        {"traceparent": "\ud800"},
        {"traceparent": None},
        {"traceparent": 5},
        {"traceparent": [TRACEPARENT]},
        {"traceparent": {"traceparent": TRACEPARENT}},
        {"\u212atraceparent": TRACEPARENT},
        {5: TRACEPARENT},
    ],
    ids=lambda carrier: repr(carrier)[:60],
)
def test_a_carrier_without_a_span_brings_nothing(carrier: dict[Any, Any]) -> None:
    assert remote(carrier) is None


@pytest.mark.parametrize("garbage", ["\ud800", "\N{PILE OF POO}", 5, None, [TRACEPARENT]])
@pytest.mark.parametrize("key", ["tracestate", "baggage", "TraceParent", "b3"])
def test_garbage_beside_a_span_does_not_hide_it(key: str, garbage: Any) -> None:
    context = remote({key: garbage, "traceparent": TRACEPARENT})
    assert context is not None
    assert ids(context) == REMOTE


@pytest.mark.parametrize(
    "entry",
    [
        {"baggage": "tenant=" + "x" * 1_000_000},
        {"tracestate": ",".join(f"vendor{number}=x" for number in range(100_000))},
        {"x" * 8193: ""},
    ],
    ids=["baggage", "tracestate", "key"],
)
def test_an_entry_too_long_for_a_header_is_not_looked_at(
    entry: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    context = remote({"traceparent": TRACEPARENT, **entry})
    assert context is not None
    assert ids(context) == REMOTE
    assert baggage.get_all(context) == {}
    assert caplog.records == []


def test_an_entry_as_long_as_baggage_may_be_is_looked_at() -> None:
    first = second = "x" * ((8192 - len("baggagea=,b=")) // 2)
    context = remote({"traceparent": TRACEPARENT, "baggage": f"a={first},b={second}"})
    assert context is not None
    assert baggage.get_all(context) == {"a": first, "b": second}


@pytest.mark.parametrize(("before", "ids_"), [(127, REMOTE), (128, None)])
def test_only_the_first_entries_of_a_carrier_are_looked_at(
    before: int, ids_: tuple[int, int] | None
) -> None:
    context = remote({**{str(n): "" for n in range(before)}, "traceparent": TRACEPARENT})
    assert (None if context is None else ids(context)) == ids_


class ByAnyName(TextMapPropagator):
    """A propagator that looks for its field under any name that ends in it."""

    def extract(
        self, carrier: Any, context: Context | None = None, getter: Getter[Any] = default_getter
    ) -> Context:
        names = [name for name in getter.keys(carrier) if name.endswith("traceparent")]
        values = {
            "traceparent": [value for name in names for value in getter.get(carrier, name) or ()]
        }
        return TraceContextTextMapPropagator().extract(values, context)

    def inject(self, *_arguments: Any, **_keywords: Any) -> None:
        """Nothing goes out."""

    @property
    def fields(self) -> set[str]:
        return {"traceparent"}


@pytest.fixture
def by_any_name() -> Iterator[None]:
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(ByAnyName())
    yield
    propagate.set_global_textmap(before)


def test_the_configured_propagator_may_look_at_the_names_of_a_carrier(by_any_name: None) -> None:
    context = remote({"X-Acme-TraceParent": TRACEPARENT})
    assert context is not None
    assert ids(context) == REMOTE


@pytest.mark.internal_error
def test_a_propagator_that_raises_brings_nothing_and_is_logged(library_log: LogKeeper) -> None:
    fuse = Fuse()
    with broken_propagator() as call_log:
        assert remote_context(CARRIER, fuse) is None
    assert call_log.calls == ["TextMapPropagator.extract"]
    assert fuse.blown
    assert len(library_log.records) == 1


def test_an_empty_carrier_does_not_trouble_the_propagator() -> None:
    with broken_propagator() as call_log:
        assert remote({}) is None
        assert remote({"traceparent": 5}) is None
    assert not call_log.calls


@PROPERTY
@given(carrier=st.dictionaries(any_text | st.sampled_from(["traceparent", "baggage"]), any_json))
def test_any_carrier_can_be_read(carrier: dict[str, Any]) -> None:
    fuse = Fuse()
    remote_context(carrier, fuse)
    assert not fuse.blown


@pytest.mark.internal_error
def test_a_span_without_a_context_is_the_invalid_one(library_log: LogKeeper) -> None:
    context = trace.set_span_in_context(broken(trace.Span, CallLog()), Context())
    fuse = Fuse()
    assert span_context(context, fuse) == INVALID_SPAN.get_span_context()
    assert of_request(OTelConfig(), context, {}, fuse) == Parentage(context)
    assert len(library_log.records) == 1


# --- A connection, or an HTTP request --------------------------------------------------------

OF_REQUEST = {
    # remote_context, is there a current span, do the headers bring one: parent, links
    ("parent", True, True): (LOCAL, []),
    ("parent", True, False): (LOCAL, []),
    ("parent", False, True): (REMOTE, []),
    ("parent", False, False): (NOTHING, []),
    ("link", True, True): (LOCAL, []),
    ("link", True, False): (LOCAL, []),
    ("link", False, True): (NOTHING, [REMOTE]),
    ("link", False, False): (NOTHING, []),
    ("ignore", True, True): (LOCAL, []),
    ("ignore", True, False): (LOCAL, []),
    ("ignore", False, True): (NOTHING, []),
    ("ignore", False, False): (NOTHING, []),
}


@pytest.mark.parametrize(("mode", "current", "headers"), OF_REQUEST)
def test_the_current_span_comes_before_the_headers(
    mode: Any, *, current: bool, headers: bool
) -> None:
    parentage = of_request(
        OTelConfig(remote_context=mode),
        holding(*LOCAL) if current else Context(),
        HEADERS if headers else {},
        Fuse(),
    )
    assert spans(parentage) == OF_REQUEST[mode, current, headers]


@pytest.mark.parametrize(
    ("mode", "brought"), [("parent", {"tenant": "acme"}), ("link", {}), ("ignore", {})]
)
def test_only_a_remote_parent_brings_baggage(mode: Any, brought: dict[str, str]) -> None:
    parentage = of_request(OTelConfig(remote_context=mode), Context(), HEADERS, Fuse())
    assert dict(baggage.get_all(parentage.context)) == brought


def test_a_current_span_keeps_its_baggage() -> None:
    parentage = of_request(OTelConfig(), holding(*LOCAL), HEADERS, Fuse())
    assert dict(baggage.get_all(parentage.context)) == {"own": "1"}


def parent_of(headers: CIMultiDict[str]) -> tuple[int, int]:
    """The parent of a request with these headers."""
    return ids(of_request(OTelConfig(), Context(), headers, Fuse()).context)


def test_the_propagator_may_look_at_the_names_of_all_headers(by_any_name: None) -> None:
    assert parent_of(CIMultiDict({"X-Acme-TraceParent".lower(): TRACEPARENT})) == REMOTE


@pytest.mark.parametrize(("before", "parent"), [(127, REMOTE), (128, NOTHING)])
def test_a_propagator_is_shown_the_names_of_the_first_headers_only(
    before: int, parent: tuple[int, int], by_any_name: None
) -> None:
    headers = CIMultiDict({f"x-{n}": "" for n in range(before)})
    headers["x-traceparent"] = TRACEPARENT
    assert parent_of(headers) == parent


@pytest.mark.parametrize("before", [0, 1, 1000])
def test_a_header_that_the_propagator_knows_is_found_behind_any_others(before: int) -> None:
    headers = CIMultiDict({f"x-{n}": "" for n in range(before)})
    headers["TraceParent"] = TRACEPARENT
    assert parent_of(headers) == REMOTE


@pytest.mark.parametrize("value", ["tenant=" + "x" * 8192, "tenant=\N{PILE OF POO}"])
def test_a_header_that_no_carrier_may_hold_is_not_looked_at(
    value: str, caplog: pytest.LogCaptureFixture
) -> None:
    headers = CIMultiDict({**CARRIER, "baggage": value})
    parentage = of_request(OTelConfig(), Context(), headers, Fuse())
    assert ids(parentage.context) == REMOTE
    assert baggage.get_all(parentage.context) == {}
    assert caplog.records == []


def test_two_headers_of_one_name_are_both_read() -> None:
    headers = CIMultiDict(
        [("traceparent", TRACEPARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]
    )
    for context in (
        remote_context(headers, Fuse()),
        of_request(OTelConfig(), Context(), headers, Fuse()).context,
    ):
        state = trace.get_current_span(context).get_span_context().trace_state
        assert dict(state) == {"a": "1", "b": "2"}


@pytest.mark.internal_error
def test_headers_that_a_propagator_trips_over_bring_nothing(library_log: LogKeeper) -> None:
    fuse = Fuse()
    with broken_propagator() as call_log:
        assert of_request(OTelConfig(), Context(), HEADERS, fuse) == Parentage(Context())
    assert call_log.calls == ["TextMapPropagator.extract"]
    assert fuse.blown
    assert len(library_log.records) == 1


# --- Within a connection ---------------------------------------------------------------------

Where = tuple[tuple[int, int], list[tuple[int, int]]]
"""The parent, and the links."""

WITHIN_CONNECTION: Final[dict[tuple[str, str, bool], tuple[Where, Where]]] = {
    # remote_context, whose carrier brought a span, has the application left one current:
    # where the span starts with trace_shape="linked", and with "nested"
    ("parent", "nobody", False): ((NOTHING, [LOCAL]), (LOCAL, [])),
    ("parent", "init", False): ((INIT, [LOCAL]), (INIT, [LOCAL])),
    ("parent", "its own", False): ((REMOTE, [LOCAL]), (REMOTE, [LOCAL])),
    ("parent", "nobody", True): ((LEFT, [LOCAL]), (LEFT, [LOCAL])),
    ("parent", "init", True): ((LEFT, [LOCAL]), (LEFT, [LOCAL])),
    ("parent", "its own", True): ((REMOTE, [LOCAL]), (REMOTE, [LOCAL])),
    ("link", "nobody", False): ((NOTHING, [LOCAL]), (LOCAL, [])),
    ("link", "init", False): ((NOTHING, [LOCAL, INIT]), (LOCAL, [INIT])),
    ("link", "its own", False): ((NOTHING, [LOCAL, REMOTE]), (LOCAL, [REMOTE])),
    ("link", "nobody", True): ((LEFT, [LOCAL]), (LEFT, [LOCAL])),
    ("link", "init", True): ((LEFT, [LOCAL, INIT]), (LEFT, [LOCAL, INIT])),
    ("link", "its own", True): ((LEFT, [LOCAL, REMOTE]), (LEFT, [LOCAL, REMOTE])),
    ("ignore", "nobody", False): ((NOTHING, [LOCAL]), (LOCAL, [])),
    ("ignore", "init", False): ((NOTHING, [LOCAL]), (LOCAL, [])),
    ("ignore", "its own", False): ((NOTHING, [LOCAL]), (LOCAL, [])),
    ("ignore", "nobody", True): ((LEFT, [LOCAL]), (LEFT, [LOCAL])),
    ("ignore", "init", True): ((LEFT, [LOCAL]), (LEFT, [LOCAL])),
    ("ignore", "its own", True): ((LEFT, [LOCAL]), (LEFT, [LOCAL])),
}


def connection_trace(
    shape: Any, mode: Any, *, span: tuple[int, int] = LOCAL, carried: Context | None = None
) -> ConnectionTrace:
    """The trace of a connection whose handshake had a current span, and brought that."""
    own = span_of(*span)
    recorder = SpanRecorder(own, Fuse(), recording=False, first=0, context=own.get_span_context())
    return ConnectionTrace(
        OTelConfig(trace_shape=shape, remote_context=mode),
        Fuse(),
        recorder,
        Parentage(Context(), carried=carried),
        HANDSHAKE[1],
    )


def within(shape: Any, mode: Any, carrier: str, *, left: bool = False) -> Parentage:
    """Where an operation starts."""
    application = holding(*(LEFT if left else HANDSHAKE))
    trace = connection_trace(shape, mode, carried=remote(carrying(*HANDSHAKE, "handshake=1")))
    trace.init({} if carrier == "nobody" else carrying(*INIT, "user=ann"), application)
    return trace.operation(CARRIER if carrier == "its own" else None, application)


@pytest.mark.parametrize("shape", ["linked", "nested"])
@pytest.mark.parametrize(("mode", "carrier", "left"), WITHIN_CONNECTION)
def test_what_a_client_asks_for_is_a_trace_of_its_own_or_under_its_connection(
    shape: str, mode: str, carrier: str, *, left: bool
) -> None:
    parentage = within(shape, mode, carrier, left=left)
    expected = WITHIN_CONNECTION[mode, carrier, left][shape == "nested"]
    assert spans(parentage) == expected
    assert parentage.is_apart == (ids(parentage.context) != LOCAL)


@pytest.mark.parametrize("shape", ["linked", "nested"])
@pytest.mark.parametrize(
    ("mode", "carrier", "left"), [where for where in WITHIN_CONNECTION if where[1] != "init"]
)
def test_an_init_stands_where_an_operation_does(
    shape: str, mode: str, carrier: str, *, left: bool
) -> None:
    application = holding(*(LEFT if left else HANDSHAKE))
    payload = CARRIER if carrier == "its own" else {}
    init = connection_trace(shape, mode).init(payload, application)
    expected = WITHIN_CONNECTION[mode, carrier, left][shape == "nested"]
    assert spans(init) == expected
    assert init.is_apart == (ids(init.context) != LOCAL)


@pytest.mark.parametrize(
    ("shape", "mode", "carrier", "brought"),
    [
        ("linked", "parent", "its own", {"tenant": "acme", "own": "1"}),
        ("nested", "parent", "its own", {"tenant": "acme", "own": "1"}),
        ("linked", "parent", "init", {"user": "ann", "own": "1"}),
        ("nested", "parent", "init", {"user": "ann", "own": "1"}),
        ("linked", "parent", "nobody", {"own": "1"}),
        ("linked", "link", "its own", {"own": "1"}),
        ("nested", "parent", "nobody", {"handshake": "1", "own": "1"}),
        ("nested", "link", "its own", {"handshake": "1", "own": "1"}),
        ("nested", "link", "init", {"handshake": "1", "own": "1"}),
    ],
)
def test_baggage_comes_from_whoever_is_the_parent_and_from_the_application(
    shape: str, mode: str, carrier: str, brought: dict[str, str]
) -> None:
    context = within(shape, mode, carrier).context
    assert dict(baggage.get_all(context)) == brought
    assert get_value(APPLICATION, context) == "kept"


@pytest.mark.parametrize("shape", ["linked", "nested"])
def test_baggage_of_clients_does_not_come_with_a_span_that_the_application_has_left(
    shape: str,
) -> None:
    context = within(shape, "parent", "init", left=True).context
    assert dict(baggage.get_all(context)) == {"own": "1"}


@pytest.mark.parametrize("extensions", [None, 5, "traceparent", [TRACEPARENT], {}])
def test_extensions_that_are_no_carrier_leave_it_to_that_of_the_init(extensions: Any) -> None:
    trace = connection_trace("linked", "parent")
    trace.init(carrying(*INIT), Context())
    assert ids(trace.operation(extensions, Context()).context) == INIT


@pytest.mark.parametrize(("shape", "apart"), [("linked", True), ("nested", False)])
def test_a_connection_without_a_span_of_its_own_leaves_the_context_alone(
    shape: str, *, apart: bool
) -> None:
    trace = connection_trace(shape, "parent", span=NOTHING)
    parentage = trace.operation(None, holding(*HANDSHAKE))
    assert ids(parentage.context) == (NOTHING if apart else HANDSHAKE)
    assert parentage.is_apart == apart


def test_a_trace_that_has_forgotten_its_carriers_brings_nothing_of_them() -> None:
    trace = connection_trace("nested", "parent", carried=remote(carrying(*HANDSHAKE, "first=1")))
    trace.init(carrying(*INIT), Context())
    trace.forget()
    parentage = trace.operation(None, Context())
    assert spans(parentage) == (LOCAL, [])
    assert (parentage.carried, baggage.get_all(parentage.context)) == (None, {})


@pytest.mark.parametrize("apart", [True, False])
def test_a_connection_is_linked_to_what_is_no_child_of_its_span(
    telemetry: Telemetry, *, apart: bool
) -> None:
    spans, fuse = Spans(telemetry.tracer_provider, 0), Fuse()
    connection = spans.start("connection", fuse, context=Context())
    child = spans.start("child", fuse, context=Context())
    trace = ConnectionTrace(OTelConfig(), fuse, connection, Parentage(Context()), 0)
    trace.link(Parentage(Context(), is_apart=apart), LinkTo(child.context, "operation", "Ticks"))
    connection.end()
    [recorded] = telemetry.spans()
    attributes = {"graphql.ws.link": "operation", "graphql.operation.name": "Ticks"}
    assert [(link.context, dict(link.attributes or {})) for link in recorded.links] == (
        [(child.context, attributes)] if apart else []
    )


def test_the_later_segments_of_a_root_are_roots_and_lead_to_no_client() -> None:
    later = Parentage(holding(*LEFT)).of_segments(Fuse())
    assert (ids(later.context), later.links) == ((0, 0), ())
    assert get_value(APPLICATION, later.context) == "kept"
    assert baggage.get_all(later.context) == {"own": "1"}


@pytest.mark.parametrize("is_parent", [True, False])
def test_the_later_segments_lead_to_the_client_s_span_whether_it_was_parent_or_link(
    is_parent: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    client = trace.set_span_in_context(span_of(1, 2), Context())
    to_client = LinkTo(span_context(client, Fuse()), "remote")
    to_connection = LinkTo(span_context(holding(*LEFT), Fuse()), "connection")
    first = (
        Parentage(client, (to_connection,), is_apart=True, carried=client)
        if is_parent
        else Parentage(Context(), (to_connection, to_client), is_apart=True)
    )
    later = first.of_segments(Fuse())
    assert (ids(later.context), later.links) == ((0, 0), (to_client,))


def test_the_later_segments_of_what_is_nested_are_below_the_connection() -> None:
    below = holding(*LEFT)
    later = Parentage(below, carried=below, is_nested=True).of_segments(Fuse())
    assert (later.context, later.links) == (below, ())


def test_the_later_segments_lead_to_a_client_s_span_that_the_application_has_made_current() -> None:
    client = SpanContext(1, 2, is_remote=True)
    context = trace.set_span_in_context(NonRecordingSpan(client), Context())
    later = Parentage(context).of_segments(Fuse())
    assert (ids(later.context), later.links) == ((0, 0), (LinkTo(client, "remote"),))
