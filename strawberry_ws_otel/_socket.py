"""The socket of one connection: what only the end of its handler tells.

The shadows over the `WebSocketResponse` see its frames. Beside them stand the cancellation of the
handler and what left it.
"""

import asyncio
import logging
from contextlib import suppress

from aiohttp import web

from strawberry_ws_otel import _semconv
from strawberry_ws_otel._close import CloseCode, CloseFrame
from strawberry_ws_otel._connection import Connection
from strawberry_ws_otel._scope import Scope, current_scope
from strawberry_ws_otel._shadows import Shadows, ShadowsRefusedError
from strawberry_ws_otel._telemetry import Telemetry
from strawberry_ws_otel._transport import Transport
from strawberry_ws_otel._unwatched import Unwatched

_logger = logging.getLogger(_semconv.SCOPE)


class RecordedSocket(Scope):
    """The socket of one connection, from the handshake to the end of the handler."""

    __slots__ = (
        "_alive_when_cancelled",
        "_shadows",
        "_transport",
        "_ws",
        "abandonment",
        "connection",
        "unwatched",
    )

    connection: Connection

    def __init__(self, telemetry: Telemetry, transport: Transport) -> None:
        """Note where the socket is recorded; its connection begins in its context."""
        super().__init__(telemetry)
        self.unwatched: Unwatched | None = None
        """What has to be told of a socket without shadows."""
        self.abandonment: GeneratorExit | None = None
        """What ends a handler that is abandoned, whatever leaves it as it cleans up."""
        self._transport = transport
        self._ws: web.WebSocketResponse | None = None
        self._shadows: Shadows | None = None
        self._alive_when_cancelled: bool | None = None

    def open(self, ws: web.WebSocketResponse) -> None:
        """Note the upgrade, and lay the shadows; only the first call counts."""
        if self._ws is not None:
            return
        self._ws = ws
        self.connection.opened(ws.ws_protocol)
        try:
            # A view that has closed it already did so when nobody watched.
            if not ws.closed:
                self._shadows = Shadows(ws, self.connection, self._transport)
        except ShadowsRefusedError as error:
            self._say_unwatched(error)
        finally:
            if self._shadows is None:
                self.unwatched = Unwatched(ws, self.connection, self._transport)

    def _say_unwatched(self, error: ShadowsRefusedError) -> None:
        if self.telemetry.told_of_unwatched:
            return
        self.telemetry.told_of_unwatched = True
        # A log handler may raise.
        with suppress(Exception):
            _logger.warning(
                "%s cannot be watched (%s): how its connections close is recorded only as far as"
                " the view and aiohttp tell, their bytes are not counted",
                type(self._ws).__qualname__,
                error,
            )

    def release(self) -> None:
        """Uncover the socket, as the handler is done with it."""
        if self._shadows is not None:
            self._shadows.uncover()

    def forget(self) -> None:
        """Let go of the socket and the request.

        Timers that the host has cancelled keep the connection's context until they are due.
        """
        self._ws = self._shadows = self.unwatched = None
        del self._transport

    def cancelled(self) -> None:
        """Note whether the transport is up, as a cancellation is delivered to the handler.

        Only the first one counts: the next are those of the handler's own tasks, which it awaits
        as it cleans up.
        """
        with self.connection.fuse:
            if self._alive_when_cancelled is None:
                self._alive_when_cancelled = self._transport.alive

    def went_on(self) -> None:
        """Note that the handler goes on: the cancellation was a timeout's, say, and taken back."""
        with self.connection.fuse:
            task = asyncio.current_task()
            if task is not None and not task.cancelling():
                self._alive_when_cancelled = None

    def abandoned(self) -> None:
        """Note that the event loop was closed under the handler."""
        self.abandonment = GeneratorExit()

    def settle(self, exception: BaseException | None) -> None:
        """Note, at the end of the handler, what only the socket knows of the end."""
        ws, facts, transport = self._ws, self.connection.facts, self._transport
        if isinstance(exception, Exception):
            facts.transport_up = transport.writable
        elif self._alive_when_cancelled is not None:
            facts.transport_up = self._alive_when_cancelled or not transport.loss_cancels
        if isinstance(exception, asyncio.CancelledError):
            task = asyncio.current_task()
            facts.cancelled = task is None or task.cancelling() > 0
        if ws is None:
            return
        if self._shadows is not None:
            closing = self.connection.closing
            closing.socket_failed(ws.exception())
            if self._shadows.timed_out:
                closing.socket_failed(exception)
        elif self.unwatched is not None:
            self.unwatched.settle()
        if exception is None and not ws.closed and transport.writable:
            # aiohttp will close it, when our shadows are gone.
            facts.frame_sent(CloseFrame(CloseCode.NORMAL_CLOSURE))


def opened(ws: web.WebSocketResponse) -> RecordedSocket | None:
    """Note that the connection which the running code serves has been upgraded, and is `ws`.

    Returns:
        Its socket, if it is recorded.
    """
    socket = current_scope()
    if not isinstance(socket, RecordedSocket):
        return None
    with socket.connection.fuse:
        socket.open(ws)
    return socket
