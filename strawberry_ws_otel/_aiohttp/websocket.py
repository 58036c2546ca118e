"""The observer of one `WebSocketResponse`: reports what it receives, sends and closes.

The attributes of a socket do not show who closed it. `ws.close_code` of aiohttp 3.14 is 1006 if the
client does not echo a 4400, 1000 if the close wakes a reader in another task, and the client's code
if the client answers with 1000. aiohttp also closes by itself, inside `receive()`, and a reader
that iterates never gets the frame that made it do so.

So the socket changes its class while its handler runs: to one derived from its own, in which
`_Observed` is the next base before aiohttp's class.

* `_Observed` sees what aiohttp is asked for, when it is asked: after an overriding `close()` that
  waits, or that sends another code. It hands on every call and every result unchanged.
* Its methods have aiohttp's signatures: a call that aiohttp would refuse raises before anything is
  recorded.
* Overrides, which are the application's methods and the attributes of the object that hide them,
  may bypass it: `web.WebSocketResponse.close(ws)`. So they are wrapped. If `_Observed` saw nothing
  of a call, the call is reported when it returns.
* A send waits for a full transport buffer in one place only: the writer of the socket awaits the
  `_drain_helper()` of its protocol (aiohttp 3.11 and 3.14; private). So the writer gets a stand-in
  for the protocol. It is asked once for every 64 KiB, and costs a message nothing.
* An object whose class Python or the application refuses to change is not observed: the log says so
  once for each view class, and its closes are `other`.
"""

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from inspect import getattr_static
from socket import socket
from types import CoroutineType
from typing import Any, Final, cast

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from strawberry_ws_otel._close import CloseCode, CloseFrame
from strawberry_ws_otel._connection import Connection
from strawberry_ws_otel._counts import SendWaits, Traffic
from strawberry_ws_otel._current import running_task
from strawberry_ws_otel._fuse import Fuse
from strawberry_ws_otel._limits import utf8_size
from strawberry_ws_otel._strawberry.layers import DERIVED, CoroutineProxy, is_derived


class Transport:
    """The transport of a request, also after aiohttp has forgotten it."""

    __slots__ = ("_request", "_socket", "handler_cancellation")

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        transport = request.transport
        # By one argument: the transport of aiohttp's mocked requests takes no more.
        self._socket: socket | None = transport.get_extra_info("socket") if transport else None
        # Private: aiohttp has no public way to ask. Without it, the socket decides.
        server = getattr(request.protocol, "_manager", None)
        self.handler_cancellation: bool = getattr(server, "handler_cancellation", True)
        """Whether aiohttp cancels the handler of a lost client. If not, only a shutdown does."""

    @property
    def alive(self) -> bool:
        """Whether the socket is open.

        A shutdown drops the transport as a lost client does, but closes the socket later.
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

# Looked up once, as they are called for every message.
_receive: Final[Any] = web.WebSocketResponse.receive
_send_str: Final = web.WebSocketResponse.send_str
_send_bytes: Final = web.WebSocketResponse.send_bytes


class _Observed(web.WebSocketResponse):
    """The methods of aiohttp's that are observed, as long as the object has an observer.

    The application may keep a bound method longer.
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
        reads_echo = observer is not None and observer.close_called(code, message, drain=drain)
        closed = await web.WebSocketResponse.close(self, code=code, message=message, drain=drain)
        if observer is not None and reads_echo:
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
            traffic = observer.traffic
            traffic.bytes_sent += len(data) if data.isascii() else utf8_size(data)
            traffic.sent_at = time.monotonic()
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
        observer.data_sent(data)

    async def send_frame(
        self, message: bytes, opcode: WSMsgType, compress: int | None = None
    ) -> None:
        observer: Observer | None = getattr(self, "_otel_observer", None)
        if observer is not None and opcode == WSMsgType.CLOSE:
            observer.close_frame_called(message)
        await web.WebSocketResponse.send_frame(self, message, opcode, compress)


_OVERRIDABLE: Final = ("receive", "close", "send_str", "send_bytes")

for _name in (*_OVERRIDABLE, "send_frame"):
    # Python names the method in the error for a call with wrong arguments.
    getattr(_Observed, _name).__qualname__ = getattr(web.WebSocketResponse, _name).__qualname__


