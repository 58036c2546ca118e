"""The terminal of the programs among the tests."""

import sys
from typing import Final

from rich.console import Console

WIDTH: Final = 132


def open_console() -> Console:
    """Write to the terminal, or plainly and wide enough to anything else."""
    width = None if sys.stdout.isatty() and Console().width >= WIDTH else WIDTH
    return Console(width=width, highlight=False, emoji=False, markup=False)
