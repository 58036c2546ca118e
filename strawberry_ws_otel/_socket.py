"""What one `WebSocketResponse` receives, sends and closes, told to its connection.

aiohttp closes by itself, never shows the frames that make it do so to an iterating reader, and the
application holds the socket as well. So four public methods are shadowed on that one object, and
uncovered when the handler is done. They call the originals first or last and change nothing.
"""

import asyncio
from typing import Any, Final, NamedTuple

from aiohttp import WSMessage, WSMsgType, web
from opentelemetry.context import Context, create_key, get_value, set_value

from strawberry_ws_otel._bounds import utf8_size
from strawberry_ws_otel._close import CloseCode, CloseFrame
from strawberry_ws_otel._connection import Connection
from strawberry_ws_otel._transport import Transport

_KEY: Final = create_key("strawberry_ws_otel.socket")

_CODES: Final = range(1 << 16)
"""What fits into a close frame; aiohttp raises for anything else."""

_SHADOWED: Final = ("receive", "close", "send_str", "send_bytes")


class _Answer(NamedTuple):
    """A close frame that aiohttp wrote inside `receive()`: to what, only its result will tell."""

    frame: CloseFrame
    to_close: bool
    """Whether it answers a close frame: aiohttp does not drain then, as the client may be gone."""
    code: int | None
    """`ws.close_code` at that moment."""


