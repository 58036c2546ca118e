"""The client: a process of its own that does jobs, which are the methods of `Client`."""

import asyncio
import json
import time
from collections.abc import Coroutine, Iterable
from typing import Any, Final, TypeVar

import aiohttp

from tests.support.worker import answer_jobs

PROTOCOL: Final = "graphql-transport-ws"
INIT: Final = json.dumps({"type": "connection_init"})
AT_ONCE: Final = 50
"""Connections that are opened, or subscribe, at the same time."""

ASLEEP: Final = 60e-6
"""Seconds for each message in which the client does not listen."""

Socket = aiohttp.ClientWebSocketResponse
T = TypeVar("T")


def subscribe(document: str) -> str:
    """The first message of an operation."""
    return json.dumps({"type": "subscribe", "id": "1", "payload": {"query": document}})


async def heard(socket: Socket, type_: str, times: int = 1) -> None:
    """Read on until a message of this type has come so many times."""
    wanted = f'"{type_}"'
    while times:
        message = await socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT or '"error"' in message.data:
            raise ConnectionError(f"waited for {type_}, and got {message}")
        times -= wanted in message.data


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all of it, so much at once; return the results in order."""
    places = asyncio.Semaphore(AT_ONCE)

    async def in_place(piece: Coroutine[Any, Any, T]) -> T:
        async with places:
            return await piece

    return await asyncio.gather(*map(in_place, work))


class Client:
    """Does what the server process asks for."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._regulars: dict[str, Socket] = {}
        """The connection to each arm that stays for all its rounds."""
        self._crowd: list[Socket] = []
        self._readers: list[asyncio.Task[None]] = []

    # --- Rounds ------------------------------------------------------------------------------

    async def messages(self, url: str, count: int) -> None:
        """Hear so many `next` messages of one subscription, when most of them have been sent.

        To wake a client that waits for each of them costs a server up to a fifth of the message,
        the more, the more often it is the slower of the two.
        """
        socket = await self._regular(url)
        await socket.send_str(subscribe(f"subscription {{ timed(to: {count}) }}"))
        time.sleep(count * ASLEEP)  # noqa: ASYNC251  # nothing is to wake this process
        await heard(socket, "complete")

    async def subscriptions(self, url: str, count: int) -> None:
        """Subscribe so many times, to one message each."""
        socket = await self._regular(url)
        for _ in range(count):
            await self._operation(socket, "subscription { count(to: 1) }")

    async def queries(self, url: str, count: int) -> None:
        """Ask so many queries over one connection."""
        socket = await self._regular(url)
        for _ in range(count):
            await self._operation(socket, "{ hello }")

    async def connections(self, url: str, count: int) -> None:
        """Connect, be acknowledged and close, so many times."""
        for _ in range(count):
            socket = await self._acknowledged(url)
            await socket.close()

    # --- A crowd -----------------------------------------------------------------------------

    async def crowd(self, url: str, count: int) -> None:
        """Open so many connections that stay."""
        self._crowd += await together(self._acknowledged(url) for _ in range(count))

    async def crowd_subscribes(self) -> None:
        """Subscribe on each connection of the crowd, and hear a first message."""
        await together(self._first(socket, "{ idle }") for socket in self._crowd)

    async def crowd_leaves(self) -> None:
        """Close all connections of the crowd."""
        await together(socket.close() for socket in self._crowd)
        self._crowd.clear()

    # --- One long subscription ---------------------------------------------------------------

    async def tunes_in(self, url: str) -> None:
        """Subscribe to what the server's feed sends."""
        await (await self._regular(url)).send_str(subscribe("subscription { fed }"))

    async def hears(self, url: str, count: int) -> None:
        """Hear so many further messages of it."""
        await heard(await self._regular(url), "next", count)

    # --- Busy connections --------------------------------------------------------------------

    async def busy(self, url: str, count: int, every: float) -> None:
        """Open so many connections that each hear a message every so many seconds."""
        for _ in range(count):
            socket = await self._acknowledged(url)
            await self._first(socket, f"{{ ticking(every: {every}) }}")
            self._readers.append(asyncio.create_task(self._listen(socket)))

    async def busy_leave(self) -> None:
        """Close them."""
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        self._readers.clear()

    async def leave(self) -> None:
        """Close whatever is open."""
        await self.busy_leave()
        await together(socket.close() for socket in (*self._crowd, *self._regulars.values()))

    # --- Pieces ------------------------------------------------------------------------------

    async def _listen(self, socket: Socket) -> None:
        try:
            while True:
                await heard(socket, "next")
        finally:
            await socket.close()

    async def _first(self, socket: Socket, document: str) -> None:
        await socket.send_str(subscribe(f"subscription {document}"))
        await heard(socket, "next")

    async def _operation(self, socket: Socket, document: str) -> None:
        await socket.send_str(subscribe(document))
        await heard(socket, "complete")

    async def _regular(self, url: str) -> Socket:
        if url not in self._regulars:
            self._regulars[url] = await self._acknowledged(url)
        return self._regulars[url]

    async def _acknowledged(self, url: str) -> Socket:
        socket = await self._session.ws_connect(url, protocols=[PROTOCOL], compress=0)
        await socket.send_str(INIT)
        await heard(socket, "connection_ack")
        return socket


async def main() -> None:
    """Do jobs until there are no more."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        client = Client(session)
        await answer_jobs(client)
        await client.leave()


if __name__ == "__main__":
    asyncio.run(main())
