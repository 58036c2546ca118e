"""The number of series does not depend on the ids, names, codes and words that clients choose."""

from typing import Final

import pytest
from graphql import GraphQLError
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import REGISTRY, generate_latest

from strawberry_ws_otel import OTelConfig
from strawberry_ws_otel._close import CloseFrame
from strawberry_ws_otel._recording import Telemetry as Recording
from strawberry_ws_otel._semconv import CLOSE_OUTCOME as OUTCOME
from strawberry_ws_otel._strawberry.errors import error_type
from tests.attacks.hostile.bounds import unbounded_labels, unbounded_record
from tests.support.clock import stop_clock
from tests.support.expected import CONNECTION
from tests.support.fake_connection import BOTH, START, FakeConnection, operation_in
from tests.support.hosting import hosting
from tests.support.log import LogKeeper
from tests.support.scenarios.steps import TRANSPORT
from tests.support.schema import make_schema
from tests.support.telemetry import Telemetry
from tests.support.views import config, instrumented

DISTINCT: Final = 1_000
OURS: Final = ("websocket_", "graphql_")
ERROR_TYPES: Final = 100
"""Distinct values of `error.type`; one more is `_OTHER`."""


def attack(recording: Recording, word: str, number: int) -> None:
    """One conversation in which everything that an untrusted client can choose is new."""
    talk = FakeConnection(recording.config, recording=recording)
    talk.accept((*BOTH, None)[number % 3])
    talk.initialize()
    talk.receive_and_begin_handling({"type": f"type-{word}{number}", "id": f"id-{word}{number}"})
    document, name = f"{{ field{word}{number} }}", f"Name{word}{number}"
    task = talk.receive_and_begin_handling(
        {
            "type": START.get(talk.protocol, "start"),
            "id": f"id-{word}{number}",
            "payload": {"query": document, "operationName": name},
        }
    )
    if talk.protocol in START:
        talk.begin_serving(task, f"id-{word}{number}", document, name)
        operation = operation_in(task)
        operation.describe(("subscription", "query")[number % 2], name)
        error = GraphQLError("bad", extensions={"code": f"CODE_{word}{number}"})
        operation.errors(error_type(error), 1, [])
        talk.send_result(f"id-{word}{number}")
    talk.end_handling()
    failure = type(f"Error_{word}{number}", (Exception,), {})(f"message {number}")
    match number % 4:
        case 0:
            talk.close_by_client(number, f"reason {word}{number}")
        case 1:
            talk.close_by_server(number, f"reason {word}{number}")
        case 2:
            talk.connection.error_received(failure, CloseFrame(1002))
            talk.end()
        case _:
            talk.end(failure)


def attacks(telemetry: Telemetry, word: str) -> dict[str, int]:
    """Attack with as many words as are distinct, and count the series of each metric."""
    recording = Recording(config(telemetry))
    for number in range(DISTINCT):
        attack(recording, word, number)
        if number % 100 == 0:
            telemetry.exporter.clear()
    return {name: len(points) for name, points in telemetry.metrics().items()}


def test_a_thousand_distinct_words_leave_the_number_of_series_constant(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    early = attacks(telemetry, "a")
    assert attacks(telemetry, "b") == early
    metrics = telemetry.metrics()
    assert list(unbounded_labels(metrics)) == []
    for points in metrics.values():
        assert len({dict(labels).get("error.type") for labels in points}) <= ERROR_TYPES + 2
    assert telemetry.total("websocket.server.closes") == 2 * DISTINCT
    assert telemetry.total("websocket.server.active_connections") == 0


def test_a_thousand_abnormal_closes_do_not_flood_the_log(
    telemetry: Telemetry, library_log: LogKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_clock(monkeypatch)
    options = config(telemetry)
    recording = Recording(options)
    for number in range(DISTINCT):
        talk = FakeConnection(options, recording=recording)
        talk.accept(BOTH[0])
        talk.close_by_client(4499, f"reason {number}")
    assert len(library_log.records) == 10
    assert telemetry.total("websocket.server.closes", {OUTCOME: "client_terminated"}) == DISTINCT
    assert [wrong for record in library_log.records for wrong in unbounded_record(record)] == []


def test_a_scrape_does_not_grow_with_the_words_of_untrusted_clients() -> None:
    reader = PrometheusMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    recording = Recording(OTelConfig(meter_provider=provider))
    series = []
    for word in ("a", "b"):
        for number in range(1000):
            attack(recording, word, number)
        lines = generate_latest(REGISTRY).decode().splitlines()
        series.append({line.rpartition(" ")[0] for line in lines if line.startswith(OURS)})
    provider.shutdown()
    assert series[0] == series[1]
    assert len(series[0]) > 100


async def test_distinct_handshakes_make_no_series(telemetry: Telemetry) -> None:
    """User agents, hosts, paths and offers are attributes of spans only."""
    sizes = []
    async with hosting(instrumented(telemetry)(schema=make_schema())) as host:
        for number in range(100):
            offers = TRANSPORT if number % 2 else f"offer-{number}"
            agent = {"User-Agent": f"agent-{number}", "Host": f"host-{number}.example:{number}"}
            client = await host.connect(offers, agent)
            client.close(1000)
            await client.until_end()
            await host.served()
            sizes.append(sum(map(len, telemetry.metrics().values())))
    assert len(telemetry.spans(CONNECTION)) == 100
    assert len(set(sizes[10:])) == 1
