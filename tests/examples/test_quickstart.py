"""The quickstart is what users copy: it must run as it stands and record all that it promises."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from examples import quickstart
from strawberry_ws_otel import OTelConfig
from tests.support.ports import free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
COUNT = "subscription Count { count(to: 1) }"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    config = OTelConfig(tracer_provider=provider, meter_provider=MeterProvider())
    monkeypatch.setattr(quickstart.View, "otel_config", config)
    return exporter


@pytest.fixture
async def client(spans: InMemorySpanExporter) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(quickstart.create_app())) as client:
        yield client


async def subscribe_to_the_end(ws: aiohttp.ClientWebSocketResponse) -> list[Any]:
    await ws.send_json({"type": "connection_init"})
    assert await ws.receive_json() == {"type": "connection_ack"}
    await ws.send_json({"id": "1", "type": "subscribe", "payload": {"query": COUNT}})
    return [await ws.receive_json(), await ws.receive_json()]


async def test_a_subscription_is_answered_and_traced(
    client: TestClient[Any, Any], spans: InMemorySpanExporter
) -> None:
    async with client.ws_connect("/graphql", protocols=["graphql-transport-ws"]) as ws:
        assert await subscribe_to_the_end(ws) == [
            {"id": "1", "type": "next", "payload": {"data": {"count": 1}}},
            {"id": "1", "type": "complete"},
        ]
    await client.close()

    by_name = {span.name: span for span in spans.get_finished_spans()}
    assert set(by_name) == {
        "GraphQL WebSocket Connection",
        "GraphQL WebSocket Connection Init",
        "subscription",
    }
    connection = by_name["GraphQL WebSocket Connection"].attributes or {}
    operation = by_name["subscription"].attributes or {}
    assert connection["websocket.close.outcome"] == "normal"
    assert connection["websocket.close.code"] == aiohttp.WSCloseCode.OK
    assert operation["graphql.operation.name"] == "Count"
    assert operation["graphql.ws.operation.end_reason"] == "completed"
    assert operation["websocket.connection.id"] == connection["websocket.connection.id"]


async def test_a_query_over_http_is_answered_and_traced(
    client: TestClient[Any, Any], spans: InMemorySpanExporter
) -> None:
    answer = await client.post("/graphql", json={"query": '{ hello(name: "you") }'})
    assert await answer.json() == {"data": {"hello": "Hello, you!"}}
    await client.close()
    assert "query" in {span.name for span in spans.get_finished_spans()}


def decode_spans(output: str) -> list[dict[str, Any]]:
    """Read the JSON objects that the console exporters print between other lines."""
    decoder, found, at = json.JSONDecoder(), [], output.find("\n{\n")
    while at != -1:
        document, end = decoder.raw_decode(output, at + 1)
        found.append(document)
        at = output.find("{\n", end) - 1 if "{\n" in output[end:] else -1
    return [document for document in found if "context" in document]


@pytest.fixture
async def program() -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    port = free_port()
    env = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-m", "examples.quickstart"),
        cwd=ROOT,
        env={**env, "PORT": str(port)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    yield process, f"http://127.0.0.1:{port}/graphql"
    if process.returncode is None:
        process.kill()
        await process.wait()


async def test_the_program_prints_its_spans(
    program: tuple[asyncio.subprocess.Process, str],
) -> None:
    process, url = program
    assert process.stdout is not None
    async with asyncio.timeout(30), aiohttp.ClientSession() as session:
        assert b"Running on" in await process.stdout.readline()
        async with session.ws_connect(url, protocols=["graphql-transport-ws"]) as ws:
            await subscribe_to_the_end(ws)
        process.send_signal(signal.SIGINT)
        stdout, stderr = await process.communicate()

    assert (process.returncode, stderr.decode()) == (0, "")
    printed = {span["name"]: span for span in decode_spans("\n" + stdout.decode())}
    connection = printed["GraphQL WebSocket Connection"]["attributes"]
    assert connection["websocket.close.outcome"] == "normal"
    assert printed["subscription"]["attributes"]["graphql.ws.operation.end_reason"] == "completed"
