"""A program for tests: it sets the global providers in an order that its arguments say, and judges.

Its last line is `as expected` where each provider has heard what it should.
"""

import asyncio
import logging
import sys
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.metrics import _internal as metrics_internal
from opentelemetry.util._once import Once

from tests.support.applications.provider_conversations import talk, usual, view_of
from tests.support.applications.wrapped_providers import MAKES
from tests.support.clock import stop_clock
from tests.support.expected import recorded
from tests.support.log import LIBRARY, LogKeeper
from tests.support.telemetry import Telemetry

ONE, OTHER = Telemetry(), Telemetry()


def as_given(provider: Any) -> Any:
    return provider


def set_providers(telemetry: Telemetry, make: str) -> None:
    """Set them, even where they were set before, as suites of tests do."""
    tracers, meters = MAKES.get(make, (as_given, as_given))
    vars(trace)["_TRACER_PROVIDER_SET_ONCE"] = Once()
    vars(metrics_internal)["_METER_PROVIDER_SET_ONCE"] = Once()
    trace.set_tracer_provider(tracers(telemetry.tracer_provider))
    metrics.set_meter_provider(meters(telemetry.meter_provider))


async def play(order: str, make: str) -> dict[str, tuple[Any, Any]]:
    """Play an order; return pairs of what there is and what there should be."""
    spans, counts = await usual()
    if order in {"set before the view", "replaced", "named and implied"}:
        set_providers(ONE, make)
    view = view_of(None, None)
    if order == "set after a conversation":
        await talk(view)
    if order in {"set after the view", "set after a conversation"}:
        set_providers(ONE, make)
    await talk(view)
    if order == "set after a conversation":
        # Totals are observed: they were counted before anybody listened, too.
        closes = ONE.total("websocket.server.closes")
        return {"spans": (recorded(ONE), spans), "closes": (closes, 4)}
    found: dict[str, tuple[Any, Any]] = {
        "spans": (recorded(ONE), spans),
        "counts": (ONE.metrics(), counts),
    }
    if order == "replaced":
        set_providers(OTHER, make)
        await talk(view)
        found["spans of the first"] = (recorded(ONE), spans)
        found["counts of the first"] = (ONE.metrics(), counts)
        found["spans of the other"] = (recorded(OTHER), spans)
        found["counts of the other"] = (OTHER.metrics(), counts)
    if order == "named and implied":
        await talk(view_of(trace.get_tracer_provider(), metrics.get_meter_provider()))
        found["closes of both"] = (ONE.total("websocket.server.closes"), 4)
        lives = ONE.total("websocket.server.connection.duration")
        found["durations of both"] = (lives, 4)
    return found


def main() -> None:
    log = LogKeeper()
    logging.getLogger().addHandler(log)
    with pytest.MonkeyPatch.context() as patched:
        stop_clock(patched)
        found = asyncio.run(play(*sys.argv[1:]))
    # The closes of the conversation are abnormal, each of them.
    logged = {(record.name, record.levelname) for record in log.records}
    # The host logs what the application raises.
    said = {(name, level) for name, level in logged if name != "strawberry.execution"}
    found["log"] = (said, {(LIBRARY, "WARNING")})
    wrong = {name: pair for name, pair in found.items() if pair[0] != pair[1]}
    for name, (is_, should_be) in wrong.items():
        sys.stdout.write(f"{name}: {is_}\nshould be: {should_be}\n")
    for record in log.records if "log" in wrong else ():
        sys.stdout.write(f"{record.levelname} {record.getMessage()}\n")
    sys.stdout.write("not as expected\n" if wrong else "as expected\n")


if __name__ == "__main__":
    main()
