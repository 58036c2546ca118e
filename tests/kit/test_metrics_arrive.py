"""Metrics reach Prometheus on both ways, the same, and lead to traces."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import ClientResponseError

from examples.demo.names import SPAN_CONNECTION
from examples.demo.scenarios import VISITS
from examples.operations import rules, servers
from examples.operations.closes import ABNORMAL
from examples.operations.jaeger import Jaeger
from examples.operations.ports import Ports, url
from tests.support.kit.prometheus import Prometheus
from tests.support.kit.servers import Start
from tests.support.kit.ticker import exporting, scraped
from tests.support.kit.visits import clients

pytestmark = pytest.mark.operations

LIMIT = 20

METRICS = {
    "graphql_server_request_duration_seconds_bucket",
    "graphql_server_subscription_active",
    "graphql_server_subscription_event_count_total",
    "graphql_ws_connection_init_duration_seconds_bucket",
    "graphql_ws_operation_duration_seconds_bucket",
    "graphql_ws_time_to_first_result_seconds_bucket",
    "websocket_server_active_connections",
    "websocket_server_closes_total",
    "websocket_server_connection_duration_seconds_bucket",
    "websocket_server_errors_total",
    "websocket_server_io_bytes_total",
    "websocket_server_messages_total",
    "websocket_server_send_blocked",
    "websocket_server_send_blocked_time_seconds_total",
}
"""Each of the library's metrics; of the histograms, their buckets."""

VISITED_TWICE = tuple(one.visit for one in VISITS)
VISITED_ONCE = tuple(ABNORMAL.values())
CLOSES = 2 * len(VISITED_TWICE) + len(VISITED_ONCE)

EXPORTING = "exporting"


async def visit_everything(port: int) -> None:
    """Send every client that there is, some of them a second time, when their series exist."""
    async with clients(port) as those:
        for visits in (VISITED_TWICE, VISITED_TWICE, VISITED_ONCE):
            await asyncio.gather(*map(those.visit, visits))
    assert not those.troubles


async def visit_both(*ports: int) -> None:
    await asyncio.gather(*map(visit_everything, ports))


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(LIMIT):
        while not await holds():  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.1)


@pytest.fixture(scope="module")
def prometheus(start: Start, ports: Ports, folder: Path) -> Prometheus:
    """Prometheus, after every client has visited both a scraped and an exporting server."""
    rules.write(folder, ports, shorter=True)
    other = dataclasses.replace(ports, demo=Ports.free().demo)
    start(servers.jaeger(ports))
    start(servers.collector(ports, environment={"DECISION_WAIT": "1s", "KEPT_CONVERSATIONS": "."}))
    start(servers.prometheus(ports, folder / "prometheus.yml", folder))
    start(scraped("scraped", ports))
    start(exporting(EXPORTING, other))
    asyncio.run(visit_both(ports.demo, other.demo))
    return Prometheus(url(ports.prometheus))


@pytest.fixture
def instances(ports: Ports) -> tuple[str, str]:
    """What the two servers are called: after its address, and after its `service.instance.id`."""
    return f"127.0.0.1:{ports.demo_metrics}", EXPORTING


async def test_every_metric_arrives_on_both_ways_with_the_same_labels_and_counts(
    prometheus: Prometheus, instances: tuple[str, str]
) -> None:
    async def all_counted() -> bool:
        counts = await prometheus.query("sum by (instance) (websocket_server_closes_total)")
        return [value for _, value in counts] == [CLOSES, CLOSES]

    async def series(instance: str) -> dict[frozenset[tuple[str, str]], float]:
        found = await prometheus.query(
            f'{{__name__=~"{"|".join(METRICS)}", instance="{instance}"}}'
        )
        return {frozenset({**labels, "instance": ""}.items()): value for labels, value in found}

    await eventually(all_counted)
    scraped, exported = [await series(instance) for instance in instances]
    assert {dict(labels)["__name__"] for labels in scraped} == METRICS
    assert scraped.keys() == exported.keys()
    closes = [
        {
            labels: n
            for labels, n in one.items()
            if ("__name__", "websocket_server_closes_total") in labels
        }
        for one in (scraped, exported)
    ]
    assert closes[0] == closes[1]


async def test_an_exemplar_leads_to_a_connection_in_jaeger(
    prometheus: Prometheus, ports: Ports
) -> None:
    traces = await prometheus.traces_of("websocket_server_connection_duration_seconds_bucket")
    assert traces

    async def has_arrived() -> bool:
        try:
            spans = await Jaeger(url(ports.jaeger_query)).trace(min(traces))
        except ClientResponseError:
            return False
        return any(span.name == SPAN_CONNECTION for span in spans)

    await eventually(has_arrived)
