"""`opentelemetry-instrument python app.py`, together with the instrumentations of others."""

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from strawberry_ws_otel import _semconv as name
from tests.deployment.programs import INSTRUMENT, OURS, UNAWARE_APPLICATION, environment, running
from tests.deployment.receiver import Receiver, Span, attributes_of, receiving
from tests.support.ports import free_port
from tests.support.raw_client import Client

pytestmark = pytest.mark.slow

ROUTES: Final = ("/plain", "/titled", "/fresh")
COUNT: Final = "subscription Count { count(to: 2) }"
FOREVER: Final = "subscription Forever { forever }"
HELLO: Final = "query Hello { hello }"
PREFIX: Final = "OTEL_PYTHON_STRAWBERRY_WS_OTEL_"
DISABLED: Final = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "strawberry_ws_otel"}
CHANGING: Final = {
    name.CONNECTION_ID,
    name.SUBSCRIPTION_ID,
    name.SERVER_PORT,
    name.DURATION,
    name.RECEIVE_IDLE_TIME,
    name.SEND_IDLE_TIME,
    name.TIME_TO_FIRST_RESULT,
}
"""The attributes that differ from run to run."""


class Visitor:
    """Who talks to the application, and ends each conversation in another way."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.clients: list[Client] = []

    async def subscribes(self, path: str, query: str, until: str) -> Client:
        client = await Client.connect(self._port, protocol="graphql-transport-ws", path=path)
        self.clients.append(client)
        await client.shake_hands()
        client.json({"type": "connection_init"})
        await client.message("connection_ack")
        client.json({"id": "1", "type": "subscribe", "payload": {"query": query}})
        await client.message(until)
        return client

    async def asks(self, path: str) -> None:
        url = f"http://127.0.0.1:{self._port}{path}"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, json={"query": HELLO}) as response,
        ):
            assert (await response.json())["data"] == {"hello": "world"}

    async def converses(self, path: str) -> None:
        done = await self.subscribes(path, COUNT, "complete")
        done.close(1000)
        await done.until_end()
        wrong = await self.subscribes(path, FOREVER, "next")
        wrong.json({"id": "1", "type": "subscribe", "payload": {"query": COUNT}})
        await wrong.closing()
        lost = await self.subscribes(path, FOREVER, "next")
        lost.reset()
        await self.asks(path)


@asynccontextmanager
async def application(
    receiver: Receiver, folder: Path, *command: str, **variables: str
) -> AsyncIterator[Any]:
    """Run the application until the block ends, and let it stop in order then."""
    port = free_port()
    variables = {
        "PORT": str(port),
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_PYTHON_LOG_CORRELATION": "true",
        # Its handler starts a thread when the interpreter ends, which Python 3.12 refuses, with us
        # and without (opentelemetry-instrumentation-logging 0.66b1).
        "OTEL_PYTHON_LOG_AUTO_INSTRUMENTATION": "false",
        "OTEL_PYTHON_ASYNCIO_COROUTINE_NAMES_TO_TRACE": "world",
        "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=it",
        **variables,
    }
    async with running(
        *(*command, sys.executable, "-u", str(UNAWARE_APPLICATION)),
        output=folder / "log",
        environment=environment(receiver, **variables),
    ) as program:
        await program.prints("Running on")
        visitor = Visitor(port)
        try:
            yield program, visitor
        finally:
            for client in visitor.clients:
                await client.leave()
        assert await program.receives(signal.SIGTERM) == 0, program.printed
        assert OURS not in program.printed
        assert "Traceback" not in program.printed


async def visited(receiver: Receiver, folder: Path, **variables: str) -> str:
    """Let each view of the application be talked to; return what it printed."""
    async with application(receiver, folder, INSTRUMENT, **variables) as (program, visitor):
        await asyncio.gather(*map(visitor.converses, ROUTES))
        if variables.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS") is None or (
            variables.get("BY_HAND")
        ):
            await program.prints("closed abnormally: connection_lost", times=len(ROUTES))
    printed: str = program.printed
    return printed


def ours(receiver: Receiver) -> list[Span]:
    return [span for span in receiver.spans() if span.scope == name.SCOPE]


def account(receiver: Receiver) -> dict[str, Any]:
    """All that the library recorded, whatever differs from run to run left out."""
    names = {span.id: span.name for span in receiver.spans()}
    return {
        "spans": Counter(
            (
                span.name,
                names.get(span.parent, ""),
                repr(sorted((k, v) for k, v in span.attributes.items() if k not in CHANGING)),
            )
            for span in ours(receiver)
        ),
        "metrics": {
            metric: Counter(
                (repr(sorted(attributes_of(point).items())), value_of(point)) for point in points
            )
            for metric, points in receiver.metrics("it").items()
            if metric.startswith(("websocket.", "graphql."))
        },
    }


def value_of(point: Any) -> int:
    """Return how many a sum or a histogram counted."""
    value: int = point.count if hasattr(point, "count") else point.as_int
    return value


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the same application records that uses the library by hand."""

    with receiving() as receiver:
        asyncio.run(
            visited(
                receiver, tmp_path_factory.mktemp("hand"), BY_HAND="mixin extension", **DISABLED
            )
        )
        return account(receiver)


