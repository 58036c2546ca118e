"""The operations of one connection: which are alive, and whose a message is."""

import asyncio
import weakref
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final, TypeGuard

from strawberry_ws_otel import _limits
from strawberry_ws_otel._close import REJECTING_CODES, Verdict
from strawberry_ws_otel._counts import Results
from strawberry_ws_otel._current import (
    application_context,
    current,
    is_being_cancelled,
    running_task,
)
from strawberry_ws_otel._fuse import Fuses
from strawberry_ws_otel._propagation import ConnectionTrace
from strawberry_ws_otel._protocol import Meaning, Message, MessageType, Vocabulary
from strawberry_ws_otel._recording import Telemetry
from strawberry_ws_otel._ws_operation import EndReason, SocketOperation

_MAX_WAITING: Final = 100
"""Operations of one connection that may wait to be handled, of which more is to be known."""


class Execution:
    """An execution of the schema that is about to begin."""

    def __init__(
        self,
        document: object,
        name: object,
        is_stream: Callable[[], bool],
        is_hosts: Callable[[], bool],
    ) -> None:
        """Describe an execution.

        Args:
            document: that is executed.
            name: of the operation in it, if that is given.
            is_stream: whether it is streamed, as the host does for its clients.
            is_hosts: whether it is the host that executes, as it serves a client.
        """
        self.document = document
        self.name = name
        self._is_stream = is_stream
        self.is_hosts = is_hosts

    @cached_property
    def is_stream(self) -> bool:
        """Whether it is streamed, as the host does for its clients."""
        return self._is_stream()

    def serves(self, operation: SocketOperation) -> bool:
        """Whether its document is that of an operation.

        What the application executes besides may have the same text, and be no stream.
        """
        if self.document is None or operation.document is None:
            return False
        if self.document is operation.document:
            return True
        is_equal = self.document == operation.document and self.name == operation.name
        return is_equal and self.is_stream


class _Unclaimed:
    """The operations that are being served and of which no execution is known yet.

    For executions in a task that knows nothing of the connection, as that of a pool which was there
    before: only the very document, an object that came with the client's message, leads from there
    to the operation. Each is in here for as long as it takes the host to begin, and keeps nothing
    alive.
    """

    __slots__ = ("_by_document",)

    def __init__(self) -> None:
        self._by_document: dict[int, weakref.ref[Any]] = {}

    def add(self, operation: SocketOperation, request: object) -> None:
        """Add an operation, and the request over whose connection it came."""
        is_awaited = operation.end_reason is None and not operation.is_accepted
        if is_awaited and operation.document is not None:
            operation.unclaimed_key = id(operation.document)
            self._by_document[operation.unclaimed_key] = weakref.ref(request)

    def remove(self, operation: SocketOperation) -> None:
        """Remove an operation of which an execution is known, or which has ended."""
        if operation.unclaimed_key is not None:
            self._by_document.pop(operation.unclaimed_key, None)
            operation.unclaimed_key = None

    def find(self, document: object) -> Any:  # noqa: ANN401  # whatever the edge has made
        """Return the request over whose connection an operation with that document came."""
        request = self._by_document.get(id(document))
        return None if request is None else request()


unclaimed: Final = _Unclaimed()


