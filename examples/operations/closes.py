"""A client for every kind of abnormal close: those of the demo, and some more."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from examples.demo import trouble
from examples.demo.clients import ENDLESS_PRICES
from examples.demo.visitor import Message, Visitor, init, subscribe, until_closed

Visit = Callable[[Visitor], Awaitable[None]]


def leaves(code: int) -> Visit:
    """Make a client that logs in and closes with this code."""

    async def visit(visitor: Visitor) -> None:
        async with visitor.logged_in() as socket:
            await socket.close(code=code)

    return visit


def says(*messages: Message) -> Visit:
    """Make a client that sends just this, and waits for the server's reaction."""

    async def visit(visitor: Visitor) -> None:
        async with visitor.socket() as socket:
            for message in messages:
                await socket.send_json(message)
            await until_closed(socket)

    return visit


async def speaks_another_protocol(visitor: Visitor) -> None:
    """Offer a subprotocol that the server does not speak."""
    async with visitor.socket("mqtt") as socket:
        await until_closed(socket)


FOLLOW: Final = subscribe("1", ENDLESS_PRICES)

ABNORMAL: Final[Mapping[str, Visit]] = {
    "connection_lost": trouble.vanished,
    "heartbeat_timeout": trouble.missed_heartbeat,
    "invalid_frame": trouble.oversized_message,
    "invalid_message": says({"type": "nonsense"}),
    "init_timeout": trouble.no_init,
    "unauthorized": says(FOLLOW),
    "forbidden": trouble.rejected_login,
    "subprotocol_rejected": speaks_another_protocol,
    "duplicate_operation": says(init(), FOLLOW, FOLLOW),
    "duplicate_init": says(init(), init()),
    "handshake_rejected": trouble.foreign_origin,
    "client_terminated": leaves(4499),
    "client_error": leaves(1009),
    "server_error": trouble.handler_exception,
    "application_code": leaves(4100),
    "other": leaves(1008),
}
"""The client that causes each abnormal outcome."""
