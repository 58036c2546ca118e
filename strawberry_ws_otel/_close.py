"""How a connection ended: the facts, and the verdict over them as tables.

The facts are those of RFC 6455 7.1: which close frame was sent, which was received, whose came
first, and what went wrong where there was none. aiohttp's `ws.close_code` is not among them: it is
1000 after a 4408, and 1006 after a 4400 that the client did not echo.

A new close code is a member of `CloseCode` and a line in `_SENT` or `_RECEIVED`.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final, NamedTuple

from strawberry_ws_otel._limits import bounded_reason, exception_type


class CloseCode(IntEnum):
    """Close codes with a meaning of their own: RFC 6455 7.4.1, IANA, and both subprotocols."""

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS_RCVD = 1005
    ABNORMAL_CLOSURE = 1006
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015
    BAD_RESPONSE = 4004
    INTERNAL_CLIENT_ERROR = 4005
    BAD_REQUEST = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    SUBPROTOCOL_NOT_ACCEPTABLE = 4406
    CONNECTION_INITIALISATION_TIMEOUT = 4408
    SUBSCRIBER_ALREADY_EXISTS = 4409
    TOO_MANY_INITIALISATION_REQUESTS = 4429
    TERMINATED = 4499
    INTERNAL_SERVER_ERROR = 4500
    CONNECTION_ACKNOWLEDGEMENT_TIMEOUT = 4504


NAMED_CODES: Final = frozenset(CloseCode)
"""The codes that metrics carry."""


class Outcome(StrEnum):
    """The verdict over a close."""

    NORMAL = "normal"
    SERVER_SHUTDOWN = "server_shutdown"
    CONNECTION_LOST = "connection_lost"
    HEARTBEAT_TIMEOUT = "heartbeat_timeout"
    INVALID_FRAME = "invalid_frame"
    INVALID_MESSAGE = "invalid_message"
    INIT_TIMEOUT = "init_timeout"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    SUBPROTOCOL_REJECTED = "subprotocol_rejected"
    DUPLICATE_OPERATION = "duplicate_operation"
    DUPLICATE_INIT = "duplicate_init"
    HANDSHAKE_REJECTED = "handshake_rejected"
    CLIENT_TERMINATED = "client_terminated"
    CLIENT_ERROR = "client_error"
    SERVER_ERROR = "server_error"
    APPLICATION_CODE = "application_code"
    OTHER = "other"


class Fault(StrEnum):
    """Whose fault a close is; an outcome with a fault is abnormal."""

    CLIENT = "client"
    SERVER = "server"
    NETWORK = "network"
    UNKNOWN = "unknown"
    NONE = "none"


class Initiator(StrEnum):
    """Whose close frame came first."""

    CLIENT = "client"
    SERVER = "server"
    NONE = "none"
    UNKNOWN = "unknown"
    """The socket was closed, and nobody saw by whom."""


FAULTS: Final[Mapping[Outcome, Fault]] = {
    Outcome.NORMAL: Fault.NONE,
    Outcome.SERVER_SHUTDOWN: Fault.NONE,
    Outcome.CONNECTION_LOST: Fault.NETWORK,
    Outcome.HEARTBEAT_TIMEOUT: Fault.NETWORK,
    Outcome.INVALID_FRAME: Fault.CLIENT,
    Outcome.INVALID_MESSAGE: Fault.CLIENT,
    Outcome.INIT_TIMEOUT: Fault.CLIENT,
    Outcome.UNAUTHORIZED: Fault.CLIENT,
    Outcome.FORBIDDEN: Fault.CLIENT,
    Outcome.SUBPROTOCOL_REJECTED: Fault.CLIENT,
    Outcome.DUPLICATE_OPERATION: Fault.CLIENT,
    Outcome.DUPLICATE_INIT: Fault.CLIENT,
    Outcome.HANDSHAKE_REJECTED: Fault.CLIENT,
    Outcome.CLIENT_TERMINATED: Fault.CLIENT,
    Outcome.CLIENT_ERROR: Fault.UNKNOWN,
    Outcome.SERVER_ERROR: Fault.SERVER,
    Outcome.APPLICATION_CODE: Fault.UNKNOWN,
    Outcome.OTHER: Fault.UNKNOWN,
}

_SENT: Final[Mapping[int, Outcome]] = {
    CloseCode.NORMAL_CLOSURE: Outcome.NORMAL,
    CloseCode.GOING_AWAY: Outcome.SERVER_SHUTDOWN,
    CloseCode.SERVICE_RESTART: Outcome.SERVER_SHUTDOWN,
    # The legacy handler's "WebSocket message type must be text".
    CloseCode.PROTOCOL_ERROR: Outcome.INVALID_FRAME,
    CloseCode.INTERNAL_ERROR: Outcome.SERVER_ERROR,
    CloseCode.INTERNAL_SERVER_ERROR: Outcome.SERVER_ERROR,
    CloseCode.BAD_REQUEST: Outcome.INVALID_MESSAGE,
    CloseCode.UNAUTHORIZED: Outcome.UNAUTHORIZED,
    CloseCode.FORBIDDEN: Outcome.FORBIDDEN,
    CloseCode.SUBPROTOCOL_NOT_ACCEPTABLE: Outcome.SUBPROTOCOL_REJECTED,
    CloseCode.CONNECTION_INITIALISATION_TIMEOUT: Outcome.INIT_TIMEOUT,
    CloseCode.SUBSCRIBER_ALREADY_EXISTS: Outcome.DUPLICATE_OPERATION,
    CloseCode.TOO_MANY_INITIALISATION_REQUESTS: Outcome.DUPLICATE_INIT,
}

# The legacy subprotocol has no codes of its own: it refuses with a `connection_error`, then closes.
_SENT_AFTER_REFUSAL: Final[Mapping[int, Outcome]] = {
    **_SENT,
    CloseCode.NORMAL_CLOSURE: Outcome.INVALID_MESSAGE,
    CloseCode.INTERNAL_ERROR: Outcome.FORBIDDEN,
}

_RECEIVED: Final[Mapping[int, Outcome]] = {
    CloseCode.NORMAL_CLOSURE: Outcome.NORMAL,
    CloseCode.GOING_AWAY: Outcome.NORMAL,
    CloseCode.NO_STATUS_RCVD: Outcome.NORMAL,
    CloseCode.TERMINATED: Outcome.CLIENT_TERMINATED,
    CloseCode.INTERNAL_CLIENT_ERROR: Outcome.CLIENT_TERMINATED,
    CloseCode.INTERNAL_ERROR: Outcome.CLIENT_TERMINATED,
    CloseCode.PROTOCOL_ERROR: Outcome.CLIENT_ERROR,
    CloseCode.UNSUPPORTED_DATA: Outcome.CLIENT_ERROR,
    CloseCode.INVALID_DATA: Outcome.CLIENT_ERROR,
    CloseCode.MESSAGE_TOO_BIG: Outcome.CLIENT_ERROR,
    CloseCode.MANDATORY_EXTENSION: Outcome.CLIENT_ERROR,
    CloseCode.BAD_RESPONSE: Outcome.CLIENT_ERROR,
    CloseCode.CONNECTION_ACKNOWLEDGEMENT_TIMEOUT: Outcome.CLIENT_ERROR,
}

_APPLICATION_CODES: Final = range(3000, 5000)
"""RFC 6455 7.4.2: 3000-3999 for libraries and applications, 4000-4999 for private use."""

REJECTING_CODES: Final = frozenset({CloseCode.UNAUTHORIZED, CloseCode.SUBSCRIBER_ALREADY_EXISTS})
"""The codes that refuse the very operation whose first message is being handled."""

_CANCELLATIONS: Final = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)
"""What ends a handler from outside: the event loop or the process goes down."""

_WITHOUT_FRAMES: Final = frozenset(
    {
        Outcome.SERVER_SHUTDOWN,
        Outcome.CONNECTION_LOST,
        Outcome.HEARTBEAT_TIMEOUT,
        Outcome.INVALID_FRAME,
        Outcome.INVALID_MESSAGE,
        Outcome.SERVER_ERROR,
    }
)
"""The outcomes that a connection can have on which no close frame was exchanged."""


def outcomes_of(code: int) -> frozenset[Outcome]:
    """Return the outcomes that a close with `code` can have, whichever side sent it."""
    named = {_by_code(code, table) for table in (_SENT, _SENT_AFTER_REFUSAL, _RECEIVED)}
    unframed = _WITHOUT_FRAMES if code == CloseCode.ABNORMAL_CLOSURE else frozenset()
    return unframed | named | {Outcome.INVALID_FRAME}


class CloseFrame(NamedTuple):
    """A close frame: its code (1005 for a frame without one) and its reason."""

    code: int
    reason: str = ""

    def bounded(self) -> "CloseFrame":
        """Return it as it is recorded: a plain number, and a reason that fits into a frame.

        Hosts hand over members of enumerations, and reasons that quote clients at length.
        """
        return CloseFrame(int(self.code), bounded_reason(self.reason))


class HandlerEnd(NamedTuple):
    """How the handler of a connection ended: all that its edge knows of it."""

    exception: BaseException | None = None
    """What left the handler."""
    transport_error: BaseException | None = None
    """What the transport failed with, if the handler ended because of that."""
    transport_alive: bool | None = None
    """Whether the transport was, when the handler was cancelled or raised; None: nobody knows."""
    is_cancelled: bool = True
    """Whether a `CancelledError` is the handler's own, not that of something it awaited."""
    is_malformed: bool = False
    """Whether the host raised because of a malformed handshake; `Connection` adds messages."""
    status: int | None = None
    """HTTP status of a refused handshake."""


