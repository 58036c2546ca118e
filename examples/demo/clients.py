"""Clients that behave, as a server usually sees them; errors of the application included."""

from typing import Final

from examples.demo.visitor import LEGACY_WS, Visitor, subscribe, until

PRICES: Final = (
    'subscription Prices { prices(symbol: "ROSE", ticks: 5, every: 0.06) { tick price } }'
)
PRICES_WITH_GAP: Final = (
    'subscription TulipPrices { prices(symbol: "TULIP", ticks: 5, every: 0.06)'
    " { tick price change } }"
)
ENDLESS_PRICES: Final = 'subscription Prices { prices(symbol: "LILY") { tick price } }'
CHARTS: Final = 'subscription Charts { prices(symbol: "ROSE", ticks: 30, every: 0) { tick chart } }'
"""More than fits into the buffers between the server and a client."""

QUOTE: Final = 'query Quote { quote(symbol: "ROSE") { price } }'
ORDER: Final = 'mutation Order { placeOrder(symbol: "ROSE", amount: 3) { user amount } }'
INVALID: Final = 'subscription Volumes { prices(symbol: "ROSE") { volume } }'


async def subscription(visitor: Visitor) -> None:
    """Follow a price until its source ends."""
    async with visitor.logged_in() as socket:
        await socket.send_json({"type": "ping"})
        await socket.send_json(subscribe("1", PRICES))
        await until(socket, "complete")


async def legacy_subscription(visitor: Visitor) -> None:
    """Follow a price over the older subprotocol, stop, and terminate the connection."""
    async with visitor.logged_in(LEGACY_WS) as socket:
        await socket.send_json({"id": "1", "type": "start", "payload": {"query": ENDLESS_PRICES}})
        await until(socket, "data", times=4)
        await socket.send_json({"id": "1", "type": "stop"})
        await until(socket, "complete")
        await socket.send_json({"type": "connection_terminate"})
        await socket.receive()


async def query_and_mutation(visitor: Visitor) -> None:
    """Run a query and then a mutation over the socket."""
    async with visitor.logged_in() as socket:
        for id_, document in (("quote", QUOTE), ("order", ORDER)):
            await socket.send_json(subscribe(id_, document))
            await until(socket, "complete")


async def validation_error(visitor: Visitor) -> None:
    """Ask for a field that does not exist; the connection stays open."""
    async with visitor.logged_in() as socket:
        await socket.send_json(subscribe("typo", INVALID))
        await until(socket, "error")


async def resolver_error(visitor: Visitor) -> None:
    """Follow the tulip, whose third tick has a field that fails; the stream goes on."""
    async with visitor.logged_in() as socket:
        await socket.send_json(subscribe("tulip", PRICES_WITH_GAP))
        await until(socket, "complete")
