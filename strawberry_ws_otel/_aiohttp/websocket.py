"""The observer of one `WebSocketResponse`: reports what it receives, sends and closes.

The attributes of a socket do not show who closed it. `ws.close_code` of aiohttp 3.14 is 1006 if the
client does not echo a 4400, 1000 if the close wakes a reader in another task, and the client's code
if the client answers with 1000. aiohttp also closes by itself, inside `receive()`, and a reader
that iterates never gets the frame that made it do so.

So a socket has another class while its handler runs. Its bases are the application's class and,
next to aiohttp's own, `_Observed`:

* `_Observed` sees what aiohttp is asked for, when it is asked: after an overriding `close()` that
  waits, or that sends another code. It calls aiohttp first or last, and changes nothing.
* Its methods have aiohttp's signatures. Python refuses a call that aiohttp would refuse, before
  anything is recorded.
* The application's own methods can bypass it: `web.WebSocketResponse.close(ws)` in an overriding
  method, or in a wrapper that is an attribute of the object. They are called overrides here, and
  wrapped. If `_Observed` saw nothing of a call, it is reported when it returns.
* An object whose class Python or the application refuses to change is not observed: the log says so
  once for each view class, and its closes are `other`.
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from inspect import getattr_static
from socket import socket
from types import CoroutineType
from typing import Any, Final, NamedTuple

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from strawberry_ws_otel._close import CloseCode, CloseFrame
from strawberry_ws_otel._connection import Connection
from strawberry_ws_otel._counts import Traffic
from strawberry_ws_otel._current import running_task
from strawberry_ws_otel._fuse import Fuse
from strawberry_ws_otel._limits import utf8_size
from strawberry_ws_otel._strawberry.layers import DERIVED, StandIn, is_derived


class Transport:
    """The transport of a request, also after aiohttp has forgotten it."""

    __slots__ = ("_request", "_socket", "handler_cancellation")

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        transport = request.transport
        # By one argument: the transport of aiohttp's mocked requests takes no more.
        self._socket: socket | None = (
            None if transport is None else transport.get_extra_info("socket")
        )
        # Private, as aiohttp has no public way to ask. Where it is gone, the socket decides.
        server = getattr(request.protocol, "_manager", None)
        self.handler_cancellation: bool = getattr(server, "handler_cancellation", True)
        """Whether aiohttp cancels the handler of a client that is gone, or only a shutdown does."""

    @property
    def alive(self) -> bool:
        """Whether the socket is open.

        A shutdown of the server sets the request's transport to None just as a lost client does,
        but closes the socket later. A transport that was gone from the start has shown no socket.
        """
        return self._socket is not None and self._socket.fileno() != -1

    @property
    def writable(self) -> bool:
        """Whether a frame that is sent now would be written."""
        transport = self._request.transport
        return transport is not None and not transport.is_closing()


class NotObservableError(Exception):
    """The socket cannot be observed; nothing of it was changed."""


# --- The class of an observed socket ---------------------------------------------------------

# Looked up once: `send_str` is called for every message.
_receive: Final[Any] = web.WebSocketResponse.receive
_close: Final[Any] = web.WebSocketResponse.close
_send_str: Final[Any] = web.WebSocketResponse.send_str
_send_bytes: Final[Any] = web.WebSocketResponse.send_bytes
_send_frame: Final[Any] = web.WebSocketResponse.send_frame


class _Observed(web.WebSocketResponse):
    """The methods of aiohttp's that are observed.

    The application may keep one of them, bound, until the observer is removed and its attribute
    with it. It then does what aiohttp's does.
    """

    __slots__ = ()

    async def receive(self, timeout: float | None = None) -> WSMessage:  # noqa: ASYNC109  # aiohttp's
        observer: Observer | None = getattr(self, "_otel_observer", None)
        receiving = _receive(self, timeout)
        message: WSMessage = await (
            receiving if observer is None else observer.receive(receiving, is_override=False)
        )
        return message

    async def close(
        self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True
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

    async def send_str(self, data: str, compress: int | None = None) -> None:
        observer: Observer | None = getattr(self, "_otel_observer", None)
        if observer is None:
            await _send_str(self, data, compress)
            return
        observer.sends += 1
        try:
            await _send_str(self, data, compress)
        except BaseException as error:
            observer.send_failed(data, error)
            raise
        # Without `with`, which costs as much as what it would guard.
        try:
            observer.traffic.bytes_sent += len(data) if data.isascii() else utf8_size(data)
        except Exception as error:  # noqa: BLE001  # the fuse's
            observer.fuse.blow(error)

    async def send_bytes(self, data: bytes, compress: int | None = None) -> None:
        observer: Observer | None = getattr(self, "_otel_observer", None)
        if observer is None:
            await _send_bytes(self, data, compress)
            return
        observer.sends += 1
        try:
            await _send_bytes(self, data, compress)
        except BaseException as error:
            observer.send_failed(data, error)
            raise
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


_OVERRIDABLE: Final = ("receive", "close", "send_str", "send_bytes")
"""The methods whose overrides are wrapped."""

for _name in (*_OVERRIDABLE, "send_frame"):
    # Python names the method in the error for a call with wrong arguments.
    getattr(_Observed, _name).__qualname__ = getattr(web.WebSocketResponse, _name).__qualname__


class _SkipInitSubclass(web.WebSocketResponse):
    """Hides the class of an observed socket from the application's `__init_subclass__`."""

    __slots__ = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if not is_derived(cls):
            super().__init_subclass__(**kwargs)


