"""Instruments exist once for each meter provider, and observe one totals."""

import gc
import logging
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any, NoReturn

import pytest
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import NoOpMeter, NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from strawberry_ws_otel import __version__
from strawberry_ws_otel._close import CloseFrame, Facts, verdict
from strawberry_ws_otel._counts import Totals
from strawberry_ws_otel._fuse import FailureLog, Fuse
from strawberry_ws_otel._metrics import Metrics, _Registry, metrics_of
from strawberry_ws_otel._protocol import GRAPHQL_TRANSPORT_WS, vocabulary
from tests.support.broken_api import PIPES, PipeError
from tests.support.clock import Clock
from tests.support.log import LogKeeper, RaisingHandler, handling
from tests.support.telemetry import Telemetry, labels
from tests.support.traffic import opened, subscribed

ROOT = Path(__file__).parents[2]
LONG = [0.01, 0.1, 1, 10, 60, 300, 900, 3600, 14400, 43200, 86400]
SHORT = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2, 2.5, 5, 7.5, 10]

GAUGES = {
    "websocket.server.active_connections": "{connection}",
    "graphql.server.subscription.active": "{subscription}",
    "websocket.server.send.blocked": "{connection}",
}
COUNTERS = {
    "websocket.server.closes": "{close}",
    "websocket.server.messages": "{message}",
    "websocket.server.io": "By",
    "websocket.server.errors": "{error}",
    "websocket.server.send.blocked_time": "s",
    "graphql.server.subscription.event_count": "{event}",
}
HISTOGRAMS = {
    "websocket.server.connection.duration": LONG,
    "graphql.ws.operation.duration": LONG,
    "graphql.ws.connection_init.duration": SHORT,
    "graphql.server.request.duration": SHORT,
    "graphql.ws.time_to_first_result": SHORT,
}
DESCRIPTIONS = {
    "websocket.server.active_connections": "Open connections.",
    "websocket.server.connection.duration": "Life of connections.",
    "websocket.server.closes": "Ended connections and refused handshakes.",
    "websocket.server.messages": "Messages, by type and direction.",
    "websocket.server.io": "Payload of messages, before compression.",
    "websocket.server.errors": "ERROR frames.",
    "websocket.server.send.blocked": "Connections with a send that waits.",
    "websocket.server.send.blocked_time": "Time for which sends waited for a full buffer.",
    "graphql.ws.connection_init.duration": "From connection_init to its ack or refusal.",
    "graphql.server.request.duration": "Duration of queries and mutations.",
    "graphql.server.subscription.active": "Live subscriptions.",
    "graphql.server.subscription.event_count": "Events of subscriptions.",
    "graphql.ws.operation.duration": "Life of operations over a WebSocket.",
    "graphql.ws.time_to_first_result": "From an operation to its first result.",
}
"""What Prometheus shows as HELP."""
MODERN = vocabulary(GRAPHQL_TRANSPORT_WS)


def made_for(provider: metrics.MeterProvider) -> Metrics:
    return _Registry().get(provider, FailureLog())[1]


def live(made: Metrics) -> None:
    """Something of everything happens."""
    totals = made.totals
    traffic = opened(totals, GRAPHQL_TRANSPORT_WS)
    subscribed(totals, 2)
    traffic.messages[MODERN.sent["next"]] = 2
    traffic.bytes_sent = 10
    traffic.send_waits.begin()
    opened(totals, None)
    totals.frame_failed("TimeoutError")
    totals.event_failed("ValueError")
    facts = Facts(upgraded=True)
    facts.frame_received(CloseFrame(1000))
    totals.closed(verdict(facts), None)
    for name in HISTOGRAMS:
        made.record(name, 0.5, {"error.type": None, "kept": "yes"}, Fuse(), Context())


