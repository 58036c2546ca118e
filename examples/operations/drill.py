"""A drill: an ordinary time, trouble for most of the alerts, and the time until all resolve.

After each trouble, the search of each alert has to lead to the client that has caused it.
"""

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
from examples.operations.shared import ask
from examples.operations.traffic import (
    CULPRITS,
    EVERY_CLOSE,
    LABELS,
    ORDINARY,
    TROUBLES,
    Traffic,
    visits,
)
from examples.operations.webhook import Notice

POLL: Final = 0.5
ORDINARY_SECONDS: Final = 45.0
"""Seconds of ordinary traffic at the beginning: alerts compare with it."""

LIMIT: Final = 90.0
"""Timeout of each step, in seconds."""


CAUSED: Final = frozenset(alert for troubles in TROUBLES for alert in troubles) | {
    "WebSocketServerError",
    "WebSocketGaugeOnlyGrows",
    "WebSocketMetricsAbsent",
}
"""The alerts that a drill causes. Others need many clients, several processes or an objective."""


class MissedError(Exception):
    """The effect of a step did not come in time; the message names it."""


@dataclass
class Watch:
    """The state of the alerts; `report` is called for each change."""

    report: Callable[[Notice], object]
    resolved: set[str] = field(default_factory=set)
    _fired: dict[frozenset[tuple[str, str]], str] = field(default_factory=dict)
    """The search of each alert that has fired, by its labels."""
    _now: dict[frozenset[tuple[str, str]], str] = field(default_factory=dict)

    def see(self, notice: Notice) -> None:
        """Record an alert. A message repeats the unchanged alerts of its group."""
        one = frozenset(notice.labels.items())
        if notice.status == "firing":
            self._fired[one] = notice.annotations["jaeger"]
        if self._now.get(one) != notice.status:
            self._now[one] = notice.status
            if notice.status == "resolved":
                self.resolved.add(notice.alert)
            self.report(notice)

    def searches(self, alert: str) -> list[str]:
        """Return the searches of an alert that has fired; none if it has not."""
        labels = {"alertname": alert, **LABELS.get(alert, {})}.items()
        return [search for one, search in self._fired.items() if labels <= one]

    @property
    def firing(self) -> set[str]:
        """The alerts that fire now."""
        return {dict(one)["alertname"] for one, status in self._now.items() if status == "firing"}

    def forget_searches(self) -> None:
        """Forget which alerts have fired, and their searches."""
        self._fired.clear()

    def forget(self) -> None:
        """Forget all alerts."""
        self.forget_searches()
        self.resolved.clear()


@dataclass(frozen=True)
class Drill:
    """Causes one trouble after the other; `say` is called with what it waits for."""

    traffic: Traffic
    jaeger: Jaeger
    collector: Process
    servers: Iterable[Process]
    watch: Watch
    say: Callable[[str], object]

    async def run(self) -> None:
        """Run the drill, and wait until the last alert has resolved.

        Raises:
            MissedError: Something did not come in time.
            ServerError: A server has ended.

        """
        self.say(f"An ordinary time: only clients that behave for {ORDINARY_SECONDS:.0f} s")
        async with self.traffic.coming(ORDINARY):
            await asyncio.sleep(ORDINARY_SECONDS)
            self.say("One abnormal close of every kind")
            await self.traffic.send(EVERY_CLOSE)
            await self._until_seen()
        for troubles in TROUBLES:
            await self._until_quiet(*troubles)
            async with self.traffic.coming(visits(troubles)):
                await self._until_fired("Trouble of several kinds", *troubles)
            await self._until_named(*troubles)
        async with self.traffic.hoarding(), self.traffic.coming(ORDINARY):
            await self._until_fired("Ever more subscriptions", "WebSocketGaugeOnlyGrows")
        await self._until_named("WebSocketGaugeOnlyGrows")
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

    async def _until_quiet(self, *alerts: str) -> None:
        """Wait until no earlier trouble makes them fire: their searches would lead there."""
        self.say("A quiet time before the next trouble")

        async def missing() -> set[str]:
            return {f"{alert} resolved" for alert in alerts if alert in self.watch.firing}

        async with self.traffic.coming(ORDINARY):
            await self._until_nothing(missing)
        self.watch.forget_searches()

    async def _until_fired(self, what: str, *expected: str) -> None:
        self.say(f"{what}, until {', '.join(expected)} fired")

        async def missing() -> set[str]:
            return {f"{alert} firing" for alert in expected if not self.watch.searches(alert)}

        await self._until_nothing(missing)

    async def _until_named(self, *alerts: str) -> None:
        """Ask who it is, as an operator does with the search of each alert."""
        unknown = dict.fromkeys(alerts)

        async def missing() -> set[str]:
            for alert in tuple(unknown):
                client = CULPRITS[alert]
                answers = [await ask(search) for search in self.watch.searches(alert)]
                if any(not client.missing_in("\n".join(lines)) for _, lines in answers):
                    self.say(f"{alert} leads to {client.agent} from {client.address}")
                    del unknown[alert]
            return {f"{CULPRITS[alert].agent} named for {alert}" for alert in unknown}

        await self._until_nothing(missing)

    async def _until_resolved(self) -> None:
        self.say("The trouble is over: every alert has to resolve")

        async def missing() -> set[str]:
            left = CAUSED - self.watch.resolved | self.watch.firing
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
