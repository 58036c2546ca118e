"""Trace context from strangers: read in any case of its keys, and used as configured."""

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
from strawberry_ws_otel._failsafe import Fuse
from strawberry_ws_otel._propagation import (
    Parentage,
    detached,
    joined,
    of_request,
    rebased,
    remote_context,
    span_context,
    within_connection,
)
from tests.conftest import LogKeeper
from tests.doubles import Ledger, broken, broken_propagator
from tests.strategies import PROPERTY, any_json, any_text

TRACE, SPAN = 0xABC, 0xDEF
TRACEPARENT: Final = f"00-{TRACE:032x}-{SPAN:016x}-01"
CARRIER: Final = {"traceparent": TRACEPARENT, "baggage": "tenant=acme"}
NOTHING: Final = (0, 0)
REMOTE: Final = (TRACE, SPAN)
LOCAL: Final = (1, 2)
APPLICATION: Final = "application"


def holding(trace_id: int, span_id: int) -> Context:
    """A context with that span, some baggage, and something of the application's."""
    span = NonRecordingSpan(SpanContext(trace_id, span_id, is_remote=False))
    context = baggage.set_baggage("own", "1", trace.set_span_in_context(span, Context()))
    return set_value(APPLICATION, "kept", context)


def ids(context: Context) -> tuple[int, int]:
    found = span_context(context, Fuse())
    return found.trace_id, found.span_id


def spans(parentage: Parentage) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """The parent, and the links."""
    return ids(parentage.context), [(link.trace_id, link.span_id) for link in parentage.links]


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
        return TraceContextTextMapPropagator().extract(values, context, getter)

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
    with broken_propagator() as ledger:
        assert remote_context(CARRIER, fuse) is None
    assert ledger.calls == ["TextMapPropagator.extract"]
    assert fuse.blown
    assert len(library_log.records) == 1


def test_an_empty_carrier_does_not_trouble_the_propagator() -> None:
    with broken_propagator() as ledger:
        assert remote({}) is None
        assert remote({"traceparent": 5}) is None
    assert not ledger.calls


@PROPERTY
@given(carrier=st.dictionaries(any_text | st.sampled_from(["traceparent", "baggage"]), any_json))
def test_any_carrier_can_be_read(carrier: dict[str, Any]) -> None:
    fuse = Fuse()
    remote_context(carrier, fuse)
    assert not fuse.blown


@pytest.mark.internal_error
def test_a_span_without_a_context_is_the_invalid_one(library_log: LogKeeper) -> None:
    context = trace.set_span_in_context(broken(trace.Span, Ledger()), Context())
    fuse = Fuse()
    assert span_context(context, fuse) == INVALID_SPAN.get_span_context()
    assert of_request(OTelConfig(), context, {}, fuse) == Parentage(context)
    assert len(library_log.records) == 1


def test_a_detached_context_has_no_span_but_all_the_rest() -> None:
    context = detached(holding(*LOCAL))
    assert ids(context) == NOTHING
    assert dict(baggage.get_all(context)) == {"own": "1"}
    assert get_value(APPLICATION, context) == "kept"


def test_baggage_that_a_carrier_brought_does_not_become_the_applications() -> None:
    base = baggage.set_baggage("mine", "1", baggage.set_baggage("gone", "1", Context()))
    ours = baggage.set_baggage("client", "1", base)
    current = baggage.set_baggage("tenant", "acme", baggage.remove_baggage("gone", ours))
    assert dict(baggage.get_all(rebased(current, ours, base))) == {"mine": "1", "tenant": "acme"}


def test_what_the_application_changed_in_our_context_is_changed_in_its_own() -> None:
    base = set_value("first", 1, Context())
    ours = set_value("span", "ours", base)
    current = set_value("second", 2, set_value("first", "changed", ours))
    assert rebased(current, ours, base) == {"first": "changed", "second": 2}
    assert rebased(ours, ours, base) is base


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
        CARRIER if headers else {},
        Fuse(),
    )
    assert spans(parentage) == OF_REQUEST[mode, current, headers]


