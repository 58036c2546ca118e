"""The representative conversations, as clients hold them: `python -m tests.vendors.conversations`.

The clients are a process of their own, so that no vendor instruments them. It is given the URL and
what a client sends that brings a trace context, as JSON, and prints what each client heard.
"""

import asyncio
import json
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import aiohttp

TRANSPORT: Final = "graphql-transport-ws"
LEGACY: Final = "graphql-ws"

QUERY: Final = "query Price { price }"
TICKS: Final = "subscription Ticks { ticks }"
LIVE: Final = "subscription Live { live }"
OVER_HTTP: Final = "query OverHTTP { price }"
OPERATIONS: Final = {TRANSPORT: "subscribe", LEGACY: "start"}


class Client:
    """One WebSocket, and the types of the messages that were heard over it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.heard: list[str] = []

    async def begin(self, conversation: str, carrier: Mapping[str, str]) -> None:
        await self.send("connection_init", payload={"conversation": conversation, **carrier})
        await self.until("connection_ack", "connection_error")

    async def operation(self, operation_id: str, document: str) -> None:
        kind = OPERATIONS[self._socket.protocol or TRANSPORT]
        await self.send(kind, id=operation_id, payload={"query": document})

    async def send(self, kind: str, **members: object) -> None:
        await self._socket.send_json({"type": kind, **members})

    async def until(self, *kinds: str) -> None:
        """Hear messages up to one of these types; pings of the legacy subprotocol do not count."""
        while (kind := (await self._socket.receive_json())["type"]) not in kinds:
            self._hear(kind)
        self._hear(kind)

    def _hear(self, kind: str) -> None:
        if kind != "ka":
            self.heard.append(kind)

    async def close(self) -> None:
        await self._socket.close(code=1000)

    async def closed(self) -> None:
        """Wait for the server to close."""
        while (message := await self._socket.receive()).type is aiohttp.WSMsgType.TEXT:
            self._hear(message.json()["type"])
        self.heard.append(f"close {self._socket.close_code}")

    def vanish(self) -> None:
        """Let the kernel answer with an RST when the connector drops the connection."""
        option = struct.pack("ii", 1, 0)
        self._socket.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, option
        )


async def polite(client: Client) -> None:
    await client.operation("query", QUERY)
    await client.until("complete", "error")
    await client.operation("ticks", TICKS)
    await client.until("complete")
    await client.close()


async def vanishes(client: Client) -> None:
    await client.operation("live", LIVE)
    await client.until("next", "data")
    client.vanish()


async def nonsense(client: Client) -> None:
    await client.operation("live", LIVE)
    await client.until("next")
    await client.send("nonsense")
    await client.closed()


async def rejected(client: Client) -> None:
    await client.closed()


async def carried(client: Client) -> None:
    await client.operation("ticks", TICKS)
    await client.until("complete")
    await client.close()


CONVERSATIONS: Final[dict[str, tuple[str, Callable[[Client], Awaitable[None]]]]] = {
    "polite": (TRANSPORT, polite),
    "vanishes": (TRANSPORT, vanishes),
    "nonsense": (TRANSPORT, nonsense),
    "carried": (TRANSPORT, carried),
    "legacy polite": (LEGACY, polite),
    "legacy vanishes": (LEGACY, vanishes),
    "legacy rejected": (LEGACY, rejected),
}


async def hold(url: str, name: str, carrier: Mapping[str, str]) -> list[str]:
    """Hold one conversation; return what the client heard."""
    subprotocol, talk = CONVERSATIONS[name]
    async with asyncio.timeout(20), aiohttp.ClientSession() as session:
        client = Client(await session.ws_connect(url, protocols=[subprotocol]))
        await client.begin(name, carrier if name == "carried" else {})
        await talk(client)
    return client.heard


async def over_http(url: str) -> list[str]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json={"query": OVER_HTTP}) as response,
    ):
        return [f"{response.status} {json.dumps(await response.json())}"]


async def main(url: str, carrier: Mapping[str, str]) -> dict[str, Any]:
    heard = {name: await hold(url, name, carrier) for name in CONVERSATIONS}
    return {**heard, "over HTTP": await over_http(url)}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))))  # noqa: T201