class RecordedSocket:
    """The shadows over one `WebSocketResponse`."""

    __slots__ = (
        "_alive_when_cancelled",
        "_answer",
        "_close",
        "_closing",
        "_conversation",
        "_covered",
        "_in_use",
        "_reader",
        "_receive",
        "_send_bytes",
        "_send_str",
        "_ws",
        "connection",
        "transport",
    )

    def __init__(self, connection: Connection, transport: Transport) -> None:
        self.connection = connection
        self.transport = transport
        self._conversation = connection.conversation
        self._closing = connection.closing
        self._ws: web.WebSocketResponse | None = None
        self._reader: asyncio.Task[Any] | None = None
        """The task that waits in `receive()`."""
        self._answer: _Answer | None = None
        self._alive_when_cancelled: bool | None = None
        self._in_use = False
        """Whether the application goes on using a shadow of ours, below one of its own."""

    def within(self, context: Context) -> Context:
        """Return `context` with this socket in it."""
        return set_value(_KEY, self, context)

    def open(self, ws: web.WebSocketResponse) -> None:
        """Note the upgrade, and lay the shadows; only the first call counts."""
        if self._ws is not None:
            return
        self._ws = ws
        self._covered = {name: vars(ws)[name] for name in _SHADOWED if name in vars(ws)}
        self.connection.opened(ws.ws_protocol)
        self._receive, self._close = ws.receive, ws.close
        self._send_str, self._send_bytes = ws.send_str, ws.send_bytes
        for name in _SHADOWED:
            setattr(ws, name, getattr(self, name))

    def release(self) -> None:
        """Uncover the originals, unless somebody has laid shadows of their own over ours."""
        if self._ws is None:
            return
        attributes = vars(self._ws)
        ours = [name for name in _SHADOWED if attributes.get(name) == getattr(self, name)]
        for name in ours:
            del attributes[name]
            # What the application had laid there before us.
            attributes.update({name: self._covered[name]} if name in self._covered else {})
        self._in_use = len(ours) < len(_SHADOWED)

    def forget(self) -> None:
        """Let go of the socket and the request, unless a shadow is still in use.

        Timers that the host has cancelled keep the connection's context until they are due.
        """
        if self._ws is not None and not self._in_use:
            self._ws = None
            del self._receive, self._close, self._send_str, self._send_bytes, self._covered
            del self.transport

    def cancelled(self) -> None:
        """Note whether the transport is up, as a cancellation is delivered to the handler.

        Only the first one counts: the next are those of the handler's own tasks, which it awaits
        as it cleans up.
        """
        with self.connection.fuse:
            if self._alive_when_cancelled is None:
                self._alive_when_cancelled = self.transport.alive

    def went_on(self) -> None:
        """Note that the handler goes on: the cancellation was a timeout's, say, and taken back."""
        task = asyncio.current_task()
        if task is not None and not task.cancelling():
            self._alive_when_cancelled = None

    def settle(self, exception: BaseException | None) -> None:
        """Note, at the end of the handler, what only the socket knows of the end."""
        ws, facts = self._ws, self.connection.facts
        if isinstance(exception, Exception):
            facts.transport_up = self.transport.writable
        elif self._alive_when_cancelled is not None:
            facts.transport_up = self._alive_when_cancelled or not self.transport.loss_cancels
        if isinstance(exception, asyncio.CancelledError):
            task = asyncio.current_task()
            facts.cancelled = task is None or task.cancelling() > 0
        if ws is None:
            return
        self._closing.socket_failed(ws.exception())
        if exception is None and not ws.closed and self.transport.writable:
            # aiohttp will close it, when our shadows are gone.
            facts.frame_sent(CloseFrame(CloseCode.NORMAL_CLOSURE))

    # --- The shadows -------------------------------------------------------------------------

    async def receive(self, *args: Any, **kwargs: Any) -> WSMessage:
        """Receive a message, and tell the connection of its frame."""
        if self._reader is not None:
            # aiohttp refuses a second reader.
            return await self._receive(*args, **kwargs)
        self._answer = None
        self._reader = asyncio.current_task()
        try:
            message: WSMessage = await self._receive(*args, **kwargs)
        except BaseException as error:
            with self.connection.fuse:
                self._closing.socket_failed(error)
                self._settle_answer()
            raise
        finally:
            self._reader = None
        with self.connection.fuse:
            self._frame_received(message)
        return message

    async def close(self, *args: Any, **kwargs: Any) -> bool:
        """Close the socket, and tell the connection of the frames of both sides."""
        reads_echo = False
        with self.connection.fuse:
            reads_echo = self._close_called(**kwargs)
        closed = await self._close(*args, **kwargs)
        if reads_echo:
            with self.connection.fuse:
                self._echoed()
        return closed

    async def send_str(self, data: str, *args: Any, **kwargs: Any) -> None:
        """Send text, and tell the connection of its size."""
        try:
            await self._send_str(data, *args, **kwargs)
        except BaseException as error:
            self._send_failed(data, error)
            raise
        self._conversation.traffic.bytes_sent += utf8_size(data)

    async def send_bytes(self, data: bytes, *args: Any, **kwargs: Any) -> None:
        """Send bytes, and tell the connection of their size."""
        try:
            await self._send_bytes(data, *args, **kwargs)
        except BaseException as error:
            self._send_failed(data, error)
            raise
        self._conversation.traffic.bytes_sent += utf8_size(data)

    # --- What they learn ---------------------------------------------------------------------

    def _frame_received(self, message: WSMessage) -> None:
        closing, answer = self._closing, self._answer
        match message.type:
            case WSMsgType.TEXT | WSMsgType.BINARY:
                self._conversation.frame_received(utf8_size(message.data))
            case WSMsgType.CLOSE:
                closing.frame_received(_close_frame(message.data, message.extra))
                if answer is not None:
                    closing.frame_sent(answer.frame)
            case WSMsgType.ERROR:
                closing.frame_failed(message.data, answer.frame if answer else None)
            case WSMsgType.CLOSED:
                closing.stream_ended(self._socket.exception())

    def _send_failed(self, data: str | bytes, error: BaseException) -> None:
        if isinstance(error, ConnectionError):
            self._closing.send_failed()
        elif isinstance(error, asyncio.CancelledError):
            # aiohttp writes a frame before it waits for the buffer to drain.
            self._conversation.traffic.bytes_sent += utf8_size(data)

    def _close_called(
        self,
        *,
        code: int = CloseCode.NORMAL_CLOSURE,
        message: bytes | str = b"",
        drain: bool = True,
    ) -> bool:
        """Note a call of `close()` before it is awaited; return whether it will read the echo."""
        ws = self._socket
        written = not ws.closed and self.transport.writable and code in _CODES
        reason = message if isinstance(message, str) else bytes(message).decode("utf-8", "replace")
        frame = CloseFrame(int(code), reason)
        if self._reader is asyncio.current_task():
            self._answer = _Answer(frame, not drain, ws.close_code) if written else None
            return False
        if ws.closed:
            self._closing.redundant()
        elif written:
            self._closing.frame_sent(frame)
            # A reader in another task is woken by aiohttp, which then does not wait for the echo.
            return self._reader is None
        return False

    def _echoed(self) -> None:
        ws = self._socket
        if ws.exception() is None:
            self._closing.frame_received(_close_frame(ws.close_code, None))

    def _settle_answer(self) -> None:
        """Tell of a close frame whose `receive()` was cut short."""
        answer = self._answer
        if answer is None:
            return
        if answer.to_close:
            self._closing.frame_received(_close_frame(answer.code, None))
        self._closing.frame_sent(answer.frame)

    @property
    def _socket(self) -> web.WebSocketResponse:
        if self._ws is None:
            raise RuntimeError("the shadows are laid when the socket is known")
        return self._ws


def _close_frame(code: int | None, reason: str | None) -> CloseFrame:
    """Return a received close frame; aiohttp says 0 for a frame without a code."""
    return CloseFrame(int(code or CloseCode.NO_STATUS_RCVD), reason or "")


def current_socket() -> RecordedSocket | None:
    """Return the recorded socket of the connection that the running code serves."""
    socket = get_value(_KEY)
    return socket if isinstance(socket, RecordedSocket) else None