@pytest.mark.parametrize(
    ("mode", "brought"), [("parent", {"tenant": "acme"}), ("link", {}), ("ignore", {})]
)
def test_only_a_remote_parent_brings_baggage(mode: Any, brought: dict[str, str]) -> None:
    parentage = of_request(OTelConfig(remote_context=mode), Context(), CARRIER, Fuse())
    assert dict(baggage.get_all(parentage.context)) == brought


def test_a_current_span_keeps_its_baggage() -> None:
    parentage = of_request(OTelConfig(), holding(*LOCAL), CARRIER, Fuse())
    assert dict(baggage.get_all(parentage.context)) == {"own": "1"}


# --- Within a connection ---------------------------------------------------------------------

WITHIN_CONNECTION = {
    # trace_shape, remote_context, did a carrier bring a span: parent, links
    ("linked", "parent", True): (REMOTE, [LOCAL]),
    ("linked", "parent", False): (NOTHING, [LOCAL]),
    ("linked", "link", True): (NOTHING, [LOCAL, REMOTE]),
    ("linked", "link", False): (NOTHING, [LOCAL]),
    ("linked", "ignore", True): (NOTHING, [LOCAL]),
    ("linked", "ignore", False): (NOTHING, [LOCAL]),
    ("nested", "parent", True): (REMOTE, [LOCAL]),
    ("nested", "parent", False): (LOCAL, []),
    ("nested", "link", True): (LOCAL, [REMOTE]),
    ("nested", "link", False): (LOCAL, []),
    ("nested", "ignore", True): (LOCAL, []),
    ("nested", "ignore", False): (LOCAL, []),
}


def within(shape: Any, mode: Any, *, carried: bool) -> Parentage:
    connection = baggage.set_baggage("handshake", "1", holding(*LOCAL))
    return within_connection(
        OTelConfig(trace_shape=shape, remote_context=mode),
        connection,
        holding(*LOCAL),
        span_context(connection, Fuse()),
        remote_context(CARRIER, Fuse()) if carried else None,
        Fuse(),
    )


@pytest.mark.parametrize(("shape", "mode", "carried"), WITHIN_CONNECTION)
def test_what_a_client_asks_for_is_a_trace_of_its_own_or_under_its_connection(
    shape: str, mode: str, *, carried: bool
) -> None:
    parentage = within(shape, mode, carried=carried)
    assert spans(parentage) == WITHIN_CONNECTION[shape, mode, carried]
    assert parentage.apart == (ids(parentage.context) != LOCAL)


@pytest.mark.parametrize(
    ("shape", "mode", "carried", "brought"),
    [
        ("linked", "parent", True, {"tenant": "acme", "own": "1"}),
        ("nested", "parent", True, {"tenant": "acme", "own": "1"}),
        ("linked", "parent", False, {"own": "1"}),
        ("linked", "link", True, {"own": "1"}),
        ("nested", "parent", False, {"handshake": "1", "own": "1"}),
        ("nested", "link", True, {"handshake": "1", "own": "1"}),
    ],
)
def test_baggage_comes_from_whoever_is_the_parent_and_from_the_application(
    shape: str, mode: str, brought: dict[str, str], *, carried: bool
) -> None:
    context = within(shape, mode, carried=carried).context
    assert dict(baggage.get_all(context)) == brought
    assert get_value(APPLICATION, context) == "kept"


def test_two_headers_of_one_name_are_both_read() -> None:
    headers = CIMultiDict(
        [
            ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"),
            ("tracestate", "a=1"),
            ("tracestate", "b=2"),
        ]
    )
    context = remote_context(headers, Fuse())
    state = trace.get_current_span(context).get_span_context().trace_state
    assert dict(state) == {"a": "1", "b": "2"}
