"""A Collector whose Jaeger takes nothing fills its queue, and the alert on full queues says so."""

from dataclasses import replace
from pathlib import Path

import pytest

from examples.demo import clients
from examples.operations import rules, servers
from examples.operations.ports import Ports, url
from tests.support.kit.exporting import ticking, until
from tests.support.kit.prometheus import Labels, Prometheus
from tests.support.kit.servers import Start

pytestmark = pytest.mark.operations

SMALL = "exporters: {otlphttp/jaeger: {sending_queue: {queue_size: 2, num_consumers: 1}}}"
"""It has room for two batches instead of a thousand."""


async def test_the_alert_on_full_queues_fires_for_a_collector_that_cannot_send(
    start: Start, ports: Ports, folder: Path
) -> None:
    rules.write(folder, ports, shorter=True)
    collector = servers.collector(ports, environment={"DECISION_WAIT": "1s"})
    (folder / "small.yaml").write_text(SMALL)
    start(replace(collector, command=(*collector.command, f"--config={folder / 'small.yaml'}")))
    start(servers.prometheus(ports, folder / "prometheus.yml", folder))
    prometheus = Prometheus(url(ports.prometheus))

    async def firing() -> list[tuple[Labels, float]]:
        await ticker.traffic.send({clients.query_and_mutation: 5})
        return await prometheus.query(
            'ALERTS{alertname="WebSocketSpanQueueFull", alertstate="firing"}'
        )

    # Jaeger does not run.
    async with ticking(url(ports.collector_otlp)) as ticker:
        fired = await until(firing, bool)
    assert {(labels["job"], labels["instance"]) for labels, _ in fired} == {
        ("otelcol", f"127.0.0.1:{ports.collector_telemetry}")
    }