@dataclass(slots=True)
class Facts:
    """What is known about the end of one connection; the first close frame of a side counts."""

    sent: CloseFrame | None = None
    received: CloseFrame | None = None
    initiator: Initiator = Initiator.NONE
    upgraded: bool = False
    frame_error: BaseException | None = None
    """What aiohttp's ERROR message carried, or `ws.exception()`, if that decided the close."""
    dropped: BaseException | None = None
    """Why aiohttp dropped the transport where it was asked to close, and wrote no close frame."""
    lost: bool = False  # the end of the stream was read before any close frame
    is_refused: bool = False  # the legacy `connection_error` was sent
    end: HandlerEnd = field(default_factory=HandlerEnd)

    def frame_sent(self, frame: CloseFrame) -> None:
        """Record a close frame of the server."""
        self.sent = self.sent or frame.bounded()
        if self.initiator is Initiator.NONE:
            self.initiator = Initiator.SERVER

    def frame_received(self, frame: CloseFrame) -> None:
        """Record a close frame of the client."""
        self.received = self.received or frame.bounded()
        if self.initiator is Initiator.NONE:
            self.initiator = Initiator.CLIENT

    def unobserved(self, error: BaseException | None) -> None:
        """Record a close that the edge did not observe, unless a close frame is known."""
        if self.first is None and self.dropped is None:
            self.frame_error = error
            self.initiator = Initiator.UNKNOWN

    def forget(self) -> None:
        """Let go of exceptions, whose tracebacks keep frames of the host."""
        self.frame_error = self.dropped = None
        self.end = self.end._replace(exception=None, transport_error=None)

    @property
    def first(self) -> CloseFrame | None:
        """The close frame that came first."""
        return self.sent if self.initiator is Initiator.SERVER else self.received

    @property
    def status(self) -> int | None:
        """HTTP status of a refused handshake, unless the transport was lost before the answer."""
        answered = not self.upgraded and self.end.transport_alive is not False
        return self.end.status if answered else None


