"""A program for tests: it sets the global providers when its argument says, and reports.

What it prints is one JSON object: what was counted, the spans, and what OpenTelemetry logged.
"""

import asyncio
import json
import logging
import sys
from typing import Any

from opentelemetry import metrics, trace

from strawberry_ws_otel import OTelConfig, OTelExtension, OTelViewMixin, open_connections
from tests.support.hosting import one_subscription
from tests.support.log import LogKeeper
from tests.support.schema import make_schema
from tests.support.telemetry import Telemetry
from tests.support.views import View

TELEMETRY = Telemetry()


def set_providers() -> None:
    trace.set_tracer_provider(TELEMETRY.tracer_provider)
    metrics.set_meter_provider(TELEMETRY.meter_provider)


def view(**options: Any) -> View:
    class Recorded(OTelViewMixin, View):
        otel_config = OTelConfig(**options)

    return Recorded(schema=make_schema(OTelExtension))


def implicit() -> View:
    """A view that names no provider."""
    return view()


def explicit() -> View:
    """A view that is given the global providers, whatever they are now."""
    return view(
        tracer_provider=trace.get_tracer_provider(), meter_provider=metrics.get_meter_provider()
    )


STEPS = {
    "set later": [implicit, set_providers],
    "explicit and implicit": [set_providers, explicit, implicit],
    "implicit and explicit": [set_providers, implicit, explicit],
    "set between": [implicit, set_providers, explicit],
    "explicit before it is set": [explicit, set_providers, implicit],
}


def report(telemetry: Telemetry) -> dict[str, Any]:
    """What was counted, and the names of the spans."""
    return {
        "closes": telemetry.total("websocket.server.closes"),
        "active": telemetry.total("websocket.server.active_connections"),
        "open": len(open_connections()),
        "lives": telemetry.total("websocket.server.connection.duration"),
        "events": telemetry.total("graphql.server.subscription.event_count"),
        "spans": sorted(span.name for span in telemetry.spans()),
    }


def main() -> None:
    log = LogKeeper()
    logging.getLogger().addHandler(log)
    views = [made for step in STEPS[sys.argv[1]] if (made := step()) is not None]
    for each in views:
        asyncio.run(one_subscription(each))
    recorded = report(TELEMETRY) | {"log": [record.getMessage() for record in log.records]}
    sys.stdout.write(json.dumps(recorded))


if __name__ == "__main__":
    main()
