"""What the application and the network do to a socket besides what the host does."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from aiohttp import ClientConnectionResetError
from strawberry.types.unset import UNSET

from strawberry_ws_otel import _semconv as name
from tests.support.assertions import play_and_assert
from tests.support.cases import Case, converse, traced
from tests.support.event_loop import Run
from tests.support.frames import Frame, Opcode, encode, text_frame
from tests.support.log import LogKeeper, RaisingHandler, handling
from tests.support.raw_client import Client
from tests.support.scenarios.model import (
    BOTH,
    LIVE,
    Scenario,
    by_client,
    by_server,
    unwritable,
    without_frames,
)
from tests.support.scenarios.network import LOST, SILENT
from tests.support.scenarios.steps import (
    INIT,
    asks,
    closes,
    fin,
    flooded,
    handshake,
    hears,
    live,
    meets,
    reset,
    sends,
    silent,
    steps,
    stops,
)
from tests.support.schema import TICKS
from tests.support.server import Hook, Server, Setup
from tests.support.telemetry import Telemetry, attributes_of

RESET_ERROR = f"{ClientConnectionResetError.__module__}.{ClientConnectionResetError.__qualname__}"
STOPPED_AND_COMPLETED = ("client_completed", "completed")
TEXT: Any = "not today"
"""A reason as text, which aiohttp takes though its types say bytes."""


def case(protocol: str, **members: Any) -> Case:
    return Case(Scenario(name="a socket", **members), protocol, handler_cancellation=False)


# --- The application closes ------------------------------------------------------------------


async def closes_with_text(server: Server) -> None:
    await server.socket.close(code=4123, message=TEXT)


async def closed_with_text(client: Client, server: Server) -> None:
    task = asyncio.create_task(server.socket.close(code=4123, message=TEXT))
    await client.until_end()
    await task


@pytest.mark.parametrize("protocol", BOTH)
def test_a_reason_of_text_is_recorded_as_it_is(
    protocol: str, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    verdict = by_server("application_code", 4123, "not today")
    talk = steps(live, silent, closed_with_text)
    play_and_assert(
        case(protocol, talk=talk, verdict=verdict, operations=LIVE), run, telemetry, library_log
    )


@pytest.mark.parametrize("protocol", BOTH)
def test_a_reason_of_text_is_recorded_as_it_is_where_a_hook_closes(
    protocol: str, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    verdict = by_server("application_code", 4123, "not today", echo=4123)
    setup = Setup(connect=closes_with_text)
    talk = steps(handshake, INIT)
    play_and_assert(
        case(protocol, talk=talk, verdict=verdict, setup=setup), run, telemetry, library_log
    )


@pytest.mark.parametrize("protocol", BOTH)
def test_a_close_of_which_aiohttp_can_make_no_frame_is_the_server_s_act(
    protocol: str, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    outcomes: list[object] = []

    async def closes_with_no_code(server: Server) -> None:
        try:
            outcomes.append(await server.socket.close(code=70000))
        except Exception as error:
            outcomes.append(type(error))
            raise

    setup = Setup(connect=closes_with_no_code)
    talk = steps(handshake, INIT)
    verdict = unwritable("struct.error", 70_000)
    conversation = case(protocol, talk=talk, verdict=verdict, setup=setup)
    bare = run(converse(conversation))
    play_and_assert(conversation, run, telemetry, library_log)
    assert outcomes[0] == outcomes[1]
    assert not bare.client.frames


async def sends_no_text(server: Server) -> Any:
    """The application sends what aiohttp refuses, and goes on."""
    with pytest.raises(TypeError):
        await server.socket.send_str(5)  # type: ignore[arg-type]  # what is tried
    return UNSET


@pytest.mark.parametrize("protocol", BOTH)
def test_a_send_that_is_refused_is_no_traffic(
    protocol: str, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    conversation = case(
        protocol,
        talk=steps(live, closes(1000)),
        verdict=by_client("normal", 1000),
        operations=LIVE,
        setup=Setup(connect=sends_no_text),
    )
    play_and_assert(conversation, run, telemetry, library_log)


# --- The application reads -------------------------------------------------------------------


async def receives_too(_client: Client, server: Server) -> None:
    """The application reads where the host does already, which aiohttp refuses."""
    with pytest.raises(RuntimeError):
        await asyncio.create_task(server.socket.receive())


@pytest.mark.parametrize("protocol", BOTH)
def test_a_second_reader_does_not_change_that_the_client_closed_first(
    protocol: str, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    talk = steps(live, receives_too, closes(1000, b"bye"))
    verdict = by_client("normal", 1000, "bye")
    play_and_assert(
        case(protocol, talk=talk, verdict=verdict, operations=LIVE), run, telemetry, library_log
    )


@pytest.mark.parametrize("protocol", BOTH)
def test_a_second_reader_does_not_change_that_the_server_closed_first(
    protocol: str, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    talk = steps(live, silent, receives_too, closed_with_text)
    verdict = by_server("application_code", 4123, "not today")
    play_and_assert(
        case(protocol, talk=talk, verdict=verdict, operations=LIVE), run, telemetry, library_log
    )


# --- The network -----------------------------------------------------------------------------


def sends_into_a_dead_socket(send: Callable[[Server], Awaitable[None]]) -> Hook:
    """More than any buffer holds, and then, when the client is gone, one frame too many."""

    async def hook(server: Server) -> None:
        await outlives_the_client(server)
        await send(server)

    return hook


async def outlives_the_client(server: Server) -> None:
    transport = server.requests[-1].transport
    assert transport is not None
    transport.write(512 * encode(Frame(Opcode.BINARY, bytes(65_536)), masked=False))
    server.gate.reached.set()
    while not transport.is_closing():  # noqa: ASYNC110  # there is no event
        await asyncio.sleep(0)


async def ended(_client: Client, server: Server) -> None:
    await server.ended.wait()


SENDS: dict[str, Callable[[Server], Awaitable[None]]] = {
    "text": lambda server: server.socket.send_str("welcome"),
    "text, with an option": lambda server: server.socket.send_str("welcome", compress=None),
    "bytes": lambda server: server.socket.send_bytes(b"welcome"),
    "bytes, with an option": lambda server: server.socket.send_bytes(b"welcome", compress=None),
}


@pytest.mark.parametrize("kind", SENDS)
@pytest.mark.parametrize("protocol", BOTH)
def test_a_send_of_the_application_that_finds_the_client_gone_is_a_connection_lost(
    protocol: str, kind: str, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    setup = Setup(connect=sends_into_a_dead_socket(SENDS[kind]))
    talk = steps(handshake, INIT, meets, fin, ended, reset)
    verdict = without_frames("connection_lost", RESET_ERROR)
    conversation = case(protocol, talk=talk, verdict=verdict, setup=setup, floods=True)
    play_and_assert(conversation, run, telemetry, library_log)


@pytest.mark.parametrize("protocol", BOTH)
def test_a_client_that_is_silent_for_longer_than_the_receive_timeout_misses_the_heartbeat(
    protocol: str, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    setup = Setup(socket={"receive_timeout": 0.1})
    conversation = case(protocol, talk=live, verdict=SILENT, operations=LIVE, setup=setup)
    play_and_assert(conversation, run, telemetry, library_log)


# --- Counting --------------------------------------------------------------------------------


DELAYED_ACK = 0.25
"""Seconds after which a kernel has acknowledged what it has taken (RFC 9293 3.8.6.3: below 0.5;
Linux: at most 0.2), so that the buffer of the server shrinks no more."""


async def blocks(_client: Client, server: Server) -> None:
    """Wait until the server waits for a client that does not read."""
    transport = server.requests[-1].transport
    assert transport is not None
    clock = asyncio.get_running_loop().time
    size, since = 0, clock()
    while clock() - since < DELAYED_ACK:
        await asyncio.sleep(0)
        before, size = size, transport.get_write_buffer_size()
        if size != before or size <= transport.get_write_buffer_limits()[1]:
            since = clock()


async def cancelled_in_its_answer(_client: Client, server: Server) -> None:
    """Cancel the handler while the answer to the client's close waits to be read."""
    while not server.socket.closed:  # noqa: ASYNC110  # there is no event
        await asyncio.sleep(0)
    server.handlers[-1].cancel()


