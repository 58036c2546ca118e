"""The socket of one connection: what only the end of its handler tells.

The observer of the `WebSocketResponse` sees its frames. Beside them stand the cancellation of the
handler and what left it.
"""

import asyncio

from aiohttp import web

from strawberry_ws_otel._close import CloseCode, CloseFrame
from strawberry_ws_otel._connection import Connection
from strawberry_ws_otel._observer import NotObservableError, Observer
from strawberry_ws_otel._request import Request, current_request
from strawberry_ws_otel._telemetry import Telemetry
from strawberry_ws_otel._transport import Transport
from strawberry_ws_otel._unwatched import Unwatched


class RecordedSocket(Request):
    """The socket of one connection, from the handshake to the end of the handler."""

    __slots__ = (
        "_alive_when_cancelled",
        "_observer",
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
        """What has to be told of a socket that cannot be observed."""
        self.abandonment: GeneratorExit | None = None
        """What ends a handler that is abandoned, whatever leaves it as it cleans up."""
        self._transport = transport
        self._ws: web.WebSocketResponse | None = None
        self._observer: Observer | None = None
        self._alive_when_cancelled: bool | None = None

    def open(self, ws: web.WebSocketResponse) -> None:
        """Note the upgrade, and observe the socket; only the first call counts."""
        if self._ws is not None:
            return
        self._ws = ws
        self.connection.opened(ws.ws_protocol)
        try:
            # A view that has closed it already did so when nobody watched.
            if not ws.closed:
                self._observer = Observer(ws, self.connection, self._transport)
        except NotObservableError as error:
            self._say_unwatched(error)
        finally:
            if self._observer is None:
                self.unwatched = Unwatched(ws, self.connection, self._transport)

    def _say_unwatched(self, error: NotObservableError) -> None:
        self.telemetry.warn_once(
            "%s cannot be watched (%s): how its connections close is recorded only as far as"
            " the view and aiohttp tell, their bytes are not counted",
            type(self._ws).__qualname__,
            error,
        )

    def release(self) -> None:
        """Stop observing the socket, as the handler is done with it."""
        if self._observer is not None:
            self._observer.remove()

    def forget(self) -> None:
        """Let go of the socket and the request.

        Timers that the host has cancelled keep the connection's context until they are due.
        """
        self._ws = self._observer = self.unwatched = None
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
        if self._observer is not None:
            closing = self.connection.closing
            self._observer.settle()
            closing.socket_failed(ws.exception())
            if self._observer.timed_out:
                closing.socket_failed(exception)
        elif self.unwatched is not None:
            self.unwatched.settle()
        if exception is None and not ws.closed and transport.writable:
            # aiohttp will close it, when our observer is gone.
            facts.frame_sent(CloseFrame(CloseCode.NORMAL_CLOSURE))


def opened(ws: web.WebSocketResponse) -> RecordedSocket | None:
    """Note that the connection which the running code serves has been upgraded, and is `ws`.

    Returns:
        Its socket, if it is recorded.
    """
    socket = current_request()
    if not isinstance(socket, RecordedSocket):
        return None
    with socket.connection.fuse:
        socket.open(ws)
    return socket
