"""A Collector that samples by the tail keeps every abnormal close, however long it took to come."""

import asyncio
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from examples.demo import clients, trouble
from examples.demo.server import MAX_MESSAGE_SIZE
from examples.demo.visitor import Visitor, init, subscribe, until_closed
from examples.operations import searches, servers
from examples.operations.binaries import HERE
from examples.operations.closes import Visit, leaves
from examples.operations.jaeger import Jaeger
from examples.operations.ports import Ports, url
from examples.operations.traffic import QUIET_PRICES
from strawberry_ws_otel import _semconv
from tests.support.kit.exporting import Ticker, ticking, until
from tests.support.kit.servers import Start

pytestmark = pytest.mark.operations

DECISION_WAIT = 1.0
LONG = 2 * DECISION_WAIT
EVERYTHING = "/search?service=price-ticker&limit=10000"
WHOLE = "01"
"""What the ids of those conversations begin with that the Collector keeps as a whole."""


async def lost_late(visitor: Visitor) -> None:
    """Follow a price for longer than the Collector waits, then be gone without a word."""
    client = await visitor.raw()
    try:
        client.send(init())
        await client.receive("connection_ack")
        client.send(subscribe("1", QUIET_PRICES))
        await asyncio.sleep(LONG)
    finally:
        client.vanish()


async def gone_late(visitor: Visitor) -> None:
    """Follow a price as long, then close as one should."""
    async with visitor.logged_in() as socket:
        await socket.send_json(subscribe("1", QUIET_PRICES))
        with suppress(TimeoutError):
            async with asyncio.timeout(LONG):
                await until_closed(socket)


def interrupted_after(seconds: float) -> Visit:
    """Follow a price, then send what the server refuses."""

    async def interrupted(visitor: Visitor) -> None:
        async with visitor.logged_in() as socket:
            await socket.send_json(subscribe("1", QUIET_PRICES))
            reading = asyncio.ensure_future(until_closed(socket))
            await asyncio.wait((reading,), timeout=seconds)
            await socket.send_str("#" * (MAX_MESSAGE_SIZE + 1))
            await reading

    return interrupted


INTERRUPTED = 300
"""Subscriptions that an abnormal close interrupts after eight seconds."""

SEGMENT = 0.5
"""Seconds of a first segment, of which `gone_late` has more than one."""

DELAY_OF_THE_SDK = 5000
"""Milliseconds that a span waits for its export, by default."""

ROUNDS = 4
VISITS = {lost_late: 25, leaves(4499): 15, gone_late: 15, clients.query_and_mutation: 50}


@dataclass(frozen=True)
class Topology:
    """Where the application sends its spans, and where they arrive."""

    endpoint: str
    jaegers: tuple[Jaeger, ...]
    digits: tuple[str, ...] = ("0123456789abcdef",)
    """What the trace ids in each Jaeger may end with."""

    async def trace_ids(self) -> list[set[str]]:
        """What has arrived, for each Jaeger."""
        return [set(await jaeger.search(EVERYTHING)) for jaeger in self.jaegers]


@pytest.fixture(params=["one tier", "two tiers"])
def topology(request: pytest.FixtureRequest, start: Start) -> Topology:
    environment = {"DECISION_WAIT": f"{DECISION_WAIT}s"}
    if request.param == "one tier":
        ports = Ports.free()
        start(servers.jaeger(ports))
        start(servers.collector(ports, environment=environment))
        return Topology(url(ports.collector_otlp), (Jaeger(url(ports.jaeger_query)),))
    first, *second = Ports.free(), Ports.free(), Ports.free()
    for letter, ports in zip("AB", second, strict=True):
        start(servers.jaeger(ports, name=f"Jaeger {letter}"))
        start(servers.collector(ports, name=f"Collector {letter}", environment=environment))
    a, b = (url(ports.collector_otlp) for ports in second)
    start(
        servers.collector(
            first,
            HERE / "collector-first-tier.yaml",
            name="First tier",
            environment={"SECOND_TIER_A": a, "SECOND_TIER_B": b},
        )
    )
    return Topology(
        endpoint=url(first.collector_otlp),
        jaegers=tuple(Jaeger(url(ports.jaeger_query)) for ports in second),
        digits=("01234567", "89abcdef"),
    )


def by_trace(spans: tuple[ReadableSpan, ...]) -> dict[str, list[ReadableSpan]]:
    traces = defaultdict(list)
    for span in spans:
        assert span.context
        traces[format(span.context.trace_id, "032x")].append(span)
    return traces


def connection_ids(spans: list[ReadableSpan]) -> set[str]:
    return {
        str(span.attributes[_semconv.CONNECTION_ID])
        for span in spans
        if span.attributes and _semconv.CONNECTION_ID in span.attributes
    }


async def conversations(endpoint: str) -> Ticker:
    """Have all of them, and every span sent."""
    async with ticking(endpoint) as ticker:
        for _ in range(ROUNDS):
            await ticker.traffic.send(VISITS)
    return ticker


