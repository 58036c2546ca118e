"""The operations of one connection: which are open, and to which one a message or a task belongs.

An operation is found by its id where that is unique. Where an id is used again, or a task sends
that has outlived its operation, only the running task (`_current`) shows which operation it serves.
`_operation.TRANSITIONS` says what then happens to the operation.
"""

import asyncio
import weakref
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from strawberry_ws_otel import _limits
from strawberry_ws_otel._attributes import Value
from strawberry_ws_otel._close import REJECTING_CODES, Verdict
from strawberry_ws_otel._counts import Results
from strawberry_ws_otel._current import current, is_being_cancelled, running_task
from strawberry_ws_otel._fuse import Fuses
from strawberry_ws_otel._operation import (
    COMPLETE_SENT,
    EXECUTE,
    HANDLED,
    METHOD_RUNS,
    RETURN,
    RUN,
    RUNNING,
    EndReason,
    Event,
    OperationLook,
    SocketOperation,
    State,
)
from strawberry_ws_otel._propagation import ConnectionTrace
from strawberry_ws_otel._protocol import Meaning, Message, MessageType, Vocabulary
from strawberry_ws_otel._recording import Telemetry

_MAX_WAITING: Final = 100  # operations of one connection whose first message waits to be handled


@dataclass(eq=False, repr=False)
class Execution:
    """An execution of the schema that is about to begin."""

    document: object
    name: object
    looks_like_stream: Callable[[], bool]  # answers `is_stream`, where that matters
    is_hosts: Callable[[], bool]  # whether the host executes, as it serves a client

    @cached_property
    def is_stream(self) -> bool:
        """Whether its results are streamed, as the host does for its clients."""
        return self.looks_like_stream()

    def serves(self, operation: SocketOperation) -> bool:
        """Whether its document is that of an operation.

        An equal text is not enough: an application may execute it for itself, and not as a stream.
        """
        if self.document is None or operation.document is None:
            return False
        if self.document is operation.document:
            return True
        is_equal = self.document == operation.document and self.name == operation.name
        return is_equal and self.is_stream


class _Unclaimed:
    """The operations that the host handles and that have no execution yet, by their document.

    For executions in a task without the connection's context, such as a worker of a pool that was
    started before. Only the document leads from there to the operation: the very object that came
    with the client's message. Entries keep nothing alive, and last until the host executes.
    """

    def __init__(self) -> None:
        self._by_document: dict[int, weakref.ref[Any]] = {}

    def add(self, operation: SocketOperation, request: object) -> None:
        """Add an operation, and the request that became its connection."""
        if operation.state is HANDLED and operation.document is not None:
            operation.unclaimed_key = id(operation.document)
            self._by_document[operation.unclaimed_key] = weakref.ref(request)

    def remove(self, operation: SocketOperation) -> None:
        """Remove an operation that has an execution, or has ended."""
        if operation.unclaimed_key is not None:
            self._by_document.pop(operation.unclaimed_key, None)
            operation.unclaimed_key = None

    def find(self, document: object) -> Any:  # noqa: ANN401  # the edge's class
        """Return the request of the operation that has this very document."""
        request = self._by_document.get(id(document))
        return None if request is None else request()


unclaimed: Final = _Unclaimed()


