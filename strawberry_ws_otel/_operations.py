"""The operations of one connection: which are alive, and whose a message is."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from typing import Any

from strawberry_ws_otel import _bounds
from strawberry_ws_otel._close import REJECTING_CODES, Verdict
from strawberry_ws_otel._failsafe import Fuse
from strawberry_ws_otel._operation import current_operation
from strawberry_ws_otel._propagation import Parentage
from strawberry_ws_otel._protocol import Meaning, Message, MessageType, Vocabulary
from strawberry_ws_otel._tally import Results
from strawberry_ws_otel._telemetry import Telemetry
from strawberry_ws_otel._ws_operation import EndReason, SocketOperation


class Operations:
    """The books of one connection's operations: each one begun is ended once."""

    __slots__ = (
        "_alive",
        "_by_id",
        "_cancelled",
        "_connection_id",
        "_fuse",
        "_handling",
        "_in_reader",
        "_telemetry",
        "_winding_down",
        "begun",
        "dying",
        "results",
        "unshared",
    )

    def __init__(
        self,
        telemetry: Telemetry,
        fuse: Fuse,
        connection_id: str,
        in_reader: Callable[[], bool],
    ) -> None:
        """Open the books.

        Args:
            telemetry: where operations are recorded.
            fuse: what keeps our failures from the host.
            connection_id: ours, on each operation.
            in_reader: whether the caller is the task that reads the socket.
        """
        self.begun = 0
        self.dying = False
        """Whether the connection is on its way down, and what dies now dies with it."""
        self._telemetry = telemetry
        self._fuse = fuse
        self._connection_id = connection_id
        self._in_reader = in_reader
        self._by_id: dict[object, SocketOperation] = {}
        """The live ones, by the id that the host knows them by."""
        self.unshared: dict[object, Results] = {}
        """What those have sent whose id nobody else can be sending with, by that id."""
        self.results = 0
        """The results of those that have ended."""
        # In order, and smaller than sets while they are empty, as they mostly are.
        self._alive: dict[SocketOperation, None] = {}
        self._winding_down: dict[SocketOperation, None] = {}
        """Those that the client stopped and whose task has not ended yet."""
        self._cancelled: dict[SocketOperation, None] = {}
        """Those whose task was cancelled: by the application, or as the connection goes down."""
        self._handling: SocketOperation | None = None
        """The operation whose first message the host is handling."""

    def begin(self, message: Message, parentage: Parentage, words: Vocabulary) -> SocketOperation:
        """Begin the operation that `message` asks for.

        Args:
            message: its first one.
            parentage: where its span starts.
            words: as which its results are counted, and what becomes of a live one of its id.
        """
        self.begun += 1
        restarts = words.restarts
        operation = self._handling = SocketOperation(
            self._telemetry,
            self._fuse,
            parentage,
            self._connection_id,
            message.id,
            message.payload,
            words.result,
            self._task_done,
        )
        self._alive[operation] = None
        holder = self._by_id.get(operation.id)
        if holder is not None and restarts:
            self._end(holder, EndReason.CLIENT_COMPLETED)
        if holder is None or restarts:
            self._by_id[operation.id] = operation
        if holder is None and all(stopped.id != operation.id for stopped in self._winding_down):
            self.unshared[operation.id] = operation.results
        operation.span.message(message.type)
        return operation

    def handled(self) -> None:
        """Note that the host has handled a message."""
        self.handler_lives()
        operation, self._handling = self._handling, None
        if operation is not None and operation.end_reason is None and self._unaccepted(operation):
            # The host took an id that we believed in use: its last message is still on its way.
            self._by_id[operation.id] = operation
            self.unshared.pop(operation.id, None)

    def handler_lives(self) -> None:
        """Note that the host goes on: what was cancelled before, the application has cancelled."""
        for operation in self._cancelled:
            operation.failure = _bounds.exception_type(asyncio.CancelledError())
            self._end(operation, EndReason.FAILED)
        self._cancelled.clear()

    def stop(self, message: Message) -> bool:
        """End the operation that the client stops; return whether it was alive."""
        operation = self._by_id.get(message.id)
        if operation is None:
            return False
        operation.span.message(message.type)
        self._end(operation, EndReason.CLIENT_COMPLETED)
        if operation.claimed:
            self._winding_down[operation] = None
        return True

    def sender(self, message: Mapping[str, Any]) -> SocketOperation | None:
        """Return the live operation that sends `message`, if one does."""
        try:
            operation = self._by_id.get(message.get("id"))
        except TypeError:  # A list for an id: no operation of ours, whoever sends it.
            return None
        if operation is None or operation.id in self.unshared:
            return operation
        # The id had an owner before, who may still be sending: only the task's context can tell.
        current = current_operation()
        if isinstance(current, SocketOperation) and current.client_id == operation.client_id:
            operation = current
        return operation if operation.end_reason is None else None

    def last_message_sent(self, operation: SocketOperation, message_type: MessageType) -> None:
        """Note an `error` or a `complete`; called in the exception state of its sender."""
        operation.span.message(message_type)
        if message_type.meaning is Meaning.ERROR:
            # While `subscribe` is being handled, it is the limit of the host that speaks.
            rejected = operation is self._handling and self._in_reader()
            self._end(operation, EndReason.REJECTED if rejected else EndReason.ERROR)
            return
        # A sent `complete` does not mean completed: the host sends it from its handlers, too.
        cause = sys.exception()
        if cause is None:
            self._end(operation, EndReason.COMPLETED)
        elif isinstance(cause, Exception):
            operation.failure = _bounds.exception_type(cause)
            self._end(operation, EndReason.FAILED)

    def close_sent(self, code: int) -> None:
        """Note a close of the server: some refuse the operation that is being handled."""
        if self._handling is not None and code in REJECTING_CODES and self._in_reader():
            self._end(self._handling, EndReason.REJECTED)

    def connection_closed(self, verdict: Verdict) -> int:
        """End all that are alive; return how many were."""
        if self._handling is not None and self._unaccepted(self._handling):
            # The host failed while it refused a duplicate id.
            self._end(self._handling, EndReason.REJECTED)
        self._cancelled.clear()
        interrupted = list(self._alive)
        for operation in interrupted:
            with self._fuse:
                self._end(operation, EndReason.CONNECTION_CLOSED, verdict)
                operation.forget()
        return len(interrupted)

    def _task_done(self, operation: SocketOperation, *, died: bool) -> None:
        self._winding_down.pop(operation, None)
        if operation.end_reason is None and not self.dying:
            if died:
                self._end(operation, EndReason.FAILED)
            else:
                operation.silenced()
                self._cancelled[operation] = None
        operation.is_done = True
        self._let_go(operation)

    def _unaccepted(self, operation: SocketOperation) -> bool:
        return self._by_id.get(operation.id) is not operation

    def _end(
        self, operation: SocketOperation, reason: EndReason, verdict: Verdict | None = None
    ) -> None:
        self._alive.pop(operation, None)
        if self._by_id.get(operation.id) is operation:
            del self._by_id[operation.id]
            self.unshared.pop(operation.id, None)
        if operation.end_reason is None:
            self.results += operation.results.all
        operation.end(reason, verdict)
        self._let_go(operation)

    @staticmethod
    def _let_go(operation: SocketOperation) -> None:
        """Keep nothing of an operation that has ended and does nothing more."""
        if operation.end_reason is None:
            return
        if operation.is_done:
            # Not before: as it is cleaned up, a source may read its span.
            operation.span.forget()
        if operation.is_done or not operation.claimed:
            operation.forget()
