"""Run the demo: `python -m examples.demo`, or with `--serve` to try it by hand."""

import argparse
import sys
from pathlib import Path
from typing import Final

from examples.demo.scenarios import NUMBERED, Numbered
from examples.demo.screen import open_console
from examples.demo.serve import serve
from examples.demo.server import PortError
from examples.demo.tour import tour

SERVE_PORT: Final = 8000
HIGHEST_PORT: Final = 65535
INTERRUPTED: Final = 130
"""The exit status that a shell expects of a program that Ctrl-C ended."""


def port_number(text: str) -> int:
    """Read a port; 0 stands for any free port."""
    if not text.isdecimal() or int(text) > HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{text} is no number from 0 to {HIGHEST_PORT}")
    return int(text)


def scenario(text: str) -> Numbered:
    """Read the number of a scenario."""
    for number, one in NUMBERED:
        if text == str(number):
            return number, one
    raise argparse.ArgumentTypeError(f"{text} is no number from 1 to {len(NUMBERED)}")


def picture_file(text: str) -> Path:
    """Read the name of an output file, in a folder that exists."""
    file = Path(text)
    if not file.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {file.parent}")
    return file


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo",
        description="A price ticker, its clients, and the telemetry of each of them.",
    )
    parser.add_argument(
        "--port",
        type=port_number,
        help=f"port on 127.0.0.1 (default: any free one; {SERVE_PORT} with --serve)",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--serve", action="store_true", help="keep serving, to try it by hand")
    mode.add_argument(
        "--svg", type=picture_file, metavar="FILE", help="write one conversation as a picture"
    )
    parser.add_argument(
        "--only",
        type=scenario,
        metavar="NUMBER",
        help=f"play one scenario, from 1 to {len(NUMBERED)}, as they are numbered in the table",
    )
    options = parser.parse_args()
    if options.serve and options.only:
        parser.error("argument --only: not allowed with argument --serve")
    return options


def main() -> int:
    """Run the demo; return its exit status."""
    options, console = parse(), open_console()
    try:
        if options.serve:
            return serve(console, SERVE_PORT if options.port is None else options.port)
        chosen = [options.only] if options.only else NUMBERED
        return tour(console, options.port or 0, options.svg, chosen)
    except PortError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