@pytest.mark.parametrize("protocol", BOTH)
def test_a_close_of_the_client_is_recorded_though_its_answer_is_cancelled(
    protocol: str, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    conversation = case(
        protocol,
        talk=steps(flooded, blocks, closes(1001), cancelled_in_its_answer),
        verdict=by_client("normal", 1001),
        operations=LIVE,
        setup=Setup(socket={"writer_limit": 1}),
        floods=True,
    )
    play_and_assert(conversation, run, telemetry, library_log)


@pytest.mark.parametrize("protocol", BOTH)
def test_a_close_for_a_broken_frame_is_recorded_though_it_is_cancelled(
    protocol: str, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    conversation = case(
        protocol,
        talk=steps(flooded, blocks, sends(text_frame(b"\xff")), cancelled_in_its_answer),
        verdict=by_server("other", 1007),
        operations=LIVE,
        setup=Setup(socket={"writer_limit": 1}),
        floods=True,
    )
    play_and_assert(conversation, run, telemetry, library_log)


STOPPED_IN_FULL_FLOOD = steps(
    flooded,
    blocks,
    stops("flood"),
    asks("after", TICKS, variables={"to": 1}),
    hears("complete"),
    closes(1000),
)


def stopped_in_full_flood(protocol: str) -> Case:
    """The client stops what waits to be read, and then reads it, and all of another operation."""
    return case(
        protocol,
        talk=STOPPED_IN_FULL_FLOOD,
        verdict=by_client("normal", 1000),
        operations=STOPPED_AND_COMPLETED,
    )


@pytest.mark.parametrize("protocol", BOTH)
def test_a_result_written_when_its_operation_was_stopped_is_counted_as_a_message(
    protocol: str, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    play_and_assert(stopped_in_full_flood(protocol), run, telemetry, library_log)


@pytest.mark.parametrize("protocol", BOTH)
def test_the_result_that_still_drained_when_its_operation_was_stopped_is_none_of_its_results(
    protocol: str, run: Run[Any], telemetry: Telemetry
) -> None:
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    client = run(converse(stopped_in_full_flood(protocol), arm)).client
    messages = [frame.json for frame in client.data_frames]
    results = [message["id"] for message in messages if message["type"] in ("next", "data")]
    recorded = [
        attributes_of(span)[name.RESULTS] for span in telemetry.spans() if is_subscription(span)
    ]
    # The span had ended by the time the host was done with it; the metric counts it.
    assert recorded == [results.count("flood") - 1, results.count("after")]
    for type_ in ("next", "data"):
        counted = telemetry.total(name.METRIC_MESSAGES, {name.MESSAGE_TYPE: type_})
        assert counted == sum(message["type"] == type_ for message in messages)


def is_subscription(span: Any) -> bool:
    return bool(span.name == "subscription")


# --- The log ---------------------------------------------------------------------------------


@pytest.fixture
def full_disk(library_log: LogKeeper) -> Iterator[None]:
    """The library's log keeps its records, and then fails to write them."""
    with handling(RaisingHandler()):
        yield


@pytest.mark.internal_error
@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("protocol", BOTH)
def test_a_log_that_raises_costs_no_span_and_no_count(
    protocol: str, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    conversation = case(protocol, talk=steps(live, reset), verdict=LOST, operations=LIVE)
    play_and_assert(conversation, run, telemetry, library_log)
