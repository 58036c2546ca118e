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

from strawberry.http.async_base_view import AsyncWebSocketAdapter

from strawberry_ws_otel._connection import Connection, Request, current_request
from strawberry_ws_otel._fuse import Fuse
from strawberry_ws_otel._strawberry.layers import Layers, is_derived


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
    """The messages of a connection, each reported as it is received."""

    __slots__ = ("_connection",)

    def __init__(self, messages: AsyncGenerator[object, None], connection: Connection) -> None:
        super().__init__(messages)
        self._connection = connection

    async def asend(self, value: object) -> object:
        connection = self._connection
        try:
            message = await self._next(value)
        except BaseException as error:
            with connection.fuse:
                connection.message_unreadable(error)
            raise
        try:
            connection.message_received(message)
        except Exception as error:  # noqa: BLE001  # the fuse's
            connection.fuse.blow(error)
        return message


class RecordingAdapter(AsyncWebSocketAdapter):
    """Reports each message to the connection.

    It stands over a class of the application's: names of its own begin with `_otel_`.
    """

    _otel_request: Request | None = None
    _otel_connection: Connection | None = None
    _otel_host_send: Callable[..., Awaitable[Any]]
    """`super().send_json`, looked up once: for each message it would cost as much as to count it.

    Not bound, which would be a cycle.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Call the application's `__init_subclass__` for the application's classes only."""
        if not is_derived(cls):
            super().__init_subclass__(**kwargs)

    def __init__(self, view: Any, request: Any, ws: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # the transport's
        super().__init__(view, request, ws, *args, **kwargs)  # type: ignore[call-arg]  # the next class's
        try:
            self._otel_made(view, request, ws)
        except Exception as error:  # noqa: BLE001  # the fuse's
            Fuse(getattr(view, "_otel_failures", None)).blow(error)

    def _otel_made(
        self, _view: object, _request: object, ws: object, *_arguments: Any, **_keywords: Any
    ) -> None:
        """Record `ws` from now on, if it belongs to a connection."""
        request = current_request()
        if request is None or request.connection is None:
            return
        # Unless the view has made it by itself.
        request.websocket_made(ws)
        bound: Any = super().send_json  # type: ignore[safe-super]  # the next class's
        plain = isinstance(bound, MethodType) and bound.__self__ is self
        self._otel_host_send = bound.__func__ if plain else RecordingAdapter._otel_super_send
        self._otel_request = request
        self._otel_connection = request.connection
        request.connection.reads_ahead = not _reads_as_the_host(type(self))

    def iter_json(self, *args: Any, **kwargs: Any) -> AsyncGenerator[object, None]:
        """Iterate over the messages as the host does."""
        messages: AsyncGenerator[object, None] = super().iter_json(*args, **kwargs)  # type: ignore[safe-super]  # the next class's
        connection = self._otel_connection
        if connection is None or not isinstance(messages, AsyncIterable):
            return messages  # The host refuses what is no iterator.
        return _Messages(messages, connection)

    async def send_json(self, message: Mapping[str, object], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        """Send a message, and report when it has been sent."""
        connection = self._otel_connection
        if connection is None:
            return await self._otel_super_send(message, *args, **kwargs)
        try:
            if args or kwargs:
                returned = await self._otel_host_send(self, message, *args, **kwargs)
            else:
                returned = await self._otel_host_send(self, message)
        except (asyncio.CancelledError, Exception) as error:
            with connection.fuse:
                connection.message_failed(message, error)
            raise
        # The hot path: nearly every message is one more result, and touches one integer. To call
        # what does so would cost more, and a `with` as much as what it would guard.
        try:
            if message["type"] == connection.result_name:
                results = connection.results_by_unique_id[message["id"]]
                if results.ok != results.fast_path_limit:
                    results.ok += 1
                    return returned
        except Exception:  # noqa: BLE001, S110  # whatever it is, it is not like most messages
            pass
        try:
            connection.message_sent(message)
        except Exception as error:  # noqa: BLE001  # the fuse's
            connection.fuse.blow(error)
        return returned

    async def _otel_super_send(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        return await super().send_json(*args, **kwargs)  # type: ignore[safe-super]  # the next class's


def _reads_as_the_host(adapter_class: type) -> bool:
    """Whether messages are read by the host's own method, which reads a frame for each."""
    classes = adapter_class.__mro__
    behind = classes[classes.index(RecordingAdapter) + 1 :]
    owner = next(each for each in behind if "iter_json" in vars(each))
    return owner.__module__.startswith("strawberry.")


ADAPTER_LAYER: Final = Layers(
    "websocket_adapter_class",
    AsyncWebSocketAdapter,
    RecordingAdapter,
    RecordingAdapter._otel_made,  # noqa: SLF001  # ours
)
"""What is laid over the adapter class of a view."""
