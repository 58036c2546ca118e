"""The demo itself: every client visits, then the telemetry shows what happened to each."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from rich.console import Console
from rich.padding import Padding

from examples.demo import screen, svg, tables
from examples.demo.journal import Journal
from examples.demo.names import CONNECTION_ID, USER_AGENT
from examples.demo.run import visit_all
from examples.demo.scenarios import HEARTBEAT, NUMBERED, Numbered
from examples.demo.telemetry import Telemetry
from strawberry_ws_otel.console import Conversation, ConversationExporter

PICTURED: Final = HEARTBEAT
"""The scenario for the SVG picture and for the example of a search, because it shows the most."""


class Album(ConversationExporter):
    """Keeps the conversations, by the name that each client sent, to draw them in the end."""

    def __init__(self, console: Console) -> None:
        """Keep what the library would draw on the console."""
        super().__init__(console=console)
        self.conversations: dict[str, Conversation] = {}

    def draw(self, conversation: Conversation) -> None:
        """Keep a conversation."""
        self.conversations[str(conversation.get(USER_AGENT))] = conversation


def tour(
    console: Console, port: int, svg_file: Path | None, scenarios: Sequence[Numbered] = NUMBERED
) -> int:
    """Run the demo; return 0 if everything is as expected, else 1."""
    album, reader = Album(console), InMemoryMetricReader()
    unexpected: list[str] = []
    journal = Journal(unexpected.append)
    telemetry = Telemetry(reader)
    telemetry.add(SimpleSpanProcessor(album))
    with screen.progress(console, len(scenarios)) as visits:
        asyncio.run(visit_all(port, [scenario for _, scenario in scenarios], visits.report))
    measured = reader.get_metrics_data()
    telemetry.shut_down()

    conversations = album.conversations
    _, pictured = next((one for one in scenarios if one[1] is PICTURED), scenarios[0])
    example = conversations.get(pictured.user_agent)
    console.print(Padding(tables.closes(scenarios, conversations, console.width), (1, 0)))
    screen.show_conversations(console, scenarios, conversations, journal)
    console.print(Padding(tables.metrics(measured), (1, 0)))
    screen.show_collector(
        console, telemetry.collector, example.get(CONNECTION_ID) if example else None
    )
    if svg_file and example:
        svg.write(svg_file, screen.picture_of(example, pictured.title, journal))
        console.print(f"The picture of “{pictured.title}” is in {svg_file}.")
    screen.show_log(console, unexpected)
    surprises = visits.troubled + misjudged(scenarios, conversations)
    if unexpected:
        surprises.append("the log")
    screen.show_conclusion(console, len(scenarios), surprises)
    return 1 if surprises else 0


def misjudged(
    scenarios: Sequence[Numbered], conversations: Mapping[str, Conversation]
) -> list[str]:
    """Name the scenarios whose telemetry is not as expected."""
    return [
        scenario.title
        for _, scenario in scenarios
        if not tables.is_expected(scenario, conversations.get(scenario.user_agent))
    ]
