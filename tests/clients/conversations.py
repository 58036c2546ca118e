"""The table: conversations with clients that others wrote, and what is true of each."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from strawberry.exceptions import ConnectionRejectionError

from tests.clients.model import PATIENCE, Kind, RealClient
from tests.support.scenarios.application import say_goodbye
from tests.support.scenarios.model import CLOSED, Ending, Verdict, by_server, without_frames
from tests.support.scenarios.steps import LEGACY, TRANSPORT
from tests.support.schema import BROKEN, FAILING, FOREVER, HELLO, INVALID, AppError
from tests.support.server import Server, Setup, raises

Talk = Callable[[Any, Server], Awaitable[None]]
"""What a client is asked to do; some are asked what only they can do."""

Expectation = Callable[[Kind], tuple[Ending, ...]]
"""The endings of the connections of a conversation with this client, in their order."""

TICKS: Final = "subscription Ticks { ticks(to: 3) }"
PARTIAL: Final = "subscription Partial { partial { value broken __typename } }"  # as Apollo asks
OTHER: Final = "subscription Other { forever }"
BOTH: Final = (TRANSPORT, LEGACY)
LEFT: Final = "left"
"""The end reason of an operation that is alive when the client leaves: that depends on it."""

COMPLETED: Final = "completed"
STOPPED: Final = "client_completed"
GOODBYE: Final = by_server("server_shutdown", 1001, "Server shutdown")


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """What a client is asked to do, and what is expected then.

    `data` is what its user was given, `errors` are the messages of the GraphQL errors among it,
    and `unseen` is how many more there were. `truth` says how its connections ended. `options` are
    the client's own.
    """

    name: str
    talk: Talk
    expected: Expectation
    data: tuple[Any, ...] = ()
    errors: tuple[str, ...] = ()
    unseen: int = 0
    protocols: tuple[str, ...] = BOTH
    setup: Setup = Setup()  # noqa: RUF009  # frozen
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


async def is_served(server: Server) -> None:
    """Wait until the server is done with each connection so far."""
    _, pending = await asyncio.wait(server.handlers, timeout=PATIENCE)
    assert not pending, "the server still has connections"


def leaving(*operations: str) -> Expectation:
    """The client leaves in its own way, and its operations ended so."""

    def expected(kind: Kind) -> tuple[Ending, ...]:
        reasons = tuple(kind.left if reason == LEFT else reason for reason in operations)
        return (Ending(verdict=kind.leaving, operations=reasons),)

    return expected


def ending(verdict: Verdict, *operations: str) -> Expectation:
    """The same for each client."""
    return lambda _kind: (Ending(verdict=verdict, operations=operations),)


def rejected(kind: Kind) -> tuple[Ending, ...]:
    """What a rejected login is in the subprotocol, and the client's answer to it."""
    code, reason = {TRANSPORT: (4403, "Forbidden"), LEGACY: (1011, "")}[kind.protocol]
    return (Ending(verdict=by_server("forbidden", code, reason, echo=kind.answer or code)),)


def asks(document: str, **variables: Any) -> Talk:
    """Ask, listen until it is over, and leave."""

    async def talk(client: RealClient, _server: Server) -> None:
        await client.ask("a", document, **variables)
        await client.sees("over", id="a")
        await client.leave()

    return talk


async def lives(client: RealClient) -> None:
    """Ask for what has one result and no end."""
    await client.ask("a", FOREVER)
    await client.sees("result", id="a")


async def stops(client: RealClient, _server: Server) -> None:
    await lives(client)
    await client.stop("a")
    await client.leave()


async def stops_one_of_two(client: RealClient, _server: Server) -> None:
    await lives(client)
    await client.ask("b", OTHER)
    await client.sees("result", id="b")
    await client.stop("a")
    await client.ask("c", TICKS)
    await client.sees("over", id="c")
    await client.leave()


async def leaves(client: RealClient, _server: Server) -> None:
    await lives(client)
    await client.leave()


def knocks(document: str = FOREVER) -> Talk:
    """Ask, and learn that the connection is closed."""

    async def talk(client: RealClient, _server: Server) -> None:
        await client.ask("a", document)
        await client.sees("closed")

    return talk


async def is_left(client: RealClient, server: Server) -> None:
    await lives(client)
    await server.shutdown()
    await client.sees("closed")


FIRST: Final = ({"forever": 0},)
ESSENTIAL: Final = (
    Conversation(
        name="a query",
        talk=asks(HELLO),
        expected=leaving(COMPLETED),
        data=({"hello": "world"},),
        protocols=(TRANSPORT,),
    ),
    Conversation(
        name="a subscription to its end",
        talk=asks(TICKS),
        expected=leaving(COMPLETED),
        data=tuple({"ticks": number} for number in range(3)),
    ),
    Conversation(
        name="a subscription that the client stops",
        talk=stops,
        expected=leaving(STOPPED),
        data=FIRST,
    ),
    Conversation(
        name="an operation that is not valid",
        talk=asks(INVALID),
        expected=leaving("error"),
        errors=("Cannot query field 'missing' on type 'Subscription'.",),
    ),
    Conversation(
        name="an orderly close under a live subscription",
        talk=leaves,
        expected=leaving(LEFT),
        data=FIRST,
    ),
    Conversation(
        name="a login that on_ws_connect rejects",
        talk=knocks(),
        expected=rejected,
        setup=Setup(connect=raises(ConnectionRejectionError)),
    ),
    Conversation(
        name="a server that goes away and says so",
        talk=is_left,
        expected=ending(GOODBYE, CLOSED),
        data=FIRST,
        setup=Setup(on_shutdown=say_goodbye),
    ),
    Conversation(
        name="a server that goes away without a word",
        talk=is_left,
        expected=ending(without_frames("server_shutdown"), CLOSED),
        data=FIRST,
    ),
)
CONVERSATIONS: Final = (
    *ESSENTIAL,
    Conversation(
        name="a query in graphql-ws, which Strawberry does not answer there",
        talk=asks(HELLO),
        expected=leaving("error"),
        errors=("queries are not allowed",),
        protocols=(LEGACY,),
    ),
    Conversation(
        name="one of two subscriptions stopped, a third one to its end",
        talk=stops_one_of_two,
        expected=leaving(STOPPED, LEFT, COMPLETED),
        data=(*FIRST, *FIRST, *({"ticks": number} for number in range(3))),
    ),
    Conversation(
        name="a resolver of a query that fails",
        talk=asks(BROKEN),
        expected=leaving(COMPLETED),
        data=({"broken": None},),
        errors=("broken field",),
        protocols=(TRANSPORT,),
    ),
    Conversation(
        name="a result that is partly an error",
        talk=asks(PARTIAL),
        expected=leaving(COMPLETED),
        data=({"partial": {"value": 1, "broken": None, "__typename": "Reading"}},),
        errors=("broken field",),
    ),
    Conversation(
        name="a source that fails",
        talk=asks(FAILING),
        expected=leaving(COMPLETED),
        data=({"failing": 1},),
        errors=("the source is dry",),
    ),
    Conversation(
        name="on_ws_connect that fails",
        talk=knocks(),
        expected=ending(without_frames("server_error", "tests.support.schema.AppError")),
        setup=Setup(connect=raises(AppError)),
    ),
)


def spoken_by(kinds: Iterable[Kind]) -> Iterator[tuple[Kind, Conversation]]:
    """Each of these clients with every conversation that its subprotocol has."""
    return (
        (kind, conversation)
        for kind in kinds
        for conversation in CONVERSATIONS
        if kind.protocol in conversation.protocols
    )