@pytest.mark.parametrize("halves", ["", "mixin", "extension", "mixin extension"])
async def test_an_application_is_recorded_as_by_hand_whatever_it_has_by_hand(
    halves: str, receiver: Receiver, tmp_path: Path, by_hand: dict[str, Any]
) -> None:
    printed = await visited(receiver, tmp_path, BY_HAND=halves)
    assert account(receiver) == by_hand
    assert Counter(span.name for span in ours(receiver))[name.SPAN_CONNECTION] == 9
    # The instrumentations of others work with it: one of aiohttp, asyncio, and the log.
    scopes = {span.scope for span in receiver.spans()}
    assert "opentelemetry.instrumentation.aiohttp_server" in {
        scope.removesuffix(".__init__") for scope in scopes
    }
    [*traced] = [line for line in printed.splitlines() if "resolving hello" in line]
    assert len(traced) == len(ROUTES)
    assert all("trace_id=" in line and "trace_id=0 " not in line for line in traced)


async def test_the_query_is_below_the_request_and_its_task_below_the_query(
    receiver: Receiver, tmp_path: Path
) -> None:
    async with application(receiver, tmp_path, INSTRUMENT) as (_program, visitor):
        await visitor.asks("/plain")
    spans = {span.id: span for span in receiver.spans()}
    [query] = receiver.spans("query")
    assert spans[query.parent].attributes["http.method"] == "POST"
    [task] = [span for span in spans.values() if "world" in span.name]
    ancestors = []
    while task.parent in spans:
        task = spans[task.parent]
        ancestors.append(task.name)
    assert "query" in ancestors


async def test_it_can_be_disabled(receiver: Receiver, tmp_path: Path) -> None:
    async with application(receiver, tmp_path, INSTRUMENT, **DISABLED) as (_program, visitor):
        await visitor.converses("/plain")
    assert receiver.spans()
    assert ours(receiver) == []


async def test_options_are_read_from_the_environment_and_wrong_ones_are_warnings(
    receiver: Receiver, tmp_path: Path
) -> None:
    options = {
        f"{PREFIX}TRACE_SHAPE": "nested",
        f"{PREFIX}NORMAL_OUTCOMES": "duplicate_operation,connection_lost",
        f"{PREFIX}MESSAGE_EVENTS": "plenty",
        f"{PREFIX}CAPTURE_DOCUMNT": "true",
    }
    async with application(receiver, tmp_path, INSTRUMENT, **options) as (program, visitor):
        await visitor.converses("/plain")
        # Nothing else says that the server has noticed.
        await visitor.converses("/plain")
    names = {span.id: span.name for span in receiver.spans()}
    [*subscriptions] = receiver.spans("subscription")
    assert {names[span.parent] for span in subscriptions} == {name.SPAN_CONNECTION}
    assert "closed abnormally" not in program.printed
    assert program.printed.count(f"{PREFIX}MESSAGE_EVENTS=plenty is ignored") == 1
    assert program.printed.count(f"did you mean {PREFIX}CAPTURE_DOCUMENT?") == 1


async def test_an_application_may_instrument_itself_after_its_views_are_made(
    receiver: Receiver, tmp_path: Path
) -> None:
    variables = {"INSTRUMENT": "1", **DISABLED}
    async with application(receiver, tmp_path, INSTRUMENT, **variables) as (_program, visitor):
        for route in ROUTES:
            client = await visitor.subscribes(route, COUNT, "complete")
            client.close(1000)
            await client.until_end()
    spans = Counter(span.name for span in ours(receiver))
    assert (spans[name.SPAN_CONNECTION], spans["subscription"]) == (3, 3)


async def test_the_environment_is_not_for_the_mixin(receiver: Receiver, tmp_path: Path) -> None:
    variables = {"BY_HAND": "mixin extension", f"{PREFIX}TRACE_SHAPE": "nested", **DISABLED}
    async with application(receiver, tmp_path, INSTRUMENT, **variables) as (_program, visitor):
        client = await visitor.subscribes("/plain", COUNT, "complete")
        client.close(1000)
        await client.until_end()
    [subscription] = receiver.spans("subscription")
    assert subscription.parent not in {span.id for span in receiver.spans()}
