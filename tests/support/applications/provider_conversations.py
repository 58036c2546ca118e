"""One conversation over each subprotocol, and requests over HTTP, that end well and badly."""

from typing import Any

from opentelemetry import metrics, trace
from strawberry.aiohttp.views import GraphQLView

from strawberry_ws_otel import OTelConfig, OTelExtension, OTelViewMixin
from tests.support.expected import recorded
from tests.support.hosting import hosting
from tests.support.scenarios.model import BOTH
from tests.support.scenarios.steps import TRANSPORT, subscribe
from tests.support.schema import BROKEN, FAILING, HELLO, TICKS, make_schema
from tests.support.telemetry import Telemetry
from tests.support.views import View

CODE = 4321
"""The code that the client closes with, which is abnormal and nobody's fault that is known."""


def view_of(
    tracer_provider: trace.TracerProvider | None,
    meter_provider: metrics.MeterProvider | None,
    base: type[View] = View,
    **options: Any,
) -> View:
    """A view that records into these providers."""

    class Recorded(OTelViewMixin, base):  # type: ignore[valid-type,misc]  # whichever it is
        otel_config = OTelConfig(
            tracer_provider=tracer_provider, meter_provider=meter_provider, **options
        )

    return Recorded(schema=make_schema(OTelExtension), keep_alive=False)


def recording(telemetry: Telemetry, **options: Any) -> View:
    return view_of(telemetry.tracer_provider, telemetry.meter_provider, **options)


def bare() -> View:
    return View(schema=make_schema(), keep_alive=False)


async def talk(view: GraphQLView[Any, Any], *middlewares: Any) -> list[Any]:
    """What clients hear: frames over each subprotocol, answers over HTTP."""
    heard: list[Any] = []
    async with hosting(view, *middlewares) as host:
        for protocol in BOTH:
            client = await host.acknowledged(protocol)
            for id_, document in [("q", HELLO)] * (protocol == TRANSPORT) + [("s", TICKS)]:
                client.json(subscribe(client, id_, document, variables={"to": 2}))
                await client.message("complete")
            client.json(subscribe(client, "f", FAILING))
            await client.message("complete")
            client.close(CODE)
            await client.until_end()
            heard.append(client.frames)
        heard.extend([await host.post({"query": document}) for document in (HELLO, BROKEN)])
    return heard


async def usual(**options: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What is recorded of it, spans and counts, where providers do what is expected of them."""
    telemetry = Telemetry()
    await talk(recording(telemetry, **options))
    expected = recorded(telemetry), telemetry.metrics()
    telemetry.shutdown()
    return expected
