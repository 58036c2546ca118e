"""A close is what was written, whatever the application passes to `close()`.

aiohttp takes keywords only: what does not fit raises, and nothing has happened. What cannot be
made a frame it swallows: it drops the connection without one, and keeps the exception.
"""

import asyncio
import struct
from enum import IntEnum
from types import new_class
from typing import Any

import pytest
from aiohttp import WSMsgType
from strawberry.exceptions import ConnectionRejectionError

from strawberry_ws_otel import _semconv
from tests.support.applications.application_closes import (
    CONNECTING,
    SOURCE,
    Close,
    closes,
    closing,
    kicking,
    outcome,
    twice,
)
from tests.support.applications.side_by_side import HANDLER, HANDLER_LEGACY, alike, assert_ended
from tests.support.clock import stop_clock
from tests.support.expected import (
    GREETING,
    NORMAL,
    connection,
    init,
    operation,
    received,
    recorded,
    sent,
)
from tests.support.hosting import Host, part
from tests.support.log import LogKeeper
from tests.support.raw_client import Client
from tests.support.scenarios.model import (
    BOTH,
    Verdict,
    by_client,
    by_server,
    unwritable,
    without_frames,
)
from tests.support.scenarios.steps import LEGACY, TRANSPORT, subscribe
from tests.support.schema import STRANGE
from tests.support.telemetry import Telemetry
from tests.support.views import View

REDUNDANT: tuple[str, dict[str, Any]] = (_semconv.EVENT_WEBSOCKET_REDUNDANT_CLOSE, {})
ACTIVE = "websocket.server.active_connections"


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


class Code(IntEnum):
    BANNED = 4001


class Index:
    def __index__(self) -> int:
        return 4002


# --- Arguments that do not fit -----------------------------------------------------------------

