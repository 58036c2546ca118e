"""The recording layer over a view's WebSocket adapter: it sees parsed messages."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from functools import lru_cache, partial
from types import MethodType
from typing import Any, Final, cast

from aiohttp import web
from opentelemetry.context import attach
from strawberry.http.async_base_view import AsyncBaseHTTPView, AsyncWebSocketAdapter
from strawberry.http.exceptions import NonJsonMessageReceived, NonTextMessageReceived

from strawberry_ws_otel._close import CloseCode, CloseFrame
from strawberry_ws_otel._conversation import Conversation
from strawberry_ws_otel._failsafe import Fuse
from strawberry_ws_otel._socket import opened
from strawberry_ws_otel._unwatched import Unwatched

_UNREADABLE: Final = (
    NonJsonMessageReceived,
    NonTextMessageReceived,
    RecursionError,
    ValueError,
)
"""What the host's reader raises because of a frame of which it can make no message."""


class _HandedOn(AsyncGenerator[object, object]):
    """The messages of a connection, on their way to the host.

    No generator of its own: the loop would keep books of that one, too, for a good part of what a
    whole connection costs, and the host closes its own as if nobody stood between.
    """

    __slots__ = ("_messages",)

    def __init__(self, messages: AsyncGenerator[object, None]) -> None:
        self._messages: Any = aiter(messages)  # A generator, unless the application's is another.

    def __anext__(self) -> Coroutine[Any, Any, object]:
        return self.asend(None)

    def _next(self, value: object) -> Awaitable[object]:
        """Return the next message of the host's; only a generator can be sent a value."""
        return (  # type: ignore[no-any-return]  # the application's may be anything
            self._messages.__anext__() if value is None else self._messages.asend(value)
        )

    async def athrow(self, *error: Any) -> object:
        return await self._messages.athrow(*error)

    async def aclose(self) -> None:
        await self._messages.aclose()


class _UnwatchedMessages(_HandedOn):
    """The messages of a socket without shadows, which learn of frames from nobody else."""

    __slots__ = ("_unwatched",)

    def __init__(self, messages: AsyncGenerator[object, None], unwatched: Unwatched) -> None:
        super().__init__(messages)
        self._unwatched = unwatched

    async def asend(self, value: object) -> object:
        unwatched = self._unwatched
        unwatched.reading = True
        try:
            message = await self._next(value)
        except BaseException as error:
            with unwatched.fuse:
                if isinstance(error, _UNREADABLE):
                    unwatched.frame_received()
                unwatched.reading_ended()
            raise
        finally:
            unwatched.reading = False
        with unwatched.fuse:
            unwatched.frame_received()
        return message


class _Messages(_HandedOn):
    """The messages of a connection, each handed on in the context that it belongs to."""

    __slots__ = ("_conversation",)

    def __init__(self, messages: AsyncGenerator[object, None], conversation: Conversation) -> None:
        super().__init__(messages)
        self._conversation = conversation

    async def asend(self, value: object) -> object:
        conversation = self._conversation
        with conversation.fuse:
            # Not detached: who asks for the next message may be another task.
            attach(conversation.handled())
        message = await self._next(value)
        with conversation.fuse:
            attach(conversation.received(message))
        return message


