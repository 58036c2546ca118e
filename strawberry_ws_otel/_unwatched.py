"""A socket that cannot be observed: what its adapter, and the end of its handler, tell instead.

Nothing is guessed. Messages, and what the host closes through its adapter, are known as ever. So
are an exception and a cancellation that end the handler of an open socket. Of any other close there
is only what aiohttp reports in the end: it is `normal` if the client sent an ordinary code, and
`other` in all other cases, its initiator `unknown`. Bytes are not counted, ERROR frames not seen.
"""

import asyncio
from typing import Final

from aiohttp import web

from strawberry_ws_otel._close import CloseCode, CloseFrame, Report
from strawberry_ws_otel._connection import Connection
from strawberry_ws_otel._observer import close_frame
from strawberry_ws_otel._transport import Transport

_WITHOUT_FRAME: Final = (
    StopAsyncIteration,
    GeneratorExit,
    TimeoutError,
    ConnectionError,
    asyncio.CancelledError,
)
"""What ends the reading of messages without a frame."""

_NO_FRAME: Final = CloseCode.ABNORMAL_CLOSURE


class Unwatched:
    """What is told of one `WebSocketResponse` that cannot be observed."""

    __slots__ = ("_closing", "_conversation", "_transport", "_ws", "fuse", "reading")

    def __init__(
        self, ws: web.WebSocketResponse, connection: Connection, transport: Transport
    ) -> None:
        self._ws = ws
        self._transport = transport
        self._closing = connection.closing
        self._conversation = connection.conversation
        self.fuse = connection.fuse
        self.reading = False
        """Whether the host waits for a message."""

    def frame_received(self) -> None:
        """Note a data frame, whose size nobody knows."""
        self._conversation.frame_received(0)

    def reading_failed(self, error: BaseException) -> None:
        """Note that no message came; if the socket is closed, what dies now dies so.

        On an open one there was a frame, of which no message could be made, unless nobody waits for
        one any more.
        """
        if self._ws.closed:
            self._conversation.mark_closing()
        elif not isinstance(error, _WITHOUT_FRAME):
            self.frame_received()

    def send_failed(self, error: BaseException | None) -> None:
        """Note that the adapter could not send, and why, as far as its class tells."""
        while error is not None and not isinstance(error, ConnectionError):
            error = error.__cause__
        if error is not None:
            self._closing.send_failed()

    @property
    def closed(self) -> bool:
        """Whether the socket is closed."""
        return self._ws.closed

    @property
    def writable(self) -> bool:
        """Whether a close of an open socket would write a frame now."""
        return self._transport.writable

    def close_called(self, frame: CloseFrame, *, closed: bool, writable: bool) -> None:
        """Note what the host asked the adapter for, and what the socket was before.

        Told when it is over, since the host may fail before it has closed anything.
        """
        if not self._ws.closed:
            return
        if closed:
            self._closing.redundant()
        elif writable:
            self._closing.frame_sent(frame)
        else:
            self._closing.send_failed()

    def answered(self) -> None:
        """Note the answer of the client, which aiohttp awaits unless somebody reads."""
        ws = self._ws
        if not self.reading and ws.exception() is None and self._closing.facts.sent is not None:
            self._closing.facts.frame_received(close_frame(ws.close_code, None))

    def settle(self) -> None:
        """Note, at the end of the handler, what aiohttp reports of a close that nobody saw."""
        ws = self._ws
        if not ws.closed and ws.close_code is None:
            return
        error = ws.exception()
        # aiohttp says 1000 as well where a reader was woken by a close of the server's; it has no
        # public way to ask. Where the private one is gone, its word counts.
        woken = getattr(ws, "_close_wait", None) is not None
        known = error is None and not woken and ws.close_code != _NO_FRAME
        code = close_frame(ws.close_code, None).code if known else None
        self._closing.facts.reported(Report(code, error))