def test_what_is_tallied_is_observed_without_empty_attributes(
    telemetry: Telemetry, clock: Clock
) -> None:
    live(made_for(telemetry.meter_provider))
    clock.passes(2.5)
    observed = telemetry.metrics()
    closes = observed.pop("websocket.server.closes")
    assert len(closes) == 18
    assert {labels_: count for labels_, count in closes.items() if count} == {
        labels({"websocket.close.outcome": "normal", "websocket.close.fault": "none"}): 1
    }
    subprotocol = {"websocket.subprotocol": "graphql-transport-ws"}
    sent, received = {"network.io.direction": "transmit"}, {"network.io.direction": "receive"}
    assert observed == {
        "websocket.server.active_connections": {labels(subprotocol): 1, labels({}): 1},
        "graphql.server.subscription.active": {labels({}): 1},
        "websocket.server.messages": {
            labels({**subprotocol, **sent, "graphql.ws.message.type": "next"}): 2
        },
        "websocket.server.io": {
            labels({**subprotocol, **sent}): 10,
            labels({**subprotocol, **received}): 0,
            labels(sent): 0,
            labels(received): 0,
        },
        "websocket.server.errors": {labels({"error.type": "TimeoutError"}): 1},
        "graphql.server.subscription.event_count": {
            labels({}): 2,
            labels({"error.type": "ValueError"}): 1,
        },
        "websocket.server.send.blocked": {labels({}): 1},
        "websocket.server.send.blocked_time": {labels({}): 2.5},
        **{name: {labels({"kept": "yes"}): 1} for name in HISTOGRAMS},
    }


def instruments(telemetry: Telemetry) -> dict[str, Any]:
    data = telemetry.reader.get_metrics_data()
    assert data is not None
    (scope,) = data.resource_metrics[0].scope_metrics
    assert (scope.scope.name, scope.scope.version) == ("strawberry_ws_otel", __version__)
    return {metric.name: metric for metric in scope.metrics}


def test_instruments_have_their_kinds_units_and_buckets(telemetry: Telemetry) -> None:
    live(made_for(telemetry.meter_provider))
    found = instruments(telemetry)
    assert set(found) == {*GAUGES, *COUNTERS, *HISTOGRAMS}
    for name, unit in (GAUGES | COUNTERS).items():
        assert (found[name].unit, found[name].data.is_monotonic) == (unit, name in COUNTERS)
    for name, buckets in HISTOGRAMS.items():
        point = found[name].data.data_points[0]
        assert (found[name].unit, list(point.explicit_bounds)) == ("s", buckets)
    assert {name: metric.description for name, metric in found.items()} == DESCRIPTIONS


def test_a_duration_leads_to_the_trace_in_whose_context_it_is_recorded(
    telemetry: Telemetry,
) -> None:
    span = NonRecordingSpan(SpanContext(5, 7, is_remote=False, trace_flags=TraceFlags(1)))
    made_for(telemetry.meter_provider).record(
        "graphql.ws.operation.duration",
        2.5,
        {},
        Fuse(),
        trace.set_span_in_context(span, Context()),
    )
    (point,) = telemetry.points("graphql.ws.operation.duration")
    assert [(one.trace_id, one.span_id, one.value) for one in point.exemplars] == [(5, 7, 2.5)]


def test_only_the_first_hundred_error_types_label_a_duration(telemetry: Telemetry) -> None:
    made = made_for(telemetry.meter_provider)
    for n in range(150):
        made.record(
            "graphql.server.request.duration", 1, {"error.type": f"E{n}"}, Fuse(), Context()
        )
    counts = telemetry.metrics()["graphql.server.request.duration"]
    assert len(counts) == 101
    assert counts[labels({"error.type": "_OTHER"})] == 50


# --- One for each provider -------------------------------------------------------------------


def test_a_provider_has_one_set_of_instruments(telemetry: Telemetry) -> None:
    [whose, made], again = (
        metrics_of(telemetry.meter_provider),
        metrics_of(telemetry.meter_provider),
    )
    assert (whose, made) == again
    assert whose is telemetry.meter_provider
    assert made.source == "the metrics of opentelemetry.sdk.metrics._internal.MeterProvider"


