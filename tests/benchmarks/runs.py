"""Which processes a run of the benchmark has, and what they report."""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.figures import Figure, figures
from tests.benchmarks.memory import CROWDED, FIRST, GROWING, PIECE
from tests.benchmarks.ratios import WORKLOADS
from tests.benchmarks.scale import COMPARED

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is measured.

    Attributes:
        rounds: of each arm and workload, in each process.
        processes: how many of each kind.
        memory: whether memory is measured, too.
        scale: whether the event loop's delay is, too.
        segments: whether the end of segments is, too.
        connections: how many are open for `scale`, `segments` and the metrics collection.
        messages: of the subscription that is to stay flat.
        seconds: for which the event loop's delay is watched.
    """

    rounds: int = 40
    processes: int = 5
    memory: bool = False
    scale: bool = False
    segments: bool = False
    connections: int = 10_000
    messages: int = 1_000_000
    seconds: float = 20


@dataclass(frozen=True, slots=True)
class Run:
    """One process: its task, how many steps it reports, and with which others it is compared."""

    task: str
    arguments: dict[str, Any]
    steps: int
    group: str


def plan(extent: Extent) -> list[Run]:
    """The processes of a run, one after the other."""
    runs = list(_ratios(extent))
    if extent.memory:
        runs += _memory(extent)
    if extent.scale:
        runs += _scale(extent)
    if extent.segments:
        runs += _segments(extent)
    return runs


def _ratios(extent: Extent) -> Iterator[Run]:
    for number in range(extent.processes):
        for sdk in (True, False):
            arguments = {"rounds": extent.rounds, "sdk": sdk}
            steps = extent.rounds * len(WORKLOADS)
            yield Run("ratios", arguments, steps, f"{number} {sdk}")


def _memory(extent: Extent) -> Iterator[Run]:
    pieces = -(-max(0, extent.messages - FIRST) // PIECE)
    crowd = extent.connections // 20
    yield Run("memory", {"connections": crowd}, len(CROWDED), "memory")
    for arm in GROWING:
        yield Run("growth", {"arm": arm.name, "messages": extent.messages}, pieces, "memory")
    yield Run("collection", {"connections": extent.connections}, 10, "memory")


def _scale(extent: Extent) -> Iterator[Run]:
    for number in range(extent.processes):
        for arm in COMPARED if number % 2 else reversed(COMPARED):
            arguments = {
                "arm": arm.name,
                "connections": extent.connections,
                "busy": extent.connections // 20,
                "seconds": extent.seconds,
            }
            yield Run("scale", arguments, 3, f"scale {number}")


def _segments(extent: Extent) -> Iterator[Run]:
    for subscriptions in (0, 1):
        arguments = {"connections": extent.connections, "subscriptions": subscriptions}
        yield Run("segments", arguments, 3, "segments")


def measure(extent: Extent, progress: Callable[[Run], None]) -> list[Figure]:
    """Run every process, and sum up what they report; `progress` hears of each step."""
    groups: defaultdict[str, defaultdict[str, dict[str, float]]]
    groups = defaultdict(lambda: defaultdict(dict))
    for run in plan(extent):
        for key, prices in _report(run, progress).items():
            groups[run.group][key].update(prices)
    return figures(groups.values())


def _report(run: Run, progress: Callable[[Run], None]) -> dict[str, dict[str, float]]:
    program = [sys.executable, "-m", "tests.benchmarks.process"]
    job = json.dumps({"task": run.task, **run.arguments})
    prices: dict[str, dict[str, float]] = {}
    with subprocess.Popen(  # noqa: S603  # our own program
        [*program, job], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            prices = said.get("prices", prices)
            if "step" in said:
                progress(run)
    if process.returncode:
        raise RuntimeError(f"a process died of {job}")
    return prices
