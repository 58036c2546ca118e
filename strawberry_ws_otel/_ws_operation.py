"""The state of one operation over a WebSocket, from its first message to its one end reason."""

import asyncio
from collections.abc import Hashable, Mapping
from enum import StrEnum
from typing import Final, Protocol

from strawberry_ws_otel import _bounds, _semconv
from strawberry_ws_otel._close import Verdict
from strawberry_ws_otel._failsafe import Fuse
from strawberry_ws_otel._operation import Attributes, Operation
from strawberry_ws_otel._propagation import Parentage
from strawberry_ws_otel._protocol import MessageType
from strawberry_ws_otel._telemetry import Telemetry


class EndReason(StrEnum):
    """Why an operation over a WebSocket ended."""

    COMPLETED = "completed"
    """Its source ended."""
    CLIENT_COMPLETED = "client_completed"
    """The client sent `complete` or `stop`, or a legacy `start` with the same id."""
    ERROR = "error"
    """An `error` message was sent."""
    REJECTED = "rejected"
    """The host refused it: limit, not acknowledged, duplicate id."""
    CONNECTION_CLOSED = "connection_closed"
    """It died with its connection."""
    FAILED = "failed"
    """An exception ended its task."""


_FAILURES: Final = frozenset({EndReason.ERROR, EndReason.REJECTED, EndReason.FAILED})


class TaskDone(Protocol):
    """Who is told when the task of an operation is done."""

    def __call__(self, operation: "SocketOperation", *, died: bool) -> None:
        """Note it, and whether the task died without having been cancelled."""


class SocketOperation(Operation):
    """An operation over a WebSocket: it has an id, a connection, and one end reason."""

    __slots__ = (
        "_connection_id",
        "_first_result",
        "_next_told",
        "_task_done",
        "client_id",
        "end_reason",
        "failure",
        "id",
        "is_done",
    )

    _is_request = False

    def __init__(  # noqa: PLR0913, PLR0917  # what an operation starts with
        self,
        telemetry: Telemetry,
        fuse: Fuse,
        parentage: Parentage,
        connection_id: str,
        id_: Hashable,
        payload: Mapping[str, object],
        message_type: MessageType,
        task_done: "TaskDone",
    ) -> None:
        self.id: Hashable = id_
        """The id as it came, a key of the host's; None when nobody asks for it any more."""
        self._task_done = task_done
        self._connection_id = connection_id
        self.client_id = _bounds.bounded(id_, _bounds.ID)
        """As it is recorded, and kept."""
        super().__init__(
            telemetry,
            fuse,
            parentage,
            payload.get("operationName"),
            payload.get("query"),
            {_semconv.CONNECTION_ID: connection_id, _semconv.OPERATION_ID: self.client_id},
            message_type,
        )
        self.end_reason: EndReason | None = None
        self.failure: str | None = None
        """Class of the exception that its task ended with, or could not send a message for."""
        self.is_done = False
        """Whether its task is done, where an extension sees that."""
        self._next_told = 1
        """Ordinal of the result that is told of next: the first, then those that get an event."""
        self._first_result: float | None = None
        telemetry.metrics.tally.begun(self.results)

    def _described(self, operation_type: str) -> Attributes:
        if operation_type != "subscription":
            return {}
        return {_semconv.SUBSCRIPTION_ID: f"{self._connection_id}-{self.client_id}"}

    def result_sent(self, message_type: MessageType) -> None:
        """Count a result that went out, and note until when the next ones are only counted."""
        self.delivered()
        results = self.results
        if results.all == self._next_told:
            if self._first_result is None:
                self._first_result = self.duration
            self._next_told = self.span.numbered_message(message_type, self._next_told)
        results.until = self._next_told - 1 - results.failed

    def silenced(self) -> None:
        """Note that it sends nothing any more, whatever its end will turn out to be."""
        self._telemetry.metrics.tally.ended(self.results)

    def forget(self) -> None:
        """Let go of the id, of any length: a timer that a source left behind keeps the operation.

        For when the operation has ended and nobody sends in its name any more.
        """
        self.id = None

    def task_done(self, task: asyncio.Task[object]) -> None:
        """Tell the connection that the task is done, and whether it died by itself.

        The host tells nobody when a legacy operation's task dies. A task that it cancelled is
        another matter: the client stopped the operation, or the connection goes down.
        """
        with self.fuse:
            # The exception stays with the task: to ask for it is to tell asyncio that somebody did.
            self._task_done(self, died=not task.cancelling())

    def end(self, reason: EndReason, verdict: Verdict | None = None) -> None:
        """End the operation; only the first call counts, since a `complete` of each side may race.

        Args:
            reason: why it ended.
            verdict: over the close that ended it, for `CONNECTION_CLOSED`.
        """
        if self.end_reason is not None:
            return
        self.end_reason = reason
        error_type = description = None
        if reason in _FAILURES:
            error_type = self.failure or reason.value
        elif verdict is not None and verdict.abnormal:
            error_type = verdict.outcome.value
            description = f"interrupted by an abnormal close: {verdict.outcome.value}"
        self._measure(
            _semconv.METRIC_OPERATION_DURATION,
            {_semconv.OPERATION_TYPE: self.type, _semconv.END_REASON: reason.value},
        )
        self.finish(
            error_type,
            description,
            {
                _semconv.END_REASON: reason.value,
                _semconv.RESULTS: self.results.all,
                _semconv.TIME_TO_FIRST_RESULT: self._first_result,
                _semconv.CLOSE_OUTCOME: verdict.outcome.value if verdict else None,
                _semconv.CLOSE_CODE: verdict.code if verdict else None,
            },
        )
