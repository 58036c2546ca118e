"""Conversations on the terminal, of an application that is not the demo: the quickstart."""

import asyncio
import fcntl
import os
import re
import struct
import sys
import termios
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from rich.cells import cell_len

from examples import quickstart
from strawberry_ws_otel import OTelConfig
from strawberry_ws_otel.console import ConversationExporter
from tests.support.drawn import ASKED_BY_RICH
from tests.support.telemetry import RESOURCE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LIMIT = 30
COUNT = "subscription Count { count(to: 1) }"
NEVER = str(3_600_000)
"""The delay of the batch processor that the SDK makes, in milliseconds: what is drawn before it is
drawn by our own."""

ENVIRONMENT = {
    key: value
    for key, value in os.environ.items()
    if not key.startswith("OTEL_") and key not in ASKED_BY_RICH
} | {"TERM": "xterm", "PYTHONIOENCODING": "utf-8", "OTEL_BSP_SCHEDULE_DELAY": NEVER}


async def converse(ws: aiohttp.ClientWebSocketResponse, operations: int = 1) -> None:
    """Count up to one, as often as that, over an open socket."""
    await ws.send_json({"type": "connection_init"})
    assert await ws.receive_json() == {"type": "connection_ack"}
    for number in range(operations):
        id_, payload = str(number), {"query": "{ hello }" if number else COUNT}
        await ws.send_json({"id": id_, "type": "subscribe", "payload": payload})
        while (await ws.receive_json())["type"] != "complete":
            pass


# --- On a terminal ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Terminal:
    """Both ends of a terminal: one is the program's stderr, of the other all is read."""

    program: int
    reader: asyncio.StreamReader

    async def read_to(self, end: str) -> str:
        """Read up to the line with this text."""
        read = b""
        while end.encode() not in read:
            read += await self.reader.readuntil(b"\r\n")
        return read.decode().replace("\r\n", "\n")


@asynccontextmanager
async def terminal(columns: int) -> AsyncIterator[Terminal]:
    """Open a terminal of that width."""
    primary, program = os.openpty()
    fcntl.ioctl(program, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    reader = asyncio.StreamReader()
    with os.fdopen(primary, "rb", buffering=0) as pipe:
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            yield Terminal(program, reader)
        finally:
            transport.close()
            os.close(program)


@asynccontextmanager
async def served(mode: str, stderr: int, **environment: str) -> AsyncIterator[tuple[Process, str]]:
    """Run the application in a process of its own; give the process and its URL."""
    exporter = {"OTEL_TRACES_EXPORTER": "graphql_ws"} if mode == "environment" else {}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.applications.drawn_program", mode),
        cwd=ROOT,
        env=ENVIRONMENT | exporter | environment,
        stdin=PIPE,
        stdout=PIPE,
        stderr=stderr,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        async with asyncio.timeout(LIMIT):
            port = (await process.stdout.readline()).decode().strip()
            yield process, f"http://127.0.0.1:{port}/graphql"
            process.stdin.close()
            assert await process.wait() == 0
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def visit(url: str) -> None:
    """Ask over HTTP, then converse over a socket."""
    async with aiohttp.ClientSession() as session:
        async with session.post(url, json={"query": "query Hello { hello }"}) as answer:
            assert await answer.json() == {"data": {"hello": "Hello, world!"}}
        async with session.ws_connect(url, protocols=["graphql-transport-ws"]) as ws:
            await converse(ws)


def panel(text: str) -> list[str]:
    """The lines of the conversation, without colours."""
    lines = re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()
    return [line for line in lines if line[:1] in set("╭│╰")]


@pytest.mark.parametrize("mode", ["code", "environment"])
@pytest.mark.parametrize("columns", [100, 80])
async def test_a_conversation_is_drawn_when_it_closes_in_the_width_of_the_terminal(
    mode: str, columns: int
) -> None:
    async with terminal(columns) as screen, served(mode, screen.program) as (process, url):
        await visit(url)
        drawn = await screen.read_to("╰")
        assert process.returncode is None
    assert "\x1b[32m" in drawn
    assert re.search(r"✓ query Hello\S* +\S*\d", drawn)
    lines = panel(drawn)
    assert {cell_len(line) for line in lines} == {columns}
    text = "\n".join(lines)
    assert re.match(r"╭─ [\d:.]+ /graphql · normal ─", text)
    assert text.count("↳ subscription Count") == 1
    assert "outcome normal   fault none   code 1000   initiator client   clean yes" in text


@pytest.mark.parametrize("mode", ["code", "environment"])
async def test_no_color_is_honoured(mode: str) -> None:
    async with terminal(80) as screen, served(mode, screen.program, NO_COLOR="1") as (_, url):
        await visit(url)
        drawn = await screen.read_to("╰")
    assert "\x1b" not in drawn
    assert "↳ subscription Count" in drawn


@pytest.mark.parametrize("mode", ["code", "environment"])
async def test_where_there_is_no_terminal_it_is_quiet(mode: str) -> None:
    async with served(mode, PIPE) as (process, url):
        await visit(url)
    stdout, stderr = await process.communicate()
    warned = [line.partition(":")[0] for line in stderr.decode().splitlines()]
    # `show()` has set no provider: that is worth a line where nobody sees the drawing.
    missing = ["no tracer provider is set", "no meter provider is set"] if mode == "code" else []
    assert (stdout, warned) == (b"", missing)


# --- In this process -------------------------------------------------------------------------


@pytest.fixture
def file() -> StringIO:
    return StringIO()


Flush = Callable[[], str]


@pytest.fixture(params=["linked", "nested"])
def drawn(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, file: StringIO
) -> Iterator[Flush]:
    """Draw what there is in the thread of a batch processor, and return it."""
    for name in ASKED_BY_RICH:
        monkeypatch.delenv(name, raising=False)
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(ConversationExporter(file=file)))
    config = OTelConfig(
        trace_shape=request.param, tracer_provider=provider, meter_provider=MeterProvider()
    )
    monkeypatch.setattr(quickstart.View, "otel_config", config)

    def flush() -> str:
        assert provider.force_flush()
        return file.getvalue()

    yield flush
    provider.shutdown()


