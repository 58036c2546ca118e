"""One round: so many connections at once, each with a random scenario."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.attacks.soak.shared_server import Venue, Views, opened
from tests.support.assertions import assert_wire
from tests.support.cases import Case
from tests.support.raw_client import Client
from tests.support.scenarios.model import play
from tests.support.server import Server

LIMIT: Final = 120.0
"""Seconds within which any conversation must be over."""

PACE: Final = 100
"""Conversations that begin in a second."""


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One connection that is over.

    Attributes:
        path: the one on which it came, and nobody else.
        case: what it was to be.
        client: what the client saw and said; None where it never connected.
        failure: why it did not become what it was to be, if it did not.
    """

    path: str
    case: Case
    client: Client | None
    failure: str | None


@dataclass(frozen=True, kw_only=True)
class Round:
    """What a round was: its visits, and how many of them were served at the same time at most."""

    visits: Sequence[Visit]
    most: int


async def play_round(views: Views, cases: Mapping[str, Case], chance: random.Random) -> Round:
    """Play a case under each name, all of them at once, until the server stops."""
    async with opened(views) as venue:
        tasks = [
            asyncio.create_task(_visit(venue, name, case, chance.random() * len(cases) / PACE))
            for name, case in cases.items()
        ]
        await venue.settled(len(cases))
        # The server stops under those that wait for it.
    return Round(visits=await asyncio.gather(*tasks), most=venue.most)


async def _visit(venue: Venue, name: str, case: Case, pause: float) -> Visit:
    server, failure = venue.admit(name, case), None
    try:
        await _converse(case, server, pause)
    except (AssertionError, TimeoutError, OSError) as error:
        failure = f"{type(error).__name__}: {error}"
    finally:
        venue.settle()
    client = server.clients[0] if server.clients else None
    return Visit(path=server.path, case=case, client=client, failure=failure)


async def _converse(case: Case, server: Server, pause: float) -> None:
    """Hold a conversation; everybody has connected by then, unless the clock of PINGs runs."""
    if "heartbeat" in server.setup.socket:
        await asyncio.sleep(pause)
        pause = 0.0
    client = await play(case.scenario, server, case.protocol, pause=pause, limit=LIMIT)
    try:
        assert_wire(client, case.scenario.verdict)
    except AssertionError as error:
        frames = [frame for frame in client.frames if not frame.is_data]
        raise AssertionError(f"on the wire: {client.status}, {frames}, {client.end}") from error