class Alike(NoOpMeterProvider):
    """A provider that equals every other one, and so cannot be hashed, as Logfire's cannot."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]  # as Python sets it


@pytest.mark.parametrize("kind", [NoOpMeterProvider, Alike])
def test_two_providers_have_two(kind: type[NoOpMeterProvider]) -> None:
    one, other = kind(), kind()
    [whose, made], [whose_other, made_other] = metrics_of(one), metrics_of(other)
    assert (whose is one, whose_other is other) == (True, True)
    assert made is not made_other
    assert made.totals is not made_other.totals


def test_the_global_provider_may_be_named_or_not() -> None:
    [whose, made], named = metrics_of(None), metrics_of(metrics.get_meter_provider())
    assert whose is metrics.get_meter_provider()
    assert (whose, made) == named == metrics_of(None)


@pytest.mark.parametrize("named_first", [True, False])
def test_the_global_provider_may_be_named_first_or_later(*, named_first: bool) -> None:
    registry, provider = _Registry(), metrics.get_meter_provider()
    order = [provider, None] if named_first else [None, provider]
    one, other = (registry.get(name) for name in order)
    assert one == other


class Passing(NoOpMeterProvider):
    """A proxy of a provider, as Logfire's is."""

    def __init__(self, provider: metrics.MeterProvider) -> None:
        self._provider = provider

    def get_meter(self, *arguments: Any, **keywords: Any) -> metrics.Meter:
        return self._provider.get_meter(*arguments, **keywords)


def test_two_proxies_of_one_provider_share_its_instruments(telemetry: Telemetry) -> None:
    registry, one = _Registry(), Passing(telemetry.meter_provider)
    made = registry.get(one)[1]
    live(made)
    other = Passing(telemetry.meter_provider)
    assert registry.get(other) == (other, made)
    assert registry.get(telemetry.meter_provider) == (telemetry.meter_provider, made)
    assert telemetry.total("websocket.server.closes") == 1


def test_a_provider_that_is_given_the_id_of_one_that_is_gone_has_its_own() -> None:
    registry, gone, provider = _Registry(), NoOpMeterProvider(), NoOpMeterProvider()
    _, made = registry.get(gone)
    # As if the reference had not noticed its end yet.
    registry._by_provider[id(provider)] = (lambda: None, made._instruments)
    [whose, own] = registry.get(provider)
    assert whose is provider
    assert own is not made
    assert registry.get(provider) == (provider, own)


def held_by_another_thread(registry: _Registry, totals: Totals) -> None:
    """Let a thread end while it holds every lock, as one does that a fork leaves behind."""

    def play_and_assert() -> None:
        assert registry._lock.acquire(blocking=False)
        assert totals._lock.acquire(blocking=False)

    thread = threading.Thread(target=play_and_assert)
    thread.start()
    thread.join()


@pytest.mark.parametrize("of_global", [False, True])
def test_the_child_of_a_fork_waits_for_no_thread_of_its_parent(
    *, of_global: bool, telemetry: Telemetry
) -> None:
    registry, provider = _Registry(), None if of_global else telemetry.meter_provider
    totals = registry.get(provider)[1].totals
    held_by_another_thread(registry, totals)
    registry.forked()
    held_by_another_thread(registry, totals)
    registry.forked()
    assert registry.get(provider)[1].totals is totals
    assert set(totals.closes().values()) == {0}


def test_a_provider_is_not_kept_alive() -> None:
    registry, provider = _Registry(), MeterProvider([InMemoryMetricReader()])
    made = registry.get(provider)[1]
    live(made)
    provider.shutdown()
    gone, instruments_gone = weakref.ref(provider), weakref.ref(made)
    del provider, made
    gc.collect()
    assert gone() is None
    assert instruments_gone() is None


PROGRAM = """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from strawberry_ws_otel._metrics import metrics_of
from strawberry_ws_otel._counts import Traffic

def provider():
    reader = InMemoryMetricReader()
    return MeterProvider([reader], shutdown_on_exit=False), reader

def active(reader):
    for scope in reader.get_metrics_data().resource_metrics[0].scope_metrics:
        for metric in scope.metrics:
            if metric.name == "websocket.server.active_connections":
                print(sum(point.value for point in metric.data.data_points))

def connected(made):
    made.totals.opened(Traffic("graphql-ws"))

"""

