"""Keeps the server running, and draws each conversation when it closes."""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Final

from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from rich.console import Console

from examples.demo import tables
from examples.demo.conversation import attributes_of, conversation_of, is_connection
from examples.demo.journal import Journal
from examples.demo.names import CONNECTION_ID, USER_AGENT
from examples.demo.picture import picture
from examples.demo.server import Server, serving
from examples.demo.telemetry import SERVICE, Collector, Telemetry

REMEMBERED_SPANS: Final = 10_000

WELCOME: Final = """\
GraphiQL    {http}
WebSocket   {ws}   (graphql-transport-ws and graphql-ws)
Try         subscription {{ prices(symbol: "TULIP") {{ tick price change }} }}
Log in      connection_init with the payload {{"token": "token-of-ada"}}; a guest has none
Each conversation is drawn here as it closes. Ctrl-C ends the server.
"""


class Narrator(SpanProcessor):
    """Draws a conversation when the span of its connection ends, which is the last of its spans."""

    def __init__(self, console: Console) -> None:
        """Draw on the console, where the rest of the log goes also."""
        self._console = console
        self._journal = Journal(console.print)
        self._spans: deque[ReadableSpan] = deque(maxlen=REMEMBERED_SPANS)
        self._conversations = 0

    def on_end(self, span: ReadableSpan) -> None:
        """Keep a span, as long as there is room."""
        self._spans.append(span)
        if is_connection(span):
            self._conversations += 1
            agent = str(attributes_of(span).get(USER_AGENT, "unnamed client"))
            title = f"{self._conversations} {agent[:40]}"
            conversation = conversation_of(span, self._spans)
            self._console.print(picture(conversation, title, self._journal.closes))
            self._journal.closes.clear()


def welcome(console: Console, server: Server, collector: Collector | None) -> None:
    """Print where the server is, and how to use it."""
    console.print(WELCOME.format(http=server.url, ws=server.url.replace("http", "ws", 1)))
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
    telemetry = Telemetry(Narrator(console), reader)
    with suppress(KeyboardInterrupt):
        asyncio.run(serve_until_cancelled(console, port, telemetry.collector))
    console.print(tables.metrics(reader.get_metrics_data()))
    telemetry.shut_down()
    return 0