class RecordingAdapter(AsyncWebSocketAdapter):
    """Tells the connection of each message, and hands messages on in the context they belong to.

    It stands over a class of the application's: names of its own begin with `_otel_`.
    """

    _otel_conversation: Conversation | None = None
    _otel_unwatched: Unwatched | None = None
    _otel_host_send: Callable[..., Awaitable[Any]]
    """`super().send_json`, looked up once: for each message it would cost as much as to count it.

    Not bound, which would be a cycle.
    """

    def __init__(
        self,
        view: AsyncBaseHTTPView[Any, Any, Any, Any, Any, Any, Any],
        request: web.Request,
        ws: web.WebSocketResponse,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(view, request, ws, *args, **kwargs)  # type: ignore[call-arg]  # the next class's
        with Fuse(getattr(view, "_otel_failures", None)):
            self._otel_record(ws)

    def _otel_record(self, ws: web.WebSocketResponse) -> None:
        """Record `ws` from now on, if it belongs to a connection."""
        socket = opened(ws)
        if socket is not None:
            bound: Any = super().send_json  # type: ignore[safe-super]  # the next class's
            plain = isinstance(bound, MethodType) and bound.__self__ is self
            self._otel_host_send = bound.__func__ if plain else RecordingAdapter._otel_super_send
            self._otel_conversation = socket.connection.conversation
            self._otel_unwatched = socket.unwatched

    def iter_json(self, *args: Any, **kwargs: Any) -> AsyncGenerator[object, None]:
        """Iterate over the messages; each one is handled in the context of what it starts."""
        messages: AsyncGenerator[object, None] = super().iter_json(*args, **kwargs)  # type: ignore[safe-super]  # the next class's
        conversation, unwatched = self._otel_conversation, self._otel_unwatched
        if unwatched is not None:
            messages = _UnwatchedMessages(messages, unwatched)
        return messages if conversation is None else _Messages(messages, conversation)

    async def send_json(self, message: Mapping[str, object], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        """Send a message, and tell the connection when it has been sent."""
        conversation = self._otel_conversation
        if conversation is None:
            return await self._otel_super_send(message, *args, **kwargs)
        try:
            if args or kwargs:
                returned = await self._otel_host_send(self, message, *args, **kwargs)
            else:
                returned = await self._otel_host_send(self, message)
        except (asyncio.CancelledError, Exception) as error:
            with conversation.fuse:
                self._otel_cut_short(conversation, message, error)
            raise
        # The hot path: nearly every message is one more result, and touches one integer. To call
        # what does so would cost more, and a `with` as much as what it would guard.
        try:
            if message["type"] == conversation.result_name:
                results = conversation.unshared[message["id"]]
                if results.sound != results.until:
                    results.sound += 1
                    return returned
        except Exception:  # noqa: BLE001, S110  # whatever it is, it is not like most messages
            pass
        try:
            conversation.sent(message)
        except Exception as error:  # noqa: BLE001  # the fuse's
            conversation.fuse.blow(error)
        return returned

    def _otel_cut_short(
        self,
        conversation: Conversation,
        message: Mapping[str, object],
        error: asyncio.CancelledError | Exception,
    ) -> None:
        unwatched = self._otel_unwatched
        if isinstance(error, asyncio.CancelledError):
            # Without shadows nobody knows whether the frame was written; mostly it was.
            if unwatched is not None or conversation.has_written(error):
                conversation.sent(message)
            return
        conversation.not_sent(message, error)
        if unwatched is not None:
            unwatched.send_failed(error)

    async def _otel_super_send(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        return await super().send_json(*args, **kwargs)  # type: ignore[safe-super]  # the next class's

    async def close(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        """Close as the host does, and tell the connection if its socket does not."""
        unwatched = self._otel_unwatched
        if unwatched is None:
            return await super().close(*args, **kwargs)  # type: ignore[safe-super]  # the next class's
        closed = writable = False
        with unwatched.fuse:
            closed, writable = unwatched.closed, unwatched.writable
        try:
            returned: Any = await super().close(*args, **kwargs)  # type: ignore[func-returns-value, safe-super]  # the next class's
        finally:
            with unwatched.fuse:
                frame = _frame(*args, **kwargs)
                unwatched.close_called(frame, closed=closed, writable=writable)
        with unwatched.fuse:
            unwatched.answered()
        return returned


def _frame(
    code: int = CloseCode.NORMAL_CLOSURE, reason: str = "", *_more: object, **_named: object
) -> CloseFrame:
    """Return the frame that an adapter is asked to close with, whatever else it takes."""
    return CloseFrame(int(code), reason)


class RecordedFactory:
    """A `websocket_adapter_class` that is no class: what it makes is recorded.

    It is bound to the view as the application's own would be: a function, a static method, a
    partial, a property.
    """

    def __init__(self, factory: Any) -> None:  # noqa: ANN401  # whatever a class can hold
        self._factory = factory
        # A factory may make classes as well, and they are not to be kept for ever.
        self._derived = lru_cache(maxsize=16)(_derived)

    def __get__(self, view: object, owner: type | None = None) -> Callable[..., Any]:
        bind = getattr(type(self._factory), "__get__", None)
        return partial(self._make, bind(self._factory, view, owner) if bind else self._factory)

    def _make(
        self,
        factory: Callable[..., AsyncWebSocketAdapter],
        view: AsyncBaseHTTPView[Any, Any, Any, Any, Any, Any, Any],
        request: web.Request,
        ws: web.WebSocketResponse,
    ) -> AsyncWebSocketAdapter:
        adapter = factory(view, request, ws)
        with Fuse(getattr(view, "_otel_failures", None)):
            if not isinstance(adapter, RecordingAdapter):
                adapter.__class__ = self._derived(type(adapter))
                cast("RecordingAdapter", adapter)._otel_record(ws)  # noqa: SLF001  # our own class
        return adapter


def recording(adapter: Any) -> Any:  # noqa: ANN401  # whatever a class can hold
    """Return a view's `websocket_adapter_class` with the recording layer over what it makes.

    Raises:
        TypeError: it makes no adapters.
    """
    if isinstance(adapter, RecordedFactory):
        return adapter
    if isinstance(adapter, type) and issubclass(adapter, AsyncWebSocketAdapter):
        return adapter if issubclass(adapter, RecordingAdapter) else _derived(adapter)
    if not isinstance(adapter, type) and (callable(adapter) or hasattr(adapter, "__get__")):
        return RecordedFactory(adapter)
    raise TypeError(
        "websocket_adapter_class must be a subclass of AsyncWebSocketAdapter, or a callable that"
        f" makes instances of one, not {adapter!r}"
    )


def _derived(adapter_class: type) -> type[RecordingAdapter]:
    names = {"__module__": adapter_class.__module__, "__qualname__": adapter_class.__qualname__}
    return type(adapter_class.__name__, (RecordingAdapter, adapter_class), names)