SET_LATER = """
_, before = metrics_of(None)
assert before.source == "the metrics of opentelemetry.metrics._internal._ProxyMeterProvider"
connected(before)
one, reader = provider()
metrics.set_meter_provider(one)
assert metrics_of(None) == metrics_of(one) == (one, before)
assert before.source == "the metrics of opentelemetry.sdk.metrics._internal.MeterProvider"
connected(before)
active(reader)
"""

NAMED_BESIDE = """
_, before = metrics_of(None)
connected(before)
one, reader = provider()
beside, beside_reader = provider()
_, made = metrics_of(beside)
assert made is not before
connected(made)
connected(made)
metrics.set_meter_provider(one)
assert metrics_of(None)[1] is before
active(reader)
active(beside_reader)
"""

SET_FIRST = """
one, reader = provider()
metrics.set_meter_provider(one)
_, made = metrics_of(None)
connected(made)
beside, _ = provider()
assert metrics_of(beside)[1] is not made
assert metrics_of(None) == (one, made)
active(reader)
"""

GLOBAL_ONES = {
    # a program, and how many connections each provider in it counts
    "set later": (SET_LATER, "2\n"),
    "set later, after another one was named": (NAMED_BESIDE, "1\n2\n"),
    "set first": (SET_FIRST, "1\n"),
}


@pytest.mark.parametrize("how", GLOBAL_ONES)
def test_a_global_provider_sees_what_was_counted_before_it_was_set(how: str) -> None:
    program, printed = GLOBAL_ONES[how]
    ran = subprocess.run(  # noqa: S603  # the program stands above
        [sys.executable, "-W", "error", "-c", PROGRAM + program],
        capture_output=True,
        check=False,
        cwd=ROOT,
        text=True,
    )
    assert (ran.stdout, ran.stderr) == (printed, "")


def test_what_was_made_before_there_was_a_global_provider_becomes_its(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = _Registry()
    made = registry.get(None)[1]
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: telemetry.meter_provider)
    assert registry.get(None) == (telemetry.meter_provider, made)
    assert made.source == "the metrics of opentelemetry.sdk.metrics._internal.MeterProvider"
    # One that is set after it, as only a test can, has its own.
    other = NoOpMeterProvider()
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: other)
    assert registry.get(None)[1] is not made


class Slotted:
    """A provider that nothing can refer to weakly."""

    __slots__ = ()

    def get_meter(self, *_arguments: Any, **_keywords: Any) -> metrics.Meter:
        return NoOpMeter("slotted")


def test_a_provider_without_weak_references_is_kept() -> None:
    registry, provider = _Registry(), Slotted()
    given: Any = provider
    [whose, made] = registry.get(given)
    assert whose is provider
    assert registry.get(given) == (provider, made)


# --- Sets of attributes ----------------------------------------------------------------------


def counted(telemetry: Telemetry) -> list[tuple[dict[str, Any], float]]:
    """The attributes and the counts of normal closes."""
    return [
        (
            {key: value for key, value in point.attributes.items() if not key.startswith("web")},
            point.value,
        )
        for point in telemetry.points("websocket.server.closes")
        if point.attributes["websocket.close.outcome"] == "normal"
    ]


def test_each_set_of_attributes_has_counts_of_its_own(telemetry: Telemetry) -> None:
    registry, provider = _Registry(), telemetry.meter_provider
    sets: list[dict[str, Any]] = [{}, {"tier": "a"}, {"tier": "b"}, {"tier": "a", "beta": True}]
    made = [registry.get(provider, attributes=each)[1] for each in sets]
    assert len({id(each.totals) for each in made}) == len(sets)
    for number, each in enumerate(made):
        for _ in range(number):
            live(each)
    assert counted(telemetry) == [(each, number) for number, each in enumerate(sets)]
    for name, count in HISTOGRAMS_AND_GAUGE.items():
        assert telemetry.metrics()[name] == {
            labels({**each, **count}): number for number, each in enumerate(sets) if number
        }
    assert registry.get(provider, attributes={"tier": "b"}) == (provider, made[2])
    assert registry.get(provider) == (provider, made[0])
    # The instruments exist once, and the SDK warns of a second one of the same name.
    assert len({each._instruments for each in made}) == 1


