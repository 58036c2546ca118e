"""Draws conversations: a timeline, the events in words, and the verdict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text

from strawberry_ws_otel import _semconv
from strawberry_ws_otel._close import Fault
from strawberry_ws_otel.console._conversation import Conversation, Operation
from strawberry_ws_otel.console._events import (
    MILLISECOND,
    SECOND,
    TROUBLE,
    duration,
    lay_out,
    texts,
)
from strawberry_ws_otel.console._snapshot import OWN_NAMES, SpanSnapshot
from strawberry_ws_otel.console._timeline import Row, Timeline

WIDEST: Final = 120
"""A drawing is not wider than this, and else as wide as the terminal."""

FRAME: Final = 4
"""Cells of the frame and the space inside it, on both sides."""

INDENT: Final = 4
"""Cells before events in words."""

AGENT: Final = 40
"""Characters of a user agent."""

OPEN: Final = "blue"
GOOD: Final = "green"
ABNORMAL: Final = "yellow"
ALARMING: Final = "red"


@dataclass(frozen=True)
class Picture:
    """The drawing of a conversation, as wide as the terminal."""

    conversation: Conversation
    title: str = ""
    """In place of the time and the route."""
    notes: Sequence[str] = ()
    """Lines of text for its end."""

    @property
    def style(self) -> str:
        """Green for a good close, red for the server's fault, yellow for others, blue if open."""
        if self.conversation.is_open:
            return OPEN
        if not self.conversation.is_abnormal:
            return GOOD
        return ALARMING if self.conversation.fault == Fault.SERVER.value else ABNORMAL

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """Draw it, as rich asks for it."""
        width = min(options.max_width, WIDEST)
        inside = max(width - FRAME, 1)
        parts = [*self._facts(inside), Text(), *self._timeline(inside), Text()]
        parts += self._counts(inside)
        parts += self._so_far(inside) if self.conversation.is_open else self._verdict(inside)
        parts += [Text(note, "dim") for note in self.notes]
        yield Panel(
            Group(*parts),
            title=Text.assemble(
                (self.title or self._title(), "bold"),
                (" · ", "dim"),
                (self.conversation.outcome, f"bold {self.style}"),
            ),
            title_align="left",
            border_style=self.style,
            width=width,
        )

    def _title(self) -> str:
        """Say when it ended, or was drawn while it is open, and on which route."""
        get = self.conversation.get
        route = get(_semconv.HTTP_ROUTE) or get(_semconv.URL_PATH) or ""
        return f"{clock(self.conversation.connection.end)} {route}".rstrip()

    def _facts(self, width: int) -> Iterator[Text]:
        """Write who the client was, and the id that finds the whole conversation."""
        get = self.conversation.get
        status = get(_semconv.HTTP_STATUS_CODE)
        agent = str(get(_semconv.USER_AGENT) or "")
        parts = [
            str(get(_semconv.SUBPROTOCOL) or f"HTTP {status}, no upgrade"),
            f"{_semconv.CONNECTION_ID}={get(_semconv.CONNECTION_ID)}",
            *([agent if len(agent) <= AGENT else f"{agent[:AGENT]}…"] if agent else []),
            *(
                f"{name} {value}"
                for name, value in self.conversation.connection.attributes.items()
                if name not in OWN_NAMES
            ),
        ]
        return lay_out([Text(part, "dim") for part in parts], width, " · ")

    def _timeline(self, width: int) -> Iterator[RenderableType]:
        """Draw the connection, then each operation with its spans."""
        connection, left_out = self.conversation.connection, self.conversation.operations_left_out
        first, last = self._begun()
        is_open = self.conversation.is_open
        row = Row(connection.name, connection, "bold blue", "open" if is_open else "")
        rows = [row, *(each for operation in (*first, *last) for each in self._rows(operation))]
        line = Timeline.fitting(rows, connection.start, connection.end - connection.start, width)
        yield from self._drawn(line, row, width)
        for operation in first:
            yield from self._operation(line, operation, width)
        if left_out:
            yield Text(f"… {left_out:,} operations left out", "dim")
        for operation in last:
            yield from self._operation(line, operation, width)

    def _begun(self) -> tuple[list[Operation], list[Operation]]:
        """Return the operations before and after those left out, in the order of their start."""
        conversation = self.conversation
        if not conversation.operations_left_out:
            return _by_start(conversation.operations), []
        return _by_start(conversation.first_operations), _by_start(conversation.last_operations)

    def _rows(self, operation: Operation) -> list[Row]:
        """Return the lines of an operation. What is live lasts until now."""
        # An operation whose last segment was not recorded is not live after the close.
        if not (self.conversation.is_open and operation.is_live):
            return rows_of(operation)
        span = replace(operation.span, end=self.conversation.connection.end)
        return rows_of(replace(operation, span=span), "live")

    def _operation(
        self, line: Timeline, operation: Operation, width: int
    ) -> Iterator[RenderableType]:
        first, *inner = self._rows(operation)
        yield from self._drawn(line, first, width)
        yield from map(line.line, inner)
        if operation.inner_left_out:
            yield Text(f"  … {operation.inner_left_out:,} spans left out", "dim")

    @staticmethod
    def _drawn(line: Timeline, row: Row, width: int) -> Iterator[RenderableType]:
        yield line.line(row)
        for text in lay_out(texts(row.span, line.origin), max(width - INDENT, 1)):
            yield Padding(text, (0, 0, 0, INDENT))

    def _counts(self, width: int) -> Iterator[Text]:
        """Write how many messages there were, and what was still live at the end."""
        get = self.conversation.get
        parts = [
            f"received {get(_semconv.MESSAGES_RECEIVED) or 0}",
            f"sent {get(_semconv.MESSAGES_SENT) or 0}",
            f"operations {get(_semconv.OPERATION_COUNT) or 0}",
            f"live {self.conversation.live_operations}"
            if self.conversation.is_open
            else f"interrupted {get(_semconv.OPERATION_INTERRUPTED_COUNT) or 0}",
        ]
        idle = get(_semconv.RECEIVE_IDLE_TIME)
        if isinstance(idle, int | float):
            parts.append(f"client silent for the last {duration(int(idle * SECOND))}")
        return lay_out([Text(part, "dim") for part in parts], width, " · ")

    def _so_far(self, width: int) -> Iterator[Text]:
        """Write for how long it is open, and in which of its drawings that is."""
        connection = self.conversation.connection
        number = connection.attributes.get(_semconv.SEGMENT_NUMBER)
        parts = [
            Text.assemble(
                "still open after ", (duration(connection.end - connection.start), "bold")
            ),
            Text(f"segment {number}", "dim"),
        ]
        return lay_out(parts, width)

    def _verdict(self, width: int) -> Iterator[Text]:
        """Write how it closed, with the values of the span's attributes."""
        get = self.conversation.get
        error = get(_semconv.ERROR_TYPE)
        pairs = {
            "outcome": self.conversation.outcome,
            "fault": self.conversation.fault,
            "code": get(_semconv.CLOSE_CODE),
            "initiator": get(_semconv.CLOSE_INITIATOR),
            "clean": "yes" if get(_semconv.CLOSE_CLEAN) else "no",
            _semconv.ERROR_TYPE: None if error == self.conversation.outcome else error,
        }
        parts = [
            Text.assemble((f"{key} ", "dim"), (str(value), f"bold {self.style}"))
            for key, value in pairs.items()
            if value is not None
        ]
        return lay_out(parts, width)