UNFIT = {
    "by position": closing(4000),
    "a keyword of others": closing(code=4000, reason="bye"),
}


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("close", UNFIT.values(), ids=UNFIT)
async def test_a_close_that_raises_has_closed_nothing(
    close: Close, protocol: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    live: list[float] = []

    async def leave(client: Client) -> None:
        await client.message("next", "data")
        live.append(telemetry.total(ACTIVE))
        client.close(1000)

    await closes(
        telemetry,
        library_log,
        close,
        NORMAL,
        "TypeError at once",
        protocol=protocol,
        meanwhile=leave,
        results=1,
    )
    assert live == [0, 1]


@pytest.mark.parametrize("protocol", BOTH)
async def test_a_close_that_raises_while_nobody_reads_has_closed_nothing(
    protocol: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    came: list[str] = []

    async def talk(host: Host) -> None:
        await part(await host.acknowledged(protocol))

    await alike(telemetry, kicking(closing(4000), CONNECTING, came), talk)
    assert came == ["TypeError at once"] * 2
    assert recorded(telemetry) == [connection(protocol, messages=(1, 1)), init()]
    assert_ended(telemetry, library_log, NORMAL)


@pytest.mark.parametrize("place", [SOURCE, CONNECTING])
@pytest.mark.parametrize("protocol", BOTH)
async def test_the_close_that_comes_after_one_that_raised_is_the_close(
    protocol: str, place: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    # A reader that waits is woken; then aiohttp does not read the answer.
    echo = 4100 if place == CONNECTING else None
    await closes(
        telemetry,
        library_log,
        twice(closing(4000), closing(code=4100, message=b"now")),
        by_server("application_code", 4100, "now", echo=echo),
        "['TypeError at once', 'True']" if place == CONNECTING else "",
        place,
        protocol,
    )


async def test_an_operation_that_fails_after_a_close_that_raised_has_failed(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    async def talk(host: Host) -> None:
        client = await host.acknowledged()
        client.json(subscribe(client, "a", STRANGE))
        await client.message("complete")
        await part(client)

    await alike(telemetry, kicking(closing(4000), CONNECTING, []), talk)
    assert recorded(telemetry) == [
        connection(messages=(2, 2), operations=["subscription"]),
        init(),
        operation(STRANGE, "failed", name="Strange", events=[sent("complete")], error="TypeError"),
    ]
    assert_ended(telemetry, library_log, NORMAL)


# --- Arguments of which no frame can be made ---------------------------------------------------

UNWRITABLE = {
    "no code": ("struct.error", {"code": None}),
    "a text for a code": ("struct.error", {"code": "4000"}),
    "half a code": ("struct.error", {"code": 1.5}),
    "a code below all": ("struct.error", {"code": -1}),
    "a code above all": ("struct.error", {"code": 65536}),
    "no message": ("TypeError", {"code": 4000, "message": None}),
    "a number for a message": ("TypeError", {"code": 4000, "message": 5}),
    "a list for a message": ("TypeError", {"code": 4000, "message": [104]}),
    "half a character": ("UnicodeEncodeError", {"code": 4000, "message": "\ud800"}),
}


@pytest.mark.parametrize(("error", "arguments"), UNWRITABLE.values(), ids=UNWRITABLE)
async def test_a_close_of_which_no_frame_can_be_made_is_the_server_s_act_without_a_frame(
    error: str, arguments: dict[str, Any], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    verdict = unwritable(error, *arguments.values())
    await closes(telemetry, library_log, closing(**arguments), verdict, "True")


@pytest.mark.parametrize("place", [SOURCE, CONNECTING])
@pytest.mark.parametrize("protocol", BOTH)
async def test_what_aiohttp_drops_is_the_server_s_act_wherever_it_is_asked_for(
    protocol: str, place: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    verdict = unwritable("struct.error", "4000")
    # The second close finds a socket that is closed already.
    close = twice(closing(code="4000"), closing(4000))
    came = "['True', 'TypeError at once']"
    await closes(telemetry, library_log, close, verdict, came, place, protocol)


async def test_an_adapter_that_is_asked_for_no_code_drops_the_connection(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    class Dropping(HANDLER):  # type: ignore[misc]  # a class in a variable
        async def handle_ping(self, message: Any) -> None:
            await self.websocket.close(None, "bye")

    class Own(View):
        graphql_transport_ws_handler_class = Dropping

    async def talk(host: Host) -> None:
        client = await host.acknowledged()
        client.json({"type": "ping"})

    await alike(telemetry, Own, talk)
    verdict = unwritable("struct.error", None)
    assert recorded(telemetry) == [
        connection(TRANSPORT, verdict, messages=(2, 1), events=[*GREETING, received("ping")]),
        init(),
    ]
    assert_ended(telemetry, library_log, verdict)


# --- Arguments of which a frame is made --------------------------------------------------------

WRITTEN = {
    "a truth": (closing(code=True), by_server("other", 1)),
    "nothing": (closing(code=0), by_server("other", 0)),
    "the highest code": (closing(code=65535), by_server("other", 65535)),
    "a member of an enumeration": (
        closing(code=Code.BANNED),
        by_server("application_code", 4001),
    ),
    "an index": (closing(code=Index()), by_server("application_code", 4002)),
    "a text": (closing(code=4000, message="b\xffe"), by_server("application_code", 4000, "b\xffe")),
    "a buffer": (
        closing(code=4000, message=memoryview(b"bye")),
        by_server("application_code", 4000, "bye"),
    ),
    "no text": (
        closing(code=4000, message=b"b\xffe"),
        by_server("application_code", 4000, "b\ufffde"),
    ),
    "more than a control frame may carry": (
        closing(code=4000, message=b"x" * 300),
        by_server("application_code", 4000, "x" * 123),
    ),
    "nobody waits for the buffer": (
        closing(code=4000, drain=False),
        by_server("application_code", 4000),
    ),
}


@pytest.mark.parametrize(("close", "verdict"), WRITTEN.values(), ids=WRITTEN)
async def test_a_close_is_the_frame_that_aiohttp_makes_of_it(
    close: Close, verdict: Verdict, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    await closes(telemetry, library_log, close, verdict, "")


@pytest.mark.parametrize("protocol", BOTH)
async def test_a_close_frame_that_is_sent_as_a_frame_is_the_server_s(
    protocol: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    async def close(ws: Any) -> None:
        await ws.send_frame(struct.pack("!H", 4000) + b"x", WSMsgType.CLOSE)
        await asyncio.Event().wait()

    # aiohttp takes the echo for the client's own close, and answers it.
    verdict = by_server("application_code", 4000, "x", echo=4000)
    await closes(telemetry, library_log, close, verdict, "", protocol=protocol)


# --- A socket that is closed already -----------------------------------------------------------

AGAIN = {
    "by position": (closing(4000), "TypeError at once", []),
    "no code": (closing(code=None), "False", [REDUNDANT]),
    "a text for a code": (closing(code="4000"), "False", [REDUNDANT]),
    "no message": (closing(code=4000, message=None), "False", [REDUNDANT]),
}


def closing_again(close: Close, came: list[str]) -> type[View]:
    """A view that lets nobody in, and whose handlers close at their end, when that is done."""

    class Again:
        websocket: Any

        async def shutdown(self) -> None:
            await super().shutdown()  # type: ignore[misc]  # the next class's
            came.append(await outcome(close, self.websocket.ws))

        async def cleanup(self) -> None:
            await super().cleanup()  # type: ignore[misc]  # the next class's
            came.append(await outcome(close, self.websocket.ws))

    class Own(View):
        graphql_transport_ws_handler_class = new_class("Handler", (Again, HANDLER))
        graphql_ws_handler_class = new_class("Handler", (Again, HANDLER_LEGACY))

        async def on_ws_connect(self, context: Any) -> Any:
            raise ConnectionRejectionError

    return Own


async def gives_up(client: Client) -> None:
    client.close(4499, b"bye")


async def asks_to_be_let_in(client: Client) -> None:
    client.json({"type": "connection_init"})


GIVEN_UP = by_client("client_terminated", 4499, "bye")
FORBIDDEN = by_server("forbidden", 4403, "Forbidden", echo=4403)
FORBIDDEN_LEGACY = by_server("forbidden", 1011, echo=1011)
NOBODY: dict[str, Any] = {"messages": (0, 0), "links": [], "events": [], "idle": None}
REFUSED: dict[str, Any] = {"messages": (1, 0), "events": GREETING[:1]}
REFUSED_LEGACY: dict[str, Any] = {
    "messages": (1, 1),
    "events": [GREETING[0], sent("connection_error")],
}


@pytest.mark.parametrize(
    ("protocol", "talk", "verdict", "expected"),
    [
        (TRANSPORT, gives_up, GIVEN_UP, NOBODY),
        (LEGACY, gives_up, GIVEN_UP, NOBODY),
        (TRANSPORT, asks_to_be_let_in, FORBIDDEN, REFUSED),
        (LEGACY, asks_to_be_let_in, FORBIDDEN_LEGACY, REFUSED_LEGACY),
    ],
)
@pytest.mark.parametrize(("close", "came", "events"), AGAIN.values(), ids=AGAIN)
async def test_a_close_of_a_closed_socket_changes_nothing_whatever_its_arguments(  # noqa: PLR0913, PLR0917
    close: Close,
    came: str,
    events: list[Any],
    protocol: str,
    talk: Any,
    verdict: Verdict,
    expected: dict[str, Any],
    telemetry: Telemetry,
    library_log: LogKeeper,
) -> None:
    async def connects(host: Host) -> None:
        await talk(await host.connect(protocol))

    said: list[str] = []
    await alike(telemetry, closing_again(close, said), connects)
    whole = connection(protocol, verdict, acknowledged=False, **expected)
    whole["events"] += events
    greeting = [init(error=verdict.error_type)] if expected["messages"][0] else []
    assert said == [came] * 2
    assert recorded(telemetry) == [whole, *greeting]
    assert_ended(telemetry, library_log, verdict)


# --- A peer that is gone -----------------------------------------------------------------------


@pytest.mark.parametrize("code", [4000, None])
async def test_a_close_that_finds_nobody_there_is_the_network_s(
    code: Any, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    async def close(ws: Any) -> Any:
        while ws._req.transport is not None:  # noqa: ASYNC110  # there is no event
            await asyncio.sleep(0)
        return await ws.close(code=code)

    async def reset(client: Client) -> None:
        client.reset()

    verdict = without_frames("connection_lost")
    await closes(telemetry, library_log, close, verdict, "True", CONNECTING, meanwhile=reset)


# --- Closes that are cut short -----------------------------------------------------------------


async def cancelled_in_time(ws: Any) -> Any:
    task = asyncio.ensure_future(ws.close(code=4000))
    task.cancel()
    await asyncio.wait([task])
    return task.cancelled()


async def never_awaited(ws: Any) -> None:
    ws.close(code=4000).close()


@pytest.mark.parametrize(("close", "came"), [(cancelled_in_time, "True"), (never_awaited, "None")])
async def test_a_close_that_never_ran_is_none(
    close: Close, came: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    async def leave(client: Client) -> None:
        await client.message("next")
        client.close(1000)

    await closes(telemetry, library_log, close, NORMAL, came, meanwhile=leave, results=1)


async def test_a_close_that_is_cancelled_as_it_waits_for_the_answer_was_written(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    heard = asyncio.Event()

    async def close(ws: Any) -> Any:
        task = asyncio.ensure_future(ws.close(code=4000))
        await heard.wait()
        heard.clear()
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    async def hear(client: Client) -> None:
        await client.closing()
        heard.set()

    verdict = by_server("application_code", 4000)
    await closes(telemetry, library_log, close, verdict, "True", CONNECTING, meanwhile=hear)
