"""The exporter: what it draws, and that nothing of it reaches the SDK or the application."""

import logging
import os
import sys
import threading
from io import StringIO
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import StatusCode
from rich.console import Console

from strawberry_ws_otel.console._conversation import Conversation, Operation
from strawberry_ws_otel.console._exporter import ConversationExporter
from strawberry_ws_otel.console._snapshot import snapshot_of
from tests.support.drawn import (
    ASKED_BY_RICH,
    LOST,
    begin,
    closed,
    completed,
    connection,
    continued,
    ended,
    inner,
    operation,
)
from tests.support.log import LogKeeper

SUCCESS, FAILURE = SpanExportResult.SUCCESS, SpanExportResult.FAILURE


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ASKED_BY_RICH:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def file() -> StringIO:
    return StringIO()


@pytest.fixture
def exporter(file: StringIO) -> ConversationExporter:
    return ConversationExporter(file=file)


def test_a_conversation_is_drawn_when_its_connection_ends(
    exporter: ConversationExporter, file: StringIO
) -> None:
    root = operation()
    phase = ended(inner("GraphQL Document Parsing", root), 30)
    assert exporter.export([phase, completed(root)]) is SUCCESS
    assert not file.getvalue()
    assert exporter.export([closed(connection())]) is SUCCESS
    lines = file.getvalue().splitlines()
    assert "/graphql · normal" in lines[0]
    assert "↳ subscription Op1" in file.getvalue()
    assert "  GraphQL Document Parsing" in file.getvalue()


def test_an_operation_over_http_is_one_line(exporter: ConversationExporter, file: StringIO) -> None:
    assert exporter.export([ended(begin("query"), 3)]) is SUCCESS
    [line] = file.getvalue().splitlines()
    assert line.endswith("✓ query  3.0 ms")


def test_spans_of_others_are_not_drawn(exporter: ConversationExporter, file: StringIO) -> None:
    assert exporter.export([ended(begin("GET /", scope="http"), 3)]) is SUCCESS
    assert not file.getvalue()


def test_only_what_is_abnormal_may_be_drawn(file: StringIO) -> None:
    exporter = ConversationExporter(only="abnormal", file=file)
    failed = begin("mutation")
    failed.set_status(StatusCode.ERROR)
    exporter.export(
        [
            completed(operation(1, "a")),
            closed(connection("a")),
            ended(begin("query"), 3),
            ended(failed, 3),
            completed(operation(2, "b"), reason="connection_closed"),
            closed(connection("b"), verdict=LOST),
        ]
    )
    drawn = file.getvalue()
    assert drawn.count("╭─") == 1
    assert "connection_lost" in drawn
    assert "✗ mutation" in drawn
    assert "✓ query" not in drawn
    assert len(exporter._grouping) == 0


def test_a_connection_that_lives_long_is_drawn_while_it_is_open(
    exporter: ConversationExporter, file: StringIO
) -> None:
    first, live = connection(), operation()
    second, rest = continued(first, 300), continued(live, 400)
    last = continued(second, 900)
    exporter.export([first, live, second, completed(rest, 950), closed(last)])
    titles = [line for line in file.getvalue().splitlines() if line.startswith("╭─")]
    assert [title.split(" · ")[1].split(" ─")[0] for title in titles] == ["open", "open", "normal"]
    assert [line.count("↳") for line in file.getvalue().split("╭─")[1:]] == [0, 1, 1]


def test_what_is_open_is_not_abnormal(file: StringIO) -> None:
    exporter, first = ConversationExporter(only="abnormal", file=file), connection()
    last = continued(first, 300)
    exporter.export([first])
    assert not file.getvalue()
    exporter.export([closed(last, verdict=LOST)])
    assert file.getvalue().count("╭─") == 1


def test_a_wrong_choice_is_said_plainly() -> None:
    wrong: Any = "errors"
    with pytest.raises(ValueError, match=r"^only must be one of 'all', 'abnormal', not 'errors'$"):
        ConversationExporter(only=wrong)
    with pytest.raises(TypeError, match=r"^only must be one of 'all', 'abnormal', not None$"):
        ConversationExporter(only=None)  # type: ignore[arg-type]  # what is tried
    with pytest.raises(TypeError, match=r"^give a console or a file, not both$"):
        ConversationExporter(console=Console(), file=StringIO())


def test_a_choice_may_be_made_anew(exporter: ConversationExporter, file: StringIO) -> None:
    other = StringIO()
    exporter.export([completed(operation(1, "b"))])
    exporter.choose(only="abnormal", file=other)
    exporter.export([closed(connection("a")), closed(connection("b"), verdict=LOST)])
    assert not file.getvalue()
    assert other.getvalue().count("╭─") == other.getvalue().count("↳ ") == 1


