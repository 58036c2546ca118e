"""Everything that the demo prints, to a terminal, a file or a log."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.text import Text

from examples.demo.journal import Journal
from examples.demo.names import CONNECTION_ID
from examples.demo.scenarios import Numbered, Scenario
from examples.demo.telemetry import ENDPOINT_VARIABLE, SERVICE, Collector
from strawberry_ws_otel.console import Conversation, Picture

WIDTH: Final = 100
"""Cells of a line where there is no terminal."""

LEGEND: Final = "→ from the client   ← to the client   ✗ error   ■ close   ↳ a linked trace"


def open_console() -> Console:
    """Write to the terminal, or as plain text of fixed width to anything else."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    width = None if sys.stdout.isatty() and Console().width < WIDTH else WIDTH
    return Console(width=width, highlight=False, emoji=False, markup=False)


@dataclass(frozen=True)
class Visits:
    """Prints a line for each client that is done, and remembers which of them failed."""

    console: Console
    bar: Progress
    task: TaskID
    started: float = field(default_factory=time.monotonic)
    troubled: list[str] = field(default_factory=list)

    def report(self, scenario: Scenario, trouble: str | None) -> None:
        """Print that a client is done, and the error on its side, if there was one."""
        took = f"{time.monotonic() - self.started:5.2f} s  "
        sign = Text("✗ ", "bold red") if trouble else Text("✓ ", "green")
        line = Text.assemble((took, "dim"), sign, scenario.title, f"  {trouble or ''}")
        self.console.print(line)
        self.bar.advance(self.task)
        if trouble:
            self.troubled.append(scenario.title)


@contextmanager
def progress(console: Console, clients: int) -> Iterator[Visits]:
    """Show how many clients are still running, if the terminal can."""
    columns = (SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(
        *columns, console=console, transient=True, disable=not sys.stdout.isatty()
    ) as bar:
        task = bar.add_task("clients are visiting the price ticker", total=clients)
        yield Visits(console, bar, task)


def show_conversations(
    console: Console,
    scenarios: Sequence[Numbered],
    conversations: Mapping[str, Conversation],
    journal: Journal,
) -> None:
    """Draw every conversation, in the order of the scenarios."""
    console.print(Padding(Text(LEGEND, "dim"), (1, 0)))
    for number, scenario in scenarios:
        if conversation := conversations.get(scenario.user_agent):
            console.print(picture_of(conversation, f"{number} {scenario.title}", journal))


def picture_of(conversation: Conversation, title: str, journal: Journal) -> Picture:
    """Return the drawing of a conversation with its record in the log, if there is one."""
    record = journal.closes.get(conversation.connection.trace_id)
    return Picture(conversation, title, [f"log {record}"] if record else [])


def show_log(console: Console, unexpected: Sequence[str]) -> None:
    """Show the log records that no client caused."""
    if unexpected:
        console.print(Text("Also logged, and not expected:", "bold red"))
        for line in unexpected:
            console.print(Text(line))


def show_collector(console: Console, collector: Collector | None, example: object) -> None:
    """Print where the traces were exported to, and how to find them there."""
    if collector is None:
        console.print(f"With {ENDPOINT_VARIABLE} set, the traces also go to a collector.")
    elif collector.lost:
        console.print(
            f"The collector at {collector.endpoint} did not take {collector.lost} spans: it could"
            " not be reached, or it refused them. What is shown here is complete all the same."
        )
    else:
        console.print(
            f"{collector.delivered} spans were delivered to {collector.endpoint}, where they are"
            f" found by\n  service   {SERVICE}\n  tag       {CONNECTION_ID}={example}\n"
            f'  TraceQL   {{ span.{CONNECTION_ID} = "{example}" }}\n'
            "The id is in the head of each conversation; it finds all linked traces of one."
        )


def show_conclusion(console: Console, clients: int, surprises: Sequence[str]) -> None:
    """Print the result in one line."""
    if surprises:
        what = ", ".join(dict.fromkeys(surprises))
        console.print(Text(f"Not as expected: {what}.", "bold red"))
    else:
        conclusion = (
            f"All {clients} connections closed with the verdict they deserve."
            if clients > 1
            else "The connection closed with the verdict it deserves."
        )
        console.print(Text(conclusion, "bold green"))
