"""The schema that every arm serves, and the stopwatch that one of its subscriptions starts."""

import asyncio
import resource
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any

import strawberry


class Stopwatch:
    """The CPU time, of user and system, that this process spends inside `with`."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = _cpu_time()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.seconds = _cpu_time() - self._started


def _cpu_time() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Feed:
    """How many messages the subscription `fed` sends next; 0 ends it."""

    def __init__(self) -> None:
        self.counts: asyncio.Queue[int] = asyncio.Queue()


@strawberry.type
class Query:
    @strawberry.field
    def hello(self) -> str:
        return "world"


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, to: int) -> AsyncGenerator[int, None]:
        for number in range(to):
            yield number

    @strawberry.subscription
    async def timed(self, info: strawberry.Info[Any, Any], to: int) -> AsyncGenerator[int, None]:
        """Count, with the stopwatch running from the first number until the last one is sent."""
        with info.context["stopwatch"]:
            for number in range(to):
                yield number

    @strawberry.subscription
    async def fed(self, info: strawberry.Info[Any, Any]) -> AsyncGenerator[int, None]:
        """Count on as far as the feed says each time."""
        while count := await info.context["feed"].counts.get():
            for number in range(count):
                yield number

    @strawberry.subscription
    async def idle(self) -> AsyncGenerator[int, None]:
        """Send one number, then live on."""
        yield 0
        await asyncio.Event().wait()

    @strawberry.subscription
    async def ticking(self, every: float) -> AsyncGenerator[int, None]:
        """Send a number every so many seconds, for ever."""
        number = 0
        while True:
            yield number
            number += 1
            await asyncio.sleep(every)
