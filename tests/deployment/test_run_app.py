"""A process that serves by `web.run_app`: what of its telemetry outlives it."""

import asyncio
import signal
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from strawberry_ws_otel import _semconv as name
from tests.deployment.programs import OURS, PLAINLY, STRICT, Way, serving, until
from tests.deployment.receiver import Account, Receiver, settled
from tests.support.tls import TLS

pytestmark = pytest.mark.slow

GONE, LIVE = 3, 5
SECURE: Final = TLS.make()
WAYS: Final = {
    "asyncio": PLAINLY,
    "uvloop": Way(uvloop=True),
    # Not strictly, nor on uvloop: `run_app` closes the loop before a slow client has ended TLS.
    "TLS": Way(tls=SECURE),
    "strict": Way(python=STRICT),
    "strict, uvloop": Way(python=STRICT, uvloop=True),
}
DISTINCT: Final = {
    ("asyncio", signal.SIGINT),
    ("strict", signal.SIGTERM),
    ("strict, uvloop", signal.SIGTERM),
    ("TLS", signal.SIGTERM),
}


@pytest.mark.parametrize(
    ("way", "sign"),
    [
        pytest.param(
            way,
            sign,
            id=f"{key}, {sign.name}",
            # The signal is `run_app`'s to handle, the same however it serves, and a strict Python
            # only complains of more.
            marks=[] if (key, sign) in DISTINCT else pytest.mark.matrix,
        )
        for key, way in WAYS.items()
        for sign in (signal.SIGTERM, signal.SIGINT)
    ],
)
async def test_a_server_that_is_stopped_reports_every_connection(
    sign: signal.Signals, way: Way, receiver: Receiver, tmp_path: Path
) -> None:
    async with serving(receiver, tmp_path, way) as server:
        await server.visited_by(GONE)
        await server.visitors.leaves()
        await server.visited_by(LIVE)
        assert receiver.instances == set()
        codes, status = await asyncio.gather(server.visitors.sent_away(), server.receives(sign))

    assert (status, codes) == (0, [1001] * LIVE), server.printed
    assert OURS not in server.printed
    assert server.complaints == []
    [instance] = receiver.instances
    assert instance.endswith(f"-{server.process.pid}")
    assert receiver.account(instance) == settled(Counter(normal=GONE, server_shutdown=LIVE))
    ends = Counter(span.attributes[name.END_REASON] for span in receiver.spans("subscription"))
    assert ends == {"connection_closed": GONE + LIVE}


@pytest.mark.parametrize("way", [PLAINLY, Way(tls=SECURE)], ids=["", "TLS"])
async def test_a_server_that_is_killed_loses_what_is_open_and_what_waits(
    way: Way, receiver: Receiver, tmp_path: Path
) -> None:
    quick = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_METRIC_EXPORT_INTERVAL": "100"}
    async with serving(receiver, tmp_path, way, **quick) as server:
        await server.visited_by(GONE)
        await server.visitors.leaves()
        await server.visited_by(LIVE)
        await until(lambda: len(receiver.spans(name.SPAN_CONNECTION)) == GONE, "spans arrive")
        [instance] = receiver.instances
        await until(
            lambda: receiver.account(instance).subscriptions == LIVE, "the gauges say who is open"
        )
        # What had begun and ended is recorded, also of connections whose own end will not be.
        await until(
            lambda: len(receiver.spans(name.SPAN_CONNECTION_INIT)) == GONE + LIVE, "inits arrive"
        )
        codes, status = await asyncio.gather(
            server.visitors.sent_away(), server.receives(signal.SIGKILL)
        )

    assert (status, codes) == (-signal.SIGKILL, [1006] * LIVE)
    kept = Counter(normal=GONE)
    assert receiver.account(instance) == Account(kept, kept, GONE, active=LIVE, subscriptions=LIVE)
    assert len(receiver.spans("subscription")) == GONE


async def test_the_client_is_who_the_proxy_says_it_is(receiver: Receiver, tmp_path: Path) -> None:
    async with serving(receiver, tmp_path) as server:
        await server.visited_by(1, {"X-Forwarded-For": "203.0.113.7"})
        await server.visited_by(1)
        await server.visitors.leaves()
        assert await server.receives(signal.SIGTERM) == 0

    spans = receiver.spans(name.SPAN_CONNECTION)
    addresses = [span.attributes[name.CLIENT_ADDRESS] for span in spans]
    assert sorted(addresses) == ["127.0.0.1", "203.0.113.7"]
