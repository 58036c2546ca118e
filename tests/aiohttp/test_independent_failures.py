"""Spans, metrics and the log fail apart, and of a span only its start is vital.

What one of them refuses is lost to it alone. The conversation is that of the bare host, and the log
says once what was refused, by whom and why.
"""

import logging
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from opentelemetry import metrics, trace
from opentelemetry.context import attach
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan

from strawberry_ws_otel import OTelConfig, OTelExtension
from tests.support.applications.conversations import ACTIVE, EVENTS, one_subscription, play
from tests.support.applications.failing_providers import (
    BridgeTracerProvider,
    BrokenMeterProvider,
    BrokenTracerProvider,
    RaisingHandler,
    logging_to,
)
from tests.support.applications.provider_conversations import (
    CODE,
    bare,
    recording,
    talk,
    usual,
    view_of,
)
from tests.support.broken_api import PipeError
from tests.support.clock import stop_clock
from tests.support.expected import CONNECTION, INIT, SpanDict, recorded
from tests.support.hosting import hosting
from tests.support.log import LogKeeper
from tests.support.schema import HELLO, make_schema
from tests.support.telemetry import Telemetry
from tests.support.views import View, extension, instrumented

pytestmark = pytest.mark.internal_error


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


def closes(log: LogKeeper) -> list[logging.LogRecord]:
    """The records of abnormal closes."""
    return [record for record in log.records if "websocket.close.outcome" in vars(record)]


def failures(log: LogKeeper) -> list[logging.LogRecord]:
    """All others."""
    return [record for record in log.records if "websocket.close.outcome" not in vars(record)]


def headline(record: logging.LogRecord) -> str:
    return record.getMessage().splitlines()[0]


def assert_closes_are_logged(log: LogKeeper) -> None:
    """One record for each connection of the conversation, with its verdict."""
    assert [(record.levelname, vars(record)["websocket.close.code"]) for record in closes(log)] == [
        ("WARNING", CODE)
    ] * 2


# --- Calls that a span refuses ---------------------------------------------------------------


def but_links(span: SpanDict) -> SpanDict:
    """What there is without the links that are added later."""
    return {**span, "links": None if span["name"] == CONNECTION else span["links"]}


def but_events(span: SpanDict) -> SpanDict:
    return {**span, "events": None}


def but_status(span: SpanDict) -> SpanDict:
    return {**span, "status": None, "description": None}


def but_names(span: SpanDict) -> SpanDict:
    return {**span, "name": None, "parent": span["parent"] is None, "links": len(span["links"])}


REFUSED: dict[str, Callable[[SpanDict], SpanDict]] = {
    "add_link": but_links,
    "add_event": but_events,
    "set_status": but_status,
    "update_name": but_names,
}


def bridge(telemetry: Telemetry, *refused: str) -> BridgeTracerProvider:
    return BridgeTracerProvider(telemetry.tracer_provider, refuses=set(refused))


