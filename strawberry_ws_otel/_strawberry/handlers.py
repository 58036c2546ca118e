"""The recording layer over a view's handlers: which message and operation the running code serves.

An application may ask for messages in one task and handle them in another, or serve an operation in
whatever task it likes. So the context belongs to the handling, not to the asking. Both handlers of
the host offer these methods since 0.319: `handle_message` for every message that was received, and
`run_operation` or `handle_async_results` for what the task of an operation does.

The layer stands over a class of the application's: names of its own begin with `_otel_`.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from types import CoroutineType
from typing import Any, Final

from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import (
    BaseGraphQLTransportWSHandler,
)
from strawberry.subscriptions.protocols.graphql_ws.handlers import BaseGraphQLWSHandler

from strawberry_ws_otel._connection import Connection, Request, current_request
from strawberry_ws_otel._current import current
from strawberry_ws_otel._strawberry.layers import Layers, StandIn, is_derived

Call = Callable[[], Awaitable[Any]]
"""A call of the host's method."""


def _serving(handler: Any) -> Request | None:  # noqa: ANN401  # of either subprotocol
    """Return the request that became the WebSocket which a handler serves, if it is recorded."""
    try:
        request = handler.websocket._otel_request  # noqa: SLF001  # ours
    except Exception:  # noqa: BLE001  # the application's handler need not keep its adapter
        request = None
    request = request or current_request()
    return request if isinstance(request, Request) and request.connection else None


async def _within(
    connection: Connection,
    enter: Callable[[], Any],
    call: Call,
    leave: Callable[[Any, BaseException | None], None],
) -> Any:  # noqa: ANN401  # the host's
    """Await the host's call between `enter` and `leave`, which gets what `enter` returned."""
    entered = error = None
    # A `with` costs as much as what it would guard, for each operation several times.
    try:
        entered = enter()
    except Exception as failure:  # noqa: BLE001  # the fuse's
        connection.fuse.blow(failure)
    try:
        return await call()
    except BaseException as raised:
        error = raised
        raise
    finally:
        try:
            leave(entered, error)
        except Exception as failure:  # noqa: BLE001  # the fuse's
            connection.fuse.blow(failure)
        del error


def _handle(
    handler: Any,  # noqa: ANN401  # of either subprotocol
    message: object,
    call: Call,
    *,
    knows_documents: bool | None = None,
) -> Awaitable[Any]:
    """Handle a message as the host does, in the context that it belongs to.

    Args:
        handler: the host's.
        message: to be handled.
        call: the host's method.
        knows_documents: whether the method, which begins an operation, may know the document of
            one whose first message brings none, as the host's own does not.
    """
    request = _serving(handler)
    if request is None or request.connection is None:
        return call()
    connection = request.connection
    enter = partial(connection.message_handling, message, request, knows_documents=knows_documents)
    return _within(connection, enter, call, connection.message_handled)


def _begin(handler: Any, message: object, call: partial[Any], own: object) -> Awaitable[Any]:  # noqa: ANN401  # of either subprotocol
    """Handle the first message of an operation, unless the code runs for that operation already.

    Args:
        handler: the host's.
        message: to be handled.
        call: the method to call.
        own: the host's own, which does not know the document of a message that brings none.
    """
    operation = current().operation
    if operation is not None and operation.first is message:
        return call()  # type: ignore[no-any-return]  # a coroutine
    is_own = getattr(call.func, "__func__", None) is own
    return _handle(handler, message, call, knows_documents=not is_own)


def _run(handler: Any, call: Call, id_: object, document: object, name: object) -> Any:  # noqa: ANN401  # of either subprotocol
    """Serve an operation as the host does, in its context, and report how that ended."""
    request = _serving(handler)
    if request is None or request.connection is None:
        return call()
    connection = request.connection
    enter = partial(connection.operation_running, id_, document, name, request)
    return _within(connection, enter, call, connection.operation_ran)


# No base class for what they have in common: an instance that a factory has made could not become
# one of a class with another base in front.


class RecordingTransportHandler(BaseGraphQLTransportWSHandler[Any, Any]):
    """The layer over a handler of `graphql-transport-ws`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Call the application's `__init_subclass__` for the application's classes only."""
        if not is_derived(cls):
            super().__init_subclass__(**kwargs)

    async def handle_message(self, message: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        """Handle a message as the host does, in the context that it belongs to."""
        call = partial(super().handle_message, message, *args, **kwargs)
        return await _handle(self, message, call)

    async def handle_connection_init(self, message: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        """Do so also where the application calls this instead."""
        call = partial(super().handle_connection_init, message, *args, **kwargs)
        return await _handle(self, message, call)

    async def handle_subscribe(self, message: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        """Do so also where the application calls this instead."""
        host = super().handle_subscribe
        own = BaseGraphQLTransportWSHandler.handle_subscribe
        return await _begin(self, message, partial(host, message, *args, **kwargs), own)

    async def run_operation(self, operation: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        """Run an operation as the host does, and report when it is done."""
        return await _run(
            self,
            partial(super().run_operation, operation, *args, **kwargs),
            getattr(operation, "id", None),
            getattr(operation, "query", None),
            getattr(operation, "operation_name", None),
        )


class RecordingLegacyHandler(BaseGraphQLWSHandler[Any, Any]):
    """The layer over a handler of `graphql-ws`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Call the application's `__init_subclass__` for the application's classes only."""
        if not is_derived(cls):
            super().__init_subclass__(**kwargs)

    async def handle_message(self, message: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        """Handle a message as the host does, in the context that it belongs to."""
        call = partial(super().handle_message, message, *args, **kwargs)
        return await _handle(self, message, call)

    async def handle_connection_init(self, message: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        """Do so also where the application calls this instead."""
        call = partial(super().handle_connection_init, message, *args, **kwargs)
        return await _handle(self, message, call)

    async def handle_start(self, message: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        """Do so also where the application calls this instead."""
        host = super().handle_start
        own = BaseGraphQLWSHandler.handle_start
        return await _begin(self, message, partial(host, message, *args, **kwargs), own)

    def handle_async_results(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        """Serve an operation as the host does, and report when it is done."""
        # By position or by name, as the host's own has them.
        given = dict(zip(("operation_id", "query", "operation_name"), args, strict=False)) | kwargs
        host = super().handle_async_results(*args, **kwargs)
        run = partial(
            _run,
            self,
            lambda: host,
            given.get("operation_id"),
            given.get("query"),
            given.get("operation_name"),
        )
        return StandIn(run, host) if isinstance(host, CoroutineType) else run()


HANDLER_LAYERS: Final = (
    Layers(
        "graphql_transport_ws_handler_class",
        BaseGraphQLTransportWSHandler,
        RecordingTransportHandler,
    ),
    Layers("graphql_ws_handler_class", BaseGraphQLWSHandler, RecordingLegacyHandler),
)
"""What is laid over the handler classes of a view."""
