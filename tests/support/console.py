"""The command line and the terminal of the programs among the tests."""

import argparse
import sys
from typing import Any, Final

from rich.console import Console

WIDTH: Final = 140


def open_console() -> Console:
    """Write to the terminal, or plainly and wide enough to anything else."""
    width = None if sys.stdout.isatty() and Console().width >= WIDTH else WIDTH
    return Console(width=width, highlight=False, emoji=False, markup=False)


def counts(least: int) -> Any:
    """Read a whole number that is at least this one."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is no whole number from {least} on")
        return int(text)

    return read