class Operations:
    """The books of one connection's operations: each one begun is ended once."""

    __slots__ = (
        "_alive",
        "_by_id",
        "_cancelled",
        "_connection_id",
        "_fuses",
        "_telemetry",
        "_trace",
        "_waiting",
        "_winding_down",
        "begun",
        "dying",
        "results",
        "unshared",
    )

    def __init__(
        self,
        telemetry: Telemetry,
        fuses: Fuses,
        connection_id: str,
        connection_trace: ConnectionTrace,
    ) -> None:
        """Open the books.

        Args:
            telemetry: where operations are recorded.
            fuses: what keeps our failures from the host.
            connection_id: ours, on each operation.
            connection_trace: where their spans start.
        """
        self.begun = 0
        self.dying = False
        """Whether the connection is on its way down, and what dies now dies with it."""
        self._telemetry = telemetry
        self._fuses = fuses
        self._connection_id = connection_id
        self._trace = connection_trace
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
        self._waiting: dict[SocketOperation, None] = {}
        """Those that the host has not accepted, as far as is known."""

    def begin(self, message: Message, words: Vocabulary) -> SocketOperation:
        """Begin the operation that `message` asks for, as it is received.

        Args:
            message: its first one.
            words: as which its results are counted, and what becomes of a live one of its id.
        """
        self.begun += 1
        restarts = words.restarts
        operation = SocketOperation(
            self._telemetry, self._fuses, self._connection_id, message, words.result
        )
        self._alive[operation] = None
        holder = self._by_id.get(operation.id)
        if holder is not None and restarts:
            self._stopped(holder)
        if holder is None or restarts:
            self._by_id[operation.id] = operation
        if holder is None and not self._is_winding_down(operation.id):
            self.unshared[operation.id] = operation.results
        self._waiting[operation] = None
        if len(self._waiting) > _MAX_WAITING:
            self._waiting.pop(next(iter(self._waiting)))
        return operation

    def start(self, operation: SocketOperation) -> bool:
        """Start the span of an operation in the running context, unless it has started.

        Returns:
            Whether it has started now.
        """
        if operation.is_started:
            return False
        operation.is_started = True
        # Whatever fails here, the operation ends and counts.
        with self._fuses.spans:
            application = application_context()
            parentage = self._trace.operation(operation.payload.get("extensions"), application)
            operation.start_handling(parentage, application)
            self._trace.link(operation.span, parentage)
        return True

    def is_ours(self, operation: object) -> TypeGuard[SocketOperation]:
        """Whether `operation` is one of this connection."""
        return (
            isinstance(operation, SocketOperation)
            and operation.connection_id == self._connection_id
        )

    def to_handle(self, message: Message) -> SocketOperation | None:
        """Return the operation whose first message the host is about to handle."""
        found = None
        for operation in self._waiting:
            if operation.first is message.value:
                found = operation
                break
            if operation.id == message.id and found is None:
                found = operation
        if found is not None:
            found.is_handled = True
        return found

    def to_run(self, id_: object) -> SocketOperation | None:
        """Return the operation that the host begins to serve in the running task."""
        operation = current().operation
        if self.is_ours(operation) and operation.id == id_:
            return operation
        # The newest of that id: the host has refused the others, or is done with them.
        alive = [one for one in self._alive if one.id == id_ and not one.is_running]
        return alive[-1] if alive else None

    def accept(self, operation: SocketOperation, document: object, name: object) -> None:
        """Note that the host begins to serve an operation: its id is the operation's now."""
        self._waiting.pop(operation, None)
        if document is not operation.document:
            # One that was looked up may be shared by many operations.
            unclaimed.remove(operation)
        operation.accept(document, name)
        operation.is_running = True
        if operation.end_reason is None and self._by_id.get(operation.id) is not operation:
            # We believed it in use: the last message of the one before is still on its way.
            self._by_id[operation.id] = operation
            self.unshared.pop(operation.id, None)

    def claim(self, execution: Execution) -> SocketOperation | None:
        """Return the operation that an execution of the schema serves, if it is one of these.

        An application may execute whatever it likes beside it, for example a query that says
        whether the client may have it.
        """
        inner = current().operation
        own = inner if self.is_ours(inner) else None
        if own is not None and execution.serves(own):
            if own.end_reason is None or not own.is_claimed:
                return own
            own = None  # It has ended: a task that it has left behind serves another.
        # A copy: a thread of the application's may execute meanwhile.
        free = [operation for operation in list(self._alive) if not operation.is_claimed]
        free.sort(key=lambda one: one.document is not execution.document)
        found = next(filter(execution.serves, free), None)
        if found is not None or not execution.is_stream:
            return found
        # The application has looked up the document of the client's, or changed it.
        if own is None:
            unknown = [operation for operation in free if operation.document is None]
            return unknown[0] if len(unknown) == 1 else None
        serves = execution.is_hosts() if own.is_running else own.handled_in is not running_task()
        if own.is_claimed or not serves:
            return None
        if not own.is_running:
            own.document_found(execution.document)
        return own

    def claimed(self, operation: SocketOperation) -> None:
        """Note that an execution of the schema serves an operation."""
        self._waiting.pop(operation, None)
        unclaimed.remove(operation)
        operation.claim()

    def handler_lives(self) -> None:
        """Note that the host goes on: what was cancelled before, the application has cancelled."""
        if not self._cancelled:
            return
        for operation in self._cancelled:
            operation.failure = _limits.exception_type(asyncio.CancelledError())
            self._end(operation, EndReason.FAILED)
        self._cancelled.clear()

    def stop(self, message: Message) -> bool:
        """End the operation that the client stops; return whether it was alive."""
        operation = self._by_id.get(message.id)
        if operation is None:
            return False
        self.start(operation)
        operation.span.message(message.type)
        self._stopped(operation)
        return True

    def _stopped(self, operation: SocketOperation) -> None:
        self._end(operation, EndReason.CLIENT_COMPLETED)
        if operation.is_running:
            self._winding_down[operation] = None

    def sender(self, message: Mapping[str, Any]) -> SocketOperation | None:
        """Return the live operation that sends `message`, if one does."""
        try:
            operation = self._by_id.get(message.get("id"))
        except TypeError:  # A list for an id: no operation of ours, whoever sends it.
            return None
        if operation is None:
            return None
        if operation.id not in self.unshared:
            # The id had an owner before, who may still be sending: only the task can tell.
            inner = current().operation
            if self.is_ours(inner) and inner.client_id == operation.client_id:
                operation = inner
            elif not operation.is_accepted and self._is_winding_down(operation.id):
                # The host awaits the end of the one before, who says its last words.
                return None
            if operation.end_reason is not None:
                return None
        self.start(operation)
        return operation

    def _is_winding_down(self, id_: object) -> bool:
        return any(stopped.id == id_ for stopped in self._winding_down)

    def last_message_sent(self, operation: SocketOperation, message_type: MessageType) -> None:
        """Note an `error` or a `complete`."""
        if message_type.meaning is Meaning.ERROR:
            operation.record_unsent_errors()
            operation.span.message(message_type)
            # Before anything serves it, it is the limit of the host that speaks.
            accepted = operation.is_accepted
            self._end(operation, EndReason.ERROR if accepted else EndReason.REJECTED)
            return
        operation.span.message(message_type)
        if operation.is_running:
            # The host sends it from its handlers, too: how its method ends will tell.
            self._forget_id(operation)
            operation.complete_sent()
        else:
            self._end(operation, EndReason.COMPLETED)

    def close_sent(self, code: int) -> None:
        """Note a close of the server: some refuse the operation that is being handled."""
        if code not in REJECTING_CODES:
            return
        operation = current().operation
        if not self.is_ours(operation):
            # Somebody who knows nothing of the operation refuses the newest one.
            operation = next(reversed(self._waiting), None)
        if operation is not None and not operation.is_accepted:
            self._end(operation, EndReason.REJECTED)

    def connection_closed(self, verdict: Verdict) -> int:
        """End all that are alive; return how many were."""
        self._cancelled.clear()
        interrupted = 0
        for operation in list(self._alive):
            with self._fuses.library:
                if operation.is_completing:
                    self._end(operation, EndReason.COMPLETED)
                    continue
                if not operation.is_accepted and self._by_id.get(operation.id) is not operation:
                    # The host failed while it refused a duplicate id.
                    self._end(operation, EndReason.REJECTED)
                    continue
                interrupted += 1
                self._end(operation, EndReason.CONNECTION_CLOSED, verdict)
                operation.forget()
        self._waiting.clear()
        return interrupted

    def done(self, operation: SocketOperation, error: BaseException | None) -> None:
        """Note that the host's method that serves an operation is done.

        One that returns has said what there was to say, or leaves that to somebody else. The host
        tells nobody when the task of a legacy operation dies. One that is cancelled may be so by
        the application, or because the connection goes down.

        Args:
            operation: that was served.
            error: what left the method.
        """
        operation.is_running = False
        operation.is_done = True
        self._winding_down.pop(operation, None)
        # The legacy host swallows the error, and sends a `complete`.
        swallowed = error is None and is_being_cancelled()
        if swallowed or isinstance(error, asyncio.CancelledError):
            operation.is_completing = False
            if operation.end_reason is None and not self.dying:
                operation.stop_counting()
                self._cancelled[operation] = None
        elif operation.end_reason is None and not self.dying:
            if error is not None:
                operation.failure = _limits.exception_type(error)
                self._end(operation, EndReason.FAILED)
            elif operation.is_completing:
                self._end(operation, EndReason.COMPLETED)
        self._let_go(operation)

    def _end(
        self, operation: SocketOperation, reason: EndReason, verdict: Verdict | None = None
    ) -> None:
        self.start(operation)
        self._alive.pop(operation, None)
        self._forget_id(operation)
        unclaimed.remove(operation)
        if operation.end_reason is None:
            self.results += operation.results.all
        operation.end(reason, verdict)
        self._let_go(operation)

    def _forget_id(self, operation: SocketOperation) -> None:
        """Note that the host has done with the id: the client may use it again."""
        if self._by_id.get(operation.id) is operation:
            del self._by_id[operation.id]
            self.unshared.pop(operation.id, None)

    def _let_go(self, operation: SocketOperation) -> None:
        """Keep nothing of an operation that has ended and does nothing more."""
        if operation.end_reason is None:
            return
        if operation.is_handled:
            self._waiting.pop(operation, None)
        if operation.is_done or not (operation.is_accepted or operation in self._waiting):
            operation.forget()
