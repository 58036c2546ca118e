"""The steps that conversations are made of."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL, GRAPHQL_WS_PROTOCOL

from tests.support.frames import Frame
from tests.support.raw_client import Client
from tests.support.schema import FLOOD, FOREVER
from tests.support.server import Server

TRANSPORT = GRAPHQL_TRANSPORT_WS_PROTOCOL
LEGACY = GRAPHQL_WS_PROTOCOL
SUBSCRIBE = {TRANSPORT: "subscribe", LEGACY: "start"}
COMPLETE = {TRANSPORT: "complete", LEGACY: "stop"}


Step = Callable[[Client, Server], Awaitable[None]]


def steps(*parts: Step) -> Step:
    """One step after the other."""

    async def run(client: Client, server: Server) -> None:
        for part in parts:
            await part(client, server)

    return run


def subscribe(client: Client, id_: Any, query: Any, **payload: Any) -> dict[str, Any]:
    """The message that asks for an operation, in the protocol of the client."""
    assert client.protocol is not None
    return {"id": id_, "type": SUBSCRIBE[client.protocol], "payload": {"query": query, **payload}}


async def handshake(client: Client, _server: Server) -> None:
    await client.shake_hands()


async def acknowledged(client: Client, server: Server) -> None:
    await client.shake_hands()
    client.json({"type": "connection_init"})
    await client.message("connection_ack")


async def live(client: Client, server: Server) -> None:
    """Acknowledged, and a subscription that has sent its first result and will send no more."""
    await acknowledged(client, server)
    client.json(subscribe(client, "live", FOREVER))
    await client.message("next", "data")


def says(*messages: object) -> Step:
    """Send messages in one piece: strings as they are, the rest as JSON."""

    async def run(client: Client, _server: Server) -> None:
        client.json(*messages)

    return run


def sends(*frames: Frame) -> Step:
    async def run(client: Client, _server: Server) -> None:
        client.send(*frames)

    return run


def closes(code: int | None = None, reason: bytes = b"") -> Step:
    async def run(client: Client, _server: Server) -> None:
        client.close(code, reason)

    return run


def hears(*types: str) -> Step:
    """Wait for a message of one of these types."""

    async def run(client: Client, _server: Server) -> None:
        await client.message(*types)

    return run


INIT = says({"type": "connection_init"})


async def flooded(client: Client, server: Server) -> None:
    """Acknowledged, and in the middle of more results than any buffer holds."""
    await acknowledged(client, server)
    client.json(subscribe(client, "flood", FLOOD))
    await client.message("next", "data")
    await client.message("next", "data")


async def fin(client: Client, _server: Server) -> None:
    client.fin()


async def reset(client: Client, _server: Server) -> None:
    client.reset()


async def ends(client: Client, _server: Server) -> None:
    """Listen until the server has nothing more to say."""
    await client.until_end()


async def silent(client: Client, _server: Server) -> None:
    """From here on the client answers no close."""
    client.echoes = False


async def noticed(_client: Client, server: Server) -> None:
    await server.notices()


async def meets(_client: Client, server: Server) -> None:
    await server.gate.reached.wait()


async def opens(_client: Client, server: Server) -> None:
    server.gate.opened.set()


def asks(id_: Any, query: Any, **payload: Any) -> Step:
    async def run(client: Client, _server: Server) -> None:
        client.json(subscribe(client, id_, query, **payload))

    return run


def asks_at_once(ids: Iterable[Any], query: str, **payload: Any) -> Step:
    """Ask for several operations in one piece."""

    async def run(client: Client, _server: Server) -> None:
        client.json(*(subscribe(client, id_, query, **payload) for id_ in ids))

    return run


def stops(id_: Any) -> Step:
    async def run(client: Client, _server: Server) -> None:
        assert client.protocol is not None
        client.json({"id": id_, "type": COMPLETE[client.protocol]})

    return run
