"""Conversations that only some clients on Node can have: their own options, and their processes."""

from typing import Final

from tests.clients.conversations import (
    FIRST,
    LEFT,
    Conversation,
    ending,
    is_served,
    knocks,
    leaving,
    lives,
)
from tests.clients.model import Kind
from tests.clients.node import NodeClient
from tests.support.scenarios.model import CLOSED, LIVE, Ending, by_client, by_server, without_frames
from tests.support.schema import FOREVER, UNPARSABLE
from tests.support.server import Server, Setup, wait_and_accept

HEARTBEAT: Final = 4.0
"""Seconds between two PINGs; half of it is the time that a client has for its PONG."""


async def pings(client: NodeClient, _server: Server) -> None:
    await lives(client)
    await client.sees("pong", times=3)
    await client.leave()


async def gives_up(client: NodeClient, _server: Server) -> None:
    await lives(client)
    await client.tell("terminate")


async def waits_in_vain(client: NodeClient, server: Server) -> None:
    await client.ask("a", FOREVER)
    await client.sees("closing", code=4504)
    server.gate.opened.set()


async def is_sent_away_and_comes_again(client: NodeClient, server: Server) -> None:
    await lives(client)
    await server.socket.close(code=1012, message=b"again")
    await client.sees("result", times=2, id="a")
    await client.leave()


async def is_killed(client: NodeClient, _server: Server) -> None:
    await lives(client)
    client.kill()


async def freezes(client: NodeClient, server: Server) -> None:
    await lives(client)
    client.freeze()
    try:
        await is_served(server)
    finally:
        client.thaw()


def twice(kind: Kind) -> tuple[Ending, ...]:
    """The server closes the first connection, and the client leaves the second one."""
    first = Ending(verdict=by_server("server_shutdown", 1012, "again"), operations=LIVE)
    return (first, *leaving(LEFT)(kind))


COMES_AGAIN: Final = Conversation(
    name="a server that closes, and a client that comes again",
    talk=is_sent_away_and_comes_again,
    expected=twice,
    data=(*FIRST, *FIRST),
)
KILLED: Final = Conversation(
    name="a client whose process is killed",
    talk=is_killed,
    expected=ending(without_frames("connection_lost"), CLOSED),
    data=FIRST,
)
GRAPHQL_WS: Final = (
    Conversation(
        name="a client whose process is stopped",
        talk=freezes,
        expected=ending(without_frames("heartbeat_timeout", "TimeoutError"), CLOSED),
        data=FIRST,
        setup=Setup(socket={"heartbeat": HEARTBEAT}),
    ),
    Conversation(
        name="a document with a syntax error",
        talk=knocks(UNPARSABLE),
        expected=ending(by_server("invalid_message", 4400, "Syntax Error"), CLOSED),
        unseen=1,
    ),
    Conversation(
        name="pings of the client's",
        talk=pings,
        expected=leaving(LEFT),
        data=FIRST,
        options={"keepAlive": 50},
    ),
    Conversation(
        name="a client that terminates",
        talk=gives_up,
        expected=ending(by_client("client_terminated", 4499, "Terminated"), CLOSED),
        data=FIRST,
    ),
    Conversation(
        name="a client that waits in vain for an ack",
        talk=waits_in_vain,
        expected=ending(by_client("client_error", 4504, "Connection acknowledgement timeout")),
        setup=Setup(connect=wait_and_accept),
        options={"connectionAckWaitTimeout": 100},
    ),
)
