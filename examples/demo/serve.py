"""Keeps the server running, and draws each conversation when it closes, or lives long."""

import asyncio
from contextlib import suppress
from typing import Final

from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from rich.console import Console

from examples.demo import tables
from examples.demo.journal import Journal
from examples.demo.names import CONNECTION_ID, USER_AGENT
from examples.demo.screen import picture_of
from examples.demo.server import Server, serving
from examples.demo.telemetry import SERVICE, Collector, Telemetry
from strawberry_ws_otel.console import Conversation, ConversationExporter

WELCOME: Final = """\
GraphiQL    {http}
WebSocket   {ws}   (graphql-transport-ws and graphql-ws)
Open now    {connections}
Try         subscription {{ prices(symbol: "TULIP") {{ tick price change }} }}
Log in      connection_init with the payload {{"token": "token-of-ada"}}; a guest has none
Each conversation is drawn here as it closes, or lives for some minutes. Ctrl-C ends the server.
"""


class Narrator(ConversationExporter):
    """Draws each conversation with its number and its record in the log."""

    def __init__(self, console: Console) -> None:
        """Draw on the console, where the rest of the log goes also."""
        super().__init__(console=console)
        self._journal = Journal(console.print)
        self._conversations = 0

    def draw(self, conversation: Conversation) -> None:
        """Draw a conversation that has ended, or one that is open, as far as it went."""
        if conversation.is_open:
            super().draw(conversation)
            return
        self._conversations += 1
        agent = str(conversation.get(USER_AGENT) or "unnamed client")
        title = f"{self._conversations} {agent[:40]}"
        if self.console:
            self.console.print(picture_of(conversation, title, self._journal))
        self._journal.closes.clear()


def welcome(console: Console, server: Server, collector: Collector | None) -> None:
    """Print where the server is, and how to use it."""
    ws, connections = server.url.replace("http", "ws", 1), server.connections_url
    console.print(WELCOME.format(http=server.url, ws=ws, connections=connections))
    if collector:
        console.print(
            f"Traces also go to {collector.endpoint}: service {SERVICE}, tag {CONNECTION_ID}.\n"
        )


async def serve_until_cancelled(console: Console, port: int, collector: Collector | None) -> None:
    """Serve until the task is cancelled, as Ctrl-C does."""
    async with serving(port) as server:
        welcome(console, server, collector)
        await asyncio.Event().wait()


def serve(console: Console, port: int) -> int:
    """Serve until Ctrl-C, then show what the metrics counted."""
    reader = InMemoryMetricReader()
    telemetry = Telemetry(reader)
    telemetry.add(SimpleSpanProcessor(Narrator(console)))
    with suppress(KeyboardInterrupt):
        asyncio.run(serve_until_cancelled(console, port, telemetry.collector))
    console.print(tables.metrics(reader.get_metrics_data()))
    telemetry.shut_down()
    return 0
