"""A conversation: all that was recorded of one connection, as it is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

from strawberry_ws_otel import _semconv
from strawberry_ws_otel._close import Fault
from strawberry_ws_otel.console._snapshot import SpanSnapshot, Value


@dataclass(frozen=True)
class Operation:
    """What a client asked for over the connection: its span, and the spans inside it."""

    span: SpanSnapshot
    inner: Sequence[tuple[int, SpanSnapshot]] = ()
    """The spans inside it, each with its depth from 1, parents before children."""
    inner_left_out: int = 0
    """How many more there were."""

    @property
    def end_reason(self) -> str | None:
        """Why it ended; None for the init of a connection."""
        reason = self.span.attributes.get(_semconv.END_REASON)
        return None if reason is None else str(reason)

    @property
    def is_live(self) -> bool:
        """Whether it has not ended: the span has what was recorded so far."""
        return self.span.is_continued


@dataclass(frozen=True)
class Conversation:
    """A connection, and what its client asked for over it.

    It has ended, or it is open: then it has what was recorded so far, and no verdict.
    """

    connection: SpanSnapshot
    first_operations: Sequence[Operation] = ()
    last_operations: Sequence[Operation] = ()
    operations_left_out: int = 0
    """How many operations are missing: those between the first and the last, or not sampled.

    While the connection is open, only those that have ended.
    """
    live_operations: int = 0
    """How many operations have not ended, also those of which nothing was recorded so far."""

    @property
    def operations(self) -> Sequence[Operation]:
        """The operations that were kept, and the init of the connection."""
        return (*self.first_operations, *self.last_operations)

    def get(self, name: str) -> Value | None:
        """Return an attribute of the connection."""
        return self.connection.attributes.get(name)

    @property
    def is_open(self) -> bool:
        """Whether the connection has not closed."""
        return self.connection.is_continued

    @property
    def outcome(self) -> str:
        """The verdict over the close; `open` if there is none yet."""
        if self.is_open:
            return "open"
        return str(self.get(_semconv.CLOSE_OUTCOME) or "unknown")

    @property
    def fault(self) -> str:
        """Whose fault the close was."""
        return str(self.get(_semconv.CLOSE_FAULT) or Fault.UNKNOWN.value)

    @property
    def is_abnormal(self) -> bool:
        """Whether the close was somebody's fault."""
        return not self.is_open and self.fault != Fault.NONE.value

    @property
    def end_reasons(self) -> tuple[str, ...]:
        """Why the operations ended, in the order in which they began."""
        begun = sorted(self.operations, key=lambda operation: operation.span.start)
        return tuple(each.end_reason for each in begun if each.end_reason is not None)
