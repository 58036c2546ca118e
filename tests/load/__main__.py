"""Put a load on a server: `python -m tests.load`."""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path

from rich import box
from rich.table import Table

from tests.console import open_console
from tests.limits import raise_file_limit
from tests.load.clients import IN_FLIGHT
from tests.load.report import MIB, Memory, Report
from tests.load.run import Extent, load


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.load",
        description="Whether anything is lost under load: connections, spans, closes, messages.",
    )
    texts = {
        "connections": "how many are open at once",
        "busy": "how many of them have a subscription with a message every 0.2 s",
        "rate": "how many others connect and vanish in a second",
        "seconds": "for which they do",
    }
    for field in fields(Extent):
        parser.add_argument(
            f"--{field.name}", type=int, default=field.default, help=texts[field.name]
        )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure as JSON")
    return parser.parse_args()


def tables(report: Report) -> Iterator[Table]:
    """Nothing lost, and nothing left."""
    lost = Table(
        title="Nothing lost", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD
    )
    lost.add_column("", no_wrap=True)
    for column in ("clients", "spans", "metrics", ""):
        lost.add_column(column, justify="right")
    for what, *numbers in report.rows:
        cells = ["" if number is None else f"{number:,}" for number in numbers]
        lost.add_row(what, *cells, _sign(sound=len({*numbers} - {None}) == 1))
    yield lost
    left = Table(
        title="Nothing left", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD
    )
    left.add_column("", no_wrap=True)
    for column in ("after a first crowd", "at most", "at the end"):
        left.add_column(column, justify="right")
    for row in _memory(report.memory):
        left.add_row(*row)
    yield left


def _memory(memory: Memory) -> Iterator[tuple[str, ...]]:
    yield (
        "resident memory of the server, MiB",
        *(f"{(size or 0) / MIB:.1f}" for size in _ends(memory, "resident", memory.peak)),
    )
    yield ("objects", *map(_number, _ends(memory, "objects", None)))
    yield ("tasks", *map(_number, _ends(memory, "tasks", None)))


def _ends(memory: Memory, key: str, peak: int | None) -> tuple[int | None, ...]:
    return memory.level[key], peak, memory.after[key]


def _number(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _sign(*, sound: bool) -> str:
    return "✓" if sound else "✗"


def main() -> int:
    """Put on the load; return the exit status."""
    options, console = vars(parse()), open_console()
    file = options.pop("json")
    extent = Extent(**options)
    raise_file_limit(extent.connections + min(IN_FLIGHT, extent.passers) + 200)
    report = asyncio.run(load(extent, console.print))
    for table in tables(report):
        console.print(table)
    if file:
        said = {"extent": asdict(extent), **report.as_json()}
        file.write_text(json.dumps(said, indent=2) + "\n")
    console.print(
        f"{extent.passers:,} connected and vanished, {report.reached:,.0f} a second of"
        f" {extent.rate:,} that were asked for. "
        + ("Nothing is lost, and nothing is left." if report.sound else "That does not add up.")
    )
    return int(not report.sound)


if __name__ == "__main__":
    sys.exit(main())
