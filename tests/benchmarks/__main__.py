"""Run the benchmark: `python -m tests.benchmarks`."""

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.figures import Figure, exit_status
from tests.benchmarks.plot import plot
from tests.benchmarks.runs import Extent, measure, plan
from tests.benchmarks.screen import progress, tables
from tests.support.console import counts, open_console

PACKAGES: Final = (
    "strawberry-graphql",
    "graphql-core",
    "aiohttp",
    "opentelemetry-api",
    "opentelemetry-sdk",
    "opentelemetry-instrumentation-aiohttp-server",
)


def parse() -> argparse.Namespace:
    """Read the command line."""
    default = Extent()
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="What the library costs: server CPU of every arm, interleaved, beside its"
        " baseline and its budget.",
    )
    add = parser.add_argument
    add("--memory", action="store_true", help="measure memory and a metrics collection, too")
    add("--scale", action="store_true", help="measure the event loop under load, too")
    add("--segments", action="store_true", help="measure the end of segments, too")
    add("--check", action="store_true", help="fail if a ceiling is broken")
    add("--json", type=Path, metavar="FILE", help="write every figure as JSON")
    add("--plot", type=Path, metavar="FILE.png", help="draw the figures of CPU time")
    for name, least, text in (
        ("rounds", 2, "rounds of each arm and workload in a process"),
        ("processes", 1, "processes, over which medians are taken"),
        ("connections", 20, "open connections for --memory, --scale and --segments"),
        ("messages", 1, "messages of the subscription that is to stay flat"),
        ("seconds", 1, "seconds for which the event loop is watched"),
    ):
        add(f"--{name}", type=counts(least), default=getattr(default, name), help=text)
    return parser.parse_args()


def report(figures: Sequence[Figure], extent: Extent) -> dict[str, Any]:
    """Every figure, and where it comes from."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": {name: version(name) for name in PACKAGES},
        "extent": asdict(extent),
        "figures": [figure.as_json() for figure in figures],
    }


def main() -> int:
    """Run the benchmark; return its exit status."""
    options, console = parse(), open_console()
    extent = Extent(**{field.name: getattr(options, field.name) for field in fields(Extent)})
    with progress(console, plan(extent)) as step:
        figures = measure(extent, step)
    for table in tables(figures):
        console.print(table)
    if options.json:
        options.json.write_text(json.dumps(report(figures, extent), indent=2) + "\n")
    if options.plot:
        plot(figures, options.plot)
    broken = sum(figure.broken for figure in figures)
    console.print(f"Over their ceiling: {broken} of {len(figures)} figures.")
    return exit_status(figures, check=options.check)


if __name__ == "__main__":
    sys.exit(main())
