"""The demo itself: every client visits, then the telemetry shows what happened to each."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from rich.console import Console
from rich.padding import Padding

from examples.demo import screen, svg, tables
from examples.demo.conversation import Conversation, by_user_agent
from examples.demo.journal import Journal
from examples.demo.names import CONNECTION_ID
from examples.demo.picture import picture
from examples.demo.run import visit_all
from examples.demo.scenarios import HEARTBEAT, SCENARIOS
from examples.demo.telemetry import Telemetry

PICTURED: Final = HEARTBEAT
"""The scenario for the SVG picture and for the example of a search, because it shows the most."""


def tour(console: Console, port: int, svg_file: Path | None) -> int:
    """Run the demo; return 0 if everything is as expected, else 1."""
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    unexpected: list[str] = []
    journal = Journal(unexpected.append)
    telemetry = Telemetry(SimpleSpanProcessor(spans), reader)
    with screen.progress(console) as visits:
        asyncio.run(visit_all(port, visits.report))
    measured = reader.get_metrics_data()
    telemetry.shut_down()

    conversations = by_user_agent(spans.get_finished_spans())
    pictured = conversations.get(PICTURED.user_agent)
    screen.show_conversations(console, conversations, journal.closes)
    for table in (tables.closes(conversations), tables.metrics(measured)):
        console.print(Padding(table, (1, 0)))
    screen.show_collector(
        console, telemetry.collector, pictured.get(CONNECTION_ID) if pictured else None
    )
    if svg_file and pictured:
        svg.write(svg_file, picture(pictured, PICTURED.title, journal.closes))
        console.print(f"The picture of “{PICTURED.title}” is in {svg_file}.")
    screen.show_log(console, unexpected)
    surprises = visits.troubled + misjudged(conversations)
    if unexpected:
        surprises.append("the log")
    screen.show_conclusion(console, surprises)
    return 1 if surprises else 0


def misjudged(conversations: Mapping[str, Conversation]) -> list[str]:
    """Name the scenarios whose telemetry is not as expected."""
    return [
        scenario.title
        for scenario in SCENARIOS
        if not tables.is_expected(scenario, conversations.get(scenario.user_agent))
    ]