HISTOGRAMS_AND_GAUGE: dict[str, dict[str, Any]] = {
    **{name: {"kept": "yes"} for name in HISTOGRAMS},
    "websocket.server.errors": {"error.type": "TimeoutError"},
}


def test_values_of_different_types_have_counts_of_their_own(telemetry: Telemetry) -> None:
    registry, provider = _Registry(), telemetry.meter_provider
    values: tuple[Any, ...] = (True, 1, 1.0, "1")
    made = [registry.get(provider, attributes={"n": value})[1] for value in values]
    assert len({id(each.totals) for each in made}) == 4
    again = [registry.get(provider, attributes={"n": value})[1] for value in values]
    assert again == made


def test_every_provider_has_counts_of_its_own_for_the_same_attributes(
    telemetry: Telemetry,
) -> None:
    registry = _Registry()
    other = NoOpMeterProvider()
    one = registry.get(telemetry.meter_provider, attributes={"tier": "a"})[1]
    assert registry.get(other, attributes={"tier": "a"})[1] is not one


@pytest.mark.parametrize("is_heard", [True, False])
def test_a_hundred_sets_have_counts_and_the_values_of_further_ones_are_other(
    telemetry: Telemetry, library_log: LogKeeper, *, is_heard: bool
) -> None:
    registry, provider, other = _Registry(), telemetry.meter_provider, NoOpMeterProvider()
    plain = registry.get(provider)[1]
    for number in range(100):
        registry.get((provider, other)[number % 2], attributes={"n": number})
    with handling(logging.NullHandler() if is_heard else RaisingHandler()):
        further = [registry.get(provider, attributes={"n": n})[1] for n in range(100, 105)]
    assert len({id(each) for each in further}) == 1
    assert further[0].attributes == {"n": "_OTHER"}
    assert registry.get(provider, attributes={"n": 98})[1].attributes == {"n": 98}
    assert registry.get(provider)[1] is plain
    named = registry.get(provider, attributes={"n": 1, "m": 2})[1]
    assert named.attributes == {"n": "_OTHER", "m": "_OTHER"}
    [record] = library_log.records
    assert record.getMessage() == (
        "OTelConfig.attributes: 100 sets have counts of their own in this process; on metrics the"
        " values of all further sets are _OTHER"
    )


def test_the_sets_of_a_provider_that_is_gone_make_room() -> None:
    registry = _Registry()
    provider, other = MeterProvider([InMemoryMetricReader()]), NoOpMeterProvider()
    for number in range(100):
        registry.get(provider, attributes={"n": number})
    provider.shutdown()
    del provider
    gc.collect()
    assert registry.get(other, attributes={"n": 100})[1].attributes == {"n": 100}


# --- What is not used yet --------------------------------------------------------------------


class User:
    def __init__(self, *, will_use: bool) -> None:
        self.will_use = will_use


def awaited(telemetry: Telemetry, *users: User) -> Metrics:
    made = _Registry().get(telemetry.meter_provider, is_used=False)[1]
    for user in users:
        made.await_use(user, lambda user: bool(user.will_use))
    return made


def test_what_is_not_used_has_no_series_until_it_is(telemetry: Telemetry) -> None:
    registry, provider = _Registry(), telemetry.meter_provider
    made = registry.get(provider, is_used=False)[1]
    assert telemetry.metrics() == {}
    assert registry.get(provider)[1] is made
    assert len(telemetry.metrics()["websocket.server.closes"]) == 18
    assert registry.get(provider, is_used=False)[1].is_used
    made.await_use(user := User(will_use=False), bool)
    assert made._awaited == {}, user