@dataclass(frozen=True)
class OperationLine:
    """One line for an operation that came over HTTP."""

    operation: Operation

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """Draw it, as rich asks for it."""
        span = self.operation.span
        messages = (event.attributes.get(_semconv.ERROR_MESSAGE) for event in span.first_events)
        parts = (error_of(span), next(filter(None, messages), None))
        line = Text.assemble(
            (f"{clock(span.end)} ", "dim"),
            (f"{TROUBLE if span.is_error else '✓'} {name_of(span)}", style_of(span)),
            (f"  {duration(length_of(span))}", "bold"),
            *((f"  {part}", style_of(span)) for part in parts if part),
        )
        line.truncate(min(options.max_width, WIDEST), overflow="ellipsis")
        yield line


def _by_start(operations: Sequence[Operation]) -> list[Operation]:
    return sorted(operations, key=lambda operation: operation.span.start)


def clock(moment: int) -> str:
    """Write the local time of a moment, with milliseconds, as most logs do."""
    seconds, rest = divmod(moment, SECOND)
    local = datetime.fromtimestamp(seconds, UTC).astimezone()
    return f"{local:%H:%M:%S}.{rest // MILLISECOND:03}"


def name_of(span: SpanSnapshot) -> str:
    """Return the name of an operation's span, with that of the operation unless it has it."""
    name = span.attributes.get(_semconv.OPERATION_NAME)
    return f"{span.name} {name}" if name and name not in span.name.split() else span.name


def length_of(span: SpanSnapshot) -> int:
    """Return how long it took, in nanoseconds; the last segment knows that of all segments."""
    whole = span.attributes.get(_semconv.DURATION)
    if span.earlier is not None and isinstance(whole, int | float):
        return int(whole * SECOND)
    return span.end - span.start


def error_of(span: SpanSnapshot) -> str:
    """Return the class of an error without its module."""
    return str(span.attributes.get(_semconv.ERROR_TYPE, "")).rpartition(".")[2]


def style_of(span: SpanSnapshot) -> str:
    """Red for what failed, green for the rest."""
    return ALARMING if span.is_error else GOOD


def rows_of(operation: Operation, note: str = "") -> list[Row]:
    """Return the lines of an operation: its own, and one for each span inside it."""
    span = operation.span
    note = note or operation.end_reason or error_of(span)
    own = Row(f"↳ {name_of(span)}", span, style_of(span), note)
    inner = (Row(each.name, each, "bright_black", depth=depth) for depth, each in operation.inner)
    return [own, *inner]
