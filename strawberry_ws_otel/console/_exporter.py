"""`ConversationExporter`: draws each conversation when its connection closes, or lives long."""

import logging
import os
import threading
from collections.abc import Sequence
from typing import IO, Final, Literal, TypeAlias, get_args

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from rich.console import Console

from strawberry_ws_otel._semconv import SCOPE
from strawberry_ws_otel.console._conversation import Conversation, Operation
from strawberry_ws_otel.console._grouping import Grouping
from strawberry_ws_otel.console._picture import OperationLine, Picture
from strawberry_ws_otel.console._snapshot import snapshot_of
from strawberry_ws_otel.console._terminal import open_console

_logger = logging.getLogger(SCOPE)

Only: TypeAlias = Literal["all", "abnormal"]

EVERYTHING: Final[Only] = "all"


class ConversationExporter(SpanExporter):
    """Draws each conversation on a terminal when its connection closes.

    The drawing shows the operations with their phases, the messages, and how the connection closed.
    A connection that lives long is also drawn while it is open, each time one of its segments ends:
    all of the conversation so far, marked as open, with no verdict. An operation over HTTP is one
    line. `show()` adds an exporter to the SDK. If you add one
    yourself, use a span processor that exports soon:

        provider.add_span_processor(
            BatchSpanProcessor(ConversationExporter(only="abnormal"), schedule_delay_millis=200)
        )

    Memory is bounded, also for connections that live for hours and with `only="abnormal"`, which
    keeps no more:

    * of a connection the first 10 and the last 10 operations (its init is one of them),
    * of an operation 20 spans, and of a span 32 events and, beside the library's, 32 attributes of
      256 characters,
    * 1,000 connections and 10,000 spans in total. Beyond that, those that waited longest are
      forgotten.

    The drawing says how many were left out. Spans that are not sampled are not drawn.

    Derive a class and override `draw` or `draw_operation` to draw in another way.
    """

    def __init__(
        self,
        *,
        only: Only = EVERYTHING,
        console: Console | None = None,
        file: IO[str] | None = None,
    ) -> None:
        """Choose what to draw, and where.

        Args:
            only: `"abnormal"` draws only conversations whose close is somebody's fault, and
                operations over HTTP that failed.
            console: where to draw. By default that is stderr if it is a terminal, else stdout if
                that is one, else nothing is drawn.
            file: a text file to draw into, in place of a console.

        Raises:
            TypeError: an argument is of the wrong type, or both console and file are given.
            ValueError: `only` is none of its choices.
        """
        self._is_shut_down = self._has_failed = False
        self._begin()
        self.choose(only=only, console=console, file=file)

    def choose(
        self,
        *,
        only: Only = EVERYTHING,
        console: Console | None = None,
        file: IO[str] | None = None,
    ) -> None:
        """Choose anew what to draw, and where. The arguments are those of the class."""
        _check_only(only)
        self.console = open_console(console, file)
        """Where it draws, None where it draws nothing."""
        self._only = only
        self._chosen = console, file

    def _begin(self) -> None:
        """Begin without spans, in this process."""
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._grouping = Grouping()

    def draw(self, conversation: Conversation) -> None:
        """Draw a conversation that has ended, or one that is open, as far as it went."""
        self._print(Picture(conversation))

    def draw_operation(self, operation: Operation) -> None:
        """Draw an operation over HTTP that has ended."""
        self._print(OperationLine(operation))

    def _print(self, drawing: Picture | OperationLine) -> None:
        if self.console is not None:
            self.console.print(drawing)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Draw what these spans complete. It never raises; the first failure is logged."""
        if self._is_shut_down:
            return SpanExportResult.FAILURE
        if self.console is None:
            return SpanExportResult.SUCCESS
        try:
            if self._pid != os.getpid():
                # After a fork, connections are the parent's, and its threads may hold the locks.
                self.console = open_console(*self._chosen)
                self._begin()
            with self._lock:
                self._add(spans)
        # rich raises SystemExit for a broken pipe, which would end the thread of the processor.
        except (Exception, SystemExit):
            if not self._has_failed:
                self._has_failed = True
                _logger.exception("Conversations could not be drawn")
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def _add(self, spans: Sequence[ReadableSpan]) -> None:
        for span in spans:
            ended = self._grouping.add(snapshot_of(span))
            if isinstance(ended, Conversation):
                if self._only == EVERYTHING or ended.is_abnormal:
                    self.draw(ended)
            elif ended is not None and (self._only == EVERYTHING or ended.span.is_error):
                self.draw_operation(ended)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002  # the SDK's
        """Return True: what is complete is drawn already."""
        return True

    def shutdown(self) -> None:
        """Draw nothing more, and forget what was not complete."""
        self._is_shut_down = True
        self._grouping = Grouping()


def _check_only(only: object) -> None:
    choices = get_args(Only)
    if only not in choices:
        error = ValueError if isinstance(only, str) else TypeError
        raise error(f"only must be one of {', '.join(map(repr, choices))}, not {only!r}")
