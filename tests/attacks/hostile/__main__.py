"""Besiege a server: `python -m tests.attacks.hostile --seed 1 --frames 100000`."""

import argparse
import asyncio
import logging
import resource
import sys
import time
from collections.abc import Coroutine
from importlib import import_module
from typing import Any, Final, TypeVar

from tests.attacks.hostile.siege import HOST_LOGS, VARIANTS, Siege, besieged
from tests.support.garbage import living
from tests.support.memory import resident, trim
from tests.support.tls import TLS

Result = TypeVar("Result")
GROWTH: Final = 8 << 20
"""Bytes by which a process may differ from itself after a fifth of the siege."""
STEPS: Final = 20


class Screen:
    """The progress of a siege, and the memory of the process after a fifth of it."""

    def __init__(self, frames: int) -> None:
        self.began = time.monotonic()
        self.level: int | None = None
        self._frames = frames
        self._step = 0

    def __call__(self, siege: Siege) -> None:
        step = min(siege.frames * STEPS // self._frames, STEPS)
        if step == self._step:
            return
        self._step = step
        size = memory()
        if self.level is None and step * 5 >= STEPS:
            self.level = size
        seconds = time.monotonic() - self.began
        print(  # noqa: T201  # a program for the terminal
            f"{siege.frames:>8} frames  {siege.clients:>6} clients  {seconds:>5.0f} s"
            f"  {size / (1 << 20):>6.1f} MB  {len(siege.books.complaints)} complaints",
            flush=True,
        )


def memory() -> int:
    """Bytes that the process has in memory, or had at its peak where the system reports no more."""
    trim()
    return resident() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def besiege(
    seed: int, variant: str, tls: TLS | None, frames: int, screen: Screen
) -> tuple[Siege, dict[str, int]]:
    """Run the siege; return it, and the series that each metric had after a fifth of it."""
    async with besieged(seed, variant, tls) as siege:
        await siege.run(frames // 5, screen)
        series = siege.books.series()
        await siege.run(frames, screen)
    return siege, series


async def replay(seed: int, variant: str, tls: TLS | None, number: int) -> Siege:
    """Send one client alone."""
    async with besieged(seed, variant, tls) as siege:
        await siege.send(number)
    return siege


def run(coroutine: Coroutine[Any, Any, Result], *, on_uvloop: bool) -> Result:
    """Run it on a loop of that kind."""
    factory = import_module("uvloop").new_event_loop if on_uvloop else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(coroutine)


def main() -> int:
    """Besiege, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks.hostile", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the same seed draws the same attacks")
    parser.add_argument("--frames", type=int, default=100_000, help="how many are sent")
    parser.add_argument(
        "--variant", choices=VARIANTS, default="default", help="the options of the view"
    )
    parser.add_argument("--uvloop", action="store_true", help="serve on uvloop")
    parser.add_argument("--tls", action="store_true", help="speak TLS, and break it at times")
    parser.add_argument("--client", type=int, help="send this client of the siege alone")
    arguments = parser.parse_args()
    for logger in HOST_LOGS:
        logging.getLogger(logger).setLevel(logging.CRITICAL + 1)
    seed, variant = arguments.seed, arguments.variant
    tls = TLS.make() if arguments.tls else None
    if arguments.client is not None:
        siege = run(replay(seed, variant, tls, arguments.client), on_uvloop=arguments.uvloop)
        rows: list[tuple[str, object]] = []
    else:
        screen = Screen(arguments.frames)
        siege, early = run(
            besiege(seed, variant, tls, arguments.frames, screen), on_uvloop=arguments.uvloop
        )
        growth = memory() - (screen.level or 0)
        if growth > GROWTH:
            siege.books.complain(f"the process grew by {growth} bytes")
        rows = [
            ("seconds", f"{time.monotonic() - screen.began:.0f}"),
            ("growth in MB since the first fifth", f"{growth / (1 << 20):.1f}"),
            ("series after a fifth", sum(early.values())),
        ]
    return report(siege, rows)


def report(siege: Siege, rows: list[tuple[str, object]]) -> int:
    """Print the table and the complaints; return the status of the process."""
    books, left = siege.books, living().total()
    if left:
        books.complain(f"{left} objects of ended connections are alive")
    table: list[tuple[str, object]] = [
        ("seed", siege.seed),
        ("variant", siege.variant),
        ("TLS", "no" if siege.tls is None else "yes"),
        ("frames", siege.frames),
        ("clients", siege.clients),
        ("connections", books.handshakes),
        ("spans", books.spans.total()),
        ("segments that were continued", books.continued),
        ("log records", books.records),
        *rows,
        ("series", sum(books.series().values())),
        *((f"closes: {outcome}", count) for outcome, count in books.outcomes.most_common()),
        *((f"operations: {reason}", count) for reason, count in books.reasons.most_common()),
        ("complaints", books.complaints.total()),
    ]
    for key, value in table:
        print(f"{key:<36}{value:>12}")  # noqa: T201  # a program for the terminal
    for complaint, times in books.complaints.items():
        print(f"\n{times} x {complaint}")  # noqa: T201  # a program for the terminal
    return 1 if books.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
