"""The observer of one `WebSocketResponse`: reports what it receives, sends and closes.

`ws.close_code` is no evidence. aiohttp 3.14 sets it to 1006 when a client does not echo a 4400, to
1000 when a close wakes a reader in another task, and to the client's code when it answers with
1000. It closes by itself, and never shows the frames that make it do so to an iterating reader.

So the object gets a derived class for the time of its handler, in which `_Observed` stands between
the application's class and aiohttp's:

* There it sees what aiohttp is asked for, when it is asked: after an overriding `close()` that
  waits, or that sends another code. It calls aiohttp first or last, and changes nothing.
* Its methods have aiohttp's signatures. Python refuses a call that aiohttp would refuse, before
  anything is recorded.
* A call that goes past it is recorded when it returns: `web.WebSocketResponse.close(ws)` in an
  overriding method, or a wrapper that the application has put on the object.
* An object whose class Python or the application refuses to change is not observed: the log says so
  once for each view class, and its closes are `other`.
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from inspect import getattr_static
from socket import socket
from types import CoroutineType
from typing import Any, Final, NamedTuple

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from strawberry_ws_otel._close import CloseCode, CloseFrame
from strawberry_ws_otel._connection import Connection
from strawberry_ws_otel._current import running_task
from strawberry_ws_otel._limits import utf8_size
from strawberry_ws_otel._strawberry.layers import DERIVED, CoroutineProxy, is_derived

_METHODS: Final = ("receive", "close", "send_str", "send_bytes", "send_frame")
"""The methods that are observed."""


class Transport:
    """The transport of a request, also after aiohttp has forgotten it."""

    __slots__ = ("_request", "_socket", "loss_cancels")

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        transport = request.transport
        # By one argument: the transport of aiohttp's mocked requests takes no more.
        self._socket: socket | None = (
            None if transport is None else transport.get_extra_info("socket")
        )
        server = getattr(request.protocol, "_manager", None)
        self.loss_cancels: bool = getattr(server, "handler_cancellation", True)
        """Whether aiohttp cancels the handler of a lost peer; if not, it is the server's own doing.

        aiohttp has no public way to ask; where the private one is gone, the transport decides.
        """

    @property
    def alive(self) -> bool:
        """Whether the socket is open.

        A shutdown of the server sets the request's transport to None just as a lost peer does, but
        closes the socket later. A transport that was gone from the start has shown no socket.
        """
        return self._socket is not None and self._socket.fileno() != -1

    @property
    def writable(self) -> bool:
        """Whether a frame that is sent now would be written."""
        transport = self._request.transport
        return transport is not None and not transport.is_closing()


class NotObservableError(Exception):
    """The socket cannot be observed; nothing of it was changed."""


class _Answer(NamedTuple):
    """A close frame that aiohttp wrote inside `receive()`; the result shows why."""

    frame: CloseFrame
    to_close: bool
    """Whether it answers a close frame: aiohttp passes `drain=False` then (since 3.9)."""
    code: int | None
    """`ws.close_code` at that moment."""


_receive: Final[Any] = web.WebSocketResponse.receive
_close: Final[Any] = web.WebSocketResponse.close
_send_str: Final[Any] = web.WebSocketResponse.send_str
_send_bytes: Final[Any] = web.WebSocketResponse.send_bytes
_send_frame: Final[Any] = web.WebSocketResponse.send_frame


class _Before(NamedTuple):
    """What a socket is before somebody calls `close()`."""

    is_closed: bool
    is_writable: bool
    by_aiohttp: bool
    """Whether it is aiohttp that closes, inside `receive()`."""
    code: int | None
    """`ws.close_code`."""
    is_read: bool
    """Whether somebody waits in `receive()`."""


@dataclass(slots=True, eq=False)
class _Asked:
    """A call of a `close()` of the application's, which may go past `_Observed`."""

    closes: int
    """How many closes of aiohttp's were seen before."""
    before: _Before
    code: int = CloseCode.NORMAL_CLOSURE
    message: bytes | str = b""
    drain: bool = True


