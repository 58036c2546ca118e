"""Chooses where conversations are drawn.

* A console or a file that the application gives is used, whatever it is.
* Otherwise stderr is used if it is a terminal, or stdout if only that is one. What a program writes
  to a pipe or into a file stays as it is.
* Where neither is a terminal, for example under a service manager, nothing is drawn.

rich decides what a terminal is: with `FORCE_COLOR=1`, every stream is one. With `NO_COLOR`, the
text has no styles at all.
"""

import os
import sys
from typing import IO, Any, Final, cast

from rich.console import Console

WIDTH: Final = 100
"""Cells of a line in a file that is no terminal, unless `COLUMNS` is set."""


class _Encodable:
    """A file that writes `?` for a character that its encoding does not have."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        encoding = getattr(self._file, "encoding", None) or "utf-8"
        return self._file.write(text.encode(encoding, "replace").decode(encoding))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever a file has
        return getattr(self._file, name)


class _OwnConsole(Console):
    """A console that leaves the process alone."""

    def on_broken_pipe(self) -> None:
        """Raise the error: rich would end the process, and send its stdout nowhere."""
        raise  # noqa: PLE0704  # rich calls it while it handles the error


def open_console(console: Console | None, file: IO[str] | None) -> Console | None:
    """Return what to draw on, or None to draw nothing.

    Args:
        console: one of rich's; it decides about colours and width by itself.
        file: a text file that is open for writing.

    Raises:
        TypeError: an argument is of the wrong type, or both are given.
    """
    if console is not None and file is not None:
        raise TypeError("give a console or a file, not both")
    if console is not None:
        if not isinstance(console, Console):
            raise TypeError(f"console must be a rich.console.Console or None, not {console!r}")
        return console
    if file is not None:
        if not callable(getattr(file, "write", None)):
            raise TypeError(f"file must be a text file or None, not {file!r}")
        return _console_on(file)
    # Either may be None, for example under pythonw.exe.
    streams = [stream for stream in (sys.stderr, sys.stdout) if stream is not None]
    return next(filter(_is_terminal, map(_console_on, streams)), None)


def _is_terminal(console: Console) -> bool:
    return console.is_terminal


def _console_on(file: IO[str]) -> Console:
    console = _OwnConsole(
        file=cast("IO[str]", _Encodable(file)),
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        highlight=False,
        emoji=False,
        markup=False,
    )
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH
    return console
