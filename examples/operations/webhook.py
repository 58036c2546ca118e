"""Receives what Alertmanager sends: a pager and a tracker in one, for the terminal."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web

from examples.demo.server import HOST


@dataclass(frozen=True)
class Notice:
    """The state of one alert, as it was sent to one receiver."""

    receiver: str
    """The path of the webhook: `page` or `tickets`."""
    status: str
    """`firing` or `resolved`."""
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @property
    def alert(self) -> str:
        """The name of the alert."""
        return self.labels["alertname"]

    @classmethod
    def of(cls, receiver: str, alert: Mapping[str, Any]) -> Self:
        """Read an alert of a message."""
        return cls(receiver, alert["status"], alert["labels"], alert["annotations"])


Report = Callable[[Notice], object]


@asynccontextmanager
async def receiving(port: int, report: Report) -> AsyncIterator[None]:
    """Receive messages on a port, and call back for each alert in them."""

    async def take(request: web.Request) -> web.Response:
        message = await request.json()
        for alert in message["alerts"]:
            report(Notice.of(request.match_info["receiver"], alert))
        return web.Response()

    app = web.Application()
    app.router.add_post("/{receiver}", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
        yield
    finally:
        await runner.cleanup()
