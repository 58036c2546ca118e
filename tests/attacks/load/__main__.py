"""Put a load on a server: `python -m tests.attacks.load`."""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Final

from rich import box
from rich.table import Table

from tests.attacks.load.clients import IN_FLIGHT
from tests.attacks.load.report import Report
from tests.attacks.load.run import Extent, load
from tests.support.console import counts, open_console
from tests.support.file_limit import raise_file_limit

SIGNS: Final = {True: "✓", False: "✗"}


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.attacks.load",
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
            f"--{field.name}", type=counts(1), default=field.default, help=texts[field.name]
        )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure as JSON")
    return parser.parse_args()


def tables(report: Report) -> Iterator[Table]:
    """Nothing lost, and nothing left."""
    lost = _table("Nothing lost", "clients", "spans", "metrics", "")
    for row in report.rows:
        what, *numbers = row
        lost.add_row(what, *map(_number, numbers), SIGNS[row.sound])
    yield lost
    left = _table("Nothing left", "after a first load", "at most", "at the end", "")
    for what, count in report.remains.items():
        left.add_row(what, "", "", _number(count), SIGNS[count == 0])
    for level in report.levels:
        ends = (level.level, level.peak, level.after)
        left.add_row(level.what, *map(_number, ends), SIGNS[level.sound])
    yield left


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _number(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def main() -> int:
    """Put on the load; return the exit status."""
    options, console = vars(parse()), open_console()
    file = options.pop("json")
    extent = Extent(**options)
    raise_file_limit(extent.connections + min(IN_FLIGHT, extent.rate * extent.seconds) + 200)
    report = asyncio.run(load(extent, console.print))
    for table in tables(report):
        console.print(table)
    if file:
        said = {"extent": asdict(extent), **report.as_json()}
        file.write_text(json.dumps(said, indent=2) + "\n")
    reached = report.passed / extent.seconds
    console.print(
        f"{report.passed:,} connected and vanished, {reached:,.0f} a second; {extent.rate:,} were"
        " asked for. "
        + ("Nothing is lost, and nothing is left." if report.sound else "That does not add up.")
    )
    return int(not report.sound)


if __name__ == "__main__":
    sys.exit(main())