class Verdict(NamedTuple):
    """The verdict over how a connection ended."""

    outcome: Outcome
    fault: Fault
    initiator: Initiator
    clean: bool
    code: int | None
    """Code of the first close frame, 1006 without one, None without an upgrade."""
    reason: str
    error_type: str | None
    """Class of the exception that decided it, else the outcome; None for a normal close."""

    @property
    def named_code(self) -> int | None:
        """The code if it has a name: the values that metrics carry have to be bounded."""
        return self.code if self.code in NAMED_CODES else None

    @property
    def abnormal(self) -> bool:
        """Whether it is a fault of any party, known or not."""
        return self.fault is not Fault.NONE


def verdict(facts: Facts, normal: Collection[str | int] = ()) -> Verdict:
    """Judge `facts` by the tables above; `normal` outcomes and close codes are nobody's fault."""
    first, code = facts.first, None
    if first is not None:
        code = first.code
    elif facts.upgraded and facts.initiator is not Initiator.UNKNOWN:
        code = CloseCode.ABNORMAL_CLOSURE.value
    outcome, error = _outcome(facts)
    fault, error_type = FAULTS[outcome], None
    if outcome in normal or code in normal:
        fault = Fault.NONE
    if fault is not Fault.NONE:
        error_type = exception_type(error) if error else outcome.value
    return Verdict(
        outcome=outcome,
        fault=fault,
        initiator=facts.initiator,
        clean=facts.sent is not None and facts.received is not None,
        code=code,
        reason=first.reason if first else "",
        error_type=error_type,
    )


