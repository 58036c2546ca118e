"""A process of clients: a crowd that stays, or passers-by who vanish. They keep what they did."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from tests.benchmarks.client import together
from tests.support.file_limit import raise_file_limit
from tests.support.raw_client import Client, Ended
from tests.support.scenarios.steps import TRANSPORT, subscribe
from tests.support.worker import answer_jobs

IN_FLIGHT: Final = 1_000
"""Passers-by who are there at once at most, whatever the rate: each is an open file."""


async def greets(client: Client) -> None:
    """Be acknowledged."""
    client.json({"type": "connection_init"})
    await client.message("connection_ack")


async def listens(client: Client) -> None:
    """Be acknowledged, and hear the first message of a subscription that lives on."""
    await greets(client)
    client.json(subscribe(client, "a", "subscription { idle }"))
    await client.message("next")


async def nothing(_client: Client) -> None:
    """Say nothing."""


async def resets(client: Client) -> None:
    """Drop the connection with an RST."""
    client.reset()


async def hangs_up(client: Client) -> None:
    """Send FIN, and no close frame."""
    client.fin()
    await client.until_end()


Act = Callable[[Client], Awaitable[None]]

VANISHINGS: Final[Sequence[tuple[Act, Act]]] = (
    # What a passer-by does, and how it vanishes: most of them as soon as they are connected.
    *([(nothing, resets), (nothing, hangs_up)] * 4),
    (greets, resets),
    (greets, hangs_up),
    (listens, resets),
    (listens, hangs_up),
)


class Deeds:
    """What clients did and saw, counted when they are gone."""

    def __init__(self) -> None:
        self.failed: Counter[str] = Counter()
        """Those that never got an upgrade, or not what they asked for, by what happened."""
        self.outcomes: Counter[str] = Counter()
        """Connections by how they ended."""
        self.said: Counter[str] = Counter()
        self.heard: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def count(self, client: Client, outcome: str) -> None:
        """Count a client that is gone, and the messages of both sides."""
        self.outcomes[outcome] += 1
        spoken = [frame for frame in client.spoken if frame.is_data]
        for frames, types, direction in (
            (spoken, self.said, "received"),
            (client.data_frames, self.heard, "sent"),
        ):
            types.update(frame.json["type"] for frame in frames)
            self.bytes[direction] += sum(len(frame.payload) for frame in frames)


class Clients:
    """What the load asks clients for."""

    def __init__(self) -> None:
        self._deeds = Deeds()
        self._crowd: list[Client] = []
        self._listeners: dict[Client, asyncio.Task[None]] = {}
        self._passing: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(IN_FLIGHT)
        self._numbers = itertools.count()

    # --- A crowd -----------------------------------------------------------------------------

    async def gather(self, ports: list[int], count: int) -> None:
        """Open so many connections that stay."""
        ways = (self._acknowledged(ports[n % len(ports)]) for n in range(count))
        self._crowd += await together(ways)

    async def subscribe(self, count: int, every: float) -> None:
        """Have so many of them hear a message every so many seconds from now on."""
        for client in self._crowd[:count]:
            client.json(subscribe(client, "a", f"subscription {{ ticking(every: {every}) }}"))
            await client.message("next")
            self._listeners[client] = asyncio.create_task(client.until_end())

    async def leave(self) -> None:
        """Close every connection of the crowd, and hear all that was sent before the answer."""
        await together(self._parts(client) for client in self._crowd)
        self._crowd.clear()
        self._listeners.clear()

    async def _acknowledged(self, port: int) -> Client:
        client = await Client.connect(port, protocol=TRANSPORT)
        await client.shake_hands()
        await greets(client)
        return client

    async def _parts(self, client: Client) -> None:
        client.close(1000)
        await (self._listeners.get(client) or client.until_end())
        self._deeds.count(client, "normal")
        await client.leave()

    # --- Passers-by --------------------------------------------------------------------------

    async def pass_by(self, ports: list[int], rate: float, seconds: float) -> dict[str, int]:
        """Have others connect and vanish at a rate for some seconds, or as many as there is place.

        Each comes when it is due, whatever becomes of those before. Returns how many came, and how
        many are still there.
        """
        due = time.monotonic()
        end, came = due + seconds, 0
        while due < end:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await self._places.acquire()
            if time.monotonic() >= end:
                self._places.release()
                break
            number = next(self._numbers)
            way, port = VANISHINGS[number % len(VANISHINGS)], ports[number % len(ports)]
            task = asyncio.create_task(self._vanishes(port, *way))
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)
            came, due = came + 1, due + 1 / rate
        return {"came": came, "there": len(self._passing)}

    async def passed(self) -> None:
        """Wait until all of them have vanished."""
        await asyncio.gather(*self._passing)

    async def _vanishes(self, port: int, act: Act, vanishes: Act) -> None:
        try:
            client = await Client.connect(port, protocol=TRANSPORT)
            await client.shake_hands()
            await act(client)
            await vanishes(client)
            self._deeds.count(client, "connection_lost")
            await client.leave()
        except (OSError, EOFError, Ended) as error:
            self._deeds.failed[repr(error)] += 1
        finally:
            self._places.release()

    async def deeds(self) -> dict[str, Any]:
        """What everybody did."""
        return vars(self._deeds)


async def main() -> None:
    """Do jobs until there are no more."""
    await answer_jobs(Clients())


if __name__ == "__main__":
    raise_file_limit()
    asyncio.run(main())