def test_it_is_used_if_one_of_those_that_are_awaited_uses_it(telemetry: Telemetry) -> None:
    users = [User(will_use=False), User(will_use=False)]
    made = awaited(telemetry, *users)
    assert telemetry.metrics() == {}
    users[1].will_use = True
    assert len(telemetry.metrics()["websocket.server.closes"]) == 18
    users[1].will_use = False
    assert made.is_observed()
    assert made._awaited == {}


@pytest.mark.parametrize("is_forgotten", [True, False])
def test_one_that_is_gone_has_used_it_unless_it_was_forgotten(
    telemetry: Telemetry, *, is_forgotten: bool
) -> None:
    users = [User(will_use=False)]
    made = awaited(telemetry, *users)
    if is_forgotten:
        made.forget(users[0])
    users.clear()
    gc.collect()
    assert bool(telemetry.metrics()) is not is_forgotten
    assert made._awaited == {}


# --- Broken pieces ---------------------------------------------------------------------------


@pytest.mark.internal_error
def test_a_global_provider_that_cannot_be_loaded_counts_for_nobody(
    library_log: LogKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> NoReturn:
        raise PipeError

    registry = _Registry()
    monkeypatch.setattr(metrics, "get_meter_provider", fail)
    monkeypatch.setattr(metrics, "get_meter", lambda *_: fail())
    [whose, made] = registry.get(None)
    live(made)
    assert whose is None
    assert made.totals.connections() == {GRAPHQL_TRANSPORT_WS: 1, None: 1}
    said = [record.getMessage().partition(":")[0] for record in library_log.records]
    assert said == [
        "Telemetry failed in the global meter provider",
        "Telemetry failed in the metrics of NoneType",
    ]


@pytest.mark.internal_error
@pytest.mark.parametrize("name", PIPES)
def test_a_broken_pipe_never_raises_and_counts_are_kept(name: str) -> None:
    made = made_for(PIPES[name]().meter_provider)
    live(made)
    assert made.totals.connections() == {GRAPHQL_TRANSPORT_WS: 1, None: 1}


@pytest.mark.internal_error
@pytest.mark.parametrize("name", ["no meter", "no instruments"])
def test_a_meter_that_raises_is_logged_once(name: str, library_log: LogKeeper) -> None:
    live(made_for(PIPES[name]().meter_provider))
    assert len(library_log.records) == 1


@pytest.mark.internal_error
def test_a_histogram_that_raises_blows_the_fuse_of_whoever_records(
    library_log: LogKeeper,
) -> None:
    made, fuse = made_for(PIPES["instruments that take nothing"]().meter_provider), Fuse()
    for _ in range(2):
        made.record("graphql.ws.operation.duration", 1, {}, fuse, Context())
    assert fuse.blown
    assert len(library_log.records) == 1


class HalfMeter(NoOpMeter):
    """A meter of the SDK's that has no histograms."""

    def __init__(self, meter: metrics.Meter) -> None:
        super().__init__("half")
        self._meter = meter

    def create_observable_counter(self, *arguments: Any, **keywords: Any) -> Any:
        return self._meter.create_observable_counter(*arguments, **keywords)

    def create_observable_up_down_counter(self, *arguments: Any, **keywords: Any) -> Any:
        return self._meter.create_observable_up_down_counter(*arguments, **keywords)

    def create_histogram(self, *arguments: Any, **keywords: Any) -> Any:
        raise PipeError


class HalfProvider(NoOpMeterProvider):
    def __init__(self, provider: MeterProvider) -> None:
        self._provider = provider

    def get_meter(self, *arguments: Any, **keywords: Any) -> metrics.Meter:
        return HalfMeter(self._provider.get_meter(*arguments, **keywords))


@pytest.mark.internal_error
def test_without_histograms_gauges_and_closes_count_all_the_same(telemetry: Telemetry) -> None:
    live(made_for(HalfProvider(telemetry.meter_provider)))
    assert telemetry.total("websocket.server.closes") == 1
    assert telemetry.total("websocket.server.active_connections") == 2
