"""The ticker's schema: quotes to query, orders to place, prices to subscribe to."""

import asyncio
import math
from collections.abc import AsyncGenerator
from itertools import count, islice
from typing import Final, TypeAlias

import strawberry
from opentelemetry import trace

from strawberry_ws_otel import OTelExtension

Context: TypeAlias = dict[str, object]
Info: TypeAlias = strawberry.Info[Context, None]

tracer = trace.get_tracer("price_ticker")


OPENING_PRICES: Final = {"ROSE": 12.0, "LILY": 7.5, "TULIP": 480.0}
BROKEN_TICK: Final = ("TULIP", 3)
CHART: Final = "\n".join("*".rjust(60 + round(50 * math.sin(row / 40))) for row in range(8000))
"""A drawing of a day: half a megabyte, so that a client can be too slow for it."""


class FeedError(Exception):
    """The feed had a gap: one field of one quote could not be resolved."""


class UnknownSymbolError(Exception):
    """A client asked for a symbol that is not traded."""


class NotLoggedInError(Exception):
    """A guest asked for something that only a user may do."""


def check(symbol: str) -> None:
    """Raise if the symbol is not traded."""
    if symbol not in OPENING_PRICES:
        raise UnknownSymbolError(f"{symbol} is not traded, but {', '.join(OPENING_PRICES)} are")


@strawberry.type
class Quote:
    """The price of one symbol at one tick."""

    symbol: str
    tick: int

    @strawberry.field
    def price(self) -> float:
        """Move in a slow wave around the opening price."""
        return round(OPENING_PRICES[self.symbol] * (1 + 0.1 * math.sin(self.tick)), 2)

    @strawberry.field
    def change(self) -> float | None:
        """Percentage since the opening; the tulip's feed has a gap at its third tick."""
        if (self.symbol, self.tick) == BROKEN_TICK:
            raise FeedError(f"the feed has no opening price for {self.symbol}")
        return round(10 * math.sin(self.tick), 1)

    @strawberry.field
    def chart(self) -> str:
        """Draw the last day."""
        return CHART


@strawberry.type
class Order:
    """An order that was accepted."""

    user: str
    symbol: str
    amount: int


@strawberry.type
class Query:
    """The queries."""

    @strawberry.field
    async def quote(self, symbol: str) -> Quote:
        """Read the newest quote; the span of the store is below the operation's."""
        check(symbol)
        with tracer.start_as_current_span("SELECT quotes"):
            await asyncio.sleep(0.03)
        return Quote(symbol=symbol, tick=0)


@strawberry.type
class Mutation:
    """The mutations."""

    @strawberry.mutation
    async def place_order(self, info: Info, symbol: str, amount: int) -> Order:
        """Place an order in the name of the user that the connection belongs to."""
        user = info.context.get("user")
        if not isinstance(user, str):
            raise NotLoggedInError("log in to place an order")
        check(symbol)
        with tracer.start_as_current_span("INSERT orders"):
            await asyncio.sleep(0.05)
        return Order(user=user, symbol=symbol, amount=amount)


@strawberry.type
class Subscription:
    """The subscriptions."""

    @strawberry.subscription
    async def prices(
        self, symbol: str, ticks: int | None = None, every: float = 0.1
    ) -> AsyncGenerator[Quote, None]:
        """Tick as long as the client subscribes, or a given number of times."""
        check(symbol)
        for tick in islice(count(1), ticks):
            await asyncio.sleep(every)
            yield Quote(symbol=symbol, tick=tick)


schema = strawberry.Schema(
    query=Query, mutation=Mutation, subscription=Subscription, extensions=[OTelExtension]
)
