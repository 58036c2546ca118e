"""Clients that have trouble or cause it. Only the slow reader ends its connection as usual."""

import asyncio
import json
from typing import Final

from aiohttp import ClientWebSocketResponse, WSServerHandshakeError

from examples.demo.clients import CHARTS, ENDLESS_PRICES, PRICES_WITH_GAP, QUOTE
from examples.demo.server import LOST_TOKEN, MAX_MESSAGE_SIZE
from examples.demo.visitor import Visitor, init, subscribe, until, until_closed
from examples.demo.wire import COMPRESSED, COMPRESSION

FOREIGN_ORIGIN: Final = "https://elsewhere.example"


async def rejected_login(visitor: Visitor) -> None:
    """Log in with a token that nobody issued."""
    async with visitor.socket() as socket:
        await socket.send_json(init(token="forged"))  # noqa: S106 - a demo has no secrets
        await until_closed(socket)


async def no_init(visitor: Visitor) -> None:
    """Connect and never send `connection_init`."""
    async with visitor.socket() as socket:
        await until_closed(socket)


async def foreign_origin(visitor: Visitor) -> None:
    """Send the handshake of a page on another origin; there is no upgrade."""
    try:
        async with visitor.socket(origin=FOREIGN_ORIGIN):
            pass
    except WSServerHandshakeError:
        return


async def vanished(visitor: Visitor) -> None:
    """Follow a price, and disappear in the middle of it."""
    client = await visitor.raw()
    client.send(init())
    await client.receive("connection_ack")
    client.send(subscribe("1", ENDLESS_PRICES))
    for _ in range(3):
        await client.receive("next")
    client.vanish()


async def read_nothing(socket: ClientWebSocketResponse, seconds: int) -> None:
    """Read nothing for so long. PONGs that nobody asked for keep the server's heartbeat content."""
    for _ in range(seconds):
        await asyncio.sleep(1)
        await socket.pong()


async def slow_reader(visitor: Visitor) -> None:
    """Follow charts, and read none of them for a moment. Then read them all, and leave as usual."""
    async with visitor.logged_in() as socket:
        await socket.send_json(subscribe("1", CHARTS))
        await read_nothing(socket, 2)
        await until(socket, "complete")


async def oversized_message(visitor: Visitor) -> None:
    """Follow a price, then send a message that is too big for the server."""
    async with visitor.logged_in() as socket:
        await socket.send_json(subscribe("1", ENDLESS_PRICES))
        await until(socket, "next", times=2)
        await socket.send_str(json.dumps(subscribe("2", "#" * MAX_MESSAGE_SIZE)))
        await until_closed(socket)


async def missed_heartbeat(visitor: Visitor) -> None:
    """Run operations like any client, then answer no PING, as if the network was lost."""
    client = await visitor.raw()
    client.send(init())
    await client.receive("connection_ack")
    client.send(subscribe("quote", QUOTE))
    client.send(subscribe("gap", PRICES_WITH_GAP))
    client.send(subscribe("prices", ENDLESS_PRICES))
    await client.read_to_end()


async def handler_exception(visitor: Visitor) -> None:
    """Log in while the session store does not answer, so that the server fails."""
    async with visitor.socket() as socket:
        await socket.send_json(init(token=LOST_TOKEN))
        await until_closed(socket)


async def undecodable_data(visitor: Visitor) -> None:
    """Negotiate compression, then send data that cannot be decompressed."""
    client = await visitor.raw(COMPRESSION)
    client.send(init())
    await client.receive_text()
    client.send_text(b"\xff" * 16, flags=COMPRESSED)
    await client.read_to_end()


async def server_shutdown(visitor: Visitor) -> None:
    """Follow a price until the server shuts down."""
    async with visitor.logged_in() as socket:
        await socket.send_json(subscribe("1", ENDLESS_PRICES))
        await until(socket, "next", times=3)
        stopping = asyncio.ensure_future(visitor.stop_server())
        await until_closed(socket)
        await stopping
