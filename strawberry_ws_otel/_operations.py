"""The operations of one connection: those that are open, and which one a message belongs to.

What becomes of one of them stands in `_operation.TRANSITIONS`; here is found which one it is that
something happens to.
"""

import asyncio
import weakref
from collections.abc import Callable, Hashable, Mapping
from functools import cached_property
from typing import Any, Final

from strawberry_ws_otel import _limits
from strawberry_ws_otel._close import REJECTING_CODES, Verdict
from strawberry_ws_otel._counts import Results
from strawberry_ws_otel._current import current, is_being_cancelled, running_task
from strawberry_ws_otel._fuse import Fuses
from strawberry_ws_otel._operation import (
    COMPLETE_SENT,
    HANDLED,
    METHOD_RUNS,
    RETURN,
    RUN,
    RUNNING,
    EndReason,
    Event,
    SocketOperation,
    State,
)
from strawberry_ws_otel._propagation import ConnectionTrace
from strawberry_ws_otel._protocol import Meaning, Message, MessageType, Vocabulary
from strawberry_ws_otel._recording import Telemetry

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
        if operation.state is HANDLED and operation.document is not None:
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
    """The registry of one connection's operations: each one begun is ended once."""

    __slots__ = (
        "_by_id",
        "_connection_id",
        "_fuses",
        "_open",
        "_telemetry",
        "_winding_down",
        "begun",
        "has_cancelled",
        "is_closing",
        "results",
        "results_by_unique_id",
        "trace",
        "waiting",
    )

    def __init__(
        self,
        telemetry: Telemetry,
        fuses: Fuses,
        connection_id: str,
        connection_trace: ConnectionTrace,
    ) -> None:
        """Open the registry.

        Args:
            telemetry: where operations are recorded.
            fuses: what keeps our failures from the host.
            connection_id: ours, on each operation.
            connection_trace: where their spans start.
        """
        self.begun = 0
        self.is_closing = False
        """Whether the connection is on its way down, and what dies now dies with it."""
        self.has_cancelled = False
        """Whether tasks were cancelled, by whomever, since the handler went on."""
        self.trace = connection_trace
        self._telemetry = telemetry
        self._fuses = fuses
        self._connection_id = connection_id
        self._by_id: dict[Hashable, SocketOperation] = {}
        """The open ones, by the id that the host knows them by."""
        self.results_by_unique_id: dict[Hashable, Results] = {}
        """What those have sent whose id nobody else can be sending with, by that id."""
        self.results = 0
        """The results of those that have ended."""
        # In order, and smaller than sets while they are empty, as they mostly are.
        self._open: dict[SocketOperation, None] = {}
        self._winding_down: dict[Hashable, int] = {}
        """By id, how many have ended whose tasks may still send with it."""
        self.waiting: dict[SocketOperation, None] = {}
        """Those whose first message the host may still handle, as far as is known."""

    # --- What happens to the operation of a message or a task ----------------------------------

    def begin(self, message: Message, words: Vocabulary) -> SocketOperation:
        """Begin the operation that `message` asks for, as it is received.

        Args:
            message: its first one.
            words: as which its results are counted, and what becomes of a live one of its id.
        """
        self.begun += 1
        operation = SocketOperation(
            self._telemetry, self._fuses, self._connection_id, self, message, words.result
        )
        self._open[operation] = None
        id_ = operation.id
        holder = self._by_id.get(id_)
        if holder is None or holder.fire(Event.RESTART if words.restarts else Event.REUSE):
            self._by_id[id_] = operation
            # One that has ended, served by code that nobody sees end, may still send.
            is_free = holder is None or holder.state is State.COMPLETING
            # One that the client stopped before the host has handled it may be served, too.
            has_namesake = self.waiting and any(one.id == id_ for one in self.waiting)
            if is_free and id_ not in self._winding_down and not has_namesake:
                self.results_by_unique_id[id_] = operation.results
        self.waiting[operation] = None
        if len(self.waiting) > _MAX_WAITING:
            del self.waiting[next(iter(self.waiting))]
        return operation

    def run(self, operation: SocketOperation, document: object, name: object) -> None:
        """Begin to serve an operation, as the host does: its id is the operation's now.

        Args:
            operation: that is served.
            document: the document that is served, where a persisted one was looked up.
            name: the name of the operation in it.
        """
        # The method may call itself, with a document that it has looked up.
        if not operation.fire(RUN) and operation.has_ended:
            return
        if document is not operation.document:
            # One that was looked up may be shared by many operations.
            unclaimed.remove(operation)
            operation.document_found(document)
        if document is not None:
            operation.name = name
        if operation.state is RUNNING and self._by_id.get(operation.id) is not operation:
            # We believed it in use: the last message of the one before is still on its way.
            self._by_id[operation.id] = operation
            self.results_by_unique_id.pop(operation.id, None)
        elif operation.has_ended:
            # It sends with an id that may be another's by now: only the task can tell.
            self.results_by_unique_id.pop(operation.id, None)

    def ran(self, operation: SocketOperation, error: BaseException | None) -> None:
        """Record how the host's method that serves an operation has ended.

        Args:
            operation: that was served.
            error: what left the method.
        """
        # The legacy host swallows a cancellation (Strawberry 0.341.2, 0.319).
        if isinstance(error, asyncio.CancelledError) or (error is None and is_being_cancelled()):
            event = Event.CANCEL_CLOSING if self.is_closing else Event.CANCEL
        elif error is None:
            event = RETURN
        else:
            event = Event.RAISE_CLOSING if self.is_closing else Event.RAISE
        operation.fire(event, error)

    def claimed(self, operation: SocketOperation) -> None:
        """Take an execution of the schema for the operation's."""
        if operation.unclaimed_key is not None:
            unclaimed.remove(operation)
        operation.claim()

    def stop(self, message: Message) -> bool:
        """End the operation that the client stops; return whether it was alive."""
        operation = self._by_id.get(message.id)
        return operation is not None and operation.fire(Event.STOP, message.type)

    def last_message_sent(self, message: Mapping[str, Any], message_type: MessageType) -> bool:
        """Record an `error` or a `complete`; return whether it is that of an operation."""
        operation = self.sender(message)
        is_error = message_type.meaning is Meaning.ERROR
        return operation is not None and operation.fire(
            Event.ERROR_SENT if is_error else COMPLETE_SENT, message_type
        )

    def fail_cancelled(self) -> None:
        """Fail what was cancelled: the handler goes on, so that the application has done it."""
        self.has_cancelled = False
        error = asyncio.CancelledError()
        for operation in list(self._open):
            operation.fire(Event.GO_ON, error)

    def close_sent(self, code: int) -> None:
        """Record a close of the server: some codes refuse the operation that is being handled."""
        if code not in REJECTING_CODES:
            return
        operation = current().operation
        if operation is None or operation.registry is not self:
            # Somebody who knows nothing of the operation refuses the newest one.
            operation = next(reversed(self.waiting), None)
        if operation is not None:
            operation.fire(Event.REFUSE)

    def connection_closed(self, verdict: Verdict) -> int:
        """End all that are open; return how many the close interrupts."""
        interrupted = 0
        for operation in list(self._open):
            with self._fuses.library:
                if self._by_id.get(operation.id) is not operation:
                    # The host failed while it refused a duplicate id.
                    operation.fire(Event.REFUSE)
                operation.fire(Event.CLOSE, verdict)
                interrupted += operation.end_reason is EndReason.CONNECTION_CLOSED
        self.waiting.clear()
        return interrupted

    # --- Whose a message, a task or an execution is --------------------------------------------

    def to_handle(self, message: Message) -> SocketOperation | None:
        """Return the operation whose first message the host is about to handle."""
        found = self._by_id.get(message.id)
        if found is not None and found.first is message.value:
            return found
        found = None
        for operation in self.waiting:
            if operation.first is message.value:
                return operation
            if operation.id == message.id and found is None:
                found = operation
        return found

    def to_run(self, id_: object) -> SocketOperation | None:
        """Return the operation that the host begins to serve in the running task."""
        operation: SocketOperation | None = current().operation
        if operation is not None and operation.registry is self and operation.id == id_:
            return operation
        # The newest of that id: the host has refused the others, or is done with them.
        idle = [one for one in self._open if one.id == id_ and one.state not in METHOD_RUNS]
        return idle[-1] if idle else None

    def sender(self, message: Mapping[str, Any]) -> SocketOperation | None:
        """Return the operation that seems to send `message`, if one does.

        It is that one's only if the event is not ignored in its state.
        """
        id_ = message.get("id")
        try:
            operation = self._by_id.get(id_)
            if operation is not None and id_ in self.results_by_unique_id:
                return operation
        except TypeError:  # A list for an id: no operation of ours, whoever sends it.
            return None
        # The id had an owner before, who may still be sending: only the task can tell.
        inner = current().operation
        if (
            inner is not None
            and inner.registry is self
            and inner.client_id == _limits.bounded(id_, _limits.ID)
        ):
            return inner  # type: ignore[no-any-return]  # one of ours
        if operation is not None and operation.state < State.SERVED and id_ in self._winding_down:
            # The host awaits the end of the one before, who says its last words.
            return None
        return operation

    def claim(self, execution: Execution) -> SocketOperation | None:
        """Return the operation that an execution of the schema serves, if it is one of these.

        An application may execute whatever it likes beside it, for example a query that says
        whether the client may have it.
        """
        inner = current().operation
        own: SocketOperation | None = (
            inner if inner is not None and inner.registry is self else None
        )
        if own is not None and execution.serves(own):
            if not own.has_ended or not own.is_claimed:
                return own
            own = None  # It has ended: a task that it has left behind serves another.
        # A copy: a thread of the application's may execute meanwhile.
        free = [operation for operation in list(self._open) if not operation.is_claimed]
        free.sort(key=lambda one: one.document is not execution.document)
        found = next(filter(execution.serves, free), None)
        if found is not None or not execution.is_stream:
            return found
        # The application has looked up the document of the client's, or changed it.
        if own is None:
            unknown = [operation for operation in free if operation.document is None]
            return unknown[0] if len(unknown) == 1 else None
        runs = own.state in METHOD_RUNS
        serves = execution.is_hosts() if runs else own.handled_in is not running_task()
        if own.is_claimed or not serves:
            return None
        if not runs:
            own.document_found(execution.document)
        return own

    # --- What an operation reports -----------------------------------------------------

    def ended(self, operation: SocketOperation) -> None:
        """Let go of an operation that has ended: the client may use its id again."""
        self._open.pop(operation, None)
        self.results += operation.results.ok + operation.results.failed
        if self._by_id.get(operation.id) is operation:
            del self._by_id[operation.id]
            self.results_by_unique_id.pop(operation.id, None)
        if operation.unclaimed_key is not None:
            unclaimed.remove(operation)

    def wind_down(self, operation: SocketOperation) -> None:
        """Keep the id of an operation in mind that has ended and whose task may still send."""
        self._winding_down[operation.id] = self._winding_down.get(operation.id, 0) + 1

    def wound_down(self, operation: SocketOperation) -> None:
        """Let go of the id of an operation whose task is done."""
        left = self._winding_down.pop(operation.id, 1) - 1
        if left:
            self._winding_down[operation.id] = left