@pytest.mark.parametrize("call", REFUSED)
async def test_a_call_that_a_span_refuses_is_lost_and_no_other(
    call: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    view = view_of(bridge(telemetry, call), telemetry.meter_provider)
    assert await talk(view) == await talk(bare())
    assert_closes_are_logged(library_log)

    spans, counts = await usual()
    without = REFUSED[call]
    assert list(map(without, recorded(telemetry))) == list(map(without, spans))
    assert telemetry.metrics() == counts


@pytest.mark.parametrize("call", REFUSED)
async def test_what_is_refused_leaves_nothing_of_it_on_the_span(
    call: str, telemetry: Telemetry
) -> None:
    await talk(view_of(bridge(telemetry, call), telemetry.meter_provider))
    spans = recorded(telemetry)
    found = {
        "add_link": [each["links"] for each in spans if each["name"] == CONNECTION],
        "add_event": [each["events"] for each in spans],
        "set_status": [each["status"] for each in spans],
        "update_name": [
            each["name"] for each in spans if each["name"] in {"query", "subscription"}
        ],
    }[call]
    assert [each for each in found if each not in ([], "UNSET")] == []
    failed = [each["attributes"].get("error.type") for each in recorded(telemetry, CONNECTION)]
    assert failed == ["application_code"] * 2


@pytest.mark.parametrize("calls", [["set_attribute"], ["set_attributes"]], ids=str)
async def test_attributes_that_are_refused_take_nothing_else_with_them(
    calls: list[str], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    def without(span: SpanDict) -> SpanDict:
        return {**span, "attributes": span["attributes"].get("websocket.connection.id")}

    view = view_of(bridge(telemetry, *calls), telemetry.meter_provider)
    assert await talk(view) == await talk(bare())
    assert_closes_are_logged(library_log)
    spans, counts = await usual()
    assert list(map(without, recorded(telemetry))) == list(map(without, spans))
    assert telemetry.metrics() == counts


@pytest.mark.parametrize("call", [*REFUSED, "end"])
async def test_a_call_that_is_refused_is_one_warning_for_a_view_class(
    call: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    for _ in range(2):
        view = view_of(bridge(telemetry, call), telemetry.meter_provider)
        await talk(view)
        await talk(view)

    records = failures(library_log)
    assert [record.levelname for record in records] == ["WARNING"] * 2
    for record in records:
        assert call in headline(record)
        assert "RefusalError" in headline(record)
        assert "BridgeTracerProvider" in headline(record)
    assert len(closes(library_log)) == 8


async def test_each_call_that_is_refused_is_a_warning_of_its_own(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    view = view_of(bridge(telemetry, *REFUSED), telemetry.meter_provider)
    await talk(view)
    lines = [headline(record) for record in failures(library_log)]
    assert [record.levelname for record in failures(library_log)] == ["WARNING"] * len(REFUSED)
    assert {call for call in REFUSED if any(call in line for line in lines)} == set(REFUSED)


async def test_an_extension_without_a_view_warns_of_a_call_once(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    class Extension(OTelExtension):
        otel_config = OTelConfig(
            tracer_provider=bridge(telemetry, "update_name"),
            meter_provider=telemetry.meter_provider,
        )

    async with hosting(View(schema=make_schema(Extension))) as host:
        for _ in range(3):
            assert await host.post({"query": HELLO}) == (200, {"data": {"hello": "world"}})

    [record] = library_log.records
    assert record.levelname == "WARNING"
    assert "update_name" in headline(record)
    assert len(telemetry.spans("GraphQL Operation")) == 3
    assert telemetry.total("graphql.server.request.duration") == 3


async def test_a_span_that_cannot_be_ended_is_lost_and_counted(telemetry: Telemetry) -> None:
    view = view_of(bridge(telemetry, "end"), telemetry.meter_provider)
    assert await talk(view) == await talk(bare())
    assert recorded(telemetry) == []
    assert telemetry.metrics() == (await usual())[1]


# --- Spans that do not start -----------------------------------------------------------------


def no_span(telemetry: Telemetry) -> trace.TracerProvider:
    return BridgeTracerProvider(telemetry.tracer_provider, starts=lambda _: False)


def no_tracer(_telemetry: Telemetry) -> trace.TracerProvider:
    return BrokenTracerProvider()


NO_SPANS = {"no span": no_span, "no tracer": no_tracer}


@pytest.mark.parametrize("broken", NO_SPANS)
async def test_without_spans_the_metrics_and_the_log_go_on(
    broken: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    provider = NO_SPANS[broken](telemetry)
    assert await talk(view_of(provider, telemetry.meter_provider)) == await talk(bare())

    assert recorded(telemetry) == []
    assert_closes_are_logged(library_log)
    assert telemetry.metrics() == (await usual())[1]
    lines = [headline(record) for record in failures(library_log)]
    assert lines
    assert {record.levelname for record in failures(library_log)} == {"ERROR"}
    for line in lines:
        assert "RefusalError" in line
        assert type(provider).__name__ in line


@pytest.mark.parametrize("name", [INIT, "GraphQL Operation", "GraphQL Document Parsing"])
async def test_a_span_that_does_not_start_leaves_no_other_open(
    name: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    provider = BridgeTracerProvider(telemetry.tracer_provider, starts=lambda asked: asked != name)
    assert await talk(view_of(provider, telemetry.meter_provider)) == await talk(bare())

    assert telemetry.span_counter.started == telemetry.span_counter.ended
    assert len(recorded(telemetry, CONNECTION)) == 2
    assert_closes_are_logged(library_log)
    assert telemetry.metrics() == (await usual())[1]


# --- Metrics that do not take anything -------------------------------------------------------


@pytest.mark.parametrize("broken", ["record", "create", "meter"])
async def test_without_metrics_the_spans_and_the_log_go_on(
    broken: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    view = view_of(telemetry.tracer_provider, BrokenMeterProvider(broken))
    assert await talk(view) == await talk(bare())

    assert_closes_are_logged(library_log)
    assert recorded(telemetry) == (await usual())[0]
    lines = [headline(record) for record in failures(library_log)]
    assert lines
    for line in lines:
        assert "RefusalError" in line
        assert "BrokenMeterProvider" in line


# --- A log that raises -----------------------------------------------------------------------


@pytest.mark.parametrize("levels", [[logging.WARNING], [logging.WARNING, logging.ERROR]], ids=str)
async def test_without_a_log_the_spans_and_the_metrics_go_on(
    levels: list[int], telemetry: Telemetry
) -> None:
    """Whether or not it takes the record that says so."""
    handler = RaisingHandler(*levels)
    with logging_to(handler):
        assert await talk(recording(telemetry)) == await talk(bare())

    assert handler.asked
    assert (recorded(telemetry), telemetry.metrics()) == await usual()


async def test_a_log_that_raises_is_reported_where_it_can_be(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    with logging_to(RaisingHandler(logging.WARNING)):
        await talk(recording(telemetry))
    records = failures(library_log)
    assert {record.levelname for record in records} == {"ERROR"}
    assert all("RefusalError" in headline(record) for record in records)


async def test_spans_and_log_may_both_be_broken_and_metrics_go_on(telemetry: Telemetry) -> None:
    with logging_to(RaisingHandler(logging.WARNING, logging.ERROR)):
        view = view_of(no_span(telemetry), telemetry.meter_provider)
        assert await talk(view) == await talk(bare())
    assert telemetry.metrics() == (await usual())[1]


async def test_metrics_and_log_may_both_be_broken_and_spans_go_on(telemetry: Telemetry) -> None:
    with logging_to(RaisingHandler(logging.WARNING, logging.ERROR)):
        view = view_of(telemetry.tracer_provider, BrokenMeterProvider("meter"))
        assert await talk(view) == await talk(bare())
    assert recorded(telemetry) == (await usual())[0]


# --- Whose fault it is -----------------------------------------------------------------------


async def test_the_headline_names_the_global_provider_where_none_was_given(
    monkeypatch: pytest.MonkeyPatch, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", no_span(telemetry))
    await talk(view_of(None, metrics.NoOpMeterProvider()))
    lines = [headline(record) for record in failures(library_log)]
    assert lines
    for line in lines:
        assert "RefusalError" in line
        assert "BridgeTracerProvider" in line


# --- Spans of the application's --------------------------------------------------------------


class Faulty(NonRecordingSpan):
    """A span that fails where it is asked who it is."""

    def get_span_context(self) -> NoReturn:
        raise PipeError("no context")


async def test_a_faulty_span_of_the_application_costs_what_asks_it_and_no_count(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    class Attaching(View):
        async def on_ws_connect(self, context: Any) -> Any:
            attach(trace.set_span_in_context(Faulty(INVALID_SPAN_CONTEXT)))
            return await super().on_ws_connect(context)

    bare = await play(Attaching, make_schema(), one_subscription)
    schema = make_schema(extension(telemetry))
    assert await play(instrumented(telemetry, Attaching), schema, one_subscription) == bare
    assert telemetry.total(EVENTS) == 2
    assert telemetry.total(ACTIVE) == 0
    [connected] = recorded(telemetry, CONNECTION)
    assert connected["attributes"]["websocket.close.outcome"] == "normal"
    assert closes(library_log) == []
    assert {record.exc_info[0] for record in failures(library_log) if record.exc_info} == {
        PipeError
    }
