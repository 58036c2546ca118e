"""Conversations in which nothing goes wrong, or nothing but an operation."""

from typing import Any

from strawberry.aiohttp.views import GraphQLView

from tests.support.frames import DEFLATE, Frame, Opcode, deflate, text_frame
from tests.support.raw_client import Client
from tests.support.scenarios.model import CLOSED, Scenario, by_client
from tests.support.scenarios.steps import (
    INIT,
    LEGACY,
    TRANSPORT,
    Step,
    acknowledged,
    asks,
    asks_at_once,
    closes,
    handshake,
    hears,
    live,
    meets,
    says,
    sends,
    steps,
    stops,
)
from tests.support.schema import (
    ECHO,
    FOREVER,
    STRANGE,
    TICKS,
)
from tests.support.server import PlainView, Server, Setup, returns

NORMAL = by_client("normal", 1000)
END = hears("complete", "error")
THREE = {"to": 3}
TICK = asks("a", TICKS, variables=THREE)
PING: dict[str, Any] = {"type": "ping"}
PONG = {"type": "pong"}
NESTED = '{"type": "pong", "payload": ' + "[" * 500 + "]" * 500 + "}"
MEGABYTE = {"text": "x" * 1_000_000}
DEFLATES = {"Sec-WebSocket-Extensions": DEFLATE}
STOPPED = "client_completed"
RESULT = hears("next", "data")
LIVE_TOO = steps(asks("c", FOREVER), RESULT)
LIVE_AGAIN = steps(asks("live", FOREVER), hears("data"))
IN_PIECES = (
    Frame(Opcode.TEXT, b'{"type":', fin=False),
    Frame(Opcode.PING, b"between"),
    Frame(Opcode.CONTINUATION, b'"pi', fin=False),
    Frame(Opcode.CONTINUATION, b'ng"}'),
    Frame(Opcode.PONG, b"unasked"),
)


async def pings(client: Client, _server: Server) -> None:
    """Once the answer is there, the host is done with whatever came before."""
    client.send(Frame(Opcode.PING, b"done?"))
    while (await client.frame()).opcode != Opcode.PONG:
        pass


def ordinary(name: str, talk: Step, *operations: str, **more: Any) -> Scenario:
    """A conversation that the client ends politely."""
    talk = steps(talk, closes(1000))
    return Scenario(name=name, talk=talk, verdict=NORMAL, operations=operations, **more)


def transport(name: str, talk: Step, *operations: str, **more: Any) -> Scenario:
    return ordinary(name, talk, *operations, protocols=(TRANSPORT,), **more)


def legacy(name: str, talk: Step, *operations: str, **more: Any) -> Scenario:
    return ordinary(f"legacy: {name}", talk, *operations, protocols=(LEGACY,), **more)


def once(query: object, **payload: object) -> Step:
    return steps(acknowledged, asks("a", query, **payload), END)


def encode_json(self: PlainView, data: object) -> str | bytes:
    """The scenario of a failure, which the legacy host reports to nobody."""
    try:
        return GraphQLView.encode_json(self, data)
    except TypeError:
        self.server.gate.reached.set()
        raise


async def unmasked(client: Client, _server: Server) -> None:
    client.send(text_frame(PING), masked=False)


async def says_deflated(client: Client, _server: Server) -> None:
    client.send(*(Frame(Opcode.TEXT, deflate(b'{"type": "ping"}'), rsv=4) for _ in range(2)))


ORDINARY = (
    ordinary(
        "a result that JSON cannot say",
        steps(acknowledged, asks("a", STRANGE), meets),
        "failed",
        setup=Setup(members={"encode_json": encode_json}),
    ),
    ordinary("no operation at all", acknowledged, representative=True),
    ordinary("an ack with a payload", acknowledged, setup=Setup(connect=returns({"for": "you"}))),
    ordinary("an ack with nothing", acknowledged, setup=Setup(connect=returns(None))),
    ordinary(
        "three operations at once",
        steps(acknowledged, asks_at_once(("a", "b", "c"), TICKS, variables=THREE), END, END, END),
        *("completed",) * 3,
        representative=True,
    ),
    ordinary(
        "one id used again",
        steps(acknowledged, TICK, END, TICK, END),
        *("completed",) * 2,
    ),
    ordinary(
        "ids that are no strings",
        steps(acknowledged, asks_at_once((7, 1.5, None), TICKS, variables=THREE), END, END, END),
        *("completed",) * 3,
    ),
    ordinary(
        "operations of which one is alive at the end",
        steps(acknowledged, TICK, END, asks("b", FOREVER), RESULT, stops("b"), pings, LIVE_TOO),
        *("completed", STOPPED, CLOSED),
    ),
    ordinary("a payload nested 500 deep", steps(acknowledged, says(NESTED))),
    ordinary(
        "messages that do not wait for the handshake",
        steps(INIT, TICK, handshake, END),
        "completed",
    ),
    ordinary(
        "a message in three frames with a ping between them",
        steps(acknowledged, sends(*IN_PIECES), pings),
    ),
    ordinary("messages that are not masked", steps(acknowledged, unmasked, TICK, END), "completed"),
    ordinary("a source that the client stops", steps(live, stops("live"), pings), STOPPED),
    transport("a stop for an id that nobody knows", steps(live, stops("other"), pings), CLOSED),
    legacy(
        "a stop for an id that nobody knows",
        steps(live, stops("other"), pings),
        CLOSED,
        since=(0, 341),
    ),
    ordinary("compressed results", steps(acknowledged, TICK, END), "completed", headers=DEFLATES),
    ordinary(
        "compressed results without a memory",
        steps(acknowledged, TICK, END),
        "completed",
        headers={"Sec-WebSocket-Extensions": f"{DEFLATE}; server_no_context_takeover"},
    ),
    ordinary("compressed messages", steps(acknowledged, says_deflated), headers=DEFLATES),
    ordinary(
        "compression that the server does not want",
        steps(acknowledged, TICK, END),
        "completed",
        headers=DEFLATES,
        setup=Setup(socket={"compress": False}),
    ),
    transport("a result of 1 MB", once(ECHO, variables=MEGABYTE), "completed"),
    transport(
        "a compressed result of 1 MB",
        once(ECHO, variables=MEGABYTE),
        "completed",
        headers=DEFLATES,
    ),
    transport(
        "pings and pongs",
        steps(acknowledged, says(PING, PING, PONG, PING | {"payload": [[]]}), *[hears("pong")] * 3),
    ),
    legacy("a source that the client asks for again", steps(live, LIVE_AGAIN), STOPPED, CLOSED),
    legacy(
        "keep-alive messages",
        steps(acknowledged, *[hears("ka")] * 3),
        setup=Setup(view={"keep_alive_interval": 0.02}),
    ),
    legacy("no keep-alive messages", acknowledged, setup=Setup(view={"keep_alive": False})),
)
