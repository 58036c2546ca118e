"""An exporter in trouble is a matter of the SDK's thread: no conversation waits for it."""

import asyncio

import pytest

from strawberry_ws_otel import _semconv as name
from tests.support.cases import traced
from tests.support.faults.exporters import EXPORTERS, PATIENCE, Hanging, exporting
from tests.support.hosting import hosting, one_subscription, part
from tests.support.schema import make_schema
from tests.support.telemetry import Telemetry
from tests.support.transcripts import Comparison
from tests.support.views import View, extension, instrumented


@pytest.mark.parametrize("trouble", EXPORTERS)
def test_an_exporter_in_trouble_changes_nothing(trouble: str, twins: Comparison) -> None:
    exporter = EXPORTERS[trouble]()
    telemetry, _ = exporting(exporter)
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    try:
        assert twins.play(arm) == twins.bare
        assert exporter.asked.wait(PATIENCE)
    finally:
        if isinstance(exporter, Hanging):
            exporter.let_go.set()
        telemetry.shutdown()
    assert telemetry.span_counter.started == telemetry.span_counter.ended
    assert len(exporter.delivered) + exporter.refused == len(telemetry.spans())
    assert telemetry.total(name.METRIC_ACTIVE_CONNECTIONS) == 0


def served(telemetry: Telemetry) -> View:
    return instrumented(telemetry)(schema=make_schema(extension(telemetry)))


async def test_a_conversation_is_held_from_end_to_end_while_an_exporter_hangs() -> None:
    exporter = Hanging()
    telemetry, _ = exporting(exporter)
    await one_subscription(served(telemetry))
    assert await asyncio.to_thread(exporter.asked.wait, PATIENCE)
    await one_subscription(served(telemetry))
    assert not exporter.delivered
    exporter.let_go.set()
    await asyncio.to_thread(telemetry.shutdown)
    assert len(exporter.delivered) == len(telemetry.spans())


async def test_a_shutdown_waits_for_an_exporter_that_hangs_and_then_delivers_everything() -> None:
    exporter = Hanging()
    telemetry, _ = exporting(exporter)
    await one_subscription(served(telemetry))
    shutdown = asyncio.create_task(asyncio.to_thread(telemetry.shutdown))
    assert await asyncio.to_thread(exporter.asked.wait, PATIENCE)
    # The loop serves on meanwhile, though what ends now comes too late to be exported.
    others = Telemetry()
    await one_subscription(served(others))
    assert not shutdown.done()
    exporter.let_go.set()
    await asyncio.wait_for(shutdown, PATIENCE)
    assert len(exporter.delivered) == len(telemetry.spans())
    others.shutdown()


async def test_what_ends_after_the_shutdown_is_counted_but_not_exported() -> None:
    exporter = EXPORTERS["is slow"]()
    telemetry, processor = exporting(exporter)
    view = served(telemetry)
    async with hosting(view) as host:
        client = await host.acknowledged()
        await asyncio.to_thread(processor.shutdown)
        delivered = len(exporter.delivered)
        await part(client)
    assert len(exporter.delivered) == delivered < len(telemetry.spans())
    assert telemetry.total(name.METRIC_CLOSES) == 1
    telemetry.shutdown()


async def test_a_full_queue_drops_spans_and_nothing_else() -> None:
    exporter = Hanging()
    telemetry, _ = exporting(exporter, queue=3)
    for _ in range(3):
        await one_subscription(served(telemetry))
    exporter.let_go.set()
    await asyncio.to_thread(telemetry.shutdown)
    assert 0 < len(exporter.delivered) <= 3 + 1 < len(telemetry.spans())
    assert telemetry.total(name.METRIC_CLOSES) == 3
