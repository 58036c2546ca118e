"""What a real client is to a test: what it can be asked, and what it answers."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final

from tests.support.scenarios.model import Verdict

PATIENCE: Final = 30.0
"""Seconds that a client has for anything that it is to do or to see."""

Seen = Mapping[str, Any]
"""Something that a client saw, by the word for it under `saw`: a `result` of the operation under
`id` with its `data` and `errors`, that it is `over`, or that a socket is `closed`, with its `code`
where the client informs its user."""


class RealClient(ABC):
    """A client that somebody else wrote; `seen` is all that it saw, in order."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._gone = False
        self._news = asyncio.Condition()

    @abstractmethod
    async def ask(self, id_: str, document: str, **variables: Any) -> None:
        """Begin an operation, which the test calls by that id."""

    @abstractmethod
    async def stop(self, id_: str) -> None:
        """Take no more results of an operation."""

    @abstractmethod
    async def leave(self) -> None:
        """Close in the way that the client's documentation recommends."""

    async def saw(self, what: Seen) -> None:
        async with self._news:
            self.seen.append(what)
            self._news.notify_all()

    async def gone(self) -> None:
        """The client will see nothing more."""
        async with self._news:
            self._gone = True
            self._news.notify_all()

    async def sees(self, saw: str, times: int = 1, **facts: Any) -> None:
        """Wait until the client has seen this as often, with these facts."""
        wanted = {"saw": saw, **facts}
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: self._gone or self._count(wanted) >= times)
        assert self._count(wanted) >= times, f"{wanted} is not among {self.seen}"

    def _count(self, wanted: Seen) -> int:
        return sum(wanted.items() <= seen.items() for seen in self.seen)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One client, and its habits.

    `connect` takes the URL of the server and options of the client's own. `leaving` is the verdict
    when it leaves, and `left` the end reason of an operation that is alive then. `answer` is the
    code of its answer to a close frame, or None for the same code.
    """

    name: str
    connect: Callable[[str, Mapping[str, Any]], AbstractAsyncContextManager[RealClient]]
    protocol: str
    leaving: Verdict
    left: str
    answer: int | None = None

    def __str__(self) -> str:
        return self.name
