"""Run the soak: `python -m tests.attacks.soak`."""

import argparse
import asyncio
import logging
import sys
from dataclasses import asdict
from typing import Final

from rich import box
from rich.table import Table

from tests.attacks.soak.run import Extent, Findings, Soak
from tests.support.console import counts, open_console
from tests.support.file_limit import raise_file_limit

SHOWN: Final = 20
"""Reports that are printed; more of them say no more."""


def parse() -> Extent:
    """Read the command line."""
    default = Extent()
    parser = argparse.ArgumentParser(
        prog="python -m tests.attacks.soak",
        description="Whether spans, metrics and log match what happened in random scenarios,"
        " thousands of them at once.",
    )
    for name, least, text in (
        ("seed", 0, "of the choice of the scenarios"),
        ("connections", 1, "how many there are, in all"),
        ("at-once", 1, "how many of them connect at once, in a round"),
        ("seconds", 1, "after which no further round begins"),
    ):
        of = asdict(default)[name.replace("-", "_")]
        parser.add_argument(f"--{name}", type=counts(least), default=of, help=text)
    parser.add_argument(
        "--segment-duration",
        type=float,
        default=default.segment_duration,
        help="seconds of the first segments",
    )
    return Extent(**vars(parser.parse_args()))


def table(findings: Findings) -> Table:
    """A row for each scenario, and one for all."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("scenario", no_wrap=True)
    for column in ("connections", "mismatches", "missing", "not played"):
        table.add_column(column, justify="right")
    counters = findings.played, findings.lying, findings.missing, findings.unplayed
    for scenario in sorted(findings.played):
        table.add_row(scenario, *(str(counter[scenario]) for counter in counters))
    table.add_section()
    table.add_row("all", *(str(counter.total()) for counter in counters))
    return table


def main() -> int:
    """Run the soak; return its exit status."""
    extent, console = parse(), open_console()
    # What hosts log of the clients' misdeeds is no matter here.
    logging.basicConfig(handlers=[logging.NullHandler()])
    # A connection has two ends, both of them here.
    raise_file_limit(2 * extent.at_once + 200)
    console.print(f"seed {extent.seed}")

    def progress(findings: Findings) -> None:
        console.print(
            f"{findings.played.total()} of {extent.connections} connections,"
            f" {findings.most} at once at most, faults: {findings.faults}"
        )

    soak = Soak(extent)
    findings = asyncio.run(soak.play(progress))
    console.print(table(findings))
    for report in findings.reports[:SHOWN]:
        console.print(report)
    console.print(
        f"Lies of spans and records: {findings.lying.total()}, of metrics: {findings.metrics},"
        f" of the log: {findings.log}. Log records: {soak.log}."
        f" Missing: {findings.missing.total()}. Spans of nobody: {findings.strays}."
        f" Not played: {findings.unplayed.total()}. Internal errors: {findings.internal}."
        f" Segments continued: {findings.segments}. Tasks left: {findings.tasks}."
        f" Seed {extent.seed}."
    )
    return int(findings.faults > 0)


if __name__ == "__main__":
    sys.exit(main())
