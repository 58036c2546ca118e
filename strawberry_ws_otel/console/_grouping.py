"""Groups spans, one by one as they end, to conversations.

A connection's span ends after those of its operations, and a phase before its operation. So

* a span that may be part of an operation waits for it, by the id of its parent;
* an operation takes the spans that wait for it, and waits for its connection, by the connection's
  id, which is an attribute of both;
* a connection takes the operations that wait for it.

What lives long ends in segments, and a later one links to the one before. The segments of an
operation become one operation. Each segment of a connection gives an open conversation, of all that
was recorded so far, which waits on: the last one gives the whole.

All that waits is bounded, whatever clients and applications do. What the bounds leave out is
counted.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from strawberry_ws_otel import _semconv
from strawberry_ws_otel.console._conversation import Conversation, Operation
from strawberry_ws_otel.console._snapshot import SpanSnapshot

OPERATIONS: Final = 10
"""Operations at each end of a connection; the init of the connection counts as one."""

INNER_SPANS: Final = 20
"""Spans inside one operation, and spans that wait for one parent."""

CONNECTIONS: Final = 1_000
"""Connections whose operations wait for their close."""

SPANS: Final = 10_000
"""Spans that wait, in total."""


@dataclass
class _Waiting:
    """The spans that wait for one parent."""

    spans: list[SpanSnapshot] = field(default_factory=list)
    left_out: int = 0


@dataclass
class _OpenConnection:
    """The operations that wait for one connection, and its segments so far."""

    first: list[Operation] = field(default_factory=list)
    last: deque[Operation] = field(default_factory=deque)
    left_out: int = 0
    ended: int = 0
    """How many operations have ended."""
    span: SpanSnapshot | None = None
    """All segments so far, as one span."""

    def add(self, operation: Operation) -> int:
        """Keep an operation; return by how many spans there are more now."""
        self.ended += operation.end_reason is not None
        if operation.span.earlier is not None:
            for kept in self.first, self.last:
                for place, each in enumerate(kept):
                    if each.span.id == operation.span.earlier:
                        kept[place] = _joined(each, operation)
                        return _size(kept[place]) - _size(each)
        size = _size(operation)
        if len(self.first) < OPERATIONS:
            self.first.append(operation)
            return size
        self.last.append(operation)
        if len(self.last) > OPERATIONS:
            self.left_out += 1
            size -= _size(self.last.popleft())
        return size

    @property
    def size(self) -> int:
        """How many spans wait here."""
        return sum(map(_size, (*self.first, *self.last))) + (self.span is not None)


def _size(operation: Operation) -> int:
    return 1 + len(operation.inner)


def _joined(earlier: Operation, later: Operation) -> Operation:
    """Make one operation of two segments."""
    inner = (*earlier.inner, *later.inner)
    left_out = earlier.inner_left_out + later.inner_left_out + max(len(inner) - INNER_SPANS, 0)
    return Operation(later.span.after(earlier.span), inner[:INNER_SPANS], left_out)


class Grouping:
    """What waits for the end of its conversation. It belongs to one thread at a time."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self._connections: OrderedDict[str, _OpenConnection] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        """Return how many spans wait."""
        return self._size

    def add(self, span: SpanSnapshot) -> Conversation | Operation | None:
        """Add a span that has ended.

        Returns:
            The conversation that it completes, or shows while it is open, or the operation if it
            came over HTTP.
        """
        id_ = span.connection_id
        if span.is_request and id_ is None:
            operation = self._operation(span)
            # The last segment has the time of all.
            return None if operation.is_live else operation
        if span.is_connection and id_ is not None:
            conversation = self._conversation(span, id_)
            self._make_room()
            return conversation
        if span.is_of_client and id_ is not None:
            self._wait_for_connection(self._operation(span), id_)
        elif span.parent is None:
            # The first span of a trace that is not the library's: nobody asks for what is in it.
            self._forget(span.id)
        else:
            self._wait_for_parent(span, span.parent)
        self._make_room()
        return None

    def _wait_for_parent(self, span: SpanSnapshot, parent: int) -> None:
        waiting = self._waiting.setdefault(parent, _Waiting())
        if len(waiting.spans) < INNER_SPANS:
            waiting.spans.append(span)
            self._size += 1
        else:
            waiting.left_out += 1 + self._forget(span.id)

    def _wait_for_connection(self, operation: Operation, id_: str) -> None:
        connection = self._connections.setdefault(id_, _OpenConnection())
        self._connections.move_to_end(id_)
        self._size += connection.add(operation)

    def _operation(self, span: SpanSnapshot) -> Operation:
        """Take what waits for an operation."""
        inner: list[tuple[int, SpanSnapshot]] = []
        left_out = 0
        for depth, each in self._take(span.id):
            if isinstance(each, int):
                left_out += each
            elif len(inner) < INNER_SPANS:
                inner.append((depth, each))
            else:
                left_out += 1
        return Operation(span, inner, left_out)

    def _conversation(self, span: SpanSnapshot, id_: str) -> Conversation:
        """Take what waits for a connection."""
        self._forget(span.id)
        connection = self._connections.pop(id_, None) or _OpenConnection()
        self._size -= connection.size
        if connection.span is not None:
            span = span.after(connection.span)
        operations = (tuple(connection.first), tuple(connection.last))
        kept = [each for group in operations for each in group]
        shown = sum(each.end_reason is not None for each in kept)
        begun = span.attributes.get(_semconv.OPERATION_COUNT)
        if not span.is_continued:
            # What was forgotten or not sampled was never counted here.
            shown += sum(each.is_live for each in kept)
            left_out = max(begun - shown, 0) if isinstance(begun, int) else connection.left_out
            return Conversation(span, *operations, left_out)
        connection.span = span
        self._connections[id_] = connection
        self._size += connection.size
        live = max(begun - connection.ended, 0) if isinstance(begun, int) else 0
        return Conversation(span, *operations, connection.ended - shown, live)

    def _take(self, parent: int, depth: int = 1) -> Iterator[tuple[int, SpanSnapshot | int]]:
        """Take all that waits for a span, parents before children, and numbers left out."""
        # A loop, and no recursion: spans may be nested deeply.
        branches = [(depth, self._pop(parent))]
        while branches:
            depth, waiting = branches[-1]
            if not waiting.spans:
                branches.pop()
                if waiting.left_out:
                    yield depth, waiting.left_out
                continue
            span = waiting.spans.pop(0)
            yield depth, span
            branches.append((depth + 1, self._pop(span.id)))

    def _pop(self, parent: int) -> _Waiting:
        waiting = self._waiting.pop(parent, None) or _Waiting()
        self._size -= len(waiting.spans)
        waiting.spans.sort(key=lambda span: span.start)
        return waiting

    def _forget(self, parent: int) -> int:
        """Forget what waits for a span; return how many spans that were."""
        taken = [each for _, each in self._take(parent)]
        return sum(each if isinstance(each, int) else 1 for each in taken)

    def _make_room(self) -> None:
        """Forget what has waited longest: first what waits for a parent, which may never end."""
        while len(self._connections) > CONNECTIONS:
            self._size -= self._connections.popitem(last=False)[1].size
        while self._size > SPANS:
            if self._waiting:
                self._forget(next(iter(self._waiting)))
            else:
                self._size -= self._connections.popitem(last=False)[1].size
