"""The recording layer over a view's WebSocket adapter: it sees parsed messages."""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Coroutine,
    Mapping,
)
from types import MethodType
from typing import Any, Final

from aiohttp import web
from strawberry.aiohttp.views import AiohttpWebSocketAdapter
from strawberry.http.async_base_view import AsyncBaseHTTPView, AsyncWebSocketAdapter

from strawberry_ws_otel._close import CloseCode, CloseFrame
from strawberry_ws_otel._conversation import Conversation
from strawberry_ws_otel._failsafe import Fuse
from strawberry_ws_otel._layers import Layers, is_derived
from strawberry_ws_otel._socket import RecordedSocket, opened
from strawberry_ws_otel._unwatched import Unwatched


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


class _Messages(_HandedOn):
    """The messages of a connection, each noted as it is received."""

    __slots__ = ("_conversation",)

    def __init__(self, messages: AsyncGenerator[object, None], conversation: Conversation) -> None:
        super().__init__(messages)
        self._conversation = conversation

    async def asend(self, value: object) -> object:
        conversation = self._conversation
        try:
            message = await self._next(value)
        except BaseException as error:
            with conversation.fuse:
                conversation.reading_failed(error)
            raise
        with conversation.fuse:
            conversation.received(message)
        return message


class _UnwatchedMessages(_Messages):
    """The messages of a socket that cannot be observed, which learn of frames from nobody else."""

    __slots__ = ("_unwatched",)

    def __init__(
        self,
        messages: AsyncGenerator[object, None],
        conversation: Conversation,
        unwatched: Unwatched,
    ) -> None:
        super().__init__(messages, conversation)
        self._unwatched = unwatched

    async def _next(self, value: object) -> object:
        unwatched = self._unwatched
        unwatched.reading = True
        try:
            message = await super()._next(value)
        except BaseException as error:
            with unwatched.fuse:
                unwatched.reading_failed(error)
            raise
        finally:
            unwatched.reading = False
        with unwatched.fuse:
            unwatched.frame_received()
        return message


class RecordingAdapter(AsyncWebSocketAdapter):
    """Tells the connection of each message.

    It stands over a class of the application's: names of its own begin with `_otel_`.
    """

    _otel_socket: RecordedSocket | None = None
    _otel_conversation: Conversation | None = None
    _otel_unwatched: Unwatched | None = None
    _otel_host_send: Callable[..., Awaitable[Any]]
    """`super().send_json`, looked up once: for each message it would cost as much as to count it.

    Not bound, which would be a cycle.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let the application's class have its say about classes of the application's only."""
        if not is_derived(cls):
            super().__init_subclass__(**kwargs)

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
            self._otel_made(view, request, ws)

    def _otel_made(
        self,
        _view: object,
        _request: object,
        ws: web.WebSocketResponse,
        *_arguments: Any,
        **_keywords: Any,
    ) -> None:
        """Record `ws` from now on, if it belongs to a connection."""
        socket = opened(ws)
        if socket is not None:
            bound: Any = super().send_json  # type: ignore[safe-super]  # the next class's
            plain = isinstance(bound, MethodType) and bound.__self__ is self
            self._otel_host_send = bound.__func__ if plain else RecordingAdapter._otel_super_send
            self._otel_socket = socket
            self._otel_conversation = conversation = socket.connection.conversation
            reads: Any = super().iter_json  # type: ignore[safe-super]  # the next class's
            conversation.reads_ahead = (
                getattr(reads, "__func__", None) is not AiohttpWebSocketAdapter.iter_json
            )
            self._otel_unwatched = socket.unwatched

    def iter_json(self, *args: Any, **kwargs: Any) -> AsyncGenerator[object, None]:
        """Iterate over the messages as the host does."""
        messages: AsyncGenerator[object, None] = super().iter_json(*args, **kwargs)  # type: ignore[safe-super]  # the next class's
        conversation, unwatched = self._otel_conversation, self._otel_unwatched
        if conversation is None or not isinstance(messages, AsyncIterable):
            return messages  # The host refuses what is no iterator.
        if unwatched is not None:
            return _UnwatchedMessages(messages, conversation, unwatched)
        return _Messages(messages, conversation)

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
                results = conversation.results_by_unique_id[message["id"]]
                if results.ok != results.fast_path_limit:
                    results.ok += 1
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
            # Without an observer nobody knows whether the frame was written; mostly it was.
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


ADAPTER_LAYER: Final = Layers(
    "websocket_adapter_class",
    AsyncWebSocketAdapter,
    RecordingAdapter,
    RecordingAdapter._otel_made,  # noqa: SLF001  # ours
)
"""What is laid over the adapter class of a view."""