def test_a_console_decides_about_width_and_colours(file: StringIO) -> None:
    console = Console(file=file, width=70, color_system="standard", force_terminal=True)
    ConversationExporter(console=console).export([closed(connection())])
    assert file.getvalue().startswith("\x1b[32m╭")


def test_where_there_is_no_terminal_nothing_is_drawn_or_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in "stdout", "stderr":
        monkeypatch.setattr(sys, name, StringIO())
    exporter = ConversationExporter()
    assert exporter.export([completed(operation()), closed(connection())]) is SUCCESS
    assert exporter.console is None
    assert len(exporter._grouping) == 0
    # What is not asked for by `export` draws nothing either.
    exporter.draw(Conversation(snapshot_of(closed(connection()))))


def test_flush_and_shutdown(exporter: ConversationExporter, file: StringIO) -> None:
    assert exporter.force_flush()
    exporter.export([completed(operation())])
    exporter.shutdown()
    exporter.shutdown()
    assert exporter.export([closed(connection())]) is FAILURE
    assert not file.getvalue()
    assert len(exporter._grouping) == 0


class Refusing(StringIO):
    """A file that cannot be written."""

    def write(self, text: str) -> int:
        raise OSError("disk full")


def test_what_cannot_be_drawn_is_logged_once(library_log: LogKeeper) -> None:
    exporter = ConversationExporter(file=Refusing())
    assert exporter.export([closed(connection("a"))]) is FAILURE
    assert exporter.export([closed(connection("b"))]) is FAILURE
    [record] = library_log.records
    assert (record.name, record.levelno) == ("strawberry_ws_otel", logging.ERROR)
    assert record.getMessage() == "Conversations could not be drawn"
    assert record.exc_info is not None


def test_the_end_of_the_process_by_rich_is_none(library_log: LogKeeper) -> None:
    class Ending(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            raise SystemExit(1)

    assert ConversationExporter(console=Ending()).export([closed(connection())]) is FAILURE
    assert library_log.records


def test_a_span_that_cannot_be_read_fails_nothing(
    exporter: ConversationExporter, library_log: LogKeeper
) -> None:
    broken: Any = object()
    assert exporter.export([broken]) is FAILURE
    assert exporter.export([closed(connection())]) is SUCCESS
    assert library_log.records


def test_a_derived_class_draws_in_its_own_way(file: StringIO) -> None:
    seen: list[Conversation | Operation] = []

    class Keeper(ConversationExporter):
        def draw(self, conversation: Conversation) -> None:
            seen.append(conversation)

        def draw_operation(self, operation: Operation) -> None:
            seen.append(operation)

    Keeper(file=file).export([closed(connection()), ended(begin("query"), 1)])
    assert [type(each) for each in seen] == [Conversation, Operation]
    assert not file.getvalue()


def test_it_may_be_used_from_several_threads(file: StringIO) -> None:
    exporter = ConversationExporter(file=file)
    start = threading.Barrier(8)

    def converse(thread: int) -> None:
        start.wait()
        for number in range(20):
            id_ = f"{thread}-{number}"
            exporter.export([completed(operation(1, id_))])
            exporter.export([closed(connection(id_))])

    threads = [threading.Thread(target=converse, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.getvalue().count("╭─") == file.getvalue().count("↳ ") == 160
    assert len(exporter._grouping) == 0


def test_the_batch_processor_draws_in_its_thread(file: StringIO) -> None:
    threads: list[str] = []

    class Watched(ConversationExporter):
        def draw(self, conversation: Conversation) -> None:
            threads.append(threading.current_thread().name)
            super().draw(conversation)

    processor = BatchSpanProcessor(Watched(file=file), schedule_delay_millis=60_000)
    processor.on_end(completed(operation()))
    processor.on_end(closed(connection()))
    processor.shutdown()  # type: ignore[no-untyped-call]  # of the SDK
    assert "↳ subscription Op1" in file.getvalue()
    assert len(threads) == 1


def test_a_child_begins_without_the_spans_and_locks_of_its_parent(
    exporter: ConversationExporter, file: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter.export([completed(operation())])
    with exporter._lock:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        child = threading.Thread(target=exporter.export, args=[[closed(connection())]])
        child.start()
        child.join(10)
    assert not child.is_alive()
    assert "╭─" in file.getvalue()
    assert "↳" not in file.getvalue()