class _SkipInitSubclass(web.WebSocketResponse):
    """Hides the derived class from the application's `__init_subclass__`, which may refuse it."""

    __slots__ = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if not is_derived(cls):
            super().__init_subclass__(**kwargs)


# Bounded: an application may make a class for each request.
@lru_cache(maxsize=16)
def _observed_class(cls: type) -> type:
    """Derive the class of observed sockets from the application's, or from aiohttp's."""
    bases = (_Observed,) if cls is web.WebSocketResponse else (_SkipInitSubclass, cls, _Observed)
    names = {name: getattr(cls, name) for name in ("__module__", "__qualname__", "__doc__")}
    # Without slots, its layout is that of `cls`: Python assigns no other class to an object.
    names |= {"__slots__": (), DERIVED: True}
    for name in _OVERRIDABLE:
        if getattr(cls, name) is not getattr(web.WebSocketResponse, name):
            names[name] = _wrap(name, getattr_static(cls, name))
    return type(cls)(cls.__name__, bases, names)


def _wrap(name: str, override: Any) -> Callable[..., Any]:  # noqa: ANN401  # whatever a class can hold
    """Wrap the override `name`, any descriptor, to observe the coroutine that it returns."""
    bind = getattr(type(override), "__get__", None)

    def call(ws: web.WebSocketResponse, /, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the application's
        bound = override if bind is None else bind(override, ws, type(ws))
        # Called at once: wrong arguments raise here, and what is no coroutine begins, as a task.
        result = bound(*args, **kwargs)
        observer: Observer | None = getattr(ws, "_otel_observer", None)
        if observer is None or not isinstance(result, CoroutineType):
            return result
        return CoroutineProxy(partial(observer.run_override, name, result, args, kwargs), result)

    return call


# --- Sends that wait -------------------------------------------------------------------------


class _ObservedProtocol:
    """Stands for aiohttp's protocol in the writer of one socket, which asks it for two things.

    Whether writing is paused, and to wait until it is not. What else a send waits for, it waits for
    elsewhere: compression in an executor, and the lock of another sender who compresses.
    """

    __slots__ = ("_connection", "_protocol", "_writer")

    def __init__(self, ws: web.WebSocketResponse, connection: Connection) -> None:
        """Take the place of the protocol.

        Raises:
            AttributeError: the writer of this version of aiohttp waits in another way.
        """
        self._connection = connection
        self._writer = cast("Any", ws)._writer  # noqa: SLF001  # there is no public way
        self._protocol: Any = self._writer.protocol
        for name in ("_paused", "_drain_helper", "connected"):
            getattr(self._protocol, name)
        self._writer.protocol = self

    def remove(self) -> None:
        """Give the writer its protocol back, unless it has another one."""
        if self._writer.protocol is self:
            self._writer.protocol = self._protocol

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # the protocol's
        """Return what the protocol has."""
        return getattr(self._protocol, name)

    async def _drain_helper(self) -> None:
        protocol, fuse = self._protocol, self._connection.fuse
        waits: tuple[SendWaits, ...] = ()
        with fuse:
            # aiohttp raises if the transport is gone, and returns if writing is not paused.
            if protocol._paused and protocol.connected:  # noqa: SLF001
                waits = self._connection.send_blocked()
        try:
            await protocol._drain_helper()  # noqa: SLF001
        finally:
            with fuse:
                self._connection.send_unblocked(waits)


# --- The observer ----------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _CloseCall:
    """A call of `close()`, and the socket before it."""

    frame: CloseFrame | Exception
    """What aiohttp writes, or why it cannot make a frame of the arguments."""
    by_aiohttp: bool
    """Whether aiohttp closes by itself, inside `receive()`."""
    answers: CloseFrame | None
    """The client's close frame, if aiohttp answers one; its reason is not known yet."""
    was_closed: bool
    was_writable: bool
    had_reader: bool


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
    close_is_known: bool = False
    """Whether the connection knows what closed the socket."""
    _protocol: _ObservedProtocol | None = None
    _application_class: type = field(init=False)
    _wrapped: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """The attributes of the object that are overrides: the application's, and its wrapper."""
    _running_overrides: set[tuple[str, object]] = field(default_factory=set)
    """The calls of overrides that have not returned: the name, and the task that awaits it."""
    _unseen_closes: list[_CloseCall] = field(default_factory=list)
    """The calls of an overriding `close()` that have not called `_Observed.close()` yet."""
    _receiving: Any = None
    """The `receive()` that has not returned: an override until it calls `_Observed.receive()`."""
    _receiving_override: bool = False
    _was_closed: bool = False
    """Whether the socket was closed before the last `receive()`."""
    _answer: CloseFrame | None = None
    """The close frame that aiohttp wrote by itself, inside the last `receive()`."""
    _answered: CloseFrame | None = None
    """The client's close frame, if that is what it answers."""

    def __post_init__(self) -> None:
        ws, self._application_class = self._ws, type(self._ws)
        self.fuse, self.traffic = self._connection.fuse, self._connection.traffic
        try:
            attributes = vars(ws)
            observed = _observed_class(self._application_class)
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
                # It is bound already, as a static method would be.
                attributes[name] = wrapper = partial(_wrap(name, staticmethod(override)), ws)
                self._wrapped[name] = override, wrapper
        # Of another version of aiohttp, or an application's.
        with suppress(Exception):
            self._protocol = _ObservedProtocol(ws, self._connection)

    @property
    def sees_waits(self) -> bool:
        """Whether it sees that a send waits for a full transport buffer."""
        return self._protocol is not None

    def remove(self) -> None:
        """Give the socket its class and attributes back, unless the application replaced them."""
        if self._protocol is not None:
            self._protocol.remove()
        attributes = vars(self._ws)
        attributes.pop("_otel_observer", None)
        for name, (override, wrapper) in self._wrapped.items():
            if attributes.get(name) is wrapper:
                attributes[name] = override
        if is_derived(type(self._ws)):
            object.__setattr__(self._ws, "__class__", self._application_class)

    async def receive(self, receiving: Any, *, is_override: bool) -> Any:  # noqa: ANN401  # a coroutine
        """Await a `receive()`, and report its frame. An override leaves that to `_Observed`'s."""
        if self._receiving is not None and (is_override or not self._receiving_override):
            # A second reader, which aiohttp refuses.
            return await receiving
        self._receiving, self._receiving_override = receiving, is_override
        self._answer = self._answered = None
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
                self.close_is_known = True
                connection.close_received(_received_close(message.data, message.extra))
                if answer is not None:
                    connection.close_sent(answer)
            case WSMsgType.ERROR:
                self.close_is_known = True
                connection.error_received(message.data, answer)
            case WSMsgType.CLOSED:
                # The end of the stream. aiohttp also returns it to every reader of a closed socket:
                # then it says nothing about a close that was not seen.
                error = self._ws.exception()
                if self.close_is_known or error is not None or not self._was_closed:
                    self.close_is_known = True
                    connection.disconnected(error)
            case WSMsgType.CLOSING:
                # Not a frame: aiohttp wakes a reader with it, as another task is closing.
                call = next((each for each in self._unseen_closes if not each.was_closed), None)
                if call is not None:
                    self._close_unseen(call, has_returned=False)

    def _report_answer(self) -> None:
        """Report the close frames of a `receive()` that was cancelled before it returned."""
        if self._answer is not None:
            if self._answered is not None:
                self._connection.close_received(self._answered)
            self._connection.close_sent(self._answer)

    def close_called(self, code: int, message: bytes | str, *, drain: bool) -> bool:
        """Report a `close()` right before aiohttp does it; return whether it will read the echo."""
        with self.fuse:
            # A running override has made this call, or finds the socket closed later.
            self._unseen_closes.clear()
            return self._report_close(self._before_close(code, message, drain=drain))
        return False

    def close_frame_called(self, payload: bytes) -> None:
        """Report a close frame that the application sends by `send_frame()`."""
        with self.fuse:
            if not self._ws.closed and self._transport.writable:
                self._connection.close_sent(_parse_close(payload))

    def echoed(self) -> None:
        """Report the client's answer to a close frame (RFC 6455 section 5.5.1), if one came."""
        with self.fuse:
            if self._ws.exception() is None:
                self._connection.close_received(_received_close(self._ws.close_code))

    def _before_close(self, code: int, message: bytes | str, *, drain: bool) -> _CloseCall:
        ws, by_aiohttp = self._ws, self._is_aiohttp_closing()
        # aiohttp (since 3.9) does not drain when it answers a close frame, and only then.
        is_answer = by_aiohttp and not drain
        return _CloseCall(
            frame=_written_close(code, message),
            by_aiohttp=by_aiohttp,
            answers=_received_close(ws.close_code) if is_answer else None,
            was_closed=ws.closed,
            was_writable=self._transport.writable,
            had_reader=self._receiving is not None,
        )

    def _is_aiohttp_closing(self) -> bool:
        """Whether aiohttp closes by itself, inside `receive()`.

        First it sets the `close_code` of an open socket; nothing else does. If the socket is closed
        already, `receive()` is the coroutine that runs. A comparison of tasks would need a system
        call for every frame, and fail if the application receives in a task of its own.
        """
        if self._ws.closed:
            return getattr(self._receiving, "cr_running", False)
        return self._receiving is not None and self._ws.close_code is not None

    def _report_close(self, call: _CloseCall) -> bool:
        """Report a close; return whether aiohttp will read the echo."""
        if call.was_closed:
            if not call.by_aiohttp:
                self._connection.close_redundant()
            return False
        self.close_is_known = True
        if not call.was_writable:
            if not call.by_aiohttp:
                self._connection.write_failed()
        elif isinstance(call.frame, Exception):
            # aiohttp keeps the error, drops the transport, and writes nothing.
            self._connection.close_dropped(call.frame)
        elif call.by_aiohttp:
            # Reported when `receive()` returns the message that shows why aiohttp closed.
            self._answer, self._answered = call.frame, call.answers
        else:
            self._connection.close_sent(call.frame)
            # aiohttp wakes a reader in another task, and then does not wait for the echo.
            return not call.had_reader
        return False

    async def run_override(
        self, name: str, called: Awaitable[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:  # noqa: ANN401  # the application's
        """Await an override. One that calls another override of its name is observed once."""
        call = name, running_task()
        if call in self._running_overrides:
            return await called
        self._running_overrides.add(call)
        try:
            match name:
                case "receive":
                    return await self.receive(called, is_override=True)
                case "close":
                    return await self._close_override(called, args, kwargs)
                case _:
                    return await self._send_override(called, args, kwargs)
        finally:
            self._running_overrides.discard(call)

    async def _close_override(
        self, closing: Awaitable[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:  # noqa: ANN401  # the application's
        """Await an overriding `close()`, and report it unless `_Observed` saw it."""
        call: _CloseCall | None = None
        with self.fuse:
            # The arguments and defaults of aiohttp's. What the override passes on is not seen.
            defaults = {"code": CloseCode.NORMAL_CLOSURE, "message": b"", "drain": True}
            passed: dict[str, Any] = defaults | dict(zip(defaults, args, strict=False)) | kwargs
            call = self._before_close(passed["code"], passed["message"], drain=passed["drain"])
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
        """Report a close that `_Observed` did not see, if it has closed anything."""
        self._unseen_closes.remove(call)
        has_closed = has_returned if call.was_closed else self._ws.closed
        if has_closed and self._report_close(call) and has_returned:
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
            self.data_sent(data)
        return returned

    def data_sent(self, data: str | bytes) -> None:
        """Report a data frame that was sent."""
        with self.fuse:
            self._connection.data_sent(utf8_size(data))

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


def _written_close(code: int, message: bytes | str) -> CloseFrame | Exception:
    """Make a close frame as aiohttp does; return what that fails with."""
    try:
        reason = message.encode() if isinstance(message, str) else message
        payload = struct.pack("!H", code) + reason
    except Exception as error:  # noqa: BLE001  # whatever the application passes
        return error
    return _parse_close(payload)


def _received_close(code: int | None, reason: str | None = None) -> CloseFrame:
    """Return a received close frame; aiohttp's code is 0 for a frame without one."""
    return CloseFrame(int(code or CloseCode.NO_STATUS_RCVD), reason or "")
