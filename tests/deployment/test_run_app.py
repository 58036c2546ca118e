"""A process that serves by `web.run_app`: what of its telemetry outlives it."""

import asyncio
import signal
from collections import Counter
from pathlib import Path

import pytest

from strawberry_ws_otel import _semconv as name
from tests.deployment.programs import OURS, crowd, serving, until
from tests.deployment.receiver import Account, Receiver, settled
from tests.ports import free_port

GONE, LOST, LIVE = 3, 2, 5


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT], ids=lambda sign: sign.name)
async def test_a_server_that_is_stopped_tells_of_every_connection(
    sign: signal.Signals, loop: str, receiver: Receiver, tmp_path: Path
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/graphql"
    uvloop = str(int(loop == "uvloop"))
    async with (
        serving(receiver, port, tmp_path / "log", UVLOOP=uvloop) as program,
        crowd() as visitors,
    ):
        await visitors.joins(url, GONE)
        await visitors.leaves()
        await visitors.joins(url, LIVE)
        assert receiver.instances == set()
        codes, status = await asyncio.gather(visitors.sent_away(), program.is_told(sign))

    assert (status, codes) == (0, [1001] * LIVE)
    assert OURS not in program.printed
    [instance] = receiver.instances
    assert instance.endswith(f"-{program.process.pid}")
    assert receiver.account(instance) == settled(Counter(normal=GONE, server_shutdown=LIVE))
    ends = Counter(span.attributes[name.END_REASON] for span in receiver.spans("subscription"))
    assert ends == {"connection_closed": GONE + LIVE}


async def test_a_server_that_is_killed_loses_what_is_open_and_what_waits(
    receiver: Receiver, tmp_path: Path
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/graphql"
    quick = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_METRIC_EXPORT_INTERVAL": "100"}
    async with (
        serving(receiver, port, tmp_path / "log", **quick) as program,
        crowd() as visitors,
    ):
        await visitors.joins(url, GONE)
        await visitors.leaves()
        await visitors.joins(url, LIVE)
        await until(lambda: len(receiver.spans(name.SPAN_CONNECTION)) == GONE, "spans arrive")
        [instance] = receiver.instances
        await until(
            lambda: receiver.account(instance).subscriptions == LIVE, "the gauges say who is open"
        )
        # What had begun and ended is told, also of connections whose own end will not be.
        await until(
            lambda: len(receiver.spans(name.SPAN_CONNECTION_INIT)) == GONE + LIVE, "inits arrive"
        )
        codes, status = await asyncio.gather(visitors.sent_away(), program.is_told(signal.SIGKILL))

    assert (status, codes) == (-signal.SIGKILL, [1006] * LIVE)
    kept = Counter(normal=GONE)
    assert receiver.account(instance) == Account(kept, kept, GONE, active=LIVE, subscriptions=LIVE)
    assert len(receiver.spans("subscription")) == GONE


async def test_the_client_is_who_the_proxy_says_it_is(receiver: Receiver, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/graphql"
    async with serving(receiver, port, tmp_path / "log") as program, crowd() as visitors:
        await visitors.joins(url, headers={"X-Forwarded-For": "203.0.113.7"})
        await visitors.joins(url)
        await visitors.leaves()
        assert await program.is_told(signal.SIGTERM) == 0

    spans = receiver.spans(name.SPAN_CONNECTION)
    addresses = [span.attributes[name.CLIENT_ADDRESS] for span in spans]
    assert sorted(addresses) == ["127.0.0.1", "203.0.113.7"]
