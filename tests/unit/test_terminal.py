"""Where conversations are drawn: a terminal, what was given, or nowhere."""

import os
import sys
from collections.abc import Iterator
from io import BytesIO, StringIO, TextIOWrapper
from typing import IO, Any

import pytest
from rich.console import Console
from rich.text import Text

from strawberry_ws_otel.console._terminal import open_console
from tests.support.drawn import ASKED_BY_RICH


class Terminal(StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ASKED_BY_RICH:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Any:
    def replaced(stdout: IO[str] | None, stderr: IO[str] | None) -> None:
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setattr(sys, "stderr", stderr)

    return replaced


def drawn(console: Console | None, text: str = "a") -> str:
    """What one word in red is on a console that has been opened on a stream."""
    assert console is not None
    console.print(Text(text, "red"))
    file: Any = console.file
    value: str = file.getvalue()
    return value


def test_stderr_is_drawn_on_if_it_is_a_terminal(streams: Any) -> None:
    stdout, stderr = Terminal(), Terminal()
    streams(stdout, stderr)
    assert drawn(open_console(None, None)) == "\x1b[31ma\x1b[0m\n"
    assert stderr.getvalue()
    assert not stdout.getvalue()


def test_stdout_is_drawn_on_if_only_that_is_a_terminal(streams: Any) -> None:
    stdout, stderr = Terminal(), StringIO()
    streams(stdout, stderr)
    assert drawn(open_console(None, None))
    assert stdout.getvalue()


@pytest.mark.parametrize("missing", [True, False])
def test_nothing_is_drawn_where_there_is_no_terminal(streams: Any, *, missing: bool) -> None:
    streams(*((None, None) if missing else (StringIO(), StringIO())))
    assert open_console(None, None) is None


def test_rich_may_be_told_that_there_is_a_terminal(
    streams: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams(StringIO(), StringIO())
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert open_console(None, None) is not None


def test_no_color_leaves_text_without_any_escape(
    streams: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams(StringIO(), Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert drawn(open_console(None, None)) == "a\n"


def test_a_file_that_is_no_terminal_gets_plain_text_of_a_fixed_width() -> None:
    console = open_console(None, StringIO())
    assert drawn(console) == "a\n"
    assert console is not None
    assert console.width == 100


@pytest.mark.parametrize("is_terminal", [True, False])
def test_columns_says_how_wide(monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool) -> None:
    monkeypatch.setenv("COLUMNS", "61")
    console = open_console(None, Terminal() if is_terminal else StringIO())
    assert console is not None
    assert console.width == 61


def test_what_an_encoding_does_not_have_is_replaced() -> None:
    raw = BytesIO()
    file = TextIOWrapper(raw, encoding="ascii")
    console = open_console(None, file)
    assert console is not None
    console.print(Text("│ é │"))
    file.flush()
    assert raw.getvalue() == b"? ? ?\n"


def test_markup_emoji_and_links_are_text() -> None:
    console = open_console(None, StringIO())
    assert console is not None
    console.print("[red]:smile:[/red] https://x 123")
    file: Any = console.file
    assert file.getvalue() == "[red]:smile:[/red] https://x 123\n"


def test_a_console_that_is_given_is_the_one() -> None:
    console = Console(file=StringIO(), width=33)
    assert open_console(console, None) is console


def test_a_console_and_a_file_are_too_much() -> None:
    with pytest.raises(TypeError, match=r"^give a console or a file, not both$"):
        open_console(Console(), StringIO())


def test_what_is_no_console_or_no_file_is_said_plainly() -> None:
    wrong: Any = "stderr"
    with pytest.raises(
        TypeError, match=r"^console must be a rich.console.Console or None, not 'stderr'$"
    ):
        open_console(wrong, None)
    with pytest.raises(TypeError, match=r"^file must be a text file or None, not 'stderr'$"):
        open_console(None, wrong)


@pytest.fixture
def broken_pipe() -> Iterator[IO[str]]:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8", buffering=1) as file:  # noqa: PTH123
        yield file
        # Closing flushes what could not be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), writing)


def test_a_broken_pipe_is_an_error_and_not_the_end_of_the_process(broken_pipe: IO[str]) -> None:
    console = open_console(None, broken_pipe)
    assert console is not None
    with pytest.raises(BrokenPipeError):
        console.print(Text("a"))
