"""What is open now, in Jaeger: found while it is open, and not after it has closed."""

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind

from examples.demo.telemetry import SERVICE
from examples.demo.visitor import Visitor, subscribe, until_closed
from examples.operations import searches, servers
from examples.operations.binaries import HERE
from examples.operations.jaeger import Jaeger, Span
from examples.operations.ports import Ports, url
from examples.operations.rules import SHORTER
from examples.operations.traffic import QUIET_PRICES
from strawberry_ws_otel import _semconv
from tests.support.kit.exporting import Ticker, ticking, until
from tests.support.kit.searches import OF_WHAT_IS_OPEN
from tests.support.kit.servers import Start

pytestmark = pytest.mark.operations

SHORT = 0.3
"""The seconds of a first segment."""

SECOND = 1_000_000_000
HOUR = 3600 / SHORTER["rules/alerts-slow.yml"]
"""The seconds of an hour in the time of the kit."""

NOTHING = "Nothing that this search finds is open."


@dataclass(frozen=True)
class Menu:
    """The searches for what is open, as a browser asks for them."""

    jaeger: Jaeger
    ports: Ports

    async def answer(self, label: str) -> tuple[int, str]:
        """Return the status, and where it leads or what it says."""
        address = self.ports.applied_to(searches.saved()[label])
        async with (
            ClientSession() as session,
            session.get(address, allow_redirects=False) as response,
        ):
            return response.status, response.headers.get("Location", await response.text())

    async def open(self, label: str) -> tuple[Span, ...]:
        """Return the spans of the traces that it leads to."""
        status, target = await self.answer(label)
        if status == 200:
            assert target.startswith(NOTHING)
            return ()
        assert status == 302, target
        assert target.startswith(f"{self.jaeger.url}/search?")
        found = await self.jaeger.search(f"/search?{urlsplit(target).query}")
        return tuple(span for spans in found.values() for span in spans)


@pytest.fixture(scope="module")
def menu(start: Start, ports: Ports) -> Menu:
    start(servers.jaeger(ports))
    start(servers.live(ports))
    return Menu(Jaeger(url(ports.jaeger_query)), ports)


@pytest.fixture
async def ticker(menu: Menu) -> AsyncIterator[Ticker]:
    async with ticking(url(menu.ports.jaeger_otlp), SHORT) as ticker:
        yield ticker


@asynccontextmanager
async def following(ticker: Ticker) -> AsyncIterator[None]:
    """A client that follows a price while the block runs, and answers PINGs."""
    server, session = ticker.traffic.server, ticker.traffic.session
    visitor = Visitor("follower", server.port, server.url, session, server.stop)
    async with visitor.logged_in() as socket:
        await socket.send_json(subscribe("1", QUIET_PRICES))
        reading = asyncio.ensure_future(until_closed(socket))
        try:
            yield
        finally:
            reading.cancel()
            await asyncio.wait((reading,))


def segments(ticker: Ticker, key: str) -> dict[str, list[bool]]:
    """Whether each segment that has ended is continued, for each value of an attribute."""
    names = {_semconv.CONNECTION_ID: _semconv.SPAN_CONNECTION}
    found = defaultdict(list)
    for span in ticker.spans:
        attributes = span.attributes or {}
        if span.name == names.get(key, "subscription") and key in attributes:
            is_continued = attributes.get(_semconv.SEGMENT_CONTINUED) is True
            found[str(attributes[key])].append(is_continued)
    return found


@pytest.mark.parametrize(("label", "key"), OF_WHAT_IS_OPEN.items())
async def test_what_is_open_is_found_and_not_what_has_closed_since(
    menu: Menu, ticker: Ticker, label: str, key: str
) -> None:
    async def both() -> dict[str, list[bool]]:
        return segments(ticker, key)

    async def found() -> set[str]:
        return {str(span.attributes[key]) for span in await menu.open(label)}

    async with following(ticker):
        async with following(ticker):
            ids = (await until(both, lambda ids: len(ids) == 2)).keys()
            assert ids <= await until(found, lambda found: ids <= found)
        # The other one stays.
        segments_of = await until(both, lambda ids: any(not all(each) for each in ids.values()))
        [closed] = (id_ for id_, each in segments_of.items() if not all(each))
        assert ids & await until(found, lambda found: closed not in found) == ids - {closed}
    assert not ids & await until(found, lambda found: not ids & found)


async def test_one_search_finds_a_connection_across_all_its_segments(
    menu: Menu, ticker: Ticker
) -> None:
    async def ended() -> dict[str, list[bool]]:
        return segments(ticker, _semconv.CONNECTION_ID)

    async with following(ticker):
        await until(ended, lambda ids: any(len(each) > 1 for each in ids.values()))
    [(id_, segments_of)] = (
        await until(ended, lambda ids: any(not each[-1] for each in ids.values()))
    ).items()

    async def found() -> list[Span]:
        search = searches.linked(_semconv.CONNECTION_ID, id_)
        spans = [span for trace in (await menu.jaeger.search(search)).values() for span in trace]
        of_connection = [span for span in spans if span.name == _semconv.SPAN_CONNECTION]
        return sorted(of_connection, key=lambda span: span.start)

    spans = await until(found, lambda spans: len(spans) == len(segments_of))
    numbers = [span.attributes[_semconv.SEGMENT_NUMBER] for span in spans]
    continued = [_semconv.SEGMENT_CONTINUED in span.attributes for span in spans]
    assert numbers == list(range(len(spans)))
    assert continued == segments_of == [*[True] * (len(spans) - 1), False]
    # Each links to the one before, beside what the client asked for.
    assert all(each.trace_id in later.links for each, later in pairwise(spans))