async def test_what_went_wrong_is_kept_and_a_share_of_the_rest(topology: Topology) -> None:
    ticker = await conversations(topology.endpoint)
    traces = by_trace(ticker.spans)
    wrong = {
        id_
        for id_, spans in traces.items()
        if any(span.status.status_code is StatusCode.ERROR for span in spans)
    }
    whole = {
        id_
        for id_, spans in traces.items()
        if any(one[0] in WHOLE for one in connection_ids(spans))
    }
    # Each that was lost, with the subscription that it interrupted, and each that gave up.
    assert len(wrong) >= ROUNDS * (25 + 25 + 15)

    arrived = await until(
        topology.trace_ids, lambda arrived: wrong | whole <= set().union(*arrived)
    )

    kept = set().union(*arrived)
    assert wrong <= kept
    assert whole <= kept
    rest = traces.keys() - wrong - whole
    # One in twenty; with a thousand of them neither bound is ever reached by chance.
    assert 0 < len(rest & kept) < len(rest) / 5
    assert kept <= traces.keys()
    # All spans of a trace were judged in one place.
    for ids, digits in zip(arrived, topology.digits, strict=True):
        assert {id_[-1] for id_ in ids} == set(digits)


@pytest.fixture
def by_default(start: Start) -> Topology:
    """A Collector with its default settings."""
    ports = Ports.free()
    start(servers.jaeger(ports, name="Jaeger behind the defaults"))
    start(servers.collector(ports, name="Collector by default"))
    return Topology(url(ports.collector_otlp), (Jaeger(url(ports.jaeger_query)),))


async def test_with_the_default_settings_every_interrupted_subscription_is_kept(
    by_default: Topology,
) -> None:
    endpoint = by_default.endpoint
    async with ticking(endpoint, schedule_delay_millis=DELAY_OF_THE_SDK) as ticker:
        await ticker.traffic.send({interrupted_after(8): INTERRUPTED})
    assert ticker.troubles == []
    interrupted = {
        id_
        for id_, spans in by_trace(ticker.spans).items()
        if any(span.name == "subscription" and not span.status.is_ok for span in spans)
    }
    assert len(interrupted) == INTERRUPTED
    [kept] = await until(by_default.trace_ids, lambda arrived: interrupted <= arrived[0])
    assert interrupted <= kept


async def test_of_what_lives_long_every_segment_is_kept(start: Start) -> None:
    ports = Ports.free()
    start(servers.jaeger(ports, name="Jaeger of segments"))
    environment = {"DECISION_WAIT": f"{DECISION_WAIT}s"}
    start(servers.collector(ports, name="Collector of segments", environment=environment))
    one = Topology(url(ports.collector_otlp), (Jaeger(url(ports.jaeger_query)),))
    async with ticking(one.endpoint, SEGMENT) as ticker:
        await ticker.traffic.send({gone_late: 40, clients.query_and_mutation: 40})
    segments = defaultdict(list)
    for id_, spans in by_trace(ticker.spans).items():
        for span in spans:
            number = (span.attributes or {}).get(_semconv.SEGMENT_NUMBER)
            is_continued = _semconv.SEGMENT_CONTINUED in (span.attributes or {})
            if number or is_continued:
                segments[is_continued].append(id_)
    # The connection and the subscription of each, and the last segment of both. On a busy machine,
    # others live long, too.
    assert len(segments[True]) >= len(segments[False]) >= 2 * 40
    expected = {id_ for ids in segments.values() for id_ in ids}
    [kept] = await until(one.trace_ids, lambda arrived: expected <= arrived[0])
    assert expected <= kept


async def test_what_waited_for_a_slow_client_is_kept_and_found_by_a_search(start: Start) -> None:
    ports = Ports.free()
    start(servers.jaeger(ports, name="Jaeger of slow clients"))
    environment = {
        "DECISION_WAIT": f"{DECISION_WAIT}s",
        "KEPT_CONVERSATIONS": "^none",
        "KEPT_PERCENTAGE": "0",
    }
    start(servers.collector(ports, name="Collector of slow clients", environment=environment))
    jaeger = Jaeger(url(ports.jaeger_query))
    async with ticking(url(ports.collector_otlp)) as ticker:
        await ticker.traffic.send({clients.query_and_mutation: 5})
        await ticker.traffic.send({trouble.slow_reader: 2})
    waited = {
        id_: spans[0].name
        for id_, spans in by_trace(ticker.spans).items()
        if any(_semconv.SEND_BLOCKED_TIME in (span.attributes or {}) for span in spans)
    }
    assert sorted(waited.values()) == 2 * [_semconv.SPAN_CONNECTION] + 2 * ["subscription"]

    kept = await until(lambda: jaeger.search(EVERYTHING), lambda found: waited.keys() <= {*found})

    assert kept.keys() == waited.keys()
    found = await jaeger.search(searches.saved()["Slow consumers"])
    assert found.keys() == {id_ for id_, name in waited.items() if name != "subscription"}
