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
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from opentelemetry import metrics, trace

from strawberry_ws_otel._metrics import metrics_of
from tests.support.global_provider_program import implicit, report
from tests.support.hosting import one_subscription
from tests.support.telemetry import Telemetry
from tests.support.views import View


def say(recorded: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(recorded))
    sys.stdout.flush()


def serve(view: View | None) -> None:
    """What the child does: all that a process does which was never forked."""
    telemetry = Telemetry()
    trace.set_tracer_provider(telemetry.tracer_provider)
    metrics.set_meter_provider(telemetry.meter_provider)
    serve_into(telemetry, view or implicit())


def serve_into(telemetry: Telemetry, view: View) -> None:
    """Serve a client, and report."""
    asyncio.run(one_subscription(view))
    say(report(telemetry))


def hold_locks() -> None:
    """Let a thread hold every lock of the metrics, for as long as this process lives."""
    registry: Any = getattr(metrics_of, "__self__")  # noqa: B009  # for whoever reads types
    held = threading.Event()

    def play_and_assert() -> None:
        with ExitStack() as stack:
            for lock in (metrics_of(None)[1].totals._lock, registry._lock):
                stack.enter_context(lock)
            held.set()
            threading.Event().wait()

    threading.Thread(target=play_and_assert, daemon=True).start()
    held.wait()


def in_child(function: Callable[[], None]) -> int:
    """Call a function in a child; return the status with which that ends."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> int:
    view = implicit() if "made before" in sys.argv else None
    if "held" in sys.argv:
        hold_locks()
    return in_child(lambda: serve(view))


if __name__ == "__main__":
    sys.exit(main())
