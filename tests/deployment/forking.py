"""A program for tests: it imports the library, forks, and lets its child serve and report.

With "made before" the view exists before the fork. With "held" another thread of the parent is in
the locks of the library at that moment, as a reader is that collects: the child has no such thread.
What the child prints is one JSON object of what it counted.
"""

import asyncio
import json
import os
import sys
import threading
from contextlib import ExitStack
from typing import Any

from opentelemetry import metrics, trace

from strawberry_ws_otel import OTelConfig, OTelExtension, OTelViewMixin
from strawberry_ws_otel._metrics import metrics_of
from tests.hosting import hosting, part
from tests.recorded import View
from tests.scenarios.steps import subscribe
from tests.schema import TICKS, make_schema
from tests.telemetry import Telemetry


def make_view() -> View:
    class Recorded(OTelViewMixin, View):
        otel_config = OTelConfig()

    return Recorded(schema=make_schema(OTelExtension))


async def converse(view: View) -> None:
    async with hosting(view) as host:
        client = await host.acknowledged()
        client.json(subscribe(client, "a", TICKS, variables={"to": 2}))
        await client.message("complete")
        await part(client)


def serve(view: View | None) -> None:
    """What the child does: all that a process does which was never forked."""
    telemetry = Telemetry()
    trace.set_tracer_provider(telemetry.tracer_provider)
    metrics.set_meter_provider(telemetry.meter_provider)
    asyncio.run(converse(view or make_view()))
    report = {
        "closes": telemetry.total("websocket.server.closes"),
        "active": telemetry.total("websocket.server.active_connections"),
        "lives": telemetry.total("websocket.server.connection.duration"),
        "events": telemetry.total("graphql.server.subscription.event_count"),
        "spans": sorted(span.name for span in telemetry.spans()),
    }
    sys.stdout.write(json.dumps(report))
    sys.stdout.flush()


def hold_locks() -> None:
    """Let a thread hold every lock of the metrics, for as long as this process lives."""
    registry: Any = getattr(metrics_of, "__self__")  # noqa: B009  # for whoever reads types
    held = threading.Event()

    def hold() -> None:
        with ExitStack() as stack:
            for lock in (registry._global.tally._lock, registry._lock):
                stack.enter_context(lock)
            held.set()
            threading.Event().wait()

    threading.Thread(target=hold, daemon=True).start()
    held.wait()


def main() -> int:
    view = make_view() if "made before" in sys.argv else None
    if "held" in sys.argv:
        hold_locks()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            serve(view)
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