class _Observed(web.WebSocketResponse):
    """The methods of aiohttp's that are observed.

    aiohttp's are looked up once: `send_str` is called for every message.
    """

    __slots__ = ()

    async def receive(self, timeout: float | None = None) -> WSMessage:  # noqa: ASYNC109  # aiohttp's
        observer: Observer | None = getattr(self, "_otel_observer", None)
        if observer is None or observer.reading is not None:
            # aiohttp refuses a second reader.
            message: WSMessage = await _receive(self, timeout)
            return message
        return await observer.receive(_receive(self, timeout))

    async def close(
        self,
        *,
        code: int = WSCloseCode.OK,
        message: bytes = b"",
        drain: bool = True,
    ) -> bool:
        observer: Observer | None = getattr(self, "_otel_observer", None)
        reads_echo = False
        if observer is not None:
            with observer.fuse:
                reads_echo = observer.close_called(code, message, drain=drain)
        closed: bool = await _close(self, code=code, message=message, drain=drain)
        if observer is not None and reads_echo:
            with observer.fuse:
                observer.echoed()
        return closed

    # A `with` costs as much as what it would guard.

    async def send_str(self, data: str, compress: int | None = None) -> None:
        observer: Observer | None = getattr(self, "_otel_observer", None)
        if observer is not None:
            observer.sends += 1
        try:
            await _send_str(self, data, compress)
        except BaseException as error:
            if observer is not None:
                observer.send_failed(data, error)
            raise
        if observer is not None:
            try:
                observer.traffic.bytes_sent += len(data) if data.isascii() else utf8_size(data)
            except Exception as error:  # noqa: BLE001  # the fuse's
                observer.fuse.blow(error)

    async def send_bytes(self, data: bytes, compress: int | None = None) -> None:
        observer: Observer | None = getattr(self, "_otel_observer", None)
        if observer is not None:
            observer.sends += 1
        try:
            await _send_bytes(self, data, compress)
        except BaseException as error:
            if observer is not None:
                observer.send_failed(data, error)
            raise
        if observer is not None:
            with observer.fuse:
                observer.traffic.bytes_sent += len(data)

    async def send_frame(
        self, message: bytes, opcode: WSMsgType, compress: int | None = None
    ) -> None:
        observer: Observer | None = getattr(self, "_otel_observer", None)
        if observer is not None and opcode == WSMsgType.CLOSE:
            with observer.fuse:
                observer.close_frame_called(message)
        await _send_frame(self, message, opcode, compress)


for _name in _METHODS:
    # Python names the method in the error for a call with wrong arguments.
    getattr(_Observed, _name).__qualname__ = getattr(web.WebSocketResponse, _name).__qualname__