def server_failure(facts: Facts) -> BaseException | None:
    """Return the exception that made a close a `server_error`, if one did."""
    outcome, error = _outcome(facts)
    return error if outcome is Outcome.SERVER_ERROR else None


def _outcome(facts: Facts) -> tuple[Outcome, BaseException | None]:
    """Return the outcome, and the exception that decided it, if one did."""
    error = facts.frame_error
    if facts.first is not None:
        return _by_frame(facts, facts.first), error
    if facts.dropped is not None:
        return Outcome.SERVER_ERROR, facts.dropped
    if facts.initiator is Initiator.UNKNOWN:
        return Outcome.OTHER, error
    if error is not None:
        return _by_frame_error(error), error
    if facts.end.exception is not None and not facts.lost:
        return _by_exception(facts, facts.end.exception)
    return Outcome.CONNECTION_LOST if facts.upgraded else _by_status(facts.status), None


def _by_frame(facts: Facts, first: CloseFrame) -> Outcome:
    if facts.initiator is Initiator.CLIENT:
        return _by_code(first.code, _RECEIVED)
    if facts.frame_error is not None:
        return Outcome.INVALID_FRAME
    return _by_code(first.code, _SENT_AFTER_REFUSAL if facts.is_refused else _SENT)


def _by_code(code: int, outcomes: Mapping[int, Outcome]) -> Outcome:
    unnamed = Outcome.APPLICATION_CODE if code in _APPLICATION_CODES else Outcome.OTHER
    return outcomes.get(code, unnamed)


def _by_frame_error(error: BaseException) -> Outcome:
    """Judge an ERROR message after which no close frame was written."""
    if isinstance(error, TimeoutError):
        return Outcome.HEARTBEAT_TIMEOUT
    return Outcome.CONNECTION_LOST if isinstance(error, OSError) else Outcome.INVALID_FRAME


def _by_exception(facts: Facts, exception: BaseException) -> tuple[Outcome, BaseException | None]:
    """Judge an exception that left the handler before any close frame."""
    is_lost = facts.end.transport_alive is False
    if isinstance(exception, _CANCELLATIONS) and facts.end.is_cancelled:
        return Outcome.CONNECTION_LOST if is_lost else Outcome.SERVER_SHUTDOWN, None
    # Before the upgrade aiohttp may raise any exception when the transport is lost.
    if is_lost and (isinstance(exception, ConnectionError) or not facts.upgraded):
        return Outcome.CONNECTION_LOST, exception
    if facts.end.is_malformed:
        malformed = Outcome.INVALID_MESSAGE if facts.upgraded else Outcome.HANDSHAKE_REJECTED
        return malformed, exception
    return Outcome.SERVER_ERROR if facts.status is None else _by_status(facts.status), exception


def _by_status(status: int | None) -> Outcome:
    """Judge a handshake that was answered by a status other than 101."""
    outcomes = {4: Outcome.HANDSHAKE_REJECTED, 5: Outcome.SERVER_ERROR}
    return outcomes.get((status or 0) // 100, Outcome.OTHER)
