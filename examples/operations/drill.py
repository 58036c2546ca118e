"""A drill: an ordinary time, every trouble that has an alert, and the time until it is over."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from examples.demo.names import CLOSE_OUTCOME
from examples.operations import searches
from examples.operations.closes import ABNORMAL
from examples.operations.jaeger import Jaeger
from examples.operations.process import Process
from examples.operations.rules import alerts
from examples.operations.traffic import EVERY_CLOSE, ORDINARY, TROUBLES, Traffic
from examples.operations.webhook import Notice

POLL: Final = 0.5
ORDINARY_SECONDS: Final = 45.0
"""How long nothing happens first: what is unusual is found by comparison."""

LIMIT: Final = 90.0
"""Seconds within which each step must have had its effect."""


class MissedError(Exception):
    """What a step was for did not come in time; the message names it."""


@dataclass
class Watch:
    """What the alerts have come to; `tell` is told of each change."""

    tell: Callable[[Notice], object]
    fired: set[str] = field(default_factory=set)
    resolved: set[str] = field(default_factory=set)
    _now: dict[frozenset[tuple[str, str]], str] = field(default_factory=dict)

    def see(self, notice: Notice) -> None:
        """Take note of an alert; a message repeats those of its group that have not changed."""
        one = frozenset(notice.labels.items())
        if self._now.get(one) != notice.status:
            self._now[one] = notice.status
            (self.fired if notice.status == "firing" else self.resolved).add(notice.alert)
            self.tell(notice)

    @property
    def firing(self) -> set[str]:
        """The alerts that fire now."""
        return {dict(one)["alertname"] for one, status in self._now.items() if status == "firing"}

    def forget(self) -> None:
        """Begin anew."""
        self.fired.clear()
        self.resolved.clear()


@dataclass(frozen=True)
class Drill:
    """Goes through the troubles one after the other; `say` is told what is waited for."""

    traffic: Traffic
    jaeger: Jaeger
    collector: Process
    servers: Iterable[Process]
    watch: Watch
    say: Callable[[str], object]

    async def run(self) -> None:
        """Go through all of it, and wait until the last alert has resolved.

        Raises:
            MissedError: Something did not come in time.
            ServerError: A server has ended.

        """
        self.say(f"An ordinary time: nothing but good clients for {ORDINARY_SECONDS:.0f} s")
        async with self.traffic.coming(ORDINARY):
            await asyncio.sleep(ORDINARY_SECONDS)
            self.say("One abnormal close of every kind")
            await self.traffic.send(EVERY_CLOSE)
            await self._until_seen()
        for troubles in TROUBLES:
            async with self.traffic.coming({**ORDINARY, **dict(troubles.values())}):
                await self._until_fired("Trouble of several kinds", *troubles)
        async with self.traffic.hoarding(), self.traffic.coming(ORDINARY):
            await self._until_fired("Ever more subscriptions", "WebSocketGaugeOnlyGrows")
        with self.collector.paused():
            await self._until_fired("The Collector hangs", "WebSocketMetricsAbsent")
        async with self.traffic.coming(ORDINARY):
            await self._until_resolved()

    async def _until_seen(self) -> None:
        search, seen = searches.saved()["Abnormal closes"], set[object]()

        async def missing() -> set[str]:
            traces = await self.jaeger.search(search)
            seen.update(
                span.attributes.get(CLOSE_OUTCOME) for spans in traces.values() for span in spans
            )
            return {f"{outcome} in Jaeger" for outcome in ABNORMAL if outcome not in seen}

        await self._until_nothing(missing)
        self.say(f"Jaeger has {len(seen & ABNORMAL.keys())} kinds of abnormal closes")

    async def _until_fired(self, what: str, *expected: str) -> None:
        self.say(f"{what}, until {', '.join(expected)} fired")

        async def missing() -> set[str]:
            return {f"{alert} firing" for alert in expected if alert not in self.watch.fired}

        await self._until_nothing(missing)

    async def _until_resolved(self) -> None:
        self.say("All is well again: every alert has to resolve")

        async def missing() -> set[str]:
            left = set(alerts()) - self.watch.resolved | self.watch.firing
            return {f"{alert} resolved" for alert in left}

        await self._until_nothing(missing)

    async def _until_nothing(self, missing: Callable[[], Awaitable[set[str]]]) -> None:
        """Wait until nothing is missing."""
        deadline = time.monotonic() + LIMIT
        while left := await missing():
            for process in self.servers:
                process.check()
            if time.monotonic() > deadline:
                raise MissedError(f"Not within {LIMIT:.0f} s: {', '.join(sorted(left))}")
            await asyncio.sleep(POLL)
