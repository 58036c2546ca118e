"""For how long sends wait for a client that does not read. For one that reads, none waits."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from aiohttp import web

from strawberry_ws_otel._aiohttp.websocket import Observer, Transport
from tests.support.clock import Clock
from tests.support.event_loop import Run
from tests.support.expected import CONNECTION
from tests.support.fake_connection import FakeConnection
from tests.support.flood import FLOOD, MUCH, PACED, POLL, Flooding, blocked, flooded, flooding
from tests.support.hosting import hosting, part
from tests.support.instruments import BLOCKED, BLOCKED_TIME
from tests.support.log import LogKeeper
from tests.support.raw_client import Client
from tests.support.scenarios.steps import COMPLETE, TRANSPORT, subscribe
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.tls import TLS
from tests.support.views import answering, config

BLOCKED_FOR: Final = "graphql.ws.send_blocked_time"
SEND_IDLE: Final = "graphql.ws.send_idle_time"
RECEIVE_IDLE: Final = "graphql.ws.receive_idle_time"
DEFLATE: Final = {"Sec-WebSocket-Extensions": "permessage-deflate"}
sockets = pytest.mark.parametrize(
    ("is_secure", "headers"),
    [(False, {}), (False, DEFLATE), (True, {}), (True, DEFLATE)],
    ids=["plain", "compressed", "TLS", "TLS, compressed"],
)
both_loops = pytest.mark.parametrize("run", ["asyncio", "uvloop"], indirect=True)


@pytest.fixture(scope="module")
def tls() -> TLS:
    return TLS.make()


def blocked_times(telemetry: Telemetry) -> dict[str, list[float | None]]:
    """For how long sends waited, by the name of the span."""
    return {
        name: [attributes_of(span).get(BLOCKED_FOR) for span in telemetry.spans(name)]
        for name in (CONNECTION, "subscription")
    }


# --- A client that does not read ---------------------------------------------------------------


@both_loops
@sockets
def test_the_time_in_which_a_client_does_not_read_is_that_of_its_connection_and_operation(  # noqa: PLR0913  # fixtures
    run: Run[Any], telemetry: Telemetry, clock: Clock, tls: TLS, *, is_secure: bool, headers: Any
) -> None:
    async def converse() -> None:
        view = flooding(telemetry)
        async with hosting(view, tls=tls if is_secure else None) as host:
            client = await flooded(host, telemetry, headers=headers)
            clock.passes(30)
            assert telemetry.metrics()[BLOCKED_TIME] == {frozenset(): 30.0}
            clock.passes(12)
            view.has_enough = True
            await client.message("complete")
            clock.passes(5)
            await part(client)

    run(converse())
    assert blocked_times(telemetry) == {CONNECTION: [42.0], "subscription": [42.0]}
    assert telemetry.metrics()[BLOCKED] == {frozenset(): 0}
    assert telemetry.metrics()[BLOCKED_TIME] == {frozenset(): 42.0}


async def resets(client: Client) -> None:
    client.reset()


async def completes(client: Client) -> None:
    client.json({"type": COMPLETE[TRANSPORT], "id": "a"})


@both_loops
@pytest.mark.parametrize("ends", [resets, completes])
def test_a_send_that_fails_or_is_cancelled_waits_no_more(
    ends: Callable[[Client], Awaitable[None]], run: Run[Any], telemetry: Telemetry, clock: Clock
) -> None:
    async def converse() -> None:
        async with hosting(flooding(telemetry)) as host:
            client = await flooded(host, telemetry)
            clock.passes(30)
            await ends(client)
            await blocked(telemetry, 0)
            clock.passes(30)
            if not client.end:
                await part(client)

    run(converse())
    assert blocked_times(telemetry) == {CONNECTION: [30.0], "subscription": [30.0]}
    assert telemetry.metrics()[BLOCKED_TIME] == {frozenset(): 30.0}


async def test_what_waits_at_once_counts_once_for_the_connection_and_for_each_operation(
    telemetry: Telemetry, clock: Clock
) -> None:
    view = flooding(telemetry)
    async with hosting(view) as host:
        client, other = await flooded(host, telemetry), await host.acknowledged()
        clock.passes(10)
        client.json(subscribe(client, "b", FLOOD))
        other.json(subscribe(other, "a", FLOOD))
        await blocked(telemetry, 2)
        while telemetry.total("graphql.server.subscription.active") < 3:  # noqa: ASYNC110  # likewise
            await asyncio.sleep(POLL)
        clock.passes(5)
        assert telemetry.metrics()[BLOCKED_TIME] == {frozenset(): 20.0}
        other.reset()
        view.has_enough = True
        await client.message("complete")
        await part(client)

    assert {
        (attributes["graphql.ws.operation.id"], attributes[BLOCKED_FOR])
        for attributes in map(attributes_of, telemetry.spans("subscription"))
    } == {("a", 15.0), ("b", 5.0), ("a", 5.0)}
    assert sorted(blocked_times(telemetry)[CONNECTION]) == [5.0, 15.0]  # type: ignore[type-var]


class Greeting(Flooding):
    """A view that sends a lot before it lets a client in."""

    async def on_ws_connect(self, context: Any) -> None:
        for _ in range(1000):
            await context["response"].send_str(MUCH)


async def test_a_send_of_no_operation_is_the_connection_s(
    telemetry: Telemetry, clock: Clock
) -> None:
    async with hosting(flooding(telemetry, Greeting)) as host:
        client = await host.connect()
        client.json({"type": "connection_init"})
        await blocked(telemetry)
        clock.passes(30)
        client.reset()

    assert blocked_times(telemetry) == {CONNECTION: [30.0], "subscription": []}


# --- A client that reads -----------------------------------------------------------------------


@both_loops
@sockets
@pytest.mark.parametrize("size", [100, 20 << 10, 1 << 20])
def test_no_send_waits_for_a_client_that_reads(  # noqa: PLR0913  # fixtures
    size: int, run: Run[Any], telemetry: Telemetry, tls: TLS, *, is_secure: bool, headers: Any
) -> None:
    async def converse() -> None:
        view = flooding(telemetry)
        async with hosting(view, tls=tls if is_secure else None) as host:
            client = await host.acknowledged(headers=headers)
            client.json(subscribe(client, "a", PACED.format(size)))
            for _ in range(5):
                view.turns.release()
                await client.message("next")
            view.has_enough = True
            view.turns.release()
            await client.message("complete")
            await part(client)

    run(converse())
    assert blocked_times(telemetry) == {CONNECTION: [None], "subscription": [None]}
    assert telemetry.metrics()[BLOCKED_TIME] == {frozenset(): 0}


# --- Silence -----------------------------------------------------------------------------------


async def test_the_log_of_a_lost_client_says_how_long_both_sides_were_silent(
    telemetry: Telemetry, clock: Clock, library_log: LogKeeper
) -> None:
    async with hosting(flooding(telemetry)) as host:
        client = await host.acknowledged()
        clock.passes(20)
        client.json({"type": "ping"})
        await client.message("pong")
        clock.passes(10)
        client.reset()

    [span] = map(attributes_of, telemetry.spans(CONNECTION))
    [record] = library_log.records
    for recorded in (span, vars(record)):
        assert (recorded[RECEIVE_IDLE], recorded[SEND_IDLE]) == (10.0, 10.0)


async def test_silence_to_the_client_lasts_while_a_send_waits(
    telemetry: Telemetry, clock: Clock
) -> None:
    async with hosting(flooding(telemetry)) as host:
        client = await flooded(host, telemetry)
        clock.passes(60)
        client.reset()

    [span] = map(attributes_of, telemetry.spans(CONNECTION))
    assert (span[RECEIVE_IDLE], span[SEND_IDLE], span[BLOCKED_FOR]) == (60.0, 60.0, 60.0)


# --- What aiohttp does not show ----------------------------------------------------------------


class WriterOfAnotherKind:
    """A writer without the private parts that the library looks for."""

    def __init__(self, writer: Any) -> None:
        self.send_frame, self.close, self.transport = (
            writer.send_frame,
            writer.close,
            writer.transport,
        )


class OtherWriter(web.WebSocketResponse):
    async def prepare(self, request: web.BaseRequest) -> Any:
        prepared = await super().prepare(request)
        self._writer: Any = WriterOfAnotherKind(self._writer)
        return prepared


async def test_where_aiohttp_does_not_show_a_wait_none_is_recorded_and_one_warning_says_so(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    view = flooding(telemetry, answering(OtherWriter, Flooding))
    async with hosting(view) as host:
        for _ in range(2):
            client = await host.acknowledged()
            client.json(subscribe(client, "a", PACED.format(100)))
            view.turns.release()
            await client.message("next")
            await part(client)

    assert blocked_times(telemetry) == {CONNECTION: [None] * 2, "subscription": [None] * 2}
    [record] = library_log.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(
        "OtherWriter does not show when a send waits for a full buffer (aiohttp "
    )


class Protocol:
    """A protocol of aiohttp's, as its writer sees it."""

    connected = True

    def __init__(self, *, paused: bool) -> None:
        self._paused = paused
        self.waited = 0

    async def _drain_helper(self) -> None:
        self.waited += 1