@pytest.fixture
async def client(drawn: Flush) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(quickstart.create_app())) as client:
        yield client


async def test_each_operation_is_drawn_once_and_a_query_with_its_phases(
    client: TestClient[Any, Any], drawn: Flush
) -> None:
    async with client.ws_connect("/graphql", protocols=["graphql-transport-ws"]) as ws:
        await converse(ws, operations=3)
    await client.close()
    labels = re.findall(r"^│ ( *(?:↳ )?[A-Za-z ]+?) +[·━●]", drawn(), re.MULTILINE)
    phases = ["  GraphQL Document Parsing", "  GraphQL Document Validation"]
    query = ["↳ query", *phases, "  GraphQL Operation Execution"]
    assert labels == [
        "GraphQL WebSocket Connection",
        "↳ GraphQL WebSocket Connection Init",
        "↳ subscription Count",
        *(*query, *query),
    ]
    assert "left out" not in drawn()


async def test_of_many_operations_the_first_and_the_last_are_drawn(
    client: TestClient[Any, Any], drawn: Flush
) -> None:
    async with client.ws_connect("/graphql", protocols=["graphql-transport-ws"]) as ws:
        await converse(ws, operations=50)
    await client.close()
    text = drawn()
    # The init is one of the 20.
    assert text.count("↳ query") == 20 - 1 - 1
    assert "… 31 operations left out" in text


async def test_two_clients_at_once_are_drawn_apart(
    client: TestClient[Any, Any], drawn: Flush
) -> None:
    async def come_and_go() -> None:
        async with client.ws_connect("/graphql", protocols=["graphql-transport-ws"]) as ws:
            await converse(ws, operations=2)

    await asyncio.gather(*(come_and_go() for _ in range(5)))
    await client.close()
    panels = drawn().split("╭─")[1:]
    assert [panel.count("↳ ") for panel in panels] == [3] * 5
    assert len(set(re.findall(r"connection\.id=(\w+)", drawn()))) == 5


async def test_what_a_client_sends_does_not_reach_the_terminal_as_commands(
    client: TestClient[Any, Any], drawn: Flush
) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\u202e[bold]x"
    payload = {"query": COUNT, "operationName": evil}
    for operation in {"query": COUNT}, payload:
        async with client.ws_connect("/graphql", protocols=["graphql-transport-ws"]) as ws:
            await ws.send_json({"type": "connection_init"})
            await ws.receive_json()
            await ws.send_json({"id": evil, "type": "subscribe", "payload": operation})
            # Strawberry closes where it does not know the operation's name.
            await ws.receive()
            await ws.close(code=4001, message=evil.encode())
    await client.close()
    text = drawn()
    assert all(line.isprintable() for line in text.splitlines())
    assert "websocket.close 4001 ?]0;owned??[2J?[bold]x" in text
    assert "↳ GraphQL Operation ?]0;owned??[" in text