@dataclass(slots=True, eq=False, repr=False)
class Operations:
    """The operations of one connection, each of which ends once."""

    telemetry: Telemetry
    fuses: Fuses
    connection_id: str
    trace: ConnectionTrace  # says where spans start
    route: str | None = None  # that the handshake matched
    attributes: dict[str, Value] = field(default_factory=dict)
    """Those that the application has given the connection."""
    begun: int = 0
    results: int = 0  # of those that have ended
    is_closing: bool = False  # the connection closes: an exception is not an operation's failure
    has_cancelled: bool = False  # an operation was, since the connection's handler went on
    # Dicts, not sets: they keep the order, and are smaller while empty, as they mostly are.
    open: dict[SocketOperation, None] = field(default_factory=dict)
    """Those that have not ended."""
    waiting: dict[SocketOperation, None] = field(default_factory=dict)
    """Those whose first message the host may still handle, oldest first."""
    _by_id: dict[Hashable, SocketOperation] = field(default_factory=dict)
    """The open operation to which each id belongs for the host."""
    results_by_unique_id: dict[Hashable, Results] = field(default_factory=dict)
    """The results of those operations whose id no other task can be sending with."""
    winding_down: dict[Hashable, int] = field(default_factory=dict)
    """By id, how many operations have ended while the host's method may still send with it."""

    @property
    def all_results(self) -> int:
        """The results of all operations, those that go on, too."""
        return self.results + sum(operation.results.all for operation in list(self.open))

    # --- What happens ---------------------------------------------------------------------------

    def begin(self, message: Message, words: Vocabulary) -> SocketOperation:
        """Begin the operation of a first message, as it is received."""
        self.begun += 1
        operation = SocketOperation(self, message, words.result)
        self.open[operation] = None
        id_ = operation.id
        owner = self._by_id.get(id_)
        if owner is None or owner.fire(Event.RESTART if words.restarts else Event.REUSE):
            self._by_id[id_] = operation
            # An operation may have ended while code whose end is not observed still sends for it.
            is_free = owner is None or owner.state is State.COMPLETING
            # An operation that the client stopped early is still handled, and may be served.
            has_namesake = self.waiting and any(one.id == id_ for one in self.waiting)
            if is_free and id_ not in self.winding_down and not has_namesake:
                self.results_by_unique_id[id_] = operation.results
        self.waiting[operation] = None
        if len(self.waiting) > _MAX_WAITING:
            del self.waiting[next(iter(self.waiting))]
        return operation

    def run(self, operation: SocketOperation, document: object, name: object) -> None:
        """Begin to serve an operation with the host's method, which sends with its id from now on.

        `document` and `name` are what the host executes. A persisted document was looked up.
        """
        # The method may call itself, with a document that it has looked up.
        if not operation.fire(RUN) and operation.has_ended:
            return
        if document is not operation.document:
            # Many operations may share a document that was looked up: it no longer leads to one.
            unclaimed.remove(operation)
            operation.document_found(document)
        if document is not None:
            operation.name = name
        if operation.state is RUNNING and self._by_id.get(operation.id) is not operation:
            # The id was not free as the message came: the host has freed it since.
            self._by_id[operation.id] = operation
        elif not operation.has_ended:
            return
        # Another task may send with this id: only the running task shows which operation sends.
        self.results_by_unique_id.pop(operation.id, None)

    def ran(self, operation: SocketOperation, error: BaseException | None) -> None:
        """Record how the host's method that serves an operation has ended: `error` left it."""
        # The legacy host swallows a cancellation (Strawberry 0.341.2, 0.319).
        if isinstance(error, asyncio.CancelledError) or (error is None and is_being_cancelled()):
            event = Event.CANCEL_CLOSING if self.is_closing else Event.CANCEL
        elif error is None:
            event = RETURN
        else:
            event = Event.RAISE_CLOSING if self.is_closing else Event.RAISE
        operation.fire(event, error)

    def claimed(self, operation: SocketOperation) -> None:
        """Record that an execution of the schema is the operation's."""
        unclaimed.remove(operation)
        operation.executions += 1
        operation.fire(EXECUTE)

    def owner(self, message: Message) -> SocketOperation | None:
        """Return the open operation that has the id of a received message."""
        return self._by_id.get(message.id)

    def stop(self, message: Message) -> bool:
        """End the operation that the client stops; return whether it was open."""
        operation = self.owner(message)
        return operation is not None and operation.fire(Event.STOP, message.type)

    def last_message_sent(self, message: Mapping[str, Any], message_type: MessageType) -> bool:
        """Record an `error` or a `complete`; return whether it is an operation's."""
        operation = self.sender(message)
        is_error = message_type.meaning is Meaning.ERROR
        return operation is not None and operation.fire(
            Event.ERROR_SENT if is_error else COMPLETE_SENT, message_type
        )

    def fail_cancelled(self) -> None:
        """Fail what was cancelled: the connection's handler goes on, so the application did it."""
        self.has_cancelled = False
        error = asyncio.CancelledError()
        for operation in list(self.open):
            operation.fire(Event.GO_ON, error)

    def close_sent(self, code: int) -> None:
        """Record a close of the server: some codes refuse the operation that is being handled."""
        if code in REJECTING_CODES:
            # A task without the context of an operation refuses the newest one.
            operation = self.of_task() or next(reversed(self.waiting), None)
            if operation is not None:
                operation.fire(Event.REFUSE)

    def connection_closed(self, verdict: Verdict) -> int:
        """End all that are open; return how many the close interrupts."""
        interrupted = 0
        for operation in list(self.open):
            with self.fuses.library:
                if self._by_id.get(operation.id) is not operation:
                    # The host failed while it refused a duplicate id.
                    operation.fire(Event.REFUSE)
                operation.fire(Event.CLOSE, verdict)
                interrupted += operation.end_reason is EndReason.CONNECTION_CLOSED
        self.waiting.clear()
        return interrupted

    def ended(self, operation: SocketOperation) -> None:
        """Forget an operation that has ended: the client may use its id again."""
        # In this order: between the two, another thread sees that the operation has ended.
        self.results += operation.results.all
        self.open.pop(operation, None)
        if self._by_id.get(operation.id) is operation:
            del self._by_id[operation.id]
            self.results_by_unique_id.pop(operation.id, None)
        unclaimed.remove(operation)

    def look(self) -> list[OperationLook]:
        """Return what a reader of any thread sees of those that are open, oldest first."""
        # A copy: the thread of the event loop goes on.
        return [operation.look() for operation in list(self.open)]

    # --- To which operation a message, a task or an execution belongs ---------------------------

    def of_task(self) -> SocketOperation | None:
        """Return the operation of this connection for which the running task works."""
        operation: SocketOperation | None = current().operation
        return operation if operation is not None and operation.registry is self else None

    def to_handle(self, message: Message) -> SocketOperation | None:
        """Return the operation whose first message the host is about to handle.

        An application may hand on a copy of the message: then the first one with its id that waits.
        """
        for operation in (self._by_id.get(message.id), *self.waiting):
            if operation is not None and operation.first is message.value:
                return operation
        return next((one for one in self.waiting if one.id == message.id), None)

    def to_run(self, id_: object) -> SocketOperation | None:
        """Return the operation that the host begins to serve in the running task."""
        own = self.of_task()
        if own is not None and own.id == id_:
            return own
        # The newest with that id: the host has refused the others, or has served them.
        idle = [one for one in self.open if one.id == id_ and one.state not in METHOD_RUNS]
        return idle[-1] if idle else None

    def sender(self, message: Mapping[str, Any]) -> SocketOperation | None:
        """Return the operation that sends a message, unless the event is ignored in its state."""
        id_ = message.get("id")
        try:
            owner = self._by_id.get(id_)
            if owner is not None and id_ in self.results_by_unique_id:
                return owner
        except TypeError:  # A list for an id, which no operation has.
            return None
        # The id had another owner before, which may still be sending: only the task shows.
        own = self.of_task()
        if own is not None and own.client_id == _limits.bounded(id_, _limits.ID):
            return own
        if owner is not None and owner.state < State.SERVED and id_ in self.winding_down:
            # The host first awaits the end of the owner before, which still sends.
            return None
        return owner

    def claim(self, execution: Execution) -> SocketOperation | None:
        """Return the operation that an execution of the schema serves, if it serves any.

        An application may execute for itself, too, such as a query that checks permissions.
        """
        own = self.of_task()
        if own is not None and execution.serves(own):
            if not own.has_ended or not own.executions:
                return own
            own = None  # A task that its operation has left behind serves another one.
        # A copy: a thread of the application may execute meanwhile.
        free = [operation for operation in list(self.open) if not operation.executions]
        free.sort(key=lambda one: one.document is not execution.document)
        found = next(filter(execution.serves, free), None)
        if found is not None or not execution.is_stream:
            return found
        # No operation has this document: the application has looked it up, or changed it.
        if own is None:
            unknown = [operation for operation in free if operation.document is None]
            return unknown[0] if len(unknown) == 1 else None
        runs = own.state in METHOD_RUNS
        serves = execution.is_hosts() if runs else own.handled_in is not running_task()
        if own.executions or not serves:
            return None
        if not runs:
            own.document_found(execution.document)
        return own
