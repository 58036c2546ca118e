"""Serves a socket and a query under aiohttp-server's instrumentation, and prints what was recorded.

It is a program, because the instrumentation reads its environment when it is imported.
"""

import asyncio
import json
import warnings

from opentelemetry import metrics, trace
from opentelemetry.instrumentation.aiohttp_server import AioHttpServerInstrumentor

from tests.support import documented
from tests.support.hosting import hosting, part
from tests.support.telemetry import Telemetry

DURATION = "http.server.duration"
CONNECTION = "GraphQL WebSocket Connection"


async def talk() -> None:
    async with hosting(documented.View(schema=documented.schema)) as host:
        await part(await host.acknowledged())
        await host.post({"query": "{ hello }"})


def main() -> None:
    telemetry = Telemetry()
    trace.set_tracer_provider(telemetry.tracer_provider)
    metrics.set_meter_provider(telemetry.meter_provider)
    # It derives from web.Application.
    warnings.simplefilter("ignore", DeprecationWarning)
    AioHttpServerInstrumentor().instrument()
    asyncio.run(talk())
    names = {span.context.span_id: span.name for span in telemetry.spans() if span.context}
    [connection] = telemetry.spans(CONNECTION)
    parent = names[connection.parent.span_id] if connection.parent else None
    requests = [
        [span.name, *sorted(span.attributes or {})]
        for span in telemetry.spans()
        if span.name.endswith("/graphql")
    ]
    durations = telemetry.total(DURATION)
    print(json.dumps({"parent": parent, "requests": requests, "durations": durations}))  # noqa: T201


if __name__ == "__main__":
    main()