def _from_outside(name: str, bind: Callable[[Any], Callable[..., Any]]) -> Callable[..., Any]:
    """Return a wrapper of the application's method, which may call aiohttp past `_Observed`.

    Args:
        name: of the method.
        bind: returns the application's, bound to an object.
    """

    def call(self: web.WebSocketResponse, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the application's
        # Wrong arguments are refused here and now, and a task that this makes is at work.
        reached = bind(self)(*args, **kwargs)
        observer: Observer | None = getattr(self, "_otel_observer", None)
        if observer is None or not isinstance(reached, CoroutineType):
            return reached
        match name:
            case "receive":
                run = partial(observer.receive_outside, reached)
            case "close":
                run = partial(observer.close_outside, reached, args, kwargs)
            case _:
                run = partial(observer.send_outside, reached, args, kwargs)
        return CoroutineProxy(partial(observer.outside, name, run, reached), reached)

    return call


class _Quiet(web.WebSocketResponse):
    """Keeps the derived class from the application's `__init_subclass__`."""

    __slots__ = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if not is_derived(cls):
            super().__init_subclass__(**kwargs)


_OUTSIDE: Final = ("receive", "close", "send_str", "send_bytes")
"""The methods that an application overrides."""


@lru_cache(maxsize=16)
def _observed(cls: type) -> type:
    """Return `cls` with `_Observed` between it and aiohttp's own class."""
    bases = (_Observed,) if cls is web.WebSocketResponse else (_Quiet, cls, _Observed)
    names: dict[str, Any] = {
        "__slots__": (),
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        DERIVED: True,
    }
    for name in _OUTSIDE:
        if getattr(cls, name) is not getattr(web.WebSocketResponse, name):
            # Bound as the application's class would: it may be any descriptor.
            names[name] = _from_outside(name, partial(_bound, getattr_static(cls, name)))
    return type(cls)(cls.__name__, bases, names)


def _bound(method: Any, ws: object) -> Callable[..., Any]:  # noqa: ANN401  # whatever a class can hold
    """Bind what a class holds as a method to an object."""
    bind = getattr(type(method), "__get__", None)
    return method if bind is None else bind(method, ws, type(ws))  # type: ignore[no-any-return]  # a method


class Observer:
    """Observes one `WebSocketResponse`, until it is removed."""

    __slots__ = (
        "_answer",
        "_asked",
        "_class",
        "_closes",
        "_connection",
        "_observed_class",
        "_outer",
        "_outside",
        "_receives",
        "_transport",
        "_was_closed",
        "_wrapped",
        "_ws",
        "fuse",
        "knows_end",
        "reading",
        "sends",
        "timed_out",
        "traffic",
    )

    def __init__(
        self, ws: web.WebSocketResponse, connection: Connection, transport: Transport
    ) -> None:
        """Observe `ws` from now on.

        Raises:
            NotObservableError: it cannot be observed.
        """
        self._ws = ws
        self._transport = transport
        self._connection = connection
        self.traffic = connection.traffic
        self.fuse = connection.fuse
        self.timed_out = False
        """Whether the last `receive()` timed out."""
        self.reading: Any = None
        """The call of aiohttp's `receive()` that has not returned yet."""
        self._outer: Any = None
        """The call of the application's own `receive()` that has not returned yet."""
        self._receives = 0
        self._closes = 0
        self._answer: _Answer | None = None
        self._asked: list[_Asked] = []
        """The calls of the application's own `close()` that are not reported yet."""
        self._outside: set[tuple[str, object]] = set()
        """The calls of the application's own methods: the name, and the task that awaits it."""
        self.sends = 0
        """The data frames that aiohttp was asked to send."""
        self._was_closed = False
        """Whether somebody had closed before the last `receive()`."""
        self.knows_end = False
        """Whether it is known what has closed the socket."""
        self._class = type(ws)
        self._wrapped: dict[str, tuple[Any, Any]] = {}
        """The attributes of the object that hide the methods: the application's, and ours."""
        try:
            attributes = vars(ws)
            self._observed_class = _observed(self._class)
            # Past whatever the application's class makes of it.
            object.__setattr__(ws, "__class__", self._observed_class)
        except Exception as error:
            raise NotObservableError(str(error)) from error
        if type(ws) is not self._observed_class:
            raise NotObservableError("its class was set, and is what it was")
        attributes["_otel_observer"] = self
        for name in _OUTSIDE:
            if name in attributes:
                wrapper = attributes[name]
                ours = partial(_from_outside(name, partial(_unbound, wrapper)), ws)
                attributes[name] = ours
                self._wrapped[name] = wrapper, ours

    def remove(self) -> None:
        """Give `ws` its class and its attributes back."""
        attributes = vars(self._ws)
        attributes.pop("_otel_observer", None)
        for name, (wrapper, ours) in self._wrapped.items():
            if attributes.get(name) is ours:
                attributes[name] = wrapper
        self._wrapped.clear()
        if type(self._ws) is self._observed_class:
            object.__setattr__(self._ws, "__class__", self._class)

    async def receive(self, reading: Any) -> WSMessage:  # noqa: ANN401  # a coroutine
        """Await aiohttp's `receive()`, and report its frame to the connection."""
        self._receives += 1
        self._answer = None
        self._was_closed = self._ws.closed
        self.timed_out = False
        self.reading = reading
        try:
            message: WSMessage = await reading
        except BaseException as error:
            with self.fuse:
                self.timed_out = isinstance(error, TimeoutError)
                self._settle_answer()
            raise
        finally:
            self.reading = None
        with self.fuse:
            self._frame_received(message)
        return message

    async def receive_outside(self, reading: Any) -> Any:  # noqa: ANN401  # the application's
        """Await the application's `receive()`; report its frame unless aiohttp's was seen."""
        if self._outer is not None:
            return await reading
        receives = self._receives
        self._answer = None
        self._was_closed = self._ws.closed
        self._outer = reading
        try:
            message = await reading
        except BaseException as error:
            if self._receives == receives:
                with self.fuse:
                    self.timed_out = isinstance(error, TimeoutError)
                    self._settle_answer()
            raise
        finally:
            self._outer = None
        if self._receives == receives:
            with self.fuse:
                self._frame_received(message)
        return message

    async def outside(
        self,
        name: str,
        run: Callable[[], Awaitable[Any]],
        reached: Awaitable[Any],
    ) -> Any:  # noqa: ANN401  # the application's
        """Await a call of the application's method `name`; the outermost reports it by `run`."""
        call = name, running_task()
        if call in self._outside:
            return await reached
        self._outside.add(call)
        try:
            return await run()
        finally:
            self._outside.discard(call)

    async def close_outside(
        self,
        closing: Awaitable[Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:  # noqa: ANN401  # the application's
        """Await the application's `close()`, and report it unless aiohttp's was seen."""
        asked: _Asked | None = None
        with self.fuse:
            named = dict(zip(("code", "message", "drain"), args, strict=False)) | kwargs
            known = {name: named[name] for name in named.keys() & {"code", "message", "drain"}}
            asked = _Asked(self._closes, self._before_close(), **known)
            self._asked.append(asked)
        has_returned = False
        try:
            returned = await closing
            has_returned = True
        finally:
            with self.fuse:
                if asked is not None and asked in self._asked:
                    self._closed_outside(asked, has_returned=has_returned)
        return returned

    def _closed_outside(self, asked: _Asked, *, has_returned: bool) -> None:
        """Report the application's close, unless aiohttp's was seen or nothing was closed."""
        self._asked.remove(asked)
        has_closed = has_returned if asked.before.is_closed else self._ws.closed
        if self._closes != asked.closes or not has_closed:
            return
        reads_echo = self._close_called(asked.before, asked.code, asked.message, drain=asked.drain)
        if reads_echo and has_returned:
            self.echoed()

    async def send_outside(
        self, sending: Awaitable[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:  # noqa: ANN401  # the application's
        """Await the application's send, and count it unless aiohttp's was seen."""
        sends = self.sends
        data = args[0] if args else kwargs.get("data", b"")
        try:
            returned = await sending
        except BaseException as error:
            if self.sends == sends:
                self.send_failed(data, error)
            raise
        if self.sends == sends:
            with self.fuse:
                self.traffic.bytes_sent += utf8_size(data)
        return returned

    def send_failed(self, data: str | bytes, error: BaseException) -> None:
        """Report a data frame that was not sent, or whose sender was cancelled."""
        with self.fuse:
            if isinstance(error, ConnectionError):
                self._connection.write_failed()
            elif isinstance(error, asyncio.CancelledError):
                # aiohttp 3.14 writes a frame before it waits for the buffer to drain. A frame that
                # waits for another to be compressed is not written yet, and looks the same.
                self.traffic.bytes_sent += utf8_size(data)
                self._connection.write_cancelled(error)

    def close_called(self, code: int, message: bytes | str, *, drain: bool) -> bool:
        """Report what a `close()` does, right before aiohttp does it without a pause.

        Returns:
            Whether aiohttp will read the echo.
        """
        self._closes += 1
        return self._close_called(self._before_close(), code, message, drain=drain)

    def _before_close(self) -> "_Before":
        ws = self._ws
        return _Before(
            ws.closed,
            self._transport.writable,
            self._closes_itself(),
            ws.close_code,
            is_read=self.reading is not None or self._outer is not None,
        )

    def _close_called(
        self, before: "_Before", code: int, message: bytes | str, *, drain: bool
    ) -> bool:
        if before.is_closed:
            if not before.by_aiohttp:
                self._connection.close_redundant()
            return False
        self.knows_end = True
        if not before.is_writable:
            if not before.by_aiohttp:
                self._connection.write_failed()
        else:
            try:
                frame = _frame_of(code, message)
            except Exception as error:  # noqa: BLE001  # whatever makes aiohttp fail to make it
                # aiohttp keeps the error, drops the transport, and writes nothing.
                self._connection.close_dropped(error)
                return False
            if before.by_aiohttp:
                self._answer = _Answer(frame, not drain, before.code)
                return False
            self._connection.close_sent(frame)
            # A reader in another task is woken by aiohttp, which then does not wait for the echo.
            return not before.is_read
        return False

    def close_frame_called(self, payload: bytes) -> None:
        """Report a close frame that the application sends by `send_frame()`."""
        if not self._ws.closed and self._transport.writable:
            code = int.from_bytes(payload[:2]) if payload else CloseCode.NO_STATUS_RCVD
            self._connection.close_sent(CloseFrame(code, payload[2:].decode("utf-8", "replace")))

    def echoed(self) -> None:
        """Report the client's answer to a close frame (RFC 6455 section 5.5.1), if one came."""
        ws = self._ws
        if ws.exception() is None:
            self._connection.close_received(close_frame(ws.close_code, None))

    def _frame_received(self, message: WSMessage) -> None:
        connection, answer = self._connection, self._answer
        match message.type:
            case WSMsgType.TEXT | WSMsgType.BINARY:
                connection.data_received(utf8_size(message.data))
            case WSMsgType.CLOSE:
                self.knows_end = True
                connection.close_received(close_frame(message.data, message.extra))
                if answer is not None:
                    connection.close_sent(answer.frame)
            case WSMsgType.ERROR:
                self.knows_end = True
                connection.error_received(message.data, answer.frame if answer else None)
            case WSMsgType.CLOSED:
                error = self._ws.exception()
                if self.knows_end or error is not None or not self._was_closed:
                    self.knows_end = True
                    connection.disconnected(error)
            case _:
                # CLOSING, which is aiohttp's own: somebody closes in another task.
                for asked in [each for each in self._asked if not each.before.is_closed][:1]:
                    self._closed_outside(asked, has_returned=False)

    def _closes_itself(self) -> bool:
        """Whether it is aiohttp that closes, inside `receive()`.

        It sets `close_code` before, and nobody else closes an open socket that has one. To compare
        tasks would cost every frame a system call, and `receive()` may run in one of its own.
        """
        reading = self._outer if self.reading is None else self.reading
        if self._ws.closed:
            return getattr(reading, "cr_running", False)
        return reading is not None and self._ws.close_code is not None

    def _settle_answer(self) -> None:
        """Report a close frame whose `receive()` was cancelled before it returned."""
        answer = self._answer
        if answer is None:
            return
        if answer.to_close:
            self._connection.close_received(close_frame(answer.code, None))
        self._connection.close_sent(answer.frame)


def _unbound(wrapper: Callable[..., Any], _ws: object) -> Callable[..., Any]:
    """Return an attribute of an object, which is bound to it already."""
    return wrapper


def _frame_of(code: int, message: bytes | str) -> CloseFrame:
    """Return the close frame that aiohttp writes, made as it makes it.

    Raises:
        Exception: aiohttp cannot make one.
    """
    payload = struct.pack("!H", code) + (message.encode() if isinstance(message, str) else message)
    return CloseFrame(int.from_bytes(payload[:2]), payload[2:].decode("utf-8", "replace"))


def close_frame(code: int | None, reason: str | None) -> CloseFrame:
    """Return a received close frame; aiohttp says 0 for a frame without a code."""
    return CloseFrame(int(code or CloseCode.NO_STATUS_RCVD), reason or "")