def search_of_what_only_grows(gauge: str) -> str:
    """The search of the alert on a gauge that only grows, sent now and in the time of the kit."""
    alerts = (HERE / "rules/alerts-slow.yml").read_text(encoding="utf-8")
    search = str(re.findall(r"jaeger: '.+?(/search\?.+)'", alerts)[0])
    now, of_gauge = time.time_ns() // 1000, r"\1" if gauge == "subscriptions" else r"\2"
    for template, text in {
        r"\{\{ reReplaceAll .+? \}\}": SERVICE,
        r"\{\{ if .+? \}\}(.+?)\{\{ else \}\}(.+?)\{\{ end \}\}": of_gauge,
        r"start=\{\{.+?\}\}": f"start={now - 172_800_000_000}",
        r"end=\{\{.+?\}\}": f"end={now}",
        "minDuration=1h": f"minDuration={HOUR * 1000:.0f}ms",
    }.items():
        search, times = re.subn(template, text, search)
        assert times == 1, template
    return search


@pytest.mark.parametrize(
    ("gauge", "key"),
    [("connections", _semconv.CONNECTION_ID), ("subscriptions", _semconv.SUBSCRIPTION_ID)],
)
async def test_the_search_of_a_gauge_that_only_grows_finds_what_lives_for_long(
    menu: Menu, ticker: Ticker, gauge: str, key: str
) -> None:
    async def that_live_long() -> set[str]:
        name = _semconv.SPAN_CONNECTION if gauge == "connections" else "subscription"
        return {
            str((span.attributes or {})[key])
            for span in ticker.spans
            if span.name == name and (span.end_time or 0) - (span.start_time or 0) >= HOUR * SECOND
        }

    async def both() -> dict[str, list[bool]]:
        return segments(ticker, key)

    async def found() -> set[str]:
        traces = await menu.jaeger.search(search_of_what_only_grows(gauge))
        return {str(span.attributes.get(key)) for spans in traces.values() for span in spans}

    async with following(ticker):
        async with following(ticker):
            ours = await until(both, lambda ids: len(ids) == 2)
        ids = await until(that_live_long, bool)
        assert ids
        assert ids <= await until(found, lambda found: ids <= found)
        assert await found() & ours.keys() == ids


async def test_with_spans_named_after_operations_the_tag_of_their_type_finds_them(
    menu: Menu,
) -> None:
    def search(what: str) -> str:
        return f"/search?service={SERVICE}&{what}&lookback=1h&limit=1000"

    async def found(what: str) -> set[str]:
        traces = await menu.jaeger.search(search(what))
        return {
            str(span.attributes.get(_semconv.SUBSCRIPTION_ID))
            for spans in traces.values()
            for span in spans
        }

    tag = "tags=%7B%22graphql.operation.type%22%3A%22subscription%22%7D"
    endpoint = url(menu.ports.jaeger_otlp)
    async with (
        ticking(endpoint, SHORT, name_spans_after_operation=True) as ticker,
        following(ticker),
    ):

        async def named() -> set[str]:
            return {
                str((span.attributes or {})[_semconv.SUBSCRIPTION_ID])
                for span in ticker.spans
                if span.name == "subscription Prices"
            }

        ids = await until(named, bool)
    assert ids
    assert ids <= await until(lambda: found(tag), lambda found: ids <= found)
    assert not ids & await found("operation=subscription")


async def test_what_a_dead_process_left_open_is_not_found(menu: Menu) -> None:
    """Its next segment would be there: it is at most twice as long as the one before."""
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: SERVICE}))
    provider.add_span_processor(
        SimpleSpanProcessor(OTLPSpanExporter(f"{url(menu.ports.jaeger_otlp)}/v1/traces"))
    )
    now = time.time_ns()
    for id_, ago in {"alive": 700, "dead": 1500}.items():
        span = provider.get_tracer(_semconv.SCOPE).start_span(
            _semconv.SPAN_CONNECTION,
            kind=SpanKind.SERVER,
            attributes={_semconv.CONNECTION_ID: id_, _semconv.SEGMENT_CONTINUED: True},
            start_time=now - ago * SECOND,
        )
        span.end(now - (ago - 300) * SECOND)
    await asyncio.to_thread(provider.shutdown)

    async def stored() -> set[str]:
        search = searches.saved()["All connections"]
        traces = await menu.jaeger.search(search)
        return {
            str(span.attributes[_semconv.CONNECTION_ID])
            for spans in traces.values()
            for span in spans
            if _semconv.CONNECTION_ID in span.attributes
        }

    assert {"alive", "dead"} <= await until(stored, lambda ids: {"alive", "dead"} <= ids)
    found = {
        str(span.attributes[_semconv.CONNECTION_ID]) for span in await menu.open("Open connections")
    }
    assert found == {"alive"}


async def test_without_jaeger_it_says_so(menu: Menu, start: Start) -> None:
    ports = Ports.free()
    start(replace(servers.live(ports), name="The search without Jaeger"))
    status, text = await Menu(Jaeger(url(ports.jaeger_query)), ports).answer("Open connections")
    assert status == 502
    assert text.startswith(f"Jaeger at {url(ports.jaeger_query)}: ")