@lru_cache(maxsize=16)  # an application may make classes without end
def _observed_class(cls: type) -> type:
    """Return `cls` with `_Observed` between it and aiohttp's own class."""
    bases = (_Observed,) if cls is web.WebSocketResponse else (_SkipInitSubclass, cls, _Observed)
    names: dict[str, Any] = {
        # An object can change its class to one of the same layout only.
        "__slots__": (),
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        DERIVED: True,
    }
    for name in _OVERRIDABLE:
        if getattr(cls, name) is not getattr(web.WebSocketResponse, name):
            names[name] = _wrap(name, getattr_static(cls, name))
    return type(cls)(cls.__name__, bases, names)


def _wrap(name: str, override: Any) -> Callable[..., Any]:  # noqa: ANN401  # whatever a class can hold
    """Wrap the override `name`, any descriptor, to observe the coroutine that it returns."""
    bind = getattr(type(override), "__get__", None)

    def call(ws: web.WebSocketResponse, /, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the application's
        bound = override if bind is None else bind(override, ws, type(ws))
        # First: wrong arguments raise here and now, and what is no coroutine, as a task, begins.
        called = bound(*args, **kwargs)
        observer: Observer | None = getattr(ws, "_otel_observer", None)
        if observer is None or not isinstance(called, CoroutineType):
            return called
        return StandIn(partial(observer.override_called, name, called, args, kwargs), called)

    return call


# --- The observer ----------------------------------------------------------------------------


class _Answer(NamedTuple):
    """The close frame that aiohttp wrote by itself inside a `receive()` that has not returned."""

    sent: CloseFrame
    received: CloseFrame | None
    """The client's close frame, if that is what it answers; its reason is not known yet."""


@dataclass(slots=True, eq=False)
class _CloseCall:
    """A call of `close()`, and the socket before it."""

    code: int
    message: bytes | str
    drain: bool
    was_closed: bool
    was_writable: bool
    close_code: int | None
    """`ws.close_code`."""
    has_reader: bool
    """Whether a `receive()` waits."""
    by_aiohttp: bool
    """Whether aiohttp closes by itself, inside `receive()`."""


@dataclass(slots=True, eq=False, repr=False)
class Observer:
    """Observes one `WebSocketResponse`, from its making until it is removed.

    Raises:
        NotObservableError: the socket cannot be observed.
    """

    _ws: web.WebSocketResponse
    _connection: Connection
    _transport: Transport
    fuse: Fuse = field(init=False)
    traffic: Traffic = field(init=False)
    sends: int = 0
    """The data frames that aiohttp was asked to send."""
    timed_out: bool = False
    """Whether the last `receive()` timed out."""
    knows_end: bool = False
    """Whether it is known what has closed the socket."""
    _class: type = field(init=False)
    """The application's class."""
    _wrapped: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """The attributes of the object that are overrides: the application's, and the wrapper."""
    _override_calls: set[tuple[str, object]] = field(default_factory=set)
    """The calls of overrides that have not returned: the name, and the task that awaits it."""
    _unseen_closes: list[_CloseCall] = field(default_factory=list)
    """The calls of an overriding `close()` that have not called `_Observed.close()` (yet)."""
    _receiving: Any = None
    """The `receive()` that has not returned: an override until it calls `_Observed.receive()`."""
    _is_override: bool = False
    """Whether it is an override."""
    _was_closed: bool = False
    """Whether the socket was closed before the last `receive()`."""
    _answer: _Answer | None = None

    def __post_init__(self) -> None:
        ws, self._class = self._ws, type(self._ws)
        self.fuse, self.traffic = self._connection.fuse, self._connection.traffic
        try:
            attributes = vars(ws)
            observed = _observed_class(self._class)
            # Not `ws.__class__ = observed`: the application may have a `__setattr__` of its own.
            object.__setattr__(ws, "__class__", observed)
        except Exception as error:
            raise NotObservableError(str(error)) from error
        if type(ws) is not observed:
            raise NotObservableError("its class was set, and is what it was")
        attributes["_otel_observer"] = self
        for name in _OVERRIDABLE:
            if name in attributes:
                override = attributes[name]
                # An attribute is bound already, like a static method.
                attributes[name] = wrapper = partial(_wrap(name, staticmethod(override)), ws)
                self._wrapped[name] = override, wrapper

    def remove(self) -> None:
        """Give the socket its class and attributes back, unless the application replaced them."""
        attributes = vars(self._ws)
        attributes.pop("_otel_observer", None)
        for name, (override, wrapper) in self._wrapped.items():
            if attributes.get(name) is wrapper:
                attributes[name] = override
        self._wrapped.clear()
        if is_derived(type(self._ws)):
            object.__setattr__(self._ws, "__class__", self._class)

    # --- Receiving ---------------------------------------------------------------------------

    async def receive(self, receiving: Any, *, is_override: bool) -> Any:  # noqa: ANN401  # a coroutine
        """Await a `receive()` and report its frame, unless it is an override and aiohttp's was."""
        if self._receiving is not None and (is_override or not self._is_override):
            # A second reader, which aiohttp refuses.
            return await receiving
        self._receiving, self._is_override = receiving, is_override
        self._answer = None
        self._was_closed = self._ws.closed
        self.timed_out = False
        try:
            message = await receiving
        except BaseException as error:
            if self._receiving is receiving:
                with self.fuse:
                    self.timed_out = isinstance(error, TimeoutError)
                    self._report_answer()
            raise
        else:
            if self._receiving is receiving:
                with self.fuse:
                    self._frame_received(message)
            return message
        finally:
            if self._receiving is receiving:
                self._receiving = None

    def _frame_received(self, message: WSMessage) -> None:
        connection, answer = self._connection, self._answer
        match message.type:
            case WSMsgType.TEXT | WSMsgType.BINARY:
                connection.data_received(utf8_size(message.data))
            case WSMsgType.CLOSE:
                self.knows_end = True
                connection.close_received(_received_close(message.data, message.extra))
                if answer is not None:
                    connection.close_sent(answer.sent)
            case WSMsgType.ERROR:
                self.knows_end = True
                connection.error_received(message.data, answer.sent if answer else None)
            case WSMsgType.CLOSED:
                # The end of the stream; but aiohttp also returns it wherever a closed socket is
                # read, and then it says nothing of a close that was not seen.
                error = self._ws.exception()
                if self.knows_end or error is not None or not self._was_closed:
                    self.knows_end = True
                    connection.disconnected(error)
            case _:
                # CLOSING, by which aiohttp wakes this reader: another task is closing.
                call = next((each for each in self._unseen_closes if not each.was_closed), None)
                if call is not None:
                    self._close_unseen(call, has_returned=False)

    def _report_answer(self) -> None:
        """Report the close frames of a `receive()` that was cancelled before it returned."""
        if self._answer is not None:
            if self._answer.received is not None:
                self._connection.close_received(self._answer.received)
            self._connection.close_sent(self._answer.sent)

    # --- Closing -----------------------------------------------------------------------------

    def close_called(self, code: int, message: bytes | str, *, drain: bool) -> bool:
        """Report what a `close()` does, right before aiohttp does it without a pause.

        Returns:
            Whether aiohttp will read the echo.
        """
        # Any override that has not returned is, or waits for, this call.
        self._unseen_closes.clear()
        return self._report_close(self._close_call(code, message, drain=drain))

    def close_frame_called(self, payload: bytes) -> None:
        """Report a close frame that the application sends by `send_frame()`."""
        if not self._ws.closed and self._transport.writable:
            self._connection.close_sent(_parse_close(payload))

    def echoed(self) -> None:
        """Report the client's answer to a close frame (RFC 6455 section 5.5.1), if one came."""
        if self._ws.exception() is None:
            self._connection.close_received(_received_close(self._ws.close_code, None))

    def _close_call(self, code: int, message: bytes | str, *, drain: bool) -> _CloseCall:
        ws = self._ws
        return _CloseCall(
            code,
            message,
            drain,
            was_closed=ws.closed,
            was_writable=self._transport.writable,
            close_code=ws.close_code,
            has_reader=self._receiving is not None,
            by_aiohttp=self._is_aiohttp_closing(),
        )

    def _is_aiohttp_closing(self) -> bool:
        """Whether aiohttp closes by itself, inside `receive()`.

        It sets the `close_code` of an open socket first, and nothing else does. On a closed socket
        its `receive()` is the coroutine that runs. To compare tasks would cost every frame a system
        call, and the application may receive in a task of its own.
        """
        if self._ws.closed:
            return getattr(self._receiving, "cr_running", False)
        return self._receiving is not None and self._ws.close_code is not None

    def _report_close(self, call: _CloseCall) -> bool:
        """Report a close, and return whether aiohttp will read the echo."""
        if call.was_closed:
            if not call.by_aiohttp:
                self._connection.close_redundant()
            return False
        self.knows_end = True
        if not call.was_writable:
            if not call.by_aiohttp:
                self._connection.write_failed()
            return False
        try:
            # As aiohttp makes it.
            text = call.message
            frame = _parse_close(
                struct.pack("!H", call.code) + (text.encode() if isinstance(text, str) else text)
            )
        except Exception as error:  # noqa: BLE001  # whatever makes aiohttp fail to make it
            # aiohttp keeps the error, drops the transport, and writes nothing.
            self._connection.close_dropped(error)
            return False
        if call.by_aiohttp:
            # Reported when `receive()` returns, which shows why. aiohttp (since 3.9) does not drain
            # when it answers a close frame.
            received = None if call.drain else _received_close(call.close_code, None)
            self._answer = _Answer(frame, received)
            return False
        self._connection.close_sent(frame)
        # A reader in another task is woken by aiohttp, which then does not wait for the echo.
        return not call.has_reader

    # --- Overrides ---------------------------------------------------------------------------

    async def override_called(
        self, name: str, called: Awaitable[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:  # noqa: ANN401  # the application's
        """Await an override; one that is called by another of its name is part of that call."""
        call = name, running_task()
        if call in self._override_calls:
            return await called
        self._override_calls.add(call)
        try:
            match name:
                case "receive":
                    return await self.receive(called, is_override=True)
                case "close":
                    return await self._close_override(called, args, kwargs)
                case _:
                    return await self._send_override(called, args, kwargs)
        finally:
            self._override_calls.discard(call)

    async def _close_override(
        self, closing: Awaitable[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:  # noqa: ANN401  # the application's
        """Await an overriding `close()`, and report it unless `_Observed` saw it."""
        call: _CloseCall | None = None
        with self.fuse:
            named = dict(zip(("code", "message", "drain"), args, strict=False)) | kwargs
            call = self._close_call(
                named.get("code", CloseCode.NORMAL_CLOSURE),
                named.get("message", b""),
                drain=named.get("drain", True),
            )
            self._unseen_closes.append(call)
        has_returned = False
        try:
            returned = await closing
            has_returned = True
        finally:
            with self.fuse:
                if call in self._unseen_closes:
                    self._close_unseen(call, has_returned=has_returned)
        return returned

    def _close_unseen(self, call: _CloseCall, *, has_returned: bool) -> None:
        """Report a close that `_Observed` did not see, unless nothing was closed."""
        self._unseen_closes.remove(call)
        if not (has_returned if call.was_closed else self._ws.closed):
            return
        reads_echo = self._report_close(call)
        if reads_echo and has_returned:
            self.echoed()

    async def _send_override(
        self, sending: Awaitable[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:  # noqa: ANN401  # the application's
        """Await an overriding send, and count it unless `_Observed` saw it."""
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


def _parse_close(payload: bytes) -> CloseFrame:
    """Read the payload of a close frame (RFC 6455 section 5.5.1)."""
    code = int.from_bytes(payload[:2]) if payload else CloseCode.NO_STATUS_RCVD
    return CloseFrame(code, payload[2:].decode("utf-8", "replace"))


def _received_close(code: int | None, reason: str | None) -> CloseFrame:
    """Return a received close frame; aiohttp's code is 0 for a frame without one."""
    return CloseFrame(int(code or CloseCode.NO_STATUS_RCVD), reason or "")
