"""What one `WebSocketResponse` receives, sends and closes, told to its connection.

aiohttp closes by itself, never shows the frames that make it do so to an iterating reader, and the
application holds the socket as well. So four public methods are shadowed on that one object, and
uncovered when the handler is done. They call the originals first or last and change nothing.

A class of aiohttp's, or of the application's, may not take them. Then none is laid: `_unwatched`.
"""

import asyncio
import weakref
from typing import Any, Final, NamedTuple

from aiohttp import WSMessage, WSMsgType, web

from strawberry_ws_otel._bounds import utf8_size
from strawberry_ws_otel._close import CloseCode, CloseFrame
from strawberry_ws_otel._connection import Connection
from strawberry_ws_otel._transport import Transport

_MAX_CODE: Final = (1 << 16) - 1
"""The highest code that fits into a close frame; aiohttp raises for anything else."""

_SHADOWED: Final = {name: f"_{name}" for name in ("receive", "close", "send_str", "send_bytes")}
"""The methods that are shadowed, and where their originals are kept."""


class ShadowsRefusedError(Exception):
    """The socket takes no shadows; none is left on it."""


class _Answer(NamedTuple):
    """A close frame that aiohttp wrote inside `receive()`: to what, only its result will tell."""

    frame: CloseFrame
    to_close: bool
    """Whether it answers a close frame: aiohttp does not drain then, as the client may be gone."""
    code: int | None
    """`ws.close_code` at that moment."""


