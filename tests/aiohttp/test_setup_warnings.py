"""Each likely mistake in the set-up is one line in the log of a server, and a right one is none."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import strawberry
from opentelemetry import metrics, trace
from strawberry.aiohttp.views import GraphQLView
from strawberry.extensions.tracing import OpenTelemetryExtension

from strawberry_ws_otel import OTelConfig, OTelExtension, OTelViewMixin
from tests.support.hosting import hosting, one_subscription, part
from tests.support.log import LogKeeper
from tests.support.schema import HELLO, AppError, Query, Subscription
from tests.support.telemetry import Telemetry
from tests.support.views import View, extension, instrumented

pytestmark = pytest.mark.filterwarnings("ignore:Passing an extension instance:DeprecationWarning")


def schema(*extensions: Any) -> strawberry.Schema:
    return strawberry.Schema(Query, subscription=Subscription, extensions=list(extensions))


def without_extension(telemetry: Telemetry) -> View:
    return instrumented(telemetry)(schema=schema())


def with_instance(telemetry: Telemetry) -> View:
    return instrumented(telemetry)(schema=schema(OTelExtension()))


def with_both(telemetry: Telemetry) -> View:
    return instrumented(telemetry)(schema=schema(OTelExtension, OpenTelemetryExtension))


def with_misspelt_configuration(telemetry: Telemetry) -> View:
    class Misspelt(instrumented(telemetry)):  # type: ignore[misc]  # from a call
        otel_confg = OTelConfig()

    made: View = Misspelt(schema=schema(OTelExtension))
    return made


def without_mixin(telemetry: Telemetry) -> View:
    return GraphQLView(schema=schema(extension(telemetry)))


def without_tracer_provider(telemetry: Telemetry) -> View:
    class Recorded(OTelViewMixin, View):
        otel_config = OTelConfig(meter_provider=telemetry.meter_provider)

    return Recorded(schema=schema(OTelExtension))


def without_meter_provider(_telemetry: Telemetry) -> View:
    class Recorded(OTelViewMixin, View):
        otel_config = OTelConfig(tracer_provider=trace.NoOpTracerProvider())

    return Recorded(schema=schema(OTelExtension))


MISTAKES: dict[Callable[[Telemetry], View], str] = {
    without_extension: "has no OTelExtension",
    with_instance: "has an instance of OTelExtension",
    with_both: "has OpenTelemetryExtension beside OTelExtension",
    with_misspelt_configuration: "did you mean otel_config?",
    without_mixin: "serves WebSockets without OTelViewMixin",
    without_tracer_provider: "no tracer provider is set",
    without_meter_provider: "no meter provider is set",
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda make: make.__name__)
async def test_a_mistake_is_one_line_however_many_clients_connect(
    mistake: Callable[[Telemetry], View], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    for times in (1, 2):
        view = mistake(telemetry)
        for _ in range(3):
            await one_subscription(view)
        assert [record.levelno for record in library_log.records] == [logging.WARNING] * times
        messages = [record.getMessage() for record in library_log.records]
        assert all(MISTAKES[mistake] in each and "\n" not in each for each in messages)


async def test_queries_over_http_are_served_without_the_mixin_and_no_mistake(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    async with hosting(without_mixin(telemetry)) as host:
        assert await host.post({"query": HELLO}) == (200, {"data": {"hello": "world"}})
    assert library_log.records == []


async def test_a_right_set_up_is_no_line(telemetry: Telemetry, library_log: LogKeeper) -> None:
    class OnlySpans(OTelViewMixin, View):
        otel_config = OTelConfig(tracer_provider=telemetry.tracer_provider)

    await one_subscription(OnlySpans(schema=schema(OTelExtension)))
    for each in (OTelExtension, lambda: OTelExtension()):  # noqa: PLW0108  # a factory
        await one_subscription(instrumented(telemetry)(schema=schema(each)))
    assert library_log.records == []


async def test_global_providers_that_are_set_before_the_first_client_are_no_mistake(
    telemetry: Telemetry, library_log: LogKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Recorded(OTelViewMixin, View):
        pass

    view = Recorded(schema=schema(OTelExtension))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: telemetry.tracer_provider)
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: telemetry.meter_provider)
    await one_subscription(view)
    assert library_log.records == []


class Login(GraphQLView[Any, Any]):
    async def on_ws_connect(self, context: Any) -> Any:
        raise AppError("no database") from OSError("no\nroute")


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        (
            "execution",
            "tests.support.schema.AppError: no database (raised first: OSError: no route)",
        ),
        ("none", "tests.support.schema.AppError (raised first: OSError)"),
    ],
)
async def test_the_exception_that_ends_a_connection_is_named(
    messages: str, named: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    recorded = instrumented(telemetry, Login, error_messages=messages)
    async with hosting(recorded(schema=schema(OTelExtension))) as host:
        client = await host.connect()
        client.json({"type": "connection_init"})
        await client.until_end()
        await part(client)
    [record] = library_log.records
    assert record.getMessage().endswith(f" (code 1006, fault server, initiator none): {named}")