def observed(telemetry: Telemetry, protocol: Protocol) -> tuple[Observer, Any, FakeConnection]:
    """The observer of a socket whose writer has this protocol."""

    class Writer:
        def __init__(self) -> None:
            self.protocol: object = protocol

    ws: Any = web.WebSocketResponse()
    ws._writer = Writer()
    talk = FakeConnection(config(telemetry))
    talk.accept(TRANSPORT)
    request: Any = web.Request.__new__(web.Request)
    request._protocol = type("Handler", (), {"transport": None})()
    return Observer(ws, talk.connection, Transport(request)), ws._writer, talk


async def test_a_drain_that_has_nothing_to_wait_for_is_no_wait(telemetry: Telemetry) -> None:
    protocol = Protocol(paused=False)
    _, writer, talk = observed(telemetry, protocol)
    await writer.protocol._drain_helper()
    assert protocol.waited == 1
    talk.close_by_client()
    assert blocked_times(telemetry)[CONNECTION] == [None]


async def test_the_writer_gets_its_protocol_back_unless_it_has_another_one(
    telemetry: Telemetry,
) -> None:
    protocol, others = Protocol(paused=True), object()
    observer, writer, _ = observed(telemetry, protocol)
    assert writer.protocol is not protocol
    assert writer.protocol.waited == 0
    observer.remove()
    assert writer.protocol is protocol

    observer, writer, _ = observed(telemetry, protocol)
    writer.protocol = others
    observer.remove()
    assert writer.protocol is others