class Shadows:
    """The shadows over one `WebSocketResponse`."""

    __slots__ = (
        "_answer",
        "_close",
        "_closing",
        "_conversation",
        "_fuse",
        "_reading",
        "_receive",
        "_send_bytes",
        "_send_str",
        "_traffic",
        "_transport",
        "_ws",
        "timed_out",
    )

    def __init__(
        self, ws: web.WebSocketResponse, connection: Connection, transport: Transport
    ) -> None:
        """Lay the shadows over `ws`.

        Raises:
            ShadowsRefusedError: it does not take them all.
        """
        self._ws = ws
        self._transport = transport
        self._conversation = connection.conversation
        self._traffic = connection.conversation.traffic
        self._closing = connection.closing
        self._fuse = connection.fuse
        self.timed_out = False
        """Whether the last `receive()` timed out."""
        self._reading: Any = None
        """The call of the original `receive()` that has not returned yet."""
        self._answer: _Answer | None = None
        try:
            self._receive, self._close = ws.receive, ws.close
            self._send_str: Any = ws.send_str
            self._send_bytes: Any = ws.send_bytes
            self._lay()
        except Exception as error:
            self.uncover()
            raise ShadowsRefusedError(str(error)) from error

    def _lay(self) -> None:
        for name in _SHADOWED:
            shadow = getattr(self, name)
            setattr(self._ws, name, shadow)
            if getattr(self._ws, name) != shadow:
                raise AttributeError(f"{name} was set, and is what it was")

    def uncover(self) -> None:
        """Uncover the originals, where the application has laid nothing of its own over ours."""
        ws = self._ws
        for name, kept in _SHADOWED.items():
            if getattr(ws, name, None) != getattr(self, name):
                continue
            # `suppress` would cost more than all the rest.
            try:  # noqa: SIM105
                delattr(ws, name)
            except Exception:  # noqa: BLE001, S110  # what cannot be deleted is set back
                pass
            original = getattr(self, kept)
            if getattr(ws, name) != original:
                # What the application had laid there before us, or what cannot be deleted.
                setattr(ws, name, original)

    async def receive(self, *args: Any, **kwargs: Any) -> WSMessage:
        """Receive a message, and tell the connection of its frame."""
        if self._reading is not None:
            # aiohttp refuses a second reader.
            return await self._receive(*args, **kwargs)
        self._answer = None
        self.timed_out = False
        try:
            self._reading = self._receive(*args, **kwargs)
            message: WSMessage = await self._reading
        except BaseException as error:
            with self._fuse:
                self.timed_out = isinstance(error, TimeoutError)
                self._settle_answer()
            raise
        finally:
            self._reading = None
        with self._fuse:
            self._frame_received(message)
        return message

    async def close(self, *args: Any, **kwargs: Any) -> bool:
        """Close the socket, and tell the connection of the frames of both sides."""
        reads_echo = False
        with self._fuse:
            reads_echo = self._close_called(*args, **kwargs)
        closed = await self._close(*args, **kwargs)
        if reads_echo:
            with self._fuse:
                self._echoed()
        return closed

    # Half of what a shadow costs is to pass on arguments that nearly nobody gives, and a `with`
    # costs as much as what it would guard.

    async def send_str(self, data: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # aiohttp's
        """Send text, and tell the connection of its size."""
        try:
            if args or kwargs:
                returned: Any = await self._send_str(data, *args, **kwargs)
            else:
                returned = await self._send_str(data)
        except BaseException as error:
            with self._fuse:
                self._send_failed(data, error)
            raise
        try:
            self._traffic.bytes_sent += len(data) if data.isascii() else utf8_size(data)
        except Exception as error:  # noqa: BLE001  # the fuse's
            self._fuse.blow(error)
        return returned

    async def send_bytes(self, data: bytes, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # aiohttp's
        """Send bytes, and tell the connection of their size."""
        try:
            if args or kwargs:
                returned: Any = await self._send_bytes(data, *args, **kwargs)
            else:
                returned = await self._send_bytes(data)
        except BaseException as error:
            with self._fuse:
                self._send_failed(data, error)
            raise
        with self._fuse:
            self._traffic.bytes_sent += len(data)
        return returned

    # --- What they learn ---------------------------------------------------------------------

    def _frame_received(self, message: WSMessage) -> None:
        closing, answer = self._closing, self._answer
        match message.type:
            case WSMsgType.TEXT | WSMsgType.BINARY:
                self._conversation.frame_received(utf8_size(message.data))
            case WSMsgType.CLOSE:
                closing.frame_received(close_frame(message.data, message.extra))
                if answer is not None:
                    closing.frame_sent(answer.frame)
            case WSMsgType.ERROR:
                closing.frame_failed(message.data, answer.frame if answer else None)
            case WSMsgType.CLOSED:
                closing.stream_ended(self._ws.exception())
            case _:
                # CLOSING: somebody closes in another task, and has told of it.
                pass

    def _send_failed(self, data: str | bytes, error: BaseException) -> None:
        if isinstance(error, ConnectionError):
            self._closing.send_failed()
        elif isinstance(error, asyncio.CancelledError):
            # aiohttp writes a frame before it waits for the buffer to drain. Not one that waits for
            # another to be compressed first, but nobody can tell.
            self._traffic.bytes_sent += utf8_size(data)
            self._conversation.cut_short = weakref.ref(error)

    def _close_called(
        self,
        code: int = CloseCode.NORMAL_CLOSURE,
        message: bytes | str = b"",
        drain: bool = True,  # noqa: FBT001, FBT002  # aiohttp's
        *_more: object,
        **_named: object,
    ) -> bool:
        """Note a call of `close()` before it is awaited; return whether it will read the echo.

        A class of the application's may take more than aiohttp's, and by position.
        """
        ws = self._ws
        written = not ws.closed and self._transport.writable and 0 <= code <= _MAX_CODE
        reason = message if isinstance(message, str) else bytes(message).decode("utf-8", "replace")
        frame = CloseFrame(int(code), reason)
        if self._closes_itself():
            self._answer = _Answer(frame, not drain, ws.close_code) if written else None
            return False
        if ws.closed:
            self._closing.redundant()
        elif written:
            self._closing.frame_sent(frame)
            # A reader in another task is woken by aiohttp, which then does not wait for the echo.
            return self._reading is None
        elif not self._transport.writable:
            self._closing.send_failed()
        return False

    def _closes_itself(self) -> bool:
        """Whether it is aiohttp that closes, inside `receive()`.

        It sets `close_code` before, and nobody else closes an open socket that has one. To compare
        tasks would cost every frame a system call, and `receive()` may run in one of its own.
        """
        if self._ws.closed:
            return getattr(self._reading, "cr_running", False)
        return self._reading is not None and self._ws.close_code is not None

    def _echoed(self) -> None:
        ws = self._ws
        if ws.exception() is None:
            self._closing.frame_received(close_frame(ws.close_code, None))

    def _settle_answer(self) -> None:
        """Tell of a close frame whose `receive()` was cut short."""
        answer = self._answer
        if answer is None:
            return
        if answer.to_close:
            self._closing.frame_received(close_frame(answer.code, None))
        self._closing.frame_sent(answer.frame)


def close_frame(code: int | None, reason: str | None) -> CloseFrame:
    """Return a received close frame; aiohttp says 0 for a frame without a code."""
    return CloseFrame(int(code or CloseCode.NO_STATUS_RCVD), reason or "")
