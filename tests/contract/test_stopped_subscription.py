"""Why there is this library: with the host's own extension, a stopped subscription loses its span.

Its children are exported, and wait for a parent that never comes.
"""

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from strawberry.extensions.tracing import OpenTelemetryExtension

from strawberry_ws_otel import OTelExtension
from tests.support.expected import CONNECTION, INIT
from tests.support.hosting import Host, hosting, part
from tests.support.raw_client import Client
from tests.support.scenarios.model import BOTH
from tests.support.scenarios.steps import COMPLETE, subscribe
from tests.support.schema import FOREVER, TICKS, make_schema
from tests.support.telemetry import Telemetry
from tests.support.views import View, instrumented

CHILDREN = ["GraphQL Parsing", "GraphQL Validation"]


async def completes(client: Client) -> None:
    """Stop the subscription, and leave when the server has read that."""
    assert client.protocol is not None
    client.json({"type": COMPLETE[client.protocol], "id": "a"})
    await part(client)


async def leaves(client: Client) -> None:
    client.reset()


ENDINGS: dict[str, Callable[[Client], Any]] = {
    "completes it": completes,
    "closes the connection": part,
    "vanishes": leaves,
}


def their_view(telemetry: Telemetry) -> View:
    def extension() -> OpenTelemetryExtension:
        return OpenTelemetryExtension(tracer_provider=telemetry.tracer_provider)

    return View(schema=make_schema(extension), keep_alive=False)


def our_view(telemetry: Telemetry) -> View:
    return instrumented(telemetry)(schema=make_schema(OTelExtension), keep_alive=False)


async def abandon(host: Host, protocol: str, ending: str) -> None:
    """Subscribe, and end the subscription from the client's side."""
    client = await host.acknowledged(protocol)
    client.json(subscribe(client, "a", FOREVER))
    await client.message("next", "data")
    await ENDINGS[ending](client)


async def exhaust(host: Host, protocol: str) -> None:
    """Subscribe to a source that ends by itself."""
    client = await host.acknowledged(protocol)
    client.json(subscribe(client, "a", TICKS, variables={"to": 1}))
    await client.message("complete")
    await part(client)


def exported(telemetry: Telemetry) -> list[ReadableSpan]:
    """The exported spans except for those of fields, which not every supported host makes."""
    return [span for span in telemetry.spans() if not span.name.startswith("GraphQL Resolving")]


def names(telemetry: Telemetry) -> list[str]:
    return [span.name for span in exported(telemetry)]


def orphans(telemetry: Telemetry) -> list[str]:
    """Those whose parent was never exported."""
    known = {span.context.span_id for span in exported(telemetry) if span.context}
    return [
        span.name
        for span in exported(telemetry)
        if span.parent and span.parent.span_id not in known
    ]


def lost(telemetry: Telemetry) -> int:
    """How many spans were started and never ended."""
    return (telemetry.span_counter.started - telemetry.span_counter.ended).total()


@pytest.mark.parametrize("protocol", BOTH)
async def test_the_host_s_extension_records_a_subscription_that_ends_by_itself(
    protocol: str, telemetry: Telemetry
) -> None:
    async with hosting(their_view(telemetry)) as host:
        await exhaust(host, protocol)

    assert names(telemetry) == ["GraphQL Query: Ticks", *CHILDREN]
    assert (orphans(telemetry), lost(telemetry)) == ([], 0)


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_the_host_s_extension_loses_the_span_of_a_subscription_when_the_client(
    ending: str, protocol: str, telemetry: Telemetry
) -> None:
    async with hosting(their_view(telemetry)) as host:
        await abandon(host, protocol, ending)

    assert names(telemetry) == orphans(telemetry) == CHILDREN
    assert lost(telemetry) == 1


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_our_extension_records_it_completely_when_the_client(
    ending: str, protocol: str, telemetry: Telemetry
) -> None:
    async with hosting(our_view(telemetry)) as host:
        await abandon(host, protocol, ending)

    assert names(telemetry) == [CONNECTION, INIT, "subscription"]
    assert (orphans(telemetry), lost(telemetry)) == ([], 0)
    [subscription] = telemetry.spans("subscription")
    reason = "client_completed" if ending == "completes it" else "connection_closed"
    assert (subscription.attributes or {})["graphql.ws.operation.end_reason"] == reason
